/* SPDX-License-Identifier: Apache-2.0 */
#include "replica/leader.h"

#include "kafka/errors.h"
#include "tidemark/assert.h"
#include "tidemark/mutant.h"

#define TO(s) (1u << LEADER_##s)
static const struct {
    const char *name;
    uint32_t next;
} subscription_states[LEADER_SUBSCRIPTION_STATE_COUNT] = {
    [LEADER_NONE] = {"none", TO(OPEN)},
    [LEADER_OPEN] = {"open", TO(CLOSING) | TO(NONE)},
    [LEADER_CLOSING] = {"closing", TO(NONE)},
};
static const struct {
    const char *name;
    uint32_t next;
} isr_states[LEADER_ISR_STATE_COUNT] = {
    [LEADER_STABLE] = {"stable", TO(STABLE) | TO(GRACE) | TO(PENDING)},
    [LEADER_GRACE] = {"grace", TO(STABLE) | TO(PENDING)},
    [LEADER_PENDING] = {"pending", TO(STABLE) | TO(LOST)},
    [LEADER_LOST] = {"lost", TO(STABLE)},
};

static void follower_move(struct leader_follower *f, enum leader_subscription_state to)
{
    TIDE_ASSERT(subscription_states[f->state].next & 1u << to);
    f->state = to;
}

static void isr_move(struct leader *l, enum leader_isr_state to)
{
    TIDE_ASSERT(isr_states[l->isr_state].next & 1u << to);
    l->isr_state = to;
}

void leader_init(struct leader *l, uint64_t lag_max_ns, uint64_t retry_ns)
{
    *l = (struct leader){.leader_epoch = -1, .partition_epoch = -1, .lag_max_ns = lag_max_ns, .retry_ns = retry_ns};
}

/* ---- subscriptions --------------------------------------------------------------------------------- */

static void answer(struct leader_out *out, const struct leader_answer *a)
{
    TIDE_ASSERT(out->answer_count < TIDE_ARRAY_LEN(out->answers));
    out->answers[out->answer_count++] = *a;
}

static void refuse(struct leader_out *out, const struct leader_subscribe *s, int16_t error)
{
    answer(out, &(struct leader_answer){.ask = s->ask, .error = error, .replica = MEMBER_NONE});
}

/* Nothing that it acknowledges counts from here on. */
static void close_subscription(struct leader *l, const struct leader_world *w, uint32_t replica, struct leader_out *out)
{
    struct leader_follower *f = &l->followers[replica];
    if (f->state != LEADER_OPEN)
        return;
    follower_move(f, LEADER_CLOSING);
    watermark_forget(w->marks, replica);
    TIDE_ASSERT(out->close_count < TIDE_ARRAY_LEN(out->closes));
    out->closes[out->close_count++] = (struct leader_close){.core = f->core, .replica = replica, .subscription = f->number};
}

/* The logs agree when the follower's ends inside of what we have of its last epoch (KIP-101, KIP-279). */
static bool agree(const struct leader_subscribe *s)
{
    if (s->log_end == 0)
        return true;
    return s->own_epoch == s->last_epoch && s->log_end <= s->own_end;
}

/* It has batches of this epoch that came from a log which is not there any more. */
static bool is_of_another_life(const struct leader *l, const struct leader_world *w, uint32_t replica, const struct leader_subscribe *s)
{
    return !l->followers[replica].fed && s->last_epoch == l->leader_epoch && s->log_end > w->marks->epoch_start;
}

/* Nobody writes the follower's words. */
static void grant(struct leader *l, const struct leader_world *w, uint32_t replica, const struct leader_subscribe *s, struct leader_out *out)
{
    struct leader_follower *f = &l->followers[replica];
    f->waits = false;
    watermark_forget(w->marks, replica);
    if (is_of_another_life(l, w, replica, s)) {
        answer(out, &(struct leader_answer){.ask = s->ask, .truncate = true, .truncate_epoch = l->leader_epoch,
                                            .truncate_end = w->marks->epoch_start, .replica = replica});
        return;
    }
    if (!agree(s)) {
        answer(out, &(struct leader_answer){.ask = s->ask, .truncate = true, .truncate_epoch = s->own_epoch, .truncate_end = s->own_end,
                                            .replica = replica});
        return;
    }
    if (s->log_end < s->own_start) {
        answer(out, &(struct leader_answer){.ask = s->ask, .skip = true, .skip_to = s->own_start, .skip_epoch = s->own_start_epoch,
                                            .replica = replica});
        return;
    }
    f->number = ++l->last_number; /* D3 */
    f->core = s->core;
    f->broker_epoch = s->broker_epoch;
    f->fed = true;
    follower_move(f, LEADER_OPEN);
    watermark_listen(w->marks, replica);
    answer(out, &(struct leader_answer){.ask = s->ask, .replica = replica, .subscription = f->number});
}

/* Every reason not to grant it, whatever subscriptions there are. */
static int16_t subscribe_error(const struct leader *l, const struct leader_subscribe *s, uint32_t replica)
{
    if (s->leader_epoch > l->leader_epoch)
        return KAFKA_UNKNOWN_LEADER_EPOCH;
    if (!l->leads)
        return KAFKA_NOT_LEADER_OR_FOLLOWER;
    if (s->leader_epoch < l->leader_epoch)
        return KAFKA_FENCED_LEADER_EPOCH;
    if (replica == MEMBER_NONE || replica == MEMBER_SELF)
        return KAFKA_REPLICA_NOT_AVAILABLE;
    if (s->broker_epoch < l->followers[replica].newest_epoch)
        return KAFKA_STALE_BROKER_EPOCH;
    return 0;
}

void leader_on_subscribe(struct leader *l, const struct leader_world *w, const struct leader_subscribe *s, struct leader_out *out)
{
    uint32_t replica = members_number(w->members, s->broker);
    struct leader_follower *f = replica != MEMBER_NONE ? &l->followers[replica] : NULL;
    int16_t error = subscribe_error(l, s, replica);
    if (error != 0) {
        refuse(out, s, error);
        return;
    }
    f->newest_epoch = s->broker_epoch;
    if (f->waits) /* the follower has given up that one */
        refuse(out, &f->waiting, KAFKA_REQUEST_TIMED_OUT);
    close_subscription(l, w, replica, out);
    if (f->state == LEADER_NONE) {
        grant(l, w, replica, s, out);
        return;
    }
    f->waiting = *s;
    f->waits = true;
}

void leader_on_closed(struct leader *l, const struct leader_world *w, uint32_t replica, uint32_t subscription, struct leader_out *out)
{
    struct leader_follower *f = &l->followers[replica];
    if (replica >= TIDE_REPLICAS_MAX || f->number != subscription || f->state == LEADER_NONE)
        return;
    follower_move(f, LEADER_NONE);
    if (!f->waits)
        return;
    struct leader_subscribe s = f->waiting;
    int16_t error = subscribe_error(l, &s, replica);
    f->waits = false;
    if (error != 0)
        refuse(out, &s, error);
    else
        grant(l, w, replica, &s, out);
}

bool leader_is_open(const struct leader *l, uint32_t replica, uint32_t subscription)
{
    return replica < TIDE_REPLICAS_MAX && l->followers[replica].state == LEADER_OPEN && l->followers[replica].number == subscription;
}

/* ---- roles ------------------------------------------------------------------------------------------ */

static void end_all(struct leader *l, const struct leader_world *w, int16_t error, struct leader_out *out)
{
    for (uint32_t i = 1; i < TIDE_REPLICAS_MAX; i++) {
        struct leader_follower *f = &l->followers[i];
        close_subscription(l, w, i, out);
        if (f->waits)
            refuse(out, &f->waiting, error);
        f->waits = false;
    }
}

/* An incarnation that the cluster knows to be over acknowledges nothing more. */
static void note_incarnations(struct leader *l, const struct leader_world *w, struct leader_out *out)
{
    for (uint32_t i = 1; i < w->members->count; i++) {
        struct leader_follower *f = &l->followers[i];
        f->newest_epoch = TIDE_MAX(f->newest_epoch, w->members->broker_epochs[i]);
        if (f->state == LEADER_OPEN && f->broker_epoch < f->newest_epoch && !MUTANT(INCARNATION))
            close_subscription(l, w, i, out);
    }
}

void leader_become(struct leader *l, const struct leader_world *w, uint64_t now_ns, int32_t leader_epoch, int32_t partition_epoch,
                   bool recovering, struct leader_out *out)
{
    if (!l->leads || leader_epoch != l->leader_epoch) {
        end_all(l, w, KAFKA_FENCED_LEADER_EPOCH, out);
        for (uint32_t i = 1; i < TIDE_REPLICAS_MAX; i++) { /* members have new numbers */
            l->followers[i].newest_epoch = l->followers[i].broker_epoch = -1;
            l->followers[i].hold_until_ns = 0;
            l->followers[i].fed = false;
        }
        l->since_ns = now_ns;
    }
    l->leads = true;
    l->leader_epoch = leader_epoch;
    l->partition_epoch = partition_epoch;
    l->recovering = recovering;
    l->retry_at_ns = 0;
    l->letter_counts = false;
    if (l->isr_state != LEADER_STABLE) /* what is committed is known: partition_become took it */
        isr_move(l, LEADER_STABLE);
    note_incarnations(l, w, out);
}

void leader_resign(struct leader *l, const struct leader_world *w, struct leader_out *out)
{
    end_all(l, w, KAFKA_NOT_LEADER_OR_FOLLOWER, out);
    l->leads = l->letter_counts = false;
    if (l->isr_state != LEADER_STABLE)
        isr_move(l, LEADER_STABLE);
}

/* ---- the ISR ------------------------------------------------------------------------------------------ */

static uint64_t caught_up_ns(const struct leader *l, const struct leader_world *w, uint32_t replica)
{
    uint64_t at = tide_pub64_peek(&w->marks->acknowledged[replica].caught_up_ns);
    return TIDE_MAX(at, l->since_ns);
}

static bool lags(const struct leader *l, const struct leader_world *w, uint32_t replica, uint64_t now_ns)
{
    uint64_t at = caught_up_ns(l, w, replica);
    return now_ns > at && now_ns - at > l->lag_max_ns;
}

static uint32_t laggards(const struct leader *l, const struct leader_world *w, uint64_t now_ns)
{
    uint32_t late = 0;
    for (uint32_t i = 1; i < w->members->count; i++)
        if (w->marks->committed_isr & 1u << i && lags(l, w, i, now_ns))
            late |= 1u << i;
    return late;
}

/* Does `end` hold everything that is committed, and everything that this epoch began with? */
static bool reaches(const struct leader_world *w, int64_t end)
{
    return end >= watermark_high(w->marks) && end >= w->marks->epoch_start;
}

static bool is_in_sync(const struct leader *l, const struct leader_world *w, uint32_t replica)
{
    return l->followers[replica].state == LEADER_OPEN && reaches(w, watermark_counted_of(w->marks, replica));
}

static bool is_near(const struct leader *l, const struct leader_world *w, uint32_t replica)
{
    return l->followers[replica].state == LEADER_OPEN && reaches(w, watermark_held_of(w->marks, replica));
}

static uint32_t newcomers(const struct leader *l, const struct leader_world *w, uint64_t now_ns)
{
    uint32_t ready = 0;
    for (uint32_t i = 1; i < w->members->count; i++)
        if (!(w->marks->committed_isr & 1u << i) && now_ns >= l->followers[i].hold_until_ns && is_near(l, w, i) &&
            !lags(l, w, i, now_ns)) /* else it would leave at once */
            ready |= 1u << i;
    return ready;
}

static void send(struct leader *l, const struct leader_world *w, struct leader_out *out)
{
    struct leader_proposal *p = &out->proposal;
    TIDE_ASSERT(l->isr_state == LEADER_PENDING && !l->letter_out); /* D4 */
    *p = (struct leader_proposal){.leader_epoch = l->leader_epoch, .partition_epoch = l->partition_epoch, .recovering = l->wanted_recovering};
    for (uint32_t i = 0; i < w->members->count; i++) {
        const struct leader_follower *f = &l->followers[i];
        bool subscribed = i != MEMBER_SELF && f->state == LEADER_OPEN;
        if (!(l->wanted & 1u << i))
            continue;
        p->isr[p->count] = w->members->ids[i];
        p->broker_epochs[p->count++] = subscribed && !MUTANT(INCARNATION) ? f->broker_epoch : w->members->broker_epochs[i];
    }
    out->proposes = true;
    l->letter_out = l->letter_counts = true;
    l->retry_at_ns = 0;
}

static void propose(struct leader *l, const struct leader_world *w, uint32_t isr, bool recovering, struct leader_out *out)
{
    l->wanted = isr;
    l->wanted_recovering = recovering;
    watermark_propose_isr(w->marks, isr);
    isr_move(l, LEADER_PENDING);
    if (!l->letter_out) /* one of an earlier epoch may still be on its way back */
        send(l, w, out);
}

static void withdraw(struct leader *l, const struct leader_world *w)
{
    watermark_commit_isr(w->marks, w->marks->committed_isr);
    isr_move(l, LEADER_STABLE);
}

static void begin_grow(struct leader *l, const struct leader_world *w, uint64_t now_ns, uint32_t ready, struct leader_out *out)
{
    l->wanted = w->marks->committed_isr | ready;
    if (MUTANT(GROW_LOOK)) {
        propose(l, w, l->wanted, l->recovering, out);
        return;
    }
    watermark_propose_isr(w->marks, l->wanted);
    l->grace_token = w->grace != NULL ? w->grace->begin(w->grace->self) : 0;
    l->grace_until_ns = now_ns + l->retry_ns;
    isr_move(l, LEADER_GRACE);
}

/* Those that were too slow, or have gone, are not tried again at once. */
static void give_up_grow(struct leader *l, const struct leader_world *w, uint64_t now_ns)
{
    for (uint32_t i = 1; i < TIDE_REPLICAS_MAX; i++)
        if (l->wanted & ~w->marks->committed_isr & 1u << i)
            l->followers[i].hold_until_ns = now_ns + l->retry_ns;
    withdraw(l, w);
}

/* The second look: what is in a newcomer's memory only, or was taken back with its subscription, does
 * not count. */
static void look_again(struct leader *l, const struct leader_world *w, uint64_t now_ns, struct leader_out *out)
{
    uint32_t grown = w->marks->committed_isr;
    bool near = false;
    if (w->grace != NULL && !w->grace->passed(w->grace->self, l->grace_token))
        return;
    for (uint32_t i = 1; i < w->members->count; i++) {
        if (!(l->wanted & ~w->marks->committed_isr & 1u << i))
            continue;
        near |= is_near(l, w, i);
        if (is_in_sync(l, w, i))
            grown |= 1u << i;
    }
    if (grown != w->marks->committed_isr)
        propose(l, w, grown, l->recovering, out);
    else if (!near || now_ns >= l->grace_until_ns)
        give_up_grow(l, w, now_ns);
}

static void decide(struct leader *l, const struct leader_world *w, uint64_t now_ns, struct leader_out *out)
{
    uint32_t late = laggards(l, w, now_ns);
    uint32_t ready = l->recovering ? 0 : newcomers(l, w, now_ns);
    if (now_ns < l->retry_at_ns)
        return;
    if (l->recovering)
        propose(l, w, w->marks->committed_isr, false, out);
    else if (late != 0)
        propose(l, w, w->marks->committed_isr & ~late, l->recovering, out);
    else if (ready != 0)
        begin_grow(l, w, now_ns, ready, out);
}

void leader_turn(struct leader *l, const struct leader_world *w, uint64_t now_ns, struct leader_out *out)
{
    if (!l->leads || !w->has_lease || !w->started)
        return;
    if (l->isr_state == LEADER_STABLE)
        decide(l, w, now_ns, out);
    if (l->isr_state == LEADER_GRACE)
        look_again(l, w, now_ns, out);
    if (l->isr_state == LEADER_PENDING && !l->letter_out && now_ns >= l->retry_at_ns && !out->proposes)
        send(l, w, out);
}

static void back_to_committed(struct leader *l, const struct leader_world *w, uint64_t now_ns)
{
    uint32_t added = l->wanted & ~w->marks->committed_isr;
    for (uint32_t i = 1; i < TIDE_REPLICAS_MAX; i++)
        if (added & 1u << i)
            l->followers[i].hold_until_ns = now_ns + l->retry_ns;
    if (added == 0)
        l->retry_at_ns = now_ns + l->retry_ns;
    withdraw(l, w);
}

void leader_on_isr_answer(struct leader *l, const struct leader_world *w, uint64_t now_ns, const struct leader_isr_answer *a)
{
    bool counts = l->letter_counts;
    l->letter_out = l->letter_counts = false;
    if (!l->leads || !counts || l->isr_state != LEADER_PENDING)
        return;
    switch (a->error) {
    case 0:
        if (a->partition_epoch <= l->partition_epoch)
            return; /* a role came first; it said what is committed */
        l->partition_epoch = a->partition_epoch;
        l->recovering = a->recovering;
        watermark_commit_isr(w->marks, a->isr | 1u << MEMBER_SELF);
        isr_move(l, LEADER_STABLE);
        return;
    case KAFKA_INELIGIBLE_REPLICA:
    case KAFKA_OPERATION_NOT_ATTEMPTED:
        back_to_committed(l, w, now_ns);
        return;
    case KAFKA_FENCED_LEADER_EPOCH:
    case KAFKA_NEW_LEADER_ELECTED:
    case KAFKA_UNKNOWN_TOPIC_ID:
    case KAFKA_UNKNOWN_TOPIC_OR_PARTITION:
    case KAFKA_INVALID_UPDATE_VERSION:
    case KAFKA_INVALID_REQUEST:
        isr_move(l, LEADER_LOST);
        return;
    default: /* nobody knows: the same again, still pending */
        l->retry_at_ns = now_ns + l->retry_ns;
        return;
    }
}

uint64_t leader_deadline_ns(const struct leader *l, const struct leader_world *w)
{
    uint64_t next = TIDE_NEVER;
    if (!l->leads || l->isr_state == LEADER_LOST)
        return TIDE_NEVER;
    if (l->isr_state == LEADER_GRACE)
        return 0;
    if (l->isr_state == LEADER_PENDING)
        return l->letter_out ? TIDE_NEVER : l->retry_at_ns;
    for (uint32_t i = 1; i < w->members->count; i++) {
        uint64_t leaves = caught_up_ns(l, w, i) + l->lag_max_ns + 1;
        if (w->marks->committed_isr & 1u << i)
            next = TIDE_MIN(next, TIDE_MAX(leaves, l->retry_at_ns));
        else if (l->followers[i].hold_until_ns != 0)
            next = TIDE_MIN(next, l->followers[i].hold_until_ns);
    }
    return next;
}

void leader_check(const struct leader *l, const struct leader_world *w)
{
    bool proposed = w->marks->proposed_isr != 0;
    if (l->leads)
        TIDE_ASSERT(proposed == (l->isr_state != LEADER_STABLE)); /* D1 */
    for (uint32_t i = 1; i < TIDE_REPLICAS_MAX; i++) {
        const struct leader_follower *f = &l->followers[i];
        TIDE_ASSERT(f->number <= l->last_number); /* D3 */
        TIDE_ASSERT(!f->waits || f->state == LEADER_CLOSING);
        if (f->state == LEADER_OPEN)
            TIDE_ASSERT(l->leads && (f->broker_epoch == f->newest_epoch || MUTANT(INCARNATION))); /* D2 */
        for (uint32_t k = 1; k < i; k++)
            TIDE_ASSERT(f->number == 0 || f->number != l->followers[k].number); /* D3 */
    }
    TIDE_ASSERT(!l->letter_counts || (l->letter_out && l->isr_state == LEADER_PENDING)); /* D4 */
}
