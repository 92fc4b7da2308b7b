/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /metrics and /healthz on the management network, by libmicrohttpd driven from the control
 * thread's loop: handlers run on that thread.
 */
#ifndef TIDEMARK_CONTROL_EDGE_HTTP_H
#define TIDEMARK_CONTROL_EDGE_HTTP_H

#include <stddef.h>

#include <uv.h>

#include "tidemark/status.h"

struct http;

/* HTTP status; *ret_text is malloc'ed and becomes the caller's. */
typedef int (*http_render)(void *arg, char **ret_text);

struct http_handlers {
    http_render metrics;
    http_render health;
    void *arg;
};

/* `address` is host:port. TIDE_BAD: not an address; TIDE_IO: taken or not ours. */
TIDE_MUST_USE enum tide_status http_start(uv_loop_t *, const char *address, const struct http_handlers *, struct http **ret,
                                          char *error, size_t size);
void http_stop(struct http *);

#endif
