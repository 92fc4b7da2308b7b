/* SPDX-License-Identifier: Apache-2.0 */
/* Where the time of a request went, to the nanosecond: the clock moves only between the steps of its road. */
#include "broker_world.h"

enum { ROOM = 1 << 17, US = 1000 };

static struct broker_world w;
static struct bw_client c;
static uint8_t bytes[ROOM];
static int16_t errors[8];
static int64_t bases[8];
static const int32_t all[] = {0, 1, 2, 3};

static int begin(uint32_t cores)
{
    bw_init(&w, cores);
    bw_zero_space(&w);
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

static void pass_us(uint64_t us)
{
    w.time.now_ns += us * US;
}

static const struct tide_histogram *stage(enum broker_stage s)
{
    return broker_stage(w.cores[0].broker, s);
}

/* Everything that the session gave has gone to the port. */
static void transmitted(uint64_t bytes_sent)
{
    struct session *s;
    broker_begin_turn(w.cores[0].broker, &w.time, false);
    while ((s = broker_next_unsent(w.cores[0].broker)) != NULL)
        session_on_transmitted(s, w.time.now_ns, bytes_sent);
}

/* Stages in the order of the road, in microseconds, of `count` requests together; they add up. */
static void expect_stages(unsigned count, const uint64_t us[STAGE_PRODUCE])
{
    uint64_t sum = 0;
    for (unsigned s = 0; s < STAGE_PRODUCE; s++) {
        if (stage(s)->sum_ns != us[s] * US)
            fail_msg("%s took %lu ns", tide_stage_names[s], stage(s)->sum_ns);
        assert_int_equal(tide_histogram_count(stage(s)), count);
        sum += stage(s)->sum_ns;
    }
    assert_int_equal(stage(STAGE_PRODUCE)->sum_ns, sum);
    assert_int_equal(tide_histogram_count(stage(STAGE_PRODUCE)), count);
}

/* Bytes that came `before_us` ago. */
static void bytes_come(size_t len, uint64_t before_us)
{
    struct tide_rope r = {0};
    tide_rope_push(&r, unit_exact_mbuf(bw_client_pool, bytes, (uint16_t)len));
    broker_begin_turn(w.cores[0].broker, &w.time, false);
    session_on_bytes(c.s, &w.time, w.time.now_ns - before_us * US, &r, &w.cores[0].out);
}

static void test_acks_one_waits_for_the_disk(void **state)
{
    w.hold_disk = true;
    bytes_come(bw_produce(bytes, 1, 1, 1000, all, 1, 50), 3);
    bw_pump(&w);
    pass_us(40);
    w.hold_disk = false;
    bw_pump(&w);
    bw_produced(&c, 1, errors, bases, 1);
    pass_us(7);
    transmitted(c.taken);
    expect_stages(1, (const uint64_t[STAGE_PRODUCE]){[STAGE_TCP] = 3, [STAGE_WATERMARK] = 40, [STAGE_TRANSMIT] = 7});
    assert_int_equal(tide_histogram_count(stage(STAGE_DISK)), 1);
    assert_int_equal(stage(STAGE_DISK)->sum_ns, 40 * US);
    assert_int_equal(stage(STAGE_DISK_WAIT)->sum_ns, 0);
}

/* Behind a write that is under way: the batch waits for the next one. */
static void test_a_write_waits_for_the_one_before(void **state)
{
    w.hold_disk = true;
    bytes_come(bw_produce(bytes, 1, 1, 1000, all, 1, 50), 0);
    bw_pump(&w);
    pass_us(10);
    bytes_come(bw_produce(bytes, 2, 1, 1000, all, 1, 50), 0);
    bytes_come(bw_produce(bytes, 3, 1, 1000, all, 1, 50), 0);
    bw_pump(&w);
    pass_us(30);
    w.hold_disk = false;
    bw_turn(&w); /* the first is done, the second begins with what came meanwhile */
    pass_us(50);
    bw_pump(&w);
    for (int i = 1; i <= 3; i++)
        bw_produced(&c, i, errors, bases, 1);
    transmitted(c.taken);
    expect_stages(3, (const uint64_t[STAGE_PRODUCE]){[STAGE_WATERMARK] = 40 + 2 * 80, [STAGE_TRANSMIT] = 50});
    assert_int_equal(tide_histogram_count(stage(STAGE_DISK)), 2);
    assert_int_equal(stage(STAGE_DISK)->sum_ns, (40 + 50) * US);
    assert_int_equal(stage(STAGE_DISK_WAIT)->sum_ns, 30 * US);
}

/* Each request of a frame counts from the frame on. */
static void test_requests_of_one_frame(void **state)
{
    size_t n = 0;
    for (int i = 0; i < 3; i++)
        n += bw_produce(bytes + n, i, 1, 1000, all, 1, 50);
    bytes_come(n, 2);
    pass_us(10);
    bw_pump(&w);
    for (int i = 0; i < 3; i++)
        bw_produced(&c, i, errors, bases, 1);
    transmitted(c.taken);
    expect_stages(3, (const uint64_t[STAGE_PRODUCE]){[STAGE_TCP] = 3 * 2, [STAGE_WATERMARK] = 3 * 10});
}

static void test_acks_zero_ends_with_the_append(void **state)
{
    bytes_come(bw_produce(bytes, 1, 0, 1000, all, 2, 50), 4);
    assert_int_equal(tide_histogram_count(stage(STAGE_APPEND)), 1); /* one request, two batches */
    assert_int_equal(tide_histogram_count(stage(STAGE_WATERMARK)), 0);
    assert_int_equal(tide_histogram_count(stage(STAGE_TRANSMIT)), 0);
    assert_int_equal(stage(STAGE_PRODUCE)->sum_ns, 4 * US);
    bw_pump(&w);
}

/* A request that came whole earlier than the session could look at it. */
static void test_a_stalled_request_waits_in_the_queue(void **state)
{
    size_t n = bw_produce(bytes, 1, 1, 1000, all, 1, 50);
    w.hold_disk = true;
    for (unsigned i = 0; i < SESSION_REQUESTS_MAX + 1; i++) { /* one more than are looked at */
        bytes_come(n, 0);
        pass_us(1);
    }
    bw_pump(&w);
    w.hold_disk = false;
    bw_pump(&w);
    for (unsigned i = 0; i < SESSION_REQUESTS_MAX + 1; i++)
        bw_produced(&c, 1, errors, bases, 1);
    transmitted(c.taken);
    assert_int_equal(stage(STAGE_QUEUE)->sum_ns, 1 * US);
    assert_int_equal(tide_histogram_count(stage(STAGE_QUEUE)), SESSION_REQUESTS_MAX + 1);
}

/* Half a request: it counts from the bytes that made it whole. */
static void test_a_request_in_pieces(void **state)
{
    size_t n = bw_produce(bytes, 1, 1, 1000, all, 1, 50);
    bytes_come(n - 1, 0);
    pass_us(500);
    bytes[0] = bytes[n - 1];
    bytes_come(1, 2);
    bw_pump(&w);
    bw_produced(&c, 1, errors, bases, 1);
    transmitted(c.taken);
    expect_stages(1, (const uint64_t[STAGE_PRODUCE]){[STAGE_TCP] = 2, [STAGE_TRANSMIT] = 0});
}

/* The slowest partition counts: 0 is at home here, 1 on the other core. */
static void test_a_letter_to_the_home_core(void **state)
{
    bytes_come(bw_produce(bytes, 1, 1, 1000, all, 2, 50), 1);
    pass_us(20); /* until the other core takes the letter */
    bw_turn(&w);
    pass_us(300);
    bw_pump(&w);
    bw_produced(&c, 1, errors, bases, 2);
    pass_us(5);
    transmitted(c.taken);
    expect_stages(1, (const uint64_t[STAGE_PRODUCE]){[STAGE_TCP] = 1, [STAGE_HOME] = 20, [STAGE_WATERMARK] = 300, [STAGE_TRANSMIT] = 5});
}

/* A response counts when its last byte has gone; what is behind it waits for its own. */
static void test_a_response_that_goes_in_pieces(void **state)
{
    size_t n = bw_produce(bytes, 1, 1, 1000, all, 1, 50);
    n += bw_produce(bytes + n, 2, 1, 1000, all, 1, 50);
    bytes_come(n, 0);
    bw_pump(&w);
    bw_produced(&c, 1, errors, bases, 1);
    bw_produced(&c, 2, errors, bases, 1);
    pass_us(3);
    transmitted(c.taken / 2 - 1);
    assert_int_equal(tide_histogram_count(stage(STAGE_PRODUCE)), 0);
    pass_us(3);
    transmitted(c.taken / 2);
    assert_int_equal(stage(STAGE_TRANSMIT)->sum_ns, 6 * US);
    pass_us(3);
    transmitted(c.taken);
    assert_int_equal(stage(STAGE_TRANSMIT)->sum_ns, (6 + 9) * US);
    assert_int_equal(tide_histogram_count(stage(STAGE_PRODUCE)), 2);
}

static void test_what_failed_or_went_counts_nowhere(void **state)
{
    static const int32_t absent[] = {77};
    bytes_come(bw_produce(bytes, 1, 1, 1000, absent, 1, 50), 0);
    bw_pump(&w);
    bw_produced(&c, 1, errors, bases, 1);
    transmitted(c.taken);
    bytes_come(bw_produce(bytes, 2, 1, 1000, all, 1, 50), 0);
    bw_pump(&w);
    bw_disconnect(&c); /* its response has not gone */
    transmitted(1000);
    assert_int_equal(tide_histogram_count(stage(STAGE_PRODUCE)), 0);
    bw_connect(&w, &c);
}

/* More responses wait to go than there are places. */
static void test_places_run_out(void **state)
{
    enum { EACH = 60 };
    size_t n = bw_produce(bytes, 1, 1, 1000, all, 1, 50);
    for (unsigned i = 0; i < 2 * EACH; i++) {
        bytes_come(n, 0);
        bw_pump(&w);
        bw_produced(&c, 1, errors, bases, 1);
    }
    assert_int_equal(bw_count(&w, COUNTER_stages_missed), 2 * EACH - 80);
    transmitted(c.taken);
    assert_int_equal(tide_histogram_count(stage(STAGE_PRODUCE)), 80);
}

static void test_a_fetch_waits(void **state)
{
    struct bw_fetched f;
    bytes_come(bw_fetch(bytes, 1, &(struct bw_fetch){.max_wait_ms = 500, .min_bytes = 1, .max_bytes = 1000, .partition_max_bytes = 1000, .count = 1}), 3);
    bw_pump(&w);
    bw_pass(&w, 500);
    bw_fetched(&c, 1, &f, 1);
    pass_us(4);
    transmitted(c.taken);
    assert_int_equal(stage(STAGE_FETCH)->sum_ns, (500000 + 3 + 4) * US);
    assert_int_equal(tide_histogram_count(stage(STAGE_PRODUCE)), 0);
}

/* ---- arrivals and followers by themselves ------------------------------------------------------------------ */

static void test_arrivals(void **state)
{
    struct stage_arrivals a = {0};
    uint64_t stamps[STAMP_COUNT] = {0};
    for (unsigned i = 1; i <= STAGE_ARRIVALS + 2; i++)
        stage_arrived(&a, 10, i, 100 + i);
    stage_begin(&a, 10, stamps);
    assert_int_equal(stamps[STAMP_RECEIVED], 1);
    stage_begin(&a, 11, stamps); /* its last byte came with the second */
    assert_int_equal(stamps[STAMP_RECEIVED], 2);
    assert_int_equal(stamps[STAMP_HANDED], 102);
    stage_taken(&a, 11);
    stage_begin(&a, 10 * (STAGE_ARRIVALS + 2) - 11, stamps); /* no place was left for the last two: earlier rather than later */
    assert_int_equal(stamps[STAMP_RECEIVED], STAGE_ARRIVALS);
    stage_taken(&a, 10 * (STAGE_ARRIVALS + 2) - 11);
    assert_int_equal(a.count, 0);
}

static void test_followers(void **state)
{
    struct stages *s = calloc(1, sizeof(*s));
    struct stage_feed f = {0};
    struct stage_follower *of = stages_follower(s, 7);
    assert_ptr_equal(stages_follower(s, 7), of);
    stage_feed_moved(&f, 100);
    stage_feed_moved(&f, 150); /* it waits since the first */
    stage_feed_sent(&f, of, 160, 10, false);
    stage_feed_sent(&f, of, 170, 20, true);
    assert_int_equal(of->send.sum_ns, 60 + 70);
    stage_feed_acknowledged(&f, of, 500, 9);
    assert_int_equal(tide_histogram_count(&of->acknowledge), 0);
    stage_feed_acknowledged(&f, of, 500, 15);
    assert_int_equal(of->acknowledge.sum_ns, 340);
    stage_feed_acknowledged(&f, of, 600, 20);
    assert_int_equal(of->acknowledge.sum_ns, 340 + 430);
    stage_feed_sent(&f, of, 700, 30, true); /* what nobody waited for: a follower that catches up */
    assert_int_equal(tide_histogram_count(&of->send), 2);
    for (int i = 0; i < STAGE_FEED_TIMES; i++)
        stage_feed_sent(&f, of, 800, 40, true);
    stage_feed_acknowledged(&f, of, 900, 40);
    assert_int_equal(tide_histogram_count(&of->acknowledge), 2 + STAGE_FEED_TIMES); /* the last had no place */
    for (int32_t id = 100; id < 100 + STAGE_FOLLOWERS_MAX; id++)
        (void)stages_follower(s, id);
    assert_ptr_equal(stages_follower(s, 7), of);
    assert_ptr_equal(stages_follower(s, 100 + STAGE_FOLLOWERS_MAX - 1), stages_follower(s, 100 + STAGE_FOLLOWERS_MAX - 2));
    assert_int_equal(tide_pub64_peek(&stages_follower(s, 2000)->broker), (uint64_t)UINT32_MAX + 1);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_acks_one_waits_for_the_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_write_waits_for_the_one_before, setup, teardown),
        cmocka_unit_test_setup_teardown(test_requests_of_one_frame, setup, teardown),
        cmocka_unit_test_setup_teardown(test_acks_zero_ends_with_the_append, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_stalled_request_waits_in_the_queue, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_request_in_pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_letter_to_the_home_core, setup_two, teardown),
        cmocka_unit_test_setup_teardown(test_a_response_that_goes_in_pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_failed_or_went_counts_nowhere, setup, teardown),
        cmocka_unit_test_setup_teardown(test_places_run_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_fetch_waits, setup, teardown),
        cmocka_unit_test(test_arrivals),
        cmocka_unit_test(test_followers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
