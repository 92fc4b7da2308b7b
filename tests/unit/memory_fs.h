/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file system in memory for the tests of the log: every file has what a crash leaves (synced) and
 * what a reader sees. It counts its operations and can fail the Nth, or all from the Nth on.
 */
#ifndef TIDEMARK_TESTS_MEMORY_FS_H
#define TIDEMARK_TESTS_MEMORY_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark/disk_op.h"
#include "tidemark/fs.h"
#include "tidemark/random.h"

enum { MEMORY_FILES = 512, MEMORY_HANDLES = 512, MEMORY_PATH = 160 };

struct memory_file {
    bool used;
    uint8_t *bytes; /* as seen */
    size_t size;
    size_t room;
    uint8_t *kept; /* as it survives a crash */
    size_t kept_size;
    size_t kept_room;
};

struct memory_name {
    char path[MEMORY_PATH];
    int file; /* -1: a directory */
    bool used;
};

struct memory_fs {
    struct tide_fs fs;
    struct memory_file files[MEMORY_FILES];
    struct memory_name names[MEMORY_FILES];
    struct memory_name kept_names[MEMORY_FILES];
    int handles[MEMORY_HANDLES]; /* file + 1, 0: free */
    unsigned long operations;    /* that change something or wait for the device */
    unsigned long fail_at;       /* this one fails with `error`; 0: none */
    bool dead_from_there;        /* and every later one, too */
    int error;
    int64_t free_bytes; /* -1: no bound; extending beyond it is -ENOSPC */
    unsigned long bytes_read;
    unsigned long bytes_written;
};

void memory_fs_init(struct memory_fs *);
void memory_fs_deinit(struct memory_fs *);

/* Runs a disk operation as the device would; the result of its completion. */
int64_t memory_fs_disk(struct memory_fs *, const struct disk_op *);
/* Only the first `sectors` 512-byte sectors of the write arrive, then the power goes. */
void memory_fs_tear(struct memory_fs *, const struct disk_op *, uint32_t sectors);
/* The power goes: handles are lost. What was not synced is lost (NULL), or each file and each 512
 * bytes of it may or may not have made it. */
void memory_fs_crash(struct memory_fs *, struct tide_random *);

/* The file under a path, NULL when there is none. */
struct memory_file *memory_fs_find(struct memory_fs *, const char *path);
/* Puts a file there, synced. */
void memory_fs_put(struct memory_fs *, const char *path, const void *bytes, size_t len);
unsigned memory_fs_open_handles(const struct memory_fs *);

#endif
