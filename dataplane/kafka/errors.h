/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kafka's error codes.
 */
#ifndef TIDEMARK_KAFKA_ERRORS_H
#define TIDEMARK_KAFKA_ERRORS_H

#include <stdbool.h>
#include <stdint.h>

enum kafka_error {
#define ERROR(name, code, retriable) KAFKA_##name = code,
#include "kafka/errors.def"
#undef ERROR
};

/* The protocol's name of the code, "UNKNOWN" for one that is not in the table. */
const char *kafka_error_name(int16_t code);
bool kafka_error_is_retriable(int16_t code);

#endif
