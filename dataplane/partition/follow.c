/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A partition that follows: the leader's batches at their offsets, cuts of what the leader lacks.
 *
 * Producer state comes from the headers of what is appended, as at the leader, so that whoever leads
 * next knows what was written (kafka-protocol 5.2). When the log is cut it is brought back from the
 * newest snapshot that is left and the batches behind it.
 */
#include <errno.h>

#include "kafka/batch.h"
#include "partition/internal.h"
#include "tidemark/assert.h"
#include "tidemark/mutant.h"

/* ---- appending ---------------------------------------------------------------------------------- */

static enum tide_status bad(struct partition_followed *ret, const char *message)
{
    ret->message = message;
    return TIDE_BAD;
}

/* Is what comes next in the slice a batch that may stand at our end? */
static enum tide_status judge(const struct partition *p, const struct partition_follow *a, struct tide_slice rest, int64_t expected,
                              struct batch_header *h, struct partition_followed *ret)
{
    if (rest.len < BATCH_HEADER || !batch_header_read(rest, h) || h->magic != 2)
        return bad(ret, "that is no batch");
    if (h->batch_length < BATCH_LENGTH_MIN || batch_size(h) > rest.len)
        return bad(ret, "a batch is longer than what was sent");
    if (h->last_offset_delta < 0 || h->base_offset < expected || (h->base_offset > expected && !a->compacted))
        return bad(ret, "a batch does not begin where the one before ended");
    if (h->leader_epoch > a->leader_epoch || h->leader_epoch < log_last_batch_epoch(p->log))
        return bad(ret, "a batch of an epoch that cannot follow");
    return TIDE_OK;
}

/* The leader compacted: what lies between our end and the batch is gone. Gaps are allowed up to the
 * leader's high watermark at once, behind which it compacts nothing. */
static enum tide_status leave_gap(struct partition *p, const struct batch_header *h, int64_t leader_high, struct tide_out *out)
{
    if (h->base_offset - log_next_offset(p->log) > LOG_GAP_MAX)
        return log_skip(p->log, h->base_offset, h->leader_epoch, out);
    return log_allow_gaps(p->log, TIDE_MAX(h->base_offset, leader_high), out);
}

static enum tide_status append_one(struct partition *p, const struct tide_time *t, struct tide_slice batch, const struct batch_header *h,
                                   int64_t leader_high, struct tide_out *out, struct partition_followed *ret)
{
    enum tide_status status = TIDE_OK;
    if (h->base_offset > log_next_offset(p->log))
        status = leave_gap(p, h, leader_high, out);
    if (status == TIDE_OK)
        status = log_begin_epoch(p->log, h->leader_epoch, out);
    if (status == TIDE_AGAIN)
        return TIDE_FULL;
    if (status == TIDE_OK)
        status = log_make_room(p->log, t, batch.len, h->max_timestamp, out);
    if (status == TIDE_REFUSED)
        return bad(ret, "a batch is larger than this broker can hold");
    if (status != TIDE_OK)
        return status;
    status = log_append(p->log, batch, h, h->base_offset, h->leader_epoch);
    if (status == TIDE_BAD)
        return bad(ret, "the checksum does not match");
    if (status != TIDE_OK)
        return status;
    snapshot_before_append(&p->snapshot, p->producers, h->base_offset, log_active_base(p->log), batch.len);
    if (!MUTANT(DEDUPLICATION))
        producer_appended(p->producers, h, h->base_offset, t->wall_ms);
    watermark_appended(&p->marks, log_next_offset(p->log));
    p->moved = true;
    return TIDE_OK;
}

static enum tide_status append_all(struct partition *p, const struct tide_time *t, const struct partition_follow *a, struct tide_out *out,
                                   struct partition_followed *ret)
{
    struct tide_slice rest = a->records;
    int64_t expected = a->base_offset;
    struct batch_header h;
    if (rest.len != 0 && (expected < log_next_offset(p->log) || (expected > log_next_offset(p->log) && !a->compacted)))
        return bad(ret, "it does not begin at the end of the log");
    while (rest.len != 0) {
        struct tide_slice batch = rest;
        enum tide_status status = judge(p, a, rest, expected, &h, ret);
        if (status != TIDE_OK)
            return status;
        batch.len = batch_size(&h);
        status = append_one(p, t, batch, &h, a->high_watermark, out, ret);
        if (status != TIDE_OK)
            return status;
        ret->taken += batch.len;
        rest = tide_slice_after(rest, batch.len);
        expected = log_next_offset(p->log);
    }
    return TIDE_OK;
}

enum tide_status partition_follow_append(struct partition *p, const struct tide_time *t, const struct partition_follow *a,
                                         struct tide_out *out, struct partition_followed *ret)
{
    *ret = (struct partition_followed){0};
    if (p->state == PARTITION_FAILED)
        return TIDE_IO;
    if (!partition_is_follower(p) || a->leader_epoch != p->leader_epoch)
        return TIDE_REFUSED;
    if (p->cut != CUT_NONE)
        return TIDE_FULL;
    if (!p->agreed) { /* or nothing would be sent to us */
        p->agreed = true;
        partition_publish_role(p);
    }
    enum tide_status status = append_all(p, t, a, out, ret);
    if (watermark_follow(&p->marks, a->high_watermark))
        p->moved = true;
    p->leader_start = TIDE_MAX(p->leader_start, a->log_start);
    partition_follow_start(p, out);
    partition_check_failure(p);
    return status;
}

/* ---- the start of the log ------------------------------------------------------------------------- */

/* What the leader dropped was committed, and is dropped here once it is committed here. */
static int64_t start_due(const struct partition *p)
{
    int64_t high = watermark_high(&p->marks);
    int64_t durable = log_durable_end(p->log);
    return TIDE_MIN(p->leader_start, TIDE_MIN(high, durable));
}

bool partition_follow_has_work(const struct partition *p)
{
    return partition_is_follower(p) && p->cut == CUT_NONE && start_due(p) > log_start_offset(p->log) && !log_is_trimming(p->log);
}

void partition_follow_start(struct partition *p, struct tide_out *out)
{
    if (partition_follow_has_work(p))
        (void)log_trim(p->log, start_due(p), out);
}

/* ---- cutting -------------------------------------------------------------------------------------- */

static void reload_run(struct tide_job *job, const struct tide_fs *fs)
{
    struct partition *p = ((struct partition_reload *)job)->partition;
    int64_t end = log_next_offset(p->log);
    int e = snapshot_remove_beyond(fs, p->dir, end);
    producers_clear(p->producers);
    if (e == 0)
        e = log_replay(p->log, fs, snapshot_load_newest(p->producers, fs, p->dir, end), partition_replay, p);
    job->result = e;
}

static void reload_start(struct partition *p, struct tide_out *out)
{
    struct partition_reload *r = &p->reload;
    if (r->out || !tide_out_has_job_room(out) || snapshot_job_is_out(&p->snapshot))
        return;
    snapshot_end(&p->snapshot); /* what it holds may speak of what was cut */
    snapshot_begin(&p->snapshot, p->dir, p->home_core, p->slot, log_active_base(p->log));
    r->partition = p;
    r->out = true;
    r->job = (struct tide_job){.run = reload_run, .owner = p->home_core, .kind = JOB_PARTITION_RELOAD, .cookie = p->slot};
    tide_out_job(out, &r->job);
}

void partition_on_reload(struct partition *p, const struct tide_time *t)
{
    p->reload.out = false;
    p->moved = true;
    if (p->reload.job.result != 0) {
        /* What producers wrote cannot be told: this replica must not lead. */
        if (p->state >= PARTITION_FOLLOWER && p->state <= PARTITION_LEADER)
            partition_move(p, PARTITION_FAILED);
        return;
    }
    producers_loaded(p->producers, t->wall_ms);
    p->cut = CUT_NONE;
}

static bool readers_are_gone(struct partition *p)
{
    return p->grace_token == 0 || p->grace.passed == NULL || p->grace.passed(p->grace.self, p->grace_token);
}

static enum tide_status cut_log(struct partition *p, struct tide_out *out)
{
    enum tide_status status = log_truncate(p->log, p->cut_to, out);
    if (status == TIDE_OK) {
        if (p->begun)
            watermark_cut(&p->marks, log_next_offset(p->log));
        p->moved = true;
        p->cut = CUT_RELOAD;
    } else if (status == TIDE_REFUSED) {
        p->cut = CUT_NONE;
    }
    return status;
}

enum tide_status partition_cut_step(struct partition *p, struct tide_out *out)
{
    if (p->cut == CUT_NONE)
        return TIDE_OK;
    if (p->state == PARTITION_FAILED)
        return TIDE_IO;
    if (p->cut == CUT_GRACE && readers_are_gone(p))
        p->cut = CUT_LOG;
    if (p->cut == CUT_LOG) {
        enum tide_status status = cut_log(p, out);
        if (status != TIDE_OK && status != TIDE_AGAIN)
            return status;
    }
    if (p->cut == CUT_RELOAD)
        reload_start(p, out);
    return TIDE_AGAIN;
}

/* The leader, asked again in the same epoch, says that the logs differ. */
static void disagree(struct partition *p)
{
    if (!p->agreed)
        return;
    p->agreed = false;
    partition_publish_role(p);
    partition_readers_leave(p);
}

enum tide_status partition_truncate(struct partition *p, int64_t offset, struct tide_out *out)
{
    if (p->state == PARTITION_FAILED)
        return TIDE_IO;
    if (!partition_is_follower(p) || offset < log_start_offset(p->log))
        return TIDE_REFUSED;
    if (p->cut == CUT_NONE && offset >= log_next_offset(p->log))
        return TIDE_OK;
    if (p->cut == CUT_NONE) {
        disagree(p);
        p->cut = CUT_GRACE;
        p->cut_to = offset;
    } else if (p->cut <= CUT_LOG) {
        p->cut_to = TIDE_MIN(p->cut_to, offset);
    }
    return partition_cut_step(p, out);
}

enum tide_status partition_skip(struct partition *p, int64_t offset, int32_t epoch, struct tide_out *out)
{
    if (p->state == PARTITION_FAILED)
        return TIDE_IO;
    if (!partition_is_follower(p))
        return TIDE_REFUSED;
    if (p->cut != CUT_NONE)
        return TIDE_AGAIN;
    disagree(p);
    return log_skip(p->log, offset, epoch, out);
}

void partition_note_end(struct partition *p)
{
    if (!p->begun || p->cut != CUT_NONE || log_next_offset(p->log) <= watermark_log_end(&p->marks))
        return;
    watermark_appended(&p->marks, log_next_offset(p->log));
    watermark_durable(&p->marks, log_durable_end(p->log));
    p->moved = true;
}
