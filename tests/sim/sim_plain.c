/* SPDX-License-Identifier: Apache-2.0 */
#include "sim_heap.h"

#include <stdlib.h>
#include <string.h>

volatile bool sim_heap_armed;
uint64_t sim_heap_allocations, sim_heap_fail_at;

static bool disarm(void)
{
    bool armed = sim_heap_armed;
    sim_heap_armed = false;
    return armed;
}

void *sim_plain_malloc(size_t n)
{
    bool armed = disarm();
    void *p = malloc(n);
    sim_heap_armed = armed;
    return p;
}

void *sim_plain_calloc(size_t count, size_t size)
{
    bool armed = disarm();
    void *p = calloc(count, size);
    sim_heap_armed = armed;
    return p;
}

void *sim_plain_realloc(void *at, size_t n)
{
    bool armed = disarm();
    void *p = realloc(at, n);
    sim_heap_armed = armed;
    return p;
}

void *sim_plain_aligned_alloc(size_t alignment, size_t n)
{
    bool armed = disarm();
    void *p = aligned_alloc(alignment, n);
    sim_heap_armed = armed;
    return p;
}

char *sim_plain_strdup(const char *text)
{
    bool armed = disarm();
    char *p = strdup(text);
    sim_heap_armed = armed;
    return p;
}
