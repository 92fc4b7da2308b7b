/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the peer says it has (RFC 2018), and what follows from it (RFC 6675).
 */
#include "tcp/tcp_conn.h"

/* Joins [start, end) into the sorted list. A full list forgets what is least useful: the highest
 * range, which only costs a retransmission. */
static void add_range(struct tcp_conn *c, uint32_t start, uint32_t end)
{
    unsigned i = 0;
    unsigned k;
    while (i < c->range_count && seq_lt(c->ranges[i].end, start))
        i++;
    k = i;
    while (k < c->range_count && seq_le(c->ranges[k].start, end)) {
        if (seq_lt(c->ranges[k].start, start))
            start = c->ranges[k].start;
        end = seq_max(end, c->ranges[k].end);
        k++;
    }
    if (k == i) {
        if (c->range_count == TCP_RANGES_MAX) {
            if (i == TCP_RANGES_MAX)
                return;
            c->range_count--;
        }
        memmove(&c->ranges[i + 1], &c->ranges[i], (c->range_count - i) * sizeof(c->ranges[0]));
        c->range_count++;
    } else {
        memmove(&c->ranges[i + 1], &c->ranges[k], (c->range_count - k) * sizeof(c->ranges[0]));
        c->range_count = (uint16_t)(c->range_count - (k - i - 1));
    }
    c->ranges[i] = (struct tcp_range){start, end};
}

void tcp_sack_update(struct tcp_conn *c, const struct tcp_packet *p)
{
    for (unsigned i = 0; i < p->sack_count; i++) {
        const struct tcp_range *r = &p->sacks[i];
        /* Below the ACK it is a D-SACK (RFC 2883); outside of what we sent it is nonsense. */
        if (!seq_lt(r->start, r->end) || seq_lt(r->start, c->snd_una) || seq_lt(c->snd_max, r->end) || seq_le(r->end, p->ack) ||
            r->start == c->snd_una)
            continue;
        add_range(c, r->start, r->end);
    }
}

void tcp_sack_acked(struct tcp_conn *c)
{
    unsigned gone = 0;
    while (gone < c->range_count && seq_le(c->ranges[gone].end, c->snd_una))
        gone++;
    memmove(&c->ranges[0], &c->ranges[gone], (c->range_count - gone) * sizeof(c->ranges[0]));
    c->range_count = (uint16_t)(c->range_count - gone);
    if (c->range_count != 0 && seq_lt(c->ranges[0].start, c->snd_una))
        c->ranges[0].start = c->snd_una;
    if (c->range_count != 0 && c->ranges[0].start == c->snd_una && c->ranges[0].end != c->snd_una) {
        /* The peer acknowledged up to something it says it has: it dropped it (reneging). */
        memmove(&c->ranges[0], &c->ranges[1], (c->range_count - 1) * sizeof(c->ranges[0]));
        c->range_count--;
    }
}

/* Everything below this has more than two segments' worth of received bytes above it. */
static uint32_t lost_edge(const struct tcp_conn *c)
{
    uint32_t above = 0;
    for (unsigned i = c->range_count; i-- != 0;) {
        above += c->ranges[i].end - c->ranges[i].start;
        if (above > 2u * c->mss)
            return c->ranges[i].start;
    }
    return c->snd_una;
}

bool tcp_sack_is_lost(const struct tcp_conn *c, uint32_t seq)
{
    return seq_lt(seq, lost_edge(c));
}

/* Bytes believed to be on the way (RFC 6675 4, SetPipe). */
uint32_t tcp_pipe(const struct tcp_conn *c)
{
    uint32_t edge = lost_edge(c);
    uint32_t at = c->snd_una;
    uint32_t pipe = 0;
    for (unsigned i = 0; i <= c->range_count; i++) {
        uint32_t end = i < c->range_count ? c->ranges[i].start : c->snd_nxt;
        if (seq_lt(end, at))
            end = at;
        /* The gap [at, end): what is lost counts only as far as it was sent again. */
        uint32_t lost_end = seq_lt(end, edge) ? end : edge;
        if (seq_lt(at, lost_end))
            pipe += seq_lt(at, c->high_rxt) ? (seq_lt(c->high_rxt, lost_end) ? c->high_rxt : lost_end) - at : 0;
        uint32_t start = seq_max(at, edge);
        if (seq_lt(start, end))
            pipe += end - start;
        if (i < c->range_count)
            at = c->ranges[i].end;
    }
    return pipe;
}

bool tcp_next_hole(const struct tcp_conn *c, struct tcp_range *ret)
{
    uint32_t edge = lost_edge(c);
    uint32_t at = seq_max(c->snd_una, c->high_rxt);
    for (unsigned i = 0; i < c->range_count; i++) {
        if (seq_lt(at, c->ranges[i].start)) {
            if (!seq_lt(at, edge))
                return false;
            *ret = (struct tcp_range){at, c->ranges[i].start};
            return true;
        }
        at = seq_max(at, c->ranges[i].end);
    }
    return false;
}
