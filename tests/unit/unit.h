/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every unit test needs: cmocka with its includes, and an EAL without hugepages or root.
 */
#ifndef TIDEMARK_TESTS_UNIT_H
#define TIDEMARK_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <rte_mbuf.h>

/* Starts EAL once per process with --no-huge --no-shconf --no-pci --no-telemetry. Aborts if it
 * cannot. */
void unit_eal(void);

/* A pool for tests; `data_room` without headroom. Aborts when there is no memory. */
struct rte_mempool *unit_pool(const char *name, unsigned count, uint16_t data_room);

/* An mbuf of `pool` whose data is an exactly sized heap block with a copy of `bytes`, attached
 * as an external buffer, so that the address sanitizer sees every over-read. */
struct rte_mbuf *unit_exact_mbuf(struct rte_mempool *pool, const void *bytes, uint16_t len);

#endif
