/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages of text, /metrics among them, on the management network, by libmicrohttpd driven from the control
 * thread's loop: handlers run on that thread.
 */
#ifndef TIDEMARK_CONTROL_EDGE_HTTP_H
#define TIDEMARK_CONTROL_EDGE_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include <uv.h>

#include "tidemark/status.h"

struct http;

struct http_query;
/* A value of the question's text, as in ?id=4; NULL: not given. */
const char *http_query(const struct http_query *, const char *name);

/* A page of text, to be read by GET. When `ask` is set it is called first, and render only when is_ready says so, or
 * after a second: what comes from other threads needs a while. */
struct http_page {
    const char *path;
    /* A page that changes something: POST only, and neither ask nor render. */
    int (*act)(void *arg, const struct http_query *, char **ret_text);
    /* As act, but what it answers is bytes. */
    int (*take)(void *arg, const struct http_query *, char **ret_bytes, size_t *ret_len);
    void (*ask)(void *arg);
    bool (*is_ready)(void *arg);
    int (*render)(void *arg, char **ret_text); /* HTTP status; *ret_text is malloc'ed and becomes the caller's */
};

struct http_pages {
    const struct http_page *pages; /* stay where they are */
    unsigned count;
    void *arg;
};

/* `address` is host:port. TIDE_BAD: not an address; TIDE_IO: taken or not ours. */
TIDE_MUST_USE enum tide_status http_start(uv_loop_t *, const char *address, const struct http_pages *, struct http **ret,
                                          char *error, size_t size);
void http_stop(struct http *);

#endif
