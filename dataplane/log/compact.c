/* SPDX-License-Identifier: Apache-2.0 */
#include "log/compact.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/append.h"
#include "log/clean.h"
#include "log/internal.h"
#include "tidemark/assert.h"

struct compact_segment {
    uint32_t number;
    struct log_segment *pinned;
    int64_t base;
    int64_t next; /* base of its successor */
};

enum compact_step { STEP_MAP, STEP_CLEAN, STEP_DONE };

struct compaction {
    /* set by the home core before the first slice */
    struct compact_segment segments[LOG_COMPACT_SEGMENTS];
    uint32_t count;
    uint32_t first_dirty;
    struct log_cleaner cleaner; /* as it is on the disk */
    int64_t now_ms;
    int64_t delete_retention_ms;
    int64_t *producer_ends;
    uint32_t producer_end_count;
    bool every_producer;
    uint32_t index_interval;

    /* [helper] */
    enum compact_step step;
    struct clean_map *map;
    struct clean_scratch *scratch;
    struct segment_reader reader;
    bool reading;
    uint32_t at;       /* in segments */
    uint64_t position; /* in that segment */
    int64_t map_end;
    int64_t last_offset; /* of the last batch below map_end */
    bool gaps_stored;
    uint8_t *batch;
    size_t batch_room;
    struct log_index *index; /* of the segment that is written */
    int out;                 /* handle, -1 */
    uint64_t written;
    int64_t out_max_timestamp;
    uint8_t *buffer; /* of LOG_SCAN_BYTES, towards `out` */
    uint32_t buffered;

    /* of the last slice, for the home core */
    uint64_t slice_bytes;
    bool broken;
    struct log_segment *ret_segment;
    uint32_t ret_number;
};

/* ---- the checkpoint ---- */

int log_cleaner_store(const struct tide_fs *fs, const char *dir, const struct log_cleaner *k)
{
    char text[160];
    int n = snprintf(text, sizeof(text),
                     "0\n%" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 "\n",
                     k->gaps_below, k->clean_below, k->cut_end, k->cut_base, k->cut_position);
    n += snprintf(text + n, sizeof(text) - (size_t)n, "%08" PRIx32 "\n",
                  batch_crc_update(0, text, (size_t)n));
    return log_file_replace(fs, dir, LOG_CLEANER_NAME, text, (size_t)n);
}

int log_cleaner_load(const struct tide_fs *fs, const char *dir, struct log_cleaner *ret)
{
    static const struct log_cleaner none = {.cut_end = -1, .cut_base = -1, .cut_position = -1};
    struct log_cleaner k;
    char *text;
    size_t len;
    int used = 0;
    char sum[16];
    *ret = none;
    int e = log_file_load(fs, dir, LOG_CLEANER_NAME, 160, &text, &len);
    if (e == -ENOENT)
        return 0;
    if (e != 0)
        return e == -EFBIG ? -EBADMSG : e;
    if (sscanf(text, "0\n%" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 "\n%n",
               &k.gaps_below, &k.clean_below, &k.cut_end, &k.cut_base, &k.cut_position,
               &used) != 5 ||
        used == 0 || k.gaps_below < 0 || k.clean_below < 0)
        e = -EBADMSG;
    snprintf(sum, sizeof(sum), "%08" PRIx32 "\n", batch_crc_update(0, text, (size_t)used));
    if (e == 0 && strcmp(text + used, sum) != 0)
        e = -EBADMSG;
    free(text);
    if (e == 0)
        *ret = k;
    return e;
}

/* ---- memory [helper] ---- */

static void compaction_free(const struct tide_fs *fs, struct compaction *c)
{
    if (c == NULL)
        return;
    if (c->out >= 0)
        fs->close(fs->self, c->out);
    if (c->reading)
        segment_reader_deinit(&c->reader);
    if (c->index != NULL)
        log_index_deinit(c->index);
    clean_map_destroy(c->map);
    clean_scratch_destroy(c->scratch);
    free(c->index);
    free(c->producer_ends);
    free(c->batch);
    free(c->buffer);
    free(c);
}

static void make_run(struct tide_job *job, const struct tide_fs *fs)
{
    struct log_compact_job *j = (struct log_compact_job *)job;
    struct compaction *c = calloc(1, sizeof(*c));
    job->result = -ENOMEM;
    if (c == NULL)
        return;
    c->out = -1;
    c->map = clean_map_create(j->map_bytes);
    c->scratch = clean_scratch_create();
    c->index = calloc(1, sizeof(*c->index));
    c->buffer = malloc(LOG_SCAN_BYTES);
    c->producer_ends = calloc(LOG_COMPACT_PRODUCERS, sizeof(int64_t));
    if (c->map == NULL || c->scratch == NULL || c->index == NULL || c->buffer == NULL ||
        c->producer_ends == NULL) {
        compaction_free(fs, c);
        return;
    }
    j->c = c;
    job->result = 0;
}

static void free_run(struct tide_job *job, const struct tide_fs *fs)
{
    struct log_compact_job *j = (struct log_compact_job *)job;
    compaction_free(fs, j->c);
    j->c = NULL;
    job->result = 0;
}

/* ---- batches [helper] ---- */

static int begin_reading(struct compaction *c, const struct tide_fs *fs)
{
    const struct log_segment *s = c->segments[c->at].pinned;
    int e = segment_reader_init(&c->reader, fs, s->file, s->size);
    c->reading = e == 0;
    c->position = 0;
    return e;
}

static void end_reading(struct compaction *c)
{
    segment_reader_deinit(&c->reader);
    c->reading = false;
    c->at++;
}

/* The whole batch at the position, in c->batch: 1; 0 at the end; -errno. What is rotten is not
 * copied, and not compacted. */
static int next_batch(struct compaction *c, struct batch_header *h, uint32_t *ret_size)
{
    const struct log_segment *s = c->segments[c->at].pinned;
    if (c->position == s->size)
        return 0;
    const uint8_t *bytes = segment_read(&c->reader, c->position, BATCH_HEADER);
    if (bytes == NULL)
        return c->reader.error != 0 ? c->reader.error : -EILSEQ;
    if (!log_header_parse(bytes, s->size - c->position, h, ret_size))
        return -EILSEQ;
    if (*ret_size > c->batch_room) {
        uint8_t *room = realloc(c->batch, *ret_size);
        if (room == NULL)
            return -ENOMEM;
        c->batch = room;
        c->batch_room = *ret_size;
    }
    for (uint32_t done = 0; done < *ret_size;) {
        uint32_t n = TIDE_MIN(*ret_size - done, (uint32_t)(LOG_SCAN_BYTES - TIDE_BLOCK));
        bytes = segment_read(&c->reader, c->position + done, n);
        if (bytes == NULL)
            return c->reader.error != 0 ? c->reader.error : -EILSEQ;
        memcpy(c->batch + done, bytes, n);
        done += n;
    }
    c->slice_bytes += *ret_size;
    if (batch_crc_update(0, c->batch + BATCH_ATTRIBUTES, *ret_size - BATCH_ATTRIBUTES) != h->crc)
        return -EILSEQ;
    return 1;
}

static bool slice_is_over(const struct compaction *c)
{
    return c->slice_bytes >= LOG_COMPACT_SLICE;
}

/* ---- the map [helper] ---- */

/* One batch: 1; 0 at the end of the segment; -errno, -ENOSPC when the map is full. */
static int map_one(struct compaction *c)
{
    struct batch_header h;
    uint32_t size;
    int e = next_batch(c, &h, &size);
    if (e <= 0)
        return e;
    if (batch_last_offset(&h) >= c->cleaner.clean_below) {
        e = clean_learn(c->map, c->scratch, &h, c->batch, size);
        if (e == 0) {
            c->map_end = h.base_offset;
            return -ENOSPC;
        }
        if (e < 0)
            return e;
    }
    c->last_offset = batch_last_offset(&h);
    c->position += size;
    return 1;
}

static int map_on(struct compaction *c, const struct tide_fs *fs)
{
    bool full = false;
    while (c->at < c->count && !full) {
        int e = c->reading ? 0 : begin_reading(c, fs);
        if (e == 0)
            e = map_one(c);
        full = e == -ENOSPC;
        if (e < 0 && !full)
            return e;
        if (e == 0)
            c->map_end = c->segments[c->at].next;
        if (e == 0 || full)
            end_reading(c);
        if (slice_is_over(c) && c->at < c->count && !full)
            return 0;
    }
    if (c->map_end <= c->cleaner.clean_below)
        return -ENOSPC; /* not even one batch fits */
    c->step = STEP_CLEAN;
    c->at = 0;
    return 0;
}

/* ---- a segment [helper] ---- */

static int out_flush(struct compaction *c, const struct tide_fs *fs)
{
    for (uint32_t done = 0; done < c->buffered;) {
        int64_t n = fs->pwrite(fs->self, c->out, c->buffer + done, c->buffered - done,
                               c->written + done);
        if (n <= 0)
            return n < 0 ? (int)n : -EIO;
        done += (uint32_t)n;
    }
    c->written += c->buffered;
    c->slice_bytes += c->buffered;
    c->buffered = 0;
    return 0;
}

static int out_put(struct compaction *c, const struct tide_fs *fs, const uint8_t *bytes, size_t len)
{
    while (len != 0) {
        size_t n = TIDE_MIN(len, (size_t)(LOG_SCAN_BYTES - c->buffered));
        memcpy(c->buffer + c->buffered, bytes, n);
        c->buffered += (uint32_t)n;
        bytes += n;
        len -= n;
        if (c->buffered == LOG_SCAN_BYTES) {
            int e = out_flush(c, fs);
            if (e != 0)
                return e;
        }
    }
    return 0;
}

static int out_batch(struct compaction *c, const struct tide_fs *fs, const struct batch_header *h,
                     const uint8_t *bytes, uint32_t size)
{
    int64_t base = c->segments[c->at].base;
    log_index_add(c->index, (uint32_t)(batch_last_offset(h) - base),
                  (uint32_t)(c->written + c->buffered), size, h->max_timestamp);
    c->out_max_timestamp = TIDE_MAX(c->out_max_timestamp, h->max_timestamp);
    return out_put(c, fs, bytes, size);
}

static int cleaned_path(char path[LOG_PATH_MAX], const char *dir, int64_t base)
{
    return segment_path(path, dir, base, ".log.cleaned");
}

/* Opens the new file and copies what comes before c->position, unchanged so far. */
static int out_begin(struct compaction *c, const struct tide_fs *fs, const char *dir)
{
    char path[LOG_PATH_MAX];
    struct batch_header h;
    uint32_t size;
    uint64_t upto = c->position;
    int e = cleaned_path(path, dir, c->segments[c->at].base);
    if (e == 0)
        e = fs->unlink(fs->self, path);
    if (e != 0 && e != -ENOENT)
        return e;
    c->out = fs->open(fs->self, path, TIDE_FS_WRITE | TIDE_FS_CREATE | TIDE_FS_EXCL);
    if (c->out < 0)
        return c->out;
    c->written = c->buffered = 0;
    c->out_max_timestamp = -1;
    log_index_deinit(c->index);
    log_index_init(c->index, c->index_interval);
    log_index_reset(c->index, c->segments[c->at].number);
    c->index->may_allocate = true;
    e = 0;
    for (c->position = 0; e == 0 && c->position < upto; c->position += size) {
        e = next_batch(c, &h, &size);
        if (e == 1)
            e = out_batch(c, fs, &h, c->batch, size);
        else if (e == 0)
            e = -EILSEQ;
    }
    return e;
}

/* K2 to K5. */
static int out_end(struct compaction *c, const struct tide_fs *fs, const char *dir)
{
    const struct compact_segment *was = &c->segments[c->at];
    char from[LOG_PATH_MAX];
    char to[LOG_PATH_MAX];
    struct log_segment *s = segment_alloc();
    int e = s == NULL ? -ENOMEM : out_flush(c, fs);
    if (e == 0)
        e = fs->sync(fs->self, c->out);
    fs->close(fs->self, c->out);
    c->out = -1;
    if (e == 0)
        e = cleaned_path(from, dir, was->base);
    if (e == 0)
        e = segment_path(to, dir, was->base, ".log");
    if (e == 0 && !c->gaps_stored) {
        c->cleaner.gaps_below = TIDE_MAX(c->cleaner.gaps_below, c->map_end);
        e = log_cleaner_store(fs, dir, &c->cleaner);
        c->gaps_stored = e == 0;
    }
    if (e == 0) {
        *s = (struct log_segment){.id = s->id,
                                  .base_offset = was->base,
                                  .tail_base = UINT64_MAX,
                                  .size = (uint32_t)c->written,
                                  .next_offset = was->next,
                                  .max_timestamp = c->out_max_timestamp,
                                  .gaps = true};
        s->file = fs->open(fs->self, from, TIDE_FS_READ | TIDE_FS_WRITE | TIDE_FS_DIRECT);
        e = TIDE_MIN(s->file, 0);
    }
    if (e != 0) {
        free(s);
        return e;
    }
    c->broken = true; /* from here on the files are ahead of the table */
    e = segment_remove_index(fs, dir, was->base);
    if (e == 0)
        e = fs->rename(fs->self, from, to);
    if (e == 0)
        e = fs->sync_dir(fs->self, dir);
    if (e == 0)
        e = segment_write_index(fs, dir, was->base, c->index);
    if (e == 0)
        e = segment_map_index(fs, dir, s);
    if (e != 0) {
        fs->close(fs->self, s->file);
        free(s);
        return e;
    }
    c->broken = false;
    c->ret_segment = s;
    c->ret_number = was->number;
    return 0;
}

static int clean_one(struct compaction *c, const struct tide_fs *fs, const char *dir,
                     const struct clean_rules *rules)
{
    struct batch_header h;
    uint32_t size;
    const uint8_t *changed;
    uint32_t changed_size;
    int e = next_batch(c, &h, &size);
    if (e <= 0)
        return e;
    int what = clean_batch(rules, c->scratch, &h, c->batch, size, &changed, &changed_size);
    if (what < 0)
        return what;
    if (what != CLEAN_SAME && c->out < 0) {
        /* The batch itself is overwritten while the ones before it are copied. */
        e = out_begin(c, fs, dir);
        if (e < 0)
            return e;
        e = next_batch(c, &h, &size);
        if (e != 1)
            return e < 0 ? e : -EILSEQ;
    }
    c->position += size;
    if (what == CLEAN_GONE || c->out < 0)
        return 1;
    if (what == CLEAN_CHANGED) {
        batch_header_parse(changed, &h);
        e = out_batch(c, fs, &h, changed, changed_size);
    } else {
        e = out_batch(c, fs, &h, c->batch, size);
    }
    return e == 0 ? 1 : e;
}

/* Ends with the slice, with a segment that is to be replaced, or when all is clean. */
static int clean_on(struct compaction *c, const struct tide_fs *fs, const char *dir)
{
    struct clean_rules rules = {.map = c->map,
                                .end = c->map_end,
                                .now_ms = c->now_ms,
                                .delete_retention_ms = c->delete_retention_ms,
                                .producer_ends = c->producer_ends,
                                .producer_end_count = c->producer_end_count,
                                .every_producer = c->every_producer,
                                .last_offset = c->last_offset};
    while (c->at < c->count && c->segments[c->at].base < c->map_end) {
        int e = c->reading ? 0 : begin_reading(c, fs);
        while (e == 0 && !slice_is_over(c)) {
            e = clean_one(c, fs, dir, &rules);
            if (e == 0)
                break;
            e = TIDE_MIN(e, 0);
        }
        if (e != 0)
            return e;
        if (c->position != c->segments[c->at].pinned->size)
            return 0; /* the slice is over */
        bool changed = c->out >= 0;
        if (changed)
            e = out_end(c, fs, dir);
        if (e != 0)
            return e;
        end_reading(c);
        if (changed)
            return 0;
    }
    c->step = STEP_DONE;
    c->cleaner.clean_below = c->map_end;
    return log_cleaner_store(fs, dir, &c->cleaner); /* K7 */
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void slice_run(struct tide_job *job, const struct tide_fs *fs)
{
    struct log_compact_job *j = (struct log_compact_job *)job;
    struct compaction *c = j->c;
    int e = 0;
    c->slice_bytes = 0;
    if (c->step == STEP_MAP && c->at == c->first_dirty && c->position == 0)
        qsort(c->producer_ends, c->producer_end_count, sizeof(int64_t), by_value);
    if (c->step == STEP_MAP)
        e = map_on(c, fs);
    else if (c->step == STEP_CLEAN)
        e = clean_on(c, fs, j->dir);
    job->result = e;
}

/* ---- the home core ---- */

/* Segments that may be cleaned now: [first, end) by number. */
static uint32_t cleanable_end(const struct log *log, int64_t limit, int64_t min_lag_ms,
                              int64_t now_ms)
{
    uint32_t n = log_first(log);
    for (; n < log->active && n - log_first(log) < LOG_COMPACT_SEGMENTS; n++) {
        const struct log_segment *s = log_segment_at(log, n);
        if (tide_pub64_own(&s->state) != LOG_SEGMENT_CLOSED ||
            log_segment_at(log, n + 1)->base_offset > limit)
            break;
        if (min_lag_ms > 0 &&
            (now_ms < s->max_timestamp || now_ms - s->max_timestamp <= min_lag_ms))
            break;
    }
    return n;
}

static bool is_worth_it(const struct log *log, const struct log_compaction *p, uint32_t end)
{
    uint64_t clean = 0;
    uint64_t dirty = 0;
    bool late = false;
    for (uint32_t n = log_first(log); n < end; n++) {
        const struct log_segment *s = log_segment_at(log, n);
        if (log_segment_at(log, n + 1)->base_offset <= log->cleaner.clean_below) {
            clean += s->size;
            continue;
        }
        dirty += s->size;
        late = late || (p->max_lag_ms != INT64_MAX && p->now_ms > s->max_timestamp &&
                        p->now_ms - s->max_timestamp > p->max_lag_ms);
    }
    return dirty != 0 &&
           (late || (double)dirty * 1e6 >= (double)p->min_ratio_ppm * (double)(clean + dirty));
}

static void phase_start(struct log *log, void (*run)(struct tide_job *, const struct tide_fs *),
                        struct tide_out *out)
{
    struct log_compact_job *j = &log->compact_job;
    j->job.run = run;
    j->out = true;
    log_job_start(log, &j->job, JOB_LOG_COMPACT, out);
}

void log_compact(struct log *log, const struct log_compaction *p, struct tide_out *out)
{
    struct log_compact_job *j = &log->compact_job;
    struct log_core *core = log->core;
    if (log->state != LOG_RUNNING || j->phase != COMPACT_IDLE || j->broken || core->compacting ||
        log->truncate_wanted >= 0 || log_trim_is_pending(log) || !tide_out_has_job_room(out))
        return;
    int64_t limit = TIDE_MIN(p->limit, log_active_base(log));
    uint32_t end = cleanable_end(log, limit, p->min_lag_ms, p->now_ms);
    if (!is_worth_it(log, p, end))
        return;
    j->stop = false;
    j->phase = COMPACT_MAKING;
    j->limit = limit;
    j->min_lag_ms = p->min_lag_ms;
    j->now_ms = p->now_ms;
    j->delete_retention_ms = p->delete_retention_ms;
    j->bytes_per_second = p->bytes_per_second;
    j->map_bytes = p->map_bytes;
    j->dir = log->dir;
    j->c = NULL;
    j->has_turn = core->compacting = true;
    core->compact_producer_count = TIDE_MIN(p->producer_end_count, (uint32_t)LOG_COMPACT_PRODUCERS);
    core->compact_every_producer = p->producer_end_count > LOG_COMPACT_PRODUCERS;
    for (uint32_t i = 0; i < core->compact_producer_count; i++)
        core->compact_producers[i] = p->producer_ends[i];
    phase_start(log, make_run, out);
}

static void fill(struct log *log)
{
    struct log_compact_job *j = &log->compact_job;
    struct compaction *c = j->c;
    const struct log_core *core = log->core;
    uint32_t end = cleanable_end(log, j->limit, j->min_lag_ms, j->now_ms);
    for (uint32_t n = log_first(log); n < end; n++) {
        struct log_segment *s = log_segment_pin(log, n);
        if (!TIDE_EXPECT(s != NULL))
            break;
        int64_t next = log_segment_at(log, n + 1)->base_offset;
        if (next <= log->cleaner.clean_below)
            c->first_dirty = c->count + 1;
        c->segments[c->count++] = (struct compact_segment){
            .number = n, .pinned = s, .base = s->base_offset, .next = next};
    }
    c->at = c->first_dirty;
    c->cleaner = log->cleaner;
    c->last_offset = -1;
    c->now_ms = j->now_ms;
    c->delete_retention_ms = j->delete_retention_ms;
    c->index_interval = log->config.index_interval_bytes;
    c->every_producer = core->compact_every_producer;
    c->producer_end_count = core->compact_producer_count;
    memcpy(c->producer_ends, core->compact_producers,
           c->producer_end_count * sizeof(c->producer_ends[0]));
}

/* K6. Readers that hold the old one go on with it; its file is closed when the last one let go. */
static void replace_segment(struct log *log)
{
    struct compaction *c = log->compact_job.c;
    struct log_segment *s = c->ret_segment;
    struct log_segment *old = log_segment_at(log, c->ret_number);
    s->number = c->ret_number;
    atomic_init(&s->pins, 0);
    tide_pub64_set(&s->state, LOG_SEGMENT_CLOSED);
    log->cleaner.gaps_below = c->cleaner.gaps_below;
    tide_pub64_set(&log->gaps_pub, (uint64_t)log->cleaner.gaps_below);
    tide_pub64_set(log_segment_slot(log, c->ret_number), (uintptr_t)s);
    tide_pub64_set(&log->closed_bytes, tide_pub64_own(&log->closed_bytes) - old->size + s->size);
    tide_count_many(log->core->config.counters, COUNTER_log_compacted_bytes, old->size - s->size);
    log_segment_leave(log, old);
    c->ret_segment = NULL;
}

static void let_go(struct log *log)
{
    struct compaction *c = log->compact_job.c;
    for (uint32_t i = 0; c != NULL && i < c->count; i++)
        log_segment_unpin(c->segments[i].pinned);
    if (c != NULL)
        c->count = 0;
}

void log_compact_give_turn(struct log *log)
{
    if (log->compact_job.has_turn)
        log->core->compacting = false;
    log->compact_job.has_turn = false;
}

void log_compacted(struct log *log, struct tide_job *job)
{
    struct log_compact_job *j = &log->compact_job;
    struct compaction *c = j->c;
    j->out = false;
    switch (j->phase) {
    case COMPACT_MAKING:
        j->phase = COMPACT_RUNNING;
        j->next_ns = log->now_ns;
        if (job->result == 0)
            fill(log);
        else
            j->stop = true;
        break;
    case COMPACT_RUNNING:
        if (c->ret_segment != NULL)
            replace_segment(log);
        if (j->bytes_per_second > 0)
            j->next_ns = TIDE_MAX(j->next_ns, log->now_ns) +
                         (uint64_t)((double)c->slice_bytes * 1e9 / (double)j->bytes_per_second);
        if (c->step == STEP_DONE && job->result == 0) {
            log->cleaner = c->cleaner;
            tide_count(log->core->config.counters, COUNTER_log_compactions);
            j->stop = true;
        }
        if (job->result != 0) {
            tide_count(log->core->config.counters, COUNTER_log_compaction_errors);
            log->rot_met |= job->result == -EILSEQ;
            j->broken = j->broken || c->broken;
            j->stop = true;
        }
        break;
    case COMPACT_FREEING:
        j->phase = COMPACT_IDLE;
        log_compact_give_turn(log);
        break;
    case COMPACT_IDLE:
        (void)TIDE_EXPECT(!"a compaction is under way");
        break;
    }
    job->result = 0; /* the log itself goes on */
}

bool log_compact_is_due(const struct log *log)
{
    const struct log_compact_job *j = &log->compact_job;
    return j->phase == COMPACT_RUNNING && !j->out && (j->stop || log->now_ns + LOG_COMPACT_AHEAD_NS >= j->next_ns);
}

void log_compact_start(struct log *log, struct tide_out *out)
{
    struct log_compact_job *j = &log->compact_job;
    if (!log_compact_is_due(log) || !tide_out_has_job_room(out))
        return;
    if (j->stop) {
        let_go(log);
        j->phase = COMPACT_FREEING;
        phase_start(log, free_run, out);
    } else {
        phase_start(log, slice_run, out);
    }
}

bool log_compact_stop(struct log *log, struct tide_out *out)
{
    if (log->compact_job.phase == COMPACT_IDLE)
        return true;
    log->compact_job.stop = true;
    log_compact_start(log, out);
    return false;
}

bool log_take_rot(struct log *log)
{
    bool met = log->rot_met;
    log->rot_met = false;
    return met;
}

void log_compact_destroy(struct log *log)
{
    struct log_compact_job *j = &log->compact_job;
    struct compaction *c = j->c;
    if (c == NULL)
        return;
    if (c->ret_segment != NULL) {
        segment_unmap_index(log->fs, c->ret_segment);
        log->fs->close(log->fs->self, c->ret_segment->file);
        free(c->ret_segment);
    }
    compaction_free(log->fs, c);
    j->c = NULL;
}
