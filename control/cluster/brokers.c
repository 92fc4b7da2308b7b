/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Brokers: registration, fencing, controlled shutdown, suspicion, directories (control-plane 4.2).
 */
#include "cluster/state.h"

struct broker_entry *cluster_judge_epoch(const struct cluster *c, int32_t id, int64_t epoch, struct cluster_result *r)
{
    struct broker_entry *e = cluster_entry(c, id);
    if (e != NULL && e->b.epoch == epoch)
        return e;
    cluster_refuse(r, KAFKA_STALE_BROKER_EPOCH, "broker %d is not registered with epoch %lld", id, (long long)epoch);
    return NULL;
}

/* The first fifteen bytes zero and the last below 100: ids with a meaning of their own (KIP-858). */
bool directory_is_reserved(const struct tide_uuid *u)
{
    static const uint8_t zero[15];
    return memcmp(u->bytes, zero, sizeof(zero)) == 0 && u->bytes[15] < 100;
}

static void touch(struct cluster *c, struct broker_entry *e)
{
    e->b.changed = c->brokers_changed = c->now;
}

/* ---- what a broker's change does to partitions --------------------------------------------------------------------- */

static bool has_member(const struct cluster_partition *p, int32_t id)
{
    return ids_have(p->isr, p->isr_count, id) || ids_have(p->elr, p->elr_count, id);
}

static bool leave(struct cluster *c, struct cluster_topic *t, uint32_t i, int32_t id, bool unclean)
{
    struct partition_wish w;
    if (!has_member(&t->partitions[i], id))
        return false;
    wish_of(&w, &t->partitions[i]);
    wish_without(&w, id);
    w.unclean = unclean ? id : -1;
    return partition_change(c, t, i, &w);
}

/* The broker serves no more: it leaves every ISR; what it has is still known to be whole. */
static bool leave_clean(struct cluster *c, struct cluster_topic *t, uint32_t i, void *id)
{
    return leave(c, t, i, *(const int32_t *)id, false);
}

/* It is gone for good. */
static bool leave_for_good(struct cluster *c, struct cluster_topic *t, uint32_t i, void *id)
{
    return leave(c, t, i, *(const int32_t *)id, true);
}

/* It was killed: what was acknowledged from memory may be lost (control-plane 4.8). */
static bool leave_killed(struct cluster *c, struct cluster_topic *t, uint32_t i, void *id)
{
    return leave(c, t, i, *(const int32_t *)id, cluster_acks_from_memory(c, t));
}

/* Somebody may lead now who might not before. */
static bool find_leader(struct cluster *c, struct cluster_topic *t, uint32_t i, void *arg)
{
    const struct cluster_partition *p = &t->partitions[i];
    const struct cluster_broker *leader = cluster_find_broker(c, p->leader);
    struct partition_wish w;
    (void)arg;
    if (leader != NULL && !leader->suspect)
        return false;
    wish_of(&w, p);
    return partition_change(c, t, i, &w);
}

static bool move_from(struct cluster *c, struct cluster_topic *t, uint32_t i, void *id)
{
    struct partition_wish w;
    if (t->partitions[i].leader != *(const int32_t *)id)
        return false;
    wish_of(&w, &t->partitions[i]);
    return partition_change(c, t, i, &w);
}

/* The broker's directories are others now. */
static bool mind_directory(struct cluster *c, struct cluster_topic *t, uint32_t i, void *id)
{
    const struct cluster_partition *p = &t->partitions[i];
    int32_t broker = *(const int32_t *)id;
    struct partition_wish w;
    if (!ids_have(p->replicas, p->replica_count, broker))
        return false;
    wish_of(&w, p);
    if (!partition_directory_is_online(c, p, broker))
        wish_without(&w, broker);
    return partition_change(c, t, i, &w);
}

static bool count_of(struct cluster *c, struct cluster_topic *t, uint32_t i, void *entry)
{
    struct broker_entry *e = entry;
    const struct cluster_partition *p = &t->partitions[i];
    (void)c;
    e->b.replica_count += ids_have(p->replicas, p->replica_count, e->b.id);
    e->b.isr_count += ids_have(p->isr, p->isr_count, e->b.id);
    e->b.leader_count += p->leader == e->b.id;
    return false;
}

/* ---- registration --------------------------------------------------------------------------------------------------- */

static bool directory_is_taken(const struct cluster *c, int32_t id, const struct tide_uuid *directory)
{
    for (uint32_t i = 0; i < c->broker_count; i++)
        for (uint32_t k = 0; c->brokers[i]->b.id != id && k < c->brokers[i]->b.directory_count; k++)
            if (tide_uuid_equal(&c->brokers[i]->b.directories[k], directory))
                return true;
    return false;
}

static bool directories_are_legal(const struct cluster *c, const struct cluster_broker *b, struct cluster_result *r)
{
    if (b->directory_count == 0) {
        cluster_refuse(r, KAFKA_INVALID_REGISTRATION, "a broker needs a log directory");
        return false;
    }
    for (uint32_t i = 0; i < b->directory_count; i++) {
        const char *wrong = directory_is_reserved(&b->directories[i]) ? "has a reserved id"
                            : directory_is_taken(c, b->id, &b->directories[i]) ? "belongs to another broker" : NULL;
        for (uint32_t k = 0; k < i; k++)
            if (tide_uuid_equal(&b->directories[i], &b->directories[k]))
                wrong = "is named twice";
        if (wrong != NULL) {
            cluster_refuse(r, KAFKA_INVALID_REGISTRATION, "log directory %u %s", i, wrong);
            return false;
        }
    }
    return true;
}

static bool features_are_supported(const struct cluster *c, const struct cluster_broker *b, struct cluster_result *r)
{
    for (uint32_t i = 0; i < c->feature_count; i++) {
        const struct cluster_feature_level *f = &c->features[i];
        if (!feature_is_supported(b, f->name, f->level)) {
            cluster_refuse(r, KAFKA_UNSUPPORTED_VERSION, "the cluster works with %.64s %d, which this broker does not know", f->name, f->level);
            return false;
        }
    }
    return true;
}

static bool judge_registration(const struct cluster *c, const struct cluster_command *m, const struct broker_entry *e, struct cluster_result *r)
{
    const struct cluster_broker *b = &m->register_broker.broker;
    if (!tide_uuid_equal(&m->register_broker.cluster_id, &c->id)) {
        cluster_refuse(r, KAFKA_INCONSISTENT_CLUSTER_ID, "this is another cluster");
        return false;
    }
    if (e != NULL && !tide_uuid_equal(&e->b.incarnation, &b->incarnation) && m->register_broker.session_valid) {
        cluster_refuse(r, KAFKA_DUPLICATE_BROKER_REGISTRATION, "another process with id %d is alive", b->id);
        return false;
    }
    if (b->id < 0) {
        cluster_refuse(r, KAFKA_INVALID_REGISTRATION, "a broker's id is not negative");
        return false;
    }
    if (!directories_are_legal(c, b, r) || !features_are_supported(c, b, r))
        return false;
    if (e == NULL && c->broker_count == CLUSTER_BROKERS_MAX) {
        cluster_refuse(r, KAFKA_POLICY_VIOLATION, "there are %d brokers, more are not possible", CLUSTER_BROKERS_MAX);
        return false;
    }
    return true;
}

static void describe(struct cluster_broker *to, const struct cluster_broker *from)
{
    to->id = from->id;
    to->incarnation = from->incarnation;
    memcpy(to->rack, from->rack, sizeof(to->rack));
    to->endpoint_count = from->endpoint_count;
    memcpy(to->endpoints, from->endpoints, sizeof(to->endpoints));
    to->replication_address = from->replication_address;
    to->replication_port = from->replication_port;
    to->core_count = from->core_count;
    to->feature_count = from->feature_count;
    memcpy(to->features, from->features, sizeof(to->features));
    to->directory_count = from->directory_count;
    memcpy(to->directories, from->directories, sizeof(to->directories));
}

static void link_broker(struct cluster *c, struct broker_entry *e)
{
    bool found;
    uint32_t at = cluster_broker_place(c, e->b.id, &found);
    memmove(&c->brokers[at + 1], &c->brokers[at], (c->broker_count - at) * sizeof(*c->brokers));
    c->brokers[at] = e;
    c->broker_count++;
    (void)cluster_visit(c, count_of, e);
}

/* A new process, and whatever it is said to have lost. */
static uint32_t begin_incarnation(struct cluster *c, const struct cluster_command *m, struct broker_entry *e, int64_t stored)
{
    int32_t id = e->b.id;
    uint32_t changed = 0;
    bool killed = stored == -1 || m->register_broker.previous_epoch != stored;
    e->b.previous_epoch = stored;
    e->b.epoch = (int64_t)c->now;
    e->b.fenced = true;
    e->b.in_shutdown = e->b.suspect = false;
    cluster_give(c->memory, e->slot.bytes);
    memset(&e->slot, 0, sizeof(e->slot));
    for (uint32_t i = 0; i < m->register_broker.unclean_count; i++) {
        const struct cluster_partition_ref *ref = &m->register_broker.unclean[i];
        struct cluster_topic *t;
        if (cluster_partition_of(c, &ref->topic_id, ref->partition, &t) != NULL)
            changed += leave(c, t, (uint32_t)ref->partition, id, true);
    }
    return changed + cluster_visit(c, killed ? leave_killed : leave_clean, &id);
}

enum tide_status apply_register_broker(struct cluster *c, const struct cluster_command *m, struct cluster_result *r)
{
    const struct cluster_broker *b = &m->register_broker.broker;
    struct broker_entry *e = cluster_entry(c, b->id);
    bool fresh = e == NULL;
    bool again;
    int64_t stored;
    if (!judge_registration(c, m, e, r))
        return TIDE_OK;
    if (fresh) {
        if (!cluster_grow(c->memory, (void **)&c->brokers, &c->broker_room, c->broker_count, sizeof(*c->brokers)))
            return TIDE_FULL;
        e = cluster_take(c->memory, sizeof(*e));
        if (e == NULL)
            return TIDE_FULL;
    }
    again = !fresh && tide_uuid_equal(&e->b.incarnation, &b->incarnation);
    stored = fresh ? -1 : e->b.epoch;
    describe(&e->b, b);
    if (fresh) {
        e->b.fenced = true;
        link_broker(c, e);
    }
    if (!again)
        r->changed = begin_incarnation(c, m, e, stored);
    r->changed += cluster_visit(c, mind_directory, &(int32_t){b->id});
    r->broker_epoch = e->b.epoch;
    touch(c, e);
    return TIDE_OK;
}

/* ---- its life ------------------------------------------------------------------------------------------------------ */

enum tide_status apply_fence_broker(struct cluster *c, const struct cluster_command *m, struct cluster_result *r)
{
    struct broker_entry *e = cluster_judge_epoch(c, m->broker.id, m->broker.epoch, r);
    if (e == NULL || e->b.fenced)
        return TIDE_OK;
    e->b.fenced = true;
    touch(c, e);
    r->changed = cluster_visit(c, leave_clean, &(int32_t){m->broker.id});
    return TIDE_OK;
}

enum tide_status apply_unfence_broker(struct cluster *c, const struct cluster_command *m, struct cluster_result *r)
{
    struct broker_entry *e = cluster_judge_epoch(c, m->broker.id, m->broker.epoch, r);
    if (e == NULL)
        return TIDE_OK;
    if (e->b.suspect) {
        cluster_refuse(r, KAFKA_OPERATION_NOT_ATTEMPTED, "the data network of broker %d is suspect", m->broker.id);
        return TIDE_OK;
    }
    if (!e->b.fenced)
        return TIDE_OK;
    e->b.fenced = false;
    touch(c, e);
    r->changed = cluster_visit(c, find_leader, NULL);
    return TIDE_OK;
}

enum tide_status apply_begin_shutdown(struct cluster *c, const struct cluster_command *m, struct cluster_result *r)
{
    struct broker_entry *e = cluster_judge_epoch(c, m->broker.id, m->broker.epoch, r);
    if (e == NULL || e->b.in_shutdown)
        return TIDE_OK;
    e->b.in_shutdown = true;
    touch(c, e);
    r->changed = cluster_visit(c, leave_clean, &(int32_t){m->broker.id});
    return TIDE_OK;
}

/* With half of the brokers suspect it is the fabric that is at fault. */
static bool is_the_fabric(const struct cluster *c, const struct broker_entry *e)
{
    uint32_t unfenced = 0, suspect = 0;
    for (uint32_t i = 0; i < c->broker_count; i++) {
        const struct cluster_broker *b = &c->brokers[i]->b;
        unfenced += !b->fenced;
        suspect += !b->fenced && (b->suspect || b == &e->b);
    }
    return 2 * suspect >= unfenced;
}

enum tide_status apply_set_data_suspect(struct cluster *c, const struct cluster_command *m, struct cluster_result *r)
{
    struct broker_entry *e = cluster_judge_epoch(c, m->broker.id, m->broker.epoch, r);
    if (e == NULL || e->b.suspect == m->broker.on)
        return TIDE_OK;
    if (m->broker.on && is_the_fabric(c, e)) {
        cluster_refuse(r, KAFKA_OPERATION_NOT_ATTEMPTED, "half of the brokers would be suspect");
        return TIDE_OK;
    }
    e->b.suspect = m->broker.on;
    touch(c, e);
    r->changed = m->broker.on ? cluster_visit(c, move_from, &(int32_t){m->broker.id}) : cluster_visit(c, find_leader, NULL);
    return TIDE_OK;
}

enum tide_status apply_dirs_offline(struct cluster *c, const struct cluster_command *m, struct cluster_result *r)
{
    struct broker_entry *e = cluster_judge_epoch(c, m->dirs_offline.id, m->dirs_offline.epoch, r);
    uint32_t kept = 0;
    if (e == NULL)
        return TIDE_OK;
    for (uint32_t i = 0; i < e->b.directory_count; i++) {
        bool offline = false;
        for (uint32_t k = 0; k < m->dirs_offline.count; k++)
            offline |= tide_uuid_equal(&e->b.directories[i], &m->dirs_offline.directories[k]);
        if (!offline)
            e->b.directories[kept++] = e->b.directories[i];
    }
    if (kept == e->b.directory_count)
        return TIDE_OK;
    memset(&e->b.directories[kept], 0, (e->b.directory_count - kept) * sizeof(e->b.directories[0]));
    e->b.directory_count = kept;
    touch(c, e);
    r->changed = cluster_visit(c, mind_directory, &(int32_t){m->dirs_offline.id});
    return TIDE_OK;
}

enum tide_status apply_unregister_broker(struct cluster *c, const struct cluster_command *m, struct cluster_result *r)
{
    bool found;
    uint32_t at = cluster_broker_place(c, m->broker.id, &found);
    struct broker_entry *e = found ? c->brokers[at] : NULL;
    if (e == NULL) {
        cluster_refuse(r, KAFKA_BROKER_ID_NOT_REGISTERED, "broker %d is not registered", m->broker.id);
        return TIDE_OK;
    }
    if (!e->b.fenced && !m->broker.on) {
        cluster_refuse(r, KAFKA_INVALID_REQUEST, "broker %d is active", m->broker.id);
        return TIDE_OK;
    }
    e->b.fenced = true;
    r->changed = cluster_visit(c, leave_for_good, &(int32_t){m->broker.id});
    memmove(&c->brokers[at], &c->brokers[at + 1], (c->broker_count - at - 1) * sizeof(*c->brokers));
    c->broker_count--;
    c->brokers_removed = c->now;
    cluster_give(c->memory, e->slot.bytes);
    cluster_give(c->memory, e);
    return TIDE_OK;
}
