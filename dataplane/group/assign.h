/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who of a group consumes what: the assignors of KIP-848, as arithmetic over numbers. Topics, members and
 * partitions are numbers here; partitions are numbered through, topic by topic.
 *
 * range     each topic is cut into runs, one per subscriber, in the order of the members; the first runs are one longer.
 * uniform   nobody who subscribes to a partition has two partitions less than its owner, and what was assigned before
 *           stays where that allows. When all subscribe to the same, whoever keeps something keeps the most
 *           that balance allows; otherwise topic after topic is levelled until no topic can be.
 *
 * Owner: whoever runs it; the problem is constant meanwhile. Pure, nothing is allocated, the same problem has the
 * same answer. It goes in steps: a step ends after `budget` things looked at, and what belongs to one topic (its
 * partitions and 32 times its subscribers).
 *
 * Invariants (assign_check, when done):
 *   A1  every partition of a topic that somebody subscribes to has one owner, who subscribes to the topic.
 *   A2  a partition of a topic that nobody subscribes to has none.
 *   A3  uniform: owner's partitions <= subscriber's partitions + 1, for every partition and everyone who subscribes to it
 *       (unless the rounds ran out: `unlevel`).
 */
#ifndef TIDEMARK_GROUP_ASSIGN_H
#define TIDEMARK_GROUP_ASSIGN_H

#include <stdbool.h>
#include <stdint.h>

enum { ASSIGN_NOBODY = UINT32_MAX };
enum {
    ASSIGN_ROUNDS_MAX = 64, /* over all topics. Each lowers the sum of squares, and few are needed. */
};

enum assign_kind { ASSIGN_UNIFORM, ASSIGN_RANGE, ASSIGN_KIND_COUNT };

struct assign_topic {
    uint32_t first;      /* number of its partition 0 */
    uint32_t partitions; /* those numbers follow one another, and topics do */
    uint32_t subscriber_first, subscribers; /* in the problem's list */
};

struct assign_problem {
    uint32_t topic_count, member_count, partition_count;
    const struct assign_topic *topics;
    const uint32_t *subscribers; /* topic by topic: the numbers of its subscribers, ascending */
    const uint32_t *previous;    /* partition -> member, or ASSIGN_NOBODY. Need not fit the rest. */
};

/* The caller's memory; all of it is written. */
struct assign_memory {
    uint32_t *owners;  /* [partition_count]: the answer */
    uint32_t *counts;  /* [member_count]: partitions of each */
    uint32_t *held;    /* [member_count] */
    uint32_t *wanted;  /* [member_count] */
    uint32_t *order;   /* [topic_count] */
};

struct assign {
    const struct assign_problem *problem;
    struct assign_memory at;
    enum assign_kind kind;
    bool homogeneous;
    bool moved;   /* in this round */
    bool unlevel; /* the rounds ran out */
    bool done;
    uint32_t phase, next, round;
};

void assign_init(struct assign *, enum assign_kind, const struct assign_problem *, const struct assign_memory *);
/* True when it is done. */
bool assign_step(struct assign *, uint32_t *budget);
void assign_check(const struct assign *);

/* Of assign_range.c and assign_uniform.c. */
bool assign_range_step(struct assign *, uint32_t *budget);
bool assign_uniform_step(struct assign *, uint32_t *budget);
/* So much was looked at; the budget does not fall below 0. */
static inline void assign_spend(uint32_t *budget, uint32_t n) { *budget -= n < *budget ? n : *budget; }

#endif
