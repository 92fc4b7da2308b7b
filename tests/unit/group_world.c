/* SPDX-License-Identifier: Apache-2.0 */
#include "group_world.h"

#include "kafka/batch.h"
#include "settings/settings.h"

static enum tide_status append(void *context, struct tide_slice batch, int64_t *ret_end, int16_t *ret_error)
{
    struct group_world *w = context;
    struct batch_header h;
    w->appends++;
    if (w->log != LOG_TAKES && w->takes == 0) {
        *ret_error = w->log_error;
        return w->log == LOG_IS_FULL ? TIDE_FULL : TIDE_OK;
    }
    if (w->takes != 0)
        w->takes--;
    assert_true(batch_header_read(batch, &h));
    assert_int_equal(batch_size(&h), batch.len);
    assert_int_equal(h.crc, batch_crc(batch));
    struct batch_walk walk;
    batch_walk_records(batch, &h, &(struct batch_walk_limits){.refuse_null_keys = true}, &walk);
    assert_int_equal(walk.error, 0);
    assert_true(w->batch_count < GROUP_WORLD_BATCHES);
    w->batches[w->batch_count].bytes = malloc(batch.len);
    w->batches[w->batch_count].len = batch.len;
    tide_slice_copy(batch, w->batches[w->batch_count].bytes);
    w->batch_count++;
    w->log_end += h.record_count;
    *ret_end = w->log_end;
    *ret_error = 0;
    return TIDE_OK;
}

static struct groups *create(struct group_world *w)
{
    struct groups *g = groups_create(&(struct groups_config){.partition = 7, .settings = &w->settings, .heap = w->heap, .pool = w->pool,
                                                             .log = {.context = w, .append = append}, .seed = 42});
    assert_non_null(g);
    return g;
}

void group_world_topics(struct group_world *w, const char *const *names, const uint8_t *ids, uint32_t count)
{
    static const struct view_partition partitions[GROUP_WORLD_PARTITIONS];
    memset(w->topics, 0, sizeof(w->topics));
    memset(w->by_name, 0, sizeof(w->by_name));
    memset(w->by_id, 0, sizeof(w->by_id));
    for (uint32_t i = 0; i < count; i++) {
        struct view_topic *t = &w->topics[i];
        t->id.bytes[0] = ids[i];
        t->name_len = (uint16_t)strlen(names[i]);
        memcpy(t->name, names[i], t->name_len);
        t->partition_count = GROUP_WORLD_PARTITIONS;
        t->partitions = partitions;
    }
    tide_view_index(w->topics, count, 4 * GROUP_WORLD_TOPICS, w->by_name, w->by_id);
    w->view = (struct tide_view){.version = w->view.version + 1, .topic_count = count, .topics = w->topics, .hash_mask = 4 * GROUP_WORLD_TOPICS - 1,
                                 .by_name = w->by_name, .by_id = w->by_id};
}

void group_world_open(struct group_world *w)
{
    static struct rte_mempool *pool;
    unit_eal();
    memset(w, 0, sizeof(*w));
    if (pool == NULL)
        pool = unit_pool("groups", 8191, 1024);
    w->pool = pool;
    settings_defaults(&w->settings);
    w->settings.group_initial_rebalance_delay_ms = 0;
    w->heap = tide_heap_create(16 << 20);
    w->now = (struct tide_time){.now_ns = 1000 * TIDE_NS_PER_S, .wall_ms = 1700000000000};
    w->commits = true;
    group_world_topics(w, (const char *const[]){"events", "other"}, (const uint8_t[]){1, 2}, 2);
    w->g = create(w);
    groups_loaded(w->g, &w->now, 0);
}

void group_world_close(struct group_world *w)
{
    (void)group_world_has(w, 0);
    for (uint32_t i = 0; i < w->answer_count; i++)
        tide_rope_clear(&w->answers[i].body);
    groups_destroy(w->g);
    for (uint32_t i = 0; i < w->batch_count; i++)
        free(w->batches[i].bytes);
    tide_heap_check(w->heap);
    assert_int_equal(tide_heap_free_bytes(w->heap), tide_heap_bytes(w->heap));
    tide_heap_destroy(w->heap);
    assert_int_equal(rte_mempool_in_use_count(w->pool), 0);
}

static void feed(struct group_world *w, struct groups *g, uint32_t i)
{
    struct tide_rope r = {0};
    for (uint32_t at = 0; at < w->batches[i].len; at += 700) {
        uint32_t left = w->batches[i].len - at;
        tide_rope_push(&r, unit_exact_mbuf(w->pool, w->batches[i].bytes + at, (uint16_t)(left < 700 ? left : 700)));
    }
    assert_int_equal(groups_replay(g, &w->now, tide_rope_slice(&r, 0, r.len)), TIDE_OK);
    tide_rope_clear(&r);
}

struct groups *group_world_replay(struct group_world *w, const uint32_t *order, uint32_t count)
{
    struct groups *g = create(w);
    for (uint32_t i = 0; i < count; i++)
        feed(w, g, order != NULL ? order[i] : i);
    groups_check(g);
    return g;
}

void group_world_reload(struct group_world *w)
{
    groups_resign(w->g);
    (void)group_world_has(w, 0);
    groups_destroy(w->g);
    w->g = group_world_replay(w, NULL, w->batch_count);
    groups_loaded(w->g, &w->now, w->log_end);
    groups_check(w->g);
}

void group_world_commit(struct group_world *w)
{
    groups_on_committed(w->g, &w->now, w->log_end);
    groups_check(w->g);
}

void group_world_pass(struct group_world *w, int64_t ms)
{
    uint64_t until = w->now.now_ns + (uint64_t)ms * TIDE_NS_PER_MS;
    for (;;) {
        uint64_t at = groups_deadline_ns(w->g);
        if (at < w->now.now_ns)
            at = w->now.now_ns;
        if (at > until)
            break;
        w->now.wall_ms += (int64_t)((at - w->now.now_ns) / TIDE_NS_PER_MS);
        w->now.now_ns = at;
        groups_turn(w->g, &w->now, &w->view);
        groups_check(w->g);
        if (w->commits)
            group_world_commit(w);
    }
    w->now.wall_ms += (int64_t)((until - w->now.now_ns) / TIDE_NS_PER_MS);
    w->now.now_ns = until;
    groups_turn(w->g, &w->now, &w->view);
    if (w->commits)
        group_world_commit(w);
}

/* ---- what is known for good ---- */

struct lines {
    char *at[20000];
    uint32_t count;
};

static void line(struct lines *l, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    assert_true(l->count < 20000);
    assert_true(vasprintf(&l->at[l->count++], format, args) >= 0);
    va_end(args);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

#define TEXT(t) (t) == NULL ? 4 : (int)(t)->len, (t) == NULL ? "null" : (t)->at

char *group_world_durable(struct group_world *w, struct groups *g)
{
    static struct lines l;
    const struct group *group;
    const struct group_topic *t;
    const struct group_member *m;
    size_t len = 1;
    l.count = 0;
    TAILQ_FOREACH (group, &g->all, all) {
        const struct classic *c = &group->classic;
        TAILQ_FOREACH (t, &group->topics, in_group)
            for (uint32_t i = 0; i < t->count; i++) {
                const struct group_offset *o = &t->offsets[i];
                line(&l, "%.*s/%.*s/%d: %lld epoch %d at %lld until %lld id %d \"%.*s\"", TEXT(group->id), TEXT(t->name), o->partition,
                     (long long)o->offset, o->leader_epoch, (long long)o->commit_ms, (long long)o->expire_ms, o->topic_id.bytes[0], TEXT(o->metadata));
            }
        if (!group->durable || c->state == CLASSIC_PREPARING || c->state == CLASSIC_COMPLETING)
            continue;
        line(&l, "%.*s: %s of %.*s, generation %d, %.*s, led by %.*s, since %lld", TEXT(group->id), group->kind->state(group), TEXT(c->protocol_type),
             c->generation, TEXT(c->protocol), TEXT(c->leader != NULL ? c->leader->id : NULL), (long long)c->state_ms);
        TAILQ_FOREACH (m, &c->members, in_group)
            line(&l, "%.*s has %.*s (%.*s) %.*s@%.*s %d %d: %.*s", TEXT(group->id), TEXT(m->id), TEXT(m->instance), TEXT(m->client_id),
                 TEXT(m->client_host), m->session_ms, m->rebalance_ms, TEXT(m->assignment));
    }
    qsort(l.at, l.count, sizeof(l.at[0]), by_text);
    for (uint32_t i = 0; i < l.count; i++)
        len += strlen(l.at[i]) + 1;
    char *all = calloc(1, len), *end = all;
    for (uint32_t i = 0; i < l.count; i++) {
        end = stpcpy(stpcpy(end, l.at[i]), "\n");
        free(l.at[i]);
    }
    return all;
}

/* ---- asking ---- */

void group_world_begin(struct group_world *w, struct wire_writer *writer)
{
    wire_writer_init(writer, w->pool);
}

static enum tide_status ask(struct group_world *w, int16_t api, int16_t v, int32_t element, uintptr_t cookie, struct wire_writer *body, const char *client)
{
    struct groups_question q = {.api_key = api, .version = v, .element = element, .client_id = client, .client_host = "/10.0.0.1", .view = &w->view,
                                .cookie = COOKIE(cookie)};
    enum tide_status status;
    assert_false(body->failed);
    wire_cursor_init(&q.body, tide_rope_slice(&body->out, 0, body->out.len));
    status = groups_ask(w->g, &w->now, &q);
    wire_writer_abandon(body);
    groups_check(w->g);
    if (w->commits)
        group_world_commit(w);
    return status;
}

enum tide_status group_world_ask(struct group_world *w, int16_t api, int16_t v, int32_t element, uintptr_t cookie, struct wire_writer *body)
{
    return ask(w, api, v, element, cookie, body, "client");
}

bool group_world_has(struct group_world *w, uintptr_t cookie)
{
    while (w->answer_count < GROUP_WORLD_ANSWERS && groups_next_answer(w->g, &w->answers[w->answer_count]))
        w->answer_count++;
    for (uint32_t i = 0; i < w->answer_count; i++)
        if (w->answers[i].cookie == COOKIE(cookie))
            return true;
    return false;
}

uint32_t group_world_waiting(struct group_world *w)
{
    (void)group_world_has(w, 0);
    return w->answer_count;
}

struct groups_answer group_world_take(struct group_world *w, uintptr_t cookie)
{
    assert_true(group_world_has(w, cookie));
    for (uint32_t i = 0;; i++)
        if (w->answers[i].cookie == COOKIE(cookie)) {
            struct groups_answer a = w->answers[i];
            w->answers[i] = w->answers[--w->answer_count];
            return a;
        }
}

static uint32_t len_of(const char *text)
{
    return text == NULL ? 0 : (uint32_t)strlen(text);
}

enum tide_status group_world_join(struct group_world *w, uintptr_t cookie, const struct join_ask *j)
{
    struct wire_writer b;
    int32_t count = 0;
    const char *type = j->type == NULL ? "consumer" : j->type, *member = j->member == NULL ? "" : j->member;
    while (count < 4 && j->protocols[count] != NULL)
        count++;
    group_world_begin(w, &b);
    join_group_request_put_group_id(&b, j->v, j->group, len_of(j->group));
    join_group_request_put_session_timeout_ms(&b, j->v, j->session_ms == 0 ? 10000 : j->session_ms);
    join_group_request_put_rebalance_timeout_ms(&b, j->v, j->rebalance_ms == 0 ? 60000 : j->rebalance_ms);
    join_group_request_put_member_id(&b, j->v, member, len_of(member));
    join_group_request_put_group_instance_id(&b, j->v, j->instance, len_of(j->instance));
    join_group_request_put_protocol_type(&b, j->v, type, len_of(type));
    join_group_request_open_protocols(&b, j->v, count == 0 ? 1 : count);
    for (int32_t i = 0; i < (count == 0 ? 1 : count); i++) {
        const char *name = count == 0 ? "range" : j->protocols[i], *metadata = j->metadata[i] == NULL ? "m" : j->metadata[i];
        join_group_request_protocol_put_name(&b, j->v, name, len_of(name));
        join_group_request_protocol_put_metadata(&b, j->v, metadata, len_of(metadata));
        join_group_request_protocol_end(&b, j->v);
    }
    join_group_request_put_reason(&b, j->v, NULL, 0);
    join_group_request_end(&b, j->v);
    return ask(w, KAFKA_API_JOIN_GROUP, j->v, -1, cookie, &b, j->client == NULL ? "client" : j->client);
}

void group_world_joined(struct group_world *w, uintptr_t cookie, int16_t v, struct join_got *ret)
{
    struct groups_answer a = group_world_take(w, cookie);
    struct join_group_response in;
    struct join_group_response_member m;
    struct wire_cursor c;
    memset(ret, 0, sizeof(*ret));
    wire_cursor_init(&c, tide_rope_slice(&a.body, 0, a.body.len));
    assert_true(join_group_response_read(&c, v, &in));
    ret->error = in.error_code;
    ret->generation = in.generation_id;
    ret->skip = in.skip_assignment;
    ret->members = in.members.count;
    (void)wire_bytes_copy(&in.protocol_type, ret->type, GROUP_WORLD_NAME);
    (void)wire_bytes_copy(&in.protocol_name, ret->protocol, GROUP_WORLD_NAME);
    (void)wire_bytes_copy(&in.leader, ret->leader, GROUP_WORLD_NAME);
    (void)wire_bytes_copy(&in.member_id, ret->member, GROUP_WORLD_NAME);
    for (int32_t i = 0; join_group_response_member_next(&in.members, v, &m) && i < GROUP_WORLD_MEMBERS; i++) {
        (void)wire_bytes_copy(&m.member_id, ret->ids[i], GROUP_WORLD_NAME);
        (void)wire_bytes_copy(&m.metadata, ret->metadata[i], sizeof(ret->metadata[i]));
    }
    tide_rope_clear(&a.body);
}

enum tide_status group_world_sync(struct group_world *w, uintptr_t cookie, const struct sync_ask *s)
{
    struct wire_writer b;
    int32_t count = 0;
    while (count < 8 && s->to[count] != NULL)
        count++;
    group_world_begin(w, &b);
    sync_group_request_put_group_id(&b, s->v, s->group, len_of(s->group));
    sync_group_request_put_generation_id(&b, s->v, s->generation);
    sync_group_request_put_member_id(&b, s->v, s->member, len_of(s->member));
    sync_group_request_put_group_instance_id(&b, s->v, s->instance, len_of(s->instance));
    sync_group_request_put_protocol_type(&b, s->v, s->type, len_of(s->type));
    sync_group_request_put_protocol_name(&b, s->v, s->protocol, len_of(s->protocol));
    sync_group_request_open_assignments(&b, s->v, count);
    for (int32_t i = 0; i < count; i++) {
        sync_group_request_assignment_put_member_id(&b, s->v, s->to[i], len_of(s->to[i]));
        sync_group_request_assignment_put_assignment(&b, s->v, s->parts[i], len_of(s->parts[i]));
        sync_group_request_assignment_end(&b, s->v);
    }
    sync_group_request_end(&b, s->v);
    return group_world_ask(w, KAFKA_API_SYNC_GROUP, s->v, -1, cookie, &b);
}

int16_t group_world_synced(struct group_world *w, uintptr_t cookie, int16_t v, char ret[GROUP_WORLD_NAME])
{
    struct groups_answer a = group_world_take(w, cookie);
    struct sync_group_response in;
    struct wire_cursor c;
    wire_cursor_init(&c, tide_rope_slice(&a.body, 0, a.body.len));
    assert_true(sync_group_response_read(&c, v, &in));
    (void)wire_bytes_copy(&in.assignment, ret, GROUP_WORLD_NAME);
    tide_rope_clear(&a.body);
    return in.error_code;
}

int16_t group_world_heartbeat(struct group_world *w, const char *group, const char *member, const char *instance, int32_t generation)
{
    enum { V = 4, MINE = 900001 };
    struct wire_writer b;
    struct heartbeat_response in;
    struct wire_cursor c;
    group_world_begin(w, &b);
    heartbeat_request_put_group_id(&b, V, group, len_of(group));
    heartbeat_request_put_generation_id(&b, V, generation);
    heartbeat_request_put_member_id(&b, V, member, len_of(member));
    heartbeat_request_put_group_instance_id(&b, V, instance, len_of(instance));
    heartbeat_request_end(&b, V);
    assert_int_equal(group_world_ask(w, KAFKA_API_HEARTBEAT, V, -1, MINE, &b), TIDE_OK);
    struct groups_answer a = group_world_take(w, MINE);
    wire_cursor_init(&c, tide_rope_slice(&a.body, 0, a.body.len));
    assert_true(heartbeat_response_read(&c, V, &in));
    tide_rope_clear(&a.body);
    return in.error_code;
}

int16_t group_world_leave(struct group_world *w, const char *group, const char *member)
{
    enum { V = 1, MINE = 900002 };
    struct wire_writer b;
    struct leave_group_response in;
    struct wire_cursor c;
    group_world_begin(w, &b);
    leave_group_request_put_group_id(&b, V, group, len_of(group));
    leave_group_request_put_member_id(&b, V, member, len_of(member));
    leave_group_request_end(&b, V);
    assert_int_equal(group_world_ask(w, KAFKA_API_LEAVE_GROUP, V, -1, MINE, &b), TIDE_OK);
    struct groups_answer a = group_world_take(w, MINE);
    wire_cursor_init(&c, tide_rope_slice(&a.body, 0, a.body.len));
    assert_true(leave_group_response_read(&c, V, &in));
    tide_rope_clear(&a.body);
    return in.error_code;
}

enum tide_status group_world_commit_offset(struct group_world *w, uintptr_t cookie, const struct commit_ask *o)
{
    struct wire_writer b;
    int16_t v = o->v == 0 ? 9 : o->v;
    int32_t count = o->count == 0 ? 1 : o->count;
    group_world_begin(w, &b);
    offset_commit_request_put_group_id(&b, v, o->group, len_of(o->group));
    offset_commit_request_put_generation_id_or_member_epoch(&b, v, o->generation);
    offset_commit_request_put_member_id(&b, v, o->member == NULL ? "" : o->member, len_of(o->member));
    offset_commit_request_put_group_instance_id(&b, v, o->instance, len_of(o->instance));
    offset_commit_request_put_retention_time_ms(&b, v, o->retention_ms == 0 ? -1 : o->retention_ms);
    offset_commit_request_open_topics(&b, v, 1);
    offset_commit_request_topic_put_name(&b, v, o->topic, len_of(o->topic));
    offset_commit_request_topic_open_partitions(&b, v, count);
    for (int32_t i = 0; i < count; i++) {
        offset_commit_request_partition_put_partition_index(&b, v, o->partition + i);
        offset_commit_request_partition_put_committed_offset(&b, v, o->offset);
        offset_commit_request_partition_put_committed_leader_epoch(&b, v, 3);
        offset_commit_request_partition_put_committed_metadata(&b, v, o->metadata, len_of(o->metadata));
        offset_commit_request_partition_end(&b, v);
    }
    offset_commit_request_topic_end(&b, v);
    offset_commit_request_end(&b, v);
    return group_world_ask(w, KAFKA_API_OFFSET_COMMIT, v, -1, cookie, &b);
}

int16_t group_world_committed(struct group_world *w, uintptr_t cookie, int16_t v)
{
    struct groups_answer a = group_world_take(w, cookie);
    struct offset_commit_response in;
    struct offset_commit_response_topic t = {0};
    struct offset_commit_response_partition p = {0};
    struct wire_cursor c;
    wire_cursor_init(&c, tide_rope_slice(&a.body, 0, a.body.len));
    assert_true(offset_commit_response_read(&c, v == 0 ? 9 : v, &in));
    assert_true(offset_commit_response_topic_next(&in.topics, v == 0 ? 9 : v, &t));
    assert_true(offset_commit_response_partition_next(&t.partitions, v == 0 ? 9 : v, &p));
    tide_rope_clear(&a.body);
    return p.error_code;
}

int16_t group_world_commits(struct group_world *w, const struct commit_ask *o)
{
    enum { MINE = 900003 };
    assert_int_equal(group_world_commit_offset(w, MINE, o), TIDE_OK);
    group_world_commit(w);
    return group_world_committed(w, MINE, o->v);
}

int64_t group_world_fetch(struct group_world *w, const char *group, const char *topic, int32_t partition)
{
    enum { V = 7, MINE = 900004 };
    struct wire_writer b;
    struct offset_fetch_response in;
    struct offset_fetch_response_topic t;
    struct offset_fetch_response_partition p;
    struct wire_cursor c;
    group_world_begin(w, &b);
    offset_fetch_request_put_group_id(&b, V, group, len_of(group));
    offset_fetch_request_open_topics(&b, V, 1);
    offset_fetch_request_topic_put_name(&b, V, topic, len_of(topic));
    offset_fetch_request_topic_open_partition_indexes(&b, V, 1);
    wire_put_i32(&b, partition);
    offset_fetch_request_topic_end(&b, V);
    offset_fetch_request_put_require_stable(&b, V, true);
    offset_fetch_request_end(&b, V);
    assert_int_equal(group_world_ask(w, KAFKA_API_OFFSET_FETCH, V, -1, MINE, &b), TIDE_OK);
    group_world_commit(w);
    struct groups_answer a = group_world_take(w, MINE);
    wire_cursor_init(&c, tide_rope_slice(&a.body, 0, a.body.len));
    assert_true(offset_fetch_response_read(&c, V, &in));
    assert_int_equal(in.error_code, 0);
    assert_true(offset_fetch_response_topic_next(&in.topics, V, &t));
    assert_true(offset_fetch_response_partition_next(&t.partitions, V, &p));
    assert_int_equal(p.error_code, 0);
    tide_rope_clear(&a.body);
    return p.committed_offset;
}
