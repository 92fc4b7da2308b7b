/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Batches of __consumer_offsets. What a live group changes and what a log is loaded from goes through one function, groups_apply.
 */
#include "group/consumer_internal.h"

#include "kafka/batch.h"
#include "tidemark/bytes.h"

enum { MOVE_FROM = 1024 /* a key or value this long is moved, shorter ones are copied behind one another */ };

/* ---- building --------------------------------------------------------------------------------------- */

void group_batch_begin(struct groups *g, struct group_batch *b)
{
    static const uint8_t nothing[BATCH_HEADER];
    *b = (struct group_batch){.now_ms = g->now.wall_ms};
    wire_writer_init(&b->w, g->config.pool);
    wire_put_raw(&b->w, nothing, BATCH_HEADER); /* filled in when all records are known */
}

void group_key_begin(struct groups *g, struct wire_writer *key, enum group_record_type type)
{
    wire_writer_init(key, g->config.pool);
    wire_put_i16(key, (int16_t)type);
}

static uint32_t varint_len(int64_t value)
{
    uint64_t v = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    uint32_t n = 1;
    while (v >= 0x80) {
        v >>= 7;
        n++;
    }
    return n;
}

static void put_varint(struct wire_writer *w, int32_t value)
{
    wire_put_uvarint(w, ((uint32_t)value << 1) ^ (uint32_t)(value >> 31));
}

static void put_part(struct group_batch *b, struct wire_writer *part)
{
    if (part->failed)
        b->failed = true;
    if (part->out.len >= MOVE_FROM) {
        wire_put_rope(&b->w, &part->out);
    } else if (part->out.len != 0) {
        struct tide_slice s = tide_rope_slice(&part->out, 0, part->out.len);
        const uint8_t *piece;
        uint32_t n;
        while ((n = tide_slice_next(&s, &piece)) != 0)
            wire_put_raw(&b->w, piece, n);
    }
    wire_writer_abandon(part);
}

void group_batch_put(struct group_batch *b, struct wire_writer *key, struct wire_writer *value)
{
    int32_t key_len = (int32_t)key->out.len, value_len = value == NULL ? -1 : (int32_t)value->out.len;
    uint32_t body = 1 + varint_len(0) + varint_len(b->count) + varint_len(key_len) + (uint32_t)key_len + varint_len(value_len) +
                    (value == NULL ? 0 : (uint32_t)value_len) + varint_len(0);
    put_varint(&b->w, (int32_t)body);
    wire_put_i8(&b->w, 0); /* attributes */
    put_varint(&b->w, 0);  /* timestamp */
    put_varint(&b->w, b->count++);
    put_varint(&b->w, key_len);
    put_part(b, key);
    put_varint(&b->w, value_len);
    if (value != NULL)
        put_part(b, value);
    put_varint(&b->w, 0); /* headers */
    b->failed |= b->w.failed;
}

void group_batch_abandon(struct groups *g, struct group_batch *b)
{
    wire_writer_abandon(&b->w);
    group_texts_drop(g);
}

static void seal(struct group_batch *b)
{
    struct batch_header h = {.batch_length = (int32_t)(b->w.out.len - BATCH_LENGTH_OVERHEAD), .leader_epoch = -1, .magic = 2,
                             .last_offset_delta = b->count - 1, .base_timestamp = b->now_ms, .max_timestamp = b->now_ms, .producer_id = -1,
                             .producer_epoch = -1, .base_sequence = -1, .record_count = b->count};
    TIDE_ASSERT(b->w.out.head->data_len >= BATCH_HEADER);
    uint8_t *bytes = rte_pktmbuf_mtod(b->w.out.head, uint8_t *);
    batch_header_store(&h, bytes);
    store_be32(bytes + BATCH_CRC, batch_crc(tide_rope_slice(&b->w.out, 0, b->w.out.len)));
}

/* ---- writing ------------------------------------------------------------------------------------------ */

/* What an error of an append means to a member (kafka-protocol 9.2). */
static int16_t member_error(int16_t error)
{
    switch (error) {
    case KAFKA_UNKNOWN_TOPIC_OR_PARTITION:
    case KAFKA_NOT_ENOUGH_REPLICAS:
    case KAFKA_NOT_ENOUGH_REPLICAS_AFTER_APPEND:
    case KAFKA_REQUEST_TIMED_OUT:
        return KAFKA_COORDINATOR_NOT_AVAILABLE;
    case KAFKA_NOT_LEADER_OR_FOLLOWER:
    case KAFKA_FENCED_LEADER_EPOCH:
    case KAFKA_KAFKA_STORAGE_ERROR:
        return KAFKA_NOT_COORDINATOR;
    default:
        return KAFKA_UNKNOWN_SERVER_ERROR;
    }
}

static enum tide_status append(struct groups *g, struct group *group, struct group_batch *b, struct group_write *w, int16_t *ret_error)
{
    int64_t end = -1;
    int16_t error = 0;
    enum tide_status status = g->config.log.append(g->config.log.context, tide_rope_slice(&b->w.out, 0, b->w.out.len), &end, &error);
    if (status != TIDE_OK)
        return TIDE_FULL;
    if (error != 0) {
        *ret_error = member_error(error);
        return TIDE_OK;
    }
    *w = (struct group_write){.end = end, .at_ns = g->now.now_ns, .group = group};
    TAILQ_INIT(&w->answers);
    if (group->last_write != NULL)
        group->last_write->group = NULL;
    group->last_write = w;
    TAILQ_INSERT_TAIL(&g->writes, w, link);
    if (g->on_time == NULL)
        g->on_time = w;
    status = groups_apply(g, tide_rope_slice(&b->w.out, 0, b->w.out.len));
    TIDE_ASSERT(status == TIDE_OK); /* what it needs was prepared */
    *ret_error = 0;
    return TIDE_OK;
}

enum tide_status group_write(struct groups *g, struct group *group, struct group_batch *b, int16_t *ret_error)
{
    enum tide_status status = TIDE_FULL;
    struct group_write *w = NULL;
    TIDE_ASSERT(b->count != 0);
    if (!b->failed && !b->w.failed) {
        w = tide_heap_take(g->config.heap, sizeof(*w));
        if (w == NULL) {
            *ret_error = KAFKA_COORDINATOR_NOT_AVAILABLE;
            status = TIDE_OK;
        } else {
            seal(b);
            *ret_error = -1;
            status = append(g, group, b, w, ret_error);
        }
    }
    if (w != NULL && (status != TIDE_OK || *ret_error != 0))
        tide_heap_give(g->config.heap, w);
    group_batch_abandon(g, b);
    return status;
}

/* ---- replaying ---------------------------------------------------------------------------------------- */

static int64_t get_varint(struct wire_cursor *c, unsigned bits)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < bits; shift += 7) {
        uint8_t b = (uint8_t)wire_get_i8(c);
        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80))
            return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
    }
    wire_fail(c);
    return 0;
}

/* Key or value: false when it is null. */
static bool get_part(struct wire_cursor *c, struct wire_cursor *ret)
{
    int64_t n = get_varint(c, 32);
    *ret = (struct wire_cursor){0};
    if (n < -1 || n > (int64_t)wire_left(c))
        wire_fail(c);
    if (c->failed || n < 0)
        return false;
    wire_cursor_init(ret, wire_get_slice(c, (uint32_t)n));
    return true;
}

static enum tide_status apply_record(struct groups *g, struct wire_cursor *c)
{
    static const group_replay replays[GROUP_RECORD_TYPE_COUNT] = {
        [GROUP_RECORD_LEGACY_OFFSET] = offsets_replay_legacy,
        [GROUP_RECORD_OFFSET] = offsets_replay,
        [GROUP_RECORD_GROUP] = classic_replay,
        [CONSUMER_GROUP_METADATA] = consumer_replay_group,
        [CONSUMER_MEMBER_METADATA] = consumer_replay_member,
        [CONSUMER_TARGET_METADATA] = consumer_replay_target_epoch,
        [CONSUMER_TARGET_MEMBER] = consumer_replay_target,
        [CONSUMER_CURRENT] = consumer_replay_current,
        [CONSUMER_REGEX] = consumer_replay_expression,
    };
    struct wire_cursor key, value, record;
    int64_t len = get_varint(c, 32);
    if (c->failed || len < 0 || len > (int64_t)wire_left(c)) {
        wire_fail(c);
        return TIDE_BAD;
    }
    wire_cursor_init(&record, wire_get_slice(c, (uint32_t)len));
    (void)wire_get_i8(&record);
    (void)get_varint(&record, 64);
    (void)get_varint(&record, 32);
    bool has_key = get_part(&record, &key);
    bool has_value = get_part(&record, &value);
    if (record.failed || !has_key)
        return TIDE_BAD;
    int16_t type = wire_get_i16(&key);
    if (key.failed || type < 0 || type >= GROUP_RECORD_TYPE_COUNT || replays[type] == NULL)
        return TIDE_BAD;
    return replays[type](g, &key, has_value ? &value : NULL);
}

enum tide_status groups_apply_records(struct groups *g, struct tide_slice *records, int32_t *left, uint32_t max)
{
    struct wire_cursor c;
    uint32_t len = records->len;
    wire_cursor_init(&c, *records);
    for (; *left > 0 && !c.failed && len - wire_left(&c) < max; --*left) {
        enum tide_status status = apply_record(g, &c);
        if (status == TIDE_FULL)
            return TIDE_FULL;
        g->gauges.skipped_records += status != TIDE_OK;
    }
    if (c.failed)
        *left = 0;
    *records = tide_slice_after(*records, len - wire_left(&c));
    return TIDE_OK;
}

enum tide_status groups_apply(struct groups *g, struct tide_slice batch)
{
    struct batch_header h;
    struct tide_slice records;
    if (!batch_header_read(batch, &h) || h.magic != 2 || (h.attributes & (BATCH_CODEC_MASK | BATCH_TRANSACTIONAL | BATCH_CONTROL)) != 0) {
        g->gauges.skipped_records++; /* nothing of the kind is written here */
        return TIDE_OK;
    }
    records = tide_slice_after(batch, BATCH_HEADER);
    return groups_apply_records(g, &records, &h.record_count, UINT32_MAX);
}
