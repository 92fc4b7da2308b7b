/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Metadata says of a cluster of which not everything is well: brokers that are fenced, gone or
 * lack the client's listener, and partitions that they lead or host.
 */
#include "unit.h"

#include "broker/internal.h"

enum { INSIDE, OUTSIDE, LISTENERS };
enum { TOPIC_OPERATIONS = 3576, CLUSTER_OPERATIONS = 8096 };

static struct rte_mempool *pool;
static const int32_t of_123[] = {1, 2, 3};
static const int32_t of_14[] = {1, 4};
static const int32_t of_1[] = {1};
static const int32_t of_7[] = {7};

static struct world {
    struct view_broker brokers[4];
    struct view_partition partitions[5];
    struct view_topic topic;
    struct tide_view view;
    uint32_t by_name[16], by_id[16];
} world;

/* 1 is well, 2 is fenced, 3 has only the inner listener, 4 is well; 7 is not registered. */
static void build(void)
{
    struct world *w = &world;
    memset(w, 0, sizeof(*w));
    for (int32_t i = 0; i < 4; i++) {
        w->brokers[i] = (struct view_broker){.id = i + 1, .fenced = i == 1, .endpoints = {{.port = 9092}, {.port = i == 2 ? 0 : 9093}}};
        snprintf(w->brokers[i].endpoints[INSIDE].host, VIEW_HOST_MAX, "in%d", i + 1);
        snprintf(w->brokers[i].endpoints[OUTSIDE].host, VIEW_HOST_MAX, "out%d", i + 1);
    }
    snprintf(w->brokers[0].rack, sizeof(w->brokers[0].rack), "r1");
    w->partitions[0] = (struct view_partition){.leader = 1, .leader_epoch = 5, .replicas = of_123, .replica_count = 3, .isr = of_1, .isr_count = 1};
    w->partitions[1] = (struct view_partition){.leader = -1, .leader_epoch = 6, .replicas = of_7, .replica_count = 1, .isr = of_7, .isr_count = 1};
    w->partitions[2] = (struct view_partition){.leader = 2, .leader_epoch = 7, .replicas = of_123, .replica_count = 3, .isr = of_123, .isr_count = 3};
    w->partitions[3] = (struct view_partition){.leader = 3, .leader_epoch = 8, .replicas = of_123, .replica_count = 3, .isr = of_1, .isr_count = 1};
    w->partitions[4] = (struct view_partition){.leader = 4, .leader_epoch = 9, .replicas = of_14, .replica_count = 2, .isr = of_14, .isr_count = 2};
    w->topic = (struct view_topic){.id = {{9}}, .name = "t", .name_len = 1, .partition_count = 5, .partitions = w->partitions};
    w->view = (struct tide_view){.cluster_id = "abcdefghijklmnopqrstuv", .self = 1, .controller = 4, .broker_count = 4, .brokers = w->brokers,
                                 .topic_count = 1, .topics = &w->topic, .hash_mask = 15, .by_name = w->by_name, .by_id = w->by_id};
    tide_view_index(&w->topic, 1, 16, w->by_name, w->by_id);
}

static struct wire_writer answer;

static void ask(int16_t v, uint32_t listener, const struct metadata_request *q, struct metadata_response *ret)
{
    struct wire_cursor c;
    wire_writer_init(&answer, pool);
    metadata_write(&world.view, listener, v, q, &answer);
    assert_false(answer.failed);
    wire_cursor_init(&c, tide_rope_slice(&answer.out, 0, answer.out.len));
    assert_true(metadata_response_read(&c, v, ret));
}

static void ask_all(int16_t v, uint32_t listener, struct metadata_response *ret)
{
    struct metadata_request q = {.topics = {.count = v == 0 ? 0 : -1}};
    ask(v, listener, &q, ret);
}

static void is_list(struct wire_list l, const char *want)
{
    char got[64] = "";
    int32_t id;
    while (wire_list_next_i32(&l, &id))
        snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%d", got[0] ? "," : "", id);
    assert_string_equal(got, want);
}

static void test_brokers_that_can_be_reached(void **state)
{
    struct metadata_response m;
    struct metadata_response_broker b;
    char host[16];
    build();
    ask_all(13, INSIDE, &m);
    assert_int_equal(m.brokers.count, 3);
    assert_int_equal(m.controller_id, 4);
    assert_true(metadata_response_broker_next(&m.brokers, 13, &b));
    assert_int_equal(b.node_id, 1);
    assert_int_equal(wire_bytes_copy(&b.rack, host, sizeof(host)), 2);
    assert_true(metadata_response_broker_next(&m.brokers, 13, &b));
    assert_int_equal(b.node_id, 3);
    assert_true(b.rack.null);
    (void)wire_bytes_copy(&b.host, host, sizeof(host));
    assert_string_equal(host, "in3");
    wire_writer_abandon(&answer);
    ask_all(13, OUTSIDE, &m);
    assert_int_equal(m.brokers.count, 2);
    assert_true(metadata_response_broker_next(&m.brokers, 13, &b));
    assert_true(metadata_response_broker_next(&m.brokers, 13, &b));
    assert_int_equal(b.node_id, 4);
    assert_int_equal(b.port, 9093);
    wire_writer_abandon(&answer);
}

static int32_t told_controller(int32_t self, int32_t controller, uint32_t listener)
{
    struct metadata_response m;
    world.view.self = self;
    world.view.controller = controller;
    ask_all(13, listener, &m);
    wire_writer_abandon(&answer);
    return m.controller_id;
}

static void test_a_controller_that_the_client_can_reach(void **state)
{
    build();
    assert_int_equal(told_controller(1, 4, INSIDE), 4);
    assert_int_equal(told_controller(1, 3, INSIDE), 3);
    assert_int_equal(told_controller(4, 3, OUTSIDE), 4); /* it has not that listener: the one that is asked passes it on */
    assert_int_equal(told_controller(4, 2, INSIDE), 4);  /* it is fenced */
    assert_int_equal(told_controller(4, 7, INSIDE), 4);  /* it is not registered */
    assert_int_equal(told_controller(2, 2, INSIDE), 1);
    assert_int_equal(told_controller(1, -1, INSIDE), -1);
    for (uint32_t i = 0; i < 4; i++)
        world.brokers[i].fenced = true;
    assert_int_equal(told_controller(1, 1, INSIDE), -1);
}

static const struct row {
    int16_t v;
    uint32_t listener;
    int partition;
    int16_t error;
    int32_t leader;
    const char *replicas, *isr, *offline;
} rows[] = {
    {13, INSIDE, 0, 0, 1, "1,2,3", "1", "2"},
    {13, OUTSIDE, 0, 0, 1, "1,2,3", "1", "2,3"},
    {5, OUTSIDE, 0, 0, 1, "1,2,3", "1", "2,3"},
    {4, OUTSIDE, 0, 0, 1, "1,2,3", "1", ""},
    {0, INSIDE, 0, KAFKA_REPLICA_NOT_AVAILABLE, 1, "1,3", "1", ""},
    {0, INSIDE, 4, 0, 4, "1,4", "1,4", ""},
    {13, INSIDE, 1, KAFKA_LEADER_NOT_AVAILABLE, -1, "7", "7", "7"},
    {13, INSIDE, 2, KAFKA_LEADER_NOT_AVAILABLE, -1, "1,2,3", "1,2,3", "2"},
    {0, INSIDE, 2, KAFKA_LEADER_NOT_AVAILABLE, -1, "1,3", "1,3", ""},
    {13, INSIDE, 3, 0, 3, "1,2,3", "1", "2"},
    {13, OUTSIDE, 3, KAFKA_LISTENER_NOT_FOUND, -1, "1,2,3", "1", "2,3"},
    {6, OUTSIDE, 3, KAFKA_LISTENER_NOT_FOUND, -1, "1,2,3", "1", "2,3"},
    {5, OUTSIDE, 3, KAFKA_LEADER_NOT_AVAILABLE, -1, "1,2,3", "1", "2,3"},
    {13, OUTSIDE, 4, 0, 4, "1,4", "1,4", ""},
};

static void test_partitions(void **state)
{
    build();
    for (size_t i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        const struct row *r = &rows[i];
        struct metadata_response m;
        struct metadata_response_topic t;
        struct metadata_response_partition p;
        ask_all(r->v, r->listener, &m);
        assert_true(metadata_response_topic_next(&m.topics, r->v, &t));
        for (int k = 0; k <= r->partition; k++)
            assert_true(metadata_response_partition_next(&t.partitions, r->v, &p));
        if (p.error_code != r->error || p.leader_id != r->leader)
            fail_msg("row %zu: error %d, leader %d", i, p.error_code, p.leader_id);
        assert_int_equal(p.leader_epoch, r->v >= 7 ? 5 + r->partition : -1);
        is_list(p.replica_nodes, r->replicas);
        is_list(p.isr_nodes, r->isr);
        is_list(p.offline_replicas, r->offline);
        wire_writer_abandon(&answer);
    }
}

/* A request with one topic, by name or by id. */
static int16_t ask_one(int16_t v, const char *name, const struct tide_uuid *id, bool *ret_name_null)
{
    struct wire_writer w;
    struct wire_cursor c;
    struct metadata_request q;
    struct metadata_response m;
    struct metadata_response_topic t;
    wire_writer_init(&w, pool);
    metadata_request_open_topics(&w, v, 1);
    metadata_request_topic_put_topic_id(&w, v, id);
    metadata_request_topic_put_name(&w, v, name, name != NULL ? (uint32_t)strlen(name) : 0);
    metadata_request_topic_end(&w, v);
    metadata_request_put_allow_auto_topic_creation(&w, v, false);
    metadata_request_put_include_cluster_authorized_operations(&w, v, true);
    metadata_request_put_include_topic_authorized_operations(&w, v, true);
    metadata_request_end(&w, v);
    wire_cursor_init(&c, tide_rope_slice(&w.out, 0, w.out.len));
    assert_true(metadata_request_read(&c, v, &q));
    ask(v, INSIDE, &q, &m);
    assert_int_equal(m.topics.count, 1);
    assert_true(metadata_response_topic_next(&m.topics, v, &t));
    *ret_name_null = t.name.null;
    assert_int_equal(t.topic_authorized_operations, v >= 8 && t.error_code == 0 ? TOPIC_OPERATIONS : INT32_MIN);
    assert_int_equal(m.cluster_authorized_operations, v >= 8 && v <= 10 ? CLUSTER_OPERATIONS : INT32_MIN);
    wire_writer_abandon(&answer);
    wire_writer_abandon(&w);
    return t.error_code;
}

static void test_names_and_ids(void **state)
{
    static const struct tide_uuid none, other = {{8}}, ours = {{9}};
    char long_name[251];
    bool null;
    build();
    memset(long_name, 'a', 250);
    long_name[250] = 0;
    for (int16_t v = 1; v <= 13; v++) {
        assert_int_equal(ask_one(v, "t", &none, &null), 0);
        assert_int_equal(ask_one(v, "u", &none, &null), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
        assert_int_equal(ask_one(v, "..", &none, &null), KAFKA_INVALID_TOPIC_EXCEPTION);
        assert_int_equal(ask_one(v, "", &none, &null), KAFKA_INVALID_TOPIC_EXCEPTION);
        assert_int_equal(ask_one(v, "a/b", &none, &null), KAFKA_INVALID_TOPIC_EXCEPTION);
        assert_int_equal(ask_one(v, long_name, &none, &null), KAFKA_INVALID_TOPIC_EXCEPTION);
    }
    assert_int_equal(ask_one(12, NULL, &ours, &null), 0);
    assert_false(null);
    assert_int_equal(ask_one(12, NULL, &other, &null), KAFKA_UNKNOWN_TOPIC_ID);
    assert_true(null);
    assert_int_equal(ask_one(10, NULL, &ours, &null), KAFKA_INVALID_REQUEST);
    assert_int_equal(ask_one(11, "t", &ours, &null), KAFKA_INVALID_REQUEST);
}

/* ApiVersions ends with the features. */
static void test_features(void **state)
{
    static const struct view_feature features[] = {{"may.be.off", 0, 1, 0}, {"always.on", 3, 5, 4}, {"is.on.too", 0, 2, 1}};
    build();
    world.view.features = features;
    world.view.feature_count = 3;
    world.view.cluster_index = 77;
    for (int16_t v = 3; v <= 4; v++) {
        struct api_versions_response in;
        struct api_versions_response_supported_feature_key f;
        struct api_versions_response_finalized_feature_key g;
        struct wire_cursor c;
        char name[32];
        wire_writer_init(&answer, pool);
        api_versions_response_put_error_code(&answer, v, 0);
        api_versions_response_open_api_keys(&answer, v, 0);
        api_versions_response_put_throttle_time_ms(&answer, v, 0);
        api_versions_put_features(&answer, &world.view, v);
        wire_cursor_init(&c, tide_rope_slice(&answer.out, 0, answer.out.len));
        assert_true(api_versions_response_read(&c, v, &in));
        assert_int_equal(in.finalized_features_epoch, 77);
        assert_int_equal(in.supported_features.count, v == 3 ? 1 : 3);
        if (v == 4)
            assert_true(api_versions_response_supported_feature_key_next(&in.supported_features, v, &f));
        assert_true(api_versions_response_supported_feature_key_next(&in.supported_features, v, &f));
        (void)wire_bytes_copy(&f.name, name, sizeof(name));
        assert_string_equal(name, "always.on");
        assert_int_equal(f.min_version, 3);
        assert_int_equal(f.max_version, 5);
        assert_int_equal(in.finalized_features.count, 2);
        assert_true(api_versions_response_finalized_feature_key_next(&in.finalized_features, v, &g));
        assert_int_equal(g.max_version_level, 4);
        wire_writer_abandon(&answer);
    }
    wire_writer_init(&answer, pool);
    api_versions_put_features(&answer, &world.view, 2);
    assert_int_equal(answer.out.len, 0);
    wire_writer_abandon(&answer);
}

static void test_pool_is_whole_again(void **state)
{
    assert_int_equal(rte_mempool_in_use_count(pool), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_brokers_that_can_be_reached),
        cmocka_unit_test(test_a_controller_that_the_client_can_reach),
        cmocka_unit_test(test_partitions),
        cmocka_unit_test(test_names_and_ids),
        cmocka_unit_test(test_features),
        cmocka_unit_test(test_pool_is_whole_again),
    };
    unit_eal();
    pool = unit_pool("metadata", 1023, 2048);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
