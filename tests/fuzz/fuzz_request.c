/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a request: its header, then the reader of its API and version, then every list.
 *
 * An input is two bytes that say where the rest is cut in two, and the rest. Both halves are
 * exactly sized heap blocks. What is behind a message that is taken is not looked at; its lists can be
 * gone through without a failure.
 */
#include "../unit/unit.h"

#include "kafka/header.h"
#include "kafka/messages.h"
#include "tidemark/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { POOL = 63, REQUEST_MAX = 65535 };

static struct rte_mempool *pool;

static void use_text(const struct wire_bytes *b)
{
    char text[64];
    TIDE_ASSERT(!b->null || b->at.len == 0);
    TIDE_ASSERT(wire_bytes_copy(b, text, sizeof(text)) == b->at.len);
}

static void use_bytes(const struct wire_bytes *b)
{
    uint8_t *copy = malloc(b->at.len != 0 ? b->at.len : 1);
    TIDE_ASSERT(copy != NULL);
    tide_slice_copy(b->at, copy);
    free(copy);
}

/* Runs `body` for each element; afterwards the list is at its end without a failure. */
#define EACH(list, next, item, body)                                                               \
    do {                                                                                           \
        while (next(list, v, item)) {                                                              \
            body;                                                                                  \
        }                                                                                          \
        TIDE_ASSERT((list)->count <= 0 && !(list)->at.failed);                                     \
    } while (0)

static void use_texts(struct wire_list *l, bool flexible)
{
    struct wire_bytes b;
    while (wire_list_next_string(l, flexible, &b))
        use_text(&b);
    TIDE_ASSERT(!l->at.failed);
}

static void use_numbers(struct wire_list *l)
{
    int32_t n;
    while (wire_list_next_i32(l, &n))
        ;
    TIDE_ASSERT(!l->at.failed);
}

static bool is_same(const struct wire_bytes *a, const struct wire_bytes *b)
{
    return a->null == b->null && a->at.m == b->at.m && a->at.off == b->at.off && a->at.len == b->at.len;
}

/* In one pass, as the broker reads it: the same as what `whole` has, when that is not NULL. */
static bool produce_in_one_pass(struct wire_cursor *c, int16_t v, const struct produce_request *whole)
{
    struct produce_request q;
    struct produce_request_topic_data t, topic;
    struct produce_request_partition_data p, partition;
    struct wire_list topics = whole != NULL ? whole->topic_data : (struct wire_list){0};
    produce_request_enter(c, v, &q);
    if (whole != NULL)
        TIDE_ASSERT(is_same(&q.transactional_id, &whole->transactional_id) && q.acks == whole->acks && q.timeout_ms == whole->timeout_ms);
    for (int32_t i = 0; i < q.topic_data.count && !c->failed; i++) {
        produce_request_topic_data_enter(c, v, &t);
        if (whole != NULL)
            TIDE_ASSERT(produce_request_topic_data_next(&topics, v, &topic) && is_same(&t.name, &topic.name));
        for (int32_t j = 0; j < t.partition_data.count && !c->failed; j++) {
            produce_request_partition_data_take(c, v, &p);
            if (whole != NULL)
                TIDE_ASSERT(produce_request_partition_data_next(&topic.partition_data, v, &partition) && p.index == partition.index &&
                            is_same(&p.records, &partition.records));
        }
        produce_request_topic_data_leave(c, v);
        if (whole != NULL)
            TIDE_ASSERT(topic.partition_data.count <= 0);
    }
    produce_request_leave(c, v);
    if (whole != NULL)
        TIDE_ASSERT(topics.count <= 0);
    return wire_taken(c);
}

static bool use_produce(struct wire_cursor *c, int16_t v)
{
    struct produce_request q;
    struct produce_request_topic_data topic;
    struct produce_request_partition_data p;
    struct wire_cursor once = *c;
    bool whole = produce_request_read(c, v, &q);
    TIDE_ASSERT(produce_in_one_pass(&once, v, whole ? &q : NULL) == whole);
    if (!whole)
        return false;
    use_text(&q.transactional_id);
    EACH(&q.topic_data, produce_request_topic_data_next, &topic, {
        use_text(&topic.name);
        EACH(&topic.partition_data, produce_request_partition_data_next, &p, use_bytes(&p.records));
    });
    return true;
}

static bool use_fetch(struct wire_cursor *c, int16_t v)
{
    struct fetch_request q;
    struct fetch_request_topic topic;
    struct fetch_request_partition p;
    struct fetch_request_forgotten_topic forgotten;
    if (!fetch_request_read(c, v, &q))
        return false;
    use_text(&q.cluster_id);
    use_text(&q.rack_id);
    EACH(&q.topics, fetch_request_topic_next, &topic, {
        use_text(&topic.topic);
        EACH(&topic.partitions, fetch_request_partition_next, &p, (void)p.partition);
    });
    EACH(&q.forgotten_topics_data, fetch_request_forgotten_topic_next, &forgotten, {
        use_text(&forgotten.topic);
        use_numbers(&forgotten.partitions);
    });
    return true;
}

static bool use_list_offsets(struct wire_cursor *c, int16_t v)
{
    struct list_offsets_request q;
    struct list_offsets_request_topic topic;
    struct list_offsets_request_partition p;
    if (!list_offsets_request_read(c, v, &q))
        return false;
    EACH(&q.topics, list_offsets_request_topic_next, &topic, {
        use_text(&topic.name);
        EACH(&topic.partitions, list_offsets_request_partition_next, &p, (void)p.timestamp);
    });
    return true;
}

static bool use_metadata(struct wire_cursor *c, int16_t v)
{
    struct metadata_request q;
    struct metadata_request_topic topic;
    if (!metadata_request_read(c, v, &q))
        return false;
    EACH(&q.topics, metadata_request_topic_next, &topic, use_text(&topic.name));
    return true;
}

static bool use_find_coordinator(struct wire_cursor *c, int16_t v)
{
    struct find_coordinator_request q;
    if (!find_coordinator_request_read(c, v, &q))
        return false;
    use_text(&q.key);
    use_texts(&q.coordinator_keys, true);
    return true;
}

static bool use_api_versions(struct wire_cursor *c, int16_t v)
{
    struct api_versions_request q;
    if (!api_versions_request_read(c, v, &q))
        return false;
    use_text(&q.client_software_name);
    use_text(&q.client_software_version);
    return true;
}

static bool use_create_topics(struct wire_cursor *c, int16_t v)
{
    struct create_topics_request q;
    struct create_topics_request_topic topic;
    struct create_topics_request_assignment a;
    struct create_topics_request_config config;
    if (!create_topics_request_read(c, v, &q))
        return false;
    EACH(&q.topics, create_topics_request_topic_next, &topic, {
        use_text(&topic.name);
        EACH(&topic.assignments, create_topics_request_assignment_next, &a, use_numbers(&a.broker_ids));
        EACH(&topic.configs, create_topics_request_config_next, &config, {
            use_text(&config.name);
            use_text(&config.value);
        });
    });
    return true;
}

static bool use_delete_topics(struct wire_cursor *c, int16_t v)
{
    struct delete_topics_request q;
    struct delete_topics_request_topic topic;
    if (!delete_topics_request_read(c, v, &q))
        return false;
    EACH(&q.topics, delete_topics_request_topic_next, &topic, use_text(&topic.name));
    use_texts(&q.topic_names, v >= 4);
    return true;
}

static bool use_init_producer_id(struct wire_cursor *c, int16_t v)
{
    struct init_producer_id_request q;
    if (!init_producer_id_request_read(c, v, &q))
        return false;
    use_text(&q.transactional_id);
    return true;
}

static bool use_offset_for_leader_epoch(struct wire_cursor *c, int16_t v)
{
    struct offset_for_leader_epoch_request q;
    struct offset_for_leader_epoch_request_topic topic;
    struct offset_for_leader_epoch_request_partition p;
    if (!offset_for_leader_epoch_request_read(c, v, &q))
        return false;
    EACH(&q.topics, offset_for_leader_epoch_request_topic_next, &topic, {
        use_text(&topic.topic);
        EACH(&topic.partitions, offset_for_leader_epoch_request_partition_next, &p, (void)p.leader_epoch);
    });
    return true;
}

static bool use_describe_configs(struct wire_cursor *c, int16_t v)
{
    struct describe_configs_request q;
    struct describe_configs_request_resource r;
    if (!describe_configs_request_read(c, v, &q))
        return false;
    EACH(&q.resources, describe_configs_request_resource_next, &r, {
        use_text(&r.resource_name);
        use_texts(&r.configuration_keys, v >= 4);
    });
    return true;
}

static bool use_describe_cluster(struct wire_cursor *c, int16_t v)
{
    struct describe_cluster_request q;
    return describe_cluster_request_read(c, v, &q);
}

static bool use_delete_records(struct wire_cursor *c, int16_t v)
{
    struct delete_records_request q;
    struct delete_records_request_topic topic;
    struct delete_records_request_partition p;
    if (!delete_records_request_read(c, v, &q))
        return false;
    EACH(&q.topics, delete_records_request_topic_next, &topic, {
        use_text(&topic.name);
        EACH(&topic.partitions, delete_records_request_partition_next, &p, (void)p.offset);
    });
    return true;
}

static bool use_alter_configs(struct wire_cursor *c, int16_t v)
{
    struct alter_configs_request q;
    struct alter_configs_request_resource r;
    struct alter_configs_request_config config;
    if (!alter_configs_request_read(c, v, &q))
        return false;
    EACH(&q.resources, alter_configs_request_resource_next, &r, {
        use_text(&r.resource_name);
        EACH(&r.configs, alter_configs_request_config_next, &config, {
            use_text(&config.name);
            use_text(&config.value);
        });
    });
    return true;
}

static bool use_incremental_alter_configs(struct wire_cursor *c, int16_t v)
{
    struct incremental_alter_configs_request q;
    struct incremental_alter_configs_request_resource r;
    struct incremental_alter_configs_request_config config;
    if (!incremental_alter_configs_request_read(c, v, &q))
        return false;
    EACH(&q.resources, incremental_alter_configs_request_resource_next, &r, {
        use_text(&r.resource_name);
        EACH(&r.configs, incremental_alter_configs_request_config_next, &config, {
            use_text(&config.name);
            use_text(&config.value);
        });
    });
    return true;
}

static bool use_create_partitions(struct wire_cursor *c, int16_t v)
{
    struct create_partitions_request q;
    struct create_partitions_request_topic topic;
    struct create_partitions_request_assignment a;
    if (!create_partitions_request_read(c, v, &q))
        return false;
    EACH(&q.topics, create_partitions_request_topic_next, &topic, {
        use_text(&topic.name);
        EACH(&topic.assignments, create_partitions_request_assignment_next, &a, use_numbers(&a.broker_ids));
    });
    return true;
}

static bool use_describe_log_dirs(struct wire_cursor *c, int16_t v)
{
    struct describe_log_dirs_request q;
    struct describe_log_dirs_request_topic topic;
    if (!describe_log_dirs_request_read(c, v, &q))
        return false;
    EACH(&q.topics, describe_log_dirs_request_topic_next, &topic, {
        use_text(&topic.topic);
        use_numbers(&topic.partitions);
    });
    return true;
}

static bool use_elect_leaders(struct wire_cursor *c, int16_t v)
{
    struct elect_leaders_request q;
    struct elect_leaders_request_topic_partitions topic;
    if (!elect_leaders_request_read(c, v, &q))
        return false;
    EACH(&q.topic_partitions, elect_leaders_request_topic_partitions_next, &topic, {
        use_text(&topic.topic);
        use_numbers(&topic.partitions);
    });
    return true;
}

static bool use_alter_partition_reassignments(struct wire_cursor *c, int16_t v)
{
    struct alter_partition_reassignments_request q;
    struct alter_partition_reassignments_request_topic topic;
    struct alter_partition_reassignments_request_partition p;
    if (!alter_partition_reassignments_request_read(c, v, &q))
        return false;
    EACH(&q.topics, alter_partition_reassignments_request_topic_next, &topic, {
        use_text(&topic.name);
        EACH(&topic.partitions, alter_partition_reassignments_request_partition_next, &p, use_numbers(&p.replicas));
    });
    return true;
}

static bool use_list_partition_reassignments(struct wire_cursor *c, int16_t v)
{
    struct list_partition_reassignments_request q;
    struct list_partition_reassignments_request_topic topic;
    if (!list_partition_reassignments_request_read(c, v, &q))
        return false;
    EACH(&q.topics, list_partition_reassignments_request_topic_next, &topic, {
        use_text(&topic.name);
        use_numbers(&topic.partition_indexes);
    });
    return true;
}

static bool use_describe_quorum(struct wire_cursor *c, int16_t v)
{
    struct describe_quorum_request q;
    struct describe_quorum_request_topic topic;
    struct describe_quorum_request_partition p;
    if (!describe_quorum_request_read(c, v, &q))
        return false;
    EACH(&q.topics, describe_quorum_request_topic_next, &topic, {
        use_text(&topic.topic_name);
        EACH(&topic.partitions, describe_quorum_request_partition_next, &p, (void)p.partition_index);
    });
    return true;
}

static bool use_describe_topic_partitions(struct wire_cursor *c, int16_t v)
{
    struct describe_topic_partitions_request q;
    struct describe_topic_partitions_request_topic topic;
    if (!describe_topic_partitions_request_read(c, v, &q))
        return false;
    EACH(&q.topics, describe_topic_partitions_request_topic_next, &topic, use_text(&topic.name));
    if (q.has_cursor)
        use_text(&q.cursor.topic_name);
    return true;
}

static bool use_update_features(struct wire_cursor *c, int16_t v)
{
    struct update_features_request q;
    struct update_features_request_feature_update f;
    if (!update_features_request_read(c, v, &q))
        return false;
    EACH(&q.feature_updates, update_features_request_feature_update_next, &f, use_text(&f.feature));
    return true;
}

static bool use_consumer_group_heartbeat(struct wire_cursor *c, int16_t v)
{
    struct consumer_group_heartbeat_request q;
    struct consumer_group_heartbeat_request_topic_partitions topic;
    int32_t partition;
    if (!consumer_group_heartbeat_request_read(c, v, &q))
        return false;
    use_text(&q.group_id);
    use_text(&q.subscribed_topic_regex);
    use_texts(&q.subscribed_topic_names, true);
    EACH(&q.topic_partitions, consumer_group_heartbeat_request_topic_partitions_next, &topic, {
        while (wire_list_next_i32(&topic.partitions, &partition))
            (void)partition;
    });
    return true;
}

static bool use_consumer_group_describe(struct wire_cursor *c, int16_t v)
{
    struct consumer_group_describe_request q;
    if (!consumer_group_describe_request_read(c, v, &q))
        return false;
    use_texts(&q.group_ids, true);
    return true;
}

static const struct {
    enum kafka_api key;
    int16_t low, high;
    bool (*use)(struct wire_cursor *, int16_t v);
} apis[] = {
    {KAFKA_API_PRODUCE, 3, 12, use_produce},
    {KAFKA_API_FETCH, 4, 16, use_fetch},
    {KAFKA_API_LIST_OFFSETS, 1, 7, use_list_offsets},
    {KAFKA_API_METADATA, 0, 13, use_metadata},
    {KAFKA_API_FIND_COORDINATOR, 0, 5, use_find_coordinator},
    {KAFKA_API_API_VERSIONS, 0, 4, use_api_versions},
    {KAFKA_API_CREATE_TOPICS, 2, 7, use_create_topics},
    {KAFKA_API_DELETE_TOPICS, 1, 6, use_delete_topics},
    {KAFKA_API_INIT_PRODUCER_ID, 0, 5, use_init_producer_id},
    {KAFKA_API_OFFSET_FOR_LEADER_EPOCH, 2, 4, use_offset_for_leader_epoch},
    {KAFKA_API_DESCRIBE_CONFIGS, 1, 4, use_describe_configs},
    {KAFKA_API_DESCRIBE_CLUSTER, 0, 1, use_describe_cluster},
    {KAFKA_API_DELETE_RECORDS, 0, 2, use_delete_records},
    {KAFKA_API_ALTER_CONFIGS, 0, 2, use_alter_configs},
    {KAFKA_API_INCREMENTAL_ALTER_CONFIGS, 0, 1, use_incremental_alter_configs},
    {KAFKA_API_CREATE_PARTITIONS, 0, 3, use_create_partitions},
    {KAFKA_API_DESCRIBE_LOG_DIRS, 1, 4, use_describe_log_dirs},
    {KAFKA_API_ELECT_LEADERS, 0, 2, use_elect_leaders},
    {KAFKA_API_ALTER_PARTITION_REASSIGNMENTS, 0, 0, use_alter_partition_reassignments},
    {KAFKA_API_LIST_PARTITION_REASSIGNMENTS, 0, 0, use_list_partition_reassignments},
    {KAFKA_API_DESCRIBE_QUORUM, 0, 2, use_describe_quorum},
    {KAFKA_API_CONSUMER_GROUP_HEARTBEAT, 0, 1, use_consumer_group_heartbeat},
    {KAFKA_API_CONSUMER_GROUP_DESCRIBE, 0, 1, use_consumer_group_describe},
    {KAFKA_API_DESCRIBE_TOPIC_PARTITIONS, 0, 0, use_describe_topic_partitions},
    {KAFKA_API_UPDATE_FEATURES, 0, 2, use_update_features},
};

static void use_request(struct wire_cursor *c)
{
    struct kafka_request_header h;
    if (!kafka_request_header_read(c, &h))
        return;
    use_text(&h.client_id);
    for (size_t i = 0; i < TIDE_ARRAY_LEN(apis); i++)
        if (h.request_api_key == (int16_t)apis[i].key && h.request_api_version >= apis[i].low && h.request_api_version <= apis[i].high)
            TIDE_ASSERT(apis[i].use(c, h.request_api_version) == wire_taken(c));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct tide_rope r = {0};
    struct wire_cursor c;
    if (len < 2 || len > REQUEST_MAX)
        return 0;
    if (pool == NULL) {
        unit_eal();
        pool = unit_pool("fuzz_request", POOL, 0);
    }
    size_t rest = len - 2;
    size_t cut = (size_t)(bytes[0] << 8 | bytes[1]) % (rest + 1);
    tide_rope_push(&r, unit_exact_mbuf(pool, bytes + 2, (uint16_t)cut));
    tide_rope_push(&r, unit_exact_mbuf(pool, bytes + 2 + cut, (uint16_t)(rest - cut)));
    wire_cursor_init(&c, tide_rope_slice(&r, 0, r.len));
    use_request(&c);
    tide_rope_clear(&r);
    TIDE_ASSERT(rte_mempool_avail_count(pool) == POOL);
    return 0;
}
