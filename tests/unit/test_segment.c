/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <errno.h>

#include "log/segment.h"
#include "log_world.h"
#include "memory_fs.h"
#include "tidemark/bytes.h"

#define DIR "/data/t-0"

static struct memory_fs disk;

static int start(void **state)
{
    unit_eal();
    memory_fs_init(&disk);
    disk.fs.mkdir(&disk, DIR);
    return 0;
}

static int stop(void **state)
{
    assert_int_equal(memory_fs_open_handles(&disk), 0);
    memory_fs_deinit(&disk);
    return 0;
}

static void test_names(void **state)
{
    static const struct {
        const char *name;
        const char *suffix;
        int64_t base; /* -1: no name */
    } cases[] = {
        {"00000000000000000000.log", ".log", 0},
        {"00000000000000000123.index", ".index", 123},
        {"09223372036854775800.log", ".log", -1}, /* too near the end of the offsets */
        {"00000000000000000123.index", ".log", -1},
        {"0000000000000000123.log", ".log", -1},
        {"000000000000000000123.log", ".log", -1},
        {"0000000000000000012a.log", ".log", -1},
        {"-0000000000000000012.log", ".log", -1},
        {"99999999999999999999.log", ".log", -1},
        {"00000000000000000001.log.deleted", ".log", -1},
        {"", ".log", -1},
        {".log", ".log", -1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t base = -1;
        bool is = segment_name_parse(cases[i].name, cases[i].suffix, &base);
        assert_int_equal(is, cases[i].base >= 0);
        assert_int_equal(base, cases[i].base);
    }
    char path[LOG_PATH_MAX];
    assert_int_equal(segment_path(path, DIR, 123, ".log"), 0);
    assert_string_equal(path, DIR "/00000000000000000123.log");
    char dir[LOG_PATH_MAX];
    memset(dir, 'x', sizeof(dir) - 1);
    dir[sizeof(dir) - 1] = '\0';
    assert_int_equal(segment_path(path, dir, 123, ".log"), -ENAMETOOLONG);
    assert_int_equal(log_path(path, dir, "a"), -ENAMETOOLONG);
}

static void test_file_replace(void **state)
{
    char *text;
    size_t len;
    assert_int_equal(log_file_load(&disk.fs, DIR, "a", 100, &text, &len), -ENOENT);
    assert_int_equal(log_file_replace(&disk.fs, DIR, "a", "old", 3), 0);
    /* Whatever fails, and wherever power goes, one of the two contents is there. */
    for (unsigned long n = 1; n < 10; n++) {
        disk.fail_at = disk.operations + n;
        disk.dead_from_there = true;
        int e = log_file_replace(&disk.fs, DIR, "a", "newer", 5);
        disk.fail_at = 0;
        disk.dead_from_there = false;
        memory_fs_crash(&disk, NULL);
        assert_int_equal(log_file_load(&disk.fs, DIR, "a", 100, &text, &len), 0);
        assert_int_equal(memory_fs_open_handles(&disk), 0);
        bool new = len == 5 && memcmp(text, "newer", 5) == 0;
        assert_true(new || (len == 3 && memcmp(text, "old", 3) == 0));
        assert_true(new || e != 0);
        free(text);
        if (e == 0)
            break;
        assert_true(n < 9);
        assert_int_equal(log_file_replace(&disk.fs, DIR, "a", "old", 3), 0);
    }
    assert_int_equal(log_file_load(&disk.fs, DIR, "a", 4, &text, &len), -EFBIG);
}

static void test_create(void **state)
{
    memory_fs_put(&disk, DIR "/next.prepared", "stale", 5);
    int file = segment_create(&disk.fs, DIR, DIR "/next.prepared", 3 << 20, true);
    assert_true(file >= 0);
    struct memory_file *f = memory_fs_find(&disk, DIR "/next.prepared");
    assert_int_equal(f->size, 3 << 20);
    assert_int_equal(f->kept_size, 3 << 20);
    assert_int_equal(f->kept[0], 0);
    disk.fs.close(&disk, file);
    memory_fs_crash(&disk, NULL);
    assert_non_null(memory_fs_find(&disk, DIR "/next.prepared"));
    disk.free_bytes = 1 << 20;
    assert_int_equal(segment_create(&disk.fs, DIR, DIR "/next.prepared", 3 << 20, true), -ENOSPC);
    assert_null(memory_fs_find(&disk, DIR "/next.prepared"));
}

static void test_allocated_and_not_written(void **state)
{
    int file = segment_create(&disk.fs, DIR, DIR "/next.prepared", 3 << 20, false);
    assert_true(file >= 0);
    struct memory_file *f = memory_fs_find(&disk, DIR "/next.prepared");
    unsigned long written = disk.bytes_written;
    assert_int_equal(f->size, 3 << 20);
    assert_int_equal(segment_extend(&disk.fs, file, 3 << 20, 5 << 20, false), 0);
    assert_int_equal(f->size, 5 << 20);
    assert_int_equal(f->bytes[(5 << 20) - 1], 0);
    assert_int_equal(disk.bytes_written, written);
    disk.free_bytes = 1 << 20;
    assert_int_equal(segment_extend(&disk.fs, file, 5 << 20, 8 << 20, false), -ENOSPC);
    disk.fs.close(&disk, file);
}

/* ---- scanning ---- */

enum { BASE = 1000 };

/* Three batches of two records, epochs 4, 4, 6, at offsets 1000, 1002, 1004. */
static size_t build(uint8_t *to, size_t cap, size_t at[4])
{
    static const int32_t epochs[] = {4, 4, 6};
    size_t len = 0;
    for (int i = 0; i < 3; i++) {
        struct batch_build_record records[] = {
            {.timestamp = 10 * i, .value = "abcdef", .value_len = 6},
            {.timestamp = 10 * i + 1, .value = "xyz", .value_len = 3}};
        at[i] = len;
        size_t n = batch_build(to + len, cap - len, records, 2, -1, -1, -1);
        store_be64(to + len + BATCH_BASE_OFFSET, (uint64_t)(BASE + 2 * i));
        store_be32(to + len + BATCH_LEADER_EPOCH, (uint32_t)epochs[i]);
        len += n;
    }
    at[3] = len;
    return len;
}

static struct segment_scan scan(const uint8_t *bytes, size_t len, int32_t last_epoch, bool learn,
                                struct log_epoch_lines *lines)
{
    struct segment_reader r;
    struct segment_scan s = {
        .base_offset = BASE, .last_epoch = last_epoch, .lines = lines, .learn_epochs = learn};
    memory_fs_put(&disk, DIR "/s", bytes, len);
    int file = disk.fs.open(&disk, DIR "/s", TIDE_FS_READ);
    assert_int_equal(segment_reader_init(&r, &disk.fs, file, len), 0);
    assert_int_equal(segment_scan(&r, &s), 0);
    segment_reader_deinit(&r);
    disk.fs.close(&disk, file);
    return s;
}

static void test_scan_truth_table(void **state)
{
    struct {
        const char *what;
        int batch; /* which one is changed */
        int field; /* where */
        int width;
        int64_t value;
        int good; /* batches that remain */
    } cases[] = {
        {"nothing", 0, -1, 0, 0, 3},
        {"offset too high", 1, BATCH_BASE_OFFSET, 8, BASE + 3, 1},
        {"offset too low", 1, BATCH_BASE_OFFSET, 8, BASE, 1},
        {"offset negative", 0, BATCH_BASE_OFFSET, 8, -1, 0},
        {"offset at the end of all", 2, BATCH_BASE_OFFSET, 8, INT64_MAX, 2},
        {"length 0", 1, BATCH_LENGTH, 4, 0, 1},
        {"length negative", 1, BATCH_LENGTH, 4, -1, 1},
        {"length 48", 1, BATCH_LENGTH, 4, 48, 1},
        {"length beyond the file", 2, BATCH_LENGTH, 4, 100000, 2},
        {"length INT32_MAX", 2, BATCH_LENGTH, 4, INT32_MAX, 2},
        {"magic 1", 1, BATCH_MAGIC, 1, 1, 1},
        {"magic 3", 1, BATCH_MAGIC, 1, 3, 1},
        {"crc", 1, BATCH_CRC, 4, 12345, 1},
        {"attributes, crc not", 1, BATCH_ATTRIBUTES, 2, 1, 1},
        {"delta negative", 1, BATCH_LAST_OFFSET_DELTA, 4, -2, 1},
        {"epoch falls", 2, BATCH_LEADER_EPOCH, 4, 3, 2},
        {"epoch not listed", 2, BATCH_LEADER_EPOCH, 4, 5, 2},
        {"epoch beyond the list", 2, BATCH_LEADER_EPOCH, 4, 7, 2},
        {"epoch before its start", 1, BATCH_LEADER_EPOCH, 4, 6, 1},
        {"epoch negative", 0, BATCH_LEADER_EPOCH, 4, -1, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t bytes[1024];
        size_t at[4];
        struct log_epoch_lines lines = {.count = 2, .lines = {{4, BASE}, {6, BASE + 4}}};
        size_t len = build(bytes, sizeof(bytes), at);
        for (int k = 0; k < cases[i].width; k++)
            bytes[at[cases[i].batch] + (size_t)cases[i].field + (size_t)k] =
                (uint8_t)((uint64_t)cases[i].value >> 8 * (cases[i].width - 1 - k));
        struct segment_scan s = scan(bytes, len, 4, false, &lines);
        if (s.position != at[cases[i].good])
            fprintf(stderr, "%s\n", cases[i].what);
        assert_int_equal(s.position, at[cases[i].good]);
        assert_int_equal(s.next_offset, BASE + 2 * cases[i].good);
        assert_int_equal(s.end, cases[i].good == 3 ? SEGMENT_END_WHOLE : SEGMENT_END_TORN);
        assert_int_equal(s.max_timestamp, cases[i].good == 0 ? -1 : 10 * cases[i].good - 9);
    }
}

static void test_scan_ends(void **state)
{
    uint8_t bytes[9000] = {0};
    size_t at[4];
    struct log_epoch_lines lines = {.count = 2, .lines = {{4, BASE}, {6, BASE + 4}}};
    size_t len = build(bytes, sizeof(bytes), at);
    assert_int_equal(scan(bytes, len, -1, false, &lines).end, SEGMENT_END_WHOLE);
    assert_int_equal(scan(bytes, sizeof(bytes), -1, false, &lines).end, SEGMENT_END_ZERO);
    bytes[8999] = 1;
    assert_int_equal(scan(bytes, sizeof(bytes), -1, false, &lines).end, SEGMENT_END_TORN);
    assert_int_equal(scan(bytes, 0, -1, false, &lines).end, SEGMENT_END_WHOLE);
    assert_int_equal(scan(bytes, len, 5, false, &lines).position, 0); /* below what came before */
    struct log_epoch_lines none = {0};
    assert_int_equal(scan(bytes, len, -1, true, &none).position, len);
    assert_int_equal(none.count, 2);
    assert_int_equal(none.lines[1].start, BASE + 4);
}

/* A batch larger than what is read at once. */
static void test_scan_large_batch(void **state)
{
    size_t cap = 5 << 20;
    uint8_t *bytes = calloc(1, cap);
    uint8_t *value = calloc(1, cap);
    assert_true(bytes != NULL && value != NULL);
    for (size_t i = 0; i < cap; i++)
        value[i] = (uint8_t)(i * 7);
    struct batch_build_record record = {
        .timestamp = 1, .value = value, .value_len = (int32_t)cap - 200};
    size_t len = batch_build(bytes, cap, &record, 1, -1, -1, -1);
    struct log_epoch_lines lines = {0};
    store_be64(bytes, BASE);
    store_be32(bytes + BATCH_LEADER_EPOCH, 0);
    assert_int_equal(scan(bytes, len, -1, true, &lines).position, len);
    for (size_t at = 100; at < len; at += 900001) {
        bytes[at] ^= 4;
        assert_int_equal(scan(bytes, len, -1, true, &lines).position, 0);
        bytes[at] ^= 4;
    }
    free(bytes);
    free(value);
}

static void test_read_error_is_no_end(void **state)
{
    struct segment_reader r;
    struct log_epoch_lines lines = {0};
    struct segment_scan s = {.base_offset = BASE, .lines = &lines, .learn_epochs = true};
    memory_fs_put(&disk, DIR "/s", "x", 1);
    int file = disk.fs.open(&disk, DIR "/s", TIDE_FS_READ);
    /* The file is shorter than it said: not a torn tail, the device is wrong. */
    assert_int_equal(segment_reader_init(&r, &disk.fs, file, 5000), 0);
    assert_int_equal(segment_scan(&r, &s), -EIO);
    segment_reader_deinit(&r);
    disk.fs.close(&disk, file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_names, start, stop),
        cmocka_unit_test_setup_teardown(test_file_replace, start, stop),
        cmocka_unit_test_setup_teardown(test_create, start, stop),
        cmocka_unit_test_setup_teardown(test_allocated_and_not_written, start, stop),
        cmocka_unit_test_setup_teardown(test_scan_truth_table, start, stop),
        cmocka_unit_test_setup_teardown(test_scan_ends, start, stop),
        cmocka_unit_test_setup_teardown(test_scan_large_batch, start, stop),
        cmocka_unit_test_setup_teardown(test_read_error_is_no_end, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
