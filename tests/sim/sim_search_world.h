/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The model that sim_search goes through: three replicas of one partition, control and the network between them.
 *
 * What runs is dataplane/replica (leader, follower, subscription) and dataplane/partition (members,
 * watermark) as they are. Around them a model: a log is a list of (epoch, record), a disk is how far
 * it is durable, the controller is one step of control-plane 4.4 and 5, the network is the set of
 * messages that were ever sent and can still be delivered. A message that is never delivered is
 * lost, one that is delivered again is doubled, and there is no order among them; only a message to
 * an incarnation that is over is gone, as its connection is.
 *
 * What follows from an event without a choice (an acknowledgement, the next APPEND, a request that
 * is due) happens with it. Choices are actions: which message arrives, when a disk is done, when a replica
 * hears of its role, when a stream's core closes a subscription, when a cut is finished, when a
 * grace period is over, who falls behind, who crashes, comes back, is fenced, is elected.
 *
 *   sim_search_world.c   the network, control, crashes, and the actions
 *   sim_search_node.c    a replica: its log, what it does of itself, what it makes of a message or of a role
 *   sim_search_pack.c    a world as bytes
 *   sim_search_checks.c  what is promised
 */
#ifndef TIDEMARK_TESTS_SIM_SEARCH_WORLD_H
#define TIDEMARK_TESTS_SIM_SEARCH_WORLD_H

#include <stdio.h>

#include "partition/members.h"
#include "partition/watermark.h"
#include "replica/follower.h"
#include "replica/leader.h"
#include "replica/subscription.h"

enum {
    NODES = 3,
    LOG_MAX = 4,
    LINES_MAX = 6,
    NET_MAX = 96,
    RECORDS_MAX = 3,
    MIN_INSYNC = 2,
    NOW = 1,
    LATE = 120,    /* by then everybody who is not said to have caught up is late */
    LAG_MAX = 100,
    PACKED_MAX = 3072,
    ACTIONS_MAX = 256,
};

enum message_kind { SUBSCRIBE, ANSWER, APPEND, BEAT, ACK, ALTER, INELIGIBLE, ALTERED };

struct message {
    int8_t kind, from, to, from_inc, to_inc;
    int8_t f[9];
};

struct node {
    bool up;
    int8_t incarnation;
    int8_t log_end, durable;
    int8_t epochs[LOG_MAX], records[LOG_MAX];
    int8_t line_count, line_epochs[LINES_MAX], line_starts[LINES_MAX];
    bool leads;
    int8_t leader, leader_epoch, partition_epoch;
    int8_t proposals;
    bool grace_over;
    struct members members;
    struct watermark marks;
    struct leader lead;
    struct follower follow;
    struct subscription subs[NODES]; /* by member, at the core of its stream */
    bool closing[NODES];             /* that core was asked to close it */
    int8_t next[NODES], told[NODES]; /* what it sends next, the high watermark it told last */
};

enum record_state { UNSENT, WAITING, ACKNOWLEDGED, UNKNOWN };

struct control {
    int8_t leader, leader_epoch, partition_epoch;
    int8_t isr, elr, alive; /* bits by node */
    int8_t broker_epochs[NODES];
    int8_t seen[NODES];     /* last proposal of each */
};

struct world {
    struct node nodes[NODES];
    struct control control;
    int8_t elections, crashes, shrinks; /* left */
    int8_t record_count;                /* to be sent */
    struct {
        int8_t state, node, epoch, end;
    } records[RECORDS_MAX];
    int8_t committed_count;
    int8_t committed_epochs[LOG_MAX], committed[LOG_MAX];
    int8_t net_count;
    struct message net[NET_MAX];
};

struct limits {
    const char *name;
    bool device; /* ack.durability */
    int8_t records, elections, crashes, shrinks, attempts, proposals;
    void (*prefix)(struct world *);
};
/* Of the scenario that runs. */
extern const struct limits *limits;
/* What was found first; empty: nothing. */
extern char violation[256];

#define FAIL(...)                                                   \
    do {                                                            \
        if (violation[0] == '\0')                                   \
            snprintf(violation, sizeof(violation), __VA_ARGS__);    \
    } while (0)


enum action_kind { DELIVER, DISK, LEARN, CLOSED, SETTLE, GRACE, SHRINK, PRODUCE, CRASH, RESTART, RESTART_IN, FENCE, ELECT, ACTION_KINDS };

struct action {
    uint8_t kind, a, b;
};

/* ---- sim_search_world.c ------------------------------------------------------------------------------ */
/* All three are up and in the ISR, nothing is written, and nobody has heard of a role. */
void world_begin(struct world *);
/* What can happen now, up to ACTIONS_MAX. How many. */
unsigned world_actions(const struct world *, struct action *);
/* One of them happens, with what follows from it; then everything is checked. */
void world_act(struct world *, struct action);
void world_print_action(const struct world *, struct action);
/* It is under way from now on, unless who it is for is down. */
void world_post(struct world *, struct message);
/* What control says to a node, as of now. */
struct mail_role world_role(const struct world *, int self);

/* ---- sim_search_node.c ------------------------------------------------------------------------------- */
/* It starts with the log that it has, and without a role. */
void node_boot(struct node *);
void node_crash(struct node *);
/* It hears of its role. */
void node_learn(struct world *, struct node *);
/* What follows without a choice: the leader pushes and proposes, a follower asks and acknowledges. */
void node_turn(struct world *, struct node *);
void node_on_message(struct world *, struct node *, const struct message *);
/* The core of member `k`'s stream closes the subscription, and the home core hears of it. */
void node_on_closed(struct world *, struct node *, int k);
/* The cut is done. */
void node_on_settled(struct node *);
void node_on_disk(struct node *);
/* Grace periods that run are over. */
void node_on_grace(struct world *, struct node *);
/* A client's record. */
void node_on_produce(struct node *, int8_t record);
/* Member `k` falls behind, and nobody else. */
void node_shrink(struct world *, struct node *, int k);

/* ---- sim_search_pack.c ------------------------------------------------------------------------------- */
/* Equal worlds have equal bytes, up to PACKED_MAX. How many. */
size_t world_pack(struct world *, uint8_t *to);
void world_unpack(struct world *, const uint8_t *from);

/* ---- sim_search_checks.c ----------------------------------------------------------------------------- */
/* Sets `violation` where something promised is not so. */
void world_check(const struct world *);

#endif
