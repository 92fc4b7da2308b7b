/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data directory's identity and lock, and the durable log of metadata commands.
 *
 *   <log.dirs>/.lock                       held while a broker runs here
 *   <log.dirs>/meta.properties             version, cluster.id, node.id, directory.id (Kafka's format)
 *   <log.dirs>/.kafka_cleanshutdown        written last by a clean stop, removed first by a start
 *   <log.dirs>/__cluster_metadata-0/       commands.log: a header, then records
 *
 * A record is {uint32 length, uint32 crc32c, uint64 index, bytes}; the crc covers index and bytes.
 * Appending returns after fdatasync. A torn last record is cut at the next start (it was never
 * acknowledged); anything wrong before it stops the start with a message, nothing is cut.
 *
 * Owner: the control thread. Blocking.
 */
#ifndef TIDEMARK_CONTROL_EDGE_STORE_H
#define TIDEMARK_CONTROL_EDGE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark/fs.h"
#include "tidemark/status.h"
#include "tidemark/types.h"

struct store;

enum { STORE_ERROR_MAX = 1024 };

struct store_identity {
    struct tide_uuid cluster_id;
    int32_t node_id;
    struct tide_uuid directory_id;
    bool fresh;          /* the directory was made just now */
    bool clean;          /* the last stop was clean */
};

/* Locks the directory (creating it if it is absent and its parent exists) and reads who it belongs
 * to. `fallback` becomes the identity of a fresh one. TIDE_EXISTS: another process holds it;
 * TIDE_REFUSED: another broker's or a newer format; TIDE_IO: it cannot be read or written. Nothing
 * is changed when the answer is not TIDE_OK. */
TIDE_MUST_USE enum tide_status store_open(const char *dir, const struct tide_fs *fs, int32_t node_id,
                                          const struct tide_uuid *fresh_cluster_id, const struct tide_uuid *fresh_directory_id,
                                          struct store **ret, struct store_identity *ret_identity, char *error, size_t size);
/* Hands every command in order to `apply`, which returns false to refuse it (the start stops). */
TIDE_MUST_USE enum tide_status store_replay(struct store *, bool (*apply)(void *arg, const uint8_t *bytes, size_t len), void *arg,
                                            char *error, size_t size);
/* 0 when the record is durable; -errno otherwise, and the store takes no more. */
int store_append(struct store *, const uint8_t *bytes, size_t len);
uint64_t store_next_index(const struct store *);
/* The last thing of a clean stop. */
int store_mark_clean(struct store *, int64_t broker_epoch);
/* Lets go of the lock. */
void store_close(struct store *);

#endif
