/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one procedure for every change of a partition (control-plane 5). The steps carry its numbers.
 */
#include "cluster/state.h"

bool ids_have(const int32_t *ids, uint32_t count, int32_t id)
{
    for (uint32_t i = 0; i < count; i++)
        if (ids[i] == id)
            return true;
    return false;
}

uint32_t ids_remove(int32_t *ids, uint32_t count, int32_t id)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++)
        if (ids[i] != id)
            ids[kept++] = ids[i];
    for (uint32_t i = kept; i < count; i++)
        ids[i] = 0; /* equal lists are equal bytes */
    return kept;
}

static bool ids_equal(const int32_t *a, uint32_t a_count, const int32_t *b, uint32_t b_count)
{
    return a_count == b_count && memcmp(a, b, a_count * sizeof(*a)) == 0;
}

void wish_of(struct partition_wish *w, const struct cluster_partition *p)
{
    memset(w, 0, sizeof(*w));
    w->isr_count = p->isr_count;
    w->replica_count = p->replica_count;
    w->adding_count = p->adding_count;
    w->removing_count = p->removing_count;
    memcpy(w->isr, p->isr, sizeof(w->isr));
    memcpy(w->replicas, p->replicas, sizeof(w->replicas));
    memcpy(w->adding, p->adding, sizeof(w->adding));
    memcpy(w->removing, p->removing, sizeof(w->removing));
    w->recovering = p->recovering;
    w->unclean = w->excluded = w->moved = -1;
}

void wish_without(struct partition_wish *w, int32_t broker)
{
    w->isr_count = ids_remove(w->isr, w->isr_count, broker);
}

/* ---- who may lead ----------------------------------------------------------------------------------------- */

static bool directory_is_online(const struct cluster_broker *b, const struct tide_uuid *directory)
{
    if (tide_uuid_is_zero(directory))
        return true; /* not told yet */
    for (uint32_t i = 0; i < b->directory_count; i++)
        if (tide_uuid_equal(&b->directories[i], directory))
            return true;
    return false;
}

bool partition_directory_is_online(const struct cluster *c, const struct cluster_partition *p, int32_t broker)
{
    const struct cluster_broker *b = cluster_find_broker(c, broker);
    for (uint32_t i = 0; b != NULL && i < p->replica_count; i++)
        if (p->replicas[i] == broker)
            return directory_is_online(b, &p->directories[i]);
    return false;
}

bool cluster_can_lead(const struct cluster *c, const struct cluster_partition *p, int32_t broker)
{
    const struct cluster_broker *b = cluster_find_broker(c, broker);
    return b != NULL && cluster_broker_is_active(b) && partition_directory_is_online(c, p, broker);
}

struct election {
    const struct cluster *cluster;
    const struct cluster_partition *next; /* replicas, ISR and ELR as they will be */
    int32_t leader;                       /* until now */
    int32_t excluded;
    bool preferred;
    bool with_suspects;
};

static bool is_acceptable(const struct election *e, int32_t id)
{
    if (id == -1 || id == e->excluded || !cluster_can_lead(e->cluster, e->next, id))
        return false;
    return e->with_suspects || !cluster_find_broker(e->cluster, id)->suspect;
}

static bool is_valid(const struct election *e, int32_t id)
{
    const struct cluster_partition *n = e->next;
    return is_acceptable(e, id) && (ids_have(n->isr, n->isr_count, id) || (n->isr_count == 0 && ids_have(n->elr, n->elr_count, id)));
}

static int32_t elect_cleanly(const struct election *e)
{
    const struct cluster_partition *n = e->next;
    if (e->preferred && is_valid(e, n->replicas[0]))
        return n->replicas[0];
    if (is_valid(e, e->leader))
        return e->leader;
    for (uint32_t i = 0; i < n->replica_count; i++)
        if (is_valid(e, n->replicas[i]))
            return n->replicas[i];
    return -1;
}

static int32_t elect_uncleanly(const struct election *e)
{
    for (uint32_t i = 0; i < e->next->replica_count; i++)
        if (is_acceptable(e, e->next->replicas[i]))
            return e->next->replicas[i];
    return -1;
}

/* Those whose data network is suspect come after all others, the leader of today included. */
static int32_t elect(struct election *e, int32_t (*choose)(const struct election *))
{
    int32_t id;
    e->with_suspects = false;
    id = choose(e);
    if (id != -1)
        return id;
    e->with_suspects = true;
    return choose(e);
}

/* ---- the steps ------------------------------------------------------------------------------------------------ */

/* Lists keep the order of the replicas, so that equal sets are equal bytes. */
static uint32_t in_replica_order(const struct cluster_partition *n, const int32_t *ids, uint32_t count, int32_t *to)
{
    int32_t from[TIDE_REPLICAS_MAX];
    uint32_t kept = 0;
    memcpy(from, ids, count * sizeof(*ids));
    memset(to, 0, TIDE_REPLICAS_MAX * sizeof(*to));
    for (uint32_t i = 0; i < n->replica_count; i++)
        if (ids_have(from, count, n->replicas[i]))
            to[kept++] = n->replicas[i];
    return kept;
}

/* Those that stay keep their directories. */
static void set_replicas(struct cluster_partition *n, const int32_t *replicas, uint32_t count)
{
    struct cluster_partition before = *n;
    memset(n->replicas, 0, sizeof(n->replicas));
    memset(n->directories, 0, sizeof(n->directories));
    memcpy(n->replicas, replicas, count * sizeof(*replicas));
    n->replica_count = count;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < before.replica_count; k++)
            if (before.replicas[k] == replicas[i])
                n->directories[i] = before.directories[k];
}

/* 1 */
static void finish_reassignment(struct cluster_partition *n)
{
    int32_t replicas[TIDE_REPLICAS_MAX], isr[TIDE_REPLICAS_MAX];
    uint32_t replica_count = 0, isr_count = 0;
    if (n->adding_count == 0 && n->removing_count == 0)
        return;
    for (uint32_t i = 0; i < n->replica_count; i++)
        if (!ids_have(n->removing, n->removing_count, n->replicas[i]))
            replicas[replica_count++] = n->replicas[i];
    for (uint32_t i = 0; i < n->isr_count; i++)
        if (!ids_have(n->removing, n->removing_count, n->isr[i]))
            isr[isr_count++] = n->isr[i];
    if (replica_count == 0 || isr_count == 0)
        return;
    for (uint32_t i = 0; i < replica_count; i++)
        if (!ids_have(isr, isr_count, replicas[i]))
            return;
    set_replicas(n, replicas, replica_count);
    n->isr_count = in_replica_order(n, isr, isr_count, n->isr);
    n->adding_count = n->removing_count = 0;
    memset(n->adding, 0, sizeof(n->adding));
    memset(n->removing, 0, sizeof(n->removing));
}

static void forget_eligible(struct cluster_partition *n)
{
    n->elr_count = 0;
    memset(n->elr, 0, sizeof(n->elr));
    n->last_known_elr = -1;
}

static void forget_when_enough(const struct cluster *c, const struct cluster_topic *t, struct cluster_partition *n)
{
    if (n->isr_count >= cluster_min_insync(c, t, n->replica_count))
        forget_eligible(n);
}

/* 2 */
static void choose_eligible(const struct cluster *c, const struct cluster_topic *t, const struct cluster_partition *p,
                            struct cluster_partition *n, int32_t unclean)
{
    int32_t ids[TIDE_REPLICAS_MAX] = {0};
    uint32_t count = 0;
    if (!elr_is_on(c) || n->isr_count >= cluster_min_insync(c, t, n->replica_count)) {
        forget_eligible(n);
        return;
    }
    for (uint32_t i = 0; i < n->replica_count; i++) {
        int32_t id = n->replicas[i];
        if ((ids_have(p->elr, p->elr_count, id) || ids_have(p->isr, p->isr_count, id)) && !ids_have(n->isr, n->isr_count, id) && id != unclean)
            ids[count++] = id;
    }
    memcpy(n->elr, ids, sizeof(ids));
    n->elr_count = count;
    if (!ids_have(n->replicas, n->replica_count, n->last_known_elr))
        n->last_known_elr = -1;
}

/* 3 and 4. True: an unclean one. */
static bool hold_election(const struct cluster *c, const struct cluster_topic *t, const struct cluster_partition *p,
                          struct cluster_partition *n, const struct partition_wish *w)
{
    struct election e = {.cluster = c, .next = n, .leader = p->leader, .excluded = w->excluded, .preferred = w->election == ELECT_PREFERRED};
    bool unclean = false;
    n->leader = elect(&e, elect_cleanly);
    if (n->leader == -1 && elr_is_on(c) && n->isr_count == 0 && n->elr_count == 0 && is_acceptable(&e, n->last_known_elr)) {
        n->leader = n->last_known_elr;
        unclean = true;
    }
    if (n->leader == -1 && (w->election == ELECT_UNCLEAN || (w->election == ELECT_ONLINE && cluster_unclean_allowed(c, t)))) {
        n->leader = elect(&e, elect_uncleanly);
        unclean = n->leader != -1;
    }
    if (n->leader == -1 || (!unclean && n->isr_count != 0))
        return false;
    memset(n->isr, 0, sizeof(n->isr));
    n->isr[0] = n->leader;
    n->isr_count = 1;
    n->elr_count = ids_remove(n->elr, n->elr_count, n->leader);
    /* With as many as min.insync.replicas the leader moves its high watermark again, past what the others hold. */
    if (unclean || 1 >= cluster_min_insync(c, t, n->replica_count))
        forget_eligible(n);
    n->recovering |= unclean;
    return unclean;
}

/* 5 */
static void mind_empty_isr(const struct cluster *c, const struct cluster_partition *p, struct cluster_partition *n)
{
    if (n->isr_count != 0)
        return;
    if (elr_is_on(c)) {
        if (p->isr_count != 0 && ids_have(n->replicas, n->replica_count, p->leader))
            n->last_known_elr = p->leader;
        return;
    }
    n->isr_count = in_replica_order(n, p->isr, p->isr_count, n->isr);
    if (n->isr_count == 0) { /* all of them leave the replicas: the first of those that stay is the heir */
        n->isr[0] = n->replicas[0];
        for (uint32_t i = n->replica_count; i-- > 0;)
            if (!ids_have(n->adding, n->adding_count, n->replicas[i]))
                n->isr[0] = n->replicas[i];
        n->isr_count = 1;
    }
}

static bool lost_a_replica(const struct cluster_partition *p, const struct cluster_partition *n)
{
    for (uint32_t i = 0; i < p->replica_count; i++)
        if (!ids_have(n->replicas, n->replica_count, p->replicas[i]))
            return true;
    return false;
}

static bool is_same(const struct cluster_partition *a, const struct cluster_partition *b)
{
    return a->leader == b->leader && a->recovering == b->recovering && a->last_known_elr == b->last_known_elr &&
           memcmp(a->directories, b->directories, sizeof(a->directories)) == 0 &&
           ids_equal(a->replicas, a->replica_count, b->replicas, b->replica_count) &&
           ids_equal(a->isr, a->isr_count, b->isr, b->isr_count) && ids_equal(a->elr, a->elr_count, b->elr, b->elr_count) &&
           ids_equal(a->adding, a->adding_count, b->adding, b->adding_count) &&
           ids_equal(a->removing, a->removing_count, b->removing, b->removing_count);
}

/* What the replica acknowledged in this leader epoch is not true any more. */
static bool loses_a_replica(const struct partition_wish *w)
{
    return w->moved != -1 && tide_uuid_equal(&w->moved_to, &cluster_directory_lost);
}

bool partition_judge(const struct cluster *c, const struct cluster_topic *t, const struct cluster_partition *p,
                     const struct partition_wish *w, struct cluster_partition *n)
{
    bool unclean;
    *n = *p;
    set_replicas(n, w->replicas, w->replica_count);
    for (uint32_t i = 0; i < n->replica_count; i++)
        if (n->replicas[i] == w->moved)
            n->directories[i] = w->moved_to;
    n->adding_count = w->adding_count;
    n->removing_count = w->removing_count;
    memcpy(n->adding, w->adding, sizeof(n->adding));
    memcpy(n->removing, w->removing, sizeof(n->removing));
    n->recovering = w->recovering;
    n->isr_count = in_replica_order(n, w->isr, w->isr_count, n->isr);
    finish_reassignment(n);
    choose_eligible(c, t, p, n, w->unclean);
    unclean = hold_election(c, t, p, n, w);
    mind_empty_isr(c, p, n);
    /* A leader that is alone now may be all that a reassignment waited for. Done here, so that the procedure asked again
     * finds nothing to do. */
    finish_reassignment(n);
    if (n->replica_count == 1)
        forget_when_enough(c, t, n);
    if (is_same(p, n)) /* 6 */
        return false;
    if (n->leader != p->leader || lost_a_replica(p, n) || loses_a_replica(w))
        n->leader_epoch += n->leader_epoch < INT32_MAX;
    if (unclean)
        n->unclean_epoch = n->leader_epoch;
    n->partition_epoch += n->partition_epoch < INT32_MAX;
    return true;
}

/* ---- what is derived ---------------------------------------------------------------------------------------------- */

void partition_count_in(struct cluster *c, const struct cluster_partition *p, int sign)
{
    struct broker_entry *e;
    uint32_t step = (uint32_t)sign;
    for (uint32_t i = 0; i < p->replica_count; i++)
        if ((e = cluster_entry(c, p->replicas[i])) != NULL)
            e->b.replica_count += step;
    for (uint32_t i = 0; i < p->isr_count; i++)
        if ((e = cluster_entry(c, p->isr[i])) != NULL)
            e->b.isr_count += step;
    if ((e = cluster_entry(c, p->leader)) != NULL)
        e->b.leader_count += step;
    c->leaderless_count += p->leader == -1 ? step : 0;
    c->partition_count += step;
}

bool partition_change(struct cluster *c, struct cluster_topic *t, uint32_t partition, const struct partition_wish *w)
{
    struct cluster_partition *p = &t->partitions[partition];
    struct cluster_partition next;
    struct broker_entry *before;
    if (!partition_judge(c, t, p, w, &next))
        return false;
    before = cluster_entry(c, p->leader);
    if (before != NULL && next.leader != p->leader)
        before->b.leader_moved = c->now;
    partition_count_in(c, p, -1);
    *p = next;
    partition_count_in(c, p, 1);
    p->changed = t->changed = c->partitions_changed = c->now;
    return true;
}
