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

/* What INIT sets whatever it says. Whoever replays that command later, a newer release too, must come to the same levels: they
 * stay as they are whatever becomes known. */
static const struct cluster_feature_level birth[] = {
    {CLUSTER_FEATURE_ELR, 1},
    {CLUSTER_FEATURE_METADATA, 25},
};

/* What INIT says, so that this list may change. A cluster that is older than a line of it has that level by UPDATE_FEATURES. */
static const struct cluster_feature_level newborn[] = {
    {CLUSTER_FEATURE_GROUP, 1},
};

const struct cluster_feature_range *cluster_known_feature(uint32_t i)
{
    return i < TIDE_ARRAY_LEN(known) ? &known[i] : NULL;
}

static bool level_is_known(const char *name, int16_t level, struct cluster_result *r)
{
    for (uint32_t i = 0; i < TIDE_ARRAY_LEN(known); i++)
        if (strcmp(known[i].name, name) == 0 && level >= (int16_t)known[i].min && level <= (int16_t)known[i].max)
            return true;
    cluster_refuse(r, KAFKA_INVALID_UPDATE_VERSION, "%.64s: level %d is not known", name, level);
    return false;
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

uint32_t cluster_birth_features(struct cluster_feature_level ret[CLUSTER_FEATURES_MAX])
{
    memcpy(ret, newborn, sizeof(newborn));
    return TIDE_ARRAY_LEN(newborn);
}

static bool levels_are_known(const struct cluster_feature_level *list, uint32_t count, struct cluster_result *r)
{
    for (uint32_t i = 0; i < count; i++)
        if (!level_is_known(list[i].name, list[i].level, r))
            return false;
    return true;
}

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
    if (!configs_are_legal(m->init.configs, m->init.config_count, r) || !levels_are_known(m->init.features, m->init.feature_count, r))
        return TIDE_OK;
    if (configs_set_defaults(c, m->init.configs, m->init.config_count) != TIDE_OK)
        return TIDE_FULL;
    c->id = m->init.cluster_id;
    c->created_ms = m->init.created_ms;
    for (uint32_t i = 0; i < TIDE_ARRAY_LEN(birth); i++)
        set_level(c, birth[i].name, birth[i].level);
    for (uint32_t i = 0; i < m->init.feature_count; i++)
        set_level(c, m->init.features[i].name, m->init.features[i].level);
    c->cluster_changed = c->now;
    return TIDE_OK;
}

/* ---- levels --------------------------------------------------------------------------------------------------------- */

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
    int16_t now = cluster_feature(c, u->name);
    if (u->type < CLUSTER_UPGRADE || u->type > CLUSTER_DOWNGRADE_UNSAFE) {
        cluster_refuse(r, KAFKA_INVALID_REQUEST, "%.64s: no such type of update", u->name);
        return false;
    }
    if (!level_is_known(u->name, u->level, r))
        return false;
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
