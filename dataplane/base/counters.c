/* SPDX-License-Identifier: Apache-2.0 */
#include "tidemark/counters.h"

const char *const tide_counter_names[COUNTER_COUNT] = {
#define COUNTER(name, help) #name,
#include "tidemark/counters.def"
#undef COUNTER
};

const char *const tide_counter_help[COUNTER_COUNT] = {
#define COUNTER(name, help) help,
#include "tidemark/counters.def"
#undef COUNTER
};
