/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The slow requests to a topic, each with its timeline, from a broker's management address.
 */
#include "tool/tool.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <curl/curl.h>

#include "tool/page_text.h"
#include "tool/trace_view.h"

enum { ASK_US = 100000, BEGIN_TRIES = 30, UNAVAILABLE = 503 };

static volatile sig_atomic_t is_over;

static void on_signal(int number)
{
    (void)number;
    is_over = 1;
}

static int usage(FILE *f, int status)
{
    fputs("tidemark trace --topic TOPIC [--slower-than TIME] [--count N] [--for SECONDS] [--json] [--control HOST:PORT]\n\n"
          "Prints the produce requests to a topic that took longer, each with its timeline: when it was received, parsed, appended, written,\n"
          "sent to and acknowledged by each follower, committed and answered. Until interrupted, N of them, or for so many seconds.\n"
          "  --slower-than   as in 250us, 1ms or 2s; 1ms unless told\n"
          "  --json          one object a line\n"
          "A broker knows of the partitions that it leads. HOST:PORT is its control.address, 127.0.0.1:9644 unless told.\n", f);
    return status;
}

struct wish {
    const char *at, *topic;
    unsigned long slower_ns, count, seconds; /* 0: no end */
    bool json;
};

struct asker {
    CURL *curl;
    struct page_text answer;
};

static CURLcode post(struct asker *a, const char *url, long *ret_status)
{
    a->answer.len = 0;
    curl_easy_setopt(a->curl, CURLOPT_URL, url);
    CURLcode r = curl_easy_perform(a->curl);
    curl_easy_getinfo(a->curl, CURLINFO_RESPONSE_CODE, ret_status);
    return r;
}

/* False after a sentence. */
static bool ask(struct asker *a, const char *url, unsigned tries, struct trace_page *ret)
{
    char error[CURL_ERROR_SIZE] = "";
    long status = 0;
    curl_easy_setopt(a->curl, CURLOPT_ERRORBUFFER, error);
    CURLcode r = post(a, url, &status);
    while (r == CURLE_OK && status == UNAVAILABLE && --tries != 0 && !is_over) { /* cores still have to let go of the last trace */
        usleep(ASK_US);
        r = post(a, url, &status);
    }
    curl_easy_setopt(a->curl, CURLOPT_ERRORBUFFER, NULL);
    if (r == CURLE_OK && status == 200 && a->answer.len != 0 && trace_page_read(a->answer.at, ret))
        return true;
    if (r != CURLE_OK)
        fprintf(stderr, "tidemark: %s: %s\n", url, error[0] != 0 ? error : curl_easy_strerror(r));
    else if (status == 200)
        fprintf(stderr, "tidemark: %s: that is no page of a broker\n", url);
    else
        fprintf(stderr, "tidemark: the broker refuses: %s%s", a->answer.len != 0 ? a->answer.at : "", a->answer.len != 0 && a->answer.at[a->answer.len - 1] == '\n' ? "" : "\n");
    return false;
}

/* Prints what is in the answer, until enough are shown. */
static void show(const struct asker *a, const struct wish *w, const struct trace_page *page, unsigned long *shown)
{
    const char *at = a->answer.at;
    struct trace_request r;
    while ((w->count == 0 || *shown < w->count) && trace_request_read(&at, &r)) {
        (w->json ? trace_json : trace_view)(page, w->topic, &r, stdout);
        ++*shown;
    }
    fflush(stdout);
}

static bool follow(struct asker *a, const struct wish *w, const char *url, const char *begin)
{
    struct trace_page page;
    unsigned long shown = 0;
    time_t until = time(NULL) + (time_t)w->seconds;
    char last[400];
    if (!ask(a, begin, BEGIN_TRIES, &page))
        return false;
    fprintf(stderr, "tracing %s; this broker leads %u of its %u partitions\n", w->topic, page.led, page.partitions);
    while (!is_over && (w->count == 0 || shown < w->count) && (w->seconds == 0 || time(NULL) < until)) {
        usleep(ASK_US);
        if (!ask(a, url, 1, &page))
            return false;
        show(a, w, &page, &shown);
    }
    snprintf(last, sizeof(last), "%s&end=1", url);
    if (!ask(a, last, 1, &page))
        return false;
    show(a, w, &page, &shown);
    fprintf(stderr, "%lu requests", shown);
    if (page.omitted != 0)
        fprintf(stderr, "; %lu more came too fast to be shown", page.omitted);
    if (page.lost != 0)
        fprintf(stderr, "; %lu events found no place, steps may be missing", page.lost);
    fputc('\n', stderr);
    return true;
}

static int run(const struct wish *w)
{
    struct asker a = {.curl = curl_easy_init()};
    char url[300], begin[1200];
    char *topic = a.curl != NULL ? curl_easy_escape(a.curl, w->topic, 0) : NULL;
    bool good = false;
    if (topic == NULL) {
        fputs("tidemark: no memory\n", stderr);
        curl_easy_cleanup(a.curl);
        return 1;
    }
    snprintf(url, sizeof(url), "http://%s/trace?id=%llu", w->at, (unsigned long long)getpid() << 32 | (unsigned)time(NULL));
    snprintf(begin, sizeof(begin), "%s&topic=%s&slower_ns=%lu", url, topic, w->slower_ns);
    curl_free(topic);
    curl_easy_setopt(a.curl, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(a.curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(a.curl, CURLOPT_TIMEOUT, 10L);
    curl_easy_setopt(a.curl, CURLOPT_POSTFIELDS, "");
    curl_easy_setopt(a.curl, CURLOPT_WRITEFUNCTION, page_text_keep);
    curl_easy_setopt(a.curl, CURLOPT_WRITEDATA, &a.answer);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    good = follow(&a, w, url, begin);
    curl_easy_cleanup(a.curl);
    free(a.answer.at);
    return good ? 0 : 1;
}

/* 250us, 1ms, 2s, 0.5ms. */
static bool read_time(const char *text, unsigned long *ret_ns)
{
    static const struct { const char *name; double ns; } units[] = {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}};
    char *end;
    double n = strtod(text, &end);
    if (end == text || !(n >= 0 && n <= 1e9))
        return false;
    for (unsigned i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(end, units[i].name) == 0) {
            *ret_ns = (unsigned long)(n * units[i].ns);
            return true;
        }
    }
    return false;
}

static bool read_count(const char *text, unsigned long *ret)
{
    char *end;
    errno = 0;
    *ret = *text >= '0' && *text <= '9' ? strtoul(text, &end, 10) : 0;
    return *ret != 0 && errno == 0 && *end == 0;
}

int tool_trace(int argc, char **argv)
{
    static const struct option names[] = {{"topic", required_argument, NULL, 't'}, {"slower-than", required_argument, NULL, 's'}, {"count", required_argument, NULL, 'n'},
                                          {"for", required_argument, NULL, 'f'},   {"json", no_argument, NULL, 'j'},               {"control", required_argument, NULL, 'c'},
                                          {"help", no_argument, NULL, 'h'},        {0}};
    struct wish w = {.at = "127.0.0.1:9644", .slower_ns = 1000000};
    bool good = true;
    int c;
    while ((c = getopt_long(argc, argv, "t:s:n:f:jc:h", names, NULL)) != -1) {
        switch (c) {
        case 't': w.topic = optarg; break;
        case 's': good &= read_time(optarg, &w.slower_ns); break;
        case 'n': good &= read_count(optarg, &w.count); break;
        case 'f': good &= read_count(optarg, &w.seconds); break;
        case 'j': w.json = true; break;
        case 'c': w.at = optarg; break;
        case 'h': return usage(stdout, 0);
        default: return usage(stderr, 2);
        }
    }
    if (!good || optind != argc || w.topic == NULL || strlen(w.topic) > 249 || strlen(w.at) > 200)
        return usage(stderr, 2);
    return run(&w);
}
