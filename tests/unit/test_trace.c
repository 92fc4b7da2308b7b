/* SPDX-License-Identifier: Apache-2.0 */
/* What a traced topic leaves in the rings, and what the rings do when nobody takes. */
#include "broker_world.h"

enum { ROOM = 1 << 17, US = 1000 };

static struct broker_world w;
static struct bw_client c;
static uint8_t bytes[ROOM];
static int16_t errors[8];
static int64_t bases[8];
static const int32_t all[] = {0, 1, 2, 3};
static struct trace_event got[16];
static unsigned got_count;

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
    if (w.trace.state == TRACE_ON)
        trace_off(&w.trace);
    if (w.trace.state == TRACE_ENDING)
        trace_on_quiet(&w.trace);
    bw_disconnect(&c);
    bw_deinit(&w);
    return 0;
}

static void trace_slots(uint64_t slots, uint64_t slower_us)
{
    const struct trace_wish wish = {.slots = {slots}, .slower_ns = slower_us * US};
    assert_int_equal(trace_on(&w.trace, w.core_count, &wish), TIDE_OK);
}

static void pass_us(uint64_t us)
{
    w.time.now_ns += us * US;
}

static void bytes_come(size_t len, uint64_t before_us)
{
    struct tide_rope r = {0};
    tide_rope_push(&r, unit_exact_mbuf(bw_client_pool, bytes, (uint16_t)len));
    broker_begin_turn(w.cores[0].broker, &w.time, false);
    session_on_bytes(c.s, &w.time, w.time.now_ns - before_us * US, &r, &w.cores[0].out);
}

static void transmitted(void)
{
    struct session *s;
    broker_begin_turn(w.cores[0].broker, &w.time, false);
    while ((s = broker_next_unsent(w.cores[0].broker)) != NULL)
        session_on_transmitted(s, w.time.now_ns, c.taken);
}

/* A request at acks=1 to the first partition, that waits 40 us for the disk and 7 us for the port. */
static void produce_one(int32_t correlation)
{
    w.hold_disk = true;
    bytes_come(bw_produce(bytes, correlation, 1, 1000, all, 1, 50), 3);
    bw_pump(&w);
    pass_us(40);
    w.hold_disk = false;
    bw_pump(&w);
    bw_produced(&c, correlation, errors, bases, 1);
    pass_us(7);
    transmitted();
}

/* Events of a kind that a core has written. */
static void take(unsigned core, enum trace_kind kind)
{
    uint64_t end = trace_end(&w.trace, core);
    struct trace_event e;
    got_count = 0;
    while (trace_take(&w.trace, core, end, &e))
        if (e.kind == kind && got_count < TIDE_ARRAY_LEN(got))
            got[got_count++] = e;
}

static void test_a_request_and_its_write(void **state)
{
    uint64_t since;
    trace_slots(1 << 0, 0);
    pass_us(100);
    since = w.time.now_ns;
    produce_one(1);
    uint64_t end = trace_end(&w.trace, 0);
    struct trace_event e;
    unsigned kinds[TRACE_KIND_COUNT] = {0};
    while (trace_take(&w.trace, 0, end, &e)) {
        kinds[e.kind]++;
        assert_int_equal(e.slot, 0);
        if (e.kind == TRACE_WRITE) {
            assert_int_equal(e.end, 1);
            assert_int_equal(e.since_ns, since);
            assert_int_equal(e.at_ns, since + 40 * US);
        } else if (e.kind == TRACE_MARK) {
            assert_true(e.end == 0 || e.at_ns == since + 40 * US);
        } else {
            assert_int_equal(e.kind, TRACE_REQUEST);
            assert_int_equal(e.end, 1);
            assert_int_equal(e.acks, 1);
            assert_int_equal(e.stamps[STAMP_RECEIVED], since - 3 * US);
            assert_int_equal(e.stamps[STAMP_APPENDED], since);
            assert_int_equal(e.stamps[STAMP_REACHED], since + 40 * US);
            assert_int_equal(e.stamps[STAMP_TRANSMITTED], since + 47 * US);
        }
    }
    assert_int_equal(kinds[TRACE_WRITE], 1);
    assert_true(kinds[TRACE_MARK] >= 1);
    assert_int_equal(kinds[TRACE_REQUEST], 1);
}

static void test_quick_ones_and_other_topics_are_left_out(void **state)
{
    trace_slots(1 << 0, 50); /* it took 50 us */
    produce_one(1);
    take(0, TRACE_REQUEST);
    assert_int_equal(got_count, 1);
    trace_off(&w.trace);
    trace_on_quiet(&w.trace);
    trace_slots(1 << 0, 51);
    produce_one(2);
    take(0, TRACE_REQUEST);
    assert_int_equal(got_count, 0);
    trace_off(&w.trace);
    trace_on_quiet(&w.trace);
    trace_slots(1 << 2, 0);
    produce_one(3);
    assert_int_equal(trace_end(&w.trace, 0), 0);
}

static void test_off_writes_nothing(void **state)
{
    produce_one(1);
    trace_slots(1 << 0, 0);
    trace_off(&w.trace);
    produce_one(2);
    assert_int_equal(trace_end(&w.trace, 0), 0);
}

/* The partition that it waited for was not noted. */
static void test_a_request_that_was_answered_before_it_began(void **state)
{
    bytes_come(bw_produce(bytes, 1, 1, 1000, all, 1, 50), 3);
    bw_pump(&w);
    bw_produced(&c, 1, errors, bases, 1);
    trace_slots(1 << 0, 0);
    transmitted();
    take(0, TRACE_REQUEST);
    assert_int_equal(got_count, 0);
    produce_one(2);
    take(0, TRACE_REQUEST);
    assert_int_equal(got_count, 1);
}

static void test_acks_zero_ends_with_its_append(void **state)
{
    trace_slots(1 << 0, 0);
    bytes_come(bw_produce(bytes, 1, 0, 1000, all, 1, 50), 4);
    take(0, TRACE_REQUEST);
    assert_int_equal(got_count, 1);
    assert_int_equal(got[0].acks, 0);
    assert_int_equal(got[0].end, 1);
    assert_int_equal(got[0].stamps[STAMP_APPENDED] - got[0].stamps[STAMP_RECEIVED], 4 * US);
    assert_int_equal(got[0].stamps[STAMP_REACHED], 0);
    assert_int_equal(got[0].stamps[STAMP_TRANSMITTED], 0);
    bw_pump(&w);
}

/* Partition 0 is at home here, 1 on the other core, and the last to be reached. */
static void test_the_slowest_partition_is_named(void **state)
{
    trace_slots(1 << 0 | 1 << 1, 0);
    bytes_come(bw_produce(bytes, 1, 1, 1000, all, 2, 50), 1);
    pass_us(20);
    bw_pump(&w);
    bw_produced(&c, 1, errors, bases, 2);
    transmitted();
    take(0, TRACE_REQUEST);
    assert_int_equal(got_count, 1);
    assert_int_equal(got[0].slot, 1);
    take(1, TRACE_WRITE);
    assert_int_equal(got_count, 1);
    assert_int_equal(got[0].slot, 1);
}

static void test_what_failed_is_left_out(void **state)
{
    static const int32_t some[] = {0, 77};
    trace_slots(1 << 0, 0);
    bytes_come(bw_produce(bytes, 1, 1, 1000, some, 2, 50), 0);
    bw_pump(&w);
    bw_produced(&c, 1, errors, bases, 2);
    transmitted();
    take(0, TRACE_REQUEST);
    assert_int_equal(got_count, 0);
}

/* ---- the ring by itself ------------------------------------------------------------------------------------ */

static void test_a_full_ring_loses_and_tells(void **state)
{
    struct trace_event e = {.kind = TRACE_MARK};
    trace_slots(1 << 0, 0);
    for (e.end = 0; e.end < TRACE_SLOTS + 3; e.end++)
        trace_write(&w.trace, 0, &e);
    assert_int_equal(trace_lost(&w.trace), 3);
    assert_int_equal(trace_end(&w.trace, 0), TRACE_SLOTS);
    assert_true(trace_take(&w.trace, 0, TRACE_SLOTS, &e));
    assert_int_equal(e.end, 0);
    e.end = 77;
    trace_write(&w.trace, 0, &e); /* into the place that was taken */
    assert_int_equal(trace_lost(&w.trace), 3);
    for (int64_t i = 1; i < TRACE_SLOTS; i++) {
        assert_true(trace_take(&w.trace, 0, TRACE_SLOTS, &e));
        assert_int_equal(e.end, i);
    }
    assert_false(trace_take(&w.trace, 0, TRACE_SLOTS, &e)); /* what came behind that end stays */
    assert_true(trace_take(&w.trace, 0, trace_end(&w.trace, 0), &e));
    assert_int_equal(e.end, 77);
}

static void test_one_at_a_time(void **state)
{
    const struct trace_wish wish = {.slots = {1}};
    assert_false(trace_has(&w.trace, 0));
    trace_slots(1 << 0, 0);
    assert_true(trace_has(&w.trace, 0));
    assert_false(trace_has(&w.trace, 1));
    assert_int_equal(trace_on(&w.trace, 1, &wish), TIDE_EXISTS);
    trace_write(&w.trace, 0, &(struct trace_event){0});
    trace_off(&w.trace);
    assert_false(trace_has(&w.trace, 0));
    assert_int_equal(trace_on(&w.trace, 1, &wish), TIDE_EXISTS); /* cores may still be writing */
    trace_write(&w.trace, 0, &(struct trace_event){0});
    trace_on_quiet(&w.trace);
    trace_slots(1 << 0, 0);
    assert_int_equal(trace_end(&w.trace, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_request_and_its_write, setup, teardown),
        cmocka_unit_test_setup_teardown(test_quick_ones_and_other_topics_are_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_off_writes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_request_that_was_answered_before_it_began, setup, teardown),
        cmocka_unit_test_setup_teardown(test_acks_zero_ends_with_its_append, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_slowest_partition_is_named, setup_two, teardown),
        cmocka_unit_test_setup_teardown(test_what_failed_is_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_full_ring_loses_and_tells, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_at_a_time, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
