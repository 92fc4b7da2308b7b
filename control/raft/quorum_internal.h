/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of a quorum, for its own files: quorum.c (the library's step and what follows from it,
 * events, checks), quorum_queue.c (what goes to the disk), quorum_peers.c (messages), quorum_change.c
 * (proposals and membership).
 */
#ifndef TIDEMARK_CONTROL_RAFT_QUORUM_INTERNAL_H
#define TIDEMARK_CONTROL_RAFT_QUORUM_INTERNAL_H

#include <raft.h>

#include "raft/quorum.h"
#include "raft/quorum_bytes.h"
#include "raft/quorum_log.h"
#include "raft/quorum_members.h"
#include "raft/quorum_message.h"

#ifndef RAFT_VERSION_NUMBER
#error "raft.h is not libraft's; Tidemark needs libraft 0.22.1"
#elif RAFT_VERSION_NUMBER != 2201
#error "Tidemark needs libraft 0.22.1 exactly (Debian 13, or bookworm-backports): this driver covers the faults of that version, and 0.15 loses committed entries"
#endif

enum {
    QUORUM_PEERS_MAX = 2 * QUORUM_MEMBERS_MAX, /* members, and some that were or will be */
    QUORUM_EVENTS_MAX = 64,
    QUORUM_RETRY_MS = 1000,
    QUORUM_INFLIGHT_MAX = 256, /* entries on their way to a peer */
    QUORUM_APPEND_BYTES_MAX = 4 << 20, /* joined into one disk operation */
};

/* One operation of the disk, in the order of their numbers. */
struct quorum_queued {
    struct quorum_queued *next;
    struct quorum_disk_op op;
    struct quorum_entry *entries; /* owned, as are their bytes */
    uint32_t room;
    uint32_t counts; /* of the entries those that a later operation does not replace (D4) */
    uint64_t bytes;
    struct quorum_snapshot *snapshot; /* a reference */
};

struct quorum_waiting_message {
    struct quorum_waiting_message *next;
    uint64_t after; /* the state with this number must be durable (D1) */
    struct quorum_message message;
};

/* A snapshot on its way to a peer: its first piece stands in the queue, the others go when the queue
 * is empty, so that heartbeats do not wait behind it. */
struct quorum_sending {
    struct quorum_snapshot *snapshot; /* NULL: none */
    uint64_t term;
    uint64_t offset;
    uint64_t after;
    bool begun; /* the first piece was taken */
};

/* A snapshot on its way from a peer. */
struct quorum_receiving {
    bool active;
    uint64_t leader_term;
    uint64_t index;
    uint64_t term;
    uint64_t members_index;
    uint64_t total;
    uint64_t have;
    uint64_t room;
    uint32_t members_len;
    uint8_t *members;
    uint8_t *bytes;
};

struct quorum_peer {
    bool used;
    bool up;
    int32_t id;
    uint64_t connection; /* the newest one it came over (D18) */
    struct quorum_waiting_message *head;
    struct quorum_waiting_message *tail;
    uint64_t bytes;
    struct quorum_sending sending;
    struct quorum_receiving receiving;
};

/* What somebody proposed; with an index once it is in the log. */
struct quorum_proposal {
    uint64_t tag;
    uint64_t index;
    uint64_t term;
    uint32_t len;
    uint8_t *bytes;
};

struct quorum_proposals {
    struct quorum_proposal *list;
    uint32_t begin;
    uint32_t count;
    uint32_t room;
    uint64_t bytes;
};

/*
 * A change of who takes part.
 *
 *      NONE > ADDING > CATCHING > PROMOTING > NONE      add a voter
 *      NONE > CATCHING                                  ... that follows already
 *      NONE > REMOVING > NONE
 *
 * Every state goes back to NONE when leadership is lost.
 */
enum quorum_change_state {
    QUORUM_CHANGE_NONE,
    QUORUM_CHANGE_ADDING,    /* the entry that lets it follow is not applied yet */
    QUORUM_CHANGE_CATCHING,  /* it gets the log */
    QUORUM_CHANGE_PROMOTING, /* the entry that gives it a vote is not applied yet */
    QUORUM_CHANGE_REMOVING,
    QUORUM_CHANGE_STATE_COUNT,
};

struct quorum_change {
    enum quorum_change_state state;
    int32_t id;
    uint64_t tag;
    uint64_t index; /* of the entry waited for */
};

enum quorum_taking {
    QUORUM_TAKING_NONE,
    QUORUM_TAKING_ASKED,
    QUORUM_TAKING_WRITES,
};

struct quorum {
    struct quorum_config config;
    struct raft raft;
    uint64_t now_ms;      /* never goes back */
    uint64_t fired_ms;    /* the library's timer last fired */
    uint64_t appended_ms; /* the leader last put an entry into its log (D13) */
    bool answers_stale;   /* a message of an older term is being answered */
    bool stopped;
    char error[QUORUM_ERROR_MAX];

    /* the log and the marks on it */
    struct quorum_log log;
    uint64_t stored; /* the library was told that so much is durable */
    uint64_t commit; /* the highest the library ever said */
    uint64_t applied;
    uint64_t applied_term;
    uint64_t applied_members; /* index of the newest membership entry at or below applied */
    struct quorum_members members;

    /* snapshots */
    struct quorum_snapshot *snapshot;   /* the newest durable one */
    struct quorum_snapshot *installing; /* on its way to the disk, a reference */
    bool restore_waits;                 /* the owner has not taken it yet */
    enum quorum_taking taking;
    uint64_t entries_since; /* a snapshot, or the last time one was refused */
    uint64_t bytes_since;

    /* the disk */
    struct quorum_queued *first;
    struct quorum_queued *last;
    bool out; /* the first one is */
    uint64_t next_number;
    uint64_t state_queued;  /* number of the newest term and vote ... */
    uint64_t state_durable; /* ... and of the newest durable one */
    uint64_t retry_ms;      /* 0: the disk has room as far as is known */
    uint64_t capacity_bytes;

    struct quorum_peer peers[QUORUM_PEERS_MAX];
    struct quorum_proposals waiting; /* not in the log yet */
    struct quorum_proposals pending; /* in the log, not applied */
    struct quorum_change change;

    bool leads; /* the library says so, in this term */
    uint64_t leads_term;
    enum quorum_role told_role; /* what the owner knows */
    uint64_t told_term;
    struct quorum_event events[QUORUM_EVENTS_MAX];
    uint32_t event_begin;
    uint32_t event_count;
    struct quorum_event *more; /* when the ring is full: grows, given out behind it */
    uint32_t more_begin;
    uint32_t more_count;
    uint32_t more_room;
};

/* quorum.c */
/* One event into the library, and everything that follows from it, in the order of control-plane.md
 * 2.2. 0, or the library's code: for a submission an ordinary answer, for anything else the end. */
int quorum_step(struct quorum *, struct raft_event *);
void quorum_stop(struct quorum *, const char *format, ...) __attribute__((format(printf, 2, 3)));
void quorum_say(struct quorum *, const struct quorum_event *);
/* At the end of every input: whatever has become possible. */
void quorum_settle(struct quorum *);
uint16_t quorum_capacity(const struct quorum *);
void quorum_refresh_members(struct quorum *);

/* quorum_queue.c */
void quorum_queue_state(struct quorum *, uint64_t term, uint64_t vote);
void quorum_queue_entries(struct quorum *, uint64_t index, const struct raft_entry *, unsigned count);
void quorum_queue_snapshot(struct quorum *, enum quorum_disk_kind, struct quorum_snapshot *, uint64_t keep_from);
void quorum_queue_reserve(struct quorum *);
bool quorum_queue_has_append(const struct quorum *);
void quorum_queue_deinit(struct quorum *);

/* quorum_peers.c */
void quorum_send(struct quorum *, const struct raft_message *);
void quorum_peers_lost_leadership(struct quorum *);
void quorum_peers_deinit(struct quorum *);

/* quorum_change.c */
void quorum_proposals_flush(struct quorum *);
/* An entry was applied: answers whoever waits for it. */
void quorum_proposals_applied(struct quorum *, const struct quorum_entry *);
void quorum_proposals_lost(struct quorum *);
void quorum_change_go_on(struct quorum *);
/* Puts an entry of our own into the log. */
int quorum_submit(struct quorum *, enum quorum_entry_kind, const void *bytes, size_t len);
void quorum_proposals_deinit(struct quorum *);

#endif
