/* SPDX-License-Identifier: Apache-2.0 */
/* A binary heap of deadlines. A place for every owner is taken when the owner is made, so a timer can always be set. */
#include "group/internal.h"

enum { TIMERS_AT_FIRST = 64 };

static bool before(const struct group_timer *a, const struct group_timer *b)
{
    return a->at_ns < b->at_ns;
}

static void place(struct group_timers *t, uint32_t at, struct group_timer *timer)
{
    t->heap[at] = timer;
    timer->place = at + 1;
}

static void rise(struct group_timers *t, uint32_t at)
{
    struct group_timer *timer = t->heap[at];
    while (at != 0 && before(timer, t->heap[(at - 1) / 2])) {
        place(t, at, t->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    place(t, at, timer);
}

static void sink(struct group_timers *t, uint32_t at)
{
    struct group_timer *timer = t->heap[at];
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child + 1 < t->count && before(t->heap[child + 1], t->heap[child]))
            child++;
        if (child >= t->count || !before(t->heap[child], timer))
            break;
        place(t, at, t->heap[child]);
        at = child;
    }
    place(t, at, timer);
}

bool group_timer_own(struct groups *g)
{
    struct group_timers *t = &g->timers;
    if (t->owners == t->room) {
        uint32_t room = t->room == 0 ? TIMERS_AT_FIRST : 2 * t->room;
        struct group_timer **heap = tide_heap_take(g->config.heap, room * sizeof(*heap));
        if (heap == NULL)
            return false;
        if (t->count != 0)
            memcpy(heap, t->heap, t->count * sizeof(*heap));
        tide_heap_give(g->config.heap, t->heap);
        t->heap = heap;
        t->room = room;
    }
    t->owners++;
    return true;
}

void group_timer_disown(struct groups *g, struct group_timer *timer)
{
    group_timer_stop(g, timer);
    g->timers.owners--;
}

void group_timer_stop(struct groups *g, struct group_timer *timer)
{
    struct group_timers *t = &g->timers;
    if (timer->place == 0)
        return;
    uint32_t at = timer->place - 1;
    struct group_timer *last = t->heap[--t->count];
    timer->place = 0;
    if (last == timer)
        return;
    place(t, at, last);
    rise(t, at);
    sink(t, last->place - 1);
}

void group_timer_set(struct groups *g, struct group_timer *timer, uint64_t at_ns)
{
    struct group_timers *t = &g->timers;
    group_timer_stop(g, timer);
    TIDE_ASSERT(t->count < t->owners);
    timer->at_ns = at_ns;
    t->heap[t->count] = timer;
    rise(t, t->count++);
}

struct group_timer *group_timer_due(struct groups *g)
{
    struct group_timers *t = &g->timers;
    struct group_timer *first = t->count != 0 ? t->heap[0] : NULL;
    if (first == NULL || first->at_ns > g->now.now_ns)
        return NULL;
    group_timer_stop(g, first);
    return first;
}

uint64_t group_timers_deadline_ns(const struct groups *g)
{
    return g->timers.count != 0 ? g->timers.heap[0]->at_ns : TIDE_NEVER;
}

void group_timers_check(const struct groups *g)
{
    const struct group_timers *t = &g->timers;
    TIDE_ASSERT(t->count <= t->owners);
    TIDE_ASSERT(t->owners <= t->room);
    for (uint32_t i = 0; i < t->count; i++) {
        TIDE_ASSERT(t->heap[i]->place == i + 1);
        TIDE_ASSERT(i == 0 || !before(t->heap[i], t->heap[(i - 1) / 2]));
    }
}
