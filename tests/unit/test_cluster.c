/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata state machine: the cluster itself, brokers, topics. Partitions: test_cluster_partition. Bytes:
 * test_cluster_bytes. Chance: test_cluster_random.
 */
#include "cluster_world.h"

/* ---- names --------------------------------------------------------------------------------------- */

static void test_names(void **state)
{
    char longest[TIDE_TOPIC_NAME_MAX + 2];
    static const struct {
        const char *name;
        bool legal;
    } cases[] = {
        {"a", true}, {"A-Z_0.9", true}, {"...", true}, {"", false}, {".", false}, {"..", false},
        {"a b", false}, {"a/b", false}, {"a\n", false}, {"\xc3\xa4", false}, {"a:b", false},
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++)
        assert_int_equal(cluster_topic_name_is_legal(cases[i].name, strlen(cases[i].name)), cases[i].legal);
    memset(longest, 'x', sizeof(longest));
    longest[TIDE_TOPIC_NAME_MAX + 1] = 0;
    assert_false(cluster_topic_name_is_legal(longest, TIDE_TOPIC_NAME_MAX + 1));
    longest[TIDE_TOPIC_NAME_MAX] = 0;
    assert_true(cluster_topic_name_is_legal(longest, TIDE_TOPIC_NAME_MAX));
}

/* ---- the cluster itself ------------------------------------------------------------------------------ */

static void test_birth(void **state)
{
    struct cluster_config configs[] = {{"min.insync.replicas", "2"}, {"ack.durability", "memory"}};
    struct cluster_command m = {.kind = CLUSTER_INIT, .init = {.cluster_id = {{9}}, .created_ms = 77, .config_count = 2, .configs = configs}};
    cluster_destroy(c);
    c = cluster_create(&world_memory);
    assert_true(tide_uuid_is_zero(cluster_id(c)));
    assert_int_equal(cluster_feature(c, CLUSTER_FEATURE_ELR), 0);
    m.init.cluster_id.bytes[0] = 0;
    assert_int_equal(world_apply(&m), KAFKA_INVALID_REQUEST);
    m.init.cluster_id.bytes[0] = 9;
    strcpy(configs[0].value, "17");
    assert_int_equal(world_apply(&m), KAFKA_INVALID_CONFIG);
    assert_true(tide_uuid_is_zero(cluster_id(c)));
    strcpy(configs[0].value, "2");
    assert_int_equal(world_apply(&m), 0);
    assert_int_equal(cluster_id(c)->bytes[0], 9);
    assert_int_equal(cluster_created_ms(c), 77);
    assert_int_equal(cluster_feature_count(c), 2); /* for ever, whatever levels a later release knows: it replays this command */
    assert_int_equal(cluster_feature(c, CLUSTER_FEATURE_ELR), 1);
    assert_int_equal(cluster_feature(c, CLUSTER_FEATURE_METADATA), 25);
    assert_int_equal(cluster_feature(c, CLUSTER_FEATURE_GROUP), 0);
    assert_string_equal(cluster_broker_config(c, -1, "min.insync.replicas"), "2");
    assert_int_equal(world_apply(&m), 0); /* the same again */
    m.init.cluster_id.bytes[0] = 8;
    assert_int_equal(world_apply(&m), KAFKA_INCONSISTENT_CLUSTER_ID);
    assert_int_equal(cluster_id(c)->bytes[0], 9);
}

static void test_levels_of_a_birth(void **state)
{
    struct cluster_command m = {.kind = CLUSTER_INIT,
                                .init = {.cluster_id = {{9}}, .feature_count = 2, .features = {{CLUSTER_FEATURE_GROUP, 1}, {"none", 1}}}};
    cluster_destroy(c);
    c = cluster_create(&world_memory);
    assert_int_equal(world_apply(&m), KAFKA_INVALID_UPDATE_VERSION);
    strcpy(m.init.features[1].name, CLUSTER_FEATURE_METADATA);
    assert_int_equal(world_apply(&m), KAFKA_INVALID_UPDATE_VERSION); /* no such level of it */
    strcpy(m.init.features[1].name, CLUSTER_FEATURE_ELR);
    m.init.features[1].level = 2;
    assert_int_equal(world_apply(&m), KAFKA_INVALID_UPDATE_VERSION);
    m.init.features[1].level = -1;
    assert_int_equal(world_apply(&m), KAFKA_INVALID_UPDATE_VERSION);
    assert_true(tide_uuid_is_zero(cluster_id(c)));
    assert_int_equal(cluster_feature_count(c), 0);
    m.init.features[1].level = 0;
    assert_int_equal(world_apply(&m), 0);
    assert_int_equal(cluster_feature_count(c), 2);
    assert_int_equal(cluster_feature(c, CLUSTER_FEATURE_GROUP), 1);
    assert_int_equal(cluster_feature(c, CLUSTER_FEATURE_ELR), 0);
    assert_int_equal(cluster_feature(c, CLUSTER_FEATURE_METADATA), 25);
}

static int16_t controller(int32_t node, uint64_t term)
{
    struct cluster_command m = {.kind = CLUSTER_CONTROLLER_EPOCH, .controller_epoch_of = {node, term}};
    return world_apply(&m);
}

static void test_controller_epochs_only_grow(void **state)
{
    assert_int_equal(cluster_controller(c), -1);
    assert_int_equal(controller(1, 4), 0);
    assert_int_equal(controller(2, 4), KAFKA_STALE_CONTROLLER_EPOCH);
    assert_int_equal(controller(2, 3), KAFKA_STALE_CONTROLLER_EPOCH);
    assert_int_equal(cluster_controller(c), 1);
    assert_int_equal(controller(2, 5), 0);
    assert_int_equal(cluster_controller(c), 2);
    assert_int_equal(cluster_controller_epoch(c), 5);
}

/* Every kind but CONTROLLER_EPOCH. */
static void test_commands_of_a_former_controller_do_nothing(void **state)
{
    assert_int_equal(controller(1, 4), 0);
    assert_int_equal(make_topic("t", "1,2,5", ""), 0);
    for (int kind = CLUSTER_INIT; kind < CLUSTER_COMMAND_KIND_COUNT; kind++) {
        struct cluster_command m = {.kind = (enum cluster_command_kind)kind, .controller_epoch = kind % 2 ? 3 : 5};
        uint64_t index = cluster_index(c);
        if (kind == CLUSTER_CONTROLLER_EPOCH)
            continue;
        assert_int_equal(world_apply(&m), KAFKA_NOT_CONTROLLER);
        assert_int_equal(cluster_index(c), index + 1);
        assert_int_equal(r.item_count, 0);
    }
    expect_picture("t", 0, "1/0 [1,2,5]");
}

static void test_producer_ids_are_never_given_twice(void **state)
{
    struct cluster_command m = {.kind = CLUSTER_PRODUCER_ID_BLOCK, .producer_ids = {.broker = 1, .count = 1000}};
    int64_t next = cluster_next_producer_id(c);
    assert_int_equal(world_apply(&m), KAFKA_STALE_BROKER_EPOCH);
    m.producer_ids.broker_epoch = cluster_find_broker(c, 1)->epoch;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(world_apply(&m), 0);
        assert_int_equal(r.first_producer_id, next);
        next += 1000;
        assert_int_equal(cluster_next_producer_id(c), next);
    }
    m.producer_ids.count = 0;
    assert_int_equal(world_apply(&m), KAFKA_INVALID_REQUEST);
    m.producer_ids.broker = 7;
    assert_int_equal(world_apply(&m), KAFKA_STALE_BROKER_EPOCH);
    assert_int_equal(cluster_next_producer_id(c), next);
}

/* ---- creating ------------------------------------------------------------------------------------- */

static int16_t create(const char *name, int32_t partitions, int32_t replicas)
{
    struct cluster_command m = {.kind = CLUSTER_CREATE_TOPIC,
                                .create_topic = {.id = topic_uuid(name), .partition_count = partitions, .replication_factor = replicas}};
    snprintf(m.create_topic.name, sizeof(m.create_topic.name), "%s", name);
    return world_apply(&m);
}

static void test_create_and_find(void **state)
{
    assert_int_equal(make_topic("events", "1,2;2,5;5,1;1,5", "segment.ms=7;retention.ms=5"), 0);
    const struct cluster_topic *t = cluster_find_topic(c, "events");
    struct tide_uuid id = topic_uuid("events");
    assert_non_null(t);
    assert_ptr_equal(cluster_find_topic_by_id(c, &id), t);
    assert_ptr_equal(cluster_topic_at(c, 0), t);
    assert_null(cluster_find_topic(c, "event"));
    assert_string_equal(cluster_topic_config(t, "retention.ms"), "5");
    assert_null(cluster_topic_config(t, "retention.bytes"));
    assert_int_equal(t->partition_count, 4);
    assert_int_equal(r.item_count, 4);
    assert_int_equal(r.items[1].ids[1], 5);
    expect_picture("events", 1, "2/0 [2,5]");
    assert_int_equal(partition_of("events", 1)->partition_epoch, 0);
    assert_non_null(cluster_find_partition(c, &id, 3));
    assert_null(cluster_find_partition(c, &id, 4));
    assert_null(cluster_find_partition(c, &id, -1));
}

static void test_creation_errors(void **state)
{
    static const struct {
        const char *name;
        int32_t partitions, replicas;
        int16_t error;
    } cases[] = {
        {"events.one", 1, 1, 0},
        {"events.one", 0, 0, KAFKA_TOPIC_ALREADY_EXISTS}, /* before the counts */
        {"events_one", 0, 1, KAFKA_INVALID_TOPIC_EXCEPTION}, /* the same metric */
        {"events-one", 1, 1, 0},
        {"events.one.more", 1, 1, 0},
        {"", 0, 1, KAFKA_INVALID_TOPIC_EXCEPTION},
        {"..", 1, 1, KAFKA_INVALID_TOPIC_EXCEPTION},
        {"a b", 1, 1, KAFKA_INVALID_TOPIC_EXCEPTION},
        {"__cluster_metadata", 1, 1, KAFKA_INVALID_TOPIC_EXCEPTION},
        {"none", 0, 0, KAFKA_INVALID_PARTITIONS},
        {"fewer", -1, 1, KAFKA_INVALID_PARTITIONS},
        {"many", CLUSTER_PARTITIONS_MAX + 1, 1, KAFKA_INVALID_PARTITIONS},
        {"huge", INT32_MAX, 1, KAFKA_INVALID_PARTITIONS},
        {"no-replica", 1, 0, KAFKA_INVALID_REPLICATION_FACTOR},
        {"too-many", 1, 4, KAFKA_INVALID_REPLICATION_FACTOR},
        {"far-too-many", 1, INT32_MAX, KAFKA_INVALID_REPLICATION_FACTOR},
        {"most", CLUSTER_PARTITIONS_MAX - 3, 3, 0},
        {"over-the-limit", 4, 3, KAFKA_POLICY_VIOLATION},
    };
    uint32_t count = 0;
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        assert_int_equal(create(cases[i].name, cases[i].partitions, cases[i].replicas), cases[i].error);
        count += cases[i].error == 0;
        assert_int_equal(cluster_topic_count(c), count);
        assert_int_equal(r.message[0] != 0, cases[i].error != 0);
    }
}

static void test_delete(void **state)
{
    struct cluster_command gone = {.kind = CLUSTER_DELETE_TOPIC, .delete_topic = topic_uuid("a")};
    assert_int_equal(world_apply(&gone), KAFKA_UNKNOWN_TOPIC_ID);
    assert_int_equal(create("a", 1, 1), 0);
    assert_int_equal(create("b", 1, 1), 0);
    assert_int_equal(world_apply(&gone), 0);
    assert_null(cluster_find_topic(c, "a"));
    assert_non_null(cluster_find_topic(c, "b"));
    assert_int_equal(cluster_partition_count(c), 1);
    assert_int_equal(world_apply(&gone), KAFKA_UNKNOWN_TOPIC_ID);
    assert_int_equal(create("a", 1, 1), 0);
}

static void test_topics_are_sorted(void **state)
{
    struct tide_random random = {9};
    for (unsigned i = 0; i < 200; i++) {
        char name[16];
        snprintf(name, sizeof(name), "t%lu", (unsigned long)tide_random_below(&random, 300));
        if (cluster_find_topic(c, name) != NULL && tide_random_hits(&random, 2)) {
            struct cluster_command gone = {.kind = CLUSTER_DELETE_TOPIC, .delete_topic = topic_uuid(name)};
            assert_int_equal(world_apply(&gone), 0);
        } else {
            (void)create(name, 1, 1);
        }
    }
    for (uint32_t i = 1; i < cluster_topic_count(c); i++)
        assert_true(strcmp(cluster_topic_at(c, i - 1)->name, cluster_topic_at(c, i)->name) < 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_names),
        TEST(test_birth),
        TEST(test_levels_of_a_birth),
        TEST(test_controller_epochs_only_grow),
        TEST(test_commands_of_a_former_controller_do_nothing),
        TEST(test_producer_ids_are_never_given_twice),
        TEST(test_create_and_find),
        TEST(test_creation_errors),
        TEST(test_delete),
        TEST(test_topics_are_sorted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
