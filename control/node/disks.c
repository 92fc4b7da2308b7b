/* SPDX-License-Identifier: Apache-2.0 */
#include "node/disks.h"

#include <errno.h>
#include <string.h>

#include "tidemark/assert.h"
#include "tidemark/types.h"

#define TO(s) (1u << DISK_##s)
static const struct {
    const char *name;
    uint32_t next;
} disk_states[DISK_STATE_COUNT] = {
    [DISK_WELL] = {"well", TO(OFFLINE)},
    [DISK_OFFLINE] = {"offline", TO(WELL)},
};

static void move(struct disks *d, uint32_t dir, enum disk_state to)
{
    TIDE_ASSERT(disk_states[d->at[dir].state].next & 1u << to);
    d->at[dir].state = to;
    disks_check(d);
}

void disks_init(struct disks *d, uint32_t count, uint64_t recover_ms)
{
    memset(d, 0, sizeof(*d));
    d->count = count;
    d->recover_ms = recover_ms;
}

static void go_offline(struct disks *d, uint64_t now_ms, uint32_t dir)
{
    struct disk *k = &d->at[dir];
    if (k->state == DISK_OFFLINE)
        return;
    k->times = k->times != 0 && now_ms - k->offline_ms <= DISKS_ROW_MS ? k->times + 1 : 1;
    k->offline_ms = now_ms;
    k->probed_well = false;
    k->probe_at_ms = now_ms + DISKS_PROBE_MS;
    move(d, dir, DISK_OFFLINE);
}

void disks_on_failure(struct disks *d, uint64_t now_ms, uint32_t dir, bool again)
{
    struct disk *k = &d->at[dir];
    k->failed_ms = now_ms;
    k->wants_probe |= k->state == DISK_WELL;
    if (again)
        go_offline(d, now_ms, dir);
}

bool disks_take_probe(struct disks *d, uint64_t now_ms, uint32_t *ret_dir)
{
    for (uint32_t i = 0; i < d->count; i++) {
        struct disk *k = &d->at[i];
        if (k->probing || !(k->wants_probe || (k->state == DISK_OFFLINE && now_ms >= k->probe_at_ms)))
            continue;
        k->wants_probe = false;
        k->probing = true;
        *ret_dir = i;
        return true;
    }
    return false;
}

/* It says nothing of the disk. */
static bool is_elsewhere(int64_t result)
{
    switch (result) {
    case -ENOSPC:
    case -EDQUOT:
    case -ENOMEM:
    case -EMFILE:
    case -ENFILE:
    case -EINTR:
        return true;
    default:
        return false;
    }
}

void disks_on_probe(struct disks *d, uint64_t now_ms, uint32_t dir, int64_t result)
{
    struct disk *k = &d->at[dir];
    TIDE_ASSERT(k->probing); /* K1 */
    k->probing = false;
    k->probe_at_ms = now_ms + DISKS_PROBE_MS;
    k->probed_well = result == 0 || is_elsewhere(result);
    if (k->probed_well)
        return;
    k->failed_ms = now_ms;
    go_offline(d, now_ms, dir);
}

static uint64_t recover_ms(const struct disks *d, const struct disk *k)
{
    uint64_t ms = d->recover_ms;
    for (uint32_t i = 1; i < k->times && ms < DISKS_RECOVER_MAX_MS; i++)
        ms *= 2;
    return TIDE_MIN(ms, TIDE_MAX((uint64_t)DISKS_RECOVER_MAX_MS, d->recover_ms));
}

void disks_on_time(struct disks *d, uint64_t now_ms)
{
    for (uint32_t i = 0; i < d->count; i++) {
        const struct disk *k = &d->at[i];
        if (k->state == DISK_OFFLINE && k->probed_well && now_ms - k->failed_ms >= recover_ms(d, k))
            move(d, i, DISK_WELL);
    }
}

bool disks_is_offline(const struct disks *d, uint32_t dir)
{
    return d->at[dir].state == DISK_OFFLINE;
}

bool disks_are_probed(const struct disks *d)
{
    for (uint32_t i = 0; i < d->count; i++)
        if (d->at[i].probing)
            return true;
    return false;
}

void disks_check(const struct disks *d)
{
    for (uint32_t i = 0; i < d->count; i++)
        TIDE_ASSERT(d->at[i].state == DISK_WELL || d->at[i].times != 0); /* K2 */
}
