/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests in progress: slots, deadlines (a binary heap: the only timers of the broker), the
 * frame of a response, and questions to control.
 */
#include "broker/internal.h"

#include "tidemark/bytes.h"

static void heap_swap(struct broker *b, uint32_t i, uint32_t j)
{
    struct request *r = b->heap[i];
    b->heap[i] = b->heap[j];
    b->heap[j] = r;
    b->heap[i]->heap_at = i + 1;
    b->heap[j]->heap_at = j + 1;
}

static void heap_up(struct broker *b, uint32_t i)
{
    while (i != 0 && b->heap[i]->deadline_ns < b->heap[(i - 1) / 2]->deadline_ns) {
        heap_swap(b, i, (i - 1) / 2);
        i = (i - 1) / 2;
    }
}

static void heap_down(struct broker *b, uint32_t i)
{
    for (;;) {
        uint32_t least = i;
        for (uint32_t c = 2 * i + 1; c <= 2 * i + 2 && c < b->heap_count; c++)
            if (b->heap[c]->deadline_ns < b->heap[least]->deadline_ns)
                least = c;
        if (least == i)
            return;
        heap_swap(b, i, least);
        i = least;
    }
}

static void heap_remove(struct broker *b, struct request *r)
{
    uint32_t i = r->heap_at;
    if (i == 0)
        return;
    i--;
    r->heap_at = 0;
    b->heap_count--;
    if (i != b->heap_count) {
        b->heap[i] = b->heap[b->heap_count];
        b->heap[i]->heap_at = i + 1;
        heap_up(b, i);
        heap_down(b, b->heap[i]->heap_at - 1);
    }
}

void request_set_deadline(struct broker *b, struct request *r, uint64_t deadline_ns)
{
    heap_remove(b, r);
    r->deadline_ns = deadline_ns;
    if (deadline_ns == TIDE_NEVER)
        return;
    b->heap[b->heap_count] = r;
    r->heap_at = ++b->heap_count;
    heap_up(b, b->heap_count - 1);
}

struct request *request_take(struct broker *b, struct session *s)
{
    struct request *r;
    uint32_t slot;
    uint32_t generation;

    if (b->free_request_count == 0)
        return NULL;
    slot = b->free_requests[--b->free_request_count];
    r = &b->requests[slot];
    TIDE_ASSERT(r->state == REQUEST_FREE);
    generation = r->generation + 1;
    tide_zero(r, offsetof(struct request, work.near));
    r->slot = slot;
    r->generation = generation;
    r->state = REQUEST_OPEN;
    r->session = s;
    r->arrived_ns = s->arrived_ns;
    r->deadline_ns = TIDE_NEVER;
    link_init(&r->in_session);
    link_init(&r->in_retry);
    return r;
}

static void forget_waiters(struct broker *b, struct request *r)
{
    struct work_at at = {0};
    struct work_item *item;
    while ((item = work_next(&r->work, &at)) != NULL) {
        if (item->kind == ITEM_PRODUCE)
            wait_remove(b, &((struct produce_entry *)item)->waiter);
        else if (item->kind == ITEM_FETCH)
            wait_remove(b, &((struct fetch_entry *)item)->waiter);
    }
}

void request_give(struct broker *b, struct request *r)
{
    TIDE_ASSERT(r->state != REQUEST_FREE);
    TIDE_ASSERT(r->outstanding == 0);
    if (r->heap_at != 0)
        heap_remove(b, r);
    link_remove(&r->in_session);
    link_remove(&r->in_retry);
    if (r->api_key != KAFKA_API_PRODUCE) {
        fetch_abandon(b, r);
        forget_waiters(b, r);
        groups_api_forget(r);
    } else if (r->produce.waiting != 0) { /* who has a final result waits no more */
        forget_waiters(b, r);
    }
    work_clear(&r->work);
    tide_rope_clear(&r->frame);
    tide_rope_clear(&r->response);
    room_came(b);
    r->state = REQUEST_FREE;
    b->free_requests[b->free_request_count++] = r->slot;
}

void request_done(struct broker *b, struct request *r)
{
    TIDE_ASSERT(r->state == REQUEST_OPEN);
    r->state = REQUEST_DONE;
    if (r->heap_at != 0)
        request_set_deadline(b, r, TIDE_NEVER);
    link_remove(&r->in_retry);
    if (r->session != NULL)
        session_emit(r->session); /* may give r back */
    else if (r->outstanding == 0)
        request_give(b, r);
}

bool request_came_back(struct broker *b, struct request *r)
{
    TIDE_ASSERT(r->outstanding != 0);
    r->outstanding--;
    room_came(b);
    if (r->session == NULL && r->outstanding == 0) {
        request_give(b, r);
        return false;
    }
    return true;
}

void request_retry(struct broker *b, struct request *r)
{
    if (!link_is_listed(&r->in_retry))
        link_append(&b->retry, &r->in_retry);
}

void response_begin(struct broker *b, struct request *r, struct wire_writer *w)
{
    wire_writer_init(w, b->config.response_pool);
    wire_frame_begin(w);
    kafka_response_header_write(w, r->api_key, r->api_version, r->correlation_id);
}

uint32_t response_bytes_max(struct rte_mempool *pool)
{
    return pool->size / 4 * rte_pktmbuf_data_room_size(pool);
}

enum tide_status response_end(struct request *r, struct wire_writer *w)
{
    if (!wire_frame_end(w)) {
        bool hopeless = w->out.len > response_bytes_max(w->pool);
        wire_writer_abandon(w);
        return hopeless ? TIDE_BAD : TIDE_FULL;
    }
    r->response = w->out;
    return TIDE_OK;
}

bool copy_densely(struct broker *b, struct tide_slice from, struct tide_rope *ret)
{
    const uint8_t *piece;
    uint32_t n;
    *ret = (struct tide_rope){0};
    while ((n = tide_slice_next(&from, &piece)) != 0) {
        if (tide_rope_copy_in(ret, b->config.request_pool, piece, n) != TIDE_OK) {
            tide_rope_clear(ret);
            tide_count(b->counters, COUNTER_request_memory_empty);
            return false;
        }
    }
    return true;
}

enum tide_status request_keep_frame(struct broker *b, struct request *r, const struct tide_slice *frame)
{
    return r->frame.len != 0 || copy_densely(b, *frame, &r->frame) ? TIDE_OK : TIDE_FULL;
}

enum tide_status request_ask(struct broker *b, struct request *r, const struct tide_slice *frame,
                             const struct wire_cursor *body)
{
    struct tide_mail *m;
    uint32_t at = frame->len - wire_left(body);

    if (request_keep_frame(b, r, frame) != TIDE_OK)
        return TIDE_FULL;
    m = mail_take(b, MAIL_ASK);
    if (m == NULL)
        return TIDE_FULL;
    m->ask.request = r;
    m->ask.api_key = r->api_key;
    m->ask.api_version = r->api_version;
    m->ask.listener = r->session->listener;
    m->ask.body = tide_rope_slice(&r->frame, at, r->frame.len - at);
    m->ask.answer = (struct tide_rope){0};
    r->outstanding++;
    mail_out(b, b->config.office->core_count, m);
    return TIDE_OK;
}
