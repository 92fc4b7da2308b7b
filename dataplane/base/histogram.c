/* SPDX-License-Identifier: Apache-2.0 */
#include "tidemark/histogram.h"

uint64_t tide_histogram_floor(uint32_t bucket)
{
    if (bucket < TIDE_HISTOGRAM_SUB)
        return bucket;
    uint32_t octave = bucket / TIDE_HISTOGRAM_SUB - 1;
    uint64_t sub = bucket % TIDE_HISTOGRAM_SUB + TIDE_HISTOGRAM_SUB;
    return sub << octave;
}

uint64_t tide_histogram_count(const struct tide_histogram *h)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < TIDE_HISTOGRAM_BUCKETS; i++)
        n += __atomic_load_n(&h->buckets[i], __ATOMIC_RELAXED);
    return n;
}

void tide_histogram_merge(struct tide_histogram *to, const struct tide_histogram *from)
{
    uint64_t max_ns = __atomic_load_n(&from->max_ns, __ATOMIC_RELAXED);
    for (uint32_t i = 0; i < TIDE_HISTOGRAM_BUCKETS; i++)
        to->buckets[i] += __atomic_load_n(&from->buckets[i], __ATOMIC_RELAXED);
    to->sum_ns += __atomic_load_n(&from->sum_ns, __ATOMIC_RELAXED);
    to->max_ns = max_ns > to->max_ns ? max_ns : to->max_ns;
}

uint64_t tide_histogram_quantile(const struct tide_histogram *h, uint32_t parts_per_million)
{
    uint64_t total = tide_histogram_count(h);
    uint64_t rank = (uint64_t)((__uint128_t)total * parts_per_million / 1000000);
    uint64_t seen = 0;
    if (total == 0)
        return 0;
    for (uint32_t i = 0; i < TIDE_HISTOGRAM_BUCKETS; i++) {
        seen += __atomic_load_n(&h->buckets[i], __ATOMIC_RELAXED);
        if (seen > rank)
            return tide_histogram_floor(i);
    }
    return h->max_ns;
}
