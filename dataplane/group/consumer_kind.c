/* SPDX-License-Identifier: Apache-2.0 */
/* Where groups of KIP-848 differ from classic ones. */
#include "group/consumer_internal.h"

#include "tidemark/assert.h"
#include "tidemark/mutant.h"

enum { FENCED_A_TURN = 64 };

/* ---- assignors ---------------------------------------------------------------------------------------- */

static const char *const assignors[ASSIGN_KIND_COUNT] = {[ASSIGN_UNIFORM] = "uniform", [ASSIGN_RANGE] = "range"};

const char *consumer_assignor_name(enum assign_kind kind) { return assignors[kind]; }

/* The next name in group.consumer.assignors. */
static bool next_name(const char **at, struct consumer_text *ret)
{
    const char *p = *at + strspn(*at, " ,");
    *ret = (struct consumer_text){p, (uint32_t)strcspn(p, " ,")};
    *at = p + ret->len;
    return ret->len != 0;
}

static bool by_name(struct consumer_text name, enum assign_kind *ret)
{
    for (enum assign_kind k = 0; k < ASSIGN_KIND_COUNT; k++) {
        if (strlen(assignors[k]) == name.len && memcmp(assignors[k], name.at, name.len) == 0) {
            *ret = k;
            return true;
        }
    }
    return false;
}

bool consumer_assignor_find(const struct consumer *c, struct consumer_text name, enum assign_kind *ret)
{
    const char *at = c->settings->group_consumer_assignors;
    for (struct consumer_text one; next_name(&at, &one);)
        if (consumer_text_equal(one, name))
            return by_name(name, ret);
    return false;
}

enum assign_kind consumer_assignor(const struct consumer *c)
{
    uint32_t votes[ASSIGN_KIND_COUNT] = {0};
    enum assign_kind best = ASSIGN_UNIFORM, kind;
    const char *at = c->settings->group_consumer_assignors;
    struct consumer_text first;
    if (next_name(&at, &first))
        (void)by_name(first, &best);
    for (uint32_t i = 0; i < c->member_count; i++)
        if (c->members[i]->assignor.at != NULL && consumer_assignor_find(c, c->members[i]->assignor, &kind))
            votes[kind]++;
    for (enum assign_kind k = 0; k < ASSIGN_KIND_COUNT; k++)
        if (votes[k] > votes[best])
            best = k;
    return best;
}

/* ---- records of the log ---------------------------------------------------------------------------------- */

/* What it was is over. */
static enum tide_status become(struct groups *g, struct group *group)
{
    struct consumer *c = tide_heap_take(g->config.heap, sizeof(*c));
    if (c == NULL)
        return TIDE_FULL;
    group->kind->drop(g, group);
    group_timer_stop(g, &group->classic.timer);
    group->classic.state = CLASSIC_EMPTY;
    group->classic.leader = NULL;
    consumer_init(c, g->config.heap, g->config.settings, (struct consumer_text){group->id->at, group->id->len});
    group->consumer = c;
    group->kind = &consumer_kind;
    return TIDE_OK;
}

static void drop(struct groups *g, struct group *group)
{
    struct consumer *c = group->consumer;
    g->gauges.members -= c->member_count;
    consumer_deinit(c);
    tide_heap_give(g->config.heap, c);
    group_timer_stop(g, &group->classic.timer);
    group->consumer = NULL;
    group->kind = &classic_kind;
    group->durable = false;
}

static enum tide_status replay(struct groups *g, enum consumer_record type, struct wire_cursor *key, struct wire_cursor *value)
{
    struct wire_cursor peek = *key;
    struct wire_bytes id = wire_get_string(&peek, false, false);
    if (peek.failed)
        return TIDE_BAD;
    struct group *group = groups_find(g, &id);
    if (value == NULL && (group == NULL || group->kind != &consumer_kind))
        return TIDE_OK;
    if (group == NULL && (group = groups_add(g, &id)) == NULL)
        return TIDE_FULL;
    enum tide_status status = TIDE_OK;
    if (group->kind != &consumer_kind)
        status = become(g, group);
    struct consumer *c = group->consumer;
    if (status == TIDE_OK) {
        g->gauges.members -= c->member_count;
        status = consumer_apply(c, (int16_t)type, key, value);
        g->gauges.members += c->member_count;
        group->durable = !consumer_is_nothing(c);
        if (!group->durable)
            drop(g, group);
    }
    group_settle(g, group);
    return status;
}

#define REPLAY(n, type)                                                                            \
    enum tide_status consumer_replay_##n(struct groups *g, struct wire_cursor *key, struct wire_cursor *value)                     \
    {                                                                                              \
        return replay(g, type, key, value);                                                        \
    }
REPLAY(group, CONSUMER_GROUP_METADATA)
REPLAY(member, CONSUMER_MEMBER_METADATA)
REPLAY(target_epoch, CONSUMER_TARGET_METADATA)
REPLAY(target, CONSUMER_TARGET_MEMBER)
REPLAY(current, CONSUMER_CURRENT)
REPLAY(expression, CONSUMER_REGEX)

/* A log may give a partition to two members (a part of it was compacted, or it is not ours): whoever came first must come again. */
static bool contradicts(const struct consumer *c, const struct consumer_member *m)
{
    const struct partition_set *sets[] = {&m->assigned, &m->revoking};
    for (size_t s = 0; s < TIDE_ARRAY_LEN(sets); s++)
        for (uint32_t i = 0; i < sets[s]->count; i++)
            if (consumer_owner_of(c, &sets[s]->at[i].topic, sets[s]->at[i].partition) != m)
                return true;
    return false;
}

static void on_loaded(struct groups *g, struct group *group)
{
    struct consumer *c = group->consumer;
    for (uint32_t i = 0; i < c->member_count; i++) {
        struct consumer_member *m = c->members[i];
        bool is_wrong = !m->has_metadata || (c->contradictions != 0 && contradicts(c, m));
        consumer_touch(g, c, m);
        if (is_wrong)
            m->session_deadline_ns = g->now.now_ns;
        if (m->state == CONSUMER_UNREVOKED)
            m->revoke_deadline_ns = group_after_ms(g, TIDE_MAX(m->rebalance_timeout_ms, 0));
        c->deadline_ns = TIDE_MIN(c->deadline_ns, m->session_deadline_ns);
        c->deadline_ns = TIDE_MIN(c->deadline_ns, m->revoke_deadline_ns);
    }
    consumer_set_timer(g, group);
}

/* ---- time ---------------------------------------------------------------------------------------------------- */

static uint64_t member_deadline_ns(const struct consumer_member *m)
{
    uint64_t at = TIDE_MIN(m->session_deadline_ns, m->revoke_deadline_ns);
    return TIDE_MIN(at, m->classic_deadline_ns);
}

/* Members whose time is up, so many at a time. */
static void fence_due(struct groups *g, struct group *group)
{
    struct consumer *c = group->consumer;
    uint32_t fenced = 0;
    uint64_t next = TIDE_NEVER;
    for (uint32_t i = 0; i < c->member_count;) {
        struct consumer_member *m = c->members[i];
        int16_t error = 0;
        if (member_deadline_ns(m) > g->now.now_ns) {
            uint64_t at = member_deadline_ns(m);
            next = TIDE_MIN(next, at);
            i++;
            continue;
        }
        if (fenced == FENCED_A_TURN) {
            next = g->now.now_ns + 1;
            break;
        }
        if (consumer_fence(g, group, m, &error) != TIDE_OK || error != 0) {
            uint64_t at = group_after_ms(g, GROUP_RETRY_MS);
            next = TIDE_MIN(next, at);
            break;
        }
        fenced++;
    }
    c->deadline_ns = next;
}

static void on_timer(struct groups *g, struct group *group)
{
    struct consumer *c = group->consumer;
    group->pinned = true;
    if (c->deadline_ns <= g->now.now_ns)
        fence_due(g, group);
    if (consumer_is_to_downgrade(g, c) && g->now.now_ns >= c->downgrade_after_ns) {
        int16_t error;
        if (consumer_downgrade(g, group, &error) == TIDE_OK && error == 0) {
            group->pinned = false;
            return;
        }
        c->downgrade_after_ns = group_after_ms(g, GROUP_RETRY_MS);
    }
    consumer_resolve(g, group);
    if (group->kind == &consumer_kind) /* else an expression was the last thing that it had */
        (void)consumer_assign(g, group, CONSUMER_NOW);
    group->pinned = false;
    if (group->kind == &consumer_kind)
        consumer_set_timer(g, group);
    group_settle(g, group);
}

/* ---- offsets --------------------------------------------------------------------------------------------------- */

/*
 * May the member commit these? With an older epoch what it has had since then; with its own also what nobody has, unless it is to give something up:
 * then it keeps its epoch, and what it has not it may have given up in that epoch already. What somebody else has
 * is refused in any case: the request was on its way when the partition went (Kafka takes it, and the offset goes back).
 */
static bool may_commit(const struct groups *g, const struct consumer *c, const struct consumer_member *m, int16_t version,
                       const struct offset_commit_request *in)
{
    struct offset_commit_request_topic topic;
    struct offset_commit_request_partition p;
    struct wire_list topics = in->topics;
    char name[TIDE_TOPIC_NAME_MAX + 1];
    bool is_current = in->generation_id_or_member_epoch == m->epoch;
    while (offset_commit_request_topic_next(&topics, version, &topic)) {
        uint32_t len = wire_bytes_copy(&topic.name, name, sizeof(name));
        const struct view_topic *t = tide_view_topic(g->view, name, len);
        while (t != NULL && offset_commit_request_partition_next(&topic.partitions, version, &p)) {
            const struct consumer_member *owner = consumer_owner_of(c, &t->id, p.partition_index);
            if (MUTANT(CONSUMER_COMMIT))
                continue;
            if (owner == NULL && is_current && m->state != CONSUMER_UNREVOKED)
                continue;
            if (owner != m)
                return false;
            const struct group_partition *has = partition_set_find(&m->assigned, &t->id, p.partition_index);
            if (has == NULL)
                has = partition_set_find(&m->revoking, &t->id, p.partition_index);
            if (has == NULL || (!is_current && in->generation_id_or_member_epoch < has->epoch))
                return false;
        }
    }
    return true;
}

static struct consumer_member *find_by_bytes(const struct consumer *c, const struct wire_bytes *id)
{
    char text[CONSUMER_TEXT_MAX + 1];
    uint32_t len = wire_bytes_copy(id, text, sizeof(text));
    return len <= CONSUMER_TEXT_MAX ? consumer_find(c, (struct consumer_text){text, len}) : NULL;
}

static int16_t check_commit(struct groups *g, struct group *group, int16_t version, const struct offset_commit_request *in)
{
    const struct consumer *c = group->consumer;
    int32_t epoch = in->generation_id_or_member_epoch;
    /* Whoever is no member may commit while nobody is: tools, and consumers that assign for themselves. */
    if (epoch < 0 && c->member_count == 0)
        return 0;
    struct consumer_member *m = find_by_bytes(c, &in->member_id);
    if (m == NULL || !m->has_metadata)
        return KAFKA_UNKNOWN_MEMBER_ID;
    if (m->classic == NULL && version < 9)
        return KAFKA_UNSUPPORTED_VERSION;
    if (epoch < 0 || epoch > m->epoch || !may_commit(g, c, m, version, in))
        return m->classic != NULL ? KAFKA_ILLEGAL_GENERATION : KAFKA_STALE_MEMBER_EPOCH;
    if (m->classic != NULL)
        consumer_touch(g, group->consumer, m);
    return 0;
}

static int16_t check_fetch(struct groups *g, struct group *group, const struct wire_bytes *member_id, int32_t member_epoch)
{
    if ((member_id->null || member_id->at.len == 0) && member_epoch < 0)
        return 0;
    const struct consumer_member *m = find_by_bytes(group->consumer, member_id);
    if (m == NULL || !m->has_metadata)
        return KAFKA_UNKNOWN_MEMBER_ID;
    return m->epoch == member_epoch ? 0 : KAFKA_STALE_MEMBER_EPOCH;
}

static void mark_subscribed(const struct groups *g, struct group *group)
{
    struct group_topic *t;
    TAILQ_FOREACH (t, &group->topics, in_group)
        t->subscribed = consumer_wants(group->consumer, (struct consumer_text){t->name->at, t->name->len});
}

static bool age_from(const struct group *group, const struct group_offset *o, int64_t *ret_ms)
{
    *ret_ms = o->commit_ms;
    return true;
}

static int16_t check_delete_offsets(const struct group *group) { return 0; }

/* ---- the rest of a kind ------------------------------------------------------------------------------------------ */

static const char *state(const struct group *group) { return consumer_state_name(group->consumer); }
static const char *protocol_type(const struct group *group, uint32_t *ret_len)
{
    static const char name[] = "consumer";
    *ret_len = sizeof(name) - 1;
    return name;
}

static uint32_t member_count(const struct group *group) { return ((const struct consumer *)group->consumer)->member_count; }
static bool is_empty(const struct group *group) { return member_count(group) == 0; }
static bool has_members(const struct group *group) { return member_count(group) != 0; }

static void put_tombstones(struct groups *g, struct group *group, struct group_batch *b)
{
    static const enum consumer_record records[] = {CONSUMER_TARGET_METADATA, CONSUMER_GROUP_METADATA};
    const struct consumer *c = group->consumer;
    for (uint32_t i = 0; i < c->expression_count; i++)
        if (c->expressions[i]->resolved)
            consumer_put_expression_gone(g, b, c, c->expressions[i]);
    for (size_t i = 0; i < TIDE_ARRAY_LEN(records); i++) {
        struct wire_writer key;
        consumer_group_key(g, &key, records[i], group->consumer);
        group_batch_put(b, &key, NULL);
    }
}

static void check(const struct groups *g, const struct group *group)
{
    consumer_check(group->consumer);
    TIDE_ASSERT(group->durable != consumer_is_nothing(group->consumer));
    TIDE_ASSERT(group->classic.member_count == 0);
}

const struct group_kind consumer_kind = {
    .type = "Consumer",
    .members = member_count,
    .state = state,
    .protocol_type = protocol_type,
    .is_empty = is_empty,
    .check_commit = check_commit,
    .check_fetch = check_fetch,
    .mark_subscribed = mark_subscribed,
    .age_from = age_from,
    .check_delete_offsets = check_delete_offsets,
    .join = consumer_classic_join,
    .sync = consumer_classic_sync,
    .heartbeat = consumer_classic_heartbeat,
    .leave = consumer_classic_leave,
    .put_tombstones = put_tombstones,
    .on_timer = on_timer,
    .on_loaded = on_loaded,
    .has_members = has_members,
    .drop = drop,
    .check = check,
};

/* ---- ConsumerGroupDescribe ------------------------------------------------------------------------------------------- */

static void put_text_or_empty(struct wire_writer *w, struct consumer_text t) { wire_put_string(w, true, t.at != NULL ? t.at : "", t.len); }

/* Topics that are gone have no name, and are left out. */
static void put_described_set(struct wire_writer *w, int16_t v, const struct tide_view *view, const struct partition_set *set)
{
    int32_t topics = 0;
    for (uint32_t i = 0; i < set->count; i += partition_set_run(set, i))
        topics += tide_view_topic_by_id(view, &set->at[i].topic) != NULL;
    consumer_group_describe_response_assignment_open_topic_partitions(w, v, topics);
    for (uint32_t i = 0, n; i < set->count; i += n) {
        const struct view_topic *t = tide_view_topic_by_id(view, &set->at[i].topic);
        n = partition_set_run(set, i);
        if (t == NULL)
            continue;
        consumer_group_describe_response_topic_partitions_put_topic_id(w, v, &t->id);
        consumer_group_describe_response_topic_partitions_put_topic_name(w, v, t->name, t->name_len);
        consumer_group_describe_response_topic_partitions_open_partitions(w, v, (int32_t)n);
        for (uint32_t k = i; k < i + n; k++)
            wire_put_i32(w, set->at[k].partition);
        consumer_group_describe_response_topic_partitions_end(w, v);
    }
    consumer_group_describe_response_assignment_end(w, v);
}

static void put_described_member(struct wire_writer *w, int16_t v, const struct tide_view *view, const struct consumer_member *m)
{
    wire_put_string(w, true, m->id.at, m->id.len);
    wire_put_string(w, true, m->instance.at, m->instance.len);
    wire_put_string(w, true, m->rack.at, m->rack.len);
    consumer_group_describe_response_member_put_member_epoch(w, v, m->epoch);
    put_text_or_empty(w, m->client_id);
    put_text_or_empty(w, m->client_host);
    consumer_group_describe_response_member_open_subscribed_topic_names(w, v, (int32_t)m->topic_count);
    for (uint32_t i = 0; i < m->topic_count; i++)
        wire_put_string(w, true, m->topics[i]->name, m->topics[i]->name_len);
    wire_put_string(w, true, consumer_regex_of(m).at, consumer_regex_of(m).len);
    put_described_set(w, v, view, &m->assigned);
    put_described_set(w, v, view, &m->target);
    consumer_group_describe_response_member_put_member_type(w, v, m->classic == NULL ? 1 : 0);
    consumer_group_describe_response_member_end(w, v);
}

static void put_described(struct wire_writer *w, int16_t v, const struct tide_view *view, const struct wire_bytes *id, const struct consumer *c)
{
    const char *name = consumer_state_name(c), *assignor = consumer_assignor_name(consumer_assignor(c));
    int32_t members = 0;
    for (uint32_t i = 0; i < c->member_count; i++)
        members += c->members[i]->has_metadata;
    consumer_group_describe_response_group_put_error_code(w, v, 0);
    consumer_group_describe_response_group_put_error_message(w, v, NULL, 0);
    consumer_group_describe_response_group_put_group_id_slice(w, v, id);
    consumer_group_describe_response_group_put_group_state(w, v, name, (uint32_t)strlen(name));
    consumer_group_describe_response_group_put_group_epoch(w, v, c->epoch);
    consumer_group_describe_response_group_put_assignment_epoch(w, v, c->assignment_epoch);
    consumer_group_describe_response_group_put_assignor_name(w, v, assignor, (uint32_t)strlen(assignor));
    consumer_group_describe_response_group_open_members(w, v, members);
    for (uint32_t i = 0; i < c->member_count; i++)
        if (c->members[i]->has_metadata)
            put_described_member(w, v, view, c->members[i]);
    consumer_group_describe_response_group_put_authorized_operations(w, v, INT32_MIN);
    consumer_group_describe_response_group_end(w, v);
}

enum tide_status consumer_on_describe(struct groups *g, const struct groups_question *q, struct groups_asked *a)
{
    struct consumer_group_describe_request in;
    struct wire_cursor body = q->body;
    struct wire_bytes id = {0};
    struct wire_writer w;
    if (!consumer_group_describe_request_read(&body, q->version, &in) || q->element < 0 || q->element >= in.group_ids.count)
        return TIDE_BAD;
    for (int32_t i = 0; i <= q->element; i++)
        (void)wire_list_next_string(&in.group_ids, true, &id);
    struct group *group = groups_find(g, &id);
    if (group == NULL || group->kind != &consumer_kind)
        return asked_refuse(g, group, a, q, KAFKA_GROUP_ID_NOT_FOUND);
    wire_writer_init(&w, g->config.pool);
    put_described(&w, q->version, g->view, &id, group->consumer);
    if (!asked_body(a, &w))
        return TIDE_FULL;
    a->elements = 1;
    asked_finish(g, group, a);
    return TIDE_OK;
}

void consumer_write_described_error(struct wire_writer *w, int16_t v, const struct wire_bytes *id, int16_t error)
{
    consumer_group_describe_response_group_put_error_code(w, v, error);
    consumer_group_describe_response_group_put_error_message(w, v, NULL, 0);
    consumer_group_describe_response_group_put_group_id_slice(w, v, id);
    consumer_group_describe_response_group_put_group_state(w, v, "", 0);
    consumer_group_describe_response_group_put_group_epoch(w, v, 0);
    consumer_group_describe_response_group_put_assignment_epoch(w, v, 0);
    consumer_group_describe_response_group_put_assignor_name(w, v, "", 0);
    consumer_group_describe_response_group_open_members(w, v, 0);
    consumer_group_describe_response_group_put_authorized_operations(w, v, INT32_MIN);
    consumer_group_describe_response_group_end(w, v);
}
