/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The group coordinator: everything that one led partition of __consumer_offsets knows, as a state
 * machine over that partition's records (kafka-protocol 9).
 *
 * Owner: the home core of the partition. Pure: time, questions, replayed records and the committed end
 * come in; records and answers come out. It lives from the moment its partition is led here until it is
 * not, and what it knows comes from the log alone: it is destroyed when leadership ends, and loaded
 * anew when it comes back.
 *
 *   LOADING -> ACTIVE -> (destroyed)
 *   LOADING: groups_replay for every batch of the log; questions are COORDINATOR_LOAD_IN_PROGRESS.
 *
 * One way of change. A change that must survive is built as records, appended in one batch, and then
 * applied by the function that replays records: what is in memory is always what the log says. An append that
 * is refused has changed nothing, and its error is the answer. An append that was taken will be committed, or
 * this object is destroyed before: so nothing is ever rolled back.
 * One way of answering. An answer that rests on records is held until the committed end has reached
 * the last record written for its group, in the epoch of this object: groups_on_committed releases it.
 *
 * Memory: one bounded heap of the core (tidemark/heap.h), taken at the start. Full is an ordinary answer.
 * Work: a question or a turn does a bounded amount; what is longer (assignment of a large group) goes on in
 * later turns.
 *
 * Invariants (groups_check):
 *   G1  no two members of a group own the same partition in one generation (or with KIP-848: a partition is in
 *       the assignment of one member).
 *   G2  what is counted (groups, members, offsets, bytes) is what is there, and within its setting.
 *   G3  a question is parked at one place, and answered once.
 *   G4  replaying all that was written into an empty object gives the same durable state.
 */
#ifndef TIDEMARK_GROUP_GROUPS_H
#define TIDEMARK_GROUP_GROUPS_H

#include <stdbool.h>
#include <stdint.h>

#include "kafka/wire.h"
#include "tidemark/heap.h"
#include "tidemark/rope.h"
#include "tidemark/settings.h"
#include "tidemark/status.h"
#include "tidemark/view.h"

struct groups;

/* Below: the log of the partition. */
struct groups_log {
    void *context;
    /* One batch (magic 2, uncompressed, base offset and epoch open), taken whole or not at all; borrowed for the call.
     * TIDE_OK: decided: *ret_error is 0 and *ret_end the offset behind it, or a Kafka error of an append and nothing
     * happened. TIDE_FULL: no room this turn: ask again in a later one. */
    enum tide_status (*append)(void *context, struct tide_slice batch, int64_t *ret_end, int16_t *ret_error);
};

/* Names of topics that expressions may be matched with, by all coordinators of a core in one turn. */
struct groups_names {
    uint64_t turn_ns; /* of which they are left */
    uint32_t left;
};
struct groups_config {
    int32_t partition;                /* of __consumer_offsets */
    const struct tide_settings *settings;
    struct tide_heap *heap;           /* of the core; shared by its coordinators */
    struct rte_mempool *pool;         /* dense blocks: batches that are built, answers */
    struct groups_names *names;       /* of the core; shared as well. NULL: there is one coordinator */
    struct groups_log log;
    uint64_t seed;                    /* for member ids: unguessable in a broker, a constant in a test */
};
struct groups *groups_create(const struct groups_config *); /* NULL: the heap is full */
/* Parked questions come out of groups_next_answer first (groups_resign), or are forgotten. */
void groups_destroy(struct groups *);

/* ---- loading ------------------------------------------------------------------------------- */
/* One whole batch of the log, in order. Total: any order of records is legal, a tombstone of nothing is nothing, a type or
 * version that is not known is skipped and counted. TIDE_FULL: the heap is full; this partition cannot be led here. */
enum tide_status groups_replay(struct groups *, const struct tide_time *, struct tide_slice batch);
/* The records of a batch that was compressed, in steps: *left of them begin at *records. Replays at least one, and goes on
 * until `max` bytes are passed; both are then what is left. */
enum tide_status groups_replay_records(struct groups *, const struct tide_time *, struct tide_slice *records, int32_t *left,
                                       uint32_t max);
/* The log's end is reached and committed in this epoch: questions are taken. Timers start anew. */
void groups_loaded(struct groups *, const struct tide_time *, int64_t end);
bool groups_is_active(const struct groups *);

/* ---- questions ----------------------------------------------------------------------------- */
/* One group of a request. For an API that lists groups (DescribeGroups, DeleteGroups, OffsetFetch >= 8,
 * ConsumerGroupDescribe) one question is asked per element. ListGroups is asked of every coordinator. */
struct groups_question {
    int16_t api_key;
    int16_t version;
    struct wire_cursor body;          /* the request's body from its beginning; borrowed for the call */
    int32_t element;                  /* number of the element in its list, for an API that lists groups; else -1 */
    const char *client_id;            /* NUL-terminated; borrowed */
    const char *client_host;
    const struct tide_view *view;     /* of this turn: which topics and partitions there are; borrowed */
    void *cookie;                     /* the asker's: names the question in its answer */
};
/* TIDE_OK: taken; its answer will come out of groups_next_answer, at once or later. TIDE_FULL: nothing happened, another time.
 * TIDE_BAD: malformed. */
enum tide_status groups_ask(struct groups *, const struct tide_time *, const struct groups_question *);
/* The asker has gone: its answer is not wanted any more. A member does not leave by that. */
void groups_cancel(struct groups *, void *cookie);

struct groups_answer {
    void *cookie;
    /* The whole body of the response for an API of one group; the one element for an API that lists groups. For ListGroups the
     * elements of this coordinator, and how many. Ownership passes. */
    struct tide_rope body;
    int32_t elements;
    int16_t error; /* of ListGroups: for the whole response, there are no elements then; else 0, it is in the body */
};
/* The next answer that may leave. False: there is none, or no memory to write it: again in a later turn. */
bool groups_next_answer(struct groups *, struct groups_answer *ret);
/* What somebody answers who has no coordinator for that group (NOT_COORDINATOR, COORDINATOR_NOT_AVAILABLE, COORDINATOR_LOAD_IN_PROGRESS,
 * GROUP_AUTHORIZATION_FAILED, ...): the body, or the element. `q` as above without cookie. False: malformed. */
bool groups_write_error(const struct groups_question *q, int16_t error, struct wire_writer *);

/* ---- time and commitment --------------------------------------------------------------------- */
/* Everything below `end` is committed in this epoch. */
void groups_on_committed(struct groups *, const struct tide_time *, int64_t end);
/* Timers, expiry, appends that waited for room, topics that are gone. */
void groups_turn(struct groups *, const struct tide_time *, const struct tide_view *);
uint64_t groups_deadline_ns(const struct groups *);
/* Leadership is over: every parked question is answered NOT_COORDINATOR. Nothing but groups_next_answer and
 * groups_destroy afterwards. */
void groups_resign(struct groups *);

struct groups_gauges {
    uint32_t groups, members, parked;
    uint64_t offsets;
    uint64_t skipped_records;
};
void groups_gauges(const struct groups *, struct groups_gauges *ret);
void groups_check(const struct groups *);

/* Partition of __consumer_offsets for a group id: Java's String.hashCode over UTF-16, as Kafka. [any] */
int32_t groups_partition_of(struct tide_slice group_id, int32_t partition_count);

#endif
