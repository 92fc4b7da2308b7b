/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DescribeConfigs.
 */
#include "control/admin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    RESOURCE_TOPIC = 2,
    RESOURCE_BROKER = 4,
    SOURCE_TOPIC = 1,
    SOURCE_STATIC = 4,
    SOURCE_DEFAULT = 5,
    TYPE_BOOLEAN = 1,
    TYPE_STRING = 2,
    TYPE_INT = 3,
    TYPE_LONG = 5,
};

void topic_config_of(const struct control *c, const struct cluster_topic *t, struct tide_topic_config *ret)
{
    char error[SETTINGS_ERROR_MAX];
    memset(ret, 0, sizeof(*ret));
    settings_topic_defaults(c->config.settings, ret);
    for (uint32_t i = 0; i < t->config_count; i++)
        if (settings_set_topic(ret, t->configs[i].name, t->configs[i].value, error, sizeof(error)) != TIDE_OK)
            control_log("topic %s: %s", t->name, error); /* was valid when it was set */
    /* These the cluster decides, not the file of each broker: its elections depend on them. */
    ret->min_insync_replicas = cluster_min_insync(c->config.cluster, t, TIDE_REPLICAS_MAX);
    ret->unclean_leader_election_enable = cluster_unclean_allowed(c->config.cluster, t);
    ret->ack_durability = cluster_acks_from_memory(c->config.cluster, t) ? ACK_DURABILITY_MEMORY : ACK_DURABILITY_DEVICE;
}

/* ---- describing ---------------------------------------------------------------------------------------------- */

static bool is_asked(struct wire_list keys, bool flexible, const char *name)
{
    struct wire_bytes key;
    char text[CLUSTER_CONFIG_NAME_MAX];
    if (keys.count < 0)
        return true;
    while (wire_list_next_string(&keys, flexible, &key)) {
        (void)wire_bytes_copy(&key, text, sizeof(text));
        if (strcmp(text, name) == 0)
            return true;
    }
    return false;
}

static int8_t type_of(const struct setting_row *r)
{
    return r->type == SETTING_BOOL ? TYPE_BOOLEAN : r->type == SETTING_INT ? (r->max > INT32_MAX ? TYPE_LONG : TYPE_INT) : TYPE_STRING;
}

static void write_config(struct wire_writer *w, int16_t v, const char *name, const char *value, int8_t source, const struct setting_row *r,
                         bool synonyms, bool documentation)
{
    describe_configs_response_config_put_name(w, v, name, (uint32_t)strlen(name));
    describe_configs_response_config_put_value(w, v, value, (uint32_t)strlen(value));
    describe_configs_response_config_put_read_only(w, v, true);
    describe_configs_response_config_put_config_source(w, v, source);
    describe_configs_response_config_put_is_sensitive(w, v, false);
    describe_configs_response_config_open_synonyms(w, v, synonyms ? 1 : 0);
    if (synonyms && v >= 1) {
        describe_configs_response_synonym_put_name(w, v, source == SOURCE_TOPIC ? name : r->name,
                                                   (uint32_t)strlen(source == SOURCE_TOPIC ? name : r->name));
        describe_configs_response_synonym_put_value(w, v, value, (uint32_t)strlen(value));
        describe_configs_response_synonym_put_source(w, v, source);
        describe_configs_response_synonym_end(w, v);
    }
    describe_configs_response_config_put_config_type(w, v, type_of(r));
    describe_configs_response_config_put_documentation(w, v, documentation ? r->doc : NULL, documentation ? (uint32_t)strlen(r->doc) : 0);
    describe_configs_response_config_end(w, v);
}

struct describe {
    struct control *control;
    struct wire_writer *w;
    int16_t v;
    const struct describe_configs_request *in;
    const struct describe_configs_request_resource *resource;
    const struct cluster_topic *topic; /* NULL: the broker */
    bool count_only;
    int32_t count;
};

static void describe_rows(struct describe *d)
{
    const struct tide_settings *s = d->control->config.settings;
    struct tide_topic_config config;
    if (d->topic != NULL)
        topic_config_of(d->control, d->topic, &config);
    for (unsigned i = 0; i < setting_row_count; i++) {
        const struct setting_row *r = &setting_rows[i];
        const char *name = d->topic != NULL ? r->topic_name : r->name;
        char value[SETTING_TEXT_MAX];
        int8_t source = settings_is_given(s, r) ? SOURCE_STATIC : SOURCE_DEFAULT;
        if (name == NULL || !is_asked(d->resource->configuration_keys, d->v >= 4, name))
            continue;
        d->count++;
        if (d->count_only)
            continue;
        if (d->topic != NULL) {
            settings_topic_text(&config, r, value, sizeof(value));
            if (cluster_topic_config(d->topic, name) != NULL)
                source = SOURCE_TOPIC;
        } else {
            settings_text(s, r, value, sizeof(value));
        }
        write_config(d->w, d->v, name, value, source, r, d->in->include_synonyms, d->v >= 3 && d->in->include_documentation);
    }
}

static void describe_resource(struct describe *d)
{
    char name[TIDE_TOPIC_NAME_MAX + 1];
    int16_t error = 0;
    uint32_t len = wire_bytes_copy(&d->resource->resource_name, name, sizeof(name));
    d->topic = NULL;
    d->count = 0;
    if (d->resource->resource_type == RESOURCE_TOPIC) {
        d->topic = len <= TIDE_TOPIC_NAME_MAX ? cluster_find_topic(d->control->config.cluster, name) : NULL;
        if (d->topic == NULL)
            error = KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    } else if (d->resource->resource_type != RESOURCE_BROKER || (len != 0 && atoi(name) != d->control->config.broker_id)) {
        error = KAFKA_INVALID_REQUEST;
    }
    if (error == 0) {
        d->count_only = true;
        describe_rows(d);
        d->count_only = false;
    }
    describe_configs_response_result_put_error_code(d->w, d->v, error);
    describe_configs_response_result_put_error_message(d->w, d->v, NULL, 0);
    describe_configs_response_result_put_resource_type(d->w, d->v, d->resource->resource_type);
    describe_configs_response_result_put_resource_name_slice(d->w, d->v, &d->resource->resource_name);
    describe_configs_response_result_open_configs(d->w, d->v, d->count);
    if (error == 0)
        describe_rows(d);
    describe_configs_response_result_end(d->w, d->v);
}

static bool begin_describe(struct admin_ask *a, struct wire_cursor *body)
{
    struct describe_configs_request in;
    return describe_configs_request_read(body, a->v, &in) && in.resources.count <= ADMIN_ITEMS_MAX;
}

static void write_described(struct admin_ask *a, struct wire_writer *w)
{
    struct describe_configs_request in;
    struct describe_configs_request_resource resource;
    struct describe d = {.control = a->control, .w = w, .v = a->v, .in = &in, .resource = &resource};
    struct wire_cursor body;
    wire_cursor_init(&body, a->mail->ask.body);
    TIDE_ASSERT(describe_configs_request_read(&body, a->v, &in));
    describe_configs_response_put_throttle_time_ms(w, d.v, 0);
    describe_configs_response_open_results(w, d.v, in.resources.count);
    while (describe_configs_request_resource_next(&in.resources, d.v, &resource) && !w->failed)
        describe_resource(&d);
    describe_configs_response_end(w, d.v);
}

const struct admin_api admin_describe_configs = {KAFKA_API_DESCRIBE_CONFIGS, begin_describe, NULL, write_described, NULL};
