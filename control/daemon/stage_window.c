/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "daemon/stage_metrics.h"
#include "tidemark/types.h"

void stage_window_of(const struct stage_window *w, struct tide_histogram *ret)
{
    *ret = (struct tide_histogram){.sum_ns = w->now.sum_ns - w->older.sum_ns};
    for (uint32_t i = 0; i < TIDE_HISTOGRAM_BUCKETS; i++) {
        ret->buckets[i] = w->now.buckets[i] - w->older.buckets[i];
        if (ret->buckets[i] != 0)
            ret->max_ns = tide_histogram_floor(i);
    }
    /* The last bucket has no end, and the longest of all time is exact. */
    if (ret->max_ns != 0 && tide_histogram_bucket(ret->max_ns) == tide_histogram_bucket(w->now.max_ns))
        ret->max_ns = w->now.max_ns;
}

bool stage_window_is_due(uint64_t *looked_ns, uint64_t now_ns)
{
    if (*looked_ns != 0 && now_ns - *looked_ns < STAGE_WINDOW_S * TIDE_NS_PER_S)
        return false;
    *looked_ns = now_ns;
    return true;
}

void stage_window_look(struct stage_window *w)
{
    memcpy(&w->older, &w->newer, sizeof(w->older));
    memcpy(&w->newer, &w->now, sizeof(w->newer));
}
