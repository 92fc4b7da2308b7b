/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a port lacks, done in software: checksums in both directions, and one segment made of many.
 * Pure functions over mbufs, no ethdev call; the simulator and the tests use the same ones.
 */
#ifndef TIDEMARK_NIC_SOFT_H
#define TIDEMARK_NIC_SOFT_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_mbuf.h>
#include <rte_mempool.h>

#include "tidemark/status.h"

enum soft_verdict {
    SOFT_PASS,    /* right, or nothing here that has a sum we know (the layer above decides) */
    SOFT_BAD,     /* an IPv4 header or TCP sum is wrong */
    SOFT_PARTIAL, /* the TCP sum is the bare pseudo-header sum: the sender left it to its card */
};

/* Verifies a received frame (starting at Ethernet, one VLAN tag at most) as far as the port has
 * not: by the port's flags where `port_checks_*`, by arithmetic where not or where the port does
 * not know; in IPv6 behind the extension headers that the network layer skips (ipv6.h). Frames that are too short or
 * inconsistent pass: the parser refuses them. Fragments are not looked into. */
enum soft_verdict soft_rx_check(const struct rte_mbuf *m, bool port_checks_ip,
                                bool port_checks_tcp);

/* Fills in the checksums that the offload flags of `m` ask for (RTE_MBUF_F_TX_IP_CKSUM,
 * RTE_MBUF_F_TX_TCP_CKSUM with l2_len and l3_len), and clears the flags it has served. The first
 * segment holds all headers and may be written to. `m` may be a chain. */
void soft_tx_sums(struct rte_mbuf *m, bool ip, bool tcp);

/* True when `m` is not one direct mbuf. */
static inline bool soft_is_scattered(const struct rte_mbuf *m)
{
    return m->nb_segs != 1 || !RTE_MBUF_DIRECT(m);
}

/* A copy of the frame in one mbuf of `pool`, with its offload fields and port; `m` is freed.
 * TIDE_FULL: the pool is empty, `m` is untouched. TIDE_BAD: the frame does not fit one mbuf of
 * that pool, `m` is untouched. */
TIDE_MUST_USE enum tide_status soft_linearise(struct rte_mbuf *m, struct rte_mempool *pool,
                                              struct rte_mbuf **ret);

#endif
