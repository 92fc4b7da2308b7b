/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ListOffsets: the marks at once, timestamps by a job of a helper, which reads the found batch
 * (kafka-protocol 8.5). Timers: none; a helper always comes back.
 */
#include "broker/internal.h"

#include <errno.h>

enum { LATEST = -1, EARLIEST = -2, MAX_TIMESTAMP = -3 };

/* A partition that is named twice is answered nowhere. The quadratic look is only for small lists, as of Produce. */
static void refuse_twice(struct request *r, const struct topic_item *topic, struct list_entry *e)
{
    struct work_at at = {0};
    struct work_item *item;
    const struct topic_item *current = NULL;
    if (topic->entries > 64)
        return;
    while ((item = work_next(&r->work, &at)) != NULL && item != &e->head) {
        struct list_entry *other = (struct list_entry *)item;
        if (item->kind == ITEM_LIST_TOPIC)
            current = (const struct topic_item *)item;
        else if (current == topic && other->index == e->index)
            other->error = e->error = KAFKA_INVALID_REQUEST;
    }
}

static enum tide_status lay_out(struct broker *b, struct request *r, const struct list_offsets_request *in)
{
    struct wire_list topics = in->topics;
    struct list_offsets_request_topic t;
    uint32_t count = 0;
    while (list_offsets_request_topic_next(&topics, r->api_version, &t)) {
        struct wire_list partitions = t.partitions;
        struct list_offsets_request_partition p;
        struct topic_item *topic = topic_item_add(b, r, ITEM_LIST_TOPIC, &t.name, NULL);
        if (topic == NULL)
            return TIDE_FULL;
        if (++r->list.topics > REQUEST_PARTITIONS_MAX)
            return TIDE_BAD;
        while (list_offsets_request_partition_next(&partitions, r->api_version, &p)) {
            struct list_entry *e;
            if (++count > REQUEST_PARTITIONS_MAX)
                return TIDE_BAD;
            e = work_add(&r->work, b->config.request_pool, ITEM_LIST, sizeof(*e));
            if (e == NULL)
                return TIDE_FULL;
            e->index = p.partition_index;
            e->current_leader_epoch = p.current_leader_epoch;
            e->asked = p.timestamp;
            e->offset = e->timestamp = -1;
            e->leader_epoch = -1;
            e->request = r;
            refuse_twice(r, topic, e);
            topic->entries++;
            r->list.waiting++;
        }
    }
    return TIDE_OK;
}

static void entry_done(struct request *r, struct list_entry *e, int16_t error)
{
    e->error = error;
    e->done = true;
    r->list.waiting--;
}

static void begin_lookup(struct broker *b, struct request *r, struct list_entry *e,
                         struct partition *p, int64_t visible, struct tide_out *out)
{
    log_lookup_prepare(&e->lookup, partition_log(p));
    e->lookup.job.kind = JOB_LOG_OFFSETS;
    e->lookup.job.owner = b->config.core;
    e->lookup.job.cookie = (uint64_t)(uintptr_t)e;
    e->lookup.timestamp = e->asked;
    e->lookup.end_offset = visible;
    e->partition = p;
    slot_use(b, p);
    r->outstanding++;
    tide_out_job(out, &e->lookup.job);
}

/* Answers the entry from the marks, or sends a helper to look. */
static void answer_entry(struct broker *b, struct request *r, const struct topic_item *topic,
                         struct list_entry *e, bool read_committed, struct tide_out *out)
{
    const struct view_partition *vp = NULL;
    struct partition_look look;
    int64_t visible;
    int16_t error = e->error != 0 ? e->error : find_partition(b, topic, e->index, &vp);

    if (error == 0)
        error = judge_reader(b, vp, e->current_leader_epoch, false, &look);
    if (error != 0) {
        entry_done(r, e, error);
        return;
    }
    visible = read_committed ? look.last_stable_offset : look.high_watermark;
    if (e->asked < MAX_TIMESTAMP || (e->asked == MAX_TIMESTAMP && r->api_version < 7))
        entry_done(r, e, KAFKA_UNSUPPORTED_VERSION);
    else if (e->asked == EARLIEST) {
        e->offset = look.log_start;
        e->leader_epoch = look.log_start < look.log_end ? log_epoch_of(partition_log(vp->local), look.log_start) : look.leader_epoch;
        entry_done(r, e, 0);
    } else if (!look.epoch_committed) { /* KIP-207 */
        entry_done(r, e, r->api_version < 5 ? KAFKA_LEADER_NOT_AVAILABLE : KAFKA_OFFSET_NOT_AVAILABLE);
    } else if (e->asked == LATEST) {
        e->offset = visible;
        e->leader_epoch = look.leader_epoch;
        entry_done(r, e, 0);
    } else if (!tide_out_has_job_room(out)) {
        e->deferred = true; /* asked again next turn */
    } else {
        e->deferred = false;
        begin_lookup(b, r, e, vp->local, visible, out);
    }
}

static void answer_entries(struct broker *b, struct request *r, bool deferred_only, struct tide_out *out)
{
    struct work_at at = {0};
    struct work_item *item;
    struct topic_item *topic = NULL;
    bool deferred = false;
    while ((item = work_next(&r->work, &at)) != NULL) {
        struct list_entry *e = (struct list_entry *)item;
        if (item->kind == ITEM_LIST_TOPIC) {
            topic = (struct topic_item *)item;
            continue;
        }
        if (!deferred_only || e->deferred)
            answer_entry(b, r, topic, e, r->list.read_committed, out);
        deferred |= e->deferred;
    }
    if (deferred)
        request_retry(b, r);
}

void list_offsets_respond(struct broker *b, struct request *r)
{
    struct wire_writer w;
    struct work_at at = {0};
    struct work_item *item;
    struct topic_item *topic = NULL;
    int16_t v = r->api_version;

    if (r->list.waiting != 0 || r->state != REQUEST_OPEN)
        return;
    response_begin(b, r, &w);
    list_offsets_response_put_throttle_time_ms(&w, v, 0);
    list_offsets_response_open_topics(&w, v, (int32_t)r->list.topics);
    while ((item = work_next(&r->work, &at)) != NULL) {
        if (item->kind == ITEM_LIST_TOPIC) {
            if (topic != NULL)
                list_offsets_response_topic_end(&w, v);
            topic = (struct topic_item *)item;
            list_offsets_response_topic_put_name(&w, v, topic->name, topic->name_len);
            list_offsets_response_topic_open_partitions(&w, v, (int32_t)topic->entries);
            continue;
        }
        struct list_entry *e = (struct list_entry *)item;
        list_offsets_response_partition_put_partition_index(&w, v, e->index);
        list_offsets_response_partition_put_error_code(&w, v, e->error);
        list_offsets_response_partition_put_timestamp(&w, v, e->timestamp);
        list_offsets_response_partition_put_offset(&w, v, e->offset);
        list_offsets_response_partition_put_leader_epoch(&w, v, e->leader_epoch);
        list_offsets_response_partition_end(&w, v);
    }
    if (topic != NULL)
        list_offsets_response_topic_end(&w, v);
    list_offsets_response_end(&w, v);
    if (response_end(r, &w) == TIDE_OK)
        request_done(b, r);
    else
        request_retry(b, r);
}

void list_offsets_on_job(struct broker *b, struct request *r, struct list_entry *e)
{
    if (e->lookup.job.result != 0) {
        entry_done(r, e, e->lookup.job.result == -EILSEQ ? KAFKA_CORRUPT_MESSAGE : KAFKA_KAFKA_STORAGE_ERROR);
    } else {
        e->offset = e->lookup.ret_offset;
        e->timestamp = e->lookup.ret_timestamp;
        e->leader_epoch = e->lookup.ret_epoch;
        entry_done(r, e, 0);
    }
    list_offsets_respond(b, r);
}

enum tide_status list_offsets_handle(struct broker *b, struct request *r, struct wire_cursor *body,
                                     const struct tide_slice *frame, struct tide_out *out)
{
    struct list_offsets_request in;
    enum tide_status status;

    (void)frame;
    if (r->list.laid_out) {
        answer_entries(b, r, true, out);
        list_offsets_respond(b, r);
        return TIDE_OK;
    }
    if (!list_offsets_request_read(body, r->api_version, &in))
        return TIDE_BAD;
    status = lay_out(b, r, &in);
    if (status != TIDE_OK)
        return status;
    r->list.laid_out = true;
    r->list.read_committed = in.isolation_level == 1;
    answer_entries(b, r, false, out);
    list_offsets_respond(b, r);
    return TIDE_OK;
}
