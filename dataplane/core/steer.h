/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which core a flow belongs to, and the way there.
 *
 * A flow's owner follows from the hash that cards compute (rss.h) and the number of cores. A port that spreads by it
 * (nic.h) brings every frame to its owner; one that does not, or that has fewer queues than there are cores, brings it
 * anywhere, and a queue may change in the middle of a connection (floors 1.3). So every frame is looked at, whatever
 * queue it came in on, and one of another core's flow is passed on through a ring and counted (rx_handed). An ICMP error goes to the owner of
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

/* One end of a flow of our own, with the core that it is to land on and how many there are; 0 cores: not known. */
struct steer_end {
    struct tide_addr addr;
    uint16_t port; /* of the other end; ours is what is looked for */
    uint32_t core;
    uint32_t core_count;
};
struct steer_ports {
    uint16_t first, last; /* of ours that may be taken */
};

/* A source port whose flow lands on the wanted core at both ends. Both have the same hash, so there is none when no bucket
 * belongs to both cores: core i of n and k of m have one in common when i and k are alike modulo the greatest
 * common divisor of n and m, as the home cores of one partition are (tide_home_core), and the least common multiple is at most
 * TIDE_RSS_BUCKETS. Then one that lands on the core here. 0: not even that. */
uint16_t steer_source_port(const struct steer_ports *, uint32_t random, const struct steer_end *here, const struct steer_end *there);

#endif
