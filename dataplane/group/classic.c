/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The classic protocol (kafka-protocol 9.3): members join, one of them assigns, all are told.
 *
 * Timers. A member's: its session, set anew by whatever shows that it lives, and not looked at while it has a parked question; five minutes
 * while it waits for its first generation; its session while it has an id and did not come with it. A group's: in PREPARING the initial
 * delay, or the longest rebalance timeout of its members; in COMPLETING and STABLE the same time for members that do not sync. What a timer
 * wants to write and cannot is tried again after GROUP_RETRY_MS, with nothing changed.
 */
#include "group/internal.h"

#include "tidemark/bytes.h"
#include "tidemark/mutant.h"

#define TO(s) (1u << CLASSIC_##s)
static const struct {
    const char *name;
    uint32_t next;
} classic_states[CLASSIC_STATE_COUNT] = {
    [CLASSIC_EMPTY] = {"Empty", TO(PREPARING)},
    [CLASSIC_PREPARING] = {"PreparingRebalance", TO(COMPLETING) | TO(EMPTY)},
    [CLASSIC_COMPLETING] = {"CompletingRebalance", TO(STABLE) | TO(PREPARING)},
    [CLASSIC_STABLE] = {"Stable", TO(PREPARING)},
};

static void classic_move(struct group *group, enum classic_state to)
{
    TIDE_ASSERT(classic_states[group->classic.state].next & (1u << to));
    group->classic.state = to;
}

static uint64_t rebalance_after(const struct groups *g, const struct classic *c)
{
    int64_t longest = 0;
    const struct group_member *m;
    TAILQ_FOREACH (m, &c->members, in_group)
        longest = TIDE_MAX(longest, (int64_t)m->rebalance_ms);
    return group_after_ms(g, longest);
}

/* ---- members' lives --------------------------------------------------------------------------------------- */

static void alive_for(struct groups *g, struct group_member *m, int64_t ms)
{
    m->alive_until_ns = group_after_ms(g, ms);
    if (m->timer.place == 0 || m->timer.at_ns > m->alive_until_ns) /* a timer that comes too early looks again */
        group_timer_set(g, &m->timer, m->alive_until_ns);
}

static void touch(struct groups *g, struct group_member *m)
{
    alive_for(g, m, m->session_ms);
}

/* Takes the question off its member. */
static struct groups_asked *unpark(struct groups *g, struct groups_asked **at)
{
    struct groups_asked *a = *at;
    if (a != NULL) {
        if (at == &a->member->join)
            a->member->group->classic.joined--;
        a->member = NULL;
        *at = NULL;
        g->gauges.parked--;
    }
    return a;
}

static void say_if_parked(struct groups *g, struct group_member *m, struct groups_asked **at, int16_t error)
{
    struct groups_asked *a = unpark(g, at);
    if (a != NULL)
        asked_say(g, m->group, a, error);
}

static void park(struct groups *g, struct group_member *m, struct groups_asked **at, struct groups_asked *a)
{
    say_if_parked(g, m, at, KAFKA_REBALANCE_IN_PROGRESS); /* it has asked again, on another connection */
    a->member = m;
    *at = a;
    g->gauges.parked++;
    if (at == &m->join)
        m->group->classic.joined++;
}

static void remove_member(struct groups *g, struct group_member *m)
{
    say_if_parked(g, m, &m->join, KAFKA_UNKNOWN_MEMBER_ID);
    say_if_parked(g, m, &m->sync, KAFKA_UNKNOWN_MEMBER_ID);
    member_free(g, m);
}

static void now_synced(struct groups *g, struct group *group, struct group_member *m)
{
    struct classic *c = &group->classic;
    c->unsynced -= m->unsynced;
    m->unsynced = false;
    if (c->unsynced == 0 && (c->state == CLASSIC_COMPLETING || c->state == CLASSIC_STABLE))
        group_timer_stop(g, &c->timer);
}

/* Who asks, and whether it is who it says. */
static int16_t look_up(const struct groups *g, const struct group *group, const struct wire_bytes *id, const struct wire_bytes *instance,
                       struct group_member **ret)
{
    struct group_member *m;
    if (instance != NULL && !instance->null) {
        m = group_find_instance(g, group, instance);
        if (m == NULL)
            return KAFKA_UNKNOWN_MEMBER_ID;
        if (!group_text_is(m->id, id))
            return KAFKA_FENCED_INSTANCE_ID;
    } else {
        m = group_find_member(g, group, id);
        if (m == NULL || m->pending)
            return KAFKA_UNKNOWN_MEMBER_ID;
    }
    *ret = m;
    return 0;
}

/* A JoinGroup that is handled. */
struct join {
    struct join_group_request in;
    const struct groups_question *q;
    struct groups_asked *a;
    struct group *group;
    struct group_protocols *protocols; /* until a member has them */
    int32_t rebalance_ms;
};

/* ---- the record of a group -------------------------------------------------------------------------------- */

struct group_record {
    int32_t generation;
    const struct group_text *protocol, *leader;
    bool offered; /* assignments as the leader offers them, not as they are */
    const struct join *renewed; /* of a static member that came back: */
    const struct group_member *renewed_member;
    const char *new_id;
    uint32_t new_id_len;
};

static void put_member(struct wire_writer *w, const struct group_member *m, const struct group_record *r)
{
    enum { V = GROUP_RECORD_VERSION };
    bool renewed = m == r->renewed_member;
    struct group_protocol p = {0};
    if (r->protocol != NULL)
        (void)protocols_find(renewed ? r->renewed->protocols : m->protocols, r->protocol->at, r->protocol->len, &p);
    if (renewed)
        group_metadata_value_member_metadata_put_member_id(w, V, r->new_id, r->new_id_len);
    else
        put_text(w, group_metadata_value_member_metadata_put_member_id, V, m->id);
    put_text(w, group_metadata_value_member_metadata_put_group_instance_id, V, m->instance);
    put_text(w, group_metadata_value_member_metadata_put_client_id, V, m->client_id);
    put_text(w, group_metadata_value_member_metadata_put_client_host, V, m->client_host);
    group_metadata_value_member_metadata_put_rebalance_timeout(w, V, renewed ? r->renewed->rebalance_ms : m->rebalance_ms);
    group_metadata_value_member_metadata_put_session_timeout(w, V, renewed ? r->renewed->in.session_timeout_ms : m->session_ms);
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

/* Appends and applies. */
static enum tide_status write_record(struct groups *g, struct group *group, const struct group_record *r, int16_t *ret_error)
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
    if (r->renewed_member != NULL && r->renewed_member == c->leader)
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

static void put_tombstones(struct groups *g, struct group *group, struct group_batch *b)
{
    struct wire_writer key;
    put_key(g, &key, group);
    group_batch_put(b, &key, NULL);
}

/* False: the heap is full. */
static bool set_text(struct groups *g, struct group_text **at, const struct wire_bytes *b, bool empty_is_null)
{
    struct group_text *t = NULL;
    if (group_text_is(*at, b) || (empty_is_null && *at == NULL && b->at.len == 0))
        return true;
    if (!b->null && !(empty_is_null && b->at.len == 0)) {
        t = group_text_take(g, b->at);
        if (t == NULL)
            return false;
    }
    group_text_give(g, *at);
    *at = t;
    return true;
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
    return set_text(g, &m->assignment, &in->assignment, true) ? TIDE_OK : TIDE_FULL;
}

static void forget_group(struct groups *g, struct group *group)
{
    struct classic *c = &group->classic;
    struct group_member *m;
    while ((m = TAILQ_FIRST(&c->members)) != NULL)
        remove_member(g, m);
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
        remove_member(g, m);
    if (in->protocol.null && to == CLASSIC_STABLE) /* never written; what has members has a protocol, if only one without a name */
        in->protocol = no_protocol;
    if (!set_text(g, &c->protocol_type, &in->protocol_type, true) || !set_text(g, &c->protocol, &in->protocol, false))
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

/* ---- rebalancing ------------------------------------------------------------------------------------------ */

static bool all_have_joined(const struct classic *c)
{
    return c->joined == c->member_count && c->pending_count == 0;
}

struct join_answer {
    const struct group_text *member_id, *leader;
    const struct group *list; /* whose members are in it */
    bool skip;
};

/* The answer that carries the group's generation. */
static void say_joined(struct groups *g, struct group *group, struct groups_asked *a, const struct join_answer *j)
{
    const struct classic *c = &group->classic;
    const struct group_member *m;
    struct wire_writer w;
    int16_t v = a->version;
    wire_writer_init(&w, g->config.pool);
    join_group_response_put_throttle_time_ms(&w, v, 0);
    join_group_response_put_error_code(&w, v, 0);
    join_group_response_put_generation_id(&w, v, c->generation);
    put_text(&w, join_group_response_put_protocol_type, v, c->protocol_type);
    put_text(&w, join_group_response_put_protocol_name, v, c->protocol);
    join_group_response_put_leader(&w, v, j->leader == NULL ? "" : j->leader->at, j->leader == NULL ? 0 : j->leader->len);
    join_group_response_put_skip_assignment(&w, v, j->skip);
    put_text(&w, join_group_response_put_member_id, v, j->member_id);
    join_group_response_open_members(&w, v, j->list != NULL ? (int32_t)c->member_count : 0);
    if (j->list != NULL)
        TAILQ_FOREACH (m, &c->members, in_group) {
            struct group_protocol p = {0};
            (void)protocols_find(m->protocols, c->protocol->at, c->protocol->len, &p);
            put_text(&w, join_group_response_member_put_member_id, v, m->id);
            put_text(&w, join_group_response_member_put_group_instance_id, v, m->instance);
            join_group_response_member_put_metadata(&w, v, p.metadata == NULL ? (const void *)"" : p.metadata, p.metadata_len);
            join_group_response_member_end(&w, v);
        }
    join_group_response_end(&w, v);
    if (!asked_body(a, &w))
        a->error = KAFKA_COORDINATOR_NOT_AVAILABLE; /* no memory: it asks again, and gets the same generation */
    asked_finish(g, group, a);
}

static void say_generation(struct groups *g, struct group *group, struct group_member *m, struct groups_asked *a)
{
    const struct classic *c = &group->classic;
    say_joined(g, group, a, &(struct join_answer){.member_id = m->id, .leader = c->leader != NULL ? c->leader->id : NULL,
                                                  .list = c->leader == m && c->state == CLASSIC_COMPLETING ? group : NULL});
}

/* The leader stays if it has joined, else the first one that has. False: nobody has. */
static bool elect_leader(struct classic *c)
{
    struct group_member *m;
    if (c->leader != NULL && c->leader->join != NULL)
        return true;
    TAILQ_FOREACH (m, &c->members, in_group)
        if (m->join != NULL) {
            c->leader = m;
            return true;
        }
    return false;
}

static void retry_later(struct groups *g, struct group *group)
{
    group_timer_set(g, &group->classic.timer, group_after_ms(g, GROUP_RETRY_MS));
}

static int32_t next_generation(int32_t generation)
{
    return generation == INT32_MAX ? 1 : generation + 1;
}

/* Nobody is left. */
static void become_empty(struct groups *g, struct group *group)
{
    struct classic *c = &group->classic;
    int16_t error;
    if (!group->durable && group->offset_count == 0) { /* nobody ever learnt of it but its members */
        classic_move(group, CLASSIC_EMPTY);
        group_settle(g, group);
        return;
    }
    if (write_record(g, group, &(struct group_record){.generation = next_generation(c->generation)}, &error) != TIDE_OK || error != 0)
        retry_later(g, group);
}

/* The next generation begins. */
static void begin_generation(struct groups *g, struct group *group)
{
    struct classic *c = &group->classic;
    struct group_protocol chosen;
    struct group_member *m;
    struct group_text *protocol;
    bool found = protocols_vote(c, NULL, NULL, &chosen);
    TIDE_ASSERT(found); /* nobody was let in who would have left none */
    protocol = group_text_of(g, chosen.name, chosen.name_len);
    if (protocol == NULL) {
        retry_later(g, group);
        return;
    }
    group_text_give(g, c->protocol);
    c->protocol = protocol;
    c->generation = next_generation(c->generation);
    classic_move(group, CLASSIC_COMPLETING);
    TAILQ_FOREACH (m, &c->members, in_group) {
        struct groups_asked *a = unpark(g, &m->join);
        m->fresh = false;
        c->unsynced += !m->unsynced;
        m->unsynced = true;
        touch(g, m);
        if (a != NULL) /* a static member may be away */
            say_generation(g, group, m, a);
    }
    group_timer_set(g, &c->timer, rebalance_after(g, c));
}

static void complete_join(struct groups *g, struct group *group)
{
    struct classic *c = &group->classic;
    struct group_member *m, *next;
    group_timer_stop(g, &c->timer);
    for (m = TAILQ_FIRST(&c->members); m != NULL; m = next) {
        next = TAILQ_NEXT(m, in_group);
        if (m->join == NULL && m->instance == NULL)
            remove_member(g, m);
    }
    if (c->member_count == 0)
        become_empty(g, group);
    else if (!elect_leader(c)) /* static members all, and all away: until their sessions end */
        group_timer_set(g, &c->timer, rebalance_after(g, c));
    else
        begin_generation(g, group);
}

static void complete_if_all_joined(struct groups *g, struct group *group)
{
    const struct classic *c = &group->classic;
    if (c->state == CLASSIC_PREPARING && !c->initial && all_have_joined(c))
        complete_join(g, group);
}

static void dismiss(struct groups *g, struct group_member *m, struct groups_asked **at)
{
    struct groups_asked *a = unpark(g, at);
    if (a == NULL)
        return;
    touch(g, m);
    asked_say(g, m->group, a, KAFKA_REBALANCE_IN_PROGRESS);
}

void classic_dismiss(struct groups *g, struct group *group)
{
    struct group_member *m;
    TAILQ_FOREACH (m, &group->classic.members, in_group) {
        dismiss(g, m, &m->join);
        dismiss(g, m, &m->sync);
    }
}

static void prepare_rebalance(struct groups *g, struct group *group)
{
    struct classic *c = &group->classic;
    struct group_member *m;
    TAILQ_FOREACH (m, &c->members, in_group)
        dismiss(g, m, &m->sync);
    TAILQ_FOREACH (m, &c->members, in_group)
        m->unsynced = false;
    c->unsynced = 0;
    c->initial = c->state == CLASSIC_EMPTY;
    c->joined_since = false;
    classic_move(group, CLASSIC_PREPARING);
    if (c->initial) {
        int64_t delay = g->config.settings->group_initial_rebalance_delay_ms;
        const struct group_member *first = TAILQ_FIRST(&c->members);
        int64_t longest = first != NULL ? first->rebalance_ms : 0;
        c->delay_left_ns = longest > delay ? (uint64_t)(longest - delay) * TIDE_NS_PER_MS : 0;
        group_timer_set(g, &c->timer, group_after_ms(g, delay));
    } else if (all_have_joined(c)) {
        complete_join(g, group);
    } else {
        group_timer_set(g, &c->timer, rebalance_after(g, c));
    }
}

static void rebalance_or_complete(struct groups *g, struct group *group)
{
    if (group->classic.state == CLASSIC_PREPARING)
        complete_if_all_joined(g, group);
    else
        prepare_rebalance(g, group);
}

/* Somebody has left: the others go on without. */
static void after_leave(struct groups *g, struct group *group)
{
    enum classic_state state = group->classic.state;
    if (state == CLASSIC_STABLE || state == CLASSIC_COMPLETING || state == CLASSIC_PREPARING)
        rebalance_or_complete(g, group);
    else
        group_settle(g, group);
}

/* Members who did not sync in time go; the others get a new generation. */
static void drop_unsynced(struct groups *g, struct group *group)
{
    struct classic *c = &group->classic;
    struct group_member *m, *next;
    for (m = TAILQ_FIRST(&c->members); m != NULL; m = next) {
        next = TAILQ_NEXT(m, in_group);
        if (m->unsynced)
            remove_member(g, m);
    }
    prepare_rebalance(g, group);
}

static void extend_delay(struct groups *g, struct group *group)
{
    struct classic *c = &group->classic;
    uint64_t step = (uint64_t)g->config.settings->group_initial_rebalance_delay_ms * TIDE_NS_PER_MS;
    step = TIDE_MIN(step, c->delay_left_ns);
    c->joined_since = false;
    c->delay_left_ns -= step;
    group_timer_set(g, &c->timer, g->now.now_ns + step);
}

static void classic_on_timer(struct groups *g, struct group *group)
{
    struct classic *c = &group->classic;
    switch (c->state) {
    case CLASSIC_PREPARING:
        if (c->initial && c->joined_since && c->delay_left_ns != 0) {
            extend_delay(g, group);
            break;
        }
        c->initial = false;
        complete_join(g, group);
        break;
    case CLASSIC_COMPLETING:
    case CLASSIC_STABLE:
        if (c->unsynced != 0)
            drop_unsynced(g, group);
        break;
    default:
        break;
    }
}

void classic_on_member_timer(struct groups *g, struct group_member *m)
{
    struct group *group = m->group;
    if (m->alive_until_ns > g->now.now_ns) {
        group_timer_set(g, &m->timer, m->alive_until_ns);
        return;
    }
    if (!m->pending && !m->fresh && (m->join != NULL || m->sync != NULL))
        return; /* it waits for us */
    if (MUTANT(GROUP_SESSION)) {
        touch(g, m);
        return;
    }
    remove_member(g, m);
    after_leave(g, group);
}

/* ---- JoinGroup ------------------------------------------------------------------------------------------------ */

/* A Kafka error for what can be seen in the request alone. */
static int16_t check_join(const struct groups *g, const struct join *j)
{
    const struct tide_settings *s = g->config.settings;
    struct wire_list l = j->in.protocols;
    struct join_group_request_protocol p;
    int64_t bytes = (int64_t)j->in.group_instance_id.at.len + j->in.member_id.at.len;
    if (j->in.group_id.at.len == 0)
        return KAFKA_INVALID_GROUP_ID;
    if (j->in.session_timeout_ms < s->group_min_session_timeout_ms || j->in.session_timeout_ms > s->group_max_session_timeout_ms)
        return KAFKA_INVALID_SESSION_TIMEOUT;
    if (l.count > GROUP_PROTOCOLS_MAX)
        return KAFKA_INCONSISTENT_GROUP_PROTOCOL;
    while (join_group_request_protocol_next(&l, j->q->version, &p))
        bytes += (int64_t)p.name.at.len + p.metadata.at.len;
    return bytes > s->group_member_metadata_max_bytes ? KAFKA_INVALID_REQUEST : 0;
}

/* May one more come in? */
static bool has_room(const struct groups *g, const struct join *j)
{
    const struct classic *c = &j->group->classic;
    int64_t max = g->config.settings->group_max_size;
    const struct group_member *m = group_find_member(g, j->group, &j->in.member_id);
    bool known = m != NULL && !m->pending;
    if (c->state == CLASSIC_EMPTY)
        return (int64_t)c->pending_count < max || m != NULL;
    if (c->state == CLASSIC_PREPARING) /* who is late when the limit was lowered goes */
        return (known && m->join != NULL) || (int64_t)c->joined < max;
    return known || (int64_t)c->member_count < max;
}

static bool supports(const struct join *j, const struct group_member *but)
{
    const struct classic *c = &j->group->classic;
    if (j->in.protocols.count <= 0 || j->in.protocol_type.at.len == 0)
        return false;
    if (c->member_count == 0)
        return true;
    return group_text_is(c->protocol_type, &j->in.protocol_type) && protocols_fit(c, j->protocols, but);
}

static uint32_t make_member_id(struct groups *g, const struct join *j, char to[GROUP_MEMBER_ID_MAX])
{
    char prefix[GROUP_MEMBER_ID_PREFIX + 1];
    uint64_t hi, lo;
    if (!j->in.group_instance_id.null)
        (void)wire_bytes_copy(&j->in.group_instance_id, prefix, sizeof(prefix));
    else
        (void)snprintf(prefix, sizeof(prefix), "%s", j->q->client_id);
    g->ids_made++;
    hi = group_hash_bytes(g, 1, &g->ids_made, sizeof(g->ids_made));
    lo = group_hash_bytes(g, 2, &g->ids_made, sizeof(g->ids_made));
    hi = (hi & ~0xf000ull) | 0x4000;             /* RFC 9562 5.4 */
    lo = (lo & ~(3ull << 62)) | (2ull << 62);
    return (uint32_t)snprintf(to, GROUP_MEMBER_ID_MAX, "%s-%08x-%04x-%04x-%04x-%012llx", prefix, (unsigned)(hi >> 32),
                              (unsigned)(hi >> 16) & 0xffff, (unsigned)hi & 0xffff, (unsigned)(lo >> 48),
                              (unsigned long long)(lo & 0xffffffffffffull));
}

static struct member_start start_of(const struct join *j)
{
    return (struct member_start){.id = j->in.member_id, .instance = j->in.group_instance_id, .client_id = j->q->client_id,
                                 .client_host = j->q->client_host, .protocols = j->protocols, .session_ms = j->in.session_timeout_ms,
                                 .rebalance_ms = j->rebalance_ms};
}

static enum tide_status refuse(struct groups *g, struct join *j, int16_t error)
{
    return asked_refuse(g, j->group, j->a, j->q, error);
}

/* Every member before its first generation is fresh: it does not know yet that it should heartbeat. */
static enum tide_status add_member(struct groups *g, struct join *j, struct member_start *s)
{
    struct classic *c = &j->group->classic;
    struct group_member *m;
    if (j->a->spare)
        return refuse(g, j, KAFKA_COORDINATOR_NOT_AVAILABLE);
    if (c->member_count == 0 && !set_text(g, &c->protocol_type, &j->in.protocol_type, true))
        return refuse(g, j, KAFKA_COORDINATOR_NOT_AVAILABLE);
    m = member_add(g, j->group, s);
    if (m == NULL)
        return refuse(g, j, KAFKA_COORDINATOR_NOT_AVAILABLE);
    j->protocols = NULL;
    m->fresh = true;
    if (c->leader == NULL)
        c->leader = m;
    if (c->state == CLASSIC_PREPARING && c->initial)
        c->joined_since = true;
    park(g, m, &m->join, j->a);
    alive_for(g, m, GROUP_NEW_MEMBER_MS);
    rebalance_or_complete(g, j->group);
    return TIDE_OK;
}

void classic_write_id(struct wire_writer *w, int16_t v, const char *id, uint32_t len)
{
    join_group_response_put_throttle_time_ms(w, v, 0);
    join_group_response_put_error_code(w, v, KAFKA_MEMBER_ID_REQUIRED);
    join_group_response_put_generation_id(w, v, -1);
    join_group_response_put_protocol_type(w, v, NULL, 0);
    join_group_response_put_protocol_name(w, v, v >= 7 ? NULL : "", 0);
    join_group_response_put_leader(w, v, "", 0);
    join_group_response_put_skip_assignment(w, v, false);
    join_group_response_put_member_id(w, v, id, len);
    join_group_response_open_members(w, v, 0);
    join_group_response_end(w, v);
}

/* It has an id now, and comes back with it. */
static enum tide_status give_id(struct groups *g, struct join *j, struct member_start *s)
{
    struct group_member *m;
    struct wire_writer w;
    if ((int64_t)j->group->classic.pending_count >= g->config.settings->group_max_size)
        return refuse(g, j, KAFKA_GROUP_MAX_SIZE_REACHED);
    wire_writer_init(&w, g->config.pool);
    classic_write_id(&w, j->q->version, s->made_id, s->made_id_len);
    if (!asked_body(j->a, &w))
        return TIDE_FULL;
    s->pending = true;
    s->protocols = NULL;
    m = member_add(g, j->group, s);
    if (m == NULL) {
        tide_rope_clear(&j->a->body);
        j->a->written = false;
        return refuse(g, j, KAFKA_COORDINATOR_NOT_AVAILABLE);
    }
    alive_for(g, m, m->session_ms);
    asked_finish(g, j->group, j->a);
    return TIDE_OK;
}

static void update_member(struct groups *g, struct join *j, struct group_member *m)
{
    tide_heap_give(g->config.heap, m->protocols);
    m->protocols = j->protocols;
    j->protocols = NULL;
    m->session_ms = j->in.session_timeout_ms;
    m->rebalance_ms = j->rebalance_ms;
}

/* A known member joins the generation that is being prepared. */
static enum tide_status rejoin(struct groups *g, struct join *j, struct group_member *m)
{
    if (j->a->spare)
        return refuse(g, j, KAFKA_COORDINATOR_NOT_AVAILABLE);
    update_member(g, j, m);
    park(g, m, &m->join, j->a);
    rebalance_or_complete(g, j->group);
    return TIDE_OK;
}

/* A static member has come back without its id: it goes on where it was, under a new one. The one before is fenced. */
static enum tide_status replace_static(struct groups *g, struct join *j, struct group_member *m, const char *id, uint32_t id_len)
{
    struct group *group = j->group;
    struct classic *c = &group->classic;
    struct group_protocol chosen;
    struct group_text *new_id, *old_leader;
    int16_t error = 0;
    enum tide_status status = TIDE_OK;
    if (j->a->spare)
        return refuse(g, j, KAFKA_COORDINATOR_NOT_AVAILABLE);
    new_id = group_text_of(g, id, id_len);
    if (new_id == NULL)
        return refuse(g, j, KAFKA_COORDINATOR_NOT_AVAILABLE);
    if (c->state == CLASSIC_STABLE && protocols_vote(c, m, j->protocols, &chosen) && c->protocol->len == chosen.name_len &&
        memcmp(c->protocol->at, chosen.name, chosen.name_len) == 0) {
        /* No rebalance: the record carries the new id, and the assignment stays. Before version 9 a leader must not learn that it leads,
         * or it would assign anew. */
        old_leader = c->leader != NULL ? group_text_of(g, c->leader->id->at, c->leader->id->len) : NULL;
        *g->texts_tail = new_id; /* for its record */
        g->texts_tail = &new_id->next;
        status = write_record(g, group, &(struct group_record){.generation = c->generation, .protocol = c->protocol, .renewed = j,
                                                               .renewed_member = m, .leader = c->leader != NULL ? c->leader->id : NULL,
                                                               .new_id = id, .new_id_len = id_len}, &error);
        if (status == TIDE_OK && error == 0) {
            bool leads = c->leader == m && j->q->version >= 9;
            say_if_parked(g, m, &m->sync, KAFKA_FENCED_INSTANCE_ID);
            tide_heap_give(g->config.heap, m->protocols);
            m->protocols = j->protocols;
            j->protocols = NULL;
            touch(g, m);
            say_joined(g, group, j->a, &(struct join_answer){.member_id = m->id, .list = leads ? group : NULL, .skip = leads,
                                                             .leader = j->q->version >= 9 && c->leader != NULL ? c->leader->id : old_leader});
        } else if (status == TIDE_OK) {
            status = refuse(g, j, error);
        }
        group_text_give(g, old_leader);
        return status;
    }
    say_if_parked(g, m, &m->join, KAFKA_FENCED_INSTANCE_ID);
    say_if_parked(g, m, &m->sync, KAFKA_FENCED_INSTANCE_ID);
    member_rename(g, m, new_id);
    update_member(g, j, m);
    touch(g, m);
    park(g, m, &m->join, j->a);
    rebalance_or_complete(g, group);
    return TIDE_OK;
}

static enum tide_status join_new(struct groups *g, struct join *j)
{
    char id[GROUP_MEMBER_ID_MAX];
    struct member_start s = start_of(j);
    struct group_member *before = j->in.group_instance_id.null ? NULL : group_find_instance(g, j->group, &j->in.group_instance_id);
    if (!supports(j, before))
        return refuse(g, j, KAFKA_INCONSISTENT_GROUP_PROTOCOL);
    s.made_id_len = make_member_id(g, j, id);
    s.made_id = id;
    if (before != NULL)
        return replace_static(g, j, before, id, s.made_id_len);
    if (j->in.group_instance_id.null && j->q->version >= 4)
        return give_id(g, j, &s);
    return add_member(g, j, &s);
}

static enum tide_status join_known(struct groups *g, struct join *j)
{
    struct classic *c = &j->group->classic;
    struct group_member *m = group_find_member(g, j->group, &j->in.member_id);
    struct member_start s = start_of(j);
    int16_t error;
    if (m != NULL && m->pending) {
        if (!j->in.group_instance_id.null)
            return refuse(g, j, KAFKA_UNKNOWN_MEMBER_ID); /* that id was not given to a static member */
        if (!supports(j, NULL))
            return refuse(g, j, KAFKA_INCONSISTENT_GROUP_PROTOCOL);
        enum tide_status status;
        member_free(g, m);
        status = add_member(g, j, &s);
        return status;
    }
    error = look_up(g, j->group, &j->in.member_id, &j->in.group_instance_id, &m);
    if (error == 0 && c->state == CLASSIC_EMPTY)
        error = KAFKA_UNKNOWN_MEMBER_ID;
    if (error == 0 && !supports(j, m))
        error = KAFKA_INCONSISTENT_GROUP_PROTOCOL;
    if (error != 0)
        return refuse(g, j, error);
    /* The same metadata again: the answer was lost, or a follower follows. A leader that joins wants a rebalance. */
    if ((c->state == CLASSIC_COMPLETING || (c->state == CLASSIC_STABLE && c->leader != m)) && protocols_equal(m->protocols, j->protocols)) {
        touch(g, m);
        say_generation(g, j->group, m, j->a);
        return TIDE_OK;
    }
    return rejoin(g, j, m);
}

static enum tide_status join_group(struct groups *g, struct join *j)
{
    if (!has_room(g, j)) {
        struct group_member *m = group_find_member(g, j->group, &j->in.member_id);
        enum tide_status status = refuse(g, j, KAFKA_GROUP_MAX_SIZE_REACHED);
        if (status == TIDE_OK && m != NULL) {
            remove_member(g, m);
            after_leave(g, j->group);
        }
        return status;
    }
    return j->in.member_id.at.len == 0 ? join_new(g, j) : join_known(g, j);
}

/* A group of another kind that has no members changes its kind: its records go. It stays, for the member that is going to join. */
static enum tide_status become_classic(struct groups *g, struct group *group, int16_t *ret_error)
{
    struct group_batch batch;
    enum tide_status status;
    group_batch_begin(g, &batch);
    group->kind->put_tombstones(g, group, &batch);
    group->pinned = true;
    status = group_write(g, group, &batch, ret_error);
    group->pinned = false;
    TIDE_ASSERT(status != TIDE_OK || *ret_error != 0 || group->kind == &classic_kind);
    return status;
}

enum tide_status classic_on_join(struct groups *g, const struct groups_question *q, struct groups_asked *a)
{
    struct join j = {.q = q, .a = a};
    struct wire_cursor c = q->body;
    enum tide_status status;
    int16_t error;
    if (!join_group_request_read(&c, q->version, &j.in))
        return TIDE_BAD;
    j.rebalance_ms = q->version == 0 || j.in.rebalance_timeout_ms < 0 ? j.in.session_timeout_ms : j.in.rebalance_timeout_ms;
    error = check_join(g, &j);
    j.group = groups_find(g, &j.in.group_id);
    if (error == 0 && j.group == NULL && j.in.member_id.at.len != 0)
        error = KAFKA_UNKNOWN_MEMBER_ID;
    if (error == 0 && j.group != NULL && j.group->kind != &classic_kind) {
        j.in.rebalance_timeout_ms = j.rebalance_ms;
        if (!j.group->kind->is_empty(j.group))
            return j.group->kind->join(g, j.group, &j.in, q, a);
        status = become_classic(g, j.group, &error);
        if (status != TIDE_OK)
            return status;
    }
    if (error != 0)
        return refuse(g, &j, error);
    j.protocols = protocols_take(g, &j.in.protocols, q->version);
    if (j.group == NULL && j.protocols != NULL)
        j.group = groups_add(g, &j.in.group_id);
    if (j.group == NULL || j.protocols == NULL) {
        status = refuse(g, &j, KAFKA_COORDINATOR_NOT_AVAILABLE);
    } else {
        j.group->pinned = true;
        status = join_group(g, &j);
        j.group->pinned = false;
        group_settle(g, j.group);
    }
    tide_heap_give(g->config.heap, j.protocols);
    return status;
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
        status = write_record(g, group, &(struct group_record){.generation = c->generation, .protocol = c->protocol, .leader = leader->id,
                                                               .offered = true}, &error);
    else
        group_texts_drop(g);
    TAILQ_FOREACH (m, &c->members, in_group)
        m->offered = (struct wire_bytes){0};
    if (status != TIDE_OK)
        return status;
    touch(g, leader);
    now_synced(g, group, leader);
    if (error == 0)
        say_assignment(g, group, leader, a);
    else
        asked_say(g, group, a, error);
    TAILQ_FOREACH (m, &c->members, in_group) {
        struct groups_asked *waiting = unpark(g, &m->sync);
        if (waiting == NULL)
            continue;
        touch(g, m);
        if (error == 0)
            say_assignment(g, group, m, waiting);
        else
            asked_say(g, group, waiting, error);
    }
    if (error != 0) /* Kafka does so as well: all come again, and the leader with them */
        prepare_rebalance(g, group);
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

static enum tide_status sync(struct groups *g, struct group *group, const struct sync_group_request *in, const struct groups_question *q,
                             struct groups_asked *a)
{
    struct classic *c = &group->classic;
    struct group_member *m = NULL;
    int16_t error = look_up(g, group, &in->member_id, &in->group_instance_id, &m);
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
    touch(g, m);
    if (c->state == CLASSIC_STABLE) {
        now_synced(g, group, m);
        say_assignment(g, group, m, a);
    } else if (a->spare) {
        asked_say(g, group, a, KAFKA_COORDINATOR_NOT_AVAILABLE);
    } else {
        now_synced(g, group, m);
        park(g, m, &m->sync, a);
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

static int16_t heartbeat(struct groups *g, struct group *group, const struct heartbeat_request *in)
{
    struct group_member *m = NULL;
    int16_t error = look_up(g, group, &in->member_id, &in->group_instance_id, &m);
    if (error == 0 && in->generation_id != group->classic.generation)
        error = KAFKA_ILLEGAL_GENERATION;
    if (error == 0 && group->classic.state == CLASSIC_EMPTY)
        error = KAFKA_UNKNOWN_MEMBER_ID;
    if (error == 0) {
        touch(g, m);
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
            error = look_up(g, group, id, instance, &m);
    }
    if (error == 0)
        remove_member(g, m);
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

static enum tide_status leave(struct groups *g, struct group *group, const struct leave_group_request *in, const struct groups_question *q,
                              struct groups_asked *a)
{
    group->pinned = true;
    if (q->version < 3)
        a->error = leave_one(g, group, &in->member_id, NULL);
    else if (!write_leaves(g, group, in, a, q->version))
        a->error = KAFKA_COORDINATOR_NOT_AVAILABLE; /* they have left; it asks again and hears that they are not there */
    after_leave(g, group);
    asked_finish(g, group, a); /* behind what the last one's leaving has written */
    group->pinned = false;
    group_settle(g, group);
    return TIDE_OK;
}

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
    const char *state = classic_states[c->state].name;
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

static const char *classic_state_name(const struct group *group)
{
    return classic_states[group->classic.state].name;
}

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
    error = look_up(g, group, &in->member_id, &in->group_instance_id, &m);
    if (error == 0 && in->generation_id_or_member_epoch != c->generation && !MUTANT(GROUP_GENERATION))
        error = KAFKA_ILLEGAL_GENERATION;
    if (error == 0 && c->state == CLASSIC_COMPLETING)
        error = KAFKA_REBALANCE_IN_PROGRESS; /* it owns nothing of this generation yet */
    if (error == 0)
        touch(g, m);
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
        touch(g, m);
    if (group->classic.state != CLASSIC_STABLE)
        return;
    /* Nobody leads a group that was of the consumer protocol, and nobody has assigned. */
    if ((int64_t)group->classic.member_count > g->config.settings->group_max_size || group->classic.leader == NULL)
        prepare_rebalance(g, group);
}

static void drop(struct groups *g, struct group *group)
{
    struct classic *c = &group->classic;
    struct group_member *m;
    while ((m = TAILQ_FIRST(&c->members)) != NULL) {
        say_if_parked(g, m, &m->join, KAFKA_NOT_COORDINATOR);
        say_if_parked(g, m, &m->sync, KAFKA_NOT_COORDINATOR);
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
    .sync = sync, /* who joins is handled here, whatever the kind was */
    .heartbeat = heartbeat,
    .leave = leave,
    .put_tombstones = put_tombstones,
    .on_timer = classic_on_timer,
    .on_loaded = on_loaded,
    .has_members = has_members,
    .drop = drop,
    .check = classic_check,
};
