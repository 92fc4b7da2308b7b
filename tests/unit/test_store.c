/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk/posix_fs.h"
#include "edge/store.h"

enum { COMMANDS = 5, COMMAND_LEN = 20, HEAD = 16, RECORD_HEAD = 16, RECORD = RECORD_HEAD + COMMAND_LEN, FILE_MAX = 4096 };

static char dir[64];
static char error[STORE_ERROR_MAX];
static struct store *s;

static const char *path_of(const char *name)
{
    static char path[256];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

#define LOG "__cluster_metadata-0/commands.log"

static int setup(void **state)
{
    snprintf(dir, sizeof(dir), "/tmp/test_store_XXXXXX");
    return mkdtemp(dir) == NULL;
}

static int teardown(void **state)
{
    store_close(s);
    s = NULL;
    (void)unlink(path_of(LOG));
    (void)rmdir(path_of("__cluster_metadata-0"));
    return rmdir(dir); /* nothing else was left there */
}

static enum tide_status open_it(void)
{
    error[0] = 0;
    return store_open(dir, posix_fs(), &s, error, sizeof(error));
}

static void reopen(void)
{
    store_close(s);
    s = NULL;
    assert_int_equal(open_it(), TIDE_OK);
}

static void command(unsigned i, uint8_t ret[COMMAND_LEN])
{
    memset(ret, (int)('a' + i), COMMAND_LEN);
}

/* Expects the commands 0, 1, 2, ... */
static bool count_one(void *arg, const uint8_t *bytes, size_t len)
{
    unsigned *count = arg;
    uint8_t want[COMMAND_LEN];
    command((*count)++, want);
    assert_int_equal(len, COMMAND_LEN);
    assert_memory_equal(bytes, want, len);
    return true;
}

static enum tide_status replay(unsigned *ret_count)
{
    *ret_count = 0;
    return store_replay(s, count_one, ret_count, error, sizeof(error));
}

static void append(unsigned i)
{
    uint8_t bytes[COMMAND_LEN];
    command(i, bytes);
    assert_int_equal(store_append(s, bytes, sizeof(bytes)), 0);
}

/* A directory with COMMANDS commands, closed. */
static void written(void)
{
    unsigned count;
    assert_int_equal(open_it(), TIDE_OK);
    assert_int_equal(replay(&count), TIDE_OK);
    assert_int_equal(count, 0);
    for (unsigned i = 0; i < COMMANDS; i++) {
        assert_int_equal(store_next_index(s), i);
        append(i);
    }
    store_close(s);
    s = NULL;
}

static size_t read_log(uint8_t bytes[FILE_MAX])
{
    FILE *f = fopen(path_of(LOG), "rb");
    assert_non_null(f);
    size_t n = fread(bytes, 1, FILE_MAX, f);
    fclose(f);
    return n;
}

static void write_whole(const char *name, const void *bytes, size_t len)
{
    FILE *f = fopen(path_of(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
    fclose(f);
}

/* ---- commands ------------------------------------------------------------------------------------- */

static void test_commands_come_back(void **state)
{
    unsigned count;
    written();
    for (unsigned i = COMMANDS; i < COMMANDS + 4; i++) {
        assert_int_equal(open_it(), TIDE_OK);
        assert_int_equal(replay(&count), TIDE_OK);
        assert_int_equal(count, i);
        assert_int_equal(store_next_index(s), i);
        append(i);
        store_close(s);
        s = NULL;
    }
}

static bool refuse(void *arg, const uint8_t *bytes, size_t len)
{
    (void)bytes;
    (void)len;
    return ++*(unsigned *)arg < 3;
}

static void test_a_refused_command_stops_the_start(void **state)
{
    unsigned count = 0;
    written();
    assert_int_equal(open_it(), TIDE_OK);
    assert_int_equal(store_replay(s, refuse, &count, error, sizeof(error)), TIDE_BAD);
    assert_int_equal(count, 3);
    assert_non_null(strstr(error, "record 2"));
}

static void test_wrong_lengths_are_not_taken(void **state)
{
    static uint8_t bytes[(1 << 20) + 1];
    unsigned count;
    assert_int_equal(open_it(), TIDE_OK);
    assert_int_equal(replay(&count), TIDE_OK);
    assert_int_not_equal(store_append(s, bytes, 0), 0);
    assert_int_not_equal(store_append(s, bytes, sizeof(bytes)), 0);
    append(0);
    reopen();
    assert_int_equal(replay(&count), TIDE_OK);
    assert_int_equal(count, 1);
}

/* Cut anywhere: what is whole comes back, and the next command goes behind it. */
static void test_a_torn_tail_is_cut(void **state)
{
    uint8_t bytes[FILE_MAX], after[FILE_MAX];
    written();
    size_t len = read_log(bytes);
    assert_int_equal(len, HEAD + COMMANDS * RECORD);
    for (size_t cut = 0; cut < len; cut++) {
        unsigned count, whole = cut < HEAD ? 0 : (unsigned)((cut - HEAD) / RECORD);
        write_whole(LOG, bytes, cut);
        assert_int_equal(open_it(), TIDE_OK);
        assert_int_equal(replay(&count), TIDE_OK);
        assert_int_equal(count, whole);
        assert_int_equal(store_next_index(s), whole);
        append(whole);
        reopen();
        assert_int_equal(replay(&count), TIDE_OK);
        assert_int_equal(count, whole + 1);
        store_close(s);
        s = NULL;
        assert_int_equal(read_log(after), HEAD + (whole + 1) * RECORD);
        assert_memory_equal(after, bytes, HEAD + (whole + 1) * RECORD);
    }
}

static void test_garbage_behind_the_end_is_cut(void **state)
{
    uint8_t bytes[FILE_MAX];
    unsigned count;
    written();
    size_t len = read_log(bytes);
    memset(bytes + len, 0x5a, 300);
    write_whole(LOG, bytes, len + 300);
    assert_int_equal(open_it(), TIDE_OK);
    assert_int_equal(replay(&count), TIDE_OK);
    assert_int_equal(count, COMMANDS);
    store_close(s);
    s = NULL;
    assert_int_equal(read_log(bytes), len);
}

/* A flipped bit anywhere before the last record stops the start, and nothing is cut. */
static void test_damage_in_the_middle_is_refused(void **state)
{
    uint8_t bytes[FILE_MAX], after[FILE_MAX];
    written();
    size_t len = read_log(bytes);
    for (size_t at = 0; at < len - RECORD; at++) {
        unsigned count;
        bytes[at] ^= 0x10;
        write_whole(LOG, bytes, len);
        assert_int_equal(open_it(), TIDE_OK);
        if (replay(&count) != TIDE_BAD)
            fail_msg("damage at byte %zu was taken, %u commands came", at, count);
        assert_true(error[0] != 0);
        store_close(s);
        s = NULL;
        assert_int_equal(read_log(after), len);
        assert_memory_equal(after, bytes, len);
        bytes[at] ^= 0x10;
    }
}

static void test_a_newer_header_is_refused(void **state)
{
    /* "tidemeta", version 2, its checksum */
    uint8_t bytes[HEAD] = {'t', 'i', 'd', 'e', 'm', 'e', 't', 'a', 0, 0, 0, 2};
    uint32_t crc = ~0u;
    unsigned count;
    for (unsigned i = 0; i < 12; i++) {
        crc ^= bytes[i];
        for (unsigned k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
    }
    crc = ~crc;
    for (unsigned i = 0; i < 4; i++)
        bytes[12 + i] = (uint8_t)(crc >> (24 - 8 * i));
    written();
    write_whole(LOG, bytes, sizeof(bytes));
    assert_int_equal(open_it(), TIDE_OK);
    assert_int_equal(replay(&count), TIDE_REFUSED);
    assert_non_null(strstr(error, "newer"));
}

/* ---- a disk that fails -------------------------------------------------------------------------------- */

static int failing_sync(void *self, int file)
{
    (void)self;
    (void)file;
    return -EIO;
}

static void test_a_failed_append_ends_it(void **state)
{
    struct tide_fs fs = *posix_fs();
    uint8_t bytes[COMMAND_LEN];
    unsigned count;
    command(0, bytes);
    assert_int_equal(store_open(dir, &fs, &s, error, sizeof(error)), TIDE_OK);
    assert_int_equal(replay(&count), TIDE_OK);
    fs.sync = failing_sync;
    assert_int_equal(store_append(s, bytes, sizeof(bytes)), -EIO);
    fs.sync = posix_fs()->sync;
    assert_int_not_equal(store_append(s, bytes, sizeof(bytes)), 0); /* nothing goes over it */
    assert_int_equal(store_next_index(s), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_commands_come_back),
        TEST(test_a_refused_command_stops_the_start),
        TEST(test_wrong_lengths_are_not_taken),
        TEST(test_a_torn_tail_is_cut),
        TEST(test_garbage_behind_the_end_is_cut),
        TEST(test_damage_in_the_middle_is_refused),
        TEST(test_a_newer_header_is_refused),
        TEST(test_a_failed_append_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
