/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cutting the end off a log.
 *
 * Appends stop, what is appended is written, and then a job works on the files while the core keeps
 * its hands off. In this order, so that a crash at any point leaves a log that recovers to an end
 * between the new and the old one:
 *   T1  active.checkpoint goes: it may speak of bytes that are cut
 *   T2  segments behind the one that holds the new end go, newest first, each durably: no hole
 *   T3  that segment's index files go: it is the active one from now on
 *   T4  it is walked up to the new end, its index is made again
 *   T5  it is cut there, its last block filled with zeroes, synced (design 7: nothing of the old
 *       bytes may stand behind what is appended next)
 *   T6  cleaner-offset-checkpoint says what is clean, and where the log ends if that is a gap;
 *       log-start-offset-checkpoint falls with the end if it was inside of the batch that went, and
 *       leader-epoch-checkpoint loses the lines behind the new end
 * A prepared segment stays: it holds nothing.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "log/append.h"
#include "log/internal.h"
#include "tidemark/assert.h"

/* ---- [helper] ---- */

struct younger {
    int64_t base; /* segments behind this one */
    int64_t newest;
};

static int see_younger(void *arg, const char *name, bool is_dir)
{
    struct younger *y = arg;
    int64_t base;
    if (is_dir)
        return 0;
    if (!segment_name_parse(name, ".log", &base) && !segment_name_parse(name, ".index", &base) &&
        !segment_name_parse(name, ".timeindex", &base))
        return 0;
    if (base > y->base)
        y->newest = TIDE_MAX(y->newest, base);
    return 0;
}

static int remove_younger(const struct tide_fs *fs, const char *dir, int64_t base)
{
    for (;;) {
        struct younger y = {.base = base, .newest = -1};
        int e = fs->list(fs->self, dir, see_younger, &y);
        if (e != 0 || y.newest < 0)
            return e;
        e = segment_remove(fs, dir, y.newest);
        if (e != 0)
            return e;
    }
}

static int remove_checkpoint(const struct tide_fs *fs, const char *dir)
{
    char path[LOG_PATH_MAX];
    int e = log_path(path, dir, LOG_CHECKPOINT_NAME);
    if (e == 0)
        e = fs->unlink(fs->self, path);
    if (e == -ENOENT)
        return 0;
    return e != 0 ? e : fs->sync_dir(fs->self, dir);
}

/* T4 */
static int find_end(struct log_truncate_job *j, const struct tide_fs *fs)
{
    struct segment_reader reader;
    struct segment_scan scan = {.base_offset = j->base,
                                .last_epoch = j->epoch_before,
                                .lines = &j->lines,
                                .index = j->index,
                                .gaps_below = j->cleaner.gaps_below,
                                .stops = true,
                                .stop_at = j->to};
    int e = segment_reader_init(&reader, fs, j->ret_segment->file, j->size);
    if (e != 0)
        return e;
    j->index->may_allocate = true;
    e = segment_scan(&reader, &scan);
    j->index->may_allocate = false;
    if (e == 0 && scan.end == SEGMENT_END_TORN && !scan.stopped)
        e = -EBADMSG; /* rot before the new end: recovery decides what that means */
    j->ret_position = (uint32_t)scan.position;
    j->ret_end = scan.next_offset;
    j->ret_last = scan.next_offset;
    if (j->to <= j->cleaner.gaps_below) /* what came before `to` may have been compacted away */
        j->ret_end = scan.stopped ? TIDE_MIN(j->to, scan.stopped_base) : j->to;
    j->ret_first_timestamp = scan.first_timestamp;
    uint64_t block = log_block_floor(scan.position);
    if (e == 0 && scan.position != block) {
        const uint8_t *bytes = segment_read(&reader, block, (uint32_t)(scan.position - block));
        if (bytes != NULL)
            memcpy(j->ret_last_block, bytes, scan.position - block);
        e = reader.error;
    }
    segment_reader_deinit(&reader);
    return e;
}

/* T6 */
static int settle_cleaner(struct log_truncate_job *j, const struct tide_fs *fs)
{
    bool in_gap = j->ret_end > j->ret_last;
    if (!in_gap && TIDE_MAX(j->cleaner.clean_below, j->cleaner.gaps_below) <= j->ret_end)
        return 0;
    j->cleaner.clean_below = TIDE_MIN(j->cleaner.clean_below, j->ret_end);
    j->cleaner.gaps_below = TIDE_MIN(j->cleaner.gaps_below, j->ret_end);
    j->cleaner.cut_end = in_gap ? j->ret_end : -1;
    j->cleaner.cut_base = in_gap ? j->base : -1;
    j->cleaner.cut_position = in_gap ? (int64_t)j->ret_position : -1;
    return log_cleaner_store(fs, j->dir, &j->cleaner);
}

static void truncate_run(struct tide_job *job, const struct tide_fs *fs)
{
    struct log_truncate_job *j = (struct log_truncate_job *)job;
    char path[LOG_PATH_MAX];
    int e = segment_path(path, j->dir, j->base, ".log");
    j->ret_segment = segment_alloc();
    if (e == 0 && j->ret_segment == NULL)
        e = -ENOMEM;
    if (e == 0) {
        int file = fs->open(fs->self, path, TIDE_FS_READ | TIDE_FS_WRITE | TIDE_FS_DIRECT);
        j->ret_segment->file = file;
        e = TIDE_MIN(file, 0);
    }
    if (e != 0) {
        free(j->ret_segment);
        j->ret_segment = NULL;
        job->result = e;
        return;
    }
    e = remove_checkpoint(fs, j->dir);
    if (e == 0)
        e = remove_younger(fs, j->dir, j->base);
    if (e == 0)
        e = segment_remove_index(fs, j->dir, j->base);
    if (e == 0)
        e = find_end(j, fs);
    if (e == 0)
        e = segment_cut(fs, j->ret_segment->file, j->ret_position); /* T5 */
    if (e == 0)
        e = settle_cleaner(j, fs);
    if (e == 0 && j->ret_end < j->start) /* inside the batch that went */
        e = log_start_store(fs, j->dir, j->ret_end);
    if (e == 0 && log_epoch_lines_cut(&j->lines, j->ret_end))
        e = log_epoch_lines_store(&j->lines, fs, j->dir);
    if (e != 0) {
        fs->close(fs->self, j->ret_segment->file);
        free(j->ret_segment);
        j->ret_segment = NULL;
    }
    job->result = e;
}

/* ---- [home] ---- */

bool log_is_quiet(const struct log *log)
{
    return !log_is_dirty(log) && !log->write.out && !log->seal_wanted && !log->extend_job.out &&
           !log->prepare_job.out && !log->seal_job.out && !log->epoch_job.out &&
           !log->trim_job.out && !log->checkpoint_job.out && !log->truncate_job.out && !log->skip_job.out &&
           log->compact_job.phase == COMPACT_IDLE;
}

bool log_truncate_is_due(const struct log *log)
{
    return log->truncate_wanted >= 0 && log_is_quiet(log);
}

void log_truncate_start(struct log *log, struct tide_out *out)
{
    struct log_truncate_job *j = &log->truncate_job;
    if (log->truncate_wanted >= 0)
        (void)log_compact_stop(log, out);
    if (!log_truncate_is_due(log) || log->state != LOG_RUNNING || !tide_out_has_job_room(out))
        return;
    uint32_t n = log_segment_of(log, log->active, log->truncate_wanted);
    const struct log_segment *s = log_segment_at(log, n);
    tail_drop_all(log);
    for (uint32_t i = 0; i < LOG_RECENT; i++)
        tide_pub64_set(&log->recent[i].offset, UINT64_MAX);
    log_index_reset(&log->index[0], UINT64_MAX);
    log_index_reset(&log->index[1], UINT64_MAX);
    j->job.run = truncate_run;
    j->dir = log->dir;
    j->to = log->truncate_wanted;
    j->number = n;
    j->base = s->base_offset;
    j->start = log_start_offset(log);
    j->epoch_before = -1;
    j->cleaner = log->cleaner;
    j->size = n == log->active ? log->position : s->size;
    j->index = &log->index[n % 2];
    log_index_reset(j->index, n);
    log_epochs_get(&log->epochs, &j->lines);
    j->ret_segment = NULL;
    j->out = true;
    log_job_start(log, &j->job, JOB_LOG_TRUNCATE, out);
}

enum tide_status log_truncate(struct log *log, int64_t offset, struct tide_out *out)
{
    if (log->state == LOG_FAILED)
        return TIDE_IO;
    if (offset < log_start_offset(log) || log->state != LOG_RUNNING)
        return TIDE_REFUSED;
    if (log->truncate_wanted >= 0) {
        if (!log->truncate_job.out)
            log->truncate_wanted = TIDE_MIN(log->truncate_wanted, offset);
        log_truncate_start(log, out);
        return TIDE_AGAIN;
    }
    if (offset >= log->next_offset)
        return TIDE_OK;
    log->truncate_wanted = offset;
    tide_pub64_set(&log->next_pub, (uint64_t)offset); /* nobody reads on meanwhile */
    log_truncate_start(log, out);
    return TIDE_AGAIN;
}

/* Windows of the new end get numbers that no window ever had. */
static uint64_t fresh_tail_base(const struct log *log)
{
    const struct log_segment *s = log_segment_at(log, log->active);
    return s->tail_base + log->segment_cap / tide_pub64_own(&log->tail.size) + 2;
}

void log_truncated(struct log *log)
{
    struct log_truncate_job *j = &log->truncate_job;
    struct log_segment *cut = j->ret_segment;
    uint64_t tail_base = fresh_tail_base(log);
    uint64_t closed = 0;
    for (uint32_t n = j->number; n <= log->active; n++) {
        struct log_segment *s = log_segment_at(log, n);
        if (n == log->active || log_segment_at(log, n + 1) != s)
            log_segment_leave(log, s);
    }
    for (uint32_t n = log_first(log); n < j->number; n++)
        if (log_segment_at(log, n + 1) != log_segment_at(log, n))
            closed += log_segment_at(log, n)->size;
    cut->number = j->number;
    cut->base_offset = j->base;
    cut->tail_base = tail_base;
    cut->max_timestamp = -1;
    cut->gaps = cut->base_offset < j->cleaner.gaps_below;
    tide_pub64_set(&cut->state, LOG_SEGMENT_ACTIVE);
    tide_pub64_set(log_segment_slot(log, j->number), (uintptr_t)cut);
    j->ret_segment = NULL;
    memcpy(log->last_block, j->ret_last_block, TIDE_BLOCK);
    log->active = log->written_segment = j->number;
    log->position = log->written = j->ret_position;
    log->next_offset = log->durable_end = j->ret_end;
    log->zeroed_end = log_block_ceil(log->position); /* the next append asks for more */
    log->first_timestamp = j->ret_first_timestamp;
    log->first_wall_ms = log->wall_ms;
    log->checkpoint_at = 0;
    log->cleaner = j->cleaner;
    tide_pub64_set(&log->gaps_pub, (uint64_t)log->cleaner.gaps_below);
    log->truncate_wanted = -1;
    log->trim_wanted = -1;
    log_epochs_set(&log->epochs, &j->lines);
    tide_pub64_set(&log->closed_bytes, closed);
    tide_pub64_set(&log->written_pub, log_end_pack(log->active, log->position));
    tide_pub64_set(&log->end_pub, log_end_pack(log->active, log->position));
    tide_pub64_set(&log->next_pub, (uint64_t)log->next_offset);
    if (log_start_offset(log) > log->next_offset) /* inside the batch that was cut away */
        tide_pub64_set(&log->start_pub, (uint64_t)log->next_offset);
}
