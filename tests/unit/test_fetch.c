/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fetch through the broker: the long poll, bytes at least and at most, reads from the disk, two cores.
 */
#include <errno.h>

#include "broker_world.h"

enum { ROOM = 1 << 17 };

static struct broker_world w;
static struct bw_client c, producer;
static uint8_t bytes[ROOM];
static struct bw_fetched f[4];
static int32_t produced;

static int begin(uint32_t cores)
{
    bw_init(&w, cores);
    bw_connect(&w, &c);
    bw_connect(&w, &producer);
    produced = 1000;
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
    bw_disconnect(&producer);
    bw_deinit(&w);
    return 0;
}

static void produce(int32_t partition, uint32_t value_bytes)
{
    int16_t error;
    int64_t base;
    bw_send_bytes(&producer, bytes, bw_produce(bytes, ++produced, 1, 1000, &partition, 1, value_bytes));
    bw_pump(&w);
    bw_produced(&producer, produced, &error, &base, 1);
    assert_int_equal(error, 0);
}

static void fetch(int32_t correlation, struct bw_fetch what)
{
    if (what.max_bytes == 0)
        what.max_bytes = 1 << 20;
    if (what.partition_max_bytes == 0)
        what.partition_max_bytes = 1 << 20;
    if (what.count == 0)
        what.count = 1;
    bw_send_bytes(&c, bytes, bw_fetch(bytes, correlation, &what));
    bw_pump(&w);
}

static void test_what_is_there_comes_at_once(void **state)
{
    produce(0, 100);
    produce(0, 100);
    fetch(1, (struct bw_fetch){.max_wait_ms = 5000, .min_bytes = 1});
    bw_fetched(&c, 1, f, 1);
    assert_int_equal(f[0].error, 0);
    assert_int_equal(f[0].first, 0);
    assert_int_equal(f[0].last, 1);
    assert_int_equal(f[0].high_watermark, 2);
    assert_int_equal(bw_count(&w, COUNTER_fetch_parked), 0);
    fetch(2, (struct bw_fetch){.max_wait_ms = 5000, .min_bytes = 1, .offset = 1});
    bw_fetched(&c, 2, f, 1);
    assert_int_equal(f[0].first, 1);
}

/* Some of what the client got lies where the log has it. */
static bool holds_views(void)
{
    for (const struct rte_mbuf *m = c.in.head; m != NULL; m = m->next)
        if (RTE_MBUF_HAS_EXTBUF(m))
            return true;
    return false;
}

static void test_from_where_it_is_or_copied(void **state)
{
    unsigned room = rte_mempool_avail_count(bw_request_pool);
    (void)state;
    produce(0, 1000);
    for (int32_t copied = 0; copied <= 1; copied++) {
        w.settings.fetch_zero_copy = !copied;
        fetch(1 + copied, (struct bw_fetch){.max_wait_ms = 5000, .min_bytes = 1});
        assert_int_equal(holds_views(), !copied);
        bw_fetched(&c, 1 + copied, f, 1);
        assert_int_equal(f[0].first, 0);
        assert_int_equal(f[0].last, 0);
    }
    assert_int_equal(rte_mempool_avail_count(bw_request_pool), room);
}

static void test_a_poll_that_need_not_wait(void **state)
{
    fetch(1, (struct bw_fetch){.max_wait_ms = 0, .min_bytes = 1});
    bw_fetched(&c, 1, f, 1);
    assert_int_equal(f[0].bytes, 0);
    fetch(2, (struct bw_fetch){.max_wait_ms = 5000, .min_bytes = 0});
    bw_fetched(&c, 2, f, 1);
    assert_int_equal(f[0].bytes, 0);
    fetch(3, (struct bw_fetch){.max_wait_ms = -1, .min_bytes = 1});
    bw_fetched(&c, 3, f, 1);
}

/* It wakes when the mark moves: not at the append, but when the device has it (P5). */
static void test_a_long_poll_wakes(void **state)
{
    int32_t zero = 0;
    fetch(1, (struct bw_fetch){.max_wait_ms = 5000, .min_bytes = 1});
    bw_silent(&c);
    w.hold_disk = true;
    bw_send_bytes(&producer, bytes, bw_produce(bytes, 9, 1, 1000, &zero, 1, 10));
    bw_pump(&w);
    bw_silent(&c);
    w.hold_disk = false;
    bw_pump(&w);
    bw_fetched(&c, 1, f, 1);
    assert_int_equal(f[0].first, 0);
}

static void test_a_long_poll_ends(void **state)
{
    fetch(1, (struct bw_fetch){.max_wait_ms = 500, .min_bytes = 1});
    bw_pass(&w, 499);
    bw_silent(&c);
    bw_pass(&w, 2);
    bw_fetched(&c, 1, f, 1);
    assert_int_equal(f[0].error, 0);
    assert_int_equal(f[0].bytes, 0);
    assert_int_equal(f[0].high_watermark, 0);
}

/* INT_MAX is a day at most, and a thousand of them cost nothing but their slots. */
static void test_the_longest_poll(void **state)
{
    fetch(1, (struct bw_fetch){.max_wait_ms = INT32_MAX, .min_bytes = INT32_MAX});
    bw_pass(&w, (uint64_t)TIMEOUT_MS_MAX / 2);
    bw_silent(&c);
    w.time.now_ns += (uint64_t)TIMEOUT_MS_MAX / 2 * TIDE_NS_PER_MS + 1;
    bw_pump(&w);
    bw_fetched(&c, 1, f, 1);
}

static void test_min_bytes_over_several_partitions(void **state)
{
    fetch(1, (struct bw_fetch){.max_wait_ms = 5000, .min_bytes = 900, .partitions = {0, 1, 2}, .count = 3});
    produce(0, 300);
    bw_silent(&c);
    produce(1, 300);
    bw_silent(&c);
    produce(3, 900); /* not asked for */
    bw_silent(&c);
    produce(0, 300);
    bw_fetched(&c, 1, f, 3);
    assert_int_equal(f[0].last, 1);
    assert_int_equal(f[1].last, 0);
    assert_int_equal(f[2].bytes, 0);
}

static void test_max_bytes(void **state)
{
    for (int i = 0; i < 4; i++) {
        produce(0, 1000);
        produce(1, 1000);
    }
    fetch(1, (struct bw_fetch){.max_bytes = 2500, .partitions = {0, 1}, .count = 2});
    bw_fetched(&c, 1, f, 2);
    assert_int_equal(f[0].last, 1); /* two of a thousand, and no more */
    assert_int_equal(f[1].bytes, 0);
    fetch(2, (struct bw_fetch){.partition_max_bytes = 1200, .partitions = {0, 1}, .count = 2});
    bw_fetched(&c, 2, f, 2);
    assert_int_equal(f[0].last, 0);
    assert_int_equal(f[1].last, 0);
    /* KIP-74: the first batch comes even if it is larger than all limits; only the first. */
    fetch(3, (struct bw_fetch){.max_bytes = 1, .partition_max_bytes = 1, .partitions = {0, 1}, .count = 2});
    bw_fetched(&c, 3, f, 2);
    assert_int_equal(f[0].last, 0);
    assert_true(f[0].bytes > 1000);
    assert_int_equal(f[1].bytes, 0);
}

static void test_offsets_out_of_range(void **state)
{
    produce(0, 10);
    fetch(1, (struct bw_fetch){.max_wait_ms = 5000, .min_bytes = 1, .offset = 2});
    bw_fetched(&c, 1, f, 1); /* an error need not wait */
    assert_int_equal(f[0].error, KAFKA_OFFSET_OUT_OF_RANGE);
    fetch(2, (struct bw_fetch){.max_wait_ms = 5000, .min_bytes = 1, .offset = -1});
    bw_fetched(&c, 2, f, 1);
    assert_int_equal(f[0].error, KAFKA_OFFSET_OUT_OF_RANGE);
    fetch(3, (struct bw_fetch){.max_wait_ms = 5000, .min_bytes = 1, .partitions = {77}});
    bw_fetched(&c, 3, f, 1);
    assert_int_equal(f[0].error, KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
}

/* The mark is the other core's: it rings. */
static void test_a_long_poll_wakes_on_another_core(void **state)
{
    fetch(1, (struct bw_fetch){.max_wait_ms = 5000, .min_bytes = 1, .partitions = {1}});
    bw_silent(&c);
    produce(1, 10);
    bw_fetched(&c, 1, f, 1);
    assert_int_equal(f[0].first, 0);
    assert_true(bw_count(&w, COUNTER_doorbells) != 0);
}

static void test_a_poll_hears_of_a_failed_log(void **state)
{
    int32_t zero = 0;
    fetch(1, (struct bw_fetch){.max_wait_ms = 5000, .min_bytes = 1});
    w.disk_error = -EIO;
    bw_send_bytes(&producer, bytes, bw_produce(bytes, 9, 0, 1000, &zero, 1, 10));
    bw_pump(&w);
    w.disk_error = 0;
    bw_fetched(&c, 1, f, 1);
    assert_int_equal(f[0].error, KAFKA_NOT_LEADER_OR_FOLLOWER); /* what version 4 knows of storage errors */
}

/* ---- from the disk ------------------------------------------------------------------------------------------- */

/* So much that the first of it is no longer in memory. */
static void fill(void)
{
    for (int i = 0; i < 40; i++)
        produce(0, 10000);
}

static void test_reads_from_the_disk(void **state)
{
    fill();
    fetch(1, (struct bw_fetch){.partition_max_bytes = 25000});
    bw_fetched(&c, 1, f, 1);
    assert_int_equal(f[0].error, 0);
    assert_int_equal(f[0].first, 0);
    assert_true(bw_count(&w, COUNTER_fetch_disk_reads) != 0);
}

static void test_a_read_that_fails(void **state)
{
    fill();
    w.disk_error = -EIO;
    fetch(1, (struct bw_fetch){.partition_max_bytes = 25000});
    w.disk_error = 0;
    bw_fetched(&c, 1, f, 1);
    assert_int_equal(f[0].error, KAFKA_KAFKA_STORAGE_ERROR);
    assert_int_equal(f[0].bytes, 0);
    fetch(2, (struct bw_fetch){.partition_max_bytes = 25000}); /* a read error fences nobody */
    bw_fetched(&c, 2, f, 1);
    assert_int_equal(f[0].error, 0);
}

static void test_gone_while_a_read_is_out(void **state)
{
    fill();
    w.hold_disk = true;
    fetch(1, (struct bw_fetch){.partition_max_bytes = 25000});
    bw_disconnect(&c);
    w.hold_disk = false;
    bw_pump(&w);
}

/* A completion of a read that was answered long ago changes nothing. */
static void test_a_stale_completion(void **state)
{
    fill();
    w.hold_disk = true;
    fetch(1, (struct bw_fetch){.partition_max_bytes = 25000});
    assert_true(w.cores[0].op_count != 0);
    struct disk_done old = {.id = w.cores[0].ops[0].id - 1, .result = 16384};
    uint64_t unexpected = atomic_load(&tide_expect_failures);
    broker_on_disk(w.cores[0].broker, &w.time, &old, &w.cores[0].out);
    assert_int_equal(atomic_load(&tide_expect_failures), unexpected + 1);
    bw_silent(&c);
    w.hold_disk = false;
    bw_pump(&w);
    bw_fetched(&c, 1, f, 1);
    assert_int_equal(f[0].error, 0);
}

/* Readers of what is old hold up writes by two reads at most; the others wait their turn. */
static void test_so_many_reads_in_flight(void **state)
{
    struct bw_client readers[4];
    fill();
    w.hold_disk = true;
    for (unsigned i = 0; i < 4; i++) {
        struct bw_fetch what = {.partition_max_bytes = 12000, .max_bytes = 12000, .count = 1, .offset = 4 * (int64_t)i};
        bw_connect(&w, &readers[i]);
        bw_send_bytes(&readers[i], bytes, bw_fetch(bytes, 1, &what));
        bw_pump(&w);
        assert_int_equal(w.cores[0].op_count, i < 2 ? i + 1 : 2);
    }
    assert_true(bw_count(&w, COUNTER_disk_read_waits) != 0);
    w.hold_disk = false;
    bw_pump(&w);
    for (unsigned i = 0; i < 4; i++) {
        bw_fetched(&readers[i], 1, f, 1);
        assert_int_equal(f[0].error, 0);
        assert_int_equal(f[0].first, 4 * i);
        bw_disconnect(&readers[i]); /* and the buffers that it was answered from */
        bw_pump(&w);
    }
}

/* Two that want the same: one read of the disk, and it answers both. */
static void test_two_readers_one_read(void **state)
{
    struct bw_client readers[2];
    fill();
    w.hold_disk = true;
    for (unsigned i = 0; i < 2; i++) {
        struct bw_fetch what = {.partition_max_bytes = 12000, .max_bytes = 12000, .count = 1, .offset = 4};
        bw_connect(&w, &readers[i]);
        bw_send_bytes(&readers[i], bytes, bw_fetch(bytes, 1, &what));
        bw_pump(&w);
        assert_int_equal(w.cores[0].op_count, 1);
    }
    w.hold_disk = false;
    bw_pump(&w);
    assert_int_equal(bw_count(&w, COUNTER_fetch_disk_reads), bw_count(&w, COUNTER_disk_reads));
    for (unsigned i = 0; i < 2; i++) {
        bw_fetched(&readers[i], 1, f, 1);
        assert_int_equal(f[0].error, 0);
        assert_int_equal(f[0].first, 4);
        bw_disconnect(&readers[i]);
    }
    assert_int_equal(bw_count(&w, COUNTER_read_cache_misses), 1);
    assert_true(bw_count(&w, COUNTER_read_cache_hits) >= 1);
}

/* Four read buffers: a slow reader holds them, the others wait, and are served when it is gone. */
static void test_no_read_buffer(void **state)
{
    struct bw_client slow;
    fill();
    bw_connect(&w, &slow);
    slow.slow = true;
    for (int32_t i = 0; i < 8; i++) {
        struct bw_fetch what = {.partition_max_bytes = 40000, .max_bytes = 40000, .count = 1, .offset = i % 2 * 4};
        bw_send_bytes(&slow, bytes, bw_fetch(bytes, i, &what));
        bw_pump(&w);
    }
    fetch(1, (struct bw_fetch){.partition_max_bytes = 25000, .offset = 12});
    bw_silent(&c);
    bw_disconnect(&slow);
    bw_pump(&w);
    bw_pass(&w, 2);
    bw_fetched(&c, 1, f, 1);
    assert_int_equal(f[0].error, 0);
    assert_int_equal(f[0].first, 12);
}

#define TEST(name)     cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_TWO(name) cmocka_unit_test_setup_teardown(name, setup_two, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_is_there_comes_at_once),
        TEST(test_from_where_it_is_or_copied),
        TEST(test_a_poll_that_need_not_wait),
        TEST(test_a_long_poll_wakes),
        TEST(test_a_long_poll_ends),
        TEST(test_the_longest_poll),
        TEST(test_min_bytes_over_several_partitions),
        TEST(test_max_bytes),
        TEST(test_offsets_out_of_range),
        TEST_TWO(test_a_long_poll_wakes_on_another_core),
        TEST(test_a_poll_hears_of_a_failed_log),
        TEST(test_reads_from_the_disk),
        TEST(test_a_read_that_fails),
        TEST(test_gone_while_a_read_is_out),
        TEST(test_a_stale_completion),
        TEST(test_so_many_reads_in_flight),
        TEST(test_two_readers_one_read),
        TEST(test_no_read_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
