/* SPDX-License-Identifier: Apache-2.0 */
/* What all admin APIs share: an answer waits for results, cores and the clock; no bytes do harm. */
#include "admin_world.h"
#include "tidemark/random.h"

enum { SEEDS = 400 };

/* ---- time ---------------------------------------------------------------------------------------------------------------- */

static void ask_two(int32_t timeout_ms)
{
    struct wire_writer *q = begin(KAFKA_API_CREATE_TOPICS, 7);
    create_topics_request_open_topics(q, 7, 3);
    put_topic(q, 7, "a", 1, 1, NULL, NULL, NULL);
    put_topic(q, 7, "b", 1, 1, NULL, NULL, NULL);
    put_topic(q, 7, "bad", 0, 1, NULL, NULL, NULL);
    end_topics(q, 7, timeout_ms, false);
    send_it();
}

static void are_two(int16_t a, int16_t b, int16_t bad)
{
    assert_true(create_topics_response_read(answer(), 7, &created));
    next_created(7, a);
    next_created(7, b);
    next_created(7, bad);
    done();
}

static void test_the_answer_waits_for_every_result_and_every_core(void **state)
{
    w.hold = w.unpublished = w.unseen = true;
    ask_two(60000);
    tick();
    assert_null(w.answered);
    deliver();
    deliver();
    tick();
    assert_null(w.answered);
    deliver();
    tick();
    assert_null(w.answered); /* decided, not yet published */
    w.unpublished = false;
    tick();
    assert_null(w.answered); /* published, not yet seen */
    w.unseen = false;
    tick();
    are_two(0, 0, KAFKA_INVALID_PARTITIONS);
}

static void test_what_is_undecided_at_the_deadline_is_timed_out(void **state)
{
    w.hold = true;
    ask_two(100);
    deliver();
    w.now_ms += 99;
    tick();
    assert_null(w.answered);
    w.now_ms += 1;
    tick();
    are_two(KAFKA_REQUEST_TIMED_OUT, KAFKA_REQUEST_TIMED_OUT, KAFKA_REQUEST_TIMED_OUT);
    assert_non_null(w.c.asks); /* results are due, and change nothing any more */
    deliver();
    deliver();
    tick();
    assert_null(w.c.asks);
    assert_int_equal(w.answers, 1);
    assert_int_equal(cluster_topic_count(w.c.config.cluster), 2);
}

static void test_what_is_unseen_at_the_deadline_is_timed_out(void **state)
{
    w.unseen = true;
    ask_two(100);
    w.now_ms += 100;
    tick();
    are_two(KAFKA_REQUEST_TIMED_OUT, KAFKA_REQUEST_TIMED_OUT, KAFKA_INVALID_PARTITIONS); /* what is refused is known */
}

/* What was only asked changed nothing: nobody has to see it. */
static void test_what_was_only_asked_is_not_waited_for(void **state)
{
    w.unseen = w.unpublished = true;
    assert_int_equal(create_one(7, "t", 1, 1, NULL, NULL, NULL, true), 0);
}

static void test_no_time_at_all(void **state)
{
    static const int32_t times[] = {0, -1, INT32_MIN};
    for (size_t i = 0; i < TIDE_ARRAY_LEN(times); i++) {
        w.hold = true;
        ask_two(times[i]);
        tick();
        are_two(KAFKA_REQUEST_TIMED_OUT, KAFKA_REQUEST_TIMED_OUT, KAFKA_REQUEST_TIMED_OUT);
        while (w.held_count != 0)
            deliver();
        tick();
    }
}

static void test_without_a_controller(void **state)
{
    w.fail_with = KAFKA_NOT_CONTROLLER;
    assert_int_equal(create_one(7, "t", 1, 1, NULL, NULL, NULL, false), KAFKA_NOT_CONTROLLER);
    assert_int_equal(create_one(7, "t", 1, 1, NULL, NULL, NULL, true), KAFKA_NOT_CONTROLLER);
}

/* ---- hostile ------------------------------------------------------------------------------------------------------------------------------------ */

static const struct {
    int16_t key, low, high;
} apis[] = {
    {KAFKA_API_CREATE_TOPICS, 2, 7},        {KAFKA_API_DELETE_TOPICS, 1, 6},
    {KAFKA_API_METADATA, 0, 13},            {KAFKA_API_INIT_PRODUCER_ID, 0, 5},
    {KAFKA_API_DESCRIBE_CONFIGS, 1, 4},     {KAFKA_API_ALTER_CONFIGS, 0, 2},
    {KAFKA_API_DESCRIBE_LOG_DIRS, 1, 4},    {KAFKA_API_CREATE_PARTITIONS, 0, 3},
    {KAFKA_API_ELECT_LEADERS, 0, 2},        {KAFKA_API_INCREMENTAL_ALTER_CONFIGS, 0, 1},
    {KAFKA_API_ALTER_PARTITION_REASSIGNMENTS, 0, 0}, {KAFKA_API_LIST_PARTITION_REASSIGNMENTS, 0, 0},
    {KAFKA_API_DESCRIBE_QUORUM, 0, 2},      {KAFKA_API_UPDATE_FEATURES, 0, 2},
    {KAFKA_API_DESCRIBE_TOPIC_PARTITIONS, 0, 0},
};

/* Bytes that hit lengths and counts: any answer or a closed connection, nothing else happens. */
static void test_any_bytes(void **state)
{
    static const uint8_t nasty[] = {0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 4, 5, '.', 't', 0x7f, 0x80, 0xfe, 0xff};
    struct tide_random r = {11};
    make("t", "0:1,2");
    for (size_t i = 0; i < TIDE_ARRAY_LEN(apis); i++) {
        for (int16_t v = apis[i].low; v <= apis[i].high; v++) {
            for (int seed = 0; seed < SEEDS; seed++) {
                uint8_t bytes[64];
                uint32_t len = (uint32_t)tide_random_below(&r, sizeof(bytes));
                for (uint32_t k = 0; k < len; k++)
                    bytes[k] = nasty[tide_random_below(&r, sizeof(nasty))];
                wire_put_raw(begin(apis[i].key, v), bytes, len);
                send_it();
                w.now_ms += 700000;
                tick();
                assert_ptr_equal(w.answered, &letter);
                done();
            }
        }
    }
    cluster_check(w.c.config.cluster);
}

static void test_names_that_no_text_can_be(void **state)
{
    static const char zero[] = "a\0b";
    struct wire_writer *q = begin(KAFKA_API_CREATE_TOPICS, 7);
    create_topics_request_open_topics(q, 7, 1);
    create_topics_request_topic_put_name(q, 7, zero, 3);
    create_topics_request_topic_put_num_partitions(q, 7, 1);
    create_topics_request_topic_put_replication_factor(q, 7, 1);
    create_topics_request_topic_open_assignments(q, 7, 0);
    create_topics_request_topic_open_configs(q, 7, 0);
    create_topics_request_topic_end(q, 7);
    end_topics(q, 7, 1000, false);
    assert_true(create_topics_response_read(call(), 7, &created));
    next_created(7, KAFKA_INVALID_TOPIC_EXCEPTION);
    done();
}

/* A list of a million empty names is refused before anything is made of it. */
static void test_too_many_items(void **state)
{
    struct wire_writer *q = begin(KAFKA_API_CREATE_PARTITIONS, 0);
    create_partitions_request_open_topics(q, 0, ADMIN_ITEMS_MAX + 1);
    for (int i = 0; i <= ADMIN_ITEMS_MAX; i++) {
        create_partitions_request_topic_put_name(q, 0, "", 0);
        create_partitions_request_topic_put_count(q, 0, 1);
        create_partitions_request_topic_open_assignments(q, 0, -1);
        create_partitions_request_topic_end(q, 0);
    }
    create_partitions_request_put_timeout_ms(q, 0, 1);
    create_partitions_request_put_validate_only(q, 0, false);
    create_partitions_request_end(q, 0);
    send_it();
    assert_ptr_equal(w.answered, &letter);
    assert_int_equal(letter.ask.result, ASK_CLOSE);
    done();
}

/* Requests of topics (or resources) with lists within: so many topics, each with so many things. */
#define ASK_LISTS(q, v, message, topics, topic, put_name, things, put_thing)                                            \
    message##_open_##topics(q, v, a);                                                                                   \
    for (int32_t i = 0; i < a; i++) {                                                                                   \
        message##_##topic##_##put_name(q, v, "x", 1);                                                                   \
        message##_##topic##_open_##things(q, v, b);                                                                     \
        for (int32_t k = 0; k < b; k++) {                                                                               \
            put_thing;                                                                                                  \
        }                                                                                                               \
        message##_##topic##_end(q, v);                                                                                  \
    }

static void ask_lists(int16_t key, int32_t a, int32_t b)
{
    struct wire_writer *q = begin(key, key == KAFKA_API_CREATE_TOPICS ? 2 : key == KAFKA_API_DESCRIBE_CONFIGS || key == KAFKA_API_DESCRIBE_LOG_DIRS);
    switch (key) {
    case KAFKA_API_CREATE_TOPICS:
        create_topics_request_open_topics(q, 2, a);
        for (int32_t i = 0; i < a; i++) {
            create_topics_request_topic_put_name(q, 2, "x", 1);
            create_topics_request_topic_put_num_partitions(q, 2, -1);
            create_topics_request_topic_put_replication_factor(q, 2, -1);
            create_topics_request_topic_open_assignments(q, 2, b);
            for (int32_t k = 0; k < b; k++) {
                create_topics_request_assignment_put_partition_index(q, 2, k);
                create_topics_request_assignment_open_broker_ids(q, 2, 0);
                create_topics_request_assignment_end(q, 2);
            }
            create_topics_request_topic_open_configs(q, 2, 0);
            create_topics_request_topic_end(q, 2);
        }
        end_topics(q, 2, 0, true);
        break;
    case KAFKA_API_CREATE_PARTITIONS:
        create_partitions_request_open_topics(q, 0, a);
        for (int32_t i = 0; i < a; i++) {
            create_partitions_request_topic_put_name(q, 0, "x", 1);
            create_partitions_request_topic_put_count(q, 0, b);
            create_partitions_request_topic_open_assignments(q, 0, b);
            for (int32_t k = 0; k < b; k++) {
                create_partitions_request_assignment_open_broker_ids(q, 0, 0);
                create_partitions_request_assignment_end(q, 0);
            }
            create_partitions_request_topic_end(q, 0);
        }
        create_partitions_request_put_timeout_ms(q, 0, 0);
        create_partitions_request_put_validate_only(q, 0, true);
        create_partitions_request_end(q, 0);
        break;
    case KAFKA_API_ELECT_LEADERS:
        ASK_LISTS(q, 0, elect_leaders_request, topic_partitions, topic_partitions, put_topic, partitions, wire_put_i32(q, k))
        elect_leaders_request_put_timeout_ms(q, 0, 0);
        elect_leaders_request_end(q, 0);
        break;
    case KAFKA_API_ALTER_PARTITION_REASSIGNMENTS:
        alter_partition_reassignments_request_put_timeout_ms(q, 0, 0);
        ASK_LISTS(q, 0, alter_partition_reassignments_request, topics, topic, put_name, partitions,
                  alter_partition_reassignments_request_partition_put_partition_index(q, 0, k);
                  alter_partition_reassignments_request_partition_open_replicas(q, 0, -1);
                  alter_partition_reassignments_request_partition_end(q, 0))
        alter_partition_reassignments_request_end(q, 0);
        break;
    case KAFKA_API_LIST_PARTITION_REASSIGNMENTS:
        list_partition_reassignments_request_put_timeout_ms(q, 0, 0);
        ASK_LISTS(q, 0, list_partition_reassignments_request, topics, topic, put_name, partition_indexes, wire_put_i32(q, k))
        list_partition_reassignments_request_end(q, 0);
        break;
    case KAFKA_API_DESCRIBE_QUORUM:
        ASK_LISTS(q, 0, describe_quorum_request, topics, topic, put_topic_name, partitions,
                  describe_quorum_request_partition_put_partition_index(q, 0, k);
                  describe_quorum_request_partition_end(q, 0))
        describe_quorum_request_end(q, 0);
        break;
    case KAFKA_API_DESCRIBE_LOG_DIRS:
        ASK_LISTS(q, 1, describe_log_dirs_request, topics, topic, put_topic, partitions, wire_put_i32(q, k))
        describe_log_dirs_request_end(q, 1);
        break;
    default: /* DescribeConfigs */
        describe_configs_request_open_resources(q, 1, a);
        for (int32_t i = 0; i < a; i++) {
            describe_configs_request_resource_put_resource_type(q, 1, CLUSTER_RESOURCE_TOPIC);
            describe_configs_request_resource_put_resource_name(q, 1, "x", 1);
            describe_configs_request_resource_open_configuration_keys(q, 1, b);
            for (int32_t k = 0; k < b; k++)
                wire_put_string(q, false, "x", 1);
            describe_configs_request_resource_end(q, 1);
        }
        describe_configs_request_put_include_synonyms(q, 1, false);
        describe_configs_request_end(q, 1);
    }
    send_it();
    tick();
    assert_ptr_equal(w.answered, &letter);
}

/* Topics and what is listed of them together: neither many topics nor long lists make much of little. */
static void test_too_much_in_lists(void **state)
{
    static const int16_t keys[] = {KAFKA_API_ELECT_LEADERS, KAFKA_API_ALTER_PARTITION_REASSIGNMENTS, KAFKA_API_LIST_PARTITION_REASSIGNMENTS,
                                   KAFKA_API_DESCRIBE_QUORUM, KAFKA_API_DESCRIBE_LOG_DIRS, KAFKA_API_DESCRIBE_CONFIGS,
                                   KAFKA_API_CREATE_TOPICS, KAFKA_API_CREATE_PARTITIONS};
    static const struct {
        int32_t topics, things;
        int result;
    } cases[] = {
        {1, ADMIN_ITEMS_MAX - 1, ASK_BODY}, {2, ADMIN_ITEMS_MAX / 2 - 1, ASK_BODY}, {1, ADMIN_ITEMS_MAX, ASK_CLOSE},
        {2, ADMIN_ITEMS_MAX / 2, ASK_CLOSE}, {ADMIN_ITEMS_MAX + 1, 0, ASK_CLOSE},
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(keys); i++) {
        for (size_t k = 0; k < TIDE_ARRAY_LEN(cases); k++) {
            ask_lists(keys[i], cases[k].topics, cases[k].things);
            if (letter.ask.result != (enum ask_result)cases[k].result)
                fail_msg("api %d with %d topics of %d", keys[i], cases[k].topics, cases[k].things);
            done();
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_the_answer_waits_for_every_result_and_every_core),
        CASE(test_what_is_undecided_at_the_deadline_is_timed_out),
        CASE(test_what_is_unseen_at_the_deadline_is_timed_out),
        CASE(test_what_was_only_asked_is_not_waited_for),
        CASE(test_no_time_at_all),
        CASE(test_without_a_controller),
        CASE(test_any_bytes),
        CASE(test_names_that_no_text_can_be),
        CASE(test_too_many_items),
        CASE(test_too_much_in_lists),
    };
    return cmocka_run_group_tests(tests, open_world, NULL);
}
