/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <rte_ip.h>
#include <rte_thash.h>

#include "tidemark/bytes.h"
#include "tidemark/random.h"
#include "tidemark/rss.h"

/* The function that stands for the card in these tests: the examples of its specification (Microsoft, "Verifying the RSS Hash
 * Calculation"), IPv4 with the ports of TCP. */
static void the_reference_vectors_are_met(void **state)
{
    static const uint8_t key[40] = {0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb,
                                    0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa};
    static const struct {
        uint32_t source, destination;
        uint16_t source_port, destination_port;
        uint32_t hash;
    } rows[] = {
        {RTE_IPV4(66, 9, 149, 187), RTE_IPV4(161, 142, 100, 80), 2794, 1766, 0x51ccc178},
        {RTE_IPV4(199, 92, 111, 2), RTE_IPV4(65, 69, 140, 83), 14230, 4739, 0xc626b0ea},
        {RTE_IPV4(24, 19, 198, 95), RTE_IPV4(12, 22, 207, 184), 12898, 38024, 0x5c2b394a},
        {RTE_IPV4(38, 27, 205, 30), RTE_IPV4(209, 142, 163, 6), 48228, 2217, 0xafc7327f},
        {RTE_IPV4(153, 39, 163, 191), RTE_IPV4(202, 188, 127, 2), 44251, 1303, 0x10e828a2},
    };
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        uint32_t tuple[3] = {rows[i].source, rows[i].destination, (uint32_t)rows[i].source_port << 16 | rows[i].destination_port};
        assert_int_equal(rte_softrss(tuple, 3, key), rows[i].hash);
    }
}

static void the_hash_is_the_cards(void **state)
{
    struct tide_random r = {6};
    for (unsigned i = 0; i < 20000; i++) {
        uint16_t port_a = (uint16_t)tide_random_u64(&r), port_b = (uint16_t)tide_random_u64(&r);
        struct tide_addr a, b;
        uint32_t tuple[9];
        unsigned n = 0;
        bool v4 = i % 2 == 0;
        for (unsigned k = 0; k < 16; k++) {
            a.bytes[k] = (uint8_t)tide_random_u64(&r);
            b.bytes[k] = (uint8_t)tide_random_u64(&r);
        }
        if (v4) {
            a = tide_addr_v4(load_be32(a.bytes));
            b = tide_addr_v4(load_be32(b.bytes));
        }
        for (unsigned k = v4 ? 12 : 0; k < 16; k += 4)
            tuple[n++] = load_be32(a.bytes + k);
        for (unsigned k = v4 ? 12 : 0; k < 16; k += 4)
            tuple[n++] = load_be32(b.bytes + k);
        tuple[n++] = (uint32_t)port_a << 16 | port_b;
        assert_int_equal(tide_rss_hash(&a, port_a, &b, port_b), rte_softrss(tuple, n, tide_rss_key));
        assert_int_equal(tide_rss_hash(&a, port_a, &b, port_b), tide_rss_hash(&b, port_b, &a, port_a));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reference_vectors_are_met),
        cmocka_unit_test(the_hash_is_the_cards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
