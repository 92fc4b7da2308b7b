/* SPDX-License-Identifier: Apache-2.0 */
/* The space of a log: segments that are rolled and sealed, what is prepared ahead, a disk that is full or fails. */
#include "log_world.h"

#include <errno.h>

#include "log/ahead.h"
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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
