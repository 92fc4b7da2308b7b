/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stages of requests in /metrics (broker/stages.h), all cores merged, and the turns of each core (core/turns.h), as summaries.
 *
 * A summary's quantiles are those of a window, its sum and count those since the start. The window is what came between the
 * newest of two earlier looks that is ten seconds old or more, and now; so quantiles follow the load, however long the broker
 * has run and whoever else looks.
 *
 * Owner: control. `struct stage_metrics` is made at the first look.
 */
#ifndef TIDEMARK_CONTROL_DAEMON_STAGE_METRICS_H
#define TIDEMARK_CONTROL_DAEMON_STAGE_METRICS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tidemark/histogram.h"

enum { STAGE_WINDOW_S = 10 };

/* One histogram over all time, and as it was at two earlier looks. */
struct stage_window {
    struct tide_histogram now, newer, older;
};
/* What is in the window; `ret` is the caller's. Its max_ns is the floor of the highest bucket. */
void stage_window_of(const struct stage_window *, struct tide_histogram *ret);
/* True when it is time for another look, which stage_window_look then takes of each. */
bool stage_window_is_due(uint64_t *looked_ns, uint64_t now_ns);
void stage_window_look(struct stage_window *);

struct world;
struct stage_metrics;
/* False: no memory. */
bool stage_metrics_render(struct stage_metrics **, const struct world *, uint64_t now_ns, FILE *);

#endif
