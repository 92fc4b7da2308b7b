/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control plane of one broker: the metadata as applied here, the quorum if this broker is a voter, the pulling of
 * committed commands if it is not, the controller's duties while it leads, its own membership, and the messages between
 * brokers. Pure: no I/O, no clock, no threads; the same code runs in the daemon and in the simulator.
 *
 *   on_time  on_link_up/down  on_guest/_gone  on_frame  on_disk_done  submit      >  node
 *   node  >  disk_take  frame_take  event_take  deadline
 *
 * After every call the owner looks for effects: disk operations, frames for each link, events.
 *
 * Links. A *link* is the connection that this broker opened to a peer (a voter); it carries HELLO, then Raft messages
 * and requests, and brings answers. A *guest* is a connection that a peer opened to this broker; it brings the peer's
 * HELLO, Raft messages and requests, and carries answers. At most one of each per peer: a new guest of a peer replaces
 * the older, which the owner closes (D18).
 *
 * A change. Whoever wants one calls node_submit() on any broker. The command goes to the controller, again and again
 * under the same (requester, sequence) until this broker has applied it itself; the result is what applying gave here, so
 * whoever is answered sees the change. A broker has NODE_LANES of requesters; each has one command on its way at a
 * time, so the state machine's one slot for a requester's last result is enough to apply every command once.
 *
 * A voter whose process welcomed us at its address has ended when that address refuses connections and none of its own is
 * here: the controller fences it without waiting for the session. (A firewall that resets connections in the kernel's place
 * can make a living process look so, and have it fenced while its lease lasts; acks=all does not depend on the lease.)
 *
 * Over every link goes something at least once per heartbeat interval.
 *
 * Who is refused as a guest: another cluster, an id that is ours, a number that another process uses whose connection is
 * there and was heard within two heartbeats, frames of a version that is not spoken here. From which addresses guests
 * may come at all is the edge's to know.
 *
 * Metadata of an observer is in memory only: it starts from a snapshot or from the first command, and asks one voter
 * at a time; an answer that is not the next index is dropped, a source that is silent is changed.
 *
 * Owner: the control thread.
 *
 * Invariants (node_check):
 *   N1  what is applied here never goes back; an observer has applied exactly the commands up to its index.
 *   N2  only the quorum's leader is an active controller, as long as the node goes on.
 *   N3  a lane has at most one command on its way, and those on their way are the oldest of their lane.
 *   N4  what waits for a link is bounded; without a link nothing waits for it.
 */
#ifndef TIDEMARK_CONTROL_NODE_NODE_H
#define TIDEMARK_CONTROL_NODE_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster/cluster.h"
#include "node/controller.h"
#include "node/health.h"
#include "node/member.h"
#include "node/rpc.h"
#include "raft/quorum.h"
#include "tidemark/settings.h"

enum node_limit {
    NODE_LANES = 8,              /* commands of this broker on their way at a time */
    NODE_PENDING_MAX = 8192,     /* submitted and not answered */
    NODE_GUESTS_MAX = 256,       /* peers connected to us */
    NODE_LINKS_MAX = 16,         /* peers we connect to */
    NODE_QUEUE_BYTES = 8 << 20,  /* of answers that wait for one connection */
    NODE_ERROR_MAX = 512,
};

struct node_peer {
    int32_t id;
    char address[QUORUM_ADDRESS_MAX]; /* host:port */
};

struct node_config {
    int32_t id;
    struct tide_uuid cluster_id;
    struct tide_uuid incarnation;
    uint64_t seed;
    /* Voters as the settings name them; an observer finds the cluster through them. */
    uint32_t voter_count;
    struct node_peer voters[TIDE_VOTERS_MAX];
    /* times */
    uint64_t session_ms;
    uint64_t heartbeat_ms;
    uint64_t lease_ms;
    uint64_t request_ms;
    uint64_t leave_ms;
    uint32_t election_ms;
    uint32_t quorum_heartbeat_ms;
    uint32_t idle_ms;
    uint64_t balance_ms; /* 0: never */
    uint64_t probe_ms, suspect_ms, recover_ms, shrink_guard_ms;
    /* sizes */
    uint32_t snapshot_commands;
    uint64_t snapshot_bytes;
    uint32_t trailing;
    /* of a new cluster */
    int64_t created_ms;
    uint32_t init_config_count;
    const struct cluster_config *init_configs;
    /* how it registers */
    struct cluster_broker broker;
    int64_t previous_epoch; /* from the mark of a clean stop, -1: none */
};

enum node_outcome {
    NODE_DONE,      /* applied here: see the result */
    NODE_TIMED_OUT, /* it may still be applied, or never */
    NODE_REFUSED,   /* it is malformed, and will never be */
};

enum node_event_kind {
    NODE_RESULT,     /* cookie, outcome, result (the taker frees it) */
    NODE_CHANGED,    /* the metadata is another than when this was last taken: walk the feed */
    NODE_CAUGHT_UP,  /* once: the metadata is as new as the cluster's was when we came */
    NODE_CONTROLLER, /* there is another controller, or none (-1) */
    NODE_MEMBER,     /* the member's state changed */
    NODE_STOPPED,    /* node_error() says why: the process is to end; it restarts from its disk */
    NODE_HELLO_REFUSED, /* text: what a peer answered to our HELLO */
};

struct node_event {
    enum node_event_kind kind;
    uint64_t cookie;
    enum node_outcome outcome;
    struct cluster_result result;
    int32_t peer;   /* of HELLO_REFUSED; of CONTROLLER who it is */
    uint64_t epoch; /* of the controller */
    enum rpc_hello_result refusal;
    char text[RPC_REASON_MAX];
};

struct node;

/*
 * boot: what the disk of a voter holds; emptied. NULL for an observer. NULL with a message: it cannot be started from.
 */
struct node *node_create(const struct node_config *, struct quorum_boot *boot, uint64_t now_ns, char *error, size_t size);
void node_destroy(struct node *);

/* ---- inputs */
void node_on_time(struct node *, uint64_t now_ns);
void node_on_disk_done(struct node *, uint64_t now_ns, int result, uint64_t capacity_bytes);
void node_on_link_up(struct node *, uint64_t now_ns, int32_t peer);
void node_on_link_down(struct node *, uint64_t now_ns, int32_t peer);
/* The peer's kernel says that nobody listens at its address. */
void node_on_link_refused(struct node *, uint64_t now_ns, int32_t peer);
/*
 * First frame on a connection that a peer opened; `connection` grows with each of them. TIDE_OK: it is *ret_peer's now,
 * and an older one of it is to be closed without node_on_guest_gone. TIDE_REFUSED: send *ret_reply (to be freed) and close.
 * TIDE_BAD: close.
 */
TIDE_MUST_USE enum tide_status node_on_guest(struct node *, uint64_t now_ns, uint64_t connection, const uint8_t *frame, size_t len,
                                             int32_t *ret_peer, struct quorum_message *ret_reply);
void node_on_guest_gone(struct node *, uint64_t now_ns, int32_t peer);
/* A frame that came over the link to a peer, or from a guest. TIDE_BAD: close that connection. */
TIDE_MUST_USE enum tide_status node_on_link_frame(struct node *, uint64_t now_ns, int32_t peer, const uint8_t *frame, size_t len);
TIDE_MUST_USE enum tide_status node_on_guest_frame(struct node *, uint64_t now_ns, int32_t peer, const uint8_t *frame, size_t len);

/*
 * A change, from this broker. The command is copied; header fields are filled in here. A RESULT event with the cookie
 * follows, at the latest when `patience_ns` are over. TIDE_FULL: too many wait. TIDE_BAD: it cannot be encoded.
 */
TIDE_MUST_USE enum tide_status node_submit(struct node *, uint64_t now_ns, const struct cluster_command *, uint64_t patience_ns,
                                           uint64_t cookie);

/* The broker's own state, as its owner learns it. */
void node_on_recovered(struct node *, uint64_t now_ns, const struct cluster_partition_ref *unclean, uint32_t count);
void node_on_serving(struct node *, uint64_t now_ns);
void node_on_finished(struct node *, uint64_t now_ns, uint64_t index);
void node_on_health(struct node *, uint64_t now_ns, const struct node_health *);
void node_stop(struct node *, uint64_t now_ns);

/* The quorum's membership; a RESULT event with the cookie tells. Not the controller: TIDE_REFUSED. */
TIDE_MUST_USE enum tide_status node_add_voter(struct node *, uint64_t now_ns, int32_t id, const char *address, uint64_t cookie);
TIDE_MUST_USE enum tide_status node_remove_voter(struct node *, uint64_t now_ns, int32_t id, uint64_t cookie);

/* ---- effects */
/*
 * A first voter begins the quorum: make this durable, then say so. NULL: nothing to found (yet). The others' welcome comes
 * first where there are others.
 */
const struct quorum_boot *node_founding(const struct node *);
void node_on_founded(struct node *, uint64_t now_ns, int result);
const struct quorum_disk_op *node_disk_take(struct node *); /* NULL for an observer */
bool node_link_frame_take(struct node *, int32_t peer, struct quorum_message *ret);
bool node_guest_frame_take(struct node *, int32_t peer, struct quorum_message *ret);
bool node_event_take(struct node *, struct node_event *ret);
uint64_t node_deadline_ns(const struct node *);

/* ---- questions */
const struct cluster *node_cluster(const struct node *);
uint64_t node_applied(const struct node *); /* index */
int32_t node_controller(const struct node *); /* as far as known, -1 */
bool node_is_controller(const struct node *); /* active */
uint64_t node_lease_until_ns(const struct node *);
const struct member *node_member(const struct node *);
const struct quorum *node_quorum(const struct node *); /* NULL for an observer */
/* Peers that this broker should have a link to. */
uint32_t node_peers(const struct node *, struct node_peer peers[NODE_LINKS_MAX]);
const char *node_error(const struct node *);
void node_check(const struct node *);

#endif
