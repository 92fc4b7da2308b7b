/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "net/arp.h"
#include "net/ip.h"
#include "net/net.h"
#include "tidemark/bytes.h"
#include "tidemark/checksum.h"

#define S       TIDE_NS_PER_S
#define US      0x0a000001u /* 10.0.0.1/24 */
#define PEER    0x0a000002u /* on-link */
#define GATEWAY 0x0a0000feu /* on-link */
#define FAR     0xc0a80505u /* behind the gateway */

enum { POOL = 2047, TCP_LEN = 32 };

static const struct rte_ether_addr our_mac = {{2, 0, 0, 0, 0, 1}};
static const struct rte_ether_addr peer_mac = {{2, 0, 0, 0, 0, 2}};
static const struct rte_ether_addr other_mac = {{2, 0, 0, 0, 0, 3}};
static const struct rte_ether_addr all_macs = {{255, 255, 255, 255, 255, 255}};
static struct rte_mempool *rx_pool;
static struct rte_mempool *tx_pool;
static struct tide_counters counters;

static struct net_config config_plain(void)
{
    return (struct net_config){.mac = our_mac,
                               .addr = tide_addr_v4(US),
                               .prefix_len = 24,
                               .gateway = tide_addr_v4(GATEWAY),
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

/* A frame under construction. */
struct frame {
    uint8_t bytes[2048];
    uint16_t len;
};

static void frame_ethernet(struct frame *f, const struct rte_ether_addr *to,
                           const struct rte_ether_addr *from, uint16_t type, uint16_t vlan)
{
    struct eth_view h = {.destination = *to, .source = *from, .type = type, .vlan = vlan};
    f->len = eth_write(f->bytes, &h);
}

static struct frame tcp_frame(uint32_t source, uint32_t destination)
{
    struct frame f;
    struct ip_fields ip = {.source = source,
                           .destination = destination,
                           .payload_len = TCP_LEN,
                           .protocol = IP_PROTOCOL_TCP,
                           .ecn = 1};
    frame_ethernet(&f, &our_mac, &peer_mac, ETH_TYPE_IPV4, 0);
    ip_write(f.bytes + f.len, &ip);
    memset(f.bytes + f.len + IP_HEADER, 0x55, TCP_LEN);
    f.len = (uint16_t)(f.len + IP_HEADER + TCP_LEN);
    return f;
}

static struct frame arp_frame(uint16_t operation, uint32_t sender, uint32_t target)
{
    struct frame f;
    struct arp_packet p = {
        .operation = operation, .sender_mac = peer_mac, .sender = sender, .target = target};
    frame_ethernet(&f, operation == ARP_REQUEST ? &all_macs : &our_mac, &peer_mac, ETH_TYPE_ARP, 0);
    arp_write(f.bytes + f.len, &p);
    f.len = (uint16_t)(f.len + ARP_PACKET);
    return f;
}

static struct frame icmp_frame(const uint8_t *icmp, uint16_t len)
{
    struct frame f;
    struct ip_fields ip = {
        .source = PEER, .destination = US, .payload_len = len, .protocol = IP_PROTOCOL_ICMP};
    frame_ethernet(&f, &our_mac, &peer_mac, ETH_TYPE_IPV4, 0);
    ip_write(f.bytes + f.len, &ip);
    uint8_t *at = f.bytes + f.len + IP_HEADER;
    memcpy(at, icmp, len);
    store_be16(at + 2, 0);
    uint16_t sum = (uint16_t)~tide_sum_fold(tide_sum_add(0, at, len));
    memcpy(at + 2, &sum, sizeof(sum));
    f.len = (uint16_t)(f.len + IP_HEADER + len);
    return f;
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

/* A TCP packet to be sent: header in a private mbuf with room in front, payload behind it. */
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

static enum tide_status send_to(struct net *n, uint64_t now_ns, uint32_t destination)
{
    struct tide_addr from = tide_addr_v4(US);
    struct tide_addr to = tide_addr_v4(destination);
    struct rte_mbuf *m = tcp_packet(10);
    enum tide_status s = net_output(n, now_ns, m, &from, &to, 2);
    if (s != TIDE_OK)
        rte_pktmbuf_free(m);
    net_check(n);
    return s;
}

static void which_settings_are_possible(void **state)
{
    static const struct {
        const char *what;
        uint32_t addr, gateway;
        uint8_t prefix_len;
        uint16_t vlan, mtu;
        enum tide_status status;
    } rows[] = {
        {"usual", US, GATEWAY, 24, 0, 1500, TIDE_OK},
        {"no gateway", US, 0, 24, 0, 1500, TIDE_OK},
        {"gateway elsewhere", US, FAR, 24, 0, 1500, TIDE_OK},
        {"jumbo with vlan", US, GATEWAY, 24, 4094, 9000, TIDE_OK},
        {"network address", 0x0a000000, 0, 24, 0, 1500, TIDE_BAD},
        {"broadcast address", 0x0a0000ff, 0, 24, 0, 1500, TIDE_BAD},
        {"both exist not on /31", 0x0a000000, 0, 31, 0, 1500, TIDE_OK},
        {"nor on /32", 0x0a0000ff, GATEWAY, 32, 0, 1500, TIDE_OK},
        {"/0", US, 0, 0, 0, 1500, TIDE_OK},
        {"/33", US, 0, 33, 0, 1500, TIDE_BAD},
        {"multicast", 0xe0000001, 0, 24, 0, 1500, TIDE_BAD},
        {"loopback", 0x7f000001, 0, 8, 0, 1500, TIDE_BAD},
        {"gateway is ourselves", US, US, 24, 0, 1500, TIDE_BAD},
        {"gateway is broadcast", US, 0x0a0000ff, 24, 0, 1500, TIDE_BAD},
        {"vlan 4095", US, 0, 24, 4095, 1500, TIDE_BAD},
        {"tiny mtu", US, 0, 24, 0, 575, TIDE_BAD},
    };
    struct net *n = malloc(sizeof(*n));
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        struct net_config c = config_plain();
        print_message("  %s\n", rows[i].what);
        c.addr = tide_addr_v4(rows[i].addr);
        c.gateway = rows[i].gateway ? tide_addr_v4(rows[i].gateway) : (struct tide_addr){{0}};
        c.prefix_len = rows[i].prefix_len;
        c.vlan = rows[i].vlan;
        c.mtu = rows[i].mtu;
        assert_int_equal(net_init(n, &c, S), rows[i].status);
        net_deinit(n);
    }
    struct net_config c = config_plain();
    c.mac.addr_bytes[0] |= 1;
    assert_int_equal(net_init(n, &c, S), TIDE_BAD);
    free(n);
}

/* Every row changes one byte (or none) of a good TCP frame of 14 + 20 + 32 bytes. */
/* Then its plain packets are looked at all at once (net4_plain_input), and what is not plain must be treated as before. */
static void know_peer(struct net *n)
{
    struct frame f = tcp_frame(PEER, US);
    assert_int_equal(feed(n, S, &f), NET_TCP);
    assert_int_equal(send_to(n, S, PEER), TIDE_OK);
    rte_pktmbuf_free(take_one(n));
}

static void which_frames_are_tcp_for_us(void **state)
{
    static const struct {
        const char *what;
        uint8_t at, value, cut; /* cut: bytes taken off the end */
        enum net_verdict verdict;
        enum tide_counter counter;
    } rows[] = {
        {"good", 12, 8, 0, NET_TCP, COUNTER_COUNT},
        {"to another station", 5, 9, 0, NET_DROPPED, COUNTER_rx_unknown},
        {"to a multicast group", 0, 3, 0, NET_DROPPED, COUNTER_rx_unknown},
        {"from a multicast group", 6, 3, 0, NET_DROPPED, COUNTER_rx_malformed},
        {"IPv6", 12, 0x86, 0, NET_DROPPED, COUNTER_rx_unknown},
        {"to another address", 33, 9, 0, NET_DROPPED, COUNTER_rx_unknown},
        {"to our broadcast address", 33, 255, 0, NET_DROPPED, COUNTER_rx_unknown},
        {"from ourselves", 29, 1, 0, NET_DROPPED, COUNTER_rx_unknown},
        {"from our broadcast address", 29, 255, 0, NET_DROPPED, COUNTER_rx_unknown},
        {"from our network's address", 29, 0, 0, NET_DROPPED, COUNTER_rx_unknown},
        {"from a multicast address", 26, 224, 0, NET_DROPPED, COUNTER_rx_unknown},
        {"from loopback", 26, 127, 0, NET_DROPPED, COUNTER_rx_unknown},
        {"a fragment", 20, 0x20, 0, NET_DROPPED, COUNTER_rx_fragments},
        {"UDP", 23, 17, 0, NET_DROPPED, COUNTER_rx_unknown},
        {"version 6 inside", 14, 0x65, 0, NET_DROPPED, COUNTER_rx_malformed},
        {"one byte short", 12, 8, 1, NET_DROPPED, COUNTER_rx_malformed},
        {"Ethernet only", 12, 8, 52, NET_DROPPED, COUNTER_rx_malformed},
        {"not even Ethernet", 12, 8, 53, NET_DROPPED, COUNTER_rx_malformed},
        {"empty", 12, 8, 66, NET_DROPPED, COUNTER_rx_malformed},
        {"source far away", 26, 99, 0, NET_TCP, COUNTER_COUNT},
    };
    for (unsigned i = 0; i < 2 * TIDE_ARRAY_LEN(rows); i++) {
        struct net_config c = config_plain();
        struct net *n = net_new(&c);
        struct frame f = tcp_frame(PEER, US);
        if (i >= TIDE_ARRAY_LEN(rows))
            know_peer(n);
        print_message("  %s\n", rows[i % TIDE_ARRAY_LEN(rows)].what);
        f.bytes[rows[i % TIDE_ARRAY_LEN(rows)].at] = rows[i % TIDE_ARRAY_LEN(rows)].value;
        f.len = (uint16_t)(f.len - rows[i % TIDE_ARRAY_LEN(rows)].cut);
        assert_int_equal(feed(n, S, &f), rows[i % TIDE_ARRAY_LEN(rows)].verdict);
        if (rows[i % TIDE_ARRAY_LEN(rows)].counter != COUNTER_COUNT)
            assert_int_equal(counters.values[rows[i % TIDE_ARRAY_LEN(rows)].counter], 1);
        net_end(n);
    }
}

static void link_broadcast_carries_no_tcp(void **state)
{
    struct net_config c = config_plain();
    struct net *n = net_new(&c);
    struct frame f = tcp_frame(PEER, US);
    know_peer(n);
    memcpy(f.bytes, &all_macs, 6);
    assert_int_equal(feed(n, S, &f), NET_DROPPED);
    net_end(n);
}

static void what_is_handed_on_is_the_packet_alone(void **state)
{
    struct net_config c = config_plain();
    struct net *n = net_new(&c);
    struct frame f = tcp_frame(PEER, US);
    struct net_packet p;
    know_peer(n);
    f.len = (uint16_t)(f.len + 7); /* padding */
    struct rte_mbuf *m = unit_exact_mbuf(rx_pool, f.bytes, f.len);
    assert_int_equal(net_input(n, S, m, &p), NET_TCP);
    assert_int_equal(m->pkt_len, TCP_LEN);
    assert_int_equal(m->data_len, TCP_LEN);
    assert_memory_equal(rte_pktmbuf_mtod(m, uint8_t *), f.bytes + 34, TCP_LEN);
    assert_int_equal(tide_addr_to_v4(&p.source), PEER);
    assert_int_equal(tide_addr_to_v4(&p.destination), US);
    assert_int_equal(p.ecn, 1);
    assert_int_equal(p.protocol, IP_PROTOCOL_TCP);
    assert_int_equal(p.vlan, 0);
    rte_pktmbuf_free(m);
    net_end(n);
}

static void options_are_skipped(void **state)
{
    struct net_config c = config_plain();
    struct net *n = net_new(&c);
    struct frame f = tcp_frame(PEER, US);
    struct net_packet p;
    know_peer(n);
    f.bytes[14] = 0x47; /* 8 of the 32 bytes become options */
    struct rte_mbuf *m = unit_exact_mbuf(rx_pool, f.bytes, f.len);
    assert_int_equal(net_input(n, S, m, &p), NET_TCP);
    assert_int_equal(m->pkt_len, TCP_LEN - 8);
    rte_pktmbuf_free(m);
    net_end(n);
}

/* Cut in two at every place: the headers and TCP's must lie together, or the frame is refused;
 * whatever is behind the packet goes, with the segments it fills. */
static void chains_are_trimmed(void **state)
{
    struct net_config c = config_plain();
    struct frame f = tcp_frame(PEER, US);
    f.bytes[16] = 0;
    f.bytes[17] = 20 + 70; /* 70 bytes of TCP */
    memset(f.bytes + 34, 1, 200);
    f.len = 34 + 70 + 9;
    for (uint16_t cut = 0; cut <= f.len; cut++) {
        struct net *n = net_new(&c);
        struct net_packet p;
        struct rte_mbuf *m = unit_exact_mbuf(rx_pool, f.bytes, cut);
        rte_pktmbuf_chain(m, unit_exact_mbuf(rx_pool, f.bytes + cut, (uint16_t)(f.len - cut)));
        rte_pktmbuf_chain(m, unit_exact_mbuf(rx_pool, f.bytes, 5));
        enum net_verdict v = net_input(n, S, m, &p);
        assert_int_equal(v, cut >= 34 + 60 ? NET_TCP : NET_DROPPED);
        if (v == NET_TCP) {
            const char *reason;
            assert_int_equal(m->pkt_len, 70);
            assert_int_equal(m->nb_segs, cut >= 34 + 70 ? 1 : 2);
            assert_int_equal(rte_mbuf_check(m, 1, &reason), 0);
            rte_pktmbuf_free(m);
        }
        net_end(n);
    }
}

static void only_our_vlan(void **state)
{
    static const struct {
        const char *what;
        uint16_t ours, tag;
        bool stripped, both;
        bool accepted;
    } rows[] = {
        {"none, none", 0, 0, false, false, true},
        {"none, tagged", 0, 5, false, false, false},
        {"5, tagged 5", 5, 5, false, false, true},
        {"5, tagged 6", 5, 6, false, false, false},
        {"5, untagged", 5, 0, false, false, false},
        {"5, port took 5 off", 5, 5, true, false, true},
        {"5, port took 6 off", 5, 6, true, false, false},
        {"none, port took 5 off", 0, 5, true, false, false},
        {"none, port took priority off", 0, 0, true, false, true},
        {"5 inside 5", 5, 5, true, true, false},
    };
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        struct net_config c = config_plain();
        struct frame plain = tcp_frame(PEER, US);
        struct frame f;
        struct net_packet p;
        print_message("  %s\n", rows[i].what);
        c.vlan = rows[i].ours;
        struct net *n = net_new(&c);
        bool in_bytes = !rows[i].stripped || rows[i].both;
        frame_ethernet(&f, &our_mac, &peer_mac, ETH_TYPE_IPV4, in_bytes ? rows[i].tag : 0);
        memcpy(f.bytes + f.len, plain.bytes + 14, plain.len - 14u);
        f.len = (uint16_t)(f.len + plain.len - 14);
        struct rte_mbuf *m = unit_exact_mbuf(rx_pool, f.bytes, f.len);
        if (rows[i].stripped) {
            m->ol_flags |= RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
            m->vlan_tci = (uint16_t)(rows[i].tag | 0x6000);
        }
        enum net_verdict v = net_input(n, S, m, &p);
        assert_int_equal(v, rows[i].accepted ? NET_TCP : NET_DROPPED);
        if (v == NET_TCP) {
            assert_int_equal(p.vlan, rows[i].ours);
            rte_pktmbuf_free(m);
        }
        net_end(n);
    }
}

static void a_request_is_answered(void **state)
{
    struct net_config c = config_plain();
    struct net *n = net_new(&c);
    struct frame f = arp_frame(ARP_REQUEST, PEER, US);
    struct arp_packet p;
    struct eth_view eth = {0};
    assert_int_equal(feed(n, S, &f), NET_CONSUMED);
    struct rte_mbuf *m = take_one(n);
    const uint8_t *bytes = rte_pktmbuf_mtod(m, const uint8_t *);
    assert_int_equal(m->pkt_len, 14 + ARP_PACKET);
    assert_int_equal(m->port, 3);
    assert_int_equal(eth_parse(bytes, m->data_len, &eth), TIDE_OK);
    assert_true(rte_is_same_ether_addr(&eth.destination, &peer_mac));
    assert_int_equal(arp_parse(bytes + 14, ARP_PACKET, &p), TIDE_OK);
    assert_int_equal(p.operation, ARP_REPLY);
    assert_int_equal(p.sender, US);
    assert_int_equal(p.target, PEER);
    assert_true(rte_is_same_ether_addr(&p.sender_mac, &our_mac));
    assert_true(rte_is_same_ether_addr(&p.target_mac, &peer_mac));
    assert_int_equal(counters.values[COUNTER_arp_in], 1);
    rte_pktmbuf_free(m);
    net_end(n);
}

static void arp_that_is_not_answered(void **state)
{
    static const struct {
        const char *what;
        uint16_t operation;
        uint32_t sender, target;
        enum net_verdict verdict;
        unsigned answers, learned;
    } rows[] = {
        {"request for us", ARP_REQUEST, PEER, US, NET_CONSUMED, 1, 1},
        {"a probe for us", ARP_REQUEST, 0, US, NET_CONSUMED, 1, 0},
        {"request for another", ARP_REQUEST, PEER, 0x0a000009, NET_CONSUMED, 0, 0},
        {"announcement", ARP_REQUEST, PEER, PEER, NET_CONSUMED, 0, 1},
        {"reply to us", ARP_REPLY, PEER, US, NET_CONSUMED, 0, 1},
        {"from an address off the link", ARP_REQUEST, FAR, US, NET_DROPPED, 0, 0},
        {"from the broadcast address", ARP_REQUEST, 0x0a0000ff, US, NET_DROPPED, 0, 0},
        {"claims our address: defended", ARP_REPLY, US, PEER, NET_CONSUMED, 1, 0},
    };
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        struct net_config c = config_plain();
        struct net *n = net_new(&c);
        struct frame f = arp_frame(rows[i].operation, rows[i].sender, rows[i].target);
        struct net_neighbour learned[4];
        print_message("  %s\n", rows[i].what);
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
    struct frame f = arp_frame(ARP_REQUEST, US, US);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(feed(n, S + i, &f), NET_CONSUMED);
    assert_int_equal(n->tx_count, 1);
    assert_int_equal(feed(n, S + NET_DEFEND_NS, &f), NET_CONSUMED);
    assert_int_equal(n->tx_count, 2);
    assert_int_equal(counters.values[COUNTER_arp_conflicts], 101);
    net_end(n);
}

static void echo_is_answered(void **state)
{
    for (uint16_t data = 0; data < 1472; data = (uint16_t)(data + 61)) {
        struct net_config c = config_plain();
        struct net *n = net_new(&c);
        uint8_t icmp[1480] = {8, 0, 0, 0, 0x12, 0x34, 0, 7};
        struct ip_view ip = {0};
        memset(icmp + 8, 0xee, data);
        struct frame f = icmp_frame(icmp, (uint16_t)(8 + data));
        assert_int_equal(feed(n, S, &f), NET_CONSUMED);
        struct rte_mbuf *m = take_one(n);
        const uint8_t *bytes = rte_pktmbuf_mtod(m, const uint8_t *);
        assert_int_equal(m->pkt_len, 14 + 20 + 8 + data);
        assert_memory_equal(bytes, &peer_mac, 6);
        assert_int_equal(ip_parse(bytes + 14, m->data_len - 14u, m->data_len - 14u, &ip), TIDE_OK);
        assert_int_equal(ip.source, US);
        assert_int_equal(ip.destination, PEER);
        assert_int_equal(bytes[34], ICMP_ECHO_REPLY);
        assert_memory_equal(bytes + 38, icmp + 4, 4u + data);
        assert_int_equal(tide_sum_fold(tide_sum_add(0, bytes + 34, 8u + data)), 0xffff);
        assert_true((m->ol_flags & RTE_MBUF_F_TX_IP_CKSUM) != 0);
        assert_true((m->ol_flags & RTE_MBUF_F_TX_IPV4) != 0);
        assert_int_equal(m->l2_len, 14);
        assert_int_equal(m->l3_len, 20);
        rte_pktmbuf_free(m);
        net_end(n);
    }
}

static void icmp_that_is_wrong_or_not_for_us(void **state)
{
    struct net_config c = config_plain();
    struct net *n = net_new(&c);
    uint8_t icmp[64] = {8, 0, 0, 0, 1};
    struct frame f = icmp_frame(icmp, sizeof(icmp));
    f.bytes[60] ^= 1;
    assert_int_equal(feed(n, S, &f), NET_DROPPED);
    assert_int_equal(counters.values[COUNTER_rx_csum_bad], 1);
    f = icmp_frame(icmp, 7);
    assert_int_equal(feed(n, S, &f), NET_DROPPED);
    assert_int_equal(counters.values[COUNTER_rx_malformed], 1);
    icmp[0] = 13; /* timestamp */
    f = icmp_frame(icmp, sizeof(icmp));
    assert_int_equal(feed(n, S, &f), NET_DROPPED);
    f = icmp_frame(icmp, sizeof(icmp));
    f.bytes[33] = 255; /* to the broadcast address: RFC 1122 3.2.2.6 lets it go unanswered */
    assert_int_equal(feed(n, S, &f), NET_DROPPED);
    assert_int_equal(n->tx_count, 0);
    net_end(n);
}

static void icmp_errors_are_reported(void **state)
{
    uint8_t icmp[36] = {3,   4,   0,    0, 0,    0,    5,    0,    0x45, 0, 0x05, 0xdc,
                        0,   0,   0x40, 0, 60,   6,    0,    0,    10,   0, 0,    1,
                        192, 168, 5,    5, 0x23, 0x84, 0xc0, 0x01, 1,    2, 3,    4};
    struct net_config c = config_plain();
    struct net *n = net_new(&c);
    struct net_icmp_error errors[NET_ICMP_ERRORS_MAX + 4];
    struct frame f = icmp_frame(icmp, sizeof(icmp));
    for (unsigned i = 0; i < NET_ICMP_ERRORS_MAX + 4; i++)
        assert_int_equal(feed(n, S, &f), NET_CONSUMED);
    assert_int_equal(net_take_icmp_errors(n, errors, NET_ICMP_ERRORS_MAX + 4), NET_ICMP_ERRORS_MAX);
    assert_int_equal(tide_addr_to_v4(&errors[0].peer), FAR);
    assert_int_equal(errors[0].local_port, 9092);
    assert_int_equal(errors[0].peer_port, 49153);
    assert_int_equal(errors[0].sequence, 0x01020304);
    assert_int_equal(errors[0].next_mtu, 1280);
    icmp[23] = 9; /* about somebody else's packet */
    f = icmp_frame(icmp, sizeof(icmp));
    assert_int_equal(feed(n, S, &f), NET_DROPPED);
    assert_int_equal(net_take_icmp_errors(n, errors, 1), 0);
    net_end(n);
}

static void a_packet_goes_out_as_a_frame(void **state)
{
    for (uint16_t vlan = 0; vlan < 8; vlan = (uint16_t)(vlan + 7)) {
        struct net_config c = config_plain();
        c.vlan = vlan;
        c.dscp = vlan != 0 ? 46 : 0; /* RFC 9293 3.9.2, MUST-48 and MUST-49 */
        c.ttl = vlan != 0 ? 7 : 0;
        struct net *n = net_new(&c);
        struct net_neighbour peer = {tide_addr_v4(PEER), peer_mac, NEIGHBOUR_FROM_ASK};
        struct eth_view eth = {0};
        struct ip_view ip = {0};
        net_neighbour_learn(n, S, &peer);
        assert_int_equal(send_to(n, S, PEER), TIDE_OK);
        struct rte_mbuf *m = take_one(n);
        const uint8_t *bytes = rte_pktmbuf_mtod(m, const uint8_t *);
        assert_int_equal(eth_parse(bytes, m->data_len, &eth), TIDE_OK);
        assert_true(rte_is_same_ether_addr(&eth.destination, &peer_mac));
        assert_true(rte_is_same_ether_addr(&eth.source, &our_mac));
        assert_int_equal(eth.vlan, vlan);
        assert_int_equal(eth.type, ETH_TYPE_IPV4);
        assert_int_equal(m->pkt_len, eth.header_len + 20 + 20 + 10);
        assert_int_equal(m->nb_segs, 2);
        assert_int_equal(ip_parse(bytes + eth.header_len, m->data_len - eth.header_len, 50, &ip),
                         TIDE_OK);
        assert_int_equal(ip.payload_len, 30);
        assert_int_equal(ip.ecn, 2);
        assert_int_equal(ip.ttl, vlan != 0 ? 7 : 64);
        assert_int_equal(bytes[eth.header_len + 1] >> 2, vlan != 0 ? 46 : 0);
        assert_int_equal(m->l2_len, eth.header_len);
        assert_int_equal(m->l3_len, 20);
        assert_int_equal(m->l4_len, 20);
        assert_int_equal(m->ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK,
                         RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_TCP_CKSUM);
        uint16_t sum;
        memcpy(&sum, bytes + eth.header_len + 20 + 16, 2);
        assert_int_equal(sum, ip_pseudo_sum(US, PEER, IP_PROTOCOL_TCP, 30));
        assert_int_equal(m->port, 3);
        rte_pktmbuf_free(m);
        net_end(n);
    }
}

static void an_unknown_next_hop_is_asked_and_then_sent_to(void **state)
{
    struct net_config c = config_plain();
    struct net *n = net_new(&c);
    struct arp_packet p;
    assert_int_equal(send_to(n, S, FAR), TIDE_OK);
    assert_int_equal(send_to(n, S, FAR), TIDE_OK);
    struct rte_mbuf *m = take_one(n);
    assert_int_equal(n->tx_count, 0);
    assert_int_equal(arp_parse(rte_pktmbuf_mtod_offset(m, uint8_t *, 14), ARP_PACKET, &p), TIDE_OK);
    assert_int_equal(p.operation, ARP_REQUEST);
    assert_int_equal(p.target, GATEWAY);
    rte_pktmbuf_free(m);

    struct frame f = arp_frame(ARP_REPLY, GATEWAY, US);
    assert_int_equal(feed(n, S, &f), NET_CONSUMED);
    assert_int_equal(n->tx_count, 2);
    m = take_one(n);
    assert_memory_equal(rte_pktmbuf_mtod(m, uint8_t *), &peer_mac, 6);
    rte_pktmbuf_free(m);
    net_end(n);
}

static void too_many_waiting_are_lost_and_counted(void **state)
{
    struct net_config c = config_plain();
    struct net *n = net_new(&c);
    for (unsigned i = 0; i < NEIGHBOUR_PENDING_EACH + 3; i++)
        assert_int_equal(send_to(n, S, PEER), TIDE_OK);
    assert_int_equal(counters.values[COUNTER_neighbour_full], 3);
    for (unsigned i = 1; i <= NEIGHBOUR_TRIES; i++) {
        assert_int_equal(net_deadline_ns(n), S + i * S);
        net_on_time(n, S + i * S);
    }
    assert_int_equal(n->tx_count, NEIGHBOUR_TRIES); /* requests only */
    assert_int_equal(counters.values[COUNTER_neighbour_full], 3 + NEIGHBOUR_PENDING_EACH);
    assert_int_equal(net_deadline_ns(n), TIDE_NEVER);
    net_end(n);
}

static void who_spoke_to_us_needs_no_request(void **state)
{
    struct net_config c = config_plain();
    struct net *n = net_new(&c);
    struct frame f = tcp_frame(PEER, US);
    assert_int_equal(feed(n, S, &f), NET_TCP);
    assert_int_equal(send_to(n, S, PEER), TIDE_OK);
    struct rte_mbuf *m = take_one(n);
    assert_memory_equal(rte_pktmbuf_mtod(m, uint8_t *), &peer_mac, 6);
    assert_int_equal(n->tx_count, 0);
    rte_pktmbuf_free(m);
    /* A host far away taught us nothing: its frame came by a router. */
    f = tcp_frame(FAR, US);
    assert_int_equal(feed(n, S, &f), NET_TCP);
    assert_int_equal(send_to(n, S, FAR), TIDE_OK);
    assert_int_equal(n->tx_count, 1); /* the request for the gateway */
    struct tide_addr far = tide_addr_v4(FAR);
    assert_int_equal(neighbour_learn(&n->neighbours, S, &far, &peer_mac, NEIGHBOUR_FROM_OTHER), NEIGHBOUR_NONE);
    net_end(n);
}

static void packets_that_cannot_go_stay_the_callers(void **state)
{
    static const struct {
        const char *what;
        uint32_t source, destination;
        enum tide_status status;
    } rows[] = {
        {"far, without a gateway", US, FAR, TIDE_ABSENT},
        {"from an address not ours", PEER, 0x0a000005, TIDE_REFUSED},
        {"to ourselves", US, US, TIDE_REFUSED},
        {"to the broadcast address", US, 0x0a0000ff, TIDE_REFUSED},
        {"to everyone", US, 0xffffffff, TIDE_REFUSED},
        {"to a group", US, 0xe0000005, TIDE_REFUSED},
        {"to loopback", US, 0x7f000001, TIDE_REFUSED},
    };
    struct net_config c = config_plain();
    c.gateway = (struct tide_addr){{0}};
    struct net *n = net_new(&c);
    struct rte_mbuf *m = tcp_packet(10);
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        struct tide_addr from = tide_addr_v4(rows[i].source);
        struct tide_addr to = tide_addr_v4(rows[i].destination);
        print_message("  %s\n", rows[i].what);
        assert_int_equal(net_output(n, S, m, &from, &to, 0), rows[i].status);
        assert_int_equal(m->pkt_len, 30);
        assert_int_equal(m->ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK, 0);
    }
    struct tide_addr from = tide_addr_v4(US);
    struct tide_addr to = tide_addr_v4(PEER);
    struct tide_addr v6 = {{0x20, 1}};
    assert_int_equal(net_output(n, S, m, &from, &v6, 0), TIDE_REFUSED);
    rte_pktmbuf_prepend(m, 70); /* headroom is gone */
    memset(rte_pktmbuf_mtod(m, void *), 0x50, 70);
    assert_int_equal(net_output(n, S, m, &from, &to, 0), TIDE_REFUSED);
    rte_pktmbuf_free(m);
    m = tcp_packet((uint16_t)(net_packet_max(n, &to) - 20 + 1));
    assert_int_equal(net_output(n, S, m, &from, &to, 0), TIDE_REFUSED);
    rte_pktmbuf_free(m);
    net_end(n);
}

static void a_large_packet_is_cut_by_the_port(void **state)
{
    struct net_config c = config_plain();
    struct net *n = net_new(&c);
    struct tide_addr from = tide_addr_v4(US), to = tide_addr_v4(PEER);
    struct rte_mbuf *m = tcp_packet(2000);
    struct net_neighbour peer = {to, peer_mac, NEIGHBOUR_FROM_ASK};
    net_neighbour_learn(n, S, &peer);
    assert_int_equal(net_output(n, S, m, &from, &to, 0), TIDE_REFUSED); /* nobody cuts it */
    m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
    assert_int_equal(net_output(n, S, m, &from, &to, 0), TIDE_REFUSED); /* into what */
    m->tso_segsz = (uint16_t)(net_packet_max(n, &to) - 20 + 1);
    assert_int_equal(net_output(n, S, m, &from, &to, 0), TIDE_REFUSED); /* pieces that are too large */
    m->tso_segsz = 1460;
    assert_int_equal(net_output(n, S, m, &from, &to, 0), TIDE_OK);
    m = take_one(n);
    const uint8_t *ip = rte_pktmbuf_mtod_offset(m, const uint8_t *, m->l2_len);
    uint16_t sum = ip_pseudo_sum(US, PEER, 6, 0), field;
    memcpy(&field, ip + 20 + 16, sizeof(field));
    assert_int_equal(field, sum); /* each piece's length is added by the port */
    assert_int_equal(load_be16(ip + 2), 20 + 20 + 2000);
    assert_int_equal(m->tso_segsz, 1460);
    assert_int_equal(m->l4_len, 20);
    assert_true((m->ol_flags & RTE_MBUF_F_TX_TCP_SEG) != 0 && (m->ol_flags & RTE_MBUF_F_TX_IPV4) != 0);
    rte_pktmbuf_free(m);
    net_end(n);
}

static void a_full_outbox_refuses_without_a_trace(void **state)
{
    struct net_config c = config_plain();
    struct net *n = net_new(&c);
    struct net_neighbour peer = {tide_addr_v4(PEER), peer_mac, NEIGHBOUR_FROM_ASK};
    net_neighbour_learn(n, S, &peer);
    for (unsigned i = 0; i < NET_TX_MAX; i++)
        assert_int_equal(send_to(n, S, PEER), TIDE_OK);
    assert_int_equal(net_tx_room(n), 0);
    assert_int_equal(send_to(n, S, PEER), TIDE_FULL);
    assert_int_equal(send_to(n, S, FAR), TIDE_FULL);
    assert_int_equal(net_deadline_ns(n), TIDE_NEVER); /* nobody was asked */
    struct frame f = arp_frame(ARP_REQUEST, PEER, US);
    assert_int_equal(feed(n, S, &f), NET_CONSUMED);
    assert_int_equal(counters.values[COUNTER_tx_full], 1);
    struct rte_mbuf *m = take_one(n);
    rte_pktmbuf_free(m);
    assert_int_equal(send_to(n, S, PEER), TIDE_OK);
    net_end(n);
}

static void an_empty_pool_loses_answers_only(void **state)
{
    struct net_config c = config_plain();
    c.announce = true;
    struct net *n = net_new(&c);
    struct rte_mbuf *all[POOL];
    uint8_t icmp[64] = {8};
    assert_int_equal(rte_pktmbuf_alloc_bulk(tx_pool, all, POOL), 0);
    struct frame f = arp_frame(ARP_REQUEST, PEER, US);
    assert_int_equal(feed(n, S, &f), NET_CONSUMED);
    f = icmp_frame(icmp, sizeof(icmp));
    assert_int_equal(feed(n, S, &f), NET_CONSUMED);
    net_on_time(n, S);
    assert_int_equal(n->tx_count, 0);
    assert_int_equal(counters.values[COUNTER_mbuf_empty], 3);
    rte_pktmbuf_free_bulk(all, POOL);
    for (unsigned i = 0; i < NET_ANNOUNCE_COUNT; i++) /* what failed is made up for */
        net_on_time(n, net_deadline_ns(n));
    assert_int_equal(n->tx_count, NET_ANNOUNCE_COUNT);
    assert_int_equal(net_deadline_ns(n), TIDE_NEVER);
    net_end(n);
}

static void the_address_is_announced_twice(void **state)
{
    struct net_config c = config_plain();
    struct net *n;
    struct arp_packet p;
    c.announce = true;
    n = net_new(&c);
    assert_int_equal(net_deadline_ns(n), S);
    net_on_time(n, S);
    assert_int_equal(net_deadline_ns(n), S + NET_ANNOUNCE_NS);
    net_on_time(n, S + NET_ANNOUNCE_NS - 1);
    assert_int_equal(n->tx_count, 1);
    net_on_time(n, S + NET_ANNOUNCE_NS);
    assert_int_equal(n->tx_count, 2);
    assert_int_equal(net_deadline_ns(n), TIDE_NEVER);
    struct rte_mbuf *m = take_one(n);
    assert_memory_equal(rte_pktmbuf_mtod(m, uint8_t *), &all_macs, 6);
    assert_int_equal(arp_parse(rte_pktmbuf_mtod_offset(m, uint8_t *, 14), ARP_PACKET, &p), TIDE_OK);
    assert_int_equal(p.sender, US);
    assert_int_equal(p.target, US);
    rte_pktmbuf_free(m);
    net_end(n);
}

static void siblings_pass_on_what_they_hear(void **state)
{
    struct net_config c = config_plain();
    struct net *asks = net_new(&c);
    struct net *hears = net_new(&c);
    struct net_neighbour learned[2];
    assert_int_equal(send_to(asks, S, PEER), TIDE_OK);
    struct frame f = arp_frame(ARP_REPLY, PEER, US);
    assert_int_equal(feed(hears, S, &f), NET_CONSUMED);
    assert_int_equal(net_take_learned(hears, learned, 2), 1);
    net_neighbour_learn(asks, S, &learned[0]);
    assert_int_equal(asks->tx_count, 2); /* the request, and what waited */
    assert_int_equal(net_take_learned(asks, learned, 2), 0);
    /* An announcement updates a sibling that knows the neighbour, and only such a one. */
    f = arp_frame(ARP_REQUEST, PEER, PEER);
    memcpy(f.bytes + 14 + 8, &other_mac, 6);
    assert_int_equal(feed(hears, S, &f), NET_CONSUMED);
    assert_int_equal(net_take_learned(hears, learned, 2), 1);
    assert_int_equal(learned[0].source, NEIGHBOUR_FROM_OTHER);
    net_neighbour_learn(asks, S, &learned[0]);
    assert_int_equal(send_to(asks, S, PEER), TIDE_OK);
    struct rte_mbuf *m[3];
    assert_int_equal(net_take_tx(asks, m, 3), 3);
    assert_memory_equal(rte_pktmbuf_mtod(m[2], uint8_t *), &other_mac, 6);
    rte_pktmbuf_free_bulk(m, 3);
    net_check(asks);
    net_deinit(asks);
    free(asks);
    net_end(hears);
}

/* The frame of one packet to PEER, whose mac is known. */
static struct rte_mbuf *frame_out(struct net *n, uint16_t payload, uint8_t ecn, bool segmented)
{
    struct tide_addr from = tide_addr_v4(US), to = tide_addr_v4(PEER);
    struct rte_mbuf *m = tcp_packet(payload);
    if (segmented) {
        m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
        m->tso_segsz = 100;
    }
    assert_int_equal(net_output(n, S, m, &from, &to, ecn), TIDE_OK);
    net_check(n);
    return take_one(n);
}

/* The first packet is put together from its parts, the others are not. */
static void what_is_remembered_of_a_way_changes_no_frame(void **state)
{
    static const struct {
        uint16_t payload, vlan;
        uint8_t ecn;
        bool segmented;
    } rows[] = {{0, 0, 0, false}, {10, 0, 2, false}, {1460, 0, 0, false}, {1460, 0, 2, true}, {255, 7, 3, false}, {256, 0, 1, false}};
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        for (unsigned before = 0; before < TIDE_ARRAY_LEN(rows); before++) {
            struct net_config c = config_plain();
            struct net_neighbour peer = {tide_addr_v4(PEER), peer_mac, NEIGHBOUR_FROM_ASK};
            c.vlan = rows[i].vlan;
            c.dscp = 10;
            struct net *knows = net_new(&c), *fresh = net_new(&c);
            net_neighbour_learn(knows, S, &peer);
            net_neighbour_learn(fresh, S, &peer);
            rte_pktmbuf_free(frame_out(knows, rows[before].payload, rows[before].ecn, rows[before].segmented));
            struct rte_mbuf *a = frame_out(knows, rows[i].payload, rows[i].ecn, rows[i].segmented);
            struct rte_mbuf *b = frame_out(fresh, rows[i].payload, rows[i].ecn, rows[i].segmented);
            assert_int_equal(a->data_len, b->data_len);
            assert_int_equal(a->pkt_len, b->pkt_len);
            assert_memory_equal(rte_pktmbuf_mtod(a, void *), rte_pktmbuf_mtod(b, void *), a->data_len);
            assert_int_equal(a->ol_flags, b->ol_flags);
            assert_int_equal(a->tx_offload, b->tx_offload);
            assert_int_equal(a->port, b->port);
            rte_pktmbuf_free(a);
            rte_pktmbuf_free(b);
            net_deinit(fresh);
            free(fresh);
            net_end(knows);
        }
    }
}

static void what_is_remembered_of_a_way_ends_with_it(void **state)
{
    struct net_config c = config_plain();
    struct net *n = net_new(&c);
    struct frame heard = tcp_frame(PEER, US);
    struct net_neighbour peer = {tide_addr_v4(PEER), peer_mac, NEIGHBOUR_FROM_ASK};
    struct tide_addr not_ours = tide_addr_v4(PEER + 1), to = tide_addr_v4(PEER);
    struct rte_mbuf *m;
    uint64_t now = S;
    net_neighbour_learn(n, now, &peer);
    rte_pktmbuf_free(frame_out(n, 0, 0, false));
    m = tcp_packet(0);
    assert_int_equal(net_output(n, now, m, &not_ours, &to, 0), TIDE_REFUSED);
    rte_pktmbuf_free(m);
    peer.mac = other_mac; /* it moves */
    net_neighbour_learn(n, now, &peer);
    m = frame_out(n, 0, 0, false);
    assert_memory_equal(rte_pktmbuf_mtod(m, void *), &other_mac, 6);
    rte_pktmbuf_free(m);
    assert_int_equal(feed(n, now, &heard), NET_TCP); /* from its old place: no proof while the new one is fresh */
    m = frame_out(n, 0, 0, false);
    assert_memory_equal(rte_pktmbuf_mtod(m, void *), &other_mac, 6);
    rte_pktmbuf_free(m);
    net_move(n, now, 4, &peer_mac); /* and so do we */
    m = frame_out(n, 0, 0, false);
    assert_memory_equal(rte_pktmbuf_mtod_offset(m, void *, 6), &peer_mac, 6);
    assert_int_equal(m->port, 4);
    rte_pktmbuf_free(m);
    net_set_way(n, 31, GATEWAY); /* 10.0.0.2 is on another link now, and the gateway has to be asked for */
    assert_int_equal(send_to(n, now, PEER), TIDE_OK);
    m = take_one(n);
    assert_memory_equal(rte_pktmbuf_mtod(m, void *), &all_macs, 6);
    rte_pktmbuf_free(m);
    net_set_way(n, 31, 0);
    assert_int_equal(send_to(n, now, PEER), TIDE_ABSENT);
    net_end(n);
}

/* Packets that come confirm whom we send to; when none have for a minute he is asked again. */
static void who_speaks_is_not_asked(void **state)
{
    struct net_config c = config_plain();
    struct net *n = net_new(&c);
    struct frame heard = tcp_frame(PEER, US);
    uint64_t now = S;
    struct rte_mbuf *frames[2];
    for (unsigned i = 0; i < 4; i++, now += 50 * S) {
        assert_int_equal(feed(n, now, &heard), NET_TCP);
        assert_int_equal(send_to(n, now, PEER), TIDE_OK);
        rte_pktmbuf_free(take_one(n));
        assert_int_equal(n->tx_count, 0);
    }
    assert_int_equal(send_to(n, now, PEER), TIDE_OK); /* 50 seconds after */
    rte_pktmbuf_free(take_one(n));
    assert_int_equal(n->tx_count, 0);
    assert_int_equal(send_to(n, now + 20 * S, PEER), TIDE_OK);
    assert_int_equal(net_take_tx(n, frames, 2), 2);
    rte_pktmbuf_free(frames[0]);
    rte_pktmbuf_free(frames[1]);
    net_end(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(which_settings_are_possible),
        cmocka_unit_test(which_frames_are_tcp_for_us),
        cmocka_unit_test(link_broadcast_carries_no_tcp),
        cmocka_unit_test(what_is_handed_on_is_the_packet_alone),
        cmocka_unit_test(options_are_skipped),
        cmocka_unit_test(chains_are_trimmed),
        cmocka_unit_test(only_our_vlan),
        cmocka_unit_test(a_request_is_answered),
        cmocka_unit_test(arp_that_is_not_answered),
        cmocka_unit_test(our_address_is_defended_but_not_in_a_storm),
        cmocka_unit_test(echo_is_answered),
        cmocka_unit_test(icmp_that_is_wrong_or_not_for_us),
        cmocka_unit_test(icmp_errors_are_reported),
        cmocka_unit_test(a_packet_goes_out_as_a_frame),
        cmocka_unit_test(an_unknown_next_hop_is_asked_and_then_sent_to),
        cmocka_unit_test(too_many_waiting_are_lost_and_counted),
        cmocka_unit_test(who_spoke_to_us_needs_no_request),
        cmocka_unit_test(what_is_remembered_of_a_way_changes_no_frame),
        cmocka_unit_test(what_is_remembered_of_a_way_ends_with_it),
        cmocka_unit_test(who_speaks_is_not_asked),
        cmocka_unit_test(packets_that_cannot_go_stay_the_callers),
        cmocka_unit_test(a_large_packet_is_cut_by_the_port),
        cmocka_unit_test(a_full_outbox_refuses_without_a_trace),
        cmocka_unit_test(an_empty_pool_loses_answers_only),
        cmocka_unit_test(the_address_is_announced_twice),
        cmocka_unit_test(siblings_pass_on_what_they_hear),
    };
    unit_eal();
    rx_pool = unit_pool("net_rx", POOL, 2048);
    tx_pool = unit_pool("net_tx", POOL, 2048);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
