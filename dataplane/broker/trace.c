/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/trace.h"

#include <stdlib.h>
#include <string.h>

#include "tidemark/assert.h"

#define TO(s) (1u << TRACE_##s)
static const uint32_t trace_next[TRACE_STATE_COUNT] = {[TRACE_OFF] = TO(ON), [TRACE_ON] = TO(ENDING), [TRACE_ENDING] = TO(OFF)};

static void trace_move(struct trace *t, enum trace_state to)
{
    TIDE_ASSERT(trace_next[t->state] & 1u << to);
    t->state = (uint8_t)to;
}

enum tide_status trace_on(struct trace *t, unsigned cores, const struct trace_wish *wish)
{
    if (t->state != TRACE_OFF)
        return TIDE_EXISTS;
    t->wish = *wish;
    t->cores = cores;
    for (unsigned i = 0; i < cores; i++) {
        memset(&t->rings[i], 0, sizeof(t->rings[i]));
        t->rings[i].events = malloc(TRACE_SLOTS * sizeof(t->rings[i].events[0]));
        if (t->rings[i].events == NULL) {
            while (i-- != 0)
                free(t->rings[i].events);
            return TIDE_FULL;
        }
        memset(t->rings[i].events, 0, TRACE_SLOTS * sizeof(t->rings[i].events[0])); /* or cores would wait for its pages */
    }
    trace_move(t, TRACE_ON);
    atomic_store_explicit(&t->is_on, true, memory_order_release); /* pairs with trace_has: the rings are there */
    return TIDE_OK;
}

void trace_off(struct trace *t)
{
    atomic_store_explicit(&t->is_on, false, memory_order_release);
    trace_move(t, TRACE_ENDING);
}

void trace_on_quiet(struct trace *t)
{
    for (unsigned i = 0; i < t->cores; i++)
        free(t->rings[i].events);
    trace_move(t, TRACE_OFF);
}

void trace_write(struct trace *t, unsigned core, const struct trace_event *e)
{
    struct trace_ring *r = &t->rings[core];
    uint64_t head = tide_pub64_own(&r->head);
    if (head - r->tail_seen == TRACE_SLOTS)
        r->tail_seen = tide_pub64_peek(&r->tail); /* pairs with trace_take: the event has been read */
    if (head - r->tail_seen == TRACE_SLOTS) {
        tide_pub64_set(&r->lost, tide_pub64_own(&r->lost) + 1);
        return;
    }
    r->events[head % TRACE_SLOTS] = *e;
    tide_pub64_set(&r->head, head + 1); /* pairs with trace_end: the event is whole */
}

uint64_t trace_end(const struct trace *t, unsigned core)
{
    return tide_pub64_peek(&t->rings[core].head);
}

bool trace_take(struct trace *t, unsigned core, uint64_t end, struct trace_event *ret)
{
    struct trace_ring *r = &t->rings[core];
    uint64_t tail = tide_pub64_own(&r->tail);
    if (tail == end)
        return false;
    *ret = r->events[tail % TRACE_SLOTS];
    tide_pub64_set(&r->tail, tail + 1);
    return true;
}

uint64_t trace_lost(const struct trace *t)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < t->cores; i++)
        sum += tide_pub64_peek(&t->rings[i].lost);
    return sum;
}
