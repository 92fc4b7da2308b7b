/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The uniform assignor. What was assigned before is the start.
 *
 * All subscribe to the same: everyone may keep a share of the partitions (the number divided, rounded down), and as
 * many as there are left over one more, first come first served in the order of partitions; what is free then is
 * dealt out to who has less. So as much stays as balance allows: whoever had more than a share keeps it, and one more while there are any.
 *
 * Otherwise: a topic's partitions are water poured on what its subscribers have of other topics. First only what is free
 * is poured, topics with few subscribers first; then topics are levelled, round after round, those alone in which someone has two
 * more than another. Levelling a topic lowers the sum of squares of what members have, so it ends.
 */
#include "group/assign.h"

#include "tidemark/assert.h"
#include "tidemark/types.h"

enum { PHASE_START, PHASE_ORDER, PHASE_KEEP, PHASE_DEAL, PHASE_LEVEL };

static const uint32_t *subscribers_of(const struct assign *a, const struct assign_topic *t)
{
    return a->problem->subscribers + t->subscriber_first;
}

static void start(struct assign *a, uint32_t *budget)
{
    for (uint32_t m = 0; m < a->problem->member_count; m++)
        a->at.counts[m] = a->at.wanted[m] = 0;
    for (uint32_t t = 0; t < a->problem->topic_count; t++)
        a->at.order[t] = t;
    assign_spend(budget, a->problem->member_count + a->problem->topic_count);
}

/* Topics by number of subscribers: by their own heap, so that nothing is slow. Ties by number. */
static bool is_later(const struct assign *a, uint32_t left, uint32_t right)
{
    uint32_t l = a->problem->topics[left].subscribers, r = a->problem->topics[right].subscribers;
    return l != r ? l > r : left > right;
}

static void sift(struct assign *a, uint32_t at, uint32_t count)
{
    uint32_t *order = a->at.order;
    for (uint32_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && is_later(a, order[child + 1], order[child]))
            child++;
        if (!is_later(a, order[child], order[at]))
            return;
        uint32_t swap = order[at];
        order[at] = order[child];
        order[child] = swap;
    }
}

static void sort_topics(struct assign *a, uint32_t *budget)
{
    uint32_t count = a->problem->topic_count;
    for (uint32_t i = count / 2; i-- != 0;)
        sift(a, i, count);
    for (uint32_t n = count; n > 1; n--) {
        uint32_t swap = a->at.order[0];
        a->at.order[0] = a->at.order[n - 1];
        a->at.order[n - 1] = swap;
        sift(a, 0, n - 1);
    }
    assign_spend(budget, 8 * count);
}

/* ---- all subscribe to the same ------------------------------------------------------------------ */

/* What there is to share, and among whom. */
struct share {
    const uint32_t *members;
    uint32_t member_count;
    uint32_t each, over; /* `over` members have one more than `each` */
};

static struct share share_of(const struct assign *a)
{
    struct share s = {0};
    uint32_t partitions = 0;
    for (uint32_t t = 0; t < a->problem->topic_count; t++) {
        const struct assign_topic *topic = &a->problem->topics[t];
        if (topic->subscribers == 0 || topic->partitions == 0)
            continue;
        s.members = subscribers_of(a, topic);
        s.member_count = topic->subscribers;
        partitions += topic->partitions;
    }
    if (s.member_count != 0) {
        s.each = partitions / s.member_count;
        s.over = partitions % s.member_count;
    }
    return s;
}

/* `held` marks who may have something at all: 1 a subscriber. `wanted[0]` of the phase is not used. */
static bool share_out(struct assign *a, uint32_t *budget)
{
    const struct assign_problem *p = a->problem;
    struct share s = share_of(a);
    for (uint32_t m = 0; m < p->member_count; m++)
        a->at.held[m] = 0;
    for (uint32_t i = 0; i < s.member_count; i++)
        a->at.held[s.members[i]] = 1;
    for (uint32_t t = 0; t < p->topic_count; t++) {
        const struct assign_topic *topic = &p->topics[t];
        for (uint32_t n = topic->first; n < topic->first + topic->partitions; n++) {
            uint32_t owner = p->previous[n];
            a->at.owners[n] = ASSIGN_NOBODY;
            if (topic->subscribers == 0 || owner >= p->member_count || a->at.held[owner] == 0)
                continue;
            if (a->at.counts[owner] > s.each || (a->at.counts[owner] == s.each && s.over == 0))
                continue;
            s.over -= a->at.counts[owner] == s.each;
            a->at.counts[owner]++;
            a->at.owners[n] = owner;
        }
    }
    /* Everyone has at most a share, or one more: first all come to a share, then the rest to one more. */
    uint32_t i = 0;
    bool more = false;
    for (uint32_t t = 0; t < p->topic_count; t++) {
        const struct assign_topic *topic = &p->topics[t];
        if (topic->subscribers == 0)
            continue;
        for (uint32_t n = topic->first; n < topic->first + topic->partitions; n++) {
            if (a->at.owners[n] != ASSIGN_NOBODY)
                continue;
            for (;; i++) {
                if (i == s.member_count) {
                    TIDE_ASSERT(!more);
                    more = true;
                    i = 0;
                }
                if (a->at.counts[s.members[i]] < s.each + more)
                    break;
            }
            a->at.owners[n] = s.members[i];
            a->at.counts[s.members[i]]++;
        }
    }
    assign_spend(budget, 2 * p->partition_count + 2 * p->member_count);
    return true;
}

/* ---- everyone as he likes ------------------------------------------------------------------------- */

/* What was assigned before and still may be. */
static void keep(struct assign *a, const struct assign_topic *t)
{
    const uint32_t *subscribers = subscribers_of(a, t);
    for (uint32_t i = 0; i < t->subscribers; i++)
        a->at.wanted[subscribers[i]] = 1;
    for (uint32_t n = t->first; n < t->first + t->partitions; n++) {
        uint32_t owner = a->problem->previous[n];
        if (owner >= a->problem->member_count || a->at.wanted[owner] == 0)
            owner = ASSIGN_NOBODY;
        else
            a->at.counts[owner]++;
        a->at.owners[n] = owner;
    }
    for (uint32_t i = 0; i < t->subscribers; i++)
        a->at.wanted[subscribers[i]] = 0;
}

/* `held` of the topic's subscribers; what nobody has of it. */
static uint32_t count_held(struct assign *a, const struct assign_topic *t)
{
    const uint32_t *subscribers = subscribers_of(a, t);
    uint32_t free_count = 0;
    for (uint32_t i = 0; i < t->subscribers; i++)
        a->at.held[subscribers[i]] = 0;
    for (uint32_t n = t->first; n < t->first + t->partitions; n++) {
        if (a->at.owners[n] == ASSIGN_NOBODY)
            free_count++;
        else
            a->at.held[a->at.owners[n]]++;
    }
    return free_count;
}

static bool is_level(const struct assign *a, const struct assign_topic *t)
{
    const uint32_t *subscribers = subscribers_of(a, t);
    uint32_t least = UINT32_MAX, most = 0;
    for (uint32_t i = 0; i < t->subscribers; i++) {
        uint32_t m = subscribers[i];
        least = TIDE_MIN(least, a->at.counts[m]);
        if (a->at.held[m] != 0 && a->at.counts[m] > most)
            most = a->at.counts[m];
    }
    return most <= least + 1;
}

/* What stands below the water in `m`'s column: all but `poured` of the topic's partitions. */
static uint64_t room_below(const struct assign *a, const struct assign_topic *t, bool keep_held, uint32_t level)
{
    const uint32_t *subscribers = subscribers_of(a, t);
    uint64_t room = 0;
    for (uint32_t i = 0; i < t->subscribers; i++) {
        uint32_t m = subscribers[i], base = a->at.counts[m] - (keep_held ? 0 : a->at.held[m]);
        room += level > base ? level - base : 0;
    }
    return room;
}

/* Pours the topic (or only what is free of it) over its subscribers: `wanted` is how many each has of it then. */
static void pour(struct assign *a, const struct assign_topic *t, uint32_t free_count, bool keep_held)
{
    const uint32_t *subscribers = subscribers_of(a, t);
    uint32_t water = keep_held ? free_count : t->partitions;
    uint32_t low = 0, high = water;
    for (uint32_t i = 0; i < t->subscribers; i++)
        high = a->at.counts[subscribers[i]] + water > high ? a->at.counts[subscribers[i]] + water : high;
    while (low < high) { /* the highest level that the water reaches everywhere */
        uint32_t middle = low + (high - low + 1) / 2;
        if (room_below(a, t, keep_held, middle) <= water)
            low = middle;
        else
            high = middle - 1;
    }
    uint32_t over = water - (uint32_t)room_below(a, t, keep_held, low);
    /* One more for some of those that the level reaches: for who need not give it away then, and for the first. */
    for (unsigned turn = 0; turn < 2; turn++) {
        for (uint32_t i = 0; i < t->subscribers; i++) {
            uint32_t m = subscribers[i], base = a->at.counts[m] - (keep_held ? 0 : a->at.held[m]);
            uint32_t kept = keep_held ? a->at.held[m] : 0;
            if (turn == 0)
                a->at.wanted[m] = kept + (low > base ? low - base : 0);
            bool has_more = turn == 0 ? a->at.held[m] > a->at.wanted[m] : a->at.wanted[m] == kept + (low > base ? low - base : 0);
            if (over != 0 && base <= low && has_more) {
                a->at.wanted[m]++;
                over--;
            }
        }
    }
    TIDE_ASSERT(over == 0);
}

/* Gives everyone what is wanted of the topic; whoever has more gives his last ones. */
static void settle(struct assign *a, const struct assign_topic *t)
{
    const uint32_t *subscribers = subscribers_of(a, t);
    uint32_t i = 0;
    for (uint32_t k = 0; k < t->subscribers; k++)
        a->at.counts[subscribers[k]] += a->at.wanted[subscribers[k]] - a->at.held[subscribers[k]];
    for (uint32_t n = t->first + t->partitions; n-- != t->first;) {
        uint32_t owner = a->at.owners[n];
        if (owner == ASSIGN_NOBODY || a->at.held[owner] <= a->at.wanted[owner])
            continue;
        a->at.held[owner]--;
        a->at.owners[n] = ASSIGN_NOBODY;
    }
    for (uint32_t n = t->first; n < t->first + t->partitions; n++) {
        if (a->at.owners[n] != ASSIGN_NOBODY)
            continue;
        while (a->at.held[subscribers[i]] >= a->at.wanted[subscribers[i]])
            i++;
        a->at.owners[n] = subscribers[i];
        a->at.held[subscribers[i]]++;
    }
    for (uint32_t k = 0; k < t->subscribers; k++)
        a->at.wanted[subscribers[k]] = 0;
}

static void deal(struct assign *a, const struct assign_topic *t)
{
    uint32_t free_count = t->subscribers != 0 ? count_held(a, t) : 0;
    if (free_count == 0)
        return;
    pour(a, t, free_count, true);
    settle(a, t);
}

static void level(struct assign *a, const struct assign_topic *t)
{
    if (t->subscribers == 0)
        return;
    uint32_t free_count = count_held(a, t);
    TIDE_ASSERT(free_count == 0);
    if (is_level(a, t))
        return;
    pour(a, t, 0, false);
    settle(a, t);
    a->moved = true;
}

bool assign_uniform_step(struct assign *a, uint32_t *budget)
{
    const struct assign_problem *p = a->problem;
    if (a->phase == PHASE_START) {
        start(a, budget);
        a->phase = PHASE_ORDER;
        return false;
    }
    if (a->phase == PHASE_ORDER) {
        if (a->homogeneous)
            return share_out(a, budget);
        sort_topics(a, budget);
        a->phase = PHASE_KEEP;
        return false;
    }
    if (a->next < p->topic_count) {
        const struct assign_topic *t = &p->topics[a->at.order[a->next++]];
        if (a->phase == PHASE_KEEP)
            keep(a, t);
        else if (a->phase == PHASE_DEAL)
            deal(a, t);
        else
            level(a, t);
        assign_spend(budget, 1 + t->partitions + 32 * t->subscribers);
        return false;
    }
    a->next = 0;
    if (a->phase != PHASE_LEVEL) {
        a->phase++;
        a->moved = false;
        return p->topic_count == 0;
    }
    a->unlevel = a->moved && ++a->round == ASSIGN_ROUNDS_MAX;
    bool done = !a->moved || a->unlevel;
    a->moved = false;
    return done;
}
