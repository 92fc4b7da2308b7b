/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/load/report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "bench/load/commit.h"
#include "kafka/errors.h"

static double seconds(const struct timeval *t) { return (double)t->tv_sec + (double)t->tv_usec / 1e6; }

static void add_cpu(struct load_report *r, double sign)
{
    struct rusage u;
    (void)getrusage(RUSAGE_SELF, &u);
    r->cpu_user_s += sign * seconds(&u.ru_utime);
    r->cpu_system_s += sign * seconds(&u.ru_stime);
}

void load_report_begin(struct load_report *r)
{
    (void)!getloadavg(r->load_before, 3);
    add_cpu(r, -1);
}

void load_report_end(struct load_report *r, uint64_t now_ns)
{
    r->elapsed_s = (double)(now_ns - r->start_ns) / 1e9;
    add_cpu(r, 1);
}

#define BACKLOG_S 0.25 /* of requests unanswered when the schedule ends */

/* ---- may it be believed? ------------------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static void reason(struct load_report *r, const char *format, ...)
{
    va_list args;
    if (r->reason_count == LOAD_REASONS_MAX)
        return;
    va_start(args, format);
    vsnprintf(r->reasons[r->reason_count++], LOAD_REASON_TEXT, format, args);
    va_end(args);
}

void load_report_judge(struct load_report *r)
{
    const struct load_options *o = r->options;
    const struct load_result *x = r->result;
    double per_record = (double)o->batch_records / o->duration_s;
    r->reason_count = 0;
    if (r->stopped)
        reason(r, "stopped: before its end, by a signal");
    if ((double)x->late > o->lag_share * (double)x->due)
        reason(r, "late: %lu of %lu requests were noticed more than %lu us after they were due (bound: a share of %g)", x->late, x->due, o->lag_us, o->lag_share);
    if (x->not_sent != 0)
        reason(r, "not sent: %lu requests found no room (outstanding.max=%lu), or the run was over before we came to them", x->not_sent, o->outstanding_max);
    if (x->waiting_max > o->queue_max)
        reason(r, "queue: %lu requests waited to be sent (bound: queue.max=%lu)", x->waiting_max, o->queue_max);
    if (x->failed > o->failed_max)
        reason(r, "failed: %lu requests were refused for good (bound: failed.max=%lu)", x->failed, o->failed_max);
    if (x->unanswered != 0)
        reason(r, "unanswered: %lu requests had no answer after drain.s=%g", x->unanswered, o->drain_s);
    if (o->consume && x->missing != 0)
        reason(r, "missing: %lu batches were acknowledged and not read", x->missing);
    if (x->damaged != 0 || x->malformed != 0)
        reason(r, "damaged: %lu records or batches are not as they were sent, %lu answers make no sense", x->damaged, x->malformed);
    if (o->produce && x->measured_due == 0)
        reason(r, "empty: nothing was due after the warm-up");
    r->intended_rate = (double)x->measured_due * per_record;
    r->achieved_rate = (double)x->measured_acked * per_record;
    /* What is on its way at any moment is rate times latency: a quarter of a second of it is no queue that grows. */
    r->sustained = x->not_sent == 0 && (double)x->backlog <= 10 + BACKLOG_S * o->rate / (double)o->batch_records;
}

/* ---- for people ------------------------------------------------------------------------------------------------------ */

static void print_hist(FILE *f, const char *name, const struct load_hist *h)
{
    if (h->count == 0)
        return;
    fprintf(f, "%-22s %9.1f %9.1f %9.1f %9.1f %9.1f %9.1f %10lu\n", name, load_hist_mean(h) / 1e3, (double)load_hist_quantile(h, 0.5) / 1e3,
            (double)load_hist_quantile(h, 0.99) / 1e3, (double)load_hist_quantile(h, 0.999) / 1e3, (double)load_hist_quantile(h, 0.9999) / 1e3,
            (double)h->most / 1e3, h->count);
}

static void print_errors(FILE *f, const struct load_result *x)
{
    for (int i = 0; i < LOAD_ERROR_CODES; i++)
        if (x->errors[i] != 0)
            fprintf(f, "  %lu times %s\n", x->errors[i], kafka_error_name((int16_t)(i - 1)));
}

void load_report_print(const struct load_report *r, FILE *f)
{
    const struct load_result *x = r->result;
    fprintf(f, "%-22s %9s %9s %9s %9s %9s %9s %10s\n", "microseconds", "mean", "50%", "99%", "99.9%", "99.99%", "most", "samples");
    print_hist(f, "due to answer", &x->produce);
    print_hist(f, "due to read", &x->e2e);
    print_hist(f, "due to sent", &x->queue);
    print_hist(f, "our own lag", &x->lag);
    fprintf(f, "records a second: %.0f intended, %.0f acknowledged in time%s\n", r->intended_rate, r->achieved_rate,
            r->sustained ? "" : "; NOT SUSTAINED");
    fprintf(f, "requests: %lu due, %lu sent, %lu sent again, %lu acknowledged, %lu failed, %lu unanswered\n", x->due, x->sent, x->resent, x->acked,
            x->failed, x->unanswered);
    if (r->options->consume)
        fprintf(f, "records: %lu read, %lu twice, %lu of others; batches: %lu missing, %lu out of order\n", x->records, x->duplicates, x->foreign, x->missing, x->disorder);
    if (x->lost != 0)
        fprintf(f, "connections lost: %lu, %lu of them given up\n", x->lost, x->timeouts);
    print_errors(f, x);
    for (unsigned i = 0; i < r->reason_count; i++)
        fprintf(f, "INVALID: %s\n", r->reasons[i]);
}

/* ---- for programs ----------------------------------------------------------------------------------------------------- */

static void json_line_of(FILE *f, const char *name, const char *path, const char *key)
{
    char line[512], *value = NULL;
    FILE *in = fopen(path, "r");
    while (in != NULL && value == NULL && fgets(line, sizeof(line), in) != NULL)
        if (strncmp(line, key, strlen(key)) == 0)
            value = line + strlen(key) + strspn(line + strlen(key), " \t:");
    if (in != NULL)
        fclose(in);
    if (value != NULL)
        value[strcspn(value, "\n")] = 0;
    fprintf(f, ",\"%s\":", name);
    load_json_text(f, value != NULL ? value : "");
}

static void json_machine(const struct load_report *r, FILE *f)
{
    struct utsname u;
    double after[3] = {0};
    (void)uname(&u);
    (void)!getloadavg(after, 3);
    fprintf(f, "\"machine\":{\"cpus\":%ld,\"memory_bytes\":%ld", sysconf(_SC_NPROCESSORS_ONLN), sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE));
    json_line_of(f, "cpu", "/proc/cpuinfo", "model name");
    json_line_of(f, "clocksource", "/sys/devices/system/clocksource/clocksource0/current_clocksource", "");
    fputs(",\"system\":", f);
    load_json_text(f, u.sysname);
    fputs(",\"kernel\":", f);
    load_json_text(f, u.release);
    fputs(",\"architecture\":", f);
    load_json_text(f, u.machine);
    fprintf(f, ",\"load_before\":[%.2f,%.2f,%.2f],\"load_after\":[%.2f,%.2f,%.2f]}", r->load_before[0], r->load_before[1], r->load_before[2],
            after[0], after[1], after[2]);
}

static unsigned used_intervals(const struct load_result *x)
{
    unsigned n = x->interval_count;
    while (n != 0 && x->intervals[n - 1].due + x->intervals[n - 1].acked + x->intervals[n - 1].read + x->intervals[n - 1].errors == 0)
        n--;
    return n;
}

static void json_series(const struct load_report *r, FILE *f)
{
    const struct load_result *x = r->result;
    fprintf(f, "\"interval_s\":%.3f,\n\"series\":[", (double)x->interval_ns / 1e9);
    for (unsigned i = 0, n = used_intervals(x); i < n; i++) {
        const struct load_interval *v = &x->intervals[i];
        fprintf(f, "%s\n{\"due\":%lu,\"sent\":%lu,\"acked\":%lu,\"read\":%lu,\"errors\":%lu,\"lag_max\":%lu,\"waiting_max\":%lu,\"produce\":",
                i == 0 ? "" : ",", v->due, v->sent, v->acked, v->read, v->errors, v->lag_max_ns, v->waiting_max);
        load_hist_json(&v->produce, false, f);
        fputs(",\"e2e\":", f);
        load_hist_json(&v->e2e, false, f);
        fputc('}', f);
    }
    fputc(']', f);
}

static void json_counts(const struct load_result *x, FILE *f)
{
    const char *comma = "";
    fputs("\"counts\":{", f);
#define X(name, help) fprintf(f, "%s\"%s\":%lu", comma, #name, x->name), comma = ",";
    LOAD_COUNTERS(X)
#undef X
    fprintf(f, ",\"measured_due\":%lu,\"measured_acked\":%lu,\"backlog\":%lu,\"waiting_max\":%lu},\n\"errors\":{", x->measured_due, x->measured_acked,
            x->backlog, x->waiting_max);
    comma = "";
    for (int i = 0; i < LOAD_ERROR_CODES; i++)
        if (x->errors[i] != 0) {
            fprintf(f, "%s\"%s\":%lu", comma, kafka_error_name((int16_t)(i - 1)), x->errors[i]);
            comma = ",";
        }
    fputc('}', f);
}

void load_report_json(const struct load_report *r, FILE *f)
{
    const struct load_result *x = r->result;
    fputs("{\"format\":1,\"tool\":", f);
    load_json_text(f, r->tool);
    fputs(",\"commit\":", f);
    load_json_text(f, LOAD_COMMIT);
    fputs(",\"label\":", f);
    load_json_text(f, r->options->label);
    fprintf(f, ",\"start_ms\":%ld,\"start_monotonic_ns\":%lu,\"elapsed_s\":%.3f,\"cpu_s\":{\"user\":%.3f,\"system\":%.3f},\n", r->start_wall_ms, r->start_ns,
            r->elapsed_s, r->cpu_user_s, r->cpu_system_s);
    json_machine(r, f);
    fputs(",\n\"options\":", f);
    load_options_json(r->options, f);
    fprintf(f, ",\n\"valid\":%s,\"sustained\":%s,\"reasons\":[", r->reason_count == 0 ? "true" : "false", r->sustained ? "true" : "false");
    for (unsigned i = 0; i < r->reason_count; i++) {
        fputs(i == 0 ? "" : ",", f);
        load_json_text(f, r->reasons[i]);
    }
    fprintf(f, "],\n\"records_per_s\":{\"intended\":%.3f,\"achieved\":%.3f},\n\"unit\":\"ns\",\n", r->intended_rate, r->achieved_rate);
    json_counts(x, f);
    fputs(",\n\"latency\":{", f);
    static const char *const names[] = {"produce", "e2e", "queue", "lag"};
    const struct load_hist *const hists[] = {&x->produce, &x->e2e, &x->queue, &x->lag};
    for (size_t i = 0; i < TIDE_ARRAY_LEN(names); i++) {
        fprintf(f, "%s\n\"%s\":", i == 0 ? "" : ",", names[i]);
        load_hist_json(hists[i], true, f);
    }
    fputs("},\n", f);
    json_series(r, f);
    fputs("}\n", f);
}

static void hdr_line(FILE *f, const char *tag, double at_s, double length_s, const struct load_hist *h)
{
    char *text = h->count != 0 ? load_hist_encode(h) : NULL;
    if (text != NULL)
        fprintf(f, "Tag=%s,%.3f,%.3f,%.3f,%s\n", tag, at_s, length_s, (double)h->most / 1e6, text);
    free(text);
}

/* Latency stands in the interval in which it was due. */
void load_report_hdr(const struct load_report *r, FILE *f)
{
    const struct load_result *x = r->result;
    double length_s = (double)x->interval_ns / 1e9, start_s = (double)r->start_wall_ms / 1e3;
    fprintf(f, "#[%s %s; nanoseconds; %s]\n#[Histogram log format version 1.3]\n#[StartTime: %.3f (seconds since epoch)]\n"
               "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n", r->tool, LOAD_COMMIT, r->options->label, start_s);
    for (unsigned i = 0; i < x->interval_count; i++) {
        hdr_line(f, "produce", i * length_s, length_s, &x->intervals[i].produce);
        hdr_line(f, "e2e", i * length_s, length_s, &x->intervals[i].e2e);
    }
}

static bool write_file(const char *path, const struct load_report *r, void (*write)(const struct load_report *, FILE *))
{
    if (path[0] == 0)
        return true;
    FILE *f = fopen(path, "w");
    bool good = f != NULL;
    if (good) {
        write(r, f);
        good = ferror(f) == 0;
        good = fclose(f) == 0 && good;
    }
    if (!good)
        fprintf(stderr, "%s: %s: %s\n", r->tool, path, strerror(errno));
    return good;
}

bool load_report_tell(struct load_report *r)
{
    load_report_judge(r);
    load_report_print(r, stdout);
    return write_file(r->options->json, r, load_report_json) && write_file(r->options->hdr, r, load_report_hdr);
}
