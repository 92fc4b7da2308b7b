/* SPDX-License-Identifier: Apache-2.0 */
#include "kafka/errors.h"

const char *kafka_error_name(int16_t code)
{
    switch (code) {
#define ERROR(name, number, retriable)                                                             \
    case number:                                                                                   \
        return #name;
#include "kafka/errors.def"
#undef ERROR
    default:
        return "UNKNOWN";
    }
}

bool kafka_error_is_retriable(int16_t code)
{
    switch (code) {
#define ERROR(name, number, retriable)                                                             \
    case number:                                                                                   \
        return retriable;
#include "kafka/errors.def"
#undef ERROR
    default:
        return false;
    }
}
