/* SPDX-License-Identifier: Apache-2.0 */
/* A log that is appended to and written: durability, refusals, buffers; and a model of it all. */
#include "log_world.h"

#include <errno.h>

#include "log/append.h"

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
        cmocka_unit_test_setup_teardown(test_model, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
