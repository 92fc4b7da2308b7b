/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the replicas here were known to have committed, as it was written down last (design 5): the known
 * commit point of recovery. A log that ends before it lost something, and the cluster is told so before
 * this broker may lead again (control-plane 4.8).
 *
 *   <log dir>/replication-offset-checkpoint   of the replicas in that directory; written whole every
 *                                             replica.high.watermark.checkpoint.interval.ms, and at a clean stop
 *
 * The form is Kafka's, with the topic's id as a fourth word and so with another version: a topic that
 * was deleted and made again under its name has committed nothing. A mark may be older than the truth, which
 * only lets recovery notice less; it is never ahead of it.
 *
 * Owner: the control thread; a helper writes.
 *
 * Invariants (marks_check):
 *   M1  sorted by topic id and number, each once.
 */
#ifndef TIDEMARK_CONTROL_MARKS_H
#define TIDEMARK_CONTROL_MARKS_H

#include <stdbool.h>
#include <stdint.h>

#include "tidemark/disk_op.h"
#include "tidemark/fs.h"
#include "tidemark/settings.h"
#include "tidemark/types.h"

struct mark {
    struct tide_uuid topic_id;
    int32_t index;
    uint32_t dir; /* number of its data directory */
    int64_t offset;
    char topic[TIDE_TOPIC_NAME_MAX + 1];
};

/* One directory's file on its way to the disk. */
struct marks_file {
    struct tide_job job; /* of a helper; cookie: this */
    bool stale;          /* the file says something else */
    bool out;            /* a helper has it */
    char *text;
    const char *path;    /* of the directory */
};

struct marks {
    uint32_t count, room;
    struct mark *at;
    uint32_t dir_count;
    struct marks_file files[TIDE_LOG_DIRS_MAX];
};

/* Reads what is there. `paths` stay the caller's. A file that is absent says nothing, one that is damaged is
 * said and counts as absent. false: no memory. */
bool marks_load(struct marks *, const struct tide_fs *, const char *const *paths, uint32_t count,
                void (*say)(const char *format, ...) __attribute__((format(printf, 1, 2))));
void marks_deinit(struct marks *);

/* -1: nothing is known; whatever is known was served once. */
int64_t marks_find(const struct marks *, const struct tide_uuid *topic_id, int32_t index);
/* false: no memory, and the old one stands. */
bool marks_set(struct marks *, const struct mark *);
void marks_remove(struct marks *, const struct tide_uuid *topic_id, int32_t index);

/* The files that have to be written: filled jobs for helpers, given to `submit`; marks_on_job takes each back. */
void marks_write(struct marks *, enum tide_status (*submit)(void *self, struct tide_job *), void *self);
/* A failed write is tried again with the next. */
void marks_on_job(struct marks *, struct tide_job *, void (*say)(const char *format, ...) __attribute__((format(printf, 1, 2))));
bool marks_is_writing(const struct marks *);
/* [blocking] At a clean stop, when nothing is with a helper. 0 or -errno. */
int marks_write_now(struct marks *, const struct tide_fs *);
void marks_check(const struct marks *);

#endif
