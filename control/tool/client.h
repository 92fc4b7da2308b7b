/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tool as a Kafka client: what its commands share of librdkafka.
 */
#ifndef TIDEMARK_CONTROL_TOOL_CLIENT_H
#define TIDEMARK_CONTROL_TOOL_CLIENT_H

#include <librdkafka/rdkafka.h>

enum { CLIENT_TIMEOUT_MS = 15000 };

/* NULL after a message. */
rd_kafka_t *client_open(const char *bootstrap);
/* The one result of an admin call that has gone to the queue. NULL after a message when there is none in time, or when
 * the call as a whole failed. */
rd_kafka_event_t *client_wait(rd_kafka_queue_t *, const char *what);
/* Says what is wrong with `name`; true when nothing is. */
int client_is_good(const char *name, rd_kafka_resp_err_t, const char *text);

#endif
