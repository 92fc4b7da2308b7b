/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What test_disk.c leaves open of a core's ring: mixtures of turns and waits, watches over many
 * rounds, memory that cannot be registered, idle turns, a ring that goes early or never comes.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "disk/disk.h"
#include "tidemark/random.h"
#include "tidemark/types.h"

enum { ENTRIES = 8, FILE_BLOCKS = 64, REGION_BLOCKS = 16, BUF_BLOCKS = 2 * REGION_BLOCKS };

static struct disk *disk;
static uint8_t *memory; /* the first REGION_BLOCKS are registered */
static int file;

static struct disk *make(unsigned entries, void *base, size_t len, char *text, size_t size)
{
    struct disk_config config = {.entries = entries, .region_count = base != NULL};
    config.regions[0] = (struct disk_region){.base = base, .len = len};
    return disk_create(&config, text, size);
}

/* O_DIRECT where the file system has it. */
static int make_file(void)
{
    char path[] = "test_ring_XXXXXX";
    int buffered = mkstemp(path);
    assert_true(buffered >= 0);
    assert_int_equal(ftruncate(buffered, FILE_BLOCKS * TIDE_BLOCK), 0);
    int direct = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
    unlink(path);
    if (direct < 0)
        return buffered;
    close(buffered);
    return direct;
}

static int setup(void **state)
{
    char text[256];
    file = make_file();
    memory = aligned_alloc(TIDE_BLOCK, BUF_BLOCKS * TIDE_BLOCK);
    assert_non_null(memory);
    memset(memory, 0, BUF_BLOCKS * TIDE_BLOCK);
    disk = make(ENTRIES, memory, REGION_BLOCKS * TIDE_BLOCK, text, sizeof(text));
    if (disk == NULL)
        print_message("%s\n", text);
    return disk == NULL;
}

static int teardown(void **state)
{
    disk_destroy(disk);
    close(file);
    free(memory);
    return 0;
}

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * TIDE_NS_PER_S + (uint64_t)ts.tv_nsec;
}

static struct disk_op op(enum disk_op_kind kind, unsigned block, unsigned buf_block, uint64_t id)
{
    return (struct disk_op){.kind = kind,
                            .durable = kind == DISK_WRITE,
                            .file = file,
                            .len = TIDE_BLOCK,
                            .position = (uint64_t)block * TIDE_BLOCK,
                            .buf = memory + (size_t)buf_block * TIDE_BLOCK,
                            .id = id};
}

/* One operation from beginning to end; its result. */
static int64_t run(struct disk_op o)
{
    struct disk_done done;
    uint32_t tags;
    unsigned n = 0;
    assert_int_equal(disk_queue(disk, &o, 1), TIDE_OK);
    for (int i = 0; i < 100 && n == 0; i++)
        n = disk_wait(disk, TIDE_NS_PER_S, &done, 1, &tags);
    assert_int_equal(n, 1);
    assert_true(done.id == o.id);
    assert_int_equal(disk_in_flight(disk), 0);
    return done.result;
}

/* Two blocks, of which the second lies outside the registered memory. */
static void a_buffer_across_the_end_of_a_region(void **state)
{
    struct disk_op w = op(DISK_WRITE, 3, REGION_BLOCKS - 1, 1);
    struct disk_op r = op(DISK_READ, 3, 2, 2);
    w.len = r.len = 2 * TIDE_BLOCK;
    memset(w.buf, 'x', w.len);
    assert_int_equal(run(w), w.len);
    assert_int_equal(run(r), r.len);
    assert_memory_equal(r.buf, w.buf, w.len);
}

static void results_of_wrong_operations(void **state)
{
    struct disk_op o = op(DISK_WRITE, 0, 0, 5);
    int closed = fcntl(file, F_DUPFD_CLOEXEC, 500);
    close(closed);
    o.file = closed;
    assert_int_equal(run(o), -EBADF);
    o = op(DISK_WRITE, 0, 0, 6);
    o.buf = NULL;
    assert_int_equal(run(o), -EFAULT);
    assert_int_equal(run(op(DISK_READ, FILE_BLOCKS, 0, 7)), 0);
    o = op(DISK_READ, FILE_BLOCKS - 1, 0, 8);
    o.len = 3 * TIDE_BLOCK;
    assert_int_equal(run(o), TIDE_BLOCK); /* short, and told so */
}

static void every_id_comes_back_once(void **state)
{
    enum { OPS = 2000 };
    static uint8_t came[OPS];
    struct tide_random r = {.state = 11};
    struct disk_done done[ENTRIES];
    uint64_t start = now_ns();
    unsigned queued = 0, back = 0;
    memset(came, 0, sizeof(came));
    while (back < OPS && now_ns() - start < 60 * TIDE_NS_PER_S) {
        uint32_t tags;
        unsigned max = 1 + (unsigned)tide_random_below(&r, ENTRIES);
        unsigned want = (unsigned)tide_random_below(&r, 4);
        for (unsigned i = 0; i < want && queued < OPS; i++) {
            struct disk_op o = op(tide_random_hits(&r, 3) ? DISK_READ : DISK_WRITE,
                                  (unsigned)tide_random_below(&r, FILE_BLOCKS),
                                  (unsigned)tide_random_below(&r, BUF_BLOCKS), queued);
            o.durable = tide_random_hits(&r, 8);
            queued += disk_queue(disk, &o, 1) == TIDE_OK;
        }
        unsigned n = tide_random_hits(&r, 3) ? disk_wait(disk, 100000, done, max, &tags)
                                             : disk_turn(disk, done, max);
        assert_true(n <= max);
        for (unsigned i = 0; i < n; i++) {
            assert_true(done[i].id < OPS);
            assert_int_equal(came[done[i].id]++, 0);
            assert_int_equal(done[i].result, TIDE_BLOCK);
        }
        back += n;
        assert_int_equal(disk_in_flight(disk), queued - back);
    }
    assert_int_equal(back, OPS);
}

static void a_wait_ends_by_itself(void **state)
{
    struct disk_done done;
    uint32_t tags = 99;
    uint64_t start = now_ns();
    assert_int_equal(disk_wait(disk, 20 * TIDE_NS_PER_MS, &done, 1, &tags), 0);
    assert_int_equal(tags, 0);
    assert_true(now_ns() - start >= 19 * TIDE_NS_PER_MS);
    assert_int_equal(disk_wait(disk, 0, &done, 1, &tags), 0);
}

static void ring_bell(int bell)
{
    uint64_t one = 1;
    assert_int_equal(write(bell, &one, sizeof(one)), sizeof(one));
}

static void answer_bell(int bell)
{
    uint64_t count;
    assert_int_equal(read(bell, &count, sizeof(count)), sizeof(count));
}

static void watches_end_waits_again_and_again(void **state)
{
    int bells[2] = {eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    struct disk_done done;
    uint32_t tags;
    disk_watch(disk, bells[0], 3);
    disk_watch(disk, bells[1], 31);
    for (unsigned i = 0; i < 3000; i++) {
        unsigned which = i % 3; /* the one, the other, both */
        uint32_t seen = 0;
        uint32_t wanted = (which != 1 ? 1u << 3 : 0) | (which != 0 ? 1u << 31 : 0);
        if (which != 1)
            ring_bell(bells[0]);
        if (which != 0)
            ring_bell(bells[1]);
        for (int k = 0; k < 4 && seen != wanted; k++) {
            assert_int_equal(disk_wait(disk, 10 * TIDE_NS_PER_S, &done, 1, &tags), 0);
            seen |= tags;
        }
        assert_int_equal(seen, wanted);
        if (which != 1)
            answer_bell(bells[0]);
        if (which != 0)
            answer_bell(bells[1]);
    }
    assert_int_equal(disk_wait(disk, TIDE_NS_PER_MS, &done, 1, &tags), 0);
    assert_int_equal(tags, 0);
    close(bells[0]);
    close(bells[1]);
}

static void what_fired_before_the_watch_is_seen(void **state)
{
    int bell = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
    struct disk_done done;
    uint32_t tags;
    disk_watch(disk, bell, 0);
    assert_int_equal(disk_wait(disk, 10 * TIDE_NS_PER_S, &done, 1, &tags), 0);
    assert_int_equal(tags, 1);
    close(bell);
}

static void operations_go_on_among_watches(void **state)
{
    int bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    disk_watch(disk, bell, 1);
    for (unsigned i = 0; i < 200; i++) {
        struct disk_op o = op(DISK_WRITE, i % FILE_BLOCKS, i % BUF_BLOCKS, i);
        o.durable = false;
        if (i % 2 != 0)
            ring_bell(bell);
        assert_int_equal(run(o), TIDE_BLOCK);
    }
    close(bell);
}

static void memory_that_cannot_be_registered_is_used_plainly(void **state)
{
    char text[256];
    disk_destroy(disk);
    disk =
        make(ENTRIES, (void *)(uintptr_t)TIDE_BLOCK, TIDE_BLOCK, text, sizeof(text)); /* nobody's */
    assert_non_null(disk);
    assert_non_null(strstr(text, "plain buffers"));
    memset(memory, 'p', TIDE_BLOCK);
    assert_int_equal(run(op(DISK_WRITE, 1, 0, 1)), TIDE_BLOCK);
    assert_int_equal(run(op(DISK_READ, 1, 3, 2)), TIDE_BLOCK);
    assert_memory_equal(memory, memory + (size_t)3 * TIDE_BLOCK, TIDE_BLOCK);
}

static void a_ring_may_go_with_operations_in_flight(void **state)
{
    char text[256];
    struct disk_op ops[ENTRIES];
    struct disk_done done;
    for (unsigned i = 0; i < ENTRIES; i++)
        ops[i] = op(DISK_READ, i, i, i);
    assert_int_equal(disk_queue(disk, ops, ENTRIES), TIDE_OK);
    (void)disk_turn(disk, &done, 1);
    disk_destroy(disk);
    disk = make(ENTRIES, NULL, 0, text, sizeof(text));
    assert_non_null(disk);
    assert_int_equal(run(op(DISK_READ, 0, REGION_BLOCKS, 1)), TIDE_BLOCK);
    static uint8_t *volatile stays; /* so that it is written at all, and is found by who looks for leaks */
    stays = memory; /* nobody says when the old reads have ended */
    memory = NULL;
    assert_non_null(stays);
}

/* A turn with a write in flight takes the watch's event; the wait after it must not sleep on it. */
static void what_a_turn_saw_fire_ends_the_wait(void **state)
{
    int bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct disk_op o = op(DISK_WRITE, 0, 0, 1);
    struct disk_done done;
    uint32_t tags;
    disk_watch(disk, bell, 2);
    assert_int_equal(disk_wait(disk, 0, &done, 1, &tags), 0);
    assert_int_equal(disk_queue(disk, &o, 1), TIDE_OK);
    ring_bell(bell);
    while (disk_in_flight(disk) != 0)
        (void)disk_turn(disk, &done, 1);
    uint64_t start = now_ns();
    assert_int_equal(disk_wait(disk, 60 * TIDE_NS_PER_S, &done, 1, &tags), 0);
    assert_int_equal(tags, 1u << 2);
    assert_true(now_ns() - start < 30 * TIDE_NS_PER_S);
    close(bell);
}

/* The kernel refuses the first entry at once; turns alone must bring both back. */
static void a_refused_entry_does_not_hold_up_the_next(void **state)
{
    struct disk_op ops[2] = {op(DISK_WRITE, 0, 0, 1), op(DISK_WRITE, 1, 1, 2)};
    struct disk_done done[2];
    uint64_t start = now_ns();
    unsigned n = 0;
    ops[0].buf = (void *)(uintptr_t)0xffff800000000000ull; /* no address of a process */
    assert_int_equal(disk_queue(disk, ops, 2), TIDE_OK);
    while (n < 2 && now_ns() - start < 60 * TIDE_NS_PER_S)
        n += disk_turn(disk, done + n, 2 - n);
    assert_int_equal(n, 2);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(done[i].result, done[i].id == 1 ? -EFAULT : TIDE_BLOCK);
}

static void a_turn_enters_once_at_most(void **state)
{
    struct disk_done done;
    struct disk_counts before = disk_counts(disk);
    for (unsigned i = 0; i < 100; i++) {
        struct disk_op o = op(DISK_WRITE, i % FILE_BLOCKS, 0, i);
        unsigned turns = 0;
        uint64_t enters = disk_counts(disk).enters;
        assert_int_equal(disk_queue(disk, &o, 1), TIDE_OK);
        for (; disk_in_flight(disk) != 0; turns++) {
            uint64_t at = disk_counts(disk).enters;
            (void)disk_turn(disk, &done, 1);
            assert_true(disk_counts(disk).enters <= at + 1);
        }
        /* One to submit; those with task work; not one for each turn that found nothing. */
        assert_true(disk_counts(disk).enters - enters <= 4);
    }
    assert_int_equal(disk_counts(disk).submits - before.submits, 100);
}

/* ---- what a child process can show ---- */

static int child_result(void (*body)(void))
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        body();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void forbid_enter(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_enter, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = TIDE_ARRAY_LEN(filter), .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(77);
}

static void turn_idly(void)
{
    char text[256];
    struct disk_done done;
    struct disk *d = make(ENTRIES, NULL, 0, text, sizeof(text));
    if (d == NULL)
        _exit(1);
    forbid_enter();
    for (int i = 0; i < 1000; i++)
        if (disk_turn(d, &done, 1) != 0)
            _exit(2);
}

/* The same filter and something to submit: the proof that the one above would have noticed. */
static void turn_with_work(void)
{
    char text[256];
    struct disk_done done;
    struct disk_op o = op(DISK_READ, 0, REGION_BLOCKS, 1);
    struct disk *d = make(ENTRIES, NULL, 0, text, sizeof(text));
    if (d == NULL || disk_queue(d, &o, 1) != TIDE_OK)
        _exit(1);
    forbid_enter();
    (void)disk_turn(d, &done, 1);
}

static void an_idle_turn_makes_no_system_call(void **state)
{
    int result = child_result(turn_idly);
    if (result == 77)
        skip(); /* no seccomp here */
    assert_int_equal(result, 0);
    assert_int_equal(child_result(turn_with_work), 128 + SIGSYS);
}

static void create_without_descriptors(void)
{
    char text[256] = "";
    struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_NOFILE, &none) != 0)
        _exit(77);
    if (make(ENTRIES, NULL, 0, text, sizeof(text)) != NULL)
        _exit(1);
    _exit(strstr(text, "io_uring is not available: Too many open files") != NULL ? 0 : 2);
}

static void a_machine_without_rings_is_told(void **state)
{
    assert_int_equal(child_result(create_without_descriptors), 0);
}

#define RING(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RING(a_buffer_across_the_end_of_a_region),
        RING(results_of_wrong_operations),
        RING(every_id_comes_back_once),
        RING(a_wait_ends_by_itself),
        RING(watches_end_waits_again_and_again),
        RING(what_fired_before_the_watch_is_seen),
        RING(operations_go_on_among_watches),
        RING(memory_that_cannot_be_registered_is_used_plainly),
        RING(a_ring_may_go_with_operations_in_flight),
        RING(what_a_turn_saw_fire_ends_the_wait),
        RING(a_refused_entry_does_not_hold_up_the_next),
        RING(a_turn_enters_once_at_most),
        RING(an_idle_turn_makes_no_system_call),
        RING(a_machine_without_rings_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
