/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Zeroes ahead of the end of a log, by helpers (design 7: durable writes go into written extents only).
 *
 * They go through the device that appends wait for, and until a piece is synced each durable write to the same file has
 * to wait for the file system's journal, too. Many small pieces are as bad as few large ones (bench/README.md). So a piece
 * is a quarter of what is zeroed ahead and at most LOG_PIECE_BYTES, one at a time for each log, and they come
 * no faster than the log uses them: the next when a whole one fits below the position plus
 *
 *     ahead = as much as the log holds, at least LOG_AHEAD_FIRST, at most ahead_max
 *
 * so that a log of a few records has little behind it. ahead_max is log.preallocate.bytes; each time an append
 * had to wait for zeroes in a log that had them before, it doubles, up to LOG_AHEAD_GROWTH times.
 * The prepared segment gets one piece when it is made, and then as much as the active one is filled over its half.
 *
 * A log whose writes are not durable ones (ack.durability=memory) waits for no journal: its pieces are allocated, so that
 * a full disk is still met before anything is appended, and reads as zeroes, but each byte goes to the device once.
 *
 * [home] all of it.
 */
#ifndef TIDEMARK_LOG_AHEAD_H
#define TIDEMARK_LOG_AHEAD_H

#include <stdbool.h>
#include <stdint.h>

#include "tidemark/disk_op.h"

struct log;

enum log_ahead_limit {
    LOG_PIECE_BYTES = 512 << 10,
    LOG_ALLOCATION_BYTES = 4 << 20, /* a piece that is not written */
    LOG_AHEAD_FIRST = 256 << 10,
    LOG_AHEAD_GROWTH = 16,
};

/* Bytes of the next piece. */
uint64_t log_ahead_piece(const struct log *);
/* A piece is due and none is being made. */
bool log_ahead_is_due(const struct log *);
/* Asks for the piece that is due, if there is room in `out`. */
void log_ahead_start(struct log *, struct tide_out *);
/* An append waits for zeroes up to `need`, a position of the active segment: asks for a piece, or for more if it takes more. */
void log_ahead_for(struct log *, uint64_t need, struct tide_out *);
/* The job is back and went well. */
void log_ahead_made(struct log *);

#endif
