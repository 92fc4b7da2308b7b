/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A 64-bit word with exactly one writer and any number of readers.
 *
 * The store is a release and pairs with the acquire in tide_pub64_peek(): whoever sees a value
 * sees everything its writer did before it. A reader may see an old value; each place that
 * declares such a word says why that is harmless there.
 *
 * tide_fence() is the full fence of the doorbell protocol (design 4): publish, fence, test the
 * doorbell on one side; clear it, fence, read on the other.
 */
#ifndef TIDEMARK_PUBLISHED_H
#define TIDEMARK_PUBLISHED_H

#include <stdatomic.h>
#include <stdint.h>

struct tide_pub64 {
    _Atomic uint64_t word;
};

static inline void tide_pub64_set(struct tide_pub64 *p, uint64_t value)
{
    atomic_store_explicit(&p->word, value, memory_order_release);
}

static inline uint64_t tide_pub64_peek(const struct tide_pub64 *p)
{
    return atomic_load_explicit(&p->word, memory_order_acquire);
}

/* The writer's own look at its word: no ordering needed. */
static inline uint64_t tide_pub64_own(const struct tide_pub64 *p)
{
    return atomic_load_explicit(&p->word, memory_order_relaxed);
}

static inline void tide_fence(void)
{
    atomic_thread_fence(memory_order_seq_cst);
}

#endif
