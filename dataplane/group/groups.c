/* SPDX-License-Identifier: Apache-2.0 */
#include "group/consumer_internal.h"

/* ---- keyed hash (SipHash-2-4): clients choose the names that go into the tables ------------------------ */

#define ROTL(x, b) ((x) << (b) | (x) >> (64 - (b)))

struct sip {
    uint64_t v[4];
    uint64_t word;
    uint64_t len;
};

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = ROTL(v[1], 13) ^ v[0];
    v[0] = ROTL(v[0], 32);
    v[2] += v[3];
    v[3] = ROTL(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = ROTL(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = ROTL(v[1], 17) ^ v[2];
    v[2] = ROTL(v[2], 32);
}

static void sip_word(struct sip *s, uint64_t word)
{
    s->v[3] ^= word;
    sip_round(s->v);
    sip_round(s->v);
    s->v[0] ^= word;
}

static void sip_begin(struct sip *s, const struct groups *g, uint64_t salt)
{
    *s = (struct sip){.v = {g->key[0] ^ 0x736f6d6570736575ull, g->key[1] ^ 0x646f72616e646f6dull, g->key[0] ^ 0x6c7967656e657261ull,
                            g->key[1] ^ 0x7465646279746573ull}};
    sip_word(s, salt);
}

static void sip_bytes(struct sip *s, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        s->word |= (uint64_t)p[i] << (8 * (s->len & 7));
        if ((++s->len & 7) == 0) {
            sip_word(s, s->word);
            s->word = 0;
        }
    }
}

static uint64_t sip_end(struct sip *s)
{
    sip_word(s, s->word | s->len << 56);
    s->v[2] ^= 0xff;
    for (unsigned i = 0; i < 4; i++)
        sip_round(s->v);
    return s->v[0] ^ s->v[1] ^ s->v[2] ^ s->v[3];
}

uint64_t group_hash_bytes(const struct groups *g, uint64_t salt, const void *bytes, size_t n)
{
    struct sip s;
    sip_begin(&s, g, salt);
    sip_bytes(&s, bytes, n);
    return sip_end(&s);
}

uint64_t group_hash_slice(const struct groups *g, uint64_t salt, struct tide_slice slice)
{
    struct sip s;
    const uint8_t *piece;
    uint32_t n;
    sip_begin(&s, g, salt);
    while ((n = tide_slice_next(&slice, &piece)) != 0)
        sip_bytes(&s, piece, n);
    return sip_end(&s);
}

/* ---- tables ------------------------------------------------------------------------------------------------ */

static_assert((GROUP_BUCKETS & (GROUP_BUCKETS - 1)) == 0, "a mask picks the bucket");

void group_table_put(struct group_table *t, struct group_node *n, uint64_t hash)
{
    struct group_node **bucket = &t->buckets[hash & (GROUP_BUCKETS - 1)];
    *n = (struct group_node){.next = *bucket, .hash = hash};
    *bucket = n;
}

void group_table_remove(struct group_table *t, struct group_node *n)
{
    struct group_node **at = &t->buckets[n->hash & (GROUP_BUCKETS - 1)];
    while (*at != n)
        at = &(*at)->next;
    *at = n->next;
}

struct group_node *group_table_first(const struct group_table *t, uint64_t hash)
{
    struct group_node *n = t->buckets[hash & (GROUP_BUCKETS - 1)];
    while (n != NULL && n->hash != hash)
        n = n->next;
    return n;
}

/* ---- texts -------------------------------------------------------------------------------------------------- */

bool group_text_is(const struct group_text *t, const struct wire_bytes *b)
{
    struct tide_slice s = b->at;
    const uint8_t *piece;
    uint32_t n, at = 0;
    if (t == NULL || b->null)
        return t == NULL && b->null;
    if (t->len != s.len)
        return false;
    while ((n = tide_slice_next(&s, &piece)) != 0) {
        if (memcmp(t->at + at, piece, n) != 0)
            return false;
        at += n;
    }
    return true;
}

static struct group_text *text_new(struct groups *g, uint32_t len)
{
    struct group_text *t = tide_heap_take(g->config.heap, sizeof(*t) + len);
    if (t != NULL)
        t->len = len;
    return t;
}

struct group_text *group_text_of(struct groups *g, const void *bytes, uint32_t len)
{
    struct group_text *t = text_new(g, len);
    if (t != NULL)
        memcpy(t->at, bytes, len);
    return t;
}

struct group_text *group_text_take(struct groups *g, struct tide_slice s)
{
    struct group_text *t = g->texts;
    if (t != NULL) {
        TIDE_ASSERT(t->len == s.len); /* prepared for just this */
        g->texts = t->next;
        if (t->next == NULL)
            g->texts_tail = &g->texts;
        t->next = NULL;
        return t;
    }
    t = text_new(g, s.len);
    if (t != NULL)
        tide_slice_copy(s, t->at);
    return t;
}

bool group_text_prepare(struct groups *g, struct tide_slice s)
{
    struct group_text *t = text_new(g, s.len);
    if (t == NULL)
        return false;
    tide_slice_copy(s, t->at);
    *g->texts_tail = t;
    g->texts_tail = &t->next;
    return true;
}

void group_texts_drop(struct groups *g)
{
    struct group_text *t;
    while ((t = g->texts) != NULL) {
        g->texts = t->next;
        tide_heap_give(g->config.heap, t);
    }
    g->texts_tail = &g->texts;
}

void group_text_give(struct groups *g, struct group_text *t)
{
    tide_heap_give(g->config.heap, t);
}

bool group_text_set(struct groups *g, struct group_text **at, const struct wire_bytes *b, bool empty_is_null)
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

/* ---- groups ---------------------------------------------------------------------------------------------------- */

struct group *groups_find(struct groups *g, const struct wire_bytes *id)
{
    uint64_t hash = group_hash_slice(g, 0, id->at);
    for (struct group_node *n = group_table_first(&g->groups, hash); n != NULL; n = n->next) {
        struct group *group = GROUP_OF(n, struct group, node);
        if (n->hash == hash && group_text_is(group->id, id))
            return group;
    }
    return NULL;
}

struct group *groups_add(struct groups *g, const struct wire_bytes *id)
{
    struct group *group;
    if (g->gauges.groups >= (uint32_t)g->config.settings->group_groups_max && g->phase == GROUPS_ACTIVE)
        return NULL;
    group = tide_heap_take(g->config.heap, sizeof(*group));
    if (group == NULL)
        return NULL;
    group->id = text_new(g, id->at.len);
    if (group->id == NULL || !group_timer_own(g)) {
        group_text_give(g, group->id);
        tide_heap_give(g->config.heap, group);
        return NULL;
    }
    tide_slice_copy(id->at, group->id->at);
    group->kind = &classic_kind;
    TAILQ_INIT(&group->topics);
    TAILQ_INIT(&group->classic.members);
    TAILQ_INIT(&group->classic.pending);
    group->classic.timer.kind = GROUP_TIMER_GROUP;
    group->classic.state_ms = -1;
    group_table_put(&g->groups, &group->node, group_hash_slice(g, 0, id->at));
    TAILQ_INSERT_TAIL(&g->all, group, all);
    g->gauges.groups++;
    return group;
}

static void free_group(struct groups *g, struct group *group)
{
    group->kind->drop(g, group);
    offsets_drop(g, group);
    group_timer_disown(g, &group->classic.timer);
    if (group->last_write != NULL) {
        group->last_write->group = NULL;
        if (g->last_removal == NULL || g->last_removal->end < group->last_write->end)
            g->last_removal = group->last_write;
    }
    if (g->sweep == group)
        g->sweep = TAILQ_NEXT(group, all);
    TAILQ_REMOVE(&g->all, group, all);
    group_table_remove(&g->groups, &group->node);
    group_text_give(g, group->id);
    tide_heap_give(g->config.heap, group);
    g->gauges.groups--;
}

void group_settle(struct groups *g, struct group *group)
{
    if (!group->pinned && !group->durable && group->offset_count == 0 && !group->kind->has_members(group))
        free_group(g, group);
}

/* ---- life ---------------------------------------------------------------------------------------------------------- */

static bool make_table(struct groups *g, struct group_table *t)
{
    t->buckets = tide_heap_take(g->config.heap, GROUP_BUCKETS * sizeof(*t->buckets));
    return t->buckets != NULL;
}

struct groups *groups_create(const struct groups_config *config)
{
    struct groups *g = tide_heap_take(config->heap, sizeof(*g));
    if (g == NULL)
        return NULL;
    g->config = *config;
    if (config->names == NULL)
        g->config.names = &g->own_names;
    g->key[0] = config->seed ^ 0x9e3779b97f4a7c15ull;
    g->key[1] = config->seed * 0xbf58476d1ce4e5b9ull + (uint64_t)config->partition;
    TAILQ_INIT(&g->all);
    TAILQ_INIT(&g->writes);
    TAILQ_INIT(&g->ready);
    TAILQ_INIT(&g->spare);
    g->texts_tail = &g->texts;
    g->committed = -1;
    for (unsigned i = 0; i < GROUP_SPARE_ASKED; i++)
        TAILQ_INSERT_TAIL(&g->spare, &g->spares[i], link);
    if (!make_table(g, &g->groups) || !make_table(g, &g->members) || !make_table(g, &g->instances) || !make_table(g, &g->topics) ||
        !make_table(g, &g->cookies)) {
        groups_destroy(g);
        return NULL;
    }
    return g;
}

void groups_destroy(struct groups *g)
{
    struct tide_heap *heap;
    struct group_write *w;
    struct groups_asked *a;
    if (g == NULL)
        return;
    heap = g->config.heap;
    for (struct group *group; (group = TAILQ_FIRST(&g->all)) != NULL;)
        free_group(g, group);
    while ((w = TAILQ_FIRST(&g->writes)) != NULL) {
        TAILQ_CONCAT(&g->ready, &w->answers, link);
        TAILQ_REMOVE(&g->writes, w, link);
        tide_heap_give(heap, w);
    }
    while ((a = TAILQ_FIRST(&g->ready)) != NULL) {
        TAILQ_REMOVE(&g->ready, a, link);
        asked_give(g, a);
    }
    TIDE_ASSERT(g->asked_count == 0);
    group_texts_drop(g);
    tide_heap_give(heap, g->timers.heap);
    tide_heap_give(heap, g->groups.buckets);
    tide_heap_give(heap, g->members.buckets);
    tide_heap_give(heap, g->instances.buckets);
    tide_heap_give(heap, g->topics.buckets);
    tide_heap_give(heap, g->cookies.buckets);
    tide_heap_give(heap, g);
}

enum tide_status groups_replay(struct groups *g, const struct tide_time *now, struct tide_slice batch)
{
    TIDE_ASSERT(g->phase == GROUPS_LOADING);
    g->now = *now;
    return groups_apply(g, batch);
}

enum tide_status groups_replay_records(struct groups *g, const struct tide_time *now, struct tide_slice *records, int32_t *left,
                                       uint32_t max)
{
    TIDE_ASSERT(g->phase == GROUPS_LOADING);
    g->now = *now;
    return groups_apply_records(g, records, left, max);
}

void groups_loaded(struct groups *g, const struct tide_time *now, int64_t end)
{
    struct group *group, *next;
    TIDE_ASSERT(g->phase == GROUPS_LOADING);
    g->now = *now;
    g->phase = GROUPS_ACTIVE;
    g->committed = end;
    g->sweep_at_ns = group_after_ms(g, g->config.settings->offsets_retention_check_interval_ms);
    for (group = TAILQ_FIRST(&g->all); group != NULL; group = next) {
        next = TAILQ_NEXT(group, all);
        group->kind->on_loaded(g, group);
    }
}

bool groups_is_active(const struct groups *g)
{
    return g->phase == GROUPS_ACTIVE;
}

/* ---- questions ------------------------------------------------------------------------------------------------------- */

static bool fits(const char *filter_of_states, uint32_t len, const char *word)
{
    return strlen(word) == len && strncasecmp(filter_of_states, word, len) == 0;
}

/* Is the word in the list? An empty list takes all. */
static bool chosen(const struct wire_list *list, bool flexible, const char *word)
{
    struct wire_list l = *list;
    struct wire_bytes b;
    char text[32];
    if (l.count <= 0)
        return true;
    while (wire_list_next_string(&l, flexible, &b))
        if (b.at.len < sizeof(text) && fits(text, wire_bytes_copy(&b, text, sizeof(text)), word))
            return true;
    return false;
}

static enum tide_status on_list(struct groups *g, const struct groups_question *q, struct groups_asked *a)
{
    struct list_groups_request in;
    struct wire_cursor c = q->body;
    struct wire_writer w;
    struct group *group;
    if (!list_groups_request_read(&c, q->version, &in) || in.states_filter.count > GROUP_PROTOCOLS_MAX ||
        in.types_filter.count > GROUP_PROTOCOLS_MAX)
        return TIDE_BAD;
    if (g->phase != GROUPS_ACTIVE)
        return asked_refuse(g, NULL, a, q, KAFKA_COORDINATOR_LOAD_IN_PROGRESS);
    wire_writer_init(&w, g->config.pool);
    TAILQ_FOREACH (group, &g->all, all) {
        uint32_t protocol_type_len;
        const char *state = group->kind->state(group), *type = group->kind->type;
        const char *protocol_type = group->kind->protocol_type(group, &protocol_type_len);
        if (!chosen(&in.states_filter, true, state) || !chosen(&in.types_filter, true, type))
            continue;
        list_groups_response_listed_group_put_group_id(&w, q->version, group->id->at, group->id->len);
        list_groups_response_listed_group_put_protocol_type(&w, q->version, protocol_type, protocol_type_len);
        list_groups_response_listed_group_put_group_state(&w, q->version, state, (uint32_t)strlen(state));
        list_groups_response_listed_group_put_group_type(&w, q->version, type, (uint32_t)strlen(type));
        list_groups_response_listed_group_end(&w, q->version);
        a->elements++;
    }
    if (!asked_body(a, &w))
        return TIDE_FULL;
    asked_finish(g, NULL, a);
    return TIDE_OK;
}

/* One batch of tombstones. As group_write. */
static enum tide_status delete_some(struct groups *g, struct group *group, int16_t *ret_error)
{
    struct group_batch b;
    group_batch_begin(g, &b);
    if (offsets_put_tombstones(g, group, &b, GROUP_TOMBSTONES_A_BATCH) == group->offset_count && group->durable)
        group->kind->put_tombstones(g, group, &b);
    return group_write(g, group, &b, ret_error);
}

static enum tide_status on_delete_group(struct groups *g, const struct groups_question *q, struct groups_asked *a)
{
    struct delete_groups_request in;
    struct wire_cursor c = q->body;
    struct wire_bytes id;
    struct group *group;
    struct wire_writer w;
    int16_t error = 0;
    if (!delete_groups_request_read(&c, q->version, &in) || !asked_name(in.groups_names, q->version >= 2, q->element, &id))
        return TIDE_BAD;
    group = groups_find(g, &id);
    if (group == NULL)
        return asked_refuse(g, NULL, a, q, KAFKA_GROUP_ID_NOT_FOUND);
    if (!group->kind->is_empty(group))
        return asked_refuse(g, group, a, q, KAFKA_NON_EMPTY_GROUP);
    wire_writer_init(&w, g->config.pool);
    delete_groups_response_deletable_group_result_put_group_id_slice(&w, q->version, &id);
    delete_groups_response_deletable_group_result_put_error_code(&w, q->version, 0);
    delete_groups_response_deletable_group_result_end(&w, q->version);
    if (!asked_body(a, &w))
        return TIDE_FULL;
    a->elements = 1;
    group->pinned = true; /* the last tombstone takes it away */
    for (unsigned n = 0; error == 0 && (group->durable || group->offset_count != 0); n++)
        if (n == GROUP_DELETIONS_A_CALL || delete_some(g, group, &error) != TIDE_OK) {
            group->pinned = false;
            tide_rope_clear(&a->body);
            a->written = false;
            return TIDE_FULL; /* what is gone is gone; asked again, the rest follows */
        }
    a->error = error;
    asked_finish(g, group, a);
    group->pinned = false;
    if (error == 0) {
        group->kind->drop(g, group); /* ids that were given out and not used */
        group_settle(g, group);
    }
    return TIDE_OK;
}

typedef enum tide_status (*groups_api)(struct groups *, const struct groups_question *, struct groups_asked *);

/* One row an API. */
static groups_api api_of(int16_t key)
{
    switch (key) {
    case KAFKA_API_OFFSET_COMMIT:
        return offsets_on_commit;
    case KAFKA_API_OFFSET_FETCH:
        return offsets_on_fetch;
    case KAFKA_API_JOIN_GROUP:
        return classic_on_join;
    case KAFKA_API_HEARTBEAT:
        return classic_on_heartbeat;
    case KAFKA_API_LEAVE_GROUP:
        return classic_on_leave;
    case KAFKA_API_SYNC_GROUP:
        return classic_on_sync;
    case KAFKA_API_DESCRIBE_GROUPS:
        return classic_on_describe;
    case KAFKA_API_LIST_GROUPS:
        return on_list;
    case KAFKA_API_DELETE_GROUPS:
        return on_delete_group;
    case KAFKA_API_OFFSET_DELETE:
        return offsets_on_delete;
    case KAFKA_API_CONSUMER_GROUP_HEARTBEAT:
        return consumer_on_heartbeat;
    case KAFKA_API_CONSUMER_GROUP_DESCRIBE:
        return consumer_on_describe;
    default:
        return NULL;
    }
}

static void names_of_turn(struct groups *g)
{
    if (g->config.names->turn_ns != g->now.now_ns)
        *g->config.names = (struct groups_names){g->now.now_ns, GROUP_NAMES_A_TURN};
}

enum tide_status groups_ask(struct groups *g, const struct tide_time *now, const struct groups_question *q)
{
    groups_api api = api_of(q->api_key);
    struct groups_asked *a;
    enum tide_status status;
    TIDE_ASSERT(g->phase != GROUPS_RESIGNED);
    if (api == NULL)
        return TIDE_BAD;
    a = asked_take(g, q);
    if (a == NULL)
        return TIDE_FULL;
    g->now = *now;
    g->view = q->view;
    names_of_turn(g);
    if (g->phase == GROUPS_LOADING && q->api_key != KAFKA_API_LIST_GROUPS)
        status = asked_refuse(g, NULL, a, q, KAFKA_COORDINATOR_LOAD_IN_PROGRESS);
    else
        status = api(g, q, a);
    g->view = NULL;
    TIDE_ASSERT(g->texts == NULL); /* nothing prepared is left over */
    if (status != TIDE_OK)
        asked_give(g, a);
    return status;
}

void groups_cancel(struct groups *g, void *cookie)
{
    uint64_t hash = group_hash_bytes(g, 0, &cookie, sizeof(cookie));
    for (struct group_node *n = group_table_first(&g->cookies, hash); n != NULL; n = n->next) {
        struct groups_asked *a = GROUP_OF(n, struct groups_asked, by_cookie);
        if (a->cookie != cookie)
            continue;
        group_table_remove(&g->cookies, &a->by_cookie);
        a->gone = true;
        return;
    }
}

bool groups_next_answer(struct groups *g, struct groups_answer *ret)
{
    struct groups_asked *a;
    while ((a = TAILQ_FIRST(&g->ready)) != NULL) {
        if (!a->gone && !asked_write_late_error(g, a))
            return false;
        TAILQ_REMOVE(&g->ready, a, link);
        if (!a->gone) {
            *ret = (struct groups_answer){.cookie = a->cookie, .body = a->body, .elements = a->elements,
                                          .error = a->api == KAFKA_API_LIST_GROUPS ? a->error : 0};
            a->body = (struct tide_rope){0};
            asked_give(g, a);
            return true;
        }
        asked_give(g, a);
    }
    return false;
}

/* ---- commitment and time ---------------------------------------------------------------------------------------------- */

void groups_on_committed(struct groups *g, const struct tide_time *now, int64_t end)
{
    struct group_write *w;
    g->now = *now;
    if (end > g->committed)
        g->committed = end;
    while ((w = TAILQ_FIRST(&g->writes)) != NULL && w->end <= g->committed) {
        TAILQ_CONCAT(&g->ready, &w->answers, link);
        if (g->on_time == w)
            g->on_time = TAILQ_NEXT(w, link);
        TAILQ_REMOVE(&g->writes, w, link);
        if (w->group != NULL)
            w->group->last_write = NULL;
        if (g->last_removal == w)
            g->last_removal = NULL;
        tide_heap_give(g->config.heap, w);
    }
}

static uint64_t gives_up_at_ns(const struct groups *g, const struct group_write *w)
{
    return w->at_ns + (uint64_t)g->config.settings->offsets_commit_timeout_ms * TIDE_NS_PER_MS;
}

/* What waits too long for its commitment is told so; what was written may yet be committed. */
static void give_up(struct groups *g)
{
    struct group_write *w;
    struct groups_asked *a;
    while ((w = g->on_time) != NULL && gives_up_at_ns(g, w) <= g->now.now_ns) {
        g->on_time = TAILQ_NEXT(w, link);
        w->late = true;
        TAILQ_FOREACH (a, &w->answers, link)
            a->error = KAFKA_COORDINATOR_NOT_AVAILABLE;
        TAILQ_CONCAT(&g->ready, &w->answers, link);
    }
}

void groups_turn(struct groups *g, const struct tide_time *now, const struct tide_view *view)
{
    struct group_timer *t;
    g->now = *now;
    g->view = view;
    names_of_turn(g);
    if (g->phase != GROUPS_ACTIVE)
        return;
    give_up(g);
    for (unsigned i = 0; i < GROUP_TIMERS_A_TURN && (t = group_timer_due(g)) != NULL; i++) {
        if (t->kind == GROUP_TIMER_MEMBER) {
            classic_on_member_timer(g, GROUP_OF(t, struct group_member, timer));
        } else {
            struct group *group = GROUP_OF(t, struct group, classic.timer);
            group->kind->on_timer(g, group);
        }
    }
    offsets_sweep(g, now->now_ns);
    g->view = NULL;
}

uint64_t groups_deadline_ns(const struct groups *g)
{
    uint64_t at = group_timers_deadline_ns(g);
    if (g->phase != GROUPS_ACTIVE)
        return TIDE_NEVER;
    at = TIDE_MIN(at, g->sweep != NULL ? g->sweep_goes_on_ns : g->sweep_at_ns);
    if (g->on_time != NULL) {
        uint64_t late = gives_up_at_ns(g, g->on_time);
        at = TIDE_MIN(at, late);
    }
    return at;
}

void groups_resign(struct groups *g)
{
    struct group *group;
    struct group_write *w;
    struct groups_asked *a;
    g->phase = GROUPS_RESIGNED;
    TAILQ_FOREACH (w, &g->writes, link) {
        TAILQ_FOREACH (a, &w->answers, link)
            a->error = KAFKA_NOT_COORDINATOR;
        TAILQ_CONCAT(&g->ready, &w->answers, link);
    }
    while ((group = TAILQ_FIRST(&g->all)) != NULL)
        free_group(g, group);
}

void groups_gauges(const struct groups *g, struct groups_gauges *ret)
{
    *ret = g->gauges;
}

/* ---- checks --------------------------------------------------------------------------------------------------------------- */

void groups_check(const struct groups *g)
{
    const struct group *group;
    const struct group_write *w;
    const struct groups_asked *a;
    uint32_t asked = g->gauges.parked, count = 0, members = 0;
    uint64_t offsets = 0;
    int64_t end = g->committed;
    TAILQ_FOREACH (group, &g->all, all) {
        group->kind->check(g, group);
        offsets_check(g, group);
        count++;
        members += group->kind->members(group);
        offsets += group->offset_count;
        TIDE_ASSERT(group->last_write == NULL || group->last_write->group == group);
        TIDE_ASSERT(!group->pinned);
    }
    TIDE_ASSERT(count == g->gauges.groups);     /* G2 */
    TIDE_ASSERT(members == g->gauges.members);  /* G2 */
    TIDE_ASSERT(offsets == g->gauges.offsets);  /* G2 */
    TAILQ_FOREACH (w, &g->writes, link) {
        TIDE_ASSERT(g->phase == GROUPS_RESIGNED || w->end > end);
        end = w->end;
        TIDE_ASSERT(w->group == NULL || w->group->last_write == w);
        TAILQ_FOREACH (a, &w->answers, link) {
            TIDE_ASSERT(a->member == NULL); /* G3 */
            asked++;
        }
    }
    TAILQ_FOREACH (a, &g->ready, link) {
        TIDE_ASSERT(a->member == NULL); /* G3 */
        asked++;
    }
    TIDE_ASSERT(asked == g->asked_count); /* G3 */
    TIDE_ASSERT(g->texts == NULL);
    group_timers_check(g);
}

/* ---- which partition -------------------------------------------------------------------------------------------------------- */

/* The next character of UTF-8, the replacement character for what is none. */
static uint32_t next_character(const uint8_t *p, uint32_t left, uint32_t *ret_len)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t n = p[0] < 0x80 ? 1 : (p[0] & 0xe0) == 0xc0 ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : (p[0] & 0xf8) == 0xf0 ? 4 : 0;
    uint32_t c = n == 1 ? p[0] : n == 2 ? p[0] & 0x1f : n == 3 ? p[0] & 0x0f : p[0] & 0x07;
    *ret_len = 1;
    if (n == 0 || n > left)
        return 0xfffd;
    for (uint32_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0xfffd;
        c = c << 6 | (p[i] & 0x3f);
    }
    if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return 0xfffd;
    *ret_len = n;
    return c;
}

int32_t groups_partition_of(struct tide_slice id, int32_t partition_count)
{
    uint8_t bytes[INT16_MAX]; /* a string of the protocol is no longer */
    uint32_t hash = 0, len = TIDE_MIN(id.len, (uint32_t)sizeof(bytes));
    id.len = len;
    tide_slice_copy(id, bytes);
    for (uint32_t at = 0, n; at < len; at += n) {
        uint32_t c = next_character(bytes + at, len - at, &n);
        if (c >= 0x10000) {
            hash = hash * 31 + 0xd800 + ((c - 0x10000) >> 10);
            c = 0xdc00 + (c & 0x3ff);
        }
        hash = hash * 31 + c;
    }
    int32_t h = (int32_t)hash;
    return h == INT32_MIN ? 0 : (h < 0 ? -h : h) % partition_count;
}
