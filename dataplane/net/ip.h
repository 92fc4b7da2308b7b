/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ethernet II, 802.1Q, IPv4 and ICMPv4 headers: bytes <-> structs.
 *
 * Pure functions over borrowed bytes; nothing is kept. Addresses inside these structs are IPv4 in
 * host order; net.h turns them into tide_addr. A parser is handed exactly the bytes that are
 * contiguous in the first segment of a frame and never looks past them.
 */
#ifndef TIDEMARK_NET_IP_H
#define TIDEMARK_NET_IP_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <rte_ether.h>

#include "tidemark/bytes.h"
#include "tidemark/status.h"

enum ip_limit {
    ETH_HEADER = 14,
    ETH_VLAN_TAG = 4,
    ETH_VLAN_ID_MASK = 0xfff,
    IP_VERSION_4 = 4,
    IP_ECN_MASK = 3,
    IP_FRAGMENT_BITS = 0x3fff, /* more-fragments and the offset */
    IP_HEADER = 20,     /* without options: the only form we send */
    IP_HEADER_MAX = 60, /* RFC 791 3.1: IHL has four bits */
    IP_TTL = 64,        /* RFC 1700, RFC 9293 3.9.2 (MUST-49 lets it be configurable) */
    ICMP_HEADER = 8,
    IP_TCP_FRONT = 60, /* what net_input keeps contiguous in front of a TCP payload */
};

enum eth_type {
    ETH_TYPE_IPV4 = 0x0800,
    ETH_TYPE_ARP = 0x0806,
    ETH_TYPE_VLAN = 0x8100,
    ETH_TYPE_IPV6 = 0x86dd,
};

enum ip_protocol {
    IP_PROTOCOL_ICMP = 1,
    IP_PROTOCOL_TCP = 6,
};

struct eth_view {
    struct rte_ether_addr destination;
    struct rte_ether_addr source;
    uint16_t type;
    uint16_t vlan;       /* 802.1Q VLAN id; 0 when untagged or only priority-tagged */
    uint16_t header_len; /* 14 or 18 */
};

/* TIDE_BAD when the bytes end inside the header. One tag at most is taken off: a second one is
 * left as `type`, which is a type that nobody here knows. */
TIDE_MUST_USE static inline enum tide_status eth_parse(const uint8_t *bytes, uint32_t len, struct eth_view *ret)
{
    struct eth_view v = {.header_len = ETH_HEADER};
    if (len < ETH_HEADER)
        return TIDE_BAD;
    memcpy(&v.destination, bytes, RTE_ETHER_ADDR_LEN);
    memcpy(&v.source, bytes + 6, RTE_ETHER_ADDR_LEN);
    v.type = load_be16(bytes + 12);
    if (v.type == ETH_TYPE_VLAN) {
        if (len < ETH_HEADER + ETH_VLAN_TAG)
            return TIDE_BAD;
        v.vlan = load_be16(bytes + 14) & ETH_VLAN_ID_MASK;
        v.type = load_be16(bytes + 16);
        v.header_len += ETH_VLAN_TAG;
    }
    *ret = v;
    return TIDE_OK;
}

/* Writes 14 bytes, or 18 when vlan is not 0. Returns how many. */
uint16_t eth_write(uint8_t *at, const struct eth_view *h);

struct ip_view {
    uint32_t source;
    uint32_t destination;
    uint16_t header_len;  /* with options, which nobody reads: RFC 7126 lets hosts ignore them */
    uint16_t payload_len; /* by the total length of the header, so without Ethernet's padding */
    uint8_t protocol;
    uint8_t ttl;
    uint8_t ecn;
    bool is_fragment; /* more fragments, or an offset: not a whole packet */
};

/* `len` bytes are contiguous here and `packet_len` >= len belong to the frame behind the Ethernet
 * header. TIDE_BAD when version, header length or total length do not fit them (RFC 1122 3.2.1). */
TIDE_MUST_USE static inline enum tide_status ip_parse(const uint8_t *bytes, uint32_t len, uint32_t packet_len, struct ip_view *ret)
{
    if (len < IP_HEADER || bytes[0] >> 4 != IP_VERSION_4)
        return TIDE_BAD;
    uint16_t header_len = (uint16_t)((bytes[0] & 15) * 4);
    uint16_t total_len = load_be16(bytes + 2);
    if (header_len < IP_HEADER || header_len > len)
        return TIDE_BAD;
    if (total_len < header_len || total_len > packet_len)
        return TIDE_BAD;
    *ret = (struct ip_view){
        .source = load_be32(bytes + 12),
        .destination = load_be32(bytes + 16),
        .header_len = header_len,
        .payload_len = (uint16_t)(total_len - header_len),
        .protocol = bytes[9],
        .ttl = bytes[8],
        .ecn = bytes[1] & IP_ECN_MASK,
        .is_fragment = (load_be16(bytes + 6) & IP_FRAGMENT_BITS) != 0,
    };
    return TIDE_OK;
}

/* Writes the 20 bytes of a packet that may not be fragmented (id 0: RFC 6864 4.1), checksum field
 * zero: the port or nic/soft fills it. */
struct ip_fields {
    uint32_t source;
    uint32_t destination;
    uint16_t payload_len;
    uint8_t protocol;
    uint8_t ecn;
    uint8_t dscp;
    uint8_t ttl; /* 0: IP_TTL */
};
void ip_write(uint8_t *at, const struct ip_fields *h);

/* Sum of the TCP or UDP pseudo-header, folded and not inverted: what DPDK wants to find in the
 * checksum field of a frame whose checksum the port computes. Network order, to be stored as is. */
uint16_t ip_pseudo_sum(uint32_t source, uint32_t destination, uint8_t protocol, uint16_t len);

/* True for an address that one host can have: not 0/8, 127/8, multicast or class E. */
bool ip_is_host(uint32_t addr);

enum icmp_type {
    ICMP_ECHO_REPLY = 0,
    ICMP_UNREACHABLE = 3,
    ICMP_ECHO = 8,
    ICMP_TIME_EXCEEDED = 11,
};
enum { ICMP_CODE_PROTOCOL = 2, ICMP_CODE_PORT = 3, ICMP_CODE_FRAG_NEEDED = 4 };

/* What an ICMP error quotes of one of our TCP packets (RFC 792: the IP header and 64 bits). */
struct icmp_quote {
    uint8_t type;
    uint8_t code;
    uint16_t next_mtu; /* RFC 1191; 0 when the router is old or the error is another */
    uint32_t source;   /* of the quoted packet: us */
    uint32_t destination;
    uint16_t source_port;
    uint16_t destination_port;
    uint32_t sequence;
};

/* `bytes` start at the ICMP header. TIDE_ABSENT when it is no error about a TCP packet, TIDE_BAD
 * when the quote is cut short or makes no sense. The checksum has been verified before. */
TIDE_MUST_USE enum tide_status icmp_parse_error(const uint8_t *bytes, uint32_t len,
                                                struct icmp_quote *ret);

#endif
