/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A coordinator with a log, topics, and members of the consumer protocol (KIP-848) around it; the unit tests and the simulation of
 * those groups use it. Nothing in it knows how the coordinator decides.
 */
#ifndef TIDEMARK_TESTS_CONSUMER_WORLD_H
#define TIDEMARK_TESTS_CONSUMER_WORLD_H

#include "unit.h"

#include "group/groups.h"
#include "tidemark/settings.h"
#include "tidemark/view.h"

enum {
    WORLD_TOPICS = 16,
    WORLD_PARTITIONS = 4096, /* of one topic */
    WORLD_SET = 16384,
    WORLD_BATCHES = 200000,
    WORLD_TEXT = 4096,
};

struct world_set { /* partitions, as text and as pairs */
    uint32_t count;
    struct {
        int topic; /* number in the world */
        int32_t partition;
    } at[WORLD_SET];
};

/* What a heartbeat says. NULL and -1 as in the protocol. */
struct world_beat {
    const char *group, *member, *instance, *rack, *regex, *assignor;
    const char *topics;    /* "a b" */
    int epoch, rebalance_ms;
    int16_t version;
    const struct world_set *owned;
};
struct world_answer {
    int16_t error;
    int32_t epoch, interval_ms;
    char member[64];
    bool has_assignment;
    struct world_set assignment;
};

struct world {
    struct tide_settings settings;
    struct tide_time now;
    struct tide_heap *heap;
    struct rte_mempool *pool;
    struct groups *groups;
    struct tide_view view;
    struct view_topic topics[WORLD_TOPICS];
    uint32_t by_name[4 * WORLD_TOPICS], by_id[4 * WORLD_TOPICS];
    uint64_t ids; /* of topics that were ever made */
    struct {
        uint8_t *bytes;
        uint32_t len;
        int64_t base, end;
    } *log;
    uint32_t batches;
    int64_t log_end, committed;
    bool auto_commit;
    int16_t append_error; /* 0: none */
    bool append_full;
    uint64_t fail_append; /* the n-th from now on is refused; 0: none */
    uint64_t cookies;
    uint64_t coordinators; /* that there were */
    uint64_t skipped;
};

/* `world` is static memory of the test: it is large. */
void world_begin(struct world *, size_t heap_bytes);
void world_end(struct world *);
void world_topic(struct world *, const char *name, uint32_t partitions); /* made, or changed */
void world_no_topic(struct world *, const char *name);
int world_topic_number(const struct world *, const char *name); /* -1: none */
/* Another coordinator loads the log. What was appended and not committed is lost when `lose`. */
void world_reload(struct world *, bool lose);
void world_pass_ms(struct world *, uint64_t ms); /* with turns whenever the coordinator wants one */
void world_turn(struct world *);
void world_commit(struct world *, int64_t end);

/* The body of a question; the answer when there is one. TIDE_AGAIN: not yet. */
enum tide_status world_ask(struct world *, int16_t api, int16_t version, int32_t element, struct tide_rope *body, void *cookie);
/* False: there is none. */
bool world_next_answer(struct world *, void **ret_cookie, struct tide_rope *ret_body);
void world_put_beat(const struct world *, struct wire_writer *, const struct world_beat *);
void world_read_answer(const struct world *, struct tide_rope *body, int16_t version, struct world_answer *ret);
/* Asked and answered at once, with as many turns as it takes. */
void world_beat(struct world *, const struct world_beat *, struct world_answer *ret);

/* "a:0,1 b:3", in order; "-" is nothing. */
void world_set_read(const struct world *, const char *text, struct world_set *ret);
const char *world_set_text(const struct world *, const struct world_set *, char to[WORLD_TEXT]);
bool world_set_has(const struct world_set *, int topic, int32_t partition);

/* The member of group "g" commits offset 5 of a partition, which is answered at once. The error. */
int16_t world_commit_error(struct world *, const char *member, int epoch, int16_t version, const char *topic, int32_t partition);

/* What ConsumerGroupDescribe says: "state epoch/assignment_epoch | member epoch assigned > target | ...". */
void world_describe(struct world *, const char *group, char to[WORLD_TEXT]);

/* ---- a member of group "g" that says all ---- */
/* has NULL: it does not tell; regex NULL: it names none. */
void world_member_beat(struct world *, struct world_answer *ret, const char *member, int epoch, const char *topics, const char *regex, const char *has);
/* Its answer: an assignment of NULL is none. */
void world_expect(struct world *, const struct world_answer *, int error, int epoch, const char *assignment);
void world_expect_group(struct world *, const char *described);

#endif
