/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a broker is doing, again and again, from its management address.
 */
#include "tool/tool.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <curl/curl.h>

#include "tool/page_text.h"
#include "tool/top_view.h"

enum { INTERVAL_MS = 1000, INTERVAL_MS_MIN = 100, INTERVAL_MS_MAX = 60000 };

static int usage(FILE *f, int status)
{
    fputs("tidemark top [--once] [--interval MS] [--control HOST:PORT]\n\n"
          "What the broker does, each second until interrupted: rates, the stages of requests (quantiles of the last seconds), replicas\n"
          "in sync, the turns of its cores, pools.\n"
          "  --once       one view, and no more\n"
          "  --interval   milliseconds between two looks, 100 to 60000; 1000 unless told\n"
          "HOST:PORT is the broker's control.address, 127.0.0.1:9644 unless told.\n", f);
    return status;
}

/* False: a sentence was printed. */
static bool look(CURL *c, const char *url, struct top_page *ret)
{
    struct page_text t = {0};
    char error[CURL_ERROR_SIZE] = "";
    long status = 0;
    curl_easy_setopt(c, CURLOPT_WRITEDATA, &t);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, error);
    CURLcode r = curl_easy_perform(c);
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, NULL);
    top_page_clear(ret);
    if (r == CURLE_OK && status == 200 && t.at != NULL && top_page_read(ret, t.at))
        return true;
    if (r != CURLE_OK)
        fprintf(stderr, "tidemark: %s: %s\n", url, error[0] != 0 ? error : curl_easy_strerror(r));
    else
        fprintf(stderr, "tidemark: %s: that is no page of a broker (status %ld)\n", url, status);
    if (ret->text == NULL)
        free(t.at);
    return false;
}

static int run(const char *at, bool once, unsigned long interval_ms)
{
    struct top_page *pages = calloc(2, sizeof(*pages));
    CURL *c = curl_easy_init();
    char url[300];
    bool good = false;
    if (pages == NULL || c == NULL) {
        fputs("tidemark: no memory\n", stderr);
        free(pages);
        return 1;
    }
    snprintf(url, sizeof(url), "http://%s/metrics", at);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(c, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(c, CURLOPT_TIMEOUT, 10L);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, page_text_keep);
    for (unsigned n = 0; (good = look(c, url, &pages[n % 2])); n++) {
        if (n != 0 || !once) {
            if (!once)
                fputs("\033[H\033[2J", stdout); /* home, and an empty screen */
            printf("%s  ", at);
            top_view(&pages[n % 2], &pages[(n + 1) % 2], stdout);
            fflush(stdout);
        }
        if (n != 0 && once)
            break;
        usleep((useconds_t)(interval_ms * 1000));
    }
    curl_easy_cleanup(c);
    top_page_clear(&pages[0]);
    top_page_clear(&pages[1]);
    free(pages);
    return good ? 0 : 1;
}

int tool_top(int argc, char **argv)
{
    static const struct option names[] = {{"once", no_argument, NULL, 'o'}, {"interval", required_argument, NULL, 'i'},
                                          {"control", required_argument, NULL, 'c'}, {"help", no_argument, NULL, 'h'}, {0}};
    const char *at = "127.0.0.1:9644";
    unsigned long interval_ms = INTERVAL_MS;
    bool once = false;
    char *end = NULL;
    int c;
    while ((c = getopt_long(argc, argv, "oi:c:h", names, NULL)) != -1) {
        switch (c) {
        case 'o': once = true; break;
        case 'i': interval_ms = strtoul(optarg, &end, 10); break;
        case 'c': at = optarg; break;
        case 'h': return usage(stdout, 0);
        default: return usage(stderr, 2);
        }
    }
    if (optind != argc || (end != NULL && *end != 0) || interval_ms < INTERVAL_MS_MIN || interval_ms > INTERVAL_MS_MAX || strlen(at) > 200)
        return usage(stderr, 2);
    return run(at, once, interval_ms);
}
