/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The marks of a partition in one leader epoch: how far it is appended, durable here, acknowledged
 * by each replica, committed.
 *
 * Every mark is a published word with exactly one writer: the home core writes all of them but the
 * acknowledged ends, each of which belongs to the core of that replica's stream. None falls within
 * an epoch, so an old value is one that was true before: it gives a fetch less than it could have
 * and lets an acknowledgement wait longer, never the opposite.
 *
 * What a replica acknowledged belongs to one subscription of it. The home core stops to listen when
 * that ends (watermark_forget), and sets the words back before it grants the next one
 * (watermark_listen), when no other core writes them: what an earlier incarnation held says nothing
 * about this one. Only the home core reads them.
 *
 * A follower keeps the same marks of its own log; its high watermark is what its leader told,
 * bounded by its own end (watermark_follow).
 *
 * Invariants (watermark_check):
 *   W1  durable_end <= log_end, high_watermark <= log_end, last_stable_offset <= high_watermark.
 *   W2  no mark falls while the leader epoch stands; a follower that is cut (watermark_cut) was not
 *       streaming yet, and its high watermark falls only if the epoch began uncleanly.
 *   W3  high_watermark <= the acknowledged end of every member of the maximal ISR at the moment
 *       when it is raised; the leader's own is its counted end.
 *   W4  the high watermark stands still while the committed ISR is smaller than the effective
 *       min.insync.replicas.
 */
#ifndef TIDEMARK_PARTITION_WATERMARK_H
#define TIDEMARK_PARTITION_WATERMARK_H

#include <stdbool.h>
#include <stdint.h>

#include "tidemark/mutant.h"
#include "tidemark/published.h"
#include "tidemark/types.h"

struct watermark {
    /* published by the home core; pairs with the acquires in watermark_*() */
    _Alignas(TIDE_CACHE_LINE) struct tide_pub64 log_end;
    struct tide_pub64 durable_end;
    struct tide_pub64 high_watermark;
    struct tide_pub64 last_stable_offset;
    struct tide_pub64 log_start;
    struct tide_pub64 leader_epoch;
    /* owned by the home core */
    _Alignas(TIDE_CACHE_LINE) int64_t epoch_start;
    uint32_t replica_count; /* 0 is the leader, the others in the order of the assignment */
    uint32_t committed_isr; /* bit per replica */
    uint32_t proposed_isr;  /* proposed and not yet answered; the maximal ISR is the union (design 5) */
    uint32_t min_insync;
    uint32_t heard;         /* replicas whose words count: they are of the subscription that stands */
    bool count_durable;     /* ack.durability=device */
    /* published, each by the core of that replica's stream */
    struct {
        _Alignas(TIDE_CACHE_LINE) struct tide_pub64 log_end;
        struct tide_pub64 durable_end;
        struct tide_pub64 caught_up_ns; /* the time as of which it had everything; stale: earlier */
    } acknowledged[TIDE_REPLICAS_MAX];
};

/* [home] A new leader epoch: everything below `log_end` is here, below `durable_end` on the device;
 * `high_watermark` is what is known to be committed. The ISR bitmaps include bit 0, the leader.
 * A follower is alone. */
void watermark_begin(struct watermark *, int32_t leader_epoch, int64_t log_start, int64_t log_end, int64_t durable_end,
                     int64_t high_watermark, uint32_t replica_count, uint32_t isr);
/* [home] Replicas were added: they have acknowledged nothing. */
void watermark_extend(struct watermark *, uint32_t replica_count);
/* [home] */
void watermark_configure(struct watermark *, uint32_t min_insync_replicas, bool count_durable);
void watermark_appended(struct watermark *, int64_t log_end);
void watermark_durable(struct watermark *, int64_t durable_end);
/* A grow or shrink is proposed / committed. */
void watermark_propose_isr(struct watermark *, uint32_t isr);
void watermark_commit_isr(struct watermark *, uint32_t isr);
/* [core of the stream] The replica holds everything below `log_end`, on its device below
 * `durable_end`. Old news is ignored. True when either rose. */
bool watermark_acknowledged(struct watermark *, uint32_t replica, int64_t log_end, int64_t durable_end);
/* [core of the stream] It had everything as of that time. */
void watermark_caught_up(struct watermark *, uint32_t replica, uint64_t at_ns);
/* [home] What the replica acknowledged counts no more, whatever is still written. */
void watermark_forget(struct watermark *, uint32_t replica);
/* [home] Nobody writes the replica's words now: they begin anew, and count. */
void watermark_listen(struct watermark *, uint32_t replica);
/* [home] The end of a replica that counts: durable_end or log_end, by ack.durability. */
int64_t watermark_counted_of(const struct watermark *, uint32_t replica);
/* [home] Its log_end: what it has in memory at least. */
int64_t watermark_held_of(const struct watermark *, uint32_t replica);
/* [home] Raises the high watermark to the minimum over the maximal ISR. True when it moved. */
bool watermark_evaluate(struct watermark *);
/* [home, follower that streams] The leader's high watermark, as far as we hold it. True when ours
 * moved. */
bool watermark_follow(struct watermark *, int64_t leader_high);
/* [home, follower that does not stream] The log ends at `end` now, all of it durable. */
void watermark_cut(struct watermark *, int64_t end);

/* [any] */
static inline int64_t watermark_log_end(const struct watermark *w) { return (int64_t)tide_pub64_peek(&w->log_end); }
static inline int64_t watermark_durable_end(const struct watermark *w) { return (int64_t)tide_pub64_peek(&w->durable_end); }
static inline int64_t watermark_high(const struct watermark *w) { return (int64_t)tide_pub64_peek(&w->high_watermark); }
static inline int64_t watermark_stable(const struct watermark *w) { return (int64_t)tide_pub64_peek(&w->last_stable_offset); }
static inline bool watermark_counts_durable(const struct watermark *w)
{
    return __atomic_load_n(&w->count_durable, __ATOMIC_RELAXED) && !MUTANT(DURABLE);
}

/* The end that counts for an acknowledgement by the leader alone. */
static inline int64_t watermark_counted(const struct watermark *w)
{
    return watermark_counts_durable(w) ? watermark_durable_end(w) : watermark_log_end(w);
}

/* What the log held when the epoch began is committed. */
bool watermark_epoch_committed(const struct watermark *);
/* [any] Does the high watermark wait for it? Stale, somebody else is waited for a moment longer. */
bool watermark_waits_for(const struct watermark *, uint32_t replica);
/* min(min.insync.replicas, replicas) members are in sync. */
static inline bool watermark_min_isr_met(const struct watermark *w)
{
    uint32_t isr = __atomic_load_n(&w->committed_isr, __ATOMIC_RELAXED);
    uint32_t min = __atomic_load_n(&w->min_insync, __ATOMIC_RELAXED);
    uint32_t replicas = __atomic_load_n(&w->replica_count, __ATOMIC_RELAXED);
    return (uint32_t)__builtin_popcount(isr) >= TIDE_MIN(min, replicas);
}

void watermark_check(const struct watermark *);

#endif
