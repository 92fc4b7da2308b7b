/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One replica of a partition on this broker: role, log, marks and producer state.
 *
 * Owner: the home core. Control creates it, a helper opens it, the home core adopts it; then it
 * is found by other cores through the view and read by them ([any]).
 *
 *   CREATED -> OPEN        partition_open [helper]
 *   OPEN -> FOLLOWER       partition_adopt [home]: it follows nobody yet
 *   any role -> FOLLOWER   partition_become: takes what its leader sends (partition_follow_append)
 *   any role -> STARTING   partition_become: leads; the epoch's line is being made durable
 *   STARTING -> LEADER     it is: appends are taken
 *   FOLLOWER, STARTING, LEADER -> FAILED   a write or a job failed: nothing is acknowledged or
 *                          written any more (P11); control closes it and opens it again, and it
 *                          comes back through recovery as a follower
 *   any of them -> RELEASED  partition_release
 *
 * Whoever reads a mark on another core looks at the role before and after (partition_look): the
 * role of an epoch ends before its marks are used again, so what was read between two equal roles
 * is of that epoch.
 */
#ifndef TIDEMARK_PARTITION_PARTITION_H
#define TIDEMARK_PARTITION_PARTITION_H

#include <stdbool.h>
#include <stdint.h>

#include "kafka/batch.h"
#include "log/log.h"
#include "partition/members.h"
#include "partition/watermark.h"
#include "tidemark/grace.h"
#include "tidemark/mail.h"
#include "tidemark/settings.h"

struct partition;

struct partition_config {
    const char *topic; /* copied */
    struct tide_uuid topic_id;
    int32_t index;
    uint32_t slot;      /* unique among the replicas of this broker, < TIDE_PARTITIONS_MAX */
    uint32_t home_core;
    const char *dir;
    struct tide_topic_config topic_config;
    uint64_t preallocate_bytes;
    int64_t producer_expiry_ms;
    int64_t retention_check_ms; /* between two looks at what is too old; 0: never */
    int64_t clean_check_ms;        /* between two looks whether to compact; 0: never */
    int64_t clean_bytes_per_second; /* pace of a compaction; INT64_MAX: as fast as it goes */
    int64_t clean_map_bytes;       /* for the keys of one compaction */
    uint32_t producers_max; /* producer ids remembered; beyond it the oldest is forgotten */
    /* From replication-offset-checkpoint: everything below was committed once. 0: unknown. */
    int64_t high_watermark;
    bool repair; /* it has left the ISR: what rotted, and all that follows it, is cut away (log_config.repair) */
    /* No leader acts once its turn's time has passed it (design 9). NULL: for ever. */
    const _Atomic uint64_t *lease_until_ns;
    /* For the readers of an epoch that ended; all zero: there are no other cores. */
    struct tide_grace grace;
};
struct partition *partition_create(const struct partition_config *); /* [control] */
/* [helper] Recovery, producer state. 0 or -errno with a sentence in error. */
int partition_open(struct partition *, const struct tide_fs *, char *error, size_t error_size);
/* [helper] After release: log_close, producer snapshot. */
int partition_close(struct partition *, const struct tide_fs *);
void partition_destroy(struct partition *); /* [control] after a grace period */

/* [helper, control] After partition_open: recovery had to cut or refuse below what was committed, so
 * the replica counts as unclean (control-plane 4.8). */
bool partition_lost_committed(const struct partition *);

/* [home] Becomes ours, as a follower of nobody. */
void partition_adopt(struct partition *, struct log_core *, const struct tide_time *);
/* [home] What control says it is to be. False, and nothing changed, unless the partition epoch is
 * greater than its own. A deposed leader's marks are the follower's from here on: whoever waited is
 * answered by partition_look. */
bool partition_become(struct partition *, const struct tide_time *, const struct mail_role *, struct tide_out *);
/* [home] Control answered a proposal of ours with what is committed in that partition epoch: the role
 * that says the same comes too late to mean anything, and must not undo what was proposed since. */
void partition_committed(struct partition *, int32_t leader_epoch, int32_t partition_epoch);
/* [home] No more appends; true when it can go to partition_close. Call again after completions. */
bool partition_release(struct partition *, struct tide_out *);
/* [home] The topic's settings changed. */
void partition_configure(struct partition *, const struct tide_topic_config *);

struct partition_append {
    struct tide_slice records;   /* the Records field of the request, borrowed for the call */
    int16_t acks;
    int16_t api_version;
    bool transactional_id_given;
    int32_t leader_epoch;        /* the one in the view that routed it; -1: do not compare */
    int64_t arrived_ms;          /* of the wall clock; what LogAppendTime may be (append.time.source) */
    const struct batch_walk *walked; /* the verdict on a compressed batch; NULL for others */
};
/* [home] Must the batch go to a helper first (check.h)? Then *ret_header and *ret_limits say what
 * for. False also for one that partition_append will refuse without a look at its records. */
bool partition_wants_check(const struct partition *, const struct tide_time *,
                           const struct partition_append *, struct batch_header *ret_header,
                           struct batch_walk_limits *ret_limits);
struct partition_appended {
    int16_t error;               /* Kafka error code; 0 also for a duplicate */
    bool duplicate;
    int32_t bad_record;          /* batch index for record_errors, -1 none */
    const char *message;         /* static text or NULL */
    int32_t leader_epoch;
    int64_t base_offset;         /* -1 on error */
    int64_t end_offset;          /* a waiter waits for this end */
    int64_t log_append_time_ms;  /* -1 */
    int64_t log_start_offset;
};
/* [home] The whole decision of kafka-protocol 3.3, 4, 5.3 and the append. TIDE_OK: *ret says what
 * happened (published log_end rose on success). TIDE_FULL: nothing happened, the request waits:
 * call again when a write or a job of its log came back, or when it is its turn for a tail buffer (log.h). TIDE_AGAIN: nothing happened,
 * as nobody looked into the compressed batch (partition_wants_check). */
enum tide_status partition_append(struct partition *, const struct tide_time *,
                                  const struct partition_append *, struct tide_out *,
                                  struct partition_appended *ret);

/* ---- following [home] ---------------------------------------------------------------------- */
struct partition_follow {
    struct tide_slice records;   /* whole batches exactly as the leader has them; borrowed; may be empty */
    int32_t leader_epoch;        /* of the subscription */
    int64_t base_offset;         /* of the first of them */
    int64_t high_watermark;      /* the leader's */
    int64_t log_start;           /* the leader's */
    bool compacted;              /* it compacted: offsets may be missing before and between them */
};
struct partition_followed {
    uint32_t taken;              /* bytes of whole batches, from the front; more than 0 also with an error */
    const char *message;         /* static text when TIDE_BAD, else NULL */
};
/* Appends at our end, then raises the high watermark to the leader's as far as we hold it: so only
 * a replica whose log agrees with the leader's may be given any. TIDE_OK: all of it. TIDE_FULL: not
 * all yet: again with the rest, a turn later is early enough. TIDE_BAD: the bytes are no batches
 * that may follow (damaged, a gap, another epoch's). TIDE_REFUSED: we do not follow in that epoch.
 * TIDE_IO: FAILED. */
enum tide_status partition_follow_append(struct partition *, const struct tide_time *, const struct partition_follow *,
                                         struct tide_out *, struct partition_followed *ret);
/* The log is to end at `offset` or at the start of the batch that holds it; producer state goes back
 * with it. TIDE_AGAIN until that is done and durable, then TIDE_OK. The caller has decided that it
 * may fall below the high watermark (follower.h). TIDE_REFUSED: we do not follow, or below the start
 * of the log. TIDE_IO: FAILED. */
enum tide_status partition_truncate(struct partition *, int64_t offset, struct tide_out *);

/* The leader has nothing below `offset` any more, which is behind our end: the log goes on there.
 * TIDE_AGAIN until that is durable. `epoch`: the leader's at that offset. */
enum tide_status partition_skip(struct partition *, int64_t offset, int32_t epoch, struct tide_out *);

/* [home] DeleteRecords: the start of the log rises to *offset (-1: the high watermark, filled in).
 * TIDE_OK: decided, *ret_error and *ret_low (the start now) say how; TIDE_AGAIN: call again. */
enum tide_status partition_trim(struct partition *, int64_t *offset, struct tide_out *, int16_t *ret_error,
                                int64_t *ret_low);

/* [home] Starts writes and jobs that are due; evaluates the high watermark. */
void partition_turn(struct partition *, const struct tide_time *, struct tide_out *);
bool partition_has_work(const struct partition *);
/* [home] Its log failed: nothing is taken or acknowledged any more. Control closes and recovers it. */
bool partition_is_failed(const struct partition *);
void partition_on_disk(struct partition *, const struct tide_time *, const struct disk_done *, struct tide_out *);
void partition_on_job(struct partition *, const struct tide_time *, struct tide_job *, struct tide_out *);
/* [home] True once after any published mark moved or the role changed: ring the waiting cores. */
bool partition_take_moved(struct partition *);
/* [home] True once after it became FAILED: control is told (MAIL_FAILED). */
bool partition_take_failed(struct partition *);
/* [home] For the decisions of dataplane/replica. */
struct watermark *partition_marks(struct partition *);
const struct members *partition_members(const struct partition *);
bool partition_is_leader(const struct partition *);   /* in its newest role, and not FAILED or released */
bool partition_has_started(const struct partition *); /* leads, and the epoch's line is durable */
bool partition_is_follower(const struct partition *); /* the same */
/* No cut and no jump is under way, not even one that an earlier role began: what the log says of its end
 * may be told to others. */
bool partition_is_settled(const struct partition *);
int32_t partition_epoch(const struct partition *);
bool partition_has_lease(const struct partition *, const struct tide_time *);

/* ---- [any] -------------------------------------------------------------------------------- */
struct partition_look {
    int32_t leader_epoch;   /* of these marks */
    bool leader;            /* serves clients; false while FAILED, closing or fenced */
    bool follower;          /* readers may have what lies below its high watermark: it follows, its log has agreed with
                             * the leader's in this epoch, and was not to be cut since */
    bool failed;            /* KAFKA_STORAGE_ERROR */
    bool epoch_committed;   /* LATEST may be answered (design 5) */
    bool min_isr_met;
    int64_t log_start;
    int64_t log_end;
    int64_t counted_end;    /* durable_end or log_end, by ack.durability: what acks=1 waits for */
    int64_t high_watermark;
    int64_t last_stable_offset;
};
void partition_look(const struct partition *, struct partition_look *ret);
/* What may be written down as committed and here (replication-offset-checkpoint). */
int64_t partition_checkpoint(const struct partition *);
struct log *partition_log(struct partition *);
const char *partition_topic(const struct partition *);
const struct tide_uuid *partition_topic_id(const struct partition *);
int32_t partition_index(const struct partition *);
uint32_t partition_slot(const struct partition *);
uint32_t partition_home(const struct partition *);
void partition_check(const struct partition *); /* [home] */

/* A batch of it does not come back as it was written, and this core has told control so. */
void partition_note_rot(struct partition *, uint32_t core);             /* [core] */
bool partition_rot_is_noted(const struct partition *, uint32_t core);   /* [core] */

/* Which cores have waiters here: a core sets its own flag (then fences, then reads the marks);
 * the home core tests it after it published (design 4, Idle). */
void partition_set_interest(struct partition *, uint32_t core, bool interested); /* [core] */
bool partition_has_interest(const struct partition *, uint32_t core);            /* [home] */
bool partition_is_read(const struct partition *); /* [any] its files are read ahead: log_is_read */

#endif
