/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The peer streams of one core, and how partitions hang on them (design 6).
 *
 *   peers.c    streams: dialling, greeting, messages, silence, what the connection shall do
 *   feeds.c    the leader's side: subscriptions, what is pushed, acknowledgements
 *   home.c     what the home core of a leader decides: grants, the ISR (replica/leader.h)
 *   follows.c  the follower's side: whom to ask, what arrives, what is acknowledged
 *
 * A follower's partition is handled on its home core, whose core has opened the stream; so nothing of
 * it goes by mail. A leader's partition is read by the core on which the follower's stream landed:
 * marks and bytes are [any]; only the grant is asked of the home core (MAIL_SUBSCRIBE), which closes
 * the follower's earlier subscription, on whatever core that is, before it answers.
 *
 * Owner: the core.
 *
 * Invariants (peers_check):
 *   P1  a feed that is not free belongs to one open leader stream, or waits for a letter or a disk read.
 *   P2  every feed and every letter about a partition counts as a use of its slot.
 *   P3  a follow that asks or streams belongs to an open follower stream.
 *   P4  a follow that asks has a log whose end stands still: what it asked with is true until the answer.
 */
#ifndef TIDEMARK_BROKER_PEERS_H
#define TIDEMARK_BROKER_PEERS_H

#include "broker/internal.h"
#include "replica/follower.h"
#include "replica/leader.h"
#include "replica/stream.h"
#include "replica/subscription.h"
#include "replica/throttle.h"
#include "tidemark/random.h"

enum peers_limit {
    FEEDS_MAX = 2 * TIDE_PARTITIONS_MAX, /* subscriptions that a core can serve */
    PEER_PUSHES_MAX = 256,          /* feeds looked at per turn */
    PEER_ASKS_MAX = 64,             /* subscriptions asked for per turn */
    PEER_OUT_MAX = 1 << 20,         /* unsent bytes of a stream; beyond it nothing is pushed */
    PEER_SILENCE_BEATS = 20,        /* a peer that was not heard for so many beats is gone, but not before... */
    PEER_SILENCE_MIN_MS = 2000,     /* ...this */
    PEER_DIAL_MS = 1000,            /* a connection that does not come up in this time is tried anew */
    FEED_WAITS_MS = 1,
    PEER_MARK_DELAY_MS = 5,         /* a high watermark that moved is told within this, if nothing else goes there */
    FOLLOW_RETRY_MS = 20,           /* after a refusal */
    FOLLOW_LOOK_MS = 5,             /* how often those without a stream look for one, at least */
    HOME_RETRY_MS = 50,             /* an ISR that was refused, or whose answer got lost, is proposed again */
    FOLLOW_TAG_BITS = 12,           /* the slot; the generation above */
};
/* Whose a disk read is, by its slot: requests, feeds, coordinators. */
#define FEED_READS_FIRST(b) ((b)->config.requests_max)
#define COORDINATOR_READS_FIRST(b) ((b)->config.requests_max + FEEDS_MAX)
static_assert(1 << FOLLOW_TAG_BITS >= TIDE_PARTITIONS_MAX, "a tag names the slot");

/*
 *   FREE -> IDLE (follower's end: waits for its time to dial) -> DIALLING -> UP -> IDLE or FREE
 *   FREE -> UP (leader's end) -> FREE
 */
enum peer_state { PEER_FREE, PEER_IDLE, PEER_DIALLING, PEER_UP, PEER_STATE_COUNT };

/*
 * Signs of life of the broker at the other end of an open stream, published for control: when it was last heard, and when it
 * last acknowledged bytes of ours. A word is the broker's number + 1 and the low half of the time in units of 2^20 ns; 0: no
 * stream is open. A stale word makes a broker look silent for a moment longer, never alive: a silent stream ends long before
 * the time of a word could be taken for a newer one.
 */
struct peer_signs {
    struct tide_pub64 heard, confirmed;
};

struct peer {
    struct conn_user user; /* first: what the connection points to */
    struct broker *broker;
    enum peer_state state;
    enum stream_end end;
    void *transport;
    struct stream stream;  /* while UP */
    int32_t broker_id;     /* the peer's; -1 not known yet */
    uint32_t remote_core;  /* follower's end: the leader's core that it is steered to */
    uint32_t credit;       /* received bytes whose window may reopen */
    uint32_t queued;       /* bytes that the connection has not got rid of, as last told */
    bool abort;
    uint64_t dial_ns, backoff_ns;
    uint64_t gives_up_ns;  /* while DIALLING */
    struct link in_list, in_ready; /* of the free ones, or of those in use */
    struct link feeds;     /* leader's end: its subscriptions */
    struct link pushes;    /* those that may have something to send */
    uint32_t feed_count;   /* leader's end, as of the last BEAT: subscriptions, and the most that one is behind */
    uint64_t lag;
    uint64_t mark_ns;      /* when a BEAT must say that marks moved; TIDE_NEVER */
    struct link follows;   /* follower's end: whoever wants to be fed through it */
    struct link acks;      /* those that owe an acknowledgement */
    bool answers_beat;     /* follower's end: a BEAT came that no ACK has answered */
    struct peer_signs *signs;
};

/*
 *   FREE -> ASKED (a letter to the home core) -> FEEDING -> FREE
 *   any -> ENDING (closed, but a letter or a disk read is out) -> FREE
 */
enum feed_state { FEED_FREE, FEED_ASKED, FEED_FEEDING, FEED_ENDING };

struct feeding {
    enum feed_state state;
    struct peer *peer; /* NULL while ENDING */
    struct link in_peer, in_pushes, in_slot, in_free;
    bool held; /* in_pushes is in held_feeds: it waits for the throttle */
    bool waits; /* in_pushes is in waiting_feeds: it waits for a pool, or for the disk */
    struct partition *partition;
    int32_t tag;
    uint64_t credit; /* that the follower opened with */
    struct subscription subscription;
    struct feed feed;
    struct stage_feed timed;
};

struct follow {
    struct follower follower;
    struct peer *peer; /* NULL: none is wanted, or none could be had */
    struct link in_peer, in_acks, in_busy, in_held;
    uint64_t asked_credit; /* that the last SUBSCRIBE gave */
    struct intake intake; /* while STREAMING */
};

struct home_leader {
    struct leader leader;
    bool begins;             /* a role that leader_become has not seen: it waits until the partition leads */
    bool recovering;
    int32_t leader_epoch, partition_epoch;
    uint32_t unsent_closes;  /* by replica */
};

struct peers {
    struct peer *peers;
    struct peer_signs *signs; /* published; by place in `peers` */
    uint32_t peer_count;
    struct link free_peers, used_peers;
    struct link ready;
    uint64_t seen; /* version of the view that the streams have been compared with */
    uint64_t look_ns;
    struct feeding *feedings;
    struct link free_feedings;
    struct link *by_slot;          /* feedings of a slot on this core */
    uint32_t disk_reads;
    struct throttle lead_throttle, follow_throttle; /* our share of the broker's, as of the view */
    struct link held_feeds, held_follows;          /* those that wait for them */
    struct link waiting_feeds;     /* tried again when a disk operation of this core is done, or then: */
    uint64_t waiting_ns;
    struct follow *follows;        /* by slot; home partitions */
    struct link busy;              /* those that ask, cut or have something waiting */
    struct home_leader *leaders;   /* by slot; home partitions */
    uint64_t lag_max_ns;
    uint64_t leaders_ns;           /* when some leader has to look at its ISR */
    struct tide_random random;
};

/* ---- peers.c */
struct peers *peers_create(struct broker *); /* [start] NULL without memory */
void peers_destroy(struct broker *);
void peers_check(const struct broker *);
void peers_gauges(const struct broker *, struct broker_gauges *ret);
unsigned peers_turn(struct broker *, struct tide_out *);
uint64_t peers_deadline_ns(const struct broker *);
void peers_on_disk(struct broker *, uint32_t place, const struct disk_done *, struct tide_out *);
void peer_ready(struct peer *);
/* The stream that leads to that core of the leader; made if need be. NULL: no slot is free. */
struct peer *peer_toward(struct broker *, int32_t leader, uint32_t remote_core);
bool peer_is_open(const struct peer *);
const struct view_broker *view_broker_of(const struct tide_view *, int32_t id);
/* What the view says of the partition; NULL: nothing. */
const struct view_partition *view_partition_of(const struct broker *, struct partition *);

/* ---- feeds.c */
bool feeds_create(struct broker *);
void feeds_destroy(struct broker *);
void feeds_on_subscribe(struct broker *, struct peer *, const struct peer_subscribe *, struct tide_out *);
void feeds_on_ack(struct broker *, struct peer *, const struct peer_ack *);
void feeds_on_unsubscribe(struct broker *, struct peer *, uint32_t place, uint32_t number);
/* The home core's answer to a SUBSCRIBE. */
void feeds_on_answer(struct broker *, struct tide_mail *);
/* The home core wants it closed. */
void feeds_close(struct broker *, struct partition *, uint32_t replica, uint32_t number);
/* Its marks or its role moved. */
void feeds_on_moved(struct broker *, uint32_t slot);
/* The stream is gone. */
void feeds_on_gone(struct broker *, struct peer *);
unsigned feeds_push(struct broker *, struct peer *, struct tide_out *);
/* Those that wait for the throttle and may go on: some of them, or all because anything may be otherwise (`all`). */
void feeds_unhold(struct broker *, bool all);
/* A disk operation of this core is done, or it is time: those that wait for a pool or for the disk are tried again. */
void feeds_on_room(struct broker *);
/* Tells every subscription's marks. False: the pool is empty. */
bool feeds_beat(struct broker *, struct peer *);
void feed_on_done(struct broker *, struct feeding *, const struct disk_done *);

/* ---- home.c: all of it [home] */
bool home_create(struct broker *);
void home_destroy(struct broker *);
void home_on_subscribe(struct broker *, struct tide_mail *, struct tide_out *);
/* A letter of kind MAIL_SUBSCRIBE, MAIL_UNSUBSCRIBE or MAIL_ISR. */
void home_on_mail(struct broker *, struct tide_mail *, struct tide_out *);
/* The stream of a subscription that we (or the partition's home core) granted is gone. */
void home_closed(struct broker *, struct partition *, uint32_t replica, uint32_t number);
/* It was adopted. */
void home_adopt(struct broker *, struct partition *);
/* Control ordered a role; partition_become took it. */
void home_on_role(struct broker *, struct partition *, const struct mail_role *);
/* After partition_turn: decisions that are due. */
void home_turn(struct broker *, struct partition *);
/* The replica is of no use until it is opened anew. */
void home_failed(struct broker *, struct partition *);
/* Something is left for the next turn. */
bool home_has_work(const struct broker *, const struct partition *);
/* The partition leaves, or FAILED. */
void home_resign(struct broker *, struct partition *);
void home_on_time(struct broker *);
void home_check(const struct broker *);

/* ---- follows.c */
bool follows_create(struct broker *);
void follows_destroy(struct broker *);
/* [home] The partition got a role, or leaves. */
void follows_on_role(struct broker *, struct partition *, const struct mail_role *);
void follows_adopt(struct broker *, struct partition *);
void follows_on_failed(struct broker *, uint32_t slot);
void follows_check(const struct broker *);
void follows_on_release(struct broker *, uint32_t slot);
/* [home] Its marks moved. */
void follows_on_moved(struct broker *, uint32_t slot);
/* The stream opened / is gone. */
void follows_on_open(struct broker *, struct peer *);
void follows_on_gone(struct broker *, struct peer *);
void follows_on_message(struct broker *, struct peer *, struct peer_message *, struct tide_out *);
unsigned follows_turn(struct broker *, struct tide_out *);
/* As feeds_unhold. */
void follows_unhold(struct broker *, bool all);
/* Writes what is owed. */
unsigned follows_ack(struct broker *, struct peer *);
uint64_t follows_deadline_ns(const struct broker *);

#endif
