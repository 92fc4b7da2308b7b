/* SPDX-License-Identifier: Apache-2.0 */
/* What a consumer group knows, and how its records change it. */
#include "group/consumer.h"

#include <string.h>

#include "group/consumer_internal.h"
#include "tidemark/assert.h"

static int compare_text(const char *a, uint32_t a_len, const char *b, uint32_t b_len)
{
    int order = memcmp(a, b, TIDE_MIN(a_len, b_len));
    if (order != 0)
        return order;
    return a_len < b_len ? -1 : a_len > b_len;
}

void consumer_init(struct consumer *c, struct tide_heap *heap, const struct tide_settings *settings, struct consumer_text id)
{
    *c = (struct consumer){.heap = heap, .settings = settings, .id = id, .deadline_ns = TIDE_NEVER};
}

/* ---- sorted by a text ---------------------------------------------------------------------------- */

typedef struct consumer_text text_of(const void *);
static struct consumer_text text_of_topic(const void *at)
{
    const struct consumer_topic *t = at;
    return (struct consumer_text){t->name, t->name_len};
}
static struct consumer_text text_of_expression(const void *at)
{
    const struct consumer_expression *e = at;
    return (struct consumer_text){e->text, e->len};
}
static struct consumer_text text_of_member(const void *at) { return ((const struct consumer_member *)at)->id; }

/* Where what has that text is in an array of pointers, or would be. */
static bool find_text(const void *array, uint32_t count, text_of *of, struct consumer_text text, uint32_t *ret_at)
{
    void *const *list = array;
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        struct consumer_text there = of(list[middle]);
        int order = compare_text(there.at, there.len, text.at, text.len);
        if (order == 0) {
            *ret_at = middle;
            return true;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_at = low;
    return false;
}

/* ---- topics ------------------------------------------------------------------------------------- */

static bool find_topic(const struct consumer *c, const char *name, uint32_t len, uint32_t *ret_at)
{
    return find_text(c->topics, c->topic_count, text_of_topic, (struct consumer_text){name, len}, ret_at);
}

/* Places for `more` pointers in an array of `count` with room for `*room`. */
static bool make_room(struct tide_heap *heap, void **array, uint32_t count, uint32_t more, uint32_t *room)
{
    uint32_t wanted = *room == 0 ? 4 : *room;
    while (wanted < count + more)
        wanted *= 2;
    if (wanted == *room)
        return true;
    void **to = tide_heap_take(heap, (size_t)wanted * sizeof(*to));
    if (to == NULL)
        return false;
    if (count != 0)
        memcpy(to, *(void **)array, (size_t)count * sizeof(*to));
    tide_heap_give(heap, *(void **)array);
    *(void **)array = to;
    *room = wanted;
    return true;
}

static struct consumer_topic *new_topic(struct consumer *c, const char *name, uint32_t len)
{
    struct consumer_topic *t = tide_heap_take(c->heap, sizeof(*t) + len);
    if (t == NULL)
        return NULL;
    *t = (struct consumer_topic){.number = ASSIGN_NOBODY, .name_len = (uint16_t)len};
    memcpy(t->name, name, len);
    return t;
}

static void drop_topics(struct consumer *c, struct consumer_topic **topics, uint32_t count)
{
    uint32_t unused = 0, kept = 0;
    for (uint32_t i = 0; i < count; i++)
        unused += --topics[i]->users == 0;
    for (uint32_t i = 0; unused != 0 && i < c->topic_count; i++) {
        if (c->topics[i]->users != 0)
            c->topics[kept++] = c->topics[i];
        else
            tide_heap_give(c->heap, c->topics[i]);
    }
    if (unused != 0) {
        c->topic_count = kept;
        c->view_version = 0;
    }
    tide_heap_give(c->heap, topics);
}

static int compare_topics(const void *a, const void *b)
{
    const struct consumer_topic *x = *(struct consumer_topic *const *)a, *y = *(struct consumer_topic *const *)b;
    return compare_text(x->name, x->name_len, y->name, y->name_len);
}

/* The topics of the list, those that are new (without users) among them. False: the heap is full. */
static bool read_topics(struct consumer *c, struct wire_list list, struct consumer_topic **topics, uint32_t *ret_count)
{
    struct wire_bytes name;
    char text[TIDE_TOPIC_NAME_MAX + 1];
    while (wire_list_next_string(&list, true, &name)) {
        uint32_t at, len = wire_bytes_copy(&name, text, sizeof(text));
        if (len == 0 || len > TIDE_TOPIC_NAME_MAX)
            continue; /* no topic has such a name */
        topics[*ret_count] = find_topic(c, text, len, &at) ? c->topics[at] : new_topic(c, text, len);
        if (topics[*ret_count] == NULL)
            return false;
        ++*ret_count;
    }
    return true;
}

static void give_new(struct consumer *c, struct consumer_topic **topics, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (topics[i]->users == 0)
            tide_heap_give(c->heap, topics[i]);
    tide_heap_give(c->heap, topics);
}

/* Each once, in order. How many. */
static uint32_t sort_topics(struct consumer *c, struct consumer_topic **topics, uint32_t count)
{
    uint32_t kept = 0;
    group_sort(topics, count, sizeof(struct consumer_topic *), compare_topics);
    for (uint32_t i = 0; i < count; i++) {
        if (kept == 0 || compare_topics(&topics[kept - 1], &topics[i]) != 0)
            topics[kept++] = topics[i];
        else if (topics[i]->users == 0)
            tide_heap_give(c->heap, topics[i]); /* named twice, and made twice */
    }
    return kept;
}

/* Uses them; the new ones come among those of the group in one pass, from the end. */
static void merge_topics(struct consumer *c, struct consumer_topic **topics, uint32_t count, uint32_t fresh)
{
    uint32_t from = c->topic_count, to = from + fresh;
    c->topic_count = to;
    for (uint32_t i = count; i-- != 0;) {
        if (topics[i]->users++ != 0)
            continue;
        while (from != 0 && compare_topics(&c->topics[from - 1], &topics[i]) > 0)
            c->topics[--to] = c->topics[--from];
        c->topics[--to] = topics[i];
    }
    if (fresh != 0)
        c->view_version = 0; /* what they are is looked up next time */
}

/* Takes the topics of the list, each once, in order. */
static enum tide_status use_topics(struct consumer *c, struct wire_list list, struct consumer_topic ***ret, uint32_t *ret_count)
{
    uint32_t count = 0, fresh = 0;
    *ret = NULL;
    *ret_count = 0;
    if (list.count <= 0)
        return TIDE_OK;
    struct consumer_topic **topics = tide_heap_take(c->heap, (size_t)list.count * sizeof(*topics));
    if (topics == NULL)
        return TIDE_FULL;
    if (!read_topics(c, list, topics, &count)) {
        give_new(c, topics, count);
        return TIDE_FULL;
    }
    count = sort_topics(c, topics, count);
    for (uint32_t i = 0; i < count; i++)
        fresh += topics[i]->users == 0;
    if (!make_room(c->heap, (void **)&c->topics, c->topic_count, fresh, &c->topic_room)) {
        give_new(c, topics, count);
        return TIDE_FULL;
    }
    merge_topics(c, topics, count, fresh);
    *ret = topics;
    *ret_count = count;
    return TIDE_OK;
}

/* ---- regular expressions -------------------------------------------------------------------------- */

static bool find_expression(const struct consumer *c, struct consumer_text text, uint32_t *ret_at)
{
    return find_text(c->expressions, c->expression_count, text_of_expression, text, ret_at);
}

struct consumer_expression *consumer_find_expression(const struct consumer *c, struct consumer_text text)
{
    uint32_t at;
    return find_expression(c, text, &at) ? c->expressions[at] : NULL;
}

/* NULL: the heap is full. */
static struct consumer_expression *make_expression(struct consumer *c, struct consumer_text text)
{
    uint32_t at;
    if (find_expression(c, text, &at))
        return c->expressions[at];
    struct consumer_expression *e = tide_heap_take(c->heap, sizeof(*e) + text.len);
    if (e == NULL)
        return NULL;
    if (!make_room(c->heap, (void **)&c->expressions, c->expression_count, 1, &c->expression_room)) {
        tide_heap_give(c->heap, e);
        return NULL;
    }
    *e = (struct consumer_expression){.len = text.len};
    memcpy(e->text, text.at, text.len);
    memmove(c->expressions + at + 1, c->expressions + at, (c->expression_count - at) * sizeof(struct consumer_expression *));
    c->expressions[at] = e;
    c->expression_count++;
    c->expressions_at_ns = 0;
    return e;
}

/* When nobody uses it, and nothing durable is left of it. */
static void drop_expression(struct consumer *c, struct consumer_expression *e)
{
    uint32_t at;
    c->expressions_at_ns = 0;
    if (e->users != 0 || e->resolved)
        return;
    TIDE_ASSERT(find_expression(c, (struct consumer_text){e->text, e->len}, &at));
    if (c->resolution != NULL && consumer_resolution_is_of(c->resolution, e))
        consumer_resolution_end(c);
    c->expression_count--;
    memmove(c->expressions + at, c->expressions + at + 1, (c->expression_count - at) * sizeof(struct consumer_expression *));
    tide_heap_give(c->heap, e);
}

static void clear_expression(struct consumer *c, struct consumer_expression *e)
{
    c->changes++;
    drop_topics(c, e->topics, e->topic_count);
    e->topics = NULL;
    e->topic_count = 0;
    e->resolved = false;
    e->looked_version = 0;
    drop_expression(c, e);
}

/* ---- who has a partition -------------------------------------------------------------------------- */

static uint32_t owner_hash(const struct tide_uuid *topic, int32_t partition)
{
    uint64_t a, b;
    memcpy(&a, topic->bytes, 8);
    memcpy(&b, topic->bytes + 8, 8);
    uint64_t h = (a ^ b ^ (uint64_t)(uint32_t)partition * 0x9e3779b97f4a7c15ull) * 0xbf58476d1ce4e5b9ull;
    return (uint32_t)(h >> 32);
}

/* The place of a partition, or an empty one. The table is never full. */
static uint32_t owner_at(const struct consumer *c, const struct tide_uuid *topic, int32_t partition)
{
    uint32_t at = owner_hash(topic, partition);
    for (;; at++) {
        const struct consumer_owner *o = &c->owners[at & (c->owner_room - 1)];
        if (o->member == NULL || (o->partition == partition && tide_uuid_equal(&o->topic, topic)))
            return at & (c->owner_room - 1);
    }
}

struct consumer_member *consumer_owner_of(const struct consumer *c, const struct tide_uuid *topic, int32_t partition)
{
    return c->owner_room == 0 ? NULL : c->owners[owner_at(c, topic, partition)].member;
}

static enum tide_status owners_reserve(struct consumer *c, uint32_t more)
{
    uint32_t room = c->owner_room == 0 ? 16 : c->owner_room;
    while (room / 2 < c->owner_count + more)
        room *= 2;
    if (room == c->owner_room)
        return TIDE_OK;
    struct consumer_owner *from = c->owners, *to = tide_heap_take(c->heap, (size_t)room * sizeof(*to));
    if (to == NULL)
        return TIDE_FULL;
    uint32_t old = c->owner_room;
    c->owners = to;
    c->owner_room = room;
    for (uint32_t i = 0; i < old; i++)
        if (from[i].member != NULL)
            to[owner_at(c, &from[i].topic, from[i].partition)] = from[i];
    tide_heap_give(c->heap, from);
    return TIDE_OK;
}

/* The last record counts. */
static void owners_add(struct consumer *c, const struct partition_set *s, struct consumer_member *m)
{
    for (uint32_t i = 0; i < s->count; i++) {
        struct consumer_owner *o = &c->owners[owner_at(c, &s->at[i].topic, s->at[i].partition)];
        c->owner_count += o->member == NULL;
        c->contradictions += o->member != NULL;
        *o = (struct consumer_owner){.topic = s->at[i].topic, .partition = s->at[i].partition, .member = m};
    }
}

static void owners_remove(struct consumer *c, const struct partition_set *s, const struct consumer_member *m)
{
    uint32_t mask = c->owner_room - 1;
    for (uint32_t i = 0; i < s->count; i++) {
        uint32_t hole = owner_at(c, &s->at[i].topic, s->at[i].partition);
        if (c->owners[hole].member != m)
            continue;
        c->owner_count--;
        c->owners[hole].member = NULL;
        /* Whoever was pushed behind the hole moves into it. */
        for (uint32_t at = (hole + 1) & mask; c->owners[at].member != NULL; at = (at + 1) & mask) {
            uint32_t home = owner_hash(&c->owners[at].topic, c->owners[at].partition) & mask;
            if (((at - home) & mask) < ((at - hole) & mask))
                continue;
            c->owners[hole] = c->owners[at];
            c->owners[at].member = NULL;
            hole = at;
        }
    }
}

/* ---- members -------------------------------------------------------------------------------------- */

static bool find_member(const struct consumer *c, struct consumer_text id, uint32_t *ret_at)
{
    return find_text(c->members, c->member_count, text_of_member, id, ret_at);
}

struct consumer_member *consumer_find(const struct consumer *c, struct consumer_text id)
{
    uint32_t at;
    return find_member(c, id, &at) ? c->members[at] : NULL;
}

struct consumer_member *consumer_find_instance(const struct consumer *c, struct consumer_text instance)
{
    for (uint32_t i = 0; i < c->member_count; i++)
        if (c->members[i]->has_metadata && c->members[i]->instance.at != NULL && consumer_text_equal(c->members[i]->instance, instance))
            return c->members[i];
    return NULL;
}

static struct consumer_member *make_member(struct consumer *c, struct consumer_text id)
{
    uint32_t at;
    if (find_member(c, id, &at))
        return c->members[at];
    struct consumer_member *m = tide_heap_take(c->heap, sizeof(*m) + id.len + 1);
    if (m == NULL)
        return NULL;
    if (!make_room(c->heap, (void **)&c->members, c->member_count, 1, &c->member_room)) {
        tide_heap_give(c->heap, m);
        return NULL;
    }
    memcpy(m->id_text, id.at, id.len);
    m->id = (struct consumer_text){m->id_text, id.len};
    m->session_deadline_ns = m->revoke_deadline_ns = m->classic_deadline_ns = TIDE_NEVER;
    m->number = ASSIGN_NOBODY;
    memmove(c->members + at + 1, c->members + at, (c->member_count - at) * sizeof(struct consumer_member *));
    c->members[at] = m;
    c->member_count++;
    return m;
}

/* When nothing durable is left of it. */
static void drop_member(struct consumer *c, struct consumer_member *m)
{
    uint32_t at;
    c->changes++;
    if (m->has_metadata || m->has_target || m->has_current)
        return;
    TIDE_ASSERT(find_member(c, m->id, &at));
    if (c->run != NULL)
        consumer_run_forget(c->run, m);
    c->member_count--;
    memmove(c->members + at, c->members + at + 1, (c->member_count - at) * sizeof(struct consumer_member *));
    tide_heap_give(c->heap, m);
}

static void clear_metadata(struct consumer *c, struct consumer_member *m)
{
    drop_topics(c, m->topics, m->topic_count);
    tide_heap_give(c->heap, m->texts);
    tide_heap_give(c->heap, m->classic);
    c->classic_count -= m->classic != NULL;
    m->classic = NULL;
    if (m->expression != NULL) {
        m->expression->users--;
        drop_expression(c, m->expression);
    }
    m->expression = NULL;
    m->topics = NULL;
    m->topic_count = 0;
    m->texts = NULL;
    m->instance = m->rack = m->client_id = m->client_host = m->assignor = (struct consumer_text){0};
    m->has_metadata = false;
}

static void clear_current(struct consumer *c, struct consumer_member *m)
{
    owners_remove(c, &m->assigned, m);
    owners_remove(c, &m->revoking, m);
    partition_set_free(&m->assigned, c->heap);
    partition_set_free(&m->revoking, c->heap);
    m->epoch = m->previous_epoch = 0;
    m->state = CONSUMER_STABLE;
    m->has_current = false;
}

void consumer_deinit(struct consumer *c)
{
    consumer_run_end(c);
    consumer_resolution_end(c);
    while (c->member_count != 0) {
        struct consumer_member *m = c->members[c->member_count - 1];
        clear_metadata(c, m);
        clear_current(c, m);
        partition_set_free(&m->target, c->heap);
        m->has_target = false;
        drop_member(c, m);
    }
    while (c->expression_count != 0)
        clear_expression(c, c->expressions[c->expression_count - 1]);
    TIDE_ASSERT(c->topic_count == 0);
    tide_heap_give(c->heap, c->expressions);
    tide_heap_give(c->heap, c->members);
    tide_heap_give(c->heap, c->topics);
    tide_heap_give(c->heap, c->owners);
    consumer_init(c, c->heap, c->settings, c->id);
}

/* ---- records -------------------------------------------------------------------------------------- */

static enum tide_status apply_group(struct consumer *c, struct wire_cursor *value, int16_t version)
{
    struct consumer_group_metadata_value v = {0};
    if (value != NULL && (!consumer_group_metadata_value_read(value, version, &v) || v.epoch < 0 || v.epoch == INT32_MAX))
        return TIDE_BAD; /* epochs of ours are not so many */
    c->epoch = v.epoch;
    c->metadata_hash = v.metadata_hash;
    return TIDE_OK;
}

static enum tide_status apply_target_epoch(struct consumer *c, struct wire_cursor *value, int16_t version)
{
    struct consumer_group_target_assignment_metadata_value v = {0};
    if (value != NULL && (!consumer_group_target_assignment_metadata_value_read(value, version, &v) || v.assignment_epoch < 0))
        return TIDE_BAD;
    c->assignment_epoch = v.assignment_epoch;
    c->assignment_ms = v.assignment_timestamp;
    return TIDE_OK;
}

static void copy_text(const struct wire_bytes *from, char **at, struct consumer_text *ret)
{
    *ret = (struct consumer_text){0};
    if (from->null)
        return;
    *ret = (struct consumer_text){*at, from->at.len};
    tide_slice_copy(from->at, *at);
    *at += from->at.len + 1;
}

/* NULL: the heap is full. */
static struct group_protocols *take_protocols(struct consumer *c, struct wire_list list)
{
    enum { V = 0 };
    struct consumer_group_member_metadata_value_protocol in;
    uint32_t len = 0;
    for (struct wire_list l = list; consumer_group_member_metadata_value_protocol_next(&l, V, &in);)
        len += protocol_bytes(&in.name, &in.metadata);
    struct group_protocols *p = tide_heap_take(c->heap, sizeof(*p) + len);
    if (p == NULL)
        return NULL;
    *p = (struct group_protocols){.count = (uint32_t)TIDE_MAX(list.count, 0), .len = len};
    uint8_t *to = p->at;
    while (consumer_group_member_metadata_value_protocol_next(&list, V, &in))
        to = protocol_put(to, &in.name, &in.metadata);
    return p;
}

/* NULL: the heap is full. */
static struct consumer_expression *use_expression(struct consumer *c, const struct wire_bytes *from)
{
    char text[CONSUMER_TEXT_MAX + 1];
    struct consumer_expression *e = make_expression(c, (struct consumer_text){text, wire_bytes_copy(from, text, sizeof(text))});
    if (e != NULL)
        e->users++;
    return e;
}

static enum tide_status apply_metadata(struct consumer *c, struct consumer_text id, struct wire_cursor *value, int16_t version)
{
    struct consumer_group_member_metadata_value v;
    struct consumer_topic **topics;
    struct group_protocols *classic = NULL;
    struct consumer_expression *expression = NULL;
    uint32_t topic_count;
    if (value == NULL) {
        struct consumer_member *gone = consumer_find(c, id);
        if (gone != NULL) {
            clear_metadata(c, gone);
            drop_member(c, gone);
        }
        return TIDE_OK;
    }
    if (!consumer_group_member_metadata_value_read(value, version, &v) || v.subscribed_topic_regex.at.len > CONSUMER_TEXT_MAX)
        return TIDE_BAD;
    size_t bytes = (size_t)v.instance_id.at.len + v.rack_id.at.len + v.client_id.at.len + v.client_host.at.len +
                   v.server_assignor.at.len + 5;
    char *texts = tide_heap_take(c->heap, bytes), *at = texts;
    if (texts == NULL)
        return TIDE_FULL;
    if (v.has_classic && (classic = take_protocols(c, v.classic.supported_protocols)) == NULL)
        goto full;
    if (v.subscribed_topic_regex.at.len != 0 && (expression = use_expression(c, &v.subscribed_topic_regex)) == NULL)
        goto full;
    if (use_topics(c, v.subscribed_topic_names, &topics, &topic_count) != TIDE_OK)
        goto full;
    struct consumer_member *m = make_member(c, id);
    if (m == NULL) {
        drop_topics(c, topics, topic_count);
        goto full;
    }
    c->changes++;
    clear_metadata(c, m);
    m->has_metadata = true;
    m->texts = texts;
    m->classic = classic;
    m->classic_session_ms = TIDE_MAX(v.classic.session_timeout_ms, 1);
    c->classic_count += classic != NULL;
    m->topics = topics;
    m->topic_count = topic_count;
    m->expression = expression;
    m->rebalance_timeout_ms = v.rebalance_timeout_ms;
    copy_text(&v.instance_id, &at, &m->instance);
    copy_text(&v.rack_id, &at, &m->rack);
    copy_text(&v.client_id, &at, &m->client_id);
    copy_text(&v.client_host, &at, &m->client_host);
    copy_text(&v.server_assignor, &at, &m->assignor);
    return TIDE_OK;

full:
    if (expression != NULL) {
        expression->users--;
        drop_expression(c, expression);
    }
    tide_heap_give(c->heap, classic);
    tide_heap_give(c->heap, texts);
    return TIDE_FULL;
}

static enum tide_status apply_target(struct consumer *c, struct consumer_text id, struct wire_cursor *value, int16_t version)
{
    struct consumer_group_target_assignment_member_value v;
    struct consumer_group_target_assignment_member_value_topic_partition topic;
    struct partition_set set;
    struct wire_list list;
    uint32_t count = 0;
    int32_t partition;
    if (value == NULL) {
        struct consumer_member *gone = consumer_find(c, id);
        if (gone != NULL) {
            partition_set_free(&gone->target, c->heap);
            gone->has_target = false;
            drop_member(c, gone);
        }
        return TIDE_OK;
    }
    if (!consumer_group_target_assignment_member_value_read(value, version, &v))
        return TIDE_BAD;
    for (list = v.topic_partitions; consumer_group_target_assignment_member_value_topic_partition_next(&list, version, &topic);)
        count += (uint32_t)TIDE_MAX(topic.partitions.count, 0);
    if (partition_set_make(&set, c->heap, count) != TIDE_OK)
        return TIDE_FULL;
    struct consumer_member *m = make_member(c, id);
    if (m == NULL) {
        partition_set_free(&set, c->heap);
        return TIDE_FULL;
    }
    uint32_t n = 0;
    for (list = v.topic_partitions; consumer_group_target_assignment_member_value_topic_partition_next(&list, version, &topic);)
        while (wire_list_next_i32(&topic.partitions, &partition))
            set.at[n++] = (struct group_partition){.topic = topic.topic_id, .partition = partition};
    c->changes++;
    partition_set_sort(&set);
    partition_set_free(&m->target, c->heap);
    m->target = set;
    m->has_target = true;
    return TIDE_OK;
}

/* Both lists of a CurrentMemberAssignment have the same form. */
static enum tide_status read_current(struct consumer *c, struct wire_list topics, int16_t version, int32_t epoch, struct partition_set *ret)
{
    struct consumer_group_current_member_assignment_value_topic_partitions topic;
    struct wire_list list;
    uint32_t count = 0, n = 0;
    for (list = topics; consumer_group_current_member_assignment_value_topic_partitions_next(&list, version, &topic);)
        count += (uint32_t)TIDE_MAX(topic.partitions.count, 0);
    if (partition_set_make(ret, c->heap, count) != TIDE_OK)
        return TIDE_FULL;
    for (list = topics; consumer_group_current_member_assignment_value_topic_partitions_next(&list, version, &topic);) {
        struct group_partition p = {.topic = topic.topic_id, .epoch = epoch};
        while (wire_list_next_i32(&topic.partitions, &p.partition)) {
            (void)wire_list_next_i32(&topic.assignment_epochs, &p.epoch);
            ret->at[n++] = p;
        }
    }
    partition_set_sort(ret);
    return TIDE_OK;
}

static enum tide_status apply_current(struct consumer *c, struct consumer_text id, struct wire_cursor *value, int16_t version)
{
    struct consumer_group_current_member_assignment_value v;
    struct partition_set assigned, revoking;
    struct consumer_member *m;
    if (value == NULL) {
        m = consumer_find(c, id);
        if (m != NULL) {
            clear_current(c, m);
            drop_member(c, m);
        }
        return TIDE_OK;
    }
    if (!consumer_group_current_member_assignment_value_read(value, version, &v))
        return TIDE_BAD;
    if (read_current(c, v.assigned_partitions, version, v.member_epoch, &assigned) != TIDE_OK)
        return TIDE_FULL;
    if (read_current(c, v.partitions_pending_revocation, version, v.member_epoch, &revoking) != TIDE_OK)
        goto full_assigned;
    if (owners_reserve(c, assigned.count + revoking.count) != TIDE_OK)
        goto full_revoking;
    m = make_member(c, id);
    if (m == NULL)
        goto full_revoking;
    clear_current(c, m);
    m->has_current = true;
    m->epoch = v.member_epoch;
    m->previous_epoch = v.previous_member_epoch;
    m->state = v.state >= CONSUMER_STABLE && v.state <= CONSUMER_UNRELEASED ? (enum consumer_state)v.state : CONSUMER_UNKNOWN;
    m->assigned = assigned;
    m->revoking = revoking;
    owners_add(c, &m->assigned, m);
    owners_add(c, &m->revoking, m);
    return TIDE_OK;

full_revoking:
    partition_set_free(&revoking, c->heap);
full_assigned:
    partition_set_free(&assigned, c->heap);
    return TIDE_FULL;
}

static enum tide_status apply_expression(struct consumer *c, struct consumer_text text, struct wire_cursor *value, int16_t version)
{
    struct consumer_group_regular_expression_value v;
    struct consumer_topic **topics;
    uint32_t topic_count;
    if (value == NULL) {
        struct consumer_expression *gone = consumer_find_expression(c, text);
        if (gone != NULL)
            clear_expression(c, gone);
        return TIDE_OK;
    }
    if (!consumer_group_regular_expression_value_read(value, version, &v))
        return TIDE_BAD;
    struct consumer_expression *e = make_expression(c, text);
    if (e == NULL)
        return TIDE_FULL;
    if (use_topics(c, v.topics, &topics, &topic_count) != TIDE_OK) {
        drop_expression(c, e);
        return TIDE_FULL;
    }
    c->changes++;
    drop_topics(c, e->topics, e->topic_count);
    e->topics = topics;
    e->topic_count = topic_count;
    e->resolved = true;
    return TIDE_OK;
}

/* A version that is not known is not understood. */
static bool read_version(struct wire_cursor *value, int16_t *ret)
{
    *ret = 0;
    if (value == NULL)
        return true;
    *ret = wire_get_i16(value);
    return !value->failed && *ret == 0;
}

enum tide_status consumer_apply(struct consumer *c, int16_t type, struct wire_cursor *key, struct wire_cursor *value)
{
    struct consumer_group_metadata_key group_key;
    struct consumer_group_member_key member_key;
    struct consumer_group_regular_expression_key expression_key;
    char id[CONSUMER_TEXT_MAX + 1];
    int16_t version;
    if (!read_version(value, &version))
        return TIDE_BAD;
    if (type == CONSUMER_GROUP_METADATA || type == CONSUMER_TARGET_METADATA) {
        if (!consumer_group_metadata_key_read(key, 0, &group_key))
            return TIDE_BAD;
        return type == CONSUMER_GROUP_METADATA ? apply_group(c, value, version) : apply_target_epoch(c, value, version);
    }
    if (type == CONSUMER_REGEX) {
        if (!consumer_group_regular_expression_key_read(key, 0, &expression_key) || expression_key.regular_expression.at.len > CONSUMER_TEXT_MAX)
            return TIDE_BAD;
        return apply_expression(c, (struct consumer_text){id, wire_bytes_copy(&expression_key.regular_expression, id, sizeof(id))}, value, version);
    }
    if (type != CONSUMER_MEMBER_METADATA && type != CONSUMER_TARGET_MEMBER && type != CONSUMER_CURRENT)
        return TIDE_BAD;
    if (!consumer_group_member_key_read(key, 0, &member_key))
        return TIDE_BAD;
    uint32_t len = wire_bytes_copy(&member_key.member_id, id, sizeof(id));
    if (len > CONSUMER_TEXT_MAX)
        return TIDE_BAD;
    struct consumer_text member = {id, len};
    if (type == CONSUMER_MEMBER_METADATA)
        return apply_metadata(c, member, value, version);
    return type == CONSUMER_TARGET_MEMBER ? apply_target(c, member, value, version) : apply_current(c, member, value, version);
}

/* ---- questions of others ---------------------------------------------------------------------------- */

static bool has_name(struct consumer_topic *const *topics, uint32_t count, const char *name, uint32_t len)
{
    uint32_t at;
    return find_text(topics, count, text_of_topic, (struct consumer_text){name, len}, &at);
}

static bool wants(const struct consumer_member *m, const char *name, uint32_t len)
{
    const struct consumer_expression *e = m->expression;
    return has_name(m->topics, m->topic_count, name, len) || (e != NULL && has_name(e->topics, e->topic_count, name, len));
}

bool consumer_member_names(const struct consumer_member *m, const struct consumer_topic *t) { return has_name(m->topics, m->topic_count, t->name, t->name_len); }

struct consumer_topic *consumer_subscription_next(struct consumer_subscription *s)
{
    const struct consumer_member *m = s->member;
    const struct consumer_expression *e = m->expression;
    bool has_named = s->named < m->topic_count, has_matched = e != NULL && s->matched < e->topic_count;
    if (!has_named && !has_matched)
        return NULL;
    int order = !has_matched ? -1 : !has_named ? 1 : compare_topics(&m->topics[s->named], &e->topics[s->matched]);
    struct consumer_topic *t = order <= 0 ? m->topics[s->named] : e->topics[s->matched];
    s->named += order <= 0;
    s->matched += order >= 0;
    return t;
}

bool consumer_subscribes(const struct consumer_member *m, const struct tide_view *view, const struct tide_uuid *id)
{
    const struct view_topic *t = tide_view_topic_by_id(view, id);
    return t != NULL && wants(m, t->name, t->name_len);
}

struct consumer_topic *consumer_find_topic(const struct consumer *c, const char *name, uint32_t len)
{
    uint32_t at;
    return find_topic(c, name, len, &at) ? c->topics[at] : NULL;
}

bool consumer_wants(const struct consumer *c, struct consumer_text topic)
{
    uint32_t at;
    return find_topic(c, topic.at, topic.len, &at);
}

bool consumer_is_nothing(const struct consumer *c)
{
    return c->member_count == 0 && c->epoch == 0 && c->assignment_epoch == 0 && c->expression_count == 0;
}

const char *consumer_state_name(const struct consumer *c)
{
    if (c->member_count == 0)
        return "Empty";
    if (c->epoch > c->assignment_epoch)
        return "Assigning";
    for (uint32_t i = 0; i < c->member_count; i++)
        if (c->members[i]->state != CONSUMER_STABLE || c->members[i]->epoch != c->assignment_epoch)
            return "Reconciling";
    return "Stable";
}

static void mix(uint64_t *h, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    for (size_t i = 0; i < len; i++)
        *h = (*h ^ p[i]) * 0x100000001b3ull;
}

static int64_t hash_topic(const struct view_topic *t)
{
    uint64_t h = 0xcbf29ce484222325ull;
    if (t == NULL || t->partition_count == 0)
        return 0;
    mix(&h, t->name, t->name_len);
    mix(&h, &t->id, sizeof(t->id));
    mix(&h, &t->partition_count, sizeof(t->partition_count));
    return (int64_t)(h ^ h >> 29);
}

int64_t consumer_topic_hash(const struct tide_view *view, const char *name, uint32_t len)
{
    return hash_topic(tide_view_topic(view, name, len));
}

/* The hash is a sum, so that what it will be with other topics is told without them. */
bool consumer_look(struct consumer *c, const struct tide_view *view)
{
    if (c->view_version != view->version || c->view_version == 0) {
        uint64_t hash = 0;
        for (uint32_t i = 0; i < c->topic_count; i++) {
            struct consumer_topic *t = c->topics[i];
            const struct view_topic *found = tide_view_topic(view, t->name, t->name_len);
            t->partitions = found != NULL ? found->partition_count : 0;
            t->id = found != NULL ? found->id : (struct tide_uuid){0};
            hash += (uint64_t)hash_topic(found);
        }
        c->view_hash = (int64_t)hash;
        c->view_version = view->version;
    }
    return c->view_hash != c->metadata_hash;
}

static void check_owned(const struct consumer *c, const struct partition_set *s, const struct consumer_member *m, uint32_t *found)
{
    partition_set_check(s);
    for (uint32_t i = 0; i < s->count; i++) {
        const struct consumer_member *owner = consumer_owner_of(c, &s->at[i].topic, s->at[i].partition);
        if (c->contradictions == 0)
            TIDE_ASSERT(owner == m); /* C1 */
        *found += owner == m;
    }
}

void consumer_check(const struct consumer *c)
{
    uint32_t owned = 0, uses = 0, counted = 0, classic = 0, expressions = 0;
    for (uint32_t i = 0; i < c->member_count; i++) {
        const struct consumer_member *m = c->members[i];
        TIDE_ASSERT(m->has_metadata || m->has_target || m->has_current);
        TIDE_ASSERT(i == 0 || compare_text(c->members[i - 1]->id.at, c->members[i - 1]->id.len, m->id.at, m->id.len) < 0); /* C2 */
        for (uint32_t t = 1; t < m->topic_count; t++)
            TIDE_ASSERT(compare_topics(&m->topics[t - 1], &m->topics[t]) < 0); /* C2 */
        uses += m->topic_count;
        expressions += m->expression != NULL;
        classic += m->classic != NULL;
        check_owned(c, &m->assigned, m, &owned);
        check_owned(c, &m->revoking, m, &owned);
        partition_set_check(&m->target);
    }
    for (uint32_t i = 0; i < c->expression_count; i++) {
        const struct consumer_expression *e = c->expressions[i];
        TIDE_ASSERT(i == 0 || compare_text(c->expressions[i - 1]->text, c->expressions[i - 1]->len, e->text, e->len) < 0); /* C2 */
        TIDE_ASSERT(e->users != 0 || e->resolved);                                                                         /* C2 */
        TIDE_ASSERT(e->resolved || e->topic_count == 0);
        for (uint32_t t = 1; t < e->topic_count; t++)
            TIDE_ASSERT(compare_topics(&e->topics[t - 1], &e->topics[t]) < 0); /* C2 */
        uses += e->topic_count;
        expressions -= e->users;
    }
    TIDE_ASSERT(expressions == 0); /* C2 */
    for (uint32_t i = 0; i < c->topic_count; i++) {
        TIDE_ASSERT(i == 0 || compare_topics(&c->topics[i - 1], &c->topics[i]) < 0); /* C2 */
        TIDE_ASSERT(c->topics[i]->users != 0);
        counted += c->topics[i]->users;
    }
    TIDE_ASSERT(uses == counted); /* C2 */
    TIDE_ASSERT(classic == c->classic_count);
    TIDE_ASSERT(c->contradictions != 0 || owned == c->owner_count); /* C1 */
    TIDE_ASSERT(c->owner_count <= c->owner_room / 2);
}
