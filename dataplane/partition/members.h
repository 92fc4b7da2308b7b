/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The replicas of a partition by number, as watermarks and ISR bitmaps count them: 0 is this
 * broker's own, the others in the order in which they became known.
 *
 * A number stays with its broker as long as the leader epoch stands: within one, replicas are added
 * and never removed (control-plane 5, rule 6). Another epoch numbers them anew.
 *
 * Owner: the home core of the partition.
 *
 * Invariants (members_check):
 *   M1  ids[0] is our own; no id stands twice.
 */
#ifndef TIDEMARK_PARTITION_MEMBERS_H
#define TIDEMARK_PARTITION_MEMBERS_H

#include <stdbool.h>
#include <stdint.h>

#include "tidemark/mail.h"
#include "tidemark/types.h"

enum { MEMBER_SELF = 0, MEMBER_NONE = UINT32_MAX };

struct members {
    uint32_t count;
    int32_t ids[TIDE_REPLICAS_MAX];
    int64_t broker_epochs[TIDE_REPLICAS_MAX]; /* of their newest known registrations; -1: none known */
};

/* A new leader epoch. */
void members_begin(struct members *, const struct mail_role *);
/* The same leader epoch: new replicas get numbers, registrations that are newer are noted. */
void members_update(struct members *, const struct mail_role *);
/* MEMBER_NONE when the broker has no replica. */
uint32_t members_number(const struct members *, int32_t broker);
/* The role's ISR as a bitmap. Brokers without a replica are left out. */
uint32_t members_isr(const struct members *, const struct mail_role *);
void members_check(const struct members *);

#endif
