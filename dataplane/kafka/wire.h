/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kafka's primitive types over counted bytes: a reading cursor and a writer.
 *
 * The cursor walks a slice, mbuf by mbuf. Its first failure sticks: every later get returns 0 and
 * `failed` is tested once at the end. Nothing is allocated and nothing copied: strings and records
 * come back as slices, valid as long as the bytes that were read. No count from the wire is
 * believed beyond the bytes that are left.
 *
 * The writer fills mbufs of a pool. Its first failure (an empty pool) sticks as well.
 */
#ifndef TIDEMARK_KAFKA_WIRE_H
#define TIDEMARK_KAFKA_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark/bytes.h"
#include "tidemark/rope.h"
#include "tidemark/types.h"

enum wire_limit {
    WIRE_TAGS_MAX = 64, /* tagged fields of one section */
};

/* ---- reading -------------------------------------------------------------------------------- */

struct wire_cursor {
    const uint8_t *p, *end; /* within m, and within what may be read */
    struct rte_mbuf *m;
    uint32_t behind;        /* bytes in the mbufs behind m */
    bool failed;
};

/* A string, bytes or records field as it lies on the wire. */
struct wire_bytes {
    struct tide_slice at;
    bool null;
};

/* A list whose elements have been checked and can be iterated without failing. */
struct wire_list {
    struct wire_cursor at;
    int32_t count; /* -1: null */
};

void wire_cursor_init(struct wire_cursor *, struct tide_slice);
static inline uint32_t wire_left(const struct wire_cursor *c) { return (uint32_t)(c->end - c->p) + c->behind; }

void wire_get_slow(struct wire_cursor *, void *to, uint32_t n);
static inline void wire_get_raw(struct wire_cursor *c, void *to, uint32_t n)
{
    if (c->end - c->p >= (ptrdiff_t)n) { /* of a failed one nothing is left */
        memcpy(to, c->p, n);
        c->p += n;
    } else {
        wire_get_slow(c, to, n);
    }
}
static inline int8_t wire_get_i8(struct wire_cursor *c)
{
    uint8_t v;
    wire_get_raw(c, &v, 1);
    return (int8_t)v;
}
static inline bool wire_get_bool(struct wire_cursor *c) { return wire_get_i8(c) != 0; }
static inline int16_t wire_get_i16(struct wire_cursor *c)
{
    uint8_t b[2];
    wire_get_raw(c, b, 2);
    return (int16_t)load_be16(b);
}
static inline uint16_t wire_get_u16(struct wire_cursor *c) { return (uint16_t)wire_get_i16(c); }
static inline int32_t wire_get_i32(struct wire_cursor *c)
{
    uint8_t b[4];
    wire_get_raw(c, b, 4);
    return (int32_t)load_be32(b);
}
static inline uint32_t wire_get_u32(struct wire_cursor *c) { return (uint32_t)wire_get_i32(c); }
static inline int64_t wire_get_i64(struct wire_cursor *c)
{
    uint8_t b[8];
    wire_get_raw(c, b, 8);
    return (int64_t)load_be64(b);
}
static inline struct tide_uuid wire_get_uuid(struct wire_cursor *c)
{
    struct tide_uuid u;
    wire_get_raw(c, &u, sizeof(u));
    return u;
}
uint32_t wire_get_uvarint_slow(struct wire_cursor *);
/* At most 5 bytes, and no more than 32 bits. */
static inline uint32_t wire_get_uvarint(struct wire_cursor *c)
{
    if (c->p == c->end || *c->p >= 0x80)
        return wire_get_uvarint_slow(c);
    return *c->p++;
}
void wire_skip(struct wire_cursor *, uint32_t n);
/* The next n bytes, as they lie there. */
struct tide_slice wire_get_slice(struct wire_cursor *, uint32_t n);
struct wire_bytes wire_get_span_slow(struct wire_cursor *, int64_t n, bool nullable);
/* n of a length field, -1: null. */
static inline struct wire_bytes wire_get_span(struct wire_cursor *c, int64_t n, bool nullable)
{
    if (n == -1 && nullable)
        return (struct wire_bytes){.null = true};
    if (n <= 0 || n > c->end - c->p)
        return wire_get_span_slow(c, n, nullable);
    struct wire_bytes b = {.at = {.m = c->m, .off = (uint32_t)(c->p - rte_pktmbuf_mtod(c->m, const uint8_t *)), .len = (uint32_t)n}};
    c->p += n;
    return b;
}
void wire_fail(struct wire_cursor *);
static inline struct wire_bytes wire_get_string(struct wire_cursor *c, bool flexible, bool nullable)
{
    int64_t n = flexible ? (int64_t)wire_get_uvarint(c) - 1 : wire_get_i16(c);
    if (n > INT16_MAX) /* a compact string is no longer than any other */
        wire_fail(c);
    return wire_get_span(c, n, nullable);
}
static inline struct wire_bytes wire_get_bytes(struct wire_cursor *c, bool flexible, bool nullable)
{
    return wire_get_span(c, flexible ? (int64_t)wire_get_uvarint(c) - 1 : wire_get_i32(c), nullable);
}
/* The count of an array; fails when it exceeds the bytes left (an element has at least one). */
static inline int32_t wire_get_count(struct wire_cursor *c, bool flexible, bool nullable)
{
    int64_t n = flexible ? (int64_t)wire_get_uvarint(c) - 1 : wire_get_i32(c);
    if (n < -1 || (n == -1 && !nullable) || n > (int64_t)wire_left(c))
        wire_fail(c);
    return c->failed ? 0 : (int32_t)n;
}
/* Skips the bytes of one tagged field, or all of a section of which no field is known. */
void wire_skip_tags_slow(struct wire_cursor *);
static inline void wire_skip_tags(struct wire_cursor *c)
{
    if (c->p == c->end || *c->p != 0) {
        wire_skip_tags_slow(c);
        return;
    }
    c->p++; /* a section without any */
}
/* Between tags of a section: false at its end. Checks that they ascend. */
struct wire_tags {
    uint32_t left;
    int64_t last;
    uint32_t tag;
    uint32_t size;
};
void wire_tags_begin(struct wire_cursor *, struct wire_tags *);
bool wire_tags_next(struct wire_cursor *, struct wire_tags *);
/* True when nothing failed and nothing is left over. */
static inline bool wire_done(const struct wire_cursor *c) { return !c->failed && wire_left(c) == 0; }
/* The same of a request: what is behind it is not looked at. Kafka does not either, and librdkafka 2.0.2 writes ListGroups and
 * OffsetFetch with bytes too many. */
static inline bool wire_taken(const struct wire_cursor *c) { return !c->failed; }

/* Copies at most cap - 1 bytes and a NUL. Returns the length before cutting. */
uint32_t wire_bytes_copy(const struct wire_bytes *, char *to, uint32_t cap);

bool wire_list_next_i32(struct wire_list *, int32_t *ret);
bool wire_list_next_string(struct wire_list *, bool flexible, struct wire_bytes *ret);

/* ---- writing ---------------------------------------------------------------------------------- */

struct wire_writer {
    struct tide_rope out;
    struct rte_mempool *pool;
    bool failed;
    uint8_t *frame;         /* where the frame's size will be put */
    struct rte_mbuf *own;   /* the tail of `out`, and nobody else's yet: while there is room, what comes is put there */
    uint8_t *at;            /* behind the bytes in it */
    uint32_t room;
};

void wire_writer_init(struct wire_writer *, struct rte_mempool *pool);
/* Drops what was written. */
void wire_writer_abandon(struct wire_writer *);
void wire_put_slow(struct wire_writer *, const void *bytes, uint32_t n);
static inline void wire_put_raw(struct wire_writer *w, const void *bytes, uint32_t n)
{
    if (w->room < n || n == 0) {
        wire_put_slow(w, bytes, n);
        return;
    }
    uint8_t *at = w->at;
    w->at = at + n;
    w->room -= n;
    w->own->data_len = (uint16_t)(w->own->data_len + n);
    w->out.len += n;
    memcpy(at, bytes, n); /* last: for all that the compiler knows it writes over the others */
}
static inline void wire_put_i8(struct wire_writer *w, int8_t v) { wire_put_raw(w, &v, 1); }
static inline void wire_put_bool(struct wire_writer *w, bool v) { wire_put_i8(w, v); }
static inline void wire_put_i16(struct wire_writer *w, int16_t v)
{
    uint8_t b[2];
    store_be16(b, (uint16_t)v);
    wire_put_raw(w, b, 2);
}
static inline void wire_put_u16(struct wire_writer *w, uint16_t v) { wire_put_i16(w, (int16_t)v); }
static inline void wire_put_i32(struct wire_writer *w, int32_t v)
{
    uint8_t b[4];
    store_be32(b, (uint32_t)v);
    wire_put_raw(w, b, 4);
}
static inline void wire_put_i64(struct wire_writer *w, int64_t v)
{
    uint8_t b[8];
    store_be64(b, (uint64_t)v);
    wire_put_raw(w, b, 8);
}
static inline void wire_put_uuid(struct wire_writer *w, const struct tide_uuid *u) { wire_put_raw(w, u, sizeof(*u)); }
void wire_put_uvarint_slow(struct wire_writer *, uint32_t v);
static inline void wire_put_uvarint(struct wire_writer *w, uint32_t v)
{
    if (v < 0x80)
        wire_put_i8(w, (int8_t)v);
    else
        wire_put_uvarint_slow(w, v);
}
static inline void wire_put_string_len(struct wire_writer *w, bool flexible, bool null, uint32_t len)
{
    if (flexible)
        wire_put_uvarint(w, null ? 0 : len + 1);
    else
        wire_put_i16(w, null ? -1 : (int16_t)len);
}
/* text NULL: null. */
static inline void wire_put_string(struct wire_writer *w, bool flexible, const char *text, uint32_t len)
{
    wire_put_string_len(w, flexible, text == NULL, len);
    if (text != NULL)
        wire_put_raw(w, text, len);
}
void wire_put_string_slice(struct wire_writer *, bool flexible, const struct wire_bytes *);
/* bytes NULL: null. */
void wire_put_bytes(struct wire_writer *, bool flexible, const void *bytes, uint32_t len);
void wire_put_bytes_slice(struct wire_writer *, bool flexible, const struct wire_bytes *);
static inline void wire_put_count(struct wire_writer *w, bool flexible, int32_t count)
{
    if (flexible)
        wire_put_uvarint(w, (uint32_t)(count + 1));
    else
        wire_put_i32(w, count);
}
/* Splices the rope in without copying (the writer owns it then), with its length in front for
 * records fields. */
void wire_put_rope(struct wire_writer *, struct tide_rope *);
void wire_put_records(struct wire_writer *, bool flexible, struct tide_rope *);

/* The frame: its int32 size is reserved first and patched last. */
void wire_frame_begin(struct wire_writer *);
/* False when a pool was empty; the caller then abandons. */
bool wire_frame_end(struct wire_writer *);

#endif
