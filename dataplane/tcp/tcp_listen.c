/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Half-open connections: a cache of SYNs (RFC 4987), and cookies when a set of it is full. No
 * connection exists before the third ACK.
 */
#include "tcp/tcp_conn.h"

enum {
    SYN_WAYS = 8,
    COOKIE_PERIOD_S = 64,
    SYNS_PER_TURN = 64,
};

static const uint16_t cookie_mss[8] = {536, 1000, 1220, 1300, 1400, 1440, 1460, 8960};

static uint32_t cookie_hash(struct tcp_stack *s, const struct tcp_meta *m, const struct tcp_packet *p, uint32_t irs, uint32_t period,
                            uint32_t mss_index)
{
    return (uint32_t)tcp_hash(s, &m->dst, p->dst_port, &m->src, p->src_port,
                              (uint64_t)irs << 32 | 1u << 31 | (period & 0xffffff) << 4 | mss_index) & 0xffffff00u;
}

static uint32_t cookie_period(const struct tcp_stack *s)
{
    return (uint32_t)(s->now_ns / (COOKIE_PERIOD_S * TIDE_NS_PER_S));
}

/* RFC 4987 3.6: all that must be remembered lies in our sequence number. */
static void send_cookie(struct tcp_stack *s, const struct tcp_meta *m, const struct tcp_packet *p)
{
    uint32_t period = cookie_period(s);
    uint32_t i = 7;
    struct tcp_syn y = {.local = m->dst, .remote = m->src, .local_port = p->dst_port, .remote_port = p->src_port, .irs = p->seq};
    while (i != 0 && cookie_mss[i] > (p->has_mss ? p->mss : tcp_default_mss(&m->src)))
        i--;
    y.iss = cookie_hash(s, m, p, p->seq, period, i) | (period & 31) << 3 | i;
    s->stats.syn_cookies_sent++;
    tcp_send_syn_ack(s, &y);
}

static bool cookie_is_good(struct tcp_stack *s, const struct tcp_meta *m, const struct tcp_packet *p, uint16_t *ret_mss)
{
    uint32_t iss = p->ack - 1;
    uint32_t i = iss & 7;
    uint32_t now = cookie_period(s);
    for (uint32_t back = 0; back < 2; back++) {
        uint32_t period = now - back;
        if ((period & 31) != (iss >> 3 & 31) || cookie_hash(s, m, p, p->seq - 1, period, i) != (iss & 0xffffff00u))
            continue;
        *ret_mss = cookie_mss[i];
        return true;
    }
    return false;
}

static bool is_listener(const struct tcp_stack *s, uint16_t port)
{
    for (unsigned i = 0; i < s->listener_count; i++)
        if (s->listeners[i] == port)
            return true;
    return false;
}

/* The entry of these addresses, or a free one of its set; NULL when the set is full. */
static struct tcp_syn *find_syn(struct tcp_stack *s, const struct tcp_meta *m, const struct tcp_packet *p, bool make)
{
    uint32_t sets = TIDE_MAX(s->config.syn_backlog / SYN_WAYS, 1u);
    uint32_t ways = TIDE_MIN((uint32_t)SYN_WAYS, s->config.syn_backlog);
    uint32_t base = (uint32_t)(tcp_hash(s, &m->dst, p->dst_port, &m->src, p->src_port, 3) % sets) * SYN_WAYS;
    struct tcp_syn *empty = NULL;
    for (uint32_t i = 0; i < ways; i++) {
        struct tcp_syn *y = &s->syns[base + i];
        if (!y->used)
            empty = y;
        else if (y->remote_port == p->src_port && y->local_port == p->dst_port && memcmp(&y->remote, &m->src, sizeof(m->src)) == 0 &&
                 memcmp(&y->local, &m->dst, sizeof(m->dst)) == 0)
            return y;
    }
    return make ? empty : NULL;
}

static void forget_syn(struct tcp_stack *s, struct tcp_syn *y)
{
    tcp_list_remove(&y->in_list);
    tcp_list_append(&s->syns_free, &y->in_list);
    y->used = false;
}

/* RFC 3168 6.1.1 */
static bool asks_for_ecn(const struct tcp_stack *s, const struct tcp_packet *p)
{
    return s->config.ecn != TCP_ECN_OFF && (p->flags & (TCP_ECE | TCP_CWR)) == (TCP_ECE | TCP_CWR);
}

static void on_syn(struct tcp_stack *s, const struct tcp_meta *m, const struct tcp_packet *p)
{
    struct tcp_syn *y;
    if (s->syns_answered++ >= (s->config.syns_per_turn != 0 ? s->config.syns_per_turn : SYNS_PER_TURN)) {
        s->stats.syns_dropped++; /* a flood: turns stay short, and who means it asks again */
        return;
    }
    y = find_syn(s, m, p, true);
    if (y == NULL) {
        send_cookie(s, m, p);
        return;
    }
    if (!y->used || y->irs != p->seq) {
        tcp_list_remove(&y->in_list);
        tcp_list_append(&s->syns_used, &y->in_list);
        y->used = true;
        y->local = m->dst;
        y->remote = m->src;
        y->local_port = p->dst_port;
        y->remote_port = p->src_port;
        y->irs = p->seq;
        y->iss = tcp_isn(s, &m->dst, p->dst_port, &m->src, p->src_port);
        if (p->follows && !seq_lt(p->beyond, y->iss)) /* RFC 9293 3.6.1, MAY-2 */
            y->iss = p->beyond + 1;
        y->mss = p->has_mss ? p->mss : tcp_default_mss(&m->src);
        y->sack_ok = p->sack_permitted;
        y->ts_ok = p->has_ts;
        y->ecn_ok = asks_for_ecn(s, p);
        y->wscale_ok = p->has_wscale;
        y->snd_wscale = p->wscale;
        y->retries = 0;
        y->sent_ns = s->now_ns;
        y->deadline_ns = s->now_ns + s->config.rto_start_ms * TIDE_NS_PER_MS;
    } else {
        y->sent_ns = 0; /* asked again: which of our answers will be acknowledged is not known (Karn) */
    }
    y->ts_recent = p->ts_value;
    tcp_send_syn_ack(s, y);
}

static struct tcp_conn *establish(struct tcp_stack *s, const struct tcp_meta *m, const struct tcp_packet *p, const struct tcp_syn *y)
{
    struct tcp_conn *c = tcp_take(s, &m->dst, p->dst_port, &m->src, p->src_port);
    if (c == NULL) {
        s->stats.refused++;
        return NULL;
    }
    c->state = TCP_ESTABLISHED;
    c->iss = y->iss;
    c->irs = y->irs;
    c->snd_una = c->snd_max = c->rack_fack = y->iss + 1;
    c->rcv_nxt = c->last_ack_sent = y->irs + 1;
    c->rcv_adv = c->rcv_nxt + TIDE_MIN(s->config.receive_window_bytes, 65535u);
    c->mss = TIDE_MIN(TIDE_MAX(y->mss, (uint16_t)TCP_MSS_MIN), tcp_link_mss(s, &m->src));
    c->sack_ok = y->sack_ok;
    c->ts_ok = y->ts_ok;
    c->ecn_ok = y->ecn_ok;
    c->wscale_ok = y->wscale_ok;
    c->snd_wscale = y->wscale_ok ? y->snd_wscale : 0;
    c->rcv_wscale = y->wscale_ok ? s->wscale : 0;
    c->ts_recent = y->ts_recent;
    c->ts_recent_ns = s->now_ns;
    c->snd_wl1 = p->seq;
    c->snd_wl2 = p->ack;
    c->snd_wnd = c->snd_wnd_max = (uint32_t)p->window << c->snd_wscale;
    tcp_cc_init(c);
    tcp_handshake_measured(c, p, y->sent_ns, y->retries != 0);
    tcp_keepalive_start(c);
    s->stats.accepted++;
    tcp_event_raise(c, TCP_EVENT_ACCEPTED);
    return c;
}

static bool is_in_window(const struct tcp_stack *s, const struct tcp_syn *y, const struct tcp_packet *p)
{
    return p->seq - y->irs - 1 <= s->config.receive_window_bytes;
}

/* What we expect, to a peer whose segment lies elsewhere. */
static void acknowledge(struct tcp_stack *s, const struct tcp_syn *y)
{
    uint8_t scale = y->wscale_ok ? s->wscale : 0;
    struct tcp_control k = {.src = y->local, .dst = y->remote, .src_port = y->local_port, .dst_port = y->remote_port,
                            .seq = y->iss + 1, .ack = y->irs + 1, .flags = TCP_ACK,
                            .window = (uint16_t)(TIDE_MIN(s->config.receive_window_bytes, 65535u) >> scale)};
    tcp_control_send(s, &k);
}

/* The third ACK: of an entry, or of a cookie. */
static struct tcp_conn *on_third_ack(struct tcp_stack *s, const struct tcp_meta *m, const struct tcp_packet *p)
{
    struct tcp_syn *y = find_syn(s, m, p, false);
    struct tcp_syn cookie = {.irs = p->seq - 1, .iss = p->ack - 1};
    struct tcp_conn *c;
    if (y != NULL) {
        if (!is_in_window(s, y, p)) { /* RFC 9293 3.10.7.4, first step */
            s->stats.out_of_window++;
            acknowledge(s, y);
            return NULL;
        }
        if (p->ack != y->iss + 1) { /* fifth step */
            tcp_send_reset(s, m, p);
            return NULL;
        }
        c = establish(s, m, p, y);
        if (c != NULL)
            forget_syn(s, y);
        return c;
    }
    if (!cookie_is_good(s, m, p, &cookie.mss)) {
        tcp_send_reset(s, m, p);
        return NULL;
    }
    s->stats.syn_cookies_taken++;
    return establish(s, m, p, &cookie);
}

/* For a listener. Returns the connection that the packet made, to be given the packet too. */
struct tcp_conn *tcp_listen_input(struct tcp_stack *s, const struct tcp_meta *m, const struct tcp_packet *p)
{
    if (p->flags & TCP_RST) {
        struct tcp_syn *y = find_syn(s, m, p, false);
        if (y != NULL && p->seq == y->irs + 1)
            forget_syn(s, y);
        else if (y != NULL && is_in_window(s, y, p)) /* RFC 5961 3.2 */
            acknowledge(s, y);
        return NULL;
    }
    if (!is_listener(s, p->dst_port)) {
        tcp_send_reset(s, m, p);
        return NULL;
    }
    if (p->flags & TCP_SYN && p->flags & TCP_ACK) {
        tcp_send_reset(s, m, p);
        return NULL;
    }
    if (p->flags & TCP_SYN) {
        if (!(p->flags & TCP_FIN))
            on_syn(s, m, p);
        return NULL;
    }
    return p->flags & TCP_ACK ? on_third_ack(s, m, p) : NULL;
}
