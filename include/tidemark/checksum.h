/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Internet's one's complement sum (RFC 1071), over bytes and over chains of mbufs. Sums are in
 * the byte order of memory: what is stored or compared needs no swapping.
 *
 * rte_raw_cksum_mbuf of DPDK 22.11 is not used: where a segment starts at an odd offset it drops
 * the carries of that segment. Sums of 0 and 0xffff are both zero in this arithmetic; a verified
 * packet sums up to 0xffff, since its sum cannot be 0 with any byte set.
 */
#ifndef TIDEMARK_CHECKSUM_H
#define TIDEMARK_CHECKSUM_H

#include <stdint.h>
#include <string.h>

#include <rte_mbuf.h>

typedef uint64_t tide_sum_lanes __attribute__((vector_size(16)));

static inline tide_sum_lanes tide_sum_lane(const uint8_t *at)
{
    const tide_sum_lanes low = {UINT32_MAX, UINT32_MAX};
    tide_sum_lanes w;
    memcpy(&w, at, sizeof(w));
    return (w & low) + (w >> 32);
}

/* Adds 64 bytes in every step, each 32-bit word of them to one of eight sums; what is left over is the caller's. */
static inline uint64_t tide_sum_blocks(const uint8_t **bytes, uint32_t *len)
{
    tide_sum_lanes a = {0}, b = {0}, c = {0}, d = {0};
    const uint8_t *at = *bytes;
    const uint8_t *end = at + (*len & ~UINT32_C(63));
    for (; at != end; at += 64) {
        a += tide_sum_lane(at);
        b += tide_sum_lane(at + 16);
        c += tide_sum_lane(at + 32);
        d += tide_sum_lane(at + 48);
    }
    a += b + c + d;
    *bytes = end;
    *len &= 63;
    return a[0] + a[1];
}

/* Adds `len` bytes that start at an even offset of the packet; len < 2^32. */
static inline uint64_t tide_sum_add(uint64_t sum, const void *bytes, uint32_t len)
{
    const uint8_t *at = bytes;
    uint64_t word;
    uint64_t other = 0;
    if (len >= 64)
        sum += tide_sum_blocks(&at, &len);
    for (; len >= 8; len -= 8, at += 8) {
        memcpy(&word, at, 8);
        sum += (uint32_t)word;
        other += word >> 32;
    }
    if (len != 0) {
        word = 0;
        memcpy(&word, at, len);
        sum += (uint32_t)word;
        other += word >> 32;
    }
    return sum + other;
}

/* Folds to 16 bits, not inverted. */
static inline uint16_t tide_sum_fold(uint64_t sum)
{
    sum = (sum >> 32) + (uint32_t)sum;
    sum = (sum >> 32) + (uint32_t)sum;
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    return (uint16_t)((sum >> 16) + (sum & 0xffff));
}

/* Adds `len` bytes of the frame `m` from offset `off`, however they lie in its segments.
 * off + len <= the sum of the segments' lengths. */
static inline uint64_t tide_sum_add_mbuf(uint64_t sum, const struct rte_mbuf *m, uint32_t off,
                                         uint32_t len)
{
    uint32_t done = 0;
    for (; done < len; m = m->next) {
        if (off >= m->data_len) {
            off -= m->data_len;
            continue;
        }
        uint32_t piece = m->data_len - off < len - done ? m->data_len - off : len - done;
        uint64_t part = tide_sum_add(0, rte_pktmbuf_mtod_offset(m, const uint8_t *, off), piece);
        sum += (done & 1) == 0 ? part : __builtin_bswap16(tide_sum_fold(part));
        done += piece;
        off = 0;
    }
    return sum;
}

#endif
