/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Life of a log, its jobs, and what it tells about itself. Opening is in recovery.c, appending and
 * writing in append.c, reading in read.c and lookup.c.
 *
 * Timers: one, now + LOG_SPACE_RETRY_MS after a job found the disk full; looked at by log_flush
 * and log_make_room, which the partition calls while it has work.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "log/append.h"
#include "log/internal.h"
#include "tidemark/assert.h"

#define TO(s) (1u << LOG_##s)
static const struct {
    const char *name;
    uint32_t next;
} log_states[LOG_STATE_COUNT] = {
    [LOG_NEW] = {"new", TO(OPEN) | TO(FAILED)},
    [LOG_OPEN] = {"open", TO(RUNNING) | TO(RELEASED) | TO(FAILED)},
    [LOG_RUNNING] = {"running", TO(CLOSING) | TO(FAILED)},
    [LOG_CLOSING] = {"closing", TO(RELEASED) | TO(FAILED)},
    [LOG_RELEASED] = {"released", TO(FAILED)},
    [LOG_FAILED] = {"failed", TO(FAILED)},
};

void log_move(struct log *log, enum log_state to)
{
    TIDE_ASSERT(log_states[log->state].next & (1u << to));
    log->state = to;
}

void log_fail(struct log *log)
{
    log_move(log, LOG_FAILED);
    tide_pub64_set(&log->failed_pub, 1);
    log->retry = true;
}

struct log *log_create(const struct log_config *config)
{
    size_t bytes = (sizeof(struct log) + TIDE_CACHE_LINE - 1) & ~(size_t)(TIDE_CACHE_LINE - 1);
    struct log *log = aligned_alloc(TIDE_CACHE_LINE, bytes);
    if (log == NULL)
        return NULL;
    memset(log, 0, bytes);
    log->config = *config;
    log->dir = strdup(config->dir);
    if (log->dir == NULL) {
        free(log);
        return NULL;
    }
    log->config.dir = log->dir;
    log->config.segment_bytes = TIDE_MIN(config->segment_bytes, (uint64_t)INT32_MAX - TIDE_BLOCK);
    log->config.preallocate_bytes =
        log_block_ceil(TIDE_MAX(config->preallocate_bytes, (uint64_t)TIDE_BLOCK));
    log->segment_cap = log_block_ceil(log->config.segment_bytes);
    log->extent = TIDE_MIN(log->config.preallocate_bytes, log->segment_cap);
    log->prepared_file = -1;
    log->first_timestamp = -1;
    log_index_init(&log->index[0], config->index_interval_bytes);
    log_index_init(&log->index[1], config->index_interval_bytes);
    for (uint32_t i = 0; i < LOG_RECENT; i++)
        tide_pub64_set(&log->recent[i].offset, UINT64_MAX);
    return log;
}

void log_destroy(struct log *log)
{
    const struct tide_fs *fs;
    if (log == NULL)
        return;
    fs = log->fs;
    for (uint32_t c = 0; c < LOG_SEGMENT_CHUNKS; c++) {
        struct log_segment_chunk *chunk =
            (struct log_segment_chunk *)(uintptr_t)tide_pub64_own(&log->chunks[c]);
        for (uint32_t i = 0; chunk != NULL && i < LOG_SEGMENTS_PER_CHUNK; i++) {
            struct log_segment *s = &chunk->segments[i];
            if (tide_pub64_own(&s->state) == LOG_SEGMENT_NONE)
                continue;
            segment_unmap_index(fs, s);
            fs->close(fs->self, s->file);
        }
        free(chunk);
    }
    if (log->prepared_file >= 0)
        fs->close(fs->self, log->prepared_file);
    log_index_deinit(&log->index[0]);
    log_index_deinit(&log->index[1]);
    free(log->spare_chunk);
    free(log->dir);
    free(log);
}

bool log_table_put(struct log *log, uint32_t n, const struct log_segment *s,
                   enum log_segment_state state)
{
    if (n >= LOG_SEGMENTS_PER_CHUNK * LOG_SEGMENT_CHUNKS)
        return false;
    struct tide_pub64 *chunk = &log->chunks[n / LOG_SEGMENTS_PER_CHUNK];
    if (tide_pub64_own(chunk) == 0) {
        if (log->spare_chunk == NULL)
            return false;
        tide_pub64_set(chunk, (uintptr_t)log->spare_chunk);
        log->spare_chunk = NULL;
    }
    struct log_segment *entry = log_segment_at(log, n);
    *entry = *s;
    tide_pub64_set(&entry->state, state);
    return true;
}

/* ---- with a core ---- */

void log_adopt(struct log *log, struct log_core *core)
{
    TIDE_ASSERT(log->state == LOG_OPEN);
    log->core = core;
    log->index[0].pool = log->index[1].pool = core->free_chunks;
    log->index[0].may_allocate = log->index[1].may_allocate = false;
    tide_pub64_set(&log->tail.size, core->config.tail_buffer_bytes);
    log_move(log, LOG_RUNNING);
    TIDE_ASSERT_SLOW((log_check(log), true));
}

static bool job_is_out(const struct log *log)
{
    return log->extend_job.out || log->prepare_job.out || log->seal_job.out || log->epoch_job.out;
}

bool log_release(struct log *log, struct tide_out *out)
{
    if (log->state == LOG_RELEASED)
        return true;
    if (log->state == LOG_OPEN) {
        log_move(log, LOG_RELEASED);
        return true;
    }
    if (log->state == LOG_RUNNING)
        log_move(log, LOG_CLOSING);
    if (log->state == LOG_CLOSING) {
        log_write_start(log, out);
        log_seal_start(log, out);
    }
    if (log->write.out || job_is_out(log))
        return false;
    if (log->state == LOG_CLOSING && (log_is_dirty(log) || log->seal_wanted))
        return false;
    tail_drop_all(log);
    log_core_relax(log->core);
    if (log->state == LOG_CLOSING)
        log_move(log, LOG_RELEASED);
    return true;
}

static int drop_prepared(struct log *log, const struct tide_fs *fs)
{
    char path[LOG_PATH_MAX];
    if (!log->prepared)
        return 0;
    log->prepared = false;
    fs->close(fs->self, log->prepared_file);
    log->prepared_file = -1;
    int e = log_path(path, log->dir, LOG_PREPARED_NAME);
    return e != 0 ? e : fs->unlink(fs->self, path);
}

int log_close(struct log *log, const struct tide_fs *fs)
{
    int e = -EIO;
    if (log->state == LOG_OPEN)
        log_move(log, LOG_RELEASED);
    if (log->state == LOG_RELEASED) {
        struct log_segment *s = log_segment_at(log, log->active);
        e = drop_prepared(log, fs);
        if (e == 0)
            e = fs->truncate(fs->self, s->file, log->position);
        if (e == 0)
            e = fs->sync(fs->self, s->file);
        if (e == 0)
            e = segment_write_index(fs, log->dir, s->base_offset, &log->index[log->active % 2]);
    }
    log_index_reset(&log->index[0], UINT64_MAX);
    log_index_reset(&log->index[1], UINT64_MAX);
    log->index[0].pool = log->index[1].pool = NULL;
    return e;
}

/* ---- jobs ---- */

/* Errors that go away when somebody makes room; anything else is the device's. */
static bool error_passes(int64_t e)
{
    return e == -ENOSPC || e == -EDQUOT || e == -EMFILE || e == -ENFILE || e == -ENOMEM;
}

bool log_space_is_missing(const struct log *log)
{
    return log->space_missing && log->now_ns < log->space_retry_ns;
}

static void job_start(struct log *log, struct tide_job *job, uint32_t kind, struct tide_out *out)
{
    job->kind = kind;
    job->owner = log->core->config.core;
    job->cookie = log->config.slot;
    job->result = -EINPROGRESS;
    tide_out_job(out, job);
}

static void extend_run(struct tide_job *job, const struct tide_fs *fs)
{
    struct log_extend_job *j = (struct log_extend_job *)job;
    job->result = segment_zero(fs, j->file, j->from, j->to);
}

void log_extend_start(struct log *log, uint64_t need, struct tide_out *out)
{
    struct log_extend_job *j = &log->extend_job;
    if (j->out || log_space_is_missing(log) || !tide_out_has_job_room(out))
        return;
    uint64_t to = TIDE_MAX(log->zeroed_end + log->extent, log_block_ceil(need));
    to = TIDE_MIN(to, log->segment_cap);
    if (to <= log->zeroed_end)
        return;
    j->job.run = extend_run;
    j->file = log_segment_at(log, log->active)->file;
    j->segment = log->active;
    j->from = log->zeroed_end;
    j->to = to;
    j->out = true;
    job_start(log, &j->job, JOB_LOG_EXTEND, out);
}

static void prepare_run(struct tide_job *job, const struct tide_fs *fs)
{
    struct log_prepare_job *j = (struct log_prepare_job *)job;
    char path[LOG_PATH_MAX];
    int e = log_path(path, j->dir, LOG_PREPARED_NAME);
    if (e == 0 && j->wants_chunk) {
        j->ret_chunk = calloc(1, sizeof(*j->ret_chunk));
        if (j->ret_chunk == NULL)
            e = -ENOMEM;
    }
    if (e == 0)
        e = segment_create(fs, j->dir, path, j->bytes);
    j->ret_file = e >= 0 ? e : -1;
    job->result = TIDE_MIN(e, 0);
}

void log_prepare_start(struct log *log, struct tide_out *out)
{
    struct log_prepare_job *j = &log->prepare_job;
    if (log->prepared || j->out || log->seal_wanted || log->seal_job.out)
        return; /* the name is still taken, or is already made */
    if (log_space_is_missing(log) || !tide_out_has_job_room(out))
        return;
    uint32_t next = log->active + 1;
    if (next >= LOG_SEGMENTS_PER_CHUNK * LOG_SEGMENT_CHUNKS)
        return;
    j->job.run = prepare_run;
    j->dir = log->dir;
    j->bytes = TIDE_MIN(log->extent, log->segment_cap);
    j->wants_chunk = log->spare_chunk == NULL &&
                     tide_pub64_own(&log->chunks[next / LOG_SEGMENTS_PER_CHUNK]) == 0;
    j->ret_chunk = NULL;
    j->out = true;
    job_start(log, &j->job, JOB_LOG_PREPARE, out);
}

static void seal_run(struct tide_job *job, const struct tide_fs *fs)
{
    struct log_seal_job *j = (struct log_seal_job *)job;
    job->result = segment_seal(fs, j->dir, &j->segment, j->next_base, j->index);
}

/* The old segment's bytes must all be written, and nobody may be extending its file. */
bool log_seal_is_due(const struct log *log)
{
    return log->seal_wanted && !log->seal_job.out && log->written_segment == log->active &&
           !(log->extend_job.out && log->extend_job.segment != log->active);
}

void log_seal_start(struct log *log, struct tide_out *out)
{
    struct log_seal_job *j = &log->seal_job;
    if (!log_seal_is_due(log) || log->state == LOG_FAILED || !tide_out_has_job_room(out))
        return;
    uint32_t n = log->active - 1;
    j->job.run = seal_run;
    j->dir = log->dir;
    j->segment = *log_segment_at(log, n);
    j->next_base = log_segment_at(log, log->active)->base_offset;
    j->index = &log->index[n % 2];
    j->out = true;
    job_start(log, &j->job, JOB_LOG_SEAL, out);
}

static void epoch_run(struct tide_job *job, const struct tide_fs *fs)
{
    struct log_epoch_job *j = (struct log_epoch_job *)job;
    job->result = log_epoch_lines_store(&j->lines, fs, j->dir);
}

enum tide_status log_begin_epoch(struct log *log, int32_t epoch, struct tide_out *out)
{
    struct log_epoch_job *j = &log->epoch_job;
    int32_t last = log_epochs_last(&log->epochs);
    if (log->state == LOG_FAILED)
        return TIDE_IO;
    if (epoch < 0 || epoch < last || log->state != LOG_RUNNING)
        return TIDE_REFUSED;
    if (j->out)
        return TIDE_AGAIN;
    if (epoch == last)
        return TIDE_OK;
    if (!tide_out_has_job_room(out) || log_space_is_missing(log))
        return TIDE_AGAIN;
    log_epochs_get(&log->epochs, &j->lines);
    log_epoch_lines_add(&j->lines, epoch, log->next_offset);
    j->job.run = epoch_run;
    j->dir = log->dir;
    j->out = true;
    job_start(log, &j->job, JOB_LOG_EPOCH, out);
    return TIDE_AGAIN;
}

static void on_extended(struct log *log)
{
    const struct log_extend_job *j = &log->extend_job;
    if (j->segment != log->active)
        return; /* rolled in between; sealing cuts the old file to its size */
    log->zeroed_end = j->to;
    log->extent = TIDE_MIN(2 * log->extent, LOG_EXTENT_GROWTH * log->config.preallocate_bytes);
}

static void on_prepared(struct log *log)
{
    log->prepared = true;
    log->prepared_file = log->prepare_job.ret_file;
    log->prepared_bytes = log->prepare_job.bytes;
}

static void on_sealed(struct log *log)
{
    const struct log_segment *done = &log->seal_job.segment;
    struct log_segment *s = log_segment_at(log, log->active - 1);
    s->max_timestamp = done->max_timestamp;
    s->index = done->index;
    s->time_index = done->time_index;
    s->index_count = done->index_count;
    s->time_count = done->time_count;
    tide_pub64_set(&s->state, LOG_SEGMENT_CLOSED);
    log_index_reset(&log->index[(log->active - 1) % 2], UINT64_MAX);
    log->seal_wanted = false;
}

void log_on_job(struct log *log, struct tide_job *job)
{
    bool ok = job->result == 0;
    log->retry = true;
    if (job == &log->extend_job.job) {
        log->extend_job.out = false;
        if (ok)
            on_extended(log);
    } else if (job == &log->prepare_job.job) {
        log->prepare_job.out = false;
        if (log->spare_chunk == NULL)
            log->spare_chunk = log->prepare_job.ret_chunk;
        if (ok)
            on_prepared(log);
    } else if (job == &log->seal_job.job) {
        log->seal_job.out = false;
        if (ok)
            on_sealed(log);
        else
            job->result = -EIO; /* half done: only recovery knows how far */
    } else if (job == &log->epoch_job.job) {
        log->epoch_job.out = false;
        if (ok)
            log_epochs_set(&log->epochs, &log->epoch_job.lines);
    } else {
        (void)TIDE_EXPECT(!"a job of this log");
        return;
    }
    if (ok) {
        log->space_missing = false;
    } else if (error_passes(job->result)) {
        log->space_missing = true;
        log->space_retry_ns = log->now_ns + LOG_SPACE_RETRY_MS * TIDE_NS_PER_MS;
    } else if (log->state != LOG_FAILED) {
        log_fail(log);
    }
}

/* ---- what it tells ---- */

bool log_wants_retry(struct log *log)
{
    bool retry = log->retry;
    log->retry = false;
    return retry;
}

int64_t log_next_offset(const struct log *log)
{
    return log->next_offset;
}

int64_t log_durable_end(const struct log *log)
{
    return log->durable_end;
}

bool log_is_failed(const struct log *log)
{
    return tide_pub64_peek(&log->failed_pub) != 0;
}

const char *log_recovery_label(const struct log *log)
{
    return log->recovery_label;
}

int64_t log_start_offset(const struct log *log)
{
    return log_segment_at(log, 0)->base_offset;
}

int64_t log_size_bytes(const struct log *log)
{
    uint64_t closed = tide_pub64_peek(&log->closed_bytes);
    return (int64_t)(closed + log_end_position(tide_pub64_peek(&log->end_pub)));
}

void log_end_for_epoch(struct log *log, int32_t epoch, int32_t *ret_epoch, int64_t *ret_end)
{
    log_epochs_end_for(&log->epochs, epoch, (int64_t)tide_pub64_peek(&log->next_pub), ret_epoch,
                       ret_end);
}

int32_t log_last_epoch(struct log *log)
{
    return log_epochs_last(&log->epochs);
}

uint32_t log_batch_bytes_max(const struct log *log)
{
    const struct log_core_config *c = &log->core->config;
    uint64_t window = c->tail_buffer_bytes;
    uint64_t views = TIDE_MIN(c->views, (uint32_t)LOG_VIEWS_PER_READ);
    uint64_t views_per_window = (window + LOG_VIEW_BYTES - 1) / LOG_VIEW_BYTES;
    uint64_t windows = TIDE_MIN(LOG_TAIL_SLOTS - 1, views / views_per_window);
    windows = TIDE_MIN(windows, (uint64_t)c->tail_buffers / 2 + 1);
    uint64_t max = (windows - 1) * window;
    uint64_t buffers = TIDE_MIN((uint64_t)TIDE_ARRAY_LEN(((struct log_read *)NULL)->buffers),
                                (uint64_t)c->read_buffers);
    max = TIDE_MIN(max, buffers * c->read_buffer_bytes - 2 * TIDE_BLOCK);
    max = TIDE_MIN(max, (views - buffers) * LOG_VIEW_BYTES);
    return (uint32_t)TIDE_MIN(max, log->config.segment_bytes);
}

static void check_segments(const struct log *log)
{
    for (uint32_t n = 0; n <= log->active; n++) {
        const struct log_segment *s = log_segment_at(log, n);
        uint64_t state = tide_pub64_own(&s->state);
        if (n == log->active) {
            TIDE_ASSERT(state == LOG_SEGMENT_ACTIVE);
        } else {
            TIDE_ASSERT(state == LOG_SEGMENT_CLOSED ||
                        (n + 1 == log->active && log->seal_wanted));                /* L7 */
            TIDE_ASSERT(s->next_offset <= log_segment_at(log, n + 1)->base_offset); /* L6 */
        }
    }
}

void log_check(const struct log *log)
{
    if (log->state == LOG_NEW || log->state == LOG_FAILED)
        return;
    TIDE_ASSERT(log->written_segment <= log->active); /* L1 */
    if (log->written_segment == log->active)
        TIDE_ASSERT(log->written <= log->position); /* L1 */
    else
        TIDE_ASSERT(log->written <= log_segment_at(log, log->written_segment)->size); /* L1 */
    TIDE_ASSERT(log->position <= log->zeroed_end);                                    /* L2 */
    TIDE_ASSERT(log->zeroed_end <=
                TIDE_MAX(log->segment_cap, log_block_ceil(log->position))); /* L2 */
    TIDE_ASSERT(log->durable_end <= log->next_offset);                      /* L3 */
    TIDE_ASSERT(log_is_dirty(log) || log->durable_end == log->next_offset); /* L3 */
    if (log_is_dirty(log) && log->state != LOG_RELEASED) {
        uint32_t room;
        uint64_t base = log_segment_at(log, log->written_segment)->tail_base;
        TIDE_ASSERT(tail_at(log, base, log_block_floor(log->written), &room) != NULL); /* L4 */
    }
    if (log->write.out)
        TIDE_ASSERT(log->write.start == log_block_floor(log->written)); /* L5 */
    log_index_check(&log->index[log->active % 2]);
    log_epochs_check(&log->epochs);
    check_segments(log);
}
