/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "core/steer.h"
#include "net/ip.h"
#include "net/ip6.h"
#include "tidemark/bytes.h"
#include "tidemark/random.h"
#include "tidemark/rss.h"

enum { CORES = 7, HERE = CORES }; /* no core that a hash can name */

static struct rte_mempool *pool;

/* A TCP frame between two ends, IPv6 with a header of options when `options`. */
static uint16_t frame(uint8_t *at, const struct tide_addr *source, uint16_t source_port, const struct tide_addr *destination,
                      uint16_t destination_port, uint16_t vlan, bool options)
{
    bool v4 = tide_addr_is_v4(source);
    struct eth_view eth = {.type = v4 ? ETH_TYPE_IPV4 : ETH_TYPE_IPV6, .vlan = vlan};
    uint16_t len = eth_write(at, &eth);
    if (v4) {
        ip_write(at + len, &(struct ip_fields){tide_addr_to_v4(source), tide_addr_to_v4(destination), 20, 6, 0, 0, 0});
        len = (uint16_t)(len + IP_HEADER);
    } else {
        ip6_write(at + len, &(struct ip6_fields){*source, *destination, options ? 28 : 20, options ? TIDE_IPV6_OPTIONS : 6, 64, 0, 0});
        len = (uint16_t)(len + TIDE_IPV6_HEADER);
        if (options) {
            memcpy(at + len, (const uint8_t[]){6, 0, 1, 4, 0, 0, 0, 0}, 8);
            len = (uint16_t)(len + 8);
        }
    }
    memset(at + len, 0, 20);
    store_be16(at + len, source_port);
    store_be16(at + len + 2, destination_port);
    return (uint16_t)(len + 20);
}

static uint32_t core_of(const uint8_t *bytes, uint16_t len)
{
    struct rte_mbuf *m = unit_exact_mbuf(pool, bytes, len);
    uint32_t core = steer_core(m, CORES, HERE);
    rte_pktmbuf_free(m);
    return core;
}

/* Whatever the family, the tag and the options: both directions and steer_flow name the same core, and all cores get work. */
static void a_flow_has_one_core(void **state)
{
    struct tide_random r = {5};
    unsigned flows[2][CORES] = {{0}};
    enum { ROUNDS = 7000 };
    for (unsigned i = 0; i < ROUNDS; i++) {
        bool v4 = i % 2 == 0;
        struct tide_addr a = tide_addr_v4(0x0a000001);
        struct tide_addr b = tide_addr_v4((uint32_t)(0x0a000100 + tide_random_below(&r, 40)));
        uint16_t port = (uint16_t)(32768 + tide_random_below(&r, 20000));
        uint8_t bytes[128];
        if (!v4) {
            a = (struct tide_addr){{0xfd, [15] = 1}};
            b = (struct tide_addr){{0xfd, [15] = (uint8_t)(2 + tide_random_below(&r, 40))}};
        }
        uint32_t core = steer_flow(&a, 9092, &b, port, CORES);
        assert_true(core < CORES);
        flows[v4][core]++;
        for (unsigned shape = 0; shape < 4; shape++) {
            uint16_t vlan = shape & 1 ? 5 : 0;
            uint16_t len = frame(bytes, &a, 9092, &b, port, vlan, (shape & 2) != 0);
            assert_int_equal(core_of(bytes, len), core);
            len = frame(bytes, &b, port, &a, 9092, vlan, (shape & 2) != 0);
            assert_int_equal(core_of(bytes, len), core);
        }
    }
    for (unsigned v4 = 0; v4 < 2; v4++)
        for (unsigned c = 0; c < CORES; c++)
            assert_in_range(flows[v4][c], ROUNDS / 2 / CORES * 3 / 4, ROUNDS / 2 / CORES * 5 / 4);
}

/* Flows that differ only in the prefix of the peer, only in its last bits, or only in the port are spread as well. */
static void every_part_counts(void **state)
{
    static const uint8_t places[] = {1, 7, 8, 12, 15};
    struct tide_addr a = {{0xfd, [15] = 1}};
    for (unsigned p = 0; p < TIDE_ARRAY_LEN(places); p++) {
        uint32_t seen = 0;
        for (unsigned v = 0; v < 256; v++) {
            struct tide_addr b = {{0xfd, [15] = 9}};
            b.bytes[places[p]] = (uint8_t)v;
            seen |= 1u << steer_flow(&a, 9092, &b, 40000, CORES);
        }
        assert_int_equal(seen, (1u << CORES) - 1);
    }
    uint32_t seen = 0;
    for (unsigned v = 0; v < 256; v++)
        seen |= 1u << steer_flow(&a, 9092, &(struct tide_addr){{0xfd, [15] = 9}}, (uint16_t)(40000 + v), CORES);
    assert_int_equal(seen, (1u << CORES) - 1);
}

static void what_is_no_whole_tcp_packet_stays_here(void **state)
{
    static const struct {
        const char *what;
        bool v4;
        uint8_t at, value;
    } rows[] = {
        {"ARP", true, 13, 6},           {"UDP", true, 23, 17},           {"a fragment", true, 20, 0x20},
        {"version 6 in IPv4", true, 14, 0x65}, {"a short header", true, 14, 0x44}, {"a long header", true, 14, 0x4f},
        {"ICMPv6", false, 20, 58},      {"UDP", false, 20, 17},          {"a fragment", false, 20, 44},
        {"version 4 in IPv6", false, 14, 0x45}, {"options that are none", false, 20, 60}, {"longer than the frame", false, 18, 1},
    };
    struct tide_addr a4 = tide_addr_v4(0x0a000001), b4 = tide_addr_v4(0x0a000002);
    struct tide_addr a6 = {{0xfd, [15] = 1}}, b6 = {{0xfd, [15] = 2}};
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        uint8_t bytes[128];
        uint16_t len = frame(bytes, rows[i].v4 ? &a4 : &a6, 1, rows[i].v4 ? &b4 : &b6, 2, 0, false);
        print_message("  %s\n", rows[i].what);
        assert_int_not_equal(core_of(bytes, len), HERE);
        memset(bytes + 54, 0xff, rows[i].v4 ? 0 : 20);
        bytes[rows[i].at] = rows[i].value;
        assert_int_equal(core_of(bytes, len), HERE);
    }
    for (unsigned shape = 0; shape < 4; shape++) {
        uint8_t bytes[128];
        bool v4 = (shape & 1) != 0;
        uint16_t len = frame(bytes, v4 ? &a4 : &a6, 1, v4 ? &b4 : &b6, 2, shape & 2 ? 5 : 0, false);
        for (uint16_t cut = 0; cut < len; cut++)
            (void)core_of(bytes, cut);
        for (uint16_t behind = 1; behind < len; behind++) { /* in a chain, the ports must be in the first segment */
            struct rte_mbuf *m = unit_exact_mbuf(pool, bytes, (uint16_t)(len - behind));
            rte_pktmbuf_chain(m, unit_exact_mbuf(pool, bytes + len - behind, behind));
            assert_int_equal(steer_core(m, CORES, HERE) == HERE, behind > 16);
            rte_pktmbuf_free(m);
        }
    }
}

/* An error comes from a router, and belongs to the core whose packet it quotes. */
static void errors_go_to_the_flow_they_quote(void **state)
{
    struct tide_addr a4 = tide_addr_v4(0x0a000001), b4 = tide_addr_v4(0x0a000002), router4 = tide_addr_v4(0x0a0000fe);
    struct tide_addr a6 = {{0xfd, [15] = 1}}, b6 = {{0xfd, [15] = 2}}, router6 = {{0xfe, 0x80, [15] = 9}};
    for (uint16_t port = 40000; port < 40100; port++) {
        uint8_t inner[128], bytes[256];
        uint16_t quoted = frame(inner, &a4, 9092, &b4, port, 0, false);
        (void)frame(bytes, &router4, 0, &a4, 0, 0, false);
        ip_write(bytes + 14, &(struct ip_fields){0x0a0000fe, 0x0a000001, (uint16_t)(8 + quoted - 14), IP_PROTOCOL_ICMP, 0, 0, 0});
        memcpy(bytes + 34, (const uint8_t[]){3, 4, 0, 0, 0, 0, 5, 0}, 8);
        memcpy(bytes + 42, inner + 14, quoted - 14u);
        uint16_t len = (uint16_t)(42 + quoted - 14);
        assert_int_equal(core_of(bytes, len), steer_flow(&a4, 9092, &b4, port, CORES));
        bytes[34] = 8; /* an echo request that looks like it */
        assert_int_equal(core_of(bytes, len), HERE);

        quoted = frame(inner, &a6, 9092, &b6, port, 0, false);
        (void)frame(bytes, &router6, 0, &a6, 0, 0, false);
        ip6_write(bytes + 14, &(struct ip6_fields){router6, a6, (uint16_t)(8 + quoted - 14), TIDE_IPV6_ICMP, 64, 0, 0});
        memcpy(bytes + 54, (const uint8_t[]){2, 0, 0, 0, 0, 0, 5, 0}, 8);
        memcpy(bytes + 62, inner + 14, quoted - 14u);
        len = (uint16_t)(62 + quoted - 14);
        assert_int_equal(core_of(bytes, len), steer_flow(&a6, 9092, &b6, port, CORES));
        for (uint16_t cut = 0; cut < len; cut++)
            (void)core_of(bytes, cut);
        bytes[54] = 128;
        assert_int_equal(core_of(bytes, len), HERE);
    }
}

static uint32_t common_divisor(uint32_t a, uint32_t b)
{
    return b == 0 ? a : common_divisor(b, a % b);
}

/* Every pair of cores between which a partition's bytes go has a port, and the flow lands where it was to; where two cores cannot meet, the
 * port is right for this end. */
static void source_ports_steer_both_ends(void **state)
{
    static const struct steer_ports ports = {61000, 65535};
    struct tide_random r = {7};
    unsigned met = 0, alone = 0;
    for (uint32_t n = 1; n <= TIDE_CORES_MAX; n++)
        for (uint32_t k = 1; k <= TIDE_CORES_MAX; k++)
            for (uint32_t i = (uint32_t)tide_random_below(&r, 5); i < n * k; i += 1 + (n * k > 16) * 4) { /* of many pairs some */
                struct tide_addr peer = tide_addr_v4((uint32_t)tide_random_u64(&r));
                struct steer_end here = {tide_addr_v4(0x0a000001), 0, i % n, n}, there = {peer, 9093, i / n, k};
                uint32_t divisor = common_divisor(n, k);
                bool reach = here.core % divisor == there.core % divisor;
                uint16_t port = steer_source_port(&ports, (uint32_t)tide_random_u64(&r), &here, &there);
                assert_in_range(port, ports.first, ports.last);
                assert_int_equal(steer_flow(&here.addr, port, &peer, 9093, n), here.core);
                bool lands = steer_flow(&peer, 9093, &here.addr, port, k) == there.core;
                if (!reach)
                    assert_false(lands);
                else if (n * k / divisor <= TIDE_RSS_BUCKETS)
                    assert_true(lands);
                met += lands;
                alone += !lands;
            }
    assert_true(met > 1000);
    assert_true(alone > 500);
    struct steer_end here = {tide_addr_v4(0x0a000001), 0, 1, 2}, there = {tide_addr_v4(0x0a000002), 9093, 0, 0};
    assert_int_not_equal(steer_source_port(&ports, 0, &here, &there), 0); /* how many cores it has is not known */
    here.core = 2;                                                         /* there is no such core */
    assert_int_equal(steer_source_port(&ports, 0, &here, &there), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(source_ports_steer_both_ends),
        cmocka_unit_test(a_flow_has_one_core),
        cmocka_unit_test(every_part_counts),
        cmocka_unit_test(errors_go_to_the_flow_they_quote),
        cmocka_unit_test(what_is_no_whole_tcp_packet_stays_here),
    };
    unit_eal();
    pool = unit_pool("steer", 63, 2048);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
