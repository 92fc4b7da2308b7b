/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "partition/watermark.h"
#include "tidemark/random.h"

static struct watermark w;

/* An epoch that begins at 100, with `replicas` replicas and an ISR. */
static void begin(uint32_t replicas, uint32_t isr, uint32_t min, bool durable)
{
    memset(&w, 0, sizeof(w));
    watermark_begin(&w, 3, 10, 100, 100, 90, replicas, isr);
    for (uint32_t i = 1; i < TIDE_REPLICAS_MAX; i++)
        watermark_listen(&w, i);
    watermark_configure(&w, min, durable);
}

static void test_an_epoch_begins(void **state)
{
    begin(3, 1, 1, true);
    assert_int_equal(watermark_log_end(&w), 100);
    assert_int_equal(watermark_durable_end(&w), 100);
    assert_int_equal(watermark_high(&w), 90);
    assert_int_equal(watermark_stable(&w), 90);
    assert_int_equal(watermark_counted(&w), 100);
    assert_true(watermark_evaluate(&w));
    assert_int_equal(watermark_high(&w), 100);
    assert_false(watermark_evaluate(&w));
    watermark_check(&w);
}

static void test_what_counts(void **state)
{
    for (int durable = 0; durable < 2; durable++) {
        begin(1, 1, 1, durable);
        watermark_appended(&w, 120);
        assert_int_equal(watermark_counted(&w), durable ? 100 : 120);
        assert_true(watermark_evaluate(&w));
        assert_int_equal(watermark_high(&w), durable ? 100 : 120);
        watermark_durable(&w, 110);
        assert_int_equal(watermark_counted(&w), durable ? 110 : 120);
        assert_int_equal(watermark_evaluate(&w), durable);
        assert_int_equal(watermark_high(&w), durable ? 110 : 120);
        assert_int_equal(watermark_stable(&w), watermark_high(&w));
        watermark_check(&w);
    }
}

/* The minimum over the maximal ISR: committed and proposed. */
static void test_the_slowest_member_decides(void **state)
{
    static const struct {
        uint32_t committed, proposed;
        int64_t own, first, second;
        int64_t high;
    } cases[] = {
        {1, 0, 200, 0, 0, 200},
        {3, 0, 200, 150, 0, 150},
        {3, 0, 150, 200, 0, 150}, /* never beyond our own */
        {7, 0, 200, 150, 140, 140},
        {5, 0, 200, 110, 140, 140},
        {1, 3, 200, 150, 0, 150}, /* a grow that is not answered counts already */
        {3, 1, 200, 150, 0, 150}, /* a shrink does not yet */
        {3, 0, 200, 80, 0, 90},   /* never falls */
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        begin(3, cases[i].committed, 1, true);
        watermark_appended(&w, cases[i].own);
        watermark_durable(&w, cases[i].own);
        if (cases[i].proposed != 0)
            watermark_propose_isr(&w, cases[i].proposed);
        (void)watermark_acknowledged(&w, 1, cases[i].first, cases[i].first);
        (void)watermark_acknowledged(&w, 2, cases[i].second, cases[i].second);
        (void)watermark_evaluate(&w);
        assert_int_equal(watermark_high(&w), cases[i].high);
        watermark_check(&w);
    }
}

static void test_a_shrink_that_is_committed_counts(void **state)
{
    begin(3, 7, 1, true);
    watermark_appended(&w, 200);
    watermark_durable(&w, 200);
    (void)watermark_acknowledged(&w, 1, 180, 180);
    assert_false(watermark_evaluate(&w));
    watermark_propose_isr(&w, 3);
    assert_false(watermark_evaluate(&w));
    watermark_commit_isr(&w, 3);
    assert_true(watermark_evaluate(&w));
    assert_int_equal(watermark_high(&w), 180);
    watermark_commit_isr(&w, 1);
    assert_true(watermark_evaluate(&w));
    assert_int_equal(watermark_high(&w), 200);
}

/* Whoever is proposed is waited for already: a throttle must leave it alone. */
static void test_who_is_waited_for(void **state)
{
    (void)state;
    begin(3, 3, 1, true);
    assert_true(watermark_waits_for(&w, 1));
    assert_false(watermark_waits_for(&w, 2));
    watermark_propose_isr(&w, 7);
    assert_true(watermark_waits_for(&w, 2));
    watermark_commit_isr(&w, 5);
    assert_true(watermark_waits_for(&w, 2));
    assert_false(watermark_waits_for(&w, 1));
    watermark_propose_isr(&w, 1); /* without it: until that is committed it is waited for */
    assert_true(watermark_waits_for(&w, 2));
}

static void test_min_insync_replicas(void **state)
{
    static const struct {
        uint32_t replicas, isr, min;
        bool met;
    } cases[] = {
        {1, 1, 1, true},
        {1, 1, 2, true}, /* as many as there are */
        {3, 1, 1, true},
        {3, 1, 2, false},
        {3, 3, 2, true},
        {3, 5, 2, true},
        {3, 3, 3, false},
        {3, 7, 16, true},
        {2, 1, 16, false},
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        begin(cases[i].replicas, cases[i].isr, cases[i].min, true);
        assert_int_equal(watermark_min_isr_met(&w), cases[i].met);
        watermark_appended(&w, 150);
        watermark_durable(&w, 150);
        for (uint32_t k = 1; k < cases[i].replicas; k++)
            (void)watermark_acknowledged(&w, k, 150, 150);
        assert_int_equal(watermark_evaluate(&w), cases[i].met); /* W4 */
        assert_int_equal(watermark_high(&w), cases[i].met ? 150 : 90);
    }
}

static void test_old_acknowledgements_are_ignored(void **state)
{
    begin(2, 3, 1, true);
    watermark_appended(&w, 200);
    watermark_durable(&w, 200);
    (void)watermark_acknowledged(&w, 1, 150, 150);
    (void)watermark_acknowledged(&w, 1, 120, 120);
    assert_true(watermark_evaluate(&w));
    assert_int_equal(watermark_high(&w), 150);
    /* A new epoch knows nothing of what was acknowledged in the old one. */
    watermark_begin(&w, 4, 10, 200, 200, 150, 2, 3);
    for (uint32_t i = 1; i < TIDE_REPLICAS_MAX; i++)
        watermark_listen(&w, i);
    assert_false(watermark_evaluate(&w));
    assert_int_equal(watermark_high(&w), 150);
}

/* A model in plain numbers. */
static void test_random_steps(void **state)
{
    struct tide_random r = {5};
    for (unsigned round = 0; round < 200; round++) {
        int64_t log_end = 100, durable = 100, high = 90, acknowledged[3] = {0};
        uint32_t committed = 1, proposed = 0, min = 1 + (uint32_t)tide_random_below(&r, 3);
        begin(3, 1, min, true);
        for (unsigned step = 0; step < 300; step++) {
            uint32_t i = 1 + (uint32_t)tide_random_below(&r, 2);
            int64_t to;
            switch (tide_random_below(&r, 6)) {
            case 0:
                log_end += (int64_t)tide_random_below(&r, 20);
                watermark_appended(&w, log_end);
                break;
            case 1:
                durable += (int64_t)tide_random_below(&r, (uint64_t)(log_end - durable) + 1);
                watermark_durable(&w, durable);
                break;
            case 2:
                to = (int64_t)tide_random_below(&r, (uint64_t)log_end + 1);
                acknowledged[i] = TIDE_MAX(acknowledged[i], to);
                (void)watermark_acknowledged(&w, i, to, to);
                break;
            case 3:
                proposed = 1 | (uint32_t)tide_random_below(&r, 4) << 1;
                watermark_propose_isr(&w, proposed);
                break;
            case 4:
                committed = proposed != 0 ? proposed : committed;
                proposed = 0;
                watermark_commit_isr(&w, committed);
                break;
            default:
                to = durable;
                for (uint32_t k = 1; k < 3; k++)
                    if ((committed | proposed) & 1u << k)
                        to = TIDE_MIN(to, acknowledged[k]);
                bool moves = (uint32_t)__builtin_popcount(committed) >= min && to > high;
                assert_int_equal(watermark_evaluate(&w), moves);
                high = moves ? to : high;
            }
            assert_int_equal(watermark_high(&w), high);
            watermark_check(&w);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_epoch_begins),
        cmocka_unit_test(test_what_counts),
        cmocka_unit_test(test_the_slowest_member_decides),
        cmocka_unit_test(test_a_shrink_that_is_committed_counts),
        cmocka_unit_test(test_who_is_waited_for),
        cmocka_unit_test(test_min_insync_replicas),
        cmocka_unit_test(test_old_acknowledgements_are_ignored),
        cmocka_unit_test(test_random_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
