/* SPDX-License-Identifier: Apache-2.0 */
#include "net/net.h"

#include "net/ip.h"
#include "tidemark/assert.h"
#include "tidemark/bytes.h"
#include "tidemark/checksum.h"

enum { TCP_HEADER_MIN = 20, TCP_DATA_OFFSET = 12, TCP_CHECKSUM = 16 };

static void count(struct net *n, enum tide_counter which)
{
    tide_count(n->config.counters, which);
}

static enum net_verdict drop(struct net *n, struct rte_mbuf *m, enum tide_counter why)
{
    count(n, why);
    rte_pktmbuf_free(m);
    return NET_DROPPED;
}

static enum net_verdict consume(struct rte_mbuf *m)
{
    rte_pktmbuf_free(m);
    return NET_CONSUMED;
}

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

static bool is_neighbour(const struct net *n, uint32_t addr)
{
    return is_foreign_host(n, addr) && (is_on_link(n, addr) || addr == n->gateway);
}

enum tide_status net_init(struct net *n, const struct net_config *config, uint64_t now_ns)
{
    static const struct tide_addr none;
    bool has_gateway = memcmp(&config->gateway, &none, sizeof(none)) != 0;
    memset(n, 0, sizeof(*n));
    n->config = *config;
    arp_init(&n->arp);
    if (config->prefix_len > 32 || !tide_addr_is_v4(&config->addr))
        return TIDE_BAD;
    if (config->vlan >= ETH_VLAN_ID_MASK || config->mtu < NET_MTU_MIN)
        return TIDE_BAD;
    if (!rte_is_valid_assigned_ether_addr(&config->mac))
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

void net_deinit(struct net *n)
{
    struct rte_mbuf *m;
    while (net_take_tx(n, &m, 1) != 0)
        rte_pktmbuf_free(m);
    arp_deinit(&n->arp);
}

static bool tx_push(struct net *n, struct rte_mbuf *m)
{
    if (n->tx_count == NET_TX_MAX) {
        count(n, COUNTER_tx_full);
        rte_pktmbuf_free(m);
        return false;
    }
    m->port = n->config.port;
    n->tx[(n->tx_head + n->tx_count) % NET_TX_MAX] = m;
    n->tx_count++;
    return true;
}

unsigned net_take_tx(struct net *n, struct rte_mbuf **frames, unsigned max)
{
    unsigned taken = 0;
    while (taken < max && n->tx_count != 0) {
        frames[taken++] = n->tx[n->tx_head];
        n->tx_head = (uint16_t)((n->tx_head + 1) % NET_TX_MAX);
        n->tx_count--;
    }
    return taken;
}

static struct rte_mbuf *frame_alloc(struct net *n)
{
    struct rte_mbuf *m = rte_pktmbuf_alloc(n->config.tx_pool);
    if (m == NULL)
        count(n, COUNTER_mbuf_empty);
    return m;
}

/* Puts the Ethernet header in front; the caller has made sure of the headroom. */
static void prepend_ethernet(struct net *n, struct rte_mbuf *m, const struct rte_ether_addr *to,
                             uint16_t type)
{
    struct eth_view h = {.source = n->config.mac, .type = type, .vlan = n->config.vlan};
    uint16_t len = h.vlan != 0 ? ETH_HEADER + ETH_VLAN_TAG : ETH_HEADER;
    uint8_t *at = (uint8_t *)rte_pktmbuf_prepend(m, len);
    TIDE_ASSERT(at != NULL);
    h.destination = *to;
    m->l2_len = eth_write(at, &h);
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
    struct rte_mbuf *m = frame_alloc(n);
    if (m == NULL)
        return false;
    uint8_t *at = (uint8_t *)rte_pktmbuf_append(m, ARP_PACKET);
    TIDE_ASSERT(at != NULL);
    arp_write(at, p);
    prepend_ethernet(n, m, to, ETH_TYPE_ARP);
    return tx_push(n, m);
}

static void send_ask(struct net *n, const struct arp_ask *ask)
{
    struct arp_packet p = {.operation = ARP_REQUEST,
                           .sender_mac = n->config.mac,
                           .sender = n->addr,
                           .target = ask->addr};
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

static void flush_pending(struct net *n, uint16_t index)
{
    struct rte_mbuf *m;
    if (index == ARP_NONE)
        return;
    while ((m = arp_take_pending(&n->arp, index)) != NULL) {
        memcpy(rte_pktmbuf_mtod(m, void *), &n->arp.neighbours[index].mac, RTE_ETHER_ADDR_LEN);
        (void)tx_push(n, m);
    }
}

static void remember_learned(struct net *n, const struct arp_packet *p, bool directed)
{
    if (n->learned_count == NET_LEARNED_MAX)
        return;
    unsigned at = (n->learned_head + n->learned_count) % NET_LEARNED_MAX;
    n->learned[at].addr = tide_addr_v4(p->sender);
    n->learned[at].mac = p->sender_mac;
    n->learned[at].directed = directed;
    n->learned_count++;
}

unsigned net_take_learned(struct net *n, struct net_neighbour *entries, unsigned max)
{
    unsigned taken = 0;
    while (taken < max && n->learned_count != 0) {
        entries[taken++] = n->learned[n->learned_head];
        n->learned_head = (uint16_t)((n->learned_head + 1) % NET_LEARNED_MAX);
        n->learned_count--;
    }
    return taken;
}

void net_neighbour_learn(struct net *n, uint64_t now_ns, const struct net_neighbour *entry)
{
    if (!TIDE_EXPECT(tide_addr_is_v4(&entry->addr)))
        return;
    uint32_t addr = tide_addr_to_v4(&entry->addr);
    if (!TIDE_EXPECT(is_neighbour(n, addr)))
        return;
    flush_pending(n, arp_learn(&n->arp, now_ns, addr, &entry->mac,
                               entry->directed ? ARP_FROM_ARP : ARP_FROM_OTHER));
}

/* Another station has our address: RFC 5227 2.4 (c), we defend it for as long as we run. */
static void defend(struct net *n, uint64_t now_ns)
{
    count(n, COUNTER_arp_conflicts);
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

static enum net_verdict arp_input(struct net *n, uint64_t now_ns, struct rte_mbuf *m)
{
    struct arp_packet p;
    if (arp_parse(rte_pktmbuf_mtod(m, const uint8_t *), m->data_len, &p) != TIDE_OK)
        return drop(n, m, COUNTER_rx_malformed);
    if (rte_is_same_ether_addr(&p.sender_mac, &n->config.mac))
        return drop(n, m, COUNTER_rx_unknown); /* our own, come back by a loop */
    bool directed = p.target == n->addr;
    if (directed)
        count(n, COUNTER_arp_in);
    if (p.sender == n->addr) {
        defend(n, now_ns);
        return consume(m);
    }
    /* Sender 0 is a probe (RFC 5227 2.1.1): answered, but it says nothing about its sender. */
    if (p.sender != 0) {
        if (!is_neighbour(n, p.sender))
            return drop(n, m, COUNTER_rx_unknown);
        uint16_t index = arp_learn(&n->arp, now_ns, p.sender, &p.sender_mac,
                                   directed ? ARP_FROM_ARP : ARP_FROM_OTHER);
        flush_pending(n, index);
        if (directed || index != ARP_NONE || p.sender == p.target)
            remember_learned(n, &p, directed);
    }
    if (directed && p.operation == ARP_REQUEST)
        answer_arp(n, &p);
    return consume(m);
}

static uint8_t *copy_out(const struct rte_mbuf *m, uint32_t len, struct rte_mbuf *to)
{
    uint8_t *at = (uint8_t *)rte_pktmbuf_append(to, (uint16_t)len);
    if (at == NULL)
        return NULL;
    const uint8_t *from = rte_pktmbuf_read(m, 0, len, at);
    TIDE_ASSERT(from != NULL); /* len <= pkt_len */
    if (from != at)
        memcpy(at, from, len);
    return at;
}

/* RFC 1122 3.2.2.6: the same data back, from the address that was asked. `m` starts at the ICMP
 * header; the way back is the station that asked, so no route is needed. */
static void answer_echo(struct net *n, struct rte_mbuf *m, const struct ip_view *ip,
                        const struct eth_view *eth)
{
    struct rte_mbuf *reply = frame_alloc(n);
    if (reply == NULL)
        return;
    uint8_t *icmp = copy_out(m, ip->payload_len, reply);
    if (icmp == NULL) { /* longer than anything we could have been sent at our mtu */
        count(n, COUNTER_rx_unknown);
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
    prepend_ethernet(n, reply, &eth->source, ETH_TYPE_IPV4);
    if (tx_push(n, reply))
        count(n, COUNTER_icmp_echo);
}

static void remember_icmp_error(struct net *n, const struct icmp_quote *q)
{
    count(n, COUNTER_icmp_errors);
    if (n->icmp_error_count == NET_ICMP_ERRORS_MAX)
        return;
    unsigned at = (n->icmp_error_head + n->icmp_error_count) % NET_ICMP_ERRORS_MAX;
    n->icmp_errors[at] = (struct net_icmp_error){
        .peer = tide_addr_v4(q->destination),
        .local_port = q->source_port,
        .peer_port = q->destination_port,
        .sequence = q->sequence,
        .next_mtu = q->next_mtu,
        .type = q->type,
        .code = q->code,
    };
    n->icmp_error_count++;
}

unsigned net_take_icmp_errors(struct net *n, struct net_icmp_error *errors, unsigned max)
{
    unsigned taken = 0;
    while (taken < max && n->icmp_error_count != 0) {
        errors[taken++] = n->icmp_errors[n->icmp_error_head];
        n->icmp_error_head = (uint16_t)((n->icmp_error_head + 1) % NET_ICMP_ERRORS_MAX);
        n->icmp_error_count--;
    }
    return taken;
}

static enum net_verdict icmp_input(struct net *n, struct rte_mbuf *m, const struct ip_view *ip,
                                   const struct eth_view *eth)
{
    const uint8_t *bytes = rte_pktmbuf_mtod(m, const uint8_t *);
    struct icmp_quote quote;
    if (ip->payload_len < ICMP_HEADER || m->data_len < ICMP_HEADER)
        return drop(n, m, COUNTER_rx_malformed);
    if (tide_sum_fold(tide_sum_add_mbuf(0, m, 0, ip->payload_len)) != 0xffff)
        return drop(n, m, COUNTER_rx_csum_bad);
    if (bytes[0] == ICMP_ECHO && bytes[1] == 0) {
        answer_echo(n, m, ip, eth);
        return consume(m);
    }
    switch (icmp_parse_error(bytes, m->data_len, &quote)) {
    case TIDE_OK:
        break;
    case TIDE_BAD:
        return drop(n, m, COUNTER_rx_malformed);
    default:
        return drop(n, m, COUNTER_rx_unknown);
    }
    if (quote.source != n->addr)
        return drop(n, m, COUNTER_rx_unknown);
    remember_icmp_error(n, &quote);
    return consume(m);
}

/* Leaves the first `len` bytes of a frame that has at least so many: what lies behind is padding
 * (RFC 894) or not ours to know. */
static void trim(struct rte_mbuf *m, uint32_t len)
{
    struct rte_mbuf *last = m;
    uint32_t left = len;
    uint16_t segments = 1;
    while (left > last->data_len) {
        left -= last->data_len;
        last = last->next;
        segments++;
    }
    rte_pktmbuf_free(last->next);
    last->next = NULL;
    last->data_len = (uint16_t)left;
    m->nb_segs = segments;
    m->pkt_len = len;
}

static enum net_verdict ip_input(struct net *n, uint64_t now_ns, struct rte_mbuf *m,
                                 const struct eth_view *eth, struct net_packet *ret)
{
    struct ip_view ip;
    if (ip_parse(rte_pktmbuf_mtod(m, const uint8_t *), m->data_len, m->pkt_len, &ip) != TIDE_OK)
        return drop(n, m, COUNTER_rx_malformed);
    /* RFC 1122 3.3.6: what came by link broadcast is for no single host. */
    if (ip.destination != n->addr || !rte_is_same_ether_addr(&eth->destination, &n->config.mac))
        return drop(n, m, COUNTER_rx_unknown);
    if (!is_foreign_host(n, ip.source)) /* also the LAND packet, from ourselves */
        return drop(n, m, COUNTER_rx_unknown);
    if (ip.is_fragment)
        return drop(n, m, COUNTER_rx_fragments);
    if (ip.protocol != IP_PROTOCOL_TCP && ip.protocol != IP_PROTOCOL_ICMP)
        return drop(n, m, COUNTER_rx_unknown);
    (void)rte_pktmbuf_adj(m, ip.header_len);
    if (m->data_len < TIDE_MIN((uint32_t)ip.payload_len, (uint32_t)TCP_HEADER_MAX))
        return drop(n, m, COUNTER_rx_malformed);
    trim(m, ip.payload_len);
    if (is_on_link(n, ip.source))
        flush_pending(n, arp_learn(&n->arp, now_ns, ip.source, &eth->source, ARP_FROM_FRAME));
    if (ip.protocol == IP_PROTOCOL_ICMP)
        return icmp_input(n, m, &ip, eth);
    *ret = (struct net_packet){
        .source = tide_addr_v4(ip.source),
        .destination = n->config.addr,
        .vlan = eth->vlan,
        .ecn = ip.ecn,
        .protocol = ip.protocol,
    };
    return NET_TCP;
}

/* The tag the port has taken off, if any, put back into the view of the header. False when the
 * frame carries a second one. */
static bool take_stripped_tag(const struct rte_mbuf *m, struct eth_view *eth)
{
    if ((m->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED) == 0)
        return true;
    if (eth->header_len != ETH_HEADER)
        return false;
    eth->vlan = m->vlan_tci & ETH_VLAN_ID_MASK;
    return true;
}

enum net_verdict net_input(struct net *n, uint64_t now_ns, struct rte_mbuf *m,
                           struct net_packet *ret)
{
    struct eth_view eth;
    if (eth_parse(rte_pktmbuf_mtod(m, const uint8_t *), m->data_len, &eth) != TIDE_OK)
        return drop(n, m, COUNTER_rx_malformed);
    if (!take_stripped_tag(m, &eth) || eth.vlan != n->config.vlan)
        return drop(n, m, COUNTER_rx_unknown);
    bool to_us = rte_is_same_ether_addr(&eth.destination, &n->config.mac);
    if (!to_us && !rte_is_broadcast_ether_addr(&eth.destination))
        return drop(n, m, COUNTER_rx_unknown);
    if (!rte_is_valid_assigned_ether_addr(&eth.source))
        return drop(n, m, COUNTER_rx_malformed);
    (void)rte_pktmbuf_adj(m, eth.header_len);
    if (eth.type == ETH_TYPE_ARP)
        return arp_input(n, now_ns, m);
    if (eth.type == ETH_TYPE_IPV4)
        return ip_input(n, now_ns, m, &eth, ret);
    return drop(n, m, COUNTER_rx_unknown);
}

static bool is_sendable(const struct net *n, const struct rte_mbuf *m, uint32_t source,
                        uint32_t destination)
{
    if (source != n->addr || !is_foreign_host(n, destination))
        return false;
    if (m->pkt_len > net_packet_max(n) || m->data_len < TCP_HEADER_MIN)
        return false;
    if ((rte_pktmbuf_mtod(m, const uint8_t *)[TCP_DATA_OFFSET] >> 4) * 4 > m->data_len)
        return false;
    return rte_pktmbuf_headroom(m) >= NET_HEADROOM && RTE_MBUF_DIRECT(m) &&
           rte_mbuf_refcnt_read(m) == 1;
}

/* The whole frame except for the destination's mac. */
static void build_frame(struct net *n, struct rte_mbuf *m, uint32_t destination, uint8_t ecn,
                        const struct rte_ether_addr *to)
{
    uint16_t len = (uint16_t)m->pkt_len;
    uint8_t *tcp = rte_pktmbuf_mtod(m, uint8_t *);
    uint16_t sum = ip_pseudo_sum(n->addr, destination, IP_PROTOCOL_TCP, len);
    memcpy(tcp + TCP_CHECKSUM, &sum, sizeof(sum));
    m->l4_len = (uint8_t)((tcp[TCP_DATA_OFFSET] >> 4) * 4);
    m->ol_flags |= RTE_MBUF_F_TX_TCP_CKSUM;
    prepend_ip(m, &(struct ip_fields){.source = n->addr,
                                      .destination = destination,
                                      .payload_len = len,
                                      .protocol = IP_PROTOCOL_TCP,
                                      .ecn = ecn});
    prepend_ethernet(n, m, to, ETH_TYPE_IPV4);
}

enum tide_status net_output(struct net *n, uint64_t now_ns, struct rte_mbuf *m,
                            const struct tide_addr *source, const struct tide_addr *destination,
                            uint8_t ecn)
{
    struct rte_ether_addr to = {{0}};
    struct arp_ask ask;
    bool must_ask;
    uint16_t index = ARP_NONE;
    if (!tide_addr_is_v4(source) || !tide_addr_is_v4(destination))
        return TIDE_REFUSED;
    uint32_t dst = tide_addr_to_v4(destination);
    if (!is_sendable(n, m, tide_addr_to_v4(source), dst))
        return TIDE_REFUSED;
    uint32_t next_hop = is_on_link(n, dst) ? dst : n->gateway;
    if (next_hop == 0)
        return TIDE_ABSENT;
    if (n->tx_count == NET_TX_MAX)
        return TIDE_FULL;

    enum arp_answer way = arp_resolve(&n->arp, now_ns, next_hop, &to, &index, &must_ask, &ask);
    build_frame(n, m, dst, ecn, &to);
    if (way == ARP_SEND) {
        (void)tx_push(n, m);
    } else if (way == ARP_LOST || arp_hold(&n->arp, index, m) != TIDE_OK) {
        count(n, COUNTER_neighbour_full);
        rte_pktmbuf_free(m);
    }
    if (must_ask)
        send_ask(n, &ask);
    return TIDE_OK;
}

uint64_t net_deadline_ns(const struct net *n)
{
    return TIDE_MIN(n->announce_ns, arp_deadline_ns(&n->arp));
}

static void announce_on_time(struct net *n, uint64_t now_ns)
{
    if (now_ns < n->announce_ns)
        return;
    n->announce_ns = now_ns + NET_ANNOUNCE_NS;
    if (send_announcement(n) && ++n->announced == NET_ANNOUNCE_COUNT)
        n->announce_ns = TIDE_NEVER;
}

void net_on_time(struct net *n, uint64_t now_ns)
{
    struct arp_ask asks[ARP_ASKS];
    unsigned lost = 0;
    announce_on_time(n, now_ns);
    unsigned due = arp_on_time(&n->arp, now_ns, asks, &lost);
    for (unsigned i = 0; i < due; i++)
        send_ask(n, &asks[i]);
    tide_count_many(n->config.counters, COUNTER_neighbour_full, lost);
}

void net_check(const struct net *n)
{
    const char *reason;
    TIDE_ASSERT(n->tx_count <= NET_TX_MAX); /* N1 */
    for (unsigned i = 0; i < n->tx_count; i++)
        TIDE_ASSERT(rte_mbuf_check(n->tx[(n->tx_head + i) % NET_TX_MAX], 1, &reason) == 0); /* N1 */
    TIDE_ASSERT(n->learned_count <= NET_LEARNED_MAX);                                       /* N2 */
    TIDE_ASSERT(n->icmp_error_count <= NET_ICMP_ERRORS_MAX);                                /* N2 */
    arp_check(&n->arp);                                                                     /* N3 */
}
