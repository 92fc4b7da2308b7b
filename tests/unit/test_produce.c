/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Produce through the broker: acks, timeouts, errors, two cores, and every pool take of it failing once.
 */
#include <errno.h>

#include "broker_world.h"
#include "log/buffers.h"
#include "settings/settings.h"

enum { ROOM = 1 << 17 };

static struct broker_world w;
static struct bw_client c;
static uint8_t bytes[ROOM];
static int16_t errors[8];
static int64_t bases[8];
static const int32_t all[] = {0, 1, 2, 3};

static int begin(uint32_t cores)
{
    bw_init(&w, cores);
    bw_connect(&w, &c);
    return 0;
}

static int setup(void **state)
{
    return begin(1);
}

static int setup_two(void **state)
{
    return begin(2);
}

static int teardown(void **state)
{
    bw_disconnect(&c);
    bw_deinit(&w);
    return 0;
}

static int64_t log_end(unsigned partition)
{
    struct partition_look look;
    partition_look(w.partitions[partition].local, &look);
    return look.log_end;
}

static void send(int32_t correlation, int16_t acks, const int32_t *partitions, unsigned count)
{
    bw_send_bytes(&c, bytes, bw_produce(bytes, correlation, acks, 1000, partitions, count, 50));
    bw_pump(&w);
}

static void test_acks_one_and_all_wait_for_the_device(void **state)
{
    static const int16_t acks[] = {1, -1};
    for (int i = 0; i < 2; i++) {
        w.hold_disk = true;
        send(i, acks[i], all, 1);
        bw_silent(&c);
        assert_int_equal(log_end(0), i + 1);
        w.hold_disk = false;
        bw_pump(&w);
        bw_produced(&c, i, errors, bases, 1);
        assert_int_equal(errors[0], 0);
        assert_int_equal(bases[0], i);
    }
    assert_int_equal(bw_count(&w, COUNTER_acks_waited), 2);
}

/* P2: acks=0 is never answered; an error closes. */
static void test_acks_zero(void **state)
{
    static const int32_t absent[] = {77};
    send(1, 0, all, 2);
    bw_silent(&c);
    assert_false(c.closed);
    assert_int_equal(log_end(0), 1);
    assert_int_equal(log_end(1), 1);
    send(2, 0, absent, 1);
    bw_serve(&c);
    assert_true(c.closed);
    assert_int_equal(c.in.len, 0);
}

static void test_acks_that_are_none(void **state)
{
    send(1, 2, all, 1);
    bw_produced(&c, 1, errors, bases, 1);
    assert_int_equal(errors[0], KAFKA_INVALID_REQUIRED_ACKS);
    send(2, -2, all, 1);
    bw_produced(&c, 2, errors, bases, 1);
    assert_int_equal(errors[0], KAFKA_INVALID_REQUIRED_ACKS);
    assert_int_equal(log_end(0), 0);
}

static void test_errors_are_of_their_partition(void **state)
{
    static const int32_t some[] = {1, 77, 2, 1};
    send(1, -1, some, 4);
    bw_produced(&c, 1, errors, bases, 4);
    assert_int_equal(errors[0], 0);
    assert_int_equal(errors[1], KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(errors[2], 0);
    assert_int_equal(errors[3], KAFKA_INVALID_REQUEST); /* twice in one request */
    assert_int_equal(bases[0], 0);
    assert_int_equal(bases[1], -1);
    assert_int_equal(log_end(1), 1);
}

/* append.time.source: what the card said of the request's last frame, at home and on the way there by letter; without a stamp, or with one
 * that cannot be, the turn that took it. */
static void test_append_times(void **state)
{
    static const struct {
        enum append_time_source source;
        int64_t before_ns; /* the turn */
        int64_t before_ms;
    } rows[] = {
        {APPEND_TIME_CLOCK, 7 * TIDE_NS_PER_MS, 0},
        {APPEND_TIME_ARRIVAL, 7 * TIDE_NS_PER_MS, 7},
        {APPEND_TIME_ARRIVAL, 7 * TIDE_NS_PER_MS - 1, 6},
        {APPEND_TIME_ARRIVAL, 0, 0}, /* not stamped */
        {APPEND_TIME_ARRIVAL, -1, 0},
        {APPEND_TIME_ARRIVAL, 11 * TIDE_NS_PER_S, 0},
    };
    w.time.now_ns += 100 * TIDE_NS_PER_S;
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        for (unsigned p = 0; p < 4; p++) {
            struct tide_topic_config config;
            settings_topic_defaults(&w.settings, &config);
            config.message_timestamp_type = TIMESTAMP_LOG_APPEND_TIME;
            config.append_time_source = rows[i].source;
            partition_configure(w.partitions[p].local, &config);
        }
        w.stamp_ns = rows[i].before_ns == 0 ? 0 : w.time.now_ns - (uint64_t)rows[i].before_ns;
        send((int32_t)i, 1, all, 4);
        bw_produced(&c, (int32_t)i, errors, bases, 4);
        for (unsigned p = 0; p < 4; p++) {
            assert_int_equal(errors[p], 0);
            assert_int_equal(bw_append_times[p], w.time.wall_ms - rows[i].before_ms);
        }
    }
    w.stamp_ns = 0;
}

/* The time of the request is over: it says so, and what is appended later is counted once. */
static void test_the_timeout_of_acks_all(void **state)
{
    w.hold_disk = true;
    send(1, -1, all, 2);
    bw_pass(&w, 999);
    bw_silent(&c);
    bw_pass(&w, 2);
    bw_produced(&c, 1, errors, bases, 2);
    assert_int_equal(errors[0], KAFKA_REQUEST_TIMED_OUT);
    assert_int_equal(errors[1], KAFKA_REQUEST_TIMED_OUT);
    assert_int_equal(bw_count(&w, COUNTER_acks_timed_out), 2);
    w.hold_disk = false;
    bw_pump(&w);
    bw_silent(&c);
    assert_int_equal(log_end(0), 1);
}

/* P11, P2: nobody hears of a success that did not happen, and the next one is refused at once. */
static void test_a_failed_write(void **state)
{
    w.disk_error = -EIO;
    send(1, -1, all, 1);
    bw_produced(&c, 1, errors, bases, 1);
    assert_int_equal(errors[0], KAFKA_KAFKA_STORAGE_ERROR);
    w.disk_error = 0;
    send(2, 1, all, 2);
    bw_produced(&c, 2, errors, bases, 2);
    assert_int_equal(errors[0], KAFKA_KAFKA_STORAGE_ERROR);
    assert_int_equal(errors[1], 0); /* the neighbour is well */
    assert_int_equal(bw_count(&w, COUNTER_log_failures), 1); /* control was told once */
}

/* Partitions at home on the other core go by letter; the answer waits for all. */
static void test_two_cores(void **state)
{
    w.hold_disk = true;
    send(1, -1, all, 4);
    bw_silent(&c);
    w.hold_disk = false;
    bw_pump(&w);
    bw_produced(&c, 1, errors, bases, 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(errors[i], 0);
        assert_int_equal(bases[i], 0);
        assert_int_equal(log_end((unsigned)i), 1);
    }
    assert_true(bw_count(&w, COUNTER_doorbells) != 0);
    w.disk_error = -EIO;
    send(2, 1, all + 1, 1);
    bw_produced(&c, 2, errors, bases, 1);
    assert_int_equal(errors[0], KAFKA_KAFKA_STORAGE_ERROR);
    w.disk_error = 0;
}

/* Gone before the letter is back: the batch is appended, and all that it held goes back. */
static void test_two_cores_and_a_client_that_goes(void **state)
{
    w.hold_disk = true;
    bw_send_bytes(&c, bytes, bw_produce(bytes, 1, -1, 1000, all, 4, 50));
    bw_disconnect(&c);
    w.hold_disk = false;
    bw_pump(&w);
    assert_int_equal(log_end(1), 1);
}

/* No room in the tail: requests wait in their order, and all are taken when there is. */
static void test_no_tail_buffer(void **state)
{
    w.hold_disk = true; /* what is not written keeps its buffers */
    int32_t n = 0;
    for (; n < 30; n++) {
        bw_send_bytes(&c, bytes, bw_produce(bytes, n, 1, 1000, all, 1, 14000));
        bw_pump(&w);
    }
    assert_true(bw_count(&w, COUNTER_log_buffer_waits) != 0);
    assert_true(log_end(0) < 30);
    bw_silent(&c);
    w.hold_disk = false;
    bw_pump(&w);
    for (int32_t i = 0; i < n; i++) {
        bw_produced(&c, i, errors, bases, 1);
        assert_int_equal(errors[0], 0);
        assert_int_equal(bases[0], i);
    }
}

/* Helpers are behind: appends wait for zeroed space, and a metric says so. */
static void test_no_zeroed_space(void **state)
{
    w.hold_jobs = true;
    int32_t n = 0;
    unsigned buffers = rte_mempool_avail_count(bw_client_pool);
    for (; n < 12; n++) {
        bw_send_bytes(&c, bytes, bw_produce(bytes, n, 1, 1000, all, 1, 14000));
        bw_pump(&w);
    }
    assert_true(bw_count(&w, COUNTER_log_zero_waits) != 0);
    assert_true(log_end(0) < 12);
    assert_int_equal(rte_mempool_avail_count(bw_client_pool), buffers); /* receive buffers are not what waits */
    w.hold_jobs = false;
    bw_pump(&w);
    for (int32_t i = 0; i < n; i++) {
        bw_produced(&c, i, errors, bases, 1);
        assert_int_equal(bases[0], i);
    }
}

/* Nothing happens in so many turns, and the core is to sleep. */
static void rest(unsigned turns)
{
    for (unsigned i = 0; i < turns; i++)
        assert_false(bw_turn(&w));
    for (uint32_t i = 0; i < w.core_count; i++)
        assert_true(broker_deadline_ns(w.cores[i].broker) > w.time.now_ns);
}

/* A helper or the disk stands still: who waits for it is not tried again and again meanwhile, and is when it comes back. */
static void test_what_waits_is_left_alone(void **state)
{
    for (int disk = 0; disk < 2; disk++) {
        *(disk != 0 ? &w.hold_disk : &w.hold_jobs) = true;
        enum tide_counter waits = disk != 0 ? COUNTER_log_buffer_waits : COUNTER_log_zero_waits;
        int32_t first = disk * 30;
        for (int32_t n = 0; n < 30; n++)
            bw_send_bytes(&c, bytes, bw_produce(bytes, first + n, 1, 1000, all, 1, 14000));
        bw_pump(&w);
        uint64_t waited = bw_count(&w, waits), tried = bw_count(&w, COUNTER_produce_retries);
        assert_true(waited != 0);
        rest(200);
        assert_int_equal(bw_count(&w, waits), waited);
        assert_int_equal(bw_count(&w, COUNTER_produce_retries), tried);
        for (unsigned ms = 0; ms < 100; ms++)
            bw_pass(&w, 1);
        tried = bw_count(&w, COUNTER_produce_retries) - tried;
        assert_true(tried >= 9 && tried <= 120); /* something may have happened without a sound */
        w.hold_disk = w.hold_jobs = false;
        bw_pump(&w); /* no time passes: what it waited for wakes it */
        for (int32_t n = 0; n < 30; n++) {
            bw_produced(&c, first + n, errors, bases, 1);
            assert_int_equal(errors[0], 0);
            assert_int_equal(bases[0], first + n);
        }
    }
}

/* Partitions of one core that wait for the same tail buffers get them in turn, whoever has more to append. */
static void test_tail_buffers_go_round(void **state)
{
    bw_zero_space(&w);
    w.hold_disk = true;
    for (int32_t n = 0; n < 40; n++) {
        bw_send_bytes(&c, bytes, bw_produce(bytes, n, 1, 1000, all, 1, 14000));
        bw_pump(&w);
    }
    for (int32_t n = 40; n < 43; n++)
        bw_send_bytes(&c, bytes, bw_produce(bytes, n, 1, 1000, all + 1, 1, 14000));
    bw_pump(&w);
    assert_int_equal(log_end(1), 0);
    for (unsigned writes = 0; log_end(1) < 3; writes++) {
        assert_true(writes < 8);
        w.hold_disk = false;
        (void)bw_turn(&w);
        w.hold_disk = true;
        bw_pump(&w);
    }
    assert_true(log_end(0) < 25);
    w.hold_disk = false;
    bw_pump(&w);
    assert_int_equal(log_end(0), 40);
}

/* A reader has all buffers and lets go of them, which nobody hears of. */
static void test_buffers_come_back_without_a_sound(void **state)
{
    struct log_buffer *held[16];
    unsigned n = 0;
    bw_zero_space(&w);
    while (n < 16 && (held[n] = log_tail_buffer_take(w.cores[0].log_core, NULL)) != NULL)
        n++;
    send(1, 1, all, 1);
    bw_silent(&c);
    assert_true(bw_count(&w, COUNTER_log_buffer_waits) != 0);
    rest(20);
    w.hold_disk = true; /* what is written would be to be had again */
    log_buffer_drop(held[--n]);
    bw_send_bytes(&c, bytes, bw_produce(bytes, 2, 1, 1000, all + 1, 1, 50)); /* who comes later does not overtake */
    bw_pump(&w);
    assert_int_equal(log_end(0), 1);
    assert_int_equal(log_end(1), 0);
    w.hold_disk = false;
    while (n != 0)
        log_buffer_drop(held[--n]);
    bw_pass(&w, 1);
    for (int32_t i = 1; i < 3; i++) {
        bw_produced(&c, i, errors, bases, 1);
        assert_int_equal(bases[0], 0);
    }
}

/* What helpers look into is not a receive buffer either, and comes in its order. */
static void test_a_compressed_batch_at_a_helper(void **state)
{
    send(1, 1, all, 1);
    bw_produced(&c, 1, errors, bases, 1);
    unsigned buffers = rte_mempool_avail_count(bw_client_pool);
    w.hold_jobs = true;
    for (int32_t n = 2; n < 5; n++) {
        size_t len = bw_produce(bytes, n, 1, 1000, all, 1, 500), at = FRAME_SIZE_BYTES;
        while (load_be32(bytes + at) != len - at - 4)
            at++;
        store_be16(bytes + at + 4 + BATCH_ATTRIBUTES, CODEC_LZ4); /* which it is not */
        bw_send_bytes(&c, bytes, len);
        bw_pump(&w);
    }
    assert_int_equal(bw_count(&w, COUNTER_produce_checks), 3);
    assert_int_equal(rte_mempool_avail_count(bw_client_pool), buffers);
    bw_silent(&c);
    w.hold_jobs = false;
    bw_pump(&w);
    for (int32_t n = 2; n < 5; n++) {
        bw_produced(&c, n, errors, bases, 1);
        assert_int_equal(errors[0], KAFKA_CORRUPT_MESSAGE);
    }
    assert_int_equal(log_end(0), 1);
}

/* Its time is over while its append waits, and there is no block for the answer: it is answered when the append is back. */
static void test_timed_out_without_room_for_the_answer(void **state)
{
    static struct rte_mbuf *taken[1 << 14];
    unsigned n = 0;
    w.hold_jobs = true; /* there is no zeroed space yet */
    send(1, -1, all, 1);
    while (n < TIDE_ARRAY_LEN(taken) && (taken[n] = rte_pktmbuf_alloc(bw_response_pool)) != NULL)
        n++;
    bw_pass(&w, 1001);
    assert_int_equal(bw_count(&w, COUNTER_acks_timed_out), 1);
    rte_pktmbuf_free_bulk(taken, n);
    w.hold_jobs = false;
    bw_pass(&w, 10);
    bw_produced(&c, 1, errors, bases, 1);
    assert_int_equal(errors[0], KAFKA_REQUEST_TIMED_OUT);
}

/* No letter: nothing of the request happens, and it is tried again. */
static void test_no_letters(void **state)
{
    struct tide_mail *letters[63];
    unsigned n = 0;
    send(1, -1, all, 4); /* there are enough, and that is remembered */
    bw_produced(&c, 1, errors, bases, 4);
    while (n < 63 && (letters[n] = mail_take(w.cores[0].broker, MAIL_APPEND)) != NULL)
        n++;
    send(2, -1, all, 4);
    bw_silent(&c);
    assert_int_equal(log_end(0), 1);
    assert_int_equal(log_end(1), 1);
    for (unsigned i = 0; i < n; i++)
        mail_give(letters[i]);
    bw_pump(&w);
    bw_produced(&c, 2, errors, bases, 4);
    assert_int_equal(errors[3], 0);
    assert_int_equal(log_end(1), 2);
}

/* A scripted run in which the Nth take from a pool fails, and from the Nth on all until the pools are
 * well again: it is as if nothing had been, only later. */
static uint64_t run_with_a_failure(uint64_t nth, bool ever_after)
{
    int32_t corr = 0;
    begin(2);
    uint64_t takes = fail_pool_takes;
    fail_pool_failed = 0;
    fail_pool_fail_at = nth != 0 ? takes + nth : 0;
    fail_pool_ever_after = ever_after;
    w.receive_low = true; /* halves become dense */
    size_t len = bw_produce(bytes, corr++, -1, 1000, all, 4, 3000);
    bw_send_bytes(&c, bytes, len / 2);
    bw_pump(&w);
    bw_send_bytes(&c, bytes + len / 2, len - len / 2);
    len = bw_produce(bytes, corr++, 1, 1000, all, 2, 500);
    len += bw_api_versions(bytes + len, corr++);
    len += bw_fetch(bytes + len, corr++, &(struct bw_fetch){.max_wait_ms = 5000, .min_bytes = 1, .max_bytes = 100000, .partition_max_bytes = 100000,
                                                             .partitions = {0, 1}, .count = 2});
    bw_send_bytes(&c, bytes, len);
    bw_pump(&w);
    uint64_t taken = fail_pool_takes - takes;
    fail_pool_fail_at = 0;
    bw_pump(&w);
    bw_pass(&w, 2);
    assert_false(c.closed);
    bw_produced(&c, 0, errors, bases, 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(errors[i], 0);
        assert_int_equal(bases[i], 0);
    }
    bw_produced(&c, 1, errors, bases, 2);
    assert_int_equal(errors[1], 0);
    assert_int_equal(bases[1], 1);
    struct wire_cursor at;
    int32_t found;
    assert_true(bw_next(&c, &found, &at));
    assert_int_equal(found, 2);
    struct bw_fetched f[2];
    bw_fetched(&c, 3, f, 2);
    assert_int_equal(f[0].error, 0);
    assert_int_equal(f[0].first, 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(log_end(i), i < 2 ? 2 : 1); /* nothing is appended twice */
    assert_true(nth == 0 || nth > taken || fail_pool_failed != 0);
    (void)teardown(NULL);
    return taken;
}

static void test_every_pool_take_fails_once(void **state)
{
    uint64_t takes = run_with_a_failure(0, false);
    assert_true(takes > 10);
    for (uint64_t n = 1; n <= takes; n++) {
        (void)run_with_a_failure(n, false);
        (void)run_with_a_failure(n, true);
    }
}

#define TEST(name)     cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_TWO(name) cmocka_unit_test_setup_teardown(name, setup_two, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_acks_one_and_all_wait_for_the_device),
        TEST(test_acks_zero),
        TEST_TWO(test_append_times),
        TEST(test_acks_that_are_none),
        TEST(test_errors_are_of_their_partition),
        TEST(test_the_timeout_of_acks_all),
        TEST(test_a_failed_write),
        TEST_TWO(test_two_cores),
        TEST_TWO(test_two_cores_and_a_client_that_goes),
        TEST(test_no_tail_buffer),
        TEST(test_no_zeroed_space),
        TEST(test_what_waits_is_left_alone),
        TEST(test_tail_buffers_go_round),
        TEST(test_buffers_come_back_without_a_sound),
        TEST(test_a_compressed_batch_at_a_helper),
        TEST(test_timed_out_without_room_for_the_answer),
        TEST_TWO(test_no_letters),
        cmocka_unit_test(test_every_pool_take_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
