/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The follower's side of the peer streams. replica/follower.h decides what a partition asks, takes and
 * acknowledges; here it finds its stream, its bytes go to the log, and what cannot go there at once is
 * kept in request memory, never in receive buffers.
 *
 * A replica that is not in sync and shall fill itself slowly (follower.replication.throttled.*) tells its leader
 * no more credit than the throttle has room for, and the rest later (held_follows).
 *
 * One stream per core of ours and core of the leader's: the leader's home core of a partition is known
 * when its number of cores is (tide_home_core), and the stream is steered there.
 */
#include "broker/peers.h"

#include <stdlib.h>

enum { TAG_ATTEMPTS = 1u << (31 - FOLLOW_TAG_BITS) };

static uint32_t slot_of(const struct broker *b, const struct follow *f)
{
    return (uint32_t)(f - b->peers->follows);
}

static struct partition *partition_of(const struct broker *b, const struct follow *f)
{
    return b->home[slot_of(b, f)].partition;
}

static int32_t tag_of(const struct broker *b, const struct follow *f)
{
    return (int32_t)((f->follower.attempt % TAG_ATTEMPTS) << FOLLOW_TAG_BITS | slot_of(b, f));
}

/* NULL: not of this stream's partitions, or of an earlier attempt. */
static struct follow *find(const struct broker *b, const struct peer *p, int32_t tag)
{
    uint32_t slot = (uint32_t)tag & ((1u << FOLLOW_TAG_BITS) - 1);
    struct follow *f = slot < TIDE_PARTITIONS_MAX ? &b->peers->follows[slot] : NULL;
    return f != NULL && f->peer == p && tag_of(b, f) == tag && partition_of(b, f) != NULL ? f : NULL;
}

static void log_of(struct partition *p, struct follower_log *ret)
{
    struct log *log = partition_log(p);
    *ret = (struct follower_log){.last_epoch = log_last_batch_epoch(log),
                                 .log_start = log_start_offset(log),
                                 .log_end = log_next_offset(log),
                                 .durable_end = watermark_durable_end(partition_marks(p)),
                                 .high_watermark = watermark_high(partition_marks(p))};
}

bool follows_create(struct broker *b)
{
    b->peers->follows = calloc(TIDE_PARTITIONS_MAX, sizeof(*b->peers->follows)); /* untouched until a replica lives there */
    link_init(&b->peers->busy);
    link_init(&b->peers->held_follows);
    throttle_init(&b->peers->follow_throttle);
    return b->peers->follows != NULL;
}

void follows_destroy(struct broker *b)
{
    for (uint32_t i = 0; b->peers->follows != NULL && i < b->home_count; i++)
        intake_deinit(&b->peers->follows[b->homes[i]].intake);
    free(b->peers->follows);
}

void follows_adopt(struct broker *b, struct partition *p)
{
    struct follow *f = &b->peers->follows[partition_slot(p)];
    *f = (struct follow){0};
    link_init(&f->in_peer);
    link_init(&f->in_acks);
    link_init(&f->in_busy);
    link_init(&f->in_held);
    follower_init(&f->follower, FOLLOW_RETRY_MS * TIDE_NS_PER_MS);
}

/* ---- streams ---------------------------------------------------------------------------------------------- */

static void is_busy(struct broker *b, struct follow *f)
{
    if (!link_is_listed(&f->in_busy))
        link_append(&b->peers->busy, &f->in_busy);
}

static void owes_ack(struct follow *f)
{
    if (f->peer != NULL && !link_is_listed(&f->in_acks))
        link_append(&f->peer->acks, &f->in_acks);
}

/* What arrived of the subscription and waits is of no use any more. */
static void drop_intake(struct follow *f)
{
    intake_deinit(&f->intake);
    f->intake = (struct intake){0};
    link_remove(&f->in_acks);
    link_remove(&f->in_held);
}

/* ---- the throttle ------------------------------------------------------------------------------------------- */

static bool is_throttled(const struct broker *b, const struct follow *f)
{
    const struct view_partition *vp;
    if (b->peers->follow_throttle.rate == THROTTLE_NONE)
        return false;
    vp = view_partition_of(b, partition_of(b, f));
    if (vp == NULL || !vp->follower_throttled)
        return false;
    for (uint32_t i = 0; i < vp->isr_count; i++)
        if (vp->isr[i] == b->view->self)
            return false;
    return true;
}

/* What the leader may send in all: `told` so far, `wanted` if there were no throttle. What is given of it counts. */
static uint64_t credit_now(struct broker *b, struct follow *f, uint64_t told, uint64_t wanted)
{
    uint64_t more;
    if (!is_throttled(b, f))
        return wanted;
    more = TIDE_MIN(throttle_room(&b->peers->follow_throttle, b->time.now_ns), wanted - told);
    throttle_take(&b->peers->follow_throttle, more);
    if (told + more < wanted && !link_is_listed(&f->in_held)) {
        tide_count(b->counters, COUNTER_follower_throttle_waits);
        link_append(&b->peers->held_follows, &f->in_held);
    }
    return told + more;
}

void follows_unhold(struct broker *b, bool all)
{
    struct link *list = &b->peers->held_follows;
    for (unsigned n = 0; !link_is_empty(list) && (all || n < PEER_ASKS_MAX); n++) {
        struct follow *f = LINK_OF(struct follow, in_held, list->next);
        link_remove(&f->in_held);
        if (f->follower.state != FOLLOWER_STREAMING)
            continue;
        f->follower.ack_due = true;
        owes_ack(f);
    }
}

static void detach(struct broker *b, struct follow *f)
{
    struct peer *p = f->peer;
    if (peer_is_open(p) && f->follower.state == FOLLOWER_STREAMING) {
        /* Without room for it the leader hears of it by the next SUBSCRIBE. */
        (void)!peer_put_unsubscribe(&p->stream.out, p->stream.config.pool, p->stream.version, f->intake.place, f->intake.number);
        peer_ready(p);
    }
    drop_intake(f);
    link_remove(&f->in_peer);
    f->peer = NULL;
    (void)b;
}

/* False: the leader is not in the view yet, or no stream is to be had. */
static bool attach(struct broker *b, struct follow *f)
{
    struct partition *part = partition_of(b, f);
    const struct view_broker *leader = view_broker_of(b->view, f->follower.leader);
    uint32_t core = 0;
    if (leader == NULL || leader->replication_port == 0)
        return false;
    if (leader->core_count != 0)
        core = tide_home_core(partition_topic_id(part), partition_index(part), leader->core_count);
    f->peer = peer_toward(b, leader->id, core);
    if (f->peer == NULL)
        return false;
    link_append(&f->peer->follows, &f->in_peer);
    if (peer_is_open(f->peer))
        follower_on_stream(&f->follower, b->time.now_ns, true);
    return true;
}

void follows_on_open(struct broker *b, struct peer *p)
{
    for (struct link *l = p->follows.next; l != &p->follows; l = l->next) {
        struct follow *f = LINK_OF(struct follow, in_peer, l);
        follower_on_stream(&f->follower, b->time.now_ns, true);
        is_busy(b, f);
    }
}

void follows_on_gone(struct broker *b, struct peer *p)
{
    for (struct link *l = p->follows.next; l != &p->follows; l = l->next) {
        struct follow *f = LINK_OF(struct follow, in_peer, l);
        follower_on_stream(&f->follower, b->time.now_ns, false);
        drop_intake(f);
        is_busy(b, f); /* the leader may be somewhere else when it is dialled again */
    }
}

/* ---- roles -------------------------------------------------------------------------------------------------- */

void follows_on_role(struct broker *b, struct partition *p, const struct mail_role *role)
{
    struct follow *f = &b->peers->follows[partition_slot(p)];
    bool leads = role->leader == role->self;
    if (leads || role->leader != f->follower.leader || role->leader_epoch != f->follower.leader_epoch)
        detach(b, f);
    if (leads) {
        follower_resign(&f->follower);
        link_remove(&f->in_busy);
        return;
    }
    follower_become(&f->follower, b->time.now_ns, role->leader, role->leader_epoch,
                    role->recovering ? TIDE_MAX(role->leader_epoch, role->unclean_epoch) : role->unclean_epoch);
    is_busy(b, f);
}

void follows_on_release(struct broker *b, uint32_t slot)
{
    struct follow *f = &b->peers->follows[slot];
    detach(b, f);
    follower_resign(&f->follower);
    link_remove(&f->in_busy);
}

void follows_on_failed(struct broker *b, uint32_t slot)
{
    struct follow *f = &b->peers->follows[slot];
    detach(b, f);
    follower_on_failed(&f->follower);
    link_remove(&f->in_busy);
}

void follows_on_moved(struct broker *b, uint32_t slot)
{
    struct follow *f = &b->peers->follows[slot];
    if (f->follower.state == FOLLOWER_STREAMING)
        owes_ack(f);
}

/* ---- asking -------------------------------------------------------------------------------------------------- */

static void ask(struct broker *b, struct follow *f)
{
    struct partition *part = partition_of(b, f);
    struct peer *p = f->peer;
    struct follower_log log;
    struct follower_subscribe s;
    struct follower f_before = f->follower;
    log_of(part, &log);
    follower_subscribe(&f->follower, &log, &s);
    const struct peer_subscribe m = {.tag = tag_of(b, f),
                                     .topic_id = *partition_topic_id(part),
                                     .partition = partition_index(part),
                                     .leader_epoch = s.leader_epoch,
                                     .last_epoch = s.last_epoch,
                                     .log_end = s.log_end,
                                     .credit = is_throttled(b, f) ? 0 : (uint64_t)b->settings->replication_window_bytes};
    f->asked_credit = m.credit;
    if (peer_put_subscribe(&p->stream.out, p->stream.config.pool, p->stream.version, &m) != TIDE_OK)
        f->follower = f_before;
    peer_ready(p);
}

/* The log is brought to where the leader's is known to begin to differ. */
static void settle(struct broker *b, struct follow *f, struct tide_out *out)
{
    struct partition *part = partition_of(b, f);
    enum tide_status status = f->follower.skips ? partition_skip(part, f->follower.settle_to, f->follower.settle_epoch, out)
                                                : partition_truncate(part, f->follower.settle_to, out);
    slot_dirty(b, slot_of(b, f));
    if (status == TIDE_AGAIN || status == TIDE_FULL)
        return;
    tide_count(b->counters, COUNTER_follower_cuts);
    follower_on_settled(&f->follower, b->time.now_ns, status == TIDE_OK);
}

/* What the leader answered to SUBSCRIBE. */
static void on_answer(struct broker *b, struct follow *f, const struct follower_answer *in, const struct peer_granted *granted)
{
    struct partition *part = partition_of(b, f);
    struct follower_answer a = *in;
    struct follower_log log;
    int32_t own_epoch = -1;
    int64_t own_end = -1;
    a.attempt = f->follower.attempt; /* the tag says so */
    log_of(part, &log);
    if (a.truncate)
        log_end_for_epoch(partition_log(part), a.truncate_epoch, &own_epoch, &own_end);
    switch (follower_on_answer(&f->follower, b->time.now_ns, &a, &log, own_epoch, own_end)) {
    case FOLLOWER_TAKE:
        drop_intake(f);
        intake_init(&f->intake, granted, (uint64_t)b->settings->replication_window_bytes);
        intake_credit_told(&f->intake, f->asked_credit);
        owes_ack(f);
        break;
    case FOLLOWER_FAIL: home_failed(b, part); break;
    default: is_busy(b, f); break;
    }
}

/* ---- what arrives ----------------------------------------------------------------------------------------------- */

static void give_up(struct broker *b, struct follow *f)
{
    tide_count(b->counters, COUNTER_follower_restarts);
    follower_on_bad(&f->follower, b->time.now_ns);
    drop_intake(f);
    is_busy(b, f);
}

/* TIDE_OK: done with the message. TIDE_FULL: the rest of it (intake.applied is kept) must wait. Anything else:
 * the subscription is over. */
static enum tide_status apply(struct broker *b, struct follow *f, const struct peer_message *m, struct tide_out *out)
{
    struct partition *part = partition_of(b, f);
    const struct peer_append *a = &m->append;
    struct partition_follow follow = {.leader_epoch = a->leader_epoch,
                                      .high_watermark = a->high_watermark,
                                      .log_start = a->log_start,
                                      .compacted = a->compacted};
    struct partition_followed done = {0};
    struct follower_log log;
    enum tide_status status;
    log_of(part, &log);
    follow.base_offset = f->intake.applied != 0 ? log.log_end : a->base_offset;
    switch (follower_on_append(&f->follower, b->time.now_ns, a->number, a->leader_epoch, follow.base_offset, a->bytes, a->compacted, &log)) {
    case FOLLOWER_TAKE: break;
    case FOLLOWER_IGNORE: return TIDE_OK;
    default: return TIDE_REFUSED;
    }
    follow.records = tide_slice_after(m->rest, f->intake.applied);
    status = partition_follow_append(part, &b->time, &follow, out, &done);
    slot_dirty(b, slot_of(b, f));
    f->intake.applied += done.taken;
    tide_count_many(b->counters, COUNTER_follower_bytes, done.taken);
    owes_ack(f);
    return status;
}

static void on_append(struct broker *b, struct peer *p, struct peer_message *m, struct tide_out *out)
{
    struct follow *f = find(b, p, m->append.tag);
    enum tide_status status = TIDE_FULL;
    if (f == NULL || f->follower.state != FOLLOWER_STREAMING || f->intake.number != m->append.number)
        return;
    if (f->intake.waiting.len == 0) {
        f->intake.applied = 0;
        status = apply(b, f, m, out);
    }
    if (status == TIDE_OK) {
        f->intake.applied = 0;
        intake_on_taken(&f->intake, m->append.bytes);
    } else if (status != TIDE_FULL || intake_hold(&f->intake, b->config.request_pool, stream_message_bytes(&p->stream)) != TIDE_OK) {
        give_up(b, f);
    } else {
        is_busy(b, f);
    }
}

static void apply_waiting(struct broker *b, struct follow *f, struct tide_out *out)
{
    struct peer_message m;
    while (f->follower.state == FOLLOWER_STREAMING && intake_waiting(&f->intake, f->peer->stream.version, &m)) {
        enum tide_status status = apply(b, f, &m, out);
        if (status == TIDE_FULL)
            return;
        if (status != TIDE_OK) {
            give_up(b, f);
            return;
        }
        intake_on_taken(&f->intake, m.append.bytes);
        intake_drop(&f->intake, &m);
    }
}

/* How far the leader is: a high watermark without records, and a question how far we are. */
static void on_marks(struct broker *b, struct follow *f, int64_t high_watermark, int64_t log_start, struct tide_out *out)
{
    struct partition *part = partition_of(b, f);
    const struct partition_follow follow = {.leader_epoch = f->follower.leader_epoch, .high_watermark = high_watermark, .log_start = log_start};
    struct partition_followed done;
    struct follower_log log;
    log_of(part, &log);
    if (follower_on_append(&f->follower, b->time.now_ns, f->follower.subscription, f->follower.leader_epoch, log.log_end, 0, false, &log) ==
        FOLLOWER_TAKE)
        (void)partition_follow_append(part, &b->time, &follow, out, &done);
    slot_dirty(b, slot_of(b, f));
    owes_ack(f);
}

static void on_beat(struct broker *b, struct peer *p, struct peer_message *m, struct tide_out *out)
{
    struct peer_beat beat;
    p->answers_beat = true;
    while (peer_next_beat(m, &beat)) {
        struct follow *f = find(b, p, beat.tag);
        if (f != NULL && f->follower.state == FOLLOWER_STREAMING && f->intake.number == beat.number && f->follower.leader_epoch == beat.leader_epoch)
            on_marks(b, f, beat.high_watermark, beat.log_start, out);
    }
}

static void on_refused(struct broker *b, struct follow *f, const struct peer_refused *r)
{
    if (f->follower.state == FOLLOWER_STREAMING)
        give_up(b, f);
    else
        on_answer(b, f, &(struct follower_answer){.error = r->error, .leader_epoch = f->follower.leader_epoch}, NULL);
}

void follows_on_message(struct broker *b, struct peer *p, struct peer_message *m, struct tide_out *out)
{
    struct follow *f;
    switch (m->kind) {
    case PEER_APPEND: on_append(b, p, m, out); return;
    case PEER_BEAT: on_beat(b, p, m, out); return;
    case PEER_GRANTED:
        f = find(b, p, m->granted.tag);
        if (f == NULL)
            return;
        on_answer(b, f, &(struct follower_answer){.leader_epoch = m->granted.leader_epoch, .subscription = m->granted.number}, &m->granted);
        if (f->follower.state == FOLLOWER_STREAMING)
            on_marks(b, f, m->granted.high_watermark, m->granted.log_start, out);
        return;
    case PEER_TRUNCATE:
        f = find(b, p, m->truncate.tag);
        if (f == NULL)
            return;
        on_answer(b, f, &(struct follower_answer){.leader_epoch = m->truncate.leader_epoch,
                                                  .truncate = !m->truncate.skip,
                                                  .truncate_epoch = m->truncate.epoch,
                                                  .truncate_end = m->truncate.end_offset,
                                                  .skip = m->truncate.skip,
                                                  .skip_to = m->truncate.end_offset,
                                                  .skip_epoch = m->truncate.epoch}, NULL);
        return;
    case PEER_REFUSED:
        f = find(b, p, m->refused.tag);
        if (f != NULL)
            on_refused(b, f, &m->refused);
        return;
    default: TIDE_ASSERT(!"a stream lets no other kind through");
    }
}

/* ---- a turn --------------------------------------------------------------------------------------------------------- */

static bool serve(struct broker *b, struct follow *f, struct tide_out *out)
{
    struct partition *part = partition_of(b, f);
    if (f->follower.state == FOLLOWER_TRUNCATING)
        settle(b, f, out);
    if (f->follower.state == FOLLOWER_STREAMING)
        apply_waiting(b, f, out);
    if (f->follower.leader < 0 || f->follower.state == FOLLOWER_FAILED)
        return false;
    /* A stream that is down may have to lead somewhere else by now. */
    if (f->peer != NULL && !peer_is_open(f->peer) && f->peer->state == PEER_IDLE)
        detach(b, f);
    if (f->peer == NULL && !attach(b, f))
        return true;
    if (partition_is_follower(part) && partition_is_settled(part) && peer_is_open(f->peer) && follower_wants_subscribe(&f->follower, b->time.now_ns))
        ask(b, f);
    return f->follower.state == FOLLOWER_TRUNCATING || f->intake.waiting.len != 0 ||
           (f->follower.state == FOLLOWER_IDLE && peer_is_open(f->peer));
}

unsigned follows_turn(struct broker *b, struct tide_out *out)
{
    unsigned did = 0;
    struct link mine;
    if (link_is_empty(&b->peers->busy))
        return 0;
    link_init(&mine);
    for (unsigned n = 0; n < PEER_ASKS_MAX && !link_is_empty(&b->peers->busy); n++) {
        struct link *l = b->peers->busy.next;
        link_remove(l);
        link_append(&mine, l);
    }
    while (!link_is_empty(&mine)) {
        struct follow *f = LINK_OF(struct follow, in_busy, mine.next);
        enum follower_state before = f->follower.state;
        uint32_t waiting = f->intake.waiting.len;
        link_remove(&f->in_busy);
        if (serve(b, f, out))
            is_busy(b, f);
        did += f->follower.state != before || f->intake.waiting.len != waiting;
    }
    return did;
}

/* One ACK with as many entries as fit, of those that have something to tell. */
unsigned follows_ack(struct broker *b, struct peer *p)
{
    unsigned did = 0;
    while (!link_is_empty(&p->acks) || p->answers_beat) {
        struct peer_ack acks[PEER_ENTRIES_MAX];
        struct follow *who[PEER_ENTRIES_MAX];
        struct follower before[PEER_ENTRIES_MAX];
        uint32_t n = 0;
        while (n < PEER_ENTRIES_MAX && !link_is_empty(&p->acks)) {
            struct follow *f = LINK_OF(struct follow, in_acks, p->acks.next);
            struct follower_log log;
            struct follower_ack a;
            link_remove(&f->in_acks);
            log_of(partition_of(b, f), &log);
            before[n] = f->follower;
            f->follower.ack_due |= intake_credit_is_due(&f->intake) && !link_is_listed(&f->in_held);
            if (!follower_ack(&f->follower, &log, &a))
                continue;
            who[n] = f;
            acks[n++] = (struct peer_ack){.place = f->intake.place,
                                          .number = a.subscription,
                                          .leader_epoch = a.leader_epoch,
                                          .log_end = a.log_end,
                                          .durable_end = a.durable_end,
                                          .credit = credit_now(b, f, f->intake.told_credit, intake_credit(&f->intake))};
        }
        if (n == 0 && !p->answers_beat)
            break;
        if (peer_put_acks(&p->stream.out, p->stream.config.pool, p->stream.version, acks, n) != TIDE_OK) {
            for (uint32_t i = 0; i < n; i++) { /* as if they had not been asked */
                who[i]->follower = before[i];
                who[i]->follower.ack_due = true;
                owes_ack(who[i]);
            }
            break;
        }
        for (uint32_t i = 0; i < n; i++)
            intake_credit_told(&who[i]->intake, acks[i].credit);
        p->answers_beat = false;
        peer_ready(p);
        did++;
    }
    return did;
}

uint64_t follows_deadline_ns(const struct broker *b)
{
    return link_is_empty(&b->peers->busy) ? TIDE_NEVER : b->time.now_ns + FOLLOW_LOOK_MS * TIDE_NS_PER_MS;
}

void follows_check(const struct broker *b)
{
    for (uint32_t i = 0; i < b->home_count; i++) {
        const struct follow *f = &b->peers->follows[b->homes[i]];
        struct follower_log log;
        log_of(partition_of(b, f), &log);
        follower_check(&f->follower, &log);
        if (f->follower.state == FOLLOWER_STREAMING)
            TIDE_ASSERT(f->peer != NULL && f->peer->state == PEER_UP); /* P3 */
        if (f->follower.state == FOLLOWER_SUBSCRIBING)
            TIDE_ASSERT(partition_is_settled(partition_of(b, f))); /* P4 */
        for (const struct rte_mbuf *m = f->intake.waiting.head; m != NULL; m = m->next)
            TIDE_ASSERT(m->pool == b->config.request_pool); /* design 10 */
    }
}
