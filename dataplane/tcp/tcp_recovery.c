/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What follows from a loss: repair (RFC 6675 with RFC 8985's detection; RFC 6582 without SACK),
 * timeouts (RFC 6298), and taking back what was done for nothing (RFC 5682, RFC 3522 and D-SACK).
 *
 *   OPEN --a loss--> RECOVERY --all of then is acknowledged--> OPEN
 *   OPEN, RECOVERY --timeout--> LOSS --all of then is acknowledged--> OPEN
 *   RECOVERY, LOSS --it was needless--> OPEN, with the windows of before
 */
#include "tcp/tcp_conn.h"

enum { DUP_THRESHOLD = 3, BLACK_HOLE_BACKOFF = 4, BLACK_HOLE_RETRY_S = 600, MSS_V6_MINIMUM = 1220, MSS_LEAST = 536 };

/* ---- undoing ---- */

static void remember(struct tcp_conn *c)
{
    c->can_undo = true;
    c->undo_cwnd = c->cwnd;
    c->undo_ssthresh = c->ssthresh;
    c->undo_una = c->snd_una;
    c->undo_bytes = 0;
    c->undo_ts = 0;
}

static void undo(struct tcp_conn *c)
{
    c->stack->stats.spurious++;
    if (c->mode == TCP_MODE_LOSS)
        tcp_ack_delay_reset(c);
    c->cwnd = TIDE_MAX(c->cwnd, c->undo_cwnd);
    c->ssthresh = TIDE_MAX(c->ssthresh, c->undo_ssthresh);
    c->can_undo = false;
    c->cwr_due = false;
    c->frto = false;
    c->mode = TCP_MODE_OPEN;
    c->backoff = 0;
    c->rtx_forced = false;
    tcp_records_unlose(c);
}

/* The ACK answers the first copy of something that we sent again. */
static bool echo_is_older(const struct tcp_conn *c, const struct tcp_packet *p)
{
    return c->undo_ts != 0 && c->ts_ok && p->has_ts && p->ts_echo != 0 && (int32_t)(p->ts_echo - c->undo_ts) < 0;
}

static bool was_needless(const struct tcp_conn *c, const struct tcp_packet *p, const struct tcp_delivery *d)
{
    if (!c->can_undo || c->undo_ts == 0) /* nothing was sent again yet */
        return false;
    if (d->acked != 0 && echo_is_older(c, p))
        return true;
    return d->dsack && c->undo_bytes == 0;
}

/* ---- beginnings ---- */

/* FlightSize (RFC 5681 2), what was sacked included: the window that met the loss. */
static uint32_t flight(const struct tcp_conn *c)
{
    return TIDE_MIN(c->snd_max - c->snd_una, c->cwnd);
}

static void enter_recovery(struct tcp_conn *c)
{
    c->stack->stats.fast_retransmits++;
    remember(c);
    tcp_cc_of(c)->on_loss(c, flight(c));
    c->cwr_due = c->ecn_ok; /* RFC 3168 6.1.2: whatever the window was reduced for */
    c->mode = TCP_MODE_RECOVERY;
    c->recovery = c->snd_max;
    c->recovery_set = true;
    c->rtx_forced = true;
    c->tail_probes = 0;
    tcp_want_output(c);
}

/* A segment that is lost again and again while it is large, on a road that nobody speaks for (RFC 4821 7.7). */
static void maybe_black_hole(struct tcp_conn *c)
{
    const struct tcp_record *r = tcp_record_at(c, c->first);
    uint32_t len = r != NULL ? r->end - r->start : 0;
    if (c->backoff < BLACK_HOLE_BACKOFF || c->mss <= MSS_LEAST || len <= MSS_LEAST)
        return;
    tcp_shrink_mss(c, len > MSS_V6_MINIMUM && c->backoff == BLACK_HOLE_BACKOFF ? MSS_V6_MINIMUM : MSS_LEAST);
}

void tcp_shrink_mss(struct tcp_conn *c, uint16_t mss)
{
    if (mss >= c->mss)
        return;
    if (c->mss_full == 0)
        c->mss_full = c->mss;
    c->mss = mss;
    c->mss_retry_ns = c->stack->now_ns + BLACK_HOLE_RETRY_S * TIDE_NS_PER_S; /* roads change (RFC 8201 4) */
    c->stack->stats.mss_reduced++;
}

/* RFC 6298 5.4 to 5.6; all that is not sacked counts as lost. */
void tcp_recovery_on_timeout(struct tcp_conn *c)
{
    bool again = c->mode == TCP_MODE_LOSS;
    c->stack->stats.timeouts++;
    if (!again) { /* RFC 5681: ssthresh falls once for the same data */
        if (c->mode == TCP_MODE_OPEN || !c->can_undo)
            remember(c);
        tcp_cc_of(c)->on_timeout(c, flight(c));
        c->cwr_due = c->ecn_ok;
    }
    c->cwnd_limited = true;
    /* RFC 5682: not when the same data has timed out before. */
    c->frto = !again && c->first != 0 && c->mode != TCP_MODE_RECOVERY;
    c->mode = TCP_MODE_LOSS;
    c->recovery = c->snd_max;
    c->recovery_set = true;
    c->rtx_forced = true;
    c->tail_probes = 0;
    c->dup_acks = 0;
    c->reorder_ns = 0;
    if (c->backoff < 16)
        c->backoff++;
    for (uint32_t i = c->first; i != 0; i = tcp_record_at(c, i)->next) {
        struct tcp_record *r = tcp_record_at(c, i);
        if (r->flags & RECORD_LOST && r->resent != r->start) { /* half of it was under way again: all anew */
            c->in_flight -= r->resent - r->start;
            r->resent = r->start;
            r->flags |= RECORD_RESENT;
        }
        /* The peer may have dropped even what it reported when the first of all is missing (RFC 2018 8). */
        if (again && r->flags & RECORD_SACKED) {
            r->flags &= (uint8_t)~RECORD_SACKED;
            c->sacked_bytes -= r->end - r->start;
            c->in_flight += r->end - r->start;
        }
        tcp_record_lose(c, r);
    }
    if (again)
        c->sacked_last = 0;
    maybe_black_hole(c);
    c->cwnd = c->mss;
    tcp_want_output(c);
}

void tcp_recovery_on_reorder_timer(struct tcp_conn *c)
{
    c->reorder_ns = 0;
    if (!tcp_rack_detect(c))
        return;
    if (c->mode == TCP_MODE_OPEN)
        enter_recovery(c);
    tcp_want_output(c);
}

/* RFC 3168 6.1.2: as one loss, once a round trip. */
bool tcp_recovery_on_ece(struct tcp_conn *c)
{
    if (c->mode != TCP_MODE_OPEN || (c->cwr_set && seq_lt(c->snd_una, c->cwr_point)))
        return false;
    c->stack->stats.ecn_reductions++;
    tcp_cc_of(c)->on_loss(c, flight(c));
    c->cwr_point = c->snd_max;
    c->cwr_set = true;
    c->cwr_due = true;
    c->can_undo = false;
    return true;
}

/* ---- ACKs ---- */

/* Everything that was in flight at the beginning is there. Without SACK one more is waited for, or
 * the duplicate ACKs of needless retransmissions would look like a loss (RFC 6582 4.1). */
static bool is_over(const struct tcp_conn *c)
{
    return c->sack_ok || c->snd_una == c->snd_max ? seq_le(c->recovery, c->snd_una) : seq_lt(c->recovery, c->snd_una);
}

static void leave(struct tcp_conn *c)
{
    if (c->mode == TCP_MODE_RECOVERY)
        c->cwnd = TIDE_MAX(c->ssthresh, 2u * c->mss);
    c->mode = TCP_MODE_OPEN;
    c->dup_acks = 0;
    c->frto = false;
    if (c->rack_persist != 0 && --c->rack_persist == 0)
        c->rack_multiplier = 1;
}

/* RFC 5682 2.1 and 3.1 (with SACK): after a timeout, do ACKs of first copies come in? */
static void frto_step(struct tcp_conn *c, const struct tcp_delivery *d, bool duplicate)
{
    if (d->original && !seq_le(c->recovery, c->snd_una)) {
        undo(c);
        return;
    }
    if (seq_lt(c->recovery, c->snd_max)) { /* new data went out to see */
        if (d->sacked != 0 || duplicate)
            c->frto = false; /* the loss was real */
        else if (d->acked != 0 && d->original)
            undo(c);
        return;
    }
    if (d->acked != 0) { /* try new data instead of more retransmissions */
        if (c->send_queue.len > c->snd_max - c->snd_una && c->snd_wnd > c->snd_max - c->snd_una)
            c->cwnd = c->in_flight + 2u * c->mss;
        else
            c->frto = false;
    }
}

/* Without SACK: duplicate ACKs count (RFC 5681 3.2, RFC 6582). */
static void count_duplicates(struct tcp_conn *c, const struct tcp_delivery *d, bool duplicate)
{
    struct tcp_record *head = tcp_record_at(c, c->first);
    if (duplicate) {
        if (c->dup_acks < 255)
            c->dup_acks++;
        tcp_want_output(c);
        /* After a timeout nothing below the recovery point is proof of a new loss. */
        if (c->mode == TCP_MODE_OPEN && c->dup_acks >= DUP_THRESHOLD && head != NULL &&
            !(c->recovery_set && seq_le(c->snd_una, c->recovery) && c->recovery != c->snd_max)) {
            tcp_record_lose(c, head);
            enter_recovery(c);
        }
        return;
    }
    if (d->acked == 0)
        return;
    if (c->mode == TCP_MODE_RECOVERY && head != NULL) { /* a partial ACK tells of the next hole */
        uint32_t left = d->acked / c->mss;
        c->dup_acks = (uint8_t)(c->dup_acks > left ? c->dup_acks - left : 0);
        tcp_record_lose(c, head);
        c->rtx_forced = true;
    } else if (c->mode == TCP_MODE_OPEN) {
        c->dup_acks = 0;
    }
}

static void maybe_grow_mss(struct tcp_conn *c)
{
    if (c->mss_full == 0 || c->stack->now_ns < c->mss_retry_ns)
        return;
    c->mss = c->mss_full;
    c->mss_full = 0;
}

/* Not during the repair, nor by the ACK that ends it, nor while RFC 5682 sends its two. */
static bool may_grow(const struct tcp_conn *c)
{
    return c->mode == TCP_MODE_OPEN || (c->mode == TCP_MODE_LOSS && !c->frto);
}

void tcp_recovery_on_ack(struct tcp_conn *c, const struct tcp_packet *p, struct tcp_delivery *d, bool duplicate)
{
    bool grows = d->acked != 0 && c->cwnd_limited && !d->reduced && c->mode != TCP_MODE_RECOVERY;
    maybe_grow_mss(c);
    tcp_tail_probe_on_ack(c, p, d);
    if (d->dsack)
        tcp_rack_on_dsack(c);
    if (was_needless(c, p, d))
        undo(c);
    if (c->mode != TCP_MODE_OPEN && d->acked != 0 && is_over(c))
        leave(c);
    if (c->mode == TCP_MODE_LOSS && c->frto)
        frto_step(c, d, duplicate);
    if (c->sack_ok) {
        if ((c->sacked_bytes != 0 || c->mode != TCP_MODE_OPEN || c->reordering_seen) && tcp_rack_detect(c)) {
            d->lost = true;
            if (c->mode == TCP_MODE_OPEN)
                enter_recovery(c);
        }
    } else {
        count_duplicates(c, d, duplicate);
    }
    if (grows && may_grow(c))
        tcp_cc_of(c)->on_ack(c, d->acked);
}
