/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fetch sessions (KIP-227): what a consumer asked for is remembered, so that it names only what changes,
 * and is answered only what changed.
 *
 * Owner: the core. A session is not tied to a connection, but a connection stays on its core, and a
 * session on the core that made it; its id carries the core's number. A client that comes back on another
 * core is told that its session is not known, asks for everything once and gets a new one. So no
 * session is ever shared, and the slots of the broker are divided among its cores.
 *
 * Memory is reserved at the start and touched when it is used: so many sessions, and so many partitions
 * and topics for all of them together. A session that finds no room is not made (the client goes on
 * with full requests), or ends (it hears that it is not known).
 *
 * For a new one goes the session that was idle longest, if that is STALE_NS or more; else, if there are too
 * many sessions, the smallest of those that are older than STALE_NS, if it is smaller than the new one. Only the
 * LOOKED_AT_MAX that were idle longest are looked at, since a client that found no room asks again with each fetch.
 *
 * Invariants (fetch_sessions_check):
 *   S1  a partition is in one session, of one topic of it, and found there by that topic and its index.
 *   S2  a session has as many partitions as it says, a topic at least one.
 *   S3  what is free and what is used are all there is.
 */
#ifndef TIDEMARK_BROKER_FETCH_SESSION_H
#define TIDEMARK_BROKER_FETCH_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "tidemark/status.h"
#include "tidemark/types.h"

struct fetch_sessions;
struct fetch_session;

/* How a request names a topic: by its name, or since version 13 by its id. */
struct fetch_topic_key {
    bool by_id;
    uint16_t name_len;
    const char *name;
    struct tide_uuid id;
};

/* One partition of a session. */
struct fetch_session_partition {
    /* as asked */
    int32_t index;
    int32_t current_leader_epoch;
    int32_t last_fetched_epoch;
    int32_t max_bytes;
    int64_t offset;
    /* as answered last; -1: whatever is next is news */
    int64_t high_watermark;
    int64_t log_start;
    /* fetch_session.c's own: numbers of places */
    uint32_t topic, prev, next, in_bucket;
    uint32_t session;
};

/* [start] NULL without memory. `random` makes ids and hashes that nobody foresees. */
struct fetch_sessions *fetch_sessions_create(uint32_t sessions, uint32_t partitions, uint32_t core, uint64_t random);
void fetch_sessions_destroy(struct fetch_sessions *);

/* NULL: there is none, for one of `size` partitions there is no room. It begins with epoch 1. */
struct fetch_session *fetch_session_open(struct fetch_sessions *, uint64_t now_ns, bool by_id, uint32_t size);
void fetch_session_close(struct fetch_sessions *, struct fetch_session *);
/* NULL: not known. */
struct fetch_session *fetch_session_find(struct fetch_sessions *, int32_t id);
/* A request was taken: the next one must carry the next epoch. */
void fetch_session_taken(struct fetch_sessions *, struct fetch_session *, uint64_t now_ns);
/* The epoch behind `epoch`: it wraps to 1. */
int32_t fetch_session_epoch_after(int32_t epoch);

int32_t fetch_session_id(const struct fetch_session *);
int32_t fetch_session_epoch(const struct fetch_session *);
bool fetch_session_is_by_id(const struct fetch_session *);
uint32_t fetch_session_size(const struct fetch_session *);
/* As long as it is the same one, the session is, no request of it was taken, and its partitions are where they were. */
uint64_t fetch_session_stamp(const struct fetch_session *);

/* Adds the partition at the end of the order, or changes what is asked of it where it stands. NULL: no room. */
struct fetch_session_partition *fetch_session_put(struct fetch_sessions *, struct fetch_session *, const struct fetch_topic_key *,
                                                  const struct fetch_session_partition *asked);
void fetch_session_forget(struct fetch_sessions *, struct fetch_session *, const struct fetch_topic_key *, int32_t index);
/* In order; begin with NULL. */
struct fetch_session_partition *fetch_session_next(struct fetch_sessions *, struct fetch_session *, struct fetch_session_partition *);
void fetch_session_topic(const struct fetch_sessions *, const struct fetch_session_partition *, struct fetch_topic_key *ret);
/* It had its turn: to the end of the order. */
void fetch_session_rotate(struct fetch_sessions *, struct fetch_session_partition *);

struct fetch_session_counts {
    uint32_t sessions;
    uint32_t partitions;
};
void fetch_sessions_count(const struct fetch_sessions *, struct fetch_session_counts *ret);
void fetch_sessions_check(const struct fetch_sessions *);

#endif
