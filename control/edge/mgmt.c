/* SPDX-License-Identifier: Apache-2.0 */
#include "edge/mgmt.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "node/rpc.h"
#include "tidemark/assert.h"

enum {
    BACKOFF_FIRST_MS = 20,
    BACKOFF_LAST_MS = 1000,
    CONNECT_MS = 2000, /* to wait for a connection, and for a HELLO */
    KEEP_MS = 50,      /* housekeeping */
    USER_TIMEOUT_MS = 4000, /* bytes that are not acknowledged for so long end a connection */
    BACKLOG = 64,
    READ_MIN = 64 << 10,
    ADDRESSES_MAX = 8, /* of one host's name */
};

struct conn {
    uv_tcp_t tcp; /* first: handles are cast */
    struct mgmt *mgmt;
    struct conn *next;
    int32_t peer;    /* -1: has not said who it is */
    bool ours;       /* we opened it */
    bool up;         /* connected */
    bool closing;
    bool heard;      /* anything came */
    bool shut;       /* it is closed when what waits is sent */
    uint64_t number;
    uint64_t since_ms;
    size_t out_bytes;
    uint8_t *in;
    size_t in_len, in_room;
    uv_connect_t connect;
};

struct peer {
    int32_t id;
    char address[QUORUM_ADDRESS_MAX];
    struct conn *conn; /* NULL: none */
    uint64_t retry_ms;
    uint64_t backoff_ms;
    uint32_t refusals; /* in a row */
    bool resolving;
    bool asked; /* ever */
    uint32_t found_count;
    uint32_t next_found;
    struct sockaddr_storage found[ADDRESSES_MAX];
    char trouble[96]; /* last said */
};

struct lookup {
    uv_getaddrinfo_t request;
    struct mgmt *mgmt;
    int32_t peer;
};

struct sending {
    uv_write_t request;
    struct conn *conn;
    uint8_t *bytes;
    size_t len;
};

struct mgmt {
    struct mgmt_config config;
    uv_tcp_t listener;
    bool listens;
    uv_timer_t timer;
    uv_timer_t keep;
    struct conn *conns;
    uint32_t peer_count;
    struct peer peers[NODE_LINKS_MAX];
    uint64_t connections;
    uint32_t open; /* handles and requests that libuv still has */
    bool stopping;
    bool turning, again;
    uint64_t refused;
    uint64_t refused_said_ms;
    /* disk */
    uv_work_t work;
    const struct quorum_disk_op *op;
    int result;
    bool working;
};

uint64_t mgmt_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * TIDE_NS_PER_S + (uint64_t)t.tv_nsec;
}

static uint64_t now_ms(const struct mgmt *m)
{
    return uv_now(m->config.loop);
}

/* ---- the disk ----------------------------------------------------------------------------------------------- */

static void run_op(uv_work_t *w)
{
    struct mgmt *m = w->data;
    m->result = quorum_files_run(m->config.files, m->op);
}

static void on_op_done(uv_work_t *w, int status)
{
    struct mgmt *m = w->data;
    TIDE_ASSERT(status == 0);
    m->working = false;
    m->open--;
    if (m->stopping)
        return;
    node_on_disk_done(m->config.node, mgmt_now_ns(), m->result, quorum_files_capacity(m->config.files));
    mgmt_turn(m);
}

static void begin_op(struct mgmt *m)
{
    const struct quorum_boot *found;
    if (m->config.files == NULL || m->working || m->stopping)
        return;
    found = node_founding(m->config.node);
    if (found != NULL) /* once in the life of a directory, and nothing else can go on without it */
        node_on_founded(m->config.node, mgmt_now_ns(), quorum_files_found(m->config.files, found));
    m->op = node_disk_take(m->config.node);
    if (m->op == NULL)
        return;
    m->work.data = m;
    m->working = true;
    m->open++;
    TIDE_ASSERT(uv_queue_work(m->config.loop, &m->work, run_op, on_op_done) == 0);
}

/* ---- connections ---------------------------------------------------------------------------------------------- */

static struct peer *find_peer(struct mgmt *m, int32_t id)
{
    for (uint32_t i = 0; i < m->peer_count; i++)
        if (m->peers[i].id == id)
            return &m->peers[i];
    return NULL;
}

static void on_closed(uv_handle_t *h)
{
    struct conn *c = (struct conn *)h;
    struct conn **at = &c->mgmt->conns;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    c->mgmt->open--;
    free(c->in);
    free(c);
}

static void close_conn(struct conn *c)
{
    struct mgmt *m = c->mgmt;
    struct peer *p;
    bool was_up = c->up;
    if (c->closing)
        return;
    c->closing = true;
    c->up = false;
    uv_close((uv_handle_t *)&c->tcp, on_closed);
    if (c->peer < 0)
        return;
    p = c->ours ? find_peer(m, c->peer) : NULL;
    if (p != NULL && p->conn == c) {
        p->conn = NULL;
        p->retry_ms = now_ms(m) + p->backoff_ms;
        p->backoff_ms = TIDE_MIN(p->backoff_ms * 2, (uint64_t)BACKOFF_LAST_MS);
    }
    if (m->stopping)
        return;
    if (c->ours && was_up)
        node_on_link_down(m->config.node, mgmt_now_ns(), c->peer);
    else if (!c->ours)
        node_on_guest_gone(m->config.node, mgmt_now_ns(), c->peer);
    mgmt_turn(m);
}

static struct conn *new_conn(struct mgmt *m, bool ours)
{
    struct conn *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return NULL;
    if (uv_tcp_init(m->config.loop, &c->tcp) != 0) {
        free(c);
        return NULL;
    }
    m->open++;
    c->mgmt = m;
    c->ours = ours;
    c->peer = -1;
    c->number = ++m->connections;
    c->since_ms = now_ms(m);
    c->next = m->conns;
    m->conns = c;
    return c;
}

static void tune(struct conn *c)
{
    unsigned int timeout = USER_TIMEOUT_MS;
    uv_os_fd_t fd;
    uv_tcp_nodelay(&c->tcp, 1);
    uv_tcp_keepalive(&c->tcp, 1, 2);
    if (uv_fileno((uv_handle_t *)&c->tcp, &fd) == 0)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof(timeout));
}

/* ---- sending ---------------------------------------------------------------------------------------------------- */

static void on_sent(uv_write_t *r, int status)
{
    struct sending *s = (struct sending *)r;
    struct conn *c = s->conn;
    c->out_bytes -= s->len;
    c->mgmt->open--;
    free(s->bytes);
    free(s);
    if (status != 0 || (c->shut && c->out_bytes == 0))
        close_conn(c);
    else if (!c->mgmt->stopping)
        mgmt_turn(c->mgmt);
}

/* The bytes are ours. */
static void send_bytes(struct conn *c, struct quorum_message q)
{
    struct sending *s = calloc(1, sizeof(*s));
    uv_buf_t b = uv_buf_init((char *)q.bytes, (unsigned)q.len);
    if (s == NULL) {
        free(q.bytes);
        close_conn(c);
        return;
    }
    *s = (struct sending){.conn = c, .bytes = q.bytes, .len = q.len};
    c->out_bytes += q.len;
    c->mgmt->open++;
    if (uv_write(&s->request, (uv_stream_t *)&c->tcp, &b, 1, on_sent) != 0) {
        c->out_bytes -= q.len;
        c->mgmt->open--;
        free(q.bytes);
        free(s);
        close_conn(c);
    }
}

static void flush(struct mgmt *m)
{
    struct quorum_message q;
    for (struct conn *c = m->conns; c != NULL; c = c->next)
        while (c->up && !c->closing && !c->shut && c->peer >= 0 && c->out_bytes < MGMT_OUT_BYTES &&
               (c->ours ? node_link_frame_take(m->config.node, c->peer, &q) : node_guest_frame_take(m->config.node, c->peer, &q)))
            send_bytes(c, q);
}

/* Once for each kind of trouble. */
static void say_trouble(struct mgmt *m, struct peer *p, const char *what)
{
    if (strcmp(p->trouble, what) == 0)
        return;
    snprintf(p->trouble, sizeof(p->trouble), "%s", what);
    if (what[0] != 0)
        m->config.say("broker %d at %s: %s", (int)p->id, p->address, what);
}

/* ---- receiving ---------------------------------------------------------------------------------------------------- */

static void close_older(struct mgmt *m, const struct conn *newer)
{
    for (struct conn *c = m->conns; c != NULL; c = c->next)
        if (c != newer && !c->ours && c->peer == newer->peer && !c->closing) {
            c->peer = -1; /* the node has it replaced already */
            close_conn(c);
        }
}

static enum tide_status first_frame(struct conn *c, size_t len)
{
    struct mgmt *m = c->mgmt;
    struct quorum_message reply;
    int32_t peer;
    enum tide_status status = node_on_guest(m->config.node, mgmt_now_ns(), c->number, c->in, len, &peer, &reply);
    if (status == TIDE_OK) {
        c->peer = peer;
        close_older(m, c);
        return TIDE_OK;
    }
    m->refused++;
    if (status != TIDE_REFUSED)
        return TIDE_BAD;
    c->shut = true;
    uv_read_stop((uv_stream_t *)&c->tcp);
    send_bytes(c, reply);
    return TIDE_AGAIN;
}

static enum tide_status one_frame(struct conn *c, size_t len)
{
    struct mgmt *m = c->mgmt;
    enum tide_status status;
    if (!c->ours && c->peer < 0)
        return first_frame(c, len);
    status = c->ours ? node_on_link_frame(m->config.node, mgmt_now_ns(), c->peer, c->in, len)
                     : node_on_guest_frame(m->config.node, mgmt_now_ns(), c->peer, c->in, len);
    m->refused += status != TIDE_OK;
    return status;
}

/* Every whole frame. False: the connection was closed, or answers no more. */
static bool take_frames(struct conn *c)
{
    for (;;) {
        size_t most = c->peer < 0 ? RPC_HELLO_FRAME_MAX : RPC_FRAME_MAX;
        size_t len;
        enum tide_status status = rpc_frame_len(c->in, c->in_len, most, &len);
        if (status == TIDE_AGAIN || (status == TIDE_OK && c->in_len < len))
            return true;
        if (status == TIDE_OK)
            status = one_frame(c, len);
        else
            c->mgmt->refused++;
        if (status == TIDE_AGAIN)
            return false;
        if (status != TIDE_OK) {
            close_conn(c);
            return false;
        }
        if (c->closing)
            return false;
        memmove(c->in, c->in + len, c->in_len - len);
        c->in_len -= len;
    }
}

static void on_room(uv_handle_t *h, size_t suggested, uv_buf_t *ret)
{
    struct conn *c = (struct conn *)h;
    size_t most = c->peer < 0 && !c->ours ? RPC_HELLO_FRAME_MAX : READ_MIN + RPC_FRAME_MAX;
    (void)suggested;
    if (c->in_room == c->in_len && c->in_room < most) {
        size_t room = TIDE_MIN(TIDE_MAX(c->in_room * 2, TIDE_MIN((size_t)READ_MIN, most)), most);
        uint8_t *more = realloc(c->in, room);
        if (more != NULL) {
            c->in = more;
            c->in_room = room;
        }
    }
    *ret = uv_buf_init((char *)c->in + c->in_len, (unsigned)(c->in_room - c->in_len));
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct conn *c = (struct conn *)s;
    (void)buf;
    if (n == 0 || c->closing)
        return;
    if (n < 0) {
        struct peer *p = c->ours ? find_peer(c->mgmt, c->peer) : NULL;
        if (p != NULL && !c->heard)
            say_trouble(c->mgmt, p, "closes the connection at once; does its controller.allow name this one?");
        close_conn(c);
        return;
    }
    c->in_len += (size_t)n;
    if (!c->heard && c->ours && find_peer(c->mgmt, c->peer) != NULL)
        find_peer(c->mgmt, c->peer)->trouble[0] = 0;
    c->heard = true;
    if (take_frames(c))
        mgmt_turn(c->mgmt);
}

/* ---- coming in --------------------------------------------------------------------------------------------------------- */

static struct tide_addr addr_of(const struct sockaddr_storage *s)
{
    struct tide_addr a = {{0}};
    if (s->ss_family == AF_INET)
        return tide_addr_v4(ntohl(((const struct sockaddr_in *)s)->sin_addr.s_addr));
    if (s->ss_family == AF_INET6)
        memcpy(a.bytes, &((const struct sockaddr_in6 *)s)->sin6_addr, 16);
    return a;
}

static bool is_in(const struct tide_addr *a, const uint8_t *network, unsigned prefix_len)
{
    unsigned bytes = prefix_len / 8, bits = prefix_len % 8;
    if (memcmp(a->bytes, network, bytes) != 0)
        return false;
    return bits == 0 || ((a->bytes[bytes] ^ network[bytes]) & (0xff00u >> bits & 0xff)) == 0;
}

static bool is_allowed(struct mgmt *m, const struct tide_addr *a)
{
    const struct tide_settings *s = m->config.settings;
    for (uint32_t i = 0; i < s->allow_count; i++)
        if (is_in(a, s->allow[i].bytes, s->allow[i].prefix_len))
            return true;
    for (uint32_t i = 0; i < m->peer_count; i++)
        for (uint32_t k = 0; k < m->peers[i].found_count; k++) {
            struct tide_addr b = addr_of(&m->peers[i].found[k]);
            if (memcmp(&b, a, sizeof(b)) == 0)
                return true;
        }
    return false;
}

static void say_refused(struct mgmt *m, const struct sockaddr_storage *from)
{
    char text[64] = "?";
    m->refused++;
    if (m->refused_said_ms != 0 && now_ms(m) - m->refused_said_ms < 10000)
        return;
    m->refused_said_ms = now_ms(m);
    if (from->ss_family == AF_INET)
        uv_ip4_name((const struct sockaddr_in *)from, text, sizeof(text));
    else if (from->ss_family == AF_INET6)
        uv_ip6_name((const struct sockaddr_in6 *)from, text, sizeof(text));
    m->config.say("a connection from %s was refused: neither quorum.voters nor controller.allow names it", text);
}

static uint32_t unknown_count(const struct mgmt *m)
{
    uint32_t count = 0;
    for (const struct conn *c = m->conns; c != NULL; c = c->next)
        count += !c->ours && c->peer < 0 && !c->closing;
    return count;
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct mgmt *m = listener->data;
    struct sockaddr_storage from = {0};
    int len = sizeof(from);
    struct tide_addr a;
    struct conn *c;
    if (status != 0 || (c = new_conn(m, false)) == NULL)
        return;
    if (uv_accept(listener, (uv_stream_t *)&c->tcp) != 0 ||
        uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&from, &len) != 0) {
        close_conn(c);
        return;
    }
    a = addr_of(&from);
    if (!is_allowed(m, &a) || unknown_count(m) > MGMT_UNKNOWN_MAX) {
        say_refused(m, &from);
        close_conn(c);
        return;
    }
    c->up = true;
    tune(c);
    if (uv_read_start((uv_stream_t *)&c->tcp, on_room, on_read) != 0)
        close_conn(c);
}

/* ---- going out ------------------------------------------------------------------------------------------------------------ */

/* When none of the addresses of its name listens, the node is told. */
static void on_not_connected(struct mgmt *m, struct peer *p, int status)
{
    p->refusals = status == UV_ECONNREFUSED ? p->refusals + 1 : 0;
    if (p->refusals != 0 && p->refusals >= p->found_count)
        node_on_link_refused(m->config.node, mgmt_now_ns(), p->id);
}

static void on_connected(uv_connect_t *r, int status)
{
    struct conn *c = r->data;
    struct mgmt *m = c->mgmt;
    struct peer *p = find_peer(m, c->peer);
    m->open--;
    if (c->closing)
        return;
    if (status != 0 || p == NULL || p->conn != c) {
        if (p != NULL && status != 0)
            say_trouble(m, p, uv_strerror(status));
        if (p != NULL)
            on_not_connected(m, p, status);
        close_conn(c);
        return;
    }
    p->refusals = 0;
    tune(c);
    c->up = true;
    if (uv_read_start((uv_stream_t *)&c->tcp, on_room, on_read) != 0) {
        close_conn(c);
        return;
    }
    node_on_link_up(m->config.node, mgmt_now_ns(), c->peer);
    mgmt_turn(m);
}

static void connect_to(struct mgmt *m, struct peer *p)
{
    struct conn *c = new_conn(m, true);
    const struct sockaddr *to = (const struct sockaddr *)&p->found[p->next_found++ % p->found_count];
    if (c == NULL)
        return;
    c->peer = p->id;
    c->connect.data = c;
    p->conn = c;
    if (uv_tcp_connect(&c->connect, &c->tcp, to, on_connected) != 0)
        close_conn(c);
    else
        m->open++;
}

static void keep_addresses(struct peer *p, const struct addrinfo *found)
{
    p->found_count = 0;
    for (; found != NULL && p->found_count < ADDRESSES_MAX; found = found->ai_next)
        if (found->ai_addrlen <= sizeof(p->found[0]))
            memcpy(&p->found[p->found_count++], found->ai_addr, found->ai_addrlen);
}

static void on_resolved(uv_getaddrinfo_t *r, int status, struct addrinfo *found)
{
    struct lookup *l = (struct lookup *)r;
    struct mgmt *m = l->mgmt;
    struct peer *p = find_peer(m, l->peer);
    m->open--;
    if (p != NULL) {
        p->resolving = false;
        if (status == 0)
            keep_addresses(p, found);
        else
            say_trouble(m, p, uv_strerror(status));
    }
    uv_freeaddrinfo(found);
    free(l);
    if (!m->stopping && p != NULL && p->found_count != 0 && p->conn == NULL)
        connect_to(m, p);
}

static void resolve(struct mgmt *m, struct peer *p)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    char host[QUORUM_ADDRESS_MAX];
    char *port;
    struct lookup *l = calloc(1, sizeof(*l));
    snprintf(host, sizeof(host), "%s", p->address);
    port = strrchr(host, ':');
    if (l == NULL || port == NULL) {
        free(l);
        return;
    }
    *port++ = 0;
    if (host[0] == '[') {
        host[strcspn(host, "]")] = 0;
        memmove(host, host + 1, strlen(host));
    }
    l->mgmt = m;
    l->peer = p->id;
    p->resolving = true;
    m->open++;
    if (uv_getaddrinfo(m->config.loop, &l->request, on_resolved, host, port, &hints) != 0) {
        p->resolving = false;
        m->open--;
        free(l);
    }
}

/* As the node names them. */
static void set_peers(struct mgmt *m)
{
    struct node_peer wanted[NODE_LINKS_MAX];
    uint32_t count = node_peers(m->config.node, wanted);
    for (uint32_t i = m->peer_count; i-- != 0;) {
        struct conn *c = m->peers[i].conn;
        bool stays = false;
        for (uint32_t k = 0; k < count; k++)
            stays |= wanted[k].id == m->peers[i].id && strcmp(wanted[k].address, m->peers[i].address) == 0;
        if (stays)
            continue;
        m->peers[i] = m->peers[--m->peer_count];
        if (c != NULL)
            close_conn(c);
    }
    for (uint32_t k = 0; k < count; k++) {
        if (find_peer(m, wanted[k].id) != NULL || m->peer_count == NODE_LINKS_MAX)
            continue;
        m->peers[m->peer_count] = (struct peer){.id = wanted[k].id, .backoff_ms = BACKOFF_FIRST_MS};
        memcpy(m->peers[m->peer_count++].address, wanted[k].address, sizeof(wanted[k].address));
    }
}

static void keep_connections(struct mgmt *m)
{
    for (uint32_t i = 0; i < m->peer_count; i++) {
        struct peer *p = &m->peers[i];
        if (p->conn != NULL && p->conn->up && now_ms(m) - p->conn->since_ms > BACKOFF_LAST_MS)
            p->backoff_ms = BACKOFF_FIRST_MS;
        if (p->conn == NULL && !p->resolving && now_ms(m) >= p->retry_ms) {
            p->retry_ms = now_ms(m) + BACKOFF_LAST_MS;
            resolve(m, p);
        }
    }
    for (struct conn *c = m->conns, *next; c != NULL; c = next) {
        bool late = now_ms(m) - c->since_ms > CONNECT_MS;
        next = c->next;
        if (!c->closing && late && ((c->ours && !c->up) || (!c->ours && (c->peer < 0 || c->shut))))
            close_conn(c);
    }
}

/* ---- time --------------------------------------------------------------------------------------------------------------------- */

static void on_timer(uv_timer_t *t)
{
    struct mgmt *m = t->data;
    node_on_time(m->config.node, mgmt_now_ns());
    mgmt_turn(m);
}

static void on_keep(uv_timer_t *t)
{
    keep_connections(t->data);
}

static void set_timer(struct mgmt *m)
{
    uint64_t at = node_deadline_ns(m->config.node);
    uint64_t now = mgmt_now_ns();
    uint64_t ms = at == TIDE_NEVER ? 1000 : at <= now ? 0 : (at - now + TIDE_NS_PER_MS - 1) / TIDE_NS_PER_MS;
    uv_update_time(m->config.loop);
    uv_timer_start(&m->timer, on_timer, TIDE_MIN(ms, (uint64_t)1000), 0);
}

void mgmt_turn(struct mgmt *m)
{
    if (m->stopping)
        return;
    m->again = true;
    if (m->turning) /* called from within: the outer one goes round once more */
        return;
    m->turning = true;
    while (m->again && !m->stopping) {
        m->again = false;
        set_peers(m);
        begin_op(m);
        flush(m);
        m->config.on_turn(m->config.arg);
    }
    m->turning = false;
    if (!m->stopping)
        set_timer(m);
}

/* ---- life ------------------------------------------------------------------------------------------------------------------------ */

static int listen_on(struct mgmt *m, const char *host, uint16_t port)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    uv_getaddrinfo_t request;
    char service[8];
    int e;
    snprintf(service, sizeof(service), "%u", (unsigned)port);
    e = uv_getaddrinfo(m->config.loop, &request, NULL, host, service, &hints);
    if (e != 0)
        return e;
    e = uv_tcp_bind(&m->listener, request.addrinfo->ai_addr, 0);
    uv_freeaddrinfo(request.addrinfo);
    return e != 0 ? e : uv_listen((uv_stream_t *)&m->listener, BACKLOG, on_connection);
}

struct mgmt *mgmt_start(const struct mgmt_config *config, char *error, size_t size)
{
    const struct tide_settings *s = config->settings;
    struct mgmt *m = calloc(1, sizeof(*m));
    int e = 0;
    if (m == NULL) {
        snprintf(error, size, "no memory");
        return NULL;
    }
    m->config = *config;
    uv_timer_init(config->loop, &m->timer);
    uv_timer_init(config->loop, &m->keep);
    uv_tcp_init(config->loop, &m->listener);
    m->timer.data = m->keep.data = m->listener.data = m;
    if (s->controller_port != 0)
        e = listen_on(m, s->controller_host, s->controller_port);
    if (e != 0) {
        snprintf(error, size, "%s:%u, where other brokers are to come in (controller.listener or quorum.voters): %s", s->controller_host,
                 (unsigned)s->controller_port, uv_strerror(e));
        mgmt_stop(m);
        return NULL;
    }
    set_peers(m);
    keep_connections(m);
    uv_timer_start(&m->keep, on_keep, KEEP_MS, KEEP_MS);
    mgmt_turn(m);
    return m;
}

static void on_handle_closed(uv_handle_t *h)
{
    ((struct mgmt *)h->data)->open--;
}

void mgmt_stop(struct mgmt *m)
{
    if (m == NULL)
        return;
    m->stopping = true;
    m->open += 3;
    uv_close((uv_handle_t *)&m->timer, on_handle_closed);
    uv_close((uv_handle_t *)&m->keep, on_handle_closed);
    uv_close((uv_handle_t *)&m->listener, on_handle_closed);
    for (struct conn *c = m->conns; c != NULL; c = c->next)
        close_conn(c);
    while (m->open != 0)
        uv_run(m->config.loop, UV_RUN_ONCE);
    free(m);
}

void mgmt_gauges(const struct mgmt *m, struct mgmt_gauges *ret)
{
    memset(ret, 0, sizeof(*ret));
    for (const struct conn *c = m->conns; c != NULL; c = c->next) {
        ret->links += c->ours && c->up;
        ret->guests += !c->ours && c->up && c->peer >= 0;
    }
    ret->refused = m->refused;
}
