/* SPDX-License-Identifier: Apache-2.0 */
#include "tool/top_view.h"

#include <stdlib.h>
#include <string.h>

enum { LABEL_MAX = 64 };

/* ---- reading ---- */

static bool read_line(char *line, struct top_sample *ret)
{
    char *end = line + strcspn(line, "{ ");
    char *value = end;
    if (strncmp(line, "tidemark_", 9) != 0 || *end == 0)
        return false;
    ret->name = line + 9;
    ret->labels = "";
    if (*end == '{') {
        value = strchr(end, '}');
        if (value == NULL)
            return false;
        ret->labels = end + 1;
        *value++ = 0;
    }
    *end = 0;
    char *rest;
    ret->value = strtod(value + (*value == 0), &rest); /* the blank behind a name has become its end */
    return rest != value;
}

bool top_page_read(struct top_page *p, char *text)
{
    char *at = NULL;
    p->text = text;
    p->count = 0;
    for (char *line = strtok_r(text, "\n", &at); line != NULL && p->count < TOP_SAMPLES_MAX; line = strtok_r(NULL, "\n", &at))
        p->count += read_line(line, &p->samples[p->count]);
    return p->count != 0;
}

void top_page_clear(struct top_page *p)
{
    free(p->text);
    p->text = NULL;
    p->count = 0;
}

/* ---- looking ---- */

/* The value of label `key`, "" without. */
static void label(const struct top_sample *s, const char *key, char ret[LABEL_MAX])
{
    size_t n = strlen(key);
    ret[0] = 0;
    for (const char *at = s->labels; at != NULL && *at != 0; at = strchr(at, ',') != NULL ? strchr(at, ',') + 1 : NULL) {
        if (strncmp(at, key, n) == 0 && at[n] == '=' && at[n + 1] == '"') {
            snprintf(ret, LABEL_MAX, "%.*s", (int)strcspn(at + n + 2, "\""), at + n + 2);
            return;
        }
    }
}

/* Sum over whatever labels. */
static double sum_of(const struct top_page *p, const char *name)
{
    double sum = 0;
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->samples[i].name, name) == 0)
            sum += p->samples[i].value;
    return sum;
}

static const struct top_sample *find(const struct top_page *p, const char *name, const char *labels)
{
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->samples[i].name, name) == 0 && strcmp(p->samples[i].labels, labels) == 0)
            return &p->samples[i];
    return NULL;
}

static double value_of(const struct top_page *p, const char *name, const char *labels)
{
    const struct top_sample *s = find(p, name, labels);
    return s != NULL ? s->value : 0;
}

/* Seconds between the pages; 0: there is none before, or the broker has begun anew. */
static double between(const struct top_page *now, const struct top_page *before)
{
    double passed = value_of(now, "uptime_seconds", "") - value_of(before, "uptime_seconds", "");
    return before->count != 0 && passed > 0 ? passed : 0;
}

/* ---- writing ---- */

static void number(FILE *f, int width, double v)
{
    static const char units[] = " kMGT";
    unsigned u = 0;
    while (v >= 10000 && u < sizeof(units) - 2) {
        v /= 1000;
        u++;
    }
    if (u == 0)
        fprintf(f, "%*.*f", width, v < 10 && v != (double)(long)v ? 1 : 0, v);
    else
        fprintf(f, "%*.1f%c", width - 1, v, units[u]);
}

static void duration(FILE *f, const struct top_sample *s)
{
    double us = s != NULL ? s->value * 1e6 : 0;
    if (s == NULL)
        fprintf(f, "%11s", "-");
    else if (us < 1000)
        fprintf(f, "%8.1f us", us);
    else if (us < 1e6)
        fprintf(f, "%8.1f ms", us / 1000);
    else
        fprintf(f, "%8.1f s ", us / 1e6);
}

static void rate(FILE *f, const struct top_page *now, const struct top_page *before, const char *title, const char *name)
{
    double passed = between(now, before);
    fprintf(f, "  %s", title);
    if (passed == 0)
        fputs("        -", f);
    else
        number(f, 9, (sum_of(now, name) - sum_of(before, name)) / passed);
}

static void rates(FILE *f, const struct top_page *now, const struct top_page *before)
{
    static const struct { const char *title, *name; } rows[][4] = {
        {{"requests ", "requests_total"}, {"records in", "produce_records_total"}, {"bytes in ", "produce_bytes_total"}, {"bytes out", "fetch_bytes_total"}},
        {{"writes   ", "disk_writes_total"}, {"reads     ", "disk_reads_total"}, {"frames in", "rx_frames_total"}, {"frames out", "tx_frames_total"}},
        {{"resent   ", "tcp_retransmits_total"}, {"stalls    ", "turn_stalls_total"}, {"frames lost", "tx_refused_total"}, {"timed out ", "acks_timed_out_total"}},
    };
    for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
        fputs(r == 0 ? "per second" : "          ", f);
        for (size_t i = 0; i < 4; i++)
            rate(f, now, before, rows[r][i].title, rows[r][i].name);
        fputc('\n', f);
    }
}

/* One line: how often, and quantiles of the last seconds. */
static void timed(FILE *f, const struct top_page *now, const struct top_page *before, const char *title, const char *name, const char *labels)
{
    char with[256], series[64];
    double passed = between(now, before);
    static const char *const quantiles[] = {"0.5", "0.99", "1"};
    snprintf(series, sizeof(series), "%s_count", name);
    fprintf(f, "%-22s", title);
    if (passed == 0)
        fputs("        -", f);
    else
        number(f, 9, (value_of(now, series, labels) - value_of(before, series, labels)) / passed);
    for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++) {
        snprintf(with, sizeof(with), "%s,quantile=\"%s\"", labels, quantiles[i]);
        duration(f, find(now, name, with));
    }
    fputc('\n', f);
}

static void stages(FILE *f, const struct top_page *now, const struct top_page *before)
{
    fprintf(f, "\n%-22s%9s%11s%11s%11s\n", "stage", "a second", "p50", "p99", "longest");
    for (size_t i = 0; i < now->count; i++) {
        const struct top_sample *s = &now->samples[i];
        char stage[LABEL_MAX], follower[LABEL_MAX], title[2 * LABEL_MAX + 8];
        label(s, "stage", stage);
        label(s, "follower", follower);
        if (strcmp(s->name, "stage_seconds_count") == 0) {
            timed(f, now, before, stage, "stage_seconds", s->labels);
        } else if (strcmp(s->name, "follower_stage_seconds_count") == 0) {
            snprintf(title, sizeof(title), "  %s: %s", follower, stage);
            timed(f, now, before, title, "follower_stage_seconds", s->labels);
        }
    }
}

static void turns(FILE *f, const struct top_page *now, const struct top_page *before)
{
    fprintf(f, "\n%-22s%9s%11s%11s%11s   %s\n", "turns of core", "a second", "p50", "p99", "longest", "which had");
    for (size_t i = 0; i < now->count; i++) {
        const struct top_sample *s = &now->samples[i];
        static const char longest[] = "turn_longest_";
        char core[LABEL_MAX], with[LABEL_MAX];
        if (strcmp(s->name, "turn_longest_seconds") != 0)
            continue;
        label(s, "core", core);
        fprintf(f, "%-22s", core);
        if (between(now, before) == 0)
            fputs("        -", f);
        else
            number(f, 9, (value_of(now, "turn_seconds_count", s->labels) - value_of(before, "turn_seconds_count", s->labels)) / between(now, before));
        snprintf(with, sizeof(with), "core=\"%.8s\",quantile=\"0.5\"", core);
        duration(f, find(now, "turn_seconds", with));
        snprintf(with, sizeof(with), "core=\"%.8s\",quantile=\"0.99\"", core);
        duration(f, find(now, "turn_seconds", with));
        duration(f, s);
        fputs("  ", f);
        for (size_t k = 0; k < now->count; k++) { /* whatever is told of it */
            const struct top_sample *w = &now->samples[k];
            if (w != s && strncmp(w->name, longest, sizeof(longest) - 1) == 0 && strcmp(w->labels, s->labels) == 0 && w->value != 0)
                fprintf(f, " %s %.0f", w->name + sizeof(longest) - 1, w->value);
        }
        fputc('\n', f);
    }
}

/* Of each kind of pool the core that has the least left. */
static void pools(FILE *f, const struct top_page *now)
{
    unsigned shown = 0;
    fputs("\npools, free        ", f);
    for (size_t i = 0; i < now->count; i++) {
        const struct top_sample *s = &now->samples[i];
        char kind[LABEL_MAX], other[LABEL_MAX], core[LABEL_MAX];
        double least = 100;
        bool first = true;
        if (strcmp(s->name, "pool_size") != 0 || s->value == 0)
            continue;
        label(s, "pool", kind);
        for (size_t k = 0; k < now->count; k++) {
            const struct top_sample *o = &now->samples[k];
            if (strcmp(o->name, "pool_size") != 0 || o->value == 0)
                continue;
            label(o, "pool", other);
            if (strcmp(kind, other) != 0)
                continue;
            first &= k >= i;
            double left = 100 * value_of(now, "pool_free", o->labels) / o->value;
            if (left < least)
                least = left;
        }
        label(s, "core", core);
        if (!first)
            continue; /* another core's was shown */
        fprintf(f, "%s%s %.0f %%", shown == 0 ? "" : shown % 6 == 0 ? "\n                   " : ", ", kind, least);
        shown++;
    }
    fputc('\n', f);
}

void top_view(const struct top_page *now, const struct top_page *before, FILE *f)
{
    fprintf(f, "%s%s, %.0f connections, %.0f requests in progress\n", value_of(now, "ready", "") != 0 ? "ready" : "not ready",
            value_of(now, "is_controller", "") != 0 ? ", controller" : "", value_of(now, "sessions", ""), value_of(now, "requests_in_progress", ""));
    fprintf(f, "leads %.0f partitions, %.0f without all in sync; serves %.0f replicas, %.0f failed; feeds %.0f followers, the furthest %.0f records behind\n\n",
            value_of(now, "partitions_led", ""), value_of(now, "partitions_under_replicated", ""), value_of(now, "replicas_serving", ""),
            value_of(now, "replicas_failed", ""), value_of(now, "followers", ""), value_of(now, "follower_lag_records", ""));
    rates(f, now, before);
    stages(f, now, before);
    turns(f, now, before);
    pools(f, now);
}
