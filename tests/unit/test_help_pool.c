/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "disk/help_pool.h"
#include "tidemark/types.h"

enum { OWNERS = 3, JOBS_EACH = 4000 }; /* two cores and control */

static const struct tide_fs files; /* never called: only handed on */

struct counted {
    struct tide_job job;
    _Atomic unsigned runs;
    unsigned returns; /* the owner's */
};

static void count_run(struct tide_job *job, const struct tide_fs *fs)
{
    struct counted *c = (struct counted *)job;
    assert_ptr_equal(fs, &files);
    atomic_fetch_add(&c->runs, 1);
    job->result = (int64_t)job->cookie * 2;
}

static uint32_t owner_name(unsigned i)
{
    return i == OWNERS - 1 ? TIDE_JOB_CONTROL : i;
}

static struct help_pool *make(unsigned threads)
{
    unit_eal();
    struct help_pool *p = help_pool_create(threads, OWNERS - 1, &files);
    assert_non_null(p);
    return p;
}

/* Waits for jobs of `owner` at its bell; all that came. */
static unsigned take_some(struct help_pool *p, uint32_t owner, int bell, struct tide_job **jobs,
                          unsigned max)
{
    struct pollfd at = {.fd = bell, .events = POLLIN};
    uint64_t count;
    unsigned n = help_pool_take(p, owner, jobs, max);
    if (n != 0)
        return n;
    if (poll(&at, 1, 30000) != 1)
        return 0;
    (void)!read(bell, &count, sizeof(count));
    return help_pool_take(p, owner, jobs, max);
}

struct owner {
    struct help_pool *pool;
    uint32_t name;
    int bell;
    struct counted *jobs;
    bool good;
};

/* Submits, takes back, and counts; the bell alone wakes it. */
static void *own(void *arg)
{
    struct owner *o = arg;
    struct tide_job *back[32];
    unsigned submitted = 0, returned = 0, silent = 0;
    o->good = true;
    while (returned < JOBS_EACH && silent < 1000) {
        for (unsigned i = 0; i < 20 && submitted < JOBS_EACH; i++) {
            struct counted *c = &o->jobs[submitted];
            c->job = (struct tide_job){.run = count_run, .owner = o->name, .cookie = submitted};
            if (help_pool_submit(o->pool, &c->job) != TIDE_OK)
                break;
            submitted++;
        }
        unsigned n = take_some(o->pool, o->name, o->bell, back, TIDE_ARRAY_LEN(back));
        silent = n == 0 ? silent + 1 : 0;
        for (unsigned i = 0; i < n; i++) {
            struct counted *c = (struct counted *)back[i];
            c->returns++;
            o->good &= c >= o->jobs && c < o->jobs + JOBS_EACH;
            o->good &= c->job.result == (int64_t)c->job.cookie * 2;
        }
        returned += n;
    }
    o->good &= returned == JOBS_EACH;
    return NULL;
}

static void each_job_runs_once_and_comes_home_once(void **state)
{
    static const unsigned counts[] = {1, 2, 7};
    for (unsigned t = 0; t < TIDE_ARRAY_LEN(counts); t++) {
        struct help_pool *p = make(counts[t]);
        struct owner owners[OWNERS];
        pthread_t threads[OWNERS];
        for (unsigned i = 0; i < OWNERS; i++) {
            owners[i] = (struct owner){.pool = p,
                                       .name = owner_name(i),
                                       .bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
                                       .jobs = calloc(JOBS_EACH, sizeof(struct counted))};
            help_pool_set_doorbell(p, owners[i].name, owners[i].bell);
        }
        for (unsigned i = 0; i < OWNERS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, own, &owners[i]), 0);
        for (unsigned i = 0; i < OWNERS; i++) {
            struct tide_job *none;
            pthread_join(threads[i], NULL);
            assert_true(owners[i].good);
            for (unsigned k = 0; k < JOBS_EACH; k++) {
                assert_int_equal(atomic_load(&owners[i].jobs[k].runs), 1);
                assert_int_equal(owners[i].jobs[k].returns, 1);
            }
            assert_int_equal(help_pool_take(p, owners[i].name, &none, 1), 0);
        }
        help_pool_destroy(p);
        for (unsigned i = 0; i < OWNERS; i++) {
            close(owners[i].bell);
            free(owners[i].jobs);
        }
    }
}

/* A job that holds its thread until it is let go. */
static _Atomic bool let_go;
static _Atomic unsigned held;

static void hold(struct tide_job *job, const struct tide_fs *fs)
{
    atomic_fetch_add(&held, 1);
    while (!atomic_load(&let_go))
        usleep(1000);
}

static void a_full_pool_says_so_and_recovers(void **state)
{
    enum { MANY = 40000 };
    struct help_pool *p = make(1);
    struct tide_job holder = {.run = hold, .owner = 0};
    struct counted *jobs = calloc(MANY, sizeof(*jobs));
    struct tide_job *back[64];
    unsigned taken = 0, returned = 0;
    atomic_store(&let_go, false);
    atomic_store(&held, 0);
    assert_int_equal(help_pool_submit(p, &holder), TIDE_OK);
    while (atomic_load(&held) == 0)
        usleep(1000);
    for (; taken < MANY; taken++) {
        jobs[taken].job = (struct tide_job){.run = count_run, .owner = 0, .cookie = taken};
        if (help_pool_submit(p, &jobs[taken].job) == TIDE_FULL)
            break;
    }
    assert_in_range(taken, 1, MANY - 1);
    assert_int_equal(help_pool_submit(p, &jobs[taken].job), TIDE_FULL);
    atomic_store(&let_go, true);
    for (int i = 0; i < 10000 && returned < taken + 1; i++) {
        unsigned n = help_pool_take(p, 0, back, TIDE_ARRAY_LEN(back));
        returned += n;
        if (n == 0)
            usleep(1000);
    }
    assert_int_equal(returned, taken + 1);
    assert_int_equal(help_pool_submit(p, &jobs[taken].job), TIDE_OK); /* there is room again */
    help_pool_destroy(p);
    for (unsigned i = 0; i <= taken; i++)
        assert_int_equal(atomic_load(&jobs[i].runs), 1);
    free(jobs);
}

static void the_end_runs_what_is_queued(void **state)
{
    enum { QUEUED = 500 };
    static struct counted jobs[QUEUED];
    struct help_pool *p = make(2);
    struct tide_job holders[2] = {{.run = hold, .owner = 0}, {.run = hold, .owner = 1}};
    memset(jobs, 0, sizeof(jobs));
    atomic_store(&let_go, false);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(help_pool_submit(p, &holders[i]), TIDE_OK);
    for (unsigned i = 0; i < QUEUED; i++) {
        jobs[i].job = (struct tide_job){.run = count_run, .owner = TIDE_JOB_CONTROL};
        assert_int_equal(help_pool_submit(p, &jobs[i].job), TIDE_OK);
    }
    atomic_store(&let_go, true);
    help_pool_destroy(p);
    for (unsigned i = 0; i < QUEUED; i++)
        assert_int_equal(atomic_load(&jobs[i].runs), 1);
}

static unsigned count_helpers(void)
{
    char path[300], name[32];
    unsigned found = 0;
    struct dirent *e;
    DIR *d = opendir("/proc/self/task");
    assert_non_null(d);
    while ((e = readdir(d)) != NULL) {
        snprintf(path, sizeof(path), "/proc/self/task/%s/comm", e->d_name);
        FILE *f = fopen(path, "r");
        if (f != NULL && fgets(name, sizeof(name), f) != NULL)
            found += strncmp(name, "tide-help-", 10) == 0;
        if (f != NULL)
            fclose(f);
    }
    closedir(d);
    return found;
}

/* Who was joined may still be listed for a moment. */
static bool helpers_are_gone(void)
{
    for (int i = 0; i < 30000; i++) {
        if (count_helpers() == 0)
            return true;
        usleep(1000);
    }
    return false;
}

static uint64_t cpu_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * TIDE_NS_PER_S + (uint64_t)ts.tv_nsec;
}

static void idle_helpers_have_names_and_sleep(void **state)
{
    struct help_pool *p = make(3);
    assert_int_equal(count_helpers(), 3);
    uint64_t before = cpu_ns();
    usleep(200000);
    assert_true(cpu_ns() - before < 50 * TIDE_NS_PER_MS);
    help_pool_destroy(p);
    assert_true(helpers_are_gone());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_job_runs_once_and_comes_home_once),
        cmocka_unit_test(a_full_pool_says_so_and_recovers),
        cmocka_unit_test(the_end_runs_what_is_queued),
        cmocka_unit_test(idle_helpers_have_names_and_sleep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
