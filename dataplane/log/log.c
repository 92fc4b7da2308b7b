/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Life of a log, its jobs, and what it tells about itself. Opening is in recovery.c, appending and
 * writing in append.c, reading in read.c and lookup.c.
 *
 * Timers: one, now + LOG_SPACE_RETRY_MS after a job found the disk full; looked at by log_flush
 * and log_make_room, which the partition calls while it has work.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/ahead.h"
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
    if (to == LOG_FAILED || to == LOG_CLOSING)
        log_line_leave(log);
}

void log_fail(struct log *log)
{
    log_move(log, LOG_FAILED);
    if (log->core != NULL)
        log_compact_give_turn(log);
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
    log->config.segment_bytes = log->segment_wanted = TIDE_MIN(config->segment_bytes, (uint64_t)INT32_MAX - TIDE_BLOCK);
    log->config.preallocate_bytes =
        log_block_ceil(TIDE_MAX(config->preallocate_bytes, (uint64_t)TIDE_BLOCK));
    log->segment_cap = log_block_ceil(log->config.segment_bytes);
    log->ahead_max = log->config.preallocate_bytes;
    if (log->config.checkpoint_bytes == 0)
        log->config.checkpoint_bytes = LOG_CHECKPOINT_BYTES;
    log->prepared_file = log->prepare_job.ret_file = -1;
    log->first_timestamp = -1;
    log->trim_wanted = log->truncate_wanted = -1;
    log->closed_tail = &log->closed;
    log_index_init(&log->index[0], config->index_interval_bytes);
    log_index_init(&log->index[1], config->index_interval_bytes);
    for (uint32_t i = 0; i < LOG_RECENT; i++)
        tide_pub64_set(&log->recent[i].offset, UINT64_MAX);
    return log;
}

/* The active segment is empty: it may have the size that is wanted now. What is zeroed already stays. */
void log_take_segment_size(struct log *log)
{
    bool extending = log->extend_job.out && log->extend_job.segment == log->active;
    if (log->segment_wanted == log->config.segment_bytes || log->position != 0 || extending || log->truncate_job.out)
        return;
    log->config.segment_bytes = log->segment_wanted;
    log->segment_cap = TIDE_MAX(log_block_ceil(log->config.segment_bytes), log->zeroed_end);
}

void log_configure(struct log *log, uint64_t segment_bytes, int64_t segment_ms, uint32_t index_interval_bytes)
{
    log->config.segment_ms = segment_ms;
    log->config.index_interval_bytes = index_interval_bytes;
    log->index[0].interval = log->index[1].interval = index_interval_bytes; /* taken when an index begins anew */
    log->segment_wanted = TIDE_MIN(segment_bytes, (uint64_t)INT32_MAX - TIDE_BLOCK);
    if (log->state == LOG_RUNNING)
        log_take_segment_size(log);
}

static void segment_close(const struct tide_fs *fs, struct log_segment *s)
{
    segment_unmap_index(fs, s);
    fs->close(fs->self, s->file);
    s->file = -1;
}

static void free_list(struct log_segment *s)
{
    while (s != NULL) {
        struct log_segment *next = s->next;
        free(s);
        s = next;
    }
}

void log_destroy(struct log *log)
{
    const struct tide_fs *fs;
    if (log == NULL)
        return;
    TIDE_ASSERT(!log_is_read(log));
    fs = log->fs;
    log_compact_destroy(log);
    for (uint32_t c = 0; c < LOG_SEGMENT_CHUNKS; c++) {
        struct log_segment_chunk *chunk =
            (struct log_segment_chunk *)(uintptr_t)tide_pub64_own(&log->chunks[c]);
        for (uint32_t i = 0; chunk != NULL && i < LOG_SEGMENTS_PER_CHUNK; i++) {
            struct log_segment *s =
                (struct log_segment *)(uintptr_t)tide_pub64_own(&chunk->segments[i]);
            if (s == NULL || tide_pub64_own(&s->state) == LOG_SEGMENT_GONE)
                continue;
            segment_close(fs, s);
            s->next = log->closed;
            log->closed = s;
            tide_pub64_set(&s->state, LOG_SEGMENT_GONE); /* other slots may lead to it, too */
        }
        free(chunk);
    }
    for (struct log_segment *s = log->gone; s != NULL; s = s->next)
        segment_close(fs, s);
    /* What jobs made that never came back. */
    if (log->prepare_job.ret_file >= 0)
        fs->close(fs->self, log->prepare_job.ret_file);
    if (log->truncate_job.ret_segment != NULL)
        segment_close(fs, log->truncate_job.ret_segment);
    if (log->seal_job.out)
        segment_unmap_index(fs, &log->seal_job.segment);
    free(log->prepare_job.ret_chunk);
    free(log->prepare_job.ret_segment);
    free(log->truncate_job.ret_segment);
    for (uint32_t i = 0; i < log->reap_job.close_count; i++) {
        if (log->reap_job.close[i]->file >= 0)
            segment_close(fs, log->reap_job.close[i]);
        free(log->reap_job.close[i]);
    }
    for (uint32_t i = 0; i < log->reap_job.free_count; i++)
        free(log->reap_job.free[i]);
    free_list(log->gone);
    free_list(log->closed);
    free(log->spare_segment);
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
    struct tide_pub64 *chunk = &log->chunks[n / LOG_SEGMENTS_PER_CHUNK % LOG_SEGMENT_CHUNKS];
    struct log_segment *entry = log->spare_segment;
    if (n - log_first(log) >= LOG_SEGMENTS_MAX || entry == NULL)
        return false;
    if (tide_pub64_own(chunk) == 0) {
        if (log->spare_chunk == NULL)
            return false;
        tide_pub64_set(chunk, (uintptr_t)log->spare_chunk);
        log->spare_chunk = NULL;
    }
    uint64_t id = entry->id;
    log->spare_segment = NULL;
    *entry = *s;
    entry->id = id;
    entry->next = NULL;
    entry->number = n;
    atomic_init(&entry->pins, 0);
    tide_pub64_set(&entry->state, state);
    tide_pub64_set(log_segment_slot(log, n), (uintptr_t)entry);
    return true;
}

/* The pin comes before the second look at the state, with a fence between; log_segment_leave sets
 * the state, and whoever closes looks at the pins behind a fence. One of the two sees the other. */
struct log_segment *log_segment_pin(const struct log *log, uint32_t n)
{
    struct log_segment *s;
    struct log_segment *other = log_segment_at(log, n);
    do {
        s = other;
        if (s == NULL)
            return NULL;
        atomic_fetch_add_explicit(&s->pins, 1, memory_order_acquire);
        tide_fence();
        if (tide_pub64_peek(&s->state) != LOG_SEGMENT_GONE)
            return s;
        log_segment_unpin(s);
        other = log_segment_at(log, n);
    } while (other != s); /* replaced by compaction */
    return NULL;
}

void log_segment_unpin(struct log_segment *s)
{
    atomic_fetch_sub_explicit(&s->pins, 1, memory_order_release);
}

void log_segment_leave(struct log *log, struct log_segment *s)
{
    tide_pub64_set(&s->state, LOG_SEGMENT_GONE);
    s->next = log->gone;
    log->gone = s;
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

bool log_is_read(const struct log *log)
{
    return atomic_load_explicit(&log->aheads, memory_order_acquire) != 0;
}

static bool job_is_out(const struct log *log)
{
    return log->extend_job.out || log->prepare_job.out || log->seal_job.out || log->epoch_job.out ||
           log->trim_job.out || log->reap_job.out || log->truncate_job.out ||
           log->checkpoint_job.out || log->skip_job.out || log->compact_job.phase != COMPACT_IDLE;
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
    (void)log_compact_stop(log, out);
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

bool log_disk_is_full(const struct log *log)
{
    return log->refused_for_space;
}

bool log_space_is_missing(const struct log *log)
{
    return log->space_missing && log->now_ns < log->space_retry_ns;
}

void log_job_start(struct log *log, struct tide_job *job, uint32_t kind, struct tide_out *out)
{
    job->kind = kind;
    job->owner = log->core->config.core;
    job->cookie = log->config.slot;
    job->result = -EINPROGRESS;
    tide_out_job(out, job);
}

struct log_segment *segment_alloc(void)
{
    static _Atomic uint64_t ids;
    struct log_segment *s = calloc(1, sizeof(*s));
    if (s != NULL)
        s->id = 1 + atomic_fetch_add_explicit(&ids, 1, memory_order_relaxed);
    return s;
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
    if (e == 0 && j->wants_segment) {
        j->ret_segment = segment_alloc();
        if (j->ret_segment == NULL)
            e = -ENOMEM;
    }
    if (e == 0)
        e = segment_create(fs, j->dir, path, j->bytes, j->written);
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
    if (next - log_first(log) >= LOG_SEGMENTS_MAX)
        return;
    j->job.run = prepare_run;
    j->dir = log->dir;
    j->bytes = log->fed ? TIDE_MIN(log_ahead_piece(log), log->segment_cap) : 0; /* else it rolls by age */
    j->written = log->config.durable;
    j->wants_chunk = log->spare_chunk == NULL &&
                     tide_pub64_own(&log->chunks[next / LOG_SEGMENTS_PER_CHUNK %
                                                  LOG_SEGMENT_CHUNKS]) == 0;
    j->wants_segment = log->spare_segment == NULL;
    j->ret_file = -1;
    j->out = true;
    log_job_start(log, &j->job, JOB_LOG_PREPARE, out);
}

static void seal_run(struct tide_job *job, const struct tide_fs *fs)
{
    struct log_seal_job *j = (struct log_seal_job *)job;
    job->result = segment_seal(fs, j->dir, &j->segment, &j->unnamed, j->index);
}

/* The old segment's bytes must all be written, and nobody may be extending its file. */
bool log_seal_is_due(const struct log *log)
{
    return log->seal_wanted && !log->seal_job.out && log->written_segment == log->active &&
           !(log->state == LOG_RUNNING && log_space_is_missing(log)) &&
           !(log->extend_job.out && log->extend_job.segment < log->active);
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
    if (!j->again)
        j->unnamed = log_segment_at(log, log->active)->base_offset;
    j->index = &log->index[n % 2];
    j->out = true;
    log_job_start(log, &j->job, JOB_LOG_SEAL, out);
}

static void epoch_run(struct tide_job *job, const struct tide_fs *fs)
{
    struct log_epoch_job *j = (struct log_epoch_job *)job;
    job->result = log_epoch_lines_store(&j->lines, fs, j->dir);
}

/* It is not the last one yet. */
static __attribute__((noinline)) enum tide_status start_epoch(struct log *log, int32_t epoch, struct tide_out *out)
{
    struct log_epoch_job *j = &log->epoch_job;
    if (!tide_out_has_job_room(out) || log_space_is_missing(log)) {
        log->refused_for_space = log_space_is_missing(log);
        return TIDE_AGAIN;
    }
    log_epochs_get(&log->epochs, &j->lines);
    (void)log_epoch_lines_cut(&j->lines, log->next_offset - 1);
    if (log_epoch_lines_last(&j->lines) != epoch)
        log_epoch_lines_add(&j->lines, epoch, log->next_offset);
    j->job.run = epoch_run;
    j->dir = log->dir;
    j->out = true;
    log_job_start(log, &j->job, JOB_LOG_EPOCH, out);
    return TIDE_AGAIN;
}

enum tide_status log_begin_epoch(struct log *log, int32_t epoch, struct tide_out *out)
{
    bool is_last = epoch >= 0 && epoch == log_epochs_own_last(&log->epochs); /* then no batch has a later one */
    log->refused_for_space = false;
    if (log->state == LOG_FAILED)
        return TIDE_IO;
    if (log->state != LOG_RUNNING || (!is_last && (epoch < 0 || epoch < log_last_batch_epoch(log))))
        return TIDE_REFUSED;
    if (log->epoch_job.out || log->truncate_wanted >= 0 || log->skip_job.out)
        return TIDE_AGAIN;
    return is_last ? TIDE_OK : start_epoch(log, epoch, out);
}

/* ---- the start of the log ---- */

/* Oldest first, each removal durable before the next: what is left has no hole. */
static void trim_run(struct tide_job *job, const struct tide_fs *fs)
{
    struct log_trim_job *j = (struct log_trim_job *)job;
    int e = j->in_segment ? log_start_store(fs, j->dir, j->start) : 0;
    for (uint32_t i = 0; i < j->count && e == 0; i++)
        e = segment_remove(fs, j->dir, j->bases[i]);
    job->result = e;
}

/* How many of the oldest segments lie below `start` and may go. */
static uint32_t segments_below(const struct log *log, int64_t start)
{
    uint32_t first = log_first(log);
    uint32_t n = first;
    while (n < log->active && n - first < LOG_TRIM_MAX &&
           tide_pub64_own(&log_segment_at(log, n)->state) == LOG_SEGMENT_CLOSED &&
           log_segment_at(log, n + 1)->base_offset <= start)
        n++;
    return n - first;
}

bool log_trim_is_pending(const struct log *log)
{
    return log->trim_job.out || log->trim_wanted > log_start_offset(log) ||
           segments_below(log, log_start_offset(log)) != 0;
}

static bool trim_is_due(const struct log *log)
{
    return !log->trim_job.out && log->truncate_wanted < 0 && !log->skip_job.out && !log->compact_job.out &&
           log_trim_is_pending(log);
}

void log_trim_start(struct log *log, struct tide_out *out)
{
    struct log_trim_job *j = &log->trim_job;
    if (!trim_is_due(log) || !tide_out_has_job_room(out) || log->state != LOG_RUNNING)
        return;
    if (!log_compact_stop(log, out))
        return;
    j->start = TIDE_MAX(log->trim_wanted, log_start_offset(log));
    j->count = segments_below(log, j->start);
    for (uint32_t i = 0; i < j->count; i++)
        j->bases[i] = log_segment_at(log, log_first(log) + i)->base_offset;
    j->in_segment = log_segment_at(log, log_first(log) + j->count)->base_offset < j->start;
    j->job.run = trim_run;
    j->dir = log->dir;
    j->out = true;
    log_job_start(log, &j->job, JOB_LOG_TRIM, out);
}

enum tide_status log_trim(struct log *log, int64_t offset, struct tide_out *out)
{
    if (log->state == LOG_FAILED)
        return TIDE_IO;
    if (offset <= log_start_offset(log))
        return TIDE_OK;
    if (offset > log->next_offset || log->state != LOG_RUNNING)
        return TIDE_REFUSED;
    if (log_is_dirty(log) && offset > log->durable_end)
        return TIDE_AGAIN; /* a start behind what is on the device would be a hole after a crash */
    log->trim_wanted = TIDE_MAX(log->trim_wanted, offset);
    log_trim_start(log, out);
    return TIDE_AGAIN;
}

static void on_trimmed(struct log *log)
{
    struct log_trim_job *j = &log->trim_job;
    uint32_t first = log_first(log);
    uint64_t closed = tide_pub64_own(&log->closed_bytes);
    tide_pub64_set(&log->start_pub, (uint64_t)j->start);
    tide_pub64_set(&log->first_pub, first + j->count);
    for (uint32_t i = 0; i < j->count; i++) {
        struct log_segment *s = log_segment_at(log, first + i);
        closed -= s->size;
        if (i + 1 == j->count || log_segment_at(log, first + i + 1) != s)
            log_segment_leave(log, s);
    }
    tide_pub64_set(&log->closed_bytes, closed);
    tide_count_many(log->core->config.counters, COUNTER_log_segments_removed, j->count);
    if (log->trim_wanted <= j->start)
        log->trim_wanted = -1;
}

int64_t log_retention_start(const struct log *log, const struct log_retention *r)
{
    int64_t start = log_start_offset(log);
    uint64_t size = (uint64_t)log_size_bytes(log);
    for (uint32_t n = log_first(log); n < log->active; n++) {
        const struct log_segment *s = log_segment_at(log, n);
        int64_t next = log_segment_at(log, n + 1)->base_offset;
        if (tide_pub64_own(&s->state) != LOG_SEGMENT_CLOSED || next > r->limit)
            break;
        bool old = r->ms >= 0 && s->max_timestamp >= 0 && r->now_ms > s->max_timestamp &&
                   r->now_ms - s->max_timestamp > r->ms;
        bool large = r->bytes >= 0 && size >= (uint64_t)r->bytes + s->size;
        if (!old && !large && next > start)
            break;
        size -= s->size;
        start = TIDE_MAX(start, next);
    }
    return start;
}

void log_retention_roll(struct log *log, const struct log_retention *r)
{
    int64_t newest = log->index[log->active % 2].max_time;
    if (r->ms >= 0 && log->state == LOG_RUNNING && log->position != 0 && newest >= 0 &&
        log->next_offset <= r->limit && r->now_ms > newest && r->now_ms - newest > r->ms)
        log->roll_wanted = true;
}

/* ---- segments that are gone ---- */

static void reap_run(struct tide_job *job, const struct tide_fs *fs)
{
    struct log_reap_job *j = (struct log_reap_job *)job;
    for (uint32_t i = 0; i < j->close_count; i++)
        segment_close(fs, j->close[i]);
    for (uint32_t i = 0; i < j->free_count; i++)
        free(j->free[i]);
    job->result = 0;
}

static bool reap_is_due(const struct log *log)
{
    if (log->reap_job.out)
        return false;
    for (const struct log_segment *s = log->gone; s != NULL; s = s->next)
        if (atomic_load_explicit(&s->pins, memory_order_acquire) == 0)
            return true;
    return false;
}

void log_reap_start(struct log *log, struct tide_out *out)
{
    struct log_reap_job *j = &log->reap_job;
    if (log->gone == NULL || j->out || !tide_out_has_job_room(out))
        return;
    j->close_count = j->free_count = 0;
    tide_fence(); /* pairs with the one in log_segment_pin */
    for (struct log_segment **at = &log->gone; *at != NULL && j->close_count < LOG_REAP_MAX;) {
        struct log_segment *s = *at;
        if (atomic_load_explicit(&s->pins, memory_order_acquire) != 0) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        j->close[j->close_count++] = s;
    }
    if (j->close_count == 0)
        return;
    while (log->closed != NULL && j->free_count < LOG_REAP_MAX &&
           log->now_ns - log->closed->gone_ns > LOG_GONE_MS * TIDE_NS_PER_MS) {
        struct log_segment *s = log->closed;
        if (log_segment_at(log, s->number) == s)
            tide_pub64_set(log_segment_slot(log, s->number), 0);
        j->free[j->free_count++] = s;
        log->closed = s->next;
    }
    if (log->closed == NULL)
        log->closed_tail = &log->closed;
    j->job.run = reap_run;
    j->out = true;
    log_job_start(log, &j->job, JOB_LOG_REAP, out);
}

static void on_reaped(struct log *log)
{
    for (uint32_t i = 0; i < log->reap_job.close_count; i++) {
        struct log_segment *s = log->reap_job.close[i];
        s->gone_ns = log->now_ns;
        s->next = NULL;
        *log->closed_tail = s;
        log->closed_tail = &s->next;
    }
    log->reap_job.close_count = log->reap_job.free_count = 0;
}

/* ---- the checkpoint of recovery ---- */

static void checkpoint_run(struct tide_job *job, const struct tide_fs *fs)
{
    struct log_checkpoint_job *j = (struct log_checkpoint_job *)job;
    int e = j->unsynced != NULL ? fs->sync(fs->self, j->unsynced->file) : 0;
    if (e == 0)
        e = log_checkpoint_store(fs, j->dir, j->base, j->first_timestamp, j->limit, j->index, j->segment);
    /* It saves time and nothing more: an error is not the log's. */
    job->result = 0;
    j->limit = e == 0 ? j->limit : 0;
}

static uint32_t checkpoint_limit(const struct log *log)
{
    return log->written_segment == log->active ? (uint32_t)log_block_floor(log->written) : 0;
}

bool log_checkpoint_is_due(const struct log *log)
{
    return !log->checkpoint_job.out && !log->seal_wanted && log->truncate_wanted < 0 && !log->skip_job.out &&
           checkpoint_limit(log) > log->checkpoint_at &&
           checkpoint_limit(log) - log->checkpoint_at >= log->config.checkpoint_bytes;
}

void log_checkpoint_start(struct log *log, struct tide_out *out)
{
    struct log_checkpoint_job *j = &log->checkpoint_job;
    if (!log_checkpoint_is_due(log) || !tide_out_has_job_room(out))
        return;
    j->job.run = checkpoint_run;
    j->dir = log->dir;
    j->base = log_segment_at(log, log->active)->base_offset;
    j->first_timestamp = log->first_timestamp;
    j->limit = checkpoint_limit(log);
    j->unsynced = log->config.durable ? NULL : log_segment_pin(log, log->active);
    if (j->unsynced == NULL && !log->config.durable)
        return; /* it must not vouch for what is not synced */
    j->index = &log->index[log->active % 2];
    j->segment = log->active;
    j->out = true;
    log->checkpoint_at = j->limit; /* whatever comes of it, the next one is as far away */
    log_job_start(log, &j->job, JOB_LOG_CHECKPOINT, out);
}

void log_checkpointed(struct log *log, bool ok)
{
    if (log->checkpoint_job.unsynced != NULL)
        log_segment_unpin(log->checkpoint_job.unsynced);
    log->checkpoint_job.unsynced = NULL;
    if (ok && log->checkpoint_job.limit != 0)
        tide_count(log->core->config.counters, COUNTER_log_checkpoints);
}

bool log_upkeep_is_due(const struct log *log)
{
    return trim_is_due(log) || reap_is_due(log) || log_truncate_is_due(log) ||
           log_checkpoint_is_due(log) || log_compact_is_due(log);
}

/* ---- jobs that came back ---- */

/* Asked for only when there was none. */
static void take_spares(struct log *log)
{
    struct log_prepare_job *j = &log->prepare_job;
    if (j->ret_chunk != NULL)
        log->spare_chunk = j->ret_chunk;
    if (j->ret_segment != NULL)
        log->spare_segment = j->ret_segment;
    j->ret_chunk = NULL;
    j->ret_segment = NULL;
}

static void on_prepared(struct log *log)
{
    log->prepared = true;
    log->prepared_file = log->prepare_job.ret_file;
    log->prepare_job.ret_file = -1;
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
            log_ahead_made(log);
    } else if (job == &log->prepare_job.job) {
        log->prepare_job.out = false;
        take_spares(log);
        if (ok)
            on_prepared(log);
    } else if (job == &log->seal_job.job) {
        log->seal_job.out = false;
        log->seal_job.again = !ok && log->state == LOG_RUNNING && error_passes(job->result);
        if (ok)
            on_sealed(log);
        else if (!log->seal_job.again)
            job->result = -EIO; /* half done: only recovery knows how far */
    } else if (job == &log->epoch_job.job) {
        log->epoch_job.out = false;
        if (ok)
            log_epochs_set(&log->epochs, &log->epoch_job.lines);
    } else if (job == &log->trim_job.job) {
        log->trim_job.out = false;
        if (ok)
            on_trimmed(log);
    } else if (job == &log->reap_job.job) {
        log->reap_job.out = false;
        on_reaped(log);
    } else if (job == &log->truncate_job.job) {
        log->truncate_job.out = false;
        log->rot_met |= job->result == -EBADMSG;
        if (ok)
            log_truncated(log);
        else
            job->result = -EIO; /* half done: only recovery knows how far */
    } else if (job == &log->checkpoint_job.job) {
        log->checkpoint_job.out = false;
        log_checkpointed(log, ok);
    } else if (job == &log->skip_job.job) {
        log->skip_job.out = false;
        if (ok)
            log_skipped(log);
        else
            job->result = -EIO; /* half done: only recovery knows how far */
    } else if (job == &log->compact_job.job) {
        log_compacted(log, job);
        return;
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

int64_t log_active_base(const struct log *log)
{
    return log_segment_at(log, log->active)->base_offset;
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

bool log_is_compacting(const struct log *log)
{
    return log->compact_job.phase != COMPACT_IDLE;
}

const char *log_recovery_label(const struct log *log)
{
    return log->recovery_label;
}

int64_t log_start_offset(const struct log *log)
{
    return (int64_t)tide_pub64_peek(&log->start_pub);
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

int32_t log_last_batch_epoch(const struct log *log)
{
    return log_epochs_before(&log->epochs, (int64_t)tide_pub64_peek(&log->next_pub));
}

int32_t log_epoch_of(const struct log *log, int64_t offset)
{
    return log_epochs_before(&log->epochs, offset + 1);
}

bool log_is_trimming(const struct log *log)
{
    return log_trim_is_pending(log);
}

int32_t log_last_epoch(struct log *log)
{
    return log_epochs_last(&log->epochs);
}

uint32_t log_batch_bytes_max(const struct log *log)
{
    return (uint32_t)TIDE_MIN(log->core->batch_bytes_max, log->segment_wanted);
}

static void check_segments(const struct log *log)
{
    for (uint32_t n = log_first(log); n <= log->active; n++) {
        const struct log_segment *s = log_segment_at(log, n);
        uint64_t state = tide_pub64_own(&s->state);
        TIDE_ASSERT(s->id != 0); /* L9 */
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
    TIDE_ASSERT(log->unwritten_ns == 0 || log->written_segment != log->active || log->written != log->position); /* L1 */
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
    TIDE_ASSERT(log_start_offset(log) >= log_segment_at(log, log_first(log))->base_offset); /* L8 */
    TIDE_ASSERT(log_start_offset(log) <= log->next_offset);                                 /* L8 */
    log_index_check(&log->index[log->active % 2]);
    log_epochs_check(&log->epochs);
    check_segments(log);
}
