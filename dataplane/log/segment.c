/* SPDX-License-Identifier: Apache-2.0 */
#include "log/segment.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tidemark/assert.h"
#include "tidemark/bytes.h"

/* ---- names ---- */

int log_path(char ret[LOG_PATH_MAX], const char *dir, const char *name)
{
    int n = snprintf(ret, LOG_PATH_MAX, "%s/%s", dir, name);
    return n > 0 && n < LOG_PATH_MAX ? 0 : -ENAMETOOLONG;
}

int segment_path(char ret[LOG_PATH_MAX], const char *dir, int64_t base_offset, const char *suffix)
{
    int n = snprintf(ret, LOG_PATH_MAX, "%s/%020" PRId64 "%s", dir, base_offset, suffix);
    return n > 0 && n < LOG_PATH_MAX ? 0 : -ENAMETOOLONG;
}

bool segment_name_parse(const char *name, const char *suffix, int64_t *ret_base)
{
    uint64_t base = 0;
    for (int i = 0; i < LOG_NAME_DIGITS; i++) {
        if (name[i] < '0' || name[i] > '9' || base > (INT64_MAX - 9) / 10)
            return false;
        base = base * 10 + (uint64_t)(name[i] - '0');
    }
    if (strcmp(name + LOG_NAME_DIGITS, suffix) != 0)
        return false;
    *ret_base = (int64_t)base;
    return true;
}

/* ---- small files ---- */

static int read_all(const struct tide_fs *fs, int file, void *buf, size_t len)
{
    for (size_t done = 0; done < len;) {
        int64_t n = fs->pread(fs->self, file, (char *)buf + done, len - done, done);
        if (n < 0)
            return (int)n;
        if (n == 0)
            return -EIO;
        done += (size_t)n;
    }
    return 0;
}

static int write_all(const struct tide_fs *fs, int file, const void *buf, size_t len,
                     uint64_t position)
{
    for (size_t done = 0; done < len;) {
        int64_t n =
            fs->pwrite(fs->self, file, (const char *)buf + done, len - done, position + done);
        if (n < 0)
            return (int)n;
        if (n == 0)
            return -EIO;
        done += (size_t)n;
    }
    return 0;
}

int log_file_load(const struct tide_fs *fs, const char *dir, const char *name, size_t max,
                  char **ret, size_t *ret_len)
{
    char path[LOG_PATH_MAX];
    int e = log_path(path, dir, name);
    if (e != 0)
        return e;
    int file = fs->open(fs->self, path, TIDE_FS_READ);
    if (file < 0)
        return file;
    int64_t size = fs->size(fs->self, file);
    char *text = NULL;
    if (size < 0 || (uint64_t)size > max) {
        e = size < 0 ? (int)size : -EFBIG;
        goto done;
    }
    text = malloc((size_t)size + 1);
    e = text == NULL ? -ENOMEM : read_all(fs, file, text, (size_t)size);
    if (e != 0)
        goto done;
    text[size] = '\0';
    *ret = text;
    *ret_len = (size_t)size;
    text = NULL;
done:
    free(text);
    fs->close(fs->self, file);
    return e;
}

/* Durable under its name only after the directory is synced. */
static int replace_unsynced(const struct tide_fs *fs, const char *path, const void *bytes,
                            size_t len)
{
    char temporary[LOG_PATH_MAX + 8];
    snprintf(temporary, sizeof(temporary), "%s.tmp", path);
    int e = fs->unlink(fs->self, temporary);
    if (e != 0 && e != -ENOENT)
        return e;
    int file = fs->open(fs->self, temporary, TIDE_FS_WRITE | TIDE_FS_CREATE);
    if (file < 0)
        return file;
    e = write_all(fs, file, bytes, len, 0);
    if (e == 0)
        e = fs->sync(fs->self, file);
    int closed = fs->close(fs->self, file);
    if (e == 0)
        e = closed;
    return e != 0 ? e : fs->rename(fs->self, temporary, path);
}

int log_file_replace(const struct tide_fs *fs, const char *dir, const char *name, const void *bytes,
                     size_t len)
{
    char path[LOG_PATH_MAX];
    int e = log_path(path, dir, name);
    if (e == 0)
        e = replace_unsynced(fs, path, bytes, len);
    return e != 0 ? e : fs->sync_dir(fs->self, dir);
}

/* ---- making a segment ---- */

static int zero(const struct tide_fs *fs, int file, uint64_t from, uint64_t to)
{
    static _Alignas(TIDE_BLOCK) uint8_t zeroes[LOG_ZERO_BYTES];
    if (from >= to)
        return 0;
    int e = fs->allocate(fs->self, file, from, to - from);
    if (e != 0 && e != -EOPNOTSUPP)
        return e;
    for (uint64_t at = from; at < to && (e == 0 || e == -EOPNOTSUPP); at += LOG_ZERO_BYTES) {
        size_t n = (size_t)TIDE_MIN(to - at, (uint64_t)LOG_ZERO_BYTES);
        e = write_all(fs, file, zeroes, n, at);
        if (e != 0)
            return e;
    }
    return fs->sync(fs->self, file);
}

static int allocate(const struct tide_fs *fs, int file, uint64_t from, uint64_t to)
{
    if (from >= to)
        return 0;
    int e = fs->allocate(fs->self, file, from, to - from);
    return e == -EOPNOTSUPP ? zero(fs, file, from, to) : e;
}

int segment_extend(const struct tide_fs *fs, int file, uint64_t from, uint64_t to, bool written)
{
    return written ? zero(fs, file, from, to) : allocate(fs, file, from, to);
}

int segment_cut(const struct tide_fs *fs, int file, uint64_t size)
{
    uint64_t blocks = (size + TIDE_BLOCK - 1) & ~(uint64_t)(TIDE_BLOCK - 1);
    int e = fs->truncate(fs->self, file, size);
    if (e == 0 && blocks != size)
        e = fs->truncate(fs->self, file, blocks);
    return e != 0 ? e : fs->sync(fs->self, file);
}

int segment_create(const struct tide_fs *fs, const char *dir, const char *path, uint64_t bytes, bool written)
{
    int e = fs->unlink(fs->self, path);
    if (e != 0 && e != -ENOENT)
        return e;
    int file =
        fs->open(fs->self, path,
                 TIDE_FS_READ | TIDE_FS_WRITE | TIDE_FS_CREATE | TIDE_FS_EXCL | TIDE_FS_DIRECT);
    if (file < 0)
        return file;
    e = segment_extend(fs, file, 0, bytes, written);
    if (e == 0)
        e = fs->sync_dir(fs->self, dir);
    if (e == 0)
        return file;
    fs->close(fs->self, file);
    fs->unlink(fs->self, path); /* disk full: give the space back */
    return e;
}

static int remove_one(const struct tide_fs *fs, const char *dir, int64_t base, const char *suffix)
{
    char path[LOG_PATH_MAX];
    int e = segment_path(path, dir, base, suffix);
    if (e == 0)
        e = fs->unlink(fs->self, path);
    return e == -ENOENT ? 0 : e;
}

int segment_remove_index(const struct tide_fs *fs, const char *dir, int64_t base_offset)
{
    int e = remove_one(fs, dir, base_offset, ".index");
    if (e == 0)
        e = remove_one(fs, dir, base_offset, ".timeindex");
    return e != 0 ? e : fs->sync_dir(fs->self, dir);
}

int segment_remove(const struct tide_fs *fs, const char *dir, int64_t base_offset)
{
    int e = remove_one(fs, dir, base_offset, ".log");
    if (e == 0)
        e = remove_one(fs, dir, base_offset, ".index");
    if (e == 0)
        e = remove_one(fs, dir, base_offset, ".timeindex");
    return e != 0 ? e : fs->sync_dir(fs->self, dir);
}

/* Like Kafka's checkpoints, with a sum: one flipped digit must not hide the log. */
int log_start_store(const struct tide_fs *fs, const char *dir, int64_t start)
{
    char text[64];
    int n = snprintf(text, sizeof(text), "0\n%" PRId64 "\n", start);
    n += snprintf(text + n, sizeof(text) - (size_t)n, "%08" PRIx32 "\n",
                  batch_crc_update(0, text, (size_t)n));
    return log_file_replace(fs, dir, LOG_START_NAME, text, (size_t)n);
}

int log_start_load(const struct tide_fs *fs, const char *dir, int64_t *ret_start)
{
    char *text;
    size_t len;
    int used = 0;
    char sum[16];
    *ret_start = 0;
    int e = log_file_load(fs, dir, LOG_START_NAME, 64, &text, &len);
    if (e == -ENOENT)
        return 0;
    if (e != 0)
        return e == -EFBIG ? -EBADMSG : e;
    if (sscanf(text, "0\n%" SCNd64 "\n%n", ret_start, &used) != 1 || used == 0 || *ret_start < 0)
        e = -EBADMSG;
    snprintf(sum, sizeof(sum), "%08" PRIx32 "\n", batch_crc_update(0, text, (size_t)used));
    if (e == 0 && strcmp(text + used, sum) != 0)
        e = -EBADMSG;
    free(text);
    return e;
}

/* ---- index files ---- */

static int write_one(const struct tide_fs *fs, const char *dir, int64_t base, const char *suffix,
                     const void *bytes, size_t len)
{
    char path[LOG_PATH_MAX];
    int e = segment_path(path, dir, base, suffix);
    return e != 0 ? e : replace_unsynced(fs, path, bytes, len);
}

int segment_write_index(const struct tide_fs *fs, const char *dir, int64_t base_offset,
                        const struct log_index *index)
{
    struct index_image image;
    int e = log_index_image(index, &image);
    if (e != 0)
        return e;
    e = write_one(fs, dir, base_offset, ".timeindex", image.time_index, image.time_bytes);
    if (e == 0)
        e = write_one(fs, dir, base_offset, ".index", image.index, image.index_bytes);
    if (e == 0)
        e = fs->sync_dir(fs->self, dir);
    index_image_free(&image);
    return e;
}

/* *ret stays NULL for an empty file, which cannot be mapped. */
static int map_one(const struct tide_fs *fs, const char *dir, int64_t base, const char *suffix,
                   const uint8_t **ret, size_t *ret_len)
{
    char path[LOG_PATH_MAX];
    const void *at = NULL;
    int e = segment_path(path, dir, base, suffix);
    if (e != 0)
        return e;
    int file = fs->open(fs->self, path, TIDE_FS_READ);
    if (file < 0)
        return file;
    int64_t size = fs->size(fs->self, file);
    if (size < 0)
        e = (int)size;
    else if (size > UINT32_MAX)
        e = -EBADMSG;
    else if (size > 0)
        e = fs->map(fs->self, file, (size_t)size, &at);
    fs->close(fs->self, file);
    if (e != 0)
        return e;
    *ret = at;
    *ret_len = (size_t)size;
    return 0;
}

int segment_map_index(const struct tide_fs *fs, const char *dir, struct log_segment *s)
{
    const uint8_t *index = NULL;
    const uint8_t *time_index = NULL;
    size_t index_len = 0;
    size_t time_len = 0;
    int e = map_one(fs, dir, s->base_offset, ".index", &index, &index_len);
    if (e == 0)
        e = map_one(fs, dir, s->base_offset, ".timeindex", &time_index, &time_len);
    uint64_t span = (uint64_t)s->next_offset - (uint64_t)s->base_offset;
    if (e == 0 && (!index_file_is_sane(index, index_len, s->size, span) ||
                   !time_file_is_sane(time_index, time_len, span)))
        e = -EBADMSG;
    if (e != 0) {
        if (index != NULL)
            fs->unmap(fs->self, index, index_len);
        if (time_index != NULL)
            fs->unmap(fs->self, time_index, time_len);
        return e;
    }
    s->index = index;
    s->time_index = time_index;
    s->index_count = (uint32_t)(index_len / LOG_INDEX_ENTRY_BYTES);
    s->time_count = (uint32_t)(time_len / LOG_TIME_ENTRY_BYTES);
    return 0;
}

void segment_unmap_index(const struct tide_fs *fs, struct log_segment *s)
{
    if (s->index != NULL)
        fs->unmap(fs->self, s->index, (size_t)s->index_count * LOG_INDEX_ENTRY_BYTES);
    if (s->time_index != NULL)
        fs->unmap(fs->self, s->time_index, (size_t)s->time_count * LOG_TIME_ENTRY_BYTES);
    s->index = s->time_index = NULL;
    s->index_count = s->time_count = 0;
}

/* ---- reading ---- */

int segment_reader_init(struct segment_reader *r, const struct tide_fs *fs, int file,
                        uint64_t limit)
{
    *r = (struct segment_reader){.fs = fs, .file = file, .limit = limit};
    uint64_t whole = TIDE_MIN(limit, (uint64_t)LOG_SCAN_BYTES) + TIDE_BLOCK - 1;
    r->room = (uint32_t)TIDE_MAX(whole & ~(uint64_t)(TIDE_BLOCK - 1), (uint64_t)TIDE_BLOCK);
    r->buf = aligned_alloc(TIDE_BLOCK, r->room);
    return r->buf != NULL ? 0 : -ENOMEM;
}

void segment_reader_deinit(struct segment_reader *r)
{
    free(r->buf);
    r->buf = NULL;
}

/* Direct reads want aligned lengths; the end of the file makes the last one short. */
static void fill(struct segment_reader *r, uint64_t at)
{
    uint64_t rest = r->limit - at;
    uint32_t expected = (uint32_t)TIDE_MIN(rest, (uint64_t)r->room);
    uint32_t want = (expected + TIDE_BLOCK - 1) & ~(uint32_t)(TIDE_BLOCK - 1);
    r->at = at;
    r->len = 0;
    while (r->len < expected) {
        int64_t n = r->fs->pread(r->fs->self, r->file, r->buf + r->len, want - r->len, at + r->len);
        if (n <= 0 || (r->len + (uint64_t)n < expected && n % TIDE_BLOCK != 0)) {
            r->error = n < 0 ? (int)n : -EIO;
            r->len = 0;
            return;
        }
        r->len += (uint32_t)n;
    }
    r->len = expected;
}

const uint8_t *segment_read(struct segment_reader *r, uint64_t position, uint32_t n)
{
    TIDE_ASSERT(n <= LOG_SCAN_BYTES - TIDE_BLOCK);
    if (position > r->limit || n > r->limit - position || r->error != 0)
        return NULL;
    if (position < r->at || position + n > r->at + r->len)
        fill(r, position & ~(uint64_t)(TIDE_BLOCK - 1));
    return r->error == 0 ? r->buf + (position - r->at) : NULL;
}

/* ---- scanning ---- */

static bool crc_is_right(struct segment_reader *r, uint64_t position, uint32_t size,
                         uint32_t expected)
{
    uint32_t crc = 0;
    uint64_t end = position + size;
    for (uint64_t at = position + BATCH_ATTRIBUTES; at < end;) {
        uint32_t n = (uint32_t)TIDE_MIN(end - at, (uint64_t)(LOG_SCAN_BYTES - TIDE_BLOCK));
        const uint8_t *bytes = segment_read(r, at, n);
        if (bytes == NULL)
            return false;
        crc = batch_crc_update(crc, bytes, n);
        at += n;
    }
    return crc == expected;
}

bool log_header_parse(const uint8_t bytes[BATCH_HEADER], uint64_t room, struct batch_header *ret,
                      uint32_t *ret_size)
{
    batch_header_parse(bytes, ret);
    if (ret->magic != 2 || ret->batch_length < BATCH_LENGTH_MIN)
        return false;
    uint32_t size = batch_size(ret);
    if (size > room || size > INT32_MAX)
        return false;
    if (ret->base_offset < 0 || ret->last_offset_delta < 0 ||
        ret->base_offset > INT64_MAX - 1 - ret->last_offset_delta)
        return false;
    *ret_size = size;
    return true;
}

/* The header at `position`, if it is one and its batch ends within the limit. */
static bool header_at(struct segment_reader *r, uint64_t position, struct batch_header *ret,
                      uint32_t *ret_size)
{
    const uint8_t *bytes = segment_read(r, position, BATCH_HEADER);
    if (bytes == NULL)
        return false;
    return log_header_parse(bytes, r->limit - position, ret, ret_size);
}

static bool only_zeroes(struct segment_reader *r, uint64_t from)
{
    while (from < r->limit) {
        uint32_t n = (uint32_t)TIDE_MIN(r->limit - from, (uint64_t)(LOG_SCAN_BYTES - TIDE_BLOCK));
        const uint8_t *bytes = segment_read(r, from, n);
        if (bytes == NULL)
            return false;
        for (uint32_t i = 0; i < n; i++)
            if (bytes[i] != 0)
                return false;
        from += n;
    }
    return true;
}

static bool batch_belongs(const struct segment_scan *s, const struct batch_header *h)
{
    if (h->base_offset < s->next_offset ||
        (h->base_offset > s->next_offset && h->base_offset > s->gaps_below))
        return false;
    if (h->base_offset + h->last_offset_delta - s->base_offset > INT32_MAX)
        return false;
    if (h->leader_epoch < s->last_epoch)
        return false;
    if (s->learn_epochs)
        return true;
    return s->exact_epochs ? log_epoch_lines_fit(s->lines, h->leader_epoch, h->base_offset)
                           : log_epoch_lines_allow(s->lines, h->leader_epoch, h->base_offset);
}

static void batch_taken(struct segment_scan *s, const struct batch_header *h, uint32_t size)
{
    int64_t last = h->base_offset + h->last_offset_delta;
    if (s->index != NULL)
        log_index_add(s->index, (uint32_t)(last - s->base_offset), (uint32_t)s->position, size,
                      h->max_timestamp);
    if (s->learn_epochs && h->leader_epoch > log_epoch_lines_last(s->lines))
        log_epoch_lines_add(s->lines, h->leader_epoch, h->base_offset);
    if (s->position == 0)
        s->first_timestamp = h->max_timestamp;
    s->max_timestamp = TIDE_MAX(s->max_timestamp, h->max_timestamp);
    s->last_epoch = h->leader_epoch;
    s->position += size;
    s->next_offset = last + 1;
}

/* The batch of the checkpoint's last entry: its own base offset is where the walk begins. */
static bool begin_at(struct segment_reader *r, struct segment_scan *s)
{
    struct batch_header h;
    uint32_t size;
    const struct log_checkpoint *from = s->from;
    s->position = from->last.position;
    if (!header_at(r, s->position, &h, &size) ||
        batch_last_offset(&h) - s->base_offset != (int64_t)from->last.relative ||
        h.base_offset < s->base_offset || !crc_is_right(r, s->position, size, h.crc))
        return false;
    s->next_offset = h.base_offset;
    s->max_timestamp = from->last.time;
    s->first_timestamp = from->first_timestamp;
    /* Its entry is in the index: only what follows is added. */
    struct log_index *index = s->index;
    s->index = NULL;
    bool belongs = batch_belongs(s, &h);
    if (belongs)
        batch_taken(s, &h, size);
    s->index = index;
    if (belongs)
        log_index_skip(index, size);
    return belongs;
}

/* Its header is right and all of it was committed: the bytes rotted, and what stands behind them did not. */
static bool is_kept(struct segment_reader *r, struct segment_scan *s, const struct batch_header *h, uint32_t size)
{
    if (crc_is_right(r, s->position, size, h->crc))
        return true;
    if (r->error != 0 || batch_last_offset(h) >= s->keep_below)
        return false;
    s->rotten = true;
    return true;
}

int segment_scan(struct segment_reader *r, struct segment_scan *s)
{
    struct batch_header h;
    uint32_t size;
    s->position = 0;
    s->next_offset = s->base_offset;
    s->max_timestamp = s->first_timestamp = -1;
    s->stopped = s->rotten = false;
    if (s->from != NULL && !begin_at(r, s))
        return r->error != 0 ? r->error : -EBADMSG;
    while (header_at(r, s->position, &h, &size) && batch_belongs(s, &h) && is_kept(r, s, &h, size)) {
        if (s->stops && batch_last_offset(&h) >= s->stop_at) {
            s->stopped = true;
            s->stopped_base = h.base_offset;
            break;
        }
        batch_taken(s, &h, size);
    }
    if (r->error != 0)
        return r->error;
    if (s->position == r->limit)
        s->end = SEGMENT_END_WHOLE;
    else
        s->end = only_zeroes(r, s->position) ? SEGMENT_END_ZERO : SEGMENT_END_TORN;
    return r->error;
}

bool segment_first_batch(struct segment_reader *r, const struct log_epoch_lines *lines,
                         int64_t *ret_base, int32_t *ret_epoch)
{
    struct batch_header h;
    uint32_t size;
    if (!header_at(r, 0, &h, &size) || !crc_is_right(r, 0, size, h.crc))
        return false;
    if (!log_epoch_lines_allow(lines, h.leader_epoch, h.base_offset))
        return false;
    *ret_base = h.base_offset;
    *ret_epoch = h.leader_epoch;
    return true;
}

bool segment_tail_fits(struct segment_reader *r, struct log_segment *s, int64_t next_base,
                       int64_t gaps_below, int32_t *ret_epoch)
{
    struct batch_header h;
    uint32_t size;
    uint64_t position = 0;
    int64_t next = s->base_offset;
    int64_t max_timestamp = -1;
    if (s->index_count != 0)
        position = load_be32(s->index + (size_t)(s->index_count - 1) * LOG_INDEX_ENTRY_BYTES + 4);
    bool first = position != 0;
    if (s->time_count != 0)
        max_timestamp =
            (int64_t)load_be64(s->time_index + (size_t)(s->time_count - 1) * LOG_TIME_ENTRY_BYTES);
    if (s->size == 0 && next_base > gaps_below)
        return false;
    while (position < s->size) {
        if (!header_at(r, position, &h, &size))
            return false;
        if (h.base_offset < next ||
            (!first && h.base_offset != next && h.base_offset > gaps_below))
            return false;
        first = false;
        next = h.base_offset + h.last_offset_delta + 1;
        max_timestamp = TIDE_MAX(max_timestamp, h.max_timestamp);
        *ret_epoch = h.leader_epoch;
        position += size;
    }
    s->max_timestamp = max_timestamp;
    s->next_offset = next < next_base && next_base <= gaps_below ? next_base : next;
    return s->next_offset == next_base;
}

int segment_replay(struct segment_reader *r, const struct log_segment *s, uint64_t position,
                   int64_t from, void (*on_batch)(void *arg, const struct batch_header *),
                   void *arg)
{
    struct batch_header h;
    uint32_t size;
    for (; position < s->size; position += size) {
        if (!header_at(r, position, &h, &size))
            return r->error != 0 ? r->error : -EBADMSG;
        if (h.base_offset + h.last_offset_delta >= from)
            on_batch(arg, &h);
    }
    return 0;
}

/* ---- sealing ---- */

static int name_successor(const struct tide_fs *fs, const char *dir, int64_t *unnamed)
{
    char from[LOG_PATH_MAX];
    char to[LOG_PATH_MAX];
    int e = log_path(from, dir, LOG_PREPARED_NAME);
    if (e == 0)
        e = segment_path(to, dir, *unnamed, ".log");
    if (e == 0)
        e = fs->rename(fs->self, from, to);
    if (e == 0)
        *unnamed = -1;
    return e;
}

int segment_seal(const struct tide_fs *fs, const char *dir, struct log_segment *s,
                 int64_t *unnamed, const struct log_index *index)
{
    int e = 0;
    if (unnamed != NULL && *unnamed >= 0)
        e = name_successor(fs, dir, unnamed); /* S1 */
    if (e == 0 && unnamed != NULL)
        e = fs->sync_dir(fs->self, dir);
    if (e == 0)
        e = fs->truncate(fs->self, s->file, s->size); /* S2 */
    if (e == 0)
        e = fs->sync(fs->self, s->file);
    if (e == 0)
        e = segment_write_index(fs, dir, s->base_offset, index); /* S3 */
    if (e == 0)
        e = segment_map_index(fs, dir, s);
    if (e == 0)
        s->max_timestamp = index->max_time;
    return e;
}
