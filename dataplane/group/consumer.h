/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A group of KIP-848: members tell what they want and what they have, the coordinator tells what they shall have
 * (kafka-protocol 9.5).
 *
 * Owner: the coordinator that it belongs to. Durable state changes only in consumer_apply, which takes a record that
 * was written, or that is replayed; whoever wants a change builds records (consumer_heartbeat and its like).
 *
 * Three epochs. The group's grows when members, their subscriptions or the topics change. The assignment's is the
 * group epoch for which the targets were computed (consumer_assign.c). A member's is the assignment epoch that it has come to:
 *
 *   UNREVOKED   has partitions that are not in its target; keeps its epoch until it no longer names them, or is fenced
 *               after its rebalance timeout.                                              reconcile -> any
 *   UNRELEASED  has come to the epoch of its target, of which others still have something. reconcile -> any
 *   STABLE      has its target.                                                            reconcile -> any
 *   UNKNOWN     a state that a later release wrote: the member is fenced.
 *
 * A member subscribes to the topics that it names, and to those that its regular expression matches. What an expression matches is a record of the group
 * (consumer_expression.c); before there is one, it matches nothing.
 *
 * Timers: a member is fenced when no heartbeat came for group.consumer.session.timeout.ms (also a static one that has left for
 * a while); one that is UNREVOKED, when its rebalance timeout has passed since it became so. Both start anew when the
 * group is loaded. One that speaks the classic protocol has the session timeout that it asked for, and is fenced as well when it was told to
 * join again, or has joined and is to sync, and does not within its rebalance timeout.
 *
 * Invariants (consumer_check):
 *   C1  a partition is assigned to, or being revoked by, one member; `owners` says which, and has nothing else.
 *   C2  members, expressions, topics and sets ascend; a topic is there as long as a member or an expression uses it, and an expression as
 *       long as a member does, or its record is there.
 *   C3  the member epochs and the assignment epoch are not above the group's. (After a complete replay; any records may come.)
 */
#ifndef TIDEMARK_GROUP_CONSUMER_H
#define TIDEMARK_GROUP_CONSUMER_H

#include <stdbool.h>
#include <stdint.h>

#include "group/assign.h"
#include "group/partition_set.h"
#include "kafka/wire.h"
#include "tidemark/heap.h"
#include "tidemark/settings.h"
#include "tidemark/status.h"
#include "tidemark/types.h"
#include "tidemark/view.h"

enum consumer_limit {
    CONSUMER_TOPICS_MAX = 10000,     /* that one member subscribes to */
    CONSUMER_OWNED_MAX = 100000,     /* partitions that one heartbeat names */
    CONSUMER_TEXT_MAX = 1024,        /* of a regular expression; other texts are as long as a topic's name at most */
    CONSUMER_NOW = 20000,            /* things that an assignment looks at within a question; the rest goes on in turns */
};

/* The words of group.consumer.migration.policy, in its order. */
enum consumer_migration { CONSUMER_MIGRATION_DISABLED, CONSUMER_MIGRATION_UPGRADE, CONSUMER_MIGRATION_DOWNGRADE, CONSUMER_MIGRATION_BIDIRECTIONAL };

enum consumer_state { CONSUMER_STABLE = 0, CONSUMER_UNREVOKED = 1, CONSUMER_UNRELEASED = 2, CONSUMER_UNKNOWN = 127 };

enum { CONSUMER_EPOCH_LEFT = -1, CONSUMER_EPOCH_AWAY = -2 }; /* in a heartbeat, the second also in a record */

/* A topic that members subscribe to, by name. */
struct consumer_topic {
    uint32_t users;       /* members that name it, and expressions that match it */
    uint32_t partitions;  /* when the group looked last; 0: there is no such topic */
    struct tide_uuid id;
    uint32_t number;      /* of the assignment that is being computed; ASSIGN_NOBODY: not in it */
    uint32_t seen;        /* the count of the comparison that met it last */
    uint32_t leaving;     /* of its users, while they are written off; else 0 */
    uint16_t name_len;
    char name[];
};

struct consumer_text {
    const char *at; /* NULL: null */
    uint32_t len;
};

/* A regular expression. */
struct consumer_expression {
    uint32_t users; /* members */
    /* durable: of its record */
    bool resolved;
    uint32_t topic_count;
    struct consumer_topic **topics; /* by name */
    /* of this coordinator */
    bool refused;            /* it is none, or takes more than it may: members hear of it */
    uint64_t looked_version; /* of the view that it was evaluated with; 0: none */
    uint64_t refresh_at_ns;  /* not with another view before */
    uint32_t len;
    char text[];
};

struct group_protocols;

struct consumer_member {
    /* durable: of its three records */
    bool has_metadata, has_target, has_current;
    struct consumer_text id;
    struct consumer_text instance, rack, client_id, client_host, assignor; /* in `texts` */
    char *texts;
    int32_t rebalance_timeout_ms;
    struct group_protocols *classic; /* what a member that speaks the classic protocol offers; NULL: it speaks this one */
    int32_t classic_session_ms;
    uint32_t topic_count;
    struct consumer_topic **topics; /* that it names, by name */
    struct consumer_expression *expression; /* NULL: none */
    int32_t epoch, previous_epoch;
    enum consumer_state state;
    struct partition_set assigned, revoking, target;
    /* of this coordinator */
    uint64_t session_deadline_ns;
    uint64_t revoke_deadline_ns; /* TIDE_NEVER unless UNREVOKED */
    uint64_t classic_deadline_ns; /* it is to join again, or to sync, before; TIDE_NEVER: neither */
    uint32_t number;             /* of the assignment that is being computed; ASSIGN_NOBODY: not in it */
    bool leaving;                /* while it is written off */
    char id_text[];
};

struct consumer_owner {
    struct tide_uuid topic;
    int32_t partition;
    struct consumer_member *member; /* NULL: an empty place */
};

struct consumer {
    struct tide_heap *heap;
    const struct tide_settings *settings;
    struct consumer_text id; /* of the group; the container's */
    /* durable */
    int32_t epoch, assignment_epoch;
    int64_t metadata_hash;
    int64_t assignment_ms; /* wall clock, for others to read */
    uint32_t member_count, member_room;
    uint32_t classic_count; /* members that speak the classic protocol */
    struct consumer_member **members; /* by id */
    uint32_t topic_count, topic_room;
    struct consumer_topic **topics; /* by name */
    uint32_t expression_count, expression_room;
    struct consumer_expression **expressions; /* by text */
    uint32_t owner_count, owner_room; /* a power of two */
    struct consumer_owner *owners;
    uint32_t contradictions; /* partitions that a record gave to a second member */
    /* of this coordinator */
    uint64_t view_version; /* of the topics that were looked up */
    int64_t view_hash;
    uint32_t comparisons;
    uint32_t changes; /* of members, subscriptions and targets */
    uint64_t assign_after_ns; /* no assignment begins before */
    uint64_t downgrade_after_ns; /* it was refused: not before */
    uint64_t deadline_ns;     /* not after the first timer of a member */
    struct consumer_run *run; /* an assignment that is being computed */
    struct consumer_resolution *resolution; /* an expression that is being evaluated */
    uint64_t resolve_after_ns;    /* it was refused: not before */
    uint64_t expressions_at_ns;   /* no expression is due before, */
    uint64_t expressions_version; /* with this view */
};

/* The types of records that belong here. */
enum consumer_record {
    CONSUMER_GROUP_METADATA = 3,
    CONSUMER_GROUP_PARTITIONS = 4, /* of releases before 4.1: read over */
    CONSUMER_MEMBER_METADATA = 5,
    CONSUMER_TARGET_METADATA = 6,
    CONSUMER_TARGET_MEMBER = 7,
    CONSUMER_CURRENT = 8,
    CONSUMER_REGEX = 16,
};

void consumer_init(struct consumer *, struct tide_heap *, const struct tide_settings *, struct consumer_text id);
void consumer_deinit(struct consumer *);

/* A record: its key without the group's id, and its value (NULL: a tombstone). Total. TIDE_FULL: the heap is full; TIDE_BAD: not understood, and
 * nothing happened. */
enum tide_status consumer_apply(struct consumer *, int16_t type, struct wire_cursor *key, struct wire_cursor *value);

struct consumer_member *consumer_find(const struct consumer *, struct consumer_text id);
/* NULL: nobody has it. */
struct consumer_member *consumer_find_instance(const struct consumer *, struct consumer_text instance);
struct consumer_member *consumer_owner_of(const struct consumer *, const struct tide_uuid *topic, int32_t partition);
/* Did the member subscribe to that topic, as far as the view knows it? */
bool consumer_subscribes(const struct consumer_member *, const struct tide_view *, const struct tide_uuid *topic);
/* What that topic is to the hash of all. */
int64_t consumer_topic_hash(const struct tide_view *, const char *name, uint32_t len);
/* Does it name that topic? */
bool consumer_member_names(const struct consumer_member *, const struct consumer_topic *);
/* NULL: nobody knows it. */
struct consumer_expression *consumer_find_expression(const struct consumer *, struct consumer_text);
/* What a member subscribes to, by name, each once. From {.member = m}; NULL: that was all. */
struct consumer_subscription {
    const struct consumer_member *member;
    uint32_t named, matched;
};
struct consumer_topic *consumer_subscription_next(struct consumer_subscription *);
/* An upper bound of how many these are. */
static inline uint32_t consumer_subscription_size(const struct consumer_member *m)
{
    return m->topic_count + (m->expression != NULL ? m->expression->topic_count : 0);
}
static inline struct consumer_text consumer_regex_of(const struct consumer_member *m)
{
    return m->expression == NULL ? (struct consumer_text){0} : (struct consumer_text){m->expression->text, m->expression->len};
}
/* NULL: nobody subscribes to it. */
struct consumer_topic *consumer_find_topic(const struct consumer *, const char *name, uint32_t len);
/* Does any member want that topic, or an expression that none of them uses any more? */
bool consumer_wants(const struct consumer *, struct consumer_text topic);
/* Nothing durable is left of it. */
bool consumer_is_nothing(const struct consumer *);
const char *consumer_state_name(const struct consumer *);
/* Looks the topics up when the view is another one. True: they are not what the group epoch stands for. */
bool consumer_look(struct consumer *, const struct tide_view *);
void consumer_check(const struct consumer *);

static inline bool consumer_text_equal(struct consumer_text a, struct consumer_text b)
{
    return (a.at == NULL) == (b.at == NULL) && a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

#endif
