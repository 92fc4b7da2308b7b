/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions that were asked, and errors in every shape. An answer's body is written when it is known. When an error takes its place later
 * (its commitment takes too long, leadership is over, the append was refused), the error is written when it leaves, into the shape of the body.
 */
#include "group/consumer_internal.h"

#include "tidemark/mutant.h"

struct groups_asked *asked_take(struct groups *g, const struct groups_question *q)
{
    struct groups_asked *a = tide_heap_take(g->config.heap, sizeof(*a));
    bool spare = a == NULL;
    if (spare) {
        a = TAILQ_FIRST(&g->spare);
        if (a == NULL)
            return NULL;
        TAILQ_REMOVE(&g->spare, a, link);
    }
    *a = (struct groups_asked){.cookie = q->cookie, .api = q->api_key, .version = q->version, .spare = spare};
    group_table_put(&g->cookies, &a->by_cookie, group_hash_bytes(g, 0, &a->cookie, sizeof(a->cookie)));
    g->asked_count++;
    return a;
}

void asked_give(struct groups *g, struct groups_asked *a)
{
    TIDE_ASSERT(a->member == NULL);
    if (!a->gone)
        group_table_remove(&g->cookies, &a->by_cookie);
    tide_rope_clear(&a->body);
    g->asked_count--;
    if (a->spare)
        TAILQ_INSERT_HEAD(&g->spare, a, link);
    else
        tide_heap_give(g->config.heap, a);
}

void asked_finish(struct groups *g, struct group *group, struct groups_asked *a)
{
    struct group_write *w = group != NULL ? group->last_write : g->last_removal;
    bool over = g->phase == GROUPS_RESIGNED || MUTANT(GROUP_ANSWER);
    if (w != NULL && w->late && !over) /* it has waited long enough already */
        a->error = KAFKA_COORDINATOR_NOT_AVAILABLE;
    if (w == NULL || w->late || over)
        TAILQ_INSERT_TAIL(&g->ready, a, link);
    else
        TAILQ_INSERT_TAIL(&w->answers, a, link);
}

void asked_say(struct groups *g, struct group *group, struct groups_asked *a, int16_t error)
{
    a->error = error;
    asked_finish(g, group, a);
}

bool asked_body(struct groups_asked *a, struct wire_writer *w)
{
    if (w->failed) {
        wire_writer_abandon(w);
        return false;
    }
    a->body = w->out;
    a->written = true;
    return true;
}

enum tide_status asked_refuse(struct groups *g, struct group *group, struct groups_asked *a, const struct groups_question *q, int16_t error)
{
    struct wire_writer w;
    wire_writer_init(&w, g->config.pool);
    if (!groups_write_error(q, error, &w)) {
        wire_writer_abandon(&w);
        return w.failed ? TIDE_FULL : TIDE_BAD;
    }
    if (!asked_body(a, &w))
        return TIDE_FULL;
    a->elements = q->api_key == KAFKA_API_LIST_GROUPS ? 0 : 1;
    a->error = q->api_key == KAFKA_API_LIST_GROUPS ? error : 0;
    asked_finish(g, group, a);
    return TIDE_OK;
}

/* ---- shapes of errors --------------------------------------------------------------------------------- */

/* An API whose answer is an error and nothing else that matters. */
static bool write_plain(struct wire_writer *w, int16_t api, int16_t v, const struct wire_bytes *member_id, int16_t error)
{
    switch (api) {
    case KAFKA_API_JOIN_GROUP:
        join_group_response_put_throttle_time_ms(w, v, 0);
        join_group_response_put_error_code(w, v, error);
        join_group_response_put_generation_id(w, v, -1);
        join_group_response_put_protocol_type(w, v, NULL, 0);
        join_group_response_put_protocol_name(w, v, v >= 7 ? NULL : "", 0);
        join_group_response_put_leader(w, v, "", 0);
        join_group_response_put_skip_assignment(w, v, false);
        join_group_response_put_member_id_slice(w, v, member_id);
        join_group_response_open_members(w, v, 0);
        join_group_response_end(w, v);
        return true;
    case KAFKA_API_SYNC_GROUP:
        sync_group_response_put_throttle_time_ms(w, v, 0);
        sync_group_response_put_error_code(w, v, error);
        sync_group_response_put_protocol_type(w, v, NULL, 0);
        sync_group_response_put_protocol_name(w, v, NULL, 0);
        sync_group_response_put_assignment(w, v, "", 0);
        sync_group_response_end(w, v);
        return true;
    case KAFKA_API_HEARTBEAT:
        heartbeat_response_put_throttle_time_ms(w, v, 0);
        heartbeat_response_put_error_code(w, v, error);
        heartbeat_response_end(w, v);
        return true;
    case KAFKA_API_LEAVE_GROUP:
        leave_group_response_put_throttle_time_ms(w, v, 0);
        leave_group_response_put_error_code(w, v, error);
        leave_group_response_open_members(w, v, 0);
        leave_group_response_end(w, v);
        return true;
    case KAFKA_API_CONSUMER_GROUP_HEARTBEAT:
        consumer_write_heartbeat_error(w, v, error, NULL);
        return true;
    case KAFKA_API_OFFSET_DELETE:
        offset_delete_response_put_error_code(w, v, error);
        offset_delete_response_put_throttle_time_ms(w, v, 0);
        offset_delete_response_open_topics(w, v, 0);
        offset_delete_response_end(w, v);
        return true;
    default:
        return false;
    }
}

static void write_described(struct wire_writer *w, int16_t v, const struct wire_bytes *id, int16_t error)
{
    describe_groups_response_described_group_put_error_code(w, v, error);
    describe_groups_response_described_group_put_error_message(w, v, NULL, 0);
    describe_groups_response_described_group_put_group_id_slice(w, v, id);
    describe_groups_response_described_group_put_group_state(w, v, "", 0);
    describe_groups_response_described_group_put_protocol_type(w, v, "", 0);
    describe_groups_response_described_group_put_protocol_data(w, v, "", 0);
    describe_groups_response_described_group_open_members(w, v, 0);
    describe_groups_response_described_group_put_authorized_operations(w, v, INT32_MIN);
    describe_groups_response_described_group_end(w, v);
}

static void write_deleted(struct wire_writer *w, int16_t v, const struct wire_bytes *id, int16_t error)
{
    delete_groups_response_deletable_group_result_put_group_id_slice(w, v, id);
    delete_groups_response_deletable_group_result_put_error_code(w, v, error);
    delete_groups_response_deletable_group_result_end(w, v);
}

static void write_fetched_group(struct wire_writer *w, int16_t v, const struct wire_bytes *id, int16_t error)
{
    offset_fetch_response_group_put_group_id_slice(w, v, id);
    offset_fetch_response_group_open_topics(w, v, 0);
    offset_fetch_response_group_put_error_code(w, v, error);
    offset_fetch_response_group_end(w, v);
}

static void write_no_offset(struct wire_writer *w, int16_t v, int32_t partition, int16_t error)
{
    offset_fetch_response_partition_put_partition_index(w, v, partition);
    offset_fetch_response_partition_put_committed_offset(w, v, -1);
    offset_fetch_response_partition_put_committed_leader_epoch(w, v, -1);
    offset_fetch_response_partition_put_metadata(w, v, "", 0);
    offset_fetch_response_partition_put_error_code(w, v, error);
    offset_fetch_response_partition_end(w, v);
}

/* ---- from the request ------------------------------------------------------------------------------------ */

static bool refuse_commit(struct wire_cursor *c, int16_t v, int16_t error, struct wire_writer *w)
{
    struct offset_commit_request in;
    struct offset_commit_request_topic t;
    struct offset_commit_request_partition p;
    if (!offset_commit_request_read(c, v, &in))
        return false;
    offset_commit_response_put_throttle_time_ms(w, v, 0);
    offset_commit_response_open_topics(w, v, in.topics.count);
    while (offset_commit_request_topic_next(&in.topics, v, &t)) {
        offset_commit_response_topic_put_name_slice(w, v, &t.name);
        offset_commit_response_topic_open_partitions(w, v, t.partitions.count);
        while (offset_commit_request_partition_next(&t.partitions, v, &p)) {
            offset_commit_response_partition_put_partition_index(w, v, p.partition_index);
            offset_commit_response_partition_put_error_code(w, v, error);
            offset_commit_response_partition_end(w, v);
        }
        offset_commit_response_topic_end(w, v);
    }
    offset_commit_response_end(w, v);
    return true;
}

/* Version 1 has no place for an error but the partitions. */
static void refuse_fetch_by_partition(struct wire_list topics, int16_t v, int16_t error, struct wire_writer *w)
{
    struct offset_fetch_request_topic t;
    int32_t p;
    offset_fetch_response_open_topics(w, v, TIDE_MAX(topics.count, 0));
    while (offset_fetch_request_topic_next(&topics, v, &t)) {
        offset_fetch_response_topic_put_name_slice(w, v, &t.name);
        offset_fetch_response_topic_open_partitions(w, v, t.partition_indexes.count);
        while (wire_list_next_i32(&t.partition_indexes, &p))
            write_no_offset(w, v, p, error);
        offset_fetch_response_topic_end(w, v);
    }
}

static bool refuse_fetch(struct wire_cursor *c, int16_t v, int32_t element, int16_t error, struct wire_writer *w)
{
    struct offset_fetch_request in;
    struct offset_fetch_request_group group;
    if (!offset_fetch_request_read(c, v, &in))
        return false;
    if (v >= 8) {
        if (element < 0 || element >= in.groups.count)
            return false;
        for (int32_t i = 0; i <= element; i++)
            (void)offset_fetch_request_group_next(&in.groups, v, &group);
        write_fetched_group(w, v, &group.group_id, error);
        return true;
    }
    offset_fetch_response_put_throttle_time_ms(w, v, 0);
    if (v < 2)
        refuse_fetch_by_partition(in.topics, v, error, w);
    else
        offset_fetch_response_open_topics(w, v, 0);
    offset_fetch_response_put_error_code(w, v, error);
    offset_fetch_response_end(w, v);
    return true;
}

bool asked_name(struct wire_list l, bool flexible, int32_t n, struct wire_bytes *ret)
{
    if (n < 0 || n >= l.count)
        return false;
    for (int32_t i = 0; i <= n; i++)
        (void)wire_list_next_string(&l, flexible, ret);
    return true;
}

bool groups_write_error(const struct groups_question *q, int16_t error, struct wire_writer *w)
{
    struct wire_cursor c = q->body;
    int16_t v = q->version;
    struct wire_bytes id = {0};
    switch (q->api_key) {
    case KAFKA_API_OFFSET_COMMIT:
        return refuse_commit(&c, v, error, w);
    case KAFKA_API_OFFSET_FETCH:
        return refuse_fetch(&c, v, q->element, error, w);
    case KAFKA_API_DESCRIBE_GROUPS: {
        struct describe_groups_request in;
        if (!describe_groups_request_read(&c, v, &in) || !asked_name(in.groups, v >= 5, q->element, &id))
            return false;
        write_described(w, v, &id, error);
        return true;
    }
    case KAFKA_API_DELETE_GROUPS: {
        struct delete_groups_request in;
        if (!delete_groups_request_read(&c, v, &in) || !asked_name(in.groups_names, v >= 2, q->element, &id))
            return false;
        write_deleted(w, v, &id, error);
        return true;
    }
    case KAFKA_API_LIST_GROUPS: {
        struct list_groups_request in;
        return list_groups_request_read(&c, v, &in);
    }
    case KAFKA_API_JOIN_GROUP: {
        struct join_group_request in;
        return join_group_request_read(&c, v, &in) && write_plain(w, q->api_key, v, &in.member_id, error);
    }
    case KAFKA_API_SYNC_GROUP: {
        struct sync_group_request in;
        return sync_group_request_read(&c, v, &in) && write_plain(w, q->api_key, v, &id, error);
    }
    case KAFKA_API_HEARTBEAT: {
        struct heartbeat_request in;
        return heartbeat_request_read(&c, v, &in) && write_plain(w, q->api_key, v, &id, error);
    }
    case KAFKA_API_LEAVE_GROUP: {
        struct leave_group_request in;
        return leave_group_request_read(&c, v, &in) && write_plain(w, q->api_key, v, &id, error);
    }
    case KAFKA_API_CONSUMER_GROUP_HEARTBEAT: {
        struct consumer_group_heartbeat_request in;
        return consumer_group_heartbeat_request_read(&c, v, &in) && write_plain(w, q->api_key, v, &id, error);
    }
    case KAFKA_API_CONSUMER_GROUP_DESCRIBE: {
        struct consumer_group_describe_request in;
        if (!consumer_group_describe_request_read(&c, v, &in) || !asked_name(in.group_ids, true, q->element, &id))
            return false;
        consumer_write_described_error(w, v, &id, error);
        return true;
    }
    case KAFKA_API_OFFSET_DELETE: {
        struct offset_delete_request in;
        return offset_delete_request_read(&c, v, &in) && write_plain(w, q->api_key, v, &id, error);
    }
    default:
        return false;
    }
}

/* ---- from an answer that is not to leave ---------------------------------------------------------------------- */

static void spoil_commit(struct wire_cursor *c, int16_t v, int16_t error, struct wire_writer *w)
{
    struct offset_commit_response in;
    struct offset_commit_response_topic t;
    struct offset_commit_response_partition p;
    bool read = offset_commit_response_read(c, v, &in);
    TIDE_ASSERT(read); /* it was written here */
    offset_commit_response_put_throttle_time_ms(w, v, 0);
    offset_commit_response_open_topics(w, v, in.topics.count);
    while (offset_commit_response_topic_next(&in.topics, v, &t)) {
        offset_commit_response_topic_put_name_slice(w, v, &t.name);
        offset_commit_response_topic_open_partitions(w, v, t.partitions.count);
        while (offset_commit_response_partition_next(&t.partitions, v, &p)) {
            offset_commit_response_partition_put_partition_index(w, v, p.partition_index);
            offset_commit_response_partition_put_error_code(w, v, p.error_code != 0 ? p.error_code : error);
            offset_commit_response_partition_end(w, v);
        }
        offset_commit_response_topic_end(w, v);
    }
    offset_commit_response_end(w, v);
}

static void spoil_fetch(struct wire_cursor *c, int16_t v, int16_t error, struct wire_writer *w)
{
    struct offset_fetch_response in;
    struct offset_fetch_response_topic t;
    struct offset_fetch_response_partition p;
    if (v >= 8) {
        struct wire_list l = {.at = *c, .count = 1};
        struct offset_fetch_response_group group;
        (void)offset_fetch_response_group_next(&l, v, &group);
        write_fetched_group(w, v, &group.group_id, error);
        return;
    }
    bool read = offset_fetch_response_read(c, v, &in);
    TIDE_ASSERT(read);
    offset_fetch_response_put_throttle_time_ms(w, v, 0);
    offset_fetch_response_open_topics(w, v, v < 2 ? in.topics.count : 0);
    while (v < 2 && offset_fetch_response_topic_next(&in.topics, v, &t)) {
        offset_fetch_response_topic_put_name_slice(w, v, &t.name);
        offset_fetch_response_topic_open_partitions(w, v, t.partitions.count);
        while (offset_fetch_response_partition_next(&t.partitions, v, &p))
            write_no_offset(w, v, p.partition_index, error);
        offset_fetch_response_topic_end(w, v);
    }
    offset_fetch_response_put_error_code(w, v, error);
    offset_fetch_response_end(w, v);
}

bool asked_write_late_error(struct groups *g, struct groups_asked *a)
{
    struct wire_writer w;
    struct wire_cursor c;
    struct wire_bytes none = {0};
    if (a->written && a->error == 0)
        return true;
    wire_writer_init(&w, g->config.pool);
    wire_cursor_init(&c, tide_rope_slice(&a->body, 0, a->body.len));
    if (!write_plain(&w, a->api, a->version, &none, a->error)) {
        struct wire_list l = {.at = c, .count = 1};
        switch (a->api) {
        case KAFKA_API_OFFSET_COMMIT:
            spoil_commit(&c, a->version, a->error, &w);
            break;
        case KAFKA_API_OFFSET_FETCH:
            spoil_fetch(&c, a->version, a->error, &w);
            break;
        case KAFKA_API_DESCRIBE_GROUPS: {
            struct describe_groups_response_described_group e;
            (void)describe_groups_response_described_group_next(&l, a->version, &e);
            write_described(&w, a->version, &e.group_id, a->error);
            break;
        }
        case KAFKA_API_DELETE_GROUPS: {
            struct delete_groups_response_deletable_group_result e;
            (void)delete_groups_response_deletable_group_result_next(&l, a->version, &e);
            write_deleted(&w, a->version, &e.group_id, a->error);
            break;
        }
        case KAFKA_API_CONSUMER_GROUP_DESCRIBE: {
            struct consumer_group_describe_response_group e;
            (void)consumer_group_describe_response_group_next(&l, a->version, &e);
            consumer_write_described_error(&w, a->version, &e.group_id, a->error);
            break;
        }
        default: /* ListGroups: there are no elements then */
            a->elements = 0;
            break;
        }
    }
    if (w.failed) {
        wire_writer_abandon(&w);
        return false;
    }
    tide_rope_clear(&a->body);
    a->body = w.out;
    a->written = true;
    if (a->api != KAFKA_API_LIST_GROUPS)
        a->error = 0;
    return true;
}
