/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two stacks back to back in virtual time: the product's object files, a wire that loses, doubles,
 * reorders and corrupts, both directions busy. Checked after every event: invariants of both stacks,
 * the streams byte for byte, and progress: an end that times out more than three times without any
 * of its bytes being acknowledged must have lost a packet for each of the others. At the end every
 * mbuf is back. A seed is a run: the digest of all packets is printed. Some are run once more with stacks that take no short way
 * (tcp_config.all_steps), and must send the same packets.
 *
 *   sim_tcp [--seeds N] [--from SEED] [--bytes N] [--verbose]
 *   sim_tcp --grid [--from POINT] [--every N] [--bytes N] [--one-way] [--verbose]
 *
 * The grid is loss x duplication x reordering x corruption x round trip; every Nth point of it.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/unit.h"
#include "tcp/tcp.h"
#include "tidemark/random.h"
#include "tidemark/bytes.h"
#include "tidemark/checksum.h"

enum { WIRE_MAX = 4096, PIECE_MAX = 5000, MTU_PAYLOAD = 1448, STUCK_MS = 300000, TURN_PACKETS = 64 };

struct flight {
    uint64_t at_ns;
    uint64_t order;
    unsigned to;
    struct rte_mbuf *m;
    struct tcp_meta meta;
};

struct end {
    uint64_t acked_ns;         /* last time that bytes of ours were acknowledged */
    uint64_t timeouts, losses; /* as they were then */
    uint32_t queue;
    struct tcp_stack *stack;
    struct tcp_conn *conn;
    uint64_t wrote, read, consumed;
    uint64_t to_write;
    bool closed, peer_closed, gone;
    struct tide_random pattern_out, pattern_in;
    struct tide_random chance;
};

struct profile {
    double loss, duplicate, reorder, corrupt; /* chance of a packet */
    uint64_t delay_ns;
    uint32_t window;
    bool slow_reader;
    bool prompt; /* both ends know that the other acknowledges at once */
    enum tcp_congestion congestion;
    enum tcp_ecn ecn;
    uint32_t records;
    uint32_t segmented; /* payload of a packet that the port cuts; 0: it does not */
};

struct sim {
    struct profile profile;
    bool exact; /* so many bytes, not up to so many */
    bool one_way;
    bool all_steps;
    struct tide_random random;
    uint64_t now_ns;
    uint64_t order;
    uint64_t digest;
    unsigned count;
    struct flight wire[WIRE_MAX];
    struct end ends[2];
    struct rte_mempool *pool;
    uint64_t packets, lost, seed;
};

static void mix(struct sim *s, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    for (size_t i = 0; i < n; i++)
        s->digest = (s->digest ^ p[i]) * 0x100000001b3ull;
}

static void give_up(const struct sim *s, const char *what)
{
    const struct profile *p = &s->profile;
    fprintf(stderr, "%s at %lu ns after %lu packets: written %lu/%lu read %lu/%lu\n", what, s->now_ns, s->packets, s->ends[0].wrote,
            s->ends[1].wrote, s->ends[0].read, s->ends[1].read);
    fprintf(stderr, "seed %lu: loss %g%% dup %g%% reorder %g%% corrupt %g%% rtt %g ms window %u%s%s\n", s->seed, p->loss * 100,
            p->duplicate * 100, p->reorder * 100, p->corrupt * 100, (double)p->delay_ns / 5e5, p->window, p->slow_reader ? " slow" : "",
            p->prompt ? " prompt" : "");
    for (unsigned e = 0; e < 2; e++) {
        struct tcp_conn_info i;
        if (s->ends[e].conn == NULL || !tcp_info_at(s->ends[e].stack, s->now_ns, 0, &i))
            continue;
        fprintf(stderr, "end %u: %s srtt %lu us rto %lu us cwnd %u in flight %u send queue %u window %u receive queue %u window %u held %u\n",
                e, i.state, i.srtt_ns / 1000, i.rto_ns / 1000, i.cwnd, i.in_flight, i.send_queue, i.send_window, i.receive_queue,
                i.receive_window, i.held);
    }
    abort();
}

/* ---- the wire --------------------------------------------------------------------------------------- */

/* All bytes of a packet; returns how many. */
static uint32_t flatten(struct sim *s, const struct rte_mbuf *chain, uint8_t *ret_bytes)
{
    uint32_t at = 0;
    for (const struct rte_mbuf *m = chain; m != NULL; m = m->next) {
        memcpy(ret_bytes + at, rte_pktmbuf_mtod(m, const uint8_t *), m->data_len);
        at += m->data_len;
    }
    if (at != chain->pkt_len)
        give_up(s, "pkt_len is wrong");
    mix(s, ret_bytes, at);
    return at;
}

static bool hits(struct sim *s, double chance)
{
    return (double)(tide_random_u64(&s->random) >> 11) < chance * (double)(1ull << 53);
}

/* A flipped bit never escapes the checksum, which net verifies: to TCP it is a loss. */
static bool is_corrupted(struct sim *s, struct rte_mbuf *m)
{
    uint8_t *bytes = rte_pktmbuf_mtod(m, uint8_t *);
    uint32_t sum = tide_sum_fold(tide_sum_add(0, bytes, m->data_len));
    if (!hits(s, s->profile.corrupt))
        return false;
    bytes[tide_random_below(&s->random, m->data_len)] ^= (uint8_t)(1 << tide_random_below(&s->random, 8));
    if (tide_sum_fold(tide_sum_add(0, bytes, m->data_len)) == sum)
        give_up(s, "a checksum did not see a flipped bit");
    return true;
}

static void fly(struct sim *s, unsigned to, struct rte_mbuf *m, const struct tcp_meta *meta)
{
    uint64_t at = s->now_ns + s->profile.delay_ns;
    if (s->count == WIRE_MAX) {
        rte_pktmbuf_free(m);
        return;
    }
    if (hits(s, s->profile.reorder))
        at += tide_random_below(&s->random, 4 * s->profile.delay_ns + 100000);
    s->wire[s->count++] = (struct flight){.at_ns = at, .order = s->order++, .to = to, .m = m, .meta = *meta};
}

/* One packet of the wire. */
static void send_packet(struct sim *s, unsigned from, const uint8_t *bytes, uint32_t len, struct tcp_meta meta)
{
    struct rte_mbuf *m = unit_exact_mbuf(s->pool, bytes, (uint16_t)len);
    s->packets++;
    if (len > MTU_PAYLOAD + 60)
        give_up(s, "a packet exceeds the mss");
    if (hits(s, s->profile.loss) || is_corrupted(s, m)) {
        s->lost++;
        rte_pktmbuf_free(m);
        return;
    }
    if (meta.ecn != 0 && hits(s, 0.01))
        meta.ecn = 3;
    if (hits(s, s->profile.duplicate))
        fly(s, 1 - from, unit_exact_mbuf(s->pool, rte_pktmbuf_mtod(m, void *), m->data_len), &meta);
    fly(s, 1 - from, m, &meta);
}

/* What the stack sent, cut into segments as a port would: FIN and PSH in the last, CWR in the first. */
static void send_one(struct sim *s, unsigned from, struct rte_mbuf *chain, const struct tcp_meta *meta)
{
    uint8_t bytes[65536], piece[2048];
    uint32_t len = flatten(s, chain, bytes), header = (bytes[12] >> 4) * 4u;
    uint32_t segment = chain->ol_flags & RTE_MBUF_F_TX_TCP_SEG ? chain->tso_segsz : len;
    rte_pktmbuf_free(chain);
    if (segment != len && s->profile.segmented == 0)
        give_up(s, "a packet for a port that does not cut");
    for (uint32_t at = 0; at == 0 || at < len - header; at += segment) {
        uint32_t n = TIDE_MIN(segment, len - header - at);
        memcpy(piece, bytes, header);
        memcpy(piece + header, bytes + header + at, n);
        store_be32(piece + 4, load_be32(bytes + 4) + at);
        if (at + n < len - header)
            piece[13] &= (uint8_t)~(1 | 8);
        if (at != 0)
            piece[13] &= (uint8_t)~128;
        send_packet(s, from, piece, header + n, *meta);
    }
}

static void transmit(struct sim *s, unsigned from)
{
    struct rte_mbuf *packets[TURN_PACKETS];
    struct tcp_meta metas[TURN_PACKETS];
    unsigned n = tcp_output(s->ends[from].stack, s->now_ns, packets, metas, TURN_PACKETS);
    for (unsigned i = 0; i < n; i++)
        send_one(s, from, packets[i], &metas[i]);
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
        if (ev.bits & TCP_EVENT_ACCEPTED) {
            e->conn = ev.conn;
            if (s->profile.prompt)
                tcp_set_prompt_peer(e->conn);
        }
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

static void check_progress(struct sim *s, unsigned i)
{
    struct end *e = &s->ends[i];
    const struct tcp_stats *t = tcp_stats(e->stack);
    uint64_t waits = e->conn != NULL ? tcp_stalled_since(e->conn) : 0;
    if (waits == 0 || waits != e->acked_ns) {
        e->acked_ns = waits;
        e->timeouts = t->timeouts;
        e->losses = s->lost;
    } else if (t->timeouts - e->timeouts > 3 + s->lost - e->losses) {
        give_up(s, "timeouts without a loss");
    }
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
        check_progress(s, i);
    }
}

static struct profile profile_of(struct tide_random *r)
{
    static const double losses[] = {0, 0.001, 0.01, 0.05, 0.1, 0.25};
    static const uint64_t delays[] = {25000, 500000, 10000000};
    struct profile p = {.loss = losses[tide_random_below(r, TIDE_ARRAY_LEN(losses))],
                        .duplicate = tide_random_hits(r, 2) ? 0.05 : 0,
                        .reorder = tide_random_hits(r, 2) ? 0.25 : 0,
                        .corrupt = tide_random_hits(r, 4) ? 0.01 : 0,
                        .delay_ns = delays[tide_random_below(r, TIDE_ARRAY_LEN(delays))],
                        .window = 16384u << tide_random_below(r, 5),
                        .slow_reader = tide_random_hits(r, 3),
                        .prompt = tide_random_hits(r, 3),
                        .congestion = tide_random_hits(r, 4) ? TCP_RENO : TCP_CUBIC,
                        .ecn = tide_random_hits(r, 3) ? TCP_ECN_ON : TCP_ECN_PASSIVE,
                        .records = tide_random_hits(r, 4) ? 3 : 0,
                        .segmented = tide_random_hits(r, 3) ? 60000 : 0};
    return p;
}

/* The grid: number `i` of GRID_POINTS. */
enum { GRID_LOSS = 6, GRID_DELAY = 3, GRID_POINTS = GRID_LOSS * 2 * 2 * 2 * GRID_DELAY };

static struct profile grid_point(unsigned i)
{
    static const double losses[GRID_LOSS] = {0, 0.001, 0.01, 0.05, 0.1, 0.3};
    static const uint64_t delays[GRID_DELAY] = {25000, 500000, 10000000}; /* one way */
    struct profile p = {.window = 262144};
    p.loss = losses[i % GRID_LOSS];
    i /= GRID_LOSS;
    p.delay_ns = delays[i % GRID_DELAY];
    i /= GRID_DELAY;
    p.duplicate = i & 1 ? 0.05 : 0;
    p.reorder = i & 2 ? 0.25 : 0;
    p.corrupt = i & 4 ? 0.01 : 0;
    p.segmented = i & 2 ? 60000 : 0;
    return p;
}

static void make_end(struct sim *s, unsigned i, uint64_t seed, uint64_t bytes)
{
    struct tcp_config c = {.connections_max = 8, .syn_backlog = 8, .receive_window_bytes = s->profile.window, .send_buffer_bytes = 65536,
                           .mss = MTU_PAYLOAD + 12, .rto_min_us = 5000, .time_wait_ms = 1000, .keepalive_ms = 3600000,
                           .user_timeout_ms = 3600000, .congestion = s->profile.congestion, .ecn = s->profile.ecn,
                           .records = s->profile.records, .segmented_max = s->profile.segmented, .all_steps = s->all_steps,
                           .tx_pool = s->pool};
    struct end *e = &s->ends[i];
    for (unsigned k = 0; k < sizeof(c.secret); k++)
        c.secret[k] = (uint8_t)tide_random_u64(&s->random);
    e->stack = tcp_stack_create(&c);
    e->to_write = s->one_way && i == 1 ? 1 : s->exact ? bytes : tide_random_below(&s->random, bytes) + 1;
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

static void check_short_way(const struct sim *s)
{
    const struct profile *p = &s->profile;
    bool calm = p->loss == 0 && p->duplicate == 0 && p->reorder == 0 && p->corrupt == 0;
    for (unsigned i = 0; i < 2; i++) {
        const struct tcp_stats *t = tcp_stats(s->ends[i].stack);
        if (s->all_steps ? t->segments_expected != 0 : calm && t->segments_expected < t->segments_in / 2)
            give_up(s, "the short way is not taken where it should");
    }
}

static uint64_t run(struct rte_mempool *pool, uint64_t seed, uint64_t bytes, const struct profile *profile, bool one_way, bool all_steps, bool verbose)
{
    struct tcp_endpoint a = {tide_addr_v4(0x0a000001), 40000}, b = {tide_addr_v4(0x0a000002), 9092};
    struct sim *s = calloc(1, sizeof(*s));
    unsigned before = rte_mempool_avail_count(pool);
    uint64_t moved_ns, began_ns, seen = 0, digest;
    s->random.state = s->seed = seed;
    s->pool = pool;
    s->digest = 0xcbf29ce484222325ull;
    s->now_ns = 1000000000ull + tide_random_below(&s->random, 1ull << 45);
    s->exact = profile != NULL;
    s->one_way = one_way;
    s->all_steps = all_steps;
    s->profile = profile != NULL ? *profile : profile_of(&s->random);
    make_end(s, 0, seed, bytes);
    make_end(s, 1, seed, bytes);
    if (tcp_listen(s->ends[1].stack, b.port) != TIDE_OK)
        abort();
    s->ends[0].conn = tcp_connect(s->ends[0].stack, s->now_ns, &a, &b);
    if (s->profile.prompt)
        tcp_set_prompt_peer(s->ends[0].conn);
    transmit(s, 0);
    moved_ns = began_ns = s->now_ns;
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
    check_short_way(s);
    if (verbose) {
        const struct tcp_stats *t = tcp_stats(s->ends[0].stack);
        const struct profile *p = &s->profile;
        double seconds = (double)(moved_ns - began_ns) / 1e9;
        printf("seed %lu: loss %g%% dup %g%% reorder %g%% corrupt %g%% rtt %g ms window %u%s%s%s%s: %lu packets, %lu lost, %lu sent again, "
               "%lu timeouts, %lu tail probes, %lu undone, %.3f s, %.1f Mbit/s, digest %016lx\n", seed, p->loss * 100, p->duplicate * 100,
               p->reorder * 100, p->corrupt * 100, (double)p->delay_ns / 5e5, p->window, p->slow_reader ? " slow" : "",
               p->prompt ? " prompt" : "", p->ecn == TCP_ECN_ON ? " ecn" : "", p->congestion == TCP_RENO ? " reno" : "", s->packets, s->lost,
               t->retransmits, t->timeouts, t->tail_probes, t->spurious, seconds, (double)s->ends[1].read * 8e-6 / seconds, s->digest);
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

static void check_the_same(uint64_t digest, uint64_t of_all_steps, uint64_t seed)
{
    if (digest == of_all_steps)
        return;
    fprintf(stderr, "seed %lu: the packets are others when all steps are taken\n", seed);
    exit(1);
}

/* Returns a digest over all points. */
static uint64_t run_grid(struct rte_mempool *pool, unsigned from, unsigned every, uint64_t bytes, bool one_way, bool verbose)
{
    uint64_t all = 0;
    unsigned points = 0;
    for (unsigned i = from; i < GRID_POINTS; i += every, points++) {
        struct profile p = grid_point(i);
        uint64_t digest = run(pool, 1000 + i, bytes, &p, one_way, false, verbose);
        if (points % 4 == 0)
            check_the_same(digest, run(pool, 1000 + i, bytes, &p, one_way, true, false), 1000 + i);
        all = all * 31 + digest;
        fflush(stdout);
    }
    printf("%u of %d points of the grid, %lu bytes each way, digest %016lx\n", points, GRID_POINTS, bytes, all);
    return all;
}

static void run_seeds(struct rte_mempool *pool, uint64_t from, uint64_t seeds, uint64_t bytes, bool verbose)
{
    uint64_t all = 0;
    for (uint64_t seed = from; seed < from + seeds; seed++) {
        uint64_t digest = run(pool, seed, bytes, NULL, false, false, verbose);
        if (seed % 4 == 0)
            check_the_same(digest, run(pool, seed, bytes, NULL, false, true, false), seed);
        all ^= digest * (seed + 1);
        if (verbose)
            fflush(stdout);
    }
    printf("%lu seeds from %lu, digest %016lx\n", seeds, from, all);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"seeds", required_argument, NULL, 's'}, {"from", required_argument, NULL, 'f'},
                                            {"bytes", required_argument, NULL, 'b'}, {"verbose", no_argument, NULL, 'v'},
                                            {"grid", no_argument, NULL, 'g'}, {"every", required_argument, NULL, 'e'},
                                            {"one-way", no_argument, NULL, 'o'}, {0}};
    uint64_t seeds = 60, from = 1, bytes = 0; /* points of the grid are counted from 1 too */
    unsigned every = 0;
    bool verbose = false, grid = false, one_way = false;
    bool full = getenv("TIDE_FULL") != NULL && strcmp(getenv("TIDE_FULL"), "1") == 0;
    struct rte_mempool *pool;
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 's': seeds = strtoull(optarg, NULL, 10); break;
        case 'f': from = strtoull(optarg, NULL, 10); break;
        case 'b': bytes = strtoull(optarg, NULL, 10); break;
        case 'e': every = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'g': grid = true; break;
        case 'o': one_way = true; break;
        case 'v': verbose = true; break;
        default: return 2;
        }
    }
    unit_eal();
    pool = unit_pool("sim", 16383, 1800);
    if (grid)
        (void)run_grid(pool, (unsigned)(from - 1), every != 0 ? every : full ? 1 : 11, bytes != 0 ? bytes : full ? 4000000 : 300000, one_way, verbose);
    else
        run_seeds(pool, from, full ? seeds * 20 : seeds, bytes != 0 ? bytes : 400000, verbose);
    return 0;
}
