/* SPDX-License-Identifier: Apache-2.0 */
#include "log/tail.h"

#include <string.h>

#include "log/internal.h"
#include "tidemark/assert.h"
#include "tidemark/types.h"

static uint64_t tail_size(const struct log *log)
{
    return tide_pub64_peek(&log->tail.size);
}

/* The size is a power of two. */
static uint64_t windows_before(uint64_t position, uint64_t size)
{
    return position >> __builtin_ctzll(size);
}

static uint64_t window_of(const struct log *log, uint64_t tail_base, uint64_t position)
{
    return tail_base + windows_before(position, tail_size(log));
}

struct log_buffer *tail_slot_buffer(const struct log *log, uint32_t slot)
{
    return (struct log_buffer *)(uintptr_t)tide_pub64_own(&log->tail.slots[slot].buffer);
}

/* ---- the owner's side ---- */

/* No byte of the window is appended and not written. Windows ahead of the end count as written. */
static bool window_is_written(const struct log *log, uint64_t window)
{
    const struct log_segment *s = log_segment_at(log, log->written_segment);
    uint64_t active_base = log_segment_at(log, log->active)->tail_base;
    uint64_t size = tail_size(log);
    if (window < s->tail_base)
        return true;
    if (log->written_segment != log->active && window >= active_base)
        return log->position == 0 || window > window_of(log, active_base, log->position - 1);
    uint64_t start = (window - s->tail_base) * size;
    uint64_t end = log->written_segment == log->active ? log->position : s->size;
    return TIDE_MIN(start + size, end) <= log->written || start >= end;
}

bool tail_is_reclaimable(const struct log *log, uint32_t slot, bool keep)
{
    uint64_t window = tide_pub64_own(&log->tail.slots[slot].window);
    uint64_t base = log_segment_at(log, log->active)->tail_base;
    if (keep && window >= window_of(log, base, log->position))
        return false;
    return window_is_written(log, window);
}

void tail_drop_slot(struct log *log, uint32_t slot)
{
    struct tail_slot *s = &log->tail.slots[slot];
    struct log_buffer *b = tail_slot_buffer(log, slot);
    uint64_t base = log_segment_at(log, log->active)->tail_base;
    uint64_t block = log_block_floor(log->position);
    if (log->position != block && tide_pub64_own(&s->window) == window_of(log, base, log->position))
        memcpy(log->last_block, b->base + block % tail_size(log), log->position - block);
    tide_pub64_set(&s->key, 0);
    tide_fence(); /* pairs with the one in tail_pin */
    tide_pub64_set(&s->buffer, 0);
    log_tail_buffer_detach(log->core, b);
}

/* Maps `window` of the active segment, which is not in memory; the log's position may lie in it. */
static bool window_attach(struct log *log, uint64_t window)
{
    uint32_t slot = (uint32_t)(window % LOG_TAIL_SLOTS);
    struct tail_slot *s = &log->tail.slots[slot];
    uint64_t size = tail_size(log);
    if (tide_pub64_own(&s->key) != 0) {
        if (!window_is_written(log, tide_pub64_own(&s->window)))
            return false;
        tail_drop_slot(log, slot);
    }
    struct log_buffer *b = log_line_admits(log->core, log) ? log_tail_buffer_take(log->core, log) : NULL;
    if (b == NULL) {
        log_line_join(log->core, log);
        return false;
    }
    uint64_t start = (window - log_segment_at(log, log->active)->tail_base) * size;
    uint64_t valid = 0;
    if (log->position > start && log->position < start + size) {
        uint64_t block = log_block_floor(log->position);
        valid = block - start;
        memcpy(b->base + valid, log->last_block, log->position - block);
    }
    tide_pub64_set(&s->window, window);
    tide_pub64_set(&s->buffer, (uintptr_t)b);
    tide_pub64_set(&s->valid_from, valid);
    s->end_offset = -1;
    log_tail_buffer_attach(log->core, b, log, slot);
    tide_pub64_set(&s->key, ++log->tail.last_key);
    return true;
}

static const struct tail_slot *slot_of(const struct log *log, uint64_t window)
{
    const struct tail_slot *s = &log->tail.slots[window % LOG_TAIL_SLOTS];
    return tide_pub64_own(&s->key) != 0 && tide_pub64_own(&s->window) == window ? s : NULL;
}

static __attribute__((noinline)) bool attach_all(struct log *log, uint64_t first, uint64_t last)
{
    for (uint64_t w = first; w <= last; w++)
        if (slot_of(log, w) == NULL && !window_attach(log, w))
            return false;
    return true;
}

bool tail_reserve(struct log *log, uint64_t position, uint32_t bytes)
{
    uint64_t base = log_segment_at(log, log->active)->tail_base;
    uint64_t first = window_of(log, base, position), last = window_of(log, base, position + bytes - 1);
    if ((first != last || slot_of(log, first) == NULL) && !attach_all(log, first, last))
        return false;
    if (log->in_line)
        log_line_leave(log);
    return true;
}

uint8_t *tail_at(const struct log *log, uint64_t tail_base, uint64_t position, uint32_t *ret_room)
{
    uint64_t size = tail_size(log);
    const struct tail_slot *s = slot_of(log, window_of(log, tail_base, position));
    uint64_t within = position & (size - 1);
    if (s == NULL || within < tide_pub64_own(&s->valid_from))
        return NULL;
    *ret_room = (uint32_t)(size - within);
    return ((struct log_buffer *)(uintptr_t)tide_pub64_own(&s->buffer))->base + within;
}

void tail_batch_ended(struct log *log, uint64_t tail_base, uint64_t position, int64_t next_offset)
{
    struct tail_slot *s = (struct tail_slot *)slot_of(log, window_of(log, tail_base, position - 1));
    TIDE_ASSERT(s != NULL);
    s->end_offset = next_offset;
}

int64_t tail_end_offset(const struct log *log, uint64_t tail_base, uint64_t position)
{
    const struct tail_slot *s = slot_of(log, window_of(log, tail_base, position - 1));
    return s != NULL ? s->end_offset : -1;
}

void tail_drop_all(struct log *log)
{
    for (uint32_t i = 0; i < LOG_TAIL_SLOTS; i++)
        if (tide_pub64_own(&log->tail.slots[i].key) != 0)
            tail_drop_slot(log, i);
}

/* ---- readers ---- */

struct tail_pin tail_pin(const struct log *log, uint64_t tail_base, uint64_t position)
{
    struct tail_pin none = {0};
    uint64_t size = tail_size(log);
    if (size == 0 || tail_base == UINT64_MAX)
        return none;
    uint64_t window = tail_base + windows_before(position, size);
    const struct tail_slot *s = &log->tail.slots[window % LOG_TAIL_SLOTS];
    uint64_t key = tide_pub64_peek(&s->key);
    if (key == 0 || tide_pub64_peek(&s->window) != window)
        return none;
    struct log_buffer *b = (struct log_buffer *)(uintptr_t)tide_pub64_peek(&s->buffer);
    if (b == NULL || !log_buffer_try_ref(b))
        return none;
    uint32_t valid = (uint32_t)tide_pub64_peek(&s->valid_from);
    tide_fence(); /* pairs with the one in tail_drop_slot: our reference before our second look */
    if (tide_pub64_peek(&s->key) != key) {
        log_buffer_drop(b);
        return none;
    }
    return (struct tail_pin){.buffer = b,
                             .start = position & ~(size - 1),
                             .valid_from = valid,
                             .size = (uint32_t)size};
}

bool tail_copy(const struct log *log, uint64_t tail_base, uint64_t position, void *to, uint32_t n)
{
    for (uint32_t done = 0; done < n;) {
        struct tail_pin pin = tail_pin(log, tail_base, position + done);
        if (pin.buffer == NULL)
            return false;
        uint32_t within = (uint32_t)(position + done - pin.start);
        uint32_t piece = TIDE_MIN(n - done, pin.size - within);
        bool valid = within >= pin.valid_from;
        if (valid)
            memcpy((uint8_t *)to + done, pin.buffer->base + within, piece);
        log_buffer_drop(pin.buffer);
        if (!valid)
            return false;
        done += piece;
    }
    return true;
}
