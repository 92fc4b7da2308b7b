/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bounded exhaustive search over the replication of one partition: three replicas, few records,
 * elections and crashes, messages that are lost, doubled and put into another order.
 *
 * What runs is dataplane/replica (leader, follower, subscription) and dataplane/partition (members,
 * watermark) as they are. Around them a model: a log is a list of (epoch, record), a disk is how far
 * it is durable, the controller is one step of control-plane 4.4 and 5, the network is the set of
 * messages that were ever sent and can still be delivered. A message that is never delivered is
 * lost, one that is delivered again is doubled, and there is no order among them; only a message to
 * an incarnation that is over is gone, as its connection is.
 *
 * What follows from an event without a choice (an acknowledgement, the next APPEND, a request that
 * is due) happens with it. Choices are: which message arrives, when a disk is done, when a replica
 * hears of its role, when a stream's core closes a subscription, when a cut is finished, when a
 * grace period is over, who falls behind, who crashes, comes back, is fenced, is elected.
 *
 * Checked in every state:
 *   P1  what was acknowledged, or was ever below a leader's high watermark, is in the log of the
 *       replica that control has elected
 *   P3  every in-sync replica holds, in the way that counts, what is below the high watermark of the
 *       leader that control has elected; no high watermark falls within an epoch (an assertion)
 *   P4  replicas agree below their high watermarks
 *   P8  no two replicas lead in one epoch
 *   and that the newest leader does not answer LATEST below what an earlier one showed (KIP-207)
 *
 * usage: sim_search [--states N] [--scenario NAME] [--walks N] [--seed N] [--mutant NAME | --mutants]
 *   --states   distinct states per scenario at the most (60000)
 *   --walks    random walks per scenario behind the search (0)
 *   --mutants  every mutant that belongs to these sources must be noticed
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kafka/errors.h"
#include "partition/members.h"
#include "partition/watermark.h"
#include "replica/follower.h"
#include "replica/leader.h"
#include "replica/subscription.h"
#include "tidemark/assert.h"
#include "tidemark/mutant.h"
#include "tidemark/random.h"

enum {
    NODES = 3,
    LOG_MAX = 4,
    LINES_MAX = 6,
    NET_MAX = 96,
    RECORDS_MAX = 3,
    MIN_INSYNC = 2,
    NOW = 1,
    LATE = 120,    /* by then everybody who is not said to have caught up is late */
    LAG_MAX = 100,
    PACKED_MAX = 3072,
    ACTIONS_MAX = 256,
};

enum tide_mutant tide_mutant;

/* ---- the world ------------------------------------------------------------------------------------ */

enum message_kind { SUBSCRIBE, ANSWER, APPEND, BEAT, ACK, ALTER, INELIGIBLE, ALTERED };
static const char *const message_names[] = {"SUBSCRIBE", "ANSWER", "APPEND", "BEAT", "ACK", "ALTER", "INELIGIBLE", "ALTERED"};

struct message {
    int8_t kind, from, to, from_inc, to_inc;
    int8_t f[9];
};

struct node {
    bool up;
    int8_t incarnation;
    int8_t log_end, durable;
    int8_t epochs[LOG_MAX], records[LOG_MAX];
    int8_t line_count, line_epochs[LINES_MAX], line_starts[LINES_MAX];
    bool leads;
    int8_t leader, leader_epoch, partition_epoch;
    int8_t proposals;
    bool grace_over;
    struct members members;
    struct watermark marks;
    struct leader lead;
    struct follower follow;
    struct subscription subs[NODES]; /* by member, at the core of its stream */
    bool closing[NODES];             /* that core was asked to close it */
    int8_t next[NODES], told[NODES]; /* what it sends next, the high watermark it told last */
};

enum record_state { UNSENT, WAITING, ACKNOWLEDGED, UNKNOWN };

struct control {
    int8_t leader, leader_epoch, partition_epoch;
    int8_t isr, elr, alive; /* bits by node */
    int8_t broker_epochs[NODES];
    int8_t seen[NODES];     /* last proposal of each */
};

struct world {
    struct node nodes[NODES];
    struct control control;
    int8_t elections, crashes, shrinks; /* left */
    int8_t record_count;                /* to be sent */
    struct {
        int8_t state, node, epoch, end;
    } records[RECORDS_MAX];
    int8_t committed_count;
    int8_t committed_epochs[LOG_MAX], committed[LOG_MAX];
    int8_t net_count;
    struct message net[NET_MAX];
};

struct limits {
    const char *name;
    bool device; /* ack.durability */
    int8_t records, elections, crashes, shrinks, attempts, proposals;
    void (*prefix)(struct world *);
};
static const struct limits *limits;
static char violation[256];

#define FAIL(...)                                                   \
    do {                                                            \
        if (violation[0] == '\0')                                   \
            snprintf(violation, sizeof(violation), __VA_ARGS__);    \
    } while (0)

/* ---- packing: one walk for both directions, over every field that can differ ------------------------ */

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

static size_t pack(struct world *w, uint8_t *to)
{
    struct tape t = {.at = to};
    tape_world(&t, w);
    TIDE_ASSERT(t.at - to <= PACKED_MAX);
    return (size_t)(t.at - to);
}

static void unpack(struct world *w, const uint8_t *from)
{
    struct tape t = {.at = (uint8_t *)(uintptr_t)from, .loads = true};
    memset(w, 0, sizeof(*w));
    tape_world(&t, w);
}

/* ---- the network: a sorted set --------------------------------------------------------------------- */

static void post(struct world *w, struct message m)
{
    int at = 0;
    m.from_inc = m.from >= 0 ? w->nodes[m.from].incarnation : 0;
    m.to_inc = m.to >= 0 ? w->nodes[m.to].incarnation : 0;
    if (m.to >= 0 && !w->nodes[m.to].up)
        return;
    while (at < w->net_count && memcmp(&w->net[at], &m, sizeof(m)) < 0)
        at++;
    if (at < w->net_count && memcmp(&w->net[at], &m, sizeof(m)) == 0)
        return;
    TIDE_ASSERT(w->net_count < NET_MAX);
    memmove(&w->net[at + 1], &w->net[at], (size_t)(w->net_count - at) * sizeof(m));
    w->net[at] = m;
    w->net_count++;
}

static void unpost(struct world *w, int at)
{
    w->net_count--;
    memmove(&w->net[at], &w->net[at + 1], (size_t)(w->net_count - at) * sizeof(w->net[0]));
}

/* What nobody can take any more, whatever rule is left out. */
static bool is_dead(const struct world *w, const struct message *m)
{
    if (m->to >= 0 && (!w->nodes[m->to].up || m->to_inc != w->nodes[m->to].incarnation))
        return true;
    if (m->kind == ANSWER || m->kind == APPEND || m->kind == BEAT) {
        const struct node *n = &w->nodes[m->to];
        if (!w->nodes[m->from].up || w->nodes[m->from].incarnation != m->from_inc) /* the connection is gone */
            return true;
        if (m->f[1] != n->follow.leader_epoch && m->f[1] < n->leader_epoch)
            return true;
        if (m->kind == ANSWER)
            return m->f[0] != (int8_t)n->follow.attempt || n->follow.state != FOLLOWER_SUBSCRIBING;
        return n->follow.state == FOLLOWER_STREAMING && m->f[0] != (int8_t)n->follow.subscription &&
               m->f[1] == n->follow.leader_epoch && m->f[0] < (int8_t)n->follow.subscription;
    }
    if (m->kind == SUBSCRIBE) {
        const struct node *n = &w->nodes[m->to];
        if (n->leads && m->f[1] < n->leader_epoch)
            return true;
        return m->f[1] < n->leader_epoch || (w->nodes[m->from].up && w->nodes[m->from].incarnation == m->from_inc &&
                                             w->nodes[m->from].follow.attempt != (uint32_t)m->f[0]);
    }
    if (m->kind == ALTERED)
        return m->f[2] <= w->nodes[m->to].partition_epoch;
    if (m->kind == ALTER)
        return m->f[1] < w->control.partition_epoch;
    return false;
}

static void purge(struct world *w)
{
    for (int i = w->net_count; i-- > 0;)
        if (is_dead(w, &w->net[i]))
            unpost(w, i);
}

/* ---- the model of a log ------------------------------------------------------------------------------ */

static int64_t counted(const struct node *n)
{
    return limits->device ? n->durable : n->log_end;
}

static int32_t last_batch_epoch(const struct node *n)
{
    return n->log_end > 0 ? n->epochs[n->log_end - 1] : -1;
}

static void end_for(const struct node *n, int32_t epoch, int32_t *ret_epoch, int64_t *ret_end)
{
    int64_t next = n->log_end;
    *ret_epoch = -1;
    *ret_end = -1;
    if (n->line_count == 0 || epoch < 0 || epoch > n->line_epochs[n->line_count - 1])
        return;
    for (int i = n->line_count; i-- > 0;) {
        if (n->line_epochs[i] <= epoch) {
            *ret_epoch = n->line_epochs[i];
            *ret_end = next;
            return;
        }
        next = n->line_starts[i];
    }
    *ret_epoch = epoch;
    *ret_end = next;
}

/* log_begin_epoch */
static void begin_epoch(struct node *n, int8_t epoch)
{
    while (n->line_count > 0 && n->line_starts[n->line_count - 1] >= n->log_end)
        n->line_count--;
    if (n->line_count > 0 && n->line_epochs[n->line_count - 1] == epoch)
        return;
    TIDE_ASSERT(n->line_count < LINES_MAX);
    n->line_epochs[n->line_count] = epoch;
    n->line_starts[n->line_count++] = n->log_end;
}

static void append(struct node *n, int8_t epoch, int8_t record)
{
    TIDE_ASSERT(n->log_end < LOG_MAX);
    n->epochs[n->log_end] = epoch;
    n->records[n->log_end++] = record;
    watermark_appended(&n->marks, n->log_end);
}

static void cut(struct node *n, int8_t to)
{
    n->log_end = TIDE_MIN(n->log_end, to);
    n->durable = n->log_end; /* the old bytes are zeroed durably, what stays was written before */
    while (n->line_count > 0 && n->line_starts[n->line_count - 1] > n->log_end)
        n->line_count--;
}

static struct follower_log log_of(const struct node *n)
{
    return (struct follower_log){.last_epoch = last_batch_epoch(n),
                                 .log_end = n->log_end,
                                 .durable_end = n->durable,
                                 .high_watermark = watermark_high(&n->marks)};
}

/* ---- what a node does of itself ------------------------------------------------------------------------ */

static uint64_t grace_begin(void *self)
{
    (void)self;
    return 0;
}

static bool grace_passed(void *self, uint64_t token)
{
    (void)token;
    return ((struct node *)self)->grace_over;
}

static struct tide_grace grace_of;
static struct leader_world world_of(struct node *n)
{
    grace_of = (struct tide_grace){.self = n, .begin = grace_begin, .passed = grace_passed};
    return (struct leader_world){.members = &n->members, .marks = &n->marks, .grace = &grace_of, .has_lease = true, .started = true};
}

static int number_of(const struct world *w, const struct node *n)
{
    return (int)(n - w->nodes);
}

static void propose(struct world *w, struct node *n, const struct leader_proposal *p)
{
    int8_t isr = 0;
    struct message m = {.kind = ALTER, .from = (int8_t)number_of(w, n), .to = -1};
    if (n->proposals >= limits->proposals)
        return; /* it is lost */
    for (uint32_t i = 0; i < p->count; i++) {
        isr |= (int8_t)(1 << p->isr[i]);
        m.f[3 + p->isr[i]] = (int8_t)p->broker_epochs[i];
    }
    m.f[0] = (int8_t)p->leader_epoch;
    m.f[1] = (int8_t)p->partition_epoch;
    m.f[2] = isr;
    m.f[6] = ++n->proposals;
    post(w, m);
}

static void effects(struct world *w, struct node *n, const struct leader_out *out)
{
    for (uint32_t i = 0; i < out->close_count; i++)
        n->closing[out->closes[i].replica] = true;
    for (uint32_t i = 0; i < out->answer_count; i++) {
        const struct leader_answer *a = &out->answers[i];
        if (a->replica == MEMBER_NONE || a->error != 0)
            continue; /* an error: the follower asks again, or hears of another role */
        struct leader_follower *f = &n->lead.followers[a->replica];
        if (!a->truncate)
            subscription_open(&n->subs[a->replica], &n->marks, a->replica, a->subscription, n->leader_epoch, f->broker_epoch, 0);
        n->next[a->replica] = n->told[a->replica] = -1;
        post(w, (struct message){.kind = ANSWER,
                                 .from = (int8_t)number_of(w, n),
                                 .to = (int8_t)n->members.ids[a->replica],
                                 .f = {(int8_t)(intptr_t)a->ask, n->leader_epoch, a->truncate, (int8_t)a->truncate_epoch,
                                       (int8_t)a->truncate_end, (int8_t)a->subscription}});
    }
    if (out->proposes)
        propose(w, n, &out->proposal);
}

/* Bytes from where the follower asked; what it has is in its ACK. */
static void push(struct world *w, struct node *n)
{
    for (int i = 1; i < NODES; i++) {
        struct subscription *s = &n->subs[i];
        int8_t high = (int8_t)watermark_high(&n->marks);
        int8_t me = (int8_t)number_of(w, n);
        if (!s->open || s->leader_epoch != n->leader_epoch || !n->leads || n->next[i] < 0)
            continue;
        for (; n->next[i] < n->log_end; n->next[i]++) {
            int8_t at = n->next[i];
            post(w, (struct message){.kind = APPEND, .from = me, .to = (int8_t)n->members.ids[i],
                                     .f = {(int8_t)s->number, (int8_t)s->leader_epoch, at, n->epochs[at], n->records[at], high}});
            n->told[i] = high;
        }
        if (high > n->told[i])
            post(w, (struct message){.kind = BEAT, .from = me, .to = (int8_t)n->members.ids[i],
                                     .f = {(int8_t)s->number, (int8_t)s->leader_epoch, high}});
        n->told[i] = high;
    }
}

static void lead_on(struct world *w, struct node *n)
{
    struct leader_world lw = world_of(n);
    struct leader_out out = {0};
    (void)watermark_evaluate(&n->marks);
    leader_turn(&n->lead, &lw, NOW, &out);
    effects(w, n, &out);
    (void)watermark_evaluate(&n->marks);
    push(w, n);
    leader_check(&n->lead, &lw);
}

static void follow_on(struct world *w, struct node *n)
{
    struct follower_log log = log_of(n);
    struct follower_subscribe s;
    struct follower_ack a;
    int8_t me = (int8_t)number_of(w, n);
    if (follower_wants_subscribe(&n->follow, NOW) && n->follow.attempt < (uint32_t)limits->attempts) {
        follower_subscribe(&n->follow, &log, &s);
        post(w, (struct message){.kind = SUBSCRIBE, .from = me, .to = n->leader,
                                 .f = {(int8_t)s.attempt, (int8_t)s.leader_epoch, (int8_t)s.last_epoch, (int8_t)s.log_end}});
    }
    if (follower_ack(&n->follow, &log, &a))
        post(w, (struct message){.kind = ACK, .from = me, .to = n->leader,
                                 .f = {(int8_t)a.subscription, (int8_t)a.leader_epoch, (int8_t)a.log_end, (int8_t)a.durable_end}});
    follower_check(&n->follow, &log);
}

static void settle_records(struct world *w)
{
    for (int k = 0; k < w->record_count; k++) {
        const struct node *n = &w->nodes[w->records[k].node];
        if (w->records[k].state != WAITING)
            continue;
        if (!n->up || !n->leads || n->leader_epoch != w->records[k].epoch)
            w->records[k].state = UNKNOWN;
        else if (watermark_high(&n->marks) >= w->records[k].end)
            w->records[k].state = watermark_min_isr_met(&n->marks) ? ACKNOWLEDGED : UNKNOWN;
    }
}

static void note_committed(struct world *w)
{
    for (int i = 0; i < NODES; i++) {
        const struct node *n = &w->nodes[i];
        if (!n->up || !n->leads)
            continue;
        for (int at = w->committed_count; at < watermark_high(&n->marks); at++) {
            w->committed_epochs[at] = n->epochs[at];
            w->committed[at] = n->records[at];
            w->committed_count = (int8_t)(at + 1);
        }
    }
}

static void go_on(struct world *w)
{
    for (int i = 0; i < NODES; i++) {
        struct node *n = &w->nodes[i];
        if (n->up && n->leads)
            lead_on(w, n);
        else if (n->up)
            follow_on(w, n);
    }
    settle_records(w);
    note_committed(w);
    purge(w);
}

/* ---- what is promised ------------------------------------------------------------------------------------ */

static bool holds(const struct node *n, int64_t end, int at, int8_t epoch, int8_t record)
{
    return at < end && n->epochs[at] == epoch && n->records[at] == record;
}

static void check_elected(const struct world *w)
{
    if (w->control.leader < 0)
        return;
    const struct node *n = &w->nodes[w->control.leader];
    if (!n->up)
        return;
    for (int at = 0; at < w->committed_count; at++)
        if (!holds(n, n->log_end, at, w->committed_epochs[at], w->committed[at]))
            FAIL("P1: %d is elected and lacks what was committed at offset %d", w->control.leader, at);
    for (int k = 0; k < w->record_count; k++)
        if (w->records[k].state == ACKNOWLEDGED) {
            int at = w->records[k].end - 1;
            if (!holds(n, n->log_end, at, w->records[k].epoch, (int8_t)(k + 1)))
                FAIL("P1: %d is elected and lacks record %d, which was acknowledged", w->control.leader, k + 1);
        }
    if (!n->leads || n->leader_epoch != w->control.leader_epoch)
        return;
    if (watermark_epoch_committed(&n->marks) && watermark_high(&n->marks) < w->committed_count)
        FAIL("KIP-207: %d answers LATEST with %d after %d was shown", w->control.leader, (int)watermark_high(&n->marks),
             w->committed_count);
    for (int i = 0; i < NODES; i++) {
        const struct node *m = &w->nodes[i];
        if (!(w->control.isr & 1 << i) || (!m->up && !limits->device))
            continue;
        for (int at = 0; at < watermark_high(&n->marks); at++)
            if (!holds(m, m->up ? counted(m) : m->durable, at, n->epochs[at], n->records[at]))
                FAIL("P3: %d is in sync and lacks offset %d below the high watermark", i, at);
    }
}

static void check_pairs(const struct world *w)
{
    for (int i = 0; i < NODES; i++)
        for (int k = 0; k < i; k++) {
            const struct node *a = &w->nodes[i];
            const struct node *b = &w->nodes[k];
            if (!a->up || !b->up)
                continue;
            if (a->leads && b->leads && a->leader_epoch == b->leader_epoch)
                FAIL("P8: %d and %d lead in epoch %d", k, i, a->leader_epoch);
            int64_t high = TIDE_MIN(watermark_high(&a->marks), watermark_high(&b->marks));
            for (int at = 0; at < high; at++)
                if (a->epochs[at] != b->epochs[at] || a->records[at] != b->records[at])
                    FAIL("P4: %d and %d differ at offset %d below both high watermarks", k, i, at);
        }
}

static void check_world(const struct world *w)
{
    check_elected(w);
    check_pairs(w);
    for (int i = 0; i < NODES; i++)
        if (w->nodes[i].up)
            watermark_check(&w->nodes[i].marks);
}

/* ---- control ------------------------------------------------------------------------------------------------ */

static int count_bits(int8_t bits)
{
    return __builtin_popcount((unsigned)bits);
}

/* control-plane 5, steps 2 and 6, with the members `unclean` having lost what they held. */
static void change(struct control *c, int8_t isr, int8_t leader, int8_t unclean, bool raise_epoch)
{
    int8_t elr = count_bits(isr) >= MIN_INSYNC ? 0 : (int8_t)((c->elr | c->isr) & ~isr & ~unclean);
    if (isr == c->isr && leader == c->leader && elr == c->elr && !raise_epoch)
        return;
    if (leader != c->leader || raise_epoch)
        c->leader_epoch++;
    c->isr = isr;
    c->elr = elr;
    c->leader = leader;
    c->partition_epoch++;
}

static bool can_lead(const struct control *c, int8_t isr, int8_t elr, int i)
{
    return c->alive & 1 << i && (isr & 1 << i || (isr == 0 && elr & 1 << i));
}

static void elect(struct world *w, int i)
{
    struct control *c = &w->control;
    int8_t isr = c->isr != 0 ? c->isr : (int8_t)(1 << i);
    w->elections--;
    change(c, isr, (int8_t)i, 0, false);
    c->elr &= (int8_t) ~(1 << i);
}

/* Its session is over, or it registers again: it leaves the ISR; if it led, another one is elected. */
static void leave(struct world *w, int i, bool unclean)
{
    struct control *c = &w->control;
    int8_t isr = (int8_t)(c->isr & ~(1 << i));
    int8_t lost = unclean ? (int8_t)(1 << i) : 0;
    int8_t leader = c->leader;
    if (unclean)
        c->elr &= (int8_t)~lost;
    if (leader == i)
        leader = -1;
    change(c, isr, leader, lost, false);
}

static void on_alter(struct world *w, const struct message *m)
{
    struct control *c = &w->control;
    if (m->f[6] <= c->seen[m->from] || m->from_inc != c->broker_epochs[m->from])
        return;
    c->seen[m->from] = m->f[6];
    if (m->from != c->leader || m->f[0] != c->leader_epoch || m->f[1] != c->partition_epoch)
        return;
    for (int i = 0; i < NODES; i++)
        if (m->f[2] & 1 << i && (!(c->alive & 1 << i) || (m->f[3 + i] >= 0 && m->f[3 + i] != c->broker_epochs[i]))) {
            post(w, (struct message){.kind = INELIGIBLE, .from = -1, .to = m->from, .f = {m->f[6]}});
            return;
        }
    change(c, m->f[2], c->leader, 0, false);
    post(w, (struct message){.kind = ALTERED, .from = -1, .to = m->from, .f = {m->f[6], m->f[0], c->partition_epoch, c->isr}});
}

/* ---- roles, crashes --------------------------------------------------------------------------------------------- */

static struct mail_role role_for(const struct world *w, int self)
{
    const struct control *c = &w->control;
    struct mail_role r = {.self = self, .leader = c->leader, .leader_epoch = c->leader_epoch, .partition_epoch = c->partition_epoch,
                          .replica_count = NODES, .unclean_epoch = -1};
    for (int i = 0; i < NODES; i++) {
        r.replicas[i] = i;
        r.broker_epochs[i] = c->broker_epochs[i];
        if (c->isr & 1 << i)
            r.isr[r.isr_count++] = i;
    }
    return r;
}

static void begin_marks(struct node *n, uint32_t isr, bool leads)
{
    watermark_begin(&n->marks, n->leader_epoch, 0, n->log_end, n->durable, watermark_high(&n->marks), leads ? NODES : 1, leads ? isr : 1);
}

static void become_leader(struct world *w, struct node *n, const struct mail_role *role, bool new_epoch)
{
    uint32_t isr = members_isr(&n->members, role) | 1;
    struct leader_world lw = world_of(n);
    struct leader_out out = {0};
    if (new_epoch) {
        if (n->follow.state == FOLLOWER_TRUNCATING) { /* the cut is finished first */
            cut(n, (int8_t)n->follow.settle_to);
            watermark_cut(&n->marks, n->log_end);
        }
        follower_resign(&n->follow);
        begin_epoch(n, n->leader_epoch);
        begin_marks(n, isr, true);
        n->leads = true;
    } else {
        watermark_commit_isr(&n->marks, isr);
    }
    leader_become(&n->lead, &lw, NOW, n->leader_epoch, n->partition_epoch, false, &out);
    /* The letter with the proposal comes back, too, and has nothing to say that the role does not. */
    leader_on_isr_answer(&n->lead, &lw, NOW, &(struct leader_isr_answer){.error = KAFKA_INVALID_UPDATE_VERSION});
    effects(w, n, &out);
}

static void become_follower(struct world *w, struct node *n, bool new_epoch)
{
    struct leader_world lw = world_of(n);
    struct leader_out out = {0};
    if (n->leads) {
        leader_resign(&n->lead, &lw, &out);
        effects(w, n, &out);
    }
    n->leads = false;
    if (new_epoch)
        begin_marks(n, 1, false);
    follower_become(&n->follow, NOW, n->leader, n->leader_epoch, -1);
    if (new_epoch && n->leader >= 0 && w->nodes[n->leader].up)
        follower_on_stream(&n->follow, NOW, true);
}

static void learn(struct world *w, int i)
{
    struct node *n = &w->nodes[i];
    struct mail_role role = role_for(w, i);
    bool new_epoch = role.leader_epoch > n->leader_epoch;
    if (new_epoch)
        members_begin(&n->members, &role);
    else
        members_update(&n->members, &role);
    n->leader = (int8_t)role.leader;
    n->leader_epoch = (int8_t)role.leader_epoch;
    n->partition_epoch = (int8_t)role.partition_epoch;
    if (role.leader == i)
        become_leader(w, n, &role, new_epoch);
    else
        become_follower(w, n, new_epoch);
}

static void boot(struct node *n)
{
    n->up = true;
    n->leads = n->grace_over = false;
    n->leader = n->leader_epoch = n->partition_epoch = -1;
    memset(&n->marks, 0, sizeof(n->marks));
    memset(&n->members, 0, sizeof(n->members));
    memset(n->subs, 0, sizeof(n->subs));
    memset(n->closing, 0, sizeof(n->closing));
    watermark_configure(&n->marks, MIN_INSYNC, limits->device);
    watermark_begin(&n->marks, -1, 0, n->log_end, n->durable, 0, 1, 1);
    leader_init(&n->lead, LAG_MAX, 0);
    follower_init(&n->follow, 0);
}

static void crash(struct world *w, int i)
{
    struct node *n = &w->nodes[i];
    n->up = n->leads = false;
    n->log_end = n->durable;
    /* A line is durable before its batches; one behind the end holds none. */
    while (n->line_count > 0 && n->line_starts[n->line_count - 1] > n->log_end)
        n->line_count--;
    w->crashes--;
    for (int k = 0; k < NODES; k++)
        if (w->nodes[k].up && !w->nodes[k].leads && w->nodes[k].leader == i)
            follower_on_stream(&w->nodes[k].follow, NOW, false);
}

static void restart(struct world *w, int i, bool stays)
{
    struct node *n = &w->nodes[i];
    struct control *c = &w->control;
    boot(n);
    n->incarnation++;
    n->proposals = 0;
    c->broker_epochs[i] = n->incarnation;
    c->seen[i] = 0;
    if (!stays)
        leave(w, i, !limits->device);
    else if (c->leader == i) /* it leads on, in a new epoch */
        change(c, c->isr, (int8_t)i, 0, true);
    c->alive |= (int8_t)(1 << i);
    for (int k = 0; k < NODES; k++)
        if (k != i && w->nodes[k].up && !w->nodes[k].leads && w->nodes[k].leader == i)
            follower_on_stream(&w->nodes[k].follow, NOW, true);
}

/* ---- actions ---------------------------------------------------------------------------------------------------- */

enum action_kind { DELIVER, DISK, LEARN, CLOSED, SETTLE, GRACE, SHRINK, PRODUCE, CRASH, RESTART, RESTART_IN, FENCE, ELECT, ACTION_KINDS };
static const char *const action_names[] = {"deliver", "disk",  "learn",   "closed",        "settle", "grace", "shrink",
                                           "produce", "crash", "restart", "restart in isr", "fence", "elect"};

struct action {
    uint8_t kind, a, b;
};

static unsigned actions_of(const struct world *w, struct action *to)
{
    unsigned n = 0;
    const struct control *c = &w->control;
    int record = 0;
    while (record < w->record_count && w->records[record].state != UNSENT)
        record++;
#define ADD(k, x, y) to[n++] = (struct action){.kind = (k), .a = (uint8_t)(x), .b = (uint8_t)(y)}
    for (int i = 0; i < w->net_count; i++)
        ADD(DELIVER, i, 0);
    for (int i = 0; i < NODES; i++) {
        const struct node *d = &w->nodes[i];
        if (!d->up) {
            if (c->alive & 1 << i)
                ADD(FENCE, i, 0);
            ADD(RESTART, i, 0);
            if (limits->device && c->isr & 1 << i && (c->leader != i || w->elections > 0))
                ADD(RESTART_IN, i, 0);
            continue;
        }
        if (d->durable < d->log_end && d->follow.state != FOLLOWER_TRUNCATING && limits->device)
            ADD(DISK, i, 0);
        if (d->partition_epoch < c->partition_epoch)
            ADD(LEARN, i, 0);
        for (int k = 1; k < NODES; k++)
            if (d->closing[k])
                ADD(CLOSED, i, k);
        if (d->follow.state == FOLLOWER_TRUNCATING && !d->leads)
            ADD(SETTLE, i, 0);
        if (d->leads && d->lead.isr_state == LEADER_GRACE)
            ADD(GRACE, i, 0);
        for (uint32_t k = 1; k < NODES; k++)
            if (d->leads && w->shrinks > 0 && d->lead.isr_state == LEADER_STABLE && d->marks.committed_isr & 1u << k)
                ADD(SHRINK, i, k);
        if (d->leads && record < w->record_count && d->log_end < LOG_MAX)
            ADD(PRODUCE, i, record);
        if (w->crashes > 0)
            ADD(CRASH, i, 0);
        if (w->elections > 0 && c->leader != i && can_lead(c, c->isr, c->elr, i))
            ADD(ELECT, i, 0);
    }
#undef ADD
    TIDE_ASSERT(n <= ACTIONS_MAX);
    return n;
}

static void on_append(struct node *n, const struct message *m)
{
    struct follower_log log = log_of(n);
    bool beat = m->kind == BEAT;
    enum follower_verdict v = follower_on_append(&n->follow, NOW, (uint32_t)m->f[0], m->f[1], beat ? 0 : m->f[2], !beat, false, &log);
    if (v != FOLLOWER_TAKE)
        return;
    if (!beat) {
        begin_epoch(n, m->f[3]);
        append(n, m->f[3], m->f[4]);
    }
    (void)watermark_follow(&n->marks, beat ? m->f[2] : m->f[5]);
}

static void on_answer(struct node *n, const struct message *m)
{
    struct follower_log log = log_of(n);
    int32_t own_epoch;
    int64_t own_end;
    end_for(n, m->f[3], &own_epoch, &own_end);
    struct follower_answer a = {.attempt = (uint32_t)m->f[0], .leader_epoch = m->f[1], .truncate = m->f[2] != 0, .truncate_epoch = m->f[3],
                                .truncate_end = m->f[4], .subscription = (uint32_t)m->f[5]};
    if (follower_on_answer(&n->follow, NOW, &a, &log, own_epoch, own_end) == FOLLOWER_FAIL)
        FAIL("a follower is to be cut below its high watermark");
}

static void on_subscribe(struct world *w, struct node *n, const struct message *m)
{
    struct leader_world lw = world_of(n);
    struct leader_out out = {0};
    struct leader_subscribe s = {.ask = (void *)(intptr_t)m->f[0], .broker = m->from, .broker_epoch = m->from_inc, .leader_epoch = m->f[1],
                                 .last_epoch = m->f[2], .log_end = m->f[3]};
    end_for(n, s.last_epoch, &s.own_epoch, &s.own_end);
    leader_on_subscribe(&n->lead, &lw, &s, &out);
    effects(w, n, &out);
    for (uint32_t i = 0; i < out.answer_count; i++)
        if (out.answers[i].error == 0)
            n->next[out.answers[i].replica] = (int8_t)s.log_end;
}

static void on_ack(struct node *n, const struct message *m)
{
    uint32_t replica = members_number(&n->members, m->from);
    if (replica == MEMBER_NONE)
        return;
    struct subscription_ack a = {.subscription = (uint32_t)m->f[0], .leader_epoch = m->f[1], .broker_epoch = m->from_inc, .log_end = m->f[2],
                                 .durable_end = m->f[3]};
    (void)subscription_on_ack(&n->subs[replica], &a);
}

/* Control's answer before the role that says the same (partition_committed). */
static void on_altered(struct world *w, struct node *n, const struct message *m)
{
    struct leader_world lw = world_of(n);
    struct mail_role role = role_for(w, number_of(w, n));
    struct leader_isr_answer a = {.leader_epoch = m->f[1], .partition_epoch = m->f[2]};
    role.isr_count = 0;
    for (int i = 0; i < NODES; i++)
        if (m->f[3] & 1 << i)
            role.isr[role.isr_count++] = i;
    a.isr = members_isr(&n->members, &role);
    if (!n->leads || n->leader_epoch != m->f[1] || m->f[0] != n->proposals)
        return;
    leader_on_isr_answer(&n->lead, &lw, NOW, &a);
    n->partition_epoch = (int8_t)TIDE_MAX(n->partition_epoch, m->f[2]);
}

static void deliver(struct world *w, int at)
{
    struct message m = w->net[at];
    struct node *n = m.to >= 0 ? &w->nodes[m.to] : NULL;
    switch (m.kind) {
    case SUBSCRIBE:
        if (!n->leads || n->leader_epoch != m.f[1])
            return; /* until it has heard that it leads */
        unpost(w, at); /* asked once: another grant for the same request would only cost numbers */
        on_subscribe(w, n, &m);
        return;
    case ANSWER:
        on_answer(n, &m);
        return;
    case APPEND:
    case BEAT:
        on_append(n, &m);
        return;
    case ACK:
        on_ack(n, &m);
        return;
    case ALTER:
        on_alter(w, &m);
        return;
    case ALTERED:
        unpost(w, at);
        on_altered(w, n, &m);
        return;
    default: {
        struct leader_world lw = world_of(n);
        unpost(w, at);
        if (n->leads && m.f[0] == n->proposals)
            leader_on_isr_answer(&n->lead, &lw, NOW, &(struct leader_isr_answer){.error = KAFKA_INELIGIBLE_REPLICA});
        return;
    }
    }
}

/* The core of the stream closes, and the home core hears of it. */
static void closed(struct world *w, int i, int k)
{
    struct node *n = &w->nodes[i];
    struct leader_world lw = world_of(n);
    struct leader_out out = {0};
    struct leader_follower *f = &n->lead.followers[k];
    bool waits = f->waits;
    int8_t from = (int8_t)f->waiting.log_end;
    n->closing[k] = false;
    subscription_close(&n->subs[k]);
    leader_on_closed(&n->lead, &lw, (uint32_t)k, f->number, &out);
    effects(w, n, &out);
    if (waits)
        n->next[k] = from;
}

static void shrink(struct world *w, int i, int k)
{
    struct node *n = &w->nodes[i];
    struct leader_world lw = world_of(n);
    struct leader_out out = {0};
    for (int r = 1; r < NODES; r++)
        tide_pub64_set(&n->marks.acknowledged[r].caught_up_ns, r == k ? 0 : LATE);
    leader_turn(&n->lead, &lw, LATE, &out);
    for (int r = 1; r < NODES; r++)
        tide_pub64_set(&n->marks.acknowledged[r].caught_up_ns, 0);
    effects(w, n, &out);
    w->shrinks--;
}

static void act(struct world *w, struct action a)
{
    struct node *n = &w->nodes[a.a % NODES];
    switch (a.kind) {
    case DELIVER:
        deliver(w, a.a);
        break;
    case DISK:
        n->durable = n->log_end;
        watermark_durable(&n->marks, n->durable);
        break;
    case LEARN:
        learn(w, a.a);
        break;
    case CLOSED:
        closed(w, a.a, a.b);
        break;
    case SETTLE:
        cut(n, (int8_t)n->follow.settle_to);
        watermark_cut(&n->marks, n->log_end);
        follower_on_settled(&n->follow, NOW, true);
        break;
    case GRACE:
        n->grace_over = true;
        lead_on(w, n);
        n->grace_over = false;
        break;
    case SHRINK:
        shrink(w, a.a, a.b);
        break;
    case PRODUCE:
        append(n, n->leader_epoch, (int8_t)(a.b + 1));
        /* Without enough replicas acks=all is refused; this one came with acks=1. */
        w->records[a.b].state = watermark_min_isr_met(&n->marks) ? WAITING : UNKNOWN;
        w->records[a.b].node = (int8_t)a.a;
        w->records[a.b].epoch = n->leader_epoch;
        w->records[a.b].end = n->log_end;
        break;
    case CRASH:
        crash(w, a.a);
        break;
    case RESTART:
        restart(w, a.a, false);
        break;
    case RESTART_IN:
        if (w->control.leader == a.a)
            w->elections--;
        restart(w, a.a, true);
        break;
    case FENCE:
        w->control.alive &= (int8_t) ~(1 << a.a);
        leave(w, a.a, false);
        break;
    default:
        elect(w, a.a);
        break;
    }
    go_on(w);
    check_world(w);
}

static void print_action(const struct world *w, struct action a)
{
    if (a.kind == DELIVER) {
        const struct message *m = &w->net[a.a];
        printf("  deliver %s from %d to %d:", message_names[m->kind], m->from, m->to);
        for (unsigned i = 0; i < sizeof(m->f); i++)
            printf(" %d", m->f[i]);
        printf("\n");
    } else {
        printf("  %s %d %d\n", action_names[a.kind], a.a, a.b);
    }
}

/* ---- scenarios: how the search begins ------------------------------------------------------------------------------ */

/* Everything that can happen without faults, until nothing is left; some nodes and messages may be
 * held back. */
struct hold {
    int8_t disk, learn;        /* nodes whose disk, whose news wait */
    int8_t from, to;           /* messages from and to these nodes wait */
    int8_t kinds;              /* of these kinds only; 0: all of them */
    bool alter, grace;
};

static bool is_held(const struct world *w, struct action a, const struct hold *h)
{
    if (a.kind == DELIVER) {
        const struct message *m = &w->net[a.a];
        if (m->kind == ALTER)
            return h->alter;
        if (m->kind == ALTERED)
            return h->learn & 1 << m->to;
        if (h->kinds != 0 && !(h->kinds & 1 << m->kind))
            return false;
        return (m->from >= 0 && h->from & 1 << m->from) || (m->to >= 0 && h->to & 1 << m->to);
    }
    if (a.kind == DISK)
        return h->disk & 1 << a.a;
    if (a.kind == LEARN)
        return h->learn & 1 << a.a;
    if (a.kind == GRACE)
        return h->grace;
    return a.kind != CLOSED && a.kind != SETTLE;
}

static void run(struct world *w, struct hold h)
{
    static uint8_t before[PACKED_MAX], after[PACKED_MAX];
    struct action actions[ACTIONS_MAX];
    bool moved = true;
    while (moved && violation[0] == '\0') {
        unsigned n = actions_of(w, actions);
        moved = false;
        for (unsigned i = 0; i < n && !moved; i++) {
            if (is_held(w, actions[i], &h))
                continue;
            size_t len = pack(w, before);
            act(w, actions[i]);
            moved = pack(w, after) != len || memcmp(before, after, len) != 0;
        }
    }
}

static void step(struct world *w, enum action_kind kind, int a, int b)
{
    act(w, (struct action){.kind = (uint8_t)kind, .a = (uint8_t)a, .b = (uint8_t)b});
}
static const struct hold none;

/* All three in sync, nothing written. */
static void prefix_plain(struct world *w)
{
    run(w, none);
}

/* Record 1 is everywhere and acknowledged; the followers do not know it yet. */
static void prefix_one(struct world *w)
{
    run(w, none);
    step(w, PRODUCE, 0, 0);
    run(w, (struct hold){.to = 6, .kinds = 1 << BEAT});
}

/* Record 1 is everywhere; record 2 is with the leader 0 and with 2 alone. */
static void prefix_branch(struct world *w)
{
    prefix_one(w);
    step(w, PRODUCE, 0, 1);
    run(w, (struct hold){.to = 2, .from = 2, .kinds = 1 << BEAT | 1 << APPEND | 1 << ACK});
}

/* Replica 2 has left the ISR. */
static void prefix_out(struct world *w)
{
    run(w, none);
    step(w, SHRINK, 0, 2);
    run(w, (struct hold){.grace = true, .to = 4, .from = 4});
}

/* Replica 2 has crashed, with what it had, and is back. */
static void prefix_back(struct world *w)
{
    prefix_one(w);
    step(w, CRASH, 2, 0);
    step(w, RESTART, 2, 0);
}

/* Leader 0 asked to be alone in the ISR; control agreed, and it has not heard of it. Replica 1 left before
 * record 2 was committed. */
static void prefix_alone(struct world *w)
{
    const struct hold without_1 = {.from = 2, .to = 2, .grace = true};
    run(w, none);
    step(w, PRODUCE, 0, 0);
    run(w, none);
    step(w, SHRINK, 0, 1);
    step(w, PRODUCE, 0, 1);
    run(w, without_1);
    step(w, SHRINK, 0, 2);
    run(w, (struct hold){.from = 6, .to = 6, .learn = 1, .grace = true});
}

/* 0 led with two records, of which 1 has one; 1 leads and has cut 2 back. */
static void prefix_cut(struct world *w)
{
    prefix_branch(w);
    step(w, ELECT, 1, 0);
    step(w, LEARN, 1, 0);
    step(w, LEARN, 2, 0);
    run(w, none);
}

static const struct limits scenarios[] = {
    {"plain", true, 2, 2, 1, 1, 6, 4, prefix_plain},
    {"plain-memory", false, 2, 2, 1, 1, 6, 4, prefix_plain},
    {"one", true, 2, 2, 1, 1, 6, 4, prefix_one},
    {"branch", true, 2, 2, 1, 1, 6, 4, prefix_branch},
    {"out", true, 2, 2, 1, 1, 6, 4, prefix_out},
    {"back-memory", false, 2, 2, 1, 1, 6, 4, prefix_back},
    {"alone-memory", false, 3, 2, 1, 2, 6, 6, prefix_alone},
    {"cut", true, 3, 2, 1, 1, 8, 4, prefix_cut},
    {"cut-memory", false, 3, 2, 1, 1, 8, 4, prefix_cut},
};

static void begin(struct world *w)
{
    memset(w, 0, sizeof(*w));
    w->control = (struct control){.leader = 0, .leader_epoch = 1, .partition_epoch = 1, .isr = 7, .alive = 7, .broker_epochs = {1, 1, 1}};
    w->elections = limits->elections;
    w->crashes = limits->crashes;
    w->shrinks = limits->shrinks;
    w->record_count = limits->records;
    for (int i = 0; i < NODES; i++) {
        w->nodes[i].incarnation = 1;
        boot(&w->nodes[i]);
    }
    limits->prefix(w);
}

/* ---- the search -------------------------------------------------------------------------------------------------------- */

struct seen {
    uint64_t hash;
    uint32_t parent;
    struct action action;
};

struct search {
    uint32_t count, cap, mask;
    struct seen *states;
    uint32_t *table; /* state + 1 */
    uint8_t **packed; /* of those that are not expanded yet */
    uint64_t transitions;
};

static uint64_t hash_bytes(const uint8_t *bytes, size_t len)
{
    uint64_t h = 0x9e3779b97f4a7c15ull ^ len;
    for (size_t i = 0; i < len; i += 8) {
        uint64_t x = 0;
        memcpy(&x, bytes + i, TIDE_MIN(len - i, (size_t)8));
        h = (h ^ x) * 0xff51afd7ed558ccdull;
        h ^= h >> 32;
    }
    return h * 0xc4ceb9fe1a85ec53ull ^ h >> 29;
}

static void search_init(struct search *s, uint32_t cap)
{
    uint32_t slots = 1024;
    while (slots < 2 * cap)
        slots *= 2;
    *s = (struct search){.cap = cap, .mask = slots - 1};
    s->states = calloc(cap, sizeof(*s->states));
    s->packed = calloc(cap, sizeof(*s->packed));
    s->table = calloc(slots, sizeof(*s->table));
    TIDE_ASSERT(s->states != NULL && s->packed != NULL && s->table != NULL);
}

static void search_deinit(struct search *s)
{
    for (uint32_t i = 0; i < s->count; i++)
        free(s->packed[i]);
    free(s->states);
    free(s->packed);
    free(s->table);
}

/* True when it is new. */
static bool search_add(struct search *s, const uint8_t *bytes, size_t len, uint32_t parent, struct action action)
{
    uint64_t hash = hash_bytes(bytes, len);
    uint32_t at = (uint32_t)hash & s->mask;
    for (; s->table[at] != 0; at = (at + 1) & s->mask)
        if (s->states[s->table[at] - 1].hash == hash)
            return false;
    if (s->count == s->cap)
        return false;
    s->states[s->count] = (struct seen){.hash = hash, .parent = parent, .action = action};
    s->packed[s->count] = malloc(len);
    TIDE_ASSERT(s->packed[s->count] != NULL);
    memcpy(s->packed[s->count], bytes, len);
    s->table[at] = ++s->count;
    return true;
}

static void print_path(const struct search *s, uint32_t state, struct action last)
{
    static struct world w;
    static struct action path[4096];
    unsigned n = 0;
    path[n++] = last;
    for (uint32_t i = state; i != 0 && n < TIDE_ARRAY_LEN(path); i = s->states[i].parent)
        path[n++] = s->states[i].action;
    char why[sizeof(violation)];
    memcpy(why, violation, sizeof(why));
    violation[0] = '\0';
    begin(&w);
    printf("scenario %s, then:\n", limits->name);
    while (n-- > 0) {
        print_action(&w, path[n]);
        act(&w, path[n]);
    }
    printf("%s\n", why);
}

static bool search(uint32_t cap, uint32_t *ret_states, bool *ret_whole)
{
    static struct world w, next;
    static uint8_t bytes[PACKED_MAX];
    struct action actions[ACTIONS_MAX];
    struct search s;
    search_init(&s, cap);
    begin(&w);
    (void)search_add(&s, bytes, pack(&w, bytes), 0, (struct action){0});
    for (uint32_t at = 0; at < s.count && violation[0] == '\0'; at++) {
        unpack(&w, s.packed[at]);
        unsigned n = actions_of(&w, actions);
        for (unsigned i = 0; i < n && violation[0] == '\0'; i++) {
            unpack(&next, s.packed[at]);
            act(&next, actions[i]);
            s.transitions++;
            if (violation[0] != '\0')
                print_path(&s, at, actions[i]);
            else
                (void)search_add(&s, bytes, pack(&next, bytes), at, actions[i]);
        }
        free(s.packed[at]);
        s.packed[at] = NULL;
    }
    *ret_states = s.count;
    *ret_whole = s.count < s.cap;
    search_deinit(&s);
    return violation[0] == '\0';
}

/* One path at random, deeper than the search gets. */
static bool walk(uint64_t seed)
{
    static struct world w;
    static struct action path[400];
    struct action actions[ACTIONS_MAX];
    struct tide_random random;
    unsigned n;
    unsigned depth = 0;
    random = (struct tide_random){.state = seed};
    begin(&w);
    for (; depth < TIDE_ARRAY_LEN(path) && violation[0] == '\0' && (n = actions_of(&w, actions)) != 0; depth++) {
        path[depth] = actions[tide_random_below(&random, n)];
        act(&w, path[depth]);
    }
    if (violation[0] == '\0')
        return true;
    printf("scenario %s, walk %llu: %s\n", limits->name, (unsigned long long)seed, violation);
    return false;
}

struct options {
    uint32_t states;
    uint64_t walks, seed;
    const char *scenario;
};

static bool run_scenario(const struct limits *l, const struct options *o, uint64_t *states)
{
    uint32_t count;
    bool whole;
    limits = l;
    violation[0] = '\0';
    bool good = search(o->states, &count, &whole);
    *states += count;
    printf("%-14s %8u distinct states%s\n", l->name, count, good && whole ? ", which are all there are" : "");
    for (uint64_t i = 0; good && i < o->walks; i++)
        good = walk(o->seed + i);
    fflush(stdout);
    return good;
}

static bool run_all(const struct options *o)
{
    uint64_t states = 0;
    bool good = true;
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(scenarios) && good; i++)
        if (o->scenario == NULL || strcmp(o->scenario, scenarios[i].name) == 0)
            good = run_scenario(&scenarios[i], o, &states);
    printf("%llu distinct states, %s\n", (unsigned long long)states, good ? "no violation" : violation);
    return good;
}

/* ---- mutants ----------------------------------------------------------------------------------------------------------- */

static const char *const mutant_names[MUTANT_COUNT] = {
    [MUTANT_NONE] = "none",
#define MUTANT_ROW(name, text) [MUTANT_##name] = #name,
#include "tidemark/mutants.def"
#undef MUTANT_ROW
};

/* Those whose rule is in the sources that are searched. */
static const enum tide_mutant searched[] = {
    MUTANT_TRUNCATE_BY_HIGH, MUTANT_MAXIMAL_ISR, MUTANT_GROW_LOOK, MUTANT_SUBSCRIPTION_FENCE, MUTANT_FREEZE,
    MUTANT_INCARNATION,      MUTANT_ACK_EPOCH,   MUTANT_DURABLE,   MUTANT_EPOCH_START,
};

static bool is_noticed(enum tide_mutant m, const struct options *o)
{
    int status;
    fflush(stdout);
    pid_t child = fork();
    TIDE_ASSERT(child >= 0);
    if (child == 0) {
        tide_mutant = m;
        _exit(run_all(o) ? 0 : 1);
    }
    TIDE_ASSERT(waitpid(child, &status, 0) == child);
    bool noticed = status != 0;
    printf("%s: %s\n", mutant_names[m], noticed ? "noticed" : "NOT NOTICED");
    return noticed;
}

/* All of them; with TIDE_ROTATION=N, as in a normal run of all tests, the Nth two. */
static bool are_noticed(const struct options *o)
{
    const char *turn = getenv("TIDE_ROTATION");
    unsigned long first = turn != NULL ? 2 * strtoul(turn, NULL, 10) : 0;
    unsigned long n = turn != NULL ? 2 : TIDE_ARRAY_LEN(searched);
    bool good = true;
    for (unsigned long i = first; i < first + n; i++)
        good &= is_noticed(searched[i % TIDE_ARRAY_LEN(searched)], o);
    return good;
}

int main(int argc, char **argv)
{
    struct options o = {.states = 60000, .seed = 1};
    bool mutants = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--mutants") == 0)
            mutants = true;
        else if (i + 1 < argc && strcmp(argv[i], "--states") == 0)
            o.states = (uint32_t)strtoul(argv[++i], NULL, 10);
        else if (i + 1 < argc && strcmp(argv[i], "--walks") == 0)
            o.walks = strtoull(argv[++i], NULL, 10);
        else if (i + 1 < argc && strcmp(argv[i], "--seed") == 0)
            o.seed = strtoull(argv[++i], NULL, 10);
        else if (i + 1 < argc && strcmp(argv[i], "--scenario") == 0)
            o.scenario = argv[++i];
        else if (i + 1 < argc && strcmp(argv[i], "--mutant") == 0) {
            i++;
            for (int m = 0; m < MUTANT_COUNT; m++)
                if (strcmp(argv[i], mutant_names[m]) == 0)
                    tide_mutant = (enum tide_mutant)m;
        } else {
            fprintf(stderr, "sim_search: what is %s?\n", argv[i]);
            return 2;
        }
    }
    if (mutants)
        return are_noticed(&o) ? 0 : 1;
    const char *full = getenv("TIDE_FULL");
    if (full != NULL && strcmp(full, "1") == 0) { /* more than two million states together */
        o.states = TIDE_MAX(o.states, 250000u);
        o.walks = TIDE_MAX(o.walks, 2000u);
    }
    return run_all(&o) ? 0 : 1;
}
