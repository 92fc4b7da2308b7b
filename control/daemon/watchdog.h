/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Vouches for this broker to the service manager while control and every data core make progress.
 *
 * One timer, four times in the manager's period: each time all cores must have taken a turn since the last word, or nothing is
 * said. (A quiet point would not do: a core that hangs while it waits is quiet.) That the timer fires at all shows that
 * control's loop turns.
 *
 * Owner: the control thread.
 */
#ifndef TIDEMARK_CONTROL_DAEMON_WATCHDOG_H
#define TIDEMARK_CONTROL_DAEMON_WATCHDOG_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "tidemark/counters.h"
#include "tidemark/types.h"

struct watchdog {
    const struct tide_counters *cores[TIDE_CORES_MAX];
    uint64_t turns[TIDE_CORES_MAX]; /* at the last word */
    uint32_t core_count;
    uv_timer_t timer;
};

/* Does nothing when nobody watches. */
void watchdog_start(struct watchdog *, uv_loop_t *, const struct tide_counters *const *cores, uint32_t core_count);

#endif
