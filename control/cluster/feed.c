/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What has changed since an index: a walk over stamps. It needs no memory, and any number of readers can be at any index.
 */
#include "cluster/state.h"

enum stage { STAGE_CLUSTER, STAGE_BROKERS_REMOVED, STAGE_BROKERS, STAGE_BROKER_CONFIGS, STAGE_TOPICS_REMOVED, STAGE_TOPIC_CONFIGS,
             STAGE_PARTITIONS, STAGE_END };

/* The next change of the stage; false: it has no more. */
static bool look(struct cluster_feed *f, struct cluster_change *ret, uint64_t stamp, enum cluster_change_kind kind)
{
    ret->kind = kind;
    return f->at++ == 0 && stamp > f->since;
}

static bool look_at_brokers(const struct cluster *c, struct cluster_feed *f, struct cluster_change *ret)
{
    ret->kind = CLUSTER_CHANGED_BROKER;
    for (; c->brokers_changed > f->since && f->at < c->broker_count; f->at++) {
        if (c->brokers[f->at]->b.changed > f->since) {
            ret->broker = &c->brokers[f->at++]->b;
            return true;
        }
    }
    return false;
}

static bool look_at_configs(const struct cluster *c, struct cluster_feed *f, struct cluster_change *ret)
{
    ret->kind = CLUSTER_CHANGED_TOPIC_CONFIGS;
    for (; c->topic_configs_changed > f->since && f->at < c->topic_count; f->at++) {
        if (c->topics[f->at]->configs_changed > f->since) {
            ret->topic = c->topics[f->at++];
            return true;
        }
    }
    return false;
}

static bool look_at_partitions(const struct cluster *c, struct cluster_feed *f, struct cluster_change *ret)
{
    ret->kind = CLUSTER_CHANGED_PARTITION;
    for (; c->partitions_changed > f->since && f->at < c->topic_count; f->at++, f->partition = 0) {
        const struct cluster_topic *t = c->topics[f->at];
        for (; t->changed > f->since && f->partition < t->partition_count; f->partition++) {
            if (t->partitions[f->partition].changed > f->since) {
                ret->topic = t;
                ret->partition = f->partition++;
                return true;
            }
        }
    }
    return false;
}

bool cluster_feed_next(const struct cluster *c, struct cluster_feed *f, struct cluster_change *ret)
{
    for (; f->stage < STAGE_END; f->stage++, f->at = f->partition = 0) {
        bool found = false;
        memset(ret, 0, sizeof(*ret));
        switch ((enum stage)f->stage) {
        case STAGE_CLUSTER:
            found = look(f, ret, c->cluster_changed, CLUSTER_CHANGED_CLUSTER);
            break;
        case STAGE_BROKERS_REMOVED:
            found = look(f, ret, c->brokers_removed, CLUSTER_CHANGED_BROKERS_REMOVED);
            break;
        case STAGE_BROKERS:
            found = look_at_brokers(c, f, ret);
            break;
        case STAGE_BROKER_CONFIGS:
            found = look(f, ret, c->configs_changed, CLUSTER_CHANGED_BROKER_CONFIGS);
            break;
        case STAGE_TOPICS_REMOVED:
            found = look(f, ret, c->topics_removed, CLUSTER_CHANGED_TOPICS_REMOVED);
            break;
        case STAGE_TOPIC_CONFIGS:
            found = look_at_configs(c, f, ret);
            break;
        case STAGE_PARTITIONS:
            found = look_at_partitions(c, f, ret);
            break;
        case STAGE_END:
            break;
        }
        if (found)
            return true;
    }
    memset(ret, 0, sizeof(*ret));
    ret->kind = CLUSTER_CHANGED_END;
    return false;
}
