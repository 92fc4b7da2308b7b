/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "nic/tap.h"
#include "tidemark/bytes.h"

static struct rte_mempool *pool;
static struct tap tap;

static uint32_t le32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

/* A frame of IPv4 or, with `six`, IPv6 between two hosts (their last byte), of `len` bytes. */
static struct rte_mbuf *frame(bool six, uint8_t from, uint16_t from_port, uint8_t to, uint16_t to_port, uint16_t len)
{
    uint8_t bytes[256] = {0};
    uint8_t *ip = bytes + 14;
    store_be16(bytes + 12, six ? 0x86dd : 0x0800);
    if (six) {
        ip[8] = ip[24] = 0xfd;
        ip[23] = from;
        ip[39] = to;
    } else {
        ip[0] = 0x45;
        ip[12] = ip[16] = 10;
        ip[15] = from;
        ip[19] = to;
    }
    store_be16(ip + (six ? 40 : 20), from_port);
    store_be16(ip + (six ? 40 : 20) + 2, to_port);
    for (uint16_t i = 80; i < len; i++)
        bytes[i] = (uint8_t)i;
    return unit_exact_mbuf(pool, bytes, len);
}

static void see(unsigned core, struct rte_mbuf *m, bool is_out)
{
    if (tap_is_on(&tap))
        tap_see(&tap, core, &m, 1, 0, is_out);
    rte_pktmbuf_free(m);
}

/* The blocks of what is taken; each must have its length at both ends. */
static unsigned take(uint8_t **ret, size_t *ret_len, uint32_t type)
{
    FILE *f = open_memstream((char **)ret, ret_len);
    unsigned n = 0;
    tap_take(&tap, f);
    fclose(f);
    for (size_t at = 0; at < *ret_len; at += le32(*ret + at + 4)) {
        uint32_t len = le32(*ret + at + 4);
        assert_int_equal(len % 4, 0);
        assert_true(at + len <= *ret_len);
        assert_int_equal(le32(*ret + at + len - 4), len);
        n += le32(*ret + at) == type;
    }
    return n;
}

static unsigned packets(void)
{
    uint8_t *bytes;
    size_t len;
    unsigned n = take(&bytes, &len, 6);
    free(bytes);
    return n;
}

static void stop(void)
{
    tap_off(&tap);
    tap_on_quiet(&tap);
}

static void frames_become_blocks(void **state)
{
    struct tap_wish wish = {.snap = 100};
    uint8_t *bytes;
    size_t len;
    see(0, frame(false, 1, 9092, 2, 40000, 120), true); /* off: nobody sees it */
    assert_int_equal(tap_on(&tap, 2, &wish), TIDE_OK);
    assert_int_equal(tap_on(&tap, 2, &wish), TIDE_EXISTS);
    see(1, frame(false, 1, 9092, 2, 40000, 121), true);
    see(0, frame(false, 2, 40000, 1, 9092, 90), false);
    assert_int_equal(take(&bytes, &len, 6), 2);
    assert_int_equal(le32(bytes + 20), 100); /* kept of */
    assert_int_equal(le32(bytes + 24), 121);
    assert_int_equal(bytes[28 + 99], 99);
    assert_int_equal(le32(bytes + 28 + 100), 4 << 16 | 2); /* the option of direction... */
    assert_int_equal(le32(bytes + 28 + 104), 2);           /* ...out */
    const uint8_t *second = bytes + le32(bytes + 4);
    assert_int_equal(le32(second + 20), 90);
    assert_int_equal(le32(second + 28 + 92 + 4), 1); /* in; padded to 92 */
    free(bytes);
    assert_int_equal(packets(), 0);
    tap_off(&tap);
    assert_false(tap_is_on(&tap));
    assert_int_equal(tap_on(&tap, 2, &wish), TIDE_EXISTS); /* a core may still be writing */
    tap_on_quiet(&tap);
    assert_int_equal(tap_on(&tap, 2, &wish), TIDE_OK);
    stop();
}

static void a_chain_is_one_frame(void **state)
{
    uint8_t *bytes;
    size_t len;
    struct rte_mbuf *m = frame(false, 1, 9092, 2, 40000, 90);
    rte_pktmbuf_chain(m, frame(true, 1, 9092, 2, 40000, 110));
    assert_int_equal(tap_on(&tap, 1, &(struct tap_wish){.snap = 150}), TIDE_OK);
    see(0, m, true);
    assert_int_equal(take(&bytes, &len, 6), 1);
    assert_int_equal(le32(bytes + 20), 150);
    assert_int_equal(le32(bytes + 24), 200);
    assert_int_equal(bytes[28 + 90 + 12], 0x86); /* the second begins behind the first */
    free(bytes);
    stop();
}

static void one_connection_alone(void **state)
{
    struct tap_wish wish = {.snap = 64, .one_conn = true, .addr = tide_addr_v4(0x0a000002), .port = 40000};
    assert_int_equal(tap_on(&tap, 1, &wish), TIDE_OK);
    see(0, frame(false, 1, 9092, 2, 40000, 90), true);
    see(0, frame(false, 2, 40000, 1, 9092, 90), false);
    see(0, frame(false, 2, 40001, 1, 9092, 90), false);
    see(0, frame(false, 3, 40000, 1, 9092, 90), false);
    see(0, frame(true, 2, 40000, 1, 9092, 90), false);
    see(0, frame(false, 2, 40000, 1, 9092, 16), false); /* too short to tell */
    assert_int_equal(packets(), 2);
    stop();
    wish.port = 0;
    wish.addr = (struct tide_addr){{0xfd, [15] = 2}};
    assert_int_equal(tap_on(&tap, 1, &wish), TIDE_OK);
    see(0, frame(true, 2, 1, 1, 9092, 90), false);
    see(0, frame(true, 1, 9092, 2, 1, 90), true);
    see(0, frame(true, 1, 9092, 3, 1, 90), true);
    see(0, frame(false, 1, 9092, 2, 1, 90), true);
    assert_int_equal(packets(), 2);
    stop();
}

static void what_finds_no_place_is_counted(void **state)
{
    uint8_t *bytes;
    size_t len;
    assert_int_equal(tap_on(&tap, 1, &(struct tap_wish){.snap = 64}), TIDE_OK);
    for (unsigned i = 0; i < TAP_SLOTS + 7; i++)
        see(0, frame(false, 1, 9092, 2, 40000, 60), true);
    assert_int_equal(take(&bytes, &len, 6), TAP_SLOTS);
    const uint8_t *last = bytes + len - 40;
    assert_int_equal(le32(last), 5);
    assert_int_equal(le32(last + 24), 7);
    free(bytes);
    see(0, frame(false, 1, 9092, 2, 40000, 60), true);
    assert_int_equal(take(&bytes, &len, 5), 0); /* said once */
    free(bytes);
    stop();
}

static void a_file_begins_with_its_interfaces(void **state)
{
    static const char *const names[] = {"net_af_xdp0", "0000:03:00.0"};
    char *text;
    size_t len;
    FILE *f = open_memstream(&text, &len);
    pcapng_begin(f, names, 2, 1500);
    fclose(f);
    const uint8_t *p = (const uint8_t *)text;
    assert_int_equal(le32(p), 0x0a0d0d0a);
    assert_int_equal(le32(p + 8), 0x1a2b3c4d);
    assert_int_equal(le32(p + 28), 1);
    assert_int_equal(le32(p + 28 + 12), 1500);
    assert_memory_equal(p + 28 + 20, "net_af_xdp0", 11);
    assert_int_equal(28 + le32(p + 32) + le32(p + 28 + le32(p + 32) + 4), len);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_become_blocks), cmocka_unit_test(a_chain_is_one_frame), cmocka_unit_test(one_connection_alone),
        cmocka_unit_test(what_finds_no_place_is_counted), cmocka_unit_test(a_file_begins_with_its_interfaces),
    };
    unit_eal();
    pool = unit_pool("tap", 255, 512);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
