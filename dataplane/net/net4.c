/* SPDX-License-Identifier: Apache-2.0 */
#include "net/arp.h"
#include "net/net_internal.h"

#include "tidemark/assert.h"
#include "tidemark/bytes.h"
#include "tidemark/checksum.h"

static bool is_on_link(const struct net *n, uint32_t addr)
{
    return ((addr ^ n->addr) & n->mask) == 0;
}

/* Neither the address of the network nor its broadcast address (RFC 1122 3.2.1.3). On /31 and /32
 * there are none (RFC 3021). */
static bool has_host_bits(uint32_t addr, uint32_t mask)
{
    if ((~mask & ~1u) == 0)
        return true;
    return (addr & ~mask) != 0 && (addr | mask) != UINT32_MAX;
}

/* A single host that is not us, as far as our prefix tells. */
static bool is_foreign_host(const struct net *n, uint32_t addr)
{
    if (!ip_is_host(addr) || addr == n->addr)
        return false;
    return !is_on_link(n, addr) || has_host_bits(addr, n->mask);
}

bool net4_is_neighbour(const struct net *n, const struct tide_addr *a)
{
    uint32_t addr = tide_addr_to_v4(a);
    return is_foreign_host(n, addr) && (is_on_link(n, addr) || addr == n->gateway);
}

enum tide_status net4_init(struct net *n, uint64_t now_ns)
{
    const struct net_config *config = &n->config;
    static const struct tide_addr none;
    bool has_gateway = memcmp(&config->gateway, &none, sizeof(none)) != 0;
    if (config->prefix_len > 32 || !tide_addr_is_v4(&config->addr))
        return TIDE_BAD;
    if (has_gateway && !tide_addr_is_v4(&config->gateway))
        return TIDE_BAD;
    n->mask = config->prefix_len == 0 ? 0 : UINT32_MAX << (32 - config->prefix_len);
    n->addr = tide_addr_to_v4(&config->addr);
    if (!ip_is_host(n->addr) || !has_host_bits(n->addr, n->mask))
        return TIDE_BAD;
    n->gateway = has_gateway ? tide_addr_to_v4(&config->gateway) : 0;
    if (has_gateway && !is_foreign_host(n, n->gateway))
        return TIDE_BAD;
    n->announce_ns = config->announce ? now_ns : TIDE_NEVER;
    return TIDE_OK;
}

/* Puts the IPv4 header in front of a packet and asks for its checksum. */
static void prepend_ip(struct rte_mbuf *m, const struct ip_fields *h)
{
    uint8_t *at = (uint8_t *)rte_pktmbuf_prepend(m, IP_HEADER);
    TIDE_ASSERT(at != NULL);
    ip_write(at, h);
    m->l3_len = IP_HEADER;
    m->ol_flags |= RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM;
}

static bool send_arp(struct net *n, const struct arp_packet *p, const struct rte_ether_addr *to)
{
    struct rte_mbuf *m = net_frame_alloc(n);
    if (m == NULL)
        return false;
    uint8_t *at = (uint8_t *)rte_pktmbuf_append(m, ARP_PACKET);
    TIDE_ASSERT(at != NULL);
    arp_write(at, p);
    net_prepend_ethernet(n, m, to, ETH_TYPE_ARP);
    return net_tx_push(n, m);
}

void net4_ask(struct net *n, const struct neighbour_ask *ask)
{
    struct arp_packet p = {.operation = ARP_REQUEST,
                           .sender_mac = n->config.mac,
                           .sender = n->addr,
                           .target = tide_addr_to_v4(&ask->addr)};
    (void)send_arp(n, &p, &ask->to); /* lost ones are repeated by the cache's timer */
}

/* RFC 5227 3: an announcement is a request in which sender and target are ourselves. */
static bool send_announcement(struct net *n)
{
    struct arp_packet p = {.operation = ARP_REQUEST,
                           .sender_mac = n->config.mac,
                           .sender = n->addr,
                           .target = n->addr};
    struct rte_ether_addr all;
    memset(&all, 0xff, sizeof(all));
    return send_arp(n, &p, &all);
}

/* Another station has our address: RFC 5227 2.4 (c), we defend it for as long as we run. */
static void defend(struct net *n, uint64_t now_ns)
{
    net_count(n, COUNTER_arp_conflicts);
    if (n->defended_ns != 0 && now_ns - n->defended_ns < NET_DEFEND_NS)
        return;
    if (send_announcement(n))
        n->defended_ns = TIDE_MAX(now_ns, 1);
}

static void answer_arp(struct net *n, const struct arp_packet *request)
{
    struct arp_packet p = {.operation = ARP_REPLY,
                           .sender_mac = n->config.mac,
                           .sender = n->addr,
                           .target_mac = request->sender_mac,
                           .target = request->sender};
    (void)send_arp(n, &p, &request->sender_mac);
}

enum net_verdict net4_arp_input(struct net *n, uint64_t now_ns, struct rte_mbuf *m)
{
    struct arp_packet p;
    if (arp_parse(rte_pktmbuf_mtod(m, const uint8_t *), m->data_len, &p) != TIDE_OK)
        return net_drop(n, m, COUNTER_rx_malformed);
    if (rte_is_same_ether_addr(&p.sender_mac, &n->config.mac))
        return net_drop(n, m, COUNTER_rx_unknown); /* our own, come back by a loop */
    bool directed = p.target == n->addr;
    if (directed)
        net_count(n, COUNTER_arp_in);
    if (p.sender == n->addr) {
        defend(n, now_ns);
        return net_consume(m);
    }
    /* Sender 0 is a probe (RFC 5227 2.1.1): answered, but it says nothing about its sender. */
    if (p.sender != 0) {
        struct tide_addr sender = tide_addr_v4(p.sender);
        enum neighbour_source source = directed ? NEIGHBOUR_FROM_ASK : NEIGHBOUR_FROM_OTHER;
        if (!net4_is_neighbour(n, &sender))
            return net_drop(n, m, COUNTER_rx_unknown);
        bool known = net_learn(n, now_ns, &sender, &p.sender_mac, source);
        if (directed || known || p.sender == p.target)
            net_remember_learned(n, &sender, &p.sender_mac, source);
    }
    if (directed && p.operation == ARP_REQUEST)
        answer_arp(n, &p);
    return net_consume(m);
}

/* RFC 1122 3.2.2.6: the same data back, from the address that was asked. `m` starts at the ICMP
 * header; the way back is the station that asked, so no route is needed. */
static void answer_echo(struct net *n, struct rte_mbuf *m, const struct ip_view *ip,
                        const struct eth_view *eth)
{
    struct rte_mbuf *reply = net_frame_alloc(n);
    if (reply == NULL)
        return;
    uint8_t *icmp = net_copy_out(m, ip->payload_len, reply);
    if (icmp == NULL) { /* longer than anything we could have been sent at our mtu */
        net_count(n, COUNTER_rx_unknown);
        rte_pktmbuf_free(reply);
        return;
    }
    icmp[0] = ICMP_ECHO_REPLY;
    store_be16(icmp + 2, 0);
    uint16_t sum = (uint16_t)~tide_sum_fold(tide_sum_add(0, icmp, ip->payload_len));
    memcpy(icmp + 2, &sum, sizeof(sum));
    prepend_ip(reply, &(struct ip_fields){.source = n->addr,
                                          .destination = ip->source,
                                          .payload_len = ip->payload_len,
                                          .protocol = IP_PROTOCOL_ICMP});
    net_prepend_ethernet(n, reply, &eth->source, ETH_TYPE_IPV4);
    if (net_tx_push(n, reply))
        net_count(n, COUNTER_icmp_echo);
}

static enum net_verdict icmp_input(struct net *n, struct rte_mbuf *m, const struct ip_view *ip,
                                   const struct eth_view *eth)
{
    const uint8_t *bytes = rte_pktmbuf_mtod(m, const uint8_t *);
    struct icmp_quote quote;
    if (ip->payload_len < ICMP_HEADER || m->data_len < ICMP_HEADER)
        return net_drop(n, m, COUNTER_rx_malformed);
    if (tide_sum_fold(tide_sum_add_mbuf(0, m, 0, ip->payload_len)) != 0xffff)
        return net_drop(n, m, COUNTER_rx_csum_bad);
    if (bytes[0] == ICMP_ECHO && bytes[1] == 0) {
        answer_echo(n, m, ip, eth);
        return net_consume(m);
    }
    switch (icmp_parse_error(bytes, m->data_len, &quote)) {
    case TIDE_OK:
        break;
    case TIDE_BAD:
        return net_drop(n, m, COUNTER_rx_malformed);
    default:
        return net_drop(n, m, COUNTER_rx_unknown);
    }
    if (quote.source != n->addr)
        return net_drop(n, m, COUNTER_rx_unknown);
    net_remember_icmp_error(n, &(struct net_icmp_error){
                                   .peer = tide_addr_v4(quote.destination),
                                   .local_port = quote.source_port,
                                   .peer_port = quote.destination_port,
                                   .sequence = quote.sequence,
                                   .next_mtu = quote.next_mtu,
                                   .type = quote.type,
                                   .code = quote.code,
                               });
    return net_consume(m);
}

/* The source of a packet is one whose way is known, and there is nothing new in who brought it. */
static bool is_known(struct net *n, uint64_t now_ns, uint32_t source, const struct tide_addr *addr, const struct rte_ether_addr *mac)
{
    const struct net_way *way = net_way_find(n, addr);
    if (way == NULL)
        return false;
    return is_on_link(n, source) ? neighbour_confirm(&n->neighbours, now_ns, way->neighbour, mac) : rte_is_valid_assigned_ether_addr(mac);
}

bool net4_plain_input(struct net *n, uint64_t now_ns, struct rte_mbuf *m, struct net_packet *ret)
{
    enum { FRONT = ETH_HEADER + IP_HEADER };
    const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *), *ip = frame + ETH_HEADER;
    struct rte_ether_addr from;
    if (m->data_len < FRONT || n->config.vlan != 0 || m->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED ||
        load_be16(frame + 2 * RTE_ETHER_ADDR_LEN) != ETH_TYPE_IPV4 || memcmp(frame, &n->config.mac, RTE_ETHER_ADDR_LEN) != 0)
        return false;
    if (ip[0] != (IP_VERSION_4 << 4 | IP_HEADER / 4) || ip[9] != IP_PROTOCOL_TCP || (load_be16(ip + 6) & IP_FRAGMENT_BITS) != 0 ||
        load_be16(ip + 2) + ETH_HEADER != m->data_len || m->next != NULL || load_be32(ip + 16) != n->addr)
        return false;
    uint32_t source = load_be32(ip + 12);
    ret->source = tide_addr_v4(source);
    memcpy(&from, frame + RTE_ETHER_ADDR_LEN, sizeof(from));
    if (!is_known(n, now_ns, source, &ret->source, &from))
        return false;
    ret->destination = n->config.addr;
    ret->vlan = 0;
    ret->ecn = ip[1] & IP_ECN_MASK;
    ret->protocol = IP_PROTOCOL_TCP;
    (void)rte_pktmbuf_adj(m, FRONT);
    return true;
}

enum net_verdict net4_input(struct net *n, uint64_t now_ns, struct rte_mbuf *m, const struct eth_view *eth, struct net_packet *ret)
{
    struct ip_view ip;
    if (ip_parse(rte_pktmbuf_mtod(m, const uint8_t *), m->data_len, m->pkt_len, &ip) != TIDE_OK)
        return net_drop(n, m, COUNTER_rx_malformed);
    /* RFC 1122 3.3.6: what came by link broadcast is for no single host. */
    if (ip.destination != n->addr || !rte_is_same_ether_addr(&eth->destination, &n->config.mac))
        return net_drop(n, m, COUNTER_rx_unknown);
    struct tide_addr source = tide_addr_v4(ip.source);
    const struct net_way *way = net_way_find(n, &source);
    if (way == NULL && !is_foreign_host(n, ip.source)) /* also the LAND packet, from ourselves */
        return net_drop(n, m, COUNTER_rx_unknown);
    if (ip.is_fragment)
        return net_drop(n, m, COUNTER_rx_fragments);
    if (ip.protocol != IP_PROTOCOL_TCP && ip.protocol != IP_PROTOCOL_ICMP)
        return net_drop(n, m, COUNTER_rx_unknown);
    (void)rte_pktmbuf_adj(m, ip.header_len);
    if (m->data_len < TIDE_MIN((uint32_t)ip.payload_len, (uint32_t)IP_TCP_FRONT))
        return net_drop(n, m, COUNTER_rx_malformed);
    net_trim(m, ip.payload_len);
    if (is_on_link(n, ip.source) && (way == NULL || !neighbour_confirm(&n->neighbours, now_ns, way->neighbour, &eth->source)))
        (void)net_learn(n, now_ns, &source, &eth->source, NEIGHBOUR_FROM_FRAME);
    if (ip.protocol == IP_PROTOCOL_ICMP)
        return icmp_input(n, m, &ip, eth);
    *ret = (struct net_packet){
        .source = source,
        .destination = n->config.addr,
        .vlan = eth->vlan,
        .ecn = ip.ecn,
        .protocol = ip.protocol,
    };
    return NET_TCP;
}

enum tide_status net4_route(const struct net *n, const struct tide_addr *source, const struct tide_addr *destination,
                            struct tide_addr *ret_next_hop)
{
    uint32_t dst = tide_addr_to_v4(destination);
    if (!tide_addr_is_v4(source) || tide_addr_to_v4(source) != n->addr || !is_foreign_host(n, dst))
        return TIDE_REFUSED;
    if (!is_on_link(n, dst) && n->gateway == 0)
        return TIDE_ABSENT;
    *ret_next_hop = is_on_link(n, dst) ? *destination : n->config.gateway;
    return TIDE_OK;
}

uint16_t net4_prepend_tcp(const struct net *n, struct rte_mbuf *m, const struct tide_addr *source,
                          const struct tide_addr *destination, uint8_t ecn, uint16_t len)
{
    struct ip_fields h = {.source = tide_addr_to_v4(source),
                          .destination = tide_addr_to_v4(destination),
                          .payload_len = len,
                          .protocol = IP_PROTOCOL_TCP,
                          .ecn = ecn,
                          .dscp = n->config.dscp,
                          .ttl = n->config.ttl};
    prepend_ip(m, &h);
    /* The length of each piece is added by whoever cuts them. */
    return ip_pseudo_sum(h.source, h.destination, IP_PROTOCOL_TCP, m->ol_flags & RTE_MBUF_F_TX_TCP_SEG ? 0 : len);
}

void net4_on_time(struct net *n, uint64_t now_ns)
{
    if (now_ns < n->announce_ns)
        return;
    n->announce_ns = now_ns + NET_ANNOUNCE_NS;
    if (send_announcement(n) && ++n->announced == NET_ANNOUNCE_COUNT)
        n->announce_ns = TIDE_NEVER;
}
