/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <errno.h>

#include "disk/posix_fs.h"
#include "sim_fs.h"
#include "tidemark/random.h"
#include "tidemark/types.h"

enum { BLOCKS = 8, RW = TIDE_FS_READ | TIDE_FS_WRITE, NEW = RW | TIDE_FS_CREATE };
#define LATE 1000000000000ull /* every operation is done by then */

static struct sim_fs *fs;
static const struct tide_fs *v;
static struct sim_disk *disk;
static uint8_t *blocks; /* BLOCKS aligned ones */

static void open_world(uint64_t seed, uint64_t capacity)
{
    struct sim_fs_config config = {.seed = seed, .capacity_bytes = capacity};
    struct sim_disk_config queue = {.entries = 8};
    fs = sim_fs_create(&config);
    v = sim_fs_verbs(fs);
    disk = sim_disk_create(fs, &queue);
    blocks = aligned_alloc(TIDE_BLOCK, BLOCKS * TIDE_BLOCK);
    assert_non_null(blocks);
    memset(blocks, 0, BLOCKS * TIDE_BLOCK);
}

static void close_world(void)
{
    sim_fs_check(fs);
    sim_disk_destroy(disk);
    sim_fs_destroy(fs);
    free(blocks);
}

static int setup(void **state)
{
    open_world(1, 0);
    return 0;
}

static int teardown(void **state)
{
    close_world();
    return 0;
}

static int must_open(const char *path, unsigned flags)
{
    int file = v->open(v->self, path, flags);
    assert_true(file >= 0);
    return file;
}

static void close_file(int file)
{
    assert_int_equal(v->close(v->self, file), 0);
}

/* A file of `len` bytes `fill`, durable with its name in the root. */
static void put(const char *path, uint8_t fill, size_t len)
{
    uint8_t *bytes = malloc(len);
    int file = must_open(path, NEW);
    memset(bytes, fill, len);
    assert_int_equal(v->pwrite(v->self, file, bytes, len, 0), (int64_t)len);
    assert_int_equal(v->sync(v->self, file), 0);
    close_file(file);
    assert_int_equal(v->sync_dir(v->self, "/"), 0);
    free(bytes);
}

static void overwrite(const char *path, uint8_t fill, size_t len)
{
    uint8_t *bytes = malloc(len);
    int file = must_open(path, RW);
    memset(bytes, fill, len);
    assert_int_equal(v->pwrite(v->self, file, bytes, len, 0), (int64_t)len);
    close_file(file);
    free(bytes);
}

/* Bytes of the file, or -ENOENT. */
static int64_t get(const char *path, uint8_t *bytes, size_t room)
{
    int file = v->open(v->self, path, TIDE_FS_READ);
    if (file < 0)
        return file;
    int64_t n = v->pread(v->self, file, bytes, room, 0);
    close_file(file);
    return n;
}

static struct disk_op op(enum disk_op_kind kind, int file, unsigned block, unsigned count,
                         bool durable)
{
    return (struct disk_op){.kind = kind,
                            .file = file,
                            .len = count * TIDE_BLOCK,
                            .position = (uint64_t)block * TIDE_BLOCK,
                            .buf = blocks,
                            .durable = durable,
                            .id = DISK_ID(DISK_OWNER_LOG, 7, block)};
}

static int64_t run(struct disk_op o)
{
    struct disk_done done;
    assert_int_equal(sim_disk_submit(disk, 0, &o, 1), TIDE_OK);
    assert_int_equal(sim_disk_take(disk, LATE, &done, 1), 1);
    assert_true(done.id == o.id);
    return done.result;
}

/* ---- the verbs ---- */

static void a_file_reads_as_written(void **state)
{
    uint8_t bytes[2000];
    uint8_t read[3000];
    int file = must_open("/f", NEW);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 + 1);
    assert_int_equal(v->pwrite(v->self, file, bytes, sizeof(bytes), 65000), sizeof(bytes));
    assert_int_equal(v->size(v->self, file), 67000);
    assert_int_equal(v->pread(v->self, file, read, sizeof(read), 65000), sizeof(bytes));
    assert_memory_equal(read, bytes, sizeof(bytes));
    assert_int_equal(v->pread(v->self, file, read, 10, 64995), 10);
    assert_memory_equal(read, "\0\0\0\0\0", 5);
    assert_memory_equal(read + 5, bytes, 5);
    assert_int_equal(v->pread(v->self, file, read, 10, 67000), 0);
    assert_int_equal(v->pread(v->self, file, read, 10, UINT64_MAX), 0);
    close_file(file);
}

static void a_cut_file_grows_back_with_zeros(void **state)
{
    uint8_t read[1000];
    put("/f", 0xaa, 1000);
    int file = must_open("/f", RW);
    assert_int_equal(v->truncate(v->self, file, 100), 0);
    assert_int_equal(v->allocate(v->self, file, 0, 1000), 0);
    assert_int_equal(v->size(v->self, file), 1000);
    assert_int_equal(v->pread(v->self, file, read, sizeof(read), 0), 1000);
    for (size_t i = 0; i < sizeof(read); i++)
        assert_int_equal(read[i], i < 100 ? 0xaa : 0);
    assert_int_equal(v->allocate(v->self, file, 0, 10), 0); /* never shortens */
    assert_int_equal(v->size(v->self, file), 1000);
    close_file(file);
}

static void open_answers_as_the_system_does(void **state)
{
    char longest[SIM_NAME_MAX + 3] = "/";
    put("/f", 1, 1);
    assert_int_equal(v->mkdir(v->self, "/d"), 0);
    memset(longest + 1, 'x', SIM_NAME_MAX + 1);
    const struct {
        const char *path;
        unsigned flags;
        int result;
    } rows[] = {
        {"/none", RW, -ENOENT},      {"/f", NEW | TIDE_FS_EXCL, -EEXIST},
        {"/d", RW, -EISDIR},         {"/d", NEW | TIDE_FS_EXCL, -EEXIST},
        {"/f/below", NEW, -ENOTDIR}, {"/none/below", NEW, -ENOENT},
        {"f", NEW, -EINVAL},         {longest, NEW, -ENAMETOOLONG},
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(rows); i++)
        assert_int_equal(v->open(v->self, rows[i].path, rows[i].flags), rows[i].result);
    assert_int_equal(v->mkdir(v->self, "/d"), -EEXIST);
    assert_int_equal(v->mkdir(v->self, "/"), -EEXIST);
    assert_int_equal(v->mkdir(v->self, "/f/d"), -ENOTDIR);
    assert_int_equal(v->unlink(v->self, "/d"), -EISDIR);
    assert_int_equal(v->rmdir(v->self, "/f"), -ENOTDIR);
    assert_int_equal(v->unlink(v->self, "/none"), -ENOENT);
    assert_int_equal(v->sync_dir(v->self, "/f"), -ENOTDIR);
}

static void a_handle_answers_only_for_what_it_was_opened(void **state)
{
    const void *at;
    uint8_t byte = 0;
    put("/f", 1, 5000);
    int reader = must_open("/f", TIDE_FS_READ);
    int writer = must_open("/f", TIDE_FS_WRITE);
    int direct = must_open("/f", RW | TIDE_FS_DIRECT);
    assert_int_equal(v->pwrite(v->self, reader, &byte, 1, 0), -EBADF);
    assert_int_equal(v->truncate(v->self, reader, 0), -EINVAL);
    assert_int_equal(v->pread(v->self, writer, &byte, 1, 0), -EBADF);
    assert_int_equal(v->map(v->self, writer, 1, &at), -EACCES);
    assert_int_equal(v->pread(v->self, direct, blocks, 512, 0), -EINVAL);
    assert_int_equal(v->pread(v->self, direct, blocks, TIDE_BLOCK, 512), -EINVAL);
    assert_int_equal(v->pread(v->self, direct, blocks + 1, TIDE_BLOCK, 0), -EINVAL);
    assert_int_equal(v->pread(v->self, direct, blocks, TIDE_BLOCK, TIDE_BLOCK), 5000 - TIDE_BLOCK);
    close_file(direct);
    close_file(writer);
    close_file(reader);
    assert_int_equal(v->close(v->self, reader), -EBADF);
    int again = must_open("/f", RW);
    assert_int_not_equal(again, reader); /* a stale number does not reach somebody else's file */
    assert_int_equal(v->pwrite(v->self, reader, &byte, 1, 0), -EBADF);
    close_file(again);
    for (unsigned i = 0; i < SIM_HANDLES_MAX; i++) { /* not even when its slot is */
        again = must_open("/f", RW);
        assert_int_equal(v->size(v->self, reader), -EBADF);
        close_file(again);
    }
    assert_int_equal(v->size(v->self, -1), -EBADF);
    assert_int_equal(v->size(v->self, INT32_MAX), -EBADF);
}

static void a_map_is_as_long_as_asked(void **state)
{
    const void *at;
    put("/f", 9, 700);
    int file = must_open("/f", TIDE_FS_READ);
    assert_int_equal(v->map(v->self, file, 701, &at), -EINVAL);
    assert_int_equal(v->map(v->self, file, 700, &at), 0);
    assert_int_equal(((const uint8_t *)at)[699], 9);
    assert_int_equal(v->unmap(v->self, at, 700), 0);
    close_file(file);
}

struct listing {
    unsigned files, dirs, stop_at;
    const char *remove; /* while the walk goes on */
};

static int see(void *arg, const char *name, bool is_dir)
{
    struct listing *l = arg;
    if (is_dir)
        l->dirs++;
    else
        l->files++;
    if (l->remove != NULL) {
        assert_int_equal(v->unlink(v->self, l->remove), 0);
        l->remove = NULL;
    }
    return l->stop_at != 0 && l->files + l->dirs == l->stop_at ? 77 : 0;
}

static void a_walk_sees_every_name_once(void **state)
{
    char path[32];
    struct listing all = {0};
    struct listing some = {.stop_at = 3};
    struct listing removing = {.remove = "/d/f0"};
    assert_int_equal(v->mkdir(v->self, "/d"), 0);
    assert_int_equal(v->mkdir(v->self, "/d/sub"), 0);
    for (int i = 0; i < 9; i++) {
        snprintf(path, sizeof(path), "/d/f%d", i);
        close_file(must_open(path, NEW));
    }
    assert_int_equal(v->list(v->self, "/d", see, &all), 0);
    assert_int_equal(all.files, 9);
    assert_int_equal(all.dirs, 1);
    assert_int_equal(v->list(v->self, "/d", see, &some), 77);
    assert_int_equal(some.files + some.dirs, 3);
    assert_int_equal(v->list(v->self, "/d", see, &removing), 0);
    assert_true(removing.files == 8 || removing.files == 9);
    assert_int_equal(v->list(v->self, "/none", see, &all), -ENOENT);
    assert_int_equal(v->rmdir(v->self, "/d"), -ENOTEMPTY);
}

static void rename_replaces_and_carries_directories_along(void **state)
{
    uint8_t byte = 0;
    put("/a", 1, 1);
    put("/b", 2, 1);
    assert_int_equal(v->rename(v->self, "/a", "/b"), 0);
    assert_int_equal(get("/a", &byte, 1), -ENOENT);
    assert_int_equal(get("/b", &byte, 1), 1);
    assert_int_equal(byte, 1);
    assert_int_equal(v->mkdir(v->self, "/d"), 0);
    put("/d/f", 3, 1);
    assert_int_equal(v->rename(v->self, "/d", "/e"), 0);
    assert_int_equal(get("/e/f", &byte, 1), 1);
    assert_int_equal(v->rename(v->self, "/e/f", "/f"), -EXDEV);
    assert_int_equal(v->rename(v->self, "/b", "/e"), -EISDIR);
    assert_int_equal(v->rename(v->self, "/e", "/b"), -ENOTDIR);
    assert_int_equal(v->rename(v->self, "/none", "/b"), -ENOENT);
    assert_int_equal(v->rename(v->self, "/b", "/b"), 0);
    assert_int_equal(get("/b", &byte, 1), 1);
}

static void a_removed_file_lives_as_long_as_its_handle(void **state)
{
    uint8_t byte = 0;
    put("/f", 5, 1);
    int file = must_open("/f", RW);
    assert_int_equal(v->unlink(v->self, "/f"), 0);
    assert_int_equal(v->sync_dir(v->self, "/"), 0);
    assert_int_equal(v->pread(v->self, file, &byte, 1, 0), 1);
    assert_int_equal(byte, 5);
    sim_fs_check(fs);
    close_file(file);
    assert_int_equal(get("/f", &byte, 1), -ENOENT);
}

static void a_full_device_refuses_and_recovers(void **state)
{
    uint8_t bytes[600] = {0};
    close_world();
    open_world(3, 4096);
    int file = must_open("/f", NEW);
    assert_int_equal(v->free_bytes(v->self, "/"), 4096);
    assert_int_equal(v->allocate(v->self, file, 0, 4097), -ENOSPC);
    assert_int_equal(v->size(v->self, file), 0);
    assert_int_equal(v->allocate(v->self, file, 0, 3584), 0);
    assert_int_equal(v->pwrite(v->self, file, bytes, sizeof(bytes), 3584), -ENOSPC);
    assert_int_equal(v->pwrite(v->self, file, bytes, sizeof(bytes), 0), sizeof(bytes));
    assert_int_equal(v->free_bytes(v->self, "/"), 512);
    close_file(file);
    assert_int_equal(v->unlink(v->self, "/f"), 0);
    assert_int_equal(v->free_bytes(v->self, "/"), 512); /* not before the removal is durable */
    assert_int_equal(v->sync_dir(v->self, "/"), 0);
    assert_int_equal(v->free_bytes(v->self, "/"), 4096);
}

static void clock_stamps_files(void **state)
{
    sim_fs_set_clock(fs, 1234);
    put("/f", 1, 1);
    sim_fs_set_clock(fs, 5678);
    assert_int_equal(v->mtime_ms(v->self, "/f"), 1234);
    overwrite("/f", 2, 1);
    assert_int_equal(v->mtime_ms(v->self, "/f"), 5678);
    assert_int_equal(v->mtime_ms(v->self, "/none"), -ENOENT);
}

/* ---- crashes ---- */

/* What is durable stays under every seed; what is not is old or new, sector by sector, and over
 * the seeds all of that is seen. */
static void unsynced_sectors_are_old_or_new(void **state)
{
    enum { SECTORS = 6, LEN = SECTORS * SIM_SECTOR };
    unsigned all_old = 0, all_new = 0, mixed = 0;
    uint8_t read[LEN];
    for (uint64_t seed = 0; seed < 200; seed++) {
        close_world();
        open_world(seed, 0);
        put("/f", 1, LEN);
        put("/g", 3, LEN);
        overwrite("/f", 2, LEN);
        sim_fs_crash(fs, SIM_CRASH_RANDOM);
        assert_int_equal(get("/g", read, LEN), LEN);
        for (unsigned i = 0; i < LEN; i++)
            assert_int_equal(read[i], 3);
        assert_int_equal(get("/f", read, LEN), LEN);
        unsigned fresh = 0;
        for (unsigned i = 0; i < SECTORS; i++) {
            uint8_t first = read[(size_t)i * SIM_SECTOR];
            assert_true(first == 1 || first == 2);
            for (unsigned k = 1; k < SIM_SECTOR; k++)
                assert_int_equal(read[i * SIM_SECTOR + k], first);
            fresh += first == 2;
        }
        all_old += fresh == 0;
        all_new += fresh == SECTORS;
        mixed += fresh != 0 && fresh != SECTORS;
        /* After the crash it is decided: a second one changes nothing. */
        uint64_t digest = sim_fs_digest(fs);
        sim_fs_crash(fs, SIM_CRASH_RANDOM);
        assert_true(sim_fs_digest(fs) == digest);
    }
    assert_true(all_old > 10);
    assert_true(all_new > 10);
    assert_true(mixed > 10);
}

static void an_overwritten_version_may_have_reached_the_medium(void **state)
{
    bool seen[4] = {false};
    uint8_t read[SIM_SECTOR];
    for (uint64_t seed = 0; seed < 200; seed++) {
        close_world();
        open_world(seed, 0);
        put("/f", 1, SIM_SECTOR);
        overwrite("/f", 2, SIM_SECTOR);
        overwrite("/f", 3, SIM_SECTOR);
        sim_fs_crash(fs, SIM_CRASH_RANDOM);
        assert_int_equal(get("/f", read, SIM_SECTOR), SIM_SECTOR);
        assert_in_range(read[0], 1, 3);
        seen[read[0]] = true;
    }
    assert_true(seen[1] && seen[2] && seen[3]);
}

static void a_crash_may_undo_a_cut(void **state)
{
    bool old = false, cut = false;
    uint8_t read[2000];
    for (uint64_t seed = 0; seed < 100; seed++) {
        close_world();
        open_world(seed, 0);
        put("/f", 1, 2000);
        int file = must_open("/f", RW);
        assert_int_equal(v->truncate(v->self, file, 700), 0);
        sim_fs_crash(fs, SIM_CRASH_RANDOM);
        sim_fs_check(fs);
        int64_t n = get("/f", read, sizeof(read));
        assert_in_range(n, 700, 2000);
        old |= n == 2000;
        cut |= n == 700;
        for (int64_t i = 0; i < 700; i++)
            assert_int_equal(read[i], 1);
    }
    assert_true(old && cut);
}

static void a_synced_cut_stays(void **state)
{
    uint8_t read[2000];
    for (uint64_t seed = 0; seed < 50; seed++) {
        close_world();
        open_world(seed, 0);
        put("/f", 1, 2000);
        int file = must_open("/f", RW);
        assert_int_equal(v->truncate(v->self, file, 700), 0);
        assert_int_equal(v->allocate(v->self, file, 0, 2000), 0);
        assert_int_equal(v->sync(v->self, file), 0);
        sim_fs_crash(fs, SIM_CRASH_RANDOM);
        assert_int_equal(get("/f", read, sizeof(read)), 2000);
        for (int64_t i = 0; i < 2000; i++)
            assert_int_equal(read[i], i < 700 ? 1 : 0);
    }
}

static void names_are_lost_until_their_directory_is_synced(void **state)
{
    bool created = false, not_created = false, removed = false, not_removed = false;
    uint8_t byte;
    for (uint64_t seed = 0; seed < 100; seed++) {
        close_world();
        open_world(seed, 0);
        put("/gone", 7, 1);
        put("/stays", 8, 1);
        int file = must_open("/new", NEW);
        assert_int_equal(v->sync(v->self, file), 0); /* of the content; the name is another thing */
        assert_false(sim_fs_is_durable(fs, "/new", 0, 0));
        assert_int_equal(v->unlink(v->self, "/gone"), 0);
        sim_fs_crash(fs, SIM_CRASH_RANDOM);
        bool is_new = get("/new", &byte, 1) != -ENOENT;
        bool is_gone = get("/gone", &byte, 1) == -ENOENT;
        assert_true(is_new || !is_gone); /* in their order */
        if (!is_gone)
            assert_int_equal(byte, 7);
        assert_int_equal(get("/stays", &byte, 1), 1);
        created |= is_new;
        not_created |= !is_new;
        removed |= is_gone;
        not_removed |= !is_gone;
    }
    assert_true(created && not_created && removed && not_removed);
}

static void a_rename_is_old_or_new_never_neither(void **state)
{
    bool old = false, new = false;
    uint8_t byte;
    for (uint64_t seed = 0; seed < 100; seed++) {
        close_world();
        open_world(seed, 0);
        put("/f", 1, 1);
        put("/f.tmp", 2, 1);
        assert_int_equal(v->rename(v->self, "/f.tmp", "/f"), 0);
        sim_fs_crash(fs, SIM_CRASH_RANDOM);
        assert_int_equal(get("/f", &byte, 1), 1);
        old |= byte == 1;
        new |= byte == 2;
        assert_int_equal(get("/f.tmp", &byte, 1) == 1, get("/f", &byte, 1) == 1 && byte == 1);
    }
    assert_true(old && new);
}

static void a_new_directory_may_survive_without_its_files(void **state)
{
    bool empty = false, full = false, none = false;
    uint8_t byte;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct listing l = {0};
        close_world();
        open_world(seed, 0);
        assert_int_equal(v->mkdir(v->self, "/d"), 0);
        close_file(must_open("/d/f", NEW));
        sim_fs_crash(fs, SIM_CRASH_RANDOM);
        sim_fs_check(fs);
        int e = v->list(v->self, "/d", see, &l);
        none |= e == -ENOENT;
        empty |= e == 0 && l.files == 0;
        full |= get("/d/f", &byte, 1) == 0;
    }
    assert_true(empty && full && none);
}

static void crashes_can_be_asked_for(void **state)
{
    uint8_t read[SIM_SECTOR];
    put("/f", 1, SIM_SECTOR);
    overwrite("/f", 2, SIM_SECTOR);
    close_file(must_open("/new", NEW));
    sim_fs_crash(fs, SIM_CRASH_LOSES);
    assert_int_equal(get("/f", read, SIM_SECTOR), SIM_SECTOR);
    assert_int_equal(read[0], 1);
    assert_int_equal(get("/new", read, 1), -ENOENT);
    overwrite("/f", 2, SIM_SECTOR);
    close_file(must_open("/new", NEW));
    sim_fs_crash(fs, SIM_CRASH_KEEPS);
    assert_int_equal(get("/f", read, SIM_SECTOR), SIM_SECTOR);
    assert_int_equal(read[0], 2);
    assert_int_equal(get("/new", read, 1), 0);
    assert_int_equal(sim_fs_open_handles(fs), 0);
}

/* ---- disks ---- */

static void operations_take_time_and_come_back_once(void **state)
{
    struct disk_op ops[9];
    struct disk_done done[9];
    unsigned seen = 0;
    uint64_t last = 0;
    put("/f", 0, 9 * TIDE_BLOCK);
    int file = must_open("/f", RW | TIDE_FS_DIRECT);
    for (unsigned i = 0; i < 9; i++)
        ops[i] = op(DISK_WRITE, file, i, 1, i % 2 != 0);
    assert_int_equal(sim_disk_submit(disk, 1000, ops, 9), TIDE_FULL);
    assert_int_equal(sim_disk_in_flight(disk), 0);
    assert_true(sim_disk_deadline_ns(disk) == TIDE_NEVER);
    assert_int_equal(sim_disk_submit(disk, 1000, ops, 8), TIDE_OK);
    assert_int_equal(sim_disk_submit(disk, 1000, ops + 8, 1), TIDE_FULL);
    assert_int_equal(sim_disk_take(disk, 1000, done, 9), 0);
    while (sim_disk_in_flight(disk) != 0) {
        uint64_t now = sim_disk_deadline_ns(disk);
        assert_true(now >= last && now >= 1000 + 50000 && now <= 1000 + 160000);
        last = now;
        assert_int_equal(sim_disk_take(disk, now - 1, done, 9), 0);
        unsigned n = sim_disk_take(disk, now, done, 1);
        assert_int_equal(n, 1);
        assert_int_equal(done[0].result, TIDE_BLOCK);
        assert_int_equal(seen & 1u << DISK_ID_GENERATION(done[0].id), 0);
        seen |= 1u << DISK_ID_GENERATION(done[0].id);
    }
    assert_int_equal(seen, 0xff);
    close_file(file);
}

static void wrong_operations_are_answered(void **state)
{
    put("/f", 0, TIDE_BLOCK);
    int file = must_open("/f", RW | TIDE_FS_DIRECT);
    int reader = must_open("/f", TIDE_FS_READ | TIDE_FS_DIRECT);
    int dir = must_open("/", TIDE_FS_READ);
    struct disk_op crooked = op(DISK_READ, file, 0, 1, false);
    crooked.position = 512;
    assert_int_equal(run(crooked), -EINVAL);
    crooked = op(DISK_READ, file, 0, 1, false);
    crooked.buf = blocks + 8;
    assert_int_equal(run(crooked), -EINVAL);
    assert_int_equal(run(op(DISK_READ, file, 0, 0, false)), -EINVAL);
    assert_int_equal(run(op(DISK_WRITE, reader, 0, 1, false)), -EBADF);
    assert_int_equal(run(op(DISK_READ, 99, 0, 1, false)), -EBADF);
    assert_int_equal(run(op(DISK_READ, dir, 0, 1, false)), -EISDIR);
    assert_int_equal(run(op(DISK_READ, file, 1, 1, false)), 0); /* at the end of the file */
    assert_int_equal(run(op(DISK_READ, file, 0, 2, false)), TIDE_BLOCK);
    close_file(dir);
    close_file(reader);
    close_file(file);
}

static void an_operation_keeps_its_file(void **state)
{
    struct disk_done done;
    put("/f", 4, TIDE_BLOCK);
    int file = must_open("/f", RW | TIDE_FS_DIRECT);
    struct disk_op o = op(DISK_READ, file, 0, 1, false);
    assert_int_equal(sim_disk_submit(disk, 0, &o, 1), TIDE_OK);
    close_file(file);
    assert_int_equal(v->unlink(v->self, "/f"), 0);
    assert_int_equal(v->sync_dir(v->self, "/"), 0);
    sim_fs_check(fs);
    assert_int_equal(sim_disk_take(disk, LATE, &done, 1), 1);
    assert_int_equal(done.result, TIDE_BLOCK);
    assert_int_equal(blocks[0], 4);
}

static void only_durable_writes_are_durable(void **state)
{
    uint8_t read[2 * TIDE_BLOCK];
    put("/f", 0, 2 * TIDE_BLOCK);
    int file = must_open("/f", RW | TIDE_FS_DIRECT);
    memset(blocks, 6, TIDE_BLOCK);
    assert_int_equal(run(op(DISK_WRITE, file, 0, 1, true)), TIDE_BLOCK);
    assert_int_equal(run(op(DISK_WRITE, file, 1, 1, false)), TIDE_BLOCK);
    assert_true(sim_fs_is_durable(fs, "/f", 0, TIDE_BLOCK));
    assert_false(sim_fs_is_durable(fs, "/f", TIDE_BLOCK, TIDE_BLOCK));
    sim_fs_crash(fs, SIM_CRASH_LOSES);
    assert_int_equal(get("/f", read, sizeof(read)), sizeof(read));
    assert_int_equal(read[0], 6);
    assert_int_equal(read[TIDE_BLOCK], 0);
}

/* Bytes of the write, bytes of before, and no others; a prefix, any sectors, a torn one. */
static void a_write_in_flight_tears(void **state)
{
    enum { SECTORS = 2 * TIDE_BLOCK / SIM_SECTOR };
    for (int whole = 0; whole < 2; whole++) {
        unsigned nothing = 0, all = 0, part = 0, torn = 0;
        uint8_t read[2 * TIDE_BLOCK];
        for (uint64_t seed = 0; seed < 300; seed++) {
            close_world();
            open_world(seed, 0);
            sim_fs_faults(fs)->whole_sectors = whole;
            put("/f", 1, 2 * TIDE_BLOCK);
            int file = must_open("/f", RW | TIDE_FS_DIRECT);
            struct disk_op o = op(DISK_WRITE, file, 0, 2, true);
            memset(blocks, 2, 2 * TIDE_BLOCK);
            assert_int_equal(sim_disk_submit(disk, 0, &o, 1), TIDE_OK);
            sim_fs_crash(fs, SIM_CRASH_RANDOM);
            assert_int_equal(sim_disk_in_flight(disk), 0);
            assert_int_equal(get("/f", read, sizeof(read)), sizeof(read));
            unsigned fresh = 0, cuts = 0;
            for (unsigned i = 0; i < sizeof(read); i++) {
                assert_true(read[i] == 1 || read[i] == 2);
                fresh += read[i] == 2;
                cuts += i % SIM_SECTOR != 0 && read[i] != read[i - 1];
            }
            assert_true(cuts <= (whole ? 0 : 1)); /* one torn sector at most */
            nothing += fresh == 0;
            all += fresh == sizeof(read);
            part += fresh != 0 && fresh != sizeof(read);
            torn += cuts;
        }
        assert_true(nothing > 10);
        assert_true(all > 10);
        assert_true(part > 10);
        assert_true(whole || torn > 10);
    }
}

static void a_changing_buffer_is_read_at_either_end(void **state)
{
    bool before = false, after = false;
    struct disk_done done;
    put("/f", 0, 4 * TIDE_BLOCK);
    int file = must_open("/f", RW | TIDE_FS_DIRECT);
    struct disk_op o = op(DISK_WRITE, file, 0, 4, true);
    memset(blocks, 1, 4 * TIDE_BLOCK);
    assert_int_equal(sim_disk_submit(disk, 0, &o, 1), TIDE_OK);
    memset(blocks, 2, 4 * TIDE_BLOCK);
    assert_int_equal(sim_disk_take(disk, LATE, &done, 1), 1);
    assert_int_equal(run(op(DISK_READ, file, 0, 4, false)), 4 * TIDE_BLOCK);
    for (unsigned i = 0; i < 4 * TIDE_BLOCK; i += SIM_SECTOR) {
        before |= blocks[i] == 1;
        after |= blocks[i] == 2;
    }
    assert_true(before && after);
    close_file(file);
}

/* ---- faults ---- */

/* A little story with eight operations; 0, or the first error. */
static int64_t story(void)
{
    int64_t e = v->mkdir(v->self, "/d");
    if (e != 0)
        return e;
    int file = v->open(v->self, "/d/f.tmp", NEW);
    if (file < 0)
        return file;
    if ((e = v->allocate(v->self, file, 0, TIDE_BLOCK)) == 0 &&
        (e = v->pwrite(v->self, file, blocks, TIDE_BLOCK, 0)) == TIDE_BLOCK)
        e = v->sync(v->self, file);
    close_file(file);
    if (e == 0)
        e = v->rename(v->self, "/d/f.tmp", "/d/f");
    if (e == 0)
        e = v->sync_dir(v->self, "/d");
    return e == 0 ? v->sync_dir(v->self, "/") : e;
}

static void every_operation_can_fail_once(void **state)
{
    for (uint64_t n = 1; n <= 9; n++) {
        close_world();
        open_world(n, 0);
        sim_fs_faults(fs)->fail_at = n;
        sim_fs_faults(fs)->fail_error = n % 2 != 0 ? -ENOSPC : 0;
        int64_t e = story();
        assert_int_equal(e, n > 8 ? 0 : n % 2 != 0 ? -ENOSPC : -EIO);
        assert_int_equal(sim_fs_operations(fs), TIDE_MIN(n, 8u));
        sim_fs_crash(fs, SIM_CRASH_RANDOM);
        sim_fs_check(fs);
    }
    sim_fs_faults(fs)->fail_at = sim_fs_operations(fs) + 1;
    sim_fs_faults(fs)->fail_ever_after = true;
    sim_fs_faults(fs)->fail_error = 0;
    for (int i = 0; i < 3; i++)
        assert_int_equal(v->sync_dir(v->self, "/"), -EIO);
}

static void a_failed_sync_is_not_made_good_by_the_next(void **state)
{
    uint8_t read[SIM_SECTOR];
    put("/f", 1, SIM_SECTOR);
    overwrite("/f", 2, SIM_SECTOR);
    int file = must_open("/f", RW);
    sim_fs_faults(fs)->fail_at = sim_fs_operations(fs) + 1;
    assert_int_equal(v->sync(v->self, file), -EIO);
    assert_int_equal(v->sync(v->self, file), 0);
    assert_false(sim_fs_is_durable(fs, "/f", 0, SIM_SECTOR));
    sim_fs_check(fs);
    sim_fs_crash(fs, SIM_CRASH_LOSES);
    assert_int_equal(get("/f", read, SIM_SECTOR), SIM_SECTOR);
    assert_int_equal(read[0], 1);
    overwrite("/f", 2, SIM_SECTOR); /* what is written anew is not forgotten */
    file = must_open("/f", RW);
    assert_int_equal(v->sync(v->self, file), 0);
    assert_true(sim_fs_is_durable(fs, "/f", 0, SIM_SECTOR));
    close_file(file);
}

static void a_failed_write_may_have_landed(void **state)
{
    bool old = false, new = false;
    put("/f", 1, 4 * TIDE_BLOCK);
    int file = must_open("/f", RW | TIDE_FS_DIRECT);
    for (int i = 0; i < 50; i++) {
        memset(blocks, 2 + i, 4 * TIDE_BLOCK);
        sim_fs_faults(fs)->write_error_one_in = 1;
        assert_int_equal(run(op(DISK_WRITE, file, 0, 4, true)), -EIO);
        sim_fs_faults(fs)->write_error_one_in = 0;
        assert_int_equal(run(op(DISK_READ, file, 0, 4, false)), 4 * TIDE_BLOCK);
        for (unsigned k = 0; k < 4 * TIDE_BLOCK; k++) {
            old |= blocks[k] < 2 + i;
            new |= blocks[k] == 2 + i;
        }
    }
    assert_true(old && new);
    sim_fs_faults(fs)->read_error_one_in = 1;
    assert_int_equal(run(op(DISK_READ, file, 0, 1, false)), -EIO);
    assert_int_equal(v->pread(v->self, file, blocks, TIDE_BLOCK, 0), -EIO);
    close_file(file);
}

static void short_completions_do_a_part(void **state)
{
    put("/f", 1, 4 * TIDE_BLOCK);
    int file = must_open("/f", RW | TIDE_FS_DIRECT);
    for (uint8_t i = 0; i < 50; i++) {
        memset(blocks, 2 + i, 4 * TIDE_BLOCK);
        sim_fs_faults(fs)->short_one_in = 1;
        int64_t n = run(op(DISK_WRITE, file, 0, 4, true));
        sim_fs_faults(fs)->short_one_in = 0;
        assert_in_range(n, SIM_SECTOR, 4 * TIDE_BLOCK - SIM_SECTOR);
        assert_int_equal(n % SIM_SECTOR, 0);
        assert_int_equal(run(op(DISK_READ, file, 0, 4, false)), 4 * TIDE_BLOCK);
        assert_int_equal(blocks[n - 1], 2 + i);
        assert_int_not_equal(blocks[n], 2 + i);
    }
    close_file(file);
}

static void spikes_delay(void **state)
{
    put("/f", 1, TIDE_BLOCK);
    int file = must_open("/f", RW | TIDE_FS_DIRECT);
    struct disk_op o = op(DISK_READ, file, 0, 1, false);
    struct disk_done done;
    sim_fs_faults(fs)->spike_one_in = 1;
    sim_fs_faults(fs)->spike_ns = 500000000;
    assert_int_equal(sim_disk_submit(disk, 0, &o, 1), TIDE_OK);
    assert_true(sim_disk_deadline_ns(disk) > 500000000);
    assert_int_equal(sim_disk_take(disk, LATE, &done, 1), 1);
    close_file(file);
}

static void a_lying_device_loses_what_it_acknowledged(void **state)
{
    put("/f", 1, TIDE_BLOCK);
    int file = must_open("/f", RW | TIDE_FS_DIRECT);
    memset(blocks, 2, TIDE_BLOCK);
    sim_fs_faults(fs)->lie_one_in = 1;
    assert_int_equal(run(op(DISK_WRITE, file, 0, 1, true)), TIDE_BLOCK);
    assert_int_equal(v->sync(v->self, file), 0);
    assert_false(sim_fs_is_durable(fs, "/f", 0, TIDE_BLOCK));
    close_file(file);
}

static void rot_changes_one_bit(void **state)
{
    uint8_t read[3];
    put("/f", 0, 3);
    assert_true(sim_fs_rot(fs, "/f", 1, 4));
    assert_int_equal(get("/f", read, 3), 3);
    assert_memory_equal(read, "\x00\x10\x00", 3);
    sim_fs_crash(fs, SIM_CRASH_LOSES);
    assert_int_equal(get("/f", read, 3), 3);
    assert_int_equal(read[1], 0x10);
    assert_false(sim_fs_rot(fs, "/f", 3, 0));
    assert_false(sim_fs_rot(fs, "/none", 0, 0));
    assert_false(sim_fs_rot(fs, "/", 0, 0));
}

/* ---- a seed is a run ---- */

static void random_step(struct tide_random *r)
{
    char path[24], to[24];
    const void *at;
    snprintf(path, sizeof(path), "/d%u/f%u", (unsigned)tide_random_below(r, 3),
             (unsigned)tide_random_below(r, 4));
    snprintf(to, sizeof(to), "%.3s/f%u", path, (unsigned)tide_random_below(r, 4));
    int file = v->open(v->self, path, tide_random_hits(r, 2) ? NEW : RW | TIDE_FS_DIRECT);
    uint64_t position = tide_random_below(r, 200000);
    switch (tide_random_below(r, 10)) {
    case 0:
        (void)v->mkdir(v->self, (path[3] = 0, path));
        break;
    case 1:
        (void)v->unlink(v->self, path);
        break;
    case 2:
        (void)v->rename(v->self, path, to);
        break;
    case 3:
        (void)v->sync_dir(v->self, (path[3] = 0, path));
        break;
    case 4:
        (void)v->truncate(v->self, file, position);
        break;
    case 5:
        (void)v->allocate(v->self, file, position, 5000);
        break;
    case 6:
        (void)v->sync(v->self, file);
        break;
    case 7:
        if (v->map(v->self, file, 1, &at) == 0)
            assert_int_equal(v->unmap(v->self, at, 1), 0);
        break;
    default:
        (void)v->pwrite(v->self, file, blocks, (size_t)tide_random_below(r, 20000), position);
        break;
    }
    if (file >= 0 && !tide_random_hits(r, 4))
        (void)v->close(v->self, file);
    else if (file >= 0 && sim_disk_in_flight(disk) < 8) {
        struct disk_op o = op(tide_random_hits(r, 2) ? DISK_READ : DISK_WRITE, file,
                              (unsigned)tide_random_below(r, 40), 2, tide_random_hits(r, 2));
        o.buf = blocks + tide_random_below(r, BLOCKS - 2) * TIDE_BLOCK;
        o.id = tide_random_u64(r);
        assert_int_equal(sim_disk_submit(disk, position, &o, 1), TIDE_OK);
    }
}

/* The digests of all steps, and of what came back. */
static uint64_t random_run(uint64_t seed)
{
    struct tide_random r = {.state = seed};
    uint64_t digest = 0;
    open_world(seed, 3000000);
    *sim_fs_faults(fs) = (struct sim_faults){.read_error_one_in = 50,
                                             .write_error_one_in = 50,
                                             .sync_error_one_in = 20,
                                             .short_one_in = 10,
                                             .spike_one_in = 10,
                                             .spike_ns = 1000000,
                                             .lie_one_in = 30};
    for (unsigned i = 0; i < 400; i++) {
        struct disk_done done[4];
        memset(blocks + tide_random_below(&r, BLOCKS) * TIDE_BLOCK, (int)i, TIDE_BLOCK);
        random_step(&r);
        unsigned n = sim_disk_take(disk, tide_random_below(&r, 400000), done, 4);
        for (unsigned k = 0; k < n; k++)
            digest = digest * 31 + done[k].id + (uint64_t)done[k].result;
        if (tide_random_hits(&r, 40))
            sim_fs_crash(fs, SIM_CRASH_RANDOM);
        if (i % 16 == 0) {
            sim_fs_check(fs);
            digest = digest * 31 + sim_fs_digest(fs);
        }
    }
    digest = digest * 31 + sim_fs_digest(fs);
    close_world();
    return digest;
}

static void same_seed_same_run(void **state)
{
    uint64_t before = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        uint64_t digest = random_run(seed);
        assert_true(random_run(seed) == digest);
        assert_true(digest != before);
        before = digest;
    }
}

static void the_digest_sees_content_not_holes(void **state)
{
    uint8_t zeros[1000] = {0};
    put("/f", 0, 1000);
    uint64_t digest = sim_fs_digest(fs);
    int file = must_open("/f", RW);
    assert_int_equal(v->pwrite(v->self, file, zeros, sizeof(zeros), 0), 1000);
    assert_true(sim_fs_digest(fs) == digest);
    assert_int_equal(v->pwrite(v->self, file, "x", 1, 999), 1);
    uint64_t changed = sim_fs_digest(fs);
    assert_true(changed != digest);
    assert_int_equal(v->sync(v->self, file), 0);
    assert_true(sim_fs_digest(fs) != changed); /* durable or not is a difference */
    assert_int_equal(v->rename(v->self, "/f", "/g"), 0);
    assert_int_equal(v->rename(v->self, "/g", "/f"), 0);
    close_file(file);
}

/* ---- beside the real thing ---- */

struct side {
    const struct tide_fs *v;
    char root[64];
    int file;
    uint8_t bytes[3000];
};

static void side_path(const struct side *s, char path[128], const char *name)
{
    snprintf(path, 128, "%s%s", s->root, name);
}

/* The answer of one side to one random step; `r` is the same for both. */
static int64_t side_step(struct side *s, struct tide_random r)
{
    static const char *const names[] = {"/a", "/b", "/d", "/d/a", "/d/b", "/a/b", "/e"};
    char path[128], other[128];
    const char *name = names[tide_random_below(&r, TIDE_ARRAY_LEN(names))];
    side_path(s, path, name);
    side_path(s, other, names[tide_random_below(&r, 2)]);
    uint64_t position = tide_random_below(&r, 9000);
    uint64_t len = 1 + tide_random_below(&r, sizeof(s->bytes) - 1);
    const void *at;
    int e;
    switch (tide_random_below(&r, 13)) {
    case 0:
        return s->v->mkdir(s->v->self, path);
    case 1:
        return s->v->rmdir(s->v->self, path);
    case 2:
        return s->v->unlink(s->v->self, path);
    case 3:
        return strlen(name) == 2 ? s->v->rename(s->v->self, path, other) : 0; /* no -EXDEV */
    case 4:
        return s->v->sync_dir(s->v->self, path);
    case 5:
        return s->v->truncate(s->v->self, s->file, position);
    case 6:
        return s->v->allocate(s->v->self, s->file, position, len);
    case 7:
        return s->v->size(s->v->self, s->file);
    case 8:
        memset(s->bytes, (int)len, sizeof(s->bytes));
        return s->v->pwrite(s->v->self, s->file, s->bytes, len, position);
    case 9:
        return s->v->sync(s->v->self, s->file);
    case 10:
        memset(s->bytes, 0, sizeof(s->bytes));
        return s->v->pread(s->v->self, s->file, s->bytes, len, position);
    case 11:
        if (s->v->size(s->v->self, s->file) <= 0)
            return 0;
        e = s->v->map(s->v->self, s->file, 1, &at);
        return e != 0 ? e : s->v->unmap(s->v->self, at, 1);
    default:
        if (s->file >= 0)
            (void)s->v->close(s->v->self, s->file);
        s->file = s->v->open(s->v->self, path, (unsigned)tide_random_below(&r, 15));
        if (s->file >= 0 &&
            s->v->sync_dir(s->v->self, path) == 0) { /* whose size is its own affair */
            (void)s->v->close(s->v->self, s->file);
            s->file = -1;
        }
        return s->file < 0 ? s->file : 0;
    }
}

static int remove_below(void *arg, const char *name, bool is_dir)
{
    const struct tide_fs *real = posix_fs();
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", (const char *)arg, name);
    if (!is_dir)
        return real->unlink(real->self, path);
    int e = real->list(real->self, path, remove_below, path);
    return e != 0 ? e : real->rmdir(real->self, path);
}

static void verbs_answer_like_real_ones(void **state)
{
    struct side real = {.v = posix_fs(), .root = "/var/tmp/tidemark_test_sim_XXXXXX", .file = -1};
    struct side sim = {.v = v, .root = "", .file = -1};
    struct tide_random r = {.state = 5};
    unsigned answers = 0;
    assert_non_null(mkdtemp(real.root));
    for (unsigned i = 0; i < 20000; i++) {
        int64_t a = side_step(&real, r);
        int64_t b = side_step(&sim, r);
        if (a != b)
            print_message("step %u: the system %ld, the simulation %ld\n", i, (long)a, (long)b);
        assert_int_equal(a, b);
        assert_memory_equal(real.bytes, sim.bytes, sizeof(real.bytes));
        answers += a >= 0;
        (void)tide_random_u64(&r);
    }
    assert_true(answers > 3000);
    if (real.file >= 0)
        assert_int_equal(real.v->close(NULL, real.file), 0);
    assert_int_equal(real.v->list(NULL, real.root, remove_below, real.root), 0);
    assert_int_equal(real.v->rmdir(NULL, real.root), 0);
}

#define WORLD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD(a_file_reads_as_written),
        WORLD(a_cut_file_grows_back_with_zeros),
        WORLD(open_answers_as_the_system_does),
        WORLD(a_handle_answers_only_for_what_it_was_opened),
        WORLD(a_map_is_as_long_as_asked),
        WORLD(a_walk_sees_every_name_once),
        WORLD(rename_replaces_and_carries_directories_along),
        WORLD(a_removed_file_lives_as_long_as_its_handle),
        WORLD(a_full_device_refuses_and_recovers),
        WORLD(clock_stamps_files),
        WORLD(unsynced_sectors_are_old_or_new),
        WORLD(an_overwritten_version_may_have_reached_the_medium),
        WORLD(a_crash_may_undo_a_cut),
        WORLD(a_synced_cut_stays),
        WORLD(names_are_lost_until_their_directory_is_synced),
        WORLD(a_rename_is_old_or_new_never_neither),
        WORLD(a_new_directory_may_survive_without_its_files),
        WORLD(crashes_can_be_asked_for),
        WORLD(operations_take_time_and_come_back_once),
        WORLD(wrong_operations_are_answered),
        WORLD(an_operation_keeps_its_file),
        WORLD(only_durable_writes_are_durable),
        WORLD(a_write_in_flight_tears),
        WORLD(a_changing_buffer_is_read_at_either_end),
        WORLD(every_operation_can_fail_once),
        WORLD(a_failed_sync_is_not_made_good_by_the_next),
        WORLD(a_failed_write_may_have_landed),
        WORLD(short_completions_do_a_part),
        WORLD(spikes_delay),
        WORLD(a_lying_device_loses_what_it_acknowledged),
        WORLD(rot_changes_one_bit),
        cmocka_unit_test(same_seed_same_run),
        WORLD(the_digest_sees_content_not_holes),
        WORLD(verbs_answer_like_real_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
