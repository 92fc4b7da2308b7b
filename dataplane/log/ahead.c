/* SPDX-License-Identifier: Apache-2.0 */
#include "log/ahead.h"

#include "log/append.h"
#include "log/internal.h"

static uint64_t ahead(const struct log *log)
{
    uint64_t held = TIDE_MAX((uint64_t)log_size_bytes(log), (uint64_t)LOG_AHEAD_FIRST);
    return TIDE_MIN(held, log->ahead_max);
}

uint64_t log_ahead_piece(const struct log *log)
{
    uint64_t quarter = log_block_floor(ahead(log) / 4);
    uint64_t most = log->config.durable ? LOG_PIECE_BYTES : LOG_ALLOCATION_BYTES;
    return TIDE_MIN(TIDE_MAX(quarter, (uint64_t)TIDE_BLOCK), most);
}

/* Where the zeroes of the active segment shall end after one more piece; the same as now: none is due. */
static uint64_t active_target(const struct log *log)
{
    uint64_t to = log->zeroed_end + log_ahead_piece(log);
    if (log->position == 0 || to > log->position + ahead(log))
        return log->zeroed_end;
    return TIDE_MAX(TIDE_MIN(to, log->segment_cap), log->zeroed_end);
}

static uint64_t prepared_target(const struct log *log)
{
    uint64_t to = log->prepared_bytes + log_ahead_piece(log);
    if (to > ahead(log) || to > log->segment_cap || log->config.segment_bytes / 2 + to > log->position)
        return log->prepared_bytes;
    return to;
}

static bool prepared_is_due(const struct log *log)
{
    return log->prepared && prepared_target(log) > log->prepared_bytes;
}

bool log_ahead_is_due(const struct log *log)
{
    if (!log->fed || log->extend_job.out || log->truncate_wanted >= 0)
        return false; /* what is cut off is another file afterwards: zeroes in it would be late */
    return active_target(log) > log->zeroed_end || prepared_is_due(log);
}

static void extend_run(struct tide_job *job, const struct tide_fs *fs)
{
    struct log_extend_job *j = (struct log_extend_job *)job;
    job->result = segment_extend(fs, j->file, j->from, j->to, j->written);
}

static void extend(struct log *log, uint32_t segment, int file, uint64_t from, uint64_t to, struct tide_out *out)
{
    struct log_extend_job *j = &log->extend_job;
    if (j->out || from >= to || log_space_is_missing(log) || !tide_out_has_job_room(out))
        return;
    j->job.run = extend_run;
    j->written = log->config.durable;
    j->file = file;
    j->segment = segment;
    j->from = from;
    j->to = to;
    j->out = true;
    log_job_start(log, &j->job, JOB_LOG_EXTEND, out);
}

static void extend_active(struct log *log, uint64_t to, struct tide_out *out)
{
    extend(log, log->active, log_segment_at(log, log->active)->file, log->zeroed_end, to, out);
}

void log_ahead_start(struct log *log, struct tide_out *out)
{
    if (!log_ahead_is_due(log))
        return;
    if (active_target(log) > log->zeroed_end)
        extend_active(log, active_target(log), out);
    else
        extend(log, log->active + 1, log->prepared_file, log->prepared_bytes, prepared_target(log), out);
}

void log_ahead_for(struct log *log, uint64_t need, struct tide_out *out)
{
    uint64_t to = TIDE_MAX(log->zeroed_end + log_ahead_piece(log), log_block_ceil(need));
    log->outran = true;
    extend_active(log, TIDE_MIN(to, log->segment_cap), out);
}

static bool holds_enough_to_grow(const struct log *log)
{
    return log->has_ahead && (uint64_t)log_size_bytes(log) >= log->ahead_max;
}

void log_ahead_made(struct log *log)
{
    const struct log_extend_job *j = &log->extend_job;
    if (j->segment > log->active) {
        log->prepared_bytes = j->to;
        return;
    }
    if (j->segment < log->active)
        return; /* rolled in between; sealing cuts the old file to its size */
    log->zeroed_end = j->to;
    if (log->outran && holds_enough_to_grow(log))
        log->ahead_max = TIDE_MIN(2 * log->ahead_max, LOG_AHEAD_GROWTH * log->config.preallocate_bytes);
    log->has_ahead = true;
    log->outran = false;
}
