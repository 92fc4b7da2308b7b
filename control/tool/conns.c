/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connections of a broker, from its management address.
 */
#include "tool/tool.h"

#include <getopt.h>
#include <stdio.h>

#include <curl/curl.h>

static int usage(FILE *f, int status)
{
    fputs("tidemark conns [--control HOST:PORT]   one line a connection: its road, its windows, its queues\n\n"
          "HOST:PORT is the broker's control.address, 127.0.0.1:9644 unless told.\n", f);
    return status;
}

static int get(const char *url)
{
    CURL *c = curl_easy_init();
    char error[CURL_ERROR_SIZE] = "no memory";
    long status = 0;
    CURLcode r = CURLE_OUT_OF_MEMORY;
    if (c != NULL) {
        curl_easy_setopt(c, CURLOPT_URL, url);
        curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http");
        curl_easy_setopt(c, CURLOPT_NOPROXY, "*");
        curl_easy_setopt(c, CURLOPT_TIMEOUT, 10L);
        curl_easy_setopt(c, CURLOPT_ERRORBUFFER, error);
        r = curl_easy_perform(c); /* prints what it gets */
        curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
        curl_easy_cleanup(c);
    }
    if (r != CURLE_OK)
        fprintf(stderr, "tidemark: %s: %s\n", url, error[0] != 0 ? error : curl_easy_strerror(r));
    return r == CURLE_OK && status == 200 ? 0 : 1;
}

int tool_conns(int argc, char **argv)
{
    static const struct option names[] = {{"control", required_argument, NULL, 'c'}, {"help", no_argument, NULL, 'h'}, {0}};
    const char *at = "127.0.0.1:9644";
    char url[300];
    int c;
    while ((c = getopt_long(argc, argv, "c:h", names, NULL)) != -1) {
        switch (c) {
        case 'c': at = optarg; break;
        case 'h': return usage(stdout, 0);
        default: return usage(stderr, 2);
        }
    }
    if (optind != argc)
        return usage(stderr, 2);
    if ((size_t)snprintf(url, sizeof(url), "http://%s/conns", at) >= sizeof(url)) {
        fprintf(stderr, "tidemark: that is no HOST:PORT\n");
        return 2;
    }
    return get(url);
}
