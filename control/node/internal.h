/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The structs of node.c, links.c, submit.c and follow.c; what a node is, node.h says.
 */
#ifndef TIDEMARK_CONTROL_NODE_INTERNAL_H
#define TIDEMARK_CONTROL_NODE_INTERNAL_H

#include "node/node.h"
#include "tidemark/random.h"

enum {
    COMMAND_EPOCH_AT = 8, /* in the header of a command's bytes */
    COMMAND_REQUESTER_AT = 16,
    COMMAND_SEQUENCE_AT = 24,
    COMMAND_HEADER = 32,
    PULL_WAIT_MS = 500, /* how long a voter holds a PULL that has nothing to bring */
    BACKOFF_FIRST_MS = 20,
    BACKOFF_LAST_MS = 1000,
    REGISTER_PATIENCE_S = 10,
};

struct frame {
    struct frame *next;
    size_t len;
    uint8_t *bytes;
};

/* Frames that wait for a connection; none without one (N4). */
struct frame_queue {
    struct frame *head, *tail;
    size_t bytes;
};

struct node_link {
    int32_t peer;
    bool up;
    bool welcome; /* our HELLO was answered well on this connection, or an earlier one while founding */
    bool refused; /* nobody listens at its address, since it was up last */
    struct tide_uuid incarnation; /* of the process that welcomed us last; zero: none has */
    char address[QUORUM_ADDRESS_MAX];
    struct frame_queue queue;
};

struct node_guest {
    int32_t peer;
    uint64_t connection;
    struct tide_uuid incarnation;
    uint64_t heard_ns;
    struct frame_queue queue;
    bool pulls; /* an answer is owed */
    struct rpc_pull pull;
    uint64_t pull_until_ns;
};

/* A command on its way. */
struct node_pending {
    struct node_pending *next;
    uint64_t cookie;
    bool registers; /* this broker; ours, not the owner's */
    int lane;       /* -1: waits for one */
    uint64_t sequence;
    uint64_t give_up_ns;
    uint64_t send_at_ns;
    uint64_t backoff_ms;
    size_t len;
    uint8_t bytes[];
};

struct node_lane {
    uint64_t requester;
    uint64_t sequence; /* of the last command */
    struct node_pending *current;
};

struct node_queued_event {
    struct node_queued_event *next;
    struct node_event event;
};

/* An observer's way to the commands. */
struct node_follow {
    uint32_t source; /* number of a link */
    bool asked;
    uint64_t asked_ns;
    uint64_t ask_at_ns;
    uint64_t backoff_ms;
    uint64_t snapshot_index; /* being fetched; 0: none */
    uint64_t snapshot_total;
    size_t snapshot_len, snapshot_room;
    uint8_t *snapshot;
};

struct node {
    struct node_config config;
    uint64_t now_ns;
    struct cluster *cluster;
    struct quorum *quorum; /* NULL: an observer, or founding */
    bool founding;         /* a first voter without a log: waits for the others' welcome, then for its disk */
    bool found_ready;      /* the others have welcomed it */
    struct quorum_boot found;
    struct controller controller;
    struct member member;
    uint64_t applied; /* index */
    uint64_t applied_term;
    uint32_t link_count;
    struct node_link links[NODE_LINKS_MAX];
    uint32_t guest_count;
    struct node_guest *guests[NODE_GUESTS_MAX];
    struct node_lane lanes[NODE_LANES];
    struct node_pending *pending, *pending_tail;
    uint32_t pending_count;
    struct node_follow follow;
    int32_t hint; /* who an observer believes to be the controller, -1 */
    uint64_t membership_cookie; /* 0: no change of ours runs */
    uint32_t unclean_count;
    struct cluster_partition_ref *unclean;
    /* events */
    struct node_queued_event *events, *events_tail;
    bool changed;
    bool caught_up;
    bool caught_up_told;
    int32_t target;       /* the controller as of the last turn */
    uint64_t keep_at_ns;  /* something goes over every link, so that its other end knows that we live */
    uint64_t doubt_at_ns; /* an observer's next look at its hint */
    int32_t told_controller;
    uint64_t told_epoch;
    enum member_state told_member;
    bool stopped;
    bool stopped_told;
    char error[NODE_ERROR_MAX];
    uint8_t *scratch; /* CLUSTER_COMMAND_MAX */
};

/* ---- node.c */
void node_fail(struct node *, const char *format, ...) __attribute__((format(printf, 2, 3)));
void node_tell(struct node *, const struct node_event *);
/* Applies what is committed at `index`; len 0: no command. */
void node_apply(struct node *, uint64_t index, uint64_t term, const uint8_t *bytes, size_t len);
void node_restore(struct node *, uint64_t index, uint64_t term, const uint8_t *bytes, size_t len);
/* Everything committed comes from the quorum, not from pulling. */
bool node_takes_part(const struct node *);
/* Who is to be asked: a broker's number, ours as well; -1: not known. */
int32_t node_target(const struct node *);
/* One more voter has welcomed us: a first voter may found the quorum when enough have. */
void node_found(struct node *);
/* `peer` is not the controller; it believes that `controller` is. */
void node_hint(struct node *, int32_t peer, int32_t controller);
/* At the controller; 0: the answer follows. */
int16_t node_on_heartbeat(struct node *, int32_t broker, const struct rpc_heartbeat *);

/* ---- links.c */
void links_set(struct node *); /* as settings and quorum name the peers */
struct node_link *links_find(struct node *, int32_t peer);
const struct node_link *links_look(const struct node *, int32_t peer);
struct node_guest *guests_find(const struct node *, int32_t peer);
struct rpc_message node_message(const struct node *, enum rpc_kind, int32_t receiver);
/* False: there is no such connection, or too much waits for it. */
bool links_send(struct node *, const struct rpc_message *);
bool guests_send(struct node *, struct node_guest *, const struct rpc_message *);
/* The process that is registered as this broker answered at its address once, and now nobody does. */
bool links_has_ended(const struct node *, const struct cluster_broker *);
/* A probe without a question over every link, once per heartbeat interval. */
void links_keep(struct node *);
void links_deinit(struct node *);

/* ---- submit.c */
enum tide_status submit_new(struct node *, const struct cluster_command *, uint64_t give_up_ns, uint64_t cookie, bool registers);
void submit_on_applied(struct node *, const uint8_t *bytes, struct cluster_result *); /* may take the result's items */
void submit_on_reply(struct node *, int32_t peer, const struct rpc_submit_reply *);
/* The controller is another, or the metadata jumped: all of them once more. */
void submit_again(struct node *);
void submit_turn(struct node *);
uint64_t submit_deadline_ns(const struct node *);
/* At the controller: a command of a broker. */
enum rpc_submit_result submit_accept(struct node *, int32_t sender, const struct rpc_submit *);
void submit_deinit(struct node *);

/* ---- follow.c */
void follow_turn(struct node *);
void follow_on_entries(struct node *, int32_t peer, const struct rpc_entries *);
void follow_on_chunk(struct node *, int32_t peer, const struct rpc_chunk *);
void follow_on_link_down(struct node *, int32_t peer);
void follow_serve(struct node *);
uint64_t follow_deadline_ns(const struct node *);
void follow_deinit(struct node *);

#endif
