/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a broker knows of its own data path and of its peers', as it travels in a heartbeat.
 */
#ifndef TIDEMARK_CONTROL_NODE_HEALTH_H
#define TIDEMARK_CONTROL_NODE_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include "tidemark/types.h"

enum {
    HEALTH_SILENT_MAX = 32,  /* peers that one heartbeat names; more than that is the fabric's fault */
    HEALTH_OFFLINE_MAX = 16, /* data directories */
};

/* A peer that shares a partition with us and was not heard lately, or does not hear us. */
struct health_silence {
    int32_t broker;
    uint32_t heard_ms;     /* since we heard it on the data network */
    uint32_t confirmed_ms; /* since it confirmed that it hears us */
};

struct node_health {
    bool faulty; /* every port down or a data core silent, for longer than data.self.timeout.ms */
    uint32_t silent_count;
    struct health_silence silent[HEALTH_SILENT_MAX];
    uint32_t offline_count;
    struct tide_uuid offline[HEALTH_OFFLINE_MAX]; /* data directories that failed */
};

#endif
