/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A group coordinator with a scripted log, a view and virtual time around it. Requests are written and answers read by the generated codec.
 */
#ifndef TIDEMARK_TESTS_GROUP_WORLD_H
#define TIDEMARK_TESTS_GROUP_WORLD_H

#include "group/internal.h"
#include "unit.h"

enum {
    GROUP_WORLD_BATCHES = 4096,
    GROUP_WORLD_ANSWERS = 512,
    GROUP_WORLD_TOPICS = 8,
    GROUP_WORLD_PARTITIONS = 16, /* of each topic */
    GROUP_WORLD_NAME = 400,
    GROUP_WORLD_MEMBERS = 64,
};

enum group_world_log { LOG_TAKES, LOG_IS_FULL, LOG_REFUSES };

struct group_world {
    struct tide_settings settings;
    struct tide_heap *heap;
    struct rte_mempool *pool;
    struct groups *g;
    struct tide_time now;
    /* the log */
    struct {
        uint8_t *bytes;
        uint32_t len;
    } batches[GROUP_WORLD_BATCHES];
    uint32_t batch_count;
    int64_t log_end;
    enum group_world_log log;
    int16_t log_error;
    uint32_t takes;   /* with LOG_IS_FULL or LOG_REFUSES: so many are taken before */
    uint32_t appends; /* tried */
    bool commits;     /* what is appended is committed at once */
    /* the view */
    struct tide_view view;
    struct view_topic topics[GROUP_WORLD_TOPICS];
    uint32_t by_name[4 * GROUP_WORLD_TOPICS], by_id[4 * GROUP_WORLD_TOPICS];
    /* what has come out */
    struct groups_answer answers[GROUP_WORLD_ANSWERS];
    uint32_t answer_count;
};

/* An active one over an empty log, group.initial.rebalance.delay.ms = 0, topics "events" and "other". */
void group_world_open(struct group_world *);
/* Everything is given back. */
void group_world_close(struct group_world *);
/* Leadership comes to an object that knows nothing: it reads the log. */
void group_world_reload(struct group_world *);
void group_world_topics(struct group_world *, const char *const *names, const uint8_t *ids, uint32_t count);
/* Moves time and gives turns on the way, so that every timer fires at its time. */
void group_world_pass(struct group_world *, int64_t ms);
void group_world_commit(struct group_world *);
/* What is known for good, as text: the same for two objects that know the same. malloc'ed. */
char *group_world_durable(struct group_world *, struct groups *);
/* Another object, fed with the log in this order of batches (NULL: as written). */
struct groups *group_world_replay(struct group_world *, const uint32_t *order, uint32_t count);

#define COOKIE(n) ((void *)(uintptr_t)(n))

/* ---- asking; the writer's bytes are the body ---- */
void group_world_begin(struct group_world *, struct wire_writer *);
enum tide_status group_world_ask(struct group_world *, int16_t api, int16_t v, int32_t element, uintptr_t cookie, struct wire_writer *);
/* Takes what has come out; true when the answer is there. */
bool group_world_has(struct group_world *, uintptr_t cookie);
/* Its body; fails when there is none. The caller clears it. */
struct groups_answer group_world_take(struct group_world *, uintptr_t cookie);
uint32_t group_world_waiting(struct group_world *); /* answers that nobody has taken */

struct join_ask {
    const char *group, *member, *instance, *type; /* instance NULL: none; type NULL: consumer */
    const char *protocols[4];                     /* NULL: "range" alone */
    const char *metadata[4];                      /* NULL: "m" */
    int32_t session_ms, rebalance_ms;             /* 0: 10000, 60000 */
    int16_t v;                                    /* of the request */
    const char *client;
};
struct join_got {
    int16_t error;
    int32_t generation;
    char type[GROUP_WORLD_NAME], protocol[GROUP_WORLD_NAME], leader[GROUP_WORLD_NAME], member[GROUP_WORLD_NAME];
    bool skip;
    int32_t members;
    char ids[GROUP_WORLD_MEMBERS][GROUP_WORLD_NAME];
    char metadata[GROUP_WORLD_MEMBERS][32];
};
enum tide_status group_world_join(struct group_world *, uintptr_t cookie, const struct join_ask *);
void group_world_joined(struct group_world *, uintptr_t cookie, int16_t v, struct join_got *ret);

struct sync_ask {
    const char *group, *member, *instance, *type, *protocol;
    int32_t generation;
    const char *to[8], *parts[8]; /* assignments */
    int16_t v;
};
enum tide_status group_world_sync(struct group_world *, uintptr_t cookie, const struct sync_ask *);
/* The error; the assignment into `ret`. */
int16_t group_world_synced(struct group_world *, uintptr_t cookie, int16_t v, char ret[GROUP_WORLD_NAME]);

int16_t group_world_heartbeat(struct group_world *, const char *group, const char *member, const char *instance, int32_t generation);
int16_t group_world_leave(struct group_world *, const char *group, const char *member);

struct commit_ask {
    const char *group, *member, *instance, *topic, *metadata;
    int32_t generation; /* of a simple consumer: -1 */
    int32_t partition, count; /* from this partition on; count 0: one */
    int64_t offset, retention_ms;
    int16_t v; /* 0: 9 */
};
enum tide_status group_world_commit_offset(struct group_world *, uintptr_t cookie, const struct commit_ask *);
/* Error of the first partition. */
int16_t group_world_committed(struct group_world *, uintptr_t cookie, int16_t v);
/* Both, with everything committed. */
int16_t group_world_commits(struct group_world *, const struct commit_ask *);
/* -1: none. */
int64_t group_world_fetch(struct group_world *, const char *group, const char *topic, int32_t partition);

#endif
