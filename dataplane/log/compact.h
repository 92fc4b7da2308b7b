/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compaction of closed segments (cleanup.policy=compact), in slices of a helper's time.
 *
 *   IDLE       nothing
 *   MAKING     a helper brings memory
 *   RUNNING    slices: first the keys of the dirty segments go into the map (clean.h), then every
 *              segment from the first one on is written again without what is superseded
 *   FREEING    a helper takes the memory back
 *
 * A segment is replaced by its successor of the same base offset, one at a time. Each step may be
 * the last before a crash:
 *   K1  cleaner-offset-checkpoint says below which offset gaps between batches are legal; before
 *       the first replacement
 *   K2  <base>.log.cleaned is written and synced          recovery: a leftover, it goes
 *   K3  the index files of <base> go, sync directory      recovery: scanned, indexed again
 *   K4  <base>.log.cleaned -> <base>.log, sync directory  recovery: scanned, indexed again
 *   K5  new index files, synced
 *   K6  the home core puts the new segment into the table; the old one is closed when nobody pins it
 *   K7  at the end cleaner-offset-checkpoint says up to where it is clean
 * Segments are not merged: a segment that lost everything stays as an empty file, so the numbers of
 * the table stay, and readers walk over it. The last batch of what is cleaned stays, so a reader
 * always finds a batch before the end.
 *
 * Never together with trim, truncation or closing of the same log: they ask it to stop, which it
 * does after its slice. One compaction at a time on a core, so one map. Its rate is bounded by
 * bytes_per_second: slices wait when they are a second ahead of it.
 *
 * Owner: the home core. While a slice is out the compaction's memory belongs to the helper.
 */
#ifndef TIDEMARK_LOG_COMPACT_H
#define TIDEMARK_LOG_COMPACT_H

#include <stdbool.h>
#include <stdint.h>

#include "log/log.h"
#include "log/segment.h"
#include "tidemark/disk_op.h"

#define LOG_CLEANER_NAME "cleaner-offset-checkpoint"

enum {
    LOG_COMPACT_SEGMENTS = 512, /* of one round */
    LOG_COMPACT_SLICE = 4 << 20, /* bytes read and written, about, before the helper is free again */
};

/* So far a compaction may be ahead of its pace: a log without work gets its turn once a second. */
#define LOG_COMPACT_AHEAD_NS 1000000000ull

enum compact_phase { COMPACT_IDLE = 0, COMPACT_MAKING, COMPACT_RUNNING, COMPACT_FREEING };

struct compaction; /* compact.c */

struct log_compact_job {
    struct tide_job job;
    bool out;
    bool stop;   /* asked to */
    bool has_turn; /* of the core's compactions */
    bool broken;   /* a replacement failed half way: none until the log was opened again */
    enum compact_phase phase;
    uint64_t next_ns;
    int64_t bytes_per_second;
    int64_t now_ms;
    int64_t delete_retention_ms;
    int64_t limit; /* segments that end below it */
    int64_t min_lag_ms;
    size_t map_bytes;
    const char *dir;
    struct compaction *c;
};

struct log_cleaner {
    int64_t gaps_below;  /* a gap between batches that ends at or below it is legal */
    int64_t clean_below; /* compaction has seen every key before it */
    /* A truncation that ended in a gap: no batch tells where the log ends. It ends at cut_end or
     * behind it if the segment cut_base has whole batches up to cut_position. -1: none. */
    int64_t cut_end;
    int64_t cut_base;
    int64_t cut_position;
};
/* [helper] Durable when it returns 0. */
int log_cleaner_store(const struct tide_fs *, const char *dir, const struct log_cleaner *);
/* Without the file nothing was ever cleaned; -EBADMSG when it is damaged. */
int log_cleaner_load(const struct tide_fs *, const char *dir, struct log_cleaner *ret);

/* [home] The next slice, when it is its time. */
void log_compact_start(struct log *, struct tide_out *);
bool log_compact_is_due(const struct log *);
/* [home] It ends after its slice. True when nothing of it is left. */
bool log_compact_stop(struct log *, struct tide_out *);
void log_compacted(struct log *, struct tide_job *);
void log_compact_give_turn(struct log *); /* the log FAILED: another one may compact */
void log_compact_destroy(struct log *); /* [control] what a job left that never came back */

#endif
