/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The settings of a broker and the resolved settings of a topic, as plain values. Written before
 * the cores start, constant afterwards (a topic's settings change by a new view and a letter).
 */
#ifndef TIDEMARK_SETTINGS_H
#define TIDEMARK_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "tidemark/types.h"

enum {
    SETTING_TEXT_MAX = 1024,
    SETTINGS_LISTENERS_MAX = 8,
    LISTENER_NAME_MAX = 64,
    LISTENER_HOST_MAX = 256,
    TIDE_LOG_DIRS_MAX = 16,
    TIDE_VOTERS_MAX = 5,
    TIDE_ALLOW_MAX = 16, /* networks in controller.allow */
    TIDE_LOG_DIR_PATH_MAX = 512, /* a partition's files have room behind it */
};

enum core_idle { CORE_IDLE_SPIN, CORE_IDLE_WAIT, CORE_IDLE_YIELD };
enum core_disk_task_run { CORE_DISK_TASK_RUN_AUTO, CORE_DISK_TASK_RUN_DEFERRED, CORE_DISK_TASK_RUN_COOPERATIVE, CORE_DISK_TASK_RUN_PLAIN };
enum core_disk_polled { CORE_DISK_POLLED_AUTO, CORE_DISK_POLLED_OFF };
enum tcp_segmentation { TCP_SEGMENTATION_AUTO, TCP_SEGMENTATION_OFF };
enum replication_push { REPLICATION_PUSH_PARALLEL, REPLICATION_PUSH_DURABLE };
enum ack_durability { ACK_DURABILITY_DEVICE, ACK_DURABILITY_MEMORY };
enum message_timestamp_type { TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME };
enum append_time_source { APPEND_TIME_CLOCK, APPEND_TIME_ARRIVAL };
enum cleanup_policy { CLEANUP_DELETE, CLEANUP_COMPACT, CLEANUP_COMPACT_DELETE };
enum data_rx_checksum_partial { DATA_RX_CHECKSUM_PARTIAL_DROP, DATA_RX_CHECKSUM_PARTIAL_ACCEPT };
enum data_offload { DATA_OFFLOAD_AUTO, DATA_OFFLOAD_OFF };
enum dpdk_hugepages { DPDK_HUGEPAGES_AUTO, DPDK_HUGEPAGES_ON, DPDK_HUGEPAGES_OFF };

/* What a partition works with: the topic's own values where it has them, the broker's otherwise.
 * Fields and meanings are the rows of config/settings.def that have a topic name and are no texts. */
struct tide_topic_config {
    int64_t cleanup_policy;
    int64_t compression_type;
    int64_t retention_ms;
    int64_t retention_bytes;
    int64_t min_cleanable_ratio; /* in millionths */
    int64_t min_compaction_lag_ms;
    int64_t max_compaction_lag_ms;
    int64_t delete_retention_ms;
    int64_t segment_bytes;
    int64_t segment_ms;
    int64_t index_interval_bytes;
    int64_t max_message_bytes;
    int64_t min_insync_replicas;
    int64_t unclean_leader_election_enable;
    int64_t ack_durability;
    int64_t message_timestamp_type;
    int64_t append_time_source;
    int64_t message_timestamp_before_max_ms;
    int64_t message_timestamp_after_max_ms;
};

struct settings_listener {
    char name[LISTENER_NAME_MAX];
    char host[LISTENER_HOST_MAX]; /* empty: every address of ours; an IPv6 address without brackets */
    uint16_t port;
    uint8_t family; /* 4 or 6: connections to that address of ours only; 0: to both */
    char advertised_host[LISTENER_HOST_MAX];
    uint16_t advertised_port;
};

/* A broker that decides on metadata, as quorum.voters names it. */
struct settings_voter {
    int32_t id;
    uint16_t port;
    char host[LISTENER_HOST_MAX]; /* an IPv6 address without brackets */
};

/* Addresses that begin with the same bits; IPv4 as ::ffff:a.b.c.d. */
struct settings_network {
    uint8_t bytes[16];
    uint8_t prefix_len; /* of 128 */
};

struct tide_settings {
#define INT(field, name, topic, standard, min, max, unit, doc) int64_t field;
#define BOOL(field, name, topic, standard, doc) int64_t field;
#define CHOICE(field, name, topic, standard, words, doc) int64_t field;
#define RATIO(field, name, topic, standard, doc) int64_t field;
#define TEXT(field, name, topic, standard, doc) char field[SETTING_TEXT_MAX];
#define LIVE(field, name, standard, min, max, unit, doc) int64_t field;
#include "config/settings.def"
#undef INT
#undef BOOL
#undef CHOICE
#undef RATIO
#undef TEXT
#undef LIVE
    /* derived */
    uint32_t listener_count;
    struct settings_listener listener[SETTINGS_LISTENERS_MAX];
    uint32_t log_dir_count;
    char log_dir[TIDE_LOG_DIRS_MAX][TIDE_LOG_DIR_PATH_MAX]; /* metadata.log.dir among them */
    uint32_t metadata_log_dir_index;
    bool metadata_only; /* that one is not in log.dirs */
    uint32_t voter_count; /* at least one */
    struct settings_voter voter[TIDE_VOTERS_MAX];
    bool is_voter; /* this broker is one of them */
    char controller_host[LISTENER_HOST_MAX]; /* of controller.listener; empty: no other broker comes here */
    uint16_t controller_port;
    uint32_t allow_count;
    struct settings_network allow[TIDE_ALLOW_MAX];
    uint32_t data_cpu_count; /* of data.cores: core i runs on data_cpu[i], those without one float */
    uint16_t data_cpu[TIDE_CORES_MAX];
    bool rack_aware; /* replica.selector.class sends readers to a replica in their rack */
    uint64_t given[4]; /* bit per row: the file has it */
};

#endif
