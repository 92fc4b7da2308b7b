/* SPDX-License-Identifier: Apache-2.0 */
#include "tool/trace_view.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { NAME_MAX_LEN = 64, STEPS_MAX = 3 + 2 * TRACE_FOLLOWERS_MAX };

/* A stage ends with the stamp of its number + 1. */
static const char *const stages[TRACE_STAMPS - 1] = {"tcp", "queue", "parse", "home", "append", "watermark", "respond", "transmit"};
enum { STAGE_HOME = 3, STAGE_WATERMARK = 5 };

/* ---- reading ---- */

static const char *after_line(const char *at)
{
    const char *end = strchr(at, '\n');
    return end != NULL ? end + 1 : at + strlen(at);
}

bool trace_page_read(const char *text, struct trace_page *ret)
{
    for (const char *at = text; *at != 0; at = after_line(at))
        if (sscanf(at, "trace %lu %lu %u %u %lu %lu", &ret->now_ns, &ret->wall_ns, &ret->led, &ret->partitions, &ret->lost, &ret->omitted) == 6)
            return true;
    return false;
}

static bool read_request(const char *line, struct trace_request *r)
{
    int used = 0;
    if (sscanf(line, "request %u %ld %d %u %u%n", &r->partition, &r->end, &r->acks, &r->core, &r->home, &used) != 5)
        return false;
    for (unsigned i = 0; i < TRACE_STAMPS; i++) {
        char *end;
        line += used;
        r->stamps[i] = strtoul(line, &end, 10);
        used = (int)(end - line);
        if (used == 0)
            return false;
    }
    return r->stamps[0] != 0;
}

static void read_follower(const char *line, struct trace_request *r)
{
    unsigned n = r->follower_count;
    if (n < TRACE_FOLLOWERS_MAX &&
        sscanf(line, "follower %d %lu %lu", &r->followers[n].broker, &r->followers[n].sent_ns, &r->followers[n].acknowledged_ns) == 3)
        r->follower_count++;
}

bool trace_request_read(const char **at, struct trace_request *ret)
{
    while (**at != 0 && strncmp(*at, "request ", 8) != 0)
        *at = after_line(*at);
    *ret = (struct trace_request){0};
    if (!read_request(*at, ret))
        return false;
    for (*at = after_line(*at); **at != 0; *at = after_line(*at)) {
        if (strncmp(*at, "end\n", 4) == 0)
            return true;
        if (sscanf(*at, "write %lu %lu", &ret->write_since_ns, &ret->write_done_ns) != 2 && sscanf(*at, "mark %lu", &ret->mark_ns) != 1)
            read_follower(*at, ret);
    }
    return false; /* it was cut off */
}

/* ---- what took longest ---- */

/* Stages it went through. */
static unsigned stage_count(const struct trace_request *r)
{
    unsigned n = 0;
    while (n < TRACE_STAMPS - 1 && r->stamps[n + 1] >= r->stamps[n] && r->stamps[n + 1] != 0)
        n++;
    return n;
}

static unsigned long took(const struct trace_request *r, unsigned stage)
{
    return r->stamps[stage + 1] - r->stamps[stage];
}

static unsigned slowest(const struct trace_request *r)
{
    unsigned at = 0;
    for (unsigned s = 1; s < stage_count(r); s++)
        if (took(r, s) > took(r, at))
            at = s;
    return at;
}

/* What the mark was waiting for: what came last before it, or, when that came early and a follower stayed silent, the follower. */
static void cause_of_watermark(const struct trace_request *r, char ret[NAME_MAX_LEN])
{
    unsigned long begun = r->stamps[STAGE_WATERMARK], reached = r->stamps[STAGE_WATERMARK + 1], last = begun;
    int silent = -1;
    snprintf(ret, NAME_MAX_LEN, "waking core %u", r->core);
    if (r->write_done_ns > last && r->write_done_ns <= reached) {
        last = r->write_done_ns;
        bool queued = r->write_since_ns > begun && r->write_since_ns - begun > r->write_done_ns - r->write_since_ns;
        snprintf(ret, NAME_MAX_LEN, queued ? "disk, behind the write before" : "disk");
    }
    for (unsigned i = 0; r->acks == -1 && i < r->follower_count; i++) {
        unsigned long at = r->followers[i].acknowledged_ns;
        if (at == 0 || at > reached) {
            silent = r->followers[i].broker;
        } else if (at > last) {
            last = at;
            snprintf(ret, NAME_MAX_LEN, "follower %d", r->followers[i].broker);
        }
    }
    if (reached - last <= (reached - begun) / 2)
        return;
    if (silent >= 0)
        snprintf(ret, NAME_MAX_LEN, "follower %d, which did not acknowledge", silent);
    else
        snprintf(ret, NAME_MAX_LEN, "waking core %u", r->core);
}

/* The cause is empty unless the stage has several. */
static const char *name_slowest(const struct trace_request *r, char ret_cause[NAME_MAX_LEN])
{
    unsigned s = slowest(r);
    ret_cause[0] = 0;
    if (s == STAGE_WATERMARK)
        cause_of_watermark(r, ret_cause);
    return stages[s];
}

/* ---- writing ---- */

static void clock_time(const struct trace_page *p, const struct trace_request *r, char ret[NAME_MAX_LEN])
{
    unsigned long ns = p->wall_ns - (p->now_ns - r->stamps[0]);
    time_t s = (time_t)(ns / 1000000000);
    struct tm tm;
    char day[32];
    gmtime_r(&s, &tm);
    strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(ret, NAME_MAX_LEN, "%s.%06luZ", day, ns % 1000000000 / 1000);
}

static double us_since(const struct trace_request *r, unsigned long ns)
{
    return ((double)ns - (double)r->stamps[0]) / 1000;
}

static double whole_us(const struct trace_request *r)
{
    return us_since(r, r->stamps[stage_count(r)]);
}

static void duration(FILE *f, double us)
{
    if (us < 1000)
        fprintf(f, "%.1f us", us);
    else if (us < 1e6)
        fprintf(f, "%.3f ms", us / 1000);
    else
        fprintf(f, "%.3f s", us / 1e6);
}

/* What happens beside the stages. */
struct step {
    unsigned long at_ns;
    unsigned number;
    char text[NAME_MAX_LEN];
};

struct steps {
    unsigned count;
    struct step of[STEPS_MAX + 1]; /* and a place for what was not seen */
};

static char *add(struct steps *s, unsigned long at_ns)
{
    struct step *n = &s->of[s->count];
    *n = (struct step){.at_ns = at_ns, .number = s->count};
    s->count += at_ns != 0;
    return n->text;
}

static int in_order(const void *left, const void *right)
{
    const struct step *a = left, *b = right;
    if (a->at_ns != b->at_ns)
        return a->at_ns < b->at_ns ? -1 : 1;
    return a->number < b->number ? -1 : 1;
}

static void add_steps(const struct trace_request *r, struct steps *s)
{
    snprintf(add(s, r->write_since_ns), NAME_MAX_LEN, "write begun");
    snprintf(add(s, r->write_done_ns), NAME_MAX_LEN, "write done");
    for (unsigned i = 0; i < r->follower_count; i++) {
        snprintf(add(s, r->followers[i].sent_ns), NAME_MAX_LEN, "sent to %d", r->followers[i].broker);
        snprintf(add(s, r->followers[i].acknowledged_ns), NAME_MAX_LEN, "acknowledged by %d", r->followers[i].broker);
    }
    snprintf(add(s, r->mark_ns), NAME_MAX_LEN, "high watermark");
    qsort(s->of, s->count, sizeof(s->of[0]), in_order);
}

static void print_stage(const struct trace_request *r, unsigned s, bool is_slowest, FILE *f)
{
    fprintf(f, "%12.1f us %12.1f us  %s", us_since(r, r->stamps[s + 1]), (double)took(r, s) / 1000, stages[s]);
    if (s == STAGE_HOME && r->home != r->core)
        fprintf(f, ": core %u", r->home);
    fputs(is_slowest ? "   <- slowest\n" : "\n", f);
}

void trace_view(const struct trace_page *p, const char *topic, const struct trace_request *r, FILE *f)
{
    struct steps side = {0};
    char at[NAME_MAX_LEN], cause[NAME_MAX_LEN];
    const char *stage = name_slowest(r, cause);
    unsigned next = 0;
    clock_time(p, r, at);
    fprintf(f, "%s %s-%u, records before %ld, acks=%d: ", at, topic, r->partition, r->end, r->acks);
    duration(f, whole_us(r));
    fprintf(f, ", mostly %s%s%s\n", stage, cause[0] != 0 ? ": " : "", cause);
    fprintf(f, "%12.1f us %15s  received: core %u\n", 0.0, "", r->core);
    add_steps(r, &side);
    for (unsigned s = 0; s <= stage_count(r); s++) { /* the last round: what came behind the last stage */
        for (; next < side.count && (s == stage_count(r) || side.of[next].at_ns <= r->stamps[s + 1]); next++)
            fprintf(f, "%12.1f us %15s    %s\n", us_since(r, side.of[next].at_ns), "", side.of[next].text);
        if (s < stage_count(r))
            print_stage(r, s, stages[s] == stage, f);
    }
    fputc('\n', f);
}

static void json_time(FILE *f, const char *name, const struct trace_request *r, unsigned long ns)
{
    if (ns == 0)
        fprintf(f, "\"%s\":null", name);
    else
        fprintf(f, "\"%s\":%.3f", name, us_since(r, ns));
}

void trace_json(const struct trace_page *p, const char *topic, const struct trace_request *r, FILE *f)
{
    char at[NAME_MAX_LEN], cause[NAME_MAX_LEN];
    const char *stage = name_slowest(r, cause);
    clock_time(p, r, at);
    fprintf(f, "{\"received\":\"%s\",\"topic\":\"%s\",\"partition\":%u,\"end\":%ld,\"acks\":%d,\"core\":%u,\"home\":%u,\"took_us\":%.3f,\"slowest\":\"%s\"", at,
            topic, r->partition, r->end, r->acks, r->core, r->home, whole_us(r), stage);
    if (cause[0] != 0)
        fprintf(f, ",\"cause\":\"%s\"", cause);
    fputs(",\"stages_us\":{", f);
    for (unsigned s = 0; s < stage_count(r); s++)
        fprintf(f, "%s\"%s\":%.3f", s == 0 ? "" : ",", stages[s], (double)took(r, s) / 1000);
    fputs("},", f);
    json_time(f, "write_begun_us", r, r->write_since_ns);
    fputc(',', f);
    json_time(f, "write_done_us", r, r->write_done_ns);
    fputs(",\"followers\":[", f);
    for (unsigned i = 0; i < r->follower_count; i++) {
        fprintf(f, "%s{\"broker\":%d,", i == 0 ? "" : ",", r->followers[i].broker);
        json_time(f, "sent_us", r, r->followers[i].sent_ns);
        fputc(',', f);
        json_time(f, "acknowledged_us", r, r->followers[i].acknowledged_ns);
        fputc('}', f);
    }
    fputs("],", f);
    json_time(f, "high_watermark_us", r, r->mark_ns);
    fputs("}\n", f);
}
