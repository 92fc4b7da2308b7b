/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The committed cluster as one block of memory that cores may read.
 */
#include "control/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Two passes over the same code: the first only counts. */
struct arena {
    uint8_t *base; /* NULL while counting */
    size_t at;
};

static void *take(struct arena *a, size_t size)
{
    void *p = a->base != NULL ? a->base + a->at : NULL;
    a->at += (size + 15u) & ~(size_t)15;
    return p;
}

static const int32_t *copy_ids(struct arena *a, const int32_t *ids, uint32_t count)
{
    int32_t *to = take(a, count * sizeof(*to));
    if (to != NULL)
        memcpy(to, ids, count * sizeof(*to));
    return to;
}

static void fill_partition(struct control *c, struct arena *a, const struct cluster_topic *t, uint32_t index,
                           struct view_partition *to)
{
    const struct cluster_partition *p = &t->partitions[index];
    const struct replica *r;
    const int32_t *replicas = copy_ids(a, p->replicas, p->replica_count);
    const int32_t *isr = copy_ids(a, p->isr, p->isr_count);
    if (to == NULL)
        return;
    r = replicas_find(c, &t->id, (int32_t)index);
    *to = (struct view_partition){.leader = p->leader,
                                  .leader_epoch = p->leader_epoch,
                                  .partition_epoch = p->partition_epoch,
                                  .replica_count = (uint16_t)p->replica_count,
                                  .isr_count = (uint16_t)p->isr_count,
                                  .replicas = replicas,
                                  .isr = isr,
                                  .leader_throttled = leader_is_throttled(c, t, (int32_t)index),
                                  .follower_throttled = follower_is_throttled(c, t, (int32_t)index)};
    if (r != NULL && r->state == REPLICA_SERVING) {
        to->local = r->partition;
        to->home_core = replica_home(c, r);
    } else if (p->leader == c->config.broker_id) {
        to->leader = -1; /* not yet, or no longer: clients look again */
    }
}

static void fill_topic(struct control *c, struct arena *a, const struct cluster_topic *t, struct view_topic *to)
{
    struct view_partition *partitions = take(a, t->partition_count * sizeof(*partitions));
    for (uint32_t i = 0; i < t->partition_count; i++)
        fill_partition(c, a, t, i, partitions != NULL ? &partitions[i] : NULL);
    if (to == NULL)
        return;
    memset(to, 0, sizeof(*to));
    to->id = t->id;
    to->name_len = (uint16_t)snprintf(to->name, sizeof(to->name), "%s", t->name);
    to->internal = strcmp(t->name, TIDE_OFFSETS_TOPIC) == 0 || strcmp(t->name, TIDE_TRANSACTIONS_TOPIC) == 0;
    to->partition_count = t->partition_count;
    to->partitions = partitions;
    topic_config_of(c, t, &to->config);
}

static void fill_broker(const struct control *c, const struct cluster_broker *from, struct view_broker *to)
{
    memset(to, 0, sizeof(*to));
    to->id = from->id;
    to->fenced = from->fenced;
    to->epoch = from->epoch;
    to->incarnation = from->incarnation;
    to->replication_addr = from->replication_address;
    to->replication_port = from->replication_port;
    to->core_count = from->core_count;
    snprintf(to->rack, sizeof(to->rack), "%s", from->rack);
    for (uint32_t i = 0; i < from->endpoint_count && i < TIDE_LISTENERS_MAX; i++) {
        snprintf(to->endpoints[i].host, sizeof(to->endpoints[i].host), "%s", from->endpoints[i].host);
        to->endpoints[i].port = from->endpoints[i].port;
    }
}

static uint32_t fill_features(const struct cluster *cluster, struct view_feature *to)
{
    uint32_t n = 0;
    for (const struct cluster_feature_range *f; (f = cluster_known_feature(n)) != NULL; n++) {
        if (to == NULL)
            continue;
        to[n] = (struct view_feature){.min = (int16_t)f->min, .max = (int16_t)f->max, .level = cluster_feature(cluster, f->name)};
        snprintf(to[n].name, sizeof(to[n].name), "%s", f->name);
    }
    return n;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct view_topic *)a)->name, ((const struct view_topic *)b)->name);
}

static bool leads_any(const struct view_topic *topics, uint32_t count, int32_t self)
{
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < topics[i].partition_count; k++)
            if (topics[i].partitions[k].leader == self)
                return true;
    return false;
}

/* Not any more once it leaves and leads nothing: there may be nobody else to lead what it led, and clients are not to be told so for
 * each partition, but to look for other brokers. */
static bool takes_clients(const struct control *c, const struct view_topic *topics, uint32_t count)
{
    return c->takes_clients && !(c->leaving && !leads_any(topics, count, c->config.broker_id));
}

static struct tide_view *fill(struct control *c, struct arena *a)
{
    const struct cluster *cluster = c->config.cluster;
    uint32_t topic_count = cluster_topic_count(cluster);
    uint32_t broker_count = cluster_broker_count(cluster);
    uint32_t slots = 16;
    struct tide_view *v = take(a, sizeof(*v));
    struct view_broker *brokers = take(a, broker_count * sizeof(*brokers));
    struct view_topic *topics = take(a, topic_count * sizeof(*topics));
    uint32_t feature_count = fill_features(cluster, NULL);
    struct view_feature *features = take(a, feature_count * sizeof(*features));
    uint32_t *names;
    uint32_t *ids;

    while (slots < 2 * topic_count + 2)
        slots *= 2;
    names = take(a, slots * sizeof(*names));
    ids = take(a, slots * sizeof(*ids));
    for (uint32_t i = 0; i < topic_count; i++)
        fill_topic(c, a, cluster_topic_at(cluster, i), topics != NULL ? &topics[i] : NULL);
    if (v == NULL)
        return NULL;
    for (uint32_t i = 0; i < broker_count; i++)
        fill_broker(c, cluster_broker_at(cluster, i), &brokers[i]);
    (void)fill_features(cluster, features);
    qsort(topics, topic_count, sizeof(*topics), by_name);
    tide_view_index(topics, topic_count, slots, names, ids);
    *v = (struct tide_view){.self = c->config.broker_id,
                            .takes_clients = takes_clients(c, topics, topic_count),
                            .controller = TIDE_MAX(node_controller(c->config.node), -1),
                            .cluster_index = (int64_t)cluster_index(cluster),
                            .leader_throttle_rate = c->leader_throttle.rate,
                            .follower_throttle_rate = c->follower_throttle.rate,
                            .feature_count = feature_count,
                            .features = features,
                            .broker_count = broker_count,
                            .brokers = brokers,
                            .topic_count = topic_count,
                            .topics = topics,
                            .hash_mask = slots - 1,
                            .by_name = names,
                            .by_id = ids};
    tide_uuid_to_text(cluster_id(cluster), v->cluster_id);
    return v;
}

struct tide_view *view_build(struct control *c)
{
    struct arena count = {0};
    struct arena real = {0};
    struct tide_view *v;
    (void)fill(c, &count);
    real.base = aligned_alloc(TIDE_CACHE_LINE, (count.at + TIDE_CACHE_LINE - 1) / TIDE_CACHE_LINE * TIDE_CACHE_LINE);
    if (real.base == NULL)
        return NULL;
    v = fill(c, &real);
    TIDE_ASSERT(real.at == count.at);
    return v;
}

void view_free(const struct tide_view *v)
{
    free((void *)(uintptr_t)v);
}
