/* SPDX-License-Identifier: Apache-2.0 */
#include "net/ip.h"

#include <string.h>

#include "tidemark/bytes.h"

enum {
    IP_FLAG_DONT_FRAGMENT = 0x4000,
    TCP_PORTS_AND_SEQUENCE = 8, /* what an ICMP error quotes of TCP at least */
};

uint16_t eth_write(uint8_t *at, const struct eth_view *h)
{
    uint16_t n = 12;
    memcpy(at, &h->destination, RTE_ETHER_ADDR_LEN);
    memcpy(at + 6, &h->source, RTE_ETHER_ADDR_LEN);
    if (h->vlan != 0) {
        store_be16(at + n, ETH_TYPE_VLAN);
        store_be16(at + n + 2, h->vlan & ETH_VLAN_ID_MASK);
        n += ETH_VLAN_TAG;
    }
    store_be16(at + n, h->type);
    return (uint16_t)(n + 2);
}

void ip_write(uint8_t *at, const struct ip_fields *h)
{
    at[0] = IP_VERSION_4 << 4 | IP_HEADER / 4;
    at[1] = (uint8_t)(h->dscp << 2 | (h->ecn & IP_ECN_MASK));
    store_be16(at + 2, (uint16_t)(IP_HEADER + h->payload_len));
    store_be16(at + 4, 0);
    store_be16(at + 6, IP_FLAG_DONT_FRAGMENT);
    at[8] = h->ttl != 0 ? h->ttl : IP_TTL;
    at[9] = h->protocol;
    store_be16(at + 10, 0);
    store_be32(at + 12, h->source);
    store_be32(at + 16, h->destination);
}

uint16_t ip_pseudo_sum(uint32_t source, uint32_t destination, uint8_t protocol, uint16_t len)
{
    uint32_t sum = (source >> 16) + (source & 0xffff) + (destination >> 16) +
                   (destination & 0xffff) + protocol + len;
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    return __builtin_bswap16((uint16_t)sum);
}

bool ip_is_host(uint32_t addr)
{
    uint32_t net = addr >> 24;
    return net != 0 && net != 127 && net < 224;
}

enum tide_status icmp_parse_error(const uint8_t *bytes, uint32_t len, struct icmp_quote *ret)
{
    struct ip_view ip;
    if (len < ICMP_HEADER)
        return TIDE_BAD;
    if (bytes[0] != ICMP_UNREACHABLE && bytes[0] != ICMP_TIME_EXCEEDED)
        return TIDE_ABSENT;
    const uint8_t *quoted = bytes + ICMP_HEADER;
    uint32_t quoted_len = len - ICMP_HEADER;
    /* The quote is the front of a packet: its total length may lie beyond what is quoted. */
    if (ip_parse(quoted, quoted_len, UINT16_MAX, &ip) != TIDE_OK)
        return TIDE_BAD;
    if (ip.protocol != IP_PROTOCOL_TCP)
        return TIDE_ABSENT;
    if (ip.is_fragment || quoted_len - ip.header_len < TCP_PORTS_AND_SEQUENCE)
        return TIDE_BAD;
    const uint8_t *tcp = quoted + ip.header_len;
    bool has_mtu = bytes[0] == ICMP_UNREACHABLE && bytes[1] == ICMP_CODE_FRAG_NEEDED;
    *ret = (struct icmp_quote){
        .type = bytes[0],
        .code = bytes[1],
        .next_mtu = has_mtu ? load_be16(bytes + 6) : 0,
        .source = ip.source,
        .destination = ip.destination,
        .source_port = load_be16(tcp),
        .destination_port = load_be16(tcp + 2),
        .sequence = load_be32(tcp + 4),
    };
    return TIDE_OK;
}
