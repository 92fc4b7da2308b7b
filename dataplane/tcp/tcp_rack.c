/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loss detection by time (RFC 8985): what was sent well before something that has arrived is lost;
 * and a probe of the tail, where nothing follows that could arrive. For connections with SACK.
 */
#include "tcp/tcp_conn.h"

enum {
    DUP_THRESHOLD = 3,      /* RFC 8985 6.2 step 4: so many segments sacked and no reordering seen: no waiting */
    MULTIPLIER_MAX = 64,
    PERSIST_RECOVERIES = 16,
};

static bool sent_after(uint64_t ns1, uint32_t end1, uint64_t ns2, uint32_t end2)
{
    return ns1 > ns2 || (ns1 == ns2 && seq_lt(end2, end1));
}

/* 6.2 steps 1 to 3, for one delivered piece. */
void tcp_rack_delivered(struct tcp_conn *c, const struct tcp_record *r, const struct tcp_packet *p)
{
    uint64_t rtt = c->stack->now_ns - r->sent_ns;
    bool resent = (r->flags & RECORD_RESENT) != 0;
    if (seq_lt(c->rack_fack, r->end))
        c->rack_fack = r->end;
    else if (!resent)
        c->reordering_seen = true; /* it was overtaken */
    if (resent) { /* was it the first copy that arrived? */
        if (c->ts_ok && p->has_ts && (int32_t)(p->ts_echo - (uint32_t)(r->sent_ns / TIDE_NS_PER_MS)) < 0)
            return;
        if (rtt < c->min_rtt_ns)
            return;
    }
    if (c->rack_rtt_ns == 0 || sent_after(r->sent_ns, r->end, c->rack_sent_ns, c->rack_end)) {
        c->rack_sent_ns = r->sent_ns;
        c->rack_end = r->end;
        c->rack_rtt_ns = TIDE_MAX(rtt, 1ull);
    }
}

/* 6.2 step 4. */
void tcp_rack_on_dsack(struct tcp_conn *c)
{
    if (c->rack_dsack_seen && seq_lt(c->snd_una, c->rack_dsack_round))
        return; /* once a round trip */
    c->rack_dsack_seen = true;
    c->rack_dsack_round = c->snd_max;
    if (c->rack_multiplier < MULTIPLIER_MAX)
        c->rack_multiplier++;
    c->rack_persist = PERSIST_RECOVERIES;
}

static uint64_t reordering_window(const struct tcp_conn *c)
{
    uint64_t window;
    if (!c->reordering_seen && (c->mode != TCP_MODE_OPEN || c->sacked_bytes >= (uint32_t)DUP_THRESHOLD * c->mss))
        return 0;
    window = c->rack_multiplier * c->min_rtt_ns / 4;
    return TIDE_MIN(window, c->srtt_ns);
}

/* 6.2 step 5. The oldest come first: it ends with the first that was sent after what arrived. */
bool tcp_rack_detect(struct tcp_conn *c)
{
    uint64_t window = reordering_window(c);
    uint64_t now = c->stack->now_ns;
    bool lost = false;
    c->reorder_ns = 0;
    if (!c->sack_ok || c->rack_rtt_ns == 0)
        return false;
    for (uint32_t i = c->sent_first; i != 0; i = tcp_record_at(c, i)->later) {
        struct tcp_record *r = tcp_record_at(c, i);
        uint64_t until = r->sent_ns + c->rack_rtt_ns + window;
        if (!sent_after(c->rack_sent_ns, c->rack_end, r->sent_ns, r->end))
            break;
        if (r->flags & (RECORD_SACKED | RECORD_LOST))
            continue;
        if (until <= now) {
            tcp_record_lose(c, r);
            lost = true;
        } else {
            c->reorder_ns = TIDE_MAX(c->reorder_ns, until);
        }
    }
    return lost;
}

/* ---- the tail (7) ----
 * Unlike RFC 8985 7.2 we probe during recovery as well: when the repair itself and all that followed it
 * are lost, nothing else would happen before the timeout. And there may be TCP_TAIL_PROBES of them, each
 * after twice the time, before the timeout takes over: a probe is lost as easily as what it asks about. */

uint64_t tcp_tail_probe_in(const struct tcp_conn *c)
{
    if (!c->sack_ok || c->mode == TCP_MODE_LOSS || c->tail_probes >= TCP_TAIL_PROBES || c->in_flight == 0 || c->backoff != 0)
        return TIDE_NEVER;
    if (c->mode == TCP_MODE_OPEN && c->sacked_bytes != 0)
        return TIDE_NEVER; /* the reordering timer has it */
    if (c->srtt_ns == 0)
        return tcp_first_probe_in(c);
    return tcp_first_probe_in(c) << c->tail_probes;
}

/* 7.4: was the probe the repair of a loss, which the congestion window must hear of? */
void tcp_tail_probe_on_ack(struct tcp_conn *c, const struct tcp_packet *p, const struct tcp_delivery *d)
{
    if (c->tail_probes == 0)
        return;
    if (c->mode != TCP_MODE_OPEN && (d->acked != 0 || d->sacked != 0)) { /* the repair goes on */
        c->tail_probes = 0;
        return;
    }
    if (seq_lt(p->ack, c->tail_probe_end))
        return;
    if (!c->tail_probe_is_copy) {
        c->tail_probes = 0;
    } else if (d->dsack && p->sacks[0].end == c->tail_probe_end) {
        c->tail_probes = 0; /* both copies arrived */
    } else if (seq_lt(c->tail_probe_end, p->ack)) {
        c->tail_probes = 0;
        if (c->mode == TCP_MODE_OPEN)
            tcp_cc_of(c)->on_loss(c, c->snd_max - c->snd_una + d->acked);
    } else if (d->acked == 0 && d->sacked == 0 && p->len == 0 && p->sack_count == 0) {
        c->tail_probes = 0; /* a duplicate ACK: the copy came second */
    }
}
