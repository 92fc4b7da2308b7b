/* SPDX-License-Identifier: Apache-2.0 */
#include "fail_pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_malloc.h>
#include <rte_mbuf.h>

uint64_t fail_pool_takes, fail_pool_fail_at, fail_pool_failed;
bool fail_pool_ever_after;

struct stack {
    unsigned count, room;
    void *at[];
};

static int stack_alloc(struct rte_mempool *mp)
{
    struct stack *s = rte_zmalloc("fail_pool", sizeof(*s) + mp->size * sizeof(void *), 0); /* lives as long as the pool, like it */
    if (s == NULL)
        return -ENOMEM;
    s->room = mp->size;
    mp->pool_data = s;
    return 0;
}

static void stack_free(struct rte_mempool *mp)
{
    rte_free(mp->pool_data);
}

static int stack_give(struct rte_mempool *mp, void *const *objects, unsigned n)
{
    struct stack *s = mp->pool_data;
    if (n > s->room - s->count)
        return -ENOBUFS; /* given back twice */
    memcpy(s->at + s->count, objects, n * sizeof(void *));
    s->count += n;
    return 0;
}

static int stack_take(struct rte_mempool *mp, void **objects, unsigned n)
{
    struct stack *s = mp->pool_data;
    fail_pool_takes++;
    if (fail_pool_fail_at != 0 &&
        (fail_pool_takes == fail_pool_fail_at || (fail_pool_ever_after && fail_pool_takes > fail_pool_fail_at))) {
        fail_pool_failed++;
        return -ENOBUFS;
    }
    if (n > s->count)
        return -ENOBUFS;
    s->count -= n;
    memcpy(objects, s->at + s->count, n * sizeof(void *));
    return 0;
}

static unsigned stack_count(const struct rte_mempool *mp)
{
    return ((const struct stack *)mp->pool_data)->count;
}

static const struct rte_mempool_ops ops = {
    .name = "tide_failing", .alloc = stack_alloc, .free = stack_free, .enqueue = stack_give, .dequeue = stack_take, .get_count = stack_count};
RTE_MEMPOOL_REGISTER_OPS(ops)

struct rte_mempool *fail_pool(const char *name, unsigned count, uint16_t data_room)
{
    struct rte_mempool *p =
        rte_pktmbuf_pool_create_by_ops(name, count, 0, 0, (uint16_t)(data_room + RTE_PKTMBUF_HEADROOM), SOCKET_ID_ANY, "tide_failing");
    if (p == NULL)
        abort();
    return p;
}
