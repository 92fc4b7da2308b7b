/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the groups of KIP-848. Who owns what:
 *   consumer.c            what a group knows; its records applied
 *   consumer_records.c    records built, and written when there is memory for applying them
 *   consumer_heartbeat.c  the one question of members
 *   consumer_reconcile.c  from what a member has to what it shall have
 *   consumer_run.c        what all shall have
 *   consumer_expression.c what the regular expressions of members match
 *   consumer_classic.c    members that speak the classic protocol: JoinGroup, SyncGroup, Heartbeat, LeaveGroup
 *   consumer_convert.c    from a classic group to one of these, and back
 *   consumer_kind.c       where this kind of group differs from the others; timers; ConsumerGroupDescribe
 */
#ifndef TIDEMARK_GROUP_CONSUMER_INTERNAL_H
#define TIDEMARK_GROUP_CONSUMER_INTERNAL_H

#include "group/consumer.h"
#include "group/consumer_run.h"
#include "group/internal.h"

extern const struct group_kind consumer_kind;

/* ---- consumer_records.c --------------------------------------------------------------------------- */
void consumer_group_key(struct groups *, struct wire_writer *key, enum consumer_record, const struct consumer *);
void consumer_member_key(struct groups *, struct wire_writer *key, enum consumer_record, const struct consumer *, struct consumer_text member);
/* Its version. */
void consumer_value(struct groups *, struct wire_writer *value);
void consumer_put_epoch(struct groups *, struct group_batch *, const struct consumer *, int32_t epoch, int64_t hash);
/* What a member has now. */
struct consumer_current {
    int32_t epoch, previous_epoch;
    enum consumer_state state;
    struct partition_set assigned, revoking;
};
void consumer_put_current(struct groups *, struct group_batch *, const struct consumer *, struct consumer_text member, const struct consumer_current *);
void consumer_put_target(struct groups *, struct group_batch *, const struct consumer *, struct consumer_text member, const struct partition_set *);
void consumer_put_target_epoch(struct groups *, struct group_batch *, const struct consumer *, int32_t epoch);
void consumer_put_gone(struct groups *, struct group_batch *, const struct consumer *, const struct consumer_member *);
/* Memory that applying takes, at most. */
size_t consumer_set_bytes(uint32_t count);
size_t consumer_current_bytes(const struct consumer *, uint32_t count);
/* group_write, if there are `memory` bytes for applying it; else COORDINATOR_NOT_AVAILABLE, and nothing has happened. */
enum tide_status consumer_write(struct groups *, struct group *, struct group_batch *, size_t memory, int16_t *ret_error);

/* ---- consumer_heartbeat.c -------------------------------------------------------------------------- */
enum tide_status consumer_on_heartbeat(struct groups *, const struct groups_question *, struct groups_asked *);
/* As Kafka makes ids. */
void consumer_make_id(struct groups *, char to[TIDE_UUID_TEXT]);
/* The answer of a member that is refused. `message` NULL: none. */
void consumer_write_heartbeat_error(struct wire_writer *, int16_t version, int16_t error, const char *message);
/* The member has shown that it lives. */
void consumer_touch(const struct groups *, struct consumer *, struct consumer_member *);
/* The end of a member's metadata. `classic` NULL: it speaks the consumer protocol. */
void consumer_end_metadata(struct wire_writer *, int32_t classic_session_ms, const struct group_protocols *classic);
size_t consumer_metadata_bytes(const struct consumer *, uint32_t batch_len, uint32_t topics);
/* A JoinGroup of a member of the classic protocol. */
enum { CONSUMER_JOIN_VERSION = 1 };
struct consumer_join {
    const struct join_group_request *in;
    const struct group_protocols *protocols;
    struct wire_cursor heartbeat; /* what it says, as a heartbeat of that version */
};
enum tide_status consumer_join(struct groups *, struct group *, const struct groups_question *, struct groups_asked *, const struct consumer_join *);
/* Takes those out who are marked as leaving, and the marks off. As group_write. */
enum tide_status consumer_fence_leaving(struct groups *, struct group *, int16_t *ret_error);
/* The same with one whose time is up. */
enum tide_status consumer_fence(struct groups *, struct group *, struct consumer_member *, int16_t *ret_error);
/* The next timer of the group. */
void consumer_set_timer(struct groups *, struct group *);

/* ---- consumer_reconcile.c --------------------------------------------------------------------------- */
typedef struct wire_list consumer_owned; /* topic_partitions of a heartbeat; count -1: not told */
bool consumer_owns_any(consumer_owned, int16_t version, const struct partition_set *);
bool consumer_owns_only(consumer_owned, int16_t version, const struct partition_set *);
/* TIDE_OK: `ret` is what the member shall have next (its sets are the caller's to free), TIDE_EXISTS: what it has. TIDE_FULL: the heap is full. */
enum tide_status consumer_reconcile(const struct consumer *, const struct tide_view *, const struct consumer_member *, consumer_owned, int16_t version,
                                    struct consumer_current *ret);

/* Does it wait for something that another has? */
bool consumer_waits(const struct consumer *, const struct tide_view *, const struct consumer_member *);

/* ---- consumer_classic.c ----------------------------------------------------------------------------- */
enum tide_status consumer_classic_join(struct groups *, struct group *, const struct join_group_request *, const struct groups_question *,
                                       struct groups_asked *);
enum tide_status consumer_classic_sync(struct groups *, struct group *, const struct sync_group_request *, const struct groups_question *,
                                       struct groups_asked *);
int16_t consumer_classic_heartbeat(struct groups *, struct group *, const struct heartbeat_request *);
enum tide_status consumer_classic_leave(struct groups *, struct group *, const struct leave_group_request *, const struct groups_question *,
                                        struct groups_asked *);
/* What a member of the classic protocol said of its subscription. TIDE_BAD: it is not understood. TIDE_FULL: the pool is empty. The rope is
 * the caller's to clear in any case. */
enum tide_status consumer_read_subscription(struct groups *, const struct group_protocol *, struct tide_rope *, int16_t *ret_version,
                                            struct consumer_protocol_subscription *ret);
/* In which version it has said it. */
int16_t consumer_subscription_version(const struct consumer_member *);
/* Partitions of an assignment, as it lies in a member's record. */
void consumer_put_assignment(struct wire_writer *, int16_t version, const struct tide_view *, const struct partition_set *);

/* ---- consumer_convert.c ----------------------------------------------------------------------------- */
/* A classic group with members becomes one of the consumer protocol. As group_write; GROUP_ID_NOT_FOUND: it may not, or cannot. */
enum tide_status consumer_upgrade(struct groups *, struct group *, int16_t *ret_error);
/* All members speak the classic protocol, and the group may be a classic one. */
bool consumer_is_to_downgrade(const struct groups *, const struct consumer *);
/* It is no longer of this kind when it has worked. */
enum tide_status consumer_downgrade(struct groups *, struct group *, int16_t *ret_error);

/* ---- consumer_run.c --------------------------------------------------------------------------------- */
/* What an expression matches is not known yet: its members would lose what it gives them in a moment. */
static inline bool consumer_assign_waits(const struct consumer *c)
{
    for (uint32_t i = 0; i < c->expression_count && c->assignment_epoch != 0; i++)
        if (c->expressions[i]->users != 0 && !c->expressions[i]->resolved && !c->expressions[i]->refused)
            return true;
    return false;
}
static inline bool consumer_assign_is_due(const struct groups *g, const struct consumer *c)
{
    return c->member_count != 0 && c->epoch > c->assignment_epoch && g->now.now_ns >= c->assign_after_ns && !consumer_assign_waits(c);
}
/* Goes on with the assignment, or begins one that is due. TIDE_AGAIN: there is more to do. */
enum tide_status consumer_assign(struct groups *, struct group *, uint32_t budget);

/* ---- consumer_expression.c -------------------------------------------------------------------------- */
struct consumer_resolution;
/* Goes on with an expression, or begins with one that is due: looks at a few topics, and writes what is found. */
void consumer_resolve(struct groups *, struct group *);
/* When that is wanted next. */
uint64_t consumer_resolve_at_ns(const struct groups *, const struct consumer *);
bool consumer_resolution_is_of(const struct consumer_resolution *, const struct consumer_expression *);
/* Frees it. */
void consumer_resolution_end(struct consumer *);
void consumer_put_expression_gone(struct groups *, struct group_batch *, const struct consumer *, const struct consumer_expression *);

/* ---- consumer_kind.c -------------------------------------------------------------------------------- */
/* What most members ask for, else the first of group.consumer.assignors. */
enum assign_kind consumer_assignor(const struct consumer *);
bool consumer_assignor_find(const struct consumer *, struct consumer_text name, enum assign_kind *ret);
const char *consumer_assignor_name(enum assign_kind);
enum tide_status consumer_on_describe(struct groups *, const struct groups_question *, struct groups_asked *);
/* One element of ConsumerGroupDescribe that is an error. */
void consumer_write_described_error(struct wire_writer *, int16_t version, const struct wire_bytes *id, int16_t error);
enum tide_status consumer_replay_group(struct groups *, struct wire_cursor *key, struct wire_cursor *value);
enum tide_status consumer_replay_member(struct groups *, struct wire_cursor *key, struct wire_cursor *value);
enum tide_status consumer_replay_target_epoch(struct groups *, struct wire_cursor *key, struct wire_cursor *value);
enum tide_status consumer_replay_target(struct groups *, struct wire_cursor *key, struct wire_cursor *value);
enum tide_status consumer_replay_current(struct groups *, struct wire_cursor *key, struct wire_cursor *value);
enum tide_status consumer_replay_expression(struct groups *, struct wire_cursor *key, struct wire_cursor *value);

#endif
