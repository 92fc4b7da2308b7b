/* SPDX-License-Identifier: Apache-2.0 */
/* A pace, in numbers. */
#include "unit.h"

#include "replica/throttle.h"
#include "tidemark/random.h"
#include "tidemark/types.h"

#define MS TIDE_NS_PER_MS

static void test_none(void **state)
{
    struct throttle t;
    (void)state;
    throttle_init(&t);
    throttle_take(&t, UINT64_MAX);
    assert_int_equal(throttle_room(&t, 5), UINT64_MAX);
    assert_int_equal(throttle_deadline_ns(&t, 1), 0);
    throttle_set(&t, 10 * MS, 1000000);
    assert_int_equal(throttle_room(&t, 10 * MS), 0); /* it begins empty */
    throttle_set(&t, 11 * MS, THROTTLE_NONE);
    assert_int_equal(throttle_room(&t, 11 * MS), UINT64_MAX);
    throttle_check(&t);
}

static void test_it_fills_up_to_a_burst(void **state)
{
    struct throttle t;
    (void)state;
    throttle_init(&t);
    throttle_set(&t, 1000 * MS, 1000000);
    assert_int_equal(throttle_room(&t, 1000 * MS), 0);
    assert_int_equal(throttle_room(&t, 1010 * MS), 10000);
    assert_int_equal(throttle_room(&t, 1010 * MS), 10000);
    assert_int_equal(throttle_room(&t, 900 * MS), 10000); /* time does not go back */
    assert_int_equal(throttle_room(&t, 1099 * MS), 99000);
    assert_int_equal(throttle_room(&t, 5000 * MS), 100000);
    assert_int_equal(throttle_room(&t, UINT64_MAX / 2), 100000);
    throttle_check(&t);
}

static void test_what_is_owed_is_waited_for(void **state)
{
    struct throttle t;
    (void)state;
    throttle_init(&t);
    throttle_set(&t, 0, 1000000);
    assert_int_equal(throttle_room(&t, 100 * MS), 100000);
    throttle_take(&t, 600000);
    assert_int_equal(throttle_room(&t, 100 * MS), 0);
    uint64_t at = throttle_deadline_ns(&t, 1);
    assert_in_range(at, 600 * MS, 600 * MS + 2000);
    assert_int_equal(throttle_room(&t, at - 2000), 0);
    assert_int_equal(throttle_room(&t, at), 1);
    at = throttle_deadline_ns(&t, 50000);
    assert_true(throttle_room(&t, at) >= 50000);
    assert_in_range(at, 650 * MS, 650 * MS + 2000);
    assert_int_equal(throttle_deadline_ns(&t, 1), 0);
    assert_true(throttle_deadline_ns(&t, UINT64_MAX) < TIDE_NEVER); /* no more than a burst is waited for */
    /* Owed at one pace, paid at the other. */
    throttle_take(&t, throttle_room(&t, at) + 10000);
    throttle_set(&t, at, 1000);
    assert_in_range(throttle_deadline_ns(&t, 1), at + 10000 * MS, at + 10002 * MS);
}

static void test_nothing_at_all(void **state)
{
    struct throttle t;
    (void)state;
    throttle_init(&t);
    throttle_set(&t, 0, 0);
    assert_int_equal(throttle_room(&t, UINT64_MAX / 2), 0);
    assert_int_equal(throttle_deadline_ns(&t, 1), TIDE_NEVER);
}

/* At any pace, looked at in any steps, and in the same time at once: as much goes. */
static void test_the_pace_holds(void **state)
{
    struct tide_random random = {.state = 7};
    (void)state;
    for (unsigned k = 0; k < 200; k++) {
        struct throttle t;
        int64_t rate = 1 + (int64_t)tide_random_below(&random, k % 2 == 0 ? 100000 : 2000000000);
        uint64_t now = 0, gone = 0, most = 0;
        throttle_init(&t);
        throttle_set(&t, 0, rate);
        for (unsigned i = 0; i < 2000; i++) {
            now += tide_random_below(&random, 3 * MS);
            now = TIDE_MAX(now, throttle_deadline_ns(&t, 1));
            uint64_t room = throttle_room(&t, now);
            uint64_t step = room != 0 ? 1 + tide_random_below(&random, 3 * room) : 0;
            gone += step;
            most = TIDE_MAX(most, step);
            throttle_take(&t, step);
            throttle_check(&t);
        }
        uint64_t allowed = (uint64_t)((unsigned __int128)(uint64_t)rate * now / TIDE_NS_PER_S);
        assert_true(gone <= allowed + (uint64_t)t.burst + most);
        assert_true(gone + (uint64_t)t.burst + most + 2000 >= allowed); /* it did not stand still for longer than a burst takes */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_it_fills_up_to_a_burst),
        cmocka_unit_test(test_what_is_owed_is_waited_for),
        cmocka_unit_test(test_nothing_at_all),
        cmocka_unit_test(test_the_pace_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
