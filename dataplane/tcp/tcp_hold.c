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

/* Behind the last mbuf of a run. */
static void append(struct tcp_conn *c, struct tcp_run *run, struct rte_mbuf *m)
{
    struct rte_mbuf *tail = run->tail;
    run->end += m->data_len;
    if (m->data_len <= COPY_BELOW && m->data_len <= rte_pktmbuf_tailroom(tail) && rte_mbuf_refcnt_read(tail) == 1 && RTE_MBUF_DIRECT(tail)) {
        memcpy(rte_pktmbuf_mtod_offset(tail, uint8_t *, tail->data_len), rte_pktmbuf_mtod(m, uint8_t *), m->data_len);
        tail->data_len = (uint16_t)(tail->data_len + m->data_len);
        rte_pktmbuf_free_seg(m);
        return;
    }
    tail->next = m;
    run->tail = m;
    c->held_count++;
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
    rte_pktmbuf_free_seg(m);
}

void tcp_hold(struct tcp_conn *c, struct rte_mbuf *m, uint32_t seq)
{
    uint32_t end = seq + m->data_len;
    unsigned i = 0;
    c->stack->stats.out_of_order++;
    while (i < c->run_count && seq_lt(c->runs[i].end, seq))
        i++;
    /* Run i is the first that is touched or lies behind. */
    if (i < c->run_count && seq_le(c->runs[i].start, seq)) { /* it is touched from behind */
        uint32_t have = c->runs[i].end - seq;
        if (have >= m->data_len) {
            c->dsack = (struct tcp_range){seq, end};
            c->held_last_seq = seq; /* the block behind it is the one around it */
            drop(c, m);
            return;
        }
        if (have != 0)
            c->dsack = (struct tcp_range){seq, seq + have};
        (void)rte_pktmbuf_adj(m, (uint16_t)have);
        seq += have;
        if (i + 1 < c->run_count && seq_lt(c->runs[i + 1].start, end))
            (void)rte_pktmbuf_trim(m, (uint16_t)(end - c->runs[i + 1].start));
        if (c->held_count == TCP_HELD_MAX) {
            drop(c, m);
            return;
        }
        c->held_last_seq = seq;
        append(c, &c->runs[i], m);
        join_with_next(c, i);
        return;
    }
    if (i < c->run_count && seq_lt(c->runs[i].start, end)) /* the rest comes again when its time is there */
        (void)rte_pktmbuf_trim(m, (uint16_t)(end - c->runs[i].start));
    if (c->run_count == TCP_RUNS_MAX || c->held_count == TCP_HELD_MAX) {
        drop(c, m);
        return;
    }
    memmove(&c->runs[i + 1], &c->runs[i], (c->run_count - i) * sizeof(c->runs[0]));
    c->runs[i] = (struct tcp_run){.start = seq, .end = seq + m->data_len, .head = m, .tail = m};
    m->next = NULL;
    c->run_count++;
    c->held_count++;
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
