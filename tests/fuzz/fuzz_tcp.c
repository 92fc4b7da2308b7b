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

static const struct tcp_meta from_peer_template;

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

static void input(struct fuzz *f, const uint8_t *bytes, uint16_t len)
{
    struct tcp_meta meta = from_peer_template;
    meta.src = tide_addr_v4(0x0a000002);
    meta.dst = tide_addr_v4(0x0a000001);
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
    input(f, bytes, len);
}

static void made(struct fuzz *f)
{
    uint8_t which = byte(f), flags = byte(f), shape = byte(f);
    struct peer *p = &f->peers[which % PEERS];
    uint8_t bytes[60 + 1460];
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
    input(f, bytes, (uint16_t)(header + len));
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
