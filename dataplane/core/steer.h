/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which core a flow belongs to, and the way there.
 *
 * A flow's owner is a hash of its addresses and ports over the number of cores, whatever queue
 * its frames come in on: a queue may change in the middle of a connection (floors 1.3). The core
 * that received a frame of another's flow passes it on through a ring. An ICMP error goes to the owner of
 * the flow that it quotes, who alone can act on it; ARP, echo, neighbour discovery and the rest stay where they arrived.
 *
 * Owner: the rings are one-to-one; rings[from][to] has one sender and one receiver.
 */
#ifndef TIDEMARK_CORE_STEER_H
#define TIDEMARK_CORE_STEER_H

#include <stdint.h>

#include <rte_mbuf.h>
#include <rte_ring.h>

#include "tidemark/types.h"

enum { STEER_RING = 2048 };

struct steer {
    uint32_t core_count;
    struct rte_ring *rings[TIDE_CORES_MAX][TIDE_CORES_MAX];
};

struct steer *steer_create(uint32_t core_count); /* [start]; NULL without memory */
void steer_destroy(struct steer *);

/* The owner of the flow that this Ethernet frame belongs to; `here` when it is neither a whole TCP packet of IPv4 or
 * IPv6 (behind the extension headers that ipv6.h walks) nor an ICMP error about one. Reads nothing beyond the frame's first segment. */
uint32_t steer_core(const struct rte_mbuf *frame, uint32_t core_count, uint32_t here);
/* The same for a flow of our own: the hash is symmetric. Ports in host order. */
uint32_t steer_flow(const struct tide_addr *addr_a, uint16_t port_a, const struct tide_addr *addr_b, uint16_t port_b,
                    uint32_t core_count);

#endif
