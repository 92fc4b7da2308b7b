/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs of congestion control against the numbers of RFC 9438 and RFC 5681, on a connection made by hand. */
#include "unit.h"

#include <math.h>

#include "tcp/tcp_conn.h"

enum { MSS = 1000 };

struct road {
    struct tcp_stack *stack;
    struct tcp_conn *c;
    uint64_t rtt_ns;
};

static struct road road(enum tcp_congestion congestion, uint32_t rtt_ms)
{
    struct road r = {.stack = calloc(1, sizeof(*r.stack)), .c = calloc(1, sizeof(*r.c)), .rtt_ns = rtt_ms * TIDE_NS_PER_MS};
    assert_non_null(r.stack);
    assert_non_null(r.c);
    r.stack->config.congestion = congestion;
    r.stack->now_ns = 1000 * TIDE_NS_PER_S;
    r.c->stack = r.stack;
    r.c->mss = MSS;
    r.c->srtt_ns = r.rtt_ns;
    tcp_cc_init(r.c);
    return r;
}

static void end(struct road *r)
{
    free(r->c);
    free(r->stack);
}

static double segments(const struct road *r) { return (double)r->c->cwnd / MSS; }

/* A window's worth of ACKs, one a segment, spread over a round trip. */
static void round_trip(struct road *r)
{
    uint32_t n = TIDE_MAX(r->c->cwnd / MSS, 1u);
    for (uint32_t i = 0; i < n; i++) {
        r->stack->now_ns += r->rtt_ns / n;
        tcp_cc_of(r->c)->on_ack(r->c, MSS);
    }
}

static void run(struct road *r, double seconds)
{
    uint64_t until = r->stack->now_ns + (uint64_t)(seconds * 1e9);
    while (r->stack->now_ns < until)
        round_trip(r);
}

static void lose_at(struct road *r, uint32_t cwnd)
{
    r->c->cwnd = cwnd * MSS;
    tcp_cc_of(r->c)->on_loss(r->c, r->c->cwnd);
}

static void near(double got, double want, double off)
{
    if (fabs(got - want) > off)
        fail_msg("%.2f where %.2f is right", got, want);
}

/* RFC 6928 2, RFC 5681 3.1; a burst of eight at most (RFC 9406 4.2). */
static void slow_start_doubles(void **state)
{
    for (unsigned kind = 0; kind < 2; kind++) {
        struct road r = road((enum tcp_congestion)kind, 100);
        near(segments(&r), 10, 0);
        round_trip(&r);
        near(segments(&r), 20, 0);
        tcp_cc_of(r.c)->on_ack(r.c, 100 * MSS);
        near(segments(&r), 28, 0);
        r.c->mode = TCP_MODE_LOSS;
        tcp_cc_of(r.c)->on_ack(r.c, 100 * MSS);
        near(segments(&r), 29, 0);
        end(&r);
    }
}

static void reno_halves_and_adds_one_a_round_trip(void **state)
{
    struct road r = road(TCP_RENO, 100);
    lose_at(&r, 100);
    near(segments(&r), 50, 0);
    run(&r, 1);
    near(segments(&r), 60, 0.5);
    tcp_cc_of(r.c)->on_timeout(r.c, r.c->cwnd);
    near(segments(&r), 1, 0);
    near((double)r.c->ssthresh / MSS, 30, 0.5);
    tcp_cc_of(r.c)->on_loss(r.c, 2 * MSS);
    near(segments(&r), 2, 0); /* not below two */
    end(&r);
}

/* RFC 9438 4.2, 4.4, 4.5: K = cbrt(30 / 0.4) = 4.22 s from 70 segments to 100; slower and slower, then faster and faster. */
static void the_cubic_function(void **state)
{
    static const struct { double seconds, segments; } rows[] = {{1, 86.6}, {2, 95.6}, {3, 99.3}, {4.2, 100}, {5, 100.2}, {6, 102.3}, {8, 121.6}};
    struct road r = road(TCP_CUBIC, 100);
    uint64_t begin = r.stack->now_ns;
    lose_at(&r, 100);
    near(segments(&r), 70, 0);
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        run(&r, rows[i].seconds - (double)(r.stack->now_ns - begin) / 1e9);
        near(segments(&r), rows[i].segments, 2.5);
    }
    end(&r);
}

/* RFC 9438 4.7: a window that is lost before it came back makes room: the next goal lies below it. */
static void fast_convergence(void **state)
{
    struct road r = road(TCP_CUBIC, 300);
    lose_at(&r, 100);
    lose_at(&r, 80);
    near(r.c->cubic.w_max, 80 * 0.85, 0.1);
    near(segments(&r), 56, 0);
    run(&r, cbrt((68 - 56) / 0.4));
    near(segments(&r), 68, 1.5);
    lose_at(&r, 90);
    near(r.c->cubic.w_max, 90, 0.1);
    end(&r);
}

/* RFC 9438 4.3: on a short road Reno would be faster: 0.53 segments a round trip up to where the loss was, then one. */
static void as_fast_as_reno_on_short_roads(void **state)
{
    struct road r = road(TCP_CUBIC, 1);
    lose_at(&r, 20);
    near(segments(&r), 14, 0);
    for (unsigned i = 0; i < 10; i++)
        round_trip(&r);
    near(segments(&r), 14 + 10 * 0.53, 0.7);
    for (unsigned i = 0; i < 12; i++)
        round_trip(&r);
    near(segments(&r), 29, 3);
    end(&r);
}

/* RFC 9438 5.8: time in which the window was not used does not count. */
static void idle_time_does_not_count(void **state)
{
    struct road r = road(TCP_CUBIC, 100);
    lose_at(&r, 100);
    run(&r, 1);
    near(segments(&r), 86.6, 2.5);
    r.stack->now_ns += 30 * TIDE_NS_PER_S;
    run(&r, 1);
    near(segments(&r), 95.6, 2.5);
    end(&r);
}

/* RFC 9438 4.8: the goal of before stays, the window begins with one segment. */
static void a_timeout(void **state)
{
    struct road r = road(TCP_CUBIC, 100);
    r.c->cwnd = 100 * MSS;
    tcp_cc_of(r.c)->on_timeout(r.c, r.c->cwnd);
    near(segments(&r), 1, 0);
    near((double)r.c->ssthresh / MSS, 70, 0);
    near(r.c->cubic.w_max, 100, 0);
    end(&r);
}

/* RFC 5681 4.1: after an idle time no more than the first window, and what was known is not forgotten. */
static void a_restart(void **state)
{
    for (unsigned kind = 0; kind < 2; kind++) {
        struct road r = road((enum tcp_congestion)kind, 100);
        r.c->cwnd = 100 * MSS;
        r.c->ssthresh = 20 * MSS;
        tcp_cc_restart(r.c);
        near(segments(&r), 10, 0);
        near((double)r.c->ssthresh / MSS, 75, 0);
        r.c->cwnd = 4 * MSS;
        tcp_cc_restart(r.c);
        near(segments(&r), 4, 0);
        end(&r);
    }
}

/* Whatever comes, the window stays between one segment and 2^30, and one ACK never adds more than it acknowledges. */
static void bounds(void **state)
{
    for (unsigned kind = 0; kind < 2; kind++) {
        struct road r = road((enum tcp_congestion)kind, 100);
        uint64_t x = 1;
        for (unsigned i = 0; i < 200000; i++) {
            uint32_t before = r.c->cwnd, bytes = (uint32_t)(x >> 33) % 100000;
            x = x * 6364136223846793005ull + 1442695040888963407ull;
            r.stack->now_ns += (x >> 40) * (i % 100 == 0 ? 100000 : 1);
            if (i % 1000 == 999)
                tcp_cc_of(r.c)->on_loss(r.c, TIDE_MIN(bytes, r.c->cwnd));
            else if (i % 5000 == 777)
                tcp_cc_of(r.c)->on_timeout(r.c, TIDE_MIN(bytes, r.c->cwnd));
            else {
                tcp_cc_of(r.c)->on_ack(r.c, bytes);
                assert_true(r.c->cwnd >= before && r.c->cwnd - before <= TIDE_MAX(bytes, 1u));
            }
            assert_true(r.c->cwnd >= MSS && r.c->cwnd <= 1u << 30);
            assert_true(r.c->ssthresh >= 2 * MSS);
        }
        end(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slow_start_doubles),
        cmocka_unit_test(reno_halves_and_adds_one_a_round_trip),
        cmocka_unit_test(the_cubic_function),
        cmocka_unit_test(fast_convergence),
        cmocka_unit_test(as_fast_as_reno_on_short_roads),
        cmocka_unit_test(idle_time_does_not_count),
        cmocka_unit_test(a_timeout),
        cmocka_unit_test(a_restart),
        cmocka_unit_test(bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
