/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io_uring on a file in the working directory (which is the build directory under meson), and the
 * helper threads.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "disk/disk.h"
#include "disk/help_pool.h"
#include "disk/posix_fs.h"
#include "tidemark/types.h"

enum { ENTRIES = 16, BLOCKS = 32, JOBS = 1000 };

static uint8_t *region;
static uint8_t *outside; /* memory that is not registered */
static int file;

static int setup(void **state)
{
    char path[] = "test_disk_XXXXXX";
    unit_eal();
    region = aligned_alloc(TIDE_BLOCK, BLOCKS * TIDE_BLOCK);
    outside = aligned_alloc(TIDE_BLOCK, BLOCKS * TIDE_BLOCK);
    file = mkstemp(path);
    if (region == NULL || outside == NULL || file < 0)
        return 1;
    memset(region, 0, BLOCKS * TIDE_BLOCK);
    memset(outside, 0, BLOCKS * TIDE_BLOCK);
    return unlink(path);
}

static int teardown(void **state)
{
    free(region);
    free(outside);
    return close(file);
}

/* Skips the test where the kernel has no io_uring for us. */
static struct disk *open_disk(void)
{
    const struct disk_config config = {.entries = ENTRIES,
                                       .region_count = 1,
                                       .regions = {{region, BLOCKS * TIDE_BLOCK}}};
    char text[256] = "";
    struct disk *d = disk_create(&config, text, sizeof(text));
    assert_true(text[0] != 0);
    if (d == NULL) {
        print_message("%s\n", text);
        skip();
    }
    return d;
}

static struct disk_op op_of(enum disk_op_kind kind, uint8_t *memory, unsigned block, bool durable)
{
    return (struct disk_op){.kind = kind,
                            .durable = durable,
                            .file = file,
                            .len = TIDE_BLOCK,
                            .position = (uint64_t)block * TIDE_BLOCK,
                            .buf = memory + (size_t)block * TIDE_BLOCK,
                            .id = DISK_ID(DISK_OWNER_LOG, block, 0xfffffff0u + block)};
}

/* Queues all, takes all; every id once, with a full block as its result. */
static void run(struct disk *d, const struct disk_op *ops, unsigned count, bool wait)
{
    bool seen[BLOCKS] = {false};
    unsigned done_count = 0;
    assert_int_equal(disk_queue(d, ops, count), TIDE_OK);
    assert_int_equal(disk_in_flight(d), count);
    while (done_count < count) {
        struct disk_done done[4];
        uint32_t tags;
        unsigned n = wait ? disk_wait(d, 1000000000, done, TIDE_ARRAY_LEN(done), &tags)
                          : disk_turn(d, done, TIDE_ARRAY_LEN(done));
        for (unsigned i = 0; i < n; i++) {
            unsigned block = DISK_ID_SLOT(done[i].id);
            assert_int_equal(done[i].result, TIDE_BLOCK);
            assert_int_equal(DISK_ID_OWNER(done[i].id), DISK_OWNER_LOG);
            assert_int_equal(DISK_ID_GENERATION(done[i].id), 0xfffffff0u + block);
            assert_false(seen[block]);
            seen[block] = true;
        }
        done_count += n;
    }
    assert_int_equal(disk_in_flight(d), 0);
}

static void write_and_read_back(uint8_t *memory, bool durable, bool wait)
{
    struct disk *d = open_disk();
    struct disk_op ops[ENTRIES];
    for (unsigned i = 0; i < ENTRIES; i++) {
        memset(memory + i * TIDE_BLOCK, (int)(i + 1 + durable), TIDE_BLOCK);
        ops[i] = op_of(DISK_WRITE, memory, i, durable);
    }
    run(d, ops, ENTRIES, wait);
    memset(memory, 0, ENTRIES * TIDE_BLOCK);
    for (unsigned i = 0; i < ENTRIES; i++)
        ops[i] = op_of(DISK_READ, memory, i, false);
    run(d, ops, ENTRIES, wait);
    for (unsigned i = 0; i < ENTRIES * TIDE_BLOCK; i++)
        assert_int_equal(memory[i], (uint8_t)(i / TIDE_BLOCK + 1 + durable));
    disk_destroy(d);
}

static void test_write_and_read_back(void **state)
{
    for (unsigned i = 0; i < 8; i++)
        write_and_read_back(i & 1 ? region : outside, (i & 2) != 0, (i & 4) != 0);
}

/* Every way in which a ring can be made; each that this kernel takes works, and says what it is. */
static void test_every_kind_of_ring(void **state)
{
    static const char *const words[] = {"io_uring", "deferred", "cooperative", "plain"};
    for (unsigned i = 0; i < 32; i++) {
        struct disk_config config = {.entries = ENTRIES, .task_run = (enum disk_task_run)(i & 3), .plain_buffers = (i & 4) != 0,
                                     .polled = (i & 8) != 0, .region_count = 1, .regions = {{region, BLOCKS * TIDE_BLOCK}}};
        char text[256] = "";
        struct disk *d = disk_create(&config, text, sizeof(text));
        if (d == NULL) {
            assert_true(config.task_run != DISK_TASK_RUN_AUTO || strstr(text, "not available") != NULL);
            continue;
        }
        assert_non_null(strstr(text, words[config.task_run]));
        if (config.plain_buffers)
            assert_non_null(strstr(text, "plain buffers"));
        if (!config.polled)
            assert_non_null(strstr(text, "by interrupt"));
        struct disk_op op = op_of(DISK_WRITE, region, 0, true);
        struct disk_done done = {0};
        unsigned n = 0;
        op.cached = (i & 16) != 0; /* as the file is */
        assert_int_equal(disk_queue(d, &op, 1), TIDE_OK);
        for (unsigned tries = 0; n == 0 && tries < 100000; tries++) {
            uint32_t tags;
            n = tries % 2 == 0 ? disk_turn(d, &done, 1) : disk_wait(d, 1000000, &done, 1, &tags);
        }
        assert_int_equal(n, 1);
        assert_int_equal(done.id, op.id);
        assert_true(done.result == TIDE_BLOCK || (config.polled && !op.cached && done.result == -EOPNOTSUPP)); /* a file that cannot be polled */
        assert_int_equal(disk_in_flight(d), 0);
        disk_destroy(d);
    }
    assert_false(disk_can_poll("/proc"));
    assert_false(disk_can_poll("/no/such/place"));
}

static void test_a_full_ring_takes_nothing(void **state)
{
    struct disk *d = open_disk();
    struct disk_op ops[ENTRIES + 1];
    for (unsigned i = 0; i <= ENTRIES; i++)
        ops[i] = op_of(DISK_WRITE, region, i, false);
    assert_int_equal(disk_queue(d, ops, ENTRIES + 1), TIDE_FULL);
    assert_int_equal(disk_in_flight(d), 0);
    run(d, ops, ENTRIES, true);
    disk_destroy(d);
}

static void test_results_are_reported_as_they_are(void **state)
{
    struct disk *d = open_disk();
    struct disk_op ops[2] = {op_of(DISK_READ, region, 20, false), op_of(DISK_READ, region, 21, false)};
    struct disk_done done[2];
    uint32_t tags;
    ops[1].file = -1;
    assert_int_equal(ftruncate(file, 20 * TIDE_BLOCK + 100), 0);
    assert_int_equal(disk_queue(d, ops, 2), TIDE_OK);
    for (unsigned n = 0; n < 2;)
        n += disk_wait(d, 1000000000, done + n, 2 - n, &tags);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(done[i].result, done[i].id == ops[0].id ? 100 : -EBADF);
    disk_destroy(d);
}

static void test_a_watch_ends_the_wait(void **state)
{
    struct disk *d = open_disk();
    int fds[2] = {eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK)};
    struct disk_done done[4];
    uint64_t value = 1;
    uint32_t tags = 99;
    disk_watch(d, fds[0], 0);
    disk_watch(d, fds[1], 31);
    assert_int_equal(disk_wait(d, 1000000, done, 4, &tags), 0); /* times out */
    assert_int_equal(tags, 0);
    for (unsigned round = 0; round < 6; round++) {
        unsigned which = round % 2;
        assert_int_equal(write(fds[which], &value, sizeof(value)), sizeof(value));
        assert_int_equal(disk_wait(d, 5000000000, done, 4, &tags), 0);
        assert_true(tags == (which ? 1u << 31 : 1u));
        assert_int_equal(read(fds[which], &value, sizeof(value)), sizeof(value));
        assert_int_equal(value, 1);
    }
    assert_int_equal(disk_in_flight(d), 0); /* watches are no operations */
    disk_destroy(d);
    close(fds[0]);
    close(fds[1]);
}

/* ---- helpers ------------------------------------------------------------------------------------------ */

struct counted {
    struct tide_job job;
    atomic_uint runs;
    unsigned backs;
};

static struct counted jobs[JOBS];

static void run_counted(struct tide_job *job, const struct tide_fs *fs)
{
    struct counted *c = (struct counted *)job;
    job->result = fs == posix_fs() ? (int64_t)job->cookie * 2 : -1;
    atomic_fetch_add(&c->runs, 1);
}

static void take_back(struct help_pool *p, uint32_t owner, unsigned *count)
{
    struct tide_job *back[8];
    unsigned n = help_pool_take(p, owner, back, TIDE_ARRAY_LEN(back));
    for (unsigned i = 0; i < n; i++) {
        struct counted *c = (struct counted *)back[i];
        assert_int_equal(back[i]->owner, owner);
        assert_int_equal(back[i]->result, (int64_t)back[i]->cookie * 2);
        assert_int_equal(atomic_load(&c->runs), 1);
        assert_int_equal(++c->backs, 1);
    }
    *count += n;
}

static void test_every_job_runs_and_comes_back_once(void **state)
{
    static const uint32_t owners[] = {0, 1, TIDE_JOB_CONTROL};
    struct help_pool *p = help_pool_create(2, 2, posix_fs());
    unsigned count = 0, given = 0;
    assert_non_null(p);
    memset(jobs, 0, sizeof(jobs));
    while (count < JOBS) {
        for (unsigned i = 0; i < 10 && given < JOBS; i++, given++) {
            jobs[given].job = (struct tide_job){.run = run_counted, .owner = owners[given % 3], .cookie = given};
            assert_int_equal(help_pool_submit(p, &jobs[given].job), TIDE_OK);
        }
        for (size_t k = 0; k < TIDE_ARRAY_LEN(owners); k++)
            take_back(p, owners[k], &count);
    }
    for (size_t k = 0; k < TIDE_ARRAY_LEN(owners); k++)
        take_back(p, owners[k], &count);
    assert_int_equal(count, JOBS);
    for (unsigned i = 0; i < JOBS; i++)
        assert_int_equal(jobs[i].backs, 1);
    help_pool_destroy(p);
}

static void test_a_job_that_comes_back_rings(void **state)
{
    struct help_pool *p = help_pool_create(1, 2, posix_fs());
    int fd = eventfd(0, 0); /* read() waits */
    uint64_t value = 0;
    unsigned count = 0;
    assert_non_null(p);
    memset(jobs, 0, sizeof(jobs));
    help_pool_set_doorbell(p, 1, fd);
    jobs[0].job = (struct tide_job){.run = run_counted, .owner = 1, .cookie = 7};
    assert_int_equal(help_pool_submit(p, &jobs[0].job), TIDE_OK);
    assert_int_equal(read(fd, &value, sizeof(value)), sizeof(value));
    take_back(p, 0, &count);
    assert_int_equal(count, 0);
    take_back(p, 1, &count);
    assert_int_equal(count, 1);
    help_pool_destroy(p);
    close(fd);
}

static void test_what_is_queued_is_run_before_the_end(void **state)
{
    struct help_pool *p = help_pool_create(2, 1, posix_fs());
    assert_non_null(p);
    memset(jobs, 0, sizeof(jobs));
    for (unsigned i = 0; i < JOBS; i++) {
        jobs[i].job = (struct tide_job){.run = run_counted, .owner = 0, .cookie = i};
        assert_int_equal(help_pool_submit(p, &jobs[i].job), TIDE_OK);
    }
    help_pool_destroy(p);
    for (unsigned i = 0; i < JOBS; i++)
        assert_int_equal(atomic_load(&jobs[i].runs), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write_and_read_back),
        cmocka_unit_test(test_every_kind_of_ring),
        cmocka_unit_test(test_a_full_ring_takes_nothing),
        cmocka_unit_test(test_results_are_reported_as_they_are),
        cmocka_unit_test(test_a_watch_ends_the_wait),
        cmocka_unit_test(test_every_job_runs_and_comes_back_once),
        cmocka_unit_test(test_a_job_that_comes_back_rings),
        cmocka_unit_test(test_what_is_queued_is_run_before_the_end),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
