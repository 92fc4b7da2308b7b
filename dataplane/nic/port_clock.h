/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clock of a port that stamps what it receives, told in ours: a straight line through its last two readings. Pure: readings in, a
 * model out; nic_watch.c reads the clocks and gives the cores the model.
 *
 * Owner: the control thread. A model is constant once it is given away.
 *
 *           two good readings PORT_CLOCK_APART_NS apart
 *   LEARNING ────────────────────────────────────────> KNOWN ──┐ every PORT_CLOCK_RENEW_NS: a new line
 *      ^                                                │ ^─────┘
 *      └── jumped, stopped, started anew, not read for ─┘
 *          PORT_CLOCK_STALE_NS
 *   NONE: the port does not stamp, or its clock cannot be read; for ever.
 *   Only in KNOWN may stamps be used.
 *
 * Timers: a reading every PORT_CLOCK_APART_NS while LEARNING, every PORT_CLOCK_RENEW_NS while KNOWN. A reading that took longer than
 * PORT_CLOCK_READ_MAX_NS says too little and is left out. A line bounds itself: it is used from PORT_CLOCK_STALE_NS before its last
 * reading to as much behind it, and the next reading must lie within PORT_CLOCK_JUMP_NS of it.
 *
 * Invariants (port_clock_check):
 *   K1  KNOWN has a line that rises.
 *   K2  NONE and LEARNING have none.
 */
#ifndef TIDEMARK_NIC_PORT_CLOCK_H
#define TIDEMARK_NIC_PORT_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "tidemark/types.h"

#define PORT_CLOCK_APART_NS    (200 * TIDE_NS_PER_MS)
#define PORT_CLOCK_RENEW_NS    TIDE_NS_PER_S
#define PORT_CLOCK_STALE_NS    (5 * TIDE_NS_PER_S)
#define PORT_CLOCK_READ_MAX_NS 100000ull
#define PORT_CLOCK_JUMP_NS     1000000ull /* 200 millionths in PORT_CLOCK_STALE_NS; crystals are off by less than 100 */

enum port_clock_state { PORT_CLOCK_NONE, PORT_CLOCK_LEARNING, PORT_CLOCK_KNOWN, PORT_CLOCK_STATE_COUNT };

/* The port's clock, read between two looks at CLOCK_MONOTONIC. */
struct port_clock_reading {
    uint64_t ticks;
    uint64_t before_ns, after_ns;
};

/* ns = at_ns + (ticks - at_ticks) * ns_per_tick / 2^32 */
struct port_clock_model {
    uint64_t at_ticks;
    uint64_t at_ns;
    uint64_t ns_per_tick;
    uint64_t span_ticks; /* so far from at_ticks it is used, in both directions */
};

struct port_clock {
    uint8_t state; /* enum port_clock_state */
    uint64_t next_ns; /* of the next reading */
    uint64_t first_ticks, first_ns; /* LEARNING: the first reading; first_ns 0: there is none */
    struct port_clock_model model;
    uint64_t renewed, lost, unsure; /* lines made, times it went back to LEARNING, readings left out */
};

/* `stamps`: the port stamps, and its clock can be read. */
void port_clock_init(struct port_clock *, bool stamps);
uint64_t port_clock_deadline_ns(const struct port_clock *);
/* True when there is another line than before, or none any more (state). */
bool port_clock_on_reading(struct port_clock *, const struct port_clock_reading *);
/* The clock could not be read, or nobody had time to. True as above. */
bool port_clock_on_silence(struct port_clock *, uint64_t now_ns);
/* The port was started anew: its clock may be another one. True as above. */
bool port_clock_on_restart(struct port_clock *);
void port_clock_check(const struct port_clock *);

/* [any] False: the line does not reach as far. */
static inline bool port_clock_ns(const struct port_clock_model *m, uint64_t ticks, uint64_t *ret_ns)
{
    int64_t apart = (int64_t)(ticks - m->at_ticks);
    if ((apart < 0 ? 0 - (uint64_t)apart : (uint64_t)apart) > m->span_ticks)
        return false;
    *ret_ns = m->at_ns + (uint64_t)(int64_t)(((__int128)apart * (int64_t)m->ns_per_tick) >> 32);
    return true;
}

#endif
