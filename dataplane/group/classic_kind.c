/* SPDX-License-Identifier: Apache-2.0 */
/* Where classic groups differ from those of KIP-848: commits, expiry, loading, the end of a group. And DescribeGroups. */
#include "group/classic_internal.h"

#include "tidemark/bytes.h"
#include "tidemark/mutant.h"

/* ---- DescribeGroups ---------------------------------------------------------------------------------------------- */

static void describe_member(struct wire_writer *w, int16_t v, const struct classic *c, const struct group_member *m)
{
    struct group_protocol p = {0};
    bool stable = c->state == CLASSIC_STABLE; /* between generations nobody has anything */
    if (stable)
        (void)protocols_find(m->protocols, c->protocol->at, c->protocol->len, &p);
    put_text(w, describe_groups_response_described_group_member_put_member_id, v, m->id);
    put_text(w, describe_groups_response_described_group_member_put_group_instance_id, v, m->instance);
    put_text(w, describe_groups_response_described_group_member_put_client_id, v, m->client_id);
    put_text(w, describe_groups_response_described_group_member_put_client_host, v, m->client_host);
    describe_groups_response_described_group_member_put_member_metadata(w, v, p.metadata == NULL ? (const void *)"" : p.metadata, p.metadata_len);
    describe_groups_response_described_group_member_put_member_assignment(w, v, stable && m->assignment != NULL ? m->assignment->at : "",
                                                                          stable && m->assignment != NULL ? m->assignment->len : 0);
    describe_groups_response_described_group_member_end(w, v);
}

/* Unknown is Dead, and no error before version 6. */
static void describe_none(struct wire_writer *w, int16_t v, const struct wire_bytes *id)
{
    static const char message[] = "the group does not exist", dead[] = "Dead";
    describe_groups_response_described_group_put_error_code(w, v, v >= 6 ? KAFKA_GROUP_ID_NOT_FOUND : 0);
    describe_groups_response_described_group_put_error_message(w, v, message, sizeof(message) - 1);
    describe_groups_response_described_group_put_group_id_slice(w, v, id);
    describe_groups_response_described_group_put_group_state(w, v, dead, sizeof(dead) - 1);
    describe_groups_response_described_group_put_protocol_type(w, v, "", 0);
    describe_groups_response_described_group_put_protocol_data(w, v, "", 0);
    describe_groups_response_described_group_open_members(w, v, 0);
    describe_groups_response_described_group_put_authorized_operations(w, v, INT32_MIN);
    describe_groups_response_described_group_end(w, v);
}

static void describe(struct wire_writer *w, int16_t v, const struct group *group)
{
    const struct classic *c = &group->classic;
    const struct group_member *m;
    const char *state = classic_state_name(group);
    const struct group_text *protocol = c->state == CLASSIC_STABLE ? c->protocol : NULL;
    describe_groups_response_described_group_put_error_code(w, v, 0);
    describe_groups_response_described_group_put_error_message(w, v, NULL, 0);
    put_text(w, describe_groups_response_described_group_put_group_id, v, group->id);
    describe_groups_response_described_group_put_group_state(w, v, state, (uint32_t)strlen(state));
    describe_groups_response_described_group_put_protocol_type(w, v, c->protocol_type == NULL ? "" : c->protocol_type->at,
                                                               c->protocol_type == NULL ? 0 : c->protocol_type->len);
    describe_groups_response_described_group_put_protocol_data(w, v, protocol == NULL ? "" : protocol->at, protocol == NULL ? 0 : protocol->len);
    describe_groups_response_described_group_open_members(w, v, (int32_t)c->member_count);
    TAILQ_FOREACH (m, &c->members, in_group)
        describe_member(w, v, c, m);
    describe_groups_response_described_group_put_authorized_operations(w, v, INT32_MIN);
    describe_groups_response_described_group_end(w, v);
}

enum tide_status classic_on_describe(struct groups *g, const struct groups_question *q, struct groups_asked *a)
{
    struct describe_groups_request in;
    struct wire_cursor cursor = q->body;
    struct wire_bytes id = {0};
    struct wire_writer w;
    struct group *group;
    if (!describe_groups_request_read(&cursor, q->version, &in) || !asked_name(in.groups, q->version >= 5, q->element, &id))
        return TIDE_BAD;
    group = groups_find(g, &id);
    wire_writer_init(&w, g->config.pool);
    if (group != NULL && group->kind == &classic_kind)
        describe(&w, q->version, group);
    else
        describe_none(&w, q->version, &id);
    if (!asked_body(a, &w))
        return TIDE_FULL;
    a->elements = 1;
    asked_finish(g, group, a);
    return TIDE_OK;
}

/* ---- the kind ------------------------------------------------------------------------------------------------------ */

static bool classic_is_empty(const struct group *group)
{
    return group->classic.state == CLASSIC_EMPTY;
}

static bool has_members(const struct group *group)
{
    const struct classic *c = &group->classic;
    return c->member_count != 0 || c->pending_count != 0 || c->state != CLASSIC_EMPTY;
}

static int16_t check_commit(struct groups *g, struct group *group, int16_t v, const struct offset_commit_request *in)
{
    const struct classic *c = &group->classic;
    struct group_member *m = NULL;
    int16_t error;
    if (in->generation_id_or_member_epoch < 0 && c->state == CLASSIC_EMPTY)
        return 0; /* of somebody who has no group management, or of an administrator */
    if (in->generation_id_or_member_epoch < 0 && in->member_id.at.len == 0 && in->group_instance_id.null)
        return KAFKA_UNKNOWN_MEMBER_ID;
    error = classic_look_up(g, group, &in->member_id, &in->group_instance_id, &m);
    if (error == 0 && in->generation_id_or_member_epoch != c->generation && !MUTANT(GROUP_GENERATION))
        error = KAFKA_ILLEGAL_GENERATION;
    if (error == 0 && c->state == CLASSIC_COMPLETING)
        error = KAFKA_REBALANCE_IN_PROGRESS; /* it owns nothing of this generation yet */
    if (error == 0)
        classic_touch(g, m);
    return error;
}

static int16_t check_fetch(struct groups *g, struct group *group, const struct wire_bytes *member_id, int32_t member_epoch)
{
    return 0;
}

bool classic_is_of_consumers(const struct classic *c)
{
    static const char consumer[] = "consumer";
    return c->protocol_type != NULL && c->protocol_type->len == sizeof(consumer) - 1 && memcmp(c->protocol_type->at, consumer, sizeof(consumer) - 1) == 0;
}

/* False: the bytes of the subscription are not understood. */
static bool mark_names(const struct groups *g, const struct group *group, const struct group_protocol *p)
{
    const uint8_t *at = p->metadata, *end = at + p->metadata_len;
    uint32_t count;
    if (p->metadata_len < 6)
        return false;
    count = load_be32(at + 2); /* ConsumerProtocolSubscription: version, topics, ... */
    at += 6;
    while (count-- != 0) {
        struct group_topic *t;
        uint32_t len;
        if (end - at < 2)
            return false;
        len = load_be16(at);
        at += 2;
        if (len > (uint32_t)(end - at))
            return false;
        t = offsets_find_topic(g, group, at, len);
        if (t != NULL)
            t->subscribed = true;
        at += len;
    }
    return true;
}

static void mark_all(struct group *group, bool subscribed)
{
    struct group_topic *t;
    TAILQ_FOREACH (t, &group->topics, in_group)
        t->subscribed = subscribed;
}

/* Whose bytes are not understood is taken to be subscribed to everything. */
static void mark_subscribed(const struct groups *g, struct group *group)
{
    const struct classic *c = &group->classic;
    const struct group_member *m;
    mark_all(group, false);
    if (!classic_is_of_consumers(c))
        return;
    TAILQ_FOREACH (m, &c->members, in_group) {
        struct group_protocol p;
        if (c->protocol == NULL || !protocols_find(m->protocols, c->protocol->at, c->protocol->len, &p) || !mark_names(g, group, &p)) {
            mark_all(group, true);
            return;
        }
    }
}

static bool age_from(const struct group *group, const struct group_offset *o, int64_t *ret_ms)
{
    const struct classic *c = &group->classic;
    *ret_ms = o->commit_ms;
    if (c->protocol_type == NULL)
        return c->state == CLASSIC_EMPTY;
    if (c->state == CLASSIC_EMPTY) {
        if (c->state_ms >= 0) /* Kafka counts from there only, and expires what an administrator has just set */
            *ret_ms = TIDE_MAX(o->commit_ms, c->state_ms);
        return true;
    }
    return c->state == CLASSIC_STABLE && classic_is_of_consumers(c);
}

static int16_t check_delete_offsets(const struct group *group)
{
    return group->classic.state == CLASSIC_EMPTY || classic_is_of_consumers(&group->classic) ? 0 : KAFKA_NON_EMPTY_GROUP;
}

static const char *protocol_type(const struct group *group, uint32_t *ret_len)
{
    const struct group_text *t = group->classic.protocol_type;
    *ret_len = t == NULL ? 0 : t->len;
    return t == NULL ? "" : t->at;
}

static void on_loaded(struct groups *g, struct group *group)
{
    struct group_member *m;
    TAILQ_FOREACH (m, &group->classic.members, in_group)
        classic_touch(g, m);
    if (group->classic.state != CLASSIC_STABLE)
        return;
    /* Nobody leads a group that was of the consumer protocol, and nobody has assigned. */
    if ((int64_t)group->classic.member_count > g->config.settings->group_max_size || group->classic.leader == NULL)
        classic_prepare_rebalance(g, group);
}

static void drop(struct groups *g, struct group *group)
{
    struct classic *c = &group->classic;
    struct group_member *m;
    while ((m = TAILQ_FIRST(&c->members)) != NULL) {
        classic_say_if_parked(g, m, &m->join, KAFKA_NOT_COORDINATOR);
        classic_say_if_parked(g, m, &m->sync, KAFKA_NOT_COORDINATOR);
        member_free(g, m);
    }
    while ((m = TAILQ_FIRST(&c->pending)) != NULL)
        member_free(g, m);
    group_text_give(g, c->protocol_type);
    group_text_give(g, c->protocol);
    c->protocol_type = c->protocol = NULL;
}

static void classic_check(const struct groups *g, const struct group *group)
{
    const struct classic *c = &group->classic;
    const struct group_member *m;
    uint32_t joined = 0, unsynced = 0, members = 0, pending = 0;
    bool has_leader = c->leader == NULL;
    TAILQ_FOREACH (m, &c->members, in_group) {
        TIDE_ASSERT(m->group == group);
        TIDE_ASSERT(!m->pending);
        TIDE_ASSERT(m->join == NULL || m->join->member == m); /* G3 */
        TIDE_ASSERT(m->sync == NULL || m->sync->member == m); /* G3 */
        TIDE_ASSERT(m->join == NULL || c->state == CLASSIC_PREPARING);
        TIDE_ASSERT(m->sync == NULL || c->state == CLASSIC_COMPLETING);
        TIDE_ASSERT(g->phase == GROUPS_LOADING || m->timer.place != 0 || m->join != NULL || m->sync != NULL);
        joined += m->join != NULL;
        unsynced += m->unsynced;
        members++;
        has_leader |= m == c->leader;
    }
    TAILQ_FOREACH (m, &c->pending, in_group)
        pending++;
    TIDE_ASSERT(members == c->member_count);
    TIDE_ASSERT(pending == c->pending_count);
    TIDE_ASSERT(joined == c->joined);
    TIDE_ASSERT(unsynced == c->unsynced);
    TIDE_ASSERT(has_leader);
    TIDE_ASSERT(c->state != CLASSIC_EMPTY || c->member_count == 0);
    TIDE_ASSERT(c->state != CLASSIC_PREPARING || c->timer.place != 0);
    TIDE_ASSERT(c->unsynced == 0 || c->timer.place != 0);
}

static uint32_t member_count(const struct group *group)
{
    return group->classic.member_count;
}

const struct group_kind classic_kind = {
    .type = "Classic",
    .members = member_count,
    .state = classic_state_name,
    .protocol_type = protocol_type,
    .is_empty = classic_is_empty,
    .check_commit = check_commit,
    .check_fetch = check_fetch,
    .mark_subscribed = mark_subscribed,
    .age_from = age_from,
    .check_delete_offsets = check_delete_offsets,
    .sync = classic_sync, /* who joins is handled here, whatever the kind was */
    .heartbeat = classic_heartbeat,
    .leave = classic_leave,
    .put_tombstones = classic_put_tombstones,
    .on_timer = classic_on_timer,
    .on_loaded = on_loaded,
    .has_members = has_members,
    .drop = drop,
    .check = classic_check,
};
