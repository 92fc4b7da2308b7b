/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings: what apply judges and stores, what the proposer judges, and what the three that matter do to partitions.
 */
#include "cluster_world.h"

#include "settings/settings.h"

static struct cluster_config_change changes[CLUSTER_CONFIGS_MAX];
static struct cluster_resource_change resource;
static struct cluster_command m;

/* "=name value" sets, "-name" deletes, "+name words" appends, "/name words" subtracts; separated by ';'. */
static const struct cluster_command *request(uint8_t type, const char *name, const char *text)
{
    memset(changes, 0, sizeof(changes));
    resource = (struct cluster_resource_change){.type = type, .changes = changes};
    snprintf(resource.name, sizeof(resource.name), "%s", name);
    while (*text != 0) {
        struct cluster_config_change *n = &changes[resource.change_count++];
        size_t whole = strcspn(text, ";"), word = strcspn(text + 1, " ;");
        n->op = text[0] == '=' ? CLUSTER_CONFIG_SET : text[0] == '-' ? CLUSTER_CONFIG_DELETE : text[0] == '+' ? CLUSTER_CONFIG_APPEND : CLUSTER_CONFIG_SUBTRACT;
        memcpy(n->name, text + 1, word);
        if (word + 2 <= whole)
            memcpy(n->value, text + 2 + word, whole - word - 2);
        text += whole + (text[whole] == ';');
    }
    m = (struct cluster_command){.kind = CLUSTER_ALTER_CONFIGS, .alter_configs = {.count = 1, .resources = &resource}};
    return &m;
}

static int16_t alter(uint8_t type, const char *name, const char *text)
{
    world_apply(request(type, name, text));
    return world_item_error();
}

static int16_t topic(const char *text) { return alter(CLUSTER_RESOURCE_TOPIC, "t", text); }
static const char *value(const char *name) { return cluster_topic_config(cluster_find_topic(c, "t"), name); }

/* ---- apply ------------------------------------------------------------------------------------------------------- */

static void test_set_and_delete(void **state)
{
    uint64_t before;
    assert_int_equal(topic("=retention.ms 1"), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(make_topic("t", "1,2,5", "segment.ms=9"), 0);
    assert_int_equal(topic("=retention.ms 1;=max.message.bytes 2;-segment.ms;-index.interval.bytes"), 0);
    assert_string_equal(value("retention.ms"), "1");
    assert_string_equal(value("max.message.bytes"), "2");
    assert_null(value("segment.ms"));
    assert_int_equal(cluster_find_topic(c, "t")->config_count, 2);
    before = cluster_find_topic(c, "t")->configs_changed;
    assert_int_equal(topic("=retention.ms 1"), 0); /* as it is */
    assert_int_equal(cluster_find_topic(c, "t")->configs_changed, before);
    assert_int_equal(topic("=retention.ms 3;=min.insync.replicas 0"), KAFKA_INVALID_CONFIG); /* all or none */
    assert_string_equal(value("retention.ms"), "1");
    assert_int_equal(topic("=retention.ms 3;-retention.ms"), KAFKA_INVALID_REQUEST);
    assert_int_equal(topic("= 3"), KAFKA_INVALID_CONFIG);
    request(CLUSTER_RESOURCE_TOPIC, "t", "=segment.ms 4");
    resource.replace = true;
    world_apply(&m);
    assert_int_equal(world_item_error(), 0);
    assert_int_equal(cluster_find_topic(c, "t")->config_count, 1);
    assert_string_equal(value("segment.ms"), "4");
    request(CLUSTER_RESOURCE_TOPIC, "t", "-segment.ms");
    resource.replace = true;
    world_apply(&m);
    assert_int_equal(world_item_error(), KAFKA_INVALID_REQUEST);
    changes[0].op = 4;
    resource.replace = false;
    world_apply(&m);
    assert_int_equal(world_item_error(), KAFKA_INVALID_REQUEST);
    request(CLUSTER_RESOURCE_TOPIC, "t", "=segment.ms 5");
    m.alter_configs.validate_only = true;
    world_apply(&m);
    assert_int_equal(world_item_error(), 0);
    assert_string_equal(value("segment.ms"), "4");
}

static void test_a_list_grows_and_shrinks(void **state)
{
    assert_int_equal(make_topic("t", "1", ""), 0);
    assert_int_equal(topic("+cleanup.policy compact"), 0);
    assert_string_equal(value("cleanup.policy"), "delete,compact"); /* delete is the default */
    assert_int_equal(topic("+cleanup.policy compact,delete"), 0);
    assert_string_equal(value("cleanup.policy"), "delete,compact");
    assert_int_equal(topic("/cleanup.policy delete,none"), 0);
    assert_string_equal(value("cleanup.policy"), "compact");
    assert_int_equal(topic("/cleanup.policy compact"), KAFKA_INVALID_CONFIG); /* nothing would be left */
    assert_int_equal(topic("-cleanup.policy"), 0);
    assert_int_equal(alter(CLUSTER_RESOURCE_BROKER, "", "=log.cleanup.policy compact"), 0);
    assert_int_equal(topic("+cleanup.policy compact"), 0); /* to what all brokers have */
    assert_string_equal(value("cleanup.policy"), "compact");
    assert_int_equal(topic("+retention.ms 1"), KAFKA_INVALID_CONFIG);
    assert_int_equal(topic("/min.insync.replicas 1"), KAFKA_INVALID_CONFIG);
}

static void test_resources(void **state)
{
    struct cluster_resource_change two[2];
    const struct cluster_config *list;
    assert_int_equal(make_topic("t", "1", ""), 0);
    assert_int_equal(alter(CLUSTER_RESOURCE_BROKER, "", "=log.retention.ms 7"), 0);
    assert_int_equal(alter(CLUSTER_RESOURCE_BROKER, "2", "=log.retention.ms 8"), 0);
    assert_int_equal(alter(CLUSTER_RESOURCE_BROKER, "9", "=log.retention.ms 8"), KAFKA_BROKER_ID_NOT_REGISTERED);
    assert_int_equal(alter(CLUSTER_RESOURCE_BROKER, "x", "=log.retention.ms 8"), KAFKA_INVALID_REQUEST);
    assert_int_equal(alter(CLUSTER_RESOURCE_BROKER, "99999999999", "=log.retention.ms 8"), KAFKA_INVALID_REQUEST);
    assert_int_equal(alter(16, "x", "=log.retention.ms 8"), KAFKA_INVALID_REQUEST);
    assert_int_equal(alter(CLUSTER_RESOURCE_BROKER, "2", "=min.insync.replicas 2"), KAFKA_INVALID_CONFIG); /* for all or none */
    assert_int_equal(alter(CLUSTER_RESOURCE_BROKER, "2", "-min.insync.replicas"), KAFKA_INVALID_CONFIG);
    assert_string_equal(cluster_broker_config(c, -1, "log.retention.ms"), "7");
    assert_string_equal(cluster_broker_config(c, 2, "log.retention.ms"), "8");
    assert_null(cluster_broker_config(c, 1, "log.retention.ms"));
    assert_int_equal(cluster_broker_configs(c, 2, &list), 1);
    assert_int_equal(alter(CLUSTER_RESOURCE_BROKER, "2", "-log.retention.ms"), 0);
    assert_int_equal(cluster_broker_configs(c, 2, &list), 0);
    request(CLUSTER_RESOURCE_TOPIC, "t", "=retention.ms 1");
    two[0] = two[1] = resource; /* the second of a pair is refused, the first is done */
    m.alter_configs.count = 2;
    m.alter_configs.resources = two;
    world_apply(&m);
    assert_int_equal(r.item_count, 2);
    assert_int_equal(r.items[0].error, 0);
    assert_int_equal(r.items[1].error, KAFKA_INVALID_REQUEST);
    assert_string_equal(value("retention.ms"), "1");
}

static void test_there_is_a_limit(void **state)
{
    char text[64];
    assert_int_equal(make_topic("t", "1", ""), 0);
    for (int i = 0; i < CLUSTER_CONFIGS_MAX; i++) {
        snprintf(text, sizeof(text), "=key%d %d", i, i);
        assert_int_equal(topic(text), 0);
    }
    assert_int_equal(topic("=one.more 1"), KAFKA_INVALID_CONFIG);
    assert_int_equal(topic("=one.more 1;-key7"), 0);
    assert_string_equal(value("one.more"), "1");
}

/* ---- the three ---------------------------------------------------------------------------------------------------- */

static void test_min_insync(void **state)
{
    const struct cluster_topic *t;
    assert_int_equal(make_topic("t", "1,2,5", ""), 0);
    t = cluster_find_topic(c, "t");
    assert_int_equal(cluster_min_insync(c, t, 3), 1);
    assert_int_equal(broker_command(CLUSTER_FENCE_BROKER, 5, false), 0);
    assert_int_equal(alter(CLUSTER_RESOURCE_BROKER, "", "=min.insync.replicas 3"), 0);
    assert_int_equal(cluster_min_insync(c, t, 3), 3);
    assert_int_equal(cluster_min_insync(c, t, 2), 2);
    expect_picture("t", 0, "1/0 [1,2]"); /* 5 left while that was enough */
    assert_int_equal(broker_command(CLUSTER_FENCE_BROKER, 2, false), 0);
    expect_picture("t", 0, "1/0 [1] elr[2]");
    assert_int_equal(topic("=min.insync.replicas 2"), 0);
    assert_int_equal(cluster_min_insync(c, t, 3), 2);
    expect_picture("t", 0, "1/0 [1] elr[2]");
    assert_int_equal(topic("=min.insync.replicas 1"), 0); /* the high watermark moves on without 2 */
    expect_picture("t", 0, "1/0 [1]");
    assert_int_equal(topic("-min.insync.replicas"), 0);
    expect_picture("t", 0, "1/0 [1]");
    assert_int_equal(broker_command(CLUSTER_FENCE_BROKER, 1, false), 0);
    expect_picture("t", 0, "-1/1 [] elr[1] ~1");
    assert_int_equal(topic("=min.insync.replicas 17"), KAFKA_INVALID_CONFIG);
    assert_int_equal(topic("=min.insync.replicas 1x"), KAFKA_INVALID_CONFIG);
    assert_int_equal(topic("=min.insync.replicas"), KAFKA_INVALID_CONFIG);
    assert_int_equal(topic("=min.insync.replicas 4294967297"), KAFKA_INVALID_CONFIG);
}

static void test_unclean_and_durability(void **state)
{
    const struct cluster_topic *t;
    assert_int_equal(make_topic("t", "1,2", ""), 0);
    t = cluster_find_topic(c, "t");
    assert_false(cluster_unclean_allowed(c, t));
    assert_false(cluster_acks_from_memory(c, t));
    assert_int_equal(alter(CLUSTER_RESOURCE_BROKER, "", "=unclean.leader.election.enable true;=ack.durability memory"), 0);
    assert_true(cluster_unclean_allowed(c, t));
    assert_true(cluster_acks_from_memory(c, t));
    assert_int_equal(topic("=unclean.leader.election.enable false;=ack.durability device"), 0);
    assert_false(cluster_unclean_allowed(c, t));
    assert_false(cluster_acks_from_memory(c, t));
    assert_int_equal(topic("=unclean.leader.election.enable yes"), KAFKA_INVALID_CONFIG);
    assert_int_equal(topic("=ack.durability none"), KAFKA_INVALID_CONFIG);
    assert_int_equal(broker_command(CLUSTER_FENCE_BROKER, 2, false), 0);
    assert_int_equal(broker_command(CLUSTER_FENCE_BROKER, 1, false), 0);
    assert_int_equal(broker_command(CLUSTER_UNFENCE_BROKER, 2, false), 0);
    expect_picture("t", 0, "-1/1 [] elr[1] ~1");
    assert_int_equal(topic("-unclean.leader.election.enable"), 0); /* the default of all brokers allows it */
    expect_picture("t", 0, "2*/2 [2]");
}

/* ---- the proposer ------------------------------------------------------------------------------------------------------ */

static int16_t proposed(uint8_t type, const char *name, const char *text)
{
    struct cluster_result result;
    bool good = cluster_command_check(request(type, name, text), &result);
    int16_t error = result.item_count != 0 ? result.items[0].error : result.error;
    assert_int_equal(good, error == 0);
    cluster_result_free(&result);
    return error;
}

static void test_what_is_proposed(void **state)
{
    assert_int_equal(proposed(CLUSTER_RESOURCE_TOPIC, "t", "=retention.ms 5"), 0);
    assert_int_equal(proposed(CLUSTER_RESOURCE_TOPIC, "t", "=retention.ms five"), KAFKA_INVALID_CONFIG);
    assert_int_equal(proposed(CLUSTER_RESOURCE_TOPIC, "t", "=log.retention.ms 5"), KAFKA_INVALID_CONFIG);
    assert_int_equal(proposed(CLUSTER_RESOURCE_TOPIC, "t", "-nobody.knows"), 0);
    assert_int_equal(proposed(CLUSTER_RESOURCE_TOPIC, "t", "+cleanup.policy compact"), 0);
    assert_int_equal(proposed(CLUSTER_RESOURCE_TOPIC, "t", "+cleanup.policy compact,none"), KAFKA_INVALID_CONFIG);
    assert_int_equal(proposed(CLUSTER_RESOURCE_BROKER, "", "=log.retention.ms 5"), 0);
    assert_int_equal(proposed(CLUSTER_RESOURCE_BROKER, "1", "=retention.ms 5"), KAFKA_INVALID_CONFIG);
    assert_int_equal(proposed(CLUSTER_RESOURCE_BROKER, "1", "=num.partitions 5"), KAFKA_INVALID_CONFIG); /* only in the file */
    struct cluster_config list[] = {{"retention.ms", "5"}, {"none", "1"}};
    struct cluster_command create = {.kind = CLUSTER_CREATE_TOPIC, .create_topic = {.config_count = 1, .configs = list}};
    struct cluster_result result;
    assert_true(cluster_command_check(&create, &result));
    create.create_topic.config_count = 2;
    assert_false(cluster_command_check(&create, &result));
    assert_int_equal(result.error, KAFKA_INVALID_CONFIG);
    assert_true(result.message[0] != 0);
}

static void test_the_file_at_birth(void **state)
{
    static struct tide_settings s;
    struct cluster_config list[CLUSTER_BIRTH_CONFIGS_MAX];
    static const char text[] = "node.id=1\ndata.address=10.0.0.1/24\ndata.ports=vdev:net_null0\nack.durability=memory\nmin.insync.replicas=2\n";
    char error[SETTINGS_ERROR_MAX];
    int line;
    settings_defaults(&s);
    assert_int_equal(cluster_birth_configs(&s, list), 0);
    assert_int_equal(settings_parse(text, sizeof(text) - 1, &s, &line, error, sizeof(error)), TIDE_OK);
    assert_int_equal(cluster_birth_configs(&s, list), 2);
    assert_string_equal(list[0].name, "min.insync.replicas");
    assert_string_equal(list[0].value, "2");
    assert_string_equal(list[1].name, "ack.durability");
    assert_string_equal(list[1].value, "memory");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_set_and_delete),
        TEST(test_a_list_grows_and_shrinks),
        TEST(test_resources),
        TEST(test_there_is_a_limit),
        TEST(test_min_insync),
        TEST(test_unclean_and_durability),
        TEST(test_what_is_proposed),
        TEST(test_the_file_at_birth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
