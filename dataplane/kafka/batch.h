/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Record batches of magic 2, the only format there is: the same bytes on the wire, in the log and
 * in memory (kafka-protocol 3).
 */
#ifndef TIDEMARK_KAFKA_BATCH_H
#define TIDEMARK_KAFKA_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark/rope.h"

/* Byte offsets of the header's fields. */
enum batch_layout {
    BATCH_BASE_OFFSET = 0,
    BATCH_LENGTH = 8,
    BATCH_LEADER_EPOCH = 12,
    BATCH_MAGIC = 16,
    BATCH_CRC = 17,
    BATCH_ATTRIBUTES = 21, /* the CRC covers from here to the end */
    BATCH_LAST_OFFSET_DELTA = 23,
    BATCH_BASE_TIMESTAMP = 27,
    BATCH_MAX_TIMESTAMP = 35,
    BATCH_PRODUCER_ID = 43,
    BATCH_PRODUCER_EPOCH = 51,
    BATCH_BASE_SEQUENCE = 53,
    BATCH_RECORD_COUNT = 57,
    BATCH_HEADER = 61,
    BATCH_LENGTH_OVERHEAD = 12, /* bytes that batchLength does not count */
    BATCH_LENGTH_MIN = BATCH_HEADER - BATCH_LENGTH_OVERHEAD,
};

enum batch_attribute {
    BATCH_CODEC_MASK = 7,
    BATCH_LOG_APPEND_TIME = 8,
    BATCH_TRANSACTIONAL = 16,
    BATCH_CONTROL = 32,
    BATCH_DELETE_HORIZON = 64,
};

enum batch_codec { CODEC_NONE, CODEC_GZIP, CODEC_SNAPPY, CODEC_LZ4, CODEC_ZSTD, CODEC_COUNT };

struct batch_header {
    int64_t base_offset;
    int32_t batch_length; /* as on the wire; the whole batch has 12 bytes more */
    int32_t leader_epoch;
    int8_t magic;
    uint32_t crc;
    int16_t attributes;
    int32_t last_offset_delta;
    int64_t base_timestamp;
    int64_t max_timestamp;
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t base_sequence;
    int32_t record_count;
};

/* From 61 bytes in one piece. */
void batch_header_parse(const uint8_t bytes[BATCH_HEADER], struct batch_header *ret);
/* False when the slice is shorter than a header. */
bool batch_header_read(struct tide_slice, struct batch_header *ret);
void batch_header_store(const struct batch_header *, uint8_t bytes[BATCH_HEADER]);

static inline uint32_t batch_size(const struct batch_header *h)
{
    return (uint32_t)h->batch_length + BATCH_LENGTH_OVERHEAD;
}
static inline int64_t batch_last_offset(const struct batch_header *h)
{
    return h->base_offset + h->last_offset_delta;
}
static inline enum batch_codec batch_codec_of(const struct batch_header *h)
{
    return (enum batch_codec)(h->attributes & BATCH_CODEC_MASK);
}

/* CRC-32C, piece by piece: start with 0, end with the batch's crc. */
uint32_t batch_crc_update(uint32_t crc, const void *bytes, size_t len);
/* Over a whole batch (from BATCH_ATTRIBUTES on). */
uint32_t batch_crc(struct tide_slice batch);

/* What the walk over an uncompressed batch's records found. */
struct batch_walk {
    int64_t max_timestamp;     /* of the records; -1 with none */
    int32_t bad_record;        /* index of the first bad one, -1 */
    const char *message;       /* static text of what is wrong, NULL */
    int16_t error;             /* Kafka error, 0 */
};
struct batch_walk_limits {
    bool refuse_null_keys;     /* compacted topic */
    bool check_timestamps;
    int64_t timestamp_min;     /* records outside (and not -1) are refused */
    int64_t timestamp_max;
};
/* Checks the framing of every record: lengths, header counts, offset deltas 0, 1, 2, ..., nothing
 * left over. One pass, bounded by the bytes. */
void batch_walk_records(struct tide_slice batch, const struct batch_header *, const struct batch_walk_limits *,
                        struct batch_walk *ret);

/* The same for records that were decompressed: len bytes in one piece. */
void batch_walk_plain(const uint8_t *records, size_t len, const struct batch_header *,
                      const struct batch_walk_limits *, struct batch_walk *ret);

/* One record inside a piece of contiguous memory. */
struct batch_record {
    int64_t offset;
    int64_t timestamp;
    const uint8_t *key;   /* NULL: null */
    int32_t key_len;
    const uint8_t *value; /* NULL: null */
    int32_t value_len;
    int32_t header_count;
    const uint8_t *headers; /* as encoded, headers_len bytes */
    uint32_t headers_len;
};
struct batch_iter {
    const struct batch_header *header;
    const uint8_t *p, *end;
    int32_t index;
    bool bad;
};
/* Over the records of a batch, decompressed and contiguous (`records` behind the header). */
void batch_iter_init(struct batch_iter *, const struct batch_header *, const uint8_t *records, size_t len);
/* False at the end, or when `bad` is set. Never reads outside of what it was given. */
bool batch_iter_next(struct batch_iter *, struct batch_record *ret);

/* Builds a batch for tests, tools and the simulator. */
struct batch_build_record {
    int64_t timestamp;
    const void *key; /* NULL: null */
    int32_t key_len;
    const void *value;
    int32_t value_len;
};
/* Bytes written, or 0 when `cap` does not suffice. Uncompressed; offsets from 0. */
size_t batch_build(uint8_t *to, size_t cap, const struct batch_build_record *records, int32_t count, int64_t producer_id,
                   int16_t producer_epoch, int32_t base_sequence);
/* Puts the right CRC into a batch in one piece of memory. */
void batch_seal(uint8_t *batch, size_t len);

#endif
