/* SPDX-License-Identifier: Apache-2.0 */
#include "group/assign.h"

#include <stddef.h>

#include "tidemark/assert.h"

/* All topics that have partitions and subscribers have the same subscribers. */
static bool is_homogeneous(const struct assign_problem *p)
{
    const struct assign_topic *first = NULL;
    for (uint32_t t = 0; t < p->topic_count; t++) {
        const struct assign_topic *topic = &p->topics[t];
        if (topic->subscribers == 0 || topic->partitions == 0)
            continue;
        if (first == NULL)
            first = topic;
        /* Most groups: everybody subscribes to everything. */
        if (topic->subscribers != first->subscribers)
            return false;
        if (topic->subscribers == p->member_count)
            continue;
        for (uint32_t i = 0; i < topic->subscribers; i++)
            if (p->subscribers[topic->subscriber_first + i] != p->subscribers[first->subscriber_first + i])
                return false;
    }
    return true;
}

void assign_init(struct assign *a, enum assign_kind kind, const struct assign_problem *p, const struct assign_memory *at)
{
    *a = (struct assign){.problem = p, .at = *at, .kind = kind, .homogeneous = is_homogeneous(p)};
}

bool assign_step(struct assign *a, uint32_t *budget)
{
    while (!a->done && *budget != 0)
        a->done = a->kind == ASSIGN_RANGE ? assign_range_step(a, budget) : assign_uniform_step(a, budget);
    if (a->done)
        TIDE_ASSERT_SLOW((assign_check(a), true));
    return a->done;
}

static bool subscribes(const struct assign_problem *p, const struct assign_topic *t, uint32_t member)
{
    for (uint32_t i = 0; i < t->subscribers; i++)
        if (p->subscribers[t->subscriber_first + i] == member)
            return true;
    return false;
}

void assign_check(const struct assign *a)
{
    const struct assign_problem *p = a->problem;
    uint32_t owned = 0, counted = 0;
    TIDE_ASSERT(a->done);
    for (uint32_t t = 0; t < p->topic_count; t++) {
        const struct assign_topic *topic = &p->topics[t];
        uint32_t least = UINT32_MAX, last = ASSIGN_NOBODY;
        for (uint32_t i = 0; i < topic->subscribers; i++) {
            uint32_t count = a->at.counts[p->subscribers[topic->subscriber_first + i]];
            least = count < least ? count : least;
        }
        for (uint32_t n = topic->first; n < topic->first + topic->partitions; n++) {
            uint32_t owner = a->at.owners[n];
            TIDE_ASSERT((owner == ASSIGN_NOBODY) == (topic->subscribers == 0)); /* A1, A2 */
            if (owner == ASSIGN_NOBODY)
                continue;
            owned++;
            if (owner == last)
                continue;
            TIDE_ASSERT(subscribes(p, topic, owner)); /* A1 */
            TIDE_ASSERT(a->kind != ASSIGN_UNIFORM || a->unlevel || a->at.counts[owner] <= least + 1); /* A3 */
            last = owner;
        }
    }
    for (uint32_t m = 0; m < p->member_count; m++)
        counted += a->at.counts[m];
    TIDE_ASSERT(counted == owned);
}
