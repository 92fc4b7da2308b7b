/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fetch: a look at the marks, a long poll when there is too little, then reads partition by
 * partition in the order of the request (kafka-protocol 8.1).
 *
 *   look -> enough, an error, or no wait asked -> read each -> respond
 *        -> parked, listed at every partition  -> (mark moved or deadline) -> look again
 *
 * Everything is read across cores without mail: published marks say how far, counted buffers hold
 * the bytes. While a disk read is out the partition is in use (slot_use).
 * Timers: max_wait_ms of the request.
 */
#include "broker/internal.h"

enum { LEADERS_FROM_VERSION = 16 }; /* KIP-951 */

/* ---- reading the request --------------------------------------------------------------------- */

static enum tide_status lay_out(struct broker *b, struct request *r, const struct fetch_request *in)
{
    struct wire_list topics = in->topics;
    struct fetch_request_topic t;
    while (fetch_request_topic_next(&topics, r->api_version, &t)) {
        struct wire_list partitions = t.partitions;
        struct fetch_request_partition p;
        struct topic_item *topic = topic_item_add(b, r, ITEM_FETCH_TOPIC, &t.topic,
                                                  r->api_version >= 13 ? &t.topic_id : NULL);
        if (topic == NULL)
            return TIDE_FULL;
        if (++r->fetch.topics > REQUEST_PARTITIONS_MAX)
            return TIDE_BAD;
        while (fetch_request_partition_next(&partitions, r->api_version, &p)) {
            struct fetch_entry *e;
            if (++r->fetch.entries > REQUEST_PARTITIONS_MAX)
                return TIDE_BAD;
            e = work_add(&r->work, b->config.request_pool, ITEM_FETCH, sizeof(*e));
            if (e == NULL)
                return TIDE_FULL;
            e->index = p.partition;
            e->current_leader_epoch = p.current_leader_epoch;
            e->last_fetched_epoch = p.last_fetched_epoch;
            e->max_bytes = p.partition_max_bytes;
            e->offset = p.fetch_offset;
            e->waiter.request = r;
            e->diverging_epoch = -1;
            link_init(&e->waiter.in_slot);
            topic->entries++;
        }
    }
    return TIDE_OK;
}

/* ---- one partition's state ---------------------------------------------------------------------- */

static int16_t check_epochs(struct fetch_entry *e, const struct partition_look *look)
{
    if (e->current_leader_epoch >= 0 && e->current_leader_epoch < look->leader_epoch)
        return KAFKA_FENCED_LEADER_EPOCH;
    if (e->current_leader_epoch > look->leader_epoch)
        return KAFKA_UNKNOWN_LEADER_EPOCH;
    if (e->last_fetched_epoch >= 0) { /* KIP-595: tell a reader of another branch where it ended */
        int32_t epoch;
        int64_t end;
        log_end_for_epoch(partition_log(e->partition), e->last_fetched_epoch, &epoch, &end);
        if (epoch < 0)
            return KAFKA_OFFSET_OUT_OF_RANGE;
        if (epoch < e->last_fetched_epoch || end < e->offset) {
            e->diverging_epoch = epoch;
            e->diverging_end = end;
        }
    }
    return 0;
}

/* Fills the entry's marks, or its error. */
static void look_at_entry(struct broker *b, struct request *r, const struct topic_item *topic,
                          struct fetch_entry *e)
{
    const struct view_partition *vp = NULL;
    struct partition_look look;
    int64_t visible;

    e->available = 0;
    e->error = topic->error != 0 ? topic->error : route(b, topic, e->index, &vp);
    e->high_watermark = e->last_stable_offset = e->log_start = -1;
    if (e->error != 0)
        return;
    e->partition = vp->local;
    partition_look(e->partition, &look);
    if (look.failed || !look.leader) {
        e->error = look.failed ? KAFKA_KAFKA_STORAGE_ERROR : KAFKA_NOT_LEADER_OR_FOLLOWER;
        if (e->error == KAFKA_KAFKA_STORAGE_ERROR && r->api_version <= 5)
            e->error = KAFKA_NOT_LEADER_OR_FOLLOWER;
        return;
    }
    e->error = check_epochs(e, &look);
    if (e->error == 0 && e->diverging_epoch < 0 &&
        (e->offset < look.log_start || e->offset > look.log_end))
        e->error = KAFKA_OFFSET_OUT_OF_RANGE;
    if (e->error != 0)
        return;
    visible = r->fetch.read_committed ? look.last_stable_offset : look.high_watermark;
    e->high_watermark = look.high_watermark;
    e->last_stable_offset = look.last_stable_offset;
    e->log_start = look.log_start;
    e->visible_end = visible;
    if (e->diverging_epoch < 0 && e->offset < visible)
        e->available = log_bytes_between(partition_log(e->partition), e->offset, visible,
                                         e->max_bytes > 0 ? (uint32_t)e->max_bytes : 1);
}

/* Looks at every entry. True when the answer need not wait. */
static bool look_at_all(struct broker *b, struct request *r)
{
    struct work_at at = {0};
    struct work_item *item;
    const struct topic_item *topic = NULL;
    bool now = r->fetch.entries == 0;

    r->fetch.available = 0;
    while ((item = work_next(&r->work, &at)) != NULL) {
        if (item->kind == ITEM_FETCH_TOPIC) {
            topic = (const struct topic_item *)item;
            continue;
        }
        struct fetch_entry *e = (struct fetch_entry *)item;
        look_at_entry(b, r, topic, e);
        r->fetch.available += e->available;
        now |= e->error != 0 || e->diverging_epoch >= 0;
    }
    return now || r->fetch.available >= (uint64_t)TIDE_MAX(r->fetch.min_bytes, 0);
}

/* ---- the response ---------------------------------------------------------------------------------- */

static void write_entry(struct broker *b, struct wire_writer *w, struct request *r, const struct topic_item *topic, struct fetch_entry *e,
                        struct new_leaders *leaders)
{
    int16_t v = r->api_version;
    struct fetch_response_partition_data_tags tags = {0};
    fetch_response_partition_data_put_partition_index(w, v, e->index);
    fetch_response_partition_data_put_error_code(w, v, e->error);
    fetch_response_partition_data_put_high_watermark(w, v, e->high_watermark);
    fetch_response_partition_data_put_last_stable_offset(w, v, e->last_stable_offset);
    fetch_response_partition_data_put_log_start_offset(w, v, e->log_start);
    /* Read committed: nothing was aborted. Read uncommitted: null. */
    fetch_response_partition_data_open_aborted_transactions(w, v, r->fetch.read_committed ? 0 : -1);
    fetch_response_partition_data_put_preferred_read_replica(w, v, -1);
    fetch_response_partition_data_put_records(w, v, &e->read.bytes);
    if (e->diverging_epoch >= 0) {
        tags.has_diverging_epoch = true;
        tags.diverging_epoch.epoch = e->diverging_epoch;
        tags.diverging_epoch.end_offset = e->diverging_end;
    }
    if ((e->error == KAFKA_NOT_LEADER_OR_FOLLOWER || e->error == KAFKA_FENCED_LEADER_EPOCH) && v >= LEADERS_FROM_VERSION)
        tags.has_current_leader =
            find_new_leader(b, topic, e->index, leaders, &tags.current_leader.leader_id, &tags.current_leader.leader_epoch);
    fetch_response_partition_data_end(w, v, &tags);
}

static enum tide_status respond(struct broker *b, struct request *r)
{
    struct wire_writer w;
    struct work_at at = {0};
    struct work_item *item;
    struct topic_item *topic = NULL;
    struct new_leaders leaders = {0};
    int16_t v = r->api_version;

    response_begin(b, r, &w);
    fetch_response_put_throttle_time_ms(&w, v, 0);
    fetch_response_put_error_code(&w, v, r->fetch.error);
    fetch_response_put_session_id(&w, v, 0);
    fetch_response_open_responses(&w, v, r->fetch.error != 0 ? 0 : (int32_t)r->fetch.topics);
    while (r->fetch.error == 0 && (item = work_next(&r->work, &at)) != NULL) {
        if (item->kind == ITEM_FETCH_TOPIC) {
            if (topic != NULL)
                fetch_response_fetchable_topic_response_end(&w, v);
            topic = (struct topic_item *)item;
            fetch_response_fetchable_topic_response_put_topic(&w, v, topic->name, topic->name_len);
            fetch_response_fetchable_topic_response_put_topic_id(&w, v, &topic->id);
            fetch_response_fetchable_topic_response_open_partitions(&w, v, (int32_t)topic->entries);
        } else {
            write_entry(b, &w, r, topic, (struct fetch_entry *)item, &leaders);
        }
    }
    if (topic != NULL)
        fetch_response_fetchable_topic_response_end(&w, v);
    if (v >= LEADERS_FROM_VERSION)
        put_new_leaders(b, r, &leaders, &w);
    else
        fetch_response_end(&w, v);
    return response_end(r, &w);
}

/* ---- reading ------------------------------------------------------------------------------------------ */

static void forget_reads(struct broker *b, struct request *r)
{
    struct work_at at = {0};
    struct work_item *item;
    while ((item = work_next(&r->work, &at)) != NULL) {
        struct fetch_entry *e = (struct fetch_entry *)item;
        if (item->kind != ITEM_FETCH)
            continue;
        tide_rope_clear(&e->read.bytes);
        if (e->read_begun && !e->reading && !e->read_done)
            log_read_abandon(b->config.log_core, &e->read);
        e->read_begun = e->read_done = false;
    }
    r->fetch.at = (struct work_at){0};
    r->fetch.bytes = 0;
}

/* A request that is given up: what it read goes back. A read that is out comes back first. */
void fetch_abandon(struct broker *b, struct request *r)
{
    if (r->api_key != KAFKA_API_FETCH || r->outstanding != 0)
        return;
    forget_reads(b, r);
}

static void begin_read(struct request *r, struct fetch_entry *e)
{
    uint64_t budget = (uint64_t)r->fetch.max_bytes - TIDE_MIN(r->fetch.bytes, (uint64_t)r->fetch.max_bytes);
    uint32_t limit = e->max_bytes > 0 ? (uint32_t)e->max_bytes : 0;
    e->read = (struct log_read){.offset = e->offset,
                                .end_offset = e->visible_end,
                                .max_bytes = (uint32_t)TIDE_MIN((uint64_t)limit, budget),
                                .at_least_one = r->fetch.bytes == 0};
    e->read_begun = true;
}

/* Reads one entry on. TIDE_OK: done with it (error or bytes). */
static enum tide_status read_entry(struct broker *b, struct request *r, struct fetch_entry *e,
                                   struct tide_out *out)
{
    enum tide_status status;
    if (e->error != 0 || e->diverging_epoch >= 0 || e->available == 0)
        return TIDE_OK;
    if (!e->read_begun) {
        if (r->fetch.bytes >= (uint64_t)r->fetch.max_bytes)
            return TIDE_OK;
        begin_read(r, e);
    }
    status = log_read(partition_log(e->partition), b->config.log_core, r->slot, &e->read, out);
    if (status == TIDE_AGAIN) {
        e->reading = true;
        r->fetch.reading = e;
        r->outstanding++;
        slot_use(b, e->partition);
        tide_count(b->counters, COUNTER_fetch_disk_reads);
        return status;
    }
    if (status == TIDE_FULL)
        return status;
    e->read_done = true;
    if (status == TIDE_OK) {
        r->fetch.bytes += e->read.bytes.len;
        tide_count_many(b->counters, COUNTER_fetch_bytes, e->read.bytes.len);
    } else if (status == TIDE_ABSENT) {
        e->error = KAFKA_OFFSET_OUT_OF_RANGE;
    } else {
        e->error = status == TIDE_BAD ? KAFKA_CORRUPT_MESSAGE : KAFKA_KAFKA_STORAGE_ERROR;
        if (status == TIDE_BAD)
            rot_found(b, e->partition, e->offset);
    }
    return TIDE_OK;
}

static void finish(struct broker *b, struct request *r)
{
    if (respond(b, r) != TIDE_OK) {
        forget_reads(b, r); /* the writer took the bytes with it: read them again later */
        request_retry(b, r);
        return;
    }
    tide_histogram_add(&b->stages[STAGE_FETCH], b->time.now_ns - r->start_ns);
    request_done(b, r);
}

static void unpark(struct broker *b, struct request *r)
{
    struct work_at at = {0};
    struct work_item *item;
    if (!r->fetch.parked)
        return;
    while ((item = work_next(&r->work, &at)) != NULL)
        if (item->kind == ITEM_FETCH)
            wait_remove(b, &((struct fetch_entry *)item)->waiter);
    r->fetch.parked = false;
}

/* Reads from where it stopped; responds at the end. */
void fetch_continue(struct broker *b, struct request *r, struct tide_out *out)
{
    struct work_item *item;
    struct fetch_entry *e = r->fetch.reading;

    if (r->state != REQUEST_OPEN || r->outstanding != 0)
        return;
    r->fetch.reading = NULL;
    for (;;) {
        enum tide_status status;
        if (e == NULL) {
            item = work_next(&r->work, &r->fetch.at);
            if (item == NULL)
                break;
            if (item->kind != ITEM_FETCH)
                continue;
            e = (struct fetch_entry *)item;
        }
        status = read_entry(b, r, e, out);
        if (status == TIDE_AGAIN)
            return;
        if (status == TIDE_FULL && r->fetch.bytes == 0) {
            r->fetch.reading = e;
            request_retry(b, r);
            return;
        }
        if (status == TIDE_FULL) { /* answer with what there is */
            log_read_abandon(b->config.log_core, &e->read);
            e->read_begun = false;
            break;
        }
        e = NULL;
    }
    finish(b, r);
}

static void begin_reads(struct broker *b, struct request *r, struct tide_out *out)
{
    unpark(b, r);
    request_set_deadline(b, r, TIDE_NEVER);
    r->fetch.reads_begun = true;
    fetch_continue(b, r, out);
}

void fetch_on_disk(struct broker *b, struct request *r, const struct disk_done *done, struct tide_out *out)
{
    struct fetch_entry *e = r->fetch.reading;
    if (!TIDE_EXPECT(e != NULL && e->reading && e->read.disk_id == done->id))
        return;
    e->reading = false;
    log_read_on_disk(&e->read, done);
    slot_unuse(b, e->partition);
    if (request_came_back(b, r))
        fetch_continue(b, r, out);
}

/* ---- the long poll --------------------------------------------------------------------------------------- */

static void park(struct broker *b, struct request *r, uint64_t wait_ms)
{
    struct work_at at = {0};
    struct work_item *item;
    r->fetch.parked = true;
    tide_count(b->counters, COUNTER_fetch_parked);
    while ((item = work_next(&r->work, &at)) != NULL) {
        struct fetch_entry *e = (struct fetch_entry *)item;
        if (item->kind == ITEM_FETCH)
            wait_add(b, &e->waiter, WAIT_FETCH, e->partition);
    }
    request_set_deadline(b, r, b->time.now_ns + wait_ms * TIDE_NS_PER_MS);
}

static const struct topic_item *topic_of_entry(const struct request *r, const struct fetch_entry *e)
{
    struct work_at at = {0};
    struct work_item *item;
    const struct topic_item *topic = NULL;
    while ((item = work_next(&r->work, &at)) != NULL && item != &e->head)
        if (item->kind == ITEM_FETCH_TOPIC)
            topic = (const struct topic_item *)item;
    return topic;
}

void fetch_on_mark(struct broker *b, struct waiter *w, struct tide_out *out)
{
    struct fetch_entry *e = LINK_OF(struct fetch_entry, waiter, w);
    struct request *r = w->request;

    if (r->state != REQUEST_OPEN || !r->fetch.parked || r->session == NULL)
        return;
    r->fetch.available -= e->available;
    look_at_entry(b, r, topic_of_entry(r, e), e);
    r->fetch.available += e->available;
    if (e->error == 0 && e->diverging_epoch < 0 &&
        r->fetch.available < (uint64_t)TIDE_MAX(r->fetch.min_bytes, 0))
        return;
    (void)look_at_all(b, r); /* the others may have moved unseen since they were parked */
    begin_reads(b, r, out);
}

void fetch_on_deadline(struct broker *b, struct request *r, struct tide_out *out)
{
    if (r->state != REQUEST_OPEN || !r->fetch.parked)
        return;
    (void)look_at_all(b, r);
    begin_reads(b, r, out);
}

enum tide_status fetch_handle(struct broker *b, struct request *r, struct wire_cursor *body,
                              const struct tide_slice *frame, struct tide_out *out)
{
    struct fetch_request in;
    enum tide_status status;
    uint64_t wait_ms;

    (void)frame;
    if (r->fetch.laid_out) { /* waited for a buffer or for the response pool */
        if (!r->fetch.reads_begun || r->fetch.at.m == NULL)
            (void)look_at_all(b, r);
        fetch_continue(b, r, out);
        return TIDE_OK;
    }
    if (!fetch_request_read(body, r->api_version, &in))
        return TIDE_BAD;
    if (in.session_id != 0 && in.session_epoch > 0) /* no fetch sessions are kept (KIP-227) */
        r->fetch.error = KAFKA_FETCH_SESSION_ID_NOT_FOUND;
    status = lay_out(b, r, &in);
    if (status != TIDE_OK)
        return status;
    r->fetch.laid_out = true;
    r->fetch.min_bytes = in.min_bytes;
    r->fetch.max_bytes = TIDE_MAX(TIDE_MIN(in.max_bytes, b->settings->fetch_max_bytes), 0);
    r->fetch.read_committed = in.isolation_level == 1;
    wait_ms = in.max_wait_ms < 0 ? 0 : TIDE_MIN((uint64_t)in.max_wait_ms, (uint64_t)TIMEOUT_MS_MAX);
    if (r->fetch.error != 0) {
        finish(b, r);
        return TIDE_OK;
    }
    if (in.replica_id >= 0 || (r->api_version >= 15 && in.replica_state.replica_id >= 0)) {
        struct work_at at = {0};
        struct work_item *item;
        while ((item = work_next(&r->work, &at)) != NULL)
            if (item->kind == ITEM_FETCH_TOPIC) /* followers do not come in here */
                ((struct topic_item *)item)->error = KAFKA_TOPIC_AUTHORIZATION_FAILED;
    }
    if (look_at_all(b, r) || wait_ms == 0) {
        begin_reads(b, r, out);
        return TIDE_OK;
    }
    park(b, r, wait_ms);
    if (look_at_all(b, r)) /* what moved before we were listed rang nobody */
        begin_reads(b, r, out);
    return TIDE_OK;
}
