/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/load/worker.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kafka/batch.h"
#include "kafka/errors.h"
#include "kafka/header.h"
#include "tidemark/assert.h"

enum { CONNECTS_PER_SWEEP = 64, ADMITS_PER_TURN = 256, BEGINNING = -2, END = -1, ROOM_LEAST = 65536, SWEEP_CLIENT_NS = 500 };
#define ASK_NS (1 * TIDE_NS_PER_S) /* a connection, a question of control */

#define TO(s) (1u << CLIENT_##s)
static const struct { const char *name; uint32_t next; } client_states[CLIENT_STATE_COUNT] = {
    [CLIENT_IDLE]       = {"idle",       TO(CONNECTING)},
    [CLIENT_CONNECTING] = {"connecting", TO(ASKING) | TO(READY) | TO(IDLE)},
    [CLIENT_ASKING]     = {"asking",     TO(READY) | TO(IDLE)},
    [CLIENT_READY]      = {"ready",      TO(ASKING) | TO(IDLE)},
};

static void client_move(struct load_client *c, enum client_state to)
{
    TIDE_ASSERT(client_states[c->state].next & 1u << to);
    c->state = to;
}

#define call(w, verb, ...) ((w)->transport->ops->verb((w)->transport __VA_OPT__(,) __VA_ARGS__))

static void setup_failed(struct load_worker *w, const char *what, const char *why)
{
    if (w->start_ns == 0 && w->error[0] == 0)
        snprintf(w->error, sizeof(w->error), "%.150s: %.300s", what, why);
}

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

static void wait_again(struct load_worker *w, struct load_client *c, struct load_queue *q)
{
    w->in_flight -= q->count;
    w->waiting += q->count;
    queue_merge(&c->waiting, q);
    w->result.waiting_max = TIDE_MAX(w->result.waiting_max, w->waiting);
}

static void request_free(struct load_worker *w, struct load_request *r)
{
    r->next = w->free;
    w->free = r;
}

/* ---- counting --------------------------------------------------------------------------------------------------- */

static struct load_interval *interval_of(struct load_worker *w, uint64_t from_start_ns)
{
    uint64_t i = from_start_ns / w->result.interval_ns;
    return &w->result.intervals[TIDE_MIN(i, (uint64_t)w->result.interval_count - 1)];
}

static struct load_interval *interval_now(struct load_worker *w)
{
    return interval_of(w, w->now_ns > w->start_ns ? w->now_ns - w->start_ns : 0);
}

static bool is_measured(const struct load_worker *w, uint64_t intended_ns)
{
    return intended_ns >= w->warmup_ns;
}

static void count_error(struct load_worker *w, int16_t code)
{
    int at = code + 1;
    w->result.errors[at >= 0 && at < LOAD_ERROR_CODES ? at : 0]++;
    if (w->start_ns != 0)
        interval_now(w)->errors++;
}

static void sample_produce(struct load_worker *w, uint64_t intended_ns, uint64_t took_ns)
{
    load_hist_add(&interval_of(w, intended_ns)->produce, took_ns);
    if (is_measured(w, intended_ns))
        load_hist_add(&w->result.produce, took_ns);
}

/* ---- connections ------------------------------------------------------------------------------------------------- */

static void client_lost(struct load_worker *w, struct load_client *c)
{
    if (c->state == CLIENT_IDLE)
        return;
    call(w, close, c->line);
    tide_rope_clear(&c->in);
    wait_again(w, c, &c->flight);
    c->retrying = false;
    c->asked_ns = 0;
    c->lost_ns = w->now_ns;
    c->again_ns = w->now_ns + w->options->retry_ms * TIDE_NS_PER_MS;
    if (c->state == CLIENT_READY && w->start_ns != 0)
        w->result.lost++;
    if (c->role == LOAD_CONTROL)
        w->address_at++;
    client_move(c, CLIENT_IDLE);
}

static void malformed(struct load_worker *w, struct load_client *c)
{
    w->result.malformed++;
    setup_failed(w, "an answer makes no sense", c->asked_ns != 0 ? "of a question at the start" : "of a request");
    client_lost(w, c);
}

static const struct load_address *address_of_leader(const struct load_worker *w, uint32_t partition, int32_t *ret_leader)
{
    if (w->options->protocol == LOAD_ECHO)
        return &w->bootstrap[partition % w->bootstrap_count];
    if (w->metadata_ns == 0 || w->metadata->leaders[partition] < 0)
        return NULL;
    *ret_leader = w->metadata->leaders[partition];
    for (unsigned i = 0; i < w->metadata->broker_count; i++)
        if (w->metadata->brokers[i].id == *ret_leader)
            return w->addresses[i].port != 0 ? &w->addresses[i] : NULL;
    return NULL;
}

static const struct load_address *address_for_control(struct load_worker *w)
{
    unsigned known = w->metadata_ns != 0 ? w->metadata->broker_count : 0, at = w->address_at % (known + w->bootstrap_count);
    if (at < w->bootstrap_count)
        return &w->bootstrap[at];
    return w->addresses[at - w->bootstrap_count].port != 0 ? &w->addresses[at - w->bootstrap_count] : &w->bootstrap[0];
}

static bool client_connect(struct load_worker *w, struct load_client *c)
{
    const struct load_address *to = c->role == LOAD_CONTROL ? address_for_control(w) : address_of_leader(w, c->partition, &c->leader);
    if (to == NULL)
        return false;
    client_move(c, CLIENT_CONNECTING);
    c->asked_ns = w->now_ns;
    if (!call(w, connect, c->line, to))
        client_lost(w, c);
    return true;
}

/* ---- questions --------------------------------------------------------------------------------------------------- */

static void ask_begin(struct load_worker *w, struct load_client *c, struct wire_writer *q, int16_t api)
{
    c->asked_api = api;
    proto_begin(q, w->transport->pool, api, w->versions.of[api], ++c->correlation);
}

/* False: no memory; it is tried again by the sweep. */
static bool ask_end(struct load_worker *w, struct load_client *c, struct wire_writer *q)
{
    if (!wire_frame_end(q)) {
        wire_writer_abandon(q);
        c->asked_ns = 0;
        return false;
    }
    call(w, write, c->line, &q->out);
    c->asked_ns = w->now_ns;
    return true;
}

static bool knows(struct load_worker *w, int16_t api)
{
    if (w->versions.of[api] >= 0)
        return true;
    char text[64];
    snprintf(text, sizeof(text), "of api %d", api);
    setup_failed(w, "the broker has no version that we speak", text);
    return false;
}

static void control_ask(struct load_worker *w, struct load_client *c)
{
    struct wire_writer q;
    if (c->asked_ns != 0)
        return;
    if (!w->versions_known) {
        ask_begin(w, c, &q, KAFKA_API_API_VERSIONS);
        proto_put_api_versions(&q);
    } else if (w->metadata_wanted && w->now_ns >= c->again_ns && knows(w, KAFKA_API_METADATA)) {
        ask_begin(w, c, &q, KAFKA_API_METADATA);
        proto_put_metadata(&q, w->versions.of[KAFKA_API_METADATA], &w->topic);
    } else {
        return;
    }
    ask_end(w, c, &q);
}

static void control_create(struct load_worker *w, struct load_client *c)
{
    struct wire_writer q;
    const char *configs[LOAD_CONFIGS_MAX];
    const struct load_options *o = w->options;
    if (!knows(w, KAFKA_API_CREATE_TOPICS))
        return;
    for (unsigned i = 0; i < o->config_count; i++)
        configs[i] = o->configs[i];
    ask_begin(w, c, &q, KAFKA_API_CREATE_TOPICS);
    proto_put_create_topic(&q, w->versions.of[KAFKA_API_CREATE_TOPICS], &w->topic, (uint32_t)o->partitions, (uint32_t)o->replication, configs, o->config_count);
    w->create_asked = ask_end(w, c, &q);
}

static void ask_producer_id(struct load_worker *w, struct load_client *c)
{
    struct wire_writer q;
    if (!knows(w, KAFKA_API_INIT_PRODUCER_ID))
        return;
    ask_begin(w, c, &q, KAFKA_API_INIT_PRODUCER_ID);
    proto_put_init_producer(&q, w->versions.of[KAFKA_API_INIT_PRODUCER_ID]);
    ask_end(w, c, &q);
}

static void ask_offset(struct load_worker *w, struct load_client *c)
{
    struct wire_writer q;
    bool beginning = w->options->from != 0 && w->start_ns == 0;
    if (!knows(w, KAFKA_API_LIST_OFFSETS))
        return;
    ask_begin(w, c, &q, KAFKA_API_LIST_OFFSETS);
    proto_put_list_offsets(&q, w->versions.of[KAFKA_API_LIST_OFFSETS], &w->topic, (int32_t)c->partition, beginning ? BEGINNING : END);
    ask_end(w, c, &q);
}

static void ask_fetch(struct load_worker *w, struct load_client *c)
{
    struct wire_writer q;
    const struct load_options *o = w->options;
    struct proto_fetch f = {.partition = (int32_t)c->partition, .offset = c->offset, .wait_ms = (int32_t)o->fetch_wait_ms,
                            .min_bytes = (int32_t)o->fetch_min_bytes, .max_bytes = (int32_t)o->fetch_max_bytes};
    if (c->asked_ns != 0 || w->now_ns < c->again_ns || !knows(w, KAFKA_API_FETCH))
        return;
    ask_begin(w, c, &q, KAFKA_API_FETCH);
    proto_put_fetch(&q, w->versions.of[KAFKA_API_FETCH], &w->topic, &f);
    ask_end(w, c, &q);
}

/* ---- producing --------------------------------------------------------------------------------------------------- */

static void request_acked(struct load_worker *w, struct load_client *c, struct load_request *r)
{
    uint64_t took_ns = w->now_ns - w->start_ns - r->intended_ns;
    w->result.acked++;
    interval_now(w)->acked++;
    if (w->options->acks != LOAD_ACKS_NONE || w->options->protocol == LOAD_ECHO)
        sample_produce(w, r->intended_ns, took_ns);
    if (is_measured(w, r->intended_ns) && w->now_ns - w->start_ns <= w->end_ns)
        w->result.measured_acked++;
    (void)content_acked(&c->fate, r->number);
    request_free(w, r);
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
    call(w, write, c->line, &q.out);
    if (r->sent_ns == 0) {
        w->result.sent++;
        if (is_measured(w, r->intended_ns))
            load_hist_add(&w->result.queue, w->now_ns - w->start_ns - r->intended_ns);
    } else {
        w->result.resent++;
    }
    interval_now(w)->sent++;
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

static void pump(struct load_worker *w, struct load_client *c)
{
    if (c->flight.count == 0)
        c->retrying = false;
    while (c->state == CLIENT_READY && c->waiting.count != 0 && c->flight.count < w->options->in_flight_max && !c->retrying &&
           w->now_ns >= c->again_ns && call(w, room, c->line) >= TIDE_MIN(w->content.batch_bytes, (uint32_t)ROOM_LEAST))
        if (!send_next(w, c))
            return;
}

/* What the schedule asks for until now. */
static void admit(struct load_worker *w)
{
    uint64_t since = w->now_ns - w->start_ns;
    if (w->start_ns == 0 || w->now_ns < w->start_ns)
        return;
    for (unsigned n = 0; n < ADMITS_PER_TURN && load_schedule_next_ns(&w->schedule) <= since; n++) {
        uint64_t due = load_schedule_next_ns(&w->schedule), lag = since - due;
        struct load_client *c = &w->clients[1 + load_schedule_take(&w->schedule) % w->producer_count];
        struct load_interval *i = interval_of(w, due);
        struct load_request *r = w->free;
        w->result.due++;
        w->result.measured_due += is_measured(w, due);
        w->result.late += lag > w->options->lag_us * 1000;
        i->due++;
        i->lag_max_ns = TIDE_MAX(i->lag_max_ns, lag);
        if (is_measured(w, due))
            load_hist_add(&w->result.lag, lag);
        if (r == NULL || c->next_number == c->fate.bound) {
            w->result.not_sent++;
            continue;
        }
        w->free = r->next;
        *r = (struct load_request){.number = c->next_number++, .intended_ns = due};
        queue_push(&c->waiting, r);
        w->waiting++;
        pump(w, c);
        i->waiting_max = TIDE_MAX(i->waiting_max, w->waiting);
        w->result.waiting_max = TIDE_MAX(w->result.waiting_max, w->waiting);
    }
    if (!w->schedule_over && since >= w->end_ns) {
        w->schedule_over = true;
        w->result.backlog = w->waiting + w->in_flight;
    }
}

static bool leader_is_elsewhere(int16_t error)
{
    return error == KAFKA_NOT_LEADER_OR_FOLLOWER || error == KAFKA_LEADER_NOT_AVAILABLE || error == KAFKA_UNKNOWN_TOPIC_OR_PARTITION ||
           error == KAFKA_FENCED_LEADER_EPOCH || error == KAFKA_KAFKA_STORAGE_ERROR || error == KAFKA_UNKNOWN_TOPIC_ID;
}

/* The oldest request in flight was refused. */
static void request_refused(struct load_worker *w, struct load_client *c, int16_t error)
{
    bool follows = error == KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER && c->retrying; /* of one that was refused before it */
    struct load_queue one = {0};
    count_error(w, error);
    if (leader_is_elsewhere(error)) {
        client_lost(w, c);
        return;
    }
    if (!kafka_error_is_retriable(error) && !follows) {
        w->result.failed++;
        w->in_flight--;
        request_free(w, queue_pop(&c->flight));
        return;
    }
    queue_push(&one, queue_pop(&c->flight));
    wait_again(w, c, &one);
    c->retrying = c->flight.count != 0;
    c->again_ns = w->now_ns + w->options->retry_ms * TIDE_NS_PER_MS;
}

static void on_produced(struct load_worker *w, struct load_client *c, struct wire_cursor *at)
{
    int16_t error = 0;
    if (w->options->protocol == LOAD_KAFKA && !proto_read_produce(at, w->versions.of[KAFKA_API_PRODUCE], &error)) {
        malformed(w, c);
        return;
    }
    if (error == KAFKA_NONE || error == KAFKA_DUPLICATE_SEQUENCE_NUMBER) {
        w->in_flight--;
        request_acked(w, c, queue_pop(&c->flight));
    } else {
        request_refused(w, c, error);
    }
    pump(w, c);
}

/* ---- consuming --------------------------------------------------------------------------------------------------- */

static void on_record(struct load_worker *w, const struct batch_record *rec)
{
    uint32_t producer;
    uint64_t intended_ns = 0;
    w->result.records++;
    if (rec->value == NULL || !content_producer(&w->content, rec->value, (size_t)rec->value_len, &producer)) {
        w->result.foreign++;
        return;
    }
    uint32_t client = producer < w->options->producers ? w->client_of_producer[producer] : 0;
    if (client == 0) {
        w->result.damaged++;
        return;
    }
    switch (content_seen(&w->content, &w->clients[client].fate, rec->value, (size_t)rec->value_len, &intended_ns)) {
    case CONTENT_MORE: return;
    case CONTENT_DUPLICATE: w->result.duplicates++; return;
    case CONTENT_DAMAGED: w->result.damaged++; return;
    case CONTENT_FOREIGN: w->result.foreign++; return;
    case CONTENT_DISORDER: w->result.disorder++; break;
    case CONTENT_FIRST: break;
    }
    if (intended_ns < w->start_ns || intended_ns > w->now_ns) {
        w->result.damaged++;
        return;
    }
    interval_now(w)->read++;
    load_hist_add(&interval_of(w, intended_ns - w->start_ns)->e2e, w->now_ns - intended_ns);
    if (is_measured(w, intended_ns - w->start_ns))
        load_hist_add(&w->result.e2e, w->now_ns - intended_ns);
}

/* One batch at `p`; 0: the rest is no whole batch. Returns its size. */
static size_t on_batch(struct load_worker *w, struct load_client *c, const uint8_t *p, size_t left)
{
    struct batch_header h;
    struct batch_iter it;
    struct batch_record rec;
    if (left < BATCH_HEADER)
        return 0;
    batch_header_parse(p, &h);
    if (h.batch_length < BATCH_LENGTH_MIN || batch_size(&h) > left)
        return 0;
    bool good = h.magic == 2 && h.last_offset_delta >= 0 && batch_crc_update(0, p + BATCH_ATTRIBUTES, batch_size(&h) - BATCH_ATTRIBUTES) == h.crc;
    if (!good)
        w->result.damaged++;
    if (good && batch_codec_of(&h) == CODEC_NONE && !(h.attributes & BATCH_CONTROL)) {
        batch_iter_init(&it, &h, p + BATCH_HEADER, batch_size(&h) - BATCH_HEADER);
        while (batch_iter_next(&it, &rec))
            if (rec.offset >= c->offset) /* the batch of an offset comes whole */
                on_record(w, &rec);
        w->result.damaged += it.bad;
    } else if (good) {
        w->result.foreign += (uint64_t)TIDE_MAX(h.record_count, 0);
    }
    if (good && batch_last_offset(&h) >= c->offset)
        c->offset = batch_last_offset(&h) + 1;
    return batch_size(&h);
}

static void on_fetched(struct load_worker *w, struct load_client *c, struct wire_cursor *at)
{
    int16_t error;
    struct tide_slice records;
    if (!proto_read_fetch(at, w->versions.of[KAFKA_API_FETCH], &error, &records)) {
        malformed(w, c);
        return;
    }
    w->result.fetches++;
    if (error == KAFKA_OFFSET_OUT_OF_RANGE) {
        count_error(w, error);
        c->offset = -1;
        client_move(c, CLIENT_ASKING);
        ask_offset(w, c);
        return;
    }
    if (error != 0) {
        count_error(w, error);
        c->again_ns = w->now_ns + w->options->retry_ms * TIDE_NS_PER_MS;
        if (leader_is_elsewhere(error))
            client_lost(w, c);
        return;
    }
    if (records.len > w->scratch_size) {
        free(w->scratch);
        w->scratch_size = records.len;
        w->scratch = malloc(w->scratch_size);
        TIDE_ASSERT(w->scratch != NULL); /* bounded by LOAD_FRAME_MAX */
    }
    tide_slice_copy(records, w->scratch);
    w->result.bytes += records.len;
    for (size_t n, done = 0; (n = on_batch(w, c, w->scratch + done, records.len - done)) != 0;)
        done += n;
    ask_fetch(w, c);
}

/* ---- what control and beginners are told ---------------------------------------------------------------------------- */

static void on_topic_error(struct load_worker *w, struct load_client *c, int16_t error)
{
    bool absent = error == KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    if (absent && w->options->create && w->index == 0 && !w->create_asked)
        control_create(w, c);
    else if (absent && !w->options->create)
        setup_failed(w, w->options->topic, "there is no such topic (create=yes makes it)");
    else if (!absent && !kafka_error_is_retriable(error))
        setup_failed(w, w->options->topic, kafka_error_name(error));
}

/* Whoever waits for an answer from one that leads no more asks the new leader. */
static void follow_leaders(struct load_worker *w)
{
    for (uint32_t i = 1; i < w->client_count; i++) {
        struct load_client *c = &w->clients[i];
        uint64_t since = c->flight.head != NULL ? c->flight.head->sent_ns : c->asked_ns;
        int32_t leader = w->metadata->leaders[c->partition];
        bool stale = c->state == CLIENT_CONNECTING || (since != 0 && w->now_ns - since > LOAD_STALE_NS);
        if (c->state != CLIENT_IDLE && stale && leader >= 0 && leader != c->leader) {
            client_lost(w, c);
            c->again_ns = w->now_ns;
            c->lost_ns = w->metadata_ns - 1;
        }
    }
}

static void on_metadata(struct load_worker *w, struct load_client *c, struct wire_cursor *at)
{
    struct proto_metadata *m = w->metadata;
    c->again_ns = w->now_ns + w->options->retry_ms * TIDE_NS_PER_MS;
    if (!proto_read_metadata(at, w->versions.of[KAFKA_API_METADATA], &w->topic, m)) {
        w->metadata_ns = 0;
        malformed(w, c);
        return;
    }
    if (m->topic_error != 0) {
        on_topic_error(w, c, m->topic_error);
        return;
    }
    if (m->partition_count < w->options->partitions)
        setup_failed(w, w->options->topic, "the topic has fewer partitions than are to be used");
    w->topic.id = m->topic_id;
    for (unsigned i = 0; i < m->broker_count; i++)
        if (!load_resolve(m->brokers[i].host, m->brokers[i].port, &w->addresses[i]))
            w->addresses[i].port = 0;
    w->metadata_ns = w->now_ns;
    w->metadata_wanted = false;
    follow_leaders(w);
}

static void on_control(struct load_worker *w, struct load_client *c, struct wire_cursor *at)
{
    int16_t error;
    switch (c->asked_api) {
    case KAFKA_API_API_VERSIONS:
        if (!proto_read_api_versions(at, &w->versions)) {
            malformed(w, c);
            return;
        }
        w->versions_known = true;
        w->metadata_wanted = true;
        c->again_ns = w->now_ns;
        if (c->state == CLIENT_ASKING)
            client_move(c, CLIENT_READY);
        (void)(knows(w, KAFKA_API_METADATA) && knows(w, KAFKA_API_PRODUCE) && knows(w, KAFKA_API_FETCH));
        break;
    case KAFKA_API_METADATA: on_metadata(w, c, at); break;
    default:
        if (!proto_read_create_topic(at, w->versions.of[KAFKA_API_CREATE_TOPICS], &error)) {
            malformed(w, c);
            return;
        }
        w->create_asked = error == 0 || error == KAFKA_TOPIC_ALREADY_EXISTS;
        if (!w->create_asked && !kafka_error_is_retriable(error))
            setup_failed(w, "the topic cannot be made", kafka_error_name(error));
    }
    if (c->state == CLIENT_READY)
        control_ask(w, c);
}

/* A producer id, or where a consumer begins. */
static void on_asked(struct load_worker *w, struct load_client *c, struct wire_cursor *at)
{
    int16_t error;
    bool good = c->role == LOAD_PRODUCER
        ? proto_read_init_producer(at, w->versions.of[KAFKA_API_INIT_PRODUCER_ID], &error, &c->producer_id, &c->producer_epoch)
        : proto_read_list_offsets(at, w->versions.of[KAFKA_API_LIST_OFFSETS], &error, &c->offset);
    if (!good) {
        malformed(w, c);
        return;
    }
    if (error != 0) {
        count_error(w, error);
        c->producer_id = c->offset = -1;
        if (!kafka_error_is_retriable(error))
            setup_failed(w, "a client cannot begin", kafka_error_name(error));
        client_lost(w, c);
        return;
    }
    client_move(c, CLIENT_READY);
    if (c->role == LOAD_PRODUCER)
        pump(w, c);
    else
        ask_fetch(w, c);
}

/* ---- what comes -------------------------------------------------------------------------------------------------- */

static void on_up(struct load_worker *w, struct load_client *c)
{
    if (c->state != CLIENT_CONNECTING)
        return;
    c->asked_ns = 0;
    w->result.connects++;
    if (c->role == LOAD_CONTROL && !w->versions_known) {
        client_move(c, CLIENT_ASKING);
        control_ask(w, c);
    } else if (c->role == LOAD_PRODUCER && w->options->idempotent && c->producer_id < 0) {
        client_move(c, CLIENT_ASKING);
        ask_producer_id(w, c);
    } else if (c->role == LOAD_CONSUMER && c->offset < 0) {
        client_move(c, CLIENT_ASKING);
        ask_offset(w, c);
    } else {
        client_move(c, CLIENT_READY);
        c->again_ns = w->now_ns;
    }
    if (c->state != CLIENT_READY)
        return;
    switch (c->role) {
    case LOAD_CONTROL: control_ask(w, c); break;
    case LOAD_PRODUCER: pump(w, c); break;
    case LOAD_CONSUMER: ask_fetch(w, c); break;
    }
}

static void on_frame(struct load_worker *w, struct load_client *c, struct tide_slice frame)
{
    struct wire_cursor at;
    int32_t correlation;
    bool produced = c->role == LOAD_PRODUCER && c->state == CLIENT_READY;
    int16_t api = produced ? KAFKA_API_PRODUCE : c->asked_api;
    int32_t expected = !produced ? c->correlation : c->flight.head != NULL ? c->flight.head->correlation : -1;
    wire_cursor_init(&at, frame);
    if (w->options->protocol == LOAD_ECHO) {
        correlation = wire_get_i32(&at);
    } else if (!kafka_response_header_read(&at, api, w->versions_known ? w->versions.of[api] : 0, &correlation)) {
        correlation = ~expected;
    }
    if (at.failed || correlation != expected || (produced ? c->flight.head == NULL : c->asked_ns == 0)) {
        malformed(w, c);
        return;
    }
    if (!produced)
        c->asked_ns = 0;
    if (c->role == LOAD_CONTROL)
        on_control(w, c, &at);
    else if (c->state == CLIENT_ASKING)
        on_asked(w, c, &at);
    else if (c->role == LOAD_PRODUCER)
        on_produced(w, c, &at);
    else
        on_fetched(w, c, &at);
}

static void on_readable(struct load_worker *w, struct load_client *c)
{
    uint8_t head[4];
    call(w, read, c->line, &c->in);
    while (c->in.len >= sizeof(head)) {
        tide_slice_copy(tide_rope_slice(&c->in, 0, sizeof(head)), head);
        uint32_t size = load_be32(head);
        if (size > LOAD_FRAME_MAX) {
            malformed(w, c);
            return;
        }
        if (c->in.len - sizeof(head) < size)
            return;
        on_frame(w, c, tide_rope_slice(&c->in, sizeof(head), size));
        if (c->state == CLIENT_IDLE)
            return; /* and `in` is gone */
        tide_rope_drop(&c->in, (uint32_t)sizeof(head) + size);
    }
}

static void on_event(struct load_worker *w, const struct load_event *e)
{
    struct load_client *c = &w->clients[e->line];
    if (c->state == CLIENT_IDLE)
        return;
    if (e->bits & LOAD_UP)
        on_up(w, c);
    if (e->bits & LOAD_READABLE && c->state > CLIENT_CONNECTING)
        on_readable(w, c);
    if (e->bits & LOAD_DOWN)
        client_lost(w, c);
    else if (e->bits & LOAD_WRITABLE && c->role == LOAD_PRODUCER)
        pump(w, c);
}

/* ---- what is to be tried again ------------------------------------------------------------------------------------ */

static bool timed_out(struct load_worker *w, struct load_client *c)
{
    uint64_t since = c->flight.head != NULL ? c->flight.head->sent_ns : c->asked_ns;
    uint64_t bound = w->options->request_timeout_ms * TIDE_NS_PER_MS;
    if (c->role == LOAD_CONTROL || c->state == CLIENT_CONNECTING)
        bound = ASK_NS;
    else if (c->role == LOAD_CONSUMER)
        bound += w->options->fetch_wait_ms * TIDE_NS_PER_MS;
    if (since == 0 || w->now_ns - since <= bound)
        return false;
    w->result.timeouts++;
    client_lost(w, c);
    return true;
}

static void wants_metadata(struct load_worker *w, const struct load_client *c)
{
    uint64_t since = c->flight.head != NULL ? c->flight.head->sent_ns : c->asked_ns;
    bool fetching = c->role == LOAD_CONSUMER && c->state == CLIENT_READY;
    uint64_t patience = LOAD_STALE_NS + (fetching ? w->options->fetch_wait_ms * TIDE_NS_PER_MS : 0);
    if (w->now_ns - w->metadata_ns >= w->options->retry_ms * TIDE_NS_PER_MS && c->state <= CLIENT_CONNECTING)
        w->metadata_wanted = true;
    if (w->now_ns - w->metadata_ns >= LOAD_STALE_NS && since != 0 && w->now_ns - since > patience)
        w->metadata_wanted = true;
}

static void sweep_client(struct load_worker *w, struct load_client *c, unsigned *connects)
{
    bool echo = w->options->protocol == LOAD_ECHO;
    if (c->state != CLIENT_IDLE && timed_out(w, c))
        return;
    if (c->role != LOAD_CONTROL && !echo)
        wants_metadata(w, c);
    if (c->state == CLIENT_IDLE && w->now_ns >= c->again_ns && *connects != 0 &&
        (c->role == LOAD_CONTROL || echo || w->metadata_ns > c->lost_ns) && client_connect(w, c))
        --*connects;
    if (c->asked_ns != 0 || c->state < CLIENT_ASKING)
        return;
    if (c->role == LOAD_CONTROL)
        control_ask(w, c);
    else if (c->state == CLIENT_ASKING && c->role == LOAD_PRODUCER)
        ask_producer_id(w, c);
    else if (c->state == CLIENT_ASKING)
        ask_offset(w, c);
    else if (c->role == LOAD_PRODUCER)
        pump(w, c);
    else
        ask_fetch(w, c);
}

static void sweep(struct load_worker *w)
{
    unsigned connects = CONNECTS_PER_SWEEP;
    for (uint32_t i = w->options->protocol == LOAD_ECHO ? 1 : 0; i < w->client_count; i++)
        sweep_client(w, &w->clients[i], &connects);
    w->sweep_ns = w->now_ns + TIDE_MAX(LOAD_SWEEP_NS, (uint64_t)w->client_count * SWEEP_CLIENT_NS);
}

static uint64_t wake_ns(const struct load_worker *w)
{
    uint64_t next = load_schedule_next_ns(&w->schedule);
    if (w->start_ns == 0 || next == TIDE_NEVER)
        return w->sweep_ns;
    next += w->start_ns;
    return TIDE_MIN(w->sweep_ns, next);
}

void load_worker_turn(struct load_worker *w)
{
    struct load_event e;
    w->now_ns = call(w, now_ns);
    admit(w);
    if (w->now_ns >= w->sweep_ns)
        sweep(w);
    call(w, turn, wake_ns(w));
    while (call(w, next, &e)) {
        w->now_ns = call(w, now_ns);
        on_event(w, &e);
    }
}

/* ---- life --------------------------------------------------------------------------------------------------------- */

static bool is_ours(unsigned partition, unsigned index, unsigned workers)
{
    return partition % workers == index;
}

uint32_t load_worker_lines(const struct load_options *o, unsigned index, unsigned workers)
{
    uint32_t n = 1;
    for (uint32_t i = 0; o->produce && i < o->producers; i++)
        n += is_ours(i % (unsigned)o->partitions, index, workers);
    for (uint32_t p = 0; o->consume && p < o->partitions; p++)
        n += is_ours(p, index, workers);
    return n;
}

static struct load_client *add_client(struct load_worker *w, enum load_role role, uint32_t partition)
{
    struct load_client *c = &w->clients[w->client_count];
    *c = (struct load_client){.role = role, .line = w->client_count++, .partition = partition, .leader = -1, .producer_id = -1, .producer_epoch = -1, .offset = -1};
    return c;
}

static bool add_clients(struct load_worker *w, uint64_t bound)
{
    const struct load_options *o = w->options;
    (void)add_client(w, LOAD_CONTROL, 0);
    for (uint32_t i = 0; o->produce && i < o->producers; i++)
        if (is_ours(i % (unsigned)o->partitions, w->index, w->workers)) {
            struct load_client *c = add_client(w, LOAD_PRODUCER, i % (unsigned)o->partitions);
            c->producer = i;
            w->client_of_producer[i] = c->line;
        }
    w->producer_count = w->client_count - 1;
    for (uint32_t i = 1; i <= w->producer_count; i++)
        if (!content_fate_init(&w->clients[i].fate, bound / w->producer_count + 1))
            return false;
    for (uint32_t p = 0; o->consume && p < o->partitions; p++)
        if (is_ours(p, w->index, w->workers))
            (void)add_client(w, LOAD_CONSUMER, p);
    return true;
}

static bool add_requests(struct load_worker *w)
{
    w->request_count = w->options->outstanding_max;
    w->requests = calloc(w->request_count, sizeof(*w->requests));
    for (uint64_t i = 0; w->requests != NULL && i < w->request_count; i++)
        request_free(w, &w->requests[i]);
    return w->requests != NULL;
}

bool load_worker_init(struct load_worker *w, const struct load_options *o, struct load_transport *t, unsigned index, unsigned workers, uint64_t run)
{
    const char *at = o->bootstrap;
    uint32_t lines = load_worker_lines(o, index, workers);
    *w = (struct load_worker){.options = o, .transport = t, .index = index, .workers = workers, .address_at = index,
                              .topic = {.name = o->topic, .name_len = (uint32_t)strlen(o->topic)},
                              .warmup_ns = (uint64_t)(o->warmup_s * 1e9), .end_ns = (uint64_t)((o->warmup_s + o->duration_s) * 1e9)};
    w->schedule.next_ns = TIDE_NEVER;
    while (w->bootstrap_count < LOAD_ADDRESSES_MAX && load_resolve_next(&at, &w->bootstrap[w->bootstrap_count]))
        w->bootstrap_count++;
    if (*at != 0 || w->bootstrap_count == 0) {
        snprintf(w->error, sizeof(w->error), "bootstrap: '%.200s' is no HOST:PORT that can be found", at);
        return false;
    }
    w->clients = calloc(lines, sizeof(*w->clients));
    w->client_of_producer = calloc(o->producers, sizeof(uint32_t));
    w->metadata = calloc(1, sizeof(*w->metadata));
    if (w->clients == NULL || w->client_of_producer == NULL || w->metadata == NULL || !load_result_init(&w->result, o))
        return false;
    double share = 0;
    for (uint32_t i = 0; i < o->producers; i++)
        share += is_ours(i % (unsigned)o->partitions, index, workers);
    double per_s = o->rate / (double)o->batch_records * share / (double)o->producers;
    uint64_t most = (uint64_t)ceil((double)o->requests_max * share / (double)o->producers);
    uint64_t bound = o->produce && share != 0 ? load_schedule_bound(per_s, w->end_ns, most) : 0;
    if (!add_clients(w, bound + w->client_count) || !add_requests(w) ||
        !content_init(&w->content, run, (uint32_t)o->record_bytes, (uint32_t)o->batch_records, o->seed))
        return false;
    if (bound != 0)
        load_schedule_init(&w->schedule, (enum load_arrivals)o->arrivals, per_s, (double)index / workers, o->seed + index * 7919, w->end_ns, bound);
    return true;
}

void load_worker_deinit(struct load_worker *w)
{
    for (uint32_t i = 0; i < w->client_count; i++) {
        if (w->clients[i].state != CLIENT_IDLE)
            call(w, close, i);
        tide_rope_clear(&w->clients[i].in);
        content_fate_deinit(&w->clients[i].fate);
    }
    free(w->clients);
    free(w->client_of_producer);
    free(w->metadata);
    free(w->requests);
    free(w->scratch);
    content_deinit(&w->content);
    load_result_deinit(&w->result);
}

bool load_worker_ready(const struct load_worker *w)
{
    for (uint32_t i = w->options->protocol == LOAD_ECHO ? 1 : 0; i < w->client_count; i++)
        if (w->clients[i].state != CLIENT_READY)
            return false;
    return true;
}

void load_worker_start(struct load_worker *w, uint64_t start_ns, int64_t wall_ms)
{
    w->start_ns = start_ns;
    w->start_wall_ms = wall_ms;
}

static uint64_t missing(const struct load_worker *w)
{
    uint64_t n = 0;
    for (uint32_t i = 1; w->options->consume && i <= w->producer_count; i++)
        n += content_missing(&w->clients[i].fate);
    return n;
}

bool load_worker_done(struct load_worker *w)
{
    uint64_t end_ns = w->start_ns + w->end_ns;
    if (w->start_ns == 0 || w->now_ns < end_ns || load_schedule_next_ns(&w->schedule) != TIDE_NEVER)
        return false;
    if (w->now_ns >= end_ns + (uint64_t)(w->options->drain_s * 1e9))
        return true;
    return w->waiting + w->in_flight == 0 && missing(w) == 0;
}

static void give_up(struct load_worker *w, const struct load_queue *q)
{
    for (const struct load_request *r = q->head; r != NULL; r = r->next) {
        w->result.unanswered++;
        sample_produce(w, r->intended_ns, w->now_ns - w->start_ns - r->intended_ns);
    }
}

void load_worker_finish(struct load_worker *w)
{
    w->result.missing = missing(w);
    for (uint32_t i = 1; i <= w->producer_count; i++) {
        give_up(w, &w->clients[i].flight);
        give_up(w, &w->clients[i].waiting);
    }
}

static void check_queue(const struct load_queue *q, bool flight)
{
    uint64_t n = 0;
    for (const struct load_request *r = q->head; r != NULL; r = r->next, n++) {
        TIDE_ASSERT(r->next == NULL || r->number < r->next->number);                       /* L3 */
        TIDE_ASSERT(!flight || r->next == NULL || r->correlation < r->next->correlation); /* L2 */
    }
    TIDE_ASSERT(n == q->count);
}

void load_worker_check(const struct load_worker *w)
{
    uint64_t waiting = 0, flight = 0, idle = 0;
    for (uint32_t i = 0; i < w->client_count; i++) {
        const struct load_client *c = &w->clients[i];
        check_queue(&c->waiting, false);
        check_queue(&c->flight, true);
        TIDE_ASSERT(c->flight.count == 0 || c->state == CLIENT_READY);  /* L2 */
        TIDE_ASSERT(c->flight.count <= w->options->in_flight_max);      /* L2 */
        waiting += c->waiting.count;
        flight += c->flight.count;
    }
    for (const struct load_request *r = w->free; r != NULL; r = r->next)
        idle++;
    TIDE_ASSERT(waiting == w->waiting);
    TIDE_ASSERT(flight == w->in_flight);
    TIDE_ASSERT(idle + waiting + flight == w->request_count); /* L1 */
}
