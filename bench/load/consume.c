/* SPDX-License-Identifier: Apache-2.0 */
/* What is read back. */
#include "bench/load/internal.h"
#include "kafka/batch.h"
#include "kafka/errors.h"

void worker_ask_fetch(struct load_worker *w, struct load_client *c)
{
    struct wire_writer q;
    const struct load_options *o = w->options;
    struct proto_fetch f = {.partition = (int32_t)c->partition, .offset = c->offset, .wait_ms = (int32_t)o->fetch_wait_ms,
                            .min_bytes = (int32_t)o->fetch_min_bytes, .max_bytes = (int32_t)o->fetch_max_bytes};
    if (c->asked_ns != 0 || w->now_ns < c->again_ns || !worker_knows(w, KAFKA_API_FETCH))
        return;
    worker_ask_begin(w, c, &q, KAFKA_API_FETCH);
    proto_put_fetch(&q, w->versions.of[KAFKA_API_FETCH], &w->topic, &f);
    worker_ask_end(w, c, &q);
}

static void on_record(struct load_worker *w, const struct batch_record *rec)
{
    uint32_t producer;
    uint64_t intended_ns = 0;
    w->result.records++;
    if (rec->value == NULL || !content_producer(&w->content, rec->value, (size_t)rec->value_len, &producer)) {
        w->result.foreign++;
        return;
    }
    uint32_t client = producer < w->options->producers ? w->client_of_producer[producer] : 0;
    if (client == 0) {
        w->result.damaged++;
        return;
    }
    switch (content_seen(&w->content, &w->clients[client].fate, rec->value, (size_t)rec->value_len, &intended_ns)) {
    case CONTENT_MORE: return;
    case CONTENT_DUPLICATE: w->result.duplicates++; return;
    case CONTENT_DAMAGED: w->result.damaged++; return;
    case CONTENT_DISORDER: w->result.disorder++; break;
    case CONTENT_FIRST: break;
    }
    if (intended_ns < w->start_ns || intended_ns > w->now_ns) {
        w->result.damaged++;
        return;
    }
    worker_interval_now(w)->read++;
    load_hist_add(&load_result_interval(&w->result, intended_ns - w->start_ns)->e2e, w->now_ns - intended_ns);
    if (worker_is_measured(w, intended_ns - w->start_ns))
        load_hist_add(&w->result.e2e, w->now_ns - intended_ns);
}

/* One batch at `p`; 0: the rest is no whole batch. Returns its size. */
static size_t on_batch(struct load_worker *w, struct load_client *c, const uint8_t *p, size_t left)
{
    struct batch_header h;
    struct batch_iter it;
    struct batch_record rec;
    if (left < BATCH_HEADER)
        return 0;
    batch_header_parse(p, &h);
    if (h.batch_length < BATCH_LENGTH_MIN || batch_size(&h) > left)
        return 0;
    bool counted = h.base_offset >= 0 && h.last_offset_delta >= 0 && h.base_offset < INT64_MAX - h.last_offset_delta;
    bool good = h.magic == 2 && counted && batch_crc_update(0, p + BATCH_ATTRIBUTES, batch_size(&h) - BATCH_ATTRIBUTES) == h.crc;
    if (!good)
        w->result.damaged++;
    if (good && batch_codec_of(&h) == CODEC_NONE && !(h.attributes & BATCH_CONTROL)) {
        batch_iter_init(&it, &h, p + BATCH_HEADER, batch_size(&h) - BATCH_HEADER);
        while (batch_iter_next(&it, &rec))
            if (rec.offset >= c->offset) /* the batch of an offset comes whole */
                on_record(w, &rec);
        w->result.damaged += it.bad;
    } else if (good) {
        w->result.foreign += (uint64_t)TIDE_MAX(h.record_count, 0);
    }
    if (good && batch_last_offset(&h) >= c->offset)
        c->offset = batch_last_offset(&h) + 1;
    return batch_size(&h);
}

void worker_on_fetched(struct load_worker *w, struct load_client *c, struct wire_cursor *at)
{
    int16_t error;
    struct tide_slice records;
    if (!proto_read_fetch(at, w->versions.of[KAFKA_API_FETCH], &error, &records)) {
        worker_malformed(w, c);
        return;
    }
    w->result.fetches++;
    if (error == KAFKA_OFFSET_OUT_OF_RANGE) {
        worker_count_error(w, error);
        c->offset = -1;
        worker_client_move(c, CLIENT_ASKING);
        worker_ask_offset(w, c);
        return;
    }
    if (error != 0) {
        worker_count_error(w, error);
        c->again_ns = w->now_ns + w->options->retry_ms * TIDE_NS_PER_MS;
        if (worker_leader_is_elsewhere(error))
            worker_client_lost(w, c);
        return;
    }
    tide_slice_copy(records, w->scratch);
    w->result.bytes += records.len;
    for (size_t n, done = 0; (n = on_batch(w, c, w->scratch + done, records.len - done)) != 0;)
        done += n;
    worker_ask_fetch(w, c);
}
