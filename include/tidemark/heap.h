/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bounded heap of one core, for what lives long and has no size of its own (group members, committed
 * offsets). All of it is taken at the start; afterwards a full heap is an ordinary answer.
 *
 * Owner: its core. Blocks are of power-of-two classes split from and merged into their neighbours
 * (binary buddies), so that freeing always gives back what it can, and both directions take a bounded number of steps.
 * The memory is private and not touched before it is used.
 */
#ifndef TIDEMARK_HEAP_H
#define TIDEMARK_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tide_heap;

/* [start] NULL without memory. `bytes` is rounded down to a power of two. */
struct tide_heap *tide_heap_create(size_t bytes);
void tide_heap_destroy(struct tide_heap *);
/* Zeroed. NULL: no block of that size is free. */
void *tide_heap_take(struct tide_heap *, size_t bytes);
/* Would a block of that size be given now? */
bool tide_heap_has(const struct tide_heap *, size_t bytes);
/* NULL is nothing. */
void tide_heap_give(struct tide_heap *, void *);
size_t tide_heap_free_bytes(const struct tide_heap *);
size_t tide_heap_bytes(const struct tide_heap *);
void tide_heap_check(const struct tide_heap *);

#endif
