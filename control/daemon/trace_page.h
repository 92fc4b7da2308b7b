/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /trace on the management address: timelines of slow produce requests, for `tidemark trace`. The first question begins
 * (?id=N&topic=T&slower_ns=NS), each later one with the same id gets what has become ripe since (trace_join.h), and one with
 * end=1 is the last and gets everything. Who does not ask for TRACE_PATIENCE_NS is gone, and his trace ends. An answer has at most
 * TRACE_TOLD requests, so that control's turn stays short; the others are told next.
 *
 * An answer is lines of words; times are the broker's monotonic clock, 0 where something was not seen:
 *
 *   trace NOW-NS WALL-NS PARTITIONS-LED PARTITIONS EVENTS-LOST REQUESTS-OMITTED
 *   request PARTITION END ACKS CORE HOME-CORE STAMP-NS...    as many as enum stage_stamp has
 *   write SINCE-NS DONE-NS                                    of the request above, as all that follow
 *   follower BROKER SENT-NS ACKNOWLEDGED-NS
 *   mark NS
 *   end
 */
#ifndef TIDEMARK_CONTROL_DAEMON_TRACE_PAGE_H
#define TIDEMARK_CONTROL_DAEMON_TRACE_PAGE_H

#include "daemon/world.h"
#include "edge/http.h"

#define TRACE_PATIENCE_NS (3 * TIDE_NS_PER_S)
enum { TRACE_TOLD = 32 };

int trace_take_page(void *world, const struct http_query *, char **ret_bytes, size_t *ret_len);
/* Ends a trace that nobody takes from, and gives memory back that no core writes to any more. */
void trace_on_time(struct world *, uint64_t now_ns);
/* No core runs any more. */
void trace_close(struct world *);

#endif
