/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Request and response headers: one place that knows which API version has which (kafka-protocol
 * 1.2).
 */
#ifndef TIDEMARK_KAFKA_HEADER_H
#define TIDEMARK_KAFKA_HEADER_H

#include "kafka/messages.h"
#include "kafka/wire.h"

struct kafka_request_header {
    int16_t request_api_key;
    int16_t request_api_version;
    int32_t correlation_id;
    struct wire_bytes client_id;
};

/* The headers of flexible versions have tagged fields. */
static inline bool kafka_request_is_v2(int16_t key, int16_t version)
{
    int16_t flexible = kafka_flexible_from(key);
    return flexible >= 0 && version >= flexible;
}

/* ApiVersions answers always carry the old header: the client cannot know ours yet (KIP-511). */
static inline bool kafka_response_is_v1(int16_t key, int16_t version)
{
    return key != KAFKA_API_API_VERSIONS && kafka_request_is_v2(key, version);
}

/* Only key, version and correlation id: for a version whose rest we may not know. */
static inline bool kafka_request_header_peek(struct wire_cursor *c, struct kafka_request_header *ret)
{
    uint8_t b[8];
    wire_get_raw(c, b, sizeof(b));
    *ret = (struct kafka_request_header){.request_api_key = (int16_t)load_be16(b),
                                         .request_api_version = (int16_t)load_be16(b + 2),
                                         .correlation_id = (int32_t)load_be32(b + 4)};
    return !c->failed;
}

/* What is behind that, of a version that is known; the cursor then stands at the body. */
static inline bool kafka_request_header_rest(struct wire_cursor *c, struct kafka_request_header *ret)
{
    ret->client_id = wire_get_string(c, false, true);
    if (kafka_request_is_v2(ret->request_api_key, ret->request_api_version))
        wire_skip_tags(c);
    return !c->failed;
}

/* The whole header. */
bool kafka_request_header_read(struct wire_cursor *, struct kafka_request_header *ret);
void kafka_request_header_write(struct wire_writer *, int16_t key, int16_t version, int32_t correlation_id,
                                const char *client_id, uint32_t client_id_len);

static inline void kafka_response_header_write(struct wire_writer *w, int16_t key, int16_t version, int32_t correlation_id)
{
    wire_put_i32(w, correlation_id);
    if (kafka_response_is_v1(key, version))
        wire_put_uvarint(w, 0);
}

bool kafka_response_header_read(struct wire_cursor *, int16_t key, int16_t version, int32_t *ret_correlation_id);

#endif
