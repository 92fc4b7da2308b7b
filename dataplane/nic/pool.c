/* SPDX-License-Identifier: Apache-2.0 */
#include "nic/pool.h"

#include <rte_errno.h>
#include <rte_mbuf.h>
#include <rte_mbuf_pool_ops.h>

#include "tidemark/types.h"

enum { POOL_CACHE = 256 };

struct walk {
    uintptr_t base;
    uintptr_t end;
    size_t object;
    bool holds;
};

/* `object` points behind the header that the mempool keeps in front of each element. */
static void see_object(struct rte_mempool *pool, void *opaque, void *object, unsigned index)
{
    struct walk *w = opaque;
    uintptr_t at = (uintptr_t)object - pool->header_size;
    bool inside = at >= w->base && at + w->object <= w->end;
    w->holds = w->holds && inside && (at - w->base) % w->object == 0;
}

bool pool_is_array(struct rte_mempool *pool)
{
    const struct rte_mempool_memhdr *first = STAILQ_FIRST(&pool->mem_list);
    size_t object = pool->header_size + pool->elt_size + pool->trailer_size;
    if (first == NULL || pool->nb_mem_chunks != 1)
        return false;
    /* The driver registers as many objects as there are, from the start of the first chunk. */
    struct walk w = {.base = (uintptr_t)first->addr, .object = object, .holds = true};
    w.end = w.base + object * pool->populated_size;
    (void)rte_mempool_obj_iter(pool, see_object, &w);
    return w.holds;
}

static unsigned cache_size(unsigned count)
{
    return TIDE_MIN((unsigned)POOL_CACHE, count / 8); /* mempool's limit is count / 1.5 */
}

static struct rte_mempool *create_array(const struct pool_config *c, int node)
{
    uint16_t room = (uint16_t)(c->data_room + RTE_PKTMBUF_HEADROOM);
    struct rte_pktmbuf_pool_private private = {.mbuf_data_room_size = room};
    unsigned flags = RTE_MEMPOOL_F_NO_IOVA_CONTIG | RTE_MEMPOOL_F_NO_SPREAD;
    struct rte_mempool *pool =
        rte_mempool_create_empty(c->name, c->count, (unsigned)sizeof(struct rte_mbuf) + room,
                                 cache_size(c->count), sizeof(private), node, flags);
    if (pool == NULL)
        return NULL;
    if (rte_mempool_set_ops_byname(pool, rte_mbuf_best_mempool_ops(), NULL) != 0)
        goto fail;
    rte_pktmbuf_pool_init(pool, &private);
    if (rte_mempool_populate_default(pool) < 0)
        goto fail;
    (void)rte_mempool_obj_iter(pool, rte_pktmbuf_init, NULL);
    if (pool_is_array(pool))
        return pool;
    rte_errno = ENOMEM;
fail:
    rte_mempool_free(pool);
    return NULL;
}

static struct rte_mempool *create_on(const struct pool_config *c, int node)
{
    if (c->flavour == POOL_UMEM)
        return create_array(c, node);
    return rte_pktmbuf_pool_create(c->name, c->count, cache_size(c->count), 0,
                                   (uint16_t)(c->data_room + RTE_PKTMBUF_HEADROOM), node);
}

struct rte_mempool *pool_create(const struct pool_config *c)
{
    struct rte_mempool *pool = create_on(c, c->node);
    if (pool == NULL && c->node != SOCKET_ID_ANY) /* that node has too little: far memory is memory */
        pool = create_on(c, SOCKET_ID_ANY);
    return pool;
}
