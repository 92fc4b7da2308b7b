/* SPDX-License-Identifier: Apache-2.0 */
#include "kafka/batch.h"

#include <isa-l/crc.h>

#include "kafka/crc_short.h"
#include "kafka/errors.h"
#include "tidemark/bytes.h"

static inline __attribute__((always_inline)) void parse(const uint8_t b[BATCH_HEADER], struct batch_header *ret)
{
    *ret = (struct batch_header){
        .base_offset = (int64_t)load_be64(b + BATCH_BASE_OFFSET),
        .batch_length = (int32_t)load_be32(b + BATCH_LENGTH),
        .leader_epoch = (int32_t)load_be32(b + BATCH_LEADER_EPOCH),
        .magic = (int8_t)b[BATCH_MAGIC],
        .crc = load_be32(b + BATCH_CRC),
        .attributes = (int16_t)load_be16(b + BATCH_ATTRIBUTES),
        .last_offset_delta = (int32_t)load_be32(b + BATCH_LAST_OFFSET_DELTA),
        .base_timestamp = (int64_t)load_be64(b + BATCH_BASE_TIMESTAMP),
        .max_timestamp = (int64_t)load_be64(b + BATCH_MAX_TIMESTAMP),
        .producer_id = (int64_t)load_be64(b + BATCH_PRODUCER_ID),
        .producer_epoch = (int16_t)load_be16(b + BATCH_PRODUCER_EPOCH),
        .base_sequence = (int32_t)load_be32(b + BATCH_BASE_SEQUENCE),
        .record_count = (int32_t)load_be32(b + BATCH_RECORD_COUNT),
    };
}

void batch_header_parse(const uint8_t b[BATCH_HEADER], struct batch_header *ret)
{
    parse(b, ret);
}

bool batch_header_read(struct tide_slice s, struct batch_header *ret)
{
    uint8_t bytes[BATCH_HEADER];
    if (s.len < BATCH_HEADER)
        return false;
    if (s.m->data_len - s.off >= BATCH_HEADER) {
        parse(rte_pktmbuf_mtod_offset(s.m, const uint8_t *, s.off), ret);
        return true;
    }
    s.len = BATCH_HEADER;
    tide_slice_copy(s, bytes);
    batch_header_parse(bytes, ret);
    return true;
}

void batch_header_store(const struct batch_header *h, uint8_t b[BATCH_HEADER])
{
    store_be64(b + BATCH_BASE_OFFSET, (uint64_t)h->base_offset);
    store_be32(b + BATCH_LENGTH, (uint32_t)h->batch_length);
    store_be32(b + BATCH_LEADER_EPOCH, (uint32_t)h->leader_epoch);
    b[BATCH_MAGIC] = (uint8_t)h->magic;
    store_be32(b + BATCH_CRC, h->crc);
    store_be16(b + BATCH_ATTRIBUTES, (uint16_t)h->attributes);
    store_be32(b + BATCH_LAST_OFFSET_DELTA, (uint32_t)h->last_offset_delta);
    store_be64(b + BATCH_BASE_TIMESTAMP, (uint64_t)h->base_timestamp);
    store_be64(b + BATCH_MAX_TIMESTAMP, (uint64_t)h->max_timestamp);
    store_be64(b + BATCH_PRODUCER_ID, (uint64_t)h->producer_id);
    store_be16(b + BATCH_PRODUCER_EPOCH, (uint16_t)h->producer_epoch);
    store_be32(b + BATCH_BASE_SEQUENCE, (uint32_t)h->base_sequence);
    store_be32(b + BATCH_RECORD_COUNT, (uint32_t)h->record_count);
}

uint32_t batch_crc_update(uint32_t crc, const void *bytes, size_t len)
{
    enum { STEP = 1 << 30 }; /* the library takes an int */
    unsigned char *p = (unsigned char *)(uintptr_t)bytes;
    if (len <= crc_short_max)
        return ~crc_short(~crc, p, len);
    while (len != 0) {
        int n = len > STEP ? STEP : (int)len;
        crc = ~crc32_iscsi(p, n, ~crc);
        p += n;
        len -= (size_t)n;
    }
    return crc;
}

uint32_t batch_crc(struct tide_slice batch)
{
    struct tide_slice s = tide_slice_after(batch, BATCH_ATTRIBUTES);
    const uint8_t *piece;
    uint32_t crc = 0;
    uint32_t n;
    while ((n = tide_slice_next(&s, &piece)) != 0)
        crc = batch_crc_update(crc, piece, n);
    return crc;
}

/* ---- the walk over records that may lie in several pieces --------------------------------------- */

struct walk {
    const uint8_t *p, *end;
    struct tide_slice rest; /* behind `end` */
    bool bad;
};

static size_t walk_left(const struct walk *w)
{
    return (size_t)(w->end - w->p) + w->rest.len;
}

static bool walk_refill(struct walk *w)
{
    uint32_t n = tide_slice_next(&w->rest, &w->p);
    w->end = w->p + n;
    return n != 0;
}

static uint8_t walk_byte(struct walk *w)
{
    if (w->p == w->end && !walk_refill(w)) {
        w->bad = true;
        return 0;
    }
    return *w->p++;
}

static void walk_skip_slow(struct walk *w, uint32_t n)
{
    if (n > walk_left(w)) {
        w->bad = true;
        return;
    }
    while (n != 0) {
        uint32_t piece;
        if (w->p == w->end)
            (void)walk_refill(w);
        piece = TIDE_MIN(n, (uint32_t)(w->end - w->p));
        w->p += piece;
        n -= piece;
    }
}

static inline void walk_skip(struct walk *w, uint32_t n)
{
    if (n > w->end - w->p)
        walk_skip_slow(w, n);
    else
        w->p += n;
}

static int64_t unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

enum { VARINT_MAX = 10 };

/* The piece has all that it can be. */
static int64_t varint_in_piece(struct walk *w, unsigned bits)
{
    const uint8_t *p = w->p;
    uint64_t v = 0;
    for (unsigned shift = 0; shift < bits; shift += 7) {
        uint8_t b = *p++;
        v |= (uint64_t)(b & 0x7f) << shift;
        if (b & 0x80)
            continue;
        if (bits == 32 && v > UINT32_MAX)
            break;
        w->p = p;
        return unzigzag(v);
    }
    w->bad = true;
    return 0;
}

static int64_t varint_slow(struct walk *w, unsigned bits)
{
    uint64_t v = 0;
    if (w->end - w->p >= VARINT_MAX)
        return varint_in_piece(w, bits);
    for (unsigned shift = 0; shift < bits; shift += 7) {
        uint8_t b = walk_byte(w);
        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) {
            if (bits == 32 && v > UINT32_MAX)
                break;
            return unzigzag(v);
        }
    }
    w->bad = true;
    return 0;
}

/* Zig-zag varint of at most `bits` bits (32 or 64). */
static inline int64_t walk_varint(struct walk *w, unsigned bits)
{
    if (w->p != w->end && w->p[0] < 0x80)
        return unzigzag(*w->p++);
    if (w->end - w->p >= 2 && w->p[1] < 0x80) { /* a length of some hundreds or thousands */
        uint64_t v = (w->p[0] & 0x7f) | (uint64_t)w->p[1] << 7;
        w->p += 2;
        return unzigzag(v);
    }
    return varint_slow(w, bits);
}

/* A length that may be -1 for null; skips that much. True: null. */
static inline bool walk_span(struct walk *w, bool nullable)
{
    int64_t n = walk_varint(w, 32);
    if (n < (nullable ? -1 : 0))
        w->bad = true;
    else if (n > 0)
        walk_skip(w, (uint32_t)n);
    return n < 0;
}

static void walk_headers(struct walk *w)
{
    int64_t count = walk_varint(w, 32);
    if (count < 0 || count > (int64_t)walk_left(w))
        w->bad = true;
    for (int64_t i = 0; i < count && !w->bad; i++) {
        (void)walk_span(w, false);
        (void)walk_span(w, true);
    }
}

static void refuse(struct batch_walk *ret, int32_t index, int16_t error, const char *message)
{
    ret->bad_record = index;
    ret->error = error;
    ret->message = message;
}

/* What is judged of a record. */
struct walked {
    int64_t timestamp; /* less the base */
    bool null_key;
};

/* One or two bytes, as most are. NULL: it has more. */
static inline const uint8_t *short_varint(const uint8_t *p, int64_t *ret)
{
    uint32_t v = p[0];
    if (v < 0x80) {
        *ret = unzigzag(v);
        return p + 1;
    }
    *ret = unzigzag((v & 0x7f) | (uint32_t)p[1] << 7);
    return p[1] < 0x80 ? p + 2 : NULL;
}

/* Most records lie in one piece, with short lengths and without headers, and are as they shall be. Returns what is behind such
 * a one; NULL: walk_fields() has to look. */
static inline const uint8_t *plain_fields(const uint8_t *p, const uint8_t *end, int32_t index, struct walked *ret)
{
    enum { BEFORE_KEY = 2 + 1 + 2 + 2 + 2, BEFORE_VALUE = 2 };
    int64_t length, delta, key, value;
    if (end - p < BEFORE_KEY || (p = short_varint(p, &length)) == NULL || length < 0 || length > end - p)
        return NULL;
    end = p + length; /* the short numbers before the key may lie beyond it: then it is refused below */
    if ((p = short_varint(p + 1, &ret->timestamp)) == NULL || (p = short_varint(p, &delta)) == NULL || delta != index ||
        (p = short_varint(p, &key)) == NULL || key < -1)
        return NULL;
    ret->null_key = key < 0;
    if (key > end - p - BEFORE_VALUE || (key < 0 && end - p < BEFORE_VALUE))
        return NULL;
    p += TIDE_MAX(key, 0);
    if ((p = short_varint(p, &value)) == NULL || value < -1 || TIDE_MAX(value, 0) != end - p - 1)
        return NULL;
    return end[-1] == 0 ? end : NULL;
}

static bool walk_fields(struct walk *w, int32_t index, struct walked *found, struct batch_walk *ret)
{
    int64_t length = walk_varint(w, 32);
    size_t before = walk_left(w);

    if (w->bad || length < 0 || length > (int64_t)before) {
        refuse(ret, index, KAFKA_INVALID_RECORD, "a record's length does not fit its batch");
        return false;
    }
    (void)walk_byte(w); /* attributes: unused */
    found->timestamp = walk_varint(w, 64);
    if (walk_varint(w, 32) != index && !w->bad) {
        refuse(ret, index, KAFKA_INVALID_RECORD, "offset deltas must be 0, 1, 2, ...");
        return false;
    }
    found->null_key = walk_span(w, true);
    (void)walk_span(w, true);
    walk_headers(w);
    if (w->bad || before - walk_left(w) != (size_t)length) {
        refuse(ret, index, KAFKA_INVALID_RECORD, "a record's fields do not fill its length");
        return false;
    }
    return true;
}

static inline __attribute__((always_inline)) bool walk_record(struct walk *w, const struct batch_header *h, int32_t index,
                        const struct batch_walk_limits *limits, struct batch_walk *ret)
{
    struct walked found;
    const uint8_t *behind = plain_fields(w->p, w->end, index, &found);
    int64_t timestamp;

    if (behind != NULL)
        w->p = behind;
    else if (!walk_fields(w, index, &found, ret))
        return false;
    timestamp = (int64_t)((uint64_t)h->base_timestamp + (uint64_t)found.timestamp);
    if (found.null_key && limits->refuse_null_keys) {
        refuse(ret, index, KAFKA_INVALID_RECORD, "compacted topic: a record needs a key");
        return false;
    }
    if (limits->check_timestamps && timestamp != -1 &&
        (timestamp < limits->timestamp_min || timestamp > limits->timestamp_max)) {
        refuse(ret, index, KAFKA_INVALID_TIMESTAMP, "the timestamp is outside of what the topic accepts");
        return false;
    }
    ret->max_timestamp = TIDE_MAX(ret->max_timestamp, timestamp);
    return true;
}

static inline __attribute__((always_inline)) void walk_all(struct walk *w, const struct batch_header *h, const struct batch_walk_limits *limits,
                     struct batch_walk *ret)
{
    *ret = (struct batch_walk){.max_timestamp = -1, .bad_record = -1};
    for (int32_t i = 0; i < h->record_count; i++)
        if (!walk_record(w, h, i, limits, ret))
            return;
    if (walk_left(w) != 0)
        refuse(ret, -1, KAFKA_INVALID_RECORD, "bytes are left behind the last record");
}

void batch_walk_records(struct tide_slice batch, const struct batch_header *h, const struct batch_walk_limits *limits,
                        struct batch_walk *ret)
{
    struct walk w = {.rest = tide_slice_after(batch, BATCH_HEADER)};
    (void)walk_refill(&w);
    walk_all(&w, h, limits, ret);
}

void batch_walk_plain(const uint8_t *records, size_t len, const struct batch_header *h,
                      const struct batch_walk_limits *limits, struct batch_walk *ret)
{
    struct walk w = {.p = records, .end = records + len};
    walk_all(&w, h, limits, ret);
}

/* ---- contiguous records ---------------------------------------------------------------------------- */

void batch_iter_init(struct batch_iter *it, const struct batch_header *h, const uint8_t *records, size_t len)
{
    *it = (struct batch_iter){.header = h, .p = records, .end = records + len};
}

static int64_t iter_varint(struct batch_iter *it, unsigned bits)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < bits && it->p != it->end; shift += 7) {
        uint8_t b = *it->p++;
        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80))
            return unzigzag(v);
    }
    it->bad = true;
    return 0;
}

static const uint8_t *iter_span(struct batch_iter *it, int32_t *ret_len)
{
    int64_t n = iter_varint(it, 32);
    const uint8_t *p = it->p;
    *ret_len = 0;
    if (it->bad || n < 0)
        return NULL;
    if (n > it->end - it->p) {
        it->bad = true;
        return NULL;
    }
    it->p += n;
    *ret_len = (int32_t)n;
    return p;
}

bool batch_iter_next(struct batch_iter *it, struct batch_record *ret)
{
    const struct batch_header *h = it->header;
    const uint8_t *end;
    int64_t length;
    if (it->bad || it->index >= h->record_count)
        return false;
    length = iter_varint(it, 32);
    if (it->bad || length < 1 || length > it->end - it->p) {
        it->bad = true;
        return false;
    }
    end = it->p + length;
    it->p++; /* attributes */
    ret->timestamp = (int64_t)((uint64_t)h->base_timestamp + (uint64_t)iter_varint(it, 64));
    if (h->attributes & BATCH_LOG_APPEND_TIME)
        ret->timestamp = h->max_timestamp;
    ret->offset = (int64_t)((uint64_t)h->base_offset + (uint64_t)iter_varint(it, 32));
    ret->key = iter_span(it, &ret->key_len);
    ret->value = iter_span(it, &ret->value_len);
    ret->header_count = (int32_t)iter_varint(it, 32);
    if (it->bad || it->p > end) {
        it->bad = true;
        return false;
    }
    ret->headers = it->p;
    ret->headers_len = (uint32_t)(end - it->p);
    it->p = end;
    it->index++;
    return true;
}

/* ---- building ------------------------------------------------------------------------------------------ */

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

static size_t put_span(uint8_t *to, const void *bytes, int32_t len)
{
    size_t n = put_varint(to, bytes == NULL ? -1 : len);
    if (bytes != NULL)
        memcpy(to + n, bytes, (size_t)len);
    return n + (bytes != NULL ? (size_t)len : 0);
}

enum { RECORD_OVERHEAD = 40 }; /* more than all varints of a record */

static size_t put_record(uint8_t *to, const struct batch_build_record *r, int64_t base_timestamp, int32_t index)
{
    uint8_t head[32];
    uint8_t keys[5], values[5];
    size_t n = 0;
    size_t body;
    head[n++] = 0;
    n += put_varint(head + n, r->timestamp - base_timestamp);
    n += put_varint(head + n, index);
    body = n + 1; /* and no headers */
    body += put_varint(keys, r->key == NULL ? -1 : r->key_len) + (r->key != NULL ? (size_t)r->key_len : 0);
    body += put_varint(values, r->value == NULL ? -1 : r->value_len) + (r->value != NULL ? (size_t)r->value_len : 0);
    size_t at = put_varint(to, (int64_t)body);
    memcpy(to + at, head, n);
    at += n;
    at += put_span(to + at, r->key, r->key_len);
    at += put_span(to + at, r->value, r->value_len);
    to[at++] = 0;
    return at;
}

void batch_seal(uint8_t *batch, size_t len)
{
    store_be32(batch + BATCH_CRC, batch_crc_update(0, batch + BATCH_ATTRIBUTES, len - BATCH_ATTRIBUTES));
}

size_t batch_build(uint8_t *to, size_t cap, const struct batch_build_record *records, int32_t count, int64_t producer_id,
                   int16_t producer_epoch, int32_t base_sequence)
{
    struct batch_header h = {.leader_epoch = -1, .magic = 2, .producer_id = producer_id, .producer_epoch = producer_epoch,
                             .base_sequence = base_sequence, .record_count = count, .last_offset_delta = count - 1,
                             .base_timestamp = count > 0 ? records[0].timestamp : 0, .max_timestamp = INT64_MIN};
    size_t at = BATCH_HEADER;
    if (cap < BATCH_HEADER)
        return 0;
    for (int32_t i = 0; i < count; i++) {
        const struct batch_build_record *r = &records[i];
        size_t need = RECORD_OVERHEAD + (r->key != NULL ? (size_t)r->key_len : 0) + (r->value != NULL ? (size_t)r->value_len : 0);
        if (need > cap || at > cap - need)
            return 0;
        at += put_record(to + at, r, h.base_timestamp, i);
        h.max_timestamp = TIDE_MAX(h.max_timestamp, r->timestamp);
    }
    h.batch_length = (int32_t)(at - BATCH_LENGTH_OVERHEAD);
    batch_header_store(&h, to);
    batch_seal(to, at);
    return at;
}
