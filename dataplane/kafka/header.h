/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Request and response headers: one place that knows which API version has which (kafka-protocol
 * 1.2).
 */
#ifndef TIDEMARK_KAFKA_HEADER_H
#define TIDEMARK_KAFKA_HEADER_H

#include "kafka/wire.h"

struct kafka_request_header {
    int16_t request_api_key;
    int16_t request_api_version;
    int32_t correlation_id;
    struct wire_bytes client_id;
};

/* Only key, version and correlation id: for a version whose rest we may not know. */
bool kafka_request_header_peek(struct wire_cursor *, struct kafka_request_header *ret);
/* What is behind that, of a version that is known; the cursor then stands at the body. */
bool kafka_request_header_rest(struct wire_cursor *, struct kafka_request_header *);
/* The whole header. */
bool kafka_request_header_read(struct wire_cursor *, struct kafka_request_header *ret);
void kafka_request_header_write(struct wire_writer *, int16_t key, int16_t version, int32_t correlation_id,
                                const char *client_id, uint32_t client_id_len);
void kafka_response_header_write(struct wire_writer *, int16_t key, int16_t version, int32_t correlation_id);
bool kafka_response_header_read(struct wire_cursor *, int16_t key, int16_t version, int32_t *ret_correlation_id);

#endif
