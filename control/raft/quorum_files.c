/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/quorum_files_internal.h"

#include <errno.h>
#include <stdio.h>

/* ---- names ---- */

void quorum_files_path(const struct quorum_files *f, const char *name, char path[QUORUM_PATH_MAX])
{
    snprintf(path, QUORUM_PATH_MAX, "%s/%s", f->dir, name);
}

static void segment_name(uint64_t number, char name[QUORUM_NAME_MAX])
{
    snprintf(name, QUORUM_NAME_MAX, "%020lu.log", number);
}

static void snapshot_name(const struct quorum_snapshot_file *s, char name[QUORUM_NAME_MAX])
{
    snprintf(name, QUORUM_NAME_MAX, "%020lu-%020lu.snapshot", s->index, s->term);
}

static int remove_name(struct quorum_files *f, const char *name)
{
    char path[QUORUM_PATH_MAX];
    quorum_files_path(f, name, path);
    int e = f->fs->unlink(f->fs->self, path);
    return e == -ENOENT ? 0 : e;
}

static int rename_only(struct quorum_files *f, const char *from, const char *to)
{
    char old_path[QUORUM_PATH_MAX];
    char new_path[QUORUM_PATH_MAX];
    quorum_files_path(f, from, old_path);
    quorum_files_path(f, to, new_path);
    return f->fs->rename(f->fs->self, old_path, new_path);
}

static int rename_name(struct quorum_files *f, const char *from, const char *to)
{
    int e = rename_only(f, from, to);
    return e != 0 ? e : f->fs->sync_dir(f->fs->self, f->dir);
}

static int open_name(struct quorum_files *f, const char *name, unsigned flags)
{
    char path[QUORUM_PATH_MAX];
    quorum_files_path(f, name, path);
    return f->fs->open(f->fs->self, path, flags);
}

static int write_all(struct quorum_files *f, int file, const void *bytes, size_t len, uint64_t position)
{
    const uint8_t *at = bytes;
    while (len != 0) {
        int64_t n = f->fs->pwrite(f->fs->self, file, at, len, position);
        if (n <= 0)
            return n < 0 ? (int)n : -EIO;
        at += n;
        len -= (size_t)n;
        position += (uint64_t)n;
    }
    return 0;
}

/* ---- term and vote ---- */

static void write_state(const struct quorum_files *f, const struct quorum_state *s, uint8_t room[STATE_BYTES])
{
    memset(room, 0, STATE_BYTES);
    uint8_t *at = quorum_write(room, state_magic, 8);
    at = quorum_write(at, FILES_VERSION, 4) + 4;
    at = quorum_write_bytes(at, f->cluster_id.bytes, sizeof(f->cluster_id.bytes));
    at = quorum_write(at, s->sequence, 8);
    at = quorum_write(at, s->term, 8);
    quorum_write(at, s->vote, 8);
    quorum_write(room + 12, quorum_crc(room + 16, STATE_BYTES - 16), 4);
}

static int state_write_first(struct quorum_files *f, const struct quorum_state *s)
{
    uint8_t bytes[STATE_BYTES];
    int file = open_name(f, "quorum.state.tmp", TIDE_FS_READ | TIDE_FS_WRITE | TIDE_FS_CREATE);
    if (file < 0)
        return file;
    write_state(f, s, bytes);
    int e = write_all(f, file, bytes, sizeof(bytes), 0);
    if (e == 0)
        e = write_all(f, file, bytes, sizeof(bytes), STATE_APART);
    if (e == 0)
        e = f->fs->sync(f->fs->self, file);
    if (e == 0)
        e = rename_name(f, "quorum.state.tmp", "quorum.state");
    if (e != 0) {
        f->fs->close(f->fs->self, file);
        return e;
    }
    f->state_file = file;
    f->state_best = 0;
    return 0;
}

static int state_write(struct quorum_files *f, uint64_t term, uint64_t vote)
{
    struct quorum_state s = {.sequence = f->state.sequence + 1, .term = term, .vote = vote};
    uint8_t bytes[STATE_BYTES];
    int e = 0;
    if (f->state_file < 0) {
        e = state_write_first(f, &s);
    } else {
        write_state(f, &s, bytes);
        for (unsigned i = 0; i < 2 && e == 0; i++) { /* the worse copy first */
            e = write_all(f, f->state_file, bytes, sizeof(bytes), (f->state_best ^ 1 ^ i) * (uint64_t)STATE_APART);
            if (e == 0)
                e = f->fs->sync(f->fs->self, f->state_file);
        }
    }
    if (e == 0)
        f->state = s;
    return e;
}

/* ---- segments ---- */

static int make_spare(struct quorum_files *f, uint64_t bytes)
{
    int file = open_name(f, "spare", TIDE_FS_READ | TIDE_FS_WRITE | TIDE_FS_CREATE);
    if (file < 0)
        return file;
    int e = f->fs->truncate(f->fs->self, file, 0);
    if (e == 0)
        e = f->fs->allocate(f->fs->self, file, 0, bytes);
    if (e == 0)
        e = f->fs->sync(f->fs->self, file);
    if (e != 0) {
        f->fs->close(f->fs->self, file);
        (void)remove_name(f, "spare");
        return e;
    }
    f->spare_file = file;
    f->spare_bytes = bytes;
    return 0;
}

/* Room ahead, so that a full disk is known before an entry needs it. Without success the capacity
 * tells. */
static void reserve(struct quorum_files *f)
{
    if (f->spare_file < 0)
        (void)make_spare(f, f->segment_bytes);
}

static void write_segment_header(const struct quorum_files *f, const struct quorum_segment *s, uint64_t flags, uint8_t room[SEGMENT_HEAD])
{
    memset(room, 0, SEGMENT_HEAD);
    uint8_t *at = quorum_write(room, segment_magic, 8);
    at = quorum_write(at, FILES_VERSION, 4) + 4;
    at = quorum_write_bytes(at, f->cluster_id.bytes, sizeof(f->cluster_id.bytes));
    at = quorum_write(at, s->number, 8);
    at = quorum_write(at, s->first, 8);
    quorum_write(at, flags, 8);
    quorum_write(room + 12, quorum_crc(room + 16, SEGMENT_HEAD - 16), 4);
}

/* A new newest segment that begins with `first` and has room for a batch of `bytes`. */
static int begin_segment(struct quorum_files *f, uint64_t first, uint64_t flags, uint64_t bytes)
{
    uint8_t header[SEGMENT_HEAD];
    char name[QUORUM_NAME_MAX];
    struct quorum_segment s = {.number = f->next_number, .first = first, .last = first - 1};
    uint64_t want = TIDE_MAX(f->segment_bytes, SEGMENT_HEAD + bytes);
    int e = 0;
    if (f->spare_file >= 0 && !f->spare_is_named && f->spare_bytes < want) {
        f->fs->close(f->fs->self, f->spare_file);
        f->spare_file = -1;
    }
    if (f->spare_file < 0)
        e = make_spare(f, want);
    if (e != 0)
        return e;
    write_segment_header(f, &s, flags, header);
    e = write_all(f, f->spare_file, header, sizeof(header), 0);
    if (e == 0)
        e = f->fs->sync(f->fs->self, f->spare_file);
    segment_name(s.number, name);
    /* K3. When only the sync of the directory fails it has its name already: the next try goes on. */
    if (e == 0 && !f->spare_is_named)
        e = rename_only(f, "spare", name);
    f->spare_is_named |= e == 0;
    if (e == 0)
        e = f->fs->sync_dir(f->fs->self, f->dir);
    if (e != 0)
        return e;
    f->spare_is_named = false;
    if (f->file >= 0)
        f->fs->close(f->fs->self, f->file);
    f->file = f->spare_file;
    f->file_bytes = f->spare_bytes;
    f->end = SEGMENT_HEAD;
    f->spare_file = -1;
    f->next_number++;
    f->restarted = (flags & FLAG_RESTART) != 0;
    for (uint32_t i = 0; i < f->segment_count; i++) /* D3 */
        f->segments[i].last = TIDE_MIN(f->segments[i].last, first - 1);
    f->segments = quorum_grow(f->segments, f->segment_count + 1, sizeof(*f->segments));
    f->segments[f->segment_count++] = s;
    return 0;
}

static int drop_oldest(struct quorum_files *f)
{
    char name[QUORUM_NAME_MAX];
    segment_name(f->segments[0].number, name);
    int e = remove_name(f, name);
    if (e == 0)
        memmove(f->segments, f->segments + 1, --f->segment_count * sizeof(*f->segments));
    return e;
}

static size_t batch_length(const struct quorum_entry *entries, uint32_t count)
{
    size_t len = BATCH_HEAD;
    for (uint32_t i = 0; i < count; i++)
        len += ENTRY_HEAD + quorum_padded(entries[i].len);
    return len;
}

static uint8_t *write_batch(const struct quorum_files *f, const struct quorum_entry *entries, uint32_t count, size_t len)
{
    uint8_t *bytes = quorum_alloc(len);
    uint8_t *at = quorum_write(bytes, batch_magic, 4) + 4;
    at = quorum_write(at, len, 4);
    at = quorum_write(at, count, 4);
    at = quorum_write(at, entries[0].index, 8);
    at = quorum_write(at, f->segments[f->segment_count - 1].number, 8);
    for (uint32_t i = 0; i < count; i++) {
        at = quorum_write(at, entries[i].term, 8);
        at = quorum_write(at, entries[i].kind, 4);
        at = quorum_write(at, entries[i].len, 4);
        quorum_write_bytes(at, entries[i].bytes, entries[i].len);
        at += quorum_padded(entries[i].len);
    }
    TIDE_ASSERT(at == bytes + len);
    quorum_write(bytes + 4, quorum_crc(bytes + 8, len - 8), 4);
    return bytes;
}

static int append_batch(struct quorum_files *f, const struct quorum_entry *entries, uint32_t count)
{
    size_t len = batch_length(entries, count);
    int e = 0;
    if (f->file < 0 || entries[0].index != f->last + 1 || f->end + len > f->file_bytes)
        e = begin_segment(f, entries[0].index, 0, len);
    if (e != 0)
        return e;
    uint8_t *bytes = write_batch(f, entries, count, len);
    e = write_all(f, f->file, bytes, len, f->end);
    if (e == 0)
        e = f->fs->sync(f->fs->self, f->file);
    free(bytes);
    if (e != 0)
        return e;
    f->end += len;
    f->last = entries[count - 1].index;
    f->segments[f->segment_count - 1].last = f->last;
    return 0;
}

/* In batches, each durable before the next: a torn one is the last thing in its segment. What an
 * earlier try of the same operation wrote is not written again. */
static int append(struct quorum_files *f, const struct quorum_disk_op *op)
{
    if (f->op_number != op->number) {
        f->op_number = op->number;
        f->op_done = 0;
    }
    while (f->op_done < op->count) {
        const struct quorum_entry *from = &op->entries[f->op_done];
        uint32_t left = op->count - f->op_done;
        uint32_t n = 1;
        while (n < left && batch_length(from, n + 1) <= TIDE_MIN((uint64_t)BATCH_BYTES, f->segment_bytes - SEGMENT_HEAD))
            n++;
        int e = append_batch(f, from, n);
        if (e != 0)
            return e;
        f->op_done += n;
    }
    reserve(f);
    return 0;
}

/* ---- snapshots ---- */

static void write_snapshot_header(const struct quorum_files *f, const struct quorum_snapshot *s, uint8_t room[SNAPSHOT_HEAD])
{
    memset(room, 0, SNAPSHOT_HEAD);
    uint8_t *at = quorum_write(room, snapshot_magic, 8);
    at = quorum_write(at, FILES_VERSION, 4) + 4;
    at = quorum_write_bytes(at, f->cluster_id.bytes, sizeof(f->cluster_id.bytes));
    at = quorum_write(at, s->index, 8);
    at = quorum_write(at, s->term, 8);
    at = quorum_write(at, s->members_index, 8);
    at = quorum_write(at, s->len, 8);
    at = quorum_write(at, s->members_len, 4);
    at = quorum_write(at, quorum_crc(s->members, s->members_len), 4);
    quorum_write(at, quorum_crc(s->bytes, s->len), 4);
    quorum_write(room + 12, quorum_crc(room + 16, SNAPSHOT_HEAD - 16), 4);
}

/* D14: temporary file, checksums, sync, rename, sync of the directory. */
static int write_snapshot(struct quorum_files *f, const struct quorum_snapshot *s)
{
    uint8_t header[SNAPSHOT_HEAD];
    char name[QUORUM_NAME_MAX];
    struct quorum_snapshot_file entry = {.index = s->index, .term = s->term};
    for (uint32_t i = 0; i < f->snapshot_count; i++)
        if (f->snapshots[i].index == s->index && f->snapshots[i].term == s->term)
            return 0; /* an earlier try of the same operation */
    int file = open_name(f, "snapshot.tmp", TIDE_FS_READ | TIDE_FS_WRITE | TIDE_FS_CREATE);
    if (file < 0)
        return file;
    write_snapshot_header(f, s, header);
    int e = f->fs->truncate(f->fs->self, file, 0);
    if (e == 0)
        e = write_all(f, file, header, sizeof(header), 0);
    if (e == 0)
        e = write_all(f, file, s->members, s->members_len, SNAPSHOT_HEAD);
    if (e == 0)
        e = write_all(f, file, s->bytes, s->len, SNAPSHOT_HEAD + s->members_len);
    if (e == 0)
        e = f->fs->sync(f->fs->self, file);
    f->fs->close(f->fs->self, file);
    snapshot_name(&entry, name);
    if (e == 0)
        e = rename_name(f, "snapshot.tmp", name);
    if (e != 0) {
        (void)remove_name(f, "snapshot.tmp"); /* gives back the space it took */
        return e;
    }
    f->snapshots = quorum_grow(f->snapshots, f->snapshot_count + 1, sizeof(*f->snapshots));
    f->snapshots[f->snapshot_count++] = entry;
    return 0;
}

/* They are in the order in which they were written, which is that of their indices. */
static int prune_snapshots(struct quorum_files *f)
{
    char name[QUORUM_NAME_MAX];
    while (f->snapshot_count > SNAPSHOTS_KEPT) {
        snapshot_name(&f->snapshots[0], name);
        int e = remove_name(f, name);
        if (e != 0)
            return e;
        memmove(f->snapshots, f->snapshots + 1, --f->snapshot_count * sizeof(*f->snapshots));
    }
    return f->fs->sync_dir(f->fs->self, f->dir);
}

static int keep_snapshot(struct quorum_files *f, const struct quorum_disk_op *op)
{
    int e = write_snapshot(f, op->snapshot);
    while (e == 0 && f->segment_count > 1 && f->segments[0].last < op->keep_from)
        e = drop_oldest(f);
    return e != 0 ? e : prune_snapshots(f);
}

/* An empty log that begins with `first`; what was before is void from the moment that the new
 * segment has its name. */
int quorum_files_restart_log(struct quorum_files *f, uint64_t first)
{
    int e = 0;
    const struct quorum_segment *newest = f->segment_count != 0 ? &f->segments[f->segment_count - 1] : NULL;
    bool begun = f->restarted && newest != NULL && newest->first == first && newest->last < first;
    if (!begun)
        e = begin_segment(f, first, FLAG_RESTART, 0);
    if (e != 0)
        return e;
    f->last = first - 1;
    while (e == 0 && f->segment_count > 1)
        e = drop_oldest(f);
    return e != 0 ? e : f->fs->sync_dir(f->fs->self, f->dir);
}

static int install(struct quorum_files *f, const struct quorum_disk_op *op)
{
    int e = write_snapshot(f, op->snapshot);
    if (e == 0)
        e = quorum_files_restart_log(f, op->snapshot->index + 1);
    if (e == 0)
        e = prune_snapshots(f);
    if (e == 0)
        reserve(f);
    return e;
}

/* ---- operations ---- */

int quorum_files_run(struct quorum_files *f, const struct quorum_disk_op *op)
{
    int e = 0;
    if (f->failed != 0)
        return f->failed;
    switch (op->kind) {
    case QUORUM_DISK_STATE:
        e = state_write(f, op->term, op->vote);
        break;
    case QUORUM_DISK_APPEND:
        e = append(f, op);
        break;
    case QUORUM_DISK_SNAPSHOT:
        e = keep_snapshot(f, op);
        break;
    case QUORUM_DISK_INSTALL:
        e = install(f, op);
        break;
    case QUORUM_DISK_RESERVE:
        if (f->spare_file < 0)
            e = make_spare(f, f->segment_bytes);
        break;
    case QUORUM_DISK_KIND_COUNT:
        TIDE_ASSERT(false);
    }
    if (e != 0 && e != -ENOSPC)
        f->failed = e; /* memory and disk may disagree: only a new start knows */
    return e;
}

int quorum_files_found(struct quorum_files *f, const struct quorum_boot *boot)
{
    struct quorum_disk_op op = {.kind = QUORUM_DISK_APPEND, .number = UINT64_MAX, .entries = boot->entries, .count = (uint32_t)boot->count};
    int e = state_write(f, boot->term, boot->vote);
    return e != 0 ? e : quorum_files_run(f, &op);
}

uint64_t quorum_files_capacity(const struct quorum_files *f)
{
    uint64_t room = f->file >= 0 ? f->file_bytes - f->end : 0;
    return room + (f->spare_file >= 0 ? f->spare_bytes : 0);
}

bool quorum_boot_is_empty(const struct quorum_boot *b)
{
    return b->snapshot == NULL && b->count == 0 && b->term <= 1 && b->vote == 0;
}

void quorum_files_close(struct quorum_files *f)
{
    if (f == NULL)
        return;
    if (f->file >= 0)
        f->fs->close(f->fs->self, f->file);
    if (f->spare_file >= 0)
        f->fs->close(f->fs->self, f->spare_file);
    if (f->state_file >= 0)
        f->fs->close(f->fs->self, f->state_file);
    free(f->segments);
    free(f->snapshots);
    free(f);
}
