/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The leader's side of the peer streams: who is fed, from where, how much.
 *
 * What moved is pushed in the turn in which it moved, while the leader's own write is on its way to
 * the disk (replication.push=durable: when the disk has it). A subscription has its turn after the others of its stream: STREAM_PUSH_BYTES at most, then
 * it goes to the back. What lags behind the tail's memory is read from the disk only while few such
 * reads are out on this core and the stream's queue is short (replication.catchup.*). Who is not in sync
 * and shall be filled slowly (leader.replication.throttled.*) waits in held_feeds for its share; who the
 * high watermark waits for never does. Who finds no pool entry, or nothing in memory and no read to be had, stands in waiting_feeds.
 */
#include "broker/peers.h"

#include <rte_malloc.h>

/* NULL: it is not open (any more). */
static struct feeding *find(const struct broker *b, const struct peer *p, uint32_t place, uint32_t number)
{
    struct feeding *s = place < FEEDS_MAX ? &b->peers->feedings[place] : NULL;
    return s != NULL && s->state == FEED_FEEDING && s->peer == p && s->feed.number == number ? s : NULL;
}

bool feeds_create(struct broker *b)
{
    struct peers *all = b->peers;
    link_init(&all->free_feedings);
    link_init(&all->held_feeds);
    link_init(&all->waiting_feeds);
    throttle_init(&all->lead_throttle);
    all->feedings = rte_zmalloc("feeds", FEEDS_MAX * sizeof(*all->feedings), TIDE_CACHE_LINE);
    all->by_slot = rte_zmalloc("feeds", TIDE_PARTITIONS_MAX * sizeof(*all->by_slot), TIDE_CACHE_LINE);
    if (all->feedings == NULL || all->by_slot == NULL)
        return false;
    for (uint32_t i = 0; i < TIDE_PARTITIONS_MAX; i++)
        link_init(&all->by_slot[i]);
    for (uint32_t i = 0; i < FEEDS_MAX; i++) {
        struct feeding *s = &all->feedings[i];
        link_init(&s->in_peer);
        link_init(&s->in_pushes);
        link_init(&s->in_slot);
        link_init(&s->in_free);
        link_append(&all->free_feedings, &s->in_free);
    }
    return true;
}

void feeds_destroy(struct broker *b)
{
    struct peers *all = b->peers;
    for (uint32_t i = 0; all->feedings != NULL && i < FEEDS_MAX; i++) {
        struct feeding *s = &all->feedings[i];
        if (s->state != FEED_FEEDING && s->state != FEED_ENDING)
            continue;
        if (s->feed.reading) {
            s->feed.reading = false;
            log_read_lost(&s->feed.read);
        }
        feed_deinit(&s->feed, b->config.log_core);
    }
    rte_free(all->by_slot);
    rte_free(all->feedings);
}

/* ---- a subscription's life --------------------------------------------------------------------------- */

static void give(struct broker *b, struct feeding *s)
{
    if (s->state != FEED_ASKED)
        feed_deinit(&s->feed, b->config.log_core);
    s->state = FEED_FREE;
    slot_unuse(b, s->partition);
    s->partition = NULL;
    link_append(&b->peers->free_feedings, &s->in_free);
}

/* Of itself closed: the home core may not have asked for it. Without a letter it hears of it when it asks. */
static void tell_home(struct broker *b, const struct feeding *s)
{
    home_closed(b, s->partition, s->subscription.replica, s->feed.number);
}

/* It sends nothing and hears nothing any more. */
static void close_feed(struct broker *b, struct feeding *s)
{
    bool out = s->state == FEED_ASKED || s->feed.reading;
    link_remove(&s->in_peer);
    link_remove(&s->in_pushes);
    link_remove(&s->in_slot);
    s->held = s->waits = false;
    s->peer = NULL;
    if (s->subscription.open) {
        subscription_close(&s->subscription);
        tell_home(b, s);
    }
    if (!out) {
        give(b, s);
        return;
    }
    if (s->state == FEED_ASKED) {
        s->feed = (struct feed){0};
        s->subscription = (struct subscription){0};
    }
    s->state = FEED_ENDING;
}

static void refuse(struct broker *b, struct peer *p, int32_t tag, int16_t error, int32_t leader_epoch)
{
    const struct peer_refused r = {.tag = tag, .error = error, .leader_epoch = leader_epoch};
    tide_count(b->counters, COUNTER_peer_subscriptions_refused);
    if (peer_put_refused(&p->stream.out, p->stream.config.pool, p->stream.version, &r) != TIDE_OK)
        p->abort = true; /* the follower would wait for ever */
    peer_ready(p);
}

static void end_feed(struct broker *b, struct feeding *s, int16_t error, int32_t leader_epoch)
{
    struct peer *p = s->peer;
    int32_t tag = s->tag;
    close_feed(b, s);
    refuse(b, p, tag, error, leader_epoch);
}

void feeds_on_gone(struct broker *b, struct peer *p)
{
    while (!link_is_empty(&p->feeds))
        close_feed(b, LINK_OF(struct feeding, in_peer, p->feeds.next));
}

static void unhold(struct feeding *s)
{
    if (s->held)
        link_remove(&s->in_pushes);
    s->held = false;
}

static void stop_waiting(struct feeding *s)
{
    if (s->waits)
        link_remove(&s->in_pushes);
    s->waits = false;
}

static void wants_push(struct feeding *s)
{
    if (s->state == FEED_FEEDING && !s->feed.reading && !link_is_listed(&s->in_pushes))
        link_append(&s->peer->pushes, &s->in_pushes);
}

/* ---- asking the home core ------------------------------------------------------------------------------ */

void feeds_on_subscribe(struct broker *b, struct peer *p, const struct peer_subscribe *in, struct tide_out *out)
{
    const struct view_topic *topic = b->view != NULL ? tide_view_topic_by_id(b->view, &in->topic_id) : NULL;
    const struct view_partition *vp = topic != NULL ? tide_view_partition(topic, in->partition) : NULL;
    const struct view_broker *who = view_broker_of(b->view, p->broker_id);
    struct feeding *s;
    struct tide_mail *m;
    if (vp == NULL || vp->local == NULL || who == NULL) {
        refuse(b, p, in->tag, topic == NULL ? KAFKA_UNKNOWN_TOPIC_ID : KAFKA_NOT_LEADER_OR_FOLLOWER, -1);
        return;
    }
    m = link_is_empty(&b->peers->free_feedings) ? NULL : mail_take(b, MAIL_SUBSCRIBE);
    if (m == NULL) {
        refuse(b, p, in->tag, KAFKA_REQUEST_TIMED_OUT, -1);
        return;
    }
    s = LINK_OF(struct feeding, in_free, b->peers->free_feedings.next);
    link_remove(&s->in_free);
    s->state = FEED_ASKED;
    s->peer = p;
    s->partition = vp->local;
    s->subscription = (struct subscription){0};
    s->feed = (struct feed){0};
    s->timed = (struct stage_feed){0};
    s->tag = in->tag;
    s->credit = in->credit;
    link_append(&p->feeds, &s->in_peer);
    slot_use(b, s->partition);
    m->subscribe = (struct mail_subscribe){.partition = vp->local,
                                           .entry = (uint32_t)(s - b->peers->feedings),
                                           .broker = p->broker_id,
                                           .broker_epoch = who->epoch,
                                           .leader_epoch = in->leader_epoch,
                                           .last_epoch = in->last_epoch,
                                           .log_end = in->log_end};
    if (vp->home_core == b->config.core)
        home_on_subscribe(b, m, out);
    else
        mail_out(b, vp->home_core, m);
}

static void marks_of(const struct broker *b, const struct feeding *s, const struct partition_look *look, struct feed_marks *ret)
{
    *ret = (struct feed_marks){.log_end = look->log_end, .push_end = look->log_end, .high_watermark = look->high_watermark, .log_start = look->log_start};
    if (b->settings->replication_push == REPLICATION_PUSH_DURABLE)
        ret->push_end = TIDE_MIN(ret->push_end, watermark_durable_end(partition_marks(s->partition)));
}

/* The home core has decided. */
void feeds_on_answer(struct broker *b, struct tide_mail *m)
{
    struct feeding *s = &b->peers->feedings[m->subscribe.entry];
    const struct mail_subscribe a = m->subscribe;
    struct peer *p = s->peer;
    struct partition_look look;
    enum tide_status status;

    mail_give(m);
    if (s->state == FEED_ENDING) { /* the stream went meanwhile */
        if (a.error == 0 && !a.truncate && !a.skip) {
            s->feed.number = a.subscription;
            s->subscription.replica = a.replica;
            tell_home(b, s);
        }
        give(b, s);
        return;
    }
    TIDE_ASSERT(s->state == FEED_ASKED);
    partition_look(s->partition, &look);
    feed_init(&s->feed, partition_log(s->partition), s->tag, a.subscription, a.leader_epoch, a.log_end);
    s->state = FEED_FEEDING;
    if (a.error != 0) {
        end_feed(b, s, a.error, look.leader_epoch);
        return;
    }
    if (a.truncate || a.skip) {
        const struct peer_truncate t = {.tag = s->tag, .leader_epoch = a.leader_epoch, .skip = a.skip,
                                        .epoch = a.skip ? a.skip_epoch : a.truncate_epoch, .end_offset = a.skip ? a.skip_to : a.truncate_end};
        close_feed(b, s);
        status = peer_put_truncate(&p->stream.out, p->stream.config.pool, p->stream.version, &t);
    } else {
        const struct peer_granted g = {.tag = s->tag,
                                       .place = a.entry,
                                       .number = a.subscription,
                                       .leader_epoch = a.leader_epoch,
                                       .log_end = look.log_end,
                                       .high_watermark = look.high_watermark,
                                       .log_start = look.log_start};
        subscription_open(&s->subscription, partition_marks(s->partition), a.replica, a.subscription, a.leader_epoch, a.broker_epoch, s->credit);
        s->feed.told_high_watermark = look.high_watermark;
        link_append(&b->peers->by_slot[partition_slot(s->partition)], &s->in_slot);
        tide_count(b->counters, COUNTER_peer_subscriptions);
        status = peer_put_granted(&p->stream.out, p->stream.config.pool, p->stream.version, &g);
        wants_push(s); /* which looks whether we still lead */
    }
    if (status != TIDE_OK)
        p->abort = true;
    peer_ready(p);
}

/* The home core wants it closed. It is, also when it never was: what was granted to a stream that went. */
void feeds_close(struct broker *b, struct partition *partition, uint32_t replica, uint32_t number)
{
    struct link *list = &b->peers->by_slot[partition_slot(partition)];
    for (struct link *l = list->next; l != list; l = l->next) {
        struct feeding *s = LINK_OF(struct feeding, in_slot, l);
        struct peer *p = s->peer;
        if (s->partition != partition || s->subscription.replica != replica || s->feed.number != number)
            continue;
        subscription_close(&s->subscription); /* the home core knows */
        int32_t tag = s->tag;
        close_feed(b, s);
        /* The follower asks again, unless it has already. */
        refuse(b, p, tag, KAFKA_NOT_LEADER_OR_FOLLOWER, -1);
        return;
    }
}

/* ---- what the follower says --------------------------------------------------------------------------------- */

void feeds_on_ack(struct broker *b, struct peer *p, const struct peer_ack *a)
{
    struct feeding *s = find(b, p, a->place, a->number);
    const struct subscription_ack ack = {.subscription = a->number,
                                         .leader_epoch = a->leader_epoch,
                                         .broker_epoch = p->stream.theirs.broker_epoch,
                                         .log_end = a->log_end,
                                         .durable_end = a->durable_end,
                                         .credit = a->credit};
    enum subscription_verdict verdict;
    if (s == NULL)
        return;
    tide_count(b->counters, COUNTER_peer_acks);
    /* More than was sent: no follower of ours says that. */
    verdict = a->log_end <= s->feed.next_offset && a->durable_end >= 0 ? subscription_on_ack(&s->subscription, &ack) : SUBSCRIPTION_WRONG;
    if (verdict == SUBSCRIPTION_WRONG) {
        tide_count(b->counters, COUNTER_peer_streams_bad);
        p->abort = true;
        peer_ready(p);
        return;
    }
    if (verdict == SUBSCRIPTION_MOVED) {
        bool durable = watermark_counts_durable(s->subscription.marks);
        stage_feed_acknowledged(&s->timed, stages_follower(&b->stages, p->broker_id), stage_now(b), durable ? a->durable_end : a->log_end);
        uint32_t home = partition_home(s->partition);
        uint32_t slot = partition_slot(s->partition);
        if (trace_has(b->trace, slot))
            trace_message(b, TRACE_ACKNOWLEDGED, slot, durable ? a->durable_end : a->log_end, p->broker_id);
        if (home == b->config.core)
            slot_dirty(b, slot);
        else
            post_ring(b->config.office, b->config.core, home, slot);
    }
    stop_waiting(s); /* less is queued */
    wants_push(s);
}

void feeds_on_unsubscribe(struct broker *b, struct peer *p, uint32_t place, uint32_t number)
{
    struct feeding *s = find(b, p, place, number);
    if (s != NULL)
        close_feed(b, s);
}

/* ---- pushing ---------------------------------------------------------------------------------------------------- */

void feeds_on_moved(struct broker *b, uint32_t slot)
{
    struct link *list = &b->peers->by_slot[slot];
    for (struct link *l = list->next; l != list; l = l->next) {
        struct feeding *s = LINK_OF(struct feeding, in_slot, l);
        unhold(s); /* its role or the ISR may have changed */
        if (s->feed.next_offset < watermark_log_end(partition_marks(s->partition)))
            stage_feed_moved(&s->timed, stage_now(b));
        wants_push(s);
    }
}

void feeds_unhold(struct broker *b, bool all)
{
    struct link *list = &b->peers->held_feeds;
    for (unsigned n = 0; !link_is_empty(list) && (all || n < PEER_PUSHES_MAX); n++) {
        struct feeding *s = LINK_OF(struct feeding, in_pushes, list->next);
        unhold(s);
        wants_push(s);
    }
}

/* The high watermark does not move without it, nor does a producer that waits for all. */
static bool is_waited_for(const struct feeding *s)
{
    return watermark_waits_for(partition_marks(s->partition), s->subscription.replica);
}

static bool may_read_disk(const struct broker *b, const struct feeding *s)
{
    const struct feed_disk_use use = {.reads = b->peers->disk_reads,
                                      .reads_max = (uint32_t)b->settings->replication_catchup_reads,
                                      .queued = s->peer->stream.out.len + s->peer->queued,
                                      .queued_max = (uint32_t)b->settings->replication_catchup_bytes};
    return feed_may_read_disk(&use, is_waited_for(s));
}

static bool is_throttled(const struct broker *b, const struct feeding *s)
{
    const struct view_partition *vp;
    if (b->peers->lead_throttle.rate == THROTTLE_NONE || is_waited_for(s))
        return false;
    vp = view_partition_of(b, s->partition);
    return vp != NULL && vp->leader_throttled;
}

/* What it waits for comes with a completion as a rule: tried in each turn, those that are behind would keep the core from catching up. */
static void wait_for_room(struct broker *b, struct feeding *s)
{
    struct peers *all = b->peers;
    if (link_is_empty(&all->waiting_feeds))
        all->waiting_ns = b->time.now_ns + FEED_WAITS_MS * TIDE_NS_PER_MS;
    s->waits = true;
    link_append(&all->waiting_feeds, &s->in_pushes);
}

void feeds_on_room(struct broker *b)
{
    struct link *list = &b->peers->waiting_feeds;
    while (!link_is_empty(list)) {
        struct feeding *s = LINK_OF(struct feeding, in_pushes, list->next);
        stop_waiting(s);
        wants_push(s);
    }
}

static void mark_is_due(struct broker *b, struct peer *p)
{
    p->mark_ns = TIDE_MIN(p->mark_ns, b->time.now_ns + PEER_MARK_DELAY_MS * TIDE_NS_PER_MS);
}

/* One push of one subscription. False: it stays at the front of the list. */
static void push_one(struct broker *b, struct feeding *s, struct tide_out *out, unsigned *did)
{
    struct peer *p = s->peer;
    struct partition_look look;
    struct feed_marks marks;
    struct peer_append sent;
    bool disk = may_read_disk(b, s);
    uint64_t room = subscription_room(&s->subscription);
    bool throttled;

    link_remove(&s->in_pushes);
    partition_look(s->partition, &look);
    if (!look.leader || look.leader_epoch != s->feed.leader_epoch) {
        end_feed(b, s, look.failed ? KAFKA_KAFKA_STORAGE_ERROR : KAFKA_NOT_LEADER_OR_FOLLOWER, look.leader_epoch);
        return;
    }
    marks_of(b, s, &look, &marks);
    throttled = is_throttled(b, s);
    if (throttled && !s->feed.began && s->feed.next_offset < marks.log_end) { /* what was read for it goes */
        uint64_t share = throttle_room(&b->peers->lead_throttle, b->time.now_ns);
        if (share == 0) {
            tide_count(b->counters, COUNTER_peer_throttle_waits);
            s->held = true;
            link_append(&b->peers->held_feeds, &s->in_pushes);
            mark_is_due(b, p);
            return;
        }
        room = TIDE_MIN(room, share);
    }
    switch (feed_push(&s->feed, &p->stream, b->time.now_ns, &marks, room, b->config.log_core,
                      b->config.requests_max + (uint32_t)(s - b->peers->feedings), disk, out, &sent)) {
    case FEED_SENT:
        ++*did;
        subscription_on_sent(&s->subscription, sent.sent_ns, sent.log_end, sent.bytes);
        tide_count_many(b->counters, COUNTER_peer_pushed_bytes, sent.bytes);
        if (s->feed.read.behind)
            tide_count_many(b->counters, COUNTER_peer_catchup_bytes, sent.bytes);
        if (throttled) {
            throttle_take(&b->peers->lead_throttle, sent.bytes);
            tide_count_many(b->counters, COUNTER_peer_throttled_bytes, sent.bytes);
        }
        stage_feed_sent(&s->timed, stages_follower(&b->stages, p->broker_id), stage_now(b), s->feed.next_offset,
                        s->feed.next_offset >= marks.log_end);
        if (trace_has(b->trace, partition_slot(s->partition)))
            trace_message(b, TRACE_SENT, partition_slot(s->partition), s->feed.next_offset, p->broker_id);
        peer_ready(p);
        wants_push(s); /* behind the others */
        break;
    case FEED_IDLE:
    case FEED_STARVED:
        if (s->feed.told_high_watermark != marks.high_watermark || s->feed.told_log_start != marks.log_start)
            mark_is_due(b, p);
        break;
    case FEED_WAITS:
        tide_count(b->counters, COUNTER_peer_push_waits);
        wait_for_room(b, s);
        break;
    case FEED_READING:
        ++*did;
        b->peers->disk_reads++;
        break;
    case FEED_LOST: end_feed(b, s, KAFKA_OFFSET_OUT_OF_RANGE, look.leader_epoch); break;
    case FEED_ROTTEN:
        rot_found(b, s->partition, s->feed.next_offset);
        end_feed(b, s, KAFKA_KAFKA_STORAGE_ERROR, look.leader_epoch);
        break;
    default: end_feed(b, s, KAFKA_KAFKA_STORAGE_ERROR, look.leader_epoch); break;
    }
}

unsigned feeds_push(struct broker *b, struct peer *p, struct tide_out *out)
{
    unsigned did = 0;
    /* A subscription that waits goes to the back: one round of waiting ones ends the turn. */
    for (unsigned n = 0, idle = 0; n < PEER_PUSHES_MAX && idle < PEER_PUSHES_MAX / 4; n++) {
        unsigned before = did;
        if (!peer_is_open(p) || link_is_empty(&p->pushes) || p->stream.out.len >= PEER_OUT_MAX)
            break;
        push_one(b, LINK_OF(struct feeding, in_pushes, p->pushes.next), out, &did);
        idle += did == before;
    }
    return did;
}

void feed_on_done(struct broker *b, struct feeding *s, const struct disk_done *done)
{
    if (!TIDE_EXPECT(s->feed.reading && b->peers->disk_reads != 0))
        return;
    feed_on_disk(&s->feed, done);
    if (s->feed.reading)
        return; /* not ours */
    b->peers->disk_reads--;
    if (s->state == FEED_ENDING)
        give(b, s);
    else
        wants_push(s);
}

bool feeds_beat(struct broker *b, struct peer *p)
{
    struct peer_beat beats[PEER_ENTRIES_MAX];
    struct feeding *sent[PEER_ENTRIES_MAX];
    uint32_t n = 0;
    struct link *l = p->feeds.next;
    p->feed_count = 0;
    p->lag = 0;
    do {
        for (n = 0; l != &p->feeds && n < PEER_ENTRIES_MAX; l = l->next) {
            struct feeding *s = LINK_OF(struct feeding, in_peer, l);
            struct partition_look look;
            struct feed_marks marks;
            if (s->state != FEED_FEEDING)
                continue;
            partition_look(s->partition, &look);
            if (!look.leader || look.leader_epoch != s->feed.leader_epoch) {
                wants_push(s); /* which ends it */
                continue;
            }
            marks_of(b, s, &look, &marks);
            int64_t held = (int64_t)tide_pub64_own(&s->subscription.marks->acknowledged[s->subscription.replica].log_end);
            uint64_t behind = (uint64_t)(marks.log_end - TIDE_MIN(held, marks.log_end));
            p->feed_count++;
            p->lag = TIDE_MAX(p->lag, behind);
            feed_beat(&s->feed, &marks, &beats[n]);
            sent[n++] = s;
        }
        if (peer_put_beats(&p->stream.out, p->stream.config.pool, p->stream.version, b->time.now_ns, beats, n) != TIDE_OK)
            return false;
        for (uint32_t i = 0; i < n; i++) {
            sent[i]->feed.told_high_watermark = beats[i].high_watermark;
            sent[i]->feed.told_log_start = beats[i].log_start;
            subscription_on_sent(&sent[i]->subscription, b->time.now_ns, beats[i].log_end, 0);
        }
    } while (l != &p->feeds);
    return true;
}
