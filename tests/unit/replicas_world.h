/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replicas on control's side, over a real cluster of three brokers of which this is the first. The cores, the helpers, the
 * clock and the road to the quorum are this file's.
 */
#ifndef TIDEMARK_TESTS_REPLICAS_WORLD_H
#define TIDEMARK_TESTS_REPLICAS_WORLD_H

#include "unit.h"

#include "control/edge/files.h"
#include "control/internal.h"
#include "control/node/node.h"

enum { BROKERS = 3 };

struct world {
    struct control c;
    struct tide_publication publication;
    struct post_office office;
    uint64_t index;
    struct tide_mail *letter; /* the last one to a core */
    struct mail_role role;    /* that its core took last */
    struct tide_job *job;
    int open_result;
    enum ack_durability durability;
    bool absent; /* there is no directory of the partition */
    bool replaced; /* the data directory is another one than the cluster knows */
    bool ends_early; /* before what was known to be committed */
    int64_t high_watermark; /* that the partition was made with */
    unsigned made; /* partitions that are there */
    unsigned asked; /* times that another leader was wanted */
    int32_t asked_epoch;
    unsigned assigned; /* times that another directory was wanted */
    struct tide_uuid directory;
    int32_t assigned_epoch;
    bool repairs; /* the partition made last */
    unsigned repaired;
    unsigned dir_count;
    bool placed_aside[2];  /* nothing new is placed in that directory */
    int probe_result;
    struct member member;
    struct tide_settings settings;
};
extern struct world world;

/* Of a group of tests, and of each of them. */
int world_open(void **state);
int world_setup(void **state);
int world_teardown(void **state);

/* A topic of one partition, led by the first of them. */
void world_make(uint32_t count, const int32_t *replicas);
/* Until nothing waits but time, or an answer. */
void world_turn(void);
void world_wait_ms(uint64_t ms);
void world_fail_log(void);
/* As control looks, and as the controller does what it hears. */
struct node_health world_look(void);
void world_with_directories(unsigned count);
/* Of the replica. */
enum replica_state world_state(void);

struct cluster *world_cluster(void);
/* A command that the quorum has committed: the error that it comes to. */
int16_t world_give(const struct cluster_command *);
void world_fence(int32_t id, bool fenced);
struct tide_uuid world_process_of(int32_t id, uint8_t life);
/* A process of it registers; every life but the first follows a kill. */
void world_join(int32_t id, uint8_t life);
/* As the cluster has it. */
const struct cluster_partition *world_partition(void);
/* Is it known to the cluster that ours is lost? */
bool world_is_lost(void);
bool world_is_in_sync(int32_t id);
/* What the quorum says to the wish that was asked for last. */
void world_decide(void);
/* Broker `id` says in which directory its replica is. */
int16_t world_put(int32_t id, const struct tide_uuid *directory);
/* And to the last wish for a directory. */
void world_decide_place(void);
/* The leader proposes an ISR. */
void world_want_isr(int32_t leader, const int32_t *isr, uint32_t count);

#endif
