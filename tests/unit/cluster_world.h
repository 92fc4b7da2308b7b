/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cluster for tests: commands at growing indexes, every result judged, the invariants asked after each, and the steps
 * between (I7, I9, I10, I13) compared with a copy of the state before.
 */
#ifndef TIDEMARK_TESTS_CLUSTER_WORLD_H
#define TIDEMARK_TESTS_CLUSTER_WORLD_H

#include "unit.h"

#include "cluster/cluster.h"
#include "kafka/errors.h"
#include "tidemark/random.h"

extern struct cluster *c;
extern struct cluster_result r; /* of the last command; freed by the next */

/* Memory that can run out: world_fail_at counts down, the call that brings it to 0 fails. */
extern const struct cluster_memory world_memory;
extern uint64_t world_fail_at;  /* 0: never */
extern uint64_t world_taken;    /* blocks that are out */

int world_setup(void **state);  /* brokers 1, 2 and 5, active, in a cluster with ELR */
int world_teardown(void **state);
void world_reset(void);         /* an empty cluster with an id */

/* Applies at the next index and checks. The whole command's error. */
int16_t world_apply(const struct cluster_command *);
int16_t world_item_error(void); /* of the first item; the command's if it has one */

struct cluster_command registration(int32_t id, uint8_t incarnation);
int16_t register_broker(int32_t id, uint8_t incarnation, int64_t previous_epoch);
int16_t broker_command(enum cluster_command_kind, int32_t id, bool on);
void activate(int32_t id);
void kill_and_restart(int32_t id, bool clean); /* registered again, fenced */

/* A topic with assignment rows as "1,2,5;2,5,1"; settings as "name=value;name=value". */
int16_t make_topic(const char *name, const char *rows, const char *configs);
struct tide_uuid topic_uuid(const char *name);
const struct cluster_partition *partition_of(const char *topic, int32_t partition);
int16_t set_config(const char *topic, const char *name, const char *value); /* NULL value: delete; NULL topic: all brokers */
/* The leader asks for another ISR, "1,2", with the epochs that stand. */
int16_t alter_isr(const char *topic, int32_t partition, const char *isr);
int16_t reassign(const char *topic, int32_t partition, const char *replicas); /* NULL: cancel */
int16_t elect(const char *topic, int32_t partition, enum cluster_election);

/* Some command, often a meaningful one; its lists are good until the next. */
void random_command(struct tide_random *, struct cluster_command *);

uint32_t parse_ids(const char *text, int32_t *ids);
/* "leader/epoch [isr] elr[] replicas[] +[] -[]": whatever is empty is left out; "*" behind the leader: recovering,
 * "~n": last known ELR. */
const char *picture(const struct cluster_partition *);
#define expect_picture(topic, partition, text) assert_string_equal(picture(partition_of(topic, partition)), text)

#endif
