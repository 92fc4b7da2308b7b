/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verbs that helpers and the control thread may use on files. Blocking; never called by a
 * core. dataplane/disk/posix_fs.c is the real one; the simulator brings one that tears, loses
 * and fails. All return 0 or a length on success and -errno on failure. Paths are absolute.
 */
#ifndef TIDEMARK_FS_H
#define TIDEMARK_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tide_fs_flag {
    TIDE_FS_READ = 1,
    TIDE_FS_WRITE = 2,
    TIDE_FS_CREATE = 4,
    TIDE_FS_EXCL = 8,
    TIDE_FS_DIRECT = 16, /* O_DIRECT: offsets, lengths and addresses aligned to TIDE_BLOCK. Falls
                          * back to buffered where the file system has none. */
};

/* Called once per directory entry (not . and ..). Non-zero ends the walk with that value. */
typedef int (*tide_fs_visit)(void *arg, const char *name, bool is_dir);

struct tide_fs {
    void *self;
    int (*open)(void *self, const char *path, unsigned flags); /* >= 0: a file handle */
    int (*close)(void *self, int file);
    int64_t (*pread)(void *self, int file, void *buf, size_t len, uint64_t position);
    int64_t (*pwrite)(void *self, int file, const void *buf, size_t len, uint64_t position);
    int (*sync)(void *self, int file);             /* fdatasync; for a directory handle, fsync */
    int (*truncate)(void *self, int file, uint64_t length);
    int (*allocate)(void *self, int file, uint64_t position, uint64_t len); /* fallocate, extends */
    int64_t (*size)(void *self, int file);
    int (*map)(void *self, int file, size_t len, const void **ret); /* read-only, shared */
    int (*unmap)(void *self, const void *at, size_t len);
    int (*rename)(void *self, const char *from, const char *to);
    int (*unlink)(void *self, const char *path);
    int (*mkdir)(void *self, const char *path);
    int (*rmdir)(void *self, const char *path);
    int (*sync_dir)(void *self, const char *path); /* makes renames and creations in it durable */
    int (*list)(void *self, const char *path, tide_fs_visit visit, void *arg);
    int64_t (*free_bytes)(void *self, const char *path);
    int64_t (*mtime_ms)(void *self, const char *path);
};

#endif
