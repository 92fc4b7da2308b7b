/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IPv6 headers to be sent, its addresses (RFC 4291), ICMPv6 (RFC 4443) and neighbour discovery (RFC 4861): bytes <-> structs.
 *
 * Pure functions over borrowed bytes; nothing is kept. Received headers are read by tide_ipv6_parse (tidemark/ipv6.h).
 * A parser is handed exactly the bytes that are contiguous and never looks past them.
 */
#ifndef TIDEMARK_NET_IP6_H
#define TIDEMARK_NET_IP6_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_ether.h>

#include "tidemark/ipv6.h"
#include "tidemark/status.h"
#include "tidemark/types.h"

enum ip6_limit {
    IP6_HOP_LIMIT = 64,
    IP6_HOP_LIMIT_ND = 255, /* RFC 4861 7.1: who sends less is not on our link */
    ICMP6_HEADER = 8,
    ND_PACKET = 24,     /* without options */
    ND_PACKET_MAX = 32, /* with the one that we send */
    MLD_QUERY = 24,     /* RFC 3810 5.1, RFC 2710 3: what every version of it has */
    MLD_REPORT_MAX = 8 + 8 + 2 * 20, /* with its hop-by-hop header and two groups */
};

/* An IPv6 header without extension headers; flow label 0. Writes TIDE_IPV6_HEADER bytes. */
struct ip6_fields {
    struct tide_addr source;
    struct tide_addr destination;
    uint16_t payload_len;
    uint8_t protocol;
    uint8_t hop_limit;
    uint8_t ecn;
    uint8_t dscp;
};
void ip6_write(uint8_t *at, const struct ip6_fields *h);

/* ---- addresses ------------------------------------------------------------------------------------------------- */

/* True for an address that one host can have: not unspecified, loopback or multicast, and none of those that carry an
 * IPv4 address in ::/80 (RFC 4291 2.5.5), which must never be taken for IPv4 (RFC 4942 2.2). */
bool ip6_is_host(const struct tide_addr *a);
bool ip6_is_unspecified(const struct tide_addr *a);
bool ip6_is_multicast(const struct tide_addr *a);
bool ip6_is_link_local(const struct tide_addr *a); /* fe80::/10 */
bool ip6_is_equal(const struct tide_addr *a, const struct tide_addr *b);
bool ip6_has_prefix(const struct tide_addr *a, const struct tide_addr *prefix, unsigned prefix_len);

struct tide_addr ip6_link_local(const struct rte_ether_addr *mac);     /* RFC 4291 appendix A, RFC 2464 5 */
struct tide_addr ip6_solicited_node(const struct tide_addr *a);        /* RFC 4291 2.7.1 */
struct tide_addr ip6_all_nodes(void);                                  /* ff02::1 */
struct rte_ether_addr ip6_group_mac(const struct tide_addr *group);    /* RFC 2464 7 */

/* ---- ICMPv6 ---------------------------------------------------------------------------------------------------- */

enum icmp6_type {
    ICMP6_UNREACHABLE = 1,
    ICMP6_TOO_BIG = 2,
    ICMP6_TIME_EXCEEDED = 3,
    ICMP6_PARAMETER = 4,
    ICMP6_ECHO = 128,
    ICMP6_ECHO_REPLY = 129,
    ICMP6_MLD_QUERY = 130,
    ICMP6_SOLICITATION = 135,
    ICMP6_ADVERTISEMENT = 136,
    ICMP6_MLD_REPORT = 143,
};
enum { ICMP6_CODE_PORT_UNREACHABLE = 4, ICMP6_CODE_UNKNOWN_NEXT_HEADER = 1 };

/* Computes and stores the checksum of the ICMPv6 message at `icmp` that goes from one address to the other. */
void icmp6_sum(uint8_t *icmp, uint32_t len, const struct tide_addr *source, const struct tide_addr *destination);

/* What an ICMPv6 error quotes of one of our TCP packets. */
struct icmp6_quote {
    struct tide_addr source; /* of the quoted packet: us */
    struct tide_addr destination;
    uint32_t sequence;
    uint32_t next_mtu; /* of "packet too big", at least TIDE_IPV6_MTU_MIN; else 0 */
    uint16_t source_port;
    uint16_t destination_port;
    uint8_t type;
    uint8_t code;
};

/* `bytes` start at the ICMPv6 header. TIDE_ABSENT when it is no error about a TCP packet, TIDE_BAD when the quote is cut
 * short or makes no sense, or an mtu is named that no IPv6 link has (RFC 8201 4). The checksum has been verified before. */
TIDE_MUST_USE enum tide_status icmp6_parse_error(const uint8_t *bytes, uint32_t len, struct icmp6_quote *ret);

/* ---- neighbour discovery --------------------------------------------------------------------------------------- */

struct nd_packet {
    struct tide_addr target;
    struct rte_ether_addr mac; /* of the link-layer address option: of the source in a solicitation, else of the target */
    bool has_mac;
    bool is_advertisement;
    bool is_solicited; /* the two are flags of an advertisement */
    bool is_override;
};

/* `bytes` are the whole ICMPv6 message, type 135 or 136, its checksum verified; `ip` came with it. TIDE_BAD for what
 * RFC 4861 7.1 has discarded: another hop limit than 255, a code, a multicast target, an option of length 0 or beyond
 * the end, a solicited advertisement to a group, a solicitation from nobody that names a mac or is not for the
 * solicited-node group; and for a link-layer address that is no single Ethernet station's. */
TIDE_MUST_USE enum tide_status nd_parse(const uint8_t *bytes, uint32_t len, const struct tide_ipv6_view *ip, struct nd_packet *ret);

/* Writes ND_PACKET or, with a mac, ND_PACKET_MAX bytes, the checksum left 0, and returns how many. */
uint16_t nd_write(uint8_t *at, const struct nd_packet *p);

/* Writes a version 2 listener report (RFC 3810 5.2) from `source` about `count` (at most 2) groups behind a hop-by-hop
 * header with the router alert, checksum included; `joins` when the groups are new, else it answers a query. It goes to
 * *ret_to with hop limit 1. Returns its length, at most MLD_REPORT_MAX; the next header in front is TIDE_IPV6_HOP_BY_HOP. */
uint16_t mld_write(uint8_t *at, const struct tide_addr *source, const struct tide_addr *groups, unsigned count, bool joins,
                   struct tide_addr *ret_to);

#endif
