/* SPDX-License-Identifier: Apache-2.0 */
#include "log/clean.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

#include "kafka/codecs.h"
#include "log/plain.h"
#include "tidemark/bytes.h"
#include "tidemark/types.h"

/* ---- the map: open addressing, at most three quarters full ---- */

struct slot {
    uint64_t low;
    uint64_t high;
    int64_t after; /* offset + 1; 0: free */
};

struct clean_map {
    struct slot *slots;
    uint64_t mask;
    uint64_t count;
    uint64_t slots_max; /* a power of two */
    uint64_t seed;
};

enum { FIRST_SLOTS = 4096 };

struct clean_map *clean_map_create(size_t bytes_max)
{
    struct clean_map *m = calloc(1, sizeof(*m));
    if (m == NULL)
        return NULL;
    m->slots_max = FIRST_SLOTS;
    while (2 * m->slots_max * sizeof(struct slot) <= bytes_max)
        m->slots_max *= 2;
    m->mask = FIRST_SLOTS - 1;
    m->slots = calloc(FIRST_SLOTS, sizeof(*m->slots));
    if (m->slots == NULL || getrandom(&m->seed, sizeof(m->seed), 0) != sizeof(m->seed)) {
        clean_map_destroy(m);
        return NULL;
    }
    return m;
}

void clean_map_destroy(struct clean_map *m)
{
    if (m == NULL)
        return;
    free(m->slots);
    free(m);
}

static struct slot *slot_of(struct slot *slots, uint64_t mask, uint64_t low, uint64_t high)
{
    uint64_t i = low & mask;
    while (slots[i].after != 0 && (slots[i].low != low || slots[i].high != high))
        i = (i + 1) & mask;
    return &slots[i];
}

static int grow(struct clean_map *m)
{
    uint64_t room = 2 * (m->mask + 1);
    struct slot *slots = calloc(room, sizeof(*slots));
    if (slots == NULL)
        return -ENOMEM;
    for (uint64_t i = 0; i <= m->mask; i++)
        if (m->slots[i].after != 0)
            *slot_of(slots, room - 1, m->slots[i].low, m->slots[i].high) = m->slots[i];
    free(m->slots);
    m->slots = slots;
    m->mask = room - 1;
    return 0;
}

int clean_map_put(struct clean_map *m, const void *key, size_t len, int64_t offset)
{
    XXH128_hash_t hash = XXH3_128bits_withSeed(key, len, m->seed);
    struct slot *s = slot_of(m->slots, m->mask, hash.low64, hash.high64);
    if (s->after != 0) {
        s->after = TIDE_MAX(s->after, offset + 1);
        return 1;
    }
    if ((m->count + 1) * 4 > (m->mask + 1) * 3) {
        if (m->mask + 1 >= m->slots_max)
            return 0;
        int e = grow(m);
        if (e != 0)
            return e;
        s = slot_of(m->slots, m->mask, hash.low64, hash.high64);
    }
    *s = (struct slot){.low = hash.low64, .high = hash.high64, .after = offset + 1};
    m->count++;
    return 1;
}

int64_t clean_map_get(const struct clean_map *m, const void *key, size_t len)
{
    XXH128_hash_t hash = XXH3_128bits_withSeed(key, len, m->seed);
    return slot_of(m->slots, m->mask, hash.low64, hash.high64)->after - 1;
}

uint64_t clean_map_count(const struct clean_map *m)
{
    return m->count;
}

/* ---- records ---- */

struct clean_scratch {
    uint8_t *records; /* what stays, plain */
    size_t room;
    uint8_t *batch; /* the new one */
    size_t batch_room;
};

struct clean_scratch *clean_scratch_create(void)
{
    return calloc(1, sizeof(struct clean_scratch));
}

void clean_scratch_destroy(struct clean_scratch *c)
{
    if (c == NULL)
        return;
    free(c->records);
    free(c->batch);
    free(c);
}

static int make_room(uint8_t **at, size_t *room, size_t need)
{
    if (need <= *room)
        return 0;
    uint8_t *bytes = realloc(*at, need);
    if (bytes == NULL)
        return -ENOMEM;
    *at = bytes;
    *room = need;
    return 0;
}

int clean_learn(struct clean_map *m, struct clean_scratch *c, const struct batch_header *h,
                uint8_t *batch, uint32_t size)
{
    struct batch_iter it;
    struct batch_record r;
    uint8_t *records;
    size_t len;
    int result = 1;
    (void)c;
    if ((h->attributes & BATCH_CONTROL) != 0 || h->record_count == 0)
        return 1;
    int e = log_records_plain(h, batch, size, &records, &len);
    if (e != 0)
        return e;
    batch_iter_init(&it, h, records, len);
    while (result == 1 && batch_iter_next(&it, &r))
        if (r.key != NULL)
            result = clean_map_put(m, r.key, (size_t)r.key_len, r.offset);
    if (it.bad)
        result = -EILSEQ;
    if (records != batch + BATCH_HEADER)
        free(records);
    return result;
}

static bool stays(const struct clean_rules *rules, const struct batch_header *h,
                  const struct batch_record *r)
{
    if (r->key == NULL)
        return false;
    if (clean_map_get(rules->map, r->key, (size_t)r->key_len) > r->offset)
        return false;
    if (r->value == NULL && (h->attributes & BATCH_DELETE_HORIZON) != 0 &&
        rules->now_ms >= h->base_timestamp)
        return false;
    return true;
}

static size_t put_varint(uint8_t *to, int64_t value)
{
    uint64_t v = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    size_t n = 0;
    while (v >= 0x80) {
        to[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    to[n++] = (uint8_t)v;
    return n;
}

static size_t put_span(uint8_t *to, const uint8_t *bytes, int32_t len)
{
    size_t n = put_varint(to, bytes == NULL ? -1 : len);
    if (bytes != NULL && len != 0)
        memcpy(to + n, bytes, (size_t)len);
    return n + (bytes != NULL ? (size_t)len : 0);
}

enum { VARINTS = 48 }; /* more than all varints of a record */

/* `timestamp` is the record's own: under LogAppendTime the batch's counts and the delta is 0. */
static int put_record(struct clean_scratch *c, size_t *at, const struct batch_record *r,
                      int64_t delta, int64_t base_offset)
{
    uint8_t head[VARINTS];
    uint8_t lengths[VARINTS];
    size_t body = 0;
    size_t need = 2 * VARINTS + (size_t)r->key_len + (size_t)r->value_len + r->headers_len;
    if (*at + need > c->room) {
        int e = make_room(&c->records, &c->room, 2 * (*at + need));
        if (e != 0)
            return e;
    }
    head[body++] = 0;
    body += put_varint(head + body, delta);
    body += put_varint(head + body, r->offset - base_offset);
    size_t whole = body + put_varint(lengths, r->key == NULL ? -1 : r->key_len) + (size_t)r->key_len;
    whole += put_varint(lengths, r->value == NULL ? -1 : r->value_len) + (size_t)r->value_len;
    whole += put_varint(lengths, r->header_count) + r->headers_len;
    uint8_t *to = c->records;
    *at += put_varint(to + *at, (int64_t)whole);
    memcpy(to + *at, head, body);
    *at += body;
    *at += put_span(to + *at, r->key, r->key_len);
    *at += put_span(to + *at, r->value, r->value_len);
    *at += put_varint(to + *at, r->header_count);
    if (r->headers_len != 0)
        memcpy(to + *at, r->headers, r->headers_len);
    *at += r->headers_len;
    return 0;
}

/* ---- batches ---- */

struct looked {
    int32_t kept;
    int32_t tombstones; /* of those that stay */
    int64_t max_timestamp;
};

static int look(const struct clean_rules *rules, const struct batch_header *h,
                const uint8_t *records, size_t len, struct looked *ret)
{
    struct batch_iter it;
    struct batch_record r;
    *ret = (struct looked){.max_timestamp = -1};
    batch_iter_init(&it, h, records, len);
    while (batch_iter_next(&it, &r)) {
        if (r.offset < h->base_offset || r.offset > batch_last_offset(h))
            return -EILSEQ;
        if (!stays(rules, h, &r))
            continue;
        ret->kept++;
        ret->tombstones += r.value == NULL;
        ret->max_timestamp = TIDE_MAX(ret->max_timestamp, r.timestamp);
    }
    return it.bad ? -EILSEQ : 0;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static bool is_needed_empty(const struct clean_rules *rules, const struct batch_header *h)
{
    int64_t last = batch_last_offset(h);
    if (last == rules->last_offset)
        return true;
    if (h->producer_id < 0)
        return false;
    return rules->every_producer ||
           (rules->producer_end_count != 0 &&
            bsearch(&last, rules->producer_ends, rules->producer_end_count, sizeof(last),
                    by_value) != NULL);
}

/* The records that stay, with `base` as the batch's base timestamp. */
static int collect(const struct clean_rules *rules, struct clean_scratch *c,
                   const struct batch_header *h, const uint8_t *records, size_t len, int64_t base,
                   size_t *ret_len)
{
    struct batch_iter it;
    struct batch_record r;
    bool append_time = (h->attributes & BATCH_LOG_APPEND_TIME) != 0;
    size_t at = 0;
    int e = 0;
    batch_iter_init(&it, h, records, len);
    while (e == 0 && batch_iter_next(&it, &r)) {
        int64_t delta = (int64_t)((uint64_t)r.timestamp - (uint64_t)base);
        if (stays(rules, h, &r))
            e = put_record(c, &at, &r, append_time ? 0 : delta, h->base_offset);
    }
    *ret_len = at;
    return e;
}

static int store(struct clean_scratch *c, struct batch_header *h, size_t len, uint32_t *ret_size)
{
    enum batch_codec codec = len == 0 ? CODEC_NONE : batch_codec_of(h);
    size_t bound = batch_compress_bound(codec, len);
    size_t stored;
    int e = make_room(&c->batch, &c->batch_room, BATCH_HEADER + bound);
    if (e != 0)
        return e;
    if (codec == CODEC_NONE) {
        h->attributes &= (int16_t)~BATCH_CODEC_MASK;
        if (len != 0)
            memcpy(c->batch + BATCH_HEADER, c->records, len);
        stored = len;
    } else if (batch_compress(codec, c->records, len, c->batch + BATCH_HEADER, bound, &stored) !=
               TIDE_OK) {
        return -ENOMEM;
    }
    if (stored > INT32_MAX - BATCH_HEADER)
        return -EILSEQ;
    h->batch_length = (int32_t)(BATCH_HEADER + stored) - BATCH_LENGTH_OVERHEAD;
    batch_header_store(h, c->batch);
    batch_seal(c->batch, BATCH_HEADER + stored);
    *ret_size = (uint32_t)(BATCH_HEADER + stored);
    return 0;
}

static int rewrite(const struct clean_rules *rules, struct clean_scratch *c,
                   const struct batch_header *h, const uint8_t *records, size_t len,
                   const struct looked *l, uint32_t *ret_size)
{
    struct batch_header changed = *h;
    size_t plain = 0;
    bool had = (h->attributes & BATCH_DELETE_HORIZON) != 0;
    if (l->tombstones != 0 && !had) {
        int64_t horizon;
        if (__builtin_add_overflow(rules->now_ms, rules->delete_retention_ms, &horizon))
            horizon = INT64_MAX;
        changed.attributes |= BATCH_DELETE_HORIZON;
        changed.base_timestamp = horizon;
    }
    if (l->kept != 0 && (h->attributes & BATCH_LOG_APPEND_TIME) == 0)
        changed.max_timestamp = l->max_timestamp;
    changed.record_count = l->kept;
    int e = collect(rules, c, h, records, len, changed.base_timestamp, &plain);
    return e != 0 ? e : store(c, &changed, plain, ret_size);
}

int clean_batch(const struct clean_rules *rules, struct clean_scratch *c,
                const struct batch_header *h, uint8_t *batch, uint32_t size, const uint8_t **ret,
                uint32_t *ret_size)
{
    uint8_t *records;
    size_t len;
    struct looked l;
    if (batch_last_offset(h) >= rules->end || (h->attributes & BATCH_CONTROL) != 0)
        return CLEAN_SAME;
    if (h->record_count == 0)
        return is_needed_empty(rules, h) ? CLEAN_SAME : CLEAN_GONE;
    int e = log_records_plain(h, batch, size, &records, &len);
    if (e != 0)
        return e;
    int result = look(rules, h, records, len, &l);
    bool horizon = l.tombstones != 0 && (h->attributes & BATCH_DELETE_HORIZON) == 0;
    if (result == 0 && l.kept == h->record_count && !horizon) {
        result = CLEAN_SAME;
    } else if (result == 0 && l.kept == 0 && !is_needed_empty(rules, h)) {
        result = CLEAN_GONE;
    } else if (result == 0) {
        e = rewrite(rules, c, h, records, len, &l, ret_size);
        *ret = c->batch;
        result = e != 0 ? e : CLEAN_CHANGED;
    }
    if (records != batch + BATCH_HEADER)
        free(records);
    return result;
}
