/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/quorum_log.h"

#include "raft/quorum_bytes.h"

static void drop(struct quorum_log *l, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++)
        free((void *)(uintptr_t)l->entries[i].bytes);
}

void quorum_log_deinit(struct quorum_log *l)
{
    drop(l, 0, l->count);
    free(l->entries);
    *l = (struct quorum_log){.first = 1};
}

void quorum_log_restart(struct quorum_log *l, uint64_t first)
{
    drop(l, 0, l->count);
    l->count = 0;
    l->first = first;
}

uint64_t quorum_log_last(const struct quorum_log *l)
{
    return l->first + l->count - 1;
}

const struct quorum_entry *quorum_log_at(const struct quorum_log *l, uint64_t index)
{
    return index >= l->first && index - l->first < l->count ? &l->entries[index - l->first] : NULL;
}

void quorum_log_cut(struct quorum_log *l, uint64_t index)
{
    TIDE_ASSERT(index >= l->first);
    if (index > quorum_log_last(l))
        return;
    drop(l, index - l->first, l->count);
    l->count = index - l->first;
}

void quorum_log_append(struct quorum_log *l, const struct quorum_entry *e)
{
    TIDE_ASSERT(e->index == l->first + l->count);
    TIDE_ASSERT(l->count == 0 || l->entries[l->count - 1].term <= e->term);
    if (l->count == l->room) {
        l->room = l->room != 0 ? 2 * l->room : 64;
        l->entries = quorum_grow(l->entries, l->room, sizeof(*l->entries));
    }
    l->entries[l->count] = *e;
    l->entries[l->count++].bytes = quorum_copy(e->bytes, e->len);
}

void quorum_log_trim(struct quorum_log *l, uint64_t first)
{
    if (first <= l->first || first > l->first + l->count)
        return;
    uint64_t gone = first - l->first;
    drop(l, 0, gone);
    memmove(l->entries, l->entries + gone, (l->count - gone) * sizeof(*l->entries));
    l->count -= gone;
    l->first = first;
}
