/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/quorum_files_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "raft/quorum_members.h"

/* A load under way. */
struct load {
    struct quorum_files *f;
    struct quorum_boot boot;
    uint64_t room; /* of boot.entries */
    bool only_looks;
    bool state_exists;
    bool spare_exists;
    uint64_t log_started; /* flag: some segment was read */
    char name[QUORUM_NAME_MAX]; /* of the file being read */
    char *error;
    size_t size;
    char snapshot_problem[QUORUM_PATH_MAX + QUORUM_ERROR_MAX];
};

static enum tide_status __attribute__((format(printf, 3, 4))) refuse(struct load *l, enum tide_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(l->error, l->size, format, args);
    va_end(args);
    return status;
}

static enum tide_status refuse_io(struct load *l, const char *name, int e)
{
    return refuse(l, TIDE_IO, "%s/%s cannot be used: %s", l->f->dir, name, strerror(-e));
}

static enum tide_status refuse_damage(struct load *l, uint64_t offset, const char *what)
{
    return refuse(l, TIDE_BAD, "%s/%s is damaged at byte %" PRIu64 " (%s); restore this voter from the others: empty the directory and add it again",
                  l->f->dir, l->name, offset, what);
}

/* ---- files as a whole ---- */

/* 0 with the bytes in memory of the caller's; -errno. */
static int read_file(const struct quorum_files *f, const char *name, uint8_t **ret, uint64_t *ret_len)
{
    char path[QUORUM_PATH_MAX];
    quorum_files_path(f, name, path);
    int file = f->fs->open(f->fs->self, path, TIDE_FS_READ);
    if (file < 0)
        return file;
    int64_t size = f->fs->size(f->fs->self, file);
    if (size > (int64_t)QUORUM_SNAPSHOT_MAX + (64 << 20))
        size = -EFBIG;
    uint8_t *bytes = size >= 0 ? quorum_alloc((size_t)size) : NULL;
    uint64_t done = 0;
    int e = size < 0 ? (int)size : 0;
    while (e == 0 && done < (uint64_t)size) {
        int64_t n = f->fs->pread(f->fs->self, file, bytes + done, (size_t)size - done, done);
        if (n <= 0)
            e = n < 0 ? (int)n : -EIO;
        else
            done += (uint64_t)n;
    }
    f->fs->close(f->fs->self, file);
    if (e != 0) {
        free(bytes);
        return e;
    }
    *ret = bytes;
    *ret_len = (uint64_t)size;
    return 0;
}

static int remove_file(struct load *l, const char *name)
{
    char path[QUORUM_PATH_MAX];
    if (l->only_looks)
        return 0;
    quorum_files_path(l->f, name, path);
    int e = l->f->fs->unlink(l->f->fs->self, path);
    return e == -ENOENT ? 0 : e;
}

/* ---- names ---- */

static bool read_number(const char **at, uint64_t *ret)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < 20; i++, (*at)++) {
        if (**at < '0' || **at > '9' || value > (UINT64_MAX - 9) / 10)
            return false;
        value = value * 10 + (uint64_t)(**at - '0');
    }
    *ret = value;
    return true;
}

static int see(void *arg, const char *name, bool is_dir)
{
    struct load *l = arg;
    struct quorum_files *f = l->f;
    const char *at = name;
    uint64_t a;
    uint64_t b;
    if (is_dir)
        return 0;
    if (strcmp(name, "quorum.state") == 0)
        l->state_exists = true;
    if (strcmp(name, "spare") == 0)
        l->spare_exists = true;
    if (!read_number(&at, &a))
        return 0;
    if (strcmp(at, ".log") == 0) {
        f->segments = quorum_grow(f->segments, f->segment_count + 1, sizeof(*f->segments));
        f->segments[f->segment_count++] = (struct quorum_segment){.number = a};
    } else if (*at++ == '-' && read_number(&at, &b) && strcmp(at, ".snapshot") == 0) {
        f->snapshots = quorum_grow(f->snapshots, f->snapshot_count + 1, sizeof(*f->snapshots));
        f->snapshots[f->snapshot_count++] = (struct quorum_snapshot_file){.index = a, .term = b};
    }
    return 0;
}

static int by_number(const void *a, const void *b)
{
    const struct quorum_segment *x = a;
    const struct quorum_segment *y = b;
    return x->number < y->number ? -1 : x->number > y->number;
}

static int by_index(const void *a, const void *b)
{
    const struct quorum_snapshot_file *x = a;
    const struct quorum_snapshot_file *y = b;
    if (x->index != y->index)
        return x->index < y->index ? -1 : 1;
    return x->term < y->term ? -1 : x->term > y->term;
}

/* ---- headers: the first 40 bytes of every file are alike ---- */

static bool header_reads(const uint8_t *bytes, uint64_t len, uint64_t magic, size_t head, struct quorum_reader *ret)
{
    if (len < head)
        return false;
    *ret = (struct quorum_reader){.at = bytes, .left = head};
    uint64_t found = quorum_read(ret, 8);
    (void)quorum_read(ret, 4);
    uint64_t crc = quorum_read(ret, 4);
    return found == magic && crc == quorum_crc(bytes + 16, head - 16);
}

static enum tide_status header_fits(struct load *l, const uint8_t *bytes, struct quorum_reader *r)
{
    uint32_t version;
    memcpy(&version, bytes + 8, sizeof(version));
    if (version != FILES_VERSION)
        return refuse(l, TIDE_REFUSED, "%s/%s was written by a newer release (form %u)", l->f->dir, l->name, version);
    const uint8_t *cluster = quorum_read_bytes(r, sizeof(l->f->cluster_id.bytes));
    if (memcmp(cluster, l->f->cluster_id.bytes, sizeof(l->f->cluster_id.bytes)) != 0)
        return refuse(l, TIDE_REFUSED, "%s/%s belongs to another cluster", l->f->dir, l->name);
    return TIDE_OK;
}

/* ---- term and vote ---- */

static enum tide_status load_state(struct load *l)
{
    struct quorum_files *f = l->f;
    struct quorum_reader r;
    uint8_t *bytes;
    uint64_t len;
    bool any = false;
    enum tide_status status = TIDE_OK;
    strcpy(l->name, "quorum.state");
    if (!l->state_exists) {
        if (f->segment_count == 0 && f->snapshot_count == 0)
            return TIDE_OK;
        return refuse(l, TIDE_BAD, "%s/quorum.state is missing: the term and vote of this voter are lost; empty the directory and add it again", f->dir);
    }
    int e = read_file(f, l->name, &bytes, &len);
    if (e != 0)
        return refuse_io(l, l->name, e);
    for (unsigned i = 0; i < 2 && status == TIDE_OK; i++) {
        const uint8_t *at = bytes + (size_t)i * STATE_APART;
        if (len < (uint64_t)i * STATE_APART || !header_reads(at, len - (uint64_t)i * STATE_APART, state_magic, STATE_BYTES, &r))
            continue;
        status = header_fits(l, at, &r);
        struct quorum_state s = {.sequence = quorum_read(&r, 8), .term = quorum_read(&r, 8), .vote = quorum_read(&r, 8)};
        if (status != TIDE_OK || (any && s.sequence <= f->state.sequence))
            continue;
        f->state = s;
        f->state_best = i;
        any = true;
    }
    free(bytes);
    if (status != TIDE_OK)
        return status;
    if (!any)
        return refuse_damage(l, 0, "no copy of term and vote is whole");
    l->boot.term = f->state.term;
    l->boot.vote = f->state.vote;
    return TIDE_OK;
}

/* ---- snapshots ---- */

/* NULL with what is wrong. */
static struct quorum_snapshot *parse_snapshot(const struct quorum_files *f, const struct quorum_snapshot_file *file, const uint8_t *bytes,
                                              uint64_t len, uint64_t *ret_offset, const char **ret_what)
{
    struct quorum_reader r;
    struct quorum_members members;
    *ret_offset = 0;
    *ret_what = "its header is not whole";
    if (!header_reads(bytes, len, snapshot_magic, SNAPSHOT_HEAD, &r))
        return NULL;
    (void)quorum_read_bytes(&r, sizeof(f->cluster_id.bytes));
    uint64_t index = quorum_read(&r, 8);
    uint64_t term = quorum_read(&r, 8);
    uint64_t members_index = quorum_read(&r, 8);
    uint64_t data_len = quorum_read(&r, 8);
    uint32_t members_len = (uint32_t)quorum_read(&r, 4);
    uint32_t members_crc = (uint32_t)quorum_read(&r, 4);
    uint32_t data_crc = (uint32_t)quorum_read(&r, 4);
    const uint8_t *body = bytes + SNAPSHOT_HEAD;
    *ret_what = "it is not the one that its name says";
    if (index != file->index || term != file->term || index == 0 || term == 0 || members_index == 0 || members_index > index)
        return NULL;
    *ret_offset = SNAPSHOT_HEAD;
    *ret_what = "its length is wrong";
    if (members_len > len - SNAPSHOT_HEAD || data_len != len - SNAPSHOT_HEAD - members_len || data_len > QUORUM_SNAPSHOT_MAX)
        return NULL;
    *ret_what = "its members are not whole";
    if (quorum_crc(body, members_len) != members_crc || quorum_members_read(body, members_len, &members) != TIDE_OK)
        return NULL;
    *ret_offset = SNAPSHOT_HEAD + (uint64_t)members_len;
    *ret_what = "its contents are not whole";
    if (quorum_crc(body + members_len, data_len) != data_crc)
        return NULL;
    return quorum_snapshot_create(index, term, members_index, body, members_len, body + members_len, data_len);
}

/* D14: the newest valid one. */
static enum tide_status load_snapshot(struct load *l)
{
    struct quorum_files *f = l->f;
    for (uint32_t i = f->snapshot_count; i-- != 0 && l->boot.snapshot == NULL;) {
        struct quorum_reader r;
        uint8_t *bytes;
        uint64_t len;
        uint64_t offset;
        const char *what;
        enum tide_status status = TIDE_OK;
        snprintf(l->name, sizeof(l->name), "%020" PRIu64 "-%020" PRIu64 ".snapshot", f->snapshots[i].index, f->snapshots[i].term);
        int e = read_file(f, l->name, &bytes, &len);
        if (e != 0)
            return refuse_io(l, l->name, e);
        if (header_reads(bytes, len, snapshot_magic, SNAPSHOT_HEAD, &r))
            status = header_fits(l, bytes, &r);
        if (status == TIDE_OK)
            l->boot.snapshot = parse_snapshot(f, &f->snapshots[i], bytes, len, &offset, &what);
        free(bytes);
        if (status != TIDE_OK)
            return status;
        if (l->boot.snapshot != NULL)
            break;
        if (l->snapshot_problem[0] == 0)
            snprintf(l->snapshot_problem, sizeof(l->snapshot_problem), "%s/%s is damaged at byte %" PRIu64 " (%s)", f->dir, l->name, offset, what);
        e = remove_file(l, l->name); /* it would stand in the way of a new one of that name */
        if (e != 0)
            return refuse_io(l, l->name, e);
        memmove(&f->snapshots[i], &f->snapshots[i + 1], (--f->snapshot_count - i) * sizeof(f->snapshots[0]));
    }
    return TIDE_OK;
}

/* ---- segments ---- */

static void cut_entries(struct quorum_boot *b, uint64_t from)
{
    while (b->count != 0 && b->first_index + b->count > from)
        free((void *)(uintptr_t)b->entries[--b->count].bytes);
}

/* The batch at `at`: its length, or 0 when there is none that is whole. */
static uint64_t batch_at(const uint8_t *bytes, uint64_t len, uint64_t at, uint64_t number)
{
    struct quorum_reader r = {.at = bytes + at, .left = len - at};
    if (len - at < BATCH_HEAD)
        return 0;
    uint64_t magic = quorum_read(&r, 4);
    uint64_t crc = quorum_read(&r, 4);
    uint64_t length = quorum_read(&r, 4);
    (void)quorum_read_bytes(&r, 4 + 8);
    if (magic != batch_magic || length < BATCH_HEAD || length % 8 != 0 || length > len - at || quorum_read(&r, 8) != number)
        return 0;
    return crc == quorum_crc(bytes + at + 8, length - 8) ? length : 0;
}

/* The entries of a whole batch; false: they are not what a voter writes. */
static bool take_batch(struct load *l, struct quorum_segment *s, const uint8_t *bytes, uint64_t length)
{
    struct quorum_boot *b = &l->boot;
    struct quorum_reader r = {.at = bytes + 12, .left = length - 12};
    struct quorum_members members;
    uint64_t count = quorum_read(&r, 4);
    uint64_t index = quorum_read(&r, 8);
    (void)quorum_read(&r, 8);
    if (count == 0 || index != s->last + 1)
        return false;
    for (uint64_t i = 0; i < count; i++) {
        struct quorum_entry e = {.index = index + i};
        e.term = quorum_read(&r, 8);
        e.kind = (enum quorum_entry_kind)quorum_read(&r, 4);
        e.len = (uint32_t)quorum_read(&r, 4);
        const uint8_t *content = r.failed ? NULL : quorum_read_bytes(&r, quorum_padded(e.len));
        if (r.failed || e.len > QUORUM_COMMAND_MAX || e.term == 0 || e.term > l->f->state.term)
            return false;
        if (b->count != 0 && b->entries[b->count - 1].term > e.term)
            return false;
        if (e.kind == QUORUM_MEMBERSHIP ? quorum_members_read(content, e.len, &members) != TIDE_OK
                                        : e.kind != QUORUM_COMMAND && e.kind != QUORUM_BARRIER)
            return false;
        e.bytes = quorum_copy(content, e.len);
        if (b->count == l->room) {
            l->room = 2 * l->room + 256;
            b->entries = quorum_grow(b->entries, l->room, sizeof(*b->entries));
        }
        b->entries[b->count++] = e;
        s->last = e.index;
    }
    return r.left == 0;
}

static bool is_zero(const uint8_t *bytes, uint64_t from, uint64_t to)
{
    for (; from < to; from++)
        if (bytes[from] != 0)
            return false;
    return true;
}

/* A segment's place in the log: it goes on, replaces an end (D3), or stands behind a gap that the
 * snapshot covers. */
static enum tide_status place_segment(struct load *l, const struct quorum_segment *s)
{
    struct quorum_boot *b = &l->boot;
    uint64_t snapshot = b->snapshot != NULL ? b->snapshot->index : 0;
    if (l->log_started == 0 || s->first < b->first_index || s->first > b->first_index + b->count) {
        if (s->first > snapshot + 1)
            return refuse(l, TIDE_BAD, "%s/%s begins with entry %" PRIu64 ", and entries before it are missing%s%s", l->f->dir, l->name, s->first,
                          l->snapshot_problem[0] != 0 ? ": " : "", l->snapshot_problem);
        cut_entries(b, 0);
        b->first_index = s->first;
    }
    cut_entries(b, s->first);
    l->log_started = 1;
    return TIDE_OK;
}

/* A torn end of the newest segment: zeros, so that the segment is sound when it is closed later. */
static int clear_end(struct load *l, int file, uint64_t from, uint64_t len)
{
    const struct tide_fs *fs = l->f->fs;
    int e = fs->truncate(fs->self, file, from);
    if (e == 0)
        e = fs->allocate(fs->self, file, 0, len);
    if (e == -ENOSPC) /* then it is shorter, and the next batch begins a new one */
        e = 0;
    return e != 0 ? e : fs->sync(fs->self, file);
}

static enum tide_status load_batches(struct load *l, struct quorum_segment *s, bool newest, const uint8_t *bytes, uint64_t len, uint64_t *ret_end)
{
    uint64_t at = SEGMENT_HEAD;
    uint64_t length;
    while (at < len && (length = batch_at(bytes, len, at, s->number)) != 0) {
        if (!take_batch(l, s, bytes + at, length))
            return refuse_damage(l, at, "entries that no voter writes");
        at += length;
    }
    *ret_end = at;
    if (is_zero(bytes, at, len))
        return TIDE_OK;
    if (!newest)
        return refuse_damage(l, at, "in the middle of the log");
    for (uint64_t k = at + 8; k < len; k += 8) /* D19: what is torn has nothing behind it */
        if (batch_at(bytes, len, k, s->number) != 0)
            return refuse_damage(l, at, "and whole entries follow");
    return TIDE_OK;
}

static enum tide_status load_segment(struct load *l, struct quorum_segment *s, bool newest)
{
    struct quorum_files *f = l->f;
    struct quorum_reader r;
    uint8_t *bytes;
    uint64_t len;
    uint64_t end = SEGMENT_HEAD;
    enum tide_status status = TIDE_OK;
    char path[QUORUM_PATH_MAX];
    snprintf(l->name, sizeof(l->name), "%020" PRIu64 ".log", s->number);
    int e = read_file(f, l->name, &bytes, &len);
    if (e != 0)
        return refuse_io(l, l->name, e);
    if (!header_reads(bytes, len, segment_magic, SEGMENT_HEAD, &r))
        status = refuse_damage(l, 0, "its header is not whole"); /* K3 */
    if (status == TIDE_OK)
        status = header_fits(l, bytes, &r);
    if (status == TIDE_OK) {
        uint64_t number = quorum_read(&r, 8);
        s->first = quorum_read(&r, 8);
        s->last = s->first - 1;
        f->restarted = (quorum_read(&r, 8) & FLAG_RESTART) != 0;
        if (number != s->number || s->first == 0)
            status = refuse_damage(l, 0, "it is not the one that its name says");
    }
    if (status == TIDE_OK && f->restarted)
        l->log_started = 0;
    if (status == TIDE_OK)
        status = place_segment(l, s);
    if (status == TIDE_OK)
        status = load_batches(l, s, newest, bytes, len, &end);
    bool torn = status == TIDE_OK && !is_zero(bytes, end, len);
    free(bytes);
    if (status != TIDE_OK || !newest || l->only_looks)
        return status;
    quorum_files_path(f, l->name, path);
    f->file = f->fs->open(f->fs->self, path, TIDE_FS_READ | TIDE_FS_WRITE);
    if (f->file < 0)
        return refuse_io(l, l->name, f->file);
    e = torn ? clear_end(l, f->file, end, len) : 0;
    if (e != 0)
        return refuse_io(l, l->name, e);
    f->end = end;
    f->file_bytes = (uint64_t)TIDE_MAX(f->fs->size(f->fs->self, f->file), (int64_t)0);
    return TIDE_OK;
}

/* Segments before the last one that restarts the log are void. */
static enum tide_status drop_void(struct load *l, uint32_t restart)
{
    struct quorum_files *f = l->f;
    for (uint32_t i = 0; i < restart; i++) {
        snprintf(l->name, sizeof(l->name), "%020" PRIu64 ".log", f->segments[i].number);
        int e = remove_file(l, l->name);
        if (e != 0)
            return refuse_io(l, l->name, e);
    }
    if (restart == 0)
        return TIDE_OK;
    memmove(f->segments, f->segments + restart, (f->segment_count - restart) * sizeof(*f->segments));
    f->segment_count -= restart;
    return TIDE_OK;
}

/* Which segment last restarts the log? Unreadable headers are found again, and told, by load_segment. */
static enum tide_status find_restart(struct load *l, uint32_t *ret)
{
    struct quorum_files *f = l->f;
    uint8_t header[SEGMENT_HEAD];
    struct quorum_reader r;
    char path[QUORUM_PATH_MAX];
    *ret = 0;
    for (uint32_t i = f->segment_count; i-- > 1;) {
        snprintf(l->name, sizeof(l->name), "%020" PRIu64 ".log", f->segments[i].number);
        quorum_files_path(f, l->name, path);
        int file = f->fs->open(f->fs->self, path, TIDE_FS_READ);
        if (file < 0)
            return refuse_io(l, l->name, file);
        int64_t n = f->fs->pread(f->fs->self, file, header, sizeof(header), 0);
        f->fs->close(f->fs->self, file);
        if (n < 0)
            return refuse_io(l, l->name, (int)n);
        if (!header_reads(header, (uint64_t)n, segment_magic, SEGMENT_HEAD, &r))
            continue;
        (void)quorum_read_bytes(&r, sizeof(f->cluster_id.bytes) + 16);
        if ((quorum_read(&r, 8) & FLAG_RESTART) != 0) {
            *ret = i;
            return TIDE_OK;
        }
    }
    return TIDE_OK;
}

static enum tide_status load_log(struct load *l)
{
    struct quorum_files *f = l->f;
    uint32_t restart;
    enum tide_status status = find_restart(l, &restart);
    if (status == TIDE_OK)
        status = drop_void(l, restart);
    for (uint32_t i = 0; i < f->segment_count && status == TIDE_OK; i++) {
        status = load_segment(l, &f->segments[i], i + 1 == f->segment_count);
        for (uint32_t k = 0; k < i; k++) /* D3 */
            f->segments[k].last = TIDE_MIN(f->segments[k].last, f->segments[i].first - 1);
    }
    if (f->segment_count != 0)
        f->next_number = f->segments[f->segment_count - 1].number + 1;
    return status;
}

/* D14: a log that ends before the snapshot, or does not agree with it, is dropped. */
static enum tide_status reconcile(struct load *l)
{
    struct quorum_files *f = l->f;
    struct quorum_boot *b = &l->boot;
    const struct quorum_snapshot *s = b->snapshot;
    uint64_t end = b->first_index + b->count; /* one behind the last entry */
    if (s == NULL && l->log_started == 0 && l->snapshot_problem[0] != 0)
        return refuse(l, TIDE_BAD, "%s, and no log goes back to the beginning", l->snapshot_problem);
    if (s != NULL && s->term > f->state.term)
        return refuse(l, TIDE_BAD, "%s/quorum.state is older than the snapshot", f->dir);
    bool ends_before = s != NULL && end <= s->index;
    bool disagrees = s != NULL && !ends_before && s->index >= b->first_index && b->entries[s->index - b->first_index].term != s->term;
    f->last = end - 1;
    if (!ends_before && !disagrees)
        return TIDE_OK;
    cut_entries(b, 0);
    b->first_index = s->index + 1;
    f->last = s->index;
    if (l->only_looks)
        return TIDE_OK;
    int e = quorum_files_restart_log(f, s->index + 1);
    return e != 0 ? refuse_io(l, "the log", e) : TIDE_OK;
}

static enum tide_status open_spare(struct load *l)
{
    struct quorum_files *f = l->f;
    char path[QUORUM_PATH_MAX];
    if (l->spare_exists)
        (void)remove_file(l, "spare"); /* what is in it is not known */
    (void)remove_file(l, "snapshot.tmp");
    (void)remove_file(l, "quorum.state.tmp");
    if (!l->state_exists)
        return TIDE_OK;
    quorum_files_path(f, "quorum.state", path);
    f->state_file = f->fs->open(f->fs->self, path, TIDE_FS_READ | TIDE_FS_WRITE);
    return f->state_file < 0 ? refuse_io(l, "quorum.state", f->state_file) : TIDE_OK;
}

enum tide_status quorum_files_load(struct quorum_files *f, struct quorum_boot *ret, bool only_looks, char *error, size_t size)
{
    struct load l = {.f = f, .only_looks = only_looks, .error = error, .size = size, .boot = {.first_index = 1}};
    enum tide_status status = TIDE_OK;
    int e = f->fs->list(f->fs->self, f->dir, see, &l);
    if (e != 0)
        status = refuse(&l, TIDE_IO, "%s cannot be read: %s", f->dir, strerror(-e));
    if (f->segment_count != 0)
        qsort(f->segments, f->segment_count, sizeof(*f->segments), by_number);
    if (f->snapshot_count != 0)
        qsort(f->snapshots, f->snapshot_count, sizeof(*f->snapshots), by_index);
    if (status == TIDE_OK)
        status = load_state(&l);
    if (status == TIDE_OK && !only_looks)
        status = open_spare(&l);
    if (status == TIDE_OK)
        status = load_snapshot(&l);
    if (status == TIDE_OK)
        status = load_log(&l);
    if (status == TIDE_OK)
        status = reconcile(&l);
    if (status != TIDE_OK) {
        quorum_boot_deinit(&l.boot);
        return status;
    }
    *ret = l.boot;
    return TIDE_OK;
}

enum tide_status quorum_files_open(const struct quorum_files_config *c, struct quorum_files **ret, struct quorum_boot *ret_boot, char *error,
                                   size_t size)
{
    struct quorum_files *f = quorum_alloc(sizeof(*f));
    enum tide_status status = TIDE_OK;
    f->fs = c->fs;
    f->cluster_id = c->cluster_id;
    f->segment_bytes = c->segment_bytes != 0 ? c->segment_bytes : QUORUM_SEGMENT_BYTES;
    f->file = f->spare_file = f->state_file = -1;
    f->next_number = 1;
    if (snprintf(f->dir, sizeof(f->dir), "%s", c->dir) >= (int)sizeof(f->dir)) {
        snprintf(error, size, "the path of the metadata log is too long");
        status = TIDE_REFUSED;
    }
    int e = status == TIDE_OK ? f->fs->mkdir(f->fs->self, f->dir) : 0;
    if (e == 0 && status == TIDE_OK) { /* its own name must be durable before anything in it counts */
        char parent[QUORUM_PATH_MAX];
        snprintf(parent, sizeof(parent), "%s", f->dir);
        char *slash = strrchr(parent, '/');
        if (slash != NULL)
            slash[slash == parent ? 1 : 0] = 0;
        e = f->fs->sync_dir(f->fs->self, parent);
    }
    if (e != 0 && e != -EEXIST) {
        snprintf(error, size, "%s cannot be made: %s", f->dir, strerror(-e));
        status = TIDE_IO;
    }
    if (status == TIDE_OK)
        status = quorum_files_load(f, ret_boot, false, error, size);
    if (status != TIDE_OK) {
        quorum_files_close(f);
        return status;
    }
    struct quorum_disk_op op = {.kind = QUORUM_DISK_RESERVE};
    e = quorum_files_run(f, &op);
    if (e != 0 && e != -ENOSPC) {
        snprintf(error, size, "%s: no room can be reserved: %s", f->dir, strerror(-e));
        quorum_boot_deinit(ret_boot);
        quorum_files_close(f);
        return TIDE_IO;
    }
    ret_boot->capacity_bytes = quorum_files_capacity(f);
    *ret = f;
    return TIDE_OK;
}
