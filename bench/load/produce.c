/* SPDX-License-Identifier: Apache-2.0 */
/* What is due, sent and acknowledged. */
#include "bench/load/internal.h"
#include "kafka/errors.h"
#include "tidemark/assert.h"

enum { ADMITS_PER_TURN = 256, ROOM_LEAST = 65536 };

/* ---- queues of requests ------------------------------------------------------------------------------------------ */

static void queue_push(struct load_queue *q, struct load_request *r)
{
    r->next = NULL;
    if (q->head == NULL)
        q->head = r;
    else
        q->tail->next = r;
    q->tail = r;
    q->count++;
}

static struct load_request *queue_pop(struct load_queue *q)
{
    struct load_request *r = q->head;
    q->head = r->next;
    if (q->head == NULL)
        q->tail = NULL;
    q->count--;
    return r;
}

/* Both ascend by number, and so does what comes out. */
static void queue_merge(struct load_queue *into, struct load_queue *from)
{
    struct load_queue out = {0};
    while (into->head != NULL || from->head != NULL) {
        bool first = from->head == NULL || (into->head != NULL && into->head->number < from->head->number);
        queue_push(&out, queue_pop(first ? into : from));
    }
    *into = out;
}

void worker_wait_again(struct load_worker *w, struct load_client *c, struct load_queue *q)
{
    w->in_flight -= q->count;
    w->waiting += q->count;
    queue_merge(&c->waiting, q);
    w->result.waiting_max = TIDE_MAX(w->result.waiting_max, w->waiting);
}

void worker_request_free(struct load_worker *w, struct load_request *r)
{
    r->next = w->free;
    w->free = r;
}

/* ---- producing --------------------------------------------------------------------------------------------------- */

static void sample_produce(struct load_worker *w, uint64_t intended_ns, uint64_t took_ns)
{
    load_hist_add(&load_result_interval(&w->result, intended_ns)->produce, took_ns);
    if (worker_is_measured(w, intended_ns))
        load_hist_add(&w->result.produce, took_ns);
}

static void request_acked(struct load_worker *w, struct load_client *c, struct load_request *r)
{
    uint64_t took_ns = w->now_ns - w->start_ns - r->intended_ns;
    w->result.acked++;
    worker_interval_now(w)->acked++;
    if (w->options->acks != LOAD_ACKS_NONE || w->options->protocol == LOAD_ECHO)
        sample_produce(w, r->intended_ns, took_ns);
    if (worker_is_measured(w, r->intended_ns) && w->now_ns - w->start_ns <= w->end_ns)
        w->result.measured_acked++;
    (void)content_acked(&c->fate, r->number);
    worker_request_free(w, r);
}

static bool put_produce(struct load_worker *w, struct load_client *c, struct load_request *r, struct wire_writer *q)
{
    static const int16_t acks[] = {[LOAD_ACKS_NONE] = 0, [LOAD_ACKS_ONE] = 1, [LOAD_ACKS_ALL] = -1};
    struct tide_rope batch = {0};
    struct content_stamp s = {.producer = c->producer, .batch = r->number, .intended_ns = w->start_ns + r->intended_ns,
                              .wall_ms = w->start_wall_ms + (int64_t)(r->intended_ns / TIDE_NS_PER_MS),
                              .producer_id = c->producer_id, .producer_epoch = c->producer_epoch};
    content_stamp(&w->content, &s);
    if (w->options->protocol == LOAD_ECHO) {
        wire_writer_init(q, w->transport->pool);
        wire_frame_begin(q);
        wire_put_i32(q, ++c->correlation);
        wire_put_raw(q, w->content.batch, w->content.batch_bytes);
        return wire_frame_end(q);
    }
    if (tide_rope_copy_in(&batch, w->transport->pool, w->content.batch, w->content.batch_bytes) != TIDE_OK)
        return false;
    int16_t version = w->versions.of[KAFKA_API_PRODUCE];
    proto_begin(q, w->transport->pool, KAFKA_API_PRODUCE, version, ++c->correlation);
    proto_put_produce(q, version, &w->topic, (int32_t)c->partition, acks[w->options->acks], (int32_t)w->options->request_timeout_ms, &batch);
    return wire_frame_end(q);
}

static bool send_next(struct load_worker *w, struct load_client *c)
{
    struct load_request *r = c->waiting.head;
    struct wire_writer q = {0};
    if (!put_produce(w, c, r, &q)) {
        wire_writer_abandon(&q);
        return false;
    }
    (void)queue_pop(&c->waiting);
    w->waiting--;
    worker_call(w, write, c->line, &q.out);
    if (r->sent_ns == 0) {
        w->result.sent++;
        if (worker_is_measured(w, r->intended_ns))
            load_hist_add(&w->result.queue, w->now_ns - w->start_ns - r->intended_ns);
    } else {
        w->result.resent++;
    }
    worker_interval_now(w)->sent++;
    r->sent_ns = w->now_ns;
    r->correlation = c->correlation;
    if (w->options->acks == LOAD_ACKS_NONE && w->options->protocol == LOAD_KAFKA) {
        request_acked(w, c, r);
        return true;
    }
    queue_push(&c->flight, r);
    w->in_flight++;
    return true;
}

void worker_pump(struct load_worker *w, struct load_client *c)
{
    if (c->flight.count == 0)
        c->retrying = false;
    while (c->state == CLIENT_READY && c->waiting.count != 0 && c->flight.count < w->options->in_flight_max && !c->retrying &&
           w->now_ns >= c->again_ns && worker_call(w, room, c->line) >= TIDE_MIN(w->content.batch_bytes, (uint32_t)ROOM_LEAST))
        if (!send_next(w, c))
            return;
}

/* The next one of the schedule is counted, whatever becomes of it. Returns whose it is. */
static struct load_client *take_due(struct load_worker *w, uint64_t since, uint64_t *ret_due)
{
    uint64_t due = load_schedule_next_ns(&w->schedule), lag = since - due;
    struct load_interval *i = load_result_interval(&w->result, due);
    w->result.due++;
    w->result.measured_due += worker_is_measured(w, due);
    w->result.late += lag > w->options->lag_us * 1000;
    i->due++;
    i->lag_max_ns = TIDE_MAX(i->lag_max_ns, lag);
    if (worker_is_measured(w, due))
        load_hist_add(&w->result.lag, lag);
    *ret_due = due;
    return &w->clients[1 + load_schedule_take(&w->schedule) % w->producer_count];
}

void worker_admit_nothing(struct load_worker *w)
{
    uint64_t since = w->now_ns - w->start_ns, due;
    if (w->start_ns == 0 || w->now_ns < w->start_ns)
        return;
    for (; load_schedule_next_ns(&w->schedule) <= since; w->result.not_sent++)
        (void)take_due(w, since, &due);
}

/* What the schedule asks for until now. */
void worker_admit(struct load_worker *w)
{
    uint64_t since = w->now_ns - w->start_ns, due;
    if (w->start_ns == 0 || w->now_ns < w->start_ns)
        return;
    for (unsigned n = 0; n < ADMITS_PER_TURN && load_schedule_next_ns(&w->schedule) <= since; n++) {
        struct load_client *c = take_due(w, since, &due);
        struct load_interval *i = load_result_interval(&w->result, due);
        struct load_request *r = w->free;
        if (r == NULL || c->next_number == c->fate.bound) {
            w->result.not_sent++;
            continue;
        }
        w->free = r->next;
        *r = (struct load_request){.number = c->next_number++, .intended_ns = due};
        queue_push(&c->waiting, r);
        w->waiting++;
        worker_pump(w, c);
        i->waiting_max = TIDE_MAX(i->waiting_max, w->waiting);
        w->result.waiting_max = TIDE_MAX(w->result.waiting_max, w->waiting);
    }
    if (!w->schedule_over && since >= w->end_ns) {
        w->schedule_over = true;
        w->result.backlog = w->waiting + w->in_flight;
    }
}

/* The oldest request in flight was refused. */
static void request_refused(struct load_worker *w, struct load_client *c, int16_t error)
{
    bool follows = error == KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER && c->retrying; /* of one that was refused before it */
    struct load_queue one = {0};
    worker_count_error(w, error);
    if (worker_leader_is_elsewhere(error)) {
        worker_client_lost(w, c);
        return;
    }
    if (!kafka_error_is_retriable(error) && !follows) {
        w->result.failed++;
        w->in_flight--;
        worker_request_free(w, queue_pop(&c->flight));
        return;
    }
    queue_push(&one, queue_pop(&c->flight));
    worker_wait_again(w, c, &one);
    c->retrying = c->flight.count != 0;
    c->again_ns = w->now_ns + w->options->retry_ms * TIDE_NS_PER_MS;
}

void worker_on_produced(struct load_worker *w, struct load_client *c, struct wire_cursor *at)
{
    int16_t error = 0;
    if (w->options->protocol == LOAD_KAFKA && !proto_read_produce(at, w->versions.of[KAFKA_API_PRODUCE], &error)) {
        worker_malformed(w, c);
        return;
    }
    if (error == KAFKA_NONE || error == KAFKA_DUPLICATE_SEQUENCE_NUMBER) {
        w->in_flight--;
        request_acked(w, c, queue_pop(&c->flight));
    } else {
        request_refused(w, c, error);
    }
    worker_pump(w, c);
}

uint64_t worker_missing(const struct load_worker *w)
{
    uint64_t n = 0;
    for (uint32_t i = 1; w->options->consume && i <= w->producer_count; i++)
        n += content_missing(&w->clients[i].fate);
    return n;
}

void worker_give_up(struct load_worker *w, const struct load_queue *q)
{
    for (const struct load_request *r = q->head; r != NULL; r = r->next) {
        w->result.unanswered++;
        sample_produce(w, r->intended_ns, w->now_ns - w->start_ns - r->intended_ns);
    }
}
