/* SPDX-License-Identifier: Apache-2.0 */
/*
 * active.checkpoint: what recovery need not read again.
 *
 * Without it a kill would make recovery read the whole active segment. It holds the segment's index
 * entries whose batches were on the device, so recovery begins at the last of them: the work is
 * proportional to what was written since. Written by a helper every checkpoint_bytes; replaced
 * whole, with a CRC; where writes are not durable ones, the segment is synced before. One that does not fit the segment is ignored, and the segment is read from its
 * start. It never says where the log ends, so a stale one costs time and nothing else.
 *
 * Format, big-endian: "TMCK", int32 version 1, int64 base offset, int64 maxTimestamp of the first
 * batch, int32 entries, then per entry int32 offset - base of the last offset of a batch, int32
 * position of that batch, int64 largest timestamp so far, int32 offset - base of the batch that
 * carries it; at the end the CRC-32C of everything before.
 */
#ifndef TIDEMARK_LOG_CHECKPOINT_H
#define TIDEMARK_LOG_CHECKPOINT_H

#include "log/index.h"
#include "tidemark/fs.h"

enum { LOG_CHECKPOINT_BYTES = 16 << 20 };

/* [helper] Durable when it returns 0. -EAGAIN when the index moved meanwhile, or has no entry below
 * `limit`. */
int log_checkpoint_store(const struct tide_fs *, const char *dir, int64_t base_offset,
                         int64_t first_timestamp, uint32_t limit, const struct log_index *,
                         uint64_t segment);

struct log_checkpoint {
    int64_t first_timestamp;
    struct log_place last; /* its entry with the highest position */
};
/* [helper] Puts the entries into `index`, which is empty. False when there is no checkpoint for this
 * segment, or it is damaged; then the index is empty still. */
bool log_checkpoint_load(const struct tide_fs *, const char *dir, int64_t base_offset,
                         uint64_t segment_bytes, struct log_index *, struct log_checkpoint *ret);

#endif
