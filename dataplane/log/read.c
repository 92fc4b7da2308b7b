/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading, on any core.
 *
 * A read finds the segment by its base offset and a position by the index, and walks batch headers
 * from there: in memory, where the tail's windows are pinned and leave as views, or in what one
 * disk read brought. Which of the two is decided by where the walk starts; a walk on disk that
 * reaches the end of what is written goes on in memory. Only whole batches leave. What a disk gives
 * back is not believed: a batch from there is summed and its leader epoch, which the CRC does not
 * cover, compared with the history before it leaves.
 *
 * What the disk brings is left in the cache (cache.h), where the next reader finds it.
 *
 *   READ_NEW   nothing is held
 *   READ_OUT   a disk read is out; buffers are held
 *   READ_CAME  its bytes are here (or its error); buffers are held
 */
#include <errno.h>
#include <string.h>

#include "log/internal.h"
#include "tidemark/assert.h"

enum read_state { READ_NEW = 0, READ_OUT, READ_CAME };

enum {
    READ_BEYOND = 16 * 1024,   /* read beyond max_bytes: the index points before the first batch */
    READ_MEMORY_MAX = 8 << 20, /* bytes of one answer out of memory */
};

/* ---- where things are ---- */

uint32_t log_segment_end(const struct log *log, uint32_t n)
{
    const struct log_segment *s = log_segment_at(log, n);
    if (s == NULL)
        return 0;
    if (tide_pub64_peek(&s->state) >= LOG_SEGMENT_SEALING)
        return s->size;
    /* A roll publishes SEALING before the end of its successor: an end that is not of n means
     * that n has its size by now. */
    uint64_t end = tide_pub64_peek(&log->end_pub);
    return log_end_segment(end) == n ? log_end_position(end) : s->size;
}

uint32_t log_segment_written(const struct log *log, uint32_t n)
{
    uint64_t written = tide_pub64_peek(&log->written_pub);
    if (n > log_end_segment(written))
        return 0;
    return n == log_end_segment(written) ? log_end_position(written) : log_segment_end(log, n);
}

uint32_t log_segment_of(const struct log *log, uint32_t last, int64_t offset)
{
    uint32_t lo = TIDE_MIN(log_first(log), last); /* a race with the end: any answer will do */
    uint32_t hi = last;
    while (lo < hi) {
        uint32_t mid = hi - (hi - lo) / 2;
        if (log_segment_at(log, mid)->base_offset <= offset)
            lo = mid;
        else
            hi = mid - 1;
    }
    return lo;
}

uint32_t log_floor_position(const struct log *log, uint32_t n, int64_t offset)
{
    struct log_segment *s = log_segment_at(log, n);
    struct log_place place;
    if (offset <= s->base_offset)
        return 0;
    uint32_t relative = (uint32_t)TIDE_MIN(offset - s->base_offset, (int64_t)UINT32_MAX - 1);
    if (tide_pub64_peek(&s->state) >= LOG_SEGMENT_CLOSED) {
        s = log_segment_pin(log, n);
        if (s == NULL)
            return 0;
        /* The file is not believed: a position behind the end is none. */
        bool found = index_file_floor(s->index, s->index_count, relative, &place) &&
                     place.position < s->size;
        log_segment_unpin(s);
        return found ? place.position : 0;
    }
    return log_index_floor(&log->index[n % 2], n, relative, &place) ? place.position : 0;
}

bool log_recent_find(const struct log *log, int64_t offset, uint32_t *ret_segment,
                     uint32_t *ret_position)
{
    for (uint32_t i = 0; i < LOG_RECENT; i++) {
        const struct log_recent *r = &log->recent[i];
        if (tide_pub64_peek(&r->offset) != (uint64_t)offset)
            continue;
        uint64_t place = tide_pub64_peek(&r->place);
        tide_fence(); /* pairs with the one in recent_add: the place before the second look */
        if (tide_pub64_peek(&r->offset) != (uint64_t)offset)
            return false;
        *ret_segment = log_end_segment(place);
        *ret_position = log_end_position(place);
        return true;
    }
    return false;
}

static uint32_t last_segment(const struct log *log)
{
    return log_end_segment(tide_pub64_peek(&log->end_pub));
}

/* As log_segment_end and log_segment_written, of a segment in hand: compaction may have put another
 * into its place since. */
static uint32_t end_in(const struct log *log, const struct log_segment *s, uint32_t n)
{
    return tide_pub64_peek(&s->state) >= LOG_SEGMENT_CLOSED ? s->size : log_segment_end(log, n);
}

static uint32_t written_in(const struct log *log, const struct log_segment *s, uint32_t n)
{
    return tide_pub64_peek(&s->state) >= LOG_SEGMENT_CLOSED ? s->size : log_segment_written(log, n);
}

/* A place where to begin: a position means something only in the file that it was found for. */
struct place {
    struct log_segment *s;
    uint32_t segment; /* its number */
    uint32_t position;
};

/* Compaction leaves segments without bytes. */
static void skip_empty(const struct log *log, struct place *p)
{
    while (p->segment < last_segment(log) && p->position >= end_in(log, p->s, p->segment))
        *p = (struct place){.s = log_segment_at(log, p->segment + 1), .segment = p->segment + 1};
}

/* Pins this very segment, not one that replaced it. */
static bool hold(struct log_segment *s)
{
    atomic_fetch_add_explicit(&s->pins, 1, memory_order_acquire);
    tide_fence(); /* as in log_segment_pin */
    if (tide_pub64_peek(&s->state) != LOG_SEGMENT_GONE)
        return true;
    log_segment_unpin(s);
    return false;
}

static uint32_t floor_in(const struct log *log, struct log_segment *s, uint32_t n, int64_t offset)
{
    struct log_place place;
    if (offset <= s->base_offset)
        return 0;
    uint32_t relative = (uint32_t)TIDE_MIN(offset - s->base_offset, (int64_t)UINT32_MAX - 1);
    if (tide_pub64_peek(&s->state) < LOG_SEGMENT_CLOSED)
        return log_index_floor(&log->index[n % 2], n, relative, &place) ? place.position : 0;
    if (!hold(s))
        return 0; /* and the read will not get it either */
    /* The file is not believed: a position behind the end is none. */
    bool found = index_file_floor(s->index, s->index_count, relative, &place) &&
                 place.position < s->size;
    log_segment_unpin(s);
    return found ? place.position : 0;
}

/* Where to begin looking for the batch with `offset`. */
static struct place find_start(const struct log *log, int64_t offset)
{
    struct place p;
    if (log_recent_find(log, offset, &p.segment, &p.position)) {
        p.s = log_segment_at(log, p.segment);
        if (!p.s->gaps)
            return p; /* it never had another file */
    }
    p.segment = log_segment_of(log, last_segment(log), offset);
    p.s = log_segment_at(log, p.segment);
    p.position = floor_in(log, p.s, p.segment, offset);
    return p;
}

/* ---- walking ---- */

/* Bytes that can be looked at while walking: pinned windows, or buffers of a disk read. */
struct source {
    unsigned count;
    uint64_t start[LOG_TAIL_SLOTS]; /* position of the first byte of each piece */
    struct log_buffer *buffers[LOG_TAIL_SLOTS];
    uint32_t skip[LOG_TAIL_SLOTS]; /* offset of that byte in its buffer */
    uint64_t end;                  /* behind the last byte */

    /* memory: where the next window comes from; NULL: from the disk */
    const struct log *log;
    uint64_t tail_base;
    uint64_t limit;

    /* disk: whose chunks they are */
    struct log_read *read;
    struct log_core *mine;
};

static bool disk_grow(struct source *);

static void source_release(struct source *s)
{
    for (unsigned i = 0; i < s->count; i++)
        log_buffer_drop(s->buffers[i]);
    s->count = 0;
}

/* Pins the next window; false when it is not in memory or there are enough. */
static bool source_grow(struct source *s)
{
    if (s->read != NULL)
        return s->count != LOG_TAIL_SLOTS && disk_grow(s);
    if (s->log == NULL || s->count == LOG_TAIL_SLOTS || s->end >= s->limit)
        return false;
    struct tail_pin pin = tail_pin(s->log, s->tail_base, s->end);
    if (pin.buffer == NULL)
        return false;
    uint32_t within = (uint32_t)(s->end - pin.start);
    if (within < pin.valid_from) {
        log_buffer_drop(pin.buffer);
        return false;
    }
    s->start[s->count] = s->end;
    s->skip[s->count] = within;
    s->buffers[s->count++] = pin.buffer;
    s->end = TIDE_MIN(pin.start + pin.size, s->limit);
    return true;
}

static bool source_has(struct source *s, uint64_t position, uint32_t n)
{
    while (position + n > s->end)
        if (!source_grow(s))
            return false;
    return true;
}

static unsigned piece_of(const struct source *s, uint64_t position)
{
    unsigned i = s->count - 1;
    while (s->start[i] > position)
        i--;
    return i;
}

static uint32_t piece_bytes(const struct source *s, unsigned i)
{
    uint64_t end = i + 1 < s->count ? s->start[i + 1] : s->end;
    return (uint32_t)(end - s->start[i]);
}

static void source_copy(const struct source *s, uint64_t position, uint8_t *to, uint32_t n)
{
    unsigned i = piece_of(s, position);
    while (n != 0) {
        uint32_t at = (uint32_t)(position - s->start[i]);
        uint32_t piece = TIDE_MIN(n, piece_bytes(s, i) - at);
        memcpy(to, s->buffers[i]->base + s->skip[i] + at, piece);
        to += piece;
        n -= piece;
        position += piece;
        i++;
    }
}

enum walk_result {
    WALK_FOUND, /* *position is where the batch that contains the offset starts */
    WALK_MORE,  /* the bytes end before it: go on at *position */
    WALK_END,   /* the segment ends at *position */
    WALK_BAD,
};

/* Offsets of neighbours join, and none lies outside of the segment: a header that says otherwise is
 * not believed. */
struct walk {
    uint64_t position;
    uint64_t limit; /* end of the segment's bytes */
    bool joins;     /* the next batch begins at `floor`; else not below it */
    bool gaps;      /* compaction was there: batches may be missing */
    int64_t gaps_below;
    int64_t floor;
    int64_t ceiling; /* no batch reaches this offset */
};

static struct walk walk_in(const struct log *log, const struct log_segment *s, uint32_t segment,
                           uint64_t position)
{
    struct walk w = {.position = position,
                     .joins = position == 0 && !s->gaps,
                     .gaps = s->gaps,
                     .gaps_below = log_gaps_below(log),
                     .floor = s->base_offset};
    w.limit = end_in(log, s, segment);
    /* What is asked for lies below next_pub; a batch behind that, just published with the end, is
     * left for the next read. */
    if (tide_pub64_peek(&s->state) >= LOG_SEGMENT_SEALING)
        w.ceiling = s->next_offset;
    else
        w.ceiling = (int64_t)tide_pub64_peek(&log->next_pub);
    return w;
}

static void walk_on(struct walk *w, const struct batch_header *h, uint32_t size)
{
    w->position += size;
    w->floor = batch_last_offset(h) + 1;
    w->joins = !w->gaps;
}

static enum walk_result header_next(struct source *s, const struct walk *w, struct batch_header *h,
                                    uint32_t *ret_size)
{
    uint8_t bytes[BATCH_HEADER];
    if (w->position == w->limit)
        return WALK_END;
    if (w->limit - w->position < BATCH_HEADER)
        return WALK_BAD;
    if (!source_has(s, w->position, BATCH_HEADER))
        return WALK_MORE;
    source_copy(s, w->position, bytes, sizeof(bytes));
    if (!log_header_parse(bytes, w->limit - w->position, h, ret_size))
        return WALK_BAD;
    if (h->base_offset < w->floor || (w->joins && h->base_offset != w->floor))
        return WALK_BAD;
    return batch_last_offset(h) < w->ceiling ? WALK_FOUND : WALK_BAD;
}

static enum walk_result walk_to(struct source *s, struct walk *w, int64_t offset,
                                struct batch_header *h, uint32_t *ret_size)
{
    for (;;) {
        enum walk_result result = header_next(s, w, h, ret_size);
        if (result != WALK_FOUND)
            return result;
        if (batch_last_offset(h) >= offset)
            return h->base_offset <= offset || h->base_offset <= w->gaps_below ? WALK_FOUND
                                                                               : WALK_BAD;
        walk_on(w, h, *ret_size);
    }
}

/* All of its bytes are there. */
static bool batch_is_right(const struct source *s, uint64_t position, const struct batch_header *h,
                           uint32_t size)
{
    uint32_t crc = 0;
    uint64_t at = position + BATCH_ATTRIBUTES;
    for (unsigned i = piece_of(s, at); at < position + size; i++) {
        uint32_t within = (uint32_t)(at - s->start[i]);
        uint32_t n = (uint32_t)TIDE_MIN(position + size - at, (uint64_t)piece_bytes(s, i) - within);
        crc = batch_crc_update(crc, s->buffers[i]->base + s->skip[i] + within, n);
        at += n;
    }
    return crc == h->crc;
}

static bool is_believed(const struct log *log, const struct source *s, uint64_t position,
                        const struct batch_header *h, uint32_t size)
{
    if (s->log != NULL && h->base_offset >= log->doubted)
        return true;
    return log_epochs_allow(&log->epochs, h->leader_epoch, h->base_offset) && batch_is_right(s, position, h, size);
}

/* The end of the last whole batch that may be returned; w is behind the first one, `from`. */
static uint64_t walk_collect(const struct log *log, struct source *s, struct walk *w,
                             const struct log_read *r, uint64_t from)
{
    struct batch_header h;
    uint32_t size;
    while (header_next(s, w, &h, &size) == WALK_FOUND) {
        if (w->position + size - from > r->max_bytes || batch_last_offset(&h) >= r->end_offset)
            break;
        if (w->position + size - from > READ_MEMORY_MAX || !source_has(s, w->position, size))
            break;
        if (!is_believed(log, s, w->position, &h, size))
            break; /* the next read begins there */
        walk_on(w, &h, size);
    }
    return w->position;
}

/* Views of [from, to). */
static enum tide_status source_view(struct log_core *mine, const struct source *s, uint64_t from,
                                    uint64_t to, struct tide_rope *rope)
{
    struct log_run runs[LOG_TAIL_SLOTS];
    unsigned n = 0;
    for (unsigned i = piece_of(s, from); from < to; i++) {
        uint32_t at = (uint32_t)(from - s->start[i]);
        uint32_t len = (uint32_t)TIDE_MIN(to - from, (uint64_t)piece_bytes(s, i) - at);
        runs[n++] =
            (struct log_run){.buffer = s->buffers[i], .offset = s->skip[i] + at, .len = len};
        from += len;
    }
    return log_views_push(mine, runs, n, rope);
}

/* ---- from memory ---- */

/* TIDE_ABSENT: what is wanted is not in memory (or shall not be pinned now). */
static enum tide_status read_memory(struct log *log, struct log_core *mine, struct log_read *r,
                                    const struct place *p)
{
    struct source s = {.log = log, .end = p->position, .tail_base = p->s->tail_base};
    struct walk w = walk_in(log, p->s, p->segment, p->position);
    struct batch_header h;
    uint32_t size;
    enum tide_status status = TIDE_ABSENT;

    if (log->core == NULL || tide_pub64_peek(&log->core->pins_stopped) != 0)
        return TIDE_ABSENT;
    s.limit = w.limit;
    switch (walk_to(&s, &w, r->offset, &h, &size)) {
    case WALK_MORE:
    case WALK_END:
        break;
    case WALK_BAD:
        status = TIDE_BAD;
        break;
    case WALK_FOUND:
        if (batch_last_offset(&h) >= r->end_offset || (size > r->max_bytes && !r->at_least_one)) {
            status = TIDE_OK;
            break;
        }
        if (!source_has(&s, w.position, size))
            break;
        if (!is_believed(log, &s, w.position, &h, size)) {
            status = TIDE_BAD;
            break;
        }
        uint64_t from = w.position;
        walk_on(&w, &h, size);
        uint64_t to = walk_collect(log, &s, &w, r, from);
        status = source_view(mine, &s, from, to, &r->bytes);
        if (status == TIDE_OK)
            tide_count_many(mine->config.counters, COUNTER_fetch_tail_bytes, to - from);
        break;
    }
    source_release(&s);
    return status;
}

/* ---- from disk ---- */

static struct log_buffer *buffer_of(const struct log_read *r, uint32_t i)
{
    return r->buffers[i];
}

static struct log_buffer *last_buffer(const struct log_read *r)
{
    return buffer_of(r, r->buffer_count - 1);
}

static void drop_buffers(struct log_read *r)
{
    while (r->buffer_count != 0)
        log_buffer_drop(buffer_of(r, --r->buffer_count));
}

static void give_all(struct log_read *r)
{
    if (r->pinned != NULL)
        log_segment_unpin(r->pinned);
    r->pinned = NULL;
    drop_buffers(r);
    r->state = READ_NEW;
}

static enum tide_status give_up(struct log_read *r, enum tide_status status)
{
    give_all(r);
    return status;
}

/* What is not believed is read again by the next one who asks. */
static enum tide_status give_up_bad(struct log_core *mine, struct log_read *r)
{
    for (uint32_t i = 0; i < r->buffer_count; i++)
        log_cache_forget(mine, buffer_of(r, i));
    return give_up(r, TIDE_BAD);
}

/* A consumer that reads from the beginning must not slow producers. Those that find no room come
 * again in the next turn, the longest waiting first. */
static bool must_wait(struct log_core *mine)
{
    if (log_fill_may_begin(mine))
        return false;
    tide_count(mine->config.counters, COUNTER_disk_read_waits);
    return true;
}

static void read_is_back(struct log_read *r, int64_t result)
{
    r->error = log_fill_end(r->reader, last_buffer(r), result);
    r->state = READ_CAME;
}

static uint64_t chunk_end(const struct log_buffer *b)
{
    return b->cached.start + b->size;
}

/* Behind the last byte that the read has; r->walk when it has none. */
static uint64_t disk_end(const struct log_read *r)
{
    return r->buffer_count != 0 ? last_buffer(r)->cached.to : r->walk;
}

static void hold_buffer(struct log_core *mine, struct log_read *r, struct log_buffer *b)
{
    bool held = log_buffer_try_ref(b);
    TIDE_ASSERT(held); /* the cache has it */
    log_cache_use(mine, b);
    r->buffers[r->buffer_count++] = b;
}

/* The chunk at r's end, if it is in the cache with its first byte that r needs. */
static bool take_cached(struct log_core *mine, struct log_read *r)
{
    uint64_t end = disk_end(r);
    struct log_buffer *b;
    if (r->buffer_count == TIDE_ARRAY_LEN(r->buffers) || (r->buffer_count != 0 && end != chunk_end(last_buffer(r))))
        return false;
    b = log_cache_find(mine, r->pinned->id, end);
    if (b == NULL || b->cached.from > end || b->cached.to <= end)
        return false;
    hold_buffer(mine, r, b);
    return true;
}

/* A buffer whose end is r's, so that what is missing can be filled in. TIDE_FULL: not now. */
static enum tide_status take_open(struct log_core *mine, struct log_read *r)
{
    struct log_buffer *b = r->buffer_count != 0 ? last_buffer(r) : NULL;
    uint64_t end = disk_end(r);
    uint64_t from = log_block_floor(end);
    if (b != NULL && end != chunk_end(b)) {
        if (b->cached.filling)
            return TIDE_FULL; /* somebody else waits for it */
        if (end == from)
            return TIDE_OK;
        /* Not all of its last block was written. Others may look at it: it is read into another. */
        from = TIDE_MAX(log_block_floor(r->walk), b->cached.start);
        log_buffer_drop(b);
        r->buffer_count--;
    } else {
        if (r->buffer_count == TIDE_ARRAY_LEN(r->buffers))
            return TIDE_BAD;
        b = log_cache_find(mine, r->pinned->id, end);
        if (b != NULL && b->cached.filling)
            return TIDE_FULL;
        if (b != NULL && b->cached.from <= end && b->cached.to == from) {
            hold_buffer(mine, r, b);
            return TIDE_OK;
        }
    }
    b = log_cache_make(mine, r->pinned->id, from);
    if (b == NULL)
        return TIDE_FULL;
    r->buffers[r->buffer_count++] = b;
    return TIDE_OK;
}

/* Fills until the read has the bytes below r->wanted, or all that are written. TIDE_OK: it has. */
static enum tide_status disk_fill(struct log *log, struct log_core *mine, uint32_t read_slot,
                                  struct log_read *r, struct tide_out *out)
{
    uint64_t limit = written_in(log, r->pinned, r->segment);
    enum tide_status status;
    while (disk_end(r) < TIDE_MIN(r->wanted, limit)) {
        if (take_cached(mine, r))
            continue;
        if (!tide_out_has_op_room(out) || must_wait(mine))
            return give_up(r, TIDE_FULL);
        status = take_open(mine, r);
        if (status != TIDE_OK)
            return give_up(r, status);
        struct log_buffer *b = last_buffer(r);
        /* What the answer may hold, and what the index is off by, but not two chunks for that. */
        uint64_t goal = TIDE_MIN(r->walk + r->max_bytes + READ_BEYOND, chunk_end(b));
        r->wanted = TIDE_MAX(r->wanted, goal);
        r->disk_id = DISK_ID(DISK_OWNER_READ, read_slot, ++mine->read_generation);
        r->state = READ_OUT;
        r->reader = mine;
        log_fill_begin(mine, b, r->pinned->file, r->wanted, limit, r->disk_id, out);
        return TIDE_AGAIN;
    }
    r->state = READ_CAME;
    return TIDE_OK;
}

/* Bytes from the place on, `bytes` at least: those that the cache has, or what the disk gives. */
static enum tide_status disk_begin(struct log *log, struct log_core *mine, uint32_t read_slot,
                                   struct log_read *r, const struct place *p, uint32_t bytes,
                                   struct tide_out *out)
{
    if (r->pinned != p->s) {
        if (!hold(p->s))
            return give_up(r, TIDE_FULL); /* just removed or replaced: the next call sees what is there now */
        if (r->pinned != NULL)
            log_segment_unpin(r->pinned);
        r->pinned = p->s;
    }
    drop_buffers(r);
    r->segment = p->segment;
    r->walk = p->position;
    r->error = 0;
    if (r->walk >= written_in(log, r->pinned, r->segment) || !tide_out_has_op_room(out))
        return give_up(r, TIDE_FULL); /* not written yet, and not to be had from memory now */
    if (mine->config.read_turn_bytes != 0 && mine->served >= mine->config.read_turn_bytes)
        return give_up(r, TIDE_FULL); /* others want their turn as well */
    r->wanted = r->walk + bytes;
    return disk_fill(log, mine, read_slot, r, out);
}

static void source_add(struct source *s, const struct log_buffer *b, uint64_t from)
{
    s->start[s->count] = from;
    s->skip[s->count] = (uint32_t)(from - b->cached.start);
    s->buffers[s->count++] = (struct log_buffer *)b;
    s->end = b->cached.to;
}

static void source_of_disk(struct source *s, struct log_core *mine, struct log_read *r)
{
    *s = (struct source){.read = r, .mine = mine};
    for (uint32_t i = 0; i < r->buffer_count; i++)
        source_add(s, buffer_of(r, i), buffer_of(r, i)->cached.from);
}

/* The next chunk, if it is in the cache. */
static bool disk_grow(struct source *s)
{
    if (!take_cached(s->mine, s->read))
        return false;
    source_add(s, last_buffer(s->read), s->end);
    return true;
}

/* ---- ahead ---- */

static bool is_in_memory(const struct log *log, const struct log_segment *s, uint64_t position)
{
    if (log->core == NULL || tide_pub64_peek(&log->core->pins_stopped) != 0)
        return false;
    struct tail_pin pin = tail_pin(log, s->tail_base, position);
    if (pin.buffer == NULL)
        return false;
    log_buffer_drop(pin.buffer);
    return position - pin.start >= pin.valid_from;
}

/* Sees to the chunk with `position`, as far as it is written. False: it is here. */
static bool ahead_at(struct log *log, struct log_core *mine, struct log_read *r, uint64_t position,
                     uint64_t limit, struct tide_out *out)
{
    struct log_buffer *b = log_cache_find(mine, r->pinned->id, position);
    if (b == NULL) {
        if (is_in_memory(log, r->pinned, position))
            return true;
        b = log_cache_make(mine, r->pinned->id, log_block_floor(position));
        if (b == NULL)
            return true;
        log_buffer_drop(b); /* the cache's is enough until the fill has its own */
    } else if (b->cached.filling || b->cached.from > position) {
        return true;
    } else if (b->cached.to == chunk_end(b)) {
        return false;
    } else if (b->cached.to % TIDE_BLOCK != 0 || b->cached.to >= limit ||
               is_in_memory(log, r->pinned, b->cached.to)) {
        return true;
    }
    log_ahead_begin(mine, b, log, r->pinned, chunk_end(b), limit, out);
    return true;
}

/* A reader who got [from, to) will want what follows, if it went on where an answer ended, or began
 * with the segment: one fill ahead, in the chunk where the next answer begins or the one behind it. */
static void read_ahead(struct log *log, struct log_core *mine, struct log_read *r, uint64_t from,
                       uint64_t to, struct tide_out *out)
{
    uint64_t limit = written_in(log, r->pinned, r->segment);
    uint64_t size = mine->config.read_buffer_bytes;
    struct log_buffer *b = from != 0 ? log_cache_find(mine, r->pinned->id, from - 1) : NULL;
    bool goes_on = from == 0 || (b != NULL && b->cached.ended == from);
    b = log_cache_find(mine, r->pinned->id, to - 1);
    if (b != NULL)
        b->cached.ended = to;
    if (!goes_on || tide_pub64_peek(&r->pinned->state) == LOG_SEGMENT_GONE)
        return;
    if (!log_ahead_may_begin(mine) || !tide_out_has_op_room(out))
        return;
    for (unsigned i = 0; i < 2 && to < limit; i++, to += size - to % size)
        if (ahead_at(log, mine, r, to, limit, out))
            return;
}

/* The batch that contains the offset begins at w->position. */
static enum tide_status disk_answer(struct log *log, struct log_core *mine, uint32_t read_slot,
                                    struct log_read *r, struct source *s, struct walk *w,
                                    const struct batch_header *h, uint32_t size,
                                    struct tide_out *out)
{
    uint64_t from = w->position;
    if (batch_last_offset(h) >= r->end_offset || (size > r->max_bytes && !r->at_least_one))
        return give_up(r, TIDE_OK);
    if (!source_has(s, from, size)) {
        if (written_in(log, r->pinned, r->segment) < from + size)
            return give_up(r, TIDE_FULL); /* its end is on the way to the disk */
        struct place p = {.s = r->pinned, .segment = r->segment, .position = (uint32_t)from};
        return disk_begin(log, mine, read_slot, r, &p, size, out);
    }
    if (!is_believed(log, s, from, h, size)) {
        tide_count(mine->config.counters, COUNTER_disk_rot);
        return give_up_bad(mine, r);
    }
    walk_on(w, h, size);
    uint64_t to = walk_collect(log, s, w, r, from);
    enum tide_status status = source_view(mine, s, from, to, &r->bytes);
    if (status != TIDE_OK)
        return give_up(r, status);
    r->behind = true;
    mine->served += to - from;
    read_ahead(log, mine, r, from, to, out);
    return give_up(r, TIDE_OK);
}

/* A truncation may have left a log that ends with a gap: there is nothing to be read yet. */
static bool ends_in_gap(const struct log *log, const struct log_read *r)
{
    return r->offset < log_gaps_below(log);
}

/* The segment, or what is here of it, ends before the offset. */
static enum tide_status disk_past(struct log *log, struct log_core *mine, uint32_t read_slot,
                                  struct log_read *r, uint32_t position, struct tide_out *out)
{
    struct place p = {.s = r->pinned, .segment = r->segment, .position = position};
    if (position >= end_in(log, p.s, p.segment)) {
        skip_empty(log, &p);
        if (p.position >= end_in(log, p.s, p.segment))
            return give_up(r, ends_in_gap(log, r) ? TIDE_OK : TIDE_BAD); /* no batch has it */
    }
    enum tide_status status = read_memory(log, mine, r, &p);
    if (status != TIDE_ABSENT)
        return give_up(r, status);
    if (written_in(log, p.s, p.segment) < p.position + BATCH_HEADER)
        return give_up(r, TIDE_FULL); /* not written yet, and not to be had from memory now */
    return disk_begin(log, mine, read_slot, r, &p, BATCH_HEADER, out);
}

/* What is here is looked at. TIDE_OK with READ_CAME: there is more to look at. */
static enum tide_status disk_look(struct log *log, struct log_core *mine, uint32_t read_slot,
                                  struct log_read *r, struct tide_out *out)
{
    struct source s;
    struct batch_header h;
    uint32_t size = 0;
    source_of_disk(&s, mine, r);
    struct walk w = walk_in(log, r->pinned, r->segment, r->walk);
    switch (walk_to(&s, &w, r->offset, &h, &size)) {
    case WALK_FOUND:
        return disk_answer(log, mine, read_slot, r, &s, &w, &h, size, out);
    case WALK_MORE:
    case WALK_END:
        return disk_past(log, mine, read_slot, r, (uint32_t)w.position, out);
    case WALK_BAD:
        break;
    }
    return give_up_bad(mine, r);
}

/* Each look brings the read on: to bytes that it had not, to a later place, or to its end. */
static enum tide_status disk_go_on(struct log *log, struct log_core *mine, uint32_t read_slot,
                                   struct log_read *r, struct tide_out *out)
{
    enum tide_status status = r->error == 0 ? disk_fill(log, mine, read_slot, r, out) : give_up(r, TIDE_IO);
    while (status == TIDE_OK && r->state == READ_CAME)
        status = disk_look(log, mine, read_slot, r, out);
    return status;
}

/* ---- the calls ---- */

/* The index entry before the one that led to no batch; false at the first one. */
static bool step_back(const struct log *log, int64_t offset, struct place *ret)
{
    uint32_t n = log_segment_of(log, last_segment(log), offset);
    struct log_segment *s = log_segment_at(log, n);
    struct log_place place;
    bool found = false;
    if (!hold(s))
        return false;
    if (tide_pub64_peek(&s->state) == LOG_SEGMENT_CLOSED) {
        uint32_t relative = (uint32_t)TIDE_MIN(offset - s->base_offset, (int64_t)UINT32_MAX - 1);
        found = index_file_floor(s->index, s->index_count, relative, &place);
    }
    log_segment_unpin(s);
    if (!found)
        return false;
    *ret = (struct place){.s = s, .segment = n};
    if (place.relative != 0)
        ret->position = floor_in(log, s, n, s->base_offset + place.relative - 1);
    return true;
}

static enum tide_status read_begin(struct log *log, struct log_core *mine, uint32_t read_slot,
                                   struct log_read *r, struct tide_out *out)
{
    int64_t next = (int64_t)tide_pub64_peek(&log->next_pub);
    if (r->offset < log_start_offset(log))
        return TIDE_ABSENT;
    if (r->offset >= next || r->offset >= r->end_offset || (r->max_bytes == 0 && !r->at_least_one))
        return TIDE_OK;
    struct place p = find_start(log, r->offset);
    if (r->stepped_back && !step_back(log, r->offset, &p))
        return TIDE_BAD;
    enum tide_status status = read_memory(log, mine, r, &p);
    if (status != TIDE_ABSENT)
        return status;
    skip_empty(log, &p);
    if (p.position >= end_in(log, p.s, p.segment) && ends_in_gap(log, r))
        return TIDE_OK;
    status = disk_begin(log, mine, read_slot, r, &p, BATCH_HEADER, out);
    if (status == TIDE_AGAIN)
        tide_count(mine->config.counters, COUNTER_read_cache_misses);
    if (status != TIDE_OK)
        return status;
    tide_count(mine->config.counters, COUNTER_read_cache_hits);
    return disk_go_on(log, mine, read_slot, r, out);
}

enum tide_status log_read(struct log *log, struct log_core *mine, uint32_t read_slot,
                          struct log_read *r, struct tide_out *out)
{
    enum tide_status status;
    if (r->state == READ_OUT)
        return TIDE_AGAIN;
    if (r->state == READ_CAME)
        status = disk_go_on(log, mine, read_slot, r, out);
    else
        status = read_begin(log, mine, read_slot, r, out);
    if (status != TIDE_BAD)
        return status;
    if (r->offset < log_start_offset(log))
        return TIDE_ABSENT; /* removed while we looked */
    if (r->stepped_back)
        return status;
    /* One damaged index entry must not hide good batches: once more from the entry before it. */
    r->stepped_back = true;
    return read_begin(log, mine, read_slot, r, out);
}

void log_read_on_disk(struct log_read *r, const struct disk_done *done)
{
    if (r->state != READ_OUT || done->id != r->disk_id)
        return;
    read_is_back(r, done->result);
}

void log_read_lost(struct log_read *r)
{
    if (r->state != READ_OUT)
        return;
    read_is_back(r, -EIO);
}

void log_read_abandon(struct log_core *mine, struct log_read *r)
{
    TIDE_ASSERT(r->state != READ_OUT);
    give_all(r);
}

uint32_t log_bytes_between(struct log *log, int64_t offset, int64_t end_offset, uint32_t limit)
{
    int64_t next = (int64_t)tide_pub64_peek(&log->next_pub);
    uint64_t end = tide_pub64_peek(&log->end_pub);
    uint32_t to_segment, to;
    end_offset = TIDE_MIN(end_offset, next);
    if (offset >= end_offset || limit == 0)
        return 0;
    struct place p = find_start(log, TIDE_MAX(offset, log_start_offset(log)));
    uint32_t from_segment = p.segment;
    uint32_t from = p.position;
    if (end_offset == next) {
        to_segment = log_end_segment(end);
        to = log_end_position(end);
    } else {
        p = find_start(log, end_offset);
        to_segment = p.segment;
        to = p.position;
    }
    if (from_segment < to_segment) {
        uint64_t bytes = (uint64_t)log_segment_end(log, from_segment) - from + to;
        return to_segment - from_segment > 1 ? limit
                                             : (uint32_t)TIDE_MAX(TIDE_MIN(bytes, limit), 1u);
    }
    uint32_t bytes = to > from ? to - from : 0;
    return TIDE_MAX(TIDE_MIN(bytes, limit), 1u);
}
