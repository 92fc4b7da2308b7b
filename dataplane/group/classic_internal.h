/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of classic groups. Who owns what:
 *   classic.c         the states, members' lives, rebalancing, timers
 *   classic_join.c    JoinGroup
 *   classic_sync.c    what the members of a generation ask: SyncGroup, Heartbeat, LeaveGroup
 *   classic_records.c the record of a group, written and applied
 *   classic_kind.c    where this kind of group differs from the others; DescribeGroups
 */
#ifndef TIDEMARK_GROUP_CLASSIC_INTERNAL_H
#define TIDEMARK_GROUP_CLASSIC_INTERNAL_H

#include "group/internal.h"

/* ---- classic.c ------------------------------------------------------------------------------------ */
/* One of the changes that struct classic draws. */
void classic_move(struct group *, enum classic_state to);
const char *classic_state_name(const struct group *);
/* It has shown that it lives: it is a member for so long from now on; for its session. */
void classic_alive_for(struct groups *, struct group_member *, int64_t ms);
void classic_touch(struct groups *, struct group_member *);
/* A question waits at its member: at &m->join or &m->sync. One that waited there before is told to join again. */
void classic_park(struct groups *, struct group_member *, struct groups_asked **at, struct groups_asked *);
/* Takes the question off its member. NULL: none waits there. */
struct groups_asked *classic_unpark(struct groups *, struct groups_asked **at);
void classic_say_if_parked(struct groups *, struct group_member *, struct groups_asked **at, int16_t error);
/* It is no member any more, and what it asked is answered so. The caller looks after the others (classic_after_leave). */
void classic_remove_member(struct groups *, struct group_member *);
/* Who asks, and whether it is who it says: a Kafka error. `instance` may be NULL. */
int16_t classic_look_up(const struct groups *, const struct group *, const struct wire_bytes *id, const struct wire_bytes *instance,
                        struct group_member **ret);
/* All join again. */
void classic_prepare_rebalance(struct groups *, struct group *);
/* Somebody has joined: all join again, or, if they do already, go on when it was the last one. */
void classic_rebalance_or_complete(struct groups *, struct group *);
/* Somebody has left: the others go on without. */
void classic_after_leave(struct groups *, struct group *);
void classic_on_timer(struct groups *, struct group *);

/* ---- classic_join.c ------------------------------------------------------------------------------- */
/* The answer that carries the group's generation, to a member's JoinGroup. */
void classic_say_generation(struct groups *, struct group *, struct group_member *, struct groups_asked *);

/* ---- classic_sync.c ------------------------------------------------------------------------------- */
enum tide_status classic_sync(struct groups *, struct group *, const struct sync_group_request *, const struct groups_question *,
                              struct groups_asked *);
int16_t classic_heartbeat(struct groups *, struct group *, const struct heartbeat_request *);
enum tide_status classic_leave(struct groups *, struct group *, const struct leave_group_request *, const struct groups_question *,
                               struct groups_asked *);

/* ---- classic_records.c ---------------------------------------------------------------------------- */
struct classic_record {
    int32_t generation;
    const struct group_text *protocol, *leader;
    bool offered; /* assignments as the leader offers them, not as they are */
    /* A static member that came back (NULL: none), and how it did. */
    const struct group_member *renewed;
    const struct group_protocols *protocols;
    int32_t session_ms, rebalance_ms;
    const char *new_id;
    uint32_t new_id_len;
};
/* Appends and applies: what group_write says. */
enum tide_status classic_write_record(struct groups *, struct group *, const struct classic_record *, int16_t *ret_error);
void classic_put_tombstones(struct groups *, struct group *, struct group_batch *);

#endif
