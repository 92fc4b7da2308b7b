/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the network layer share: net.c (frames, outbox, the way out), net4.c (ARP, IPv4, ICMP) and net6.c
 * (IPv6, ICMPv6, neighbour discovery).
 */
#ifndef TIDEMARK_NET_INTERNAL_H
#define TIDEMARK_NET_INTERNAL_H

#include "net/ip.h"
#include "net/net.h"

static inline void net_count(struct net *n, enum tide_counter which)
{
    tide_count(n->config.counters, which);
}

static inline enum net_verdict net_drop(struct net *n, struct rte_mbuf *m, enum tide_counter why)
{
    net_count(n, why);
    rte_pktmbuf_free(m);
    return NET_DROPPED;
}

static inline enum net_verdict net_consume(struct rte_mbuf *m)
{
    rte_pktmbuf_free(m);
    return NET_CONSUMED;
}

/* ---- net.c: frames for both families ---- */

/* An empty frame with its headroom; NULL and counted when the pool has none. */
struct rte_mbuf *net_frame_alloc(struct net *n);
/* Puts the Ethernet header (and tag) in front; the caller has made sure of the headroom. */
void net_prepend_ethernet(struct net *n, struct rte_mbuf *m, const struct rte_ether_addr *to, uint16_t type);
/* Takes the frame; false, counted and freed when the outbox is full. */
bool net_tx_push(struct net *n, struct rte_mbuf *m);
/* Appends the first `len` bytes of a received packet to a frame of ours. NULL: it does not fit. */
uint8_t *net_copy_out(const struct rte_mbuf *m, uint32_t len, struct rte_mbuf *to);
/* Leaves the first `len` bytes of a frame that has at least so many: what lies behind is padding (RFC 894) or not ours
 * to know. */
void net_cut(struct rte_mbuf *m, uint32_t len);
static inline void net_trim(struct rte_mbuf *m, uint32_t len)
{
    if (m->data_len != len || m->next != NULL) /* few are so */
        net_cut(m, len);
}
/* Learns, and sends what waited. Returns whether the cache now knows the address. */
bool net_learn(struct net *n, uint64_t now_ns, const struct tide_addr *addr, const struct rte_ether_addr *mac,
               enum neighbour_source source);
/* The same is remembered for the siblings. */
void net_remember_learned(struct net *n, const struct tide_addr *addr, const struct rte_ether_addr *mac,
                          enum neighbour_source source);
void net_remember_icmp_error(struct net *n, const struct net_icmp_error *e);

static inline struct net_way *net_way_at(struct net *n, const struct tide_addr *destination)
{
    uint32_t low;
    memcpy(&low, destination->bytes + 12, sizeof(low));
    return &n->ways[low * 0x9e3779b1u >> 24];
}
static_assert(NET_WAYS == 1 << 8, "the upper bits of the product");

/* What is remembered of the way to `destination`, and holds; NULL. */
static inline const struct net_way *net_way_find(struct net *n, const struct tide_addr *destination)
{
    const struct net_way *w = net_way_at(n, destination);
    return w->generation == n->neighbours.generation && tide_addr_is_same(&w->destination, destination) ? w : NULL;
}
void net_ways_forget(struct net *n);

/* ---- one set for each family ---- */

/* TIDE_BAD as net_init says. net6_init with no IPv6 address configured is TIDE_OK. */
TIDE_MUST_USE enum tide_status net4_init(struct net *n, uint64_t now_ns);
TIDE_MUST_USE enum tide_status net6_init(struct net *n, uint64_t now_ns);

/* A whole frame. True: it is a packet of TCP to us in one piece, of nothing but the plain headers, from whom we know, as nearly all are. It
 * was looked at as net_input does, and *ret says of it what that says. False: nothing was done, *ret is anything. */
bool net4_plain_input(struct net *n, uint64_t now_ns, struct rte_mbuf *m, struct net_packet *ret);
/* `m` starts behind the Ethernet header. */
enum net_verdict net4_arp_input(struct net *n, uint64_t now_ns, struct rte_mbuf *m);
enum net_verdict net4_input(struct net *n, uint64_t now_ns, struct rte_mbuf *m, const struct eth_view *eth, struct net_packet *ret);
enum net_verdict net6_input(struct net *n, uint64_t now_ns, struct rte_mbuf *m, const struct eth_view *eth, struct net_packet *ret);
/* A group address of Ethernet that one of our IPv6 groups has. */
bool net6_is_group_mac(const struct net *n, const struct rte_ether_addr *mac);

/* An on-link host that is not us, or the gateway. */
bool net4_is_neighbour(const struct net *n, const struct tide_addr *a);
bool net6_is_neighbour(const struct net *n, const struct tide_addr *a);

/* The next hop from us to `destination`. TIDE_REFUSED, TIDE_ABSENT: as net_output. */
TIDE_MUST_USE enum tide_status net4_route(const struct net *n, const struct tide_addr *source, const struct tide_addr *destination,
                                          struct tide_addr *ret_next_hop);
TIDE_MUST_USE enum tide_status net6_route(const struct net *n, const struct tide_addr *source, const struct tide_addr *destination,
                                          struct tide_addr *ret_next_hop);
/* Puts the IP header in front of a TCP packet of `len` bytes and returns the folded sum of its pseudo-header. */
uint16_t net4_prepend_tcp(const struct net *n, struct rte_mbuf *m, const struct tide_addr *source,
                          const struct tide_addr *destination, uint8_t ecn, uint16_t len);
uint16_t net6_prepend_tcp(const struct net *n, struct rte_mbuf *m, const struct tide_addr *source,
                          const struct tide_addr *destination, uint8_t ecn, uint16_t len);

void net4_ask(struct net *n, const struct neighbour_ask *ask);
void net6_ask(struct net *n, const struct neighbour_ask *ask);
void net4_on_time(struct net *n, uint64_t now_ns);
void net6_on_time(struct net *n, uint64_t now_ns);

#endif
