/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the regular expressions of members match. One expression of a group after the other is evaluated over as many turns as it takes, since all groups
 * share the names that a turn looks at; what is found is
 * a record, with the group epoch when it is something else than before. It goes on by name, so that a view that changes meanwhile does not begin it anew:
 * what it missed it finds with the next evaluation, which a view that is another than at the beginning asks for.
 *
 * An expression is evaluated when it comes, when a coordinator takes over, and at a heartbeat after the view has changed, not more often than every
 * REFRESH_MS (Kafka's interval). One that nobody uses any more loses its record.
 */
#include "group/consumer_internal.h"

#include "group/topic_pattern.h"
#include "tidemark/assert.h"
#include "tidemark/mutant.h"

enum { REFRESH_MS = 10000 };

struct consumer_resolution {
    struct consumer_expression *expression;
    struct topic_pattern *pattern;
    uint64_t begun_version; /* of the view, when it began, */
    uint64_t version;       /* and when it looked last */
    uint32_t next;          /* topic in that view */
    bool is_complete;
    uint32_t count, room;
    struct tide_uuid *found; /* by name */
    uint32_t last_len;       /* the name that it looked at last */
    char last[TIDE_TOPIC_NAME_MAX];
};

bool consumer_resolution_is_of(const struct consumer_resolution *r, const struct consumer_expression *e) { return r->expression == e; }

void consumer_resolution_end(struct consumer *c)
{
    struct consumer_resolution *r = c->resolution;
    if (r == NULL)
        return;
    topic_pattern_free(r->pattern);
    tide_heap_give(c->heap, r->found);
    tide_heap_give(c->heap, r);
    c->resolution = NULL;
    c->expressions_at_ns = 0; /* others may be due */
}

static void looked(const struct groups *g, struct consumer_expression *e, uint64_t version)
{
    e->looked_version = version;
    e->refresh_at_ns = group_after_ms(g, REFRESH_MS);
}

/* What it matched before stays; members hear of it when that is nothing. */
static void refuse(struct groups *g, struct consumer *c)
{
    struct consumer_resolution *r = c->resolution;
    r->expression->refused = true;
    looked(g, r->expression, r->begun_version);
    consumer_resolution_end(c);
}

static void try_later(struct groups *g, struct consumer *c) { c->resolve_after_ns = group_after_ms(g, GROUP_RETRY_MS); }

/* ---- which one ------------------------------------------------------------------------------------------ */

/* NULL: none is due. */
static struct consumer_expression *find_due(const struct groups *g, struct consumer *c)
{
    uint64_t next = TIDE_NEVER;
    for (uint32_t i = 0; i < c->expression_count; i++) {
        struct consumer_expression *e = c->expressions[i];
        if (e->users == 0 || e->looked_version == 0)
            return e;
        if (e->looked_version == g->view->version || MUTANT(CONSUMER_EXPRESSION))
            continue;
        if (g->now.now_ns >= e->refresh_at_ns)
            return e;
        next = TIDE_MIN(next, e->refresh_at_ns);
    }
    c->expressions_at_ns = next;
    c->expressions_version = g->view->version;
    return NULL;
}

uint64_t consumer_resolve_at_ns(const struct groups *g, const struct consumer *c)
{
    uint64_t at = c->resolution != NULL ? 0 : c->expressions_at_ns;
    at = TIDE_MAX(at, c->resolve_after_ns);
    return TIDE_MAX(at, g->now.now_ns + 1);
}

static enum tide_status begin(struct groups *g, struct consumer *c, struct consumer_expression *e)
{
    const char *problem;
    struct consumer_resolution *r = tide_heap_take(c->heap, sizeof(*r));
    if (r == NULL)
        return TIDE_FULL;
    *r = (struct consumer_resolution){.expression = e, .begun_version = g->view->version, .version = g->view->version};
    c->resolution = r;
    assign_spend(&g->config.names->left, 1);
    enum tide_status status = topic_pattern_make(c->heap, e->text, e->len, &r->pattern, &problem);
    if (status == TIDE_FULL)
        consumer_resolution_end(c);
    if (status == TIDE_BAD) /* of another release */
        refuse(g, c);
    return status;
}

/* ---- topics --------------------------------------------------------------------------------------------- */

/* The first topic behind the one that was looked at last. */
static uint32_t behind(const struct tide_view *view, const struct consumer_resolution *r)
{
    uint32_t low = 0, high = view->topic_count;
    while (low < high && r->last_len != 0) {
        const struct view_topic *t = &view->topics[low + (high - low) / 2];
        int order = memcmp(t->name, r->last, TIDE_MIN((uint32_t)t->name_len, r->last_len));
        if (order < 0 || (order == 0 && t->name_len <= r->last_len))
            low = low + (high - low) / 2 + 1;
        else
            high = low + (high - low) / 2;
    }
    return low;
}

static enum tide_status add_found(struct consumer *c, struct consumer_resolution *r, const struct tide_uuid *id)
{
    if (r->count == CONSUMER_TOPICS_MAX)
        return TIDE_BAD;
    if (r->count == r->room) {
        uint32_t room = r->room == 0 ? 16 : 2 * r->room;
        struct tide_uuid *to = tide_heap_take(c->heap, (size_t)room * sizeof(*to));
        if (to == NULL)
            return TIDE_FULL;
        if (r->count != 0)
            memcpy(to, r->found, (size_t)r->count * sizeof(*to));
        tide_heap_give(c->heap, r->found);
        r->found = to;
        r->room = room;
    }
    r->found[r->count++] = *id;
    return TIDE_OK;
}

/* A few names. TIDE_BAD: the expression takes more than it may. */
static enum tide_status look_at_some(struct groups *g, struct consumer *c, struct consumer_resolution *r)
{
    const struct tide_view *view = g->view;
    if (r->version != view->version) {
        r->next = behind(view, r);
        r->version = view->version;
    }
    while (g->config.names->left != 0 && r->next < view->topic_count) {
        const struct view_topic *t = &view->topics[r->next];
        bool matches;
        enum tide_status status = topic_pattern_match(r->pattern, t->name, t->name_len, &g->config.names->left, &matches);
        if (status == TIDE_OK && matches)
            status = add_found(c, r, &t->id);
        if (status != TIDE_OK)
            return status;
        r->next++;
        r->last_len = t->name_len;
        memcpy(r->last, t->name, t->name_len);
    }
    r->is_complete = r->next >= view->topic_count;
    return TIDE_OK;
}

/* ---- what is found -------------------------------------------------------------------------------------- */

static void put_key(struct groups *g, struct wire_writer *key, const struct consumer *c, const struct consumer_expression *e)
{
    consumer_group_key(g, key, CONSUMER_REGEX, c);
    consumer_group_regular_expression_key_put_regular_expression(key, 0, e->text, e->len);
}

void consumer_put_expression_gone(struct groups *g, struct group_batch *batch, const struct consumer *c, const struct consumer_expression *e)
{
    struct wire_writer key;
    put_key(g, &key, c, e);
    group_batch_put(batch, &key, NULL);
}

/* Those of them that are there still. */
static const struct view_topic *next_found(const struct tide_view *view, const struct consumer_resolution *r, uint32_t *at)
{
    const struct view_topic *t = NULL;
    while (t == NULL && *at < r->count)
        t = tide_view_topic_by_id(view, &r->found[(*at)++]);
    return t;
}

/* How many there are. Does the expression match others than before? The topics of the group then have that hash. */
static uint32_t compare(const struct tide_view *view, struct consumer *c, const struct consumer_resolution *r, bool *ret_changed, int64_t *ret_hash)
{
    const struct consumer_expression *e = r->expression;
    const struct view_topic *found;
    uint64_t hash = (uint64_t)c->view_hash;
    uint32_t count = 0, same = 0;
    c->comparisons++;
    for (uint32_t at = 0; (found = next_found(view, r, &at)) != NULL; count++) {
        struct consumer_topic *t = consumer_find_topic(c, found->name, found->name_len);
        if (t == NULL)
            hash += (uint64_t)consumer_topic_hash(view, found->name, found->name_len);
        else
            t->seen = c->comparisons;
    }
    for (uint32_t i = 0; i < e->topic_count; i++) {
        const struct consumer_topic *t = e->topics[i];
        if (t->seen == c->comparisons)
            same++;
        else if (t->users == 1)
            hash -= (uint64_t)consumer_topic_hash(view, t->name, t->name_len);
    }
    *ret_changed = same != e->topic_count || same != count;
    *ret_hash = (int64_t)hash;
    return count;
}

static void put_found(struct groups *g, struct group_batch *batch, const struct consumer *c, const struct consumer_resolution *r, uint32_t count)
{
    const struct view_topic *found;
    struct wire_writer key, value;
    put_key(g, &key, c, r->expression);
    consumer_value(g, &value);
    consumer_group_regular_expression_value_open_topics(&value, 0, (int32_t)count);
    for (uint32_t at = 0; (found = next_found(g->view, r, &at)) != NULL;)
        wire_put_string(&value, true, found->name, found->name_len);
    consumer_group_regular_expression_value_put_version(&value, 0, g->view->cluster_index);
    consumer_group_regular_expression_value_put_timestamp(&value, 0, g->now.wall_ms);
    consumer_group_regular_expression_value_end(&value, 0);
    group_batch_put(batch, &key, &value);
}

static void write_found(struct groups *g, struct group *group)
{
    struct consumer *c = group->consumer;
    struct consumer_resolution *r = c->resolution;
    struct group_batch batch;
    int64_t hash;
    bool changed;
    int16_t error = 0;
    assign_spend(&g->config.names->left, 1);
    (void)consumer_look(c, g->view);
    uint32_t count = compare(g->view, c, r, &changed, &hash);
    if (changed || !r->expression->resolved) {
        group_batch_begin(g, &batch);
        put_found(g, &batch, c, r, count);
        if (changed)
            consumer_put_epoch(g, &batch, c, c->epoch + 1, hash);
        if (consumer_write(g, group, &batch, consumer_metadata_bytes(c, batch.w.out.len, count), &error) != TIDE_OK || error != 0) {
            try_later(g, c);
            return;
        }
    }
    r->expression->refused = false;
    looked(g, r->expression, r->begun_version);
    consumer_resolution_end(c);
}

/* Its record goes. What it matched is looked up by the group no more: the epoch stays, since no member loses anything. */
static void retire(struct groups *g, struct group *group, const struct consumer_expression *e)
{
    struct consumer *c = group->consumer;
    struct group_batch batch;
    uint64_t hash = (uint64_t)c->metadata_hash;
    int16_t error;
    assign_spend(&g->config.names->left, 1);
    for (uint32_t i = 0; i < e->topic_count; i++)
        if (e->topics[i]->users == 1)
            hash -= (uint64_t)consumer_topic_hash(g->view, e->topics[i]->name, e->topics[i]->name_len);
    group_batch_begin(g, &batch);
    consumer_put_expression_gone(g, &batch, c, e);
    if (c->epoch != 0)
        consumer_put_epoch(g, &batch, c, c->epoch, (int64_t)hash);
    if (group_write(g, group, &batch, &error) != TIDE_OK || error != 0) /* takes nothing, and gives back: also when the heap is full */
        try_later(g, c);
}

void consumer_resolve(struct groups *g, struct group *group)
{
    struct consumer *c = group->consumer;
    if (c->expression_count == 0 || g->now.now_ns < c->resolve_after_ns || g->config.names->left == 0)
        return;
    if (c->resolution != NULL && c->resolution->expression->users == 0) /* meanwhile */
        consumer_resolution_end(c);
    if (c->resolution == NULL) {
        if (g->now.now_ns < c->expressions_at_ns && c->expressions_version == g->view->version)
            return;
        struct consumer_expression *e = find_due(g, c);
        if (e == NULL)
            return;
        if (e->users == 0) {
            retire(g, group, e);
            return;
        }
        enum tide_status status = begin(g, c, e);
        if (status == TIDE_FULL)
            try_later(g, c);
        if (status != TIDE_OK)
            return;
    }
    if (!c->resolution->is_complete) {
        enum tide_status status = look_at_some(g, c, c->resolution);
        if (status == TIDE_FULL)
            try_later(g, c);
        if (status == TIDE_BAD)
            refuse(g, c);
    }
    if (c->resolution != NULL && c->resolution->is_complete)
        write_found(g, group);
}
