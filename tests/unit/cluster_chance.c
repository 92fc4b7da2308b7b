/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands by chance, for a small cluster whose parts meet often: brokers 0..5, topics t0..t7.
 */
#include "cluster_world.h"

enum { IDS = 6, TOPICS = 8, LIST = 4 };

static struct cluster_assignment assignments[LIST];
static struct cluster_partition_ref refs[LIST];
static struct cluster_partition_change changes[LIST];
static struct cluster_reassignment reassignments[LIST];
static struct cluster_dir_assignment directories[LIST];
static struct cluster_resource_change resources[LIST];
static struct cluster_config_change config_changes[LIST][LIST];
static struct cluster_config configs[LIST];

static struct tide_random *chance;

static uint32_t below(uint32_t n) { return (uint32_t)tide_random_below(chance, n); }
static bool hits(uint32_t one_in) { return tide_random_hits(chance, one_in); }

static int32_t some_broker(void) { return (int32_t)below(IDS); }

static int64_t epoch_of(int32_t id)
{
    const struct cluster_broker *b = cluster_find_broker(c, id);
    return b == NULL || hits(20) ? (int64_t)below(5) - 1 : b->epoch;
}

static uint32_t some_ids(int32_t *ids)
{
    uint32_t count = 0;
    for (uint32_t want = below(4) + !hits(20); count < want;) {
        int32_t id = some_broker();
        bool twice = false;
        for (uint32_t i = 0; i < count; i++)
            twice |= ids[i] == id;
        if (!twice || hits(20))
            ids[count++] = id;
    }
    return count;
}

static const struct cluster_topic *some_topic(void)
{
    return cluster_topic_count(c) != 0 && !hits(30) ? cluster_topic_at(c, below(cluster_topic_count(c))) : NULL;
}

/* A partition that is there, or none. */
static const struct cluster_partition *some_partition(struct tide_uuid *ret_id, int32_t *ret_number)
{
    const struct cluster_topic *t = some_topic();
    *ret_id = t != NULL ? t->id : topic_uuid("nobody's");
    *ret_number = t != NULL ? (int32_t)below(t->partition_count) - hits(30) : 0;
    return t != NULL && *ret_number >= 0 ? &t->partitions[*ret_number] : NULL;
}

static struct tide_uuid some_directory(int32_t id)
{
    if (hits(10))
        return hits(2) ? (struct tide_uuid){{[15] = 1}} : (struct tide_uuid){{9, 9}};
    return (struct tide_uuid){{(uint8_t)(0xd0 + below(2)), (uint8_t)id}};
}

static void some_setting(char *name, char *value)
{
    static const char *const names[] = {"min.insync.replicas", "unclean.leader.election.enable", "ack.durability", "retention.ms", "cleanup.policy"};
    static const char *const values[][4] = {{"1", "2", "3", "0"}, {"true", "false", "false", "yes"}, {"device", "memory", "device", ""},
                                            {"1", "2", "3", "4"}, {"compact", "delete", "compact,delete", ""}};
    uint32_t i = below(TIDE_ARRAY_LEN(names));
    memset(name, 0, CLUSTER_CONFIG_NAME_MAX);
    memset(value, 0, CLUSTER_CONFIG_VALUE_MAX);
    strcpy(name, names[i]);
    strcpy(value, values[i][below(3) + hits(30)]);
}

static void some_register(struct cluster_command *m)
{
    int32_t id = some_broker();
    const struct cluster_broker *b = cluster_find_broker(c, id);
    uint64_t requester = m->requester, sequence = m->sequence;
    *m = registration(id, (uint8_t)(b == NULL ? 1 : b->incarnation.bytes[1] + !hits(4)));
    m->requester = requester;
    m->sequence = sequence;
    m->register_broker.previous_epoch = hits(2) ? epoch_of(id) : -1;
    m->register_broker.session_valid = hits(10);
    m->register_broker.broker.directory_count -= hits(10);
    if (hits(15))
        m->register_broker.broker.directories[0].bytes[1] = 9;
    m->register_broker.unclean = refs;
    m->register_broker.unclean_count = below(LIST);
    for (uint32_t i = 0; i < m->register_broker.unclean_count; i++)
        (void)some_partition(&refs[i].topic_id, &refs[i].partition);
}

static uint32_t some_assignments(int32_t first)
{
    uint32_t count = below(LIST) + 1;
    for (uint32_t i = 0; i < count; i++) {
        assignments[i].partition = first + (int32_t)i;
        assignments[i].replica_count = some_ids(assignments[i].replicas);
        if (i != 0 && !hits(10))
            assignments[i].replica_count = assignments[0].replica_count;
        if (i != 0)
            memcpy(assignments[i].replicas, assignments[0].replicas, sizeof(assignments[i].replicas));
    }
    return count;
}

static void some_create(struct cluster_command *m)
{
    char name[8];
    snprintf(name, sizeof(name), "t%u", below(TOPICS));
    m->create_topic.id = topic_uuid(name);
    strcpy(m->create_topic.name, name);
    m->create_topic.validate_only = hits(10);
    m->create_topic.placement_seed = below(100);
    m->create_topic.partition_count = m->create_topic.replication_factor = -1;
    if (hits(2)) {
        m->create_topic.assignment_count = some_assignments(0);
        m->create_topic.assignment = assignments;
    } else {
        m->create_topic.partition_count = (int32_t)below(5);
        m->create_topic.replication_factor = (int32_t)below(5);
    }
    m->create_topic.config_count = below(3);
    m->create_topic.configs = configs;
    for (uint32_t i = 0; i < m->create_topic.config_count; i++)
        some_setting(configs[i].name, configs[i].value);
}

static void some_growth(struct cluster_command *m)
{
    const struct cluster_topic *t = some_topic();
    m->create_partitions.id = t != NULL ? t->id : topic_uuid("nobody's");
    m->create_partitions.partition_count = (int32_t)((t != NULL ? t->partition_count : 0) + below(4));
    if (t != NULL && t->partition_count > 8)
        m->create_partitions.partition_count = 1; /* enough */
    m->create_partitions.validate_only = hits(10);
    if (t != NULL && hits(2)) {
        m->create_partitions.assignment_count = some_assignments((int32_t)t->partition_count);
        m->create_partitions.assignment = assignments;
        m->create_partitions.partition_count = (int32_t)(t->partition_count + m->create_partitions.assignment_count);
    }
}

static void some_changes(struct cluster_command *m)
{
    m->alter_partition.count = below(LIST) + 1;
    m->alter_partition.changes = changes;
    m->alter_partition.broker = some_broker();
    for (uint32_t i = 0; i < m->alter_partition.count; i++) {
        struct cluster_partition_change *n = &changes[i];
        const struct cluster_partition *p;
        memset(n, 0, sizeof(*n));
        p = some_partition(&n->topic_id, &n->partition);
        if (p == NULL)
            continue;
        if (i == 0 && p->leader != -1)
            m->alter_partition.broker = p->leader;
        n->leader_epoch = p->leader_epoch + (hits(30) ? (int32_t)below(3) - 1 : 0);
        n->partition_epoch = p->partition_epoch + (hits(30) ? (int32_t)below(3) - 1 : 0);
        n->recovering = p->recovering && hits(2);
        n->guard_over = hits(2);
        n->guard_hears = (uint16_t)below(8);
        for (uint32_t k = 0; k < p->replica_count; k++)
            if (p->replicas[k] == p->leader || hits(2) || hits(2))
                n->isr[n->isr_count++] = (struct cluster_isr_member){p->replicas[k], hits(10) ? -1 : epoch_of(p->replicas[k])};
    }
    m->alter_partition.broker_epoch = epoch_of(m->alter_partition.broker);
}

static void some_reassignments(struct cluster_command *m)
{
    m->alter_reassignments.count = below(LIST) + 1;
    m->alter_reassignments.changes = reassignments;
    for (uint32_t i = 0; i < m->alter_reassignments.count; i++) {
        (void)some_partition(&reassignments[i].topic_id, &reassignments[i].partition);
        reassignments[i].cancel = hits(3);
        reassignments[i].replica_count = some_ids(reassignments[i].replicas);
    }
}

static void some_configs(struct cluster_command *m)
{
    m->alter_configs.count = below(LIST) + 1;
    m->alter_configs.validate_only = hits(10);
    m->alter_configs.resources = resources;
    for (uint32_t i = 0; i < m->alter_configs.count; i++) {
        struct cluster_resource_change *n = &resources[i];
        const struct cluster_topic *t = some_topic();
        memset(n, 0, sizeof(*n));
        n->type = t != NULL && hits(2) ? CLUSTER_RESOURCE_TOPIC : CLUSTER_RESOURCE_BROKER;
        if (n->type == CLUSTER_RESOURCE_TOPIC)
            strcpy(n->name, t->name);
        else if (hits(2))
            snprintf(n->name, sizeof(n->name), "%d", some_broker());
        n->replace = hits(5);
        n->change_count = below(LIST);
        n->changes = config_changes[i];
        for (uint32_t k = 0; k < n->change_count; k++) {
            config_changes[i][k].op = (uint8_t)(n->replace ? CLUSTER_CONFIG_SET : below(4));
            some_setting(config_changes[i][k].name, config_changes[i][k].value);
        }
    }
}

static void some_features(struct cluster_command *m)
{
    m->update_features.count = 1;
    strcpy(m->update_features.updates[0].name, hits(5) ? CLUSTER_FEATURE_METADATA : m->sequence % 4 == 0 ? CLUSTER_FEATURE_GROUP : CLUSTER_FEATURE_ELR);
    m->update_features.updates[0].level = (int16_t)below(2);
    m->update_features.updates[0].type = (uint8_t)(below(3) + 1);
    m->update_features.validate_only = hits(5);
}

static void some_election(struct cluster_command *m)
{
    m->elect_leaders.election = (uint8_t)below(2);
    m->elect_leaders.all = hits(3);
    m->elect_leaders.count = below(LIST);
    m->elect_leaders.partitions = refs;
    for (uint32_t i = 0; i < m->elect_leaders.count; i++)
        (void)some_partition(&refs[i].topic_id, &refs[i].partition);
}

static void some_directories(struct cluster_command *m)
{
    m->assign_dirs.broker = some_broker();
    m->assign_dirs.broker_epoch = epoch_of(m->assign_dirs.broker);
    m->assign_dirs.count = below(LIST) + 1;
    m->assign_dirs.changes = directories;
    for (uint32_t i = 0; i < m->assign_dirs.count; i++) {
        (void)some_partition(&directories[i].topic_id, &directories[i].partition);
        directories[i].directory = some_directory(m->assign_dirs.broker);
    }
}

static void some_broker_command(struct cluster_command *m)
{
    m->broker.id = some_broker();
    m->broker.epoch = epoch_of(m->broker.id);
    m->broker.on = hits(2);
    strcpy(m->broker.cause, "chance");
}

/* What keeps a cluster going comes more often. */
static enum cluster_command_kind some_kind(void)
{
    static const enum cluster_command_kind often[] = {
        CLUSTER_UNFENCE_BROKER, CLUSTER_UNFENCE_BROKER, CLUSTER_UNFENCE_BROKER, CLUSTER_UNFENCE_BROKER, CLUSTER_ALTER_PARTITION, CLUSTER_ALTER_PARTITION, CLUSTER_ALTER_PARTITION,
        CLUSTER_REGISTER_BROKER, CLUSTER_FENCE_BROKER, CLUSTER_CREATE_TOPIC, CLUSTER_ALTER_REASSIGNMENTS, CLUSTER_ELECT_LEADERS,
    };
    enum cluster_command_kind kind;
    if (!hits(3))
        return often[below(TIDE_ARRAY_LEN(often))];
    kind = (enum cluster_command_kind)(below(CLUSTER_COMMAND_KIND_COUNT - 1) + 1);
    if ((kind == CLUSTER_DELETE_TOPIC || kind == CLUSTER_UNREGISTER_BROKER || kind == CLUSTER_UPDATE_FEATURES) && !hits(4))
        return CLUSTER_NO_OP;
    return kind;
}

void random_command(struct tide_random *random, struct cluster_command *m)
{
    struct tide_uuid id;
    int32_t number;
    const struct cluster_partition *p;
    chance = random;
    memset(m, 0, sizeof(*m));
    m->kind = some_kind();
    m->requester = hits(2) ? 0 : hits(2) ? cluster_requester_broker(some_broker()) : cluster_requester_client(below(200));
    m->sequence = below(50);
    switch (m->kind) {
    case CLUSTER_INIT:
        m->init.cluster_id = *cluster_id(c);
        if (m->sequence % 2 == 0)
            m->init.feature_count = cluster_birth_features(m->init.features);
        break;
    case CLUSTER_CONTROLLER_EPOCH:
        m->controller_epoch_of.node = some_broker();
        m->controller_epoch_of.term = cluster_controller_epoch(c) + below(2);
        break;
    case CLUSTER_UPDATE_FEATURES:
        some_features(m);
        break;
    case CLUSTER_REGISTER_BROKER:
        some_register(m);
        break;
    case CLUSTER_FENCE_BROKER:
    case CLUSTER_UNFENCE_BROKER:
    case CLUSTER_BEGIN_SHUTDOWN:
    case CLUSTER_SET_DATA_SUSPECT:
    case CLUSTER_UNREGISTER_BROKER:
        some_broker_command(m);
        break;
    case CLUSTER_DIRS_OFFLINE:
        m->dirs_offline.id = some_broker();
        m->dirs_offline.epoch = epoch_of(m->dirs_offline.id);
        m->dirs_offline.count = 1;
        m->dirs_offline.directories[0] = some_directory(m->dirs_offline.id);
        break;
    case CLUSTER_CREATE_TOPIC:
        some_create(m);
        break;
    case CLUSTER_DELETE_TOPIC:
        (void)some_partition(&m->delete_topic, &number);
        break;
    case CLUSTER_CREATE_PARTITIONS:
        some_growth(m);
        break;
    case CLUSTER_ALTER_PARTITION:
        some_changes(m);
        break;
    case CLUSTER_ELECT_LEADERS:
        some_election(m);
        break;
    case CLUSTER_ALTER_REASSIGNMENTS:
        some_reassignments(m);
        break;
    case CLUSTER_ASSIGN_DIRS:
        some_directories(m);
        break;
    case CLUSTER_MOVE_LEADER:
        p = some_partition(&id, &number);
        m->move_leader.topic_id = id;
        m->move_leader.partition = number;
        m->move_leader.leader_epoch = p != NULL ? p->leader_epoch - hits(10) : 0;
        m->move_leader.excluded = p != NULL && !hits(5) ? p->leader : some_broker();
        break;
    case CLUSTER_BALANCE_LEADERS:
    case CLUSTER_UNCLEAN_SWEEP:
        m->limit = below(5);
        break;
    case CLUSTER_ALTER_CONFIGS:
        some_configs(m);
        break;
    case CLUSTER_PRODUCER_ID_BLOCK:
        m->producer_ids.broker = some_broker();
        m->producer_ids.broker_epoch = epoch_of(m->producer_ids.broker);
        m->producer_ids.count = below(1000);
        break;
    case CLUSTER_NO_OP:
    case CLUSTER_COMMAND_KIND_COUNT:
        break;
    }
    m->controller_epoch = cluster_controller_epoch(c) + (m->kind != CLUSTER_CONTROLLER_EPOCH && hits(100));
}
