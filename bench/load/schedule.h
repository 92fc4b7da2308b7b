/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When requests are due. A function of kind, rate, seed and number alone: nothing that happens in a run moves it.
 *
 * Owner: one worker.
 */
#ifndef TIDEMARK_BENCH_LOAD_SCHEDULE_H
#define TIDEMARK_BENCH_LOAD_SCHEDULE_H

#include <stdint.h>

#include "tidemark/random.h"

enum load_arrivals { LOAD_CONSTANT, LOAD_EXPONENTIAL };

struct load_schedule {
    enum load_arrivals kind;
    double mean_ns;  /* between two */
    double phase_ns; /* of the first one, when constant */
    double at_ns;
    uint64_t end_ns;
    uint64_t left;   /* so many more, at most */
    uint64_t number; /* of the next one */
    uint64_t next_ns;
    struct tide_random chance;
};

/* `per_s` requests a second in [0, duration_ns), at most `most` of them. `phase` in [0, 1) of the time between two. */
void load_schedule_init(struct load_schedule *, enum load_arrivals, double per_s, double phase, uint64_t seed, uint64_t duration_ns, uint64_t most);
/* From the start of the run; TIDE_NEVER: there are no more. */
static inline uint64_t load_schedule_next_ns(const struct load_schedule *s) { return s->next_ns; }
/* The number of the one that is next, which then is another. */
uint64_t load_schedule_take(struct load_schedule *);
/* More than there will be, but for luck of one in 10^9: to size tables by. */
uint64_t load_schedule_bound(double per_s, uint64_t duration_ns, uint64_t most);

#endif
