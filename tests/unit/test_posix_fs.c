/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "disk/posix_fs.h"
#include "tidemark/types.h"

enum { RW = TIDE_FS_READ | TIDE_FS_WRITE, NEW = RW | TIDE_FS_CREATE };

static const struct tide_fs *v;
static char root[128];

static const char *in(const char *name)
{
    static char paths[4][300];
    static unsigned next;
    char *p = paths[next++ % 4];
    snprintf(p, sizeof(paths[0]), "%s/%s", root, name);
    return p;
}

static int make_root(const char *parent)
{
    snprintf(root, sizeof(root), "%s/tidemark_test_fs_XXXXXX", parent);
    v = posix_fs();
    return mkdtemp(root) == NULL;
}

static int setup(void **state)
{
    return make_root("/var/tmp");
}

static int remove_one(void *arg, const char *name, bool is_dir)
{
    return is_dir ? v->rmdir(v->self, in(name)) : v->unlink(v->self, in(name));
}

static int teardown(void **state)
{
    return v->list(v->self, root, remove_one, NULL) != 0 || rmdir(root) != 0;
}

static int must_open(const char *name, unsigned flags)
{
    int file = v->open(v->self, in(name), flags);
    assert_true(file >= 0);
    return file;
}

static void close_file(int file)
{
    assert_int_equal(v->close(v->self, file), 0);
}

static void open_follows_its_flags(void **state)
{
    uint8_t byte = 1;
    assert_int_equal(v->open(v->self, in("f"), RW), -ENOENT);
    int file = must_open("f", NEW | TIDE_FS_EXCL);
    assert_int_equal(fcntl(file, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    close_file(file);
    assert_int_equal(v->open(v->self, in("f"), NEW | TIDE_FS_EXCL), -EEXIST);
    assert_int_equal(v->open(v->self, in("f"), NEW | TIDE_FS_EXCL | TIDE_FS_DIRECT), -EEXIST);
    assert_int_equal(v->open(v->self, root, RW), -EISDIR);
    assert_int_equal(v->open(v->self, in("f/below"), NEW), -ENOTDIR);
    file = must_open("f", TIDE_FS_READ);
    assert_int_equal(v->pwrite(v->self, file, &byte, 1, 0), -EBADF);
    close_file(file);
    file = must_open("f", TIDE_FS_WRITE);
    assert_int_equal(v->pwrite(v->self, file, &byte, 1, 0), 1);
    assert_int_equal(v->pread(v->self, file, &byte, 1, 0), -EBADF);
    close_file(file);
    assert_int_equal(v->close(v->self, file), -EBADF);
}

static void a_file_reads_as_written(void **state)
{
    enum { LEN = 300000 };
    uint8_t *bytes = malloc(LEN);
    uint8_t *read = malloc(LEN);
    int file = must_open("f", NEW);
    for (size_t i = 0; i < LEN; i++)
        bytes[i] = (uint8_t)(i * 13);
    assert_int_equal(v->pwrite(v->self, file, bytes, LEN, 777), LEN);
    assert_int_equal(v->size(v->self, file), LEN + 777);
    assert_int_equal(v->sync(v->self, file), 0);
    assert_int_equal(v->pread(v->self, file, read, LEN, 777), LEN);
    assert_memory_equal(read, bytes, LEN);
    assert_int_equal(v->pread(v->self, file, read, 100, LEN + 767),
                     10); /* to the end, not further */
    assert_int_equal(v->pread(v->self, file, read, 100, LEN + 777), 0);
    assert_int_equal(v->truncate(v->self, file, 800), 0);
    assert_int_equal(v->size(v->self, file), 800);
    assert_int_equal(v->allocate(v->self, file, 0, 5000), 0);
    assert_int_equal(v->size(v->self, file), 5000);
    assert_int_equal(v->allocate(v->self, file, 0, 10), 0);
    assert_int_equal(v->size(v->self, file), 5000);
    assert_int_equal(v->pread(v->self, file, read, 5000, 0), 5000);
    assert_memory_equal(read + 777, bytes, 23);
    for (size_t i = 800; i < 5000; i++)
        assert_int_equal(read[i], 0);
    assert_true(v->free_bytes(v->self, root) > 0);
    close_file(file);
    free(read);
    free(bytes);
}

/* A closed segment ends anywhere; reads of whole blocks stop there. */
static void direct_reads_end_with_the_file(void **state)
{
    uint8_t *blocks = aligned_alloc(TIDE_BLOCK, 4 * TIDE_BLOCK);
    int file = must_open("f", NEW | TIDE_FS_DIRECT);
    memset(blocks, 'd', 4 * TIDE_BLOCK);
    assert_int_equal(v->pwrite(v->self, file, blocks, 2 * TIDE_BLOCK, 0), 2 * TIDE_BLOCK);
    assert_int_equal(v->truncate(v->self, file, 5000), 0);
    memset(blocks, 0, 4 * TIDE_BLOCK);
    assert_int_equal(v->pread(v->self, file, blocks, 4 * TIDE_BLOCK, 0), 5000);
    assert_int_equal(blocks[4999], 'd');
    assert_int_equal(v->pread(v->self, file, blocks, TIDE_BLOCK, TIDE_BLOCK), 5000 - TIDE_BLOCK);
    assert_int_equal(v->pread(v->self, file, blocks, TIDE_BLOCK, 2 * TIDE_BLOCK), 0);
    close_file(file);
    free(blocks);
}

/* Memory file systems may have no O_DIRECT: then it is buffered, and nobody notices. */
static void direct_works_on_a_memory_file_system(void **state)
{
    uint8_t *block = aligned_alloc(TIDE_BLOCK, TIDE_BLOCK);
    assert_int_equal(teardown(state), 0);
    bool is_there = make_root("/dev/shm") == 0;
    if (!is_there) {
        free(block);
        assert_int_equal(make_root("/var/tmp"), 0);
        skip();
    }
    int file = must_open("f", NEW | TIDE_FS_EXCL | TIDE_FS_DIRECT);
    memset(block, 's', TIDE_BLOCK);
    assert_int_equal(v->pwrite(v->self, file, block, TIDE_BLOCK, 0), TIDE_BLOCK);
    memset(block, 0, TIDE_BLOCK);
    assert_int_equal(v->pread(v->self, file, block, TIDE_BLOCK, 0), TIDE_BLOCK);
    assert_int_equal(block[TIDE_BLOCK - 1], 's');
    close_file(file);
    free(block);
}

static void a_map_shows_the_file(void **state)
{
    const void *at;
    int file = must_open("f", NEW);
    assert_int_equal(v->pwrite(v->self, file, "tide", 4, 0), 4);
    assert_int_equal(v->map(v->self, file, 0, &at), -EINVAL);
    assert_int_equal(v->map(v->self, file, 4, &at), 0);
    assert_memory_equal(at, "tide", 4);
    assert_int_equal(v->pwrite(v->self, file, "T", 1, 0), 1);
    assert_memory_equal(at, "Tide", 4); /* shared */
    close_file(file);
    assert_memory_equal(at, "Tide", 4);
    assert_int_equal(v->unmap(v->self, at, 4), 0);
}

static void names_come_and_go(void **state)
{
    close_file(must_open("a", NEW));
    assert_int_equal(v->mkdir(v->self, in("d")), 0);
    assert_int_equal(v->mkdir(v->self, in("d")), -EEXIST);
    assert_int_equal(v->rename(v->self, in("a"), in("d/b")), 0);
    assert_int_equal(v->rename(v->self, in("a"), in("d/b")), -ENOENT);
    assert_int_equal(v->rmdir(v->self, in("d")), -ENOTEMPTY);
    assert_int_equal(v->sync_dir(v->self, in("d")), 0);
    assert_int_equal(v->sync_dir(v->self, in("none")), -ENOENT);
    assert_int_equal(v->unlink(v->self, in("d")), -EISDIR);
    assert_int_equal(v->unlink(v->self, in("d/b")), 0);
    assert_int_equal(v->unlink(v->self, in("d/b")), -ENOENT);
    int dir = must_open("d", TIDE_FS_READ);
    assert_int_equal(v->sync(v->self, dir), 0);
    close_file(dir);
    assert_int_equal(v->rmdir(v->self, in("d")), 0);
    assert_int_equal(v->list(v->self, in("d"), remove_one, NULL), -ENOENT);
    assert_int_equal(v->free_bytes(v->self, in("d")), -ENOENT);
    assert_int_equal(v->mtime_ms(v->self, in("d")), -ENOENT);
}

struct listing {
    unsigned files, dirs, stop_at;
};

static int see(void *arg, const char *name, bool is_dir)
{
    struct listing *l = arg;
    assert_true(strcmp(name, ".") != 0 && strcmp(name, "..") != 0);
    l->dirs += is_dir;
    l->files += !is_dir;
    return l->stop_at != 0 && l->files + l->dirs == l->stop_at ? 77 : 0;
}

static void a_walk_sees_every_name_once(void **state)
{
    char name[16];
    struct listing all = {0};
    struct listing some = {.stop_at = 5};
    for (int i = 0; i < 2000; i++) { /* more than one system call brings */
        snprintf(name, sizeof(name), "f%d", i);
        close_file(must_open(name, NEW));
    }
    assert_int_equal(v->mkdir(v->self, in("d")), 0);
    assert_int_equal(v->list(v->self, root, see, &all), 0);
    assert_int_equal(all.files, 2000);
    assert_int_equal(all.dirs, 1);
    assert_int_equal(v->list(v->self, root, see, &some), 77);
    assert_int_equal(some.files + some.dirs, 5);
}

/* Stands in for the system's: fails in the middle of a walk when asked. */
static int readdir_fails_after;

struct dirent *readdir(DIR *d)
{
    static struct dirent *(*real)(DIR *);
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "readdir64");
    if (readdir_fails_after != 0 && --readdir_fails_after == 0) {
        errno = EIO;
        return NULL;
    }
    return real(d);
}

/* Half a listing must not pass for a whole one: recovery would miss segments. */
static void a_walk_that_breaks_off_says_so(void **state)
{
    struct listing l = {0};
    close_file(must_open("a", NEW));
    close_file(must_open("b", NEW));
    readdir_fails_after = 3;
    assert_int_equal(v->list(v->self, root, see, &l), -EIO);
    readdir_fails_after = 0;
}

static void files_have_a_time(void **state)
{
    struct timespec ts;
    close_file(must_open("f", NEW));
    clock_gettime(CLOCK_REALTIME, &ts);
    int64_t now = (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
    int64_t at = v->mtime_ms(v->self, in("f"));
    assert_true(at <= now + 1000 && at > now - 60000);
}

#define FILES(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILES(open_follows_its_flags),
        FILES(a_file_reads_as_written),
        FILES(direct_reads_end_with_the_file),
        FILES(direct_works_on_a_memory_file_system),
        FILES(a_map_shows_the_file),
        FILES(names_come_and_go),
        FILES(a_walk_sees_every_name_once),
        FILES(a_walk_that_breaks_off_says_so),
        FILES(files_have_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
