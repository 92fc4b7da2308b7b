/* SPDX-License-Identifier: Apache-2.0 */
#include "core/roster.h"

#include <string.h>

#include <rte_malloc.h>

#include "tidemark/assert.h"

void roster_read(const uint8_t block[TIDE_BLOCK], struct orphan *list, uint32_t max, uint32_t *count)
{
    struct roster_row row;
    for (uint32_t i = 0; i < ROSTER_ROWS && *count < max; i++) {
        memcpy(&row, block + roster_row_at(i), sizeof(row));
        if (row.local_port != 0)
            list[(*count)++] = (struct orphan){{row.local, row.local_port}, {row.remote, row.remote_port}};
    }
}

enum tide_status roster_init(struct roster *r, const struct roster_place *place, uint32_t slots)
{
    *r = (struct roster){.place = *place, .writing = ROSTER_NONE};
    if (place->position == 0)
        return TIDE_OK;
    r->block_count = roster_blocks(slots);
    TIDE_ASSERT(r->block_count < ROSTER_NONE);
    r->image = rte_zmalloc("roster", (size_t)r->block_count * TIDE_BLOCK, TIDE_BLOCK);
    r->queue = rte_zmalloc("roster", r->block_count * sizeof(*r->queue), TIDE_CACHE_LINE);
    r->dirty = rte_zmalloc("roster", r->block_count * sizeof(*r->dirty), TIDE_CACHE_LINE);
    if (r->image == NULL || r->queue == NULL || r->dirty == NULL) {
        roster_deinit(r);
        return TIDE_FULL;
    }
    roster_check(r);
    return TIDE_OK;
}

void roster_deinit(struct roster *r)
{
    rte_free(r->image);
    rte_free(r->queue);
    rte_free(r->dirty);
    *r = (struct roster){.writing = ROSTER_NONE};
}

/* Also while it is being written: nobody knows which bytes that takes. */
static void put(struct roster *r, uint32_t slot, const struct roster_row *row)
{
    uint32_t block = slot / ROSTER_ROWS;
    TIDE_ASSERT(block < r->block_count);
    memcpy(r->image + roster_row_at(slot), row, sizeof(*row));
    if (r->dirty[block])
        return;
    r->dirty[block] = true;
    r->queue[(r->queue_head + r->queue_count++) % r->block_count] = block;
}

void roster_set(struct roster *r, uint32_t slot, const struct tcp_endpoint *local, const struct tcp_endpoint *remote)
{
    put(r, slot, &(struct roster_row){local->addr, remote->addr, local->port, remote->port, 0});
}

void roster_clear(struct roster *r, uint32_t slot)
{
    put(r, slot, &(struct roster_row){0});
}

bool roster_has(const struct roster *r, uint32_t slot)
{
    struct roster_row row;
    memcpy(&row, r->image + roster_row_at(slot), sizeof(row));
    return row.local_port != 0;
}

void roster_on_turn(struct roster *r, struct tide_out *out)
{
    uint32_t block;
    if (r->queue_count == 0 || r->writing != ROSTER_NONE || !tide_out_has_op_room(out))
        return;
    block = r->queue[r->queue_head];
    r->queue_head = (r->queue_head + 1) % r->block_count;
    r->queue_count--;
    r->dirty[block] = false;
    r->writing = block;
    tide_out_op(out, &(struct disk_op){.kind = DISK_WRITE,
                                       .cached = true,
                                       .file = r->place.file,
                                       .len = TIDE_BLOCK,
                                       .position = r->place.position + (uint64_t)block * TIDE_BLOCK,
                                       .buf = r->image + (size_t)block * TIDE_BLOCK,
                                       .id = DISK_ID(DISK_OWNER_ROSTER, block, 0)});
}

bool roster_on_disk(struct roster *r, const struct disk_done *done)
{
    TIDE_ASSERT(r->writing == DISK_ID_SLOT(done->id)); /* N2 */
    r->writing = ROSTER_NONE;
    return done->result == TIDE_BLOCK;
}

void roster_check(const struct roster *r)
{
    uint32_t dirty = 0;
    TIDE_ASSERT(r->writing == ROSTER_NONE || r->writing < r->block_count); /* N2 */
    TIDE_ASSERT(r->queue_count <= r->block_count);                         /* N1 */
    for (uint32_t i = 0; i < r->block_count; i++)
        dirty += r->dirty[i];
    TIDE_ASSERT(dirty == r->queue_count); /* N1 */
    for (uint32_t i = 0; i < r->queue_count; i++)
        TIDE_ASSERT(r->dirty[r->queue[(r->queue_head + i) % r->block_count]]); /* N1 */
}
