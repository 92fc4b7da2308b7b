/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cluster's birth, and the levels of its features (control-plane 4.1).
 */
#include "cluster/state.h"

/* What this release knows. metadata.version has Kafka's number of the release whose metadata ours resembles, because
 * Kafka's tools turn it into a name. */
static const struct cluster_feature_range known[] = {
    {.name = CLUSTER_FEATURE_ELR, .min = 0, .max = 1},
    {.name = CLUSTER_FEATURE_GROUP, .min = 0, .max = 1},
    {.name = CLUSTER_FEATURE_METADATA, .min = 25, .max = 25},
};

/* What INIT sets. Whoever replays that command later, a newer release too, must come to the same levels: they stay as they
 * are whatever becomes known; a higher level is for UPDATE_FEATURES. */
static const struct feature_level birth[] = {
    {CLUSTER_FEATURE_ELR, 1},
    {CLUSTER_FEATURE_METADATA, 25},
};

const struct cluster_feature_range *cluster_known_feature(uint32_t i)
{
    return i < TIDE_ARRAY_LEN(known) ? &known[i] : NULL;
}

uint32_t cluster_feature_count(const struct cluster *c)
{
    return c->feature_count;
}

int16_t cluster_feature_at(const struct cluster *c, uint32_t i, const char **ret_name)
{
    *ret_name = c->features[i].name;
    return c->features[i].level;
}

int16_t cluster_feature(const struct cluster *c, const char *name)
{
    for (uint32_t i = 0; i < c->feature_count; i++)
        if (strcmp(c->features[i].name, name) == 0)
            return c->features[i].level;
    return 0;
}

bool elr_is_on(const struct cluster *c)
{
    return cluster_feature(c, CLUSTER_FEATURE_ELR) > 0;
}

bool feature_is_supported(const struct cluster_broker *b, const char *name, int16_t level)
{
    for (uint32_t i = 0; i < b->feature_count; i++)
        if (strcmp(b->features[i].name, name) == 0)
            return level >= b->features[i].min && level <= b->features[i].max;
    return false;
}

static void set_level(struct cluster *c, const char *name, int16_t level)
{
    uint32_t at = 0;
    int order = -1;
    while (at < c->feature_count && (order = strcmp(c->features[at].name, name)) < 0)
        at++;
    if (at < c->feature_count && order == 0) {
        if (level != 0) {
            c->features[at].level = level;
            return;
        }
        memmove(&c->features[at], &c->features[at + 1], (c->feature_count - at - 1) * sizeof(*c->features));
        memset(&c->features[--c->feature_count], 0, sizeof(*c->features));
        return;
    }
    if (level == 0)
        return;
    TIDE_ASSERT(c->feature_count < CLUSTER_FEATURES_MAX); /* known ones only */
    memmove(&c->features[at + 1], &c->features[at], (c->feature_count - at) * sizeof(*c->features));
    memset(&c->features[at], 0, sizeof(*c->features));
    memcpy(c->features[at].name, name, strlen(name));
    c->features[at].level = level;
    c->feature_count++;
}

/* ---- birth -------------------------------------------------------------------------------------------------------- */

enum tide_status apply_init(struct cluster *c, const struct cluster_command *m, struct cluster_result *r)
{
    if (!tide_uuid_is_zero(&c->id)) {
        if (!tide_uuid_equal(&c->id, &m->init.cluster_id))
            cluster_refuse(r, KAFKA_INCONSISTENT_CLUSTER_ID, "the cluster has an id already");
        return TIDE_OK;
    }
    if (tide_uuid_is_zero(&m->init.cluster_id)) {
        cluster_refuse(r, KAFKA_INVALID_REQUEST, "a cluster's id is not zero");
        return TIDE_OK;
    }
    if (!configs_are_legal(m->init.configs, m->init.config_count, r))
        return TIDE_OK;
    if (configs_set_defaults(c, m->init.configs, m->init.config_count) != TIDE_OK)
        return TIDE_FULL;
    c->id = m->init.cluster_id;
    c->created_ms = m->init.created_ms;
    for (uint32_t i = 0; i < TIDE_ARRAY_LEN(birth); i++)
        set_level(c, birth[i].name, birth[i].level);
    c->cluster_changed = c->now;
    return TIDE_OK;
}

/* ---- levels --------------------------------------------------------------------------------------------------------- */

static const struct cluster_feature_range *find_known(const char *name)
{
    for (uint32_t i = 0; i < TIDE_ARRAY_LEN(known); i++)
        if (strcmp(known[i].name, name) == 0)
            return &known[i];
    return NULL;
}

/* I6 could not be kept. */
static bool has_empty_isr(const struct cluster *c)
{
    for (uint32_t i = 0; i < c->topic_count; i++)
        for (uint32_t k = 0; k < c->topics[i]->partition_count; k++)
            if (c->topics[i]->partitions[k].isr_count == 0)
                return true;
    return false;
}

static bool judge_update(const struct cluster *c, const struct cluster_feature_update *u, struct cluster_result *r)
{
    const struct cluster_feature_range *k = find_known(u->name);
    int16_t now = cluster_feature(c, u->name);
    if (u->type < CLUSTER_UPGRADE || u->type > CLUSTER_DOWNGRADE_UNSAFE) {
        cluster_refuse(r, KAFKA_INVALID_REQUEST, "%.64s: no such type of update", u->name);
        return false;
    }
    if (k == NULL || u->level < (int16_t)k->min || u->level > (int16_t)k->max) {
        cluster_refuse(r, KAFKA_INVALID_UPDATE_VERSION, "%.64s: level %d is not known", u->name, u->level);
        return false;
    }
    if (u->level < now && u->type == CLUSTER_UPGRADE) {
        cluster_refuse(r, KAFKA_INVALID_UPDATE_VERSION, "%.64s: level %d is lower than %d; that needs a downgrade", u->name, u->level, now);
        return false;
    }
    if (u->level > now && u->type != CLUSTER_UPGRADE) {
        cluster_refuse(r, KAFKA_INVALID_UPDATE_VERSION, "%.64s: level %d is higher than %d; that is no downgrade", u->name, u->level, now);
        return false;
    }
    for (uint32_t i = 0; u->level != 0 && i < c->broker_count; i++)
        if (!feature_is_supported(&c->brokers[i]->b, u->name, u->level)) {
            cluster_refuse(r, KAFKA_INVALID_UPDATE_VERSION, "%.64s: broker %d does not know level %d", u->name, c->brokers[i]->b.id, u->level);
            return false;
        }
    if (strcmp(u->name, CLUSTER_FEATURE_ELR) == 0 && u->level == 0 && has_empty_isr(c)) {
        cluster_refuse(r, KAFKA_FEATURE_UPDATE_FAILED, "%.64s: some partition has no in-sync replica", u->name);
        return false;
    }
    return true;
}

static bool again(struct cluster *c, struct cluster_topic *t, uint32_t i, void *arg)
{
    struct partition_wish w;
    (void)arg;
    wish_of(&w, &t->partitions[i]);
    return partition_change(c, t, i, &w);
}

enum tide_status apply_update_features(struct cluster *c, const struct cluster_command *m, struct cluster_result *r)
{
    bool elr = elr_is_on(c);
    for (uint32_t i = 0; i < m->update_features.count; i++) {
        const struct cluster_feature_update *u = &m->update_features.updates[i];
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(u->name, m->update_features.updates[k].name) == 0) {
                cluster_refuse(r, KAFKA_INVALID_REQUEST, "%.64s is named twice", u->name);
                return TIDE_OK;
            }
        if (!judge_update(c, u, r))
            return TIDE_OK;
    }
    if (m->update_features.validate_only)
        return TIDE_OK;
    for (uint32_t i = 0; i < m->update_features.count; i++)
        set_level(c, m->update_features.updates[i].name, m->update_features.updates[i].level);
    c->cluster_changed = c->now;
    if (elr_is_on(c) != elr)
        r->changed = cluster_visit(c, again, NULL);
    return TIDE_OK;
}
