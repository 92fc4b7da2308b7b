/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Topics: created, deleted, given more partitions (control-plane 4.3).
 */
#include "cluster/state.h"

/* The metadata log's directory would be the one of its partition 0. */
#define METADATA_TOPIC "__cluster_metadata"

void topic_free(const struct cluster_memory *memory, struct cluster_topic *t)
{
    if (t == NULL)
        return;
    cluster_give(memory, t->partitions);
    cluster_give(memory, t->configs);
    cluster_give(memory, t);
}

void topic_link(struct cluster *c, struct cluster_topic *t)
{
    bool found;
    uint32_t by_name = cluster_topic_place(c, t->name, &found);
    uint32_t by_id = cluster_id_place(c, &t->id, &found);
    memmove(&c->topics[by_name + 1], &c->topics[by_name], (c->topic_count - by_name) * sizeof(*c->topics));
    memmove(&c->by_id[by_id + 1], &c->by_id[by_id], (c->topic_count - by_id) * sizeof(*c->by_id));
    c->topics[by_name] = c->by_id[by_id] = t;
    c->topic_count++;
    for (uint32_t i = 0; i < t->partition_count; i++)
        partition_count_in(c, &t->partitions[i], 1);
}

static void topic_unlink(struct cluster *c, const struct cluster_topic *t)
{
    bool found;
    uint32_t by_name = cluster_topic_place(c, t->name, &found);
    uint32_t by_id = cluster_id_place(c, &t->id, &found);
    for (uint32_t i = 0; i < t->partition_count; i++)
        partition_count_in(c, &t->partitions[i], -1);
    c->topic_count--;
    memmove(&c->topics[by_name], &c->topics[by_name + 1], (c->topic_count - by_name) * sizeof(*c->topics));
    memmove(&c->by_id[by_id], &c->by_id[by_id + 1], (c->topic_count - by_id) * sizeof(*c->by_id));
}

/* Room for one more. */
static bool topic_room(struct cluster *c)
{
    uint32_t room = c->topic_room;
    if (!cluster_grow(c->memory, (void **)&c->by_id, &room, c->topic_count, sizeof(*c->by_id)))
        return false;
    return cluster_grow(c->memory, (void **)&c->topics, &c->topic_room, c->topic_count, sizeof(*c->topics));
}

/* ---- names -------------------------------------------------------------------------------------------------------- */

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

static bool name_is_free(const struct cluster *c, const struct cluster_command *m, struct cluster_result *r)
{
    const char *name = m->create_topic.name;
    if (!cluster_topic_name_is_legal(name, strlen(name)) || strcmp(name, METADATA_TOPIC) == 0) {
        cluster_refuse(r, KAFKA_INVALID_TOPIC_EXCEPTION, "a topic's name is 1 to 249 of a-z A-Z 0-9 . _ -, and not . or .. or " METADATA_TOPIC);
        return false;
    }
    if (cluster_find_topic(c, name) != NULL) {
        cluster_refuse(r, KAFKA_TOPIC_ALREADY_EXISTS, "there is a topic of that name");
        return false;
    }
    if (tide_uuid_is_zero(&m->create_topic.id) || cluster_topic_of(c, &m->create_topic.id) != NULL) { /* K1 */
        cluster_refuse(r, KAFKA_TOPIC_ALREADY_EXISTS, "there is a topic of that id");
        return false;
    }
    for (uint32_t i = 0; i < c->topic_count; i++) {
        if (names_collide(c->topics[i]->name, name)) {
            cluster_refuse(r, KAFKA_INVALID_TOPIC_EXCEPTION, "the name collides with another topic's ('.' and '_' count as the same)");
            return false;
        }
    }
    return true;
}

/* ---- assignments ---------------------------------------------------------------------------------------------------- */

/* New partitions on their way in: rows[i] belongs to partition first + i. */
struct creation {
    struct cluster_assignment *rows;
    uint32_t first, count, factor;
};

static bool row_is_legal(const struct cluster *c, const struct creation *n, const struct cluster_assignment *row, struct cluster_result *r)
{
    if (row->partition < (int32_t)n->first || (uint32_t)row->partition - n->first >= n->count ||
        n->rows[(uint32_t)row->partition - n->first].replica_count != 0) {
        cluster_refuse(r, KAFKA_INVALID_REPLICA_ASSIGNMENT, "the partitions of the assignment must be %u to %u, each once", n->first,
                       n->first + n->count - 1);
        return false;
    }
    if (row->replica_count == 0 || row->replica_count != n->factor) {
        cluster_refuse(r, KAFKA_INVALID_REPLICA_ASSIGNMENT, "every partition must have equally many replicas, and at least one");
        return false;
    }
    for (uint32_t i = 0; i < row->replica_count; i++) {
        if (cluster_find_broker(c, row->replicas[i]) == NULL) {
            cluster_refuse(r, KAFKA_INVALID_REPLICA_ASSIGNMENT, "the assignment names broker %d, which is not registered", row->replicas[i]);
            return false;
        }
        if (ids_have(row->replicas, i, row->replicas[i])) {
            cluster_refuse(r, KAFKA_INVALID_REPLICA_ASSIGNMENT, "the assignment names broker %d twice for one partition", row->replicas[i]);
            return false;
        }
    }
    return true;
}

static bool rows_are_legal(const struct cluster *c, struct creation *n, const struct cluster_assignment *rows, struct cluster_result *r)
{
    for (uint32_t i = 0; i < n->count; i++) {
        if (!row_is_legal(c, n, &rows[i], r))
            return false;
        n->rows[(uint32_t)rows[i].partition - n->first] = rows[i];
    }
    return true;
}

static uint32_t unfenced(const struct cluster *c)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->broker_count; i++)
        n += !c->brokers[i]->b.fenced;
    return n;
}

static bool factor_is_met(const struct cluster *c, int32_t factor, struct cluster_result *r)
{
    if (factor >= 1 && factor <= TIDE_REPLICAS_MAX && (uint32_t)factor <= unfenced(c))
        return true;
    cluster_refuse(r, KAFKA_INVALID_REPLICATION_FACTOR, "the replication factor must be at least 1 and at most the number of brokers (%u are alive)",
                   unfenced(c));
    return false;
}

static bool all_can_be_led(const struct cluster *c, const struct creation *n, bool manual, struct cluster_result *r)
{
    for (uint32_t i = 0; i < n->count; i++) {
        bool active = false;
        for (uint32_t k = 0; k < n->factor; k++)
            active |= cluster_broker_is_active(cluster_find_broker(c, n->rows[i].replicas[k]));
        if (!active) {
            cluster_refuse(r, manual ? KAFKA_INVALID_REPLICA_ASSIGNMENT : KAFKA_INVALID_REPLICATION_FACTOR,
                           "no broker of partition %u is active", n->first + i);
            return false;
        }
    }
    return true;
}

/* K4. *ret_fits is written with TIDE_OK. */
static enum tide_status fits(const struct cluster *c, const struct creation *n, struct cluster_result *r, bool *ret_fits)
{
    uint32_t *more = cluster_take(c->memory, c->broker_count * sizeof(*more));
    if (more == NULL)
        return TIDE_FULL;
    *ret_fits = true;
    for (uint32_t i = 0; i < n->count; i++) {
        for (uint32_t k = 0; k < n->factor; k++) {
            bool found;
            uint32_t at = cluster_broker_place(c, n->rows[i].replicas[k], &found);
            TIDE_ASSERT(found);
            if (++more[at] + c->brokers[at]->b.replica_count > TIDE_PARTITIONS_MAX && *ret_fits) {
                cluster_refuse(r, KAFKA_POLICY_VIOLATION, "broker %d would have more than %d partitions", c->brokers[at]->b.id, TIDE_PARTITIONS_MAX);
                *ret_fits = false;
            }
        }
    }
    cluster_give(c->memory, more);
    return TIDE_OK;
}

static void start_partition(const struct cluster *c, const struct cluster_assignment *row, struct cluster_partition *p)
{
    memset(p, 0, sizeof(*p));
    p->last_known_elr = p->unclean_epoch = -1;
    p->replica_count = row->replica_count;
    memcpy(p->replicas, row->replicas, row->replica_count * sizeof(*p->replicas));
    for (uint32_t i = 0; i < row->replica_count; i++)
        if (cluster_broker_is_active(cluster_find_broker(c, row->replicas[i])))
            p->isr[p->isr_count++] = row->replicas[i];
    p->leader = p->isr[0];
    for (uint32_t i = p->isr_count; i-- > 0;)
        if (!cluster_find_broker(c, p->isr[i])->suspect)
            p->leader = p->isr[i];
    p->changed = c->now;
}

static void show_new(struct cluster_result *r, const struct cluster_command *m, const struct tide_uuid *id, const struct creation *n,
                     const struct cluster_partition *partitions)
{
    (void)m;
    for (uint32_t i = 0; i < n->count; i++) {
        const struct cluster_partition *p = &partitions[i];
        r->items[i] = (struct cluster_item){.topic_id = *id, .partition = (int32_t)(n->first + i), .has_state = true, .leader = p->leader,
                                            .id_count = p->replica_count};
        memcpy(r->items[i].ids, p->replicas, sizeof(r->items[i].ids));
    }
}

/* ---- creating ---------------------------------------------------------------------------------------------------------- */

static bool counts_are_legal(const struct cluster *c, const struct cluster_command *m, struct creation *n, struct cluster_result *r)
{
    uint32_t rows = m->create_topic.assignment_count;
    if (rows != 0) {
        if (m->create_topic.partition_count != -1 || m->create_topic.replication_factor != -1) {
            cluster_refuse(r, KAFKA_INVALID_REQUEST, "an assignment comes with partitions -1 and replication factor -1");
            return false;
        }
        n->count = rows;
        n->factor = m->create_topic.assignment[0].replica_count;
    } else {
        n->count = m->create_topic.partition_count < 0 ? 0 : (uint32_t)m->create_topic.partition_count;
        n->factor = m->create_topic.replication_factor < 0 ? 0 : (uint32_t)m->create_topic.replication_factor;
    }
    if (n->count < 1 || n->count > CLUSTER_PARTITIONS_MAX) {
        cluster_refuse(r, KAFKA_INVALID_PARTITIONS, "the number of partitions must be 1 to %d", CLUSTER_PARTITIONS_MAX);
        return false;
    }
    return rows != 0 || factor_is_met(c, m->create_topic.replication_factor, r);
}

static struct cluster_topic *make_topic(const struct cluster *c, const struct cluster_command *m, const struct creation *n)
{
    struct cluster_topic *t = cluster_take(c->memory, sizeof(*t));
    if (t == NULL)
        return NULL;
    t->partitions = cluster_take(c->memory, n->count * sizeof(*t->partitions));
    t->configs = configs_copy_sorted(c->memory, m->create_topic.configs, m->create_topic.config_count);
    if (t->partitions == NULL || t->configs == NULL) {
        topic_free(c->memory, t);
        return NULL;
    }
    t->id = m->create_topic.id;
    memcpy(t->name, m->create_topic.name, strlen(m->create_topic.name));
    t->partition_count = n->count;
    t->config_count = m->create_topic.config_count;
    t->changed = t->configs_changed = c->now;
    for (uint32_t i = 0; i < n->count; i++)
        start_partition(c, &n->rows[i], &t->partitions[i]);
    return t;
}

/* The rows, judged up to the partition limit. r->error tells. */
static enum tide_status choose(const struct cluster *c, struct creation *n, const struct cluster_assignment *manual, uint32_t seed,
                               struct cluster_result *r)
{
    n->rows = cluster_take(c->memory, n->count * sizeof(*n->rows));
    if (n->rows == NULL)
        return TIDE_FULL;
    if (manual != NULL) {
        if (!rows_are_legal(c, n, manual, r))
            return TIDE_OK;
    } else if (placement_choose(c, seed, n->first, n->count, n->factor, n->rows) != TIDE_OK) {
        return TIDE_FULL;
    }
    (void)all_can_be_led(c, n, manual != NULL, r);
    return TIDE_OK;
}

static enum tide_status create(struct cluster *c, const struct cluster_command *m, struct creation *n, struct cluster_result *r)
{
    struct cluster_topic *t;
    bool fitting;
    if (choose(c, n, m->create_topic.assignment_count != 0 ? m->create_topic.assignment : NULL, m->create_topic.placement_seed, r) != TIDE_OK)
        return TIDE_FULL;
    if (r->error != 0 || !configs_are_legal(m->create_topic.configs, m->create_topic.config_count, r))
        return TIDE_OK;
    if (fits(c, n, r, &fitting) != TIDE_OK)
        return TIDE_FULL;
    if (!fitting)
        return TIDE_OK;
    t = make_topic(c, m, n);
    if (t == NULL)
        return TIDE_FULL;
    if (!cluster_result_reserve(r, c->memory, n->count) || !topic_room(c)) {
        topic_free(c->memory, t);
        return TIDE_FULL;
    }
    show_new(r, m, &t->id, n, t->partitions);
    if (m->create_topic.validate_only) {
        topic_free(c->memory, t);
        return TIDE_OK;
    }
    topic_link(c, t);
    c->partitions_changed = c->topic_configs_changed = c->now;
    r->changed = n->count;
    return TIDE_OK;
}

enum tide_status apply_create_topic(struct cluster *c, const struct cluster_command *m, struct cluster_result *r)
{
    struct creation n = {0};
    enum tide_status status;
    if (!name_is_free(c, m, r) || !counts_are_legal(c, m, &n, r))
        return TIDE_OK;
    status = create(c, m, &n, r);
    cluster_give(c->memory, n.rows);
    return status;
}

enum tide_status apply_delete_topic(struct cluster *c, const struct cluster_command *m, struct cluster_result *r)
{
    struct cluster_topic *t = cluster_topic_of(c, &m->delete_topic);
    if (t == NULL) {
        cluster_refuse(r, KAFKA_UNKNOWN_TOPIC_ID, "there is no such topic");
        return TIDE_OK;
    }
    for (uint32_t i = 0; i < t->partition_count; i++) {
        struct broker_entry *e = cluster_entry(c, t->partitions[i].leader);
        if (e != NULL)
            e->b.leader_moved = c->now;
    }
    r->changed = t->partition_count;
    topic_unlink(c, t);
    topic_free(c->memory, t);
    c->topics_removed = c->now;
    return TIDE_OK;
}

/* ---- more partitions ------------------------------------------------------------------------------------------------------ */

/* What partition 0 has, or will have when its reassignment is done. */
static uint32_t factor_of(const struct cluster_topic *t)
{
    return t->partitions[0].replica_count - t->partitions[0].removing_count;
}

static bool growth_is_legal(const struct cluster *c, const struct cluster_command *m, const struct cluster_topic *t, struct creation *n,
                            struct cluster_result *r)
{
    int32_t total = m->create_partitions.partition_count;
    if (total <= (int32_t)t->partition_count || total > CLUSTER_PARTITIONS_MAX) {
        cluster_refuse(r, KAFKA_INVALID_PARTITIONS, "the topic has %u partitions; the new number must be greater, and at most %d",
                       t->partition_count, CLUSTER_PARTITIONS_MAX);
        return false;
    }
    n->first = t->partition_count;
    n->count = (uint32_t)total - n->first;
    n->factor = factor_of(t);
    if (m->create_partitions.assignment_count == 0)
        return factor_is_met(c, (int32_t)n->factor, r);
    if (m->create_partitions.assignment_count == n->count)
        return true;
    cluster_refuse(r, KAFKA_INVALID_REPLICA_ASSIGNMENT, "the assignment has %u partitions, %u are new", m->create_partitions.assignment_count, n->count);
    return false;
}

static enum tide_status extend(struct cluster *c, const struct cluster_command *m, struct cluster_topic *t, struct creation *n,
                               struct cluster_result *r)
{
    struct cluster_partition *more;
    bool fitting;
    if (choose(c, n, m->create_partitions.assignment_count != 0 ? m->create_partitions.assignment : NULL, m->create_partitions.placement_seed,
               r) != TIDE_OK)
        return TIDE_FULL;
    if (r->error != 0)
        return TIDE_OK;
    if (fits(c, n, r, &fitting) != TIDE_OK)
        return TIDE_FULL;
    if (!fitting)
        return TIDE_OK;
    more = cluster_take(c->memory, (n->first + n->count) * sizeof(*more));
    if (more == NULL)
        return TIDE_FULL;
    if (!cluster_result_reserve(r, c->memory, n->count)) {
        cluster_give(c->memory, more);
        return TIDE_FULL;
    }
    memcpy(more, t->partitions, n->first * sizeof(*more));
    for (uint32_t i = 0; i < n->count; i++)
        start_partition(c, &n->rows[i], &more[n->first + i]);
    show_new(r, m, &t->id, n, &more[n->first]);
    if (m->create_partitions.validate_only) {
        cluster_give(c->memory, more);
        return TIDE_OK;
    }
    cluster_give(c->memory, t->partitions);
    t->partitions = more;
    for (uint32_t i = 0; i < n->count; i++)
        partition_count_in(c, &more[n->first + i], 1);
    t->partition_count += n->count;
    t->changed = c->partitions_changed = c->now;
    r->changed = n->count;
    return TIDE_OK;
}

enum tide_status apply_create_partitions(struct cluster *c, const struct cluster_command *m, struct cluster_result *r)
{
    struct cluster_topic *t = cluster_topic_of(c, &m->create_partitions.id);
    struct creation n = {0};
    enum tide_status status;
    if (t == NULL) {
        cluster_refuse(r, KAFKA_UNKNOWN_TOPIC_ID, "there is no such topic");
        return TIDE_OK;
    }
    if (!growth_is_legal(c, m, t, &n, r))
        return TIDE_OK;
    status = extend(c, m, t, &n, r);
    cluster_give(c->memory, n.rows);
    return status;
}
