/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/producer.h"

#include <stdlib.h>
#include <string.h>

#include "tidemark/assert.h"
#include "tidemark/bytes.h"
#include "tidemark/types.h"

enum {
    SNAPSHOT_VERSION = 1,
    SNAPSHOT_HEAD = 10, /* version, crc, count */
    SNAPSHOT_CRC_FROM = 6,
    SNAPSHOT_ENTRY = 8 + 2 + 4 + 8 + 4 + 8 + 4 + 8,
};

const char *const producer_verdict_names[PRODUCER_VERDICT_COUNT] = {
    "none", "duplicate", "old epoch", "new epoch", "new epoch with a gap", "next", "gap", "unknown"};

struct producers {
    uint32_t max;
    uint32_t count;
    uint32_t mask;
    uint32_t sweep;
    uint32_t *buckets; /* entry number + 1 */
    struct producer_entry *entries;
};

struct producers *producers_create(uint32_t max)
{
    struct producers *p = calloc(1, sizeof(*p));
    uint32_t buckets = 16;
    if (p == NULL)
        return NULL;
    while (buckets < max)
        buckets *= 2;
    p->max = max;
    p->mask = buckets - 1;
    p->buckets = calloc(buckets, sizeof(*p->buckets));
    p->entries = calloc(max, sizeof(*p->entries));
    if (p->buckets == NULL || p->entries == NULL) {
        producers_destroy(p);
        return NULL;
    }
    for (uint32_t i = 0; i < max; i++)
        p->entries[i].id = -1;
    return p;
}

void producers_destroy(struct producers *p)
{
    if (p == NULL)
        return;
    free(p->buckets);
    free(p->entries);
    free(p);
}

uint32_t producers_count(const struct producers *p)
{
    return p->count;
}

uint32_t producers_ends(const struct producers *p, int64_t *to, uint32_t max)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->max; i++) {
        const struct producer_entry *e = &p->entries[i];
        if (e->id < 0 || e->batch_count == 0)
            continue;
        if (n < max)
            to[n] = e->batches[e->batch_count - 1].last_offset;
        n++;
    }
    return n;
}

static uint32_t *bucket_of(const struct producers *p, int64_t id)
{
    return &p->buckets[((uint64_t)id * 0x9e3779b97f4a7c15ull >> 32) & p->mask];
}

static struct producer_entry *find(const struct producers *p, int64_t id)
{
    for (uint32_t n = *bucket_of(p, id); n != 0; n = p->entries[n - 1].hash_next)
        if (p->entries[n - 1].id == id)
            return &p->entries[n - 1];
    return NULL;
}

static void forget(struct producers *p, struct producer_entry *e)
{
    uint32_t number = (uint32_t)(e - p->entries) + 1;
    uint32_t *at = bucket_of(p, e->id);
    while (*at != number)
        at = &p->entries[*at - 1].hash_next;
    *at = e->hash_next;
    e->id = -1;
    p->count--;
}

static struct producer_entry *next_to_look_at(struct producers *p)
{
    struct producer_entry *e = &p->entries[p->sweep];
    p->sweep = p->sweep + 1 == p->max ? 0 : p->sweep + 1;
    return e;
}

/* A free entry; when there is none, one of a few looked at that was silent for longest. */
static struct producer_entry *take(struct producers *p)
{
    enum { LOOKS = 64 };
    struct producer_entry *oldest = NULL;
    for (uint32_t i = 0; i < p->max; i++) {
        struct producer_entry *e = next_to_look_at(p);
        if (e->id < 0)
            return e;
        if (oldest == NULL || e->used_ms < oldest->used_ms)
            oldest = e;
        if (p->count == p->max && i + 1 >= LOOKS)
            break;
    }
    forget(p, oldest);
    return oldest;
}

static int32_t sequence_after(int32_t s, int32_t n)
{
    return (int32_t)(((uint32_t)s + (uint32_t)n) & 0x7fffffffu); /* wraps to 0 */
}

/* ---- the decision --------------------------------------------------------------------------------- */

enum producer_verdict producer_judge(const struct producers *p, const struct batch_header *h, int64_t *ret_first_offset)
{
    const struct producer_entry *e;
    int32_t last = sequence_after(h->base_sequence, h->last_offset_delta);
    if (h->producer_id < 0)
        return PRODUCER_NONE;
    e = find(p, h->producer_id);
    if (e == NULL)
        return PRODUCER_UNKNOWN;
    if (e->epoch == h->producer_epoch) {
        for (unsigned i = 0; i < e->batch_count; i++) {
            const struct producer_batch *b = &e->batches[i];
            if (b->last_sequence == last && b->offset_delta == h->last_offset_delta) {
                *ret_first_offset = b->last_offset - b->offset_delta;
                return PRODUCER_DUPLICATE;
            }
        }
    }
    if (h->producer_epoch < e->epoch)
        return PRODUCER_OLD_EPOCH;
    if (h->producer_epoch > e->epoch)
        return h->base_sequence == 0 ? PRODUCER_NEW_EPOCH : PRODUCER_NEW_EPOCH_GAP;
    if (e->batch_count == 0)
        return h->base_sequence == 0 ? PRODUCER_NEXT : PRODUCER_GAP;
    return h->base_sequence == sequence_after(e->batches[e->batch_count - 1].last_sequence, 1) ? PRODUCER_NEXT : PRODUCER_GAP;
}

void producer_appended(struct producers *p, const struct batch_header *h, int64_t base_offset, int64_t now_ms)
{
    struct producer_entry *e;
    if (h->producer_id < 0)
        return;
    e = find(p, h->producer_id);
    if (e == NULL) {
        uint32_t *bucket = bucket_of(p, h->producer_id);
        e = take(p);
        memset(e, 0, sizeof(*e));
        e->id = h->producer_id;
        e->epoch = h->producer_epoch;
        e->hash_next = *bucket;
        *bucket = (uint32_t)(e - p->entries) + 1;
        p->count++;
    }
    if (e->epoch != h->producer_epoch) {
        e->epoch = h->producer_epoch;
        e->batch_count = 0;
    }
    e->used_ms = now_ms;
    if (h->base_sequence < 0)
        return; /* a marker: it counts as a sign of life only */
    if (e->batch_count == PRODUCER_WINDOW) {
        memmove(&e->batches[0], &e->batches[1], (PRODUCER_WINDOW - 1) * sizeof(e->batches[0]));
        e->batch_count--;
    }
    e->batches[e->batch_count++] = (struct producer_batch){.last_sequence = sequence_after(h->base_sequence, h->last_offset_delta),
                                                           .offset_delta = h->last_offset_delta,
                                                           .last_offset = base_offset + h->last_offset_delta,
                                                           .timestamp = h->max_timestamp};
}

void producers_expire(struct producers *p, int64_t before_ms, unsigned budget)
{
    for (unsigned i = 0; i < budget && p->count != 0; i++) {
        struct producer_entry *e = next_to_look_at(p);
        if (e->id >= 0 && e->used_ms < before_ms)
            forget(p, e);
    }
}

void producers_clear(struct producers *p)
{
    for (uint32_t i = 0; i < p->max && p->count != 0; i++)
        if (p->entries[i].id >= 0)
            forget(p, &p->entries[i]);
}

void producers_loaded(struct producers *p, int64_t now_ms)
{
    for (uint32_t i = 0; i < p->max; i++)
        p->entries[i].used_ms = now_ms;
}

/* ---- snapshots ---------------------------------------------------------------------------------------- */

/* A producer without batches has one entry, that says so. */
static uint32_t entries_of(const struct producers *p)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->max; i++)
        if (p->entries[i].id >= 0)
            n += TIDE_MAX(p->entries[i].batch_count, 1);
    return n;
}

size_t producers_snapshot_size(const struct producers *p)
{
    return SNAPSHOT_HEAD + (size_t)entries_of(p) * SNAPSHOT_ENTRY;
}

static void store_entry(const struct producer_entry *e, unsigned batch, uint8_t *at)
{
    const struct producer_batch none = {.last_sequence = -1, .last_offset = -1, .timestamp = -1};
    const struct producer_batch *b = e->batch_count != 0 ? &e->batches[batch] : &none;
    store_be64(at, (uint64_t)e->id);
    store_be16(at + 8, (uint16_t)e->epoch);
    store_be32(at + 10, (uint32_t)b->last_sequence);
    store_be64(at + 14, (uint64_t)b->last_offset);
    store_be32(at + 22, (uint32_t)b->offset_delta);
    store_be64(at + 26, (uint64_t)b->timestamp);
    store_be32(at + 34, UINT32_MAX); /* coordinator epoch: no transactions */
    store_be64(at + 38, UINT64_MAX); /* first offset of an open transaction: none */
}

size_t producers_snapshot(const struct producers *p, uint8_t *to, size_t cap)
{
    size_t size = producers_snapshot_size(p);
    uint8_t *at = to + SNAPSHOT_HEAD;
    if (cap < size)
        return 0;
    store_be16(to, SNAPSHOT_VERSION);
    store_be32(to + SNAPSHOT_CRC_FROM, (uint32_t)((size - SNAPSHOT_HEAD) / SNAPSHOT_ENTRY));
    for (uint32_t i = 0; i < p->max; i++) {
        if (p->entries[i].id < 0)
            continue;
        for (unsigned k = 0; k < TIDE_MAX(p->entries[i].batch_count, 1); k++) {
            store_entry(&p->entries[i], k, at);
            at += SNAPSHOT_ENTRY;
        }
    }
    store_be32(to + 2, batch_crc_update(0, to + SNAPSHOT_CRC_FROM, size - SNAPSHOT_CRC_FROM));
    return size;
}

enum tide_status producers_restore(struct producers *p, const uint8_t *bytes, size_t len, int64_t now_ms)
{
    uint32_t count;
    if (len < SNAPSHOT_HEAD || load_be16(bytes) != SNAPSHOT_VERSION)
        return TIDE_BAD;
    count = load_be32(bytes + SNAPSHOT_CRC_FROM);
    if ((len - SNAPSHOT_HEAD) / SNAPSHOT_ENTRY != count || (len - SNAPSHOT_HEAD) % SNAPSHOT_ENTRY != 0 ||
        batch_crc_update(0, bytes + SNAPSHOT_CRC_FROM, len - SNAPSHOT_CRC_FROM) != load_be32(bytes + 2))
        return TIDE_BAD;
    producers_clear(p);
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *at = bytes + SNAPSHOT_HEAD + (size_t)i * SNAPSHOT_ENTRY;
        struct batch_header h = {.producer_id = (int64_t)load_be64(at), .producer_epoch = (int16_t)load_be16(at + 8),
                                 .last_offset_delta = (int32_t)load_be32(at + 22), .max_timestamp = (int64_t)load_be64(at + 26)};
        int32_t last = (int32_t)load_be32(at + 10);
        int64_t last_offset = (int64_t)load_be64(at + 14);
        if (h.producer_id < 0 || h.last_offset_delta < 0)
            continue;
        h.base_sequence = last < 0 ? -1 : (int32_t)(((uint32_t)last - (uint32_t)h.last_offset_delta) & 0x7fffffffu);
        producer_appended(p, &h, last_offset - h.last_offset_delta, now_ms);
    }
    return TIDE_OK;
}

void producers_check(const struct producers *p)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < p->max; i++) {
        const struct producer_entry *e = &p->entries[i];
        if (e->id < 0)
            continue;
        count++;
        TIDE_ASSERT(find(p, e->id) == e); /* R2 */
        TIDE_ASSERT(e->batch_count <= PRODUCER_WINDOW);
        for (unsigned k = 1; k < e->batch_count; k++)
            TIDE_ASSERT(e->batches[k - 1].last_offset < e->batches[k].last_offset); /* R1 */
    }
    TIDE_ASSERT(count == p->count);
}
