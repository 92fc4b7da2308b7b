/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables, life and the application's calls.
 */
#include "tcp/tcp_conn.h"

#include <rte_malloc.h>

enum { RECORDS = 32768, MSS_LEAST = 536 };

/* ---- keyed hash (SipHash-2-4), for sequence numbers, cookies and the table --------------------------- */

#define ROTL(x, b) ((x) << (b) | (x) >> (64 - (b)))

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = ROTL(v[1], 13) ^ v[0];
    v[0] = ROTL(v[0], 32);
    v[2] += v[3];
    v[3] = ROTL(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = ROTL(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = ROTL(v[1], 17) ^ v[2];
    v[2] = ROTL(v[2], 32);
}

uint64_t tcp_hash(const struct tcp_stack *s, const struct tide_addr *local, uint16_t local_port, const struct tide_addr *remote,
                  uint16_t remote_port, uint64_t salt)
{
    uint64_t words[6];
    uint64_t k0, k1;
    uint64_t v[4];
    memcpy(&k0, s->config.secret, 8);
    memcpy(&k1, s->config.secret + 8, 8);
    memcpy(&words[0], local, 16);
    memcpy(&words[2], remote, 16);
    words[4] = (uint64_t)local_port << 16 | remote_port;
    words[5] = salt;
    v[0] = k0 ^ 0x736f6d6570736575ull;
    v[1] = k1 ^ 0x646f72616e646f6dull;
    v[2] = k0 ^ 0x6c7967656e657261ull;
    v[3] = k1 ^ 0x7465646279746573ull;
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(words); i++) {
        v[3] ^= words[i];
        sip_round(v);
        sip_round(v);
        v[0] ^= words[i];
    }
    v[2] ^= 0xff;
    for (unsigned i = 0; i < 4; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* RFC 6528: a clock of 4 us plus a keyed function of the addresses. */
uint32_t tcp_isn(struct tcp_stack *s, const struct tide_addr *local, uint16_t local_port, const struct tide_addr *remote, uint16_t remote_port)
{
    return (uint32_t)(s->now_ns / 4000) + (uint32_t)tcp_hash(s, local, local_port, remote, remote_port, 1);
}

/* ---- the stack ---------------------------------------------------------------------------------------- */

static bool make_tables(struct tcp_stack *s)
{
    uint32_t buckets = 64;
    while (buckets < 2 * s->config.connections_max)
        buckets *= 2;
    s->bucket_mask = buckets - 1;
    s->conns = rte_zmalloc("tcp", s->config.connections_max * sizeof(*s->conns), TIDE_CACHE_LINE);
    s->free_conns = rte_zmalloc("tcp", s->config.connections_max * sizeof(*s->free_conns), TIDE_CACHE_LINE);
    s->changes = rte_zmalloc("tcp", s->config.connections_max * sizeof(*s->changes), TIDE_CACHE_LINE);
    s->buckets = rte_zmalloc("tcp", buckets * sizeof(*s->buckets), TIDE_CACHE_LINE);
    s->recent = rte_zmalloc("tcp", buckets * sizeof(*s->recent), TIDE_CACHE_LINE);
    s->records = rte_zmalloc("tcp", (s->config.connections_max + s->config.records) * sizeof(*s->records), TIDE_CACHE_LINE);
    s->syns = rte_zmalloc("tcp", (s->config.syn_backlog + 1) * sizeof(*s->syns), TIDE_CACHE_LINE);
    return s->conns != NULL && s->free_conns != NULL && s->changes != NULL && s->buckets != NULL && s->recent != NULL && s->syns != NULL &&
           s->records != NULL;
}

struct tcp_stack *tcp_stack_create(const struct tcp_config *config)
{
    struct tcp_stack *s = rte_zmalloc("tcp", sizeof(*s), TIDE_CACHE_LINE);
    if (s == NULL)
        return NULL;
    s->config = *config;
    if (s->config.user_timeout_ms == 0)
        s->config.user_timeout_ms = 120000;
    if (s->config.rto_start_ms == 0)
        s->config.rto_start_ms = 1000;
    if (s->config.records == 0)
        s->config.records = RECORDS;
    if (!make_tables(s)) {
        tcp_stack_destroy(s);
        return NULL;
    }
    while (s->wscale < 14 && (config->receive_window_bytes >> s->wscale) > 65535)
        s->wscale++;
    tcp_wheel_init(s);
    tcp_records_init(s);
    tcp_list_init(&s->output);
    tcp_list_init(&s->events);
    tcp_list_init(&s->time_wait);
    tcp_list_init(&s->syns_free);
    tcp_list_init(&s->syns_used);
    for (uint32_t i = 0; i < config->syn_backlog; i++) {
        tcp_list_init(&s->syns[i].in_list);
        tcp_list_append(&s->syns_free, &s->syns[i].in_list);
    }
    for (uint32_t i = config->connections_max; i-- != 0;)
        s->free_conns[s->free_count++] = i;
    memcpy(&s->random, config->secret, sizeof(s->random));
    return s;
}

static void drop_all(struct tcp_conn *c)
{
    tide_rope_clear(&c->send_queue);
    tide_rope_clear(&c->receive_queue);
    tcp_hold_drop(c);
    tcp_records_clear(c);
    c->cursor = NULL;
}

void tcp_stack_destroy(struct tcp_stack *s)
{
    if (s == NULL)
        return;
    if (s->conns != NULL)
        for (uint32_t i = 0; i < s->config.connections_max; i++)
            if (s->conns[i].stack != NULL)
                drop_all(&s->conns[i]);
    rte_free(s->conns);
    rte_free(s->free_conns);
    rte_free(s->changes);
    rte_free(s->buckets);
    rte_free(s->recent);
    rte_free(s->syns);
    rte_free(s->records);
    rte_free(s);
}

enum tide_status tcp_listen(struct tcp_stack *s, uint16_t port)
{
    for (unsigned i = 0; i < s->listener_count; i++)
        if (s->listeners[i] == port)
            return TIDE_EXISTS;
    if (s->listener_count == TCP_LISTENERS_MAX)
        return TIDE_FULL;
    s->listeners[s->listener_count++] = port;
    return TIDE_OK;
}

void tcp_unlisten(struct tcp_stack *s, uint16_t port)
{
    for (unsigned i = 0; i < s->listener_count; i++)
        if (s->listeners[i] == port)
            s->listeners[i] = s->listeners[--s->listener_count];
}

/* ---- the table ------------------------------------------------------------------------------------------ */

static uint32_t *bucket_of(struct tcp_stack *s, const struct tide_addr *local, uint16_t local_port, const struct tide_addr *remote,
                           uint16_t remote_port)
{
    return &s->buckets[tcp_hash(s, local, local_port, remote, remote_port, 0) & s->bucket_mask];
}

/* Its number + 1; 0: there is none. */
static uint32_t look_up(struct tcp_stack *s, const struct tide_addr *local, uint16_t local_port, const struct tide_addr *remote, uint16_t remote_port)
{
    uint32_t n = *bucket_of(s, local, local_port, remote, remote_port);
    while (n != 0 && !tcp_has_addresses(&s->conns[n - 1], local, local_port, remote, remote_port))
        n = s->conns[n - 1].hash_next;
    return n;
}

struct tcp_conn *tcp_find_by_hash(struct tcp_stack *s, const struct tide_addr *local, uint16_t local_port, const struct tide_addr *remote,
                                  uint16_t remote_port)
{
    uint32_t n = look_up(s, local, local_port, remote, remote_port);
    if (n == 0)
        return NULL;
    *tcp_recent_of(s, local_port, remote, remote_port) = n;
    return &s->conns[n - 1];
}

static void unlink_conn(struct tcp_conn *c)
{
    struct tcp_stack *s = c->stack;
    uint32_t *at = bucket_of(s, &c->local, c->local_port, &c->remote, c->remote_port);
    uint32_t *recent = tcp_recent_of(s, c->local_port, &c->remote, c->remote_port);
    if (*recent == c->number + 1)
        *recent = 0;
    while (*at != c->number + 1) {
        TIDE_ASSERT(*at != 0); /* T5 */
        at = &s->conns[*at - 1].hash_next;
    }
    *at = c->hash_next;
}

static void note_change(struct tcp_stack *s, struct tcp_conn *c)
{
    if (c->changed)
        return;
    c->changed = true;
    s->changes[s->change_count++] = c->number;
}

struct tcp_conn *tcp_take(struct tcp_stack *s, const struct tide_addr *local, uint16_t local_port, const struct tide_addr *remote,
                          uint16_t remote_port)
{
    struct tcp_conn *c;
    uint32_t *bucket;
    uint32_t number;
    bool changed;
    if (s->free_count == 0 && !tcp_list_empty(&s->time_wait)) { /* the oldest that only waits */
        struct tcp_conn *old = (struct tcp_conn *)((char *)s->time_wait.next - offsetof(struct tcp_conn, in_time_wait));
        s->stats.time_wait_reused++;
        tcp_end(old);
    }
    if (s->free_count == 0)
        return NULL;
    number = s->free_conns[--s->free_count];
    c = &s->conns[number];
    changed = c->changed;
    memset(c, 0, sizeof(*c));
    c->stack = s;
    c->number = number;
    c->changed = changed;
    note_change(s, c);
    c->local = *local;
    c->remote = *remote;
    c->local_port = local_port;
    c->remote_port = remote_port;
    c->last_in_ns = s->now_ns;
    c->rto_ns = s->config.rto_start_ms * TIDE_NS_PER_MS;
    tcp_list_init(&c->in_wheel);
    tcp_list_init(&c->in_output);
    tcp_list_init(&c->in_events);
    tcp_list_init(&c->in_time_wait);
    c->rack_multiplier = 1;
    c->all_steps = s->config.all_steps;
    tcp_ack_delay_init(c);
    c->challenge_limit = (uint16_t)(5 + (tcp_hash(s, local, local_port, remote, remote_port, s->now_ns) & 7));
    bucket = bucket_of(s, local, local_port, remote, remote_port);
    c->hash_next = *bucket;
    *bucket = number + 1;
    return c;
}

void tcp_give(struct tcp_conn *c)
{
    struct tcp_stack *s = c->stack;
    drop_all(c);
    unlink_conn(c);
    tcp_list_remove(&c->in_wheel);
    tcp_list_remove(&c->in_output);
    tcp_list_remove(&c->in_events);
    tcp_list_remove(&c->in_time_wait);
    c->stack = NULL;
    c->state = TCP_CLOSED;
    note_change(s, c);
    s->free_conns[s->free_count++] = c->number;
}

/* ---- events ----------------------------------------------------------------------------------------------- */

bool tcp_next_event(struct tcp_stack *s, struct tcp_event *ret)
{
    struct tcp_conn *c;
    if (s->condemned != NULL) { /* GONE was taken by the call before this one */
        tcp_give(s->condemned);
        s->condemned = NULL;
    }
    if (tcp_list_empty(&s->events))
        return false;
    c = (struct tcp_conn *)((char *)s->events.next - offsetof(struct tcp_conn, in_events));
    tcp_list_remove(&c->in_events);
    *ret = (struct tcp_event){.conn = c, .bits = c->events};
    c->events = 0;
    if (ret->bits & TCP_EVENT_GONE)
        s->condemned = c;
    return true;
}

void tcp_end(struct tcp_conn *c)
{
    if (c->gone)
        return;
    c->state = TCP_CLOSED;
    tide_rope_clear(&c->send_queue);
    tcp_hold_drop(c);
    tcp_records_clear(c);
    c->cursor = NULL;
    c->send_deadline_ns = c->ack_deadline_ns = c->life_deadline_ns = 0;
    c->send_timer = TCP_TIMER_OFF;
    tcp_list_remove(&c->in_wheel);
    tcp_list_remove(&c->in_output);
    tcp_list_remove(&c->in_time_wait);
    c->gone = true;
    if (c->released)
        tcp_give(c);
    else
        tcp_event_raise(c, TCP_EVENT_GONE);
}

/* The peer's 2MSL; the application has nothing more to learn. */
void tcp_enter_time_wait(struct tcp_conn *c)
{
    struct tcp_stack *s = c->stack;
    c->state = TCP_TIME_WAIT;
    c->send_deadline_ns = 0;
    c->send_timer = TCP_TIMER_OFF;
    c->life_deadline_ns = s->now_ns + s->config.time_wait_ms * TIDE_NS_PER_MS;
    tcp_list_remove(&c->in_time_wait);
    tcp_list_append(&s->time_wait, &c->in_time_wait);
    tcp_timers_changed(c);
}

/* ---- the application's calls --------------------------------------------------------------------------------- */

struct tcp_conn *tcp_connect(struct tcp_stack *s, uint64_t now_ns, const struct tcp_endpoint *local, const struct tcp_endpoint *remote)
{
    struct tcp_conn *c;
    s->now_ns = now_ns;
    if (tcp_find(s, &local->addr, local->port, &remote->addr, remote->port) != NULL)
        return NULL;
    c = tcp_take(s, &local->addr, local->port, &remote->addr, remote->port);
    if (c == NULL)
        return NULL;
    c->state = TCP_SYN_SENT;
    c->iss = tcp_isn(s, &c->local, c->local_port, &c->remote, c->remote_port);
    c->snd_una = c->snd_max = c->iss;
    c->progress_ns = now_ns;
    c->syn_due = true;
    c->mss = TIDE_MIN(s->config.mss, 536);
    c->sack_ok = c->ts_ok = c->wscale_ok = true; /* offered */
    c->rcv_wscale = s->wscale;
    tcp_cc_init(c);
    tcp_want_output(c);
    return c;
}

void tcp_rouse(struct tcp_stack *s, uint64_t now_ns, const struct tcp_endpoint *local, const struct tcp_endpoint *remote)
{
    struct tcp_control ack = {.src = local->addr, .dst = remote->addr, .src_port = local->port, .dst_port = remote->port, .flags = TCP_ACK};
    s->now_ns = now_ns;
    if (tcp_find(s, &local->addr, local->port, &remote->addr, remote->port) != NULL)
        return;
    ack.seq = ack.ack = tcp_isn(s, &ack.src, ack.src_port, &ack.dst, ack.dst_port); /* hardly within its window, and another each time */
    tcp_control_send(s, &ack);
}

uint32_t tcp_read(struct tcp_conn *c, struct tide_rope *into)
{
    uint32_t n = c->receive_queue.len;
    tide_rope_join(into, &c->receive_queue);
    return n;
}

uint64_t tcp_read_since_ns(const struct tcp_conn *c) { return c->read_since_ns; }

uint64_t tcp_bytes_sent(const struct tcp_conn *c) { return c->bytes_out; }

uint16_t tcp_default_mss(const struct tide_addr *remote) { return tide_addr_is_v4(remote) ? 536 : 1220; }

uint16_t tcp_link_mss(const struct tcp_stack *s, const struct tide_addr *remote)
{
    return tide_addr_is_v4(remote) ? s->config.mss : (uint16_t)(s->config.mss - 20); /* its header is longer */
}

/* Tells the peer when the window grew by two segments or half of it (RFC 9293 3.8.6.2.2). */
void tcp_consumed(struct tcp_conn *c, uint32_t bytes)
{
    uint32_t limit = c->stack->config.receive_window_bytes;
    uint32_t edge;
    c->rcv_charged -= TIDE_MIN(bytes, c->rcv_charged);
    if (c->gone || c->fin_received)
        return;
    edge = c->rcv_nxt + tcp_receive_window(c);
    if ((int32_t)(edge - c->rcv_adv) >= (int32_t)TIDE_MIN(2u * c->mss, limit / 2) &&
        (c->rcv_adv - c->rcv_nxt < limit / 2 || edge - c->rcv_adv >= limit / 2))
        tcp_ack_now(c);
}

uint32_t tcp_send_room(const struct tcp_conn *c)
{
    uint32_t limit = c->stack->config.send_buffer_bytes;
    if (c->gone || c->fin_queued || c->send_queue.len >= limit)
        return 0;
    return limit - c->send_queue.len;
}

void tcp_write(struct tcp_conn *c, struct tide_rope *from)
{
    if (c->gone || c->fin_queued) {
        tide_rope_clear(from);
        return;
    }
    if (c->send_queue.len == 0)
        c->progress_ns = c->stack->now_ns;
    tide_rope_join(&c->send_queue, from);
    tcp_want_output(c);
}

void tcp_close(struct tcp_conn *c)
{
    if (c->released)
        return;
    c->released = true;
    c->user = NULL;
    c->events = 0;
    if (c->gone) {
        if (c->stack->condemned != c) {
            tcp_give(c);
        }
        return;
    }
    if (c->state == TCP_SYN_SENT) {
        tcp_end(c);
        return;
    }
    if (c->receive_queue.len != 0) { /* unread data: the peer must learn that it is lost (RFC 2525 2.17) */
        tcp_abort_now(c);
        return;
    }
    c->fin_queued = true;
    if (c->state == TCP_ESTABLISHED)
        c->state = TCP_FIN_WAIT_1;
    else if (c->state == TCP_CLOSE_WAIT)
        c->state = TCP_LAST_ACK;
    /* Nobody will speak for it any more: a peer that stays silent is not waited for for ever. */
    c->life_deadline_ns = c->stack->now_ns + c->stack->config.user_timeout_ms * TIDE_NS_PER_MS;
    tcp_timers_changed(c);
    tcp_want_output(c);
}

void tcp_abort_now(struct tcp_conn *c)
{
    struct tcp_control reset = {.src = c->local, .dst = c->remote, .src_port = c->local_port, .dst_port = c->remote_port,
                                .seq = c->snd_max, .ack = c->rcv_nxt, .flags = TCP_RST | TCP_ACK};
    if (c->state != TCP_CLOSED && c->state != TCP_SYN_SENT && c->state != TCP_TIME_WAIT) {
        c->stack->stats.resets_out++;
        tcp_control_send(c->stack, &reset);
    }
    tcp_end(c);
}

void tcp_abort(struct tcp_conn *c)
{
    c->released = true;
    c->user = NULL;
    if (!c->gone)
        tcp_abort_now(c);
    else if (c->stack->condemned != c)
        tcp_give(c);
}

void tcp_ack_now(struct tcp_conn *c)
{
    if (c->gone)
        return;
    c->ack_now = true;
    tcp_want_output(c);
}

void *tcp_user(const struct tcp_conn *c) { return c->user; }
void tcp_set_user(struct tcp_conn *c, void *user) { c->user = user; }
const struct tcp_stats *tcp_stats(const struct tcp_stack *s) { return &s->stats; }
static_assert(sizeof(struct tcp_stats) == TCP_STAT_COUNT * sizeof(uint64_t), "a statistic that is not in the list");
uint32_t tcp_connection_count(const struct tcp_stack *s) { return s->config.connections_max - s->free_count; }

struct tcp_endpoint tcp_local(const struct tcp_conn *c)
{
    return (struct tcp_endpoint){.addr = c->local, .port = c->local_port};
}

struct tcp_endpoint tcp_peer(const struct tcp_conn *c)
{
    return (struct tcp_endpoint){.addr = c->remote, .port = c->remote_port};
}

uint64_t tcp_stalled_since(const struct tcp_conn *c)
{
    return c->send_queue.len != 0 ? c->progress_ns : 0;
}

/* ---- errors from the road ------------------------------------------------------------------------------------- */

void tcp_on_icmp(struct tcp_stack *s, uint64_t now_ns, const struct tcp_endpoint *local, const struct tcp_endpoint *remote,
                 uint32_t sequence, enum tcp_icmp kind, uint32_t next_mtu)
{
    struct tcp_conn *c = tcp_find(s, &local->addr, local->port, &remote->addr, remote->port);
    uint32_t headers = tide_addr_is_v4(&remote->addr) ? 40 : 60;
    struct tcp_record *r;
    s->now_ns = now_ns;
    if (c == NULL || c->gone || seq_lt(sequence, c->snd_una) || !seq_lt(sequence, c->snd_max))
        return; /* RFC 5927 4.1 */
    if (kind == TCP_ICMP_UNREACHABLE) {
        if (c->state == TCP_SYN_SENT) /* later it may come from anybody on the road, and pass (RFC 5927 5.2) */
            tcp_end(c);
        return;
    }
    if (next_mtu < headers + MSS_LEAST || next_mtu - headers >= c->mss)
        return; /* no link is so narrow: it would be an attack (RFC 5927 7.2) */
    tcp_shrink_mss(c, (uint16_t)(next_mtu - headers));
    r = tcp_record_at(c, c->first);
    if (r != NULL && r->end - r->start > c->mss) { /* again at once, and no sign of congestion (RFC 1191 6.5) */
        tcp_record_lose(c, r);
        c->rtx_forced = true;
        tcp_want_output(c);
    }
}

/* ---- what a connection knows ------------------------------------------------------------------------------------ */

bool tcp_info_at(const struct tcp_stack *s, uint64_t now_ns, uint32_t i, struct tcp_conn_info *ret)
{
    static const char *const names[TCP_STATE_COUNT] = {"CLOSED", "SYN-SENT", "SYN-RECEIVED", "ESTABLISHED", "FIN-WAIT-1",
                                                       "FIN-WAIT-2", "CLOSING", "TIME-WAIT", "CLOSE-WAIT", "LAST-ACK"};
    const struct tcp_conn *c = &s->conns[i];
    if (c->stack == NULL)
        return false;
    *ret = (struct tcp_conn_info){
        .local = tcp_local(c), .remote = tcp_peer(c), .state = names[c->state],
        .srtt_ns = c->srtt_ns, .rttvar_ns = c->rttvar_ns, .rto_ns = c->rto_ns, .min_rtt_ns = c->min_rtt_ns,
        .cwnd = c->cwnd, .ssthresh = c->ssthresh, .in_flight = c->in_flight, .mss = c->mss,
        .send_queue = c->send_queue.len, .send_window = c->snd_wnd,
        .receive_queue = c->rcv_charged, .receive_window = c->rcv_adv - c->rcv_nxt, .held = c->held_count,
        .bytes_in = c->bytes_in, .bytes_out = c->bytes_out, .retransmits = c->retransmits,
        .cwnd_limited = c->times_cwnd_limited, .window_limited = c->times_window_limited, .dropped = c->dropped,
        .idle_ns = now_ns > c->last_in_ns ? now_ns - c->last_in_ns : 0,
        .sack = c->sack_ok, .timestamps = c->ts_ok, .window_scaling = c->wscale_ok, .ecn = c->ecn_ok,
    };
    return true;
}

bool tcp_next_change(struct tcp_stack *s, struct tcp_change *ret)
{
    struct tcp_conn *c;
    if (s->change_count == 0)
        return false;
    c = &s->conns[s->changes[--s->change_count]];
    c->changed = false;
    *ret = (struct tcp_change){.number = c->number, .is_here = c->stack != NULL};
    if (ret->is_here) {
        ret->local = tcp_local(c);
        ret->remote = tcp_peer(c);
    }
    return true;
}

/* ---- invariants ------------------------------------------------------------------------------------------------- */

static void check_conn(const struct tcp_conn *c)
{
    uint32_t span = c->snd_max - c->snd_una;
    uint32_t edge;
    unsigned held = 0;
    if (c->gone)
        return;
    TIDE_ASSERT(seq_le(c->snd_una, c->snd_max)); /* T1 */
    if (c->state == TCP_ESTABLISHED) /* T9 */
        TIDE_ASSERT(!c->released && !c->fin_queued && !c->fin_sent && !c->fin_received);
    if (c->state >= TCP_ESTABLISHED) {
        TIDE_ASSERT(span <= c->send_queue.len + 1);
        tcp_records_check(c); /* T2 */
    }
    edge = c->rcv_nxt;
    for (unsigned i = 0; i < c->run_count; i++) { /* T3 */
        const struct tcp_run *run = &c->runs[i];
        uint32_t len = 0;
        TIDE_ASSERT(seq_lt(edge, run->start) && seq_lt(run->start, run->end));
        for (const struct rte_mbuf *m = run->head; m != NULL; m = m->next, held++) {
            TIDE_ASSERT(m->next != NULL || m == run->tail);
            len += m->data_len;
        }
        TIDE_ASSERT(len == run->end - run->start);
        edge = run->end;
    }
    TIDE_ASSERT(held == c->held_count);
}

void tcp_check(const struct tcp_stack *s)
{
    uint32_t used = 0, changed = 0;
    for (uint32_t i = 0; i < s->config.connections_max; i++) {
        const struct tcp_conn *c = &s->conns[i];
        changed += c->changed;
        if (c->stack == NULL)
            continue;
        used++;
        check_conn(c);
        TIDE_ASSERT(look_up((struct tcp_stack *)(uintptr_t)s, &c->local, c->local_port, &c->remote, c->remote_port) == i + 1); /* T5 */
    }
    TIDE_ASSERT(used + s->free_count == s->config.connections_max);
    TIDE_ASSERT(changed == s->change_count); /* T8 */
    for (uint32_t i = 0; i < s->change_count; i++)
        TIDE_ASSERT(s->conns[s->changes[i]].changed); /* T8 */
    for (uint32_t i = 0; i <= s->bucket_mask; i++) {
        const struct tcp_conn *c = s->recent[i] != 0 ? &s->conns[s->recent[i] - 1] : NULL;
        TIDE_ASSERT(c == NULL || (c->stack == s && tcp_recent_of((struct tcp_stack *)(uintptr_t)s, c->local_port, &c->remote, c->remote_port) == &s->recent[i])); /* T6 */
    }
    tcp_wheels_check(s);
}
