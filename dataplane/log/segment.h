/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segment files: their names, their making, scanning and sealing by helpers, and the table in which
 * any core finds them.
 *
 * A segment's life, and the state in which others see it:
 *
 *   prepared   `next.prepared`: extended, zeroed and durable, directory entry included, before the
 *              core may roll into it. Its base offset is not known yet, hence the name.
 *   ACTIVE     the home core appends. At the roll the table gets the entry; the name stays
 *              `next.prepared` until the job that seals the predecessor renames it.
 *   SEALING    rolled away from: size and next_offset stand, the index is still in memory.
 *   CLOSED     file truncated to its size, index files written, synced and mapped.
 *
 * Why the file keeps its provisional name over the roll: a rename that had to be durable before the
 * first acknowledgement would put a directory sync into the write path. So an acknowledged batch
 * may lie in `next.prepared` after a crash, and recovery gives it its name by its first batch. The
 * sealing job (segment_seal) goes in this order, and each step may be the last before a crash:
 *   S1  next.prepared -> <base>.log, sync directory   recovery: as above, or found by name
 *   S2  truncate the old segment to its size, sync    recovery: scan it, its end is the next base
 *   S3  .timeindex, then .index (temporary, sync,     recovery: scan it, write both again
 *       rename), sync directory
 * The .index file is the mark that a segment is sealed. A new `next.prepared` is made only after
 * S1, and the sealing job runs only when every byte of the old segment is on the device: bytes in
 * the new file therefore imply the whole old one (with RWF_DSYNC writes; see recovery.c for
 * without).
 *
 * Threads: [helper] unless said otherwise. A struct log_segment is written by the home core and
 * constant once its state says so (release; readers acquire). Its memory stays for LOG_GONE_MS after
 * it is GONE and has been closed, so that whoever found it in the table may look at it; its file and
 * its maps are used only under a pin.
 */
#ifndef TIDEMARK_LOG_SEGMENT_H
#define TIDEMARK_LOG_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "kafka/batch.h"
#include "log/checkpoint.h"
#include "log/epochs.h"
#include "log/index.h"
#include "tidemark/fs.h"
#include "tidemark/published.h"
#include "tidemark/types.h"

#define LOG_PREPARED_NAME "next.prepared"
#define LOG_START_NAME "log-start-offset-checkpoint"
#define LOG_CHECKPOINT_NAME "active.checkpoint"

enum log_segment_limit {
    LOG_PATH_MAX = 1024,
    LOG_NAME_DIGITS = 20,
    LOG_ZERO_BYTES = 1 << 20, /* of one write when zeroing ahead (floors 3.2) */
    LOG_SCAN_BYTES = 1 << 20,
    LOG_SEGMENTS_PER_CHUNK = 64,
    LOG_SEGMENT_CHUNKS = 256,
    LOG_SEGMENTS_MAX = LOG_SEGMENTS_PER_CHUNK * LOG_SEGMENT_CHUNKS, /* of a log at one time */
};

enum log_segment_state {
    LOG_SEGMENT_NONE = 0,
    LOG_SEGMENT_ACTIVE,
    LOG_SEGMENT_SEALING,
    LOG_SEGMENT_CLOSED,
    LOG_SEGMENT_GONE, /* removed, or replaced by another: its file is closed when nobody pins it */
};

struct log_segment {
    /* from ACTIVE on */
    uint64_t id; /* never used twice in a process (cache.h) */
    int64_t base_offset;
    uint64_t tail_base; /* number of its first window in the tail (tail.h) */
    int file;
    /* from SEALING on */
    uint32_t size;
    int64_t next_offset;
    bool gaps; /* from ACTIVE on: offsets may be missing between its batches (compact.h) */
    /* from CLOSED on; entries in Kafka's format, NULL when there are none */
    int64_t max_timestamp; /* -1: none */
    const uint8_t *index;
    const uint8_t *time_index;
    uint32_t index_count;
    uint32_t time_count;

    struct tide_pub64 state; /* enum log_segment_state; a stale one is a less finished segment */
    _Atomic uint32_t pins;   /* [any] */

    /* owned: list of those that are gone */
    uint32_t number; /* of its slot in the table */
    struct log_segment *next;
    uint64_t gone_ns;
};

/* Slots of the table: struct log_segment *, 0 none yet. */
struct log_segment_chunk {
    struct tide_pub64 segments[LOG_SEGMENTS_PER_CHUNK];
};

/* ---- files ------------------------------------------------------------------------------------
 */

/* <dir>/<base as 20 digits><suffix>. -ENAMETOOLONG when it does not fit. */
int segment_path(char ret[LOG_PATH_MAX], const char *dir, int64_t base_offset, const char *suffix);
int log_path(char ret[LOG_PATH_MAX], const char *dir, const char *name);
/* The base offset of "<20 digits><suffix>"; false for any other name. */
bool segment_name_parse(const char *name, const char *suffix, int64_t *ret_base);

/* A whole small file, malloc'd. -EFBIG when it is larger than `max`. */
int log_file_load(const struct tide_fs *, const char *dir, const char *name, size_t max, char **ret,
                  size_t *ret_len);
/* Temporary, sync, rename, sync directory: on return the new contents are durable. */
int log_file_replace(const struct tide_fs *, const char *dir, const char *name, const void *bytes,
                     size_t len);

/* Extends the file to `to` with zeroes from `from` on (both multiples of TIDE_BLOCK). `written`: they are written and synced.
 * Else, for writes that need not be durable, the space is there and reads as zeroes, and nothing is written or synced
 * where the file system can allocate. */
int segment_extend(const struct tide_fs *, int file, uint64_t from, uint64_t to, bool written);
/* Cuts the file to `size` and fills its last block with zeroes, synced: whole blocks are written to it, and none makes it longer. */
int segment_cut(const struct tide_fs *, int file, uint64_t size);
/* A new file under `path`, durable with its directory entry, of `bytes` zeroes that are written or else allocated. A file
 * of that name is replaced. The handle, or -errno. */
int segment_create(const struct tide_fs *, const char *dir, const char *path, uint64_t bytes, bool written);

/* Removes a segment with its index files, durably. Files that are not there are fine. */
int segment_remove(const struct tide_fs *, const char *dir, int64_t base_offset);
/* Only the index files. */
int segment_remove_index(const struct tide_fs *, const char *dir, int64_t base_offset);
/* Writes log-start-offset-checkpoint, durably: "0", the offset, the CRC-32C of both lines. */
int log_start_store(const struct tide_fs *, const char *dir, int64_t start);
/* 0 without the file; -EBADMSG when it is damaged. */
int log_start_load(const struct tide_fs *, const char *dir, int64_t *ret_start);

/* Both index files of a segment, S3. */
int segment_write_index(const struct tide_fs *, const char *dir, int64_t base_offset,
                        const struct log_index *);
/* Maps them into `s` (index, time_index, counts). -ENOENT, -EBADMSG when they are not sane. */
int segment_map_index(const struct tide_fs *, const char *dir, struct log_segment *s);
void segment_unmap_index(const struct tide_fs *, struct log_segment *s);

/* ---- reading a file in order ------------------------------------------------------------------
 */

/* Aligned reads through a direct handle, LOG_SCAN_BYTES at a time (or the whole of a smaller file).
 */
struct segment_reader {
    const struct tide_fs *fs;
    int file;
    int error;      /* -errno of the read that failed, sticky */
    uint64_t limit; /* nothing at or behind it is read */
    uint64_t at;    /* what `buf` holds */
    uint32_t len;
    uint32_t room; /* of buf */
    uint8_t *buf;
};
int segment_reader_init(struct segment_reader *, const struct tide_fs *, int file, uint64_t limit);
void segment_reader_deinit(struct segment_reader *);
/* `n` <= LOG_SCAN_BYTES - TIDE_BLOCK bytes at `position`, valid until the next call. NULL behind
 * the limit, or with r->error. */
const uint8_t *segment_read(struct segment_reader *, uint64_t position, uint32_t n);

/* What every walk asks of a header before it believes its length and offsets: magic 2, a length
 * that is one and ends within `room` bytes from its start, offsets that do not wrap. */
bool log_header_parse(const uint8_t bytes[BATCH_HEADER], uint64_t room, struct batch_header *ret,
                      uint32_t *ret_size);

enum segment_end {
    SEGMENT_END_WHOLE, /* the last batch ends where the file ends */
    SEGMENT_END_ZERO,  /* behind it there are only zeroes */
    SEGMENT_END_TORN,  /* behind it there is something else */
};

struct segment_scan {
    /* in */
    int64_t base_offset;
    int32_t last_epoch;            /* of the batch before this segment, -1 none */
    struct log_epoch_lines *lines; /* what is allowed */
    bool learn_epochs;             /* the file was lost: epochs are taken from the batches */
    bool exact_epochs;             /* a batch that readers would refuse for its epoch does not count */
    struct log_index *index;       /* filled; NULL: none */
    int64_t gaps_below;            /* a gap that ends at or below it is legal */
    int64_t keep_below;            /* a batch wholly below it counts, be its sum wrong, as long as its header fits */
    bool stops;                    /* batches that reach `stop_at` or beyond are left */
    int64_t stop_at;
    const struct log_checkpoint *from; /* begin at its last entry; `index` has it. NULL: at 0 */
    /* out */
    uint64_t position; /* behind the last good batch */
    int64_t next_offset;
    int64_t max_timestamp;   /* -1: none */
    int64_t first_timestamp; /* max_timestamp of the first batch, -1: none */
    enum segment_end end;
    bool rotten;  /* a batch counts whose sum is wrong */
    bool stopped; /* at stop_at */
    int64_t stopped_base; /* of the batch that it stopped at */
};
/* Walks the batches from the start of the file, checks each one (length, magic, offsets, epoch,
 * CRC-32C) and stops at the first that is not good. 0, or -errno when reading failed; -EBADMSG when
 * there is no batch where the checkpoint says. */
int segment_scan(struct segment_reader *, struct segment_scan *);

/* Is there a good batch at position 0? Its base offset and epoch; for `next.prepared`. */
bool segment_first_batch(struct segment_reader *, const struct log_epoch_lines *, int64_t *ret_base,
                         int32_t *ret_epoch);

/* Walks headers from the last index entry: does the last batch end at `size`, and with the offset
 * before `next_base`? Fills next_offset and max_timestamp of `s`, and the epoch of its last batch.
 */
bool segment_tail_fits(struct segment_reader *, struct log_segment *s, int64_t next_base,
                       int64_t gaps_below, int32_t *ret_epoch);

/* Calls on_batch for the headers of a segment of s->size bytes whose batches reach `from` or beyond,
 * beginning at `position`. */
int segment_replay(struct segment_reader *, const struct log_segment *s, uint64_t position,
                   int64_t from, void (*on_batch)(void *arg, const struct batch_header *), void *arg);

/* S1 (when there is an `unnamed` base of the successor) to S3 and the mapping. `s` is the job's own
 * copy of the entry. *unnamed becomes -1 once the successor has its name. After an error that passes
 * (a full disk) the call may be repeated; after any other only recovery knows how far it went. */
int segment_seal(const struct tide_fs *, const char *dir, struct log_segment *s, int64_t *unnamed,
                 const struct log_index *index);

#endif
