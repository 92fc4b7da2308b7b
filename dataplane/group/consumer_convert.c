/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups with members that change their kind, in one batch: the tombstones of what they were, and the records of what they are. Members stay, with
 * what they have and the number of their generation or epoch, and join again.
 *
 * Upgrade: a member has what its last assignment says. What it named as its own when it joined last, and is not in its assignment, it may not have given up
 * yet: it is to revoke it. (Kafka gives that to the next one at once.) A partition that two claim is the first one's.
 * Downgrade: the record says that nobody leads, so that a rebalance begins here and wherever it is loaded.
 */
#include "group/consumer_internal.h"

#include "tidemark/assert.h"
#include "tidemark/mutant.h"

/* ---- upgrade -------------------------------------------------------------------------------------------- */

enum claim { CLAIM_ASSIGNED, CLAIM_OWNED };

/* Whose it is: `epoch` of a claimed partition, while they are sorted. */
static int32_t claimed_by(uint32_t member, enum claim claim) { return (int32_t)(2 * member + claim); }

struct upgrade {
    struct groups *g;
    struct group *group;
    struct consumer *c; /* empty: of the name only */
    struct group_protocol protocol; /* that all members offer */
    struct partition_set claims;
    uint32_t filled;
    enum tide_status status; /* the first thing that was wrong */
};

static void fail(struct upgrade *u, enum tide_status status)
{
    if (u->status == TIDE_OK)
        u->status = status;
}

static void claim_partition(struct upgrade *u, const struct wire_bytes *topic, int32_t partition, int32_t whose)
{
    char text[TIDE_TOPIC_NAME_MAX + 1];
    uint32_t len = wire_bytes_copy(topic, text, sizeof(text));
    const struct view_topic *t = len <= TIDE_TOPIC_NAME_MAX ? tide_view_topic(u->g->view, text, len) : NULL;
    if (t == NULL || partition < 0 || (uint32_t)partition >= t->partition_count)
        return;
    if (u->claims.at != NULL)
        u->claims.at[u->filled] = (struct group_partition){.topic = t->id, .partition = partition, .epoch = whose};
    u->filled++;
}

/* Counted first, then written down. */
static void claim_assigned(struct upgrade *u, const struct group_member *m, uint32_t number)
{
    struct consumer_protocol_assignment in;
    struct consumer_protocol_assignment_topic_partition t;
    struct tide_rope rope = {0};
    struct wire_cursor c;
    int32_t partition;
    if (m->assignment == NULL) /* it has never synced */
        return;
    if (tide_rope_copy_in(&rope, u->g->config.pool, m->assignment->at, m->assignment->len) != TIDE_OK) {
        fail(u, TIDE_FULL);
        return;
    }
    wire_cursor_init(&c, tide_rope_slice(&rope, 0, rope.len));
    int16_t v = wire_get_i16(&c);
    (void)consumer_protocol_assignment_read(&c, TIDE_MIN(TIDE_MAX(v, (int16_t)0), (int16_t)CONSUMER_PROTOCOL_ASSIGNMENT_HIGH), &in);
    if (c.failed || v < 0)
        fail(u, TIDE_BAD);
    while (!c.failed && consumer_protocol_assignment_topic_partition_next(&in.assigned_partitions, 0, &t))
        while (wire_list_next_i32(&t.partitions, &partition))
            claim_partition(u, &t.topic, partition, claimed_by(number, CLAIM_ASSIGNED));
    tide_rope_clear(&rope);
}

static void claim_owned(struct upgrade *u, const struct consumer_protocol_subscription *s, int16_t v, uint32_t number)
{
    struct consumer_protocol_subscription_topic_partition t;
    struct wire_list owned = s->owned_partitions;
    int32_t partition;
    while (!MUTANT(CONSUMER_CLAIMS) && consumer_protocol_subscription_topic_partition_next(&owned, v, &t))
        while (wire_list_next_i32(&t.partitions, &partition))
            claim_partition(u, &t.topic, partition, claimed_by(number, CLAIM_OWNED));
}

static enum tide_status subscription_of(struct upgrade *u, const struct group_member *m, struct tide_rope *rope, int16_t *ret_version,
                                        struct consumer_protocol_subscription *ret)
{
    struct group_protocol p;
    bool found = protocols_find(m->protocols, u->protocol.name, u->protocol.name_len, &p);
    TIDE_ASSERT(found); /* it was chosen because all offer it */
    return consumer_read_subscription(u->g, &p, rope, ret_version, ret);
}

/* What members have comes before what they say that they own. */
static void claim_all(struct upgrade *u)
{
    const struct group_member *m;
    uint32_t number = 0;
    u->filled = 0;
    TAILQ_FOREACH (m, &u->group->classic.members, in_group)
        claim_assigned(u, m, number++);
    number = 0;
    TAILQ_FOREACH (m, &u->group->classic.members, in_group) {
        struct consumer_protocol_subscription s;
        struct tide_rope rope;
        int16_t v;
        enum tide_status status = subscription_of(u, m, &rope, &v, &s);
        if (status == TIDE_OK)
            claim_owned(u, &s, v, number);
        else
            fail(u, status);
        tide_rope_clear(&rope);
        number++;
    }
}

static int by_partition(const void *a, const void *b)
{
    const struct group_partition *x = a, *y = b;
    int order = group_partition_compare(x, y);
    if (order != 0)
        return order;
    if ((x->epoch & 1) != (y->epoch & 1))
        return (x->epoch & 1) - (y->epoch & 1);
    return x->epoch - y->epoch;
}

static int by_member(const void *a, const void *b)
{
    const struct group_partition *x = a, *y = b;
    return x->epoch != y->epoch ? x->epoch - y->epoch : group_partition_compare(x, y);
}

/* Each partition once, then member by member: what it has, what it is to revoke. */
static enum tide_status settle_claims(struct upgrade *u)
{
    struct partition_set *s = &u->claims;
    claim_all(u);
    if (u->status == TIDE_OK)
        u->status = partition_set_make(s, u->c->heap, u->filled);
    if (u->status != TIDE_OK)
        return u->status;
    claim_all(u);
    if (u->status != TIDE_OK) {
        partition_set_free(s, u->c->heap);
        return u->status;
    }
    group_sort(s->at, s->count, sizeof(*s->at), by_partition);
    partition_set_sort(s);
    group_sort(s->at, s->count, sizeof(*s->at), by_member);
    return TIDE_OK;
}

/* The next claims, if they are those. They get the epoch of the group. */
static struct partition_set take_claims(struct upgrade *u, uint32_t *at, int32_t whose)
{
    struct partition_set set = {.at = u->claims.at + *at};
    while (*at < u->claims.count && u->claims.at[*at].epoch == whose) {
        u->claims.at[*at].epoch = u->group->classic.generation;
        set.count++;
        ++*at;
    }
    return set;
}

static struct consumer_text text_of(const struct group_text *t)
{
    return t == NULL ? (struct consumer_text){0} : (struct consumer_text){t->at, t->len};
}

static void put_string(struct wire_writer *w, const struct group_text *t) { wire_put_string(w, true, t == NULL ? NULL : t->at, t == NULL ? 0 : t->len); }

/* How many topics it names. */
static uint32_t put_metadata(struct upgrade *u, struct group_batch *batch, const struct group_member *m)
{
    struct consumer_protocol_subscription s;
    struct tide_rope rope;
    struct wire_writer key, value;
    struct wire_bytes name;
    int16_t v;
    if (subscription_of(u, m, &rope, &v, &s) != TIDE_OK) { /* it was understood before: the pool is empty */
        tide_rope_clear(&rope);
        batch->failed = true;
        return 0;
    }
    uint32_t topics = (uint32_t)TIDE_MAX(s.topics.count, 0);
    consumer_member_key(u->g, &key, CONSUMER_MEMBER_METADATA, u->c, text_of(m->id));
    consumer_value(u->g, &value);
    put_string(&value, m->instance);
    if (s.rack_id.null)
        wire_put_string(&value, true, NULL, 0);
    else
        wire_put_string_slice(&value, true, &s.rack_id);
    put_string(&value, m->client_id);
    put_string(&value, m->client_host);
    wire_put_count(&value, true, (int32_t)topics);
    while (wire_list_next_string(&s.topics, false, &name))
        wire_put_string_slice(&value, true, &name);
    wire_put_string(&value, true, NULL, 0);
    wire_put_i32(&value, m->rebalance_ms);
    wire_put_string(&value, true, NULL, 0);
    consumer_end_metadata(&value, m->session_ms, m->protocols);
    group_batch_put(batch, &key, &value);
    tide_rope_clear(&rope);
    return topics;
}

/* In Kafka's order: members, the epoch, what they shall have, what they have. How much memory applying takes. */
static size_t put_group(struct upgrade *u, struct group_batch *batch)
{
    const struct classic *from = &u->group->classic;
    const struct group_member *m;
    uint32_t topics = 0, number = 0, at = 0;
    TAILQ_FOREACH (m, &from->members, in_group)
        topics += put_metadata(u, batch, m);
    consumer_put_epoch(u->g, batch, u->c, from->generation, 0); /* the topics are looked at when the next member comes */
    TAILQ_FOREACH (m, &from->members, in_group) {
        struct consumer_current now = {.epoch = from->generation, .previous_epoch = from->generation, .state = CONSUMER_STABLE};
        now.assigned = take_claims(u, &at, claimed_by(number, CLAIM_ASSIGNED));
        now.revoking = take_claims(u, &at, claimed_by(number, CLAIM_OWNED));
        if (now.revoking.count != 0)
            now.state = CONSUMER_UNREVOKED;
        consumer_put_target(u->g, batch, u->c, text_of(m->id), &now.assigned);
        consumer_put_current(u->g, batch, u->c, text_of(m->id), &now);
        number++;
    }
    consumer_put_target_epoch(u->g, batch, u->c, from->generation);
    return consumer_metadata_bytes(u->c, batch->w.out.len, topics) + sizeof(struct consumer) + 2 * consumer_set_bytes(u->claims.count) +
           consumer_current_bytes(u->c, u->claims.count) + (size_t)from->member_count * (sizeof(struct consumer_member) + 8 * sizeof(void *));
}

static bool may_upgrade(const struct groups *g, const struct group *group)
{
    const struct tide_settings *s = g->config.settings;
    const struct classic *c = &group->classic;
    bool allowed = s->group_consumer_migration_policy == CONSUMER_MIGRATION_UPGRADE || s->group_consumer_migration_policy == CONSUMER_MIGRATION_BIDIRECTIONAL;
    return allowed && classic_is_of_consumers(c) && (int64_t)c->member_count < s->group_consumer_max_size && c->generation < INT32_MAX;
}

enum tide_status consumer_upgrade(struct groups *g, struct group *group, int16_t *ret_error)
{
    struct consumer named;
    struct upgrade u = {.g = g, .group = group, .c = &named};
    struct group_batch batch;
    enum tide_status status;
    *ret_error = KAFKA_GROUP_ID_NOT_FOUND;
    if (!may_upgrade(g, group) || !protocols_vote(&group->classic, NULL, NULL, &u.protocol))
        return TIDE_OK;
    consumer_init(&named, g->config.heap, g->config.settings, (struct consumer_text){group->id->at, group->id->len});
    status = settle_claims(&u);
    if (status != TIDE_OK) {
        if (status == TIDE_FULL)
            *ret_error = KAFKA_COORDINATOR_NOT_AVAILABLE;
        return TIDE_OK;
    }
    classic_dismiss(g, group); /* if the batch is refused they join a classic group again */
    group_batch_begin(g, &batch);
    if (group->durable)
        classic_kind.put_tombstones(g, group, &batch);
    size_t memory = put_group(&u, &batch);
    group->pinned = true;
    status = consumer_write(g, group, &batch, memory, ret_error);
    group->pinned = false;
    partition_set_free(&u.claims, g->config.heap);
    if (status == TIDE_OK && *ret_error == 0) {
        TIDE_ASSERT(group->kind == &consumer_kind);
        consumer_kind.on_loaded(g, group); /* their sessions begin */
    }
    return status;
}

/* ---- downgrade -------------------------------------------------------------------------------------------- */

bool consumer_is_to_downgrade(const struct groups *g, const struct consumer *c)
{
    const struct tide_settings *s = g->config.settings;
    bool allowed = s->group_consumer_migration_policy == CONSUMER_MIGRATION_DOWNGRADE || s->group_consumer_migration_policy == CONSUMER_MIGRATION_BIDIRECTIONAL;
    return allowed && c->member_count != 0 && c->classic_count == c->member_count && (int64_t)c->member_count <= s->group_max_size;
}

/* The first one that all offer: when they join again they vote. False: none. */
static bool common_protocol(const struct consumer *c, struct group_protocol *ret)
{
    struct group_protocol found;
    for (uint32_t at = 0; protocols_next(c->members[0]->classic, &at, ret);) {
        uint32_t i = 1;
        while (i < c->member_count && protocols_find(c->members[i]->classic, ret->name, ret->name_len, &found))
            i++;
        if (i == c->member_count)
            return true;
    }
    return false;
}

static void put_classic_member(struct groups *g, struct wire_writer *w, const struct consumer_member *m, const struct group_protocol *protocol)
{
    enum { V = GROUP_RECORD_VERSION };
    struct group_protocol p = {0};
    struct wire_writer assignment;
    (void)protocols_find(m->classic, protocol->name, protocol->name_len, &p);
    wire_writer_init(&assignment, g->config.pool);
    consumer_put_assignment(&assignment, consumer_subscription_version(m), g->view, &m->assigned);
    group_metadata_value_member_metadata_put_member_id(w, V, m->id.at, m->id.len);
    group_metadata_value_member_metadata_put_group_instance_id(w, V, m->instance.at, m->instance.len);
    group_metadata_value_member_metadata_put_client_id(w, V, m->client_id.at != NULL ? m->client_id.at : "", m->client_id.len);
    group_metadata_value_member_metadata_put_client_host(w, V, m->client_host.at != NULL ? m->client_host.at : "", m->client_host.len);
    group_metadata_value_member_metadata_put_rebalance_timeout(w, V, m->rebalance_timeout_ms);
    group_metadata_value_member_metadata_put_session_timeout(w, V, m->classic_session_ms);
    group_metadata_value_member_metadata_put_subscription(w, V, p.metadata, p.metadata_len);
    group_metadata_value_member_metadata_put_assignment_slice(w, V, &(struct wire_bytes){.at = tide_rope_slice(&assignment.out, 0, assignment.out.len)});
    group_metadata_value_member_metadata_end(w, V);
    w->failed |= assignment.failed;
    wire_writer_abandon(&assignment);
}

static void put_classic_group(struct groups *g, struct group_batch *batch, const struct consumer *c, const struct group_protocol *protocol)
{
    enum { V = GROUP_RECORD_VERSION };
    static const char type[] = "consumer";
    struct wire_writer key, w;
    group_key_begin(g, &key, GROUP_RECORD_GROUP);
    group_metadata_key_put_group(&key, 0, c->id.at, c->id.len);
    group_metadata_key_end(&key, 0);
    wire_writer_init(&w, g->config.pool);
    wire_put_i16(&w, V);
    group_metadata_value_put_protocol_type(&w, V, type, sizeof(type) - 1);
    group_metadata_value_put_generation(&w, V, c->epoch);
    group_metadata_value_put_protocol(&w, V, protocol->name, protocol->name_len);
    group_metadata_value_put_leader(&w, V, NULL, 0);
    group_metadata_value_put_current_state_timestamp(&w, V, g->now.wall_ms);
    group_metadata_value_open_members(&w, V, (int32_t)c->member_count);
    for (uint32_t i = 0; i < c->member_count; i++)
        put_classic_member(g, &w, c->members[i], protocol);
    group_metadata_value_end(&w, V);
    group_batch_put(batch, &key, &w);
}

enum tide_status consumer_downgrade(struct groups *g, struct group *group, int16_t *ret_error)
{
    enum { MEMBER_BLOCKS = 512 }; /* of a member: itself, its place among the timers, what goes before its texts and protocols */
    const struct consumer *c = group->consumer;
    struct group_protocol protocol;
    struct group_batch batch;
    *ret_error = KAFKA_INCONSISTENT_GROUP_PROTOCOL;
    if (!common_protocol(c, &protocol))
        return TIDE_OK;
    group_batch_begin(g, &batch);
    for (uint32_t i = 0; i < c->member_count; i++)
        consumer_put_gone(g, &batch, c, c->members[i]);
    group->kind->put_tombstones(g, group, &batch);
    put_classic_group(g, &batch, c, &protocol);
    size_t memory = 2 * (size_t)batch.w.out.len + (size_t)c->member_count * (sizeof(struct group_member) + MEMBER_BLOCKS) +
                    2 * (g->timers.owners + c->member_count) * sizeof(void *);
    enum tide_status status = consumer_write(g, group, &batch, memory, ret_error);
    if (status == TIDE_OK && *ret_error == 0) {
        TIDE_ASSERT(group->kind == &classic_kind);
        classic_kind.on_loaded(g, group); /* their sessions begin, and a rebalance */
    }
    return status;
}
