/* SPDX-License-Identifier: Apache-2.0 */
#include "replica/peer.h"

#include "kafka/wire.h"

enum { COMPACTED = 1, SKIP = 1 };

static_assert(PEER_HELLO_BYTES == 4 + 1 + 1 + 16 + 4 + 16 + 8 + 2 + 2 + 4, "HELLO as written below");
static_assert(PEER_APPEND_BYTES == 4 + 4 + 4 + 8 + 8 + 8 + 8 + 8 + 1 + 4, "APPEND as written below");
static_assert(PEER_ACK_BYTES == 4 + 4 + 4 + 3 * 8, "an ACK's entry as written below");
static_assert(PEER_BEAT_BYTES == 4 + 4 + 4 + 3 * 8, "a BEAT's entry as written below");

/* ---- reading ----------------------------------------------------------------------------------- */

int64_t peer_front(const struct tide_rope *r, uint32_t limit)
{
    uint8_t head[PEER_LENGTH_BYTES];
    uint32_t length;
    if (r->len < PEER_LENGTH_BYTES)
        return 0;
    tide_slice_copy(tide_rope_slice(r, 0, PEER_LENGTH_BYTES), head);
    length = load_be32(head);
    if (length < PEER_HEAD - PEER_LENGTH_BYTES || length > limit - PEER_LENGTH_BYTES)
        return -1;
    return (int64_t)length + PEER_LENGTH_BYTES;
}

static uint64_t get_u64(struct wire_cursor *c)
{
    return (uint64_t)wire_get_i64(c);
}

/* What may come behind is of a later version's. */
static bool read_hello(struct wire_cursor *c, struct peer_hello *h)
{
    if (wire_get_u32(c) != PEER_MAGIC)
        return false;
    h->version_min = (uint8_t)wire_get_i8(c);
    h->version_max = (uint8_t)wire_get_i8(c);
    h->cluster_id = wire_get_uuid(c);
    h->broker = wire_get_i32(c);
    h->incarnation = wire_get_uuid(c);
    h->broker_epoch = wire_get_i64(c);
    h->core_count = wire_get_u16(c);
    h->core = wire_get_u16(c);
    (void)wire_get_u32(c); /* feature bits; none so far */
    wire_skip(c, wire_left(c));
    return h->version_min != 0 && h->version_min <= h->version_max && h->broker >= 0 && h->core < h->core_count &&
           h->core_count <= TIDE_CORES_MAX;
}

static bool read_subscribe(struct wire_cursor *c, struct peer_subscribe *s)
{
    s->tag = wire_get_i32(c);
    s->topic_id = wire_get_uuid(c);
    s->partition = wire_get_i32(c);
    s->leader_epoch = wire_get_i32(c);
    s->last_epoch = wire_get_i32(c);
    s->log_end = wire_get_i64(c);
    s->credit = get_u64(c);
    return s->tag >= 0 && s->partition >= 0 && s->leader_epoch >= 0 && s->last_epoch >= -1 && s->log_end >= 0;
}

static bool read_truncate(struct wire_cursor *c, struct peer_truncate *t)
{
    uint8_t flags;
    t->tag = wire_get_i32(c);
    t->leader_epoch = wire_get_i32(c);
    t->epoch = wire_get_i32(c);
    t->end_offset = wire_get_i64(c);
    flags = (uint8_t)wire_get_i8(c);
    t->skip = flags & SKIP;
    return (flags & ~SKIP) == 0 && t->tag >= 0 && t->leader_epoch >= 0 && t->epoch >= -1 && t->end_offset >= 0;
}

static bool read_granted(struct wire_cursor *c, struct peer_granted *g)
{
    g->tag = wire_get_i32(c);
    g->place = wire_get_u32(c);
    g->number = wire_get_u32(c);
    g->leader_epoch = wire_get_i32(c);
    g->log_end = wire_get_i64(c);
    g->high_watermark = wire_get_i64(c);
    g->log_start = wire_get_i64(c);
    return g->tag >= 0 && g->leader_epoch >= 0 && g->log_start >= 0 && g->high_watermark >= 0 && g->high_watermark <= g->log_end &&
           g->log_start <= g->log_end;
}

static bool read_append(struct wire_cursor *c, struct peer_append *a)
{
    uint8_t flags;
    a->tag = wire_get_i32(c);
    a->number = wire_get_u32(c);
    a->leader_epoch = wire_get_i32(c);
    a->base_offset = wire_get_i64(c);
    a->log_end = wire_get_i64(c);
    a->high_watermark = wire_get_i64(c);
    a->log_start = wire_get_i64(c);
    a->sent_ns = get_u64(c);
    flags = (uint8_t)wire_get_i8(c);
    a->bytes = wire_get_u32(c);
    a->compacted = flags & COMPACTED;
    return !c->failed && (flags & ~COMPACTED) == 0 && a->tag >= 0 && a->leader_epoch >= 0 && a->base_offset >= 0 && a->base_offset <= a->log_end &&
           a->high_watermark >= 0 && a->high_watermark <= a->log_end && a->log_start >= 0 && a->bytes == wire_left(c) && a->bytes != 0;
}

static bool read_refused(struct wire_cursor *c, struct peer_refused *r)
{
    r->tag = wire_get_i32(c);
    r->error = wire_get_i16(c);
    r->leader_epoch = wire_get_i32(c);
    return r->tag >= PEER_TAG_NONE && r->error != 0;
}

static bool read_count(struct wire_cursor *c, uint32_t entry, uint32_t *ret)
{
    *ret = wire_get_u32(c);
    return !c->failed && *ret <= PEER_ENTRIES_MAX && wire_left(c) == *ret * entry;
}

enum tide_status peer_read(struct tide_slice message, uint8_t version, struct peer_message *ret)
{
    struct wire_cursor c;
    uint8_t kind;
    bool good = false;
    uint32_t head;

    *ret = (struct peer_message){.version = 0};
    if (message.len < PEER_HEAD)
        return TIDE_BAD;
    wire_cursor_init(&c, message);
    if (wire_get_u32(&c) != message.len - PEER_LENGTH_BYTES)
        return TIDE_BAD;
    kind = (uint8_t)wire_get_i8(&c);
    ret->version = (uint8_t)wire_get_i8(&c);
    if (kind != PEER_HELLO && kind != PEER_REFUSED && (version == 0 || ret->version != version))
        return TIDE_BAD;
    if (kind != PEER_APPEND && message.len > PEER_SMALL_MAX)
        return TIDE_BAD;
    switch (kind) {
    case PEER_HELLO: good = read_hello(&c, &ret->hello); break;
    case PEER_SUBSCRIBE: good = read_subscribe(&c, &ret->subscribe); break;
    case PEER_TRUNCATE: good = read_truncate(&c, &ret->truncate); break;
    case PEER_GRANTED: good = read_granted(&c, &ret->granted); break;
    case PEER_APPEND: good = read_append(&c, &ret->append); break;
    case PEER_ACK: good = read_count(&c, PEER_ACK_BYTES, &ret->ack.count); break;
    case PEER_BEAT:
        ret->beat.sent_ns = get_u64(&c);
        good = read_count(&c, PEER_BEAT_BYTES, &ret->beat.count);
        break;
    case PEER_UNSUBSCRIBE:
        ret->unsubscribe.place = wire_get_u32(&c);
        ret->unsubscribe.number = wire_get_u32(&c);
        good = true;
        break;
    case PEER_REFUSED: good = read_refused(&c, &ret->refused); break;
    default: return TIDE_BAD;
    }
    if (!good || c.failed)
        return TIDE_BAD;
    ret->kind = (enum peer_kind)kind;
    head = message.len - wire_left(&c);
    if (kind == PEER_APPEND || kind == PEER_ACK || kind == PEER_BEAT)
        ret->rest = tide_slice_after(message, head);
    else if (head != message.len)
        return TIDE_BAD;
    return TIDE_OK;
}

static bool next_entry(struct peer_message *m, void *to, uint32_t bytes)
{
    struct tide_slice one = m->rest;
    if (m->rest.len < bytes)
        return false;
    one.len = bytes;
    tide_slice_copy(one, to);
    m->rest = tide_slice_after(m->rest, bytes);
    return true;
}

bool peer_next_ack(struct peer_message *m, struct peer_ack *ret)
{
    uint8_t b[PEER_ACK_BYTES];
    if (!next_entry(m, b, sizeof(b)))
        return false;
    *ret = (struct peer_ack){.place = load_be32(b),
                             .number = load_be32(b + 4),
                             .leader_epoch = (int32_t)load_be32(b + 8),
                             .log_end = (int64_t)load_be64(b + 12),
                             .durable_end = (int64_t)load_be64(b + 20),
                             .credit = load_be64(b + 28)};
    return true;
}

bool peer_next_beat(struct peer_message *m, struct peer_beat *ret)
{
    uint8_t b[PEER_BEAT_BYTES];
    if (!next_entry(m, b, sizeof(b)))
        return false;
    *ret = (struct peer_beat){.tag = (int32_t)load_be32(b),
                              .number = load_be32(b + 4),
                              .leader_epoch = (int32_t)load_be32(b + 8),
                              .log_end = (int64_t)load_be64(b + 12),
                              .high_watermark = (int64_t)load_be64(b + 20),
                              .log_start = (int64_t)load_be64(b + 28)};
    return true;
}

uint8_t peer_version_of(const struct peer_hello *theirs, uint8_t version_min, uint8_t version_max)
{
    uint8_t highest = TIDE_MIN(theirs->version_max, version_max);
    return highest >= version_min && highest >= theirs->version_min ? highest : 0;
}

/* ---- writing ------------------------------------------------------------------------------------ */

/* A small message on its way: written to the stack first, since a rope takes all of it or nothing. */
struct draft {
    uint8_t bytes[PEER_SMALL_MAX];
    uint32_t len;
};

static void put_u8(struct draft *d, uint8_t v)
{
    d->bytes[d->len++] = v;
}

static void put_u16(struct draft *d, uint16_t v)
{
    store_be16(d->bytes + d->len, v);
    d->len += 2;
}

static void put_u32(struct draft *d, uint32_t v)
{
    store_be32(d->bytes + d->len, v);
    d->len += 4;
}

static void put_u64(struct draft *d, uint64_t v)
{
    store_be64(d->bytes + d->len, v);
    d->len += 8;
}

static void put_uuid(struct draft *d, const struct tide_uuid *u)
{
    memcpy(d->bytes + d->len, u->bytes, sizeof(u->bytes));
    d->len += sizeof(u->bytes);
}

static void put_i32(struct draft *d, int32_t v) { put_u32(d, (uint32_t)v); }
static void put_i64(struct draft *d, int64_t v) { put_u64(d, (uint64_t)v); }

static void begin(struct draft *d, enum peer_kind kind, uint8_t version)
{
    d->len = PEER_LENGTH_BYTES;
    put_u8(d, (uint8_t)kind);
    put_u8(d, version);
}

/* `behind`: bytes that will follow and belong to it. */
static enum tide_status end(struct draft *d, uint32_t behind, struct tide_rope *out, struct rte_mempool *pool)
{
    TIDE_ASSERT(d->len <= sizeof(d->bytes));
    store_be32(d->bytes, d->len - PEER_LENGTH_BYTES + behind);
    return tide_rope_copy_in(out, pool, d->bytes, d->len);
}

enum tide_status peer_put_hello(struct tide_rope *out, struct rte_mempool *pool, const struct peer_hello *h)
{
    struct draft d;
    begin(&d, PEER_HELLO, h->version_min);
    put_u32(&d, PEER_MAGIC);
    put_u8(&d, h->version_min);
    put_u8(&d, h->version_max);
    put_uuid(&d, &h->cluster_id);
    put_i32(&d, h->broker);
    put_uuid(&d, &h->incarnation);
    put_i64(&d, h->broker_epoch);
    put_u16(&d, h->core_count);
    put_u16(&d, h->core);
    put_u32(&d, 0);
    return end(&d, 0, out, pool);
}

enum tide_status peer_put_subscribe(struct tide_rope *out, struct rte_mempool *pool, uint8_t version, const struct peer_subscribe *s)
{
    struct draft d;
    begin(&d, PEER_SUBSCRIBE, version);
    put_i32(&d, s->tag);
    put_uuid(&d, &s->topic_id);
    put_i32(&d, s->partition);
    put_i32(&d, s->leader_epoch);
    put_i32(&d, s->last_epoch);
    put_i64(&d, s->log_end);
    put_u64(&d, s->credit);
    return end(&d, 0, out, pool);
}

enum tide_status peer_put_truncate(struct tide_rope *out, struct rte_mempool *pool, uint8_t version, const struct peer_truncate *t)
{
    struct draft d;
    begin(&d, PEER_TRUNCATE, version);
    put_i32(&d, t->tag);
    put_i32(&d, t->leader_epoch);
    put_i32(&d, t->epoch);
    put_i64(&d, t->end_offset);
    put_u8(&d, t->skip ? SKIP : 0);
    return end(&d, 0, out, pool);
}

enum tide_status peer_put_granted(struct tide_rope *out, struct rte_mempool *pool, uint8_t version, const struct peer_granted *g)
{
    struct draft d;
    begin(&d, PEER_GRANTED, version);
    put_i32(&d, g->tag);
    put_u32(&d, g->place);
    put_u32(&d, g->number);
    put_i32(&d, g->leader_epoch);
    put_i64(&d, g->log_end);
    put_i64(&d, g->high_watermark);
    put_i64(&d, g->log_start);
    return end(&d, 0, out, pool);
}

enum tide_status peer_put_unsubscribe(struct tide_rope *out, struct rte_mempool *pool, uint8_t version, uint32_t place,
                                      uint32_t number)
{
    struct draft d;
    begin(&d, PEER_UNSUBSCRIBE, version);
    put_u32(&d, place);
    put_u32(&d, number);
    return end(&d, 0, out, pool);
}

enum tide_status peer_put_refused(struct tide_rope *out, struct rte_mempool *pool, uint8_t version, const struct peer_refused *r)
{
    struct draft d;
    begin(&d, PEER_REFUSED, version);
    put_i32(&d, r->tag);
    put_u16(&d, (uint16_t)r->error);
    put_i32(&d, r->leader_epoch);
    return end(&d, 0, out, pool);
}

enum tide_status peer_put_acks(struct tide_rope *out, struct rte_mempool *pool, uint8_t version, const struct peer_ack *acks,
                               uint32_t count)
{
    struct draft d;
    TIDE_ASSERT(count <= PEER_ENTRIES_MAX);
    begin(&d, PEER_ACK, version);
    put_u32(&d, count);
    for (uint32_t i = 0; i < count; i++) {
        put_u32(&d, acks[i].place);
        put_u32(&d, acks[i].number);
        put_i32(&d, acks[i].leader_epoch);
        put_i64(&d, acks[i].log_end);
        put_i64(&d, acks[i].durable_end);
        put_u64(&d, acks[i].credit);
    }
    return end(&d, 0, out, pool);
}

enum tide_status peer_put_beats(struct tide_rope *out, struct rte_mempool *pool, uint8_t version, uint64_t sent_ns,
                                const struct peer_beat *beats, uint32_t count)
{
    struct draft d;
    TIDE_ASSERT(count <= PEER_ENTRIES_MAX);
    begin(&d, PEER_BEAT, version);
    put_u64(&d, sent_ns);
    put_u32(&d, count);
    for (uint32_t i = 0; i < count; i++) {
        put_i32(&d, beats[i].tag);
        put_u32(&d, beats[i].number);
        put_i32(&d, beats[i].leader_epoch);
        put_i64(&d, beats[i].log_end);
        put_i64(&d, beats[i].high_watermark);
        put_i64(&d, beats[i].log_start);
    }
    return end(&d, 0, out, pool);
}

enum tide_status peer_put_append(struct tide_rope *out, struct rte_mempool *pool, uint8_t version, const struct peer_append *a,
                                 struct tide_rope *records)
{
    struct draft d;
    enum tide_status status;
    TIDE_ASSERT(records->len == a->bytes && a->bytes != 0);
    begin(&d, PEER_APPEND, version);
    put_i32(&d, a->tag);
    put_u32(&d, a->number);
    put_i32(&d, a->leader_epoch);
    put_i64(&d, a->base_offset);
    put_i64(&d, a->log_end);
    put_i64(&d, a->high_watermark);
    put_i64(&d, a->log_start);
    put_u64(&d, a->sent_ns);
    put_u8(&d, a->compacted ? COMPACTED : 0);
    put_u32(&d, a->bytes);
    status = end(&d, a->bytes, out, pool);
    if (status == TIDE_OK)
        tide_rope_join(out, records);
    return status;
}
