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

/* ---- KIP-951: where the new leader is ------------------------------------------------------------------------ */

static struct view_broker two[2];

/* Broker 2 leads partition 0. */
static void another_leads(const char *rack)
{
    two[0] = w.view_broker;
    two[1] = (struct view_broker){.id = 2, .endpoints = {{.host = "10.0.0.2", .port = 9192}}};
    snprintf(two[1].rack, sizeof(two[1].rack), "%s", rack);
    w.view.brokers = two;
    w.view.broker_count = 2;
    w.partitions[0].leader = 2;
    w.partitions[0].leader_epoch = 9;
}

static void begin_request(struct wire_writer *to, int16_t key, int16_t version)
{
    wire_writer_init(to, bw_client_pool);
    wire_frame_begin(to);
    kafka_request_header_write(to, key, version, 77, "unit", 4);
}

/* Sends it; the cursor at the body of the answer. */
static void exchange(struct wire_writer *request, bool flexible, struct wire_cursor *ret)
{
    int32_t found;
    size_t len;
    assert_true(wire_frame_end(request));
    len = request->out.len;
    tide_slice_copy(tide_rope_slice(&request->out, 0, (uint32_t)len), bytes);
    tide_rope_clear(&request->out);
    bw_send_bytes(&c, bytes, len);
    bw_pump(&w);
    assert_true(bw_next(&c, &found, ret));
    assert_int_equal(found, 77);
    if (flexible)
        wire_skip_tags(ret);
}

static void produce_to_another(int16_t v, struct produce_response_partition_response *ret_p, struct wire_list *ret_nodes)
{
    struct wire_writer q;
    struct wire_cursor at;
    struct produce_response in;
    struct produce_response_topic_produce_response t;
    struct tide_rope none = {0};
    begin_request(&q, KAFKA_API_PRODUCE, v);
    produce_request_put_transactional_id(&q, v, NULL, 0);
    produce_request_put_acks(&q, v, -1);
    produce_request_put_timeout_ms(&q, v, 1000);
    produce_request_open_topic_data(&q, v, 1);
    produce_request_topic_data_put_name(&q, v, "t", 1);
    produce_request_topic_data_open_partition_data(&q, v, 1);
    produce_request_partition_data_put_index(&q, v, 0);
    produce_request_partition_data_put_records(&q, v, &none);
    produce_request_partition_data_end(&q, v);
    produce_request_topic_data_end(&q, v);
    produce_request_end(&q, v);
    exchange(&q, v >= 9, &at);
    assert_true(produce_response_read(&at, v, &in));
    assert_true(produce_response_topic_produce_response_next(&in.responses, v, &t));
    assert_true(produce_response_partition_response_next(&t.partition_responses, v, ret_p));
    assert_int_equal(ret_p->error_code, KAFKA_NOT_LEADER_OR_FOLLOWER);
    *ret_nodes = in.node_endpoints;
}

static void test_a_producer_hears_who_leads(void **state)
{
    struct produce_response_partition_response p;
    struct produce_response_node_endpoint n;
    struct wire_list nodes;
    another_leads("r1");
    for (int16_t v = 10; v <= 12; v++) {
        produce_to_another(v, &p, &nodes);
        assert_int_equal(p.current_leader.leader_id, 2);
        assert_int_equal(p.current_leader.leader_epoch, 9);
        assert_int_equal(nodes.count, 1);
        assert_true(produce_response_node_endpoint_next(&nodes, v, &n));
        assert_int_equal(n.node_id, 2);
        assert_int_equal(n.port, 9192);
        assert_int_equal(n.host.at.len, 8);
        assert_int_equal(n.rack.at.len, 2);
    }
    produce_to_another(9, &p, &nodes); /* no room */
    another_leads("");
    produce_to_another(10, &p, &nodes);
    assert_true(produce_response_node_endpoint_next(&nodes, 10, &n));
    assert_true(n.rack.null);
    two[1].fenced = true; /* it can be named, and not be reached */
    produce_to_another(10, &p, &nodes);
    assert_int_equal(p.current_leader.leader_id, 2);
    assert_int_equal(nodes.count, 0);
    w.partitions[0].leader = -1;
    produce_to_another(10, &p, &nodes);
    assert_int_equal(p.current_leader.leader_id, -1);
    w.partitions[0].leader = 1;
}

static void test_a_consumer_hears_who_leads(void **state)
{
    struct wire_writer q;
    struct wire_cursor at;
    struct fetch_response in;
    struct fetch_response_fetchable_topic_response t;
    struct fetch_response_partition_data p;
    struct fetch_response_node_endpoint n;
    another_leads("");
    for (int16_t v = 15; v <= 16; v++) {
        begin_request(&q, KAFKA_API_FETCH, v);
        fetch_request_put_max_wait_ms(&q, v, 0);
        fetch_request_put_min_bytes(&q, v, 1);
        fetch_request_put_max_bytes(&q, v, 1000);
        fetch_request_put_isolation_level(&q, v, 0);
        fetch_request_put_session_id(&q, v, 0);
        fetch_request_put_session_epoch(&q, v, -1);
        fetch_request_open_topics(&q, v, 1);
        fetch_request_topic_put_topic_id(&q, v, &w.topics[0].id);
        fetch_request_topic_open_partitions(&q, v, 1);
        fetch_request_partition_put_partition(&q, v, 0);
        fetch_request_partition_put_current_leader_epoch(&q, v, -1);
        fetch_request_partition_put_fetch_offset(&q, v, 0);
        fetch_request_partition_put_last_fetched_epoch(&q, v, -1);
        fetch_request_partition_put_log_start_offset(&q, v, -1);
        fetch_request_partition_put_partition_max_bytes(&q, v, 1000);
        fetch_request_partition_end(&q, v);
        fetch_request_topic_end(&q, v);
        fetch_request_open_forgotten_topics_data(&q, v, 0);
        fetch_request_put_rack_id(&q, v, "", 0);
        fetch_request_end(&q, v, &(struct fetch_request_tags){0});
        exchange(&q, true, &at);
        assert_true(fetch_response_read(&at, v, &in));
        assert_true(fetch_response_fetchable_topic_response_next(&in.responses, v, &t));
        assert_true(fetch_response_partition_data_next(&t.partitions, v, &p));
        assert_int_equal(p.error_code, KAFKA_NOT_LEADER_OR_FOLLOWER);
        assert_int_equal(p.current_leader.leader_id, v >= 16 ? 2 : -1);
        assert_int_equal(in.node_endpoints.count, v >= 16 ? 1 : 0);
        if (v < 16)
            continue;
        assert_int_equal(p.current_leader.leader_epoch, 9);
        assert_true(fetch_response_node_endpoint_next(&in.node_endpoints, v, &n));
        assert_int_equal(n.node_id, 2);
        assert_int_equal(n.port, 9192);
    }
    w.partitions[0].leader = 1;
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
        TEST(test_a_producer_hears_who_leads),
        TEST(test_a_consumer_hears_who_leads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
