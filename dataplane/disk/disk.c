/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/disk.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <liburing.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "tidemark/assert.h"

/* user_data of operations is the slot + 1 of `ids`; of watches WATCH + tag. */
#define WATCH (1ull << 32)

struct watch {
    int fd;
    uint32_t tag;
    bool armed;
};

struct disk {
    struct io_uring ring;
    bool deferred;   /* completions appear only when we enter the kernel ... */
    bool flagged;    /* ... and the ring tells when there are any */
    bool registered;
    bool polled;
    struct io_uring poll_ring; /* when `polled`, reads and writes go there that are not `cached` */
    unsigned entries;
    unsigned in_flight;
    struct disk_counts counts;
    uint32_t fired;  /* tags of watches that fired and were not reported */
    uint32_t *free_slots;
    uint32_t free_count;
    uint64_t *ids;
    struct disk_config config;
    struct watch watches[DISK_WATCHES_MAX];
    unsigned watch_count;
};

/* SUBMIT_ALL: an entry that the kernel refuses does not hold back those behind it. */
static int try_ring(struct disk *d, unsigned flags)
{
    d->deferred = (flags & IORING_SETUP_DEFER_TASKRUN) != 0;
    d->flagged = (flags & IORING_SETUP_TASKRUN_FLAG) != 0;
    struct io_uring_params p = {.flags = flags | IORING_SETUP_CQSIZE, .cq_entries = d->entries * 2 + 64};
    return io_uring_queue_init_params(d->entries + DISK_WATCHES_MAX, &d->ring, &p);
}

/* 0, or -errno of the last try. */
static int open_ring(struct disk *d, const char **ret_kind)
{
    static const struct {
        enum disk_task_run which;
        unsigned flags;
        const char *kind;
    } rows[] = {
        {DISK_TASK_RUN_DEFERRED,
         IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
         "io_uring, single issuer, deferred task run"},
        {DISK_TASK_RUN_COOPERATIVE, IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
         "io_uring, cooperative task run"},
        {DISK_TASK_RUN_PLAIN, 0, "io_uring, plain"},
    };
    int e = -ENOSYS;
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]) && e != 0; i++) {
        if (d->config.task_run != DISK_TASK_RUN_AUTO && d->config.task_run != rows[i].which)
            continue;
        e = try_ring(d, rows[i].flags);
        *ret_kind = rows[i].kind;
    }
    return e;
}

static void register_regions(struct disk *d)
{
    struct iovec v[DISK_REGIONS_MAX];
    for (unsigned i = 0; i < d->config.region_count; i++)
        v[i] = (struct iovec){.iov_base = d->config.regions[i].base, .iov_len = d->config.regions[i].len};
    d->registered = d->config.region_count != 0 && !d->config.plain_buffers &&
                    io_uring_register_buffers(d->polled ? &d->poll_ring : &d->ring, v, d->config.region_count) == 0;
}

static void open_poll_ring(struct disk *d)
{
    struct io_uring_params p = {.flags = IORING_SETUP_IOPOLL | IORING_SETUP_CQSIZE, .cq_entries = d->entries * 2};
    d->polled = d->config.polled && io_uring_queue_init_params(d->entries, &d->poll_ring, &p) == 0;
}

/* /sys/dev/block has the device itself; of a partition the queue is its disk's. */
bool disk_can_poll(const char *path)
{
    struct stat st;
    int polls = 0;
    if (stat(path, &st) != 0)
        return false;
    for (unsigned i = 0; i < 2; i++) {
        char name[128];
        snprintf(name, sizeof(name), "/sys/dev/block/%u:%u%s/queue/io_poll", major(st.st_dev), minor(st.st_dev),
                 i == 0 ? "" : "/..");
        FILE *f = fopen(name, "re");
        if (f == NULL)
            continue;
        if (fscanf(f, "%d", &polls) != 1)
            polls = 0;
        fclose(f);
        break;
    }
    return polls == 1;
}

struct disk *disk_create(const struct disk_config *config, char *text, size_t size)
{
    struct disk *d = calloc(1, sizeof(*d));
    const char *kind = NULL;
    int e;
    if (d == NULL)
        return NULL;
    d->config = *config;
    d->entries = config->entries;
    d->ids = calloc(d->entries, sizeof(*d->ids));
    d->free_slots = calloc(d->entries, sizeof(*d->free_slots));
    e = d->ids != NULL && d->free_slots != NULL ? open_ring(d, &kind) : -ENOMEM;
    if (e != 0) {
        snprintf(text, size, "io_uring is not available: %s (kernel.io_uring_disabled must be 0)", strerror(-e));
        free(d->ids);
        free(d->free_slots);
        free(d);
        return NULL;
    }
    for (uint32_t i = d->entries; i-- != 0;)
        d->free_slots[d->free_count++] = i;
    open_poll_ring(d);
    register_regions(d);
    snprintf(text, size, "%s, completions %s, %s", kind, d->polled ? "polled" : "by interrupt",
             d->registered                  ? "registered buffers"
             : d->config.region_count == 0 ? "no buffers to register"
             : d->config.plain_buffers    ? "plain buffers"
                                           : "plain buffers (they could not be registered: memlock limit?)");
    return d;
}

void disk_destroy(struct disk *d)
{
    if (d == NULL)
        return;
    if (d->polled)
        io_uring_queue_exit(&d->poll_ring);
    io_uring_queue_exit(&d->ring);
    free(d->ids);
    free(d->free_slots);
    free(d);
}

static struct io_uring *ring_of(struct disk *d, const struct disk_op *op)
{
    return d->polled && !op->cached ? &d->poll_ring : &d->ring;
}

static int region_of(const struct disk *d, const struct disk_op *op)
{
    const uint8_t *at = op->buf;
    for (unsigned i = 0; d->registered && i < d->config.region_count; i++) {
        const uint8_t *base = d->config.regions[i].base;
        if (at >= base && at + op->len <= base + d->config.regions[i].len)
            return (int)i;
    }
    return -1;
}

static void prepare(struct disk *d, const struct disk_op *op)
{
    struct io_uring_sqe *e = io_uring_get_sqe(ring_of(d, op));
    uint32_t slot = d->free_slots[--d->free_count];
    int region = op->cached ? -1 : region_of(d, op); /* of a polled ring they are registered there */

    if (op->kind == DISK_WRITE && region >= 0)
        io_uring_prep_write_fixed(e, op->file, op->buf, op->len, op->position, region);
    else if (op->kind == DISK_WRITE)
        io_uring_prep_write(e, op->file, op->buf, op->len, op->position);
    else if (region >= 0)
        io_uring_prep_read_fixed(e, op->file, op->buf, op->len, op->position, region);
    else
        io_uring_prep_read(e, op->file, op->buf, op->len, op->position);
    if (op->kind == DISK_WRITE && op->durable)
        e->rw_flags = RWF_DSYNC;
    d->ids[slot] = op->id;
    io_uring_sqe_set_data64(e, slot + 1);
    d->in_flight++;
}

enum tide_status disk_queue(struct disk *d, const struct disk_op *ops, unsigned count)
{
    if (count > d->free_count || count > io_uring_sq_space_left(&d->ring) || (d->polled && count > io_uring_sq_space_left(&d->poll_ring)))
        return TIDE_FULL;
    for (unsigned i = 0; i < count; i++)
        prepare(d, &ops[i]);
    return TIDE_OK;
}

static void arm(struct disk *d, struct watch *w)
{
    struct io_uring_sqe *e;
    if (w->armed || (e = io_uring_get_sqe(&d->ring)) == NULL)
        return;
    io_uring_prep_poll_multishot(e, w->fd, POLLIN);
    io_uring_sqe_set_data64(e, WATCH + (uint64_t)(w - d->watches));
    w->armed = true;
}

void disk_watch(struct disk *d, int fd, uint32_t tag)
{
    TIDE_ASSERT(d->watch_count < DISK_WATCHES_MAX);
    struct watch *w = &d->watches[d->watch_count++];
    *w = (struct watch){.fd = fd, .tag = tag};
    arm(d, w);
}

static unsigned reap_ring(struct disk *d, struct io_uring *ring, struct disk_done *done, unsigned max)
{
    struct io_uring_cqe *c;
    unsigned n = 0, head, seen = 0;
    io_uring_for_each_cqe(ring, head, c) {
        if (n == max)
            break;
        uint64_t data = io_uring_cqe_get_data64(c);
        if (data >= WATCH) {
            struct watch *w = &d->watches[data - WATCH];
            d->fired |= 1u << w->tag;
            if (!(c->flags & IORING_CQE_F_MORE))
                w->armed = false;
        } else if (data != 0) {
            uint32_t slot = (uint32_t)data - 1;
            done[n++] = (struct disk_done){.id = d->ids[slot], .result = c->res};
            d->free_slots[d->free_count++] = slot;
            d->in_flight--;
        }
        seen++;
    }
    io_uring_cq_advance(ring, seen);
    return n;
}

/* A polled ring gets on only while somebody looks. */
static void poll_operations(struct disk *d)
{
    if (!d->polled || d->in_flight == 0)
        return;
    d->counts.enters++;
    if (io_uring_sq_ready(&d->poll_ring) != 0) {
        d->counts.submits++;
        (void)io_uring_submit(&d->poll_ring);
    } else {
        (void)io_uring_get_events(&d->poll_ring);
    }
}

static unsigned reap(struct disk *d, struct disk_done *done, unsigned max)
{
    unsigned n = d->polled ? reap_ring(d, &d->poll_ring, done, max) : 0;
    return n + reap_ring(d, &d->ring, done + n, max - n);
}

static void arm_all(struct disk *d)
{
    for (unsigned i = 0; i < d->watch_count; i++)
        arm(d, &d->watches[i]);
}

/* Do completions wait for us to enter the kernel? */
static bool has_task_work(const struct disk *d)
{
    unsigned flags = IO_URING_READ_ONCE(*d->ring.sq.kflags);
    if (flags & (IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN))
        return true;
    return d->deferred && !d->flagged && d->in_flight != 0 && !d->polled;
}

/* What the kernel did not take stays in the ring, and goes with the next call. */
unsigned disk_turn(struct disk *d, struct disk_done *done, unsigned max)
{
    if (d->in_flight != 0)
        arm_all(d);
    poll_operations(d);
    if (io_uring_sq_ready(&d->ring) != 0) {
        d->counts.submits++;
        d->counts.enters++;
        (void)io_uring_submit_and_get_events(&d->ring);
    } else if (d->in_flight != 0 && has_task_work(d)) {
        d->counts.enters++;
        (void)io_uring_get_events(&d->ring);
    }
    return reap(d, done, max);
}

/* A watch that a turn saw fire must not be slept over. */
unsigned disk_wait(struct disk *d, uint64_t timeout_ns, struct disk_done *done, unsigned max, uint32_t *ret_tags)
{
    struct __kernel_timespec ts = {.tv_sec = (int64_t)(timeout_ns / 1000000000u), .tv_nsec = (int64_t)(timeout_ns % 1000000000u)};
    struct io_uring_cqe *c;
    unsigned n;
    poll_operations(d);
    if (d->fired != 0 || (d->polled && d->in_flight != 0))
        ts = (struct __kernel_timespec){0, 0};
    arm_all(d);
    d->counts.submits += io_uring_sq_ready(&d->ring) != 0;
    d->counts.enters++;
    (void)io_uring_submit_and_wait_timeout(&d->ring, &c, 1, &ts, NULL);
    n = reap(d, done, max);
    *ret_tags = d->fired;
    d->fired = 0;
    return n;
}

struct disk_counts disk_counts(const struct disk *d)
{
    return d->counts;
}

unsigned disk_in_flight(const struct disk *d)
{
    return d->in_flight;
}
