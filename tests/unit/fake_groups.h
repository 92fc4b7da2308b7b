/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A group coordinator that does what the name of a group says, in place of dataplane/group, for tests of the shell around it:
 *   now...    answered at once
 *   write...  a batch is appended, and answered when it is committed
 *   big...    the same with a batch of 10,000 bytes
 *   wait...   parked until fake_groups_release(), or a cancel
 *   full...   there is no room while fake_groups.full
 *   bad...    malformed
 * The last character is a digit: the partition. An answer is [error, int16][partition, int32].
 */
#ifndef TIDEMARK_TESTS_FAKE_GROUPS_H
#define TIDEMARK_TESTS_FAKE_GROUPS_H

#include "group/groups.h"

struct fake_groups {
    bool full;         /* questions to full... */
    bool heap_full;    /* nothing is created or replayed */
    bool silent;       /* groups_next_answer has no memory */
    unsigned created, destroyed, loaded, turns, cancels, asked, resigned;
    unsigned replayed; /* batches */
    unsigned records;  /* of batches that were compressed */
    uint32_t records_sum; /* CRC-32C of their bytes, one after the other */
    unsigned appended;
    int16_t append_error;
};
extern struct fake_groups fake_groups;

void fake_groups_reset(void);
/* Everything that waits is answered. */
void fake_groups_release(void);

#endif
