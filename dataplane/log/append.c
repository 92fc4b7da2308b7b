/* SPDX-License-Identifier: Apache-2.0 */
#include "log/append.h"

#include <string.h>

#include "kafka/batch.h"
#include "log/ahead.h"
#include "log/internal.h"
#include "tidemark/assert.h"
#include "tidemark/bytes.h"
#include "tidemark/clock.h"
#include "tidemark/mutant.h"

enum {
    COPY_CHUNK = 16384,  /* copied, then summed while it is in the first cache */
    /* Relative offsets have 31 bits: a segment ends here at the latest, and */
    SPAN_ROLL = (1 << 30) - LOG_GAP_MAX,
    DELTA_MAX = 1 << 30, /* no batch may span more */
};

static struct log_segment *active(const struct log *log)
{
    return log_segment_at(log, log->active);
}

static void count(struct log *log, enum tide_counter which)
{
    tide_count(log->core->config.counters, which);
}

/* ---- room ---- */

/* kafka-protocol 10.5. */
static bool roll_is_due(const struct log *log, uint32_t bytes, int64_t max_timestamp)
{
    if (log->position == 0)
        return false;
    if ((uint64_t)log->position + bytes > log->config.segment_bytes)
        return true;
    if (log->next_offset - active(log)->base_offset >= SPAN_ROLL)
        return true;
    if (log->config.segment_ms <= 0)
        return false;
    if (log->first_timestamp >= 0 && max_timestamp >= 0)
        return max_timestamp > log->first_timestamp &&
               max_timestamp - log->first_timestamp > log->config.segment_ms;
    return log->wall_ms > log->first_wall_ms &&
           log->wall_ms - log->first_wall_ms > log->config.segment_ms;
}

static void written_advance(struct log *log)
{
    if (log->written_segment != log->active &&
        log->written == log_segment_at(log, log->written_segment)->size) {
        log->written_segment++;
        log->written = 0;
    }
    tide_pub64_set(&log->written_pub, log_end_pack(log->written_segment, log->written));
}

/* False: something is missing; it is asked for. */
static bool roll(struct log *log, struct tide_out *out)
{
    if (log->seal_wanted) {
        log_seal_start(log, out);
        return false;
    }
    if (!log->prepared) {
        log_prepare_start(log, out);
        return false;
    }
    struct log_segment *old = active(log);
    struct log_segment next = {
        .base_offset = log->next_offset,
        .tail_base = old->tail_base + (log->position - 1) / tide_pub64_own(&log->tail.size) + 1,
        .file = log->prepared_file,
        .max_timestamp = -1,
    };
    if (!log_table_put(log, log->active + 1, &next, LOG_SEGMENT_ACTIVE))
        return false;
    log_index_reset(&log->index[(log->active + 1) % 2], log->active + 1);
    old->size = log->position;
    old->next_offset = log->next_offset;
    tide_pub64_set(&old->state, LOG_SEGMENT_SEALING);
    tide_pub64_set(&log->closed_bytes, tide_pub64_own(&log->closed_bytes) + log->position);
    log->active++;
    log->position = 0;
    log->checkpoint_at = 0;
    log->first_timestamp = -1;
    log->zeroed_end = log->prepared_bytes;
    log->prepared = false;
    log->prepared_file = -1;
    log->seal_wanted = true;
    log_take_segment_size(log);
    tide_pub64_set(&log->end_pub, log_end_pack(log->active, 0));
    written_advance(log);
    count(log, COUNTER_log_rolls);
    return true;
}

static enum tide_status wait_for_space(struct log *log)
{
    log->refused_for_space = log_space_is_missing(log);
    count(log, COUNTER_log_zero_waits);
    return TIDE_FULL;
}

enum tide_status log_make_room(struct log *log, const struct tide_time *t, uint32_t bytes,
                               int64_t max_timestamp, struct tide_out *out)
{
    log->now_ns = t->now_ns;
    log->wall_ms = t->wall_ms;
    log->refused_for_space = false;
    if (log->state == LOG_FAILED)
        return TIDE_IO;
    if (log->state != LOG_RUNNING || log->truncate_wanted >= 0 || log->skip_job.out)
        return TIDE_FULL;
    if (bytes < BATCH_HEADER || bytes > log_batch_bytes_max(log))
        return TIDE_REFUSED;
    log_take_segment_size(log);
    log->fed = true;
    if (roll_is_due(log, bytes, max_timestamp) && !roll(log, out))
        return wait_for_space(log);
    if (log->position + (uint64_t)bytes > log->zeroed_end) {
        log_ahead_for(log, log->position + (uint64_t)bytes, out);
        return wait_for_space(log);
    }
    if (!tail_reserve(log, log->position, bytes)) {
        count(log, COUNTER_log_buffer_waits);
        return TIDE_FULL;
    }
    return TIDE_OK;
}

/* ---- appending ---- */

/* Where the first byte of the batch lies, and how much follows in the same window. */
struct head {
    uint8_t *at;
    uint32_t room;
};

/* Copies the batch behind the end and sums it from BATCH_ATTRIBUTES on. False when a window is
 * missing. What was copied lies behind the published end, so nobody sees it. */
static bool copy_in(struct log *log, struct tide_slice batch, uint32_t *ret_crc, struct head *ret_head)
{
    uint64_t base = active(log)->tail_base;
    uint32_t crc = 0;
    uint32_t done = 0;
    const uint8_t *piece = NULL;
    uint32_t left;
    while ((left = tide_slice_next(&batch, &piece)) != 0) {
        while (left != 0) {
            uint32_t room;
            uint8_t *to = tail_at(log, base, (uint64_t)log->position + done, &room);
            if (to == NULL)
                return false;
            if (done == 0)
                *ret_head = (struct head){to, room};
            uint32_t n = TIDE_MIN(TIDE_MIN(left, room), (uint32_t)COPY_CHUNK);
            uint32_t skip = done < BATCH_ATTRIBUTES ? TIDE_MIN(n, BATCH_ATTRIBUTES - done) : 0;
            memcpy(to, piece, n);
            crc = batch_crc_update(crc, to + skip, n - skip);
            piece += n;
            left -= n;
            done += n;
        }
    }
    *ret_crc = crc;
    return true;
}

/* Overwrites bytes of the batch that is being appended, `at` bytes into it. */
static void patch(struct log *log, uint32_t at, const uint8_t *bytes, uint32_t n)
{
    uint64_t base = active(log)->tail_base;
    for (uint32_t done = 0; done < n;) {
        uint32_t room;
        uint8_t *to = tail_at(log, base, (uint64_t)log->position + at + done, &room);
        TIDE_ASSERT(to != NULL); /* copy_in went there */
        uint32_t piece = TIDE_MIN(n - done, room);
        memcpy(to, bytes + done, piece);
        done += piece;
    }
}

static uint32_t crc_of_copy(const struct log *log, uint32_t size)
{
    uint64_t base = active(log)->tail_base;
    uint32_t crc = 0;
    for (uint32_t at = BATCH_ATTRIBUTES; at < size;) {
        uint32_t room;
        const uint8_t *bytes = tail_at(log, base, (uint64_t)log->position + at, &room);
        TIDE_ASSERT(bytes != NULL);
        uint32_t n = TIDE_MIN(size - at, room);
        crc = batch_crc_update(crc, bytes, n);
        at += n;
    }
    return crc;
}

static void patch_stamp(struct log *log, const struct log_stamp *stamp, uint32_t size)
{
    uint8_t bytes[8];
    store_be16(bytes, (uint16_t)stamp->attributes);
    patch(log, BATCH_ATTRIBUTES, bytes, 2);
    store_be64(bytes, (uint64_t)stamp->max_timestamp);
    patch(log, BATCH_MAX_TIMESTAMP, bytes, 8);
    store_be32(bytes, crc_of_copy(log, size));
    patch(log, BATCH_CRC, bytes, 4);
}

static void patch_place(struct log *log, const struct head *head, int64_t base_offset, int32_t leader_epoch)
{
    uint8_t bytes[8];
    if (head->room >= BATCH_LEADER_EPOCH + 4) { /* both in one window */
        store_be64(head->at + BATCH_BASE_OFFSET, (uint64_t)base_offset);
        store_be32(head->at + BATCH_LEADER_EPOCH, (uint32_t)leader_epoch);
        return;
    }
    store_be64(bytes, (uint64_t)base_offset);
    patch(log, BATCH_BASE_OFFSET, bytes, 8);
    store_be32(bytes, (uint32_t)leader_epoch);
    patch(log, BATCH_LEADER_EPOCH, bytes, 4);
}

static void recent_add(struct log *log, int64_t base_offset)
{
    struct log_recent *r = &log->recent[log->recent_at++ % LOG_RECENT];
    tide_pub64_set(&r->offset, UINT64_MAX);
    tide_fence(); /* pairs with the one in log_recent_find */
    tide_pub64_set(&r->place, log_end_pack(log->active, log->position));
    tide_pub64_set(&r->offset, (uint64_t)base_offset);
}

static void take_in(struct log *log, uint32_t size, int64_t base_offset, int64_t last_offset,
                    int64_t max_timestamp)
{
    struct log_segment *s = active(log);
    if (log->position == 0) {
        log->first_timestamp = max_timestamp;
        log->first_wall_ms = log->wall_ms;
    }
    if (log->unwritten_ns == 0)
        log->unwritten_ns = tide_now_ns(&log->core->time);
    log_index_add(&log->index[log->active % 2], (uint32_t)(last_offset - s->base_offset),
                  log->position, size, max_timestamp);
    recent_add(log, base_offset);
    tail_batch_ended(log, s->tail_base, (uint64_t)log->position + size, last_offset + 1);
    log->position += size;
    log->next_offset = last_offset + 1;
    tide_pub64_set(&log->end_pub, log_end_pack(log->active, log->position));
    tide_pub64_set(&log->next_pub, (uint64_t)log->next_offset);
}

enum tide_status log_append_stamped(struct log *log, struct tide_slice batch,
                                    const struct batch_header *h, int64_t base_offset,
                                    int32_t leader_epoch, const struct log_stamp *stamp)
{
    uint32_t size = batch.len;
    uint32_t crc;
    struct head head = {0};
    if (log->state == LOG_FAILED)
        return TIDE_IO;
    if (log->state != LOG_RUNNING || log->position + (uint64_t)size > log->zeroed_end)
        return TIDE_FULL;
    if (!TIDE_EXPECT(size >= BATCH_HEADER && size == batch_size(h) && h->magic == 2))
        return TIDE_BAD;
    if (!TIDE_EXPECT(base_offset == log->next_offset ||
                     (base_offset > log->next_offset && base_offset <= log->cleaner.gaps_below)))
        return TIDE_BAD;
    if (h->last_offset_delta < 0 || h->last_offset_delta >= DELTA_MAX ||
        base_offset > INT64_MAX - DELTA_MAX || base_offset - log->next_offset > LOG_GAP_MAX)
        return TIDE_BAD;
    if (!copy_in(log, batch, &crc, &head))
        return TIDE_FULL;
    if (crc != h->crc)
        return TIDE_BAD;
    if (stamp != NULL)
        patch_stamp(log, stamp, size);
    patch_place(log, &head, base_offset, leader_epoch);
    take_in(log, size, base_offset, base_offset + h->last_offset_delta,
            stamp != NULL ? stamp->max_timestamp : h->max_timestamp);
    TIDE_ASSERT_SLOW((log_check(log), true));
    return TIDE_OK;
}

enum tide_status log_append(struct log *log, struct tide_slice batch, const struct batch_header *h,
                            int64_t base_offset, int32_t leader_epoch)
{
    return log_append_stamped(log, batch, h, base_offset, leader_epoch, NULL);
}

/* ---- writing ---- */

static uint32_t appended_end(const struct log *log, uint32_t segment)
{
    return segment == log->active ? log->position : log_segment_at(log, segment)->size;
}

bool log_is_dirty(const struct log *log)
{
    return log->written_segment != log->active || log->written != log->position;
}

void log_write_start(struct log *log, struct tide_out *out)
{
    struct log_write *w = &log->write;
    if (w->out || log->state == LOG_FAILED || !log_is_dirty(log) || !tide_out_has_op_room(out))
        return;
    const struct log_segment *s = log_segment_at(log, log->written_segment);
    uint32_t appended = appended_end(log, log->written_segment);
    uint32_t room;
    w->segment = log->written_segment;
    w->start = log_block_floor(log->written);
    uint8_t *bytes = tail_at(log, s->tail_base, w->start, &room);
    TIDE_ASSERT(bytes != NULL); /* L4 */
    w->end = TIDE_MIN(w->start + room, (uint64_t)appended);
    w->len = (uint32_t)(log_block_ceil(w->end) - w->start);
    memset(bytes + (w->end - w->start), 0, w->len - (w->end - w->start));
    if (w->end == appended)
        w->durable_offset = w->segment == log->active ? log->next_offset : s->next_offset;
    else
        w->durable_offset = tail_end_offset(log, s->tail_base, w->end);
    w->id = DISK_ID(DISK_OWNER_LOG, log->config.slot, ++log->core->write_generation);
    w->out = true;
    w->begun_ns = tide_now_ns(&log->core->time);
    if (log->unwritten_ns != 0)
        tide_histogram_add(&log->core->stages[LOG_STAGE_WAIT], w->begun_ns - log->unwritten_ns);
    if (w->end == appended && (w->segment == log->active || log->position == 0)) /* after a roll nothing may have come yet */
        log->unwritten_ns = 0;
    log_cache_on_write(log->core);
    tide_out_op(out, &(struct disk_op){.kind = DISK_WRITE,
                                       .durable = log->config.durable,
                                       .file = s->file,
                                       .len = w->len,
                                       .position = w->start,
                                       .buf = bytes,
                                       .id = w->id});
    count(log, COUNTER_disk_writes);
    tide_count_many(log->core->config.counters, COUNTER_disk_write_bytes, w->len);
}

static bool prepare_is_due(const struct log *log)
{
    return log->fed && !log->prepared && !log->seal_wanted && log->position > log->config.segment_bytes / 2;
}

void log_flush(struct log *log, const struct tide_time *t, struct tide_out *out)
{
    log->now_ns = t->now_ns;
    log->wall_ms = t->wall_ms;
    if (log->state != LOG_RUNNING && log->state != LOG_CLOSING)
        return;
    log_write_start(log, out);
    log_seal_start(log, out);
    if (log->state == LOG_RUNNING)
        log_ahead_start(log, out);
    if (log->state == LOG_RUNNING && prepare_is_due(log))
        log_prepare_start(log, out);
    if (log->roll_wanted && log->state == LOG_RUNNING && log->truncate_wanted < 0 && !log->skip_job.out)
        log->roll_wanted = log->position != 0 && !roll(log, out);
    if (log->state == LOG_RUNNING) {
        log_trim_start(log, out);
        log_truncate_start(log, out);
        log_checkpoint_start(log, out);
        log_compact_start(log, out);
    }
    log_reap_start(log, out);
    if (tide_pub64_own(&log->core->pins_stopped) != 0)
        log_core_relax(log->core);
}

bool log_has_work(const struct log *log)
{
    if (log->state != LOG_RUNNING && log->state != LOG_CLOSING)
        return false;
    if ((log_is_dirty(log) && !log->write.out) || log_seal_is_due(log))
        return true;
    if (log->state != LOG_RUNNING || log_space_is_missing(log))
        return false;
    if (log_upkeep_is_due(log))
        return true;
    if (log->roll_wanted && !log->seal_wanted && (log->prepared || !log->prepare_job.out))
        return true;
    return log_ahead_is_due(log) || (prepare_is_due(log) && !log->prepare_job.out);
}

struct log_written log_last_written(const struct log *log)
{
    return log->last_written;
}

bool log_on_disk(struct log *log, const struct disk_done *done, struct tide_out *out)
{
    struct log_write *w = &log->write;
    int64_t durable_before = log->durable_end;
    if (!w->out || (done->id != w->id && !MUTANT(COMPLETION_ID)))
        return false;
    w->out = false;
    log_cache_on_written(log->core);
    log_line_move(log->core);
    if (log->state == LOG_FAILED)
        return false;
    if (done->result <= 0 || done->result > w->len || done->result % TIDE_BLOCK != 0) {
        count(log, COUNTER_disk_errors);
        log_fail(log); /* P11 */
        return false;
    }
    if (done->result < w->len) {
        count(log, COUNTER_disk_errors);
        log->written = (uint32_t)(w->start + (uint64_t)done->result);
    } else {
        log->written = (uint32_t)w->end;
        log->durable_end = TIDE_MAX(log->durable_end, w->durable_offset);
        log->last_written = (struct log_written){w->begun_ns, tide_now_ns(&log->core->time), log->durable_end};
        tide_histogram_add(&log->core->stages[LOG_STAGE_WRITE], log->last_written.done_ns - w->begun_ns);
    }
    written_advance(log);
    log->retry = true;
    if (log->state == LOG_RUNNING || log->state == LOG_CLOSING) {
        log_write_start(log, out);
        log_seal_start(log, out);
    }
    TIDE_ASSERT_SLOW((log_check(log), true));
    return log->durable_end > durable_before;
}
