/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/peers.h"

#include <rte_malloc.h>

enum {
    LOOK_MS = 50,        /* streams are looked at so often for silence and for their peers' registration */
    MESSAGE_BUFFERS = 4, /* read buffers that the largest batch fits into (log_batch_bytes_max); no APPEND is longer */
};

#define TO(s) (1u << PEER_##s)
static const struct {
    const char *name;
    uint32_t next;
} peer_states[PEER_STATE_COUNT] = {
    [PEER_FREE] = {"free", TO(IDLE) | TO(UP)},
    [PEER_IDLE] = {"idle", TO(DIALLING) | TO(FREE)},
    [PEER_DIALLING] = {"dialling", TO(UP) | TO(IDLE)},
    [PEER_UP] = {"up", TO(IDLE) | TO(FREE)},
};

static void peer_move(struct peer *p, enum peer_state to)
{
    TIDE_ASSERT(peer_states[p->state].next & 1u << to);
    p->state = to;
}

const struct view_broker *view_broker_of(const struct tide_view *v, int32_t id)
{
    for (uint32_t i = 0; v != NULL && i < v->broker_count; i++)
        if (v->brokers[i].id == id)
            return &v->brokers[i];
    return NULL;
}

bool peer_is_open(const struct peer *p)
{
    return p != NULL && p->state == PEER_UP && p->stream.state == STREAM_OPEN && !p->abort;
}

void peer_ready(struct peer *p)
{
    if (!link_is_listed(&p->in_ready))
        link_append(&p->broker->peers->ready, &p->in_ready);
}

/* ---- life ---------------------------------------------------------------------------------------- */

struct peers *peers_create(struct broker *b)
{
    struct peers *all = rte_zmalloc("peers", sizeof(*all), TIDE_CACHE_LINE);
    if (all == NULL)
        return NULL;
    b->peers = all;
    all->peer_count = (uint32_t)b->settings->replication_peers_max;
    link_init(&all->free_peers);
    link_init(&all->used_peers);
    link_init(&all->ready);
    all->peers = rte_zmalloc("peers", all->peer_count * sizeof(*all->peers), TIDE_CACHE_LINE);
    all->signs = rte_zmalloc("peers", all->peer_count * sizeof(*all->signs), TIDE_CACHE_LINE);
    if (all->peers == NULL || all->signs == NULL || !feeds_create(b) || !home_create(b) || !follows_create(b))
        return NULL;
    for (uint32_t i = 0; i < all->peer_count; i++) {
        struct peer *p = &all->peers[i];
        p->user.kind = CONN_PEER;
        p->broker = b;
        p->signs = &all->signs[i];
        link_init(&p->in_list);
        link_init(&p->in_ready);
        link_init(&p->feeds);
        link_init(&p->pushes);
        link_init(&p->follows);
        link_init(&p->acks);
        link_append(&all->free_peers, &p->in_list);
    }
    return all;
}

void peers_destroy(struct broker *b)
{
    struct peers *all = b->peers;
    if (all == NULL)
        return;
    follows_destroy(b);
    home_destroy(b);
    feeds_destroy(b);
    for (uint32_t i = 0; all->peers != NULL && i < all->peer_count; i++)
        if (all->peers[i].state == PEER_UP)
            stream_deinit(&all->peers[i].stream);
    rte_free(all->signs);
    rte_free(all->peers);
    rte_free(all);
    b->peers = NULL;
}

static struct peer *peer_take(struct broker *b, enum stream_end end)
{
    struct peers *all = b->peers;
    struct peer *p;
    if (link_is_empty(&all->free_peers))
        return NULL;
    p = LINK_OF(struct peer, in_list, all->free_peers.next);
    link_remove(&p->in_list);
    link_append(&all->used_peers, &p->in_list);
    p->end = end;
    p->broker_id = -1;
    p->transport = NULL;
    p->credit = p->queued = 0;
    p->feed_count = 0;
    p->lag = 0;
    p->abort = p->answers_beat = false;
    p->mark_ns = TIDE_NEVER;
    p->backoff_ns = 0;
    return p;
}

static void peer_give(struct peer *p)
{
    if (p->state != PEER_FREE)
        peer_move(p, PEER_FREE);
    link_remove(&p->in_ready);
    link_remove(&p->in_list);
    link_append(&p->broker->peers->free_peers, &p->in_list);
}

/* False without an identity: control has not registered us yet. */
static bool our_hello(const struct broker *b, struct peer_hello *ret)
{
    const struct view_broker *us = b->view != NULL ? view_broker_of(b->view, b->view->self) : NULL;
    if (us == NULL || tide_uuid_is_zero(&us->incarnation))
        return false;
    *ret = (struct peer_hello){.version_min = PEER_VERSION_MIN,
                               .version_max = PEER_VERSION_MAX,
                               .broker = us->id,
                               .incarnation = us->incarnation,
                               .broker_epoch = us->epoch,
                               .core_count = (uint16_t)b->config.office->core_count,
                               .core = (uint16_t)b->config.core};
    return tide_uuid_from_text(b->view->cluster_id, strlen(b->view->cluster_id), &ret->cluster_id);
}

static struct stream_config stream_config_of(const struct broker *b, enum stream_end end)
{
    uint32_t beat = (uint32_t)b->settings->replication_beat_ms;
    return (struct stream_config){.end = end,
                                  .message_max = (uint32_t)TIDE_MIN(MESSAGE_BUFFERS * b->settings->log_read_buffer_bytes, (int64_t)UINT32_MAX / 4),
                                  .timeout_ms = TIDE_MAX(beat * PEER_SILENCE_BEATS, (uint32_t)PEER_SILENCE_MIN_MS),
                                  .beat_ms = beat,
                                  .pool = b->config.peer_pool,
                                  .dense_pool = b->config.request_pool};
}

/* ---- signs of life ---------------------------------------------------------------------------------- */

enum { SIGN_SHIFT = 20 };

static void sign(const struct peer *p, struct tide_pub64 *word, uint64_t now_ns)
{
    uint64_t value = (uint64_t)((uint32_t)p->broker_id + 1) << 32 | (uint32_t)(now_ns >> SIGN_SHIFT);
    if (tide_pub64_own(word) != value)
        tide_pub64_set(word, value);
}

static void sign_off(struct peer *p)
{
    tide_pub64_set(&p->signs->heard, 0);
    tide_pub64_set(&p->signs->confirmed, 0);
}

static uint64_t sign_ns(uint64_t word, uint64_t now_ns)
{
    uint32_t age = (uint32_t)(now_ns >> SIGN_SHIFT) - (uint32_t)word;
    /* A core may be ahead of a reader's clock by a little. */
    return (int32_t)age <= 0 ? now_ns : now_ns - TIDE_MIN(now_ns, (uint64_t)age << SIGN_SHIFT);
}

uint32_t broker_peer_count(const struct broker *b)
{
    return b->peers->peer_count;
}

bool broker_peer_signs(const struct broker *b, uint32_t i, uint64_t now_ns, struct broker_peer_signs *ret)
{
    const struct peer_signs *s = &b->peers->signs[i];
    uint64_t heard = tide_pub64_peek(&s->heard), confirmed = tide_pub64_peek(&s->confirmed);
    if (heard == 0 || heard >> 32 != confirmed >> 32)
        return false; /* none, or it is just becoming another one */
    *ret = (struct broker_peer_signs){.broker = (int32_t)((heard >> 32) - 1), .heard_ns = sign_ns(heard, now_ns), .confirmed_ns = sign_ns(confirmed, now_ns)};
    return true;
}

/* The stream ends; what hung on it looks for another one. A connection that still exists is reset. */
static void peer_down(struct broker *b, struct peer *p)
{
    feeds_on_gone(b, p);
    follows_on_gone(b, p);
    stream_close(&p->stream);
    stream_deinit(&p->stream);
    sign_off(p);
    tide_count(b->counters, COUNTER_peer_streams_closed);
    p->transport = NULL;
    p->abort = false;
    p->credit = p->queued = 0;
    if (p->end == STREAM_LEADER) {
        peer_give(p);
        return;
    }
    peer_move(p, PEER_IDLE);
    p->dial_ns = b->time.now_ns + p->backoff_ns;
    b->peers->look_ns = 0;
}

/* To be reset at the core's next look. */
static void peer_kill(struct broker *b, struct peer *p)
{
    feeds_on_gone(b, p);
    follows_on_gone(b, p);
    p->abort = true;
    peer_ready(p);
}

/* A refusal that stands in the output leaves first. */
static void peer_refuse(struct broker *b, struct peer *p, int16_t error)
{
    tide_count(b->counters, COUNTER_peer_streams_refused);
    stream_refuse(&p->stream, error);
    if (p->stream.out.len == 0)
        p->abort = true;
    peer_ready(p);
}

struct peer *peer_on_accepted(struct broker *b, const struct tide_time *t, void *transport)
{
    struct stream_config config = stream_config_of(b, STREAM_LEADER);
    struct peer_hello ours;
    struct peer *p;
    if (b->quiesced || !our_hello(b, &ours))
        return NULL;
    p = peer_take(b, STREAM_LEADER);
    if (p == NULL)
        return NULL;
    p->transport = transport;
    if (stream_init(&p->stream, t->now_ns, &config, &ours) != TIDE_OK) {
        stream_deinit(&p->stream);
        peer_give(p);
        return NULL;
    }
    peer_move(p, PEER_UP);
    tide_count(b->counters, COUNTER_peer_streams_opened);
    return p;
}

struct peer *peer_toward(struct broker *b, int32_t leader, uint32_t remote_core)
{
    struct peer *p;
    for (struct link *l = b->peers->used_peers.next; l != &b->peers->used_peers; l = l->next) {
        p = LINK_OF(struct peer, in_list, l);
        if (p->end == STREAM_FOLLOWER && p->broker_id == leader && p->remote_core == remote_core)
            return p;
    }
    p = peer_take(b, STREAM_FOLLOWER);
    if (p == NULL)
        return NULL;
    p->broker_id = leader;
    p->remote_core = remote_core;
    p->dial_ns = b->time.now_ns;
    b->peers->look_ns = 0;
    peer_move(p, PEER_IDLE);
    return p;
}

/* Doubled with each failure, and a little different each time, so that the cores of a broker do not
 * come at once. */
static void back_off(struct broker *b, struct peer *p)
{
    uint64_t first = (uint64_t)b->settings->replication_reconnect_backoff_ms * TIDE_NS_PER_MS;
    uint64_t last = (uint64_t)b->settings->replication_reconnect_backoff_max_ms * TIDE_NS_PER_MS;
    p->backoff_ns = p->backoff_ns == 0 ? first : TIDE_MIN(2 * p->backoff_ns, TIDE_MAX(first, last));
    p->dial_ns = b->time.now_ns + p->backoff_ns / 2 + tide_random_below(&b->peers->random, p->backoff_ns / 2 + 1);
}

bool broker_next_dial(struct broker *b, struct peer_dial *ret)
{
    for (struct link *l = b->peers->used_peers.next; l != &b->peers->used_peers; l = l->next) {
        struct peer *p = LINK_OF(struct peer, in_list, l);
        const struct view_broker *to;
        if (p->state != PEER_IDLE || p->dial_ns > b->time.now_ns || link_is_empty(&p->follows))
            continue;
        to = view_broker_of(b->view, p->broker_id);
        back_off(b, p);
        if (to == NULL || to->replication_port == 0)
            continue;
        peer_move(p, PEER_DIALLING);
        p->gives_up_ns = b->time.now_ns + PEER_DIAL_MS * TIDE_NS_PER_MS;
        *ret = (struct peer_dial){.peer = p,
                                  .addr = to->replication_addr,
                                  .port = to->replication_port,
                                  .core_count = to->core_count,
                                  .core = p->remote_core,
                                  .random = tide_random_u64(&b->peers->random)};
        return true;
    }
    return false;
}

/* ---- events of the connection ---------------------------------------------------------------------- */

void peer_on_dialled(struct peer *p, const struct tide_time *t, void *transport)
{
    (void)t;
    p->transport = transport;
    if (transport == NULL)
        peer_move(p, PEER_IDLE);
}

/* The connection stands: the follower's end says HELLO. */
static void connected(struct broker *b, struct peer *p)
{
    struct stream_config config = stream_config_of(b, STREAM_FOLLOWER);
    struct peer_hello ours;
    p->answers_beat = false;
    peer_move(p, PEER_UP);
    tide_count(b->counters, COUNTER_peer_streams_opened);
    if (!our_hello(b, &ours)) {
        ours = (struct peer_hello){0};
        p->abort = true;
    }
    if (stream_init(&p->stream, b->time.now_ns, &config, &ours) != TIDE_OK)
        p->abort = true;
    peer_ready(p);
}

void peer_on_sent(struct peer *p, const struct tide_time *t, uint32_t queued, struct tide_out *out)
{
    (void)t;
    p->queued = queued;
    if (p->state == PEER_DIALLING && !p->abort)
        connected(p->broker, p);
    else if (peer_is_open(p) && p->end == STREAM_LEADER)
        feeds_push(p->broker, p, out);
}

void peer_on_confirmed(struct peer *p, const struct tide_time *t)
{
    if (peer_is_open(p))
        sign(p, &p->signs->confirmed, t->now_ns);
}

void peer_on_gone(struct peer *p)
{
    struct broker *b = p->broker;
    link_remove(&p->in_ready);
    if (p->state == PEER_DIALLING) {
        p->transport = NULL;
        p->abort = false;
        peer_move(p, PEER_IDLE);
        return;
    }
    peer_down(b, p);
}

/* Is the peer who it says it is? 0, or the Kafka error that says why not. */
static int16_t judge(const struct broker *b, const struct peer *p, const struct peer_hello *h)
{
    struct tide_uuid cluster;
    const struct view_broker *who = view_broker_of(b->view, h->broker);
    if (b->view == NULL || !tide_uuid_from_text(b->view->cluster_id, strlen(b->view->cluster_id), &cluster) ||
        !tide_uuid_equal(&cluster, &h->cluster_id))
        return KAFKA_INCONSISTENT_CLUSTER_ID;
    if (who == NULL || h->broker == b->view->self)
        return KAFKA_BROKER_ID_NOT_REGISTERED;
    if (p->end == STREAM_FOLLOWER && h->broker != p->broker_id)
        return KAFKA_BROKER_ID_NOT_REGISTERED;
    if (who->epoch != h->broker_epoch || !tide_uuid_equal(&who->incarnation, &h->incarnation) || tide_uuid_is_zero(&h->incarnation))
        return KAFKA_STALE_BROKER_EPOCH;
    return 0;
}

static void on_hello(struct broker *b, struct peer *p, const struct peer_hello *h)
{
    int16_t error = judge(b, p, h);
    if (error == 0 && stream_accept(&p->stream, b->time.now_ns) != TIDE_OK)
        error = KAFKA_UNSUPPORTED_VERSION;
    if (error != 0) {
        peer_refuse(b, p, error);
        return;
    }
    p->broker_id = h->broker;
    p->backoff_ns = 0;
    p->mark_ns = TIDE_NEVER;
    sign(p, &p->signs->confirmed, b->time.now_ns); /* its HELLO came over a connection that it answered */
    peer_ready(p);
    if (p->end == STREAM_FOLLOWER)
        follows_on_open(b, p);
}

static void on_message(struct broker *b, struct peer *p, struct peer_message *m, struct tide_out *out)
{
    struct peer_ack ack;
    switch (m->kind) {
    case PEER_HELLO: on_hello(b, p, &m->hello); break;
    case PEER_SUBSCRIBE: feeds_on_subscribe(b, p, &m->subscribe, out); break;
    case PEER_UNSUBSCRIBE: feeds_on_unsubscribe(b, p, m->unsubscribe.place, m->unsubscribe.number); break;
    case PEER_ACK:
        while (peer_next_ack(m, &ack))
            feeds_on_ack(b, p, &ack);
        break;
    case PEER_REFUSED:
        if (m->refused.tag == PEER_TAG_NONE) { /* the whole stream; it is dialled again after a while */
            tide_count(b->counters, COUNTER_peer_streams_refused);
            back_off(b, p);
            stream_close(&p->stream);
            peer_kill(b, p);
            break;
        }
        follows_on_message(b, p, m, out);
        break;
    default: follows_on_message(b, p, m, out); break;
    }
}

void peer_on_bytes(struct peer *p, const struct tide_time *t, struct tide_rope *bytes, struct tide_out *out)
{
    struct broker *b = p->broker;
    struct peer_message m;
    enum stream_step step;
    p->credit += bytes->len; /* a stream is never left unread */
    if (p->state != PEER_UP || p->abort) {
        tide_rope_clear(bytes);
        return;
    }
    stream_on_bytes(&p->stream, t->now_ns, bytes, b->receive_low);
    while ((step = stream_next(&p->stream, &m)) == STREAM_STEP_MESSAGE) {
        on_message(b, p, &m, out);
        if (p->abort || p->stream.state == STREAM_CLOSED)
            break;
    }
    if (step == STREAM_STEP_BAD) {
        tide_count(b->counters, COUNTER_peer_streams_bad);
        peer_kill(b, p);
    }
    if (peer_is_open(p))
        sign(p, &p->signs->heard, t->now_ns);
    peer_ready(p);
}

void peer_wants(struct peer *p, struct session_wants *ret)
{
    bool closed = p->state == PEER_UP && p->stream.state == STREAM_CLOSED;
    *ret = (struct session_wants){.out = &p->stream.out, .credit = p->credit, .close = closed, .abort = p->abort};
    p->credit = 0;
}

void *peer_transport(const struct peer *p)
{
    return p->transport;
}

struct peer *broker_next_ready_peer(struct broker *b)
{
    struct peers *all = b->peers;
    while (!link_is_empty(&all->ready)) {
        struct peer *p = LINK_OF(struct peer, in_ready, all->ready.next);
        link_remove(&p->in_ready);
        if (p->state == PEER_UP || (p->state == PEER_DIALLING && p->abort))
            return p;
    }
    return NULL;
}

/* ---- a turn ------------------------------------------------------------------------------------------- */

/* The view says that the peer is another one now, or none, or that we are: the stream's ends no longer
 * are who they greeted as. */
static bool is_outdated(const struct broker *b, const struct peer *p)
{
    struct peer_hello ours;
    if (p->stream.state != STREAM_OPEN)
        return false;
    return judge(b, p, &p->stream.theirs) != 0 || !our_hello(b, &ours) || ours.broker_epoch != p->stream.ours.broker_epoch ||
           !tide_uuid_equal(&ours.incarnation, &p->stream.ours.incarnation);
}

static void look_at(struct broker *b, struct peer *p, bool new_view)
{
    uint64_t now = b->time.now_ns;
    if (p->state == PEER_IDLE && link_is_empty(&p->follows)) {
        peer_give(p); /* nobody follows that broker from here any more */
        return;
    }
    if (p->state == PEER_DIALLING && now >= p->gives_up_ns) {
        p->gives_up_ns = TIDE_NEVER;
        p->abort = true;
        peer_ready(p);
        return;
    }
    if (p->state != PEER_UP || p->abort)
        return;
    if (stream_is_silent(&p->stream, now) || (new_view && is_outdated(b, p))) {
        peer_kill(b, p);
        return;
    }
    if (p->end == STREAM_FOLLOWER && p->stream.state == STREAM_OPEN && link_is_empty(&p->follows)) {
        peer_kill(b, p);
        return;
    }
    if (p->end == STREAM_LEADER && p->stream.state == STREAM_OPEN && TIDE_MIN(p->stream.beat_ns, p->mark_ns) <= now) {
        p->mark_ns = TIDE_NEVER;
        p->stream.beat_ns = now + (feeds_beat(b, p) ? p->stream.config.beat_ms : 1) * TIDE_NS_PER_MS;
        peer_ready(p);
    }
}

/* Credit is given in steps that are worth a message. */
static uint64_t held_follows_ns(const struct peers *all)
{
    return throttle_deadline_ns(&all->follow_throttle, (uint64_t)all->follow_throttle.burst / 2 + 1);
}

const struct view_partition *view_partition_of(const struct broker *b, struct partition *p)
{
    const struct view_topic *topic = b->view != NULL ? tide_view_topic_by_id(b->view, partition_topic_id(p)) : NULL;
    return topic != NULL ? tide_view_partition(topic, partition_index(p)) : NULL;
}

/* A core's part of the broker's pace. */
static int64_t share_of(const struct broker *b, int64_t rate)
{
    return rate == THROTTLE_NONE || rate == 0 ? rate : TIDE_MAX(rate / (int64_t)b->config.office->core_count, (int64_t)1);
}

/* Those that wait for a throttle; with a new view all of them, since it may say otherwise by now. */
static void look_at_held(struct broker *b, bool new_view)
{
    struct peers *all = b->peers;
    uint64_t now_ns = b->time.now_ns;
    if (new_view && b->view != NULL) {
        throttle_set(&all->lead_throttle, now_ns, share_of(b, b->view->leader_throttle_rate));
        throttle_set(&all->follow_throttle, now_ns, share_of(b, b->view->follower_throttle_rate));
    }
    if (!link_is_empty(&all->held_feeds) && (new_view || throttle_deadline_ns(&all->lead_throttle, 1) <= now_ns))
        feeds_unhold(b, new_view);
    if (!link_is_empty(&all->held_follows) && (new_view || held_follows_ns(all) <= now_ns))
        follows_unhold(b, new_view);
    if (all->waiting_ns <= now_ns)
        feeds_on_room(b);
}

unsigned peers_turn(struct broker *b, struct tide_out *out)
{
    struct peers *all = b->peers;
    uint64_t version = b->view != NULL ? b->view->version : 0;
    bool new_view = version != all->seen;
    bool look = new_view || b->time.now_ns >= all->look_ns;
    look_at_held(b, new_view);
    unsigned did = follows_turn(b, out);
    home_on_time(b);
    all->seen = version;
    if (look)
        all->look_ns = b->time.now_ns + LOOK_MS * TIDE_NS_PER_MS;
    for (struct link *l = all->used_peers.next, *next; l != &all->used_peers; l = next) {
        struct peer *p = LINK_OF(struct peer, in_list, l);
        next = l->next; /* it may be given back */
        if (look || (p->state == PEER_DIALLING && p->gives_up_ns <= b->time.now_ns) || (p->state == PEER_UP && TIDE_MIN(p->mark_ns, stream_deadline_ns(&p->stream)) <= b->time.now_ns))
            look_at(b, p, new_view);
        if (!peer_is_open(p))
            continue;
        did += p->end == STREAM_LEADER ? feeds_push(b, p, out) : follows_ack(b, p);
    }
    return did;
}

void peers_check(const struct broker *b)
{
    throttle_check(&b->peers->lead_throttle);
    throttle_check(&b->peers->follow_throttle);
    for (const struct link *l = b->peers->used_peers.next; l != &b->peers->used_peers; l = l->next) {
        const struct peer *p = LINK_OF(const struct peer, in_list, l);
        TIDE_ASSERT(p->state != PEER_FREE);
        if (p->state == PEER_UP)
            stream_check(&p->stream);
        TIDE_ASSERT(link_is_empty(&p->feeds) || (p->end == STREAM_LEADER && p->state == PEER_UP));
        for (const struct link *f = p->feeds.next; f != &p->feeds; f = f->next) {
            const struct feeding *s = LINK_OF(const struct feeding, in_peer, f);
            TIDE_ASSERT(s->peer == p);                                           /* P1 */
            TIDE_ASSERT(!s->held || !s->waits);                                  /* in_pushes is in one list */
            TIDE_ASSERT(s->state == FEED_ASKED || s->state == FEED_FEEDING);     /* P1 */
            TIDE_ASSERT(b->waits[partition_slot(s->partition)].uses != 0);       /* P2 */
        }
        for (const struct link *f = p->follows.next; f != &p->follows; f = f->next)
            TIDE_ASSERT(LINK_OF(const struct follow, in_peer, f)->peer == p);
    }
    home_check(b);
    follows_check(b);
}

void peers_gauges(const struct broker *b, struct broker_gauges *ret)
{
    ret->peer_streams = ret->feeds = 0;
    ret->follower_lag = 0;
    for (const struct link *l = b->peers->used_peers.next; l != &b->peers->used_peers; l = l->next) {
        const struct peer *p = LINK_OF(const struct peer, in_list, l);
        if (p->state != PEER_UP || p->stream.state != STREAM_OPEN)
            continue;
        ret->peer_streams++;
        if (p->end != STREAM_LEADER)
            continue;
        ret->feeds += p->feed_count;
        ret->follower_lag = TIDE_MAX(ret->follower_lag, p->lag);
    }
}

uint64_t peers_deadline_ns(const struct broker *b)
{
    const struct peers *all = b->peers;
    uint64_t soonest = TIDE_MIN(follows_deadline_ns(b), all->leaders_ns);
    if (!link_is_empty(&all->held_feeds))
        soonest = TIDE_MIN(soonest, throttle_deadline_ns(&all->lead_throttle, 1));
    if (!link_is_empty(&all->held_follows))
        soonest = TIDE_MIN(soonest, held_follows_ns(all));
    if (!link_is_empty(&all->waiting_feeds))
        soonest = TIDE_MIN(soonest, all->waiting_ns);
    for (const struct link *l = all->used_peers.next; l != &all->used_peers; l = l->next) {
        const struct peer *p = LINK_OF(const struct peer, in_list, l);
        if (p->state == PEER_DIALLING)
            soonest = TIDE_MIN(soonest, p->gives_up_ns);
        else if (p->state == PEER_IDLE && !link_is_empty(&p->follows))
            soonest = TIDE_MIN(soonest, p->dial_ns);
        else if (p->state == PEER_UP)
            soonest = TIDE_MIN(soonest, TIDE_MIN(p->mark_ns, stream_deadline_ns(&p->stream)));
        if (p->state == PEER_UP && (!link_is_empty(&p->pushes) || !link_is_empty(&p->acks)))
            soonest = TIDE_MIN(soonest, b->time.now_ns + TIDE_NS_PER_MS); /* they wait for a pool or for room */
    }
    return soonest;
}

void peers_on_disk(struct broker *b, uint32_t place, const struct disk_done *done, struct tide_out *out)
{
    (void)out;
    if (TIDE_EXPECT(place < FEEDS_MAX))
        feed_on_done(b, &b->peers->feedings[place], done);
}
