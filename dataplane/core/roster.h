/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connections of a core in the file `connections`, for the next process (orphans.h): however this one ends, its
 * connections can be reset then. A row is written in the turn in which its connection came; a row whose connection is gone
 * is emptied as soon, and harmless until then: to rouse what is no more does nothing. The writes go into the kernel's memory
 * and no further, since what is to be outlived is the process. A write that the kernel did not get to is lost with it: the
 * core hands over the frames of a turn first, and some file systems leave the write to a worker.
 *
 * File `connections`, little-endian, in blocks of TIDE_BLOCK: a header (magic, format number; the rest is zero), then
 * blocks of ROSTER_ROWS rows of 40 bytes (address of ours, address of the peer, port of ours, port of the peer, zero) with
 * zeroes behind them. A row of zeroes is empty. Each core has a range of blocks, and a row for each slot of its own.
 *
 * One write of a block is in flight at a time. The device reads the image itself: a block that changes meanwhile may be
 * mixed, and is written once more. A write that fails is counted, and its block is right again when it next changes.
 *
 * Owner: the core. Nobody else touches the image.
 *
 * Invariants (roster_check):
 *   N1  A block is in the queue exactly when it is dirty, and once.
 *   N2  The block in flight is one of ours.
 *   N3  Blocks that are neither dirty nor in flight are in the file as they are here, but for writes that failed.
 */
#ifndef TIDEMARK_CORE_ROSTER_H
#define TIDEMARK_CORE_ROSTER_H

#include <assert.h>

#include "core/orphans.h"
#include "tcp/tcp.h"
#include "tidemark/disk_op.h"

enum {
    ROSTER_MAGIC = 0x4e4f4354, /* TCON */
    ROSTER_FORMAT = 2,
    ROSTER_NONE = 0xffffff, /* no block; beyond what a disk id can name */
};

struct roster_header {
    uint32_t magic;
    uint32_t format;
    uint64_t zero;
};

struct roster_row {
    struct tide_addr local, remote;
    uint16_t local_port, remote_port;
    uint32_t zero;
};
enum { ROSTER_ROWS = TIDE_BLOCK / sizeof(struct roster_row) };
static_assert(sizeof(struct roster_header) == 16 && sizeof(struct roster_row) == 40 && ROSTER_ROWS == 102, "the form of the file");

/* Where a core's rows are. */
struct roster_place {
    int file;          /* open for writing, not O_DIRECT */
    uint64_t position; /* of its first block; 0: it keeps no list */
};

struct roster {
    struct roster_place place;
    uint32_t block_count;
    uint32_t queue_head, queue_count;
    uint32_t writing; /* a block, or ROSTER_NONE */
    uint8_t *image;
    uint32_t *queue; /* dirty blocks, the longest waiting first; a ring of block_count */
    bool *dirty;
};

static inline uint32_t roster_blocks(uint32_t slots) { return (slots + ROSTER_ROWS - 1) / ROSTER_ROWS; }
/* Within the core's range. */
static inline uint64_t roster_row_at(uint32_t slot)
{
    return (uint64_t)(slot / ROSTER_ROWS) * TIDE_BLOCK + slot % ROSTER_ROWS * sizeof(struct roster_row);
}

/* [any] Adds the rows of a block of the file to the list of `*count`, as far as `max`; bytes may be anything. */
void roster_read(const uint8_t block[TIDE_BLOCK], struct orphan *list, uint32_t max, uint32_t *count);
/* [start] All slots are empty, here and in the file. Without a position it stays as it is and keeps nothing. */
TIDE_MUST_USE enum tide_status roster_init(struct roster *, const struct roster_place *, uint32_t slots);
void roster_deinit(struct roster *);
static inline bool roster_is_kept(const struct roster *r) { return r->place.position != 0; }

void roster_set(struct roster *, uint32_t slot, const struct tcp_endpoint *local, const struct tcp_endpoint *remote);
void roster_clear(struct roster *, uint32_t slot);
bool roster_has(const struct roster *, uint32_t slot); /* is it set? */
/* At the end of a turn: what is to be written. */
void roster_on_turn(struct roster *, struct tide_out *);
/* False: the write failed. */
bool roster_on_disk(struct roster *, const struct disk_done *);
void roster_check(const struct roster *);

#endif
