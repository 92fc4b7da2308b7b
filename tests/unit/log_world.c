/* SPDX-License-Identifier: Apache-2.0 */
#include "log_world.h"

#include "tidemark/bytes.h"

enum { BATCH_CAP = 1 << 20, READ_CAP = 4 << 20 };

static uint8_t scratch[BATCH_CAP];
static uint8_t answer[READ_CAP];
static struct memory_fs the_disk;

void world_init(struct world *w, uint64_t seed)
{
    static struct rte_mempool *input;
    unit_eal();
    if (input == NULL)
        input = unit_pool("log_input", 4096, 2048);
    memset(w, 0, sizeof(*w));
    w->input = input;
    w->disk = &the_disk;
    memory_fs_init(w->disk);
    w->core_config = (struct log_core_config){.core = 3,
                                              .tail_buffer_bytes = 8192,
                                              .tail_buffers = 32,
                                              .read_buffer_bytes = 16384,
                                              .read_buffers = 8,
                                              .aheads_out_max = 1,
                                              .read_piece_bytes = 8192,
                                              .index_chunks = 16,
                                              .views = 256,
                                              .counters = &w->counters};
    w->config = (struct log_config){.dir = WORLD_DIR,
                                    .topic_id = {{1, 2, 3}},
                                    .slot = 77,
                                    .segment_bytes = 65536,
                                    .segment_ms = 7 * 24 * 3600 * 1000ll,
                                    .index_interval_bytes = 1024,
                                    .preallocate_bytes = 16384,
                                    .durable = true};
    w->time = (struct tide_time){.now_ns = 1, .wall_ms = 1000000};
    w->random.state = seed;
    w->batches = calloc(WORLD_BATCHES, sizeof(*w->batches));
    w->core = log_core_create(&w->core_config);
    assert_non_null(w->core);
}

void world_forget(struct world *w, int64_t offset)
{
    while (w->batch_count != 0 && w->batches[w->batch_count - 1].last_offset >= offset)
        free(w->batches[--w->batch_count].bytes);
}

void world_deinit(struct world *w)
{
    if (w->log != NULL)
        world_crash(w, NULL);
    world_check_pools(w);
    world_forget(w, 0);
    free(w->batches);
    log_core_destroy(w->core);
    memory_fs_deinit(w->disk);
}

int64_t world_model_end(const struct world *w)
{
    return w->batch_count != 0 ? w->batches[w->batch_count - 1].last_offset + 1 : 0;
}

int world_open(struct world *w)
{
    w->log = log_create(&w->config);
    assert_non_null(w->log);
    int e = log_open(w->log, &w->disk->fs, 0, NULL, NULL, w->error, sizeof(w->error));
    if (e != 0) {
        log_destroy(w->log);
        w->log = NULL;
        return e;
    }
    log_check(w->log);
    log_adopt(w->log, w->core);
    return 0;
}

int world_close(struct world *w)
{
    while (!log_release(w->log, &w->out) || log_is_read(w->log))
        world_pump(w);
    log_check(w->log);
    int e = log_close(w->log, &w->disk->fs);
    log_destroy(w->log);
    w->log = NULL;
    return e;
}

void world_crash(struct world *w, struct tide_random *r)
{
    /* The pools live on in the test, so the log must let go of them. */
    log_core_lost(w->core);
    w->op_count = w->job_count = 0;
    w->log->write.out = false;
    w->log->extend_job.out = w->log->prepare_job.out = w->log->seal_job.out =
        w->log->epoch_job.out = w->log->trim_job.out = w->log->reap_job.out =
            w->log->truncate_job.out = w->log->checkpoint_job.out = false;
    if (w->log->state != LOG_FAILED)
        log_fail(w->log);
    assert_true(log_release(w->log, &w->out));
    (void)log_close(w->log, &w->disk->fs);
    log_destroy(w->log);
    w->log = NULL;
    w->out.op_count = w->out.job_count = 0;
    memory_fs_crash(w->disk, r);
}

static void take_out(struct world *w)
{
    for (uint32_t i = 0; i < w->out.op_count; i++) {
        assert_true(w->op_count < WORLD_OPS);
        w->ops[w->op_count++] = w->out.ops[i];
    }
    for (uint32_t i = 0; i < w->out.job_count; i++) {
        assert_true(w->job_count < WORLD_OPS);
        w->jobs[w->job_count++] = w->out.jobs[i];
    }
    w->out.op_count = w->out.job_count = 0;
}

static void complete(struct world *w, const struct disk_op *op)
{
    struct disk_done done = {.id = op->id, .result = memory_fs_disk(w->disk, op)};
    if (DISK_ID_OWNER(op->id) == DISK_OWNER_READ)
        log_read_on_disk(w->reading, &done);
    else if (DISK_ID_OWNER(op->id) == DISK_OWNER_AHEAD)
        log_core_on_disk(w->core, &done, &w->out);
    else
        (void)log_on_disk(w->log, &done, &w->out);
}

static bool step(struct world *w)
{
    take_out(w);
    for (unsigned i = 0; i < w->op_count; i++) {
        struct disk_op op = w->ops[i];
        if (w->hold_writes && op.kind == DISK_WRITE)
            continue;
        memmove(&w->ops[i], &w->ops[i + 1], (--w->op_count - i) * sizeof(w->ops[0]));
        complete(w, &op);
        return true;
    }
    if (w->job_count != 0 && !w->hold_jobs) {
        struct tide_job *job = w->jobs[0];
        memmove(&w->jobs[0], &w->jobs[1], --w->job_count * sizeof(w->jobs[0]));
        job->run(job, &w->disk->fs);
        log_on_job(w->log, job);
        return true;
    }
    return false;
}

void world_pump(struct world *w)
{
    w->time.now_ns += 1000;
    do {
        if (log_has_work(w->log))
            log_flush(w->log, &w->time, &w->out);
    } while (step(w));
}

void world_flush(struct world *w)
{
    log_flush(w->log, &w->time, &w->out);
    world_pump(w);
}

void world_begin_epoch(struct world *w, int32_t epoch)
{
    while (log_begin_epoch(w->log, epoch, &w->out) == TIDE_AGAIN)
        world_pump(w);
    assert_int_equal(log_begin_epoch(w->log, epoch, &w->out), TIDE_OK);
    assert_int_equal(log_last_epoch(w->log), epoch);
    w->epoch = epoch;
}

static size_t build(struct world *w, int32_t count, uint32_t value_bytes, int64_t timestamp)
{
    static uint8_t values[BATCH_CAP];
    static struct batch_build_record records[4096];
    assert_true(count <= 4096);
    for (uint32_t i = 0; i < value_bytes; i++)
        values[i] = (uint8_t)tide_random_u64(&w->random);
    for (int32_t i = 0; i < count; i++)
        records[i] =
            (struct batch_build_record){.timestamp = timestamp + i,
                                        .value = values + i * (value_bytes / (uint32_t)count),
                                        .value_len = (int32_t)(value_bytes / (uint32_t)count)};
    size_t size = batch_build(scratch, sizeof(scratch), records, count, -1, -1, -1);
    assert_true(size != 0);
    return size;
}

/* As frames bring it: pieces of uneven sizes. */
static struct tide_rope rope_of(struct world *w, const uint8_t *bytes, size_t len)
{
    struct tide_rope rope = {0};
    while (len != 0) {
        struct rte_mbuf *m = rte_pktmbuf_alloc(w->input);
        assert_non_null(m);
        size_t n = 1 + tide_random_below(&w->random, len < 64 ? len : 2048);
        n = n < len ? n : len;
        memcpy(rte_pktmbuf_append(m, (uint16_t)n), bytes, n);
        tide_rope_push(&rope, m);
        bytes += n;
        len -= n;
    }
    return rope;
}

static void model_add(struct world *w, const struct batch_header *h, size_t size)
{
    assert_true(w->batch_count < WORLD_BATCHES);
    struct world_batch *b = &w->batches[w->batch_count];
    int64_t base = world_model_end(w);
    *b = (struct world_batch){.base_offset = base,
                              .last_offset = base + h->last_offset_delta,
                              .max_timestamp = h->max_timestamp,
                              .epoch = w->epoch,
                              .size = (uint32_t)size,
                              .bytes = malloc(size)};
    assert_non_null(b->bytes);
    memcpy(b->bytes, scratch, size);
    store_be64(b->bytes + BATCH_BASE_OFFSET, (uint64_t)base);
    store_be32(b->bytes + BATCH_LEADER_EPOCH, (uint32_t)w->epoch);
    w->batch_count++;
}

static enum tide_status append(struct world *w, int32_t count, uint32_t value_bytes,
                               int64_t timestamp, bool wait)
{
    size_t size = build(w, count, value_bytes, timestamp);
    struct batch_header h;
    batch_header_parse(scratch, &h);
    enum tide_status status =
        log_make_room(w->log, &w->time, (uint32_t)size, h.max_timestamp, &w->out);
    for (int i = 0; wait && status == TIDE_FULL && i < 50; i++) {
        world_pump(w);
        status = log_make_room(w->log, &w->time, (uint32_t)size, h.max_timestamp, &w->out);
    }
    if (status != TIDE_OK)
        return status;
    struct tide_rope rope = rope_of(w, scratch, size);
    status =
        log_append(w->log, tide_rope_slice(&rope, 0, rope.len), &h, world_model_end(w), w->epoch);
    tide_rope_clear(&rope);
    assert_int_equal(status, TIDE_OK);
    model_add(w, &h, size);
    return TIDE_OK;
}

enum tide_status world_append(struct world *w, int32_t count, uint32_t value_bytes,
                              int64_t timestamp)
{
    return append(w, count, value_bytes, timestamp, true);
}

enum tide_status world_append_once(struct world *w, int32_t count, uint32_t value_bytes,
                                   int64_t timestamp)
{
    return append(w, count, value_bytes, timestamp, false);
}

void world_room(struct world *w, uint32_t bytes, int64_t timestamp)
{
    enum tide_status status;
    while ((status = log_make_room(w->log, &w->time, bytes, timestamp, &w->out)) == TIDE_FULL)
        world_pump(w);
    assert_int_equal(status, TIDE_OK);
}

enum tide_status world_read(struct world *w, struct log_read *r, uint8_t *to, size_t cap,
                            size_t *ret_len)
{
    enum tide_status status;
    w->reading = r;
    while ((status = log_read(w->log, w->core, 5, r, &w->out)) == TIDE_AGAIN)
        (void)step(w);
    if (status != TIDE_OK) {
        log_read_abandon(w->core, r);
        assert_int_equal(r->bytes.len, 0);
        return status;
    }
    *ret_len = r->bytes.len;
    assert_true(r->bytes.len <= cap);
    if (r->bytes.len != 0)
        tide_slice_copy(tide_rope_slice(&r->bytes, 0, r->bytes.len), to);
    tide_rope_clear(&r->bytes);
    return status;
}

static unsigned model_find(const struct world *w, int64_t offset)
{
    unsigned lo = 0, hi = w->batch_count;
    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;
        if (w->batches[mid].last_offset < offset)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Returns the number of batches that came. */
static unsigned check_read(struct world *w, int64_t offset, int64_t end, uint32_t max_bytes,
                           bool at_least_one)
{
    struct log_read r = {
        .offset = offset, .end_offset = end, .max_bytes = max_bytes, .at_least_one = at_least_one};
    size_t len = 0;
    enum tide_status status = world_read(w, &r, answer, sizeof(answer), &len);
    for (int i = 0; status == TIDE_FULL && i < 10; i++) {
        world_pump(w);
        status = world_read(w, &r, answer, sizeof(answer), &len);
    }
    assert_int_equal(status, TIDE_OK);
    unsigned i = model_find(w, offset);
    unsigned first = i;
    for (size_t at = 0; at < len; at += w->batches[i].size, i++) {
        assert_true(i < w->batch_count);
        assert_true(at + w->batches[i].size <= len);
        assert_memory_equal(answer + at, w->batches[i].bytes, w->batches[i].size);
        assert_true(w->batches[i].last_offset < end);
    }
    if (len > max_bytes) {
        assert_true(at_least_one);
        assert_int_equal(i - first, 1);
    }
    bool due = first < w->batch_count && w->batches[first].last_offset < end &&
               (at_least_one || w->batches[first].size <= max_bytes);
    assert_int_equal(due, len != 0);
    return i - first;
}

void world_check_read(struct world *w, int64_t offset, int64_t end, uint32_t max_bytes,
                      bool at_least_one)
{
    (void)check_read(w, offset, end, max_bytes, at_least_one);
}

void world_check_all(struct world *w, int64_t from, int64_t end)
{
    unsigned i = model_find(w, from);
    while (i < w->batch_count && w->batches[i].last_offset < end) {
        unsigned n = check_read(w, w->batches[i].base_offset, end, 100000, true);
        assert_true(n > 0);
        i += n;
    }
}

void world_check_pools(struct world *w)
{
    struct log_core_free f = log_core_free_now(w->core);
    log_core_check(w->core);
    assert_int_equal(f.tails + w->core->attached_count, w->core_config.tail_buffers);
    assert_int_equal(f.reads, w->core_config.read_buffers);
    assert_int_equal(f.views, w->core_config.views);
    assert_int_equal(f.leases, 2 * w->core_config.views);
    if (w->log == NULL) {
        assert_int_equal(f.tails, w->core_config.tail_buffers);
        assert_int_equal(f.chunks, w->core_config.index_chunks);
    }
}
