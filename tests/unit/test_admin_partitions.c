/* SPDX-License-Identifier: Apache-2.0 */
/* More partitions, elections, reassignments, DescribeTopicPartitions. */
#include "admin_world.h"

/* ---- more partitions ----------------------------------------------------------------------------------------------------------- */

static int16_t extend(int16_t v, const char *name, int32_t count, const char *rows, bool validate_only, unsigned times)
{
    struct wire_writer *q = begin(KAFKA_API_CREATE_PARTITIONS, v);
    struct create_partitions_response in;
    struct create_partitions_response_result r;
    create_partitions_request_open_topics(q, v, (int32_t)times);
    for (unsigned k = 0; k < times; k++) {
        create_partitions_request_topic_put_name(q, v, name, (uint32_t)strlen(name));
        create_partitions_request_topic_put_count(q, v, count);
        create_partitions_request_topic_open_assignments(q, v, rows == NULL ? -1 : (int32_t)strlen(rows) / 3);
        for (const char *p = rows; p != NULL && *p != 0; p += 3) { /* "12;23;" two brokers a row */
            create_partitions_request_assignment_open_broker_ids(q, v, 2);
            wire_put_i32(q, p[0] - '0');
            wire_put_i32(q, p[1] - '0');
            create_partitions_request_assignment_end(q, v);
        }
        create_partitions_request_topic_end(q, v);
    }
    create_partitions_request_put_timeout_ms(q, v, 1000);
    create_partitions_request_put_validate_only(q, v, validate_only);
    create_partitions_request_end(q, v);
    assert_true(create_partitions_response_read(call(), v, &in));
    assert_true(create_partitions_response_result_next(&in.results, v, &r));
    text_is(&r.name, name);
    done();
    return r.error_code;
}

static void test_partitions_are_added_or_not(void **state)
{
    make("t", "0:1,2;1:2,3");
    const struct cluster_topic *t = cluster_find_topic(w.c.config.cluster, "t");
    for (int16_t v = 0; v <= 3; v++) {
        assert_int_equal(extend(v, "zzz", 3, NULL, false, 1), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
        assert_int_equal(extend(v, "t", 2, NULL, false, 1), KAFKA_INVALID_PARTITIONS);
        assert_int_equal(extend(v, "t", 1, NULL, false, 1), KAFKA_INVALID_PARTITIONS);
        assert_int_equal(extend(v, "t", -1, NULL, false, 1), KAFKA_INVALID_PARTITIONS);
        assert_int_equal(extend(v, "t", INT32_MIN, "12;", false, 1), KAFKA_INVALID_PARTITIONS);
        assert_int_equal(extend(v, "t", INT32_MAX, NULL, false, 1), KAFKA_INVALID_PARTITIONS);
        assert_int_equal(extend(v, "t", 4, "12;", false, 1), KAFKA_INVALID_REPLICA_ASSIGNMENT);
        assert_int_equal(extend(v, "t", 3, "12;23;", false, 1), KAFKA_INVALID_REPLICA_ASSIGNMENT);
        assert_int_equal(extend(v, "t", 3, "19;", false, 1), KAFKA_INVALID_REPLICA_ASSIGNMENT);
        assert_int_equal(extend(v, "t", 3, "22;", false, 1), KAFKA_INVALID_REPLICA_ASSIGNMENT);
        assert_int_equal(extend(v, "t", 3, NULL, false, 2), KAFKA_INVALID_REQUEST);
        assert_int_equal(extend(v, "t", 4, "12;31;", true, 1), 0);
        assert_int_equal(t->partition_count, 2);
    }
    assert_int_equal(extend(3, "t", 4, "12;31;", false, 1), 0);
    assert_int_equal(t->partition_count, 4);
    assert_int_equal(t->partitions[3].replicas[0], 3);
    assert_int_equal(extend(3, "t", 5, NULL, false, 1), 0);
    assert_int_equal(t->partition_count, 5);
    assert_int_equal(t->partitions[4].replica_count, 2);
}

/* ---- leaders ------------------------------------------------------------------------------------------------------------------------- */

static int16_t elected; /* of the whole */

/* The error of the first partition, -99 when none is told. */
static int16_t elect(int16_t v, int8_t type, const char *name, int32_t partition)
{
    struct wire_writer *q = begin(KAFKA_API_ELECT_LEADERS, v);
    struct elect_leaders_response in;
    struct elect_leaders_response_replica_election_result t;
    struct elect_leaders_response_partition_result p = {.error_code = -99};
    elect_leaders_request_put_election_type(q, v, type);
    elect_leaders_request_open_topic_partitions(q, v, name != NULL ? 1 : -1);
    if (name != NULL) {
        elect_leaders_request_topic_partitions_put_topic(q, v, name, (uint32_t)strlen(name));
        elect_leaders_request_topic_partitions_open_partitions(q, v, 1);
        wire_put_i32(q, partition);
        elect_leaders_request_topic_partitions_end(q, v);
    }
    elect_leaders_request_put_timeout_ms(q, v, 1000);
    elect_leaders_request_end(q, v);
    assert_true(elect_leaders_response_read(call(), v, &in));
    elected = in.error_code;
    if (elect_leaders_response_replica_election_result_next(&in.replica_election_results, v, &t)) {
        assert_true(elect_leaders_response_partition_result_next(&t.partition_result, v, &p));
        if (name != NULL)
            assert_int_equal(p.partition_id, partition);
    }
    done();
    return p.error_code;
}

static void test_leaders_are_elected_or_not(void **state)
{
    make("t", "0:1,2");
    make("alone", "0:3");
    const struct cluster_partition *p = cluster_find_topic(w.c.config.cluster, "t")->partitions;
    for (int16_t v = 0; v <= 2; v++) {
        assert_int_equal(elect(v, 0, "t", 0), KAFKA_ELECTION_NOT_NEEDED);
        assert_int_equal(elect(v, 0, "t", 7), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
        assert_int_equal(elect(v, 0, "t", -1), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
        assert_int_equal(elect(v, 0, "zzz", 0), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
        assert_int_equal(elect(v, 0, NULL, 0), -99); /* none needs it, none is told */
        assert_int_equal(elected, 0);
    }
    assert_int_equal(elect(2, 1, "t", 0), KAFKA_ELECTION_NOT_NEEDED);
    assert_int_equal(elect(2, 2, "t", 0), -99);
    assert_int_equal(elected, KAFKA_INVALID_REQUEST);
    fence(1, true);
    assert_int_equal(p->leader, 2);
    assert_int_equal(elect(2, 0, "t", 0), KAFKA_PREFERRED_LEADER_NOT_AVAILABLE);
    fence(3, true);
    assert_int_equal(elect(2, 1, "alone", 0), KAFKA_ELIGIBLE_LEADERS_NOT_AVAILABLE);
    fence(3, false);
    assert_int_equal(elect(2, 1, "alone", 0), KAFKA_ELECTION_NOT_NEEDED);
}

/* ---- reassignments ---------------------------------------------------------------------------------------------------------------------- */

/* ids NULL: cancel. */
static int16_t reassign(const char *name, int32_t partition, const char *ids)
{
    struct wire_writer *q = begin(KAFKA_API_ALTER_PARTITION_REASSIGNMENTS, 0);
    struct alter_partition_reassignments_response in;
    struct alter_partition_reassignments_response_topic_response t;
    struct alter_partition_reassignments_response_partition_response p;
    alter_partition_reassignments_request_put_timeout_ms(q, 0, 1000);
    alter_partition_reassignments_request_open_topics(q, 0, 1);
    alter_partition_reassignments_request_topic_put_name(q, 0, name, (uint32_t)strlen(name));
    alter_partition_reassignments_request_topic_open_partitions(q, 0, 1);
    alter_partition_reassignments_request_partition_put_partition_index(q, 0, partition);
    alter_partition_reassignments_request_partition_open_replicas(q, 0, ids != NULL ? (int32_t)strlen(ids) : -1);
    for (const char *id = ids; id != NULL && *id != 0; id++)
        wire_put_i32(q, *id - '0');
    alter_partition_reassignments_request_partition_end(q, 0);
    alter_partition_reassignments_request_topic_end(q, 0);
    alter_partition_reassignments_request_end(q, 0);
    assert_true(alter_partition_reassignments_response_read(call(), 0, &in));
    assert_int_equal(in.error_code, 0);
    assert_true(alter_partition_reassignments_response_topic_response_next(&in.responses, 0, &t));
    assert_true(alter_partition_reassignments_response_partition_response_next(&t.partitions, 0, &p));
    assert_int_equal(p.partition_index, partition);
    done();
    return p.error_code;
}

/* What is listed, as "t-0 1,3,2 +3 -2;". name NULL: all. */
static void moving_is(const char *name, int32_t partition, const char *want)
{
    struct wire_writer *q = begin(KAFKA_API_LIST_PARTITION_REASSIGNMENTS, 0);
    struct list_partition_reassignments_response in;
    struct list_partition_reassignments_response_ongoing_topic t;
    struct list_partition_reassignments_response_ongoing_partition p;
    char got[256] = "";
    list_partition_reassignments_request_put_timeout_ms(q, 0, 1000);
    list_partition_reassignments_request_open_topics(q, 0, name != NULL ? 1 : -1);
    if (name != NULL) {
        list_partition_reassignments_request_topic_put_name(q, 0, name, (uint32_t)strlen(name));
        list_partition_reassignments_request_topic_open_partition_indexes(q, 0, 1);
        wire_put_i32(q, partition);
        list_partition_reassignments_request_topic_end(q, 0);
    }
    list_partition_reassignments_request_end(q, 0);
    assert_true(list_partition_reassignments_response_read(call(), 0, &in));
    assert_int_equal(in.error_code, 0);
    while (list_partition_reassignments_response_ongoing_topic_next(&in.topics, 0, &t)) {
        while (list_partition_reassignments_response_ongoing_partition_next(&t.partitions, 0, &p)) {
            char text[64];
            int32_t id;
            (void)wire_bytes_copy(&t.name, text, sizeof(text));
            snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s-%d", text, p.partition_index);
            for (struct wire_list *l = &p.replicas; wire_list_next_i32(l, &id);)
                snprintf(got + strlen(got), sizeof(got) - strlen(got), " %d", id);
            for (struct wire_list *l = &p.adding_replicas; wire_list_next_i32(l, &id);)
                snprintf(got + strlen(got), sizeof(got) - strlen(got), " +%d", id);
            for (struct wire_list *l = &p.removing_replicas; wire_list_next_i32(l, &id);)
                snprintf(got + strlen(got), sizeof(got) - strlen(got), " -%d", id);
            snprintf(got + strlen(got), sizeof(got) - strlen(got), ";");
        }
    }
    assert_string_equal(got, want);
    done();
}

static void test_replicas_are_moved_or_not(void **state)
{
    make("t", "0:1,2;1:1,2");
    make("u", "0:1");
    moving_is(NULL, 0, "");
    assert_int_equal(reassign("zzz", 0, "1"), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(reassign("t", 2, "1"), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(reassign("t", 0, ""), KAFKA_INVALID_REPLICA_ASSIGNMENT);
    assert_int_equal(reassign("t", 0, "19"), KAFKA_INVALID_REPLICA_ASSIGNMENT);
    assert_int_equal(reassign("t", 0, "11"), KAFKA_INVALID_REPLICA_ASSIGNMENT);
    assert_int_equal(reassign("t", 0, "12312312312312312"), KAFKA_INVALID_REPLICA_ASSIGNMENT);
    assert_int_equal(reassign("t", 0, NULL), KAFKA_NO_REASSIGNMENT_IN_PROGRESS);
    assert_int_equal(reassign("t", 0, "13"), 0);
    assert_int_equal(reassign("u", 0, "2"), 0);
    moving_is(NULL, 0, "t-0 1 3 2 +3 -2;u-0 2 1 +2 -1;");
    moving_is("t", 0, "t-0 1 3 2 +3 -2;");
    moving_is("t", 1, "");
    moving_is("t", -1, "");
    moving_is("zzz", 0, "");
    assert_int_equal(reassign("t", 0, NULL), 0);
    assert_int_equal(reassign("t", 0, NULL), KAFKA_NO_REASSIGNMENT_IN_PROGRESS);
    moving_is(NULL, 0, "u-0 2 1 +2 -1;");
}

static void test_a_list_is_not_older_than_its_question(void **state)
{
    struct wire_writer *q;
    struct list_partition_reassignments_response in;
    w.hold = true;
    q = begin(KAFKA_API_LIST_PARTITION_REASSIGNMENTS, 0);
    list_partition_reassignments_request_put_timeout_ms(q, 0, 100);
    list_partition_reassignments_request_open_topics(q, 0, -1);
    list_partition_reassignments_request_end(q, 0);
    send_it();
    tick();
    assert_null(w.answered);
    w.now_ms += 100;
    tick();
    assert_true(list_partition_reassignments_response_read(answer(), 0, &in));
    assert_int_equal(in.error_code, KAFKA_REQUEST_TIMED_OUT);
    done();
    deliver();
    tick();
}

/* ---- DescribeTopicPartitions -------------------------------------------------------------------------------------------------------------- */

/* "a:0,1 b:0 zzz! > b 1": what is told, and the cursor. */
static void told(const char *const *names, int32_t limit, const char *from, int32_t partition, char *got, size_t size)
{
    struct wire_writer *q = begin(KAFKA_API_DESCRIBE_TOPIC_PARTITIONS, 0);
    struct describe_topic_partitions_response in;
    struct describe_topic_partitions_response_topic t;
    struct describe_topic_partitions_response_partition p;
    char name[300];
    int32_t count = 0;
    while (names[count] != NULL)
        count++;
    describe_topic_partitions_request_open_topics(q, 0, count);
    for (int32_t i = 0; i < count; i++) {
        describe_topic_partitions_request_topic_put_name(q, 0, names[i], (uint32_t)strlen(names[i]));
        describe_topic_partitions_request_topic_end(q, 0);
    }
    describe_topic_partitions_request_put_response_partition_limit(q, 0, limit);
    describe_topic_partitions_request_open_cursor(q, 0, from != NULL);
    if (from != NULL) {
        describe_topic_partitions_request_cursor_put_topic_name(q, 0, from, (uint32_t)strlen(from));
        describe_topic_partitions_request_cursor_put_partition_index(q, 0, partition);
        describe_topic_partitions_request_cursor_end(q, 0);
    }
    describe_topic_partitions_request_end(q, 0);
    assert_true(describe_topic_partitions_response_read(call(), 0, &in));
    got[0] = 0;
    while (describe_topic_partitions_response_topic_next(&in.topics, 0, &t)) {
        const char *comma = "";
        (void)wire_bytes_copy(&t.name, name, sizeof(name));
        snprintf(got + strlen(got), size - strlen(got), "%s%s", got[0] ? " " : "", name);
        if (t.error_code != 0)
            snprintf(got + strlen(got), size - strlen(got), "!%d", t.error_code);
        else
            snprintf(got + strlen(got), size - strlen(got), ":");
        while (describe_topic_partitions_response_partition_next(&t.partitions, 0, &p)) {
            snprintf(got + strlen(got), size - strlen(got), "%s%d", comma, p.partition_index);
            comma = ",";
        }
    }
    if (in.has_next_cursor) {
        (void)wire_bytes_copy(&in.next_cursor.topic_name, name, sizeof(name));
        snprintf(got + strlen(got), size - strlen(got), " > %s %d", name, in.next_cursor.partition_index);
    }
    done();
}

static void test_partitions_are_told_in_pieces(void **state)
{
    static const char *const all[] = {NULL};
    static const char *const some[] = {"c", "a", "zzz", "a", "b/d", NULL};
    static const struct {
        const char *const *names;
        int32_t limit;
        const char *from;
        int32_t partition;
        const char *want;
    } cases[] = {
        {all, 2000, NULL, 0, "a:0,1,2 b:0 c:0,1"},
        {some, 2000, NULL, 0, "a:0,1,2 b/d!17 c:0,1 zzz!3"},
        {all, 2, NULL, 0, "a:0,1 > a 2"},
        {all, 2, "a", 2, "a:2 b:0 > c 0"},
        {all, 3, NULL, 0, "a:0,1,2 > b 0"},
        {all, 4, NULL, 0, "a:0,1,2 b:0 > c 0"},
        {all, 5, NULL, 0, "a:0,1,2 b:0 c:0 > c 1"},
        {all, 6, NULL, 0, "a:0,1,2 b:0 c:0,1"},
        {all, 0, NULL, 0, "a:0 > a 1"},
        {all, -5, NULL, 0, "a:0 > a 1"},
        {all, INT32_MAX, "b", 0, "b:0 c:0,1"},
        {all, 1, "bb", 7, "c:0 > c 1"},
        {all, 9, "c", INT32_MAX, "c:"},
        {all, 9, "d", 0, ""},
        {some, 1, "b", 0, "b/d!17 c:0 > c 1"},
        {all, 9, "a", -1, "a!42 b!42 c!42"},
    };
    make("c", "0:1,2;1:2,3");
    make("a", "0:1,2;1:2,3;2:3,1");
    make("b", "0:3");
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        char got[512];
        told(cases[i].names, cases[i].limit, cases[i].from, cases[i].partition, got, sizeof(got));
        if (strcmp(got, cases[i].want) != 0)
            fail_msg("case %zu: '%s' instead of '%s'", i, got, cases[i].want);
    }
}

static void test_partitions_show_who_is_away(void **state)
{
    struct wire_writer *q;
    struct describe_topic_partitions_response in;
    struct describe_topic_partitions_response_topic t;
    struct describe_topic_partitions_response_partition p;
    int32_t id;
    make("t", "0:1,2,3");
    make("u", "0:3");
    fence(3, true);
    q = begin(KAFKA_API_DESCRIBE_TOPIC_PARTITIONS, 0);
    describe_topic_partitions_request_open_topics(q, 0, 0);
    describe_topic_partitions_request_put_response_partition_limit(q, 0, 10);
    describe_topic_partitions_request_open_cursor(q, 0, false);
    describe_topic_partitions_request_end(q, 0);
    assert_true(describe_topic_partitions_response_read(call(), 0, &in));
    assert_true(describe_topic_partitions_response_topic_next(&in.topics, 0, &t));
    assert_int_equal(t.topic_authorized_operations, 3576);
    assert_true(describe_topic_partitions_response_partition_next(&t.partitions, 0, &p));
    assert_int_equal(p.error_code, 0);
    assert_int_equal(p.leader_id, 1);
    assert_int_equal(p.isr_nodes.count, 2);
    assert_int_equal(p.offline_replicas.count, 1);
    assert_true(wire_list_next_i32(&p.offline_replicas, &id));
    assert_int_equal(id, 3);
    assert_true(describe_topic_partitions_response_topic_next(&in.topics, 0, &t));
    assert_true(describe_topic_partitions_response_partition_next(&t.partitions, 0, &p));
    assert_int_equal(p.error_code, KAFKA_LEADER_NOT_AVAILABLE);
    assert_int_equal(p.leader_id, -1);
    done();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_partitions_are_added_or_not),
        CASE(test_leaders_are_elected_or_not),
        CASE(test_replicas_are_moved_or_not),
        CASE(test_a_list_is_not_older_than_its_question),
        CASE(test_partitions_are_told_in_pieces),
        CASE(test_partitions_show_who_is_away),
    };
    return cmocka_run_group_tests(tests, open_world, NULL);
}
