/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker of tidemark-load over a scripted transport in virtual time: brokers that answer after a while, stall, refuse, die,
 * move, or talk nonsense. Requests are read and answers written by the codec, in old and in new versions.
 */
#include "unit.h"

#include <math.h>

#include "bench/load/worker.h"
#include "kafka/batch.h"
#include "kafka/errors.h"
#include "kafka/header.h"

enum { LINES = 8, ANSWERS = 8192, BROKERS = 2, LOG_MAX = 65536, PORT = 9000, FETCH_BYTES = 60000 };
#define MS TIDE_NS_PER_MS

struct answer {
    uint64_t due_ns;
    struct tide_rope bytes;
};

struct line {
    bool open, up, down;
    unsigned broker; /* 1.. */
    struct answer answers[ANSWERS];
    unsigned first, count;
};

struct stored {
    uint32_t len;
    int64_t base;
    uint8_t *bytes;
};

static struct world {
    struct load_transport base;
    uint64_t now_ns;
    uint64_t took_ns;                 /* a broker's answer */
    uint64_t turn_ns;                 /* a turn of the worker takes so long, at least */
    uint64_t stall_from, stall_until; /* on the world's clock: no answer comes in between */
    uint64_t dead_from;               /* broker 1 dies */
    bool silent;                      /* and nobody is told */
    uint64_t moved_from;              /* metadata names broker 2 */
    uint64_t refuse_from, refuse_until;
    int16_t refuse_with;
    int16_t newest;                   /* highest version of everything; codec's own limit if lower */
    unsigned nonsense;                /* so many answers to come are replaced */
    unsigned nonsense_kind;
    int64_t wild_base;                /* the offset that the first batch of one answer claims; 0: its own */
    bool dead_lost;                   /* what broker 1 had and did not answer is lost */
    bool ordered;                     /* brokers check the sequences of the one producer */
    int32_t next_sequence;
    unsigned produced; /* batches appended */
    struct line lines[LINES];
    struct stored log[LOG_MAX]; /* of partition 0 */
    unsigned log_count;
    int64_t log_end;
    struct load_address last;
} world;

static struct rte_mempool *pool;

/* ---- brokers -------------------------------------------------------------------------------------------------------- */

static unsigned leader(void)
{
    return world.moved_from != 0 && world.now_ns >= world.moved_from ? 2 : 1;
}

static bool is_dead(unsigned broker)
{
    return broker == 1 && world.dead_from != 0 && world.now_ns >= world.dead_from;
}

/* Returns an error: sequences have no gaps. */
static int16_t append(struct tide_slice records)
{
    struct stored *s = &world.log[world.log_count];
    struct batch_header h;
    assert_true(batch_header_read(records, &h));
    if (h.producer_id >= 0 && world.ordered && h.base_sequence != world.next_sequence)
        return h.base_sequence < world.next_sequence ? KAFKA_DUPLICATE_SEQUENCE_NUMBER : KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER;
    world.next_sequence = h.base_sequence + h.record_count;
    assert_true(++world.log_count < LOG_MAX);
    *s = (struct stored){.len = records.len, .base = world.log_end, .bytes = malloc(records.len)};
    tide_slice_copy(records, s->bytes);
    store_be64(s->bytes, (uint64_t)world.log_end);
    world.log_end += h.record_count;
    world.produced++;
    return 0;
}

static int16_t on_produce(struct wire_cursor *c, int16_t v, unsigned broker, struct wire_writer *w, int16_t *ret_acks)
{
    struct produce_request in;
    struct produce_request_topic_data t;
    struct produce_request_partition_data p;
    int16_t error = broker != leader() ? KAFKA_NOT_LEADER_OR_FOLLOWER : 0;
    assert_true(produce_request_read(c, v, &in));
    assert_true(produce_request_topic_data_next(&in.topic_data, v, &t) && produce_request_partition_data_next(&t.partition_data, v, &p));
    if (world.now_ns >= world.refuse_from && world.now_ns < world.refuse_until)
        error = world.refuse_with;
    if (error == 0 && !(world.dead_lost && world.dead_from != 0 && world.now_ns + world.took_ns >= world.dead_from && broker == 1))
        error = append(p.records.at);
    *ret_acks = in.acks;
    produce_response_open_responses(w, v, 1);
    produce_response_topic_produce_response_put_name(w, v, "t", 1);
    produce_response_topic_produce_response_open_partition_responses(w, v, 1);
    produce_response_partition_response_put_index(w, v, 0);
    produce_response_partition_response_put_error_code(w, v, error);
    produce_response_partition_response_put_base_offset(w, v, 0);
    produce_response_partition_response_put_log_append_time_ms(w, v, -1);
    produce_response_partition_response_put_log_start_offset(w, v, 0);
    produce_response_partition_response_open_record_errors(w, v, 0);
    produce_response_partition_response_put_error_message(w, v, NULL, 0);
    produce_response_partition_response_end(w, v, &(struct produce_response_partition_response_tags){0});
    produce_response_topic_produce_response_end(w, v);
    produce_response_put_throttle_time_ms(w, v, 0);
    produce_response_end(w, v);
    return error;
}

static void put_batches(struct tide_rope *r, int64_t offset)
{
    unsigned low = 0, high = world.log_count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (world.log[middle].base < offset)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < world.log_count && r->len + world.log[low].len <= FETCH_BYTES; low++)
        assert_int_equal(tide_rope_copy_in(r, pool, world.log[low].bytes, world.log[low].len), TIDE_OK);
}

static void on_fetch(struct wire_cursor *c, int16_t v, unsigned broker, struct wire_writer *w, bool *ret_empty)
{
    static const struct tide_uuid id = {{7}};
    struct fetch_request in;
    struct fetch_request_topic t;
    struct fetch_request_partition p;
    struct tide_rope r = {0};
    assert_true(fetch_request_read(c, v, &in));
    assert_true(fetch_request_topic_next(&in.topics, v, &t) && fetch_request_partition_next(&t.partitions, v, &p));
    assert_true(v < 13 || tide_uuid_equal(&t.topic_id, &id));
    put_batches(&r, p.fetch_offset);
    *ret_empty = r.len == 0;
    if (r.len != 0 && world.wild_base != 0) {
        store_be64(rte_pktmbuf_mtod(r.head, uint8_t *), (uint64_t)world.wild_base);
        world.wild_base = 0;
    }
    fetch_response_put_throttle_time_ms(w, v, 0);
    fetch_response_put_error_code(w, v, 0);
    fetch_response_put_session_id(w, v, 0);
    fetch_response_open_responses(w, v, 1);
    fetch_response_fetchable_topic_response_put_topic(w, v, "t", 1);
    fetch_response_fetchable_topic_response_put_topic_id(w, v, &id);
    fetch_response_fetchable_topic_response_open_partitions(w, v, 1);
    fetch_response_partition_data_put_partition_index(w, v, 0);
    fetch_response_partition_data_put_error_code(w, v, broker != leader() ? KAFKA_NOT_LEADER_OR_FOLLOWER : 0);
    fetch_response_partition_data_put_high_watermark(w, v, world.log_end);
    fetch_response_partition_data_put_last_stable_offset(w, v, world.log_end);
    fetch_response_partition_data_put_log_start_offset(w, v, 0);
    fetch_response_partition_data_open_aborted_transactions(w, v, 0);
    fetch_response_partition_data_put_preferred_read_replica(w, v, -1);
    fetch_response_partition_data_put_records(w, v, &r);
    fetch_response_partition_data_end(w, v, &(struct fetch_response_partition_data_tags){0});
    fetch_response_fetchable_topic_response_end(w, v);
    fetch_response_end(w, v);
}

static void on_metadata(struct wire_cursor *c, int16_t v, struct wire_writer *w)
{
    static const struct tide_uuid id = {{7}};
    struct metadata_request in;
    assert_true(metadata_request_read(c, v, &in));
    metadata_response_put_throttle_time_ms(w, v, 0);
    metadata_response_open_brokers(w, v, BROKERS);
    for (int32_t b = 1; b <= BROKERS; b++) {
        metadata_response_broker_put_node_id(w, v, b);
        metadata_response_broker_put_host(w, v, "127.0.0.1", 9);
        metadata_response_broker_put_port(w, v, PORT + b);
        metadata_response_broker_put_rack(w, v, NULL, 0);
        metadata_response_broker_end(w, v);
    }
    metadata_response_put_cluster_id(w, v, "c", 1);
    metadata_response_put_controller_id(w, v, 1);
    metadata_response_open_topics(w, v, 1);
    metadata_response_topic_put_error_code(w, v, 0);
    metadata_response_topic_put_name(w, v, "t", 1);
    metadata_response_topic_put_topic_id(w, v, &id);
    metadata_response_topic_put_is_internal(w, v, false);
    metadata_response_topic_open_partitions(w, v, 1);
    metadata_response_partition_put_error_code(w, v, 0);
    metadata_response_partition_put_partition_index(w, v, 0);
    metadata_response_partition_put_leader_id(w, v, (int32_t)leader());
    metadata_response_partition_put_leader_epoch(w, v, 0);
    metadata_response_partition_open_replica_nodes(w, v, 0);
    metadata_response_partition_open_isr_nodes(w, v, 0);
    metadata_response_partition_open_offline_replicas(w, v, 0);
    metadata_response_partition_end(w, v);
    metadata_response_topic_put_topic_authorized_operations(w, v, 0);
    metadata_response_topic_end(w, v);
    metadata_response_put_cluster_authorized_operations(w, v, 0);
    metadata_response_end(w, v);
}

static void on_versions(struct wire_writer *w)
{
    static const int16_t apis[] = {KAFKA_API_PRODUCE, KAFKA_API_FETCH, KAFKA_API_LIST_OFFSETS, KAFKA_API_METADATA, KAFKA_API_INIT_PRODUCER_ID};
    static const int16_t lows[] = {3, 4, 1, 1, 0};
    api_versions_response_put_error_code(w, 0, 0);
    api_versions_response_open_api_keys(w, 0, TIDE_ARRAY_LEN(apis));
    for (size_t i = 0; i < TIDE_ARRAY_LEN(apis); i++) {
        api_versions_response_api_version_put_api_key(w, 0, apis[i]);
        api_versions_response_api_version_put_min_version(w, 0, 0);
        api_versions_response_api_version_put_max_version(w, 0, TIDE_MAX(world.newest, lows[i]));
    }
}

static void put_offset(struct wire_writer *w, int16_t v)
{
    list_offsets_response_put_throttle_time_ms(w, v, 0);
    list_offsets_response_open_topics(w, v, 1);
    list_offsets_response_topic_put_name(w, v, "t", 1);
    list_offsets_response_topic_open_partitions(w, v, 1);
    list_offsets_response_partition_put_partition_index(w, v, 0);
    list_offsets_response_partition_put_error_code(w, v, 0);
    list_offsets_response_partition_put_timestamp(w, v, -1);
    list_offsets_response_partition_put_offset(w, v, world.log_end);
    list_offsets_response_partition_put_leader_epoch(w, v, 0);
    list_offsets_response_partition_end(w, v);
    list_offsets_response_topic_end(w, v);
    list_offsets_response_end(w, v);
}

static void put_producer(struct wire_writer *w, int16_t v)
{
    init_producer_id_response_put_throttle_time_ms(w, v, 0);
    init_producer_id_response_put_error_code(w, v, 0);
    init_producer_id_response_put_producer_id(w, v, 5);
    init_producer_id_response_put_producer_epoch(w, v, 0);
    init_producer_id_response_end(w, v);
}

static void put_nonsense(struct wire_writer *w, int32_t correlation)
{
    static const uint32_t sizes[] = {0, 0x7fffffff, 0xffffffff, 6};
    world.nonsense--;
    if (world.nonsense_kind == 4) { /* the answer to another question */
        w->frame[4] ^= 1;
        return;
    }
    wire_writer_abandon(w);
    wire_writer_init(w, pool);
    wire_put_i32(w, (int32_t)sizes[world.nonsense_kind % 4]);
    wire_put_i32(w, world.nonsense_kind == 3 ? correlation : -5);
    wire_put_i16(w, -1);
}

static struct answer *push_answer(struct line *l, struct tide_rope *bytes, uint64_t due_ns)
{
    assert_true(l->count < ANSWERS);
    struct answer *a = &l->answers[(l->first + l->count++) % ANSWERS];
    if (due_ns >= world.stall_from && due_ns < world.stall_until)
        due_ns = world.stall_until;
    *a = (struct answer){.due_ns = due_ns, .bytes = *bytes};
    *bytes = (struct tide_rope){0};
    return a;
}

static void on_request(struct line *l, struct tide_slice frame)
{
    struct wire_cursor c;
    struct kafka_request_header h;
    struct wire_writer w;
    int16_t acks = -1;
    bool empty = false;
    wire_cursor_init(&c, frame);
    assert_true(kafka_request_header_read(&c, &h));
    wire_writer_init(&w, pool);
    wire_frame_begin(&w);
    int16_t v = h.request_api_version;
    kafka_response_header_write(&w, h.request_api_key, v, h.correlation_id);
    switch (h.request_api_key) {
    case KAFKA_API_API_VERSIONS: on_versions(&w); break;
    case KAFKA_API_METADATA: on_metadata(&c, v, &w); break;
    case KAFKA_API_PRODUCE: (void)on_produce(&c, v, l->broker, &w, &acks); break;
    case KAFKA_API_FETCH: on_fetch(&c, v, l->broker, &w, &empty); break;
    case KAFKA_API_LIST_OFFSETS: put_offset(&w, v); break;
    case KAFKA_API_INIT_PRODUCER_ID: put_producer(&w, v); break;
    default: fail();
    }
    assert_true(wire_frame_end(&w));
    if (world.nonsense != 0 && h.request_api_key == KAFKA_API_PRODUCE)
        put_nonsense(&w, h.correlation_id);
    if (acks == 0)
        wire_writer_abandon(&w);
    else
        push_answer(l, &w.out, world.now_ns + (empty ? 5 * MS : world.took_ns));
}

/* ---- the transport ---------------------------------------------------------------------------------------------------- */

static uint64_t w_now(struct load_transport *t) { return world.now_ns; }

static bool w_connect(struct load_transport *t, uint32_t n, const struct load_address *to)
{
    struct line *l = &world.lines[n];
    assert_true(n < LINES && !l->open);
    memset(l, 0, sizeof(*l));
    l->open = true;
    l->broker = to->port - PORT;
    l->down = is_dead(l->broker) && !world.silent;
    return true;
}

static void drop_answers(struct line *l)
{
    for (; l->count != 0; l->count--, l->first = (l->first + 1) % ANSWERS)
        tide_rope_clear(&l->answers[l->first].bytes);
}

static void w_close(struct load_transport *t, uint32_t n)
{
    drop_answers(&world.lines[n]);
    world.lines[n].open = false;
}

static uint32_t w_room(struct load_transport *t, uint32_t n) { return 1 << 20; }

static void w_write(struct load_transport *t, uint32_t n, struct tide_rope *r)
{
    struct line *l = &world.lines[n];
    assert_true(l->open && l->up);
    if (!is_dead(l->broker))
        on_request(l, tide_rope_slice(r, 4, r->len - 4));
    tide_rope_clear(r);
}

static void w_read(struct load_transport *t, uint32_t n, struct tide_rope *into)
{
    struct line *l = &world.lines[n];
    while (l->count != 0 && l->answers[l->first].due_ns <= world.now_ns) {
        tide_rope_join(into, &l->answers[l->first].bytes);
        l->first = (l->first + 1) % ANSWERS;
        l->count--;
    }
}

static bool w_next(struct load_transport *t, struct load_event *ret)
{
    for (uint32_t n = 0; n < LINES; n++) {
        struct line *l = &world.lines[n];
        *ret = (struct load_event){.line = n};
        if (!l->open)
            continue;
        if (is_dead(l->broker)) {
            drop_answers(l);
            if (!world.silent) {
                ret->bits = LOAD_DOWN;
                return true;
            }
            continue;
        }
        if (!l->up) {
            l->up = true;
            ret->bits = LOAD_UP;
            return true;
        }
        if (l->count != 0 && l->answers[l->first].due_ns <= world.now_ns) {
            ret->bits = LOAD_READABLE;
            return true;
        }
    }
    return false;
}

static void w_turn(struct load_transport *t, uint64_t until_ns)
{
    uint64_t next = until_ns, least = world.now_ns + world.turn_ns;
    for (uint32_t n = 0; n < LINES; n++)
        if (world.lines[n].open && world.lines[n].count != 0)
            next = TIDE_MIN(next, world.lines[n].answers[world.lines[n].first].due_ns);
    world.now_ns = TIDE_MAX(least, next);
}

static void w_destroy(struct load_transport *t) { (void)t; }

static const struct load_transport_ops ops = {w_now, w_connect, w_room, w_write, w_read, w_close, w_next, w_turn, w_destroy};

/* ---- runs --------------------------------------------------------------------------------------------------------------- */

static struct load_options options;
static struct load_worker worker;

static void set(const char *name, const char *value)
{
    char text[LOAD_ERROR_MAX];
    if (!load_options_set(&options, name, value, text))
        fail_msg("%s", text);
}

static int begin(void **state)
{
    memset(&world, 0, sizeof(world));
    world.base = (struct load_transport){.ops = &ops, .pool = pool};
    world.now_ns = TIDE_NS_PER_S;
    world.took_ns = 100000;
    world.newest = 99;
    load_options_init(&options);
    set("bootstrap", "127.0.0.1:9002,127.0.0.1:9001");
    set("topic", "t");
    set("warmup.s", "0");
    set("outstanding.max", "20000");
    return 0;
}

static int end(void **state)
{
    load_worker_deinit(&worker);
    for (unsigned i = 0; i < world.log_count; i++)
        free(world.log[i].bytes);
    for (unsigned i = 0; i < LINES; i++)
        assert_true(!world.lines[i].open);
    assert_int_equal(rte_mempool_avail_count(pool), pool->size);
    return 0;
}

/* Until it is ready; the times of the world's faults count from then on. */
static uint64_t make_ready(void)
{
    char text[LOAD_ERROR_MAX];
    if (!load_options_finish(&options, text))
        fail_msg("%s", text);
    assert_true(load_worker_init(&worker, &options, &world.base, 0, 1, 42));
    for (unsigned i = 0; i < 1000 && !load_worker_ready(&worker); i++)
        load_worker_turn(&worker);
    if (!load_worker_ready(&worker))
        fail_msg("not ready: %s", worker.error);
    load_worker_start(&worker, world.now_ns, 1700000000000);
    return world.now_ns;
}

static const struct load_result *go(void)
{
    for (uint64_t i = 0; !load_worker_done(&worker); i++) {
        load_worker_turn(&worker);
        if (i % 64 == 0)
            load_worker_check(&worker);
    }
    load_worker_finish(&worker);
    load_worker_check(&worker);
    return &worker.result;
}

static void expect_near(const char *what, double got, double wanted, double within)
{
    if (fabs(got - wanted) > within)
        fail_msg("%s: %g instead of %g", what, got, wanted);
}

static double quantile_ms(const struct load_hist *h, double q) { return (double)load_hist_quantile(h, q) / 1e6; }

static void expect_whole(const struct load_result *r, uint64_t requests)
{
    assert_int_equal(r->due, requests);
    assert_int_equal(r->acked, requests);
    assert_int_equal(r->failed + r->unanswered + r->not_sent + r->missing + r->damaged + r->malformed + r->foreign, 0);
}

static void test_a_quiet_run(void **state)
{
    make_ready();
    const struct load_result *r = go();
    expect_whole(r, 10000);
    assert_int_equal(r->records, 10000);
    assert_int_equal(r->duplicates + r->disorder + r->lost, 0);
    expect_near("longest", quantile_ms(&r->produce, 1), 0.1, 0.001);
    expect_near("interval", (double)r->intervals[3].due, 1000, 0);
    assert_int_equal(r->intervals[3].acked, 1000);
    assert_int_equal(r->produce.count, 10000);
    assert_int_equal(r->e2e.count, 10000);
}

static void test_the_oldest_versions(void **state)
{
    world.newest = 0;
    set("duration.s", "1");
    make_ready();
    expect_whole(go(), 1000);
}

static void test_warm_up_does_not_count(void **state)
{
    set("warmup.s", "2");
    set("duration.s", "3");
    uint64_t start = make_ready();
    world.stall_from = start + 500 * MS;
    world.stall_until = start + 1500 * MS;
    const struct load_result *r = go();
    expect_whole(r, 5000);
    assert_int_equal(r->measured_due, 3000);
    assert_int_equal(r->produce.count, 3000);
    expect_near("longest", quantile_ms(&r->produce, 1), 0.1, 0.001);
    expect_near("the series has it", quantile_ms(&r->intervals[0].produce, 1), 1000, 20);
}

/* A broker that does not answer for a second, in a run of ten with 1000 requests a second. Whoever counts from the moment of
 * sending and sends when the last one was answered sees one long answer in ten thousand; of those who were due, a tenth waited,
 * all between nothing and a second. */
static void check_stall(const struct load_result *r)
{
    expect_whole(r, 10000);
    expect_near("longest", quantile_ms(&r->produce, 1), 1000, 5);
    expect_near("99 %", quantile_ms(&r->produce, 0.99), 900, 10);
    expect_near("95 %", quantile_ms(&r->produce, 0.95), 500, 10);
    expect_near("89 %", quantile_ms(&r->produce, 0.89), 0.1, 0.01);
    expect_near("mean", load_hist_mean(&r->produce) / 1e6, 50.1, 0.5);
    expect_near("its interval", quantile_ms(&r->intervals[5].produce, 0.5), 500, 10);
    expect_near("the one behind it", quantile_ms(&r->intervals[6].produce, 1), 0.1, 0.01);
    assert_int_equal(r->intervals[5].acked, 0);
}

static void test_a_stall_is_seen_by_all_who_were_due(void **state)
{
    uint64_t start = make_ready();
    world.stall_from = start + 5000 * MS;
    world.stall_until = start + 6000 * MS;
    const struct load_result *r = go();
    check_stall(r);
    assert_int_equal(r->waiting_max, 0); /* all were sent in time */
    expect_near("due to sent", quantile_ms(&r->queue, 1), 0, 0.01);
}

static void test_a_stall_with_few_in_flight(void **state)
{
    set("in.flight.max", "5");
    uint64_t start = make_ready();
    world.stall_from = start + 5000 * MS;
    world.stall_until = start + 6000 * MS;
    const struct load_result *r = go();
    expect_near("longest", quantile_ms(&r->produce, 1), 1000, 25); /* the queue needs its time behind the stall */
    expect_near("95 %", quantile_ms(&r->produce, 0.95), 500, 30);
    assert_true(r->waiting_max > 900);
    expect_near("due to sent", quantile_ms(&r->queue, 1), 1000, 25);
    expect_whole(r, 10000);
    assert_int_equal(r->disorder, 0);
}

static void test_what_gets_no_answer_counts_as_long_as_it_waited(void **state)
{
    set("duration.s", "1");
    set("drain.s", "2");
    uint64_t start = make_ready();
    world.stall_from = start + 500 * MS;
    world.stall_until = TIDE_NEVER;
    const struct load_result *r = go();
    assert_int_equal(r->unanswered, 500);
    assert_int_equal(r->acked, 500);
    assert_int_equal(r->produce.count, 1000);
    expect_near("longest", quantile_ms(&r->produce, 1), 2500, 10);
    expect_near("75 %", quantile_ms(&r->produce, 0.75), 2250, 10);
    assert_int_equal(r->backlog, 500);
}

static void test_no_room_is_told(void **state)
{
    set("duration.s", "1");
    set("outstanding.max", "100");
    uint64_t start = make_ready();
    world.stall_from = start + 500 * MS;
    world.stall_until = start + 900 * MS;
    const struct load_result *r = go();
    assert_int_equal(r->due, 1000);
    expect_near("not sent", (double)r->not_sent, 300, 2);
    assert_int_equal(r->acked, r->due - r->not_sent);
    assert_int_equal(r->missing, 0);
}

/* The leader dies; 300 ms later metadata names another one. */
static const struct load_result *leader_dies(void)
{
    set("duration.s", "3");
    uint64_t start = make_ready();
    world.took_ns = 10 * MS;
    world.dead_from = start + 1000 * MS + 500000;
    world.moved_from = start + 1300 * MS;
    return go();
}

static void test_a_dead_leader_is_followed(void **state)
{
    const struct load_result *r = leader_dies();
    expect_whole(r, 3000);
    expect_near("longest", quantile_ms(&r->produce, 1), 340, 30);
    assert_true(r->lost >= 2); /* producer and consumer */
    assert_true(r->resent >= 10);
    assert_int_equal(r->duplicates, world.produced - 3000);
    assert_true(r->duplicates >= 9); /* appended, and the answer never came */
    expect_near("before the schedule's end", (double)r->measured_acked, 2990, 2);
    expect_near("nothing was acknowledged in between", (double)r->intervals[1].acked, 1000, 40);
}

static void test_what_the_dead_leader_lost_is_sent_again(void **state)
{
    world.dead_lost = true;
    const struct load_result *r = leader_dies();
    expect_whole(r, 3000);
    assert_int_equal(r->duplicates, 0);
    assert_int_equal(r->disorder, 0);
}

static void test_requests_that_wait_at_a_dead_leader_keep_their_order(void **state)
{
    set("in.flight.max", "5"); /* half of what the rate needs */
    world.dead_lost = true;
    const struct load_result *r = leader_dies();
    expect_whole(r, 3000);
    assert_int_equal(r->disorder + r->duplicates, 0);
}

static void test_a_dead_leader_that_says_nothing(void **state)
{
    world.silent = true;
    const struct load_result *r = leader_dies();
    expect_whole(r, 3000);
    assert_true(quantile_ms(&r->produce, 1) > 500 && quantile_ms(&r->produce, 1) < 2500);
}

static void test_a_moved_leader(void **state)
{
    set("duration.s", "2");
    uint64_t start = make_ready();
    world.moved_from = start + 1000 * MS;
    const struct load_result *r = go();
    expect_whole(r, 2000);
    assert_int_equal(r->duplicates + r->disorder, 0);
    assert_true(r->errors[KAFKA_NOT_LEADER_OR_FOLLOWER + 1] >= 1);
    assert_true(quantile_ms(&r->produce, 1) < 100);
}

/* Refused for a while: the same requests again, in their order. */
static void test_refused_for_a_while(void **state)
{
    set("duration.s", "2");
    uint64_t start = make_ready();
    world.took_ns = 5 * MS;
    world.refuse_with = KAFKA_NOT_ENOUGH_REPLICAS;
    world.refuse_from = start + 500 * MS;
    world.refuse_until = start + 800 * MS;
    const struct load_result *r = go();
    expect_whole(r, 2000);
    assert_int_equal(r->disorder + r->duplicates, 0);
    assert_true(r->errors[KAFKA_NOT_ENOUGH_REPLICAS + 1] >= 6);
    expect_near("longest", quantile_ms(&r->produce, 1), 310, 30);
}

/* The first of several in flight is refused; those behind it are out of sequence until it has come. */
static void test_sequences_stay_in_order(void **state)
{
    set("duration.s", "5");
    set("rate", "100");
    set("idempotent", "yes");
    set("retry.ms", "5");
    uint64_t start = make_ready();
    world.ordered = true;
    world.took_ns = 30 * MS;
    world.refuse_with = KAFKA_NOT_ENOUGH_REPLICAS;
    world.refuse_from = start + 2000 * MS;
    world.refuse_until = start + 2001 * MS;
    world.dead_from = start + 4000 * MS + 500000;
    world.moved_from = start + 4100 * MS;
    const struct load_result *r = go();
    expect_whole(r, 500);
    assert_int_equal(r->disorder + r->duplicates, 0);
    assert_int_equal(r->errors[KAFKA_NOT_ENOUGH_REPLICAS + 1], 1);
    assert_true(r->errors[KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER + 1] >= 2);
}

static void test_refused_for_good(void **state)
{
    set("duration.s", "1");
    uint64_t start = make_ready();
    world.refuse_with = KAFKA_MESSAGE_TOO_LARGE;
    world.refuse_from = start + 500 * MS;
    world.refuse_until = start + 600 * MS;
    const struct load_result *r = go();
    expect_near("failed", (double)r->failed, 100, 1);
    assert_int_equal(r->acked, 1000 - r->failed);
    assert_int_equal(r->errors[KAFKA_MESSAGE_TOO_LARGE + 1], r->failed);
    assert_int_equal(r->produce.count, r->acked);
}

/* A size of 0, of 2 GiB, of -1; the right correlation id before a body that is cut short; the wrong one before a good body. */
static void test_nonsense_ends_a_connection(void **state)
{
    set("duration.s", "1");
    world.nonsense_kind = (unsigned)(uintptr_t)*state;
    make_ready();
    world.nonsense = 1;
    const struct load_result *r = go();
    assert_int_equal(r->malformed, 1);
    assert_int_equal(r->acked, 1000);
    assert_int_equal(r->lost, 1);
    assert_int_equal(r->duplicates, world.produced - 1000);
}

/* Offsets lie outside the CRC. */
static void test_an_offset_without_a_next_one(void **state)
{
    set("duration.s", "1");
    make_ready();
    world.wild_base = INT64_MAX;
    const struct load_result *r = go();
    assert_int_equal(r->damaged, 1);
    assert_int_equal(r->acked, 1000);
    assert_int_equal(r->records, 999);
    assert_int_equal(r->missing, 1); /* the reader went on with those behind it */
    assert_int_equal(r->duplicates + r->disorder, 0);
}

static void test_a_schedule_nobody_can_keep_ends_in_time(void **state)
{
    set("rate", "1000000");
    set("duration.s", "0.1");
    set("drain.s", "0.05");
    uint64_t start = make_ready();
    world.turn_ns = MS;
    const struct load_result *r = go();
    expect_near("end", (double)(world.now_ns - start) / 1e6, 150, 2);
    assert_int_equal(r->due, 100000);
    assert_true(r->not_sent > 50000);
    assert_int_equal(r->acked + r->not_sent + r->unanswered, 100000);
}

static int begin_0(void **state) { *state = (void *)0; return begin(state); }
static int begin_1(void **state) { *state = (void *)1; return begin(state); }
static int begin_2(void **state) { *state = (void *)2; return begin(state); }
static int begin_3(void **state) { *state = (void *)3; return begin(state); }
static int begin_4(void **state) { *state = (void *)4; return begin(state); }

static void test_acks_of_nobody(void **state)
{
    set("acks", "0");
    set("duration.s", "1");
    make_ready();
    const struct load_result *r = go();
    expect_whole(r, 1000);
    assert_int_equal(r->produce.count, 0);
    assert_int_equal(r->e2e.count, 1000);
}

static void test_producer_ids_and_many_producers(void **state)
{
    set("idempotent", "yes");
    set("producers", "4");
    set("batch.records", "3");
    set("rate", "3000");
    set("duration.s", "1");
    set("arrivals", "exponential");
    make_ready();
    for (unsigned i = 1; i <= 4; i++)
        assert_int_equal(worker.clients[i].producer_id, 5);
    const struct load_result *r = go();
    expect_whole(r, r->due);
    expect_near("requests", (double)r->due, 1000, 150);
    assert_int_equal(r->records, 3 * r->due);
}

static int setup(void **state)
{
    unit_eal();
    pool = unit_pool("load", 16383, 2048);
    return 0;
}

#define test(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(test_a_quiet_run),
        test(test_the_oldest_versions),
        test(test_warm_up_does_not_count),
        test(test_a_stall_is_seen_by_all_who_were_due),
        test(test_a_stall_with_few_in_flight),
        test(test_what_gets_no_answer_counts_as_long_as_it_waited),
        test(test_no_room_is_told),
        test(test_a_dead_leader_is_followed),
        test(test_what_the_dead_leader_lost_is_sent_again),
        test(test_requests_that_wait_at_a_dead_leader_keep_their_order),
        test(test_a_dead_leader_that_says_nothing),
        test(test_a_moved_leader),
        test(test_refused_for_a_while),
        test(test_sequences_stay_in_order),
        test(test_refused_for_good),
        cmocka_unit_test_setup_teardown(test_nonsense_ends_a_connection, begin_0, end),
        cmocka_unit_test_setup_teardown(test_nonsense_ends_a_connection, begin_1, end),
        cmocka_unit_test_setup_teardown(test_nonsense_ends_a_connection, begin_2, end),
        cmocka_unit_test_setup_teardown(test_nonsense_ends_a_connection, begin_3, end),
        cmocka_unit_test_setup_teardown(test_nonsense_ends_a_connection, begin_4, end),
        test(test_an_offset_without_a_next_one),
        test(test_a_schedule_nobody_can_keep_ends_in_time),
        test(test_acks_of_nobody),
        test(test_producer_ids_and_many_producers),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
