/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The computation of the targets of a consumer group, over as many turns as it takes.
 *
 *   SUBSCRIBERS   who subscribes to what, counted
 *   FILL          and listed
 *   PREVIOUS      who was to have what
 *   COMPUTE       the assignor
 *   WRITE         targets that have changed, batch by batch, and then the assignment epoch
 *
 * The first three read the group, and begin anew when members, subscriptions or targets have changed meanwhile. What comes
 * then works on a copy: a member that has gone is passed over, and whatever else has changed has raised the
 * group epoch, so that another computation follows. Targets that are written for a part of the members only are no harm: nobody is
 * given a partition that somebody else has.
 */
#ifndef TIDEMARK_GROUP_CONSUMER_RUN_H
#define TIDEMARK_GROUP_CONSUMER_RUN_H

#include "group/assign.h"
#include "tidemark/types.h"

struct consumer;
struct consumer_member;
struct consumer_topic;

enum consumer_run_phase { RUN_SUBSCRIBERS, RUN_FILL, RUN_PREVIOUS, RUN_COMPUTE, RUN_WRITE };

struct run_topic {
    struct tide_uuid id;
    struct consumer_topic *topic; /* while the group is read */
};

struct consumer_run {
    enum consumer_run_phase phase;
    enum assign_kind kind;
    int32_t epoch;    /* of the group, when it began */
    uint32_t changes; /* of the group, when it began */
    uint32_t next;    /* member */
    uint32_t member_count, topic_count, subscriber_count;
    struct consumer_member **members; /* NULL: has gone */
    struct run_topic *ids;            /* by id: so numbers follow the order of sets */
    struct assign_topic *topics;
    uint32_t *subscribers, *filled; /* filled: per topic */
    uint32_t *previous, *list;      /* per partition; list: partitions member by member */
    uint32_t *first;                /* per member and one more, in the list */
    struct assign_problem problem;
    struct assign_memory memory;
    struct assign assign;
};

/* Frees it. */
void consumer_run_end(struct consumer *);
/* The member is going. */
void consumer_run_forget(struct consumer_run *, struct consumer_member *);

#endif
