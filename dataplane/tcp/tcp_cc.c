/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Congestion control: NewReno's rules (RFC 5681) with appropriate byte counting (RFC 3465), initial
 * window of ten segments (RFC 6928).
 */
#include "tcp/tcp_conn.h"

enum { INITIAL_SEGMENTS = 10, CWND_MAX = 1 << 30 };

void tcp_cc_init(struct tcp_conn *c)
{
    c->cwnd = INITIAL_SEGMENTS * (uint32_t)c->mss;
    c->ssthresh = CWND_MAX;
}

void tcp_cc_on_ack(struct tcp_conn *c, uint32_t bytes)
{
    if (c->cwnd < c->ssthresh)
        c->cwnd += TIDE_MIN(bytes, 2u * c->mss);
    else
        c->cwnd += TIDE_MAX(1u, (uint32_t)((uint64_t)c->mss * TIDE_MIN(bytes, c->cwnd) / c->cwnd));
    c->cwnd = TIDE_MIN(c->cwnd, (uint32_t)CWND_MAX);
}

void tcp_cc_on_loss(struct tcp_conn *c, uint32_t in_flight)
{
    c->ssthresh = TIDE_MAX(in_flight / 2, 2u * c->mss);
    c->cwnd = c->ssthresh;
}

void tcp_cc_on_timeout(struct tcp_conn *c, uint32_t in_flight)
{
    c->ssthresh = TIDE_MAX(in_flight / 2, 2u * c->mss);
    c->cwnd = c->mss;
}
