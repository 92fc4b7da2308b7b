/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of what is in flight: one a packet, in order of sequence and in order of sending. Every
 * question of loss detection is answered from them.
 *
 * Each connection has one of its own, the others are shared; when none is left, or a connection has
 * TCP_RECORDS_MAX, new bytes join the last record: their fate is then known less finely, and
 * nothing fails.
 */
#include "tcp/tcp_conn.h"

static uint32_t link_of(const struct tcp_conn *c, const struct tcp_record *r)
{
    return (uint32_t)(r - c->stack->records) + 1;
}

static bool own_is_free(const struct tcp_conn *c)
{
    const struct tcp_record *own = &c->stack->records[c->number];
    return own->start == own->end;
}

void tcp_records_init(struct tcp_stack *s)
{
    for (uint32_t i = s->config.connections_max + s->config.records; i-- != s->config.connections_max;) {
        s->records[i].later = s->free_records;
        s->free_records = i + 1;
    }
}

static struct tcp_record *take(struct tcp_conn *c)
{
    struct tcp_stack *s = c->stack;
    struct tcp_record *r = NULL;
    if (own_is_free(c)) {
        r = &s->records[c->number];
    } else if (s->free_records != 0 && c->record_count < TCP_RECORDS_MAX) {
        r = &s->records[s->free_records - 1];
        s->free_records = r->later;
    }
    if (r != NULL) {
        *r = (struct tcp_record){0};
        c->record_count++;
    }
    return r;
}

static void give(struct tcp_conn *c, struct tcp_record *r)
{
    struct tcp_stack *s = c->stack;
    uint32_t link = link_of(c, r);
    *r = (struct tcp_record){0};
    c->record_count--;
    if (link > s->config.connections_max) {
        r->later = s->free_records;
        s->free_records = link;
    }
}

/* ---- the two orders ---- */

static void time_append(struct tcp_conn *c, struct tcp_record *r)
{
    uint32_t link = link_of(c, r);
    r->earlier = c->sent_last;
    r->later = 0;
    if (c->sent_last != 0)
        tcp_record_at(c, c->sent_last)->later = link;
    else
        c->sent_first = link;
    c->sent_last = link;
}

static void time_remove(struct tcp_conn *c, struct tcp_record *r)
{
    if (r->earlier != 0)
        tcp_record_at(c, r->earlier)->later = r->later;
    else
        c->sent_first = r->later;
    if (r->later != 0)
        tcp_record_at(c, r->later)->earlier = r->earlier;
    else
        c->sent_last = r->earlier;
}

/* `r` comes right behind `at` in both orders: it was sent with it. */
static void insert_behind(struct tcp_conn *c, struct tcp_record *at, struct tcp_record *r)
{
    uint32_t link = link_of(c, r);
    r->previous = link_of(c, at);
    r->next = at->next;
    if (at->next != 0)
        tcp_record_at(c, at->next)->previous = link;
    else
        c->last = link;
    at->next = link;
    r->earlier = link_of(c, at);
    r->later = at->later;
    if (at->later != 0)
        tcp_record_at(c, at->later)->earlier = link;
    else
        c->sent_last = link;
    at->later = link;
}

static void remove_first(struct tcp_conn *c)
{
    struct tcp_record *r = tcp_record_at(c, c->first);
    time_remove(c, r);
    if (c->lost_first == c->first)
        c->lost_first = r->next; /* nothing before it is lost */
    if (c->sacked_last == c->first)
        c->sacked_last = 0;
    c->first = r->next;
    if (c->first != 0)
        tcp_record_at(c, c->first)->previous = 0;
    else
        c->last = 0;
    give(c, r);
}

/* ---- sending ---- */

/* New bytes may become a part of the last record. */
static bool can_join(const struct tcp_conn *c)
{
    const struct tcp_record *r = tcp_record_at(c, c->last);
    return r != NULL && r->flags == 0;
}

bool tcp_record_room(const struct tcp_conn *c)
{
    return own_is_free(c) || (c->stack->free_records != 0 && c->record_count < TCP_RECORDS_MAX) || can_join(c);
}

/* The first that is out, in the connection's own record. */
static void sent_alone(struct tcp_conn *c, uint32_t start, uint32_t end)
{
    c->stack->records[c->number] = (struct tcp_record){.sent_ns = c->stack->now_ns, .start = start, .end = end};
    c->first = c->last = c->sent_first = c->sent_last = c->number + 1;
    c->record_count = 1;
    c->in_flight = end - start;
}

void tcp_record_sent(struct tcp_conn *c, uint32_t start, uint32_t end)
{
    if (c->record_count == 0) {
        sent_alone(c, start, end);
        return;
    }
    struct tcp_record *r = take(c);
    if (r == NULL) {
        TIDE_ASSERT(can_join(c));
        r = tcp_record_at(c, c->last);
        time_remove(c, r);
        r->end = end;
    } else {
        r->start = start;
        r->end = end;
        r->previous = c->last;
        if (c->last != 0)
            tcp_record_at(c, c->last)->next = link_of(c, r);
        else
            c->first = link_of(c, r);
        c->last = link_of(c, r);
    }
    r->sent_ns = c->stack->now_ns;
    time_append(c, r);
    c->in_flight += end - start;
}

/* All of a lost one was sent again. */
static void complete(struct tcp_conn *c, struct tcp_record *r)
{
    c->lost_bytes -= r->end - r->start;
    r->flags = (uint8_t)((r->flags & ~RECORD_LOST) | RECORD_RESENT);
    r->sent_ns = c->stack->now_ns;
    time_remove(c, r);
    time_append(c, r);
}

/* [start, upto) stays in r, the rest becomes a record of its own. False: no record for it. */
static bool split(struct tcp_conn *c, struct tcp_record *r, uint32_t upto)
{
    struct tcp_record *rest = take(c);
    if (rest == NULL)
        return false;
    rest->sent_ns = r->sent_ns;
    rest->start = upto;
    rest->end = r->end;
    rest->flags = r->flags;
    rest->resent = seq_lt(upto, r->resent) ? r->resent : upto;
    r->end = upto;
    if (seq_lt(upto, r->resent))
        r->resent = upto;
    insert_behind(c, r, rest);
    if (r->flags & RECORD_LOST && r->resent == r->end)
        complete(c, r);
    return true;
}

void tcp_record_resent(struct tcp_conn *c, struct tcp_record *r, uint32_t upto)
{
    if (upto != r->end && r->resent == r->start)
        (void)split(c, r, upto);
    c->in_flight += upto - r->resent;
    r->resent = upto;
    if (upto == r->end)
        complete(c, r);
}

void tcp_record_copied(struct tcp_conn *c, struct tcp_record *r)
{
    r->flags |= RECORD_RESENT;
    r->sent_ns = c->stack->now_ns;
    time_remove(c, r);
    time_append(c, r);
}

/* ---- losing ---- */

void tcp_record_lose(struct tcp_conn *c, struct tcp_record *r)
{
    if (r->flags & (RECORD_LOST | RECORD_SACKED))
        return;
    r->flags |= RECORD_LOST;
    r->resent = r->start;
    c->in_flight -= r->end - r->start;
    c->lost_bytes += r->end - r->start;
    if (c->lost_first == 0 || seq_lt(r->start, tcp_record_at(c, c->lost_first)->start))
        c->lost_first = link_of(c, r);
}

struct tcp_record *tcp_record_lost(struct tcp_conn *c)
{
    if (c->lost_bytes == 0)
        return NULL;
    while (c->lost_first != 0 && !(tcp_record_at(c, c->lost_first)->flags & RECORD_LOST))
        c->lost_first = tcp_record_at(c, c->lost_first)->next;
    TIDE_ASSERT(c->lost_first != 0); /* T2 */
    return tcp_record_at(c, c->lost_first);
}

void tcp_records_unlose(struct tcp_conn *c)
{
    for (uint32_t i = c->first; i != 0 && c->lost_bytes != 0; i = tcp_record_at(c, i)->next) {
        struct tcp_record *r = tcp_record_at(c, i);
        if (!(r->flags & RECORD_LOST))
            continue;
        if (r->resent != r->start)
            r->flags |= RECORD_RESENT;
        r->flags &= (uint8_t)~RECORD_LOST;
        c->lost_bytes -= r->end - r->start;
        c->in_flight += r->end - r->resent;
    }
    c->lost_first = 0;
}

/* ---- acknowledgements ---- */

static void delivered(struct tcp_conn *c, const struct tcp_record *r, const struct tcp_packet *p, struct tcp_delivery *d)
{
    tcp_rack_delivered(c, r, p);
    if (r->flags & RECORD_RESENT)
        d->again = true;
    else /* the newest wins: it is seen last */
        d->rtt_ns = c->stack->now_ns - r->sent_ns + (c->stack->now_ns == r->sent_ns);
}

/* All that was out went out in one packet, once, and has arrived: a request's answer, mostly. False: it is not so, and nothing is done. */
static bool alone_acked(struct tcp_conn *c, const struct tcp_packet *p, struct tcp_delivery *d)
{
    struct tcp_record *own = &c->stack->records[c->number];
    if (c->record_count != 1 || c->first != c->number + 1 || own->flags != 0 || p->ack != own->end)
        return false;
    d->original = true;
    delivered(c, own, p, d);
    *own = (struct tcp_record){0};
    c->first = c->last = c->sent_first = c->sent_last = c->lost_first = c->sacked_last = 0;
    c->record_count = 0;
    c->in_flight = 0;
    return true;
}

void tcp_records_acked(struct tcp_conn *c, const struct tcp_packet *p, struct tcp_delivery *d)
{
    if (alone_acked(c, p, d))
        return;
    while (c->first != 0) {
        struct tcp_record *r = tcp_record_at(c, c->first);
        uint32_t upto = seq_lt(p->ack, r->end) ? p->ack : r->end;
        uint32_t n = upto - r->start;
        bool again = r->flags & RECORD_RESENT || (r->flags & RECORD_LOST && r->resent != r->start);
        if (!seq_lt(r->start, upto))
            break;
        if (again)
            d->again = true;
        else if (!(r->flags & RECORD_SACKED))
            d->original = true;
        if (r->flags & RECORD_SACKED)
            c->sacked_bytes -= n;
        else if (r->flags & RECORD_LOST) {
            c->lost_bytes -= n;
            c->in_flight -= seq_lt(r->resent, upto) ? r->resent - r->start : n;
            r->resent = seq_max(r->resent, upto);
        } else {
            c->in_flight -= n;
        }
        if (upto == r->end && !(r->flags & RECORD_SACKED))
            delivered(c, r, p, d);
        if (upto != r->end) {
            r->start = upto;
            break;
        }
        remove_first(c);
    }
    if (d->again && !c->sack_ok)
        d->original = false; /* what lies behind it may have been there for long */
}

struct tcp_record *tcp_record_tail(struct tcp_conn *c, uint32_t max)
{
    struct tcp_record *r = tcp_record_at(c, c->last);
    if (r == NULL || r->flags & (RECORD_SACKED | RECORD_LOST))
        return NULL;
    if (r->end - r->start > max)
        (void)split(c, r, r->end - max);
    return tcp_record_at(c, c->last);
}

static void sack(struct tcp_conn *c, struct tcp_record *r, const struct tcp_packet *p, struct tcp_delivery *d)
{
    uint32_t n = r->end - r->start;
    if (r->flags & RECORD_LOST) {
        c->lost_bytes -= n;
        c->in_flight -= r->resent - r->start;
        if (r->resent != r->start)
            r->flags |= RECORD_RESENT;
        r->flags &= (uint8_t)~RECORD_LOST;
    } else {
        c->in_flight -= n;
    }
    delivered(c, r, p, d);
    r->flags |= RECORD_SACKED;
    c->sacked_bytes += n;
    d->sacked += n;
    if (c->sacked_last == 0 || seq_lt(tcp_record_at(c, c->sacked_last)->start, r->start))
        c->sacked_last = link_of(c, r);
}

static void sack_range(struct tcp_conn *c, struct tcp_range range, const struct tcp_packet *p, struct tcp_delivery *d)
{
    uint32_t i = c->first;
    if (c->sacked_last != 0 && seq_le(tcp_record_at(c, c->sacked_last)->start, range.start))
        i = c->sacked_last; /* news is mostly about what lies behind */
    for (; i != 0; i = tcp_record_at(c, i)->next) {
        struct tcp_record *r = tcp_record_at(c, i);
        if (seq_le(range.end, r->start))
            return;
        if (seq_le(r->end, range.start) || r->flags & RECORD_SACKED)
            continue;
        if (seq_lt(r->start, range.start)) { /* its front is not in it: the next round takes the rest */
            if (!split(c, r, range.start))
                continue;
            continue;
        }
        if (seq_lt(range.end, r->end) && !split(c, r, range.end))
            return;
        sack(c, r, p, d);
    }
}

/* RFC 2883 4: the first block tells of a duplicate when it lies below the ACK or within the second. */
static bool is_dsack(const struct tcp_packet *p)
{
    const struct tcp_range *one = &p->sacks[0], *two = &p->sacks[1];
    if (!seq_lt(one->start, one->end))
        return false;
    if (seq_le(one->end, p->ack))
        return true;
    return p->sack_count > 1 && seq_le(two->start, one->start) && seq_le(one->end, two->end);
}

void tcp_records_sacked(struct tcp_conn *c, const struct tcp_packet *p, struct tcp_delivery *d)
{
    unsigned i = 0;
    if (p->sack_count != 0 && is_dsack(p)) {
        uint32_t n = p->sacks[0].end - p->sacks[0].start;
        if (n <= c->snd_wnd_max && seq_le(p->sacks[0].end, c->snd_max)) {
            d->dsack = true;
            c->stack->stats.dsacks_in++;
            if (c->can_undo && seq_le(c->undo_una, p->sacks[0].start))
                c->undo_bytes -= TIDE_MIN(n, c->undo_bytes);
        }
        i = 1;
    }
    for (; i < p->sack_count; i++) {
        struct tcp_range r = p->sacks[i];
        if (!seq_lt(r.start, r.end) || seq_lt(r.start, c->snd_una) || seq_lt(c->snd_max, r.end) || seq_le(r.end, p->ack))
            continue; /* nonsense, or old */
        sack_range(c, r, p, d);
    }
}

void tcp_records_clear(struct tcp_conn *c)
{
    while (c->first != 0)
        remove_first(c);
    c->in_flight = c->lost_bytes = c->sacked_bytes = 0;
    c->lost_first = c->sacked_last = 0;
}

void tcp_records_check(const struct tcp_conn *c)
{
    uint32_t at = c->snd_una, in_flight = 0, lost = 0, sacked = 0, count = 0, timed = 0;
    uint64_t sent_ns = 0;
    bool lost_seen = false;
    for (uint32_t i = c->first; i != 0; i = tcp_record_at(c, i)->next) { /* T2 */
        const struct tcp_record *r = tcp_record_at(c, i);
        uint32_t n = r->end - r->start;
        TIDE_ASSERT(r->start == at && seq_lt(r->start, r->end));
        TIDE_ASSERT(!(r->flags & RECORD_LOST) || (seq_le(r->start, r->resent) && seq_lt(r->resent, r->end)));
        TIDE_ASSERT((r->flags & (RECORD_LOST | RECORD_SACKED)) != (RECORD_LOST | RECORD_SACKED));
        lost_seen |= i == c->lost_first;
        TIDE_ASSERT(!(r->flags & RECORD_LOST) || lost_seen);
        in_flight += r->flags & RECORD_SACKED ? 0 : r->flags & RECORD_LOST ? r->resent - r->start : n;
        lost += r->flags & RECORD_LOST ? n : 0;
        sacked += r->flags & RECORD_SACKED ? n : 0;
        at = r->end;
        count++;
    }
    for (uint32_t i = c->sent_first; i != 0 && timed <= count; i = tcp_record_at(c, i)->later, timed++) {
        TIDE_ASSERT(sent_ns <= tcp_record_at(c, i)->sent_ns);
        sent_ns = tcp_record_at(c, i)->sent_ns;
    }
    TIDE_ASSERT(timed == count && count == c->record_count);
    TIDE_ASSERT(at == c->snd_max);
    TIDE_ASSERT(in_flight == c->in_flight && lost == c->lost_bytes && sacked == c->sacked_bytes);
}
