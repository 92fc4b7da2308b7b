/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data directories (log.dirs): who they belong to, that nobody else uses them, and which of them
 * holds which partition.
 *
 *   <dir>/.lock                        held while a broker runs here
 *   <dir>/meta.properties              version, cluster.id, node.id, directory.id (Kafka's format)
 *   <dir>/.kafka_cleanshutdown         written last by a clean stop, removed first by a start
 *   <dir>/log-directories              beside the metadata log: directory.id and path of every one, so that
 *                                      a start without one of them is refused instead of beginning its
 *                                      partitions anew
 *   <dir>/<topic>-<partition>/         a partition; lives in one directory only (KIP-112)
 *   <dir>/<...>.<topic id>-delete      on its way out; what a crash left of it goes at the next start
 *   <dir>/<...>.<topic id>-stray       set aside: the cluster knows no such partition
 *
 * A new partition goes where the fewest are, the first of equals.
 *
 * Owner: the control thread. Blocking.
 */
#ifndef TIDEMARK_CONTROL_EDGE_DIRS_H
#define TIDEMARK_CONTROL_EDGE_DIRS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark/fs.h"
#include "tidemark/settings.h"
#include "tidemark/status.h"
#include "tidemark/types.h"

struct dirs;

enum { DIRS_ERROR_MAX = 1024 };

struct dirs_wanted {
    const char *const *paths; /* absolute, without a slash at the end, none inside another */
    uint32_t count;
    uint32_t metadata; /* which of them holds the metadata log */
    bool metadata_only; /* that one holds no partitions */
    int32_t node_id;
    const struct tide_uuid *fresh_cluster_id; /* used when every directory is fresh */
    struct tide_uuid (*fresh_directory_id)(void);
    bool unlocked; /* the files are a simulator's, which nobody else can reach */
};

struct dirs_identity {
    struct tide_uuid cluster_id;
    uint32_t fresh; /* directories that were made just now */
    bool clean;     /* the last stop was clean in all that were there */
    int64_t epoch;  /* of the broker's registration then, the same in all of them; -1: not clean */
};

/* Locks every directory (making it if it is absent and its parent exists) and reads who it belongs
 * to. TIDE_EXISTS: another process holds one; TIDE_REFUSED: another broker's or cluster's, a newer
 * format, or a set that does not go together; TIDE_IO: one cannot be read or written. Unless the
 * answer is TIDE_OK nothing is changed but the lock files. */
TIDE_MUST_USE enum tide_status dirs_open(const struct dirs_wanted *, const struct tide_fs *, struct dirs **ret,
                                         struct dirs_identity *ret_identity, char *error, size_t size);
uint32_t dirs_count(const struct dirs *);
/* Bytes of its file system, and those that may still be used; untouched when it cannot be asked. */
void dirs_space(const struct dirs *, uint32_t dir, int64_t *ret_total, int64_t *ret_usable);
const char *dirs_path(const struct dirs *, uint32_t dir);
/* Partitions there, as found and placed. */
uint32_t dirs_partitions(const struct dirs *, uint32_t dir);
void dirs_id(const struct dirs *, uint32_t dir, struct tide_uuid *ret);

/* Renames every partition's directory that `is_known` denies; says so by `say`. `topic_id` is zero
 * when partition.metadata is missing. 0 or -errno, with a sentence in error. */
int dirs_set_strays_aside(struct dirs *, bool (*is_known)(void *arg, const char *topic, int32_t index, const struct tide_uuid *topic_id),
                          void (*say)(const char *format, ...) __attribute__((format(printf, 1, 2))), void *arg, char *error,
                          size_t size);
/* Is there one of that name? */
bool dirs_has(const struct dirs *, const char *topic, int32_t index);
/* Nothing new is placed there while it is offline, unless all are. */
void dirs_set_offline(struct dirs *, uint32_t dir, bool offline);
/* The directory of a partition: where it is, or where it shall be. false without memory. */
bool dirs_place(struct dirs *, const char *topic, int32_t index, uint32_t *ret_dir);
/* [helper] Does partition.metadata say that the directory is that topic's? */
bool dirs_is_of_topic(const struct tide_fs *, const char *path, const struct tide_uuid *topic_id);
/* [helper] Unlinks what is in it, and it. 0 or -errno. */
int dirs_remove_whole(const struct tide_fs *, const char *path);
/* Its files are gone. */
void dirs_forget(struct dirs *, const char *topic, int32_t index);
/* The last thing of a clean stop. */
int dirs_mark_clean(struct dirs *, int64_t broker_epoch);
/* Lets go of the locks. */
void dirs_close(struct dirs *);

#endif
