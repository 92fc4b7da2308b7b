/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A log-linear histogram of nanoseconds in HdrHistogram's layout: two or three significant digits from 1 ns to an hour; what is
 * longer counts as an hour. include/tidemark/histogram.h is the broker's own, smaller and coarser.
 *
 * Owner: one thread; merged by another when that one has ended.
 */
#ifndef TIDEMARK_BENCH_LOAD_HIST_H
#define TIDEMARK_BENCH_LOAD_HIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define LOAD_HIST_MOST_NS (3600ull * 1000000000ull)

struct load_hist {
    unsigned digits;
    unsigned half_bits; /* a bucket has 2^half_bits steps */
    uint32_t length;
    uint64_t count, least, most;
    double sum;
    uint64_t *counts;
};

/* False: no memory. Pages that nothing falls into are not touched. */
bool load_hist_init(struct load_hist *, unsigned digits);
void load_hist_deinit(struct load_hist *);
void load_hist_add(struct load_hist *, uint64_t ns);
void load_hist_merge(struct load_hist *, const struct load_hist *from); /* of the same digits */
/* The highest value that is counted like the one at this quantile (0..1), at most the greatest; 0 when empty. */
uint64_t load_hist_quantile(const struct load_hist *, double quantile);
double load_hist_mean(const struct load_hist *);
/* Lowest and highest value of one of `length` steps. */
uint64_t load_hist_low(const struct load_hist *, uint32_t index);
uint64_t load_hist_high(const struct load_hist *, uint32_t index);

/* {"count":..,"min":..,"mean":..,"max":..,"p50":..,...,"counts":[[low, count],...]}, nanoseconds. */
void load_hist_json(const struct load_hist *, bool with_counts, FILE *);
/* HdrHistogram's V2 encoding, compressed, in base64; NULL without memory. The caller frees it. */
char *load_hist_encode(const struct load_hist *);

#endif
