/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the group coordinator. Who owns what:
 *   groups.c   the object: tables, questions and their way to the right function, loading, commitment, turns
 *   answers.c  questions that are asked: parked, held until committed, written; errors in every shape
 *   records.c  batches: building them, writing them (append, then apply), replaying them
 *   timers.c   deadlines
 *   members.c  members of a classic group and what they support
 *   classic.c  the classic protocol: states and rebalancing; classic_internal.h lists the files of its questions and its record
 *   offsets.c  committed offsets: commit, fetch, delete; expiry and topics that are gone
 *
 * A group has a kind (struct group_kind): what differs between classic groups and those of KIP-848 is a function there, or a row
 * in the tables of APIs (groups.c) and of record types (records.c).
 */
#ifndef TIDEMARK_GROUP_INTERNAL_H
#define TIDEMARK_GROUP_INTERNAL_H

#include <sys/queue.h>

#include "group/groups.h"
#include "kafka/errors.h"
#include "kafka/messages.h"
#include "tidemark/types.h"

enum group_limit {
    GROUP_BUCKETS = 1024,         /* of each table */
    GROUP_PROTOCOLS_MAX = 64,     /* that a member may offer */
    GROUP_ITEMS_MAX = 10000,      /* partitions, members, groups that a request may list */
    GROUP_MEMBER_ID_MAX = 320,    /* of an id that is made here: a cut prefix, '-', a uuid */
    GROUP_MEMBER_ID_PREFIX = 255,
    GROUP_SPARE_ASKED = 32,       /* questions that can be answered although the heap is full */
    GROUP_TIMERS_A_TURN = 256,
    GROUP_SWEEP_A_TURN = 4096,    /* offsets that a turn looks at */
    GROUP_NAMES_A_TURN = 8,       /* that are matched against expressions, by all coordinators of a core and for all questions */
    GROUP_TOMBSTONES_A_BATCH = 256,
    GROUP_DELETIONS_A_CALL = 4,   /* batches; what is left of a group goes when it is asked again */
    GROUP_RETRY_MS = 100,         /* a timer's change that was refused is tried again after so long */
    GROUP_NEW_MEMBER_MS = 300000, /* a member that waits for its first generation is forgotten after so long */
};

struct group_batch;

/* ---- words in the heap -------------------------------------------------------------------------- */

/* NULL is null where a field may be null, and nothing where it is bytes. */
struct group_text {
    struct group_text *next; /* between those that are ready for a change */
    uint32_t len;
    char at[];
};

struct group_node {
    struct group_node *next;
    uint64_t hash;
};
struct group_table {
    struct group_node **buckets;
};

#define GROUP_OF(node, type, member) ((type *)(void *)((char *)(node) - offsetof(type, member)))

enum group_timer_kind { GROUP_TIMER_GROUP, GROUP_TIMER_MEMBER };
struct group_timer {
    uint64_t at_ns;
    uint32_t place; /* in the heap, from 1; 0: it does not run */
    enum group_timer_kind kind;
};
struct group_timers {
    struct group_timer **heap;
    uint32_t count, room;
    uint32_t owners; /* that may want a place */
};

/* ---- questions ------------------------------------------------------------------------------------ */

/* Parked at a member, held at a write, or ready: never two of them (G3). */
struct groups_asked {
    TAILQ_ENTRY(groups_asked) link;
    struct group_node by_cookie;
    void *cookie;
    struct group_member *member; /* parked there */
    struct tide_rope body;
    int32_t elements;
    int16_t api, version;
    int16_t error; /* to be said instead of what the body says */
    bool written;  /* the body is the answer */
    bool spare;    /* not of the heap */
    bool gone;     /* nobody waits for it */
};
TAILQ_HEAD(groups_asked_list, groups_asked);

/* A batch that was appended and is not committed, with the answers that rest on it. */
struct group_write {
    TAILQ_ENTRY(group_write) link;
    int64_t end;
    uint64_t at_ns;
    struct group *group; /* whose last one it is; NULL: it has another, or is gone */
    bool late;           /* its answers were told to give up */
    struct groups_asked_list answers;
};

/* ---- groups ----------------------------------------------------------------------------------------- */

struct group_offset {
    int64_t offset; /* -1: only room for one */
    int64_t commit_ms;
    int64_t expire_ms; /* -1: by retention */
    int32_t partition;
    int32_t leader_epoch;
    struct tide_uuid topic_id; /* zero: unknown */
    struct group_text *metadata;
};

/* Offsets of one topic, sorted by partition. */
struct group_topic {
    TAILQ_ENTRY(group_topic) in_group;
    struct group_node node;
    struct group *group;
    struct group_text *name;
    bool subscribed; /* by a member, when that was last asked for */
    uint32_t count, room;
    struct group_offset *offsets;
};

/* What a member offers, packed: int16 length and name, int32 length and metadata, and so on. */
struct group_protocols {
    uint32_t count;
    uint32_t len;
    uint8_t at[];
};
struct group_protocol {
    const char *name;
    const uint8_t *metadata;
    uint32_t name_len, metadata_len;
};

struct group_member {
    TAILQ_ENTRY(group_member) in_group; /* members, or pending ones */
    struct group_node by_id, by_instance;
    struct group *group;
    struct group_text *id, *instance, *client_id, *client_host;
    struct group_protocols *protocols;
    struct group_text *assignment;
    struct groups_asked *join, *sync; /* parked */
    int32_t session_ms, rebalance_ms;
    bool pending;  /* has got its id, and did not come with it yet */
    bool fresh;    /* has not seen a generation */
    bool unsynced; /* has seen a generation, and did not ask for its part */
    struct wire_bytes offered; /* while the leader's SyncGroup is handled: its part, borrowed */
    struct group_timer timer;
    uint64_t alive_until_ns;
};
TAILQ_HEAD(group_members, group_member);

/*
 *   EMPTY -> PREPARING            somebody joins                                      (prepare_rebalance)
 *   PREPARING -> COMPLETING       all have joined, or the time is up: a generation    (complete_join)
 *   PREPARING -> EMPTY            nobody is left; written                             (replay)
 *   COMPLETING -> STABLE          the leader's assignment is written                  (replay)
 *   COMPLETING, STABLE -> PREPARING   membership or metadata change                   (prepare_rebalance)
 * A group that Kafka calls Dead is not there.
 * In STABLE, generation, protocol, leader, members and assignments are what the group's record says. In EMPTY, generation and protocol type are.
 * In the other two the record is that of the generation before.
 */
enum classic_state { CLASSIC_EMPTY, CLASSIC_PREPARING, CLASSIC_COMPLETING, CLASSIC_STABLE, CLASSIC_STATE_COUNT };

struct classic {
    enum classic_state state;
    bool initial;      /* PREPARING after EMPTY: who comes first waits for others */
    bool joined_since; /* somebody new has come since the delay was last set */
    int32_t generation;
    int64_t state_ms; /* when the last record was written; -1 unknown */
    struct group_text *protocol_type; /* NULL: nobody ever joined, offsets are all there is */
    struct group_text *protocol;
    struct group_member *leader;
    struct group_members members, pending;
    uint32_t member_count, pending_count;
    uint32_t joined;   /* members with a parked join */
    uint32_t unsynced;
    uint64_t delay_left_ns; /* of the initial delay, behind the part that runs */
    struct group_timer timer; /* PREPARING: the join phase; COMPLETING, STABLE: members that do not sync */
};

struct group {
    TAILQ_ENTRY(group) all;
    struct group_node node;
    struct group_text *id;
    const struct group_kind *kind;
    bool durable; /* the log has a record of the group itself */
    bool pinned;  /* in use by a call: not to be freed although nothing is in it */
    struct group_write *last_write;
    TAILQ_HEAD(, group_topic) topics;
    uint64_t offset_count; /* that are there; rooms do not count */
    struct classic classic;
    void *consumer; /* what a group of KIP-848 has of its own */
};

/* Where kinds differ. `kind` of a group that only has offsets is the classic one, and changes when its first member or record comes. */
struct group_kind {
    const char *type; /* as ListGroups says */
    const char *(*state)(const struct group *);
    const char *(*protocol_type)(const struct group *, uint32_t *ret_len);
    bool (*is_empty)(const struct group *);
    /* A Kafka error. Whoever commits lives. */
    int16_t (*check_commit)(struct groups *, struct group *, int16_t version, const struct offset_commit_request *);
    int16_t (*check_fetch)(struct groups *, struct group *, const struct wire_bytes *member_id, int32_t member_epoch);
    /* Which topics of the group's offsets do its members subscribe to? One walk over what they subscribe to. */
    void (*mark_subscribed)(const struct groups *, struct group *);
    /* May offsets expire, and from which time on do they age? False: not now. */
    bool (*age_from)(const struct group *, const struct group_offset *, int64_t *ret_ms);
    int16_t (*check_delete_offsets)(const struct group *);
    /* The classic protocol, asked of a group that is there. */
    enum tide_status (*join)(struct groups *, struct group *, const struct join_group_request *, const struct groups_question *, struct groups_asked *);
    enum tide_status (*sync)(struct groups *, struct group *, const struct sync_group_request *, const struct groups_question *, struct groups_asked *);
    int16_t (*heartbeat)(struct groups *, struct group *, const struct heartbeat_request *);
    enum tide_status (*leave)(struct groups *, struct group *, const struct leave_group_request *, const struct groups_question *,
                              struct groups_asked *);
    /* Tombstones of the group itself. */
    void (*put_tombstones)(struct groups *, struct group *, struct group_batch *);
    void (*on_timer)(struct groups *, struct group *);
    void (*on_loaded)(struct groups *, struct group *);
    uint32_t (*members)(const struct group *);
    bool (*has_members)(const struct group *); /* or anything else that lives without a record */
    void (*drop)(struct groups *, struct group *); /* all of it, before the group is freed */
    void (*check)(const struct groups *, const struct group *);
};
extern const struct group_kind classic_kind;

enum groups_phase { GROUPS_LOADING, GROUPS_ACTIVE, GROUPS_RESIGNED };

struct groups {
    struct groups_config config;
    struct groups_names own_names; /* when nobody shares */
    enum groups_phase phase;
    uint64_t key[2]; /* of hashes and ids */
    uint64_t ids_made;
    struct tide_time now;         /* of the call */
    const struct tide_view *view; /* of the call, NULL */
    int64_t committed;
    struct group_table groups, members, instances, topics, cookies;
    TAILQ_HEAD(, group) all;
    TAILQ_HEAD(group_writes, group_write) writes; /* by end */
    struct group_write *on_time; /* the first one whose answers were not told to give up */
    struct groups_asked_list ready;
    TAILQ_HEAD(, groups_asked) spare;
    struct group_write *last_removal; /* that took a group away */
    struct group_text *texts, **texts_tail; /* taken before an append, for what is applied after it, in that order */
    struct group_timers timers;
    struct group *sweep;     /* next one to be looked at; NULL: none runs */
    bool sweep_for_topics;   /* because of a view: groups that have nothing stay */
    uint64_t sweep_at_ns;    /* the next one begins */
    uint64_t sweep_goes_on_ns;
    uint64_t swept_view;     /* version */
    uint32_t asked_count;
    struct groups_gauges gauges;
    struct groups_asked spares[GROUP_SPARE_ASKED];
};

/* ---- groups.c ------------------------------------------------------------------------------------- */
uint64_t group_hash_bytes(const struct groups *, uint64_t salt, const void *, size_t);
uint64_t group_hash_slice(const struct groups *, uint64_t salt, struct tide_slice);
void group_table_put(struct group_table *, struct group_node *, uint64_t hash);
void group_table_remove(struct group_table *, struct group_node *);
struct group_node *group_table_first(const struct group_table *, uint64_t hash); /* then next, as long as the hash is the same */
bool group_text_is(const struct group_text *, const struct wire_bytes *);
/* NULL: the heap is full. */
struct group_text *group_text_take(struct groups *, struct tide_slice);
struct group_text *group_text_of(struct groups *, const void *, uint32_t len);
/* Ready for what is going to be applied: false when the heap is full. */
bool group_text_prepare(struct groups *, struct tide_slice);
void group_texts_drop(struct groups *);
void group_text_give(struct groups *, struct group_text *);
/* *at becomes a copy of the bytes. False: the heap is full, nothing has happened. `empty_is_null`: no bytes are no text. */
bool group_text_set(struct groups *, struct group_text **at, const struct wire_bytes *, bool empty_is_null);
struct group *groups_find(struct groups *, const struct wire_bytes *id);
/* NULL: too many groups, or no memory. */
struct group *groups_add(struct groups *, const struct wire_bytes *id);
/* Frees a group that has nothing. */
void group_settle(struct groups *, struct group *);
static inline uint64_t group_after_ms(const struct groups *g, int64_t ms)
{
    if ((uint64_t)ms > (TIDE_NEVER - g->now.now_ns) / TIDE_NS_PER_MS)
        return TIDE_NEVER; /* an interval may be set to more than there is time */
    return g->now.now_ns + (uint64_t)ms * TIDE_NS_PER_MS;
}

/* ---- answers.c ---------------------------------------------------------------------------------- */
/* NULL: there is no room for a question. */
struct groups_asked *asked_take(struct groups *, const struct groups_question *);
void asked_give(struct groups *, struct groups_asked *);
/* It leaves when what `group` (NULL: a group that is not there) has written is committed. */
void asked_finish(struct groups *, struct group *, struct groups_asked *);
/* An answer that is an error code. For APIs whose answer may be one: JoinGroup, SyncGroup, Heartbeat, LeaveGroup. */
void asked_say(struct groups *, struct group *, struct groups_asked *, int16_t error);
/* The error in the shape that the request asks for. TIDE_FULL: no memory, nothing happened. */
enum tide_status asked_refuse(struct groups *, struct group *, struct groups_asked *, const struct groups_question *, int16_t error);
/* The name that a question is about, of a list of names. False: there are not so many. */
bool asked_name(struct wire_list, bool flexible, int32_t n, struct wire_bytes *ret);
/* Takes the body over. False: the pool is empty; abandoned. */
bool asked_body(struct groups_asked *, struct wire_writer *);
bool asked_write_late_error(struct groups *, struct groups_asked *);
static inline void put_text(struct wire_writer *w, void (*put)(struct wire_writer *, int16_t, const char *, uint32_t), int16_t v,
                            const struct group_text *t)
{
    put(w, v, t == NULL ? NULL : t->at, t == NULL ? 0 : t->len);
}

/* ---- records.c ------------------------------------------------------------------------------------ */
enum { GROUP_RECORD_VERSION = 3 }; /* of the record of a classic group; what Kafka 4.3 writes */
enum group_record_type { GROUP_RECORD_LEGACY_OFFSET, GROUP_RECORD_OFFSET, GROUP_RECORD_GROUP, GROUP_RECORD_TYPE_COUNT = 17 };

struct group_batch {
    struct wire_writer w;
    int64_t now_ms;
    int32_t count;
    bool failed;
};
void group_batch_begin(struct groups *, struct group_batch *);
/* One record: both are copied or moved, and empty afterwards. value NULL: a tombstone. */
void group_batch_put(struct group_batch *, struct wire_writer *key, struct wire_writer *value);
void group_key_begin(struct groups *, struct wire_writer *key, enum group_record_type);
void group_batch_abandon(struct groups *, struct group_batch *);
/* Appends and applies. TIDE_OK with an error of 0: done, and the group's last write. With an error: refused, nothing has happened.
 * TIDE_FULL: nothing has happened. The batch and what was prepared for it are gone in any case. */
enum tide_status group_write(struct groups *, struct group *, struct group_batch *, int16_t *ret_error);
/* TIDE_OK, TIDE_FULL (heap), TIDE_BAD (what it is is not known; the rest goes on). `value` NULL: a tombstone. */
typedef enum tide_status (*group_replay)(struct groups *, struct wire_cursor *key, struct wire_cursor *value);
enum tide_status groups_apply(struct groups *, struct tide_slice batch);
enum tide_status groups_apply_records(struct groups *, struct tide_slice *records, int32_t *left, uint32_t max);

/* ---- timers.c ------------------------------------------------------------------------------------- */
/* Room for one more. False: the heap is full. */
bool group_timer_own(struct groups *);
void group_timer_disown(struct groups *, struct group_timer *);
void group_timer_set(struct groups *, struct group_timer *, uint64_t at_ns);
void group_timer_stop(struct groups *, struct group_timer *);
/* The first one that is due, stopped; NULL: none. */
struct group_timer *group_timer_due(struct groups *);
uint64_t group_timers_deadline_ns(const struct groups *);
void group_timers_check(const struct groups *);

/* ---- members.c -------------------------------------------------------------------------------------- */
struct group_member *group_find_member(const struct groups *, const struct group *, const struct wire_bytes *id);
struct group_member *group_find_instance(const struct groups *, const struct group *, const struct wire_bytes *instance);
struct member_start {
    struct wire_bytes id; /* or, of one that is made here: */
    const char *made_id;
    uint32_t made_id_len;
    struct wire_bytes instance;
    const char *client_id, *client_host; /* or */
    struct wire_bytes client_id_bytes, client_host_bytes;
    struct group_protocols *protocols; /* passes */
    int32_t session_ms, rebalance_ms;
    bool pending;
};
/* NULL: the heap is full; `protocols` is the caller's still. */
struct group_member *member_add(struct groups *, struct group *, const struct member_start *);
void member_free(struct groups *, struct group_member *);
/* The same member under another id; takes the text. */
void member_rename(struct groups *, struct group_member *, struct group_text *id);
/* NULL: the heap is full. */
struct group_protocols *protocols_take(struct groups *, const struct wire_list *, int16_t version);
struct group_protocols *protocols_of_one(struct groups *, const struct wire_bytes *name, const struct wire_bytes *metadata);
/* One of them, packed: how long, and behind it. */
uint32_t protocol_bytes(const struct wire_bytes *name, const struct wire_bytes *metadata);
uint8_t *protocol_put(uint8_t *to, const struct wire_bytes *name, const struct wire_bytes *metadata);
/* Between protocols: *at from 0. */
bool protocols_next(const struct group_protocols *, uint32_t *at, struct group_protocol *ret);
bool protocols_find(const struct group_protocols *, const char *name, uint32_t len, struct group_protocol *ret);
bool protocols_equal(const struct group_protocols *, const struct group_protocols *);
/* Does everybody (but `but`) support one of these? */
bool protocols_fit(const struct classic *, const struct group_protocols *, const struct group_member *but);
/* Supported by all, with most votes. False: there is none. */
bool protocols_vote(const struct classic *, const struct group_member *changed, const struct group_protocols *changed_to,
                    struct group_protocol *ret);

/* ---- classic.c, classic_*.c ------------------------------------------------------------------------ */
enum tide_status classic_on_join(struct groups *, const struct groups_question *, struct groups_asked *);
enum tide_status classic_on_sync(struct groups *, const struct groups_question *, struct groups_asked *);
enum tide_status classic_on_heartbeat(struct groups *, const struct groups_question *, struct groups_asked *);
enum tide_status classic_on_leave(struct groups *, const struct groups_question *, struct groups_asked *);
enum tide_status classic_on_describe(struct groups *, const struct groups_question *, struct groups_asked *);
void classic_on_member_timer(struct groups *, struct group_member *);
enum tide_status classic_replay(struct groups *, struct wire_cursor *key, struct wire_cursor *value);
/* Whoever waits for a generation or for its part joins again. */
void classic_dismiss(struct groups *, struct group *);
bool classic_is_of_consumers(const struct classic *);
/* The answer of a member that is to come back with the id that it is given. */
void classic_write_id(struct wire_writer *, int16_t version, const char *id, uint32_t len);

/* ---- offsets.c -------------------------------------------------------------------------------------- */
enum tide_status offsets_on_commit(struct groups *, const struct groups_question *, struct groups_asked *);
enum tide_status offsets_on_fetch(struct groups *, const struct groups_question *, struct groups_asked *);
enum tide_status offsets_on_delete(struct groups *, const struct groups_question *, struct groups_asked *);
enum tide_status offsets_replay(struct groups *, struct wire_cursor *key, struct wire_cursor *value);
enum tide_status offsets_replay_legacy(struct groups *, struct wire_cursor *key, struct wire_cursor *value);
/* Tombstones for up to `max` offsets that are there. How many. */
uint32_t offsets_put_tombstones(struct groups *, struct group *, struct group_batch *, uint32_t max);
void offsets_drop(struct groups *, struct group *);
/* NULL: there are none of that topic. */
struct group_topic *offsets_find_topic(const struct groups *, const struct group *, const void *name, uint32_t len);
/* Looks at a bounded number of offsets. */
void offsets_sweep(struct groups *, uint64_t now_ns);
void offsets_check(const struct groups *, const struct group *);

#endif
