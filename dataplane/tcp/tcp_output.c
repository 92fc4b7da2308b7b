/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets: what a connection may send now, and how a packet is put together.
 */
#include "tcp/tcp_conn.h"

#include "tidemark/bytes.h"

enum {
    TS_BYTES = 12,
    COPY_BELOW = 128,       /* a piece this small is copied into the header's mbuf */
    HEADROOM_MIN = 64,
    RESETS_PER_100MS = 100, /* to strangers */
    PLAIN_HEADER = 20,
    ECT_0 = 2,
};

uint32_t tcp_ts_now(const struct tcp_stack *s)
{
    return (uint32_t)(s->now_ns / TIDE_NS_PER_MS);
}

/* Bytes of the queue that were never sent. */
static uint32_t unsent(const struct tcp_conn *c)
{
    return c->fin_sent ? 0 : c->snd_una + c->send_queue.len - c->snd_max;
}

/* False: conn_output would send nothing and change nothing. */
static bool may_have_output(const struct tcp_conn *c)
{
    return unsent(c) != 0 || c->due != 0 || (c->fin_queued && !c->fin_sent) || c->lost_bytes != 0 || (c->send_timer == TCP_TIMER_OFF && c->snd_una != c->snd_max);
}

void tcp_list_output(struct tcp_conn *c)
{
    if (!c->gone && may_have_output(c))
        tcp_list_append(&c->stack->output, &c->in_output);
}

/* ---- packets of no connection -------------------------------------------------------------------------- */

void tcp_control_send(struct tcp_stack *s, const struct tcp_control *k)
{
    if (s->control_count == TCP_CONTROL_MAX) {
        s->stats.answers_dropped++; /* the peer asks again */
        return;
    }
    s->controls[(s->control_head + s->control_count++) % TCP_CONTROL_MAX] = *k;
}

/* RFC 9293 3.10.7.1: a reset that the sender of the packet will believe. */
void tcp_send_reset(struct tcp_stack *s, const struct tcp_meta *meta, const struct tcp_packet *p)
{
    struct tcp_control k = {.src = meta->dst, .dst = meta->src, .src_port = p->dst_port, .dst_port = p->src_port};
    if (p->flags & TCP_RST)
        return;
    if (s->now_ns - s->reset_ns >= 100 * TIDE_NS_PER_MS) {
        s->reset_ns = s->now_ns;
        s->resets = 0;
    }
    if (s->resets++ >= RESETS_PER_100MS)
        return;
    if (p->flags & TCP_ACK) {
        k.seq = p->ack;
        k.flags = TCP_RST;
    } else {
        k.ack = p->seq + p->len + !!(p->flags & TCP_SYN) + !!(p->flags & TCP_FIN);
        k.flags = TCP_RST | TCP_ACK;
    }
    s->stats.resets_out++;
    tcp_control_send(s, &k);
}

void tcp_send_syn_ack(struct tcp_stack *s, const struct tcp_syn *y)
{
    struct tcp_control k = {.src = y->local, .dst = y->remote, .src_port = y->local_port, .dst_port = y->remote_port,
                            .seq = y->iss, .ack = y->irs + 1, .flags = TCP_SYN | TCP_ACK,
                            .window = (uint16_t)TIDE_MIN(s->config.receive_window_bytes, 65535u), .mss = tcp_link_mss(s, &y->remote),
                            .ts_ok = y->ts_ok, .sack_ok = y->sack_ok, .wscale_ok = y->wscale_ok, .wscale = s->wscale,
                            .ts_value = tcp_ts_now(s), .ts_echo = y->ts_recent};
    if (y->ecn_ok)
        k.flags |= TCP_ECE; /* RFC 3168 6.1.1 */
    tcp_control_send(s, &k);
}

static inline __attribute__((always_inline)) struct rte_mbuf *new_header(struct tcp_stack *s)
{
    struct rte_mbuf *m = rte_pktmbuf_alloc(s->config.tx_pool);
    if (m == NULL) {
        s->stats.no_memory++;
        return NULL;
    }
    TIDE_ASSERT(rte_pktmbuf_headroom(m) >= HEADROOM_MIN);
    return m;
}

static void put_ports(uint8_t *h, uint16_t src, uint16_t dst, uint32_t seq, uint32_t ack, uint16_t flags, uint16_t window, unsigned len)
{
    store_be16(h, src);
    store_be16(h + 2, dst);
    store_be32(h + 4, seq);
    store_be32(h + 8, flags & TCP_ACK ? ack : 0);
    store_be16(h + 12, (uint16_t)((len / 4) << 12 | flags));
    store_be16(h + 14, window);
    store_be32(h + 16, 0); /* checksum: below; no urgent data */
}

static unsigned put_ts(uint8_t *o, uint32_t value, uint32_t echo)
{
    static const uint8_t head[4] = {1, 1, 8, 10};
    memcpy(o, head, sizeof(head));
    store_be32(o + 4, value);
    store_be32(o + 8, echo);
    return TS_BYTES;
}

/* In an order that needs little padding. */
static unsigned put_syn_options(uint8_t *o, const struct tcp_control *k)
{
    unsigned n = 0;
    o[n++] = 2;
    o[n++] = 4;
    store_be16(o + n, k->mss);
    n += 2;
    if (k->ts_ok)
        n += put_ts(o + n, k->ts_value, k->ts_echo);
    if (k->sack_ok) { /* in the place of the two NOPs before the timestamps, if there are any */
        uint8_t *at = k->ts_ok ? o + n - TS_BYTES : o + n + 2;
        if (!k->ts_ok) {
            o[n] = o[n + 1] = 1;
            n += 4;
        }
        at[0] = 4;
        at[1] = 2;
    }
    if (k->wscale_ok) {
        const uint8_t scale[4] = {1, 3, 3, k->wscale};
        memcpy(o + n, scale, sizeof(scale));
        n += 4;
    }
    return n;
}

static struct rte_mbuf *build_control(struct tcp_stack *s, const struct tcp_control *k, struct tcp_meta *meta)
{
    struct rte_mbuf *m = new_header(s);
    uint8_t *h;
    unsigned len = PLAIN_HEADER;
    if (m == NULL)
        return NULL;
    h = rte_pktmbuf_mtod(m, uint8_t *);
    if (k->mss != 0)
        len += put_syn_options(h + PLAIN_HEADER, k);
    put_ports(h, k->src_port, k->dst_port, k->seq, k->ack, k->flags, k->window, len);
    m->data_len = (uint16_t)len;
    m->pkt_len = len;
    *meta = (struct tcp_meta){.src = k->src, .dst = k->dst};
    return m;
}

/* ---- a connection's packets -------------------------------------------------------------------------------- */

/* The window to advertise: it never moves its right edge left (RFC 9293 3.8.6), nor right by less
 * than is worth a packet. */
static uint16_t advertise(struct tcp_conn *c)
{
    uint32_t limit = c->stack->config.receive_window_bytes;
    uint32_t edge = c->rcv_nxt + tcp_receive_window(c);
    uint32_t window;
    if (seq_lt(edge, c->rcv_adv) || (edge - c->rcv_adv < TIDE_MIN((uint32_t)c->mss, limit / 2) && c->rcv_adv != c->rcv_nxt))
        edge = c->rcv_adv;
    if (seq_lt(edge, c->rcv_nxt))
        edge = c->rcv_nxt;
    window = (edge - c->rcv_nxt) >> c->rcv_wscale;
    window = TIDE_MIN(window, 65535u);
    c->rcv_adv = seq_max(c->rcv_adv, c->rcv_nxt + (window << c->rcv_wscale));
    return (uint16_t)window;
}

static bool has_sacks(const struct tcp_conn *c)
{
    return c->sack_ok && (c->run_count != 0 || c->dsack.start != c->dsack.end);
}

/* What came twice goes first (RFC 2883 4), once. */
static unsigned put_sacks(struct tcp_conn *c, uint8_t *o)
{
    unsigned max = c->ts_ok ? 3 : 4;
    unsigned n = 0;
    struct tcp_range found[4];
    if (c->dsack.start != c->dsack.end)
        found[n++] = c->dsack;
    c->dsack.start = c->dsack.end;
    n += tcp_hold_ranges(c, found + n, max - n);
    o[0] = o[1] = 1;
    o[2] = 5;
    o[3] = (uint8_t)(2 + 8 * n);
    for (unsigned i = 0; i < n; i++) {
        store_be32(o + 4 + 8 * i, found[i].start);
        store_be32(o + 8 + 8 * i, found[i].end);
    }
    return 4 + 8 * n;
}

static unsigned put_options(struct tcp_conn *c, uint8_t *o)
{
    unsigned n = 0;
    if (c->ts_ok)
        n += put_ts(o, tcp_ts_now(c->stack), c->ts_recent);
    if (has_sacks(c))
        n += put_sacks(c, o + n);
    return n;
}

/* Finds the byte of `seq` in the send queue. */
static struct rte_mbuf *locate(struct tcp_conn *c, uint32_t seq, uint32_t *ret_off)
{
    struct rte_mbuf *m = c->cursor;
    uint32_t off = c->cursor_off;
    if (m == NULL || c->cursor_seq != seq) {
        m = c->send_queue.head;
        off = c->send_queue.head_off + (seq - c->snd_una);
    }
    while (m != NULL && off >= m->data_len) {
        off -= m->data_len;
        m = m->next;
    }
    *ret_off = off;
    return m;
}

/* Attaches up to `len` bytes from `seq` on behind the header. Returns how many; UINT32_MAX when no
 * mbuf was left. */
static uint32_t attach(struct tcp_conn *c, struct rte_mbuf *head, uint32_t seq, uint32_t len)
{
    struct rte_mbuf *last = head;
    uint32_t done = 0;
    uint32_t off;
    struct rte_mbuf *m = locate(c, seq, &off);
    while (done < len && m != NULL) {
        uint32_t piece = TIDE_MIN(len - done, m->data_len - off);
        if (last == head && piece <= COPY_BELOW && rte_pktmbuf_tailroom(head) >= piece) {
            memcpy(rte_pktmbuf_mtod_offset(head, uint8_t *, head->data_len), rte_pktmbuf_mtod_offset(m, uint8_t *, off), piece);
            head->data_len = (uint16_t)(head->data_len + piece);
        } else {
            struct rte_mbuf *view;
            if (head->nb_segs > TCP_OUTPUT_SEGMENTS_MAX)
                break;
            view = rte_pktmbuf_alloc(c->stack->config.tx_pool);
            if (view == NULL)
                return UINT32_MAX;
            rte_pktmbuf_attach(view, m);
            view->data_off = (uint16_t)(m->data_off + off);
            view->data_len = (uint16_t)piece;
            view->pkt_len = piece;
            last->next = view;
            last = view;
            head->nb_segs++;
        }
        head->pkt_len += piece;
        done += piece;
        off += piece;
        if (off == m->data_len) {
            m = m->next;
            off = 0;
        }
    }
    c->cursor = m;
    c->cursor_off = off;
    c->cursor_seq = seq + done;
    return done;
}

static uint32_t payload_max(const struct tcp_conn *c)
{
    uint32_t options = c->ts_ok ? TS_BYTES : 0;
    if (has_sacks(c))
        options += 4 + 8 * (c->ts_ok ? 3 : 4);
    return c->mss - options;
}

/* Payload that may be handed down at once: a multiple of a segment's. */
static uint32_t packet_max(const struct tcp_conn *c, uint32_t max)
{
    uint32_t most = c->stack->config.segmented_max;
    return most > max ? most / max * max : max;
}

/* A packet that could not take all ends with a whole segment. Returns how much it lost. */
static uint32_t cut_to_segments(struct rte_mbuf *m, uint32_t len, uint32_t segment)
{
    uint32_t rest = len % segment;
    return len > segment && rest != 0 && rte_pktmbuf_trim(m, (uint16_t)rest) == 0 ? rest : 0;
}

enum send_kind { SEND_NEW, SEND_AGAIN, SEND_TAIL, SEND_EMPTY };
struct send {
    uint32_t seq, len;
    uint32_t segment; /* payload of one at most */
    uint16_t flags;
    uint8_t kind;
    struct tcp_record *record; /* of what is sent again */
};

/* One packet of the connection; x->len shrinks to what it carries. NULL: no mbuf. */
static struct rte_mbuf *build(struct tcp_conn *c, struct send *x, struct tcp_meta *meta)
{
    struct tcp_stack *s = c->stack;
    struct rte_mbuf *m = new_header(s);
    uint8_t *h;
    unsigned header = PLAIN_HEADER;
    uint16_t flags = x->flags;
    if (m == NULL)
        return NULL;
    h = rte_pktmbuf_mtod(m, uint8_t *);
    header += put_options(c, h + PLAIN_HEADER);
    m->data_len = (uint16_t)header;
    m->pkt_len = header;
    if (x->len != 0) {
        uint32_t got = attach(c, m, x->seq, x->len);
        if (got == UINT32_MAX) {
            s->stats.no_memory++;
            rte_pktmbuf_free(m);
            return NULL;
        }
        if (got < x->len) {
            flags &= (uint16_t)~(TCP_FIN | TCP_PSH);
            got -= cut_to_segments(m, got, x->segment);
        }
        x->len = got;
        if (got > x->segment) {
            m->tso_segsz = (uint16_t)x->segment;
            m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
        }
    }
    if (c->ece_due)
        flags |= TCP_ECE;
    put_ports(h, c->local_port, c->remote_port, x->seq, c->rcv_nxt, (uint16_t)(flags | TCP_ACK), advertise(c), header);
    *meta = (struct tcp_meta){.src = c->local, .dst = c->remote};
    c->ack_now = false;
    c->unacked_segments = 0;
    c->ack_deadline_ns = 0;
    c->last_ack_sent = c->rcv_nxt;
    s->stats.segments_out++;
    return m;
}

static struct rte_mbuf *send_syn(struct tcp_conn *c, struct tcp_meta *meta)
{
    struct tcp_stack *s = c->stack;
    struct tcp_control k = {.src = c->local, .dst = c->remote, .src_port = c->local_port, .dst_port = c->remote_port, .seq = c->iss,
                            .ack = c->rcv_nxt, .flags = TCP_SYN, .mss = tcp_link_mss(s, &c->remote),
                            .window = (uint16_t)TIDE_MIN(s->config.receive_window_bytes, 65535u), .ts_ok = c->ts_ok,
                            .sack_ok = c->sack_ok, .wscale_ok = c->wscale_ok, .wscale = s->wscale, .ts_value = tcp_ts_now(s),
                            .ts_echo = c->ts_recent};
    struct rte_mbuf *m;
    if (c->state == TCP_SYN_RECEIVED)
        k.flags |= TCP_ACK;
    else if (s->config.ecn == TCP_ECN_ON && c->backoff == 0) /* a repeated SYN asks for nothing that could stop it (RFC 3168 6.1.1.1) */
        k.flags |= TCP_ECE | TCP_CWR;
    m = build_control(s, &k, meta);
    if (m == NULL)
        return NULL;
    if (c->snd_max != c->iss) {
        s->stats.retransmits++;
        c->retransmits++;
    }
    c->snd_max = c->iss + 1;
    c->syn_due = false;
    c->ack_now = false;
    c->rcv_adv = c->rcv_nxt + k.window;
    c->rto_base_ns = s->now_ns;
    s->stats.segments_out++;
    tcp_arm_send(c);
    return m;
}

/* [seq, end) of what was sent before; a FIN lies behind the queue. */
static void again(const struct tcp_conn *c, struct tcp_record *r, uint32_t seq, uint32_t end, enum send_kind kind, struct send *ret)
{
    uint32_t queue_end = c->snd_una + c->send_queue.len;
    *ret = (struct send){.seq = seq, .len = end - seq, .segment = payload_max(c), .kind = (uint8_t)kind, .record = r};
    if (seq_lt(queue_end, end)) {
        ret->len = queue_end - seq;
        ret->flags = TCP_FIN;
    }
    if (ret->len != 0 && seq + ret->len == queue_end)
        ret->flags |= TCP_PSH;
}

static uint32_t congestion_room(const struct tcp_conn *c)
{
    uint32_t allowed = c->cwnd;
    if (!c->sack_ok && c->mode == TCP_MODE_RECOVERY)
        allowed += c->dup_acks * (uint32_t)c->mss; /* what left the network (RFC 5681 3.2) */
    else if (!c->sack_ok && c->mode == TCP_MODE_OPEN)
        allowed += TIDE_MIN(c->dup_acks, 2) * (uint32_t)c->mss; /* RFC 3042 */
    return c->in_flight < allowed ? allowed - c->in_flight : 0;
}

static bool choose_retransmission(struct tcp_conn *c, struct send *ret)
{
    struct tcp_record *r = tcp_record_lost(c);
    uint32_t len, max, room;
    if (r == NULL) {
        c->rtx_forced = false;
        return false;
    }
    max = payload_max(c);
    len = TIDE_MIN(r->end - r->resent, packet_max(c, max));
    room = c->rtx_forced ? TIDE_MAX(max, congestion_room(c)) : congestion_room(c);
    if (room < len) { /* whole segments, as far as they go */
        c->cwnd_limited = true;
        len = TIDE_MIN(len, room / max * max);
        if (len == 0)
            return false;
    }
    again(c, r, r->resent, r->resent + len, SEND_AGAIN, ret);
    return true;
}

static void restart_after_idle(struct tcp_conn *c)
{
    if (c->snd_una == c->snd_max && c->last_out_ns != 0 && c->stack->now_ns - c->last_out_ns > c->rto_ns)
        tcp_cc_restart(c);
}

/* All that waits, as one segment, on an open connection on which nothing is amiss: choose comes to the same, after questions
 * that have one answer then. */
static bool choose_all(struct tcp_conn *c, struct send *ret)
{
    uint32_t waiting = c->send_queue.len - (c->snd_max - c->snd_una), max = payload_max(c);
    if (c->state != TCP_ESTABLISHED || c->unusual != 0 || c->lost_bytes != 0 || c->cwr_due || c->tail_probe || c->rtx_forced ||
        waiting == 0 || waiting > max || c->send_queue.len > c->snd_wnd ||
        (c->record_count != 0 && !tcp_record_room(c)))
        return false;
    restart_after_idle(c);
    if (c->in_flight + waiting > c->cwnd)
        return false;
    if (c->in_flight < c->cwnd / 2)
        c->cwnd_limited = false; /* what is not used is not earned (RFC 7661 4.1) */
    *ret = (struct send){.seq = c->snd_max, .len = waiting, .segment = max, .flags = TCP_PSH, .kind = SEND_NEW};
    return true;
}

static bool choose_new(struct tcp_conn *c, struct send *ret)
{
    uint32_t window_end = c->snd_una + c->snd_wnd;
    uint32_t waiting = unsent(c);
    uint32_t max, room, len;

    if (c->fin_sent || (waiting == 0 && !c->fin_queued) || !tcp_record_room(c))
        return false;
    max = payload_max(c);
    restart_after_idle(c);
    len = seq_lt(c->snd_max, window_end) ? TIDE_MIN(waiting, window_end - c->snd_max) : 0;
    room = c->tail_probe ? max : congestion_room(c);
    if (len < waiting && len < max) {
        c->stack->stats.window_limited++;
        c->times_window_limited++;
    }
    if (len > room) {
        c->cwnd_limited = true;
        c->stack->stats.cwnd_limited += room < max;
        c->times_cwnd_limited += room < max;
    } else if (c->in_flight < c->cwnd / 2) {
        c->cwnd_limited = false; /* what is not used is not earned (RFC 7661 4.1) */
    }
    len = TIDE_MIN(TIDE_MIN(len, room), c->tail_probe ? max : packet_max(c, max));
    if (len < waiting && len > max)
        len -= len % max; /* whole segments */
    /* Silly windows (RFC 9293 3.8.6.2.1): no small packet because of a small opening, for a while. */
    if (len < waiting && len < max && !c->override && !(len != 0 && len >= c->snd_wnd_max / 2 && len == window_end - c->snd_max))
        len = 0;
    *ret = (struct send){.seq = c->snd_max, .len = len, .segment = max, .kind = SEND_NEW};
    if (len == waiting) {
        if (len != 0)
            ret->flags |= TCP_PSH;
        if (c->fin_queued && (len != 0 || seq_le(c->snd_max, window_end)))
            ret->flags |= TCP_FIN;
    }
    if (len != 0 && c->cwr_due)
        ret->flags |= TCP_CWR;
    return len != 0 || (ret->flags & TCP_FIN);
}

/* RFC 8985 7.3: something new if there is, else the last segment once more; during recovery what is
 * known to be lost comes first, and the front stands in for a tail that has arrived. A peer whose
 * application is slow may keep the ACK of anything new back for long, but not that of a copy: a second
 * probe is one. */
static bool choose_tail(struct tcp_conn *c, struct send *ret)
{
    uint32_t max = payload_max(c);
    struct tcp_record *r;
    c->rtx_forced = c->lost_bytes != 0;
    if (choose_retransmission(c, ret) || (c->tail_probes == 0 && choose_new(c, ret)))
        return true;
    r = tcp_record_tail(c, max);
    if (r != NULL) {
        again(c, r, r->end - TIDE_MIN(r->end - r->start, max), r->end, SEND_TAIL, ret);
        return true;
    }
    r = tcp_record_at(c, c->first);
    if (r == NULL || r->flags & (RECORD_SACKED | RECORD_LOST))
        return choose_new(c, ret);
    again(c, r, r->start, r->start + TIDE_MIN(r->end - r->start, max), SEND_TAIL, ret);
    return true;
}

/* In RFC 5682's second step new bytes go before what counts as lost, to see whether it is. */
static bool choose(struct tcp_conn *c, struct send *ret)
{
    if (c->tail_probe)
        return choose_tail(c, ret);
    if (c->mode == TCP_MODE_LOSS && c->frto && c->undo_una != c->snd_una && choose_new(c, ret))
        return true;
    if (choose_retransmission(c, ret))
        return true;
    return c->lost_bytes == 0 && choose_new(c, ret);
}

static void sent_new(struct tcp_conn *c, const struct send *x, uint32_t end)
{
    uint64_t now = c->stack->now_ns;
    if (c->snd_una == c->snd_max)
        c->progress_ns = c->rto_base_ns = now;
    tcp_record_sent(c, x->seq, end);
    c->snd_max = end;
    c->last_out_ns = now;
    c->bytes_out += x->len;
    c->stack->stats.bytes_out += x->len;
    c->override = false;
    if (x->flags & TCP_FIN)
        c->fin_sent = true;
    if (x->flags & TCP_CWR)
        c->cwr_due = false;
}

static void sent_again(struct tcp_conn *c, const struct send *x, uint32_t end)
{
    uint64_t now = c->stack->now_ns;
    c->stack->stats.retransmits++;
    c->retransmits++;
    c->rtx_forced = false;
    if (x->kind == SEND_TAIL) {
        tcp_record_copied(c, x->record);
        return;
    }
    if (x->seq == c->snd_una)
        c->rto_base_ns = now;
    if (c->can_undo) {
        if (c->undo_ts == 0)
            c->undo_ts = TIDE_MAX(tcp_ts_now(c->stack), 1u);
        c->undo_bytes += end - x->seq;
    }
    tcp_record_resent(c, x->record, end);
}

static void sent(struct tcp_conn *c, const struct send *x)
{
    uint32_t end = x->seq + x->len + !!(x->flags & TCP_FIN);
    if (x->kind == SEND_NEW)
        sent_new(c, x, end);
    else
        sent_again(c, x, end);
    if (c->tail_probe) {
        c->tail_probe = false;
        c->tail_probes++;
        c->tail_probe_is_copy = x->kind != SEND_NEW;
        c->tail_probe_end = c->snd_max;
        c->rto_base_ns = c->stack->now_ns; /* RFC 8985 7.3: the timeout begins again */
    }
    tcp_arm_send(c);
}

/* A packet without payload: a question below what is expected, to which the peer must answer with its window (RFC 9293 3.8.4), or an ACK. */
static bool choose_empty(struct tcp_conn *c, struct send *ret)
{
    *ret = (struct send){.seq = c->window_probe ? c->snd_una - 1 : c->snd_max, .kind = SEND_EMPTY};
    return c->window_probe || c->ack_now;
}

static void sent_empty(struct tcp_conn *c)
{
    if (!c->window_probe)
        return;
    c->window_probe = false;
    if (c->send_timer == TCP_TIMER_OFF)
        tcp_arm_send(c);
}

static bool is_open(const struct tcp_conn *c)
{
    return c->state != TCP_CLOSED && c->state != TCP_SYN_SENT && c->state != TCP_SYN_RECEIVED;
}

/* 1: a packet, perhaps of several; 2: the last one; 0: nothing more to send; -1: no mbuf. */
static int conn_output(struct tcp_conn *c, struct rte_mbuf **ret, struct tcp_meta *meta)
{
    struct send x;
    if (!is_open(c)) {
        if (!c->syn_due)
            return 0;
        *ret = send_syn(c, meta);
        return *ret != NULL ? 1 : -1;
    }
    bool all = choose_all(c, &x);
    if (!all && !choose(c, &x)) {
        if (c->tail_probe) { /* nothing to probe with: the timeout takes over */
            c->tail_probe = false;
            c->tail_probes = TCP_TAIL_PROBES;
            tcp_arm_send(c);
        }
        if (!choose_empty(c, &x)) {
            if (c->send_timer == TCP_TIMER_OFF)
                tcp_arm_send(c); /* a closed window may keep bytes back */
            return 0;
        }
    }
    uint32_t len = x.len;
    *ret = build(c, &x, meta);
    if (*ret == NULL)
        return -1;
    if (x.kind == SEND_EMPTY) {
        sent_empty(c);
        return 1;
    }
    if (x.len != len)
        x.flags &= (uint16_t)~TCP_FIN;
    if (c->ecn_ok && x.kind == SEND_NEW && x.len != 0)
        meta->ecn = ECT_0; /* RFC 3168 6.1.5: nothing that is sent again */
    sent(c, &x);
    return all && x.len == len && c->due == 0 ? 2 : 1;
}

unsigned tcp_output(struct tcp_stack *s, uint64_t now_ns, struct rte_mbuf **packets, struct tcp_meta *metas, unsigned max)
{
    unsigned n = 0;
    s->now_ns = now_ns;
    s->syns_answered = 0;
    while (n < max && s->control_count != 0) {
        packets[n] = build_control(s, &s->controls[s->control_head], &metas[n]);
        if (packets[n] == NULL)
            return n;
        s->control_head = (s->control_head + 1) % TCP_CONTROL_MAX;
        s->control_count--;
        s->stats.segments_out++;
        n++;
    }
    while (n < max && !tcp_list_empty(&s->output)) {
        struct tcp_conn *c = (struct tcp_conn *)((char *)s->output.next - offsetof(struct tcp_conn, in_output));
        int r = conn_output(c, &packets[n], &metas[n]);
        if (r < 0)
            return n;
        tcp_list_remove(&c->in_output);
        if (r == 0)
            continue;
        if (r == 1)
            tcp_want_output(c); /* behind the others: all get their turn */
        n++;
    }
    return n;
}
