/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One log on one core for measurements: dataplane/log with its disk and its helpers, driven by a
 * turn as core/loop.c drives a core. Or, without a device, on files in memory, where writes and
 * jobs are done within the turn.
 *
 * Owner: the thread that opened it. A world that does not do what is asked ends the process with a
 * sentence (log_end_must): a measurement has nothing to go on with.
 */
#ifndef TIDEMARK_BENCH_LOG_END_H
#define TIDEMARK_BENCH_LOG_END_H

#include <stdbool.h>
#include <stdint.h>

#include "kafka/batch.h"
#include "log/log.h"
#include "tidemark/counters.h"
#include "tidemark/fs.h"

struct disk;
struct help_pool;
struct memory_fs;

/* Ends the process with the sentence unless `holds`. */
void log_end_must(bool holds, const char *sentence);
uint64_t log_end_now_ns(void); /* monotonic */

/* A batch that is appended again and again: as the wire would bring it, in blocks of request
 * memory. The log writes offset and epoch into its own copy. */
struct log_batch {
    struct tide_rope rope;
    struct batch_header header;
    uint32_t size;
    int32_t records;
};
/* `records` records of equal size, `size` bytes altogether (a few less when they do not divide). */
void log_batch_make(struct log_batch *, uint32_t size, int32_t records);
void log_batch_free(struct log_batch *);

/* Writes that a log made, to be made again without it. */
struct log_writes {
    uint32_t count;
    uint32_t room;
    struct {
        uint64_t position;
        uint32_t len;
    } * at;
};

/* Where the time of a log goes: what each write took on the device, and what each turn took us, from
 * the end of one wait to the beginning of the next. */
struct log_spans {
    uint32_t write_count;
    uint32_t turn_count;
    uint32_t room; /* of each; what is more is not noted */
    uint64_t *write_ns;
    uint64_t *turn_ns;
    uint64_t asked_ns; /* of the write that is out */
    uint64_t woke_ns;
};

struct log_end_config {
    const char *dir;          /* of the partition; NULL: files in memory */
    const struct tide_fs *fs; /* what helpers and recovery use; NULL: posix_fs() or memory */
    uint64_t segment_bytes;
    uint64_t preallocate_bytes;
    uint64_t zeroed_bytes;     /* of the segment before it is open; 0: what the first append brings */
    uint32_t checkpoint_bytes; /* 0: the log's default */
};

struct log_end {
    struct log_core *core;
    struct log *log;
    struct disk *disk;         /* NULL: in memory */
    struct help_pool *helpers; /* NULL: in memory */
    struct memory_fs *memory;  /* NULL: on a device */
    const struct tide_fs *fs;
    int doorbell;
    struct tide_counters counters;
    struct tide_time time;
    struct tide_out out;
    struct log_read *reading;  /* completions of reads go there */
    struct log_writes *writes; /* not NULL: writes are noted there */
    struct log_spans *spans;   /* not NULL: and times there */
};

/* Starts the EAL without hugepages; once, before everything else. */
void log_end_start(void);
/* Opens (or creates) the log and adopts it, with epoch 0 begun. `tell` prints which io_uring. */
void log_end_open(struct log_end *, const struct log_end_config *, bool tell);
/* A clean stop; the files stay. */
void log_end_close(struct log_end *);
/* Reads as a broker has them, or (false) in whole buffers, as they come, without regard to writes and
 * without reading ahead. */
void log_end_let_writes_first(struct log_end *, bool);
/* False: no room now; a later turn brings it. */
bool log_end_append(struct log_end *, const struct log_batch *);
/* Gives out what waits, takes what came. wait_ns != 0: sleeps until something comes, that long. */
void log_end_turn(struct log_end *, uint64_t wait_ns);

#endif
