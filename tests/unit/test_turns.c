/* SPDX-License-Identifier: Apache-2.0 */
/* How long turns take, and which was the longest. */
#include "core/turns.h"
#include "tidemark/types.h"
#include "unit.h"

enum { US = 1000 };

static struct turns turns;
static struct turn longest;

static void turn(uint64_t begun_s, uint64_t took_us, uint32_t requests)
{
    struct turn t = {.begun_ns = begun_s * TIDE_NS_PER_S, .took_ns = took_us * US, .work = {[TURN_WORK_requests] = requests}};
    turns_on_end(&turns, &t);
    turns_check(&turns);
}

/* The longest as one sees it in that second: how long, and whose. */
static void expect_longest(uint64_t now_s, uint64_t us, uint32_t requests)
{
    turns_longest(&turns, now_s * TIDE_NS_PER_S, &longest);
    assert_int_equal(longest.took_ns, us * US);
    assert_int_equal(longest.work[TURN_WORK_requests], requests);
}

static int setup(void **state)
{
    turns = (struct turns){0};
    return 0;
}

static void test_lengths_and_stalls(void **state)
{
    turn(100, 10, 1);
    turn(100, TURN_STALL_US - 1, 1);
    turn(100, TURN_STALL_US, 1);
    turn(100, 5 * TURN_STALL_US, 1);
    assert_int_equal(tide_histogram_count(&turns.lengths), 4);
    assert_int_equal(turns.lengths.max_ns, 5 * TURN_STALL_US * US);
    assert_int_equal(tide_pub64_peek(&turns.stalls), 2);
}

static void test_the_longest_is_remembered_for_a_while(void **state)
{
    expect_longest(100, 0, 0);
    turn(100, 50, 1);
    turn(101, 400, 2);
    turn(102, 300, 3);
    expect_longest(102, 400, 2);
    turn(111, 100, 4); /* another period: that of the one before still counts */
    expect_longest(111, 400, 2);
    turn(115, 200, 5);
    expect_longest(115, 400, 2);
    turn(122, 20, 6);
    expect_longest(122, 200, 5);
}

/* A core that was stopped while it wrote does not stop who looks. */
static void test_a_core_that_stands_still(void **state)
{
    turn(100, 50, 1);
    tide_pub64_set(&turns.version, tide_pub64_own(&turns.version) + 1);
    expect_longest(100, 0, 0);
}

/* A core that sleeps begins no period; what it did long ago is not told. */
static void test_an_idle_core_has_none(void **state)
{
    turn(100, 50, 1);
    turn(101, 400, 2);
    expect_longest(119, 400, 2);
    expect_longest(121, 0, 0);
    turn(200, 5, 7); /* nor does it come back */
    expect_longest(200, 5, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_lengths_and_stalls, setup),
        cmocka_unit_test_setup(test_the_longest_is_remembered_for_a_while, setup),
        cmocka_unit_test_setup(test_a_core_that_stands_still, setup),
        cmocka_unit_test_setup(test_an_idle_core_has_none, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
