/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a core has read from segment files: its read buffers, kept for the next reader.
 *
 * A buffer holds one chunk of one file, the bytes between two multiples of read_buffer_bytes, or a
 * part of it, [from, to). It fills at its end only, in pieces, so bytes that a view leads to are
 * never written again.
 *
 * A chunk is named by its segment's id and its position. An id is never used twice: a segment that is
 * cut, compacted, or opened again is another one, and below what was written when it was read the
 * bytes of a segment do not change. So nobody has to tell the cache that a log was truncated,
 * trimmed, compacted or closed. Nobody asks for those chunks any more, and they go with age.
 *
 * References. One is the cache's, one each read's that works with the buffer, one the fill's that is
 * out, one each view's. When only the cache's is left, the buffer may be taken for something else, the
 * one that was of use longest ago first. A chunk that somebody still sends may lose its place in the
 * cache; its bytes stay until the last view is gone.
 *
 * Fills. A read fills what it waits for (DISK_OWNER_READ; it has the completion). What lies behind the
 * answer of a reader who goes on where it ended is filled ahead of it, for nobody (DISK_OWNER_AHEAD);
 * such a fill pins its segment and counts in its log (log_is_read).
 *
 * Writes go first. Fills are bounded in number (reads_out_max, aheads_out_max) and size
 * (read_piece_bytes), and while a write of this core is out only one is out beside it: a write waits
 * behind one piece at a time, not behind a reader, and a reader goes on whatever is written.
 *
 * Owner: the core.
 *
 * Invariants (log_cache_check):
 *   C1  a cached buffer is in its bucket and in the list, and has a reference.
 *   C2  start <= from <= to <= start + size, and start is a multiple of size.
 *   C3  reads_out is the number of fills that are out, aheads_out of those for nobody.
 *   C4  no two buffers have one name.
 */
#ifndef TIDEMARK_LOG_CACHE_H
#define TIDEMARK_LOG_CACHE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "tidemark/disk_op.h"
#include "tidemark/published.h"

struct log;
struct log_core;
struct log_segment;
struct log_buffer;
TAILQ_HEAD(log_buffer_list, log_buffer);

enum log_cache_limit {
    LOG_CACHE_LOOK = 64, /* buffers that are looked at to find one that nobody uses */
};

/* Of a read buffer. */
struct log_cached {
    struct tide_pub64 id; /* of the segment; 0: not cached. Others count by it: stale, one off */
    uint64_t start;       /* positions in the file */
    uint64_t from;
    uint64_t to;
    uint64_t ended;      /* where an answer ended, UINT64_MAX: none yet */
    uint64_t filling_to; /* with `filling`: behind the last byte that counts */
    bool filling;
    bool ahead; /* read ahead, and nobody has come for it */
    struct log_buffer *next; /* in its bucket */

    /* a fill for nobody */
    uint32_t generation;
    uint64_t wanted; /* goes on until here */
    uint64_t limit;  /* the file's bytes end there */
    struct log *log; /* NULL: none is out */
    struct log_segment *segment;
};

struct log_cache {
    struct log_buffer_list list; /* the one of use longest ago first */
    struct log_buffer **buckets;
    uint32_t mask;
    uint32_t reads_out; /* fills, all of them */
    uint32_t aheads_out;
    uint32_t writes_out; /* of this core's logs */
    bool waited;         /* a read found no turn since one had it: nothing goes ahead of it */
};

bool log_cache_init(struct log_core *);
void log_cache_deinit(struct log_core *);

/* The buffer of the chunk with `position`, or NULL. No reference is taken. */
struct log_buffer *log_cache_find(const struct log_core *, uint64_t id, uint64_t position);
/* An empty buffer for the chunk with `position`, to be filled from there (a multiple of TIDE_BLOCK);
 * another one of that name loses it. A reference is the caller's. NULL: all are in use. */
struct log_buffer *log_cache_make(struct log_core *, uint64_t id, uint64_t position);
/* Somebody reads it. */
void log_cache_use(struct log_core *, struct log_buffer *);
/* Its bytes are not believed, or there are none. */
void log_cache_forget(struct log_core *, struct log_buffer *);
/* Takes the one of use longest ago out, if nobody else has it. */
bool log_cache_evict(struct log_core *);

/* Has a fill its turn? What is for nobody waits for reads that wait. */
bool log_fill_may_begin(struct log_core *);
bool log_ahead_may_begin(const struct log_core *);
/* Asks for the next piece behind b's end, up to `wanted`, of which the file has the bytes below
 * `limit`. The caller has looked whether it may, and whether there is room. */
void log_fill_begin(struct log_core *, struct log_buffer *, int file, uint64_t wanted, uint64_t limit, uint64_t id,
                    struct tide_out *);
/* It is back. 0 or -errno; may be short: then the end has moved by so much. */
int log_fill_end(struct log_core *, struct log_buffer *, int64_t result);

/* Fills for nobody, piece after piece, as long as they have their turn. */
void log_ahead_begin(struct log_core *, struct log_buffer *, struct log *, struct log_segment *, uint64_t wanted,
                     uint64_t limit, struct tide_out *);

/* A write has been asked for; it is back. */
void log_cache_on_write(struct log_core *);
void log_cache_on_written(struct log_core *);

void log_cache_check(const struct log_core *);

#endif
