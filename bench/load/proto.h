/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few questions that a load asks, over the codec of dataplane/kafka: written in the highest version that both sides know,
 * answers read into plain structs. Every answer is foreign: false means that it is malformed, and nothing of it is used.
 */
#ifndef TIDEMARK_BENCH_LOAD_PROTO_H
#define TIDEMARK_BENCH_LOAD_PROTO_H

#include "kafka/messages.h"
#include "kafka/wire.h"

enum { PROTO_APIS = 64, PROTO_BROKERS_MAX = 64, PROTO_HOST_MAX = 256, PROTO_PARTITIONS_MAX = 4096 };

/* The version to use of an API by its key; -1: none that both know. */
struct proto_versions {
    int16_t of[PROTO_APIS];
};

struct proto_broker {
    int32_t id;
    uint16_t port;
    char host[PROTO_HOST_MAX];
};

struct proto_metadata {
    int16_t topic_error;
    struct tide_uuid topic_id;
    unsigned broker_count;
    struct proto_broker brokers[PROTO_BROKERS_MAX];
    unsigned partition_count;              /* of the topic; those beyond the array are left out */
    int32_t leaders[PROTO_PARTITIONS_MAX]; /* by partition; -1: none */
};

struct proto_topic {
    const char *name;
    uint32_t name_len;
    struct tide_uuid id;
};

/* Before the body of every question. `version` is of->of[api]. */
void proto_begin(struct wire_writer *, struct rte_mempool *, int16_t api, int16_t version, int32_t correlation);
void proto_put_api_versions(struct wire_writer *);
void proto_put_metadata(struct wire_writer *, int16_t v, const struct proto_topic *);
/* configs: "name=value". replication 0: the broker's default, for which a version below 4 has no word: then 1. */
void proto_put_create_topic(struct wire_writer *, int16_t v, const struct proto_topic *, uint32_t partitions, uint32_t replication,
                            const char *const *configs, unsigned config_count);
void proto_put_init_producer(struct wire_writer *, int16_t v);
/* timestamp -1: the end, -2: the beginning. */
void proto_put_list_offsets(struct wire_writer *, int16_t v, const struct proto_topic *, int32_t partition, int64_t timestamp);
void proto_put_produce(struct wire_writer *, int16_t v, const struct proto_topic *, int32_t partition, int16_t acks, int32_t timeout_ms, struct tide_rope *batch);
struct proto_fetch {
    int32_t partition;
    int64_t offset;
    int32_t wait_ms, min_bytes, max_bytes;
};
void proto_put_fetch(struct wire_writer *, int16_t v, const struct proto_topic *, const struct proto_fetch *);

bool proto_read_api_versions(struct wire_cursor *, struct proto_versions *ret);
bool proto_read_metadata(struct wire_cursor *, int16_t v, const struct proto_topic *, struct proto_metadata *ret);
bool proto_read_create_topic(struct wire_cursor *, int16_t v, int16_t *ret_error);
bool proto_read_init_producer(struct wire_cursor *, int16_t v, int16_t *ret_error, int64_t *ret_id, int16_t *ret_epoch);
bool proto_read_list_offsets(struct wire_cursor *, int16_t v, int16_t *ret_error, int64_t *ret_offset);
bool proto_read_produce(struct wire_cursor *, int16_t v, int16_t *ret_error);
/* The records lie where the answer lies. */
bool proto_read_fetch(struct wire_cursor *, int16_t v, int16_t *ret_error, struct tide_slice *ret_records);

#endif
