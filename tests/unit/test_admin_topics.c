/* SPDX-License-Identifier: Apache-2.0 */
/* Topics made and deleted; those that a question for metadata or for a coordinator makes. */
#include "admin_world.h"

static const struct creation_case {
    const char *name;
    int32_t partitions;
    int16_t factor;
    const char *assignment, *config, *value;
    int16_t error;
} creations[] = {
    {"good", 3, 2, NULL, NULL, NULL, 0},
    {"defaults", -1, -1, NULL, NULL, NULL, 0},
    {"manual", -1, -1, "1:2,3;0:1,2", NULL, NULL, 0},
    {"configured", 1, 1, NULL, "retention.ms", "5000", 0},
    {"there", 1, 1, NULL, NULL, NULL, KAFKA_TOPIC_ALREADY_EXISTS},
    {"the_re", 1, 1, NULL, NULL, NULL, KAFKA_INVALID_TOPIC_EXCEPTION}, /* the.re */
    {"", 1, 1, NULL, NULL, NULL, KAFKA_INVALID_TOPIC_EXCEPTION},
    {".", 1, 1, NULL, NULL, NULL, KAFKA_INVALID_TOPIC_EXCEPTION},
    {"..", 1, 1, NULL, NULL, NULL, KAFKA_INVALID_TOPIC_EXCEPTION},
    {"a/b", 1, 1, NULL, NULL, NULL, KAFKA_INVALID_TOPIC_EXCEPTION},
    {"caf\xc3\xa9", 1, 1, NULL, NULL, NULL, KAFKA_INVALID_TOPIC_EXCEPTION},
    {"__cluster_metadata", 1, 1, NULL, NULL, NULL, KAFKA_INVALID_TOPIC_EXCEPTION},
    {"p0", 0, 1, NULL, NULL, NULL, KAFKA_INVALID_PARTITIONS},
    {"p-2", -2, 1, NULL, NULL, NULL, KAFKA_INVALID_PARTITIONS},
    {"many", 4097, 1, NULL, NULL, NULL, KAFKA_INVALID_PARTITIONS},
    {"r0", 1, 0, NULL, NULL, NULL, KAFKA_INVALID_REPLICATION_FACTOR},
    {"r-2", 1, -2, NULL, NULL, NULL, KAFKA_INVALID_REPLICATION_FACTOR},
    {"r4", 1, 4, NULL, NULL, NULL, KAFKA_INVALID_REPLICATION_FACTOR},
    {"both", 2, -1, "0:1;1:2", NULL, NULL, KAFKA_INVALID_REQUEST},
    {"both2", -1, 1, "0:1;1:2", NULL, NULL, KAFKA_INVALID_REQUEST},
    {"gap", -1, -1, "0:1;2:2", NULL, NULL, KAFKA_INVALID_REPLICA_ASSIGNMENT},
    {"again", -1, -1, "0:1;0:2", NULL, NULL, KAFKA_INVALID_REPLICA_ASSIGNMENT},
    {"uneven", -1, -1, "0:1;1:2,3", NULL, NULL, KAFKA_INVALID_REPLICA_ASSIGNMENT},
    {"nobody", -1, -1, "0:1,9", NULL, NULL, KAFKA_INVALID_REPLICA_ASSIGNMENT},
    {"same", -1, -1, "0:1,1", NULL, NULL, KAFKA_INVALID_REPLICA_ASSIGNMENT},
    {"none", -1, -1, "0:", NULL, NULL, KAFKA_INVALID_REPLICA_ASSIGNMENT},
    {"wide", -1, -1, "0:1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", NULL, NULL, KAFKA_INVALID_REPLICA_ASSIGNMENT},
    {"unknown", 1, 1, NULL, "no.such.setting", "1", KAFKA_INVALID_CONFIG},
    {"soon", 1, 1, NULL, "retention.ms", "soon", KAFKA_INVALID_CONFIG},
    {"null", 1, 1, NULL, "retention.ms", NULL, KAFKA_INVALID_CONFIG},
    {"range", 1, 1, NULL, "min.insync.replicas", "0", KAFKA_INVALID_CONFIG},
    {"brokers", 1, 1, NULL, "log.retention.ms", "1000", KAFKA_INVALID_CONFIG},
};

static void test_topics_are_created_or_not(void **state)
{
    static char long_name[251], long_value[300];
    memset(long_name, 'n', 250);
    memset(long_value, '1', 299);
    make("there", "0:1");
    make("the.re", "0:1");
    for (size_t i = 0; i < TIDE_ARRAY_LEN(creations); i++) {
        const struct creation_case *k = &creations[i];
        for (int validate = 1; validate >= 0; validate--) {
            for (int16_t v = 2; v <= 7; v++) {
                uint32_t before = cluster_topic_count(w.c.config.cluster);
                int16_t error;
                if (validate == 0 && k->error == 0 && v != 7)
                    continue;
                error = create_one(v, k->name, k->partitions, k->factor, k->assignment, k->config, k->value, validate != 0);
                if (error != k->error)
                    fail_msg("%s v%d: error %d", k->name, v, error);
                assert_int_equal(cluster_topic_count(w.c.config.cluster), before + (validate == 0 && error == 0));
            }
        }
    }
    assert_int_equal(create_one(7, long_name, 1, 1, NULL, NULL, NULL, false), KAFKA_INVALID_TOPIC_EXCEPTION);
    assert_int_equal(create_one(7, "toolong", 1, 1, NULL, "retention.ms", long_value, false), KAFKA_INVALID_CONFIG);
    assert_int_equal(cluster_find_topic(w.c.config.cluster, "defaults")->partition_count, 2);
    assert_int_equal(cluster_find_topic(w.c.config.cluster, "defaults")->partitions[0].replica_count, 2);
    assert_int_equal(cluster_find_topic(w.c.config.cluster, "manual")->partitions[1].replicas[1], 3);
    assert_string_equal(cluster_topic_config(cluster_find_topic(w.c.config.cluster, "configured"), "retention.ms"), "5000");
}

static void test_a_created_topic_tells_its_settings(void **state)
{
    struct wire_writer *q = begin(KAFKA_API_CREATE_TOPICS, 7);
    struct create_topics_response_config config;
    bool seen[2] = {0};
    w.settings.retention_bytes = 77; /* as if from the file */
    for (unsigned i = 0; i < setting_row_count; i++)
        if (setting_rows[i].topic_name != NULL && strcmp(setting_rows[i].topic_name, "retention.bytes") == 0)
            w.settings.given[i / 64] |= 1ull << i % 64;
    create_topics_request_open_topics(q, 7, 1);
    put_topic(q, 7, "t", -1, -1, "0:1,2,3", "retention.ms", "9");
    end_topics(q, 7, 1000, false);
    assert_true(create_topics_response_read(call(), 7, &created));
    next_created(7, 0);
    assert_int_equal(topic.num_partitions, 1);
    assert_int_equal(topic.replication_factor, 3);
    while (create_topics_response_config_next(&topic.configs, 7, &config)) {
        char name[64];
        (void)wire_bytes_copy(&config.name, name, sizeof(name));
        if (strcmp(name, "retention.ms") == 0) {
            seen[0] = true;
            text_is(&config.value, "9");
            assert_int_equal(config.config_source, 1);
        } else if (strcmp(name, "retention.bytes") == 0) {
            seen[1] = true;
            text_is(&config.value, "77");
            assert_int_equal(config.config_source, 4);
        } else {
            assert_int_equal(config.config_source, 5);
        }
        assert_false(config.read_only);
    }
    assert_true(seen[0] && seen[1]);
    done();
}

static void test_each_topic_of_a_request_stands_alone(void **state)
{
    struct wire_writer *q = begin(KAFKA_API_CREATE_TOPICS, 5);
    create_topics_request_open_topics(q, 5, 5);
    put_topic(q, 5, "a", 1, 1, NULL, NULL, NULL);
    put_topic(q, 5, "twice", 1, 1, NULL, NULL, NULL);
    put_topic(q, 5, "b", 0, 1, NULL, NULL, NULL);
    put_topic(q, 5, "twice", 2, 1, NULL, NULL, NULL);
    put_topic(q, 5, "c", 1, 1, NULL, NULL, NULL);
    end_topics(q, 5, 60000, false);
    assert_true(create_topics_response_read(call(), 5, &created));
    next_created(5, 0);
    next_created(5, KAFKA_INVALID_REQUEST);
    next_created(5, KAFKA_INVALID_PARTITIONS);
    next_created(5, KAFKA_INVALID_REQUEST);
    next_created(5, 0);
    done();
    assert_int_equal(cluster_topic_count(w.c.config.cluster), 2);
}

/* ---- Metadata ------------------------------------------------------------------------------------------------------------- */

static void test_metadata_creates_what_is_missing(void **state)
{
    struct wire_writer *q = begin(KAFKA_API_METADATA, 4);
    make("old", "0:1");
    q = begin(KAFKA_API_METADATA, 4);
    metadata_request_open_topics(q, 4, 4);
    for (const char *const *name = (const char *const[]){"old", "new", "bad/name", TIDE_OFFSETS_TOPIC, NULL}; *name != NULL; name++) {
        metadata_request_topic_put_name(q, 4, *name, (uint32_t)strlen(*name));
        metadata_request_topic_end(q, 4);
    }
    metadata_request_put_allow_auto_topic_creation(q, 4, true);
    metadata_request_end(q, 4);
    w.unseen = true;
    send_it();
    tick();
    assert_null(w.answered);
    w.unseen = false;
    tick();
    assert_ptr_equal(w.answered, &letter);
    assert_int_equal(letter.ask.result, ASK_RERUN);
    done();
    assert_int_equal(cluster_topic_count(w.c.config.cluster), 3);
    assert_int_equal(cluster_find_topic(w.c.config.cluster, "new")->partition_count, 2);
    assert_int_equal(cluster_find_topic(w.c.config.cluster, TIDE_OFFSETS_TOPIC)->partition_count, 50); /* whoever creates it */
}

/* ---- FindCoordinator ------------------------------------------------------------------------------------------------------ */

static void ask_for_groups(void)
{
    struct wire_writer *q = begin(KAFKA_API_FIND_COORDINATOR, 2);
    find_coordinator_request_put_key(q, 2, "g", 1);
    find_coordinator_request_put_key_type(q, 2, 0);
    find_coordinator_request_end(q, 2);
    send_it();
    tick();
    assert_ptr_equal(w.answered, &letter);
    assert_int_equal(letter.ask.result, ASK_RERUN); /* whatever became of it: the core looks */
    done();
}

static const char *offsets_config(const char *name)
{
    const struct cluster_topic *t = cluster_find_topic(w.c.config.cluster, TIDE_OFFSETS_TOPIC);
    for (uint32_t i = 0; i < t->config_count; i++)
        if (strcmp(t->configs[i].name, name) == 0)
            return t->configs[i].value;
    return "";
}

static void test_the_first_group_makes_its_topic(void **state)
{
    const struct cluster_topic *t;
    struct tide_uuid id;
    ask_for_groups();
    t = cluster_find_topic(w.c.config.cluster, TIDE_OFFSETS_TOPIC);
    assert_non_null(t);
    assert_int_equal(t->partition_count, 50);
    assert_int_equal(t->partitions[0].replica_count, 3);
    assert_string_equal(offsets_config("cleanup.policy"), "compact");
    assert_string_equal(offsets_config("segment.bytes"), "104857600");
    assert_string_equal(offsets_config("min.insync.replicas"), "");
    id = t->id;
    ask_for_groups(); /* the second one finds it */
    assert_int_equal(w.commands, 1);
    assert_memory_equal(&cluster_find_topic(w.c.config.cluster, TIDE_OFFSETS_TOPIC)->id, &id, sizeof(id));
}

/* Two brokers are asked at once: both commands are on their way before either is decided. */
static void test_two_first_groups_make_one_topic(void **state)
{
    static struct tide_mail first;
    struct wire_writer *q = begin(KAFKA_API_FIND_COORDINATOR, 0);
    find_coordinator_request_put_key(q, 0, "g", 1);
    find_coordinator_request_end(q, 0);
    w.hold = true;
    first = letter;
    first.ask.body = tide_rope_slice(&question.out, 0, question.out.len);
    admin_on_ask(&w.c, &first);
    send_it();
    assert_int_equal(w.held_count, 2);
    deliver();
    deliver();
    tick();
    assert_int_equal(w.answers, 2);
    assert_int_equal(first.ask.result, ASK_RERUN);
    assert_int_equal(letter.ask.result, ASK_RERUN);
    done();
    assert_int_equal(cluster_topic_count(w.c.config.cluster), 1);
}

/* As many replicas as there can be: no more than brokers, but voters that were never seen are waited for. */
static void test_replicas_of_the_groups_topic(void **state)
{
    w.settings.voter_count = 5;
    w.settings.offsets_topic_replication_factor = 5;
    ask_for_groups();
    assert_null(cluster_find_topic(w.c.config.cluster, TIDE_OFFSETS_TOPIC));
    w.settings.voter_count = 1;
    w.settings.offsets_topic_min_insync_replicas = 2;
    fence(3, true); /* registered, and not there: it comes again */
    ask_for_groups();
    assert_null(cluster_find_topic(w.c.config.cluster, TIDE_OFFSETS_TOPIC));
    fence(3, false);
    ask_for_groups();
    assert_int_equal(cluster_find_topic(w.c.config.cluster, TIDE_OFFSETS_TOPIC)->partitions[49].replica_count, 3);
    assert_string_equal(offsets_config("min.insync.replicas"), "2");
}

/* ---- deleting -------------------------------------------------------------------------------------------------------------- */

static int16_t delete_one(int16_t v, const char *name, const struct tide_uuid *id, unsigned times)
{
    static const struct tide_uuid none;
    struct wire_writer *q = begin(KAFKA_API_DELETE_TOPICS, v);
    struct delete_topics_response in;
    struct delete_topics_response_response r;
    delete_topics_request_open_topics(q, v, (int32_t)times);
    for (unsigned i = 0; v >= 6 && i < times; i++) {
        delete_topics_request_topic_put_name(q, v, name, admin_text_len(name));
        delete_topics_request_topic_put_topic_id(q, v, id != NULL ? id : &none);
        delete_topics_request_topic_end(q, v);
    }
    delete_topics_request_open_topic_names(q, v, (int32_t)times);
    for (unsigned i = 0; v < 6 && i < times; i++)
        wire_put_string(q, v >= 4, name, admin_text_len(name));
    delete_topics_request_put_timeout_ms(q, v, 1000);
    delete_topics_request_end(q, v);
    assert_true(delete_topics_response_read(call(), v, &in));
    assert_int_equal(in.responses.count, times);
    for (unsigned i = 0; i < times; i++)
        assert_true(delete_topics_response_response_next(&in.responses, v, &r));
    done();
    return r.error_code;
}

static void test_topics_are_deleted_or_not(void **state)
{
    static const struct tide_uuid other = {{5}};
    struct tide_uuid id;
    make("a", "0:1");
    make("b", "0:1");
    make("c", "0:1");
    id = cluster_find_topic(w.c.config.cluster, "b")->id;
    assert_int_equal(delete_one(1, "zzz", NULL, 1), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(delete_one(6, NULL, &other, 1), KAFKA_UNKNOWN_TOPIC_ID);
    assert_int_equal(delete_one(6, "b", &id, 1), KAFKA_INVALID_REQUEST);
    assert_int_equal(delete_one(6, NULL, NULL, 1), KAFKA_INVALID_REQUEST);
    assert_int_equal(delete_one(3, "a", NULL, 2), KAFKA_INVALID_REQUEST);
    assert_int_equal(delete_one(6, NULL, &id, 2), KAFKA_INVALID_REQUEST);
    w.settings.delete_topic_enable = 0;
    assert_int_equal(delete_one(2, "a", NULL, 1), KAFKA_INVALID_REQUEST);
    assert_int_equal(delete_one(3, "a", NULL, 1), KAFKA_TOPIC_DELETION_DISABLED);
    assert_int_equal(delete_one(6, NULL, &other, 1), KAFKA_TOPIC_DELETION_DISABLED);
    w.settings.delete_topic_enable = 1;
    assert_int_equal(cluster_topic_count(w.c.config.cluster), 3);
    assert_int_equal(delete_one(4, "a", NULL, 1), 0);
    assert_int_equal(delete_one(6, NULL, &id, 1), 0);
    assert_int_equal(delete_one(6, "c", NULL, 1), 0);
    assert_int_equal(cluster_topic_count(w.c.config.cluster), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_topics_are_created_or_not),
        CASE(test_a_created_topic_tells_its_settings),
        CASE(test_each_topic_of_a_request_stands_alone),
        CASE(test_metadata_creates_what_is_missing),
        CASE(test_the_first_group_makes_its_topic),
        CASE(test_two_first_groups_make_one_topic),
        CASE(test_replicas_of_the_groups_topic),
        CASE(test_topics_are_deleted_or_not),
    };
    return cmocka_run_group_tests(tests, open_world, NULL);
}
