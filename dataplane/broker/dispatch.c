/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One row per API; ApiVersions is answered from the same rows.
 */
#include "broker/internal.h"
#include "tidemark/mutant.h"

/* Produce is advertised from 0 and served from 3: librdkafka before 2.11.1 tests for version 0
 * before it compresses (KAFKA-18659). */
const struct api_row api_rows[] = {
    {KAFKA_API_PRODUCE, 0, 3, 12, 9, false, RESOURCE_TOPIC, OP_WRITE, produce_handle, "Produce"},
    {KAFKA_API_FETCH, 4, 4, 16, 12, false, RESOURCE_TOPIC, OP_READ, fetch_handle, "Fetch"},
    {KAFKA_API_LIST_OFFSETS, 1, 1, 7, 6, false, RESOURCE_TOPIC, OP_DESCRIBE, list_offsets_handle, "ListOffsets"},
    {KAFKA_API_METADATA, 0, 0, 13, 9, false, RESOURCE_TOPIC, OP_DESCRIBE, metadata_handle, "Metadata"},
    {KAFKA_API_FIND_COORDINATOR, 0, 0, 5, 3, false, RESOURCE_GROUP, OP_DESCRIBE, find_coordinator_handle, "FindCoordinator"},
    {KAFKA_API_OFFSET_COMMIT, 2, 2, 9, 8, false, RESOURCE_GROUP, OP_READ, groups_handle, "OffsetCommit"},
    {KAFKA_API_OFFSET_FETCH, 1, 1, 9, 6, false, RESOURCE_GROUP, OP_DESCRIBE, groups_handle, "OffsetFetch"},
    {KAFKA_API_JOIN_GROUP, 0, 0, 9, 6, false, RESOURCE_GROUP, OP_READ, groups_handle, "JoinGroup"},
    {KAFKA_API_HEARTBEAT, 0, 0, 4, 4, false, RESOURCE_GROUP, OP_READ, groups_handle, "Heartbeat"},
    {KAFKA_API_LEAVE_GROUP, 0, 0, 5, 4, false, RESOURCE_GROUP, OP_READ, groups_handle, "LeaveGroup"},
    {KAFKA_API_SYNC_GROUP, 0, 0, 5, 4, false, RESOURCE_GROUP, OP_READ, groups_handle, "SyncGroup"},
    {KAFKA_API_DESCRIBE_GROUPS, 0, 0, 6, 5, false, RESOURCE_GROUP, OP_DESCRIBE, groups_handle, "DescribeGroups"},
    {KAFKA_API_LIST_GROUPS, 0, 0, 5, 3, false, RESOURCE_CLUSTER, OP_DESCRIBE, groups_handle, "ListGroups"},
    {KAFKA_API_DELETE_GROUPS, 0, 0, 2, 2, false, RESOURCE_GROUP, OP_DELETE, groups_handle, "DeleteGroups"},
    {KAFKA_API_OFFSET_DELETE, 0, 0, 0, INT16_MAX, false, RESOURCE_GROUP, OP_DELETE, groups_handle, "OffsetDelete"},
    {KAFKA_API_CONSUMER_GROUP_HEARTBEAT, 0, 0, 1, 0, false, RESOURCE_GROUP, OP_READ, groups_handle, "ConsumerGroupHeartbeat"},
    {KAFKA_API_CONSUMER_GROUP_DESCRIBE, 0, 0, 1, 0, false, RESOURCE_GROUP, OP_DESCRIBE, groups_handle, "ConsumerGroupDescribe"},
    {KAFKA_API_API_VERSIONS, 0, 0, 4, 3, true, RESOURCE_NONE, OP_NONE, api_versions_handle, "ApiVersions"},
    {KAFKA_API_CREATE_TOPICS, 2, 2, 7, 5, false, RESOURCE_CLUSTER, OP_CREATE, ask_handle, "CreateTopics"},
    {KAFKA_API_DELETE_TOPICS, 1, 1, 6, 4, false, RESOURCE_TOPIC, OP_DELETE, ask_handle, "DeleteTopics"},
    {KAFKA_API_DELETE_RECORDS, 0, 0, 2, 2, false, RESOURCE_TOPIC, OP_DELETE, delete_records_handle, "DeleteRecords"},
    {KAFKA_API_INIT_PRODUCER_ID, 0, 0, 5, 2, false, RESOURCE_CLUSTER, OP_IDEMPOTENT_WRITE, ask_handle, "InitProducerId"},
    {KAFKA_API_OFFSET_FOR_LEADER_EPOCH, 2, 2, 4, 4, false, RESOURCE_TOPIC, OP_DESCRIBE, offset_for_leader_epoch_handle, "OffsetForLeaderEpoch"},
    {KAFKA_API_DESCRIBE_CONFIGS, 1, 1, 4, 4, false, RESOURCE_TOPIC, OP_DESCRIBE_CONFIGS, ask_handle, "DescribeConfigs"},
    {KAFKA_API_ALTER_CONFIGS, 0, 0, 2, 2, false, RESOURCE_TOPIC, OP_ALTER_CONFIGS, ask_handle, "AlterConfigs"},
    {KAFKA_API_DESCRIBE_LOG_DIRS, 1, 1, 4, 2, false, RESOURCE_CLUSTER, OP_DESCRIBE, ask_handle, "DescribeLogDirs"},
    {KAFKA_API_CREATE_PARTITIONS, 0, 0, 3, 2, false, RESOURCE_TOPIC, OP_ALTER, ask_handle, "CreatePartitions"},
    {KAFKA_API_ELECT_LEADERS, 0, 0, 2, 2, false, RESOURCE_CLUSTER, OP_ALTER, ask_handle, "ElectLeaders"},
    {KAFKA_API_INCREMENTAL_ALTER_CONFIGS, 0, 0, 1, 1, false, RESOURCE_TOPIC, OP_ALTER_CONFIGS, ask_handle, "IncrementalAlterConfigs"},
    {KAFKA_API_ALTER_PARTITION_REASSIGNMENTS, 0, 0, 0, 0, false, RESOURCE_CLUSTER, OP_ALTER, ask_handle, "AlterPartitionReassignments"},
    {KAFKA_API_LIST_PARTITION_REASSIGNMENTS, 0, 0, 0, 0, false, RESOURCE_CLUSTER, OP_DESCRIBE, ask_handle, "ListPartitionReassignments"},
    {KAFKA_API_DESCRIBE_QUORUM, 0, 0, 2, 0, false, RESOURCE_CLUSTER, OP_DESCRIBE, ask_handle, "DescribeQuorum"},
    {KAFKA_API_UPDATE_FEATURES, 0, 0, 2, 0, false, RESOURCE_CLUSTER, OP_ALTER, ask_handle, "UpdateFeatures"},
    {KAFKA_API_DESCRIBE_CLUSTER, 0, 0, 1, 0, false, RESOURCE_CLUSTER, OP_DESCRIBE, describe_cluster_handle, "DescribeCluster"},
    {KAFKA_API_DESCRIBE_TOPIC_PARTITIONS, 0, 0, 0, 0, false, RESOURCE_TOPIC, OP_DESCRIBE, ask_handle, "DescribeTopicPartitions"},
};
const unsigned api_row_count = TIDE_ARRAY_LEN(api_rows);

const struct api_row *api_row(int16_t key)
{
    for (unsigned i = 0; i < api_row_count; i++)
        if (api_rows[i].key == key)
            return &api_rows[i];
    return NULL;
}

bool authorize(const struct session *s, enum resource resource, enum operation operation,
               const char *name, uint32_t len)
{
    (void)resource;
    (void)operation;
    (void)name;
    (void)len;
    return s->authenticated; /* without an authorizer whoever is in may do all */
}

void charge(struct session *s, uint32_t bytes)
{
    (void)bytes;
    s->muted_until_ns = 0; /* without quotas nobody is muted */
}

static void remember_client(struct session *s, const struct kafka_request_header *h)
{
    struct tide_slice id = h->client_id.at;
    if (s->client_id[0] != 0 || h->client_id.null || id.len == 0)
        return;
    id.len = TIDE_MIN(id.len, (uint32_t)sizeof(s->client_id) - 1);
    tide_slice_copy(id, s->client_id);
    s->client_id[id.len] = 0;
}

static enum tide_status run(struct broker *b, struct request *r, const struct tide_slice *frame,
                            struct wire_cursor *body, struct tide_out *out)
{
    enum tide_status status;
    if (r->api_version < r->row->min || r->api_version > r->row->max)
        status = api_versions_unsupported(b, r);
    else
        status = r->row->handle(b, r, body, frame, out);
    return status;
}

enum tide_status dispatch(struct session *s, const struct tide_slice *frame, struct tide_out *out)
{
    struct broker *b = s->broker;
    struct kafka_request_header h;
    struct wire_cursor c;
    struct request *r;
    const struct api_row *row;
    enum tide_status status;

    if (b->view == NULL) /* control has published none yet: clients of a restarted broker come early */
        return TIDE_FULL;
    wire_cursor_init(&c, *frame);
    if (!kafka_request_header_peek(&c, &h))
        return TIDE_BAD;
    row = api_row(h.request_api_key);
    /* There is no error body for an API or a version that is not ours: the connection ends. */
    if (row == NULL || (!s->authenticated && !row->before_authentication))
        return TIDE_BAD;
    if ((h.request_api_version < row->min || h.request_api_version > row->max) &&
        row->key != KAFKA_API_API_VERSIONS)
        return TIDE_BAD;
    /* Of an ApiVersions newer than ours not even the rest of the header is known (KIP-511). */
    if (h.request_api_version >= row->min && h.request_api_version <= row->max && !kafka_request_header_rest(&c, &h))
        return TIDE_BAD;
    if (!authorize(s, row->resource, row->operation, NULL, 0))
        return TIDE_BAD;
    r = request_take(b, s);
    if (r == NULL)
        return TIDE_FULL;
    stage_begin(&s->arrivals, FRAME_SIZE_BYTES + frame->len, r->stamps);
    r->stamps[STAMP_TAKEN] = b->looked_ns;
    r->api_key = h.request_api_key;
    r->api_version = h.request_api_version;
    r->correlation_id = h.correlation_id;
    r->row = row;
    remember_client(s, &h);
    link_append(&s->requests, &r->in_session);
    s->request_count++;
    status = run(b, r, frame, &c, out);
    if (status == TIDE_OK) {
        tide_count(b->counters, COUNTER_requests);
        charge(s, frame->len);
        return TIDE_OK;
    }
    link_remove(&r->in_session);
    s->request_count--;
    r->session = NULL;
    request_give(b, r);
    return status;
}

enum tide_status dispatch_again(struct request *r, struct tide_out *out)
{
    struct session *s = r->session;
    struct kafka_request_header h;
    struct wire_cursor c = {0};
    struct tide_slice frame = {0};
    enum tide_status status;

    if (s == NULL || r->state != REQUEST_OPEN || r->outstanding != 0)
        return TIDE_OK;
    if (r->frame.len != 0) {
        frame = tide_rope_slice(&r->frame, 0, r->frame.len);
        wire_cursor_init(&c, frame);
        TIDE_ASSERT(kafka_request_header_read(&c, &h));
    }
    status = r->row->handle(s->broker, r, &c, &frame, out);
    if (status == TIDE_FULL) {
        request_retry(s->broker, r);
    } else if (status != TIDE_OK) {
        r->silent = true;
        r->close_after = true;
        request_done(s->broker, r);
    }
    return status;
}

static inline struct topic_item *topic_item_new(struct broker *b, struct request *r, uint16_t kind, uint16_t name_len, const struct tide_uuid *id)
{
    struct topic_item *t = work_add_with(&r->work, b->config.request_pool, kind, sizeof(*t), name_len);
    if (t == NULL)
        return NULL;
    t->name_len = name_len;
    if (id != NULL)
        t->id = *id;
    t->by_id = id != NULL;
    return t;
}

struct topic_item *topic_item_add(struct broker *b, struct request *r, uint16_t kind,
                                  const struct wire_bytes *name, const struct tide_uuid *id)
{
    uint32_t len = id == NULL ? name->at.len : 0;
    uint32_t kept = TIDE_MIN(len, (uint32_t)TIDE_TOPIC_NAME_MAX);
    struct topic_item *t = topic_item_new(b, r, kind, (uint16_t)kept, id);
    if (t == NULL)
        return NULL;
    if (id == NULL && len > TIDE_TOPIC_NAME_MAX)
        t->error = KAFKA_INVALID_TOPIC_EXCEPTION;
    tide_slice_copy((struct tide_slice){name->at.m, name->at.off, kept}, t->name);
    return t;
}

struct topic_item *topic_item_add_key(struct broker *b, struct request *r, uint16_t kind, const struct fetch_topic_key *k)
{
    struct topic_item *t = topic_item_new(b, r, kind, k->by_id ? 0 : k->name_len, k->by_id ? &k->id : NULL);
    if (t != NULL && !k->by_id)
        memcpy(t->name, k->name, k->name_len);
    return t;
}

const struct view_topic *topic_of(struct broker *b, const struct topic_item *t)
{
    const struct view_topic *last = b->topic;
    if (t->by_id)
        return tide_view_topic_by_id(b->view, &t->id);
    if (last == NULL || last->name_len != t->name_len || memcmp(last->name, t->name, t->name_len) != 0)
        b->topic = last = tide_view_topic(b->view, t->name, t->name_len);
    return last;
}

bool has_lease(const struct broker *b)
{
    return MUTANT(LEASE) || b->time.now_ns < atomic_load_explicit(&b->config.publication->lease_until_ns, memory_order_acquire);
}

static int16_t find_within(const struct topic_item *item, const struct view_topic *t, int32_t index, const struct view_partition **ret)
{
    if (item->error != 0)
        return item->error;
    if (t == NULL)
        return item->by_id ? KAFKA_UNKNOWN_TOPIC_ID : KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    *ret = tide_view_partition(t, index);
    return *ret != NULL ? 0 : KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
}

int16_t find_partition(struct broker *b, const struct topic_item *item, int32_t index, const struct view_partition **ret)
{
    return find_within(item, topic_of(b, item), index, ret);
}

int16_t route_within(const struct broker *b, const struct topic_item *item, const struct view_topic *t, int32_t index,
                     const struct view_partition **ret_vp)
{
    const struct view_partition *vp;
    int16_t error = find_within(item, t, index, &vp);
    if (error != 0)
        return error;
    *ret_vp = vp;
    return vp->local == NULL || vp->leader != b->view->self || !has_lease(b) ? KAFKA_NOT_LEADER_OR_FOLLOWER : 0;
}

int16_t route(struct broker *b, const struct topic_item *item, int32_t index, const struct view_partition **ret_vp)
{
    return route_within(b, item, topic_of(b, item), index, ret_vp);
}

static bool is_in_sync(const struct broker *b, const struct view_partition *vp)
{
    for (uint32_t i = 0; i < vp->isr_count; i++)
        if (vp->isr[i] == b->view->self)
            return true;
    return false;
}

int16_t judge_reader(const struct broker *b, const struct view_partition *vp, int32_t epoch, bool at_followers, struct partition_look *ret)
{
    if (vp->local == NULL)
        return KAFKA_NOT_LEADER_OR_FOLLOWER;
    partition_look(vp->local, ret);
    if (ret->failed)
        return KAFKA_KAFKA_STORAGE_ERROR;
    if (epoch >= 0 && epoch < ret->leader_epoch)
        return KAFKA_FENCED_LEADER_EPOCH;
    if (epoch > ret->leader_epoch)
        return KAFKA_UNKNOWN_LEADER_EPOCH;
    if (!has_lease(b))
        return KAFKA_NOT_LEADER_OR_FOLLOWER;
    if (vp->leader == b->view->self)
        return ret->leader ? 0 : KAFKA_NOT_LEADER_OR_FOLLOWER;
    return at_followers && ret->follower && is_in_sync(b, vp) ? 0 : KAFKA_NOT_LEADER_OR_FOLLOWER;
}

bool find_new_leader(struct broker *b, const struct topic_item *item, int32_t index, struct new_leaders *known, int32_t *ret_id, int32_t *ret_epoch)
{
    const struct view_topic *t = topic_of(b, item);
    const struct view_partition *vp = t != NULL ? tide_view_partition(t, index) : NULL;
    uint32_t i = 0;
    if (vp == NULL || vp->leader < 0 || vp->leader == b->view->self)
        return false;
    *ret_id = vp->leader;
    *ret_epoch = vp->leader_epoch;
    while (i < known->count && known->ids[i] != vp->leader)
        i++;
    if (i == known->count && i < NEW_LEADERS_MAX)
        known->ids[known->count++] = vp->leader;
    return true;
}

void put_new_leaders(struct broker *b, const struct request *r, const struct new_leaders *l, struct wire_writer *w)
{
    uint32_t listener = r->session->listener;
    struct wire_writer list;
    int32_t count = 0;
    for (uint32_t i = 0; i < l->count; i++)
        count += tide_view_reaches(b->view, l->ids[i], listener);
    if (count == 0) {
        wire_put_uvarint(w, 0);
        return;
    }
    wire_writer_init(&list, w->pool); /* its size comes first */
    wire_put_count(&list, true, count);
    for (uint32_t i = 0; i < l->count; i++) {
        const struct view_broker *n = tide_view_broker(b->view, l->ids[i]);
        if (!tide_view_reaches(b->view, l->ids[i], listener))
            continue;
        wire_put_i32(&list, n->id);
        wire_put_string(&list, true, n->endpoints[listener].host, (uint32_t)strlen(n->endpoints[listener].host));
        wire_put_i32(&list, n->endpoints[listener].port);
        wire_put_string(&list, true, n->rack[0] != 0 ? n->rack : NULL, (uint32_t)strlen(n->rack));
        wire_put_uvarint(&list, 0);
    }
    if (list.failed) {
        wire_writer_abandon(&list);
        w->failed = true;
        return;
    }
    wire_put_uvarint(w, 1); /* one tagged field, number 0, so long */
    wire_put_uvarint(w, 0);
    wire_put_uvarint(w, list.out.len);
    wire_put_rope(w, &list.out);
}
