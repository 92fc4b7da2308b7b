/* SPDX-License-Identifier: Apache-2.0 */
#include "sim_fs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim_content.h"
#include "tidemark/assert.h"
#include "tidemark/random.h"
#include "tidemark/types.h"

enum { ROOT = 0, HANDLE_GENERATIONS = 1 << 18 };

struct entry {
    char name[SIM_NAME_MAX + 1];
    uint32_t inode;
};

struct names {
    struct entry *entries;
    uint32_t count;
};

enum change_kind { NAME_SET, NAME_REMOVE, NAME_MOVE };

/* What a sync_dir makes durable, in order. */
struct change {
    enum change_kind kind;
    char name[SIM_NAME_MAX + 1];
    char to[SIM_NAME_MAX + 1];
    uint32_t inode;
};

struct inode {
    bool used;
    bool is_dir;
    bool marked; /* by sweep */
    int64_t mtime_ms;
    struct sim_content content;
    struct names now;
    struct names kept;
    struct change *changes;
    uint32_t change_count;
};

struct handle {
    bool used;
    unsigned flags;
    uint32_t inode;
    uint32_t generation;
};

struct flight {
    struct disk_op op;
    int error; /* the completion's, known at once: a handle or an alignment was wrong */
    uint32_t inode;
    uint64_t due_ns;
    uint64_t number;   /* order of submission */
    uint8_t *at_start; /* the buffer of a write when it was submitted */
};

struct sim_disk {
    struct sim_fs *fs;
    struct sim_disk *next;
    struct sim_disk_config config;
    struct flight *flights;
    uint32_t flight_count;
    uint64_t number;
};

struct sim_fs {
    struct tide_fs verbs;
    struct tide_random chance;
    struct sim_faults faults;
    struct sim_disk *disks;
    struct inode **inodes;
    uint32_t inode_count;
    struct handle handles[SIM_HANDLES_MAX];
    uint32_t handle_next;
    uint64_t operations;
    uint64_t capacity_bytes; /* 0: no bound */
    uint64_t used_bytes;
    uint64_t maps;
    int64_t wall_ms;
    bool has_removed; /* an inode has no present name, and waits for its last reference */
};

/* ---- inodes and names ---- */

static uint64_t whole_sectors(uint64_t bytes)
{
    return (bytes + SIM_SECTOR - 1) / SIM_SECTOR * SIM_SECTOR;
}

static uint64_t inode_bytes(const struct inode *n)
{
    return whole_sectors(n->content.size);
}

static uint32_t inode_new(struct sim_fs *fs, bool is_dir)
{
    uint32_t i = 0;
    while (i < fs->inode_count && fs->inodes[i]->used)
        i++;
    if (i == fs->inode_count) {
        TIDE_ASSERT(i < SIM_INODES_MAX);
        fs->inodes = sim_grow(fs->inodes, ++fs->inode_count, sizeof(*fs->inodes));
        fs->inodes[i] = sim_grow(NULL, 1, sizeof(*fs->inodes[i]));
    }
    *fs->inodes[i] = (struct inode){.used = true, .is_dir = is_dir, .mtime_ms = fs->wall_ms};
    return i;
}

static void inode_free(struct sim_fs *fs, struct inode *n)
{
    fs->used_bytes -= inode_bytes(n);
    sim_content_deinit(&n->content);
    free(n->now.entries);
    free(n->kept.entries);
    free(n->changes);
    *n = (struct inode){.used = false};
}

static struct entry *names_find(const struct names *names, const char *name)
{
    for (uint32_t i = 0; i < names->count; i++)
        if (strcmp(names->entries[i].name, name) == 0)
            return &names->entries[i];
    return NULL;
}

static void names_set(struct names *names, const char *name, uint32_t inode)
{
    struct entry *e = names_find(names, name);
    if (e == NULL) {
        names->entries = sim_grow(names->entries, names->count + 1, sizeof(*names->entries));
        e = &names->entries[names->count++];
        strcpy(e->name, name);
    }
    e->inode = inode;
}

static void names_remove(struct names *names, const char *name)
{
    struct entry *e = names_find(names, name);
    if (e != NULL)
        *e = names->entries[--names->count];
}

static void names_copy(struct names *to, const struct names *from)
{
    to->count = from->count;
    if (from->count == 0)
        return;
    to->entries = sim_grow(to->entries, from->count, sizeof(*to->entries));
    memcpy(to->entries, from->entries, from->count * sizeof(*to->entries));
}

static void names_apply(struct names *names, const struct change *c)
{
    if (c->kind != NAME_SET)
        names_remove(names, c->name);
    if (c->kind != NAME_REMOVE)
        names_set(names, c->kind == NAME_MOVE ? c->to : c->name, c->inode);
}

static void dir_change(struct sim_fs *fs, struct inode *dir, enum change_kind kind,
                       const char *name, const char *to, uint32_t inode)
{
    struct change c = {.kind = kind, .inode = inode};
    strcpy(c.name, name);
    strcpy(c.to, to);
    dir->changes = sim_grow(dir->changes, dir->change_count + 1, sizeof(*dir->changes));
    dir->changes[dir->change_count++] = c;
    names_apply(&dir->now, &c);
    fs->has_removed |= kind != NAME_SET;
    dir->mtime_ms = fs->wall_ms;
}

static void dir_keep(struct inode *dir)
{
    names_copy(&dir->kept, &dir->now);
    dir->change_count = 0;
}

static void mark(struct sim_fs *fs, uint32_t i, bool seen_only)
{
    struct inode *n = fs->inodes[i];
    TIDE_ASSERT(n->used); /* F3 */
    if (n->marked)
        return;
    n->marked = true;
    for (uint32_t k = 0; k < n->now.count; k++)
        mark(fs, n->now.entries[k].inode, seen_only);
    if (seen_only)
        return;
    for (uint32_t k = 0; k < n->kept.count; k++)
        mark(fs, n->kept.entries[k].inode, seen_only);
    for (uint32_t k = 0; k < n->change_count; k++)
        if (n->changes[k].kind != NAME_REMOVE)
            mark(fs, n->changes[k].inode, seen_only);
}

/* Everything that a present name leads to; or that anything at all refers to. */
static void mark_all(struct sim_fs *fs, bool seen_only)
{
    for (uint32_t i = 0; i < fs->inode_count; i++)
        fs->inodes[i]->marked = false;
    mark(fs, ROOT, seen_only);
    if (seen_only)
        return;
    for (uint32_t i = 0; i < SIM_HANDLES_MAX; i++)
        if (fs->handles[i].used)
            mark(fs, fs->handles[i].inode, false);
    for (const struct sim_disk *d = fs->disks; d != NULL; d = d->next)
        for (uint32_t i = 0; i < d->flight_count; i++)
            if (d->flights[i].error == 0)
                mark(fs, d->flights[i].inode, false);
}

/* What nothing refers to any more is free again. */
static void sweep(struct sim_fs *fs)
{
    if (!fs->has_removed)
        return;
    mark_all(fs, false);
    for (uint32_t i = 0; i < fs->inode_count; i++)
        if (fs->inodes[i]->used && !fs->inodes[i]->marked)
            inode_free(fs, fs->inodes[i]);
    mark_all(fs, true);
    fs->has_removed = false;
    for (uint32_t i = 0; i < fs->inode_count; i++)
        fs->has_removed |= fs->inodes[i]->used && !fs->inodes[i]->marked;
}

/* Takes the next component of an absolute path. False at its end; *error when it is too long. */
static bool path_next(const char **path, char name[SIM_NAME_MAX + 1], int *error)
{
    size_t len;
    while (**path == '/')
        (*path)++;
    len = strcspn(*path, "/");
    if (len == 0)
        return false;
    if (len > SIM_NAME_MAX) {
        *error = -ENAMETOOLONG;
        return false;
    }
    memcpy(name, *path, len);
    name[len] = 0;
    *path += len;
    return true;
}

static int path_check(const char *path)
{
    if (path[0] != '/')
        return -EINVAL;
    return strlen(path) < SIM_PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* The inode under a path, among the durable names or those seen. */
static int path_find(const struct sim_fs *fs, const char *path, bool kept)
{
    char name[SIM_NAME_MAX + 1];
    uint32_t at = ROOT;
    int error = path_check(path);
    while (error == 0 && path_next(&path, name, &error)) {
        const struct inode *dir = fs->inodes[at];
        if (!dir->is_dir)
            return -ENOTDIR;
        const struct entry *e = names_find(kept ? &dir->kept : &dir->now, name);
        if (e == NULL)
            return -ENOENT;
        at = e->inode;
    }
    return error != 0 ? error : (int)at;
}

/* The directory that holds, or would hold, the last component. */
static int path_parent(const struct sim_fs *fs, const char *path, char name[SIM_NAME_MAX + 1])
{
    char dir[SIM_PATH_MAX];
    size_t len = strlen(path);
    int error = path_check(path);
    if (error != 0)
        return error;
    while (len > 1 && path[len - 1] == '/')
        len--;
    size_t cut = len;
    while (cut > 0 && path[cut - 1] != '/')
        cut--;
    if (len == cut)
        return -EINVAL;
    if (len - cut > SIM_NAME_MAX)
        return -ENAMETOOLONG;
    memcpy(name, path + cut, len - cut);
    name[len - cut] = 0;
    memcpy(dir, path, cut);
    dir[cut] = 0;
    int at = path_find(fs, dir, false);
    return at >= 0 && !fs->inodes[at]->is_dir ? -ENOTDIR : at;
}

/* ---- what goes wrong ---- */

/* Counts an operation. 0, or the error that it ends with. */
static int operation(struct sim_fs *fs, uint64_t error_one_in)
{
    const struct sim_faults *f = &fs->faults;
    fs->operations++;
    if (f->fail_at != 0 &&
        (fs->operations == f->fail_at || (f->fail_ever_after && fs->operations > f->fail_at)))
        return f->fail_error != 0 ? f->fail_error : -EIO;
    return !tide_random_hits(&fs->chance, error_one_in) ? 0 : f->fail_error != 0 ? f->fail_error : -EIO;
}

static bool is_lie(struct sim_fs *fs)
{
    return tide_random_hits(&fs->chance, fs->faults.lie_one_in);
}

/* 0, or why the file cannot become that long. */
static int resize(struct sim_fs *fs, struct inode *n, uint64_t size)
{
    uint64_t before = inode_bytes(n);
    uint64_t after = whole_sectors(size);
    if (size > SIM_FILE_MAX)
        return -EFBIG;
    if (after > before && fs->capacity_bytes != 0 &&
        after - before > fs->capacity_bytes - TIDE_MIN(fs->used_bytes, fs->capacity_bytes))
        return -ENOSPC;
    sim_content_resize(&n->content, size);
    fs->used_bytes = fs->used_bytes - before + after;
    n->mtime_ms = fs->wall_ms;
    return 0;
}

static int64_t write_now(struct sim_fs *fs, struct inode *n, const void *buf, size_t len,
                         uint64_t position)
{
    if (len > SIM_FILE_MAX || position > SIM_FILE_MAX - len)
        return -EFBIG;
    int e = position + len > n->content.size ? resize(fs, n, position + len) : 0;
    if (e != 0)
        return e;
    sim_content_write(&n->content, &fs->chance, buf, len, position);
    n->mtime_ms = fs->wall_ms;
    return (int64_t)len;
}

/* ---- handles ---- */

static struct handle *handle_of(struct sim_fs *fs, int file)
{
    if (file < 0)
        return NULL;
    struct handle *h = &fs->handles[file % SIM_HANDLES_MAX];
    return h->used && h->generation == (uint32_t)file / SIM_HANDLES_MAX ? h : NULL;
}

static struct inode *inode_of(struct sim_fs *fs, int file, unsigned flags)
{
    const struct handle *h = handle_of(fs, file);
    return h != NULL && (h->flags & flags) == flags ? fs->inodes[h->inode] : NULL;
}

static int handle_new(struct sim_fs *fs, uint32_t inode, unsigned flags)
{
    for (uint32_t tried = 0; tried < SIM_HANDLES_MAX; tried++) {
        uint32_t i = fs->handle_next++ % SIM_HANDLES_MAX;
        struct handle *h = &fs->handles[i];
        if (h->used)
            continue;
        h->generation = (h->generation + 1) % HANDLE_GENERATIONS;
        h->used = true;
        h->flags = flags;
        h->inode = inode;
        return (int)(h->generation * SIM_HANDLES_MAX + i);
    }
    return -EMFILE;
}

static bool is_aligned(uint64_t position, uint64_t len, const void *buf)
{
    return position % TIDE_BLOCK == 0 && len % TIDE_BLOCK == 0 && (uintptr_t)buf % TIDE_BLOCK == 0;
}

/* ---- the verbs ---- */

static int fs_open(void *self, const char *path, unsigned flags)
{
    struct sim_fs *fs = self;
    char name[SIM_NAME_MAX + 1];
    int at = path_find(fs, path, false);
    int e = operation(fs, 0);
    if (e != 0)
        return e;
    if (at >= 0 && (flags & TIDE_FS_CREATE) != 0 && (flags & TIDE_FS_EXCL) != 0)
        return -EEXIST;
    if (at >= 0 && fs->inodes[at]->is_dir && (flags & (TIDE_FS_WRITE | TIDE_FS_CREATE)) != 0)
        return -EISDIR;
    if (at == -ENOENT && (flags & TIDE_FS_CREATE) != 0) {
        int parent = path_parent(fs, path, name);
        if (parent < 0)
            return parent;
        at = (int)inode_new(fs, false);
        dir_change(fs, fs->inodes[parent], NAME_SET, name, "", (uint32_t)at);
    }
    if ((flags & TIDE_FS_WRITE) == 0)
        flags |= TIDE_FS_READ;
    return at < 0 ? at : handle_new(fs, (uint32_t)at, flags);
}

static int fs_close(void *self, int file)
{
    struct sim_fs *fs = self;
    struct handle *h = handle_of(fs, file);
    if (h == NULL)
        return -EBADF;
    h->used = false;
    sweep(fs);
    return 0;
}

static int64_t fs_pread(void *self, int file, void *buf, size_t len, uint64_t position)
{
    struct sim_fs *fs = self;
    const struct inode *n = inode_of(fs, file, TIDE_FS_READ);
    if (n == NULL)
        return -EBADF;
    if (n->is_dir)
        return -EISDIR;
    if (inode_of(fs, file, TIDE_FS_DIRECT) != NULL && !is_aligned(position, len, buf))
        return -EINVAL;
    int e = operation(fs, fs->faults.read_error_one_in);
    return e != 0 ? e : (int64_t)sim_content_read(&n->content, buf, len, position);
}

static int64_t fs_pwrite(void *self, int file, const void *buf, size_t len, uint64_t position)
{
    struct sim_fs *fs = self;
    struct inode *n = inode_of(fs, file, TIDE_FS_WRITE);
    if (n == NULL)
        return -EBADF;
    if (inode_of(fs, file, TIDE_FS_DIRECT) != NULL && !is_aligned(position, len, buf))
        return -EINVAL;
    int e = operation(fs, fs->faults.write_error_one_in);
    if (e == 0)
        return write_now(fs, n, buf, len, position);
    if (e != -ENOSPC && position % SIM_SECTOR == 0)
        sim_content_land(&n->content, &fs->chance, buf, len, position, fs->faults.whole_sectors);
    return e;
}

static int sync_inode(struct sim_fs *fs, struct inode *n)
{
    int e = operation(fs, fs->faults.sync_error_one_in);
    if (e != 0 && !n->is_dir)
        sim_content_forget(&n->content);
    if (e != 0 || is_lie(fs))
        return e;
    if (n->is_dir)
        dir_keep(n);
    else
        sim_content_keep(&n->content);
    sweep(fs);
    return 0;
}

static int fs_sync(void *self, int file)
{
    struct inode *n = inode_of(self, file, 0);
    return n == NULL ? -EBADF : sync_inode(self, n);
}

static int fs_truncate(void *self, int file, uint64_t length)
{
    struct sim_fs *fs = self;
    struct inode *n = inode_of(fs, file, TIDE_FS_WRITE);
    if (n == NULL)
        return handle_of(fs, file) == NULL ? -EBADF : -EINVAL;
    int e = operation(fs, 0);
    return e != 0 ? e : resize(fs, n, length);
}

static int fs_allocate(void *self, int file, uint64_t position, uint64_t len)
{
    struct sim_fs *fs = self;
    struct inode *n = inode_of(fs, file, TIDE_FS_WRITE);
    if (n == NULL)
        return -EBADF;
    if (len == 0)
        return -EINVAL;
    if (len > SIM_FILE_MAX || position > SIM_FILE_MAX - len)
        return -EFBIG;
    int e = operation(fs, 0);
    if (e != 0 || position + len <= n->content.size)
        return e;
    return resize(fs, n, position + len);
}

static int64_t fs_size(void *self, int file)
{
    const struct inode *n = inode_of(self, file, 0);
    if (n == NULL)
        return -EBADF;
    return n->is_dir ? TIDE_BLOCK : (int64_t)n->content.size;
}

static int fs_map(void *self, int file, size_t len, const void **ret)
{
    struct sim_fs *fs = self;
    const struct inode *n = inode_of(fs, file, TIDE_FS_READ);
    if (n == NULL)
        return handle_of(fs, file) == NULL ? -EBADF : -EACCES;
    if (n->is_dir)
        return -ENODEV;
    if (len == 0 || len > n->content.size)
        return -EINVAL; /* beyond the end a real map would raise SIGBUS */
    int e = operation(fs, fs->faults.read_error_one_in);
    if (e != 0)
        return e;
    void *copy = sim_grow(NULL, 1, len);
    (void)sim_content_read(&n->content, copy, len, 0);
    fs->maps++;
    *ret = copy;
    return 0;
}

static int fs_unmap(void *self, const void *at, size_t len)
{
    struct sim_fs *fs = self;
    (void)len;
    TIDE_ASSERT(fs->maps != 0);
    fs->maps--;
    free((void *)(uintptr_t)at);
    return 0;
}

/* May `from` take the place of what has the name `to` now? */
static int rename_check(const struct sim_fs *fs, const struct inode *from, const struct entry *to)
{
    if (to == NULL || fs->inodes[to->inode] == from)
        return 0;
    const struct inode *old = fs->inodes[to->inode];
    if (from->is_dir && !old->is_dir)
        return -ENOTDIR;
    if (!from->is_dir && old->is_dir)
        return -EISDIR;
    return old->is_dir && old->now.count != 0 ? -ENOTEMPTY : 0;
}

static int fs_rename(void *self, const char *from, const char *to)
{
    struct sim_fs *fs = self;
    char name[SIM_NAME_MAX + 1];
    char new_name[SIM_NAME_MAX + 1];
    int parent = path_parent(fs, from, name);
    int new_parent = path_parent(fs, to, new_name);
    if (parent < 0 || new_parent < 0)
        return parent < 0 ? parent : new_parent;
    if (parent != new_parent)
        return -EXDEV;
    struct inode *dir = fs->inodes[parent];
    const struct entry *e = names_find(&dir->now, name);
    if (e == NULL)
        return -ENOENT;
    int error = rename_check(fs, fs->inodes[e->inode], names_find(&dir->now, new_name));
    if (error == 0)
        error = operation(fs, 0);
    if (error != 0 || strcmp(name, new_name) == 0)
        return error;
    dir_change(fs, dir, NAME_MOVE, name, new_name, e->inode);
    return 0;
}

static int remove_name(struct sim_fs *fs, const char *path, bool want_dir)
{
    char name[SIM_NAME_MAX + 1];
    int parent = path_parent(fs, path, name);
    if (parent < 0)
        return parent;
    struct inode *dir = fs->inodes[parent];
    const struct entry *e = names_find(&dir->now, name);
    if (e == NULL)
        return -ENOENT;
    const struct inode *n = fs->inodes[e->inode];
    if (n->is_dir != want_dir)
        return want_dir ? -ENOTDIR : -EISDIR;
    if (n->now.count != 0)
        return -ENOTEMPTY;
    int error = operation(fs, 0);
    if (error == 0)
        dir_change(fs, dir, NAME_REMOVE, name, "", 0);
    return error;
}

static int fs_unlink(void *self, const char *path)
{
    return remove_name(self, path, false);
}

static int fs_rmdir(void *self, const char *path)
{
    return remove_name(self, path, true);
}

static int fs_mkdir(void *self, const char *path)
{
    struct sim_fs *fs = self;
    char name[SIM_NAME_MAX + 1];
    if (path_find(fs, path, false) >= 0)
        return -EEXIST;
    int parent = path_parent(fs, path, name);
    if (parent < 0)
        return parent;
    int e = operation(fs, 0);
    if (e != 0)
        return e;
    uint32_t made = inode_new(fs, true);
    dir_change(fs, fs->inodes[parent], NAME_SET, name, "", made);
    return 0;
}

static int fs_sync_dir(void *self, const char *path)
{
    struct sim_fs *fs = self;
    int at = path_find(fs, path, false);
    if (at < 0)
        return at;
    return fs->inodes[at]->is_dir ? sync_inode(fs, fs->inodes[at]) : -ENOTDIR;
}

static int fs_list(void *self, const char *path, tide_fs_visit visit, void *arg)
{
    struct sim_fs *fs = self;
    struct names names = {NULL, 0};
    int at = path_find(fs, path, false);
    int result = 0;
    if (at < 0 || !fs->inodes[at]->is_dir)
        return at < 0 ? at : -ENOTDIR;
    names_copy(&names, &fs->inodes[at]->now); /* the visitor may change the directory */
    uint64_t first = names.count != 0 ? tide_random_below(&fs->chance, names.count) : 0;
    for (uint32_t i = 0; i < names.count && result == 0; i++) {
        const struct entry *e = &names.entries[(first + i) % names.count];
        /* Gone by now, and its inode with it? Then it may be left out. */
        if (names_find(&fs->inodes[at]->now, e->name) != NULL)
            result = visit(arg, e->name, fs->inodes[e->inode]->is_dir);
    }
    free(names.entries);
    return result;
}

static int64_t fs_free_bytes(void *self, const char *path)
{
    const struct sim_fs *fs = self;
    int at = path_find(fs, path, false);
    if (at < 0)
        return at;
    if (fs->capacity_bytes == 0)
        return INT64_MAX;
    return (int64_t)(fs->capacity_bytes - TIDE_MIN(fs->used_bytes, fs->capacity_bytes));
}

static int64_t fs_mtime_ms(void *self, const char *path)
{
    const struct sim_fs *fs = self;
    int at = path_find(fs, path, false);
    return at < 0 ? at : fs->inodes[at]->mtime_ms;
}

/* ---- the file system as a whole ---- */

struct sim_fs *sim_fs_create(const struct sim_fs_config *config)
{
    struct sim_fs *fs = calloc(1, sizeof(*fs));
    TIDE_ASSERT(fs != NULL);
    fs->chance.state = config->seed;
    fs->capacity_bytes = config->capacity_bytes;
    fs->verbs = (struct tide_fs){
        .self = fs,
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
        .mtime_ms = fs_mtime_ms,
    };
    TIDE_ASSERT(inode_new(fs, true) == ROOT);
    return fs;
}

void sim_fs_destroy(struct sim_fs *fs)
{
    TIDE_ASSERT(fs->disks == NULL);
    TIDE_ASSERT(fs->maps == 0);
    for (uint32_t i = 0; i < fs->inode_count; i++) {
        if (fs->inodes[i]->used)
            inode_free(fs, fs->inodes[i]);
        free(fs->inodes[i]);
    }
    free(fs->inodes);
    free(fs);
}

const struct tide_fs *sim_fs_verbs(struct sim_fs *fs)
{
    return &fs->verbs;
}

struct sim_faults *sim_fs_faults(struct sim_fs *fs)
{
    return &fs->faults;
}

uint64_t sim_fs_operations(const struct sim_fs *fs)
{
    return fs->operations;
}

void sim_fs_set_clock(struct sim_fs *fs, int64_t wall_ms)
{
    fs->wall_ms = wall_ms;
}

unsigned sim_fs_open_handles(const struct sim_fs *fs)
{
    unsigned n = 0;
    for (uint32_t i = 0; i < SIM_HANDLES_MAX; i++)
        n += fs->handles[i].used;
    return n;
}

bool sim_fs_rot(struct sim_fs *fs, const char *path, uint64_t position, unsigned bit)
{
    int at = path_find(fs, path, false);
    if (at < 0 || fs->inodes[at]->is_dir || position >= fs->inodes[at]->content.size)
        return false;
    sim_content_flip(&fs->inodes[at]->content, position, bit);
    return true;
}

bool sim_fs_is_durable(struct sim_fs *fs, const char *path, uint64_t position, uint64_t len)
{
    int at = path_find(fs, path, true);
    return at >= 0 && sim_content_is_kept(&fs->inodes[at]->content, position, len);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static uint64_t digest_inode(const struct sim_fs *fs, uint32_t i, bool medium, uint64_t digest)
{
    const struct inode *n = fs->inodes[i];
    struct names sorted = {NULL, 0};
    if (!n->is_dir)
        return sim_content_digest(&n->content, medium, digest);
    names_copy(&sorted, medium ? &n->kept : &n->now);
    if (sorted.count != 0)
        qsort(sorted.entries, sorted.count, sizeof(*sorted.entries), by_name);
    digest = sim_digest(digest, &sorted.count, sizeof(sorted.count));
    for (uint32_t k = 0; k < sorted.count; k++) {
        const struct entry *e = &sorted.entries[k];
        digest = sim_digest(digest, e->name, strlen(e->name) + 1);
        digest = digest_inode(fs, e->inode, medium, digest);
    }
    free(sorted.entries);
    return digest;
}

uint64_t sim_fs_digest(struct sim_fs *fs)
{
    return digest_inode(fs, ROOT, true, digest_inode(fs, ROOT, false, SIM_DIGEST_START));
}

static void check_names(const struct names *a, const struct names *b)
{
    TIDE_ASSERT(a->count == b->count); /* F4 */
    for (uint32_t i = 0; i < a->count; i++) {
        const struct entry *e = names_find(b, a->entries[i].name);
        TIDE_ASSERT(e != NULL); /* F4 */
        TIDE_ASSERT(e->inode == a->entries[i].inode);
    }
}

static void check_disk(const struct sim_disk *d)
{
    TIDE_ASSERT(d->flight_count <= d->config.entries); /* F6 */
    for (uint32_t i = 0; i < d->flight_count; i++)
        for (uint32_t k = 0; k < i; k++)
            TIDE_ASSERT(d->flights[i].op.id != d->flights[k].op.id); /* F6 */
}

void sim_fs_check(struct sim_fs *fs)
{
    uint64_t bytes = 0;
    mark_all(fs, false); /* F3 */
    for (uint32_t i = 0; i < fs->inode_count; i++) {
        const struct inode *n = fs->inodes[i];
        if (!n->used)
            continue;
        bytes += inode_bytes(n);
        sim_content_check(&n->content); /* F1 F2 */
        if (n->is_dir && n->change_count == 0)
            check_names(&n->now, &n->kept);
    }
    TIDE_ASSERT(bytes == fs->used_bytes); /* F5 */
    for (const struct sim_disk *d = fs->disks; d != NULL; d = d->next)
        check_disk(d);
}

/* ---- disks ---- */

/* What the device read of a write's buffer: each sector at the start or at the end. */
static uint8_t *taken_bytes(struct sim_fs *fs, struct flight *f)
{
    for (uint32_t at = 0; at < f->op.len; at += SIM_SECTOR)
        if (tide_random_hits(&fs->chance, 2))
            memcpy(f->at_start + at, (const uint8_t *)f->op.buf + at, SIM_SECTOR);
    return f->at_start;
}

static void flight_remove(struct sim_disk *d, uint32_t i)
{
    free(d->flights[i].at_start);
    d->flights[i] = d->flights[--d->flight_count];
}

struct sim_disk *sim_disk_create(struct sim_fs *fs, const struct sim_disk_config *config)
{
    struct sim_disk *d = calloc(1, sizeof(*d));
    struct sim_disk_config *c = &d->config;
    TIDE_ASSERT(d != NULL);
    *c = *config;
    c->entries = c->entries != 0 ? c->entries : 256;
    c->read_ns = c->read_ns != 0 ? c->read_ns : 80000;
    c->write_ns = c->write_ns != 0 ? c->write_ns : 50000;
    c->durable_ns = c->durable_ns != 0 ? c->durable_ns : 110000;
    c->jitter_ns = c->jitter_ns != 0 ? c->jitter_ns : 40000;
    c->bytes_per_us = c->bytes_per_us != 0 ? c->bytes_per_us : 2500;
    d->flights = sim_grow(NULL, c->entries, sizeof(*d->flights));
    d->fs = fs;
    d->next = fs->disks;
    fs->disks = d;
    return d;
}

void sim_disk_destroy(struct sim_disk *d)
{
    struct sim_disk **at = &d->fs->disks;
    while (*at != d)
        at = &(*at)->next;
    *at = d->next;
    while (d->flight_count != 0)
        flight_remove(d, d->flight_count - 1);
    free(d->flights);
    free(d);
}

static uint64_t duration_ns(struct sim_disk *d, const struct disk_op *op)
{
    const struct sim_disk_config *c = &d->config;
    const struct sim_faults *f = &d->fs->faults;
    uint64_t ns = op->kind == DISK_READ ? c->read_ns : op->durable ? c->durable_ns : c->write_ns;
    ns += op->len * 1000ull / c->bytes_per_us + tide_random_below(&d->fs->chance, c->jitter_ns + 1);
    return tide_random_hits(&d->fs->chance, f->spike_one_in) ? ns + f->spike_ns : ns;
}

static int op_error(struct sim_fs *fs, const struct disk_op *op)
{
    const struct inode *n =
        inode_of(fs, op->file, op->kind == DISK_READ ? TIDE_FS_READ : TIDE_FS_WRITE);
    if (n == NULL)
        return -EBADF;
    if (n->is_dir)
        return -EISDIR;
    return op->len != 0 && is_aligned(op->position, op->len, op->buf) ? 0 : -EINVAL;
}

static void submit(struct sim_disk *d, uint64_t now_ns, const struct disk_op *op)
{
    struct flight *f = &d->flights[d->flight_count++];
    *f = (struct flight){.op = *op, .error = op_error(d->fs, op), .number = d->number++};
    f->due_ns = now_ns + (f->error == 0 ? duration_ns(d, op) : 0);
    if (f->error != 0)
        return;
    f->inode = handle_of(d->fs, op->file)->inode;
    if (op->kind == DISK_WRITE) {
        f->at_start = sim_grow(NULL, 1, op->len);
        memcpy(f->at_start, op->buf, op->len);
    }
}

enum tide_status sim_disk_submit(struct sim_disk *d, uint64_t now_ns, const struct disk_op *ops,
                                 unsigned count)
{
    if (count > d->config.entries - d->flight_count)
        return TIDE_FULL;
    for (unsigned i = 0; i < count; i++)
        submit(d, now_ns, &ops[i]);
    TIDE_ASSERT_SLOW((check_disk(d), true));
    return TIDE_OK;
}

/* The whole length, or with bad luck a part in whole sectors. */
static uint32_t done_len(struct sim_fs *fs, const struct disk_op *op)
{
    uint32_t sectors = op->len / SIM_SECTOR;
    if (!tide_random_hits(&fs->chance, fs->faults.short_one_in))
        return op->len;
    return (uint32_t)(1 + tide_random_below(&fs->chance, sectors - 1)) * SIM_SECTOR;
}

static int64_t complete_read(struct sim_fs *fs, const struct flight *f)
{
    int e = operation(fs, fs->faults.read_error_one_in);
    uint32_t len = done_len(fs, &f->op);
    if (e != 0)
        return e;
    return (int64_t)sim_content_read(&fs->inodes[f->inode]->content, f->op.buf, len,
                                     f->op.position);
}

static int64_t complete_write(struct sim_fs *fs, struct flight *f)
{
    struct inode *n = fs->inodes[f->inode];
    const uint8_t *bytes = taken_bytes(fs, f);
    int e = operation(fs, fs->faults.write_error_one_in);
    uint32_t len = done_len(fs, &f->op);
    if (e != 0) {
        if (e != -ENOSPC)
            sim_content_land(&n->content, &fs->chance, bytes, f->op.len, f->op.position,
                             fs->faults.whole_sectors);
        return e;
    }
    int64_t result = write_now(fs, n, bytes, len, f->op.position);
    if (result > 0 && f->op.durable && !is_lie(fs))
        sim_content_keep_range(&n->content, f->op.position, len);
    return result;
}

static int64_t complete(struct sim_fs *fs, struct flight *f)
{
    if (f->error != 0)
        return f->error;
    return f->op.kind == DISK_READ ? complete_read(fs, f) : complete_write(fs, f);
}

/* The flight that ends first; of equal ones the older. */
static uint32_t first_due(const struct sim_disk *d)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < d->flight_count; i++) {
        const struct flight *a = &d->flights[i];
        const struct flight *b = &d->flights[best];
        if (a->due_ns < b->due_ns || (a->due_ns == b->due_ns && a->number < b->number))
            best = i;
    }
    return best;
}

unsigned sim_disk_take(struct sim_disk *d, uint64_t now_ns, struct disk_done *done, unsigned max)
{
    unsigned n = 0;
    while (n < max && d->flight_count != 0) {
        uint32_t i = first_due(d);
        struct flight *f = &d->flights[i];
        if (f->due_ns > now_ns)
            break;
        done[n].id = f->op.id;
        done[n++].result = complete(d->fs, f);
        flight_remove(d, i);
    }
    if (n != 0)
        sweep(d->fs);
    return n;
}

uint64_t sim_disk_deadline_ns(const struct sim_disk *d)
{
    return d->flight_count == 0 ? TIDE_NEVER : d->flights[first_due(d)].due_ns;
}

unsigned sim_disk_in_flight(const struct sim_disk *d)
{
    return d->flight_count;
}

/* ---- the power goes ---- */

static void crash_flights(struct sim_fs *fs, struct sim_disk *d, enum sim_crash crash)
{
    while (d->flight_count != 0) {
        uint32_t i = (uint32_t)tide_random_below(&fs->chance, d->flight_count);
        struct flight *f = &d->flights[i];
        if (crash == SIM_CRASH_RANDOM && f->error == 0 && f->op.kind == DISK_WRITE)
            sim_content_land(&fs->inodes[f->inode]->content, &fs->chance, taken_bytes(fs, f),
                             f->op.len, f->op.position, fs->faults.whole_sectors);
        if (crash == SIM_CRASH_KILLS && f->error == 0 && f->op.kind == DISK_WRITE && tide_random_hits(&fs->chance, 2))
            (void)write_now(fs, fs->inodes[f->inode], taken_bytes(fs, f), f->op.len, f->op.position);
        flight_remove(d, i);
    }
}

static void crash_names(struct sim_fs *fs, struct inode *dir, enum sim_crash crash)
{
    uint64_t survive = crash == SIM_CRASH_LOSES ? 0 : dir->change_count;
    if (crash == SIM_CRASH_RANDOM)
        survive = tide_random_below(&fs->chance, dir->change_count + 1ull);
    for (uint64_t i = 0; i < survive; i++)
        names_apply(&dir->kept, &dir->changes[i]);
    names_copy(&dir->now, &dir->kept);
    dir->change_count = 0;
}

void sim_fs_crash(struct sim_fs *fs, enum sim_crash crash)
{
    for (uint32_t i = 0; i < SIM_HANDLES_MAX; i++)
        fs->handles[i].used = false;
    for (struct sim_disk *d = fs->disks; d != NULL; d = d->next)
        crash_flights(fs, d, crash);
    for (uint32_t i = 0; i < fs->inode_count && crash != SIM_CRASH_KILLS; i++) {
        struct inode *n = fs->inodes[i];
        if (!n->used)
            continue;
        fs->used_bytes -= inode_bytes(n);
        if (n->is_dir)
            crash_names(fs, n, crash);
        else
            sim_content_crash(&n->content, &fs->chance, crash);
        fs->used_bytes += inode_bytes(n);
    }
    fs->has_removed = true;
    sweep(fs);
    TIDE_ASSERT_SLOW((sim_fs_check(fs), true));
}
