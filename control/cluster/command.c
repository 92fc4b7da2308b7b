/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands as bytes, there and back. Each kind has one pair of functions, in the order of its fields.
 */
#include "cluster/command.h"

#include "cluster/packing.h"
#include "cluster/state.h"

enum {
    COMMAND_VERSION = 1,
    INIT_VERSION = 2, /* of an INIT with levels of features: what an older release must not take for one without */
    HEAD_BYTES = 32,
    EPOCH_AT = 8,
};

/* ---- there ------------------------------------------------------------------------------------------------------------ */

void pack_broker(struct packer *w, const struct cluster_broker *b)
{
    pack_i32(w, b->id);
    pack_uuid(w, &b->incarnation);
    pack_text(w, b->rack);
    pack_u8(w, (uint8_t)b->endpoint_count);
    for (uint32_t i = 0; i < b->endpoint_count; i++) {
        pack_text(w, b->endpoints[i].name);
        pack_text(w, b->endpoints[i].host);
        pack_u16(w, b->endpoints[i].port);
        pack_u16(w, b->endpoints[i].protocol);
    }
    pack(w, &b->replication_address, sizeof(b->replication_address));
    pack_u16(w, b->replication_port);
    pack_u16(w, b->core_count);
    pack_u8(w, (uint8_t)b->feature_count);
    for (uint32_t i = 0; i < b->feature_count; i++) {
        pack_text(w, b->features[i].name);
        pack_u16(w, b->features[i].min);
        pack_u16(w, b->features[i].max);
    }
    pack_u8(w, (uint8_t)b->directory_count);
    for (uint32_t i = 0; i < b->directory_count; i++)
        pack_uuid(w, &b->directories[i]);
}

void pack_config(struct packer *w, const struct cluster_config *config)
{
    pack_text(w, config->name);
    pack_text(w, config->value);
}

static void pack_configs(struct packer *w, const struct cluster_config *list, uint32_t count)
{
    pack_u32(w, count);
    for (uint32_t i = 0; i < count; i++)
        pack_config(w, &list[i]);
}

static void pack_refs(struct packer *w, const struct cluster_partition_ref *list, uint32_t count)
{
    pack_u32(w, count);
    for (uint32_t i = 0; i < count; i++) {
        pack_uuid(w, &list[i].topic_id);
        pack_i32(w, list[i].partition);
    }
}

static void pack_assignments(struct packer *w, const struct cluster_assignment *list, uint32_t count)
{
    pack_u32(w, count);
    for (uint32_t i = 0; i < count; i++) {
        pack_i32(w, list[i].partition);
        pack_ids(w, list[i].replicas, list[i].replica_count);
    }
}

static void pack_change(struct packer *w, const struct cluster_partition_change *n)
{
    pack_uuid(w, &n->topic_id);
    pack_i32(w, n->partition);
    pack_i32(w, n->leader_epoch);
    pack_i32(w, n->partition_epoch);
    pack_u8(w, n->recovering);
    pack_u8(w, n->guard_over);
    pack_u16(w, n->guard_hears);
    pack_u8(w, (uint8_t)n->isr_count);
    for (uint32_t i = 0; i < n->isr_count; i++) {
        pack_i32(w, n->isr[i].broker);
        pack_i64(w, n->isr[i].epoch);
    }
}

static void pack_resource(struct packer *w, const struct cluster_resource_change *n)
{
    pack_u8(w, n->type);
    pack_text(w, n->name);
    pack_u8(w, n->replace);
    pack_u32(w, n->change_count);
    for (uint32_t i = 0; i < n->change_count; i++) {
        pack_u8(w, n->changes[i].op);
        pack_text(w, n->changes[i].name);
        pack_text(w, n->changes[i].value);
    }
}

static uint16_t version_of(const struct cluster_command *m)
{
    return m->kind == CLUSTER_INIT && m->init.feature_count != 0 ? INIT_VERSION : COMMAND_VERSION;
}

static void pack_fields(struct packer *w, const struct cluster_command *m)
{
    switch (m->kind) {
    case CLUSTER_INIT:
        pack_uuid(w, &m->init.cluster_id);
        pack_i64(w, m->init.created_ms);
        pack_configs(w, m->init.configs, m->init.config_count);
        if (version_of(m) < INIT_VERSION)
            break;
        pack_u8(w, (uint8_t)m->init.feature_count);
        for (uint32_t i = 0; i < m->init.feature_count; i++) {
            pack_text(w, m->init.features[i].name);
            pack_u16(w, (uint16_t)m->init.features[i].level);
        }
        break;
    case CLUSTER_CONTROLLER_EPOCH:
        pack_i32(w, m->controller_epoch_of.node);
        pack_u64(w, m->controller_epoch_of.term);
        break;
    case CLUSTER_NO_OP:
        break;
    case CLUSTER_UPDATE_FEATURES:
        pack_u8(w, m->update_features.validate_only);
        pack_u8(w, (uint8_t)m->update_features.count);
        for (uint32_t i = 0; i < m->update_features.count; i++) {
            pack_text(w, m->update_features.updates[i].name);
            pack_u16(w, (uint16_t)m->update_features.updates[i].level);
            pack_u8(w, m->update_features.updates[i].type);
        }
        break;
    case CLUSTER_REGISTER_BROKER:
        pack_uuid(w, &m->register_broker.cluster_id);
        pack_broker(w, &m->register_broker.broker);
        pack_i64(w, m->register_broker.previous_epoch);
        pack_u8(w, m->register_broker.session_valid);
        pack_refs(w, m->register_broker.unclean, m->register_broker.unclean_count);
        break;
    case CLUSTER_FENCE_BROKER:
    case CLUSTER_UNFENCE_BROKER:
    case CLUSTER_BEGIN_SHUTDOWN:
    case CLUSTER_SET_DATA_SUSPECT:
    case CLUSTER_UNREGISTER_BROKER:
        pack_i32(w, m->broker.id);
        pack_i64(w, m->broker.epoch);
        pack_u8(w, m->broker.on);
        pack_text(w, m->broker.cause);
        break;
    case CLUSTER_DIRS_OFFLINE:
        pack_i32(w, m->dirs_offline.id);
        pack_i64(w, m->dirs_offline.epoch);
        pack_u8(w, (uint8_t)m->dirs_offline.count);
        for (uint32_t i = 0; i < m->dirs_offline.count; i++)
            pack_uuid(w, &m->dirs_offline.directories[i]);
        break;
    case CLUSTER_CREATE_TOPIC:
        pack_uuid(w, &m->create_topic.id);
        pack_text(w, m->create_topic.name);
        pack_u8(w, m->create_topic.validate_only);
        pack_i32(w, m->create_topic.partition_count);
        pack_i32(w, m->create_topic.replication_factor);
        pack_u32(w, m->create_topic.placement_seed);
        pack_assignments(w, m->create_topic.assignment, m->create_topic.assignment_count);
        pack_configs(w, m->create_topic.configs, m->create_topic.config_count);
        break;
    case CLUSTER_DELETE_TOPIC:
        pack_uuid(w, &m->delete_topic);
        break;
    case CLUSTER_CREATE_PARTITIONS:
        pack_uuid(w, &m->create_partitions.id);
        pack_u8(w, m->create_partitions.validate_only);
        pack_i32(w, m->create_partitions.partition_count);
        pack_u32(w, m->create_partitions.placement_seed);
        pack_assignments(w, m->create_partitions.assignment, m->create_partitions.assignment_count);
        break;
    case CLUSTER_ALTER_PARTITION:
        pack_i32(w, m->alter_partition.broker);
        pack_i64(w, m->alter_partition.broker_epoch);
        pack_u32(w, m->alter_partition.count);
        for (uint32_t i = 0; i < m->alter_partition.count; i++)
            pack_change(w, &m->alter_partition.changes[i]);
        break;
    case CLUSTER_ELECT_LEADERS:
        pack_u8(w, m->elect_leaders.election);
        pack_u8(w, m->elect_leaders.all);
        pack_refs(w, m->elect_leaders.partitions, m->elect_leaders.count);
        break;
    case CLUSTER_ALTER_REASSIGNMENTS:
        pack_u32(w, m->alter_reassignments.count);
        for (uint32_t i = 0; i < m->alter_reassignments.count; i++) {
            const struct cluster_reassignment *n = &m->alter_reassignments.changes[i];
            pack_uuid(w, &n->topic_id);
            pack_i32(w, n->partition);
            pack_u8(w, n->cancel);
            pack_ids(w, n->replicas, n->replica_count);
        }
        break;
    case CLUSTER_ASSIGN_DIRS:
        pack_i32(w, m->assign_dirs.broker);
        pack_i64(w, m->assign_dirs.broker_epoch);
        pack_u32(w, m->assign_dirs.count);
        for (uint32_t i = 0; i < m->assign_dirs.count; i++) {
            pack_uuid(w, &m->assign_dirs.changes[i].topic_id);
            pack_i32(w, m->assign_dirs.changes[i].partition);
            pack_uuid(w, &m->assign_dirs.changes[i].directory);
        }
        break;
    case CLUSTER_MOVE_LEADER:
        pack_uuid(w, &m->move_leader.topic_id);
        pack_i32(w, m->move_leader.partition);
        pack_i32(w, m->move_leader.leader_epoch);
        pack_i32(w, m->move_leader.excluded);
        break;
    case CLUSTER_BALANCE_LEADERS:
    case CLUSTER_UNCLEAN_SWEEP:
        pack_u32(w, m->limit);
        break;
    case CLUSTER_ALTER_CONFIGS:
        pack_u8(w, m->alter_configs.validate_only);
        pack_u32(w, m->alter_configs.count);
        for (uint32_t i = 0; i < m->alter_configs.count; i++)
            pack_resource(w, &m->alter_configs.resources[i]);
        break;
    case CLUSTER_PRODUCER_ID_BLOCK:
        pack_i32(w, m->producer_ids.broker);
        pack_i64(w, m->producer_ids.broker_epoch);
        pack_u32(w, m->producer_ids.count);
        break;
    case CLUSTER_COMMAND_KIND_COUNT:
        w->failed = true;
    }
}

static bool assignments_fit(const struct cluster_assignment *list, uint32_t count)
{
    bool fit = count <= CLUSTER_PARTITIONS_MAX;
    for (uint32_t i = 0; fit && i < count; i++)
        fit = list[i].replica_count <= TIDE_REPLICAS_MAX;
    return fit;
}

/* What decoding would refuse is not encoded. */
static bool lists_fit(const struct cluster_command *m)
{
    bool fit = true;
    switch (m->kind) {
    case CLUSTER_INIT:
        return m->init.config_count <= CLUSTER_CONFIGS_MAX && m->init.feature_count <= CLUSTER_FEATURES_MAX;
    case CLUSTER_UPDATE_FEATURES:
        return m->update_features.count <= CLUSTER_FEATURES_MAX;
    case CLUSTER_REGISTER_BROKER:
        return m->register_broker.broker.endpoint_count <= TIDE_LISTENERS_MAX && m->register_broker.broker.feature_count <= CLUSTER_FEATURES_MAX &&
               m->register_broker.broker.directory_count <= TIDE_LOG_DIRS_MAX && m->register_broker.unclean_count <= CLUSTER_ITEMS_MAX;
    case CLUSTER_DIRS_OFFLINE:
        return m->dirs_offline.count <= TIDE_LOG_DIRS_MAX;
    case CLUSTER_CREATE_TOPIC:
        return m->create_topic.config_count <= CLUSTER_CONFIGS_MAX && assignments_fit(m->create_topic.assignment, m->create_topic.assignment_count);
    case CLUSTER_CREATE_PARTITIONS:
        return assignments_fit(m->create_partitions.assignment, m->create_partitions.assignment_count);
    case CLUSTER_ALTER_PARTITION:
        fit = m->alter_partition.count <= CLUSTER_ITEMS_MAX;
        for (uint32_t i = 0; fit && i < m->alter_partition.count; i++)
            fit = m->alter_partition.changes[i].isr_count <= TIDE_REPLICAS_MAX;
        return fit;
    case CLUSTER_ELECT_LEADERS:
        return m->elect_leaders.count <= CLUSTER_ITEMS_MAX;
    case CLUSTER_ALTER_REASSIGNMENTS:
        fit = m->alter_reassignments.count <= CLUSTER_ITEMS_MAX;
        for (uint32_t i = 0; fit && i < m->alter_reassignments.count; i++)
            fit = m->alter_reassignments.changes[i].replica_count <= TIDE_REPLICAS_MAX;
        return fit;
    case CLUSTER_ASSIGN_DIRS:
        return m->assign_dirs.count <= CLUSTER_ITEMS_MAX;
    case CLUSTER_ALTER_CONFIGS:
        fit = m->alter_configs.count <= CLUSTER_RESOURCES_MAX;
        for (uint32_t i = 0; fit && i < m->alter_configs.count; i++)
            fit = m->alter_configs.resources[i].change_count <= CLUSTER_CONFIGS_MAX;
        return fit;
    default:
        return m->kind >= CLUSTER_INIT && m->kind < CLUSTER_COMMAND_KIND_COUNT;
    }
}

enum tide_status cluster_command_encode(const struct cluster_command *m, uint8_t *to, size_t cap, size_t *ret_len)
{
    static const uint8_t zeros[8];
    struct packer w = {.to = to, .cap = TIDE_MIN(cap, (size_t)CLUSTER_COMMAND_MAX)};
    uint32_t len;
    if (!lists_fit(m))
        return TIDE_BAD;
    pack_u16(&w, (uint16_t)m->kind);
    pack_u16(&w, version_of(m));
    pack_u32(&w, 0); /* the length, below */
    pack_u64(&w, m->controller_epoch);
    pack_u64(&w, m->requester);
    pack_u64(&w, m->sequence);
    pack_fields(&w, m);
    pack(&w, zeros, -w.at & 7);
    if (w.failed)
        return TIDE_FULL;
    len = (uint32_t)w.at;
    memcpy(to + 4, &len, sizeof(len));
    *ret_len = w.at;
    return TIDE_OK;
}

void cluster_command_stamp(uint8_t *bytes, uint64_t controller_epoch)
{
    memcpy(bytes + EPOCH_AT, &controller_epoch, sizeof(controller_epoch));
}

/* ---- back -------------------------------------------------------------------------------------------------------------- */

/* Lists of a decoded command: a chain of blocks. */
struct block {
    struct block *next;
    const struct cluster_memory *memory;
};

struct decoder {
    struct unpacker r;
    const struct cluster_memory *memory;
    struct block *blocks;
    bool full;
};

/* Room for `count` things; the count was checked against the bytes that are left. */
static void *list_of(struct decoder *d, uint32_t count, size_t size)
{
    struct block *b;
    if (d->r.failed || d->full || count == 0)
        return NULL;
    b = cluster_take(d->memory, sizeof(*b) + count * size);
    if (b == NULL) {
        d->full = true;
        return NULL;
    }
    *b = (struct block){.next = d->blocks, .memory = d->memory};
    d->blocks = b;
    return b + 1;
}

static void give_blocks(struct block *b)
{
    while (b != NULL) {
        struct block *next = b->next;
        cluster_give(b->memory, b);
        b = next;
    }
}

static uint32_t unpack_small(struct unpacker *r, uint32_t most)
{
    uint32_t n = unpack_u8(r);
    r->failed |= n > most;
    return r->failed ? 0 : n;
}

void unpack_broker(struct unpacker *r, struct cluster_broker *b)
{
    b->id = unpack_i32(r);
    b->incarnation = unpack_uuid(r);
    unpack_text(r, b->rack, sizeof(b->rack));
    b->endpoint_count = unpack_small(r, TIDE_LISTENERS_MAX);
    for (uint32_t i = 0; i < b->endpoint_count; i++) {
        unpack_text(r, b->endpoints[i].name, sizeof(b->endpoints[i].name));
        unpack_text(r, b->endpoints[i].host, sizeof(b->endpoints[i].host));
        b->endpoints[i].port = unpack_u16(r);
        b->endpoints[i].protocol = unpack_u16(r);
    }
    unpack(r, &b->replication_address, sizeof(b->replication_address));
    b->replication_port = unpack_u16(r);
    b->core_count = unpack_u16(r);
    b->feature_count = unpack_small(r, CLUSTER_FEATURES_MAX);
    for (uint32_t i = 0; i < b->feature_count; i++) {
        unpack_text(r, b->features[i].name, sizeof(b->features[i].name));
        b->features[i].min = unpack_u16(r);
        b->features[i].max = unpack_u16(r);
    }
    b->directory_count = unpack_small(r, TIDE_LOG_DIRS_MAX);
    for (uint32_t i = 0; i < b->directory_count; i++)
        b->directories[i] = unpack_uuid(r);
}

void unpack_config(struct unpacker *r, struct cluster_config *config)
{
    unpack_text(r, config->name, sizeof(config->name));
    unpack_text(r, config->value, sizeof(config->value));
}

/* A list: its number is in *ret_count, which stays 0 when there is no memory. */
#define LIST(name, type, most, least, one)                                                                              \
    static type *name(struct decoder *d, uint32_t *ret_count)                                                           \
    {                                                                                                                   \
        uint32_t count = unpack_count(&d->r, most, least);                                                              \
        type *list = list_of(d, count, sizeof(*list));                                                                  \
        *ret_count = list != NULL ? count : 0;                                                                          \
        for (uint32_t i = 0; i < *ret_count && !d->r.failed; i++)                                                       \
            one(d, &list[i]);                                                                                           \
        return list;                                                                                                    \
    }

static void one_config(struct decoder *d, struct cluster_config *n)
{
    unpack_config(&d->r, n);
}

static void one_ref(struct decoder *d, struct cluster_partition_ref *n)
{
    n->topic_id = unpack_uuid(&d->r);
    n->partition = unpack_i32(&d->r);
}

static void one_assignment(struct decoder *d, struct cluster_assignment *n)
{
    n->partition = unpack_i32(&d->r);
    n->replica_count = unpack_ids(&d->r, n->replicas);
}

static void one_change(struct decoder *d, struct cluster_partition_change *n)
{
    n->topic_id = unpack_uuid(&d->r);
    n->partition = unpack_i32(&d->r);
    n->leader_epoch = unpack_i32(&d->r);
    n->partition_epoch = unpack_i32(&d->r);
    n->recovering = unpack_bool(&d->r);
    n->guard_over = unpack_bool(&d->r);
    n->guard_hears = unpack_u16(&d->r);
    n->isr_count = unpack_small(&d->r, TIDE_REPLICAS_MAX);
    for (uint32_t i = 0; i < n->isr_count; i++) {
        n->isr[i].broker = unpack_i32(&d->r);
        n->isr[i].epoch = unpack_i64(&d->r);
    }
}

static void one_reassignment(struct decoder *d, struct cluster_reassignment *n)
{
    n->topic_id = unpack_uuid(&d->r);
    n->partition = unpack_i32(&d->r);
    n->cancel = unpack_bool(&d->r);
    n->replica_count = unpack_ids(&d->r, n->replicas);
}

static void one_directory(struct decoder *d, struct cluster_dir_assignment *n)
{
    n->topic_id = unpack_uuid(&d->r);
    n->partition = unpack_i32(&d->r);
    n->directory = unpack_uuid(&d->r);
}

static void one_config_change(struct decoder *d, struct cluster_config_change *n)
{
    n->op = unpack_u8(&d->r);
    unpack_text(&d->r, n->name, sizeof(n->name));
    unpack_text(&d->r, n->value, sizeof(n->value));
}

LIST(list_configs, struct cluster_config, CLUSTER_CONFIGS_MAX, 4, one_config)
LIST(list_refs, struct cluster_partition_ref, CLUSTER_ITEMS_MAX, 20, one_ref)
LIST(list_assignments, struct cluster_assignment, CLUSTER_PARTITIONS_MAX, 5, one_assignment)
LIST(list_changes, struct cluster_partition_change, CLUSTER_ITEMS_MAX, 33, one_change)
LIST(list_reassignments, struct cluster_reassignment, CLUSTER_ITEMS_MAX, 22, one_reassignment)
LIST(list_directories, struct cluster_dir_assignment, CLUSTER_ITEMS_MAX, 36, one_directory)
LIST(list_config_changes, struct cluster_config_change, CLUSTER_CONFIGS_MAX, 5, one_config_change)

static void one_resource(struct decoder *d, struct cluster_resource_change *n)
{
    n->type = unpack_u8(&d->r);
    unpack_text(&d->r, n->name, sizeof(n->name));
    n->replace = unpack_bool(&d->r);
    n->changes = list_config_changes(d, &n->change_count);
}

LIST(list_resources, struct cluster_resource_change, CLUSTER_RESOURCES_MAX, 8, one_resource)
#undef LIST

static void unpack_fields(struct decoder *d, uint16_t version, struct cluster_command *m)
{
    struct unpacker *r = &d->r;
    switch (m->kind) {
    case CLUSTER_INIT:
        m->init.cluster_id = unpack_uuid(r);
        m->init.created_ms = unpack_i64(r);
        m->init.configs = list_configs(d, &m->init.config_count);
        if (version < INIT_VERSION)
            break;
        m->init.feature_count = unpack_small(r, CLUSTER_FEATURES_MAX);
        r->failed |= m->init.feature_count == 0; /* that is the other version */
        for (uint32_t i = 0; i < m->init.feature_count; i++) {
            unpack_text(r, m->init.features[i].name, sizeof(m->init.features[i].name));
            m->init.features[i].level = (int16_t)unpack_u16(r);
        }
        break;
    case CLUSTER_CONTROLLER_EPOCH:
        m->controller_epoch_of.node = unpack_i32(r);
        m->controller_epoch_of.term = unpack_u64(r);
        break;
    case CLUSTER_NO_OP:
        break;
    case CLUSTER_UPDATE_FEATURES:
        m->update_features.validate_only = unpack_bool(r);
        m->update_features.count = unpack_small(r, CLUSTER_FEATURES_MAX);
        for (uint32_t i = 0; i < m->update_features.count; i++) {
            struct cluster_feature_update *u = &m->update_features.updates[i];
            unpack_text(r, u->name, sizeof(u->name));
            u->level = (int16_t)unpack_u16(r);
            u->type = unpack_u8(r);
        }
        break;
    case CLUSTER_REGISTER_BROKER:
        m->register_broker.cluster_id = unpack_uuid(r);
        unpack_broker(r, &m->register_broker.broker);
        m->register_broker.previous_epoch = unpack_i64(r);
        m->register_broker.session_valid = unpack_bool(r);
        m->register_broker.unclean = list_refs(d, &m->register_broker.unclean_count);
        break;
    case CLUSTER_FENCE_BROKER:
    case CLUSTER_UNFENCE_BROKER:
    case CLUSTER_BEGIN_SHUTDOWN:
    case CLUSTER_SET_DATA_SUSPECT:
    case CLUSTER_UNREGISTER_BROKER:
        m->broker.id = unpack_i32(r);
        m->broker.epoch = unpack_i64(r);
        m->broker.on = unpack_bool(r);
        unpack_text(r, m->broker.cause, sizeof(m->broker.cause));
        break;
    case CLUSTER_DIRS_OFFLINE:
        m->dirs_offline.id = unpack_i32(r);
        m->dirs_offline.epoch = unpack_i64(r);
        m->dirs_offline.count = unpack_small(r, TIDE_LOG_DIRS_MAX);
        for (uint32_t i = 0; i < m->dirs_offline.count; i++)
            m->dirs_offline.directories[i] = unpack_uuid(r);
        break;
    case CLUSTER_CREATE_TOPIC:
        m->create_topic.id = unpack_uuid(r);
        unpack_text(r, m->create_topic.name, sizeof(m->create_topic.name));
        m->create_topic.validate_only = unpack_bool(r);
        m->create_topic.partition_count = unpack_i32(r);
        m->create_topic.replication_factor = unpack_i32(r);
        m->create_topic.placement_seed = unpack_u32(r);
        m->create_topic.assignment = list_assignments(d, &m->create_topic.assignment_count);
        m->create_topic.configs = list_configs(d, &m->create_topic.config_count);
        break;
    case CLUSTER_DELETE_TOPIC:
        m->delete_topic = unpack_uuid(r);
        break;
    case CLUSTER_CREATE_PARTITIONS:
        m->create_partitions.id = unpack_uuid(r);
        m->create_partitions.validate_only = unpack_bool(r);
        m->create_partitions.partition_count = unpack_i32(r);
        m->create_partitions.placement_seed = unpack_u32(r);
        m->create_partitions.assignment = list_assignments(d, &m->create_partitions.assignment_count);
        break;
    case CLUSTER_ALTER_PARTITION:
        m->alter_partition.broker = unpack_i32(r);
        m->alter_partition.broker_epoch = unpack_i64(r);
        m->alter_partition.changes = list_changes(d, &m->alter_partition.count);
        break;
    case CLUSTER_ELECT_LEADERS:
        m->elect_leaders.election = unpack_u8(r);
        m->elect_leaders.all = unpack_bool(r);
        m->elect_leaders.partitions = list_refs(d, &m->elect_leaders.count);
        break;
    case CLUSTER_ALTER_REASSIGNMENTS:
        m->alter_reassignments.changes = list_reassignments(d, &m->alter_reassignments.count);
        break;
    case CLUSTER_ASSIGN_DIRS:
        m->assign_dirs.broker = unpack_i32(r);
        m->assign_dirs.broker_epoch = unpack_i64(r);
        m->assign_dirs.changes = list_directories(d, &m->assign_dirs.count);
        break;
    case CLUSTER_MOVE_LEADER:
        m->move_leader.topic_id = unpack_uuid(r);
        m->move_leader.partition = unpack_i32(r);
        m->move_leader.leader_epoch = unpack_i32(r);
        m->move_leader.excluded = unpack_i32(r);
        break;
    case CLUSTER_BALANCE_LEADERS:
    case CLUSTER_UNCLEAN_SWEEP:
        m->limit = unpack_u32(r);
        break;
    case CLUSTER_ALTER_CONFIGS:
        m->alter_configs.validate_only = unpack_bool(r);
        m->alter_configs.resources = list_resources(d, &m->alter_configs.count);
        break;
    case CLUSTER_PRODUCER_ID_BLOCK:
        m->producer_ids.broker = unpack_i32(r);
        m->producer_ids.broker_epoch = unpack_i64(r);
        m->producer_ids.count = unpack_u32(r);
        break;
    default:
        r->failed = true;
    }
}

/* Only the zeros that fill up to eight are left. */
static bool only_padding(const struct unpacker *r)
{
    if (r->left > 7)
        return false;
    for (size_t i = 0; i < r->left; i++)
        if (r->p[i] != 0)
            return false;
    return true;
}

enum tide_status cluster_command_decode(const struct cluster_memory *memory, const uint8_t *bytes, size_t len, struct cluster_command *ret)
{
    struct decoder d = {.r = {.p = bytes, .left = len}, .memory = memory};
    uint16_t kind = unpack_u16(&d.r);
    uint16_t version = unpack_u16(&d.r);
    uint32_t length = unpack_u32(&d.r);
    memset(ret, 0, sizeof(*ret));
    if (d.r.failed || version < COMMAND_VERSION || version > (kind == CLUSTER_INIT ? INIT_VERSION : COMMAND_VERSION) || length != len || len % 8 != 0 || len < HEAD_BYTES || len > CLUSTER_COMMAND_MAX ||
        kind >= CLUSTER_COMMAND_KIND_COUNT)
        return TIDE_BAD;
    ret->kind = (enum cluster_command_kind)kind;
    ret->controller_epoch = unpack_u64(&d.r);
    ret->requester = unpack_u64(&d.r);
    ret->sequence = unpack_u64(&d.r);
    unpack_fields(&d, version, ret);
    ret->owned = d.blocks;
    if (!d.full && !d.r.failed && only_padding(&d.r))
        return TIDE_OK;
    cluster_command_free(ret);
    return d.full ? TIDE_FULL : TIDE_BAD;
}

void cluster_command_free(struct cluster_command *m)
{
    give_blocks(m->owned);
    m->owned = NULL;
}
