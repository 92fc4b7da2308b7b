/* SPDX-License-Identifier: Apache-2.0 */
#include "net/ip6.h"
#include "net/net_internal.h"

#include "tidemark/assert.h"
#include "tidemark/bytes.h"
#include "tidemark/checksum.h"

enum { ADDRESSES_IN_HEADER = 8 };

/* ---- whose address it is ---------------------------------------------------------------------------------------------- */

static bool is_ours(const struct net *n, const struct tide_addr *a)
{
    return ip6_is_equal(a, &n->config.addr6) || ip6_is_equal(a, &n->link_local);
}

static bool is_on_link(const struct net *n, const struct tide_addr *a)
{
    return ip6_is_link_local(a) || ip6_has_prefix(a, &n->config.addr6, n->config.prefix6_len);
}

static bool is_foreign_host(const struct net *n, const struct tide_addr *a)
{
    return ip6_is_host(a) && !is_ours(n, a);
}

bool net6_is_neighbour(const struct net *n, const struct tide_addr *a)
{
    if (!n->has6 || !is_foreign_host(n, a))
        return false;
    return is_on_link(n, a) || (n->has_gateway6 && ip6_is_equal(a, &n->config.gateway6));
}

/* The groups of our addresses, at most two (RFC 4291 2.8); all nodes are the other group we are in. */
static unsigned own_groups(const struct tide_addr *addr, const struct tide_addr *link_local, struct tide_addr ret_groups[2])
{
    ret_groups[0] = ip6_solicited_node(addr);
    ret_groups[1] = ip6_solicited_node(link_local);
    return ip6_is_equal(&ret_groups[0], &ret_groups[1]) ? 1 : 2;
}

static bool is_our_group(const struct net *n, const struct tide_addr *a)
{
    struct tide_addr groups[2];
    struct tide_addr all = ip6_all_nodes();
    unsigned count = own_groups(&n->config.addr6, &n->link_local, groups);
    if (ip6_is_equal(a, &all))
        return true;
    for (unsigned i = 0; i < count; i++)
        if (ip6_is_equal(a, &groups[i]))
            return true;
    return false;
}

unsigned net_groups(const struct net_config *config, struct rte_ether_addr ret_groups[NET_GROUPS_MAX])
{
    struct tide_addr groups[NET_GROUPS_MAX] = {ip6_all_nodes()};
    struct tide_addr link_local = ip6_link_local(&config->mac);
    if (ip6_is_unspecified(&config->addr6))
        return 0;
    unsigned count = 1 + own_groups(&config->addr6, &link_local, groups + 1);
    for (unsigned i = 0; i < count; i++)
        ret_groups[i] = ip6_group_mac(&groups[i]);
    return count;
}

bool net6_is_group_mac(const struct net *n, const struct rte_ether_addr *mac)
{
    for (unsigned i = 0; i < n->group_count; i++)
        if (rte_is_same_ether_addr(mac, &n->groups[i]))
            return true;
    return false;
}

/* RFC 4291 2.6.1: the address of the network is its routers' anycast address. */
static bool is_network_address(const struct tide_addr *a, unsigned prefix_len)
{
    for (unsigned bit = prefix_len; bit < 128; bit++)
        if ((a->bytes[bit / 8] & 0x80u >> bit % 8) != 0)
            return false;
    return prefix_len < 127; /* RFC 6164 5 */
}

enum tide_status net6_init(struct net *n, uint64_t now_ns)
{
    const struct net_config *config = &n->config;
    n->has6 = !ip6_is_unspecified(&config->addr6);
    n->has_gateway6 = !ip6_is_unspecified(&config->gateway6);
    n->link_local = ip6_link_local(&config->mac);
    n->group_count = (uint8_t)net_groups(config, n->groups);
    if (!n->has6)
        return n->has_gateway6 ? TIDE_BAD : TIDE_OK;
    if (config->prefix6_len > 128 || config->mtu < TIDE_IPV6_MTU_MIN)
        return TIDE_BAD;
    if (!ip6_is_host(&config->addr6) || ip6_is_link_local(&config->addr6))
        return TIDE_BAD;
    if (is_network_address(&config->addr6, config->prefix6_len))
        return TIDE_BAD;
    if (n->has_gateway6 && !is_foreign_host(n, &config->gateway6))
        return TIDE_BAD;
    n->announce6_ns = config->announce ? now_ns : TIDE_NEVER;
    return TIDE_OK;
}

void net_set_way6(struct net *n, uint8_t prefix6_len, const struct tide_addr *gateway6)
{
    TIDE_ASSERT(prefix6_len <= 128);
    n->config.prefix6_len = prefix6_len;
    n->config.gateway6 = *gateway6;
    n->has_gateway6 = n->has6 && is_foreign_host(n, gateway6);
    net_ways_forget(n);
}

/* ---- what we send ------------------------------------------------------------------------------------------------------ */

static void prepend_ip6(struct rte_mbuf *m, const struct ip6_fields *h)
{
    uint8_t *at = (uint8_t *)rte_pktmbuf_prepend(m, TIDE_IPV6_HEADER);
    TIDE_ASSERT(at != NULL);
    ip6_write(at, h);
    m->l3_len = TIDE_IPV6_HEADER;
}

uint16_t net6_prepend_tcp(const struct net *n, struct rte_mbuf *m, const struct tide_addr *source,
                          const struct tide_addr *destination, uint8_t ecn, uint16_t len)
{
    prepend_ip6(m, &(struct ip6_fields){.source = *source,
                                        .destination = *destination,
                                        .payload_len = len,
                                        .protocol = TIDE_IPV6_TCP,
                                        .hop_limit = n->config.ttl != 0 ? n->config.ttl : IP6_HOP_LIMIT,
                                        .ecn = ecn,
                                        .dscp = n->config.dscp});
    m->ol_flags |= RTE_MBUF_F_TX_IPV6;
    const uint8_t *header = rte_pktmbuf_mtod(m, const uint8_t *);
    return tide_sum_fold(tide_ipv6_pseudo_sum(header + ADDRESSES_IN_HEADER, TIDE_IPV6_TCP, m->ol_flags & RTE_MBUF_F_TX_TCP_SEG ? 0 : len));
}

enum tide_status net6_route(const struct net *n, const struct tide_addr *source, const struct tide_addr *destination,
                            struct tide_addr *ret_next_hop)
{
    if (!n->has6 || !ip6_is_equal(source, &n->config.addr6) || !is_foreign_host(n, destination))
        return TIDE_REFUSED;
    if (!is_on_link(n, destination) && !n->has_gateway6)
        return TIDE_ABSENT;
    *ret_next_hop = is_on_link(n, destination) ? *destination : n->config.gateway6;
    return TIDE_OK;
}

static bool send_nd(struct net *n, const struct nd_packet *p, const struct tide_addr *source, const struct tide_addr *destination,
                    const struct rte_ether_addr *to)
{
    struct rte_mbuf *m = net_frame_alloc(n);
    if (m == NULL)
        return false;
    uint8_t bytes[ND_PACKET_MAX];
    uint16_t len = nd_write(bytes, p);
    uint8_t *at = (uint8_t *)rte_pktmbuf_append(m, len);
    TIDE_ASSERT(at != NULL);
    memcpy(at, bytes, len);
    icmp6_sum(at, len, source, destination);
    prepend_ip6(m, &(struct ip6_fields){.source = *source,
                                        .destination = *destination,
                                        .payload_len = len,
                                        .protocol = TIDE_IPV6_ICMP,
                                        .hop_limit = IP6_HOP_LIMIT_ND});
    net_prepend_ethernet(n, m, to, ETH_TYPE_IPV6);
    return net_tx_push(n, m);
}

/* RFC 4861 7.2.2: to the group of the address asked for, or to the neighbour alone to hear that it is still there. The
 * source is of the scope of what is asked for. */
void net6_ask(struct net *n, const struct neighbour_ask *ask)
{
    struct nd_packet p = {.target = ask->addr, .mac = n->config.mac, .has_mac = true};
    struct tide_addr destination = ask->addr;
    struct rte_ether_addr to = ask->to;
    if (rte_is_broadcast_ether_addr(&to)) {
        destination = ip6_solicited_node(&ask->addr);
        to = ip6_group_mac(&destination);
    }
    const struct tide_addr *source = ip6_is_link_local(&ask->addr) ? &n->link_local : &n->config.addr6;
    (void)send_nd(n, &p, source, &destination, &to); /* lost ones are repeated by the cache's timer */
}

/* RFC 4861 7.2.6: to all nodes; who has another mac of us takes this one. */
static bool send_announcement(struct net *n, const struct tide_addr *target)
{
    struct nd_packet p = {.target = *target, .mac = n->config.mac, .has_mac = true, .is_advertisement = true, .is_override = true};
    struct tide_addr all = ip6_all_nodes();
    struct rte_ether_addr to = ip6_group_mac(&all);
    return send_nd(n, &p, target, &all, &to);
}

/* RFC 4862 5.4.2: a solicitation for ourselves from nobody. */
static bool send_probe(struct net *n, const struct tide_addr *target)
{
    static const struct tide_addr nobody;
    struct nd_packet p = {.target = *target};
    struct tide_addr group = ip6_solicited_node(target);
    struct rte_ether_addr to = ip6_group_mac(&group);
    return send_nd(n, &p, &nobody, &group, &to);
}

/* Switches that watch group membership forward our groups to us only when we say so (RFC 4541 3). */
static bool send_report(struct net *n, bool joins)
{
    struct tide_addr groups[2];
    struct tide_addr destination;
    unsigned count = own_groups(&n->config.addr6, &n->link_local, groups);
    struct rte_mbuf *m = net_frame_alloc(n);
    if (m == NULL)
        return false;
    uint8_t *at = (uint8_t *)rte_pktmbuf_append(m, MLD_REPORT_MAX);
    TIDE_ASSERT(at != NULL);
    uint16_t len = mld_write(at, &n->link_local, groups, count, joins, &destination);
    (void)rte_pktmbuf_trim(m, (uint16_t)(MLD_REPORT_MAX - len));
    struct rte_ether_addr to = ip6_group_mac(&destination);
    prepend_ip6(m, &(struct ip6_fields){.source = n->link_local,
                                        .destination = destination,
                                        .payload_len = len,
                                        .protocol = TIDE_IPV6_HOP_BY_HOP,
                                        .hop_limit = 1});
    net_prepend_ethernet(n, m, &to, ETH_TYPE_IPV6);
    return net_tx_push(n, m);
}

/* ---- neighbour discovery ------------------------------------------------------------------------------------------------ */

/* Another station has our address: as in IPv4 it is counted and we keep it. */
static void defend(struct net *n, uint64_t now_ns, const struct tide_addr *target)
{
    net_count(n, COUNTER_nd_conflicts);
    if (n->defended6_ns != 0 && now_ns - n->defended6_ns < NET_DEFEND_NS)
        return;
    if (send_announcement(n, target))
        n->defended6_ns = TIDE_MAX(now_ns, 1);
}

/* RFC 4861 7.2.4. Who asks from nobody is probing, and is told before all nodes. The way back is the station that asked:
 * whoever it is, it is on our link. */
static void answer_solicitation(struct net *n, const struct nd_packet *asked, const struct tide_ipv6_view *ip,
                                const struct rte_ether_addr *from)
{
    struct nd_packet p = {.target = asked->target, .mac = n->config.mac, .has_mac = true, .is_advertisement = true,
                          .is_solicited = true, .is_override = true};
    if (ip6_is_unspecified(&ip->source))
        (void)send_announcement(n, &asked->target);
    else
        (void)send_nd(n, &p, &asked->target, &ip->source, asked->has_mac ? &asked->mac : from);
}

static void take_solicitation(struct net *n, uint64_t now_ns, const struct nd_packet *p, const struct tide_ipv6_view *ip,
                              const struct rte_ether_addr *from)
{
    /* Both of us are probing: RFC 4862 5.4.3. */
    if (ip6_is_unspecified(&ip->source) && n->announce6_ns != TIDE_NEVER && n->announced6 <= 1)
        net_count(n, COUNTER_nd_conflicts);
    if (p->has_mac && net6_is_neighbour(n, &ip->source)) {
        (void)net_learn(n, now_ns, &ip->source, &p->mac, NEIGHBOUR_FROM_ASK);
        net_remember_learned(n, &ip->source, &p->mac, NEIGHBOUR_FROM_ASK);
    }
    answer_solicitation(n, p, ip, from);
}

/* RFC 4861 7.2.5. Without a link-layer address it answers a solicitation that went to one station, and says no more than
 * that this station is still there. */
static void take_advertisement(struct net *n, uint64_t now_ns, const struct nd_packet *p, const struct rte_ether_addr *from)
{
    if (!p->has_mac && !p->is_solicited)
        return;
    enum neighbour_source source = !p->has_mac      ? NEIGHBOUR_FROM_SAME
                                   : p->is_override ? NEIGHBOUR_FROM_OTHER
                                                    : NEIGHBOUR_FROM_WEAK;
    const struct rte_ether_addr *mac = p->has_mac ? &p->mac : from;
    (void)net_learn(n, now_ns, &p->target, mac, source);
    net_remember_learned(n, &p->target, mac, source); /* a sibling may have asked */
}

static enum net_verdict nd_input(struct net *n, uint64_t now_ns, struct rte_mbuf *m, const struct tide_ipv6_view *ip,
                                 const struct eth_view *eth)
{
    struct nd_packet p;
    if (m->data_len != ip->payload_len || nd_parse(rte_pktmbuf_mtod(m, const uint8_t *), m->data_len, ip, &p) != TIDE_OK)
        return net_drop(n, m, COUNTER_rx_malformed);
    bool about_us = is_ours(n, &p.target);
    if (!p.is_advertisement && !about_us)
        return net_drop(n, m, COUNTER_rx_unknown);
    if (p.is_advertisement && !about_us && !net6_is_neighbour(n, &p.target))
        return net_drop(n, m, COUNTER_rx_unknown);
    net_count(n, COUNTER_nd_in);
    if (p.is_advertisement && about_us)
        defend(n, now_ns, &p.target);
    else if (is_ours(n, &ip->source))
        defend(n, now_ns, &ip->source);
    else if (p.is_advertisement)
        take_advertisement(n, now_ns, &p, &eth->source);
    else
        take_solicitation(n, now_ns, &p, ip, &eth->source);
    return net_consume(m);
}

/* ---- the rest of ICMPv6 ------------------------------------------------------------------------------------------------- */

/* RFC 4443 4.2: the same data back, from the address that was asked. */
static void answer_echo(struct net *n, struct rte_mbuf *m, const struct tide_ipv6_view *ip, const struct eth_view *eth)
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
    icmp[0] = ICMP6_ECHO_REPLY;
    icmp6_sum(icmp, ip->payload_len, &ip->destination, &ip->source);
    prepend_ip6(reply, &(struct ip6_fields){.source = ip->destination,
                                            .destination = ip->source,
                                            .payload_len = ip->payload_len,
                                            .protocol = TIDE_IPV6_ICMP,
                                            .hop_limit = IP6_HOP_LIMIT});
    net_prepend_ethernet(n, reply, &eth->source, ETH_TYPE_IPV6);
    if (net_tx_push(n, reply))
        net_count(n, COUNTER_icmp_echo);
}

static enum net_verdict error_input(struct net *n, struct rte_mbuf *m)
{
    struct icmp6_quote q;
    switch (icmp6_parse_error(rte_pktmbuf_mtod(m, const uint8_t *), m->data_len, &q)) {
    case TIDE_OK:
        break;
    case TIDE_BAD:
        return net_drop(n, m, COUNTER_rx_malformed);
    default:
        return net_drop(n, m, COUNTER_rx_unknown);
    }
    if (!ip6_is_equal(&q.source, &n->config.addr6) || !is_foreign_host(n, &q.destination))
        return net_drop(n, m, COUNTER_rx_unknown);
    net_remember_icmp_error(n, &(struct net_icmp_error){
                                   .peer = q.destination,
                                   .local_port = q.source_port,
                                   .peer_port = q.destination_port,
                                   .sequence = q.sequence,
                                   .next_mtu = (uint16_t)TIDE_MIN(q.next_mtu, (uint32_t)UINT16_MAX),
                                   .type = q.type,
                                   .code = q.code,
                               });
    return net_consume(m);
}

/* RFC 3810 6.2: only from a router on the link. We need not wait at random: our two groups are nobody else's. */
static enum net_verdict query_input(struct net *n, uint64_t now_ns, struct rte_mbuf *m, const struct tide_ipv6_view *ip)
{
    if (ip->payload_len < MLD_QUERY || ip->hop_limit != 1 || !ip6_is_link_local(&ip->source))
        return net_drop(n, m, COUNTER_rx_malformed);
    if (n->reported_ns == 0 || now_ns - n->reported_ns >= NET_REPORT_NS)
        if (send_report(n, false))
            n->reported_ns = TIDE_MAX(now_ns, 1);
    return net_consume(m);
}

static enum net_verdict icmp6_input(struct net *n, uint64_t now_ns, struct rte_mbuf *m, const struct tide_ipv6_view *ip,
                                    const struct eth_view *eth, uint64_t pseudo_sum)
{
    const uint8_t *bytes = rte_pktmbuf_mtod(m, const uint8_t *);
    bool unicast = !ip6_is_multicast(&ip->destination);
    if (ip->payload_len < ICMP6_HEADER)
        return net_drop(n, m, COUNTER_rx_malformed);
    if (tide_sum_fold(tide_sum_add_mbuf(pseudo_sum, m, 0, ip->payload_len)) != 0xffff)
        return net_drop(n, m, COUNTER_rx_csum_bad);
    if (bytes[0] == ICMP6_SOLICITATION || bytes[0] == ICMP6_ADVERTISEMENT)
        return nd_input(n, now_ns, m, ip, eth);
    if (bytes[0] == ICMP6_MLD_QUERY)
        return query_input(n, now_ns, m, ip);
    if (!unicast || !is_foreign_host(n, &ip->source))
        return net_drop(n, m, COUNTER_rx_unknown);
    if (is_on_link(n, &ip->source))
        (void)net_learn(n, now_ns, &ip->source, &eth->source, NEIGHBOUR_FROM_FRAME);
    if (bytes[0] == ICMP6_ECHO && bytes[1] == 0) {
        answer_echo(n, m, ip, eth);
        return net_consume(m);
    }
    return error_input(n, m);
}

/* ---- packets in ----------------------------------------------------------------------------------------------------------- */

static bool is_for_us(const struct net *n, const struct tide_ipv6_view *ip, const struct eth_view *eth)
{
    if (ip6_is_multicast(&ip->destination))
        return ip->protocol != TIDE_IPV6_TCP && is_our_group(n, &ip->destination);
    if (!rte_is_same_ether_addr(&eth->destination, &n->config.mac))
        return false;
    return ip->protocol == TIDE_IPV6_TCP ? ip6_is_equal(&ip->destination, &n->config.addr6) : is_ours(n, &ip->destination);
}

enum net_verdict net6_input(struct net *n, uint64_t now_ns, struct rte_mbuf *m, const struct eth_view *eth, struct net_packet *ret)
{
    struct tide_ipv6_view ip;
    const uint8_t *header = rte_pktmbuf_mtod(m, const uint8_t *);
    if (!n->has6)
        return net_drop(n, m, COUNTER_rx_unknown);
    if (tide_ipv6_parse(header, m->data_len, m->pkt_len, &ip) != TIDE_OK)
        return net_drop(n, m, COUNTER_rx_malformed);
    if (!is_for_us(n, &ip, eth) || rte_is_same_ether_addr(&eth->source, &n->config.mac))
        return net_drop(n, m, COUNTER_rx_unknown);
    if (ip.protocol == TIDE_IPV6_FRAGMENT)
        return net_drop(n, m, COUNTER_rx_fragments);
    if (ip.protocol != TIDE_IPV6_TCP && ip.protocol != TIDE_IPV6_ICMP)
        return net_drop(n, m, COUNTER_rx_unknown);
    /* From nobody only a probe comes, and our own address is only looked at by neighbour discovery. */
    const struct net_way *way = net_way_find(n, &ip.source);
    bool strange = way == NULL && !is_foreign_host(n, &ip.source);
    if (strange && (ip.protocol == TIDE_IPV6_TCP || !(ip6_is_unspecified(&ip.source) || is_ours(n, &ip.source))))
        return net_drop(n, m, COUNTER_rx_unknown);
    uint64_t pseudo_sum = tide_ipv6_pseudo_sum(header + ADDRESSES_IN_HEADER, TIDE_IPV6_ICMP, ip.payload_len);
    (void)rte_pktmbuf_adj(m, ip.header_len);
    if (m->data_len < TIDE_MIN((uint32_t)ip.payload_len, (uint32_t)IP_TCP_FRONT))
        return net_drop(n, m, COUNTER_rx_malformed);
    net_trim(m, ip.payload_len);
    if (ip.protocol == TIDE_IPV6_ICMP)
        return icmp6_input(n, now_ns, m, &ip, eth, pseudo_sum);
    if (is_on_link(n, &ip.source) && (way == NULL || !neighbour_confirm(&n->neighbours, now_ns, way->neighbour, &eth->source)))
        (void)net_learn(n, now_ns, &ip.source, &eth->source, NEIGHBOUR_FROM_FRAME);
    *ret = (struct net_packet){
        .source = ip.source,
        .destination = ip.destination,
        .vlan = eth->vlan,
        .ecn = ip.ecn,
        .protocol = ip.protocol,
    };
    return NET_TCP;
}

/* ---- time ------------------------------------------------------------------------------------------------------------------- */

/* First the groups and the probes, and after a wait the announcements; what could not be sent is made up for. */
void net6_on_time(struct net *n, uint64_t now_ns)
{
    if (now_ns < n->announce6_ns)
        return;
    if (n->announced6 == 0) {
        n->announce6_ns = now_ns + NET_PROBE_NS;
        if (send_report(n, true) && send_probe(n, &n->link_local) && send_probe(n, &n->config.addr6))
            n->announced6 = 1;
        return;
    }
    n->announce6_ns = now_ns + NET_ANNOUNCE_NS;
    if (send_announcement(n, &n->config.addr6) && ++n->announced6 == 1 + NET_ANNOUNCE_COUNT)
        n->announce6_ns = TIDE_NEVER;
}
