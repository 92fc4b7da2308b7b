/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The timelines of slow requests, from what the cores wrote into their rings (broker/trace.h): events in, timelines out.
 *
 * A request names a partition and the end that it waited for there; its write, the messages to followers, their acknowledgements and
 * the mark are the first of each kind that have that end, since the request was received. What happened to a
 * request was written before the request was, but maybe by another core, whose ring was looked at earlier. So a request ripens: it is
 * told one look after the one that found it. Followers that nobody waited for get that while, too.
 *
 * Owner: control. Bounded: of events the last TRACE_EVENTS_KEPT are kept, so a step of a long request may be missing (0); requests
 * beyond TRACE_REQUESTS_KEPT are counted and forgotten.
 *
 * Invariants:
 *   J1  the looks of kept events do not fall in the order in which these came; so a search may stop at a look before its request.
 */
#ifndef TIDEMARK_CONTROL_DAEMON_TRACE_JOIN_H
#define TIDEMARK_CONTROL_DAEMON_TRACE_JOIN_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/trace.h"

enum { TRACE_EVENTS_KEPT = 16384, TRACE_REQUESTS_KEPT = 256 };

struct trace_timeline {
    uint32_t slot;
    int64_t end;
    int16_t acks;
    uint32_t core; /* of its connection */
    uint64_t stamps[STAMP_COUNT]; /* 0: not reached */
    uint32_t home;                /* the core that wrote */
    uint64_t write_since_ns, write_done_ns, mark_ns; /* 0: not seen, and below, too */
    uint32_t follower_count;
    struct {
        int32_t broker;
        uint64_t sent_ns, acknowledged_ns;
    } followers[TIDE_REPLICAS_MAX];
};

struct trace_join;

struct trace_join *trace_join_create(void); /* NULL: no memory */
void trace_join_destroy(struct trace_join *);
/* What is added from now on was in the rings at that time: requests of earlier looks are ripe. */
void trace_join_look(struct trace_join *, uint64_t now_ns);
void trace_join_add(struct trace_join *, uint32_t core, const struct trace_event *);
/* The next ripe request; false when there is none. */
bool trace_join_next(struct trace_join *, struct trace_timeline *ret);
uint64_t trace_join_omitted(const struct trace_join *);

#endif
