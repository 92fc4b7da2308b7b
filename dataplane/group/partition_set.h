/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sets of partitions, as members of a group have them: arrays in the order of topic id and number, each once.
 *
 * Owner: whoever embeds it; the array is a block of the heap.
 *
 * Invariant (partition_set_check):
 *   S1  the elements ascend.
 */
#ifndef TIDEMARK_GROUP_PARTITION_SET_H
#define TIDEMARK_GROUP_PARTITION_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kafka/wire.h"
#include "tidemark/heap.h"
#include "tidemark/status.h"
#include "tidemark/types.h"

struct group_partition {
    struct tide_uuid topic;
    int32_t partition;
    int32_t epoch; /* of the assignment that gave it; does not count in the order */
};

struct partition_set {
    struct group_partition *at; /* NULL: empty */
    uint32_t count;
};

int group_partition_compare(const struct group_partition *, const struct group_partition *);
/* NULL: not in it. */
const struct group_partition *partition_set_find(const struct partition_set *, const struct tide_uuid *topic, int32_t partition);
static inline bool partition_set_has(const struct partition_set *s, const struct group_partition *p)
{
    return partition_set_find(s, &p->topic, p->partition) != NULL;
}
/* The same partitions; epochs may differ. */
bool partition_set_equal(const struct partition_set *, const struct partition_set *);
/* Room for `count` elements, which the caller fills in order. TIDE_FULL: the heap is full. */
enum tide_status partition_set_make(struct partition_set *ret, struct tide_heap *, uint32_t count);
void partition_set_free(struct partition_set *, struct tide_heap *);
/* Puts what was filled in any order in order, each once. */
void partition_set_sort(struct partition_set *);
void partition_set_check(const struct partition_set *);

/* How many elements from `at` on are of one topic. */
uint32_t partition_set_run(const struct partition_set *, uint32_t at);
/* How many topics there are. */
uint32_t partition_set_topics(const struct partition_set *);

/* For small things of any kind: in place, bounded by n log n, the same on every machine. */
void group_sort(void *at, uint32_t count, uint32_t size, int (*compare)(const void *, const void *));

#endif
