/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One view of a broker, from two of its /metrics pages: text in, text out. Rates are by the broker's own clock.
 *
 * Owner: the caller. A page keeps its text, and samples that point into it.
 */
#ifndef TIDEMARK_CONTROL_TOOL_TOP_VIEW_H
#define TIDEMARK_CONTROL_TOOL_TOP_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { TOP_SAMPLES_MAX = 16384 };

struct top_sample {
    const char *name, *labels; /* without braces; "" */
    double value;
};

struct top_page {
    char *text;
    size_t count;
    struct top_sample samples[TOP_SAMPLES_MAX];
};

/* Takes text over, also when it is no page of a broker (false). Lines that are no samples are passed over. */
bool top_page_read(struct top_page *, char *text);
void top_page_clear(struct top_page *);
/* `before`: an earlier page of the same broker, or one that is empty: no rates then. */
void top_view(const struct top_page *now, const struct top_page *before, FILE *);

#endif
