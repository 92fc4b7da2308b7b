/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segments of a hostile peer, in virtual time, into a stack with a listener and an active opener.
 * The input is a row of operations: raw bytes as a segment, a segment made from what the stack
 * sent last (so that it gets beyond the handshake), time passing, and the application's calls.
 * Invariants after each; every mbuf is back at the end.
 */
#include <stdlib.h>

#include "../unit/unit.h"
#include "tcp/tcp.h"
#include "tidemark/bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OPERATIONS_MAX = 400, PEERS = 4, OUT_MAX = 16 };

struct peer {
    uint16_t port, local_port;
    uint32_t seq, ack; /* what a well-behaved peer would send next */
    uint32_t ts;       /* of the stack, last seen */
    bool known;
};

struct fuzz {
    const uint8_t *p;
    size_t left;
    struct rte_mempool *pool;
    struct tcp_stack *stack;
    struct tcp_conn *conns[8];
    struct peer peers[PEERS];
    uint64_t now_ns;
};

static uint8_t byte(struct fuzz *f)
{
    if (f->left == 0)
        return 0;
    f->left--;
    return *f->p++;
}

static uint16_t word(struct fuzz *f)
{
    uint16_t hi = byte(f);
    return (uint16_t)(hi << 8 | byte(f));
}

static void input(struct fuzz *f, const uint8_t *bytes, uint16_t len, uint8_t ecn)
{
    struct tcp_meta meta = {.src = tide_addr_v4(0x0a000002), .dst = tide_addr_v4(0x0a000001), .ecn = ecn & 3};
    tcp_input(f->stack, f->now_ns, unit_exact_mbuf(f->pool, bytes, len), &meta);
}

/* What the stack sends tells the peer where it stands. */
static void look(struct fuzz *f, struct rte_mbuf *m)
{
    const uint8_t *h = rte_pktmbuf_mtod(m, const uint8_t *);
    for (unsigned i = 0; i < PEERS; i++) {
        struct peer *p = &f->peers[i];
        if (p->port != load_be16(h + 2))
            continue;
        uint32_t header = (h[12] >> 4) * 4u;
        uint32_t len = m->pkt_len - header + !!(h[13] & 2) + !!(h[13] & 1);
        p->ack = load_be32(h + 4) + len;
        if (h[13] & 16)
            p->seq = load_be32(h + 8);
        if (header >= 32 && h[20] == 1 && h[21] == 1 && h[22] == 8)
            p->ts = load_be32(h + 24);
        p->local_port = load_be16(h);
        p->known = true;
    }
}

static void output(struct fuzz *f)
{
    struct rte_mbuf *packets[OUT_MAX];
    struct tcp_meta metas[OUT_MAX];
    unsigned n = tcp_output(f->stack, f->now_ns, packets, metas, OUT_MAX);
    for (unsigned i = 0; i < n; i++) {
        look(f, packets[i]);
        rte_pktmbuf_free(packets[i]);
    }
}

static void raw(struct fuzz *f)
{
    uint16_t len = byte(f);
    uint8_t bytes[256];
    for (uint16_t i = 0; i < len; i++)
        bytes[i] = byte(f);
    input(f, bytes, len, 0);
}

static void made(struct fuzz *f)
{
    uint8_t which = byte(f), flags = byte(f), shape = byte(f);
    struct peer *p = &f->peers[which % PEERS];
    uint8_t bytes[128 + 1460];
    uint16_t header = 20;
    uint16_t len = 0;
    uint32_t seq = p->seq, ack = p->ack;
    memset(bytes, 0, sizeof(bytes));
    if (shape & 1)
        seq += (uint32_t)(int32_t)(int16_t)word(f);
    if (shape & 2)
        ack += (uint32_t)(int32_t)(int16_t)word(f);
    if (shape & 4)
        len = word(f) % 1461;
    if (shape & 8)
        for (unsigned options = byte(f) % 41 & ~3u; header < 20 + options;)
            bytes[header++] = byte(f);
    if (shape & 128) { /* the timestamps of an honest peer */
        static const uint8_t ts[4] = {1, 1, 8, 10};
        memcpy(bytes + 20, ts, sizeof(ts));
        store_be32(bytes + 24, (uint32_t)(f->now_ns / 1000000));
        store_be32(bytes + 28, p->ts - (shape & 1 ? byte(f) : 0));
        header = 32;
    }
    if (shape & 64) { /* blocks around what was sent */
        unsigned n = 1 + byte(f) % 3;
        uint8_t *o = bytes + header;
        o[0] = o[1] = 1;
        o[2] = 5;
        o[3] = (uint8_t)(2 + 8 * n);
        for (unsigned i = 0; i < n; i++) {
            uint32_t start = p->ack - word(f) % 20000;
            store_be32(o + 4 + 8 * i, start);
            store_be32(o + 8 + 8 * i, start + word(f) % 6000);
        }
        header = (uint16_t)(header + 4 + 8 * n);
    }
    if (shape & 16) { /* the options of a usual SYN */
        static const uint8_t usual[20] = {2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7};
        memcpy(bytes + 20, usual, sizeof(usual));
        header = 40;
    }
    store_be16(bytes, p->port);
    store_be16(bytes + 2, p->known ? p->local_port : 9092);
    store_be32(bytes + 4, seq);
    store_be32(bytes + 8, ack);
    bytes[12] = (uint8_t)(header / 4 << 4);
    bytes[13] = flags;
    store_be16(bytes + 14, shape & 32 ? word(f) : 65535);
    input(f, bytes, (uint16_t)(header + len), which >> 2);
}

static void application(struct fuzz *f)
{
    struct tcp_event e;
    uint8_t what = byte(f);
    while (tcp_next_event(f->stack, &e)) {
        for (unsigned i = 0; i < TIDE_ARRAY_LEN(f->conns); i++) {
            if (e.bits & TCP_EVENT_ACCEPTED && f->conns[i] == NULL) {
                f->conns[i] = e.conn;
                break;
            }
        }
        for (unsigned i = 0; i < TIDE_ARRAY_LEN(f->conns); i++)
            if (e.bits & TCP_EVENT_GONE && f->conns[i] == e.conn)
                f->conns[i] = NULL;
    }
    struct tcp_conn **c = &f->conns[what % TIDE_ARRAY_LEN(f->conns)];
    struct tide_rope r = {0};
    uint8_t bytes[600] = {1};
    if (*c == NULL)
        return;
    switch (what >> 4) {
    case 0:
    case 1:
        if (tide_rope_copy_in(&r, f->pool, bytes, 1 + word(f) % sizeof(bytes)) == TIDE_OK)
            tcp_write(*c, &r);
        break;
    case 2:
    case 3:
        tcp_consumed(*c, tcp_read(*c, &r));
        tide_rope_clear(&r);
        break;
    case 4:
        tcp_close(*c);
        *c = NULL;
        break;
    case 5:
        tcp_abort(*c);
        *c = NULL;
        break;
    default:
        tcp_ack_now(*c);
    }
}

static void operate(struct fuzz *f)
{
    uint8_t op = byte(f);
    switch (op & 7) {
    case 0:
        raw(f);
        break;
    case 1:
        f->now_ns += (uint64_t)word(f) * (op & 8 ? 1000 : 10000000);
        break;
    case 2:
        application(f);
        break;
    case 3: {
        struct tcp_endpoint a = {tide_addr_v4(0x0a000001), (uint16_t)(5000 + (op >> 3))};
        struct tcp_endpoint b = {tide_addr_v4(0x0a000002), f->peers[op >> 6].port};
        for (unsigned i = 0; i < TIDE_ARRAY_LEN(f->conns); i++)
            if (f->conns[i] == NULL) {
                f->conns[i] = tcp_connect(f->stack, f->now_ns, &a, &b);
                break;
            }
        break;
    }
    case 4: {
        const struct peer *p = &f->peers[op >> 6];
        struct tcp_endpoint local = {tide_addr_v4(0x0a000001), p->local_port};
        struct tcp_endpoint remote = {tide_addr_v4(0x0a000002), p->port};
        uint32_t mtu = word(f);
        tcp_on_icmp(f->stack, f->now_ns, &local, &remote, p->ack - (mtu & 0xfff), op & 8 ? TCP_ICMP_UNREACHABLE : TCP_ICMP_TOO_BIG, mtu);
        break;
    }
    default:
        made(f);
    }
    tcp_on_time(f->stack, f->now_ns);
    output(f);
    tcp_check(f->stack);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct rte_mempool *pool;
    struct tcp_config c = {.connections_max = 8, .syn_backlog = 8, .receive_window_bytes = 30000, .send_buffer_bytes = 20000, .mss = 1460,
                           .rto_min_us = 5000, .time_wait_ms = 1000, .keepalive_ms = 60000, .secret = {7}};
    struct fuzz f = {.p = data, .left = size, .now_ns = 1000000000};
    unsigned before;
    uint8_t kind = byte(&f);
    c.congestion = kind & 1 ? TCP_RENO : TCP_CUBIC;
    c.ecn = kind >> 1 & 3 ? TCP_ECN_ON : TCP_ECN_PASSIVE;
    c.segmented_max = (kind >> 1 & 3) == 3 ? 60000 : 0;
    c.records = kind & 8 ? 4 : 512;
    c.mss = kind & 16 ? 536 : 1460;
    c.syn_backlog = kind & 32 ? 1 : 8;
    c.receive_window_bytes = kind & 64 ? 300000 : 30000;
    c.user_timeout_ms = kind & 128 ? 5000 : 0;
    unit_eal();
    if (pool == NULL)
        pool = unit_pool("fuzz_tcp", 2047, 1800);
    before = rte_mempool_avail_count(pool);
    f.pool = c.tx_pool = pool;
    f.stack = tcp_stack_create(&c);
    if (f.stack == NULL || tcp_listen(f.stack, 9092) != TIDE_OK)
        abort();
    for (unsigned i = 0; i < PEERS; i++)
        f.peers[i] = (struct peer){.port = (uint16_t)(40000 + i), .seq = i * 0x60000000u};
    for (unsigned i = 0; i < OPERATIONS_MAX && f.left != 0; i++)
        operate(&f);
    tcp_stack_destroy(f.stack);
    if (rte_mempool_avail_count(pool) != before)
        abort();
    return 0;
}
