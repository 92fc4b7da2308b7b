/* SPDX-License-Identifier: Apache-2.0 */
/* What the members of a generation ask: SyncGroup, Heartbeat, LeaveGroup. */
#include "group/classic_internal.h"

static void now_synced(struct groups *g, struct group *group, struct group_member *m)
{
    struct classic *c = &group->classic;
    c->unsynced -= m->unsynced;
    m->unsynced = false;
    if (c->unsynced == 0 && (c->state == CLASSIC_COMPLETING || c->state == CLASSIC_STABLE))
        group_timer_stop(g, &c->timer);
}

/* ---- SyncGroup ------------------------------------------------------------------------------------------------ */

static void say_assignment(struct groups *g, struct group *group, struct group_member *m, struct groups_asked *a)
{
    const struct classic *c = &group->classic;
    struct wire_writer w;
    int16_t v = a->version;
    wire_writer_init(&w, g->config.pool);
    sync_group_response_put_throttle_time_ms(&w, v, 0);
    sync_group_response_put_error_code(&w, v, 0);
    put_text(&w, sync_group_response_put_protocol_type, v, c->protocol_type);
    put_text(&w, sync_group_response_put_protocol_name, v, c->protocol);
    sync_group_response_put_assignment(&w, v, m->assignment == NULL ? "" : m->assignment->at, m->assignment == NULL ? 0 : m->assignment->len);
    sync_group_response_end(&w, v);
    if (!asked_body(a, &w))
        a->error = KAFKA_COORDINATOR_NOT_AVAILABLE; /* no memory: it joins again */
    asked_finish(g, group, a);
}

/* What the leader offers to each member, found by one pass over its list. */
static bool take_offers(struct groups *g, struct group *group, const struct sync_group_request *in, int16_t v)
{
    struct wire_list l = in->assignments;
    struct sync_group_request_assignment e;
    struct group_member *m;
    while (sync_group_request_assignment_next(&l, v, &e)) {
        m = group_find_member(g, group, &e.member_id);
        if (m != NULL && !m->pending)
            m->offered = e.assignment;
    }
    TAILQ_FOREACH (m, &group->classic.members, in_group) {
        struct wire_bytes *o = &m->offered;
        if (o->at.len != 0 && !group_text_is(m->assignment, o) && !group_text_prepare(g, o->at))
            return false;
    }
    return true;
}

static enum tide_status sync_by_leader(struct groups *g, struct group *group, struct group_member *leader, const struct sync_group_request *in,
                                       struct groups_asked *a)
{
    struct classic *c = &group->classic;
    struct group_member *m;
    int16_t error = KAFKA_COORDINATOR_NOT_AVAILABLE;
    enum tide_status status = TIDE_OK;
    if (take_offers(g, group, in, a->version))
        status = classic_write_record(g, group, &(struct classic_record){.generation = c->generation, .protocol = c->protocol, .leader = leader->id,
                                                               .offered = true}, &error);
    else
        group_texts_drop(g);
    TAILQ_FOREACH (m, &c->members, in_group)
        m->offered = (struct wire_bytes){0};
    if (status != TIDE_OK)
        return status;
    classic_touch(g, leader);
    now_synced(g, group, leader);
    if (error == 0)
        say_assignment(g, group, leader, a);
    else
        asked_say(g, group, a, error);
    TAILQ_FOREACH (m, &c->members, in_group) {
        struct groups_asked *waiting = classic_unpark(g, &m->sync);
        if (waiting == NULL)
            continue;
        classic_touch(g, m);
        if (error == 0)
            say_assignment(g, group, m, waiting);
        else
            asked_say(g, group, waiting, error);
    }
    if (error != 0) /* Kafka does so as well: all come again, and the leader with them */
        classic_prepare_rebalance(g, group);
    return TIDE_OK;
}

static bool differs(const struct group_text *ours, const struct wire_bytes *theirs)
{
    return !theirs->null && !group_text_is(ours, theirs);
}

/* Which group? NULL: none, and that has been said. */
static struct group *group_asked(struct groups *g, const struct wire_bytes *id, struct groups_asked *a)
{
    struct group *group = id->at.len != 0 ? groups_find(g, id) : NULL;
    if (group == NULL)
        asked_say(g, NULL, a, id->at.len == 0 ? KAFKA_INVALID_GROUP_ID : KAFKA_UNKNOWN_MEMBER_ID);
    return group;
}

enum tide_status classic_on_sync(struct groups *g, const struct groups_question *q, struct groups_asked *a)
{
    struct sync_group_request in;
    struct wire_cursor cursor = q->body;
    if (!sync_group_request_read(&cursor, q->version, &in) || in.assignments.count > GROUP_ITEMS_MAX)
        return TIDE_BAD;
    struct group *group = group_asked(g, &in.group_id, a);
    return group != NULL ? group->kind->sync(g, group, &in, q, a) : TIDE_OK;
}

enum tide_status classic_sync(struct groups *g, struct group *group, const struct sync_group_request *in, const struct groups_question *q,
                              struct groups_asked *a)
{
    struct classic *c = &group->classic;
    struct group_member *m = NULL;
    int16_t error = classic_look_up(g, group, &in->member_id, &in->group_instance_id, &m);
    if (error == 0 && in->generation_id != c->generation)
        error = KAFKA_ILLEGAL_GENERATION;
    if (error == 0 && (differs(c->protocol_type, &in->protocol_type) || differs(c->protocol, &in->protocol_name)))
        error = KAFKA_INCONSISTENT_GROUP_PROTOCOL;
    if (error == 0 && c->state == CLASSIC_EMPTY)
        error = KAFKA_UNKNOWN_MEMBER_ID;
    if (error == 0 && c->state == CLASSIC_PREPARING)
        error = KAFKA_REBALANCE_IN_PROGRESS;
    if (error != 0) {
        asked_say(g, group, a, error);
        return TIDE_OK;
    }
    if (c->state == CLASSIC_COMPLETING && c->leader == m)
        return sync_by_leader(g, group, m, in, a);
    classic_touch(g, m);
    if (c->state == CLASSIC_STABLE) {
        now_synced(g, group, m);
        say_assignment(g, group, m, a);
    } else if (a->spare) {
        asked_say(g, group, a, KAFKA_COORDINATOR_NOT_AVAILABLE);
    } else {
        now_synced(g, group, m);
        classic_park(g, m, &m->sync, a);
    }
    return TIDE_OK;
}

/* ---- Heartbeat, LeaveGroup ------------------------------------------------------------------------------------- */

enum tide_status classic_on_heartbeat(struct groups *g, const struct groups_question *q, struct groups_asked *a)
{
    struct heartbeat_request in;
    struct wire_cursor cursor = q->body;
    if (!heartbeat_request_read(&cursor, q->version, &in))
        return TIDE_BAD;
    struct group *group = group_asked(g, &in.group_id, a);
    if (group != NULL)
        asked_say(g, group, a, group->kind->heartbeat(g, group, &in));
    return TIDE_OK;
}

int16_t classic_heartbeat(struct groups *g, struct group *group, const struct heartbeat_request *in)
{
    struct group_member *m = NULL;
    int16_t error = classic_look_up(g, group, &in->member_id, &in->group_instance_id, &m);
    if (error == 0 && in->generation_id != group->classic.generation)
        error = KAFKA_ILLEGAL_GENERATION;
    if (error == 0 && group->classic.state == CLASSIC_EMPTY)
        error = KAFKA_UNKNOWN_MEMBER_ID;
    if (error == 0) {
        classic_touch(g, m);
        if (group->classic.state == CLASSIC_PREPARING)
            error = KAFKA_REBALANCE_IN_PROGRESS;
    }
    return error;
}

/* One that leaves; the group is looked after when all have left. */
static int16_t leave_one(struct groups *g, struct group *group, const struct wire_bytes *id, const struct wire_bytes *instance)
{
    struct group_member *m = NULL;
    int16_t error = 0;
    if (id->at.len == 0) { /* by an administrator, who knows the instance only */
        m = instance == NULL || instance->null ? NULL : group_find_instance(g, group, instance);
        error = m == NULL ? KAFKA_UNKNOWN_MEMBER_ID : 0;
    } else {
        m = group_find_member(g, group, id);
        if (m == NULL || !m->pending)
            error = classic_look_up(g, group, id, instance, &m);
    }
    if (error == 0)
        classic_remove_member(g, m);
    return error;
}

static bool write_leaves(struct groups *g, struct group *group, const struct leave_group_request *in, struct groups_asked *a, int16_t v)
{
    struct wire_list l = in->members;
    struct leave_group_request_member_identity e;
    struct wire_writer w;
    wire_writer_init(&w, g->config.pool);
    leave_group_response_put_throttle_time_ms(&w, v, 0);
    leave_group_response_put_error_code(&w, v, 0);
    leave_group_response_open_members(&w, v, l.count);
    while (leave_group_request_member_identity_next(&l, v, &e)) {
        int16_t error = leave_one(g, group, &e.member_id, &e.group_instance_id);
        leave_group_response_member_response_put_member_id_slice(&w, v, &e.member_id);
        leave_group_response_member_response_put_group_instance_id_slice(&w, v, &e.group_instance_id);
        leave_group_response_member_response_put_error_code(&w, v, error);
        leave_group_response_member_response_end(&w, v);
    }
    leave_group_response_end(&w, v);
    return asked_body(a, &w);
}

enum tide_status classic_on_leave(struct groups *g, const struct groups_question *q, struct groups_asked *a)
{
    struct leave_group_request in;
    struct wire_cursor cursor = q->body;
    if (!leave_group_request_read(&cursor, q->version, &in) || in.members.count > GROUP_ITEMS_MAX)
        return TIDE_BAD;
    struct group *group = group_asked(g, &in.group_id, a);
    return group != NULL ? group->kind->leave(g, group, &in, q, a) : TIDE_OK;
}

enum tide_status classic_leave(struct groups *g, struct group *group, const struct leave_group_request *in, const struct groups_question *q,
                               struct groups_asked *a)
{
    group->pinned = true;
    if (q->version < 3)
        a->error = leave_one(g, group, &in->member_id, NULL);
    else if (!write_leaves(g, group, in, a, q->version))
        a->error = KAFKA_COORDINATOR_NOT_AVAILABLE; /* they have left; it asks again and hears that they are not there */
    classic_after_leave(g, group);
    asked_finish(g, group, a); /* behind what the last one's leaving has written */
    group->pinned = false;
    group_settle(g, group);
    return TIDE_OK;
}
