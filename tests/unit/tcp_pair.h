/* SPDX-License-Identifier: Apache-2.0 */
/* Two TCP stacks and the wire between them, in virtual time: for tests of what lies beside TCP. Each test has its own. */
#ifndef TIDEMARK_TEST_TCP_PAIR_H
#define TIDEMARK_TEST_TCP_PAIR_H

#include "unit.h"

#include "tcp/tcp.h"

enum { LISTEN = 9092, BURST = 64 };

static struct rte_mempool *pool; /* the test makes it */
static uint64_t now_ns;

static struct tcp_endpoint end_of(uint32_t host, uint16_t port)
{
    return (struct tcp_endpoint){.addr = tide_addr_v4(host), .port = port};
}

static struct tcp_stack *stack(uint8_t secret, uint32_t connections)
{
    struct tcp_config config = {.connections_max = connections, .syn_backlog = 16, .receive_window_bytes = 65536, .send_buffer_bytes = 65536,
                                .mss = 1460, .rto_min_us = 5000, .time_wait_ms = 1000, .secret = {secret}, .tx_pool = pool};
    struct tcp_stack *s = tcp_stack_create(&config);
    assert_non_null(s);
    assert_int_equal(tcp_listen(s, LISTEN), TIDE_OK);
    return s;
}

/* What one wants to send reaches the other, when there is one. Returns how many packets. */
static unsigned carry(struct tcp_stack *from, struct tcp_stack *to)
{
    struct rte_mbuf *packets[BURST];
    struct tcp_meta metas[BURST];
    unsigned n, all = 0;
    while ((n = tcp_output(from, now_ns, packets, metas, BURST)) != 0) {
        for (unsigned i = 0; i < n; i++) {
            if (to != NULL)
                tcp_input(to, now_ns, packets[i], &metas[i]);
            else
                rte_pktmbuf_free(packets[i]);
        }
        all += n;
    }
    return all;
}

static void exchange(struct tcp_stack *a, struct tcp_stack *b)
{
    while (carry(a, b) + carry(b, a) != 0)
        now_ns += 1000;
}

#endif
