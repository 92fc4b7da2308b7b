/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is asked of partitions: ISR changes, elections, reassignments, directories (control-plane 4.4).
 */
#include "cluster/state.h"

/* ---- ALTER_PARTITION ------------------------------------------------------------------------------------------------ */

static bool isr_is_legal(const struct cluster_partition *p, const struct cluster_partition_change *n)
{
    if (n->isr_count == 0)
        return false;
    for (uint32_t i = 0; i < n->isr_count; i++) {
        if (!ids_have(p->replicas, p->replica_count, n->isr[i].broker))
            return false;
        for (uint32_t k = 0; k < i; k++)
            if (n->isr[k].broker == n->isr[i].broker)
                return false;
    }
    return true;
}

static bool wants(const struct cluster_partition_change *n, int32_t broker)
{
    for (uint32_t i = 0; i < n->isr_count; i++)
        if (n->isr[i].broker == broker)
            return true;
    return false;
}

static bool is_eligible(const struct cluster *c, const struct cluster_partition *p, const struct cluster_isr_member *m)
{
    return cluster_can_lead(c, p, m->broker) && (m->epoch == -1 || m->epoch == cluster_find_broker(c, m->broker)->epoch);
}

/* Control-plane 10.4: a leader that hears nobody would make itself the only one who may ever lead. */
static bool is_guarded(const struct cluster *c, const struct cluster_topic *t, const struct cluster_partition *p,
                       const struct cluster_partition_change *n)
{
    if (n->guard_over || (n->isr_count >= cluster_min_insync(c, t, p->replica_count) && n->isr_count > 1))
        return false;
    for (uint32_t i = 0; i < p->replica_count; i++) {
        const struct cluster_broker *b = cluster_find_broker(c, p->replicas[i]);
        if (!ids_have(p->isr, p->isr_count, p->replicas[i]) || wants(n, p->replicas[i]))
            continue;
        if (b != NULL && cluster_broker_is_active(b) && !b->suspect && (n->guard_hears >> i & 1) == 0)
            return true;
    }
    return false;
}

/* The checks carry the numbers of control-plane 4.4. */
static bool judge_change(const struct cluster *c, int32_t broker, const struct cluster_topic *t, const struct cluster_partition *p,
                         const struct cluster_partition_change *n, struct cluster_item *item)
{
    if (t == NULL) { /* 1 */
        cluster_refuse_item(item, KAFKA_UNKNOWN_TOPIC_ID, "there is no such topic");
    } else if (p == NULL) { /* 2 */
        cluster_refuse_item(item, KAFKA_UNKNOWN_TOPIC_OR_PARTITION, "the topic has no such partition");
    } else if (n->leader_epoch > p->leader_epoch || n->partition_epoch > p->partition_epoch) { /* 3 */
        cluster_refuse_item(item, KAFKA_NOT_CONTROLLER, "the leader knows a later epoch than the controller");
    } else if (n->leader_epoch < p->leader_epoch) { /* 4 */
        cluster_refuse_item(item, KAFKA_FENCED_LEADER_EPOCH, "leader epoch %d, it is %d", n->leader_epoch, p->leader_epoch);
    } else if (broker != p->leader) { /* 5 */
        cluster_refuse_item(item, KAFKA_INVALID_REQUEST, "broker %d is not the leader", broker);
    } else if (n->partition_epoch < p->partition_epoch) { /* 6 */
        cluster_refuse_item(item, KAFKA_INVALID_UPDATE_VERSION, "partition epoch %d, it is %d", n->partition_epoch, p->partition_epoch);
    } else if (!isr_is_legal(p, n)) { /* 7 */
        cluster_refuse_item(item, KAFKA_INVALID_REQUEST, "an ISR is some of the replicas, each once");
    } else if (!wants(n, broker)) { /* 8 */
        cluster_refuse_item(item, KAFKA_INVALID_REQUEST, "the leader is always in the ISR");
    } else if (n->recovering && n->isr_count > 1) { /* 9 */
        cluster_refuse_item(item, KAFKA_INVALID_REQUEST, "a recovering leader is alone in the ISR");
    } else if (n->recovering && !p->recovering) { /* 10 */
        cluster_refuse_item(item, KAFKA_INVALID_REQUEST, "the partition has recovered");
    } else {
        for (uint32_t i = 0; i < n->isr_count; i++) { /* 11 */
            if (!is_eligible(c, p, &n->isr[i])) {
                cluster_refuse_item(item, KAFKA_INELIGIBLE_REPLICA,
                                    "broker %d is gone, fenced, in shutdown, or another one, or its log directory is offline", n->isr[i].broker);
                return false;
            }
        }
        if (is_guarded(c, t, p, n)) /* 12 */
            cluster_refuse_item(item, KAFKA_OPERATION_NOT_ATTEMPTED, "held back until it is clear who does not hear whom");
    }
    return item->error == 0;
}

static uint32_t alter_one(struct cluster *c, int32_t broker, const struct cluster_partition_change *n, struct cluster_item *item)
{
    struct cluster_topic *t;
    struct cluster_partition *p = cluster_partition_of(c, &n->topic_id, n->partition, &t);
    struct partition_wish w;
    bool changed;
    item->topic_id = n->topic_id;
    item->partition = n->partition;
    if (!judge_change(c, broker, t, p, n, item))
        return 0;
    wish_of(&w, p);
    memset(w.isr, 0, sizeof(w.isr));
    w.isr_count = n->isr_count;
    for (uint32_t i = 0; i < n->isr_count; i++)
        w.isr[i] = n->isr[i].broker;
    w.recovering = n->recovering;
    changed = partition_change(c, t, (uint32_t)n->partition, &w);
    cluster_item_show(item, t, (uint32_t)n->partition);
    if (p->leader != broker)
        cluster_refuse_item(item, KAFKA_NEW_LEADER_ELECTED, "the change stands, and made broker %d the leader", p->leader);
    return changed;
}

enum tide_status apply_alter_partition(struct cluster *c, const struct cluster_command *m, struct cluster_result *r)
{
    int32_t broker = m->alter_partition.broker;
    if (cluster_judge_epoch(c, broker, m->alter_partition.broker_epoch, r) == NULL) {
        r->item_count = 0;
        return TIDE_OK;
    }
    for (uint32_t i = 0; i < m->alter_partition.count; i++)
        r->changed += alter_one(c, broker, &m->alter_partition.changes[i], &r->items[i]);
    return TIDE_OK;
}

/* ---- elections ---------------------------------------------------------------------------------------------------------- */

static bool needs_election(const struct cluster_partition *p, uint8_t election)
{
    return election == CLUSTER_ELECT_PREFERRED ? p->leader != p->replicas[0] : p->leader == -1;
}

static bool hold(struct cluster *c, struct cluster_topic *t, uint32_t i, uint8_t election)
{
    struct partition_wish w;
    wish_of(&w, &t->partitions[i]);
    w.election = election == CLUSTER_ELECT_PREFERRED ? ELECT_PREFERRED : ELECT_UNCLEAN;
    return partition_change(c, t, i, &w);
}

static uint32_t elect_one(struct cluster *c, struct cluster_topic *t, uint32_t i, uint8_t election, struct cluster_item *item)
{
    bool changed = hold(c, t, i, election);
    cluster_item_show(item, t, i);
    if (!changed && election == CLUSTER_ELECT_PREFERRED)
        cluster_refuse_item(item, KAFKA_PREFERRED_LEADER_NOT_AVAILABLE, "the first replica cannot lead now");
    else if (!changed)
        cluster_refuse_item(item, KAFKA_ELIGIBLE_LEADERS_NOT_AVAILABLE, "no replica can lead now");
    return changed;
}

static uint32_t count_needs(const struct cluster *c, uint8_t election)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->topic_count; i++)
        for (uint32_t k = 0; k < c->topics[i]->partition_count; k++)
            n += needs_election(&c->topics[i]->partitions[k], election);
    return TIDE_MIN(n, (uint32_t)CLUSTER_ITEMS_MAX);
}

static enum tide_status elect_all(struct cluster *c, uint8_t election, struct cluster_result *r)
{
    uint32_t wanted = count_needs(c, election);
    uint32_t at = 0;
    if (!cluster_result_reserve(r, c->memory, wanted))
        return TIDE_FULL;
    for (uint32_t i = 0; i < c->topic_count; i++)
        for (uint32_t k = 0; k < c->topics[i]->partition_count && at < wanted; k++)
            if (needs_election(&c->topics[i]->partitions[k], election))
                r->changed += elect_one(c, c->topics[i], k, election, &r->items[at++]);
    TIDE_ASSERT(at == wanted);
    return TIDE_OK;
}

enum tide_status apply_elect_leaders(struct cluster *c, const struct cluster_command *m, struct cluster_result *r)
{
    uint8_t election = m->elect_leaders.election;
    if (election != CLUSTER_ELECT_PREFERRED && election != CLUSTER_ELECT_UNCLEAN) {
        cluster_refuse(r, KAFKA_INVALID_REQUEST, "there is no election of type %d", election);
        r->item_count = 0;
        return TIDE_OK;
    }
    if (m->elect_leaders.all)
        return elect_all(c, election, r);
    for (uint32_t i = 0; i < m->elect_leaders.count; i++) {
        const struct cluster_partition_ref *ref = &m->elect_leaders.partitions[i];
        struct cluster_item *item = &r->items[i];
        struct cluster_topic *t;
        struct cluster_partition *p = cluster_partition_of(c, &ref->topic_id, ref->partition, &t);
        item->topic_id = ref->topic_id;
        item->partition = ref->partition;
        if (p == NULL) {
            cluster_refuse_item(item, KAFKA_UNKNOWN_TOPIC_OR_PARTITION, "there is no such partition");
        } else if (!needs_election(p, election)) {
            cluster_item_show(item, t, (uint32_t)ref->partition);
            cluster_refuse_item(item, KAFKA_ELECTION_NOT_NEEDED, "broker %d leads", p->leader);
        } else {
            r->changed += elect_one(c, t, (uint32_t)ref->partition, election, item);
        }
    }
    return TIDE_OK;
}

enum tide_status apply_balance_leaders(struct cluster *c, const struct cluster_command *m, struct cluster_result *r)
{
    for (uint32_t i = 0; i < c->topic_count; i++) {
        for (uint32_t k = 0; k < c->topics[i]->partition_count && r->changed < m->limit; k++) {
            const struct cluster_partition *p = &c->topics[i]->partitions[k];
            const struct cluster_broker *b = cluster_find_broker(c, p->replicas[0]);
            if (p->leader != p->replicas[0] && ids_have(p->isr, p->isr_count, p->replicas[0]) && cluster_can_lead(c, p, p->replicas[0]) &&
                !b->suspect)
                r->changed += hold(c, c->topics[i], k, CLUSTER_ELECT_PREFERRED);
        }
    }
    return TIDE_OK;
}

enum tide_status apply_unclean_sweep(struct cluster *c, const struct cluster_command *m, struct cluster_result *r)
{
    for (uint32_t i = 0; i < c->topic_count; i++)
        for (uint32_t k = 0; k < c->topics[i]->partition_count && r->changed < m->limit; k++)
            if (c->topics[i]->partitions[k].leader == -1 && cluster_unclean_allowed(c, c->topics[i]))
                r->changed += hold(c, c->topics[i], k, CLUSTER_ELECT_UNCLEAN);
    return TIDE_OK;
}

enum tide_status apply_move_leader(struct cluster *c, const struct cluster_command *m, struct cluster_result *r)
{
    struct cluster_topic *t;
    struct cluster_partition *p = cluster_partition_of(c, &m->move_leader.topic_id, m->move_leader.partition, &t);
    struct cluster_item *item = &r->items[0];
    struct cluster_partition next;
    struct partition_wish w;
    item->topic_id = m->move_leader.topic_id;
    item->partition = m->move_leader.partition;
    if (p == NULL) {
        cluster_refuse_item(item, KAFKA_UNKNOWN_TOPIC_OR_PARTITION, "there is no such partition");
        return TIDE_OK;
    }
    if (m->move_leader.leader_epoch != p->leader_epoch) {
        cluster_refuse_item(item, KAFKA_FENCED_LEADER_EPOCH, "leader epoch %d, it is %d", m->move_leader.leader_epoch, p->leader_epoch);
        return TIDE_OK;
    }
    wish_of(&w, p);
    w.excluded = m->move_leader.excluded;
    w.election = ELECT_PREFERRED; /* never unclean, not even where that is allowed */
    (void)partition_judge(c, t, p, &w, &next);
    /* I8: a suspect broker does not take over from one that is not. */
    if (next.leader == -1 || next.leader == p->leader || cluster_find_broker(c, next.leader)->suspect) {
        cluster_item_show(item, t, (uint32_t)m->move_leader.partition);
        cluster_refuse_item(item, KAFKA_ELIGIBLE_LEADERS_NOT_AVAILABLE, "nobody else can lead now");
        return TIDE_OK;
    }
    r->changed = partition_change(c, t, (uint32_t)m->move_leader.partition, &w);
    cluster_item_show(item, t, (uint32_t)m->move_leader.partition);
    return TIDE_OK;
}

/* ---- reassignment ---------------------------------------------------------------------------------------------------------- */

/* What the partition has apart from what is being added. */
static uint32_t settled(const struct cluster_partition *p, int32_t *to)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->replica_count; i++)
        if (!ids_have(p->adding, p->adding_count, p->replicas[i]))
            to[n++] = p->replicas[i];
    return n;
}

static bool target_is_legal(const struct cluster *c, const struct cluster_partition *p, const struct cluster_reassignment *n,
                            struct cluster_item *item)
{
    if (n->replica_count == 0) {
        cluster_refuse_item(item, KAFKA_INVALID_REPLICA_ASSIGNMENT, "no replicas are named");
        return false;
    }
    for (uint32_t i = 0; i < n->replica_count; i++) {
        const struct cluster_broker *b = cluster_find_broker(c, n->replicas[i]);
        if (b == NULL || ids_have(n->replicas, i, n->replicas[i])) {
            cluster_refuse_item(item, KAFKA_INVALID_REPLICA_ASSIGNMENT, "broker %d is %s", n->replicas[i], b == NULL ? "not registered" : "named twice");
            return false;
        }
        if (!ids_have(p->replicas, p->replica_count, b->id) && b->replica_count >= TIDE_PARTITIONS_MAX) { /* K4 */
            cluster_refuse_item(item, KAFKA_POLICY_VIOLATION, "broker %d would have more than %d partitions", b->id, TIDE_PARTITIONS_MAX);
            return false;
        }
    }
    return true;
}

/* The ISR that stays. Empty without an eligible replica in its place: somebody who may lack records would have to lead. */
static bool keep_isr(const struct cluster *c, const struct cluster_topic *t, const struct cluster_partition *p, struct partition_wish *w,
                     struct cluster_item *item)
{
    uint32_t eligible = 0;
    for (uint32_t i = 0; i < p->isr_count; i++)
        if (!ids_have(w->replicas, w->replica_count, p->isr[i]))
            wish_without(w, p->isr[i]);
    for (uint32_t i = 0; i < p->elr_count; i++)
        eligible += ids_have(w->replicas, w->replica_count, p->elr[i]);
    if (w->isr_count != 0 || eligible != 0 || p->isr_count == 0)
        return true;
    if (!cluster_unclean_allowed(c, t)) {
        cluster_refuse_item(item, KAFKA_INVALID_REPLICA_ASSIGNMENT, "no in-sync replica would stay, and unclean election is not allowed");
        return false;
    }
    w->election = ELECT_UNCLEAN;
    return true;
}

static bool wish_for_target(const struct cluster *c, const struct cluster_topic *t, const struct cluster_partition *p,
                            const struct cluster_reassignment *n, struct partition_wish *w, struct cluster_item *item)
{
    int32_t current[TIDE_REPLICAS_MAX];
    uint32_t current_count = settled(p, current);
    wish_of(w, p);
    memset(w->replicas, 0, sizeof(w->replicas));
    memset(w->adding, 0, sizeof(w->adding));
    memset(w->removing, 0, sizeof(w->removing));
    w->adding_count = w->removing_count = 0;
    w->replica_count = n->replica_count;
    memcpy(w->replicas, n->replicas, n->replica_count * sizeof(*w->replicas));
    for (uint32_t i = 0; i < n->replica_count; i++)
        if (!ids_have(current, current_count, n->replicas[i]))
            w->adding[w->adding_count++] = n->replicas[i];
    for (uint32_t i = 0; i < current_count; i++) {
        if (ids_have(n->replicas, n->replica_count, current[i]))
            continue;
        if (w->replica_count == TIDE_REPLICAS_MAX) {
            cluster_refuse_item(item, KAFKA_INVALID_REPLICA_ASSIGNMENT, "old and new replicas together would be more than %d", TIDE_REPLICAS_MAX);
            return false;
        }
        w->removing[w->removing_count++] = current[i];
        w->replicas[w->replica_count++] = current[i];
    }
    return keep_isr(c, t, p, w, item);
}

static bool wish_for_cancel(const struct cluster *c, const struct cluster_topic *t, const struct cluster_partition *p, struct partition_wish *w,
                            struct cluster_item *item)
{
    if (p->adding_count == 0 && p->removing_count == 0) {
        cluster_refuse_item(item, KAFKA_NO_REASSIGNMENT_IN_PROGRESS, "the partition is not being reassigned");
        return false;
    }
    wish_of(w, p);
    memset(w->replicas, 0, sizeof(w->replicas));
    memset(w->adding, 0, sizeof(w->adding));
    memset(w->removing, 0, sizeof(w->removing));
    w->adding_count = w->removing_count = 0;
    w->replica_count = settled(p, w->replicas);
    return keep_isr(c, t, p, w, item);
}

static uint32_t reassign_one(struct cluster *c, const struct cluster_reassignment *n, struct cluster_item *item)
{
    struct cluster_topic *t;
    struct cluster_partition *p = cluster_partition_of(c, &n->topic_id, n->partition, &t);
    struct partition_wish w;
    bool changed;
    item->topic_id = n->topic_id;
    item->partition = n->partition;
    if (p == NULL) {
        cluster_refuse_item(item, KAFKA_UNKNOWN_TOPIC_OR_PARTITION, "there is no such partition");
        return 0;
    }
    if (n->cancel ? !wish_for_cancel(c, t, p, &w, item) : !target_is_legal(c, p, n, item) || !wish_for_target(c, t, p, n, &w, item))
        return 0;
    changed = partition_change(c, t, (uint32_t)n->partition, &w);
    cluster_item_show(item, t, (uint32_t)n->partition);
    return changed;
}

enum tide_status apply_alter_reassignments(struct cluster *c, const struct cluster_command *m, struct cluster_result *r)
{
    for (uint32_t i = 0; i < m->alter_reassignments.count; i++)
        r->changed += reassign_one(c, &m->alter_reassignments.changes[i], &r->items[i]);
    return TIDE_OK;
}

/* ---- directories ------------------------------------------------------------------------------------------------------------ */

const struct tide_uuid cluster_directory_lost = {{[15] = 1}}; /* KIP-858: in none of the broker's directories */

static bool directory_is_known(const struct cluster_broker *b, const struct tide_uuid *directory)
{
    for (uint32_t i = 0; i < b->directory_count; i++)
        if (tide_uuid_equal(&b->directories[i], directory))
            return true;
    return tide_uuid_equal(directory, &cluster_directory_lost);
}

/* Somebody else who has everything that was acknowledged leads, once the broker has given up its replica. */
static bool can_spare(const struct cluster *c, const struct cluster_topic *t, const struct cluster_partition *p, const struct partition_wish *w,
                      int32_t broker)
{
    struct cluster_partition next;
    (void)partition_judge(c, t, p, w, &next);
    return next.leader != broker && (ids_have(p->isr, p->isr_count, next.leader) || ids_have(p->elr, p->elr_count, next.leader));
}

static uint32_t assign_one(struct cluster *c, const struct cluster_broker *b, const struct cluster_dir_assignment *n, struct cluster_item *item)
{
    struct cluster_topic *t;
    struct cluster_partition *p = cluster_partition_of(c, &n->topic_id, n->partition, &t);
    struct partition_wish w;
    bool changed;
    item->topic_id = n->topic_id;
    item->partition = n->partition;
    if (p == NULL) {
        cluster_refuse_item(item, KAFKA_UNKNOWN_TOPIC_OR_PARTITION, "there is no such partition");
        return 0;
    }
    if (!ids_have(p->replicas, p->replica_count, b->id)) {
        cluster_refuse_item(item, KAFKA_NOT_LEADER_OR_FOLLOWER, "broker %d has no replica of it", b->id);
        return 0;
    }
    if (!directory_is_known(b, &n->directory)) {
        cluster_refuse_item(item, KAFKA_LOG_DIR_NOT_FOUND, "broker %d has not registered that directory", b->id);
        return 0;
    }
    wish_of(&w, p);
    w.moved = b->id;
    w.moved_to = n->directory;
    if (tide_uuid_equal(&n->directory, &cluster_directory_lost)) { /* what it had is not there any more */
        wish_without(&w, b->id);
        w.unclean = b->id;
        if (!can_spare(c, t, p, &w, b->id)) {
            cluster_item_show(item, t, (uint32_t)n->partition);
            cluster_refuse_item(item, KAFKA_ELIGIBLE_LEADERS_NOT_AVAILABLE, "nobody else is known to have what broker %d had", b->id);
            return 0;
        }
    }
    changed = partition_change(c, t, (uint32_t)n->partition, &w);
    cluster_item_show(item, t, (uint32_t)n->partition);
    return changed;
}

enum tide_status apply_assign_dirs(struct cluster *c, const struct cluster_command *m, struct cluster_result *r)
{
    const struct broker_entry *e = cluster_judge_epoch(c, m->assign_dirs.broker, m->assign_dirs.broker_epoch, r);
    if (e == NULL) {
        r->item_count = 0;
        return TIDE_OK;
    }
    for (uint32_t i = 0; i < m->assign_dirs.count; i++)
        r->changed += assign_one(c, &e->b, &m->assign_dirs.changes[i], &r->items[i]);
    return TIDE_OK;
}
