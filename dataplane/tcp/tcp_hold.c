/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segments from beyond a hole, in gapless runs. One packet looks at TCP_RUNS_MAX runs and never at
 * the mbufs within: what a peer sends out of order costs the same however much it has sent.
 *
 * Nothing is overwritten: bytes that are there win over bytes that come. Small segments are copied
 * into their neighbour's room, so that a peer of tiny segments cannot hold the pool.
 */
#include "tcp/tcp_conn.h"

#include "tidemark/bytes.h"

enum { COPY_BELOW = 256 };

struct rte_mbuf *tcp_cut_front(struct rte_mbuf *m, uint32_t n)
{
    while (n >= m->data_len && m->next != NULL) {
        struct rte_mbuf *next = m->next;
        n -= m->data_len;
        next->pkt_len = m->pkt_len - m->data_len;
        next->nb_segs = (uint16_t)(m->nb_segs - 1);
        rte_pktmbuf_free_seg(m);
        m = next;
    }
    (void)rte_pktmbuf_adj(m, (uint16_t)n);
    return m;
}

void tcp_cut_to(struct rte_mbuf *m, uint32_t len)
{
    struct rte_mbuf *at = m;
    uint32_t left = len;
    m->pkt_len = len;
    m->nb_segs = 1;
    while (left > at->data_len) {
        left -= at->data_len;
        at = at->next;
        m->nb_segs++;
    }
    at->data_len = (uint16_t)left;
    rte_pktmbuf_free(at->next);
    at->next = NULL;
}

static struct rte_mbuf *last_of(struct rte_mbuf *m)
{
    while (m->next != NULL)
        m = m->next;
    return m;
}

bool tcp_copy_behind(struct rte_mbuf *tail, struct rte_mbuf *m)
{
    if (m->next != NULL || m->data_len > COPY_BELOW || m->data_len > rte_pktmbuf_tailroom(tail) || !tide_mbuf_is_ours(tail) ||
        !RTE_MBUF_DIRECT(tail))
        return false;
    memcpy(rte_pktmbuf_mtod_offset(tail, uint8_t *, tail->data_len), rte_pktmbuf_mtod(m, uint8_t *), m->data_len);
    tail->data_len = (uint16_t)(tail->data_len + m->data_len);
    rte_pktmbuf_free_seg(m);
    return true;
}

/* Behind the last mbuf of a run. */
static void append(struct tcp_conn *c, struct tcp_run *run, struct rte_mbuf *m)
{
    run->end += m->pkt_len;
    c->held_count = (uint16_t)(c->held_count + m->nb_segs);
    if (tcp_copy_behind(run->tail, m)) {
        c->held_count--;
        return;
    }
    run->tail->next = m;
    run->tail = last_of(m);
}

static void join_with_next(struct tcp_conn *c, unsigned i)
{
    struct tcp_run *run = &c->runs[i];
    if (i + 1 >= c->run_count || c->runs[i + 1].start != run->end)
        return;
    run->tail->next = run[1].head;
    run->tail = run[1].tail;
    run->end = run[1].end;
    c->run_count--;
    memmove(&run[1], &run[2], (c->run_count - i - 1) * sizeof(*run));
}

static void drop(struct tcp_conn *c, struct rte_mbuf *m)
{
    c->stack->stats.out_of_order_dropped++;
    c->dropped++;
    rte_pktmbuf_free(m);
}

void tcp_hold(struct tcp_conn *c, struct rte_mbuf *m, uint32_t seq)
{
    uint32_t end = seq + m->pkt_len;
    unsigned i = 0;
    c->stack->stats.out_of_order++;
    while (i < c->run_count && seq_lt(c->runs[i].end, seq))
        i++;
    /* Run i is the first that is touched or lies behind. */
    if (i < c->run_count && seq_le(c->runs[i].start, seq)) { /* it is touched from behind */
        uint32_t have = c->runs[i].end - seq;
        if (have >= m->pkt_len) {
            c->dsack = (struct tcp_range){seq, end};
            c->held_last_seq = seq; /* the block behind it is the one around it */
            drop(c, m);
            return;
        }
        if (have != 0)
            c->dsack = (struct tcp_range){seq, seq + have};
        m = tcp_cut_front(m, have);
        seq += have;
        if (i + 1 < c->run_count && seq_lt(c->runs[i + 1].start, end))
            tcp_cut_to(m, c->runs[i + 1].start - seq);
        if (c->held_count + m->nb_segs > TCP_HELD_MAX) {
            drop(c, m);
            return;
        }
        c->held_last_seq = seq;
        append(c, &c->runs[i], m);
        join_with_next(c, i);
        return;
    }
    if (i < c->run_count && seq_lt(c->runs[i].start, end)) /* the rest comes again when its time is there */
        tcp_cut_to(m, c->runs[i].start - seq);
    if (c->run_count == TCP_RUNS_MAX || c->held_count + m->nb_segs > TCP_HELD_MAX) {
        drop(c, m);
        return;
    }
    memmove(&c->runs[i + 1], &c->runs[i], (c->run_count - i) * sizeof(c->runs[0]));
    c->runs[i] = (struct tcp_run){.start = seq, .end = seq + m->pkt_len, .head = m, .tail = last_of(m)};
    c->run_count++;
    c->held_count = (uint16_t)(c->held_count + m->nb_segs);
    c->held_last_seq = seq;
    join_with_next(c, i);
}

static void remove_first(struct tcp_conn *c)
{
    c->run_count--;
    memmove(&c->runs[0], &c->runs[1], c->run_count * sizeof(c->runs[0]));
}

struct rte_mbuf *tcp_hold_take(struct tcp_conn *c, uint32_t *ret_len)
{
    while (c->run_count != 0 && seq_le(c->runs[0].start, c->rcv_nxt)) {
        struct rte_mbuf *m = c->runs[0].head;
        uint32_t skip = c->rcv_nxt - c->runs[0].start;
        *ret_len = c->runs[0].end - c->runs[0].start;
        remove_first(c);
        while (m != NULL && skip >= m->data_len) { /* it has come again in order */
            struct rte_mbuf *next = m->next;
            skip -= m->data_len;
            *ret_len -= m->data_len;
            c->held_count--;
            rte_pktmbuf_free_seg(m);
            m = next;
        }
        if (m == NULL)
            continue;
        (void)rte_pktmbuf_adj(m, (uint16_t)skip);
        *ret_len -= skip;
        for (struct rte_mbuf *k = m; k != NULL; k = k->next)
            c->held_count--;
        return m;
    }
    return NULL;
}

void tcp_hold_drop(struct tcp_conn *c)
{
    for (; c->run_count != 0; c->run_count--) {
        struct rte_mbuf *m = c->runs[c->run_count - 1].head;
        while (m != NULL) {
            struct rte_mbuf *next = m->next;
            rte_pktmbuf_free_seg(m);
            m = next;
        }
    }
    c->held_count = 0;
}

/* The run with the newest segment first, then the nearest (RFC 2018 4). */
unsigned tcp_hold_ranges(const struct tcp_conn *c, struct tcp_range *ranges, unsigned max)
{
    unsigned n = 0, newest = c->run_count;
    for (unsigned i = 0; i < c->run_count; i++)
        if (seq_le(c->runs[i].start, c->held_last_seq) && seq_lt(c->held_last_seq, c->runs[i].end))
            newest = i;
    if (newest < c->run_count && n < max)
        ranges[n++] = (struct tcp_range){c->runs[newest].start, c->runs[newest].end};
    for (unsigned i = 0; i < c->run_count && n < max; i++)
        if (i != newest)
            ranges[n++] = (struct tcp_range){c->runs[i].start, c->runs[i].end};
    return n;
}
