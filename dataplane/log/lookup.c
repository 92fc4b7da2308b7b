/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ListOffsets by timestamp (kafka-protocol 8.5), by a helper while the home core goes on appending.
 *
 * Bytes that are written are read from the file, up to the published end of what is written. What
 * is appended and not written yet lies in attached tail buffers, which this thread pins like any
 * reader. Between the two looks the bytes may have moved from memory to disk, so they are tried in
 * turn; a window leaves memory only after its write is published.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kafka/batch.h"
#include "log/internal.h"
#include "log/plain.h"
#include "tidemark/assert.h"

enum { COPY_TRIES = 16, MAX_TIMESTAMP = -3 };

struct lookup {
    struct log_lookup *l;
    const struct log *log;
    struct segment_reader reader;
    uint32_t segment;
    struct log_segment *pinned; /* the segment that is read */
    int64_t floor;              /* no batch of the walk may begin below it */
    int error;
};

/* Compaction may have put another into its place: what is pinned is what is read. */
static bool is_closed(const struct log_segment *s)
{
    return tide_pub64_peek(&s->state) >= LOG_SEGMENT_CLOSED;
}

/* ---- bytes ---- */

static int copy_from_file(struct lookup *u, uint64_t position, uint8_t *to, uint32_t n)
{
    while (n != 0) {
        uint32_t piece = TIDE_MIN(n, (uint32_t)(LOG_SCAN_BYTES - TIDE_BLOCK));
        const uint8_t *bytes = segment_read(&u->reader, position, piece);
        if (bytes == NULL)
            return u->reader.error != 0 ? u->reader.error : -EILSEQ;
        memcpy(to, bytes, piece);
        to += piece;
        position += piece;
        n -= piece;
    }
    return 0;
}

static int copy_out(struct lookup *u, uint64_t position, uint8_t *to, uint32_t n)
{
    uint64_t tail_base = u->pinned->tail_base;
    for (int i = 0; i < COPY_TRIES; i++) {
        uint64_t written = is_closed(u->pinned) ? u->pinned->size
                                                : log_segment_written(u->log, u->segment);
        uint32_t from_file = position >= written ? 0 : (uint32_t)TIDE_MIN(n, written - position);
        u->reader.limit = written;
        if (from_file != n &&
            !tail_copy(u->log, tail_base, position + from_file, to + from_file, n - from_file))
            continue;
        return copy_from_file(u, position, to, from_file);
    }
    return -EAGAIN;
}

/* ---- walking ---- */

/* 1: held until leave_segment; 0: it is gone. */
static int hold_segment(struct lookup *u, uint32_t n)
{
    u->pinned = log_segment_pin(u->log, n);
    return u->pinned != NULL;
}

static void leave_segment(struct lookup *u)
{
    log_segment_unpin(u->pinned);
    u->pinned = NULL;
}

static int enter_segment(struct lookup *u, uint32_t segment)
{
    struct log_segment *s = u->pinned;
    u->segment = segment;
    u->floor = s->base_offset;
    u->reader.file = s->file;
    u->reader.at = u->reader.len = 0;
    return 0;
}

/* The header at *position: 1; 0 at the end of what is asked for; -errno. */
static int next_header(struct lookup *u, uint64_t position, struct batch_header *h,
                       uint32_t *ret_size)
{
    uint8_t bytes[BATCH_HEADER];
    uint64_t end =
        is_closed(u->pinned) ? u->pinned->size : log_segment_end(u->log, u->segment);
    if (position >= end)
        return 0;
    if (end - position < BATCH_HEADER)
        return -EILSEQ;
    int e = copy_out(u, position, bytes, sizeof(bytes));
    if (e != 0)
        return e;
    if (!log_header_parse(bytes, end - position, h, ret_size) || h->base_offset < u->floor)
        return -EILSEQ;
    if (h->base_offset >= u->l->end_offset)
        return 0;
    u->floor = batch_last_offset(h) + 1;
    return 1;
}

/* ---- inside a batch ---- */

static void found(struct lookup *u, int64_t offset, int64_t timestamp, int32_t epoch)
{
    u->l->ret_offset = offset;
    u->l->ret_timestamp = timestamp;
    u->l->ret_epoch = epoch;
}

/* 1: the first record at or above `timestamp` and below the end is found; 0: none; -errno. */
static int search_records(struct lookup *u, const struct batch_header *h, const uint8_t *records,
                          size_t len, int64_t timestamp)
{
    struct batch_iter it;
    struct batch_record record;
    int64_t start = log_start_offset(u->log);
    batch_iter_init(&it, h, records, len);
    while (batch_iter_next(&it, &record)) {
        if (record.offset < h->base_offset || record.offset > batch_last_offset(h))
            return -EILSEQ;
        if (record.offset >= u->l->end_offset)
            return 0;
        if (record.timestamp >= timestamp && record.offset >= start) {
            found(u, record.offset, record.timestamp, h->leader_epoch);
            return 1;
        }
    }
    return it.bad ? -EILSEQ : 0;
}

static int search_batch(struct lookup *u, const struct batch_header *h, uint64_t position,
                        uint32_t size, int64_t timestamp)
{
    uint8_t *records;
    size_t len;
    if ((h->attributes & BATCH_LOG_APPEND_TIME) != 0) { /* one timestamp for all of them */
        found(u, h->base_offset, h->max_timestamp, h->leader_epoch);
        return 1;
    }
    uint8_t *batch = malloc(size);
    if (batch == NULL)
        return -ENOMEM;
    int e = copy_out(u, position, batch, size);
    if (e == 0)
        e = log_records_plain(h, batch, size, &records, &len);
    if (e == 0) {
        e = search_records(u, h, records, len, timestamp);
        if (records != batch + BATCH_HEADER)
            free(records);
    }
    free(batch);
    return e;
}

/* ---- by timestamp ---- */

/* A position before which no record of the segment has `timestamp` or more. */
static uint32_t time_floor(const struct log *log, const struct log_segment *s, uint32_t n,
                           int64_t timestamp)
{
    struct log_place place;
    uint32_t relative;
    if (!is_closed(s))
        return log_index_before_time(&log->index[n % 2], n, timestamp, &place) ? place.position : 0;
    if (!index_file_before_time(s->time_index, s->time_count, timestamp, &relative) ||
        !index_file_floor(s->index, s->index_count, relative, &place))
        return 0;
    return place.position < s->size ? place.position : 0; /* the file is not believed */
}

static int search_held(struct lookup *u, uint32_t n, int64_t timestamp)
{
    struct batch_header h;
    uint32_t size;
    uint64_t position = time_floor(u->log, u->pinned, n, timestamp);
    int e = enter_segment(u, n);
    while (e == 0 && (e = next_header(u, position, &h, &size)) == 1) {
        e = h.max_timestamp >= timestamp ? search_batch(u, &h, position, size, timestamp) : 0;
        position += size;
    }
    return e;
}

static int search_segment(struct lookup *u, uint32_t n, int64_t timestamp)
{
    if (!hold_segment(u, n))
        return 0;
    int e = search_held(u, n, timestamp);
    leave_segment(u);
    return e;
}

static bool segment_may_have(const struct log *log, uint32_t n, int64_t timestamp)
{
    const struct log_segment *s = log_segment_at(log, n);
    return tide_pub64_peek(&s->state) != LOG_SEGMENT_CLOSED || s->max_timestamp >= timestamp;
}

static int search(struct lookup *u, uint32_t first, int64_t timestamp)
{
    uint32_t last = log_end_segment(tide_pub64_peek(&u->log->end_pub));
    int e = 0;
    for (uint32_t n = first; n <= last && e == 0; n++) {
        if (log_segment_at(u->log, n)->base_offset >= u->l->end_offset)
            break;
        if (segment_may_have(u->log, n, timestamp))
            e = search_segment(u, n, timestamp);
    }
    return e;
}

/* ---- the largest timestamp ---- */

/* Largest maxTimestamp of the visible batches of a segment. */
static int held_max(struct lookup *u, uint32_t n, int64_t *max)
{
    const struct log_segment *s = u->pinned;
    struct batch_header h;
    struct log_place place;
    uint32_t size;
    uint64_t position = 0;
    int64_t last = TIDE_MIN(u->l->end_offset - 1 - s->base_offset, (int64_t)INT32_MAX);
    if (is_closed(s) && s->next_offset <= u->l->end_offset) {
        *max = TIDE_MAX(*max, s->max_timestamp);
        return 0;
    }
    if (!is_closed(s) &&
        log_index_floor(&u->log->index[n % 2], n, (uint32_t)last, &place)) {
        position = place.position;
        *max = TIDE_MAX(*max, place.time);
    }
    int e = enter_segment(u, n);
    while (e == 0 && (e = next_header(u, position, &h, &size)) == 1) {
        *max = TIDE_MAX(*max, h.max_timestamp);
        position += size;
        e = 0;
    }
    return e;
}

static int segment_max(struct lookup *u, uint32_t n, int64_t *max)
{
    if (!hold_segment(u, n))
        return 0;
    int e = held_max(u, n, max);
    leave_segment(u);
    return e;
}

static int search_max(struct lookup *u)
{
    uint32_t last = log_end_segment(tide_pub64_peek(&u->log->end_pub));
    uint32_t best_segment = 0;
    int64_t best = -1;
    for (uint32_t n = log_first(u->log); n <= last; n++) {
        int64_t max = best;
        if (log_segment_at(u->log, n)->base_offset >= u->l->end_offset)
            break;
        int e = segment_max(u, n, &max);
        if (e != 0)
            return e;
        if (max > best)
            best_segment = n;
        best = max;
    }
    return best >= 0 ? search(u, best_segment, best) : 0;
}

/* ---- the job ---- */

static void lookup_run(struct tide_job *job, const struct tide_fs *fs)
{
    struct log_lookup *l = (struct log_lookup *)job;
    struct lookup u = {.l = l, .log = l->log};
    job->result = segment_reader_init(&u.reader, fs, -1, UINT64_MAX);
    if (job->result != 0)
        return;
    int e = l->timestamp == MAX_TIMESTAMP ? search_max(&u) : search(&u, log_first(u.log), l->timestamp);
    segment_reader_deinit(&u.reader);
    job->result = TIDE_MIN(e, 0);
}

void log_lookup_prepare(struct log_lookup *l, struct log *log)
{
    *l = (struct log_lookup){.job = {.run = lookup_run},
                             .log = log,
                             .ret_offset = -1,
                             .ret_timestamp = -1,
                             .ret_epoch = -1};
}
