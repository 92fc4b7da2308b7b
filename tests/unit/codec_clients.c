/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of producers and consumers. */
#include "codec_parts.h"

/* ---- ApiVersions ---------------------------------------------------------------------------------- */

static void write_api_versions(struct wire_writer *w, int16_t v, struct tide_random *r)
{
    PUT_TEXT(api_versions_request_put_client_software_name, false);
    PUT_TEXT(api_versions_request_put_client_software_version, false);
    api_versions_request_end(w, v);
}

static void check_api_versions(struct wire_cursor *c, int16_t v, struct tide_random *r)
{
    struct api_versions_request q;
    assert_true(api_versions_request_read(c, v, &q));
    is_text(&q.client_software_name, r, v >= 3, false);
    is_text(&q.client_software_version, r, v >= 3, false);
}

/* ---- Metadata --------------------------------------------------------------------------------------- */

static void write_metadata(struct wire_writer *w, int16_t v, struct tide_random *r)
{
    int32_t count = draw_count(r, v >= 1);
    metadata_request_open_topics(w, v, count);
    for (int32_t i = 0; i < count; i++) {
        PUT_UUID(metadata_request_topic_put_topic_id);
        PUT_TEXT(metadata_request_topic_put_name, v >= 10);
        metadata_request_topic_end(w, v);
    }
    PUT_BOOL(metadata_request_put_allow_auto_topic_creation);
    PUT_BOOL(metadata_request_put_include_cluster_authorized_operations);
    PUT_BOOL(metadata_request_put_include_topic_authorized_operations);
    metadata_request_end(w, v);
}

static void check_metadata(struct wire_cursor *c, int16_t v, struct tide_random *r)
{
    struct metadata_request q;
    struct metadata_request_topic topic;
    assert_true(metadata_request_read(c, v, &q));
    (void)is_count(&q.topics, r, v >= 1);
    while (metadata_request_topic_next(&q.topics, v, &topic)) {
        is_uuid(&topic.topic_id, r, v >= 10);
        is_text(&topic.name, r, true, v >= 10);
    }
    IS_BOOL(q.allow_auto_topic_creation, v >= 4, true);
    IS_BOOL(q.include_cluster_authorized_operations, v >= 8 && v <= 10, false);
    IS_BOOL(q.include_topic_authorized_operations, v >= 8, false);
}

/* ---- Produce ------------------------------------------------------------------------------------------ */

static void write_produce(struct wire_writer *w, int16_t v, struct tide_random *r)
{
    PUT_TEXT(produce_request_put_transactional_id, true);
    PUT(produce_request_put_acks, int16_t);
    PUT(produce_request_put_timeout_ms, int32_t);
    int32_t topics = draw_count(r, false);
    produce_request_open_topic_data(w, v, topics);
    for (int32_t i = 0; i < topics; i++) {
        PUT_TEXT(produce_request_topic_data_put_name, false);
        int32_t partitions = draw_count(r, false);
        produce_request_topic_data_open_partition_data(w, v, partitions);
        for (int32_t k = 0; k < partitions; k++) {
            PUT(produce_request_partition_data_put_index, int32_t);
            struct text t = draw_text(r, false);
            struct tide_rope records = draw_rope(&t);
            produce_request_partition_data_put_records(w, v, &records);
            produce_request_partition_data_end(w, v);
        }
        produce_request_topic_data_end(w, v);
    }
    produce_request_end(w, v);
}

static void check_produce(struct wire_cursor *c, int16_t v, struct tide_random *r)
{
    struct produce_request q;
    struct produce_request_topic_data topic;
    struct produce_request_partition_data partition;
    assert_true(produce_request_read(c, v, &q));
    is_text(&q.transactional_id, r, true, true);
    IS(q.acks, int16_t, true, 0);
    IS(q.timeout_ms, int32_t, true, 0);
    (void)is_count(&q.topic_data, r, false);
    while (produce_request_topic_data_next(&q.topic_data, v, &topic)) {
        is_text(&topic.name, r, true, false);
        (void)is_count(&topic.partition_data, r, false);
        while (produce_request_partition_data_next(&topic.partition_data, v, &partition)) {
            IS(partition.index, int32_t, true, 0);
            is_text(&partition.records, r, true, false);
        }
    }
}

/* ---- Fetch ---------------------------------------------------------------------------------------------- */

static void write_fetch_partition(struct wire_writer *w, int16_t v, struct tide_random *r)
{
    PUT(fetch_request_partition_put_partition, int32_t);
    PUT(fetch_request_partition_put_current_leader_epoch, int32_t);
    PUT(fetch_request_partition_put_fetch_offset, int64_t);
    PUT(fetch_request_partition_put_last_fetched_epoch, int32_t);
    PUT(fetch_request_partition_put_log_start_offset, int64_t);
    PUT(fetch_request_partition_put_partition_max_bytes, int32_t);
    fetch_request_partition_end(w, v);
}

static void write_fetch_topics(struct wire_writer *w, int16_t v, struct tide_random *r)
{
    int32_t topics = draw_count(r, false);
    fetch_request_open_topics(w, v, topics);
    for (int32_t i = 0; i < topics; i++) {
        PUT_TEXT(fetch_request_topic_put_topic, false);
        PUT_UUID(fetch_request_topic_put_topic_id);
        int32_t partitions = draw_count(r, false);
        fetch_request_topic_open_partitions(w, v, partitions);
        for (int32_t k = 0; k < partitions; k++)
            write_fetch_partition(w, v, r);
        fetch_request_topic_end(w, v);
    }
}

static void write_fetch_forgotten(struct wire_writer *w, int16_t v, struct tide_random *r)
{
    int32_t topics = draw_count(r, false);
    fetch_request_open_forgotten_topics_data(w, v, topics);
    for (int32_t i = 0; i < topics; i++) {
        PUT_TEXT(fetch_request_forgotten_topic_put_topic, false);
        PUT_UUID(fetch_request_forgotten_topic_put_topic_id);
        int32_t partitions = draw_count(r, false);
        fetch_request_forgotten_topic_open_partitions(w, v, partitions);
        put_numbers(w, r, partitions);
        fetch_request_forgotten_topic_end(w, v);
    }
}

static void write_fetch(struct wire_writer *w, int16_t v, struct tide_random *r)
{
    struct fetch_request_tags tags = {.has_replica_state = (tide_random_u64(r) & 1) != 0};
    tags.replica_state.replica_id = (int32_t)tide_random_u64(r);
    tags.replica_state.replica_epoch = (int64_t)tide_random_u64(r);
    PUT(fetch_request_put_replica_id, int32_t);
    PUT(fetch_request_put_max_wait_ms, int32_t);
    PUT(fetch_request_put_min_bytes, int32_t);
    PUT(fetch_request_put_max_bytes, int32_t);
    PUT(fetch_request_put_isolation_level, int8_t);
    PUT(fetch_request_put_session_id, int32_t);
    PUT(fetch_request_put_session_epoch, int32_t);
    write_fetch_topics(w, v, r);
    if (v >= 7)
        write_fetch_forgotten(w, v, r);
    PUT_TEXT(fetch_request_put_rack_id, false);
    fetch_request_end(w, v, &tags);
}

static void check_fetch_topics(struct wire_list *topics, int16_t v, struct tide_random *r)
{
    struct fetch_request_topic topic;
    struct fetch_request_partition p;
    (void)is_count(topics, r, false);
    while (fetch_request_topic_next(topics, v, &topic)) {
        is_text(&topic.topic, r, v <= 12, false);
        is_uuid(&topic.topic_id, r, v >= 13);
        (void)is_count(&topic.partitions, r, false);
        while (fetch_request_partition_next(&topic.partitions, v, &p)) {
            IS(p.partition, int32_t, true, 0);
            IS(p.current_leader_epoch, int32_t, v >= 9, -1);
            IS(p.fetch_offset, int64_t, true, 0);
            IS(p.last_fetched_epoch, int32_t, v >= 12, -1);
            IS(p.log_start_offset, int64_t, v >= 5, -1);
            IS(p.partition_max_bytes, int32_t, true, 0);
        }
    }
}

static void check_fetch_forgotten(struct wire_list *topics, int16_t v, struct tide_random *r)
{
    struct fetch_request_forgotten_topic topic;
    (void)is_count(topics, r, false);
    while (fetch_request_forgotten_topic_next(topics, v, &topic)) {
        is_text(&topic.topic, r, v <= 12, false);
        is_uuid(&topic.topic_id, r, v >= 13);
        (void)is_count(&topic.partitions, r, false);
        are_numbers(&topic.partitions, r);
    }
}

static void check_fetch(struct wire_cursor *c, int16_t v, struct tide_random *r)
{
    struct fetch_request q;
    bool has_state;
    assert_true(fetch_request_read(c, v, &q));
    has_state = (tide_random_u64(r) & 1) != 0 && v >= 15;
    IS(q.replica_state.replica_id, int32_t, has_state, -1);
    IS(q.replica_state.replica_epoch, int64_t, has_state, -1);
    IS(q.replica_id, int32_t, v <= 14, -1);
    IS(q.max_wait_ms, int32_t, true, 0);
    IS(q.min_bytes, int32_t, true, 0);
    IS(q.max_bytes, int32_t, true, 0);
    IS(q.isolation_level, int8_t, true, 0);
    IS(q.session_id, int32_t, v >= 7, 0);
    IS(q.session_epoch, int32_t, v >= 7, -1);
    check_fetch_topics(&q.topics, v, r);
    if (v >= 7)
        check_fetch_forgotten(&q.forgotten_topics_data, v, r);
    else
        assert_int_equal(q.forgotten_topics_data.count, 0);
    is_text(&q.rack_id, r, v >= 11, false);
}

/* ---- ListOffsets ------------------------------------------------------------------------------------------ */

static void write_list_offsets(struct wire_writer *w, int16_t v, struct tide_random *r)
{
    PUT(list_offsets_request_put_replica_id, int32_t);
    PUT(list_offsets_request_put_isolation_level, int8_t);
    int32_t topics = draw_count(r, false);
    list_offsets_request_open_topics(w, v, topics);
    for (int32_t i = 0; i < topics; i++) {
        PUT_TEXT(list_offsets_request_topic_put_name, false);
        int32_t partitions = draw_count(r, false);
        list_offsets_request_topic_open_partitions(w, v, partitions);
        for (int32_t k = 0; k < partitions; k++) {
            PUT(list_offsets_request_partition_put_partition_index, int32_t);
            PUT(list_offsets_request_partition_put_current_leader_epoch, int32_t);
            PUT(list_offsets_request_partition_put_timestamp, int64_t);
            list_offsets_request_partition_end(w, v);
        }
        list_offsets_request_topic_end(w, v);
    }
    list_offsets_request_end(w, v);
}

static void check_list_offsets(struct wire_cursor *c, int16_t v, struct tide_random *r)
{
    struct list_offsets_request q;
    struct list_offsets_request_topic topic;
    struct list_offsets_request_partition p;
    assert_true(list_offsets_request_read(c, v, &q));
    IS(q.replica_id, int32_t, true, 0);
    IS(q.isolation_level, int8_t, v >= 2, 0);
    (void)is_count(&q.topics, r, false);
    while (list_offsets_request_topic_next(&q.topics, v, &topic)) {
        is_text(&topic.name, r, true, false);
        (void)is_count(&topic.partitions, r, false);
        while (list_offsets_request_partition_next(&topic.partitions, v, &p)) {
            IS(p.partition_index, int32_t, true, 0);
            IS(p.current_leader_epoch, int32_t, v >= 4, -1);
            IS(p.timestamp, int64_t, true, 0);
        }
    }
}

/* ---- the small ones --------------------------------------------------------------------------------------------- */

static void write_init_producer_id(struct wire_writer *w, int16_t v, struct tide_random *r)
{
    PUT_TEXT(init_producer_id_request_put_transactional_id, true);
    PUT(init_producer_id_request_put_transaction_timeout_ms, int32_t);
    PUT(init_producer_id_request_put_producer_id, int64_t);
    PUT(init_producer_id_request_put_producer_epoch, int16_t);
    init_producer_id_request_end(w, v);
}

static void check_init_producer_id(struct wire_cursor *c, int16_t v, struct tide_random *r)
{
    struct init_producer_id_request q;
    assert_true(init_producer_id_request_read(c, v, &q));
    is_text(&q.transactional_id, r, true, true);
    IS(q.transaction_timeout_ms, int32_t, true, 0);
    IS(q.producer_id, int64_t, v >= 3, -1);
    IS(q.producer_epoch, int16_t, v >= 3, -1);
}

static void write_offset_for_leader_epoch(struct wire_writer *w, int16_t v, struct tide_random *r)
{
    PUT(offset_for_leader_epoch_request_put_replica_id, int32_t);
    int32_t topics = draw_count(r, false);
    offset_for_leader_epoch_request_open_topics(w, v, topics);
    for (int32_t i = 0; i < topics; i++) {
        PUT_TEXT(offset_for_leader_epoch_request_topic_put_topic, false);
        int32_t partitions = draw_count(r, false);
        offset_for_leader_epoch_request_topic_open_partitions(w, v, partitions);
        for (int32_t k = 0; k < partitions; k++) {
            PUT(offset_for_leader_epoch_request_partition_put_partition, int32_t);
            PUT(offset_for_leader_epoch_request_partition_put_current_leader_epoch, int32_t);
            PUT(offset_for_leader_epoch_request_partition_put_leader_epoch, int32_t);
            offset_for_leader_epoch_request_partition_end(w, v);
        }
        offset_for_leader_epoch_request_topic_end(w, v);
    }
    offset_for_leader_epoch_request_end(w, v);
}

static void check_offset_for_leader_epoch(struct wire_cursor *c, int16_t v, struct tide_random *r)
{
    struct offset_for_leader_epoch_request q;
    struct offset_for_leader_epoch_request_topic topic;
    struct offset_for_leader_epoch_request_partition p;
    assert_true(offset_for_leader_epoch_request_read(c, v, &q));
    IS(q.replica_id, int32_t, v >= 3, -2);
    (void)is_count(&q.topics, r, false);
    while (offset_for_leader_epoch_request_topic_next(&q.topics, v, &topic)) {
        is_text(&topic.topic, r, true, false);
        (void)is_count(&topic.partitions, r, false);
        while (offset_for_leader_epoch_request_partition_next(&topic.partitions, v, &p)) {
            IS(p.partition, int32_t, true, 0);
            IS(p.current_leader_epoch, int32_t, true, -1);
            IS(p.leader_epoch, int32_t, true, 0);
        }
    }
}

static void write_find_coordinator(struct wire_writer *w, int16_t v, struct tide_random *r)
{
    PUT_TEXT(find_coordinator_request_put_key, false);
    PUT(find_coordinator_request_put_key_type, int8_t);
    int32_t count = draw_count(r, false);
    find_coordinator_request_open_coordinator_keys(w, v, count);
    if (v >= 4)
        put_texts(w, r, true, count);
    find_coordinator_request_end(w, v);
}

static void check_find_coordinator(struct wire_cursor *c, int16_t v, struct tide_random *r)
{
    struct find_coordinator_request q;
    assert_true(find_coordinator_request_read(c, v, &q));
    is_text(&q.key, r, v <= 3, false);
    IS(q.key_type, int8_t, v >= 1, 0);
    if (v >= 4)
        (void)is_count(&q.coordinator_keys, r, false);
    else
        assert_int_equal(q.coordinator_keys.count, 0);
    are_texts(&q.coordinator_keys, r, true);
}

/* ---- all of them ---------------------------------------------------------------------------------------------------- */

READ(api_versions)
READ(metadata)
READ(produce)
READ(fetch)
READ(list_offsets)
READ(init_producer_id)
READ(offset_for_leader_epoch)
READ(find_coordinator)

static const struct codec_request requests[] = {
    REQUEST(api_versions, 0, 4),
    REQUEST(metadata, 0, 13),
    REQUEST(produce, 3, 12),
    REQUEST(fetch, 4, 16),
    REQUEST(list_offsets, 1, 7),
    REQUEST(init_producer_id, 0, 5),
    REQUEST(offset_for_leader_epoch, 2, 4),
    REQUEST(find_coordinator, 0, 5),
};
const struct codec_requests codec_clients = {requests, TIDE_ARRAY_LEN(requests)};
