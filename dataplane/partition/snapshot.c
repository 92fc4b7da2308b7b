/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/snapshot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tidemark/assert.h"

enum {
    NAME_LEN = 20 + sizeof(".snapshot") - 1,
    PATH_ROOM = 4096 + 64,
    SNAPSHOT_MAX = 64 << 20,
    SLACK = 4096, /* producers that come between the allocation and the copy */
};

/* ---- files [helper] ---- */

static void path_of(const char *dir, int64_t offset, char path[PATH_ROOM])
{
    snprintf(path, PATH_ROOM, "%s/%020lld.snapshot", dir, (long long)offset);
}

/* -1: another name. */
static int64_t offset_of(const char *name, bool is_dir)
{
    char *end;
    if (is_dir || strlen(name) != NAME_LEN || strcmp(name + 20, ".snapshot") != 0)
        return -1;
    long long offset = strtoll(name, &end, 10);
    return end == name + 20 && offset >= 0 ? offset : -1;
}

struct newest {
    int64_t offset; /* -1: none */
    int64_t below;  /* only older ones than this */
};

static int visit_newest(void *arg, const char *name, bool is_dir)
{
    struct newest *n = arg;
    int64_t offset = offset_of(name, is_dir);
    if (offset >= 0 && offset < n->below && offset > n->offset)
        n->offset = offset;
    return 0;
}

static bool load(struct producers *p, const struct tide_fs *fs, const char *dir, int64_t offset)
{
    char path[PATH_ROOM];
    uint8_t *bytes = NULL;
    bool good = false;
    path_of(dir, offset, path);
    int file = fs->open(fs->self, path, TIDE_FS_READ);
    if (file < 0)
        return false;
    int64_t size = fs->size(fs->self, file);
    if (size > 0 && size <= SNAPSHOT_MAX)
        bytes = malloc((size_t)size);
    if (bytes != NULL && fs->pread(fs->self, file, bytes, (size_t)size, 0) == size)
        good = producers_restore(p, bytes, (size_t)size, INT64_MAX) == TIDE_OK;
    free(bytes);
    fs->close(fs->self, file);
    return good;
}

int64_t snapshot_load_newest(struct producers *p, const struct tide_fs *fs, const char *dir,
                             int64_t most)
{
    struct newest n = {.offset = -1, .below = most == INT64_MAX ? most : most + 1};
    while (fs->list(fs->self, dir, visit_newest, &n) == 0 && n.offset >= 0) {
        if (load(p, fs, dir, n.offset))
            return n.offset;
        n = (struct newest){.offset = -1, .below = n.offset};
    }
    return 0;
}

static int write_bytes(const struct tide_fs *fs, const char *dir, int64_t offset,
                       const uint8_t *bytes, size_t len)
{
    char path[PATH_ROOM];
    path_of(dir, offset, path);
    int file = fs->open(fs->self, path, TIDE_FS_WRITE | TIDE_FS_CREATE);
    if (file < 0)
        return file;
    int e = fs->truncate(fs->self, file, 0);
    for (size_t done = 0; e == 0 && done < len;) {
        int64_t n = fs->pwrite(fs->self, file, bytes + done, len - done, done);
        e = n > 0 ? 0 : n < 0 ? (int)n : -EIO;
        done += n > 0 ? (size_t)n : 0;
    }
    if (e == 0)
        e = fs->sync(fs->self, file);
    fs->close(fs->self, file);
    return e == 0 ? fs->sync_dir(fs->self, dir) : e;
}

int snapshot_write(const struct producers *p, const struct tide_fs *fs, const char *dir,
                   int64_t offset)
{
    size_t size = producers_snapshot_size(p);
    uint8_t *bytes = malloc(size);
    if (bytes == NULL)
        return -ENOMEM;
    (void)producers_snapshot(p, bytes, size);
    int e = write_bytes(fs, dir, offset, bytes, size);
    free(bytes);
    return e;
}

struct removal {
    const struct tide_fs *fs;
    const char *dir;
    int64_t above; /* those above it and ... */
    int64_t below; /* ... those below it */
    bool any;
};

static int remove_one(void *arg, const char *name, bool is_dir)
{
    struct removal *r = arg;
    char path[PATH_ROOM];
    int64_t offset = offset_of(name, is_dir);
    if (offset < 0 || (offset <= r->above && offset >= r->below))
        return 0;
    path_of(r->dir, offset, path);
    r->any = true;
    return r->fs->unlink(r->fs->self, path);
}

int snapshot_remove_beyond(const struct tide_fs *fs, const char *dir, int64_t end)
{
    struct removal r = {.fs = fs, .dir = dir, .above = end, .below = 0};
    int e = fs->list(fs->self, dir, remove_one, &r);
    return e == 0 && r.any ? fs->sync_dir(fs->self, dir) : e; /* one that came back would speak of other records at those offsets */
}

/* All but the newest and the one before it. */
static int remove_older(const struct tide_fs *fs, const char *dir, int64_t newest)
{
    struct newest n = {.offset = -1, .below = newest};
    int e = fs->list(fs->self, dir, visit_newest, &n);
    struct removal r = {.fs = fs, .dir = dir, .above = INT64_MAX, .below = n.offset};
    return e != 0 || n.offset < 0 ? e : fs->list(fs->self, dir, remove_one, &r);
}

/* ---- jobs ---- */

static void allocate_run(struct tide_job *job, const struct tide_fs *fs)
{
    struct snapshot *s = (struct snapshot *)job;
    (void)fs;
    s->bytes = malloc(s->cap);
    job->result = s->bytes != NULL ? 0 : -ENOMEM;
}

/* Older ones do until the next: a failure here is nobody's. */
static void write_run(struct tide_job *job, const struct tide_fs *fs)
{
    struct snapshot *s = (struct snapshot *)job;
    int e = write_bytes(fs, s->dir, s->offset, s->bytes, s->len);
    if (e == 0)
        e = remove_older(fs, s->dir, s->offset);
    free(s->bytes);
    s->bytes = NULL;
    job->result = e;
}

/* ---- [home] ---- */

void snapshot_begin(struct snapshot *s, const char *dir, uint32_t owner, uint64_t cookie,
                    int64_t segment_base)
{
    *s = (struct snapshot){.dir = dir, .segment_base = segment_base};
    s->job.kind = JOB_PARTITION_SNAPSHOT;
    s->job.owner = owner;
    s->job.cookie = cookie;
}

void snapshot_fill(struct snapshot *s, const struct producers *p, int64_t offset, int64_t segment_base)
{
    s->len = producers_snapshot(p, s->bytes, s->cap);
    if (s->len != 0) {
        s->offset = offset;
        s->state = SNAPSHOT_FILLED;
        s->appended = 0;
        s->segment_base = segment_base;
    } else { /* too many producers by now: again with more memory */
        s->cap = 2 * producers_snapshot_size(p);
        s->state = SNAPSHOT_IDLE;
    }
}

/* Memory is asked for in time for the next one. */
static bool wants_memory(const struct snapshot *s)
{
    return s->state == SNAPSHOT_IDLE && s->appended >= SNAPSHOT_BYTES / 2;
}

bool snapshot_has_work(const struct snapshot *s, int64_t durable_end)
{
    return wants_memory(s) || (s->state == SNAPSHOT_FILLED && durable_end >= s->offset);
}

static void start(struct snapshot *s, enum snapshot_state state,
                  void (*run)(struct tide_job *, const struct tide_fs *), struct tide_out *out)
{
    s->state = state;
    s->job.run = run;
    tide_out_job(out, &s->job);
}

void snapshot_turn(struct snapshot *s, const struct producers *p, int64_t durable_end,
                   struct tide_out *out)
{
    if (!snapshot_has_work(s, durable_end) || !tide_out_has_job_room(out))
        return;
    if (s->state == SNAPSHOT_FILLED) {
        start(s, SNAPSHOT_WRITING, write_run, out);
        return;
    }
    size_t size = producers_snapshot_size(p) + SLACK;
    s->cap = TIDE_MAX(s->cap, size);
    s->cap = TIDE_MIN(s->cap, (size_t)SNAPSHOT_MAX);
    start(s, SNAPSHOT_ALLOCATING, allocate_run, out);
}

void snapshot_on_job(struct snapshot *s)
{
    bool has_memory = s->state == SNAPSHOT_ALLOCATING && s->job.result == 0;
    if (s->state == SNAPSHOT_ALLOCATING && !has_memory)
        s->appended = 0; /* no memory: after as many bytes again */
    s->state = has_memory ? SNAPSHOT_READY : SNAPSHOT_IDLE;
}

bool snapshot_job_is_out(const struct snapshot *s)
{
    return s->state == SNAPSHOT_ALLOCATING || s->state == SNAPSHOT_WRITING;
}

void snapshot_end(struct snapshot *s)
{
    free(s->bytes);
    s->bytes = NULL;
}
