/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A replica of sim_search: a model of a log around the code that is searched.
 */
#include <string.h>

#include "kafka/errors.h"
#include "sim_search_world.h"
#include "tidemark/assert.h"

/* ---- the model of a log ------------------------------------------------------------------------------ */

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

static int8_t number_of(const struct world *w, const struct node *n)
{
    return (int8_t)(n - w->nodes);
}

static void propose(struct world *w, struct node *n, const struct leader_proposal *p)
{
    int8_t isr = 0;
    struct message m = {.kind = ALTER, .from = number_of(w, n), .to = -1};
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
    world_post(w, m);
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
        world_post(w, (struct message){.kind = ANSWER,
                                 .from = number_of(w, n),
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
        int8_t me = number_of(w, n);
        if (!s->open || s->leader_epoch != n->leader_epoch || !n->leads || n->next[i] < 0)
            continue;
        for (; n->next[i] < n->log_end; n->next[i]++) {
            int8_t at = n->next[i];
            world_post(w, (struct message){.kind = APPEND, .from = me, .to = (int8_t)n->members.ids[i],
                                     .f = {(int8_t)s->number, (int8_t)s->leader_epoch, at, n->epochs[at], n->records[at], high}});
            n->told[i] = high;
        }
        if (high > n->told[i])
            world_post(w, (struct message){.kind = BEAT, .from = me, .to = (int8_t)n->members.ids[i],
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
    int8_t me = number_of(w, n);
    if (follower_wants_subscribe(&n->follow, NOW) && n->follow.attempt < (uint32_t)limits->attempts) {
        follower_subscribe(&n->follow, &log, &s);
        world_post(w, (struct message){.kind = SUBSCRIBE, .from = me, .to = n->leader,
                                 .f = {(int8_t)s.attempt, (int8_t)s.leader_epoch, (int8_t)s.last_epoch, (int8_t)s.log_end}});
    }
    if (follower_ack(&n->follow, &log, &a))
        world_post(w, (struct message){.kind = ACK, .from = me, .to = n->leader,
                                 .f = {(int8_t)a.subscription, (int8_t)a.leader_epoch, (int8_t)a.log_end, (int8_t)a.durable_end}});
    follower_check(&n->follow, &log);
}

void node_turn(struct world *w, struct node *n)
{
    if (n->leads)
        lead_on(w, n);
    else
        follow_on(w, n);
}

/* ---- roles --------------------------------------------------------------------------------------------- */

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

void node_learn(struct world *w, struct node *n)
{
    struct mail_role role = world_role(w, number_of(w, n));
    bool new_epoch = role.leader_epoch > n->leader_epoch;
    if (new_epoch)
        members_begin(&n->members, &role);
    else
        members_update(&n->members, &role);
    n->leader = (int8_t)role.leader;
    n->leader_epoch = (int8_t)role.leader_epoch;
    n->partition_epoch = (int8_t)role.partition_epoch;
    if (role.leader == role.self)
        become_leader(w, n, &role, new_epoch);
    else
        become_follower(w, n, new_epoch);
}

void node_boot(struct node *n)
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

void node_crash(struct node *n)
{
    n->up = n->leads = false;
    n->log_end = n->durable;
    /* A line is durable before its batches; one behind the end holds none. */
    while (n->line_count > 0 && n->line_starts[n->line_count - 1] > n->log_end)
        n->line_count--;
}

/* ---- messages ------------------------------------------------------------------------------------------ */

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
    struct mail_role role = world_role(w, number_of(w, n));
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

/* Control refuses what it proposed. */
static void on_ineligible(struct node *n, const struct message *m)
{
    struct leader_world lw = world_of(n);
    if (n->leads && m->f[0] == n->proposals)
        leader_on_isr_answer(&n->lead, &lw, NOW, &(struct leader_isr_answer){.error = KAFKA_INELIGIBLE_REPLICA});
}

void node_on_message(struct world *w, struct node *n, const struct message *m)
{
    switch (m->kind) {
    case SUBSCRIBE:
        on_subscribe(w, n, m);
        break;
    case ANSWER:
        on_answer(n, m);
        break;
    case APPEND:
    case BEAT:
        on_append(n, m);
        break;
    case ACK:
        on_ack(n, m);
        break;
    case ALTERED:
        on_altered(w, n, m);
        break;
    default:
        TIDE_ASSERT(m->kind == INELIGIBLE);
        on_ineligible(n, m);
        break;
    }
}

/* ---- what happens beside messages ----------------------------------------------------------------------- */

void node_on_closed(struct world *w, struct node *n, int k)
{
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

void node_shrink(struct world *w, struct node *n, int k)
{
    struct leader_world lw = world_of(n);
    struct leader_out out = {0};
    for (int r = 1; r < NODES; r++)
        tide_pub64_set(&n->marks.acknowledged[r].caught_up_ns, r == k ? 0 : LATE);
    leader_turn(&n->lead, &lw, LATE, &out);
    for (int r = 1; r < NODES; r++)
        tide_pub64_set(&n->marks.acknowledged[r].caught_up_ns, 0);
    effects(w, n, &out);
}

void node_on_disk(struct node *n)
{
    n->durable = n->log_end;
    watermark_durable(&n->marks, n->durable);
}

void node_on_settled(struct node *n)
{
    cut(n, (int8_t)n->follow.settle_to);
    watermark_cut(&n->marks, n->log_end);
    follower_on_settled(&n->follow, NOW, true);
}

void node_on_grace(struct world *w, struct node *n)
{
    n->grace_over = true;
    lead_on(w, n);
    n->grace_over = false;
}

void node_on_produce(struct node *n, int8_t record)
{
    append(n, n->leader_epoch, record);
}
