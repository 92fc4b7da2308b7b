/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Grace periods as a pure module sees them: begin one, ask later whether every core has passed a
 * quiet point since. The core puts rte_rcu_qsbr under it (tide_grace_over), tests and simulators
 * their own.
 */
#ifndef TIDEMARK_GRACE_H
#define TIDEMARK_GRACE_H

#include <stdbool.h>
#include <stdint.h>

struct rte_rcu_qsbr;

struct tide_grace {
    void *self;
    uint64_t (*begin)(void *self); /* a token, for passed() */
    bool (*passed)(void *self, uint64_t token); /* never waits */
};

/* Over the quiet points of the cores. */
struct tide_grace tide_grace_over(struct rte_rcu_qsbr *);

#endif
