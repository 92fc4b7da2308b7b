/* SPDX-License-Identifier: Apache-2.0 */
#include "consumer_world.h"

#include "kafka/batch.h"
#include "kafka/errors.h"
#include "kafka/messages.h"
#include "tidemark/assert.h"

/* ---- the log -------------------------------------------------------------------------------------------- */

static enum tide_status append(void *context, struct tide_slice batch, int64_t *ret_end, int16_t *ret_error)
{
    struct world *w = context;
    struct batch_header h;
    TIDE_ASSERT(batch_header_read(batch, &h));
    TIDE_ASSERT(h.crc == batch_crc(batch));
    TIDE_ASSERT(batch_size(&h) == batch.len);
    if (w->fail_append != 0 && --w->fail_append == 0) {
        *ret_error = KAFKA_NOT_ENOUGH_REPLICAS;
        return TIDE_OK;
    }
    if (w->append_full)
        return TIDE_FULL;
    *ret_error = w->append_error;
    if (w->append_error != 0)
        return TIDE_OK;
    TIDE_ASSERT(w->batches < WORLD_BATCHES);
    uint8_t *bytes = malloc(batch.len);
    TIDE_ASSERT(bytes != NULL);
    tide_slice_copy(batch, bytes);
    w->log[w->batches].bytes = bytes;
    w->log[w->batches].len = batch.len;
    w->log[w->batches].base = w->log_end;
    w->log_end += h.record_count;
    w->log[w->batches++].end = w->log_end;
    *ret_end = w->log_end;
    return TIDE_OK;
}

static void create(struct world *w)
{
    struct groups_config config = {.partition = 0, .settings = &w->settings, .heap = w->heap, .pool = w->pool,
                                   .log = {.context = w, .append = append}, .seed = ++w->coordinators}; /* a broker takes another one each time as well */
    w->groups = groups_create(&config);
    TIDE_ASSERT(w->groups != NULL);
}

static void load(struct world *w)
{
    struct groups_gauges gauges;
    create(w);
    for (uint32_t i = 0; i < w->batches; i++) {
        struct tide_rope rope = {0};
        enum tide_status status = tide_rope_copy_in(&rope, w->pool, w->log[i].bytes, w->log[i].len);
        TIDE_ASSERT(status == TIDE_OK);
        status = groups_replay(w->groups, &w->now, tide_rope_slice(&rope, 0, rope.len));
        TIDE_ASSERT(status == TIDE_OK);
        tide_rope_clear(&rope);
    }
    groups_loaded(w->groups, &w->now, w->log_end);
    groups_gauges(w->groups, &gauges);
    TIDE_ASSERT(gauges.skipped_records == 0); /* all of it was written here */
    groups_check(w->groups);
}

void world_begin(struct world *w, size_t heap_bytes)
{
    memset(w, 0, sizeof(*w));
    unit_eal();
#define INT(field, name, topic, standard, min, max, unit, doc) w->settings.field = (standard);
#define BOOL(field, name, topic, standard, doc) w->settings.field = (standard);
#define CHOICE(field, name, topic, standard, words, doc) w->settings.field = (standard);
#define RATIO(field, name, topic, standard, doc) w->settings.field = (standard);
#define TEXT(field, name, topic, standard, doc) (void)snprintf(w->settings.field, sizeof(w->settings.field), "%s", standard);
#define LIVE(field, name, standard, min, max, unit, doc) w->settings.field = (standard);
#include "config/settings.def"
#undef INT
#undef BOOL
#undef CHOICE
#undef RATIO
#undef TEXT
#undef LIVE
    w->heap = tide_heap_create(heap_bytes);
    TIDE_ASSERT(w->heap != NULL);
    static struct rte_mempool *pool;
    if (pool == NULL)
        pool = unit_pool("consumer_world", 8192, 4096);
    w->pool = pool;
    w->log = calloc(WORLD_BATCHES, sizeof(*w->log));
    TIDE_ASSERT(w->log != NULL);
    w->now = (struct tide_time){.now_ns = 1000 * TIDE_NS_PER_S, .wall_ms = 1700000000000};
    w->auto_commit = true;
    w->view = (struct tide_view){.version = 1, .topics = w->topics, .by_name = w->by_name, .by_id = w->by_id, .hash_mask = TIDE_ARRAY_LEN(w->by_name) - 1};
    create(w);
    groups_loaded(w->groups, &w->now, 0);
}

void world_end(struct world *w)
{
    groups_check(w->groups);
    groups_destroy(w->groups);
    tide_heap_check(w->heap);
    TIDE_ASSERT(tide_heap_free_bytes(w->heap) == tide_heap_bytes(w->heap));
    tide_heap_destroy(w->heap);
    for (uint32_t i = 0; i < w->batches; i++)
        free(w->log[i].bytes);
    free(w->log);
    TIDE_ASSERT(rte_mempool_in_use_count(w->pool) == 0);
}

void world_reload(struct world *w, bool lose)
{
    void *cookie;
    struct tide_rope body;
    groups_resign(w->groups);
    while (world_next_answer(w, &cookie, &body))
        tide_rope_clear(&body);
    groups_destroy(w->groups);
    while (lose && w->batches != 0 && w->log[w->batches - 1].end > w->committed) {
        free(w->log[--w->batches].bytes);
        w->log_end = w->log[w->batches].base;
    }
    w->committed = w->log_end;
    load(w);
}

/* ---- topics ------------------------------------------------------------------------------------------------ */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct view_topic *)a)->name, ((const struct view_topic *)b)->name);
}

static void publish(struct world *w)
{
    qsort(w->topics, w->view.topic_count, sizeof(*w->topics), by_name);
    memset(w->by_name, 0, sizeof(w->by_name));
    memset(w->by_id, 0, sizeof(w->by_id));
    tide_view_index(w->topics, w->view.topic_count, TIDE_ARRAY_LEN(w->by_name), w->by_name, w->by_id);
    w->view.version++;
}

int world_topic_number(const struct world *w, const char *name)
{
    for (uint32_t i = 0; i < w->view.topic_count; i++)
        if (strcmp(w->topics[i].name, name) == 0)
            return (int)i;
    return -1;
}

void world_topic(struct world *w, const char *name, uint32_t partitions)
{
    static const struct view_partition none[WORLD_PARTITIONS];
    int n = world_topic_number(w, name);
    struct view_topic *t = n >= 0 ? &w->topics[n] : &w->topics[w->view.topic_count];
    if (n < 0) {
        TIDE_ASSERT(w->view.topic_count < WORLD_TOPICS);
        w->view.topic_count++;
        *t = (struct view_topic){.name_len = (uint16_t)strlen(name)};
        (void)snprintf(t->name, sizeof(t->name), "%s", name);
        uint64_t id = ++w->ids * 0x9e3779b97f4a7c15ull; /* in no order */
        memcpy(t->id.bytes, &id, 8);
    }
    t->partition_count = partitions;
    t->partitions = none;
    publish(w);
}

void world_no_topic(struct world *w, const char *name)
{
    int n = world_topic_number(w, name);
    TIDE_ASSERT(n >= 0);
    w->topics[n] = w->topics[--w->view.topic_count];
    publish(w);
}

static int number_of_id(const struct world *w, const struct tide_uuid *id)
{
    for (uint32_t i = 0; i < w->view.topic_count; i++)
        if (tide_uuid_equal(&w->topics[i].id, id))
            return (int)i;
    return -1;
}

/* ---- time ---------------------------------------------------------------------------------------------------- */

void world_commit(struct world *w, int64_t end)
{
    w->committed = TIDE_MAX(w->committed, end);
    groups_on_committed(w->groups, &w->now, w->committed);
}

void world_turn(struct world *w)
{
    groups_turn(w->groups, &w->now, &w->view);
    if (w->auto_commit)
        world_commit(w, w->log_end);
}

void world_pass_ms(struct world *w, uint64_t ms)
{
    uint64_t until = w->now.now_ns + ms * TIDE_NS_PER_MS;
    for (;;) {
        uint64_t at = groups_deadline_ns(w->groups);
        if (at > until)
            break;
        if (at > w->now.now_ns) {
            w->now.wall_ms += (int64_t)((at - w->now.now_ns) / TIDE_NS_PER_MS);
            w->now.now_ns = at;
        }
        w->now.now_ns++;
        world_turn(w);
    }
    w->now.wall_ms += (int64_t)((until - TIDE_MIN(until, w->now.now_ns)) / TIDE_NS_PER_MS);
    w->now.now_ns = TIDE_MAX(until, w->now.now_ns);
    world_turn(w);
}

/* ---- questions --------------------------------------------------------------------------------------------------- */

enum tide_status world_ask(struct world *w, int16_t api, int16_t version, int32_t element, struct tide_rope *body, void *cookie)
{
    struct groups_question q = {.api_key = api, .version = version, .element = element, .client_id = "client", .client_host = "/10.0.0.1",
                                .view = &w->view, .cookie = cookie};
    wire_cursor_init(&q.body, tide_rope_slice(body, 0, body->len));
    enum tide_status status = groups_ask(w->groups, &w->now, &q);
    if (w->auto_commit)
        world_commit(w, w->log_end);
    return status;
}

bool world_next_answer(struct world *w, void **ret_cookie, struct tide_rope *ret_body)
{
    struct groups_answer a;
    if (!groups_next_answer(w->groups, &a))
        return false;
    *ret_cookie = a.cookie;
    *ret_body = a.body;
    return true;
}

static void put_text(struct wire_writer *w, const char *text) { wire_put_string(w, true, text, text != NULL ? (uint32_t)strlen(text) : 0); }

static void put_names(struct wire_writer *w, const char *names)
{
    int32_t count = 0;
    if (names == NULL) {
        wire_put_count(w, true, -1);
        return;
    }
    for (const char *p = names; *(p += strspn(p, " ")) != 0; p += strcspn(p, " "))
        count++;
    wire_put_count(w, true, count);
    for (const char *p = names; *(p += strspn(p, " ")) != 0; p += strcspn(p, " "))
        wire_put_string(w, true, p, (uint32_t)strcspn(p, " "));
}

static void put_owned(const struct world *world, struct wire_writer *w, int16_t v, const struct world_set *owned)
{
    if (owned == NULL) {
        wire_put_count(w, true, -1);
        return;
    }
    wire_put_count(w, true, (int32_t)owned->count); /* one by one: any form is legal */
    for (uint32_t i = 0; i < owned->count; i++) {
        wire_put_uuid(w, &world->topics[owned->at[i].topic].id);
        wire_put_count(w, true, 1);
        wire_put_i32(w, owned->at[i].partition);
        consumer_group_heartbeat_request_topic_partitions_end(w, v);
    }
}

void world_put_beat(const struct world *world, struct wire_writer *w, const struct world_beat *b)
{
    int16_t v = b->version;
    put_text(w, b->group);
    put_text(w, b->member != NULL ? b->member : "");
    consumer_group_heartbeat_request_put_member_epoch(w, v, b->epoch);
    put_text(w, b->instance);
    put_text(w, b->rack);
    consumer_group_heartbeat_request_put_rebalance_timeout_ms(w, v, b->rebalance_ms);
    put_names(w, b->topics);
    if (v >= 1)
        put_text(w, b->regex);
    put_text(w, b->assignor);
    put_owned(world, w, v, b->owned);
    consumer_group_heartbeat_request_end(w, v);
}

static void read_set(const struct world *w, struct wire_list topics, int16_t v, struct world_set *ret)
{
    struct consumer_group_heartbeat_response_topic_partitions t;
    int32_t partition;
    ret->count = 0;
    while (consumer_group_heartbeat_response_topic_partitions_next(&topics, v, &t)) {
        int n = number_of_id(w, &t.topic_id);
        while (wire_list_next_i32(&t.partitions, &partition)) {
            if (n < 0)
                continue; /* a topic that is gone: a client drops it as well */
            TIDE_ASSERT(ret->count < WORLD_SET);
            ret->at[ret->count].topic = n;
            ret->at[ret->count++].partition = partition;
        }
    }
}

void world_read_answer(const struct world *w, struct tide_rope *body, int16_t version, struct world_answer *ret)
{
    struct consumer_group_heartbeat_response r;
    struct wire_cursor c;
    wire_cursor_init(&c, tide_rope_slice(body, 0, body->len));
    bool read = consumer_group_heartbeat_response_read(&c, version, &r);
    TIDE_ASSERT(read);
    ret->error = r.error_code;
    ret->epoch = r.member_epoch;
    ret->interval_ms = r.heartbeat_interval_ms;
    (void)wire_bytes_copy(&r.member_id, ret->member, sizeof(ret->member));
    ret->has_assignment = r.has_assignment;
    ret->assignment.count = 0;
    if (r.has_assignment)
        read_set(w, r.assignment.topic_partitions, version, &ret->assignment);
    tide_rope_clear(body);
}

void world_beat(struct world *w, const struct world_beat *b, struct world_answer *ret)
{
    struct wire_writer body;
    struct tide_rope answer = {0};
    void *cookie;
    wire_writer_init(&body, w->pool);
    world_put_beat(w, &body, b);
    TIDE_ASSERT(!body.failed);
    while (world_ask(w, KAFKA_API_CONSUMER_GROUP_HEARTBEAT, b->version, -1, &body.out, w) == TIDE_FULL) {
        w->now.now_ns += TIDE_NS_PER_MS;
        world_turn(w);
    }
    wire_writer_abandon(&body);
    bool answered = world_next_answer(w, &cookie, &answer);
    TIDE_ASSERT(answered);
    TIDE_ASSERT(cookie == w);
    world_read_answer(w, &answer, b->version, ret);
    groups_check(w->groups);
}

/* ---- sets ------------------------------------------------------------------------------------------------------------ */

static int compare_pairs(const void *a, const void *b)
{
    const int *x = a, *y = b; /* topic, then partition */
    return x[0] != y[0] ? (x[0] > y[0] ? 1 : -1) : x[1] > y[1] ? 1 : x[1] < y[1] ? -1 : 0;
}

void world_set_read(const struct world *w, const char *text, struct world_set *ret)
{
    char name[64];
    int used;
    ret->count = 0;
    for (const char *p = text; *(p += strspn(p, " -")) != 0;) {
        TIDE_ASSERT(sscanf(p, "%63[^:]:%n", name, &used) == 1);
        p += used;
        for (;; p++) {
            ret->at[ret->count].topic = world_topic_number(w, name);
            TIDE_ASSERT(sscanf(p, "%d%n", &ret->at[ret->count++].partition, &used) == 1);
            p += used;
            if (*p != ',')
                break;
        }
    }
}

const char *world_set_text(const struct world *w, const struct world_set *s, char to[WORLD_TEXT])
{
    static struct world_set sorted;
    size_t n = 0;
    sorted = *s;
    static_assert(sizeof(sorted.at[0]) == 2 * sizeof(int), "compare_pairs reads two numbers");
    qsort(sorted.at, sorted.count, sizeof(sorted.at[0]), compare_pairs);
    (void)snprintf(to, WORLD_TEXT, "-");
    for (uint32_t i = 0; i < sorted.count && n + 80 < WORLD_TEXT; i++) {
        if (i == 0 || sorted.at[i].topic != sorted.at[i - 1].topic)
            n += (size_t)snprintf(to + n, WORLD_TEXT - n, "%s%s:%d", i == 0 ? "" : " ", w->topics[sorted.at[i].topic].name, sorted.at[i].partition);
        else
            n += (size_t)snprintf(to + n, WORLD_TEXT - n, ",%d", sorted.at[i].partition);
    }
    return to;
}

bool world_set_has(const struct world_set *s, int topic, int32_t partition)
{
    for (uint32_t i = 0; i < s->count; i++)
        if (s->at[i].topic == topic && s->at[i].partition == partition)
            return true;
    return false;
}

/* ---- ConsumerGroupDescribe ---------------------------------------------------------------------------------------------- */

static const char *described_set(const struct world *w, struct wire_list topics, int16_t v, char to[WORLD_TEXT])
{
    static struct world_set set;
    struct consumer_group_describe_response_topic_partitions t;
    int32_t partition;
    set.count = 0;
    while (consumer_group_describe_response_topic_partitions_next(&topics, v, &t))
        while (wire_list_next_i32(&t.partitions, &partition)) {
            set.at[set.count].topic = number_of_id(w, &t.topic_id);
            set.at[set.count++].partition = partition;
        }
    return world_set_text(w, &set, to);
}

void world_describe(struct world *w, const char *group, char to[WORLD_TEXT])
{
    struct consumer_group_describe_response_group g;
    struct consumer_group_describe_response_member m;
    struct wire_writer body;
    struct wire_cursor c;
    struct tide_rope answer = {0};
    struct wire_list l = {.count = 1};
    void *cookie = NULL;
    char state[32], id[64], assigned[WORLD_TEXT], target[WORLD_TEXT];
    wire_writer_init(&body, w->pool);
    wire_put_count(&body, true, 1);
    put_text(&body, group);
    wire_put_bool(&body, false);
    consumer_group_describe_request_end(&body, 1);
    enum tide_status status = world_ask(w, KAFKA_API_CONSUMER_GROUP_DESCRIBE, 1, 0, &body.out, w);
    TIDE_ASSERT(status == TIDE_OK);
    wire_writer_abandon(&body);
    while (world_next_answer(w, &cookie, &answer) && cookie != w)
        tide_rope_clear(&answer); /* others', which are lost */
    TIDE_ASSERT(cookie == w);
    wire_cursor_init(&c, tide_rope_slice(&answer, 0, answer.len));
    l.at = c;
    bool read = consumer_group_describe_response_group_next(&l, 1, &g) && !l.at.failed && wire_left(&l.at) == 0;
    TIDE_ASSERT(read);
    (void)wire_bytes_copy(&g.group_state, state, sizeof(state));
    size_t n = g.error_code != 0 ? (size_t)snprintf(to, WORLD_TEXT, "error %d", g.error_code)
                                 : (size_t)snprintf(to, WORLD_TEXT, "%s %d/%d", state, g.group_epoch, g.assignment_epoch);
    while (consumer_group_describe_response_member_next(&g.members, 1, &m)) {
        (void)wire_bytes_copy(&m.member_id, id, sizeof(id));
        if (n + 200 < WORLD_TEXT)
            n += (size_t)snprintf(to + n, WORLD_TEXT - n, " | %s %d %.1200s > %.1200s", id, m.member_epoch, described_set(w, m.assignment.topic_partitions, 1, assigned),
                                  described_set(w, m.target_assignment.topic_partitions, 1, target));
        n = TIDE_MIN(n, WORLD_TEXT - 1);
    }
    tide_rope_clear(&answer);
}

int16_t world_commit_error(struct world *w, const char *member, int epoch, int16_t version, const char *topic, int32_t partition)
{
    struct wire_writer b;
    struct tide_rope answer = {0};
    struct wire_cursor c;
    struct offset_commit_response in;
    struct offset_commit_response_topic t;
    struct offset_commit_response_partition p;
    void *cookie;
    wire_writer_init(&b, w->pool);
    offset_commit_request_put_group_id(&b, version, "g", 1);
    offset_commit_request_put_generation_id_or_member_epoch(&b, version, epoch);
    offset_commit_request_put_member_id(&b, version, member, (uint32_t)strlen(member));
    offset_commit_request_put_group_instance_id(&b, version, NULL, 0);
    offset_commit_request_put_retention_time_ms(&b, version, -1);
    offset_commit_request_open_topics(&b, version, 1);
    offset_commit_request_topic_put_name(&b, version, topic, (uint32_t)strlen(topic));
    offset_commit_request_topic_open_partitions(&b, version, 1);
    offset_commit_request_partition_put_partition_index(&b, version, partition);
    offset_commit_request_partition_put_committed_offset(&b, version, 5);
    offset_commit_request_partition_put_committed_leader_epoch(&b, version, -1);
    offset_commit_request_partition_put_committed_metadata(&b, version, "", 0);
    offset_commit_request_partition_end(&b, version);
    offset_commit_request_topic_end(&b, version);
    offset_commit_request_end(&b, version);
    assert_int_equal(world_ask(w, KAFKA_API_OFFSET_COMMIT, version, -1, &b.out, &w), TIDE_OK);
    wire_writer_abandon(&b);
    assert_true(world_next_answer(w, &cookie, &answer));
    wire_cursor_init(&c, tide_rope_slice(&answer, 0, answer.len));
    assert_true(offset_commit_response_read(&c, version, &in));
    assert_true(offset_commit_response_topic_next(&in.topics, version, &t));
    assert_true(offset_commit_response_partition_next(&t.partitions, version, &p));
    tide_rope_clear(&answer);
    return p.error_code;
}

/* ---- a member of group "g" that says all ---- */

void world_member_beat(struct world *w, struct world_answer *ret, const char *member, int epoch, const char *topics, const char *regex, const char *has)
{
    static struct world_set owned;
    struct world_beat b = {.group = "g", .member = member, .epoch = epoch, .topics = topics, .regex = regex, .rebalance_ms = epoch == 0 ? 60000 : -1, .version = 1};
    if (has != NULL) {
        world_set_read(w, has, &owned);
        b.owned = &owned;
    }
    world_beat(w, &b, ret);
}

void world_expect(struct world *w, const struct world_answer *r, int error, int epoch, const char *assignment)
{
    char text[WORLD_TEXT];
    assert_int_equal(r->error, error);
    if (error == 0)
        assert_int_equal(r->epoch, epoch);
    assert_int_equal(r->has_assignment, assignment != NULL);
    if (assignment != NULL)
        assert_string_equal(world_set_text(w, &r->assignment, text), assignment);
}

void world_expect_group(struct world *w, const char *described)
{
    char text[WORLD_TEXT];
    world_describe(w, "g", text);
    assert_string_equal(text, described);
}
