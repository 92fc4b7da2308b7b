/* SPDX-License-Identifier: Apache-2.0 */
/* Settings of topics and brokers, described and altered. */
#include "admin_world.h"

/* ---- settings --------------------------------------------------------------------------------------------------------------------- */

enum { TOPIC = 2, BROKER = 4 };

static struct describe_configs_response described;
static struct describe_configs_response_result result;

static int16_t describe(int16_t v, int8_t type, const char *name, const char *key)
{
    struct wire_writer *q = begin(KAFKA_API_DESCRIBE_CONFIGS, v);
    describe_configs_request_open_resources(q, v, 1);
    describe_configs_request_resource_put_resource_type(q, v, type);
    describe_configs_request_resource_put_resource_name(q, v, name, (uint32_t)strlen(name));
    describe_configs_request_resource_open_configuration_keys(q, v, key != NULL ? 1 : -1);
    if (key != NULL)
        wire_put_string(q, v >= 4, key, (uint32_t)strlen(key));
    describe_configs_request_resource_end(q, v);
    describe_configs_request_put_include_synonyms(q, v, true);
    describe_configs_request_put_include_documentation(q, v, true);
    describe_configs_request_end(q, v);
    assert_true(describe_configs_response_read(call(), v, &described));
    assert_true(describe_configs_response_result_next(&described.results, v, &result));
    return result.error_code;
}

/* "value source type ro: name=value/source ..." of one setting. */
static void setting_is(int8_t type, const char *resource, const char *key, const char *want)
{
    for (int16_t v = 1; v <= 4; v++) {
        char got[512], name[64], value[64];
        struct describe_configs_response_config c;
        struct describe_configs_response_synonym s;
        assert_int_equal(describe(v, type, resource, key), 0);
        assert_int_equal(result.configs.count, want != NULL);
        if (want != NULL) {
            assert_true(describe_configs_response_config_next(&result.configs, v, &c));
            text_is(&c.name, key);
            (void)wire_bytes_copy(&c.value, value, sizeof(value));
            snprintf(got, sizeof(got), "%s %d %s:", value, c.config_source, c.read_only ? "ro" : "rw");
            while (describe_configs_response_synonym_next(&c.synonyms, v, &s)) {
                (void)wire_bytes_copy(&s.name, name, sizeof(name));
                (void)wire_bytes_copy(&s.value, value, sizeof(value));
                snprintf(got + strlen(got), sizeof(got) - strlen(got), " %s=%s/%d", name, value, s.source);
            }
            assert_string_equal(got, want);
            assert_int_equal(c.documentation.null, v < 3);
        }
        done();
    }
}

static int16_t alter(int16_t v, int8_t type, const char *resource, const char *key, int8_t op, const char *value, bool validate_only, unsigned times)
{
    struct wire_writer *q = begin(KAFKA_API_INCREMENTAL_ALTER_CONFIGS, v);
    struct incremental_alter_configs_response in;
    struct incremental_alter_configs_response_response r;
    unsigned keys = times == 2 ? 2 : 1;      /* a key twice */
    unsigned resources = times == 3 ? 2 : 1; /* a resource twice */
    incremental_alter_configs_request_open_resources(q, v, (int32_t)resources);
    for (unsigned i = 0; i < resources; i++) {
        incremental_alter_configs_request_resource_put_resource_type(q, v, type);
        incremental_alter_configs_request_resource_put_resource_name(q, v, resource, (uint32_t)strlen(resource));
        incremental_alter_configs_request_resource_open_configs(q, v, (int32_t)keys);
        for (unsigned k = 0; k < keys; k++) {
            incremental_alter_configs_request_config_put_name(q, v, key, (uint32_t)strlen(key));
            incremental_alter_configs_request_config_put_config_operation(q, v, op);
            incremental_alter_configs_request_config_put_value(q, v, value, admin_text_len(value));
            incremental_alter_configs_request_config_end(q, v);
        }
        incremental_alter_configs_request_resource_end(q, v);
    }
    incremental_alter_configs_request_put_validate_only(q, v, validate_only);
    incremental_alter_configs_request_end(q, v);
    assert_true(incremental_alter_configs_response_read(call(), v, &in));
    assert_int_equal(in.responses.count, resources);
    while (incremental_alter_configs_response_response_next(&in.responses, v, &r)) {
        text_is(&r.resource_name, resource);
        assert_int_equal(r.resource_type, type);
        assert_int_equal(r.error_message.null, r.error_code == 0);
    }
    done();
    return r.error_code;
}

enum { SET, DELETE, APPEND, SUBTRACT };

static const struct alter_case {
    int8_t type;
    const char *resource, *key;
    int8_t op;
    const char *value;
    unsigned times;
    int16_t error;
} alterations[] = {
    {TOPIC, "t", "retention.ms", SET, "1", 1, 0},
    {TOPIC, "t", "retention.ms", DELETE, NULL, 1, 0},
    {TOPIC, "t", "cleanup.policy", APPEND, "compact", 1, 0},
    {BROKER, "", "log.retention.ms", SET, "5", 1, 0},
    {BROKER, "1", "log.retention.ms", SET, "5", 1, 0},
    {BROKER, "2", "log.retention.ms", SET, "5", 1, 0},
    {BROKER, "", "min.insync.replicas", SET, "2", 1, 0},
    {BROKER, "1", "leader.replication.throttled.rate", SET, "100", 1, 0},
    {BROKER, "", "follower.replication.throttled.rate", SET, "100", 1, 0},
    {BROKER, "", "follower.replication.throttled.rate", SET, "-1", 1, KAFKA_INVALID_CONFIG},
    {TOPIC, "t", "follower.replication.throttled.rate", SET, "100", 1, KAFKA_INVALID_CONFIG},
    {TOPIC, "t", "leader.replication.throttled.replicas", SET, "0:1,0:2", 1, 0},
    {TOPIC, "t", "leader.replication.throttled.replicas", SET, "0", 1, KAFKA_INVALID_CONFIG},
    {TOPIC, "t", "follower.replication.throttled.replicas", APPEND, "0:2", 1, 0},
    {TOPIC, "zzz", "retention.ms", SET, "1", 1, KAFKA_UNKNOWN_TOPIC_OR_PARTITION},
    {TOPIC, "a/b", "retention.ms", SET, "1", 1, KAFKA_INVALID_TOPIC_EXCEPTION},
    {TOPIC, "t", "no.such", SET, "1", 1, KAFKA_INVALID_CONFIG},
    {TOPIC, "t", "retention.ms", SET, "soon", 1, KAFKA_INVALID_CONFIG},
    {TOPIC, "t", "min.insync.replicas", SET, "17", 1, KAFKA_INVALID_CONFIG},
    {TOPIC, "t", "retention.ms", SET, NULL, 1, KAFKA_INVALID_REQUEST},
    {TOPIC, "t", "retention.ms", APPEND, "1", 1, KAFKA_INVALID_CONFIG},
    {TOPIC, "t", "retention.ms", SUBTRACT, "1", 1, KAFKA_INVALID_CONFIG},
    {TOPIC, "t", "retention.ms", 4, "1", 1, KAFKA_INVALID_REQUEST},
    {TOPIC, "t", "retention.ms", -1, "1", 1, KAFKA_INVALID_REQUEST},
    {TOPIC, "t", "retention.ms", SET, "1", 2, KAFKA_INVALID_REQUEST},
    {TOPIC, "t", "retention.ms", SET, "1", 3, KAFKA_INVALID_REQUEST},
    {TOPIC, "zzz", "retention.ms", SET, "1", 3, KAFKA_INVALID_REQUEST},
    {TOPIC, "t", "ack.durability", SET, "memory", 1, KAFKA_INVALID_REQUEST},
    {TOPIC, "t", "ack.durability", DELETE, NULL, 1, KAFKA_INVALID_REQUEST},
    {BROKER, "", "ack.durability", SET, "memory", 1, KAFKA_INVALID_REQUEST},
    {BROKER, "", "num.partitions", SET, "5", 1, KAFKA_INVALID_REQUEST},
    {BROKER, "1", "log.dirs", SET, "/x", 1, KAFKA_INVALID_REQUEST},
    {BROKER, "", "retention.ms", SET, "5", 1, KAFKA_INVALID_CONFIG},
    {BROKER, "1", "min.insync.replicas", SET, "2", 1, KAFKA_INVALID_CONFIG},
    {BROKER, "9", "log.retention.ms", SET, "5", 1, KAFKA_INVALID_REQUEST},
    {BROKER, "one", "log.retention.ms", SET, "5", 1, KAFKA_INVALID_REQUEST},
    {BROKER, "01", "log.retention.ms", SET, "5", 1, KAFKA_INVALID_REQUEST},
    {BROKER, "99999999999", "log.retention.ms", SET, "5", 1, KAFKA_INVALID_REQUEST},
    {8, "1", "log.retention.ms", SET, "5", 1, KAFKA_INVALID_REQUEST},
    {16, "x", "log.retention.ms", SET, "5", 1, KAFKA_INVALID_REQUEST},
    {0, "x", "log.retention.ms", SET, "5", 1, KAFKA_INVALID_REQUEST},
};

static void test_settings_are_changed_or_not(void **state)
{
    make("t", "0:1");
    for (size_t i = 0; i < TIDE_ARRAY_LEN(alterations); i++) {
        const struct alter_case *k = &alterations[i];
        for (int16_t v = 0; v <= 1; v++) {
            for (int validate = 1; validate >= 0; validate--) {
                uint64_t before = cluster_hash(w.c.config.cluster);
                uint64_t index = w.index;
                int16_t error = alter(v, k->type, k->resource, k->key, k->op, k->value, validate != 0, k->times);
                if (error != k->error)
                    fail_msg("%s %s %s=%s: error %d", k->resource, k->key, validate ? "asked" : "done", k->value, error);
                if (index == w.index)
                    assert_true(before == cluster_hash(w.c.config.cluster));
            }
        }
    }
    setting_is(BROKER, "", "log.retention.ms", "5 3 rw: log.retention.ms=5/3");
}

static void test_where_a_setting_comes_from(void **state)
{
    make("t", "0:1");
    setting_is(TOPIC, "t", "retention.ms", "604800000 5 rw: log.retention.ms=604800000/5");
    assert_int_equal(alter(1, BROKER, "", "log.retention.ms", SET, "300", true, 1), 0);
    setting_is(TOPIC, "t", "retention.ms", "604800000 5 rw: log.retention.ms=604800000/5");
    assert_int_equal(alter(1, BROKER, "", "log.retention.ms", SET, "300", false, 1), 0);
    setting_is(TOPIC, "t", "retention.ms", "300 3 rw: log.retention.ms=300/3 log.retention.ms=604800000/5");
    assert_int_equal(alter(1, BROKER, "2", "log.retention.ms", SET, "222", false, 1), 0);
    setting_is(TOPIC, "t", "retention.ms", "300 3 rw: log.retention.ms=300/3 log.retention.ms=604800000/5");
    assert_int_equal(alter(1, BROKER, "1", "log.retention.ms", SET, "200", false, 1), 0);
    assert_int_equal(alter(1, TOPIC, "t", "retention.ms", SET, "100", false, 1), 0);
    setting_is(TOPIC, "t", "retention.ms", "100 1 rw: retention.ms=100/1 log.retention.ms=200/2 log.retention.ms=300/3 log.retention.ms=604800000/5");
    setting_is(BROKER, "1", "log.retention.ms", "200 2 rw: log.retention.ms=200/2 log.retention.ms=300/3 log.retention.ms=604800000/5");
    setting_is(BROKER, "", "log.retention.ms", "300 3 rw: log.retention.ms=300/3");
    setting_is(BROKER, "", "num.partitions", NULL);
    setting_is(BROKER, "1", "num.partitions", "1 5 ro: num.partitions=1/5");
    setting_is(BROKER, "1", "broker.rack", " 5 ro:");
    setting_is(TOPIC, "t", "log.retention.ms", NULL);
    assert_int_equal(alter(1, TOPIC, "t", "retention.ms", DELETE, NULL, false, 1), 0);
    setting_is(TOPIC, "t", "retention.ms", "200 2 rw: log.retention.ms=200/2 log.retention.ms=300/3 log.retention.ms=604800000/5");
    assert_int_equal(alter(1, TOPIC, "t", "cleanup.policy", APPEND, "compact", false, 1), 0);
    setting_is(TOPIC, "t", "cleanup.policy", "delete,compact 1 rw: cleanup.policy=delete,compact/1 log.cleanup.policy=delete/5");
    assert_int_equal(alter(1, TOPIC, "t", "cleanup.policy", SUBTRACT, "delete", false, 1), 0);
    setting_is(TOPIC, "t", "cleanup.policy", "compact 1 rw: cleanup.policy=compact/1 log.cleanup.policy=delete/5");
}

/* KIP-73, as the reassignment tools of Kafka set it and take it away. */
static void test_throttles(void **state)
{
    make("t", "0:1,2;1:1,2");
    const struct cluster_topic *t = cluster_find_topic(w.c.config.cluster, "t");
    configs_refresh(&w.c);
    assert_int_equal(w.c.leader_throttle.rate, INT64_MAX);
    assert_false(leader_is_throttled(&w.c, t, 0));
    setting_is(TOPIC, "t", "leader.replication.throttled.replicas", " 5 rw: leader.replication.throttled.replicas=/5");
    assert_int_equal(alter(1, BROKER, "1", "leader.replication.throttled.rate", SET, "1000", false, 1), 0);
    assert_int_equal(alter(1, BROKER, "2", "leader.replication.throttled.rate", SET, "2000", false, 1), 0);
    assert_int_equal(alter(1, BROKER, "", "follower.replication.throttled.rate", SET, "3000", false, 1), 0);
    assert_int_equal(alter(1, TOPIC, "t", "leader.replication.throttled.replicas", APPEND, "1:1", false, 1), 0);
    assert_int_equal(alter(1, TOPIC, "t", "leader.replication.throttled.replicas", APPEND, "0:2", false, 1), 0);
    assert_int_equal(alter(1, TOPIC, "t", "follower.replication.throttled.replicas", SET, "*", false, 1), 0);
    setting_is(TOPIC, "t", "leader.replication.throttled.replicas",
               "1:1,0:2 1 rw: leader.replication.throttled.replicas=1:1,0:2/1 leader.replication.throttled.replicas=/5");
    configs_refresh(&w.c);
    assert_int_equal(w.c.leader_throttle.rate, 1000);
    assert_int_equal(w.c.follower_throttle.rate, 3000);
    assert_false(leader_is_throttled(&w.c, t, 0));
    assert_true(leader_is_throttled(&w.c, t, 1));
    assert_true(follower_is_throttled(&w.c, t, 0));
    assert_int_equal(alter(1, BROKER, "1", "leader.replication.throttled.rate", DELETE, NULL, false, 1), 0);
    assert_int_equal(alter(1, TOPIC, "t", "leader.replication.throttled.replicas", SUBTRACT, "1:1", false, 1), 0);
    assert_int_equal(alter(1, TOPIC, "t", "follower.replication.throttled.replicas", DELETE, NULL, false, 1), 0);
    configs_refresh(&w.c);
    assert_int_equal(w.c.leader_throttle.rate, INT64_MAX);
    assert_false(leader_is_throttled(&w.c, t, 1));
    assert_false(follower_is_throttled(&w.c, t, 0));
}

static void test_what_a_partition_works_with(void **state)
{
    struct tide_topic_config config;
    make("t", "0:1,2");
    const struct cluster_topic *t = cluster_find_topic(w.c.config.cluster, "t");
    assert_int_equal(alter(1, BROKER, "", "log.retention.ms", SET, "300", false, 1), 0);
    assert_int_equal(alter(1, BROKER, "1", "message.max.bytes", SET, "2000", false, 1), 0);
    assert_int_equal(alter(1, BROKER, "2", "message.max.bytes", SET, "3000", false, 1), 0);
    assert_int_equal(alter(1, TOPIC, "t", "segment.bytes", SET, "2000000", false, 1), 0);
    w.settings.min_insync_replicas = 2; /* in the file; the cluster goes by what all agreed on */
    for (unsigned i = 0; i < setting_row_count; i++)
        if (strcmp(setting_rows[i].name, "min.insync.replicas") == 0)
            w.settings.given[i / 64] |= 1ull << i % 64;
    configs_refresh(&w.c);
    topic_config_of(&w.c, t, &config);
    assert_int_equal(config.retention_ms, 300);
    assert_int_equal(config.max_message_bytes, 2000);
    assert_int_equal(config.segment_bytes, 2000000);
    assert_int_equal(config.min_insync_replicas, 1);
    assert_int_equal(config.delete_retention_ms, 86400000);
}

static void test_resources_that_cannot_be_described(void **state)
{
    static const struct {
        int8_t type;
        const char *name;
        int16_t error;
    } cases[] = {{TOPIC, "zzz", KAFKA_UNKNOWN_TOPIC_OR_PARTITION}, {TOPIC, "..", KAFKA_INVALID_TOPIC_EXCEPTION}, {BROKER, "2", KAFKA_INVALID_REQUEST},
                 {BROKER, "x", KAFKA_INVALID_REQUEST},            {8, "1", KAFKA_INVALID_REQUEST},               {0, "", KAFKA_INVALID_REQUEST},
                 {BROKER, "1", 0}};
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        assert_int_equal(describe(4, cases[i].type, cases[i].name, NULL), cases[i].error);
        if (cases[i].error == 0)
            assert_int_equal(result.configs.count, setting_row_count);
        else
            assert_int_equal(result.configs.count, 0);
        done();
    }
}

static int16_t replace(int16_t v, const char *resource, const char *key, const char *value, bool validate_only)
{
    struct wire_writer *q = begin(KAFKA_API_ALTER_CONFIGS, v);
    struct alter_configs_response in;
    struct alter_configs_response_response r;
    alter_configs_request_open_resources(q, v, 1);
    alter_configs_request_resource_put_resource_type(q, v, TOPIC);
    alter_configs_request_resource_put_resource_name(q, v, resource, (uint32_t)strlen(resource));
    alter_configs_request_resource_open_configs(q, v, key != NULL);
    if (key != NULL) {
        alter_configs_request_config_put_name(q, v, key, (uint32_t)strlen(key));
        alter_configs_request_config_put_value(q, v, value, admin_text_len(value));
        alter_configs_request_config_end(q, v);
    }
    alter_configs_request_resource_end(q, v);
    alter_configs_request_put_validate_only(q, v, validate_only);
    alter_configs_request_end(q, v);
    assert_true(alter_configs_response_read(call(), v, &in));
    assert_true(alter_configs_response_response_next(&in.responses, v, &r));
    done();
    return r.error_code;
}

static void test_settings_are_replaced(void **state)
{
    make("t", "0:1");
    const struct cluster_topic *t = cluster_find_topic(w.c.config.cluster, "t");
    assert_int_equal(replace(0, "t", "retention.ms", "7", false), 0);
    assert_int_equal(replace(1, "t", "segment.ms", "8", true), 0);
    assert_string_equal(cluster_topic_config(t, "retention.ms"), "7");
    assert_int_equal(replace(2, "t", "segment.ms", "8", false), 0);
    assert_null(cluster_topic_config(t, "retention.ms"));
    assert_int_equal(replace(2, "t", "segment.ms", NULL, false), KAFKA_INVALID_REQUEST);
    assert_int_equal(replace(2, "t", "segment.ms", "0", false), KAFKA_INVALID_CONFIG);
    assert_int_equal(replace(2, "zzz", "segment.ms", "8", false), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(replace(2, "t", NULL, NULL, false), 0);
    assert_int_equal(t->config_count, 0);
    assert_int_equal(replace(2, "t", "ack.durability", "memory", false), KAFKA_INVALID_REQUEST);
    assert_int_equal(create_one(7, "u", 1, 1, NULL, "ack.durability", "memory", false), 0);
    assert_int_equal(replace(2, "u", NULL, NULL, false), KAFKA_INVALID_REQUEST);
    assert_int_equal(replace(2, "u", "ack.durability", "memory", false), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_settings_are_changed_or_not),
        CASE(test_where_a_setting_comes_from),
        CASE(test_throttles),
        CASE(test_what_a_partition_works_with),
        CASE(test_resources_that_cannot_be_described),
        CASE(test_settings_are_replaced),
    };
    return cmocka_run_group_tests(tests, open_world, NULL);
}
