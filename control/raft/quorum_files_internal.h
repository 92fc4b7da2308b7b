/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of the quorum's files: layouts, for writing (quorum_files.c), loading (quorum_load.c) and
 * the offline tool (quorum_offline.c).
 */
#ifndef TIDEMARK_CONTROL_RAFT_QUORUM_FILES_INTERNAL_H
#define TIDEMARK_CONTROL_RAFT_QUORUM_FILES_INTERNAL_H

#include "raft/quorum_bytes.h"
#include "raft/quorum_files.h"

enum {
    FILES_VERSION = 1,
    QUORUM_NAME_MAX = 64,
    STATE_BYTES = 64,
    STATE_APART = 4096,
    SEGMENT_HEAD = 512,
    FLAG_RESTART = 1,
    BATCH_HEAD = 32,
    ENTRY_HEAD = 16,
    BATCH_BYTES = 1 << 20, /* a batch with one longer entry may be longer */
    SNAPSHOT_HEAD = 512,
    SNAPSHOTS_KEPT = 2,
};

static const uint64_t state_magic = 0x6574617473656474;    /* "tdestate" */
static const uint64_t segment_magic = 0x676f6c6d65646974;  /* "tidemlog" */
static const uint64_t snapshot_magic = 0x70616e7365646974; /* "tidesnap" */
static const uint32_t batch_magic = 0x68637462;            /* "btch" */

struct quorum_state {
    uint64_t sequence;
    uint64_t term;
    uint64_t vote;
};

/* last < first: nothing of it counts any more, or it is empty. */
struct quorum_segment {
    uint64_t number;
    uint64_t first;
    uint64_t last;
};

struct quorum_snapshot_file {
    uint64_t index;
    uint64_t term;
};

struct quorum_files {
    const struct tide_fs *fs;
    struct tide_uuid cluster_id;
    uint64_t segment_bytes;
    int failed; /* -errno after which nothing is written any more */

    int state_file; /* -1: there is none yet */
    unsigned state_best;
    struct quorum_state state;

    struct quorum_segment *segments; /* by number, the newest last */
    uint32_t segment_count;
    uint64_t next_number;
    int file; /* the newest segment; -1: none */
    uint64_t file_bytes;
    uint64_t end;  /* where its next batch goes */
    uint64_t last; /* index of the last entry of the log */
    bool restarted; /* the newest segment says so */
    int spare_file;
    uint64_t spare_bytes;
    bool spare_is_named; /* it is a segment already, if the directory says so after a power cut */
    uint64_t op_number; /* the append that was begun, and how much of it is durable */
    uint32_t op_done;

    struct quorum_snapshot_file *snapshots; /* by index, the newest last */
    uint32_t snapshot_count;
    char dir[QUORUM_PATH_MAX - QUORUM_NAME_MAX - 1];
};

static inline size_t quorum_padded(size_t len)
{
    return (len + 7) / 8 * 8;
}

void quorum_files_path(const struct quorum_files *, const char *name, char path[QUORUM_PATH_MAX]);
int quorum_files_restart_log(struct quorum_files *, uint64_t first);

/* quorum_load.c: what open does. With `only_looks` nothing is changed on the disk. */
enum tide_status quorum_files_load(struct quorum_files *, struct quorum_boot *ret, bool only_looks, char *error, size_t size);

#endif
