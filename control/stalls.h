/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which data core has not turned for too long. Pure: the turns that each has begun, and time, in.
 *
 * A core that waits is offline for grace periods, so quiet points say nothing of one that never comes back from its wait; but it looks
 * around many times in STALLS_SLEEP_MS, whatever happens. Of a core that runs, quiet points say more, and sooner (health.c).
 *
 * Owner: the control thread.
 */
#ifndef TIDEMARK_CONTROL_STALLS_H
#define TIDEMARK_CONTROL_STALLS_H

#include <stdbool.h>
#include <stdint.h>

#include "tidemark/types.h"

enum { STALLS_SLEEP_MS = 500 }; /* a core waits for a fifth of it at most (boot.c); a busy machine may wake it late */

struct stalls {
    uint64_t turns[TIDE_CORES_MAX];    /* when they were seen to change last... */
    uint64_t since_ms[TIDE_CORES_MAX]; /* ...which was then; 0: never looked at */
};

/* The core has begun so many turns. `late`: nobody has looked for a while, so nobody knows since when they are so many. */
void stalls_on_look(struct stalls *, uint64_t now_ms, uint32_t core, uint64_t turns, bool late);
/* Has one of them stood still for timeout_ms longer than it may wait? */
bool stalls_is(const struct stalls *, uint64_t now_ms, uint32_t cores, uint64_t timeout_ms);

#endif
