/* SPDX-License-Identifier: Apache-2.0 */
#include "memory_fs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SECTOR = 512 };

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void grow(uint8_t **bytes, size_t *room, size_t need)
{
    if (need <= *room)
        return;
    size_t n = *room == 0 ? 256 : *room;
    while (n < need)
        n *= 2;
    *bytes = realloc(*bytes, n);
    must(*bytes != NULL);
    *room = n;
}

static void resize(struct memory_file *f, size_t size)
{
    grow(&f->bytes, &f->room, size);
    if (size > f->size)
        memset(f->bytes + f->size, 0, size - f->size);
    f->size = size;
}

static void keep_range(struct memory_file *f, size_t from, size_t to)
{
    grow(&f->kept, &f->kept_room, to);
    if (to > f->kept_size) {
        memset(f->kept + f->kept_size, 0, to - f->kept_size);
        f->kept_size = to;
    }
    memcpy(f->kept + from, f->bytes + from, to - from);
}

static void keep(struct memory_file *f)
{
    f->kept_size = 0;
    if (f->size != 0)
        keep_range(f, 0, f->size);
}

/* 0, or the error that the test asked for. */
static int operation(struct memory_fs *m)
{
    m->operations++;
    if (m->fail_at == 0 || m->operations < m->fail_at)
        return 0;
    return m->operations == m->fail_at || m->dead_from_there ? m->error : 0;
}

static struct memory_name *name_of(struct memory_fs *m, const char *path)
{
    for (int i = 0; i < MEMORY_FILES; i++)
        if (m->names[i].used && strcmp(m->names[i].path, path) == 0)
            return &m->names[i];
    return NULL;
}

static struct memory_name *name_new(struct memory_fs *m, const char *path, int file)
{
    must(strlen(path) < MEMORY_PATH);
    for (int i = 0; i < MEMORY_FILES; i++) {
        struct memory_name *n = &m->names[i];
        if (n->used)
            continue;
        memset(n, 0, sizeof(*n));
        strcpy(n->path, path);
        n->file = file;
        n->used = true;
        return n;
    }
    abort();
}

static int file_new(struct memory_fs *m)
{
    for (int i = 0; i < MEMORY_FILES; i++) {
        if (m->files[i].used)
            continue;
        m->files[i].used = true;
        m->files[i].size = m->files[i].kept_size = 0;
        return i;
    }
    abort();
}

static struct memory_file *file_of(struct memory_fs *m, int handle)
{
    must(handle >= 0 && handle < MEMORY_HANDLES && m->handles[handle] != 0);
    return &m->files[m->handles[handle] - 1];
}

/* A file that no name and no handle refers to is free again. */
static void sweep(struct memory_fs *m)
{
    for (int i = 0; i < MEMORY_FILES; i++) {
        bool referred = false;
        if (!m->files[i].used)
            continue;
        for (int k = 0; k < MEMORY_FILES && !referred; k++)
            referred = (m->names[k].used && m->names[k].file == i) ||
                       (m->kept_names[k].used && m->kept_names[k].file == i);
        for (int k = 0; k < MEMORY_HANDLES && !referred; k++)
            referred = m->handles[k] == i + 1;
        if (!referred)
            m->files[i].used = false;
    }
}

/* ---- the verbs ---- */

static int fs_open(void *self, const char *path, unsigned flags)
{
    struct memory_fs *m = self;
    struct memory_name *n = name_of(m, path);
    if (n == NULL && (flags & TIDE_FS_CREATE) == 0)
        return -ENOENT;
    if (n != NULL && (flags & TIDE_FS_EXCL) != 0)
        return -EEXIST;
    if (n == NULL) {
        int e = operation(m);
        if (e != 0)
            return e;
        n = name_new(m, path, file_new(m));
    }
    if (n->file < 0)
        return -EISDIR;
    for (int h = 0; h < MEMORY_HANDLES; h++) {
        if (m->handles[h] == 0) {
            m->handles[h] = n->file + 1;
            return h;
        }
    }
    return -EMFILE;
}

static int fs_close(void *self, int file)
{
    struct memory_fs *m = self;
    (void)file_of(m, file);
    m->handles[file] = 0;
    return 0;
}

static int64_t fs_pread(void *self, int file, void *buf, size_t len, uint64_t position)
{
    struct memory_fs *m = self;
    struct memory_file *f = file_of(m, file);
    if (position >= f->size)
        return 0;
    if (len > f->size - position)
        len = f->size - position;
    memcpy(buf, f->bytes + position, len);
    m->bytes_read += len;
    return (int64_t)len;
}

static int64_t fs_pwrite(void *self, int file, const void *buf, size_t len, uint64_t position)
{
    struct memory_fs *m = self;
    struct memory_file *f = file_of(m, file);
    int e = operation(m);
    if (e != 0)
        return e;
    if (position + len > f->size)
        resize(f, position + len);
    memcpy(f->bytes + position, buf, len);
    m->bytes_written += len;
    return (int64_t)len;
}

static int fs_sync(void *self, int file)
{
    struct memory_fs *m = self;
    int e = operation(m);
    if (e == 0)
        keep(file_of(m, file));
    return e;
}

static int fs_truncate(void *self, int file, uint64_t length)
{
    struct memory_fs *m = self;
    int e = operation(m);
    if (e == 0)
        resize(file_of(m, file), length);
    return e;
}

static int fs_allocate(void *self, int file, uint64_t position, uint64_t len)
{
    struct memory_fs *m = self;
    struct memory_file *f = file_of(m, file);
    int e = operation(m);
    if (e != 0)
        return e;
    if (position + len <= f->size)
        return 0;
    int64_t more = (int64_t)(position + len - f->size);
    if (m->free_bytes >= 0) {
        if (more > m->free_bytes)
            return -ENOSPC;
        m->free_bytes -= more;
    }
    resize(f, position + len);
    return 0;
}

static int64_t fs_size(void *self, int file)
{
    return (int64_t)file_of(self, file)->size;
}

static int fs_map(void *self, int file, size_t len, const void **ret)
{
    struct memory_file *f = file_of(self, file);
    if (len == 0 || len > f->size)
        return -EINVAL;
    void *copy = malloc(len); /* of its own size: a sanitizer sees every over-read */
    must(copy != NULL);
    memcpy(copy, f->bytes, len);
    *ret = copy;
    return 0;
}

static int fs_unmap(void *self, const void *at, size_t len)
{
    free((void *)(uintptr_t)at);
    return 0;
}

static int fs_rename(void *self, const char *from, const char *to)
{
    struct memory_fs *m = self;
    struct memory_name *n = name_of(m, from);
    struct memory_name *old = name_of(m, to);
    if (n == NULL)
        return -ENOENT;
    int e = operation(m);
    if (e != 0)
        return e;
    if (old != NULL)
        old->used = false;
    must(strlen(to) < MEMORY_PATH);
    strcpy(n->path, to);
    return 0;
}

static int fs_unlink(void *self, const char *path)
{
    struct memory_fs *m = self;
    struct memory_name *n = name_of(m, path);
    if (n == NULL)
        return -ENOENT;
    int e = operation(m);
    if (e == 0)
        n->used = false;
    sweep(m);
    return e;
}

static int fs_mkdir(void *self, const char *path)
{
    struct memory_fs *m = self;
    if (name_of(m, path) != NULL)
        return -EEXIST;
    int e = operation(m);
    if (e == 0)
        name_new(m, path, -1);
    return e;
}

static int fs_rmdir(void *self, const char *path)
{
    return fs_unlink(self, path);
}

static int fs_sync_dir(void *self, const char *path)
{
    struct memory_fs *m = self;
    int e = operation(m);
    if (e == 0)
        memcpy(m->kept_names, m->names, sizeof(m->names));
    return e;
}

static int fs_list(void *self, const char *path, tide_fs_visit visit, void *arg)
{
    struct memory_fs *m = self;
    size_t len = strlen(path);
    for (int i = 0; i < MEMORY_FILES; i++) {
        struct memory_name *n = &m->names[i];
        if (!n->used || strncmp(n->path, path, len) != 0 || n->path[len] != '/')
            continue;
        int e = visit(arg, n->path + len + 1, n->file < 0);
        if (e != 0)
            return e;
    }
    return 0;
}

static int64_t fs_free_bytes(void *self, const char *path)
{
    struct memory_fs *m = self;
    return m->free_bytes >= 0 ? m->free_bytes : INT64_MAX;
}

static int64_t fs_mtime(void *self, const char *path)
{
    return 0;
}

void memory_fs_init(struct memory_fs *m)
{
    memset(m, 0, sizeof(*m));
    m->error = -EIO;
    m->free_bytes = -1;
    m->fs = (struct tide_fs){
        .self = m,
        .open = fs_open,
        .close = fs_close,
        .pread = fs_pread,
        .pwrite = fs_pwrite,
        .sync = fs_sync,
        .truncate = fs_truncate,
        .allocate = fs_allocate,
        .size = fs_size,
        .map = fs_map,
        .unmap = fs_unmap,
        .rename = fs_rename,
        .unlink = fs_unlink,
        .mkdir = fs_mkdir,
        .rmdir = fs_rmdir,
        .sync_dir = fs_sync_dir,
        .list = fs_list,
        .free_bytes = fs_free_bytes,
        .mtime_ms = fs_mtime,
    };
}

void memory_fs_deinit(struct memory_fs *m)
{
    for (int i = 0; i < MEMORY_FILES; i++) {
        free(m->files[i].bytes);
        free(m->files[i].kept);
    }
    memset(m, 0, sizeof(*m));
}

/* ---- the device ---- */

int64_t memory_fs_disk(struct memory_fs *m, const struct disk_op *op)
{
    struct memory_file *f = file_of(m, op->file);
    must(op->len % 4096 == 0 && op->position % 4096 == 0 && (uintptr_t)op->buf % 4096 == 0 &&
         op->len != 0);
    if (op->kind == DISK_READ)
        return fs_pread(m, op->file, op->buf, op->len, op->position);
    int64_t n = fs_pwrite(m, op->file, op->buf, op->len, op->position);
    if (n > 0 && op->durable)
        keep_range(f, op->position, op->position + (size_t)n);
    return n;
}

void memory_fs_tear(struct memory_fs *m, const struct disk_op *op, uint32_t sectors)
{
    struct memory_file *f = file_of(m, op->file);
    size_t len = (size_t)sectors * SECTOR;
    must(len <= op->len);
    if (op->position + len > f->size)
        resize(f, op->position + len);
    memcpy(f->bytes + op->position, op->buf, len);
    if (len != 0)
        keep_range(f, op->position, op->position + len);
}

/* What a crash leaves of a file whose changes were not all synced. */
static void mix(struct memory_file *f, struct tide_random *r)
{
    size_t size = tide_random_hits(r, 2) ? f->size : f->kept_size;
    uint8_t *bytes = calloc(1, size + SECTOR);
    must(bytes != NULL);
    for (size_t at = 0; at < size; at += SECTOR) {
        bool new = tide_random_hits(r, 2);
        const uint8_t *from = new ? f->bytes : f->kept;
        size_t have = new ? f->size : f->kept_size;
        if (at < have)
            memcpy(bytes + at, from + at, have - at < SECTOR ? have - at : SECTOR);
    }
    resize(f, size);
    if (size != 0)
        memcpy(f->bytes, bytes, size);
    free(bytes);
    keep(f);
}

void memory_fs_crash(struct memory_fs *m, struct tide_random *r)
{
    memset(m->handles, 0, sizeof(m->handles));
    if (r == NULL || tide_random_hits(r, 2))
        memcpy(m->names, m->kept_names, sizeof(m->names));
    else
        memcpy(m->kept_names, m->names, sizeof(m->names));
    sweep(m);
    for (int i = 0; i < MEMORY_FILES; i++) {
        struct memory_file *f = &m->files[i];
        if (!f->used)
            continue;
        if (r != NULL) {
            mix(f, r);
            continue;
        }
        resize(f, f->kept_size);
        if (f->kept_size != 0)
            memcpy(f->bytes, f->kept, f->kept_size);
    }
    m->fail_at = 0;
}

struct memory_file *memory_fs_find(struct memory_fs *m, const char *path)
{
    struct memory_name *n = name_of(m, path);
    return n != NULL && n->file >= 0 ? &m->files[n->file] : NULL;
}

void memory_fs_put(struct memory_fs *m, const char *path, const void *bytes, size_t len)
{
    struct memory_name *n = name_of(m, path);
    if (n == NULL)
        n = name_new(m, path, file_new(m));
    struct memory_file *f = &m->files[n->file];
    resize(f, len);
    if (len != 0)
        memcpy(f->bytes, bytes, len);
    keep(f);
    memcpy(m->kept_names, m->names, sizeof(m->names));
}

unsigned memory_fs_open_handles(const struct memory_fs *m)
{
    unsigned n = 0;
    for (int h = 0; h < MEMORY_HANDLES; h++)
        n += m->handles[h] != 0;
    return n;
}
