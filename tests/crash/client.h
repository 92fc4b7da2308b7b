/* SPDX-License-Identifier: Apache-2.0 */
/* What the clients on librdkafka that write histories have in common. What goes wrong in here ends the program with status 2. */
#ifndef TIDEMARK_CRASH_CLIENT_H
#define TIDEMARK_CRASH_CLIENT_H

#include <stdbool.h>
#include <stdio.h>

#include <librdkafka/rdkafka.h>

double client_now_ms(void);
void client_set(rd_kafka_conf_t *, const char *name, const char *value);
/* Takes the settings. With TIDE_CLIENT_DEBUG=eos,msg the library says there what it does, as comments of a history; NULL: nothing. */
rd_kafka_t *client_open(rd_kafka_type_t, rd_kafka_conf_t *, FILE *comments);
/* Nobody writes to our standard input any more. */
bool client_input_ended(void);

#endif
