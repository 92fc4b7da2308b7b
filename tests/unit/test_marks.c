/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <errno.h>
#include <stdlib.h>

#include "control/marks.h"
#include "memory_fs.h"
#include "tidemark/random.h"

static struct memory_fs fs_of_test, *disk = &fs_of_test;
static struct marks m;
static const char *const paths[] = {"/a", "/b"};
static unsigned said;
static struct tide_job *jobs[4];
static unsigned job_count;
static bool no_room;

static void say(const char *format, ...)
{
    (void)format;
    said++;
}

static enum tide_status submit(void *self, struct tide_job *job)
{
    if (no_room)
        return TIDE_FULL;
    jobs[job_count++] = job;
    return TIDE_OK;
}

static void run_jobs(void)
{
    while (job_count != 0) {
        struct tide_job *job = jobs[--job_count];
        job->run(job, &disk->fs);
        marks_on_job(&m, job, say);
    }
}

static void load(void)
{
    marks_deinit(&m);
    assert_true(marks_load(&m, &disk->fs, paths, 2, say));
    marks_check(&m);
}

static int setup(void **state)
{
    memory_fs_init(disk);
    assert_int_equal(disk->fs.mkdir(disk->fs.self, "/a"), 0);
    assert_int_equal(disk->fs.mkdir(disk->fs.self, "/b"), 0);
    said = job_count = 0;
    no_room = false;
    load();
    return 0;
}

static int teardown(void **state)
{
    marks_deinit(&m);
    memory_fs_deinit(disk);
    return 0;
}

static struct tide_uuid id_of(uint8_t n)
{
    return (struct tide_uuid){{n, 1}};
}

static void set(uint8_t topic, int32_t index, uint32_t dir, int64_t offset)
{
    struct mark one = {.topic_id = id_of(topic), .index = index, .dir = dir, .offset = offset};
    snprintf(one.topic, sizeof(one.topic), "topic-%u", topic);
    assert_true(marks_set(&m, &one));
    marks_check(&m);
}

static int64_t found(uint8_t topic, int32_t index)
{
    struct tide_uuid id = id_of(topic);
    return marks_find(&m, &id, index);
}

static void write_file(const char *path, const char *text)
{
    int file = disk->fs.open(disk->fs.self, path, TIDE_FS_WRITE | TIDE_FS_CREATE);
    assert_true(file >= 0);
    assert_int_equal(disk->fs.truncate(disk->fs.self, file, 0), 0);
    assert_int_equal(disk->fs.pwrite(disk->fs.self, file, text, strlen(text), 0), strlen(text));
    disk->fs.close(disk->fs.self, file);
}

#define PATH "/a/replication-offset-checkpoint"
#define ID "AQEAAAAAAAAAAAAAAAAAAA" /* id_of(1) */

static void test_what_was_written_is_found(void **state)
{
    set(3, 0, 0, 30);
    set(1, 1, 0, 11);
    set(1, 0, 1, 10);
    set(2, 0, 0, 20);
    set(1, 1, 0, 12);
    struct tide_uuid two = id_of(2);
    marks_remove(&m, &two, 0);
    marks_remove(&m, &two, 7); /* never was */
    marks_write(&m, submit, NULL);
    assert_int_equal(job_count, 2);
    assert_true(marks_is_writing(&m));
    run_jobs();
    assert_false(marks_is_writing(&m));
    load();
    assert_int_equal(found(1, 0), 10);
    assert_int_equal(found(1, 1), 12);
    assert_int_equal(found(3, 0), 30);
    assert_int_equal(found(2, 0), -1);
    assert_int_equal(said, 0);
}

static void test_what_did_not_change_is_not_written(void **state)
{
    set(1, 0, 0, 5);
    marks_write(&m, submit, NULL);
    assert_int_equal(job_count, 1); /* of its directory alone */
    set(1, 0, 0, 6);
    marks_write(&m, submit, NULL);
    assert_int_equal(job_count, 1); /* one at a time */
    run_jobs();
    marks_write(&m, submit, NULL);
    assert_int_equal(job_count, 1);
    run_jobs();
    set(1, 0, 0, 6);
    marks_write(&m, submit, NULL);
    assert_int_equal(job_count, 0);
    load();
    assert_int_equal(found(1, 0), 6);
}

static void test_what_failed_is_tried_again(void **state)
{
    set(1, 0, 0, 5);
    no_room = true;
    marks_write(&m, submit, NULL);
    assert_false(marks_is_writing(&m));
    no_room = false;
    marks_write(&m, submit, NULL);
    assert_int_equal(job_count, 1);
    jobs[0]->result = -EIO;
    marks_on_job(&m, jobs[0], say);
    job_count = 0;
    assert_int_equal(said, 1);
    assert_int_equal(marks_write_now(&m, &disk->fs), 0);
    marks_write(&m, submit, NULL);
    assert_int_equal(job_count, 0);
    load();
    assert_int_equal(found(1, 0), 5);
}

static void test_it_moves_between_directories(void **state)
{
    set(1, 0, 0, 5);
    assert_int_equal(marks_write_now(&m, &disk->fs), 0);
    set(1, 0, 1, 6);
    assert_int_equal(marks_write_now(&m, &disk->fs), 0);
    load();
    assert_int_equal(found(1, 0), 6);
    assert_int_equal(m.count, 1);
    assert_int_equal(m.at[0].dir, 1);
}

static void test_files_of_all_kinds(void **state)
{
    static const struct {
        const char *text;
        bool good;
        int64_t offset; /* of topic 1, partition 0; -1: nothing is known */
    } cases[] = {
        {"1\n0\n", true, -1},
        {"1\n1\nt 0 7 " ID "\n", true, 7},
        {"1\n1\nt 0 0 " ID "\n", true, 0},
        {"1\n1\nt 0 9223372036854775807 " ID "\n", true, INT64_MAX},
        {"1\n1\nt 0 9223372036854775808 " ID "\n", false, -1},
        {"1\n2\nt 0 7 " ID "\n", false, -1}, /* cut short */
        {"1\n0\nt 0 7 " ID "\n", false, -1},
        {"1\n2\nt 0 7 " ID "\nt 0 7 " ID "\n", false, -1}, /* twice the same */
        {"0\n1\nt 0 7\n", false, -1},
        {"2\n1\nt 0 7 " ID "\n", false, -1},
        {"1\n1\nt -1 7 " ID "\n", false, -1},
        {"1\n1\nt 2147483648 7 " ID "\n", false, -1},
        {"1\n1\nt 0 -7 " ID "\n", false, -1},
        {"1\n1\nt 0 7x " ID "\n", false, -1},
        {"1\n1\nt 0 7 short\n", false, -1},
        {"1\n1\nt 0 7 " ID " more\n", false, -1},
        {"1\n1\nt 0 7\n", false, -1},
        {"1\nx\n", false, -1},
        {"1\n", false, -1},
        {"1", false, -1},
        {"", false, -1},
        {"\n\n\n", false, -1},
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        write_file(PATH, cases[i].text);
        said = 0;
        load();
        if ((said == 0) != cases[i].good || found(1, 0) != cases[i].offset || (!cases[i].good && m.count != 0))
            fail_msg("row %zu: said %u, offset %ld, %u marks", i, said, (long)found(1, 0), m.count);
    }
}

static void test_chance(void **state)
{
    struct tide_random r = {.state = 7};
    int64_t model[8][8];
    memset(model, -1, sizeof(model));
    for (unsigned i = 0; i < 3000; i++) {
        uint8_t t = (uint8_t)(tide_random_below(&r, 8));
        int32_t p = (int32_t)(tide_random_below(&r, 8));
        struct tide_uuid id = id_of(t);
        if (tide_random_below(&r, 3) == 0) {
            marks_remove(&m, &id, p);
            model[t][p] = -1;
        } else {
            model[t][p] = 1 + (int64_t)i;
            set(t, p, (uint32_t)(tide_random_below(&r, 2)), model[t][p]);
        }
        if (i % 100 == 0) {
            assert_int_equal(marks_write_now(&m, &disk->fs), 0);
            load();
        }
    }
    for (uint8_t t = 0; t < 8; t++)
        for (int32_t p = 0; p < 8; p++)
            assert_int_equal(found(t, p), model[t][p]);
    assert_int_equal(said, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_was_written_is_found), TEST(test_what_did_not_change_is_not_written), TEST(test_what_failed_is_tried_again),
        TEST(test_it_moves_between_directories), TEST(test_files_of_all_kinds), TEST(test_chance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
