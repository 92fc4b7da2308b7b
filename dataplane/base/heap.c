/* SPDX-License-Identifier: Apache-2.0 */
#include "tidemark/heap.h"

#include <string.h>
#include <sys/mman.h>

#include "tidemark/assert.h"

enum {
    LEAST = 32,  /* bytes of a block of order 0 */
    ORDERS = 32, /* 32 bytes << 31 is more than anybody gives a core */
    USED = 64,   /* in `order`: the block that begins here is taken */
    INSIDE = 255, /* in `order`: no block begins here */
};

/* What is known of the unit at which a block begins. Next and previous are units of the free list of its order, counted from 1. */
struct unit {
    uint32_t next, previous;
};

struct tide_heap {
    uint8_t *bytes;
    uint8_t *order; /* of the block that begins at the unit */
    struct unit *units;
    uint32_t top; /* order of the whole */
    uint32_t unit_count;
    uint64_t free_units;
    size_t map_bytes;
    uint32_t first[ORDERS]; /* free blocks */
};

static void push(struct tide_heap *h, uint32_t unit, uint32_t order)
{
    h->order[unit] = (uint8_t)order;
    h->units[unit] = (struct unit){.next = h->first[order]};
    if (h->first[order] != 0)
        h->units[h->first[order] - 1].previous = unit + 1;
    h->first[order] = unit + 1;
}

static void drop(struct tide_heap *h, uint32_t unit, uint32_t order)
{
    struct unit u = h->units[unit];
    if (u.previous != 0)
        h->units[u.previous - 1].next = u.next;
    else
        h->first[order] = u.next;
    if (u.next != 0)
        h->units[u.next - 1].previous = u.previous;
    h->order[unit] = INSIDE;
}

static size_t round_up(size_t n)
{
    return (n + 4095) & ~(size_t)4095;
}

struct tide_heap *tide_heap_create(size_t bytes)
{
    uint32_t top = 0;
    if (bytes < LEAST)
        return NULL;
    while (top + 1 < ORDERS && (size_t)LEAST << (top + 1) <= bytes)
        top++;
    size_t whole = (size_t)LEAST << top;
    size_t units = (size_t)1 << top;
    size_t head = round_up(sizeof(struct tide_heap)), marks = round_up(units), links = round_up(units * sizeof(struct unit));
    size_t map_bytes = head + marks + links + round_up(whole);
    uint8_t *at = mmap(NULL, map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED)
        return NULL;
    struct tide_heap *h = (struct tide_heap *)at;
    *h = (struct tide_heap){.order = at + head, .units = (struct unit *)(at + head + marks), .bytes = at + head + marks + links,
                            .top = top, .unit_count = (uint32_t)units, .free_units = units, .map_bytes = map_bytes};
    push(h, 0, top); /* the marks inside of a block are never read, so they need not be written */
    return h;
}

void tide_heap_destroy(struct tide_heap *h)
{
    if (h != NULL)
        (void)munmap(h, h->map_bytes);
}

static uint32_t order_of(const struct tide_heap *h, size_t bytes)
{
    uint32_t order = 0;
    while (order <= h->top && (size_t)LEAST << order < bytes)
        order++;
    return order;
}

/* The least order, from this one on, of which a block is free. */
static uint32_t order_free(const struct tide_heap *h, uint32_t order)
{
    while (order <= h->top && h->first[order] == 0)
        order++;
    return order;
}

bool tide_heap_has(const struct tide_heap *h, size_t bytes)
{
    return order_free(h, order_of(h, bytes)) <= h->top;
}

void *tide_heap_take(struct tide_heap *h, size_t bytes)
{
    uint32_t order = order_of(h, bytes), have = order_free(h, order);
    uint32_t unit;
    if (have > h->top)
        return NULL;
    unit = h->first[have] - 1;
    drop(h, unit, have);
    while (have > order) {
        have--;
        push(h, unit + ((uint32_t)1 << have), have);
    }
    h->order[unit] = (uint8_t)(USED | order);
    h->free_units -= (uint64_t)1 << order;
    return memset(h->bytes + (size_t)unit * LEAST, 0, (size_t)LEAST << order);
}

void tide_heap_give(struct tide_heap *h, void *block)
{
    if (block == NULL)
        return;
    size_t at = (size_t)((uint8_t *)block - h->bytes);
    uint32_t unit = (uint32_t)(at / LEAST);
    TIDE_ASSERT(at % LEAST == 0);
    TIDE_ASSERT(at / LEAST < h->unit_count);
    TIDE_ASSERT(h->order[unit] >= USED);
    TIDE_ASSERT(h->order[unit] != INSIDE);
    uint32_t order = h->order[unit] & (USED - 1);
    h->free_units += (uint64_t)1 << order;
    h->order[unit] = INSIDE;
    while (order < h->top) {
        uint32_t other = unit ^ ((uint32_t)1 << order);
        if (h->order[other] != order) /* it is used, or split */
            break;
        drop(h, other, order);
        unit &= ~((uint32_t)1 << order);
        order++;
    }
    push(h, unit, order);
}

size_t tide_heap_free_bytes(const struct tide_heap *h)
{
    return h->free_units * LEAST;
}

size_t tide_heap_bytes(const struct tide_heap *h)
{
    return (size_t)h->unit_count * LEAST;
}

void tide_heap_check(const struct tide_heap *h)
{
    uint64_t free_units = 0, listed = 0;
    for (uint64_t unit = 0; unit < h->unit_count;) {
        uint8_t mark = h->order[unit];
        uint32_t order = mark & (USED - 1);
        uint64_t size = (uint64_t)1 << order;
        TIDE_ASSERT(mark != INSIDE);
        TIDE_ASSERT(order <= h->top);
        TIDE_ASSERT(unit % size == 0);
        if (mark < USED) {
            free_units += size;
            TIDE_ASSERT(order == h->top || h->order[unit ^ size] != order); /* two halves that are free are one block */
        }
        unit += size;
    }
    TIDE_ASSERT(free_units == h->free_units);
    for (uint32_t order = 0; order <= h->top; order++)
        for (uint32_t at = h->first[order]; at != 0; at = h->units[at - 1].next) {
            TIDE_ASSERT(h->order[at - 1] == order);
            listed += (uint64_t)1 << order;
        }
    TIDE_ASSERT(listed == h->free_units);
}
