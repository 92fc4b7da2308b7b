/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <stddef.h>

#include <rte_ethdev.h>
#include <rte_flow.h>

#include "nic/share.h"
#include "tidemark/bytes.h"
#include "tidemark/rss.h"

/* The port of this number keeps what it is told, in ethdev's place. */
enum { CARD = 5, RULES_MAX = 128 };

static struct {
    unsigned refuse_at; /* this rule, counted from 1; 0: none */
    unsigned count, destroyed;
    struct {
        bool v6, is_there;
        uint16_t port, mask;
    } rules[RULES_MAX];
    uint64_t types;
    uint32_t queue_num;
    uint16_t queues[TIDE_RSS_BUCKETS];
} card;

struct rte_flow *rte_flow_create(uint16_t port_id, const struct rte_flow_attr *attr, const struct rte_flow_item pattern[], const struct rte_flow_action actions[],
                                 struct rte_flow_error *error)
{
    static const uint8_t addr[] = {10, 1, 2, 3}, addr6[16] = {0xfd, [15] = 9};
    uint8_t whole[16];
    memset(whole, 0xff, sizeof(whole));
    if (port_id != CARD)
        return NULL;
    if (card.count + 1 == card.refuse_at) {
        error->message = "no more of them";
        return NULL;
    }
    assert_true(card.count < RULES_MAX);
    assert_true(attr->ingress && !attr->egress && !attr->transfer && attr->group == 0 && attr->priority == 0);
    assert_int_equal(pattern[0].type, RTE_FLOW_ITEM_TYPE_ETH);
    assert_null(pattern[0].spec);
    bool v6 = pattern[1].type == RTE_FLOW_ITEM_TYPE_IPV6;
    if (v6) {
        struct rte_flow_item_ipv6 rest = *(const struct rte_flow_item_ipv6 *)pattern[1].mask;
        assert_memory_equal(((const struct rte_flow_item_ipv6 *)pattern[1].spec)->hdr.dst_addr, addr6, 16);
        assert_memory_equal(rest.hdr.dst_addr, whole, 16);
        memset(rest.hdr.dst_addr, 0, 16);
        assert_int_equal(rest.hdr.proto | rest.hdr.src_addr[0] | (int)rest.hdr.vtc_flow, 0); /* nothing else is looked at */
    } else {
        assert_int_equal(pattern[1].type, RTE_FLOW_ITEM_TYPE_IPV4);
        struct rte_flow_item_ipv4 rest = *(const struct rte_flow_item_ipv4 *)pattern[1].mask, none = {0};
        assert_memory_equal(&((const struct rte_flow_item_ipv4 *)pattern[1].spec)->hdr.dst_addr, addr, 4);
        assert_memory_equal(&rest.hdr.dst_addr, whole, 4);
        rest.hdr.dst_addr = 0;
        assert_memory_equal(&rest, &none, sizeof(rest));
    }
    assert_int_equal(pattern[2].type, RTE_FLOW_ITEM_TYPE_TCP);
    struct rte_flow_item_tcp tcp = *(const struct rte_flow_item_tcp *)pattern[2].spec, mask = *(const struct rte_flow_item_tcp *)pattern[2].mask;
    assert_int_equal(mask.hdr.src_port | mask.hdr.tcp_flags, 0);
    assert_int_equal(pattern[3].type, RTE_FLOW_ITEM_TYPE_END);
    assert_int_equal(actions[0].type, RTE_FLOW_ACTION_TYPE_RSS);
    assert_int_equal(actions[1].type, RTE_FLOW_ACTION_TYPE_END);
    const struct rte_flow_action_rss *rss = actions[0].conf;
    assert_int_equal(rss->func, RTE_ETH_HASH_FUNCTION_DEFAULT);
    assert_int_equal(rss->key_len, 40);
    assert_memory_equal(rss->key, tide_rss_key, 40);
    card.types = rss->types;
    card.queue_num = rss->queue_num;
    memcpy(card.queues, rss->queue, rss->queue_num * sizeof(card.queues[0]));
    card.rules[card.count].v6 = v6;
    card.rules[card.count].is_there = true;
    card.rules[card.count].port = rte_be_to_cpu_16(tcp.hdr.dst_port);
    card.rules[card.count].mask = rte_be_to_cpu_16(mask.hdr.dst_port);
    return (struct rte_flow *)&card.rules[card.count++];
}

int rte_flow_destroy(uint16_t port_id, struct rte_flow *flow, struct rte_flow_error *error)
{
    unsigned at = card.count - card.destroyed - 1; /* the newest first */
    assert_int_equal(port_id, CARD);
    assert_ptr_equal(flow, &card.rules[at]);
    assert_true(card.rules[at].is_there);
    card.rules[at].is_there = false;
    card.destroyed++;
    return 0;
}

static struct nic_share ours(void)
{
    return (struct nic_share){.addr = tide_addr_v4(0x0a010203), .addr6 = {{0xfd, [15] = 9}}, .ports = {9092, 9093}, .source_first = 61000, .source_last = 61999};
}

static void the_constants_of_the_program_are_filled_in(void **state)
{
    static const uint8_t addr[] = {10, 1, 2, 3};
    struct nic_share share = ours();
    uint8_t object[300];
    struct share_layout l;
    memset(object, 7, sizeof(object));
    assert_int_equal(share_fill(object, sizeof(object), &share), TIDE_BAD); /* no mark */
    memcpy(object + 100, SHARE_MARK, SHARE_MARK_LEN);
    assert_int_equal(share_fill(object, sizeof(object), &share), TIDE_OK);
    memcpy(&l, object + 100, sizeof(l));
    assert_memory_equal(&l.addr4, addr, sizeof(addr)); /* as it stands in a packet */
    assert_memory_equal(l.addr6, share.addr6.bytes, 16);
    assert_int_equal(l.has_addr6, 1);
    assert_int_equal(l.ports[1], 9093);
    assert_int_equal(l.ports[2], 0);
    assert_int_equal(l.source_last, 61999);
    assert_int_equal(object[99], 7);
    assert_int_equal(object[100 + sizeof(l)], 7);
    memcpy(object + 20, SHARE_MARK, SHARE_MARK_LEN);
    assert_int_equal(share_fill(object, sizeof(object), &share), TIDE_BAD); /* which one? */
    memset(object, 7, sizeof(object));
    memcpy(object + sizeof(object) - SHARE_MARK_LEN, SHARE_MARK, SHARE_MARK_LEN);
    assert_int_equal(share_fill(object, sizeof(object), &share), TIDE_BAD); /* no room behind it */
}

static void the_default_route_is_seen(void **state)
{
    static const char routes[] = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
                                 "eth0\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
                                 "eth1\t00000000\t0100A8C0\t0002\t0\t0\t100\t00000000\t0\t0\t0\n"
                                 "eth2\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
                                 "eth3\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000080\t0\t0\t0\n";
    assert_true(share_is_default_route(routes, "eth0"));
    assert_false(share_is_default_route(routes, "eth"));
    assert_false(share_is_default_route(routes, "eth1")); /* it is down */
    assert_false(share_is_default_route(routes, "eth2"));
    assert_false(share_is_default_route(routes, "eth3")); /* half of the world */
    assert_false(share_is_default_route("", "eth0"));
    assert_false(share_is_default_route("Iface\n", "eth0"));
}

static void ports_of_the_host_are_left_to_it(void **state)
{
    assert_false(share_ports_collide("32768\t60999\n", 61000, 65535));
    assert_true(share_ports_collide("32768\t61000\n", 61000, 65535));
    assert_true(share_ports_collide("1024\t65535\n", 61000, 61000));
    assert_false(share_ports_collide("32768\t60999\n", 20000, 32767));
    assert_true(share_ports_collide("32768\t60999\n", 20000, 32768));
    assert_false(share_ports_collide("", 1, 65535));
}

/* A port whose driver has no such thing says so, and the text says what to do. */
static void not_every_card_can_be_shared(void **state)
{
    char error[1024];
    struct nic_share share = ours();
    assert_int_equal(share_isolate(77, error, sizeof(error)), TIDE_REFUSED);
    assert_non_null(strstr(error, "Give the broker a port of its own"));
    assert_int_equal(share_rules(77, &share, 2, 0, error, sizeof(error)), TIDE_REFUSED);
    assert_non_null(strstr(error, "takes no rule"));
}

static bool takes(bool v6, uint32_t port)
{
    unsigned by = 0;
    for (unsigned i = 0; i < card.count; i++)
        by += card.rules[i].v6 == v6 && (port & card.rules[i].mask) == card.rules[i].port;
    assert_true(by <= 1);
    return by == 1;
}

/* Every port of ours, in both families, and none of the host's. */
static void a_card_gets_rules_for_what_is_ours(void **state)
{
    static const struct {
        uint16_t first, last;
        unsigned blocks;
    } rows[] = {{61000, 61999, 8}, {61000, 65535, 6}, {1, 65535, 16}, {1, 65534, 30}, {50000, 50000, 1}};
    char error[1024];
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++)
        for (unsigned v6 = 0; v6 < 2; v6++) {
            struct nic_share share = ours();
            share.source_first = rows[i].first;
            share.source_last = rows[i].last;
            if (!v6)
                memset(&share.addr6, 0, sizeof(share.addr6));
            if (rows[i].first == 1)
                memset(share.ports, 0, sizeof(share.ports)); /* a listener has no port that connections come from */
            memset(&card, 0, sizeof(card));
            assert_int_equal(share_rules(CARD, &share, 2, 0x1234, error, sizeof(error)), TIDE_OK);
            assert_int_equal(card.count, (rows[i].blocks + (rows[i].first == 1 ? 0 : 2)) * (1 + v6));
            assert_int_equal(card.destroyed, 0);
            for (uint32_t port = 0; port < 65536; port++) {
                bool is_ours = (port >= rows[i].first && port <= rows[i].last) || port == share.ports[0] || port == share.ports[1];
                is_ours = is_ours && port != 0;
                assert_int_equal(takes(false, port), is_ours);
                assert_int_equal(takes(true, port), is_ours && v6);
            }
        }
}

/* A flow arrives at the core that rss.h says. */
static void its_rules_spread_flows(void **state)
{
    struct nic_share share = ours();
    char error[1024];
    for (uint16_t queues = 1; queues <= 6; queues++) {
        memset(&card, 0, sizeof(card));
        assert_int_equal(share_rules(CARD, &share, queues, 0x1234, error, sizeof(error)), TIDE_OK);
        assert_int_equal(card.types, 0x1234);
        assert_int_equal(card.queue_num, queues == 1 ? 1 : TIDE_RSS_BUCKETS);
        for (uint32_t hash = 0; hash < card.queue_num; hash++)
            assert_int_equal(card.queues[hash], tide_rss_core(hash, queues));
    }
}

/* It takes all of them or keeps none; the text has its reason. */
static void a_refused_rule_undoes_the_others(void **state)
{
    struct nic_share share = ours();
    char error[1024], which[32];
    memset(&card, 0, sizeof(card));
    assert_int_equal(share_rules(CARD, &share, 2, 0, error, sizeof(error)), TIDE_OK);
    unsigned all = card.count;
    assert_int_equal(all, 20);
    for (unsigned n = 1; n <= all; n++) {
        memset(&card, 0, sizeof(card));
        card.refuse_at = n;
        assert_int_equal(share_rules(CARD, &share, 2, 0, error, sizeof(error)), TIDE_REFUSED);
        assert_int_equal(card.count, n - 1);
        assert_int_equal(card.destroyed, n - 1);
        snprintf(which, sizeof(which), "(the %u. of them)", n);
        assert_non_null(strstr(error, which));
        assert_non_null(strstr(error, "no more of them"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_constants_of_the_program_are_filled_in),
        cmocka_unit_test(the_default_route_is_seen),
        cmocka_unit_test(ports_of_the_host_are_left_to_it),
        cmocka_unit_test(not_every_card_can_be_shared),
        cmocka_unit_test(a_card_gets_rules_for_what_is_ours),
        cmocka_unit_test(its_rules_spread_flows),
        cmocka_unit_test(a_refused_rule_undoes_the_others),
    };
    unit_eal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
