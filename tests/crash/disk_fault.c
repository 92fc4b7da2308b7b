/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk that fails, for a real broker: preloaded, it makes every io_uring write fail while the file
 * named by TIDE_DISK_FAULT exists. The entries are changed before the kernel sees them, so that the
 * broker gets a real completion with a real error (EBADF). Reads and the helpers' calls go through.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

#include <liburing.h>

static void spoil(struct io_uring *ring)
{
    const char *name = getenv("TIDE_DISK_FAULT");
    struct io_uring_sq *sq = &ring->sq;
    if (sq->sqe_head == sq->sqe_tail || name == NULL || access(name, F_OK) != 0)
        return;
    for (unsigned i = sq->sqe_head; i != sq->sqe_tail; i++) {
        struct io_uring_sqe *e = &sq->sqes[i & (*sq->kring_entries - 1)];
        if (e->opcode == IORING_OP_WRITE || e->opcode == IORING_OP_WRITE_FIXED) {
            e->fd = -1;
            e->flags &= (unsigned char)~IOSQE_FIXED_FILE;
        }
    }
}

int io_uring_submit_and_get_events(struct io_uring *ring)
{
    static int (*real)(struct io_uring *);
    if (real == NULL)
        real = (int (*)(struct io_uring *))dlsym(RTLD_NEXT, "io_uring_submit_and_get_events");
    spoil(ring);
    return real(ring);
}

int io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe, unsigned wait_nr, struct __kernel_timespec *ts,
                                     sigset_t *sigmask)
{
    static int (*real)(struct io_uring *, struct io_uring_cqe **, unsigned, struct __kernel_timespec *, sigset_t *);
    if (real == NULL)
        real = (int (*)(struct io_uring *, struct io_uring_cqe **, unsigned, struct __kernel_timespec *, sigset_t *))dlsym(
            RTLD_NEXT, "io_uring_submit_and_wait_timeout");
    spoil(ring);
    return real(ring, cqe, wait_nr, ts, sigmask);
}
