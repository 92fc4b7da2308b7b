/* SPDX-License-Identifier: Apache-2.0 */
/* tidemark-load: options, threads, and the start that they have in common. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "bench/load/report.h"
#include "nic/nic.h"

enum { STATUS_FAILED = 1, STATUS_USAGE = 2, STATUS_INVALID = 3, BLOCK = 16384, READ_BLOCKS = 256 };
#define START_AFTER_NS (20 * TIDE_NS_PER_MS)

struct thread {
    pthread_t id;
    struct load_worker worker;
    atomic_bool ready, failed;
};

struct run {
    struct load_options options;
    unsigned count;
    struct thread *threads;
    atomic_ulong start_ns; /* release: start_wall_ms stands; acquire in thread_main */
    int64_t start_wall_ms;
};

static struct run run;
static volatile sig_atomic_t stopped;
static void on_signal(int s) { (void)s; stopped = 1; }

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * TIDE_NS_PER_S + (uint64_t)t.tv_nsec;
}

/* The thread's processor of "2,3"; false: it is none of ours. */
static bool pin(unsigned index)
{
    cpu_set_t set;
    const char *at = run.options.cpus;
    unsigned long cpus[CPU_SETSIZE], count = 0;
    char *end;
    while (*at != 0 && count < CPU_SETSIZE) {
        cpus[count] = strtoul(at, &end, 10);
        if (end == at || cpus[count] >= CPU_SETSIZE || (*end != 0 && *end != ','))
            return false;
        at = *end == ',' ? end + 1 : end;
        count++;
    }
    if (count == 0)
        return true;
    CPU_ZERO(&set);
    CPU_SET(cpus[index % count], &set);
    return pthread_setaffinity_np(pthread_self(), sizeof(set), &set) == 0;
}

/* Until all are ready each turns for itself; then the first that sees the start begins with it. */
static void *thread_main(void *arg)
{
    struct thread *t = arg;
    struct load_worker *w = &t->worker;
    (void)prctl(PR_SET_TIMERSLACK, 1);
    if (!pin((unsigned)(t - run.threads)))
        snprintf(w->error, sizeof(w->error), "cpus: '%.200s' are no processors of ours", run.options.cpus);
    while (!stopped && w->error[0] == 0 && !load_worker_done(w)) {
        load_worker_turn(w);
        if (w->start_ns != 0)
            continue;
        uint64_t start_ns = atomic_load_explicit(&run.start_ns, memory_order_acquire);
        if (start_ns != 0)
            load_worker_start(w, start_ns, run.start_wall_ms);
        else
            atomic_store(&t->ready, load_worker_ready(w));
    }
    atomic_store(&t->failed, w->start_ns == 0);
    load_worker_finish(w);
    return NULL;
}

static struct load_transport *make_transport(unsigned index, char *error_text)
{
    const struct load_options *o = &run.options;
    char name[32];
    uint32_t lines = load_worker_lines(o, index, run.count);
    uint64_t blocks = (o->memory_mb << 20) / run.count / (BLOCK + 256);
    snprintf(name, sizeof(name), "load%u", index);
    struct rte_mempool *pool = rte_pktmbuf_pool_create(name, (unsigned)TIDE_MAX(blocks, (uint64_t)READ_BLOCKS), 0, 0, BLOCK + RTE_PKTMBUF_HEADROOM, SOCKET_ID_ANY);
    if (pool == NULL) {
        snprintf(error_text, LOAD_ERROR_MAX, "no memory for buffers (memory.mb=%lu)", o->memory_mb);
        return NULL;
    }
    return strcmp(o->transport, "kernel") == 0 ? load_kernel_create(o, pool, lines, error_text) : load_port_create(o, pool, lines, error_text);
}

static bool start_eal(const struct load_options *o)
{
    static char prefix[32];
    const char *devices[] = {o->transport};
    bool kernel = strcmp(o->transport, "kernel") == 0;
    snprintf(prefix, sizeof(prefix), "tidemark_load_%d", (int)getpid());
    struct nic_eal_config eal = {.file_prefix = prefix, .memory = NIC_MEMORY_PAGES, .memory_mb = (unsigned)o->memory_mb + (kernel ? 64 : 256),
                                 .devices = devices, .device_count = kernel ? 0 : 1};
    return nic_eal_start(&eal) == 0;
}

static bool all_ready(void)
{
    for (unsigned i = 0; i < run.count; i++)
        if (!atomic_load(&run.threads[i].ready))
            return false;
    return true;
}

static bool any_failed(void)
{
    for (unsigned i = 0; i < run.count; i++)
        if (atomic_load(&run.threads[i].failed))
            return true;
    return false;
}

/* False: somebody could not begin. */
static bool start_together(void)
{
    uint64_t until = clock_ns(CLOCK_MONOTONIC) + run.options.setup_s * TIDE_NS_PER_S;
    while (!all_ready()) {
        if (stopped || any_failed())
            return false;
        if (clock_ns(CLOCK_MONOTONIC) > until) {
            fprintf(stderr, "tidemark-load: not everybody is connected within setup.s=%lu\n", run.options.setup_s);
            return false;
        }
        usleep(1000);
    }
    run.start_wall_ms = (int64_t)((clock_ns(CLOCK_REALTIME) + START_AFTER_NS) / TIDE_NS_PER_MS);
    atomic_store_explicit(&run.start_ns, clock_ns(CLOCK_MONOTONIC) + START_AFTER_NS, memory_order_release);
    return true;
}

static bool make_workers(void)
{
    uint64_t id;
    if (getrandom(&id, sizeof(id), 0) != sizeof(id))
        return false;
    run.count = (unsigned)run.options.threads;
    run.threads = calloc(run.count, sizeof(*run.threads));
    if (run.threads == NULL)
        return false;
    for (unsigned i = 0; i < run.count; i++) {
        char error_text[LOAD_ERROR_MAX] = "";
        struct load_worker *w = &run.threads[i].worker;
        struct load_transport *t = make_transport(i, error_text);
        if (t == NULL || !load_worker_init(w, &run.options, t, i, run.count, id)) {
            fprintf(stderr, "tidemark-load: %s\n", t == NULL ? error_text : w->error[0] != 0 ? w->error : "no memory");
            return false;
        }
    }
    return true;
}

static int report(struct load_report *r)
{
    struct load_result *all = &run.threads[0].worker.result;
    for (unsigned i = 1; i < run.count; i++)
        load_result_merge(all, &run.threads[i].worker.result);
    r->result = all;
    load_report_end(r, clock_ns(CLOCK_MONOTONIC));
    if (!load_report_tell(r))
        return STATUS_FAILED;
    return r->reason_count != 0 ? STATUS_INVALID : 0;
}

static int measure(void)
{
    struct load_report r = {.tool = "tidemark-load", .options = &run.options};
    const char *why = "";
    unsigned begun = 0;
    while (begun < run.count && pthread_create(&run.threads[begun].id, NULL, thread_main, &run.threads[begun]) == 0)
        begun++;
    stopped |= begun < run.count;
    bool started = start_together();
    if (!started)
        stopped = 1; /* those that wait for one that failed end, too */
    load_report_begin(&r);
    for (unsigned i = 0; i < begun; i++)
        (void)pthread_join(run.threads[i].id, NULL);
    r.start_ns = atomic_load(&run.start_ns);
    r.start_wall_ms = run.start_wall_ms;
    r.stopped = stopped != 0;
    if (started && !any_failed())
        return report(&r);
    for (unsigned i = 0; i < run.count; i++)
        if (run.threads[i].worker.error[0] != 0)
            why = run.threads[i].worker.error;
    fprintf(stderr, "tidemark-load: the run has not begun%s%s\n", why[0] != 0 ? ": " : "", why);
    return STATUS_FAILED;
}

static int usage(const char *error_text)
{
    fprintf(stderr, "tidemark-load: %s\n", error_text);
    return STATUS_USAGE;
}

int main(int argc, char **argv)
{
    char error_text[LOAD_ERROR_MAX];
    if (!load_options_args(&run.options, argc, argv, error_text))
        return usage(error_text);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    signal(SIGPIPE, SIG_IGN);
    if (!start_eal(&run.options))
        return STATUS_FAILED;
    int status = make_workers() ? measure() : STATUS_FAILED;
    for (unsigned i = 0; run.threads != NULL && i < run.count; i++)
        if (run.threads[i].worker.transport != NULL) {
            load_worker_deinit(&run.threads[i].worker);
            run.threads[i].worker.transport->ops->destroy(run.threads[i].worker.transport);
        }
    nic_eal_stop();
    return status;
}
