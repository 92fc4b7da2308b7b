/* SPDX-License-Identifier: Apache-2.0 */
/* Replicas and their directories: where they live, and directories that fail. */
#include "replicas_world.h"

#include <errno.h>

static void test_the_cluster_hears_where_replicas_live(void **state)
{
    struct tide_uuid first;
    (void)state;
    world_with_directories(2);
    dirs_id(NULL, 0, &first);
    world_make(3, (const int32_t[]){1, 2, 3});
    assert_true(tide_uuid_equal(&world_partition()->directories[0], &first));
    assert_false(world.c.dirs_out);
}

static void test_with_one_directory_there_is_nothing_to_tell(void **state)
{
    (void)state;
    world_make(3, (const int32_t[]){1, 2, 3});
    assert_true(tide_uuid_is_zero(&world_partition()->directories[0]));
}

/* The last one that a broker has: it asks to be fenced, and is no more told than that. */
static void test_a_broker_without_a_directory_is_faulty(void **state)
{
    struct node_health h;
    (void)state;
    world_make(3, (const int32_t[]){1, 2, 3});
    world.probe_result = -EROFS;
    world_fail_log();
    (void)world_look(); /* it is probed */
    h = world_look();
    assert_true(h.faulty);
    assert_int_equal(h.offline_count, 0);
    world.probe_result = 0;
    for (unsigned i = 0; i < 7 && h.faulty; i++) {
        world_wait_ms(1000);
        h = world_look();
    }
    assert_false(h.faulty);
}

static void test_a_single_broker_goes_on(void **state)
{
    struct cluster_command m = {.kind = CLUSTER_UNREGISTER_BROKER};
    (void)state;
    for (m.broker.id = 2; m.broker.id <= BROKERS; m.broker.id++) {
        world_fence(m.broker.id, true);
        assert_int_equal(world_give(&m), 0);
    }
    world_make(1, (const int32_t[]){1});
    world.probe_result = -EROFS;
    world_fail_log();
    (void)world_look();
    assert_false(world_look().faulty);
    assert_int_equal(world_partition()->leader, 1);
    world_wait_ms(200);
    assert_int_equal(world_state(), REPLICA_SERVING); /* tried on */
}

/* Others lead; it is out of sync until the directory has been well for a while; then it is registered again. */
static void test_a_directory_that_fails_and_is_well_again(void **state)
{
    struct node_health h;
    (void)state;
    world_with_directories(2);
    world_make(3, (const int32_t[]){1, 2, 3});
    world.probe_result = -EIO;
    world_fail_log();
    (void)world_look();
    h = world_look();
    assert_false(h.faulty);
    assert_int_equal(h.offline_count, 1);
    assert_true(world.placed_aside[0]);
    assert_int_equal(cluster_find_broker(world_cluster(), 1)->directory_count, 1);
    assert_int_equal(world_partition()->leader, 2);
    assert_int_equal(world_partition()->isr_count, 2);
    assert_false(cluster_can_lead(world_cluster(), world_partition(), 1));
    world.probe_result = 0;
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(cluster_find_broker(world_cluster(), 1)->directory_count, 1);
        world_wait_ms(1000);
        h = world_look();
    }
    assert_int_equal(h.offline_count, 0);
    assert_false(world.placed_aside[0]);
    assert_int_equal(cluster_find_broker(world_cluster(), 1)->directory_count, 2);
    assert_true(cluster_can_lead(world_cluster(), world_partition(), 1));
    assert_false(world.c.dirs_out);
    world_decide();
    world_turn();
}

static void test_a_full_disk_is_no_failure_of_its_directory(void **state)
{
    (void)state;
    world_with_directories(2);
    world_make(3, (const int32_t[]){1, 2, 3});
    world.probe_result = -ENOSPC;
    world_fail_log();
    (void)world_look();
    assert_int_equal(world_look().offline_count, 0);
    world_decide();
    world_turn();
}

/* It opens and can be probed, and what is written comes to nothing. */
static void test_a_log_that_goes_on_failing_ends_its_directory(void **state)
{
    (void)state;
    world_with_directories(2);
    world_make(3, (const int32_t[]){2, 1, 3});
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(world_look().offline_count, 0);
        assert_int_equal(world_state(), REPLICA_SERVING);
        world_fail_log();
        world_turn();
        world_wait_ms(400);
    }
    assert_int_equal(world_look().offline_count, 1);
}

/* What it holds is not what its leader has: the directory has nothing to do with it. */
static void test_a_replica_of_no_use_says_nothing_of_its_directory(void **state)
{
    (void)state;
    world_with_directories(2);
    world_make(3, (const int32_t[]){2, 1, 3});
    for (unsigned i = 0; i < 5; i++) {
        replicas_on_failed(&world.c, &(struct mail_failed){.partition = world.c.replicas[0]->partition});
        world_turn();
        world_wait_ms(30000);
        assert_int_equal(world_look().offline_count, 0);
    }
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_the_cluster_hears_where_replicas_live),
        CASE(test_with_one_directory_there_is_nothing_to_tell),
        CASE(test_a_broker_without_a_directory_is_faulty),
        CASE(test_a_single_broker_goes_on),
        CASE(test_a_directory_that_fails_and_is_well_again),
        CASE(test_a_full_disk_is_no_failure_of_its_directory),
        CASE(test_a_log_that_goes_on_failing_ends_its_directory),
        CASE(test_a_replica_of_no_use_says_nothing_of_its_directory),
    };
    return cmocka_run_group_tests(tests, world_open, NULL);
}
