/* SPDX-License-Identifier: Apache-2.0 */
#include "core/loop.h"

#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_malloc.h>
#include <rte_rcu_qsbr.h>

enum {
    TAG_PORT = 0, /* watch tags: ports 0.., then the doorbell */
    TAG_DOORBELL = TIDE_PORTS_MAX,
    NO_FD_WAIT_NS = 50000,  /* a port without a descriptor is looked at this often */
};

/* jemalloc's, where it is linked in: how many bytes the calling thread has ever allocated. */
extern int mallctl(const char *name, void *old, size_t *old_len, void *new, size_t new_len) __attribute__((weak));

struct loop {
    const uint64_t *allocated; /* NULL: the allocator does not tell */
    uint64_t allocated_seen;
    struct loop_config config;
    struct core_io *io;
    struct post_office *office;
    uint32_t self;
    bool port_without_fd;
    int doorbell;
    uint64_t wall_read_ns;
    int64_t wall_ahead_ns; /* of CLOCK_MONOTONIC */
    uint64_t tick_q32;     /* of struct tide_time */
};

uint64_t loop_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * TIDE_NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* The wall clock is looked at once a millisecond, its unit, and goes with the other one in between: what the kernel has at hand for less
 * (CLOCK_REALTIME_COARSE) is up to four of them behind. */
static struct tide_time read_clock(struct loop *l)
{
    struct tide_time t = {.now_ns = loop_now_ns(), .tick = rte_rdtsc(), .tick_q32 = l->tick_q32};
    if (t.now_ns - l->wall_read_ns >= TIDE_NS_PER_MS) {
        struct timespec ts;
        clock_gettime(CLOCK_REALTIME, &ts);
        l->wall_read_ns = t.now_ns;
        l->wall_ahead_ns = (int64_t)ts.tv_sec * (int64_t)TIDE_NS_PER_S + ts.tv_nsec - (int64_t)t.now_ns;
    }
    t.wall_ms = ((int64_t)t.now_ns + l->wall_ahead_ns) / (int64_t)TIDE_NS_PER_MS;
    return t;
}

static void watch_all(struct loop *l)
{
    for (unsigned port = 0; port < nic_port_count(l->config.nic); port++) {
        struct nic_port_info info;
        int fd = nic_wait_fd(l->config.nic, port, l->self);
        nic_port_info(l->config.nic, port, &info);
        if (l->self >= info.rx_queues)
            continue; /* not received from by this core */
        if (fd >= 0)
            disk_watch(l->config.disk, fd, TAG_PORT + port);
        else
            l->port_without_fd = true;
    }
    disk_watch(l->config.disk, l->doorbell, TAG_DOORBELL);
}

/* Wakes those that this turn rang and that sleep. The fence pairs with the one in fall_asleep. */
static void ring_sleepers(struct loop *l)
{
    struct mail_party *me = &l->office->parties[l->self];
    uint64_t rung = me->rung;
    if (rung == 0)
        return;
    me->rung = 0;
    tide_fence();
    for (; rung != 0; rung &= rung - 1) {
        struct mail_party *p = &l->office->parties[__builtin_ctzll(rung)];
        uint64_t one = 1;
        if (atomic_load_explicit(&p->asleep, memory_order_relaxed) == 0 || p->wake_fd < 0)
            continue;
        tide_count(core_counters(l->config.core), COUNTER_wakes);
        (void)!write(p->wake_fd, &one, sizeof(one));
    }
}

static void take_inputs(struct loop *l)
{
    struct core_io *io = l->io;
    unsigned port = nic_active_port(l->config.nic);
    if (port != io->port) {
        struct nic_port_info info;
        nic_port_info(l->config.nic, port, &info);
        io->port = (uint16_t)port;
        io->mac = info.mac;
    }
    io->rx_count = nic_rx(l->config.nic, l->self, io->rx, CORE_RX_MAX);
    io->done_count += disk_turn(l->config.disk, io->done + io->done_count, CORE_DONE_MAX - io->done_count);
    io->jobs_done_count = help_pool_take(l->config.helpers, l->self, io->jobs_done, CORE_JOBS_MAX);
}

/* What was not taken stays in the outputs for the next time. */
static unsigned give_outputs(struct loop *l)
{
    struct core_io *io = l->io;
    unsigned did = 0;
    unsigned sent = nic_tx(l->config.nic, l->self, io->tx, io->tx_count);
    io->tx_count -= sent;
    for (unsigned port = 0; sent != 0 && port < nic_port_count(l->config.nic); port++) {
        unsigned sender = nic_tx_core(l->config.nic, port, l->self);
        if (sender != l->self) /* it sends for us: our frames wait in its ring */
            l->office->parties[l->self].rung |= 1ull << sender;
    }
    memmove(io->tx, io->tx + sent, io->tx_count * sizeof(io->tx[0]));
    did += sent;
    if (io->out.op_count != 0 && disk_queue(l->config.disk, io->out.ops, io->out.op_count) == TIDE_OK) {
        did += io->out.op_count;
        io->out.op_count = 0;
    }
    for (uint32_t i = 0; i < io->out.job_count; i++) {
        if (help_pool_submit(l->config.helpers, io->out.jobs[i]) != TIDE_OK) {
            memmove(io->out.jobs, io->out.jobs + i, (io->out.job_count - i) * sizeof(io->out.jobs[0]));
            io->out.job_count -= i;
            return did;
        }
        did++;
    }
    io->out.job_count = 0;
    return did;
}

static void clear_doorbell(struct loop *l, uint32_t tags)
{
    uint64_t count;
    if (tags & 1u << TAG_DOORBELL)
        (void)!read(l->doorbell, &count, sizeof(count));
}

static void fall_asleep(struct loop *l)
{
    struct mail_party *me = &l->office->parties[l->self];
    struct core_io *io = l->io;
    uint64_t now = loop_now_ns();
    uint64_t until = TIDE_MIN(core_deadline_ns(l->config.core), now + LOOP_WAIT_MAX_MS * TIDE_NS_PER_MS);
    uint32_t tags = 0;
    bool frames_wait = nic_tx_waiting(l->config.nic, l->self) != 0; /* for a ring, which may take none for as long as a cable is out */

    if (l->port_without_fd || frames_wait || io->tx_count != 0 || io->out.op_count != 0 || io->out.job_count != 0)
        until = TIDE_MIN(until, now + NO_FD_WAIT_NS);
    if (until <= now)
        return;
    atomic_store_explicit(&me->asleep, 1, memory_order_relaxed);
    tide_fence(); /* pairs with ring_sleepers */
    if (!core_has_mail(l->config.core) && (frames_wait || nic_tx_waiting(l->config.nic, l->self) == 0)) {
        rte_rcu_qsbr_thread_offline(l->config.qsbr, l->self);
        tide_count(core_counters(l->config.core), COUNTER_idle_waits);
        io->done_count = disk_wait(l->config.disk, until - now, io->done, CORE_DONE_MAX, &tags);
        rte_rcu_qsbr_thread_online(l->config.qsbr, l->self);
    }
    atomic_store_explicit(&me->asleep, 0, memory_order_relaxed);
    clear_doorbell(l, tags);
}

static void watch_heap(struct loop *l)
{
    size_t len = sizeof(l->allocated);
    if (mallctl == NULL || mallctl("thread.allocatedp", &l->allocated, &len, NULL, 0) != 0)
        l->allocated = NULL;
    else
        l->allocated_seen = *l->allocated;
}

/* A core takes nothing from the heap once it runs (design 3); whoever breaks that is counted. */
static void check_heap(struct loop *l)
{
    if (l->allocated == NULL || *l->allocated == l->allocated_seen)
        return;
    l->allocated_seen = *l->allocated;
    tide_count(core_counters(l->config.core), COUNTER_heap_allocations);
}

void loop_run(const struct loop_config *config)
{
    struct loop l = {.config = *config,
                     .office = core_office(config->core),
                     .self = core_number(config->core),
                     .tick_q32 = (TIDE_NS_PER_S << 32) / rte_get_tsc_hz()};
    uint32_t idle = 0;
    bool unended = false; /* the last turn did something, and its end is the next look at the clock */

    l.doorbell = l.office->parties[l.self].wake_fd;
    l.io = rte_zmalloc("core_io", sizeof(*l.io), TIDE_CACHE_LINE);
    TIDE_ASSERT(l.io != NULL);
    watch_all(&l);
    rte_rcu_qsbr_thread_register(config->qsbr, l.self);
    rte_rcu_qsbr_thread_online(config->qsbr, l.self);
    watch_heap(&l);
    while (!atomic_load_explicit(config->stop, memory_order_relaxed)) {
        struct tide_time t;
        unsigned did;
        take_inputs(&l);
        t = read_clock(&l);
        if (unended)
            core_on_turn_end(config->core, t.now_ns);
        did = core_turn(config->core, &t, l.io);
        did += give_outputs(&l);
        rte_rcu_qsbr_quiescent(config->qsbr, l.self);
        ring_sleepers(&l);
        check_heap(&l);
        unended = did != 0;
        idle = did != 0 ? 0 : idle + 1;
        if (config->idle == CORE_IDLE_WAIT && idle > config->idle_polls)
            fall_asleep(&l);
        else if (config->idle == CORE_IDLE_YIELD && did == 0)
            (void)sched_yield();
    }
    rte_rcu_qsbr_thread_offline(config->qsbr, l.self);
    rte_rcu_qsbr_thread_unregister(config->qsbr, l.self);
    for (unsigned i = 0; i < l.io->tx_count; i++)
        rte_pktmbuf_free(l.io->tx[i]);
    rte_free(l.io);
}
