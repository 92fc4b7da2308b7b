/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of this folder know of a log.
 *
 * Bytes go: appended (in the tail) -> in flight -> written. Both ends are (segment, position)
 * pairs; `written` may still be in the segment before the active one after a roll.
 *
 *   OPEN      log_open succeeded; until log_adopt nobody owns it
 *   RUNNING   a home core appends and writes
 *   CLOSING   no more appends; what is appended is written
 *   RELEASED  no core has it: log_close may run
 *   FAILED    a write, a job or the bookkeeping went wrong: nothing is written any more; what was
 *             durable stays readable
 *
 * Invariants (log_check):
 *   L1  written <= appended, both as (segment, position); where they are equal no batch has waited since unwritten_ns.
 *   L2  the appended position <= zeroed_end <= segment_cap.
 *   L3  durable_end <= next_offset; equal when written == appended.
 *   L4  bytes between written and appended lie in attached buffers, back to the start of the block.
 *   L5  at most one write is in flight, and it starts at the block of `written`.
 *   L6  a segment's base offset is its predecessor's next offset.
 *   L8  the start lies between the first segment's base offset and next_offset.
 *   L9  every segment of the table has an id that no other ever had.
 *   L7  at most one segment is SEALING, the one before the active; its index is index[number % 2].
 */
#ifndef TIDEMARK_LOG_INTERNAL_H
#define TIDEMARK_LOG_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "log/buffers.h"
#include "log/compact.h"
#include "log/epochs.h"
#include "log/index.h"
#include "log/log.h"
#include "log/segment.h"
#include "log/tail.h"
#include "tidemark/disk_op.h"
#include "tidemark/fs.h"
#include "tidemark/types.h"

enum log_limit {
    LOG_RECENT = 32,             /* batches whose place is remembered exactly */
    LOG_SPACE_RETRY_MS = 1000,   /* between attempts while the disk is full */
    LOG_TRIM_MAX = 64,           /* segments that one job removes */
    LOG_REAP_MAX = 64,
    LOG_GONE_MS = 60000, /* the memory of a removed segment stays that long: far above any turn */
};

enum log_state {
    LOG_NEW = 0,
    LOG_OPEN,
    LOG_RUNNING,
    LOG_CLOSING,
    LOG_RELEASED,
    LOG_FAILED,
    LOG_STATE_COUNT
};

/* A (segment, position) pair in one published word. */
static inline uint64_t log_end_pack(uint32_t segment, uint32_t position)
{
    return (uint64_t)segment << 32 | position;
}
static inline uint32_t log_end_segment(uint64_t word)
{
    return (uint32_t)(word >> 32);
}
static inline uint32_t log_end_position(uint64_t word)
{
    return (uint32_t)word;
}

/* Zeroes a piece of the active segment's file, or of the prepared one (ahead.h). */
struct log_extend_job {
    struct tide_job job;
    bool out;
    bool written; /* else allocated */
    int file;
    uint32_t segment; /* its number, or the one that the prepared file will have */
    uint64_t from;
    uint64_t to;
};

struct log_prepare_job {
    struct tide_job job;
    bool out;
    const char *dir;
    uint64_t bytes;
    bool written; /* else allocated */
    bool wants_chunk;
    bool wants_segment;
    int ret_file;
    struct log_segment_chunk *ret_chunk;
    struct log_segment *ret_segment;
};

struct log_seal_job {
    struct tide_job job;
    bool out;
    const char *dir;
    int64_t unnamed;  /* base of the successor, -1 once it has its name */
    bool again;       /* the disk was full; what was done of it stays done */
    struct log_segment segment; /* a copy; its map goes into the table when the job is back */
    const struct log_index *index;
};

/* Raises the start of the log, removes the files of segments below it. */
struct log_trim_job {
    struct tide_job job;
    bool out;
    const char *dir;
    int64_t start;
    bool in_segment; /* the start is not where a segment begins: the file has to say it */
    uint32_t count;
    int64_t bases[LOG_TRIM_MAX];
};

/* Cuts the log behind `to` (truncate.c). */
struct log_truncate_job {
    struct tide_job job;
    bool out;
    const char *dir;
    int64_t to;
    int64_t start;   /* of the log */
    uint32_t number; /* of the segment that holds `to` */
    int64_t base;
    int32_t epoch_before; /* no batch of it has a lower one, -1 */
    struct log_cleaner cleaner;
    uint32_t size;           /* of its bytes now */
    struct log_index *index; /* for it */
    struct log_epoch_lines lines;
    /* out */
    struct log_segment *ret_segment;
    uint32_t ret_position;
    int64_t ret_end;
    int64_t ret_last; /* behind the last batch that stays */
    int64_t ret_first_timestamp;
    uint8_t ret_last_block[TIDE_BLOCK];
};

/* Lets offsets be missing, and moves the end of the log on (skip.c). */
struct log_skip_job {
    struct tide_job job;
    bool out;
    const char *dir;
    int64_t from;            /* the end of the log now */
    int64_t to;              /* and from then on; the same: gaps alone are allowed */
    int64_t base;            /* of the active segment */
    bool renames;            /* it is empty: its base offset becomes `to` */
    struct log_cleaner cleaner;
    struct log_epoch_lines lines;
};

/* Writes down how far the active segment needs no second look (checkpoint.h). */
struct log_checkpoint_job {
    struct tide_job job;
    bool out;
    struct log_segment *unsynced; /* pinned: its writes were not durable ones */
    const char *dir;
    int64_t base;
    int64_t first_timestamp;
    uint32_t limit; /* entries below this position */
    const struct log_index *index;
    uint64_t segment;
};

/* Closes the files of segments that are gone, frees the memory of older ones. */
struct log_reap_job {
    struct tide_job job;
    bool out;
    uint32_t close_count;
    uint32_t free_count;
    struct log_segment *close[LOG_REAP_MAX];
    struct log_segment *free[LOG_REAP_MAX];
};

struct log_epoch_job {
    struct tide_job job;
    bool out;
    const char *dir;
    struct log_epoch_lines lines;
};

struct log_write {
    bool out;
    uint64_t begun_ns;
    uint32_t segment;
    uint32_t len;
    uint64_t id;
    uint64_t start;
    uint64_t end;           /* of the bytes that count, <= start + len */
    int64_t durable_offset; /* what is durable when all of it is written; -1: nothing new */
};

/* The exact place of a recent batch, for readers at the tail. `offset` is -1 while it changes. */
struct log_recent {
    struct tide_pub64 offset;
    struct tide_pub64 place; /* log_end_pack */
};

struct log {
    /* set before start */
    struct log_config config;
    char *dir;
    const struct tide_fs *fs;
    const char *recovery_label;
    int64_t doubted; /* recovery kept rot: batches below it are summed wherever they are read from; else 0 */
    uint64_t segment_wanted; /* size of the next segment, in bytes */
    uint64_t segment_cap; /* aligned size to which a segment is extended at most */

    /* read-mostly: written at adoption */
    struct log_core *core;
    enum log_state state;

    TAILQ_ENTRY(log) line; /* of those that were refused a tail buffer (buffers.h) */
    bool in_line;
    uint64_t line_tried_ns;

    /* owned */
    uint32_t active;   /* number of the active segment */
    uint32_t position; /* appended bytes of it */
    uint32_t written_segment;
    uint32_t written; /* position in written_segment */
    int64_t next_offset;
    int64_t durable_end;
    uint64_t zeroed_end;     /* of the active segment */
    uint64_t ahead_max;      /* how far ahead of the position at most */
    bool outran;             /* an append came to zeroed_end since the last piece was there */
    bool has_ahead;          /* a piece was made since it was opened */
    bool fed;                /* somebody wanted to append since it was opened: space is zeroed ahead */
    int64_t first_timestamp; /* of the active segment's first batch, -1 none */
    int64_t first_wall_ms;   /* wall clock at its first append */
    int64_t wall_ms;
    uint64_t now_ns;
    struct log_written last_written;
    uint64_t unwritten_ns;   /* since when the oldest batch waits that no write has; 0: none does */
    uint64_t space_retry_ns; /* the disk was full: no job before this */
    bool space_missing;
    bool refused_for_space;  /* the last log_make_room or log_begin_epoch was */
    bool rot_met;            /* by a job or recovery; log_take_rot */
    bool retry; /* log_wants_retry */
    bool prepared;
    int prepared_file;
    uint64_t prepared_bytes;
    bool seal_wanted;
    struct log_segment_chunk *spare_chunk; /* for the table, from the prepare job */
    struct log_segment *spare_segment;
    struct log_segment *gone;   /* to be closed */
    struct log_segment *closed; /* their memory may still be looked at; oldest first */
    struct log_segment **closed_tail;
    bool roll_wanted;        /* by age, though nothing is appended */
    int64_t trim_wanted;     /* the start that was asked for, -1 none */
    int64_t truncate_wanted; /* the end that was asked for, -1 none; no appends meanwhile */
    struct log_cleaner cleaner; /* as it is on the disk */
    uint32_t checkpoint_at;  /* position of the active segment that the checkpoint covers */
    uint32_t recent_at;
    struct log_write write;

    struct log_extend_job extend_job;
    struct log_prepare_job prepare_job;
    struct log_seal_job seal_job;
    struct log_epoch_job epoch_job;
    struct log_trim_job trim_job;
    struct log_reap_job reap_job;
    struct log_truncate_job truncate_job;
    struct log_checkpoint_job checkpoint_job;
    struct log_skip_job skip_job;
    struct log_compact_job compact_job;

    /* Published by the home core. next_pub is set last: who reads it first finds end_pub at least
     * as far. A stale end is a shorter log. written_pub tells what the file holds; stale, a read
     * waits or looks into memory. */
    _Alignas(TIDE_CACHE_LINE) struct tide_pub64 next_pub;
    struct tide_pub64 end_pub; /* log_end_pack(active, position) */
    struct tide_pub64 written_pub;
    struct tide_pub64 closed_bytes; /* of all segments before the active one */
    struct tide_pub64 start_pub;    /* log start offset; stale, a read finds more than it need */
    struct tide_pub64 first_pub;    /* number of the first segment */
    /* Offsets below it may be missing between batches; stale, a read is refused and comes again. */
    struct tide_pub64 gaps_pub;
    struct tide_pub64 failed_pub;
    struct log_recent recent[LOG_RECENT];

    /* The table, a ring: segment n in slot n % LOG_SEGMENTS_MAX. Chunks are set before any entry in
     * them is published and stay. */
    struct tide_pub64 chunks[LOG_SEGMENT_CHUNKS];
    struct log_index index[2];
    struct log_epochs epochs;
    struct tail tail;

    /* The block that was not full when its buffer was given up: [position of the block, position).
     */
    _Alignas(TIDE_CACHE_LINE) uint8_t last_block[TIDE_BLOCK];

    _Atomic uint32_t aheads; /* [any] fills for nobody that are out (cache.h) */
};

static inline struct tide_pub64 *log_segment_slot(const struct log *log, uint32_t n)
{
    uint64_t chunk = tide_pub64_peek(&log->chunks[n / LOG_SEGMENTS_PER_CHUNK % LOG_SEGMENT_CHUNKS]);
    return &((struct log_segment_chunk *)(uintptr_t)chunk)->segments[n % LOG_SEGMENTS_PER_CHUNK];
}

/* [any] Segment `n`, which is or was between the first and the active one. */
static inline struct log_segment *log_segment_at(const struct log *log, uint32_t n)
{
    return (struct log_segment *)(uintptr_t)tide_pub64_peek(log_segment_slot(log, n));
}

/* [any] Segment `n` with its file and maps, until log_segment_unpin. NULL: it is gone. */
struct log_segment *log_segment_pin(const struct log *, uint32_t n);
void log_segment_unpin(struct log_segment *);

static inline uint64_t log_block_floor(uint64_t position)
{
    return position & ~(uint64_t)(TIDE_BLOCK - 1);
}
static inline uint64_t log_block_ceil(uint64_t position)
{
    return log_block_floor(position + TIDE_BLOCK - 1);
}

/* [any] The position below which bytes of segment `n` are published: its size, or the appended end.
 */
uint32_t log_segment_end(const struct log *, uint32_t n);
/* [any] The position below which the file of segment `n` holds them. */
uint32_t log_segment_written(const struct log *, uint32_t n);
/* [any] The segment in which `offset` lies or would lie, looking back from `last`. */
uint32_t log_segment_of(const struct log *, uint32_t last, int64_t offset);
/* [any] A position in segment `n` at or before the batch with `offset`, where a batch starts. */
uint32_t log_floor_position(const struct log *, uint32_t n, int64_t offset);
/* [any] The exact place of a batch that begins at `offset`, if it is a recent one. */
bool log_recent_find(const struct log *, int64_t offset, uint32_t *ret_segment,
                     uint32_t *ret_position);
/* [home, helper before adoption] Takes the spare segment, fills it with `*s` and puts it into the
 * table; false without one, or without a chunk for it. */
bool log_table_put(struct log *, uint32_t n, const struct log_segment *s, enum log_segment_state);
/* [home] Puts the segment onto the list of those that are to be closed. */
void log_segment_leave(struct log *, struct log_segment *);
static inline uint32_t log_first(const struct log *log)
{
    return (uint32_t)tide_pub64_peek(&log->first_pub);
}
static inline int64_t log_gaps_below(const struct log *log)
{
    return (int64_t)tide_pub64_peek(&log->gaps_pub);
}
/* [home] Everything appended is written, and no job works on files that a change of the end needs. */
bool log_is_quiet(const struct log *);
void log_skipped(struct log *); /* the job is back and went well */
struct log_segment *segment_alloc(void); /* [helper] with an id of its own */
void log_move(struct log *, enum log_state);
void log_fail(struct log *);

#endif
