/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chance that somebody hands over: a splitmix64 sequence. Same seed, same numbers (P12).
 * Not for secrets: keys come from getrandom(2) at an edge.
 */
#ifndef TIDEMARK_RANDOM_H
#define TIDEMARK_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

struct tide_random {
    uint64_t state;
};

static inline uint64_t tide_random_u64(struct tide_random *r)
{
    uint64_t z = (r->state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

/* Uniform in [0, bound); bound > 0. */
static inline uint64_t tide_random_below(struct tide_random *r, uint64_t bound)
{
    return (uint64_t)(((__uint128_t)tide_random_u64(r) * bound) >> 64);
}

/* True once in `one_in` on average; never when one_in is 0. */
static inline bool tide_random_hits(struct tide_random *r, uint64_t one_in)
{
    return one_in != 0 && tide_random_below(r, one_in) == 0;
}

#endif
