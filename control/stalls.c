/* SPDX-License-Identifier: Apache-2.0 */
#include "control/stalls.h"

void stalls_on_look(struct stalls *s, uint64_t now_ms, uint32_t core, uint64_t turns, bool late)
{
    if (s->turns[core] == turns && s->since_ms[core] != 0 && !late)
        return;
    s->turns[core] = turns;
    s->since_ms[core] = now_ms;
}

bool stalls_is(const struct stalls *s, uint64_t now_ms, uint32_t cores, uint64_t timeout_ms)
{
    for (uint32_t i = 0; i < cores; i++)
        if (s->since_ms[i] != 0 && now_ms - s->since_ms[i] >= timeout_ms + STALLS_SLEEP_MS)
            return true;
    return false;
}
