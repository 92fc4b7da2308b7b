/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is judged before a command is proposed: settings, with the tables of this release. It is no part of apply, because
 * a neighbouring release that knows other settings would come to another state.
 */
#include "cluster/state.h"
#include "settings/settings.h"

uint32_t cluster_birth_configs(const struct tide_settings *s, struct cluster_config ret[CLUSTER_BIRTH_CONFIGS_MAX])
{
    static const char *const own[CLUSTER_BIRTH_CONFIGS_MAX] = {"ack.durability", "min.insync.replicas", "unclean.leader.election.enable"};
    uint32_t count = 0;
    memset(ret, 0, CLUSTER_BIRTH_CONFIGS_MAX * sizeof(*ret));
    for (unsigned i = 0; i < setting_row_count; i++) {
        for (unsigned k = 0; k < TIDE_ARRAY_LEN(own); k++) {
            if (strcmp(setting_rows[i].name, own[k]) != 0 || !settings_is_given(s, &setting_rows[i]))
                continue;
            memcpy(ret[count].name, own[k], strlen(own[k]));
            settings_text(s, &setting_rows[i], ret[count].value, sizeof(ret[count].value));
            count++;
        }
    }
    return count;
}

/* A broker's setting that can be changed while it runs. */
static const struct setting_row *broker_row(const char *name)
{
    for (unsigned i = 0; i < setting_row_count; i++)
        if (settings_is_dynamic(&setting_rows[i]) && strcmp(setting_rows[i].name, name) == 0)
            return &setting_rows[i];
    return NULL;
}

static bool value_is_legal(const struct setting_row *row, const char *name, const char *value, struct cluster_item *item)
{
    char error[SETTINGS_ERROR_MAX] = "";
    if (row == NULL) {
        cluster_refuse_item(item, KAFKA_INVALID_CONFIG, "%.64s is no setting that can be changed here", name);
        return false;
    }
    if (settings_judge(row, value, error, sizeof(error)) == TIDE_OK)
        return true;
    cluster_refuse_item(item, KAFKA_INVALID_CONFIG, "%.*s", CLUSTER_MESSAGE_MAX - 1, error);
    return false;
}

/* Every word of the list alone is a value. */
static bool words_are_legal(const struct setting_row *row, const char *name, const char *words, struct cluster_item *item)
{
    char word[CLUSTER_CONFIG_VALUE_MAX];
    for (const char *p = words; *p != 0;) {
        size_t n = strcspn(p, ",");
        memcpy(word, p, n);
        word[n] = 0;
        if (!value_is_legal(row, name, word, item))
            return false;
        p += n + (p[n] == ',');
    }
    return true;
}

static bool resource_is_legal(const struct cluster_resource_change *n, struct cluster_item *item)
{
    for (uint32_t i = 0; i < n->change_count; i++) {
        const struct cluster_config_change *change = &n->changes[i];
        const struct setting_row *row = n->type == CLUSTER_RESOURCE_TOPIC ? settings_topic_row(change->name) : broker_row(change->name);
        if (n->type != CLUSTER_RESOURCE_TOPIC && n->type != CLUSTER_RESOURCE_BROKER)
            return true; /* refused by apply */
        if (change->op == CLUSTER_CONFIG_DELETE) /* what an older release has set may always go */
            continue;
        if (change->op == CLUSTER_CONFIG_SET ? !value_is_legal(row, change->name, change->value, item)
                                             : !words_are_legal(row, change->name, change->value, item))
            return false;
    }
    return true;
}

static bool configs_are_known(const struct cluster_config *list, uint32_t count, bool of_topic, struct cluster_result *r)
{
    struct cluster_item item;
    for (uint32_t i = 0; i < count; i++) {
        const struct setting_row *row = of_topic ? settings_topic_row(list[i].name) : broker_row(list[i].name);
        if (!value_is_legal(row, list[i].name, list[i].value, &item)) {
            cluster_refuse(r, item.error, "%s", item.message);
            return false;
        }
    }
    return true;
}

bool cluster_command_check(const struct cluster_command *m, struct cluster_result *r)
{
    memset(r, 0, sizeof(*r));
    r->broker_epoch = r->first_producer_id = -1;
    if (m->kind == CLUSTER_INIT)
        return configs_are_known(m->init.configs, m->init.config_count, false, r);
    if (m->kind == CLUSTER_CREATE_TOPIC)
        return configs_are_known(m->create_topic.configs, m->create_topic.config_count, true, r);
    if (m->kind != CLUSTER_ALTER_CONFIGS)
        return true;
    if (!cluster_result_reserve(r, NULL, m->alter_configs.count)) {
        cluster_refuse(r, KAFKA_UNKNOWN_SERVER_ERROR, "no memory");
        return false;
    }
    bool legal = true;
    for (uint32_t i = 0; i < m->alter_configs.count; i++) {
        r->items[i].partition = (int32_t)i;
        legal &= resource_is_legal(&m->alter_configs.resources[i], &r->items[i]);
    }
    return legal;
}
