/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_groups.h"

#include <stdlib.h>

#include "kafka/batch.h"
#include "kafka/errors.h"
#include "kafka/messages.h"
#include "unit.h"

enum { HELD_MAX = 512, OBJECTS_MAX = 16, BIG = 10000 };

struct held {
    void *cookie;
    int64_t end; /* committed below: it may leave; -1: at once, INT64_MAX: when it is released */
    int16_t error;
};

struct groups {
    struct groups_config config;
    struct held held[HELD_MAX];
    unsigned held_count;
    int64_t committed;
    bool active, resigned;
};

struct fake_groups fake_groups;
static struct groups *objects[OBJECTS_MAX];

void fake_groups_reset(void)
{
    memset(&fake_groups, 0, sizeof(fake_groups));
}

void fake_groups_release(void)
{
    for (unsigned i = 0; i < OBJECTS_MAX; i++)
        for (unsigned k = 0; objects[i] != NULL && k < objects[i]->held_count; k++)
            if (objects[i]->held[k].end == INT64_MAX)
                objects[i]->held[k].end = -1;
}

struct groups *groups_create(const struct groups_config *config)
{
    struct groups *g;
    unsigned i = 0;
    if (fake_groups.heap_full)
        return NULL;
    g = calloc(1, sizeof(*g));
    assert_non_null(g);
    g->config = *config;
    while (objects[i] != NULL)
        i++;
    assert_true(i < OBJECTS_MAX);
    objects[i] = g;
    fake_groups.created++;
    return g;
}

void groups_destroy(struct groups *g)
{
    for (unsigned i = 0; i < OBJECTS_MAX; i++)
        if (objects[i] == g)
            objects[i] = NULL;
    fake_groups.destroyed++;
    free(g);
}

enum tide_status groups_replay(struct groups *g, const struct tide_time *t, struct tide_slice batch)
{
    struct batch_header h;
    (void)t;
    assert_false(g->active);
    assert_true(batch_header_read(batch, &h));
    assert_int_equal(batch_size(&h), batch.len);
    if (fake_groups.heap_full)
        return TIDE_FULL;
    fake_groups.replayed++;
    return TIDE_OK;
}

/* One record: its length is a varint. */
static uint32_t record_len(struct tide_slice records)
{
    uint8_t head[5] = {0};
    uint32_t n = 0, len = 0;
    records.len = TIDE_MIN(records.len, (uint32_t)sizeof(head));
    tide_slice_copy(records, head);
    do
        len |= (uint32_t)(head[n] & 0x7f) << 7 * n;
    while (head[n++] & 0x80);
    return n + len / 2;
}

enum tide_status groups_replay_records(struct groups *g, const struct tide_time *t, struct tide_slice *records, int32_t *left, uint32_t max)
{
    uint32_t before = records->len;
    (void)t;
    assert_false(g->active);
    assert_true(max != 0);
    for (; *left > 0 && before - records->len < max; --*left) {
        static uint8_t bytes[1 << 20];
        struct tide_slice one = *records;
        one.len = record_len(*records);
        assert_true(one.len <= records->len && one.len <= sizeof(bytes));
        if (fake_groups.heap_full)
            return TIDE_FULL;
        tide_slice_copy(one, bytes);
        fake_groups.records_sum = batch_crc_update(fake_groups.records_sum, bytes, one.len);
        fake_groups.records++;
        *records = tide_slice_after(*records, one.len);
    }
    return TIDE_OK;
}

void groups_loaded(struct groups *g, const struct tide_time *t, int64_t end)
{
    (void)t;
    assert_false(g->active);
    g->active = true;
    g->committed = end;
    fake_groups.loaded++;
}

bool groups_is_active(const struct groups *g)
{
    return g->active;
}

static enum tide_status write_one(struct groups *g, uint32_t bytes, int64_t *ret_end, int16_t *ret_error)
{
    static uint8_t value[BIG], batch[BIG + 256];
    struct batch_build_record r = {.timestamp = 1700000000000, .key = "k", .key_len = 1, .value = value, .value_len = (int32_t)bytes};
    struct tide_rope rope = {0};
    size_t len = batch_build(batch, sizeof(batch), &r, 1, -1, -1, -1);
    enum tide_status status = tide_rope_copy_in(&rope, g->config.pool, batch, (uint32_t)len);
    if (status != TIDE_OK)
        return TIDE_FULL;
    status = g->config.log.append(g->config.log.context, tide_rope_slice(&rope, 0, rope.len), ret_end, ret_error);
    fake_groups.appended += status == TIDE_OK && *ret_error == 0;
    tide_rope_clear(&rope);
    return status;
}

static bool name_of(const struct groups_question *q, char ret[64])
{
    struct wire_cursor c = q->body;
    struct wire_bytes id;
    bool flexible = q->api_key == KAFKA_API_CONSUMER_GROUP_HEARTBEAT || q->api_key == KAFKA_API_CONSUMER_GROUP_DESCRIBE; /* others are not, here */
    if (q->element >= 0) {
        assert_int_equal(q->element, 0);
        assert_int_equal(wire_get_count(&c, flexible, false), 1);
    }
    id = wire_get_string(&c, flexible, false);
    (void)wire_bytes_copy(&id, ret, 64);
    return !c.failed;
}

enum tide_status groups_ask(struct groups *g, const struct tide_time *t, const struct groups_question *q)
{
    struct held h = {.cookie = q->cookie, .end = -1};
    char name[64] = "now";
    enum tide_status status = TIDE_OK;
    (void)t;
    assert_true(g->active);
    assert_false(g->resigned);
    assert_non_null(q->view);
    if (q->api_key != KAFKA_API_LIST_GROUPS && !name_of(q, name))
        return TIDE_BAD;
    if (strncmp(name, "bad", 3) == 0)
        return TIDE_BAD;
    if (strncmp(name, "full", 4) == 0 && fake_groups.full)
        return TIDE_FULL;
    if (strncmp(name, "wait", 4) == 0)
        h.end = INT64_MAX;
    if (strncmp(name, "write", 5) == 0 || strncmp(name, "big", 3) == 0)
        status = write_one(g, name[0] == 'b' ? BIG : 100, &h.end, &h.error);
    if (status != TIDE_OK)
        return status;
    if (h.error != 0)
        h.end = -1;
    assert_true(g->held_count < HELD_MAX);
    g->held[g->held_count++] = h;
    fake_groups.asked++;
    return TIDE_OK;
}

static void take(struct groups *g, unsigned i)
{
    memmove(&g->held[i], &g->held[i + 1], (--g->held_count - i) * sizeof(g->held[0]));
}

void groups_cancel(struct groups *g, void *cookie)
{
    for (unsigned i = 0; i < g->held_count; i++) {
        if (g->held[i].cookie != cookie)
            continue;
        take(g, i);
        fake_groups.cancels++;
        return;
    }
    fail_msg("nobody asked that");
}

bool groups_next_answer(struct groups *g, struct groups_answer *ret)
{
    for (unsigned i = 0; i < g->held_count; i++) {
        struct wire_writer w;
        if (!g->resigned && g->held[i].end >= 0 && (g->held[i].end == INT64_MAX || g->held[i].end > g->committed))
            continue;
        if (fake_groups.silent)
            return false;
        *ret = (struct groups_answer){.cookie = g->held[i].cookie, .elements = 1};
        wire_writer_init(&w, g->config.pool);
        wire_put_i16(&w, g->resigned && g->held[i].end >= 0 ? KAFKA_NOT_COORDINATOR : g->held[i].error);
        wire_put_i32(&w, g->config.partition);
        if (w.failed) {
            wire_writer_abandon(&w);
            return false;
        }
        ret->body = w.out;
        take(g, i);
        return true;
    }
    return false;
}

bool groups_write_error(const struct groups_question *q, int16_t error, struct wire_writer *w)
{
    char name[64];
    if (!name_of(q, name) || strncmp(name, "bad", 3) == 0)
        return false;
    wire_put_i16(w, error);
    wire_put_i32(w, -1);
    return true;
}

void groups_on_committed(struct groups *g, const struct tide_time *t, int64_t end)
{
    (void)t;
    assert_true(end >= g->committed);
    g->committed = end;
}

void groups_turn(struct groups *g, const struct tide_time *t, const struct tide_view *view)
{
    (void)t;
    assert_true(g->active);
    assert_non_null(view);
    fake_groups.turns++;
}

uint64_t groups_deadline_ns(const struct groups *g)
{
    (void)g;
    return TIDE_NEVER;
}

void groups_resign(struct groups *g)
{
    g->resigned = true;
    fake_groups.resigned++;
}

void groups_gauges(const struct groups *g, struct groups_gauges *ret)
{
    *ret = (struct groups_gauges){.groups = 1, .parked = g->held_count};
}

void groups_check(const struct groups *g)
{
    (void)g;
}

int32_t groups_partition_of(struct tide_slice id, int32_t count)
{
    char last = '0';
    if (id.len != 0) {
        struct tide_slice one = tide_slice_after(id, id.len - 1);
        tide_slice_copy(one, &last);
    }
    return (last - '0') % count;
}
