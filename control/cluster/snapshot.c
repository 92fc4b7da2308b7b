/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state as bytes: a head, the tables in key order, a trailer with the number of records and a CRC-32C of everything
 * before. What is derived is not in it and is built again. The term and the members of the quorum belong to whoever keeps
 * the file.
 *
 * Format 2 has the unclean epoch of each partition. It is written only where there is one, so that a release that does not know it reads
 * everything but what it could not say: one state has one form.
 */
#include <stdlib.h>

#include "cluster/packing.h"
#include "cluster/state.h"
#include "kafka/batch.h"

enum { SNAPSHOT_FORMAT = 1, SNAPSHOT_FORMAT_UNCLEAN = 2, TRAILER_BYTES = 8, FLAG_FENCED = 1, FLAG_SHUTDOWN = 2, FLAG_SUSPECT = 4 };
static const char magic[8] = "TIDESNAP";

/* Least bytes of each record. */
enum { LEAST_BROKER = 62, LEAST_TOPIC = 28, LEAST_PARTITION = 30, LEAST_CONFIG = 4, LEAST_CONFIGS = 8, LEAST_SLOT = 28, LEAST_FEATURE = 4 };

/* ---- writing ------------------------------------------------------------------------------------------------------------ */

static void put_slot(struct packer *w, const struct cluster_slot *s)
{
    pack_u64(w, s->requester);
    pack_u64(w, s->sequence);
    pack_u64(w, s->index);
    pack_u32(w, s->len);
    pack(w, s->bytes, s->len);
}

static void put_broker(struct packer *w, const struct broker_entry *e)
{
    pack_broker(w, &e->b);
    pack_i64(w, e->b.epoch);
    pack_i64(w, e->b.previous_epoch);
    pack_u8(w, (uint8_t)((e->b.fenced ? FLAG_FENCED : 0) | (e->b.in_shutdown ? FLAG_SHUTDOWN : 0) | (e->b.suspect ? FLAG_SUSPECT : 0)));
    pack_u8(w, e->slot.requester != 0);
    if (e->slot.requester != 0)
        put_slot(w, &e->slot);
}

static bool has_unclean(const struct cluster *c)
{
    for (uint32_t i = 0; i < c->topic_count; i++)
        for (uint32_t k = 0; k < c->topics[i]->partition_count; k++)
            if (c->topics[i]->partitions[k].unclean_epoch != -1)
                return true;
    return false;
}

static void put_partition(struct packer *w, const struct cluster_partition *p, uint32_t format)
{
    pack_i32(w, p->leader);
    pack_i32(w, p->leader_epoch);
    pack_i32(w, p->partition_epoch);
    pack_i32(w, p->last_known_elr);
    pack_u8(w, p->recovering);
    pack_ids(w, p->replicas, p->replica_count);
    pack_ids(w, p->isr, p->isr_count);
    pack_ids(w, p->elr, p->elr_count);
    pack_ids(w, p->adding, p->adding_count);
    pack_ids(w, p->removing, p->removing_count);
    for (uint32_t i = 0; i < p->replica_count; i++)
        pack_uuid(w, &p->directories[i]);
    if (format >= SNAPSHOT_FORMAT_UNCLEAN)
        pack_i32(w, p->unclean_epoch);
}

static void put_configs(struct packer *w, const struct cluster_config *list, uint32_t count)
{
    pack_u32(w, count);
    for (uint32_t i = 0; i < count; i++)
        pack_config(w, &list[i]);
}

static void put_topic(struct packer *w, const struct cluster_topic *t, uint32_t format)
{
    pack_uuid(w, &t->id);
    pack_text(w, t->name);
    put_configs(w, t->configs, t->config_count);
    pack_u32(w, t->partition_count);
    for (uint32_t i = 0; i < t->partition_count; i++)
        put_partition(w, &t->partitions[i], format);
}

static uint32_t record_count(const struct cluster *c)
{
    return c->feature_count + c->broker_count + c->topic_count + c->partition_count + c->config_count + c->slot_count;
}

static void put_all(struct packer *w, const struct cluster *c)
{
    uint32_t format = has_unclean(c) ? SNAPSHOT_FORMAT_UNCLEAN : SNAPSHOT_FORMAT;
    pack(w, magic, sizeof(magic));
    pack_u32(w, format);
    pack_uuid(w, &c->id);
    pack_i64(w, c->created_ms);
    pack_u64(w, c->index);
    pack_i32(w, c->controller);
    pack_u64(w, c->controller_epoch);
    pack_i64(w, c->next_producer_id);
    pack_i32(w, c->producer_id_owner);
    pack_i64(w, c->producer_id_owner_epoch);
    pack_u32(w, c->feature_count);
    for (uint32_t i = 0; i < c->feature_count; i++) {
        pack_text(w, c->features[i].name);
        pack_u16(w, (uint16_t)c->features[i].level);
    }
    pack_u32(w, c->broker_count);
    for (uint32_t i = 0; i < c->broker_count; i++)
        put_broker(w, c->brokers[i]);
    pack_u32(w, c->topic_count);
    for (uint32_t i = 0; i < c->topic_count; i++)
        put_topic(w, c->topics[i], format);
    pack_u32(w, c->config_count);
    for (uint32_t i = 0; i < c->config_count; i++) {
        pack_i32(w, c->configs[i].broker);
        put_configs(w, c->configs[i].configs, c->configs[i].count);
    }
    pack_u32(w, c->slot_count);
    for (uint32_t i = 0; i < c->slot_count; i++)
        put_slot(w, &c->slots[i]);
    pack_u32(w, record_count(c));
}

size_t cluster_snapshot_size(const struct cluster *c)
{
    struct packer w = {.to = NULL};
    put_all(&w, c);
    return w.at + sizeof(uint32_t);
}

enum tide_status cluster_snapshot_write(const struct cluster *c, uint8_t *to, size_t cap, size_t *ret_len)
{
    struct packer w = {.to = to, .cap = cap};
    put_all(&w, c);
    if (w.failed)
        return TIDE_FULL;
    pack_u32(&w, batch_crc_update(0, to, w.at));
    if (w.failed)
        return TIDE_FULL;
    *ret_len = w.at;
    return TIDE_OK;
}

uint64_t cluster_hash(const struct cluster *c)
{
    struct packer w = {.hashing = true, .hash = 0xcbf29ce484222325ull};
    put_all(&w, c);
    return w.hash;
}

/* ---- reading ---------------------------------------------------------------------------------------------------------------- */

/* TIDE_FULL wins over TIDE_BAD: what could not be read for want of memory is not judged. */
struct restoring {
    struct unpacker r;
    struct cluster *c;
    uint32_t format;
    bool full;
};

static void *room_for(struct restoring *s, uint32_t count, size_t size)
{
    void *p = s->r.failed || s->full ? NULL : cluster_take(s->c->memory, count * size);
    s->full |= p == NULL && !s->r.failed;
    return p;
}

static bool goes_on(const struct restoring *s)
{
    return !s->r.failed && !s->full;
}

static void get_slot(struct restoring *s, struct cluster_slot *slot)
{
    struct cluster_result result;
    enum tide_status status;
    slot->requester = unpack_u64(&s->r);
    slot->sequence = unpack_u64(&s->r);
    slot->index = unpack_u64(&s->r);
    slot->len = unpack_count(&s->r, CLUSTER_RESULT_MAX, 1);
    slot->bytes = room_for(s, slot->len, 1);
    if (slot->bytes == NULL)
        return;
    unpack(&s->r, slot->bytes, slot->len);
    status = cluster_result_decode(s->c->memory, slot->bytes, slot->len, &result);
    if (status == TIDE_OK)
        cluster_result_free(&result);
    s->full |= status == TIDE_FULL;
    s->r.failed |= status == TIDE_BAD || slot->requester == 0;
}

static void get_broker(struct restoring *s)
{
    struct broker_entry *e = room_for(s, 1, sizeof(*e));
    uint8_t flags;
    if (e == NULL)
        return;
    s->c->brokers[s->c->broker_count++] = e;
    unpack_broker(&s->r, &e->b);
    e->b.epoch = unpack_i64(&s->r);
    e->b.previous_epoch = unpack_i64(&s->r);
    flags = unpack_u8(&s->r);
    s->r.failed |= flags > (FLAG_FENCED | FLAG_SHUTDOWN | FLAG_SUSPECT);
    e->b.fenced = (flags & FLAG_FENCED) != 0;
    e->b.in_shutdown = (flags & FLAG_SHUTDOWN) != 0;
    e->b.suspect = (flags & FLAG_SUSPECT) != 0;
    if (unpack_bool(&s->r))
        get_slot(s, &e->slot);
}

static void get_partition(struct restoring *s, struct cluster_partition *p)
{
    p->leader = unpack_i32(&s->r);
    p->leader_epoch = unpack_i32(&s->r);
    p->partition_epoch = unpack_i32(&s->r);
    p->last_known_elr = unpack_i32(&s->r);
    p->recovering = unpack_bool(&s->r);
    p->replica_count = unpack_ids(&s->r, p->replicas);
    p->isr_count = unpack_ids(&s->r, p->isr);
    p->elr_count = unpack_ids(&s->r, p->elr);
    p->adding_count = unpack_ids(&s->r, p->adding);
    p->removing_count = unpack_ids(&s->r, p->removing);
    for (uint32_t i = 0; i < p->replica_count; i++)
        p->directories[i] = unpack_uuid(&s->r);
    p->unclean_epoch = s->format >= SNAPSHOT_FORMAT_UNCLEAN ? unpack_i32(&s->r) : -1;
}

static struct cluster_config *get_configs(struct restoring *s, uint32_t *ret_count)
{
    uint32_t count = unpack_count(&s->r, CLUSTER_CONFIGS_MAX, LEAST_CONFIG);
    struct cluster_config *list = room_for(s, count, sizeof(*list));
    *ret_count = list != NULL ? count : 0;
    for (uint32_t i = 0; i < *ret_count; i++)
        unpack_config(&s->r, &list[i]);
    return list;
}

static void get_topic(struct restoring *s)
{
    struct cluster_topic *t = room_for(s, 1, sizeof(*t));
    uint32_t count;
    if (t == NULL)
        return;
    s->c->topics[s->c->topic_count++] = t;
    t->id = unpack_uuid(&s->r);
    unpack_text(&s->r, t->name, sizeof(t->name));
    t->configs = get_configs(s, &t->config_count);
    count = unpack_count(&s->r, CLUSTER_PARTITIONS_MAX, LEAST_PARTITION);
    t->partitions = room_for(s, count, sizeof(*t->partitions));
    t->partition_count = t->partitions != NULL ? count : 0;
    for (uint32_t i = 0; i < t->partition_count && goes_on(s); i++)
        get_partition(s, &t->partitions[i]);
}

static void get_features(struct restoring *s)
{
    uint32_t count = unpack_count(&s->r, CLUSTER_FEATURES_MAX, LEAST_FEATURE);
    for (uint32_t i = 0; i < count; i++) {
        unpack_text(&s->r, s->c->features[i].name, sizeof(s->c->features[i].name));
        s->c->features[i].level = (int16_t)unpack_u16(&s->r);
    }
    s->c->feature_count = count;
}

static void get_tables(struct restoring *s)
{
    struct cluster *c = s->c;
    uint32_t count = unpack_count(&s->r, CLUSTER_BROKERS_MAX, LEAST_BROKER);
    c->brokers = room_for(s, count, sizeof(*c->brokers));
    c->broker_room = count;
    for (uint32_t i = 0; i < count && goes_on(s); i++)
        get_broker(s);
    count = unpack_count(&s->r, UINT32_MAX, LEAST_TOPIC);
    c->topics = room_for(s, count, sizeof(*c->topics));
    c->by_id = room_for(s, count, sizeof(*c->by_id));
    c->topic_room = count;
    for (uint32_t i = 0; i < count && goes_on(s); i++)
        get_topic(s);
    count = unpack_count(&s->r, UINT32_MAX, LEAST_CONFIGS);
    c->configs = room_for(s, count, sizeof(*c->configs));
    for (uint32_t i = 0; i < count && goes_on(s); i++) {
        struct broker_configs *b = &c->configs[c->config_count++];
        b->broker = unpack_i32(&s->r);
        b->configs = get_configs(s, &b->count);
    }
    count = unpack_count(&s->r, CLUSTER_CLIENT_SLOTS, LEAST_SLOT);
    for (uint32_t i = 0; i < count && goes_on(s); i++)
        get_slot(s, &c->slots[c->slot_count++]);
}

static void get_head(struct restoring *s)
{
    char word[sizeof(magic)];
    unpack(&s->r, word, sizeof(word));
    s->r.failed |= memcmp(word, magic, sizeof(word)) != 0;
    s->format = unpack_u32(&s->r);
    s->r.failed |= s->format != SNAPSHOT_FORMAT && s->format != SNAPSHOT_FORMAT_UNCLEAN;
    s->c->id = unpack_uuid(&s->r);
    s->c->created_ms = unpack_i64(&s->r);
    s->c->index = s->c->now = unpack_u64(&s->r);
    s->c->controller = unpack_i32(&s->r);
    s->c->controller_epoch = unpack_u64(&s->r);
    s->c->next_producer_id = unpack_i64(&s->r);
    s->c->producer_id_owner = unpack_i32(&s->r);
    s->c->producer_id_owner_epoch = unpack_i64(&s->r);
}

/* ---- what is derived ------------------------------------------------------------------------------------------------------ */

static int by_id(const void *a, const void *b)
{
    const struct cluster_topic *const *x = a, *const *y = b;
    return memcmp(&(*x)->id, &(*y)->id, sizeof((*x)->id));
}

static void derive(struct cluster *c)
{
    uint64_t now = c->index;
    c->cluster_changed = c->brokers_removed = c->topics_removed = c->configs_changed = c->topic_configs_changed = now;
    c->partitions_changed = c->brokers_changed = now;
    for (uint32_t i = 0; i < c->broker_count; i++)
        c->brokers[i]->b.changed = c->brokers[i]->b.leader_moved = now;
    if (c->topic_count != 0) {
        memcpy(c->by_id, c->topics, c->topic_count * sizeof(*c->by_id));
        qsort(c->by_id, c->topic_count, sizeof(*c->by_id), by_id);
    }
    for (uint32_t i = 0; i < c->topic_count; i++) {
        struct cluster_topic *t = c->topics[i];
        t->changed = t->configs_changed = now;
        for (uint32_t k = 0; k < t->partition_count; k++) {
            t->partitions[k].changed = now;
            partition_count_in(c, &t->partitions[k], 1);
        }
    }
}

/* Sorted as the lookups need it? Only then is the rest of the check meaningful. */
static bool is_sorted(const struct cluster *c)
{
    for (uint32_t i = 1; i < c->broker_count; i++)
        if (c->brokers[i - 1]->b.id >= c->brokers[i]->b.id)
            return false;
    return true;
}

static enum tide_status read_all(struct restoring *s, const uint8_t *bytes, size_t len)
{
    uint32_t crc;
    if (len < TRAILER_BYTES)
        return TIDE_BAD;
    memcpy(&crc, bytes + len - sizeof(crc), sizeof(crc));
    if (batch_crc_update(0, bytes, len - sizeof(crc)) != crc)
        return TIDE_BAD;
    s->r = (struct unpacker){.p = bytes, .left = len - sizeof(crc)};
    get_head(s);
    get_features(s);
    get_tables(s);
    if (s->full)
        return TIDE_FULL;
    if (s->r.failed || !is_sorted(s->c))
        return TIDE_BAD;
    derive(s->c);
    if (unpack_u32(&s->r) != record_count(s->c) || s->r.failed || s->r.left != 0)
        return TIDE_BAD;
    if (has_unclean(s->c) != (s->format == SNAPSHOT_FORMAT_UNCLEAN))
        return TIDE_BAD;
    return cluster_fault(s->c) == NULL ? TIDE_OK : TIDE_BAD;
}

enum tide_status cluster_restore(struct cluster *c, const uint8_t *bytes, size_t len)
{
    struct restoring s = {.c = cluster_create(c->memory)};
    enum tide_status status;
    if (s.c == NULL)
        return TIDE_FULL;
    status = read_all(&s, bytes, len);
    if (status == TIDE_OK) {
        struct cluster old = *c;
        *c = *s.c;
        *s.c = old;
    }
    cluster_destroy(s.c);
    return status;
}
