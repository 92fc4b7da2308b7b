/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/load/internal.h"
#include "kafka/errors.h"
#include "kafka/header.h"
#include "tidemark/assert.h"

enum { CONNECTS_PER_SWEEP = 64, SWEEP_CLIENT_NS = 500 };
#define ASK_NS (1 * TIDE_NS_PER_S) /* a connection, a question of control */

#define TO(s) (1u << CLIENT_##s)
static const struct { const char *name; uint32_t next; } client_states[CLIENT_STATE_COUNT] = {
    [CLIENT_IDLE]       = {"idle",       TO(CONNECTING)},
    [CLIENT_CONNECTING] = {"connecting", TO(ASKING) | TO(READY) | TO(IDLE)},
    [CLIENT_ASKING]     = {"asking",     TO(READY) | TO(IDLE)},
    [CLIENT_READY]      = {"ready",      TO(ASKING) | TO(IDLE)},
};

void worker_client_move(struct load_client *c, enum client_state to)
{
    TIDE_ASSERT(client_states[c->state].next & 1u << to);
    c->state = to;
}

void worker_setup_failed(struct load_worker *w, const char *what, const char *why)
{
    if (w->start_ns == 0 && w->error[0] == 0)
        snprintf(w->error, sizeof(w->error), "%.150s: %.300s", what, why);
}

/* ---- counting ---------------------------------------------------------------------------------------------------- */

struct load_interval *worker_interval_now(struct load_worker *w)
{
    return load_result_interval(&w->result, w->now_ns > w->start_ns ? w->now_ns - w->start_ns : 0);
}

bool worker_is_measured(const struct load_worker *w, uint64_t intended_ns)
{
    return intended_ns >= w->warmup_ns;
}

void worker_count_error(struct load_worker *w, int16_t code)
{
    int at = code + 1;
    w->result.errors[at >= 0 && at < LOAD_ERROR_CODES ? at : 0]++;
    if (w->start_ns != 0)
        worker_interval_now(w)->errors++;
}

bool worker_leader_is_elsewhere(int16_t error)
{
    return error == KAFKA_NOT_LEADER_OR_FOLLOWER || error == KAFKA_LEADER_NOT_AVAILABLE || error == KAFKA_UNKNOWN_TOPIC_OR_PARTITION ||
           error == KAFKA_FENCED_LEADER_EPOCH || error == KAFKA_KAFKA_STORAGE_ERROR || error == KAFKA_UNKNOWN_TOPIC_ID;
}

/* ---- connections ------------------------------------------------------------------------------------------------- */

void worker_client_lost(struct load_worker *w, struct load_client *c)
{
    if (c->state == CLIENT_IDLE)
        return;
    worker_call(w, close, c->line);
    tide_rope_clear(&c->in);
    worker_wait_again(w, c, &c->flight);
    c->retrying = false;
    c->asked_ns = 0;
    c->lost_ns = w->now_ns;
    c->again_ns = w->now_ns + w->options->retry_ms * TIDE_NS_PER_MS;
    if (c->state == CLIENT_READY && w->start_ns != 0)
        w->result.lost++;
    if (c->role == LOAD_CONTROL)
        w->address_at++;
    worker_client_move(c, CLIENT_IDLE);
}

void worker_malformed(struct load_worker *w, struct load_client *c)
{
    w->result.malformed++;
    worker_setup_failed(w, "an answer makes no sense", c->asked_ns != 0 ? "of a question at the start" : "of a request");
    worker_client_lost(w, c);
}

static bool client_connect(struct load_worker *w, struct load_client *c)
{
    const struct load_address *to = c->role == LOAD_CONTROL ? worker_address_for_control(w) : worker_address_of_leader(w, c->partition, &c->leader);
    if (to == NULL)
        return false;
    worker_client_move(c, CLIENT_CONNECTING);
    c->asked_ns = w->now_ns;
    if (!worker_call(w, connect, c->line, to))
        worker_client_lost(w, c);
    return true;
}

/* ---- questions --------------------------------------------------------------------------------------------------- */

void worker_ask_begin(struct load_worker *w, struct load_client *c, struct wire_writer *q, int16_t api)
{
    c->asked_api = api;
    proto_begin(q, w->transport->pool, api, w->versions.of[api], ++c->correlation);
}

/* False: no memory; it is tried again by the sweep. */
bool worker_ask_end(struct load_worker *w, struct load_client *c, struct wire_writer *q)
{
    if (!wire_frame_end(q)) {
        wire_writer_abandon(q);
        c->asked_ns = 0;
        return false;
    }
    worker_call(w, write, c->line, &q->out);
    c->asked_ns = w->now_ns;
    return true;
}

bool worker_knows(struct load_worker *w, int16_t api)
{
    if (w->versions.of[api] >= 0)
        return true;
    char text[64];
    snprintf(text, sizeof(text), "of api %d", api);
    worker_setup_failed(w, "the broker has no version that we speak", text);
    return false;
}

/* ---- what comes -------------------------------------------------------------------------------------------------- */

static void on_up(struct load_worker *w, struct load_client *c)
{
    if (c->state != CLIENT_CONNECTING)
        return;
    c->asked_ns = 0;
    w->result.connects++;
    if (c->role == LOAD_CONTROL && !w->versions_known) {
        worker_client_move(c, CLIENT_ASKING);
        worker_control_ask(w, c);
    } else if (c->role == LOAD_PRODUCER && w->options->idempotent && c->producer_id < 0) {
        worker_client_move(c, CLIENT_ASKING);
        worker_ask_producer_id(w, c);
    } else if (c->role == LOAD_CONSUMER && c->offset < 0) {
        worker_client_move(c, CLIENT_ASKING);
        worker_ask_offset(w, c);
    } else {
        worker_client_move(c, CLIENT_READY);
        c->again_ns = w->now_ns;
    }
    if (c->state != CLIENT_READY)
        return;
    switch (c->role) {
    case LOAD_CONTROL: worker_control_ask(w, c); break;
    case LOAD_PRODUCER: worker_pump(w, c); break;
    case LOAD_CONSUMER: worker_ask_fetch(w, c); break;
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
        worker_malformed(w, c);
        return;
    }
    if (!produced)
        c->asked_ns = 0;
    if (c->role == LOAD_CONTROL)
        worker_on_control(w, c, &at);
    else if (c->state == CLIENT_ASKING)
        worker_on_asked(w, c, &at);
    else if (c->role == LOAD_PRODUCER)
        worker_on_produced(w, c, &at);
    else
        worker_on_fetched(w, c, &at);
}

static void on_readable(struct load_worker *w, struct load_client *c)
{
    uint8_t head[4];
    worker_call(w, read, c->line, &c->in);
    while (c->in.len >= sizeof(head)) {
        tide_slice_copy(tide_rope_slice(&c->in, 0, sizeof(head)), head);
        uint32_t size = load_be32(head);
        if (size > LOAD_FRAME_MAX) {
            worker_malformed(w, c);
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
        worker_client_lost(w, c);
    else if (e->bits & LOAD_WRITABLE && c->role == LOAD_PRODUCER)
        worker_pump(w, c);
}

/* ---- what is to be tried again ----------------------------------------------------------------------------------- */

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
    worker_client_lost(w, c);
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
        worker_control_ask(w, c);
    else if (c->state == CLIENT_ASKING && c->role == LOAD_PRODUCER)
        worker_ask_producer_id(w, c);
    else if (c->state == CLIENT_ASKING)
        worker_ask_offset(w, c);
    else if (c->role == LOAD_PRODUCER)
        worker_pump(w, c);
    else
        worker_ask_fetch(w, c);
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
    w->now_ns = worker_call(w, now_ns);
    worker_admit(w);
    if (w->now_ns >= w->sweep_ns)
        sweep(w);
    worker_call(w, turn, wake_ns(w));
    while (worker_call(w, next, &e)) {
        w->now_ns = worker_call(w, now_ns);
        on_event(w, &e);
    }
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

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
        worker_request_free(w, &w->requests[i]);
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
    w->scratch = o->consume ? malloc(LOAD_FRAME_MAX) : NULL;
    if (w->clients == NULL || w->client_of_producer == NULL || w->metadata == NULL || (o->consume && w->scratch == NULL) || !load_result_init(&w->result, o))
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
            worker_call(w, close, i);
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

bool load_worker_done(struct load_worker *w)
{
    uint64_t end_ns = w->start_ns + w->end_ns;
    if (w->start_ns == 0 || w->now_ns < end_ns)
        return false;
    if (w->now_ns >= end_ns + (uint64_t)(w->options->drain_s * 1e9))
        return true;
    return load_schedule_next_ns(&w->schedule) == TIDE_NEVER && w->waiting + w->in_flight == 0 && worker_missing(w) == 0;
}

void load_worker_finish(struct load_worker *w)
{
    w->result.missing = worker_missing(w);
    worker_admit_nothing(w);
    for (uint32_t i = 1; i <= w->producer_count; i++) {
        worker_give_up(w, &w->clients[i].flight);
        worker_give_up(w, &w->clients[i].waiting);
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
