/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes into requests and responses back in order; what happens when there is no room for one of them.
 */
#include "broker_world.h"

enum { ROOM = 1 << 17 };

static struct broker_world w;
static struct bw_client c;
static uint8_t bytes[ROOM];
static const int32_t zero[] = {0};

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

static void answered(int32_t correlation)
{
    struct wire_cursor at;
    int32_t found;
    assert_true(bw_next(&c, &found, &at));
    assert_int_equal(found, correlation);
}

static size_t poll_for(uint8_t *to, int32_t correlation, int32_t wait_ms)
{
    return bw_fetch(to, correlation, &(struct bw_fetch){.max_wait_ms = wait_ms, .min_bytes = 1, .max_bytes = 100000,
                                                        .partition_max_bytes = 100000, .count = 1});
}

/* A request in two pieces, cut at every byte. */
static void test_a_request_in_two_pieces(void **state)
{
    size_t len = bw_produce(bytes, 7, -1, 1000, zero, 1, 20);
    int16_t error;
    int64_t base;
    for (size_t cut = 1; cut < len; cut++) {
        bw_send_bytes(&c, bytes, cut);
        bw_silent(&c);
        bw_pump(&w);
        bw_send_bytes(&c, bytes + cut, len - cut);
        bw_pump(&w);
        bw_produced(&c, 7, &error, &base, 1);
        assert_int_equal(error, 0);
        assert_int_equal(base, cut - 1);
    }
    assert_int_equal(c.credit, (len - 1) * len); /* every byte's window is open again */
}

static void test_bytes_one_by_one_and_many_requests_at_once(void **state)
{
    size_t len = bw_api_versions(bytes, 1);
    for (size_t i = 0; i < len; i++)
        bw_send_bytes(&c, bytes + i, 1);
    answered(1);
    len = 0;
    for (int32_t i = 0; i < 40; i++)
        len += bw_api_versions(bytes + len, 100 + i);
    bw_send_bytes(&c, bytes, len);
    for (int32_t i = 0; i < 40; i++)
        answered(100 + i);
    bw_silent(&c);
}

/* B2: what is ready behind a request that waits, waits with it. */
static void test_responses_keep_the_order_of_requests(void **state)
{
    size_t len = poll_for(bytes, 1, 500);
    len += bw_api_versions(bytes + len, 2);
    len += bw_produce(bytes + len, 3, 0, 1000, zero, 0, 0); /* acks=0: no response at all */
    len += poll_for(bytes + len, 4, 200);
    len += bw_api_versions(bytes + len, 5);
    bw_send_bytes(&c, bytes, len);
    bw_pump(&w);
    bw_silent(&c);
    bw_pass(&w, 201); /* the second poll is ready; the first is not */
    bw_silent(&c);
    bw_pass(&w, 300);
    answered(1);
    answered(2);
    answered(4);
    answered(5);
    bw_silent(&c);
}

static void test_a_produce_waits_for_the_device_and_others_behind_it(void **state)
{
    int16_t error;
    int64_t base;
    w.hold_disk = true;
    size_t len = bw_produce(bytes, 1, 1, 1000, zero, 1, 10);
    len += bw_api_versions(bytes + len, 2);
    bw_send_bytes(&c, bytes, len);
    bw_pump(&w);
    bw_silent(&c);
    w.hold_disk = false;
    bw_pump(&w);
    bw_produced(&c, 1, &error, &base, 1);
    assert_int_equal(error, 0);
    answered(2);
}

static void test_so_many_requests_in_progress_and_no_more(void **state)
{
    size_t len = 0;
    for (int32_t i = 0; i < SESSION_REQUESTS_MAX + 6; i++)
        len += poll_for(bytes + len, i, 100);
    bw_send_bytes(&c, bytes, len);
    bw_pump(&w);
    struct broker_gauges g;
    broker_gauges(w.cores[0].broker, &g);
    assert_int_equal(g.requests_in_progress, SESSION_REQUESTS_MAX);
    assert_true(c.credit < len); /* the window does not open for what was not taken */
    bw_silent(&c);
    bw_pass(&w, 101);
    for (int32_t i = 0; i < SESSION_REQUESTS_MAX; i++)
        answered(i);
    bw_pass(&w, 101);
    for (int32_t i = 0; i < 6; i++)
        answered(SESSION_REQUESTS_MAX + i);
    assert_int_equal(c.credit, len);
}

static void test_no_request_slot_is_a_stall(void **state)
{
    struct bw_client others[2];
    size_t len = 0;
    bw_connect(&w, &others[0]);
    bw_connect(&w, &others[1]);
    for (int32_t i = 0; i < SESSION_REQUESTS_MAX; i++)
        len += poll_for(bytes + len, i, 100);
    bw_send_bytes(&others[0], bytes, len);
    bw_send_bytes(&others[1], bytes, len); /* 80 slots in all */
    len = bw_api_versions(bytes, 9);
    bw_send_bytes(&c, bytes, len);
    bw_pump(&w);
    bw_silent(&c);
    uint64_t stalls = bw_count(&w, COUNTER_request_stalls);
    assert_true(stalls != 0);
    for (unsigned i = 0; i < 100; i++) /* nothing comes back to a pool */
        (void)bw_turn(&w);
    assert_int_equal(bw_count(&w, COUNTER_request_stalls), stalls);
    w.time.now_ns += TIDE_NS_PER_MS; /* something may have done so without a sound */
    (void)bw_turn(&w);
    assert_int_equal(bw_count(&w, COUNTER_request_stalls), stalls + 2); /* one of the others waits as well */
    bw_disconnect(&others[0]); /* now it does */
    bw_pump(&w);
    answered(9);
    bw_disconnect(&others[1]);
}

/* Frames of bugs-not-to-repeat 3: sizes that are none, a TLS hello, HTTP. */
static void test_sizes_that_are_none(void **state)
{
    static const uint8_t bad[][8] = {
        {0, 0, 0, 0, 0, 18, 0, 0},                /* 0 */
        {0xff, 0xff, 0xff, 0xff, 0, 18, 0, 0},    /* -1 */
        {0x80, 0, 0, 0, 0, 18, 0, 0},             /* the smallest there is */
        {0x7f, 0xff, 0xff, 0xff, 0, 18, 0, 0},    /* INT_MAX */
        {0x16, 0x03, 0x01, 0x02, 0x00, 1, 0, 1},  /* a TLS hello */
        {'G', 'E', 'T', ' ', '/', ' ', 'H', 'T'}, /* HTTP */
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(bad); i++) {
        struct bw_client b;
        bw_connect(&w, &b);
        size_t len = bw_api_versions(bytes, 5); /* what came before is answered */
        memcpy(bytes + len, bad[i], 8);
        bw_send_bytes(&b, bytes, len + 8);
        bw_pump(&w);
        bw_serve(&b);
        assert_true(b.closed);
        assert_false(b.aborted);
        struct wire_cursor at;
        int32_t found;
        assert_true(bw_next(&b, &found, &at));
        assert_int_equal(found, 5);
        assert_false(bw_next(&b, &found, &at));
        bw_disconnect(&b);
    }
    assert_int_equal(bw_count(&w, COUNTER_sessions_bad), TIDE_ARRAY_LEN(bad));
}

/* The largest legal size is believed only as bytes come: nothing is taken for it. */
static void test_a_large_size_takes_nothing(void **state)
{
    unsigned before = rte_mempool_avail_count(bw_request_pool);
    store_be32(bytes, (uint32_t)w.settings.socket_request_max_bytes);
    bw_send_bytes(&c, bytes, 5);
    bw_pump(&w);
    assert_false(c.closed);
    assert_true(before - rte_mempool_avail_count(bw_request_pool) <= 1);
    assert_int_equal(c.credit, 5);
    store_be32(bytes, (uint32_t)w.settings.socket_request_max_bytes + 1);
    struct bw_client b;
    bw_connect(&w, &b);
    bw_send_bytes(&b, bytes, 5);
    bw_serve(&b);
    assert_true(b.closed);
    bw_disconnect(&b);
}

static void test_the_end_of_the_peer(void **state)
{
    size_t len = poll_for(bytes, 1, 100);
    bw_send_bytes(&c, bytes, len);
    session_on_end(c.s, &w.time);
    bw_pump(&w);
    bw_serve(&c);
    assert_false(c.closed); /* it is owed an answer */
    bw_pass(&w, 101);
    answered(1);
    assert_true(c.closed);
    struct bw_client half;
    bw_connect(&w, &half);
    bw_send_bytes(&half, bytes, len - 1);
    session_on_end(half.s, &w.time);
    bw_serve(&half);
    assert_true(half.closed); /* it will never be whole */
    bw_disconnect(&half);
}

/* A reader that does not read: no more is executed once so much waits for it. */
static void test_a_reader_that_does_not_read(void **state)
{
    c.slow = true;
    uint64_t asked = 0;
    for (int32_t i = 0; i < 40000 && bw_count(&w, COUNTER_requests) == asked; i++) {
        size_t len = bw_api_versions(bytes, i);
        bw_send_bytes(&c, bytes, len);
        asked++;
        if (rte_mempool_avail_count(bw_response_pool) == 0)
            break;
    }
    assert_true(bw_count(&w, COUNTER_requests) < 40000);
    uint64_t served = bw_count(&w, COUNTER_requests);
    bw_pump(&w);
    struct bw_client b;
    bw_connect(&w, &b);
    c.slow = false;
    for (int i = 0; i < 20; i++) {
        bw_serve(&c);
        bw_pump(&w);
    }
    struct wire_cursor at;
    int32_t found;
    for (uint64_t i = 0; i < served; i++) {
        assert_true(bw_next(&c, &found, &at));
        assert_int_equal(found, i);
    }
    bw_disconnect(&b);
}

/* Design 10: a half-received request leaves the receive buffers when it is large or they are scarce. */
static void test_partial_requests_become_dense(void **state)
{
    size_t len = bw_produce(bytes, 1, 1, 1000, zero, 1, 3000);
    unsigned before = rte_mempool_avail_count(bw_client_pool);
    bw_send_bytes(&c, bytes, len - 1);
    assert_true(rte_mempool_avail_count(bw_client_pool) < before);
    w.receive_low = true;
    bw_send_bytes(&c, bytes + len - 1, 0);
    assert_int_equal(rte_mempool_avail_count(bw_client_pool), before);
    bw_send_bytes(&c, bytes + len - 1, 1);
    bw_pump(&w);
    int16_t error;
    int64_t base;
    bw_produced(&c, 1, &error, &base, 1);
    assert_int_equal(error, 0);
}

static void test_the_stalest_partial_request_is_evicted(void **state)
{
    struct bw_client fresh;
    size_t len = bw_produce(bytes, 1, 1, 1000, zero, 1, 3000);
    bw_send_bytes(&c, bytes, len - 1);
    bw_pass(&w, EVICT_AFTER_MS / 2);
    bw_connect(&w, &fresh);
    bw_send_bytes(&fresh, bytes, len - 1);
    w.receive_low = true;
    bw_pass(&w, EVICT_AFTER_MS / 2 - 1);
    bw_serve(&c);
    assert_false(c.closed);
    bw_pass(&w, 2);
    bw_serve(&c);
    bw_serve(&fresh);
    assert_true(c.closed);
    assert_true(c.aborted);
    assert_false(fresh.closed);
    assert_int_equal(bw_count(&w, COUNTER_request_evicted), 1);
    bw_disconnect(&fresh);
}

static void test_an_idle_connection_is_closed_and_a_waiting_one_is_not(void **state)
{
    struct bw_client waits;
    bw_connect(&w, &waits);
    bw_send_bytes(&waits, bytes, poll_for(bytes, 1, 2 * (int32_t)w.settings.connections_max_idle_ms));
    bw_pass(&w, (uint64_t)w.settings.connections_max_idle_ms + 1001);
    bw_pass(&w, 1001);
    bw_serve(&c);
    bw_serve(&waits);
    assert_true(c.closed);
    assert_false(waits.closed);
    bw_disconnect(&waits);
}

/* The connection goes while its requests wait for the device, for bytes and for control. */
static void test_gone_while_things_are_out(void **state)
{
    w.hold_disk = true;
    size_t len = bw_produce(bytes, 1, -1, 1000, zero, 1, 10);
    len += poll_for(bytes + len, 2, 100);
    len += bw_raw(bytes + len, KAFKA_API_INIT_PRODUCER_ID, 0, 3, "\xff\xff\0\0\0\1", 6);
    bw_send_bytes(&c, bytes, len);
    bw_pump(&w);
    assert_int_equal(w.ask_count, 1);
    bw_disconnect(&c);
    bw_pump(&w);
    w.hold_disk = false;
    bw_pump(&w);
    struct broker_gauges g;
    broker_gauges(w.cores[0].broker, &g);
    assert_int_equal(g.requests_in_progress, 1); /* control has it */
}

static void test_no_session_slot(void **state)
{
    struct bw_client more[15];
    for (unsigned i = 0; i < 15; i++)
        bw_connect(&w, &more[i]);
    assert_null(session_open(w.cores[0].broker, &w.time, 0, NULL));
    assert_int_equal(bw_count(&w, COUNTER_sessions_refused), 1);
    for (unsigned i = 0; i < 15; i++)
        bw_disconnect(&more[i]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_request_in_two_pieces),
        TEST(test_bytes_one_by_one_and_many_requests_at_once),
        TEST(test_responses_keep_the_order_of_requests),
        TEST(test_a_produce_waits_for_the_device_and_others_behind_it),
        TEST(test_so_many_requests_in_progress_and_no_more),
        TEST(test_no_request_slot_is_a_stall),
        TEST(test_sizes_that_are_none),
        TEST(test_a_large_size_takes_nothing),
        TEST(test_the_end_of_the_peer),
        TEST(test_a_reader_that_does_not_read),
        TEST(test_partial_requests_become_dense),
        TEST(test_the_stalest_partial_request_is_evicted),
        TEST(test_an_idle_connection_is_closed_and_a_waiting_one_is_not),
        TEST(test_gone_while_things_are_out),
        TEST(test_no_session_slot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
