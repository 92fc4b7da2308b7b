/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What recovery does with a segment, as a table: the facts about it select exactly one row.
 */
#ifndef TIDEMARK_LOG_RECOVERY_H
#define TIDEMARK_LOG_RECOVERY_H

#include <stdbool.h>
#include <stdint.h>

#include "log/segment.h"

/* Facts, one bit each; `end` of the scan is one of three. A sealed segment is not scanned: its end
 * counts as WHOLE. */
enum recovery_fact {
    FACT_LAST = 1 << 0,      /* no younger segment exists */
    FACT_SEALED = 1 << 1,    /* index files are there, sane, and fit the file's last batches */
    FACT_JOINS = 1 << 2,     /* its end is the next one's base offset */
    FACT_NEXT_LAST = 1 << 3, /* the next one is the last */
    FACT_DURABLE = 1 << 4,   /* writes were synced one by one (ack.durability=device) */
    FACT_END_WHOLE = 1 << 5,
    FACT_END_ZERO = 1 << 6,
    FACT_END_TORN = 1 << 7,
    FACT_SHORT = 1 << 8,  /* it ends below what is known to have been committed (log_config.committed) */
    FACT_REPAIR = 1 << 9, /* others have what is cut (log_config.repair) */
    FACT_COUNT = 10,
};

enum recovery_action {
    RECOVER_KEEP,      /* nothing to do */
    RECOVER_INDEX,     /* write its index files again */
    RECOVER_SEAL,      /* cut behind the last batch, write its index files */
    RECOVER_EXTEND,    /* the active segment: goes on behind its end */
    RECOVER_CUT,       /* the active segment: what was behind its end goes */
    RECOVER_DROP_REST, /* becomes the last; those behind it go, this one is cut */
    RECOVER_REFUSE,    /* corruption below what may have been acknowledged: the log stays closed, until others have it
                        * and it may be repaired */
};

struct recovery_case {
    const char *label;
    uint32_t mask;  /* facts the row looks at */
    uint32_t value; /* what they must be */
    enum recovery_action action;
};

extern const struct recovery_case recovery_cases[];
extern const unsigned recovery_case_count;

/* The row for the facts; NULL for a combination that cannot be. */
const struct recovery_case *recovery_case_of(uint32_t facts);
/* Exactly one end; a sealed one ends whole, joins and is not the last; the last joins nothing. */
bool recovery_facts_can_be(uint32_t facts);

#endif
