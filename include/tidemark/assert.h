/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TIDE_ASSERT       we can prove it; in every build.
 * TIDE_ASSERT_SLOW  walks a structure; only with -DTIDE_SLOW_CHECKS (debug, simulator, fuzzers).
 * TIDE_EXPECT       we believe it; yields a bool, and a false one is counted. What a peer or a
 *                   drive sends may fail EXPECT, never ASSERT.
 */
#ifndef TIDEMARK_ASSERT_H
#define TIDEMARK_ASSERT_H

#include <stdatomic.h>
#include <stdbool.h>

/* Prints where and what, then aborts. */
_Noreturn void tide_assert_failed(const char *expression, const char *file, int line);

/* How often an expectation did not hold, in this process. */
extern _Atomic unsigned long tide_expect_failures;

#define TIDE_ASSERT(x) ((x) ? (void)0 : tide_assert_failed(#x, __FILE__, __LINE__))

#ifdef TIDE_SLOW_CHECKS
#define TIDE_ASSERT_SLOW(x) TIDE_ASSERT(x)
#else
#define TIDE_ASSERT_SLOW(x) ((void)sizeof(x))
#endif

static inline bool tide_expect(bool holds)
{
    if (!holds)
        atomic_fetch_add_explicit(&tide_expect_failures, 1, memory_order_relaxed);
    return holds;
}
#define TIDE_EXPECT(x) tide_expect(x)

#endif
