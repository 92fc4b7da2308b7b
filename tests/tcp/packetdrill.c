/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libtide_tcp_packetdrill_stack.so: the stack behind packetdrill's interface, in virtual time. Time passes
 * only when packetdrill sleeps, asks for the time or waits for a packet, or when a call blocks.
 *
 * packetdrill calls from two threads (blocking calls have their own): one lock guards everything,
 * and a blocked call looks again whenever something has happened.
 *
 * flags, separated by commas: local=ADDRESS (for connect; 192.168.0.1), mtu=N (1500), window=N, tso=0
 * (one MSS a packet; otherwise what leaves at once and belongs together is shown as one packet, as by a
 * port that segments).
 */
#include "packetdrill.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "../unit/unit.h"
#include "tcp/tcp.h"
#include "tidemark/bytes.h"
#include "tidemark/checksum.h"

enum { SOCKS = 64, ACCEPTS = 16, PACKETS = 512, PACKET_MAX = 66000, WAIT_MOST_S = 30, TICK_NS = 2000, PROTO_TCP = 6 };

struct sock {
    int fd; /* a real one, of /dev/null: at its end packetdrill closes them itself */
    bool used, listening, connecting, nonblocking, closed_by_peer, gone, reset, read_shut, write_shut;
    uint16_t port;
    struct tcp_conn *conn;
    struct tide_rope in; /* read from the stack, not yet by the script */
    struct sock *accepted[ACCEPTS];
    unsigned accepted_count;
};

struct packet {
    uint64_t at_ns;
    uint32_t len, header; /* header: IP and TCP */
    struct tcp_meta meta;
    uint8_t *bytes;
};

struct drill {
    struct packetdrill_interface *ifc;
    pthread_mutex_t lock;
    pthread_cond_t happened;
    struct rte_mempool *pool;
    struct tcp_stack *stack;
    struct tcp_config config;
    struct tide_addr local;
    bool tso;
    uint64_t now_ns;
    uint16_t next_port;
    struct sock socks[SOCKS];
    struct packet sent[PACKETS];
    unsigned sent_head, sent_count;
};

/* ---- packets out ------------------------------------------------------------------------------------------ */

static uint64_t pseudo_sum(const struct tcp_meta *m, uint32_t len)
{
    uint8_t tail[4] = {0, PROTO_TCP};
    bool v4 = tide_addr_is_v4(&m->src);
    uint64_t sum = tide_sum_add(0, m->src.bytes + (v4 ? 12 : 0), v4 ? 4 : 16);
    sum = tide_sum_add(sum, m->dst.bytes + (v4 ? 12 : 0), v4 ? 4 : 16);
    store_be16(tail + 2, (uint16_t)len);
    return tide_sum_add(sum, tail, sizeof(tail));
}

static void put_ip(struct packet *p)
{
    bool v4 = tide_addr_is_v4(&p->meta.src);
    uint32_t ip = v4 ? 20 : 40;
    uint8_t *h = p->bytes;
    uint16_t sum;
    memset(h, 0, ip);
    if (v4) {
        h[0] = 0x45;
        h[1] = p->meta.ecn;
        store_be16(h + 2, (uint16_t)p->len);
        store_be16(h + 6, 0x4000);
        h[8] = 64;
        h[9] = PROTO_TCP;
        memcpy(h + 12, p->meta.src.bytes + 12, 4);
        memcpy(h + 16, p->meta.dst.bytes + 12, 4);
        sum = (uint16_t)~tide_sum_fold(tide_sum_add(0, h, 20));
        memcpy(h + 10, &sum, 2);
    } else {
        h[0] = 0x60 | p->meta.ecn >> 4;
        h[1] = (uint8_t)(p->meta.ecn << 4);
        store_be16(h + 4, (uint16_t)(p->len - 40));
        h[6] = PROTO_TCP;
        h[7] = 64;
        memcpy(h + 8, p->meta.src.bytes, 16);
        memcpy(h + 24, p->meta.dst.bytes, 16);
    }
    store_be16(h + ip + 16, 0);
    sum = (uint16_t)~tide_sum_fold(tide_sum_add(pseudo_sum(&p->meta, p->len - ip), h + ip, p->len - ip));
    memcpy(h + ip + 16, &sum, 2);
}

/* Does `q` go on where `p` ended, in every respect? */
static bool continues(const struct packet *p, const struct packet *q)
{
    uint32_t ip = tide_addr_is_v4(&p->meta.src) ? 20 : 40;
    const uint8_t *a = p->bytes + ip, *b = q->bytes + ip;
    uint32_t len = p->len - p->header;
    return p->at_ns == q->at_ns && p->header == q->header && len != 0 && q->len != q->header && p->len + q->len < 65000 &&
           memcmp(&p->meta, &q->meta, sizeof(p->meta)) == 0 && memcmp(a, b, 4) == 0 && load_be32(a + 4) + len == load_be32(b + 4) &&
           memcmp(a + 8, b + 8, 5) == 0 && !(a[13] & 15) && !(b[13] & 7) && memcmp(a + 14, b + 14, p->header - ip - 14) == 0;
}

static void queue(struct drill *d, struct rte_mbuf *m, const struct tcp_meta *meta)
{
    struct packet *last = d->sent_count != 0 ? &d->sent[(d->sent_head + d->sent_count - 1) % PACKETS] : NULL;
    struct packet *p = &d->sent[(d->sent_head + d->sent_count) % PACKETS];
    uint32_t ip = tide_addr_is_v4(&meta->src) ? 20 : 40;
    if (d->sent_count == PACKETS)
        return;
    p->bytes = malloc(PACKET_MAX);
    p->meta = *meta;
    p->at_ns = d->now_ns;
    p->len = ip;
    for (const struct rte_mbuf *k = m; k != NULL; k = k->next) {
        memcpy(p->bytes + p->len, rte_pktmbuf_mtod(k, uint8_t *), k->data_len);
        p->len += k->data_len;
    }
    p->header = ip + (p->bytes[ip + 12] >> 4) * 4u;
    if (d->tso && last != NULL && continues(last, p)) {
        memcpy(last->bytes + last->len, p->bytes + p->header, p->len - p->header);
        last->len += p->len - p->header;
        last->bytes[ip + 13] |= p->bytes[ip + 13] & 8;
        free(p->bytes);
        return;
    }
    d->sent_count++;
}

/* ---- the stack's life --------------------------------------------------------------------------------------- */

static struct sock *new_sock(struct drill *d)
{
    for (unsigned i = 0; i < SOCKS; i++)
        if (!d->socks[i].used) {
            d->socks[i] = (struct sock){.used = true, .fd = open("/dev/null", O_RDWR | O_CLOEXEC)};
            return &d->socks[i];
        }
    return NULL;
}

static void accepted(struct drill *d, struct tcp_conn *c)
{
    uint16_t port = tcp_local(c).port;
    for (unsigned i = 0; i < SOCKS; i++) {
        struct sock *l = &d->socks[i], *s;
        if (!l->used || !l->listening || l->port != port || l->accepted_count == ACCEPTS || (s = new_sock(d)) == NULL)
            continue;
        s->conn = c;
        s->port = port;
        tcp_set_user(c, s);
        l->accepted[l->accepted_count++] = s;
        return;
    }
    tcp_abort(c);
}

static void events(struct drill *d)
{
    struct tcp_event e;
    while (tcp_next_event(d->stack, &e)) {
        struct sock *s;
        if (e.bits & TCP_EVENT_ACCEPTED)
            accepted(d, e.conn);
        s = tcp_user(e.conn);
        if (s == NULL)
            continue;
        s->connecting &= !(e.bits & TCP_EVENT_WRITABLE);
        if (e.bits & TCP_EVENT_READABLE) {
            uint32_t n = tcp_read(e.conn, &s->in);
            if (s->read_shut) {
                tide_rope_clear(&s->in);
                tcp_consumed(e.conn, n);
            }
        }
        s->closed_by_peer |= (e.bits & TCP_EVENT_PEER_CLOSED) != 0;
        if (e.bits & TCP_EVENT_GONE) {
            s->gone = true;
            s->reset = !s->closed_by_peer;
            s->conn = NULL;
        }
    }
}

/* Everything that is to be done now. */
static void settle(struct drill *d)
{
    struct rte_mbuf *packets[32];
    struct tcp_meta metas[32];
    unsigned n;
    do {
        events(d);
        n = tcp_output(d->stack, d->now_ns, packets, metas, 32);
        for (unsigned i = 0; i < n; i++) {
            queue(d, packets[i], &metas[i]);
            rte_pktmbuf_free(packets[i]);
        }
    } while (n != 0);
    events(d);
    tcp_check(d->stack);
    pthread_cond_broadcast(&d->happened);
}

static void pass(struct drill *d, uint64_t until_ns, bool for_packet)
{
    settle(d);
    while (d->now_ns < until_ns && !(for_packet && d->sent_count != 0)) {
        uint64_t next = tcp_deadline_ns(d->stack);
        d->now_ns = TIDE_MIN(until_ns, TIDE_MAX(next, d->now_ns + 1));
        tcp_on_time(d->stack, d->now_ns);
        settle(d);
    }
}

/* A blocking call waits for the other thread to move the world. */
static void wait_a_while(struct drill *d)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_nsec += 5000000;
    if (t.tv_nsec >= 1000000000)
        t.tv_sec++, t.tv_nsec -= 1000000000;
    (void)pthread_cond_timedwait(&d->happened, &d->lock, &t);
}

static struct drill *enter(void *userdata)
{
    struct drill *d = userdata;
    pthread_mutex_lock(&d->lock);
    return d;
}

static ssize_t leave(struct drill *d, ssize_t result, int error)
{
    if (error != 0)
        result = -1;
    settle(d);
    pthread_mutex_unlock(&d->lock);
    if (error != 0)
        errno = error;
    return result;
}

static struct sock *sock_of(struct drill *d, int fd)
{
    for (unsigned i = 0; i < SOCKS; i++)
        if (d->socks[i].used && d->socks[i].fd == fd)
            return &d->socks[i];
    return NULL;
}

/* ---- addresses -------------------------------------------------------------------------------------------------- */

static bool from_sockaddr(const struct sockaddr *a, struct tcp_endpoint *ret)
{
    if (a->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)a;
        *ret = (struct tcp_endpoint){tide_addr_v4(ntohl(in->sin_addr.s_addr)), ntohs(in->sin_port)};
        return true;
    }
    if (a->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)(const void *)a;
        memcpy(ret->addr.bytes, &in->sin6_addr, 16);
        ret->port = ntohs(in->sin6_port);
        return true;
    }
    return false;
}

static void to_sockaddr(const struct tcp_endpoint *e, struct sockaddr *ret, socklen_t *len)
{
    if (ret == NULL || len == NULL)
        return;
    if (tide_addr_is_v4(&e->addr)) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(e->port)};
        memcpy(&in.sin_addr, e->addr.bytes + 12, 4);
        memcpy(ret, &in, TIDE_MIN(*len, (socklen_t)sizeof(in)));
        *len = sizeof(in);
    } else {
        struct sockaddr_in6 in = {.sin6_family = AF_INET6, .sin6_port = htons(e->port)};
        memcpy(&in.sin6_addr, e->addr.bytes, 16);
        memcpy(ret, &in, TIDE_MIN(*len, (socklen_t)sizeof(in)));
        *len = sizeof(in);
    }
}

/* ---- calls --------------------------------------------------------------------------------------------------------- */

static int drill_socket(void *u, int domain, int type, int protocol)
{
    struct drill *d = enter(u);
    struct sock *s = type % 16 == SOCK_STREAM ? new_sock(d) : NULL;
    (void)domain;
    (void)protocol;
    if (s != NULL)
        s->nonblocking = type & SOCK_NONBLOCK;
    return (int)leave(d, s != NULL ? s->fd : -1, s != NULL ? 0 : EPROTONOSUPPORT);
}

static int drill_bind(void *u, int fd, const struct sockaddr *a, socklen_t len)
{
    struct drill *d = enter(u);
    struct sock *s = sock_of(d, fd);
    struct tcp_endpoint e;
    (void)len;
    if (s == NULL || !from_sockaddr(a, &e))
        return (int)leave(d, -1, s == NULL ? EBADF : EINVAL);
    s->port = e.port;
    return (int)leave(d, 0, 0);
}

static int drill_listen(void *u, int fd, int backlog)
{
    struct drill *d = enter(u);
    struct sock *s = sock_of(d, fd);
    enum tide_status status;
    (void)backlog;
    if (s == NULL || s->conn != NULL)
        return (int)leave(d, -1, s == NULL ? EBADF : EINVAL);
    status = tcp_listen(d->stack, s->port);
    s->listening = true;
    return (int)leave(d, 0, status == TIDE_OK || status == TIDE_EXISTS ? 0 : EADDRINUSE);
}

static int drill_accept(void *u, int fd, struct sockaddr *a, socklen_t *len)
{
    struct drill *d = enter(u);
    struct sock *l = sock_of(d, fd), *s;
    if (l == NULL || !l->listening)
        return (int)leave(d, -1, l == NULL ? EBADF : EINVAL);
    settle(d);
    while (l->accepted_count == 0 && !l->nonblocking)
        wait_a_while(d);
    if (l->accepted_count == 0)
        return (int)leave(d, -1, EAGAIN);
    s = l->accepted[0];
    memmove(&l->accepted[0], &l->accepted[1], --l->accepted_count * sizeof(l->accepted[0]));
    if (s->conn != NULL) {
        struct tcp_endpoint e = tcp_peer(s->conn);
        to_sockaddr(&e, a, len);
    }
    return (int)leave(d, s->fd, 0);
}

static int drill_connect(void *u, int fd, const struct sockaddr *a, socklen_t len)
{
    struct drill *d = enter(u);
    struct sock *s = sock_of(d, fd);
    struct tcp_endpoint to, from = {d->local, 0};
    (void)len;
    if (s == NULL || !from_sockaddr(a, &to))
        return (int)leave(d, -1, s == NULL ? EBADF : EINVAL);
    if (s->conn != NULL)
        return (int)leave(d, 0, s->connecting ? EALREADY : EISCONN);
    from.port = s->port != 0 ? s->port : d->next_port++;
    s->conn = tcp_connect(d->stack, d->now_ns, &from, &to);
    if (s->conn == NULL)
        return (int)leave(d, -1, EADDRNOTAVAIL);
    tcp_set_user(s->conn, s);
    s->port = from.port;
    s->connecting = true;
    settle(d);
    while (s->connecting && !s->gone && !s->nonblocking)
        wait_a_while(d);
    return (int)leave(d, 0, s->gone ? ECONNREFUSED : s->connecting ? EINPROGRESS : 0);
}

static ssize_t drill_recvfrom(void *u, int fd, void *to, size_t size, int flags, struct sockaddr *a, socklen_t *len)
{
    struct drill *d = enter(u);
    struct sock *s = sock_of(d, fd);
    uint32_t n;
    (void)a;
    (void)len;
    if (s == NULL || s->listening)
        return leave(d, -1, s == NULL ? EBADF : ENOTCONN);
    settle(d);
    while (s->in.len == 0 && !s->closed_by_peer && !s->gone && !s->read_shut && !s->nonblocking && !(flags & MSG_DONTWAIT))
        wait_a_while(d);
    if (s->in.len == 0) {
        if (s->reset) {
            s->reset = false;
            return leave(d, -1, ECONNRESET);
        }
        return s->closed_by_peer || s->gone || s->read_shut ? leave(d, 0, 0) : leave(d, -1, EAGAIN);
    }
    n = (uint32_t)TIDE_MIN(size, (size_t)s->in.len);
    tide_slice_copy(tide_rope_slice(&s->in, 0, n), to);
    if (!(flags & MSG_PEEK)) {
        tide_rope_drop(&s->in, n);
        if (s->conn != NULL)
            tcp_consumed(s->conn, n);
    }
    return leave(d, (ssize_t)n, 0);
}

static ssize_t drill_recv(void *u, int fd, void *to, size_t n, int flags) { return drill_recvfrom(u, fd, to, n, flags, NULL, NULL); }
static ssize_t drill_read(void *u, int fd, void *to, size_t n) { return drill_recvfrom(u, fd, to, n, 0, NULL, NULL); }

static ssize_t drill_readv(void *u, int fd, const struct iovec *v, int count)
{
    ssize_t all = 0;
    for (int i = 0; i < count; i++) {
        ssize_t n = drill_recvfrom(u, fd, v[i].iov_base, v[i].iov_len, i == 0 ? 0 : MSG_DONTWAIT, NULL, NULL);
        if (n < 0)
            return all != 0 ? all : n;
        all += n;
        if ((size_t)n < v[i].iov_len)
            break;
    }
    return all;
}

static ssize_t drill_recvmsg(void *u, int fd, struct msghdr *m, int flags)
{
    (void)flags;
    return drill_readv(u, fd, m->msg_iov, (int)m->msg_iovlen);
}

static ssize_t drill_sendto(void *u, int fd, const void *from, size_t n, int flags, const struct sockaddr *a, socklen_t len)
{
    struct drill *d = enter(u);
    struct sock *s = sock_of(d, fd);
    struct tide_rope r = {0};
    (void)flags;
    (void)a;
    (void)len;
    if (s == NULL)
        return leave(d, -1, EBADF);
    if (s->conn == NULL || s->write_shut || s->connecting)
        return leave(d, -1, s->reset ? (s->reset = false, ECONNRESET) : EPIPE);
    n = TIDE_MIN(n, (size_t)tcp_send_room(s->conn));
    if (n == 0)
        return leave(d, -1, EAGAIN);
    if (tide_rope_copy_in(&r, d->pool, from, (uint32_t)n) != TIDE_OK)
        return leave(d, -1, ENOBUFS);
    tcp_write(s->conn, &r);
    return leave(d, (ssize_t)n, 0);
}

static ssize_t drill_send(void *u, int fd, const void *from, size_t n, int flags) { return drill_sendto(u, fd, from, n, flags, NULL, 0); }
static ssize_t drill_write(void *u, int fd, const void *from, size_t n) { return drill_sendto(u, fd, from, n, 0, NULL, 0); }

static ssize_t drill_writev(void *u, int fd, const struct iovec *v, int count)
{
    ssize_t all = 0;
    for (int i = 0; i < count; i++) {
        ssize_t n = drill_sendto(u, fd, v[i].iov_base, v[i].iov_len, 0, NULL, 0);
        if (n < 0)
            return all != 0 ? all : n;
        all += n;
    }
    return all;
}

static ssize_t drill_sendmsg(void *u, int fd, const struct msghdr *m, int flags)
{
    (void)flags;
    return drill_writev(u, fd, m->msg_iov, (int)m->msg_iovlen);
}

static int drill_close(void *u, int fd)
{
    struct drill *d = enter(u);
    struct sock *s = sock_of(d, fd);
    bool unread;
    if (s == NULL)
        return (int)leave(d, -1, EBADF);
    unread = s->in.len != 0;
    tide_rope_clear(&s->in);
    for (unsigned i = 0; i < s->accepted_count; i++)
        if (s->accepted[i]->conn != NULL)
            tcp_abort(s->accepted[i]->conn);
    if (s->conn != NULL) {
        if (unread) /* what nobody has read is lost: the peer must learn it */
            tcp_abort(s->conn);
        else
            tcp_close(s->conn);
    }
    close(s->fd);
    s->used = false;
    return (int)leave(d, 0, 0);
}

/* The stack closes both directions at once; closing only the sending one is not something it offers. */
static int drill_shutdown(void *u, int fd, int how)
{
    struct drill *d = enter(u);
    struct sock *s = sock_of(d, fd);
    if (s == NULL || s->conn == NULL)
        return (int)leave(d, -1, s == NULL ? EBADF : ENOTCONN);
    if (how == SHUT_RD) {
        s->read_shut = true;
        return (int)leave(d, 0, 0);
    }
    s->write_shut = true;
    s->read_shut = true;
    s->gone = true;
    tcp_close(s->conn);
    s->conn = NULL;
    return (int)leave(d, 0, 0);
}

static int drill_fcntl(void *u, int fd, int command, ...)
{
    struct drill *d = enter(u);
    struct sock *s = sock_of(d, fd);
    va_list args;
    int flags;
    va_start(args, command);
    flags = command == F_SETFL ? va_arg(args, int) : 0;
    va_end(args);
    if (s == NULL)
        return (int)leave(d, -1, EBADF);
    if (command == F_SETFL)
        s->nonblocking = (flags & O_NONBLOCK) != 0;
    return (int)leave(d, command == F_GETFL ? O_RDWR | (s->nonblocking ? O_NONBLOCK : 0) : 0, 0);
}

static int drill_ioctl(void *u, int fd, unsigned long request, ...)
{
    struct drill *d = enter(u);
    struct sock *s = sock_of(d, fd);
    va_list args;
    int *value;
    va_start(args, request);
    value = va_arg(args, int *);
    va_end(args);
    if (s == NULL)
        return (int)leave(d, -1, EBADF);
    if (request == FIONREAD)
        *value = (int)s->in.len;
    return (int)leave(d, 0, request == FIONREAD ? 0 : ENOTTY);
}

static bool find_info(const struct drill *d, const struct tcp_conn *c, struct tcp_conn_info *ret)
{
    struct tcp_endpoint local = tcp_local(c), peer = tcp_peer(c);
    for (uint32_t i = 0; i < d->config.connections_max; i++)
        if (tcp_info_at(d->stack, d->now_ns, i, ret) && ret->local.port == local.port && ret->remote.port == peer.port &&
            memcmp(&ret->remote.addr, &peer.addr, sizeof(peer.addr)) == 0)
            return true;
    return false;
}

static void fill_info(const struct drill *d, const struct sock *s, struct tcp_info *ret)
{
    struct tcp_conn_info i;
    memset(ret, 0, sizeof(*ret));
    ret->tcpi_state = 7; /* closed */
    if (s->conn == NULL || !find_info(d, s->conn, &i))
        return;
    ret->tcpi_state = strcmp(i.state, "ESTABLISHED") == 0 ? 1 : strcmp(i.state, "SYN-SENT") == 0 ? 2 : strcmp(i.state, "CLOSE-WAIT") == 0 ? 8 : 3;
    ret->tcpi_options = (uint8_t)(i.timestamps | i.sack << 1 | i.window_scaling << 2 | i.ecn << 3);
    ret->tcpi_rto = (uint32_t)(i.rto_ns / 1000);
    ret->tcpi_rtt = (uint32_t)(i.srtt_ns / 1000);
    ret->tcpi_rttvar = (uint32_t)(i.rttvar_ns / 1000);
    ret->tcpi_snd_mss = i.mss - (i.timestamps ? 12 : 0);
    ret->tcpi_snd_cwnd = i.cwnd / i.mss;
    ret->tcpi_snd_ssthresh = i.ssthresh >= 1u << 30 ? 0x7fffffff : i.ssthresh / i.mss;
    ret->tcpi_unacked = (i.in_flight + ret->tcpi_snd_mss - 1) / ret->tcpi_snd_mss;
    ret->tcpi_total_retrans = (uint32_t)i.retransmits;
    ret->tcpi_notsent_bytes = i.send_queue > i.in_flight ? i.send_queue - i.in_flight : 0;
    ret->tcpi_snd_wnd = i.send_window;
}

static int drill_getsockopt(void *u, int fd, int level, int name, void *value, socklen_t *len)
{
    struct drill *d = enter(u);
    struct sock *s = sock_of(d, fd);
    int number = 0;
    if (s == NULL)
        return (int)leave(d, -1, EBADF);
    if (level == IPPROTO_TCP && name == TCP_INFO) {
        struct tcp_info info;
        fill_info(d, s, &info);
        memcpy(value, &info, TIDE_MIN(*len, (socklen_t)sizeof(info)));
        *len = TIDE_MIN(*len, (socklen_t)sizeof(info));
        return (int)leave(d, 0, 0);
    }
    if (level == SOL_SOCKET && name == SO_ERROR)
        number = s->reset ? ECONNRESET : s->gone && s->connecting ? ECONNREFUSED : 0;
    else if (level == IPPROTO_TCP && name == TCP_NODELAY)
        number = 1;
    else
        return (int)leave(d, -1, ENOPROTOOPT);
    memcpy(value, &number, TIDE_MIN(*len, (socklen_t)sizeof(number)));
    return (int)leave(d, 0, 0);
}

/* Nothing of the stack is set by socket option; what only tunes is taken in silence. */
static int drill_setsockopt(void *u, int fd, int level, int name, const void *value, socklen_t len)
{
    struct drill *d = enter(u);
    struct sock *s = sock_of(d, fd);
    (void)value;
    (void)len;
    if (s == NULL)
        return (int)leave(d, -1, EBADF);
    if (level == SOL_SOCKET || (level == IPPROTO_TCP && (name == TCP_NODELAY || name == TCP_QUICKACK || name == TCP_CORK)))
        return (int)leave(d, 0, 0);
    return (int)leave(d, -1, ENOPROTOOPT);
}

static short ready(const struct sock *s)
{
    short r = 0;
    if (s->accepted_count != 0 || s->in.len != 0 || s->closed_by_peer || s->gone || s->read_shut)
        r |= POLLIN;
    if (s->conn != NULL && !s->connecting && tcp_send_room(s->conn) != 0)
        r |= POLLOUT;
    if (s->gone)
        r |= POLLHUP | (s->reset ? POLLERR : 0);
    return r;
}

static int drill_poll(void *u, struct pollfd *fds, nfds_t n, int timeout_ms)
{
    struct drill *d = enter(u);
    uint64_t until = timeout_ms < 0 ? TIDE_NEVER : d->now_ns + (uint64_t)timeout_ms * TIDE_NS_PER_MS;
    int found;
    settle(d);
    for (;;) {
        found = 0;
        for (nfds_t i = 0; i < n; i++) {
            const struct sock *s = sock_of(d, fds[i].fd);
            fds[i].revents = s == NULL ? POLLNVAL : (short)(ready(s) & (fds[i].events | POLLHUP | POLLERR));
            found += fds[i].revents != 0;
        }
        if (found != 0 || d->now_ns >= until)
            return (int)leave(d, found, 0);
        wait_a_while(d);
    }
}

/* ---- packets in, and time ---------------------------------------------------------------------------------------------- */

/* An ICMP error about a packet of ours: type, code, and the packet's first bytes. */
static void icmp_in(struct drill *d, const uint8_t *h, size_t len)
{
    const uint8_t *q = h + 8;
    struct tcp_endpoint local, remote;
    uint32_t ip;
    if (len < 8 + 20 + 8 || h[0] != 3 || q[9] != PROTO_TCP)
        return;
    ip = (q[0] & 15) * 4u;
    if (len < 8 + ip + 8)
        return;
    local = (struct tcp_endpoint){tide_addr_v4(load_be32(q + 12)), load_be16(q + ip)};
    remote = (struct tcp_endpoint){tide_addr_v4(load_be32(q + 16)), load_be16(q + ip + 2)};
    if (h[1] == 4)
        tcp_on_icmp(d->stack, d->now_ns, &local, &remote, load_be32(q + ip + 4), TCP_ICMP_TOO_BIG, load_be16(h + 6));
    else if (h[1] == 2 || h[1] == 3)
        tcp_on_icmp(d->stack, d->now_ns, &local, &remote, load_be32(q + ip + 4), TCP_ICMP_UNREACHABLE, 0);
}

static int drill_netdev_send(void *u, const void *packet, size_t len)
{
    struct drill *d = enter(u);
    const uint8_t *h = packet;
    struct tcp_meta meta = {0};
    uint32_t ip = len != 0 && h[0] >> 4 == 6 ? 40 : len != 0 ? (h[0] & 15) * 4u : 0;
    if (len < ip + 8 || ip < 20)
        return (int)leave(d, 0, 0);
    if (ip == 40 && h[0] >> 4 == 6) {
        memcpy(meta.src.bytes, h + 8, 16);
        memcpy(meta.dst.bytes, h + 24, 16);
        meta.ecn = h[1] >> 4 & 3;
    } else {
        meta.src = tide_addr_v4(load_be32(h + 12));
        meta.dst = tide_addr_v4(load_be32(h + 16));
        meta.ecn = h[1] & 3;
        if (h[9] == 1)
            icmp_in(d, h + ip, len - ip);
    }
    if ((h[0] >> 4 == 6 ? h[6] : h[9]) == PROTO_TCP && tide_sum_fold(tide_sum_add(pseudo_sum(&meta, (uint32_t)len - ip), h + ip, len - ip)) == 0xffff)
        tcp_input(d->stack, d->now_ns, unit_exact_mbuf(d->pool, h + ip, (uint16_t)(len - ip)), &meta);
    return (int)leave(d, 0, 0);
}

static int drill_netdev_receive(void *u, void *packet, size_t *count, long long *time_us)
{
    struct drill *d = enter(u);
    struct packet *p;
    pass(d, d->now_ns + WAIT_MOST_S * TIDE_NS_PER_S, true);
    if (d->sent_count == 0) {
        fprintf(stderr, "tide_tcp: nothing was sent in %d s\n", WAIT_MOST_S);
        *count = 0; /* packetdrill finds that this is no packet, and tells the line */
        return (int)leave(d, 0, 0);
    }
    p = &d->sent[d->sent_head];
    d->sent_head = (d->sent_head + 1) % PACKETS;
    d->sent_count--;
    put_ip(p);
    *time_us = (long long)(p->at_ns / 1000);
    *count = TIDE_MIN(*count, (size_t)p->len);
    memcpy(packet, p->bytes, *count);
    free(p->bytes);
    return (int)leave(d, 0, 0);
}

static int drill_usleep(void *u, useconds_t us)
{
    struct drill *d = enter(u);
    pass(d, d->now_ns + us * 1000ull, false);
    return (int)leave(d, 0, 0);
}

/* Each look at the clock takes a little: packetdrill waits for short times by looking. */
static int drill_gettimeofday(void *u, struct timeval *tv, struct timezone *tz)
{
    struct drill *d = enter(u);
    (void)tz;
    pass(d, d->now_ns + TICK_NS, false);
    tv->tv_sec = (time_t)(d->now_ns / TIDE_NS_PER_S);
    tv->tv_usec = (suseconds_t)(d->now_ns % TIDE_NS_PER_S / 1000);
    return (int)leave(d, 0, 0);
}

/* Not offered: scripts that use them are not for this object. */
static int none(void)
{
    errno = ENOSYS;
    return -1;
}
static int no_epoll_create(void *u, int n)
{
    (void)u, (void)n;
    return none();
}
static int no_epoll_ctl(void *u, int e, int op, int fd, struct epoll_event *v)
{
    (void)u, (void)e, (void)op, (void)fd, (void)v;
    return none();
}
static int no_epoll_wait(void *u, int e, struct epoll_event *v, int n, int timeout)
{
    (void)u, (void)e, (void)v, (void)n, (void)timeout;
    return none();
}
static int no_pipe(void *u, int p[2])
{
    (void)u, (void)p;
    return none();
}
static int no_splice(void *u, int a, loff_t *b, int c, loff_t *e, size_t n, unsigned flags)
{
    (void)u, (void)a, (void)b, (void)c, (void)e, (void)n, (void)flags;
    return none();
}

static void drill_free(void *u)
{
    struct drill *d = u;
    pthread_mutex_lock(&d->lock);
    for (unsigned i = 0; i < SOCKS; i++)
        tide_rope_clear(&d->socks[i].in);
    for (; d->sent_count != 0; d->sent_count--, d->sent_head = (d->sent_head + 1) % PACKETS)
        free(d->sent[d->sent_head].bytes);
    tcp_stack_destroy(d->stack);
    rte_mempool_free(d->pool);
    pthread_mutex_unlock(&d->lock);
    free(d);
}

static uint32_t flag(const char *flags, const char *name, uint32_t otherwise)
{
    const char *at = flags != NULL ? strstr(flags, name) : NULL;
    return at != NULL ? (uint32_t)strtoul(at + strlen(name), NULL, 0) : otherwise;
}

void tide_packetdrill_init(const char *flags, struct packetdrill_interface *ifc)
{
    struct drill *d = calloc(1, sizeof(*d));
    const char *local = flags != NULL ? strstr(flags, "local=") : NULL;
    char address[64] = "192.168.0.1";
    struct in_addr in;
    if (d == NULL)
        abort();
    if (local != NULL)
        snprintf(address, sizeof(address), "%.*s", (int)strcspn(local + 6, ","), local + 6);
    if (inet_pton(AF_INET6, address, d->local.bytes) != 1 && inet_pton(AF_INET, address, &in) == 1)
        d->local = tide_addr_v4(ntohl(in.s_addr));
    unit_eal();
    d->pool = unit_pool("packetdrill", 16383, 2048);
    d->tso = flag(flags, "tso=", 1) != 0;
    d->config = (struct tcp_config){.connections_max = SOCKS, .syn_backlog = 64, .receive_window_bytes = flag(flags, "window=", 15 << 20),
                                    .send_buffer_bytes = 4 << 20, .mss = (uint16_t)(flag(flags, "mtu=", 1500) - 40), .rto_min_us = 5000,
                                    .time_wait_ms = 60000, .secret = {5}, .tx_pool = d->pool};
    d->stack = tcp_stack_create(&d->config);
    if (d->stack == NULL)
        abort();
    d->now_ns = 1000 * TIDE_NS_PER_S;
    d->next_port = 50000;
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->happened, NULL);
    d->ifc = ifc;
    *ifc = (struct packetdrill_interface){
        .userdata = d, .free = drill_free, .socket = drill_socket, .bind = drill_bind, .listen = drill_listen, .accept = drill_accept,
        .connect = drill_connect, .read = drill_read, .readv = drill_readv, .recv = drill_recv, .recvfrom = drill_recvfrom,
        .recvmsg = drill_recvmsg, .write = drill_write, .writev = drill_writev, .send = drill_send, .sendto = drill_sendto,
        .sendmsg = drill_sendmsg, .fcntl = drill_fcntl, .ioctl = drill_ioctl, .close = drill_close, .shutdown = drill_shutdown,
        .getsockopt = drill_getsockopt, .setsockopt = drill_setsockopt, .poll = drill_poll, .netdev_send = drill_netdev_send,
        .netdev_receive = drill_netdev_receive, .usleep = drill_usleep, .gettimeofday = drill_gettimeofday, .epoll_create = no_epoll_create,
        .epoll_ctl = no_epoll_ctl, .epoll_wait = no_epoll_wait, .pipe = no_pipe, .splice = no_splice};
}
