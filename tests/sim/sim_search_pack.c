/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A world of sim_search as bytes: one walk for both directions, over every field that can differ.
 */
#include <string.h>

#include "sim_search_world.h"
#include "tidemark/assert.h"

struct tape {
    uint8_t *at;
    bool loads;
};
#define T(x)                                        \
    do {                                            \
        if (t->loads)                               \
            (x) = (__typeof__(x))(int8_t)*t->at++;  \
        else                                        \
            *t->at++ = (uint8_t)(int8_t)(x);        \
    } while (0)
#define T_PUB(p)                                                                  \
    do {                                                                          \
        if (t->loads)                                                             \
            tide_pub64_set(&(p), (uint64_t)(int64_t)(int8_t)*t->at++);            \
        else                                                                      \
            *t->at++ = (uint8_t)tide_pub64_own(&(p));                             \
    } while (0)

static void tape_marks(struct tape *t, struct watermark *w)
{
    T_PUB(w->log_end);
    T_PUB(w->durable_end);
    T_PUB(w->high_watermark);
    T_PUB(w->last_stable_offset);
    T_PUB(w->log_start);
    T_PUB(w->leader_epoch);
    T(w->epoch_start);
    T(w->replica_count);
    T(w->committed_isr);
    T(w->proposed_isr);
    T(w->min_insync);
    T(w->heard);
    T(w->count_durable);
    for (int i = 1; i < NODES; i++) {
        T_PUB(w->acknowledged[i].log_end);
        T_PUB(w->acknowledged[i].durable_end);
    }
}

static void tape_request(struct tape *t, struct leader_subscribe *s)
{
    intptr_t ask = (intptr_t)s->ask;
    T(ask);
    s->ask = (void *)ask;
    T(s->broker);
    T(s->broker_epoch);
    T(s->leader_epoch);
    T(s->last_epoch);
    T(s->log_end);
    T(s->own_epoch);
    T(s->own_end);
    T(s->own_start);
    T(s->own_start_epoch);
}

static void tape_lead(struct tape *t, struct leader *l)
{
    T(l->leads);
    T(l->recovering);
    T(l->letter_out);
    T(l->letter_counts);
    T(l->isr_state);
    T(l->leader_epoch);
    T(l->partition_epoch);
    T(l->last_number);
    T(l->wanted);
    T(l->wanted_recovering);
    T(l->since_ns);
    T(l->retry_at_ns);
    T(l->grace_until_ns);
    if (t->loads) {
        l->lag_max_ns = LAG_MAX;
        l->retry_ns = 0;
    }
    for (int i = 1; i < NODES; i++) {
        struct leader_follower *f = &l->followers[i];
        T(f->state);
        T(f->waits);
        T(f->fed);
        T(f->number);
        T(f->broker_epoch);
        T(f->newest_epoch);
        T(f->hold_until_ns);
        if (f->waits)
            tape_request(t, &f->waiting);
    }
}

static void tape_follow(struct tape *t, struct follower *f)
{
    T(f->state);
    T(f->has_stream);
    T(f->leader);
    T(f->leader_epoch);
    T(f->unclean_epoch);
    T(f->attempt);
    T(f->subscription);
    T(f->ack_due);
    T(f->skips);
    T(f->settle_to);
    T(f->settle_epoch);
    T(f->asked_log_end);
    T(f->acked_log_end);
    T(f->acked_durable_end);
    T(f->ask_at_ns);
}

static void tape_node(struct tape *t, struct node *n)
{
    T(n->up);
    T(n->incarnation);
    T(n->log_end);
    T(n->durable);
    for (int i = 0; i < n->log_end; i++) {
        T(n->epochs[i]);
        T(n->records[i]);
    }
    T(n->line_count);
    for (int i = 0; i < n->line_count; i++) {
        T(n->line_epochs[i]);
        T(n->line_starts[i]);
    }
    if (!n->up)
        return;
    T(n->leads);
    T(n->leader);
    T(n->leader_epoch);
    T(n->partition_epoch);
    T(n->proposals);
    T(n->members.count);
    for (uint32_t i = 0; i < n->members.count; i++) {
        T(n->members.ids[i]);
        T(n->members.broker_epochs[i]);
    }
    tape_marks(t, &n->marks);
    tape_lead(t, &n->lead);
    tape_follow(t, &n->follow);
    for (int i = 1; i < NODES; i++) {
        struct subscription *s = &n->subs[i];
        T(s->open);
        s->marks = &n->marks;
        T(n->closing[i]);
        if (!s->open)
            continue;
        T(s->replica);
        T(s->number);
        T(s->leader_epoch);
        T(s->broker_epoch);
        T(n->next[i]);
        T(n->told[i]);
    }
}

static void tape_world(struct tape *t, struct world *w)
{
    for (int i = 0; i < NODES; i++)
        tape_node(t, &w->nodes[i]);
    T(w->control.leader);
    T(w->control.leader_epoch);
    T(w->control.partition_epoch);
    T(w->control.isr);
    T(w->control.elr);
    T(w->control.alive);
    for (int i = 0; i < NODES; i++) {
        T(w->control.broker_epochs[i]);
        T(w->control.seen[i]);
    }
    T(w->elections);
    T(w->crashes);
    T(w->shrinks);
    T(w->record_count);
    for (int i = 0; i < w->record_count; i++) {
        T(w->records[i].state);
        T(w->records[i].node);
        T(w->records[i].epoch);
        T(w->records[i].end);
    }
    T(w->committed_count);
    for (int i = 0; i < w->committed_count; i++) {
        T(w->committed_epochs[i]);
        T(w->committed[i]);
    }
    T(w->net_count);
    for (int i = 0; i < w->net_count; i++) {
        struct message *m = &w->net[i];
        T(m->kind);
        T(m->from);
        T(m->to);
        T(m->from_inc);
        T(m->to_inc);
        for (unsigned k = 0; k < sizeof(m->f); k++)
            T(m->f[k]);
    }
}

size_t world_pack(struct world *w, uint8_t *to)
{
    struct tape t = {.at = to};
    tape_world(&t, w);
    TIDE_ASSERT(t.at - to <= PACKED_MAX);
    return (size_t)(t.at - to);
}

void world_unpack(struct world *w, const uint8_t *from)
{
    struct tape t = {.at = (uint8_t *)(uintptr_t)from, .loads = true};
    memset(w, 0, sizeof(*w));
    tape_world(&t, w);
}
