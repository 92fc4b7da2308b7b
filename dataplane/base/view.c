/* SPDX-License-Identifier: Apache-2.0 */
#include "tidemark/view.h"

#include "tidemark/bytes.h"

/* The upper half of the result depends on every bit of both. */
static uint64_t stir(uint64_t h, uint64_t word)
{
    h = (h ^ word) * 0x9e3779b97f4a7c15ull;
    return h ^ h >> 32;
}

static uint32_t hash_bytes(const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    const uint8_t *end = p + len;
    uint64_t h = len;
    uint64_t word = 0;
    if (len < sizeof(word)) {
        uint32_t half;
        if (len < sizeof(half)) {
            while (p != end)
                word = word << 8 | *p++;
            return (uint32_t)(stir(h, word) >> 32);
        }
        memcpy(&half, p, sizeof(half));
        word = half;
        memcpy(&half, end - sizeof(half), sizeof(half));
        return (uint32_t)(stir(h, word << 32 | half) >> 32);
    }
    for (; end - p > (ptrdiff_t)sizeof(word); p += sizeof(word)) {
        memcpy(&word, p, sizeof(word));
        h = stir(h, word);
    }
    memcpy(&word, end - sizeof(word), sizeof(word)); /* some of them once more */
    return (uint32_t)(stir(h, word) >> 32);
}

uint32_t tide_home_core(const struct tide_uuid *topic_id, int32_t partition, uint32_t core_count)
{
    uint32_t h = (uint32_t)partition;
    for (unsigned i = 0; i < sizeof(topic_id->bytes); i += 4)
        h += load_be32(topic_id->bytes + i);
    return h % core_count;
}

const struct view_topic *tide_view_topic(const struct tide_view *v, const char *name, uint32_t len)
{
    if (len == 0 || len > TIDE_TOPIC_NAME_MAX)
        return NULL;
    for (uint32_t at = hash_bytes(name, len);; at++) {
        uint32_t n = v->by_name[at & v->hash_mask];
        if (n == 0)
            return NULL;
        const struct view_topic *t = &v->topics[n - 1];
        if (t->name_len == len && memcmp(t->name, name, len) == 0)
            return t;
    }
}

int16_t tide_view_feature(const struct tide_view *v, const char *name)
{
    for (uint32_t i = 0; i < v->feature_count; i++)
        if (strcmp(v->features[i].name, name) == 0)
            return v->features[i].level;
    return 0;
}

const struct view_topic *tide_view_topic_by_id(const struct tide_view *v, const struct tide_uuid *id)
{
    for (uint32_t at = hash_bytes(id, sizeof(*id));; at++) {
        uint32_t n = v->by_id[at & v->hash_mask];
        if (n == 0)
            return NULL;
        if (tide_uuid_equal(&v->topics[n - 1].id, id))
            return &v->topics[n - 1];
    }
}

const struct view_partition *tide_view_partition(const struct view_topic *t, int32_t index)
{
    return index >= 0 && (uint32_t)index < t->partition_count ? &t->partitions[index] : NULL;
}

const struct view_broker *tide_view_broker(const struct tide_view *v, int32_t id)
{
    uint32_t low = 0, high = v->broker_count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (v->brokers[mid].id == id)
            return &v->brokers[mid];
        if (v->brokers[mid].id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

bool tide_view_reaches(const struct tide_view *v, int32_t id, uint32_t listener)
{
    const struct view_broker *b = tide_view_broker(v, id);
    return b != NULL && !b->fenced && b->endpoints[listener].port != 0;
}

static void insert(uint32_t *table, uint32_t mask, uint32_t hash, uint32_t number)
{
    while (table[hash & mask] != 0)
        hash++;
    table[hash & mask] = number;
}

void tide_view_index(const struct view_topic *topics, uint32_t topic_count, uint32_t slots,
                     uint32_t *by_name, uint32_t *by_id)
{
    memset(by_name, 0, slots * sizeof(*by_name));
    memset(by_id, 0, slots * sizeof(*by_id));
    for (uint32_t i = 0; i < topic_count; i++) {
        insert(by_name, slots - 1, hash_bytes(topics[i].name, topics[i].name_len), i + 1);
        insert(by_id, slots - 1, hash_bytes(&topics[i].id, sizeof(topics[i].id)), i + 1);
    }
}
