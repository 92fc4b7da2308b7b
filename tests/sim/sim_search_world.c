/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is around the replicas of sim_search: the network, control, power, and the choices.
 */
#include <string.h>

#include "sim_search_world.h"
#include "tidemark/assert.h"

const struct limits *limits;
char violation[256];

static const char *const message_names[] = {"SUBSCRIBE", "ANSWER", "APPEND", "BEAT", "ACK", "ALTER", "INELIGIBLE", "ALTERED"};
static const char *const action_names[] = {"deliver", "disk",  "learn",   "closed",        "settle", "grace", "shrink",
                                           "produce", "crash", "restart", "restart in isr", "fence", "elect"};

/* ---- the network: a sorted set --------------------------------------------------------------------- */

void world_post(struct world *w, struct message m)
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
            world_post(w, (struct message){.kind = INELIGIBLE, .from = -1, .to = m->from, .f = {m->f[6]}});
            return;
        }
    change(c, m->f[2], c->leader, 0, false);
    world_post(w, (struct message){.kind = ALTERED, .from = -1, .to = m->from, .f = {m->f[6], m->f[0], c->partition_epoch, c->isr}});
}

struct mail_role world_role(const struct world *w, int self)
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

/* ---- crashes ------------------------------------------------------------------------------------------------ */

static void crash(struct world *w, int i)
{
    struct node *n = &w->nodes[i];
    node_crash(n);
    w->crashes--;
    for (int k = 0; k < NODES; k++)
        if (w->nodes[k].up && !w->nodes[k].leads && w->nodes[k].leader == i)
            follower_on_stream(&w->nodes[k].follow, NOW, false);
}

static void restart(struct world *w, int i, bool stays)
{
    struct node *n = &w->nodes[i];
    struct control *c = &w->control;
    node_boot(n);
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

/* ---- what follows from an action ------------------------------------------------------------------------------ */

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
        if (n->up)
            node_turn(w, n);
    }
    settle_records(w);
    note_committed(w);
    purge(w);
}

/* ---- actions ---------------------------------------------------------------------------------------------------- */

unsigned world_actions(const struct world *w, struct action *to)
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

static void deliver(struct world *w, int at)
{
    struct message m = w->net[at];
    if (m.kind == ALTER) {
        on_alter(w, &m);
        return;
    }
    struct node *n = &w->nodes[m.to];
    if (m.kind == SUBSCRIBE && (!n->leads || n->leader_epoch != m.f[1]))
        return; /* until it has heard that it leads */
    if (m.kind == SUBSCRIBE || m.kind == ALTERED || m.kind == INELIGIBLE)
        unpost(w, at); /* once: another grant for the same request would only cost numbers */
    node_on_message(w, n, &m);
}

void world_act(struct world *w, struct action a)
{
    struct node *n = &w->nodes[a.a % NODES];
    switch (a.kind) {
    case DELIVER:
        deliver(w, a.a);
        break;
    case DISK:
        node_on_disk(n);
        break;
    case LEARN:
        node_learn(w, n);
        break;
    case CLOSED:
        node_on_closed(w, n, a.b);
        break;
    case SETTLE:
        node_on_settled(n);
        break;
    case GRACE:
        node_on_grace(w, n);
        break;
    case SHRINK:
        node_shrink(w, n, a.b);
        w->shrinks--;
        break;
    case PRODUCE:
        node_on_produce(n, (int8_t)(a.b + 1));
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
    world_check(w);
}

void world_print_action(const struct world *w, struct action a)
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

void world_begin(struct world *w)
{
    memset(w, 0, sizeof(*w));
    w->control = (struct control){.leader = 0, .leader_epoch = 1, .partition_epoch = 1, .isr = 7, .alive = 7, .broker_epochs = {1, 1, 1}};
    w->elections = limits->elections;
    w->crashes = limits->crashes;
    w->shrinks = limits->shrinks;
    w->record_count = limits->records;
    for (int i = 0; i < NODES; i++) {
        w->nodes[i].incarnation = 1;
        node_boot(&w->nodes[i]);
    }
}
