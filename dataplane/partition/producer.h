/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a partition remembers of idempotent producers (KIP-98, KIP-360; kafka-protocol 5): per
 * producer id the epoch and the last five batches.
 *
 * Owner: the partition (its helper while it opens, its home core afterwards). Fixed memory; when
 * the table is full the producer silent for longest is forgotten, whose next batch is accepted
 * whatever its sequence.
 *
 * Invariants (producer_check):
 *   R1  an entry's batches are in order of their offsets, at most PRODUCER_WINDOW.
 *   R2  every entry is found by its id.
 */
#ifndef TIDEMARK_PARTITION_PRODUCER_H
#define TIDEMARK_PARTITION_PRODUCER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kafka/batch.h"
#include "tidemark/status.h"

enum { PRODUCER_WINDOW = 5 };

struct producer_batch {
    int32_t last_sequence;
    int32_t offset_delta;
    int64_t last_offset;
    int64_t timestamp;
};

struct producer_entry {
    int64_t id; /* -1: free */
    int64_t used_ms; /* the broker's clock at the last append */
    int16_t epoch;
    uint8_t batch_count;
    uint32_t hash_next;
    struct producer_batch batches[PRODUCER_WINDOW]; /* oldest first */
};

struct producers;

/* The rows of the decision, in the order in which they are tried. */
enum producer_verdict {
    PRODUCER_NONE,         /* the batch has no producer id */
    PRODUCER_DUPLICATE,    /* appended before: answer its first offset */
    PRODUCER_OLD_EPOCH,    /* INVALID_PRODUCER_EPOCH */
    PRODUCER_NEW_EPOCH,    /* accept, forget the old epoch's batches */
    PRODUCER_NEW_EPOCH_GAP,/* OUT_OF_ORDER_SEQUENCE_NUMBER: an epoch starts at 0 */
    PRODUCER_NEXT,         /* accept */
    PRODUCER_GAP,          /* OUT_OF_ORDER_SEQUENCE_NUMBER */
    PRODUCER_UNKNOWN,      /* accept whatever the sequence */
    PRODUCER_VERDICT_COUNT
};
extern const char *const producer_verdict_names[PRODUCER_VERDICT_COUNT];

struct producers *producers_create(uint32_t max); /* [control]; NULL without memory */
void producers_destroy(struct producers *);
uint32_t producers_count(const struct producers *);

/* What is to be done with the batch; changes nothing. *ret_first_offset only with DUPLICATE. */
enum producer_verdict producer_judge(const struct producers *, const struct batch_header *, int64_t *ret_first_offset);
/* The batch was appended (or replayed from the log) at base_offset. */
void producer_appended(struct producers *, const struct batch_header *, int64_t base_offset, int64_t now_ms);
/* Forgets those silent since before `before_ms`; looks at `budget` entries, going round. */
void producers_expire(struct producers *, int64_t before_ms, unsigned budget);

/* The last offset of every producer, at most `max` of them; how many there are. */
uint32_t producers_ends(const struct producers *, int64_t *to, uint32_t max);

void producers_clear(struct producers *); /* forgets all of them */
/* Everyone counts as used now: expiry after a restart counts from the load. */
void producers_loaded(struct producers *, int64_t now_ms);

/* Kafka's .snapshot format (kafka-protocol 10.4), with an entry for each batch of the window, oldest first: Kafka itself keeps the
 * last entry of a producer, as if it had written that one alone; we have the whole window again, so that a producer that was five
 * batches ahead when the broker stopped finds all of them. Returns the bytes written, 0 when cap is short. */
size_t producers_snapshot_size(const struct producers *);
size_t producers_snapshot(const struct producers *, uint8_t *to, size_t cap);
/* Replaces what is known. TIDE_BAD: damaged, and nothing changed. Entries count as used at now_ms. */
TIDE_MUST_USE enum tide_status producers_restore(struct producers *, const uint8_t *bytes, size_t len, int64_t now_ms);
void producers_check(const struct producers *);

#endif
