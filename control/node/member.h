/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of this broker as a member of the cluster.
 *
 *   WAITING ──> REGISTERING ──> FENCED <──> ACTIVE ──> LEAVING ──> LEFT
 *                  ^  │            │           │          │
 *                  │  └──> REFUSED └───────────┴──────────┘
 *                  └── the registration is not ours any more ──
 *
 *   WAITING      the logs are being recovered, or the metadata is not yet caught up (member_on_recovered)
 *   REGISTERING  REGISTER_BROKER is on its way; a new incarnation at each start of the process
 *   FENCED       registered; leads nothing. Asks to be unfenced once its replicas are served
 *   ACTIVE       may lead
 *   LEAVING      wants to stop; leaderships are being moved away
 *   LEFT         may stop now: by the controller's word, or since waiting for it took too long
 *   REFUSED      the cluster does not want this broker; member_refusal() says why
 *
 * What counts is the broker's record in the metadata as applied here, not what an answer says.
 *
 * Lease. A heartbeat's number is the time it was sent. The lease ends broker.lease.ms after the send time of the
 * newest heartbeat that was answered without an error; past it no core acts as leader.
 *
 * Timers: heartbeat every broker.heartbeat.interval.ms, at once when something changed (but not within
 * MEMBER_HURRY_NS of the last); the end of waiting for a controlled shutdown.
 *
 * Owner: the control thread (in node).
 *
 * Invariants (member_check):
 *   M1  lease_until <= send time of an answered heartbeat + lease, and no heartbeat is numbered beyond the last sent.
 *   M2  FENCED, ACTIVE, LEAVING have an epoch.
 */
#ifndef TIDEMARK_CONTROL_NODE_MEMBER_H
#define TIDEMARK_CONTROL_NODE_MEMBER_H

#include <stdbool.h>
#include <stdint.h>

#include "cluster/cluster.h"
#include "node/health.h"
#include "node/rpc.h"

enum { MEMBER_REFUSAL_MAX = 256 };

enum member_state {
    MEMBER_WAITING,
    MEMBER_REGISTERING,
    MEMBER_FENCED,
    MEMBER_ACTIVE,
    MEMBER_LEAVING,
    MEMBER_LEFT,
    MEMBER_REFUSED,
    MEMBER_STATE_COUNT
};

struct member_config {
    int32_t id;
    struct tide_uuid incarnation;
    uint64_t heartbeat_ns;
    uint64_t lease_ns;
    uint64_t leave_ns; /* how long a stopping broker waits for its leaderships to move */
};

struct member {
    struct member_config config;
    enum member_state state;
    int64_t epoch; /* of our registration, -1 none */
    bool submitted; /* a REGISTER_BROKER is on its way */
    uint64_t register_at_ns; /* not before */
    bool serves; /* the replicas that were here at the start are served */
    bool stopping;
    uint64_t leave_until_ns;
    uint64_t finished; /* metadata that all cores have acted on */
    struct node_health health;
    bool hurry;
    uint64_t sent_ns; /* number of the last heartbeat, 0 none */
    uint64_t heartbeat_at_ns;
    uint64_t lease_until_ns; /* 0: none */
    char refusal[MEMBER_REFUSAL_MAX];
};

void member_init(struct member *, const struct member_config *);
const char *member_state_name(enum member_state);

/* The logs are recovered and the metadata is caught up: registering may begin. */
void member_on_recovered(struct member *, uint64_t now_ns);
/* The replicas that were here at the start are served (or have failed): leading may begin. */
void member_on_serving(struct member *, uint64_t now_ns);
/* All cores have acted on the metadata up to this index. */
void member_on_finished(struct member *, uint64_t now_ns, uint64_t index);
void member_on_health(struct member *, uint64_t now_ns, const struct node_health *);
/* The metadata has changed. */
void member_on_metadata(struct member *, uint64_t now_ns, const struct cluster *);
/* Leave the cluster in good order; LEFT follows. */
void member_on_stop(struct member *, uint64_t now_ns);
void member_on_time(struct member *, uint64_t now_ns);

/* True when a REGISTER_BROKER should be submitted now; it counts as submitted then. */
bool member_take_registration(struct member *, uint64_t now_ns);
/* How it ended; error: Kafka's, -1 when nothing is known. */
void member_on_registered(struct member *, uint64_t now_ns, int16_t error, const char *message, int64_t epoch);

/* True when a heartbeat should be sent now. */
bool member_take_heartbeat(struct member *, uint64_t now_ns, struct rpc_heartbeat *ret);
void member_on_answer(struct member *, uint64_t now_ns, const struct rpc_heartbeat_reply *);
/* There is a controller where there was none, or another: it is to hear of us soon. */
void member_on_controller(struct member *, uint64_t now_ns);

/* can_send: there is a way to the controller, so a heartbeat that is due would go. */
uint64_t member_deadline_ns(const struct member *, bool can_send);
void member_check(const struct member *);

#endif
