/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A packet comes in: the steps of RFC 9293 3.10.7 in their order.
 */
#include "tcp/tcp_conn.h"

#include "tidemark/bytes.h"

enum {
    PLAIN_HEADER = 20,
    DELAYED_ACK_MS = 40,
    DUP_ACKS = 3,
    SYN_WAYS = 8,
    COOKIE_PERIOD_S = 64,
    PAWS_IDLE_DAYS = 24,
};

/* ---- taking a packet apart ---------------------------------------------------------------------------------- */

static bool parse_sacks(const uint8_t *o, unsigned len, struct tcp_packet *p)
{
    if ((len - 2) % 8 != 0)
        return false;
    for (unsigned at = 2; at < len && p->sack_count < TIDE_ARRAY_LEN(p->sacks); at += 8)
        p->sacks[p->sack_count++] = (struct tcp_range){load_be32(o + at), load_be32(o + at + 4)};
    return true;
}

static bool parse_option(const uint8_t *o, unsigned len, struct tcp_packet *p)
{
    switch (o[0]) {
    case 2:
        p->has_mss = len == 4;
        p->mss = len == 4 ? load_be16(o + 2) : 0;
        return len == 4;
    case 3:
        p->has_wscale = len == 3;
        p->wscale = len == 3 ? TIDE_MIN(o[2], 14) : 0; /* RFC 7323 2.3 */
        return len == 3;
    case 4:
        p->sack_permitted = len == 2;
        return len == 2;
    case 5:
        return parse_sacks(o, len, p);
    case 8:
        if (len != 10)
            return false;
        p->has_ts = true;
        p->ts_value = load_be32(o + 2);
        p->ts_echo = load_be32(o + 6);
        return true;
    default:
        return true; /* unknown: skipped (RFC 9293 3.1, MUST-6) */
    }
}

static bool parse_options(const uint8_t *o, unsigned left, struct tcp_packet *p)
{
    while (left != 0 && o[0] != 0) {
        if (o[0] == 1) {
            o++;
            left--;
            continue;
        }
        if (left < 2 || o[1] < 2 || o[1] > left || !parse_option(o, o[1], p))
            return false;
        left -= o[1];
        o += o[1];
    }
    return true;
}

/* Strips the header. False: malformed. */
static bool parse(struct rte_mbuf *m, struct tcp_packet *p)
{
    const uint8_t *h = rte_pktmbuf_mtod(m, const uint8_t *);
    unsigned header;
    memset(p, 0, sizeof(*p));
    if (m->data_len < PLAIN_HEADER)
        return false;
    header = (unsigned)(h[12] >> 4) * 4;
    if (header < PLAIN_HEADER || header > m->data_len || !parse_options(h + PLAIN_HEADER, header - PLAIN_HEADER, p))
        return false;
    p->src_port = load_be16(h);
    p->dst_port = load_be16(h + 2);
    p->seq = load_be32(h + 4);
    p->ack = load_be32(h + 8);
    p->flags = load_be16(h + 12) & 0xff;
    p->window = load_be16(h + 14);
    (void)rte_pktmbuf_adj(m, (uint16_t)header);
    p->len = rte_pktmbuf_pkt_len(m);
    return p->src_port != 0 && p->dst_port != 0;
}

/* ---- half-open connections -------------------------------------------------------------------------------------- */

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
    while (i != 0 && cookie_mss[i] > (p->has_mss ? p->mss : 536))
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

static void on_syn(struct tcp_stack *s, const struct tcp_meta *m, const struct tcp_packet *p)
{
    struct tcp_syn *y = find_syn(s, m, p, true);
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
        y->mss = p->has_mss ? p->mss : 536;
        y->sack_ok = p->sack_permitted;
        y->ts_ok = p->has_ts;
        y->wscale_ok = p->has_wscale;
        y->snd_wscale = p->wscale;
        y->retries = 0;
        y->deadline_ns = s->now_ns + s->config.rto_start_ms * TIDE_NS_PER_MS;
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
    c->snd_una = c->snd_nxt = c->snd_max = y->iss + 1;
    c->rcv_nxt = c->last_ack_sent = y->irs + 1;
    c->rcv_adv = c->rcv_nxt + TIDE_MIN(s->config.receive_window_bytes, 65535u);
    c->mss = TIDE_MIN(TIDE_MAX(y->mss, (uint16_t)TCP_MSS_MIN), s->config.mss);
    c->sack_ok = y->sack_ok;
    c->ts_ok = y->ts_ok;
    c->wscale_ok = y->wscale_ok;
    c->snd_wscale = y->wscale_ok ? y->snd_wscale : 0;
    c->rcv_wscale = y->wscale_ok ? s->wscale : 0;
    c->ts_recent = y->ts_recent;
    c->ts_recent_ns = s->now_ns;
    c->snd_wl1 = p->seq;
    c->snd_wl2 = p->ack;
    c->snd_wnd = c->snd_wnd_max = (uint32_t)p->window << c->snd_wscale;
    tcp_cc_init(c);
    if (s->config.keepalive_ms != 0)
        c->life_deadline_ns = s->now_ns + s->config.keepalive_ms * TIDE_NS_PER_MS;
    tcp_timers_changed(c);
    s->stats.accepted++;
    tcp_event_raise(c, TCP_EVENT_ACCEPTED);
    return c;
}

/* The third ACK: of an entry, or of a cookie. */
static struct tcp_conn *on_third_ack(struct tcp_stack *s, const struct tcp_meta *m, const struct tcp_packet *p)
{
    struct tcp_syn *y = find_syn(s, m, p, false);
    struct tcp_syn cookie = {.irs = p->seq - 1, .iss = p->ack - 1};
    struct tcp_conn *c;
    if (y != NULL) {
        if (p->ack != y->iss + 1 || p->seq - y->irs - 1 > s->config.receive_window_bytes) {
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
static struct tcp_conn *listen_input(struct tcp_stack *s, const struct tcp_meta *m, const struct tcp_packet *p)
{
    if (p->flags & TCP_RST) {
        struct tcp_syn *y = find_syn(s, m, p, false);
        if (y != NULL && p->seq == y->irs + 1)
            forget_syn(s, y);
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

/* ---- acknowledgements ------------------------------------------------------------------------------------------------ */

/* RFC 5961 7: a few per window and connection; how many is not known outside. */
static void challenge(struct tcp_conn *c)
{
    struct tcp_stack *s = c->stack;
    if (s->now_ns - c->challenge_ns >= TIDE_NS_PER_S) {
        c->challenge_ns = s->now_ns;
        c->challenges = 0;
    }
    if (c->challenges++ >= c->challenge_limit)
        return;
    s->stats.challenge_acks++;
    tcp_ack_now(c);
}

static void enter_recovery(struct tcp_conn *c)
{
    c->stack->stats.fast_retransmits++;
    tcp_cc_on_loss(c, c->snd_max - c->snd_una);
    c->in_recovery = true;
    c->recovery = c->snd_max;
    c->recovery_set = true;
    c->high_rxt = c->snd_una;
    c->rtx_due = true;
    tcp_want_output(c);
}

static void on_duplicate_ack(struct tcp_conn *c)
{
    if (c->snd_una == c->snd_max)
        return;
    if (c->dup_acks < 255)
        c->dup_acks++;
    tcp_want_output(c);
    /* After a timeout nothing below the recovery point is proof of a new loss (RFC 6582 4.1). */
    if (c->in_recovery || (c->recovery_set && seq_lt(c->snd_una, c->recovery)))
        return;
    if (c->dup_acks >= DUP_ACKS || tcp_sack_is_lost(c, c->snd_una))
        enter_recovery(c);
}

static void on_new_ack(struct tcp_conn *c, const struct tcp_packet *p)
{
    struct tcp_stack *s = c->stack;
    uint32_t acked = p->ack - c->snd_una;
    uint32_t bytes = TIDE_MIN(acked, c->send_queue.len);

    if (c->rtt_timing && seq_le(c->rtt_seq, p->ack)) {
        c->rtt_timing = false;
        tcp_rtt_sample(c, s->now_ns - c->rtt_start_ns);
    }
    tide_rope_drop(&c->send_queue, bytes);
    c->snd_una = p->ack;
    if (seq_lt(c->snd_nxt, c->snd_una))
        c->snd_nxt = c->snd_una;
    if (c->cursor != NULL && (seq_lt(c->cursor_seq, c->snd_una) || c->send_queue.len == 0))
        c->cursor = NULL;
    c->backoff = 0;
    c->progress_ns = s->now_ns;
    tcp_sack_acked(c);
    if (c->in_recovery && seq_le(c->recovery, c->snd_una)) {
        c->in_recovery = false;
        c->dup_acks = 0;
        c->cwnd = TIDE_MAX(c->ssthresh, 2u * c->mss);
    } else if (c->in_recovery) {
        if (!c->sack_ok) { /* a partial ACK tells of the next hole (RFC 6582 3.2) */
            c->rtx_due = true;
            c->dup_acks = (uint8_t)(c->dup_acks > acked / c->mss ? c->dup_acks - acked / c->mss : 0);
        } else if (seq_lt(c->high_rxt, c->snd_una)) {
            c->high_rxt = c->snd_una;
        }
        if (c->sack_ok && c->range_count == 0)
            c->rtx_due = true; /* the rest of the window was lost without a report */
    } else {
        c->dup_acks = 0;
        tcp_cc_on_ack(c, bytes);
    }
    if (c->recovery_set && seq_le(c->recovery, c->snd_una))
        c->recovery_set = false;
    tcp_arm_send(c);
    tcp_want_output(c);
    if (bytes != 0 && !c->released)
        tcp_event_raise(c, TCP_EVENT_WRITABLE);
}

static bool fin_is_acked(const struct tcp_conn *c)
{
    return c->fin_queued && c->send_queue.len == 0 && c->snd_una == c->snd_max && c->fin_sent;
}

static void update_window(struct tcp_conn *c, const struct tcp_packet *p)
{
    uint32_t before = c->snd_wnd;
    if (!(seq_lt(c->snd_wl1, p->seq) || (c->snd_wl1 == p->seq && seq_le(c->snd_wl2, p->ack))))
        return;
    c->snd_wnd = (uint32_t)p->window << c->snd_wscale;
    c->snd_wnd_max = TIDE_MAX(c->snd_wnd_max, c->snd_wnd);
    c->snd_wl1 = p->seq;
    c->snd_wl2 = p->ack;
    if (c->snd_wnd > before) {
        if (c->persist) {
            c->backoff = 0;
            c->send_deadline_ns = 0;
            c->persist = false;
        }
        tcp_want_output(c);
    }
}

/* Step 5. False: the packet is done. */
static bool ack_step(struct tcp_conn *c, const struct tcp_packet *p)
{
    bool duplicate;
    uint32_t old_ranges;
    uint32_t una = c->snd_una;
    uint32_t window_before = c->snd_wnd;
    if (!(p->flags & TCP_ACK))
        return false;
    /* RFC 5961 5.2 */
    if (seq_lt(p->ack, c->snd_una - c->snd_wnd_max) || seq_lt(c->snd_max, p->ack)) {
        challenge(c);
        return false;
    }
    old_ranges = c->range_count;
    if (c->sack_ok && p->sack_count != 0)
        tcp_sack_update(c, p);
    update_window(c, p);
    duplicate = p->ack == una && p->len == 0 && !(p->flags & (TCP_FIN | TCP_SYN)) &&
                (c->snd_wnd == window_before || (c->sack_ok && c->range_count > old_ranges));
    if (seq_lt(c->snd_una, p->ack))
        on_new_ack(c, p);
    else if (duplicate)
        on_duplicate_ack(c);
    if (fin_is_acked(c)) {
        if (c->state == TCP_FIN_WAIT_1) {
            c->state = TCP_FIN_WAIT_2;
        } else if (c->state == TCP_CLOSING) {
            tcp_enter_time_wait(c);
        } else if (c->state == TCP_LAST_ACK) {
            tcp_end(c);
            return false;
        }
    }
    return true;
}

/* ---- data --------------------------------------------------------------------------------------------------------------- */

static void deliver(struct tcp_conn *c, struct rte_mbuf *m, uint32_t len)
{
    c->rcv_nxt += len;
    c->rcv_charged += len;
    c->stack->stats.bytes_in += len;
    while (m != NULL) {
        struct rte_mbuf *next = m->next;
        m->nb_segs = 1;
        tide_rope_push(&c->receive_queue, m);
        m = next;
    }
}

/* Held segments that are in order now. */
static void deliver_held(struct tcp_conn *c)
{
    while (c->held != NULL && seq_le(*tcp_held_seq(c->held), c->rcv_nxt)) {
        struct rte_mbuf *m = c->held;
        uint32_t skip = c->rcv_nxt - *tcp_held_seq(m);
        c->held = m->next;
        c->held_count--;
        if (skip >= m->data_len) {
            rte_pktmbuf_free_seg(m);
            continue;
        }
        (void)rte_pktmbuf_adj(m, (uint16_t)skip);
        m->next = NULL;
        deliver(c, m, m->data_len);
    }
}

/* Keeps a segment from beyond a hole: what is there already wins over what comes (no overwriting). */
static void hold(struct tcp_conn *c, struct rte_mbuf *m, uint32_t seq)
{
    struct rte_mbuf **at = &c->held;
    uint32_t end = seq + m->data_len;
    c->stack->stats.out_of_order++;
    while (*at != NULL && seq_le(*tcp_held_seq(*at) + (*at)->data_len, seq))
        at = &(*at)->next;
    if (*at != NULL && seq_le(*tcp_held_seq(*at), seq)) { /* its front is there */
        uint32_t have = *tcp_held_seq(*at) + (*at)->data_len;
        if (seq_le(end, have))
            goto drop;
        (void)rte_pktmbuf_adj(m, (uint16_t)(have - seq));
        seq = have;
        at = &(*at)->next;
    }
    if (*at != NULL && seq_lt(*tcp_held_seq(*at), end)) /* its end is there, and more may be behind */
        (void)rte_pktmbuf_trim(m, (uint16_t)(end - *tcp_held_seq(*at)));
    if (m->data_len == 0 || c->held_count == TCP_OUT_OF_ORDER_MAX)
        goto drop;
    *tcp_held_seq(m) = seq;
    m->next = *at;
    *at = m;
    c->held_count++;
    c->held_last_seq = seq;
    return;
drop:
    c->stack->stats.out_of_order_dropped++;
    rte_pktmbuf_free_seg(m);
}

/* Step 7. Takes m. */
static void data_step(struct tcp_conn *c, const struct tcp_packet *p, struct rte_mbuf *m)
{
    if (c->state != TCP_ESTABLISHED && c->state != TCP_FIN_WAIT_1 && c->state != TCP_FIN_WAIT_2) {
        rte_pktmbuf_free(m);
        return;
    }
    if (c->released) { /* nobody will read it (RFC 9293 3.6.1) */
        rte_pktmbuf_free(m);
        tcp_abort_now(c);
        return;
    }
    if (p->seq != c->rcv_nxt) {
        if (m->nb_segs != 1) {
            c->stack->stats.out_of_order_dropped++;
            rte_pktmbuf_free(m);
        } else {
            hold(c, m, p->seq);
        }
        tcp_ack_now(c);
        return;
    }
    bool filled = c->held != NULL;
    deliver(c, m, p->len);
    deliver_held(c);
    tcp_event_raise(c, TCP_EVENT_READABLE);
    if (filled || ++c->unacked_segments >= 2) {
        tcp_ack_now(c);
    } else if (c->ack_deadline_ns == 0) {
        c->ack_deadline_ns = c->stack->now_ns + DELAYED_ACK_MS * TIDE_NS_PER_MS;
        tcp_timers_changed(c);
    }
}

/* Step 8. */
static void fin_step(struct tcp_conn *c)
{
    c->rcv_nxt++;
    c->rcv_adv = seq_max(c->rcv_adv, c->rcv_nxt);
    c->fin_received = true;
    tcp_ack_now(c);
    switch (c->state) {
    case TCP_ESTABLISHED:
        c->state = TCP_CLOSE_WAIT;
        break;
    case TCP_FIN_WAIT_1:
        c->state = TCP_CLOSING; /* our FIN is not acknowledged, or ack_step had moved us on */
        break;
    case TCP_FIN_WAIT_2:
        tcp_enter_time_wait(c);
        break;
    default:
        break;
    }
    if (!c->released)
        tcp_event_raise(c, TCP_EVENT_PEER_CLOSED);
}

/* ---- the other steps ------------------------------------------------------------------------------------------------------- */

static void syn_sent_input(struct tcp_conn *c, const struct tcp_packet *p)
{
    bool acceptable = false;
    if (p->flags & TCP_ACK) {
        if (seq_le(p->ack, c->iss) || seq_lt(c->snd_max, p->ack)) {
            struct tcp_meta meta = {.src = c->remote, .dst = c->local};
            tcp_send_reset(c->stack, &meta, p);
            return;
        }
        acceptable = true;
    }
    if (p->flags & TCP_RST) {
        c->stack->stats.resets_in++;
        if (acceptable)
            tcp_end(c);
        return;
    }
    if (!(p->flags & TCP_SYN))
        return;
    c->irs = p->seq;
    c->rcv_nxt = c->last_ack_sent = p->seq + 1;
    c->rcv_adv = c->rcv_nxt + TIDE_MIN(c->stack->config.receive_window_bytes, 65535u);
    c->mss = TIDE_MIN(TIDE_MAX(p->has_mss ? p->mss : (uint16_t)536, (uint16_t)TCP_MSS_MIN), c->stack->config.mss);
    c->sack_ok &= p->sack_permitted;
    c->ts_ok &= p->has_ts;
    c->wscale_ok &= p->has_wscale;
    c->snd_wscale = c->wscale_ok ? p->wscale : 0;
    c->rcv_wscale = c->wscale_ok ? c->stack->wscale : 0;
    c->ts_recent = p->ts_value;
    c->ts_recent_ns = c->stack->now_ns;
    c->snd_wnd = c->snd_wnd_max = p->window; /* never scaled in a SYN */
    c->snd_wl1 = p->seq;
    c->snd_wl2 = p->ack;
    tcp_cc_init(c);
    if (!acceptable) { /* both opened at once (RFC 9293 3.5, MUST-10) */
        c->state = TCP_SYN_RECEIVED;
        c->snd_nxt = c->iss;
        c->cursor = NULL;
        tcp_want_output(c);
        return;
    }
    if (c->rtt_timing)
        tcp_rtt_sample(c, c->stack->now_ns - c->rtt_start_ns);
    c->rtt_timing = false;
    c->backoff = 0;
    c->snd_una = p->ack;
    c->snd_nxt = c->snd_max = seq_max(c->snd_nxt, p->ack);
    c->state = TCP_ESTABLISHED;
    c->stack->stats.connected++;
    if (c->stack->config.keepalive_ms != 0)
        c->life_deadline_ns = c->stack->now_ns + c->stack->config.keepalive_ms * TIDE_NS_PER_MS;
    tcp_arm_send(c);
    tcp_ack_now(c);
    tcp_event_raise(c, TCP_EVENT_WRITABLE);
}

/* RFC 7323 5.2, R1. */
static bool paws_refuses(struct tcp_conn *c, const struct tcp_packet *p)
{
    if (!c->ts_ok || !p->has_ts || (p->flags & TCP_RST))
        return false;
    if ((int32_t)(p->ts_value - c->ts_recent) >= 0)
        return false;
    return c->stack->now_ns - c->ts_recent_ns < (uint64_t)PAWS_IDLE_DAYS * 86400 * TIDE_NS_PER_S;
}

/* Step 1: is any of it in the window? Trims what is not. m may lose bytes at both ends. */
static bool sequence_step(struct tcp_conn *c, struct tcp_packet *p, struct rte_mbuf *m)
{
    uint32_t window = c->rcv_adv - c->rcv_nxt;
    uint32_t end = p->seq + p->len;
    uint32_t span = p->len + !!(p->flags & TCP_FIN) + !!(p->flags & TCP_SYN);

    if (seq_lt(p->seq, c->rcv_nxt)) { /* its front is old */
        uint32_t old = c->rcv_nxt - p->seq;
        if (old > p->len && !(old == p->len + 1 && span > p->len))
            return false;
        if (old >= span && span != 0) {
            c->stack->stats.duplicate_bytes += p->len;
            return false;
        }
        if (span == 0)
            return false;
        if (p->flags & TCP_SYN) { /* the SYN is old; RFC 5961 has its answer later */
            p->flags &= (uint16_t)~TCP_SYN;
            old--;
            p->seq++;
        }
        old = TIDE_MIN(old, p->len);
        c->stack->stats.duplicate_bytes += old;
        if (old != 0 && rte_pktmbuf_adj(m, (uint16_t)old) == NULL)
            return false;
        p->seq += old;
        p->len -= old;
        if (p->seq != c->rcv_nxt)
            return false;
        tcp_ack_now(c); /* something of it had come before: the peer may have missed our ACK */
    } else if (p->seq - c->rcv_nxt >= TIDE_MAX(window, 1u) && !(p->seq == c->rcv_nxt)) {
        return span == 0 && p->seq == c->rcv_adv;
    }
    end = p->seq + p->len;
    if (p->len != 0 && seq_lt(c->rcv_adv, end)) { /* its end is beyond the window */
        uint32_t over = end - c->rcv_adv;
        p->flags &= (uint16_t)~(TCP_FIN | TCP_PSH);
        tcp_ack_now(c);
        if (over >= p->len || rte_pktmbuf_trim(m, (uint16_t)over) != 0) {
            p->len = 0; /* a probe of a closed window: only its ACK counts */
            p->drop_data = true;
        } else {
            p->len -= over;
        }
    }
    return true;
}

static void reset_step(struct tcp_conn *c, const struct tcp_packet *p)
{
    c->stack->stats.resets_in++;
    if (p->seq == c->rcv_nxt)
        tcp_end(c);
    else
        challenge(c); /* RFC 5961 3.2 */
}

/* A SYN to an address pair that still waits may begin anew (RFC 9293 3.10.7.4, RFC 6191). */
static bool may_reopen(const struct tcp_conn *c, const struct tcp_packet *p)
{
    if (c->state != TCP_TIME_WAIT || (p->flags & (TCP_SYN | TCP_ACK | TCP_RST)) != TCP_SYN)
        return false;
    if (c->ts_ok && p->has_ts && (int32_t)(p->ts_value - c->ts_recent) > 0)
        return true;
    return seq_lt(c->rcv_nxt, p->seq);
}

static void conn_input(struct tcp_conn *c, struct tcp_packet *p, struct rte_mbuf *m)
{
    struct tcp_stack *s = c->stack;
    if (c->state == TCP_SYN_SENT) {
        syn_sent_input(c, p);
        goto done;
    }
    if (paws_refuses(c, p)) {
        s->stats.paws_dropped++;
        tcp_ack_now(c);
        goto done;
    }
    if (p->flags & TCP_RST) { /* step 2, with the window looked at by its own rule */
        if (p->seq - c->rcv_nxt <= c->rcv_adv - c->rcv_nxt)
            reset_step(c, p);
        goto done;
    }
    if (p->flags & TCP_SYN && c->state != TCP_SYN_RECEIVED) { /* step 4: RFC 5961 4.2 */
        challenge(c);
        goto done;
    }
    if (!sequence_step(c, p, m)) { /* step 1 */
        if (p->len != 0 || p->flags & TCP_FIN)
            tcp_ack_now(c); /* our ACK was lost */
        else
            challenge(c); /* nothing in it: two confused peers must not answer one another for ever */
        goto done;
    }
    if (p->has_ts && c->ts_ok && seq_le(p->seq, c->last_ack_sent)) { /* RFC 7323 4.3 */
        c->ts_recent = p->ts_value;
        c->ts_recent_ns = s->now_ns;
    }
    c->last_in_ns = s->now_ns;
    c->probes = 0;
    if (c->state == TCP_SYN_RECEIVED) {
        if (!(p->flags & TCP_ACK) || p->ack != c->iss + 1)
            goto done;
        c->state = c->fin_queued ? TCP_FIN_WAIT_1 : TCP_ESTABLISHED;
        c->snd_una = p->ack;
        c->snd_nxt = c->snd_max = seq_max(c->snd_max, p->ack);
        c->rtt_timing = false;
        c->snd_wnd = c->snd_wnd_max = (uint32_t)p->window << c->snd_wscale;
        p->flags &= (uint16_t)~TCP_SYN;
        s->stats.connected++;
        tcp_arm_send(c);
        tcp_event_raise(c, TCP_EVENT_WRITABLE);
    }
    if (c->state == TCP_TIME_WAIT) { /* the peer missed our last ACK */
        if (p->flags & TCP_FIN) {
            tcp_ack_now(c);
            c->life_deadline_ns = s->now_ns + s->config.time_wait_ms * TIDE_NS_PER_MS;
        }
        goto done;
    }
    if (!ack_step(c, p))
        goto done;
    if (p->len != 0) { /* m is gone afterwards, p is not */
        data_step(c, p, m);
        m = NULL;
        if (c->stack == NULL || c->gone)
            return;
    }
    if (p->flags & TCP_FIN && !c->fin_received) {
        c->fin_held = true;
        c->fin_seq = p->seq + p->len;
    }
    if (c->fin_held && !c->fin_received && c->fin_seq == c->rcv_nxt)
        fin_step(c);
    if (c->stack != NULL && !c->gone && c->state == TCP_CLOSING && fin_is_acked(c))
        tcp_enter_time_wait(c);
done:
    if (m != NULL)
        rte_pktmbuf_free(m);
}

void tcp_input(struct tcp_stack *s, uint64_t now_ns, struct rte_mbuf *m, const struct tcp_meta *meta)
{
    struct tcp_packet p;
    struct tcp_conn *c;
    s->now_ns = now_ns;
    s->stats.segments_in++;
    if (!parse(m, &p)) {
        s->stats.malformed++;
        rte_pktmbuf_free(m);
        return;
    }
    c = tcp_find(s, &meta->dst, p.dst_port, &meta->src, p.src_port);
    if (c != NULL && may_reopen(c, &p)) {
        tcp_end(c);
        c = tcp_find(s, &meta->dst, p.dst_port, &meta->src, p.src_port);
    }
    if (c != NULL && c->gone) { /* closed, and its last event not yet taken */
        if (!(p.flags & TCP_RST))
            tcp_send_reset(s, meta, &p);
        rte_pktmbuf_free(m);
        return;
    }
    if (c == NULL)
        c = listen_input(s, meta, &p);
    if (c == NULL)
        rte_pktmbuf_free(m);
    else
        conn_input(c, &p, m);
}
