/* SPDX-License-Identifier: Apache-2.0 */
#include "core/core.h"

#include <string.h>

#include <rte_malloc.h>
#include <rte_ring_elem.h>

#include "log/buffers.h"
#include "net/ip.h"
#include "net/ip6.h"
#include "tidemark/arrival.h"
#include "tidemark/clock.h"

enum {
    EVENTS_MAX = 256,   /* connections looked at per turn */
    MAIL_MAX = 128,
    BELLS_MAX = 256,
    STEER_MAX = 32,     /* frames taken from each sibling per turn */
    ICMP_ERRORS_MAX = 16,
    PUBLISH_MS = 10,
    CONNS_PER_TURN = 64, /* looked at for a list */
    PACKETS_MAX = 32,   /* packets asked of TCP at once */
    SLOW_LOOK_MS = 100,       /* how often slow readers are looked for while read buffers are short */
    SLOW_AFTER_MS = 3000,     /* a reader without progress for so long may be reset then */
    POOL_LOOK_US = 200,
    DIALS_MAX = 4,           /* connections to peers begun per turn */
    LISTENER_NONE = TIDE_LISTENERS_MAX,
    RECEIVE_LOW_PERCENT = 50, /* sessions together hold at most the other half of the pool */
};

struct core {
    struct core_config config;
    struct core_listener listeners[TIDE_LISTENERS_MAX];
    struct tide_counters counters;
    struct net net;
    struct tcp_stack *tcp;
    struct broker *broker;
    struct orphans orphans;
    struct roster roster;
    struct core_gauges gauges;
    bool receive_low;
    bool listens; /* to clients */
    uint64_t slow_look_ns;
    uint64_t pool_look_ns;
    _Atomic uint32_t conns_asked;    /* control adds one... */
    _Atomic uint32_t conns_answered; /* ...and we follow when the list is whole */
    uint32_t conns_at, conns_count;
    struct tcp_conn_info *conns;
    uint64_t publish_ns;
    bool unpublished; /* something was done since the gauges were published */
    unsigned did;
    struct turn turn;       /* the last one */
    uint64_t requests_seen; /* before it */
    struct turns turns;
};

static struct tcp_conn *conn_of(struct session *s)
{
    return session_transport(s);
}

static bool begin_roster(struct core *c)
{
    const struct core_config *config = &c->config;
    uint32_t first = config->tcp.connections_max;
    if (roster_init(&c->roster, &config->roster, core_roster_slots(first, config->orphan_count)) != TIDE_OK)
        return false;
    for (uint32_t i = 0; roster_is_kept(&c->roster) && i < config->orphan_count; i++)
        roster_set(&c->roster, first + i, &config->orphans[i].local, &config->orphans[i].remote);
    return true;
}

struct core *core_create(const struct core_config *config)
{
    struct core *c = rte_zmalloc("core", sizeof(*c), TIDE_CACHE_LINE);
    if (c == NULL)
        return NULL;
    TIDE_ASSERT(config->listener_count <= TIDE_LISTENERS_MAX);
    c->config = *config;
    if (c->config.source_ports.first == 0)
        c->config.source_ports = (struct steer_ports){CORE_SOURCE_PORT_FIRST, CORE_SOURCE_PORT_LAST};
    memcpy(c->listeners, config->listeners, config->listener_count * sizeof(c->listeners[0]));
    c->config.listeners = c->listeners;
    c->config.net.counters = &c->counters;
    c->config.broker.core = config->number;
    c->config.broker.office = config->office;
    c->config.broker.publication = config->publication;
    c->config.broker.log_core = config->log_core;
    c->config.broker.counters = &c->counters;
    c->config.broker.settings = config->settings;
    c->config.tcp.counters = &c->counters;
    if (config->core_count > 1 && c->config.broker.grace.begin == NULL && config->publication->qsbr != NULL)
        c->config.broker.grace = tide_grace_over(config->publication->qsbr);
    if (net_init(&c->net, &c->config.net, config->start_ns) != TIDE_OK) {
        rte_free(c);
        return NULL;
    }
    orphans_init(&c->orphans, config->start_ns, config->orphans, config->orphan_count);
    if (!begin_roster(c)) {
        core_destroy(c);
        return NULL;
    }
    c->tcp = tcp_stack_create(&c->config.tcp);
    c->broker = broker_create(&c->config.broker);
    c->conns = rte_zmalloc("core", c->config.tcp.connections_max * sizeof(*c->conns), TIDE_CACHE_LINE);
    if (c->tcp == NULL || c->broker == NULL || c->conns == NULL) {
        core_destroy(c);
        return NULL;
    }
    if (config->replication_port != 0 && tcp_listen(c->tcp, config->replication_port) != TIDE_OK) {
        core_destroy(c);
        return NULL;
    }
    return c;
}

void core_forget(struct core *c)
{
    broker_forget(c->broker);
}

void core_destroy(struct core *c)
{
    if (c == NULL)
        return;
    if (c->tcp != NULL)
        tcp_stack_destroy(c->tcp);
    broker_destroy(c->broker);
    net_deinit(&c->net);
    roster_deinit(&c->roster);
    rte_free(c->conns);
    rte_free(c);
}

/* ---- frames in ------------------------------------------------------------------------------ */

static void take_frame(struct core *c, const struct tide_time *t, struct rte_mbuf *m)
{
    struct net_packet packet;
    struct tcp_meta meta;
    if (net_input(&c->net, t->now_ns, m, &packet) != NET_TCP)
        return;
    meta = (struct tcp_meta){.src = packet.source, .dst = packet.destination, .ecn = packet.ecn};
    tcp_input(c->tcp, t->now_ns, m, &meta);
}

/* What an error means to TCP. RFC 1122 4.2.3.9: only "protocol" and "port unreachable" are final; in ICMPv6 these are
 * "port unreachable" and "unrecognized next header" (RFC 5461 3). False: it means nothing. */
static bool icmp_meaning(const struct net_icmp_error *e, enum tcp_icmp *ret)
{
    bool v4 = tide_addr_is_v4(&e->peer);
    bool too_big = v4 ? e->type == ICMP_UNREACHABLE && e->code == ICMP_CODE_FRAG_NEEDED : e->type == ICMP6_TOO_BIG;
    bool final = v4 ? e->type == ICMP_UNREACHABLE && (e->code == ICMP_CODE_PROTOCOL || e->code == ICMP_CODE_PORT)
                    : (e->type == ICMP6_UNREACHABLE && e->code == ICMP6_CODE_PORT_UNREACHABLE) ||
                          (e->type == ICMP6_PARAMETER && e->code == ICMP6_CODE_UNKNOWN_NEXT_HEADER);
    *ret = too_big ? TCP_ICMP_TOO_BIG : TCP_ICMP_UNREACHABLE;
    return too_big || final;
}

static void icmp_errors(struct core *c, const struct tide_time *t)
{
    struct net_icmp_error errors[ICMP_ERRORS_MAX];
    if (c->net.icmp_error_count == 0)
        return;
    unsigned n = net_take_icmp_errors(&c->net, errors, ICMP_ERRORS_MAX);
    for (unsigned i = 0; i < n; i++) {
        const struct net_icmp_error *e = &errors[i];
        const struct net_config *net = &c->config.net;
        struct tcp_endpoint local = {tide_addr_is_v4(&e->peer) ? net->addr : net->addr6, e->local_port};
        struct tcp_endpoint peer = {e->peer, e->peer_port};
        enum tcp_icmp meaning;
        if (icmp_meaning(e, &meaning))
            tcp_on_icmp(c->tcp, t->now_ns, &local, &peer, e->sequence, meaning, e->next_mtu);
    }
}

static void receive(struct core *c, const struct tide_time *t, struct core_io *io)
{
    struct steer *s = c->config.steer;
    uint32_t self = c->config.number;

    for (unsigned i = 0; i < io->rx_count; i++) {
        struct rte_mbuf *m = io->rx[i];
        uint32_t owner = s != NULL ? steer_core(m, c->config.core_count, self) : self;
        if (owner == self) {
            take_frame(c, t, m);
        } else if (rte_ring_sp_enqueue(s->rings[self][owner], m) == 0) {
            tide_count(&c->counters, COUNTER_rx_handed);
            c->config.office->parties[self].rung |= 1ull << owner;
        } else {
            tide_count(&c->counters, COUNTER_mail_full);
            rte_pktmbuf_free(m);
        }
    }
    c->did += io->rx_count;
    c->turn.work[TURN_WORK_frames_in] += io->rx_count;
    io->rx_count = 0;
    for (uint32_t from = 0; s != NULL && from < c->config.core_count; from++) {
        void *frames[STEER_MAX];
        unsigned n = 0;
        if (from != self)
            n = rte_ring_sc_dequeue_burst(s->rings[from][self], frames, STEER_MAX, NULL);
        for (unsigned i = 0; i < n; i++)
            take_frame(c, t, frames[i]);
        c->did += n;
        c->turn.work[TURN_WORK_frames_in] += n;
    }
}

/* ---- connections and sessions ------------------------------------------------------------------ */

/* LISTENER_NONE: the port listens, but to the other family. */
static uint32_t listener_of(const struct core *c, struct tcp_conn *conn)
{
    struct tcp_endpoint local = tcp_local(conn);
    uint8_t family = tide_addr_is_v4(&local.addr) ? 4 : 6;
    for (uint32_t i = 0; i < c->config.listener_count; i++) {
        const struct core_listener *l = &c->config.listeners[i];
        if (l->port == local.port && (l->family == 0 || l->family == family))
            return i;
    }
    return LISTENER_NONE;
}

/* False: there is no session for it, and the connection is gone with all that its event told. */
static bool open_session(struct core *c, const struct tide_time *t, struct tcp_conn *conn)
{
    uint32_t listener = listener_of(c, conn);
    struct session *s = listener != LISTENER_NONE && c->listens ? session_open(c->broker, t, listener, conn) : NULL;
    if (s == NULL) {
        tcp_abort(conn);
        return false;
    }
    struct tcp_endpoint peer = tcp_peer(conn);
    session_set_address(s, &peer.addr);
    tcp_set_user(conn, s);
    return true;
}

/* Moves what the session wants into its connection, and counts whether there was anything. True while the session lives. */
static inline __attribute__((always_inline)) bool serve_session(struct core *c, struct session *s)
{
    struct tcp_conn *conn = conn_of(s);
    struct session_wants w;

    session_wants(s, &w);
    if (w.credit != 0) {
        tcp_consumed(conn, w.credit);
        c->did++;
    }
    if (!w.abort && w.out->len != 0 && tcp_send_room(conn) != 0) {
        tcp_write(conn, w.out);
        c->did++;
    }
    if (w.abort || (w.close && w.out->len == 0)) {
        c->did++;
        tcp_set_user(conn, NULL);
        session_on_gone(s);
        if (w.abort)
            tcp_abort(conn);
        else
            tcp_close(conn);
        return false;
    }
    return true;
}

/* ---- peer streams ---------------------------------------------------------------------------------- */

/* Moves what the stream wants into its connection. True while it lives. */
static bool serve_peer(struct core *c, struct peer *p)
{
    struct tcp_conn *conn = peer_transport(p);
    struct session_wants w;

    peer_wants(p, &w);
    if (w.credit != 0)
        tcp_consumed(conn, w.credit);
    if (!w.abort && w.out->len != 0 && tcp_send_room(conn) != 0)
        tcp_write(conn, w.out);
    if (w.abort || (w.close && w.out->len == 0)) {
        tcp_set_user(conn, NULL);
        peer_on_gone(p);
        if (w.abort)
            tcp_abort(conn);
        else
            tcp_close(conn);
        return false;
    }
    return true;
}

static uint32_t queued_in(const struct core *c, const struct tcp_conn *conn)
{
    uint32_t room = tcp_send_room(conn);
    return c->config.tcp.send_buffer_bytes - TIDE_MIN(room, c->config.tcp.send_buffer_bytes);
}

static void on_peer_event(struct core *c, const struct tide_time *t, struct peer *p, const struct tcp_event *e, struct tide_out *out)
{
    if (e->bits & TCP_EVENT_READABLE) {
        struct tide_rope bytes = {0};
        if (tcp_read(e->conn, &bytes) != 0) {
            tcp_ack_now(e->conn); /* it is one of us, and waits with tcp.rto.min.us */
            peer_on_bytes(p, t, &bytes, out);
        }
    }
    if (e->bits & TCP_EVENT_GONE) {
        peer_on_gone(p);
        return;
    }
    if (e->bits & TCP_EVENT_PEER_CLOSED) { /* nobody closes half a stream */
        tcp_set_user(e->conn, NULL);
        peer_on_gone(p);
        tcp_abort(e->conn);
        return;
    }
    if (e->bits & TCP_EVENT_WRITABLE) {
        peer_on_confirmed(p, t);
        peer_on_sent(p, t, queued_in(c, e->conn), out);
    }
    (void)serve_peer(c, p);
}

static bool open_peer(struct core *c, const struct tide_time *t, struct tcp_conn *conn)
{
    struct peer *p = peer_on_accepted(c->broker, t, conn);
    if (p == NULL) {
        tcp_abort(conn);
        return false;
    }
    tcp_set_user(conn, p);
    tcp_set_prompt_peer(conn);
    return true;
}

static void dial(struct core *c, const struct tide_time *t)
{
    struct peer_dial d;
    for (unsigned n = 0; n < DIALS_MAX && broker_next_dial(c->broker, &d); n++) {
        const struct net_config *net = &c->config.net;
        struct tcp_endpoint local = {tide_addr_is_v4(&d.addr) ? net->addr : net->addr6, 0};
        struct tcp_endpoint remote = {d.addr, d.port};
        struct tcp_conn *conn = NULL;
        struct steer_end here = {local.addr, 0, c->config.number, c->config.core_count};
        struct steer_end there = {d.addr, d.port, d.core, d.core_count};
        local.port = steer_source_port(&c->config.source_ports, d.random, &here, &there);
        if (local.port != 0)
            conn = tcp_connect(c->tcp, t->now_ns, &local, &remote);
        if (conn != NULL) {
            tcp_set_user(conn, d.peer);
            tcp_set_prompt_peer(conn);
        }
        peer_on_dialled(d.peer, t, conn);
        c->did++;
    }
}

static void ready_peers(struct core *c, const struct tide_time *t, struct tide_out *out)
{
    struct peer *p;
    unsigned n = 0;
    while (n < EVENTS_MAX && (p = broker_next_ready_peer(c->broker)) != NULL) {
        struct tcp_conn *conn = peer_transport(p);
        if (serve_peer(c, p))
            peer_on_sent(p, t, queued_in(c, conn), out);
        n++;
    }
    c->did += n;
}

/* ---- events --------------------------------------------------------------------------------------------- */

static void on_session_event(struct core *c, const struct tide_time *t, struct session *s, const struct tcp_event *e, struct tide_out *out)
{
    if (e->bits & TCP_EVENT_READABLE) {
        struct tide_rope bytes = {0};
        if (tcp_read(e->conn, &bytes) != 0)
            session_on_bytes(s, t, tide_arrival_ns(bytes.head, tcp_read_since_ns(e->conn)), &bytes, out);
    }
    if (e->bits & TCP_EVENT_PEER_CLOSED)
        session_on_end(s, t);
    if (e->bits & TCP_EVENT_GONE) {
        session_on_gone(s);
        return;
    }
    if (!serve_session(c, s))
        return;
    if ((e->bits & TCP_EVENT_WRITABLE) && session_on_sent(s, t, out))
        (void)serve_session(c, s);
}

/* A connection's user is a session, a peer stream, or nobody: then we closed, and what still comes is dropped. */
static void on_event(struct core *c, const struct tide_time *t, const struct tcp_event *e, struct tide_out *out)
{
    struct conn_user *user;
    if (e->bits & TCP_EVENT_ACCEPTED) {
        struct tcp_endpoint local = tcp_local(e->conn);
        bool peer = local.port == c->config.replication_port && c->config.replication_port != 0;
        if (!(peer ? open_peer(c, t, e->conn) : open_session(c, t, e->conn)))
            return;
    }
    user = tcp_user(e->conn);
    if (user == NULL) {
        struct tide_rope rest = {0};
        if (e->bits & TCP_EVENT_READABLE) {
            uint32_t n = tcp_read(e->conn, &rest);
            tide_rope_clear(&rest);
            tcp_consumed(e->conn, n);
        }
    } else if (user->kind == CONN_PEER) {
        on_peer_event(c, t, (struct peer *)user, e, out);
    } else {
        on_session_event(c, t, (struct session *)user, e, out);
    }
}

static void connections(struct core *c, const struct tide_time *t, struct tide_out *out)
{
    struct tcp_event e;
    unsigned n = 0;
    while (n < EVENTS_MAX && tcp_next_event(c->tcp, &e)) {
        on_event(c, t, &e, out);
        n++;
    }
    c->did += n;
}

static void ready_sessions(struct core *c, const struct tide_time *t, struct tide_out *out)
{
    struct session *s;
    unsigned n = 0;
    while (n < EVENTS_MAX && (s = broker_next_ready(c->broker)) != NULL) {
        if (serve_session(c, s))
            c->did += session_go_on(s, t, out);
        n++;
    }
    c->did += n == EVENTS_MAX; /* others may be ready; whoever only said so has moved nothing */
}

/* Read buffers are gone, and somebody holds them without reading: the slowest connection is reset,
 * so that the others are served (design 10). */
static void reset_slowest_reader(struct core *c, const struct tide_time *t)
{
    struct session *slowest = NULL;
    uint64_t since = t->now_ns - SLOW_AFTER_MS * TIDE_NS_PER_MS;
    if (t->now_ns < c->slow_look_ns)
        return;
    c->slow_look_ns = t->now_ns + SLOW_LOOK_MS * TIDE_NS_PER_MS;
    if (log_core_free_now(c->config.log_core).reads != 0)
        return;
    for (uint32_t i = 0; i < c->config.broker.sessions_max; i++) {
        struct session *s = broker_session(c->broker, i);
        uint64_t stalled = s != NULL ? tcp_stalled_since(conn_of(s)) : 0;
        if (stalled != 0 && stalled < since) {
            since = stalled;
            slowest = s;
        }
    }
    if (slowest != NULL) {
        struct tcp_conn *conn = conn_of(slowest);
        tide_count(&c->counters, COUNTER_slow_readers_reset);
        session_on_gone(slowest);
        tcp_abort(conn);
    }
}

/* ---- mail and completions ------------------------------------------------------------------------ */

static void neighbours_out(struct core *c)
{
    struct net_neighbour learned[NET_LEARNED_MAX];
    if (c->net.learned_count == 0)
        return;
    unsigned n = net_take_learned(&c->net, learned, NET_LEARNED_MAX);
    for (unsigned i = 0; i < n; i++)
        broker_tell_neighbour(c->broker, &learned[i].addr, learned[i].mac.addr_bytes, learned[i].source);
}

/* Where the addresses are the kernel's: whom we look for goes to control. */
static void ask_kernel(struct core *c)
{
    struct core_kernel *k = c->config.kernel;
    struct tide_addr wanted[NET_LEARNED_MAX];
    if (k == NULL)
        return;
    unsigned n = net_take_wanted(&c->net, wanted, NET_LEARNED_MAX);
    if (n != 0) /* control looks a hundred times a second; whom there is no room for is wanted again */
        (void)rte_ring_mp_enqueue_burst_elem(k->wanted, wanted, sizeof(wanted[0]), n, NULL);
}

static void on_neighbour(struct core *c, const struct tide_time *t, struct tide_mail *m)
{
    struct net_neighbour n = {.addr = m->neighbour.addr, .source = m->neighbour.source};
    memcpy(n.mac.addr_bytes, m->neighbour.mac, sizeof(n.mac.addr_bytes));
    net_neighbour_learn(&c->net, t->now_ns, &n);
    rte_mempool_put(m->pool, m);
}

static void on_way(struct core *c, struct tide_mail *m)
{
    net_set_way(&c->net, m->way.prefix_len, m->way.gateway);
    net_set_way6(&c->net, m->way.prefix6_len, &m->way.gateway6);
    rte_mempool_put(m->pool, m);
}

static void mail(struct core *c, const struct tide_time *t, struct tide_out *out)
{
    struct tide_mail *letters[MAIL_MAX];
    uint32_t bells[BELLS_MAX];
    unsigned n = post_take(c->config.office, c->config.number, letters, MAIL_MAX);
    for (unsigned i = 0; i < n; i++) {
        if (letters[i]->kind == MAIL_NEIGHBOUR)
            on_neighbour(c, t, letters[i]);
        else if (letters[i]->kind == MAIL_WAY)
            on_way(c, letters[i]);
        else
            broker_on_mail(c->broker, t, letters[i], out);
    }
    c->did += n;
    c->turn.work[TURN_WORK_letters] += n;
    if (!post_is_rung(c->config.office, c->config.number))
        return;
    n = post_take_bells(c->config.office, c->config.number, bells, BELLS_MAX);
    for (unsigned i = 0; i < n; i++)
        broker_on_bell(c->broker, t, bells[i], out);
    c->did += n;
    c->turn.work[TURN_WORK_letters] += n;
}

static void completions(struct core *c, const struct tide_time *t, struct core_io *io)
{
    for (unsigned i = 0; i < io->done_count; i++) {
        if (DISK_ID_OWNER(io->done[i].id) != DISK_OWNER_ROSTER)
            broker_on_disk(c->broker, t, &io->done[i], &io->out);
        else if (!roster_on_disk(&c->roster, &io->done[i]))
            tide_count(&c->counters, COUNTER_roster_write_errors);
    }
    for (unsigned i = 0; i < io->jobs_done_count; i++)
        broker_on_job(c->broker, t, io->jobs_done[i], &io->out);
    c->did += io->done_count + io->jobs_done_count;
    c->turn.work[TURN_WORK_disk] += io->done_count;
    c->turn.work[TURN_WORK_jobs] += io->jobs_done_count;
    io->done_count = io->jobs_done_count = 0;
}

/* ---- frames out ------------------------------------------------------------------------------------- */

static void transmit(struct core *c, const struct tide_time *t, struct core_io *io)
{
    struct rte_mbuf *packets[PACKETS_MAX];
    struct tcp_meta metas[PACKETS_MAX];
    unsigned n;

    while (net_tx_room(&c->net) >= PACKETS_MAX) {
        n = tcp_output(c->tcp, t->now_ns, packets, metas, PACKETS_MAX);
        for (unsigned i = 0; i < n; i++)
            if (net_output(&c->net, t->now_ns, packets[i], &metas[i].src, &metas[i].dst, metas[i].ecn) != TIDE_OK)
                rte_pktmbuf_free(packets[i]); /* no way there: to TCP it is a loss */
        c->did += n;
        if (n < PACKETS_MAX)
            break;
    }
    n = net_take_tx(&c->net, io->tx + io->tx_count, CORE_TX_MAX - io->tx_count);
    io->tx_count += n;
    c->did += n;
    c->turn.work[TURN_WORK_frames_out] += n;
}

/* Responses that have gone: to the port they go with this turn. */
static void transmitted(struct core *c, const struct tide_time *t)
{
    uint64_t now = 0;
    struct session *s;
    for (unsigned n = 0; n < EVENTS_MAX && (s = broker_next_unsent(c->broker)) != NULL; n++) {
        if (now == 0)
            now = tide_now_ns(t);
        session_on_transmitted(s, now, tcp_bytes_sent(conn_of(s)));
    }
}

/* ---- the turn ------------------------------------------------------------------------------------------ */

static void look_at_receive_pool(struct core *c, const struct tide_time *t)
{
    const struct rte_mempool *p = c->config.receive_pool;
    if (p == NULL || t->now_ns < c->pool_look_ns)
        return;
    c->pool_look_ns = t->now_ns + POOL_LOOK_US * 1000; /* counting walks every core's cache */
    c->receive_low = rte_mempool_avail_count(p) < p->size * RECEIVE_LOW_PERCENT / 100;
}

static void publish_gauges(struct core *c)
{
    struct broker_gauges g;
    broker_gauges(c->broker, &g);
    tide_pub64_set(&c->gauges.sessions, g.sessions);
    tide_pub64_set(&c->gauges.requests, g.requests_in_progress);
    tide_pub64_set(&c->gauges.peer_streams, g.peer_streams);
    tide_pub64_set(&c->gauges.feeds, g.feeds);
    tide_pub64_set(&c->gauges.follower_lag, g.follower_lag);
    tide_pub64_set(&c->gauges.coordinators, g.coordinators);
    tide_pub64_set(&c->gauges.coordinators_loading, g.coordinators_loading);
    tide_pub64_set(&c->gauges.groups, g.groups);
    tide_pub64_set(&c->gauges.group_members, g.group_members);
    tide_pub64_set(&c->gauges.group_waits, g.group_waits);
    tide_pub64_set(&c->gauges.group_offsets, g.group_offsets);
    tide_pub64_set(&c->gauges.group_skipped_records, g.group_skipped_records);
    tide_pub64_set(&c->gauges.group_heap_bytes, g.group_heap_bytes);
    tide_pub64_set(&c->gauges.group_heap_free_bytes, g.group_heap_free_bytes);
}

static void publish_tcp(struct core *c)
{
    uint64_t values[TCP_STAT_COUNT];
    memcpy(values, tcp_stats(c->tcp), sizeof(values));
    for (unsigned i = 0; i < TCP_STAT_COUNT; i++)
        tide_pub64_set(&c->gauges.tcp[i], values[i]);
}

static void publish(struct core *c, const struct tide_time *t)
{
    if (c->did != 0 && t->now_ns < c->publish_ns) {
        c->unpublished = true;
        return;
    }
    if (c->did == 0 && !c->unpublished)
        return;
    c->publish_ns = t->now_ns + PUBLISH_MS * TIDE_NS_PER_MS;
    c->unpublished = c->did != 0;
    publish_gauges(c);
    publish_tcp(c);
}

/* ---- the list of connections ---------------------------------------------------------------------------- */

void core_conns_ask(struct core *c)
{
    if (core_conns_ready(c))
        atomic_fetch_add_explicit(&c->conns_asked, 1, memory_order_release);
}

bool core_conns_ready(const struct core *c)
{
    return atomic_load_explicit(&c->conns_asked, memory_order_relaxed) == atomic_load_explicit(&c->conns_answered, memory_order_acquire);
}

const struct tcp_conn_info *core_conns(const struct core *c, uint32_t *ret_count)
{
    *ret_count = c->conns_count;
    return c->conns;
}

static void list_conns(struct core *c, const struct tide_time *t)
{
    uint32_t asked = atomic_load_explicit(&c->conns_asked, memory_order_acquire);
    uint32_t until = TIDE_MIN(c->conns_at + CONNS_PER_TURN, c->config.tcp.connections_max);
    if (asked == atomic_load_explicit(&c->conns_answered, memory_order_relaxed))
        return;
    if (c->conns_at == 0)
        c->conns_count = 0;
    for (; c->conns_at < until; c->conns_at++)
        if (tcp_info_at(c->tcp, t->now_ns, c->conns_at, &c->conns[c->conns_count]))
            c->conns_count++;
    c->did++; /* no waiting before it is whole */
    if (until != c->config.tcp.connections_max)
        return;
    c->conns_at = 0;
    atomic_store_explicit(&c->conns_answered, asked, memory_order_release);
}

/* ---- the list for the next process ------------------------------------------------------------------------- */

/* As many as the turn's work made come and go. */
static void keep_roster(struct core *c, struct tide_out *out)
{
    struct tcp_change change;
    while (tcp_next_change(c->tcp, &change)) {
        if (change.is_here)
            roster_set(&c->roster, change.number, &change.local, &change.remote);
        else
            roster_clear(&c->roster, change.number);
    }
    roster_on_turn(&c->roster, out);
}

/* Once the orphans are all roused nobody needs to know of them; until then the next process does, should this one end. */
static void rouse_orphans(struct core *c, const struct tide_time *t)
{
    if (t->now_ns < orphans_deadline_ns(&c->orphans))
        return;
    orphans_on_time(&c->orphans, t->now_ns, c->tcp);
    if (!roster_is_kept(&c->roster) || orphans_deadline_ns(&c->orphans) != TIDE_NEVER)
        return;
    for (uint32_t i = 0; i < c->config.orphan_count; i++)
        roster_clear(&c->roster, c->config.tcp.connections_max + i);
}

/* Before, a client is refused, as by a broker that is not there, and goes to another one. */
static void listen_to_clients(struct core *c)
{
    c->listens = true;
    for (unsigned i = 0; i < c->config.listener_count; i++) {
        enum tide_status status = tcp_listen(c->tcp, c->config.listeners[i].port);
        TIDE_ASSERT(status == TIDE_OK || status == TIDE_EXISTS); /* the other family has the same port */
    }
}

/* The broker has left: clients are to look for others at once, and not to learn from each partition that it is closed. */
static void send_clients_away(struct core *c)
{
    c->listens = false;
    for (unsigned i = 0; i < c->config.listener_count; i++)
        tcp_unlisten(c->tcp, c->config.listeners[i].port);
    for (uint32_t i = 0; i < c->config.broker.sessions_max; i++) {
        struct session *s = broker_session(c->broker, i);
        if (s == NULL)
            continue;
        struct tcp_conn *conn = conn_of(s);
        session_on_gone(s);
        tcp_abort(conn);
    }
}

unsigned core_turn(struct core *c, const struct tide_time *t, struct core_io *io)
{
    c->did = 0;
    c->turn = (struct turn){.begun_ns = t->now_ns};
    c->requests_seen = c->counters.values[COUNTER_requests];
    tide_count(&c->counters, COUNTER_turns);
    if (io->port != c->net.config.port)
        net_move(&c->net, t->now_ns, io->port, &io->mac);
    look_at_receive_pool(c, t);
    broker_begin_turn(c->broker, t, c->receive_low);
    if (c->listens != broker_takes_clients(c->broker))
        (c->listens ? send_clients_away : listen_to_clients)(c);
    completions(c, t, io);
    mail(c, t, &io->out);
    receive(c, t, io);
    icmp_errors(c, t);
    if (tcp_deadline_ns(c->tcp) <= t->now_ns)
        tcp_on_time(c->tcp, t->now_ns);
    if (net_deadline_ns(&c->net) <= t->now_ns)
        net_on_time(&c->net, t->now_ns);
    rouse_orphans(c, t);
    connections(c, t, &io->out);
    c->did += broker_turn(c->broker, t, &io->out);
    dial(c, t);
    ready_peers(c, t, &io->out);
    ready_sessions(c, t, &io->out);
    reset_slowest_reader(c, t);
    neighbours_out(c);
    ask_kernel(c);
    transmit(c, t, io);
    transmitted(c, t);
    if (roster_is_kept(&c->roster))
        keep_roster(c, &io->out);
    c->turn.work[TURN_WORK_begun] = io->out.op_count + io->out.job_count;
    list_conns(c, t);
    publish(c, t);
    return c->did;
}

void core_on_turn_end(struct core *c, uint64_t now_ns)
{
    c->turn.work[TURN_WORK_requests] = (uint32_t)(c->counters.values[COUNTER_requests] - c->requests_seen);
    c->turn.took_ns = now_ns - c->turn.begun_ns;
    turns_on_end(&c->turns, &c->turn);
}

const struct turns *core_turns(const struct core *c) { return &c->turns; }
const struct turn *core_last_turn(const struct core *c) { return &c->turn; }

uint64_t core_deadline_ns(const struct core *c)
{
    uint64_t soonest = TIDE_MIN(tcp_deadline_ns(c->tcp), net_deadline_ns(&c->net));
    soonest = TIDE_MIN(soonest, orphans_deadline_ns(&c->orphans));
    return TIDE_MIN(soonest, broker_deadline_ns(c->broker));
}

bool core_has_mail(const struct core *c)
{
    struct steer *s = c->config.steer;
    uint32_t self = c->config.number;
    for (uint32_t from = 0; s != NULL && from < c->config.core_count; from++)
        if (from != self && !rte_ring_empty(s->rings[from][self]))
            return true;
    return post_has_mail(c->config.office, self) || post_is_rung(c->config.office, self);
}

struct tide_counters *core_counters(struct core *c) { return &c->counters; }
struct broker *core_broker(struct core *c) { return c->broker; }
struct tcp_stack *core_tcp(struct core *c) { return c->tcp; }
const struct roster *core_roster(const struct core *c) { return &c->roster; }
struct post_office *core_office(struct core *c) { return c->config.office; }
uint32_t core_number(const struct core *c) { return c->config.number; }
const struct core_gauges *core_gauges(const struct core *c) { return &c->gauges; }

void core_check(const struct core *c)
{
    bool left = orphans_deadline_ns(&c->orphans) != TIDE_NEVER;
    for (uint32_t i = 0; roster_is_kept(&c->roster) && i < c->config.orphan_count; i++)
        TIDE_ASSERT(roster_has(&c->roster, c->config.tcp.connections_max + i) == left); /* C1 */
    net_check(&c->net);
    tcp_check(c->tcp);
    roster_check(&c->roster);
    broker_check(c->broker);
    turns_check(&c->turns);
}
