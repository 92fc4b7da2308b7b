/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Members of the classic protocol in a group of the consumer protocol. To them it is a group whose leader is somebody else: a JoinGroup is a
 * heartbeat that tells all (consumer_join), its generation is the member's epoch, SyncGroup brings what the member has, and a heartbeat
 * says REBALANCE_IN_PROGRESS when there is more for it, or something to give up. It gives up by joining again without it.
 *
 * Kafka tells a member to join again as soon as the group epoch is above its own. Here there may be no assignment for that epoch yet, and it would come for
 * nothing: it is told when there is one.
 */
#include "group/consumer_internal.h"

#include "tidemark/assert.h"

static bool is_text(const struct wire_bytes *b, const char *text, size_t len)
{
    struct tide_slice s = b->at;
    const uint8_t *piece;
    uint32_t n;
    if (b->null || s.len != len)
        return false;
    for (; (n = tide_slice_next(&s, &piece)) != 0; text += n)
        if (memcmp(piece, text, n) != 0)
            return false;
    return true;
}

static bool is_consumer(const struct wire_bytes *protocol_type) { return is_text(protocol_type, "consumer", strlen("consumer")); }

/* ---- what they say, in bytes of their own ---------------------------------------------------------- */

enum { SUBSCRIPTION_VERSIONS = CONSUMER_PROTOCOL_SUBSCRIPTION_HIGH };

/* A later version has more behind what is known. Some clients say 1 and write no more than 0 has. */
static bool read_subscription(struct wire_cursor c, int16_t *ret_version, struct consumer_protocol_subscription *ret)
{
    int16_t version = wire_get_i16(&c);
    struct wire_cursor again = c;
    if (c.failed || version < 0)
        return false;
    version = TIDE_MIN(version, (int16_t)SUBSCRIPTION_VERSIONS);
    *ret_version = version;
    (void)consumer_protocol_subscription_read(&c, version, ret);
    if (!c.failed)
        return true;
    (void)consumer_protocol_subscription_read(&again, 0, ret);
    return !again.failed;
}

enum tide_status consumer_read_subscription(struct groups *g, const struct group_protocol *p, struct tide_rope *rope, int16_t *ret_version,
                                            struct consumer_protocol_subscription *ret)
{
    struct wire_cursor c;
    *rope = (struct tide_rope){0};
    if (tide_rope_copy_in(rope, g->config.pool, p->metadata, p->metadata_len) != TIDE_OK)
        return TIDE_FULL;
    wire_cursor_init(&c, tide_rope_slice(rope, 0, rope->len));
    return read_subscription(c, ret_version, ret) ? TIDE_OK : TIDE_BAD;
}

void consumer_put_assignment(struct wire_writer *w, int16_t v, const struct tide_view *view, const struct partition_set *set)
{
    int32_t topics = 0;
    for (uint32_t i = 0; i < set->count; i += partition_set_run(set, i))
        topics += tide_view_topic_by_id(view, &set->at[i].topic) != NULL;
    wire_put_i16(w, v);
    consumer_protocol_assignment_open_assigned_partitions(w, v, topics);
    for (uint32_t i = 0, n; i < set->count; i += n) {
        const struct view_topic *t = tide_view_topic_by_id(view, &set->at[i].topic);
        n = partition_set_run(set, i);
        if (t == NULL)
            continue; /* it is gone, and has no name */
        consumer_protocol_assignment_topic_partition_put_topic(w, v, t->name, t->name_len);
        consumer_protocol_assignment_topic_partition_open_partitions(w, v, (int32_t)n);
        for (uint32_t k = i; k < i + n; k++)
            wire_put_i32(w, set->at[k].partition);
        consumer_protocol_assignment_topic_partition_end(w, v);
    }
    consumer_protocol_assignment_put_user_data(w, v, NULL, 0);
    consumer_protocol_assignment_end(w, v);
}

/* ---- JoinGroup -------------------------------------------------------------------------------------- */

static bool is_supported_by_all(const struct consumer *c, const struct group_protocol *p, const struct wire_bytes *but, const struct wire_bytes *but_instance)
{
    struct group_protocol found;
    for (uint32_t i = 0; i < c->member_count; i++) {
        const struct consumer_member *m = c->members[i];
        bool itself = is_text(but, m->id.at, m->id.len) || (m->instance.at != NULL && is_text(but_instance, m->instance.at, m->instance.len));
        if (m->classic != NULL && !itself && !protocols_find(m->classic, p->name, p->name_len, &found))
            return false;
    }
    return true;
}

/* The classic members must have a protocol in common, or the group could not become a classic one again. */
static bool fits(const struct consumer *c, const struct join_group_request *in, const struct group_protocols *offered)
{
    struct group_protocol p;
    if (!is_consumer(&in->protocol_type))
        return false;
    for (uint32_t at = 0; protocols_next(offered, &at, &p);)
        if (is_supported_by_all(c, &p, &in->member_id, &in->group_instance_id))
            return true;
    return false;
}

static bool is_topic_name(const struct wire_bytes *name) { return name->at.len != 0 && name->at.len <= TIDE_TOPIC_NAME_MAX; }

static void put_names(struct wire_writer *w, struct wire_list names)
{
    struct wire_list l = names;
    struct wire_bytes name;
    int32_t count = 0;
    while (wire_list_next_string(&l, false, &name))
        count += is_topic_name(&name);
    wire_put_count(w, true, count);
    while (wire_list_next_string(&names, false, &name))
        if (is_topic_name(&name))
            wire_put_string_slice(w, true, &name);
}

static const struct view_topic *topic_named(const struct tide_view *view, const struct wire_bytes *name)
{
    char text[TIDE_TOPIC_NAME_MAX + 1];
    return is_topic_name(name) ? tide_view_topic(view, text, wire_bytes_copy(name, text, sizeof(text))) : NULL;
}

/* Of topics that are gone nobody owns anything. */
static void put_owned(struct wire_writer *w, int16_t v, const struct tide_view *view, struct wire_list owned)
{
    struct consumer_protocol_subscription_topic_partition in;
    struct wire_list l = owned;
    int32_t topics = 0, partition;
    while (consumer_protocol_subscription_topic_partition_next(&l, v, &in))
        topics += topic_named(view, &in.topic) != NULL;
    wire_put_count(w, true, topics);
    while (consumer_protocol_subscription_topic_partition_next(&owned, v, &in)) {
        const struct view_topic *t = topic_named(view, &in.topic);
        if (t == NULL)
            continue;
        wire_put_uuid(w, &t->id);
        wire_put_count(w, true, TIDE_MAX(in.partitions.count, 0));
        while (wire_list_next_i32(&in.partitions, &partition))
            wire_put_i32(w, partition);
        consumer_group_heartbeat_request_topic_partitions_end(w, CONSUMER_JOIN_VERSION);
    }
}

static void put_heartbeat(struct wire_writer *w, const struct tide_view *view, const struct join_group_request *in, const char *made_id,
                          int16_t subscription_version, const struct consumer_protocol_subscription *s)
{
    enum { V = CONSUMER_JOIN_VERSION };
    wire_put_string_slice(w, true, &in->group_id);
    if (in->member_id.at.len != 0)
        wire_put_string_slice(w, true, &in->member_id);
    else
        wire_put_string(w, true, made_id, (uint32_t)strlen(made_id));
    consumer_group_heartbeat_request_put_member_epoch(w, V, 0);
    if (in->group_instance_id.null)
        wire_put_string(w, true, NULL, 0);
    else
        wire_put_string_slice(w, true, &in->group_instance_id);
    if (s->rack_id.null)
        wire_put_string(w, true, NULL, 0);
    else
        wire_put_string_slice(w, true, &s->rack_id);
    consumer_group_heartbeat_request_put_rebalance_timeout_ms(w, V, in->rebalance_timeout_ms);
    put_names(w, s->topics);
    wire_put_string(w, true, "", 0);   /* no expression, also when it had one */
    wire_put_string(w, true, NULL, 0); /* no assignor */
    put_owned(w, subscription_version, view, s->owned_partitions);
    consumer_group_heartbeat_request_end(w, V);
}

static enum tide_status give_id(struct groups *g, struct group *group, const struct groups_question *q, struct groups_asked *a, const char *id)
{
    struct wire_writer w;
    wire_writer_init(&w, g->config.pool);
    classic_write_id(&w, q->version, id, (uint32_t)strlen(id));
    if (!asked_body(a, &w))
        return TIDE_FULL;
    asked_finish(g, group, a);
    return TIDE_OK;
}

static enum tide_status join(struct groups *g, struct group *group, const struct join_group_request *in, const struct groups_question *q,
                             struct groups_asked *a, const struct group_protocols *protocols)
{
    struct consumer_join say = {.in = in, .protocols = protocols};
    struct consumer_protocol_subscription s;
    struct wire_list offered = in->protocols;
    struct join_group_request_protocol first;
    struct wire_cursor c;
    struct wire_writer w;
    char id[TIDE_UUID_TEXT];
    int16_t version;
    bool has_first = join_group_request_protocol_next(&offered, q->version, &first);
    if (!has_first || !fits(group->consumer, in, protocols))
        return asked_refuse(g, group, a, q, KAFKA_INCONSISTENT_GROUP_PROTOCOL);
    wire_cursor_init(&c, first.metadata.at);
    if (!read_subscription(c, &version, &s))
        return asked_refuse(g, group, a, q, KAFKA_INCONSISTENT_GROUP_PROTOCOL);
    consumer_make_id(g, id);
    if (q->version >= 4 && in->member_id.at.len == 0 && in->group_instance_id.null)
        return give_id(g, group, q, a, id); /* nothing is kept for it: whoever comes with an id is let in */
    wire_writer_init(&w, g->config.pool);
    put_heartbeat(&w, q->view, in, id, version, &s);
    enum tide_status status = TIDE_FULL;
    if (!w.failed) {
        wire_cursor_init(&say.heartbeat, tide_rope_slice(&w.out, 0, w.out.len));
        status = consumer_join(g, group, q, a, &say);
    }
    wire_writer_abandon(&w);
    return status;
}

enum tide_status consumer_classic_join(struct groups *g, struct group *group, const struct join_group_request *in, const struct groups_question *q,
                                       struct groups_asked *a)
{
    struct group_protocols *protocols = protocols_take(g, &in->protocols, q->version);
    if (protocols == NULL)
        return asked_refuse(g, group, a, q, KAFKA_COORDINATOR_NOT_AVAILABLE);
    enum tide_status status = join(g, group, in, q, a, protocols);
    tide_heap_give(g->config.heap, protocols);
    return status;
}

/* ---- SyncGroup, Heartbeat ----------------------------------------------------------------------------- */

/* A member of the classic protocol. */
static int16_t look_up(const struct consumer *c, const struct wire_bytes *id, const struct wire_bytes *instance, struct consumer_member **ret)
{
    char text[CONSUMER_TEXT_MAX + 1];
    struct consumer_member *m;
    uint32_t len;
    if (instance != NULL && !instance->null) {
        len = wire_bytes_copy(instance, text, sizeof(text));
        m = len <= CONSUMER_TEXT_MAX ? consumer_find_instance(c, (struct consumer_text){text, len}) : NULL;
        if (m != NULL && id != NULL && !is_text(id, m->id.at, m->id.len))
            return KAFKA_FENCED_INSTANCE_ID;
    } else {
        len = id != NULL ? wire_bytes_copy(id, text, sizeof(text)) : UINT32_MAX;
        m = len <= CONSUMER_TEXT_MAX ? consumer_find(c, (struct consumer_text){text, len}) : NULL;
    }
    if (m == NULL || m->classic == NULL)
        return KAFKA_UNKNOWN_MEMBER_ID;
    *ret = m;
    return 0;
}

/* It is told to join again, and has its rebalance timeout for it. */
static int16_t call_back(const struct groups *g, struct group *group, struct consumer_member *m)
{
    struct consumer *c = group->consumer;
    if (m->classic_deadline_ns == TIDE_NEVER) {
        m->classic_deadline_ns = group_after_ms(g, TIDE_MAX(m->rebalance_timeout_ms, 0));
        c->deadline_ns = TIDE_MIN(c->deadline_ns, m->classic_deadline_ns);
    }
    return KAFKA_REBALANCE_IN_PROGRESS;
}

static bool is_first_protocol(const struct consumer_member *m, const struct wire_bytes *name)
{
    struct group_protocol first = {0};
    uint32_t at = 0;
    (void)protocols_next(m->classic, &at, &first);
    return is_text(name, first.name, first.name_len);
}

static int16_t sync_error(const struct groups *g, struct group *group, const struct sync_group_request *in, struct consumer_member **ret)
{
    const struct consumer *c = group->consumer;
    int16_t error = look_up(c, &in->member_id, &in->group_instance_id, ret);
    if (error != 0)
        return error;
    if (in->generation_id != (*ret)->epoch)
        return KAFKA_ILLEGAL_GENERATION;
    if (!in->protocol_type.null && !is_consumer(&in->protocol_type))
        return KAFKA_INCONSISTENT_GROUP_PROTOCOL;
    if (!in->protocol_name.null && !is_first_protocol(*ret, &in->protocol_name))
        return KAFKA_INCONSISTENT_GROUP_PROTOCOL;
    /* Who is to give something up hears of it here, and joins again when it has. */
    if ((*ret)->epoch < c->assignment_epoch && (*ret)->state != CONSUMER_UNREVOKED)
        return call_back(g, group, *ret);
    return 0;
}

/* The version in which it said what it subscribes to. */
int16_t consumer_subscription_version(const struct consumer_member *m)
{
    struct group_protocol first = {0};
    uint32_t at = 0;
    (void)protocols_next(m->classic, &at, &first);
    int16_t v = first.metadata_len >= 2 ? (int16_t)load_be16(first.metadata) : 0;
    return TIDE_MIN(TIDE_MAX(v, (int16_t)0), (int16_t)SUBSCRIPTION_VERSIONS);
}

enum tide_status consumer_classic_sync(struct groups *g, struct group *group, const struct sync_group_request *in, const struct groups_question *q,
                                       struct groups_asked *a)
{
    struct consumer_member *m = NULL;
    struct wire_writer w, assignment;
    int16_t v = q->version, error = sync_error(g, group, in, &m);
    if (error == 0) {
        wire_writer_init(&assignment, g->config.pool);
        consumer_put_assignment(&assignment, consumer_subscription_version(m), q->view, &m->assigned);
        wire_writer_init(&w, g->config.pool);
        sync_group_response_put_throttle_time_ms(&w, v, 0);
        sync_group_response_put_error_code(&w, v, 0);
        sync_group_response_put_protocol_type_slice(&w, v, &in->protocol_type);
        sync_group_response_put_protocol_name_slice(&w, v, &in->protocol_name);
        sync_group_response_put_assignment_slice(&w, v, &(struct wire_bytes){.at = tide_rope_slice(&assignment.out, 0, assignment.out.len)});
        sync_group_response_end(&w, v);
        w.failed |= assignment.failed;
        wire_writer_abandon(&assignment);
        if (!asked_body(a, &w))
            return TIDE_FULL;
        m->classic_deadline_ns = TIDE_NEVER;
    }
    if (m != NULL)
        consumer_touch(g, group->consumer, m);
    consumer_set_timer(g, group);
    asked_say(g, group, a, error);
    return TIDE_OK;
}

int16_t consumer_classic_heartbeat(struct groups *g, struct group *group, const struct heartbeat_request *in)
{
    struct consumer *c = group->consumer;
    struct consumer_member *m = NULL;
    int16_t error = look_up(c, &in->member_id, &in->group_instance_id, &m);
    if (error == 0 && in->generation_id != m->epoch)
        error = KAFKA_ILLEGAL_GENERATION;
    if (error != 0)
        return error;
    consumer_touch(g, c, m);
    if (m->epoch < c->assignment_epoch || m->state == CONSUMER_UNREVOKED || (m->state == CONSUMER_UNRELEASED && !consumer_waits(c, g->view, m)))
        error = call_back(g, group, m);
    consumer_set_timer(g, group);
    return error;
}

/* ---- LeaveGroup ------------------------------------------------------------------------------------------ */

/* An administrator knows the instance only. */
static int16_t mark(const struct consumer *c, const struct wire_bytes *id, const struct wire_bytes *instance, bool *ret_any)
{
    struct consumer_member *m = NULL;
    int16_t error = look_up(c, id->at.len != 0 ? id : NULL, instance, &m);
    if (error == 0 && m->leaving)
        error = KAFKA_UNKNOWN_MEMBER_ID; /* named twice */
    if (error == 0)
        m->leaving = *ret_any = true;
    return error;
}

static bool mark_all(struct groups *g, const struct consumer *c, const struct leave_group_request *in, struct groups_asked *a, int16_t v, bool *ret_any)
{
    struct wire_list l = in->members;
    struct leave_group_request_member_identity e;
    struct wire_writer w;
    wire_writer_init(&w, g->config.pool);
    leave_group_response_put_throttle_time_ms(&w, v, 0);
    leave_group_response_put_error_code(&w, v, 0);
    leave_group_response_open_members(&w, v, l.count);
    while (leave_group_request_member_identity_next(&l, v, &e)) {
        leave_group_response_member_response_put_member_id_slice(&w, v, &e.member_id);
        leave_group_response_member_response_put_group_instance_id_slice(&w, v, &e.group_instance_id);
        leave_group_response_member_response_put_error_code(&w, v, mark(c, &e.member_id, &e.group_instance_id, ret_any));
        leave_group_response_member_response_end(&w, v);
    }
    leave_group_response_end(&w, v);
    return asked_body(a, &w);
}

enum tide_status consumer_classic_leave(struct groups *g, struct group *group, const struct leave_group_request *in, const struct groups_question *q,
                                        struct groups_asked *a)
{
    struct consumer *c = group->consumer;
    enum tide_status status = TIDE_OK;
    int16_t error = 0;
    bool any = false;
    if (q->version < 3)
        a->error = mark(c, &in->member_id, NULL, &any);
    else if (!mark_all(g, c, in, a, q->version, &any))
        status = TIDE_FULL;
    for (uint32_t i = 0; status != TIDE_OK && i < c->member_count; i++)
        c->members[i]->leaving = false;
    group->pinned = true;
    if (status == TIDE_OK && any) {
        status = consumer_fence_leaving(g, group, &error);
        if (status == TIDE_OK && error == 0)
            consumer_set_timer(g, group);
    }
    group->pinned = false;
    if (status != TIDE_OK) {
        tide_rope_clear(&a->body);
        a->written = false;
        return status;
    }
    if (error != 0)
        a->error = error;
    asked_finish(g, group, a);
    group_settle(g, group);
    return TIDE_OK;
}
