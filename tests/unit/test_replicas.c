/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a replica on control's side: what happens when its log fails or rots, and when what was acknowledged from
 * memory is gone.
 */
#include "replicas_world.h"

#include <errno.h>

static void test_a_failed_leader_is_not_opened_before_another_leads(void **state)
{
    (void)state;
    world_make(3, (const int32_t[]){1, 2, 3});
    assert_int_equal(world_state(), REPLICA_SERVING);
    assert_int_equal(world_partition()->leader, 1);
    world_fail_log();
    assert_int_equal(world.asked, 1); /* at once */
    assert_int_equal(world.asked_epoch, 0);
    world_turn();
    world_wait_ms(60000);
    assert_int_equal(world_state(), REPLICA_FAILED); /* as a leader of the same epoch it would cut what others have */
    assert_int_equal(world.asked, 1);
    assert_int_equal(replicas_retry_ms(&world.c), UINT64_MAX); /* the answer wakes, not the clock */
    world_decide();
    assert_int_equal(world_partition()->leader, 2);
    world_turn();
    assert_int_equal(world_state(), REPLICA_SERVING);
    assert_int_equal(world.c.replicas[0]->role_epoch, world_partition()->partition_epoch); /* as a follower */
    assert_int_equal(world.asked, 1);
}

static void test_a_failed_leader_without_others_leads_again(void **state)
{
    (void)state;
    world_make(1, (const int32_t[]){1});
    world_fail_log();
    world_turn();
    assert_int_equal(world_state(), REPLICA_FAILED);
    world_wait_ms(200);
    assert_int_equal(world_state(), REPLICA_SERVING);
    assert_int_equal(world.asked, 0);
}

/* The other one in sync is away, and so is nobody's leader. */
static void test_the_cluster_may_have_nobody_else(void **state)
{
    struct cluster_command m = {.kind = CLUSTER_SET_DATA_SUSPECT};
    (void)state;
    world_make(2, (const int32_t[]){1, 2});
    m.broker.id = 2;
    m.broker.epoch = cluster_find_broker(world_cluster(), 2)->epoch;
    m.broker.on = true;
    assert_int_equal(world_give(&m), 0);
    world.open_result = -EIO;
    world_fail_log();
    world_turn();
    world_decide();
    assert_int_equal(world_partition()->leader, 1);
    world_wait_ms(200);
    assert_int_equal(world_state(), REPLICA_FAILED); /* it was tried */
    assert_int_equal(world.c.replicas[0]->tries, 1);
    m.broker.on = false;
    assert_int_equal(world_give(&m), 0);
    while (world_partition()->leader == 1) { /* asked with each try, for as long as it takes */
        unsigned asked = world.asked;
        world_wait_ms(30000);
        assert_int_equal(world.asked, asked + 1);
        world_decide();
    }
    assert_int_equal(world_partition()->leader, 2);
    world.open_result = 0;
    world_wait_ms(30000);
    assert_int_equal(world_state(), REPLICA_SERVING);
}

static void test_nobody_answered(void **state)
{
    struct tide_uuid id;
    (void)state;
    world_make(2, (const int32_t[]){1, 2});
    id = world.c.replicas[0]->topic_id;
    world_fail_log();
    world_turn();
    world_wait_ms(200);
    replicas_on_moved(&world.c, &id, 0, 0, KAFKA_REQUEST_TIMED_OUT);
    world_turn();
    assert_int_equal(world.asked, 1);
    world_wait_ms(100);
    assert_int_equal(world_state(), REPLICA_FAILED);
    assert_int_equal(world.asked, 2); /* again, and it is not opened meanwhile */
    world_decide();
    world_turn();
    assert_int_equal(world_state(), REPLICA_SERVING);
    assert_int_equal(world_partition()->leader, 2);
}

/* Who fails to open what he follows may be elected meanwhile. */
static void test_elected_while_failed(void **state)
{
    (void)state;
    world_make(3, (const int32_t[]){2, 1, 3});
    world.open_result = -EIO;
    world_fail_log();
    world_turn();
    world_wait_ms(1000);
    assert_int_equal(world_state(), REPLICA_FAILED);
    assert_int_equal(world.asked, 0);
    world_fence(2, true);
    assert_int_equal(world_partition()->leader, 1);
    world.c.reconcile = true;
    world_turn();
    assert_int_equal(world.asked, 1); /* not only with the next try */
    world_decide();
    assert_int_equal(world_partition()->leader, 3);
}

static void test_elected_while_failed_and_alone(void **state)
{
    (void)state;
    world_make(2, (const int32_t[]){2, 1});
    assert_int_equal(world_partition()->leader, 2);
    world.open_result = -EIO;
    world_fail_log();
    world_wait_ms(1000);
    assert_int_equal(world_state(), REPLICA_FAILED);
    assert_int_equal(world.asked, 0);
    world_fence(2, true);
    assert_int_equal(world_partition()->leader, 1);
    world.c.reconcile = true;
    world_turn();
    assert_int_equal(world.asked, 0); /* alone in sync */
    world.open_result = 0;
    world_wait_ms(30000);
    assert_int_equal(world_state(), REPLICA_SERVING);
}

static void test_the_topic_goes_while_it_is_asked(void **state)
{
    struct cluster_command m = {.kind = CLUSTER_DELETE_TOPIC};
    struct tide_uuid id;
    (void)state;
    world_make(2, (const int32_t[]){1, 2});
    id = world.c.replicas[0]->topic_id;
    world_fail_log();
    world_wait_ms(200);
    assert_int_equal(world_state(), REPLICA_FAILED);
    m.delete_topic = id;
    assert_int_equal(world_give(&m), 0);
    world.c.reconcile = true;
    world_turn();
    assert_int_equal(world_state(), REPLICA_ABSENT);
    replicas_on_moved(&world.c, &id, 0, 0, KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
}

/* Out of the ISR first, then cut, then it may lead again. */
static void test_what_rotted_is_filled_again(void **state)
{
    (void)state;
    world_make(3, (const int32_t[]){1, 2, 3});
    replicas_on_rotten(&world.c, world.c.replicas[0]->partition, 5);
    replicas_on_rotten(&world.c, world.c.replicas[0]->partition, 7);
    assert_int_equal(world.assigned, 1);
    assert_true(tide_uuid_equal(&world.directory, &cluster_directory_lost));
    assert_int_equal(replicas_rotten(&world.c), 1);
    world_wait_ms(1000);
    assert_int_equal(world_state(), REPLICA_SERVING); /* nothing is cut while it counts */
    world_decide_place();
    assert_int_equal(world_partition()->leader, 2);
    assert_false(world_is_in_sync(1));
    world_turn();
    assert_int_equal(world_state(), REPLICA_FAILED);
    assert_int_equal(world.repaired, 0);
    world_wait_ms(200);
    assert_int_equal(world_state(), REPLICA_SERVING);
    assert_int_equal(world.repaired, 1);
    assert_int_equal(replicas_rotten(&world.c), 0);
    assert_int_equal(world.assigned, 2);
    assert_true(world_is_lost());
    world_decide_place();
    assert_false(world_is_lost());
    world_turn();
    assert_int_equal(world.assigned, 2);
    assert_int_equal(replicas_retry_ms(&world.c), UINT64_MAX);
}

/* In the epoch that begins without it the old log acknowledges nothing: it is not told of it. */
static void test_what_is_lost_takes_no_role(void **state)
{
    struct tide_mail *m;
    (void)state;
    world_make(3, (const int32_t[]){2, 1, 3});
    world_fence(3, true);
    replicas_reconcile(&world.c);
    m = world.letter;
    assert_non_null(m); /* the role without 3 is on its way */
    assert_int_equal(m->kind, MAIL_BECOME);
    world.letter = NULL;
    replicas_on_rotten(&world.c, world.c.replicas[0]->partition, 5);
    int32_t before = world_partition()->leader_epoch;
    world_decide_place();
    assert_int_equal(world_partition()->leader, 2);
    assert_int_equal(world_partition()->leader_epoch, before + 1);
    replicas_on_role(&world.c, m);
    assert_null(world.letter);
    world_turn();
    world_wait_ms(200);
    assert_int_equal(world.repaired, 1);
    assert_int_equal(world_state(), REPLICA_SERVING);
    assert_int_equal(world.c.replicas[0]->role_epoch, world_partition()->partition_epoch);
}

/* Nobody else has it: it stays. Somebody comes to have it: then it goes. */
static void test_what_rotted_and_is_nowhere_else(void **state)
{
    const int32_t both[] = {1, 2};
    (void)state;
    world_make(2, both);
    world_fence(2, true);
    world.c.reconcile = true;
    world_turn();
    replicas_on_rotten(&world.c, world.c.replicas[0]->partition, 5);
    world_decide_place();
    for (unsigned i = 0; i < 3; i++) {
        world.c.reconcile = true;
        world_wait_ms(60000);
    }
    assert_int_equal(world_state(), REPLICA_SERVING);
    assert_int_equal(world_partition()->leader, 1);
    assert_int_equal(world.assigned, 1);
    assert_int_equal(replicas_rotten(&world.c), 1);
    world_fence(2, false);
    world_want_isr(1, both, 2);
    world.c.reconcile = true;
    world_turn();
    assert_int_equal(world.assigned, 2);
    world_decide_place();
    assert_int_equal(world_partition()->leader, 2);
    world_turn();
    world_wait_ms(200);
    assert_int_equal(world.repaired, 1);
    assert_int_equal(world_state(), REPLICA_SERVING);
}

/* Recovery met it, and did not open the log. */
static void test_what_rotted_while_it_was_down(void **state)
{
    (void)state;
    world.open_result = -EBADMSG;
    world_make(3, (const int32_t[]){2, 1, 3});
    world_wait_ms(100);
    assert_int_equal(world_state(), REPLICA_FAILED);
    assert_int_equal(world.assigned, 1);
    world_wait_ms(60000);
    assert_int_equal(world.repaired, 0);
    replicas_on_assigned(&world.c, &world.c.replicas[0]->topic_id, 0, world.assigned_epoch, KAFKA_REQUEST_TIMED_OUT);
    world_wait_ms(200);
    assert_int_equal(world.assigned, 2);
    world_decide_place();
    assert_false(world_is_in_sync(1));
    world_turn();
    assert_int_equal(world_state(), REPLICA_SERVING);
    assert_int_equal(world.repaired, 1);
    assert_int_equal(world.assigned, 3);
    world_decide_place();
    assert_false(world_is_lost());
}

/* The process that gave it up is not the one that opened it. */
static void test_put_down_as_lost_by_an_earlier_life(void **state)
{
    (void)state;
    world_make(3, (const int32_t[]){1, 2, 3});
    assert_int_equal(world_put(1, &cluster_directory_lost), 0);
    world.c.reconcile = true;
    world_turn();
    assert_int_equal(world_state(), REPLICA_SERVING);
    assert_int_equal(world.repaired, 0);
    assert_int_equal(world.assigned, 1);
    world_decide_place();
    assert_false(world_is_lost());
}

/* The mark of a clean stop says that nothing acknowledged is missing. */
static void test_a_failure_leaves_a_clean_stop(void **state)
{
    (void)state;
    world_make(1, (const int32_t[]){1});
    world_fail_log();
    world_turn();
    world_wait_ms(200);
    assert_int_equal(world_state(), REPLICA_SERVING);
    assert_false(world.c.unclean); /* all of it was on the disk */
}

static void test_a_failure_from_memory_leaves_no_clean_stop(void **state)
{
    (void)state;
    world.durability = ACK_DURABILITY_MEMORY;
    world_make(1, (const int32_t[]){1});
    world_fail_log();
    assert_true(world.c.unclean);
}

/* ---- acknowledged from memory ------------------------------------------------------------------------------------ */

/* This process is another one than the cluster knows: the one before was killed. */
static void come_back(void)
{
    world.c.config.incarnation = world_process_of(1, 2);
}

/* Its log may lack what it acknowledged. In the epoch that it led the others would be cut to what is left here; that epoch ends
 * when it registers. */
static void test_who_was_killed_as_leader_leads_no_more(void **state)
{
    (void)state;
    world.durability = ACK_DURABILITY_MEMORY;
    come_back();
    world_make(3, (const int32_t[]){1, 2, 3});
    assert_int_equal(world_partition()->leader, 1);
    for (unsigned i = 0; i < 3; i++) {
        world.c.reconcile = true;
        world_wait_ms(1000);
    }
    assert_int_equal(world_state(), REPLICA_SERVING);
    assert_int_equal(world.c.replicas[0]->role_epoch, -1);
    world_join(1, 2);
    assert_int_equal(world_partition()->leader, 2);
    world.c.reconcile = true;
    world_turn();
    assert_int_equal(world.c.replicas[0]->role_epoch, world_partition()->partition_epoch);
}

/* Nobody is cut to what a follower has. */
static void test_who_was_killed_as_follower_follows_at_once(void **state)
{
    (void)state;
    world.durability = ACK_DURABILITY_MEMORY;
    come_back();
    world_make(3, (const int32_t[]){2, 1, 3});
    assert_int_equal(world.c.replicas[0]->role_epoch, world_partition()->partition_epoch);
}

/* All that it acknowledged is on its disk. */
static void test_from_the_device_a_killed_leader_leads_on(void **state)
{
    (void)state;
    come_back();
    world_make(3, (const int32_t[]){1, 2, 3});
    assert_int_equal(world_partition()->leader, 1);
    assert_int_equal(world.c.replicas[0]->role_epoch, world_partition()->partition_epoch);
}

/* What its log had in memory only is gone: it counts for nothing before it is opened, and is filled again. */
static void test_what_failed_with_records_in_memory_is_lost_first(void **state)
{
    (void)state;
    world.durability = ACK_DURABILITY_MEMORY;
    world_make(3, (const int32_t[]){2, 1, 3});
    world_fail_log();
    for (unsigned i = 0; i < 3; i++)
        world_wait_ms(60000);
    assert_int_equal(world_state(), REPLICA_FAILED); /* nobody answered: it is a member of the ISR still */
    assert_int_equal(world.assigned, 1);
    assert_true(tide_uuid_equal(&world.directory, &cluster_directory_lost));
    assert_int_equal(replicas_retry_ms(&world.c), UINT64_MAX);
    replicas_on_assigned(&world.c, &world.c.replicas[0]->topic_id, 0, world.assigned_epoch, KAFKA_REQUEST_TIMED_OUT);
    world_wait_ms(50);
    assert_int_equal(world.assigned, 1);
    assert_int_equal(world_state(), REPLICA_FAILED);
    world_wait_ms(100);
    assert_int_equal(world.assigned, 2); /* asked again, and not opened meanwhile */
    assert_int_equal(world_state(), REPLICA_FAILED);
    world_decide_place();
    assert_false(world_is_in_sync(1));
    world_turn();
    assert_int_equal(world_state(), REPLICA_SERVING);
    assert_int_equal(world.repaired, 0); /* what is left of it is as it was written */
    assert_int_equal(world.c.replicas[0]->role_epoch, world_partition()->partition_epoch);
    assert_int_equal(world.assigned, 3);
    world_decide_place();
    assert_false(world_is_lost());
    world_turn();
    assert_int_equal(world.assigned, 3);
}

/* Of a leader both is asked: that another one leads, and that it is put down as lost. The latter alone ends its epoch, too. */
static void test_a_leader_that_failed_with_records_in_memory(void **state)
{
    (void)state;
    world.durability = ACK_DURABILITY_MEMORY;
    world_make(3, (const int32_t[]){1, 2, 3});
    world_fail_log();
    world_turn();
    assert_int_equal(world.asked, 1);
    world_decide();
    assert_int_equal(world_partition()->leader, 2);
    assert_true(world_is_in_sync(1));
    world_wait_ms(60000);
    assert_int_equal(world_state(), REPLICA_FAILED);
    assert_int_equal(world.assigned, 1);
    world_decide_place(); /* as of the epoch before, or of this one: what counts is that it has it not */
    assert_false(world_is_in_sync(1));
    world_turn();
    assert_int_equal(world_state(), REPLICA_SERVING);
    world_decide_place();
    assert_false(world_is_lost());
}

/* Then what is left of it is all that there is. */
static void test_what_failed_with_records_in_memory_and_is_nowhere_else(void **state)
{
    (void)state;
    world.durability = ACK_DURABILITY_MEMORY;
    world_make(2, (const int32_t[]){1, 2});
    world_fence(2, true);
    world.c.reconcile = true;
    world_turn();
    world_fail_log();
    world_turn();
    world_wait_ms(1000);
    assert_int_equal(world.assigned, 1);
    assert_int_equal(world_state(), REPLICA_FAILED);
    world_decide_place();
    world_wait_ms(1000);
    assert_int_equal(world_state(), REPLICA_SERVING);
    assert_int_equal(world.assigned, 1);
    assert_int_equal(world_partition()->leader, 1);
}

/* Also in a partition epoch in which it could not be spared before. */
static void test_what_fails_again_with_records_in_memory_is_asked_again(void **state)
{
    (void)state;
    test_what_failed_with_records_in_memory_and_is_nowhere_else(state);
    world_fail_log();
    world_turn();
    world_wait_ms(1000);
    assert_int_equal(world.assigned, 2);
    world_decide_place();
    world_wait_ms(1000);
    assert_int_equal(world_state(), REPLICA_SERVING);
}

static void test_what_failed_from_the_device_is_not_lost(void **state)
{
    (void)state;
    world_make(3, (const int32_t[]){2, 1, 3});
    world_fail_log();
    world_turn();
    world_wait_ms(1000);
    assert_int_equal(world_state(), REPLICA_SERVING);
    assert_int_equal(world.assigned, 0);
    assert_true(world_is_in_sync(1));
}

/* ---- an unclean election that is over --------------------------------------------------------------------------- */

/* 2 leads with less than we have, and has long reported itself recovered, when we hear of it. Unless we are told, we refuse to be cut
 * below what we know as committed, and so does every later process of ours. */
static void test_an_unclean_epoch_is_told_afterwards(void **state)
{
    struct cluster_command m = {.kind = CLUSTER_ELECT_LEADERS, .elect_leaders = {.election = CLUSTER_ELECT_UNCLEAN, .count = 1}};
    struct cluster_partition_ref ref = {.topic_id = {{9, 9}}};
    (void)state;
    world_make(2, (const int32_t[]){1, 2});
    assert_int_equal(world.role.unclean_epoch, -1);
    world_fence(2, true);
    world_fence(1, true);
    world_fence(2, false);
    assert_int_equal(world_partition()->leader, -1);
    m.elect_leaders.partitions = &ref;
    assert_int_equal(world_give(&m), 0);
    assert_int_equal(world_partition()->leader, 2);
    assert_true(world_partition()->recovering);
    world_want_isr(2, (const int32_t[]){2}, 1);
    assert_false(world_partition()->recovering);
    world.c.reconcile = true;
    world_turn();
    assert_int_equal(world.role.partition_epoch, world_partition()->partition_epoch);
    assert_false(world.role.recovering);
    assert_int_equal(world.role.unclean_epoch, 2);
    assert_int_equal(world.role.leader_epoch, 2);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_a_failed_leader_is_not_opened_before_another_leads),
        CASE(test_a_failed_leader_without_others_leads_again),
        CASE(test_the_cluster_may_have_nobody_else),
        CASE(test_nobody_answered),
        CASE(test_elected_while_failed),
        CASE(test_elected_while_failed_and_alone),
        CASE(test_what_rotted_is_filled_again),
        CASE(test_what_is_lost_takes_no_role),
        CASE(test_what_rotted_and_is_nowhere_else),
        CASE(test_what_rotted_while_it_was_down),
        CASE(test_put_down_as_lost_by_an_earlier_life),
        CASE(test_a_failure_leaves_a_clean_stop),
        CASE(test_a_failure_from_memory_leaves_no_clean_stop),
        CASE(test_who_was_killed_as_leader_leads_no_more),
        CASE(test_who_was_killed_as_follower_follows_at_once),
        CASE(test_from_the_device_a_killed_leader_leads_on),
        CASE(test_what_failed_with_records_in_memory_is_lost_first),
        CASE(test_a_leader_that_failed_with_records_in_memory),
        CASE(test_what_failed_with_records_in_memory_and_is_nowhere_else),
        CASE(test_what_fails_again_with_records_in_memory_is_asked_again),
        CASE(test_what_failed_from_the_device_is_not_lost),
        CASE(test_an_unclean_epoch_is_told_afterwards),
        CASE(test_the_topic_goes_while_it_is_asked),
    };
    return cmocka_run_group_tests(tests, world_open, NULL);
}
