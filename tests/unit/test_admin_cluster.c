/* SPDX-License-Identifier: Apache-2.0 */
/* The quorum, features, log directories, producer ids. */
#include "admin_world.h"

/* ---- brokers ------------------------------------------------------------------------------------------------------------------------------- */

static void test_the_quorum_is_told(void **state)
{
    for (int16_t v = 0; v <= 2; v++) {
        struct wire_writer *q = begin(KAFKA_API_DESCRIBE_QUORUM, v);
        struct describe_quorum_response in;
        struct describe_quorum_response_topic t;
        struct describe_quorum_response_partition p;
        struct describe_quorum_response_replica_state m;
        describe_quorum_request_open_topics(q, v, 2);
        for (int i = 0; i < 2; i++) {
            const char *name = i == 0 ? "__cluster_metadata" : "t";
            describe_quorum_request_topic_put_topic_name(q, v, name, (uint32_t)strlen(name));
            describe_quorum_request_topic_open_partitions(q, v, 1);
            describe_quorum_request_partition_put_partition_index(q, v, 0);
            describe_quorum_request_partition_end(q, v);
            describe_quorum_request_topic_end(q, v);
        }
        describe_quorum_request_end(q, v);
        assert_true(describe_quorum_response_read(call(), v, &in));
        assert_int_equal(in.error_code, 0);
        assert_int_equal(in.nodes.count, v >= 2 ? 1 : 0);
        assert_true(describe_quorum_response_topic_next(&in.topics, v, &t));
        assert_true(describe_quorum_response_partition_next(&t.partitions, v, &p));
        assert_int_equal(p.error_code, 0);
        assert_int_equal(p.leader_id, 2);
        assert_int_equal(p.leader_epoch, 5);
        assert_int_equal(p.high_watermark, 42);
        assert_int_equal(p.observers.count, 1);
        assert_true(describe_quorum_response_replica_state_next(&p.current_voters, v, &m));
        assert_int_equal(m.replica_id, 2);
        assert_int_equal(m.last_caught_up_timestamp, v >= 1 ? 1000 : -1);
        assert_true(describe_quorum_response_topic_next(&in.topics, v, &t));
        assert_true(describe_quorum_response_partition_next(&t.partitions, v, &p));
        assert_int_equal(p.error_code, KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
        done();
    }
}

static int16_t update(int16_t v, const char *feature, int16_t level, int8_t type, bool validate_only, unsigned times)
{
    struct wire_writer *q = begin(KAFKA_API_UPDATE_FEATURES, v);
    struct update_features_response in;
    update_features_request_put_timeout_ms(q, v, 1000);
    update_features_request_open_feature_updates(q, v, (int32_t)times);
    for (unsigned i = 0; i < times; i++) {
        update_features_request_feature_update_put_feature(q, v, feature, (uint32_t)strlen(feature));
        update_features_request_feature_update_put_max_version_level(q, v, level);
        update_features_request_feature_update_put_allow_downgrade(q, v, type != 1);
        update_features_request_feature_update_put_upgrade_type(q, v, type);
        update_features_request_feature_update_end(q, v);
    }
    update_features_request_put_validate_only(q, v, validate_only);
    update_features_request_end(q, v);
    assert_true(update_features_response_read(call(), v, &in));
    assert_int_equal(in.results.count, v <= 1 ? (int32_t)times : 0);
    done();
    return in.error_code;
}

static void test_features_are_updated_or_not(void **state)
{
    const struct cluster_feature_range *known = NULL;
    for (uint32_t i = 0; cluster_known_feature(i) != NULL; i++)
        if (strcmp(cluster_known_feature(i)->name, CLUSTER_FEATURE_ELR) == 0)
            known = cluster_known_feature(i);
    assert_non_null(known);
    for (int16_t v = 0; v <= 2; v++) {
        assert_int_not_equal(update(v, "no.such", 1, 1, false, 1), 0);
        assert_int_equal(update(v, CLUSTER_FEATURE_ELR, 1, 1, false, 0), KAFKA_INVALID_REQUEST);
        assert_int_equal(update(v, CLUSTER_FEATURE_ELR, 1, 1, false, 2), KAFKA_INVALID_REQUEST);
        assert_int_not_equal(update(v, CLUSTER_FEATURE_ELR, (int16_t)(known->max + 1), 1, false, 1), 0);
    }
    assert_int_equal(update(1, CLUSTER_FEATURE_ELR, 1, 4, false, 1), KAFKA_INVALID_REQUEST);
    assert_int_equal(update(2, CLUSTER_FEATURE_ELR, 0, 2, true, 1), 0);
    assert_int_equal(cluster_feature(w.c.config.cluster, CLUSTER_FEATURE_ELR), 1);
    assert_int_not_equal(update(2, CLUSTER_FEATURE_ELR, 0, 1, false, 1), 0); /* that is no upgrade */
    assert_int_equal(update(0, CLUSTER_FEATURE_ELR, 0, 2, false, 1), 0);     /* version 0 only says that it may go down */
    assert_int_equal(cluster_feature(w.c.config.cluster, CLUSTER_FEATURE_ELR), 0);
    assert_int_equal(update(2, CLUSTER_FEATURE_ELR, 1, 1, false, 1), 0);
    assert_int_equal(cluster_feature(w.c.config.cluster, CLUSTER_FEATURE_ELR), 1);
    /* This cluster is from before INIT could say it. */
    assert_int_equal(cluster_feature(w.c.config.cluster, CLUSTER_FEATURE_GROUP), 0);
    assert_int_equal(update(2, CLUSTER_FEATURE_GROUP, 1, 1, false, 1), 0);
    assert_int_equal(cluster_feature(w.c.config.cluster, CLUSTER_FEATURE_GROUP), 1);
    assert_int_not_equal(update(2, CLUSTER_FEATURE_GROUP, 0, 1, false, 1), 0);
    assert_int_equal(update(2, CLUSTER_FEATURE_GROUP, 0, 2, false, 1), 0);
    assert_int_equal(cluster_feature(w.c.config.cluster, CLUSTER_FEATURE_GROUP), 0);
}

/* topic NULL: all. Partitions that are told. */
static unsigned log_dirs(int16_t v, const char *name, int32_t partition, unsigned times)
{
    struct wire_writer *q = begin(KAFKA_API_DESCRIBE_LOG_DIRS, v);
    struct describe_log_dirs_response in;
    struct describe_log_dirs_response_result dir;
    struct describe_log_dirs_response_topic t;
    struct describe_log_dirs_response_partition p;
    unsigned n = 0;
    describe_log_dirs_request_open_topics(q, v, name != NULL ? 1 : -1);
    if (name != NULL) {
        describe_log_dirs_request_topic_put_topic(q, v, name, (uint32_t)strlen(name));
        describe_log_dirs_request_topic_open_partitions(q, v, (int32_t)times);
        for (unsigned i = 0; i < times; i++)
            wire_put_i32(q, partition);
        describe_log_dirs_request_topic_end(q, v);
    }
    describe_log_dirs_request_end(q, v);
    assert_true(describe_log_dirs_response_read(call(), v, &in));
    assert_int_equal(in.results.count, 2);
    while (describe_log_dirs_response_result_next(&in.results, v, &dir)) {
        assert_int_equal(dir.error_code, 0);
        assert_true(v >= 4 ? dir.total_bytes >= 1000 : dir.total_bytes == -1);
        while (describe_log_dirs_response_topic_next(&dir.topics, v, &t)) {
            text_is(&dir.log_dir, "/data/b");
            while (describe_log_dirs_response_partition_next(&t.partitions, v, &p)) {
                assert_int_equal(p.partition_size, 12345);
                n++;
            }
        }
    }
    done();
    return n;
}

static void test_an_offline_directory_is_told(void **state)
{
    struct wire_writer *q;
    struct describe_log_dirs_response in;
    struct describe_log_dirs_response_result dir;
    make("t", "0:1");
    w.replica = (struct replica){.state = REPLICA_SERVING, .topic_id = cluster_find_topic(w.c.config.cluster, "t")->id, .topic = "t", .log_dir = 1};
    w.c.replicas[0] = &w.replica;
    w.c.directories[1].offline = true;
    q = begin(KAFKA_API_DESCRIBE_LOG_DIRS, 4);
    describe_log_dirs_request_open_topics(q, 4, -1);
    describe_log_dirs_request_end(q, 4);
    assert_true(describe_log_dirs_response_read(call(), 4, &in));
    assert_true(describe_log_dirs_response_result_next(&in.results, 4, &dir));
    assert_int_equal(dir.error_code, 0);
    assert_true(describe_log_dirs_response_result_next(&in.results, 4, &dir));
    text_is(&dir.log_dir, "/data/b");
    assert_int_equal(dir.error_code, KAFKA_KAFKA_STORAGE_ERROR);
    assert_int_equal(dir.topics.count, 0);
    assert_int_equal(dir.total_bytes, -1);
    done();
    w.c.replicas[0] = NULL;
}

static void test_directories_are_told(void **state)
{
    make("t", "0:1");
    w.replica = (struct replica){.state = REPLICA_SERVING, .topic_id = cluster_find_topic(w.c.config.cluster, "t")->id, .topic = "t", .log_dir = 1};
    w.c.replicas[0] = &w.replica;
    for (int16_t v = 1; v <= 4; v++) {
        assert_int_equal(log_dirs(v, NULL, 0, 0), 1);
        assert_int_equal(log_dirs(v, "t", 0, 3), 1);
        assert_int_equal(log_dirs(v, "t", 1, 1), 0);
        assert_int_equal(log_dirs(v, "zzz", 0, 1), 0);
    }
    w.replica.state = REPLICA_OPENING;
    assert_int_equal(log_dirs(4, NULL, 0, 0), 0);
    assert_int_equal(log_dirs(4, "t", 0, 1), 0);
    w.c.replicas[0] = NULL;
}

/* ---- producer ids ---------------------------------------------------------------------------------------------------------------------------- */

static int64_t producer_id(int16_t *ret_error)
{
    struct init_producer_id_response in;
    assert_true(init_producer_id_response_read(answer(), 1, &in));
    *ret_error = in.error_code;
    done();
    return in.producer_id;
}

static void ask_producer_id(struct tide_mail *m, struct wire_writer *q)
{
    memset(m, 0, sizeof(*m));
    m->kind = MAIL_ASK;
    m->ask.api_key = KAFKA_API_INIT_PRODUCER_ID;
    m->ask.api_version = 1;
    wire_writer_init(q, pool);
    init_producer_id_request_put_transactional_id(q, 1, NULL, 0);
    init_producer_id_request_put_transaction_timeout_ms(q, 1, 0);
    init_producer_id_request_end(q, 1);
    m->ask.body = tide_rope_slice(&q->out, 0, q->out.len);
    admin_on_ask(&w.c, m);
}

static void test_producer_ids_come_from_durable_blocks(void **state)
{
    int16_t error;
    w.settings.producer_id_block_size = 3;
    for (int64_t i = 0; i < 7; i++) {
        ask_producer_id(&letter, &question);
        assert_int_equal(producer_id(&error), i);
        assert_int_equal(error, 0);
    }
    assert_int_equal(w.commands, 3);
    w.fail_with = KAFKA_NOT_CONTROLLER;
    for (int i = 0; i < 3; i++) {
        ask_producer_id(&letter, &question);
        (void)producer_id(&error);
        assert_int_equal(error, i < 2 ? 0 : KAFKA_COORDINATOR_NOT_AVAILABLE);
    }
}

static void test_who_needs_an_id_queues_behind_the_block(void **state)
{
    static struct tide_mail mails[5];
    struct wire_writer bodies[5];
    bool seen[6] = {0};
    w.settings.producer_id_block_size = 3;
    w.hold = true;
    for (int i = 0; i < 5; i++)
        ask_producer_id(&mails[i], &bodies[i]);
    assert_int_equal(w.held_count, 1); /* one block for all of them */
    deliver();
    assert_int_equal(w.answers, 3);
    assert_int_equal(w.held_count, 1); /* and another for those that are left */
    deliver();
    assert_int_equal(w.answers, 5);
    for (int i = 0; i < 5; i++) {
        struct init_producer_id_response in;
        wire_cursor_init(&reply, tide_rope_slice(&mails[i].ask.answer, 0, mails[i].ask.answer.len));
        assert_true(init_producer_id_response_read(&reply, 1, &in));
        assert_int_equal(in.error_code, 0);
        assert_in_range(in.producer_id, 0, 5);
        assert_false(seen[in.producer_id]);
        seen[in.producer_id] = true;
        tide_rope_clear(&mails[i].ask.answer);
        wire_writer_abandon(&bodies[i]);
    }
    tick();
}

/* The clock runs out while others wait behind the block. */
static void test_no_id_in_time(void **state)
{
    static struct tide_mail mails[2];
    struct wire_writer bodies[2];
    w.hold = true;
    for (int i = 0; i < 2; i++)
        ask_producer_id(&mails[i], &bodies[i]);
    w.now_ms += ADMIN_TIMEOUT_MS;
    tick();
    assert_int_equal(w.answers, 2);
    deliver();
    tick();
    assert_int_equal(w.c.next_producer_id, 0); /* nobody took one */
    for (int i = 0; i < 2; i++) {
        struct init_producer_id_response in;
        wire_cursor_init(&reply, tide_rope_slice(&mails[i].ask.answer, 0, mails[i].ask.answer.len));
        assert_true(init_producer_id_response_read(&reply, 1, &in));
        assert_int_equal(in.error_code, KAFKA_REQUEST_TIMED_OUT);
        tide_rope_clear(&mails[i].ask.answer);
        wire_writer_abandon(&bodies[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_the_quorum_is_told),
        CASE(test_features_are_updated_or_not),
        CASE(test_directories_are_told),
        CASE(test_an_offline_directory_is_told),
        CASE(test_producer_ids_come_from_durable_blocks),
        CASE(test_who_needs_an_id_queues_behind_the_block),
        CASE(test_no_id_in_time),
    };
    return cmocka_run_group_tests(tests, open_world, NULL);
}
