/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where replicas go: assignments by hand, placement by racks, more partitions, limits.
 */
#include "cluster_world.h"

/* ---- by hand ---------------------------------------------------------------------------------------------------- */

static void test_assignments(void **state)
{
    static const struct {
        const char *rows;
        int16_t error;
    } cases[] = {
        {"1,2;5,1", 0},
        {"1,2;2,1", 0},
        {"1,2;2,3", KAFKA_INVALID_REPLICA_ASSIGNMENT},  /* not registered */
        {"-1,2;2,1", KAFKA_INVALID_REPLICA_ASSIGNMENT},
        {"1,1;2,5", KAFKA_INVALID_REPLICA_ASSIGNMENT},  /* twice */
        {"1,2;5,5", KAFKA_INVALID_REPLICA_ASSIGNMENT},
        {"1,2;5", KAFKA_INVALID_REPLICA_ASSIGNMENT},    /* not the same length */
        {"1;2,5", KAFKA_INVALID_REPLICA_ASSIGNMENT},
        {";1", KAFKA_INVALID_REPLICA_ASSIGNMENT},       /* none */
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        char name[16];
        snprintf(name, sizeof(name), "topic%zu", i);
        assert_int_equal(make_topic(name, cases[i].rows, ""), cases[i].error);
        assert_int_equal(cluster_find_topic(c, name) != NULL, cases[i].error == 0);
    }
}

static void test_rows_of_an_assignment(void **state)
{
    static const struct {
        int32_t numbers[3], partitions, replicas;
        int16_t error;
    } cases[] = {
        {{0, 1, 2}, 3, -1, KAFKA_INVALID_REQUEST},
        {{0, 1, 2}, -1, 1, KAFKA_INVALID_REQUEST},
        {{0, 1, 3}, -1, -1, KAFKA_INVALID_REPLICA_ASSIGNMENT},
        {{0, 1, 1}, -1, -1, KAFKA_INVALID_REPLICA_ASSIGNMENT},
        {{0, -1, 1}, -1, -1, KAFKA_INVALID_REPLICA_ASSIGNMENT},
        {{0, INT32_MIN, 1}, -1, -1, KAFKA_INVALID_REPLICA_ASSIGNMENT},
        {{2, 0, 1}, -1, -1, 0},
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        static const int32_t brokers[3] = {1, 2, 5};
        struct cluster_assignment rows[3];
        struct cluster_command m = {.kind = CLUSTER_CREATE_TOPIC,
                                    .create_topic = {.id = topic_uuid("t"), .name = "t", .partition_count = cases[i].partitions,
                                                     .replication_factor = cases[i].replicas, .assignment_count = 3, .assignment = rows}};
        for (unsigned k = 0; k < 3; k++)
            rows[k] = (struct cluster_assignment){.partition = cases[i].numbers[k], .replica_count = 1, .replicas = {brokers[k]}};
        assert_int_equal(world_apply(&m), cases[i].error);
    }
    expect_picture("t", 0, "2/0 [2]");
    expect_picture("t", 1, "5/0 [5]");
    expect_picture("t", 2, "1/0 [1]");
}

static void test_who_is_not_there_is_not_in_sync(void **state)
{
    assert_int_equal(broker_command(CLUSTER_FENCE_BROKER, 1, false), 0);
    assert_int_equal(broker_command(CLUSTER_BEGIN_SHUTDOWN, 2, false), 0);
    assert_int_equal(make_topic("t", "1,2,5", ""), 0);
    expect_picture("t", 0, "5/0 [5]");
    assert_int_equal(make_topic("u", "1,2", ""), KAFKA_INVALID_REPLICA_ASSIGNMENT);
}

static void test_a_suspect_broker_does_not_begin_as_leader(void **state)
{
    assert_int_equal(broker_command(CLUSTER_SET_DATA_SUSPECT, 1, true), 0);
    assert_int_equal(make_topic("t", "1,2,5;1", ""), KAFKA_INVALID_REPLICA_ASSIGNMENT);
    assert_int_equal(make_topic("t", "1,2,5", ""), 0);
    expect_picture("t", 0, "2/0 [1,2,5]");
    assert_int_equal(make_topic("u", "1", ""), 0);
    expect_picture("u", 0, "1/0 [1]");
}

/* ---- placement --------------------------------------------------------------------------------------------------- */

static int16_t place(const char *name, int32_t partitions, int32_t factor, uint32_t seed, bool validate_only)
{
    struct cluster_command m = {.kind = CLUSTER_CREATE_TOPIC,
                                .create_topic = {.id = topic_uuid(name), .partition_count = partitions, .replication_factor = factor,
                                                 .placement_seed = seed, .validate_only = validate_only}};
    snprintf(m.create_topic.name, sizeof(m.create_topic.name), "%s", name);
    return world_apply(&m);
}

/* `racks` has one letter for each broker 0, 1, 2, ... */
static void racks(const char *letters)
{
    world_reset();
    for (int32_t id = 0; letters[id] != 0; id++) {
        struct cluster_command m = registration(id, 1);
        snprintf(m.register_broker.broker.rack, sizeof(m.register_broker.broker.rack), "%c", letters[id]);
        assert_int_equal(world_apply(&m), 0);
        activate(id);
    }
}

static uint32_t distinct_racks(const struct cluster_partition *p)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->replica_count; i++) {
        bool seen = false;
        for (uint32_t k = 0; k < i; k++)
            seen |= strcmp(cluster_find_broker(c, p->replicas[i])->rack, cluster_find_broker(c, p->replicas[k])->rack) == 0;
        n += !seen;
    }
    return n;
}

static void test_placement_is_balanced_over_racks_and_brokers(void **state)
{
    static const struct {
        const char *letters;
        int32_t factor;
        uint32_t racks;
    } cases[] = {
        {"aaaa", 3, 1}, {"abc", 3, 3}, {"aabbcc", 3, 3}, {"ababab", 2, 2}, {"abcabcabc", 3, 3}, {"aabb", 3, 2}, {"aaabbb", 4, 2}, {"aaaaa", 5, 1},
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        uint32_t brokers = (uint32_t)strlen(cases[i].letters), pairs[10][10] = {{0}};
        int32_t partitions = (int32_t)(brokers * 12);
        for (uint32_t seed = 0; seed < 5; seed++) {
            racks(cases[i].letters);
            assert_int_equal(place("t", partitions, cases[i].factor, seed * 1000003, false), 0);
            for (int32_t k = 0; k < partitions; k++) {
                const struct cluster_partition *p = partition_of("t", k);
                assert_int_equal(distinct_racks(p), cases[i].racks);
                for (uint32_t n = 1; n < p->replica_count; n++)
                    pairs[p->replicas[0]][p->replicas[n]]++;
            }
            for (uint32_t b = 0; b < brokers; b++) {
                const struct cluster_broker *broker = cluster_find_broker(c, (int32_t)b);
                assert_int_equal(broker->leader_count, 12); /* as many as any other */
                assert_in_range(broker->replica_count, 12u * (uint32_t)cases[i].factor - 4, 12u * (uint32_t)cases[i].factor + 4);
            }
        }
        /* Who stands in for a broker is not always the same one. */
        for (uint32_t b = 0; b < brokers && cases[i].racks == 1 && (uint32_t)cases[i].factor < brokers; b++)
            for (uint32_t k = 0; k < brokers; k++)
                assert_true(b == k || pairs[b][k] > 0);
    }
}

static void test_placement_with_unequal_racks(void **state)
{
    racks("abbb");
    assert_int_equal(place("t", 12, 4, 0, false), 0);
    for (int32_t k = 0; k < 12; k++)
        assert_int_equal(partition_of("t", k)->replica_count, 4); /* all of them, each once: I5 is checked */
    assert_int_equal(place("u", 12, 2, 7, false), 0);
    for (int32_t k = 0; k < 12; k++)
        assert_int_equal(distinct_racks(partition_of("u", k)), 2);
}

static void test_placement_follows_the_seed(void **state)
{
    int32_t leaders[4];
    racks("aaaa");
    for (uint32_t seed = 0; seed < 4; seed++) {
        char name[8];
        snprintf(name, sizeof(name), "t%u", seed);
        assert_int_equal(place(name, 1, 2, seed, false), 0);
        leaders[seed] = partition_of(name, 0)->leader;
        for (uint32_t k = 0; k < seed; k++)
            assert_int_not_equal(leaders[k], leaders[seed]);
    }
}

static void test_placement_prefers_the_healthy(void **state)
{
    racks("aaaaaa");
    assert_int_equal(broker_command(CLUSTER_FENCE_BROKER, 0, false), 0);
    assert_int_equal(broker_command(CLUSTER_BEGIN_SHUTDOWN, 1, false), 0);
    assert_int_equal(broker_command(CLUSTER_SET_DATA_SUSPECT, 2, true), 0);
    assert_int_equal(place("t", 24, 3, 0, false), 0);
    assert_int_equal(cluster_find_broker(c, 0)->replica_count + cluster_find_broker(c, 1)->replica_count + cluster_find_broker(c, 2)->replica_count, 0);
    assert_int_equal(place("u", 24, 5, 0, false), 0); /* all that live */
    assert_int_equal(cluster_find_broker(c, 0)->replica_count, 0);
    assert_int_equal(cluster_find_broker(c, 1)->replica_count, 24);
    assert_int_equal(cluster_find_broker(c, 1)->isr_count, 0); /* it is going */
    assert_int_equal(place("v", 1, 6, 0, false), KAFKA_INVALID_REPLICATION_FACTOR);
}

static void test_only_validated(void **state)
{
    uint32_t before;
    assert_int_equal(place("t", 4, 3, 2, true), 0);
    assert_int_equal(r.item_count, 4);
    assert_int_equal(r.items[3].id_count, 3);
    assert_int_equal(r.changed, 0);
    assert_null(cluster_find_topic(c, "t"));
    before = cluster_find_broker(c, 1)->replica_count;
    assert_int_equal(before, 0);
    assert_int_equal(place("t", 4, 4, 2, true), KAFKA_INVALID_REPLICATION_FACTOR);
    assert_int_equal(place("t", 4, 3, 2, false), 0);
    assert_int_equal(place("t", 4, 3, 2, true), KAFKA_TOPIC_ALREADY_EXISTS);
}

static void test_settings_are_checked_after_the_brokers(void **state)
{
    assert_int_equal(make_topic("t", "9", "min.insync.replicas=0"), KAFKA_INVALID_REPLICA_ASSIGNMENT);
    assert_int_equal(make_topic("t", "1", "min.insync.replicas=0"), KAFKA_INVALID_CONFIG);
    assert_int_equal(make_topic("t", "1", "retention.ms=1;retention.ms=2"), KAFKA_INVALID_CONFIG);
}

static void test_a_topic_id_is_not_taken_twice(void **state)
{
    struct cluster_command m = {.kind = CLUSTER_CREATE_TOPIC,
                                .create_topic = {.id = topic_uuid("a"), .name = "b", .partition_count = 1, .replication_factor = 1}};
    assert_int_equal(place("a", 1, 1, 0, false), 0);
    assert_int_equal(world_apply(&m), KAFKA_TOPIC_ALREADY_EXISTS);
    memset(&m.create_topic.id, 0, sizeof(m.create_topic.id));
    assert_int_equal(world_apply(&m), KAFKA_TOPIC_ALREADY_EXISTS);
    assert_int_equal(cluster_topic_count(c), 1);
}

/* ---- more partitions ------------------------------------------------------------------------------------------------ */

static int16_t grow(const char *name, int32_t total, const char *rows, int32_t first, bool validate_only)
{
    struct cluster_assignment list[8];
    struct cluster_command m = {.kind = CLUSTER_CREATE_PARTITIONS,
                                .create_partitions = {.id = topic_uuid(name), .validate_only = validate_only, .partition_count = total,
                                                      .placement_seed = 1, .assignment = list}};
    memset(list, 0, sizeof(list));
    while (*rows != 0) {
        uint32_t i = m.create_partitions.assignment_count++;
        list[i].partition = first + (int32_t)i;
        list[i].replica_count = parse_ids(rows, list[i].replicas);
        rows += strcspn(rows, ";");
        rows += *rows == ';';
    }
    return world_apply(&m);
}

static void test_more_partitions(void **state)
{
    assert_int_equal(grow("t", 3, "", 0, false), KAFKA_UNKNOWN_TOPIC_ID);
    assert_int_equal(make_topic("t", "1,2;2,5", ""), 0);
    assert_int_equal(broker_command(CLUSTER_FENCE_BROKER, 1, false), 0);
    assert_int_equal(broker_command(CLUSTER_UNFENCE_BROKER, 1, false), 0);
    assert_int_equal(grow("t", 2, "", 0, false), KAFKA_INVALID_PARTITIONS);
    assert_int_equal(grow("t", 0, "", 0, false), KAFKA_INVALID_PARTITIONS);
    assert_int_equal(grow("t", CLUSTER_PARTITIONS_MAX + 1, "", 0, false), KAFKA_INVALID_PARTITIONS);
    assert_int_equal(grow("t", 4, "1,2", 2, false), KAFKA_INVALID_REPLICA_ASSIGNMENT);       /* one of two */
    assert_int_equal(grow("t", 3, "1,2", 1, false), KAFKA_INVALID_REPLICA_ASSIGNMENT);       /* there already */
    assert_int_equal(grow("t", 3, "1,2,5", 2, false), KAFKA_INVALID_REPLICA_ASSIGNMENT);     /* another factor */
    assert_int_equal(grow("t", 3, "1,9", 2, false), KAFKA_INVALID_REPLICA_ASSIGNMENT);
    assert_int_equal(grow("t", 3, "1,1", 2, false), KAFKA_INVALID_REPLICA_ASSIGNMENT);
    assert_int_equal(grow("t", 3, "5,1", 2, true), 0);
    assert_int_equal(r.items[0].partition, 2);
    assert_int_equal(cluster_find_topic(c, "t")->partition_count, 2);
    assert_int_equal(grow("t", 3, "5,1", 2, false), 0);
    expect_picture("t", 0, "2/1 [2]"); /* as it was */
    expect_picture("t", 2, "5/0 [5,1]");
    assert_int_equal(grow("t", 5, "", 0, false), 0);
    assert_int_equal(r.item_count, 2);
    assert_int_equal(partition_of("t", 4)->replica_count, 2);
    assert_int_equal(cluster_partition_count(c), 5);
    assert_int_equal(broker_command(CLUSTER_FENCE_BROKER, 1, false), 0);
    assert_int_equal(broker_command(CLUSTER_FENCE_BROKER, 2, false), 0);
    assert_int_equal(grow("t", 6, "", 0, false), KAFKA_INVALID_REPLICATION_FACTOR);
    assert_int_equal(grow("t", 6, "1,2", 5, false), KAFKA_INVALID_REPLICA_ASSIGNMENT); /* nobody is there */
    assert_int_equal(grow("t", 6, "1,5", 5, false), 0);
    expect_picture("t", 5, "5/0 [5]");
}

/* K4 */
static void test_a_broker_has_a_limit(void **state)
{
    racks("aaa");
    assert_int_equal(place("t", CLUSTER_PARTITIONS_MAX - 1, 1, 0, false), 0); /* of three brokers */
    assert_int_equal(place("u", CLUSTER_PARTITIONS_MAX - 1, 1, 0, false), 0);
    assert_int_equal(place("v", CLUSTER_PARTITIONS_MAX - 1, 1, 0, false), 0);
    assert_int_equal(cluster_find_broker(c, 1)->replica_count, CLUSTER_PARTITIONS_MAX - 1);
    assert_int_equal(make_topic("w", "1;1", ""), KAFKA_POLICY_VIOLATION);
    assert_int_equal(make_topic("w", "1", ""), 0);
    assert_int_equal(grow("w", 2, "1", 1, false), KAFKA_POLICY_VIOLATION);
    assert_int_equal(grow("w", 2, "2", 1, false), 0);
    assert_int_equal(reassign("w", 1, "1"), KAFKA_POLICY_VIOLATION);
    assert_int_equal(reassign("w", 0, "1"), 0); /* it is there already */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_assignments),
        TEST(test_rows_of_an_assignment),
        TEST(test_who_is_not_there_is_not_in_sync),
        TEST(test_a_suspect_broker_does_not_begin_as_leader),
        TEST(test_placement_is_balanced_over_racks_and_brokers),
        TEST(test_placement_with_unequal_racks),
        TEST(test_placement_follows_the_seed),
        TEST(test_placement_prefers_the_healthy),
        TEST(test_only_validated),
        TEST(test_settings_are_checked_after_the_brokers),
        TEST(test_a_topic_id_is_not_taken_twice),
        TEST(test_more_partitions),
        TEST(test_a_broker_has_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
