/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pace in bytes per second, in the time it is told (KIP-73): a bucket that fills at that rate, holds
 * what comes together in THROTTLE_BURST_MS, and may be drawn below empty by one step, which is then
 * waited for. So the pace holds over any time, but for one burst and one step.
 *
 * Owner: a core. A broker's rate is shared out evenly among its cores.
 *
 * Invariants (throttle_check):
 *   T1  tokens <= burst.
 */
#ifndef TIDEMARK_REPLICA_THROTTLE_H
#define TIDEMARK_REPLICA_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>

enum { THROTTLE_BURST_MS = 100 };
#define THROTTLE_NONE INT64_MAX

struct throttle {
    int64_t rate;       /* bytes per second, THROTTLE_NONE: as fast as it goes */
    int64_t burst;
    int64_t tokens;     /* bytes; below zero: owed */
    uint64_t filled_ns; /* what came in until then is counted */
};

void throttle_init(struct throttle *);
/* Another pace from now on; what is owed stays owed. */
void throttle_set(struct throttle *, uint64_t now_ns, int64_t rate);
/* Bytes that may go now; 0: none. */
uint64_t throttle_room(struct throttle *, uint64_t now_ns);
/* So many went, whatever the room was. */
void throttle_take(struct throttle *, uint64_t bytes);
/* When there is room for `bytes` (at most a burst). TIDE_NEVER at rate 0. */
uint64_t throttle_deadline_ns(const struct throttle *, uint64_t bytes);
void throttle_check(const struct throttle *);

#endif
