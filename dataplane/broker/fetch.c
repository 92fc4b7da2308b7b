/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fetch: a look at the marks, a long poll when there is too little, then reads partition by
 * partition in the order of the request (kafka-protocol 8.1).
 *
 *   look -> enough, an error, or no wait asked -> read each -> respond
 *        -> parked, listed at every partition  -> (mark moved or deadline) -> look again
 *
 * A request of a session (fetch_session.h) names what changed; what is asked is laid out from the session,
 * whole, and goes the same way. What was answered is written down in the session once the response
 * is complete. A session may end, or be asked again, while a request of it is parked: the request finds out
 * by the session's id and stamp before it answers.
 *
 * Readers may come to a follower (KIP-392), from version 11 on: it serves what lies below its own high watermark, in
 * an epoch in which its log agreed with the leader's, while it is in the ISR and has its lease. Otherwise it answers
 * NOT_LEADER_OR_FOLLOWER, and the client goes back to the leader. With an offset behind its end it answers
 * OFFSET_OUT_OF_RANGE as Kafka does: no client believes a follower in that, they ask the leader.
 *
 * Everything is read across cores without mail: published marks say how far, counted buffers hold
 * the bytes. While a disk read is out the partition is in use (slot_use).
 * Timers: max_wait_ms of the request.
 */
#include "broker/internal.h"
#include "tidemark/mutant.h"

enum {
    FOLLOWERS_FROM_VERSION = 11, /* KIP-392 */
    IDS_FROM_VERSION = 13,       /* KIP-516 */
    LEADERS_FROM_VERSION = 16,   /* KIP-951 */
    SESSION_NEW = 0,             /* epochs of a request that names all it wants: with a session please, */
    SESSION_NONE = -1,           /* and without */
};

bool fetch_create(struct broker *b)
{
    const struct tide_settings *s = b->settings;
    uint32_t cores = b->config.office->core_count;
    uint32_t slots = ((uint32_t)s->max_incremental_fetch_session_cache_slots + cores - 1) / cores;
    b->fetch_sessions = fetch_sessions_create(slots, (uint32_t)s->core_fetch_session_partitions, b->config.core, b->config.random);
    return b->fetch_sessions != NULL;
}

/* ---- reading the request --------------------------------------------------------------------- */

static struct fetch_entry *entry_add(struct broker *b, struct request *r, struct topic_item *topic, const struct fetch_session_partition *asked)
{
    struct fetch_entry *e = work_add(&r->work, b->config.request_pool, ITEM_FETCH, sizeof(*e));
    if (e == NULL)
        return NULL;
    e->index = asked->index;
    e->current_leader_epoch = asked->current_leader_epoch;
    e->last_fetched_epoch = asked->last_fetched_epoch;
    e->max_bytes = asked->max_bytes;
    e->offset = asked->offset;
    e->waiter.request = r;
    e->diverging_epoch = e->preferred = -1;
    link_init(&e->waiter.in_slot);
    topic->entries++;
    return e;
}

static struct fetch_session_partition asked_of(const struct fetch_request_partition *p)
{
    return (struct fetch_session_partition){.index = p->partition,
                                            .current_leader_epoch = p->current_leader_epoch,
                                            .last_fetched_epoch = p->last_fetched_epoch,
                                            .max_bytes = p->partition_max_bytes,
                                            .offset = p->fetch_offset};
}

/* What the request itself names. */
static enum tide_status lay_out(struct broker *b, struct request *r, const struct fetch_request *in)
{
    struct wire_list topics = in->topics;
    struct fetch_request_topic t;
    while (fetch_request_topic_next(&topics, r->api_version, &t)) {
        struct wire_list partitions = t.partitions;
        struct fetch_request_partition p;
        struct topic_item *topic = topic_item_add(b, r, ITEM_FETCH_TOPIC, &t.topic, r->api_version >= IDS_FROM_VERSION ? &t.topic_id : NULL);
        if (topic == NULL)
            return TIDE_FULL;
        if (++r->fetch.topics > REQUEST_PARTITIONS_MAX)
            return TIDE_BAD;
        while (fetch_request_partition_next(&partitions, r->api_version, &p)) {
            struct fetch_session_partition asked = asked_of(&p);
            if (++r->fetch.entries > REQUEST_PARTITIONS_MAX)
                return TIDE_BAD;
            if (entry_add(b, r, topic, &asked) == NULL)
                return TIDE_FULL;
        }
    }
    return TIDE_OK;
}

/* ---- sessions ---------------------------------------------------------------------------------- */

/* Bounded by the caller's room for a name: a longer one is no topic, and is kept cut. */
static struct fetch_topic_key key_of(int16_t version, const struct wire_bytes *name, const struct tide_uuid *id, char room[TIDE_TOPIC_NAME_MAX])
{
    struct fetch_topic_key k = {.by_id = version >= IDS_FROM_VERSION, .name = room};
    if (k.by_id) {
        k.id = *id;
        return k;
    }
    k.name_len = (uint16_t)TIDE_MIN(name->at.len, (uint32_t)TIDE_TOPIC_NAME_MAX);
    tide_slice_copy((struct tide_slice){name->at.m, name->at.off, k.name_len}, room);
    return k;
}

/* A session for what was laid out, if there is room. */
static void open_session(struct broker *b, struct request *r)
{
    struct fetch_session *s = fetch_session_open(b->fetch_sessions, b->time.now_ns, r->api_version >= IDS_FROM_VERSION, r->fetch.entries);
    struct fetch_topic_key key = {0};
    struct work_at at = {0};
    struct work_item *item;
    if (s == NULL) {
        if (r->fetch.entries != 0)
            tide_count(b->counters, COUNTER_fetch_sessions_refused);
        return;
    }
    tide_count(b->counters, COUNTER_fetch_sessions_opened);
    while ((item = work_next(&r->work, &at)) != NULL) {
        if (item->kind == ITEM_FETCH_TOPIC) {
            const struct topic_item *topic = (const struct topic_item *)item;
            key = (struct fetch_topic_key){.by_id = topic->by_id, .name_len = topic->name_len, .name = topic->name, .id = topic->id};
        } else {
            struct fetch_entry *e = (struct fetch_entry *)item;
            const struct fetch_session_partition asked = {.index = e->index, .current_leader_epoch = e->current_leader_epoch,
                                                          .last_fetched_epoch = e->last_fetched_epoch, .max_bytes = e->max_bytes, .offset = e->offset};
            e->remembered = fetch_session_put(b->fetch_sessions, s, &key, &asked);
            TIDE_ASSERT(e->remembered != NULL); /* it was opened for so many */
        }
    }
    r->fetch.session_id = fetch_session_id(s);
    r->fetch.session_stamp = fetch_session_stamp(s);
}

/* What the request changes of its session. Doing it twice is doing it once. False: no room for what is new. */
static bool change_session(struct broker *b, const struct request *r, struct fetch_session *s, const struct fetch_request *in)
{
    char room[TIDE_TOPIC_NAME_MAX];
    struct wire_list topics = in->topics;
    struct wire_list forgotten = in->forgotten_topics_data;
    struct fetch_request_topic t;
    struct fetch_request_forgotten_topic f;
    while (fetch_request_topic_next(&topics, r->api_version, &t)) {
        const struct fetch_topic_key key = key_of(r->api_version, &t.topic, &t.topic_id, room);
        struct wire_list partitions = t.partitions;
        struct fetch_request_partition p;
        while (fetch_request_partition_next(&partitions, r->api_version, &p)) {
            const struct fetch_session_partition asked = asked_of(&p);
            if (fetch_session_put(b->fetch_sessions, s, &key, &asked) == NULL || fetch_session_size(s) > REQUEST_PARTITIONS_MAX)
                return false;
        }
    }
    while (fetch_request_forgotten_topic_next(&forgotten, r->api_version, &f)) {
        const struct fetch_topic_key key = key_of(r->api_version, &f.topic, &f.topic_id, room);
        struct wire_list partitions = f.partitions;
        int32_t index;
        while (wire_list_next_i32(&partitions, &index))
            fetch_session_forget(b->fetch_sessions, s, &key, index);
    }
    return true;
}

static enum tide_status lay_out_session(struct broker *b, struct request *r, struct fetch_session *s)
{
    struct fetch_session_partition *p = NULL;
    struct topic_item *topic = NULL;
    uint32_t topic_place = 0;
    while ((p = fetch_session_next(b->fetch_sessions, s, p)) != NULL) {
        struct fetch_entry *e;
        if (topic == NULL || p->topic != topic_place) { /* one that comes again behind others is named again */
            struct fetch_topic_key key;
            fetch_session_topic(b->fetch_sessions, p, &key);
            topic = topic_item_add_key(b, r, ITEM_FETCH_TOPIC, &key);
            if (topic == NULL)
                return TIDE_FULL;
            topic_place = p->topic;
            r->fetch.topics++;
        }
        e = entry_add(b, r, topic, p);
        if (e == NULL)
            return TIDE_FULL;
        e->remembered = p;
        r->fetch.entries++;
    }
    return TIDE_OK;
}

/* The next request of a session. */
static enum tide_status go_on(struct broker *b, struct request *r, struct fetch_session *s, const struct fetch_request *in)
{
    enum tide_status status;
    if (!change_session(b, r, s, in)) {
        fetch_session_close(b->fetch_sessions, s);
        tide_count(b->counters, COUNTER_fetch_sessions_refused);
        r->fetch.error = KAFKA_FETCH_SESSION_ID_NOT_FOUND;
        return TIDE_OK;
    }
    if (fetch_session_size(s) == 0) {
        fetch_session_close(b->fetch_sessions, s);
        return TIDE_OK;
    }
    status = lay_out_session(b, r, s);
    if (status != TIDE_OK)
        return status;
    fetch_session_taken(b->fetch_sessions, s, b->time.now_ns);
    tide_count(b->counters, COUNTER_fetch_incremental);
    r->fetch.incremental = true;
    r->fetch.session_id = fetch_session_id(s);
    r->fetch.session_stamp = fetch_session_stamp(s);
    return TIDE_OK;
}

/* What session id and epoch of the request mean (kafka-protocol 8.3). */
static enum tide_status take(struct broker *b, struct request *r, const struct fetch_request *in)
{
    struct fetch_session *s = fetch_session_find(b->fetch_sessions, in->session_id);
    enum tide_status status;
    if (in->session_epoch == SESSION_NEW || in->session_epoch == SESSION_NONE) {
        status = lay_out(b, r, in);
        if (status != TIDE_OK)
            return status;
        if (s != NULL)
            fetch_session_close(b->fetch_sessions, s);
        if (in->session_epoch == SESSION_NEW)
            open_session(b, r);
        return TIDE_OK;
    }
    if (s == NULL)
        r->fetch.error = KAFKA_FETCH_SESSION_ID_NOT_FOUND;
    else if (in->session_epoch != fetch_session_epoch(s))
        r->fetch.error = KAFKA_INVALID_FETCH_SESSION_EPOCH;
    else if (fetch_session_is_by_id(s) != (r->api_version >= IDS_FROM_VERSION))
        r->fetch.error = KAFKA_FETCH_SESSION_TOPIC_ID_ERROR;
    else
        return go_on(b, r, s, in);
    tide_count(b->counters, COUNTER_fetch_sessions_unknown);
    return TIDE_OK;
}

/* The session, if no other request of it was taken since, or has changed it and waits for memory. *ret_overtaken: one has. */
static struct fetch_session *session_of(struct broker *b, const struct request *r, bool *ret_overtaken)
{
    struct fetch_session *s = fetch_session_find(b->fetch_sessions, r->fetch.session_id);
    *ret_overtaken = s != NULL && fetch_session_stamp(s) != r->fetch.session_stamp;
    return *ret_overtaken ? NULL : s;
}

/* ---- one partition's state ---------------------------------------------------------------------- */

/* KIP-595: a reader of another branch is told where that ended. */
static int16_t check_branch(struct fetch_entry *e)
{
    int32_t epoch;
    int64_t end;
    e->diverging_epoch = -1;
    if (e->last_fetched_epoch < 0)
        return 0;
    log_end_for_epoch(partition_log(e->partition), e->last_fetched_epoch, &epoch, &end);
    if (epoch < 0)
        return KAFKA_OFFSET_OUT_OF_RANGE;
    if (epoch < e->last_fetched_epoch || end < e->offset) {
        e->diverging_epoch = epoch;
        e->diverging_end = end;
    }
    return 0;
}

/* Fills the entry's marks, or its error. */
static void look_at_entry(struct broker *b, struct request *r, const struct topic_item *topic,
                          struct fetch_entry *e)
{
    const struct view_partition *vp = NULL;
    struct partition_look look;

    e->available = 0;
    e->high_watermark = e->last_stable_offset = e->log_start = -1;
    e->error = find_partition(b, topic, e->index, &vp);
    if (e->error == 0)
        e->error = judge_reader(b, vp, e->current_leader_epoch, r->api_version >= FOLLOWERS_FROM_VERSION, &look);
    if (e->error == KAFKA_KAFKA_STORAGE_ERROR && r->api_version <= 5)
        e->error = KAFKA_NOT_LEADER_OR_FOLLOWER;
    if (e->error != 0)
        return;
    e->partition = vp->local;
    e->error = check_branch(e);
    if (e->error == 0 && e->diverging_epoch < 0 && (e->offset < look.log_start || e->offset > look.log_end))
        e->error = KAFKA_OFFSET_OUT_OF_RANGE;
    if (e->error != 0)
        return;
    e->leader_epoch = look.leader_epoch;
    e->high_watermark = look.high_watermark;
    e->last_stable_offset = look.last_stable_offset;
    e->log_start = look.log_start;
    e->visible_end = r->fetch.read_committed ? look.last_stable_offset : look.high_watermark;
    if (look.follower && MUTANT(FOLLOWER_MARK))
        e->visible_end = look.log_end;
    if (e->diverging_epoch < 0 && e->preferred < 0 && e->offset < e->visible_end)
        e->available = log_bytes_between(partition_log(e->partition), e->offset, e->visible_end, e->max_bytes > 0 ? (uint32_t)e->max_bytes : 1);
}

static bool is_for_at_once(const struct fetch_entry *e)
{
    return e->error != 0 || e->diverging_epoch >= 0 || e->preferred >= 0;
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
        now |= is_for_at_once(e);
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
    fetch_response_partition_data_put_preferred_read_replica(w, v, e->error == 0 ? e->preferred : -1);
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

/* Does the client not know this yet? */
static bool is_news(const struct fetch_entry *e)
{
    return is_for_at_once(e) || e->served || e->high_watermark != e->remembered->high_watermark || e->log_start != e->remembered->log_start;
}

/* Which entries the answer has, and how many topics they are of. */
static uint32_t choose(const struct request *r, bool news_only)
{
    struct work_at at = {0};
    struct work_item *item;
    struct topic_item *topic = NULL;
    uint32_t topics = 0;
    while ((item = work_next(&r->work, &at)) != NULL) {
        struct fetch_entry *e = (struct fetch_entry *)item;
        if (item->kind == ITEM_FETCH_TOPIC) {
            topic = (struct topic_item *)item;
            topic->told = 0;
            topics += !news_only;
            continue;
        }
        e->served = e->read.bytes.len != 0;
        e->told = !news_only || is_news(e);
        topics += news_only && e->told && topic->told == 0;
        topic->told += e->told;
    }
    return topics;
}

/* The answer is complete: the client will know it. */
static void remember(struct broker *b, const struct request *r)
{
    struct work_at at = {0};
    struct work_item *item;
    while ((item = work_next(&r->work, &at)) != NULL) {
        const struct fetch_entry *e = (const struct fetch_entry *)item;
        if (item->kind != ITEM_FETCH || !e->told)
            continue;
        e->remembered->high_watermark = e->high_watermark; /* with an error -1: what comes after it is news */
        e->remembered->log_start = e->log_start;
        if (e->served)
            fetch_session_rotate(b->fetch_sessions, e->remembered);
    }
}

static void write_topics(struct broker *b, struct wire_writer *w, struct request *r, bool news_only, struct new_leaders *leaders)
{
    struct work_at at = {0};
    struct work_item *item;
    struct topic_item *topic = NULL;
    int16_t v = r->api_version;
    bool open = false;
    while ((item = work_next(&r->work, &at)) != NULL) {
        if (item->kind == ITEM_FETCH_TOPIC) {
            if (open)
                fetch_response_fetchable_topic_response_end(w, v);
            topic = (struct topic_item *)item;
            open = !news_only || topic->told != 0;
            if (!open)
                continue;
            fetch_response_fetchable_topic_response_put_topic(w, v, topic->name, topic->name_len);
            fetch_response_fetchable_topic_response_put_topic_id(w, v, &topic->id);
            fetch_response_fetchable_topic_response_open_partitions(w, v, (int32_t)topic->told);
        } else if (((struct fetch_entry *)item)->told) {
            write_entry(b, w, r, topic, (struct fetch_entry *)item, leaders);
        }
    }
    if (open)
        fetch_response_fetchable_topic_response_end(w, v);
}

static enum tide_status respond(struct broker *b, struct request *r)
{
    struct wire_writer w;
    struct new_leaders leaders = {0};
    bool overtaken;
    struct fetch_session *s = session_of(b, r, &overtaken);
    /* Of a session that is gone nobody knows what was told: all of it. */
    bool news_only = r->fetch.incremental && s != NULL;
    int16_t v = r->api_version;
    uint32_t topics;
    enum tide_status status;

    if (overtaken)
        r->fetch.error = KAFKA_INVALID_FETCH_SESSION_EPOCH;
    topics = choose(r, news_only);
    response_begin(b, r, &w);
    fetch_response_put_throttle_time_ms(&w, v, 0);
    fetch_response_put_error_code(&w, v, r->fetch.error);
    fetch_response_put_session_id(&w, v, r->fetch.error == 0 ? r->fetch.session_id : 0);
    fetch_response_open_responses(&w, v, r->fetch.error != 0 ? 0 : (int32_t)topics);
    if (r->fetch.error == 0)
        write_topics(b, &w, r, news_only, &leaders);
    if (v >= LEADERS_FROM_VERSION)
        put_new_leaders(b, r, &leaders, &w);
    else
        fetch_response_end(&w, v);
    status = response_end(r, &w);
    if (status == TIDE_OK && s != NULL && r->fetch.error == 0)
        remember(b, r);
    return status;
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

static void read_rot(struct broker *b, const struct fetch_entry *e)
{
    struct partition_look look;
    partition_look(e->partition, &look);
    if (look.leader_epoch == e->leader_epoch) /* else it may have been cut under the read, and be whole again */
        rot_found(b, e->partition, e->offset);
}

/* fetch.zero.copy=false. Without room it goes as it is. */
static void copy_read(struct broker *b, struct tide_rope *bytes)
{
    struct tide_rope copy;
    if (bytes->len == 0 || !copy_densely(b, tide_rope_slice(bytes, 0, bytes->len), &copy))
        return;
    tide_rope_clear(bytes);
    *bytes = copy;
}

/* Reads one entry on. TIDE_OK: done with it (error or bytes). */
static enum tide_status read_entry(struct broker *b, struct request *r, struct fetch_entry *e,
                                   struct tide_out *out)
{
    enum tide_status status;
    if (is_for_at_once(e) || e->available == 0)
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
        if (!b->settings->fetch_zero_copy)
            copy_read(b, &e->read.bytes);
        r->fetch.bytes += e->read.bytes.len;
        tide_count_many(b->counters, COUNTER_fetch_bytes, e->read.bytes.len);
    } else if (status == TIDE_ABSENT) {
        e->error = KAFKA_OFFSET_OUT_OF_RANGE;
    } else {
        e->error = status == TIDE_BAD ? KAFKA_CORRUPT_MESSAGE : KAFKA_KAFKA_STORAGE_ERROR;
        if (status == TIDE_BAD)
            read_rot(b, e);
    }
    if (e->error != 0)
        e->high_watermark = e->last_stable_offset = e->log_start = -1;
    return TIDE_OK;
}

static void finish(struct broker *b, struct request *r)
{
    if (respond(b, r) != TIDE_OK) {
        forget_reads(b, r); /* the writer took the bytes with it: read them again later */
        request_retry(b, r);
        return;
    }
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
    if (!is_for_at_once(e) && r->fetch.available < (uint64_t)TIDE_MAX(r->fetch.min_bytes, 0))
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

/* ---- readers' racks (KIP-392) --------------------------------------------------------------------------- */

static bool is_in_rack(const struct broker *b, int32_t id, const char *rack)
{
    const struct view_broker *n = tide_view_broker(b->view, id);
    return n != NULL && strcmp(n->rack, rack) == 0;
}

/* The broker that a client in that rack should read from, if it is not us. Who is in sync has all that lies below our high
 * watermark. Several of them share the partitions. */
static int32_t preferred_of(const struct broker *b, const struct request *r, const struct view_partition *vp, const struct fetch_entry *e, const char *rack)
{
    int32_t found[TIDE_REPLICAS_MAX];
    struct partition_look look;
    uint32_t count = 0;
    if (is_in_rack(b, b->view->self, rack))
        return -1;
    for (uint32_t i = 0; i < vp->isr_count; i++)
        if (vp->isr[i] != b->view->self && is_in_rack(b, vp->isr[i], rack) && tide_view_reaches(b->view, vp->isr[i], r->session->listener))
            found[count++] = vp->isr[i];
    if (count == 0)
        return -1;
    partition_look(vp->local, &look);
    return look.leader && e->offset >= look.log_start && e->offset <= look.high_watermark ? found[(uint32_t)e->index % count] : -1;
}

static void prefer_replicas(struct broker *b, struct request *r, const struct wire_bytes *rack_id)
{
    char rack[TIDE_TOPIC_NAME_MAX + 1];
    struct work_at at = {0};
    struct work_item *item;
    const struct topic_item *topic = NULL;
    if (!b->settings->rack_aware || r->api_version < FOLLOWERS_FROM_VERSION || rack_id->at.len == 0 || rack_id->at.len > TIDE_TOPIC_NAME_MAX)
        return;
    tide_slice_copy(rack_id->at, rack);
    rack[rack_id->at.len] = 0;
    while ((item = work_next(&r->work, &at)) != NULL) {
        struct fetch_entry *e = (struct fetch_entry *)item;
        const struct view_partition *vp;
        if (item->kind == ITEM_FETCH_TOPIC)
            topic = (const struct topic_item *)item;
        else if (topic->error == 0 && route(b, topic, e->index, &vp) == 0)
            e->preferred = preferred_of(b, r, vp, e, rack);
    }
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
    status = take(b, r, &in);
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
    prefer_replicas(b, r, &in.rack_id);
    if (look_at_all(b, r) || wait_ms == 0) {
        begin_reads(b, r, out);
        return TIDE_OK;
    }
    park(b, r, wait_ms);
    if (look_at_all(b, r)) /* what moved before we were listed rang nobody */
        begin_reads(b, r, out);
    return TIDE_OK;
}
