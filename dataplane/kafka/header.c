/* SPDX-License-Identifier: Apache-2.0 */
#include "kafka/header.h"

#include "kafka/messages.h"

static bool request_is_v2(int16_t key, int16_t version)
{
    int16_t flexible = kafka_flexible_from(key);
    return flexible >= 0 && version >= flexible;
}

/* ApiVersions answers always carry the old header: the client cannot know ours yet (KIP-511). */
static bool response_is_v1(int16_t key, int16_t version)
{
    return key != KAFKA_API_API_VERSIONS && request_is_v2(key, version);
}

bool kafka_request_header_peek(struct wire_cursor *c, struct kafka_request_header *ret)
{
    uint8_t b[8];
    wire_get_raw(c, b, sizeof(b));
    *ret = (struct kafka_request_header){.request_api_key = (int16_t)load_be16(b),
                                         .request_api_version = (int16_t)load_be16(b + 2),
                                         .correlation_id = (int32_t)load_be32(b + 4)};
    return !c->failed;
}

bool kafka_request_header_rest(struct wire_cursor *c, struct kafka_request_header *ret)
{
    ret->client_id = wire_get_string(c, false, true);
    if (request_is_v2(ret->request_api_key, ret->request_api_version))
        wire_skip_tags(c);
    return !c->failed;
}

bool kafka_request_header_read(struct wire_cursor *c, struct kafka_request_header *ret)
{
    return kafka_request_header_peek(c, ret) && kafka_request_header_rest(c, ret);
}

void kafka_request_header_write(struct wire_writer *w, int16_t key, int16_t version, int32_t correlation_id,
                                const char *client_id, uint32_t client_id_len)
{
    wire_put_i16(w, key);
    wire_put_i16(w, version);
    wire_put_i32(w, correlation_id);
    wire_put_string(w, false, client_id, client_id_len);
    if (request_is_v2(key, version))
        wire_put_uvarint(w, 0);
}

void kafka_response_header_write(struct wire_writer *w, int16_t key, int16_t version, int32_t correlation_id)
{
    wire_put_i32(w, correlation_id);
    if (response_is_v1(key, version))
        wire_put_uvarint(w, 0);
}

bool kafka_response_header_read(struct wire_cursor *c, int16_t key, int16_t version, int32_t *ret_correlation_id)
{
    *ret_correlation_id = wire_get_i32(c);
    if (response_is_v1(key, version))
        wire_skip_tags(c);
    return !c->failed;
}
