/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a run says of itself: whether it may be believed, a summary for people, everything as JSON, HdrHistogram's log.
 */
#ifndef TIDEMARK_BENCH_LOAD_REPORT_H
#define TIDEMARK_BENCH_LOAD_REPORT_H

#include "bench/load/worker.h"

enum { LOAD_REASONS_MAX = 8, LOAD_REASON_TEXT = 200 };

struct load_report {
    const char *tool;
    const struct load_options *options;
    const struct load_result *result;
    int64_t start_wall_ms;
    uint64_t start_ns;
    double elapsed_s, cpu_user_s, cpu_system_s;
    double load_before[3];
    bool stopped; /* by a signal, before its end */
    /* load_report_judge */
    unsigned reason_count; /* 0: the run is valid */
    char reasons[LOAD_REASONS_MAX][LOAD_REASON_TEXT];
    bool sustained; /* what was due was answered in time: at the end little was left */
    double intended_rate, achieved_rate; /* records a second after the warm-up; achieved: acknowledged before the end */
};

/* Load and CPU seconds of this process, from here to there. */
void load_report_begin(struct load_report *);
void load_report_end(struct load_report *, uint64_t now_ns);
void load_report_judge(struct load_report *);
/* Judges, prints, and writes the files that the options name. False: one cannot be written, which was said. */
bool load_report_tell(struct load_report *);
void load_report_print(const struct load_report *, FILE *);
void load_report_json(const struct load_report *, FILE *);
void load_report_hdr(const struct load_report *, FILE *);

#endif
