/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network layer of one core on one port: Ethernet, VLAN, ARP, IPv4, ICMP, IPv6, ICMPv6, neighbour discovery. Frames
 * in, TCP packets out, and the other way round. No I/O: frames to be sent wait in an outbox.
 *
 * Owner: one core. Checksums of received frames have been verified below (nic_rx, soft_rx_check),
 * except those of ICMP and ICMPv6, which are verified here.
 *
 * IPv6 is there when addr6 is set: that address and a link-local one made of the mac (RFC 4291 appendix A), which
 * answers echo and neighbour discovery and is the source of solicitations for link-local targets. TCP is taken for
 * addr6 only. Addresses and the router are static: router advertisements and redirects are ignored, and there is no
 * autoconfiguration. Our address is used at once; a probe (RFC 4862 5.4) and every later claim of another station only
 * count (nd_conflicts), and the address is defended, as in IPv4.
 *
 * Timers: repetition of requests and refreshing of entries (neighbour.h); the announcement of our
 * addresses at start, NET_ANNOUNCE_COUNT times NET_ANNOUNCE_NS apart (RFC 5227 2.3, RFC 4861 7.2.6), in IPv6 after the
 * probe and a wait of NET_PROBE_NS; defence of our address at most every NET_DEFEND_NS (RFC 5227 2.4), in each family;
 * a report of our groups to who asks (RFC 3810) at most every NET_REPORT_NS.
 *
 * Invariants (net_check):
 *   N1  tx_count <= NET_TX_MAX, and every frame in the outbox is whole: its segments add up.
 *   N2  learned_count and icmp_error_count fit their outboxes.
 *   N3  the neighbour cache holds (neighbour_check).
 *   N4  a way that holds is where it is looked for, its neighbour is a known one, and its headers end with that
 *       neighbour's mac and ours in front.
 */
#ifndef TIDEMARK_NET_NET_H
#define TIDEMARK_NET_NET_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include <rte_ether.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

#include "net/neighbour.h"
#include "tidemark/counters.h"
#include "tidemark/status.h"
#include "tidemark/types.h"

enum net_limit {
    NET_TX_MAX = 1024, /* frames that may wait for the port */
    NET_LEARNED_MAX = 32,
    NET_ICMP_ERRORS_MAX = 16,
    NET_HEADROOM = 64, /* what net_output asks of a packet, and may overwrite; headers take 58 at most */
    NET_MTU_MIN = 576, /* RFC 791: what every host must take */
    NET_ANNOUNCE_COUNT = 2,
    NET_GROUPS_MAX = 3,
    NET_WAYS = 256, /* remembered */
};
#define NET_ANNOUNCE_NS (2 * TIDE_NS_PER_S)
#define NET_DEFEND_NS   (10 * TIDE_NS_PER_S)
#define NET_PROBE_NS    (1 * TIDE_NS_PER_S)
#define NET_REPORT_NS   (1 * TIDE_NS_PER_S)

struct net_config {
    struct rte_ether_addr mac;
    struct tide_addr addr;
    uint8_t prefix_len;       /* 0..32 */
    struct tide_addr gateway; /* all zero: none */
    struct tide_addr addr6;    /* all zero: no IPv6; else a global or unique local address, no link-local one */
    uint8_t prefix6_len;       /* 0..128 */
    struct tide_addr gateway6; /* all zero: none; may be link-local */
    uint16_t vlan;            /* 0: none, and tagged frames are not ours */
    uint16_t mtu;             /* bytes of an IP packet; at least NET_MTU_MIN, with IPv6 TIDE_IPV6_MTU_MIN */
    uint16_t port;            /* index of the nic's port; stamped on every frame sent (m->port) */
    uint8_t ttl;              /* of packets of TCP, in IPv6 the hop limit; 0: IP_TTL */
    uint8_t dscp;             /* of packets of TCP (RFC 2474 3) */
    bool announce;            /* this core announces the address; one per port is enough */
    bool is_kernels;          /* the addresses are the kernel's as well, which alone speaks ARP and neighbour discovery: we
                               * announce nothing, and whom we would ask for is told to net_take_wanted */
    struct rte_mempool *tx_pool;
    struct tide_counters *counters; /* of the core; never NULL */
};

enum net_verdict {
    NET_DROPPED,  /* freed and counted */
    NET_CONSUMED, /* no TCP: answered or learned, and freed */
    NET_TCP,      /* the caller's: starts at the TCP header and ends with the IP payload */
};

struct net_packet {
    struct tide_addr source;
    struct tide_addr destination; /* always ours */
    uint16_t vlan;
    uint8_t ecn;
    uint8_t protocol;
};

/* Something that an ARP packet or an advertisement said. */
struct net_neighbour {
    struct tide_addr addr;
    struct rte_ether_addr mac;
    uint8_t source; /* enum neighbour_source: what it may change */
};

/* An ICMP error about one of our TCP packets, with the type and code of ICMP or, when peer is no IPv4 address, of
 * ICMPv6. Whoever acts on it checks that the sequence number is in flight (RFC 5927 4.1). */
struct net_icmp_error {
    struct tide_addr peer; /* the destination of our packet */
    uint16_t local_port;
    uint16_t peer_port;
    uint32_t sequence;
    uint16_t next_mtu; /* when type 3 code 4, may be 0; in IPv6 when type 2, at least 1280 */
    uint8_t type;
    uint8_t code;
};

/* What a packet to a destination needs and what does not change from one to the next: the route, the neighbour, the
 * headers. It holds while the cache's generation is the same, and all are forgotten when the way out or our port changes.
 * A destination that has one is a foreign host. */
struct net_way {
    uint64_t generation; /* 0: none */
    struct tide_addr source;
    struct tide_addr destination;
    uint64_t ol_flags;
    uint16_t neighbour; /* index of the next hop */
    uint16_t sum;       /* of the pseudo-header without a length */
    uint8_t l2_len;
    uint8_t l3_len;
    uint8_t front[NET_HEADROOM]; /* ends with Ethernet and IP; no length, no ECN in it */
};
static_assert(sizeof(struct net_way) <= 2 * TIDE_CACHE_LINE, "one is read for each packet");

struct net {
    struct net_config config;
    uint32_t addr;    /* config.addr in host order, and so on */
    uint32_t gateway; /* 0: none */
    uint32_t mask;
    bool has6;
    bool has_gateway6;
    struct tide_addr link_local; /* ours */
    uint8_t group_count;
    struct rte_ether_addr groups[NET_GROUPS_MAX]; /* of Ethernet: net_groups */

    uint64_t announce_ns; /* TIDE_NEVER when done */
    uint64_t defended_ns; /* 0: never */
    uint8_t announced;
    uint64_t announce6_ns; /* TIDE_NEVER when done */
    uint64_t defended6_ns; /* 0: never */
    uint64_t reported_ns;  /* groups, to a query; 0: never */
    uint8_t announced6;    /* the first one is the probe */

    uint16_t tx_head;
    uint16_t tx_count;
    uint16_t learned_head;
    uint16_t learned_count;
    uint16_t icmp_error_head;
    uint16_t icmp_error_count;
    struct rte_mbuf *tx[NET_TX_MAX];
    struct net_neighbour learned[NET_LEARNED_MAX];
    uint16_t wanted_count;
    struct tide_addr wanted[NET_LEARNED_MAX];
    struct net_icmp_error icmp_errors[NET_ICMP_ERRORS_MAX];
    struct neighbour_cache neighbours;
    struct net_way ways[NET_WAYS]; /* of a destination at one place only; the last one there is remembered */
};

/* TIDE_BAD when an address cannot be a host's on its prefix, the mac is no single station, or
 * vlan or mtu are out of range; `n` is then unusable. About 110 KiB: keep it in pool memory. */
TIDE_MUST_USE enum tide_status net_init(struct net *n, const struct net_config *config,
                                        uint64_t now_ns);
/* Frees every frame it holds. */
void net_deinit(struct net *n);

/* [any] The Ethernet groups whose frames the port must hear for this configuration, at most NET_GROUPS_MAX: all nodes and
 * the solicited-node groups (RFC 4291 2.8). None without IPv6. Returns how many. */
unsigned net_groups(const struct net_config *config, struct rte_ether_addr ret_groups[NET_GROUPS_MAX]);

/* [core] Takes one received frame. *ret is written only with NET_TCP. In a chain the first segment
 * must hold the headers and 60 bytes of TCP or all of it; m->nb_segs may exceed 1 on NET_TCP. */
enum net_verdict net_input(struct net *n, uint64_t now_ns, struct rte_mbuf *m,
                           struct net_packet *ret);

enum { NET_SEGMENTED_MAX = 65535 - 40 }; /* the length field of IP */

/* [core] Sends one TCP packet: `m` starts at the TCP header, may be a chain, and its first segment
 * is written to: it is direct, held by nobody else, with NET_HEADROOM bytes in front and the whole
 * TCP header in it. Prepends IPv4 or, when `destination` is none of IPv4, IPv6, the VLAN tag and Ethernet, and sets the offload fields: the TCP
 * checksum field gets the pseudo-header sum, and m->l4_len is taken from the TCP header.
 * With RTE_MBUF_F_TX_TCP_SEG in ol_flags the port cuts the payload into pieces of m->tso_segsz, and the
 * packet may have NET_SEGMENTED_MAX bytes.
 *   TIDE_OK      taken: in the outbox, waiting for its next hop, or lost because too many do
 *                (neighbour_full counts those; to TCP it is a loss on the wire).
 *   TIDE_FULL    the outbox has no room; m is untouched and the caller's, and so below.
 *   TIDE_ABSENT  there is no way to that address: not on-link, and no gateway.
 *   TIDE_REFUSED the source is not ours, the destination is no single foreign host, the packet
 *                exceeds the mtu, or the headroom is missing. */
TIDE_MUST_USE enum tide_status net_output(struct net *n, uint64_t now_ns, struct rte_mbuf *m,
                                          const struct tide_addr *source,
                                          const struct tide_addr *destination, uint8_t ecn);

/* Largest TCP packet (header and payload) that net_output takes to this address. */
static inline uint16_t net_packet_max(const struct net *n, const struct tide_addr *destination)
{
    return (uint16_t)(n->config.mtu - (tide_addr_is_v4(destination) ? 20 : 40));
}

/* How many packets net_output can still put into the outbox. */
static inline unsigned net_tx_room(const struct net *n)
{
    return NET_TX_MAX - n->tx_count;
}

/* [core] Moves up to `max` frames out of the outbox, oldest first; they are the caller's. */
unsigned net_take_tx(struct net *n, struct rte_mbuf **frames, unsigned max);

/* [core] Another core heard it: the same as hearing it here, but it is not passed on. */
void net_neighbour_learn(struct net *n, uint64_t now_ns, const struct net_neighbour *entry);

/* [core] What ARP and neighbour discovery taught this core, for its siblings. Bounded: when nobody takes
 * them the newest are lost, which costs a sibling a repeated request. */
unsigned net_take_learned(struct net *n, struct net_neighbour *entries, unsigned max);

/* [core] Neighbours that the kernel is to be asked for, when the addresses are its own. Bounded: what is lost is asked for
 * again by the cache's timer. */
unsigned net_take_wanted(struct net *n, struct tide_addr *addrs, unsigned max);
/* [core] The kernel's way out has changed: another prefix, another gateway (0: none), in host order. */
void net_set_way(struct net *n, uint8_t prefix_len, uint32_t gateway);
/* The same of IPv6. A gateway that can be none (on another link) is taken for none. */
void net_set_way6(struct net *n, uint8_t prefix6_len, const struct tide_addr *gateway6);

/* [core] ICMP and ICMPv6 errors about our packets; the newest are lost when nobody takes them. */
unsigned net_take_icmp_errors(struct net *n, struct net_icmp_error *errors, unsigned max);

/* [core] The addresses move to another port of ours. Neighbours stay, since they are on the same network; they are told
 * by announcements if this core announces. The link-local address stays what it was. Frames in the outbox go as they are. */
void net_move(struct net *n, uint64_t now_ns, uint16_t port, const struct rte_ether_addr *mac);

/* [core] Earliest time at which net_on_time has something to do. */
uint64_t net_deadline_ns(const struct net *n);
void net_on_time(struct net *n, uint64_t now_ns);

void net_check(const struct net *n);

#endif
