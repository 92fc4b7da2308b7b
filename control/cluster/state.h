/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state behind cluster.h, shared by the files of this folder.
 */
#ifndef TIDEMARK_CONTROL_CLUSTER_STATE_H
#define TIDEMARK_CONTROL_CLUSTER_STATE_H

#include "cluster/cluster.h"
#include "kafka/errors.h"
#include "tidemark/assert.h"

/* The last result of one requester. */
struct cluster_slot {
    uint64_t requester; /* 0: empty */
    uint64_t sequence;
    uint64_t index;
    uint32_t len;
    uint8_t *bytes; /* of the result */
};

struct broker_entry {
    struct cluster_broker b;
    struct cluster_slot slot;
};

/* Settings of one broker, or of all of them (-1). Never empty. */
struct broker_configs {
    int32_t broker;
    uint32_t count;
    struct cluster_config *configs; /* sorted by name */
};

struct cluster {
    const struct cluster_memory *memory;
    uint64_t index;
    struct tide_uuid id;
    int64_t created_ms;
    int32_t controller;
    uint64_t controller_epoch;
    uint32_t feature_count;
    struct cluster_feature_level features[CLUSTER_FEATURES_MAX]; /* sorted by name; levels > 0 */
    struct broker_entry **brokers;                       /* sorted by id */
    uint32_t broker_count, broker_room;
    struct cluster_topic **topics; /* sorted by name */
    struct cluster_topic **by_id;  /* the same, sorted by id */
    uint32_t topic_count, topic_room;
    struct broker_configs *configs; /* sorted by broker */
    uint32_t config_count;
    int64_t next_producer_id;
    int32_t producer_id_owner; /* of the last block, -1 none */
    int64_t producer_id_owner_epoch;
    struct cluster_slot slots[CLUSTER_CLIENT_SLOTS]; /* oldest first */
    uint32_t slot_count;

    /* Derived; the stamps are indexes of commands. */
    uint64_t now; /* of the command that is being applied */
    uint32_t partition_count, leaderless_count;
    uint64_t cluster_changed, brokers_removed, topics_removed, configs_changed, topic_configs_changed, partitions_changed, brokers_changed;
};

/* ---- memory (cluster.c) */
void *cluster_take(const struct cluster_memory *, size_t size); /* zeroed */
void cluster_give(const struct cluster_memory *, void *block);
bool cluster_grow(const struct cluster_memory *, void **list, uint32_t *room, uint32_t count, size_t size);

/* ---- results (result.c) */
/* Sets error and message; the printf attribute keeps the format honest. */
void cluster_refuse(struct cluster_result *, int16_t error, const char *format, ...) __attribute__((format(printf, 3, 4)));
void cluster_refuse_item(struct cluster_item *, int16_t error, const char *format, ...) __attribute__((format(printf, 3, 4)));
bool cluster_result_reserve(struct cluster_result *, const struct cluster_memory *, uint32_t items);
void cluster_item_show(struct cluster_item *, const struct cluster_topic *, uint32_t partition);
/* Longest form of a result with so many items. */
size_t cluster_result_bound(uint32_t items);

/* ---- the procedure for partitions (partition.c) */
enum partition_election { ELECT_ONLINE, ELECT_PREFERRED, ELECT_UNCLEAN };

/* What a partition shall become; wish_of() fills in what it is. */
struct partition_wish {
    enum partition_election election;
    uint32_t isr_count, replica_count, adding_count, removing_count;
    int32_t isr[TIDE_REPLICAS_MAX];
    int32_t replicas[TIDE_REPLICAS_MAX];
    int32_t adding[TIDE_REPLICAS_MAX];
    int32_t removing[TIDE_REPLICAS_MAX];
    bool recovering;
    int32_t unclean;  /* broker that may have lost data: it leaves the ELR; -1 none */
    int32_t excluded; /* broker that may not lead; -1 none */
    int32_t moved;    /* broker whose replica is in another directory now; -1 none */
    struct tide_uuid moved_to;
};
void wish_of(struct partition_wish *, const struct cluster_partition *);
void wish_without(struct partition_wish *, int32_t broker); /* in the ISR */
/* What it would be. True: that is a change. */
bool partition_judge(const struct cluster *, const struct cluster_topic *, const struct cluster_partition *, const struct partition_wish *,
                     struct cluster_partition *ret_next);
/* True: it changed. */
bool partition_change(struct cluster *, struct cluster_topic *, uint32_t partition, const struct partition_wish *);
/* Counts of a new partition (sign 1) or one that goes (-1). */
void partition_count_in(struct cluster *, const struct cluster_partition *, int sign);
bool partition_directory_is_online(const struct cluster *, const struct cluster_partition *, int32_t broker);
bool ids_have(const int32_t *ids, uint32_t count, int32_t id);
uint32_t ids_remove(int32_t *ids, uint32_t count, int32_t id); /* the new count */

/* ---- looking (cluster.c) */
void cluster_empty(struct cluster *); /* gives back everything it holds, not itself */
uint32_t cluster_topic_place(const struct cluster *, const char *name, bool *ret_found);
uint32_t cluster_id_place(const struct cluster *, const struct tide_uuid *, bool *ret_found); /* in by_id */
struct broker_entry *cluster_entry(const struct cluster *, int32_t id); /* NULL */
uint32_t cluster_broker_place(const struct cluster *, int32_t id, bool *ret_found);
struct cluster_topic *cluster_topic_of(const struct cluster *, const struct tide_uuid *id); /* NULL */
struct cluster_partition *cluster_partition_of(const struct cluster *, const struct tide_uuid *id, int32_t partition,
                                               struct cluster_topic **ret_topic);
bool directory_is_reserved(const struct tide_uuid *);
bool elr_is_on(const struct cluster *);
bool feature_is_supported(const struct cluster_broker *, const char *name, int16_t level);
/* STALE_BROKER_EPOCH unless the broker is registered with that epoch. */
struct broker_entry *cluster_judge_epoch(const struct cluster *, int32_t id, int64_t epoch, struct cluster_result *);
/* Calls `change` for every partition. */
typedef bool partition_visit(struct cluster *, struct cluster_topic *, uint32_t partition, void *arg);
uint32_t cluster_visit(struct cluster *, partition_visit *, void *arg); /* how many said true */

/* ---- families: each judges and applies one kind. TIDE_FULL: nothing has changed. */
#define FAMILY(name) enum tide_status name(struct cluster *, const struct cluster_command *, struct cluster_result *)
FAMILY(apply_init);
FAMILY(apply_controller_epoch);
FAMILY(apply_update_features);
FAMILY(apply_register_broker);
FAMILY(apply_fence_broker);
FAMILY(apply_unfence_broker);
FAMILY(apply_begin_shutdown);
FAMILY(apply_set_data_suspect);
FAMILY(apply_dirs_offline);
FAMILY(apply_unregister_broker);
FAMILY(apply_create_topic);
FAMILY(apply_delete_topic);
FAMILY(apply_create_partitions);
FAMILY(apply_alter_partition);
FAMILY(apply_elect_leaders);
FAMILY(apply_alter_reassignments);
FAMILY(apply_assign_dirs);
FAMILY(apply_move_leader);
FAMILY(apply_balance_leaders);
FAMILY(apply_unclean_sweep);
FAMILY(apply_alter_configs);
FAMILY(apply_producer_id_block);
#undef FAMILY

/* ---- topics (topics.c) */
void topic_free(const struct cluster_memory *, struct cluster_topic *);
void topic_link(struct cluster *, struct cluster_topic *); /* room is there */

/* ---- settings (configs.c) */
enum tide_status configs_set_defaults(struct cluster *, const struct cluster_config *, uint32_t count); /* of all brokers; there are none yet */
bool configs_are_legal(const struct cluster_config *, uint32_t count, struct cluster_result *);
struct cluster_config *configs_copy_sorted(const struct cluster_memory *, const struct cluster_config *, uint32_t count);

/* ---- placement (placement.c) */
/* Replicas for `count` partitions from number `first` on; factor is at most the number of unfenced brokers. */
enum tide_status placement_choose(const struct cluster *, uint32_t seed, uint32_t first, uint32_t count, uint32_t factor,
                                  struct cluster_assignment *ret);

/* ---- checking (check.c) */
const char *cluster_fault(const struct cluster *); /* the first broken invariant, NULL */

#endif
