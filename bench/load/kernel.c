/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's TCP: one epoll a worker. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "bench/load/transport.h"

enum { EVENTS = 256, PIECES = 64, READ_MAX = 1 << 18, OUT_MAX = 4 << 20, FILES_BESIDE = 64 };

struct line {
    int fd; /* -1: closed */
    bool up, failed, wants_out;
    struct tide_rope out;
};

struct kernel {
    struct load_transport base;
    int epoll;
    bool spin;
    int busy_poll_us;
    uint32_t line_count;
    struct line *lines;
    struct epoll_event events[EVENTS];
    int event_count, event_at;
};

static struct kernel *of(struct load_transport *t) { return (struct kernel *)t; }

static uint64_t kernel_now_ns(struct load_transport *t)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * TIDE_NS_PER_S + (uint64_t)ts.tv_nsec;
}

static socklen_t socket_address(const struct load_address *a, struct sockaddr_storage *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (tide_addr_is_v4(&a->addr)) {
        struct sockaddr_in *in = (struct sockaddr_in *)ret;
        in->sin_family = AF_INET;
        in->sin_port = htons(a->port);
        in->sin_addr.s_addr = htonl(tide_addr_to_v4(&a->addr));
        return sizeof(*in);
    }
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(a->port);
    memcpy(&in6->sin6_addr, a->addr.bytes, sizeof(a->addr.bytes));
    return sizeof(*in6);
}

static void watch(struct kernel *k, uint32_t line, bool out)
{
    struct epoll_event e = {.events = EPOLLIN | (out ? (uint32_t)EPOLLOUT : 0), .data.u32 = line};
    (void)epoll_ctl(k->epoll, EPOLL_CTL_MOD, k->lines[line].fd, &e);
    k->lines[line].wants_out = out;
}

static void kernel_close(struct load_transport *t, uint32_t line)
{
    struct kernel *k = of(t);
    struct line *l = &k->lines[line];
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
    tide_rope_clear(&l->out);
    for (int i = k->event_at; i < k->event_count; i++)
        if (k->events[i].data.u32 == line)
            k->events[i].data.u32 = UINT32_MAX;
}

static bool kernel_connect(struct load_transport *t, uint32_t line, const struct load_address *to)
{
    struct kernel *k = of(t);
    struct sockaddr_storage address;
    socklen_t len = socket_address(to, &address);
    int one = 1, fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.u32 = line};
    if (fd < 0)
        return false;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (k->busy_poll_us != 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_BUSY_POLL, &k->busy_poll_us, sizeof(k->busy_poll_us));
    if ((connect(fd, (struct sockaddr *)&address, len) != 0 && errno != EINPROGRESS) || epoll_ctl(k->epoll, EPOLL_CTL_ADD, fd, &e) != 0) {
        close(fd);
        return false;
    }
    k->lines[line] = (struct line){.fd = fd, .wants_out = true};
    return true;
}

static uint32_t kernel_room(struct load_transport *t, uint32_t line)
{
    uint32_t waiting = of(t)->lines[line].out.len;
    return waiting < OUT_MAX ? OUT_MAX - waiting : 0;
}

static void flush(struct kernel *k, uint32_t line)
{
    struct line *l = &k->lines[line];
    while (l->out.len != 0) {
        struct iovec v[PIECES];
        struct tide_slice s = tide_rope_slice(&l->out, 0, l->out.len);
        const uint8_t *piece;
        uint32_t len;
        int n = 0;
        while (n < PIECES && (len = tide_slice_next(&s, &piece)) != 0)
            v[n++] = (struct iovec){.iov_base = (void *)(uintptr_t)piece, .iov_len = len};
        struct msghdr m = {.msg_iov = v, .msg_iovlen = (size_t)n};
        ssize_t sent = sendmsg(l->fd, &m, MSG_NOSIGNAL);
        if (sent < 0) {
            l->failed |= errno != EAGAIN && errno != EINTR; /* the next read says so */
            break;
        }
        tide_rope_drop(&l->out, (uint32_t)sent);
    }
    if (!l->failed && l->wants_out != (l->out.len != 0))
        watch(k, line, l->out.len != 0);
}

static void kernel_write(struct load_transport *t, uint32_t line, struct tide_rope *r)
{
    struct kernel *k = of(t);
    bool empty = k->lines[line].out.len == 0;
    tide_rope_join(&k->lines[line].out, r);
    if (empty && k->lines[line].up)
        flush(k, line);
}

/* False: nothing more now. */
static bool read_some(struct kernel *k, struct line *l, struct tide_rope *into)
{
    struct rte_mbuf *tail = into->tail, *m = rte_pktmbuf_alloc(k->base.pool);
    struct iovec v[2];
    int n = 0;
    uint32_t room = 0;
    if (tail != NULL && (room = rte_pktmbuf_tailroom(tail)) != 0)
        v[n++] = (struct iovec){.iov_base = rte_pktmbuf_mtod_offset(tail, void *, tail->data_len), .iov_len = room};
    if (m != NULL)
        v[n++] = (struct iovec){.iov_base = rte_pktmbuf_mtod(m, void *), .iov_len = rte_pktmbuf_tailroom(m)};
    ssize_t got = n != 0 ? readv(l->fd, v, n) : -1;
    uint32_t in_tail = got > 0 ? TIDE_MIN((uint32_t)got, room) : 0;
    if (n != 0 && got <= 0)
        l->failed |= got == 0 || (errno != EAGAIN && errno != EINTR);
    if (in_tail != 0) {
        tail->data_len = (uint16_t)(tail->data_len + in_tail);
        into->len += in_tail;
    }
    if (m != NULL) {
        m->data_len = got > 0 ? (uint16_t)((uint32_t)got - in_tail) : 0;
        tide_rope_push(into, m);
    }
    return got > 0 && m != NULL && (uint32_t)got == room + rte_pktmbuf_data_room_size(k->base.pool) - RTE_PKTMBUF_HEADROOM;
}

static void kernel_read(struct load_transport *t, uint32_t line, struct tide_rope *into)
{
    struct kernel *k = of(t);
    uint32_t before = into->len;
    while (read_some(k, &k->lines[line], into) && into->len - before < READ_MAX)
        ;
}

/* What a line that became writable is worth: UP once, WRITABLE when all was written. */
static uint32_t on_writable(struct kernel *k, uint32_t line)
{
    struct line *l = &k->lines[line];
    uint32_t bits = 0;
    if (!l->up) {
        int error = 0;
        socklen_t len = sizeof(error);
        (void)getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &len);
        if (error != 0)
            return LOAD_DOWN;
        l->up = true;
        bits = LOAD_UP;
    }
    flush(k, line);
    return bits | (l->out.len == 0 ? LOAD_WRITABLE : 0);
}

static bool kernel_next(struct load_transport *t, struct load_event *ret)
{
    struct kernel *k = of(t);
    while (k->event_at < k->event_count) {
        const struct epoll_event *e = &k->events[k->event_at++];
        uint32_t line = e->data.u32, bits = 0;
        if (line == UINT32_MAX)
            continue;
        if (k->lines[line].failed) { /* its last bytes were given */
            *ret = (struct load_event){.line = line, .bits = LOAD_DOWN};
            return true;
        }
        if (e->events & (EPOLLOUT | EPOLLERR))
            bits |= on_writable(k, line);
        if (!(bits & LOAD_DOWN) && e->events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            bits |= LOAD_READABLE;
        *ret = (struct load_event){.line = line, .bits = bits};
        return true;
    }
    return false;
}

static void kernel_turn(struct load_transport *t, uint64_t until_ns)
{
    struct kernel *k = of(t);
    uint64_t now = kernel_now_ns(t), wait = k->spin || until_ns <= now ? 0 : until_ns - now;
    struct timespec ts = {.tv_sec = (time_t)(wait / TIDE_NS_PER_S), .tv_nsec = (long)(wait % TIDE_NS_PER_S)};
    int n = epoll_pwait2(k->epoll, k->events, EVENTS, &ts, NULL);
    k->event_at = 0;
    k->event_count = n > 0 ? n : 0;
}

static void kernel_destroy(struct load_transport *t)
{
    struct kernel *k = of(t);
    for (uint32_t i = 0; i < k->line_count; i++)
        kernel_close(t, i);
    close(k->epoll);
    free(k->lines);
    free(k);
}

/* Ten thousand connections are more than a shell allows. */
static bool raise_files(uint64_t lines, char *error_text)
{
    struct rlimit limit = {0};
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max >= lines + FILES_BESIDE)
        return true;
    snprintf(error_text, LOAD_ERROR_MAX, "%lu connections need a limit of %lu open files; it is %lu", lines, lines + FILES_BESIDE, (uint64_t)limit.rlim_max);
    return false;
}

struct load_transport *load_kernel_create(const struct load_options *o, struct rte_mempool *pool, uint32_t lines, char error_text[LOAD_ERROR_MAX])
{
    static const struct load_transport_ops ops = {kernel_now_ns, kernel_connect, kernel_room, kernel_write, kernel_read,
                                                  kernel_close, kernel_next, kernel_turn, kernel_destroy};
    if (!raise_files(lines, error_text))
        return NULL;
    struct kernel *k = calloc(1, sizeof(*k));
    struct line *table = calloc(lines, sizeof(*table));
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (k == NULL || table == NULL || epoll < 0) {
        snprintf(error_text, LOAD_ERROR_MAX, "epoll: %s", strerror(errno));
        free(k);
        free(table);
        return NULL;
    }
    *k = (struct kernel){.base = {.ops = &ops, .pool = pool}, .epoll = epoll, .spin = o->wait != 0, .busy_poll_us = (int)o->busy_poll_us,
                         .line_count = lines, .lines = table};
    for (uint32_t i = 0; i < lines; i++)
        table[i].fd = -1;
    return &k->base;
}
