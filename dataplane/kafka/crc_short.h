/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC-32C of what is short: three lanes of the processor's crc32, joined by one carry-less multiplication (Gopal et al., "Fast CRC
 * computation for iSCSI polynomial using CRC32 instruction", 2011). ISA-L is made for what is long, and takes twice to thrice as long below some
 * hundred bytes: on a processor with AVX-512 the two meet near 1.8 KiB.
 */
#ifndef TIDEMARK_KAFKA_CRC_SHORT_H
#define TIDEMARK_KAFKA_CRC_SHORT_H

#include <stddef.h>
#include <stdint.h>

enum { CRC_SHORT_MAX = 1536 };

/* The most that crc_short may be asked for on this processor; 0: it has not what it takes. Constant since before main. */
extern size_t crc_short_max;

/* As crc32_iscsi of ISA-L: neither the beginning nor the result is inverted. len <= crc_short_max. */
uint32_t crc_short(uint32_t crc, const uint8_t *bytes, size_t len);

#endif
