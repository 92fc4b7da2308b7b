/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "control/stalls.h"

enum { CORES = 3, TIMEOUT = 300, STEP = 50, LIMIT = TIMEOUT + STALLS_SLEEP_MS };

static struct stalls s;
static uint64_t turns[CORES];

/* Looks from `from` to `to`; those of `turning` (bits) turn before each. Returns when one was first found to stand still, 0: never. */
static uint64_t pass(uint64_t from, uint64_t to, uint32_t turning)
{
    for (uint64_t t = from; t <= to; t += STEP) {
        for (uint32_t i = 0; i < CORES; i++) {
            turns[i] += turning >> i & 1;
            stalls_on_look(&s, t, i, turns[i], false);
        }
        if (stalls_is(&s, t, CORES, TIMEOUT))
            return t;
    }
    return 0;
}

static int setup(void **state)
{
    memset(&s, 0, sizeof(s));
    memset(turns, 0, sizeof(turns));
    return 0;
}

static void cores_that_turn(void **state)
{
    assert_false(stalls_is(&s, 100000, CORES, TIMEOUT)); /* never looked at */
    assert_int_equal(pass(1000, 20000, 7), 0);
}

/* It may be asleep, and looks around in between. */
static void a_core_that_sleeps(void **state)
{
    for (uint64_t t = 1000; t < 20000; t += STALLS_SLEEP_MS)
        assert_int_equal(pass(t, t + STALLS_SLEEP_MS - STEP, t / STALLS_SLEEP_MS % 2 == 0 ? 7 : 5), 0);
}

/* Whether it slept when it stopped or not. It is well again with its first turn. */
static void a_core_that_never_comes_back(void **state)
{
    for (uint32_t core = 0; core < CORES; core++) {
        assert_int_equal(setup(state), 0);
        assert_int_equal(pass(1000, 2000, 7), 0);
        assert_int_equal(pass(2050, 9000, 7u & ~(1u << core)), 2000 + LIMIT);
        assert_int_equal(pass(9050, 12000, 7), 0);
    }
}

static void a_core_that_never_turned(void **state)
{
    assert_int_equal(pass(1000, 9000, 6), 1000 + LIMIT);
}

/* Control itself was stopped: nobody knows what the cores did meanwhile. */
static void who_looks_late_blames_nobody(void **state)
{
    assert_int_equal(pass(1000, 2000, 7), 0);
    for (uint32_t i = 0; i < CORES; i++)
        stalls_on_look(&s, 50000, i, turns[i], true);
    assert_false(stalls_is(&s, 50000, CORES, TIMEOUT));
    assert_int_equal(pass(50050, 60000, 3), 50000 + LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(cores_that_turn, setup),
        cmocka_unit_test_setup(a_core_that_sleeps, setup),
        cmocka_unit_test_setup(a_core_that_never_comes_back, setup),
        cmocka_unit_test_setup(a_core_that_never_turned, setup),
        cmocka_unit_test_setup(who_looks_late_blames_nobody, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
