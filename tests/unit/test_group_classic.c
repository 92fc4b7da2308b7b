/* SPDX-License-Identifier: Apache-2.0 */
/* The classic protocol: states, members, timers. */
#include "group_world.h"

static struct group_world w;

static int setup(void **state)
{
    group_world_open(&w);
    return 0;
}

static int teardown(void **state)
{
    group_world_close(&w);
    return 0;
}

/* A member that was given its id and came back with it; its answer waits under the cookie. */
static void come(uintptr_t cookie, const char *group, const char *metadata, char ret_id[GROUP_WORLD_NAME])
{
    struct join_got got;
    struct join_ask j = {.group = group, .v = 9, .metadata = {metadata}};
    assert_int_equal(group_world_join(&w, cookie, &j), TIDE_OK);
    group_world_joined(&w, cookie, 9, &got);
    assert_int_equal(got.error, KAFKA_MEMBER_ID_REQUIRED);
    strcpy(ret_id, got.member);
    j.member = ret_id;
    assert_int_equal(group_world_join(&w, cookie, &j), TIDE_OK);
}

static const char *state_of(const char *group)
{
    const struct group *at;
    TAILQ_FOREACH (at, &w.g->all, all)
        if (at->id->len == strlen(group) && memcmp(at->id->at, group, at->id->len) == 0)
            return at->kind->state(at);
    return "Dead";
}

/* Two members in a stable group of one generation; the first one leads. */
static void two(const char *group, char a[GROUP_WORLD_NAME], char b[GROUP_WORLD_NAME], int32_t *ret_generation)
{
    struct join_got got;
    char part[GROUP_WORLD_NAME];
    come(1, group, "ma", a);
    group_world_pass(&w, 0); /* the initial delay of none */
    group_world_joined(&w, 1, 9, &got);
    assert_int_equal(got.error, 0);
    come(2, group, "mb", b);
    assert_string_equal(state_of(group), "PreparingRebalance");
    assert_int_equal(group_world_heartbeat(&w, group, a, NULL, got.generation), KAFKA_REBALANCE_IN_PROGRESS);
    assert_int_equal(group_world_join(&w, 1, &(struct join_ask){.group = group, .member = a, .v = 9, .metadata = {"ma"}}), TIDE_OK);
    group_world_joined(&w, 1, 9, &got);
    assert_string_equal(got.leader, a);
    assert_int_equal(got.members, 2);
    group_world_joined(&w, 2, 9, &got);
    assert_int_equal(got.members, 0);
    assert_string_equal(got.leader, a);
    *ret_generation = got.generation;
    assert_int_equal(group_world_sync(&w, 2, &(struct sync_ask){.group = group, .member = b, .generation = got.generation, .v = 5}), TIDE_OK);
    assert_false(group_world_has(&w, 2));
    assert_int_equal(group_world_sync(&w, 1, &(struct sync_ask){.group = group, .member = a, .generation = got.generation, .v = 5, .to = {a, b},
                                                                .parts = {"part a", "part b"}}), TIDE_OK);
    assert_int_equal(group_world_synced(&w, 1, 5, part), 0);
    assert_string_equal(part, "part a");
    assert_int_equal(group_world_synced(&w, 2, 5, part), 0);
    assert_string_equal(part, "part b");
    assert_string_equal(state_of(group), "Stable");
}

static void test_two_members(void **state)
{
    char a[GROUP_WORLD_NAME], b[GROUP_WORLD_NAME];
    int32_t generation;
    two("g", a, b, &generation);
    assert_int_equal(generation, 2);
    assert_int_equal(group_world_heartbeat(&w, "g", a, NULL, generation), 0);
    assert_int_equal(group_world_leave(&w, "g", a), 0);
    assert_string_equal(state_of("g"), "PreparingRebalance");
    assert_int_equal(group_world_leave(&w, "g", b), 0);
    assert_string_equal(state_of("g"), "Empty");
}

static void test_offsets(void **state)
{
    assert_int_equal(group_world_fetch(&w, "g", "events", 3), -1);
    assert_int_equal(group_world_commits(&w, &(struct commit_ask){.group = "g", .topic = "events", .partition = 3, .offset = 17, .generation = -1}), 0);
    assert_int_equal(group_world_fetch(&w, "g", "events", 3), 17);
    group_world_reload(&w);
    assert_int_equal(group_world_fetch(&w, "g", "events", 3), 17);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_two_members, setup, teardown),
        cmocka_unit_test_setup_teardown(test_offsets, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
