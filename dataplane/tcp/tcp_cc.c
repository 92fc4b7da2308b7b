/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Congestion control: CUBIC (RFC 9438) and Reno (RFC 5681), each three verbs. Initial window of ten
 * segments (RFC 6928); in slow start an ACK opens the window by eight segments at most (RFC 9406
 * 4.2, for senders that do not pace).
 */
#include "tcp/tcp_conn.h"

#include <math.h>

enum { INITIAL_SEGMENTS = 10, CWND_MAX = 1 << 30, SLOW_START_SEGMENTS = 8 };

/* RFC 9438 4.1, 4.6 */
#define CUBIC_C    0.4
#define CUBIC_BETA 0.7
#define RENO_ALPHA (3.0 * (1.0 - CUBIC_BETA) / (1.0 + CUBIC_BETA))

static uint32_t initial_window(const struct tcp_conn *c)
{
    return INITIAL_SEGMENTS * (uint32_t)c->mss;
}

void tcp_cc_init(struct tcp_conn *c)
{
    c->cwnd = initial_window(c);
    c->ssthresh = CWND_MAX;
    c->cubic = (struct tcp_cubic){0};
}

void tcp_cc_restart(struct tcp_conn *c)
{
    c->ssthresh = TIDE_MAX(c->ssthresh, c->cwnd / 4 * 3);
    c->cwnd = TIDE_MIN(c->cwnd, initial_window(c));
    c->cubic.epoch_ns = 0;
}

/* True while in slow start; *bytes is what is left for congestion avoidance. */
static bool slow_start(struct tcp_conn *c, uint32_t bytes)
{
    uint32_t most = c->mode == TCP_MODE_LOSS ? c->mss : SLOW_START_SEGMENTS * (uint32_t)c->mss;
    if (c->cwnd >= c->ssthresh)
        return false;
    c->cwnd = TIDE_MIN(c->cwnd + TIDE_MIN(bytes, most), (uint32_t)CWND_MAX);
    return true;
}

static uint32_t after_loss(const struct tcp_conn *c, uint32_t in_flight, double factor)
{
    return (uint32_t)TIDE_MAX(in_flight * factor, 2.0 * c->mss);
}

/* ---- Reno ---- */

static void reno_on_ack(struct tcp_conn *c, uint32_t bytes)
{
    if (slow_start(c, bytes))
        return;
    c->cwnd += TIDE_MAX(1u, (uint32_t)((uint64_t)c->mss * TIDE_MIN(bytes, c->cwnd) / c->cwnd));
    c->cwnd = TIDE_MIN(c->cwnd, (uint32_t)CWND_MAX);
}

static void reno_on_loss(struct tcp_conn *c, uint32_t in_flight)
{
    c->ssthresh = after_loss(c, in_flight, 0.5);
    c->cwnd = c->ssthresh;
}

static void reno_on_timeout(struct tcp_conn *c, uint32_t in_flight)
{
    c->ssthresh = after_loss(c, in_flight, 0.5);
    c->cwnd = c->mss;
}

/* ---- CUBIC ---- */

/* The first ACK of congestion avoidance after a loss. */
static void begin_epoch(struct tcp_conn *c, double cwnd)
{
    struct tcp_cubic *q = &c->cubic;
    q->epoch_ns = c->stack->now_ns;
    q->w_est = cwnd;
    q->fraction = 0;
    if (q->w_max < cwnd) { /* there was no loss yet, or the window came back by other ways */
        q->w_max = cwnd;
        q->k = 0;
    } else {
        q->k = cbrt((q->w_max - cwnd) / CUBIC_C);
    }
    if (q->prior < cwnd)
        q->prior = cwnd;
}

static double cubic_window(const struct tcp_cubic *q, double seconds)
{
    double x = seconds - q->k;
    return CUBIC_C * x * x * x + q->w_max;
}

static void cubic_on_ack(struct tcp_conn *c, uint32_t bytes)
{
    struct tcp_cubic *q = &c->cubic;
    double cwnd = (double)c->cwnd / c->mss;
    double acked = (double)bytes / c->mss;
    double seconds, target, more;
    if (slow_start(c, bytes))
        return;
    if (q->epoch_ns == 0)
        begin_epoch(c, cwnd);
    else if (c->stack->now_ns - q->last_ns > 2 * c->srtt_ns) /* 5.8: what the application did not use does not count */
        q->epoch_ns += c->stack->now_ns - q->last_ns;
    q->last_ns = c->stack->now_ns;
    seconds = (double)(c->stack->now_ns - q->epoch_ns) / 1e9;
    q->w_est += (q->w_est < q->prior ? RENO_ALPHA : 1.0) * acked / cwnd; /* 4.3 */
    if (cubic_window(q, seconds) < q->w_est) {
        more = q->w_est - cwnd;
    } else { /* 4.4, 4.5 */
        target = cubic_window(q, seconds + (double)c->srtt_ns / 1e9);
        target = TIDE_MIN(TIDE_MAX(target, cwnd), 1.5 * cwnd);
        more = (target - cwnd) / cwnd * acked;
    }
    q->fraction += TIDE_MAX(more, 0.0) * c->mss;
    more = floor(TIDE_MIN(q->fraction, (double)bytes)); /* never faster than slow start */
    q->fraction = TIDE_MIN(q->fraction - more, (double)c->mss);
    c->cwnd = TIDE_MIN(c->cwnd + (uint32_t)more, (uint32_t)CWND_MAX);
}

static void cubic_reduce(struct tcp_conn *c, uint32_t in_flight)
{
    struct tcp_cubic *q = &c->cubic;
    double cwnd = (double)c->cwnd / c->mss;
    q->prior = cwnd;
    q->w_max = cwnd < q->w_max ? cwnd * (1.0 + CUBIC_BETA) / 2.0 : cwnd; /* 4.7: fast convergence */
    q->epoch_ns = 0;
    c->ssthresh = after_loss(c, in_flight, CUBIC_BETA);
}

static void cubic_on_loss(struct tcp_conn *c, uint32_t in_flight)
{
    cubic_reduce(c, in_flight);
    c->cwnd = c->ssthresh;
}

static void cubic_on_timeout(struct tcp_conn *c, uint32_t in_flight)
{
    cubic_reduce(c, in_flight);
    c->cwnd = c->mss;
}

const struct tcp_cc *tcp_cc_of(const struct tcp_conn *c)
{
    static const struct tcp_cc controls[] = {
        [TCP_CUBIC] = {"cubic", cubic_on_ack, cubic_on_loss, cubic_on_timeout},
        [TCP_RENO] = {"reno", reno_on_ack, reno_on_loss, reno_on_timeout},
    };
    return &controls[c->stack->config.congestion];
}
