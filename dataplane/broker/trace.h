/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The road of single requests, for `tidemark trace`. Off, it is one branch at each event.
 *
 * On, each core writes what happens to the partitions of one topic into a ring of its own: writes, messages to followers, their
 * acknowledgements, marks that rose, and requests that took longer than was asked for, with their stamps (stages.h) and the
 * end that the slowest of their partitions waited for. Who takes joins the two by that end. What happened to a request was written, by
 * whatever core, before the request itself: so who has found a request, and takes all rings once more, has all of it.
 *
 * Owner: control turns it on and off and takes; a ring has one writer and one reader. A core that finds its ring full counts
 * the event as lost and goes on.
 *
 *          trace_on              trace_off               a grace period has passed (trace_on_quiet)
 *   OFF ───────────────> ON ───────────────> ENDING ───────────────────────────────────────> OFF
 *   In ENDING cores may still be writing, so the memory stays.
 */
#ifndef TIDEMARK_BROKER_TRACE_H
#define TIDEMARK_BROKER_TRACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "broker/stages.h"
#include "tidemark/published.h"
#include "tidemark/status.h"
#include "tidemark/types.h"

enum trace_state { TRACE_OFF, TRACE_ON, TRACE_ENDING, TRACE_STATE_COUNT };

enum { TRACE_SLOTS = 32768 }; /* of each core's ring */

enum trace_kind {
    TRACE_WRITE,        /* since_ns -> at_ns, to `end` */
    TRACE_SENT,         /* to follower `broker` */
    TRACE_ACKNOWLEDGED, /* by follower `broker` */
    TRACE_MARK,         /* the high watermark rose to `end` */
    TRACE_REQUEST,
    TRACE_KIND_COUNT
};

struct trace_event {
    uint8_t kind;  /* enum trace_kind */
    int16_t acks;
    uint32_t slot; /* of the partition; of a request: of its slowest */
    int64_t end;   /* everything below is meant */
    union {
        struct {
            uint64_t since_ns, at_ns;
            int32_t broker;
        };
        uint64_t stamps[STAMP_COUNT]; /* of a request; 0: not reached */
    };
};

struct trace_wish {
    uint64_t slots[TIDE_PARTITIONS_MAX / 64]; /* of the topic's partitions */
    uint64_t slower_ns;
};

struct trace_ring {
    _Alignas(TIDE_CACHE_LINE) struct tide_pub64 head; /* of the core: events written */
    uint64_t tail_seen;
    struct tide_pub64 lost; /* an old value is told a little later */
    _Alignas(TIDE_CACHE_LINE) struct tide_pub64 tail; /* of control: events taken; an old value loses an event */
    struct trace_event *events;
};

struct trace {
    uint8_t state; /* enum trace_state, of control */
    _Atomic bool is_on;
    unsigned cores;
    struct trace_wish wish; /* constant while it is on */
    struct trace_ring rings[TIDE_CORES_MAX];
};

/* [control] TIDE_EXISTS: there is one, or it has not ended yet. TIDE_FULL: no memory. */
TIDE_MUST_USE enum tide_status trace_on(struct trace *, unsigned cores, const struct trace_wish *);
void trace_off(struct trace *);
void trace_on_quiet(struct trace *);
/* Where the ring of a core ends now; the next event before that end, which is then taken. [control] */
uint64_t trace_end(const struct trace *, unsigned core);
bool trace_take(struct trace *, unsigned core, uint64_t end, struct trace_event *ret);
uint64_t trace_lost(const struct trace *);

/* [core] Is anything? Is that partition? */
static inline bool trace_is_on(const struct trace *t)
{
    return __builtin_expect(atomic_load_explicit(&t->is_on, memory_order_acquire), 0);
}
static inline bool trace_has(const struct trace *t, uint32_t slot)
{
    return trace_is_on(t) && (t->wish.slots[slot / 64] & 1ull << slot % 64);
}
void trace_write(struct trace *, unsigned core, const struct trace_event *);

#endif
