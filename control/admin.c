/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What control answers for the cores: CreateTopics, DeleteTopics, DescribeConfigs, InitProducerId,
 * and topics that a Metadata request creates. Requests are decoded here again from the copy that
 * the core keeps; the body of the answer goes back with the letter.
 */
#include "control/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "kafka/errors.h"
#include "kafka/messages.h"
#include "settings/settings.h"

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
    CREATED_MAX = 1000, /* topics of one request */
};

static void finish(struct tide_mail *m, struct wire_writer *w)
{
    if (w->failed) {
        wire_writer_abandon(w);
        m->ask.result = ASK_CLOSE; /* no memory for an answer: the client comes again */
        return;
    }
    m->ask.result = ASK_BODY;
    m->ask.answer = w->out;
}

static struct tide_uuid random_uuid(void)
{
    struct tide_uuid u;
    do {
        if (getrandom(&u, sizeof(u), 0) != sizeof(u))
            abort();
        u.bytes[6] = (uint8_t)((u.bytes[6] & 0x0f) | 0x40); /* RFC 9562 5.4 */
        u.bytes[8] = (uint8_t)((u.bytes[8] & 0x3f) | 0x80);
    } while (u.bytes[0] == 0xf8); /* would begin with '-', which tools take for an option */
    return u;
}

bool admin_registration(struct control *c, struct cluster_command *ret)
{
    const struct tide_settings *s = c->config.settings;
    memset(ret, 0, sizeof(*ret));
    ret->kind = CLUSTER_REGISTER_BROKER;
    ret->broker.id = c->config.broker_id;
    ret->broker.incarnation = c->config.incarnation;
    snprintf(ret->broker.rack, sizeof(ret->broker.rack), "%.200s", s->broker_rack);
    ret->broker.endpoint_count = s->listener_count;
    for (uint32_t i = 0; i < s->listener_count; i++) {
        snprintf(ret->broker.endpoints[i].host, sizeof(ret->broker.endpoints[i].host), "%s", s->listener[i].advertised_host);
        ret->broker.endpoints[i].port = s->listener[i].advertised_port;
    }
    return true;
}

void topic_config_of(const struct control *c, const struct cluster_topic *t, struct tide_topic_config *ret)
{
    char error[SETTINGS_ERROR_MAX];
    memset(ret, 0, sizeof(*ret));
    settings_topic_defaults(c->config.settings, ret);
    for (uint32_t i = 0; i < t->config_count; i++)
        if (settings_set_topic(ret, t->configs[i].name, t->configs[i].value, error, sizeof(error)) != TIDE_OK)
            control_log("topic %s: %s", t->name, error); /* was valid when it was set */
}

/* ---- creating topics --------------------------------------------------------------------------------- */

struct creation {
    struct cluster_command command;
    int32_t *assignment;
    struct cluster_config configs[CLUSTER_CONFIGS_MAX];
    int16_t error;
    char message[SETTINGS_ERROR_MAX];
};

static void refuse(struct creation *n, int16_t error, const char *message)
{
    if (n->error != 0)
        return;
    n->error = error;
    snprintf(n->message, sizeof(n->message), "%s", message != NULL ? message : "");
}

static void read_configs(struct creation *n, struct wire_list list, int16_t version)
{
    struct create_topics_request_config config;
    struct tide_topic_config scratch;
    char error[SETTINGS_ERROR_MAX];
    while (create_topics_request_config_next(&list, version, &config)) {
        uint32_t count = n->command.create_topic.config_count;
        struct cluster_config *to = &n->configs[count];
        if (count == CLUSTER_CONFIGS_MAX || config.name.at.len >= sizeof(to->name) || config.value.at.len >= sizeof(to->value)) {
            refuse(n, KAFKA_INVALID_CONFIG, "too many settings, or one that is too long");
            return;
        }
        (void)wire_bytes_copy(&config.name, to->name, sizeof(to->name));
        (void)wire_bytes_copy(&config.value, to->value, sizeof(to->value));
        if (config.value.null) {
            refuse(n, KAFKA_INVALID_CONFIG, "a setting needs a value");
        } else if (settings_set_topic(&scratch, to->name, to->value, error, sizeof(error)) != TIDE_OK) {
            refuse(n, KAFKA_INVALID_CONFIG, error);
        }
        n->command.create_topic.config_count++;
    }
}

/* Manual assignment: rows 0..n-1 in any order, all of one length. */
static void read_assignment(struct creation *n, struct wire_list list, int16_t version)
{
    struct create_topics_request_assignment row;
    uint32_t rows = (uint32_t)TIDE_MAX(list.count, 0);
    uint32_t width = 0;
    bool seen[CLUSTER_PARTITIONS_MAX] = {false};
    if (rows > CLUSTER_PARTITIONS_MAX) {
        refuse(n, KAFKA_INVALID_REPLICA_ASSIGNMENT, "too many partitions");
        return;
    }
    n->assignment = calloc(rows * TIDE_REPLICAS_MAX + 1, sizeof(*n->assignment));
    if (n->assignment == NULL) {
        refuse(n, KAFKA_UNKNOWN_SERVER_ERROR, "no memory");
        return;
    }
    while (create_topics_request_assignment_next(&list, version, &row)) {
        struct wire_list ids = row.broker_ids;
        uint32_t count = (uint32_t)TIDE_MAX(ids.count, 0);
        uint32_t at = 0;
        int32_t id;
        if (width == 0)
            width = count;
        if (count == 0 || count != width || count > TIDE_REPLICAS_MAX || row.partition_index < 0 ||
            (uint32_t)row.partition_index >= rows || seen[row.partition_index]) {
            refuse(n, KAFKA_INVALID_REPLICA_ASSIGNMENT, "partitions must be 0, 1, 2, ... with equally many brokers each");
            return;
        }
        seen[row.partition_index] = true;
        while (wire_list_next_i32(&ids, &id))
            n->assignment[(uint32_t)row.partition_index * width + at++] = id;
    }
    n->command.create_topic.assignment = n->assignment;
    n->command.create_topic.partition_count = rows;
    n->command.create_topic.replication_factor = width;
}

static void prepare(struct control *c, struct creation *n, const char *name)
{
    const struct tide_settings *s = c->config.settings;
    memset(n, 0, sizeof(*n));
    n->command.kind = CLUSTER_CREATE_TOPIC;
    n->command.create_topic.id = random_uuid();
    n->command.create_topic.configs = n->configs;
    n->command.create_topic.partition_count = (uint32_t)s->num_partitions;
    /* On one broker a default above one could never be met; it is capped at what there is. */
    n->command.create_topic.replication_factor =
        TIDE_MIN((uint32_t)s->default_replication_factor, TIDE_MAX(cluster_broker_count(c->config.cluster), 1u));
    n->command.create_topic.placement_seed = load_be32(n->command.create_topic.id.bytes);
    snprintf(n->command.create_topic.name, sizeof(n->command.create_topic.name), "%s", name);
}

static void read_creation(struct control *c, struct creation *n, const struct create_topics_request_topic *t, int16_t version)
{
    char name[TIDE_TOPIC_NAME_MAX + 1];
    uint32_t len = wire_bytes_copy(&t->name, name, sizeof(name));
    prepare(c, n, name);
    if (len > TIDE_TOPIC_NAME_MAX || strlen(name) != len)
        refuse(n, KAFKA_INVALID_TOPIC_EXCEPTION, "a topic's name is 1 to 249 of a-z A-Z 0-9 . _ -");
    if (t->assignments.count > 0) {
        if (t->num_partitions != -1 || t->replication_factor != -1)
            refuse(n, KAFKA_INVALID_REQUEST, "an assignment comes with partitions -1 and replication factor -1");
        read_assignment(n, t->assignments, version);
    } else {
        if (t->num_partitions != -1)
            n->command.create_topic.partition_count = t->num_partitions < 1 ? 0 : (uint32_t)t->num_partitions;
        if (t->replication_factor != -1)
            n->command.create_topic.replication_factor = t->replication_factor < 1 ? 0 : (uint32_t)t->replication_factor;
    }
    read_configs(n, t->configs, version);
}

/* Validates, and creates unless only that was asked. */
static void execute(struct control *c, struct creation *n, bool validate_only)
{
    struct cluster_result result;
    const char *message = NULL;
    int error;
    if (n->error != 0)
        return;
    refuse(n, cluster_validate(c->config.cluster, &n->command, &message), message);
    if (n->error != 0 || validate_only)
        return;
    error = control_apply(c, &n->command, &result);
    if (error != 0)
        refuse(n, error < 0 ? KAFKA_KAFKA_STORAGE_ERROR : (int16_t)error, result.message);
}

static void write_created(const struct control *c, struct wire_writer *w, int16_t v, const struct creation *n, const struct wire_bytes *name)
{
    const struct cluster_topic *t = n->error == 0 ? cluster_find_topic(c->config.cluster, n->command.create_topic.name) : NULL;
    static const struct tide_uuid none;
    create_topics_response_topic_put_name_slice(w, v, name);
    create_topics_response_topic_put_topic_id(w, v, t != NULL ? &t->id : &none);
    create_topics_response_topic_put_error_code(w, v, n->error);
    create_topics_response_topic_put_error_message(w, v, n->error != 0 ? n->message : NULL, (uint32_t)strlen(n->message));
    create_topics_response_topic_put_num_partitions(w, v, n->error == 0 ? (int32_t)n->command.create_topic.partition_count : -1);
    create_topics_response_topic_put_replication_factor(w, v, n->error == 0 ? (int16_t)n->command.create_topic.replication_factor : -1);
    create_topics_response_topic_open_configs(w, v, n->error == 0 ? (int32_t)n->command.create_topic.config_count : -1);
    for (uint32_t i = 0; n->error == 0 && i < n->command.create_topic.config_count; i++) {
        create_topics_response_config_put_name(w, v, n->configs[i].name, (uint32_t)strlen(n->configs[i].name));
        create_topics_response_config_put_value(w, v, n->configs[i].value, (uint32_t)strlen(n->configs[i].value));
        create_topics_response_config_put_read_only(w, v, false);
        create_topics_response_config_put_config_source(w, v, SOURCE_TOPIC);
        create_topics_response_config_put_is_sensitive(w, v, false);
        create_topics_response_config_end(w, v);
    }
    create_topics_response_topic_end(w, v);
}

static bool name_is_twice(struct wire_list list, int16_t v, const struct wire_bytes *name)
{
    struct create_topics_request_topic t;
    char a[TIDE_TOPIC_NAME_MAX + 1], b[TIDE_TOPIC_NAME_MAX + 1];
    unsigned seen = 0;
    (void)wire_bytes_copy(name, a, sizeof(a));
    while (create_topics_request_topic_next(&list, v, &t)) {
        (void)wire_bytes_copy(&t.name, b, sizeof(b));
        seen += strcmp(a, b) == 0;
    }
    return seen > 1;
}

static bool create_topics(struct control *c, struct tide_mail *m, struct wire_cursor *body)
{
    int16_t v = m->ask.api_version;
    struct create_topics_request in;
    struct create_topics_request_topic t;
    struct wire_list topics;
    struct wire_writer w;
    struct creation *n = malloc(sizeof(*n));
    bool changed = false;

    if (n == NULL || !create_topics_request_read(body, v, &in) || in.topics.count > CREATED_MAX) {
        free(n);
        m->ask.result = ASK_CLOSE;
        return false;
    }
    wire_writer_init(&w, c->config.response_pool);
    create_topics_response_put_throttle_time_ms(&w, v, 0);
    create_topics_response_open_topics(&w, v, in.topics.count);
    topics = in.topics;
    while (create_topics_request_topic_next(&topics, v, &t)) {
        read_creation(c, n, &t, v);
        if (name_is_twice(in.topics, v, &t.name))
            refuse(n, KAFKA_INVALID_REQUEST, "the request names this topic twice");
        execute(c, n, in.validate_only);
        changed |= n->error == 0 && !in.validate_only;
        write_created(c, &w, v, n, &t.name);
        free(n->assignment);
    }
    create_topics_response_end(&w, v);
    finish(m, &w);
    free(n);
    return changed;
}

/* ---- topics that Metadata creates ------------------------------------------------------------------------ */

static bool create_from_metadata(struct control *c, struct tide_mail *m, struct wire_cursor *body)
{
    int16_t v = m->ask.api_version;
    struct metadata_request in;
    struct metadata_request_topic t;
    struct wire_list topics;
    struct creation *n = malloc(sizeof(*n));
    bool changed = false;
    unsigned count = 0;

    m->ask.result = ASK_RERUN;
    if (n == NULL || !metadata_request_read(body, v, &in)) {
        free(n);
        m->ask.result = ASK_CLOSE;
        return false;
    }
    topics = in.topics;
    while (metadata_request_topic_next(&topics, v, &t) && count < CREATED_MAX) {
        char name[TIDE_TOPIC_NAME_MAX + 1];
        uint32_t len = wire_bytes_copy(&t.name, name, sizeof(name));
        if (t.name.null || len > TIDE_TOPIC_NAME_MAX || strlen(name) != len || cluster_find_topic(c->config.cluster, name) != NULL)
            continue;
        prepare(c, n, name);
        execute(c, n, false);
        changed |= n->error == 0;
        count++;
    }
    free(n);
    (void)changed;
    return true; /* another request may have created them just now: wait for the view */
}

/* ---- deleting ---------------------------------------------------------------------------------------------- */

static int16_t delete_one(struct control *c, const struct cluster_topic *t, bool by_id)
{
    struct cluster_command command = {.kind = CLUSTER_DELETE_TOPIC};
    struct cluster_result result;
    int error;
    if (!c->config.settings->delete_topic_enable)
        return KAFKA_TOPIC_DELETION_DISABLED;
    if (t == NULL)
        return by_id ? KAFKA_UNKNOWN_TOPIC_ID : KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    command.delete_topic = t->id;
    error = control_apply(c, &command, &result);
    return error < 0 ? KAFKA_KAFKA_STORAGE_ERROR : (int16_t)error;
}

static void write_deleted(struct wire_writer *w, int16_t v, const char *name, const struct tide_uuid *id, int16_t error)
{
    delete_topics_response_response_put_name(w, v, name, name != NULL ? (uint32_t)strlen(name) : 0);
    delete_topics_response_response_put_topic_id(w, v, id);
    delete_topics_response_response_put_error_code(w, v, error);
    delete_topics_response_response_put_error_message(w, v, NULL, 0);
    delete_topics_response_response_end(w, v);
}

static bool delete_topics(struct control *c, struct tide_mail *m, struct wire_cursor *body)
{
    static const struct tide_uuid none;
    int16_t v = m->ask.api_version;
    struct delete_topics_request in;
    struct wire_writer w;
    struct wire_list list;
    char name[TIDE_TOPIC_NAME_MAX + 1];
    bool changed = false;

    if (!delete_topics_request_read(body, v, &in)) {
        m->ask.result = ASK_CLOSE;
        return false;
    }
    wire_writer_init(&w, c->config.response_pool);
    delete_topics_response_put_throttle_time_ms(&w, v, 0);
    delete_topics_response_open_responses(&w, v, v >= 6 ? in.topics.count : in.topic_names.count);
    if (v >= 6) {
        struct delete_topics_request_topic t;
        list = in.topics;
        while (delete_topics_request_topic_next(&list, v, &t)) {
            bool by_id = t.name.null;
            (void)wire_bytes_copy(&t.name, name, sizeof(name));
            const struct cluster_topic *topic = by_id ? cluster_find_topic_by_id(c->config.cluster, &t.topic_id)
                                                      : cluster_find_topic(c->config.cluster, name);
            struct tide_uuid id = topic != NULL ? topic->id : t.topic_id;
            if (topic != NULL)
                snprintf(name, sizeof(name), "%s", topic->name);
            int16_t error = delete_one(c, topic, by_id);
            changed |= error == 0;
            write_deleted(&w, v, topic == NULL && by_id ? NULL : name, &id, error);
        }
    } else {
        struct wire_bytes text;
        list = in.topic_names;
        while (wire_list_next_string(&list, v >= 4, &text)) {
            (void)wire_bytes_copy(&text, name, sizeof(name));
            int16_t error = delete_one(c, cluster_find_topic(c->config.cluster, name), false);
            changed |= error == 0;
            write_deleted(&w, v, name, &none, error);
        }
    }
    delete_topics_response_end(&w, v);
    finish(m, &w);
    return changed;
}

/* ---- producer ids ---------------------------------------------------------------------------------------------- */

/* A block is durable before its first id is given out; after a crash the rest of it is skipped. */
static int16_t next_producer_id(struct control *c, int64_t *ret)
{
    if (c->next_producer_id == c->producer_ids_end) {
        struct cluster_command command = {.kind = CLUSTER_ALLOCATE_PRODUCER_IDS};
        struct cluster_result result;
        int error;
        command.producer_ids.broker = c->config.broker_id;
        command.producer_ids.count = (uint32_t)c->config.settings->producer_id_block_size;
        error = control_apply(c, &command, &result);
        if (error != 0)
            return error < 0 ? KAFKA_COORDINATOR_NOT_AVAILABLE : (int16_t)error;
        c->next_producer_id = (uint64_t)result.first_producer_id;
        c->producer_ids_end = c->next_producer_id + command.producer_ids.count;
    }
    *ret = (int64_t)c->next_producer_id++;
    return 0;
}

static void init_producer_id(struct control *c, struct tide_mail *m, struct wire_cursor *body)
{
    int16_t v = m->ask.api_version;
    struct init_producer_id_request in;
    struct wire_writer w;
    int64_t id = -1;
    int16_t error;

    if (!init_producer_id_request_read(body, v, &in)) {
        m->ask.result = ASK_CLOSE;
        return;
    }
    if (!in.transactional_id.null) /* transactions are not served */
        error = in.transactional_id.at.len == 0 ? KAFKA_INVALID_REQUEST : KAFKA_COORDINATOR_NOT_AVAILABLE;
    else if (v >= 3 && (in.producer_id == -1) != (in.producer_epoch == -1))
        error = KAFKA_INVALID_REQUEST;
    else
        error = next_producer_id(c, &id);
    wire_writer_init(&w, c->config.response_pool);
    init_producer_id_response_put_throttle_time_ms(&w, v, 0);
    init_producer_id_response_put_error_code(&w, v, error);
    init_producer_id_response_put_producer_id(&w, v, id);
    init_producer_id_response_put_producer_epoch(&w, v, error != 0 ? -1 : 0);
    init_producer_id_response_end(&w, v);
    finish(m, &w);
}

/* ---- configurations ---------------------------------------------------------------------------------------------- */

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

static void describe_configs(struct control *c, struct tide_mail *m, struct wire_cursor *body)
{
    struct describe_configs_request in;
    struct describe_configs_request_resource resource;
    struct wire_writer w;
    struct describe d = {.control = c, .w = &w, .v = m->ask.api_version, .in = &in, .resource = &resource};
    struct wire_list list;

    if (!describe_configs_request_read(body, d.v, &in)) {
        m->ask.result = ASK_CLOSE;
        return;
    }
    wire_writer_init(&w, c->config.response_pool);
    describe_configs_response_put_throttle_time_ms(&w, d.v, 0);
    describe_configs_response_open_results(&w, d.v, in.resources.count);
    list = in.resources;
    while (describe_configs_request_resource_next(&list, d.v, &resource) && !w.failed)
        describe_resource(&d);
    describe_configs_response_end(&w, d.v);
    finish(m, &w);
}

void admin_on_ask(struct control *c, struct tide_mail *m)
{
    struct wire_cursor body;
    bool changed = false;
    wire_cursor_init(&body, m->ask.body);
    switch (m->ask.api_key) {
    case KAFKA_API_CREATE_TOPICS:
        changed = create_topics(c, m, &body);
        break;
    case KAFKA_API_METADATA:
        changed = create_from_metadata(c, m, &body);
        break;
    case KAFKA_API_DELETE_TOPICS:
        changed = delete_topics(c, m, &body);
        break;
    case KAFKA_API_INIT_PRODUCER_ID:
        init_producer_id(c, m, &body);
        break;
    case KAFKA_API_DESCRIBE_CONFIGS:
        describe_configs(c, m, &body);
        break;
    default:
        m->ask.result = ASK_CLOSE;
    }
    if (changed && !c->stopping) {
        replicas_reconcile(c);
        control_answer_when_seen(c, m);
    } else {
        control_answer(c, m);
    }
}
