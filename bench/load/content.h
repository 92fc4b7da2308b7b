/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What records carry, and what became of them. A batch of a producer has a number; its records are numbered on. A value begins
 * with CONTENT_HEAD bytes (magic, run, producer, number of the record, intended send time) and goes on with bytes that do not
 * compress and that a reader compares.
 *
 * Owner: one worker.
 */
#ifndef TIDEMARK_BENCH_LOAD_CONTENT_H
#define TIDEMARK_BENCH_LOAD_CONTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CONTENT_HEAD = 32 };

/* One for all producers of a worker: the template of a batch, of which only what differs is written anew. */
struct content {
    uint64_t run; /* told from other runs in the same topic */
    uint32_t record_bytes, batch_records;
    uint32_t batch_bytes;
    uint8_t *batch;
    uint32_t *values; /* where in the batch each value begins */
    uint8_t *fill;    /* the bytes of a value behind its head */
};

/* False: no memory. */
bool content_init(struct content *, uint64_t run, uint32_t record_bytes, uint32_t batch_records, uint64_t seed);
void content_deinit(struct content *);

struct content_stamp {
    uint32_t producer;
    uint64_t batch;       /* its number; the first record is batch * batch_records */
    uint64_t intended_ns; /* on the machine's monotonic clock */
    int64_t wall_ms;
    int64_t producer_id; /* -1: none */
    int16_t producer_epoch;
};
/* Puts it into `c->batch`, CRC included. */
void content_stamp(struct content *c, const struct content_stamp *);

/* What became of the batches of one producer. */
struct content_fate {
    uint64_t bound; /* batches */
    uint64_t *acked, *seen; /* bits */
    uint64_t highest; /* seen, and one more */
    uint64_t at;      /* the record of the batch that is being read */
    bool again;       /* which had been seen before */
};
bool content_fate_init(struct content_fate *, uint64_t bound);
void content_fate_deinit(struct content_fate *);
/* True: for the first time. */
bool content_acked(struct content_fate *, uint64_t batch);

enum content_verdict {
    CONTENT_FIRST,     /* the first record of a batch that was not seen: *ret_intended_ns is worth a sample */
    CONTENT_MORE,      /* a further one of it */
    CONTENT_DUPLICATE, /* seen before */
    CONTENT_DISORDER,  /* the first record of a batch behind a later one; a sample, too */
    CONTENT_DAMAGED,   /* ours, and not as it was sent */
};
/* Who sent it; false: foreign. */
bool content_producer(const struct content *, const uint8_t *value, size_t len, uint32_t *ret_producer);
/* After content_producer said who. */
enum content_verdict content_seen(const struct content *, struct content_fate *, const uint8_t *value, size_t len, uint64_t *ret_intended_ns);
/* Batches that were acknowledged and not seen. A walk. */
uint64_t content_missing(const struct content_fate *);

#endif
