/* SPDX-License-Identifier: Apache-2.0 */
/* JoinGroup: who may come in, under which id, and what it is told of the generation. */
#include "group/classic_internal.h"

/* One that is handled. */
struct join {
    struct join_group_request in;
    const struct groups_question *q;
    struct groups_asked *a;
    struct group *group;
    struct group_protocols *protocols; /* until a member has them */
    int32_t rebalance_ms;
};

/* ---- answers ---------------------------------------------------------------------------------------------- */

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

void classic_say_generation(struct groups *g, struct group *group, struct group_member *m, struct groups_asked *a)
{
    const struct classic *c = &group->classic;
    say_joined(g, group, a, &(struct join_answer){.member_id = m->id, .leader = c->leader != NULL ? c->leader->id : NULL,
                                                  .list = c->leader == m && c->state == CLASSIC_COMPLETING ? group : NULL});
}

/* ---- the request ------------------------------------------------------------------------------------------ */

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
    if (c->member_count == 0 && !group_text_set(g, &c->protocol_type, &j->in.protocol_type, true))
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
    classic_park(g, m, &m->join, j->a);
    classic_alive_for(g, m, GROUP_NEW_MEMBER_MS);
    classic_rebalance_or_complete(g, j->group);
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
    classic_alive_for(g, m, m->session_ms);
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
    classic_park(g, m, &m->join, j->a);
    classic_rebalance_or_complete(g, j->group);
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
        status = classic_write_record(g, group, &(struct classic_record){.generation = c->generation, .protocol = c->protocol,
                                                                         .leader = c->leader != NULL ? c->leader->id : NULL,
                                                                         .renewed = m, .protocols = j->protocols,
                                                                         .session_ms = j->in.session_timeout_ms,
                                                                         .rebalance_ms = j->rebalance_ms,
                                                                         .new_id = id, .new_id_len = id_len}, &error);
        if (status == TIDE_OK && error == 0) {
            bool leads = c->leader == m && j->q->version >= 9;
            classic_say_if_parked(g, m, &m->sync, KAFKA_FENCED_INSTANCE_ID);
            tide_heap_give(g->config.heap, m->protocols);
            m->protocols = j->protocols;
            j->protocols = NULL;
            classic_touch(g, m);
            say_joined(g, group, j->a, &(struct join_answer){.member_id = m->id, .list = leads ? group : NULL, .skip = leads,
                                                             .leader = j->q->version >= 9 && c->leader != NULL ? c->leader->id : old_leader});
        } else if (status == TIDE_OK) {
            status = refuse(g, j, error);
        }
        group_text_give(g, old_leader);
        return status;
    }
    classic_say_if_parked(g, m, &m->join, KAFKA_FENCED_INSTANCE_ID);
    classic_say_if_parked(g, m, &m->sync, KAFKA_FENCED_INSTANCE_ID);
    member_rename(g, m, new_id);
    update_member(g, j, m);
    classic_touch(g, m);
    classic_park(g, m, &m->join, j->a);
    classic_rebalance_or_complete(g, group);
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
    error = classic_look_up(g, j->group, &j->in.member_id, &j->in.group_instance_id, &m);
    if (error == 0 && c->state == CLASSIC_EMPTY)
        error = KAFKA_UNKNOWN_MEMBER_ID;
    if (error == 0 && !supports(j, m))
        error = KAFKA_INCONSISTENT_GROUP_PROTOCOL;
    if (error != 0)
        return refuse(g, j, error);
    /* The same metadata again: the answer was lost, or a follower follows. A leader that joins wants a rebalance. */
    if ((c->state == CLASSIC_COMPLETING || (c->state == CLASSIC_STABLE && c->leader != m)) && protocols_equal(m->protocols, j->protocols)) {
        classic_touch(g, m);
        classic_say_generation(g, j->group, m, j->a);
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
            classic_remove_member(g, m);
            classic_after_leave(g, j->group);
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
