/* SPDX-License-Identifier: Apache-2.0 */
#include "tidemark/mail.h"

#include <stdio.h>
#include <unistd.h>

#include <rte_malloc.h>

struct post_office *post_office_create(uint32_t core_count)
{
    static _Atomic unsigned offices; /* ring names are global in EAL */
    unsigned number = atomic_fetch_add(&offices, 1);
    uint32_t parties = core_count + 1;
    struct post_office *o;

    TIDE_ASSERT(core_count >= 1 && core_count <= TIDE_CORES_MAX);
    o = rte_zmalloc("post_office", sizeof(*o), TIDE_CACHE_LINE);
    if (o == NULL)
        return NULL;
    o->core_count = core_count;
    o->bells = rte_zmalloc("bells", core_count * sizeof(*o->bells), TIDE_CACHE_LINE);
    for (uint32_t i = 0; i < MAIL_PARTIES_MAX; i++)
        o->parties[i].wake_fd = -1;
    for (uint32_t from = 0; from < parties; from++) {
        for (uint32_t to = 0; to < parties; to++) {
            char name[RTE_RING_NAMESIZE];
            if (from == to && from == core_count)
                continue;
            snprintf(name, sizeof(name), "mail%u_%u_%u", number, from, to);
            o->rings[from][to] = rte_ring_create(name, MAIL_RING_SIZE, SOCKET_ID_ANY,
                                                 RING_F_SP_ENQ | RING_F_SC_DEQ);
            if (o->rings[from][to] == NULL || o->bells == NULL) {
                post_office_destroy(o);
                return NULL;
            }
        }
    }
    return o;
}

void post_office_destroy(struct post_office *o)
{
    if (o == NULL)
        return;
    for (uint32_t from = 0; from <= o->core_count; from++)
        for (uint32_t to = 0; to <= o->core_count; to++)
            rte_ring_free(o->rings[from][to]);
    rte_free(o->bells);
    rte_free(o);
}

enum tide_status post_send(struct post_office *o, uint32_t from, uint32_t to, struct tide_mail *m)
{
    if (rte_ring_sp_enqueue(o->rings[from][to], m) != 0)
        return TIDE_FULL;
    o->parties[from].rung |= 1ull << to;
    return TIDE_OK;
}

unsigned post_take(struct post_office *o, uint32_t to, struct tide_mail **letters, unsigned max)
{
    unsigned n = 0;
    for (uint32_t from = 0; from <= o->core_count; from++) {
        struct rte_ring *r = o->rings[from][to];
        unsigned share = (max - n) / (o->core_count + 1 - from);
        if (r != NULL && share != 0 && !rte_ring_empty(r))
            n += rte_ring_sc_dequeue_burst(r, (void **)(letters + n), share, NULL);
    }
    return n;
}

bool post_has_mail(const struct post_office *o, uint32_t to)
{
    for (uint32_t from = 0; from <= o->core_count; from++)
        if (o->rings[from][to] != NULL && !rte_ring_empty(o->rings[from][to]))
            return true;
    return false;
}

unsigned post_take_bells(struct post_office *o, uint32_t core, uint32_t *slots, unsigned max)
{
    struct mail_bells *b = &o->bells[core];
    uint64_t summary = atomic_exchange_explicit(&b->summary, 0, memory_order_acq_rel);
    unsigned n = 0;

    while (summary != 0) {
        uint32_t w = (uint32_t)__builtin_ctzll(summary);
        uint64_t word;
        if (max - n < 64) { /* the whole word must fit */
            atomic_fetch_or_explicit(&b->summary, summary, memory_order_acq_rel);
            break;
        }
        summary &= summary - 1;
        word = atomic_exchange_explicit(&b->words[w], 0, memory_order_acq_rel);
        for (; word != 0; word &= word - 1)
            slots[n++] = w * 64 + (uint32_t)__builtin_ctzll(word);
    }
    tide_fence(); /* the bells are cleared before the marks are read: pairs with the home core's
                   * fence between its publication and its ringing */
    return n;
}
