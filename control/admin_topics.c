/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CreateTopics, DeleteTopics, and the topics that a Metadata or a FindCoordinator request creates.
 */
#include "control/admin.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CREATED_MAX = 1000,  /* topics of one request */
    OFFSETS_CONFIGS = 3, /* settings that __consumer_offsets is created with, at most */
};

/* ---- creating ------------------------------------------------------------------------------------------ */

struct creation {
    struct admin_verdict verdict;
    char *name; /* as it came; cut where no topic's name can be */
    struct tide_uuid id;
    int32_t partition_count;
    int32_t replication_factor;
    uint32_t config_count;
    struct cluster_config *configs;
    uint32_t assignment_count;
    struct cluster_assignment *assignment;
};

struct creations {
    bool validate_only;
    uint32_t count;
    struct creation each[];
};

static void read_configs(struct creation *n, struct wire_list list, int16_t version)
{
    struct create_topics_request_config config;
    uint32_t room = (uint32_t)TIDE_MIN(TIDE_MAX(list.count, 0), (int32_t)CLUSTER_CONFIGS_MAX);
    n->configs = calloc(room + 1, sizeof(*n->configs));
    if (n->configs == NULL) {
        admin_refuse(&n->verdict, KAFKA_UNKNOWN_SERVER_ERROR, "no memory");
        return;
    }
    while (create_topics_request_config_next(&list, version, &config)) {
        struct cluster_config *to = &n->configs[n->config_count];
        if (n->config_count == room || config.name.at.len >= sizeof(to->name) || config.value.at.len >= sizeof(to->value)) {
            admin_refuse(&n->verdict, KAFKA_INVALID_CONFIG, "too many settings, or one that is too long");
            return;
        }
        (void)wire_bytes_copy(&config.name, to->name, sizeof(to->name));
        (void)wire_bytes_copy(&config.value, to->value, sizeof(to->value));
        if (config.value.null || strlen(to->name) != config.name.at.len || strlen(to->value) != config.value.at.len)
            admin_refuse(&n->verdict, KAFKA_INVALID_CONFIG, "a setting needs a value, without zero bytes");
        n->config_count++;
    }
}

/* Manual assignment. Whether its partitions are 0, 1, 2, ... is judged by the cluster. */
static void read_assignment(struct creation *n, struct wire_list list, int16_t version)
{
    struct create_topics_request_assignment row;
    if (list.count > (int32_t)CLUSTER_PARTITIONS_MAX) {
        admin_refuse(&n->verdict, KAFKA_INVALID_REPLICA_ASSIGNMENT, "too many partitions");
        return;
    }
    n->assignment = calloc((uint32_t)list.count, sizeof(*n->assignment));
    if (n->assignment == NULL) {
        admin_refuse(&n->verdict, KAFKA_UNKNOWN_SERVER_ERROR, "no memory");
        return;
    }
    while (create_topics_request_assignment_next(&list, version, &row)) {
        struct cluster_assignment *to = &n->assignment[n->assignment_count++];
        to->partition = row.partition_index;
        if (!admin_read_ids(row.broker_ids, to))
            admin_refuse(&n->verdict, KAFKA_INVALID_REPLICA_ASSIGNMENT, "too many brokers for one partition");
    }
}

static uint32_t unfenced(const struct cluster *cluster)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < cluster_broker_count(cluster); i++)
        n += !cluster_broker_at(cluster, i)->fenced;
    return n;
}

static void prepare(const struct control *c, struct creation *n, const char *name)
{
    n->id = c->config.new_id(c->config.arg);
    n->partition_count = n->replication_factor = -1;
    n->name = strdup(name);
    if (n->name == NULL)
        admin_refuse(&n->verdict, KAFKA_UNKNOWN_SERVER_ERROR, NULL);
}

static void __attribute__((format(printf, 3, 4))) set_config(struct creation *n, const char *name, const char *format, ...)
{
    struct cluster_config *to = &n->configs[n->config_count++];
    va_list args;
    va_start(args, format);
    snprintf(to->name, sizeof(to->name), "%s", name);
    vsnprintf(to->value, sizeof(to->value), format, args);
    va_end(args);
}

/* -1 stands for the broker's default. A default above the number of brokers could never be met; it is capped. */
static void fill_defaults(struct control *c, struct creation *n)
{
    const struct tide_settings *s = c->config.settings;
    if (n->assignment_count != 0)
        return;
    if (n->partition_count == -1)
        n->partition_count = (int32_t)s->num_partitions;
    else
        n->partition_count = TIDE_MAX(n->partition_count, 0);
    if (n->replication_factor == -1)
        n->replication_factor = (int32_t)TIDE_MIN((uint32_t)s->default_replication_factor, TIDE_MAX(unfenced(c->config.cluster), 1u));
    else
        n->replication_factor = TIDE_MAX(n->replication_factor, 0);
}

/* __consumer_offsets is not made of the defaults for others. Of its replicas there are as many as there can be, so that a broker
 * alone has groups. A voter that was never seen counts as one that will be: who comes first while a cluster is started
 * must not make the topic with one replica for ever. */
static void fill_offsets_topic(struct control *c, struct creation *n)
{
    const struct tide_settings *s = c->config.settings;
    uint32_t brokers = TIDE_MAX(cluster_broker_count(c->config.cluster), s->voter_count);
    n->partition_count = (int32_t)s->offsets_topic_num_partitions;
    n->replication_factor = (int32_t)TIDE_MIN((uint32_t)s->offsets_topic_replication_factor, TIDE_MAX(brokers, 1u));
    n->configs = calloc(OFFSETS_CONFIGS, sizeof(*n->configs));
    if (n->configs == NULL) {
        admin_refuse(&n->verdict, KAFKA_UNKNOWN_SERVER_ERROR, "no memory");
        return;
    }
    set_config(n, "cleanup.policy", "compact");
    set_config(n, "segment.bytes", "%ld", s->offsets_topic_segment_bytes);
    if (s->offsets_topic_min_insync_replicas != 0)
        set_config(n, "min.insync.replicas", "%ld", s->offsets_topic_min_insync_replicas);
}

/* Nobody has said what the topic shall be like. */
static void fill_by_itself(struct control *c, struct creation *n)
{
    if (n->name != NULL && strcmp(n->name, TIDE_OFFSETS_TOPIC) == 0)
        fill_offsets_topic(c, n);
    else
        fill_defaults(c, n);
}

static void read_creation(struct control *c, struct creation *n, const struct create_topics_request_topic *t, int16_t version)
{
    char name[TIDE_TOPIC_NAME_MAX + 1];
    bool fits = admin_topic_name(&t->name, name);
    prepare(c, n, name);
    if (!fits)
        admin_refuse(&n->verdict, KAFKA_INVALID_TOPIC_EXCEPTION, "a topic's name is 1 to 249 of a-z A-Z 0-9 . _ -");
    n->partition_count = t->num_partitions;
    n->replication_factor = t->replication_factor;
    if (t->assignments.count > 0)
        read_assignment(n, t->assignments, version);
    fill_defaults(c, n);
    read_configs(n, t->configs, version);
}

static void submit_creation(struct admin_ask *a, uint32_t index)
{
    struct creations *all = a->data;
    struct creation *n = &all->each[index];
    struct cluster_command m = {.kind = CLUSTER_CREATE_TOPIC};
    struct cluster_result r = {0};
    if (n->verdict.error != 0)
        return;
    m.create_topic.id = n->id;
    m.create_topic.validate_only = all->validate_only;
    m.create_topic.partition_count = n->partition_count;
    m.create_topic.replication_factor = n->replication_factor;
    m.create_topic.placement_seed = load_be32(n->id.bytes);
    m.create_topic.assignment_count = n->assignment_count;
    m.create_topic.assignment = n->assignment;
    m.create_topic.config_count = n->config_count;
    m.create_topic.configs = n->configs;
    snprintf(m.create_topic.name, sizeof(m.create_topic.name), "%s", n->name);
    if (cluster_command_check(&m, &r))
        admin_submit(a, &m, index, &n->verdict);
    else
        admin_refuse_by(&n->verdict, &r);
    cluster_result_free(&r);
}

static void on_created(struct admin_ask *a, uint32_t index, const struct cluster_result *r)
{
    struct creations *all = a->data;
    struct creation *n = &all->each[index];
    admin_decide(a, &n->verdict, r, !all->validate_only);
    if (r->item_count != 0) { /* as it was created, whoever chose it */
        n->partition_count = (int32_t)r->item_count;
        n->replication_factor = (int32_t)r->items[0].id_count;
    }
}

static void forget_creations(struct admin_ask *a)
{
    struct creations *all = a->data;
    for (uint32_t i = 0; all != NULL && i < all->count; i++) {
        struct creation *n = &all->each[i];
        free(n->name);
        free(n->configs);
        free(n->assignment);
        admin_verdict_free(&n->verdict);
    }
}

static struct creations *make_creations(uint32_t count)
{
    struct creations *all = calloc(1, sizeof(*all) + count * sizeof(all->each[0]));
    if (all != NULL)
        all->count = count;
    return all;
}

static int by_name(const void *a, const void *b)
{
    const struct creation *x = *(const struct creation *const *)a;
    const struct creation *y = *(const struct creation *const *)b;
    return strcmp(x->name != NULL ? x->name : "", y->name != NULL ? y->name : "");
}

/* Of a name that comes twice, no creation is tried. */
static void refuse_twins(struct creations *all)
{
    static const char message[] = "the request names this topic twice";
    struct creation **sorted = calloc(all->count + 1, sizeof(struct creation *));
    if (sorted == NULL)
        return; /* the second one is TOPIC_ALREADY_EXISTS then */
    for (uint32_t i = 0; i < all->count; i++)
        sorted[i] = &all->each[i];
    qsort(sorted, all->count, sizeof(*sorted), by_name);
    for (uint32_t i = 1; i < all->count; i++) {
        if (by_name(&sorted[i - 1], &sorted[i]) != 0)
            continue;
        admin_overrule(&sorted[i - 1]->verdict, KAFKA_INVALID_REQUEST, message);
        admin_overrule(&sorted[i]->verdict, KAFKA_INVALID_REQUEST, message);
    }
    free(sorted);
}

static bool begin_create(struct admin_ask *a, struct wire_cursor *body)
{
    struct create_topics_request in;
    struct create_topics_request_topic t;
    struct creations *all;
    uint32_t items = 0;
    if (!create_topics_request_read(body, a->v, &in) || in.topics.count < 0 || in.topics.count > CREATED_MAX)
        return false;
    a->data = all = make_creations((uint32_t)in.topics.count);
    if (all == NULL)
        return false;
    all->validate_only = in.validate_only;
    admin_set_timeout(a, in.timeout_ms);
    for (uint32_t i = 0; create_topics_request_topic_next(&in.topics, a->v, &t); i++) {
        if (!admin_has_room(&items, t.assignments.count))
            return false;
        read_creation(a->control, &all->each[i], &t, a->v);
    }
    refuse_twins(all);
    for (uint32_t i = 0; i < all->count; i++)
        submit_creation(a, i);
    return true;
}

/* What the topic works with, its own settings and those that it takes from elsewhere. */
static void write_configs(struct admin_ask *a, struct wire_writer *w, const struct creation *n)
{
    struct admin_own own = {n->configs, n->config_count};
    int32_t count = 0;
    for (unsigned i = 0; i < setting_row_count; i++)
        count += setting_rows[i].topic_name != NULL;
    create_topics_response_topic_open_configs(w, a->v, count);
    for (unsigned i = 0; i < setting_row_count && !w->failed; i++) {
        const struct setting_row *r = &setting_rows[i];
        struct admin_origins from;
        if (r->topic_name == NULL)
            continue;
        admin_origins(a->control, r, &own, &from);
        create_topics_response_config_put_name(w, a->v, r->topic_name, admin_text_len(r->topic_name));
        create_topics_response_config_put_value(w, a->v, from.each[0].value, admin_text_len(from.each[0].value));
        create_topics_response_config_put_read_only(w, a->v, false);
        create_topics_response_config_put_config_source(w, a->v, from.each[0].source);
        create_topics_response_config_put_is_sensitive(w, a->v, false);
        create_topics_response_config_end(w, a->v);
    }
}

static void write_created(struct admin_ask *a, struct wire_writer *w, const struct creation *n, bool validate_only)
{
    static const struct tide_uuid none;
    int16_t v = a->v;
    int16_t error = admin_error(a, &n->verdict);
    const char *message = admin_message(a, &n->verdict);
    bool good = error == 0;
    create_topics_response_topic_put_name(w, v, n->name != NULL ? n->name : "", admin_text_len(n->name));
    create_topics_response_topic_put_topic_id(w, v, good && !validate_only ? &n->id : &none);
    create_topics_response_topic_put_error_code(w, v, error);
    create_topics_response_topic_put_error_message(w, v, message, admin_text_len(message));
    create_topics_response_topic_put_num_partitions(w, v, good ? n->partition_count : -1);
    create_topics_response_topic_put_replication_factor(w, v, good ? (int16_t)n->replication_factor : -1);
    if (good && v >= 5)
        write_configs(a, w, n);
    else
        create_topics_response_topic_open_configs(w, v, -1);
    create_topics_response_topic_end(w, v);
}

static void write_create(struct admin_ask *a, struct wire_writer *w)
{
    const struct creations *all = a->data;
    create_topics_response_put_throttle_time_ms(w, a->v, 0);
    create_topics_response_open_topics(w, a->v, (int32_t)all->count);
    for (uint32_t i = 0; i < all->count && !w->failed; i++)
        write_created(a, w, &all->each[i], all->validate_only);
    create_topics_response_end(w, a->v);
}

const struct admin_api admin_create_topics = {KAFKA_API_CREATE_TOPICS, begin_create, on_created, write_create, forget_creations};

/* ---- topics that Metadata creates ------------------------------------------------------------------------ */

static bool begin_metadata(struct admin_ask *a, struct wire_cursor *body)
{
    struct metadata_request in;
    struct metadata_request_topic t;
    struct creations *all;
    uint32_t room;
    if (!metadata_request_read(body, a->v, &in))
        return false;
    room = (uint32_t)TIDE_MIN(TIDE_MAX(in.topics.count, 0), (int32_t)CREATED_MAX);
    a->data = all = make_creations(room);
    if (all == NULL)
        return false;
    all->count = 0;
    while (all->count < room && metadata_request_topic_next(&in.topics, a->v, &t)) {
        char name[TIDE_TOPIC_NAME_MAX + 1];
        if (t.name.null || !admin_topic_name(&t.name, name) || cluster_find_topic(a->control->config.cluster, name) != NULL)
            continue;
        prepare(a->control, &all->each[all->count], name);
        fill_by_itself(a->control, &all->each[all->count++]);
    }
    for (uint32_t i = 0; i < all->count; i++)
        submit_creation(a, i);
    a->changed = true; /* another request may have created them just now: wait for the view */
    return true;
}

const struct admin_api admin_metadata = {KAFKA_API_METADATA, begin_metadata, on_created, NULL, forget_creations};

/* ---- the topic that FindCoordinator creates ----------------------------------------------------------------- */

/* Several brokers may be asked at once, for the first time: whose command comes second is refused, and looks again like the first. */
static bool begin_find_coordinator(struct admin_ask *a, struct wire_cursor *body)
{
    struct creations *all;
    (void)body;
    a->data = all = make_creations(1);
    if (all == NULL)
        return false;
    if (cluster_find_topic(a->control->config.cluster, TIDE_OFFSETS_TOPIC) == NULL) {
        prepare(a->control, &all->each[0], TIDE_OFFSETS_TOPIC);
        fill_by_itself(a->control, &all->each[0]);
        submit_creation(a, 0);
    }
    a->changed = true; /* as with Metadata */
    return true;
}

const struct admin_api admin_find_coordinator = {KAFKA_API_FIND_COORDINATOR, begin_find_coordinator, on_created, NULL, forget_creations};

/* ---- deleting ---------------------------------------------------------------------------------------------- */

struct deletion {
    struct admin_verdict verdict;
    char *name; /* NULL: an id that nobody has */
    struct tide_uuid id;
};

struct deletions {
    uint32_t count;
    struct deletion each[];
};

static void forget_deletions(struct admin_ask *a)
{
    struct deletions *all = a->data;
    for (uint32_t i = 0; all != NULL && i < all->count; i++) {
        free(all->each[i].name);
        admin_verdict_free(&all->each[i].verdict);
    }
}

static void find_by_name(struct control *c, struct deletion *d, const struct wire_bytes *from)
{
    char name[TIDE_TOPIC_NAME_MAX + 1];
    const struct cluster_topic *t = admin_topic_name(from, name) ? cluster_find_topic(c->config.cluster, name) : NULL;
    d->name = strdup(name);
    if (t == NULL)
        admin_refuse(&d->verdict, KAFKA_UNKNOWN_TOPIC_OR_PARTITION, NULL);
    else
        d->id = t->id;
}

static void find_by_id(struct control *c, struct deletion *d, const struct tide_uuid *id)
{
    const struct cluster_topic *t = cluster_find_topic_by_id(c->config.cluster, id);
    d->id = *id;
    if (t == NULL)
        admin_refuse(&d->verdict, KAFKA_UNKNOWN_TOPIC_ID, NULL);
    else
        d->name = strdup(t->name);
}

static void read_deletions(struct admin_ask *a, struct deletions *all, const struct delete_topics_request *in)
{
    struct delete_topics_request_topic t;
    struct wire_list topics = in->topics;
    struct wire_list names = in->topic_names;
    struct wire_bytes text;
    for (uint32_t i = 0; a->v >= 6 && delete_topics_request_topic_next(&topics, a->v, &t); i++) {
        struct deletion *d = &all->each[i];
        bool by_id = !tide_uuid_is_zero(&t.topic_id);
        if (by_id == !t.name.null)
            admin_refuse(&d->verdict, KAFKA_INVALID_REQUEST, "a topic is named by its name or by its id");
        if (by_id)
            find_by_id(a->control, d, &t.topic_id);
        else
            find_by_name(a->control, d, &t.name);
    }
    for (uint32_t i = 0; a->v < 6 && wire_list_next_string(&names, a->v >= 4, &text); i++)
        find_by_name(a->control, &all->each[i], &text);
}

static int by_id(const void *a, const void *b)
{
    const struct deletion *x = *(const struct deletion *const *)a;
    const struct deletion *y = *(const struct deletion *const *)b;
    return memcmp(&x->id, &y->id, sizeof(x->id));
}

/* A topic that comes twice, by name or by id, is not deleted at all. */
static void refuse_doubles(struct deletions *all)
{
    static const char message[] = "the request names this topic twice";
    struct deletion **sorted = calloc(all->count + 1, sizeof(struct deletion *));
    if (sorted == NULL)
        return; /* the second one is unknown then */
    for (uint32_t i = 0; i < all->count; i++)
        sorted[i] = &all->each[i];
    qsort(sorted, all->count, sizeof(*sorted), by_id);
    for (uint32_t i = 1; i < all->count; i++) {
        if (by_id(&sorted[i - 1], &sorted[i]) != 0 || tide_uuid_is_zero(&sorted[i]->id))
            continue;
        admin_overrule(&sorted[i - 1]->verdict, KAFKA_INVALID_REQUEST, message);
        admin_overrule(&sorted[i]->verdict, KAFKA_INVALID_REQUEST, message);
    }
    free(sorted);
}

static bool begin_delete(struct admin_ask *a, struct wire_cursor *body)
{
    struct delete_topics_request in;
    struct deletions *all;
    int32_t count;
    if (!delete_topics_request_read(body, a->v, &in))
        return false;
    count = a->v >= 6 ? in.topics.count : in.topic_names.count;
    if (count < 0 || count > ADMIN_ITEMS_MAX)
        return false;
    a->data = all = calloc(1, sizeof(*all) + (uint32_t)count * sizeof(all->each[0]));
    if (all == NULL)
        return false;
    all->count = (uint32_t)count;
    admin_set_timeout(a, in.timeout_ms);
    read_deletions(a, all, &in);
    refuse_doubles(all);
    for (uint32_t i = 0; i < all->count; i++) {
        struct deletion *d = &all->each[i];
        struct cluster_command m = {.kind = CLUSTER_DELETE_TOPIC, .delete_topic = d->id};
        if (!a->control->config.settings->delete_topic_enable)
            admin_overrule(&d->verdict, a->v < 3 ? KAFKA_INVALID_REQUEST : KAFKA_TOPIC_DELETION_DISABLED, "delete.topic.enable is false");
        if (d->verdict.error == 0)
            admin_submit(a, &m, i, &d->verdict);
    }
    return true;
}

static void on_deleted(struct admin_ask *a, uint32_t index, const struct cluster_result *r)
{
    struct deletions *all = a->data;
    admin_decide(a, &all->each[index].verdict, r, true);
}

static void write_delete(struct admin_ask *a, struct wire_writer *w)
{
    const struct deletions *all = a->data;
    int16_t v = a->v;
    delete_topics_response_put_throttle_time_ms(w, v, 0);
    delete_topics_response_open_responses(w, v, (int32_t)all->count);
    for (uint32_t i = 0; i < all->count && !w->failed; i++) {
        const struct deletion *d = &all->each[i];
        const char *message = admin_message(a, &d->verdict);
        delete_topics_response_response_put_name(w, v, d->name != NULL || v >= 6 ? d->name : "", admin_text_len(d->name));
        delete_topics_response_response_put_topic_id(w, v, &d->id);
        delete_topics_response_response_put_error_code(w, v, admin_error(a, &d->verdict));
        delete_topics_response_response_put_error_message(w, v, message, admin_text_len(message));
        delete_topics_response_response_end(w, v);
    }
    delete_topics_response_end(w, v);
}

const struct admin_api admin_delete_topics = {KAFKA_API_DELETE_TOPICS, begin_delete, on_deleted, write_delete, forget_deletions};
