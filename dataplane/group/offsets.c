/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Committed offsets (kafka-protocol 9.4). A commit first makes room for all it will need, then appends, then applies; so
 * nothing that was appended can fail to be applied.
 *
 * Timer: every offsets.retention.check.interval.ms, and whenever the view has changed, all groups are gone through, a bounded number of offsets a
 * turn: what is expired or belongs to a topic that is gone gets its tombstone.
 */
#include "group/internal.h"

#include "tidemark/mutant.h"

enum { OFFSETS_AT_FIRST = 4, VALUE_VERSION = 3, VALUE_VERSION_EXPIRES = 1, VALUE_VERSION_TOPIC_ID = 4 };

/* ---- the tables ------------------------------------------------------------------------------------------- */

static struct group_topic *find_topic(const struct groups *g, const struct group *group, const struct wire_bytes *name)
{
    uint64_t hash = group_hash_slice(g, group->node.hash, name->at);
    for (struct group_node *n = group_table_first(&g->topics, hash); n != NULL; n = n->next) {
        struct group_topic *t = GROUP_OF(n, struct group_topic, node);
        if (n->hash == hash && t->group == group && group_text_is(t->name, name))
            return t;
    }
    return NULL;
}

struct group_topic *offsets_find_topic(const struct groups *g, const struct group *group, const void *name, uint32_t len)
{
    uint64_t hash = group_hash_bytes(g, group->node.hash, name, len);
    for (struct group_node *n = group_table_first(&g->topics, hash); n != NULL; n = n->next) {
        struct group_topic *t = GROUP_OF(n, struct group_topic, node);
        if (n->hash == hash && t->group == group && t->name->len == len && memcmp(t->name->at, name, len) == 0)
            return t;
    }
    return NULL;
}

static struct group_topic *add_topic(struct groups *g, struct group *group, const struct wire_bytes *name)
{
    struct group_topic *t = tide_heap_take(g->config.heap, sizeof(*t));
    if (t == NULL)
        return NULL;
    t->name = tide_heap_take(g->config.heap, sizeof(*t->name) + name->at.len);
    if (t->name == NULL) {
        tide_heap_give(g->config.heap, t);
        return NULL;
    }
    t->name->len = name->at.len;
    tide_slice_copy(name->at, t->name->at);
    t->group = group;
    group_table_put(&g->topics, &t->node, group_hash_slice(g, group->node.hash, name->at));
    TAILQ_INSERT_TAIL(&group->topics, t, in_group);
    return t;
}

static void free_topic(struct groups *g, struct group_topic *t)
{
    TAILQ_REMOVE(&t->group->topics, t, in_group);
    group_table_remove(&g->topics, &t->node);
    tide_heap_give(g->config.heap, t->offsets);
    group_text_give(g, t->name);
    tide_heap_give(g->config.heap, t);
}

/* Where the partition is, or would be. */
static uint32_t place_of(const struct group_topic *t, int32_t partition)
{
    uint32_t low = 0, high = t->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (t->offsets[middle].partition < partition)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct group_offset *find_offset(const struct group_topic *t, int32_t partition)
{
    uint32_t at = place_of(t, partition);
    return at < t->count && t->offsets[at].partition == partition ? &t->offsets[at] : NULL;
}

/* Room for an offset, which is not there yet. NULL: the heap is full. */
static struct group_offset *make_room(struct groups *g, struct group *group, const struct wire_bytes *name, int32_t partition)
{
    struct group_topic *t = find_topic(g, group, name);
    struct group_offset *o;
    uint32_t at;
    if (t == NULL)
        t = add_topic(g, group, name);
    if (t == NULL)
        return NULL;
    if ((o = find_offset(t, partition)) != NULL)
        return o;
    if (t->count == t->room) {
        uint32_t room = t->room == 0 ? OFFSETS_AT_FIRST : 2 * t->room;
        struct group_offset *more = tide_heap_take(g->config.heap, room * sizeof(*more));
        if (more == NULL)
            return NULL;
        if (t->count != 0)
            memcpy(more, t->offsets, t->count * sizeof(*more));
        tide_heap_give(g->config.heap, t->offsets);
        t->offsets = more;
        t->room = room;
    }
    at = place_of(t, partition);
    memmove(&t->offsets[at + 1], &t->offsets[at], (t->count - at) * sizeof(*o));
    t->count++;
    t->offsets[at] = (struct group_offset){.offset = -1, .partition = partition, .expire_ms = -1, .leader_epoch = -1};
    return &t->offsets[at];
}

static void remove_offset(struct groups *g, struct group_topic *t, struct group_offset *o)
{
    uint32_t at = (uint32_t)(o - t->offsets);
    if (o->offset >= 0) {
        t->group->offset_count--;
        g->gauges.offsets--;
    }
    group_text_give(g, o->metadata);
    memmove(o, o + 1, (t->count - at - 1) * sizeof(*o));
    if (--t->count == 0)
        free_topic(g, t);
}

/* Takes rooms back in which nothing came to be. */
static void prune(struct groups *g, struct group *group, const struct wire_list *topics, int16_t v)
{
    struct wire_list l = *topics;
    struct offset_commit_request_topic t;
    struct offset_commit_request_partition p;
    while (offset_commit_request_topic_next(&l, v, &t))
        while (offset_commit_request_partition_next(&t.partitions, v, &p)) {
            struct group_topic *topic = find_topic(g, group, &t.name);
            struct group_offset *o = topic != NULL ? find_offset(topic, p.partition_index) : NULL;
            if (o != NULL && o->offset < 0)
                remove_offset(g, topic, o);
            else if (topic != NULL && topic->count == 0)
                free_topic(g, topic);
        }
}

void offsets_drop(struct groups *g, struct group *group)
{
    struct group_topic *t;
    while ((t = TAILQ_FIRST(&group->topics)) != NULL) {
        for (uint32_t i = 0; i < t->count; i++) {
            group_text_give(g, t->offsets[i].metadata);
            if (t->offsets[i].offset >= 0)
                g->gauges.offsets--;
        }
        free_topic(g, t);
    }
    group->offset_count = 0;
}

/* ---- records ------------------------------------------------------------------------------------------------ */

static void put_key(struct groups *g, struct wire_writer *key, const struct group *group, const char *topic, uint32_t topic_len, int32_t partition)
{
    group_key_begin(g, key, GROUP_RECORD_OFFSET);
    offset_commit_key_put_group(key, 0, group->id->at, group->id->len);
    offset_commit_key_put_topic(key, 0, topic, topic_len);
    offset_commit_key_put_partition(key, 0, partition);
    offset_commit_key_end(key, 0);
}

static enum tide_status replay_one(struct groups *g, struct wire_cursor *key, struct offset_commit_key *ret)
{
    if (!offset_commit_key_read(key, 0, ret) || ret->partition < 0)
        return TIDE_BAD;
    return TIDE_OK;
}

static enum tide_status apply_tombstone(struct groups *g, const struct offset_commit_key *key)
{
    struct group *group = groups_find(g, &key->group);
    struct group_topic *t = group != NULL ? find_topic(g, group, &key->topic) : NULL;
    struct group_offset *o = t != NULL ? find_offset(t, key->partition) : NULL;
    if (o == NULL)
        return TIDE_OK;
    remove_offset(g, t, o);
    group_settle(g, group);
    return TIDE_OK;
}

static enum tide_status apply_offset(struct groups *g, const struct offset_commit_key *key, const struct offset_commit_value *v)
{
    struct group *group = groups_find(g, &key->group);
    struct group_offset *o;
    struct group_text *metadata = NULL;
    if (v->offset < 0)
        return TIDE_BAD;
    if (group == NULL && (group = groups_add(g, &key->group)) == NULL)
        return TIDE_FULL;
    if (v->metadata.at.len != 0 && (metadata = group_text_take(g, v->metadata.at)) == NULL)
        return TIDE_FULL;
    o = make_room(g, group, &key->topic, key->partition);
    if (o == NULL) {
        group_text_give(g, metadata);
        return TIDE_FULL;
    }
    if (o->offset < 0) {
        group->offset_count++;
        g->gauges.offsets++;
    }
    group_text_give(g, o->metadata);
    *o = (struct group_offset){.offset = v->offset, .commit_ms = v->commit_timestamp, .expire_ms = v->expire_timestamp,
                               .partition = key->partition, .leader_epoch = v->leader_epoch, .topic_id = v->topic_id, .metadata = metadata};
    return TIDE_OK;
}

enum tide_status offsets_replay(struct groups *g, struct wire_cursor *key, struct wire_cursor *value)
{
    struct offset_commit_key k;
    struct offset_commit_value in;
    int16_t v;
    if (replay_one(g, key, &k) != TIDE_OK)
        return TIDE_BAD;
    if (value == NULL)
        return apply_tombstone(g, &k);
    v = wire_get_i16(value);
    if (v < OFFSET_COMMIT_VALUE_LOW || v > OFFSET_COMMIT_VALUE_HIGH || !offset_commit_value_read(value, v, &in))
        return TIDE_BAD;
    return apply_offset(g, &k, &in);
}

enum tide_status offsets_replay_legacy(struct groups *g, struct wire_cursor *key, struct wire_cursor *value)
{
    struct offset_commit_key k;
    struct legacy_offset_commit_value in;
    if (replay_one(g, key, &k) != TIDE_OK)
        return TIDE_BAD;
    if (value == NULL)
        return apply_tombstone(g, &k);
    if (wire_get_i16(value) != 0 || !legacy_offset_commit_value_read(value, 0, &in))
        return TIDE_BAD;
    return apply_offset(g, &k, &(struct offset_commit_value){.offset = in.offset, .metadata = in.metadata, .commit_timestamp = in.commit_timestamp,
                                                             .leader_epoch = -1, .expire_timestamp = -1});
}

uint32_t offsets_put_tombstones(struct groups *g, struct group *group, struct group_batch *b, uint32_t max)
{
    const struct group_topic *t;
    uint32_t n = 0;
    TAILQ_FOREACH (t, &group->topics, in_group)
        for (uint32_t i = t->count; i-- != 0 && n < max;) { /* from the end: what is behind one that goes has to move */
            struct wire_writer key;
            if (t->offsets[i].offset < 0)
                continue;
            put_key(g, &key, group, t->name->at, t->name->len, t->offsets[i].partition);
            group_batch_put(b, &key, NULL);
            n++;
        }
    return n;
}

/* ---- OffsetCommit ------------------------------------------------------------------------------------------- */

struct commit {
    struct offset_commit_request in;
    const struct groups_question *q;
    struct groups_asked *a;
    struct group *group;
    struct group_batch batch;
    uint64_t fresh; /* offsets that were not there */
    bool full;      /* no memory for one */
};

static const struct view_topic *topic_in_view(const struct groups *g, const struct wire_bytes *name)
{
    char text[TIDE_TOPIC_NAME_MAX + 1];
    if (name->at.len > TIDE_TOPIC_NAME_MAX || g->view == NULL)
        return NULL;
    (void)wire_bytes_copy(name, text, sizeof(text));
    return tide_view_topic(g->view, text, name->at.len);
}

static void put_value(struct commit *c, struct wire_writer *w, const struct offset_commit_request_partition *p, const struct view_topic *topic,
                      int64_t expire_ms)
{
    int16_t v = expire_ms >= 0 ? VALUE_VERSION_EXPIRES : tide_uuid_is_zero(&topic->id) ? VALUE_VERSION : VALUE_VERSION_TOPIC_ID;
    wire_put_i16(w, v);
    offset_commit_value_put_offset(w, v, p->committed_offset);
    offset_commit_value_put_leader_epoch(w, v, p->committed_leader_epoch);
    if (p->committed_metadata.null)
        offset_commit_value_put_metadata(w, v, "", 0);
    else
        offset_commit_value_put_metadata_slice(w, v, &p->committed_metadata);
    offset_commit_value_put_commit_timestamp(w, v, c->batch.now_ms);
    offset_commit_value_put_expire_timestamp(w, v, expire_ms);
    offset_commit_value_end(w, v, &(struct offset_commit_value_tags){.has_topic_id = true, .topic_id = topic->id});
}

/* One partition: into the batch, with room for it, or an error. */
static int16_t commit_one(struct groups *g, struct commit *c, const struct wire_bytes *name, const struct view_topic *topic,
                          const struct offset_commit_request_partition *p)
{
    struct wire_writer key, value;
    struct group_offset *o;
    int64_t retention = c->in.retention_time_ms;
    if (topic == NULL || tide_view_partition(topic, p->partition_index) == NULL)
        return KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    if (p->committed_metadata.at.len > g->config.settings->offset_metadata_max_bytes)
        return KAFKA_OFFSET_METADATA_TOO_LARGE;
    if (p->committed_offset < 0)
        return KAFKA_INVALID_REQUEST; /* there is no such offset, and -1 is read as none */
    o = make_room(g, c->group, name, p->partition_index);
    if (o == NULL || (p->committed_metadata.at.len != 0 && !group_text_prepare(g, p->committed_metadata.at))) {
        c->full = true;
        return KAFKA_COORDINATOR_NOT_AVAILABLE;
    }
    c->fresh += o->offset < 0;
    if (c->group->offset_count + c->fresh > (uint64_t)g->config.settings->group_offsets_max) {
        c->full = true;
        return KAFKA_COORDINATOR_NOT_AVAILABLE;
    }
    put_key(g, &key, c->group, topic->name, topic->name_len, p->partition_index);
    wire_writer_init(&value, g->config.pool);
    put_value(c, &value, p, topic, retention < 0 ? -1 : retention > INT64_MAX - c->batch.now_ms ? INT64_MAX : c->batch.now_ms + retention);
    group_batch_put(&c->batch, &key, &value);
    return 0;
}

static bool write_commit(struct groups *g, struct commit *c)
{
    struct wire_list topics = c->in.topics;
    struct offset_commit_request_topic t;
    struct offset_commit_request_partition p;
    struct wire_writer w;
    int16_t v = c->q->version;
    wire_writer_init(&w, g->config.pool);
    offset_commit_response_put_throttle_time_ms(&w, v, 0);
    offset_commit_response_open_topics(&w, v, topics.count);
    while (offset_commit_request_topic_next(&topics, v, &t)) {
        const struct view_topic *topic = topic_in_view(g, &t.name);
        offset_commit_response_topic_put_name_slice(&w, v, &t.name);
        offset_commit_response_topic_open_partitions(&w, v, t.partitions.count);
        while (offset_commit_request_partition_next(&t.partitions, v, &p)) {
            offset_commit_response_partition_put_partition_index(&w, v, p.partition_index);
            offset_commit_response_partition_put_error_code(&w, v, commit_one(g, c, &t.name, topic, &p));
            offset_commit_response_partition_end(&w, v);
        }
        offset_commit_response_topic_end(&w, v);
    }
    offset_commit_response_end(&w, v);
    return asked_body(c->a, &w);
}

static bool few_enough(const struct offset_commit_request *in, int16_t v)
{
    struct wire_list topics = in->topics;
    struct offset_commit_request_topic t;
    int64_t n = 0;
    while (offset_commit_request_topic_next(&topics, v, &t))
        n += 1 + t.partitions.count;
    return n <= GROUP_ITEMS_MAX;
}

/* All that was made ready is gone or used afterwards. */
static enum tide_status commit(struct groups *g, struct commit *c)
{
    enum tide_status status = TIDE_OK;
    int16_t error = 0;
    group_batch_begin(g, &c->batch);
    if (!write_commit(g, c)) {
        group_batch_abandon(g, &c->batch);
        return TIDE_FULL;
    }
    if (c->full || c->batch.count == 0) {
        error = c->full ? KAFKA_COORDINATOR_NOT_AVAILABLE : 0; /* all or nothing */
        group_batch_abandon(g, &c->batch);
    } else {
        status = group_write(g, c->group, &c->batch, &error);
    }
    if (status != TIDE_OK) {
        tide_rope_clear(&c->a->body);
        c->a->written = false;
        return status;
    }
    c->a->error = error;
    asked_finish(g, c->group, c->a);
    return TIDE_OK;
}

static int16_t check_commit(struct groups *g, struct commit *c)
{
    if (c->in.group_id.at.len == 0)
        return KAFKA_INVALID_GROUP_ID;
    if (c->group != NULL)
        return c->group->kind->check_commit(g, c->group, c->q->version, &c->in);
    if (c->in.generation_id_or_member_epoch >= 0)
        return c->q->version >= 9 ? KAFKA_GROUP_ID_NOT_FOUND : KAFKA_ILLEGAL_GENERATION;
    c->group = groups_add(g, &c->in.group_id); /* of somebody who only commits */
    return c->group == NULL ? KAFKA_COORDINATOR_NOT_AVAILABLE : 0;
}

enum tide_status offsets_on_commit(struct groups *g, const struct groups_question *q, struct groups_asked *a)
{
    struct commit c = {.q = q, .a = a};
    struct wire_cursor cursor = q->body;
    enum tide_status status;
    int16_t error;
    if (!offset_commit_request_read(&cursor, q->version, &c.in) || !few_enough(&c.in, q->version))
        return TIDE_BAD;
    c.group = groups_find(g, &c.in.group_id);
    error = check_commit(g, &c);
    if (error != 0)
        return asked_refuse(g, c.group, a, q, error);
    c.group->pinned = true;
    status = commit(g, &c);
    prune(g, c.group, &c.in.topics, q->version);
    c.group->pinned = false;
    group_settle(g, c.group);
    return status;
}

/* ---- OffsetFetch ---------------------------------------------------------------------------------------------- */

/* A topic that was made anew under its name has no offsets yet. */
static bool is_of(const struct group_offset *o, const struct view_topic *topic)
{
    return topic == NULL || tide_uuid_is_zero(&o->topic_id) || tide_uuid_is_zero(&topic->id) || tide_uuid_equal(&o->topic_id, &topic->id);
}

static void put_offset(struct wire_writer *w, int16_t v, int32_t partition, const struct group_offset *o)
{
    bool there = o != NULL && o->offset >= 0;
    const char *metadata = there && o->metadata != NULL ? o->metadata->at : "";
    uint32_t len = there && o->metadata != NULL ? o->metadata->len : 0;
    if (v >= 8) {
        offset_fetch_response_partitions_put_partition_index(w, v, partition);
        offset_fetch_response_partitions_put_committed_offset(w, v, there ? o->offset : -1);
        offset_fetch_response_partitions_put_committed_leader_epoch(w, v, there ? o->leader_epoch : -1);
        offset_fetch_response_partitions_put_metadata(w, v, metadata, len);
        offset_fetch_response_partitions_put_error_code(w, v, 0);
        offset_fetch_response_partitions_end(w, v);
        return;
    }
    offset_fetch_response_partition_put_partition_index(w, v, partition);
    offset_fetch_response_partition_put_committed_offset(w, v, there ? o->offset : -1);
    offset_fetch_response_partition_put_committed_leader_epoch(w, v, there ? o->leader_epoch : -1);
    offset_fetch_response_partition_put_metadata(w, v, metadata, len);
    offset_fetch_response_partition_put_error_code(w, v, 0);
    offset_fetch_response_partition_end(w, v);
}

static void open_topics(struct wire_writer *w, int16_t v, int32_t count)
{
    if (v >= 8)
        offset_fetch_response_group_open_topics(w, v, count);
    else
        offset_fetch_response_open_topics(w, v, count);
}

static void open_topic(struct wire_writer *w, int16_t v, const struct wire_bytes *name, const struct group_text *text, int32_t partitions)
{
    if (name != NULL && v >= 8)
        offset_fetch_response_topics_put_name_slice(w, v, name);
    else if (name != NULL)
        offset_fetch_response_topic_put_name_slice(w, v, name);
    else if (v >= 8)
        put_text(w, offset_fetch_response_topics_put_name, v, text);
    else
        put_text(w, offset_fetch_response_topic_put_name, v, text);
    if (v >= 8)
        offset_fetch_response_topics_open_partitions(w, v, partitions);
    else
        offset_fetch_response_topic_open_partitions(w, v, partitions);
}

static void end_topic(struct wire_writer *w, int16_t v)
{
    if (v >= 8)
        offset_fetch_response_topics_end(w, v);
    else
        offset_fetch_response_topic_end(w, v);
}

/* Both shapes of a request's topic are a name and a list of partitions. */
static bool next_asked(struct wire_list *topics, int16_t v, struct wire_bytes *ret_name, struct wire_list *ret_partitions)
{
    struct offset_fetch_request_topic t;
    struct offset_fetch_request_topics ts;
    if (v >= 8 && offset_fetch_request_topics_next(topics, v, &ts)) {
        *ret_name = ts.name;
        *ret_partitions = ts.partition_indexes;
        return true;
    }
    if (v < 8 && offset_fetch_request_topic_next(topics, v, &t)) {
        *ret_name = t.name;
        *ret_partitions = t.partition_indexes;
        return true;
    }
    return false;
}

static void write_asked(struct groups *g, const struct group *group, struct wire_list topics, int16_t v, struct wire_writer *w)
{
    struct wire_bytes name;
    struct wire_list partitions;
    int32_t p;
    open_topics(w, v, topics.count);
    while (next_asked(&topics, v, &name, &partitions)) {
        const struct group_topic *t = group != NULL ? find_topic(g, group, &name) : NULL;
        const struct view_topic *topic = topic_in_view(g, &name);
        open_topic(w, v, &name, NULL, partitions.count);
        while (wire_list_next_i32(&partitions, &p)) {
            const struct group_offset *o = t != NULL ? find_offset(t, p) : NULL;
            put_offset(w, v, p, o != NULL && is_of(o, topic) ? o : NULL);
        }
        end_topic(w, v);
    }
}

static bool is_shown(const struct groups *g, const struct group_topic *t, uint32_t i)
{
    const struct view_topic *topic = g->view != NULL ? tide_view_topic(g->view, t->name->at, t->name->len) : NULL;
    return t->offsets[i].offset >= 0 && is_of(&t->offsets[i], topic);
}

static int32_t shown(const struct groups *g, const struct group_topic *t)
{
    int32_t n = 0;
    for (uint32_t i = 0; i < t->count; i++)
        n += is_shown(g, t, i);
    return n;
}

static void write_all(struct groups *g, const struct group *group, int16_t v, struct wire_writer *w)
{
    const struct group_topic *t;
    int32_t topics = 0;
    if (group != NULL)
        TAILQ_FOREACH (t, &group->topics, in_group)
            topics += shown(g, t) != 0;
    open_topics(w, v, topics);
    if (group == NULL)
        return;
    TAILQ_FOREACH (t, &group->topics, in_group) {
        int32_t partitions = shown(g, t);
        if (partitions == 0)
            continue;
        open_topic(w, v, NULL, t->name, partitions);
        for (uint32_t i = 0; i < t->count; i++)
            if (is_shown(g, t, i))
                put_offset(w, v, t->offsets[i].partition, &t->offsets[i]);
        end_topic(w, v);
    }
}

static bool fetch_is_bounded(struct wire_list topics, int16_t v)
{
    struct wire_bytes name;
    struct wire_list partitions;
    int64_t n = 0;
    while (next_asked(&topics, v, &name, &partitions))
        n += 1 + partitions.count;
    return n <= GROUP_ITEMS_MAX;
}

enum tide_status offsets_on_fetch(struct groups *g, const struct groups_question *q, struct groups_asked *a)
{
    struct offset_fetch_request in;
    struct offset_fetch_request_group element = {.member_epoch = -1, .member_id = {.null = true}};
    struct wire_cursor cursor = q->body;
    struct wire_writer w;
    int16_t v = q->version;
    int16_t error = 0;
    if (!offset_fetch_request_read(&cursor, v, &in) || (v >= 8 && (q->element < 0 || q->element >= in.groups.count)))
        return TIDE_BAD;
    element.group_id = in.group_id;
    element.topics = in.topics;
    for (int32_t i = 0; v >= 8 && i <= q->element; i++)
        (void)offset_fetch_request_group_next(&in.groups, v, &element);
    if (!fetch_is_bounded(element.topics, v))
        return TIDE_BAD;
    struct group *group = groups_find(g, &element.group_id);
    if (element.group_id.at.len == 0)
        error = KAFKA_INVALID_GROUP_ID;
    else if (group != NULL)
        error = group->kind->check_fetch(g, group, &element.member_id, element.member_epoch);
    if (error != 0)
        return asked_refuse(g, group, a, q, error);
    wire_writer_init(&w, g->config.pool);
    if (v >= 8)
        offset_fetch_response_group_put_group_id_slice(&w, v, &element.group_id);
    else
        offset_fetch_response_put_throttle_time_ms(&w, v, 0);
    if (element.topics.count < 0)
        write_all(g, group, v, &w);
    else
        write_asked(g, group, element.topics, v, &w);
    if (v >= 8) {
        offset_fetch_response_group_put_error_code(&w, v, 0);
        offset_fetch_response_group_end(&w, v);
    } else {
        offset_fetch_response_put_error_code(&w, v, 0);
        offset_fetch_response_end(&w, v);
    }
    if (!asked_body(a, &w))
        return TIDE_FULL;
    a->elements = 1;
    asked_finish(g, group, a);
    return TIDE_OK;
}

/* ---- OffsetDelete ---------------------------------------------------------------------------------------------- */

/* `t` is what the group has of the topic, or NULL. */
static int16_t delete_one(struct groups *g, struct group *group, struct group_batch *b, const struct group_topic *t, const struct view_topic *topic,
                          int32_t partition)
{
    struct wire_writer key;
    if (topic == NULL && t == NULL)
        return KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    if (t == NULL || find_offset(t, partition) == NULL)
        return topic == NULL || tide_view_partition(topic, partition) == NULL ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION : 0;
    if (t->subscribed)
        return KAFKA_GROUP_SUBSCRIBED_TO_TOPIC;
    put_key(g, &key, group, t->name->at, t->name->len, partition);
    group_batch_put(b, &key, NULL);
    return 0;
}

static bool write_delete(struct groups *g, struct group *group, struct wire_list topics, struct group_batch *b, struct groups_asked *a)
{
    struct offset_delete_request_topic t;
    struct offset_delete_request_partition p;
    struct wire_writer w;
    group->kind->mark_subscribed(g, group);
    wire_writer_init(&w, g->config.pool);
    offset_delete_response_put_error_code(&w, 0, 0);
    offset_delete_response_put_throttle_time_ms(&w, 0, 0);
    offset_delete_response_open_topics(&w, 0, topics.count);
    while (offset_delete_request_topic_next(&topics, 0, &t)) {
        const struct group_topic *there = find_topic(g, group, &t.name);
        const struct view_topic *topic = topic_in_view(g, &t.name);
        offset_delete_response_topic_put_name_slice(&w, 0, &t.name);
        offset_delete_response_topic_open_partitions(&w, 0, t.partitions.count);
        while (offset_delete_request_partition_next(&t.partitions, 0, &p)) {
            offset_delete_response_partition_put_partition_index(&w, 0, p.partition_index);
            offset_delete_response_partition_put_error_code(&w, 0, delete_one(g, group, b, there, topic, p.partition_index));
            offset_delete_response_partition_end(&w, 0);
        }
        offset_delete_response_topic_end(&w, 0);
    }
    offset_delete_response_end(&w, 0);
    return asked_body(a, &w);
}

enum tide_status offsets_on_delete(struct groups *g, const struct groups_question *q, struct groups_asked *a)
{
    struct offset_delete_request in;
    struct offset_delete_request_topic t;
    struct wire_cursor cursor = q->body;
    struct wire_list topics;
    struct group_batch b;
    struct group *group;
    enum tide_status status = TIDE_OK;
    int64_t n = 0;
    int16_t error;
    if (!offset_delete_request_read(&cursor, q->version, &in))
        return TIDE_BAD;
    topics = in.topics;
    while (offset_delete_request_topic_next(&topics, 0, &t))
        n += 1 + t.partitions.count;
    if (n > GROUP_ITEMS_MAX)
        return TIDE_BAD;
    group = groups_find(g, &in.group_id);
    error = group == NULL ? KAFKA_GROUP_ID_NOT_FOUND : group->kind->check_delete_offsets(group);
    if (error != 0)
        return asked_refuse(g, group, a, q, error);
    group_batch_begin(g, &b);
    if (!write_delete(g, group, in.topics, &b, a)) {
        group_batch_abandon(g, &b);
        return TIDE_FULL;
    }
    group->pinned = true;
    if (b.count == 0)
        group_batch_abandon(g, &b);
    else
        status = group_write(g, group, &b, &error);
    group->pinned = false;
    if (status != TIDE_OK) {
        tide_rope_clear(&a->body);
        a->written = false;
        return status;
    }
    a->error = error;
    asked_finish(g, group, a);
    group_settle(g, group);
    return TIDE_OK;
}

/* ---- expiry, topics that are gone --------------------------------------------------------------------------------- */

static bool is_gone(const struct groups *g, const struct view_topic *topic, const struct group_offset *o)
{
    return g->view != NULL && (topic == NULL || !is_of(o, topic));
}

static bool is_expired(const struct groups *g, const struct group *group, const struct group_offset *o)
{
    int64_t from, retention = g->config.settings->offsets_retention_minutes * 60000;
    if (!group->kind->age_from(group, o, &from))
        return false;
    if (o->expire_ms >= 0)
        return g->now.wall_ms >= o->expire_ms;
    return from <= g->now.wall_ms - retention; /* what a record says may be any number */
}

/* Tombstones for what has no right to be here. What members subscribe to is looked at when something is old enough. */
static uint32_t put_outdated(struct groups *g, struct group *group, struct group_batch *b)
{
    const struct group_topic *t;
    uint32_t n = 0;
    bool marked = false;
    TAILQ_FOREACH (t, &group->topics, in_group) {
        const struct view_topic *topic = g->view != NULL ? tide_view_topic(g->view, t->name->at, t->name->len) : NULL;
        for (uint32_t i = t->count; i-- != 0 && n < GROUP_TOMBSTONES_A_BATCH;) { /* from the end, as above */
            const struct group_offset *o = &t->offsets[i];
            struct wire_writer key;
            bool gone = is_gone(g, topic, o);
            if (!gone && !is_expired(g, group, o))
                continue;
            if (!gone && !marked)
                group->kind->mark_subscribed(g, group);
            marked |= !gone;
            if (!gone && t->subscribed && !MUTANT(GROUP_EXPIRY))
                continue;
            put_key(g, &key, group, t->name->at, t->name->len, o->partition);
            group_batch_put(b, &key, NULL);
            n++;
        }
    }
    return n;
}

/* False: no room to write now; the sweep stays here. */
static bool sweep_group(struct groups *g, struct group *group)
{
    struct group_batch b;
    uint32_t outdated;
    int16_t error = 0;
    group_batch_begin(g, &b);
    outdated = put_outdated(g, group, &b);
    if (outdated == group->offset_count && group->durable && group->kind->is_empty(group) && !g->sweep_for_topics)
        group->kind->put_tombstones(g, group, &b);
    if (b.count == 0) {
        group_batch_abandon(g, &b);
        g->sweep = TAILQ_NEXT(group, all);
        return true;
    }
    group->pinned = true;
    bool wrote = group_write(g, group, &b, &error) == TIDE_OK && error == 0;
    group->pinned = false;
    if (wrote && outdated < GROUP_TOMBSTONES_A_BATCH)
        g->sweep = TAILQ_NEXT(group, all);
    group_settle(g, group);
    return wrote;
}

void offsets_sweep(struct groups *g, uint64_t now_ns)
{
    uint64_t looked_at = 0;
    bool due = now_ns >= g->sweep_at_ns;
    if (g->sweep == NULL && (due || (g->view != NULL && g->view->version != g->swept_view))) {
        g->sweep = TAILQ_FIRST(&g->all);
        g->sweep_for_topics = !due;
        g->sweep_goes_on_ns = now_ns;
        g->swept_view = g->view != NULL ? g->view->version : 0;
        if (due)
            g->sweep_at_ns = group_after_ms(g, g->config.settings->offsets_retention_check_interval_ms);
    }
    if (g->sweep == NULL || now_ns < g->sweep_goes_on_ns)
        return;
    while (g->sweep != NULL && looked_at < GROUP_SWEEP_A_TURN) {
        looked_at += 16 + g->sweep->offset_count;
        if (!sweep_group(g, g->sweep)) {
            g->sweep_goes_on_ns = group_after_ms(g, GROUP_RETRY_MS);
            return;
        }
    }
}

void offsets_check(const struct groups *g, const struct group *group)
{
    const struct group_topic *t;
    uint64_t n = 0;
    TAILQ_FOREACH (t, &group->topics, in_group) {
        TIDE_ASSERT(t->group == group);
        TIDE_ASSERT(t->count != 0);
        TIDE_ASSERT(t->count <= t->room);
        for (uint32_t i = 0; i < t->count; i++) {
            TIDE_ASSERT(t->offsets[i].offset >= 0);
            TIDE_ASSERT(i == 0 || t->offsets[i - 1].partition < t->offsets[i].partition);
        }
        n += t->count;
    }
    TIDE_ASSERT(n == group->offset_count);
}
