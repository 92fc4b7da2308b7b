/* SPDX-License-Identifier: Apache-2.0 */
#include "net/net.h"

#include "net/net_internal.h"
#include "tidemark/assert.h"
#include "tidemark/bytes.h"
#include "tidemark/checksum.h"
#include "tidemark/ipv6.h"

enum { TCP_HEADER_MIN = 20, TCP_DATA_OFFSET = 12, TCP_CHECKSUM = 16, ECN_MASK = 3 };

enum tide_status net_init(struct net *n, const struct net_config *config, uint64_t now_ns)
{
    memset(n, 0, sizeof(*n));
    n->config = *config;
    neighbour_init(&n->neighbours);
    n->announce_ns = TIDE_NEVER;
    n->announce6_ns = TIDE_NEVER;
    if (config->vlan >= ETH_VLAN_ID_MASK || config->mtu < NET_MTU_MIN)
        return TIDE_BAD;
    if (!rte_is_valid_assigned_ether_addr(&config->mac))
        return TIDE_BAD;
    if (net4_init(n, now_ns) != TIDE_OK)
        return TIDE_BAD;
    return net6_init(n, now_ns);
}

void net_deinit(struct net *n)
{
    struct rte_mbuf *m;
    while (net_take_tx(n, &m, 1) != 0)
        rte_pktmbuf_free(m);
    neighbour_deinit(&n->neighbours);
}

void net_move(struct net *n, uint64_t now_ns, uint16_t port, const struct rte_ether_addr *mac)
{
    n->config.port = port;
    n->config.mac = *mac;
    net_ways_forget(n);
    if (!n->config.announce)
        return;
    n->announced = 0;
    n->announce_ns = now_ns;
    if (!n->has6)
        return;
    n->announced6 = 1; /* the address was ours before: nothing to probe */
    n->announce6_ns = now_ns;
}

bool net_tx_push(struct net *n, struct rte_mbuf *m)
{
    if (n->tx_count == NET_TX_MAX) {
        net_count(n, COUNTER_tx_full);
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

struct rte_mbuf *net_frame_alloc(struct net *n)
{
    struct rte_mbuf *m = rte_pktmbuf_alloc(n->config.tx_pool);
    if (m == NULL)
        net_count(n, COUNTER_mbuf_empty);
    return m;
}

void net_prepend_ethernet(struct net *n, struct rte_mbuf *m, const struct rte_ether_addr *to, uint16_t type)
{
    struct eth_view h = {.source = n->config.mac, .type = type, .vlan = n->config.vlan};
    uint16_t len = h.vlan != 0 ? ETH_HEADER + ETH_VLAN_TAG : ETH_HEADER;
    uint8_t *at = (uint8_t *)rte_pktmbuf_prepend(m, len);
    TIDE_ASSERT(at != NULL);
    h.destination = *to;
    m->l2_len = eth_write(at, &h);
}

uint8_t *net_copy_out(const struct rte_mbuf *m, uint32_t len, struct rte_mbuf *to)
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

void net_cut(struct rte_mbuf *m, uint32_t len)
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

/* ---- neighbours, and what is kept for others ------------------------------------------------------------------------ */

static void send_ask(struct net *n, const struct neighbour_ask *ask)
{
    if (n->config.is_kernels) {
        if (n->wanted_count < NET_LEARNED_MAX)
            n->wanted[n->wanted_count++] = ask->addr;
    } else if (tide_addr_is_v4(&ask->addr))
        net4_ask(n, ask);
    else
        net6_ask(n, ask);
}

bool net_learn(struct net *n, uint64_t now_ns, const struct tide_addr *addr, const struct rte_ether_addr *mac,
               enum neighbour_source source)
{
    uint16_t index = neighbour_learn(&n->neighbours, now_ns, addr, mac, source);
    struct rte_mbuf *m;
    if (index == NEIGHBOUR_NONE)
        return false;
    while ((m = neighbour_take_pending(&n->neighbours, index)) != NULL) {
        memcpy(rte_pktmbuf_mtod(m, void *), mac, RTE_ETHER_ADDR_LEN);
        (void)net_tx_push(n, m);
    }
    return true;
}

void net_remember_learned(struct net *n, const struct tide_addr *addr, const struct rte_ether_addr *mac,
                          enum neighbour_source source)
{
    if (n->learned_count == NET_LEARNED_MAX)
        return;
    unsigned at = (n->learned_head + n->learned_count) % NET_LEARNED_MAX;
    n->learned[at] = (struct net_neighbour){.addr = *addr, .mac = *mac, .source = (uint8_t)source};
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
    bool known = tide_addr_is_v4(&entry->addr) ? net4_is_neighbour(n, &entry->addr) : net6_is_neighbour(n, &entry->addr);
    if (n->config.is_kernels && !known)
        return; /* the kernel has neighbours that are none of ours */
    if (!TIDE_EXPECT(known) || !TIDE_EXPECT(entry->source < NEIGHBOUR_SOURCE_COUNT))
        return;
    (void)net_learn(n, now_ns, &entry->addr, &entry->mac, (enum neighbour_source)entry->source);
}

unsigned net_take_wanted(struct net *n, struct tide_addr *addrs, unsigned max)
{
    unsigned taken = TIDE_MIN(max, n->wanted_count);
    memcpy(addrs, n->wanted, taken * sizeof(addrs[0]));
    n->wanted_count = (uint16_t)(n->wanted_count - taken);
    memmove(n->wanted, n->wanted + taken, n->wanted_count * sizeof(n->wanted[0]));
    return taken;
}

void net_set_way(struct net *n, uint8_t prefix_len, uint32_t gateway)
{
    TIDE_ASSERT(prefix_len <= 32);
    n->config.prefix_len = prefix_len;
    n->mask = prefix_len == 0 ? 0 : UINT32_MAX << (32 - prefix_len);
    n->gateway = gateway;
    net_ways_forget(n);
}

void net_remember_icmp_error(struct net *n, const struct net_icmp_error *e)
{
    net_count(n, COUNTER_icmp_errors);
    if (n->icmp_error_count == NET_ICMP_ERRORS_MAX)
        return;
    n->icmp_errors[(n->icmp_error_head + n->icmp_error_count) % NET_ICMP_ERRORS_MAX] = *e;
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

/* ---- frames in ------------------------------------------------------------------------------------------------------ */

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
    if (net4_plain_input(n, now_ns, m, ret))
        return NET_TCP;
    if (eth_parse(rte_pktmbuf_mtod(m, const uint8_t *), m->data_len, &eth) != TIDE_OK)
        return net_drop(n, m, COUNTER_rx_malformed);
    if (!take_stripped_tag(m, &eth) || eth.vlan != n->config.vlan)
        return net_drop(n, m, COUNTER_rx_unknown);
    bool to_us = rte_is_same_ether_addr(&eth.destination, &n->config.mac);
    bool to_group = eth.type == ETH_TYPE_IPV6 && net6_is_group_mac(n, &eth.destination);
    if (!to_us && !to_group && !rte_is_broadcast_ether_addr(&eth.destination))
        return net_drop(n, m, COUNTER_rx_unknown);
    if (!rte_is_valid_assigned_ether_addr(&eth.source))
        return net_drop(n, m, COUNTER_rx_malformed);
    (void)rte_pktmbuf_adj(m, eth.header_len);
    if (eth.type == ETH_TYPE_ARP)
        return net4_arp_input(n, now_ns, m);
    if (eth.type == ETH_TYPE_IPV4)
        return net4_input(n, now_ns, m, &eth, ret);
    if (eth.type == ETH_TYPE_IPV6)
        return net6_input(n, now_ns, m, &eth, ret);
    return net_drop(n, m, COUNTER_rx_unknown);
}

/* ---- packets out ---------------------------------------------------------------------------------------------------- */

static bool is_sendable(const struct rte_mbuf *m, uint32_t largest)
{
    uint32_t header;
    if (m->data_len < TCP_HEADER_MIN)
        return false;
    header = (rte_pktmbuf_mtod(m, const uint8_t *)[TCP_DATA_OFFSET] >> 4) * 4u;
    if (header > m->data_len)
        return false;
    if (m->ol_flags & RTE_MBUF_F_TX_TCP_SEG) { /* the port makes packets of it, and none may be too large */
        if (m->tso_segsz == 0 || header + m->tso_segsz > largest || m->pkt_len > NET_SEGMENTED_MAX)
            return false;
    } else if (m->pkt_len > largest) {
        return false;
    }
    return rte_pktmbuf_headroom(m) >= NET_HEADROOM && RTE_MBUF_DIRECT(m) &&
           rte_mbuf_refcnt_read(m) == 1;
}

void net_ways_forget(struct net *n)
{
    memset(n->ways, 0, sizeof(n->ways));
}

/* Where a header has what differs from packet to packet: IPv4 has ECN in the second byte and counts itself in its length,
 * IPv6 has it four bits further and does not. */
static void set_varying(uint8_t *ip, bool v4, uint8_t ecn, uint16_t len)
{
    unsigned shift = v4 ? 0 : 4;
    ip[1] = (uint8_t)((ip[1] & ~(ECN_MASK << shift)) | (ecn & ECN_MASK) << shift);
    store_be16(ip + (v4 ? 2 : 4), (uint16_t)(v4 ? IP_HEADER + len : len));
}

/* The frame `m` has just been built. */
static void remember_way(struct net *n, const struct rte_mbuf *m, const struct tide_addr *source, const struct tide_addr *destination,
                         uint16_t neighbour)
{
    struct net_way *w = net_way_at(n, destination);
    unsigned front = m->l2_len + m->l3_len;
    const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *);
    uint16_t sum, len = m->ol_flags & RTE_MBUF_F_TX_TCP_SEG ? 0 : rte_cpu_to_be_16((uint16_t)(m->pkt_len - front));
    memcpy(&sum, frame + front + TCP_CHECKSUM, sizeof(sum));
    *w = (struct net_way){.generation = n->neighbours.generation,
                          .source = *source,
                          .destination = *destination,
                          .ol_flags = m->ol_flags & ~RTE_MBUF_F_TX_TCP_SEG,
                          .neighbour = neighbour,
                          .sum = tide_sum_fold((uint64_t)sum + (uint16_t)~len), /* ~ is minus in this arithmetic */
                          .l2_len = m->l2_len,
                          .l3_len = (uint8_t)m->l3_len};
    memcpy(w->front + NET_HEADROOM - front, frame, front);
    set_varying(w->front + NET_HEADROOM - m->l3_len, m->l3_len == IP_HEADER, 0, 0);
}

/* The same frame as build_frame's. What lies before it in the headroom is nobody's. */
static void put_way(struct rte_mbuf *m, const struct net_way *w, uint8_t ecn)
{
    uint8_t *tcp = rte_pktmbuf_mtod(m, uint8_t *);
    uint16_t len = (uint16_t)m->pkt_len;
    uint16_t sum = tide_sum_fold((uint64_t)w->sum + (m->ol_flags & RTE_MBUF_F_TX_TCP_SEG ? 0 : rte_cpu_to_be_16(len)));
    memcpy(tcp - NET_HEADROOM, w->front, NET_HEADROOM);
    set_varying(tcp - w->l3_len, w->l3_len == IP_HEADER, ecn, len);
    memcpy(tcp + TCP_CHECKSUM, &sum, sizeof(sum));
    m->l2_len = w->l2_len;
    m->l3_len = w->l3_len;
    m->l4_len = (uint8_t)((tcp[TCP_DATA_OFFSET] >> 4) * 4);
    m->ol_flags |= w->ol_flags;
    (void)rte_pktmbuf_prepend(m, (uint16_t)(w->l2_len + w->l3_len));
}

/* The whole frame except for the destination's mac. */
static void build_frame(struct net *n, struct rte_mbuf *m, const struct tide_addr *source, const struct tide_addr *destination,
                        uint8_t ecn, const struct rte_ether_addr *to)
{
    bool v4 = tide_addr_is_v4(destination);
    uint16_t len = (uint16_t)m->pkt_len;
    uint8_t *tcp = rte_pktmbuf_mtod(m, uint8_t *);
    m->l4_len = (uint8_t)((tcp[TCP_DATA_OFFSET] >> 4) * 4);
    m->ol_flags |= RTE_MBUF_F_TX_TCP_CKSUM;
    uint16_t sum = v4 ? net4_prepend_tcp(n, m, source, destination, ecn, len) : net6_prepend_tcp(n, m, source, destination, ecn, len);
    memcpy(tcp + TCP_CHECKSUM, &sum, sizeof(sum));
    net_prepend_ethernet(n, m, to, v4 ? ETH_TYPE_IPV4 : ETH_TYPE_IPV6);
}

enum tide_status net_output(struct net *n, uint64_t now_ns, struct rte_mbuf *m,
                            const struct tide_addr *source, const struct tide_addr *destination,
                            uint8_t ecn)
{
    struct rte_ether_addr to = {{0}};
    struct neighbour_ask ask;
    struct tide_addr next_hop;
    bool must_ask;
    uint16_t index;
    const struct net_way *known = net_way_find(n, destination);
    if (!is_sendable(m, known != NULL ? n->config.mtu - known->l3_len : net_packet_max(n, destination)))
        return TIDE_REFUSED;
    if (known != NULL && n->tx_count != NET_TX_MAX && tide_addr_is_same(&known->source, source) &&
        neighbour_use(&n->neighbours, now_ns, known->neighbour)) {
        put_way(m, known, ecn);
        (void)net_tx_push(n, m);
        return TIDE_OK;
    }
    enum tide_status status = tide_addr_is_v4(destination) ? net4_route(n, source, destination, &next_hop)
                                                           : net6_route(n, source, destination, &next_hop);
    if (status != TIDE_OK)
        return status;
    if (n->tx_count == NET_TX_MAX)
        return TIDE_FULL;

    enum neighbour_answer way = neighbour_resolve(&n->neighbours, now_ns, &next_hop, &to, &index, &must_ask, &ask);
    build_frame(n, m, source, destination, ecn, &to);
    if (way == NEIGHBOUR_SEND) {
        remember_way(n, m, source, destination, index);
        (void)net_tx_push(n, m);
    } else if (way == NEIGHBOUR_LOST || neighbour_hold(&n->neighbours, index, m) != TIDE_OK) {
        net_count(n, COUNTER_neighbour_full);
        rte_pktmbuf_free(m);
    }
    if (must_ask)
        send_ask(n, &ask);
    return TIDE_OK;
}

/* ---- time ----------------------------------------------------------------------------------------------------------- */

uint64_t net_deadline_ns(const struct net *n)
{
    uint64_t announce_ns = TIDE_MIN(n->announce_ns, n->announce6_ns);
    return TIDE_MIN(announce_ns, neighbour_deadline_ns(&n->neighbours));
}

void net_on_time(struct net *n, uint64_t now_ns)
{
    struct neighbour_ask asks[NEIGHBOUR_ASKS];
    unsigned lost = 0;
    net4_on_time(n, now_ns);
    net6_on_time(n, now_ns);
    unsigned due = neighbour_on_time(&n->neighbours, now_ns, asks, &lost);
    for (unsigned i = 0; i < due; i++)
        send_ask(n, &asks[i]);
    tide_count_many(n->config.counters, COUNTER_neighbour_full, lost);
}

static void check_way(const struct net *n, const struct net_way *w)
{
    if (w->generation != n->neighbours.generation)
        return;
    const struct neighbour *next = &n->neighbours.neighbours[w->neighbour];
    const uint8_t *front = w->front + NET_HEADROOM - w->l2_len - w->l3_len;
    TIDE_ASSERT(net_way_at((struct net *)(uintptr_t)n, &w->destination) == w);
    TIDE_ASSERT(next->state == NEIGHBOUR_REACHABLE || next->state == NEIGHBOUR_REFRESHING);
    TIDE_ASSERT(memcmp(front, &next->mac, RTE_ETHER_ADDR_LEN) == 0);
    TIDE_ASSERT(memcmp(front + RTE_ETHER_ADDR_LEN, &n->config.mac, RTE_ETHER_ADDR_LEN) == 0);
}

void net_check(const struct net *n)
{
    const char *reason;
    TIDE_ASSERT(n->tx_count <= NET_TX_MAX); /* N1 */
    for (unsigned i = 0; i < n->tx_count; i++)
        TIDE_ASSERT(rte_mbuf_check(n->tx[(n->tx_head + i) % NET_TX_MAX], 1, &reason) == 0); /* N1 */
    TIDE_ASSERT(n->learned_count <= NET_LEARNED_MAX);                                       /* N2 */
    TIDE_ASSERT(n->icmp_error_count <= NET_ICMP_ERRORS_MAX);                                /* N2 */
    neighbour_check(&n->neighbours);                                                        /* N3 */
    for (unsigned i = 0; i < NET_WAYS; i++)
        check_way(n, &n->ways[i]); /* N4 */
}
