/* SPDX-License-Identifier: Apache-2.0 */
/* Appending and writing: what log.c needs of append.c, and the other way round. [home] all of it.
 */
#ifndef TIDEMARK_LOG_APPEND_H
#define TIDEMARK_LOG_APPEND_H

#include <stdbool.h>
#include <stdint.h>

#include "tidemark/disk_op.h"

struct log;

/* Bytes are appended that are not written. */
bool log_is_dirty(const struct log *);
/* The next write, if bytes wait, none is in flight and there is room in `out`. */
void log_write_start(struct log *, struct tide_out *);

/* The disk was full, and it is not time to ask again. */
bool log_space_is_missing(const struct log *);

/* The active segment takes the size that is wanted now, where that is possible. */
void log_take_segment_size(struct log *);

/* Jobs, each asked for only when it is not out yet and there is room in `out`. */
void log_prepare_start(struct log *, struct tide_out *);
bool log_seal_is_due(const struct log *);
void log_seal_start(struct log *, struct tide_out *);
void log_trim_start(struct log *, struct tide_out *);
void log_reap_start(struct log *, struct tide_out *);
bool log_trim_is_pending(const struct log *);
void log_truncate_start(struct log *, struct tide_out *);
void log_checkpoint_start(struct log *, struct tide_out *);
bool log_truncate_is_due(const struct log *);
bool log_checkpoint_is_due(const struct log *);
/* Any of them has something to do. */
bool log_upkeep_is_due(const struct log *);
void log_job_start(struct log *, struct tide_job *, uint32_t kind, struct tide_out *);

/* Their jobs came back. */
void log_truncated(struct log *);
void log_checkpointed(struct log *, bool ok);

#endif
