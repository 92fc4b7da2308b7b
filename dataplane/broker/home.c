/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The home core of a leading replica: who may be fed, which ISR is wanted. replica/leader.h decides; here
 * its letters are written and its answers carried.
 *
 * Letters come from a pool that may be empty. A question that was not sent is sent in a later turn
 * (`unsent_closes`); a proposal counts as one whose answer got lost.
 */
#include "broker/peers.h"

#include <stdlib.h>

#include "log/epochs.h"

static struct home_leader *of(const struct broker *b, const struct partition *p)
{
    return &b->peers->leaders[partition_slot(p)];
}

static struct leader_world world_of(const struct broker *b, struct partition *p)
{
    return (struct leader_world){.members = partition_members(p),
                                 .marks = partition_marks(p),
                                 .grace = b->config.grace.begin != NULL ? &b->config.grace : NULL,
                                 .has_lease = partition_has_lease(p, &b->time),
                                 .started = partition_has_started(p)};
}

bool home_create(struct broker *b)
{
    uint64_t lag = (uint64_t)b->settings->replica_lag_time_max_ms * TIDE_NS_PER_MS;
    b->peers->leaders = calloc(TIDE_PARTITIONS_MAX, sizeof(*b->peers->leaders)); /* pages that nobody uses stay untouched */
    b->peers->leaders_ns = TIDE_NEVER;
    b->peers->lag_max_ns = lag;
    return b->peers->leaders != NULL;
}

void home_destroy(struct broker *b)
{
    free(b->peers->leaders);
}

void home_adopt(struct broker *b, struct partition *p)
{
    struct home_leader *h = of(b, p);
    *h = (struct home_leader){.partition_epoch = -1};
    leader_init(&h->leader, b->peers->lag_max_ns, HOME_RETRY_MS * TIDE_NS_PER_MS);
}

/* ---- effects --------------------------------------------------------------------------------------- */

static void answer(struct broker *b, const struct leader_answer *a)
{
    struct tide_mail *m = a->ask;
    struct mail_subscribe *s = &m->subscribe;
    s->error = a->error;
    s->truncate = a->truncate;
    s->truncate_epoch = a->truncate_epoch;
    s->truncate_end = a->truncate_end;
    s->skip = a->skip;
    s->skip_to = a->skip_to;
    s->skip_epoch = a->skip_epoch;
    s->replica = a->replica;
    s->subscription = a->subscription;
    if (m->pool != b->mails)
        mail_out(b, m->from, m);
    else
        feeds_on_answer(b, m);
}

static void propose(struct broker *b, struct partition *p, const struct leader_proposal *l)
{
    struct tide_mail *m = mail_take(b, MAIL_ISR);
    if (m == NULL) {
        struct leader_world w = world_of(b, p);
        const struct leader_isr_answer lost = {.error = KAFKA_REQUEST_TIMED_OUT, .leader_epoch = l->leader_epoch};
        leader_on_isr_answer(&of(b, p)->leader, &w, b->time.now_ns, &lost);
        return;
    }
    m->isr = (struct mail_isr){.partition = p, .leader_epoch = l->leader_epoch, .partition_epoch = l->partition_epoch, .count = l->count,
                               .recovering = l->recovering};
    memcpy(m->isr.isr, l->isr, sizeof(m->isr.isr));
    memcpy(m->isr.broker_epochs, l->broker_epochs, sizeof(m->isr.broker_epochs));
    slot_use(b, p);
    tide_count(b->counters, COUNTER_isr_proposals);
    mail_out(b, b->config.office->core_count, m);
}

static bool close_there(struct broker *b, struct partition *p, const struct leader_close *c)
{
    struct tide_mail *m = mail_take(b, MAIL_UNSUBSCRIBE);
    if (m == NULL)
        return false;
    m->unsubscribe = (struct mail_unsubscribe){.partition = p, .subscription = c->subscription, .replica = c->replica};
    slot_use(b, p);
    mail_out(b, c->core, m);
    return true;
}

static void run(struct broker *b, struct partition *p, struct leader_out *out)
{
    struct home_leader *h = of(b, p);
    struct leader_world w = world_of(b, p);
    slot_dirty(b, partition_slot(p));
    for (uint32_t i = 0; i < out->answer_count; i++)
        answer(b, &out->answers[i]);
    for (uint32_t i = 0; i < out->close_count; i++) {
        const struct leader_close *c = &out->closes[i];
        struct leader_out more = {0};
        if (c->core != b->config.core) {
            if (!close_there(b, p, c))
                h->unsent_closes |= 1u << c->replica;
            continue;
        }
        feeds_close(b, p, c->replica, c->subscription);
        leader_on_closed(&h->leader, &w, c->replica, c->subscription, &more);
        for (uint32_t k = 0; k < more.answer_count; k++)
            answer(b, &more.answers[k]);
    }
    if (out->proposes)
        propose(b, p, &out->proposal);
}

/* ---- subscriptions ----------------------------------------------------------------------------------- */

/* The epoch of the record at that offset, as far as the lines tell. */
static int32_t epoch_at(struct log *log, int64_t offset)
{
    int32_t epoch = -1, before;
    int64_t end, start;
    log_end_for_epoch(log, INT32_MAX, &epoch, &end);
    for (unsigned i = 0; epoch > 0 && i < LOG_EPOCHS_MAX; i++) {
        log_end_for_epoch(log, epoch - 1, &before, &start);
        if (before < 0 || before >= epoch || start <= offset)
            break;
        epoch = before;
    }
    return epoch;
}

void home_on_subscribe(struct broker *b, struct tide_mail *m, struct tide_out *out)
{
    struct mail_subscribe *a = &m->subscribe;
    struct partition *p = a->partition;
    struct leader_out effects = {0};
    (void)out;
    if (b->home[partition_slot(p)].partition != p || !partition_is_leader(p)) {
        answer(b, &(struct leader_answer){.ask = m, .error = KAFKA_NOT_LEADER_OR_FOLLOWER});
        return;
    }
    struct log *log = partition_log(p);
    struct leader_world w = world_of(b, p);
    struct leader_subscribe s = {.ask = m,
                                 .core = m->pool != b->mails ? m->from : b->config.core,
                                 .broker = a->broker,
                                 .broker_epoch = a->broker_epoch,
                                 .leader_epoch = a->leader_epoch,
                                 .last_epoch = a->last_epoch,
                                 .log_end = a->log_end,
                                 .own_start = log_start_offset(log)};
    s.own_start_epoch = epoch_at(log, s.own_start);
    log_end_for_epoch(log, a->last_epoch, &s.own_epoch, &s.own_end);
    home_turn(b, p); /* a role that just began is the one that is asked */
    leader_on_subscribe(&of(b, p)->leader, &w, &s, &effects);
    run(b, p, &effects);
}

static void closed(struct broker *b, struct partition *p, uint32_t replica, uint32_t number)
{
    struct leader_out effects = {0};
    struct leader_world w;
    if (b->home[partition_slot(p)].partition != p)
        return;
    w = world_of(b, p);
    leader_on_closed(&of(b, p)->leader, &w, replica, number, &effects);
    run(b, p, &effects);
}

void home_closed(struct broker *b, struct partition *p, uint32_t replica, uint32_t number)
{
    struct tide_mail *m;
    if (partition_home(p) == b->config.core) {
        closed(b, p, replica, number);
        return;
    }
    m = mail_take(b, MAIL_UNSUBSCRIBE);
    if (m == NULL)
        return; /* the home core asks before it grants another */
    m->unsubscribe = (struct mail_unsubscribe){.partition = p, .subscription = number, .replica = replica, .gone = true};
    slot_use(b, p);
    mail_out(b, partition_home(p), m);
}

static void on_unsubscribe(struct broker *b, struct tide_mail *m)
{
    struct mail_unsubscribe u = m->unsubscribe;
    bool ours = m->pool == b->mails;
    if (ours) {
        mail_give(m);
        if (!u.gone)
            closed(b, u.partition, u.replica, u.subscription);
        slot_unuse(b, u.partition);
        return;
    }
    if (u.gone)
        closed(b, u.partition, u.replica, u.subscription);
    else
        feeds_close(b, u.partition, u.replica, u.subscription);
    mail_out(b, m->from, m);
}

/* ---- the ISR --------------------------------------------------------------------------------------------- */

static void on_isr(struct broker *b, struct tide_mail *m)
{
    const struct mail_isr a = m->isr;
    struct partition *p = a.partition;
    struct leader_isr_answer l = {.error = a.error, .leader_epoch = a.leader_epoch, .partition_epoch = a.partition_epoch,
                                  .recovering = a.recovering};
    mail_give(m);
    if (b->home[partition_slot(p)].partition == p) {
        struct leader_world w = world_of(b, p);
        for (uint32_t i = 0; i < a.count && i < TIDE_REPLICAS_MAX; i++) {
            uint32_t number = members_number(w.members, a.isr[i]);
            if (number != MEMBER_NONE)
                l.isr |= 1u << number;
        }
        leader_on_isr_answer(&of(b, p)->leader, &w, b->time.now_ns, &l);
        if (a.error == 0)
            partition_committed(p, a.leader_epoch, a.partition_epoch);
        slot_dirty(b, partition_slot(p));
    }
    slot_unuse(b, p);
}

void home_on_mail(struct broker *b, struct tide_mail *m, struct tide_out *out)
{
    if (m->kind == MAIL_UNSUBSCRIBE)
        on_unsubscribe(b, m);
    else if (m->kind == MAIL_ISR)
        on_isr(b, m);
    else if (m->pool == b->mails)
        feeds_on_answer(b, m);
    else
        home_on_subscribe(b, m, out);
}

/* ---- roles ------------------------------------------------------------------------------------------------ */

void home_on_role(struct broker *b, struct partition *p, const struct mail_role *role)
{
    struct home_leader *h = of(b, p);
    h->begins = role->leader == role->self;
    h->leader_epoch = role->leader_epoch;
    h->partition_epoch = role->partition_epoch;
    h->recovering = role->recovering;
    home_turn(b, p);
}

void home_resign(struct broker *b, struct partition *p)
{
    struct leader_out effects = {0};
    struct leader_world w = world_of(b, p);
    if (!of(b, p)->leader.leads)
        return;
    leader_resign(&of(b, p)->leader, &w, &effects);
    run(b, p, &effects);
}

static void send_again(struct broker *b, struct partition *p, struct home_leader *h)
{
    for (uint32_t i = 1; h->unsent_closes != 0 && i < TIDE_REPLICAS_MAX; i++) {
        const struct leader_follower *f = &h->leader.followers[i];
        const struct leader_close c = {.core = f->core, .replica = i, .subscription = f->number};
        if (!(h->unsent_closes & 1u << i))
            continue;
        if (f->state == LEADER_CLOSING && !close_there(b, p, &c))
            return;
        h->unsent_closes &= ~(1u << i);
    }
}

void home_failed(struct broker *b, struct partition *p)
{
    b->home[partition_slot(p)].of_no_use = true;
    slot_dirty(b, partition_slot(p));
}

void home_turn(struct broker *b, struct partition *p)
{
    struct home_leader *h = of(b, p);
    struct leader_out effects = {0};
    struct leader_world w;
    send_again(b, p, h);
    if (!partition_is_leader(p)) {
        home_resign(b, p);
        return;
    }
    w = world_of(b, p);
    if (h->begins) {
        h->begins = false;
        leader_become(&h->leader, &w, b->time.now_ns, h->leader_epoch, h->partition_epoch, h->recovering, &effects);
        run(b, p, &effects);
        effects = (struct leader_out){0};
    }
    leader_turn(&h->leader, &w, b->time.now_ns, &effects);
    if (effects.answer_count + effects.close_count != 0 || effects.proposes)
        run(b, p, &effects);
    b->peers->leaders_ns = TIDE_MIN(b->peers->leaders_ns, leader_deadline_ns(&h->leader, &w));
}

bool home_has_work(const struct broker *b, const struct partition *p)
{
    const struct home_leader *h = of(b, p);
    return h->begins || h->unsent_closes != 0 || h->leader.isr_state == LEADER_GRACE;
}

/* Those whose time has come get a turn. */
void home_on_time(struct broker *b)
{
    uint64_t now = b->time.now_ns;
    if (now < b->peers->leaders_ns)
        return;
    b->peers->leaders_ns = TIDE_NEVER;
    for (uint32_t i = 0; i < b->home_count; i++) {
        struct partition *p = b->home[b->homes[i]].partition;
        struct leader_world w = world_of(b, p);
        uint64_t at = leader_deadline_ns(&of(b, p)->leader, &w);
        if (at <= now)
            slot_dirty(b, b->homes[i]);
        else
            b->peers->leaders_ns = TIDE_MIN(b->peers->leaders_ns, at);
    }
}

void home_check(const struct broker *b)
{
    for (uint32_t i = 0; i < b->home_count; i++) {
        struct partition *p = b->home[b->homes[i]].partition;
        struct leader_world w = world_of(b, p);
        if (partition_is_leader(p) && !of(b, p)->begins)
            leader_check(&of(b, p)->leader, &w);
    }
}
