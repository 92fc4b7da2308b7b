/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a core wants from its disk, as data. The core fills tide_out in its turn; the loop hands
 * it to dataplane/disk (io_uring) or to the simulator, and brings completions with the next turn.
 */
#ifndef TIDEMARK_DISK_OP_H
#define TIDEMARK_DISK_OP_H

#include <stdbool.h>
#include <stdint.h>

#include "tidemark/status.h"

struct tide_fs;

enum disk_op_kind {
    DISK_READ,
    DISK_WRITE, /* on return of its completion the device holds the bytes if `durable` */
    DISK_OP_KIND_COUNT
};

/* Who gets a completion: the top byte of its id. The rest is the owner's: a slot (24 bits) and a
 * generation (32 bits), so that a late completion never reaches a newer user of the slot. */
enum disk_owner { DISK_OWNER_LOG = 1, DISK_OWNER_READ = 2, DISK_OWNER_AHEAD = 3, DISK_OWNER_ROSTER = 4 };

#define DISK_ID(owner, slot, generation)                                                           \
    ((uint64_t)(owner) << 56 | (uint64_t)((slot) & 0xffffffu) << 32 | (uint32_t)(generation))
#define DISK_ID_OWNER(id) ((enum disk_owner)((id) >> 56))
#define DISK_ID_SLOT(id) ((uint32_t)((id) >> 32) & 0xffffffu)
#define DISK_ID_GENERATION(id) ((uint32_t)(id))

struct disk_op {
    enum disk_op_kind kind;
    bool durable;      /* RWF_DSYNC */
    bool cached;       /* the file is not open for O_DIRECT: its completions cannot be polled */
    int file;          /* handle from tide_fs.open */
    uint32_t len;      /* multiple of TIDE_BLOCK */
    uint64_t position; /* multiple of TIDE_BLOCK */
    void *buf;         /* TIDE_BLOCK aligned, inside the memory registered at start unless `cached`;
                        * stays until the completion */
    uint64_t id;
};

struct disk_done {
    uint64_t id;
    int64_t result; /* bytes, or -errno. Whoever gets it compares with what was asked. */
};

/*
 * Work for a helper thread. Embedded by value in its owner, which does not touch what `run` uses
 * until the job comes back to it. `run` may block; it sees files only through `fs`.
 */
struct tide_job {
    void (*run)(struct tide_job *job, const struct tide_fs *fs); /* [helper] */
    uint32_t owner;  /* core number, or TIDE_JOB_CONTROL: who gets it back */
    uint32_t kind;   /* for the owner's dispatch: enum job_kind */
    uint64_t cookie; /* the owner's */
    int64_t result;  /* 0 or -errno, set by run */
};
enum { TIDE_JOB_CONTROL = UINT32_MAX };

enum job_kind {
    JOB_LOG_EXTEND = 1,  /* cookie: partition slot; zero and extend the active segment */
    JOB_LOG_PREPARE,     /* cookie: partition slot; create the next segment */
    JOB_LOG_SEAL,        /* cookie: partition slot; truncate, write indexes of a rolled segment */
    JOB_LOG_OFFSETS,     /* cookie: request; ListOffsets by timestamp */
    JOB_LOG_CLOSE,       /* cookie: partition slot; last write-out at a clean stop */
    JOB_LOG_RECOVER,     /* cookie: partition slot; a FAILED log comes back */
    JOB_LOG_EPOCH,       /* cookie: partition slot; leader-epoch-checkpoint gets a new line */
    JOB_LOG_TRIM,        /* cookie: partition slot; the start of the log rises */
    JOB_LOG_REAP,        /* cookie: partition slot; files of removed segments are closed */
    JOB_LOG_TRUNCATE,    /* cookie: partition slot; the end of the log falls */
    JOB_LOG_CHECKPOINT,  /* cookie: partition slot; recovery has less to read */
    JOB_LOG_SKIP,        /* cookie: partition slot; offsets are missing from here on */
    JOB_LOG_COMPACT,     /* cookie: partition slot; closed segments are rewritten */
    JOB_PARTITION_SNAPSHOT, /* cookie: partition slot; producer state is written */
    JOB_PARTITION_RELOAD,   /* cookie: partition slot; producer state of a log that was cut */
    JOB_BATCH_CHECK,     /* cookie: the owner's; a compressed batch is looked into */
    JOB_BATCH_UNPACK,    /* cookie: the owner's; its records are made plain */
    JOB_CONTROL_FIRST = 64, /* a replica is opened or closed */
    JOB_CONTROL_MARKS,
    JOB_CONTROL_PROBE,      /* of a data directory */
};

/* Effects of a turn. Everyone that adds looks for room before it changes anything. */
enum { TIDE_OUT_OPS = 256, TIDE_OUT_JOBS = 256 };
struct tide_out {
    uint32_t op_count;
    uint32_t job_count;
    struct disk_op ops[TIDE_OUT_OPS];
    struct tide_job *jobs[TIDE_OUT_JOBS];
};

static inline bool tide_out_has_op_room(const struct tide_out *o) { return o->op_count < TIDE_OUT_OPS; }
static inline bool tide_out_has_job_room(const struct tide_out *o) { return o->job_count < TIDE_OUT_JOBS; }
static inline void tide_out_op(struct tide_out *o, const struct disk_op *op) { o->ops[o->op_count++] = *op; }
static inline void tide_out_job(struct tide_out *o, struct tide_job *job) { o->jobs[o->job_count++] = job; }

#endif
