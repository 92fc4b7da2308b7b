/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a hostile peer, or a stranger who guesses, can do to a stack: each attack is bounded in
 * answers and in memory, disturbs nobody else, and leaves every packet back in its pool.
 */
#include "unit.h"

#include "tcp/tcp.h"
#include "tidemark/bytes.h"
#include "tidemark/random.h"

enum {
    FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16,
    LISTEN = 9092,
    CONNECTIONS = 64,
    BURST = 64, /* frames of a turn */
    WINDOW = 131072,
    SYNS_PER_TURN = 32,
    CHALLENGES_MOST = 16, /* a second and connection */
};

struct peer {
    uint32_t host;
    uint16_t port;
    uint32_t seq, ack; /* its next byte; the next that it expects */
    struct tcp_conn *conn;
    uint64_t got; /* payload bytes, with repetitions */
    uint32_t packets, largest;
    uint16_t last_flags;
    uint32_t last_ack, last_seq;
};

struct world {
    struct rte_mempool *pool;
    struct tcp_stack *stack;
    uint64_t now_ns;
    struct tide_random random;
    struct peer peers[CONNECTIONS];
    unsigned peer_count, before;
    unsigned strangers; /* packets to nobody we know */
};

static struct rte_mempool *pool;

static int setup(void **state)
{
    unit_eal();
    pool = unit_pool("attacks", 4095, 2048);
    return 0;
}

static struct tcp_config usual(void)
{
    return (struct tcp_config){.connections_max = CONNECTIONS, .syn_backlog = 64, .receive_window_bytes = WINDOW,
                               .send_buffer_bytes = 1 << 20, .mss = 1460, .rto_min_us = 5000, .time_wait_ms = 1000,
                               .syns_per_turn = SYNS_PER_TURN, .records = 1024, .secret = {9, 8, 7}, .tx_pool = pool};
}

static void begin(struct world *w, const struct tcp_config *config)
{
    *w = (struct world){.now_ns = 5000000000ull, .random = {1234}, .pool = pool, .before = rte_mempool_avail_count(pool)};
    w->stack = tcp_stack_create(config);
    assert_non_null(w->stack);
    assert_int_equal(tcp_listen(w->stack, LISTEN), TIDE_OK);
}

static void end(struct world *w)
{
    tcp_check(w->stack);
    tcp_stack_destroy(w->stack);
    assert_int_equal(rte_mempool_avail_count(pool), w->before);
}

static void put(struct world *w, const struct peer *p, uint32_t seq, uint32_t ack, uint8_t flags, uint16_t window, const void *options,
                unsigned option_len, const void *payload, unsigned len)
{
    uint8_t bytes[2000] = {0};
    struct tcp_meta meta = {.src = tide_addr_v4(p->host), .dst = tide_addr_v4(0x0a000001)};
    struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
    assert_non_null(m);
    store_be16(bytes, p->port);
    store_be16(bytes + 2, LISTEN);
    store_be32(bytes + 4, seq);
    store_be32(bytes + 8, ack);
    bytes[12] = (uint8_t)((20 + option_len) / 4 << 4);
    bytes[13] = flags;
    store_be16(bytes + 14, window);
    if (option_len != 0)
        memcpy(bytes + 20, options, option_len);
    if (len != 0)
        memcpy(bytes + 20 + option_len, payload, len);
    memcpy(rte_pktmbuf_append(m, (uint16_t)(20 + option_len + len)), bytes, 20 + option_len + len);
    tcp_input(w->stack, w->now_ns, m, &meta);
}

static void look(struct world *w, const struct rte_mbuf *m, const struct tcp_meta *meta)
{
    const uint8_t *h = rte_pktmbuf_mtod(m, const uint8_t *);
    for (unsigned i = 0; i < w->peer_count; i++) {
        struct peer *p = &w->peers[i];
        struct tide_addr addr = tide_addr_v4(p->host);
        uint32_t len = m->pkt_len - (h[12] >> 4) * 4u;
        if (p->port != load_be16(h + 2) || memcmp(&addr, &meta->dst, sizeof(addr)) != 0)
            continue;
        p->packets++;
        p->got += len;
        p->largest = TIDE_MAX(p->largest, len);
        p->last_flags = h[13];
        p->last_seq = load_be32(h + 4);
        p->last_ack = load_be32(h + 8);
        if (h[13] & SYN)
            p->ack = p->last_seq + 1;
        else if (p->last_seq == p->ack)
            p->ack += len;
        return;
    }
    w->strangers++;
}

/* All that the stack wants to send now. */
static unsigned drain(struct world *w)
{
    struct rte_mbuf *packets[BURST];
    struct tcp_meta metas[BURST];
    unsigned n, all = 0;
    while ((n = tcp_output(w->stack, w->now_ns, packets, metas, BURST)) != 0) {
        for (unsigned i = 0; i < n; i++) {
            look(w, packets[i], &metas[i]);
            rte_pktmbuf_free(packets[i]);
        }
        all += n;
        assert_true(all < 100000);
    }
    return all;
}

static void pass(struct world *w, uint64_t ns)
{
    uint64_t until = w->now_ns + ns;
    while (w->now_ns < until) {
        w->now_ns = TIDE_MIN(until, TIDE_MAX(w->now_ns + 1, tcp_deadline_ns(w->stack)));
        tcp_on_time(w->stack, w->now_ns);
        drain(w);
    }
}

static void serve(struct world *w)
{
    struct tcp_event e;
    while (tcp_next_event(w->stack, &e)) {
        struct tcp_endpoint at = tcp_peer(e.conn);
        for (unsigned i = 0; i < w->peer_count; i++) {
            struct tide_addr addr = tide_addr_v4(w->peers[i].host);
            if (w->peers[i].port == at.port && memcmp(&addr, &at.addr, sizeof(addr)) == 0)
                w->peers[i].conn = e.bits & TCP_EVENT_GONE ? NULL : e.conn;
        }
    }
}

static struct peer *add_peer(struct world *w)
{
    struct peer *p = &w->peers[w->peer_count];
    *p = (struct peer){.host = 0x0a000100 + w->peer_count, .port = (uint16_t)(40000 + w->peer_count), .seq = 1000000u * w->peer_count};
    w->peer_count++;
    return p;
}

static void syn(struct world *w, const struct peer *p, uint16_t mss)
{
    uint8_t options[8] = {2, 4, 0, 0, 4, 2, 1, 1};
    store_be16(options + 2, mss);
    put(w, p, p->seq, 0, SYN, 65535, options, mss != 0 ? sizeof(options) : 0, NULL, 0);
}

static struct peer *connect_peer(struct world *w, uint16_t mss)
{
    struct peer *p = add_peer(w);
    syn(w, p, mss);
    drain(w);
    assert_int_equal(p->last_flags, SYN | ACK);
    p->seq++;
    put(w, p, p->seq, p->ack, ACK, 65535, NULL, 0, NULL, 0);
    serve(w);
    assert_non_null(p->conn);
    return p;
}

static uint8_t pattern(uint32_t at) { return (uint8_t)(at * 31 + (at >> 8)); }

static void send_bytes(struct world *w, struct peer *p, uint32_t seq, uint32_t len, uint8_t twist)
{
    uint8_t bytes[1460];
    for (uint32_t i = 0; i < len; i++)
        bytes[i] = pattern(seq + i) ^ twist;
    put(w, p, seq, p->ack, ACK | PSH, 65535, NULL, 0, bytes, len);
}

/* Reads all and compares: the bytes from `seq` on. */
static uint32_t read_pattern(struct peer *p, uint32_t seq)
{
    struct tide_rope r = {0};
    struct tide_slice all;
    const uint8_t *piece;
    uint32_t n, at = seq;
    (void)tcp_read(p->conn, &r);
    all = tide_rope_slice(&r, 0, r.len);
    while ((n = tide_slice_next(&all, &piece)) != 0)
        for (uint32_t i = 0; i < n; i++, at++)
            assert_int_equal(piece[i], pattern(at));
    tcp_consumed(p->conn, r.len);
    tide_rope_clear(&r);
    return at - seq;
}

/* A byte there and a byte back: the connection lives. */
static void exchange(struct world *w, struct peer *p)
{
    struct tide_rope r = {0};
    uint64_t got = p->got;
    send_bytes(w, p, p->seq, 1, 0);
    assert_int_equal(read_pattern(p, p->seq), 1);
    p->seq++;
    assert_int_equal(tide_rope_copy_in(&r, pool, "x", 1), TIDE_OK);
    tcp_write(p->conn, &r);
    drain(w);
    assert_int_equal(p->got, got + 1);
    put(w, p, p->seq, p->ack, ACK, 65535, NULL, 0, NULL, 0);
    serve(w);
    assert_non_null(p->conn);
}

static void write_bytes(struct peer *p, uint32_t n)
{
    static uint8_t zeros[65536];
    struct tide_rope r = {0};
    assert_true(n <= sizeof(zeros));
    assert_int_equal(tide_rope_copy_in(&r, pool, zeros, n), TIDE_OK);
    tcp_write(p->conn, &r);
}

/* ---- floods ------------------------------------------------------------------------------------------- */

static void test_a_flood_of_syns(void **state)
{
    struct tcp_config config = usual();
    struct world w;
    struct peer *honest, *late;
    unsigned baseline;
    begin(&w, &config);
    honest = connect_peer(&w, 1460);
    late = add_peer(&w);
    baseline = rte_mempool_avail_count(pool);
    for (unsigned turn = 0; turn < 3000; turn++) {
        struct peer stranger = {.seq = 77};
        uint32_t packets = honest->packets + late->packets;
        w.strangers = 0;
        for (unsigned i = 0; i < BURST; i++) {
            stranger.host = 0x0b000000 + (uint32_t)tide_random_below(&w.random, 1 << 24);
            stranger.port = (uint16_t)(1 + tide_random_below(&w.random, 65535));
            syn(&w, &stranger, 1460);
            if (i == 10 && turn % 1000 == 999) { /* somebody who means it: a full cache answers with a cookie */
                syn(&w, late, 1460);
            }
        }
        drain(&w);
        assert_true(w.strangers + honest->packets + late->packets - packets <= SYNS_PER_TURN);
        exchange(&w, honest);
        tcp_on_time(w.stack, w.now_ns += 1000000);
        drain(&w);
    }
    assert_true(tcp_stats(w.stack)->syns_dropped > 0);
    assert_true(tcp_stats(w.stack)->syn_cookies_sent > 0);
    assert_int_equal(tcp_connection_count(w.stack), 1); /* nothing was made of them */
    assert_int_equal(rte_mempool_avail_count(pool), baseline);
    assert_true(late->packets != 0);
    late->seq++;
    put(&w, late, late->seq, late->ack, ACK, 65535, NULL, 0, NULL, 0);
    serve(&w);
    assert_non_null(late->conn);
    exchange(&w, late);
    end(&w);
}

static void test_third_acks_that_were_never_asked_for(void **state)
{
    struct tcp_config config = usual();
    struct world w;
    begin(&w, &config);
    for (unsigned i = 0; i < 100000; i++) {
        struct peer stranger = {.host = 0x0b000000 + i, .port = 5000};
        put(&w, &stranger, (uint32_t)tide_random_u64(&w.random), (uint32_t)tide_random_u64(&w.random), ACK, 1000, NULL, 0, NULL, 0);
    }
    assert_int_equal(tcp_connection_count(w.stack), 0);
    assert_true(drain(&w) <= 200); /* resets to strangers are bounded */
    end(&w);
}

static void test_storms_of_acks(void **state)
{
    struct tcp_config config = usual();
    struct world w;
    struct peer *p;
    unsigned out = 0;
    begin(&w, &config);
    p = connect_peer(&w, 1460);
    write_bytes(p, 8000);
    drain(&w);
    for (unsigned i = 0; i < 100000; i++) {
        uint32_t ack = i % 3 == 0 ? p->ack + 1 + (uint32_t)tide_random_below(&w.random, 1 << 30) /* of what was never sent */
                       : i % 3 == 1 ? p->ack - 8000 - 100000 - (uint32_t)tide_random_below(&w.random, 1 << 30) /* long ago */
                                    : p->ack - 8000; /* a duplicate */
        put(&w, p, p->seq, ack, ACK, 65535, NULL, 0, NULL, 0);
        if (i % BURST == 0)
            out += drain(&w);
    }
    assert_true(out <= CHALLENGES_MOST + 20); /* some challenges; the six segments, and one repair of them */
    assert_int_equal(tcp_stats(w.stack)->timeouts, 0);
    put(&w, p, p->seq, p->ack, ACK, 65535, NULL, 0, NULL, 0);
    exchange(&w, p);
    end(&w);
}

static void test_storms_of_sacks(void **state)
{
    struct tcp_config config = usual();
    struct world w;
    struct peer *p;
    uint32_t una;
    begin(&w, &config);
    p = connect_peer(&w, 1460);
    una = p->ack;
    write_bytes(p, 60000);
    drain(&w);
    for (unsigned i = 0; i < 20000; i++) {
        uint8_t o[28] = {1, 1, 5, 26};
        for (unsigned k = 0; k < 3; k++) {
            uint32_t start = una + (uint32_t)tide_random_below(&w.random, 70000) - 5000;
            store_be32(o + 4 + 8 * k, start);
            store_be32(o + 8 + 8 * k, start + (uint32_t)tide_random_below(&w.random, 3000) - 500);
        }
        put(&w, p, p->seq, una, ACK, 65535, o, sizeof(o), NULL, 0);
        if (i % BURST == 0) {
            drain(&w);
            tcp_check(w.stack);
        }
    }
    put(&w, p, p->seq, p->ack, ACK, 65535, NULL, 0, NULL, 0);
    drain(&w);
    put(&w, p, p->seq, p->ack, ACK, 65535, NULL, 0, NULL, 0);
    exchange(&w, p);
    end(&w);
}

/* ---- guesses ----------------------------------------------------------------------------------------------- */

/* RFC 5961 3.2, 4.2, 5.2 */
static void test_guessed_sequence_numbers(void **state)
{
    struct tcp_config config = usual();
    struct world w;
    struct peer *p;
    unsigned out = 0;
    begin(&w, &config);
    p = connect_peer(&w, 1460);
    for (unsigned i = 0; i < 30000; i++) {
        uint32_t off = 1 + (uint32_t)tide_random_below(&w.random, i % 2 == 0 ? WINDOW - 1 : UINT32_MAX - 1);
        switch (i % 3) {
        case 0:
            put(&w, p, p->seq + off, p->ack, RST, 0, NULL, 0, NULL, 0);
            break;
        case 1:
            put(&w, p, p->seq + off - (i % 2), 0, SYN, 1000, NULL, 0, NULL, 0);
            break;
        default: /* data with an ACK out of the blue */
            put(&w, p, p->seq, p->ack + 100000 + off / 4, ACK | PSH, 1000, NULL, 0, "evil", 4);
        }
        if (i % BURST == 0)
            out += drain(&w);
    }
    assert_true(out <= CHALLENGES_MOST);
    serve(&w);
    assert_non_null(p->conn);
    exchange(&w, p);
    put(&w, p, p->seq, p->ack, RST, 0, NULL, 0, NULL, 0); /* the exact one is believed */
    serve(&w);
    assert_null(p->conn);
    end(&w);
}

/* RFC 5961 7: so many challenges a second and connection, and nobody outside knows how many. */
static void test_challenges_are_few_and_of_another_number_for_each(void **state)
{
    struct tcp_config config = usual();
    struct world w;
    uint32_t least = UINT32_MAX, most = 0;
    begin(&w, &config);
    for (unsigned i = 0; i < 32; i++) {
        struct peer *p = connect_peer(&w, 1460);
        uint32_t before = p->packets, answered;
        for (unsigned k = 0; k < 70000; k++) { /* more than 16 bits can count */
            put(&w, p, p->seq + 1, 0, RST, 0, NULL, 0, NULL, 0);
            if (k < 100 || k % 1000 == 0)
                drain(&w);
        }
        drain(&w);
        answered = p->packets - before;
        least = TIDE_MIN(least, answered);
        most = TIDE_MAX(most, answered);
        exchange(&w, p);
    }
    assert_true(least >= 5);
    assert_true(most <= CHALLENGES_MOST);
    assert_true(least < most);
    end(&w);
}

/* The number our side begins with: of the SYN-ACK to `p`. */
static uint32_t begins_with(struct world *w, struct peer *p)
{
    uint8_t options[4] = {2, 4, 5, 180};
    put(w, p, p->seq, 0, SYN, 65535, options, sizeof(options), NULL, 0);
    drain(w);
    assert_int_equal(p->last_flags, SYN | ACK);
    put(w, p, p->seq + 1, 0, RST, 0, NULL, 0, NULL, 0);
    return p->last_seq;
}

/* RFC 6528 3: a clock of 4 us, and for each pair of addresses and ports and each start another place on it. */
static void test_sequence_numbers_follow_a_clock_and_a_secret(void **state)
{
    struct tcp_config config = usual();
    uint32_t first[CONNECTIONS], before = 0;
    struct world w;
    for (unsigned start = 0; start < 2; start++) {
        config.secret[0] = (uint8_t)(9 + start);
        begin(&w, &config);
        for (unsigned i = 0; i < CONNECTIONS / 2; i++) {
            struct peer *p = add_peer(&w);
            p->host = 0x0a000100 + i / 2; /* neighbours by port, and by address */
            p->port = (uint16_t)(40000 + i % 2);
            first[i] = begins_with(&w, p);
            for (unsigned k = 0; k < i; k++)
                assert_true(first[i] - first[k] > 1000 && first[k] - first[i] > 1000);
            if (i == 0 && start == 1)
                assert_true(first[0] - before > 1000 && before - first[0] > 1000);
            w.peer_count = i + 1;
        }
        before = first[0];
        w.now_ns += 4 * TIDE_NS_PER_S;
        for (unsigned i = 0; i < CONNECTIONS / 2; i++)
            assert_int_equal(begins_with(&w, &w.peers[i]) - first[i], 1000000);
        end(&w);
    }
}

/* ---- what lies beyond a hole --------------------------------------------------------------------------------- */

static void test_tiny_segments_out_of_order(void **state)
{
    struct tcp_config config = usual();
    struct world w;
    struct peer *p;
    unsigned baseline, used;
    uint32_t first, got;
    begin(&w, &config);
    p = connect_peer(&w, 1460);
    first = p->seq;
    baseline = rte_mempool_avail_count(pool);
    for (uint32_t i = 0; i < 40000; i++) { /* every second byte, then the ones between, from behind */
        send_bytes(&w, p, first + 1 + 2 * (i % 20000), 1, 0);
        if (i % BURST == 0)
            drain(&w);
    }
    used = baseline - rte_mempool_avail_count(pool);
    assert_true(used <= TCP_RUNS_MAX + 8);
    for (uint32_t i = 20000; i-- != 1;)
        send_bytes(&w, p, first + i, 1, 0);
    drain(&w);
    used = baseline - rte_mempool_avail_count(pool);
    assert_true(used <= TCP_RUNS_MAX + 32);
    send_bytes(&w, p, first, 1, 0);
    serve(&w);
    got = read_pattern(p, first);
    assert_true(got >= TCP_RUNS_MAX);
    p->seq = first + got;
    drain(&w);
    put(&w, p, p->seq, p->ack, ACK, 65535, NULL, 0, NULL, 0);
    exchange(&w, p);
    end(&w);
}

/* Segments too large to be copied together, all behind one hole: the mbufs of a connection are counted. */
static void test_a_large_window_behind_a_hole(void **state)
{
    enum { PIECE = 300, PIECES = 2 * TCP_HELD_MAX };
    static const uint8_t scaled[12] = {2, 4, 5, 180, 1, 1, 4, 2, 1, 3, 3, 4};
    struct tcp_config config = usual();
    struct world w;
    struct peer *p;
    unsigned used;
    config.receive_window_bytes = 1 << 20;
    for (unsigned apart = 0; apart < 2; apart++) { /* one run, or pieces that begin one */
        begin(&w, &config);
        p = add_peer(&w);
        put(&w, p, p->seq, 0, SYN, 65535, scaled, sizeof(scaled), NULL, 0);
        drain(&w);
        p->seq++;
        put(&w, p, p->seq, p->ack, ACK, 65535, NULL, 0, NULL, 0);
        serve(&w);
        drain(&w);
        read_pattern(p, p->seq);
        send_bytes(&w, p, p->seq, 1, 0); /* the first window in which the scale counts */
        read_pattern(p, p->seq);
        p->seq++;
        drain(&w);
        for (uint32_t i = 0; i < PIECES; i++) {
            if (apart && i % (TCP_HELD_MAX + 8) == TCP_HELD_MAX + 7)
                continue;
            send_bytes(&w, p, p->seq + 1 + i * PIECE, PIECE, 0);
            if (i % BURST == 0)
                drain(&w);
        }
        used = w.before - rte_mempool_avail_count(pool);
        assert_true(used >= TCP_HELD_MAX && used <= TCP_HELD_MAX + 8);
        drain(&w);
        end(&w);
    }
}

static void test_a_window_of_single_bytes_that_nobody_reads(void **state)
{
    struct tcp_config config = usual();
    struct world w;
    struct peer *p;
    unsigned baseline;
    uint32_t first;
    begin(&w, &config);
    p = connect_peer(&w, 1460);
    first = p->seq;
    baseline = rte_mempool_avail_count(pool);
    for (uint32_t i = 0; i < 65535; i++) {
        send_bytes(&w, p, first + i, 1, 0);
        if (i % BURST == 0)
            drain(&w);
    }
    assert_true(baseline - rte_mempool_avail_count(pool) < 64);
    serve(&w);
    assert_int_equal(read_pattern(p, first), 65535);
    end(&w);
}

/* The bytes that came first stay, in every way that two segments can lie on one another. */
static void test_overlaps_with_other_bytes(void **state)
{
    struct tcp_config config = usual();
    struct world w;
    struct peer *p;
    begin(&w, &config);
    p = connect_peer(&w, 1460);
    for (unsigned round = 0; round < 300; round++) {
        uint32_t first = p->seq, got;
        bool covered[400] = {false};
        for (unsigned k = 0; k < 6; k++) { /* beyond a hole of one byte */
            uint32_t at = 1 + (uint32_t)tide_random_below(&w.random, 300), len = 1 + (uint32_t)tide_random_below(&w.random, 90);
            bool fresh = true;
            for (uint32_t i = 0; i < len; i++)
                fresh &= !covered[at + i];
            if (fresh) {
                send_bytes(&w, p, first + at, len, 0);
                for (uint32_t i = 0; i < len; i++)
                    covered[at + i] = true;
            } else { /* some of it is there: what lies on that must not count, what is new is sent right before */
                for (uint32_t i = 0; i < len; i++)
                    if (!covered[at + i])
                        send_bytes(&w, p, first + at + i, 1, 0);
                for (uint32_t i = 0; i < len; i++)
                    covered[at + i] = true;
                send_bytes(&w, p, first + at, len, 0xff);
            }
        }
        for (uint32_t i = 0; i < 400; i++) {
            if (covered[i])
                send_bytes(&w, p, first + i, 1, 0xff);
        }
        drain(&w);
        for (uint32_t i = 0; i < 400; i++)
            if (!covered[i])
                send_bytes(&w, p, first + i, 1, 0);
        send_bytes(&w, p, first, 400, 0xff); /* all of it is old */
        serve(&w);
        got = read_pattern(p, first);
        assert_int_equal(got, 400);
        p->seq = first + got;
        drain(&w);
    }
    exchange(&w, p);
    end(&w);
}

/* ---- unkind receivers --------------------------------------------------------------------------------------------- */

static void test_a_tiny_mss(void **state)
{
    static const uint16_t offered[] = {1, 7, 48, 100, 536};
    struct tcp_config config = usual();
    struct world w;
    begin(&w, &config);
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(offered); i++) {
        struct peer *p = connect_peer(&w, offered[i]);
        uint64_t want = 5000;
        write_bytes(p, (uint32_t)want);
        for (unsigned k = 0; k < 1000 && p->got < want; k++) {
            drain(&w);
            put(&w, p, p->seq, p->ack, ACK, 65535, NULL, 0, NULL, 0);
        }
        assert_int_equal(p->got, want);
        assert_true(p->largest <= TIDE_MAX(offered[i], (uint16_t)TCP_MSS_MIN));
    }
    end(&w);
}

/* RFC 9293 3.8.6, SHLD-15 to SHLD-17: the window shrinks below what was sent; nothing new goes out, and the peer
 * gets the rest when it opens again. */
static void test_a_shrinking_window(void **state)
{
    struct tcp_config config = usual();
    struct world w;
    struct peer *p;
    uint32_t una;
    begin(&w, &config);
    p = connect_peer(&w, 1460);
    una = p->ack;
    write_bytes(p, 40000);
    drain(&w);
    assert_true(p->got > 4000);
    put(&w, p, p->seq, una, ACK, 100, NULL, 0, NULL, 0);
    put(&w, p, p->seq, una + 1460, ACK, 0, NULL, 0, NULL, 0);
    p->ack = una + 1460; /* it threw the rest away */
    for (unsigned i = 0; i < 600; i++) { /* ten minutes, and it keeps saying so */
        pass(&w, TIDE_NS_PER_S);
        p->ack = una + 1460;
        put(&w, p, p->seq, p->ack, ACK, 0, NULL, 0, NULL, 0);
    }
    serve(&w);
    assert_non_null(p->conn);
    for (unsigned i = 0; i < 200 && p->ack != una + 40000; i++) {
        put(&w, p, p->seq, p->ack, ACK, 65535, NULL, 0, NULL, 0);
        pass(&w, TIDE_NS_PER_S);
    }
    assert_int_equal(p->ack, una + 40000);
    end(&w);
}

static void test_a_reader_that_never_acknowledges(void **state)
{
    struct tcp_config config = usual();
    struct world w;
    struct peer *p;
    config.user_timeout_ms = 120000;
    begin(&w, &config);
    p = connect_peer(&w, 1460);
    write_bytes(p, 60000);
    drain(&w);
    pass(&w, 110 * TIDE_NS_PER_S);
    serve(&w);
    assert_non_null(p->conn);
    assert_true(p->packets < 45); /* the first window, and a repetition at ever longer intervals */
    pass(&w, 70 * TIDE_NS_PER_S);
    serve(&w);
    assert_null(p->conn);
    assert_int_equal(tcp_connection_count(w.stack), 0);
    assert_int_equal(rte_mempool_avail_count(pool), w.before);
    end(&w);
}

static void test_ten_thousand_that_only_sit_there(void **state)
{
    enum { MANY = 10000 };
    struct tcp_config config = usual();
    struct world w;
    struct peer *honest;
    config.connections_max = MANY + 100;
    config.syn_backlog = 1024;
    config.keepalive_ms = 7200000;
    begin(&w, &config);
    honest = connect_peer(&w, 1460);
    for (unsigned i = 0; i < MANY; i++) {
        struct peer p = {.host = 0x0b000000 + i, .port = 7000, .seq = 5};
        unsigned at = w.peer_count;
        w.peers[at] = p;
        w.peer_count++;
        syn(&w, &w.peers[at], 1460);
        drain(&w);
        p = w.peers[at];
        put(&w, &p, p.seq + 1, p.ack, ACK, 65535, NULL, 0, NULL, 0);
        w.peer_count--;
    }
    serve(&w);
    assert_int_equal(tcp_connection_count(w.stack), MANY + 1);
    assert_int_equal(rte_mempool_avail_count(pool), w.before);
    w.strangers = 0;
    pass(&w, 3600 * TIDE_NS_PER_S);
    assert_int_equal(w.strangers, 0); /* nothing is sent for nothing */
    exchange(&w, honest);
    pass(&w, 3600 * 24 * TIDE_NS_PER_S); /* keepalive finds that they are dead */
    serve(&w);
    assert_int_equal(tcp_connection_count(w.stack), 0);
    end(&w);
}

/* ---- headers --------------------------------------------------------------------------------------------------------- */

static void test_garbage_in_every_field(void **state)
{
    struct tcp_config config = usual();
    struct world w;
    begin(&w, &config);
    for (unsigned i = 0; i < CONNECTIONS / 2; i++)
        (void)connect_peer(&w, (uint16_t)(i % 3 == 0 ? 0 : 1460));
    for (unsigned i = 0; i < 60000; i++) {
        struct peer *p = &w.peers[tide_random_below(&w.random, w.peer_count)];
        uint8_t options[40], payload[64] = {0};
        unsigned option_len = (unsigned)tide_random_below(&w.random, 11) * 4;
        uint32_t seq = p->seq, ack = p->ack;
        uint8_t flags = tide_random_hits(&w.random, 2) ? ACK : (uint8_t)tide_random_u64(&w.random);
        for (unsigned k = 0; k < option_len; k++)
            options[k] = tide_random_hits(&w.random, 3) ? (uint8_t)tide_random_below(&w.random, 12) : (uint8_t)tide_random_u64(&w.random);
        if (tide_random_hits(&w.random, 3))
            seq += (uint32_t)tide_random_below(&w.random, 10000) - 5000;
        if (tide_random_hits(&w.random, 50))
            seq = (uint32_t)tide_random_u64(&w.random);
        if (tide_random_hits(&w.random, 3))
            ack += (uint32_t)tide_random_below(&w.random, 10000) - 5000;
        put(&w, p, seq, ack, flags, (uint16_t)tide_random_u64(&w.random), options, option_len, payload,
            (unsigned)tide_random_below(&w.random, sizeof(payload)));
        if (i % 16 == 0) {
            serve(&w);
            drain(&w);
        }
        if (i % 1000 == 0) {
            pass(&w, tide_random_below(&w.random, TIDE_NS_PER_S));
            tcp_check(w.stack);
            if (p->conn != NULL)
                write_bytes(p, 100);
            for (unsigned k = 0; k < w.peer_count; k++)
                if (w.peers[k].conn != NULL)
                    tcp_abort(w.peers[k].conn), w.peers[k].conn = NULL;
        }
    }
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_flood_of_syns),
        cmocka_unit_test(test_third_acks_that_were_never_asked_for),
        cmocka_unit_test(test_storms_of_acks),
        cmocka_unit_test(test_storms_of_sacks),
        cmocka_unit_test(test_guessed_sequence_numbers),
        cmocka_unit_test(test_challenges_are_few_and_of_another_number_for_each),
        cmocka_unit_test(test_sequence_numbers_follow_a_clock_and_a_secret),
        cmocka_unit_test(test_tiny_segments_out_of_order),
        cmocka_unit_test(test_a_large_window_behind_a_hole),
        cmocka_unit_test(test_a_window_of_single_bytes_that_nobody_reads),
        cmocka_unit_test(test_overlaps_with_other_bytes),
        cmocka_unit_test(test_a_tiny_mss),
        cmocka_unit_test(test_a_shrinking_window),
        cmocka_unit_test(test_a_reader_that_never_acknowledges),
        cmocka_unit_test(test_ten_thousand_that_only_sit_there),
        cmocka_unit_test(test_garbage_in_every_field),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
