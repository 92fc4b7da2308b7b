/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "net/arp.h"

static const struct rte_ether_addr mac_a = {{2, 0, 0, 0, 0, 0xa}};
static const struct rte_ether_addr mac_b = {{2, 0, 0, 0, 0, 0xb}};

static void packets(void **state)
{
    static const struct {
        const char *what;
        uint8_t at, value;
        uint32_t len;
        enum tide_status status;
    } rows[] = {
        {"good request", 7, 1, 28, TIDE_OK},
        {"good reply", 7, 2, 28, TIDE_OK},
        {"reverse ARP", 7, 3, 28, TIDE_BAD},
        {"operation 0", 7, 0, 28, TIDE_BAD},
        {"operation 257", 6, 1, 28, TIDE_BAD},
        {"cut", 7, 1, 27, TIDE_BAD},
        {"empty", 7, 1, 0, TIDE_BAD},
        {"hardware 6", 1, 6, 28, TIDE_BAD},
        {"protocol IPv6", 2, 0x86, 28, TIDE_BAD},
        {"hardware length 8", 4, 8, 28, TIDE_BAD},
        {"protocol length 16", 5, 16, 28, TIDE_BAD},
        {"multicast sender", 8, 1, 28, TIDE_BAD},
        {"broadcast sender", 8, 0xff, 28, TIDE_BAD},
    };
    struct arp_packet good = {.operation = ARP_REQUEST,
                              .sender_mac = mac_a,
                              .target_mac = mac_b,
                              .sender = 0x0a000002,
                              .target = 0x0a000001};
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint8_t bytes[ARP_PACKET];
        struct arp_packet p;
        print_message("  %s\n", rows[i].what);
        arp_write(bytes, &good);
        bytes[rows[i].at] = rows[i].value;
        uint8_t *exact = malloc(rows[i].len + 1);
        memcpy(exact + 1, bytes, rows[i].len);
        assert_int_equal(arp_parse(exact + 1, rows[i].len, &p), rows[i].status);
        free(exact);
        if (rows[i].status != TIDE_OK)
            continue;
        assert_int_equal(p.operation, rows[i].value);
        assert_int_equal(p.sender, good.sender);
        assert_int_equal(p.target, good.target);
        assert_true(rte_is_same_ether_addr(&p.sender_mac, &mac_a));
        assert_true(rte_is_same_ether_addr(&p.target_mac, &mac_b));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
