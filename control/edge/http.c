/* SPDX-License-Identifier: Apache-2.0 */
#include "edge/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <microhttpd.h>

enum { HTTP_CONNECTIONS_MAX = 32, HTTP_TIMEOUT_S = 10, LOOK_MS = 1, PATIENCE_MS = 1000 };

/* A request that waits for its page to be ready. */
struct wait {
    struct MHD_Connection *connection;
    const struct http_page *page;
    uint64_t until_ms;
};

struct http {
    struct MHD_Daemon *daemon;
    struct http_pages pages;
    struct wait waits[HTTP_CONNECTIONS_MAX];
    unsigned wait_count;
    uv_loop_t *loop;
    uv_poll_t poll;
    uv_timer_t timer; /* MHD's own */
    uv_timer_t look;  /* after those that wait */
};

static enum MHD_Result reply_bytes(struct MHD_Connection *c, unsigned status, char *bytes, size_t len, enum MHD_ResponseMemoryMode mode, const char *type)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(len, bytes, mode);
    enum MHD_Result result;
    if (r == NULL)
        return MHD_NO;
    MHD_add_response_header(r, "Content-Type", type);
    result = MHD_queue_response(c, status, r);
    MHD_destroy_response(r);
    return result;
}

static enum MHD_Result reply(struct MHD_Connection *c, unsigned status, char *text, enum MHD_ResponseMemoryMode mode, const char *type)
{
    return reply_bytes(c, status, text, strlen(text), mode, type);
}

/* It does something: not for a browser that follows a link. */
static bool is_post(const struct http_page *page)
{
    return page != NULL && (page->act != NULL || page->take != NULL);
}

static const struct http_page *find(const struct http *h, const char *path)
{
    for (unsigned i = 0; i < h->pages.count; i++)
        if (strcmp(path, h->pages.pages[i].path) == 0)
            return &h->pages.pages[i];
    return NULL;
}

static void on_look(uv_timer_t *t);

static void wait_for(struct http *h, struct MHD_Connection *c, const struct http_page *page)
{
    page->ask(h->pages.arg);
    MHD_suspend_connection(c);
    h->waits[h->wait_count++] = (struct wait){c, page, uv_now(h->loop) + PATIENCE_MS};
    uv_timer_start(&h->look, on_look, LOOK_MS, LOOK_MS);
}

struct http_query {
    struct MHD_Connection *connection;
};

const char *http_query(const struct http_query *q, const char *name)
{
    return MHD_lookup_connection_value(q->connection, MHD_GET_ARGUMENT_KIND, name);
}

static int render(const struct http *h, struct MHD_Connection *c, const struct http_page *page, char **ret_text)
{
    struct http_query query = {c};
    return page->act != NULL ? page->act(h->pages.arg, &query, ret_text) : page->render(h->pages.arg, ret_text);
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *url, const char *method, const char *version,
                                  const char *body, size_t *body_size, void **state)
{
    static char not_found[] = "no such page; /metrics and /healthz are here\n";
    static char not_allowed[] = "GET only, or POST where it changes something\n";
    static int begun;
    struct http *h = arg;
    const struct http_page *page = find(h, url);
    char *text = NULL;
    int status;
    (void)version;
    (void)body;
    if (*state == NULL && strcmp(method, "POST") == 0) { /* the answer comes behind the body, which nobody reads */
        *state = &begun;
        return MHD_YES;
    }
    if (*body_size != 0) {
        *body_size = 0;
        return MHD_YES;
    }
    if (strcmp(method, is_post(page) ? "POST" : "GET") != 0)
        return reply(c, MHD_HTTP_METHOD_NOT_ALLOWED, not_allowed, MHD_RESPMEM_PERSISTENT, "text/plain");
    if (page == NULL)
        return reply(c, MHD_HTTP_NOT_FOUND, not_found, MHD_RESPMEM_PERSISTENT, "text/plain");
    if (page->ask != NULL && *state == NULL && h->wait_count < HTTP_CONNECTIONS_MAX) {
        *state = h; /* the next call is after the wait */
        wait_for(h, c, page);
        return MHD_YES;
    }
    if (page->take != NULL) {
        struct http_query query = {c};
        size_t len = 0;
        status = page->take(h->pages.arg, &query, &text, &len);
        return text == NULL ? MHD_NO : reply_bytes(c, (unsigned)status, text, len, MHD_RESPMEM_MUST_FREE, "application/octet-stream");
    }
    status = render(h, c, page, &text);
    if (text == NULL)
        return MHD_NO;
    return reply(c, (unsigned)status, text, MHD_RESPMEM_MUST_FREE, "text/plain; version=0.0.4");
}

static void on_timer(uv_timer_t *t);

static void run(struct http *h)
{
    MHD_UNSIGNED_LONG_LONG timeout;
    MHD_run(h->daemon);
    if (MHD_get_timeout(h->daemon, &timeout) == MHD_YES)
        uv_timer_start(&h->timer, on_timer, timeout, 0);
    else
        uv_timer_stop(&h->timer);
}

static void on_readable(uv_poll_t *p, int status, int events)
{
    (void)status;
    (void)events;
    run(p->data);
}

static void on_timer(uv_timer_t *t)
{
    run(t->data);
}

static void on_look(uv_timer_t *t)
{
    struct http *h = t->data;
    unsigned left = 0;
    bool resumed = false;
    for (unsigned i = 0; i < h->wait_count; i++) {
        if (h->waits[i].page->is_ready(h->pages.arg) || uv_now(h->loop) >= h->waits[i].until_ms) {
            MHD_resume_connection(h->waits[i].connection);
            resumed = true;
        } else {
            h->waits[left++] = h->waits[i];
        }
    }
    h->wait_count = left;
    if (left == 0)
        uv_timer_stop(&h->look);
    if (resumed)
        run(h);
}

static bool parse(const char *address, struct sockaddr_in *ret)
{
    char host[256];
    const char *colon = strrchr(address, ':');
    char *end;
    unsigned long port;
    if (colon == NULL || (size_t)(colon - address) >= sizeof(host))
        return false;
    snprintf(host, sizeof(host), "%.*s", (int)(colon - address), address);
    port = strtoul(colon + 1, &end, 10);
    memset(ret, 0, sizeof(*ret));
    ret->sin_family = AF_INET;
    ret->sin_port = htons((uint16_t)port);
    return *end == 0 && port > 0 && port < 65536 && inet_pton(AF_INET, host, &ret->sin_addr) == 1;
}

enum tide_status http_start(uv_loop_t *loop, const char *address, const struct http_pages *pages, struct http **ret, char *error,
                            size_t size)
{
    struct http *h = calloc(1, sizeof(*h));
    struct sockaddr_in at;
    const union MHD_DaemonInfo *info;
    if (h == NULL || !parse(address, &at)) {
        snprintf(error, size, "control.address: '%.100s' is not IPv4:port", address);
        free(h);
        return TIDE_BAD;
    }
    h->pages = *pages;
    h->loop = loop;
    h->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, h, MHD_OPTION_SOCK_ADDR, &at, MHD_OPTION_CONNECTION_LIMIT,
                                 (unsigned)HTTP_CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)HTTP_TIMEOUT_S, MHD_OPTION_END);
    if (h->daemon == NULL) {
        snprintf(error, size, "control.address: %s cannot be listened on: %s", address, strerror(errno));
        free(h);
        return TIDE_IO;
    }
    info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    uv_poll_init(loop, &h->poll, info->epoll_fd);
    uv_timer_init(loop, &h->timer);
    uv_timer_init(loop, &h->look);
    h->poll.data = h->timer.data = h->look.data = h;
    uv_poll_start(&h->poll, UV_READABLE, on_readable);
    *ret = h;
    return TIDE_OK;
}

void http_stop(struct http *h)
{
    if (h == NULL)
        return;
    uv_poll_stop(&h->poll);
    uv_timer_stop(&h->timer);
    uv_timer_stop(&h->look);
    for (unsigned i = 0; i < h->wait_count; i++)
        MHD_resume_connection(h->waits[i].connection);
    MHD_stop_daemon(h->daemon);
    free(h);
}
