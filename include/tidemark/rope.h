/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counted bytes. An rte_mbuf is the carrier everywhere: a received frame's payload, a dense
 * block of request memory, a block of response bytes, an external-buffer view of a log's tail.
 *
 * struct tide_rope   owns a chain of single mbufs linked by `next`. While an mbuf is in a rope
 *                    its data_off and data_len do not change, except that the owner may append
 *                    to the tail mbuf's tailroom; the front is consumed by head_off.
 *                    nb_segs and pkt_len of the mbufs are meaningless here.
 * struct tide_slice  a borrowed run of bytes that starts inside some mbuf of a rope. It is valid
 *                    as long as the rope keeps those bytes, or, after tide_slice_hold(), until
 *                    tide_slice_release() on any thread.
 *
 * Owner: whoever holds the rope; no locks. Counts are mbuf reference counts and may be dropped
 * on any core.
 */
#ifndef TIDEMARK_ROPE_H
#define TIDEMARK_ROPE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <rte_mbuf.h>

#include "tidemark/assert.h"
#include "tidemark/status.h"
#include "tidemark/types.h"

struct tide_rope {
    struct rte_mbuf *head;
    struct rte_mbuf *tail;
    uint32_t head_off; /* bytes of head's data already consumed; < head->data_len or rope empty */
    uint32_t len;      /* bytes in the rope */
};

struct tide_slice {
    struct rte_mbuf *m; /* holds the first byte; NULL when len is 0 */
    uint32_t off;       /* of the first byte within m's data */
    uint32_t len;
};

/* Nobody else holds this mbuf (any more: what they read of it is done), so its owner may write to it. */
static inline bool tide_mbuf_is_ours(const struct rte_mbuf *m)
{
    return __atomic_load_n(&m->refcnt, __ATOMIC_ACQUIRE) == 1;
}

/* Drops one reference of a single mbuf; the last one gives it back to its pool. What the others read
 * of it before they dropped theirs is done by then: rte_pktmbuf_free_seg() alone reads the count
 * relaxed, and writes to the mbuf when it finds 1. Any thread. */
static inline void tide_mbuf_release(struct rte_mbuf *m)
{
    if (!tide_mbuf_is_ours(m)) {
        if (__atomic_sub_fetch(&m->refcnt, 1, __ATOMIC_ACQ_REL) != 0)
            return;
        rte_mbuf_refcnt_set(m, 1);
    }
    rte_pktmbuf_free_seg(m);
}

/* Appends one single-segment mbuf; takes the caller's reference. Empty mbufs are freed at once. */
static inline void tide_rope_push(struct tide_rope *r, struct rte_mbuf *m)
{
    if (m->data_len == 0) {
        rte_pktmbuf_free_seg(m);
        return;
    }
    m->next = NULL;
    if (r->tail == NULL)
        r->head = m;
    else
        r->tail->next = m;
    r->tail = m;
    r->len += m->data_len;
}

/* Moves all of `from` behind `r`; `from` is empty afterwards. `from` must not have a consumed
 * front unless `r` is empty. */
static inline void tide_rope_join(struct tide_rope *r, struct tide_rope *from)
{
    if (from->head == NULL)
        return;
    if (r->head == NULL) {
        *r = *from;
    } else {
        TIDE_ASSERT(from->head_off == 0);
        r->tail->next = from->head;
        r->tail = from->tail;
        r->len += from->len;
    }
    *from = (struct tide_rope){0};
}

/* Consumes n bytes (n <= len) from the front and drops the references of mbufs passed. */
static inline void tide_rope_drop(struct tide_rope *r, uint32_t n)
{
    TIDE_ASSERT(n <= r->len);
    r->len -= n;
    while (r->head != NULL) {
        struct rte_mbuf *m = r->head;
        uint32_t left = m->data_len - r->head_off;
        if (n < left) {
            r->head_off += n;
            return;
        }
        n -= left;
        r->head = m->next;
        r->head_off = 0;
        tide_mbuf_release(m);
    }
    r->tail = NULL;
}

static inline void tide_rope_clear(struct tide_rope *r)
{
    if (r->head != NULL)
        tide_rope_drop(r, r->len);
}

/* Appends a copy of n bytes into the tail's tailroom and, beyond it, into mbufs of `pool`.
 * TIDE_FULL leaves the rope as it was. The tail must be ours alone to write (a dense mbuf of
 * the same pool, not external, not shared); it is left alone otherwise. */
TIDE_MUST_USE enum tide_status tide_rope_copy_in(struct tide_rope *r, struct rte_mempool *pool,
                                                 const void *bytes, uint32_t n);

/* Number of mbufs in the rope: a walk, for tests and accounting at slow places. */
uint32_t tide_rope_count(const struct tide_rope *r);

/* The slice of r that starts `at` bytes from its front. at + len <= r->len. */
static inline struct tide_slice tide_rope_slice(const struct tide_rope *r, uint32_t at, uint32_t len)
{
    TIDE_ASSERT(at <= r->len && len <= r->len - at);
    struct rte_mbuf *m = r->head;
    uint32_t off = r->head_off + at;
    if (len == 0)
        return (struct tide_slice){0};
    while (off >= m->data_len) {
        off -= m->data_len;
        m = m->next;
    }
    return (struct tide_slice){.m = m, .off = off, .len = len};
}

/* Next contiguous piece of the slice; the slice shrinks by it. Returns its length, 0 at the end. */
static inline uint32_t tide_slice_next(struct tide_slice *s, const uint8_t **ret_piece)
{
    if (s->len == 0)
        return 0;
    uint32_t n = s->m->data_len - s->off;
    if (n > s->len)
        n = s->len;
    *ret_piece = rte_pktmbuf_mtod_offset(s->m, const uint8_t *, s->off);
    s->len -= n;
    if (s->len != 0) {
        s->off += n;
        if (s->off == s->m->data_len) {
            s->m = s->m->next;
            s->off = 0;
        }
    }
    return n;
}

/* The part of s that starts n bytes in. n <= s.len. */
static inline struct tide_slice tide_slice_after(struct tide_slice s, uint32_t n)
{
    TIDE_ASSERT(n <= s.len);
    s.len -= n;
    if (s.len == 0)
        return (struct tide_slice){0};
    s.off += n;
    while (s.off >= s.m->data_len) {
        s.off -= s.m->data_len;
        s.m = s.m->next;
    }
    return s;
}

/* Copies the slice (all of it) to dst. */
static inline void tide_slice_copy(struct tide_slice s, void *dst)
{
    uint8_t *to = dst;
    const uint8_t *piece;
    uint32_t n;
    while ((n = tide_slice_next(&s, &piece)) != 0) {
        memcpy(to, piece, n);
        to += n;
    }
}

/* Takes a reference on every mbuf that the slice touches / gives them back. Between the two the
 * bytes stay, whatever the rope does. [any] for release. */
void tide_slice_hold(struct tide_slice s);
void tide_slice_release(struct tide_slice s);

#endif
