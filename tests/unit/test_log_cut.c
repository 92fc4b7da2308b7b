/* SPDX-License-Identifier: Apache-2.0 */
/* Both ends of a log moving: trim, retention, truncation; and recovery's checkpoint. */
#include "log_world.h"

#include <errno.h>

#include "log/append.h"
#include "log/checkpoint.h"
#include "tidemark/bytes.h"

static struct world world;

static int start(void **state)
{
    world_init(&world, 7);
    *state = &world;
    return 0;
}

static int stop(void **state)
{
    world_deinit(&world);
    return 0;
}

/* Batches of 10 records and about 5 KB, so a segment of 64 KiB has a dozen. */
static void fill(struct world *w, unsigned batches, int64_t timestamp)
{
    for (unsigned i = 0; i < batches; i++)
        assert_int_equal(world_append(w, 10, 5000, timestamp + i), TIDE_OK);
    world_flush(w);
}

static void trim(struct world *w, int64_t offset)
{
    enum tide_status status;
    while ((status = log_trim(w->log, offset, &w->out)) == TIDE_AGAIN)
        world_pump(w);
    assert_int_equal(status, TIDE_OK);
    world_pump(w);
    log_check(w->log);
}

static void truncate_to(struct world *w, int64_t offset)
{
    enum tide_status status;
    while ((status = log_truncate(w->log, offset, &w->out)) == TIDE_AGAIN)
        world_pump(w);
    assert_int_equal(status, TIDE_OK);
    while (w->batch_count != 0 && w->batches[w->batch_count - 1].last_offset >= offset)
        world_forget(w, w->batches[w->batch_count - 1].base_offset);
    assert_int_equal(log_next_offset(w->log), world_model_end(w));
    assert_int_equal(log_durable_end(w->log), world_model_end(w));
    world_pump(w);
    log_check(w->log);
}

static unsigned segments(const struct world *w)
{
    return w->log->active - log_first(w->log) + 1;
}

static struct log_read read_at(int64_t offset)
{
    return (struct log_read){
        .offset = offset, .end_offset = INT64_MAX, .max_bytes = 1 << 16, .at_least_one = true};
}

static void expect_absent(struct world *w, int64_t offset)
{
    static uint8_t bytes[1 << 17];
    struct log_read r = read_at(offset);
    size_t len;
    assert_int_equal(world_read(w, &r, bytes, sizeof(bytes), &len), TIDE_ABSENT);
}

static void test_trim_removes_what_lies_below(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    fill(w, 60, 1000);
    unsigned before = segments(w);
    assert_true(before > 4);
    int64_t inside = log_segment_at(w->log, 2)->base_offset + 15;
    int64_t size = log_size_bytes(w->log);
    trim(w, inside);
    assert_int_equal(log_start_offset(w->log), inside);
    assert_int_equal(segments(w), before - 2);
    assert_true(log_size_bytes(w->log) < size);
    expect_absent(w, inside - 1);
    world_check_read(w, inside, INT64_MAX, 1 << 16, true);
    world_check_all(w, inside + 5, INT64_MAX);
    assert_int_equal(log_trim(w->log, inside - 5, &w->out), TIDE_OK); /* it never falls */
    assert_int_equal(log_trim(w->log, world_model_end(w) + 1, &w->out), TIDE_REFUSED);

    /* It is remembered over a crash and over a clean stop. */
    world_crash(w, &w->random);
    assert_int_equal(world_open(w), 0);
    assert_int_equal(log_start_offset(w->log), inside);
    world_check_all(w, inside + 5, INT64_MAX);
    expect_absent(w, inside - 1);

    /* All of it: the active segment stays, and goes on. */
    trim(w, world_model_end(w));
    assert_int_equal(segments(w), 1);
    fill(w, 5, 2000);
    assert_int_equal(world_close(w), 0);
    assert_int_equal(world_open(w), 0);
    assert_int_equal(log_start_offset(w->log), world_model_end(w) - 50);
    world_check_all(w, world_model_end(w) - 50, INT64_MAX);
    assert_int_equal(world_close(w), 0);
    world_check_pools(w);
}

static void test_a_reader_keeps_the_file_it_reads(void **state)
{
    struct world *w = *state;
    static uint8_t bytes[1 << 17];
    size_t len = 0;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    fill(w, 60, 1000);
    struct log_read r = read_at(0);
    w->reading = &r;
    assert_int_equal(log_read(w->log, w->core, 5, &r, &w->out), TIDE_AGAIN);
    assert_int_equal(w->out.op_count, 1);
    struct disk_op op = w->out.ops[0];
    w->out.op_count = 0;
    trim(w, log_segment_at(w->log, 3)->base_offset);
    assert_non_null(w->log->gone); /* the one that is read waits, the others are closed */
    assert_null(w->log->gone->next);
    struct disk_done done = {.id = op.id, .result = memory_fs_disk(w->disk, &op)};
    assert_int_equal(done.result, op.len);
    log_read_on_disk(&r, &done);
    assert_int_equal(world_read(w, &r, bytes, sizeof(bytes), &len), TIDE_OK);
    assert_memory_equal(bytes, w->batches[0].bytes, w->batches[0].size);
    world_pump(w);
    assert_null(w->log->gone);
    assert_int_equal(world_close(w), 0);
    world_check_pools(w);
}

static void test_retention_by_time_and_size(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    fill(w, 30, 1000);
    fill(w, 30, 500000);
    struct log_retention r = {.now_ms = 501000, .ms = -1, .bytes = -1, .limit = INT64_MAX};
    assert_int_equal(log_retention_start(w->log, &r), 0);
    r.ms = 100000; /* segments whose newest record is of the first half */
    int64_t start = log_retention_start(w->log, &r);
    assert_in_range(start, 1, 300);
    r.limit = start - 1; /* the high watermark has not come so far */
    assert_true(log_retention_start(w->log, &r) < start);
    r = (struct log_retention){.now_ms = 501000, .ms = -1, .bytes = 130000, .limit = INT64_MAX};
    int64_t by_size = log_retention_start(w->log, &r);
    trim(w, by_size);
    assert_true(log_size_bytes(w->log) >= 130000);
    assert_true(log_size_bytes(w->log) < 130000 + 2 * 65536);
    world_check_all(w, by_size, INT64_MAX);

    /* Nobody appends: the last segment goes as well, once it is old. */
    r = (struct log_retention){.now_ms = 900000, .ms = 1000, .bytes = -1, .limit = INT64_MAX};
    log_retention_roll(w->log, &r);
    world_pump(w);
    world_pump(w);
    trim(w, log_retention_start(w->log, &r));
    assert_int_equal(log_start_offset(w->log), world_model_end(w));
    assert_int_equal(log_size_bytes(w->log), 0);
    fill(w, 3, 900000);
    world_check_all(w, world_model_end(w) - 30, INT64_MAX);
    world_crash(w, &w->random);
    assert_int_equal(world_open(w), 0);
    assert_int_equal(log_next_offset(w->log), world_model_end(w));
    world_check_all(w, world_model_end(w) - 30, INT64_MAX);
    assert_int_equal(world_close(w), 0);
}

static void test_truncate_cuts_at_batches(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    fill(w, 40, 1000);
    world_begin_epoch(w, 2);
    fill(w, 20, 2000);
    assert_int_equal(log_truncate(w->log, world_model_end(w), &w->out), TIDE_OK);
    truncate_to(w, world_model_end(w) - 15); /* in the middle of a batch: the whole batch goes */
    world_check_all(w, 0, INT64_MAX);
    truncate_to(w, 333); /* into a closed segment, below the second epoch */
    assert_int_equal(world_model_end(w), 330);
    assert_int_equal(log_last_epoch(w->log), 1);
    world_check_all(w, 0, INT64_MAX);
    world_begin_epoch(w, 5); /* something shorter in its place, and then more */
    assert_int_equal(world_append(w, 1, 10, 3000), TIDE_OK);
    world_flush(w);
    world_check_all(w, 0, INT64_MAX);
    world_crash(w, &w->random);
    assert_int_equal(world_open(w), 0);
    assert_int_equal(log_next_offset(w->log), world_model_end(w));
    world_check_all(w, 0, INT64_MAX);
    fill(w, 30, 4000);
    world_check_all(w, 0, INT64_MAX);
    truncate_to(w, 0);
    assert_int_equal(log_next_offset(w->log), 0);
    world_begin_epoch(w, 6); /* its line went with the rest */
    fill(w, 30, 5000);
    world_check_all(w, 0, INT64_MAX);
    trim(w, 100);
    assert_int_equal(log_truncate(w->log, 99, &w->out), TIDE_REFUSED);
    assert_int_equal(world_close(w), 0);
    assert_int_equal(world_open(w), 0);
    world_check_all(w, 100, INT64_MAX);
    assert_int_equal(world_close(w), 0);
    world_check_pools(w);
}

/* Nothing of the old bytes stands behind the new end, whatever is appended there. */
static void test_truncate_zeroes_what_it_cuts(void **state)
{
    struct world *w = *state;
    static uint8_t block[1 << 16];
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    fill(w, 8, 1000);
    truncate_to(w, 20);
    int file = log_segment_at(w->log, w->log->active)->file;
    const struct tide_fs *fs = &w->disk->fs;
    int64_t n = fs->pread(fs->self, file, block, sizeof(block), 0);
    assert_true(n > (int64_t)w->log->position);
    for (int64_t i = w->log->position; i < n; i++)
        assert_int_equal(block[i], 0);
    assert_int_equal(world_close(w), 0);
}

/* A crash after every step of a truncation: the log ends somewhere between, and is whole. */
static void test_truncate_crashes_anywhere(void **state)
{
    (void)state;
    for (unsigned at = 0;; at++) {
        struct world *w = &world;
        world_deinit(w);
        world_init(w, 100 + at);
        assert_int_equal(world_open(w), 0);
        world_begin_epoch(w, 1);
        fill(w, 45, 1000);
        int64_t before = world_model_end(w);
        w->hold_jobs = true;
        assert_int_equal(log_truncate(w->log, 125, &w->out), TIDE_AGAIN);
        world_pump(w);
        assert_int_equal(w->job_count, 1);
        uint64_t made = w->disk->operations;
        w->disk->fail_at = made + at + 1;
        w->disk->error = -EIO;
        w->disk->dead_from_there = true;
        w->jobs[0]->run(w->jobs[0], &w->disk->fs);
        bool failed = w->jobs[0]->result != 0;
        log_on_job(w->log, w->jobs[0]);
        w->disk->fail_at = 0;
        w->job_count = 0;
        w->hold_jobs = false;
        world_crash(w, &w->random);
        assert_int_equal(world_open(w), 0);
        int64_t end = log_next_offset(w->log);
        assert_in_range(end, 120, before);
        world_forget(w, end);
        assert_int_equal(world_model_end(w), end);
        world_check_all(w, 0, INT64_MAX);
        world_begin_epoch(w, 2);
        fill(w, 20, 2000);
        world_check_all(w, 0, INT64_MAX);
        assert_int_equal(world_close(w), 0);
        if (!failed) {
            assert_in_range(at, 8, 400);
            break;
        }
    }
}

static uint64_t bytes_read_by_open(struct world *w)
{
    uint64_t before = w->disk->bytes_read;
    assert_int_equal(world_open(w), 0);
    return w->disk->bytes_read - before;
}

static void test_recovery_begins_at_the_checkpoint(void **state)
{
    struct world *w = *state;
    w->config.segment_bytes = 4 << 20;
    w->config.checkpoint_bytes = 32768;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    for (unsigned i = 0; i < 200; i++)
        fill(w, 1, 1000 + i);
    world_crash(w, &w->random);
    uint64_t read = bytes_read_by_open(w);
    assert_int_equal(log_next_offset(w->log), world_model_end(w));
    assert_true(read < 400000); /* of a million; what was zeroed ahead is looked through as well */
    world_check_all(w, 0, INT64_MAX);
    fill(w, 20, 5000);
    world_check_all(w, 0, INT64_MAX);

    /* Damaged, or for another end: it is not believed, and nothing is lost. */
    world_crash(w, &w->random);
    char path[LOG_PATH_MAX];
    assert_int_equal(log_path(path, WORLD_DIR, LOG_CHECKPOINT_NAME), 0);
    memory_fs_find(w->disk, path)->bytes[40] ^= 8;
    assert_true(bytes_read_by_open(w) > 1000000);
    assert_int_equal(log_next_offset(w->log), world_model_end(w));
    world_check_all(w, 0, INT64_MAX);
    fill(w, 40, 6000);
    truncate_to(w, 500); /* below what it vouched for */
    fill(w, 2, 7000);
    world_crash(w, &w->random);
    assert_int_equal(world_open(w), 0);
    assert_int_equal(log_next_offset(w->log), world_model_end(w));
    world_check_all(w, 0, INT64_MAX);
    assert_int_equal(world_close(w), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_trim_removes_what_lies_below, start, stop),
        cmocka_unit_test_setup_teardown(test_a_reader_keeps_the_file_it_reads, start, stop),
        cmocka_unit_test_setup_teardown(test_retention_by_time_and_size, start, stop),
        cmocka_unit_test_setup_teardown(test_truncate_cuts_at_batches, start, stop),
        cmocka_unit_test_setup_teardown(test_truncate_zeroes_what_it_cuts, start, stop),
        cmocka_unit_test_setup_teardown(test_truncate_crashes_anywhere, start, stop),
        cmocka_unit_test_setup_teardown(test_recovery_begins_at_the_checkpoint, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
