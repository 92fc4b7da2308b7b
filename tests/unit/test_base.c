/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "tidemark/bytes.h"
#include "tidemark/counters.h"
#include "tidemark/clock.h"
#include "tidemark/histogram.h"
#include "tidemark/mail.h"
#include "tidemark/random.h"
#include "tidemark/view.h"

static int setup(void **state)
{
    unit_eal();
    return 0;
}

static void test_uuid_text(void **state)
{
    static const struct { const char *text; uint8_t first, last; } rows[] = {
        {"AAAAAAAAAAAAAAAAAAAAAA", 0, 0},
        {"_____________________w", 0xff, 0xff},
        {"AQAAAAAAAAAAAAAAAAAAAg", 1, 2},
    };
    struct tide_uuid u;
    char text[TIDE_UUID_TEXT];
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        assert_true(tide_uuid_from_text(rows[i].text, 22, &u));
        assert_int_equal(u.bytes[0], rows[i].first);
        assert_int_equal(u.bytes[15], rows[i].last);
        tide_uuid_to_text(&u, text);
        assert_string_equal(text, rows[i].text);
    }
    assert_false(tide_uuid_from_text("AAAAAAAAAAAAAAAAAAAAA", 21, &u));
    assert_false(tide_uuid_from_text("AAAAAAAAAA+AAAAAAAAAAA", 22, &u));
}

static void test_histogram_buckets(void **state)
{
    struct tide_histogram *h = calloc(1, sizeof(*h));
    uint64_t last = 0;
    for (uint32_t b = 1; b < TIDE_HISTOGRAM_BUCKETS; b++) {
        uint64_t floor = tide_histogram_floor(b);
        assert_true(floor > last);
        assert_int_equal(tide_histogram_bucket(floor), b);
        assert_int_equal(tide_histogram_bucket(floor - 1), b - 1);
        last = floor;
    }
    assert_int_equal(tide_histogram_bucket(UINT64_MAX), TIDE_HISTOGRAM_BUCKETS - 1);
    for (uint64_t ns = 1; ns <= 1000; ns++)
        tide_histogram_add(h, ns * 1000);
    assert_int_equal(tide_histogram_count(h), 1000);
    assert_in_range(tide_histogram_quantile(h, 500000), 496000, 501000);
    assert_in_range(tide_histogram_quantile(h, 990000), 983000, 991000);
    free(h);
}

/* Two significant digits from 50 ns to 10 s. */
static void test_histogram_digits(void **state)
{
    for (uint64_t ns = 50; ns <= 10 * TIDE_NS_PER_S; ns += ns / 1000 + 1) {
        uint64_t floor = tide_histogram_floor(tide_histogram_bucket(ns));
        assert_true(floor <= ns);
        assert_true((ns - floor) * 100 < ns);
    }
}

static void test_histogram_merge(void **state)
{
    struct tide_histogram *a = calloc(1, sizeof(*a)), *b = calloc(1, sizeof(*b));
    tide_histogram_add(a, 100);
    tide_histogram_add(b, 100);
    tide_histogram_add(b, 5000);
    tide_histogram_merge(a, b);
    assert_int_equal(tide_histogram_count(a), 3);
    assert_int_equal(a->buckets[100], 2);
    assert_int_equal(a->sum_ns, 5200);
    assert_int_equal(a->max_ns, 5000);
    free(b);
    free(a);
}

/* A turn in virtual time has no length; elsewhere it has the one that the processor counts. */
static void test_time_within_a_turn(void **state)
{
    struct tide_time t = {.now_ns = 1000};
    assert_int_equal(tide_now_ns(&t), 1000);
    t.tick = rte_rdtsc() - (1ull << 40);
    t.tick_q32 = 1ull << 31; /* half a nanosecond */
    uint64_t passed = tide_now_ns(&t) - t.now_ns;
    assert_true(passed >= 1ull << 39 && passed < 1ull << 40);
}

static void test_bytes(void **state)
{
    uint8_t b[9] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
    assert_int_equal(load_be16(b + 1), 0x0102);
    assert_int_equal(load_be32(b + 1), 0x01020304);
    assert_true(load_be64(b + 1) == 0x0102030405060708ull);
    store_be64(b, 0x1122334455667788ull);
    assert_int_equal(b[0], 0x11);
    assert_int_equal(b[7], 0x88);
}

static void test_mail_keeps_order_and_says_full(void **state)
{
    struct post_office *o = post_office_create(2);
    struct tide_mail letters[MAIL_RING_SIZE];
    struct tide_mail *got[64];
    unsigned sent = 0;
    assert_non_null(o);
    while (sent < MAIL_RING_SIZE && post_send(o, 0, 1, &letters[sent]) == TIDE_OK)
        sent++;
    assert_int_equal(sent, MAIL_RING_SIZE - 1);
    assert_int_equal(o->parties[0].rung, 1u << 1);
    assert_true(post_has_mail(o, 1));
    assert_false(post_has_mail(o, 0));
    assert_int_equal(post_send(o, 2, 1, &letters[sent]), TIDE_OK); /* control is party 2 */
    unsigned at = 0;
    bool control_seen = false;
    for (unsigned n; (n = post_take(o, 1, got, 64)) != 0;)
        for (unsigned i = 0; i < n; i++) {
            if (got[i] == &letters[sent])
                control_seen = true;
            else
                assert_ptr_equal(got[i], &letters[at++]);
        }
    assert_int_equal(at, sent);
    assert_true(control_seen);
    post_office_destroy(o);
}

static void test_bells(void **state)
{
    struct post_office *o = post_office_create(2);
    uint32_t slots[128];
    unsigned n;
    post_ring(o, 0, 1, 5);
    post_ring(o, 0, 1, 5);
    post_ring(o, 0, 1, 4095);
    assert_true(post_is_rung(o, 1));
    assert_false(post_is_rung(o, 0));
    n = post_take_bells(o, 1, slots, 128);
    assert_int_equal(n, 2);
    assert_int_equal(slots[0], 5);
    assert_int_equal(slots[1], 4095);
    assert_false(post_is_rung(o, 1));
    for (uint32_t s = 0; s < 256; s++) /* more than one take can carry */
        post_ring(o, 0, 1, s);
    n = post_take_bells(o, 1, slots, 128);
    assert_int_equal(n, 128);
    assert_true(post_is_rung(o, 1));
    n = post_take_bells(o, 1, slots, 128);
    assert_int_equal(n, 128);
    assert_false(post_is_rung(o, 1));
    post_office_destroy(o);
}

static void test_view_finds_every_topic(void **state)
{
    enum { N = 500, SLOTS = 1024 };
    struct view_topic *topics = calloc(N, sizeof(*topics));
    uint32_t by_name[SLOTS], by_id[SLOTS];
    struct view_partition one = {.leader = 1};
    struct tide_view v = {.topics = topics, .topic_count = N, .hash_mask = SLOTS - 1, .by_name = by_name, .by_id = by_id};
    struct tide_uuid absent = {{9, 9}};
    for (unsigned i = 0; i < N; i++) {
        topics[i].name_len = (uint16_t)snprintf(topics[i].name, sizeof(topics[i].name), "topic-%04u", i);
        topics[i].id.bytes[0] = (uint8_t)i;
        topics[i].id.bytes[7] = (uint8_t)(i >> 8);
        topics[i].partition_count = 1;
        topics[i].partitions = &one;
    }
    tide_view_index(topics, N, SLOTS, by_name, by_id);
    for (unsigned i = 0; i < N; i++) {
        assert_ptr_equal(tide_view_topic(&v, topics[i].name, topics[i].name_len), &topics[i]);
        assert_ptr_equal(tide_view_topic_by_id(&v, &topics[i].id), &topics[i]);
    }
    assert_null(tide_view_topic(&v, "topic-000", 9));
    assert_null(tide_view_topic(&v, "", 0));
    assert_null(tide_view_topic_by_id(&v, &absent));
    assert_ptr_equal(tide_view_partition(&topics[3], 0), &one);
    assert_null(tide_view_partition(&topics[3], 1));
    assert_null(tide_view_partition(&topics[3], -1));
    free(topics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uuid_text),
        cmocka_unit_test(test_histogram_buckets),
        cmocka_unit_test(test_histogram_digits),
        cmocka_unit_test(test_histogram_merge),
        cmocka_unit_test(test_time_within_a_turn),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_mail_keeps_order_and_says_full),
        cmocka_unit_test(test_bells),
        cmocka_unit_test(test_view_finds_every_topic),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
