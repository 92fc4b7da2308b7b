/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log of one partition: segments on disk in Kafka's layout, and the tail in memory.
 *
 * Threads. The home core is the only writer ([home]). Other cores read ([any]): bytes below a
 * published mark never change within a leader epoch. Opening, extending, preparing, sealing and
 * closing are jobs of helpers ([helper]); a job and the core never touch the same field at once.
 *
 * Memory. All buffers come from the struct log_core of the core that uses them; sized at start.
 */
#ifndef TIDEMARK_LOG_LOG_H
#define TIDEMARK_LOG_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "tidemark/counters.h"
#include "tidemark/disk_op.h"
#include "tidemark/histogram.h"
#include "tidemark/published.h"
#include "tidemark/rope.h"
#include "tidemark/status.h"
#include "tidemark/types.h"

struct tide_fs;
struct log;

/* What a broker takes (bench/README.md has what they are worth). */
enum { LOG_READ_PIECE_BYTES = 128 << 10, LOG_READ_TURN_BYTES = 2 << 20 };

/* ---- what a core brings: pools for tails, reads and views --------------------------------- */
struct log_core_config {
    uint32_t core;
    uint32_t
        tail_buffer_bytes; /* power of two, multiple of TIDE_BLOCK; setting log.tail.buffer.bytes */
    uint32_t tail_buffers;
    uint32_t read_buffer_bytes; /* multiple of TIDE_BLOCK */
    uint32_t read_buffers;
    /* So that reads of this core do not hold up its writes (cache.h). */
    uint32_t reads_out_max;    /* in flight, beside a write one; 0: no bound */
    uint32_t aheads_out_max;   /* of them, those that nobody waits for; 0: nothing is read ahead */
    uint32_t read_piece_bytes; /* of one, a multiple of TIDE_BLOCK; 0: a whole buffer */
    uint32_t read_turn_bytes;  /* answered from the disk or the cache in a turn, about; 0: no bound */
    uint32_t index_chunks;
    uint32_t views; /* external-buffer mbufs */
    struct tide_counters *counters;
};
struct log_core;
struct log_core *log_core_create(const struct log_core_config *); /* [start]; NULL without memory */
void log_core_destroy(struct log_core *);
/* [core] A turn begins. True: the one before had answered as much from the disk as a turn may. */
bool log_core_turn(struct log_core *, const struct tide_time *);
/* Of the writes of all logs of a core: how long the oldest batch of one waited for it since its append, and how long it took
 * from then until its completion was taken. */
enum log_stage { LOG_STAGE_WAIT, LOG_STAGE_WRITE, LOG_STAGE_COUNT };
const struct tide_histogram *log_core_stage(const struct log_core *, enum log_stage); /* [any] */
/* [core] The completion of a read that was DISK_OWNER_AHEAD's. */
void log_core_on_disk(struct log_core *, const struct disk_done *, struct tide_out *);
/* [core] The disk queue is gone, and the completions with it: such reads count as failed. */
void log_core_lost(struct log_core *);
/* The memory that disk_create registers with io_uring: one region of tails, one of reads. */
unsigned log_core_regions(const struct log_core *, void **ret_base, size_t *ret_len, unsigned max);

/* ---- life -------------------------------------------------------------------------------- */
struct log_config {
    const char *dir; /* <log.dirs>/<topic>-<partition>; copied */
    struct tide_uuid topic_id;
    uint32_t slot; /* of the partition: goes into disk ids and job cookies */
    uint64_t segment_bytes;
    int64_t segment_ms;
    uint32_t index_interval_bytes;
    uint64_t preallocate_bytes; /* so far ahead of its end a log is zeroed; ahead.h */
    bool durable;               /* RWF_DSYNC writes */
    /* Below it everything is known to have been committed and to have been here; 0: nothing is known. With durable writes
     * a batch that is not whole there is no torn tail but rot (recovery.h). */
    int64_t committed;
    /* The replica is in sync no more and others are: every batch is looked at, and the log ends before the first that is
     * not whole, wherever that is. What follows comes from the leader again. */
    bool repair;
    /* Bytes of the active segment between two checkpoints of recovery; 0: 16 MiB. */
    uint32_t checkpoint_bytes;
};
struct log *log_create(const struct log_config *); /* [control] memory only */
/* [helper] Creates or opens the directory, recovers the tail (truncates what is torn, keeps what
 * is whole, cuts the rest off). Space is zeroed when somebody appends. `on_batch` is called for every
 * batch header of the replayed suffix, in order, so that producer state is rebuilt (from
 * `replay_from`, the offset of the newest snapshot). 0 or -errno with a sentence in error. */
struct batch_header;
int log_open(struct log *, const struct tide_fs *, int64_t replay_from,
             void (*on_batch)(void *arg, const struct batch_header *), void *arg, char *error,
             size_t error_size);
/* [helper] The same calls for the batches that reach `from` or beyond; between log_open and
 * log_adopt, or of a log that stands still: all of it written, nothing appended, rolled, trimmed or
 * cut meanwhile. 0 or -errno. */
int log_replay(struct log *, const struct tide_fs *, int64_t from,
               void (*on_batch)(void *arg, const struct batch_header *), void *arg);
/* Which row of recovery's table fitted the last segment, for the boot log; after log_open. */
const char *log_recovery_label(const struct log *);
/* [helper] After the core let go: truncates the active segment to its length, writes its indexes,
 * gives the index memory back to the core it came from (so before log_core_destroy). Files stay
 * open for readers. A FAILED log is left as it is, for recovery. 0 or -errno. */
int log_close(struct log *, const struct tide_fs *);
/* [control] After a grace period, count zero: closes the files through the fs of log_open. */
void log_destroy(struct log *);

/* [home] From now on this core is the only writer. */
void log_adopt(struct log *, struct log_core *);
/* [home] Stops appends, goes on writing what is appended; true when all of it is written (or the
 * log is FAILED), nothing is in flight and no job is out: then the log may go to a helper for
 * log_close, and the core has nothing of it any more. Call again after completions until true. */
bool log_release(struct log *, struct tide_out *);

/* ---- writing [home] ----------------------------------------------------------------------- */
/* Can `bytes` be appended now? TIDE_OK reserves nothing but guarantees that the next log_append
 * of at most that much succeeds within this turn, if no other log of the core was asked in between.
 * TIDE_FULL: no tail buffer, zeroed space or next segment yet (jobs are asked for through out; the
 * log wakes by log_wants_retry()), or the disk is full. TIDE_REFUSED: larger than a segment, or
 * than a reader could ever be given (log_batch_bytes_max). TIDE_IO: the log is FAILED. Rolls when
 * needed. */
enum tide_status log_make_room(struct log *, const struct tide_time *, uint32_t bytes,
                               int64_t max_timestamp, struct tide_out *out);
/* Copies the batch into the tail, computing CRC-32C over the hot destination from byte 21 on,
 * patches baseOffset and partitionLeaderEpoch. TIDE_BAD when the CRC does not match the header's:
 * then nothing happened. Does not publish log_end: the caller owns the marks. `h` is the parsed
 * header; offsets base_offset .. base_offset + last_offset_delta must continue the log, or leave a
 * gap of at most LOG_GAP_MAX that log_allow_gaps allowed. */
enum tide_status log_append(struct log *, struct tide_slice batch, const struct batch_header *h,
                            int64_t base_offset, int32_t leader_epoch);
/* The same, and after the CRC was found right the stored copy gets new attributes and a new
 * maxTimestamp, and the CRC that goes with them (kafka-protocol 3.2: LogAppendTime). */
struct log_stamp {
    int16_t attributes;
    int64_t max_timestamp;
};
enum tide_status log_append_stamped(struct log *, struct tide_slice batch,
                                    const struct batch_header *h, int64_t base_offset,
                                    int32_t leader_epoch, const struct log_stamp *);
/* [home] Why the last log_make_room or log_begin_epoch did not succeed: the disk had no room when a
 * helper asked for it last, and nothing of the append was written. Asked again once a second; until
 * then, waiting is of no use. */
bool log_disk_is_full(const struct log *);
/* The largest batch that this core's pools can hold and read back; of an adopted log. */
uint32_t log_batch_bytes_max(const struct log *);
/* Who waits for a tail buffer is refused one until it is its turn (buffers.h). Is this log one of them? */
bool log_is_in_line(const struct log *);
/* [home] It has all that it wants, or wants none any more. */
void log_line_leave(struct log *);
/* [core] The partition slot of the log whose turn it may be; who does not try then leaves the line. UINT32_MAX: nobody's. */
uint32_t log_line_next(struct log_core *);
/* [core] When it may be somebody's turn at the latest. */
uint64_t log_line_deadline_ns(const struct log_core *);
/* True once after an event that may let a refused log_make_room or log_begin_epoch succeed. */
bool log_wants_retry(struct log *);
int64_t log_active_base(const struct log *); /* [home] base offset of the active segment */
int64_t log_next_offset(const struct log *); /* behind the last appended batch */
/* [home] Other sizes and times from now on. A segment that has records keeps its size until the next one begins. */
void log_configure(struct log *, uint64_t segment_bytes, int64_t segment_ms, uint32_t index_interval_bytes);
/* Starts the next write if bytes wait and none is in flight, asks for jobs that are due. Cheap
 * when there is nothing to do. */
void log_flush(struct log *, const struct tide_time *, struct tide_out *out);
bool log_has_work(const struct log *);
/* Completion of our write. Returns true when log_durable_end rose. A short aligned one is driven
 * again for the rest; a failed or nonsensical one moves the log to FAILED (P11), and nothing is
 * written after it. Stale generations are ignored. */
bool log_on_disk(struct log *, const struct disk_done *, struct tide_out *out);
/* [home] The last write of it that was done: when, and which offset ends what is durable since. All 0: none. */
struct log_written {
    uint64_t begun_ns, done_ns;
    int64_t end;
};
struct log_written log_last_written(const struct log *);
int64_t log_durable_end(const struct log *); /* offset: every batch below is on the device */
void log_on_job(struct log *, struct tide_job *);
bool log_is_failed(const struct log *);

/* ---- reading [any] ------------------------------------------------------------------------ */
struct log_read {
    /* in */
    int64_t offset;     /* the first batch returned contains it */
    int64_t end_offset; /* exclusive: batches with any offset at or above it are not returned */
    uint32_t max_bytes;
    bool at_least_one; /* return the first batch even if it is larger than max_bytes */
    /* out: whole batches as views (external-buffer mbufs), nothing copied; owned by the caller */
    struct tide_rope bytes;
    bool behind; /* they are not from the tail */
    /* the read's own, between calls */
    uint32_t state;
    uint64_t disk_id;
    void *buffers[5]; /* chunks that follow one another; the last is the one that is filled */
    uint32_t buffer_count;
    struct log_segment *pinned; /* the segment that they are from */
    uint32_t segment;
    int32_t error;
    bool stepped_back; /* the index led nowhere once */
    struct log_core *reader; /* whose read is out */
    uint64_t walk;   /* position of the next batch header to look at */
    uint64_t wanted; /* and up to where bytes are needed */
};
/* TIDE_OK: bytes filled (empty when the offset is at the end). TIDE_AGAIN: a disk read is out with
 * r->disk_id (slot = the caller's read slot); give its completion to log_read_on_disk and call
 * again. TIDE_FULL: no read buffer or view now, or too many reads are out. TIDE_IO / TIDE_BAD: failed or corrupt bytes.
 * TIDE_ABSENT: below the log start. */
enum tide_status log_read(struct log *, struct log_core *mine, uint32_t read_slot,
                          struct log_read *r, struct tide_out *out);
void log_read_on_disk(struct log_read *r, const struct disk_done *);
/* The disk queue is gone, and the completion with it: the read counts as failed. */
void log_read_lost(struct log_read *r);
/* Gives back what an unfinished read holds. Not while its disk read is out. */
void log_read_abandon(struct log_core *mine, struct log_read *r);

/* How many bytes of whole batches lie in [offset, end_offset), at most `limit`: an estimate from
 * index and positions that is never 0 when there is a batch. For min_bytes of a long poll. */
uint32_t log_bytes_between(struct log *, int64_t offset, int64_t end_offset, uint32_t limit);

/* End offset for a leader epoch (kafka-protocol 7.2): largest epoch <= asked, and its end.
 * (-1,-1) when unknown. */
void log_end_for_epoch(struct log *, int32_t epoch, int32_t *ret_epoch, int64_t *ret_end);
int32_t log_last_epoch(struct log *);
/* The epoch of the record at `offset`, as the lines tell; -1: unknown. */
int32_t log_epoch_of(const struct log *, int64_t offset);
/* The epoch of the last batch, as far as the lines tell: a line that begins at the end has none. What
 * a follower subscribes with. -1: none. */
int32_t log_last_batch_epoch(const struct log *);
/* [home] Writes (epoch -> next offset) into leader-epoch-checkpoint through a job before the first
 * append of that epoch; TIDE_AGAIN until it is durable. Lines that begin at the end hold no batch and
 * fall out, be their epoch higher: a leader that wrote nothing left them. TIDE_REFUSED: lower than
 * the epoch of the last batch. TIDE_IO: FAILED. Nothing may be appended between the first call and TIDE_OK. */
enum tide_status log_begin_epoch(struct log *, int32_t epoch, struct tide_out *out);

/* ListOffsets by timestamp, as a job of a helper: finds the first record at or above `timestamp`
 * below end_offset (decompressing if needed, output capped), or with timestamp -3 the record with
 * the largest timestamp. */
struct log_lookup {
    struct tide_job job; /* kind JOB_LOG_OFFSETS; owner and cookie set by the caller */
    struct log *log;
    int64_t timestamp;
    int64_t end_offset;
    int64_t ret_offset; /* -1: none */
    int64_t ret_timestamp;
    int32_t ret_epoch;
};
void log_lookup_prepare(struct log_lookup *, struct log *);

/* [home] Raises the start of the log to `offset`: TIDE_AGAIN until that is durable, then TIDE_OK.
 * Segments wholly below it are removed. TIDE_REFUSED: behind the end; the caller keeps it at or
 * below the high watermark. TIDE_IO: FAILED. */
enum tide_status log_trim(struct log *, int64_t offset, struct tide_out *);
/* [home] Where the log may start by these rules (kafka-protocol 10.6): the base offset of the first
 * segment that stays. The active segment always stays. */
struct log_retention {
    int64_t now_ms;
    int64_t ms;    /* -1: for ever */
    int64_t bytes; /* -1: without bound */
    int64_t limit; /* nothing at or above it goes: the high watermark */
};
int64_t log_retention_start(const struct log *, const struct log_retention *);
/* [home] Makes the active segment roll when its newest record is older than r->ms and it lies below
 * the limit: then it can be removed like the others, although nobody appends. */
void log_retention_roll(struct log *, const struct log_retention *);
/* [home] Cuts the log so that it ends at `offset`, or at the base offset of the batch that contains
 * it (KIP-101, KIP-279: where a leader's epoch ended). TIDE_AGAIN until it is done and durable, then
 * TIDE_OK; appends wait meanwhile (TIDE_FULL). Old bytes are zeroed on the device before. Readers on
 * other cores may still hold views of what was cut; the caller keeps `offset` at or above what they
 * may see. TIDE_REFUSED: below the log start. TIDE_IO: FAILED. */
enum tide_status log_truncate(struct log *, int64_t offset, struct tide_out *);

/* [home] A follower of a compacted log: offsets below `below` may be missing between batches that are
 * appended from now on. TIDE_AGAIN until that is durable, then TIDE_OK. TIDE_REFUSED: not running.
 * TIDE_IO: FAILED. */
enum { LOG_GAP_MAX = 1 << 20 };
enum tide_status log_allow_gaps(struct log *, int64_t below, struct tide_out *);
/* [home] A follower whose leader has nothing between our end and `to` any more: the log ends at `to`,
 * and what lies between is missing. `epoch`: the leader's there; it gets a line. The same answers. */
enum tide_status log_skip(struct log *, int64_t to, int32_t epoch, struct tide_out *);

bool log_is_skipping(const struct log *); /* [home] one of the two has not come to an end */

/* [home] Compaction of closed segments, in the background (compact.h). */
enum { LOG_COMPACT_PRODUCERS = 1024 };
struct log_compaction {
    int64_t now_ms;
    int64_t limit;               /* nothing at or above it is touched: the high watermark */
    int64_t min_ratio_ppm;       /* dirty bytes to all, in millionths */
    int64_t min_lag_ms;          /* younger segments stay as they are */
    int64_t max_lag_ms;          /* older ones are cleaned whatever the ratio; INT64_MAX: none */
    int64_t delete_retention_ms; /* how long tombstones stay once cleaned */
    int64_t bytes_per_second;    /* 0: as fast as helpers are */
    size_t map_bytes;            /* for keys */
    const int64_t *producer_ends; /* last offset of every known producer; read during the call */
    uint32_t producer_end_count;
};
/* Begins one if there is enough to gain and no other is under way on this core. */
void log_compact(struct log *, const struct log_compaction *, struct tide_out *);
/* [any] Something is read ahead from it: not to be destroyed. After the grace period none begins. */
bool log_is_read(const struct log *);
bool log_is_trimming(const struct log *); /* [home] log_trim has not come to an end */
bool log_is_compacting(const struct log *);
/* [home] True once after compaction or a cut met a batch that is not what was written, or recovery kept one. */
bool log_take_rot(struct log *);

int64_t log_start_offset(const struct log *); /* [any] */
int64_t log_size_bytes(const struct log *);   /* [any] */
void log_check(const struct log *);           /* [home] invariants */

#endif
