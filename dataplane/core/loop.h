/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A core's thread: feeds core_turn from the NIC, the disk and the helpers, and decides to idle.
 * The only place of the data plane that reads the clock.
 *
 * Idle. core.idle=spin polls for ever; core.idle=yield does, and after each empty turn lets others run. core.idle=wait polls a few more times and then blocks in
 * one io_uring wait that covers the ports' descriptors, disk completions, the doorbell and the
 * next timer; before it blocks it sets `asleep`, passes a full fence, looks at its mail once more
 * and goes offline for grace periods.
 */
#ifndef TIDEMARK_CORE_LOOP_H
#define TIDEMARK_CORE_LOOP_H

#include <stdatomic.h>
#include <stdbool.h>

#include "core/core.h"
#include "disk/disk.h"
#include "disk/help_pool.h"
#include "nic/nic.h"

struct rte_rcu_qsbr;

enum { LOOP_WAIT_MAX_MS = 100 }; /* a core that waits looks around this often */

struct loop_config {
    struct core *core;
    struct nic *nic;
    struct disk *disk;
    struct help_pool *helpers;
    struct rte_rcu_qsbr *qsbr;
    enum core_idle idle;
    uint32_t idle_polls;        /* empty turns before blocking */
    _Atomic bool *stop;
};

/* Runs until *stop. On the core's own thread. */
void loop_run(const struct loop_config *);

uint64_t loop_now_ns(void); /* CLOCK_MONOTONIC */

#endif
