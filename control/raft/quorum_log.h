/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log in memory: what the library knows only by index and term, with its bytes. It may be ahead
 * of the disk and is never behind it.
 *
 * Owner: the quorum. Entries own one allocation each.
 */
#ifndef TIDEMARK_CONTROL_RAFT_QUORUM_LOG_H
#define TIDEMARK_CONTROL_RAFT_QUORUM_LOG_H

#include "raft/quorum.h"

struct quorum_log {
    uint64_t first; /* index of entries[0]; the log may be empty */
    uint64_t count;
    uint64_t room;
    struct quorum_entry *entries;
};

void quorum_log_deinit(struct quorum_log *);
/* Empties it; the next entry has index `first`. */
void quorum_log_restart(struct quorum_log *, uint64_t first);
uint64_t quorum_log_last(const struct quorum_log *); /* first - 1 when empty */
/* NULL: not in the log. */
const struct quorum_entry *quorum_log_at(const struct quorum_log *, uint64_t index);
/* Drops `index` and everything behind it. */
void quorum_log_cut(struct quorum_log *, uint64_t index);
/* Copies; the index must be last + 1. */
void quorum_log_append(struct quorum_log *, const struct quorum_entry *);
/* Drops what is below `first`. Nothing happens when that is not in the log. */
void quorum_log_trim(struct quorum_log *, uint64_t first);

#endif
