/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "net/ip.h"
#include "tidemark/bytes.h"
#include "tidemark/checksum.h"
#include "tidemark/random.h"
#include "tidemark/types.h"

/* The same sum, two bytes at a time and with nothing clever. */
static uint16_t plain_sum(const uint8_t *bytes, uint32_t len)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < len; i++)
        sum += (i & 1) == 0 ? (uint32_t)bytes[i] << 8 : bytes[i];
    while (sum >> 16 != 0)
        sum = (sum >> 16) + (sum & 0xffff);
    return __builtin_bswap16((uint16_t)sum);
}

static void sums_agree_with_the_definition(void **state)
{
    struct tide_random r = {7};
    static uint8_t bytes[9100]; /* a jumbo frame and more */
    for (unsigned round = 0; round < 2000; round++) {
        uint32_t at = (uint32_t)tide_random_below(&r, 8);
        uint32_t len = (uint32_t)tide_random_below(&r, round % 2 == 0 ? 512 : sizeof(bytes) - 8);
        for (unsigned i = 0; i < sizeof(bytes); i++)
            bytes[i] = round % 3 == 0 ? 0xff : (uint8_t)tide_random_u64(&r);
        assert_int_equal(tide_sum_fold(tide_sum_add(0, bytes + at, len)),
                         plain_sum(bytes + at, len));
    }
}

/* Segments of odd length put the rest of the packet at odd offsets, with carries. */
static void sums_over_chains_do_not_depend_on_the_cuts(void **state)
{
    struct tide_random r = {8};
    struct rte_mempool *pool = unit_pool("ip_sums", 63, 2048);
    uint8_t bytes[700];
    for (unsigned round = 0; round < 500; round++) {
        struct rte_mbuf *chain = NULL;
        uint32_t done = 0;
        for (unsigned i = 0; i < sizeof(bytes); i++)
            bytes[i] = round % 2 == 0 ? 0xff : (uint8_t)tide_random_u64(&r);
        while (done < sizeof(bytes)) {
            uint32_t n = (uint32_t)tide_random_below(&r, 120);
            n = TIDE_MIN(n, (uint32_t)sizeof(bytes) - done);
            struct rte_mbuf *m = unit_exact_mbuf(pool, bytes + done, (uint16_t)n);
            done += n;
            if (chain == NULL)
                chain = m;
            else
                assert_int_equal(rte_pktmbuf_chain(chain, m), 0);
        }
        uint32_t off = (uint32_t)tide_random_below(&r, sizeof(bytes));
        uint32_t len = (uint32_t)tide_random_below(&r, sizeof(bytes) - off);
        assert_int_equal(tide_sum_fold(tide_sum_add_mbuf(0, chain, off, len)),
                         plain_sum(bytes + off, len));
        rte_pktmbuf_free(chain);
    }
    assert_int_equal(rte_mempool_avail_count(pool), 63);
    rte_mempool_free(pool);
}

static void ethernet_headers(void **state)
{
    static const struct {
        const char *what;
        uint8_t bytes[18];
        uint32_t len;
        enum tide_status status;
        uint16_t type, vlan, header_len;
    } rows[] = {
        {"nothing", {0}, 0, TIDE_BAD, 0, 0, 0},
        {"one byte short", {[12] = 8}, 13, TIDE_BAD, 0, 0, 0},
        {"untagged", {[12] = 8}, 14, TIDE_OK, 0x0800, 0, 14},
        {"tag cut", {[12] = 0x81}, 17, TIDE_BAD, 0, 0, 0},
        {"tagged 5", {[12] = 0x81, [15] = 5, [16] = 8, [17] = 6}, 18, TIDE_OK, 0x0806, 5, 18},
        {"priority", {[12] = 0x81, [14] = 0xe0, [16] = 8}, 18, TIDE_OK, 0x0800, 0, 18},
        {"id without priority bits",
         {[12] = 0x81, [14] = 0xff, [15] = 0xfe, [16] = 8},
         18,
         TIDE_OK,
         0x0800,
         0xffe,
         18},
        {"two tags", {[12] = 0x81, [15] = 5, [16] = 0x81}, 18, TIDE_OK, 0x8100, 5, 18},
    };
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        struct eth_view v = {.type = 1};
        print_message("  %s\n", rows[i].what);
        assert_int_equal(eth_parse(rows[i].bytes, rows[i].len, &v), rows[i].status);
        if (rows[i].status != TIDE_OK)
            continue;
        assert_int_equal(v.type, rows[i].type);
        assert_int_equal(v.vlan, rows[i].vlan);
        assert_int_equal(v.header_len, rows[i].header_len);
    }
}

static void ethernet_written_is_ethernet_read(void **state)
{
    struct eth_view h = {.destination = {{1, 2, 3, 4, 5, 6}},
                         .source = {{7, 8, 9, 10, 11, 12}},
                         .type = ETH_TYPE_ARP};
    uint8_t bytes[18];
    for (unsigned vlan = 0; vlan < 4095; vlan += 13) {
        struct eth_view v = {0};
        h.vlan = (uint16_t)vlan;
        h.header_len = vlan != 0 ? 18 : 14;
        assert_int_equal(eth_write(bytes, &h), h.header_len);
        assert_int_equal(eth_parse(bytes, h.header_len, &v), TIDE_OK);
        assert_memory_equal(&v, &h, sizeof(v));
    }
}

static void ip_headers(void **state)
{
    /* Every row changes a good header of 20 bytes in a packet of 40. */
    static const struct {
        const char *what;
        uint8_t at, value;
        uint32_t len, packet_len;
        enum tide_status status;
        uint16_t header_len, payload_len;
        bool is_fragment;
    } rows[] = {
        {"good", 0, 0x45, 40, 40, TIDE_OK, 20, 20, false},
        {"padded", 0, 0x45, 46, 46, TIDE_OK, 20, 20, false},
        {"in two segments", 0, 0x45, 20, 40, TIDE_OK, 20, 20, false},
        {"version 6", 0, 0x65, 40, 40, TIDE_BAD, 0, 0, false},
        {"version 0", 0, 0x05, 40, 40, TIDE_BAD, 0, 0, false},
        {"header of 16", 0, 0x44, 40, 40, TIDE_BAD, 0, 0, false},
        {"header of 0", 0, 0x40, 40, 40, TIDE_BAD, 0, 0, false},
        {"options", 0, 0x4a, 40, 40, TIDE_OK, 40, 0, false},
        {"header beyond total length", 0, 0x4b, 44, 44, TIDE_BAD, 0, 0, false},
        {"header beyond the segment", 0, 0x46, 20, 40, TIDE_BAD, 0, 0, false},
        {"longer than the frame", 3, 41, 40, 40, TIDE_BAD, 0, 0, false},
        {"much longer than the frame", 2, 255, 40, 40, TIDE_BAD, 0, 0, false},
        {"total length 0", 3, 0, 40, 40, TIDE_BAD, 0, 0, false},
        {"total length 19", 3, 19, 40, 40, TIDE_BAD, 0, 0, false},
        {"no payload", 3, 20, 40, 40, TIDE_OK, 20, 0, false},
        {"cut at 19", 0, 0x45, 19, 40, TIDE_BAD, 0, 0, false},
        {"empty", 0, 0x45, 0, 0, TIDE_BAD, 0, 0, false},
        {"do not fragment", 6, 0x40, 40, 40, TIDE_OK, 20, 20, false},
        {"evil bit alone", 6, 0x80, 40, 40, TIDE_OK, 20, 20, false},
        {"first fragment", 6, 0x20, 40, 40, TIDE_OK, 20, 20, true},
        {"later fragment", 7, 1, 40, 40, TIDE_OK, 20, 20, true},
        {"fragment far behind", 6, 0x1f, 40, 40, TIDE_OK, 20, 20, true},
    };
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        uint8_t bytes[64] = {0x45, 3, 0, 40, 0, 1, 0, 0, 63, 6, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1};
        struct ip_view v = {0};
        print_message("  %s\n", rows[i].what);
        bytes[rows[i].at] = rows[i].value;
        uint8_t *exact = malloc(rows[i].len + 1);
        memcpy(exact + 1, bytes, rows[i].len); /* odd address, ends with the block */
        assert_int_equal(ip_parse(exact + 1, rows[i].len, rows[i].packet_len, &v), rows[i].status);
        free(exact);
        if (rows[i].status != TIDE_OK)
            continue;
        assert_int_equal(v.header_len, rows[i].header_len);
        assert_int_equal(v.payload_len, rows[i].payload_len);
        assert_int_equal(v.is_fragment, rows[i].is_fragment);
        assert_int_equal(v.source, 0x0a000002);
        assert_int_equal(v.destination, 0x0a000001);
        assert_int_equal(v.protocol, 6);
        assert_int_equal(v.ttl, 63);
        assert_int_equal(v.ecn, 3);
    }
}

static void ip_written_is_ip_read(void **state)
{
    struct ip_fields f = {.source = 0xc0a80101,
                          .destination = 0xc0a801fe,
                          .payload_len = 1480,
                          .protocol = IP_PROTOCOL_TCP,
                          .ecn = 2};
    uint8_t bytes[20];
    struct ip_view v = {0};
    memset(bytes, 0xaa, sizeof(bytes));
    ip_write(bytes, &f);
    assert_int_equal(ip_parse(bytes, 20, 1500, &v), TIDE_OK);
    assert_int_equal(v.source, f.source);
    assert_int_equal(v.destination, f.destination);
    assert_int_equal(v.payload_len, 1480);
    assert_int_equal(v.ttl, IP_TTL);
    assert_int_equal(v.ecn, 2);
    assert_int_equal(load_be16(bytes + 6), 0x4000);
    assert_int_equal(load_be16(bytes + 10), 0);
}

static void pseudo_sum_is_the_sum_of_the_pseudo_header(void **state)
{
    struct tide_random r = {3};
    for (unsigned i = 0; i < 1000; i++) {
        uint8_t bytes[12] = {0};
        uint32_t a = (uint32_t)tide_random_u64(&r);
        uint32_t b = i % 3 == 0 ? UINT32_MAX : (uint32_t)tide_random_u64(&r);
        uint16_t len = (uint16_t)tide_random_u64(&r);
        store_be32(bytes, a);
        store_be32(bytes + 4, b);
        bytes[9] = 6;
        store_be16(bytes + 10, len);
        assert_int_equal(ip_pseudo_sum(a, b, 6, len), plain_sum(bytes, 12));
    }
}

static void which_addresses_are_hosts(void **state)
{
    static const struct {
        uint32_t addr;
        bool host;
    } rows[] = {
        {0, false},          {0x00ffffff, false}, {0x01000000, true}, {0x0a000001, true},
        {0x7f000001, false}, {0x80000000, true},  {0xdfffffff, true}, {0xe0000001, false},
        {0xf0000000, false}, {0xffffffff, false},
    };
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++)
        assert_int_equal(ip_is_host(rows[i].addr), rows[i].host);
}

/* ICMP header, the quoted IP header, 8 bytes of TCP. */
static const uint8_t icmp_frag_needed[36] = {
    3,    4,    0,    0,    0, 0, 5,    0xdc, /* next mtu 1500 */
    0x45, 0,    0x05, 0xdc, 0, 0, 0x40, 0,    60, 6,
    0,    0,    10,   0,    0, 1, 10,   0,    0,  2, /* 1500 bytes */
    0x23, 0x84, 0xc0, 0x01, 1, 2, 3,    4};

static void icmp_errors(void **state)
{
    static const struct {
        const char *what;
        uint8_t at, value;
        uint32_t len;
        enum tide_status status;
    } rows[] = {
        {"fragmentation needed", 0, 3, 36, TIDE_OK},
        {"port unreachable", 1, 3, 36, TIDE_OK},
        {"time exceeded", 0, 11, 36, TIDE_OK},
        {"redirect", 0, 5, 36, TIDE_ABSENT},
        {"echo reply", 0, 0, 36, TIDE_ABSENT},
        {"about UDP", 17, 17, 36, TIDE_ABSENT},
        {"quote cut in TCP", 0, 3, 35, TIDE_BAD},
        {"quote cut in IP", 0, 3, 27, TIDE_BAD},
        {"no quote", 0, 3, 8, TIDE_BAD},
        {"cut in ICMP", 0, 3, 7, TIDE_BAD},
        {"empty", 0, 3, 0, TIDE_BAD},
        {"quoted options that are not there", 8, 0x4f, 36, TIDE_BAD},
        {"quoted fragment", 15, 1, 36, TIDE_BAD},
    };
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        uint8_t bytes[36];
        struct icmp_quote q;
        print_message("  %s\n", rows[i].what);
        memcpy(bytes, icmp_frag_needed, sizeof(bytes));
        bytes[rows[i].at] = rows[i].value;
        uint8_t *exact = malloc(rows[i].len + 1);
        memcpy(exact + 1, bytes, rows[i].len);
        assert_int_equal(icmp_parse_error(exact + 1, rows[i].len, &q), rows[i].status);
        free(exact);
        if (rows[i].status != TIDE_OK)
            continue;
        assert_int_equal(q.source, 0x0a000001);
        assert_int_equal(q.destination, 0x0a000002);
        assert_int_equal(q.source_port, 9092);
        assert_int_equal(q.destination_port, 49153);
        assert_int_equal(q.sequence, 0x01020304);
        assert_int_equal(q.next_mtu, bytes[0] == 3 && bytes[1] == 4 ? 1500 : 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_agree_with_the_definition),
        cmocka_unit_test(sums_over_chains_do_not_depend_on_the_cuts),
        cmocka_unit_test(ethernet_headers),
        cmocka_unit_test(ethernet_written_is_ethernet_read),
        cmocka_unit_test(ip_headers),
        cmocka_unit_test(ip_written_is_ip_read),
        cmocka_unit_test(pseudo_sum_is_the_sum_of_the_pseudo_header),
        cmocka_unit_test(which_addresses_are_hosts),
        cmocka_unit_test(icmp_errors),
    };
    unit_eal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
