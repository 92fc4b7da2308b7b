/* SPDX-License-Identifier: Apache-2.0 */
#include "group/assign.h"

enum { PHASE_START, PHASE_TOPICS };

static void one_topic(struct assign *a, const struct assign_topic *t)
{
    const uint32_t *subscribers = a->problem->subscribers + t->subscriber_first;
    uint32_t n = t->first;
    for (uint32_t i = 0; i < t->subscribers; i++) {
        uint32_t run = t->partitions / t->subscribers + (i < t->partitions % t->subscribers);
        a->at.counts[subscribers[i]] += run;
        while (run-- != 0)
            a->at.owners[n++] = subscribers[i];
    }
    while (n < t->first + t->partitions)
        a->at.owners[n++] = ASSIGN_NOBODY;
}

bool assign_range_step(struct assign *a, uint32_t *budget)
{
    const struct assign_problem *p = a->problem;
    if (a->phase == PHASE_START) {
        for (uint32_t m = 0; m < p->member_count; m++)
            a->at.counts[m] = 0;
        assign_spend(budget, p->member_count);
        a->phase = PHASE_TOPICS;
        return false;
    }
    if (a->next == p->topic_count)
        return true;
    const struct assign_topic *t = &p->topics[a->next++];
    one_topic(a, t);
    assign_spend(budget, 1 + t->partitions + t->subscribers);
    return a->next == p->topic_count;
}
