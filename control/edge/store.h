/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The durable log of metadata commands: <dir>/__cluster_metadata-0/commands.log, a header, then
 * records {uint32 length, uint32 crc32c, uint64 index, bytes}; the crc covers index and bytes.
 * Appending returns after fdatasync. A torn last record is cut at the next start (it was never
 * acknowledged); anything wrong before it stops the start with a message, nothing is cut.
 *
 * Owner: the control thread, which holds the directory's lock (dirs.h). Blocking.
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

/* Makes an empty log where there is none. TIDE_IO: it cannot be read or written. */
TIDE_MUST_USE enum tide_status store_open(const char *dir, const struct tide_fs *, struct store **ret, char *error, size_t size);
/* Hands every command in order to `apply`, which returns false to refuse it (the start stops). */
TIDE_MUST_USE enum tide_status store_replay(struct store *, bool (*apply)(void *arg, const uint8_t *bytes, size_t len), void *arg,
                                            char *error, size_t size);
/* 0 when the record is durable; -errno otherwise, and the store takes no more. */
int store_append(struct store *, const uint8_t *bytes, size_t len);
uint64_t store_next_index(const struct store *);
void store_close(struct store *);

#endif
