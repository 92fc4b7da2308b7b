/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Producer state on disk: <offset>.snapshot files in Kafka's format (kafka-protocol 10.4), each the
 * state behind the batch before `offset`.
 *
 * While the partition runs one is made when its segment rolled and whenever so many bytes were
 * appended, so that recovery replays little:
 *
 *   IDLE       nothing to do
 *   ALLOCATING a helper brings memory (the home core must not allocate)
 *   READY      there is memory; at the next due append the state is copied into it [home]
 *   FILLED     waits until the log is on the device up to its offset: a snapshot never speaks of
 *              records that a crash can take away
 *   WRITING    a helper writes it, removes all but the newest two, gives the memory back
 *
 * Owner: the home core; the job's fields belong to the helper while it is out.
 */
#ifndef TIDEMARK_PARTITION_SNAPSHOT_H
#define TIDEMARK_PARTITION_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "partition/producer.h"
#include "tidemark/disk_op.h"
#include "tidemark/fs.h"

enum { SNAPSHOT_BYTES = 16 << 20 }; /* appended between two of them */

enum snapshot_state {
    SNAPSHOT_IDLE,
    SNAPSHOT_ALLOCATING,
    SNAPSHOT_READY,
    SNAPSHOT_FILLED,
    SNAPSHOT_WRITING,
};

struct snapshot {
    struct tide_job job; /* kind JOB_PARTITION_SNAPSHOT */
    enum snapshot_state state;
    const char *dir;
    uint8_t *bytes;
    size_t cap;
    size_t len;
    int64_t offset;
    uint64_t appended;     /* bytes since the last one */
    int64_t segment_base;  /* of the active segment when it was looked at last */
};

/* [home] `owner`, `cookie`: of the job. `dir` stays. */
void snapshot_begin(struct snapshot *, const char *dir, uint32_t owner, uint64_t cookie,
                    int64_t segment_base);
/* Copies the state as it is before `offset`; or asks for more memory. */
void snapshot_fill(struct snapshot *, const struct producers *, int64_t offset, int64_t segment_base);
/* [home] A batch of `bytes` is about to go to `offset`, of a segment with that base. The state is
 * copied if it is due and there is memory. */
static inline void snapshot_before_append(struct snapshot *s, const struct producers *p, int64_t offset, int64_t segment_base, uint32_t bytes)
{
    if (s->state == SNAPSHOT_READY && (segment_base != s->segment_base || s->appended >= SNAPSHOT_BYTES))
        snapshot_fill(s, p, offset, segment_base);
    s->appended += bytes;
}
/* [home] Asks for jobs that are due. */
void snapshot_turn(struct snapshot *, const struct producers *, int64_t durable_end,
                   struct tide_out *);
bool snapshot_has_work(const struct snapshot *, int64_t durable_end);
void snapshot_on_job(struct snapshot *);
bool snapshot_job_is_out(const struct snapshot *);
void snapshot_end(struct snapshot *); /* frees what is left */

/* [helper] The newest whole one at or below `most`, restored into `producers`: its offset. 0 when
 * there is none. */
int64_t snapshot_load_newest(struct producers *, const struct tide_fs *, const char *dir,
                             int64_t most);
/* [helper] Durable when it returns 0. */
int snapshot_write(const struct producers *, const struct tide_fs *, const char *dir,
                   int64_t offset);
/* [helper] Those that speak of records behind `end` go. */
int snapshot_remove_beyond(const struct tide_fs *, const char *dir, int64_t end);

#endif
