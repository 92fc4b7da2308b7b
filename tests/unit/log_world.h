/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One log on a file system in memory, with its helpers and its device, and a model beside it: the
 * batches that were appended, byte for byte as they must come back.
 */
#ifndef TIDEMARK_TESTS_LOG_WORLD_H
#define TIDEMARK_TESTS_LOG_WORLD_H

#include "kafka/batch.h"
#include "log/internal.h"
#include "memory_fs.h"
#include "tidemark/random.h"
#include "unit.h"

#define WORLD_DIR "/data/events-0"

enum { WORLD_BATCHES = 65536, WORLD_OPS = 64 };

struct world_batch {
    int64_t base_offset;
    int64_t last_offset;
    int64_t max_timestamp;
    int32_t epoch;
    uint32_t size;
    uint8_t *bytes;
};

struct world {
    struct memory_fs *disk;
    struct log_core_config core_config;
    struct log_config config;
    struct log_core *core;
    struct log *log;
    struct tide_counters counters;
    struct tide_time time;
    struct tide_out out;
    struct tide_random random;
    struct rte_mempool *input;

    struct disk_op ops[WORLD_OPS]; /* submitted, not done */
    unsigned op_count;
    bool hold_writes; /* world_pump leaves writes in ops[] */
    bool hold_jobs;   /* and jobs in jobs[] */
    struct tide_job *jobs[WORLD_OPS];
    unsigned job_count;
    struct log_read *reading;

    struct world_batch *batches;
    unsigned batch_count;
    int32_t epoch;
    char error[256];
};

/* Small sizes: windows of 8 KiB, read buffers of 16 KiB, segments of 64 KiB, extents of 16 KiB. */
void world_init(struct world *, uint64_t seed);
void world_deinit(struct world *);
/* Creates the log, opens it, adopts it. The status of log_open. */
int world_open(struct world *);
/* Lets it go and closes it, as at a clean stop. */
int world_close(struct world *);
/* Forgets the log as a crash would: its memory is gone, its files lose their handles. */
void world_crash(struct world *, struct tide_random *);
/* Files, jobs and completions, until nothing is left to do. */
void world_pump(struct world *);
void world_flush(struct world *);
void world_begin_epoch(struct world *, int32_t epoch);

/* Builds a batch of `count` records whose values have `value_bytes` altogether, appends it, adds
 * it to the model. */
enum tide_status world_append(struct world *, int32_t count, uint32_t value_bytes,
                              int64_t timestamp);
/* The same without the waiting for room. */
enum tide_status world_append_once(struct world *, int32_t count, uint32_t value_bytes,
                                   int64_t timestamp);
/* Waits until so much can be appended. */
void world_room(struct world *, uint32_t bytes, int64_t timestamp);
/* Reads until it is answered; copies the bytes to `to`. */
enum tide_status world_read(struct world *, struct log_read *, uint8_t *to, size_t cap,
                            size_t *ret_len);
/* Every batch of the model with a last offset of `from` or more, below `end`, comes back. */
void world_check_all(struct world *, int64_t from, int64_t end);
/* One read from `offset`: whole batches of the model, the first one has the offset. */
void world_check_read(struct world *, int64_t offset, int64_t end, uint32_t max_bytes,
                      bool at_least_one);
/* Forgets what the model holds at or behind `offset`. */
void world_forget(struct world *, int64_t offset);
/* Nothing is held from the pools but what the log itself has. */
void world_check_pools(struct world *);
int64_t world_model_end(const struct world *);

#endif
