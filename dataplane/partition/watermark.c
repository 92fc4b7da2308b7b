/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/watermark.h"

#include "tidemark/assert.h"
#include "tidemark/mutant.h"

enum { LEADER = 0 };

static void raise(struct tide_pub64 *p, int64_t to)
{
    TIDE_ASSERT(to >= (int64_t)tide_pub64_own(p)); /* W2 */
    tide_pub64_set(p, (uint64_t)to);
}

void watermark_begin(struct watermark *w, int32_t leader_epoch, int64_t log_start, int64_t log_end, int64_t durable_end,
                     int64_t high_watermark, uint32_t replica_count, uint32_t isr)
{
    TIDE_ASSERT(replica_count >= 1 && replica_count <= TIDE_REPLICAS_MAX);
    TIDE_ASSERT(isr & 1u << LEADER);
    TIDE_ASSERT(high_watermark <= log_end);
    TIDE_ASSERT(durable_end <= log_end);
    __atomic_store_n(&w->epoch_start, log_end, __ATOMIC_RELAXED);
    __atomic_store_n(&w->replica_count, replica_count, __ATOMIC_RELAXED);
    __atomic_store_n(&w->committed_isr, isr, __ATOMIC_RELAXED);
    __atomic_store_n(&w->proposed_isr, 0, __ATOMIC_RELAXED);
    if (!MUTANT(ACK_EPOCH))
        w->heard = 0;
    tide_pub64_set(&w->log_start, (uint64_t)log_start);
    tide_pub64_set(&w->log_end, (uint64_t)log_end);
    tide_pub64_set(&w->durable_end, (uint64_t)durable_end);
    tide_pub64_set(&w->high_watermark, (uint64_t)high_watermark);
    tide_pub64_set(&w->last_stable_offset, (uint64_t)high_watermark);
    tide_pub64_set(&w->leader_epoch, (uint64_t)(uint32_t)leader_epoch);
}

void watermark_configure(struct watermark *w, uint32_t min_insync_replicas, bool count_durable)
{
    __atomic_store_n(&w->min_insync, min_insync_replicas, __ATOMIC_RELAXED);
    __atomic_store_n(&w->count_durable, count_durable, __ATOMIC_RELAXED);
}

void watermark_appended(struct watermark *w, int64_t log_end)
{
    raise(&w->log_end, log_end);
}

void watermark_durable(struct watermark *w, int64_t durable_end)
{
    TIDE_ASSERT(durable_end <= (int64_t)tide_pub64_own(&w->log_end)); /* W1 */
    raise(&w->durable_end, durable_end);
}

void watermark_propose_isr(struct watermark *w, uint32_t isr)
{
    TIDE_ASSERT(isr & 1u << LEADER);
    __atomic_store_n(&w->proposed_isr, isr, __ATOMIC_RELAXED);
}

void watermark_commit_isr(struct watermark *w, uint32_t isr)
{
    TIDE_ASSERT(isr & 1u << LEADER);
    __atomic_store_n(&w->committed_isr, isr, __ATOMIC_RELAXED);
    __atomic_store_n(&w->proposed_isr, 0, __ATOMIC_RELAXED);
}

void watermark_extend(struct watermark *w, uint32_t replica_count)
{
    TIDE_ASSERT(replica_count >= w->replica_count && replica_count <= TIDE_REPLICAS_MAX);
    __atomic_store_n(&w->replica_count, replica_count, __ATOMIC_RELAXED);
}

static bool rise(struct tide_pub64 *p, int64_t to)
{
    if (to <= (int64_t)tide_pub64_own(p))
        return false;
    tide_pub64_set(p, (uint64_t)to);
    return true;
}

bool watermark_acknowledged(struct watermark *w, uint32_t replica, int64_t log_end, int64_t durable_end)
{
    TIDE_ASSERT(replica != LEADER && replica < TIDE_REPLICAS_MAX);
    bool held = rise(&w->acknowledged[replica].log_end, log_end);
    bool durable = rise(&w->acknowledged[replica].durable_end, durable_end);
    return held || durable;
}

void watermark_caught_up(struct watermark *w, uint32_t replica, uint64_t at_ns)
{
    (void)rise(&w->acknowledged[replica].caught_up_ns, (int64_t)at_ns);
}

void watermark_forget(struct watermark *w, uint32_t replica)
{
    if (!MUTANT(ACK_EPOCH))
        w->heard &= ~(1u << replica);
}

void watermark_listen(struct watermark *w, uint32_t replica)
{
    if (!MUTANT(SUBSCRIPTION_FENCE)) {
        tide_pub64_set(&w->acknowledged[replica].log_end, 0);
        tide_pub64_set(&w->acknowledged[replica].durable_end, 0);
    }
    w->heard |= 1u << replica;
}

int64_t watermark_counted_of(const struct watermark *w, uint32_t replica)
{
    if (replica == LEADER)
        return watermark_counted(w);
    if (!(w->heard & 1u << replica))
        return 0;
    return (int64_t)tide_pub64_peek(watermark_counts_durable(w) ? &w->acknowledged[replica].durable_end
                                                                : &w->acknowledged[replica].log_end);
}

int64_t watermark_held_of(const struct watermark *w, uint32_t replica)
{
    if (replica == LEADER)
        return watermark_log_end(w);
    return w->heard & 1u << replica ? (int64_t)tide_pub64_peek(&w->acknowledged[replica].log_end) : 0;
}

bool watermark_epoch_committed(const struct watermark *w)
{
    return MUTANT(EPOCH_START) || watermark_high(w) >= __atomic_load_n(&w->epoch_start, __ATOMIC_RELAXED);
}

bool watermark_waits_for(const struct watermark *w, uint32_t replica)
{
    uint32_t members = __atomic_load_n(&w->committed_isr, __ATOMIC_RELAXED) | __atomic_load_n(&w->proposed_isr, __ATOMIC_RELAXED);
    return (members & 1u << replica) != 0;
}

bool watermark_evaluate(struct watermark *w)
{
    uint32_t members = w->committed_isr | (MUTANT(MAXIMAL_ISR) ? 0 : w->proposed_isr);
    int64_t least = watermark_counted(w);
    if (!watermark_min_isr_met(w) && !MUTANT(FREEZE))
        return false; /* W4 */
    for (uint32_t i = 1; i < w->replica_count; i++) {
        int64_t end = watermark_counted_of(w, i);
        if (members & 1u << i && end < least)
            least = end;
    }
    /* A follower may be ahead of what we have counted: never beyond our own end. */
    if (least <= watermark_high(w))
        return false;
    raise(&w->high_watermark, least);
    raise(&w->last_stable_offset, least); /* no transactions: nothing is unstable */
    return true;
}

bool watermark_follow(struct watermark *w, int64_t leader_high)
{
    int64_t own = watermark_log_end(w);
    int64_t high = TIDE_MIN(leader_high, own);
    if (high <= watermark_high(w))
        return false;
    raise(&w->high_watermark, high);
    raise(&w->last_stable_offset, high);
    return true;
}

void watermark_cut(struct watermark *w, int64_t end)
{
    int64_t stable = watermark_stable(w);
    int64_t high = watermark_high(w);
    /* Downwards from the least mark, so that a reader in between finds W1. */
    tide_pub64_set(&w->last_stable_offset, (uint64_t)TIDE_MIN(end, stable));
    tide_pub64_set(&w->high_watermark, (uint64_t)TIDE_MIN(end, high));
    tide_pub64_set(&w->durable_end, (uint64_t)end);
    tide_pub64_set(&w->log_end, (uint64_t)end);
}

void watermark_check(const struct watermark *w)
{
    int64_t log_end = watermark_log_end(w);
    TIDE_ASSERT(watermark_durable_end(w) <= log_end);        /* W1 */
    TIDE_ASSERT(watermark_high(w) <= log_end);               /* W1 */
    TIDE_ASSERT(watermark_stable(w) <= watermark_high(w));   /* W1 */
}
