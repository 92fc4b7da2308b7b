/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DeleteRecords: the start of logs rises (kafka-protocol 9). Each partition's part goes as a letter to
 * its home core, which keeps it until the new start is on its disk. Timers: the request's timeout.
 */
#include "broker/internal.h"

/* ---- the session's core ---- */

static enum tide_status lay_out(struct broker *b, struct request *r, const struct delete_records_request *in)
{
    struct wire_list topics = in->topics;
    struct delete_records_request_topic t;
    uint32_t count = 0;
    while (delete_records_request_topic_next(&topics, r->api_version, &t)) {
        struct wire_list partitions = t.partitions;
        struct delete_records_request_partition p;
        struct topic_item *topic = topic_item_add(b, r, ITEM_TRIM_TOPIC, &t.name, NULL);
        if (topic == NULL)
            return TIDE_FULL;
        if (++r->trim.topics > REQUEST_PARTITIONS_MAX)
            return TIDE_BAD;
        while (delete_records_request_partition_next(&partitions, r->api_version, &p)) {
            struct trim_entry *e;
            if (++count > REQUEST_PARTITIONS_MAX)
                return TIDE_BAD;
            e = work_add(&r->work, b->config.request_pool, ITEM_TRIM, sizeof(*e));
            if (e == NULL)
                return TIDE_FULL;
            e->index = p.partition_index;
            e->offset = p.offset;
            e->low_watermark = -1;
            topic->entries++;
            r->trim.waiting++;
        }
    }
    return TIDE_OK;
}

static void entry_done(struct request *r, struct trim_entry *e, int16_t error, int64_t low_watermark)
{
    e->error = error;
    e->low_watermark = low_watermark;
    e->done = true;
    r->trim.waiting--;
}

static void send_entry(struct broker *b, struct request *r, const struct topic_item *topic, struct trim_entry *e,
                       struct tide_out *out)
{
    const struct view_partition *vp = NULL;
    const struct view_topic *known = topic_of(b, topic);
    int16_t error = known != NULL && known->internal ? KAFKA_INVALID_TOPIC_EXCEPTION : topic->error != 0 ? topic->error : route(b, topic, e->index, &vp);
    if (error != 0) {
        entry_done(r, e, error, -1);
        return;
    }
    struct tide_mail *m = mail_take(b, MAIL_TRIM);
    TIDE_ASSERT(m != NULL); /* delete_records_handle counted them */
    m->trim = (struct mail_trim){.partition = vp->local, .offset = e->offset, .request = r, .entry = e};
    slot_use(b, vp->local);
    r->outstanding++;
    if (vp->home_core == b->config.core)
        trim_begin(b, m, out);
    else
        mail_out(b, vp->home_core, m);
}

static void respond(struct broker *b, struct request *r)
{
    struct wire_writer w;
    struct work_at at = {0};
    struct work_item *item;
    struct topic_item *topic = NULL;
    int16_t v = r->api_version;

    if (r->trim.waiting != 0 || r->state != REQUEST_OPEN || !r->trim.complete)
        return;
    if (r->session == NULL && r->outstanding != 0)
        return; /* the last letter frees it */
    response_begin(b, r, &w);
    delete_records_response_put_throttle_time_ms(&w, v, 0);
    delete_records_response_open_topics(&w, v, (int32_t)r->trim.topics);
    while ((item = work_next(&r->work, &at)) != NULL) {
        if (item->kind == ITEM_TRIM_TOPIC) {
            if (topic != NULL)
                delete_records_response_topic_end(&w, v);
            topic = (struct topic_item *)item;
            delete_records_response_topic_put_name(&w, v, topic->name, topic->name_len);
            delete_records_response_topic_open_partitions(&w, v, (int32_t)topic->entries);
            continue;
        }
        struct trim_entry *e = (struct trim_entry *)item;
        delete_records_response_partition_put_partition_index(&w, v, e->index);
        delete_records_response_partition_put_low_watermark(&w, v, e->low_watermark);
        delete_records_response_partition_put_error_code(&w, v, e->error);
        delete_records_response_partition_end(&w, v);
    }
    if (topic != NULL)
        delete_records_response_topic_end(&w, v);
    delete_records_response_end(&w, v);
    if (response_end(r, &w) == TIDE_OK)
        request_done(b, r);
    else
        request_retry(b, r);
}

void delete_records_on_answer(struct broker *b, struct tide_mail *m)
{
    struct mail_trim t = m->trim;
    struct request *r = t.request;
    struct trim_entry *e = t.entry;
    slot_unuse(b, t.partition);
    mail_give(m);
    if (!request_came_back(b, r))
        return;
    if (!e->done) /* not timed out meanwhile */
        entry_done(r, e, t.error, t.low_watermark);
    respond(b, r);
}

void delete_records_on_deadline(struct broker *b, struct request *r)
{
    struct work_at at = {0};
    struct work_item *item;
    if (r->state != REQUEST_OPEN)
        return;
    while ((item = work_next(&r->work, &at)) != NULL) {
        struct trim_entry *e = (struct trim_entry *)item;
        if (item->kind == ITEM_TRIM && !e->done)
            entry_done(r, e, KAFKA_REQUEST_TIMED_OUT, -1);
    }
    respond(b, r);
}

enum tide_status delete_records_handle(struct broker *b, struct request *r, struct wire_cursor *body,
                                       const struct tide_slice *frame, struct tide_out *out)
{
    struct delete_records_request in;
    struct work_at at = {0};
    struct work_item *item;
    const struct topic_item *topic = NULL;

    (void)frame;
    if (r->trim.complete) { /* only the response was missing: its pool was empty */
        respond(b, r);
        return TIDE_OK;
    }
    if (!delete_records_request_read(body, r->api_version, &in))
        return TIDE_BAD;
    enum tide_status status = lay_out(b, r, &in);
    if (status != TIDE_OK)
        return status;
    if (!mails_suffice(b, r->trim.waiting))
        return TIDE_FULL;
    while ((item = work_next(&r->work, &at)) != NULL) {
        if (item->kind == ITEM_TRIM_TOPIC)
            topic = (const struct topic_item *)item;
        else
            send_entry(b, r, topic, (struct trim_entry *)item, out);
    }
    r->trim.complete = true;
    if (r->trim.waiting != 0) {
        uint64_t ms = in.timeout_ms < 0 ? 0 : TIDE_MIN((uint64_t)in.timeout_ms, (uint64_t)TIMEOUT_MS_MAX);
        request_set_deadline(b, r, b->time.now_ns + ms * TIDE_NS_PER_MS);
    }
    respond(b, r);
    return TIDE_OK;
}

/* ---- the home core ---- */

static void answer(struct broker *b, struct tide_mail *m)
{
    if (m->from != b->config.core)
        mail_out(b, m->from, m);
    else
        delete_records_on_answer(b, m);
}

/* True: it is decided. The partition may have left since: then it says so itself. */
static bool try_trim(struct broker *b, struct tide_mail *m, struct tide_out *out)
{
    struct mail_trim *t = &m->trim;
    uint32_t slot = partition_slot(t->partition);
    if (b->home[slot].partition != t->partition) {
        t->error = KAFKA_NOT_LEADER_OR_FOLLOWER;
        t->low_watermark = -1;
        return true;
    }
    bool done = partition_trim(t->partition, &t->offset, out, &t->error, &t->low_watermark) == TIDE_OK;
    slot_dirty(b, slot);
    return done;
}

void trim_begin(struct broker *b, struct tide_mail *m, struct tide_out *out)
{
    if (try_trim(b, m, out)) {
        answer(b, m);
        return;
    }
    m->next = b->trims;
    b->trims = m;
}

unsigned trim_retry(struct broker *b, struct tide_out *out)
{
    unsigned did = 0;
    struct tide_mail *m = b->trims;
    b->trims = NULL;
    while (m != NULL) {
        struct tide_mail *next = m->next;
        if (try_trim(b, m, out)) {
            answer(b, m);
            did++;
        } else {
            m->next = b->trims;
            b->trims = m;
        }
        m = next;
    }
    return did;
}
