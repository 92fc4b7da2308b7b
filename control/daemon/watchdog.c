/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/watchdog.h"

#include <string.h>

#include "edge/notify.h"

enum { LOOKS_PER_PERIOD = 4 };

static uint64_t turns_of(const struct watchdog *w, uint32_t core)
{
    return __atomic_load_n(&w->cores[core]->values[COUNTER_turns], __ATOMIC_RELAXED);
}

static void on_timer(uv_timer_t *timer)
{
    struct watchdog *w = timer->data;
    for (uint32_t i = 0; i < w->core_count; i++)
        if (turns_of(w, i) == w->turns[i])
            return;
    (void)notify_send("WATCHDOG=1");
    for (uint32_t i = 0; i < w->core_count; i++)
        w->turns[i] = turns_of(w, i);
}

void watchdog_start(struct watchdog *w, uv_loop_t *loop, const struct tide_counters *const *cores, uint32_t core_count)
{
    uint64_t period_ms = notify_watchdog_us() / 1000 / LOOKS_PER_PERIOD;
    if (notify_watchdog_us() == 0)
        return;
    memcpy(w->cores, cores, core_count * sizeof(cores[0]));
    w->core_count = core_count;
    uv_timer_init(loop, &w->timer);
    w->timer.data = w;
    uv_timer_start(&w->timer, on_timer, TIDE_MAX(period_ms, 1), TIDE_MAX(period_ms, 1));
}
