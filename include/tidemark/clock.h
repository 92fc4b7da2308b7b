/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time within a turn.
 *
 * A turn has one time (struct tide_time), and what decides anything reads that. What is only measured may ask
 * how much of the turn has passed: the loop hands in the processor's counter as it was when it read the clock, and the length of a
 * tick. Every turn begins anew, so an error of the tick's length is that of one turn. In virtual time a turn has no length:
 * the tick is 0 and the counter is not read.
 */
#ifndef TIDEMARK_CLOCK_H
#define TIDEMARK_CLOCK_H

#include <rte_cycles.h>

#include "tidemark/types.h"

static inline uint64_t tide_now_ns(const struct tide_time *t)
{
    if (t->tick_q32 == 0)
        return t->now_ns;
    return t->now_ns + (uint64_t)((unsigned __int128)(rte_rdtsc() - t->tick) * t->tick_q32 >> 32);
}

#endif
