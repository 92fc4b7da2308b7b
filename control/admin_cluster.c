/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What concerns the cluster and its brokers: producer ids, the quorum, features, data directories.
 */
#include "control/admin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- producer ids ---------------------------------------------------------------------------------------------- */

struct producer_ask {
    struct admin_verdict verdict;
    int64_t id;
};

static void submit_block(struct admin_ask *a)
{
    struct control *c = a->control;
    struct producer_ask *p = a->data;
    struct cluster_command m = {.kind = CLUSTER_PRODUCER_ID_BLOCK};
    const struct cluster_broker *self = cluster_find_broker(c->config.cluster, c->config.broker_id);
    m.producer_ids.broker = c->config.broker_id;
    m.producer_ids.broker_epoch = self != NULL ? self->epoch : -1;
    m.producer_ids.count = (uint32_t)c->config.settings->producer_id_block_size;
    c->producer_ids_asked = true;
    admin_submit(a, &m, 0, &p->verdict);
}

/* A block is durable before its first id is given out; after a crash the rest of it is skipped.
 * While one is on its way, whoever needs an id queues behind it. */
static void take_producer_id(struct admin_ask *a)
{
    struct control *c = a->control;
    struct producer_ask *p = a->data;
    if (a->state == ASK_ANSWERED)
        return; /* too late for an id */
    if (c->next_producer_id != c->producer_ids_end) {
        p->verdict.undecided = false;
        p->id = (int64_t)c->next_producer_id++;
    } else if (c->producer_ids_asked) {
        p->verdict.undecided = true;
        a->waiting++;
        a->next_waiting = c->producer_waiters;
        c->producer_waiters = a;
    } else {
        submit_block(a);
    }
}

static void refuse_id(struct admin_ask *a, const struct cluster_result *r)
{
    struct producer_ask *p = a->data;
    p->verdict.undecided = false;
    /* Whatever keeps us from a block may pass: the clients come again. */
    admin_refuse(&p->verdict, KAFKA_COORDINATOR_NOT_AVAILABLE, r->message);
}

static void on_producer_ids(struct admin_ask *a, uint32_t index, const struct cluster_result *r)
{
    struct control *c = a->control;
    struct admin_ask *waiter = c->producer_waiters;
    (void)index;
    c->producer_waiters = NULL;
    c->producer_ids_asked = false;
    if (r->error == 0) {
        c->next_producer_id = (uint64_t)r->first_producer_id;
        c->producer_ids_end = c->next_producer_id + (uint64_t)c->config.settings->producer_id_block_size;
        take_producer_id(a);
    } else {
        refuse_id(a, r);
    }
    while (waiter != NULL) {
        struct admin_ask *next = waiter->next_waiting;
        waiter->next_waiting = NULL;
        if (r->error == 0)
            take_producer_id(waiter);
        else
            refuse_id(waiter, r);
        admin_came_back(waiter);
        waiter = next;
    }
}

static bool begin_init_producer_id(struct admin_ask *a, struct wire_cursor *body)
{
    struct init_producer_id_request in;
    struct producer_ask *p;
    if (!init_producer_id_request_read(body, a->v, &in))
        return false;
    a->data = p = calloc(1, sizeof(*p));
    if (p == NULL)
        return false;
    p->id = -1;
    if (!in.transactional_id.null) /* transactions are not served */
        admin_refuse(&p->verdict, in.transactional_id.at.len == 0 ? KAFKA_INVALID_REQUEST : KAFKA_COORDINATOR_NOT_AVAILABLE, NULL);
    else if (a->v >= 3 && (in.producer_id == -1) != (in.producer_epoch == -1))
        admin_refuse(&p->verdict, KAFKA_INVALID_REQUEST, NULL);
    else
        take_producer_id(a);
    return true;
}

static void write_init_producer_id(struct admin_ask *a, struct wire_writer *w)
{
    const struct producer_ask *p = a->data;
    int16_t error = admin_error(a, &p->verdict);
    init_producer_id_response_put_throttle_time_ms(w, a->v, 0);
    init_producer_id_response_put_error_code(w, a->v, error);
    init_producer_id_response_put_producer_id(w, a->v, error != 0 ? -1 : p->id);
    init_producer_id_response_put_producer_epoch(w, a->v, error != 0 ? -1 : 0);
    init_producer_id_response_end(w, a->v);
}

static void forget_init_producer_id(struct admin_ask *a)
{
    struct producer_ask *p = a->data;
    if (p != NULL)
        admin_verdict_free(&p->verdict);
}

const struct admin_api admin_init_producer_id = {KAFKA_API_INIT_PRODUCER_ID, begin_init_producer_id, on_producer_ids,
                                                 write_init_producer_id, forget_init_producer_id};

/* ---- answers that must not be older than the question -------------------------------------------------------- */

/* They wait for a command that was proposed after the request came (control-plane 7.2). */
bool admin_begin_fresh(struct admin_ask *a)
{
    struct cluster_command m = {.kind = CLUSTER_NO_OP};
    struct admin_verdict *d = calloc(1, sizeof(*d));
    a->data = d;
    if (d != NULL)
        admin_submit(a, &m, 0, d);
    return d != NULL;
}

void admin_on_fresh(struct admin_ask *a, uint32_t index, const struct cluster_result *r)
{
    (void)index;
    admin_decide(a, a->data, r, false);
}

void admin_forget_fresh(struct admin_ask *a)
{
    if (a->data != NULL)
        admin_verdict_free(a->data);
}

/* ---- DescribeQuorum --------------------------------------------------------------------------------------------- */

static bool begin_quorum(struct admin_ask *a, struct wire_cursor *body)
{
    struct describe_quorum_request in;
    struct describe_quorum_request_topic t;
    uint32_t items = 0;
    if (!describe_quorum_request_read(body, a->v, &in))
        return false;
    while (describe_quorum_request_topic_next(&in.topics, a->v, &t))
        if (!admin_has_room(&items, t.partitions.count))
            return false;
    return admin_begin_fresh(a);
}

static void write_member(struct wire_writer *w, int16_t v, const struct control_quorum_member *m)
{
    static const struct tide_uuid none;
    describe_quorum_response_replica_state_put_replica_id(w, v, m->node);
    describe_quorum_response_replica_state_put_replica_directory_id(w, v, &none);
    describe_quorum_response_replica_state_put_log_end_offset(w, v, m->log_end);
    describe_quorum_response_replica_state_put_last_fetch_timestamp(w, v, m->last_fetch_ms);
    describe_quorum_response_replica_state_put_last_caught_up_timestamp(w, v, m->last_caught_up_ms);
    describe_quorum_response_replica_state_end(w, v);
}

static void write_quorum_partition(struct wire_writer *w, int16_t v, int32_t index, int16_t error, const struct control_quorum *q)
{
    bool good = error == 0;
    describe_quorum_response_partition_put_partition_index(w, v, index);
    describe_quorum_response_partition_put_error_code(w, v, error);
    describe_quorum_response_partition_put_error_message(w, v, NULL, 0);
    describe_quorum_response_partition_put_leader_id(w, v, good ? q->leader : -1);
    describe_quorum_response_partition_put_leader_epoch(w, v, good ? q->epoch : -1);
    describe_quorum_response_partition_put_high_watermark(w, v, good ? q->high_watermark : -1);
    describe_quorum_response_partition_open_current_voters(w, v, good ? (int32_t)q->voter_count : 0);
    for (uint32_t i = 0; good && i < q->voter_count; i++)
        write_member(w, v, &q->voters[i]);
    describe_quorum_response_partition_open_observers(w, v, good ? (int32_t)q->observer_count : 0);
    for (uint32_t i = 0; good && i < q->observer_count; i++)
        write_member(w, v, &q->observers[i]);
    describe_quorum_response_partition_end(w, v);
}

/* The metadata log goes by the name of Kafka's, of which there is partition 0. */
static void write_quorum_topics(struct admin_ask *a, struct wire_writer *w, const struct control_quorum *q)
{
    struct describe_quorum_request in;
    struct describe_quorum_request_topic t;
    struct describe_quorum_request_partition p;
    struct wire_cursor body;
    wire_cursor_init(&body, a->mail->ask.body);
    TIDE_ASSERT(describe_quorum_request_read(&body, a->v, &in));
    describe_quorum_response_open_topics(w, a->v, in.topics.count);
    while (describe_quorum_request_topic_next(&in.topics, a->v, &t) && !w->failed) {
        char name[TIDE_TOPIC_NAME_MAX + 1];
        bool ours = admin_topic_name(&t.topic_name, name) && strcmp(name, "__cluster_metadata") == 0;
        describe_quorum_response_topic_put_topic_name_slice(w, a->v, &t.topic_name);
        describe_quorum_response_topic_open_partitions(w, a->v, t.partitions.count);
        while (describe_quorum_request_partition_next(&t.partitions, a->v, &p) && !w->failed)
            write_quorum_partition(w, a->v, p.partition_index, ours && p.partition_index == 0 ? 0 : KAFKA_UNKNOWN_TOPIC_OR_PARTITION, q);
        describe_quorum_response_topic_end(w, a->v);
    }
}

static void write_quorum(struct admin_ask *a, struct wire_writer *w)
{
    const struct admin_verdict *d = a->data;
    struct control_quorum q;
    int16_t v = a->v;
    int16_t error = admin_error(a, d);
    const char *message = admin_message(a, d);
    control_quorum(a->control, &q);
    describe_quorum_response_put_error_code(w, v, error);
    describe_quorum_response_put_error_message(w, v, message, admin_text_len(message));
    if (error != 0)
        describe_quorum_response_open_topics(w, v, 0);
    else
        write_quorum_topics(a, w, &q);
    describe_quorum_response_open_nodes(w, v, error != 0 ? 0 : (int32_t)q.voter_count);
    for (uint32_t i = 0; v >= 2 && error == 0 && i < q.voter_count; i++) {
        describe_quorum_response_node_put_node_id(w, v, q.voters[i].node);
        describe_quorum_response_node_open_listeners(w, v, 0); /* the management network is none of the clients' */
        describe_quorum_response_node_end(w, v);
    }
    describe_quorum_response_end(w, v);
}

const struct admin_api admin_describe_quorum = {KAFKA_API_DESCRIBE_QUORUM, begin_quorum, admin_on_fresh, write_quorum, admin_forget_fresh};

/* ---- UpdateFeatures --------------------------------------------------------------------------------------------- */

static void read_feature(struct cluster_command *m, struct admin_verdict *d, const struct update_features_request_feature_update *f, int16_t v)
{
    struct cluster_feature_update *to = &m->update_features.updates[m->update_features.count];
    if (m->update_features.count == CLUSTER_FEATURES_MAX || f->feature.at.len >= sizeof(to->name)) {
        admin_refuse(d, KAFKA_INVALID_REQUEST, "too many features, or a name that is too long");
        return;
    }
    (void)wire_bytes_copy(&f->feature, to->name, sizeof(to->name));
    to->level = f->max_version_level;
    to->type = (uint8_t)f->upgrade_type;
    if (v == 0)
        to->type = f->allow_downgrade ? CLUSTER_DOWNGRADE_SAFE : CLUSTER_UPGRADE;
    if (v != 0 && (f->upgrade_type < CLUSTER_UPGRADE || f->upgrade_type > CLUSTER_DOWNGRADE_UNSAFE))
        admin_refuse(d, KAFKA_INVALID_REQUEST, "types of an update are 1 (upgrade), 2 (safe downgrade) and 3 (unsafe downgrade)");
    for (uint32_t i = 0; i < m->update_features.count; i++)
        if (strcmp(m->update_features.updates[i].name, to->name) == 0)
            admin_refuse(d, KAFKA_INVALID_REQUEST, "the request names a feature twice");
    m->update_features.count++;
}

static bool begin_features(struct admin_ask *a, struct wire_cursor *body)
{
    struct update_features_request in;
    struct update_features_request_feature_update f;
    struct cluster_command m = {.kind = CLUSTER_UPDATE_FEATURES};
    struct admin_verdict *d;
    if (!update_features_request_read(body, a->v, &in))
        return false;
    a->data = d = calloc(1, sizeof(*d));
    if (d == NULL)
        return false;
    admin_set_timeout(a, in.timeout_ms);
    m.update_features.validate_only = in.validate_only;
    while (d->error == 0 && update_features_request_feature_update_next(&in.feature_updates, a->v, &f))
        read_feature(&m, d, &f, a->v);
    if (d->error == 0 && m.update_features.count == 0)
        admin_refuse(d, KAFKA_INVALID_REQUEST, "there is no feature in the request");
    if (d->error == 0)
        admin_submit(a, &m, in.validate_only, d);
    return true;
}

static void on_features(struct admin_ask *a, uint32_t validate_only, const struct cluster_result *r)
{
    admin_decide(a, a->data, r, validate_only == 0);
}

/* All together or none: versions that have a list of results say the same of each. */
static void write_features(struct admin_ask *a, struct wire_writer *w)
{
    const struct admin_verdict *d = a->data;
    struct update_features_request in;
    struct update_features_request_feature_update f;
    struct wire_cursor body;
    int16_t v = a->v;
    int16_t error = admin_error(a, d);
    const char *message = admin_message(a, d);
    wire_cursor_init(&body, a->mail->ask.body);
    TIDE_ASSERT(update_features_request_read(&body, v, &in));
    update_features_response_put_throttle_time_ms(w, v, 0);
    update_features_response_put_error_code(w, v, error);
    update_features_response_put_error_message(w, v, message, admin_text_len(message));
    update_features_response_open_results(w, v, in.feature_updates.count);
    while (v <= 1 && update_features_request_feature_update_next(&in.feature_updates, v, &f) && !w->failed) {
        update_features_response_result_put_feature_slice(w, v, &f.feature);
        update_features_response_result_put_error_code(w, v, error);
        update_features_response_result_put_error_message(w, v, message, admin_text_len(message));
        update_features_response_result_end(w, v);
    }
    update_features_response_end(w, v);
}

const struct admin_api admin_update_features = {KAFKA_API_UPDATE_FEATURES, begin_features, on_features, write_features, admin_forget_fresh};

/* ---- DescribeLogDirs -------------------------------------------------------------------------------------------- */

static bool begin_log_dirs(struct admin_ask *a, struct wire_cursor *body)
{
    struct describe_log_dirs_request in;
    struct describe_log_dirs_request_topic t;
    uint32_t items = 0;
    if (!describe_log_dirs_request_read(body, a->v, &in))
        return false;
    while (describe_log_dirs_request_topic_next(&in.topics, a->v, &t))
        if (!admin_has_room(&items, t.partitions.count))
            return false;
    return true;
}

/* The replicas that are told, in order of directory, topic and partition. */
struct held {
    struct replica **each;
    uint32_t count;
};

static int by_place(const void *a, const void *b)
{
    const struct replica *x = *(struct replica *const *)a;
    const struct replica *y = *(struct replica *const *)b;
    int names = strcmp(x->topic, y->topic);
    if (x->log_dir != y->log_dir)
        return x->log_dir < y->log_dir ? -1 : 1;
    return names != 0 ? names : x->index < y->index ? -1 : x->index > y->index;
}

/* Replicas on their way in or out have no size. */
static struct replica *serving(const struct control *c, const char *topic, int32_t index)
{
    const struct cluster_topic *t = cluster_find_topic(c->config.cluster, topic);
    struct replica *r = t != NULL ? replicas_find(c, &t->id, index) : NULL;
    return r != NULL && r->state == REPLICA_SERVING ? r : NULL;
}

static void hold_asked(struct control *c, struct held *h, struct wire_list topics, int16_t v)
{
    struct describe_log_dirs_request_topic t;
    char name[TIDE_TOPIC_NAME_MAX + 1];
    int32_t index;
    while (describe_log_dirs_request_topic_next(&topics, v, &t)) {
        bool named = admin_topic_name(&t.topic, name);
        while (wire_list_next_i32(&t.partitions, &index)) {
            struct replica *r = named && h->count < TIDE_PARTITIONS_MAX ? serving(c, name, index) : NULL;
            if (r != NULL)
                h->each[h->count++] = r;
        }
    }
}

static void hold_all(struct control *c, struct held *h)
{
    for (uint32_t i = 0; i < TIDE_PARTITIONS_MAX; i++)
        if (c->replicas[i] != NULL && c->replicas[i]->state == REPLICA_SERVING)
            h->each[h->count++] = c->replicas[i];
}

static void sort_held(struct held *h)
{
    uint32_t n = 0;
    qsort(h->each, h->count, sizeof(struct replica *), by_place);
    for (uint32_t i = 0; i < h->count; i++) /* once, however often it was asked for */
        if (i == 0 || h->each[i] != h->each[n - 1])
            h->each[n++] = h->each[i];
    h->count = n;
}

static void write_held_topic(struct control *c, struct wire_writer *w, int16_t v, const struct held *h, uint32_t begin, uint32_t end)
{
    describe_log_dirs_response_topic_put_name(w, v, h->each[begin]->topic, admin_text_len(h->each[begin]->topic));
    describe_log_dirs_response_topic_open_partitions(w, v, (int32_t)(end - begin));
    for (uint32_t i = begin; i < end && !w->failed; i++) {
        int64_t bytes, lag;
        c->config.data.measure(h->each[i]->partition, &bytes, &lag);
        describe_log_dirs_response_partition_put_partition_index(w, v, h->each[i]->index);
        describe_log_dirs_response_partition_put_partition_size(w, v, bytes);
        describe_log_dirs_response_partition_put_offset_lag(w, v, lag);
        describe_log_dirs_response_partition_put_is_future_key(w, v, false);
        describe_log_dirs_response_partition_end(w, v);
    }
    describe_log_dirs_response_topic_end(w, v);
}

static uint32_t topic_end(const struct held *h, uint32_t i)
{
    uint32_t end = i + 1;
    while (end < h->count && h->each[end]->log_dir == h->each[i]->log_dir && strcmp(h->each[end]->topic, h->each[i]->topic) == 0)
        end++;
    return end;
}

static void write_log_dir(struct control *c, struct wire_writer *w, int16_t v, const struct held *h, uint32_t dir, uint32_t *at)
{
    const char *path = dirs_path(c->config.dirs, dir);
    int64_t total = -1, usable = -1;
    int32_t topics = 0;
    bool offline = c->directories[dir].offline;
    if (offline) /* as Kafka: nothing is said of what lives there */
        while (*at < h->count && h->each[*at]->log_dir == dir)
            ++*at;
    for (uint32_t i = *at; i < h->count && h->each[i]->log_dir == dir; i = topic_end(h, i))
        topics++;
    if (!offline)
        dirs_space(c->config.dirs, dir, &total, &usable);
    describe_log_dirs_response_result_put_error_code(w, v, offline ? KAFKA_KAFKA_STORAGE_ERROR : 0);
    describe_log_dirs_response_result_put_log_dir(w, v, path, admin_text_len(path));
    describe_log_dirs_response_result_open_topics(w, v, topics);
    for (; *at < h->count && h->each[*at]->log_dir == dir && !w->failed; *at = topic_end(h, *at))
        write_held_topic(c, w, v, h, *at, topic_end(h, *at));
    describe_log_dirs_response_result_put_total_bytes(w, v, total);
    describe_log_dirs_response_result_put_usable_bytes(w, v, usable);
    describe_log_dirs_response_result_end(w, v);
}

static void write_log_dirs(struct admin_ask *a, struct wire_writer *w)
{
    struct control *c = a->control;
    const struct tide_settings *s = c->config.settings;
    struct describe_log_dirs_request in;
    struct held h = {.each = calloc(TIDE_PARTITIONS_MAX, sizeof(struct replica *))};
    struct wire_cursor body;
    uint32_t at = 0;
    int16_t v = a->v;
    if (h.each == NULL) {
        w->failed = true; /* no memory: the client comes again */
        return;
    }
    wire_cursor_init(&body, a->mail->ask.body);
    TIDE_ASSERT(describe_log_dirs_request_read(&body, v, &in));
    if (in.topics.count < 0)
        hold_all(c, &h);
    else
        hold_asked(c, &h, in.topics, v);
    sort_held(&h);
    describe_log_dirs_response_put_throttle_time_ms(w, v, 0);
    describe_log_dirs_response_put_error_code(w, v, 0);
    describe_log_dirs_response_open_results(w, v, (int32_t)(s->log_dir_count - (s->metadata_only ? 1 : 0)));
    for (uint32_t i = 0; i < s->log_dir_count && !w->failed; i++)
        if (!s->metadata_only || i != s->metadata_log_dir_index)
            write_log_dir(c, w, v, &h, i, &at);
    describe_log_dirs_response_end(w, v);
    free(h.each);
}

const struct admin_api admin_describe_log_dirs = {KAFKA_API_DESCRIBE_LOG_DIRS, begin_log_dirs, NULL, write_log_dirs, NULL};
