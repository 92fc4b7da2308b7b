/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk that fails, for a real broker: preloaded, it makes every io_uring write fail while the file
 * named by TIDE_DISK_FAULT exists. The entries are changed before the kernel sees them, so that the
 * broker gets a real completion with a real error (EBADF). Reads and the helpers' calls go through.
 *
 * When that file names a directory, only what lives below it fails, and there the helpers' writes,
 * flushes and new files do, too (EIO): one of several disks is gone.
 *
 * When it says "slow", nothing fails, and each submission with a write in it is kept back for SLOW_US.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <liburing.h>

enum { SLOW_US = 300000 };

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* False: all is well. The directory that fails, or an empty text: all of them. */
static bool fault(char directory[PATH_MAX])
{
    const char *name = getenv("TIDE_DISK_FAULT");
    int file = name != NULL && access(name, F_OK) == 0 ? REAL(open)(name, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t n = file >= 0 ? read(file, directory, PATH_MAX - 1) : 0;
    if (file < 0)
        return false;
    close(file);
    directory[n > 0 ? n : 0] = '\0';
    directory[strcspn(directory, "\n")] = '\0';
    return true;
}

static bool is_below(const char *path, const char *directory)
{
    size_t n = strlen(directory);
    return n != 0 && strncmp(path, directory, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

static bool file_is_below(int file, const char *directory)
{
    char link[64], path[PATH_MAX];
    ssize_t n;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", file);
    n = readlink(link, path, sizeof(path) - 1);
    if (n < 0)
        return false;
    path[n] = '\0';
    return is_below(path, directory);
}

/* A helper's call on that file fails. */
static bool spoils_file(int file)
{
    char directory[PATH_MAX];
    return fault(directory) && file_is_below(file, directory);
}

static bool spoils_path(const char *path)
{
    char directory[PATH_MAX];
    return fault(directory) && is_below(path, directory);
}

static void spoil(struct io_uring *ring)
{
    char directory[PATH_MAX];
    struct io_uring_sq *sq = &ring->sq;
    if (sq->sqe_head == sq->sqe_tail || !fault(directory))
        return;
    bool slow = strcmp(directory, "slow") == 0, writes = false;
    for (unsigned i = sq->sqe_head; i != sq->sqe_tail; i++) {
        struct io_uring_sqe *e = &sq->sqes[i & (*sq->kring_entries - 1)];
        if (e->opcode != IORING_OP_WRITE && e->opcode != IORING_OP_WRITE_FIXED)
            continue;
        writes = true;
        if (directory[0] == '\0' || file_is_below(e->fd, directory)) {
            e->fd = -1;
            e->flags &= (unsigned char)~IOSQE_FIXED_FILE;
        }
    }
    if (slow && writes)
        usleep(SLOW_US);
}

int io_uring_submit_and_get_events(struct io_uring *ring)
{
    spoil(ring);
    return REAL(io_uring_submit_and_get_events)(ring);
}

int io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe, unsigned wait_nr, struct __kernel_timespec *ts,
                                     sigset_t *sigmask)
{
    spoil(ring);
    return REAL(io_uring_submit_and_wait_timeout)(ring, cqe, wait_nr, ts, sigmask);
}

static int failed(void)
{
    errno = EIO;
    return -1;
}

int open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list args;
    va_start(args, flags);
    if (flags & O_CREAT)
        mode = va_arg(args, mode_t);
    va_end(args);
    return (flags & O_CREAT) && spoils_path(path) ? failed() : REAL(open)(path, flags, mode);
}

ssize_t pwrite(int file, const void *bytes, size_t n, off_t at)
{
    return spoils_file(file) ? failed() : REAL(pwrite)(file, bytes, n, at);
}

int fdatasync(int file)
{
    return spoils_file(file) ? failed() : REAL(fdatasync)(file);
}

int fsync(int file)
{
    return spoils_file(file) ? failed() : REAL(fsync)(file);
}
