/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a frame arrived, by the card that received it.
 *
 * The time travels with the frame, in DPDK's own field for it (rte_mbuf_dyn.h): nic_rx leaves CLOCK_MONOTONIC nanoseconds there, and the
 * flag set, in frames of a port that stamps them and whose clock is known (port_clock.h). All others have no stamp, and arrived in the
 * turn that saw them first. A copy of the bytes has no stamp.
 */
#ifndef TIDEMARK_ARRIVAL_H
#define TIDEMARK_ARRIVAL_H

#include <rte_mbuf.h>
#include <rte_mbuf_dyn.h>

#include "tidemark/types.h"

/* Where field and flag are. Written before the first core starts; offset -1: no port stamps. */
struct tide_arrival_field {
    int offset;
    uint64_t flag;
};
extern struct tide_arrival_field tide_arrival_field;

#define TIDE_ARRIVAL_AGE_MAX (10 * TIDE_NS_PER_S) /* an older one is not believed */

static inline bool tide_arrival_is_stamped(const struct rte_mbuf *m)
{
    return tide_arrival_field.offset >= 0 && (m->ol_flags & tide_arrival_field.flag) != 0;
}

/* The stamp, which may be the card's raw number below nic_rx. */
static inline uint64_t *tide_arrival_stamp(struct rte_mbuf *m)
{
    return RTE_MBUF_DYNFIELD(m, tide_arrival_field.offset, uint64_t *);
}

/* When it arrived: never after the turn of `now_ns`, whatever the card says. */
static inline uint64_t tide_arrival_ns(const struct rte_mbuf *m, uint64_t now_ns)
{
    if (!tide_arrival_is_stamped(m))
        return now_ns;
    uint64_t ns = *RTE_MBUF_DYNFIELD(m, tide_arrival_field.offset, const uint64_t *);
    return ns <= now_ns && now_ns - ns < TIDE_ARRIVAL_AGE_MAX ? ns : now_ns;
}

#endif
