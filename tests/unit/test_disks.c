/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <errno.h>

#include "node/disks.h"
#include "tidemark/types.h"

enum { T0 = 1000000, RECOVER = 5000 };

static struct disks d;

static int setup(void **state)
{
    (void)state;
    disks_init(&d, 2, RECOVER);
    return 0;
}

/* The probe that is due now, of the second directory, ends so. */
static void probe(uint64_t now_ms, int64_t result)
{
    uint32_t dir;
    assert_true(disks_take_probe(&d, now_ms, &dir));
    assert_int_equal(dir, 1);
    assert_true(disks_are_probed(&d));
    assert_false(disks_take_probe(&d, now_ms, &dir)); /* K1 */
    disks_on_probe(&d, now_ms, 1, result);
    assert_false(disks_are_probed(&d));
}

static void one_failure_is_the_replicas_own(void **state)
{
    uint32_t dir;
    (void)state;
    assert_false(disks_take_probe(&d, T0, &dir));
    disks_on_failure(&d, T0, 1, false);
    probe(T0, 0);
    assert_false(disks_is_offline(&d, 1));
    assert_false(disks_take_probe(&d, T0 + 100000, &dir));
}

static void a_probe_that_fails_ends_it(void **state)
{
    (void)state;
    disks_on_failure(&d, T0, 1, false);
    probe(T0, -EROFS);
    assert_true(disks_is_offline(&d, 1));
    assert_false(disks_is_offline(&d, 0));
}

static void a_log_that_goes_on_failing_ends_it(void **state)
{
    (void)state;
    disks_on_failure(&d, T0, 1, true);
    assert_true(disks_is_offline(&d, 1));
}

static void a_full_disk_is_no_failure(void **state)
{
    static const int64_t elsewhere[] = {-ENOSPC, -EDQUOT, -ENOMEM, -EMFILE, -ENFILE};
    (void)state;
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(elsewhere); i++) {
        disks_on_failure(&d, T0 + i, 1, false);
        probe(T0 + i, elsewhere[i]);
        assert_false(disks_is_offline(&d, 1));
    }
}

/* Well for the whole time, by its last probe as well. */
static void it_comes_back_when_it_was_well_for_a_while(void **state)
{
    uint64_t now = T0;
    uint32_t dir;
    (void)state;
    disks_on_failure(&d, now, 1, true);
    probe(now, -EIO);
    assert_false(disks_take_probe(&d, now + DISKS_PROBE_MS - 1, &dir));
    for (now += DISKS_PROBE_MS; now < T0 + 20000; now += DISKS_PROBE_MS) {
        probe(now, -EIO);
        disks_on_time(&d, now);
        assert_true(disks_is_offline(&d, 1));
    }
    probe(now, 0);
    disks_on_time(&d, T0 + 19000 + RECOVER - 1); /* it failed last at 19000 */
    assert_true(disks_is_offline(&d, 1));
    disks_on_failure(&d, T0 + 19000 + RECOVER - 1, 1, true); /* the way of the records */
    disks_on_time(&d, T0 + 19000 + RECOVER);
    assert_true(disks_is_offline(&d, 1));
    disks_on_time(&d, T0 + 19000 + 2 * RECOVER - 1);
    assert_false(disks_is_offline(&d, 1));
}

static void without_a_probe_it_does_not_come_back(void **state)
{
    (void)state;
    disks_on_failure(&d, T0, 1, true);
    disks_on_time(&d, T0 + 10 * RECOVER);
    assert_true(disks_is_offline(&d, 1));
    probe(T0 + 10 * RECOVER, 0);
    disks_on_time(&d, T0 + 10 * RECOVER);
    assert_false(disks_is_offline(&d, 1));
}

/* How long it takes from the failure until it is back, to a second. */
static uint64_t away(uint64_t *now)
{
    uint64_t begin = *now;
    disks_on_failure(&d, *now, 1, true);
    probe(*now, 0);
    while (disks_is_offline(&d, 1)) {
        *now += 1000;
        probe(*now, 0);
        disks_on_time(&d, *now);
    }
    return *now - begin;
}

static void again_and_again_takes_longer(void **state)
{
    uint64_t now = T0;
    (void)state;
    assert_int_equal(away(&now), 5000);
    assert_int_equal(away(&now), 10000);
    assert_int_equal(away(&now), 20000);
    for (unsigned i = 0; i < 10; i++)
        assert_true(away(&now) <= DISKS_RECOVER_MAX_MS);
    assert_int_equal(away(&now), DISKS_RECOVER_MAX_MS);
    now += DISKS_ROW_MS;
    assert_int_equal(away(&now), 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(one_failure_is_the_replicas_own, setup),
        cmocka_unit_test_setup(a_probe_that_fails_ends_it, setup),
        cmocka_unit_test_setup(a_log_that_goes_on_failing_ends_it, setup),
        cmocka_unit_test_setup(a_full_disk_is_no_failure, setup),
        cmocka_unit_test_setup(it_comes_back_when_it_was_well_for_a_while, setup),
        cmocka_unit_test_setup(without_a_probe_it_does_not_come_back, setup),
        cmocka_unit_test_setup(again_and_again_takes_longer, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
