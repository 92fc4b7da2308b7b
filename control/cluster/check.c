/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The invariants of cluster.h, by their labels. A restored snapshot has to keep them as well, so they are asked first and
 * asserted by cluster_check().
 */
#include "cluster/state.h"

static bool is_set(const int32_t *ids, uint32_t count)
{
    if (count > TIDE_REPLICAS_MAX)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (ids[i] < 0 || ids_have(ids, i, ids[i]))
            return false;
    return true;
}

static bool is_within(const int32_t *ids, uint32_t count, const struct cluster_partition *p)
{
    for (uint32_t i = 0; i < count; i++)
        if (!ids_have(p->replicas, p->replica_count, ids[i]))
            return false;
    return is_set(ids, count);
}

/* In the order of the replicas. */
static bool is_ordered(const int32_t *ids, uint32_t count, const struct cluster_partition *p)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < p->replica_count && at < count; i++)
        at += p->replicas[i] == ids[at];
    return at == count;
}

static bool meet(const int32_t *a, uint32_t a_count, const int32_t *b, uint32_t b_count)
{
    for (uint32_t i = 0; i < a_count; i++)
        if (ids_have(b, b_count, a[i]))
            return true;
    return false;
}

static bool is_valid(const struct cluster *c, const struct cluster_partition *p, int32_t id)
{
    return cluster_can_lead(c, p, id) && (ids_have(p->isr, p->isr_count, id) || (p->isr_count == 0 && ids_have(p->elr, p->elr_count, id)));
}

static const char *leader_fault(const struct cluster *c, const struct cluster_partition *p)
{
    const struct cluster_broker *b = cluster_find_broker(c, p->leader);
    if (p->leader == -1) {
        for (uint32_t i = 0; i < p->replica_count; i++)
            if (is_valid(c, p, p->replicas[i]))
                return "I8: nobody leads, and somebody may";
        return NULL;
    }
    if (!ids_have(p->isr, p->isr_count, p->leader))
        return "I5: the leader is not in the ISR";
    if (b == NULL || !cluster_can_lead(c, p, p->leader))
        return "I8: a broker leads that may not";
    for (uint32_t i = 0; b->suspect && i < p->replica_count; i++)
        if (is_valid(c, p, p->replicas[i]) && !cluster_find_broker(c, p->replicas[i])->suspect)
            return "I8: a suspect broker leads, and another may";
    return NULL;
}

static const char *partition_fault(const struct cluster *c, const struct cluster_topic *t, const struct cluster_partition *p)
{
    if (p->replica_count == 0 || !is_set(p->replicas, p->replica_count))
        return "I5: the replicas are no set";
    if (!is_within(p->isr, p->isr_count, p) || !is_ordered(p->isr, p->isr_count, p))
        return "I5: the ISR";
    if (!is_within(p->elr, p->elr_count, p) || !is_ordered(p->elr, p->elr_count, p) || meet(p->isr, p->isr_count, p->elr, p->elr_count))
        return "I5: the ELR";
    if (!is_within(p->adding, p->adding_count, p) || !is_within(p->removing, p->removing_count, p) ||
        meet(p->adding, p->adding_count, p->removing, p->removing_count) || p->removing_count == p->replica_count)
        return "I5: the reassignment";
    if (p->last_known_elr != -1 && !ids_have(p->replicas, p->replica_count, p->last_known_elr))
        return "I5: the last known ELR";
    if (!elr_is_on(c) && (p->isr_count == 0 || p->elr_count != 0 || p->last_known_elr != -1))
        return "I6: no ELR, and an empty ISR or a member";
    if (p->elr_count != 0 && p->isr_count >= cluster_min_insync(c, t, p->replica_count))
        return "I10: an ELR beside an ISR that moves the high watermark";
    if (p->leader_epoch < 0 || p->partition_epoch < 0 || p->leader < -1)
        return "I7: epochs";
    if (p->unclean_epoch < -1 || p->unclean_epoch > p->leader_epoch)
        return "I7: an unclean epoch that is none";
    return leader_fault(c, p);
}

static const char *configs_fault(const struct cluster_config *list, uint32_t count)
{
    struct cluster_result r;
    for (uint32_t i = 1; i < count; i++)
        if (strcmp(list[i - 1].name, list[i].name) >= 0)
            return "K1: settings are not sorted";
    return configs_are_legal(list, count, &r) ? NULL : "K1: settings";
}

static const char *topic_fault(const struct cluster *c, uint32_t i)
{
    const struct cluster_topic *t = c->topics[i];
    const char *fault = configs_fault(t->configs, t->config_count);
    if (i != 0 && strcmp(c->topics[i - 1]->name, t->name) >= 0)
        return "K1: topics are not sorted by name";
    if (i != 0 && memcmp(&c->by_id[i - 1]->id, &c->by_id[i]->id, sizeof(t->id)) >= 0)
        return "K1: topics are not sorted by id";
    if (cluster_topic_of(c, &t->id) != t || tide_uuid_is_zero(&t->id))
        return "K1: a topic is not found by its id";
    if (!cluster_topic_name_is_legal(t->name, strlen(t->name)) || t->partition_count == 0 || t->partition_count > CLUSTER_PARTITIONS_MAX)
        return "K1: a topic's name or size";
    for (uint32_t k = 0; k < t->partition_count && fault == NULL; k++)
        fault = partition_fault(c, t, &t->partitions[k]);
    return fault;
}

static const char *slot_fault(const struct cluster *c, const struct cluster_slot *slot)
{
    return slot->requester != 0 && (slot->index > c->index || slot->bytes == NULL) ? "K2: a kept result" : NULL;
}

static const char *broker_fault(const struct cluster *c, uint32_t i)
{
    const struct broker_entry *e = c->brokers[i];
    if (e->b.id < 0 || (i != 0 && c->brokers[i - 1]->b.id >= e->b.id))
        return "K1: brokers are not sorted by id";
    if (e->b.epoch < 0 || (uint64_t)e->b.epoch > c->index || e->b.previous_epoch >= e->b.epoch)
        return "K2: a broker's epoch";
    if (e->b.replica_count > TIDE_PARTITIONS_MAX)
        return "K4: a broker has too many replicas";
    if (e->slot.requester != 0 && e->slot.requester != cluster_requester_broker(e->b.id))
        return "K2: a broker's kept result";
    return slot_fault(c, &e->slot);
}

static const char *table_faults(const struct cluster *c)
{
    const char *fault = NULL;
    for (uint32_t i = 0; i < c->broker_count && fault == NULL; i++)
        fault = broker_fault(c, i);
    for (uint32_t i = 0; i < c->topic_count && fault == NULL; i++)
        fault = topic_fault(c, i);
    for (uint32_t i = 0; i < c->config_count && fault == NULL; i++) {
        fault = configs_fault(c->configs[i].configs, c->configs[i].count);
        if (c->configs[i].count == 0 || c->configs[i].broker < -1 || (i != 0 && c->configs[i - 1].broker >= c->configs[i].broker))
            fault = "K1: settings of brokers";
    }
    for (uint32_t i = 0; i < c->slot_count && fault == NULL; i++)
        fault = c->slots[i].requester >> 63 == 0 ? "K2: a client's kept result" : slot_fault(c, &c->slots[i]);
    for (uint32_t i = 0; i < c->feature_count && fault == NULL; i++)
        if (c->features[i].level <= 0 || (i != 0 && strcmp(c->features[i - 1].name, c->features[i].name) >= 0))
            fault = "K1: features";
    return fault;
}

const char *cluster_fault(const struct cluster *c)
{
    if (c->next_producer_id < 0)
        return "I13: producer ids";
    return table_faults(c);
}

/* K3 */
static void check_counts(const struct cluster *c)
{
    uint32_t partitions = 0, leaderless = 0;
    for (uint32_t i = 0; i < c->topic_count; i++) {
        partitions += c->topics[i]->partition_count;
        for (uint32_t k = 0; k < c->topics[i]->partition_count; k++)
            leaderless += c->topics[i]->partitions[k].leader == -1;
    }
    TIDE_ASSERT(partitions == c->partition_count);   /* K3 */
    TIDE_ASSERT(leaderless == c->leaderless_count);  /* K3 */
    for (uint32_t b = 0; b < c->broker_count; b++) {
        const struct cluster_broker *e = &c->brokers[b]->b;
        uint32_t replicas = 0, isr = 0, leads = 0;
        for (uint32_t i = 0; i < c->topic_count; i++) {
            for (uint32_t k = 0; k < c->topics[i]->partition_count; k++) {
                const struct cluster_partition *p = &c->topics[i]->partitions[k];
                replicas += ids_have(p->replicas, p->replica_count, e->id);
                isr += ids_have(p->isr, p->isr_count, e->id);
                leads += p->leader == e->id;
            }
        }
        TIDE_ASSERT(replicas == e->replica_count); /* K3 */
        TIDE_ASSERT(isr == e->isr_count);          /* K3 */
        TIDE_ASSERT(leads == e->leader_count);     /* K3 */
    }
}

void cluster_check(const struct cluster *c)
{
    const char *fault = cluster_fault(c);
    TIDE_ASSERT(fault == NULL); /* K1 K2 K4 I5 I6 I8 */
    check_counts(c);
}
