/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/disk.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <liburing.h>

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
    bool deferred;   /* completions appear only when we enter the kernel */
    bool registered;
    unsigned entries;
    unsigned in_flight;
    unsigned queued;
    uint32_t fired;  /* tags of watches that fired and were not reported */
    uint32_t *free_slots;
    uint32_t free_count;
    uint64_t *ids;
    struct disk_config config;
    struct watch watches[DISK_WATCHES_MAX];
    unsigned watch_count;
};

static int try_ring(struct disk *d, unsigned flags)
{
    struct io_uring_params p = {.flags = flags | IORING_SETUP_CQSIZE, .cq_entries = d->entries * 2 + 64};
    return io_uring_queue_init_params(d->entries + DISK_WATCHES_MAX, &d->ring, &p);
}

static const char *open_ring(struct disk *d)
{
    d->deferred = true;
    if (try_ring(d, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN) == 0)
        return "io_uring, single issuer, deferred task run";
    d->deferred = false;
    if (try_ring(d, IORING_SETUP_COOP_TASKRUN) == 0)
        return "io_uring, cooperative task run";
    return try_ring(d, 0) == 0 ? "io_uring" : NULL;
}

static void register_regions(struct disk *d)
{
    struct iovec v[DISK_REGIONS_MAX];
    for (unsigned i = 0; i < d->config.region_count; i++)
        v[i] = (struct iovec){.iov_base = d->config.regions[i].base, .iov_len = d->config.regions[i].len};
    d->registered = d->config.region_count != 0 &&
                    io_uring_register_buffers(&d->ring, v, d->config.region_count) == 0;
}

struct disk *disk_create(const struct disk_config *config, char *text, size_t size)
{
    struct disk *d = calloc(1, sizeof(*d));
    const char *kind;
    if (d == NULL)
        return NULL;
    d->config = *config;
    d->entries = config->entries;
    d->ids = calloc(d->entries, sizeof(*d->ids));
    d->free_slots = calloc(d->entries, sizeof(*d->free_slots));
    kind = d->ids != NULL && d->free_slots != NULL ? open_ring(d) : NULL;
    if (kind == NULL) {
        snprintf(text, size, "io_uring is not available: %s (kernel.io_uring_disabled must be 0)", strerror(errno));
        free(d->ids);
        free(d->free_slots);
        free(d);
        return NULL;
    }
    for (uint32_t i = d->entries; i-- != 0;)
        d->free_slots[d->free_count++] = i;
    register_regions(d);
    snprintf(text, size, "%s, %s", kind,
             d->registered ? "registered buffers" : "plain buffers (they could not be registered: memlock limit?)");
    return d;
}

void disk_destroy(struct disk *d)
{
    if (d == NULL)
        return;
    io_uring_queue_exit(&d->ring);
    free(d->ids);
    free(d->free_slots);
    free(d);
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
    struct io_uring_sqe *e = io_uring_get_sqe(&d->ring);
    uint32_t slot = d->free_slots[--d->free_count];
    int region = region_of(d, op);

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
    d->queued++;
    d->in_flight++;
}

enum tide_status disk_queue(struct disk *d, const struct disk_op *ops, unsigned count)
{
    if (count > d->free_count || count > io_uring_sq_space_left(&d->ring))
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
    d->queued++;
}

void disk_watch(struct disk *d, int fd, uint32_t tag)
{
    TIDE_ASSERT(d->watch_count < DISK_WATCHES_MAX);
    struct watch *w = &d->watches[d->watch_count++];
    *w = (struct watch){.fd = fd, .tag = tag};
    arm(d, w);
}

static unsigned reap(struct disk *d, struct disk_done *done, unsigned max)
{
    struct io_uring_cqe *c;
    unsigned n = 0;
    while (n < max && io_uring_peek_cqe(&d->ring, &c) == 0) {
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
        io_uring_cqe_seen(&d->ring, c);
    }
    return n;
}

static void arm_all(struct disk *d)
{
    for (unsigned i = 0; i < d->watch_count; i++)
        arm(d, &d->watches[i]);
}

unsigned disk_turn(struct disk *d, struct disk_done *done, unsigned max)
{
    if (d->queued != 0) {
        arm_all(d);
        if (io_uring_submit(&d->ring) >= 0)
            d->queued = 0;
    }
    if (d->deferred && d->in_flight != 0 && io_uring_cq_ready(&d->ring) == 0)
        (void)io_uring_get_events(&d->ring);
    return reap(d, done, max);
}

unsigned disk_wait(struct disk *d, uint64_t timeout_ns, struct disk_done *done, unsigned max, uint32_t *ret_tags)
{
    struct __kernel_timespec ts = {.tv_sec = (int64_t)(timeout_ns / 1000000000u), .tv_nsec = (int64_t)(timeout_ns % 1000000000u)};
    struct io_uring_cqe *c;
    unsigned n;
    arm_all(d);
    (void)io_uring_submit_and_wait_timeout(&d->ring, &c, 1, &ts, NULL);
    d->queued = io_uring_sq_ready(&d->ring); /* what the kernel did not take */
    n = reap(d, done, max);
    *ret_tags = d->fired;
    d->fired = 0;
    return n;
}

unsigned disk_in_flight(const struct disk *d)
{
    return d->in_flight;
}
