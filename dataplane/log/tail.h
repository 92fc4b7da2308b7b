/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tail: the newest bytes of a log in the core's buffers.
 *
 * A segment file is cut into windows of tail_buffer_bytes at multiples of that size. Windows are
 * numbered through the life of the log: window = segment.tail_base + position / size; the next
 * segment's windows follow the last one of its predecessor. A window lies in slot
 * window % LOG_TAIL_SLOTS, if it is in memory at all; so writers and readers find it at once.
 *
 * A slot is taken when an append needs the window and given up (tail_drop_slot) when its bytes are
 * written and the core needs the memory, or the slot. A window may come back in another buffer
 * while it is still being filled (an idle log gave its memory away): then only the bytes from
 * `valid_from` on are there, the start of the block that was not full.
 *
 * Readers on any core: tail_pin takes a reference on the slot's buffer and then looks at `key` once
 * more. The owner clears `key`, passes a fence and only then drops its reference; the reader's
 * reference comes before its second look, with a fence between. So a key that still stands means
 * that the reference was taken while the owner had its own, and the bytes are the window's. Keys
 * are never used twice. Bytes below the published end do not change while a buffer is attached.
 *
 * Owner: the home core.
 */
#ifndef TIDEMARK_LOG_TAIL_H
#define TIDEMARK_LOG_TAIL_H

#include <stdbool.h>
#include <stdint.h>

#include "log/buffers.h"
#include "tidemark/published.h"

enum { LOG_TAIL_SLOTS = 128 };

struct tail_slot {
    struct tide_pub64 key; /* 0: empty */
    struct tide_pub64 window;
    struct tide_pub64 buffer;     /* struct log_buffer * */
    struct tide_pub64 valid_from; /* offset within the buffer */

    /* owned */
    int64_t end_offset; /* offset behind the last batch that ends in this window or before */
};

struct tail {
    struct tide_pub64 size; /* bytes of a window; 0 until the log is adopted */
    uint64_t last_key;
    struct tail_slot slots[LOG_TAIL_SLOTS];
};

/* [home] Is the slot's window completely on the device, and not one that `keep` reserves? */
bool tail_is_reclaimable(const struct log *, uint32_t slot, bool keep);
/* [home] Empties the slot; the last partial block is saved in the log if it was here. */
void tail_drop_slot(struct log *, uint32_t slot);
struct log_buffer *tail_slot_buffer(const struct log *, uint32_t slot);

/* [home] Sees to it that [position, position + bytes) of the active segment has buffers. False when
 * the core has none to give. */
bool tail_reserve(struct log *, uint64_t position, uint32_t bytes);
/* [home] Where `position` of the segment with that tail_base lies, and how much follows in the
 * same window. NULL when it is not in memory. */
uint8_t *tail_at(const struct log *, uint64_t tail_base, uint64_t position, uint32_t *ret_room);
/* [home] A batch ended at `position` of the active segment. */
void tail_batch_ended(struct log *, uint64_t tail_base, uint64_t position, int64_t next_offset);
/* [home] The mark of tail_batch_ended for the window that holds position - 1; -1 when none ended.
 */
int64_t tail_end_offset(const struct log *, uint64_t tail_base, uint64_t position);
/* [home] Everything is dropped: the log leaves the core. */
void tail_drop_all(struct log *);

struct tail_pin {
    struct log_buffer *buffer; /* NULL: not in memory */
    uint64_t start;            /* position of the window's first byte */
    uint32_t valid_from;
    uint32_t size;
};
/* [any] Pins the window of `position`. The caller drops pin.buffer with log_buffer_drop. */
struct tail_pin tail_pin(const struct log *, uint64_t tail_base, uint64_t position);
/* [any] Copies bytes of [position, position + n), all of them published. False: not (all) in
 * memory. */
bool tail_copy(const struct log *, uint64_t tail_base, uint64_t position, void *to, uint32_t n);

#endif
