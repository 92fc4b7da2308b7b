/* SPDX-License-Identifier: Apache-2.0 */
/* The record of a classic group, which is that of its last complete generation: written, and applied. */
#include "group/classic_internal.h"

static void put_member(struct wire_writer *w, const struct group_member *m, const struct classic_record *r)
{
    enum { V = GROUP_RECORD_VERSION };
    bool renewed = m == r->renewed;
    struct group_protocol p = {0};
    if (r->protocol != NULL)
        (void)protocols_find(renewed ? r->protocols : m->protocols, r->protocol->at, r->protocol->len, &p);
    if (renewed)
        group_metadata_value_member_metadata_put_member_id(w, V, r->new_id, r->new_id_len);
    else
        put_text(w, group_metadata_value_member_metadata_put_member_id, V, m->id);
    put_text(w, group_metadata_value_member_metadata_put_group_instance_id, V, m->instance);
    put_text(w, group_metadata_value_member_metadata_put_client_id, V, m->client_id);
    put_text(w, group_metadata_value_member_metadata_put_client_host, V, m->client_host);
    group_metadata_value_member_metadata_put_rebalance_timeout(w, V, renewed ? r->rebalance_ms : m->rebalance_ms);
    group_metadata_value_member_metadata_put_session_timeout(w, V, renewed ? r->session_ms : m->session_ms);
    group_metadata_value_member_metadata_put_subscription(w, V, p.metadata == NULL ? (const void *)"" : p.metadata, p.metadata_len);
    if (r->offered)
        group_metadata_value_member_metadata_put_assignment_slice(w, V, &m->offered);
    else
        group_metadata_value_member_metadata_put_assignment(w, V, m->assignment == NULL ? "" : m->assignment->at,
                                                            m->assignment == NULL ? 0 : m->assignment->len);
    group_metadata_value_member_metadata_end(w, V);
}

static void put_key(struct groups *g, struct wire_writer *key, const struct group *group)
{
    group_key_begin(g, key, GROUP_RECORD_GROUP);
    put_text(key, group_metadata_key_put_group, 0, group->id);
    group_metadata_key_end(key, 0);
}

enum tide_status classic_write_record(struct groups *g, struct group *group, const struct classic_record *r, int16_t *ret_error)
{
    enum { V = GROUP_RECORD_VERSION };
    struct classic *c = &group->classic;
    struct wire_writer key, w;
    struct group_batch b;
    const struct group_member *m;
    group_batch_begin(g, &b);
    put_key(g, &key, group);
    wire_writer_init(&w, g->config.pool);
    wire_put_i16(&w, V);
    group_metadata_value_put_protocol_type(&w, V, c->protocol_type == NULL ? "" : c->protocol_type->at,
                                           c->protocol_type == NULL ? 0 : c->protocol_type->len);
    group_metadata_value_put_generation(&w, V, r->generation);
    put_text(&w, group_metadata_value_put_protocol, V, r->protocol);
    if (r->renewed != NULL && r->renewed == c->leader)
        group_metadata_value_put_leader(&w, V, r->new_id, r->new_id_len);
    else
        put_text(&w, group_metadata_value_put_leader, V, r->leader);
    group_metadata_value_put_current_state_timestamp(&w, V, g->now.wall_ms);
    group_metadata_value_open_members(&w, V, (int32_t)c->member_count);
    TAILQ_FOREACH (m, &c->members, in_group)
        put_member(&w, m, r);
    group_metadata_value_end(&w, V);
    group_batch_put(&b, &key, &w);
    return group_write(g, group, &b, ret_error);
}

void classic_put_tombstones(struct groups *g, struct group *group, struct group_batch *b)
{
    struct wire_writer key;
    put_key(g, &key, group);
    group_batch_put(b, &key, NULL);
}

/* A member of a record. When all of the group is made of the record, it is made; else it is there, perhaps under the id before (static members). */
static enum tide_status apply_member(struct groups *g, struct group *group, const struct group_metadata_value_member_metadata *in,
                                     const struct wire_bytes *protocol, bool all_anew)
{
    struct group_member *m = group_find_member(g, group, &in->member_id);
    if (all_anew) {
        struct member_start s = {.id = in->member_id, .instance = in->group_instance_id, .client_id_bytes = in->client_id,
                                 .client_host_bytes = in->client_host, .session_ms = TIDE_MAX(in->session_timeout, 1)};
        s.rebalance_ms = in->rebalance_timeout < 0 ? s.session_ms : in->rebalance_timeout;
        if (m != NULL || (!in->group_instance_id.null && group_find_instance(g, group, &in->group_instance_id) != NULL))
            return TIDE_OK; /* twice in one record: the first one counts */
        s.protocols = protocols_of_one(g, protocol, &in->subscription);
        m = s.protocols != NULL ? member_add(g, group, &s) : NULL;
        if (m == NULL) {
            tide_heap_give(g->config.heap, s.protocols);
            return TIDE_FULL;
        }
    } else if (m == NULL) {
        m = group_find_instance(g, group, &in->group_instance_id);
        TIDE_ASSERT(m != NULL); /* it was written from the live group */
        struct group_text *id = group_text_take(g, in->member_id.at);
        if (id == NULL)
            return TIDE_FULL;
        member_rename(g, m, id);
    }
    if (!all_anew) {
        m->session_ms = in->session_timeout;
        m->rebalance_ms = in->rebalance_timeout;
    }
    return group_text_set(g, &m->assignment, &in->assignment, true) ? TIDE_OK : TIDE_FULL;
}

static void forget_group(struct groups *g, struct group *group)
{
    struct classic *c = &group->classic;
    struct group_member *m;
    while ((m = TAILQ_FIRST(&c->members)) != NULL)
        classic_remove_member(g, m);
    group->durable = false;
    group_timer_stop(g, &c->timer);
    group_text_give(g, c->protocol_type);
    group_text_give(g, c->protocol);
    c->protocol_type = c->protocol = NULL;
    c->generation = 0;
    c->state_ms = -1;
    c->state = CLASSIC_EMPTY;
    group_settle(g, group);
}

static enum tide_status apply_value(struct groups *g, struct group *group, struct group_metadata_value *in, int16_t v)
{
    struct classic *c = &group->classic;
    struct group_metadata_value_member_metadata member;
    struct group_member *m;
    struct wire_bytes no_protocol = {0};
    bool loading = g->phase == GROUPS_LOADING;
    /* A live group writes its members down; a record with members for a group without any is that of one which was of another kind. */
    bool all_anew = loading || c->member_count == 0;
    enum classic_state to = in->members.count > 0 ? CLASSIC_STABLE : CLASSIC_EMPTY;
    while (loading && (m = TAILQ_FIRST(&c->members)) != NULL)
        classic_remove_member(g, m);
    if (in->protocol.null && to == CLASSIC_STABLE) /* never written; what has members has a protocol, if only one without a name */
        in->protocol = no_protocol;
    if (!group_text_set(g, &c->protocol_type, &in->protocol_type, true) || !group_text_set(g, &c->protocol, &in->protocol, false))
        return TIDE_FULL;
    while (group_metadata_value_member_metadata_next(&in->members, v, &member)) {
        enum tide_status status = apply_member(g, group, &member, &in->protocol, all_anew);
        if (status != TIDE_OK)
            return status;
    }
    c->leader = in->leader.null ? NULL : group_find_member(g, group, &in->leader);
    c->generation = in->generation;
    c->state_ms = in->current_state_timestamp;
    group->durable = true;
    if (loading || (all_anew && to == CLASSIC_STABLE))
        c->state = to;
    else if (c->state != to)
        classic_move(group, to);
    return TIDE_OK;
}

enum tide_status classic_replay(struct groups *g, struct wire_cursor *key, struct wire_cursor *value)
{
    struct group_metadata_key k;
    struct group_metadata_value in;
    struct group *group;
    enum tide_status status;
    int16_t v;
    if (!group_metadata_key_read(key, 0, &k))
        return TIDE_BAD;
    group = groups_find(g, &k.group);
    if (value == NULL) {
        if (group != NULL && group->kind == &classic_kind)
            forget_group(g, group);
        return TIDE_OK;
    }
    v = wire_get_i16(value);
    if (v < GROUP_METADATA_VALUE_LOW || v > GROUP_METADATA_VALUE_HIGH || !group_metadata_value_read(value, v, &in))
        return TIDE_BAD;
    if (group != NULL && group->kind != &classic_kind)
        return TIDE_BAD;
    if (group == NULL && (group = groups_add(g, &k.group)) == NULL)
        return TIDE_FULL;
    group->pinned = true;
    status = apply_value(g, group, &in, v);
    group->pinned = false;
    return status;
}
