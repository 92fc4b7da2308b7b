/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request remembers while it waits: a row of items laid out densely, the first ones in the request itself and
 * the others in blocks of request memory, so that no request holds receive buffers and none allocates. Items do not move.
 */
#ifndef TIDEMARK_BROKER_WORK_H
#define TIDEMARK_BROKER_WORK_H

#include "tidemark/bytes.h"
#include "tidemark/rope.h"

struct work_item {
    uint16_t kind;
    uint16_t size; /* bytes of the whole item, a multiple of 8 */
};

enum { WORK_NEAR = 384 }; /* a produce request to one partition, and a name of usual length */

struct work {
    struct tide_rope blocks;
    uint32_t near_used;
    _Alignas(8) uint8_t near[WORK_NEAR];
};

struct work_at {
    struct rte_mbuf *m; /* NULL: among the first ones */
    uint32_t off;
};

static inline void *work_place(struct work *w, struct rte_mempool *pool, uint32_t size)
{
    struct rte_mbuf *m = w->blocks.tail;
    void *place;
    if (m == NULL && size <= WORK_NEAR - w->near_used) {
        place = w->near + w->near_used;
        w->near_used += size;
        return place;
    }
    if (m == NULL || rte_pktmbuf_tailroom(m) < size) {
        m = rte_pktmbuf_alloc(pool);
        if (m == NULL)
            return NULL;
        TIDE_ASSERT(rte_pktmbuf_tailroom(m) >= size);
        m->next = NULL;
        if (w->blocks.tail == NULL)
            w->blocks.head = m;
        else
            w->blocks.tail->next = m;
        w->blocks.tail = m;
    }
    place = rte_pktmbuf_mtod_offset(m, void *, m->data_len);
    m->data_len = (uint16_t)(m->data_len + size);
    w->blocks.len += size;
    return place;
}

/* A zeroed item of `size` bytes, its head filled in, and room for `more` that are not zeroed. NULL when the
 * pool is empty. An item must fit into one block. */
static inline __attribute__((always_inline)) void *work_add_with(struct work *w, struct rte_mempool *pool, uint16_t kind, uint32_t size, uint32_t more)
{
    uint32_t zeroed = size;
    size = (size + more + 7u) & ~7u;
    struct work_item *item = work_place(w, pool, size);
    if (item == NULL)
        return NULL;
    tide_zero(item, zeroed);
    item->kind = kind;
    item->size = (uint16_t)size;
    return item;
}

static inline __attribute__((always_inline)) void *work_add(struct work *w, struct rte_mempool *pool, uint16_t kind, uint32_t size)
{
    return work_add_with(w, pool, kind, size, 0);
}

/* Next item behind `at` (start with a zeroed one), NULL at the end; what is added later comes then. */
static inline void *work_next(const struct work *w, struct work_at *at)
{
    struct work_item *item;
    if (at->m == NULL && at->off < w->near_used) {
        item = (struct work_item *)(uintptr_t)(w->near + at->off); /* const is the row, not what it holds */
        at->off += item->size;
        return item;
    }
    if (at->m == NULL) {
        if (w->blocks.head == NULL)
            return NULL;
        *at = (struct work_at){.m = w->blocks.head};
    }
    while (at->off == at->m->data_len) {
        if (at->m->next == NULL)
            return NULL;
        *at = (struct work_at){.m = at->m->next};
    }
    item = rte_pktmbuf_mtod_offset(at->m, struct work_item *, at->off);
    at->off += item->size;
    return item;
}

/* Behind the last item: what is added comes next. */
static inline struct work_at work_end(const struct work *w)
{
    struct rte_mbuf *m = w->blocks.tail;
    return (struct work_at){.m = m, .off = m != NULL ? m->data_len : w->near_used};
}

static inline void work_clear(struct work *w)
{
    tide_rope_clear(&w->blocks);
    w->near_used = 0;
}

#endif
