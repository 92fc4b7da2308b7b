/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/load/proto.h"

#include <string.h>

#include "kafka/header.h"

static const char client_id[] = "tidemark-load";

void proto_begin(struct wire_writer *w, struct rte_mempool *pool, int16_t api, int16_t version, int32_t correlation)
{
    wire_writer_init(w, pool);
    wire_frame_begin(w);
    kafka_request_header_write(w, api, version, correlation, client_id, sizeof(client_id) - 1);
}

/* ---- questions -------------------------------------------------------------------------------------------------- */

void proto_put_api_versions(struct wire_writer *w)
{
    api_versions_request_end(w, 0); /* version 0, which everybody answers, is empty */
}

void proto_put_metadata(struct wire_writer *w, int16_t v, const struct proto_topic *t)
{
    static const struct tide_uuid none;
    metadata_request_open_topics(w, v, 1);
    metadata_request_topic_put_topic_id(w, v, &none);
    metadata_request_topic_put_name(w, v, t->name, t->name_len);
    metadata_request_topic_end(w, v);
    metadata_request_put_allow_auto_topic_creation(w, v, false);
    metadata_request_put_include_cluster_authorized_operations(w, v, false);
    metadata_request_put_include_topic_authorized_operations(w, v, false);
    metadata_request_end(w, v);
}

void proto_put_create_topic(struct wire_writer *w, int16_t v, const struct proto_topic *t, uint32_t partitions, uint32_t replication,
                            const char *const *configs, unsigned config_count)
{
    create_topics_request_open_topics(w, v, 1);
    create_topics_request_topic_put_name(w, v, t->name, t->name_len);
    create_topics_request_topic_put_num_partitions(w, v, (int32_t)partitions);
    create_topics_request_topic_put_replication_factor(w, v, replication != 0 ? (int16_t)replication : v >= 4 ? -1 : 1);
    create_topics_request_topic_open_assignments(w, v, 0);
    create_topics_request_topic_open_configs(w, v, (int32_t)config_count);
    for (unsigned i = 0; i < config_count; i++) {
        const char *value = strchr(configs[i], '=');
        create_topics_request_config_put_name(w, v, configs[i], (uint32_t)(value - configs[i]));
        create_topics_request_config_put_value(w, v, value + 1, (uint32_t)strlen(value + 1));
        create_topics_request_config_end(w, v);
    }
    create_topics_request_topic_end(w, v);
    create_topics_request_put_timeout_ms(w, v, 10000);
    create_topics_request_put_validate_only(w, v, false);
    create_topics_request_end(w, v);
}

void proto_put_init_producer(struct wire_writer *w, int16_t v)
{
    init_producer_id_request_put_transactional_id(w, v, NULL, 0);
    init_producer_id_request_put_transaction_timeout_ms(w, v, 60000);
    init_producer_id_request_put_producer_id(w, v, -1);
    init_producer_id_request_put_producer_epoch(w, v, -1);
    init_producer_id_request_end(w, v);
}

void proto_put_list_offsets(struct wire_writer *w, int16_t v, const struct proto_topic *t, int32_t partition, int64_t timestamp)
{
    list_offsets_request_put_replica_id(w, v, -1);
    list_offsets_request_put_isolation_level(w, v, 0);
    list_offsets_request_open_topics(w, v, 1);
    list_offsets_request_topic_put_name(w, v, t->name, t->name_len);
    list_offsets_request_topic_open_partitions(w, v, 1);
    list_offsets_request_partition_put_partition_index(w, v, partition);
    list_offsets_request_partition_put_current_leader_epoch(w, v, -1);
    list_offsets_request_partition_put_timestamp(w, v, timestamp);
    list_offsets_request_partition_end(w, v);
    list_offsets_request_topic_end(w, v);
    list_offsets_request_end(w, v);
}

void proto_put_produce(struct wire_writer *w, int16_t v, const struct proto_topic *t, int32_t partition, int16_t acks, int32_t timeout_ms, struct tide_rope *batch)
{
    produce_request_put_transactional_id(w, v, NULL, 0);
    produce_request_put_acks(w, v, acks);
    produce_request_put_timeout_ms(w, v, timeout_ms);
    produce_request_open_topic_data(w, v, 1);
    produce_request_topic_data_put_name(w, v, t->name, t->name_len);
    produce_request_topic_data_open_partition_data(w, v, 1);
    produce_request_partition_data_put_index(w, v, partition);
    produce_request_partition_data_put_records(w, v, batch);
    produce_request_partition_data_end(w, v);
    produce_request_topic_data_end(w, v);
    produce_request_end(w, v);
}

void proto_put_fetch(struct wire_writer *w, int16_t v, const struct proto_topic *t, const struct proto_fetch *f)
{
    fetch_request_put_replica_id(w, v, -1);
    fetch_request_put_max_wait_ms(w, v, f->wait_ms);
    fetch_request_put_min_bytes(w, v, f->min_bytes);
    fetch_request_put_max_bytes(w, v, f->max_bytes);
    fetch_request_put_isolation_level(w, v, 0);
    fetch_request_put_session_id(w, v, 0);
    fetch_request_put_session_epoch(w, v, -1); /* no fetch session */
    fetch_request_open_topics(w, v, 1);
    fetch_request_topic_put_topic(w, v, t->name, t->name_len);
    fetch_request_topic_put_topic_id(w, v, &t->id);
    fetch_request_topic_open_partitions(w, v, 1);
    fetch_request_partition_put_partition(w, v, f->partition);
    fetch_request_partition_put_current_leader_epoch(w, v, -1);
    fetch_request_partition_put_fetch_offset(w, v, f->offset);
    fetch_request_partition_put_last_fetched_epoch(w, v, -1);
    fetch_request_partition_put_log_start_offset(w, v, -1);
    fetch_request_partition_put_partition_max_bytes(w, v, f->max_bytes);
    fetch_request_partition_end(w, v);
    fetch_request_topic_end(w, v);
    fetch_request_open_forgotten_topics_data(w, v, 0);
    fetch_request_put_rack_id(w, v, "", 0);
    fetch_request_end(w, v, &(struct fetch_request_tags){0});
}

/* ---- answers ---------------------------------------------------------------------------------------------------- */

bool proto_read_api_versions(struct wire_cursor *c, struct proto_versions *ret)
{
    /* What the codec knows, of what we ask. */
    static const struct { int16_t api, low, high; } ours[] = {
        {KAFKA_API_PRODUCE, 3, 12}, {KAFKA_API_FETCH, 4, 16}, {KAFKA_API_LIST_OFFSETS, 1, 7}, {KAFKA_API_METADATA, 1, 12},
        {KAFKA_API_CREATE_TOPICS, 2, 7}, {KAFKA_API_INIT_PRODUCER_ID, 0, 5}, {KAFKA_API_API_VERSIONS, 0, 0}};
    struct api_versions_response in;
    struct api_versions_response_api_version e;
    if (!api_versions_response_read(c, 0, &in) || in.error_code != 0)
        return false;
    memset(ret, 0xff, sizeof(*ret));
    while (api_versions_response_api_version_next(&in.api_keys, 0, &e))
        for (size_t i = 0; i < TIDE_ARRAY_LEN(ours); i++)
            if (ours[i].api == e.api_key && e.min_version <= ours[i].high && e.max_version >= ours[i].low)
                ret->of[e.api_key] = TIDE_MIN(e.max_version, ours[i].high);
    return true;
}

static void read_partitions(struct wire_list *list, int16_t v, struct proto_metadata *ret)
{
    struct metadata_response_partition p;
    ret->partition_count = (unsigned)TIDE_MAX(list->count, 0);
    for (unsigned i = 0; i < PROTO_PARTITIONS_MAX; i++)
        ret->leaders[i] = -1;
    while (metadata_response_partition_next(list, v, &p))
        if (p.partition_index >= 0 && p.partition_index < PROTO_PARTITIONS_MAX)
            ret->leaders[p.partition_index] = p.leader_id;
}

bool proto_read_metadata(struct wire_cursor *c, int16_t v, const struct proto_topic *topic, struct proto_metadata *ret)
{
    struct metadata_response in;
    struct metadata_response_broker b;
    struct metadata_response_topic t;
    if (!metadata_response_read(c, v, &in))
        return false;
    ret->broker_count = 0;
    while (metadata_response_broker_next(&in.brokers, v, &b) && ret->broker_count < PROTO_BROKERS_MAX) {
        struct proto_broker *to = &ret->brokers[ret->broker_count];
        *to = (struct proto_broker){.id = b.node_id, .port = (uint16_t)b.port};
        if (b.port > 0 && b.port <= UINT16_MAX && wire_bytes_copy(&b.host, to->host, sizeof(to->host)) < sizeof(to->host))
            ret->broker_count++;
    }
    while (metadata_response_topic_next(&in.topics, v, &t)) {
        char name[TIDE_TOPIC_NAME_MAX + 1];
        if (wire_bytes_copy(&t.name, name, sizeof(name)) != topic->name_len || memcmp(name, topic->name, topic->name_len) != 0)
            continue;
        ret->topic_error = t.error_code;
        ret->topic_id = t.topic_id;
        read_partitions(&t.partitions, v, ret);
        return true;
    }
    return false; /* we asked for that topic */
}

bool proto_read_create_topic(struct wire_cursor *c, int16_t v, int16_t *ret_error)
{
    struct create_topics_response in;
    struct create_topics_response_topic t;
    if (!create_topics_response_read(c, v, &in) || !create_topics_response_topic_next(&in.topics, v, &t))
        return false;
    *ret_error = t.error_code;
    return true;
}

bool proto_read_init_producer(struct wire_cursor *c, int16_t v, int16_t *ret_error, int64_t *ret_id, int16_t *ret_epoch)
{
    struct init_producer_id_response in;
    if (!init_producer_id_response_read(c, v, &in))
        return false;
    *ret_error = in.error_code;
    *ret_id = in.producer_id;
    *ret_epoch = in.producer_epoch;
    return true;
}

bool proto_read_list_offsets(struct wire_cursor *c, int16_t v, int16_t *ret_error, int64_t *ret_offset)
{
    struct list_offsets_response in;
    struct list_offsets_response_topic t;
    struct list_offsets_response_partition p;
    if (!list_offsets_response_read(c, v, &in) || !list_offsets_response_topic_next(&in.topics, v, &t) ||
        !list_offsets_response_partition_next(&t.partitions, v, &p))
        return false;
    *ret_error = p.error_code;
    *ret_offset = p.offset;
    return true;
}

bool proto_read_produce(struct wire_cursor *c, int16_t v, int16_t *ret_error)
{
    struct produce_response in;
    struct produce_response_topic_produce_response t;
    struct produce_response_partition_response p;
    if (!produce_response_read(c, v, &in) || !produce_response_topic_produce_response_next(&in.responses, v, &t) ||
        !produce_response_partition_response_next(&t.partition_responses, v, &p))
        return false;
    *ret_error = p.error_code;
    return true;
}

bool proto_read_fetch(struct wire_cursor *c, int16_t v, int16_t *ret_error, struct tide_slice *ret_records)
{
    struct fetch_response in;
    struct fetch_response_fetchable_topic_response t;
    struct fetch_response_partition_data p;
    if (!fetch_response_read(c, v, &in))
        return false;
    *ret_error = in.error_code;
    *ret_records = (struct tide_slice){0};
    if (in.error_code != 0)
        return true;
    if (!fetch_response_fetchable_topic_response_next(&in.responses, v, &t) || !fetch_response_partition_data_next(&t.partitions, v, &p))
        return false;
    *ret_error = p.error_code;
    *ret_records = p.records.at;
    return true;
}
