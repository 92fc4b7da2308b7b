/* SPDX-License-Identifier: Apache-2.0 */
#include "kafka/header.h"

#include "kafka/messages.h"

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
    if (kafka_request_is_v2(key, version))
        wire_put_uvarint(w, 0);
}

bool kafka_response_header_read(struct wire_cursor *c, int16_t key, int16_t version, int32_t *ret_correlation_id)
{
    *ret_correlation_id = wire_get_i32(c);
    if (kafka_response_is_v1(key, version))
        wire_skip_tags(c);
    return !c->failed;
}
