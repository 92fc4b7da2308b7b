/* SPDX-License-Identifier: Apache-2.0 */
/* The space ahead of a log: what a start makes of it, which is nothing, and the pace of the zeroes afterwards. */
#include "log_world.h"

#include "log/ahead.h"

#define FIRST WORLD_DIR "/00000000000000000000.log"

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

enum { MANY = 200, MANY_PER_DISK = 50, EXTENT = 4 << 20 };

static void open_one(struct world *w, int i, struct log **ret)
{
    char dir[32];
    struct log_config config = w->config;
    snprintf(dir, sizeof(dir), "/data/many-%d", i);
    config.dir = dir;
    config.segment_bytes = 64 << 20;
    config.preallocate_bytes = EXTENT;
    *ret = log_create(&config);
    assert_non_null(*ret);
    assert_int_equal(log_open(*ret, &w->disk->fs, 0, NULL, NULL, w->error, sizeof(w->error)), 0);
    log_check(*ret);
}

/* Bytes that are written when so many logs are opened and closed again. */
static unsigned long written_by_start(struct world *w)
{
    static struct log *logs[MANY_PER_DISK];
    unsigned long before = w->disk->bytes_written;
    for (int i = 0; i < MANY_PER_DISK; i++)
        open_one(w, i, &logs[i]);
    for (int i = 0; i < MANY_PER_DISK; i++) {
        assert_int_equal(log_close(logs[i], &w->disk->fs), 0);
        log_destroy(logs[i]);
    }
    return w->disk->bytes_written - before;
}

/* Nobody has appended: nothing is zeroed for any of them, neither at their first start nor at a later one. */
static void test_a_start_zeroes_nothing(void **state)
{
    struct world *w = *state;
    unsigned long first = 0, later = 0;
    for (int done = 0; done < MANY; done += MANY_PER_DISK) {
        memory_fs_deinit(w->disk);
        memory_fs_init(w->disk);
        first += written_by_start(w);
        later += written_by_start(w);
    }
    print_message("%d empty logs: %lu bytes written when they are made, %lu at a later start\n", MANY, first, later);
    assert_in_range(first, 1, MANY * 100); /* partition.metadata */
    assert_in_range(later, 0, MANY * 10); /* leader-epoch-checkpoint */
}

static void open_with_large_extents(struct world *w)
{
    w->config.segment_bytes = 64 << 20;
    w->config.preallocate_bytes = EXTENT;
    assert_int_equal(world_open(w), 0);
}

static void open_with_a_record(struct world *w)
{
    open_with_large_extents(w);
    world_begin_epoch(w, 1);
    assert_int_equal(world_append(w, 1, 1000, 0), TIDE_OK);
    world_flush(w);
}

static void run_job(struct world *w)
{
    assert_int_equal(w->job_count, 1);
    w->jobs[0]->run(w->jobs[0], &w->disk->fs);
    log_on_job(w->log, w->jobs[0]);
    w->job_count = 0;
}

/* The first append asks at once, and waits for a piece. */
static void test_the_first_append_waits_for_a_piece(void **state)
{
    struct world *w = *state;
    open_with_large_extents(w);
    world_begin_epoch(w, 1);
    assert_false(log_has_work(w->log));
    w->hold_jobs = true;
    assert_int_equal(world_append_once(w, 1, 1000, 0), TIDE_FULL);
    world_pump(w);
    assert_ptr_equal(w->jobs[0], &w->log->extend_job.job);
    unsigned long before = w->disk->bytes_written;
    run_job(w);
    assert_int_equal(w->disk->bytes_written - before, LOG_AHEAD_FIRST / 4);
    assert_true(log_wants_retry(w->log));
    assert_int_equal(world_append_once(w, 1, 1000, 0), TIDE_OK);
    w->hold_jobs = false;
    assert_true(log_has_work(w->log));
    world_pump(w);
    assert_int_equal(w->log->zeroed_end, LOG_AHEAD_FIRST); /* and not more: a small topic stays small */
    assert_int_equal(w->counters.values[COUNTER_log_zero_waits], 1);
    world_check_all(w, 0, world_model_end(w));
}

/* A piece at a time, none before the last one was used, as much as the log holds and not more than the setting. */
static void test_zeroes_are_paced_by_the_log(void **state)
{
    struct world *w = *state;
    uint64_t zeroed, most = 0;
    open_with_large_extents(w);
    world_begin_epoch(w, 1);
    assert_int_equal(world_append(w, 1, 1000, 0), TIDE_OK);
    while (w->log->position < 3 * EXTENT) {
        zeroed = w->log->zeroed_end;
        assert_int_equal(world_append_once(w, 1, 8000, 0), TIDE_OK);
        world_pump(w);
        assert_in_range(w->log->zeroed_end - zeroed, 0, LOG_PIECE_BYTES);
        assert_in_range(w->log->zeroed_end, w->log->position, w->log->position + TIDE_MAX(w->log->position, LOG_AHEAD_FIRST));
        assert_in_range(w->log->zeroed_end, w->log->position, w->log->position + EXTENT);
        most = TIDE_MAX(most, w->log->zeroed_end - w->log->position);
    }
    assert_true(most > EXTENT - LOG_PIECE_BYTES);
    assert_int_equal(w->counters.values[COUNTER_log_zero_waits], 1);
    assert_int_equal(w->log->ahead_max, EXTENT);
}

/* Helpers that are slower than the log: it gets pieces, and more is zeroed ahead of it from then on, up to a limit. */
static void test_who_outruns_the_zeroes_gets_more_ahead(void **state)
{
    struct world *w = *state;
    uint64_t before;
    w->config.segment_bytes = 1 << 20;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    w->hold_jobs = true;
    assert_int_equal(world_append_once(w, 1, 1000, 0), TIDE_FULL);
    world_pump(w);
    run_job(w);
    assert_int_equal(w->log->ahead_max, w->config.preallocate_bytes); /* who waits for the first has not outrun any */
    for (unsigned i = 0; i < 8; i++) {
        before = w->log->ahead_max;
        while (world_append_once(w, 1, 3000, 0) == TIDE_OK)
            world_pump(w);
        world_pump(w);
        assert_ptr_equal(w->jobs[0], &w->log->extend_job.job);
        run_job(w);
        assert_int_equal(w->log->ahead_max, (uint64_t)w->log->position < before ? before
                                            : TIDE_MIN(2 * before, LOG_AHEAD_GROWTH * w->config.preallocate_bytes));
    }
    assert_true(w->log->ahead_max > w->config.preallocate_bytes);
    w->hold_jobs = false;
    assert_int_equal(world_append(w, 1, 8000, 0), TIDE_OK);
    world_flush(w);
    world_check_all(w, 0, world_model_end(w));
    assert_int_equal(world_close(w), 0);
    assert_int_equal(world_open(w), 0);
    assert_int_equal(world_append_once(w, 1, 8000, 0), TIDE_FULL);
    world_pump(w);
    assert_int_equal(world_append_once(w, 1, 8000, 0), TIDE_OK);
    assert_int_equal(w->log->ahead_max, w->config.preallocate_bytes);
}

/* A cut gives the segment another file, which is filled again: no zeroes that were asked for before may come into it. */
static void test_nothing_is_zeroed_during_a_cut(void **state)
{
    struct world *w = *state;
    open_with_a_record(w);
    w->hold_jobs = true;
    while (!log_ahead_is_due(w->log))
        assert_int_equal(world_append_once(w, 1, 8000, 0), TIDE_OK);
    assert_int_equal(log_truncate(w->log, 1, &w->out), TIDE_AGAIN);
    assert_false(log_ahead_is_due(w->log));
    world_pump(w);
    assert_int_equal(w->job_count, 1);
    assert_ptr_equal(w->jobs[0], &w->log->truncate_job.job);
    world_pump(w);
    run_job(w);
    assert_int_equal(w->log->zeroed_end, TIDE_BLOCK);
    world_forget(w, 1);
    w->hold_jobs = false;
    assert_int_equal(world_append(w, 1, 8000, 0), TIDE_OK);
    world_flush(w);
    world_check_all(w, 0, world_model_end(w));
}

/* The prepared segment is zeroed as the active one is filled, so that a log that rolls does not wait. */
static void test_the_prepared_segment_is_zeroed_while_the_active_one_fills(void **state)
{
    struct world *w = *state;
    uint64_t zeroed = 0;
    w->config.segment_bytes = 8 << 20;
    w->config.preallocate_bytes = 2 << 20;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    assert_int_equal(world_append(w, 1, 1000, 0), TIDE_OK);
    while (w->log->active == 0) {
        zeroed = w->log->prepared ? w->log->prepared_bytes : 0;
        assert_in_range(zeroed, 0, TIDE_MAX((uint64_t)LOG_PIECE_BYTES, (uint64_t)w->log->position - (4 << 20)));
        assert_int_equal(world_append_once(w, 1, 8000, 0), TIDE_OK);
        world_pump(w);
    }
    assert_int_equal(zeroed, 2 << 20);
    assert_true(w->log->zeroed_end >= zeroed);
    assert_int_equal(w->counters.values[COUNTER_log_zero_waits], 1);
    world_flush(w);
    world_check_all(w, 0, world_model_end(w));
}

/* After a clean stop a log with records waits for its first append as well; after a kill it has what was zeroed. */
static void test_space_after_a_start(void **state)
{
    struct world *w = *state;
    open_with_a_record(w);
    world_crash(w, NULL);
    unsigned long before = w->disk->bytes_written;
    open_with_large_extents(w);
    assert_int_equal(w->disk->bytes_written, before);
    assert_int_equal(w->log->zeroed_end, LOG_AHEAD_FIRST);
    assert_int_equal(world_append_once(w, 1, 1000, 0), TIDE_OK);
    world_flush(w);
    assert_int_equal(world_close(w), 0);
    uint64_t size = w->batches[0].size + w->batches[1].size;
    assert_int_equal(memory_fs_find(w->disk, FIRST)->size, size);
    before = w->disk->bytes_written;
    open_with_large_extents(w);
    assert_string_equal(log_recovery_label(w->log), "clean end");
    assert_false(log_has_work(w->log));
    world_flush(w);
    assert_int_equal(w->disk->bytes_written, before);
    assert_int_equal(w->log->zeroed_end, TIDE_BLOCK);
    assert_int_equal(memory_fs_find(w->disk, FIRST)->size, TIDE_BLOCK); /* no write makes it longer */
    assert_int_equal(world_append_once(w, 1, 100, 0), TIDE_OK); /* into the block that is not full */
    assert_int_equal(world_append_once(w, 1, 8000, 0), TIDE_FULL);
    world_pump(w);
    assert_int_equal(world_append_once(w, 1, 8000, 0), TIDE_OK);
    world_flush(w);
    world_check_all(w, 0, world_model_end(w));
    world_crash(w, NULL);
    open_with_large_extents(w);
    assert_int_equal(log_next_offset(w->log), world_model_end(w));
    world_check_all(w, 0, world_model_end(w));
}

/* The segment that follows a log that is more than half full is made when somebody appends, with its space. */
static void test_the_next_segment_waits_for_an_append(void **state)
{
    struct world *w = *state;
    w->config.segment_bytes = 256 << 10;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    while (w->log->position <= w->config.segment_bytes / 2)
        assert_int_equal(world_append(w, 1, 8000, 0), TIDE_OK);
    world_flush(w);
    assert_int_equal(world_close(w), 0);
    assert_int_equal(world_open(w), 0);
    world_flush(w);
    assert_false(w->log->prepared);
    assert_int_equal(world_append(w, 1, 1000, 0), TIDE_OK);
    world_flush(w);
    assert_true(w->log->prepared);
    assert_true(w->log->prepared_bytes != 0);
    world_check_all(w, 0, world_model_end(w));
}

/* What is too old goes although nobody appends: the segment that follows it is as empty as the log. */
static void test_an_idle_log_that_rolls_by_age(void **state)
{
    struct world *w = *state;
    open_with_large_extents(w);
    world_begin_epoch(w, 1);
    assert_int_equal(world_append(w, 1, 1000, 1000), TIDE_OK);
    world_flush(w);
    assert_int_equal(world_close(w), 0);
    open_with_large_extents(w);
    unsigned long before = w->disk->bytes_written;
    struct log_retention r = {.now_ms = 1000000, .ms = 1000, .bytes = -1, .limit = 1};
    log_retention_roll(w->log, &r);
    world_flush(w);
    assert_int_equal(log_active_base(w->log), 1);
    assert_in_range(w->disk->bytes_written - before, 0, 1000);
    assert_int_equal(world_append(w, 1, 1000, 1000000), TIDE_OK);
    world_flush(w);
    assert_int_equal(w->log->zeroed_end, LOG_AHEAD_FIRST);
    world_check_all(w, 0, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_start_zeroes_nothing, start, stop),
        cmocka_unit_test_setup_teardown(test_the_first_append_waits_for_a_piece, start, stop),
        cmocka_unit_test_setup_teardown(test_zeroes_are_paced_by_the_log, start, stop),
        cmocka_unit_test_setup_teardown(test_who_outruns_the_zeroes_gets_more_ahead, start, stop),
        cmocka_unit_test_setup_teardown(test_nothing_is_zeroed_during_a_cut, start, stop),
        cmocka_unit_test_setup_teardown(test_the_prepared_segment_is_zeroed_while_the_active_one_fills, start, stop),
        cmocka_unit_test_setup_teardown(test_space_after_a_start, start, stop),
        cmocka_unit_test_setup_teardown(test_the_next_segment_waits_for_an_append, start, stop),
        cmocka_unit_test_setup_teardown(test_an_idle_log_that_rolls_by_age, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
