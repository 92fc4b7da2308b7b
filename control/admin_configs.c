/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings that are described and changed while the broker runs: DescribeConfigs,
 * IncrementalAlterConfigs, AlterConfigs; and what a partition works with.
 *
 * Where a value comes from, the first that has one: the topic, this broker (dynamic), all brokers
 * (dynamic), the file, the table. Rows of config/settings.def that have a topic name are dynamic;
 * all others are read at the start, and changing them is INVALID_REQUEST. The cluster itself goes by
 * three of them: there neither file nor single broker counts.
 */
#include "control/admin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SOURCE_TOPIC = 1,
    SOURCE_BROKER = 2,
    SOURCE_BROKERS = 3,
    SOURCE_STATIC = 4,
    SOURCE_DEFAULT = 5,
    TYPE_BOOLEAN = 1,
    TYPE_STRING = 2,
    TYPE_INT = 3,
    TYPE_LONG = 5,
    TYPE_DOUBLE = 6,
    TYPE_LIST = 7,
    ALL_BROKERS = -1,
    RESOURCES_MAX = 1000, /* of one request */
};

/* ---- where a value comes from ------------------------------------------------------------------------------ */

static const struct tide_settings *standard_settings(void)
{
    static struct tide_settings s;
    static bool filled;
    if (!filled)
        settings_defaults(&s);
    filled = true;
    return &s;
}

static bool is_dynamic(const struct setting_row *r)
{
    return settings_is_dynamic(r);
}

static const struct setting_row *broker_row(const char *name)
{
    for (unsigned i = 0; i < setting_row_count; i++)
        if (strcmp(setting_rows[i].name, name) == 0)
            return &setting_rows[i];
    return NULL;
}

/* The cluster itself goes by these, so they are the same on every broker (cluster.h). */
static bool is_shared(const struct setting_row *r)
{
    static const char *const names[] = {"min.insync.replicas", "unclean.leader.election.enable", "ack.durability"};
    for (size_t i = 0; i < TIDE_ARRAY_LEN(names); i++)
        if (strcmp(r->name, names[i]) == 0)
            return true;
    return false;
}

static const char *own_value(const struct cluster_config *own, uint32_t count, const char *name)
{
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(own[i].name, name) == 0)
            return own[i].value;
    return NULL;
}

static void add_origin(struct admin_origins *to, int8_t source, const char *name, const char *value)
{
    if (value == NULL)
        return;
    to->each[to->count].source = source;
    to->each[to->count].name = name;
    snprintf(to->each[to->count].value, sizeof(to->each[to->count].value), "%s", value);
    to->count++;
}

void admin_origins(const struct control *c, const struct setting_row *r, const struct admin_own *own, struct admin_origins *ret)
{
    const struct cluster *cluster = c->config.cluster;
    const struct tide_settings *s = c->config.settings;
    bool shared = is_shared(r);
    char text[SETTING_TEXT_MAX];
    ret->count = 0;
    if (own != NULL && r->topic_name != NULL)
        add_origin(ret, SOURCE_TOPIC, r->topic_name, own_value(own->configs, own->count, r->topic_name));
    if (is_dynamic(r) && !shared)
        add_origin(ret, SOURCE_BROKER, r->name, cluster_broker_config(cluster, c->config.broker_id, r->name));
    if (is_dynamic(r))
        add_origin(ret, SOURCE_BROKERS, r->name, cluster_broker_config(cluster, ALL_BROKERS, r->name));
    if (settings_is_given(s, r) && !shared) {
        settings_text(s, r, text, sizeof(text));
        add_origin(ret, SOURCE_STATIC, r->name, text);
    }
    settings_text(standard_settings(), r, text, sizeof(text));
    if (r->type != SETTING_TEXT || text[0] != 0 || r->topic_name != NULL) /* an empty text stands for none, but in a list */
        add_origin(ret, SOURCE_DEFAULT, r->name, text);
}

static bool is_row(const struct setting_row *r, const char *name)
{
    return strcmp(r->name, name) == 0;
}

/* What a view says of throttles. False: another setting. */
static bool refresh_throttle(struct control *c, const struct setting_row *r, const char *value)
{
    if (is_row(r, "leader.replication.throttled.rate"))
        c->leader_throttle.rate = strtoll(value, NULL, 10);
    else if (is_row(r, "follower.replication.throttled.rate"))
        c->follower_throttle.rate = strtoll(value, NULL, 10);
    else if (is_row(r, "leader.replication.throttled.replicas"))
        snprintf(c->leader_throttle.replicas, sizeof(c->leader_throttle.replicas), "%s", value);
    else if (is_row(r, "follower.replication.throttled.replicas"))
        snprintf(c->follower_throttle.replicas, sizeof(c->follower_throttle.replicas), "%s", value);
    else
        return false;
    return true;
}

void configs_refresh(struct control *c)
{
    char error[SETTINGS_ERROR_MAX];
    for (unsigned i = 0; i < setting_row_count; i++) {
        const struct setting_row *r = &setting_rows[i];
        struct admin_origins from;
        if (!is_dynamic(r))
            continue;
        admin_origins(c, r, NULL, &from);
        if (refresh_throttle(c, r, from.each[0].value))
            continue;
        if (settings_set_topic(&c->defaults, r->topic_name, from.each[0].value, error, sizeof(error)) != TIDE_OK)
            control_log("%s: %s", r->name, error); /* was valid when it was set */
    }
}

static bool is_listed(const struct control *c, const struct cluster_topic *t, const char *name, const char *otherwise, int32_t partition)
{
    const char *own = cluster_topic_config(t, name);
    return settings_names_replica(own != NULL ? own : otherwise, partition, c->config.broker_id);
}

bool leader_is_throttled(const struct control *c, const struct cluster_topic *t, int32_t partition)
{
    return is_listed(c, t, "leader.replication.throttled.replicas", c->leader_throttle.replicas, partition);
}

bool follower_is_throttled(const struct control *c, const struct cluster_topic *t, int32_t partition)
{
    return is_listed(c, t, "follower.replication.throttled.replicas", c->follower_throttle.replicas, partition);
}

void topic_config_of(const struct control *c, const struct cluster_topic *t, struct tide_topic_config *ret)
{
    char error[SETTINGS_ERROR_MAX];
    *ret = c->defaults;
    for (uint32_t i = 0; i < t->config_count; i++)
        if (settings_set_topic(ret, t->configs[i].name, t->configs[i].value, error, sizeof(error)) != TIDE_OK)
            control_log("topic %s: %s", t->name, error); /* was valid when it was set */
}

/* ---- describing ---------------------------------------------------------------------------------------------- */

static bool is_asked(struct wire_list keys, bool flexible, const char *name)
{
    struct wire_bytes key;
    char text[CLUSTER_CONFIG_NAME_MAX];
    if (keys.count < 0)
        return true;
    while (wire_list_next_string(&keys, flexible, &key))
        if (wire_bytes_copy(&key, text, sizeof(text)) < sizeof(text) && strcmp(text, name) == 0)
            return true;
    return false;
}

static int8_t type_of(const struct setting_row *r)
{
    switch (r->type) {
    case SETTING_BOOL:
        return TYPE_BOOLEAN;
    case SETTING_INT:
        return r->max > INT32_MAX ? TYPE_LONG : TYPE_INT;
    case SETTING_RATIO:
        return TYPE_DOUBLE;
    default:
        return r->topic_name != NULL && (r->type == SETTING_TEXT || strcmp(r->topic_name, "cleanup.policy") == 0) ? TYPE_LIST : TYPE_STRING;
    }
}

struct describe {
    struct control *control;
    struct wire_writer *w;
    int16_t v;
    bool synonyms;
    bool documentation;
    struct wire_list keys;
    const struct cluster_topic *topic; /* NULL: a broker */
    bool all_brokers;                  /* only what is set for all of them */
    bool count_only;
    int32_t count;
};

static void write_origins(const struct describe *d, const struct admin_origins *from, uint32_t count)
{
    describe_configs_response_config_open_synonyms(d->w, d->v, d->synonyms ? (int32_t)count : 0);
    for (uint32_t i = 0; d->synonyms && i < count; i++) {
        describe_configs_response_synonym_put_name(d->w, d->v, from->each[i].name, admin_text_len(from->each[i].name));
        describe_configs_response_synonym_put_value(d->w, d->v, from->each[i].value, admin_text_len(from->each[i].value));
        describe_configs_response_synonym_put_source(d->w, d->v, from->each[i].source);
        describe_configs_response_synonym_end(d->w, d->v);
    }
}

static void write_row(struct describe *d, const struct setting_row *r, const char *name, const struct admin_origins *from)
{
    const char *value = from->count != 0 ? from->each[0].value : NULL;
    describe_configs_response_config_put_name(d->w, d->v, name, admin_text_len(name));
    describe_configs_response_config_put_value(d->w, d->v, value, admin_text_len(value));
    describe_configs_response_config_put_read_only(d->w, d->v, d->topic == NULL && !is_dynamic(r));
    describe_configs_response_config_put_config_source(d->w, d->v, from->count != 0 ? from->each[0].source : SOURCE_DEFAULT);
    describe_configs_response_config_put_is_sensitive(d->w, d->v, false);
    write_origins(d, from, from->count);
    describe_configs_response_config_put_config_type(d->w, d->v, type_of(r));
    describe_configs_response_config_put_documentation(d->w, d->v, d->documentation ? r->doc : NULL, d->documentation ? admin_text_len(r->doc) : 0);
    describe_configs_response_config_end(d->w, d->v);
}

static void describe_row(struct describe *d, const struct setting_row *r)
{
    const char *name = d->topic != NULL ? r->topic_name : r->name;
    struct admin_own own = {0};
    struct admin_origins from;
    if (name == NULL || !is_asked(d->keys, d->v >= 4, name))
        return;
    if (d->topic != NULL)
        own = (struct admin_own){d->topic->configs, d->topic->config_count};
    admin_origins(d->control, r, d->topic != NULL ? &own : NULL, &from);
    if (d->all_brokers) { /* nothing but that one origin */
        uint32_t i = 0;
        while (i < from.count && from.each[i].source != SOURCE_BROKERS)
            i++;
        if (i == from.count)
            return;
        from.each[0] = from.each[i];
        from.count = 1;
    }
    d->count++;
    if (!d->count_only)
        write_row(d, r, name, &from);
}

static void describe_rows(struct describe *d)
{
    d->count = 0;
    for (unsigned i = 0; i < setting_row_count && !d->w->failed; i++)
        describe_row(d, &setting_rows[i]);
}

static int16_t find_topic(struct control *c, const struct wire_bytes *from, const struct cluster_topic **ret, const char **ret_message)
{
    char name[TIDE_TOPIC_NAME_MAX + 1];
    if (!admin_topic_name(from, name) || !cluster_topic_name_is_legal(name, strlen(name))) {
        *ret_message = "a topic's name is 1 to 249 of a-z A-Z 0-9 . _ -";
        return KAFKA_INVALID_TOPIC_EXCEPTION;
    }
    *ret = cluster_find_topic(c->config.cluster, name);
    *ret_message = *ret == NULL ? "there is no such topic" : NULL;
    return *ret == NULL ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION : 0;
}

/* The number of a broker as it is written, without signs, blanks and leading zeros. */
static bool broker_number(const struct wire_bytes *from, int32_t *ret)
{
    char text[16];
    char again[16];
    char *end;
    long n;
    if (wire_bytes_copy(from, text, sizeof(text)) >= sizeof(text))
        return false;
    n = strtol(text, &end, 10);
    if (end == text || n < 0 || n > INT32_MAX)
        return false;
    snprintf(again, sizeof(again), "%ld", n);
    *ret = (int32_t)n;
    return strlen(text) == from->at.len && strcmp(text, again) == 0;
}

static int16_t judge_resource(struct describe *d, const struct describe_configs_request_resource *r, const char **ret_message)
{
    int32_t broker;
    if (r->resource_type == CLUSTER_RESOURCE_TOPIC)
        return find_topic(d->control, &r->resource_name, &d->topic, ret_message);
    if (r->resource_type != CLUSTER_RESOURCE_BROKER) {
        *ret_message = "settings are those of topics and brokers";
        return KAFKA_INVALID_REQUEST;
    }
    d->all_brokers = r->resource_name.at.len == 0;
    if (d->all_brokers)
        return 0;
    if (!broker_number(&r->resource_name, &broker)) {
        *ret_message = "a broker's name is its number, or empty for all brokers";
        return KAFKA_INVALID_REQUEST;
    }
    *ret_message = "only the broker itself knows all of its settings: ask it, or all brokers by an empty name";
    return broker == d->control->config.broker_id ? 0 : KAFKA_INVALID_REQUEST;
}

static void describe_resource(struct describe *d, const struct describe_configs_request_resource *r)
{
    const char *message = NULL;
    int16_t error;
    d->topic = NULL;
    d->all_brokers = false;
    d->keys = r->configuration_keys;
    d->count = 0;
    error = judge_resource(d, r, &message);
    d->count_only = true;
    if (error == 0)
        describe_rows(d);
    d->count_only = false;
    describe_configs_response_result_put_error_code(d->w, d->v, error);
    describe_configs_response_result_put_error_message(d->w, d->v, error != 0 ? message : NULL, error != 0 ? admin_text_len(message) : 0);
    describe_configs_response_result_put_resource_type(d->w, d->v, r->resource_type);
    describe_configs_response_result_put_resource_name_slice(d->w, d->v, &r->resource_name);
    describe_configs_response_result_open_configs(d->w, d->v, d->count);
    if (error == 0)
        describe_rows(d);
    describe_configs_response_result_end(d->w, d->v);
}

static bool begin_describe(struct admin_ask *a, struct wire_cursor *body)
{
    struct describe_configs_request in;
    struct describe_configs_request_resource r;
    uint32_t items = 0;
    if (!describe_configs_request_read(body, a->v, &in) || in.resources.count < 0 || in.resources.count > RESOURCES_MAX)
        return false;
    while (describe_configs_request_resource_next(&in.resources, a->v, &r)) /* every key is compared with every row */
        if (!admin_has_room(&items, r.configuration_keys.count))
            return false;
    return true;
}

static void write_described(struct admin_ask *a, struct wire_writer *w)
{
    struct describe_configs_request in;
    struct describe_configs_request_resource resource;
    struct describe d = {.control = a->control, .w = w, .v = a->v};
    struct wire_cursor body;
    wire_cursor_init(&body, a->mail->ask.body);
    TIDE_ASSERT(describe_configs_request_read(&body, a->v, &in));
    d.synonyms = in.include_synonyms;
    d.documentation = in.include_documentation;
    describe_configs_response_put_throttle_time_ms(w, d.v, 0);
    describe_configs_response_open_results(w, d.v, in.resources.count);
    while (describe_configs_request_resource_next(&in.resources, d.v, &resource) && !w->failed)
        describe_resource(&d, &resource);
    describe_configs_response_end(w, d.v);
}

const struct admin_api admin_describe_configs = {KAFKA_API_DESCRIBE_CONFIGS, begin_describe, NULL, write_described, NULL};

/* ---- changing -------------------------------------------------------------------------------------------------- */

struct alteration {
    struct admin_verdict verdict;
    int8_t type;
    char *name;    /* as it came */
    uint32_t name_len;
    bool fits;     /* name is the name of a resource as the cluster takes it */
    struct cluster_resource_change change;
    struct cluster_config_change *changes;
};

struct alterations {
    bool validate_only;
    uint32_t count;
    struct alteration each[];
};

static char *copy_whole(const struct wire_bytes *b)
{
    char *to = malloc((size_t)b->at.len + 1);
    if (to != NULL)
        (void)wire_bytes_copy(b, to, b->at.len + 1);
    return to;
}

static void judge_name(struct control *c, struct alteration *n, const struct wire_bytes *name)
{
    const struct cluster_topic *t = NULL;
    const char *message = NULL;
    int32_t broker;
    n->change.type = (uint8_t)n->type;
    if (n->type == CLUSTER_RESOURCE_TOPIC) {
        int16_t error = find_topic(c, name, &t, &message);
        if (error == 0)
            snprintf(n->change.name, sizeof(n->change.name), "%s", t->name);
        admin_refuse(&n->verdict, error, message);
    } else if (n->type != CLUSTER_RESOURCE_BROKER) {
        admin_refuse(&n->verdict, KAFKA_INVALID_REQUEST, "settings are those of topics and brokers");
    } else if (name->at.len != 0 && !broker_number(name, &broker)) {
        admin_refuse(&n->verdict, KAFKA_INVALID_REQUEST, "a broker's name is its number, or empty for all brokers");
    } else if (name->at.len != 0 && cluster_find_broker(c->config.cluster, broker) == NULL) {
        admin_refuse(&n->verdict, KAFKA_INVALID_REQUEST, "there is no such broker");
    } else {
        (void)wire_bytes_copy(name, n->change.name, sizeof(n->change.name));
    }
}

/* A setting that is read at the start only cannot be changed by a request. */
static void judge_dynamic(struct alteration *n, const char *name)
{
    const struct setting_row *r = broker_row(name);
    if (n->type == CLUSTER_RESOURCE_BROKER && r != NULL && !is_dynamic(r))
        admin_refuse(&n->verdict, KAFKA_INVALID_REQUEST, "the setting is read when the broker starts: change its file");
}

/* What was acknowledged under one durability cannot be made to have been acknowledged under the other. */
static bool is_fixed(const char *name)
{
    return strcmp(name, "ack.durability") == 0;
}

static void add_change(struct alteration *n, const struct wire_bytes *name, int8_t op, const struct wire_bytes *value)
{
    struct cluster_config_change *to = &n->changes[n->change.change_count];
    if (op < CLUSTER_CONFIG_SET || op > CLUSTER_CONFIG_SUBTRACT) {
        admin_refuse(&n->verdict, KAFKA_INVALID_REQUEST, "operations are 0 (set), 1 (delete), 2 (append) and 3 (subtract)");
        return;
    }
    if (value->null && op != CLUSTER_CONFIG_DELETE) {
        admin_refuse(&n->verdict, KAFKA_INVALID_REQUEST, "a setting needs a value");
        return;
    }
    if (name->at.len >= sizeof(to->name) || (op != CLUSTER_CONFIG_DELETE && value->at.len >= sizeof(to->value))) {
        admin_refuse(&n->verdict, KAFKA_INVALID_CONFIG, "a setting's name or value is too long");
        return;
    }
    to->op = (uint8_t)op;
    (void)wire_bytes_copy(name, to->name, sizeof(to->name));
    if (op != CLUSTER_CONFIG_DELETE)
        (void)wire_bytes_copy(value, to->value, sizeof(to->value));
    if (strlen(to->name) != name->at.len || (op != CLUSTER_CONFIG_DELETE && strlen(to->value) != value->at.len)) {
        admin_refuse(&n->verdict, KAFKA_INVALID_CONFIG, "a setting's name or value has a zero byte");
        return;
    }
    for (uint32_t i = 0; i < n->change.change_count; i++)
        if (strcmp(n->changes[i].name, to->name) == 0)
            admin_refuse(&n->verdict, KAFKA_INVALID_REQUEST, "the request names a setting twice");
    judge_dynamic(n, to->name);
    if (is_fixed(to->name) && !n->change.replace)
        admin_refuse(&n->verdict, KAFKA_INVALID_REQUEST, "ack.durability is set when the topic is created, and for all brokers with the cluster");
    n->change.change_count++;
}

/* A list that is all there will be leaves what is fixed as it is. */
static void judge_fixed(struct control *c, struct alteration *n)
{
    const struct cluster_topic *t = n->type == CLUSTER_RESOURCE_TOPIC ? cluster_find_topic(c->config.cluster, n->change.name) : NULL;
    const char *now = t != NULL ? cluster_topic_config(t, "ack.durability")
                                : n->change.name[0] == 0 ? cluster_broker_config(c->config.cluster, ALL_BROKERS, "ack.durability") : NULL;
    const char *next = NULL;
    if (n->verdict.error != 0)
        return;
    for (uint32_t i = 0; i < n->change.change_count; i++)
        if (is_fixed(n->changes[i].name))
            next = n->changes[i].value;
    if ((now == NULL) != (next == NULL) || (now != NULL && strcmp(now, next) != 0))
        admin_refuse(&n->verdict, KAFKA_INVALID_REQUEST, "ack.durability is set when the topic is created, and for all brokers with the cluster");
}

/* False: without memory. */
static bool make_room(struct alteration *n, int32_t count)
{
    uint32_t room = (uint32_t)TIDE_MAX(count, 0);
    if (room > CLUSTER_CONFIGS_MAX) {
        admin_refuse(&n->verdict, KAFKA_INVALID_REQUEST, "too many settings");
        room = 0;
    }
    n->changes = calloc(room + 1, sizeof(*n->changes));
    n->change.changes = n->changes;
    return n->changes != NULL && n->name != NULL;
}

static bool read_incremental(struct admin_ask *a, struct alteration *n, struct incremental_alter_configs_request_resource *r)
{
    struct incremental_alter_configs_request_config config;
    n->type = r->resource_type;
    n->name = copy_whole(&r->resource_name);
    n->name_len = r->resource_name.at.len;
    judge_name(a->control, n, &r->resource_name);
    if (!make_room(n, r->configs.count))
        return false;
    while (n->verdict.error == 0 && incremental_alter_configs_request_config_next(&r->configs, a->v, &config))
        add_change(n, &config.name, config.config_operation, &config.value);
    return true;
}

static bool read_full(struct admin_ask *a, struct alteration *n, struct alter_configs_request_resource *r)
{
    struct alter_configs_request_config config;
    n->type = r->resource_type;
    n->name = copy_whole(&r->resource_name);
    n->name_len = r->resource_name.at.len;
    n->change.replace = true;
    judge_name(a->control, n, &r->resource_name);
    if (!make_room(n, r->configs.count))
        return false;
    while (n->verdict.error == 0 && alter_configs_request_config_next(&r->configs, a->v, &config))
        add_change(n, &config.name, CLUSTER_CONFIG_SET, &config.value);
    judge_fixed(a->control, n);
    return true;
}

static int by_resource(const void *a, const void *b)
{
    const struct alteration *x = *(const struct alteration *const *)a;
    const struct alteration *y = *(const struct alteration *const *)b;
    if (x->type != y->type)
        return x->type < y->type ? -1 : 1;
    return strcmp(x->name, y->name);
}

static bool refuse_twins(struct alterations *all)
{
    static const char message[] = "the request names this resource twice";
    struct alteration **sorted = calloc(all->count + 1, sizeof(struct alteration *));
    if (sorted == NULL)
        return false;
    for (uint32_t i = 0; i < all->count; i++)
        sorted[i] = &all->each[i];
    qsort(sorted, all->count, sizeof(*sorted), by_resource);
    for (uint32_t i = 1; i < all->count; i++) {
        if (by_resource(&sorted[i - 1], &sorted[i]) != 0)
            continue;
        admin_overrule(&sorted[i - 1]->verdict, KAFKA_INVALID_REQUEST, message);
        admin_overrule(&sorted[i]->verdict, KAFKA_INVALID_REQUEST, message);
    }
    free(sorted);
    return true;
}

/* Names and values by the tables of this release; then the cluster's own judgement. */
static void submit_alteration(struct admin_ask *a, uint32_t index)
{
    struct alterations *all = a->data;
    struct alteration *n = &all->each[index];
    struct cluster_command m = {.kind = CLUSTER_ALTER_CONFIGS};
    struct cluster_result r = {0};
    if (n->verdict.error != 0)
        return;
    m.alter_configs.validate_only = all->validate_only;
    m.alter_configs.count = 1;
    m.alter_configs.resources = &n->change;
    if (cluster_command_check(&m, &r))
        admin_submit(a, &m, index, &n->verdict);
    else
        admin_refuse_by(&n->verdict, &r);
    cluster_result_free(&r);
}

static struct alterations *make_alterations(int32_t count)
{
    struct alterations *all = count >= 0 && count <= RESOURCES_MAX ? calloc(1, sizeof(*all) + (uint32_t)count * sizeof(all->each[0])) : NULL;
    if (all != NULL)
        all->count = (uint32_t)count;
    return all;
}

static bool submit_alterations(struct admin_ask *a, bool validate_only)
{
    struct alterations *all = a->data;
    all->validate_only = validate_only;
    if (!refuse_twins(all))
        return false;
    for (uint32_t i = 0; i < all->count; i++)
        submit_alteration(a, i);
    return true;
}

static bool begin_incremental(struct admin_ask *a, struct wire_cursor *body)
{
    struct incremental_alter_configs_request in;
    struct incremental_alter_configs_request_resource r;
    struct alterations *all;
    if (!incremental_alter_configs_request_read(body, a->v, &in))
        return false;
    a->data = all = make_alterations(in.resources.count);
    if (all == NULL)
        return false;
    for (uint32_t i = 0; incremental_alter_configs_request_resource_next(&in.resources, a->v, &r); i++)
        if (!read_incremental(a, &all->each[i], &r))
            return false;
    return submit_alterations(a, in.validate_only);
}

static bool begin_full(struct admin_ask *a, struct wire_cursor *body)
{
    struct alter_configs_request in;
    struct alter_configs_request_resource r;
    struct alterations *all;
    if (!alter_configs_request_read(body, a->v, &in))
        return false;
    a->data = all = make_alterations(in.resources.count);
    if (all == NULL)
        return false;
    for (uint32_t i = 0; alter_configs_request_resource_next(&in.resources, a->v, &r); i++)
        if (!read_full(a, &all->each[i], &r))
            return false;
    return submit_alterations(a, in.validate_only);
}

static void on_altered(struct admin_ask *a, uint32_t index, const struct cluster_result *r)
{
    struct alterations *all = a->data;
    admin_decide(a, &all->each[index].verdict, r, !all->validate_only);
}

static void write_incremental(struct admin_ask *a, struct wire_writer *w)
{
    const struct alterations *all = a->data;
    int16_t v = a->v;
    incremental_alter_configs_response_put_throttle_time_ms(w, v, 0);
    incremental_alter_configs_response_open_responses(w, v, (int32_t)all->count);
    for (uint32_t i = 0; i < all->count && !w->failed; i++) {
        const struct alteration *n = &all->each[i];
        const char *message = admin_message(a, &n->verdict);
        incremental_alter_configs_response_response_put_error_code(w, v, admin_error(a, &n->verdict));
        incremental_alter_configs_response_response_put_error_message(w, v, message, admin_text_len(message));
        incremental_alter_configs_response_response_put_resource_type(w, v, n->type);
        incremental_alter_configs_response_response_put_resource_name(w, v, n->name, n->name_len);
        incremental_alter_configs_response_response_end(w, v);
    }
    incremental_alter_configs_response_end(w, v);
}

static void write_full(struct admin_ask *a, struct wire_writer *w)
{
    const struct alterations *all = a->data;
    int16_t v = a->v;
    alter_configs_response_put_throttle_time_ms(w, v, 0);
    alter_configs_response_open_responses(w, v, (int32_t)all->count);
    for (uint32_t i = 0; i < all->count && !w->failed; i++) {
        const struct alteration *n = &all->each[i];
        const char *message = admin_message(a, &n->verdict);
        alter_configs_response_response_put_error_code(w, v, admin_error(a, &n->verdict));
        alter_configs_response_response_put_error_message(w, v, message, admin_text_len(message));
        alter_configs_response_response_put_resource_type(w, v, n->type);
        alter_configs_response_response_put_resource_name(w, v, n->name, n->name_len);
        alter_configs_response_response_end(w, v);
    }
    alter_configs_response_end(w, v);
}

static void forget_alterations(struct admin_ask *a)
{
    struct alterations *all = a->data;
    for (uint32_t i = 0; all != NULL && i < all->count; i++) {
        free(all->each[i].name);
        free(all->each[i].changes);
        admin_verdict_free(&all->each[i].verdict);
    }
}

const struct admin_api admin_incremental_alter_configs = {KAFKA_API_INCREMENTAL_ALTER_CONFIGS, begin_incremental, on_altered, write_incremental,
                                                          forget_alterations};
const struct admin_api admin_alter_configs = {KAFKA_API_ALTER_CONFIGS, begin_full, on_altered, write_full, forget_alterations};
