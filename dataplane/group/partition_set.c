/* SPDX-License-Identifier: Apache-2.0 */
#include "group/partition_set.h"

#include <string.h>

#include "tidemark/assert.h"

int group_partition_compare(const struct group_partition *a, const struct group_partition *b)
{
    int order = memcmp(&a->topic, &b->topic, sizeof(a->topic));
    if (order != 0)
        return order;
    return a->partition < b->partition ? -1 : a->partition > b->partition;
}

static int compare(const void *a, const void *b) { return group_partition_compare(a, b); }

const struct group_partition *partition_set_find(const struct partition_set *s, const struct tide_uuid *topic, int32_t partition)
{
    struct group_partition p = {.topic = *topic, .partition = partition};
    uint32_t low = 0, high = s->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = group_partition_compare(&s->at[middle], &p);
        if (order == 0)
            return &s->at[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

bool partition_set_equal(const struct partition_set *a, const struct partition_set *b)
{
    if (a->count != b->count)
        return false;
    for (uint32_t i = 0; i < a->count; i++)
        if (group_partition_compare(&a->at[i], &b->at[i]) != 0)
            return false;
    return true;
}

enum tide_status partition_set_make(struct partition_set *ret, struct tide_heap *heap, uint32_t count)
{
    *ret = (struct partition_set){0};
    if (count == 0)
        return TIDE_OK;
    ret->at = tide_heap_take(heap, (size_t)count * sizeof(*ret->at));
    if (ret->at == NULL)
        return TIDE_FULL;
    ret->count = count;
    return TIDE_OK;
}

void partition_set_free(struct partition_set *s, struct tide_heap *heap)
{
    tide_heap_give(heap, s->at);
    *s = (struct partition_set){0};
}

void partition_set_sort(struct partition_set *s)
{
    uint32_t kept = 0;
    group_sort(s->at, s->count, sizeof(*s->at), compare);
    for (uint32_t i = 0; i < s->count; i++)
        if (kept == 0 || group_partition_compare(&s->at[kept - 1], &s->at[i]) != 0)
            s->at[kept++] = s->at[i];
    s->count = kept;
}

void partition_set_check(const struct partition_set *s)
{
    TIDE_ASSERT((s->at == NULL) <= (s->count == 0));
    for (uint32_t i = 1; i < s->count; i++)
        TIDE_ASSERT(group_partition_compare(&s->at[i - 1], &s->at[i]) < 0); /* S1 */
}

uint32_t partition_set_run(const struct partition_set *s, uint32_t at)
{
    uint32_t n = at;
    while (n < s->count && tide_uuid_equal(&s->at[n].topic, &s->at[at].topic))
        n++;
    return n - at;
}

uint32_t partition_set_topics(const struct partition_set *s)
{
    uint32_t topics = 0;
    for (uint32_t i = 0; i < s->count; i += partition_set_run(s, i))
        topics++;
    return topics;
}

static void swap(uint8_t *a, uint8_t *b, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        uint8_t byte = a[i];
        a[i] = b[i];
        b[i] = byte;
    }
}

static void sift(uint8_t *at, uint32_t top, uint32_t count, uint32_t size, int (*compare_two)(const void *, const void *))
{
    for (uint32_t child; (child = 2 * top + 1) < count; top = child) {
        if (child + 1 < count && compare_two(at + (size_t)(child + 1) * size, at + (size_t)child * size) > 0)
            child++;
        if (compare_two(at + (size_t)child * size, at + (size_t)top * size) <= 0)
            return;
        swap(at + (size_t)child * size, at + (size_t)top * size, size);
    }
}

void group_sort(void *base, uint32_t count, uint32_t size, int (*compare_two)(const void *, const void *))
{
    uint8_t *at = base;
    uint32_t in_order = 1;
    while (in_order < count && compare_two(at + (size_t)(in_order - 1) * size, at + (size_t)in_order * size) <= 0)
        in_order++;
    if (in_order >= count) /* as a rule */
        return;
    for (uint32_t i = count / 2; i-- != 0;)
        sift(at, i, count, size, compare_two);
    for (uint32_t n = count - 1; n != 0; n--) {
        swap(at, at + (size_t)n * size, size);
        sift(at, 0, n, size, compare_two);
    }
}
