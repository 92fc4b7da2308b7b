/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "net/ip.h"
#include "net/ip6.h"
#include "tidemark/bytes.h"
#include "tidemark/checksum.h"
#include "tidemark/random.h"

static const struct tide_addr us = {{0xfd, [15] = 1}};
static const struct tide_addr peer = {{0xfd, [14] = 2, [15] = 3}};
static const struct tide_addr nobody;
static const struct rte_ether_addr mac = {{2, 0, 0, 0, 0, 9}};

/* A header and whatever follows it, in a heap block that ends where the bytes end and starts at an odd address. */
static enum tide_status parse(const uint8_t *bytes, uint32_t len, uint32_t packet_len, struct tide_ipv6_view *ret)
{
    uint8_t *exact = malloc(len + 1);
    memcpy(exact + 1, bytes, len);
    enum tide_status status = tide_ipv6_parse(exact + 1, len, packet_len, ret);
    free(exact);
    return status;
}

static void headers(void **state)
{
    /* Every row changes a good header in a packet of 40 + 20. */
    static const struct {
        const char *what;
        uint8_t at, value;
        uint32_t len, packet_len;
        enum tide_status status;
        uint16_t payload_len;
    } rows[] = {
        {"good", 6, 6, 60, 60, TIDE_OK, 20},
        {"padded", 6, 6, 66, 66, TIDE_OK, 20},
        {"in two segments", 6, 6, 40, 60, TIDE_OK, 20},
        {"no payload", 5, 0, 60, 60, TIDE_OK, 0},
        {"version 4", 0, 0x45, 60, 60, TIDE_BAD, 0},
        {"version 0", 0, 0, 60, 60, TIDE_BAD, 0},
        {"longer than the frame", 5, 21, 60, 60, TIDE_BAD, 0},
        {"much longer than the frame", 4, 255, 60, 60, TIDE_BAD, 0},
        {"cut at 39", 6, 6, 39, 60, TIDE_BAD, 0},
        {"empty", 6, 6, 0, 0, TIDE_BAD, 0},
    };
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        uint8_t bytes[80];
        struct tide_ipv6_view v;
        print_message("  %s\n", rows[i].what);
        ip6_write(bytes, &(struct ip6_fields){peer, us, 20, TIDE_IPV6_TCP, 63, 3, 0});
        memset(bytes + 40, 0x55, 40);
        bytes[rows[i].at] = rows[i].value;
        assert_int_equal(parse(bytes, rows[i].len, rows[i].packet_len, &v), rows[i].status);
        if (rows[i].status != TIDE_OK)
            continue;
        assert_int_equal(v.header_len, 40);
        assert_int_equal(v.payload_len, rows[i].payload_len);
        assert_int_equal(v.protocol, TIDE_IPV6_TCP);
        assert_int_equal(v.hop_limit, 63);
        assert_int_equal(v.ecn, 3);
        assert_memory_equal(&v.source, &peer, 16);
        assert_memory_equal(&v.destination, &us, 16);
    }
}

static void extension_headers(void **state)
{
    /* `next` is of the IPv6 header; then come the bytes, and TCP's 20. */
    static const struct {
        const char *what;
        uint8_t next, len;
        uint8_t bytes[56];
        enum tide_status status;
        uint8_t protocol;
        uint16_t header_len;
    } rows[] = {
        {"hop-by-hop with padding", 0, 8, {6, 0, 1, 4}, TIDE_OK, 6, 48},
        {"with Pad1 only", 0, 8, {6}, TIDE_OK, 6, 48},
        {"router alert", 0, 8, {6, 0, 5, 2, 0, 0, 1, 0}, TIDE_OK, 6, 48},
        {"an unknown option to be skipped", 60, 8, {6, 0, 0x1e, 4}, TIDE_OK, 6, 48},
        {"an unknown option that forbids it", 60, 8, {6, 0, 0x5e, 4}, TIDE_OK, TIDE_IPV6_NONE, 48},
        {"one that wants an error", 60, 8, {6, 0, 0x9e, 4}, TIDE_OK, TIDE_IPV6_NONE, 48},
        {"jumbo payload", 0, 8, {6, 0, 0xc2, 4, 0, 1, 0, 0}, TIDE_OK, TIDE_IPV6_NONE, 48},
        {"an option beyond its header", 60, 8, {6, 0, 1, 5}, TIDE_BAD, 0, 0},
        {"an option without its length", 60, 8, {6, 0, 0, 0, 0, 0, 0, 1}, TIDE_BAD, 0, 0},
        {"16 bytes of options", 60, 16, {6, 1, 1, 12}, TIDE_OK, 6, 56},
        {"a header beyond the packet", 60, 8, {6, 4}, TIDE_BAD, 0, 0},
        {"a header of 2048 bytes", 60, 8, {6, 255}, TIDE_BAD, 0, 0},
        {"routing used up", 43, 8, {6, 0, 4, 0}, TIDE_OK, 6, 48},
        {"routing with segments left", 43, 8, {6, 0, 4, 1}, TIDE_OK, TIDE_IPV6_NONE, 48},
        {"routing type 0 with segments left", 43, 8, {6, 0, 0, 1}, TIDE_OK, TIDE_IPV6_NONE, 48},
        {"all three", 0, 24, {60, 0, 1, 4, 0, 0, 0, 0, 43, 0, 1, 4, 0, 0, 0, 0, 6, 0, 4, 0}, TIDE_OK, 6, 64},
        {"hop-by-hop not first", 60, 16, {0, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4}, TIDE_OK, TIDE_IPV6_NONE, 48},
        {"a fragment", 44, 8, {6, 0, 0, 1}, TIDE_OK, TIDE_IPV6_FRAGMENT, 40},
        {"a fragment that is whole", 44, 8, {6}, TIDE_OK, TIDE_IPV6_FRAGMENT, 40},
        {"a fragment behind options", 60, 16, {44, 0, 1, 4, 0, 0, 0, 0, 6}, TIDE_OK, TIDE_IPV6_FRAGMENT, 48},
        {"nothing follows", 59, 0, {0}, TIDE_OK, TIDE_IPV6_NONE, 40},
        {"ESP", 50, 0, {0}, TIDE_OK, 50, 40},
        {"six of them",
         60,
         48,
         {60, 0, 0, 0, 0, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0,
          60, 0, 0, 0, 0, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0, 6},
         TIDE_OK,
         6,
         88},
        {"seven of them",
         60,
         56,
         {60, 0, 0, 0, 0, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0, 60, 0, 0, 0,
          0, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0, 6},
         TIDE_OK,
         TIDE_IPV6_NONE,
         88},
    };
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        uint8_t bytes[128] = {0};
        uint32_t len = 40u + rows[i].len + 20;
        struct tide_ipv6_view v;
        print_message("  %s\n", rows[i].what);
        ip6_write(bytes, &(struct ip6_fields){peer, us, (uint16_t)(len - 40), rows[i].next, 64, 0, 0});
        memcpy(bytes + 40, rows[i].bytes, rows[i].len);
        assert_int_equal(parse(bytes, len, len, &v), rows[i].status);
        if (rows[i].status == TIDE_OK) {
            assert_int_equal(v.protocol, rows[i].protocol);
            assert_int_equal(v.header_len, rows[i].header_len);
            assert_int_equal(v.header_len + v.payload_len, len);
        }
        for (uint32_t cut = 0; cut < len; cut++) { /* of the first segment, and of the frame */
            (void)parse(bytes, cut, len, &v);
            assert_int_equal(parse(bytes, cut, cut, &v), TIDE_BAD);
        }
    }
}

/* A packet whose headers end where the contiguous bytes end is read, one byte less is not. */
static void headers_must_lie_together(void **state)
{
    uint8_t bytes[76] = {0};
    struct tide_ipv6_view v;
    ip6_write(bytes, &(struct ip6_fields){peer, us, 36, TIDE_IPV6_OPTIONS, 64, 0, 0});
    bytes[40] = 6;
    bytes[41] = 1;
    assert_int_equal(parse(bytes, 56, 76, &v), TIDE_OK);
    assert_int_equal(v.payload_len, 20);
    assert_int_equal(parse(bytes, 55, 76, &v), TIDE_BAD);
}

/* The sum of the pseudo-header written out. */
static void pseudo_sum_is_the_sum_of_the_pseudo_header(void **state)
{
    struct tide_random r = {3};
    for (unsigned i = 0; i < 500; i++) {
        uint8_t bytes[40] = {0};
        for (unsigned k = 0; k < 32; k++)
            bytes[k] = i % 3 == 0 ? 0xff : (uint8_t)tide_random_u64(&r);
        uint32_t len = (uint32_t)tide_random_below(&r, 70000);
        store_be32(bytes + 32, len);
        bytes[39] = (uint8_t)tide_random_u64(&r);
        uint64_t sum = 0;
        for (unsigned k = 0; k < sizeof(bytes); k += 2)
            sum += load_be16(bytes + k);
        while (sum >> 16 != 0)
            sum = (sum >> 16) + (sum & 0xffff);
        assert_int_equal(tide_sum_fold(tide_ipv6_pseudo_sum(bytes, bytes[39], len)), __builtin_bswap16((uint16_t)sum));
    }
}

static void which_addresses_are_hosts(void **state)
{
    static const struct {
        const char *what;
        struct tide_addr addr;
        bool host;
    } rows[] = {
        {"unique local", {{0xfd, [15] = 1}}, true},
        {"global", {{0x20, 1, 0x0d, 0xb8, [15] = 1}}, true},
        {"link-local", {{0xfe, 0x80, [15] = 1}}, true},
        {"64:ff9b::, a translator's", {{0, 0x64, 0xff, 0x9b, [15] = 1}}, true},
        {"unspecified", {{0}}, false},
        {"loopback", {{[15] = 1}}, false},
        {"multicast", {{0xff, 2, [15] = 1}}, false},
        {"IPv4 mapped", {{[10] = 0xff, 0xff, 10, 0, 0, 2}}, false},
        {"IPv4 compatible", {{[12] = 10, 0, 0, 2}}, false},
    };
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        print_message("  %s\n", rows[i].what);
        assert_int_equal(ip6_is_host(&rows[i].addr), rows[i].host);
    }
}

static void prefixes(void **state)
{
    struct tide_addr a = {{0xfd, 0, 0, 0, 0, 0, 0, 0xf0, [15] = 1}};
    struct tide_addr b = {{0xfd, 0, 0, 0, 0, 0, 0, 0xf7, [15] = 1}};
    static const struct {
        unsigned len;
        bool same;
    } rows[] = {{0, true}, {8, true}, {60, true}, {61, true}, {62, false}, {64, false}, {128, false}};
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++)
        assert_int_equal(ip6_has_prefix(&a, &b, rows[i].len), rows[i].same);
    assert_true(ip6_has_prefix(&a, &a, 128));
    b = a;
    b.bytes[15] = 0;
    assert_false(ip6_has_prefix(&a, &b, 128));
    assert_true(ip6_has_prefix(&a, &b, 127));
}

static void addresses_that_are_made(void **state)
{
    struct rte_ether_addr m = {{0x52, 0x54, 0, 0x12, 0x34, 0x56}};
    static const struct tide_addr link_local = {{0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x50, 0x54, 0, 0xff, 0xfe, 0x12, 0x34, 0x56}};
    static const struct tide_addr group = {{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0x12, 0x34, 0x56}};
    static const struct rte_ether_addr group_mac = {{0x33, 0x33, 0xff, 0x12, 0x34, 0x56}};
    struct tide_addr a = ip6_link_local(&m);
    assert_memory_equal(&a, &link_local, 16);
    a = ip6_solicited_node(&a);
    assert_memory_equal(&a, &group, 16);
    m = ip6_group_mac(&a);
    assert_memory_equal(&m, &group_mac, 6);
}

/* ---- errors ---- */

static void icmp_errors(void **state)
{
    static const struct {
        const char *what;
        uint8_t at, value;
        uint32_t len;
        enum tide_status status;
    } rows[] = {
        {"too big", 0, 2, 56, TIDE_OK},
        {"too big, for a link of 1280", 7, 0, 56, TIDE_OK}, /* 0x0500 */
        {"for no link of IPv6", 6, 4, 56, TIDE_BAD},
        {"an mtu of more than 16 bits", 5, 1, 56, TIDE_OK},
        {"unreachable", 0, 1, 56, TIDE_OK},
        {"time exceeded", 0, 3, 56, TIDE_OK},
        {"parameter problem", 0, 4, 56, TIDE_OK},
        {"type 0", 0, 0, 56, TIDE_ABSENT},
        {"type 5", 0, 5, 56, TIDE_ABSENT},
        {"redirect", 0, 137, 56, TIDE_ABSENT},
        {"about UDP", 14, 17, 56, TIDE_ABSENT},
        {"about a fragment", 14, 44, 56, TIDE_ABSENT},
        {"quoted version 4", 8, 0x45, 56, TIDE_BAD},
        {"quoted options that are not there", 14, 60, 56, TIDE_BAD},
        {"quote cut in TCP", 0, 2, 55, TIDE_BAD},
        {"quote cut in IP", 0, 2, 47, TIDE_BAD},
        {"no quote", 0, 2, 8, TIDE_BAD},
        {"cut in ICMP", 0, 2, 7, TIDE_BAD},
        {"empty", 0, 2, 0, TIDE_BAD},
    };
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        uint8_t bytes[56] = {2, 0, 0, 0, 0, 0, 5, 0xdc};
        struct icmp6_quote q;
        print_message("  %s\n", rows[i].what);
        ip6_write(bytes + 8, &(struct ip6_fields){us, peer, 1460, TIDE_IPV6_TCP, 60, 0, 0});
        memcpy(bytes + 48, (const uint8_t[]){0x23, 0x84, 0xc0, 1, 1, 2, 3, 4}, 8);
        bytes[rows[i].at] = rows[i].value;
        uint8_t *exact = malloc(rows[i].len + 1);
        memcpy(exact + 1, bytes, rows[i].len);
        assert_int_equal(icmp6_parse_error(exact + 1, rows[i].len, &q), rows[i].status);
        free(exact);
        if (rows[i].status != TIDE_OK)
            continue;
        assert_memory_equal(&q.source, &us, 16);
        assert_memory_equal(&q.destination, &peer, 16);
        assert_int_equal(q.source_port, 9092);
        assert_int_equal(q.destination_port, 49153);
        assert_int_equal(q.sequence, 0x01020304);
        assert_int_equal(q.type, bytes[0]);
        assert_int_equal(q.next_mtu, bytes[0] == 2 ? load_be32(bytes + 4) : 0);
    }
}

/* ---- neighbour discovery ---- */

#define ND_TO_GROUP 1
#define ND_FROM_NOBODY 2
#define ND_ALL_NODES 4

static void neighbour_packets(void **state)
{
    /* Every row changes a byte of a solicitation (135) or an advertisement (136) of 32 bytes. */
    static const struct {
        const char *what;
        uint8_t type, at, value, len, hop_limit, how;
        enum tide_status status;
        bool has_mac;
    } rows[] = {
        {"solicitation", 135, 1, 0, 32, 255, 0, TIDE_OK, true},
        {"to the group", 135, 1, 0, 32, 255, ND_TO_GROUP, TIDE_OK, true},
        {"without a mac", 135, 1, 0, 24, 255, ND_TO_GROUP, TIDE_OK, false},
        {"from off the link", 135, 1, 0, 32, 254, 0, TIDE_BAD, false},
        {"hop limit 64", 135, 1, 0, 32, 64, 0, TIDE_BAD, false},
        {"hop limit 0", 135, 1, 0, 32, 0, 0, TIDE_BAD, false},
        {"code 1", 135, 1, 1, 32, 255, 0, TIDE_BAD, false},
        {"another type", 134, 1, 0, 32, 255, 0, TIDE_BAD, false},
        {"a multicast target", 135, 8, 0xff, 32, 255, 0, TIDE_BAD, false},
        {"option of length 0", 135, 25, 0, 32, 255, 0, TIDE_BAD, false},
        {"option beyond the end", 135, 25, 2, 32, 255, 0, TIDE_BAD, false},
        {"option far beyond the end", 135, 25, 255, 32, 255, 0, TIDE_BAD, false},
        {"half an option", 135, 1, 0, 25, 255, 0, TIDE_BAD, false},
        {"an option of another kind", 135, 24, 14, 32, 255, 0, TIDE_OK, false},
        {"the target's mac in a solicitation", 135, 24, 2, 32, 255, 0, TIDE_OK, false},
        {"a group's mac", 135, 26, 1, 32, 255, 0, TIDE_BAD, false},
        {"one byte short", 135, 1, 0, 23, 255, 0, TIDE_BAD, false},
        {"empty", 135, 1, 0, 0, 255, 0, TIDE_BAD, false},
        {"a probe", 135, 1, 0, 24, 255, ND_FROM_NOBODY | ND_TO_GROUP, TIDE_OK, false},
        {"a probe that names a mac", 135, 1, 0, 32, 255, ND_FROM_NOBODY | ND_TO_GROUP, TIDE_BAD, false},
        {"a probe with another option", 135, 24, 14, 32, 255, ND_FROM_NOBODY | ND_TO_GROUP, TIDE_OK, false},
        {"a probe to one host", 135, 1, 0, 24, 255, ND_FROM_NOBODY, TIDE_BAD, false},
        {"a probe to all nodes", 135, 1, 0, 24, 255, ND_FROM_NOBODY | ND_ALL_NODES, TIDE_BAD, false},
        {"advertisement", 136, 1, 0, 32, 255, 0, TIDE_OK, true},
        {"without a mac", 136, 1, 0, 24, 255, 0, TIDE_OK, false},
        {"solicited", 136, 4, 0x40, 32, 255, 0, TIDE_OK, true},
        {"overriding", 136, 4, 0x20, 32, 255, ND_ALL_NODES, TIDE_OK, true},
        {"solicited, to all nodes", 136, 4, 0x40, 32, 255, ND_ALL_NODES, TIDE_BAD, false},
        {"from a router, with reserved bits", 136, 4, 0x9f, 32, 255, 0, TIDE_OK, true},
        {"the source's mac in an advertisement", 136, 24, 1, 32, 255, 0, TIDE_OK, false},
        {"from nobody", 136, 1, 0, 32, 255, ND_FROM_NOBODY, TIDE_BAD, false},
        {"from off the link", 136, 1, 0, 32, 254, 0, TIDE_BAD, false},
    };
    struct tide_addr group = ip6_solicited_node(&us);
    struct tide_addr all = ip6_all_nodes();
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        struct nd_packet good = {.target = us, .mac = mac, .has_mac = true, .is_advertisement = rows[i].type == 136};
        struct tide_ipv6_view ip = {.source = rows[i].how & ND_FROM_NOBODY ? nobody : peer,
                                    .destination = rows[i].how & ND_TO_GROUP    ? group
                                                   : rows[i].how & ND_ALL_NODES ? all
                                                                                : us,
                                    .hop_limit = rows[i].hop_limit};
        uint8_t bytes[ND_PACKET_MAX];
        struct nd_packet p;
        print_message("  %s\n", rows[i].what);
        assert_int_equal(nd_write(bytes, &good), ND_PACKET_MAX);
        bytes[0] = rows[i].type;
        bytes[rows[i].at] = rows[i].value;
        uint8_t *exact = malloc(rows[i].len + 1u);
        memcpy(exact + 1, bytes, rows[i].len);
        assert_int_equal(nd_parse(exact + 1, rows[i].len, &ip, &p), rows[i].status);
        free(exact);
        if (rows[i].status != TIDE_OK)
            continue;
        assert_memory_equal(&p.target, &us, 16);
        assert_int_equal(p.has_mac, rows[i].has_mac);
        if (p.has_mac)
            assert_memory_equal(&p.mac, &mac, 6);
        assert_int_equal(p.is_advertisement, rows[i].type == 136);
        assert_int_equal(p.is_solicited, rows[i].type == 136 && (bytes[4] & 0x40) != 0);
        assert_int_equal(p.is_override, rows[i].type == 136 && (bytes[4] & 0x20) != 0);
    }
}

/* The second option counts when the first is of another kind; of two the first does. */
static void options_are_walked(void **state)
{
    uint8_t bytes[48] = {135, [8] = 0xfd, [23] = 1, 14, 1, 9, 9, 9, 9, 9, 9, 1, 1, 2, 0, 0, 0, 0, 9, 1, 1, 2, 0, 0, 0, 0, 8};
    struct tide_ipv6_view ip = {.source = peer, .destination = us, .hop_limit = 255};
    struct nd_packet p;
    assert_int_equal(nd_parse(bytes, sizeof(bytes), &ip, &p), TIDE_OK);
    assert_true(p.has_mac);
    assert_memory_equal(&p.mac, &mac, 6);
    for (uint32_t len = 24; len < sizeof(bytes); len++)
        assert_int_equal(nd_parse(bytes, len, &ip, &p), len % 8 == 0 ? TIDE_OK : TIDE_BAD);
}

static void listener_reports(void **state)
{
    struct tide_addr groups[2] = {ip6_solicited_node(&us), ip6_solicited_node(&peer)};
    struct tide_addr to;
    for (unsigned count = 1; count <= 2; count++) {
        uint8_t bytes[40 + MLD_REPORT_MAX];
        uint16_t len = mld_write(bytes + 40, &us, groups, count, count == 1, &to);
        struct tide_ipv6_view v;
        assert_int_equal(len, 8 + 8 + 20 * count);
        ip6_write(bytes, &(struct ip6_fields){us, to, len, TIDE_IPV6_HOP_BY_HOP, 1, 0, 0});
        assert_int_equal(parse(bytes, 40u + len, 40u + len, &v), TIDE_OK);
        assert_int_equal(v.protocol, TIDE_IPV6_ICMP);
        assert_int_equal(v.header_len, 48);
        assert_int_equal(bytes[42], 5); /* router alert */
        assert_int_equal(bytes[48], 143);
        assert_int_equal(load_be16(bytes + 54), count);
        assert_int_equal(bytes[56], count == 1 ? 4 : 2);
        assert_memory_equal(bytes + 60 + 20 * (count - 1), &groups[count - 1], 16);
        assert_int_equal(to.bytes[15], 0x16);
        uint64_t pseudo = tide_ipv6_pseudo_sum(bytes + 8, TIDE_IPV6_ICMP, v.payload_len);
        assert_int_equal(tide_sum_fold(tide_sum_add(pseudo, bytes + 48, v.payload_len)), 0xffff);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers),
        cmocka_unit_test(extension_headers),
        cmocka_unit_test(headers_must_lie_together),
        cmocka_unit_test(pseudo_sum_is_the_sum_of_the_pseudo_header),
        cmocka_unit_test(which_addresses_are_hosts),
        cmocka_unit_test(prefixes),
        cmocka_unit_test(addresses_that_are_made),
        cmocka_unit_test(icmp_errors),
        cmocka_unit_test(neighbour_packets),
        cmocka_unit_test(options_are_walked),
        cmocka_unit_test(listener_reports),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
