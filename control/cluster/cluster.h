/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata state machine: what the cluster has agreed on. Pure and deterministic: the same commands at the same
 * indexes give the same state, the same results and the same hash on every broker. cluster_apply() reads no clock,
 * draws no random number and does no I/O; times, ids and seeds come inside the command.
 *
 * A command is judged when it is applied, against the state as it is then. What is refused changes nothing and gives a
 * Kafka error code. There is no state ahead of the log.
 *
 * Every change of a partition goes through one procedure (partition.c), whatever command asks for it.
 *
 * Two things are not judged here, because neighbouring releases would judge them differently: whether a setting's name
 * is known and its value in range (cluster_command_check(), asked by the proposer), and authorization.
 *
 * Owner: the control thread.
 *
 * Invariants (cluster_check):
 *   K1  topic names and ids are unique; topics are sorted by name, brokers by id.
 *   K2  indexes of commands grow; controller epochs grow; nothing in the state carries a greater index.
 *   I5  leader in ISR or -1; ISR and ELR within the replicas, no duplicates, disjoint; adding and removing within the replicas.
 *   I6  with ELR off, no ISR is empty.
 *   I8  a broker that is fenced, in shutdown or gone leads nothing; a suspect one leads only what nobody else may lead.
 *   K3  what is derived (counts of a broker, leaderless partitions) equals what a walk finds.
 *   K4  no broker hosts more than TIDE_PARTITIONS_MAX replicas.
 * Invariants of a step, kept by the procedure (partition_change):
 *   I7  epochs of a partition never fall; another leader means leader epoch + 1, any change partition epoch + 1.
 *   I9  nobody enters an ISR with another broker epoch than its registered one.
 *   I10 a clean election takes a leader only from the ISR, or from the ELR while the ISR is empty.
 *   I13 producer ids below next_producer_id are never handed out again.
 */
#ifndef TIDEMARK_CONTROL_CLUSTER_CLUSTER_H
#define TIDEMARK_CONTROL_CLUSTER_CLUSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster/command.h"

/* A replica's directory that is none: its broker has not (all) that was there, and leads only once it has been filled
 * again and assigned to a directory. */
extern const struct tide_uuid cluster_directory_lost;

struct cluster_partition {
    int32_t leader; /* -1 none */
    int32_t leader_epoch;
    int32_t partition_epoch;
    bool recovering;       /* the leader was elected uncleanly and has not yet reported its log ready */
    int32_t unclean_epoch; /* the newest leader epoch that began so, -1: none. Who was away then is to be cut below what it knows as committed */
    int32_t last_known_elr; /* who led last, while ISR and ELR are empty; -1 none */
    uint32_t replica_count;
    uint32_t isr_count;
    uint32_t elr_count;
    uint32_t adding_count;
    uint32_t removing_count;
    int32_t replicas[TIDE_REPLICAS_MAX]; /* in order of preference */
    int32_t isr[TIDE_REPLICAS_MAX];
    int32_t elr[TIDE_REPLICAS_MAX];      /* not in sync, yet holding everything acknowledged (KIP-966) */
    int32_t adding[TIDE_REPLICAS_MAX];   /* of a reassignment on its way */
    int32_t removing[TIDE_REPLICAS_MAX];
    struct tide_uuid directories[TIDE_REPLICAS_MAX]; /* of each replica; zero: not known yet */
    uint64_t changed; /* derived: index of the last command that changed it */
};

struct cluster_topic {
    struct tide_uuid id;
    char name[TIDE_TOPIC_NAME_MAX + 1];
    uint32_t partition_count;
    struct cluster_partition *partitions;
    uint32_t config_count;
    struct cluster_config *configs; /* sorted by name */
    uint64_t changed;         /* derived: of any of its partitions or settings, or its creation */
    uint64_t configs_changed; /* derived */
};

struct cluster;
struct cluster *cluster_create(const struct cluster_memory *); /* NULL without memory */
void cluster_destroy(struct cluster *);

/* Judges and applies. `index` is greater than that of every command before. TIDE_OK: done, see the result (the caller
 * frees it). TIDE_FULL: no memory; nothing has changed, not even the index. */
TIDE_MUST_USE enum tide_status cluster_apply(struct cluster *, uint64_t index, const struct cluster_command *, struct cluster_result *ret);
/* Decodes first. TIDE_BAD: the bytes are no command that this release knows; a node that finds such in the log stops. */
TIDE_MUST_USE enum tide_status cluster_apply_bytes(struct cluster *, uint64_t index, const uint8_t *bytes, size_t len,
                                                   struct cluster_result *ret);
/* What the proposer judges, with the tables of its own release and without the state: settings of CREATE_TOPIC,
 * ALTER_CONFIGS and INIT. False: refused, with error and message (and items for ALTER_CONFIGS; one refused resource does
 * not hold up the others: the command is then proposed without it). */
bool cluster_command_check(const struct cluster_command *, struct cluster_result *ret);

/* ---- what it is now ------------------------------------------------------------------------------------------ */

uint64_t cluster_index(const struct cluster *); /* of the last command, 0: none */
const struct tide_uuid *cluster_id(const struct cluster *);
int64_t cluster_created_ms(const struct cluster *);
int32_t cluster_controller(const struct cluster *); /* node, -1 none yet */
uint64_t cluster_controller_epoch(const struct cluster *);

uint32_t cluster_topic_count(const struct cluster *);
const struct cluster_topic *cluster_topic_at(const struct cluster *, uint32_t i);
const struct cluster_topic *cluster_find_topic(const struct cluster *, const char *name);
const struct cluster_topic *cluster_find_topic_by_id(const struct cluster *, const struct tide_uuid *);
/* NULL: no such topic or partition. */
const struct cluster_partition *cluster_find_partition(const struct cluster *, const struct tide_uuid *topic_id, int32_t partition);
uint32_t cluster_partition_count(const struct cluster *); /* of all topics */
uint32_t cluster_leaderless_count(const struct cluster *);
bool cluster_topic_name_is_legal(const char *name, size_t len);

uint32_t cluster_broker_count(const struct cluster *);
const struct cluster_broker *cluster_broker_at(const struct cluster *, uint32_t i);
const struct cluster_broker *cluster_find_broker(const struct cluster *, int32_t id);
/* Registered, not fenced, not in controlled shutdown. */
bool cluster_broker_is_active(const struct cluster_broker *);
/* Active, and the directory of its replica is online: it may lead the partition, and join those in sync. */
bool cluster_can_lead(const struct cluster *, const struct cluster_partition *, int32_t broker);

/* Settings. The text as it was set, or NULL. */
const char *cluster_topic_config(const struct cluster_topic *, const char *name);
/* -1: the default of all brokers. *ret_configs stays true until the next command. */
uint32_t cluster_broker_configs(const struct cluster *, int32_t broker, const struct cluster_config **ret_configs);
const char *cluster_broker_config(const struct cluster *, int32_t broker, const char *name);
/* What the state machine itself goes by: the topic's value, else the default of all brokers, else Kafka's. A broker's own
 * value and file do not count, and cannot be set for these. Leaders must go by the same. */
uint32_t cluster_min_insync(const struct cluster *, const struct cluster_topic *, uint32_t replica_count); /* at most replica_count */
bool cluster_unclean_allowed(const struct cluster *, const struct cluster_topic *);
bool cluster_acks_from_memory(const struct cluster *, const struct cluster_topic *); /* ack.durability=memory */

/* Features: the level that is finalized, 0 when it is off or unknown. */
uint32_t cluster_feature_count(const struct cluster *);
int16_t cluster_feature_at(const struct cluster *, uint32_t i, const char **ret_name);
int16_t cluster_feature(const struct cluster *, const char *name);
/* What this release knows: for registrations and ApiVersions. NULL behind the last. */
const struct cluster_feature_range *cluster_known_feature(uint32_t i);
#define CLUSTER_FEATURE_METADATA "metadata.version"
/* 1: the consumer protocol (KIP-848) is served. New clusters are born so; those from before INIT could say it are at 0 until somebody
 * raises it. As in Kafka a downgrade asks for no group: its members are refused, and their sessions end. */
#define CLUSTER_FEATURE_GROUP TIDE_FEATURE_GROUP
#define CLUSTER_FEATURE_ELR "eligible.leader.replicas.version"

int64_t cluster_next_producer_id(const struct cluster *);

/* ---- what has changed ------------------------------------------------------------------------------------------ */

enum cluster_change_kind {
    CLUSTER_CHANGED_CLUSTER,         /* controller, features, the cluster's id */
    CLUSTER_CHANGED_BROKER,          /* registered, or its registration or flags changed */
    CLUSTER_CHANGED_BROKERS_REMOVED, /* one or several are gone: look up those that you hold */
    CLUSTER_CHANGED_BROKER_CONFIGS,  /* of any broker, or the default */
    CLUSTER_CHANGED_TOPICS_REMOVED,  /* one or several are gone: look up those that you hold, by id */
    CLUSTER_CHANGED_TOPIC_CONFIGS,
    CLUSTER_CHANGED_PARTITION,       /* new or changed; each of a new topic comes on its own */
    CLUSTER_CHANGED_END,
};

struct cluster_change {
    enum cluster_change_kind kind;
    const struct cluster_broker *broker;
    const struct cluster_topic *topic;
    uint32_t partition;
};

/* A walk over what changed after index `since`. Any number of readers, each with an index of its own; no command may be
 * applied during a walk. After a restore everything has changed. */
struct cluster_feed {
    uint64_t since;
    uint32_t stage, at, partition;
};
static inline struct cluster_feed cluster_feed_since(uint64_t index) { return (struct cluster_feed){.since = index}; }
/* False: that was all (kind is CLUSTER_CHANGED_END). */
bool cluster_feed_next(const struct cluster *, struct cluster_feed *, struct cluster_change *ret);

/* ---- as bytes ---------------------------------------------------------------------------------------------------- */

size_t cluster_snapshot_size(const struct cluster *);
/* TIDE_FULL: cap is less than cluster_snapshot_size(). */
TIDE_MUST_USE enum tide_status cluster_snapshot_write(const struct cluster *, uint8_t *to, size_t cap, size_t *ret_len);
/* Becomes what the snapshot says. Written again it gives the same bytes. TIDE_BAD: it is damaged, of an unknown format, or
 * breaks an invariant. TIDE_FULL: no memory. The state is as it was after both. */
TIDE_MUST_USE enum tide_status cluster_restore(struct cluster *, const uint8_t *bytes, size_t len);
/* Of everything that is in a snapshot. */
uint64_t cluster_hash(const struct cluster *);

void cluster_check(const struct cluster *);

#endif
