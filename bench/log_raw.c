/* SPDX-License-Identifier: Apache-2.0 */
#include "log_raw.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log_end.h"
#include "tidemark/random.h"

enum { ZERO_BYTES = 1 << 20 };

static void make_ring(struct log_raw *r)
{
    struct io_uring_params p = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
    struct iovec v = {.iov_base = r->memory, .iov_len = LOG_RAW_WRITE_MAX + LOG_RAW_READ_MAX};
    if (io_uring_queue_init_params(8, &r->ring, &p) != 0)
        log_end_must(io_uring_queue_init(8, &r->ring, 0) == 0, "there is no io_uring");
    log_end_must(io_uring_register_buffers(&r->ring, &v, 1) == 0,
                 "buffers cannot be registered (memlock limit?)");
}

static void make_zeroes(int file, uint64_t bytes)
{
    void *zeroes = aligned_alloc(TIDE_BLOCK, ZERO_BYTES);
    log_end_must(zeroes != NULL, "no memory for zeroes");
    memset(zeroes, 0, ZERO_BYTES);
    (void)posix_fallocate(file, 0, (off_t)bytes);
    for (uint64_t at = 0; at < bytes; at += ZERO_BYTES)
        log_end_must(pwrite(file, zeroes, ZERO_BYTES, (off_t)at) == ZERO_BYTES,
                     "the file of the floor cannot be zeroed");
    log_end_must(fdatasync(file) == 0, "the file of the floor cannot be synced");
    free(zeroes);
}

void log_raw_open(struct log_raw *r, const char *path, uint64_t bytes)
{
    struct tide_random chance = {.state = 5};
    *r = (struct log_raw){.file =
                              open(path, O_RDWR | O_CREAT | O_EXCL | O_DIRECT | O_CLOEXEC, 0600)};
    log_end_must(r->file >= 0, "the file of the floor cannot be made (O_DIRECT)");
    r->memory = aligned_alloc(TIDE_BLOCK, LOG_RAW_WRITE_MAX + LOG_RAW_READ_MAX);
    log_end_must(r->memory != NULL, "no memory for the floor");
    for (uint32_t i = 0; i < LOG_RAW_WRITE_MAX + LOG_RAW_READ_MAX; i++)
        r->memory[i] = (uint8_t)tide_random_u64(&chance);
    make_zeroes(r->file, bytes);
    make_ring(r);
}

void log_raw_close(struct log_raw *r)
{
    io_uring_queue_exit(&r->ring);
    close(r->file);
    free(r->memory);
}

static struct io_uring_sqe *entry(struct log_raw *r)
{
    struct io_uring_sqe *e = io_uring_get_sqe(&r->ring);
    log_end_must(e != NULL, "the ring of the floor is full");
    return e;
}

void log_raw_write(struct log_raw *r, uint64_t position, uint32_t len)
{
    struct io_uring_sqe *e = entry(r);
    log_end_must(len <= LOG_RAW_WRITE_MAX && r->writing == 0, "not a write for the floor");
    io_uring_prep_write_fixed(e, r->file, r->memory, len, position, 0);
    e->rw_flags = RWF_DSYNC;
    io_uring_sqe_set_data64(e, LOG_RAW_WROTE);
    r->writing = len;
}

void log_raw_read(struct log_raw *r, uint64_t position, uint32_t len)
{
    struct io_uring_sqe *e = entry(r);
    log_end_must(len <= LOG_RAW_READ_MAX && r->reading == 0, "not a read for the floor");
    io_uring_prep_read_fixed(e, r->file, r->memory + LOG_RAW_WRITE_MAX, len, position, 0);
    io_uring_sqe_set_data64(e, LOG_RAW_READ);
    r->reading = len;
}

unsigned log_raw_wait(struct log_raw *r, uint64_t timeout_ns)
{
    struct __kernel_timespec ts = {.tv_sec = (int64_t)(timeout_ns / TIDE_NS_PER_S),
                                   .tv_nsec = (int64_t)(timeout_ns % TIDE_NS_PER_S)};
    struct io_uring_cqe *c;
    unsigned head;
    unsigned n = 0;
    unsigned events = 0;
    if (timeout_ns == UINT64_MAX)
        (void)io_uring_submit_and_wait(&r->ring, 1);
    else
        (void)io_uring_submit_and_wait_timeout(&r->ring, &c, 1, &ts, NULL);
    io_uring_for_each_cqe(&r->ring, head, c)
    {
        uint32_t *out = c->user_data == LOG_RAW_WROTE ? &r->writing : &r->reading;
        n++;
        if (c->user_data != LOG_RAW_WROTE && c->user_data != LOG_RAW_READ)
            continue; /* the timeout of a kernel that makes it an entry of the ring */
        log_end_must(c->res >= 0 && (uint32_t)c->res == *out, "the floor's write or read failed");
        *out = 0;
        events |= (unsigned)c->user_data;
    }
    io_uring_cq_advance(&r->ring, n);
    return events;
}
