/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A log-linear histogram of nanoseconds: exact below 128, within 1/128 above (two significant digits) up to
 * 17 seconds; what took longer is in the last bucket. One writer; readers on other threads may see a count that
 * is one behind, which a report does not mind.
 */
#ifndef TIDEMARK_HISTOGRAM_H
#define TIDEMARK_HISTOGRAM_H

#include <assert.h>
#include <stdint.h>

#include "tidemark/published.h"

enum {
    TIDE_HISTOGRAM_SUB_BITS = 7,
    TIDE_HISTOGRAM_SUB = 1 << TIDE_HISTOGRAM_SUB_BITS, /* buckets of an octave */
    TIDE_HISTOGRAM_BUCKETS = TIDE_HISTOGRAM_SUB * 28,
};
static_assert(1ull << (TIDE_HISTOGRAM_BUCKETS / TIDE_HISTOGRAM_SUB - 1 + TIDE_HISTOGRAM_SUB_BITS) > 10000000000ull, "10 s have a bucket");

struct tide_histogram {
    uint64_t sum_ns;
    uint64_t max_ns;
    uint64_t buckets[TIDE_HISTOGRAM_BUCKETS];
};

static inline uint32_t tide_histogram_bucket(uint64_t ns)
{
    if (ns < TIDE_HISTOGRAM_SUB)
        return (uint32_t)ns;
    uint32_t octave = 63u - (uint32_t)__builtin_clzll(ns) - TIDE_HISTOGRAM_SUB_BITS; /* of those that are not exact */
    uint32_t bucket = octave * TIDE_HISTOGRAM_SUB + (uint32_t)(ns >> octave);
    return bucket < TIDE_HISTOGRAM_BUCKETS ? bucket : TIDE_HISTOGRAM_BUCKETS - 1;
}

static inline void tide_histogram_add(struct tide_histogram *h, uint64_t ns)
{
    tide_word_add(&h->buckets[tide_histogram_bucket(ns)], 1);
    tide_word_add(&h->sum_ns, ns);
    if (ns > h->max_ns)
        __atomic_store_n(&h->max_ns, ns, __ATOMIC_RELAXED);
}

/* Lowest value that falls into the bucket. */
uint64_t tide_histogram_floor(uint32_t bucket);
uint64_t tide_histogram_count(const struct tide_histogram *h);
/* Adds what `from` has to `to`, which is the caller's alone. */
void tide_histogram_merge(struct tide_histogram *to, const struct tide_histogram *from);
/* The value below which `parts_per_million` of the samples lie (its bucket's floor); 0 if empty. */
uint64_t tide_histogram_quantile(const struct tide_histogram *h, uint32_t parts_per_million);

#endif
