/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request remembers while it waits: a row of items laid out densely in blocks of request
 * memory, so that no request holds receive buffers and none allocates. Items do not move.
 */
#ifndef TIDEMARK_BROKER_WORK_H
#define TIDEMARK_BROKER_WORK_H

#include "tidemark/rope.h"

struct work_item {
    uint16_t kind;
    uint16_t size; /* bytes of the whole item, a multiple of 8 */
};

struct work {
    struct tide_rope blocks;
};

struct work_at {
    struct rte_mbuf *m;
    uint32_t off;
};

/* A zeroed item of `size` bytes, its head filled in. NULL when the pool is empty. An item must
 * fit into one block. */
static inline void *work_add(struct work *w, struct rte_mempool *pool, uint16_t kind, uint32_t size)
{
    struct rte_mbuf *m = w->blocks.tail;
    struct work_item *item;

    size = (size + 7u) & ~7u;
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
    item = rte_pktmbuf_mtod_offset(m, struct work_item *, m->data_len);
    memset(item, 0, size);
    item->kind = kind;
    item->size = (uint16_t)size;
    m->data_len = (uint16_t)(m->data_len + size);
    w->blocks.len += size;
    return item;
}

/* Next item behind `at` (start with a zeroed one), NULL at the end. */
static inline void *work_next(const struct work *w, struct work_at *at)
{
    struct work_item *item;
    if (at->m == NULL)
        at->m = w->blocks.head;
    while (at->m != NULL && at->off == at->m->data_len) {
        at->m = at->m->next;
        at->off = 0;
    }
    if (at->m == NULL)
        return NULL;
    item = rte_pktmbuf_mtod_offset(at->m, struct work_item *, at->off);
    at->off += item->size;
    return item;
}

static inline void work_clear(struct work *w)
{
    tide_rope_clear(&w->blocks);
}

#endif
