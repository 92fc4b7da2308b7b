/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection's bytes: frames cut out of what arrives, responses put back in order.
 *
 * A whole request that is not executed waits either for the session itself (`held`: too many in progress, too much unsent), and
 * then goes on in session_go_on, once that has become less; or for a pool that others use, too (`stalled`), and then goes on
 * when something comes back to one.
 *
 * Timers: none of its own. broker_turn looks at sessions that are stalled, and evicts the stalest partial request when receive
 * buffers and request memory are both short (design 10).
 */
#include "broker/internal.h"

#include "tidemark/arrival.h"
#include "tidemark/bytes.h"

struct session *session_open(struct broker *b, const struct tide_time *t, uint32_t listener,
                             void *transport)
{
    struct session *s;
    if (link_is_empty(&b->free_sessions) || b->quiesced) {
        tide_count(b->counters, COUNTER_sessions_refused);
        return NULL;
    }
    s = LINK_OF(struct session, in_free, b->free_sessions.next);
    link_remove(&s->in_free);
    memset(s, 0, sizeof(*s));
    s->user.kind = CONN_SESSION;
    s->broker = b;
    s->transport = transport;
    s->listener = listener;
    s->in_use = true;
    s->authenticated = true; /* PLAINTEXT listeners authenticate nobody */
    s->progress_ns = t->now_ns;
    link_init(&s->requests);
    link_init(&s->in_stalled);
    link_init(&s->in_partial);
    link_init(&s->in_ready);
    link_init(&s->in_free);
    link_init(&s->unsent);
    link_init(&s->in_unsent);
    b->session_count++;
    tide_count(b->counters, COUNTER_sessions_opened);
    return s;
}

void session_set_address(struct session *s, const struct tide_addr *address)
{
    s->address = *address;
}

struct session *broker_next_ready(struct broker *b)
{
    struct session *s;
    if (link_is_empty(&b->ready))
        return NULL;
    s = LINK_OF(struct session, in_ready, b->ready.next);
    link_remove(&s->in_ready);
    return s;
}

struct session *broker_session(struct broker *b, uint32_t i)
{
    return b->sessions[i].in_use ? &b->sessions[i] : NULL;
}

void *session_transport(const struct session *s)
{
    return s->transport;
}

static void give_credit(struct session *s, uint32_t bytes)
{
    bytes = TIDE_MIN(bytes, s->uncredited);
    s->uncredited -= bytes;
    s->credit += bytes;
}

/* The connection must not go on: what was asked before is still answered, unless `now`. */
static void session_refuse(struct session *s, bool now)
{
    tide_rope_clear(&s->in);
    link_remove(&s->in_partial);
    link_remove(&s->in_stalled);
    s->stalled = s->held = false;
    s->closing = true;
    s->aborted |= now;
    session_ready(s);
}

void session_abort(struct session *s)
{
    session_refuse(s, true);
}

static __attribute__((noinline)) int32_t size_in_pieces(const struct session *s)
{
    uint8_t head[FRAME_SIZE_BYTES];
    tide_slice_copy(tide_rope_slice(&s->in, 0, FRAME_SIZE_BYTES), head);
    return (int32_t)load_be32(head);
}

/* Bytes of the first frame behind its size field; -1 when it is refused, 0 when not yet known. */
static inline int64_t front_frame(const struct session *s)
{
    int32_t size;
    int32_t limit = s->authenticated ? s->broker->settings->socket_request_max_bytes
                                     : TIDE_PREAUTH_FRAME_MAX;
    if (s->in.len < FRAME_SIZE_BYTES)
        return 0;
    if (s->in.head->data_len - s->in.head_off >= FRAME_SIZE_BYTES)
        size = (int32_t)load_be32(rte_pktmbuf_mtod_offset(s->in.head, const uint8_t *, s->in.head_off));
    else
        size = size_in_pieces(s);
    /* A TLS hello (16 03) or an HTTP verb decodes as a huge size and ends here as well. */
    return size <= 0 || size > limit ? -1 : size;
}

/* An incomplete request must not sit on receive buffers when it is large or they are scarce. */
static void make_dense(struct session *s)
{
    struct broker *b = s->broker;
    struct tide_rope dense;
    struct tide_slice all;

    if (s->in.len == 0 || s->in.head->pool == b->config.request_pool)
        all = (struct tide_slice){0};
    else
        all = tide_rope_slice(&s->in, 0, s->in.len);
    if (all.len == 0) {
        /* The front is dense already; only what came since is not. Join it when it is worth it. */
        if (s->in.len == 0 || s->in.tail->pool == b->config.request_pool)
            return;
        all = tide_rope_slice(&s->in, 0, s->in.len);
    }
    if (!copy_densely(b, all, &dense))
        return;
    tide_rope_clear(&s->in);
    s->in = dense;
}

static void take_bytes(struct session *s, struct tide_rope *bytes)
{
    struct broker *b = s->broker;
    /* A partial request that is dense already stays dense: copy what comes now behind it. */
    if (s->in.tail != NULL && s->in.tail->pool == b->config.request_pool) {
        const uint8_t *piece;
        uint32_t n;
        struct tide_slice all = tide_rope_slice(bytes, 0, bytes->len);
        while ((n = tide_slice_next(&all, &piece)) != 0) {
            if (tide_rope_copy_in(&s->in, b->config.request_pool, piece, n) != TIDE_OK) {
                tide_count(b->counters, COUNTER_request_memory_empty);
                break;
            }
            tide_rope_drop(bytes, n);
        }
    }
    tide_rope_join(&s->in, bytes);
}

void session_on_bytes(struct session *s, const struct tide_time *t, uint64_t received_ns, struct tide_rope *bytes,
                      struct tide_out *out)
{
    if (s->closing || s->ended) {
        s->credit += bytes->len; /* read and dropped, so that the peer can finish */
        tide_rope_clear(bytes);
        session_ready(s);
        return;
    }
    s->uncredited += bytes->len;
    s->progress_ns = t->now_ns;
    if (bytes->len != 0)
        s->arrived_ns = tide_arrival_ns(bytes->tail, t->now_ns);
    stage_arrived(&s->arrivals, bytes->len, received_ns, stage_now(s->broker));
    take_bytes(s, bytes);
    session_run(s, out);
}

static bool may_execute(const struct session *s)
{
    return !s->closing && s->request_count < SESSION_REQUESTS_MAX &&
           s->out.len < SESSION_OUT_BYTES_MAX && s->muted_until_ns <= s->broker->time.now_ns;
}

/* After the loop of session_run: the front frame is incomplete, stalled or absent. */
static void settle(struct session *s, int64_t frame)
{
    struct broker *b = s->broker;
    bool incomplete = frame >= 0 && s->in.len < (uint64_t)frame + FRAME_SIZE_BYTES;

    if (s->closing)
        return;
    if (incomplete && !s->stalled) {
        give_credit(s, s->uncredited); /* the rest must be able to come */
        if (s->in.len != 0 && (s->in.len > SESSION_DENSE_ABOVE || b->receive_low))
            make_dense(s);
    }
    if (s->in.len != 0 && incomplete) {
        if (!link_is_listed(&s->in_partial))
            link_append(&b->partial, &s->in_partial);
    } else if (link_is_listed(&s->in_partial)) {
        link_remove(&s->in_partial);
    }
    s->held = s->in.len != 0 && !incomplete && !s->stalled;
    if (s->stalled) {
        if (!link_is_listed(&s->in_stalled))
            link_append(&b->stalled, &s->in_stalled);
    } else if (link_is_listed(&s->in_stalled)) {
        link_remove(&s->in_stalled);
    }
    if (s->ended && incomplete)
        session_refuse(s, false); /* half a request will never be whole */
    if (s->ended && s->in.len == 0)
        s->closing = true;
}

void session_run(struct session *s, struct tide_out *out)
{
    int64_t frame;
    s->stalled = false;
    for (;;) {
        struct tide_slice slice;
        enum tide_status status;
        frame = front_frame(s);
        if (!may_execute(s) || frame == 0 || (frame > 0 && s->in.len < (uint64_t)frame + FRAME_SIZE_BYTES))
            break;
        if (frame < 0) {
            tide_count(s->broker->counters, COUNTER_sessions_bad);
            session_refuse(s, false);
            break;
        }
        slice = tide_rope_slice(&s->in, FRAME_SIZE_BYTES, (uint32_t)frame);
        status = dispatch(s, &slice, out);
        if (status == TIDE_FULL) {
            s->stalled = true;
            tide_count(s->broker->counters, COUNTER_request_stalls);
            break;
        }
        if (status != TIDE_OK) {
            tide_count(s->broker->counters, COUNTER_sessions_bad);
            session_refuse(s, false);
            break;
        }
        if (s->closing)
            break;
        s->progress_ns = s->broker->time.now_ns;
        tide_rope_drop(&s->in, (uint32_t)frame + FRAME_SIZE_BYTES);
        stage_taken(&s->arrivals, (uint32_t)frame + FRAME_SIZE_BYTES);
        give_credit(s, (uint32_t)frame + FRAME_SIZE_BYTES);
    }
    if (s->in.len == 0 && !s->closing && !s->ended && !link_is_listed(&s->in_partial) && !link_is_listed(&s->in_stalled)) {
        give_credit(s, s->uncredited);
        s->held = false; /* nothing is left, and nobody waits: what settle comes to */
        session_ready(s);
        return;
    }
    if (s->closing)
        frame = 0;
    if (frame < 0) { /* seen once we may execute again; nothing more is read until then */
        s->held = true;
        session_ready(s);
        return;
    }
    settle(s, frame);
    session_ready(s);
}

/* ---- what has gone, for the stages ---- */

static void unsent_add(struct session *s, const struct request *r)
{
    struct broker *b = s->broker;
    struct unsent *u;
    if (link_is_empty(&b->free_unsent)) {
        tide_count(b->counters, COUNTER_stages_missed);
        return;
    }
    u = LINK_OF(struct unsent, in_list, b->free_unsent.next);
    link_remove(&u->in_list);
    u->end = s->emitted;
    u->is_fetch = r->api_key == KAFKA_API_FETCH;
    if (!u->is_fetch) {
        u->acks = r->produce.acks;
        u->slot = r->produce.slowest_slot;
        u->slowest_end = r->produce.slowest_end;
    }
    memcpy(u->stamps, r->stamps, sizeof(u->stamps));
    link_append(&s->unsent, &u->in_list);
    if (!link_is_listed(&s->in_unsent))
        link_append(&b->unsent, &s->in_unsent);
}

void session_on_transmitted(struct session *s, uint64_t now_ns, uint64_t bytes)
{
    struct broker *b = s->broker;
    while (!link_is_empty(&s->unsent)) {
        struct unsent *u = LINK_OF(struct unsent, in_list, s->unsent.next);
        if (u->end > bytes) {
            link_append(&b->unsent_later, &s->in_unsent);
            return;
        }
        u->stamps[STAMP_TRANSMITTED] = now_ns;
        if (u->is_fetch)
            stages_count_fetch(&b->stages, u->stamps);
        else
            stages_count(&b->stages, u->stamps, STAMP_TRANSMITTED);
        if (trace_has(b->trace, u->slot) && !u->is_fetch) {
            stages_order(u->stamps, STAMP_TRANSMITTED);
            trace_request(b, u->acks, u->slot, u->slowest_end, u->stamps, STAMP_TRANSMITTED);
        }
        link_remove(&u->in_list);
        link_append(&b->free_unsent, &u->in_list);
    }
}

struct session *broker_next_unsent(struct broker *b)
{
    struct session *s;
    if (link_is_empty(&b->unsent))
        return NULL;
    s = LINK_OF(struct session, in_unsent, b->unsent.next);
    link_remove(&s->in_unsent);
    return s;
}

/* Its response, if one is due, is in `out`. */
static void stamp_emitted(struct session *s, struct request *r)
{
    struct broker *b = s->broker;
    bool is_produce = r->api_key == KAFKA_API_PRODUCE && !r->produce.failed && r->produce.complete;
    if (is_produce && r->silent) {
        stages_count(&b->stages, r->stamps, STAMP_APPENDED);
        if (trace_has(b->trace, r->produce.slowest_slot)) {
            stages_order(r->stamps, STAMP_APPENDED);
            trace_request(b, 0, r->produce.slowest_slot, r->produce.slowest_end, r->stamps, STAMP_APPENDED);
        }
    } else if (is_produce || r->api_key == KAFKA_API_FETCH) {
        r->stamps[STAMP_EMITTED] = stage_now(b);
        unsent_add(s, r);
    }
}

/* Moves finished responses from the queue's front to the output. */
void session_emit(struct session *s)
{
    struct broker *b = s->broker;
    while (!link_is_empty(&s->requests)) {
        struct request *r = LINK_OF(struct request, in_session, s->requests.next);
        if (r->state != REQUEST_DONE)
            break;
        if (!r->silent) {
            s->emitted += r->response.len;
            tide_rope_join(&s->out, &r->response);
            tide_count(b->counters, COUNTER_responses);
        }
        stamp_emitted(s, r);
        if (r->close_after)
            session_refuse(s, false);
        s->request_count--;
        r->session = NULL;
        if (r->outstanding == 0)
            request_give(b, r);
        else
            link_remove(&r->in_session);
    }
    session_ready(s);
}

void session_on_end(struct session *s, const struct tide_time *t)
{
    (void)t;
    s->ended = true;
    for (struct link *l = s->requests.next; l != &s->requests; l = l->next)
        groups_api_on_end(s->broker, LINK_OF(struct request, in_session, l));
    if (s->in.len == 0)
        s->closing = true;
    else if (!s->stalled)
        settle(s, front_frame(s));
    session_ready(s);
}

void session_on_gone(struct session *s)
{
    struct broker *b = s->broker;
    while (!link_is_empty(&s->requests)) {
        struct request *r = LINK_OF(struct request, in_session, s->requests.next);
        link_remove(&r->in_session);
        r->session = NULL;
        fetch_abandon(b, r);
        link_remove(&r->in_retry);
        /* Nobody hears the answer: forget it, unless something of it is still out. */
        if (r->outstanding == 0)
            request_give(b, r);
        else
            groups_api_cancel(b, r);
    }
    tide_rope_clear(&s->in);
    tide_rope_clear(&s->out);
    link_join(&b->free_unsent, &s->unsent);
    link_remove(&s->in_unsent);
    link_remove(&s->in_stalled);
    link_remove(&s->in_partial);
    link_remove(&s->in_ready);
    s->in_use = false;
    b->session_count--;
    link_append(&b->free_sessions, &s->in_free);
    tide_count(b->counters, COUNTER_sessions_closed);
}

void session_wants(struct session *s, struct session_wants *ret)
{
    bool finished = s->closing && link_is_empty(&s->requests);
    link_remove(&s->in_ready);
    *ret = (struct session_wants){
        .out = &s->out, .credit = s->credit, .close = finished, .abort = s->aborted};
    s->credit = 0;
}

bool session_on_sent(struct session *s, const struct tide_time *t, struct tide_out *out)
{
    room_came(s->broker);
    return session_go_on(s, t, out);
}

bool session_go_on(struct session *s, const struct tide_time *t, struct tide_out *out)
{
    (void)t;
    if (!s->held || !may_execute(s))
        return false;
    session_run(s, out);
    return true;
}
