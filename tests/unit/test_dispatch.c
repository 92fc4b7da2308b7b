/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which API, which version, and what of a request that is none: answered, or the connection ends.
 */
#include "broker_world.h"

enum { ROOM = 1 << 17 };

static struct broker_world w;
static struct bw_client c;
static uint8_t bytes[ROOM];

static int setup(void **state)
{
    bw_init(&w, 1);
    bw_connect(&w, &c);
    return 0;
}

static int teardown(void **state)
{
    bw_disconnect(&c);
    bw_deinit(&w);
    return 0;
}

/* True when the connection was ended without an answer. */
static bool is_refused(const uint8_t *request, size_t len)
{
    struct bw_client b;
    bw_connect(&w, &b);
    bw_send_bytes(&b, request, len);
    bw_pump(&w);
    bw_serve(&b);
    bool refused = b.closed && b.in.len == 0;
    bw_disconnect(&b);
    return refused;
}

static void test_rows_are_consistent(void **state)
{
    for (unsigned i = 0; i < api_row_count; i++) {
        const struct api_row *r = &api_rows[i];
        assert_ptr_equal(api_row(r->key), r); /* no key twice */
        assert_true(r->advertised_min <= r->min && r->min <= r->max);
        assert_non_null(r->handle);
    }
    assert_null(api_row(-1));
    assert_null(api_row(INT16_MAX));
}

/* Every advertised version that is served is there in the answer, and nothing else. */
static void test_api_versions_tells_the_rows(void **state)
{
    struct api_versions_response in;
    struct api_versions_response_api_version v;
    struct wire_cursor at;
    int32_t found;
    unsigned n = 0;
    bw_send_bytes(&c, bytes, bw_api_versions(bytes, 3));
    assert_true(bw_next(&c, &found, &at));
    assert_true(api_versions_response_read(&at, 0, &in));
    assert_int_equal(in.error_code, 0);
    for (; api_versions_response_api_version_next(&in.api_keys, 0, &v); n++) {
        const struct api_row *r = api_row(v.api_key);
        assert_non_null(r);
        assert_int_equal(v.min_version, r->advertised_min);
        assert_int_equal(v.max_version, r->max);
    }
    assert_int_equal(n, api_row_count);
}

/* KIP-511: a newer client learns what there is, in version 0, and stays. */
static void test_api_versions_of_an_unknown_version(void **state)
{
    struct api_versions_response in;
    struct wire_cursor at;
    int32_t found;
    bw_send_bytes(&c, bytes, bw_raw(bytes, KAFKA_API_API_VERSIONS, 99, 8, "whatever this is", 16));
    assert_true(bw_next(&c, &found, &at));
    assert_int_equal(found, 8);
    assert_true(api_versions_response_read(&at, 0, &in));
    assert_int_equal(in.error_code, KAFKA_UNSUPPORTED_VERSION);
    bw_send_bytes(&c, bytes, bw_api_versions(bytes, 9));
    assert_true(bw_next(&c, &found, &at));
    assert_int_equal(found, 9);
}

static void test_unknown_apis_and_versions_end_the_connection(void **state)
{
    assert_true(is_refused(bytes, bw_raw(bytes, 9999, 0, 1, NULL, 0)));
    assert_true(is_refused(bytes, bw_raw(bytes, -1, 0, 1, NULL, 0)));
    for (unsigned i = 0; i < api_row_count; i++) {
        const struct api_row *r = &api_rows[i];
        if (r->key == KAFKA_API_API_VERSIONS)
            continue;
        assert_true(is_refused(bytes, bw_raw(bytes, r->key, (int16_t)(r->max + 1), 1, NULL, 0)));
        assert_true(is_refused(bytes, bw_raw(bytes, r->key, -1, 1, NULL, 0)));
        assert_true(is_refused(bytes, bw_raw(bytes, r->key, INT16_MIN, 1, NULL, 0)));
    }
}

/* The frame says it is whole, and its body ends early: at every byte. */
static void test_truncated_at_every_byte(void **state)
{
    static const int32_t two[] = {0, 1};
    uint8_t cut[4096];
    size_t lens[2];
    uint8_t *request[2] = {bytes, bytes + 4096};
    lens[0] = bw_produce(request[0], 1, -1, 1000, two, 2, 10);
    lens[1] = bw_fetch(request[1], 1, &(struct bw_fetch){.max_bytes = 1000, .partition_max_bytes = 1000, .partitions = {0, 1}, .count = 2});
    for (unsigned i = 0; i < 2; i++) {
        for (size_t n = 1; n < lens[i] - 4; n++) {
            memcpy(cut, request[i], n + 4);
            store_be32(cut, (uint32_t)n);
            assert_true(is_refused(cut, n + 4));
        }
        assert_false(is_refused(request[i], lens[i]));
    }
    struct partition_look look;
    partition_look(w.partitions[0].local, &look);
    assert_int_equal(look.log_end, 1); /* nothing but the whole one was appended */
}

/* Counts that the bytes cannot hold: nothing is taken for them. */
static void test_counts_that_lie(void **state)
{
    static const uint32_t counts[] = {0x7fffffff, 0x80000000, 0xfffffffe, 20000000, 1000000};
    for (size_t i = 0; i < TIDE_ARRAY_LEN(counts); i++) {
        uint8_t produce[12] = {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}; /* no transactional id, acks -1, timeout */
        store_be32(produce + 8, counts[i]);
        unsigned before = rte_mempool_avail_count(bw_request_pool);
        assert_true(is_refused(bytes, bw_raw(bytes, KAFKA_API_PRODUCE, 7, 1, produce, 12)));
        uint8_t metadata[4];
        store_be32(metadata, counts[i]);
        assert_true(is_refused(bytes, bw_raw(bytes, KAFKA_API_METADATA, 1, 1, metadata, 4)));
        assert_int_equal(rte_mempool_avail_count(bw_request_pool), before);
    }
}

/* So many items of zeros (names and lists that are empty) between the head and the tail of a body. */
static size_t many(int16_t key, int16_t version, const char *head, size_t head_len, uint32_t count, size_t item)
{
    static uint8_t body[ROOM];
    size_t len = head_len + 4 + count * item + 8;
    assert_true(len + 64 < ROOM);
    memset(body, 0, len);
    memcpy(body, head, head_len);
    store_be32(body + head_len, count);
    return bw_raw(bytes, key, version, 1, body, head_len + 4 + count * item + (key == KAFKA_API_DELETE_RECORDS ? 4 : 0));
}

/* Topics without partitions are bounded like partitions: they would fill the request memory, and come again for ever. */
static void test_more_topics_than_are_looked_at(void **state)
{
    static const struct {
        int16_t key, version;
        const char *head;
        size_t head_len, item;
    } apis[] = {
        {KAFKA_API_PRODUCE, 7, "\xff\xff\xff\xff\0\0\0\0", 8, 6},
        {KAFKA_API_FETCH, 4, "\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\0\1\0\0", 17, 6},
        {KAFKA_API_LIST_OFFSETS, 1, "\xff\xff\xff\xff", 4, 6},
        {KAFKA_API_DELETE_RECORDS, 0, "", 0, 6},
        {KAFKA_API_OFFSET_FOR_LEADER_EPOCH, 2, "", 0, 6},
        {KAFKA_API_METADATA, 1, "", 0, 2},
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(apis); i++) {
        if (is_refused(bytes, many(apis[i].key, apis[i].version, apis[i].head, apis[i].head_len, REQUEST_PARTITIONS_MAX, apis[i].item)))
            fail_msg("api %d", apis[i].key);
        if (!is_refused(bytes, many(apis[i].key, apis[i].version, apis[i].head, apis[i].head_len, REQUEST_PARTITIONS_MAX + 1, apis[i].item)))
            fail_msg("api %d", apis[i].key);
    }
}

/* FindCoordinator 4 is flexible: counts are varints, an empty key is a one. */
static void test_more_keys_than_are_looked_at(void **state)
{
    static uint8_t body[4 + REQUEST_PARTITIONS_MAX + 2];
    for (uint32_t more = 0; more < 2; more++) {
        uint32_t count = REQUEST_PARTITIONS_MAX + more;
        memset(body, 1, sizeof(body));
        body[0] = body[1] = 0; /* tags of the header, the type */
        body[2] = (uint8_t)((count + 1) | 0x80);
        body[3] = (uint8_t)((count + 1) >> 7);
        body[4 + count] = 0;
        assert_int_equal(is_refused(bytes, bw_raw(bytes, KAFKA_API_FIND_COORDINATOR, 4, 1, body, 4 + count + 1)), more);
    }
}

/* What can never fit ends the connection: it is not written again in every turn. */
static void test_an_answer_that_no_pool_holds(void **state)
{
    static uint8_t body[4 + 3 * REQUEST_PARTITIONS_MAX];
    store_be32(body, REQUEST_PARTITIONS_MAX);
    for (int i = 0; i < REQUEST_PARTITIONS_MAX; i++)
        memcpy(body + 4 + 3 * i, "\0\1t", 3);
    assert_true(is_refused(bytes, bw_raw(bytes, KAFKA_API_METADATA, 1, 1, body, sizeof(body))));
    store_be32(body, 1000);
    assert_false(is_refused(bytes, bw_raw(bytes, KAFKA_API_METADATA, 1, 1, body, 4 + 3 * 1000)));
}

/* CVE-2026-111115: tagged fields in a header are skipped, and a count that lies ends the connection. */
static void test_tagged_fields_in_a_header(void **state)
{
    uint8_t header[16] = {0xff, 0xff}; /* client id: null */
    size_t len;
    memcpy(header, "\x80\x80\x80\x0a", 4); /* 20 M tags */
    len = bw_raw(bytes, KAFKA_API_API_VERSIONS, 3, 1, header, 4);
    assert_true(is_refused(bytes, len));
    memcpy(header, "\xff\xff\xff\xff\xff\x0f", 6); /* a varint of more than five bytes */
    len = bw_raw(bytes, KAFKA_API_API_VERSIONS, 3, 1, header, 6);
    assert_true(is_refused(bytes, len));
    memcpy(header, "\x01\x05\x02zz\x01\x01\x00", 8); /* one tag of two bytes; client software name and version empty; no tags */
    len = bw_raw(bytes, KAFKA_API_API_VERSIONS, 3, 1, header, 8);
    assert_false(is_refused(bytes, len));
}

static void test_before_the_first_view_a_request_waits(void **state)
{
    struct wire_cursor at;
    int32_t found;
    atomic_store(&w.publication.now, NULL);
    bw_send_bytes(&c, bytes, bw_api_versions(bytes, 4));
    bw_pump(&w);
    bw_silent(&c);
    atomic_store(&w.publication.now, &w.view);
    bw_pump(&w);
    assert_true(bw_next(&c, &found, &at));
    assert_int_equal(found, 4);
}

/* P8: past the lease nobody acts as leader, whatever the view says. */
static void test_past_the_lease(void **state)
{
    static const int32_t zero[] = {0};
    int16_t error;
    int64_t base;
    struct bw_fetched f;
    atomic_store(&w.publication.lease_until_ns, w.time.now_ns + 1000);
    bw_send_bytes(&c, bytes, bw_produce(bytes, 1, -1, 1000, zero, 1, 10));
    bw_pump(&w);
    bw_produced(&c, 1, &error, &base, 1);
    assert_int_equal(error, 0);
    bw_pass(&w, 1);
    bw_send_bytes(&c, bytes, bw_produce(bytes, 2, -1, 1000, zero, 1, 10));
    bw_pump(&w);
    bw_produced(&c, 2, &error, &base, 1);
    assert_int_equal(error, KAFKA_NOT_LEADER_OR_FOLLOWER);
    bw_send_bytes(&c, bytes, bw_fetch(bytes, 3, &(struct bw_fetch){.max_bytes = 1000, .partition_max_bytes = 1000, .count = 1}));
    bw_pump(&w);
    bw_fetched(&c, 3, &f, 1);
    assert_int_equal(f.error, KAFKA_NOT_LEADER_OR_FOLLOWER);
}

/* Control's three answers: a body, run it again, close. */
static void test_what_control_answers(void **state)
{
    static const uint8_t ask[] = {0xff, 0xff, 0, 0, 3, 0xe8}; /* InitProducerId: no transactional id, a timeout */
    struct wire_cursor at;
    int32_t found;
    bw_send_bytes(&c, bytes, bw_raw(bytes, KAFKA_API_INIT_PRODUCER_ID, 0, 6, ask, sizeof(ask)));
    bw_pump(&w);
    assert_int_equal(w.ask_count, 1);
    assert_int_equal(w.asks[0]->ask.api_key, KAFKA_API_INIT_PRODUCER_ID);
    assert_int_equal(w.asks[0]->ask.body.len, sizeof(ask));
    w.asks[0]->ask.result = ASK_BODY;
    assert_int_equal(tide_rope_copy_in(&w.asks[0]->ask.answer, bw_client_pool, "0123456789abcdef", 16), TIDE_OK);
    assert_int_equal(post_send(w.office, 1, 0, w.asks[0]), TIDE_OK);
    w.ask_count = 0;
    bw_pump(&w);
    assert_true(bw_next(&c, &found, &at));
    assert_int_equal(found, 6);
    bw_send_bytes(&c, bytes, bw_raw(bytes, KAFKA_API_INIT_PRODUCER_ID, 0, 7, ask, sizeof(ask)));
    bw_pump(&w);
    w.asks[0]->ask.result = ASK_CLOSE;
    assert_int_equal(post_send(w.office, 1, 0, w.asks[0]), TIDE_OK);
    w.ask_count = 0;
    bw_pump(&w);
    bw_serve(&c);
    assert_true(c.closed);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_rows_are_consistent),
        TEST(test_api_versions_tells_the_rows),
        TEST(test_api_versions_of_an_unknown_version),
        TEST(test_unknown_apis_and_versions_end_the_connection),
        TEST(test_truncated_at_every_byte),
        TEST(test_counts_that_lie),
        TEST(test_more_topics_than_are_looked_at),
        TEST(test_more_keys_than_are_looked_at),
        TEST(test_an_answer_that_no_pool_holds),
        TEST(test_tagged_fields_in_a_header),
        TEST(test_before_the_first_view_a_request_waits),
        TEST(test_past_the_lease),
        TEST(test_what_control_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
