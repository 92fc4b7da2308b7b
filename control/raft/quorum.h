/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One voter of the metadata quorum: the driver around libraft's raft_step(). The library decides,
 * this module carries out: it keeps the log in memory, orders what goes to the disk, holds back what
 * must not leave before a term is durable, and hands the owner what is committed.
 *
 * It does no I/O and calls nobody. The owner brings time, messages and completions, and takes
 * effects: disk operations, messages for each peer, events. After every call it looks for effects.
 *
 *      on_message  on_time  on_disk_done  propose      >  quorum  >      disk_take  message_take  event_take
 *
 * Owner: the control thread. Rules D1..D19 are those of the driver (README.md, raft/); where the body
 * follows one it names it.
 *
 * Timers: one, the library's (election, heartbeat, contact of the leader with a majority); beside it
 * the leader's barrier after `idle_ms` without an entry (D13), and once a second another try of a
 * disk operation that found no space.
 *
 * Invariants (quorum_check):
 *   Q1  first - 1 <= applied <= last; while a snapshot is being installed nothing is applied.
 *   Q2  The log in memory is the one the library believes in: same first and last index, and terms
 *       never fall from entry to entry.
 *   Q3  At most one disk operation is out, and it is the oldest.
 *   Q4  A message is given out only when the term and vote it was made under are durable.
 *   Q5  The newest snapshot does not reach beyond what is applied, and the log begins at its end or
 *       before.
 *   Q6  Whoever asked and has no answer yet is the leader's: a follower owes nobody an answer for
 *       what is not committed.
 */
#ifndef TIDEMARK_CONTROL_RAFT_QUORUM_H
#define TIDEMARK_CONTROL_RAFT_QUORUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark/status.h"
#include "tidemark/types.h"

enum quorum_limit {
    QUORUM_MEMBERS_MAX = 16,          /* voters and those that only follow the log */
    QUORUM_ADDRESS_MAX = 256,         /* with its 0 */
    QUORUM_COMMAND_MAX = 1 << 20,     /* control-plane.md 12 */
    QUORUM_PIECE_BYTES = 256 << 10,   /* of a snapshot on its way to a peer */
    QUORUM_MESSAGE_MAX = 4 << 20,     /* of one message's bytes: the transport refuses longer ones */
    QUORUM_SNAPSHOT_MAX = 1 << 30,
    QUORUM_PROPOSALS_MAX = 4096,      /* waiting to be written */
    QUORUM_PEER_QUEUE_BYTES = 64 << 20,
    QUORUM_ERROR_MAX = 512,
};

/* ---- who takes part ---- */

enum quorum_member_role {
    QUORUM_FOLLOWS_ONLY = 0, /* gets the log, does not vote: on its way in */
    QUORUM_VOTES = 1,
    QUORUM_SPARE = 2, /* nothing; not used by us, legal in a log */
};

struct quorum_member {
    int32_t id; /* node id */
    uint8_t role;
    char address[QUORUM_ADDRESS_MAX]; /* host:port on the management network; unique */
};

struct quorum_members {
    uint32_t count;
    struct quorum_member member[QUORUM_MEMBERS_MAX];
};

/* ---- what the disk holds ---- */

enum quorum_entry_kind {
    QUORUM_COMMAND = 1,
    QUORUM_BARRIER = 2,    /* the quorum's own, empty for everybody else */
    QUORUM_MEMBERSHIP = 3, /* who takes part from here on */
};

struct quorum_entry {
    uint64_t index;
    uint64_t term;
    enum quorum_entry_kind kind;
    uint32_t len;
    const uint8_t *bytes;
};

/* A snapshot: the owner's bytes for `index`, and who took part then. Constant, counted. */
struct quorum_snapshot {
    uint32_t references;
    uint64_t index;
    uint64_t term;
    uint64_t members_index;
    uint32_t members_len;
    size_t len;
    uint8_t *members; /* as in a membership entry */
    uint8_t *bytes;
};

/* Copies both. One reference, the caller's. */
struct quorum_snapshot *quorum_snapshot_create(uint64_t index, uint64_t term, uint64_t members_index, const void *members,
                                               uint32_t members_len, const void *bytes, size_t len);
void quorum_snapshot_give(struct quorum_snapshot *); /* NULL is allowed */

/* What was found on the disk. The log begins at first_index and has no gap. */
struct quorum_boot {
    uint64_t term;
    uint64_t vote; /* the library's id: node id + 1; 0 none */
    struct quorum_snapshot *snapshot;
    uint64_t first_index;
    uint64_t count;
    struct quorum_entry *entries; /* with one allocation each behind `bytes` */
    uint64_t capacity_bytes;
};

void quorum_boot_deinit(struct quorum_boot *);
/* The log of a quorum that begins: entry 1 names the members. Every first voter gets the same list.
 * TIDE_BAD: the list is empty, too long, or names an id or an address twice. */
TIDE_MUST_USE enum tide_status quorum_boot_found(struct quorum_boot *, const struct quorum_members *);

enum quorum_disk_kind {
    QUORUM_DISK_STATE,    /* term and vote */
    QUORUM_DISK_APPEND,   /* entries; replaces everything from the first one on (D3) */
    QUORUM_DISK_SNAPSHOT, /* keep it beside the log, then drop whole segments below keep_from */
    QUORUM_DISK_INSTALL,  /* keep it, and begin an empty log behind it */
    QUORUM_DISK_RESERVE,  /* nothing but another try to reserve space ahead */
    QUORUM_DISK_KIND_COUNT,
};

/* Done when it is durable. The fields stay until quorum_on_disk_done. */
struct quorum_disk_op {
    enum quorum_disk_kind kind;
    uint64_t number;
    uint64_t term;
    uint64_t vote;
    const struct quorum_entry *entries;
    uint32_t count;
    const struct quorum_snapshot *snapshot;
    uint64_t keep_from;
};

/* ---- the driver ---- */

struct quorum_config {
    int32_t id;
    struct tide_uuid cluster_id;
    uint64_t seed; /* election timeouts; from the system, or the scenario */
    uint32_t election_ms;
    uint32_t heartbeat_ms;
    uint32_t idle_ms;            /* 0: no barriers */
    uint32_t snapshot_commands;  /* ask for a snapshot after so many entries ... */
    uint64_t snapshot_bytes;     /* ... or so many bytes */
    uint32_t trailing;           /* entries kept behind a snapshot (D16) */
    uint32_t install_timeout_ms; /* a peer that does not answer gets the snapshot again; 0: 30,000 */
};

enum quorum_role {
    QUORUM_FOLLOWER,
    QUORUM_CANDIDATE,
    QUORUM_LEADER,
    QUORUM_ROLE_COUNT,
};

enum quorum_outcome {
    QUORUM_DONE_OK,             /* committed at `index` */
    QUORUM_DONE_NOT_CONTROLLER, /* refused, no effect */
    QUORUM_DONE_UNKNOWN,        /* may be committed later, or never */
};

enum quorum_event_kind {
    QUORUM_APPLY,         /* entry: in order, each index once; len 0 unless it is a command. Borrowed */
    QUORUM_RESTORE,       /* snapshot: replace the state machine by it. Borrowed */
    QUORUM_ROLE,          /* role, term */
    QUORUM_DONE,          /* tag, outcome, index. Comes behind the APPLY of that index */
    QUORUM_MEMBERS,       /* quorum_members() changed */
    QUORUM_TAKE_SNAPSHOT, /* answer with quorum_on_snapshot_taken or _refused */
    QUORUM_STOPPED,       /* quorum_error() says why: stop the process; it restarts from its disk (D12) */
};

struct quorum_event {
    enum quorum_event_kind kind;
    struct quorum_entry entry;
    const struct quorum_snapshot *snapshot;
    enum quorum_role role;
    uint64_t term;
    uint64_t tag;
    uint64_t index;
    enum quorum_outcome outcome;
};

struct quorum_message {
    uint8_t *bytes; /* the taker's, to be freed */
    size_t len;
};

struct quorum;

/*
 * Begins with what the disk holds; `boot` is emptied. An empty one waits until a leader adds it.
 * NULL with a message: the log cannot be started from. Effects are there at once (a sole voter leads).
 */
struct quorum *quorum_create(const struct quorum_config *, struct quorum_boot *, uint64_t now_ns, char *error, size_t size);
void quorum_destroy(struct quorum *);

/* [control] Inputs. */
void quorum_on_time(struct quorum *, uint64_t now_ns);
/*
 * A message of `from` that came over its connection number `connection`; numbers grow with every
 * accepted connection, and what an older one still brings is dropped (D18). The transport closes the
 * older connection itself. TIDE_BAD: not ours, or not what a peer may send: close it.
 */
TIDE_MUST_USE enum tide_status quorum_on_message(struct quorum *, uint64_t now_ns, int32_t from, uint64_t connection, const void *bytes,
                                                 size_t len);
/* There is, or is no more, a connection to a peer. What was queued for it is dropped both times: the
 * library sends again. Without one nothing is queued. */
void quorum_on_peer_up(struct quorum *, int32_t id);
void quorum_on_peer_down(struct quorum *, int32_t id);
/*
 * The operation that was taken is over: 0, or -errno. -ENOSPC is tried again, everything else stops
 * the node. `capacity_bytes`: room that the log has without asking the file system (D11).
 */
void quorum_on_disk_done(struct quorum *, uint64_t now_ns, int result, uint64_t capacity_bytes);
/* The owner's state as of `index`, which is applied; copied. TIDE_REFUSED: overtaken by an installed
 * snapshot, or not asked for. */
TIDE_MUST_USE enum tide_status quorum_on_snapshot_taken(struct quorum *, uint64_t now_ns, uint64_t index, const void *bytes, size_t len);
void quorum_on_snapshot_refused(struct quorum *); /* asks again after as many entries */

/*
 * Wishes. TIDE_OK: a DONE with this tag will come. TIDE_REFUSED: not the leader (NOT_CONTROLLER), or
 * a membership that cannot change so. TIDE_FULL: no room in memory or on the disk. TIDE_AGAIN: another
 * change of membership runs, or the leader is too new for one; ask again. TIDE_BAD: too long, or empty.
 * tag > 0.
 */
TIDE_MUST_USE enum tide_status quorum_propose(struct quorum *, uint64_t now_ns, const void *bytes, size_t len, uint64_t tag);
/* First it follows the log without a vote, then it is promoted: DONE OK is the promotion. Asking again
 * for one that follows already goes on from there. TIDE_EXISTS: it votes already. */
TIDE_MUST_USE enum tide_status quorum_add_voter(struct quorum *, uint64_t now_ns, int32_t id, const char *address, uint64_t tag);
/* TIDE_EXISTS: the leader does not remove itself, transfer first. TIDE_ABSENT: no member. */
TIDE_MUST_USE enum tide_status quorum_remove_voter(struct quorum *, uint64_t now_ns, int32_t id, uint64_t tag);
/* -1: whoever is best. Only begins it; the role event tells. */
TIDE_MUST_USE enum tide_status quorum_transfer(struct quorum *, uint64_t now_ns, int32_t id);

/* [control] Effects. */
/* The next operation, when none is out; NULL: none. It is out until quorum_on_disk_done. */
const struct quorum_disk_op *quorum_disk_take(struct quorum *);
/* The next bytes for a peer, in order. Take what its connection can hold, leave the rest. */
bool quorum_message_take(struct quorum *, int32_t id, struct quorum_message *ret);
bool quorum_message_waits(const struct quorum *, int32_t id);
/* What is borrowed stays until the next call that is not a question. */
bool quorum_event_take(struct quorum *, struct quorum_event *ret);
uint64_t quorum_deadline_ns(const struct quorum *);

/* [control] Questions. */
enum quorum_role quorum_role(const struct quorum *);
uint64_t quorum_term(const struct quorum *);
int32_t quorum_leader(const struct quorum *); /* -1: not known */
uint64_t quorum_applied(const struct quorum *);
uint64_t quorum_commit_index(const struct quorum *); /* may go back (D5) */
uint64_t quorum_first_index(const struct quorum *);
uint64_t quorum_last_index(const struct quorum *);
bool quorum_is_full(const struct quorum *); /* the disk has no room: proposals are refused */
const struct quorum_members *quorum_members(const struct quorum *); /* those in force, committed or not */
/* An applied entry, for observers. TIDE_ABSENT: trimmed, take the snapshot; TIDE_AGAIN: not applied yet. */
TIDE_MUST_USE enum tide_status quorum_entry_read(const struct quorum *, uint64_t index, struct quorum_entry *ret);
/* The newest durable snapshot, NULL: none. Add to `references` to keep it. */
struct quorum_snapshot *quorum_snapshot(const struct quorum *);
const char *quorum_error(const struct quorum *);
/* Aborts when an invariant does not hold. */
void quorum_check(const struct quorum *);

#endif
