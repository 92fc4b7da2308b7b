/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The generated writers and readers of requests against each other, for every version. A writer
 * and its check draw the same numbers from the same seed. Beside it samples written by hand.
 */
#include "unit.h"

#include "kafka/header.h"
#include "kafka/messages.h"
#include "tidemark/random.h"

enum { TEXT_MAX = 40, LIST_MAX = 4, BYTES_MAX = 8192, ROUNDS = 30 };

static struct rte_mempool *pool;
static struct rte_mempool *exact; /* holds nothing but views */

static int setup(void **state)
{
    unit_eal();
    pool = unit_pool("codec", 4095, 64);
    exact = unit_pool("codec_exact", 4095, 0);
    return 0;
}

static int teardown(void **state)
{
    assert_int_equal(rte_mempool_in_use_count(pool), 0);
    assert_int_equal(rte_mempool_in_use_count(exact), 0);
    return 0;
}

/* ---- what is drawn ------------------------------------------------------------------------------- */

struct text {
    uint32_t len;
    bool null;
    char bytes[TEXT_MAX + 1];
};

static struct text draw_text(struct tide_random *r, bool nullable)
{
    struct text t = {.len = (uint32_t)tide_random_below(r, TEXT_MAX + 1)};
    t.null = tide_random_hits(r, 4) && nullable;
    for (uint32_t i = 0; i < t.len; i++)
        t.bytes[i] = (char)('a' + tide_random_below(r, 26));
    if (t.null)
        t.len = 0;
    return t;
}

static struct tide_uuid draw_uuid(struct tide_random *r)
{
    struct tide_uuid u;
    for (unsigned i = 0; i < sizeof(u.bytes); i++)
        u.bytes[i] = (uint8_t)tide_random_u64(r);
    return u;
}

/* -1: null. */
static int32_t draw_count(struct tide_random *r, bool nullable)
{
    int32_t n = (int32_t)tide_random_below(r, LIST_MAX + 1);
    return tide_random_hits(r, 4) && nullable ? -1 : n;
}

static struct tide_rope rope_of(const struct text *t)
{
    struct tide_rope rope = {0};
    tide_rope_push(&rope, unit_exact_mbuf(exact, t->bytes, (uint16_t)t->len));
    return rope;
}

/* Every writer has w, v and r, every check v and r. */
#define PUT(put, type) put(w, v, (type)tide_random_u64(r))
#define PUT_BOOL(put) put(w, v, (tide_random_u64(r) & 1) != 0)
#define PUT_TEXT(put, nullable)                                                                    \
    do {                                                                                           \
        struct text t_ = draw_text(r, nullable);                                                   \
        put(w, v, t_.null ? NULL : t_.bytes, t_.len);                                              \
    } while (0)
#define PUT_UUID(put)                                                                              \
    do {                                                                                           \
        struct tide_uuid u_ = draw_uuid(r);                                                        \
        put(w, v, &u_);                                                                            \
    } while (0)

/* A field that the version does not have reads as its standard value. */
#define IS(got, type, present, standard)                                                           \
    do {                                                                                           \
        type n_ = (type)tide_random_u64(r);                                                        \
        assert_true((got) == ((present) ? n_ : (type)(standard)));                                 \
    } while (0)
#define IS_BOOL(got, present, standard)                                                            \
    do {                                                                                           \
        bool n_ = (tide_random_u64(r) & 1) != 0;                                                   \
        assert_int_equal(got, (present) ? n_ : (standard));                                        \
    } while (0)

static void is_text(const struct wire_bytes *got, struct tide_random *r, bool present, bool nullable)
{
    struct text want = draw_text(r, nullable);
    char text[TEXT_MAX + 1];
    if (!present) {
        assert_int_equal(got->at.len, 0);
        return;
    }
    assert_int_equal(got->null, want.null);
    assert_int_equal(wire_bytes_copy(got, text, sizeof(text)), want.len);
    assert_memory_equal(text, want.bytes, want.len);
}

static void is_uuid(const struct tide_uuid *got, struct tide_random *r, bool present)
{
    struct tide_uuid want = draw_uuid(r);
    if (!present)
        memset(&want, 0, sizeof(want));
    assert_true(tide_uuid_equal(got, &want));
}

static int32_t is_count(const struct wire_list *got, struct tide_random *r, bool nullable)
{
    int32_t want = draw_count(r, nullable);
    assert_int_equal(got->count, want);
    return want;
}

static void put_texts(struct wire_writer *w, struct tide_random *r, bool flexible, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        struct text t = draw_text(r, false);
        wire_put_string(w, flexible, t.bytes, t.len);
    }
}

static void are_texts(struct wire_list *l, struct tide_random *r, bool flexible)
{
    struct wire_bytes b;
    while (wire_list_next_string(l, flexible, &b))
        is_text(&b, r, true, false);
}

static void put_numbers(struct wire_writer *w, struct tide_random *r, int32_t count)
{
    for (int32_t i = 0; i < count; i++)
        wire_put_i32(w, (int32_t)tide_random_u64(r));
}

static void are_numbers(struct wire_list *l, struct tide_random *r)
{
    int32_t n;
    while (wire_list_next_i32(l, &n))
        IS(n, int32_t, true, 0);
}

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
            struct tide_rope records = rope_of(&t);
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

#define READ(message)                                                                              \
    static bool read_##message(struct wire_cursor *c, int16_t v)                                   \
    {                                                                                              \
        struct message##_request ret;                                                              \
        return message##_request_read(c, v, &ret);                                                 \
    }
READ(api_versions)
READ(metadata)
READ(produce)
READ(fetch)
READ(list_offsets)
READ(create_topics)
READ(delete_topics)
READ(init_producer_id)
READ(offset_for_leader_epoch)
READ(find_coordinator)
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

#define REQUEST(message, low, high) {#message, low, high, write_##message, check_##message, read_##message}
static const struct request {
    const char *name;
    int16_t low, high;
    void (*write)(struct wire_writer *, int16_t v, struct tide_random *);
    void (*check)(struct wire_cursor *, int16_t v, struct tide_random *);
    bool (*read)(struct wire_cursor *, int16_t v);
} requests[] = {
    REQUEST(api_versions, 0, 4),
    REQUEST(metadata, 0, 13),
    REQUEST(produce, 3, 12),
    REQUEST(fetch, 4, 16),
    REQUEST(list_offsets, 1, 7),
    REQUEST(create_topics, 2, 7),
    REQUEST(delete_topics, 1, 6),
    REQUEST(init_producer_id, 0, 5),
    REQUEST(offset_for_leader_epoch, 2, 4),
    REQUEST(find_coordinator, 0, 5),
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

static uint32_t written(const struct request *q, int16_t v, uint64_t seed, uint8_t *bytes)
{
    struct tide_random r = {seed};
    struct wire_writer w;
    wire_writer_init(&w, pool);
    q->write(&w, v, &r);
    uint32_t len = w.out.len;
    assert_false(w.failed);
    assert_true(len < BYTES_MAX);
    tide_slice_copy(tide_rope_slice(&w.out, 0, len), bytes);
    wire_writer_abandon(&w);
    return len;
}

/* Two exact mbufs, cut at `cut`. */
static struct tide_rope halves(const uint8_t *bytes, uint32_t len, uint32_t cut)
{
    struct tide_rope rope = {0};
    tide_rope_push(&rope, unit_exact_mbuf(exact, bytes, (uint16_t)cut));
    tide_rope_push(&rope, unit_exact_mbuf(exact, bytes + cut, (uint16_t)(len - cut)));
    return rope;
}

static bool reads(const struct request *q, int16_t v, const uint8_t *bytes, uint32_t len, uint32_t cut)
{
    struct tide_rope rope = halves(bytes, len, cut);
    struct wire_cursor c;
    wire_cursor_init(&c, tide_rope_slice(&rope, 0, rope.len));
    bool good = q->read(&c, v);
    tide_rope_clear(&rope);
    return good;
}

static void test_there_and_back(void **state)
{
    static uint8_t bytes[BYTES_MAX];
    for (size_t i = 0; i < TIDE_ARRAY_LEN(requests); i++)
        for (int16_t v = requests[i].low; v <= requests[i].high; v++)
            for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
                uint32_t len = written(&requests[i], v, seed, bytes);
                struct tide_random cuts = {seed + 1000};
                struct tide_rope rope = halves(bytes, len, (uint32_t)tide_random_below(&cuts, len + 1));
                struct tide_random r = {seed};
                struct wire_cursor c;
                wire_cursor_init(&c, tide_rope_slice(&rope, 0, rope.len));
                requests[i].check(&c, v, &r);
                assert_true(wire_done(&c));
                tide_rope_clear(&rope);
            }
}

static void test_cut_at_every_byte(void **state)
{
    static uint8_t bytes[BYTES_MAX];
    for (size_t i = 0; i < TIDE_ARRAY_LEN(requests); i++)
        for (int16_t v = requests[i].low; v <= requests[i].high; v++)
            for (uint64_t seed = 1; seed <= 3; seed++) {
                uint32_t len = written(&requests[i], v, seed, bytes);
                for (uint32_t cut = 0; cut < len; cut++)
                    if (reads(&requests[i], v, bytes, cut, cut / 2))
                        fail_msg("%s v%d taken with %u of %u bytes", requests[i].name, v, cut, len);
            }
}

/* Kafka does not look at it, and librdkafka 2.0.2 writes some requests so. */
static void test_one_byte_behind(void **state)
{
    static uint8_t bytes[BYTES_MAX];
    for (size_t i = 0; i < TIDE_ARRAY_LEN(requests); i++)
        for (int16_t v = requests[i].low; v <= requests[i].high; v++) {
            uint32_t len = written(&requests[i], v, 1, bytes);
            bytes[len] = 0;
            assert_true(reads(&requests[i], v, bytes, len, 0));
            if (!reads(&requests[i], v, bytes, len + 1, len / 2))
                fail_msg("%s v%d refused for a byte behind", requests[i].name, v);
        }
}

/* ---- samples written by hand ------------------------------------------------------------------------------------------ */

static void write_sample_api_versions_v0(struct wire_writer *w)
{
    kafka_request_header_write(w, KAFKA_API_API_VERSIONS, 0, 1, "c", 1);
    api_versions_request_end(w, 0);
}

static void write_sample_api_versions_v3(struct wire_writer *w)
{
    kafka_request_header_write(w, KAFKA_API_API_VERSIONS, 3, 2, "c", 1);
    api_versions_request_put_client_software_name(w, 3, "lib", 3);
    api_versions_request_put_client_software_version(w, 3, "1", 1);
    api_versions_request_end(w, 3);
}

static void write_sample_metadata_v1(struct wire_writer *w)
{
    kafka_request_header_write(w, KAFKA_API_METADATA, 1, 3, NULL, 0);
    metadata_request_open_topics(w, 1, 1);
    metadata_request_topic_put_name(w, 1, "t", 1);
    metadata_request_topic_end(w, 1);
    metadata_request_end(w, 1);
}

static void write_sample_produce_v3(struct wire_writer *w)
{
    struct tide_rope records = {0};
    tide_rope_push(&records, unit_exact_mbuf(exact, "\xaa\xbb\xcc", 3));
    kafka_request_header_write(w, KAFKA_API_PRODUCE, 3, 4, "c", 1);
    produce_request_put_transactional_id(w, 3, NULL, 0);
    produce_request_put_acks(w, 3, -1);
    produce_request_put_timeout_ms(w, 3, 1000);
    produce_request_open_topic_data(w, 3, 1);
    produce_request_topic_data_put_name(w, 3, "t", 1);
    produce_request_topic_data_open_partition_data(w, 3, 1);
    produce_request_partition_data_put_index(w, 3, 7);
    produce_request_partition_data_put_records(w, 3, &records);
    produce_request_partition_data_end(w, 3);
    produce_request_topic_data_end(w, 3);
    produce_request_end(w, 3);
}

static void write_sample_produce_response_v3(struct wire_writer *w)
{
    struct produce_response_partition_response_tags tags = {0};
    kafka_response_header_write(w, KAFKA_API_PRODUCE, 3, 4);
    produce_response_open_responses(w, 3, 1);
    produce_response_topic_produce_response_put_name(w, 3, "t", 1);
    produce_response_topic_produce_response_open_partition_responses(w, 3, 1);
    produce_response_partition_response_put_index(w, 3, 7);
    produce_response_partition_response_put_error_code(w, 3, 2);
    produce_response_partition_response_put_base_offset(w, 3, 5);
    produce_response_partition_response_put_log_append_time_ms(w, 3, -1);
    produce_response_partition_response_put_log_start_offset(w, 3, 99); /* since 5 */
    produce_response_partition_response_end(w, 3, &tags);
    produce_response_topic_produce_response_end(w, 3);
    produce_response_put_throttle_time_ms(w, 3, 6);
    produce_response_end(w, 3);
}

static void write_sample_api_versions_response_v3(struct wire_writer *w)
{
    kafka_response_header_write(w, KAFKA_API_API_VERSIONS, 3, 2);
    api_versions_response_put_error_code(w, 3, 0);
    api_versions_response_open_api_keys(w, 3, 1);
    api_versions_response_api_version_put_api_key(w, 3, 18);
    api_versions_response_api_version_put_min_version(w, 3, 0);
    api_versions_response_api_version_put_max_version(w, 3, 4);
    api_versions_response_api_version_end(w, 3);
    api_versions_response_put_throttle_time_ms(w, 3, 0);
    api_versions_response_end(w, 3);
}

static void test_samples_are_written_byte_by_byte(void **state)
{
    static const struct {
        void (*write)(struct wire_writer *);
        const char *hex;
    } samples[] = {
        {write_sample_api_versions_v0, "0012" "0000" "00000001" "000163"},
        {write_sample_api_versions_v3, "0012" "0003" "00000002" "000163" "00" "046c6962" "0231" "00"},
        {write_sample_metadata_v1, "0003" "0001" "00000003" "ffff" "00000001" "000174"},
        {write_sample_produce_v3, "0000" "0003" "00000004" "000163" "ffff" "ffff" "000003e8" "00000001" "000174"
                                  "00000001" "00000007" "00000003" "aabbcc"},
        {write_sample_produce_response_v3, "00000004" "00000001" "000174" "00000001" "00000007" "0002"
                                           "0000000000000005" "ffffffffffffffff" "00000006"},
        /* No tags behind the correlation id (KIP-511). */
        {write_sample_api_versions_response_v3, "00000002" "0000" "02" "0012" "0000" "0004" "00" "00000000" "00"},
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(samples); i++) {
        uint8_t bytes[128];
        char hex[257] = "";
        struct wire_writer w;
        wire_writer_init(&w, pool);
        samples[i].write(&w);
        assert_true(w.out.len <= sizeof(bytes));
        tide_slice_copy(tide_rope_slice(&w.out, 0, w.out.len), bytes);
        for (uint32_t k = 0; k < w.out.len; k++)
            snprintf(hex + 2 * k, 3, "%02x", bytes[k]);
        wire_writer_abandon(&w);
        assert_string_equal(hex, samples[i].hex);
    }
}

static void test_request_headers(void **state)
{
    static const struct {
        int16_t key, version;
        const char *bytes;
        uint32_t len;
        bool good;
    } cases[] = {
        {18, 0, "\x00\x12\x00\x00\x00\x00\x00\x09\x00\x01g", 11, true},
        {18, 3, "\x00\x12\x00\x03\x00\x00\x00\x09\x00\x01g\x00", 12, true},
        {18, 3, "\x00\x12\x00\x03\x00\x00\x00\x09\x00\x01g\x01\x05\x01x", 15, true}, /* an unknown tag */
        {18, 3, "\x00\x12\x00\x03\x00\x00\x00\x09\x00\x01g", 11, false},
        {18, 0, "\x00\x12\x00\x00\x00\x00\x00\x09\x00\x02g", 11, false},
        {18, 0, "\x00\x12\x00\x00\x00\x00\x00\x09\xff\xfeg", 11, false},
        {0, 9, "\x00\x00\x00\x09\x00\x00\x00\x09\x00\x01g\x00", 12, true},
        {0, 8, "\x00\x00\x00\x08\x00\x00\x00\x09\x00\x01g", 11, true},
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++)
        for (uint32_t cut = 0; cut <= cases[i].len; cut++) {
            struct tide_rope rope = halves((const uint8_t *)cases[i].bytes, cases[i].len, cut);
            struct kafka_request_header h;
            struct wire_cursor c;
            char id[2];
            wire_cursor_init(&c, tide_rope_slice(&rope, 0, rope.len));
            assert_int_equal(kafka_request_header_read(&c, &h), cases[i].good);
            assert_int_equal(h.request_api_key, cases[i].key);
            assert_int_equal(h.request_api_version, cases[i].version);
            assert_int_equal(h.correlation_id, 9);
            if (cases[i].good) {
                assert_int_equal(wire_bytes_copy(&h.client_id, id, sizeof(id)), 1);
                assert_string_equal(id, "g");
                assert_true(wire_done(&c));
            }
            tide_rope_clear(&rope);
        }
}

static void test_response_headers_there_and_back(void **state)
{
    for (size_t key = 0; key < 70; key++)
        for (int16_t version = 0; version < 20; version++) {
            struct wire_writer w;
            struct wire_cursor c;
            int32_t id = 0;
            wire_writer_init(&w, pool);
            kafka_response_header_write(&w, (int16_t)key, version, 77);
            if (key == KAFKA_API_API_VERSIONS)
                assert_int_equal(w.out.len, 4);
            wire_cursor_init(&c, tide_rope_slice(&w.out, 0, w.out.len));
            assert_true(kafka_response_header_read(&c, (int16_t)key, version, &id));
            assert_int_equal(id, 77);
            assert_true(wire_done(&c));
            wire_writer_abandon(&w);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_one_byte_behind),
        cmocka_unit_test(test_samples_are_written_byte_by_byte),
        cmocka_unit_test(test_request_headers),
        cmocka_unit_test(test_response_headers_there_and_back),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
