/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where offsets and timestamps lie in a segment.
 *
 * In memory (struct log_index) while the segment is the active one or waits to be sealed: one
 * entry per more than index.interval.bytes appended, as Kafka makes them (kafka-protocol 10.3):
 * the last offset of a batch, the position of its start, and the largest timestamp so far with the
 * last offset of the batch that carries it. The first 64 entries have room in the struct, further
 * ones in chunks of the core's pool. When there is no chunk every second entry is dropped and the
 * interval grows: the index becomes sparser, never wrong.
 *
 * On disk: Kafka's .index (int32 offset - base, int32 position) and .timeindex (int64 timestamp,
 * int32 offset - base), big-endian. What a drive gives back is not trusted: a lookup in damaged
 * bytes yields some position, and the reader checks what it finds there.
 *
 * Owner: the home core; [any] for the lookups. `version` is odd while entries move, and changes
 * when they have: a lookup that straddles a change is repeated, then given up. An entry is
 * constant once `count` covers it, so an old count finds an earlier position, never a wrong one.
 *
 * Invariants (log_index_check):
 *   X1  relative offsets and positions of the entries increase strictly; timestamps do not fall.
 *   X2  count <= room, and every chunk up to it is there.
 */
#ifndef TIDEMARK_LOG_INDEX_H
#define TIDEMARK_LOG_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark/fs.h"
#include "tidemark/published.h"

struct rte_ring;

enum log_index_limit {
    LOG_INDEX_INLINE = 64,
    LOG_INDEX_CHUNKS = 64,
    LOG_INDEX_PER_CHUNK = 170, /* so that a chunk has 4080 bytes */
    LOG_INDEX_ENTRY_BYTES = 8,
    LOG_TIME_ENTRY_BYTES = 12,
    LOG_INDEX_STORED_BYTES = 20, /* of an entry in active.checkpoint */
};

struct log_index_entry {
    struct tide_pub64 place; /* offset - base in the upper half, position in the lower */
    struct tide_pub64 time;
    struct tide_pub64 time_relative;
};

struct log_index_chunk {
    struct log_index_entry entries[LOG_INDEX_PER_CHUNK];
};

struct log_index {
    struct tide_pub64 version;
    struct tide_pub64 segment; /* number of the segment, UINT64_MAX: none */
    struct tide_pub64 count;

    /* owned */
    struct rte_ring *pool; /* where chunks come from; NULL: none */
    uint64_t heap;         /* bit i: chunk i is ours from the heap and stays */
    bool may_allocate;     /* [helper] only */
    uint32_t interval;     /* setting */
    uint32_t interval_now; /* grows with each thinning */
    uint32_t bytes_since_entry;
    uint32_t chunk_count;
    uint32_t max_time_relative;
    int64_t max_time; /* largest timestamp so far, -1 none */

    struct log_index_entry first[LOG_INDEX_INLINE];
    struct tide_pub64 chunks[LOG_INDEX_CHUNKS];
};

void log_index_init(struct log_index *, uint32_t interval_bytes);
/* [home, helper] Forgets all entries and stands for `segment` from now on; chunks of the pool go
 * back to it. */
void log_index_reset(struct log_index *, uint64_t segment);
/* Frees what is ours from the heap, gives back the rest. */
void log_index_deinit(struct log_index *);

/* A batch of `bytes` at `position` was appended. */
void log_index_add(struct log_index *, uint32_t last_relative, uint32_t position, uint32_t bytes,
                   int64_t max_timestamp);

/* [helper] As log_index_add for a batch that has its entry already. */
void log_index_skip(struct log_index *, uint32_t bytes);

struct log_place {
    uint32_t relative; /* last offset of the batch at `position`, minus the base offset */
    uint32_t position; /* where a batch starts */
    int64_t time;      /* largest timestamp up to and with that batch; of an index in memory only */
};
/* [any] The last entry of `segment` at or below `relative`. False when there is none, or when the
 * index has begun to stand for something else: then the walk starts at position 0. */
bool log_index_floor(const struct log_index *, uint64_t segment, uint32_t relative,
                     struct log_place *ret);
/* [any] The last entry of `segment` whose largest timestamp so far is below `timestamp`. */
bool log_index_before_time(const struct log_index *, uint64_t segment, int64_t timestamp,
                           struct log_place *ret);

/* ---- on disk --------------------------------------------------------------------------------- */

/* The last entry of `count` at or below `relative`. */
bool index_file_floor(const uint8_t *entries, uint32_t count, uint32_t relative,
                      struct log_place *ret);
/* The last entry of `count` whose timestamp is below `timestamp`: its relative offset. */
bool index_file_before_time(const uint8_t *entries, uint32_t count, int64_t timestamp,
                            uint32_t *ret_relative);
/* Strictly increasing offsets and positions below `segment_bytes` and the span of offsets. */
bool index_file_is_sane(const uint8_t *entries, size_t bytes, uint64_t segment_bytes,
                        uint64_t span);
bool time_file_is_sane(const uint8_t *entries, size_t bytes, uint64_t span);

/* [helper] The two files' contents, malloc'd; -ENOMEM. The time index ends with an entry for the
 * largest timestamp. */
struct index_image {
    uint8_t *index;
    uint8_t *time_index;
    size_t index_bytes;
    size_t time_bytes;
};
int log_index_image(const struct log_index *, struct index_image *ret);
void index_image_free(struct index_image *);

/* [any] Copies the entries of `segment` whose batches start below `limit`, as active.checkpoint has
 * them, at most `max`. 0: there are none, or they moved meanwhile. */
uint32_t log_index_entries(const struct log_index *, uint64_t segment, uint32_t limit, uint8_t *to,
                           uint32_t max);
/* [helper] Adds such an entry. False when it does not follow the ones before, or lies behind the
 * segment's bytes. */
bool log_index_put_stored(struct log_index *, const uint8_t bytes[LOG_INDEX_STORED_BYTES],
                          uint64_t segment_bytes);

void log_index_check(const struct log_index *);

#endif
