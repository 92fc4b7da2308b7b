/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One packet into a connection in some state. The first bytes choose the state and what happened on
 * the way there; the rest is the packet as it is, except that its ports may be put right and its
 * numbers count from where the connection stands. Afterwards: invariants, what the stack sends, a
 * timeout, and every mbuf back.
 */
#include <stdlib.h>

#include "../unit/unit.h"
#include "tcp/tcp.h"
#include "tidemark/bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16, LISTEN = 9092, PEER = 40000, OURS = 5000, HEAD = 6 };

/* Stations on the way; a state is reached by going to one of them. */
enum station {
    AT_LISTEN, AT_SYN_CACHE, AT_SYN_SENT, AT_SYN_RECEIVED, AT_ESTABLISHED, AT_IN_FLIGHT, AT_HOLES_THERE, AT_HOLES_HERE,
    AT_RECOVERY, AT_LOSS, AT_TAIL_PROBED, AT_CLOSED_WINDOW, AT_FIN_WAIT_1, AT_FIN_WAIT_2, AT_CLOSING, AT_TIME_WAIT,
    AT_CLOSE_WAIT, AT_LAST_ACK, STATIONS
};

struct fuzz {
    struct rte_mempool *pool;
    struct tcp_stack *stack;
    struct tcp_conn *conn;
    uint64_t now_ns;
    uint16_t local_port;
    uint32_t seq, ack; /* of the peer: its next, and what it has of us */
    uint32_t sent;     /* end of what the stack has sent */
    uint32_t ts;
    bool use_ts, use_sack;
};

static void input(struct fuzz *f, const uint8_t *bytes, uint16_t len, uint8_t ecn)
{
    struct tcp_meta meta = {.src = tide_addr_v4(0x0a000002), .dst = tide_addr_v4(0x0a000001), .ecn = ecn & 3};
    tcp_input(f->stack, f->now_ns, unit_exact_mbuf(f->pool, bytes, len), &meta);
}

static void put(struct fuzz *f, uint32_t seq, uint32_t ack, uint8_t flags, uint16_t window, const uint32_t *sack, unsigned len)
{
    uint8_t b[20 + 40 + 1460] = {0};
    unsigned header = 20;
    store_be16(b, PEER);
    store_be16(b + 2, f->local_port);
    store_be32(b + 4, seq);
    store_be32(b + 8, ack);
    b[13] = flags;
    store_be16(b + 14, window);
    if (flags & SYN) {
        static const uint8_t syn[] = {2, 4, 5, 0xb4, 1, 3, 3, 7};
        memcpy(b + header, syn, sizeof(syn));
        header += sizeof(syn);
        if (f->use_sack) {
            static const uint8_t ok[] = {1, 1, 4, 2};
            memcpy(b + header, ok, sizeof(ok));
            header += sizeof(ok);
        }
    }
    if (f->use_ts) {
        static const uint8_t ts[] = {1, 1, 8, 10};
        memcpy(b + header, ts, sizeof(ts));
        store_be32(b + header + 4, (uint32_t)(f->now_ns / 1000000));
        store_be32(b + header + 8, f->ts);
        header += 12;
    }
    if (sack != NULL && f->use_sack) {
        static const uint8_t head[] = {1, 1, 5, 10};
        memcpy(b + header, head, sizeof(head));
        store_be32(b + header + 4, sack[0]);
        store_be32(b + header + 8, sack[1]);
        header += 12;
    }
    b[12] = (uint8_t)(header / 4 << 4);
    input(f, b, (uint16_t)(header + len), 0);
}

static void drain(struct fuzz *f)
{
    struct rte_mbuf *packets[32];
    struct tcp_meta metas[32];
    unsigned n;
    while ((n = tcp_output(f->stack, f->now_ns, packets, metas, 32)) != 0) {
        for (unsigned i = 0; i < n; i++) {
            const uint8_t *h = rte_pktmbuf_mtod(packets[i], const uint8_t *);
            uint32_t header = (h[12] >> 4) * 4u;
            uint32_t end = load_be32(h + 4) + packets[i]->pkt_len - header + !!(h[13] & SYN) + !!(h[13] & FIN);
            if (h[13] & SYN)
                f->sent = f->ack = end;
            else if (!(h[13] & RST) && (int32_t)(end - f->sent) > 0)
                f->sent = end;
            f->local_port = load_be16(h);
            if (header >= 32 && h[20] == 1 && h[21] == 1 && h[22] == 8)
                f->ts = load_be32(h + 24);
            rte_pktmbuf_free(packets[i]);
        }
    }
}

static void serve(struct fuzz *f)
{
    struct tcp_event e;
    while (tcp_next_event(f->stack, &e)) {
        if (e.bits & TCP_EVENT_ACCEPTED)
            f->conn = e.conn;
        if (e.bits & TCP_EVENT_GONE && e.conn == f->conn)
            f->conn = NULL;
    }
}

static void pass(struct fuzz *f, uint64_t ns)
{
    f->now_ns += ns;
    tcp_on_time(f->stack, f->now_ns);
    drain(f);
}

static void write_bytes(struct fuzz *f, unsigned n)
{
    static const uint8_t zeros[8192];
    struct tide_rope r = {0};
    if (f->conn != NULL && tide_rope_copy_in(&r, f->pool, zeros, n) == TIDE_OK)
        tcp_write(f->conn, &r);
    drain(f);
}

static void accept_one(struct fuzz *f, enum station where)
{
    if (where == AT_LISTEN)
        return;
    put(f, f->seq++, 0, SYN, 65535, NULL, 0);
    drain(f);
    if (where == AT_SYN_CACHE)
        return;
    put(f, f->seq, f->ack, ACK, 512, NULL, 0);
    serve(f);
}

static void open_one(struct fuzz *f, enum station where)
{
    struct tcp_endpoint a = {tide_addr_v4(0x0a000001), OURS}, b = {tide_addr_v4(0x0a000002), PEER};
    f->conn = tcp_connect(f->stack, f->now_ns, &a, &b);
    drain(f);
    if (where == AT_SYN_SENT)
        return;
    if (where == AT_SYN_RECEIVED) {
        put(f, f->seq++, 0, SYN, 65535, NULL, 0);
        drain(f);
        return;
    }
    put(f, f->seq++, f->ack, SYN | ACK, 65535, NULL, 0);
    drain(f);
    serve(f);
}

/* Data on the road, and what the peer says of it. */
static void go_on(struct fuzz *f, enum station where)
{
    uint32_t una = f->ack;
    uint32_t sack[2];
    if (where == AT_ESTABLISHED)
        return;
    if (where == AT_HOLES_HERE) {
        put(f, f->seq + 1000, f->ack, ACK, 512, NULL, 500);
        put(f, f->seq + 3000, f->ack, ACK, 512, NULL, 500);
        drain(f);
        return;
    }
    write_bytes(f, 8000);
    if (where == AT_IN_FLIGHT)
        return;
    if (where == AT_CLOSED_WINDOW) {
        put(f, f->seq, f->sent, ACK, 0, NULL, 0);
        f->ack = f->sent;
        write_bytes(f, 3000);
        pass(f, 900000000);
        return;
    }
    if (where == AT_TAIL_PROBED || where == AT_LOSS) {
        pass(f, where == AT_LOSS ? 3000000000ull : 150000000ull);
        return;
    }
    sack[0] = una + 1448;
    for (unsigned i = 1; i < (where == AT_RECOVERY ? 5u : 2u); i++) {
        sack[1] = sack[0] + 1448 * i;
        pass(f, 1000000);
        put(f, f->seq, una, ACK, 512, sack, 0);
        drain(f);
    }
}

static void close_down(struct fuzz *f, enum station where)
{
    bool they_first = where == AT_CLOSE_WAIT || where == AT_LAST_ACK;
    if (f->conn == NULL)
        return;
    if (they_first)
        put(f, f->seq++, f->ack, ACK | FIN, 512, NULL, 0);
    drain(f);
    serve(f);
    if (where == AT_CLOSE_WAIT || f->conn == NULL)
        return;
    tcp_close(f->conn);
    f->conn = NULL;
    drain(f);
    if (where == AT_FIN_WAIT_1 || where == AT_LAST_ACK)
        return;
    if (where != AT_CLOSING) {
        f->ack = f->sent;
        put(f, f->seq, f->ack, ACK, 512, NULL, 0);
    }
    if (where == AT_CLOSING || where == AT_TIME_WAIT)
        put(f, f->seq++, f->ack, ACK | FIN, 512, NULL, 0);
    drain(f);
}

static void go(struct fuzz *f, enum station where, bool active, bool busy)
{
    if (where == AT_SYN_SENT || where == AT_SYN_RECEIVED || (active && where > AT_SYN_RECEIVED))
        open_one(f, where);
    else
        accept_one(f, where);
    if (f->conn == NULL || where <= AT_SYN_RECEIVED)
        return;
    if (where < AT_FIN_WAIT_1) {
        go_on(f, where);
        return;
    }
    if (busy)
        go_on(f, AT_IN_FLIGHT);
    close_down(f, where);
}

static void the_packet(struct fuzz *f, const uint8_t *data, size_t size, uint8_t how)
{
    uint8_t b[1600];
    uint16_t len = (uint16_t)TIDE_MIN(size, sizeof(b));
    memcpy(b, data, len);
    if (len >= 20) {
        if (!(how & 1)) {
            store_be16(b, PEER);
            store_be16(b + 2, f->local_port);
        }
        store_be32(b + 4, load_be32(b + 4) + f->seq);
        store_be32(b + 8, load_be32(b + 8) + (how & 2 ? f->sent : f->ack));
    }
    input(f, b, len, how >> 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct rte_mempool *pool;
    struct tcp_config c = {.connections_max = 2, .syn_backlog = 8, .receive_window_bytes = 30000, .send_buffer_bytes = 20000, .mss = 1460,
                           .rto_min_us = 5000, .time_wait_ms = 1000, .keepalive_ms = 60000, .records = 16, .ecn = TCP_ECN_ON, .secret = {7}};
    struct fuzz f = {.now_ns = 1000000000, .local_port = LISTEN};
    unsigned before;
    if (size < HEAD)
        return 0;
    unit_eal();
    if (pool == NULL)
        pool = unit_pool("fuzz_packet", 511, 1800);
    before = rte_mempool_avail_count(pool);
    f.pool = c.tx_pool = pool;
    f.stack = tcp_stack_create(&c);
    if (f.stack == NULL || tcp_listen(f.stack, LISTEN) != TIDE_OK)
        abort();
    f.seq = load_be16(data + 2) * 0x10001u;
    f.use_ts = data[1] & 1;
    f.use_sack = data[1] & 2;
    go(&f, data[0] % STATIONS, data[1] & 4, data[1] & 8);
    pass(&f, load_be16(data + 4) * 100000ull);
    tcp_check(f.stack);
    the_packet(&f, data + HEAD, size - HEAD, data[1] >> 4);
    tcp_check(f.stack);
    drain(&f);
    serve(&f);
    tcp_check(f.stack);
    pass(&f, 300000000);
    pass(&f, 3000000000ull);
    tcp_check(f.stack);
    tcp_stack_destroy(f.stack);
    if (rte_mempool_avail_count(pool) != before)
        abort();
    return 0;
}
