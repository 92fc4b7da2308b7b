/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <stddef.h>

#include "nic/share.h"
#include "tidemark/bytes.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_constants_of_the_program_are_filled_in),
        cmocka_unit_test(the_default_route_is_seen),
        cmocka_unit_test(ports_of_the_host_are_left_to_it),
        cmocka_unit_test(not_every_card_can_be_shared),
    };
    unit_eal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
