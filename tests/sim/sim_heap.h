/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The heap as the code under test sees it: the Nth allocation fails. Counted only while armed, which
 * the simulation is around calls into that code; what the simulated machine itself needs comes from
 * sim_plain_* and is never counted.
 *
 * Owner: one thread.
 */
#ifndef TIDEMARK_TESTS_SIM_HEAP_H
#define TIDEMARK_TESTS_SIM_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

extern volatile bool sim_heap_armed; /* volatile: a compiler thinks that malloc looks at nothing */
extern uint64_t sim_heap_allocations; /* while armed; failed ones as well */
extern uint64_t sim_heap_fail_at;     /* 0: none */

/* In place of malloc and the others within sim_fs (see meson.build). */
void *sim_plain_malloc(size_t);
void *sim_plain_calloc(size_t, size_t);
void *sim_plain_realloc(void *, size_t);
void *sim_plain_aligned_alloc(size_t, size_t);
char *sim_plain_strdup(const char *);

#endif
