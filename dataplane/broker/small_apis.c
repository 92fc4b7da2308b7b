/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The APIs that fit on a page: ApiVersions, OffsetForLeaderEpoch, and those that control answers.
 */
#include "broker/internal.h"

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* [a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])? (KIP-511) */
static bool is_software_word(const struct wire_bytes *word)
{
    struct tide_slice rest = word->at;
    const uint8_t *piece;
    uint32_t n;
    char last = 0;
    bool first = true;
    if (word->null || word->at.len == 0)
        return false;
    while ((n = tide_slice_next(&rest, &piece)) != 0) {
        for (uint32_t i = 0; i < n; i++) {
            last = (char)piece[i];
            if (!is_word(last) && (first || (last != '-' && last != '.')))
                return false;
            first = false;
        }
    }
    return is_word(last);
}

/* An older client cannot read the range of a feature that may be off (KIP-584). */
static bool is_shown(const struct view_feature *f, int16_t v)
{
    return v >= 4 || f->min > 0;
}

static uint32_t list_bytes(const struct tide_view *view, int16_t v, bool finalized)
{
    uint32_t bytes = 1; /* the count */
    for (uint32_t i = 0; i < view->feature_count; i++) {
        const struct view_feature *f = &view->features[i];
        if (finalized ? f->level > 0 : is_shown(f, v))
            bytes += 1 + (uint32_t)strlen(f->name) + 2 + 2 + 1; /* length, name, two levels, tags */
    }
    return bytes;
}
static_assert(VIEW_FEATURE_NAME_MAX <= 127, "the length of a name is one byte");

static void put_list(struct wire_writer *w, const struct tide_view *view, int16_t v, bool finalized)
{
    int32_t count = 0;
    for (uint32_t i = 0; i < view->feature_count; i++)
        count += finalized ? view->features[i].level > 0 : is_shown(&view->features[i], v);
    wire_put_uvarint(w, list_bytes(view, v, finalized));
    wire_put_count(w, true, count);
    for (uint32_t i = 0; i < view->feature_count; i++) {
        const struct view_feature *f = &view->features[i];
        uint32_t len = (uint32_t)strlen(f->name);
        if (finalized && f->level > 0) {
            api_versions_response_finalized_feature_key_put_name(w, v, f->name, len);
            api_versions_response_finalized_feature_key_put_max_version_level(w, v, f->level);
            api_versions_response_finalized_feature_key_put_min_version_level(w, v, f->level);
            api_versions_response_finalized_feature_key_end(w, v);
        } else if (!finalized && is_shown(f, v)) {
            api_versions_response_supported_feature_key_put_name(w, v, f->name, len);
            api_versions_response_supported_feature_key_put_min_version(w, v, f->min);
            api_versions_response_supported_feature_key_put_max_version(w, v, f->max);
            api_versions_response_supported_feature_key_end(w, v);
        }
    }
}

void api_versions_put_features(struct wire_writer *w, const struct tide_view *view, int16_t v)
{
    enum { TAG_SUPPORTED, TAG_EPOCH, TAG_FINALIZED, TAGS };
    if (v < 3)
        return;
    wire_put_uvarint(w, TAGS);
    wire_put_uvarint(w, TAG_SUPPORTED);
    put_list(w, view, v, false);
    wire_put_uvarint(w, TAG_EPOCH);
    wire_put_uvarint(w, sizeof(int64_t));
    wire_put_i64(w, view->cluster_index);
    wire_put_uvarint(w, TAG_FINALIZED);
    put_list(w, view, v, true);
}

static enum tide_status api_versions_write(struct broker *b, struct request *r, int16_t error, bool only_self)
{
    struct wire_writer w;
    int16_t v = r->api_version;

    response_begin(b, r, &w);
    api_versions_response_put_error_code(&w, v, error);
    api_versions_response_open_api_keys(&w, v, only_self ? 1 : (int32_t)api_row_count);
    for (unsigned i = 0; i < api_row_count; i++) {
        const struct api_row *row = &api_rows[i];
        if (only_self && row->key != KAFKA_API_API_VERSIONS)
            continue;
        api_versions_response_api_version_put_api_key(&w, v, row->key);
        api_versions_response_api_version_put_min_version(&w, v, row->advertised_min);
        api_versions_response_api_version_put_max_version(&w, v, row->max);
        api_versions_response_api_version_end(&w, v);
    }
    api_versions_response_put_throttle_time_ms(&w, v, 0);
    api_versions_put_features(&w, b->view, v);
    if (response_end(r, &w) != TIDE_OK)
        return TIDE_FULL;
    request_done(b, r);
    return TIDE_OK;
}

enum tide_status api_versions_handle(struct broker *b, struct request *r, struct wire_cursor *body,
                                     const struct tide_slice *frame, struct tide_out *out)
{
    struct api_versions_request in;
    (void)frame;
    (void)out;
    if (!api_versions_request_read(body, r->api_version, &in))
        return TIDE_BAD;
    if (r->api_version >= 3 && (!is_software_word(&in.client_software_name) ||
                                !is_software_word(&in.client_software_version)))
        return api_versions_write(b, r, KAFKA_INVALID_REQUEST, false);
    return api_versions_write(b, r, 0, false);
}

/* A version we do not know: a v0 body that names ours (KIP-511). */
enum tide_status api_versions_unsupported(struct broker *b, struct request *r)
{
    r->api_version = 0;
    return api_versions_write(b, r, KAFKA_UNSUPPORTED_VERSION, true);
}

static void write_epoch_end(struct broker *b, struct wire_writer *w, int16_t v, const struct wire_bytes *name,
                            const struct offset_for_leader_epoch_request_partition *p)
{
    char text[TIDE_TOPIC_NAME_MAX + 1];
    const struct view_topic *t = NULL;
    const struct view_partition *vp = NULL;
    struct partition_look look;
    int16_t error;
    int32_t epoch = -1;
    int64_t end = -1;

    if (name->at.len <= TIDE_TOPIC_NAME_MAX) {
        tide_slice_copy(name->at, text);
        t = tide_view_topic(b->view, text, name->at.len);
    }
    if (t != NULL)
        vp = tide_view_partition(t, p->partition);
    error = vp != NULL ? judge_reader(b, vp, p->current_leader_epoch, false, &look) : KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    if (error == 0)
        log_end_for_epoch(partition_log(vp->local), p->leader_epoch, &epoch, &end);
    offset_for_leader_epoch_response_epoch_end_offset_put_error_code(w, v, error);
    offset_for_leader_epoch_response_epoch_end_offset_put_partition(w, v, p->partition);
    offset_for_leader_epoch_response_epoch_end_offset_put_leader_epoch(w, v, epoch);
    offset_for_leader_epoch_response_epoch_end_offset_put_end_offset(w, v, end);
    offset_for_leader_epoch_response_epoch_end_offset_end(w, v);
}

enum tide_status offset_for_leader_epoch_handle(struct broker *b, struct request *r, struct wire_cursor *body,
                                                const struct tide_slice *frame, struct tide_out *out)
{
    struct offset_for_leader_epoch_request in;
    struct offset_for_leader_epoch_request_topic t;
    struct wire_list topics;
    struct wire_writer w;
    enum tide_status status;
    int64_t count;
    int16_t v = r->api_version;

    (void)frame;
    (void)out;
    if (!offset_for_leader_epoch_request_read(body, v, &in) || in.topics.count > REQUEST_PARTITIONS_MAX)
        return TIDE_BAD;
    topics = in.topics;
    for (count = 0; offset_for_leader_epoch_request_topic_next(&topics, v, &t);)
        count += t.partitions.count;
    if (count > REQUEST_PARTITIONS_MAX)
        return TIDE_BAD;
    response_begin(b, r, &w);
    offset_for_leader_epoch_response_put_throttle_time_ms(&w, v, 0);
    offset_for_leader_epoch_response_open_topics(&w, v, in.topics.count);
    topics = in.topics;
    while (!w.failed && offset_for_leader_epoch_request_topic_next(&topics, v, &t)) {
        struct offset_for_leader_epoch_request_partition p;
        struct wire_list partitions = t.partitions;
        offset_for_leader_epoch_response_topic_put_topic_slice(&w, v, &t.topic);
        offset_for_leader_epoch_response_topic_open_partitions(&w, v, t.partitions.count);
        while (offset_for_leader_epoch_request_partition_next(&partitions, v, &p))
            write_epoch_end(b, &w, v, &t.topic, &p);
        offset_for_leader_epoch_response_topic_end(&w, v);
    }
    offset_for_leader_epoch_response_end(&w, v);
    status = response_end(r, &w);
    if (status == TIDE_OK)
        request_done(b, r);
    return status;
}

/* The admin APIs: control reads the request and writes the body of the answer. */
enum tide_status ask_handle(struct broker *b, struct request *r, struct wire_cursor *body,
                            const struct tide_slice *frame, struct tide_out *out)
{
    struct wire_writer w;
    (void)out;
    if (r->response.len == 0)
        return request_ask(b, r, frame, body);
    /* The answer is here: put the frame's head before it. */
    response_begin(b, r, &w);
    wire_put_rope(&w, &r->response);
    if (response_end(r, &w) != TIDE_OK)
        return TIDE_BAD; /* the answer went with the writer: the client asks again */
    request_done(b, r);
    return TIDE_OK;
}
