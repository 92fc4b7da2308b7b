/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Timelines of requests, from the page /trace of a broker (daemon/trace_page.h has its words): text in, text or JSON out.
 *
 * Owner: the caller. Times are nanoseconds of the broker's monotonic clock, 0: not seen.
 */
#ifndef TIDEMARK_CONTROL_TOOL_TRACE_VIEW_H
#define TIDEMARK_CONTROL_TOOL_TRACE_VIEW_H

#include <stdbool.h>
#include <stdio.h>

enum { TRACE_STAMPS = 9, TRACE_FOLLOWERS_MAX = 16 };

struct trace_page {
    unsigned long now_ns, wall_ns;
    unsigned led, partitions;
    unsigned long lost, omitted; /* events, slow requests; since the trace began */
};

struct trace_request {
    unsigned partition;
    long end; /* its records are those before this offset */
    int acks;
    unsigned core, home;
    unsigned long stamps[TRACE_STAMPS];
    unsigned long write_since_ns, write_done_ns, mark_ns;
    unsigned follower_count;
    struct {
        int broker;
        unsigned long sent_ns, acknowledged_ns;
    } followers[TRACE_FOLLOWERS_MAX];
};

/* False: that is no page of a broker. */
bool trace_page_read(const char *text, struct trace_page *ret);
/* The next request of the page, from *at on; false: there is none, or it makes no sense. */
bool trace_request_read(const char **at, struct trace_request *ret);

void trace_view(const struct trace_page *, const char *topic, const struct trace_request *, FILE *);
void trace_json(const struct trace_page *, const char *topic, const struct trace_request *, FILE *);

#endif
