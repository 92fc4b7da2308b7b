/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames of a broker's data ports, from its management address, as a pcapng file.
 */
#include "tool/tool.h"

#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <curl/curl.h>

enum { ASK_US = 100000, BEGIN_TRIES = 30, UNAVAILABLE = 503, REFUSAL = 256 };

static volatile sig_atomic_t is_over;

static void on_signal(int number)
{
    (void)number;
    is_over = 1;
}

static int usage(FILE *f, int status)
{
    fputs("tidemark capture --out FILE [--conn ADDRESS[:PORT]] [--snap BYTES] [--seconds N] [--control HOST:PORT]\n\n"
          "Writes the frames that come and go on the broker's data ports, until interrupted, as pcapng for Wireshark.\n"
          "  --conn     only frames from or to this address, and port\n"
          "  --snap     bytes kept of each frame, 64 to 65535; 2048 unless told\n"
          "HOST:PORT is the broker's control.address, 127.0.0.1:9644 unless told. Who reaches it can read what clients send.\n", f);
    return status;
}

struct answer {
    FILE *out;
    CURL *curl;
    char refusal[REFUSAL];
    unsigned long long bytes;
};

static size_t on_bytes(char *bytes, size_t size, size_t count, void *arg)
{
    struct answer *a = arg;
    long status = 0;
    curl_easy_getinfo(a->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200) {
        snprintf(a->refusal, sizeof(a->refusal), "%.*s", (int)(size * count < REFUSAL ? size * count : REFUSAL - 1), bytes);
        return size * count;
    }
    a->bytes += size * count;
    return fwrite(bytes, size, count, a->out) * size;
}

static bool ask(struct answer *a, const char *url, unsigned tries)
{
    char error[CURL_ERROR_SIZE] = "";
    long status = 0;
    curl_easy_setopt(a->curl, CURLOPT_URL, url);
    curl_easy_setopt(a->curl, CURLOPT_ERRORBUFFER, error);
    CURLcode r = curl_easy_perform(a->curl);
    curl_easy_getinfo(a->curl, CURLINFO_RESPONSE_CODE, &status);
    while (r == CURLE_OK && status == UNAVAILABLE && --tries != 0) { /* cores still have to let go of the last capture */
        usleep(ASK_US);
        r = curl_easy_perform(a->curl);
        curl_easy_getinfo(a->curl, CURLINFO_RESPONSE_CODE, &status);
    }
    if (r == CURLE_OK && status == 200)
        return true;
    if (r != CURLE_OK)
        fprintf(stderr, "tidemark: %s: %s\n", url, error[0] != 0 ? error : curl_easy_strerror(r));
    else
        fprintf(stderr, "tidemark: the broker refuses: %s%s", a->refusal, strchr(a->refusal, '\n') != NULL ? "" : "\n");
    return false;
}

static int run(const char *at, const char *out, const char *conn, const char *snap, unsigned long seconds)
{
    struct answer a = {.out = fopen(out, "we"), .curl = curl_easy_init()};
    char url[512], more[600];
    bool good;
    time_t until = time(NULL) + (time_t)seconds;
    if (a.out == NULL || a.curl == NULL) {
        perror(out);
        return 1;
    }
    char *conn_text = conn != NULL ? curl_easy_escape(a.curl, conn, 0) : NULL;
    char *snap_text = snap != NULL ? curl_easy_escape(a.curl, snap, 0) : NULL;
    snprintf(url, sizeof(url), "http://%s/capture?id=%llu", at, (unsigned long long)getpid() << 32 | (unsigned)time(NULL));
    snprintf(more, sizeof(more), "%s%s%s%s%s", url, conn_text != NULL ? "&conn=" : "", conn_text != NULL ? conn_text : "", snap_text != NULL ? "&snap=" : "",
             snap_text != NULL ? snap_text : "");
    curl_free(conn_text);
    curl_free(snap_text);
    curl_easy_setopt(a.curl, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(a.curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(a.curl, CURLOPT_TIMEOUT, 10L);
    curl_easy_setopt(a.curl, CURLOPT_POSTFIELDS, "");
    curl_easy_setopt(a.curl, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(a.curl, CURLOPT_WRITEDATA, &a);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    good = ask(&a, more, BEGIN_TRIES);
    while (good && !is_over && (seconds == 0 || time(NULL) < until)) {
        usleep(ASK_US);
        fflush(a.out);
        good = ask(&a, url, 1);
    }
    if (good) {
        snprintf(more, sizeof(more), "%s&end=1", url);
        good = ask(&a, more, 1);
        fprintf(stderr, "%llu bytes in %s\n", a.bytes, out);
    }
    curl_easy_cleanup(a.curl);
    if (fclose(a.out) != 0) {
        perror(out);
        return 1;
    }
    return good ? 0 : 1;
}

int tool_capture(int argc, char **argv)
{
    static const struct option names[] = {{"out", required_argument, NULL, 'o'},  {"conn", required_argument, NULL, 'n'},    {"snap", required_argument, NULL, 's'},
                                          {"seconds", required_argument, NULL, 't'}, {"control", required_argument, NULL, 'c'}, {"help", no_argument, NULL, 'h'},
                                          {0}};
    const char *at = "127.0.0.1:9644", *out = NULL, *conn = NULL, *snap = NULL;
    unsigned long seconds = 0;
    int c;
    while ((c = getopt_long(argc, argv, "o:n:s:t:c:h", names, NULL)) != -1) {
        switch (c) {
        case 'o': out = optarg; break;
        case 'n': conn = optarg; break;
        case 's': snap = optarg; break;
        case 't': seconds = strtoul(optarg, NULL, 10); break;
        case 'c': at = optarg; break;
        case 'h': return usage(stdout, 0);
        default: return usage(stderr, 2);
        }
    }
    if (optind != argc || out == NULL || strlen(at) > 300 || (conn != NULL && strlen(conn) > 60) || (snap != NULL && strlen(snap) > 10))
        return usage(stderr, 2);
    return run(at, out, conn, snap, seconds);
}
