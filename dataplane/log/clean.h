/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What compaction keeps of a batch (kafka-protocol 10.5, KIP-354, KIP-534). [helper] all of it.
 *
 * The map knows the last offset of every key of the range that was read. A key is known by 128 bits
 * of XXH3 with a secret seed, so nobody can choose keys that meet.
 *
 * A record stays when no younger one of the range has its key. A tombstone (null value) that stays
 * gets a delete horizon with its batch: that batch is written again with attribute bit 6, and with
 * the horizon in the place of baseTimestamp. When the horizon is over the tombstone goes. Offsets
 * never change, and a batch that lost records keeps its first and last one. A batch that lost all of
 * them goes, unless a producer's sequence is known by it or it is the last of the range: then it
 * stays without records. Control batches, and records without a key that were there before the
 * topic was compacted: the former stay, the latter go, as in Kafka.
 */
#ifndef TIDEMARK_LOG_CLEAN_H
#define TIDEMARK_LOG_CLEAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kafka/batch.h"

/* ---- the map ---- */
struct clean_map;
struct clean_map *clean_map_create(size_t bytes_max); /* grows up to it; NULL without memory */
void clean_map_destroy(struct clean_map *);
/* The highest offset stays. 1; 0: full; -ENOMEM. */
int clean_map_put(struct clean_map *, const void *key, size_t len, int64_t offset);
int64_t clean_map_get(const struct clean_map *, const void *key, size_t len); /* -1: unknown */
uint64_t clean_map_count(const struct clean_map *);

/* ---- the batches ---- */
struct clean_scratch;
struct clean_scratch *clean_scratch_create(void);
void clean_scratch_destroy(struct clean_scratch *);

/* Puts the keys of a batch into the map: as clean_map_put; -EILSEQ when its records cannot be read.
 */
int clean_learn(struct clean_map *, struct clean_scratch *, const struct batch_header *,
                uint8_t *batch, uint32_t size);

struct clean_rules {
    const struct clean_map *map;
    int64_t end;                 /* the map is complete below it; batches that reach it stay as they are */
    int64_t now_ms;
    int64_t delete_retention_ms; /* from the first cleaning on */
    const int64_t *producer_ends; /* sorted: the last offset of each producer that is known */
    uint32_t producer_end_count;
    bool every_producer;         /* there were too many to name: the last batch of none may go */
    int64_t last_offset;         /* the batch that ends here stays, be it empty */
};

enum clean_result {
    CLEAN_SAME = 0,
    CLEAN_CHANGED, /* *ret, in the scratch until its next use */
    CLEAN_GONE,
};
/* One of them, -ENOMEM, or -EILSEQ when the records cannot be read. */
int clean_batch(const struct clean_rules *, struct clean_scratch *, const struct batch_header *,
                uint8_t *batch, uint32_t size, const uint8_t **ret, uint32_t *ret_size);

#endif
