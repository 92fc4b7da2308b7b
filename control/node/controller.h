/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the active controller does beside the quorum: it watches the brokers and proposes.
 *
 *   IDLE ──leads the quorum──> TAKING_OVER ──its CONTROLLER_EPOCH is applied──> ACTIVE
 *     ^──────────────────────────────┴───────────── leads no more ────────────────┘
 *
 *   IDLE         not the leader of the quorum: nothing is known, nothing is answered
 *   TAKING_OVER  the first command of the term is on its way; nothing is answered
 *   ACTIVE       sessions began anew when the command was applied; suspicion waits a whole session timeout
 *
 * Sessions live in memory only. One proposal of its own is on the way at a time: each is applied before the next is
 * judged, so two sessions that end together are fenced one after the other.
 *
 * Proof. A heartbeat's answer renews the broker's lease, so a leader that was replaced must not give one. It is held back
 * until a majority of the voters has said that it stands in our term, at a time not older than (session - lease) / 2
 * before the heartbeat came: no newer controller begins its sessions before that, so none ends one before the lease is
 * over. The other half is for clocks that differ.
 *
 * Knowledge. A broker that lost leaderships and may not know it (it was silent, fenced, and is heard again; or commands reach it late)
 * would lead on by the old epoch beside its successor. It is unfenced, and its lease is renewed, only when its cores have acted on the
 * last command that took a leadership from it.
 *
 * A process that has ended leads nothing, so its session need not be waited for (node.h says how that is seen).
 *
 * A controller that was stopped itself for a third of the session timeout begins all sessions anew: what came meanwhile
 * is still unread.
 *
 * Suspicion (control-plane 10.3). Broker X is suspect when for data.suspect.ms: at least two active brokers that share
 * partitions with it report lately that they do not hear it or it does not hear them; they are more than half of those
 * active and not suspect that share with it; each of them is heard by another one than X; and fewer than half of all
 * active brokers would be suspect. It ends when the reports have been clear for data.recover.ms, doubled with each
 * suspicion within ten minutes, up to five minutes.
 *
 * Timers: sessions, evidence and proposals are looked at every CONTROLLER_TICK_NS; leader balance; unclean sweep every
 * five minutes; probes of the voters while an answer is held back.
 *
 * Owner: the control thread (in node).
 *
 * Invariants (controller_check):
 *   R1  sessions are sorted by broker and there is one for each.
 *   R2  not ACTIVE: no session.
 *   R3  the lease is shorter than the session.
 */
#ifndef TIDEMARK_CONTROL_NODE_CONTROLLER_H
#define TIDEMARK_CONTROL_NODE_CONTROLLER_H

#include <stdbool.h>
#include <stdint.h>

#include "cluster/cluster.h"
#include "node/health.h"
#include "node/rpc.h"

enum controller_limit {
    CONTROLLER_VOTERS_MAX = 16,
    CONTROLLER_WATCHED_MAX = 64, /* active brokers up to which suspicion is looked for */
    CONTROLLER_SHRINKS_MAX = 256, /* held back at a time and remembered */
};

enum controller_state { CONTROLLER_IDLE, CONTROLLER_TAKING_OVER, CONTROLLER_ACTIVE, CONTROLLER_STATE_COUNT };

struct controller_config {
    int32_t id;
    uint64_t session_ns;
    uint64_t lease_ns;
    uint64_t heartbeat_ns; /* of brokers: evidence counts for two of them */
    uint64_t balance_ns;   /* 0: never */
    uint64_t probe_ns;     /* data.probe.timeout.ms */
    uint64_t suspect_ns;
    uint64_t recover_ns;
    uint64_t shrink_guard_ns;
    /* Of CLUSTER_INIT, which the first controller of a new cluster proposes. */
    struct tide_uuid cluster_id;
    int64_t created_ms;
    uint32_t init_config_count;
    const struct cluster_config *init_configs;
};

struct controller_session {
    int32_t broker;
    int64_t epoch;
    bool reported;  /* at least one heartbeat of this registration */
    uint64_t heard_ns;
    bool ended; /* it was seen that there is no process any more, after it was heard */
    uint64_t version;
    bool wants_fenced;
    bool wants_shutdown;
    struct node_health health;
    bool fencing; /* FENCE_BROKER is on its way: no answer before it is applied, or the lease would outlive it */
    /* the answer that is held back */
    bool owed;
    uint64_t number;
    uint64_t came_ns;
    /* suspicion */
    uint64_t accused_since_ns; /* 0: not accused */
    uint64_t clear_since_ns;   /* of a suspect one; 0: still accused */
    uint64_t suspected_ns;     /* last time */
    uint32_t suspicions;       /* in a row */
};

/* A shrink that the state machine may hold back (control-plane 10.4): how long its leader has wanted it. */
struct controller_shrink {
    struct tide_uuid topic_id;
    int32_t partition;
    int32_t leader_epoch;
    uint64_t since_ns;
    uint64_t last_ns;
};

struct controller_voter {
    int32_t id;
    uint64_t proven_ns; /* our clock when it was asked and then stood in our term */
};

struct controller {
    struct controller_config config;
    enum controller_state state;
    uint64_t term;
    uint64_t active_since_ns;
    uint64_t ticked_ns;
    bool in_flight; /* a proposal of ours */
    uint32_t session_count;
    struct controller_session *sessions; /* CLUSTER_BROKERS_MAX */
    uint32_t voter_count;
    struct controller_voter voters[CONTROLLER_VOTERS_MAX];
    uint64_t probed_ns;
    uint64_t balance_at_ns;
    uint64_t sweep_at_ns;
    struct controller_shrink shrinks[CONTROLLER_SHRINKS_MAX];
};

/* False without memory. */
bool controller_init(struct controller *, const struct controller_config *);
void controller_deinit(struct controller *);

void controller_on_leader(struct controller *, uint64_t now_ns, uint64_t term);
void controller_on_follower(struct controller *);
/* The voters beside us. */
void controller_on_voters(struct controller *, const int32_t *ids, uint32_t count);
/* A command was applied. */
void controller_on_applied(struct controller *, uint64_t now_ns, const struct cluster *, enum cluster_command_kind,
                           const struct cluster_result *);
/* The proposal that was taken is over: applied, or it never will be. */
void controller_on_done(struct controller *);

void controller_on_heartbeat(struct controller *, uint64_t now_ns, const struct cluster *, int32_t broker, const struct rpc_heartbeat *);
/* The broker's connection is gone. */
void controller_on_gone(struct controller *, int32_t broker);
/* The process that is registered as this broker has ended, as far as can be seen: its session is over. */
void controller_on_ended(struct controller *, int32_t broker);
void controller_on_probe_reply(struct controller *, int32_t voter, const struct rpc_probe *);
void controller_on_time(struct controller *, uint64_t now_ns, const struct cluster *);

/* Is the process that is registered as this broker taken to be alive? */
bool controller_session_is_valid(const struct controller *, uint64_t now_ns, int32_t broker);
/* What the proposer knows of the shrinks in an ALTER_PARTITION. */
void controller_judge_shrinks(struct controller *, uint64_t now_ns, const struct cluster *, int32_t broker,
                              struct cluster_partition_change *changes, uint32_t count);

/* The next proposal, when none is on the way; it counts as being on the way then. */
bool controller_take_proposal(struct controller *, uint64_t now_ns, const struct cluster *, struct cluster_command *ret);
/* The next answer to a heartbeat that may be given. */
bool controller_take_answer(struct controller *, uint64_t now_ns, const struct cluster *, int32_t *ret_broker,
                            struct rpc_heartbeat_reply *ret);
/* True when all voters should be asked (RPC_PROBE) now. */
bool controller_take_probe(struct controller *, uint64_t now_ns, struct rpc_probe *ret);

uint64_t controller_deadline_ns(const struct controller *);
void controller_check(const struct controller *);

#endif
