/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool of packet buffers whose Nth take fails: the count runs over all such pools of the process,
 * so that one number names one take of a run. Without a cache, so that every take is seen.
 *
 * Owner: one thread.
 */
#ifndef TIDEMARK_TESTS_FAIL_POOL_H
#define TIDEMARK_TESTS_FAIL_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_mempool.h>

/* As unit_pool. */
struct rte_mempool *fail_pool(const char *name, unsigned count, uint16_t data_room);

extern uint64_t fail_pool_takes;   /* so far, failed ones as well */
extern uint64_t fail_pool_fail_at; /* this one fails; 0: none */
extern bool fail_pool_ever_after;  /* and all later ones */
extern uint64_t fail_pool_failed;  /* how many did */

#endif
