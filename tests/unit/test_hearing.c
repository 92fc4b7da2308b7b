/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster_world.h"
#include "node/hearing.h"

#define MS TIDE_NS_PER_MS
#define T0 (1000 * TIDE_NS_PER_S)
#define TIMEOUT (500 * MS)
#define DUE (T0 + HEARING_GRACE_NS)

static struct hearing h;
static struct health_silence silent[HEALTH_SILENT_MAX];

/* The brokers that are silent, as "2 5". */
static const char *silent_at(uint64_t now_ns)
{
    static char text[256];
    uint32_t count = hearing_silent(&h, now_ns, TIMEOUT, silent);
    text[0] = '\0';
    for (uint32_t i = 0; i < count; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%d", i == 0 ? "" : " ", (int)silent[i].broker);
    return text;
}

static int setup(void **state)
{
    world_setup(state);
    hearing_init(&h, 1);
    return 0;
}

/* ---- who is expected -------------------------------------------------------------------------------------- */

static void nobody_is_expected_without_a_partition_in_common(void **state)
{
    assert_int_equal(make_topic("t", "2,5", NULL), 0);
    assert_int_equal(make_topic("u", "1", NULL), 0);
    hearing_on_metadata(&h, T0, c);
    assert_string_equal(silent_at(T0 + 60 * TIDE_NS_PER_S), "");
}

static void a_leader_expects_its_followers(void **state)
{
    assert_int_equal(make_topic("t", "1,2,5", NULL), 0);
    hearing_on_metadata(&h, T0, c);
    assert_string_equal(silent_at(DUE + TIMEOUT), "2 5");
}

/* Two followers have no stream between them. */
static void a_follower_expects_its_leader_only(void **state)
{
    assert_int_equal(make_topic("t", "2,1,5", NULL), 0);
    hearing_on_metadata(&h, T0, c);
    assert_string_equal(silent_at(DUE + TIMEOUT), "2");
}

static void who_is_fenced_is_not_expected(void **state)
{
    assert_int_equal(make_topic("t", "1,2,5", NULL), 0);
    hearing_on_metadata(&h, T0, c);
    assert_int_equal(broker_command(CLUSTER_FENCE_BROKER, 5, true), 0);
    hearing_on_metadata(&h, T0, c);
    assert_string_equal(silent_at(DUE + TIMEOUT), "2");
}

static void who_begins_to_be_expected_has_time_to_come(void **state)
{
    assert_int_equal(make_topic("t", "1,2", NULL), 0);
    hearing_on_metadata(&h, T0, c);
    assert_string_equal(silent_at(DUE + TIMEOUT - 1), "");
    assert_string_equal(silent_at(DUE + TIMEOUT), "2");
}

/* What was heard of the last process says nothing of this one, and its silence neither. */
static void a_new_process_has_time_to_come(void **state)
{
    uint64_t later = T0 + 60 * TIDE_NS_PER_S;
    assert_int_equal(make_topic("t", "1,2", NULL), 0);
    hearing_on_metadata(&h, T0, c);
    assert_string_equal(silent_at(later), "2");
    kill_and_restart(2, false);
    activate(2);
    hearing_on_metadata(&h, later, c);
    assert_string_equal(silent_at(later + HEARING_GRACE_NS), "");
    assert_string_equal(silent_at(later + HEARING_GRACE_NS + TIMEOUT), "2");
}

/* Other changes do not begin the time anew, or a busy cluster would never find anybody silent. */
static void a_change_elsewhere_does_not_excuse(void **state)
{
    assert_int_equal(make_topic("t", "1,2", NULL), 0);
    hearing_on_metadata(&h, T0, c);
    assert_int_equal(make_topic("u", "1,5", NULL), 0);
    hearing_on_metadata(&h, DUE, c);
    assert_string_equal(silent_at(DUE + TIMEOUT), "2");
}

/* The leadership that moved between the two leaves the stream where it was, with the other end dialling. */
static void a_leadership_that_moves_does_not_excuse(void **state)
{
    assert_int_equal(make_topic("t", "1,2", NULL), 0);
    hearing_on_metadata(&h, T0, c);
    assert_int_equal(broker_command(CLUSTER_SET_DATA_SUSPECT, 1, true), 0);
    expect_picture("t", 0, "2/1 [1,2]");
    hearing_on_metadata(&h, DUE, c);
    assert_string_equal(silent_at(DUE + TIMEOUT), "2");
}

/* ---- who is silent ------------------------------------------------------------------------------------------ */

static void one_direction_is_enough(void **state)
{
    uint64_t now = DUE + 10 * TIDE_NS_PER_S;
    assert_int_equal(make_topic("t", "1,2,5", NULL), 0);
    hearing_on_metadata(&h, T0, c);
    hearing_on_signs(&h, 2, now, now);
    hearing_on_signs(&h, 5, now, now);
    assert_string_equal(silent_at(now + TIMEOUT - 1), "");
    hearing_on_signs(&h, 2, now + TIMEOUT, now);
    hearing_on_signs(&h, 5, now, now + TIMEOUT);
    assert_string_equal(silent_at(now + TIMEOUT), "2 5");
    assert_int_equal(silent[0].heard_ms, 0);
    assert_int_equal(silent[0].confirmed_ms, 500);
    assert_int_equal(silent[1].heard_ms, 500);
    assert_int_equal(silent[1].confirmed_ms, 0);
}

/* Each core has streams of its own: the youngest sign counts. */
static void one_stream_of_several_is_enough(void **state)
{
    uint64_t now = DUE + 10 * TIDE_NS_PER_S;
    assert_int_equal(make_topic("t", "1,2", NULL), 0);
    hearing_on_metadata(&h, T0, c);
    hearing_on_signs(&h, 2, now, now);
    hearing_on_signs(&h, 2, now - 5 * TIDE_NS_PER_S, now - 5 * TIDE_NS_PER_S);
    assert_string_equal(silent_at(now), "");
}

static void signs_of_others_are_nothing(void **state)
{
    assert_int_equal(make_topic("t", "1,2", NULL), 0);
    hearing_on_metadata(&h, T0, c);
    hearing_on_signs(&h, 7, DUE, DUE);
    hearing_check(&h);
    assert_string_equal(silent_at(DUE + TIMEOUT), "2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nobody_is_expected_without_a_partition_in_common, setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_leader_expects_its_followers, setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_follower_expects_its_leader_only, setup, world_teardown),
        cmocka_unit_test_setup_teardown(who_is_fenced_is_not_expected, setup, world_teardown),
        cmocka_unit_test_setup_teardown(who_begins_to_be_expected_has_time_to_come, setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_new_process_has_time_to_come, setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_change_elsewhere_does_not_excuse, setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_leadership_that_moves_does_not_excuse, setup, world_teardown),
        cmocka_unit_test_setup_teardown(one_direction_is_enough, setup, world_teardown),
        cmocka_unit_test_setup_teardown(one_stream_of_several_is_enough, setup, world_teardown),
        cmocka_unit_test_setup_teardown(signs_of_others_are_nothing, setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
