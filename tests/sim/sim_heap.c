/* SPDX-License-Identifier: Apache-2.0 */
/* The linker sends every allocation of the program here (--wrap). */
#include "sim_heap.h"

static bool fails(void)
{
    return sim_heap_armed && ++sim_heap_allocations == sim_heap_fail_at;
}

void *__real_malloc(size_t);
void *__wrap_malloc(size_t);
void *__wrap_malloc(size_t n)
{
    return fails() ? NULL : __real_malloc(n);
}

void *__real_calloc(size_t, size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__real_realloc(void *, size_t);
void *__wrap_realloc(void *, size_t);
void *__wrap_realloc(void *at, size_t n)
{
    return fails() ? NULL : __real_realloc(at, n);
}

void *__real_aligned_alloc(size_t, size_t);
void *__wrap_aligned_alloc(size_t, size_t);
void *__wrap_aligned_alloc(size_t alignment, size_t n)
{
    return fails() ? NULL : __real_aligned_alloc(alignment, n);
}

char *__real_strdup(const char *);
char *__wrap_strdup(const char *);
char *__wrap_strdup(const char *text)
{
    return fails() ? NULL : __real_strdup(text);
}
