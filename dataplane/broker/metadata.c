/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metadata and DescribeCluster: the view, as this listener's clients may see it.
 *
 * Unknown topics are created first when the request and the broker allow it: the request goes to
 * control, and runs again when every core has the new view.
 */
#include "broker/internal.h"

static bool name_is_legal(const char *name, uint32_t len)
{
    if (len == 0 || len > TIDE_TOPIC_NAME_MAX || (len == 1 && name[0] == '.') ||
        (len == 2 && name[0] == '.' && name[1] == '.'))
        return false;
    for (uint32_t i = 0; i < len; i++) {
        char c = name[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '.' || c == '_' || c == '-'))
            return false;
    }
    return true;
}

/* Operations that somebody may do who may do all, as bits of their numbers: read 3, write 4, create 5, delete 6, alter 7,
 * describe 8, cluster action 9, describe configs 10, alter configs 11, idempotent write 12. */
enum {
    TOPIC_OPERATIONS = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11,
    CLUSTER_OPERATIONS = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12,
};

/* What is said of one asked topic. */
struct asked {
    const struct view_topic *topic;
    int16_t error;
    bool has_id;
    struct tide_uuid id;
    uint32_t name_len;
    bool name_null;
    char name[TIDE_TOPIC_NAME_MAX + 1];
};

static void resolve(const struct tide_view *view, const struct metadata_request_topic *t, int16_t version, struct asked *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->name_null = version >= 10 && t->name.null;
    ret->id = t->topic_id;
    if ((version == 10 || version == 11) && (ret->name_null || !tide_uuid_is_zero(&t->topic_id))) {
        ret->error = KAFKA_INVALID_REQUEST; /* ids in requests begin with version 12 */
        return;
    }
    if (ret->name_null) {
        ret->topic = tide_view_topic_by_id(view, &t->topic_id);
        ret->error = ret->topic == NULL ? KAFKA_UNKNOWN_TOPIC_ID : 0;
        return;
    }
    ret->name_len = t->name.at.len;
    if (ret->name_len > TIDE_TOPIC_NAME_MAX) {
        ret->name_len = TIDE_TOPIC_NAME_MAX; /* the echo of a name that cannot exist is cut */
        ret->error = KAFKA_INVALID_TOPIC_EXCEPTION;
    }
    tide_slice_copy((struct tide_slice){t->name.at.m, t->name.at.off, ret->name_len}, ret->name);
    if (ret->error == 0 && !name_is_legal(ret->name, ret->name_len))
        ret->error = KAFKA_INVALID_TOPIC_EXCEPTION;
    if (ret->error != 0)
        return;
    ret->topic = tide_view_topic(view, ret->name, ret->name_len);
    ret->error = ret->topic == NULL ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION : 0;
}

/* Is there a topic to be created before the answer? */
static bool wants_creation(struct broker *b, const struct metadata_request *in, int16_t version)
{
    struct wire_list topics = in->topics;
    struct metadata_request_topic t;
    struct asked a;
    if (!b->settings->auto_create_topics_enable || (version >= 4 && !in->allow_auto_topic_creation))
        return false;
    while (metadata_request_topic_next(&topics, version, &t)) {
        resolve(b->view, &t, version, &a);
        if (a.error == KAFKA_UNKNOWN_TOPIC_OR_PARTITION)
            return true;
    }
    return false;
}

/* Brokers that are fenced, or lack the listener, are nothing to a client. */
static uint32_t reachable_count(const struct tide_view *view, uint32_t listener)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < view->broker_count; i++)
        n += tide_view_reaches(view, view->brokers[i].id, listener);
    return n;
}

struct answer {
    const struct tide_view *view;
    uint32_t listener;
    int16_t v;
    bool topic_operations;
    struct wire_writer *w;
};

static void write_brokers(const struct answer *a)
{
    int16_t v = a->v;
    metadata_response_open_brokers(a->w, v, (int32_t)reachable_count(a->view, a->listener));
    for (uint32_t i = 0; i < a->view->broker_count; i++) {
        const struct view_broker *n = &a->view->brokers[i];
        const struct view_endpoint *e = &n->endpoints[a->listener];
        if (!tide_view_reaches(a->view, n->id, a->listener))
            continue;
        metadata_response_broker_put_node_id(a->w, v, n->id);
        metadata_response_broker_put_host(a->w, v, e->host, (uint32_t)strlen(e->host));
        metadata_response_broker_put_port(a->w, v, e->port);
        metadata_response_broker_put_rack(a->w, v, n->rack[0] ? n->rack : NULL, (uint32_t)strlen(n->rack));
        metadata_response_broker_end(a->w, v);
    }
}

/* Version 0 has no list of offline replicas: they are left out of the others. */
static uint16_t listed_count(const struct answer *a, const int32_t *ids, uint16_t count, bool offline)
{
    uint16_t n = 0;
    for (uint16_t i = 0; i < count; i++)
        n += tide_view_reaches(a->view, ids[i], a->listener) != offline;
    return n;
}

static void write_ids(const struct answer *a, const int32_t *ids, uint16_t count)
{
    for (uint16_t i = 0; i < count; i++)
        if (a->v != 0 || tide_view_reaches(a->view, ids[i], a->listener))
            wire_put_i32(a->w, ids[i]);
}

static void write_offline(const struct answer *a, const int32_t *ids, uint16_t count)
{
    metadata_response_partition_open_offline_replicas(a->w, a->v, listed_count(a, ids, count, true));
    for (uint16_t i = 0; a->v >= 5 && i < count; i++)
        if (!tide_view_reaches(a->view, ids[i], a->listener))
            wire_put_i32(a->w, ids[i]);
}

static int16_t partition_error(const struct answer *a, const struct view_partition *p)
{
    const struct view_broker *leader = p->leader >= 0 ? tide_view_broker(a->view, p->leader) : NULL;
    if (leader == NULL || leader->fenced)
        return KAFKA_LEADER_NOT_AVAILABLE;
    if (leader->endpoints[a->listener].port == 0)
        return a->v >= 6 ? KAFKA_LISTENER_NOT_FOUND : KAFKA_LEADER_NOT_AVAILABLE;
    if (a->v == 0 && listed_count(a, p->replicas, p->replica_count, true) != 0)
        return KAFKA_REPLICA_NOT_AVAILABLE;
    return 0;
}

static void write_partition(const struct answer *a, const struct view_partition *p, int32_t index)
{
    struct wire_writer *w = a->w;
    int16_t v = a->v;
    int16_t error = partition_error(a, p);
    bool all = v != 0;
    metadata_response_partition_put_error_code(w, v, error);
    metadata_response_partition_put_partition_index(w, v, index);
    metadata_response_partition_put_leader_id(w, v, error == 0 || error == KAFKA_REPLICA_NOT_AVAILABLE ? p->leader : -1);
    metadata_response_partition_put_leader_epoch(w, v, p->leader_epoch);
    metadata_response_partition_open_replica_nodes(w, v, all ? p->replica_count : listed_count(a, p->replicas, p->replica_count, false));
    write_ids(a, p->replicas, p->replica_count);
    metadata_response_partition_open_isr_nodes(w, v, all ? p->isr_count : listed_count(a, p->isr, p->isr_count, false));
    write_ids(a, p->isr, p->isr_count);
    write_offline(a, p->replicas, p->replica_count);
    metadata_response_partition_end(w, v);
}

static void write_topic(const struct answer *a, const struct asked *q)
{
    const struct view_topic *t = q->topic;
    struct wire_writer *w = a->w;
    int16_t v = a->v;
    uint32_t count = t != NULL ? t->partition_count : 0;

    if (w->out.len > response_bytes_max(w->pool)) /* one topic named over and over */
        w->failed = true;
    metadata_response_topic_put_error_code(w, v, q->error);
    if (t != NULL)
        metadata_response_topic_put_name(w, v, t->name, t->name_len);
    else
        metadata_response_topic_put_name(w, v, q->name_null && v >= 12 ? NULL : q->name, q->name_len);
    metadata_response_topic_put_topic_id(w, v, t != NULL ? &t->id : &q->id);
    metadata_response_topic_put_is_internal(w, v, t != NULL && t->internal);
    metadata_response_topic_open_partitions(w, v, (int32_t)count);
    for (uint32_t i = 0; i < count && !w->failed; i++)
        write_partition(a, &t->partitions[i], (int32_t)i);
    metadata_response_topic_put_topic_authorized_operations(w, v, a->topic_operations && t != NULL ? TOPIC_OPERATIONS : INT32_MIN);
    metadata_response_topic_end(w, v);
}

static void write_topics(const struct answer *a, const struct metadata_request *in)
{
    bool all = a->v == 0 ? in->topics.count <= 0 : in->topics.count < 0;
    struct wire_list topics = in->topics;
    struct metadata_request_topic t;
    struct asked q;
    if (all) {
        metadata_response_open_topics(a->w, a->v, (int32_t)a->view->topic_count);
        for (uint32_t i = 0; i < a->view->topic_count && !a->w->failed; i++) {
            memset(&q, 0, sizeof(q));
            q.topic = &a->view->topics[i];
            write_topic(a, &q);
        }
        return;
    }
    metadata_response_open_topics(a->w, a->v, in->topics.count);
    while (metadata_request_topic_next(&topics, a->v, &t) && !a->w->failed) {
        resolve(a->view, &t, a->v, &q);
        write_topic(a, &q);
    }
}

/* Where admin requests are to go: any broker takes them and asks the controller. The controller itself, if the answer names it; a client that
 * is told of one that it does not know waits for it, and asks nobody else meanwhile (librdkafka, 15 s). -1: nobody knows who it is. */
static int32_t controller_for(const struct tide_view *v, uint32_t listener)
{
    if (v->controller < 0 || tide_view_reaches(v, v->controller, listener))
        return v->controller;
    if (tide_view_reaches(v, v->self, listener))
        return v->self;
    for (uint32_t i = 0; i < v->broker_count; i++)
        if (tide_view_reaches(v, v->brokers[i].id, listener))
            return v->brokers[i].id;
    return -1;
}

void metadata_write(const struct tide_view *view, uint32_t listener, int16_t v, const struct metadata_request *in, struct wire_writer *w)
{
    struct answer a = {.view = view, .listener = listener, .v = v, .topic_operations = in->include_topic_authorized_operations, .w = w};
    metadata_response_put_throttle_time_ms(w, v, 0);
    write_brokers(&a);
    metadata_response_put_cluster_id(w, v, view->cluster_id, (uint32_t)strlen(view->cluster_id));
    metadata_response_put_controller_id(w, v, controller_for(view, listener));
    write_topics(&a, in);
    metadata_response_put_cluster_authorized_operations(w, v, in->include_cluster_authorized_operations ? CLUSTER_OPERATIONS : INT32_MIN);
    metadata_response_put_error_code(w, v, 0);
    metadata_response_end(w, v);
}

enum tide_status metadata_handle(struct broker *b, struct request *r, struct wire_cursor *body,
                                 const struct tide_slice *frame, struct tide_out *out)
{
    struct metadata_request in;
    struct wire_cursor start = *body;
    struct wire_writer w;
    enum tide_status status;
    int16_t v = r->api_version;

    (void)out;
    if (!metadata_request_read(body, v, &in) || in.topics.count > REQUEST_PARTITIONS_MAX)
        return TIDE_BAD;
    if (!r->ask.rerun && wants_creation(b, &in, v))
        return request_ask(b, r, frame, &start);
    response_begin(b, r, &w);
    metadata_write(b->view, r->session->listener, v, &in, &w);
    status = response_end(r, &w);
    if (status == TIDE_OK)
        request_done(b, r);
    return status;
}

enum tide_status describe_cluster_handle(struct broker *b, struct request *r, struct wire_cursor *body,
                                         const struct tide_slice *frame, struct tide_out *out)
{
    enum { ENDPOINT_BROKERS = 1 };
    struct describe_cluster_request in;
    struct wire_writer w;
    int16_t v = r->api_version;
    int16_t error = 0;

    (void)frame;
    (void)out;
    if (!describe_cluster_request_read(body, v, &in))
        return TIDE_BAD;
    if (v >= 1 && in.endpoint_type != ENDPOINT_BROKERS)
        error = in.endpoint_type == 2 ? KAFKA_MISMATCHED_ENDPOINT_TYPE : KAFKA_UNSUPPORTED_ENDPOINT_TYPE;
    response_begin(b, r, &w);
    describe_cluster_response_put_throttle_time_ms(&w, v, 0);
    describe_cluster_response_put_error_code(&w, v, error);
    describe_cluster_response_put_error_message(&w, v, NULL, 0);
    describe_cluster_response_put_endpoint_type(&w, v, ENDPOINT_BROKERS);
    describe_cluster_response_put_cluster_id(&w, v, b->view->cluster_id, (uint32_t)strlen(b->view->cluster_id));
    describe_cluster_response_put_controller_id(&w, v, controller_for(b->view, r->session->listener));
    describe_cluster_response_open_brokers(&w, v, error != 0 ? 0 : (int32_t)reachable_count(b->view, r->session->listener));
    for (uint32_t i = 0; error == 0 && i < b->view->broker_count; i++) {
        const struct view_broker *n = &b->view->brokers[i];
        const struct view_endpoint *e = &n->endpoints[r->session->listener];
        if (!tide_view_reaches(b->view, n->id, r->session->listener))
            continue;
        describe_cluster_response_broker_put_broker_id(&w, v, n->id);
        describe_cluster_response_broker_put_host(&w, v, e->host, (uint32_t)strlen(e->host));
        describe_cluster_response_broker_put_port(&w, v, e->port);
        describe_cluster_response_broker_put_rack(&w, v, n->rack[0] ? n->rack : NULL, (uint32_t)strlen(n->rack));
        describe_cluster_response_broker_end(&w, v);
    }
    describe_cluster_response_put_cluster_authorized_operations(&w, v, in.include_cluster_authorized_operations ? CLUSTER_OPERATIONS : INT32_MIN);
    describe_cluster_response_end(&w, v);
    if (response_end(r, &w) != TIDE_OK)
        return TIDE_FULL;
    request_done(b, r);
    return TIDE_OK;
}
