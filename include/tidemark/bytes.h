/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Big-endian loads and stores at any alignment (Kafka's wire and disk order, and the network's).
 */
#ifndef TIDEMARK_BYTES_H
#define TIDEMARK_BYTES_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Zeroes what has a size that the compiler knows: by vectors, where it would count words (`rep stos` begins slowly). */
static inline __attribute__((always_inline)) void tide_zero(void *at, size_t n)
{
    enum { STEP = 64 };
    uint8_t *p = at;
#pragma GCC unroll 8
    for (; n > STEP; n -= STEP, p += STEP)
        memset(p, 0, STEP);
    memset(p, 0, n);
}

static inline uint16_t load_be16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof(v));
    return __builtin_bswap16(v);
}

static inline uint32_t load_be32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return __builtin_bswap32(v);
}

static inline uint64_t load_be64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return __builtin_bswap64(v);
}

static inline void store_be16(void *p, uint16_t v)
{
    v = __builtin_bswap16(v);
    memcpy(p, &v, sizeof(v));
}

static inline void store_be32(void *p, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(p, &v, sizeof(v));
}

static inline void store_be64(void *p, uint64_t v)
{
    v = __builtin_bswap64(v);
    memcpy(p, &v, sizeof(v));
}

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the loads above swap");

#endif
