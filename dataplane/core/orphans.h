/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections that the process before this one left behind. It ended without a word to their peers, since its TCP ended with
 * it; a peer that has all of its bytes acknowledged and waits for an answer would wait until its own patience is over.
 *
 * Each of them is roused: a packet that its peer must answer, and the answer is reset as any stranger's. The list is gone
 * through ORPHANS_PASSES times, since a packet may be lost and a neighbour's address not be known at once.
 *
 * Timers: ORPHANS_AT_ONCE of them every ORPHANS_TICK_NS, below the limit on resets to strangers; passes begin a second apart
 * at least.
 *
 * Owner: core 0. The list belongs to whoever started the core, and is constant.
 *
 * Invariants (orphans_check):
 *   O1  at < count while a pass is left, and after the last pass nothing is due.
 */
#ifndef TIDEMARK_CORE_ORPHANS_H
#define TIDEMARK_CORE_ORPHANS_H

#include "tcp/tcp.h"

enum { ORPHANS_PASSES = 3, ORPHANS_AT_ONCE = 32 };
#define ORPHANS_TICK_NS (50 * TIDE_NS_PER_MS)

struct orphan {
    struct tcp_endpoint local, remote;
};

struct orphans {
    const struct orphan *list;
    uint32_t count;
    uint32_t at;
    uint32_t passes_left;
    uint64_t pass_ns; /* when this pass began */
    uint64_t due_ns;  /* TIDE_NEVER: nothing is left to do */
};

void orphans_init(struct orphans *, uint64_t now_ns, const struct orphan *list, uint32_t count);
/* Rouses the next ones when it is time. */
void orphans_on_time(struct orphans *, uint64_t now_ns, struct tcp_stack *);
uint64_t orphans_deadline_ns(const struct orphans *);
void orphans_check(const struct orphans *);

#endif
