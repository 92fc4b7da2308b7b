/* SPDX-License-Identifier: Apache-2.0 */
/* Timelines from the events of several cores. */
#include "daemon/trace_join.h"
#include "tidemark/types.h"
#include "unit.h"

enum { MS = 1000000 };
static const uint64_t NOW = 1000ull * MS;

static struct trace_join *j;
static struct trace_timeline t;

static int setup(void **state)
{
    j = trace_join_create();
    assert_non_null(j);
    trace_join_look(j, NOW);
    return 0;
}

static int teardown(void **state)
{
    trace_join_destroy(j);
    return 0;
}

static void event(uint32_t core, enum trace_kind kind, uint32_t slot, int64_t end, uint64_t at_ns, int32_t broker)
{
    trace_join_add(j, core, &(struct trace_event){.kind = (uint8_t)kind, .slot = slot, .end = end, .since_ns = at_ns - 100, .at_ns = at_ns, .broker = broker});
}

/* It took 10 ms. */
static void request(uint32_t core, uint32_t slot, int64_t end, uint64_t received_ns)
{
    struct trace_event e = {.kind = TRACE_REQUEST, .acks = -1, .slot = slot, .end = end};
    for (unsigned i = 0; i < STAMP_COUNT; i++)
        e.stamps[i] = received_ns + i;
    e.stamps[STAMP_TRANSMITTED] = received_ns + 10 * MS;
    trace_join_add(j, core, &e);
}

static void test_the_first_that_covers_the_end(void **state)
{
    event(1, TRACE_WRITE, 7, 9, NOW + 1000, -1);  /* not yet */
    event(1, TRACE_WRITE, 8, 20, NOW + 1500, -1); /* another partition */
    event(1, TRACE_WRITE, 7, 11, NOW + 2000, -1);
    event(1, TRACE_WRITE, 7, 12, NOW + 9000, -1); /* later */
    event(2, TRACE_SENT, 7, 10, NOW + 500, 3);
    event(2, TRACE_ACKNOWLEDGED, 7, 9, NOW + 600, 3);
    event(2, TRACE_ACKNOWLEDGED, 7, 10, NOW + 700, 3);
    event(2, TRACE_SENT, 7, 11, NOW + 800, 2);
    event(1, TRACE_MARK, 7, 9, NOW + 900, -1);
    event(1, TRACE_MARK, 7, 10, NOW + 2100, -1);
    event(1, TRACE_MARK, 7, 11, NOW + 2200, -1);
    request(0, 7, 10, NOW);
    trace_join_look(j, NOW + 20 * MS);
    assert_true(trace_join_next(j, &t));
    assert_int_equal(t.slot, 7);
    assert_int_equal(t.core, 0);
    assert_int_equal(t.home, 1);
    assert_int_equal(t.write_since_ns, NOW + 1900);
    assert_int_equal(t.write_done_ns, NOW + 2000);
    assert_int_equal(t.mark_ns, NOW + 2100);
    assert_int_equal(t.follower_count, 2);
    for (unsigned i = 0; i < 2; i++) {
        bool third = t.followers[i].broker == 3;
        assert_int_equal(t.followers[i].sent_ns, NOW + (third ? 500 : 800));
        assert_int_equal(t.followers[i].acknowledged_ns, third ? NOW + 700 : 0);
    }
    assert_false(trace_join_next(j, &t));
}

/* Cores write side by side: an event of another ring may be found after the request it belongs to, and out of order. */
static void test_a_request_ripens(void **state)
{
    request(0, 7, 10, NOW + MS);
    assert_false(trace_join_next(j, &t));
    trace_join_look(j, NOW + 20 * MS);
    event(2, TRACE_MARK, 7, 12, NOW + 4 * MS, -1);
    event(1, TRACE_MARK, 7, 10, NOW + 3 * MS, -1);
    request(0, 7, 12, NOW + 2 * MS);
    assert_true(trace_join_next(j, &t));
    assert_int_equal(t.end, 10);
    assert_int_equal(t.mark_ns, NOW + 3 * MS);
    assert_false(trace_join_next(j, &t)); /* the second is not */
    trace_join_look(j, NOW + 40 * MS);
    assert_true(trace_join_next(j, &t));
    assert_int_equal(t.end, 12);
    assert_int_equal(t.mark_ns, NOW + 4 * MS);
}

/* A partition that was cut may have had that end before. */
static void test_what_was_before_the_request_is_not_its(void **state)
{
    event(0, TRACE_MARK, 7, 10, NOW - 1, -1);
    event(0, TRACE_WRITE, 7, 99, NOW - 1, -1);
    request(0, 7, 10, NOW);
    trace_join_look(j, NOW + 20 * MS);
    assert_true(trace_join_next(j, &t));
    assert_int_equal(t.mark_ns, 0);
    assert_int_equal(t.write_done_ns, 0);
    assert_int_equal(t.home, 0);
}

/* The clock of a look may be a little behind that of a turn; one that is far behind ends the search. */
static void test_looks_bound_the_search(void **state)
{
    event(0, TRACE_MARK, 7, 10, NOW + MS, -1); /* found by a look that says it was 1 ms earlier */
    request(0, 7, 10, NOW + MS);
    trace_join_look(j, NOW + 20 * MS);
    assert_true(trace_join_next(j, &t));
    assert_int_equal(t.mark_ns, NOW + MS);
}

static void test_places_run_out(void **state)
{
    for (int64_t i = 0; i < TRACE_REQUESTS_KEPT + 5; i++)
        request(0, 7, i, NOW);
    assert_int_equal(trace_join_omitted(j), 5);
    trace_join_look(j, NOW + 20 * MS);
    assert_true(trace_join_next(j, &t));
    assert_int_equal(t.end, 0);
    request(0, 7, 1000, NOW);
    assert_int_equal(trace_join_omitted(j), 5);
    for (int64_t i = 1; i < TRACE_REQUESTS_KEPT; i++) {
        assert_true(trace_join_next(j, &t));
        assert_int_equal(t.end, i);
    }
    assert_false(trace_join_next(j, &t));
    /* Of events the last ones are kept. */
    event(0, TRACE_MARK, 7, 1000, NOW + 5, -1);
    event(0, TRACE_WRITE, 7, 1000, NOW + 5, -1);
    for (unsigned i = 0; i < TRACE_EVENTS_KEPT - 1; i++)
        event(0, TRACE_SENT, 8, 1, NOW + 6, 2);
    trace_join_look(j, NOW + 40 * MS);
    assert_true(trace_join_next(j, &t));
    assert_int_equal(t.mark_ns, 0);
    assert_int_equal(t.write_done_ns, NOW + 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_first_that_covers_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_request_ripens, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_was_before_the_request_is_not_its, setup, teardown),
        cmocka_unit_test_setup_teardown(test_looks_bound_the_search, setup, teardown),
        cmocka_unit_test_setup_teardown(test_places_run_out, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
