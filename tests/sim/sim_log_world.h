/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One log over the simulated disk, with helpers whose jobs come late, and a model beside it: every
 * batch that was appended and not cut, byte for byte as it must come back.
 *
 * The small sizes make rolls, extensions, seals and checkpoints frequent.
 */
#ifndef TIDEMARK_TESTS_SIM_LOG_WORLD_H
#define TIDEMARK_TESTS_SIM_LOG_WORLD_H

#include "log/internal.h"
#include "sim_fs.h"
#include "tidemark/random.h"

#define SIM_LOG_DIR "/data/events-0"

enum { SIM_LOG_JOBS = 16, SIM_LOG_BATCHES = 1 << 16 };

struct model_batch {
    int64_t base;
    int64_t last;
    uint32_t size;
    uint8_t *bytes;
};

struct sim_log {
    uint64_t seed;
    struct tide_random random;
    struct sim_fs *fs;
    struct sim_disk *disk;
    struct log_core *core;
    struct log *log;
    struct tide_counters counters;
    struct tide_time time;
    struct tide_out out;
    struct tide_job *jobs[SIM_LOG_JOBS];
    unsigned job_count;
    struct log_read *reading;
    int32_t epoch;
    char error[256];

    /* the model: batches [first, first + count) of a ring */
    struct model_batch *batches;
    uint64_t first;
    uint64_t count;
    int64_t acked;       /* everything below was told to be durable */
    int64_t committed;   /* and this is what recovery knows of it */
    bool repair;         /* with others who have it */
    bool memory;         /* its writes are not durable ones: what is acknowledged is what a clean stop left */
    int64_t start_acked; /* the log starts here at least ... */
    int64_t start_asked; /* ... and here at most */
    int64_t cut_asked;   /* a truncation is under way; INT64_MAX: none */

    uint64_t digest;
    uint64_t reads, read_refusals;
    bool verbose;
};

void sim_log_init(struct sim_log *, uint64_t seed);
void sim_log_deinit(struct sim_log *);

/* log_open and log_adopt; the status. Afterwards the model ends where the log ends. */
int sim_log_open(struct sim_log *);
/* As the power would: the process is gone, its files are what sim_fs_crash leaves. */
void sim_log_crash(struct sim_log *, enum sim_crash);
/* Lets go, closes, forgets. The status of log_close. */
int sim_log_close(struct sim_log *);

/* One thing that is under way goes on: a completion, a job. False when nothing is. */
bool sim_log_step(struct sim_log *);
void sim_log_settle(struct sim_log *);

/* A random thing that a broker may ask of a log, by weights. */
void sim_log_act(struct sim_log *);
bool sim_log_append(struct sim_log *, uint32_t value_bytes);
void sim_log_begin_epoch(struct sim_log *);

/* After a recovery: P1 (nothing acknowledged is gone), nothing that was never appended, every byte
 * right. `detected` allows batches that cannot be read (their bytes rotted). Aborts otherwise. */
void sim_log_verify(struct sim_log *, bool detected);

__attribute__((noreturn, format(printf, 2, 3))) void sim_log_give_up(const struct sim_log *,
                                                                     const char *format, ...);

#endif
