/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <fcntl.h>
#include <unistd.h>

#include "daemon/conns_file.h"

enum { SLOTS = ROSTER_ROWS + 20, MAX = 1000 };

static char dir[] = "test_conns_XXXXXX";

static int setup(void **state)
{
    return mkdtemp(dir) == NULL;
}

static int teardown(void **state)
{
    return chdir(dir) != 0 || unlink("connections") != 0 || chdir("..") != 0 || rmdir(dir) != 0;
}

static struct orphan orphan_of(uint32_t i)
{
    return (struct orphan){{tide_addr_v4(0x0a000001), 9092}, {tide_addr_v4(0x0a000100 + i), (uint16_t)(40000 + i)}};
}

static void write_raw(const void *bytes, size_t len)
{
    char path[64];
    snprintf(path, sizeof(path), "%s/connections", dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
    fclose(f);
}

static void expect_orphans(uint32_t max, uint32_t count)
{
    uint32_t n;
    struct orphan *list = conns_file_load(dir, max, &n);
    assert_int_equal(n, count);
    for (uint32_t i = 0; i < n; i++) {
        struct orphan want = orphan_of(i);
        assert_memory_equal(&list[i].local.addr, &want.local.addr, sizeof(want.local.addr));
        assert_memory_equal(&list[i].remote.addr, &want.remote.addr, sizeof(want.remote.addr));
        assert_int_equal(list[i].local.port, want.local.port);
        assert_int_equal(list[i].remote.port, want.remote.port);
    }
    free(list);
}

/* One process after the other ends before it has roused anybody. */
static void test_who_was_not_roused_is_handed_on(void **state)
{
    struct orphan list[150];
    int fd;
    for (uint32_t i = 0; i < TIDE_ARRAY_LEN(list); i++)
        list[i] = orphan_of(i);
    expect_orphans(MAX, 0); /* there is none */
    for (unsigned round = 0; round < 3; round++) {
        fd = conns_file_make(dir, roster_blocks(SLOTS + 150), list, 150, SLOTS);
        assert_true(fd >= 0);
        assert_int_equal(lseek(fd, 0, SEEK_END), (1 + roster_blocks(SLOTS + 150)) * TIDE_BLOCK);
        close(fd);
        expect_orphans(MAX, 150);
    }
    expect_orphans(149, 149);
    fd = conns_file_make(dir, roster_blocks(SLOTS), NULL, 0, SLOTS);
    close(fd);
    expect_orphans(MAX, 0);
}

/* A core writes its own, with holes between, wherever its range is. */
static void test_rows_of_the_cores_are_found(void **state)
{
    uint8_t block[TIDE_BLOCK] = {0};
    int fd = conns_file_make(dir, 4, NULL, 0, 0);
    for (uint32_t i = 0; i < 3; i++) {
        static const uint32_t slots[] = {0, 50, ROSTER_ROWS - 1};
        struct orphan o = orphan_of(i);
        struct roster_row row = {o.local.addr, o.remote.addr, o.local.port, o.remote.port, 0};
        memcpy(block + roster_row_at(slots[i]), &row, sizeof(row));
    }
    assert_int_equal(pwrite(fd, block, sizeof(block), 3 * TIDE_BLOCK), sizeof(block));
    close(fd);
    expect_orphans(MAX, 3);
}

static void test_what_is_of_another_form_is_empty(void **state)
{
    uint8_t bytes[3 * TIDE_BLOCK];
    struct roster_header h = {.magic = ROSTER_MAGIC, .format = ROSTER_FORMAT};
    memset(bytes, 0x55, sizeof(bytes));
    memcpy(bytes, &h, sizeof(h));
    write_raw(bytes, sizeof(bytes));
    uint32_t n;
    free(conns_file_load(dir, MAX, &n));
    assert_int_equal(n, 2 * ROSTER_ROWS); /* it is believed in its own form... */
    write_raw(bytes, sizeof(bytes) - 1);
    free(conns_file_load(dir, MAX, &n));
    assert_int_equal(n, ROSTER_ROWS); /* ...block by block... */
    h.format = 1;
    memcpy(bytes, &h, sizeof(h));
    write_raw(bytes, sizeof(bytes));
    expect_orphans(MAX, 0); /* ...and in no other */
    write_raw(bytes + 1, sizeof(bytes) - 1);
    expect_orphans(MAX, 0);
    write_raw(bytes, 0);
    expect_orphans(MAX, 0);
}

static void test_a_directory_that_is_not_there(void **state)
{
    uint32_t n = 1;
    assert_int_equal(conns_file_make("no/such/place", 1, NULL, 0, 0), -1);
    assert_null(conns_file_load("no/such/place", MAX, &n));
    assert_int_equal(n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_was_not_roused_is_handed_on),
        cmocka_unit_test(test_rows_of_the_cores_are_found),
        cmocka_unit_test(test_what_is_of_another_form_is_empty),
        cmocka_unit_test(test_a_directory_that_is_not_there),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
