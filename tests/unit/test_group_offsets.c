/* SPDX-License-Identifier: Apache-2.0 */
/* Committed offsets, and the questions that list or describe groups. */
#include "group_world.h"

static struct group_world w;

static int setup(void **state)
{
    group_world_open(&w);
    return 0;
}

static int teardown(void **state)
{
    group_world_close(&w);
    return 0;
}

/* One member of protocol type `type` in a stable group; its subscription is these bytes. */
static void stable(const char *group, const char *type, const char *metadata, char id[GROUP_WORLD_NAME])
{
    struct join_got got;
    char part[GROUP_WORLD_NAME];
    assert_int_equal(group_world_join(&w, 1, &(struct join_ask){.group = group, .v = 3, .type = type, .metadata = {metadata}, .session_ms = 1800000}), TIDE_OK);
    group_world_pass(&w, 0);
    group_world_joined(&w, 1, 3, &got);
    assert_int_equal(got.error, 0);
    strcpy(id, got.member);
    assert_int_equal(group_world_sync(&w, 1, &(struct sync_ask){.group = group, .member = id, .generation = 1, .v = 3, .to = {id}, .parts = {"P"}}), TIDE_OK);
    assert_int_equal(group_world_synced(&w, 1, 3, part), 0);
}

static int16_t simple(const char *group, const char *topic, int32_t partition, int64_t offset)
{
    return group_world_commits(&w, &(struct commit_ask){.group = group, .topic = topic, .partition = partition, .offset = offset, .generation = -1});
}

static void text(struct wire_writer *b, const char *t)
{
    wire_put_string(b, false, t, (uint32_t)strlen(t));
}

static void test_commit_and_fetch(void **state)
{
    assert_int_equal(group_world_fetch(&w, "g", "events", 3), -1);
    for (int16_t v = 2; v <= 9; v++) {
        const struct commit_ask o = {.group = "g", .topic = "events", .partition = v, .offset = 100 + v, .generation = -1, .v = v, .metadata = v == 3 ? NULL : "note"};
        assert_int_equal(group_world_commits(&w, &o), 0);
    }
    for (int32_t p = 2; p <= 9; p++)
        assert_int_equal(group_world_fetch(&w, "g", "events", p), 100 + p);
    assert_int_equal(group_world_fetch(&w, "g", "events", 1), -1);
    assert_int_equal(group_world_fetch(&w, "g", "other", 3), -1);
    assert_int_equal(simple("g", "events", 3, 50), 0); /* backwards is the committer's business */
    assert_int_equal(group_world_fetch(&w, "g", "events", 3), 50);
    group_world_reload(&w);
    assert_int_equal(group_world_fetch(&w, "g", "events", 3), 50);
    assert_int_equal(group_world_fetch(&w, "g", "events", 9), 109);
}

static void test_commit_errors(void **state)
{
    char long_text[4098];
    memset(long_text, 'x', 4097);
    long_text[4097] = 0;
    assert_int_equal(simple("", "events", 0, 1), KAFKA_INVALID_GROUP_ID);
    assert_int_equal(simple("g", "nothing", 0, 1), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(simple("g", "events", GROUP_WORLD_PARTITIONS, 1), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(simple("g", "events", -1, 1), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(simple("g", "events", 0, -1), KAFKA_INVALID_REQUEST);
    assert_int_equal(group_world_commits(&w, &(struct commit_ask){.group = "g", .topic = "events", .generation = -1, .metadata = long_text}), KAFKA_OFFSET_METADATA_TOO_LARGE);
    long_text[4096] = 0;
    assert_int_equal(w.g->gauges.groups, 0); /* none of it has left anything */
    assert_int_equal(group_world_commits(&w, &(struct commit_ask){.group = "g", .topic = "events", .generation = -1, .metadata = long_text}), 0);
    w.settings.group_offsets_max = 2;
    assert_int_equal(simple("g", "events", 1, 1), 0);
    assert_int_equal(simple("g", "events", 2, 1), KAFKA_COORDINATOR_NOT_AVAILABLE);
    assert_int_equal(simple("g", "events", 1, 2), 0); /* what is there may change */
    assert_int_equal(group_world_fetch(&w, "g", "events", 2), -1);
}

static void test_commit_is_all_or_nothing(void **state)
{
    static const enum group_world_log logs[] = {LOG_REFUSES, LOG_IS_FULL};
    const struct commit_ask many = {.group = "g", .topic = "events", .count = 10, .offset = 7, .generation = -1, .metadata = "text"};
    w.log_error = KAFKA_NOT_ENOUGH_REPLICAS;
    for (unsigned known = 0; known < 2; known++) {
        size_t before = tide_heap_free_bytes(w.heap);
        for (size_t i = 0; i < TIDE_ARRAY_LEN(logs); i++) {
            w.log = logs[i];
            assert_int_equal(group_world_commit_offset(&w, 5, &many), w.log == LOG_IS_FULL ? TIDE_FULL : TIDE_OK);
            if (w.log == LOG_REFUSES)
                assert_int_equal(group_world_committed(&w, 5, 0), KAFKA_COORDINATOR_NOT_AVAILABLE);
            assert_int_equal(group_world_fetch(&w, "g", "events", 3), -1);
            assert_int_equal(w.g->gauges.offsets, known);
        }
        assert_true(before - tide_heap_free_bytes(w.heap) <= 2048); /* room in a table that grew stays */
        w.log = LOG_TAKES;
        if (known == 0)
            assert_int_equal(simple("g", "events", 15, 1), 0);
    }
}

/* An answer that rests on a record waits for it, and so does whoever asks after it. */
static void test_answers_wait(void **state)
{
    w.commits = false;
    assert_int_equal(group_world_commit_offset(&w, 1, &(struct commit_ask){.group = "g", .topic = "events", .offset = 7, .generation = -1}), TIDE_OK);
    assert_int_equal(group_world_commit_offset(&w, 2, &(struct commit_ask){.group = "h", .topic = "events", .offset = 8, .generation = -1}), TIDE_OK);
    assert_int_equal(group_world_commit_offset(&w, 3, &(struct commit_ask){.group = "g", .topic = "events", .offset = 9, .generation = -1}), TIDE_OK);
    assert_int_equal(group_world_waiting(&w), 0);
    groups_on_committed(w.g, &w.now, 1);
    groups_check(w.g);
    assert_int_equal(group_world_committed(&w, 1, 0), 0);
    assert_int_equal(group_world_waiting(&w), 0);
    groups_on_committed(w.g, &w.now, 2);
    assert_int_equal(group_world_committed(&w, 2, 0), 0);
    assert_int_equal(group_world_heartbeat(&w, "z", "m", NULL, 1), KAFKA_UNKNOWN_MEMBER_ID); /* another group does not wait */
    groups_on_committed(w.g, &w.now, 3);
    assert_int_equal(group_world_committed(&w, 3, 0), 0);
}

static void test_commit_times_out(void **state)
{
    w.commits = false;
    assert_int_equal(group_world_commit_offset(&w, 1, &(struct commit_ask){.group = "g", .topic = "events", .offset = 7, .count = 3, .generation = -1}), TIDE_OK);
    group_world_pass(&w, 4999);
    assert_int_equal(group_world_waiting(&w), 0);
    assert_int_equal(groups_deadline_ns(w.g), w.now.now_ns + TIDE_NS_PER_MS);
    group_world_pass(&w, 1);
    assert_int_equal(group_world_committed(&w, 1, 0), KAFKA_COORDINATOR_NOT_AVAILABLE);
    /* Who comes now need not wait as long. */
    assert_int_equal(group_world_heartbeat(&w, "g", "m", NULL, 1), KAFKA_COORDINATOR_NOT_AVAILABLE);
    group_world_commit(&w);
    assert_int_equal(group_world_heartbeat(&w, "g", "m", NULL, 1), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(group_world_fetch(&w, "g", "events", 2), 7);
}

/* ---- OffsetFetch ------------------------------------------------------------------------------------------- */

static struct groups_answer ask_all(int16_t v, const char *group, uintptr_t cookie)
{
    struct wire_writer b;
    group_world_begin(&w, &b);
    if (v < 8) {
        offset_fetch_request_put_group_id(&b, v, group, (uint32_t)strlen(group));
        offset_fetch_request_open_topics(&b, v, -1);
    } else {
        offset_fetch_request_open_groups(&b, v, 2);
        for (int i = 0; i < 2; i++) {
            offset_fetch_request_group_put_group_id(&b, v, i == 0 ? "first" : group, (uint32_t)strlen(i == 0 ? "first" : group));
            offset_fetch_request_group_put_member_id(&b, v, NULL, 0);
            offset_fetch_request_group_put_member_epoch(&b, v, -1);
            offset_fetch_request_group_open_topics(&b, v, -1);
            offset_fetch_request_group_end(&b, v);
        }
    }
    offset_fetch_request_put_require_stable(&b, v, false);
    offset_fetch_request_end(&b, v);
    assert_int_equal(group_world_ask(&w, KAFKA_API_OFFSET_FETCH, v, v < 8 ? -1 : 1, cookie, &b), TIDE_OK);
    return group_world_take(&w, cookie);
}

static void test_fetch_all(void **state)
{
    assert_int_equal(simple("g", "events", 3, 30), 0);
    assert_int_equal(simple("g", "events", 1, 10), 0);
    assert_int_equal(simple("g", "other", 0, 5), 0);
    for (int16_t v = 2; v <= 9; v++) {
        struct groups_answer a = ask_all(v, "g", 1);
        struct wire_cursor c;
        int32_t topics = 0, partitions = 0;
        int64_t sum = 0;
        wire_cursor_init(&c, tide_rope_slice(&a.body, 0, a.body.len));
        if (v < 8) {
            struct offset_fetch_response in;
            struct offset_fetch_response_topic t;
            struct offset_fetch_response_partition p;
            assert_true(offset_fetch_response_read(&c, v, &in));
            for (; offset_fetch_response_topic_next(&in.topics, v, &t); topics++)
                for (; offset_fetch_response_partition_next(&t.partitions, v, &p); partitions++)
                    sum += p.committed_offset;
        } else {
            struct wire_list l = {.at = c, .count = 1};
            struct offset_fetch_response_group g;
            struct offset_fetch_response_topics t;
            struct offset_fetch_response_partitions p;
            assert_true(offset_fetch_response_group_next(&l, v, &g));
            assert_true(wire_done(&l.at));
            assert_int_equal(g.error_code, 0);
            assert_int_equal(g.group_id.at.len, 1);
            for (; offset_fetch_response_topics_next(&g.topics, v, &t); topics++)
                for (; offset_fetch_response_partitions_next(&t.partitions, v, &p); partitions++) {
                    sum += p.committed_offset;
                    assert_int_equal(p.committed_leader_epoch, 3);
                }
        }
        assert_int_equal(topics, 2);
        assert_int_equal(partitions, 3);
        assert_int_equal(sum, 45);
        tide_rope_clear(&a.body);
    }
}

/* ---- expiry ----------------------------------------------------------------------------------------------------- */

enum { WEEK_MS = 7 * 24 * 3600 * 1000, CHECK_MS = 600000 };

static void test_expiry_of_a_simple_group(void **state)
{
    assert_int_equal(simple("g", "events", 0, 1), 0);
    group_world_pass(&w, WEEK_MS / 2);
    assert_int_equal(simple("g", "events", 1, 1), 0);
    group_world_pass(&w, WEEK_MS / 2 - CHECK_MS);
    assert_int_equal(group_world_fetch(&w, "g", "events", 0), 1);
    group_world_pass(&w, 2 * CHECK_MS);
    assert_int_equal(group_world_fetch(&w, "g", "events", 0), -1); /* counted from its commit */
    assert_int_equal(group_world_fetch(&w, "g", "events", 1), 1);
    group_world_pass(&w, WEEK_MS / 2);
    assert_int_equal(w.g->gauges.groups, 0);
    group_world_reload(&w);
    assert_int_equal(w.g->gauges.groups, 0); /* the tombstones were written */
}

static void test_expiry_of_a_group_that_lives(void **state)
{
    char id[GROUP_WORLD_NAME];
    /* ConsumerProtocolSubscription, version 0, of "events"; a text cannot carry it, so it takes the place of one. */
    static const uint8_t subscription[] = {0, 0, 0, 0, 0, 1, 0, 6, 'e', 'v', 'e', 'n', 't', 's', 255, 255, 255, 255};
    stable("g", "consumer", "xxxxxxxxxxxxxxxxxx", id);
    struct group_member *m = TAILQ_FIRST(&TAILQ_FIRST(&w.g->all)->classic.members);
    memcpy(m->protocols->at + m->protocols->len - sizeof(subscription), subscription, sizeof(subscription));
    for (int32_t i = 0; i < 2; i++)
        assert_int_equal(group_world_commits(&w, &(struct commit_ask){.group = "g", .member = id, .generation = 1, .offset = 9,
                                                                      .topic = i == 0 ? "events" : "other"}), 0);
    for (int64_t ms = 0; ms < WEEK_MS + 2 * CHECK_MS; ms += 1200000) {
        group_world_pass(&w, 1200000);
        assert_int_equal(group_world_heartbeat(&w, "g", id, NULL, 1), 0);
    }
    assert_int_equal(group_world_fetch(&w, "g", "events", 0), 9);  /* it reads it */
    assert_int_equal(group_world_fetch(&w, "g", "other", 0), -1); /* it does not any more */
    /* Bytes that nobody understands: everything stays. */
    memset(m->protocols->at + m->protocols->len - sizeof(subscription), 0xff, sizeof(subscription));
    assert_int_equal(group_world_commits(&w, &(struct commit_ask){.group = "g", .member = id, .generation = 1, .offset = 9, .topic = "other"}), 0);
    for (int64_t ms = 0; ms < WEEK_MS + 2 * CHECK_MS; ms += 1200000) {
        group_world_pass(&w, 1200000);
        assert_int_equal(group_world_heartbeat(&w, "g", id, NULL, 1), 0);
    }
    assert_int_equal(group_world_fetch(&w, "g", "other", 0), 9);
    /* Empty: from then on. */
    assert_int_equal(group_world_leave(&w, "g", id), 0);
    group_world_pass(&w, WEEK_MS - CHECK_MS);
    assert_int_equal(group_world_fetch(&w, "g", "events", 0), 9);
    group_world_pass(&w, 2 * CHECK_MS);
    assert_int_equal(group_world_fetch(&w, "g", "events", 0), -1);
    assert_int_equal(w.g->gauges.groups, 0);
    group_world_reload(&w);
    assert_int_equal(w.g->gauges.groups, 0);
}

/* Who is not of type consumer keeps all as long as it lives. */
static void test_no_expiry_of_another_type(void **state)
{
    char id[GROUP_WORLD_NAME];
    stable("g", "connect", "m", id);
    assert_int_equal(group_world_commits(&w, &(struct commit_ask){.group = "g", .member = id, .generation = 1, .offset = 9, .topic = "events"}), 0);
    for (int64_t ms = 0; ms < WEEK_MS + 2 * CHECK_MS; ms += 1200000) {
        group_world_pass(&w, 1200000);
        assert_int_equal(group_world_heartbeat(&w, "g", id, NULL, 1), 0);
    }
    assert_int_equal(group_world_fetch(&w, "g", "events", 0), 9);
}

static void test_retention_of_one_commit(void **state)
{
    assert_int_equal(group_world_commits(&w, &(struct commit_ask){.group = "g", .topic = "events", .offset = 1, .generation = -1, .retention_ms = 60000, .v = 2}), 0);
    group_world_reload(&w);
    group_world_pass(&w, 0); /* looks for topics that are gone */
    group_world_pass(&w, CHECK_MS - 1);
    assert_int_equal(group_world_fetch(&w, "g", "events", 0), 1);
    group_world_pass(&w, 2);
    assert_int_equal(group_world_fetch(&w, "g", "events", 0), -1);
}

static void test_topic_is_deleted(void **state)
{
    char id[GROUP_WORLD_NAME];
    stable("g", "consumer", "m", id);
    for (int32_t i = 0; i < 2; i++)
        assert_int_equal(group_world_commits(&w, &(struct commit_ask){.group = "g", .member = id, .generation = 1, .offset = 9,
                                                                      .topic = i == 0 ? "events" : "other"}), 0);
    assert_int_equal(simple("h", "events", 3, 5), 0);
    group_world_topics(&w, (const char *const[]){"other"}, (const uint8_t[]){2}, 1);
    w.log = LOG_IS_FULL;
    group_world_pass(&w, 0);
    w.log = LOG_TAKES;
    group_world_pass(&w, 200);
    assert_int_equal(group_world_fetch(&w, "g", "events", 0), -1);
    assert_int_equal(group_world_fetch(&w, "g", "other", 0), 9);
    assert_int_equal(w.g->gauges.offsets, 1);
    assert_int_equal(w.g->gauges.groups, 1); /* the simple one had nothing else */
}

/* Made anew under its name: not the same topic. */
static void test_topic_is_made_anew(void **state)
{
    assert_int_equal(simple("g", "events", 3, 5), 0);
    group_world_topics(&w, (const char *const[]){"events"}, (const uint8_t[]){9}, 1);
    assert_int_equal(group_world_fetch(&w, "g", "events", 3), -1); /* before the tombstone is written */
    assert_int_equal(simple("g", "events", 4, 6), 0);
    group_world_pass(&w, 0);
    assert_int_equal(w.g->gauges.offsets, 1);
    assert_int_equal(group_world_fetch(&w, "g", "events", 4), 6);
}

/* ---- deleting --------------------------------------------------------------------------------------------------- */

static int16_t delete_group(const char *group)
{
    struct wire_writer b;
    struct delete_groups_response_deletable_group_result e;
    group_world_begin(&w, &b);
    wire_put_i32(&b, 2);
    text(&b, "first");
    text(&b, group);
    assert_int_equal(group_world_ask(&w, KAFKA_API_DELETE_GROUPS, 1, 1, 1, &b), TIDE_OK);
    group_world_commit(&w);
    struct groups_answer a = group_world_take(&w, 1);
    struct wire_list l = {.count = a.elements};
    assert_int_equal(a.elements, 1);
    wire_cursor_init(&l.at, tide_rope_slice(&a.body, 0, a.body.len));
    assert_true(delete_groups_response_deletable_group_result_next(&l, 1, &e));
    assert_true(wire_done(&l.at));
    assert_int_equal(e.group_id.at.len, strlen(group));
    tide_rope_clear(&a.body);
    return e.error_code;
}

static void test_delete_groups(void **state)
{
    char id[GROUP_WORLD_NAME];
    stable("g", "consumer", "m", id);
    assert_int_equal(delete_group("nobody"), KAFKA_GROUP_ID_NOT_FOUND);
    assert_int_equal(delete_group("g"), KAFKA_NON_EMPTY_GROUP);
    for (int32_t p = 0; p < GROUP_WORLD_PARTITIONS; p++)
        assert_int_equal(group_world_commits(&w, &(struct commit_ask){.group = "g", .member = id, .generation = 1, .offset = 9, .topic = "events",
                                                                      .partition = p}), 0);
    assert_int_equal(group_world_leave(&w, "g", id), 0);
    w.log = LOG_REFUSES;
    w.log_error = KAFKA_NOT_LEADER_OR_FOLLOWER;
    assert_int_equal(delete_group("g"), KAFKA_NOT_COORDINATOR);
    assert_int_equal(group_world_fetch(&w, "g", "events", 1), 9);
    w.log = LOG_TAKES;
    /* The answer about a group that is not there rests on its tombstones. */
    w.commits = false;
    struct wire_writer b;
    group_world_begin(&w, &b);
    wire_put_i32(&b, 1);
    text(&b, "g");
    assert_int_equal(group_world_ask(&w, KAFKA_API_DELETE_GROUPS, 1, 0, 2, &b), TIDE_OK);
    assert_int_equal(w.g->gauges.groups, 0);
    group_world_begin(&w, &b);
    wire_put_i32(&b, 1);
    text(&b, "g");
    assert_int_equal(group_world_ask(&w, KAFKA_API_DESCRIBE_GROUPS, 0, 0, 3, &b), TIDE_OK);
    assert_false(group_world_has(&w, 2));
    assert_false(group_world_has(&w, 3));
    group_world_commit(&w);
    assert_true(group_world_has(&w, 2));
    assert_true(group_world_has(&w, 3));
    group_world_reload(&w);
    assert_int_equal(w.g->gauges.groups, 0);
    assert_int_equal(w.g->gauges.offsets, 0);
}

/* More offsets than a topic of this world has partitions. */
static void write_offsets(const char *id, int32_t from, int32_t count)
{
    struct group_batch batch;
    struct group *group = TAILQ_FIRST(&w.g->all);
    int16_t error;
    group_batch_begin(w.g, &batch);
    for (int32_t p = from; p < from + count; p++) {
        struct wire_writer key, value;
        group_key_begin(w.g, &key, GROUP_RECORD_OFFSET);
        offset_commit_key_put_group(&key, 0, id, (uint32_t)strlen(id));
        offset_commit_key_put_topic(&key, 0, "events", 6);
        offset_commit_key_put_partition(&key, 0, p);
        offset_commit_key_end(&key, 0);
        wire_writer_init(&value, w.pool);
        wire_put_i16(&value, 3);
        offset_commit_value_put_offset(&value, 3, 1);
        offset_commit_value_put_leader_epoch(&value, 3, -1);
        offset_commit_value_put_metadata(&value, 3, "", 0);
        offset_commit_value_put_commit_timestamp(&value, 3, w.now.wall_ms);
        offset_commit_value_end(&value, 3, &(struct offset_commit_value_tags){0});
        group_batch_put(&batch, &key, &value);
    }
    assert_int_equal(group_write(w.g, group, &batch, &error), TIDE_OK);
    assert_int_equal(error, 0);
}

/* A large group goes in more than one call, and its last answer says that it is gone. */
static void test_delete_large_group(void **state)
{
    enum { OFFSETS = 3000 };
    struct wire_writer b;
    unsigned calls = 1;
    assert_int_equal(simple("g", "events", 0, 5), 0);
    for (int32_t p = 0; p < OFFSETS; p += 200)
        write_offsets("g", p, 200);
    assert_int_equal(w.g->gauges.offsets, OFFSETS);
    for (;; calls++) {
        uint32_t appends = w.appends;
        group_world_begin(&w, &b);
        wire_put_i32(&b, 1);
        text(&b, "g");
        enum tide_status status = group_world_ask(&w, KAFKA_API_DELETE_GROUPS, 1, 0, 1, &b);
        assert_in_range(w.appends - appends, 1, GROUP_DELETIONS_A_CALL);
        if (status == TIDE_OK)
            break;
        assert_int_equal(status, TIDE_FULL);
        assert_false(group_world_has(&w, 1));
    }
    assert_int_equal(calls, (OFFSETS / GROUP_TOMBSTONES_A_BATCH + GROUP_DELETIONS_A_CALL) / GROUP_DELETIONS_A_CALL);
    group_world_commit(&w);
    assert_true(group_world_has(&w, 1));
    assert_int_equal(w.g->gauges.groups, 0);
    group_world_reload(&w);
    assert_int_equal(w.g->gauges.offsets, 0);
}

static int16_t delete_offset(const char *group, const char *topic, int32_t partition, int16_t *ret_top)
{
    struct wire_writer b;
    struct offset_delete_response in;
    struct offset_delete_response_topic t;
    struct offset_delete_response_partition p = {0};
    struct wire_cursor c;
    group_world_begin(&w, &b);
    text(&b, group);
    wire_put_i32(&b, 1);
    text(&b, topic);
    wire_put_i32(&b, 1);
    wire_put_i32(&b, partition);
    assert_int_equal(group_world_ask(&w, KAFKA_API_OFFSET_DELETE, 0, -1, 1, &b), TIDE_OK);
    group_world_commit(&w);
    struct groups_answer a = group_world_take(&w, 1);
    wire_cursor_init(&c, tide_rope_slice(&a.body, 0, a.body.len));
    assert_true(offset_delete_response_read(&c, 0, &in));
    *ret_top = in.error_code;
    if (offset_delete_response_topic_next(&in.topics, 0, &t))
        (void)offset_delete_response_partition_next(&t.partitions, 0, &p);
    tide_rope_clear(&a.body);
    return p.error_code;
}

static void test_offset_delete(void **state)
{
    char id[GROUP_WORLD_NAME];
    int16_t top;
    (void)delete_offset("g", "events", 0, &top);
    assert_int_equal(top, KAFKA_GROUP_ID_NOT_FOUND);
    stable("g", "consumer", "\xff", id); /* of unknown bytes: subscribed to all */
    assert_int_equal(group_world_commits(&w, &(struct commit_ask){.group = "g", .member = id, .generation = 1, .offset = 9, .topic = "events"}), 0);
    assert_int_equal(delete_offset("g", "events", 0, &top), KAFKA_GROUP_SUBSCRIBED_TO_TOPIC);
    assert_int_equal(delete_offset("g", "nothing", 0, &top), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    stable("c", "connect", "m", id);
    (void)delete_offset("c", "events", 0, &top);
    assert_int_equal(top, KAFKA_NON_EMPTY_GROUP);
    assert_int_equal(simple("s", "events", 1, 1), 0);
    assert_int_equal(delete_offset("s", "events", 2, &top), 0); /* there is none, and then there is none */
    w.log = LOG_REFUSES;
    w.log_error = KAFKA_NOT_ENOUGH_REPLICAS;
    (void)delete_offset("s", "events", 1, &top);
    assert_int_equal(top, KAFKA_COORDINATOR_NOT_AVAILABLE);
    assert_int_equal(group_world_fetch(&w, "s", "events", 1), 1);
    w.log = LOG_TAKES;
    assert_int_equal(delete_offset("s", "events", 1, &top), 0);
    assert_int_equal(top, 0);
    assert_int_equal(group_world_fetch(&w, "s", "events", 1), -1);
}

/* ---- listing and describing ---------------------------------------------------------------------------------------- */

/* The names of the groups that are listed, one behind the other. */
static void list(const char *state, const char *type, char ret[200])
{
    enum { V = 5 };
    struct wire_writer b;
    struct list_groups_response_listed_group e;
    group_world_begin(&w, &b);
    wire_put_count(&b, true, state != NULL);
    if (state != NULL)
        wire_put_string(&b, true, state, (uint32_t)strlen(state));
    wire_put_count(&b, true, type != NULL);
    if (type != NULL)
        wire_put_string(&b, true, type, (uint32_t)strlen(type));
    list_groups_request_end(&b, V);
    assert_int_equal(group_world_ask(&w, KAFKA_API_LIST_GROUPS, V, -1, 1, &b), TIDE_OK);
    struct groups_answer a = group_world_take(&w, 1);
    struct wire_list l = {.count = a.elements};
    assert_int_equal(a.error, 0);
    wire_cursor_init(&l.at, tide_rope_slice(&a.body, 0, a.body.len));
    ret[0] = 0;
    while (list_groups_response_listed_group_next(&l, V, &e)) {
        char name[GROUP_WORLD_NAME];
        (void)wire_bytes_copy(&e.group_id, name, sizeof(name));
        strcat(ret, name);
    }
    assert_true(wire_done(&l.at));
    tide_rope_clear(&a.body);
}

static void test_list(void **state)
{
    char id[GROUP_WORLD_NAME], names[200];
    list(NULL, NULL, names);
    assert_string_equal(names, "");
    stable("g", "consumer", "m", id);
    assert_int_equal(simple("s", "events", 1, 1), 0);
    list(NULL, NULL, names);
    assert_string_equal(names, "gs");
    list("stable", NULL, names);
    assert_string_equal(names, "g");
    list("Empty", "CLASSIC", names);
    assert_string_equal(names, "s");
    list(NULL, "consumer", names);
    assert_string_equal(names, "");
}

static void test_describe(void **state)
{
    char id[GROUP_WORLD_NAME];
    stable("g", "consumer", "meta", id);
    for (int16_t v = 0; v <= 6; v++)
        for (int there = 0; there < 2; there++) {
            struct wire_writer b;
            struct wire_list l = {.count = 1};
            struct describe_groups_response_described_group e;
            struct describe_groups_response_described_group_member m;
            char got[GROUP_WORLD_NAME];
            group_world_begin(&w, &b);
            wire_put_count(&b, v >= 5, 1);
            wire_put_string(&b, v >= 5, there ? "g" : "x", 1);
            describe_groups_request_put_include_authorized_operations(&b, v, false);
            describe_groups_request_end(&b, v);
            assert_int_equal(group_world_ask(&w, KAFKA_API_DESCRIBE_GROUPS, v, 0, 1, &b), TIDE_OK);
            struct groups_answer a = group_world_take(&w, 1);
            wire_cursor_init(&l.at, tide_rope_slice(&a.body, 0, a.body.len));
            assert_true(describe_groups_response_described_group_next(&l, v, &e));
            assert_true(wire_done(&l.at));
            (void)wire_bytes_copy(&e.group_state, got, sizeof(got));
            assert_string_equal(got, there ? "Stable" : "Dead");
            assert_int_equal(e.error_code, there || v < 6 ? 0 : KAFKA_GROUP_ID_NOT_FOUND);
            assert_int_equal(e.members.count, there);
            if (describe_groups_response_described_group_member_next(&e.members, v, &m)) {
                (void)wire_bytes_copy(&m.member_metadata, got, sizeof(got));
                assert_string_equal(got, "meta");
                (void)wire_bytes_copy(&m.member_assignment, got, sizeof(got));
                assert_string_equal(got, "P");
                (void)wire_bytes_copy(&m.client_host, got, sizeof(got));
                assert_string_equal(got, "/10.0.0.1");
            }
            tide_rope_clear(&a.body);
        }
}

/* ---- no memory ------------------------------------------------------------------------------------------------------ */

/* Whatever the heap has no room for is an answer; what was there stays; and it comes back when others leave. */
static void test_full_heap(void **state)
{
    static void *hogs[1 << 16];
    uint32_t count = 0;
    char id[GROUP_WORLD_NAME], name[20], part[GROUP_WORLD_NAME];
    unsigned refused = 0;
    stable("g", "consumer", "m", id);
    assert_int_equal(simple("s", "events", 1, 1), 0);
    for (size_t size = 1 << 20; size >= 32; size /= 2)
        while (count < TIDE_ARRAY_LEN(hogs) && (hogs[count] = tide_heap_take(w.heap, size)) != NULL)
            count++;
    for (unsigned free_blocks = 0; free_blocks < 400; free_blocks++) {
        struct join_got got;
        (void)snprintf(name, sizeof(name), "n%u", free_blocks);
        assert_int_equal(group_world_heartbeat(&w, "g", id, NULL, 1), 0);
        int16_t error = simple(name, "events", 1, 1);
        assert_true(error == 0 || error == KAFKA_COORDINATOR_NOT_AVAILABLE);
        refused += error != 0;
        assert_int_equal(group_world_fetch(&w, name, "events", 1), error == 0 ? 1 : -1);
        assert_int_equal(group_world_join(&w, 9, &(struct join_ask){.group = name, .v = 4}), TIDE_OK);
        group_world_joined(&w, 9, 4, &got);
        assert_true(got.error == KAFKA_MEMBER_ID_REQUIRED || got.error == KAFKA_COORDINATOR_NOT_AVAILABLE);
        assert_int_equal(group_world_join(&w, 9, &(struct join_ask){.group = "g", .member = id, .v = 3}), TIDE_OK); /* the leader: a rebalance */
        group_world_pass(&w, 200);
        if (group_world_has(&w, 9)) {
            group_world_joined(&w, 9, 3, &got);
            if (got.error == 0) {
                assert_int_equal(group_world_sync(&w, 9, &(struct sync_ask){.group = "g", .member = id, .generation = got.generation, .v = 3, .to = {id}, .parts = {"Q"}}), TIDE_OK);
                int16_t e = group_world_synced(&w, 9, 3, part);
                assert_true(e == 0 || e == KAFKA_COORDINATOR_NOT_AVAILABLE);
            }
        }
        groups_cancel(w.g, COOKIE(9));
        if (TAILQ_FIRST(&w.g->all)->classic.generation != 1)
            break;
        if (free_blocks % 3 == 2)
            tide_heap_give(w.heap, hogs[--count]);
    }
    assert_true(refused > 5);
    assert_int_equal(group_world_fetch(&w, "s", "events", 1), 1);
    while (count != 0)
        tide_heap_give(w.heap, hogs[--count]);
    assert_int_equal(simple("later", "events", 1, 1), 0);
}

/* The pool gives out its last at any point: another time, or an answer that leaves later. */
static void test_empty_pool(void **state)
{
    static struct rte_mbuf *hogs[8192];
    char id[GROUP_WORLD_NAME];
    stable("g", "consumer", "m", id);
    for (unsigned left = 0; left < 8; left++) {
        unsigned count = 0;
        struct wire_writer b;
        group_world_begin(&w, &b);
        text(&b, "s");
        wire_put_i32(&b, -1);
        text(&b, "");
        wire_put_i64(&b, -1);
        wire_put_i32(&b, 1);
        text(&b, "events");
        wire_put_i32(&b, 1);
        wire_put_i32(&b, 2);
        wire_put_i64(&b, 77);
        text(&b, "m");
        while ((hogs[count] = rte_pktmbuf_alloc(w.pool)) != NULL)
            count++;
        for (unsigned i = 0; i < left; i++)
            rte_pktmbuf_free(hogs[--count]);
        uint32_t batches = w.batch_count;
        struct groups_question q = {.api_key = KAFKA_API_OFFSET_COMMIT, .version = 2, .element = -1, .client_id = "c", .client_host = "h", .view = &w.view, .cookie = COOKIE(3)};
        wire_cursor_init(&q.body, tide_rope_slice(&b.out, 0, b.out.len));
        enum tide_status status = groups_ask(w.g, &w.now, &q);
        groups_check(w.g);
        assert_true(status == TIDE_OK || status == TIDE_FULL);
        assert_int_equal(w.batch_count != batches, status == TIDE_OK);
        q.api_key = KAFKA_API_HEARTBEAT; /* needs nothing before it leaves */
        wire_writer_abandon(&b);
        while (count != 0)
            rte_pktmbuf_free(hogs[--count]);
        group_world_commit(&w);
        if (status == TIDE_OK)
            assert_int_equal(group_world_committed(&w, 3, 2), 0);
        assert_int_equal(group_world_heartbeat(&w, "g", id, NULL, 1), 0);
    }
    assert_int_equal(group_world_fetch(&w, "s", "events", 2), 77);
}

static void test_malformed(void **state)
{
    static const int16_t apis[] = {8, 9, 11, 12, 13, 14, 15, 42, 47}; /* ListGroups 0 has nothing that could be wrong */
    for (size_t i = 0; i < TIDE_ARRAY_LEN(apis); i++) {
        struct wire_writer b;
        group_world_begin(&w, &b);
        wire_put_i16(&b, 0x7fff);
        assert_int_equal(group_world_ask(&w, apis[i], apis[i] == 8 ? 2 : apis[i] == 9 ? 1 : 0, 0, 1, &b), TIDE_BAD);
    }
    struct wire_writer b;
    group_world_begin(&w, &b);
    assert_int_equal(group_world_ask(&w, 99, 0, -1, 1, &b), TIDE_BAD);
    group_world_begin(&w, &b); /* more partitions than anybody has */
    text(&b, "g");
    wire_put_i32(&b, 1);
    text(&b, "events");
    wire_put_i32(&b, 10001);
    for (int32_t p = 0; p < 10001; p++)
        wire_put_i32(&b, p);
    assert_int_equal(group_world_ask(&w, KAFKA_API_OFFSET_FETCH, 1, -1, 1, &b), TIDE_BAD);
}

static int32_t partition_of(const char *id, int32_t count)
{
    struct tide_rope r = {0};
    int32_t p;
    tide_rope_push(&r, unit_exact_mbuf(w.pool, id, (uint16_t)strlen(id)));
    p = groups_partition_of(tide_rope_slice(&r, 0, r.len), count);
    tide_rope_clear(&r);
    return p;
}

/* What Java's String.hashCode says. */
static void test_partition_of(void **state)
{
    assert_int_equal(partition_of("a", 50), 97 % 50);
    assert_int_equal(partition_of("group", 1000000000), 98629247);
    assert_int_equal(partition_of("hello world", 2147483647), 1794106052);
    assert_int_equal(partition_of("polygenelubricants", 50), 0); /* Integer.MIN_VALUE */
    assert_int_equal(partition_of("\xc3\xa4", 1000), 0xe4);
    assert_int_equal(partition_of("\xe2\x82\xac", 100000), 0x20ac);
    assert_int_equal(partition_of("\xf0\x9f\x98\x80", 2000000000), 0xd83d * 31 + 0xde00);
    assert_int_equal(partition_of("\xff", 100000), 0xfffd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_commit_and_fetch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_commit_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_commit_is_all_or_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_answers_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(test_commit_times_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fetch_all, setup, teardown),
        cmocka_unit_test_setup_teardown(test_expiry_of_a_simple_group, setup, teardown),
        cmocka_unit_test_setup_teardown(test_expiry_of_a_group_that_lives, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_expiry_of_another_type, setup, teardown),
        cmocka_unit_test_setup_teardown(test_retention_of_one_commit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_topic_is_deleted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_topic_is_made_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(test_delete_groups, setup, teardown),
        cmocka_unit_test_setup_teardown(test_delete_large_group, setup, teardown),
        cmocka_unit_test_setup_teardown(test_offset_delete, setup, teardown),
        cmocka_unit_test_setup_teardown(test_list, setup, teardown),
        cmocka_unit_test_setup_teardown(test_describe, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_heap, setup, teardown),
        cmocka_unit_test_setup_teardown(test_empty_pool, setup, teardown),
        cmocka_unit_test_setup_teardown(test_malformed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_partition_of, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
