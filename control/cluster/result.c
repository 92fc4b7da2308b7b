/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Results: filling them in, and their bytes.
 */
#include <stdarg.h>
#include <stdio.h>

#include "cluster/packing.h"
#include "cluster/state.h"

enum {
    RESULT_VERSION = 1,
    ITEM_STATE = 1,
    ITEM_RECOVERING = 2,
    ITEM_BYTES_LEAST = 2 + 2 + 16 + 4 + 1,
    ITEM_BYTES_MOST = ITEM_BYTES_LEAST + CLUSTER_MESSAGE_MAX + 3 * 4 + 1 + TIDE_REPLICAS_MAX * 4,
    HEAD_BYTES_MOST = 2 + 2 + 2 + CLUSTER_MESSAGE_MAX + 3 * 8 + 2 * 4,
};
static_assert(HEAD_BYTES_MOST + CLUSTER_ITEMS_MAX * ITEM_BYTES_MOST <= CLUSTER_RESULT_MAX, "the largest result fits");

size_t cluster_result_bound(uint32_t items)
{
    return HEAD_BYTES_MOST + (size_t)items * ITEM_BYTES_MOST;
}

void cluster_refuse(struct cluster_result *r, int16_t error, const char *format, ...)
{
    va_list args;
    r->error = error;
    va_start(args, format);
    vsnprintf(r->message, sizeof(r->message), format, args);
    va_end(args);
}

void cluster_refuse_item(struct cluster_item *item, int16_t error, const char *format, ...)
{
    va_list args;
    item->error = error;
    va_start(args, format);
    vsnprintf(item->message, sizeof(item->message), format, args);
    va_end(args);
}

bool cluster_result_reserve(struct cluster_result *r, const struct cluster_memory *memory, uint32_t items)
{
    r->memory = memory;
    if (items == 0)
        return true;
    r->items = cluster_take(memory, items * sizeof(*r->items));
    if (r->items == NULL)
        return false;
    r->item_count = items;
    return true;
}

void cluster_result_free(struct cluster_result *r)
{
    cluster_give(r->memory, r->items);
    r->items = NULL;
    r->item_count = 0;
}

void cluster_item_show(struct cluster_item *item, const struct cluster_topic *t, uint32_t partition)
{
    const struct cluster_partition *p = &t->partitions[partition];
    item->topic_id = t->id;
    item->partition = (int32_t)partition;
    item->has_state = true;
    item->recovering = p->recovering;
    item->leader = p->leader;
    item->leader_epoch = p->leader_epoch;
    item->partition_epoch = p->partition_epoch;
    item->id_count = p->isr_count;
    memcpy(item->ids, p->isr, sizeof(item->ids));
}

static void pack_item(struct packer *w, const struct cluster_item *item)
{
    pack_u16(w, (uint16_t)item->error);
    pack_text(w, item->message);
    pack_uuid(w, &item->topic_id);
    pack_i32(w, item->partition);
    pack_u8(w, (uint8_t)((item->has_state ? ITEM_STATE : 0) | (item->has_state && item->recovering ? ITEM_RECOVERING : 0)));
    if (!item->has_state)
        return;
    pack_i32(w, item->leader);
    pack_i32(w, item->leader_epoch);
    pack_i32(w, item->partition_epoch);
    pack_ids(w, item->ids, item->id_count);
}

enum tide_status cluster_result_encode(const struct cluster_result *r, uint8_t *to, size_t cap, size_t *ret_len)
{
    struct packer w = {.to = to, .cap = cap};
    pack_u16(&w, RESULT_VERSION);
    pack_u16(&w, (uint16_t)r->error);
    pack_text(&w, r->message);
    pack_u64(&w, r->index);
    pack_i64(&w, r->broker_epoch);
    pack_i64(&w, r->first_producer_id);
    pack_u32(&w, r->changed);
    pack_u32(&w, r->item_count);
    for (uint32_t i = 0; i < r->item_count; i++)
        pack_item(&w, &r->items[i]);
    if (w.failed)
        return TIDE_FULL;
    *ret_len = w.at;
    return TIDE_OK;
}

static void unpack_item(struct unpacker *u, struct cluster_item *item)
{
    uint8_t flags;
    item->error = (int16_t)unpack_u16(u);
    unpack_text(u, item->message, sizeof(item->message));
    item->topic_id = unpack_uuid(u);
    item->partition = unpack_i32(u);
    flags = unpack_u8(u);
    u->failed |= flags != 0 && flags != ITEM_STATE && flags != (ITEM_STATE | ITEM_RECOVERING);
    item->has_state = (flags & ITEM_STATE) != 0;
    item->recovering = (flags & ITEM_RECOVERING) != 0;
    if (!item->has_state)
        return;
    item->leader = unpack_i32(u);
    item->leader_epoch = unpack_i32(u);
    item->partition_epoch = unpack_i32(u);
    item->id_count = unpack_ids(u, item->ids);
}

enum tide_status cluster_result_decode(const struct cluster_memory *memory, const uint8_t *bytes, size_t len, struct cluster_result *ret)
{
    struct unpacker u = {.p = bytes, .left = len};
    struct cluster_result r = {.memory = memory};
    uint32_t items;
    if (unpack_u16(&u) != RESULT_VERSION)
        return TIDE_BAD;
    r.error = (int16_t)unpack_u16(&u);
    unpack_text(&u, r.message, sizeof(r.message));
    r.index = unpack_u64(&u);
    r.broker_epoch = unpack_i64(&u);
    r.first_producer_id = unpack_i64(&u);
    r.changed = unpack_u32(&u);
    items = unpack_count(&u, CLUSTER_ITEMS_MAX, ITEM_BYTES_LEAST);
    if (u.failed)
        return TIDE_BAD;
    if (!cluster_result_reserve(&r, memory, items))
        return TIDE_FULL;
    for (uint32_t i = 0; i < items; i++)
        unpack_item(&u, &r.items[i]);
    if (u.failed || u.left != 0) {
        cluster_result_free(&r);
        return TIDE_BAD;
    }
    *ret = r;
    return TIDE_OK;
}
