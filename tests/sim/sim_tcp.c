/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two stacks back to back in virtual time: the product's object files, a wire that loses, doubles
 * and reorders, both directions busy. Checked after every event: invariants of both stacks, the
 * streams byte for byte, progress. At the end every mbuf is back. A seed is a run: the digest of
 * all packets is printed, and each seed is run twice.
 *
 *   sim_tcp [--seeds N] [--from SEED] [--bytes N] [--verbose]
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/unit.h"
#include "tcp/tcp.h"
#include "tidemark/random.h"

enum { WIRE_MAX = 4096, PIECE_MAX = 5000, MTU_PAYLOAD = 1448, STUCK_MS = 300000, TURN_PACKETS = 64 };

struct flight {
    uint64_t at_ns;
    uint64_t order;
    unsigned to;
    struct rte_mbuf *m;
    struct tcp_meta meta;
};

struct end {
    struct tcp_stack *stack;
    struct tcp_conn *conn;
    uint64_t wrote, read, consumed;
    uint64_t to_write;
    bool closed, peer_closed, gone;
    struct tide_random pattern_out, pattern_in;
    struct tide_random chance;
};

struct profile {
    unsigned loss, duplicate, reorder; /* one in so many; 0: never */
    uint64_t delay_ns;
    uint32_t window;
    bool slow_reader;
};

struct sim {
    struct profile profile;
    struct tide_random random;
    uint64_t now_ns;
    uint64_t order;
    uint64_t digest;
    unsigned count;
    struct flight wire[WIRE_MAX];
    struct end ends[2];
    struct rte_mempool *pool;
    uint64_t packets, lost;
};

static void mix(struct sim *s, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    for (size_t i = 0; i < n; i++)
        s->digest = (s->digest ^ p[i]) * 0x100000001b3ull;
}

static void give_up(const struct sim *s, const char *what)
{
    fprintf(stderr, "%s at %lu ns after %lu packets: written %lu/%lu read %lu/%lu\n", what, s->now_ns, s->packets, s->ends[0].wrote,
            s->ends[1].wrote, s->ends[0].read, s->ends[1].read);
    abort();
}

/* ---- the wire --------------------------------------------------------------------------------------- */

static struct rte_mbuf *flatten(struct sim *s, struct rte_mbuf *chain)
{
    uint8_t bytes[2048];
    uint32_t at = 0;
    for (struct rte_mbuf *m = chain; m != NULL; m = m->next) {
        memcpy(bytes + at, rte_pktmbuf_mtod(m, uint8_t *), m->data_len);
        at += m->data_len;
    }
    if (at != chain->pkt_len)
        give_up(s, "pkt_len is wrong");
    rte_pktmbuf_free(chain);
    mix(s, bytes, at);
    return unit_exact_mbuf(s->pool, bytes, (uint16_t)at);
}

static void fly(struct sim *s, unsigned to, struct rte_mbuf *m, const struct tcp_meta *meta)
{
    uint64_t at = s->now_ns + s->profile.delay_ns;
    if (s->count == WIRE_MAX) {
        rte_pktmbuf_free(m);
        return;
    }
    if (tide_random_hits(&s->random, s->profile.reorder))
        at += tide_random_below(&s->random, 4 * s->profile.delay_ns + 100000);
    s->wire[s->count++] = (struct flight){.at_ns = at, .order = s->order++, .to = to, .m = m, .meta = *meta};
}

static void transmit(struct sim *s, unsigned from)
{
    struct rte_mbuf *packets[TURN_PACKETS];
    struct tcp_meta metas[TURN_PACKETS];
    unsigned n = tcp_output(s->ends[from].stack, s->now_ns, packets, metas, TURN_PACKETS);
    for (unsigned i = 0; i < n; i++) {
        struct rte_mbuf *m = flatten(s, packets[i]);
        s->packets++;
        if (m->data_len > MTU_PAYLOAD + 60)
            give_up(s, "a packet exceeds the mss");
        if (tide_random_hits(&s->random, s->profile.loss)) {
            s->lost++;
            rte_pktmbuf_free(m);
            continue;
        }
        if (tide_random_hits(&s->random, s->profile.duplicate))
            fly(s, 1 - from, unit_exact_mbuf(s->pool, rte_pktmbuf_mtod(m, void *), m->data_len), &metas[i]);
        fly(s, 1 - from, m, &metas[i]);
    }
}

/* ---- the applications ----------------------------------------------------------------------------------- */

static void write_some(struct sim *s, struct end *e)
{
    while (e->conn != NULL && !e->closed && e->wrote < e->to_write && tcp_send_room(e->conn) != 0) {
        uint8_t bytes[PIECE_MAX];
        struct tide_rope r = {0};
        uint32_t n = 1 + (uint32_t)tide_random_below(&e->chance, PIECE_MAX);
        n = (uint32_t)TIDE_MIN((uint64_t)n, e->to_write - e->wrote);
        for (uint32_t i = 0; i < n; i++)
            bytes[i] = (uint8_t)tide_random_u64(&e->pattern_out);
        if (tide_rope_copy_in(&r, s->pool, bytes, n) != TIDE_OK)
            return;
        tcp_write(e->conn, &r);
        e->wrote += n;
    }
    if (e->conn != NULL && !e->closed && e->wrote == e->to_write && e->read == s->ends[e == s->ends].to_write) {
        e->closed = true;
        tcp_close(e->conn);
        e->conn = NULL;
    }
}

static void read_some(struct sim *s, struct end *e)
{
    struct tide_rope r = {0};
    struct tide_slice all;
    const uint8_t *piece;
    uint32_t n;
    (void)tcp_read(e->conn, &r);
    all = tide_rope_slice(&r, 0, r.len);
    while ((n = tide_slice_next(&all, &piece)) != 0)
        for (uint32_t i = 0; i < n; i++)
            if (piece[i] != (uint8_t)tide_random_u64(&e->pattern_in))
                give_up(s, "a byte differs");
    e->read += r.len;
    tide_rope_clear(&r);
    if (!s->profile.slow_reader || tide_random_hits(&e->chance, 3)) {
        tcp_consumed(e->conn, (uint32_t)(e->read - e->consumed));
        e->consumed = e->read;
    }
}

static void serve(struct sim *s, unsigned i)
{
    struct end *e = &s->ends[i];
    struct tcp_event ev;
    while (tcp_next_event(e->stack, &ev)) {
        if (ev.bits & TCP_EVENT_ACCEPTED)
            e->conn = ev.conn;
        if (ev.conn != e->conn)
            continue;
        if (ev.bits & TCP_EVENT_READABLE)
            read_some(s, e);
        if (ev.bits & TCP_EVENT_PEER_CLOSED)
            e->peer_closed = true;
        if (ev.bits & TCP_EVENT_GONE) {
            e->gone = true;
            e->conn = NULL;
        }
    }
    if (e->conn != NULL && s->profile.slow_reader && e->consumed != e->read && tide_random_hits(&e->chance, 20)) {
        tcp_consumed(e->conn, (uint32_t)(e->read - e->consumed));
        e->consumed = e->read;
    }
    write_some(s, e);
}

/* ---- the run ------------------------------------------------------------------------------------------------ */

static unsigned earliest(const struct sim *s)
{
    unsigned best = 0;
    for (unsigned i = 1; i < s->count; i++)
        if (s->wire[i].at_ns < s->wire[best].at_ns ||
            (s->wire[i].at_ns == s->wire[best].at_ns && s->wire[i].order < s->wire[best].order))
            best = i;
    return best;
}

static void step(struct sim *s)
{
    uint64_t timer = TIDE_MIN(tcp_deadline_ns(s->ends[0].stack), tcp_deadline_ns(s->ends[1].stack));
    unsigned next = s->count != 0 ? earliest(s) : 0;
    if (s->count != 0 && s->wire[next].at_ns <= timer) {
        struct flight f = s->wire[next];
        s->wire[next] = s->wire[--s->count];
        s->now_ns = TIDE_MAX(s->now_ns, f.at_ns);
        tcp_input(s->ends[f.to].stack, s->now_ns, f.m, &f.meta);
    } else if (timer != TIDE_NEVER) {
        s->now_ns = TIDE_MAX(s->now_ns + 1, timer);
    } else {
        s->now_ns += TIDE_NS_PER_MS;
    }
    for (unsigned i = 0; i < 2; i++) {
        tcp_on_time(s->ends[i].stack, s->now_ns);
        serve(s, i);
        transmit(s, i);
        tcp_check(s->ends[i].stack);
    }
}

static struct profile profile_of(struct tide_random *r)
{
    static const unsigned losses[] = {0, 1000, 100, 20, 10, 4};
    static const uint64_t delays[] = {25000, 500000, 10000000};
    struct profile p = {.loss = losses[tide_random_below(r, TIDE_ARRAY_LEN(losses))],
                        .duplicate = tide_random_hits(r, 2) ? 20 : 0,
                        .reorder = tide_random_hits(r, 2) ? 4 : 0,
                        .delay_ns = delays[tide_random_below(r, TIDE_ARRAY_LEN(delays))],
                        .window = 16384u << tide_random_below(r, 5),
                        .slow_reader = tide_random_hits(r, 3)};
    return p;
}

static void make_end(struct sim *s, unsigned i, uint64_t seed, uint64_t bytes)
{
    struct tcp_config c = {.connections_max = 8, .syn_backlog = 8, .receive_window_bytes = s->profile.window, .send_buffer_bytes = 65536,
                           .mss = MTU_PAYLOAD + 12, .rto_min_us = 5000, .time_wait_ms = 1000, .keepalive_ms = 3600000,
                           .user_timeout_ms = 600000, .tx_pool = s->pool};
    struct end *e = &s->ends[i];
    for (unsigned k = 0; k < sizeof(c.secret); k++)
        c.secret[k] = (uint8_t)tide_random_u64(&s->random);
    e->stack = tcp_stack_create(&c);
    e->to_write = tide_random_below(&s->random, bytes) + 1;
    e->pattern_out.state = seed * 2 + i;
    e->pattern_in.state = seed * 2 + 1 - i;
    e->chance.state = seed * 7 + i;
    if (e->stack == NULL)
        abort();
}

static bool finished(const struct sim *s)
{
    return s->ends[0].closed && s->ends[1].closed && tcp_connection_count(s->ends[0].stack) == 0 &&
           tcp_connection_count(s->ends[1].stack) == 0;
}

static uint64_t run(struct rte_mempool *pool, uint64_t seed, uint64_t bytes, bool verbose)
{
    struct tcp_endpoint a = {tide_addr_v4(0x0a000001), 40000}, b = {tide_addr_v4(0x0a000002), 9092};
    struct sim *s = calloc(1, sizeof(*s));
    unsigned before = rte_mempool_avail_count(pool);
    uint64_t moved_ns = 0, seen = 0, digest;
    s->random.state = seed;
    s->pool = pool;
    s->digest = 0xcbf29ce484222325ull;
    s->now_ns = 1000000000ull + tide_random_below(&s->random, 1ull << 45);
    s->profile = profile_of(&s->random);
    make_end(s, 0, seed, bytes);
    make_end(s, 1, seed, bytes);
    if (tcp_listen(s->ends[1].stack, b.port) != TIDE_OK)
        abort();
    s->ends[0].conn = tcp_connect(s->ends[0].stack, s->now_ns, &a, &b);
    transmit(s, 0);
    moved_ns = s->now_ns;
    while (!finished(s)) {
        uint64_t now = s->ends[0].read + s->ends[1].read;
        step(s);
        if (now != seen || s->ends[0].closed || s->ends[1].closed) {
            if (now != seen)
                moved_ns = s->now_ns;
            seen = now;
        }
        if (s->ends[0].gone || s->ends[1].gone)
            give_up(s, "a connection was lost");
        if (s->now_ns - moved_ns > STUCK_MS * TIDE_NS_PER_MS * 3)
            give_up(s, "no progress");
    }
    if (s->ends[0].read != s->ends[1].to_write || s->ends[1].read != s->ends[0].to_write)
        give_up(s, "a stream is short");
    if (verbose) {
        const struct tcp_stats *t = tcp_stats(s->ends[0].stack);
        printf("seed %lu: loss 1/%u dup 1/%u reorder 1/%u delay %lu us window %u: %lu packets, %lu lost, %lu retransmits, %lu timeouts, "
               "%lu ms, digest %016lx\n", seed, s->profile.loss, s->profile.duplicate, s->profile.reorder, s->profile.delay_ns / 1000,
               s->profile.window, s->packets, s->lost, t->retransmits, t->timeouts, (moved_ns - 0) / 1000000 % 10000000, s->digest);
    }
    while (s->count != 0)
        rte_pktmbuf_free(s->wire[--s->count].m);
    tcp_stack_destroy(s->ends[0].stack);
    tcp_stack_destroy(s->ends[1].stack);
    if (rte_mempool_avail_count(pool) != before)
        give_up(s, "mbufs are missing");
    digest = s->digest;
    free(s);
    return digest;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"seeds", required_argument, NULL, 's'}, {"from", required_argument, NULL, 'f'},
                                            {"bytes", required_argument, NULL, 'b'}, {"verbose", no_argument, NULL, 'v'}, {0}};
    uint64_t seeds = 60, from = 1, bytes = 400000, all = 0;
    bool verbose = false;
    struct rte_mempool *pool;
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 's': seeds = strtoull(optarg, NULL, 10); break;
        case 'f': from = strtoull(optarg, NULL, 10); break;
        case 'b': bytes = strtoull(optarg, NULL, 10); break;
        case 'v': verbose = true; break;
        default: return 2;
        }
    }
    if (getenv("TIDE_FULL") != NULL && strcmp(getenv("TIDE_FULL"), "1") == 0)
        seeds *= 20;
    unit_eal();
    pool = unit_pool("sim", 16383, 1800);
    for (uint64_t seed = from; seed < from + seeds; seed++) {
        uint64_t digest;
        digest = run(pool, seed, bytes, verbose);
        if (seed % 4 == 0 && run(pool, seed, bytes, false) != digest) {
            fprintf(stderr, "seed %lu: two runs differ\n", seed);
            return 1;
        }
        all ^= digest * (seed + 1);
        if (verbose)
            fflush(stdout);
    }
    printf("%lu seeds from %lu, digest %016lx\n", seeds, from, all);
    return 0;
}
