/* SPDX-License-Identifier: Apache-2.0 */
#include "group/consumer_internal.h"

void consumer_group_key(struct groups *g, struct wire_writer *key, enum consumer_record type, const struct consumer *c)
{
    group_key_begin(g, key, (enum group_record_type)type);
    consumer_group_metadata_key_put_group_id(key, 0, c->id.at, c->id.len);
}

void consumer_member_key(struct groups *g, struct wire_writer *key, enum consumer_record type, const struct consumer *c, struct consumer_text member)
{
    consumer_group_key(g, key, type, c);
    consumer_group_member_key_put_member_id(key, 0, member.at, member.len);
}

void consumer_value(struct groups *g, struct wire_writer *value)
{
    wire_writer_init(value, g->config.pool);
    wire_put_i16(value, 0);
}

void consumer_put_epoch(struct groups *g, struct group_batch *b, const struct consumer *c, int32_t epoch, int64_t hash)
{
    struct wire_writer key, value;
    struct consumer_group_metadata_value_tags tags = {.has_metadata_hash = hash != 0, .metadata_hash = hash};
    consumer_group_key(g, &key, CONSUMER_GROUP_METADATA, c);
    consumer_value(g, &value);
    consumer_group_metadata_value_put_epoch(&value, 0, epoch);
    consumer_group_metadata_value_end(&value, 0, &tags);
    group_batch_put(b, &key, &value);
}

/* The list with its epochs, as a tagged field. */
static void put_epochs(struct wire_writer *w, const struct group_partition *at, uint32_t count)
{
    uint32_t len = count + 1, size = 4 * count;
    do {
        size++;
        len >>= 7;
    } while (len != 0);
    wire_put_uvarint(w, 1);
    wire_put_uvarint(w, 0);
    wire_put_uvarint(w, size);
    wire_put_count(w, true, (int32_t)count);
    for (uint32_t i = 0; i < count; i++)
        wire_put_i32(w, at[i].epoch);
}

/* Both lists have the same form. */
static void put_current_set(struct wire_writer *w, const struct partition_set *set)
{
    wire_put_count(w, true, (int32_t)partition_set_topics(set));
    for (uint32_t i = 0, n; i < set->count; i += n) {
        n = partition_set_run(set, i);
        wire_put_uuid(w, &set->at[i].topic);
        wire_put_count(w, true, (int32_t)n);
        for (uint32_t k = i; k < i + n; k++)
            wire_put_i32(w, set->at[k].partition);
        put_epochs(w, &set->at[i], n);
    }
}

void consumer_put_current(struct groups *g, struct group_batch *b, const struct consumer *c, struct consumer_text member,
                          const struct consumer_current *now)
{
    struct wire_writer key, value;
    consumer_member_key(g, &key, CONSUMER_CURRENT, c, member);
    consumer_value(g, &value);
    consumer_group_current_member_assignment_value_put_member_epoch(&value, 0, now->epoch);
    consumer_group_current_member_assignment_value_put_previous_member_epoch(&value, 0, now->previous_epoch);
    consumer_group_current_member_assignment_value_put_state(&value, 0, (int8_t)now->state);
    put_current_set(&value, &now->assigned);
    put_current_set(&value, &now->revoking);
    consumer_group_current_member_assignment_value_end(&value, 0);
    group_batch_put(b, &key, &value);
}

void consumer_put_target(struct groups *g, struct group_batch *b, const struct consumer *c, struct consumer_text member,
                         const struct partition_set *set)
{
    struct wire_writer key, value;
    consumer_member_key(g, &key, CONSUMER_TARGET_MEMBER, c, member);
    consumer_value(g, &value);
    consumer_group_target_assignment_member_value_open_topic_partitions(&value, 0, (int32_t)partition_set_topics(set));
    for (uint32_t i = 0, n; i < set->count; i += n) {
        n = partition_set_run(set, i);
        consumer_group_target_assignment_member_value_topic_partition_put_topic_id(&value, 0, &set->at[i].topic);
        consumer_group_target_assignment_member_value_topic_partition_open_partitions(&value, 0, (int32_t)n);
        for (uint32_t k = i; k < i + n; k++)
            wire_put_i32(&value, set->at[k].partition);
        consumer_group_target_assignment_member_value_topic_partition_end(&value, 0);
    }
    consumer_group_target_assignment_member_value_end(&value, 0);
    group_batch_put(b, &key, &value);
}

void consumer_put_target_epoch(struct groups *g, struct group_batch *b, const struct consumer *c, int32_t epoch)
{
    struct wire_writer key, value;
    struct consumer_group_target_assignment_metadata_value_tags tags = {.has_assignment_timestamp = true, .assignment_timestamp = g->now.wall_ms};
    consumer_group_key(g, &key, CONSUMER_TARGET_METADATA, c);
    consumer_value(g, &value);
    consumer_group_target_assignment_metadata_value_put_assignment_epoch(&value, 0, epoch);
    consumer_group_target_assignment_metadata_value_end(&value, 0, &tags);
    group_batch_put(b, &key, &value);
}

/* In Kafka's order: what it has, what it shall have, the member. */
void consumer_put_gone(struct groups *g, struct group_batch *b, const struct consumer *c, const struct consumer_member *m)
{
    static const enum consumer_record records[] = {CONSUMER_CURRENT, CONSUMER_TARGET_MEMBER, CONSUMER_MEMBER_METADATA};
    const bool there[] = {m->has_current, m->has_target, m->has_metadata};
    for (size_t i = 0; i < TIDE_ARRAY_LEN(records); i++) {
        struct wire_writer key;
        if (!there[i])
            continue;
        consumer_member_key(g, &key, records[i], c, m->id);
        group_batch_put(b, &key, NULL);
    }
}

/* ---- memory --------------------------------------------------------------------------------------- */

size_t consumer_set_bytes(uint32_t count) { return (size_t)count * sizeof(struct group_partition); }

size_t consumer_current_bytes(const struct consumer *c, uint32_t count)
{
    size_t owners = 16;
    while (owners / 2 < c->owner_count + count)
        owners *= 2;
    return consumer_set_bytes(count) + (owners > c->owner_room ? owners * sizeof(struct consumer_owner) : 0);
}

/*
 * Applying must not fail: there must be one free block for all it takes. That fits in there in blocks of powers of two and in any
 * order when the block is four times as long (twice for rounding up, twice because the largest free block of what is left is more
 * than half of that).
 */
enum tide_status consumer_write(struct groups *g, struct group *group, struct group_batch *b, size_t memory, int16_t *ret_error)
{
    if (!tide_heap_has(g->config.heap, 4 * (memory + 4096))) {
        group_batch_abandon(g, b);
        *ret_error = KAFKA_COORDINATOR_NOT_AVAILABLE;
        return TIDE_OK;
    }
    return group_write(g, group, b, ret_error);
}
