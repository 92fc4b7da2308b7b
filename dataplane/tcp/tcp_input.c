/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A packet comes in: the steps of RFC 9293 3.10.7 in their order; and a short way for what is expected, on which all but a few of
 * them would find nothing to do.
 */
#include "tcp/tcp_conn.h"

#include "tidemark/bytes.h"

enum {
    PLAIN_HEADER = 20,
    TIMESTAMPS_ALONE = 12,
    TIMESTAMPS_HEAD = 0x0101080a, /* two NOPs, kind 8 of 10 bytes */
    DELAYED_ACK_MS = 40,
    PAWS_IDLE_DAYS = 24,
    MIN_RTT_WINDOW_S = 30,
    ECN_CE = 3,
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
    if (left == TIMESTAMPS_ALONE && load_be32(o) == TIMESTAMPS_HEAD) { /* as RFC 7323 appendix A lays them out: nearly all packets */
        p->has_ts = true;
        p->ts_value = load_be32(o + 4);
        p->ts_echo = load_be32(o + 8);
        return true;
    }
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

/* ---- acknowledgements ------------------------------------------------------------------------------------------------ */

/* RFC 5961 7: a few per window and connection; how many is not known outside. */
static void challenge(struct tcp_conn *c)
{
    struct tcp_stack *s = c->stack;
    if (s->now_ns - c->challenge_ns >= TIDE_NS_PER_S) {
        c->challenge_ns = s->now_ns;
        c->challenges = 0;
    }
    if (c->challenges >= c->challenge_limit)
        return;
    c->challenges++;
    s->stats.challenge_acks++;
    tcp_ack_now(c);
}

static inline __attribute__((always_inline)) void on_new_ack(struct tcp_conn *c, const struct tcp_packet *p, struct tcp_delivery *d)
{
    struct tcp_stack *s = c->stack;
    uint32_t bytes;
    d->acked = p->ack - c->snd_una;
    bytes = TIDE_MIN(d->acked, c->send_queue.len);
    tide_rope_drop(&c->send_queue, bytes);
    tcp_records_acked(c, p, d);
    c->snd_una = p->ack;
    if (c->cursor != NULL && (seq_lt(c->cursor_seq, c->snd_una) || c->send_queue.len == 0))
        c->cursor = NULL;
    c->progress_ns = c->rto_base_ns = s->now_ns;
    if (bytes != 0 && !c->released)
        tcp_event_raise(c, TCP_EVENT_WRITABLE);
}

/* Samples of the round trip, and what they say of the peer's habits. */
static inline __attribute__((always_inline)) void measure(struct tcp_conn *c, const struct tcp_delivery *d)
{
    uint64_t now = c->stack->now_ns;
    if (d->acked != 0 && (c->ts_ok || d->rtt_ns != 0))
        c->backoff = 0; /* RFC 6298 5.7: there is a measurement, with timestamps even of what was sent again */
    if (d->rtt_ns == 0 || d->again) /* Karn (RFC 6298 3) */
        return;
    if (c->min_rtt_ns == 0 || d->rtt_ns <= c->min_rtt_ns || now - c->min_rtt_at_ns > MIN_RTT_WINDOW_S * TIDE_NS_PER_S) {
        c->min_rtt_ns = d->rtt_ns;
        c->min_rtt_at_ns = now;
    }
    if (seq_le(c->rtt_seq, c->snd_una)) { /* one a round trip */
        c->rtt_seq = c->snd_max;
        tcp_rtt_sample(c, d->rtt_ns);
    }
    /* One segment, or the peer would have had no reason to wait (RFC 9293 3.8.6.3). */
    if (d->pure && d->acked != 0 && d->acked <= c->mss && c->snd_una == c->snd_max)
        tcp_ack_delay_sample(c, d->rtt_ns);
}

static bool fin_is_acked(const struct tcp_conn *c)
{
    return c->fin_sent && c->send_queue.len == 0 && c->snd_una == c->snd_max;
}

static inline __attribute__((always_inline)) void update_window(struct tcp_conn *c, const struct tcp_packet *p)
{
    uint32_t before = c->snd_wnd;
    /* RFC 9293 3.10.7.4; and when the ACK is new: what is sent again has an old sequence number, but it
     * would be wrong to count the old window from the new edge. */
    if (!(seq_lt(c->snd_una, p->ack) || seq_lt(c->snd_wl1, p->seq) || (c->snd_wl1 == p->seq && seq_le(c->snd_wl2, p->ack))))
        return;
    c->snd_wnd = (uint32_t)p->window << c->snd_wscale;
    c->snd_wnd_max = TIDE_MAX(c->snd_wnd_max, c->snd_wnd);
    c->snd_wl1 = p->seq;
    c->snd_wl2 = p->ack;
    if (c->snd_wnd > before) {
        if (before == 0) { /* what was sent into the closed window is repeated soon */
            c->backoff = 0;
            c->rto_base_ns = c->stack->now_ns;
            tcp_arm_send(c);
        }
        tcp_want_output(c);
    }
}

/* An ACK that may be believed, whatever it says. */
static void hear(struct tcp_conn *c, const struct tcp_packet *p)
{
    update_window(c, p);
    if (c->snd_wnd == 0 || c->send_timer == TCP_TIMER_PERSIST)
        c->closed_ns = c->stack->now_ns;
    c->unanswered_ns = 0;
}

/* RFC 5681 2, for connections without SACK. */
static bool is_duplicate(const struct tcp_conn *c, const struct tcp_packet *p, uint32_t una, uint32_t window)
{
    return p->ack == una && p->len == 0 && !(p->flags & (TCP_FIN | TCP_SYN)) && c->snd_wnd == window && c->snd_una != c->snd_max;
}

/* Step 5. False: the packet is done. */
static bool ack_step(struct tcp_conn *c, const struct tcp_packet *p)
{
    struct tcp_delivery d = {.pure = p->len == 0 && !(p->flags & TCP_FIN)};
    uint32_t una = c->snd_una;
    uint32_t window = c->snd_wnd;
    if (!(p->flags & TCP_ACK))
        return false;
    /* RFC 5961 5.2 */
    if (seq_lt(p->ack, c->snd_una - c->snd_wnd_max) || seq_lt(c->snd_max, p->ack)) {
        c->stack->stats.acks_refused++;
        c->dropped++;
        challenge(c);
        return false;
    }
    hear(c, p);
    if (c->sack_ok && p->sack_count != 0)
        tcp_records_sacked(c, p, &d);
    if (seq_lt(c->snd_una, p->ack))
        on_new_ack(c, p, &d);
    measure(c, &d);
    if (c->ecn_ok && p->flags & TCP_ECE)
        d.reduced = tcp_recovery_on_ece(c);
    tcp_recovery_on_ack(c, p, &d, is_duplicate(c, p, una, window));
    if (d.acked != 0 || d.sacked != 0 || d.lost || c->reorder_ns != 0) {
        tcp_arm_send(c);
        tcp_want_output(c);
    }
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

static inline __attribute__((always_inline)) void deliver(struct tcp_conn *c, struct rte_mbuf *m, uint32_t len)
{
    c->rcv_nxt += len;
    c->rcv_charged += len;
    c->bytes_in += len;
    if (c->receive_queue.len == 0)
        c->read_since_ns = c->stack->now_ns;
    c->stack->stats.bytes_in += len;
    while (m != NULL) {
        struct rte_mbuf *next = m->next;
        struct rte_mbuf *tail = c->receive_queue.tail;
        uint32_t n = m->data_len;
        m->nb_segs = 1;
        m->next = NULL;
        if (tail != NULL && tcp_copy_behind(tail, m)) /* tiny segments must not hold a packet each */
            c->receive_queue.len += n;
        else
            tide_rope_push(&c->receive_queue, m);
        m = next;
    }
}

/* Bytes in order were delivered. */
static inline __attribute__((always_inline)) void data_came(struct tcp_conn *c, bool ack_at_once)
{
    tcp_event_raise(c, TCP_EVENT_READABLE);
    if (ack_at_once || ++c->unacked_segments >= 2) {
        tcp_ack_now(c);
    } else if (c->ack_deadline_ns == 0) {
        c->ack_deadline_ns = c->stack->now_ns + DELAYED_ACK_MS * TIDE_NS_PER_MS;
        tcp_timer_set(c, c->ack_deadline_ns);
    }
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
        tcp_hold(c, m, p->seq);
        tcp_ack_now(c);
        return;
    }
    bool filled = c->run_count != 0;
    uint32_t more;
    deliver(c, m, p->len);
    while (filled && (m = tcp_hold_take(c, &more)) != NULL)
        deliver(c, m, more);
    data_came(c, filled);
}

/* Step 8. */
static void fin_step(struct tcp_conn *c)
{
    c->rcv_nxt++;
    c->rcv_adv = seq_max(c->rcv_adv, c->rcv_nxt);
    c->fin_received = true;
    tcp_hold_drop(c); /* nothing lies behind a FIN */
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
    c->mss = TIDE_MIN(TIDE_MAX(p->has_mss ? p->mss : tcp_default_mss(&c->remote), (uint16_t)TCP_MSS_MIN), tcp_link_mss(c->stack, &c->remote));
    c->sack_ok &= p->sack_permitted;
    c->ts_ok &= p->has_ts;
    c->wscale_ok &= p->has_wscale;
    c->snd_wscale = c->wscale_ok ? p->wscale : 0;
    c->rcv_wscale = c->wscale_ok ? c->stack->wscale : 0;
    c->ecn_ok = c->stack->config.ecn == TCP_ECN_ON && (p->flags & (TCP_ECE | TCP_CWR)) == TCP_ECE && acceptable;
    c->ts_recent = p->ts_value;
    c->ts_recent_ns = c->stack->now_ns;
    c->snd_wnd = c->snd_wnd_max = p->window; /* never scaled in a SYN */
    c->snd_wl1 = p->seq;
    c->snd_wl2 = p->ack;
    tcp_cc_init(c);
    if (!acceptable) { /* both opened at once (RFC 9293 3.5, MUST-10) */
        c->state = TCP_SYN_RECEIVED;
        c->syn_due = true;
        tcp_want_output(c);
        return;
    }
    tcp_handshake_measured(c, p, c->rto_base_ns, c->backoff != 0);
    c->backoff = 0;
    c->snd_una = c->snd_max = c->rack_fack = c->rtt_seq = p->ack;
    c->state = TCP_ESTABLISHED;
    c->stack->stats.connected++;
    tcp_keepalive_start(c);
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

/* RFC 7323 4.3. */
static void take_timestamp(struct tcp_conn *c, const struct tcp_packet *p, uint32_t seq)
{
    if (!p->has_ts || !c->ts_ok || !seq_le(seq, c->last_ack_sent))
        return;
    c->ts_recent = p->ts_value;
    c->ts_recent_ns = c->stack->now_ns;
}

/* Step 1: is any of it in the window? Trims what is not: the packet may lose bytes at both
 * ends. */
static bool sequence_step(struct tcp_conn *c, struct tcp_packet *p, struct rte_mbuf **m)
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
            if (p->len != 0)
                c->dsack = (struct tcp_range){p->seq, p->seq + p->len};
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
        if (old != 0)
            c->dsack = (struct tcp_range){p->seq, c->rcv_nxt};
        if (old != 0)
            *m = tcp_cut_front(*m, old);
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
        if (over >= p->len) {
            p->len = 0; /* a probe of a closed window: only its ACK counts */
        } else {
            p->len -= over;
            tcp_cut_to(*m, p->len);
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

/* An ACK for what cannot be taken (RFC 9293 3.10.7.4). To what carries nothing a few only: two confused peers must not
 * answer one another for ever. */
static void answer_in_vain(struct tcp_conn *c, const struct tcp_packet *p)
{
    c->dropped++;
    if (p->len != 0 || p->flags & TCP_FIN)
        tcp_ack_now(c);
    else
        challenge(c);
}

static void conn_input(struct tcp_conn *c, struct tcp_packet *p, struct rte_mbuf *m)
{
    struct tcp_stack *s = c->stack;
    uint32_t seq = p->seq; /* before anything is cut off */
    if (c->state == TCP_SYN_SENT) {
        syn_sent_input(c, p);
        goto done;
    }
    if (c->state == TCP_SYN_RECEIVED && (p->flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK) && p->seq + 1 == c->rcv_nxt &&
        p->ack == c->iss + 1) { /* both opened at once, and this is the peer's second SYN (RFC 9293 3.5, figure 8) */
        p->flags &= (uint16_t)~TCP_SYN;
        p->seq++;
    }
    if (paws_refuses(c, p)) {
        s->stats.paws_dropped++;
        answer_in_vain(c, p);
        goto done;
    }
    if (p->flags & TCP_RST) { /* step 2, with the window looked at by its own rule */
        if (c->state != TCP_TIME_WAIT && p->seq - c->rcv_nxt <= c->rcv_adv - c->rcv_nxt) /* RFC 1337: it waits in peace */
            reset_step(c, p);
        goto done;
    }
    if (p->flags & TCP_SYN && c->state != TCP_SYN_RECEIVED) { /* step 4: RFC 5961 4.2 */
        challenge(c);
        goto done;
    }
    if (!sequence_step(c, p, &m)) { /* step 1 */
        if (c->state == TCP_TIME_WAIT && p->flags & TCP_FIN) /* the peer missed our last ACK */
            c->life_deadline_ns = s->now_ns + s->config.time_wait_ms * TIDE_NS_PER_MS;
        s->stats.out_of_window++;
        answer_in_vain(c, p); /* our ACK was lost */
        goto done;
    }
    take_timestamp(c, p, seq);
    c->last_in_ns = s->now_ns;
    if (c->probes != 0) { /* it lives: idle time counts from here */
        c->probes = 0;
        c->life_deadline_ns = s->now_ns + s->config.keepalive_ms * TIDE_NS_PER_MS;
        tcp_timers_changed(c);
    }
    if (c->ecn_ok) { /* RFC 3168 6.1.3 */
        if (p->flags & TCP_CWR)
            c->ece_due = false;
        if (p->ecn == ECN_CE) {
            c->ece_due = true;
            tcp_ack_now(c);
        }
    }
    if (c->state == TCP_SYN_RECEIVED) {
        if (!(p->flags & TCP_ACK) || p->ack != c->iss + 1)
            goto done;
        c->state = c->fin_queued ? TCP_FIN_WAIT_1 : TCP_ESTABLISHED;
        c->snd_una = c->snd_max = c->rack_fack = c->rtt_seq = p->ack;
        tcp_handshake_measured(c, p, 0, c->backoff != 0);
        c->backoff = 0;
        c->snd_wnd = c->snd_wnd_max = (uint32_t)p->window << c->snd_wscale;
        p->flags &= (uint16_t)~TCP_SYN;
        s->stats.connected++;
        tcp_arm_send(c);
        if (!c->released) {
            tcp_keepalive_start(c);
            tcp_event_raise(c, TCP_EVENT_WRITABLE);
        }
    }
    if (c->state == TCP_TIME_WAIT)
        goto done; /* nothing new can come */
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
    if (c->fin_held && !c->fin_received) {
        if (c->fin_seq == c->rcv_nxt)
            fin_step(c);
        else
            tcp_ack_now(c); /* out of order, like any other (RFC 5681 4.2) */
    }
    if (c->stack != NULL && !c->gone && c->state == TCP_CLOSING && fin_is_acked(c))
        tcp_enter_time_wait(c);
done:
    if (m != NULL)
        rte_pktmbuf_free(m);
}

/* ---- what is expected ------------------------------------------------------------------------------------------------------ */

/* No ACK of the first copy of what was sent again (RFC 3522). */
static bool echo_is_new(const struct tcp_conn *c, const struct tcp_packet *p)
{
    return !c->can_undo || !c->ts_ok || (int32_t)(p->ts_echo - c->undo_ts) >= 0;
}

/*
 * Header prediction, after Van Jacobson: the next bytes, an ACK of something new, or both; nothing else in the header; neither
 * side has closed (ESTABLISHED), and nothing is amiss on the connection, so that no step has anything to repair, to trim or to refuse.
 */
static bool is_expected(const struct tcp_conn *c, const struct tcp_packet *p)
{
    return c->state == TCP_ESTABLISHED && c->unusual == 0 && (p->flags & ~TCP_PSH) == TCP_ACK && p->seq == c->rcv_nxt &&
           p->len <= c->rcv_adv - c->rcv_nxt && p->ack - c->snd_una <= c->snd_max - c->snd_una && (p->len != 0 || p->ack != c->snd_una) &&
           p->has_ts == c->ts_ok && (!c->ts_ok || (int32_t)(p->ts_value - c->ts_recent) >= 0) && p->ecn != ECN_CE &&
           (p->sack_count | c->run_count | c->sacked_bytes | c->lost_bytes | c->mss_full) == 0 && c->reorder_ns == 0 &&
           (!c->reordering_seen || p->ack == c->snd_max) && echo_is_new(c, p);
}

static void expected_ack(struct tcp_conn *c, const struct tcp_packet *p)
{
    struct tcp_delivery d = {.pure = p->len == 0};
    on_new_ack(c, p, &d);
    measure(c, &d);
    if (c->cwnd_limited)
        tcp_cc_of(c)->on_ack(c, d.acked);
    if (c->send_queue.len == 0) { /* all is acknowledged, and nothing waits */
        tcp_disarm_send(c);
        return;
    }
    tcp_arm_send(c);
    tcp_want_output(c);
}

/* What the steps of conn_input come down to then. */
static void expected_input(struct tcp_conn *c, const struct tcp_packet *p, struct rte_mbuf *m)
{
    c->stack->stats.segments_expected++;
    take_timestamp(c, p, p->seq);
    c->last_in_ns = c->stack->now_ns;
    hear(c, p);
    if (p->ack != c->snd_una)
        expected_ack(c, p);
    if (p->len == 0) {
        rte_pktmbuf_free(m);
        return;
    }
    deliver(c, m, p->len);
    data_came(c, false);
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
    p.ecn = meta->ecn;
    c = tcp_find(s, &meta->dst, p.dst_port, &meta->src, p.src_port);
    if (c != NULL && is_expected(c, &p)) {
        expected_input(c, &p, m);
        return;
    }
    if (c != NULL && may_reopen(c, &p)) {
        p.follows = true;
        p.beyond = c->snd_max;
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
        c = tcp_listen_input(s, meta, &p);
    if (c == NULL)
        rte_pktmbuf_free(m);
    else
        conn_input(c, &p, m);
}
