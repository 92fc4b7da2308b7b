/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters of one core: written by that core alone, read by anyone; a reader may be one behind.
 */
#ifndef TIDEMARK_COUNTERS_H
#define TIDEMARK_COUNTERS_H

#include <stdint.h>

#include "tidemark/published.h"

enum tide_counter {
#define COUNTER(name, help) COUNTER_##name,
#include "tidemark/counters.def"
#undef COUNTER
    COUNTER_COUNT
};

struct tide_counters {
    uint64_t values[COUNTER_COUNT];
};

extern const char *const tide_counter_names[COUNTER_COUNT];
extern const char *const tide_counter_help[COUNTER_COUNT];

static inline void tide_count_many(struct tide_counters *c, enum tide_counter which, uint64_t n)
{
    tide_word_add(&c->values[which], n);
}

static inline void tide_count(struct tide_counters *c, enum tide_counter which)
{
    tide_count_many(c, which, 1);
}

#endif
