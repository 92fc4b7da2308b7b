/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of this folder know of a partition.
 */
#ifndef TIDEMARK_PARTITION_INTERNAL_H
#define TIDEMARK_PARTITION_INTERNAL_H

#include <stdatomic.h>

#include "partition/partition.h"
#include "partition/producer.h"
#include "partition/snapshot.h"

enum { PARTITION_DIR_ROOM = 4096 };

enum partition_state {
    PARTITION_CREATED,
    PARTITION_OPEN,
    PARTITION_FOLLOWER,
    PARTITION_STARTING,
    PARTITION_LEADER,
    PARTITION_FAILED,
    PARTITION_RELEASED,
    PARTITION_STATE_COUNT
};

/*
 * A cut of the log (partition_truncate):
 *   NONE -> GRACE     readers of the epoch that ended may still look
 *   GRACE -> LOG      log_truncate works
 *   LOG -> RELOAD     the log is cut; a helper brings producer state back to its new end
 *   RELOAD -> NONE    done
 * In all but NONE nothing is appended. A new role does not stop it.
 */
enum partition_cut { CUT_NONE, CUT_GRACE, CUT_LOG, CUT_RELOAD };

struct partition_reload {
    struct tide_job job; /* kind JOB_PARTITION_RELOAD */
    bool out;
    struct partition *partition;
};

struct partition {
    struct watermark marks;
    /* published: flags << 32 | epoch; pairs with partition_look */
    _Alignas(TIDE_CACHE_LINE) struct tide_pub64 role;
    _Atomic uint8_t interest[TIDE_CORES_MAX]; /* each written by its core */
    bool rot_noted[TIDE_CORES_MAX];           /* each its core's alone */
    /* owned by the home core */
    _Alignas(TIDE_CACHE_LINE) enum partition_state state;
    bool moved;
    bool failed; /* partition_take_failed */
    bool releasing;
    bool begun;  /* the marks are those of the leader epoch */
    bool agreed; /* follows, and the log has agreed with the leader's in this epoch: it may be read */
    int32_t leader_epoch;
    int32_t partition_epoch;
    uint64_t settled_ns; /* until then a gap may be the shadow of a batch that was refused */
    struct members members;
    uint32_t isr; /* committed, by member */
    enum partition_cut cut;
    int64_t cut_to;
    uint64_t grace_token; /* since the last role with readers ended */
    struct partition_reload reload;
    int64_t leader_start; /* where the leader's log begins; ours follows */
    struct log *log;
    struct producers *producers;
    struct snapshot snapshot;
    int64_t retention_check_ms;
    int64_t clean_check_ms, clean_bytes_per_second, clean_map_bytes;
    uint64_t clean_at_ns;
    uint64_t retention_at_ns; /* when segments are looked at next */
    struct tide_topic_config config;
    int64_t producer_expiry_ms;
    int64_t producers_looked_ms; /* at those that may have expired: a few in each millisecond */
    /* constant */
    int64_t known_committed; /* the checkpoint's high watermark */
    const _Atomic uint64_t *lease_until_ns;
    struct tide_grace grace;
    uint32_t slot, home_core;
    int32_t index;
    struct tide_uuid topic_id;
    char topic[TIDE_TOPIC_NAME_MAX + 1];
    char dir[PARTITION_DIR_ROOM];
};

void partition_move(struct partition *, enum partition_state to);
void partition_check_failure(struct partition *);
void partition_publish_role(struct partition *);
/* A cut waits from here on for those who may look at the log now. */
void partition_readers_leave(struct partition *);
/* Goes on with a cut that is under way; TIDE_OK when there is none. */
enum tide_status partition_cut_step(struct partition *, struct tide_out *);
void partition_on_reload(struct partition *, const struct tide_time *);
/* A job may have moved the end of the log on (log_skip). */
void partition_note_end(struct partition *);
/* The start of the log follows the leader's. */
void partition_follow_start(struct partition *, struct tide_out *);
bool partition_follow_has_work(const struct partition *);
/* For log_open and log_replay: `arg` is the partition. */
void partition_replay(void *arg, const struct batch_header *);

#endif
