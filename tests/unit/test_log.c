/* SPDX-License-Identifier: Apache-2.0 */
#include "log_world.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include <zlib.h>

#include "log/ahead.h"
#include "log/append.h"
#include "tidemark/bytes.h"

static struct world world;

static int start(void **state)
{
    world_init(&world, 1);
    *state = &world;
    return 0;
}

static int stop(void **state)
{
    world_deinit(&world);
    return 0;
}

/* ---- appending and writing ---- */

static void test_append_is_durable_after_its_write(void **state)
{
    struct world *w = *state;
    struct log_buffer *used[32];
    for (unsigned i = 0; i < 32; i++) { /* buffers come with old bytes in them */
        used[i] = log_tail_buffer_take(w->core, NULL);
        memset(used[i]->base, 0xdb, used[i]->size);
    }
    for (unsigned i = 0; i < 32; i++)
        log_buffer_drop(used[i]);
    assert_int_equal(world_open(w), 0);
    assert_string_equal(log_recovery_label(w->log), "new");
    world_begin_epoch(w, 4);
    w->hold_writes = true;
    assert_int_equal(world_append(w, 3, 300, 1000), TIDE_OK);
    assert_int_equal(log_next_offset(w->log), 3);
    assert_int_equal(log_durable_end(w->log), 0);
    assert_true(log_has_work(w->log));
    world_flush(w);
    assert_int_equal(w->op_count, 1);
    assert_true(w->ops[0].durable);
    assert_int_equal(w->ops[0].len, TIDE_BLOCK);
    assert_int_equal(DISK_ID_SLOT(w->ops[0].id), 77);

    /* What arrives meanwhile waits, and goes out together. */
    assert_int_equal(world_append(w, 2, 100, 1000), TIDE_OK);
    assert_int_equal(world_append(w, 1, 6000, 1000), TIDE_OK);
    world_flush(w);
    assert_int_equal(w->op_count, 1);
    struct disk_op op = w->ops[0];
    w->op_count = 0;
    assert_int_equal(memory_fs_disk(w->disk, &op), op.len);
    assert_true(log_on_disk(w->log, &(struct disk_done){.id = op.id, .result = op.len}, &w->out));
    assert_int_equal(log_durable_end(w->log), 3);
    /* The same completion once more is nobody's. */
    assert_false(log_on_disk(w->log, &(struct disk_done){.id = op.id, .result = op.len}, &w->out));
    assert_int_equal(w->out.op_count, 1);
    assert_int_equal(w->out.ops[0].position, 0);
    assert_int_equal(w->out.ops[0].len, 2 * TIDE_BLOCK);
    w->hold_writes = false;
    world_pump(w);
    assert_int_equal(log_durable_end(w->log), 6);
    assert_false(log_has_work(w->log));
    world_check_all(w, 0, 6);
    assert_int_equal(log_size_bytes(w->log),
                     w->batches[0].size + w->batches[1].size + w->batches[2].size);
    log_check(w->log);
    /* The rest of the last block is zero, whatever the buffer held before. */
    struct memory_file *f = memory_fs_find(w->disk, WORLD_DIR "/00000000000000000000.log");
    for (uint32_t i = w->log->position; i < f->size; i++)
        assert_int_equal(f->bytes[i], 0);
}

static void test_bad_crc_leaves_no_trace(void **state)
{
    struct world *w = *state;
    uint8_t bytes[512];
    struct batch_build_record record = {.timestamp = 5, .value = "abc", .value_len = 3};
    struct batch_header h;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 0);
    assert_int_equal(world_append(w, 1, 100, 5), TIDE_OK);
    size_t n = batch_build(bytes, sizeof(bytes), &record, 1, -1, -1, -1);
    for (size_t at = BATCH_ATTRIBUTES; at < n; at++) {
        struct tide_rope rope = {0};
        bytes[at] ^= 0x10;
        batch_header_parse(bytes, &h);
        tide_rope_push(&rope, unit_exact_mbuf(w->input, bytes, (uint16_t)n));
        assert_int_equal(log_make_room(w->log, &w->time, (uint32_t)n, 5, &w->out), TIDE_OK);
        assert_int_not_equal(log_append(w->log, tide_rope_slice(&rope, 0, rope.len), &h, 1, 0),
                             TIDE_OK);
        tide_rope_clear(&rope);
        bytes[at] ^= 0x10;
        assert_int_equal(log_next_offset(w->log), 1);
    }
    world_flush(w);
    assert_int_equal(world_append(w, 1, 100, 5), TIDE_OK);
    world_flush(w);
    world_check_all(w, 0, 2);
}

static void test_stamped(void **state)
{
    struct world *w = *state;
    uint8_t bytes[12288];
    static char value[10000];
    struct batch_build_record record = {.timestamp = 5, .value = value, .value_len = sizeof(value)};
    struct batch_header h;
    struct log_stamp stamp = {.attributes = BATCH_LOG_APPEND_TIME, .max_timestamp = 123456};
    struct tide_rope rope = {0};
    size_t len;
    assert_int_equal(world_open(w), 0);
    size_t n = batch_build(bytes, sizeof(bytes), &record, 1, -1, -1, -1);
    batch_header_parse(bytes, &h);
    tide_rope_push(&rope, unit_exact_mbuf(w->input, bytes, (uint16_t)n));
    world_room(w, (uint32_t)n, 5);
    assert_int_equal(
        log_append_stamped(w->log, tide_rope_slice(&rope, 0, rope.len), &h, 0, 9, &stamp), TIDE_OK);
    tide_rope_clear(&rope);
    world_flush(w);
    struct log_read r = {.offset = 0, .end_offset = 1, .max_bytes = sizeof(bytes)};
    assert_int_equal(world_read(w, &r, bytes, sizeof(bytes), &len), TIDE_OK);
    assert_int_equal(len, n);
    batch_header_parse(bytes, &h);
    assert_int_equal(h.max_timestamp, 123456);
    assert_int_equal(h.attributes, BATCH_LOG_APPEND_TIME);
    assert_int_equal(h.leader_epoch, 9);
    assert_int_equal(h.crc, batch_crc_update(0, bytes + BATCH_ATTRIBUTES, n - BATCH_ATTRIBUTES));
}

static void test_refusals(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), 0);
    uint32_t max = log_batch_bytes_max(w->log);
    assert_true(max > 40000 && max <= 65536);
    assert_int_equal(log_make_room(w->log, &w->time, max + 1, 0, &w->out), TIDE_REFUSED);
    assert_int_equal(log_make_room(w->log, &w->time, 60, 0, &w->out), TIDE_REFUSED);
    assert_int_equal(world_append(w, 1, max - 100, 0), TIDE_OK);
    world_flush(w);
    world_check_all(w, 0, 1);
}

static void test_short_and_failed_writes(void **state)
{
    static const struct {
        int64_t result;
        bool fails;
    } cases[] = {
        {4096, false}, {8192, false}, {0, true},     {-EIO, true},      {-ENOSPC, true},
        {512, true},   {4095, true},  {20480, true}, {INT64_MAX, true},
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(world_open(w), 0);
        if (w->batch_count == 0)
            world_begin_epoch(w, 0);
        while (w->log->position % 8192 > 1000)
            assert_int_equal(world_append(w, 1, 100, 0), TIDE_OK);
        world_flush(w);
        int64_t before = log_durable_end(w->log);
        w->hold_writes = true;
        assert_int_equal(world_append(w, 1, 7000, 0), TIDE_OK);
        world_flush(w);
        assert_int_equal(w->op_count, 1);
        struct disk_op op = w->ops[0];
        assert_int_equal(op.len, 8192);
        w->op_count = 0;
        int64_t result = cases[i].result == 8192 ? op.len : cases[i].result;
        if (!cases[i].fails) {
            struct disk_op part = op;
            part.len = (uint32_t)result;
            memory_fs_disk(w->disk, &part);
        }
        bool rose =
            log_on_disk(w->log, &(struct disk_done){.id = op.id, .result = result}, &w->out);
        assert_int_equal(log_is_failed(w->log), cases[i].fails);
        if (cases[i].fails) {
            assert_false(rose);
            assert_int_equal(log_durable_end(w->log), before);
            assert_int_equal(w->out.op_count, 0);
            log_flush(w->log, &w->time, &w->out);
            assert_int_equal(w->out.op_count, 0); /* P11 */
            assert_int_equal(log_make_room(w->log, &w->time, 100, 0, &w->out), TIDE_IO);
            world_check_all(w, 0, before);
        }
        w->hold_writes = false;
        if (!cases[i].fails) {
            world_pump(w);
            assert_int_equal(log_durable_end(w->log), log_next_offset(w->log));
        }
        int64_t durable = log_durable_end(w->log);
        world_crash(w, NULL);
        world_forget(w, durable);
    }
}

static void test_out_without_room(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), 0);
    assert_int_equal(world_append(w, 1, 100, 0), TIDE_OK);
    w->out.op_count = TIDE_OUT_OPS;
    w->out.job_count = TIDE_OUT_JOBS;
    log_flush(w->log, &w->time, &w->out);
    assert_int_equal(log_begin_epoch(w->log, 5, &w->out), TIDE_AGAIN);
    assert_int_equal(w->out.op_count, TIDE_OUT_OPS);
    assert_int_equal(w->out.job_count, TIDE_OUT_JOBS);
    struct log_read r = {.offset = 0, .end_offset = 1, .max_bytes = 1000};
    size_t len;
    uint8_t to[1000];
    assert_int_equal(world_read(w, &r, to, sizeof(to), &len), TIDE_OK); /* memory needs no room */
    w->out.op_count = w->out.job_count = 0;
    assert_true(log_has_work(w->log));
    world_flush(w);
    assert_int_equal(log_durable_end(w->log), 1);
}

/* ---- buffers ---- */

static void test_batches_span_buffers(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    for (uint32_t i = 0; i < 40; i++)
        assert_int_equal(world_append(w, 1 + (int32_t)(i % 5), 1 + i * 977 % 30000, i), TIDE_OK);
    world_check_all(w, 0, world_model_end(w));
    world_flush(w);
    world_check_all(w, 0, world_model_end(w));
    assert_int_equal(log_durable_end(w->log), world_model_end(w));
}

/* A reader that keeps its views cannot starve the log, and its bytes stay. */
static void test_slow_reader_cannot_take_all_buffers(void **state)
{
    struct world *w = *state;
    static struct log_read reads[64]; /* there are 32 buffers */
    unsigned held = 0;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    for (unsigned i = 0; i < 200; i++) {
        assert_int_equal(world_append(w, 1, 7000, 0), TIDE_OK);
        world_flush(w);
        if (held == 64)
            continue;
        struct log_read *r = &reads[held];
        *r = (struct log_read){.offset = i, .end_offset = i + 1, .max_bytes = 10000};
        if (log_read(w->log, w->core, 5, r, &w->out) == TIDE_OK) {
            assert_int_equal(r->bytes.len, w->batches[i].size);
            held++;
        } else if (r->state != 0) {
            w->reading = r;
            world_pump(w);
            log_read_abandon(w->core, r);
        }
    }
    assert_int_equal(log_durable_end(w->log), 200);
    assert_true(held >= 16 && held < 32);
    for (unsigned k = 0; k < held; k++) {
        uint8_t bytes[8192];
        uint32_t len = reads[k].bytes.len;
        tide_slice_copy(tide_rope_slice(&reads[k].bytes, 0, len), bytes);
        assert_memory_equal(bytes, w->batches[reads[k].offset].bytes, len);
        tide_rope_clear(&reads[k].bytes);
    }
    world_check_all(w, 0, 200);
    world_check_pools(w);
}

/* An idle log's buffer goes to a busy one; the idle one continues in a fresh buffer. */
static void test_idle_log_gives_its_buffer(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    assert_int_equal(world_append(w, 2, 5000, 0), TIDE_OK);
    world_flush(w);
    assert_int_equal(w->core->attached_count, 1);
    tail_drop_slot(w->log, w->core->attached.tqh_first->slot);
    assert_int_equal(w->core->attached_count, 0);
    world_check_all(w, 0, 2); /* from disk */
    assert_int_equal(world_append(w, 2, 100, 0), TIDE_OK);
    assert_int_equal(w->core->attached_count, 1);
    world_check_read(w, 2, 4, 1000, false); /* from memory */
    assert_true(w->counters.values[COUNTER_fetch_tail_bytes] != 0);
    world_flush(w);
    tail_drop_slot(w->log, w->core->attached.tqh_first->slot);
    world_check_all(w, 0, 4);
    assert_int_equal(world_append(w, 1, 20000, 0), TIDE_OK);
    world_flush(w);
    world_check_all(w, 0, 5);
}

static void test_no_buffers_is_an_ordinary_answer(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 0);
    w->hold_writes = true;
    unsigned n = 0;
    enum tide_status status;
    while ((status = world_append(w, 1, 8000, 0)) == TIDE_OK)
        n++;
    assert_int_equal(status, TIDE_FULL);
    assert_true(n >= 6);
    world_check_all(w, 0, n);
    w->hold_writes = false;
    (void)log_wants_retry(w->log);
    world_pump(w);
    assert_true(log_wants_retry(w->log));
    assert_int_equal(world_append(w, 1, 8000, 0), TIDE_OK);
    world_flush(w);
    world_check_all(w, 0, n + 1);
}

/* More windows than slots, none of them written. */
static void test_more_windows_than_slots(void **state)
{
    struct world *w = *state;
    log_core_destroy(w->core);
    w->core_config.tail_buffer_bytes = 4096;
    w->core_config.tail_buffers = 300;
    w->core = log_core_create(&w->core_config);
    assert_non_null(w->core);
    w->config.segment_bytes = 4 << 20;
    w->config.preallocate_bytes = 1 << 20;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 0);
    w->hold_writes = true;
    enum tide_status status;
    while ((status = world_append(w, 1, 3000, 0)) == TIDE_OK)
        assert_true(w->log->position < LOG_TAIL_SLOTS * 4096);
    assert_int_equal(status, TIDE_FULL);
    assert_true(w->log->position > (LOG_TAIL_SLOTS - 2) * 4096);
    log_check(w->log);
    world_check_all(w, 0, world_model_end(w));
    w->hold_writes = false;
    world_pump(w);
    assert_int_equal(log_durable_end(w->log), world_model_end(w));
    for (unsigned i = 0; i < 300; i++) {
        assert_int_equal(world_append(w, 1, 3000, 0), TIDE_OK);
        world_flush(w);
    }
    world_check_all(w, 0, world_model_end(w));
}

/* ---- rolling ---- */

static void test_many_segments(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    for (unsigned i = 0; i < 300; i++)
        assert_int_equal(world_append(w, 3, 5000 + i, i), TIDE_OK);
    world_flush(w);
    assert_true(w->log->active >= 20);
    assert_int_equal(w->counters.values[COUNTER_log_rolls], w->log->active);
    for (uint32_t n = 0; n < w->log->active; n++)
        assert_int_equal(tide_pub64_peek(&log_segment_at(w->log, n)->state), LOG_SEGMENT_CLOSED);
    world_check_all(w, 0, 900);
    for (int64_t offset = 0; offset < 900; offset += 7)
        world_check_read(w, offset, 900, 20000, false);
    log_check(w->log);
    assert_int_equal(world_close(w), 0);
    assert_int_equal(memory_fs_open_handles(w->disk), 0);
    assert_int_equal(world_open(w), 0);
    assert_string_equal(log_recovery_label(w->log), "clean end");
    assert_int_equal(log_next_offset(w->log), 900);
    world_check_all(w, 0, 900);
}

static void test_roll_by_time(void **state)
{
    struct world *w = *state;
    w->config.segment_ms = 1000;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    assert_int_equal(world_append(w, 1, 100, 5000), TIDE_OK);
    assert_int_equal(world_append(w, 1, 100, 6000), TIDE_OK);
    assert_int_equal(w->log->active, 0);
    assert_int_equal(world_append(w, 1, 100, 6001), TIDE_OK);
    assert_int_equal(w->log->active, 1);
    assert_int_equal(world_append(w, 1, 100, -1), TIDE_OK); /* no timestamps: the broker's clock */
    assert_int_equal(w->log->active, 1);
    w->time.wall_ms += 1001;
    assert_int_equal(world_append(w, 1, 100, -1), TIDE_OK);
    assert_int_equal(w->log->active, 2);
    w->time.wall_ms -= 100000; /* a clock that went back rolls nothing */
    assert_int_equal(world_append(w, 1, 100, -1), TIDE_OK);
    assert_int_equal(w->log->active, 2);
    world_flush(w);
    world_check_all(w, 0, 6);
}

/* Another size of segments while the log is in use: of the next segment, or of this one when it is empty. */
static void test_roll_by_another_size(void **state)
{
    struct world *w = *state;
    uint64_t before;
    assert_int_equal(world_open(w), 0);
    before = w->log->config.segment_bytes;
    world_begin_epoch(w, 1);
    log_configure(w->log, before / 2, 0, 100); /* empty: at once */
    assert_int_equal(w->log->config.segment_bytes, before / 2);
    assert_int_equal(w->log->index[0].interval, 100);
    log_check(w->log);
    log_configure(w->log, before, 0, 4096);
    while (w->log->position < before / 2)
        assert_int_equal(world_append(w, 1, 1000, 5000), TIDE_OK);
    log_configure(w->log, before / 4, 1000, 4096); /* shrinks: this segment keeps its size */
    assert_int_equal(w->log->config.segment_bytes, before);
    while (w->log->active == 0)
        assert_int_equal(world_append(w, 1, 1000, 5000), TIDE_OK);
    assert_true(log_segment_at(w->log, 0)->size > before / 2);
    assert_int_equal(w->log->config.segment_bytes, before / 4);
    log_check(w->log);
    while (w->log->active == 1)
        assert_int_equal(world_append(w, 1, 1000, 5000), TIDE_OK);
    assert_true(log_segment_at(w->log, 1)->size <= before / 4);
    log_configure(w->log, 2 * before, 1000, 4096); /* grows */
    while (w->log->active <= 3)
        assert_int_equal(world_append(w, 1, 1000, 5000), TIDE_OK);
    assert_true(log_segment_at(w->log, 2)->size <= before / 4);
    assert_true(log_segment_at(w->log, 3)->size > before);
    log_check(w->log);
    assert_int_equal(world_append(w, 1, 100, 6001), TIDE_OK); /* the time counts at once */
    assert_int_equal(w->log->active, 5);
    world_flush(w);
    world_check_all(w, 0, log_next_offset(w->log));
}

/* It rolls while a batch waits behind a write, and nothing comes after it: with that batch written none waits (L1). */
static void test_roll_with_a_batch_that_waits(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    assert_int_equal(world_append(w, 1, 100, 5000), TIDE_OK);
    log_prepare_start(w->log, &w->out);
    world_flush(w);
    assert_true(w->log->prepared);
    w->hold_writes = true;
    assert_int_equal(world_append_once(w, 1, 100, 5000), TIDE_OK);
    world_flush(w);
    assert_int_equal(w->op_count, 1);
    w->core->time.now_ns = 7;
    assert_int_equal(world_append_once(w, 1, 100, 5000), TIDE_OK);
    assert_int_equal(w->log->unwritten_ns, 7);
    w->log->roll_wanted = true;
    log_flush(w->log, &w->time, &w->out);
    assert_int_equal(w->log->active, 1);
    assert_int_equal(w->log->position, 0);
    w->hold_writes = false;
    world_flush(w);
    assert_int_equal(log_durable_end(w->log), 3);
    assert_int_equal(w->log->unwritten_ns, 0);
    log_check(w->log);
    world_check_all(w, 0, 3);
}

/* The helper still extends the file of the segment that is rolled away from. */
static void test_roll_while_extending(void **state)
{
    struct world *w = *state;
    w->config.segment_ms = 1000;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    assert_int_equal(world_append(w, 1, 100, 5000), TIDE_OK);
    log_prepare_start(w->log, &w->out);
    world_flush(w);
    assert_true(w->log->prepared);
    w->hold_jobs = true;
    log_ahead_for(w->log, w->log->zeroed_end + 1, &w->out);
    assert_int_equal(world_append(w, 1, 100, 9000), TIDE_OK);
    world_flush(w);
    assert_int_equal(w->log->active, 1);
    assert_int_equal(log_durable_end(w->log), 2);
    assert_int_equal(w->log->zeroed_end, 4096);
    assert_int_equal(w->log->extend_job.to, 20480);
    assert_int_equal(w->job_count,
                     1); /* not sealed yet: the job would cut the file under the other */
    assert_ptr_equal(w->jobs[0], &w->log->extend_job.job);
    w->hold_jobs = false;
    world_pump(w);
    assert_int_equal(w->log->zeroed_end, 16384); /* of the new file */
    world_pump(w);
    assert_int_equal(tide_pub64_peek(&log_segment_at(w->log, 0)->state), LOG_SEGMENT_CLOSED);
    assert_int_equal(memory_fs_find(w->disk, WORLD_DIR "/00000000000000000000.log")->size,
                     w->batches[0].size);
    world_check_all(w, 0, 2);
}

static void test_small_topic_stays_small(void **state)
{
    struct world *w = *state;
    w->config.segment_bytes = 1 << 20;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    assert_int_equal(world_append(w, 1, 100, 0), TIDE_OK);
    world_flush(w);
    assert_int_equal(memory_fs_find(w->disk, WORLD_DIR "/00000000000000000000.log")->size, 16384);
    assert_null(memory_fs_find(w->disk, WORLD_DIR "/next.prepared"));
    for (unsigned i = 0; i < 30; i++)
        assert_int_equal(world_append(w, 1, 7000, 0), TIDE_OK);
    world_flush(w);
    size_t size = memory_fs_find(w->disk, WORLD_DIR "/00000000000000000000.log")->size;
    assert_true(size >= w->log->position && size <= w->log->position + w->log->ahead_max);
}

/* Zeroes are for the journal that a durable write would wait for. */
static void test_without_durable_writes_each_byte_goes_once(void **state)
{
    struct world *w = *state;
    w->config.durable = false;
    w->config.segment_bytes = 1 << 20;
    w->config.preallocate_bytes = 256 << 10;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    unsigned long before = w->disk->bytes_written;
    for (unsigned i = 0; i < 200; i++)
        assert_int_equal(world_append(w, 1, 7000, 0), TIDE_OK);
    world_flush(w);
    uint64_t held = (uint64_t)log_size_bytes(w->log);
    assert_true(w->log->active == 1 && held > 1400000);
    assert_true(w->disk->bytes_written - before < held + held / 4); /* blocks that were not full are written again */
    world_check_all(w, 0, 200);
    w->disk->free_bytes = 0; /* and a full disk is met before an append, not by a write */
    enum tide_status status = TIDE_OK;
    for (unsigned i = 0; i < 400 && status == TIDE_OK; i++) {
        status = world_append_once(w, 1, 7000, 0);
        world_pump(w);
    }
    assert_int_equal(status, TIDE_FULL);
    assert_int_equal(w->log->state, LOG_RUNNING);
    world_crash(w, NULL);
    assert_int_equal(world_open(w), 0);
}

/* Each step of sealing finds the disk full once: it is repeated a second later, and all is as ever. */
static void test_disk_full_while_sealing(void **state)
{
    struct world *w = *state;
    w->config.segment_ms = 1000;
    w->config.preallocate_bytes = TIDE_BLOCK; /* no piece is due beside the seal */
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    unsigned refused = 0;
    assert_int_equal(world_append(w, 1, 100, w->time.wall_ms), TIDE_OK);
    for (unsigned step = 1; step <= 12; step++) {
        w->hold_jobs = true;
        while (w->log->position == 0)
            assert_int_equal(world_append(w, 1, 100, w->time.wall_ms), TIDE_OK);
        w->time.wall_ms += 5000;
        log_prepare_start(w->log, &w->out);
        w->hold_jobs = false;
        world_pump(w);
        w->hold_jobs = true;
        assert_int_equal(world_append(w, 1, 100, w->time.wall_ms), TIDE_OK);
        world_flush(w);
        assert_int_equal(w->job_count, 1);
        assert_ptr_equal(w->jobs[0], &w->log->seal_job.job);
        w->disk->fail_at = w->disk->operations + step;
        w->disk->error = -ENOSPC;
        w->hold_jobs = false;
        world_pump(w);
        w->disk->fail_at = 0;
        assert_false(log_is_failed(w->log));
        if (w->log->seal_wanted) {
            refused++;
            assert_false(log_has_work(w->log)); /* not before a second is over */
            world_check_all(w, 0, log_next_offset(w->log));
            w->time.now_ns += 1000000000;
            world_flush(w);
            world_pump(w);
        }
        assert_false(w->log->seal_wanted);
        assert_int_equal(tide_pub64_peek(&log_segment_at(w->log, w->log->active - 1)->state), LOG_SEGMENT_CLOSED);
    }
    assert_true(refused >= 6);
    int64_t end = log_next_offset(w->log);
    world_check_all(w, 0, end);
    assert_int_equal(world_close(w), 0);
    assert_int_equal(world_open(w), 0);
    assert_int_equal(log_next_offset(w->log), end);
    world_check_all(w, 0, end);
}

static void test_disk_full(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    assert_int_equal(world_append(w, 1, 3000, 0), TIDE_OK);
    world_flush(w);
    w->disk->free_bytes = 0;
    unsigned n = 1;
    while (world_append(w, 1, 3000, 0) == TIDE_OK)
        n++;
    assert_true(n >= 4 && n < 10);
    assert_false(log_is_failed(w->log));
    world_flush(w);
    assert_false(log_has_work(w->log));
    assert_int_equal(log_durable_end(w->log), n);
    world_check_all(w, 0, n);
    assert_int_equal(world_append(w, 1, 3000, 0), TIDE_FULL);
    w->disk->free_bytes = -1;
    w->time.now_ns += 2 * TIDE_NS_PER_S;
    assert_int_equal(world_append(w, 1, 3000, 0), TIDE_OK);
    world_flush(w);
    world_check_all(w, 0, n + 1);
}

static void test_failed_jobs(void **state)
{
    struct world *w = *state;
    unsigned failed = 0;
    for (unsigned long nth = 1; nth < 400; nth++) {
        assert_int_equal(world_open(w), 0);
        world_begin_epoch(w, w->epoch + 1);
        w->disk->fail_at = w->disk->operations + nth;
        enum tide_status status = TIDE_OK;
        for (unsigned i = 0; i < 20 && status == TIDE_OK; i++) {
            status = world_append(w, 1, 7000, 0);
            world_flush(w);
        }
        failed += log_is_failed(w->log);
        assert_true(status == TIDE_OK || log_is_failed(w->log));
        world_check_all(w, 0, log_durable_end(w->log));
        int64_t durable = log_durable_end(w->log);
        w->disk->fail_at = 0;
        world_crash(w, NULL);
        world_forget(w, durable);
        if (nth % 20 == 0) { /* a fresh directory, or it grows without end */
            world_forget(w, 0);
            memory_fs_deinit(w->disk);
            memory_fs_init(w->disk);
        }
    }
    assert_true(failed > 50);
}

/* ---- reading ---- */

static void test_read_limits(void **state)
{
    struct world *w = *state;
    uint8_t to[16];
    size_t len;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(world_append(w, 10, 1000, i), TIDE_OK);
    for (int flushed = 0; flushed < 3; flushed++) {
        for (int64_t offset = 0; offset <= 100; offset++) {
            for (int64_t end = 0; end <= 100; end += 5) {
                world_check_read(w, offset, end, 0, false);
                world_check_read(w, offset, end, 1, true);
                world_check_read(w, offset, end, 3000, false);
                world_check_read(w, offset, end, 1 << 30, true);
            }
        }
        world_flush(w);
        if (flushed == 1)
            tail_drop_all(w->log);
    }
    struct log_read r = {.offset = -1, .end_offset = 100, .max_bytes = 1000};
    assert_int_equal(world_read(w, &r, to, sizeof(to), &len), TIDE_ABSENT);
    r = (struct log_read){.offset = 1000, .end_offset = 2000, .max_bytes = 1000};
    assert_int_equal(world_read(w, &r, to, sizeof(to), &len), TIDE_OK);
    assert_int_equal(len, 0);
}

static void test_large_batch_from_disk(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    assert_int_equal(world_append(w, 5, 333, 0), TIDE_OK);
    assert_int_equal(world_append(w, 1, 40000, 0), TIDE_OK);
    assert_int_equal(world_append(w, 1, 17000, 0), TIDE_OK);
    world_flush(w);
    tail_drop_all(w->log);
    world_check_read(w, 5, 7, 1000, true);
    world_check_read(w, 5, 7, 1000, false);
    world_check_read(w, 5, 7, 100000, false);
    world_check_read(w, 6, 7, 100000, false);
    world_check_read(w, 0, 7, 100000, false);
    world_check_pools(w);
}

static void test_short_and_failed_reads(void **state)
{
    struct world *w = *state;
    uint8_t to[65536];
    size_t len;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(world_append(w, 1, 9000, i), TIDE_OK);
    world_flush(w);
    tail_drop_all(w->log);
    static const int64_t results[] = {-EIO, 0, 100, 5000, 1 << 20, INT64_MAX};
    for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
        struct log_read r = {.offset = 0, .end_offset = 4, .max_bytes = 50000};
        assert_int_equal(log_read(w->log, w->core, 5, &r, &w->out), TIDE_AGAIN);
        assert_int_equal(w->out.op_count, 1);
        w->out.op_count = 0;
        assert_int_equal(log_read(w->log, w->core, 5, &r, &w->out), TIDE_AGAIN);
        log_read_on_disk(&r,
                         &(struct disk_done){.id = r.disk_id + 1, .result = 8192}); /* not ours */
        assert_int_equal(log_read(w->log, w->core, 5, &r, &w->out), TIDE_AGAIN);
        log_read_on_disk(&r, &(struct disk_done){.id = r.disk_id, .result = results[i]});
        assert_int_equal(log_read(w->log, w->core, 5, &r, &w->out), TIDE_IO);
        log_read_abandon(w->core, &r);
        world_check_pools(w);
    }
    /* Aligned pieces, one block at a time. */
    struct log_read r = {.offset = 0, .end_offset = 4, .max_bytes = 50000};
    enum tide_status status;
    unsigned ops = 0;
    while ((status = log_read(w->log, w->core, 5, &r, &w->out)) == TIDE_AGAIN) {
        struct disk_op op = w->out.ops[0];
        assert_int_equal(w->out.op_count, 1);
        w->out.op_count = 0;
        op.len = TIDE_BLOCK;
        log_read_on_disk(&r,
                         &(struct disk_done){.id = op.id, .result = memory_fs_disk(w->disk, &op)});
        ops++;
    }
    assert_int_equal(status, TIDE_OK);
    assert_true(ops >= 4);
    assert_true(r.bytes.len >= w->batches[0].size);
    tide_slice_copy(tide_rope_slice(&r.bytes, 0, w->batches[0].size), to);
    assert_memory_equal(to, w->batches[0].bytes, w->batches[0].size);
    tide_rope_clear(&r.bytes);
    (void)len;
}

static void test_rotten_bytes_are_not_served(void **state)
{
    struct world *w = *state;
    uint8_t to[65536];
    size_t len;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(world_append(w, 1, 400, i), TIDE_OK);
    world_flush(w);
    tail_drop_all(w->log);
    struct memory_file *f = memory_fs_find(w->disk, WORLD_DIR "/00000000000000000000.log");
    size_t at = w->batches[0].size + w->batches[1].size;
    static const unsigned header_bytes[] = {0, 3, 7, 8, 10, 16};
    for (size_t i = 0; i < sizeof(header_bytes) / sizeof(header_bytes[0]); i++) {
        f->bytes[at + header_bytes[i]] ^= 0x81;
        struct log_read r = {.offset = 2, .end_offset = 8, .max_bytes = 50000};
        enum tide_status status = world_read(w, &r, to, sizeof(to), &len);
        f->bytes[at + header_bytes[i]] ^= 0x81;
        assert_int_equal(status, TIDE_BAD);
    }
    world_check_all(w, 0, 8);
}

static void test_pools_empty(void **state)
{
    struct world *w = *state;
    struct log_buffer *held[8];
    uint8_t to[16];
    size_t len;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    assert_int_equal(world_append(w, 1, 1000, 0), TIDE_OK);
    world_flush(w);
    void *leases[512];
    assert_int_equal(rte_mempool_get_bulk(w->core->leases, leases, 512), 0);
    struct log_read r = {.offset = 0, .end_offset = 1, .max_bytes = 50000};
    assert_int_equal(world_read(w, &r, to, sizeof(to), &len), TIDE_FULL);
    tail_drop_all(w->log);
    r = (struct log_read){.offset = 0, .end_offset = 1, .max_bytes = 50000};
    assert_int_equal(world_read(w, &r, to, sizeof(to), &len), TIDE_FULL);
    rte_mempool_put_bulk(w->core->leases, leases, 512);
    for (unsigned i = 0; i < 8; i++)
        held[i] = log_read_buffer_take(w->core);
    assert_null(log_read_buffer_take(w->core));
    assert_int_equal(world_read(w, &r, to, sizeof(to), &len), TIDE_FULL);
    for (unsigned i = 0; i < 8; i++)
        log_buffer_drop(held[i]);
    world_check_all(w, 0, 1);
}

static void test_bytes_between(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), 0);
    assert_int_equal(log_bytes_between(w->log, 0, 100, 1000), 0);
    world_begin_epoch(w, 1);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(world_append(w, 1, 1000, 0), TIDE_OK);
    world_flush(w);
    assert_int_equal(log_bytes_between(w->log, 100, 100, 1000), 0);
    assert_int_equal(log_bytes_between(w->log, 99, 100, 100000), w->batches[99].size);
    assert_int_equal(log_bytes_between(w->log, 0, 100, 5000), 5000);
    for (int64_t from = 0; from < 100; from++) {
        for (int64_t to = from + 1; to <= 100; to++) {
            uint32_t n = log_bytes_between(w->log, from, to, UINT32_MAX);
            assert_true(n >= 1);
            if (to == 100)
                assert_true(n + 1 >= (uint32_t)(to - from) * 1000 || w->log->active > 1);
        }
    }
}

/* ---- epochs, timestamps ---- */

static void test_epochs(void **state)
{
    static const struct {
        int32_t asked, epoch;
        int64_t end;
    } cases[] = {{-1, -1, -1}, {0, 0, 0},  {1, 1, 0},  {2, 2, 10}, {3, 2, 10},
                 {4, 2, 10},   {5, 5, 20}, {6, 5, 20}, {7, 7, 30}, {8, -1, -1}};
    struct world *w = *state;
    int32_t epoch;
    int64_t end;
    assert_int_equal(world_open(w), 0);
    assert_int_equal(log_last_epoch(w->log), -1);
    log_end_for_epoch(w->log, 0, &epoch, &end);
    assert_int_equal(epoch, -1);
    world_begin_epoch(w, 1); /* nothing is written in it */
    for (int round = 0; round < 3; round++) {
        world_begin_epoch(w, round == 0 ? 2 : round == 1 ? 5 : 7);
        assert_int_equal(world_append(w, 10, 100, 0), TIDE_OK);
    }
    assert_int_equal(log_begin_epoch(w->log, 6, &w->out), TIDE_REFUSED);
    world_flush(w);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
            log_end_for_epoch(w->log, cases[i].asked, &epoch, &end);
            assert_int_equal(epoch, cases[i].epoch);
            assert_int_equal(end, cases[i].end);
        }
        world_crash(w, NULL);
        assert_int_equal(world_open(w), 0);
    }
    struct memory_file *f = memory_fs_find(w->disk, WORLD_DIR "/leader-epoch-checkpoint");
    assert_non_null(f);
    assert_int_equal(f->size, strlen("0\n3\n2 0\n5 10\n7 20\n"));
    assert_memory_equal(f->bytes, "0\n3\n2 0\n5 10\n7 20\n", f->size);
}

static void look_up(struct world *w, int64_t timestamp, int64_t end, struct log_lookup *l)
{
    log_lookup_prepare(l, w->log);
    l->timestamp = timestamp;
    l->end_offset = end;
    l->job.run(&l->job, &w->disk->fs);
    assert_int_equal(l->job.result, 0);
}

/* Against the model, with written, unwritten, sealed and reopened bytes. */
static void check_lookups(struct world *w)
{
    for (int64_t t = 0; t < 3100; t += 13) {
        for (int64_t end = 0; end <= world_model_end(w); end += 97) {
            struct log_lookup l;
            int64_t expected = -1;
            look_up(w, t, end, &l);
            for (unsigned i = 0; i < w->batch_count && expected < 0; i++) {
                const struct world_batch *b = &w->batches[i];
                int64_t first = b->max_timestamp - (b->last_offset - b->base_offset);
                int64_t skip = t > first ? t - first : 0;
                if (b->base_offset + skip <= b->last_offset && b->base_offset + skip < end)
                    expected = b->base_offset + skip;
                else if (b->base_offset >= end)
                    break;
            }
            assert_int_equal(l.ret_offset, expected);
            if (expected >= 0)
                assert_true(l.ret_timestamp >= t);
        }
    }
}

static void test_lookup_by_timestamp(void **state)
{
    struct world *w = *state;
    struct log_lookup l;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 3);
    look_up(w, 0, 0, &l);
    assert_int_equal(l.ret_offset, -1);
    for (int64_t i = 0; i < 300; i++) {
        int64_t t = i * 10 + (int64_t)tide_random_below(&w->random, 40);
        assert_int_equal(world_append(w, 4, 2000, t), TIDE_OK);
    }
    world_flush(w);
    w->hold_writes = true;
    for (int64_t i = 300; i < 310; i++)
        assert_int_equal(world_append(w, 4, 1000, i * 10), TIDE_OK);
    assert_true(log_is_dirty(w->log));
    check_lookups(w);
    w->hold_writes = false;
    world_flush(w);
    check_lookups(w);
    int64_t best = -1, best_offset = -1;
    for (unsigned i = 0; i < w->batch_count; i++) {
        if (w->batches[i].max_timestamp > best) {
            best = w->batches[i].max_timestamp;
            best_offset = w->batches[i].last_offset;
        }
    }
    look_up(w, -3, world_model_end(w), &l);
    assert_int_equal(l.ret_offset, best_offset);
    assert_int_equal(l.ret_timestamp, best);
    assert_int_equal(l.ret_epoch, 3);
    assert_int_equal(world_close(w), 0);
    assert_int_equal(world_open(w), 0);
    check_lookups(w);
}

/* A gzip batch of 100 records whose timestamps are 1000 + 7 * i. */
static void test_lookup_in_compressed_batch(void **state)
{
    struct world *w = *state;
    struct batch_build_record records[100];
    uint8_t plain[8192], bytes[8192];
    uLongf deflated = sizeof(bytes) - BATCH_HEADER;
    struct batch_header h;
    struct tide_rope rope = {0};
    struct log_lookup l;
    for (int i = 0; i < 100; i++)
        records[i] = (struct batch_build_record){
            .timestamp = 1000 + 7 * i, .value = "value", .value_len = 5};
    size_t n = batch_build(plain, sizeof(plain), records, 100, -1, -1, -1);
    z_stream z = {.next_in = plain + BATCH_HEADER,
                  .avail_in = (uInt)(n - BATCH_HEADER),
                  .next_out = bytes + BATCH_HEADER,
                  .avail_out = (uInt)deflated};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    n = BATCH_HEADER + z.total_out;
    deflateEnd(&z);
    memcpy(bytes, plain, BATCH_HEADER);
    store_be32(bytes + BATCH_LENGTH, (uint32_t)(n - BATCH_LENGTH_OVERHEAD));
    store_be16(bytes + BATCH_ATTRIBUTES, CODEC_GZIP);
    batch_seal(bytes, n);
    batch_header_parse(bytes, &h);
    assert_int_equal(world_open(w), 0);
    tide_rope_push(&rope, unit_exact_mbuf(w->input, bytes, (uint16_t)n));
    world_room(w, (uint32_t)n, h.max_timestamp);
    assert_int_equal(log_append(w->log, tide_rope_slice(&rope, 0, rope.len), &h, 0, 2), TIDE_OK);
    tide_rope_clear(&rope);
    for (int flushed = 0; flushed < 2; flushed++) {
        for (int i = 0; i < 100; i++) {
            look_up(w, 1000 + 7 * i - 3, 100, &l);
            assert_int_equal(l.ret_offset, i);
            assert_int_equal(l.ret_timestamp, 1000 + 7 * i);
        }
        look_up(w, 1000 + 7 * 99 + 1, 100, &l);
        assert_int_equal(l.ret_offset, -1);
        look_up(w, -3, 100, &l);
        assert_int_equal(l.ret_offset, 99);
        world_flush(w);
    }
}

/* ---- two threads ---- */

/* Another core reads at the tail and behind it while the home core appends, rolls and gives buffers
 * away. To be run under the thread sanitizer, too. */
struct reader {
    struct world *w;
    struct log_core *core;
    _Atomic bool done;
    _Atomic uint64_t end; /* offsets below it may be read */
    unsigned long batches, absent;
    pthread_mutex_t disk;
};

static void check_chain(struct reader *rd, const struct log_read *r)
{
    static uint8_t bytes[1 << 20];
    uint32_t len = r->bytes.len;
    int64_t next = -1;
    assert_true(len <= sizeof(bytes));
    tide_slice_copy(tide_rope_slice(&r->bytes, 0, len), bytes);
    for (uint32_t at = 0; at < len; rd->batches++) {
        struct batch_header h;
        batch_header_parse(bytes + at, &h);
        uint32_t size = batch_size(&h);
        assert_true(size <= len - at);
        assert_int_equal(
            batch_crc_update(0, bytes + at + BATCH_ATTRIBUTES, size - BATCH_ATTRIBUTES), h.crc);
        if (next >= 0)
            assert_int_equal(h.base_offset, next);
        else
            assert_true(h.base_offset <= r->offset && batch_last_offset(&h) >= r->offset);
        next = batch_last_offset(&h) + 1;
        assert_true(next <= r->end_offset);
        at += size;
    }
}

static void do_reads(struct reader *rd, struct log_read *r, struct tide_out *out)
{
    while (out->op_count != 0) {
        struct disk_op op = out->ops[--out->op_count];
        pthread_mutex_lock(&rd->disk);
        struct disk_done done = {.id = op.id, .result = memory_fs_disk(rd->w->disk, &op)};
        pthread_mutex_unlock(&rd->disk);
        if (DISK_ID_OWNER(op.id) == DISK_OWNER_AHEAD)
            log_core_on_disk(rd->core, &done, out);
        else
            log_read_on_disk(r, &done);
    }
}

static void read_once(struct reader *rd, struct tide_random *random, struct tide_out *out)
{
    int64_t end = (int64_t)atomic_load(&rd->end);
    enum tide_status status;
    if (end == 0)
        return;
    struct log_read r = {.end_offset = end, .max_bytes = 20000, .at_least_one = true};
    int64_t span = tide_random_hits(random, 4) ? end : TIDE_MIN(end, 30);
    r.offset = end - 1 - (int64_t)tide_random_below(random, (uint64_t)span);
    while ((status = log_read(rd->w->log, rd->core, 1, &r, out)) == TIDE_AGAIN)
        do_reads(rd, &r, out);
    do_reads(rd, &r, out); /* what is ahead */
    if (status == TIDE_FULL) {
        log_read_abandon(rd->core, &r);
        rd->absent++;
        return;
    }
    assert_int_equal(status, TIDE_OK);
    assert_true(r.bytes.len != 0);
    check_chain(rd, &r);
    tide_rope_clear(&r.bytes);
    assert_true(log_bytes_between(rd->w->log, r.offset, end, 1000) >= 1);
    (void)log_last_epoch(rd->w->log);
}

static void *read_loop(void *arg)
{
    static struct tide_out out;
    struct reader *rd = arg;
    struct tide_random random = {.state = 99};
    while (!atomic_load(&rd->done))
        read_once(rd, &random, &out);
    return NULL;
}

static void test_two_cores(void **state)
{
    struct world *w = *state;
    struct tide_counters counters = {0};
    struct log_core_config config = w->core_config;
    struct reader rd = {.w = w};
    pthread_t thread;
    config.counters = &counters;
    config.core = 4;
    rd.core = log_core_create(&config);
    assert_non_null(rd.core);
    pthread_mutex_init(&rd.disk, NULL);
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    assert_int_equal(pthread_create(&thread, NULL, read_loop, &rd), 0);
    for (unsigned i = 0; i < 4000; i++) {
        pthread_mutex_lock(&rd.disk); /* the file system in memory is not for two threads */
        assert_int_equal(world_append(w, 1 + (int32_t)(i % 4), 100 + i * 37 % 4000, i), TIDE_OK);
        if (i % 3 == 0)
            world_flush(w);
        if (i % 501 == 0)
            world_begin_epoch(w, w->epoch + 1);
        pthread_mutex_unlock(&rd.disk);
        atomic_store(&rd.end, (uint64_t)log_next_offset(w->log));
        if (i % 64 == 0)
            usleep(500);
    }
    atomic_store(&rd.done, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(rd.batches > 100);
    world_flush(w);
    world_check_pools(w);
    log_core_check(rd.core);
    assert_int_equal(log_core_free_now(rd.core).reads, config.read_buffers);
    assert_int_equal(log_core_free_now(rd.core).views, config.views);
    world_crash(w, NULL);
    log_core_destroy(rd.core);
    pthread_mutex_destroy(&rd.disk);
}

/* ---- the model ---- */

static void random_read(struct world *w)
{
    int64_t end = world_model_end(w);
    int64_t offset = (int64_t)tide_random_below(&w->random, (uint64_t)end + 1);
    if (tide_random_hits(&w->random, 2) && end > 20)
        offset = end - (int64_t)tide_random_below(&w->random, 20);
    uint32_t max = (uint32_t)tide_random_below(&w->random, 1u << tide_random_below(&w->random, 20));
    world_check_read(w, offset, end, max, tide_random_hits(&w->random, 2));
}

static void random_append(struct world *w)
{
    uint32_t size =
        1 + (uint32_t)tide_random_below(&w->random, 1ull << tide_random_below(&w->random, 15));
    int32_t count = 1 + (int32_t)tide_random_below(&w->random, 8);
    enum tide_status status =
        world_append(w, count, size, (int64_t)tide_random_below(&w->random, 100000));
    assert_int_equal(status, TIDE_OK);
}

static void restart(struct world *w)
{
    int64_t durable = log_durable_end(w->log);
    if (tide_random_hits(&w->random, 2)) {
        assert_int_equal(world_close(w), 0);
        durable = world_model_end(w);
    } else {
        world_crash(w, &w->random);
    }
    assert_int_equal(world_open(w), 0);
    int64_t end = log_next_offset(w->log);
    assert_true(end >= durable);
    world_forget(w, end);
    assert_int_equal(world_model_end(w), end);
    world_begin_epoch(w, w->epoch + 1);
}

static void model_run(struct world *w, unsigned operations)
{
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 0);
    for (unsigned i = 0; i < operations; i++) {
        uint64_t dice = tide_random_below(&w->random, 1000);
        if (dice < 500)
            random_append(w);
        else if (dice < 700)
            world_flush(w);
        else if (dice < 990)
            random_read(w);
        else if (dice < 994 && !log_is_dirty(w->log))
            tail_drop_all(w->log);
        else
            restart(w);
        if (w->batch_count > WORLD_BATCHES - 10 || w->log->active > 200)
            break;
    }
    world_flush(w);
    world_check_all(w, 0, world_model_end(w));
    world_check_pools(w);
}

static void test_model(void **state)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct world *w = *state;
        world_deinit(w);
        world_init(w, seed);
        if (seed == 2)
            w->config.index_interval_bytes = 0;
        if (seed == 3)
            w->config.segment_bytes = 300000;
        if (seed == 4)
            w->core_config.index_chunks = 0;
        if (seed == 5)
            w->core_config.tail_buffer_bytes = 4096;
        log_core_destroy(w->core);
        w->core = log_core_create(&w->core_config);
        assert_non_null(w->core);
        model_run(w, 5000);
    }
}

static uint64_t id_of_a_write(struct world *w, int32_t epoch)
{
    struct disk_op op;
    world_begin_epoch(w, epoch);
    w->hold_writes = true;
    assert_int_equal(world_append(w, 1, 300, 1000), TIDE_OK);
    world_flush(w);
    assert_int_equal(w->op_count, 1);
    op = w->ops[0];
    w->op_count = 0;
    assert_int_equal(memory_fs_disk(w->disk, &op), op.len);
    assert_true(log_on_disk(w->log, &(struct disk_done){.id = op.id, .result = op.len}, &w->out));
    w->hold_writes = false;
    world_pump(w);
    return op.id;
}

/* A completion of the life before is nobody's in the next one, which has the same slot. */
static void test_ids_are_not_used_again_by_the_next_life(void **state)
{
    struct world *w = *state;
    uint64_t first, second;
    assert_int_equal(world_open(w), 0);
    first = id_of_a_write(w, 1);
    assert_int_equal(world_close(w), 0);
    assert_int_equal(world_open(w), 0);
    second = id_of_a_write(w, 2);
    assert_int_not_equal(first, second);
    assert_int_equal(DISK_ID_SLOT(first), DISK_ID_SLOT(second));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_append_is_durable_after_its_write, start, stop),
        cmocka_unit_test_setup_teardown(test_ids_are_not_used_again_by_the_next_life, start, stop),
        cmocka_unit_test_setup_teardown(test_bad_crc_leaves_no_trace, start, stop),
        cmocka_unit_test_setup_teardown(test_stamped, start, stop),
        cmocka_unit_test_setup_teardown(test_refusals, start, stop),
        cmocka_unit_test_setup_teardown(test_short_and_failed_writes, start, stop),
        cmocka_unit_test_setup_teardown(test_out_without_room, start, stop),
        cmocka_unit_test_setup_teardown(test_batches_span_buffers, start, stop),
        cmocka_unit_test_setup_teardown(test_slow_reader_cannot_take_all_buffers, start, stop),
        cmocka_unit_test_setup_teardown(test_idle_log_gives_its_buffer, start, stop),
        cmocka_unit_test_setup_teardown(test_no_buffers_is_an_ordinary_answer, start, stop),
        cmocka_unit_test_setup_teardown(test_more_windows_than_slots, start, stop),
        cmocka_unit_test_setup_teardown(test_many_segments, start, stop),
        cmocka_unit_test_setup_teardown(test_roll_with_a_batch_that_waits, start, stop),
        cmocka_unit_test_setup_teardown(test_roll_while_extending, start, stop),
        cmocka_unit_test_setup_teardown(test_roll_by_another_size, start, stop),
        cmocka_unit_test_setup_teardown(test_roll_by_time, start, stop),
        cmocka_unit_test_setup_teardown(test_small_topic_stays_small, start, stop),
        cmocka_unit_test_setup_teardown(test_without_durable_writes_each_byte_goes_once, start, stop),
        cmocka_unit_test_setup_teardown(test_disk_full, start, stop),
        cmocka_unit_test_setup_teardown(test_disk_full_while_sealing, start, stop),
        cmocka_unit_test_setup_teardown(test_failed_jobs, start, stop),
        cmocka_unit_test_setup_teardown(test_read_limits, start, stop),
        cmocka_unit_test_setup_teardown(test_large_batch_from_disk, start, stop),
        cmocka_unit_test_setup_teardown(test_short_and_failed_reads, start, stop),
        cmocka_unit_test_setup_teardown(test_rotten_bytes_are_not_served, start, stop),
        cmocka_unit_test_setup_teardown(test_pools_empty, start, stop),
        cmocka_unit_test_setup_teardown(test_bytes_between, start, stop),
        cmocka_unit_test_setup_teardown(test_epochs, start, stop),
        cmocka_unit_test_setup_teardown(test_lookup_by_timestamp, start, stop),
        cmocka_unit_test_setup_teardown(test_lookup_in_compressed_batch, start, stop),
        cmocka_unit_test_setup_teardown(test_two_cores, start, stop),
        cmocka_unit_test_setup_teardown(test_model, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
