/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Partitions: the procedure case by case (control-plane 5), and every check of ALTER_PARTITION in its order.
 */
#include "cluster_world.h"

/* ---- the procedure ------------------------------------------------------------------------------------------------ */

/* A row is a story: a topic on brokers 1, 2 and 5 (all in the ISR), what happens, and the picture after each step.
 * Steps: f1 fence, u1 unfence, s1 begin shutdown, k1 killed and registered again, r1 the same after a clean stop, x1
 * suspect, y1 no longer, g1 unregistered, i1,2 the leader wants that ISR, p preferred election, w unclean election. */
static const struct story {
    const char *what;
    const char *configs;
    const char *steps[10][2];
} stories[] = {
    {"a follower is fenced", "", {{"f2", "1/0 [1,5]"}, {"u2", "1/0 [1,5]"}, {"i1,2,5", "1/0 [1,2,5]"}}},
    {"the leader is fenced: the first valid one follows", "", {{"f1", "2/1 [2,5]"}, {"u1", "2/1 [2,5]"}, {"i1,2,5", "2/1 [1,2,5]"}, {"p", "1/2 [1,2,5]"}}},
    {"controlled shutdown is like fencing", "", {{"s1", "2/1 [2,5]"}, {"f1", "2/1 [2,5]"}, {"u1", "2/1 [2,5]"}, {"r1", "2/1 [2,5]"}}},
    {"below min.insync.replicas those who leave stay eligible", "min.insync.replicas=2",
     {{"f5", "1/0 [1,2]"}, {"f2", "1/0 [1] elr[2]"}, {"f1", "-1/1 [] elr[1,2] ~1"}, {"u2", "2/2 [2] elr[1] ~1"}, {"u1", "2/2 [2] elr[1] ~1"},
      {"i1,2", "2/2 [1,2]"}}},
    {"the eligible one leads when the ISR is empty", "min.insync.replicas=2",
     {{"f5", "1/0 [1,2]"}, {"f2", "1/0 [1] elr[2]"}, {"u2", "1/0 [1] elr[2]"}, {"f1", "2/1 [2] elr[1]"}}},
    {"one is enough: nobody is eligible beside it", "",
     {{"f5", "1/0 [1,2]"}, {"f2", "1/0 [1]"}, {"f1", "-1/1 [] elr[1] ~1"}, {"u2", "-1/1 [] elr[1] ~1"}, {"u1", "1/2 [1]"}}},
    {"min.insync.replicas counts up to the number of replicas", "min.insync.replicas=9", {{"f5", "1/0 [1,2] elr[5]"}, {"f2", "1/0 [1] elr[2,5]"}}},
    {"killed with durable records: nothing is lost", "",
     {{"f5", "1/0 [1,2]"}, {"f2", "1/0 [1]"}, {"k1", "-1/1 [] elr[1] ~1"}, {"u1", "1/2 [1]"}}},
    {"killed with records in memory: the last leader leads uncleanly", "ack.durability=memory",
     {{"f5", "1/0 [1,2]"}, {"f2", "1/0 [1]"}, {"k1", "-1/1 [] ~1"}, {"u2", "-1/1 [] ~1"}, {"u1", "1*/2 [1]"}}},
    {"the last leader waits while somebody is eligible", "ack.durability=memory;min.insync.replicas=2",
     {{"f5", "1/0 [1,2]"}, {"f2", "1/0 [1] elr[2]"}, {"k1", "-1/1 [] elr[2] ~1"}, {"u1", "-1/1 [] elr[2] ~1"}, {"u2", "2/2 [2] ~1"}}},
    {"a clean stop loses nothing in memory either", "ack.durability=memory",
     {{"f5", "1/0 [1,2]"}, {"f2", "1/0 [1]"}, {"r1", "-1/1 [] elr[1] ~1"}, {"u1", "1/2 [1]"}}},
    {"unclean where it is allowed", "unclean.leader.election.enable=true",
     {{"f5", "1/0 [1,2]"}, {"f2", "1/0 [1]"}, {"f1", "-1/1 [] elr[1] ~1"}, {"u5", "5*/2 [5]"}, {"u1", "5*/2 [5]"}}},
    {"unclean on demand", "", {{"f5", "1/0 [1,2]"}, {"f2", "1/0 [1]"}, {"f1", "-1/1 [] elr[1] ~1"}, {"u5", "-1/1 [] elr[1] ~1"}, {"w", "5*/2 [5]"}}},
    {"on demand a clean one is preferred", "min.insync.replicas=3",
     {{"f1", "2/1 [2,5] elr[1]"}, {"f2", "5/2 [5] elr[1,2]"}, {"f5", "-1/3 [] elr[1,2,5] ~5"}, {"u5", "5/4 [5] elr[1,2] ~5"}}},
    {"a suspect leader gives way and stays in sync", "", {{"x1", "2/1 [1,2,5]"}, {"y1", "2/1 [1,2,5]"}, {"p", "1/2 [1,2,5]"}}},
    {"a suspect one leads when nobody else can", "", {{"x1", "2/1 [1,2,5]"}, {"f2", "5/2 [1,5]"}, {"f5", "1/3 [1]"}, {"u2", "1/3 [1]"}, {"i1,2", "2/4 [1,2]"}}},
    {"suspects are passed over in a preferred election", "", {{"f1", "2/1 [2,5]"}, {"u1", "2/1 [2,5]"}, {"i1,2,5", "2/1 [1,2,5]"}, {"x1", "2/1 [1,2,5]"}, {"p", "2/1 [1,2,5]"}}},
    {"unregistered for good: eligible no more", "min.insync.replicas=2",
     {{"f5", "1/0 [1,2]"}, {"f2", "1/0 [1] elr[2]"}, {"g2", "1/0 [1]"}, {"f1", "-1/1 [] elr[1] ~1"}, {"g1", "-1/1 [] ~1"}}},
};

static void take_step(const char *step)
{
    int32_t id = (int32_t)strtol(step + 1, NULL, 10);
    switch (step[0]) {
    case 'f': assert_int_equal(broker_command(CLUSTER_FENCE_BROKER, id, false), 0); break;
    case 'u': activate(id); break;
    case 's': assert_int_equal(broker_command(CLUSTER_BEGIN_SHUTDOWN, id, false), 0); break;
    case 'k': kill_and_restart(id, false); break;
    case 'r': kill_and_restart(id, true); break;
    case 'x': assert_int_equal(broker_command(CLUSTER_SET_DATA_SUSPECT, id, true), 0); break;
    case 'y': assert_int_equal(broker_command(CLUSTER_SET_DATA_SUSPECT, id, false), 0); break;
    case 'g': assert_int_equal(broker_command(CLUSTER_UNREGISTER_BROKER, id, false), 0); break;
    case 'i': (void)alter_isr("t", 0, step + 1); break;
    case 'p': (void)elect("t", 0, CLUSTER_ELECT_PREFERRED); break;
    case 'w': (void)elect("t", 0, CLUSTER_ELECT_UNCLEAN); break;
    default: fail();
    }
}

static void test_stories(void **state)
{
    for (size_t i = 0; i < TIDE_ARRAY_LEN(stories); i++) {
        const struct story *s = &stories[i];
        world_setup(state);
        assert_int_equal(make_topic("t", "1,2,5", s->configs), 0);
        for (unsigned k = 0; k < 10 && s->steps[k][0] != NULL; k++) {
            take_step(s->steps[k][0]);
            if (strcmp(picture(partition_of("t", 0)), s->steps[k][1]) != 0)
                print_message("%s, step %s: ", s->what, s->steps[k][0]);
            expect_picture("t", 0, s->steps[k][1]);
        }
    }
}

/* I6 */
static void test_without_the_feature_an_isr_is_never_empty(void **state)
{
    struct cluster_command m = {.kind = CLUSTER_UPDATE_FEATURES,
                                .update_features = {.count = 1, .updates = {{CLUSTER_FEATURE_ELR, 0, CLUSTER_DOWNGRADE_SAFE}}}};
    assert_int_equal(make_topic("t", "1,2,5", "min.insync.replicas=2"), 0);
    take_step("f5");
    take_step("f2");
    expect_picture("t", 0, "1/0 [1] elr[2]");
    take_step("f1");
    assert_int_equal(world_apply(&m), KAFKA_FEATURE_UPDATE_FAILED); /* an empty ISR stands in the way */
    take_step("u1");
    assert_int_equal(world_apply(&m), 0);
    expect_picture("t", 0, "1/2 [1]");
    take_step("f1");
    expect_picture("t", 0, "-1/3 [1]");
    take_step("u2");
    expect_picture("t", 0, "-1/3 [1]");
    kill_and_restart(1, false);
    expect_picture("t", 0, "-1/3 [1]");
    take_step("u1");
    expect_picture("t", 0, "1/4 [1]");
    m.update_features.updates[0].level = 1;
    m.update_features.updates[0].type = CLUSTER_UPGRADE;
    assert_int_equal(world_apply(&m), 0);
    take_step("f1");
    expect_picture("t", 0, "-1/5 [] elr[1] ~1");
}

/* Control-plane 4.8: all three are killed at once; any two come back, in any order. */
static void test_all_killed_and_two_brought_back(void **state)
{
    static const int32_t orders[6][3] = {{1, 2, 5}, {1, 5, 2}, {2, 1, 5}, {2, 5, 1}, {5, 1, 2}, {5, 2, 1}};
    for (unsigned i = 0; i < 6; i++) {     /* the order in which sessions end */
        for (unsigned k = 0; k < 6; k++) { /* and in which the first two come back */
            int32_t last = orders[i][2], second = orders[i][1];
            bool back_last = orders[k][0] == last || orders[k][1] == last;
            bool back_second = orders[k][0] == second || orders[k][1] == second;
            const struct cluster_partition *p;
            world_setup(state);
            assert_int_equal(make_topic("device", "1,2,5", "min.insync.replicas=2"), 0);
            assert_int_equal(make_topic("memory", "1,2,5", "min.insync.replicas=2;ack.durability=memory"), 0);
            for (unsigned n = 0; n < 3; n++)
                assert_int_equal(broker_command(CLUSTER_FENCE_BROKER, orders[i][n], false), 0);
            for (unsigned n = 0; n < 2; n++) {
                kill_and_restart(orders[k][n], false);
                activate(orders[k][n]);
            }
            /* Who was in the last ISR of two has everything that was acknowledged. Two of three are back, so one of them. */
            p = partition_of("device", 0);
            assert_true(p->leader == last || p->leader == second);
            assert_false(p->recovering);
            assert_true(back_last || back_second);
            /* From memory: only if nobody may have it any more, and the last leader is there; never as if it were clean. */
            p = partition_of("memory", 0);
            assert_true(p->leader == -1 || (p->recovering && p->leader == last));
        }
    }
}

/* The list of those that lost something counts whatever the topic's durability and however the stop was. */
static void test_the_unclean_list(void **state)
{
    struct cluster_partition_ref refs[3] = {{topic_uuid("t"), 0}, {topic_uuid("t"), 9}, {topic_uuid("none"), 0}};
    struct cluster_command m = registration(1, 2);
    assert_int_equal(make_topic("t", "1;1", ""), 0);
    m.register_broker.previous_epoch = cluster_find_broker(c, 1)->epoch;
    m.register_broker.unclean = refs;
    m.register_broker.unclean_count = 3;
    assert_int_equal(world_apply(&m), 0);
    expect_picture("t", 0, "-1/1 [] ~1");
    expect_picture("t", 1, "-1/1 [] elr[1] ~1");
    activate(1);
    expect_picture("t", 0, "1*/2 [1]");
    expect_picture("t", 1, "1/2 [1]");
}

/* ---- ALTER_PARTITION ------------------------------------------------------------------------------------------------ */

static struct cluster_partition_change wanted(const char *isr)
{
    const struct cluster_partition *p = partition_of("t", 0);
    int32_t ids[TIDE_REPLICAS_MAX];
    struct cluster_partition_change n = {.topic_id = topic_uuid("t"), .leader_epoch = p->leader_epoch,
                                         .partition_epoch = p->partition_epoch, .guard_over = true, .isr_count = parse_ids(isr, ids)};
    for (uint32_t i = 0; i < n.isr_count; i++) {
        const struct cluster_broker *b = cluster_find_broker(c, ids[i]);
        n.isr[i] = (struct cluster_isr_member){ids[i], b != NULL ? b->epoch : 0};
    }
    return n;
}

static int16_t ask(int32_t broker, const struct cluster_partition_change *n)
{
    const struct cluster_broker *b = cluster_find_broker(c, broker);
    struct cluster_command m = {.kind = CLUSTER_ALTER_PARTITION,
                                .alter_partition = {.broker = broker, .broker_epoch = b->epoch, .count = 1, .changes = n}};
    struct cluster_partition before = *partition_of("t", 0);
    world_apply(&m);
    if (world_item_error() != 0 && world_item_error() != KAFKA_NEW_LEADER_ELECTED) {
        assert_memory_equal(&before, partition_of("t", 0), sizeof(before));
        assert_int_equal(r.changed, 0);
    }
    return world_item_error();
}

/* Each change breaks one check more than the row above; the first check of control-plane 4.4 answers. */
static void test_checks_in_their_order(void **state)
{
    struct cluster_partition_change n;
    assert_int_equal(make_topic("t", "1,2,5", ""), 0);
    take_step("f1"); /* leader 2 in epoch 1, partition epoch 1 */
    take_step("u1");
    n = wanted("2,5");
    n.guard_over = false;
    n.isr_count = 1;
    n.isr[0].broker = 2;
    assert_int_equal(ask(2, &n), KAFKA_OPERATION_NOT_ATTEMPTED); /* 12 */
    n.isr[n.isr_count++] = (struct cluster_isr_member){1, 12345};
    assert_int_equal(ask(2, &n), KAFKA_INELIGIBLE_REPLICA); /* 11 */
    n.recovering = true;
    n.isr_count = 1;
    assert_int_equal(ask(2, &n), KAFKA_INVALID_REQUEST); /* 10 */
    n.isr_count = 2;
    assert_int_equal(ask(2, &n), KAFKA_INVALID_REQUEST); /* 9 */
    n.recovering = false;
    n.isr[0].broker = 1;
    n.isr[1].broker = 5;
    assert_int_equal(ask(2, &n), KAFKA_INVALID_REQUEST); /* 8 */
    n.isr[1].broker = 7;
    assert_int_equal(ask(2, &n), KAFKA_INVALID_REQUEST); /* 7 */
    n.isr[1].broker = 1;
    assert_int_equal(ask(2, &n), KAFKA_INVALID_REQUEST); /* 7 */
    n.isr_count = 0;
    assert_int_equal(ask(2, &n), KAFKA_INVALID_REQUEST); /* 7 */
    n.partition_epoch--;
    assert_int_equal(ask(2, &n), KAFKA_INVALID_UPDATE_VERSION); /* 6 */
    assert_int_equal(ask(5, &n), KAFKA_INVALID_REQUEST); /* 5 */
    n.leader_epoch--;
    assert_int_equal(ask(5, &n), KAFKA_FENCED_LEADER_EPOCH); /* 4 */
    n.partition_epoch += 2;
    assert_int_equal(ask(5, &n), KAFKA_NOT_CONTROLLER); /* 3 */
    n.partition_epoch -= 2;
    n.leader_epoch += 2;
    assert_int_equal(ask(5, &n), KAFKA_NOT_CONTROLLER); /* 3 */
    n.partition = 1;
    assert_int_equal(ask(5, &n), KAFKA_UNKNOWN_TOPIC_OR_PARTITION); /* 2 */
    n.partition = -1;
    assert_int_equal(ask(5, &n), KAFKA_UNKNOWN_TOPIC_OR_PARTITION); /* 2 */
    n.topic_id = topic_uuid("nobody's");
    assert_int_equal(ask(5, &n), KAFKA_UNKNOWN_TOPIC_ID); /* 1 */
    struct cluster_command m = {.kind = CLUSTER_ALTER_PARTITION, .alter_partition = {.broker = 5, .broker_epoch = 1, .count = 1, .changes = &n}};
    assert_int_equal(world_apply(&m), KAFKA_STALE_BROKER_EPOCH);
    assert_int_equal(r.item_count, 0);
    m.alter_partition.broker = 9;
    assert_int_equal(world_apply(&m), KAFKA_STALE_BROKER_EPOCH);
    expect_picture("t", 0, "2/1 [2,5]");
}

static void test_who_is_eligible(void **state)
{
    struct cluster_partition_change n;
    assert_int_equal(make_topic("t", "1,2,5", ""), 0);
    assert_int_equal(alter_isr("t", 0, "1"), 0);
    n = wanted("1,2");
    n.isr[1].epoch++;
    assert_int_equal(ask(1, &n), KAFKA_INELIGIBLE_REPLICA); /* another process */
    n.isr[1].epoch = -1;
    assert_int_equal(ask(1, &n), 0); /* not compared */
    expect_picture("t", 0, "1/0 [1,2]");
    assert_int_equal(r.items[0].partition_epoch, 2);
    assert_int_equal(r.items[0].id_count, 2);
    take_step("f5");
    n = wanted("1,2,5");
    assert_int_equal(ask(1, &n), KAFKA_INELIGIBLE_REPLICA);
    take_step("u5");
    take_step("s5");
    n = wanted("1,2,5");
    assert_int_equal(ask(1, &n), KAFKA_INELIGIBLE_REPLICA);
    take_step("f5");
    take_step("g5");
    n = wanted("1,2,5");
    assert_int_equal(ask(1, &n), KAFKA_INELIGIBLE_REPLICA);
    n = wanted("2,1"); /* the same set */
    assert_int_equal(ask(1, &n), 0);
    assert_int_equal(r.changed, 0);
    assert_int_equal(partition_of("t", 0)->partition_epoch, 2);
}

/* Control-plane 10.4. */
static void test_guarded_shrink(void **state)
{
    struct cluster_partition_change n;
    assert_int_equal(make_topic("t", "1,2,5", "min.insync.replicas=2"), 0);
    n = wanted("1,5");
    n.guard_over = false;
    assert_int_equal(ask(1, &n), 0); /* two are left */
    n = wanted("1");
    n.guard_over = false;
    n.guard_hears = 1 << 1; /* 2 hears the leader, and is not asked */
    assert_int_equal(ask(1, &n), KAFKA_OPERATION_NOT_ATTEMPTED);
    n.guard_hears = 1 << 2; /* 5 hears it, and lags for another reason */
    assert_int_equal(ask(1, &n), 0);
    expect_picture("t", 0, "1/0 [1] elr[5]");
    assert_int_equal(alter_isr("t", 0, "1,5"), 0);
    n = wanted("1");
    n.guard_over = false;
    assert_int_equal(ask(1, &n), KAFKA_OPERATION_NOT_ATTEMPTED);
    take_step("x5"); /* suspect */
    n = wanted("1");
    n.guard_over = false;
    assert_int_equal(ask(1, &n), 0);
    take_step("y5");
    assert_int_equal(alter_isr("t", 0, "1,5"), 0);
    n = wanted("1");
    assert_int_equal(ask(1, &n), 0); /* it has asked for long enough */
}

static void test_recovery_state(void **state)
{
    struct cluster_partition_change n;
    assert_int_equal(make_topic("t", "1,2,5", ""), 0);
    take_step("f5");
    take_step("f2");
    take_step("f1");
    take_step("u5");
    take_step("w");
    expect_picture("t", 0, "5*/2 [5]");
    take_step("u1");
    n = wanted("1,5");
    n.recovering = true;
    assert_int_equal(ask(5, &n), KAFKA_INVALID_REQUEST);
    n.isr_count = 1;
    n.isr[0].broker = 5;
    n.isr[0].epoch = -1;
    assert_int_equal(ask(5, &n), 0);
    assert_true(r.items[0].recovering);
    assert_int_equal(r.changed, 0);
    n.recovering = false;
    assert_int_equal(ask(5, &n), 0);
    expect_picture("t", 0, "5/2 [5]");
    assert_int_equal(alter_isr("t", 0, "1,5"), 0);
    expect_picture("t", 0, "5/2 [1,5]");
}

/* ---- elections ---------------------------------------------------------------------------------------------------------- */

static void test_election_errors(void **state)
{
    struct cluster_partition_ref ref = {topic_uuid("nobody's"), 0};
    struct cluster_command m = {.kind = CLUSTER_ELECT_LEADERS, .elect_leaders = {.count = 1, .partitions = &ref}};
    world_apply(&m);
    assert_int_equal(world_item_error(), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    m.elect_leaders.election = 2;
    assert_int_equal(world_apply(&m), KAFKA_INVALID_REQUEST);
    assert_int_equal(make_topic("t", "1,2,5", ""), 0);
    assert_int_equal(elect("t", 0, CLUSTER_ELECT_PREFERRED), KAFKA_ELECTION_NOT_NEEDED);
    assert_int_equal(elect("t", 0, CLUSTER_ELECT_UNCLEAN), KAFKA_ELECTION_NOT_NEEDED);
    take_step("f1");
    assert_int_equal(elect("t", 0, CLUSTER_ELECT_PREFERRED), KAFKA_PREFERRED_LEADER_NOT_AVAILABLE);
    take_step("u1");
    assert_int_equal(elect("t", 0, CLUSTER_ELECT_PREFERRED), KAFKA_PREFERRED_LEADER_NOT_AVAILABLE); /* not in sync */
    take_step("f2");
    take_step("f5");
    take_step("f1");
    assert_int_equal(elect("t", 0, CLUSTER_ELECT_UNCLEAN), KAFKA_ELIGIBLE_LEADERS_NOT_AVAILABLE);
}

static void test_elections_for_all(void **state)
{
    struct cluster_command m = {.kind = CLUSTER_ELECT_LEADERS, .elect_leaders = {.all = true}};
    struct cluster_command balance = {.kind = CLUSTER_BALANCE_LEADERS, .limit = 2};
    assert_int_equal(make_topic("t", "1,2;2,1;1,5;1,2;1,2", ""), 0);
    take_step("f1");
    take_step("u1");
    for (int32_t i = 0; i < 5; i++)
        if (i != 1)
            assert_int_equal(alter_isr("t", i, i == 2 ? "1,5" : "1,2"), 0);
    assert_int_equal(world_apply(&balance), 0);
    assert_int_equal(r.changed, 2);
    expect_picture("t", 2, "1/2 [1,5]");
    expect_picture("t", 3, "2/1 [1,2]");
    assert_int_equal(world_apply(&m), 0);
    assert_int_equal(r.item_count, 2); /* only where it was needed */
    assert_int_equal(r.items[0].partition, 3);
    assert_int_equal(r.items[1].leader, 1);
    assert_int_equal(r.changed, 2);
    assert_int_equal(world_apply(&m), 0);
    assert_int_equal(r.item_count, 0);
}

static void test_unclean_sweep(void **state)
{
    struct cluster_command sweep = {.kind = CLUSTER_UNCLEAN_SWEEP, .limit = 9};
    assert_int_equal(make_topic("t", "1,2", ""), 0);
    take_step("f2");
    take_step("f1");
    take_step("u2");
    assert_int_equal(world_apply(&sweep), 0);
    assert_int_equal(r.changed, 0);
    assert_int_equal(set_config("t", "unclean.leader.election.enable", "true"), 0); /* sweeps by itself */
    expect_picture("t", 0, "2*/2 [2]");
}

/* The leader reports itself recovered soon; who was away until then has to know. */
static void test_an_unclean_epoch_is_not_forgotten(void **state)
{
    static uint8_t bytes[1 << 16];
    struct cluster *other = cluster_create(NULL);
    size_t len;
    assert_int_equal(make_topic("t", "1,2,5", ""), 0);
    assert_int_equal(partition_of("t", 0)->unclean_epoch, -1);
    assert_int_equal(cluster_snapshot_write(c, bytes, sizeof(bytes), &len), TIDE_OK);
    assert_int_equal(bytes[8], 1); /* as releases before this one write and read it */
    take_step("f5");
    take_step("f2");
    take_step("f1");
    take_step("u5");
    assert_int_equal(partition_of("t", 0)->unclean_epoch, -1);
    take_step("w");
    assert_int_equal(alter_isr("t", 0, "5"), 0); /* recovered, as all that a leader wants */
    take_step("u1");
    assert_int_equal(alter_isr("t", 0, "1,5"), 0);
    take_step("f5");
    expect_picture("t", 0, "1/3 [1]");
    assert_int_equal(partition_of("t", 0)->unclean_epoch, 2);
    assert_int_equal(cluster_snapshot_write(c, bytes, sizeof(bytes), &len), TIDE_OK);
    assert_int_equal(bytes[8], 2);
    assert_int_equal(cluster_restore(other, bytes, len), TIDE_OK);
    assert_int_equal(cluster_topic_at(other, 0)->partitions[0].unclean_epoch, 2);
    assert_true(cluster_hash(other) == cluster_hash(c));
    cluster_destroy(other);
}

static int16_t move_leader(int32_t leader_epoch, int32_t excluded)
{
    struct cluster_command m = {.kind = CLUSTER_MOVE_LEADER,
                                .move_leader = {.topic_id = topic_uuid("t"), .leader_epoch = leader_epoch, .excluded = excluded}};
    world_apply(&m);
    return world_item_error();
}

static void test_move_leader(void **state)
{
    struct cluster_command m = {.kind = CLUSTER_MOVE_LEADER, .move_leader = {.topic_id = topic_uuid("none")}};
    world_apply(&m);
    assert_int_equal(world_item_error(), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(make_topic("t", "1,2,5", "unclean.leader.election.enable=true"), 0);
    assert_int_equal(move_leader(1, 1), KAFKA_FENCED_LEADER_EPOCH);
    assert_int_equal(move_leader(0, 1), 0);
    expect_picture("t", 0, "2/1 [1,2,5]"); /* it keeps its place in the ISR */
    assert_int_equal(alter_isr("t", 0, "2,1"), 0);
    take_step("x1");
    assert_int_equal(move_leader(1, 2), KAFKA_ELIGIBLE_LEADERS_NOT_AVAILABLE); /* only a suspect one */
    take_step("y1");
    assert_int_equal(alter_isr("t", 0, "2"), 0);
    assert_int_equal(move_leader(1, 2), KAFKA_ELIGIBLE_LEADERS_NOT_AVAILABLE); /* never uncleanly */
    expect_picture("t", 0, "2/1 [2]");
}

/* ---- reassignment ---------------------------------------------------------------------------------------------------------- */

static void test_reassignment(void **state)
{
    assert_int_equal(make_topic("t", "1,2", ""), 0);
    assert_int_equal(reassign("t", 0, NULL), KAFKA_NO_REASSIGNMENT_IN_PROGRESS);
    assert_int_equal(reassign("t", 0, ""), KAFKA_INVALID_REPLICA_ASSIGNMENT);
    assert_int_equal(reassign("t", 0, "5,5"), KAFKA_INVALID_REPLICA_ASSIGNMENT);
    assert_int_equal(reassign("t", 0, "5,9"), KAFKA_INVALID_REPLICA_ASSIGNMENT);
    assert_int_equal(reassign("t", 0, "5,2"), 0);
    expect_picture("t", 0, "1/0 [2,1] +[5] -[1]");
    assert_int_equal(partition_of("t", 0)->replica_count, 3);
    /* The last one that was waited for joins: done, and the leader is among those who go. */
    assert_int_equal(alter_isr("t", 0, "1,2,5"), KAFKA_NEW_LEADER_ELECTED);
    assert_int_equal(r.changed, 1);
    assert_int_equal(r.items[0].leader, 5);
    expect_picture("t", 0, "5/1 [5,2]");
    assert_int_equal(partition_of("t", 0)->replica_count, 2);
}

static void test_reassignment_that_completes_at_once(void **state)
{
    assert_int_equal(make_topic("t", "1,2,5", ""), 0);
    assert_int_equal(reassign("t", 0, "5,1"), 0);
    expect_picture("t", 0, "1/1 [5,1]"); /* a replica left: another leader epoch, though the leader stays */
    assert_int_equal(reassign("t", 0, "1,5"), 0);
    expect_picture("t", 0, "1/1 [1,5]"); /* another order is no other epoch */
    assert_int_equal(reassign("t", 0, "1,5"), 0);
    assert_int_equal(r.changed, 0);
}

static void test_reassignment_is_replaced_and_cancelled(void **state)
{
    assert_int_equal(register_broker(3, 1, -1), 0);
    activate(3);
    assert_int_equal(make_topic("t", "1,2", ""), 0);
    assert_int_equal(reassign("t", 0, "1,5"), 0);
    expect_picture("t", 0, "1/0 [1,2] +[5] -[2]");
    assert_int_equal(reassign("t", 0, "1,3"), 0); /* what it has is 1 and 2 still */
    expect_picture("t", 0, "1/1 [1,2] +[3] -[2]");
    assert_int_equal(alter_isr("t", 0, "1,2"), 0);
    assert_int_equal(reassign("t", 0, NULL), 0);
    expect_picture("t", 0, "1/2 [1,2]");
    assert_int_equal(partition_of("t", 0)->replicas[1], 2);
}

static void test_cancelling_may_need_an_unclean_election(void **state)
{
    assert_int_equal(make_topic("t", "1,2", ""), 0);
    assert_int_equal(reassign("t", 0, "5"), 0);
    take_step("f2");
    expect_picture("t", 0, "1/0 [1] +[5] -[1,2]");
    take_step("u2");
    assert_int_equal(reassign("t", 0, "5,2"), 0);
    assert_int_equal(alter_isr("t", 0, "1,5"), 0);
    expect_picture("t", 0, "1/0 [5,1] +[5] -[1]");
    take_step("f1");
    expect_picture("t", 0, "5/1 [5] +[5] -[1]");
    assert_int_equal(reassign("t", 0, NULL), KAFKA_INVALID_REPLICA_ASSIGNMENT);
    expect_picture("t", 0, "5/1 [5] +[5] -[1]");
    assert_int_equal(set_config("t", "unclean.leader.election.enable", "true"), 0);
    assert_int_equal(reassign("t", 0, NULL), 0);
    expect_picture("t", 0, "2*/2 [2]");
    assert_int_equal(partition_of("t", 0)->replica_count, 2);
}

/* ---- directories ------------------------------------------------------------------------------------------------------------ */

static int16_t assign_dir(int32_t broker, uint8_t first, uint8_t second)
{
    struct cluster_dir_assignment n = {topic_uuid("t"), 0, {{first, second}}};
    struct cluster_command m = {.kind = CLUSTER_ASSIGN_DIRS,
                                .assign_dirs = {.broker = broker, .broker_epoch = cluster_find_broker(c, broker)->epoch, .count = 1, .changes = &n}};
    if (first == 0) /* the reserved one: lost */
        n.directory = (struct tide_uuid){{[15] = 1}};
    world_apply(&m);
    return world_item_error();
}

static void test_directories(void **state)
{
    struct cluster_command off = {.kind = CLUSTER_DIRS_OFFLINE, .dirs_offline = {.id = 1, .count = 1, .directories = {{{0xd0, 1}}}}};
    assert_int_equal(make_topic("t", "1,2", ""), 0);
    assert_int_equal(assign_dir(5, 0xd0, 5), KAFKA_NOT_LEADER_OR_FOLLOWER);
    assert_int_equal(assign_dir(1, 0xd0, 2), KAFKA_LOG_DIR_NOT_FOUND);
    assert_int_equal(assign_dir(1, 0xd0, 1), 0);
    assert_int_equal(partition_of("t", 0)->partition_epoch, 1);
    assert_int_equal(assign_dir(1, 0xd0, 1), 0);
    assert_int_equal(r.changed, 0);
    assert_int_equal(world_apply(&off), KAFKA_STALE_BROKER_EPOCH);
    off.dirs_offline.epoch = cluster_find_broker(c, 1)->epoch;
    assert_int_equal(world_apply(&off), 0);
    expect_picture("t", 0, "2/1 [2]");
    assert_int_equal(cluster_find_broker(c, 1)->directory_count, 1);
    assert_int_equal(alter_isr("t", 0, "2,1"), KAFKA_INELIGIBLE_REPLICA);
    take_step("f2");
    expect_picture("t", 0, "-1/2 [] elr[2] ~2");
    take_step("w");
    expect_picture("t", 0, "-1/2 [] elr[2] ~2"); /* 1 is there, its directory is not */
    assert_int_equal(assign_dir(1, 0xd1, 1), 0);
    take_step("w");
    expect_picture("t", 0, "1*/3 [1]");
}

/* A replica whose log rotted is given up, where others have it: it leaves the ISR, leads no more and is not eligible. */
static void test_a_replica_is_lost(void **state)
{
    assert_int_equal(make_topic("t", "1,2,5", "min.insync.replicas=2"), 0);
    assert_int_equal(assign_dir(1, 0, 0), 0);
    expect_picture("t", 0, "2/1 [2,5]");
    take_step("f5");
    expect_picture("t", 0, "2/1 [2] elr[5]");
    assert_int_equal(assign_dir(1, 0xd0, 1), 0);
    take_step("f2");
    expect_picture("t", 0, "-1/2 [] elr[2,5] ~2"); /* not 1, though its directory is one again */
    assert_int_equal(assign_dir(2, 0, 0), KAFKA_ELIGIBLE_LEADERS_NOT_AVAILABLE);
    take_step("u5");
    expect_picture("t", 0, "5/3 [5] elr[2] ~2");
    assert_int_equal(assign_dir(5, 0, 0), KAFKA_ELIGIBLE_LEADERS_NOT_AVAILABLE); /* 2 has it, and is not there */
    expect_picture("t", 0, "5/3 [5] elr[2] ~2");
    assert_int_equal(assign_dir(2, 0, 0), 0);
    expect_picture("t", 0, "5/4 [5] ~2");
    take_step("u2");
    assert_int_equal(assign_dir(5, 0, 0), KAFKA_ELIGIBLE_LEADERS_NOT_AVAILABLE);
}

/* What a follower acknowledged in the epoch is not true any more: the same leader begins another one. */
static void test_a_lost_follower_ends_the_epoch(void **state)
{
    assert_int_equal(make_topic("t", "1,2,5", ""), 0);
    assert_int_equal(assign_dir(2, 0, 0), 0);
    expect_picture("t", 0, "1/1 [1,5]");
    assert_int_equal(assign_dir(2, 0, 0), 0);
    assert_int_equal(r.changed, 0);
    assert_int_equal(assign_dir(2, 0xd0, 2), 0);
    expect_picture("t", 0, "1/1 [1,5]");
}

/* Not even where unclean elections are allowed. */
static void test_the_last_one_is_not_lost(void **state)
{
    assert_int_equal(make_topic("t", "1,2", "unclean.leader.election.enable=true"), 0);
    take_step("f2");
    expect_picture("t", 0, "1/0 [1]");
    take_step("u2");
    assert_int_equal(assign_dir(1, 0, 0), KAFKA_ELIGIBLE_LEADERS_NOT_AVAILABLE);
    expect_picture("t", 0, "1/0 [1]");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_stories),
        TEST(test_without_the_feature_an_isr_is_never_empty),
        TEST(test_all_killed_and_two_brought_back),
        TEST(test_the_unclean_list),
        TEST(test_checks_in_their_order),
        TEST(test_who_is_eligible),
        TEST(test_guarded_shrink),
        TEST(test_recovery_state),
        TEST(test_election_errors),
        TEST(test_elections_for_all),
        TEST(test_unclean_sweep),
        TEST(test_an_unclean_epoch_is_not_forgotten),
        TEST(test_move_leader),
        TEST(test_reassignment),
        TEST(test_reassignment_that_completes_at_once),
        TEST(test_reassignment_is_replaced_and_cancelled),
        TEST(test_cancelling_may_need_an_unclean_election),
        TEST(test_directories),
        TEST(test_a_replica_is_lost),
        TEST(test_a_lost_follower_ends_the_epoch),
        TEST(test_the_last_one_is_not_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
