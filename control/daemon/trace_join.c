/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/trace_join.h"

#include <stdlib.h>
#include <string.h>

#include "tidemark/assert.h"

/* How far the clocks of a core's turn and of a look may be apart. */
enum { CLOCKS_APART_NS = 1000000 };

struct kept {
    uint64_t look_ns;
    uint64_t since_ns, at_ns;
    int64_t end;
    uint32_t slot;
    int32_t broker;
    uint8_t kind;
    uint8_t core;
};
static_assert(TIDE_CORES_MAX <= UINT8_MAX, "a core's number fits");

struct request {
    struct trace_event event;
    uint32_t core;
};

struct trace_join {
    uint64_t look_ns;
    uint64_t kept_count; /* ever; the last TRACE_EVENTS_KEPT are there */
    uint32_t first, request_count, ripe;
    uint64_t omitted;
    struct request requests[TRACE_REQUESTS_KEPT];
    struct kept kept[TRACE_EVENTS_KEPT];
};

struct trace_join *trace_join_create(void)
{
    return calloc(1, sizeof(struct trace_join));
}

void trace_join_destroy(struct trace_join *j)
{
    free(j);
}

void trace_join_look(struct trace_join *j, uint64_t now_ns)
{
    TIDE_ASSERT(now_ns >= j->look_ns); /* J1 */
    j->look_ns = now_ns;
    j->ripe = j->request_count;
}

void trace_join_add(struct trace_join *j, uint32_t core, const struct trace_event *e)
{
    if (e->kind != TRACE_REQUEST) {
        j->kept[j->kept_count++ % TRACE_EVENTS_KEPT] = (struct kept){.look_ns = j->look_ns,
                                                                     .since_ns = e->since_ns,
                                                                     .at_ns = e->at_ns,
                                                                     .end = e->end,
                                                                     .slot = e->slot,
                                                                     .broker = e->broker,
                                                                     .kind = e->kind,
                                                                     .core = (uint8_t)core};
        return;
    }
    if (j->request_count == TRACE_REQUESTS_KEPT) {
        j->omitted++;
        return;
    }
    j->requests[(j->first + j->request_count++) % TRACE_REQUESTS_KEPT] = (struct request){*e, core};
}

static void first_of(uint64_t *at, uint64_t ns)
{
    if (*at == 0 || ns < *at)
        *at = ns;
}

static void add_follower(struct trace_timeline *t, const struct kept *k)
{
    uint32_t i = 0;
    while (i < t->follower_count && t->followers[i].broker != k->broker)
        i++;
    if (i == TIDE_REPLICAS_MAX)
        return;
    if (i == t->follower_count) {
        t->followers[t->follower_count++].broker = k->broker;
        t->followers[i].sent_ns = t->followers[i].acknowledged_ns = 0;
    }
    first_of(k->kind == TRACE_SENT ? &t->followers[i].sent_ns : &t->followers[i].acknowledged_ns, k->at_ns);
}

static void add_step(struct trace_timeline *t, const struct kept *k)
{
    switch (k->kind) {
    case TRACE_WRITE:
        if (t->write_done_ns == 0 || k->at_ns < t->write_done_ns) {
            t->write_since_ns = k->since_ns;
            t->home = k->core;
        }
        first_of(&t->write_done_ns, k->at_ns);
        break;
    case TRACE_MARK: first_of(&t->mark_ns, k->at_ns); break;
    default: add_follower(t, k); break;
    }
}

bool trace_join_next(struct trace_join *j, struct trace_timeline *ret)
{
    const struct request *r = &j->requests[j->first];
    uint64_t received = r->event.stamps[STAMP_RECEIVED];
    if (j->ripe == 0)
        return false;
    *ret = (struct trace_timeline){.slot = r->event.slot, .end = r->event.end, .acks = r->event.acks, .core = r->core, .home = r->core};
    memcpy(ret->stamps, r->event.stamps, sizeof(ret->stamps));
    for (uint64_t n = 0; n < TIDE_MIN(j->kept_count, (uint64_t)TRACE_EVENTS_KEPT); n++) {
        const struct kept *k = &j->kept[(j->kept_count - 1 - n) % TRACE_EVENTS_KEPT];
        if (k->look_ns + CLOCKS_APART_NS < received)
            break;
        if (k->slot == ret->slot && k->end >= ret->end && k->at_ns >= received)
            add_step(ret, k);
    }
    j->first = (j->first + 1) % TRACE_REQUESTS_KEPT;
    j->request_count--;
    j->ripe--;
    return true;
}

uint64_t trace_join_omitted(const struct trace_join *j)
{
    return j->omitted;
}
