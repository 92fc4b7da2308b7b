/* SPDX-License-Identifier: Apache-2.0 */
/* Quantiles of /metrics: of what came since the look before the last. */
#include "daemon/stage_metrics.h"
#include "tidemark/types.h"
#include "unit.h"

static struct stage_window w;
static struct tide_histogram in;

static void add(uint64_t ns, unsigned count)
{
    while (count-- != 0)
        tide_histogram_add(&w.now, ns);
}

static void test_a_window(void **state)
{
    w = (struct stage_window){0};
    add(1000, 100);
    stage_window_of(&w, &in);
    assert_int_equal(tide_histogram_count(&in), 100); /* before the first look: everything */
    stage_window_look(&w);
    add(2000, 10);
    stage_window_of(&w, &in);
    assert_int_equal(tide_histogram_count(&in), 110);
    stage_window_look(&w);
    stage_window_of(&w, &in);
    assert_int_equal(tide_histogram_count(&in), 10); /* the first hundred are too old */
    assert_int_equal(in.sum_ns, 20000);
    assert_int_equal(tide_histogram_bucket(tide_histogram_quantile(&in, 500000)), tide_histogram_bucket(2000));
    stage_window_look(&w);
    stage_window_of(&w, &in);
    assert_int_equal(tide_histogram_count(&in), 0);
    assert_int_equal(in.max_ns, 0);
}

static void test_the_longest_of_a_window(void **state)
{
    w = (struct stage_window){0};
    add(5 * TIDE_NS_PER_S, 1);
    stage_window_of(&w, &in);
    assert_int_equal(in.max_ns, 5 * TIDE_NS_PER_S); /* exact, as it is the longest ever */
    stage_window_look(&w);
    stage_window_look(&w);
    add(70000, 1);
    stage_window_of(&w, &in);
    assert_int_equal(in.max_ns, tide_histogram_floor(tide_histogram_bucket(70000)));
}

static void test_looks_are_ten_seconds_apart(void **state)
{
    uint64_t looked = 0, start = 77;
    assert_true(stage_window_is_due(&looked, start));
    assert_false(stage_window_is_due(&looked, start + STAGE_WINDOW_S * TIDE_NS_PER_S - 1));
    assert_true(stage_window_is_due(&looked, start + STAGE_WINDOW_S * TIDE_NS_PER_S));
    assert_false(stage_window_is_due(&looked, start + STAGE_WINDOW_S * TIDE_NS_PER_S + 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_window),
        cmocka_unit_test(test_the_longest_of_a_window),
        cmocka_unit_test(test_looks_are_ten_seconds_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
