/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>

#include "bench/load/worker.h"

enum { SERIES_DIGITS = 2, DIGITS = 3 };

bool load_result_init(struct load_result *r, const struct load_options *o)
{
    *r = (struct load_result){.interval_ns = o->interval_ms * TIDE_NS_PER_MS};
    r->interval_count = (unsigned)ceil((o->warmup_s + o->duration_s + o->drain_s) * 1e9 / (double)r->interval_ns) + 1;
    r->intervals = calloc(r->interval_count, sizeof(*r->intervals));
    bool good = r->intervals != NULL;
    for (unsigned i = 0; good && i < r->interval_count; i++)
        good = load_hist_init(&r->intervals[i].produce, SERIES_DIGITS) && load_hist_init(&r->intervals[i].e2e, SERIES_DIGITS);
    return good && load_hist_init(&r->produce, DIGITS) && load_hist_init(&r->e2e, DIGITS) && load_hist_init(&r->lag, DIGITS) &&
           load_hist_init(&r->queue, DIGITS);
}

struct load_interval *load_result_interval(struct load_result *r, uint64_t from_start_ns)
{
    uint64_t i = from_start_ns / r->interval_ns;
    return &r->intervals[TIDE_MIN(i, (uint64_t)r->interval_count - 1)];
}

void load_result_deinit(struct load_result *r)
{
    for (unsigned i = 0; r->intervals != NULL && i < r->interval_count; i++) {
        load_hist_deinit(&r->intervals[i].produce);
        load_hist_deinit(&r->intervals[i].e2e);
    }
    free(r->intervals);
    load_hist_deinit(&r->produce);
    load_hist_deinit(&r->e2e);
    load_hist_deinit(&r->lag);
    load_hist_deinit(&r->queue);
}

static void merge_interval(struct load_interval *to, const struct load_interval *from)
{
    to->due += from->due;
    to->sent += from->sent;
    to->acked += from->acked;
    to->read += from->read;
    to->errors += from->errors;
    to->lag_max_ns = TIDE_MAX(to->lag_max_ns, from->lag_max_ns);
    to->waiting_max = TIDE_MAX(to->waiting_max, from->waiting_max);
    load_hist_merge(&to->produce, &from->produce);
    load_hist_merge(&to->e2e, &from->e2e);
}

void load_result_merge(struct load_result *r, const struct load_result *from)
{
#define X(name, help) r->name += from->name;
    LOAD_COUNTERS(X)
#undef X
    for (unsigned i = 0; i < LOAD_ERROR_CODES; i++)
        r->errors[i] += from->errors[i];
    r->measured_due += from->measured_due;
    r->measured_acked += from->measured_acked;
    r->backlog += from->backlog;
    r->waiting_max = TIDE_MAX(r->waiting_max, from->waiting_max);
    load_hist_merge(&r->produce, &from->produce);
    load_hist_merge(&r->e2e, &from->e2e);
    load_hist_merge(&r->lag, &from->lag);
    load_hist_merge(&r->queue, &from->queue);
    for (unsigned i = 0; i < r->interval_count; i++)
        merge_interval(&r->intervals[i], &from->intervals[i]);
}
