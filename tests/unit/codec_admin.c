/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of administrators, and of tools that look at a cluster. */
#include "codec_parts.h"

/* ---- CreateTopics ------------------------------------------------------------------------------------------- */

static void write_assignments(struct wire_writer *w, int16_t v, struct tide_random *r)
{
    int32_t count = draw_count(r, false);
    create_topics_request_topic_open_assignments(w, v, count);
    for (int32_t k = 0; k < count; k++) {
        PUT(create_topics_request_assignment_put_partition_index, int32_t);
        int32_t ids = draw_count(r, false);
        create_topics_request_assignment_open_broker_ids(w, v, ids);
        put_numbers(w, r, ids);
        create_topics_request_assignment_end(w, v);
    }
}

static void write_configs(struct wire_writer *w, int16_t v, struct tide_random *r)
{
    int32_t count = draw_count(r, false);
    create_topics_request_topic_open_configs(w, v, count);
    for (int32_t k = 0; k < count; k++) {
        PUT_TEXT(create_topics_request_config_put_name, false);
        PUT_TEXT(create_topics_request_config_put_value, true);
        create_topics_request_config_end(w, v);
    }
}

static void write_create_topics(struct wire_writer *w, int16_t v, struct tide_random *r)
{
    int32_t topics = draw_count(r, false);
    create_topics_request_open_topics(w, v, topics);
    for (int32_t i = 0; i < topics; i++) {
        PUT_TEXT(create_topics_request_topic_put_name, false);
        PUT(create_topics_request_topic_put_num_partitions, int32_t);
        PUT(create_topics_request_topic_put_replication_factor, int16_t);
        write_assignments(w, v, r);
        write_configs(w, v, r);
        create_topics_request_topic_end(w, v);
    }
    PUT(create_topics_request_put_timeout_ms, int32_t);
    PUT_BOOL(create_topics_request_put_validate_only);
    create_topics_request_end(w, v);
}

static void check_create_topics(struct wire_cursor *c, int16_t v, struct tide_random *r)
{
    struct create_topics_request q;
    struct create_topics_request_topic topic;
    struct create_topics_request_assignment a;
    struct create_topics_request_config config;
    assert_true(create_topics_request_read(c, v, &q));
    (void)is_count(&q.topics, r, false);
    while (create_topics_request_topic_next(&q.topics, v, &topic)) {
        is_text(&topic.name, r, true, false);
        IS(topic.num_partitions, int32_t, true, 0);
        IS(topic.replication_factor, int16_t, true, 0);
        (void)is_count(&topic.assignments, r, false);
        while (create_topics_request_assignment_next(&topic.assignments, v, &a)) {
            IS(a.partition_index, int32_t, true, 0);
            (void)is_count(&a.broker_ids, r, false);
            are_numbers(&a.broker_ids, r);
        }
        (void)is_count(&topic.configs, r, false);
        while (create_topics_request_config_next(&topic.configs, v, &config)) {
            is_text(&config.name, r, true, false);
            is_text(&config.value, r, true, true);
        }
    }
    IS(q.timeout_ms, int32_t, true, 0);
    IS_BOOL(q.validate_only, true, false);
}

/* ---- DeleteTopics --------------------------------------------------------------------------------------------- */

static void write_delete_topics(struct wire_writer *w, int16_t v, struct tide_random *r)
{
    int32_t count = draw_count(r, false);
    if (v >= 6) {
        delete_topics_request_open_topics(w, v, count);
        for (int32_t i = 0; i < count; i++) {
            PUT_TEXT(delete_topics_request_topic_put_name, true);
            PUT_UUID(delete_topics_request_topic_put_topic_id);
            delete_topics_request_topic_end(w, v);
        }
    } else {
        delete_topics_request_open_topic_names(w, v, count);
        put_texts(w, r, v >= 4, count);
    }
    PUT(delete_topics_request_put_timeout_ms, int32_t);
    delete_topics_request_end(w, v);
}

static void check_delete_topics(struct wire_cursor *c, int16_t v, struct tide_random *r)
{
    struct delete_topics_request q;
    struct delete_topics_request_topic topic;
    assert_true(delete_topics_request_read(c, v, &q));
    (void)is_count(v >= 6 ? &q.topics : &q.topic_names, r, false);
    assert_int_equal(v >= 6 ? q.topic_names.count : q.topics.count, 0);
    while (delete_topics_request_topic_next(&q.topics, v, &topic)) {
        is_text(&topic.name, r, true, true);
        is_uuid(&topic.topic_id, r, true);
    }
    are_texts(&q.topic_names, r, v >= 4);
    IS(q.timeout_ms, int32_t, true, 0);
}

/* ---- the small ones --------------------------------------------------------------------------------------------- */

static void write_describe_configs(struct wire_writer *w, int16_t v, struct tide_random *r)
{
    int32_t count = draw_count(r, false);
    describe_configs_request_open_resources(w, v, count);
    for (int32_t i = 0; i < count; i++) {
        PUT(describe_configs_request_resource_put_resource_type, int8_t);
        PUT_TEXT(describe_configs_request_resource_put_resource_name, false);
        int32_t keys = draw_count(r, true);
        describe_configs_request_resource_open_configuration_keys(w, v, keys);
        put_texts(w, r, v >= 4, keys);
        describe_configs_request_resource_end(w, v);
    }
    PUT_BOOL(describe_configs_request_put_include_synonyms);
    PUT_BOOL(describe_configs_request_put_include_documentation);
    describe_configs_request_end(w, v);
}

static void check_describe_configs(struct wire_cursor *c, int16_t v, struct tide_random *r)
{
    struct describe_configs_request q;
    struct describe_configs_request_resource resource;
    assert_true(describe_configs_request_read(c, v, &q));
    (void)is_count(&q.resources, r, false);
    while (describe_configs_request_resource_next(&q.resources, v, &resource)) {
        IS(resource.resource_type, int8_t, true, 0);
        is_text(&resource.resource_name, r, true, false);
        (void)is_count(&resource.configuration_keys, r, true);
        are_texts(&resource.configuration_keys, r, v >= 4);
    }
    IS_BOOL(q.include_synonyms, true, false);
    IS_BOOL(q.include_documentation, v >= 3, false);
}

static void write_describe_cluster(struct wire_writer *w, int16_t v, struct tide_random *r)
{
    PUT_BOOL(describe_cluster_request_put_include_cluster_authorized_operations);
    PUT(describe_cluster_request_put_endpoint_type, int8_t);
    describe_cluster_request_end(w, v);
}

static void check_describe_cluster(struct wire_cursor *c, int16_t v, struct tide_random *r)
{
    struct describe_cluster_request q;
    assert_true(describe_cluster_request_read(c, v, &q));
    IS_BOOL(q.include_cluster_authorized_operations, true, false);
    IS(q.endpoint_type, int8_t, v >= 1, 1);
}

static void write_alter_configs(struct wire_writer *w, int16_t v, struct tide_random *r)
{
    int32_t count = draw_count(r, false);
    alter_configs_request_open_resources(w, v, count);
    for (int32_t i = 0; i < count; i++) {
        PUT(alter_configs_request_resource_put_resource_type, int8_t);
        PUT_TEXT(alter_configs_request_resource_put_resource_name, false);
        int32_t configs = draw_count(r, false);
        alter_configs_request_resource_open_configs(w, v, configs);
        for (int32_t k = 0; k < configs; k++) {
            PUT_TEXT(alter_configs_request_config_put_name, false);
            PUT_TEXT(alter_configs_request_config_put_value, true);
            alter_configs_request_config_end(w, v);
        }
        alter_configs_request_resource_end(w, v);
    }
    PUT_BOOL(alter_configs_request_put_validate_only);
    alter_configs_request_end(w, v);
}

static void check_alter_configs(struct wire_cursor *c, int16_t v, struct tide_random *r)
{
    struct alter_configs_request q;
    struct alter_configs_request_resource resource;
    struct alter_configs_request_config config;
    assert_true(alter_configs_request_read(c, v, &q));
    (void)is_count(&q.resources, r, false);
    while (alter_configs_request_resource_next(&q.resources, v, &resource)) {
        IS(resource.resource_type, int8_t, true, 0);
        is_text(&resource.resource_name, r, true, false);
        (void)is_count(&resource.configs, r, false);
        while (alter_configs_request_config_next(&resource.configs, v, &config)) {
            is_text(&config.name, r, true, false);
            is_text(&config.value, r, true, true);
        }
    }
    IS_BOOL(q.validate_only, true, false);
}

static void write_incremental_alter_configs(struct wire_writer *w, int16_t v, struct tide_random *r)
{
    int32_t count = draw_count(r, false);
    incremental_alter_configs_request_open_resources(w, v, count);
    for (int32_t i = 0; i < count; i++) {
        PUT(incremental_alter_configs_request_resource_put_resource_type, int8_t);
        PUT_TEXT(incremental_alter_configs_request_resource_put_resource_name, false);
        int32_t configs = draw_count(r, false);
        incremental_alter_configs_request_resource_open_configs(w, v, configs);
        for (int32_t k = 0; k < configs; k++) {
            PUT_TEXT(incremental_alter_configs_request_config_put_name, false);
            PUT(incremental_alter_configs_request_config_put_config_operation, int8_t);
            PUT_TEXT(incremental_alter_configs_request_config_put_value, true);
            incremental_alter_configs_request_config_end(w, v);
        }
        incremental_alter_configs_request_resource_end(w, v);
    }
    PUT_BOOL(incremental_alter_configs_request_put_validate_only);
    incremental_alter_configs_request_end(w, v);
}

static void check_incremental_alter_configs(struct wire_cursor *c, int16_t v, struct tide_random *r)
{
    struct incremental_alter_configs_request q;
    struct incremental_alter_configs_request_resource resource;
    struct incremental_alter_configs_request_config config;
    assert_true(incremental_alter_configs_request_read(c, v, &q));
    (void)is_count(&q.resources, r, false);
    while (incremental_alter_configs_request_resource_next(&q.resources, v, &resource)) {
        IS(resource.resource_type, int8_t, true, 0);
        is_text(&resource.resource_name, r, true, false);
        (void)is_count(&resource.configs, r, false);
        while (incremental_alter_configs_request_config_next(&resource.configs, v, &config)) {
            is_text(&config.name, r, true, false);
            IS(config.config_operation, int8_t, true, 0);
            is_text(&config.value, r, true, true);
        }
    }
    IS_BOOL(q.validate_only, true, false);
}

static void write_create_partitions(struct wire_writer *w, int16_t v, struct tide_random *r)
{
    int32_t count = draw_count(r, false);
    create_partitions_request_open_topics(w, v, count);
    for (int32_t i = 0; i < count; i++) {
        PUT_TEXT(create_partitions_request_topic_put_name, false);
        PUT(create_partitions_request_topic_put_count, int32_t);
        int32_t rows = draw_count(r, true);
        create_partitions_request_topic_open_assignments(w, v, rows);
        for (int32_t k = 0; k < rows; k++) {
            int32_t ids = draw_count(r, false);
            create_partitions_request_assignment_open_broker_ids(w, v, ids);
            put_numbers(w, r, ids);
            create_partitions_request_assignment_end(w, v);
        }
        create_partitions_request_topic_end(w, v);
    }
    PUT(create_partitions_request_put_timeout_ms, int32_t);
    PUT_BOOL(create_partitions_request_put_validate_only);
    create_partitions_request_end(w, v);
}

static void check_create_partitions(struct wire_cursor *c, int16_t v, struct tide_random *r)
{
    struct create_partitions_request q;
    struct create_partitions_request_topic topic;
    struct create_partitions_request_assignment row;
    assert_true(create_partitions_request_read(c, v, &q));
    (void)is_count(&q.topics, r, false);
    while (create_partitions_request_topic_next(&q.topics, v, &topic)) {
        is_text(&topic.name, r, true, false);
        IS(topic.count, int32_t, true, 0);
        (void)is_count(&topic.assignments, r, true);
        while (create_partitions_request_assignment_next(&topic.assignments, v, &row)) {
            (void)is_count(&row.broker_ids, r, false);
            are_numbers(&row.broker_ids, r);
        }
    }
    IS(q.timeout_ms, int32_t, true, 0);
    IS_BOOL(q.validate_only, true, false);
}

static void write_describe_log_dirs(struct wire_writer *w, int16_t v, struct tide_random *r)
{
    int32_t count = draw_count(r, true);
    describe_log_dirs_request_open_topics(w, v, count);
    for (int32_t i = 0; i < count; i++) {
        PUT_TEXT(describe_log_dirs_request_topic_put_topic, false);
        int32_t partitions = draw_count(r, false);
        describe_log_dirs_request_topic_open_partitions(w, v, partitions);
        put_numbers(w, r, partitions);
        describe_log_dirs_request_topic_end(w, v);
    }
    describe_log_dirs_request_end(w, v);
}

static void check_describe_log_dirs(struct wire_cursor *c, int16_t v, struct tide_random *r)
{
    struct describe_log_dirs_request q;
    struct describe_log_dirs_request_topic topic;
    assert_true(describe_log_dirs_request_read(c, v, &q));
    (void)is_count(&q.topics, r, true);
    while (describe_log_dirs_request_topic_next(&q.topics, v, &topic)) {
        is_text(&topic.topic, r, true, false);
        (void)is_count(&topic.partitions, r, false);
        are_numbers(&topic.partitions, r);
    }
}

static void write_elect_leaders(struct wire_writer *w, int16_t v, struct tide_random *r)
{
    PUT(elect_leaders_request_put_election_type, int8_t);
    int32_t count = draw_count(r, true);
    elect_leaders_request_open_topic_partitions(w, v, count);
    for (int32_t i = 0; i < count; i++) {
        PUT_TEXT(elect_leaders_request_topic_partitions_put_topic, false);
        int32_t partitions = draw_count(r, false);
        elect_leaders_request_topic_partitions_open_partitions(w, v, partitions);
        put_numbers(w, r, partitions);
        elect_leaders_request_topic_partitions_end(w, v);
    }
    PUT(elect_leaders_request_put_timeout_ms, int32_t);
    elect_leaders_request_end(w, v);
}

static void check_elect_leaders(struct wire_cursor *c, int16_t v, struct tide_random *r)
{
    struct elect_leaders_request q;
    struct elect_leaders_request_topic_partitions topic;
    assert_true(elect_leaders_request_read(c, v, &q));
    IS(q.election_type, int8_t, v >= 1, 0);
    (void)is_count(&q.topic_partitions, r, true);
    while (elect_leaders_request_topic_partitions_next(&q.topic_partitions, v, &topic)) {
        is_text(&topic.topic, r, true, false);
        (void)is_count(&topic.partitions, r, false);
        are_numbers(&topic.partitions, r);
    }
    IS(q.timeout_ms, int32_t, true, 60000);
}

static void write_alter_partition_reassignments(struct wire_writer *w, int16_t v, struct tide_random *r)
{
    PUT(alter_partition_reassignments_request_put_timeout_ms, int32_t);
    int32_t count = draw_count(r, false);
    alter_partition_reassignments_request_open_topics(w, v, count);
    for (int32_t i = 0; i < count; i++) {
        PUT_TEXT(alter_partition_reassignments_request_topic_put_name, false);
        int32_t partitions = draw_count(r, false);
        alter_partition_reassignments_request_topic_open_partitions(w, v, partitions);
        for (int32_t k = 0; k < partitions; k++) {
            PUT(alter_partition_reassignments_request_partition_put_partition_index, int32_t);
            int32_t ids = draw_count(r, true);
            alter_partition_reassignments_request_partition_open_replicas(w, v, ids);
            put_numbers(w, r, ids);
            alter_partition_reassignments_request_partition_end(w, v);
        }
        alter_partition_reassignments_request_topic_end(w, v);
    }
    alter_partition_reassignments_request_end(w, v);
}

static void check_alter_partition_reassignments(struct wire_cursor *c, int16_t v, struct tide_random *r)
{
    struct alter_partition_reassignments_request q;
    struct alter_partition_reassignments_request_topic topic;
    struct alter_partition_reassignments_request_partition p;
    assert_true(alter_partition_reassignments_request_read(c, v, &q));
    IS(q.timeout_ms, int32_t, true, 60000);
    (void)is_count(&q.topics, r, false);
    while (alter_partition_reassignments_request_topic_next(&q.topics, v, &topic)) {
        is_text(&topic.name, r, true, false);
        (void)is_count(&topic.partitions, r, false);
        while (alter_partition_reassignments_request_partition_next(&topic.partitions, v, &p)) {
            IS(p.partition_index, int32_t, true, 0);
            (void)is_count(&p.replicas, r, true);
            are_numbers(&p.replicas, r);
        }
    }
}

static void write_list_partition_reassignments(struct wire_writer *w, int16_t v, struct tide_random *r)
{
    PUT(list_partition_reassignments_request_put_timeout_ms, int32_t);
    int32_t count = draw_count(r, true);
    list_partition_reassignments_request_open_topics(w, v, count);
    for (int32_t i = 0; i < count; i++) {
        PUT_TEXT(list_partition_reassignments_request_topic_put_name, false);
        int32_t partitions = draw_count(r, false);
        list_partition_reassignments_request_topic_open_partition_indexes(w, v, partitions);
        put_numbers(w, r, partitions);
        list_partition_reassignments_request_topic_end(w, v);
    }
    list_partition_reassignments_request_end(w, v);
}

static void check_list_partition_reassignments(struct wire_cursor *c, int16_t v, struct tide_random *r)
{
    struct list_partition_reassignments_request q;
    struct list_partition_reassignments_request_topic topic;
    assert_true(list_partition_reassignments_request_read(c, v, &q));
    IS(q.timeout_ms, int32_t, true, 60000);
    (void)is_count(&q.topics, r, true);
    while (list_partition_reassignments_request_topic_next(&q.topics, v, &topic)) {
        is_text(&topic.name, r, true, false);
        (void)is_count(&topic.partition_indexes, r, false);
        are_numbers(&topic.partition_indexes, r);
    }
}

static void write_describe_quorum(struct wire_writer *w, int16_t v, struct tide_random *r)
{
    int32_t count = draw_count(r, false);
    describe_quorum_request_open_topics(w, v, count);
    for (int32_t i = 0; i < count; i++) {
        PUT_TEXT(describe_quorum_request_topic_put_topic_name, false);
        int32_t partitions = draw_count(r, false);
        describe_quorum_request_topic_open_partitions(w, v, partitions);
        for (int32_t k = 0; k < partitions; k++) {
            PUT(describe_quorum_request_partition_put_partition_index, int32_t);
            describe_quorum_request_partition_end(w, v);
        }
        describe_quorum_request_topic_end(w, v);
    }
    describe_quorum_request_end(w, v);
}

static void check_describe_quorum(struct wire_cursor *c, int16_t v, struct tide_random *r)
{
    struct describe_quorum_request q;
    struct describe_quorum_request_topic topic;
    struct describe_quorum_request_partition p;
    assert_true(describe_quorum_request_read(c, v, &q));
    (void)is_count(&q.topics, r, false);
    while (describe_quorum_request_topic_next(&q.topics, v, &topic)) {
        is_text(&topic.topic_name, r, true, false);
        (void)is_count(&topic.partitions, r, false);
        while (describe_quorum_request_partition_next(&topic.partitions, v, &p))
            IS(p.partition_index, int32_t, true, 0);
    }
}

static void write_describe_topic_partitions(struct wire_writer *w, int16_t v, struct tide_random *r)
{
    int32_t count = draw_count(r, false);
    bool cursor = tide_random_hits(r, 2);
    describe_topic_partitions_request_open_topics(w, v, count);
    for (int32_t i = 0; i < count; i++) {
        PUT_TEXT(describe_topic_partitions_request_topic_put_name, false);
        describe_topic_partitions_request_topic_end(w, v);
    }
    PUT(describe_topic_partitions_request_put_response_partition_limit, int32_t);
    describe_topic_partitions_request_open_cursor(w, v, cursor);
    if (cursor) {
        PUT_TEXT(describe_topic_partitions_request_cursor_put_topic_name, false);
        PUT(describe_topic_partitions_request_cursor_put_partition_index, int32_t);
        describe_topic_partitions_request_cursor_end(w, v);
    }
    describe_topic_partitions_request_end(w, v);
}

static void check_describe_topic_partitions(struct wire_cursor *c, int16_t v, struct tide_random *r)
{
    struct describe_topic_partitions_request q;
    struct describe_topic_partitions_request_topic topic;
    assert_true(describe_topic_partitions_request_read(c, v, &q));
    (void)is_count(&q.topics, r, false);
    assert_int_equal(q.has_cursor, tide_random_hits(r, 2));
    while (describe_topic_partitions_request_topic_next(&q.topics, v, &topic))
        is_text(&topic.name, r, true, false);
    IS(q.response_partition_limit, int32_t, true, 2000);
    if (!q.has_cursor)
        return;
    is_text(&q.cursor.topic_name, r, true, false);
    IS(q.cursor.partition_index, int32_t, true, 0);
}

static void write_update_features(struct wire_writer *w, int16_t v, struct tide_random *r)
{
    PUT(update_features_request_put_timeout_ms, int32_t);
    int32_t count = draw_count(r, false);
    update_features_request_open_feature_updates(w, v, count);
    for (int32_t i = 0; i < count; i++) {
        PUT_TEXT(update_features_request_feature_update_put_feature, false);
        PUT(update_features_request_feature_update_put_max_version_level, int16_t);
        PUT_BOOL(update_features_request_feature_update_put_allow_downgrade);
        PUT(update_features_request_feature_update_put_upgrade_type, int8_t);
        update_features_request_feature_update_end(w, v);
    }
    PUT_BOOL(update_features_request_put_validate_only);
    update_features_request_end(w, v);
}

static void check_update_features(struct wire_cursor *c, int16_t v, struct tide_random *r)
{
    struct update_features_request q;
    struct update_features_request_feature_update f;
    assert_true(update_features_request_read(c, v, &q));
    IS(q.timeout_ms, int32_t, true, 60000);
    (void)is_count(&q.feature_updates, r, false);
    while (update_features_request_feature_update_next(&q.feature_updates, v, &f)) {
        is_text(&f.feature, r, true, false);
        IS(f.max_version_level, int16_t, true, 0);
        IS_BOOL(f.allow_downgrade, v == 0, false);
        IS(f.upgrade_type, int8_t, v >= 1, 1);
    }
    IS_BOOL(q.validate_only, v >= 1, false);
}

/* ---- all of them ---------------------------------------------------------------------------------------------------- */

READ(create_topics)
READ(delete_topics)
READ(describe_configs)
READ(describe_cluster)
READ(alter_configs)
READ(incremental_alter_configs)
READ(create_partitions)
READ(describe_log_dirs)
READ(elect_leaders)
READ(alter_partition_reassignments)
READ(list_partition_reassignments)
READ(describe_quorum)
READ(describe_topic_partitions)
READ(update_features)

static const struct codec_request requests[] = {
    REQUEST(create_topics, 2, 7),
    REQUEST(delete_topics, 1, 6),
    REQUEST(describe_configs, 1, 4),
    REQUEST(describe_cluster, 0, 1),
    REQUEST(alter_configs, 0, 2),
    REQUEST(incremental_alter_configs, 0, 1),
    REQUEST(create_partitions, 0, 3),
    REQUEST(describe_log_dirs, 1, 4),
    REQUEST(elect_leaders, 0, 2),
    REQUEST(alter_partition_reassignments, 0, 0),
    REQUEST(list_partition_reassignments, 0, 0),
    REQUEST(describe_quorum, 0, 2),
    REQUEST(describe_topic_partitions, 0, 0),
    REQUEST(update_features, 0, 2),
};
const struct codec_requests codec_admin = {requests, TIDE_ARRAY_LEN(requests)};
