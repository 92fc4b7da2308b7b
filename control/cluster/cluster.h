/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata state machine: what the cluster has agreed on. Pure and deterministic: the same
 * commands in the same order give the same state on every broker, and cluster_apply() neither
 * reads a clock nor does I/O.
 *
 * Commands travel and are stored as versioned bytes. They are evaluated when they are applied;
 * what is refused changes nothing and gives a Kafka error code.
 *
 * Owner: the control thread.
 *
 * Invariants (cluster_check):
 *   K1  topic names and ids are unique, topics are sorted by name.
 *   K2  the ISR is a non-empty subset of the replicas; the leader is -1 or in the ISR.
 *   K3  leader and partition epochs never fall; a partition's start at 0.
 *   K4  producer ids below next_producer_id are never handed out again.
 */
#ifndef TIDEMARK_CONTROL_CLUSTER_CLUSTER_H
#define TIDEMARK_CONTROL_CLUSTER_CLUSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark/status.h"
#include "tidemark/types.h"

enum cluster_limit {
    CLUSTER_CONFIGS_MAX = 32,      /* settings of one topic */
    CLUSTER_CONFIG_NAME_MAX = 64,
    CLUSTER_CONFIG_VALUE_MAX = 256,
    CLUSTER_PARTITIONS_MAX = 4096, /* of one topic */
    CLUSTER_HOST_MAX = 256,
    CLUSTER_COMMAND_MAX = 512 * 1024,
};

struct cluster_config {
    char name[CLUSTER_CONFIG_NAME_MAX];
    char value[CLUSTER_CONFIG_VALUE_MAX];
};

struct cluster_partition {
    int32_t leader; /* -1 none */
    int32_t leader_epoch;
    int32_t partition_epoch;
    uint32_t replica_count;
    uint32_t isr_count;
    int32_t replicas[TIDE_REPLICAS_MAX];
    int32_t isr[TIDE_REPLICAS_MAX];
};

struct cluster_topic {
    struct tide_uuid id;
    char name[TIDE_TOPIC_NAME_MAX + 1];
    uint32_t partition_count;
    struct cluster_partition *partitions;
    uint32_t config_count;
    struct cluster_config *configs;
};

struct cluster_endpoint {
    char host[CLUSTER_HOST_MAX];
    uint16_t port;
};

struct cluster_broker {
    int32_t id;
    int64_t epoch; /* new at each registration */
    struct tide_uuid incarnation;
    char rack[TIDE_TOPIC_NAME_MAX + 1];
    uint32_t endpoint_count;
    struct cluster_endpoint endpoints[TIDE_LISTENERS_MAX]; /* by listener number */
};

enum cluster_command_kind {
    CLUSTER_INIT = 1,
    CLUSTER_REGISTER_BROKER,
    CLUSTER_CREATE_TOPIC,
    CLUSTER_DELETE_TOPIC,
    CLUSTER_ALLOCATE_PRODUCER_IDS,
    CLUSTER_COMMAND_KIND_COUNT
};

struct cluster_command {
    enum cluster_command_kind kind;
    union {
        struct tide_uuid init; /* the cluster's id */
        struct cluster_broker broker;
        struct {
            struct tide_uuid id; /* handed in, so that apply stays deterministic */
            char name[TIDE_TOPIC_NAME_MAX + 1];
            uint32_t partition_count;
            uint32_t replication_factor;
            uint32_t placement_seed; /* where round robin starts */
            /* Manual assignment: partition_count rows of replication_factor ids, NULL: ours. */
            const int32_t *assignment;
            uint32_t config_count;
            const struct cluster_config *configs;
        } create_topic;
        struct tide_uuid delete_topic;
        struct {
            int32_t broker;
            uint32_t count;
        } producer_ids;
    };
};

struct cluster_result {
    int16_t error; /* Kafka's, 0 */
    const char *message; /* static text or NULL */
    int64_t first_producer_id;
    int64_t broker_epoch;
};

struct cluster;
struct cluster *cluster_create(void); /* NULL without memory */
void cluster_destroy(struct cluster *);

/* TIDE_OK: evaluated, see result. TIDE_FULL: no memory, nothing changed. */
TIDE_MUST_USE enum tide_status cluster_apply(struct cluster *, const struct cluster_command *, struct cluster_result *ret);
/* Is it allowed now? The error that apply would give; changes nothing. */
int16_t cluster_validate(const struct cluster *, const struct cluster_command *, const char **ret_message);

TIDE_MUST_USE enum tide_status cluster_command_encode(const struct cluster_command *, uint8_t *to, size_t cap, size_t *ret_len);
/* Decodes and applies. TIDE_BAD: the bytes are no command. */
TIDE_MUST_USE enum tide_status cluster_apply_bytes(struct cluster *, const uint8_t *bytes, size_t len, struct cluster_result *ret);

const struct tide_uuid *cluster_id(const struct cluster *);
uint32_t cluster_topic_count(const struct cluster *);
const struct cluster_topic *cluster_topic_at(const struct cluster *, uint32_t i);
const struct cluster_topic *cluster_find_topic(const struct cluster *, const char *name);
const struct cluster_topic *cluster_find_topic_by_id(const struct cluster *, const struct tide_uuid *);
uint32_t cluster_broker_count(const struct cluster *);
const struct cluster_broker *cluster_broker_at(const struct cluster *, uint32_t i);
const char *cluster_topic_config(const struct cluster_topic *, const char *name); /* NULL: not set */
int64_t cluster_next_producer_id(const struct cluster *);
bool cluster_topic_name_is_legal(const char *name, size_t len);
void cluster_check(const struct cluster *);

#endif
