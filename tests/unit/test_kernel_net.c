/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "edge/kernel_net.h"

enum { STORM = 3000 };

static struct kernel_way told;
static unsigned times_told;
static const struct tide_addr none;

static void on_neighbour(void *arg, const struct tide_addr *addr, const uint8_t mac[6])
{
}

static void on_way(void *arg, const struct kernel_way *way)
{
    told = *way;
    times_told++;
}

static void look(uv_loop_t *loop)
{
    for (unsigned i = 0; i < 1000; i++)
        uv_run(loop, UV_RUN_NOWAIT);
}

static void ip(const char *commands)
{
    FILE *f = popen("ip -batch - >/dev/null", "w");
    assert_non_null(f);
    fputs(commands, f);
    assert_int_equal(pclose(f), 0);
}

/* More changes than the socket holds, while nobody reads it: those at the end are lost. */
static void storm(void)
{
    FILE *f = popen("ip -batch - >/dev/null", "w");
    assert_non_null(f);
    for (unsigned i = 0; i < STORM; i++)
        fprintf(f, "addr add 10.%u.%u.1/32 dev lo\n", i / 256, i % 256);
    assert_int_equal(pclose(f), 0);
}

static void changes_are_told_also_when_some_were_lost(void **state)
{
    uv_loop_t loop;
    struct kernel_way way;
    char error[512];
    struct kernel_net_config config = {.interface = "lo", .addr = tide_addr_v4(0x7f000001), .on_neighbour = on_neighbour, .on_way = on_way};
    struct kernel_net *k;
    uv_loop_init(&loop);
    assert_int_equal(kernel_net_look("lo", &config.addr, &none, &way, error, sizeof(error)), TIDE_OK);
    assert_int_equal(way.prefix_len, 8);
    k = kernel_net_start(&loop, &config);
    assert_non_null(k);
    ip("addr add 10.255.0.1/16 dev lo\n");
    look(&loop);
    assert_int_equal(times_told, 0); /* nothing that we go by */
    ip("addr del 127.0.0.1/8 dev lo\naddr add 127.0.0.1/16 dev lo\n");
    look(&loop);
    assert_int_equal(told.prefix_len, 16);
    storm();
    ip("addr del 127.0.0.1/16 dev lo\naddr add 127.0.0.1/24 dev lo\n");
    look(&loop);
    assert_int_equal(told.prefix_len, 24);
    ip("addr del 127.0.0.1/24 dev lo\naddr add 127.0.0.1/28 dev lo\n");
    look(&loop);
    assert_int_equal(told.prefix_len, 28);
    kernel_net_stop(k);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void an_address_of_somebody_else_is_refused(void **state)
{
    struct tide_addr addr = tide_addr_v4(0xc0000201);
    struct kernel_way way;
    char error[512];
    assert_int_equal(kernel_net_look("lo", &addr, &none, &way, error, sizeof(error)), TIDE_ABSENT);
    assert_non_null(strstr(error, "192.0.2.1 is not an address of lo, which has:"));
    assert_int_equal(kernel_net_look("nosuchif0", &addr, &none, &way, error, sizeof(error)), TIDE_IO);
}

/* IPv6 beside it: its prefix, its router and changes of both; an address that the interface lacks is named. */
static void the_way_out_by_ipv6(void **state)
{
    static const struct tide_addr router = {{0xfd, 0x78, [15] = 9}};
    struct kernel_net_config config = {.interface = "tide6", .addr = tide_addr_v4(0x0a4e0001), .addr6 = {{0xfd, 0x78, [15] = 1}},
                                       .on_neighbour = on_neighbour, .on_way = on_way};
    struct kernel_way way;
    struct kernel_net *k;
    uv_loop_t loop;
    char error[512];
    ip("link add tide6 type veth peer name tide6p\nlink set tide6p up\nlink set tide6 up\naddr add 10.78.0.1/24 dev tide6\n");
    assert_int_equal(kernel_net_look("tide6", &config.addr, &config.addr6, &way, error, sizeof(error)), TIDE_ABSENT);
    assert_non_null(strstr(error, "data.address6 fd78::1 is not an address of tide6"));
    ip("addr add fd78::1/64 dev tide6 nodad\nroute add ::/0 via fd78::8 dev tide6 metric 200\nroute add fd99::/64 via fd78::7 dev tide6\n");
    assert_int_equal(kernel_net_look("tide6", &config.addr, &config.addr6, &way, error, sizeof(error)), TIDE_OK);
    assert_int_equal(way.prefix_len, 24);
    assert_int_equal(way.gateway, 0);
    assert_int_equal(way.prefix6_len, 64);
    assert_int_equal(way.gateway6.bytes[15], 8);
    uv_loop_init(&loop);
    k = kernel_net_start(&loop, &config);
    assert_non_null(k);
    times_told = 0;
    ip("route add ::/0 via fd78::9 dev tide6 metric 100\n"); /* the better one */
    look(&loop);
    assert_int_equal(times_told, 1);
    assert_memory_equal(&told.gateway6, &router, sizeof(router));
    ip("route del ::/0 via fd78::9 dev tide6\nroute del ::/0 via fd78::8 dev tide6\n");
    look(&loop);
    assert_memory_equal(&told.gateway6, &none, sizeof(none));
    assert_int_equal(told.prefix6_len, 64);
    assert_int_equal(told.prefix_len, 24);
    ip("addr del fd78::1/64 dev tide6\naddr add fd78::1/80 dev tide6 nodad\n");
    look(&loop);
    assert_int_equal(told.prefix6_len, 80);
    kernel_net_stop(k);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    ip("link del tide6\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changes_are_told_also_when_some_were_lost),
        cmocka_unit_test(an_address_of_somebody_else_is_refused),
        cmocka_unit_test(the_way_out_by_ipv6),
    };
    if (unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
        return 77; /* no network of our own to be had: skipped */
    if (system("ip link set lo up") != 0)
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
