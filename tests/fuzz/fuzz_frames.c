/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any frame bytes into the software checks of the ports and the network layer.
 *
 * An input is one byte of configuration and then steps: a frame as it is, a frame whose addresses
 * and sums are put right first so that it comes further, a packet to be sent, time passing,
 * something learned from a sibling, the outboxes emptied. Every frame is an exactly sized heap
 * block (or two, as a chain), so the address sanitizer sees each over-read; at the end no mbuf is
 * missing from the pools. What passes the port's check and comes up as TCP must have a right sum, in either family:
 * the layers agree where TCP begins.
 */
#include "../unit/unit.h"

#include "net/ip.h"
#include "net/ip6.h"
#include "net/net.h"
#include "nic/soft.h"
#include "tidemark/assert.h"
#include "tidemark/bytes.h"
#include "tidemark/checksum.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { POOL = 2047, FRAME_MAX = 1600 };

#define US 0x0a000001u

static const struct tide_addr us6 = {{0xfd, [15] = 1}};
static const struct tide_addr gateway6 = {{0xfe, 0x80, [15] = 0xfe}};

static const struct rte_ether_addr our_mac = {{2, 0, 0, 0, 0, 1}};
static struct rte_mempool *rx_pool;
static struct rte_mempool *tx_pool;
static struct tide_counters counters;
static struct net net;

struct input {
    const uint8_t *at;
    size_t left;
};

static uint8_t next(struct input *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->at++;
}

static uint32_t next32(struct input *in)
{
    uint32_t v = 0;
    for (unsigned i = 0; i < 4; i++)
        v = v << 8 | next(in);
    return v;
}

/* Half of all addresses lie on our link; some are of IPv6. */
static struct tide_addr next_addr(struct input *in)
{
    uint8_t how = next(in);
    struct tide_addr a = us6;
    if ((how & 2) == 0)
        return tide_addr_v4(how & 1 ? (US & 0xffffff00) | next(in) : next32(in));
    for (unsigned i = how & 1 ? 15 : 0; i < 16; i++)
        a.bytes[i] = next(in);
    return a;
}

/* Bytes 1 and 2 of the frame say to whom of us it goes and from whom, before they are overwritten. */
static void put_right6(uint8_t *f, uint32_t len, uint16_t vlan)
{
    uint32_t at = vlan != 0 ? ETH_HEADER + ETH_VLAN_TAG : ETH_HEADER;
    struct tide_addr to[4] = {us6, ip6_link_local(&our_mac), ip6_solicited_node(&us6), ip6_all_nodes()};
    struct eth_view eth = {.destination = our_mac, .type = ETH_TYPE_IPV6, .vlan = vlan};
    uint8_t whom = f[1] & 3;
    uint8_t how = f[2];
    struct tide_ipv6_view ip;
    if (len < at + TIDE_IPV6_HEADER)
        return;
    memcpy(&eth.source, f + 6, 6);
    eth.source.addr_bytes[0] &= 0xfe;
    if (whom >= 2)
        eth.destination = ip6_group_mac(&to[whom]);
    (void)eth_write(f, &eth);
    f[at] = (uint8_t)(0x60 | (f[at] & 15));
    memcpy(f + at + 24, to[whom].bytes, 16);
    if (how & 1)
        memcpy(f + at + 8, us6.bytes, 15);
    else if (how & 2)
        memset(f + at + 8, 0, 16);
    if (how & 4)
        f[at + 7] = 255;
    if (tide_ipv6_parse(f + at, len - at, len - at, &ip) != TIDE_OK) {
        store_be16(f + at + 4, (uint16_t)(len - at - TIDE_IPV6_HEADER));
        if (tide_ipv6_parse(f + at, len - at, len - at, &ip) != TIDE_OK)
            return;
    }
    uint8_t *payload = f + at + ip.header_len;
    if (ip.protocol == TIDE_IPV6_ICMP && ip.payload_len >= ICMP6_HEADER) {
        if (how & 8 && ip.payload_len >= ND_PACKET)
            memcpy(payload + 8, us6.bytes, 16);
        icmp6_sum(payload, ip.payload_len, &ip.source, &ip.destination);
    } else if (ip.protocol == TIDE_IPV6_TCP && ip.payload_len >= 20) {
        store_be16(payload + 16, 0);
        uint64_t pseudo = tide_ipv6_pseudo_sum(f + at + 8, TIDE_IPV6_TCP, ip.payload_len);
        uint16_t sum = (uint16_t)~tide_sum_fold(tide_sum_add(pseudo, payload, ip.payload_len));
        memcpy(payload + 16, &sum, 2);
    }
}

/* Makes bytes that may be an IPv4 or ARP frame to somebody into one to us with right sums. */
static void put_right(uint8_t *f, uint32_t len, uint16_t vlan)
{
    uint32_t at = vlan != 0 ? ETH_HEADER + ETH_VLAN_TAG : ETH_HEADER;
    struct eth_view eth = {.destination = our_mac, .type = ETH_TYPE_IPV4, .vlan = vlan};
    struct ip_view ip;
    if (len < at + IP_HEADER)
        return;
    bool is_arp = f[0] & 1;
    if (!is_arp && f[0] & 4) {
        put_right6(f, len, vlan);
        return;
    }
    memcpy(&eth.source, f + 6, 6);
    eth.source.addr_bytes[0] &= 0xfe;
    if (is_arp)
        eth.type = ETH_TYPE_ARP;
    (void)eth_write(f, &eth);
    if (is_arp) {
        static const uint8_t front[7] = {0, 1, 8, 0, 6, 4, 0};
        memcpy(f + at, front, sizeof(front));
        return;
    }
    store_be32(f + at + 16, US);
    f[at] = (uint8_t)(0x40 | (f[at] & 15));
    if (ip_parse(f + at, len - at, len - at, &ip) != TIDE_OK) {
        f[at] = 0x45;
        store_be16(f + at + 2, (uint16_t)(len - at));
        if (ip_parse(f + at, len - at, len - at, &ip) != TIDE_OK)
            return;
    }
    store_be16(f + at + 10, 0);
    uint16_t sum = (uint16_t)~tide_sum_fold(tide_sum_add(0, f + at, ip.header_len));
    memcpy(f + at + 10, &sum, 2);
    uint8_t *payload = f + at + ip.header_len;
    if (ip.protocol == IP_PROTOCOL_ICMP && ip.payload_len >= ICMP_HEADER) {
        store_be16(payload + 2, 0);
        sum = (uint16_t)~tide_sum_fold(tide_sum_add(0, payload, ip.payload_len));
        memcpy(payload + 2, &sum, 2);
    } else if (ip.protocol == IP_PROTOCOL_TCP && ip.payload_len >= 20) {
        uint16_t pseudo = ip_pseudo_sum(ip.source, ip.destination, 6, ip.payload_len);
        memcpy(payload + 16, &pseudo, 2);
        sum = (uint16_t)~tide_sum_fold(tide_sum_add(0, payload, ip.payload_len));
        memcpy(payload + 16, &sum, 2);
    }
}

static uint64_t pseudo_sum(const struct net_packet *p, uint32_t len)
{
    uint8_t addresses[32];
    if (tide_addr_is_v4(&p->source))
        return ip_pseudo_sum(tide_addr_to_v4(&p->source), tide_addr_to_v4(&p->destination), IP_PROTOCOL_TCP, (uint16_t)len);
    memcpy(addresses, p->source.bytes, 16);
    memcpy(addresses + 16, p->destination.bytes, 16);
    return tide_ipv6_pseudo_sum(addresses, TIDE_IPV6_TCP, len);
}

static void step_frame(struct input *in, uint64_t now_ns, uint8_t how)
{
    uint8_t f[FRAME_MAX];
    uint32_t len = next(in) * 8u + (how >> 5);
    uint32_t cut;
    struct net_packet p;
    const char *reason;
    len = TIDE_MIN(len, (uint32_t)FRAME_MAX);
    cut = how & 8 ? next(in) : len;
    len = (uint32_t)TIDE_MIN(len, in->left);
    cut = TIDE_MIN(cut, len);
    memcpy(f, in->at, len);
    in->at += len;
    in->left -= len;
    if (how & 1)
        put_right(f, len, net.config.vlan);
    struct rte_mbuf *m = unit_exact_mbuf(rx_pool, f, (uint16_t)cut);
    if (cut != len)
        rte_pktmbuf_chain(m, unit_exact_mbuf(rx_pool, f + cut, (uint16_t)(len - cut)));
    if (how & 16) {
        m->ol_flags |= RTE_MBUF_F_RX_VLAN_STRIPPED;
        m->vlan_tci = net.config.vlan;
    }
    enum soft_verdict verdict = soft_rx_check(m, false, false);
    if (net_input(&net, now_ns, m, &p) != NET_TCP)
        return;
    TIDE_ASSERT(rte_mbuf_check(m, 1, &reason) == 0);
    TIDE_ASSERT(m->data_len >= TIDE_MIN(m->pkt_len, 60u));
    TIDE_ASSERT(p.protocol == IP_PROTOCOL_TCP);
    struct tide_addr us = tide_addr_is_v4(&p.source) ? tide_addr_v4(US) : us6;
    TIDE_ASSERT(memcmp(&p.destination, &us, sizeof(us)) == 0);
    if (verdict == SOFT_PASS && m->pkt_len >= 20)
        TIDE_ASSERT(tide_sum_fold(tide_sum_add_mbuf(pseudo_sum(&p, m->pkt_len), m, 0, m->pkt_len)) == 0xffff);
    rte_pktmbuf_free(m);
}

static void step_output(struct input *in, uint64_t now_ns)
{
    struct tide_addr to = next_addr(in);
    struct tide_addr from = tide_addr_is_v4(&to) ? tide_addr_v4(US) : us6;
    struct rte_mbuf *m = rte_pktmbuf_alloc(tx_pool);
    if (m == NULL)
        return;
    uint8_t *tcp = (uint8_t *)rte_pktmbuf_append(m, 20 + (uint16_t)next(in));
    memset(tcp, 0, m->data_len);
    tcp[12] = (uint8_t)(next(in) << 4);
    if (net_output(&net, now_ns, m, &from, &to, next(in) & 3) != TIDE_OK)
        rte_pktmbuf_free(m);
}

static void step_drain(void)
{
    struct rte_mbuf *frames[TIDE_BURST];
    struct net_neighbour learned[4];
    struct net_icmp_error errors[4];
    unsigned n;
    while ((n = net_take_tx(&net, frames, TIDE_BURST)) != 0) {
        for (unsigned i = 0; i < n; i++) {
            soft_tx_sums(frames[i], true, true);
            TIDE_ASSERT(soft_rx_check(frames[i], false, false) == SOFT_PASS);
        }
        rte_pktmbuf_free_bulk(frames, n);
    }
    while (net_take_learned(&net, learned, 4) != 0)
        ;
    while (net_take_icmp_errors(&net, errors, 4) != 0)
        ;
}

static void step(struct input *in, uint64_t *now_ns)
{
    uint8_t how = next(in);
    switch (how & 7) {
    case 2:
        step_output(in, *now_ns);
        break;
    case 4:
        *now_ns += next(in) * 100 * TIDE_NS_PER_MS;
        net_on_time(&net, *now_ns);
        break;
    case 6: {
        struct net_neighbour sibling = {.addr = next_addr(in),
                                        .mac = {{2, 1, 1, 1, 1, next(in)}},
                                        .source = next(in) % NEIGHBOUR_SOURCE_COUNT};
        net_neighbour_learn(&net, *now_ns, &sibling);
        break;
    }
    case 7:
        step_drain();
        break;
    default:
        step_frame(in, *now_ns, how);
        break;
    }
}

static void start(void)
{
    if (rx_pool != NULL)
        return;
    unit_eal();
    rx_pool = unit_pool("fuzz_rx", POOL, 64);
    tx_pool = unit_pool("fuzz_tx", POOL, 2048);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct input in = {bytes, len};
    uint64_t now_ns = TIDE_NS_PER_S;
    start();
    uint8_t how = next(&in);
    struct net_config c = {.mac = our_mac,
                           .addr = tide_addr_v4(US),
                           .prefix_len = how & 1 ? 24 : 8,
                           .gateway = tide_addr_v4(0x0a0000fe),
                           .addr6 = how & 16 ? (struct tide_addr){{0}} : us6,
                           .prefix6_len = how & 32 ? 128 : 64,
                           .gateway6 = how & 16 ? (struct tide_addr){{0}} : gateway6,
                           .vlan = how & 2 ? 5 : 0,
                           .mtu = how & 4 ? 9000 : 1500,
                           .announce = how & 8,
                           .tx_pool = tx_pool,
                           .counters = &counters};
    TIDE_ASSERT(net_init(&net, &c, now_ns) == TIDE_OK);
    while (in.left != 0)
        step(&in, &now_ns);
    net_check(&net);
    net_deinit(&net);
    TIDE_ASSERT(rte_mempool_avail_count(rx_pool) == POOL);
    TIDE_ASSERT(rte_mempool_avail_count(tx_pool) == POOL);
    return 0;
}
