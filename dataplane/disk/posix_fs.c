/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/posix_fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "tidemark/types.h"

/* Does the device take our block size? Unknown counts as yes: the first write will tell. */
static int check_alignment(int fd)
{
    struct statx x;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &x) != 0 || !(x.stx_mask & STATX_DIOALIGN))
        return 0;
    if (x.stx_dio_offset_align > TIDE_BLOCK || x.stx_dio_mem_align > TIDE_BLOCK)
        return -EINVAL;
    return 0;
}

static int fs_open(void *self, const char *path, unsigned flags)
{
    int f = O_CLOEXEC;
    int fd;
    (void)self;
    f |= flags & TIDE_FS_WRITE ? (flags & TIDE_FS_READ ? O_RDWR : O_WRONLY) : O_RDONLY;
    if (flags & TIDE_FS_CREATE)
        f |= O_CREAT;
    if (flags & TIDE_FS_EXCL)
        f |= O_EXCL;
    fd = open(path, flags & TIDE_FS_DIRECT ? f | O_DIRECT : f, 0640);
    if (fd < 0 && errno == EINVAL && flags & TIDE_FS_DIRECT)
        fd = open(path, f & ~O_EXCL, 0640); /* the first try may have created it */
    else if (fd >= 0 && flags & TIDE_FS_DIRECT && check_alignment(fd) != 0) {
        close(fd);
        return -EINVAL;
    }
    return fd < 0 ? -errno : fd;
}

static int fs_close(void *self, int file)
{
    (void)self;
    return close(file) == 0 ? 0 : -errno;
}

static int64_t fs_pread(void *self, int file, void *buf, size_t len, uint64_t position)
{
    size_t at = 0;
    (void)self;
    while (at < len) {
        ssize_t n = pread(file, (char *)buf + at, len - at, (off_t)(position + at));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        at += (size_t)n;
    }
    return (int64_t)at;
}

static int64_t fs_pwrite(void *self, int file, const void *buf, size_t len, uint64_t position)
{
    size_t at = 0;
    (void)self;
    while (at < len) {
        ssize_t n = pwrite(file, (const char *)buf + at, len - at, (off_t)(position + at));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        at += (size_t)n;
    }
    return (int64_t)at;
}

static int fs_sync(void *self, int file)
{
    (void)self;
    return fdatasync(file) == 0 ? 0 : -errno;
}

static int fs_truncate(void *self, int file, uint64_t length)
{
    (void)self;
    return ftruncate(file, (off_t)length) == 0 ? 0 : -errno;
}

static int fs_allocate(void *self, int file, uint64_t position, uint64_t len)
{
    (void)self;
    int e;
    do
        e = fallocate(file, 0, (off_t)position, (off_t)len);
    while (e != 0 && errno == EINTR);
    if (e == 0)
        return 0;
    if (errno != EOPNOTSUPP)
        return -errno;
    struct stat st;
    if (fstat(file, &st) != 0)
        return -errno;
    return (uint64_t)st.st_size >= position + len || ftruncate(file, (off_t)(position + len)) == 0 ? 0 : -errno;
}

static int64_t fs_size(void *self, int file)
{
    struct stat st;
    (void)self;
    return fstat(file, &st) == 0 ? st.st_size : -errno;
}

static int fs_map(void *self, int file, size_t len, const void **ret)
{
    void *at = mmap(NULL, len, PROT_READ, MAP_SHARED, file, 0);
    (void)self;
    if (at == MAP_FAILED)
        return -errno;
    *ret = at;
    return 0;
}

static int fs_unmap(void *self, const void *at, size_t len)
{
    (void)self;
    return munmap((void *)(uintptr_t)at, len) == 0 ? 0 : -errno;
}

static int fs_rename(void *self, const char *from, const char *to)
{
    (void)self;
    return rename(from, to) == 0 ? 0 : -errno;
}

static int fs_unlink(void *self, const char *path)
{
    (void)self;
    return unlink(path) == 0 ? 0 : -errno;
}

static int fs_mkdir(void *self, const char *path)
{
    (void)self;
    return mkdir(path, 0750) == 0 ? 0 : -errno;
}

static int fs_rmdir(void *self, const char *path)
{
    (void)self;
    return rmdir(path) == 0 ? 0 : -errno;
}

static int fs_sync_dir(void *self, const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int e;
    (void)self;
    if (fd < 0)
        return -errno;
    e = fsync(fd) == 0 ? 0 : -errno;
    close(fd);
    return e;
}

static int fs_list(void *self, const char *path, tide_fs_visit visit, void *arg)
{
    DIR *d = opendir(path);
    struct dirent *e;
    int result = 0;
    (void)self;
    if (d == NULL)
        return -errno;
    while (result == 0) {
        struct stat st;
        errno = 0;
        if ((e = readdir(d)) == NULL) {
            result = -errno; /* a failed read looks like the end but for errno */
            break;
        }
        bool is_dir = e->d_type == DT_DIR;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (e->d_type == DT_UNKNOWN)
            is_dir = fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
        result = visit(arg, e->d_name, is_dir);
    }
    closedir(d);
    return result;
}

static int64_t fs_free_bytes(void *self, const char *path)
{
    struct statvfs v;
    (void)self;
    return statvfs(path, &v) == 0 ? (int64_t)(v.f_bavail * v.f_frsize) : -errno;
}

static int64_t fs_mtime_ms(void *self, const char *path)
{
    struct stat st;
    (void)self;
    return stat(path, &st) == 0 ? (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000 : -errno;
}

const struct tide_fs *posix_fs(void)
{
    static const struct tide_fs fs = {
        .open = fs_open, .close = fs_close, .pread = fs_pread, .pwrite = fs_pwrite, .sync = fs_sync,
        .truncate = fs_truncate, .allocate = fs_allocate, .size = fs_size, .map = fs_map, .unmap = fs_unmap,
        .rename = fs_rename, .unlink = fs_unlink, .mkdir = fs_mkdir, .rmdir = fs_rmdir, .sync_dir = fs_sync_dir,
        .list = fs_list, .free_bytes = fs_free_bytes, .mtime_ms = fs_mtime_ms,
    };
    return &fs;
}
