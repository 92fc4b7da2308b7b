/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Produce: every partition's batch goes to its home core, the response waits for the mark that
 * `acks` names (kafka-protocol 4).
 *
 * An entry's life:  routed -> refused                               -> done
 *                          -> appended at once, by letter or parked -> waits for its mark -> done
 * acks=0 is done when it is appended. Timers: the request's timeout bounds the wait of acks=all.
 */
#include "broker/internal.h"

enum { LEADERS_FROM_VERSION = 10 }; /* KIP-951 */

static void entry_failed(struct request *r, struct produce_entry *e, int16_t error)
{
    e->error = error;
    e->base_offset = -1;
    e->done = true;
    r->produce.failed = true;
    r->produce.waiting--;
}

static void entry_succeeded(const struct broker *b, struct request *r, struct produce_entry *e)
{
    e->done = true;
    r->produce.waiting--;
    if (trace_is_on(b->trace)) {
        r->produce.slowest_slot = partition_slot(e->target);
        r->produce.slowest_end = e->waiter.end;
    }
}

/* ---- reading the request ---------------------------------------------------------------------- */

/* `first`: of the topic's entries. */
static bool is_duplicate(const struct request *r, struct work_at first, int32_t index)
{
    const struct produce_entry *e;
    while ((e = work_next(&r->work, &first)) != NULL)
        if (e->index == index)
            return true;
    return false;
}

static struct produce_entry *lay_out_entry(struct broker *b, struct request *r, struct topic_item *topic, struct work_at first,
                                           const struct produce_request_partition_data *p)
{
    /* The quadratic look is only for small lists; Kafka keeps one of the two as well. */
    bool twice = topic->entries != 0 && topic->entries <= 64 && is_duplicate(r, first, p->index);
    struct produce_entry *e = work_add(&r->work, b->config.request_pool, ITEM_PRODUCE, sizeof(*e));
    if (e == NULL)
        return NULL;
    e->index = p->index;
    e->records = p->records.at;
    e->bad_record = -1;
    e->base_offset = -1;
    e->log_append_time_ms = -1;
    e->log_start_offset = -1;
    e->waiter.request = r;
    link_init(&e->waiter.in_slot);
    e->error = twice ? KAFKA_INVALID_REQUEST : topic->error;
    topic->entries++;
    return e;
}

/* Reads the request and lays out one entry per partition, in its order; nothing is done with them before it is known to be whole. */
static enum tide_status lay_out(struct broker *b, struct request *r, struct wire_cursor *c, struct produce_request *in)
{
    int16_t version = r->api_version;
    uint32_t count = 0;
    produce_request_enter(c, version, in);
    for (int32_t i = 0; i < in->topic_data.count && !c->failed; i++) {
        struct produce_request_topic_data t;
        produce_request_topic_data_enter(c, version, &t);
        if (c->failed)
            return TIDE_BAD;
        struct topic_item *topic = topic_item_add(b, r, ITEM_PRODUCE_TOPIC, &t.name, NULL);
        if (topic == NULL)
            return TIDE_FULL;
        if (++r->produce.topics > REQUEST_PARTITIONS_MAX)
            return TIDE_BAD;
        struct work_at first = work_end(&r->work);
        for (int32_t j = 0; j < t.partition_data.count; j++) {
            struct produce_request_partition_data p;
            produce_request_partition_data_take(c, version, &p);
            if (c->failed || ++count > REQUEST_PARTITIONS_MAX)
                return TIDE_BAD;
            if (lay_out_entry(b, r, topic, first, &p) == NULL)
                return TIDE_FULL;
        }
        produce_request_topic_data_leave(c, version);
    }
    produce_request_leave(c, version);
    r->produce.waiting = count;
    return wire_taken(c) ? TIDE_OK : TIDE_BAD;
}

/* ---- the result of an append --------------------------------------------------------------------- */

void produce_to_mail(const struct partition_appended *a, struct mail_append *m)
{
    m->error = a->error;
    m->duplicate = a->duplicate;
    m->bad_record = a->bad_record;
    m->message = a->message;
    m->ret_leader_epoch = a->leader_epoch;
    m->base_offset = a->base_offset;
    m->end_offset = a->end_offset;
    m->log_append_time_ms = a->log_append_time_ms;
    m->log_start_offset = a->log_start_offset;
}

void produce_from_mail(const struct mail_append *m, struct partition_appended *ret)
{
    *ret = (struct partition_appended){.error = m->error,
                                       .duplicate = m->duplicate,
                                       .bad_record = m->bad_record,
                                       .message = m->message,
                                       .leader_epoch = m->ret_leader_epoch,
                                       .base_offset = m->base_offset,
                                       .end_offset = m->end_offset,
                                       .log_append_time_ms = m->log_append_time_ms,
                                       .log_start_offset = m->log_start_offset};
}

/* `now_at_home`: here is its home, and nothing has happened since the append: the role is the one that it was made in. */
static inline __attribute__((always_inline)) void take_result(struct broker *b, struct request *r, struct produce_entry *e,
                        struct partition *p, const struct partition_appended *a, bool now_at_home)
{
    struct partition_look look;
    enum wait_for kind = r->produce.acks == 1 ? WAIT_COUNTED_END : WAIT_HIGH_WATERMARK;

    e->log_start_offset = a->log_start_offset;
    e->bad_record = a->bad_record;
    e->message = a->message;
    if (a->error != 0) {
        entry_failed(r, e, a->error);
        return;
    }
    e->base_offset = a->base_offset;
    e->log_append_time_ms = a->log_append_time_ms;
    e->appended = true;
    e->waiter.end = a->end_offset;
    if (r->produce.acks == 0) {
        entry_succeeded(b, r, e);
        return;
    }
    e->waiter.leader_epoch = a->leader_epoch;
    wait_add(b, &e->waiter, kind, p);
    if (now_at_home) {
        const struct watermark *marks = partition_marks(p);
        if ((kind == WAIT_COUNTED_END ? watermark_counted(marks) : watermark_high(marks)) < a->end_offset) {
            tide_count(b->counters, COUNTER_acks_waited);
            return;
        }
    }
    partition_look(p, &look);
    if (!look.leader || look.failed || look.leader_epoch != a->leader_epoch ||
        (kind == WAIT_COUNTED_END ? look.counted_end : look.high_watermark) >= a->end_offset)
        produce_on_mark(b, &e->waiter, &look, kind);
    else
        tide_count(b->counters, COUNTER_acks_waited);
}

void produce_on_appended(struct broker *b, struct request *r, struct produce_entry *e,
                         const struct partition_appended *a)
{
    if (e->done) { /* timed out meanwhile; the response may have left, or there was no room for it then */
        produce_try_respond(b, r);
        return;
    }
    take_result(b, r, e, e->target, a, false);
    produce_try_respond(b, r);
}

/* The waiter's mark was reached, or can no longer be. Frees it from its list, if it is in one. */
void produce_on_mark(struct broker *b, struct waiter *w, const struct partition_look *look, enum wait_for kind)
{
    struct produce_entry *e = LINK_OF(struct produce_entry, waiter, w);
    struct request *r = w->request;
    int64_t reached = kind == WAIT_COUNTED_END ? look->counted_end : look->high_watermark;

    wait_remove(b, w);
    if (look->failed)
        entry_failed(r, e, KAFKA_KAFKA_STORAGE_ERROR);
    else if (!look->leader || look->leader_epoch != w->leader_epoch)
        entry_failed(r, e, KAFKA_NOT_LEADER_OR_FOLLOWER);
    else if (kind == WAIT_HIGH_WATERMARK && !look->min_isr_met)
        entry_failed(r, e, KAFKA_NOT_ENOUGH_REPLICAS_AFTER_APPEND);
    else if (reached >= w->end)
        entry_succeeded(b, r, e);
    else
        TIDE_ASSERT(!"a waiter is looked at only when its mark is reached or lost");
    produce_try_respond(b, r);
}

void produce_on_deadline(struct broker *b, struct request *r)
{
    struct work_at at = {0};
    struct work_item *item;
    if (r->state != REQUEST_OPEN)
        return;
    while ((item = work_next(&r->work, &at)) != NULL) {
        struct produce_entry *e = (struct produce_entry *)item;
        if (item->kind != ITEM_PRODUCE || e->done)
            continue;
        wait_remove(b, &e->waiter);
        entry_failed(r, e, KAFKA_REQUEST_TIMED_OUT);
        tide_count(b->counters, COUNTER_acks_timed_out);
    }
    produce_try_respond(b, r);
}

/* ---- the response --------------------------------------------------------------------------------- */

static void write_entry(struct broker *b, struct wire_writer *w, int16_t version, const struct topic_item *topic,
                        const struct produce_entry *e, struct new_leaders *leaders)
{
    uint32_t message_len = e->message != NULL ? (uint32_t)strlen(e->message) : 0;
    struct produce_response_partition_response_tags tags = {0};
    if (e->error == KAFKA_NOT_LEADER_OR_FOLLOWER && version >= LEADERS_FROM_VERSION)
        tags.has_current_leader =
            find_new_leader(b, topic, e->index, leaders, &tags.current_leader.leader_id, &tags.current_leader.leader_epoch);
    produce_response_partition_response_put_index(w, version, e->index);
    produce_response_partition_response_put_error_code(w, version, e->error);
    produce_response_partition_response_put_base_offset(w, version, e->base_offset);
    produce_response_partition_response_put_log_append_time_ms(w, version, e->log_append_time_ms);
    produce_response_partition_response_put_log_start_offset(w, version, e->log_start_offset);
    if (e->error != 0 && e->bad_record >= 0) {
        produce_response_partition_response_open_record_errors(w, version, 1);
        produce_response_batch_index_and_error_message_put_batch_index(w, version, e->bad_record);
        produce_response_batch_index_and_error_message_put_batch_index_error_message(w, version, e->message, message_len);
        produce_response_batch_index_and_error_message_end(w, version);
    } else {
        produce_response_partition_response_open_record_errors(w, version, 0);
    }
    produce_response_partition_response_put_error_message(w, version, e->error != 0 ? e->message : NULL, message_len);
    produce_response_partition_response_end(w, version, &tags);
}

static enum tide_status respond(struct broker *b, struct request *r)
{
    struct wire_writer w;
    struct work_at at = {0};
    struct work_item *item;
    struct topic_item *topic = NULL;
    struct new_leaders leaders = {0};

    response_begin(b, r, &w);
    produce_response_open_responses(&w, r->api_version, (int32_t)r->produce.topics);
    while ((item = work_next(&r->work, &at)) != NULL) {
        if (item->kind == ITEM_PRODUCE_TOPIC) {
            if (topic != NULL)
                produce_response_topic_produce_response_end(&w, r->api_version);
            topic = (struct topic_item *)item;
            produce_response_topic_produce_response_put_name(&w, r->api_version, topic->name, topic->name_len);
            produce_response_topic_produce_response_open_partition_responses(&w, r->api_version,
                                                                             (int32_t)topic->entries);
        } else {
            write_entry(b, &w, r->api_version, topic, (const struct produce_entry *)item, &leaders);
        }
    }
    if (topic != NULL)
        produce_response_topic_produce_response_end(&w, r->api_version);
    produce_response_put_throttle_time_ms(&w, r->api_version, 0);
    if (r->api_version >= LEADERS_FROM_VERSION)
        put_new_leaders(b, r, &leaders, &w);
    else
        produce_response_end(&w, r->api_version);
    return response_end(r, &w);
}

void produce_try_respond(struct broker *b, struct request *r)
{
    if (r->produce.waiting != 0 || r->state != REQUEST_OPEN || !r->produce.complete)
        return;
    if (r->session == NULL && r->outstanding != 0)
        return; /* the last letter frees it */
    if (!r->silent && r->stamps[STAMP_REACHED] == 0)
        r->stamps[STAMP_REACHED] = stage_now(b);
    if (r->silent) {
        r->close_after = r->produce.failed; /* the only way to tell an acks=0 producer */
    } else if (r->session != NULL && respond(b, r) != TIDE_OK) {
        request_retry(b, r);
        return;
    }
    request_done(b, r);
}

/* ---- sending the batches to their homes -------------------------------------------------------------- */

static int64_t arrived_ms(const struct broker *b, const struct request *r)
{
    return b->time.wall_ms - (int64_t)((b->time.now_ns - r->arrived_ns) / TIDE_NS_PER_MS);
}

static void send_letter(struct broker *b, struct request *r, struct produce_entry *e,
                        struct tide_slice records, int32_t leader_epoch, uint32_t home, bool transactional,
                        struct tide_out *out)
{
    struct tide_mail *m = mail_take(b, MAIL_APPEND);
    TIDE_ASSERT(m != NULL); /* produce_handle counted them */
    m->append = (struct mail_append){.partition = e->target,
                                     .records = records,
                                     .acks = r->produce.acks,
                                     .api_version = r->api_version,
                                     .transactional_id_given = transactional,
                                     .leader_epoch = leader_epoch,
                                     .arrived_ms = arrived_ms(b, r),
                                     .request = r,
                                     .entry = e};
    tide_slice_hold(records);
    slot_use(b, e->target);
    r->outstanding++;
    if (home == b->config.core)
        append_park(b, m, out);
    else
        mail_out(b, home, m);
}

static void append_entry(struct broker *b, struct request *r, struct produce_entry *e,
                         const struct view_partition *vp, struct tide_slice records,
                         bool transactional, struct tide_out *out)
{
    struct partition *p = vp->local;
    struct partition_append a = {.records = records,
                                 .acks = r->produce.acks,
                                 .api_version = r->api_version,
                                 .transactional_id_given = transactional,
                                 .leader_epoch = vp->leader_epoch,
                                 .arrived_ms = arrived_ms(b, r)};
    struct partition_appended ret;
    uint32_t slot = partition_slot(p);

    e->target = p;
    if (vp->home_core != b->config.core || b->waits[slot].parked_head != NULL || b->home[slot].partition != p ||
        partition_append(p, &b->time, &a, out, &ret) != TIDE_OK) {
        send_letter(b, r, e, records, vp->leader_epoch, vp->home_core, transactional, out);
        return;
    }
    r->produce.appended_here = true;
    count_append(b, records.len, &ret);
    slot_dirty(b, slot); /* others hear of it at the end of the turn, of all appends at once */
    take_result(b, r, e, p, &ret, true);
}

static void route_and_append(struct broker *b, struct request *r, bool transactional, struct tide_out *out)
{
    struct work_at at = {0};
    struct work_item *item;
    const struct topic_item *topic = NULL;
    const struct view_topic *known = NULL;
    bool bad_acks = r->produce.acks < -1 || r->produce.acks > 1;

    while ((item = work_next(&r->work, &at)) != NULL) {
        if (item->kind == ITEM_PRODUCE_TOPIC) {
            struct topic_item *next = (struct topic_item *)item;
            known = topic_of(b, next);
            if (next->error == 0 && known != NULL && known->internal) /* coordinators alone write there */
                next->error = KAFKA_INVALID_TOPIC_EXCEPTION;
            topic = next;
            continue;
        }
        struct produce_entry *e = (struct produce_entry *)item;
        const struct view_partition *vp = NULL;
        int16_t error = e->error != 0 ? e->error : route_within(b, topic, known, e->index, &vp);
        if (bad_acks)
            error = KAFKA_INVALID_REQUIRED_ACKS;
        if (error != 0)
            entry_failed(r, e, error);
        else
            append_entry(b, r, e, vp, e->records, transactional, out);
    }
}

enum tide_status produce_handle(struct broker *b, struct request *r, struct wire_cursor *body,
                                const struct tide_slice *frame, struct tide_out *out)
{
    struct produce_request in;
    uint64_t timeout_ms;

    (void)frame;
    if (r->produce.complete) { /* only the response was missing: its pool was empty */
        produce_try_respond(b, r);
        return TIDE_OK;
    }
    enum tide_status status = lay_out(b, r, body, &in);
    if (status != TIDE_OK)
        return status;
    r->produce.acks = in.acks;
    r->silent = in.acks == 0;
    if (!mails_suffice(b, r->produce.waiting))
        return TIDE_FULL;
    timeout_ms = in.timeout_ms < 0 ? 0 : TIDE_MIN((uint64_t)in.timeout_ms, (uint64_t)TIMEOUT_MS_MAX);
    r->stamps[STAMP_PARSED] = stage_now(b);
    route_and_append(b, r, !in.transactional_id.null, out);
    r->produce.complete = true;
    if (r->produce.appended_here) {
        stage_reach(r->stamps, STAMP_APPENDED, stage_now(b));
        if (r->produce.waiting == 0) /* one look for both */
            r->stamps[STAMP_REACHED] = r->stamps[STAMP_APPENDED];
    }
    if (r->produce.waiting != 0 && in.acks == -1)
        request_set_deadline(b, r, b->time.now_ns + timeout_ms * TIDE_NS_PER_MS);
    produce_try_respond(b, r);
    return TIDE_OK;
}
