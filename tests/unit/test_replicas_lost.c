/* SPDX-License-Identifier: Apache-2.0 */
/* Replicas of which something is gone that was committed: what the cluster is told was lost. */
#include "replicas_world.h"

#include <errno.h>

static void know(int64_t offset)
{
    struct mark m = {.topic_id = {{9, 9}}, .offset = offset, .topic = "t"};
    assert_true(marks_set(&world.c.marks, &m));
}

static uint32_t lost_now(void)
{
    struct cluster_partition_ref ref[2];
    uint32_t count;
    world_make(3, (const int32_t[]){1, 2, 3});
    count = replicas_lost(&world.c, ref, TIDE_ARRAY_LEN(ref));
    assert_true(count <= 1);
    if (count == 1)
        assert_memory_equal(&ref[0].topic_id, &world.c.replicas[0]->topic_id, sizeof(ref[0].topic_id));
    return count;
}

static void test_what_is_whole_is_not_lost(void **state)
{
    (void)state;
    know(50);
    assert_int_equal(lost_now(), 0);
    assert_int_equal(world.high_watermark, 50);
}

static void test_what_ends_early_is_lost(void **state)
{
    (void)state;
    world.ends_early = true;
    assert_int_equal(lost_now(), 1);
}

static void test_what_cannot_be_opened_is_lost(void **state)
{
    (void)state;
    world.open_result = -EIO;
    assert_int_equal(lost_now(), 1);
    world.open_result = 0;
    world_wait_ms(200);
}

/* The time of the next try comes, and it is under way. */
static void try_again(uint64_t ms)
{
    world.c.now_ns += ms * TIDE_NS_PER_MS;
    (void)replicas_tick(&world.c);
    assert_int_equal(world_state(), REPLICA_OPENING);
}

static void test_what_is_being_tried_again_is_lost(void **state)
{
    struct cluster_partition_ref ref;
    (void)state;
    world.open_result = -EIO;
    world_make(3, (const int32_t[]){2, 1, 3});
    try_again(100);
    assert_true(replicas_recovered(&world.c)); /* a disk that makes nothing but tries keeps nobody from registering */
    assert_int_equal(replicas_lost(&world.c, &ref, 1), 1);
    world.open_result = 0;
    world_turn();
    world_wait_ms(200);
}

/* It would be led again by an unclean election only. */
static void test_the_last_one_is_given_time(void **state)
{
    struct cluster_partition_ref ref;
    (void)state;
    world.open_result = -EIO;
    world_make(1, (const int32_t[]){1});
    assert_false(replicas_recovered(&world.c));
    world_wait_ms(100);
    assert_false(replicas_recovered(&world.c));
    world.open_result = 0;
    world_wait_ms(200);
    assert_true(replicas_recovered(&world.c));
    assert_int_equal(replicas_lost(&world.c, &ref, 1), 0);
}

static void test_the_last_one_is_not_waited_for_for_ever(void **state)
{
    struct cluster_partition_ref ref;
    (void)state;
    world.open_result = -EIO;
    world_make(1, (const int32_t[]){1});
    for (uint64_t ms = 100; ms <= 800; ms *= 2) {
        assert_false(replicas_recovered(&world.c));
        world_wait_ms(ms);
    }
    try_again(1600);
    assert_false(replicas_recovered(&world.c));
    world_turn();
    assert_true(replicas_recovered(&world.c));
    assert_int_equal(replicas_lost(&world.c, &ref, 1), 1);
    world.open_result = 0;
    world_wait_ms(3200);
}

static void test_what_was_served_and_is_gone_is_lost(void **state)
{
    (void)state;
    world.absent = true;
    know(0);
    assert_int_equal(lost_now(), 1);
}

static void test_what_was_on_another_disk_is_lost(void **state)
{
    (void)state;
    world.absent = world.replaced = true;
    assert_int_equal(lost_now(), 1);
}

/* The broker was killed before it could tell: its log is there by now, and empty. */
static void test_what_was_on_another_disk_is_lost_at_the_next_start_too(void **state)
{
    (void)state;
    world.replaced = true;
    assert_int_equal(lost_now(), 1);
}

/* On one of the disks that stayed. */
static void test_what_is_known_is_there_although_another_disk_is_gone(void **state)
{
    (void)state;
    world.replaced = true;
    know(50);
    assert_int_equal(lost_now(), 0);
}

/* The broker was killed right after the topic was made. */
static void test_what_never_was_is_not_lost(void **state)
{
    (void)state;
    world.absent = true;
    assert_int_equal(lost_now(), 0);
    assert_int_equal(world.high_watermark, 0);
}

static void test_what_nobody_counts_on_is_not_lost(void **state)
{
    struct cluster_partition_ref ref;
    (void)state;
    world.ends_early = true;
    assert_int_equal(lost_now(), 1);
    assert_int_equal(replicas_lost(&world.c, &ref, 0), 0);
    world_fence(1, true); /* the others are in sync, it is not */
    assert_int_equal(replicas_lost(&world.c, &ref, 1), 0);
}

static void test_what_is_served_is_noted(void **state)
{
    (void)state;
    world_make(3, (const int32_t[]){1, 2, 3});
    replicas_note_marks(&world.c); /* nobody has been told yet what is missing here */
    assert_int_equal(marks_find(&world.c.marks, &world.c.replicas[0]->topic_id, 0), -1);
    world.c.was_active = true;
    replicas_note_marks(&world.c);
    assert_int_equal(marks_find(&world.c.marks, &world.c.replicas[0]->topic_id, 0), 70);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_what_is_whole_is_not_lost),
        CASE(test_what_ends_early_is_lost),
        CASE(test_what_cannot_be_opened_is_lost),
        CASE(test_what_is_being_tried_again_is_lost),
        CASE(test_the_last_one_is_given_time),
        CASE(test_the_last_one_is_not_waited_for_for_ever),
        CASE(test_what_was_served_and_is_gone_is_lost),
        CASE(test_what_was_on_another_disk_is_lost),
        CASE(test_what_was_on_another_disk_is_lost_at_the_next_start_too),
        CASE(test_what_is_known_is_there_although_another_disk_is_gone),
        CASE(test_what_never_was_is_not_lost),
        CASE(test_what_nobody_counts_on_is_not_lost),
        CASE(test_what_is_served_is_noted),
    };
    return cmocka_run_group_tests(tests, world_open, NULL);
}
