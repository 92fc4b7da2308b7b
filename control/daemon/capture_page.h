/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /capture on the management address: frames of the data ports as pcapng, for `tidemark capture`. The first question begins
 * (?id=N&snap=BYTES&conn=ADDRESS), each later one with the same id takes what has come since, and one with end=1 is the last. Who does not
 * ask for CAPTURE_PATIENCE_NS is gone, and his capture ends. What travels on the data ports can be read here, so it is
 * only on the management address, as everything that changes a broker.
 */
#ifndef TIDEMARK_CONTROL_DAEMON_CAPTURE_PAGE_H
#define TIDEMARK_CONTROL_DAEMON_CAPTURE_PAGE_H

#include "daemon/world.h"
#include "edge/http.h"

#define CAPTURE_PATIENCE_NS (3 * TIDE_NS_PER_S)

int capture_take(void *world, const struct http_query *, char **ret_bytes, size_t *ret_len);
/* Ends a capture that nobody takes from. */
void capture_on_time(struct world *, uint64_t now_ns);

#endif
