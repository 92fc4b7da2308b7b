/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a core's turns take, and what the longest of them did.
 *
 * A turn that did something lasts from its look at the clock to the next turn's, in which the core has not waited: so it has what was
 * handed to port and disk after it, the receiving for the next one, and whatever the kernel did meanwhile. One of TURN_STALL_US or more is a stall.
 * The longest turn is remembered with its work for the period that runs (TURN_PERIOD_S) and the one before.
 *
 * Owner: the core. Others read the histogram, the counter, and the longest turn by turns_longest.
 *
 * Invariants (turns_check):
 *   U1  neither of the two remembered is longer than the longest of all.
 */
#ifndef TIDEMARK_CORE_TURNS_H
#define TIDEMARK_CORE_TURNS_H

#include <stdint.h>

#include "tidemark/histogram.h"
#include "tidemark/published.h"

enum { TURN_STALL_US = 1000, TURN_PERIOD_S = 10 };

#define TURN_WORK(X)                                                      \
    X(frames_in, "frames received")                                       \
    X(frames_out, "frames given to the port")                             \
    X(requests, "requests of clients")                                    \
    X(disk, "disk operations that were done")                             \
    X(jobs, "jobs of helpers that came back")                             \
    X(letters, "letters and bells of other threads")                      \
    X(begun, "disk operations and jobs of helpers that were begun")
enum turn_work_kind {
#define X(name, help) TURN_WORK_##name,
    TURN_WORK(X)
#undef X
    TURN_WORK_COUNT
};
extern const char *const turn_work_names[TURN_WORK_COUNT];
extern const char *const turn_work_help[TURN_WORK_COUNT];

struct turn {
    uint64_t begun_ns, took_ns;
    uint32_t work[TURN_WORK_COUNT];
};

struct turns {
    struct tide_histogram lengths;
    struct tide_pub64 stalls;
    uint64_t period_ns;            /* when the one that runs began */
    /* The longest of the period that runs, and of the one before. Odd: they are being written, look again. */
    struct tide_pub64 version;
    struct turn longest[2];
};

/* A turn that did something is over. */
void turns_on_end(struct turns *, const struct turn *);
/* The longer of the two; took_ns 0: there was none, or its core stands still in the middle of writing it down. [any] */
void turns_longest(const struct turns *, uint64_t now_ns, struct turn *ret);
void turns_check(const struct turns *);

#endif
