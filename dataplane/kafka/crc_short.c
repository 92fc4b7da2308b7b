/* SPDX-License-Identifier: Apache-2.0 */
#include "kafka/crc_short.h"

#include <assert.h>
#include <string.h>

#include "tidemark/assert.h"

size_t crc_short_max;

#if defined(__x86_64__)

#include <nmmintrin.h>
#include <wmmintrin.h>

enum { LANES = 3, WORD = 8, WORDS_MAX = CRC_SHORT_MAX / (LANES * WORD) }; /* of a lane */
static_assert(CRC_SHORT_MAX == LANES * WORD * WORDS_MAX, "one round is enough");

/* x^(64 n - 33) modulo the polynomial, reflected: a sum times this, summed as eight bytes, is the sum with 8 n zero bytes behind it. */
static uint64_t behind[2 * WORDS_MAX + 1];

static __attribute__((constructor)) void begin(void)
{
    uint32_t power = 0x80000000u; /* x^0 */
    for (unsigned bit = 1; bit <= 64 * 2 * WORDS_MAX - 33; bit++) {
        power = power & 1 ? power >> 1 ^ 0x82f63b78u : power >> 1;
        if ((bit + 33) % 64 == 0)
            behind[(bit + 33) / 64] = power;
    }
    __builtin_cpu_init();
    if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul"))
        crc_short_max = CRC_SHORT_MAX;
}

static inline uint64_t word(const uint8_t *bytes, size_t i)
{
    uint64_t v;
    memcpy(&v, bytes + i * WORD, sizeof(v));
    return v;
}

__attribute__((target("sse4.2,pclmul"))) static inline uint64_t times(uint64_t a, uint64_t b)
{
    return (uint64_t)_mm_cvtsi128_si64(_mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)a), _mm_cvtsi64_si128((long long)b), 0));
}

#define STEP(i)                                  \
    do {                                         \
        a = _mm_crc32_u64(a, word(first, (i)));  \
        b = _mm_crc32_u64(b, word(second, (i))); \
        c = _mm_crc32_u64(c, word(third, (i)));  \
    } while (0)

/* n words in each lane, one behind the other; n != 0. */
__attribute__((target("sse4.2,pclmul"))) static inline uint64_t three_lanes(uint64_t a, const uint8_t *first, size_t n)
{
    const uint8_t *second = first + n * WORD, *third = second + n * WORD;
    uint64_t b = 0, c = 0;
    size_t i = 0;
    for (; i + 8 < n; i += 8) {
        STEP(i);
        STEP(i + 1);
        STEP(i + 2);
        STEP(i + 3);
        STEP(i + 4);
        STEP(i + 5);
        STEP(i + 6);
        STEP(i + 7);
    }
    for (; i + 1 < n; i++)
        STEP(i);
    a = _mm_crc32_u64(a, word(first, i));
    b = _mm_crc32_u64(b, word(second, i));
    return _mm_crc32_u64(c, word(third, i) ^ times(a, behind[2 * n]) ^ times(b, behind[n]));
}

__attribute__((target("sse4.2,pclmul"))) uint32_t crc_short(uint32_t crc, const uint8_t *p, size_t len)
{
    uint64_t sum = crc;
    size_t n = len / (LANES * WORD);
    TIDE_ASSERT(n <= WORDS_MAX);
    if (n != 0) {
        sum = three_lanes(sum, p, n);
        p += n * LANES * WORD;
        len -= n * LANES * WORD;
    }
    for (; len >= WORD; len -= WORD, p += WORD)
        sum = _mm_crc32_u64(sum, word(p, 0));
    if (len & 4) {
        uint32_t half;
        memcpy(&half, p, sizeof(half));
        sum = _mm_crc32_u32((uint32_t)sum, half);
        p += 4;
        len -= 4;
    }
    for (; len != 0; len--)
        sum = _mm_crc32_u8((uint32_t)sum, *p++);
    return (uint32_t)sum;
}

#else

uint32_t crc_short(uint32_t crc, const uint8_t *p, size_t len)
{
    (void)p;
    TIDE_ASSERT(len == 0);
    return crc;
}

#endif
