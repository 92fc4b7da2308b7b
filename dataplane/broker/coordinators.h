/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The group coordinators of one core: for each partition of __consumer_offsets that is led here, what groups.h is to that
 * partition's log (kafka-protocol 9.1).
 *
 *   NONE -> LOADING          it leads and has started: the log is read from its start to the end as of now
 *   LOADING -> COMMITTING    all of it is read
 *   COMMITTING -> ACTIVE     and committed in this epoch (design 5): questions are taken
 *   LOADING -> UNPACKING     a compressed batch is next, which a Kafka broker wrote: a helper has it
 *   UNPACKING -> LOADING     its records are there, or it is of no use
 *   LOADING -> BROKEN        it cannot be read, or the heap is full: COORDINATOR_NOT_AVAILABLE until it is tried again
 *   any of them -> ENDING    the role has ended while a read is out on the disk, or a batch with a helper
 *   any of them -> NONE      the role has ended: what it knew is gone, whoever waited is NOT_COORDINATOR
 *
 * Every question is a letter (MAIL_GROUP), also of our own sessions; the letter is what a coordinator knows it by, and
 * stays here until the answer.
 *
 * A coordinator acts (takes questions, lets answers go, runs its timers) only as long as its partition leads in the epoch for
 * which it was loaded, and has the lease. What was appended is answered when that epoch's high watermark has passed it.
 *
 * Records of compressed batches come out into one buffer of the core, so one coordinator at a time unpacks, from the moment
 * it gives the batch to a helper until it has replayed it; it needs nobody else for that, and the others wait. A batch that
 * cannot be decompressed, or would not fit, is counted and left out: what else is in the log is worth more than a
 * coordinator that refuses to begin.
 *
 * Owner: the core. Timers: those of its groups; a broken one is tried again after COORDINATOR_RETRY_MS.
 *
 * Invariants (coordinators_check):
 *   C1  there are groups exactly in LOADING, UNPACKING, COMMITTING and ACTIVE.
 *   C2  a coordinator that is not NONE or ENDING belongs to the partition that is at home in its slot.
 *   C3  letters are parked at a coordinator, or held by it, only while it is ACTIVE.
 *   C4  what is UNPACKING has the buffer; who has it is that, or ENDING with a batch at a helper, or LOADING and replays.
 */
#ifndef TIDEMARK_BROKER_COORDINATORS_H
#define TIDEMARK_BROKER_COORDINATORS_H

#include "broker/internal.h"
#include "group/groups.h"
#include "tidemark/random.h"

enum coordinators_limit {
    COORDINATOR_LOADS_MAX = 4,                 /* partitions read at a time */
    COORDINATOR_LOAD_READ_BYTES = 256 << 10,   /* asked of the log at once */
    COORDINATOR_LOAD_TURN_BYTES = 128 << 10,   /* replayed per turn, by all of them */
    COORDINATOR_PLAIN_BYTES = 16 << 20,        /* of records that come out of a compressed batch */
    COORDINATOR_PLAIN_VIEW = 32 << 10,         /* of them under one mbuf */
    COORDINATOR_PLAIN_VIEWS = COORDINATOR_PLAIN_BYTES / COORDINATOR_PLAIN_VIEW,
    COORDINATOR_ANSWERS_MAX = 256,             /* let go at once */
    COORDINATOR_RETRY_MS = 1000,
    COORDINATOR_LEASE_MS = 10,                 /* how often one without a lease looks whether it has it again */
    COORDINATOR_GAUGES_MS = 100,               /* how often what there is is counted */
};

enum coordinator_state {
    COORDINATOR_NONE,
    COORDINATOR_LOADING,
    COORDINATOR_UNPACKING,
    COORDINATOR_COMMITTING,
    COORDINATOR_ACTIVE,
    COORDINATOR_BROKEN,
    COORDINATOR_ENDING,
    COORDINATOR_STATE_COUNT
};

struct coordinator {
    enum coordinator_state state;
    struct link in_all;      /* of those that are not NONE */
    struct broker *broker;
    struct partition *partition;
    struct groups *groups;
    int32_t leader_epoch;
    bool answering;          /* its answers are being let go */
    bool more;               /* and there were too many for one turn, or no memory for one */
    bool read_begun, reading;
    struct log_read read;
    struct tide_rope loaded; /* read, not replayed */
    int64_t load_at, load_end;
    uint64_t began_ns, retry_ns;
    struct tide_mail *parked_head, *parked_tail;
    struct tide_mail *held;  /* letters whose questions its groups have */
};

/* The records of one compressed batch. */
struct coordinator_plain {
    struct batch_unpack unpack;
    struct coordinator *user;  /* NULL: it is free */
    struct tide_slice records; /* not replayed */
    int32_t left;              /* how many; -1: nobody has looked at what the helper said */
    int32_t count;             /* of the whole batch */
    uint8_t *bytes;
    struct rte_mbuf *views;    /* over them; of no pool, and never held */
};

struct coordinators {
    struct coordinator *by_slot;
    struct coordinator_plain plain;
    struct groups_names names;
    struct link all;
    struct tide_mail *lists; /* of ListGroups, waiting for room */
    struct tide_mail *listing; /* the one that goes from coordinator to coordinator right now */
    struct tide_heap *heap;
    struct tide_random random;
    struct tide_out *out;    /* of the call that is under way: appends go there */
    const struct tide_view *seen;
    uint64_t seen_version;
    uint64_t wake_ns;        /* when a turn has something to do for one of them, if nothing happens before; 0: every turn */
    uint32_t reading;        /* that have a read begun, or bytes of one */
    int64_t load_left;       /* bytes that may still be replayed in this turn */
    uint64_t gauges_ns;
    struct groups_gauges gauges;
    uint32_t active, loading; /* counted then */
};

bool coordinators_create(struct broker *); /* [start] False without memory */
void coordinators_destroy(struct broker *);
void coordinators_forget(struct broker *);
/* [home] A turn of the partition, or its role changed: a coordinator begins or ends. */
void coordinators_look(struct broker *, struct partition *, struct tide_out *);
/* [home] It is let go of. */
void coordinators_on_release(struct broker *, struct partition *, struct tide_out *);
/* [home] Its marks moved. */
void coordinators_on_moved(struct broker *, uint32_t slot, struct tide_out *);
/* [home] A letter of kind MAIL_GROUP or MAIL_GROUP_CANCEL that asks something; also one of our own. */
void coordinators_on_question(struct broker *, struct tide_mail *, struct tide_out *);
void coordinators_on_cancel(struct broker *, struct tide_mail *question, struct tide_out *);
void coordinators_on_disk(struct broker *, uint32_t slot, const struct disk_done *, struct tide_out *);
void coordinators_on_job(struct broker *, struct tide_job *, struct tide_out *);
unsigned coordinators_turn(struct broker *, struct tide_out *);
uint64_t coordinators_deadline_ns(const struct broker *);
void coordinators_gauges(const struct broker *, struct broker_gauges *ret);
void coordinators_check(const struct broker *);

/* ---- groups_api.c: what comes back to the session's core, and what is to be tried again there. */
void groups_api_on_answer(struct broker *, struct tide_mail *, struct tide_out *);
void groups_api_on_cancelled(struct broker *, struct tide_mail *, struct tide_out *);
unsigned groups_api_turn(struct broker *, struct tide_out *);

#endif
