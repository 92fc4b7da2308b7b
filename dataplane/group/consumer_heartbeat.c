/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ConsumerGroupHeartbeat: a member joins (epoch 0), lives, leaves (-1), or leaves for a while (-2, static members only). A JoinGroup of a member
 * that speaks the classic protocol comes here in the same words (consumer_classic.c): it joins, whoever it was.
 *
 * A heartbeat is up to four batches, each of which leaves the group in a state that may stand: the member with the group epoch,
 * what an expression matches and the targets when they are due and small, and what the member has next. An answer follows the last of them. A question that comes again
 * after a part of it (no room for the rest) finds that part done.
 */
#include "group/consumer_internal.h"

#include "group/topic_pattern.h"
#include "tidemark/assert.h"
#include "tidemark/mutant.h"

/* A request, its texts in one piece. */
struct beat {
    struct groups *g;
    const struct groups_question *q;
    struct groups_asked *a;
    const struct consumer_join *join; /* NULL: a heartbeat */
    int16_t version;                  /* of `in` */
    struct consumer_group_heartbeat_request in;
    struct consumer_text member, instance, rack, regex, assignor, client_id, client_host;
    char texts[5][CONSUMER_TEXT_MAX + 1];
    char made_id[TIDE_UUID_TEXT];
    bool was_classic; /* the log has a record of the group as a classic one */
    struct group *group;
    struct consumer *c;     /* of the group; before its first record `nothing` */
    struct consumer nothing;
};

/* ---- answers ---------------------------------------------------------------------------------------- */

void consumer_write_heartbeat_error(struct wire_writer *w, int16_t v, int16_t error, const char *message)
{
    consumer_group_heartbeat_response_put_throttle_time_ms(w, v, 0);
    consumer_group_heartbeat_response_put_error_code(w, v, error);
    consumer_group_heartbeat_response_put_error_message(w, v, message, message != NULL ? (uint32_t)strlen(message) : 0);
    consumer_group_heartbeat_response_put_member_id(w, v, NULL, 0);
    consumer_group_heartbeat_response_put_member_epoch(w, v, 0);
    consumer_group_heartbeat_response_put_heartbeat_interval_ms(w, v, 0);
    consumer_group_heartbeat_response_open_assignment(w, v, false);
    consumer_group_heartbeat_response_end(w, v);
}

static enum tide_status refuse(struct beat *b, int16_t error, const char *message)
{
    struct wire_writer w;
    if (b->join != NULL)
        return asked_refuse(b->g, b->group, b->a, b->q, error == KAFKA_FENCED_MEMBER_EPOCH ? KAFKA_UNKNOWN_MEMBER_ID : error);
    wire_writer_init(&w, b->g->config.pool);
    consumer_write_heartbeat_error(&w, b->q->version, error, message);
    if (!asked_body(b->a, &w))
        return TIDE_FULL;
    asked_finish(b->g, b->group, b->a);
    return TIDE_OK;
}

static void put_assignment(struct wire_writer *w, int16_t v, const struct partition_set *set)
{
    consumer_group_heartbeat_response_assignment_open_topic_partitions(w, v, (int32_t)partition_set_topics(set));
    for (uint32_t i = 0, n; i < set->count; i += n) {
        n = partition_set_run(set, i);
        consumer_group_heartbeat_response_topic_partitions_put_topic_id(w, v, &set->at[i].topic);
        consumer_group_heartbeat_response_topic_partitions_open_partitions(w, v, (int32_t)n);
        for (uint32_t k = i; k < i + n; k++)
            wire_put_i32(w, set->at[k].partition);
        consumer_group_heartbeat_response_topic_partitions_end(w, v);
    }
    consumer_group_heartbeat_response_assignment_end(w, v);
}

/* A generation is the member's epoch; nobody leads. */
static enum tide_status answer_join(struct beat *b, const struct consumer_member *m)
{
    static const char type[] = "consumer";
    int16_t v = b->q->version;
    struct group_protocol first = {0};
    struct wire_writer w;
    uint32_t at = 0;
    (void)protocols_next(m->classic, &at, &first);
    wire_writer_init(&w, b->g->config.pool);
    join_group_response_put_throttle_time_ms(&w, v, 0);
    join_group_response_put_error_code(&w, v, 0);
    join_group_response_put_generation_id(&w, v, m->epoch);
    join_group_response_put_protocol_type(&w, v, type, sizeof(type) - 1);
    join_group_response_put_protocol_name(&w, v, first.name, first.name_len);
    join_group_response_put_leader(&w, v, "", 0);
    join_group_response_put_skip_assignment(&w, v, false);
    join_group_response_put_member_id(&w, v, m->id.at, m->id.len);
    join_group_response_open_members(&w, v, 0);
    join_group_response_end(&w, v);
    if (!asked_body(b->a, &w))
        return TIDE_FULL;
    asked_finish(b->g, b->group, b->a);
    return TIDE_OK;
}

/* `set` NULL: no assignment in it. */
static enum tide_status answer(struct beat *b, int32_t epoch, const struct partition_set *set)
{
    int16_t v = b->q->version;
    struct wire_writer w;
    wire_writer_init(&w, b->g->config.pool);
    consumer_group_heartbeat_response_put_throttle_time_ms(&w, v, 0);
    consumer_group_heartbeat_response_put_error_code(&w, v, 0);
    consumer_group_heartbeat_response_put_error_message(&w, v, NULL, 0);
    consumer_group_heartbeat_response_put_member_id(&w, v, b->member.at, b->member.len);
    consumer_group_heartbeat_response_put_member_epoch(&w, v, epoch);
    consumer_group_heartbeat_response_put_heartbeat_interval_ms(
        &w, v, epoch < 0 ? 0 : (int32_t)b->g->config.settings->group_consumer_heartbeat_interval_ms);
    consumer_group_heartbeat_response_open_assignment(&w, v, set != NULL);
    if (set != NULL)
        put_assignment(&w, v, set);
    consumer_group_heartbeat_response_end(&w, v);
    if (!asked_body(b->a, &w))
        return TIDE_FULL;
    asked_finish(b->g, b->group, b->a);
    return TIDE_OK;
}

/* ---- what may be asked -------------------------------------------------------------------------------- */

static bool is_blank(struct consumer_text t)
{
    for (uint32_t i = 0; i < t.len; i++)
        if ((uint8_t)t.at[i] > ' ')
            return false;
    return true;
}

/* Names and partitions are counted first, so that nothing is long work. */
static bool is_too_long(const struct beat *b)
{
    struct consumer_group_heartbeat_request_topic_partitions topic;
    struct wire_list owned = b->in.topic_partitions, names = b->in.subscribed_topic_names;
    struct wire_bytes name;
    int64_t partitions = 0;
    if (names.count > CONSUMER_TOPICS_MAX || owned.count > CONSUMER_OWNED_MAX)
        return true;
    while (wire_list_next_string(&names, true, &name))
        if (name.at.len == 0 || name.at.len > TIDE_TOPIC_NAME_MAX)
            return true;
    while (consumer_group_heartbeat_request_topic_partitions_next(&owned, b->version, &topic))
        partitions += topic.partitions.count;
    return partitions > CONSUMER_OWNED_MAX;
}

static const char *join_problem(const struct beat *b)
{
    if (b->in.rebalance_timeout_ms == -1)
        return "RebalanceTimeoutMs must be provided in first request.";
    if (b->in.topic_partitions.count != 0)
        return "TopicPartitions must be empty when (re-)joining.";
    if (b->in.subscribed_topic_names.count < 0 && b->regex.at == NULL)
        return "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.";
    return NULL;
}

/* NULL: the request is well-formed. */
static const char *request_problem(const struct beat *b)
{
    int32_t epoch = b->in.member_epoch;
    if ((b->version >= 1 || epoch > 0 || epoch == CONSUMER_EPOCH_LEFT) && is_blank(b->member))
        return "MemberId can't be empty.";
    if (b->in.group_id.at.len == 0)
        return "GroupId can't be empty.";
    if (b->instance.at != NULL && is_blank(b->instance))
        return "InstanceId can't be empty.";
    if (b->rack.at != NULL && is_blank(b->rack))
        return "RackId can't be empty.";
    if (epoch < CONSUMER_EPOCH_AWAY)
        return "MemberEpoch is invalid.";
    if (epoch == CONSUMER_EPOCH_AWAY && b->instance.at == NULL)
        return "InstanceId can't be null.";
    if (b->in.rebalance_timeout_ms < -1)
        return "RebalanceTimeoutMs is invalid.";
    if (is_too_long(b))
        return "A list is too long, or a name of a topic is.";
    return epoch == 0 ? join_problem(b) : NULL;
}

static bool copy_text(struct beat *b, unsigned n, const struct wire_bytes *from, struct consumer_text *ret)
{
    if (from->null)
        return true;
    *ret = (struct consumer_text){b->texts[n], wire_bytes_copy(from, b->texts[n], sizeof(b->texts[n]))};
    return ret->len <= CONSUMER_TEXT_MAX && (from->at.len == ret->len);
}

static bool read_texts(struct beat *b)
{
    b->client_id = (struct consumer_text){b->q->client_id, (uint32_t)strlen(b->q->client_id)};
    b->client_host = (struct consumer_text){b->q->client_host, (uint32_t)strlen(b->q->client_host)};
    return copy_text(b, 0, &b->in.member_id, &b->member) && copy_text(b, 1, &b->in.instance_id, &b->instance) &&
           copy_text(b, 2, &b->in.rack_id, &b->rack) && copy_text(b, 3, &b->in.subscribed_topic_regex, &b->regex) &&
           copy_text(b, 4, &b->in.server_assignor, &b->assignor);
}

/* ---- who asks ------------------------------------------------------------------------------------------- */

/* 0, or what is wrong with the epoch that the member believes in. */
static int16_t epoch_error(const struct beat *b, const struct consumer_member *m)
{
    int32_t epoch = b->in.member_epoch;
    if (epoch <= 0 || epoch == m->epoch)
        return 0;
    /* The answer that told it of its epoch may have been lost; then it has nothing that it may not have. */
    if (epoch < m->epoch && epoch == m->previous_epoch && b->in.topic_partitions.count >= 0 &&
        (MUTANT(CONSUMER_SUBSET) || consumer_owns_only(b->in.topic_partitions, b->version, &m->assigned)))
        return 0;
    return KAFKA_FENCED_MEMBER_EPOCH;
}

/* Who joins by the classic protocol says no epoch. A static one without an id takes the place of whoever has it. One that is not known and
 * still uses something was taken out: it must hear of that, since others may have what it uses. (Kafka takes it in as a new one.) */
static int16_t find_joining(struct beat *b, struct consumer_member **ret, struct consumer_member **ret_old)
{
    struct consumer_member *of_instance = b->instance.at != NULL ? consumer_find_instance(b->c, b->instance) : NULL;
    bool came_with_id = b->join->in->member_id.at.len != 0;
    *ret = consumer_find(b->c, b->member);
    if (*ret != NULL && !(*ret)->has_metadata)
        *ret = NULL;
    *ret_old = NULL;
    if (*ret == NULL && came_with_id && b->in.topic_partitions.count > 0 && !MUTANT(CONSUMER_TAKEN_OUT))
        return KAFKA_UNKNOWN_MEMBER_ID;
    if (b->instance.at == NULL || (of_instance != NULL && of_instance == *ret))
        return 0;
    if (came_with_id)
        return of_instance != NULL ? KAFKA_FENCED_INSTANCE_ID : KAFKA_UNKNOWN_MEMBER_ID;
    *ret_old = of_instance;
    return 0;
}

/* The member that it is, or NULL (and no error) when it is a new one. `*ret_old` is the static one whose place it takes. */
static int16_t find(struct beat *b, struct consumer_member **ret, struct consumer_member **ret_old)
{
    if (b->join != NULL)
        return find_joining(b, ret, ret_old);
    struct consumer_member *m = consumer_find(b->c, b->member);
    *ret = m != NULL && m->has_metadata ? m : NULL;
    *ret_old = NULL;
    if (b->instance.at == NULL)
        return *ret != NULL ? epoch_error(b, *ret) : b->in.member_epoch == 0 ? 0 : KAFKA_UNKNOWN_MEMBER_ID;
    if (*ret == NULL || !consumer_text_equal(m->instance, b->instance)) {
        struct consumer_member *other = consumer_find_instance(b->c, b->instance);
        if (other != NULL && other != *ret) {
            *ret_old = other;
            if (b->in.member_epoch != 0)
                return KAFKA_FENCED_INSTANCE_ID;
            return other->epoch == CONSUMER_EPOCH_AWAY ? 0 : KAFKA_UNRELEASED_INSTANCE_ID;
        }
        if (b->in.member_epoch != 0)
            return KAFKA_UNKNOWN_MEMBER_ID;
        return 0;
    }
    return epoch_error(b, *ret);
}

/* ---- the member and the group epoch --------------------------------------------------------------------- */

/* What stands after this heartbeat: what it tells, or what was known. */
static struct consumer_text newer(struct consumer_text told, const struct consumer_member *m, struct consumer_text known)
{
    return told.at != NULL || m == NULL ? told : known;
}

/* Does the member subscribe to other topics than before? `*ret_hash` is what the group's topics are then. */
static bool names_change(const struct beat *b, const struct consumer_member *m, int64_t *ret_hash)
{
    struct consumer *c = b->c;
    struct wire_list names = b->in.subscribed_topic_names;
    struct wire_bytes name;
    char text[TIDE_TOPIC_NAME_MAX + 1];
    uint32_t known = 0;
    bool change = m == NULL;
    uint64_t hash = (uint64_t)c->view_hash;
    *ret_hash = c->view_hash;
    if (names.count < 0)
        return change;
    c->comparisons++;
    while (wire_list_next_string(&names, true, &name)) {
        uint32_t len = wire_bytes_copy(&name, text, sizeof(text));
        struct consumer_topic *t = consumer_find_topic(c, text, len);
        if (t == NULL) {
            change = true;
            hash += (uint64_t)consumer_topic_hash(b->g->view, text, len);
        } else if (t->seen != c->comparisons) {
            t->seen = c->comparisons;
            if (m != NULL && consumer_member_names(m, t))
                known++;
            else
                change = true;
        }
    }
    for (uint32_t i = 0; m != NULL && i < m->topic_count; i++)
        if (m->topics[i]->seen != c->comparisons && m->topics[i]->users == 1)
            hash -= (uint64_t)consumer_topic_hash(b->g->view, m->topics[i]->name, m->topics[i]->name_len);
    *ret_hash = (int64_t)hash;
    return change || (m != NULL && known != m->topic_count);
}

static bool differs(struct consumer_text told, struct consumer_text known) { return told.at != NULL && !consumer_text_equal(told, known); }

static bool regex_changes(const struct beat *b, const struct consumer_member *m)
{
    struct consumer_text known = m != NULL ? consumer_regex_of(m) : (struct consumer_text){0};
    return b->regex.at != NULL && (b->regex.len != known.len || (known.len != 0 && memcmp(b->regex.at, known.at, known.len) != 0));
}

/* Does it speak another protocol than before, or offer others? */
static bool classic_changes(const struct beat *b, const struct consumer_member *m)
{
    if (b->join == NULL || m->classic == NULL)
        return (b->join != NULL) != (m->classic != NULL);
    return m->classic_session_ms != b->join->in->session_timeout_ms || !protocols_equal(m->classic, b->join->protocols);
}

static bool metadata_changes(const struct beat *b, const struct consumer_member *m)
{
    return classic_changes(b, m) || differs(b->instance, m->instance) || differs(b->rack, m->rack) || differs(b->assignor, m->assignor) ||
           differs(b->client_id, m->client_id) || differs(b->client_host, m->client_host) ||
           (b->in.rebalance_timeout_ms != -1 && b->in.rebalance_timeout_ms != m->rebalance_timeout_ms);
}

static void put_text_or_null(struct wire_writer *w, struct consumer_text t) { wire_put_string(w, true, t.at, t.len); }

static uint32_t uvarint_len(uint32_t v)
{
    uint32_t n = 1;
    while ((v >>= 7) != 0)
        n++;
    return n;
}

/* The end of the value, with the classic protocol of a member that speaks it as a tagged field. */
static void put_classic(struct wire_writer *w, int32_t session_ms, const struct group_protocols *protocols)
{
    enum { V = 0, MARK = 1, SESSION = 4, TAGS = 1 };
    struct group_protocol p;
    uint32_t size = MARK + SESSION + uvarint_len(protocols->count + 1) + TAGS;
    for (uint32_t at = 0; protocols_next(protocols, &at, &p);)
        size += uvarint_len(p.name_len + 1) + p.name_len + uvarint_len(p.metadata_len + 1) + p.metadata_len + TAGS;
    wire_put_uvarint(w, 1);
    wire_put_uvarint(w, 0);
    wire_put_uvarint(w, size);
    wire_put_i8(w, 1); /* it is there */
    consumer_group_member_metadata_value_classic_put_session_timeout_ms(w, V, session_ms);
    consumer_group_member_metadata_value_classic_open_supported_protocols(w, V, (int32_t)protocols->count);
    for (uint32_t at = 0; protocols_next(protocols, &at, &p);) {
        consumer_group_member_metadata_value_protocol_put_name(w, V, p.name, p.name_len);
        consumer_group_member_metadata_value_protocol_put_metadata(w, V, p.metadata, p.metadata_len);
        consumer_group_member_metadata_value_protocol_end(w, V);
    }
    consumer_group_member_metadata_value_classic_end(w, V);
}

void consumer_end_metadata(struct wire_writer *w, int32_t classic_session_ms, const struct group_protocols *classic)
{
    if (classic != NULL)
        put_classic(w, classic_session_ms, classic);
    else
        consumer_group_member_metadata_value_end(w, 0);
}

/* `known` is the member, or the one whose place it takes, or NULL. */
static void put_metadata(struct beat *b, struct group_batch *batch, const struct consumer_member *known)
{
    struct wire_writer key, value;
    struct wire_list names = b->in.subscribed_topic_names;
    struct wire_bytes name;
    consumer_member_key(b->g, &key, CONSUMER_MEMBER_METADATA, b->c, b->member);
    consumer_value(b->g, &value);
    put_text_or_null(&value, newer(b->instance, known, known != NULL ? known->instance : b->instance));
    put_text_or_null(&value, newer(b->rack, known, known != NULL ? known->rack : b->rack));
    put_text_or_null(&value, b->client_id);
    put_text_or_null(&value, b->client_host);
    if (names.count >= 0 || known == NULL) {
        wire_put_count(&value, true, TIDE_MAX(names.count, 0));
        while (wire_list_next_string(&names, true, &name))
            wire_put_string_slice(&value, true, &name);
    } else {
        wire_put_count(&value, true, (int32_t)known->topic_count);
        for (uint32_t i = 0; i < known->topic_count; i++)
            wire_put_string(&value, true, known->topics[i]->name, known->topics[i]->name_len);
    }
    put_text_or_null(&value, newer(b->regex, known, known != NULL ? consumer_regex_of(known) : b->regex));
    wire_put_i32(&value, b->in.rebalance_timeout_ms != -1 || known == NULL ? b->in.rebalance_timeout_ms : known->rebalance_timeout_ms);
    put_text_or_null(&value, b->join != NULL ? b->assignor : newer(b->assignor, known, known != NULL ? known->assignor : b->assignor));
    consumer_end_metadata(&value, b->join != NULL ? b->join->in->session_timeout_ms : 0, b->join != NULL ? b->join->protocols : NULL);
    group_batch_put(batch, &key, &value);
}

/* What applying a member takes: its texts are in the batch, and its topics may all be new. */
size_t consumer_metadata_bytes(const struct consumer *c, uint32_t batch_len, uint32_t topics)
{
    return 2 * (size_t)batch_len + sizeof(struct consumer) + sizeof(struct consumer_member) + (size_t)topics * (sizeof(struct consumer_topic) + sizeof(void *)) +
           sizeof(struct consumer_expression) + 2 * ((size_t)c->topic_room + topics + c->member_room + c->expression_room + 6) * sizeof(void *);
}

/* A static member comes under another id: it takes over what the old one had. */
static size_t put_replacement(struct beat *b, struct group_batch *batch, const struct consumer_member *old)
{
    struct consumer_current now = {.state = CONSUMER_STABLE, .assigned = old->assigned};
    consumer_put_gone(b->g, batch, b->c, old);
    if (old->has_target)
        consumer_put_target(b->g, batch, b->c, b->member, &old->target);
    if (old->has_current)
        consumer_put_current(b->g, batch, b->c, b->member, &now);
    return consumer_set_bytes(old->target.count) + consumer_current_bytes(b->c, old->assigned.count);
}

/* The first batch. */
static enum tide_status update_member(struct beat *b, const struct consumer_member *m, const struct consumer_member *old, int16_t *ret_error)
{
    const struct consumer_member *known = m != NULL ? m : old;
    struct group_batch batch;
    int64_t hash;
    bool stale = consumer_look(b->c, b->g->view);
    bool subscription = names_change(b, known, &hash) || regex_changes(b, known);
    bool bump = b->c->epoch == 0 || subscription || stale;
    size_t memory = 0;
    *ret_error = 0;
    if (!bump && m != NULL && !subscription && !metadata_changes(b, m))
        return TIDE_OK;
    uint32_t topics = (uint32_t)TIDE_MAX(b->in.subscribed_topic_names.count, 0) + (known != NULL ? known->topic_count : 0);
    group_batch_begin(b->g, &batch);
    if (b->was_classic)
        classic_kind.put_tombstones(b->g, b->group, &batch);
    if (old != NULL)
        memory += put_replacement(b, &batch, old);
    if (m == NULL || subscription || metadata_changes(b, m))
        put_metadata(b, &batch, known);
    memory += consumer_metadata_bytes(b->c, batch.w.out.len, topics);
    if (bump)
        consumer_put_epoch(b->g, &batch, b->c, b->c->epoch + 1, hash);
    enum tide_status status = consumer_write(b->g, b->group, &batch, memory, ret_error);
    if (status == TIDE_OK && *ret_error == 0)
        b->c = b->group->consumer;
    return status;
}

/* ---- what the member has next --------------------------------------------------------------------------- */

/* The last batch. `*ret_changed`: it is to have something else than before. */
static enum tide_status reconcile(struct beat *b, struct consumer_member *m, bool *ret_changed, int16_t *ret_error)
{
    struct consumer_current next;
    struct group_batch batch;
    *ret_error = 0;
    *ret_changed = false;
    enum tide_status status = consumer_reconcile(b->c, b->g->view, m, b->in.topic_partitions, b->version, &next);
    if (status == TIDE_EXISTS)
        return TIDE_OK;
    if (status != TIDE_OK) {
        *ret_error = KAFKA_COORDINATOR_NOT_AVAILABLE;
        return TIDE_OK;
    }
    *ret_changed = !partition_set_equal(&m->assigned, &next.assigned);
    group_batch_begin(b->g, &batch);
    consumer_put_current(b->g, &batch, b->c, m->id, &next);
    size_t memory = consumer_current_bytes(b->c, next.assigned.count + next.revoking.count);
    partition_set_free(&next.assigned, b->c->heap);
    partition_set_free(&next.revoking, b->c->heap);
    status = consumer_write(b->g, b->group, &batch, memory, ret_error);
    if (status == TIDE_OK && *ret_error == 0)
        m->revoke_deadline_ns = TIDE_NEVER; /* what it is to revoke now, it has its time for */
    return status;
}

void consumer_touch(const struct groups *g, struct consumer *c, struct consumer_member *m)
{
    m->session_deadline_ns = group_after_ms(g, m->classic != NULL ? m->classic_session_ms : g->config.settings->group_consumer_session_timeout_ms);
    c->deadline_ns = TIDE_MIN(c->deadline_ns, m->session_deadline_ns);
}

void consumer_set_timer(struct groups *g, struct group *group)
{
    struct consumer *c = group->consumer;
    uint64_t at = c->deadline_ns;
    if (c->expression_count != 0)
        at = TIDE_MIN(at, consumer_resolve_at_ns(g, c));
    if (c->run != NULL)
        at = g->now.now_ns + 1; /* the next turn */
    else if (c->member_count != 0 && c->epoch > c->assignment_epoch && !consumer_assign_waits(c))
        at = TIDE_MIN(at, TIDE_MAX(c->assign_after_ns, g->now.now_ns + 1));
    if (consumer_is_to_downgrade(g, c))
        at = TIDE_MIN(at, TIDE_MAX(c->downgrade_after_ns, g->now.now_ns + 1));
    if (at == TIDE_NEVER)
        group_timer_stop(g, &group->classic.timer);
    else
        group_timer_set(g, &group->classic.timer, at);
}

static void set_deadlines(struct beat *b, struct consumer_member *m)
{
    consumer_touch(b->g, b->c, m);
    if (m->state != CONSUMER_UNREVOKED)
        m->revoke_deadline_ns = TIDE_NEVER;
    else if (m->revoke_deadline_ns == TIDE_NEVER)
        m->revoke_deadline_ns = group_after_ms(b->g, TIDE_MAX(m->rebalance_timeout_ms, 0));
    m->classic_deadline_ns = b->join != NULL ? group_after_ms(b->g, TIDE_MAX(m->rebalance_timeout_ms, 0)) : TIDE_NEVER; /* to sync */
    b->c->deadline_ns = TIDE_MIN(b->c->deadline_ns, m->revoke_deadline_ns);
    b->c->deadline_ns = TIDE_MIN(b->c->deadline_ns, m->classic_deadline_ns);
}

/* ---- the three kinds of heartbeats ------------------------------------------------------------------------- */

static bool is_full_request(const struct beat *b)
{
    return b->in.rebalance_timeout_ms != -1 && (b->in.subscribed_topic_names.count >= 0 || b->regex.at != NULL) &&
           b->in.topic_partitions.count >= 0;
}

/* An expression that the group knows was looked at when it came, and is not compiled again. `known`: the member, or whose place it takes, or NULL. */
static int16_t regex_error(const struct beat *b, const struct consumer_member *known, const char **ret_problem)
{
    const struct consumer_expression *e = b->regex.len != 0 ? consumer_find_expression(b->c, b->regex) :
                                          b->regex.at == NULL && known != NULL ? known->expression : NULL;
    struct topic_pattern *pattern = NULL;
    *ret_problem = NULL;
    if (e != NULL && e->refused && !e->resolved) /* else it goes on with what it matched: a topic more is no reason to end a group */
        *ret_problem = "The regular expression takes too much work, or matches too many topics.";
    if (e != NULL || b->regex.len == 0)
        return *ret_problem != NULL ? KAFKA_INVALID_REGULAR_EXPRESSION : 0;
    enum tide_status status = topic_pattern_make(b->g->config.heap, b->regex.at, b->regex.len, &pattern, ret_problem);
    topic_pattern_free(pattern);
    return status == TIDE_OK ? 0 : status == TIDE_BAD ? KAFKA_INVALID_REGULAR_EXPRESSION : KAFKA_COORDINATOR_NOT_AVAILABLE;
}

static enum tide_status live(struct beat *b)
{
    struct consumer_member *m, *old;
    const char *problem;
    int16_t error = find(b, &m, &old);
    enum assign_kind kind;
    if (error != 0)
        return refuse(b, error, NULL);
    error = regex_error(b, m != NULL ? m : old, &problem);
    if (error != 0)
        return refuse(b, error, problem);
    if (b->assignor.at != NULL && !consumer_assignor_find(b->c, b->assignor, &kind))
        return refuse(b, KAFKA_UNSUPPORTED_ASSIGNOR, NULL);
    if (m == NULL && old == NULL && b->c->member_count >= (uint64_t)b->g->config.settings->group_consumer_max_size)
        return refuse(b, KAFKA_GROUP_MAX_SIZE_REACHED, NULL);
    enum tide_status status = update_member(b, m, old, &error);
    if (status != TIDE_OK || error != 0)
        return status != TIDE_OK ? status : refuse(b, error, NULL);
    m = consumer_find(b->c, b->member);
    set_deadlines(b, m);
    bool late = b->in.member_epoch != m->epoch;
    consumer_resolve(b->g, b->group);
    (void)consumer_assign(b->g, b->group, CONSUMER_NOW);
    consumer_set_timer(b->g, b->group);
    if (b->c->assignment_epoch == 0) /* there is no epoch yet that it could be given */
        return b->c->run != NULL ? TIDE_FULL : refuse(b, KAFKA_COORDINATOR_NOT_AVAILABLE, NULL);
    bool changed;
    status = reconcile(b, m, &changed, &error);
    if (status != TIDE_OK || error != 0)
        return status != TIDE_OK ? status : refuse(b, error, NULL);
    if (m->state == CONSUMER_UNKNOWN)
        return refuse(b, KAFKA_FENCED_MEMBER_EPOCH, NULL);
    set_deadlines(b, m);
    consumer_set_timer(b->g, b->group);
    if (b->join != NULL)
        return answer_join(b, m);
    return answer(b, m->epoch, late || changed || is_full_request(b) ? &m->assigned : NULL);
}

/* What the hash is when those who are leaving no longer subscribe to anything. */
static int64_t hash_without(const struct groups *g, struct consumer *c)
{
    uint64_t hash = (uint64_t)c->view_hash;
    for (uint32_t i = 0; i < c->member_count; i++)
        for (uint32_t t = 0; c->members[i]->leaving && t < c->members[i]->topic_count; t++) {
            struct consumer_topic *topic = c->members[i]->topics[t];
            if (++topic->leaving == topic->users)
                hash -= (uint64_t)consumer_topic_hash(g->view, topic->name, topic->name_len);
        }
    for (uint32_t t = 0; t < c->topic_count; t++)
        c->topics[t]->leaving = 0;
    return (int64_t)hash;
}

enum tide_status consumer_fence_leaving(struct groups *g, struct group *group, int16_t *ret_error)
{
    struct consumer *c = group->consumer;
    struct group_batch batch;
    (void)consumer_look(c, g->view);
    group_batch_begin(g, &batch);
    for (uint32_t i = 0; i < c->member_count; i++)
        if (c->members[i]->leaving)
            consumer_put_gone(g, &batch, c, c->members[i]);
    consumer_put_epoch(g, &batch, c, c->epoch + 1, hash_without(g, c));
    enum tide_status status = group_write(g, group, &batch, ret_error); /* takes nothing, and gives back: also when the heap is full */
    for (uint32_t i = 0; i < c->member_count; i++)
        c->members[i]->leaving = false; /* they are there still: it was refused */
    return status;
}

enum tide_status consumer_fence(struct groups *g, struct group *group, struct consumer_member *m, int16_t *ret_error)
{
    m->leaving = true;
    return consumer_fence_leaving(g, group, ret_error);
}

static enum tide_status leave(struct beat *b, struct consumer_member *m)
{
    int16_t error;
    enum tide_status status = consumer_fence(b->g, b->group, m, &error);
    if (status != TIDE_OK || error != 0)
        return status != TIDE_OK ? status : refuse(b, error, NULL);
    consumer_set_timer(b->g, b->group);
    return answer(b, CONSUMER_EPOCH_LEFT, NULL);
}

/* Its place and what it has are kept for it, as long as a session lasts. */
static enum tide_status go_away(struct beat *b, struct consumer_member *m)
{
    struct consumer_current now = {.epoch = CONSUMER_EPOCH_AWAY, .previous_epoch = m->epoch, .state = m->state, .assigned = m->assigned};
    struct group_batch batch;
    int16_t error;
    if (m->state == CONSUMER_UNREVOKED)
        now.state = CONSUMER_STABLE; /* it has stopped, so it has nothing to revoke */
    group_batch_begin(b->g, &batch);
    consumer_put_current(b->g, &batch, b->c, m->id, &now);
    enum tide_status status = consumer_write(b->g, b->group, &batch, consumer_current_bytes(b->c, m->assigned.count), &error);
    if (status != TIDE_OK || error != 0)
        return status != TIDE_OK ? status : refuse(b, error, NULL);
    set_deadlines(b, m);
    consumer_set_timer(b->g, b->group);
    return answer(b, CONSUMER_EPOCH_AWAY, NULL);
}

static enum tide_status depart(struct beat *b)
{
    struct consumer_member *m = consumer_find(b->c, b->member);
    if (b->instance.at != NULL) {
        struct consumer_member *of_instance = consumer_find_instance(b->c, b->instance);
        if (of_instance != NULL && of_instance != m)
            return refuse(b, KAFKA_FENCED_INSTANCE_ID, NULL);
        m = of_instance;
    }
    if (m == NULL || !m->has_metadata)
        return refuse(b, KAFKA_UNKNOWN_MEMBER_ID, NULL);
    return b->in.member_epoch == CONSUMER_EPOCH_LEFT ? leave(b, m) : go_away(b, m);
}

/* ---- the group ------------------------------------------------------------------------------------------------ */

static enum tide_status in_group(struct beat *b)
{
    bool is_new = b->group->kind != &consumer_kind;
    b->group->pinned = true;
    b->was_classic = is_new && b->group->durable;
    b->c = is_new ? &b->nothing : b->group->consumer;
    if (is_new)
        consumer_init(b->c, b->g->config.heap, b->g->config.settings, (struct consumer_text){b->group->id->at, b->group->id->len});
    enum tide_status status = b->in.member_epoch < 0 ? depart(b) : live(b);
    b->group->pinned = false;
    group_settle(b->g, b->group);
    return status;
}

/* As Kafka makes ids: 22 characters of base64url. */
void consumer_make_id(struct groups *g, char to[TIDE_UUID_TEXT])
{
    struct tide_uuid id;
    uint64_t half[2];
    g->ids_made++;
    for (unsigned i = 0; i < 2; i++)
        half[i] = group_hash_bytes(g, 1 + i, &g->ids_made, sizeof(g->ids_made));
    memcpy(&id, half, sizeof(id));
    id.bytes[6] = (uint8_t)((id.bytes[6] & 0x0f) | 0x40); /* RFC 9562 5.4 */
    id.bytes[8] = (uint8_t)((id.bytes[8] & 0x3f) | 0x80);
    tide_uuid_to_text(&id, to);
}

enum tide_status consumer_join(struct groups *g, struct group *group, const struct groups_question *q, struct groups_asked *a,
                               const struct consumer_join *join)
{
    struct beat b = {.g = g, .q = q, .a = a, .group = group, .join = join, .version = CONSUMER_JOIN_VERSION};
    struct wire_cursor body = join->heartbeat;
    if (!consumer_group_heartbeat_request_read(&body, b.version, &b.in) || !read_texts(&b) || is_too_long(&b))
        return refuse(&b, KAFKA_INVALID_REQUEST, NULL);
    return in_group(&b);
}

/* A classic group with members becomes one of the consumer protocol for a member that is let in, and for nobody else: what would be refused
 * afterwards is refused before. */
static enum tide_status upgrade(struct beat *b, int16_t *ret_error, const char **ret_problem)
{
    enum assign_kind kind;
    consumer_init(&b->nothing, b->g->config.heap, b->g->config.settings, (struct consumer_text){b->group->id->at, b->group->id->len});
    b->c = &b->nothing;
    *ret_error = regex_error(b, NULL, ret_problem);
    if (*ret_error != 0)
        return TIDE_OK;
    if (b->assignor.at != NULL && !consumer_assignor_find(&b->nothing, b->assignor, &kind))
        *ret_error = KAFKA_UNSUPPORTED_ASSIGNOR;
    else if (b->instance.at != NULL && group_find_instance(b->g, b->group, &b->in.instance_id) != NULL)
        *ret_error = KAFKA_UNRELEASED_INSTANCE_ID;
    else
        return consumer_upgrade(b->g, b->group, ret_error);
    return TIDE_OK;
}

enum tide_status consumer_on_heartbeat(struct groups *g, const struct groups_question *q, struct groups_asked *a)
{
    struct beat b = {.g = g, .q = q, .a = a, .version = q->version};
    struct wire_cursor body = q->body;
    if (!consumer_group_heartbeat_request_read(&body, q->version, &b.in))
        return TIDE_BAD;
    const char *problem = read_texts(&b) ? request_problem(&b) : "A text is too long.";
    if (problem != NULL)
        return refuse(&b, KAFKA_INVALID_REQUEST, problem);
    if (b.member.len == 0) { /* version 0 only */
        consumer_make_id(g, b.made_id);
        b.member = (struct consumer_text){b.made_id, TIDE_UUID_TEXT - 1};
    }
    b.group = groups_find(g, &b.in.group_id);
    if (b.group != NULL && b.group->kind != &consumer_kind && !b.group->kind->is_empty(b.group) && b.in.member_epoch == 0) {
        int16_t error;
        enum tide_status status = upgrade(&b, &error, &problem);
        if (error == KAFKA_GROUP_ID_NOT_FOUND)
            problem = "The classic group cannot be upgraded.";
        if (status != TIDE_OK || error != 0)
            return status != TIDE_OK ? status : refuse(&b, error, problem);
    }
    if (b.group == NULL || b.group->kind != &consumer_kind) {
        if (b.in.member_epoch != 0)
            return refuse(&b, KAFKA_UNKNOWN_MEMBER_ID, NULL);
        if (b.group == NULL)
            b.group = groups_add(g, &b.in.group_id);
    }
    if (b.group == NULL)
        return refuse(&b, KAFKA_COORDINATOR_NOT_AVAILABLE, NULL);
    return in_group(&b);
}
