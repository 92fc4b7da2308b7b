/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files and disks of a simulated machine, in memory: the verbs of struct tide_fs, and queues of
 * disk operations in virtual time. Same seed and same calls, same run (P12).
 *
 * Every 512-byte sector has what a reader sees and what the medium holds. A DISK_WRITE with
 * `durable`, or `sync`, makes them equal. A crash leaves of each sector that differs the one or the
 * other; of a write in flight nothing, all, a prefix, or any sectors, one of them torn inside.
 * Names behave alike: what was created, renamed or removed since the last sync_dir of that
 * directory may be undone, the newest first. A failed sync forgets what it should have written: a
 * later sync succeeds without it, as Linux does.
 *
 * Owner: the thread of the simulation; nothing here is shared. Memory comes from the heap.
 *
 * Invariants (sim_fs_check):
 *   F1  Bytes beyond a file's end are zero for the reader.
 *   F2  A forgotten sector differs from its medium.
 *   F3  Every name, present, durable or pending, leads to an inode in use.
 *   F4  Without pending changes the names of a directory are the durable ones.
 *   F5  The bytes used are the sum of what the inodes hold.
 *   F6  A queue holds no more operations than it was made for, each with an id of its own.
 *
 * The space of a removed file is free again once its removal is durable and its handles are closed.
 * A rename stays within its directory (-EXDEV otherwise).
 */
#ifndef TIDEMARK_TESTS_SIM_FS_H
#define TIDEMARK_TESTS_SIM_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark/disk_op.h"
#include "tidemark/fs.h"

enum {
    SIM_SECTOR = 512,
    SIM_PATH_MAX = 512,
    SIM_NAME_MAX = 255,
    SIM_INODES_MAX = 65536,
    SIM_HANDLES_MAX = 4096, /* open at the same time; numbers of closed ones come back late */
};

struct sim_fs;
struct sim_disk;

/*
 * What goes wrong. All zero: nothing. `x_one_in` n: once in n on average, 0 never. They hold for
 * verbs and queued operations alike and may be changed at any time.
 */
struct sim_faults {
    uint64_t fail_at;     /* the operation with this number (sim_fs_operations counts) ... */
    bool fail_ever_after; /* ... and all later ones */
    int fail_error;       /* what fails answers with this -errno; 0 means -EIO */
    uint64_t read_error_one_in;
    uint64_t write_error_one_in; /* any part of the write may have reached the medium */
    uint64_t sync_error_one_in;
    uint64_t short_one_in; /* a queued operation does a part, in whole sectors, at least one */
    uint64_t spike_one_in; /* a queued operation takes spike_ns more */
    uint64_t spike_ns;
    uint64_t lie_one_in; /* a sync or durable write is acknowledged, and is not durable */
    bool whole_sectors;  /* a write in flight tears between sectors only */
};

struct sim_fs_config {
    uint64_t seed;
    uint64_t capacity_bytes; /* beyond it -ENOSPC; 0: no bound */
};

/* Virtual durations. 0 takes the value of a small virtual machine (floors 3.1). */
struct sim_disk_config {
    uint32_t entries; /* operations that may be outstanding; 0: 256 */
    uint64_t read_ns;
    uint64_t write_ns;
    uint64_t durable_ns; /* instead of write_ns */
    uint64_t jitter_ns;  /* up to this much more, so that completions change places */
    uint64_t bytes_per_us;
};

enum sim_crash {
    SIM_CRASH_RANDOM, /* the seed says what survives */
    SIM_CRASH_LOSES,  /* only what is durable survives */
    SIM_CRASH_KEEPS,  /* everything survives; writes in flight are as if never begun */
    SIM_CRASH_KILLS,  /* the process alone: nothing is lost, nor more durable than it was; writes in flight are done, or not begun */
};

/* Aborts without memory. The root directory "/" exists. */
struct sim_fs *sim_fs_create(const struct sim_fs_config *);
/* After its disks. Aborts when a map was not unmapped. */
void sim_fs_destroy(struct sim_fs *);

/* The verbs. Stays as long as the file system. `map` gives a copy of the length asked for, so that
 * a sanitizer sees an over-read; it does not follow later writes. `list` starts anywhere. */
const struct tide_fs *sim_fs_verbs(struct sim_fs *);

struct sim_faults *sim_fs_faults(struct sim_fs *);
/* Operations so far that could have failed: all but close, size, list, unmap, free_bytes, mtime. */
uint64_t sim_fs_operations(const struct sim_fs *);
void sim_fs_set_clock(struct sim_fs *, int64_t wall_ms); /* for mtime_ms */

/*
 * The power goes: handles are closed, operations in flight never complete, what is not durable is
 * decided. Their buffers are read here, so they must still be there.
 */
void sim_fs_crash(struct sim_fs *, enum sim_crash);

/* Flips a bit of the file, for the reader and on the medium. False: no such byte. */
bool sim_fs_rot(struct sim_fs *, const char *path, uint64_t position, unsigned bit);

/* Over all names and contents, as seen and as durable. */
uint64_t sim_fs_digest(struct sim_fs *);
unsigned sim_fs_open_handles(const struct sim_fs *);
bool sim_fs_is_durable(struct sim_fs *, const char *path, uint64_t position, uint64_t len);
/* Aborts when an invariant does not hold. Walks everything. */
void sim_fs_check(struct sim_fs *);

/* ---- a core's disk ----------------------------------------------------------------------------
 */

/* A queue over the files of `fs`; a machine has one per core. */
struct sim_disk *sim_disk_create(struct sim_fs *fs, const struct sim_disk_config *);
/* What is in flight is dropped as if it had never begun. */
void sim_disk_destroy(struct sim_disk *);

/* As disk_queue: TIDE_FULL, and nothing was taken. A buffer may change until the completion; the
 * device has read each sector of it at the start or at the end. */
TIDE_MUST_USE enum tide_status sim_disk_submit(struct sim_disk *, uint64_t now_ns,
                                               const struct disk_op *ops, unsigned count);
/* Completions that are due, in the order of their times. */
unsigned sim_disk_take(struct sim_disk *, uint64_t now_ns, struct disk_done *done, unsigned max);
uint64_t sim_disk_deadline_ns(const struct sim_disk *); /* TIDE_NEVER: nothing in flight */
unsigned sim_disk_in_flight(const struct sim_disk *);

#endif
