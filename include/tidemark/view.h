/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The committed cluster as the cores see it: built by control, immutable, replaced whole.
 *
 * A core loads the pointer once at the start of its turn, uses it within the turn only, and
 * reports a quiet point at the end of the turn (rte_rcu_qsbr). Control frees an old view after
 * every core has passed one. A stale view routes by yesterday's truth for one turn; the leader
 * epoch that goes with every append makes that harmless.
 *
 * Order before image: a partition is adopted by its home core before a view that names it is
 * published, and released after every core has passed a quiet point without it.
 */
#ifndef TIDEMARK_VIEW_H
#define TIDEMARK_VIEW_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "tidemark/settings.h"
#include "tidemark/types.h"

struct partition;
struct rte_rcu_qsbr;

struct view_partition {
    int32_t leader; /* broker id, -1 none */
    int32_t leader_epoch;
    int32_t partition_epoch;
    uint16_t replica_count;
    uint16_t isr_count;
    const int32_t *replicas;
    const int32_t *isr;
    struct partition *local; /* our replica, NULL if there is none */
    uint32_t home_core;      /* of local */
    bool leader_throttled;   /* we feed who is not in sync at leader_throttle_rate, while we lead */
    bool follower_throttled; /* our replica is filled at follower_throttle_rate, while it is not in sync */
};

struct view_topic {
    struct tide_uuid id;
    char name[TIDE_TOPIC_NAME_MAX + 1];
    uint16_t name_len;
    bool internal;
    uint32_t partition_count;
    const struct view_partition *partitions; /* index = partition number */
    struct tide_topic_config config;
};

enum { VIEW_HOST_MAX = 256, VIEW_LISTENER_NAME_MAX = 64 };
struct view_endpoint {
    char host[VIEW_HOST_MAX];
    uint16_t port;
};

struct view_broker {
    int32_t id;
    bool fenced;
    int64_t epoch;                /* of its registration; -1 unknown */
    struct tide_uuid incarnation; /* of its process; zero: unknown */
    struct tide_addr replication_addr;
    uint16_t replication_port;    /* 0: it takes no peer streams */
    uint32_t core_count;          /* its data cores; 0 unknown */
    char rack[TIDE_TOPIC_NAME_MAX + 1]; /* empty: none */
    struct view_endpoint endpoints[TIDE_LISTENERS_MAX]; /* by listener number; port 0: lacks it */
};

/* A feature of the protocol between brokers: what this release can, and the level that the cluster has agreed on. */
enum { VIEW_FEATURE_NAME_MAX = 64 };
struct view_feature {
    char name[VIEW_FEATURE_NAME_MAX];
    int16_t min, max;
    int16_t level; /* 0: off */
};

struct tide_view {
    uint64_t version;
    char cluster_id[TIDE_UUID_TEXT];
    int32_t self; /* our broker id */
    int32_t controller;
    bool takes_clients; /* this broker has registered since it started, this view knows (an older one would tell clients what is gone), and it has not left again */
    int64_t cluster_index; /* of the last command that it contains */
    int64_t leader_throttle_rate, follower_throttle_rate; /* bytes per second of this broker; INT64_MAX: none */
    uint32_t feature_count;
    const struct view_feature *features;
    uint32_t broker_count;
    const struct view_broker *brokers; /* sorted by id */
    uint32_t topic_count;
    const struct view_topic *topics; /* sorted by name */
    uint32_t hash_mask;
    const uint32_t *by_name; /* open addressing: topic number + 1, 0 = empty */
    const uint32_t *by_id;
};

/* The home core of a partition on a broker with so many cores: a function of what it is, never stored. */
uint32_t tide_home_core(const struct tide_uuid *topic_id, int32_t partition, uint32_t core_count);

/* NULL when there is no such topic. The result lives as long as the view. */
const struct view_topic *tide_view_topic(const struct tide_view *, const char *name, uint32_t len);
const struct view_topic *tide_view_topic_by_id(const struct tide_view *, const struct tide_uuid *);
/* NULL: not registered. */
const struct view_broker *tide_view_broker(const struct tide_view *, int32_t id);
/* Can a client that came in by this listener reach the broker? Registered, not fenced, and with the listener. */
bool tide_view_reaches(const struct tide_view *, int32_t id, uint32_t listener);
/* The level of a feature; 0: off, or unknown. */
int16_t tide_view_feature(const struct tide_view *, const char *name);
/* NULL when the topic has no such partition. */
const struct view_partition *tide_view_partition(const struct view_topic *, int32_t index);

/* [control] Fills the two tables; `slots` is a power of two of at least twice topic_count. */
void tide_view_index(const struct view_topic *topics, uint32_t topic_count, uint32_t slots,
                     uint32_t *by_name, uint32_t *by_id);

/* Where the current view is found. Release by control, acquire by cores. */
struct tide_publication {
    _Atomic(const struct tide_view *) now;
    struct rte_rcu_qsbr *qsbr; /* one reader id per core */
    /* Lease: no core acts as leader once its turn's time has passed this (design 9). */
    _Atomic uint64_t lease_until_ns;
};

#endif
