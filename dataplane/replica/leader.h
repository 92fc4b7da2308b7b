/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the home core of a leading replica knows of its followers: who is subscribed, who is in
 * sync, and which ISR is wanted of control.
 *
 * Subscriptions. A follower asks (SUBSCRIBE) over a stream that any core may serve. One is granted
 * after the one before it is closed at its core, so that every word of the watermark has one writer:
 *
 *   NONE -> OPEN       granted (leader_on_subscribe, or leader_on_closed with a waiting request)
 *   OPEN -> CLOSING    another request, a newer incarnation, another leader epoch, the end of the
 *                      role: LEADER_CLOSE goes to the stream's core; what is acknowledged from now
 *                      on does not count
 *   CLOSING -> NONE    it is closed there (leader_on_closed)
 *   OPEN -> NONE       the stream is gone: its core says so (leader_on_closed); what was
 *                      acknowledged stays true
 *
 * A leader whose log failed is opened again and may lead on in the same epoch, with a log that ends before what it had sent. So a
 * follower that was not granted anything since keeps nothing of the epoch beyond where the log stood when the role began here: what
 * this log writes at those offsets is something else.
 *
 * A request is answered with a grant, with where to cut the log, with where to go on because what lies
 * between is gone, or with an error. All but the last wait until the old subscription is closed: what
 * it acknowledged may be cut away.
 *
 * ISR. The ISR that counts is the committed one and the one that is proposed together, and the
 * latter is published before it is proposed (design 5).
 *
 *   STABLE -> GRACE     the log of a follower outside reached the high watermark and the epoch's
 *                       start, be it on its device or not, and it does not lag: from now on it counts
 *   GRACE -> PENDING    every core passed a quiet point, and its counted end has reached both: proposed
 *   GRACE -> STABLE     it has not for too long, or has gone: withdrawn
 *   STABLE -> PENDING   members are behind for longer than replica.lag.time.max.ms: proposed without
 *                       them; they count until that is committed. Or a leader that was elected
 *                       uncleanly reports itself recovered
 *   PENDING -> STABLE   committed, or refused for certain: what is committed counts
 *   PENDING -> LOST     the answer leaves open what is committed: what was proposed goes on
 *                       counting, and nothing is proposed until control tells the role anew
 *   any -> STABLE       a role of a greater partition epoch (leader_become)
 *
 * Growth waits for the start of this leader epoch in this way: the newcomer's counted end has reached
 * it. (That the high watermark has reached it would be too much to ask: below min.insync.replicas it
 * stands still, and could not move before the ISR has grown.)
 *
 * Control answers a proposal for certain (INELIGIBLE_REPLICA, OPERATION_NOT_ATTEMPTED) only when no
 * earlier attempt at it can take effect any more.
 *
 * Timers: a member leaves at caught_up + lag_max; a proposal that was refused or got no answer is
 * repeated at now + retry; a grace period is looked at every turn, and after it a newcomer is waited
 * for until now + retry.
 *
 * Owner: the home core of the partition.
 *
 * Invariants (leader_check):
 *   D1  the watermark's proposed ISR is set exactly in GRACE, PENDING and LOST.
 *   D2  a subscription that is OPEN is of this leader epoch and of the newest known incarnation.
 *   D3  subscription numbers are never used twice.
 *   D4  at most one proposal is out, in PENDING.
 */
#ifndef TIDEMARK_REPLICA_LEADER_H
#define TIDEMARK_REPLICA_LEADER_H

#include <stdbool.h>
#include <stdint.h>

#include "partition/members.h"
#include "partition/watermark.h"
#include "tidemark/grace.h"
#include "tidemark/types.h"

enum leader_subscription_state { LEADER_NONE, LEADER_OPEN, LEADER_CLOSING, LEADER_SUBSCRIPTION_STATE_COUNT };
enum leader_isr_state { LEADER_STABLE, LEADER_GRACE, LEADER_PENDING, LEADER_LOST, LEADER_ISR_STATE_COUNT };

/* A follower's SUBSCRIBE, with what our log says about it. */
struct leader_subscribe {
    void *ask;            /* the sender's: comes back with the answer */
    uint32_t core;        /* that serves the stream */
    int32_t broker;
    int64_t broker_epoch; /* of the incarnation at the other end */
    int32_t leader_epoch; /* as the follower knows it */
    int32_t last_epoch;   /* of its last batch, -1: it has none */
    int64_t log_end;
    int32_t own_epoch;    /* log_end_for_epoch(last_epoch) of the leader's log */
    int64_t own_end;
    int64_t own_start;    /* of the leader's log, and the epoch there */
    int32_t own_start_epoch;
};

struct leader_answer {
    void *ask;
    int16_t error;        /* Kafka error code: FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH, ... */
    bool truncate;        /* the logs differ: cut to truncate_end of truncate_epoch, then ask again */
    int32_t truncate_epoch;
    int64_t truncate_end;
    bool skip;            /* we have nothing below skip_to any more: go on there, then ask again */
    int64_t skip_to;
    int32_t skip_epoch;
    uint32_t replica;     /* granted: its number among the members, and of the subscription */
    uint32_t subscription;
};

struct leader_close {
    uint32_t core;
    uint32_t replica;
    uint32_t subscription;
};

struct leader_proposal {
    int32_t leader_epoch;
    int32_t partition_epoch;
    bool recovering;
    uint32_t count;
    int32_t isr[TIDE_REPLICAS_MAX];
    int64_t broker_epochs[TIDE_REPLICAS_MAX]; /* -1: not to be compared */
};

/* Effects of one call; the caller empties it. Room for everything that one call can bring. */
struct leader_out {
    uint32_t close_count;
    struct leader_close closes[TIDE_REPLICAS_MAX];
    uint32_t answer_count;
    struct leader_answer answers[TIDE_REPLICAS_MAX + 1];
    bool proposes; /* at most one letter is out at a time (D4) */
    struct leader_proposal proposal;
};

struct leader_follower {
    enum leader_subscription_state state;
    bool waits;                      /* `waiting` is to be answered when the old one is closed */
    bool fed;                        /* granted in this epoch: what it has of the epoch it has from this log */
    uint32_t number;                 /* of the subscription that is OPEN or CLOSING */
    uint32_t core;
    int64_t broker_epoch;            /* of its incarnation; stays when it is closed */
    int64_t newest_epoch;            /* the newest incarnation that anybody spoke of */
    uint64_t hold_until_ns;          /* refused as a member: not proposed before this */
    struct leader_subscribe waiting;
};

struct leader {
    bool leads;
    bool recovering;
    bool letter_out;      /* a proposal is with control */
    bool letter_counts;   /* and is the one that is pending */
    enum leader_isr_state isr_state;
    int32_t leader_epoch;
    int32_t partition_epoch;
    uint32_t last_number;
    uint32_t wanted;      /* the ISR that is proposed, by member */
    bool wanted_recovering;
    uint64_t grace_token;
    uint64_t grace_until_ns; /* a newcomer is not waited for any longer */
    uint64_t since_ns;    /* when the epoch began here: everyone counts as caught up then */
    uint64_t retry_at_ns;
    uint64_t lag_max_ns;  /* replica.lag.time.max.ms */
    uint64_t retry_ns;
    struct leader_follower followers[TIDE_REPLICAS_MAX]; /* by member; 0 is unused */
};

/* What the calls below work on, all of one partition. */
struct leader_world {
    const struct members *members;
    struct watermark *marks;
    const struct tide_grace *grace; /* NULL: there are no other cores */
    bool has_lease;
    bool started; /* the epoch's line is durable (PARTITION_LEADER): nothing is proposed before */
};

void leader_init(struct leader *, uint64_t lag_max_ns, uint64_t retry_ns);
/* partition_become adopted a role in which we lead (marks and members are of it already), in a new
 * epoch or the same. */
void leader_become(struct leader *, const struct leader_world *, uint64_t now_ns, int32_t leader_epoch, int32_t partition_epoch,
                   bool recovering, struct leader_out *);
/* We lead no more, for whatever reason: every subscription is closed, every request refused. */
void leader_resign(struct leader *, const struct leader_world *, struct leader_out *);

void leader_on_subscribe(struct leader *, const struct leader_world *, const struct leader_subscribe *, struct leader_out *);
/* The stream's core closed the subscription, asked or of itself. */
void leader_on_closed(struct leader *, const struct leader_world *, uint32_t replica, uint32_t subscription, struct leader_out *);

/* Control's answer to a proposal. With error 0 the committed ISR and its partition epoch. */
struct leader_isr_answer {
    int16_t error;
    int32_t leader_epoch;
    int32_t partition_epoch;
    uint32_t isr; /* by member */
    bool recovering;
};
void leader_on_isr_answer(struct leader *, const struct leader_world *, uint64_t now_ns, const struct leader_isr_answer *);

/* ISR decisions that are due. Called every turn in which the partition has work, and at the deadline. */
void leader_turn(struct leader *, const struct leader_world *, uint64_t now_ns, struct leader_out *);
/* TIDE_NEVER when nothing is waited for. */
uint64_t leader_deadline_ns(const struct leader *, const struct leader_world *);
bool leader_is_open(const struct leader *, uint32_t replica, uint32_t subscription);
void leader_check(const struct leader *, const struct leader_world *);

#endif
