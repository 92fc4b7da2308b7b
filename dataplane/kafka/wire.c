/* SPDX-License-Identifier: Apache-2.0 */
#include "kafka/wire.h"

void wire_fail(struct wire_cursor *c)
{
    c->failed = true;
    c->behind = 0;
    c->p = c->end = NULL;
}

void wire_cursor_init(struct wire_cursor *c, struct tide_slice s)
{
    *c = (struct wire_cursor){.m = s.m};
    if (s.len == 0)
        return;
    uint32_t piece = TIDE_MIN(s.len, s.m->data_len - s.off);
    c->p = rte_pktmbuf_mtod_offset(s.m, const uint8_t *, s.off);
    c->end = c->p + piece;
    c->behind = s.len - piece;
}

/* To the next mbuf that has bytes; the caller knows that there are some. */
static void next_piece(struct wire_cursor *c)
{
    while (c->p == c->end) {
        c->m = c->m->next;
        uint32_t piece = TIDE_MIN(c->behind, (uint32_t)c->m->data_len);
        c->p = rte_pktmbuf_mtod(c->m, const uint8_t *);
        c->end = c->p + piece;
        c->behind -= piece;
    }
}

void wire_get_slow(struct wire_cursor *c, void *to, uint32_t n)
{
    uint8_t *out = to;
    if (c->failed || wire_left(c) < n) {
        wire_fail(c);
        memset(to, 0, n);
        return;
    }
    while (n != 0) {
        next_piece(c);
        uint32_t piece = TIDE_MIN(n, (uint32_t)(c->end - c->p));
        memcpy(out, c->p, piece);
        c->p += piece;
        out += piece;
        n -= piece;
    }
}

void wire_skip(struct wire_cursor *c, uint32_t n)
{
    if (c->failed || wire_left(c) < n) {
        wire_fail(c);
        return;
    }
    while (n != 0) {
        next_piece(c);
        uint32_t piece = TIDE_MIN(n, (uint32_t)(c->end - c->p));
        c->p += piece;
        n -= piece;
    }
}

enum { UVARINT_MAX = 5 };

/* Where it cannot end before it is whole. */
static uint32_t uvarint_in_piece(struct wire_cursor *c)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < UVARINT_MAX; i++) {
        uint8_t b = c->p[i];
        v |= (uint64_t)(b & 0x7f) << 7 * i;
        if (b & 0x80)
            continue;
        if (v > UINT32_MAX)
            break;
        c->p += i + 1;
        return (uint32_t)v;
    }
    wire_fail(c);
    return 0;
}

uint32_t wire_get_uvarint_slow(struct wire_cursor *c)
{
    uint64_t v = 0;
    if (c->end - c->p >= 2 && c->p[1] < 0x80) { /* most lengths: this is not asked about those of one byte */
        v = (c->p[0] & 0x7f) | (uint64_t)c->p[1] << 7;
        c->p += 2;
        return (uint32_t)v;
    }
    if (c->end - c->p >= UVARINT_MAX)
        return uvarint_in_piece(c);
    for (unsigned shift = 0; shift < 7 * UVARINT_MAX; shift += 7) {
        uint8_t b;
        wire_get_raw(c, &b, 1);
        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) {
            if (v > UINT32_MAX)
                break;
            return c->failed ? 0 : (uint32_t)v;
        }
    }
    wire_fail(c);
    return 0;
}

struct tide_slice wire_get_slice(struct wire_cursor *c, uint32_t n)
{
    struct tide_slice s;
    if (c->failed || n > wire_left(c))
        wire_fail(c);
    if (c->failed || n == 0)
        return (struct tide_slice){0};
    next_piece(c);
    s = (struct tide_slice){.m = c->m, .off = (uint32_t)(c->p - rte_pktmbuf_mtod(c->m, const uint8_t *)), .len = n};
    if (n > c->end - c->p) {
        wire_skip(c, n);
        return s;
    }
    c->p += n;
    return s;
}

struct wire_bytes wire_get_span_slow(struct wire_cursor *c, int64_t n, bool nullable)
{
    struct wire_bytes b = {.null = n < 0};
    if (n < -1 || (n == -1 && !nullable) || n > (int64_t)wire_left(c))
        wire_fail(c);
    if (!c->failed && n > 0)
        b.at = wire_get_slice(c, (uint32_t)n);
    return b;
}

void wire_tags_begin(struct wire_cursor *c, struct wire_tags *t)
{
    *t = (struct wire_tags){.left = wire_get_uvarint(c), .last = -1};
    if (t->left > WIRE_TAGS_MAX)
        wire_fail(c);
}

bool wire_tags_next(struct wire_cursor *c, struct wire_tags *t)
{
    if (c->failed || t->left == 0)
        return false;
    t->left--;
    t->tag = wire_get_uvarint(c);
    t->size = wire_get_uvarint(c);
    if (t->tag <= t->last || t->size > wire_left(c))
        wire_fail(c);
    t->last = t->tag;
    return !c->failed;
}

void wire_skip_tags_slow(struct wire_cursor *c)
{
    struct wire_tags t;
    wire_tags_begin(c, &t);
    while (wire_tags_next(c, &t))
        wire_skip(c, t.size);
}

uint32_t wire_bytes_copy(const struct wire_bytes *b, char *to, uint32_t cap)
{
    struct tide_slice s = b->at;
    s.len = TIDE_MIN(s.len, cap - 1);
    tide_slice_copy(s, to);
    to[s.len] = 0;
    return b->at.len;
}

bool wire_list_next_i32(struct wire_list *l, int32_t *ret)
{
    if (l->count <= 0)
        return false;
    l->count--;
    *ret = wire_get_i32(&l->at);
    return true;
}

bool wire_list_next_string(struct wire_list *l, bool flexible, struct wire_bytes *ret)
{
    if (l->count <= 0)
        return false;
    l->count--;
    *ret = wire_get_string(&l->at, flexible, true);
    return true;
}

/* ---- writing ------------------------------------------------------------------------------------ */

enum { FRAME_SIZE = 4 };

void wire_writer_init(struct wire_writer *w, struct rte_mempool *pool)
{
    *w = (struct wire_writer){.pool = pool};
}

void wire_writer_abandon(struct wire_writer *w)
{
    tide_rope_clear(&w->out);
    w->own = NULL;
    w->room = 0;
}

static void own(struct wire_writer *w, struct rte_mbuf *m)
{
    w->own = m;
    w->at = rte_pktmbuf_mtod_offset(m, uint8_t *, m->data_len);
    w->room = rte_pktmbuf_tailroom(m);
}

void wire_put_slow(struct wire_writer *w, const void *bytes, uint32_t n)
{
    if (w->failed || n == 0)
        return;
    w->room = 0;
    if (tide_rope_copy_in(&w->out, w->pool, bytes, n) != TIDE_OK) {
        w->failed = true;
        return;
    }
    own(w, w->out.tail);
}

void wire_put_uvarint_slow(struct wire_writer *w, uint32_t v)
{
    uint8_t b[UVARINT_MAX];
    uint32_t n = 0;
    while (v >= 0x80) {
        b[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    b[n++] = (uint8_t)v;
    wire_put_raw(w, b, n);
}

static void put_slice(struct wire_writer *w, struct tide_slice s)
{
    const uint8_t *piece;
    uint32_t n;
    while ((n = tide_slice_next(&s, &piece)) != 0)
        wire_put_raw(w, piece, n);
}

void wire_put_string_slice(struct wire_writer *w, bool flexible, const struct wire_bytes *b)
{
    wire_put_string_len(w, flexible, b->null, b->at.len);
    put_slice(w, b->at);
}

static void put_bytes_len(struct wire_writer *w, bool flexible, bool null, uint32_t len)
{
    if (flexible)
        wire_put_uvarint(w, null ? 0 : len + 1);
    else
        wire_put_i32(w, null ? -1 : (int32_t)len);
}

void wire_put_bytes(struct wire_writer *w, bool flexible, const void *bytes, uint32_t len)
{
    put_bytes_len(w, flexible, bytes == NULL, len);
    if (bytes != NULL)
        wire_put_raw(w, bytes, len);
}

void wire_put_bytes_slice(struct wire_writer *w, bool flexible, const struct wire_bytes *b)
{
    put_bytes_len(w, flexible, b->null, b->at.len);
    put_slice(w, b->at);
}

void wire_put_rope(struct wire_writer *w, struct tide_rope *r)
{
    if (w->failed) {
        tide_rope_clear(r);
    } else if (r->len != 0) {
        tide_rope_join(&w->out, r);
        w->room = 0; /* the tail is not ours */
    }
}

void wire_put_records(struct wire_writer *w, bool flexible, struct tide_rope *r)
{
    if (flexible)
        wire_put_uvarint(w, r->len + 1);
    else
        wire_put_i32(w, (int32_t)r->len);
    wire_put_rope(w, r);
}

void wire_frame_begin(struct wire_writer *w)
{
    TIDE_ASSERT(w->out.len == 0);
    struct rte_mbuf *m = rte_pktmbuf_alloc(w->pool);
    if (m == NULL) {
        w->failed = true;
        return;
    }
    TIDE_ASSERT(rte_pktmbuf_tailroom(m) >= FRAME_SIZE);
    m->data_len = FRAME_SIZE;
    tide_rope_push(&w->out, m);
    own(w, m);
    w->frame = rte_pktmbuf_mtod(m, uint8_t *);
}

bool wire_frame_end(struct wire_writer *w)
{
    if (w->failed)
        return false;
    store_be32(w->frame, w->out.len - FRAME_SIZE);
    return true;
}
