/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "net/ip.h"
#include "net/ip6.h"
#include "net/net.h"
#include "nic/soft.h"
#include "tidemark/bytes.h"
#include "tidemark/checksum.h"

#define S TIDE_NS_PER_S
#define ADDR(last) {{0xfd, [7] = 7, [15] = last}} /* on our link, fd00:0:0:7::/64 */

enum { POOL = 2047, TCP_LEN = 32 };

static const struct tide_addr us = ADDR(1);
static const struct tide_addr peer = ADDR(2);
static const struct tide_addr other = ADDR(3);
static const struct tide_addr gateway = {{0xfe, 0x80, [15] = 0xfe}};
static const struct tide_addr far = {{0x20, 1, 0x0d, 0xb8, [15] = 5}};
static const struct tide_addr nobody;
static const struct rte_ether_addr our_mac = {{2, 0, 0, 0, 0, 1}};
static const struct rte_ether_addr peer_mac = {{2, 0, 0, 0, 0, 2}};
static const struct rte_ether_addr other_mac = {{2, 0, 0, 0, 0, 3}};
static struct rte_mempool *rx_pool;
static struct rte_mempool *tx_pool;
static struct tide_counters counters;

static struct net_config config_plain(void)
{
    return (struct net_config){.mac = our_mac,
                               .addr = tide_addr_v4(0x0a000001),
                               .prefix_len = 24,
                               .addr6 = us,
                               .prefix6_len = 64,
                               .gateway6 = gateway,
                               .mtu = 1500,
                               .port = 3,
                               .tx_pool = tx_pool,
                               .counters = &counters};
}

static struct net *net_new(const struct net_config *config)
{
    struct net *n = malloc(sizeof(*n));
    memset(&counters, 0, sizeof(counters));
    assert_int_equal(net_init(n, config, S), TIDE_OK);
    return n;
}

static void net_end(struct net *n)
{
    net_check(n);
    net_deinit(n);
    free(n);
    assert_int_equal(rte_mempool_avail_count(rx_pool), POOL);
    assert_int_equal(rte_mempool_avail_count(tx_pool), POOL);
}

struct frame {
    uint8_t bytes[2048];
    uint16_t len;
};

/* Ethernet as the destination wants it, and an IPv6 header. */
static struct frame ip6_frame(const struct tide_addr *source, const struct tide_addr *destination, uint8_t protocol,
                              uint8_t hop_limit, uint16_t payload_len)
{
    struct frame f;
    struct eth_view eth = {.destination = our_mac, .source = peer_mac, .type = ETH_TYPE_IPV6};
    if (ip6_is_multicast(destination))
        eth.destination = ip6_group_mac(destination);
    f.len = eth_write(f.bytes, &eth);
    ip6_write(f.bytes + f.len, &(struct ip6_fields){*source, *destination, payload_len, protocol, hop_limit, 1, 0});
    f.len = (uint16_t)(f.len + TIDE_IPV6_HEADER);
    memset(f.bytes + f.len, 0x55, payload_len);
    f.len = (uint16_t)(f.len + payload_len);
    return f;
}

static struct frame tcp_frame(const struct tide_addr *source, const struct tide_addr *destination)
{
    return ip6_frame(source, destination, TIDE_IPV6_TCP, 64, TCP_LEN);
}

static struct frame icmp_frame(const struct tide_addr *source, const struct tide_addr *destination, uint8_t hop_limit,
                               const uint8_t *icmp, uint16_t len)
{
    struct frame f = ip6_frame(source, destination, TIDE_IPV6_ICMP, hop_limit, len);
    memcpy(f.bytes + 54, icmp, len);
    icmp6_sum(f.bytes + 54, len, source, destination);
    return f;
}

static struct frame nd_frame(const struct nd_packet *p, const struct tide_addr *source, const struct tide_addr *destination)
{
    uint8_t bytes[ND_PACKET_MAX];
    uint16_t len = nd_write(bytes, p);
    return icmp_frame(source, destination, 255, bytes, len);
}

static struct frame solicitation(const struct tide_addr *source, const struct tide_addr *target)
{
    struct nd_packet p = {.target = *target, .mac = peer_mac, .has_mac = !ip6_is_unspecified(source)};
    struct tide_addr group = ip6_solicited_node(target);
    return nd_frame(&p, source, &group);
}

static enum net_verdict feed(struct net *n, uint64_t now_ns, const struct frame *f)
{
    struct net_packet packet;
    struct rte_mbuf *m = unit_exact_mbuf(rx_pool, f->bytes, f->len);
    enum net_verdict v = net_input(n, now_ns, m, &packet);
    if (v == NET_TCP)
        rte_pktmbuf_free(m);
    net_check(n);
    return v;
}

static struct rte_mbuf *take_one(struct net *n)
{
    struct rte_mbuf *m;
    assert_int_equal(net_take_tx(n, &m, 1), 1);
    return m;
}

/* A frame that the network layer sends of itself is whole, and its sum is right. */
static const uint8_t *open_icmp(const struct rte_mbuf *m, struct eth_view *ret_eth, struct tide_ipv6_view *ret_ip)
{
    const uint8_t *bytes = rte_pktmbuf_mtod(m, const uint8_t *);
    assert_int_equal(eth_parse(bytes, m->data_len, ret_eth), TIDE_OK);
    assert_int_equal(ret_eth->type, ETH_TYPE_IPV6);
    assert_true(rte_is_same_ether_addr(&ret_eth->source, &our_mac));
    assert_int_equal(tide_ipv6_parse(bytes + 14, m->data_len - 14u, m->pkt_len - 14u, ret_ip), TIDE_OK);
    assert_int_equal(14 + ret_ip->header_len + ret_ip->payload_len, m->pkt_len);
    assert_int_equal(ret_ip->protocol, TIDE_IPV6_ICMP);
    uint64_t pseudo = tide_ipv6_pseudo_sum(bytes + 22, TIDE_IPV6_ICMP, ret_ip->payload_len);
    assert_int_equal(tide_sum_fold(tide_sum_add(pseudo, bytes + 14 + ret_ip->header_len, ret_ip->payload_len)), 0xffff);
    assert_int_equal(m->ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK, 0);
    assert_int_equal(m->port, 3);
    return bytes + 14 + ret_ip->header_len;
}

/* The next frame is this solicitation or advertisement. */
static struct nd_packet take_nd(struct net *n, const struct rte_ether_addr *to, const struct tide_addr *source,
                                const struct tide_addr *destination)
{
    struct rte_mbuf *m = take_one(n);
    struct eth_view eth = {0};
    struct tide_ipv6_view ip;
    struct nd_packet p;
    const uint8_t *icmp = open_icmp(m, &eth, &ip);
    assert_memory_equal(&eth.destination, to, 6);
    assert_memory_equal(&ip.source, source, 16);
    assert_memory_equal(&ip.destination, destination, 16);
    assert_int_equal(nd_parse(icmp, ip.payload_len, &ip, &p), TIDE_OK);
    rte_pktmbuf_free(m);
    return p;
}

static struct rte_mbuf *tcp_packet(uint16_t payload)
{
    struct rte_mbuf *m = rte_pktmbuf_alloc(tx_pool);
    uint8_t *tcp = (uint8_t *)rte_pktmbuf_append(m, 20);
    memset(tcp, 0, 20);
    tcp[12] = 5 << 4;
    if (payload != 0) {
        uint8_t bytes[2048];
        memset(bytes, 0x77, sizeof(bytes));
        rte_pktmbuf_chain(m, unit_exact_mbuf(rx_pool, bytes, payload));
    }
    return m;
}

static enum tide_status send_to(struct net *n, uint64_t now_ns, const struct tide_addr *destination)
{
    struct rte_mbuf *m = tcp_packet(10);
    enum tide_status s = net_output(n, now_ns, m, &us, destination, 2);
    if (s != TIDE_OK)
        rte_pktmbuf_free(m);
    net_check(n);
    return s;
}

static void which_settings_are_possible(void **state)
{
    static const struct {
        const char *what;
        struct tide_addr addr, gateway;
        uint8_t prefix_len;
        uint16_t mtu;
        enum tide_status status;
    } rows[] = {
        {"usual", ADDR(1), {{0xfe, 0x80, [15] = 1}}, 64, 1500, TIDE_OK},
        {"gateway of the prefix", ADDR(1), ADDR(9), 64, 1500, TIDE_OK},
        {"no gateway", ADDR(1), {{0}}, 64, 1500, TIDE_OK},
        {"no IPv6", {{0}}, {{0}}, 0, 576, TIDE_OK},
        {"a gateway without an address", {{0}}, ADDR(9), 0, 1500, TIDE_BAD},
        {"/128", ADDR(1), {{0}}, 128, 1500, TIDE_OK},
        {"/129", ADDR(1), {{0}}, 129, 1500, TIDE_BAD},
        {"/127, first address", ADDR(2), {{0}}, 127, 1500, TIDE_OK},
        {"the routers' anycast address", ADDR(0), {{0}}, 64, 1500, TIDE_BAD},
        {"mtu 1280", ADDR(1), {{0}}, 64, 1280, TIDE_OK},
        {"mtu 1279", ADDR(1), {{0}}, 64, 1279, TIDE_BAD},
        {"link-local", {{0xfe, 0x80, [15] = 1}}, {{0}}, 64, 1500, TIDE_BAD},
        {"multicast", {{0xff, 2, [15] = 1}}, {{0}}, 64, 1500, TIDE_BAD},
        {"loopback", {{[15] = 1}}, {{0}}, 64, 1500, TIDE_BAD},
        {"IPv4 mapped", {{[10] = 0xff, 0xff, 10, 0, 0, 1}}, {{0}}, 64, 1500, TIDE_BAD},
        {"gateway is ourselves", ADDR(1), ADDR(1), 64, 1500, TIDE_BAD},
        {"gateway is our link-local address", ADDR(1), {{0xfe, 0x80, [11] = 0xff, 0xfe, 0, 0, 1}}, 64, 1500, TIDE_BAD},
        {"gateway is a group", ADDR(1), {{0xff, 2, [15] = 2}}, 64, 1500, TIDE_BAD},
    };
    struct net *n = malloc(sizeof(*n));
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        struct net_config c = config_plain();
        print_message("  %s\n", rows[i].what);
        c.addr6 = rows[i].addr;
        c.gateway6 = rows[i].gateway;
        c.prefix6_len = rows[i].prefix_len;
        c.mtu = rows[i].mtu;
        assert_int_equal(net_init(n, &c, S), rows[i].status);
        net_deinit(n);
    }
    free(n);
}

/* Every row changes one byte (or none) of a good TCP frame of 14 + 40 + 32 bytes. */
static void which_frames_are_tcp_for_us(void **state)
{
    static const struct {
        const char *what;
        uint8_t at, value, cut; /* cut: bytes taken off the end */
        enum net_verdict verdict;
        enum tide_counter counter;
    } rows[] = {
        {"good", 12, 0x86, 0, NET_TCP, COUNTER_COUNT},
        {"to another station", 5, 9, 0, NET_DROPPED, COUNTER_rx_unknown},
        {"in a frame to a group of others", 0, 0x33, 0, NET_DROPPED, COUNTER_rx_unknown},
        {"from a multicast mac", 6, 3, 0, NET_DROPPED, COUNTER_rx_malformed},
        {"from our mac", 11, 1, 0, NET_DROPPED, COUNTER_rx_unknown},
        {"IPv4 by Ethernet", 12, 0x08, 0, NET_DROPPED, COUNTER_rx_unknown},
        {"version 4 inside", 14, 0x45, 0, NET_DROPPED, COUNTER_rx_malformed},
        {"to another address", 53, 9, 0, NET_DROPPED, COUNTER_rx_unknown},
        {"from ourselves", 37, 1, 0, NET_DROPPED, COUNTER_rx_unknown},
        {"from a group", 22, 0xff, 0, NET_DROPPED, COUNTER_rx_unknown},
        {"UDP", 20, 17, 0, NET_DROPPED, COUNTER_rx_unknown},
        {"a fragment", 20, 44, 0, NET_DROPPED, COUNTER_rx_fragments},
        {"nothing follows", 20, 59, 0, NET_DROPPED, COUNTER_rx_unknown},
        {"IPv4's ICMP", 20, 1, 0, NET_DROPPED, COUNTER_rx_unknown},
        {"bad options", 20, 60, 0, NET_DROPPED, COUNTER_rx_malformed},
        {"one byte short", 12, 0x86, 1, NET_DROPPED, COUNTER_rx_malformed},
        {"Ethernet only", 12, 0x86, 72, NET_DROPPED, COUNTER_rx_malformed},
        {"not even Ethernet", 12, 0x86, 73, NET_DROPPED, COUNTER_rx_malformed},
        {"source far away", 22, 0x20, 0, NET_TCP, COUNTER_COUNT},
        {"hop limit 1", 21, 1, 0, NET_TCP, COUNTER_COUNT},
    };
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        struct net_config c = config_plain();
        struct net *n = net_new(&c);
        struct frame f = tcp_frame(&peer, &us);
        print_message("  %s\n", rows[i].what);
        if (rows[i].at == 12 && rows[i].value == 8)
            f.bytes[13] = 0;
        f.bytes[rows[i].at] = rows[i].value;
        f.len = (uint16_t)(f.len - rows[i].cut);
        if (rows[i].at == 12 && rows[i].value == 8) { /* version 6 where IPv4 was announced */
            assert_int_equal(feed(n, S, &f), NET_DROPPED);
            assert_int_equal(counters.values[COUNTER_rx_malformed], 1);
        } else {
            assert_int_equal(feed(n, S, &f), rows[i].verdict);
            if (rows[i].counter != COUNTER_COUNT)
                assert_int_equal(counters.values[rows[i].counter], 1);
        }
        net_end(n);
    }
}

/* TCP must never see an IPv4 peer that came by IPv6, nor a session with somebody who cannot be answered. */
static void sources_that_are_no_hosts(void **state)
{
    static const struct tide_addr sources[] = {
        {{[10] = 0xff, 0xff, 10, 0, 0, 2}}, {{[12] = 10, 0, 0, 2}}, {{0}}, {{[15] = 1}}, {{0xff, 2, [15] = 1}}, ADDR(1),
    };
    static const struct tide_addr groups[] = {{{0xff, 2, [15] = 1}}, {{0xff, 2, [11] = 1, 0xff, 0, 0, 1}}};
    struct net_config c = config_plain();
    struct net *n = net_new(&c);
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(sources); i++) {
        struct frame f = tcp_frame(&sources[i], &us);
        assert_int_equal(feed(n, S, &f), NET_DROPPED);
    }
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(groups); i++) {
        struct frame f = tcp_frame(&peer, &groups[i]);
        assert_int_equal(feed(n, S, &f), NET_DROPPED);
    }
    struct frame f = tcp_frame(&peer, &n->link_local);
    assert_int_equal(feed(n, S, &f), NET_DROPPED); /* TCP is served on the address that was configured */
    assert_int_equal(counters.values[COUNTER_rx_unknown], 9);
    net_end(n);
}

static void without_an_address_there_is_no_ipv6(void **state)
{
    struct net_config c = config_plain();
    c.addr6 = c.gateway6 = nobody;
    c.announce = true;
    struct net *n = net_new(&c);
    struct frame f = tcp_frame(&peer, &us);
    assert_int_equal(feed(n, S, &f), NET_DROPPED);
    f = tcp_frame(&peer, &nobody);
    assert_int_equal(feed(n, S, &f), NET_DROPPED);
    f = solicitation(&peer, &nobody);
    assert_int_equal(feed(n, S, &f), NET_DROPPED);
    struct tide_addr link_local = ip6_link_local(&our_mac);
    f = solicitation(&peer, &link_local);
    assert_int_equal(feed(n, S, &f), NET_DROPPED);
    assert_int_equal(counters.values[COUNTER_rx_unknown], 4);
    assert_int_equal(send_to(n, S, &peer), TIDE_REFUSED);
    for (unsigned i = 0; i < NET_ANNOUNCE_COUNT; i++)
        net_on_time(n, net_deadline_ns(n));
    assert_int_equal(net_deadline_ns(n), TIDE_NEVER);
    assert_int_equal(n->tx_count, NET_ANNOUNCE_COUNT); /* ARP's */
    net_end(n);
}

static void what_is_handed_on_is_the_packet_alone(void **state)
{
    struct net_config c = config_plain();
    struct net *n = net_new(&c);
    struct frame f = tcp_frame(&peer, &us);
    struct net_packet p;
    f.len = (uint16_t)(f.len + 7); /* padding */
    struct rte_mbuf *m = unit_exact_mbuf(rx_pool, f.bytes, f.len);
    assert_int_equal(net_input(n, S, m, &p), NET_TCP);
    assert_int_equal(m->pkt_len, TCP_LEN);
    assert_memory_equal(rte_pktmbuf_mtod(m, uint8_t *), f.bytes + 54, TCP_LEN);
    assert_memory_equal(&p.source, &peer, 16);
    assert_memory_equal(&p.destination, &us, 16);
    assert_int_equal(p.ecn, 1);
    assert_int_equal(p.protocol, IP_PROTOCOL_TCP);
    rte_pktmbuf_free(m);
    net_end(n);
}

static void extension_headers_are_skipped(void **state)
{
    struct net_config c = config_plain();
    struct net *n = net_new(&c);
    struct frame f = tcp_frame(&peer, &us);
    struct net_packet p;
    f.bytes[20] = TIDE_IPV6_OPTIONS; /* 8 of the 32 bytes become options */
    memcpy(f.bytes + 54, (const uint8_t[]){TIDE_IPV6_TCP, 0, 1, 4, 0, 0, 0, 0}, 8);
    struct rte_mbuf *m = unit_exact_mbuf(rx_pool, f.bytes, f.len);
    assert_int_equal(net_input(n, S, m, &p), NET_TCP);
    assert_int_equal(m->pkt_len, TCP_LEN - 8);
    rte_pktmbuf_free(m);
    net_end(n);
}

/* Frames of every kind, cut at every byte, alone and as a chain of two. */
static void frames_cut_anywhere(void **state)
{
    uint8_t echo[40] = {128, 0, 0, 0, 0x12, 0x34, 0, 7};
    struct nd_packet advertisement = {.target = peer, .mac = peer_mac, .has_mac = true, .is_advertisement = true};
    struct frame frames[] = {tcp_frame(&peer, &us), solicitation(&peer, &us), solicitation(&nobody, &us),
                             nd_frame(&advertisement, &peer, &us), icmp_frame(&peer, &us, 64, echo, sizeof(echo))};
    struct net_config c = config_plain();
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(frames); i++) {
        struct net *n = net_new(&c);
        struct frame f = frames[i];
        for (uint16_t cut = 0; cut < frames[i].len; cut++) {
            struct net_packet p;
            f.len = cut;
            assert_int_equal(feed(n, S, &f), NET_DROPPED);
            struct rte_mbuf *m = unit_exact_mbuf(rx_pool, f.bytes, cut);
            rte_pktmbuf_chain(m, unit_exact_mbuf(rx_pool, f.bytes + cut, (uint16_t)(frames[i].len - cut)));
            if (net_input(n, S, m, &p) == NET_TCP)
                rte_pktmbuf_free(m);
            net_check(n);
        }
        assert_int_equal(n->tx_count, 0);
        net_end(n);
    }
}

/* Cut in two at every place: the headers and 60 bytes of TCP must lie together, or the frame is refused. */
static void chains_are_trimmed(void **state)
{
    struct net_config c = config_plain();
    struct frame f = ip6_frame(&peer, &us, TIDE_IPV6_TCP, 64, 70);
    f.len = (uint16_t)(f.len + 9);
    memset(f.bytes + 124, 1, 9);
    for (uint16_t cut = 0; cut <= f.len; cut++) {
        struct net *n = net_new(&c);
        struct net_packet p;
        struct rte_mbuf *m = unit_exact_mbuf(rx_pool, f.bytes, cut);
        rte_pktmbuf_chain(m, unit_exact_mbuf(rx_pool, f.bytes + cut, (uint16_t)(f.len - cut)));
        enum net_verdict v = net_input(n, S, m, &p);
        assert_int_equal(v, cut >= 54 + 60 ? NET_TCP : NET_DROPPED);
        if (v == NET_TCP) {
            assert_int_equal(m->pkt_len, 70);
            assert_int_equal(m->nb_segs, cut >= 54 + 70 ? 1 : 2);
            rte_pktmbuf_free(m);
        }
        net_end(n);
    }
}

/* ---- neighbour discovery ---- */

static void a_solicitation_is_answered(void **state)
{
    struct net_config c = config_plain();
    struct tide_addr link_local = ip6_link_local(&our_mac);
    const struct tide_addr *targets[] = {&us, &link_local};
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(targets); i++) {
        struct net *n = net_new(&c);
        struct frame f = solicitation(&peer, targets[i]);
        assert_int_equal(feed(n, S, &f), NET_CONSUMED);
        struct nd_packet p = take_nd(n, &peer_mac, targets[i], &peer);
        assert_true(p.is_advertisement && p.is_solicited && p.is_override && p.has_mac);
        assert_memory_equal(&p.target, targets[i], 16);
        assert_memory_equal(&p.mac, &our_mac, 6);
        assert_int_equal(counters.values[COUNTER_nd_in], 1);
        assert_int_equal(send_to(n, S, &peer), TIDE_OK); /* who asked is known */
        struct rte_mbuf *m = take_one(n);
        assert_memory_equal(rte_pktmbuf_mtod(m, uint8_t *), &peer_mac, 6);
        rte_pktmbuf_free(m);
        assert_int_equal(n->tx_count, 0);
        net_end(n);
    }
}

/* RFC 4861 7.2.4: who probes has no address yet, so all nodes are told. */
static void a_probe_is_answered_to_all(void **state)
{
    static const struct rte_ether_addr all_mac = {{0x33, 0x33, 0, 0, 0, 1}};
    struct net_config c = config_plain();
    struct net *n = net_new(&c);
    struct tide_addr all = ip6_all_nodes();
    struct frame f = solicitation(&nobody, &us);
    assert_int_equal(feed(n, S, &f), NET_CONSUMED);
    struct nd_packet p = take_nd(n, &all_mac, &us, &all);
    assert_true(p.is_advertisement && p.is_override && !p.is_solicited);
    assert_memory_equal(&p.mac, &our_mac, 6);
    assert_int_equal(counters.values[COUNTER_nd_conflicts], 0);
    net_end(n);
}

static void neighbour_packets_that_are_not_answered(void **state)
{
    static const struct {
        const char *what;
        bool advertisement;
        struct tide_addr source, destination, target;
        bool has_mac, solicited, override;
        uint8_t hop_limit;
        enum net_verdict verdict;
        unsigned answers, learned;
    } rows[] = {
        {"for us", false, ADDR(2), ADDR(1), ADDR(1), true, false, false, 255, NET_CONSUMED, 1, 1},
        {"for us, without a mac", false, ADDR(2), ADDR(1), ADDR(1), false, false, false, 255, NET_CONSUMED, 1, 0},
        {"for a foreign target", false, ADDR(2), ADDR(1), ADDR(9), true, false, false, 255, NET_DROPPED, 0, 0},
        {"from off the link", false, ADDR(2), ADDR(1), ADDR(1), true, false, false, 254, NET_DROPPED, 0, 0},
        {"from an address that is not on the link", false, {{0x20, 1}}, ADDR(1), ADDR(1), true, false, false, 255, NET_CONSUMED, 1, 0},
        {"from an IPv4 mapped address", false, {{[10] = 0xff, 0xff, 10, 0, 0, 2}}, ADDR(1), ADDR(1), true, false, false, 255, NET_DROPPED, 0, 0},
        {"from a group", false, {{0xff, 2, [15] = 1}}, ADDR(1), ADDR(1), true, false, false, 255, NET_DROPPED, 0, 0},
        {"from our own address: defended", false, ADDR(1), ADDR(1), ADDR(1), true, false, false, 255, NET_CONSUMED, 1, 0},
        {"advertisement", true, ADDR(2), ADDR(1), ADDR(2), true, true, true, 255, NET_CONSUMED, 0, 1},
        {"unsolicited", true, ADDR(2), {{0xff, 2, [15] = 1}}, ADDR(2), true, false, true, 255, NET_CONSUMED, 0, 1},
        {"without a mac, solicited", true, ADDR(2), ADDR(1), ADDR(2), false, true, false, 255, NET_CONSUMED, 0, 1},
        {"without a mac, unsolicited", true, ADDR(2), ADDR(1), ADDR(2), false, false, false, 255, NET_CONSUMED, 0, 0},
        {"of an address off the link", true, ADDR(2), ADDR(1), {{0x20, 1}}, true, true, true, 255, NET_DROPPED, 0, 0},
        {"from off the link", true, ADDR(2), ADDR(1), ADDR(2), true, true, true, 64, NET_DROPPED, 0, 0},
        {"claims our address: defended", true, ADDR(2), ADDR(1), ADDR(1), true, true, true, 255, NET_CONSUMED, 1, 0},
        {"to a group of others", true, ADDR(2), {{0xff, 2, [15] = 2}}, ADDR(2), true, false, true, 255, NET_DROPPED, 0, 0},
    };
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        struct net_config c = config_plain();
        struct net *n = net_new(&c);
        struct nd_packet p = {.target = rows[i].target, .mac = peer_mac, .has_mac = rows[i].has_mac,
                              .is_advertisement = rows[i].advertisement, .is_solicited = rows[i].solicited,
                              .is_override = rows[i].override};
        struct frame f = nd_frame(&p, &rows[i].source, &rows[i].destination);
        struct net_neighbour learned[4];
        print_message("  %s\n", rows[i].what);
        f.bytes[21] = rows[i].hop_limit;
        assert_int_equal(feed(n, S, &f), rows[i].verdict);
        assert_int_equal(n->tx_count, rows[i].answers);
        assert_int_equal(net_take_learned(n, learned, 4), rows[i].learned);
        net_end(n);
    }
}

static void our_address_is_defended_but_not_in_a_storm(void **state)
{
    struct net_config c = config_plain();
    struct net *n = net_new(&c);
    struct nd_packet claim = {.target = us, .mac = peer_mac, .has_mac = true, .is_advertisement = true, .is_override = true};
    struct tide_addr all = ip6_all_nodes();
    struct frame f = nd_frame(&claim, &us, &all);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(feed(n, S + i, &f), NET_CONSUMED);
    assert_int_equal(n->tx_count, 1);
    assert_int_equal(feed(n, S + NET_DEFEND_NS, &f), NET_CONSUMED);
    assert_int_equal(n->tx_count, 2);
    assert_int_equal(counters.values[COUNTER_nd_conflicts], 101);
    net_end(n);
}

/* Two stations that probe for one address at the same time hear of each other. */
static void the_address_is_probed_and_then_announced(void **state)
{
    static const struct rte_ether_addr group_mac = {{0x33, 0x33, 0xff, 0, 0, 1}};
    static const struct rte_ether_addr all_mac = {{0x33, 0x33, 0, 0, 0, 1}};
    struct net_config c = config_plain();
    struct tide_addr group = ip6_solicited_node(&us);
    struct tide_addr all = ip6_all_nodes();
    struct eth_view eth = {0};
    struct tide_ipv6_view ip;
    c.announce = true;
    struct net *n = net_new(&c);
    n->announce_ns = TIDE_NEVER; /* ARP's part is tested elsewhere */
    assert_int_equal(net_deadline_ns(n), S);
    net_on_time(n, S);
    struct rte_mbuf *m = take_one(n);
    assert_int_equal(open_icmp(m, &eth, &ip)[0], ICMP6_MLD_REPORT);
    assert_int_equal(ip.hop_limit, 1);
    assert_memory_equal(&ip.source, &n->link_local, 16);
    rte_pktmbuf_free(m);
    struct nd_packet p = take_nd(n, &group_mac, &nobody, &group);
    assert_memory_equal(&p.target, &n->link_local, 16); /* the same group: both addresses end in 00:00:01 */
    p = take_nd(n, &group_mac, &nobody, &group);
    assert_memory_equal(&p.target, &us, 16);
    assert_false(p.is_advertisement || p.has_mac);
    assert_int_equal(n->tx_count, 0);

    struct frame f = solicitation(&nobody, &us);
    assert_int_equal(feed(n, S, &f), NET_CONSUMED);
    assert_int_equal(counters.values[COUNTER_nd_conflicts], 1);
    rte_pktmbuf_free(take_one(n));
    memcpy(f.bytes + 6, &our_mac, 6); /* our own probe, come back by a loop */
    assert_int_equal(feed(n, S, &f), NET_DROPPED);
    assert_int_equal(counters.values[COUNTER_nd_conflicts], 1);

    for (unsigned i = 0; i < NET_ANNOUNCE_COUNT; i++) {
        uint64_t when = S + NET_PROBE_NS + i * NET_ANNOUNCE_NS;
        assert_int_equal(net_deadline_ns(n), when);
        net_on_time(n, when - 1);
        assert_int_equal(n->tx_count, 0);
        net_on_time(n, when);
        p = take_nd(n, &all_mac, &us, &all);
        assert_true(p.is_advertisement && p.is_override && p.has_mac);
        assert_memory_equal(&p.target, &us, 16);
    }
    assert_int_equal(net_deadline_ns(n), TIDE_NEVER);
    net_end(n);
}

static void groups_are_reported_to_who_asks(void **state)
{
    uint8_t query[28] = {130};
    struct net_config c = config_plain();
    struct net *n = net_new(&c);
    struct tide_addr all = ip6_all_nodes();
    struct eth_view eth = {0};
    struct tide_ipv6_view ip;
    struct frame f = icmp_frame(&gateway, &all, 1, query, sizeof(query));
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(feed(n, S + i, &f), NET_CONSUMED);
    struct rte_mbuf *m = take_one(n);
    assert_int_equal(open_icmp(m, &eth, &ip)[0], ICMP6_MLD_REPORT);
    rte_pktmbuf_free(m);
    assert_int_equal(n->tx_count, 0);
    f = icmp_frame(&gateway, &all, 2, query, sizeof(query));
    assert_int_equal(feed(n, 9 * S, &f), NET_DROPPED);
    f = icmp_frame(&peer, &all, 1, query, sizeof(query));
    assert_int_equal(feed(n, 9 * S, &f), NET_DROPPED);
    f = icmp_frame(&gateway, &all, 1, query, 23);
    assert_int_equal(feed(n, 9 * S, &f), NET_DROPPED);
    assert_int_equal(n->tx_count, 0);
    net_end(n);
}

/* ---- ICMPv6 ---- */

static void echo_is_answered(void **state)
{
    struct tide_addr link_local = ip6_link_local(&our_mac);
    const struct tide_addr *asked[] = {&us, &link_local};
    for (uint16_t data = 0; data < 1452; data = (uint16_t)(data + 61)) {
        struct net_config c = config_plain();
        struct net *n = net_new(&c);
        uint8_t icmp[1460] = {128, 0, 0, 0, 0x12, 0x34, 0, 7};
        struct eth_view eth = {0};
        struct tide_ipv6_view ip;
        memset(icmp + 8, 0xee, data);
        struct frame f = icmp_frame(&peer, asked[data % 2], 64, icmp, (uint16_t)(8 + data));
        assert_int_equal(feed(n, S, &f), NET_CONSUMED);
        struct rte_mbuf *m = take_one(n);
        const uint8_t *at = open_icmp(m, &eth, &ip);
        assert_memory_equal(&eth.destination, &peer_mac, 6);
        assert_memory_equal(&ip.source, asked[data % 2], 16);
        assert_memory_equal(&ip.destination, &peer, 16);
        assert_int_equal(at[0], ICMP6_ECHO_REPLY);
        assert_memory_equal(at + 4, icmp + 4, 4u + data);
        assert_int_equal(counters.values[COUNTER_icmp_echo], 1);
        rte_pktmbuf_free(m);
        net_end(n);
    }
}

static void icmp_that_is_wrong_or_not_for_us(void **state)
{
    struct net_config c = config_plain();
    struct net *n = net_new(&c);
    struct tide_addr all = ip6_all_nodes();
    uint8_t icmp[64] = {128, 0, 0, 0, 1};
    struct frame f = icmp_frame(&peer, &us, 64, icmp, sizeof(icmp));
    f.bytes[80] ^= 1;
    assert_int_equal(feed(n, S, &f), NET_DROPPED);
    assert_int_equal(counters.values[COUNTER_rx_csum_bad], 1);
    f = icmp_frame(&peer, &us, 64, icmp, sizeof(icmp));
    f.bytes[37] = 3; /* the sum covers the source */
    assert_int_equal(feed(n, S, &f), NET_DROPPED);
    assert_int_equal(counters.values[COUNTER_rx_csum_bad], 2);
    f = icmp_frame(&peer, &us, 64, icmp, 7);
    assert_int_equal(feed(n, S, &f), NET_DROPPED);
    assert_int_equal(counters.values[COUNTER_rx_malformed], 1);
    f = icmp_frame(&peer, &all, 64, icmp, sizeof(icmp)); /* an echo to all is not answered: RFC 4443 4.2 leaves it open */
    assert_int_equal(feed(n, S, &f), NET_DROPPED);
    f = icmp_frame(&us, &us, 64, icmp, sizeof(icmp));
    assert_int_equal(feed(n, S, &f), NET_DROPPED);
    f = icmp_frame(&nobody, &us, 64, icmp, sizeof(icmp));
    assert_int_equal(feed(n, S, &f), NET_DROPPED);
    static const uint8_t others[] = {129, 131, 133, 134, 137, 143, 200, 0, 100};
    for (unsigned i = 0; i < sizeof(others); i++) { /* router advertisement and redirect among them */
        icmp[0] = others[i];
        f = icmp_frame(&gateway, &us, 255, icmp, sizeof(icmp));
        assert_int_equal(feed(n, S, &f), NET_DROPPED);
    }
    assert_int_equal(counters.values[COUNTER_rx_unknown], 3 + sizeof(others));
    assert_int_equal(n->tx_count, 0);
    net_end(n);
}

static void icmp_errors_are_reported(void **state)
{
    uint8_t icmp[56] = {2, 0, 0, 0, 0, 0, 5, 0};
    struct net_config c = config_plain();
    struct net *n = net_new(&c);
    struct net_icmp_error errors[NET_ICMP_ERRORS_MAX + 4];
    ip6_write(icmp + 8, &(struct ip6_fields){us, far, 1460, TIDE_IPV6_TCP, 60, 0, 0});
    memcpy(icmp + 48, (const uint8_t[]){0x23, 0x84, 0xc0, 1, 1, 2, 3, 4}, 8);
    struct frame f = icmp_frame(&gateway, &us, 64, icmp, sizeof(icmp));
    for (unsigned i = 0; i < NET_ICMP_ERRORS_MAX + 4; i++)
        assert_int_equal(feed(n, S, &f), NET_CONSUMED);
    assert_int_equal(net_take_icmp_errors(n, errors, NET_ICMP_ERRORS_MAX + 4), NET_ICMP_ERRORS_MAX);
    assert_memory_equal(&errors[0].peer, &far, 16);
    assert_int_equal(errors[0].local_port, 9092);
    assert_int_equal(errors[0].peer_port, 49153);
    assert_int_equal(errors[0].sequence, 0x01020304);
    assert_int_equal(errors[0].type, ICMP6_TOO_BIG);
    assert_int_equal(errors[0].next_mtu, 1280);
    icmp[5] = 1; /* more than 16 bits */
    f = icmp_frame(&gateway, &us, 64, icmp, sizeof(icmp));
    assert_int_equal(feed(n, S, &f), NET_CONSUMED);
    assert_int_equal(net_take_icmp_errors(n, errors, 1), 1);
    assert_int_equal(errors[0].next_mtu, UINT16_MAX);
    icmp[8 + 8 + 15] = 9; /* about somebody else's packet */
    f = icmp_frame(&gateway, &us, 64, icmp, sizeof(icmp));
    assert_int_equal(feed(n, S, &f), NET_DROPPED);
    ip6_write(icmp + 8, &(struct ip6_fields){us, {{[10] = 0xff, 0xff, 10, 0, 0, 2}}, 1460, TIDE_IPV6_TCP, 60, 0, 0});
    f = icmp_frame(&gateway, &us, 64, icmp, sizeof(icmp)); /* about an IPv4 connection, by IPv6 */
    assert_int_equal(feed(n, S, &f), NET_DROPPED);
    assert_int_equal(net_take_icmp_errors(n, errors, 1), 0);
    net_end(n);
}

/* ---- packets out ---- */

static void a_packet_goes_out_as_a_frame(void **state)
{
    for (uint16_t vlan = 0; vlan < 8; vlan = (uint16_t)(vlan + 7)) {
        struct net_config c = config_plain();
        c.vlan = vlan;
        c.dscp = vlan != 0 ? 46 : 0;
        c.ttl = vlan != 0 ? 7 : 0;
        struct net *n = net_new(&c);
        struct net_neighbour known = {peer, peer_mac, NEIGHBOUR_FROM_ASK};
        struct eth_view eth = {0};
        struct tide_ipv6_view ip;
        net_neighbour_learn(n, S, &known);
        for (unsigned i = 0; i < 2; i++) { /* put together from its parts, and from what is remembered of the way */
            struct rte_mbuf *m = tcp_packet(10);
            assert_int_equal(net_output(n, S, m, &us, &peer, i == 0 ? 3 : 2), TIDE_OK);
            m = take_one(n);
            const uint8_t *bytes = rte_pktmbuf_mtod(m, const uint8_t *);
            assert_int_equal(eth_parse(bytes, m->data_len, &eth), TIDE_OK);
            assert_true(rte_is_same_ether_addr(&eth.destination, &peer_mac));
            assert_int_equal(eth.vlan, vlan);
            assert_int_equal(eth.type, ETH_TYPE_IPV6);
            assert_int_equal(tide_ipv6_parse(bytes + eth.header_len, m->data_len - eth.header_len, 70, &ip), TIDE_OK);
            assert_memory_equal(&ip.source, &us, 16);
            assert_memory_equal(&ip.destination, &peer, 16);
            assert_int_equal(ip.payload_len, 30);
            assert_int_equal(ip.ecn, i == 0 ? 3 : 2);
            assert_int_equal(ip.hop_limit, vlan != 0 ? 7 : 64);
            assert_int_equal(load_be32(bytes + eth.header_len) >> 20, 0x600 | (vlan != 0 ? 46u << 2 : 0u) | (i == 0 ? 3u : 2u));
            assert_int_equal(m->l2_len, eth.header_len);
            assert_int_equal(m->l3_len, 40);
            assert_int_equal(m->l4_len, 20);
            assert_int_equal(m->ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK, RTE_MBUF_F_TX_IPV6 | RTE_MBUF_F_TX_TCP_CKSUM);
            uint16_t sum;
            memcpy(&sum, bytes + eth.header_len + 40 + 16, 2);
            assert_int_equal(sum, tide_sum_fold(tide_ipv6_pseudo_sum(bytes + eth.header_len + 8, 6, 30)));
            soft_tx_sums(m, true, true);
            assert_int_equal(soft_rx_check(m, false, false), SOFT_PASS);
            rte_pktmbuf_free(m);
        }
        net_end(n);
    }
}

/* A router with a link-local address is asked for from ours, a host of the prefix from the address TCP has. */
static void an_unknown_next_hop_is_asked_and_then_sent_to(void **state)
{
    struct net_config c = config_plain();
    struct tide_addr link_local = ip6_link_local(&our_mac);
    const struct {
        const struct tide_addr *to, *hop, *from;
    } rows[] = {{&far, &gateway, &link_local}, {&other, &other, &us}};
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        struct net *n = net_new(&c);
        struct tide_addr group = ip6_solicited_node(rows[i].hop);
        struct rte_ether_addr group_mac = ip6_group_mac(&group);
        assert_int_equal(send_to(n, S, rows[i].to), TIDE_OK);
        assert_int_equal(send_to(n, S, rows[i].to), TIDE_OK);
        struct nd_packet p = take_nd(n, &group_mac, rows[i].from, &group);
        assert_false(p.is_advertisement);
        assert_memory_equal(&p.target, rows[i].hop, 16);
        assert_memory_equal(&p.mac, &our_mac, 6);
        assert_int_equal(n->tx_count, 0);

        struct nd_packet answer = {.target = *rows[i].hop, .is_advertisement = true, .is_solicited = true};
        struct frame f = nd_frame(&answer, rows[i].hop, rows[i].from);
        assert_int_equal(feed(n, S, &f), NET_CONSUMED);
        assert_int_equal(n->tx_count, 0); /* without a mac it is no answer (RFC 4861 7.2.5) */
        answer.has_mac = true;
        answer.mac = other_mac;
        f = nd_frame(&answer, rows[i].hop, rows[i].from);
        assert_int_equal(feed(n, S, &f), NET_CONSUMED);
        assert_int_equal(n->tx_count, 2);
        struct rte_mbuf *m = take_one(n);
        assert_memory_equal(rte_pktmbuf_mtod(m, uint8_t *), &other_mac, 6);
        rte_pktmbuf_free(m);
        net_end(n);
    }
}

/* What is known is asked by unicast when it is old, and an answer without a mac suffices. */
static void an_old_neighbour_is_asked_alone(void **state)
{
    struct net_config c = config_plain();
    struct net *n = net_new(&c);
    struct frame f = tcp_frame(&peer, &us);
    uint64_t t = S;
    assert_int_equal(feed(n, t, &f), NET_TCP); /* a frame teaches */
    assert_int_equal(send_to(n, t, &peer), TIDE_OK);
    rte_pktmbuf_free(take_one(n));
    assert_int_equal(n->tx_count, 0);
    t += NEIGHBOUR_FRESH_NS + 1;
    assert_int_equal(send_to(n, t, &peer), TIDE_OK);
    rte_pktmbuf_free(take_one(n));
    struct nd_packet p = take_nd(n, &peer_mac, &us, &peer);
    assert_memory_equal(&p.target, &peer, 16);
    assert_int_equal(net_deadline_ns(n), t + NEIGHBOUR_RETRY_NS);
    struct nd_packet answer = {.target = peer, .is_advertisement = true, .is_solicited = true};
    f = nd_frame(&answer, &peer, &us);
    assert_int_equal(feed(n, t, &f), NET_CONSUMED);
    net_on_time(n, t + NEIGHBOUR_RETRY_NS);
    assert_int_equal(n->tx_count, 0);
    assert_int_equal(net_deadline_ns(n), TIDE_NEVER);
    net_end(n);
}

static void an_advertisement_moves_a_neighbour(void **state)
{
    static const struct {
        const char *what;
        bool override, moved;
    } rows[] = {{"with override", true, true}, {"without override", false, false}};
    struct tide_addr all = ip6_all_nodes();
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        struct net_config c = config_plain();
        struct net *n = net_new(&c);
        struct net_neighbour known = {peer, peer_mac, NEIGHBOUR_FROM_ASK};
        struct nd_packet p = {.target = peer, .mac = other_mac, .has_mac = true, .is_advertisement = true,
                              .is_override = rows[i].override};
        print_message("  %s\n", rows[i].what);
        net_neighbour_learn(n, S, &known);
        struct frame f = nd_frame(&p, &peer, &all);
        assert_int_equal(feed(n, 2 * S, &f), NET_CONSUMED);
        assert_int_equal(send_to(n, 2 * S, &peer), TIDE_OK);
        struct rte_mbuf *m = take_one(n);
        assert_memory_equal(rte_pktmbuf_mtod(m, uint8_t *), rows[i].moved ? &other_mac : &peer_mac, 6);
        rte_pktmbuf_free(m);
        assert_int_equal(n->tx_count, rows[i].moved ? 0 : 1); /* it is asked which of the two is right */
        /* An advertisement creates nothing. */
        p.target = other;
        f = nd_frame(&p, &other, &all);
        assert_int_equal(feed(n, 2 * S, &f), NET_CONSUMED);
        unsigned before = n->tx_count;
        assert_int_equal(send_to(n, 2 * S, &other), TIDE_OK);
        assert_int_equal(n->tx_count, before + 1);
        assert_int_equal(n->neighbours.pending_used, 1);
        net_end(n);
    }
}

static void too_many_waiting_are_lost_and_counted(void **state)
{
    struct net_config c = config_plain();
    struct net *n = net_new(&c);
    for (unsigned i = 0; i < NEIGHBOUR_PENDING_EACH + 3; i++)
        assert_int_equal(send_to(n, S, &peer), TIDE_OK);
    assert_int_equal(counters.values[COUNTER_neighbour_full], 3);
    for (unsigned i = 1; i <= NEIGHBOUR_TRIES; i++)
        net_on_time(n, S + i * S);
    assert_int_equal(n->tx_count, NEIGHBOUR_TRIES); /* solicitations only */
    assert_int_equal(counters.values[COUNTER_neighbour_full], 3 + NEIGHBOUR_PENDING_EACH);
    assert_int_equal(net_deadline_ns(n), TIDE_NEVER);
    net_end(n);
}

static void packets_that_cannot_go_stay_the_callers(void **state)
{
    static const struct {
        const char *what;
        struct tide_addr source, destination;
        enum tide_status status;
    } rows[] = {
        {"far, without a gateway", ADDR(1), {{0x20, 1}}, TIDE_ABSENT},
        {"from an address not ours", ADDR(2), ADDR(3), TIDE_REFUSED},
        {"from our link-local address", {{0xfe, 0x80, [11] = 0xff, 0xfe, 0, 0, 1}}, ADDR(3), TIDE_REFUSED},
        {"to ourselves", ADDR(1), ADDR(1), TIDE_REFUSED},
        {"to all nodes", ADDR(1), {{0xff, 2, [15] = 1}}, TIDE_REFUSED},
        {"to nobody", ADDR(1), {{0}}, TIDE_REFUSED},
        {"to loopback", ADDR(1), {{[15] = 1}}, TIDE_REFUSED},
        {"from IPv4 to IPv6", {{[10] = 0xff, 0xff, 10, 0, 0, 1}}, ADDR(2), TIDE_REFUSED},
        {"from IPv6 to IPv4", ADDR(1), {{[10] = 0xff, 0xff, 10, 0, 0, 2}}, TIDE_REFUSED},
    };
    struct net_config c = config_plain();
    c.gateway6 = nobody;
    struct net *n = net_new(&c);
    struct rte_mbuf *m = tcp_packet(10);
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        print_message("  %s\n", rows[i].what);
        assert_int_equal(net_output(n, S, m, &rows[i].source, &rows[i].destination, 0), rows[i].status);
        assert_int_equal(m->pkt_len, 30);
        assert_int_equal(m->ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK, 0);
    }
    rte_pktmbuf_free(m);
    struct tide_addr v4 = tide_addr_v4(0x0a000002);
    assert_int_equal(net_packet_max(n, &peer), 1460);
    assert_int_equal(net_packet_max(n, &v4), 1480);
    m = tcp_packet(1460 - 20);
    assert_int_equal(net_output(n, S, m, &us, &peer, 0), TIDE_OK);
    m = tcp_packet(1460 - 20 + 1);
    assert_int_equal(net_output(n, S, m, &us, &peer, 0), TIDE_REFUSED);
    rte_pktmbuf_free(m);
    net_end(n);
}

static void siblings_pass_on_what_they_hear(void **state)
{
    struct net_config c = config_plain();
    struct net *asks = net_new(&c);
    struct net *hears = net_new(&c);
    struct net_neighbour learned[2];
    assert_int_equal(send_to(asks, S, &peer), TIDE_OK);
    struct nd_packet answer = {.target = peer, .mac = peer_mac, .has_mac = true, .is_advertisement = true, .is_solicited = true};
    struct frame f = nd_frame(&answer, &peer, &us);
    assert_int_equal(feed(hears, S, &f), NET_CONSUMED);
    assert_int_equal(net_take_learned(hears, learned, 2), 1);
    net_neighbour_learn(asks, S, &learned[0]);
    assert_int_equal(asks->tx_count, 2); /* the solicitation, and what waited */
    net_check(asks);
    net_deinit(asks);
    free(asks);
    net_end(hears);
}

static void an_empty_pool_loses_answers_only(void **state)
{
    struct net_config c = config_plain();
    c.announce = true;
    struct net *n = net_new(&c);
    struct rte_mbuf *all[POOL];
    uint8_t icmp[64] = {128};
    n->announce_ns = TIDE_NEVER;
    assert_int_equal(rte_pktmbuf_alloc_bulk(tx_pool, all, POOL), 0);
    struct frame f = solicitation(&peer, &us);
    assert_int_equal(feed(n, S, &f), NET_CONSUMED);
    f = icmp_frame(&peer, &us, 64, icmp, sizeof(icmp));
    assert_int_equal(feed(n, S, &f), NET_CONSUMED);
    net_on_time(n, S);
    assert_int_equal(n->tx_count, 0);
    assert_int_equal(counters.values[COUNTER_mbuf_empty], 3);
    rte_pktmbuf_free_bulk(all, POOL);
    for (unsigned i = 0; i < 1 + NET_ANNOUNCE_COUNT; i++) /* what failed is made up for */
        net_on_time(n, net_deadline_ns(n));
    assert_int_equal(n->tx_count, 3 + NET_ANNOUNCE_COUNT);
    assert_int_equal(net_deadline_ns(n), TIDE_NEVER);
    net_end(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(which_settings_are_possible),
        cmocka_unit_test(which_frames_are_tcp_for_us),
        cmocka_unit_test(sources_that_are_no_hosts),
        cmocka_unit_test(without_an_address_there_is_no_ipv6),
        cmocka_unit_test(what_is_handed_on_is_the_packet_alone),
        cmocka_unit_test(extension_headers_are_skipped),
        cmocka_unit_test(frames_cut_anywhere),
        cmocka_unit_test(chains_are_trimmed),
        cmocka_unit_test(a_solicitation_is_answered),
        cmocka_unit_test(a_probe_is_answered_to_all),
        cmocka_unit_test(neighbour_packets_that_are_not_answered),
        cmocka_unit_test(our_address_is_defended_but_not_in_a_storm),
        cmocka_unit_test(the_address_is_probed_and_then_announced),
        cmocka_unit_test(groups_are_reported_to_who_asks),
        cmocka_unit_test(echo_is_answered),
        cmocka_unit_test(icmp_that_is_wrong_or_not_for_us),
        cmocka_unit_test(icmp_errors_are_reported),
        cmocka_unit_test(a_packet_goes_out_as_a_frame),
        cmocka_unit_test(an_unknown_next_hop_is_asked_and_then_sent_to),
        cmocka_unit_test(an_old_neighbour_is_asked_alone),
        cmocka_unit_test(an_advertisement_moves_a_neighbour),
        cmocka_unit_test(too_many_waiting_are_lost_and_counted),
        cmocka_unit_test(packets_that_cannot_go_stay_the_callers),
        cmocka_unit_test(siblings_pass_on_what_they_hear),
        cmocka_unit_test(an_empty_pool_loses_answers_only),
    };
    unit_eal();
    rx_pool = unit_pool("net6_rx", POOL, 2048);
    tx_pool = unit_pool("net6_tx", POOL, 2048);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
