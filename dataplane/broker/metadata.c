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

static void resolve(struct broker *b, const struct metadata_request_topic *t, int16_t version, struct asked *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->name_null = version >= 10 && t->name.null;
    if (ret->name_null) {
        ret->id = t->topic_id;
        ret->topic = tide_view_topic_by_id(b->view, &t->topic_id);
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
    ret->topic = tide_view_topic(b->view, ret->name, ret->name_len);
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
        resolve(b, &t, version, &a);
        if (a.error == KAFKA_UNKNOWN_TOPIC_OR_PARTITION)
            return true;
    }
    return false;
}

static void write_brokers(struct broker *b, struct request *r, struct wire_writer *w)
{
    int16_t v = r->api_version;
    metadata_response_open_brokers(w, v, (int32_t)b->view->broker_count);
    for (uint32_t i = 0; i < b->view->broker_count; i++) {
        const struct view_broker *n = &b->view->brokers[i];
        const struct view_endpoint *e = &n->endpoints[r->session->listener];
        metadata_response_broker_put_node_id(w, v, n->id);
        metadata_response_broker_put_host(w, v, e->host, (uint32_t)strlen(e->host));
        metadata_response_broker_put_port(w, v, e->port);
        metadata_response_broker_put_rack(w, v, n->rack[0] ? n->rack : NULL, (uint32_t)strlen(n->rack));
        metadata_response_broker_end(w, v);
    }
}

static void write_replicas(struct wire_writer *w, const int32_t *ids, uint16_t count)
{
    for (uint16_t i = 0; i < count; i++)
        wire_put_i32(w, ids[i]);
}

static void write_topic(struct wire_writer *w, int16_t v, const struct asked *a)
{
    const struct view_topic *t = a->topic;
    uint32_t count = t != NULL ? t->partition_count : 0;

    metadata_response_topic_put_error_code(w, v, a->error);
    if (t != NULL)
        metadata_response_topic_put_name(w, v, t->name, t->name_len);
    else
        metadata_response_topic_put_name(w, v, a->name_null && v >= 12 ? NULL : a->name, a->name_len);
    metadata_response_topic_put_topic_id(w, v, t != NULL ? &t->id : &a->id);
    metadata_response_topic_put_is_internal(w, v, t != NULL && t->internal);
    metadata_response_topic_open_partitions(w, v, (int32_t)count);
    for (uint32_t i = 0; i < count; i++) {
        const struct view_partition *p = &t->partitions[i];
        metadata_response_partition_put_error_code(w, v, p->leader < 0 ? KAFKA_LEADER_NOT_AVAILABLE : 0);
        metadata_response_partition_put_partition_index(w, v, (int32_t)i);
        metadata_response_partition_put_leader_id(w, v, p->leader);
        metadata_response_partition_put_leader_epoch(w, v, p->leader_epoch);
        metadata_response_partition_open_replica_nodes(w, v, p->replica_count);
        write_replicas(w, p->replicas, p->replica_count);
        metadata_response_partition_open_isr_nodes(w, v, p->isr_count);
        write_replicas(w, p->isr, p->isr_count);
        metadata_response_partition_open_offline_replicas(w, v, 0);
        metadata_response_partition_end(w, v);
    }
    metadata_response_topic_put_topic_authorized_operations(w, v, INT32_MIN);
    metadata_response_topic_end(w, v);
}

static void write_topics(struct broker *b, struct request *r, const struct metadata_request *in, struct wire_writer *w)
{
    int16_t v = r->api_version;
    bool all = v == 0 ? in->topics.count <= 0 : in->topics.count < 0;
    struct asked a;
    if (all) {
        metadata_response_open_topics(w, v, (int32_t)b->view->topic_count);
        for (uint32_t i = 0; i < b->view->topic_count && !w->failed; i++) {
            memset(&a, 0, sizeof(a));
            a.topic = &b->view->topics[i];
            write_topic(w, v, &a);
        }
        return;
    }
    struct wire_list topics = in->topics;
    struct metadata_request_topic t;
    metadata_response_open_topics(w, v, in->topics.count);
    while (metadata_request_topic_next(&topics, v, &t) && !w->failed) {
        resolve(b, &t, v, &a);
        write_topic(w, v, &a);
    }
}

enum tide_status metadata_handle(struct broker *b, struct request *r, struct wire_cursor *body,
                                 const struct tide_slice *frame, struct tide_out *out)
{
    struct metadata_request in;
    struct wire_cursor start = *body;
    struct wire_writer w;
    int16_t v = r->api_version;

    (void)out;
    if (!metadata_request_read(body, v, &in))
        return TIDE_BAD;
    if (!r->ask.rerun && wants_creation(b, &in, v))
        return request_ask(b, r, frame, &start);
    response_begin(b, r, &w);
    metadata_response_put_throttle_time_ms(&w, v, 0);
    write_brokers(b, r, &w);
    metadata_response_put_cluster_id(&w, v, b->view->cluster_id, (uint32_t)strlen(b->view->cluster_id));
    metadata_response_put_controller_id(&w, v, b->view->controller);
    write_topics(b, r, &in, &w);
    metadata_response_put_cluster_authorized_operations(&w, v, INT32_MIN);
    metadata_response_put_error_code(&w, v, 0);
    metadata_response_end(&w, v);
    if (response_end(r, &w) != TIDE_OK)
        return TIDE_FULL;
    request_done(b, r);
    return TIDE_OK;
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
    describe_cluster_response_put_controller_id(&w, v, b->view->controller);
    describe_cluster_response_open_brokers(&w, v, error != 0 ? 0 : (int32_t)b->view->broker_count);
    for (uint32_t i = 0; error == 0 && i < b->view->broker_count; i++) {
        const struct view_broker *n = &b->view->brokers[i];
        const struct view_endpoint *e = &n->endpoints[r->session->listener];
        describe_cluster_response_broker_put_broker_id(&w, v, n->id);
        describe_cluster_response_broker_put_host(&w, v, e->host, (uint32_t)strlen(e->host));
        describe_cluster_response_broker_put_port(&w, v, e->port);
        describe_cluster_response_broker_put_rack(&w, v, n->rack[0] ? n->rack : NULL, (uint32_t)strlen(n->rack));
        describe_cluster_response_broker_end(&w, v);
    }
    describe_cluster_response_put_cluster_authorized_operations(&w, v, INT32_MIN);
    describe_cluster_response_end(&w, v);
    if (response_end(r, &w) != TIDE_OK)
        return TIDE_FULL;
    request_done(b, r);
    return TIDE_OK;
}
