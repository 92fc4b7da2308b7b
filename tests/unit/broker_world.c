/* SPDX-License-Identifier: Apache-2.0 */
#include "broker_world.h"

#include "kafka/batch.h"
#include "log/buffers.h"
#include "settings/settings.h"
#include "tidemark/arrival.h"

enum { POOL_COUNT = 255, PATIENCE = 2000, FRAME_ROOM = 1 << 17, PIECE = 1000 };

struct rte_mempool *bw_request_pool, *bw_response_pool, *bw_client_pool;
static uint8_t scratch[FRAME_ROOM];
int64_t bw_append_times[8];
static struct tide_rope body; /* of the response that was read last */

/* ---- life ------------------------------------------------------------------------------------------------- */

static void make_pools(void)
{
    unit_eal();
    if (bw_request_pool != NULL)
        return;
    bw_request_pool = fail_pool("bw_request", POOL_COUNT, 4096);
    bw_response_pool = fail_pool("bw_response", POOL_COUNT, 4096);
    bw_client_pool = unit_pool("bw_client", 4095, 4096);
}

static void make_core(struct broker_world *w, uint32_t i)
{
    struct bw_core *c = &w->cores[i];
    struct log_core_config log = {.core = i, .tail_buffer_bytes = 16384, .tail_buffers = 16, .read_buffer_bytes = 16384,
                                  .read_buffers = 4, .reads_out_max = 2, .aheads_out_max = 1, .read_piece_bytes = 8192, .index_chunks = 16, .views = 255, .counters = &c->counters};
    c->log_core = log_core_create(&log);
    assert_non_null(c->log_core);
    struct broker_config b = {.core = i, .office = w->office, .publication = &w->publication, .log_core = c->log_core,
                              .counters = &c->counters, .request_pool = bw_request_pool, .response_pool = bw_response_pool,
                              .requests_max = 80, .sessions_max = 16, .mails_max = 63, .settings = &w->settings, .seed = 1 + i,
                              .trace = &w->trace};
    c->broker = broker_create(&b);
    assert_non_null(c->broker);
}

static void make_partition(struct broker_world *w, uint32_t slot)
{
    char dir[32], error[256] = "";
    bool groups = slot >= BW_PARTITIONS;
    uint32_t i = slot % BW_PARTITIONS;
    snprintf(dir, sizeof(dir), "/d/%s-%u", groups ? "g" : "t", i);
    struct partition_config config = {.topic = groups ? TIDE_OFFSETS_TOPIC : "t", .topic_id = {{groups ? 8 : 7}}, .index = (int32_t)i, .slot = slot,
                                      .home_core = i % w->core_count, .dir = dir, .preallocate_bytes = 65536, .producer_expiry_ms = 86400000,
                                      .producers_max = 16, .lease_until_ns = &w->publication.lease_until_ns};
    settings_topic_defaults(&w->settings, &config.topic_config);
    config.topic_config.segment_bytes = 1 << 20;
    struct partition *p = partition_create(&config);
    assert_non_null(p);
    assert_int_equal(partition_open(p, &w->disk->fs, error, sizeof(error)), 0);
    w->partitions[slot] = (struct view_partition){.leader = 1, .leader_epoch = BW_EPOCH, .replica_count = 1, .isr_count = 1,
                                                  .replicas = w->replicas, .isr = w->replicas, .local = p, .home_core = i % w->core_count};
    w->orders[slot] = (struct tide_mail){.kind = MAIL_ADOPT, .from = w->core_count};
    w->orders[slot].order.partition = p;
    assert_int_equal(post_send(w->office, w->core_count, i % w->core_count, &w->orders[slot]), TIDE_OK);
}

static void make_view(struct broker_world *w)
{
    w->view_broker = (struct view_broker){.id = 1, .endpoints = {{.host = "10.0.0.1", .port = 9092}}};
    w->topics[0] = (struct view_topic){.id = {{7}}, .name = "t", .name_len = 1, .partition_count = BW_PARTITIONS, .partitions = w->partitions};
    w->view = (struct tide_view){.version = 1, .takes_clients = true, .self = 1, .controller = 1, .broker_count = 1, .brokers = &w->view_broker,
                                 .topic_count = 1, .topics = w->topics, .hash_mask = 15, .by_name = w->by_name, .by_id = w->by_id};
    tide_view_index(w->topics, 1, 16, w->by_name, w->by_id);
}

void bw_show_groups(struct broker_world *w)
{
    w->topics[1] = w->topics[0];
    w->topics[0] = (struct view_topic){.id = {{8}}, .name = TIDE_OFFSETS_TOPIC, .name_len = sizeof(TIDE_OFFSETS_TOPIC) - 1, .internal = true,
                                       .partition_count = BW_PARTITIONS, .partitions = w->partitions + BW_PARTITIONS};
    w->view.topic_count = 2;
    w->view.version++;
    memset(w->by_name, 0, sizeof(w->by_name));
    memset(w->by_id, 0, sizeof(w->by_id));
    tide_view_index(w->topics, 2, 16, w->by_name, w->by_id);
}

static void begin_world(struct broker_world *w, uint32_t cores, uint32_t partitions)
{
    make_pools();
    memset(w, 0, sizeof(*w));
    fail_pool_fail_at = 0;
    fail_pool_ever_after = false;
    w->before[0] = rte_mempool_avail_count(bw_request_pool);
    w->before[1] = rte_mempool_avail_count(bw_response_pool);
    w->disk = malloc(sizeof(*w->disk));
    assert_non_null(w->disk);
    memory_fs_init(w->disk);
    (void)w->disk->fs.mkdir(w->disk, "/d");
    settings_defaults(&w->settings);
    w->core_count = cores;
    w->replicas[0] = 1;
    w->time = (struct tide_time){.now_ns = TIDE_NS_PER_S, .wall_ms = 1700000000000};
    w->office = post_office_create(cores);
    assert_non_null(w->office);
    atomic_store(&w->publication.lease_until_ns, UINT64_MAX);
    for (uint32_t i = 0; i < cores; i++)
        make_core(w, i);
    w->partition_count = partitions;
    for (uint32_t i = 0; i < partitions; i++)
        make_partition(w, i);
    make_view(w);
    atomic_store(&w->publication.now, &w->view);
    bw_pump(w);
}

void bw_init(struct broker_world *w, uint32_t cores)
{
    begin_world(w, cores, BW_PARTITIONS);
}

void bw_init_groups(struct broker_world *w, uint32_t cores)
{
    begin_world(w, cores, 2 * BW_PARTITIONS);
}

void bw_deinit(struct broker_world *w)
{
    w->hold_disk = w->hold_jobs = false;
    w->hold_kind = 0;
    fail_pool_fail_at = 0;
    for (unsigned i = 0; i < w->ask_count; i++)
        assert_int_equal(post_send(w->office, w->core_count, w->asks[i]->from, w->asks[i]), TIDE_OK);
    w->ask_count = 0;
    tide_rope_clear(&body);
    bw_pump(w);
    for (uint32_t i = 0; i < w->partition_count; i++) {
        w->orders[i] = (struct tide_mail){.kind = MAIL_RELEASE, .from = w->core_count};
        w->orders[i].order.partition = w->partitions[i].local;
        assert_int_equal(post_send(w->office, w->core_count, partition_home(w->partitions[i].local), &w->orders[i]), TIDE_OK);
    }
    bw_pump(w);
    for (uint32_t i = 0; i < w->partition_count; i++) {
        for (uint32_t c = 0; c < w->core_count; c++)
            assert_false(partition_has_interest(w->partitions[i].local, c));
        assert_false(partition_is_read(w->partitions[i].local));
        (void)partition_close(w->partitions[i].local, &w->disk->fs);
        partition_destroy(w->partitions[i].local);
    }
    for (uint32_t i = 0; i < w->core_count; i++) {
        struct broker_gauges g;
        broker_check(w->cores[i].broker);
        broker_gauges(w->cores[i].broker, &g);
        assert_int_equal(g.sessions, 0);
        assert_int_equal(g.requests_in_progress, 0);
        assert_int_equal(g.mails_free, g.mails);
        struct log_core_free f = log_core_free_now(w->cores[i].log_core);
        assert_int_equal(f.tails, 16);
        assert_int_equal(f.reads, 4);
        assert_int_equal(f.views, 255);
        broker_destroy(w->cores[i].broker);
        log_core_destroy(w->cores[i].log_core);
    }
    post_office_destroy(w->office);
    assert_int_equal(rte_mempool_avail_count(bw_request_pool), w->before[0]);
    assert_int_equal(rte_mempool_avail_count(bw_response_pool), w->before[1]);
    assert_int_equal(rte_mempool_avail_count(bw_client_pool), 4095);
    assert_int_equal(memory_fs_open_handles(w->disk), 0);
    memory_fs_deinit(w->disk);
    free(w->disk);
}

/* ---- turns -------------------------------------------------------------------------------------------------- */

static void take_out(struct bw_core *c)
{
    assert_true(c->op_count + c->out.op_count <= BW_OPS && c->job_count + c->out.job_count <= BW_OPS);
    memcpy(c->ops + c->op_count, c->out.ops, c->out.op_count * sizeof(c->ops[0]));
    memcpy(c->jobs + c->job_count, c->out.jobs, c->out.job_count * sizeof(c->jobs[0]));
    c->op_count += c->out.op_count;
    c->job_count += c->out.job_count;
    c->out.op_count = c->out.job_count = 0;
}

static unsigned completions(struct broker_world *w, struct bw_core *c)
{
    unsigned ops = w->hold_disk ? 0 : c->op_count;
    unsigned jobs = w->hold_jobs ? 0 : c->job_count;
    for (unsigned i = 0; i < ops; i++) {
        struct disk_done done = {.id = c->ops[i].id,
                                 .result = w->disk_error != 0 ? w->disk_error : memory_fs_disk(w->disk, &c->ops[i])};
        broker_on_disk(c->broker, &w->time, &done, &c->out);
    }
    unsigned held = 0;
    for (unsigned i = 0; i < jobs; i++) {
        struct tide_job *job = c->jobs[i];
        if (w->hold_kind != 0 && job->kind == w->hold_kind) {
            c->jobs[held++] = job;
            continue;
        }
        job->run(job, &w->disk->fs);
        broker_on_job(c->broker, &w->time, job, &c->out);
    }
    if (ops != 0)
        c->op_count = 0;
    if (jobs != 0)
        c->job_count = held;
    return ops + jobs - held;
}

static void send_role(struct broker_world *w, struct partition *p, struct tide_mail *m, int32_t leader, int32_t leader_epoch)
{
    *m = (struct tide_mail){.kind = MAIL_BECOME, .from = w->core_count};
    m->become.partition = p;
    m->become.role = (struct mail_role){.self = 1, .leader = leader, .leader_epoch = leader_epoch, .partition_epoch = leader_epoch,
                                        .unclean_epoch = -1, .replica_count = leader == 1 ? 1 : 2, .isr_count = leader == 1 ? 1 : 2,
                                        .replicas = {1, 2}, .isr = {1, 2}, .broker_epochs = {-1, -1}};
    assert_int_equal(post_send(w->office, w->core_count, partition_home(p), m), TIDE_OK);
}

void bw_become(struct broker_world *w, uint32_t slot, int32_t leader, int32_t leader_epoch)
{
    send_role(w, w->partitions[slot].local, &w->orders[slot], leader, leader_epoch);
    w->partitions[slot].leader = leader;
    w->partitions[slot].leader_epoch = leader_epoch;
    w->view.version++;
    bw_pump(w);
}

static unsigned control(struct broker_world *w)
{
    struct tide_mail *letters[64];
    unsigned n = post_take(w->office, w->core_count, letters, 64);
    for (unsigned i = 0; i < n; i++) {
        if (letters[i]->kind == MAIL_ASK)
            w->asks[w->ask_count++] = letters[i];
        else if (letters[i]->kind == MAIL_ADOPT)
            send_role(w, letters[i]->order.partition, letters[i], 1, BW_EPOCH); /* it leads, alone */
        else if (letters[i]->kind == MAIL_FAILED)
            assert_int_equal(post_send(w->office, w->core_count, letters[i]->from, letters[i]), TIDE_OK);
    }
    return n;
}

bool bw_turn(struct broker_world *w)
{
    unsigned did = 0;
    for (uint32_t i = 0; i < w->core_count; i++) {
        struct bw_core *c = &w->cores[i];
        struct tide_mail *letters[64];
        uint32_t bells[64 * 2];
        broker_begin_turn(c->broker, &w->time, w->receive_low);
        unsigned n = post_take(w->office, i, letters, 64);
        for (unsigned k = 0; k < n; k++)
            broker_on_mail(c->broker, &w->time, letters[k], &c->out);
        did += n;
        n = post_take_bells(w->office, i, bells, TIDE_ARRAY_LEN(bells));
        for (unsigned k = 0; k < n; k++)
            broker_on_bell(c->broker, &w->time, bells[k], &c->out);
        did += n + completions(w, c) + broker_turn(c->broker, &w->time, &c->out);
        struct session *ready;
        while ((ready = broker_next_ready(c->broker)) != NULL)
            did += session_go_on(ready, &w->time, &c->out);
        take_out(c);
        broker_check(c->broker);
    }
    return did + control(w) != 0;
}

void bw_pump(struct broker_world *w)
{
    unsigned idle = 0;
    for (unsigned i = 0; idle < 3; i++) {
        assert_true(i < PATIENCE);
        idle = bw_turn(w) ? 0 : idle + 1;
    }
}

void bw_pass(struct broker_world *w, uint64_t ms)
{
    w->time.now_ns += ms * TIDE_NS_PER_MS;
    w->time.wall_ms += (int64_t)ms;
    bw_pump(w);
}

uint64_t bw_count(const struct broker_world *w, enum tide_counter which)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < w->core_count; i++)
        sum += w->cores[i].counters.values[which];
    return sum;
}

/* ---- clients -------------------------------------------------------------------------------------------------- */

void bw_zero_space(struct broker_world *w)
{
    for (uint32_t i = 0; i < w->partition_count; i++) {
        struct partition *p = w->partitions[i].local;
        while (log_make_room(partition_log(p), &w->time, BATCH_HEADER, -1, &w->cores[partition_home(p)].out) == TIDE_FULL)
            bw_pump(w);
    }
}

void bw_connect(struct broker_world *w, struct bw_client *c)
{
    *c = (struct bw_client){.w = w};
    broker_begin_turn(w->cores[0].broker, &w->time, w->receive_low);
    c->s = session_open(w->cores[0].broker, &w->time, 0, c);
    assert_non_null(c->s);
}

void bw_disconnect(struct bw_client *c)
{
    if (c->s != NULL)
        session_on_gone(c->s);
    c->s = NULL;
    tide_rope_clear(&c->in);
}

void bw_serve(struct bw_client *c)
{
    struct session_wants want;
    if (c->s == NULL)
        return;
    session_wants(c->s, &want);
    c->credit += want.credit;
    if (!c->slow && !want.abort && want.out->len != 0) {
        c->taken += want.out->len;
        tide_rope_join(&c->in, want.out);
        (void)session_on_sent(c->s, &c->w->time, &c->w->cores[0].out);
    }
    (void)session_go_on(c->s, &c->w->time, &c->w->cores[0].out);
    session_wants(c->s, &want);
    c->credit += want.credit;
    if (want.abort || (want.close && want.out->len == 0)) {
        c->closed = true;
        c->aborted = want.abort;
        session_on_gone(c->s);
        c->s = NULL;
    }
}

static void push_pieces(struct tide_rope *r, const uint8_t *bytes, size_t len)
{
    for (size_t at = 0; at < len; at += PIECE)
        tide_rope_push(r, unit_exact_mbuf(bw_client_pool, bytes + at, (uint16_t)TIDE_MIN(len - at, (size_t)PIECE)));
}

void bw_send_cut(struct bw_client *c, const void *bytes, size_t len, size_t cut)
{
    struct tide_rope r = {0};
    push_pieces(&r, bytes, cut);
    push_pieces(&r, (const uint8_t *)bytes + cut, len - cut);
    if (c->w->stamp_ns != 0) {
        assert_int_equal(rte_mbuf_dyn_rx_timestamp_register(&tide_arrival_field.offset, &tide_arrival_field.flag), 0);
        r.tail->ol_flags |= tide_arrival_field.flag;
        *tide_arrival_stamp(r.tail) = c->w->stamp_ns;
    }
    broker_begin_turn(c->w->cores[0].broker, &c->w->time, c->w->receive_low);
    session_on_bytes(c->s, &c->w->time, c->w->time.now_ns, &r, &c->w->cores[0].out);
    take_out(&c->w->cores[0]);
    bw_serve(c);
}

void bw_send_bytes(struct bw_client *c, const void *bytes, size_t len) { bw_send_cut(c, bytes, len, len); }

/* ---- requests --------------------------------------------------------------------------------------------------- */

static size_t finish(struct wire_writer *w, uint8_t *to)
{
    assert_true(wire_frame_end(w));
    size_t len = w->out.len;
    assert_true(len <= FRAME_ROOM);
    tide_slice_copy(tide_rope_slice(&w->out, 0, (uint32_t)len), to);
    tide_rope_clear(&w->out);
    return len;
}

static void begin(struct wire_writer *w, int16_t key, int16_t version, int32_t correlation)
{
    wire_writer_init(w, bw_client_pool);
    wire_frame_begin(w);
    kafka_request_header_write(w, key, version, correlation, "unit", 4);
}

size_t bw_produce(uint8_t *to, int32_t correlation, int16_t acks, int32_t timeout_ms, const int32_t *partitions, unsigned count,
                  uint32_t value_bytes)
{
    static uint8_t value[65536], batch[70000];
    struct wire_writer w;
    begin(&w, KAFKA_API_PRODUCE, 7, correlation);
    produce_request_put_transactional_id(&w, 7, NULL, 0);
    produce_request_put_acks(&w, 7, acks);
    produce_request_put_timeout_ms(&w, 7, timeout_ms);
    produce_request_open_topic_data(&w, 7, 1);
    produce_request_topic_data_put_name(&w, 7, "t", 1);
    produce_request_topic_data_open_partition_data(&w, 7, (int32_t)count);
    for (unsigned i = 0; i < count; i++) {
        struct batch_build_record r = {.timestamp = 1700000000000, .value = value, .value_len = (int32_t)value_bytes};
        struct tide_rope records = {0};
        size_t len = batch_build(batch, sizeof(batch), &r, 1, -1, -1, -1);
        assert_true(len != 0);
        assert_int_equal(tide_rope_copy_in(&records, bw_client_pool, batch, (uint32_t)len), TIDE_OK);
        produce_request_partition_data_put_index(&w, 7, partitions[i]);
        produce_request_partition_data_put_records(&w, 7, &records);
    }
    return finish(&w, to);
}

size_t bw_fetch(uint8_t *to, int32_t correlation, const struct bw_fetch *f)
{
    struct wire_writer w;
    begin(&w, KAFKA_API_FETCH, 4, correlation);
    fetch_request_put_replica_id(&w, 4, -1);
    fetch_request_put_max_wait_ms(&w, 4, f->max_wait_ms);
    fetch_request_put_min_bytes(&w, 4, f->min_bytes);
    fetch_request_put_max_bytes(&w, 4, f->max_bytes);
    fetch_request_put_isolation_level(&w, 4, 0);
    fetch_request_open_topics(&w, 4, 1);
    fetch_request_topic_put_topic(&w, 4, "t", 1);
    fetch_request_topic_open_partitions(&w, 4, (int32_t)f->count);
    for (unsigned i = 0; i < f->count; i++) {
        fetch_request_partition_put_partition(&w, 4, f->partitions[i]);
        fetch_request_partition_put_fetch_offset(&w, 4, f->offset);
        fetch_request_partition_put_partition_max_bytes(&w, 4, f->partition_max_bytes);
    }
    return finish(&w, to);
}

static void put_topic(struct wire_writer *w, int16_t v, bool forgotten)
{
    const struct tide_uuid id = {{7}};
    if (forgotten) {
        fetch_request_forgotten_topic_put_topic(w, v, "t", 1);
        fetch_request_forgotten_topic_put_topic_id(w, v, &id);
    } else {
        fetch_request_topic_put_topic(w, v, "t", 1);
        fetch_request_topic_put_topic_id(w, v, &id);
    }
}

size_t bw_ask(uint8_t *to, int32_t correlation, const struct bw_ask *a)
{
    struct wire_writer w;
    int16_t v = a->version;
    begin(&w, KAFKA_API_FETCH, v, correlation);
    fetch_request_put_replica_id(&w, v, -1);
    fetch_request_put_max_wait_ms(&w, v, a->max_wait_ms);
    fetch_request_put_min_bytes(&w, v, a->min_bytes);
    fetch_request_put_max_bytes(&w, v, a->max_bytes != 0 ? a->max_bytes : 1 << 20);
    fetch_request_put_isolation_level(&w, v, a->read_committed);
    fetch_request_put_session_id(&w, v, a->session_id);
    fetch_request_put_session_epoch(&w, v, a->session_epoch);
    fetch_request_open_topics(&w, v, a->count != 0);
    if (a->count != 0) {
        put_topic(&w, v, false);
        fetch_request_topic_open_partitions(&w, v, (int32_t)a->count);
    }
    for (unsigned i = 0; i < a->count; i++) {
        fetch_request_partition_put_partition(&w, v, a->what[i].partition);
        fetch_request_partition_put_current_leader_epoch(&w, v, a->what[i].leader_epoch != 0 ? a->what[i].leader_epoch : -1);
        fetch_request_partition_put_fetch_offset(&w, v, a->what[i].offset);
        fetch_request_partition_put_last_fetched_epoch(&w, v, a->what[i].last_epoch != 0 ? a->what[i].last_epoch : -1);
        fetch_request_partition_put_log_start_offset(&w, v, -1);
        fetch_request_partition_put_partition_max_bytes(&w, v, a->what[i].max_bytes != 0 ? a->what[i].max_bytes : 1 << 20);
        fetch_request_partition_end(&w, v);
    }
    if (a->count != 0)
        fetch_request_topic_end(&w, v);
    fetch_request_open_forgotten_topics_data(&w, v, a->forget_count != 0);
    if (a->forget_count != 0) {
        put_topic(&w, v, true);
        fetch_request_forgotten_topic_open_partitions(&w, v, (int32_t)a->forget_count);
        for (unsigned i = 0; i < a->forget_count; i++)
            wire_put_i32(&w, a->forget[i]);
        fetch_request_forgotten_topic_end(&w, v);
    }
    fetch_request_put_rack_id(&w, v, a->rack != NULL ? a->rack : "", a->rack != NULL ? (uint32_t)strlen(a->rack) : 0);
    fetch_request_end(&w, v, &(struct fetch_request_tags){0});
    return finish(&w, to);
}

size_t bw_api_versions(uint8_t *to, int32_t correlation)
{
    struct wire_writer w;
    begin(&w, KAFKA_API_API_VERSIONS, 0, correlation);
    return finish(&w, to);
}

size_t bw_raw(uint8_t *to, int16_t key, int16_t version, int32_t correlation, const void *bytes, size_t len)
{
    store_be32(to, (uint32_t)(10 + len));
    store_be16(to + 4, (uint16_t)key);
    store_be16(to + 6, (uint16_t)version);
    store_be32(to + 8, (uint32_t)correlation);
    store_be16(to + 12, 0xffff); /* no client id */
    if (len != 0)
        memcpy(to + 14, bytes, len);
    return 14 + len;
}

/* ---- responses ---------------------------------------------------------------------------------------------------- */

bool bw_next(struct bw_client *c, int32_t *ret_correlation, struct wire_cursor *ret)
{
    uint8_t head[8];
    bw_serve(c);
    tide_rope_clear(&body);
    if (c->in.len < 8)
        return false;
    tide_slice_copy(tide_rope_slice(&c->in, 0, 8), head);
    uint32_t size = load_be32(head);
    assert_true(size >= 4 && size <= FRAME_ROOM && c->in.len >= size + 4); /* responses are whole */
    *ret_correlation = (int32_t)load_be32(head + 4);
    tide_slice_copy(tide_rope_slice(&c->in, 8, size - 4), scratch);
    assert_int_equal(tide_rope_copy_in(&body, bw_client_pool, scratch, size - 4), TIDE_OK);
    tide_rope_drop(&c->in, size + 4);
    wire_cursor_init(ret, tide_rope_slice(&body, 0, body.len));
    return true;
}

void bw_silent(struct bw_client *c)
{
    bw_serve(c);
    assert_int_equal(c->in.len, 0);
}

void bw_produced(struct bw_client *c, int32_t correlation, int16_t *errors, int64_t *bases, unsigned count)
{
    struct produce_response in;
    struct produce_response_topic_produce_response t;
    struct produce_response_partition_response p;
    struct wire_cursor at;
    int32_t found;
    assert_true(bw_next(c, &found, &at));
    assert_int_equal(found, correlation);
    assert_true(produce_response_read(&at, 7, &in));
    assert_true(produce_response_topic_produce_response_next(&in.responses, 7, &t));
    for (unsigned i = 0; i < count; i++) {
        assert_true(produce_response_partition_response_next(&t.partition_responses, 7, &p));
        errors[i] = p.error_code;
        bases[i] = p.base_offset;
        bw_append_times[i] = p.log_append_time_ms;
    }
    assert_false(produce_response_partition_response_next(&t.partition_responses, 7, &p));
}

static void look_at_records(struct tide_slice records, struct bw_fetched *ret)
{
    static uint8_t bytes[FRAME_ROOM];
    ret->bytes = records.len;
    ret->first = ret->last = -1;
    assert_true(records.len <= sizeof(bytes));
    tide_slice_copy(records, bytes);
    for (uint32_t at = 0; at < records.len;) {
        struct batch_header h;
        assert_true(records.len - at >= BATCH_HEADER);
        batch_header_parse(bytes + at, &h);
        assert_true(batch_size(&h) <= records.len - at);
        if (ret->first < 0)
            ret->first = h.base_offset;
        else
            assert_int_equal(h.base_offset, ret->last + 1);
        ret->last = batch_last_offset(&h);
        at += batch_size(&h);
    }
}

void bw_fetched(struct bw_client *c, int32_t correlation, struct bw_fetched *ret, unsigned count)
{
    struct fetch_response in;
    struct fetch_response_fetchable_topic_response t;
    struct fetch_response_partition_data p;
    struct wire_cursor at;
    int32_t found;
    assert_true(bw_next(c, &found, &at));
    assert_int_equal(found, correlation);
    assert_true(fetch_response_read(&at, 4, &in));
    assert_true(fetch_response_fetchable_topic_response_next(&in.responses, 4, &t));
    for (unsigned i = 0; i < count; i++) {
        assert_true(fetch_response_partition_data_next(&t.partitions, 4, &p));
        ret[i] = (struct bw_fetched){.error = p.error_code, .high_watermark = p.high_watermark};
        look_at_records(p.records.at, &ret[i]);
    }
}

void bw_answer(struct bw_client *c, int32_t correlation, int16_t v, struct bw_answer *ret)
{
    struct fetch_response in;
    struct fetch_response_fetchable_topic_response t;
    struct fetch_response_partition_data p;
    struct bw_fetched records;
    struct wire_cursor at;
    int32_t found;
    assert_true(bw_next(c, &found, &at));
    assert_int_equal(found, correlation);
    if (v >= 12)
        assert_int_equal(wire_get_uvarint(&at), 0); /* the header's tags */
    assert_true(fetch_response_read(&at, v, &in));
    *ret = (struct bw_answer){.error = in.error_code, .session_id = in.session_id};
    for (; fetch_response_fetchable_topic_response_next(&in.responses, v, &t); ret->topics++) {
        while (fetch_response_partition_data_next(&t.partitions, v, &p)) {
            assert_true(ret->count < TIDE_ARRAY_LEN(ret->told));
            look_at_records(p.records.at, &records);
            ret->told[ret->count++] = (struct bw_told){.partition = p.partition_index,
                                                       .error = p.error_code,
                                                       .high_watermark = p.high_watermark,
                                                       .last_stable_offset = p.last_stable_offset,
                                                       .log_start = p.log_start_offset,
                                                       .preferred = p.preferred_read_replica,
                                                       .diverging_epoch = p.diverging_epoch.epoch,
                                                       .diverging_end = p.diverging_epoch.end_offset,
                                                       .leader = p.current_leader.leader_id,
                                                       .bytes = records.bytes,
                                                       .first = records.first,
                                                       .last = records.last};
        }
    }
}
