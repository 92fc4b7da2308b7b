/* SPDX-License-Identifier: Apache-2.0 */
#include "net/ip6.h"

#include <string.h>

#include "tidemark/bytes.h"
#include "tidemark/checksum.h"

enum {
    IP6_SOURCE = 8,
    ICMP6_CHECKSUM = 2,
    TCP_PORTS_AND_SEQUENCE = 8, /* what of TCP must be quoted */
    ND_FLAGS = 4,
    ND_FLAG_SOLICITED = 0x40,
    ND_FLAG_OVERRIDE = 0x20,
    ND_TARGET = 8,
    ND_OPTION_UNIT = 8,
    ND_OPTION_SOURCE_MAC = 1,
    ND_OPTION_TARGET_MAC = 2,
    MLD_RECORD = 20,
    MLD_IS_EXCLUDE = 2,
    MLD_TO_EXCLUDE = 4,
};

void ip6_write(uint8_t *at, const struct ip6_fields *h)
{
    store_be32(at, 0x60000000u | (uint32_t)(h->dscp << 2 | (h->ecn & 3)) << 20);
    store_be16(at + 4, h->payload_len);
    at[6] = h->protocol;
    at[7] = h->hop_limit;
    memcpy(at + IP6_SOURCE, h->source.bytes, 16);
    memcpy(at + IP6_SOURCE + 16, h->destination.bytes, 16);
}

/* ---- addresses ---------------------------------------------------------------------------------------------------- */

bool ip6_is_equal(const struct tide_addr *a, const struct tide_addr *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

bool ip6_is_unspecified(const struct tide_addr *a)
{
    static const struct tide_addr none;
    return ip6_is_equal(a, &none);
}

bool ip6_is_multicast(const struct tide_addr *a)
{
    return a->bytes[0] == 0xff;
}

bool ip6_is_link_local(const struct tide_addr *a)
{
    return a->bytes[0] == 0xfe && (a->bytes[1] & 0xc0) == 0x80;
}

bool ip6_is_host(const struct tide_addr *a)
{
    static const uint8_t zero[10];
    if (ip6_is_multicast(a))
        return false;
    return memcmp(a->bytes, zero, sizeof(zero)) != 0;
}

bool ip6_has_prefix(const struct tide_addr *a, const struct tide_addr *prefix, unsigned prefix_len)
{
    unsigned whole = prefix_len / 8;
    unsigned bits = prefix_len % 8;
    if (memcmp(a->bytes, prefix->bytes, whole) != 0)
        return false;
    return bits == 0 || (a->bytes[whole] ^ prefix->bytes[whole]) >> (8 - bits) == 0;
}

struct tide_addr ip6_link_local(const struct rte_ether_addr *mac)
{
    const uint8_t *m = mac->addr_bytes;
    struct tide_addr a = {{0xfe, 0x80, 0, 0, 0, 0, 0, 0, (uint8_t)(m[0] ^ 2), m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]}};
    return a;
}

struct tide_addr ip6_solicited_node(const struct tide_addr *of)
{
    struct tide_addr a = {{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, of->bytes[13], of->bytes[14], of->bytes[15]}};
    return a;
}

struct tide_addr ip6_all_nodes(void)
{
    struct tide_addr a = {{0xff, 2, [15] = 1}};
    return a;
}

struct rte_ether_addr ip6_group_mac(const struct tide_addr *group)
{
    struct rte_ether_addr mac = {{0x33, 0x33}};
    memcpy(mac.addr_bytes + 2, group->bytes + 12, 4);
    return mac;
}

/* ---- ICMPv6 ------------------------------------------------------------------------------------------------------- */

void icmp6_sum(uint8_t *icmp, uint32_t len, const struct tide_addr *source, const struct tide_addr *destination)
{
    uint8_t addresses[32];
    memcpy(addresses, source->bytes, 16);
    memcpy(addresses + 16, destination->bytes, 16);
    store_be16(icmp + ICMP6_CHECKSUM, 0);
    uint64_t sum = tide_ipv6_pseudo_sum(addresses, TIDE_IPV6_ICMP, len);
    uint16_t folded = (uint16_t)~tide_sum_fold(tide_sum_add(sum, icmp, len));
    memcpy(icmp + ICMP6_CHECKSUM, &folded, sizeof(folded));
}

enum tide_status icmp6_parse_error(const uint8_t *bytes, uint32_t len, struct icmp6_quote *ret)
{
    struct tide_ipv6_view ip;
    if (len < ICMP6_HEADER)
        return TIDE_BAD;
    if (bytes[0] < ICMP6_UNREACHABLE || bytes[0] > ICMP6_PARAMETER)
        return TIDE_ABSENT;
    bool has_mtu = bytes[0] == ICMP6_TOO_BIG;
    uint32_t next_mtu = has_mtu ? load_be32(bytes + 4) : 0;
    const uint8_t *quoted = bytes + ICMP6_HEADER;
    uint32_t quoted_len = len - ICMP6_HEADER;
    if (has_mtu && next_mtu < TIDE_IPV6_MTU_MIN)
        return TIDE_BAD;
    /* The quote is the front of a packet: its end may lie beyond what is quoted. */
    if (tide_ipv6_parse(quoted, quoted_len, UINT32_MAX, &ip) != TIDE_OK)
        return TIDE_BAD;
    if (ip.protocol != TIDE_IPV6_TCP)
        return TIDE_ABSENT;
    if (quoted_len - ip.header_len < TCP_PORTS_AND_SEQUENCE)
        return TIDE_BAD;
    const uint8_t *tcp = quoted + ip.header_len;
    *ret = (struct icmp6_quote){
        .source = ip.source,
        .destination = ip.destination,
        .sequence = load_be32(tcp + 4),
        .next_mtu = next_mtu,
        .source_port = load_be16(tcp),
        .destination_port = load_be16(tcp + 2),
        .type = bytes[0],
        .code = bytes[1],
    };
    return TIDE_OK;
}

/* ---- neighbour discovery -------------------------------------------------------------------------------------------- */

/* The link-layer address among the options; *ret_mac and *ret_has are written with TIDE_OK. */
static enum tide_status nd_options(const uint8_t *bytes, uint32_t len, uint8_t wanted, struct rte_ether_addr *ret_mac, bool *ret_has)
{
    bool has = false;
    for (uint32_t at = 0; at < len;) {
        uint32_t option_len = at + 2 <= len ? bytes[at + 1] * (uint32_t)ND_OPTION_UNIT : 0;
        if (option_len == 0 || at + option_len > len)
            return TIDE_BAD;
        if (bytes[at] == wanted && !has) {
            struct rte_ether_addr mac;
            memcpy(mac.addr_bytes, bytes + at + 2, sizeof(mac.addr_bytes));
            if (option_len != ND_OPTION_UNIT || !rte_is_valid_assigned_ether_addr(&mac))
                return TIDE_BAD;
            *ret_mac = mac;
            has = true;
        }
        at += option_len;
    }
    *ret_has = has;
    return TIDE_OK;
}

/* RFC 4861 7.1.1 and 7.1.2: what the addresses of the packet must be like. */
static bool nd_addresses_fit(const struct nd_packet *p, const struct tide_ipv6_view *ip)
{
    if (p->is_advertisement)
        return !ip6_is_unspecified(&ip->source) && !(p->is_solicited && ip6_is_multicast(&ip->destination));
    if (!ip6_is_unspecified(&ip->source))
        return true;
    struct tide_addr group = ip6_solicited_node(&p->target);
    return !p->has_mac && ip6_is_equal(&ip->destination, &group);
}

enum tide_status nd_parse(const uint8_t *bytes, uint32_t len, const struct tide_ipv6_view *ip, struct nd_packet *ret)
{
    struct nd_packet p = {.has_mac = false};
    if (len < ND_PACKET || ip->hop_limit != IP6_HOP_LIMIT_ND)
        return TIDE_BAD;
    if ((bytes[0] != ICMP6_SOLICITATION && bytes[0] != ICMP6_ADVERTISEMENT) || bytes[1] != 0)
        return TIDE_BAD;
    p.is_advertisement = bytes[0] == ICMP6_ADVERTISEMENT;
    p.is_solicited = p.is_advertisement && (bytes[ND_FLAGS] & ND_FLAG_SOLICITED) != 0;
    p.is_override = p.is_advertisement && (bytes[ND_FLAGS] & ND_FLAG_OVERRIDE) != 0;
    memcpy(p.target.bytes, bytes + ND_TARGET, sizeof(p.target.bytes));
    if (ip6_is_multicast(&p.target))
        return TIDE_BAD;
    uint8_t wanted = p.is_advertisement ? ND_OPTION_TARGET_MAC : ND_OPTION_SOURCE_MAC;
    if (nd_options(bytes + ND_PACKET, len - ND_PACKET, wanted, &p.mac, &p.has_mac) != TIDE_OK)
        return TIDE_BAD;
    if (!nd_addresses_fit(&p, ip))
        return TIDE_BAD;
    *ret = p;
    return TIDE_OK;
}

uint16_t nd_write(uint8_t *at, const struct nd_packet *p)
{
    memset(at, 0, ND_TARGET);
    at[0] = p->is_advertisement ? ICMP6_ADVERTISEMENT : ICMP6_SOLICITATION;
    at[ND_FLAGS] = (uint8_t)((p->is_solicited ? ND_FLAG_SOLICITED : 0) | (p->is_override ? ND_FLAG_OVERRIDE : 0));
    memcpy(at + ND_TARGET, p->target.bytes, sizeof(p->target.bytes));
    if (!p->has_mac)
        return ND_PACKET;
    at[ND_PACKET] = p->is_advertisement ? ND_OPTION_TARGET_MAC : ND_OPTION_SOURCE_MAC;
    at[ND_PACKET + 1] = 1;
    memcpy(at + ND_PACKET + 2, p->mac.addr_bytes, sizeof(p->mac.addr_bytes));
    return ND_PACKET_MAX;
}

uint16_t mld_write(uint8_t *at, const struct tide_addr *source, const struct tide_addr *groups, unsigned count, bool joins,
                   struct tide_addr *ret_to)
{
    static const uint8_t router_alert[8] = {TIDE_IPV6_ICMP, 0, 5, 2, 0, 0, 1, 0}; /* RFC 2711 2.1, and a PadN */
    struct tide_addr routers = {{0xff, 2, [15] = 0x16}};
    uint8_t *icmp = at + sizeof(router_alert);
    uint32_t len = ICMP6_HEADER + count * (uint32_t)MLD_RECORD;
    memcpy(at, router_alert, sizeof(router_alert));
    memset(icmp, 0, len);
    icmp[0] = ICMP6_MLD_REPORT;
    store_be16(icmp + 6, (uint16_t)count);
    for (unsigned i = 0; i < count; i++) {
        uint8_t *record = icmp + ICMP6_HEADER + i * (size_t)MLD_RECORD;
        record[0] = joins ? MLD_TO_EXCLUDE : MLD_IS_EXCLUDE;
        memcpy(record + 4, groups[i].bytes, 16);
    }
    icmp6_sum(icmp, len, source, &routers);
    *ret_to = routers;
    return (uint16_t)(sizeof(router_alert) + len);
}
