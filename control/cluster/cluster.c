/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/cluster.h"

#include <stdlib.h>

#include "kafka/errors.h"
#include "tidemark/assert.h"

struct cluster {
    struct tide_uuid id;
    struct cluster_topic **topics; /* sorted by name */
    uint32_t topic_count, topic_room;
    struct cluster_broker *brokers; /* sorted by id */
    uint32_t broker_count, broker_room;
    int64_t next_broker_epoch;
    int64_t next_producer_id;
};

struct cluster *cluster_create(void)
{
    return calloc(1, sizeof(struct cluster));
}

static void free_topic(struct cluster_topic *t)
{
    if (t == NULL)
        return;
    free(t->partitions);
    free(t->configs);
    free(t);
}

void cluster_destroy(struct cluster *c)
{
    if (c == NULL)
        return;
    for (uint32_t i = 0; i < c->topic_count; i++)
        free_topic(c->topics[i]);
    free(c->topics);
    free(c->brokers);
    free(c);
}

/* ---- looking ---------------------------------------------------------------------------------------- */

const struct tide_uuid *cluster_id(const struct cluster *c) { return &c->id; }
uint32_t cluster_topic_count(const struct cluster *c) { return c->topic_count; }
const struct cluster_topic *cluster_topic_at(const struct cluster *c, uint32_t i) { return c->topics[i]; }
uint32_t cluster_broker_count(const struct cluster *c) { return c->broker_count; }
const struct cluster_broker *cluster_broker_at(const struct cluster *c, uint32_t i) { return &c->brokers[i]; }
int64_t cluster_next_producer_id(const struct cluster *c) { return c->next_producer_id; }

/* Where the name is, or where it would go. */
static uint32_t place_of(const struct cluster *c, const char *name, bool *ret_found)
{
    uint32_t low = 0, high = c->topic_count;
    *ret_found = false;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        int order = strcmp(c->topics[mid]->name, name);
        if (order == 0) {
            *ret_found = true;
            return mid;
        }
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

const struct cluster_topic *cluster_find_topic(const struct cluster *c, const char *name)
{
    bool found;
    uint32_t at = place_of(c, name, &found);
    return found ? c->topics[at] : NULL;
}

const struct cluster_topic *cluster_find_topic_by_id(const struct cluster *c, const struct tide_uuid *id)
{
    for (uint32_t i = 0; i < c->topic_count; i++)
        if (tide_uuid_equal(&c->topics[i]->id, id))
            return c->topics[i];
    return NULL;
}

const char *cluster_topic_config(const struct cluster_topic *t, const char *name)
{
    for (uint32_t i = 0; i < t->config_count; i++)
        if (strcmp(t->configs[i].name, name) == 0)
            return t->configs[i].value;
    return NULL;
}

static const struct cluster_broker *find_broker(const struct cluster *c, int32_t id)
{
    for (uint32_t i = 0; i < c->broker_count; i++)
        if (c->brokers[i].id == id)
            return &c->brokers[i];
    return NULL;
}

bool cluster_topic_name_is_legal(const char *name, size_t len)
{
    if (len == 0 || len > TIDE_TOPIC_NAME_MAX || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return false;
    for (size_t i = 0; i < len; i++) {
        char ch = name[i];
        if (!((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') || ch == '.' ||
              ch == '_' || ch == '-'))
            return false;
    }
    return true;
}

/* "a.b" and "a_b" would share a metric's name; Kafka refuses the second. */
static bool names_collide(const char *a, const char *b)
{
    for (; *a != 0 && *b != 0; a++, b++) {
        char x = *a == '.' ? '_' : *a;
        char y = *b == '.' ? '_' : *b;
        if (x != y)
            return false;
    }
    return *a == *b;
}

/* ---- validation --------------------------------------------------------------------------------------- */

static int16_t validate_assignment(const struct cluster *c, const struct cluster_command *m, const char **message)
{
    uint32_t rf = m->create_topic.replication_factor;
    for (uint32_t p = 0; p < m->create_topic.partition_count; p++) {
        const int32_t *row = &m->create_topic.assignment[p * rf];
        for (uint32_t i = 0; i < rf; i++) {
            if (find_broker(c, row[i]) == NULL) {
                *message = "the assignment names a broker that is not registered";
                return KAFKA_INVALID_REPLICA_ASSIGNMENT;
            }
            for (uint32_t k = 0; k < i; k++) {
                if (row[k] == row[i]) {
                    *message = "the assignment names a broker twice for one partition";
                    return KAFKA_INVALID_REPLICA_ASSIGNMENT;
                }
            }
        }
    }
    return 0;
}

static int16_t validate_create(const struct cluster *c, const struct cluster_command *m, const char **message)
{
    const char *name = m->create_topic.name;
    if (!cluster_topic_name_is_legal(name, strlen(name))) {
        *message = "a topic's name is 1 to 249 of a-z A-Z 0-9 . _ -, and not . or ..";
        return KAFKA_INVALID_TOPIC_EXCEPTION;
    }
    if (cluster_find_topic(c, name) != NULL) {
        *message = "there is a topic of that name";
        return KAFKA_TOPIC_ALREADY_EXISTS;
    }
    if (cluster_find_topic_by_id(c, &m->create_topic.id) != NULL) { /* K1 */
        *message = "there is a topic of that id";
        return KAFKA_TOPIC_ALREADY_EXISTS;
    }
    for (uint32_t i = 0; i < c->topic_count; i++) {
        if (names_collide(c->topics[i]->name, name)) {
            *message = "the name collides with another topic's ('.' and '_' count as the same)";
            return KAFKA_INVALID_TOPIC_EXCEPTION;
        }
    }
    if (m->create_topic.partition_count < 1 || m->create_topic.partition_count > CLUSTER_PARTITIONS_MAX) {
        *message = "the number of partitions must be 1 to 4096";
        return KAFKA_INVALID_PARTITIONS;
    }
    if (m->create_topic.replication_factor < 1 || m->create_topic.replication_factor > TIDE_REPLICAS_MAX ||
        m->create_topic.replication_factor > c->broker_count) {
        *message = "the replication factor must be at least 1 and at most the number of brokers";
        return KAFKA_INVALID_REPLICATION_FACTOR;
    }
    return m->create_topic.assignment != NULL ? validate_assignment(c, m, message) : 0;
}

int16_t cluster_validate(const struct cluster *c, const struct cluster_command *m, const char **ret_message)
{
    *ret_message = NULL;
    switch (m->kind) {
    case CLUSTER_CREATE_TOPIC:
        return validate_create(c, m, ret_message);
    case CLUSTER_DELETE_TOPIC:
        return cluster_find_topic_by_id(c, &m->delete_topic) == NULL ? KAFKA_UNKNOWN_TOPIC_ID : 0;
    case CLUSTER_INIT:
        return tide_uuid_is_zero(&c->id) ? 0 : KAFKA_INCONSISTENT_CLUSTER_ID;
    case CLUSTER_ALLOCATE_PRODUCER_IDS:
        return m->producer_ids.count == 0 || c->next_producer_id > INT64_MAX - m->producer_ids.count
                   ? KAFKA_INVALID_REQUEST : 0;
    default:
        return 0;
    }
}

/* ---- application -------------------------------------------------------------------------------------- */

static bool make_room(void **list, uint32_t *room, uint32_t count, size_t size)
{
    uint32_t want = *room == 0 ? 16 : *room * 2;
    void *more;
    if (count < *room)
        return true;
    more = realloc(*list, want * size);
    if (more == NULL)
        return false;
    *list = more;
    *room = want;
    return true;
}

/* Round robin over the brokers; each partition starts one further. */
static void place(const struct cluster *c, const struct cluster_command *m, uint32_t partition, int32_t *replicas)
{
    uint32_t rf = m->create_topic.replication_factor;
    for (uint32_t i = 0; i < rf; i++)
        replicas[i] = m->create_topic.assignment != NULL
                          ? m->create_topic.assignment[partition * rf + i]
                          : c->brokers[(m->create_topic.placement_seed + partition + i) % c->broker_count].id;
}

static struct cluster_topic *make_topic(const struct cluster *c, const struct cluster_command *m)
{
    struct cluster_topic *t = calloc(1, sizeof(*t));
    uint32_t rf = m->create_topic.replication_factor;
    if (t == NULL)
        return NULL;
    t->partitions = calloc(m->create_topic.partition_count, sizeof(*t->partitions));
    t->configs = calloc(m->create_topic.config_count + 1, sizeof(*t->configs));
    if (t->partitions == NULL || t->configs == NULL) {
        free_topic(t);
        return NULL;
    }
    t->id = m->create_topic.id;
    memcpy(t->name, m->create_topic.name, sizeof(t->name));
    t->partition_count = m->create_topic.partition_count;
    t->config_count = m->create_topic.config_count;
    if (t->config_count != 0)
        memcpy(t->configs, m->create_topic.configs, t->config_count * sizeof(*t->configs));
    for (uint32_t i = 0; i < t->partition_count; i++) {
        struct cluster_partition *p = &t->partitions[i];
        p->replica_count = p->isr_count = rf;
        place(c, m, i, p->replicas);
        memcpy(p->isr, p->replicas, sizeof(p->isr));
        p->leader = p->replicas[0];
    }
    return t;
}

static enum tide_status create_topic(struct cluster *c, const struct cluster_command *m)
{
    bool found;
    uint32_t at = place_of(c, m->create_topic.name, &found);
    struct cluster_topic *t;
    if (!make_room((void **)&c->topics, &c->topic_room, c->topic_count, sizeof(*c->topics)))
        return TIDE_FULL;
    t = make_topic(c, m);
    if (t == NULL)
        return TIDE_FULL;
    memmove(&c->topics[at + 1], &c->topics[at], (c->topic_count - at) * sizeof(*c->topics));
    c->topics[at] = t;
    c->topic_count++;
    return TIDE_OK;
}

static void delete_topic(struct cluster *c, const struct tide_uuid *id)
{
    for (uint32_t i = 0; i < c->topic_count; i++) {
        if (!tide_uuid_equal(&c->topics[i]->id, id))
            continue;
        free_topic(c->topics[i]);
        c->topic_count--;
        memmove(&c->topics[i], &c->topics[i + 1], (c->topic_count - i) * sizeof(*c->topics));
        return;
    }
}

static bool in_isr(const struct cluster_partition *p, int32_t broker)
{
    for (uint32_t i = 0; i < p->isr_count; i++)
        if (p->isr[i] == broker)
            return true;
    return false;
}

/* A broker that registers anew has lost what it led: every partition it leads, or could lead
 * because none does, gets a new leader epoch. */
static void elect_after_registration(struct cluster *c, int32_t broker)
{
    for (uint32_t i = 0; i < c->topic_count; i++) {
        for (uint32_t k = 0; k < c->topics[i]->partition_count; k++) {
            struct cluster_partition *p = &c->topics[i]->partitions[k];
            if ((p->leader == broker || p->leader < 0) && in_isr(p, broker)) {
                p->leader = broker;
                p->leader_epoch++;
                p->partition_epoch++;
            }
        }
    }
}

static enum tide_status register_broker(struct cluster *c, const struct cluster_broker *b, struct cluster_result *ret)
{
    uint32_t at = 0;
    while (at < c->broker_count && c->brokers[at].id < b->id)
        at++;
    if (at == c->broker_count || c->brokers[at].id != b->id) {
        if (!make_room((void **)&c->brokers, &c->broker_room, c->broker_count, sizeof(*c->brokers)))
            return TIDE_FULL;
        memmove(&c->brokers[at + 1], &c->brokers[at], (c->broker_count - at) * sizeof(*c->brokers));
        c->broker_count++;
    }
    c->brokers[at] = *b;
    c->brokers[at].epoch = ret->broker_epoch = c->next_broker_epoch++;
    elect_after_registration(c, b->id);
    return TIDE_OK;
}

enum tide_status cluster_apply(struct cluster *c, const struct cluster_command *m, struct cluster_result *ret)
{
    enum tide_status status = TIDE_OK;
    memset(ret, 0, sizeof(*ret));
    ret->error = cluster_validate(c, m, &ret->message);
    if (ret->error != 0)
        return TIDE_OK;
    switch (m->kind) {
    case CLUSTER_INIT:
        c->id = m->init;
        break;
    case CLUSTER_REGISTER_BROKER:
        status = register_broker(c, &m->broker, ret);
        break;
    case CLUSTER_CREATE_TOPIC:
        status = create_topic(c, m);
        break;
    case CLUSTER_DELETE_TOPIC:
        delete_topic(c, &m->delete_topic);
        break;
    case CLUSTER_ALLOCATE_PRODUCER_IDS:
        ret->first_producer_id = c->next_producer_id;
        c->next_producer_id += m->producer_ids.count;
        break;
    default:
        ret->error = KAFKA_INVALID_REQUEST;
    }
    return status;
}

void cluster_check(const struct cluster *c)
{
    for (uint32_t i = 0; i < c->topic_count; i++) {
        const struct cluster_topic *t = c->topics[i];
        TIDE_ASSERT(i == 0 || strcmp(c->topics[i - 1]->name, t->name) < 0); /* K1 */
        TIDE_ASSERT(cluster_find_topic_by_id(c, &t->id) == t);              /* K1 */
        for (uint32_t k = 0; k < t->partition_count; k++) {
            const struct cluster_partition *p = &t->partitions[k];
            TIDE_ASSERT(p->isr_count >= 1); /* K2 */
            TIDE_ASSERT(p->isr_count <= p->replica_count);
            TIDE_ASSERT(p->leader == -1 || in_isr(p, p->leader));
        }
    }
}
