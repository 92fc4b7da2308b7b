/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Offsets that a follower does not have, because its leader has them no more.
 *
 * In this order, so that a crash at any point leaves a log that ends at the old or at the new end:
 *   S1  leader-epoch-checkpoint gets the line; without batches behind it, it means nothing
 *   S2  cleaner-offset-checkpoint says which gaps are legal, and that the log ends behind one
 *   S3  an active segment that is empty gets the new end as its base offset: nothing else tells the
 *       end of a log without batches, and relative offsets stay small
 */
#include <errno.h>

#include "log/append.h"
#include "log/internal.h"
#include "tidemark/assert.h"

/* ---- [helper] ---- */

static int rename_active(const struct log_skip_job *j, const struct tide_fs *fs)
{
    char from[LOG_PATH_MAX], to[LOG_PATH_MAX];
    int e = segment_path(from, j->dir, j->base, ".log");
    if (e == 0)
        e = segment_path(to, j->dir, j->to, ".log");
    if (e == 0)
        e = segment_remove_index(fs, j->dir, j->base);
    if (e == 0)
        e = fs->rename(fs->self, from, to);
    return e != 0 ? e : fs->sync_dir(fs->self, j->dir);
}

static void skip_run(struct tide_job *job, const struct tide_fs *fs)
{
    struct log_skip_job *j = (struct log_skip_job *)job;
    int e = j->to > j->from ? log_epoch_lines_store(&j->lines, fs, j->dir) : 0;
    if (e == 0)
        e = log_cleaner_store(fs, j->dir, &j->cleaner);
    if (e == 0 && j->renames)
        e = rename_active(j, fs);
    job->result = e;
}

/* ---- [home] ---- */

static enum tide_status begin(struct log *log, int64_t to, int64_t gaps_below, int32_t epoch, struct tide_out *out)
{
    struct log_skip_job *j = &log->skip_job;
    const struct log_segment *s = log_segment_at(log, log->active);
    if (log->state == LOG_FAILED)
        return TIDE_IO;
    if (log->state != LOG_RUNNING)
        return TIDE_REFUSED;
    if (j->out || log->truncate_wanted >= 0)
        return TIDE_AGAIN;
    (void)log_compact_stop(log, out);
    log_write_start(log, out);
    if (!log_is_quiet(log) || !tide_out_has_job_room(out))
        return TIDE_AGAIN;
    j->job.run = skip_run;
    j->dir = log->dir;
    j->from = log->next_offset;
    j->to = to;
    j->base = s->base_offset;
    j->renames = to > j->from && log->position == 0;
    j->cleaner = log->cleaner;
    j->cleaner.gaps_below = TIDE_MAX(j->cleaner.gaps_below, gaps_below);
    if (to > j->from && !j->renames) {
        j->cleaner.cut_end = to;
        j->cleaner.cut_base = j->base;
        j->cleaner.cut_position = log->position;
    }
    log_epochs_get(&log->epochs, &j->lines);
    if (to > j->from) {
        (void)log_epoch_lines_cut(&j->lines, j->from - 1);
        if (log_epoch_lines_last(&j->lines) < epoch)
            log_epoch_lines_add(&j->lines, epoch, j->from);
    }
    j->out = true;
    log_job_start(log, &j->job, JOB_LOG_SKIP, out);
    return TIDE_AGAIN;
}

enum tide_status log_allow_gaps(struct log *log, int64_t below, struct tide_out *out)
{
    if (log->state == LOG_RUNNING && !log->skip_job.out && below <= log->cleaner.gaps_below)
        return TIDE_OK;
    return begin(log, log->next_offset, below, -1, out);
}

enum tide_status log_skip(struct log *log, int64_t to, int32_t epoch, struct tide_out *out)
{
    if (log->state == LOG_RUNNING && !log->skip_job.out && to <= log->next_offset)
        return TIDE_OK;
    return begin(log, to, to, epoch, out);
}

bool log_is_skipping(const struct log *log)
{
    return log->skip_job.out;
}

void log_skipped(struct log *log)
{
    struct log_skip_job *j = &log->skip_job;
    struct log_segment *s = log_segment_at(log, log->active);
    TIDE_ASSERT(j->from == log->next_offset);
    log->cleaner = j->cleaner;
    tide_pub64_set(&log->gaps_pub, (uint64_t)log->cleaner.gaps_below);
    s->gaps = s->gaps || s->base_offset < log->cleaner.gaps_below;
    if (j->to == j->from)
        return;
    log_epochs_set(&log->epochs, &j->lines);
    if (j->renames) {
        s->base_offset = j->to;
        log->checkpoint_at = 0;
        if (log->active == log_first(log)) /* nothing is before it */
            tide_pub64_set(&log->start_pub, (uint64_t)j->to);
    }
    log->next_offset = log->durable_end = j->to;
    tide_pub64_set(&log->next_pub, (uint64_t)log->next_offset);
}
