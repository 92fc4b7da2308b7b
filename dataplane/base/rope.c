/* SPDX-License-Identifier: Apache-2.0 */
#include "tidemark/rope.h"

/* Only a direct mbuf that nobody else holds may grow. */
static bool can_grow(const struct rte_mbuf *m, const struct rte_mempool *pool)
{
    return m != NULL && m->pool == pool && RTE_MBUF_DIRECT(m) && tide_mbuf_is_ours(m) &&
           rte_pktmbuf_tailroom(m) != 0;
}

enum tide_status tide_rope_copy_in(struct tide_rope *r, struct rte_mempool *pool, const void *bytes,
                                   uint32_t n)
{
    const uint8_t *from = bytes;
    uint32_t in_tail = 0;
    struct tide_rope fresh = {0};

    if (can_grow(r->tail, pool))
        in_tail = TIDE_MIN(n, (uint32_t)rte_pktmbuf_tailroom(r->tail));
    for (uint32_t at = in_tail; at < n;) {
        struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
        if (m == NULL) {
            tide_rope_clear(&fresh);
            return TIDE_FULL;
        }
        uint32_t piece = TIDE_MIN(n - at, (uint32_t)rte_pktmbuf_tailroom(m));
        memcpy(rte_pktmbuf_mtod(m, uint8_t *), from + at, piece);
        m->data_len = (uint16_t)piece;
        tide_rope_push(&fresh, m);
        at += piece;
    }
    if (in_tail != 0) {
        memcpy(rte_pktmbuf_mtod_offset(r->tail, uint8_t *, r->tail->data_len), from, in_tail);
        r->tail->data_len = (uint16_t)(r->tail->data_len + in_tail);
        r->len += in_tail;
    }
    tide_rope_join(r, &fresh);
    return TIDE_OK;
}

uint32_t tide_rope_count(const struct tide_rope *r)
{
    uint32_t n = 0;
    for (const struct rte_mbuf *m = r->head; m != NULL; m = m->next)
        n++;
    return n;
}

void tide_slice_hold(struct tide_slice s)
{
    while (s.len != 0) {
        struct rte_mbuf *m = s.m;
        const uint8_t *piece;
        rte_mbuf_refcnt_update(m, 1);
        (void)tide_slice_next(&s, &piece);
    }
}

void tide_slice_release(struct tide_slice s)
{
    while (s.len != 0) {
        struct rte_mbuf *m = s.m;
        const uint8_t *piece;
        (void)tide_slice_next(&s, &piece); /* before m may go */
        tide_mbuf_release(m);
    }
}
