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

/*
 * Adds to a plain word that this thread alone writes, and that others read for a count: a reader sees the old value or the new one. No
 * ordering. The compiler makes three instructions of a relaxed load and store; a memory operand is as whole (Intel SDM 3A 9.1.1).
 */
static inline void tide_word_add(uint64_t *word, uint64_t n)
{
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
    __asm__("addq %1, %0" : "+m"(*word) : "er"(n) : "cc");
#else
    __atomic_store_n(word, __atomic_load_n(word, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
#endif
}

static inline void tide_fence(void)
{
    atomic_thread_fence(memory_order_seq_cst);
}

#endif
