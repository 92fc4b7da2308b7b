/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The brokers of a cluster, from the management address of one of them.
 */
#include "tool/tool.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include <curl/curl.h>

#include "tidemark/types.h"

enum { TEXT_MAX = 1 << 20, URL_MAX = 600, PATIENCE_S = 120 };

struct text {
    char *at;
    size_t len;
};

static int usage(FILE *f, int status)
{
    fputs("tidemark cluster status [--control HOST:PORT]                     the brokers as one of them knows them\n"
          "tidemark cluster voters [--control HOST:PORT]                     those that decide on metadata\n"
          "tidemark cluster voters --remove ID [--control HOST:PORT]         take one out, lost or not\n"
          "tidemark cluster voters --add ID@HOST:PORT [--control HOST:PORT]  take a broker in that runs and is none\n"
          "tidemark cluster config [--control HOST:PORT]                     what all brokers go by, unless a topic or one of them has its own\n"
          "tidemark cluster config --set NAME=VALUE | --delete NAME          change that\n"
          "tidemark cluster drain [--control HOST:PORT]                      that broker gives its leaderships away and stops\n"
          "tidemark cluster id                                               make up a cluster.id\n\n"
          "HOST:PORT is a broker's control.address, 127.0.0.1:9644 unless told; --remove and --add go to the controller's.\n"
          "A lost voter: --remove it; start a broker with an empty log.dirs and controller.listener set; --add that one.\n", f);
    return status;
}

static size_t keep(char *from, size_t size, size_t count, void *arg)
{
    struct text *t = arg;
    size_t n = size * count;
    if (t->len + n + 1 > TEXT_MAX)
        return 0;
    memcpy(t->at + t->len, from, n);
    t->len += n;
    t->at[t->len] = 0;
    return n;
}

/* The HTTP status, 0 when there is no answer; a sentence is printed unless `quiet`. */
static long ask(const char *url, bool post, struct text *ret, bool quiet)
{
    CURL *c = curl_easy_init();
    char error[CURL_ERROR_SIZE] = "";
    long status = 0;
    CURLcode r;
    ret->len = 0;
    ret->at[0] = 0;
    if (c == NULL)
        return 0;
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(c, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(c, CURLOPT_TIMEOUT, 10L);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, error);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, keep);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, ret);
    if (post) {
        curl_easy_setopt(c, CURLOPT_POST, 1L);
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE, 0L);
    }
    r = curl_easy_perform(c);
    if (r == CURLE_OK)
        curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    else if (!quiet)
        fprintf(stderr, "tidemark: %s: %s\n", url, error[0] != 0 ? error : curl_easy_strerror(r));
    curl_easy_cleanup(c);
    return status;
}

static int make_id(void)
{
    struct tide_uuid u;
    char text[TIDE_UUID_TEXT];
    if (getrandom(&u, sizeof(u), 0) != sizeof(u))
        return 1;
    u.bytes[0] &= 0x7f; /* a text that does not begin with '-' or '_' */
    tide_uuid_to_text(&u, text);
    puts(text);
    return 0;
}

static int show(const char *at, const char *only, struct text *t)
{
    char url[URL_MAX];
    char *save = NULL;
    snprintf(url, sizeof(url), "http://%s/cluster", at);
    if (ask(url, false, t, false) != 200)
        return 1;
    for (char *line = strtok_r(t->at, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save))
        if (only == NULL || strncmp(line, only, strlen(only)) == 0)
            puts(line);
    return 0;
}

/* Does the quorum have that voter, with a vote? */
static bool has_voter(const char *text, long id)
{
    char want[32];
    size_t len = (size_t)snprintf(want, sizeof(want), "voter %ld ", id);
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, want, len) == 0)
            return strncmp(line + strcspn(line, "\n") - strlen(" joining"), " joining", strlen(" joining")) != 0;
    }
    return false;
}

static int change(const char *at, const char *add, const char *removed, struct text *t)
{
    char url[URL_MAX], status_url[URL_MAX];
    const char *text = add != NULL ? add : removed;
    char *end = NULL;
    long id = strtol(text, &end, 10);
    if (end == text || id < 0 || (add != NULL ? *end != '@' || strchr(end, ':') == NULL || strpbrk(end, "&?# ") != NULL : *end != 0))
        return usage(stderr, 2);
    if (add != NULL)
        snprintf(url, sizeof(url), "http://%s/cluster/voters?add=%ld&address=%s", at, id, end + 1);
    else
        snprintf(url, sizeof(url), "http://%s/cluster/voters?remove=%ld", at, id);
    snprintf(status_url, sizeof(status_url), "http://%s/cluster", at);
    if (ask(url, true, t, false) != 202) {
        fprintf(stderr, "tidemark: %s", t->at);
        return 1;
    }
    for (unsigned tries = 0; tries < PATIENCE_S * 10; tries++) {
        if (ask(status_url, false, t, true) == 200 && has_voter(t->at, id) == (add != NULL))
            return show(at, "voter", t);
        usleep(100000);
    }
    fprintf(stderr, "tidemark: not within %d s; the controller's log says how it went\n", PATIENCE_S);
    return 1;
}

/* Does the text have the line "config NAME=VALUE", or, without a value, any of that name? */
static bool has_config(const char *text, const char *name, const char *value)
{
    char want[URL_MAX];
    snprintf(want, sizeof(want), value != NULL ? "\nconfig %s=%s\n" : "\nconfig %s=", name, value);
    return strstr(text, want) != NULL;
}

static int change_config(const char *at, char *set, const char *removed, struct text *t)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-,:*=";
    const char *name = set != NULL ? set : removed;
    char url[URL_MAX], status_url[URL_MAX];
    char *value = set != NULL ? strchr(set, '=') : NULL;
    if ((value == NULL) != (set == NULL) || name[strspn(name, letters)] != 0)
        return usage(stderr, 2);
    if (set != NULL)
        *value++ = 0;
    if (set != NULL)
        snprintf(url, sizeof(url), "http://%s/cluster/config?set=%s&value=%s", at, name, value);
    else
        snprintf(url, sizeof(url), "http://%s/cluster/config?delete=%s", at, name);
    snprintf(status_url, sizeof(status_url), "http://%s/cluster", at);
    if (ask(url, true, t, false) != 202) {
        fprintf(stderr, "tidemark: %s", t->at);
        return 1;
    }
    for (unsigned tries = 0; tries < PATIENCE_S * 10; tries++) {
        if (ask(status_url, false, t, true) == 200 && has_config(t->at, name, value) == (set != NULL))
            return show(at, "config", t);
        usleep(100000);
    }
    fprintf(stderr, "tidemark: not within %d s; the broker's log says how it went\n", PATIENCE_S);
    return 1;
}

/* Until nobody answers there any more. */
static int drain(const char *at, struct text *t)
{
    char url[URL_MAX], status_url[URL_MAX];
    snprintf(url, sizeof(url), "http://%s/cluster/drain", at);
    snprintf(status_url, sizeof(status_url), "http://%s/cluster", at);
    if (ask(url, true, t, false) != 202)
        return 1;
    for (unsigned tries = 0; tries < PATIENCE_S * 10; tries++) {
        if (ask(status_url, false, t, true) == 0)
            return 0;
        usleep(100000);
    }
    fprintf(stderr, "tidemark: it has not stopped within %d s\n", PATIENCE_S);
    return 1;
}

int tool_cluster(int argc, char **argv)
{
    static const struct option names[] = {{"control", required_argument, NULL, 'c'}, {"add", required_argument, NULL, 'a'},
                                          {"remove", required_argument, NULL, 'r'},  {"set", required_argument, NULL, 's'},
                                          {"delete", required_argument, NULL, 'd'},  {"help", no_argument, NULL, 'h'}, {0}};
    const char *at = "127.0.0.1:9644", *add = NULL, *removed = NULL, *unset = NULL, *what;
    char *set = NULL;
    struct text t = {.at = malloc(TEXT_MAX)};
    int status, c;
    if (t.at == NULL)
        return 1;
    while ((c = getopt_long(argc, argv, "h", names, NULL)) != -1) {
        switch (c) {
        case 'c': at = optarg; break;
        case 'a': add = optarg; break;
        case 'r': removed = optarg; break;
        case 's': set = optarg; break;
        case 'd': unset = optarg; break;
        case 'h': free(t.at); return usage(stdout, 0);
        default: free(t.at); return usage(stderr, 2);
        }
    }
    what = optind + 1 == argc ? argv[optind] : "";
    if (strlen(at) > 300 || (add != NULL && (removed != NULL || strlen(add) > 200)) || (set != NULL && (unset != NULL || strlen(set) > 200)) ||
        (unset != NULL && strlen(unset) > 200) || ((set != NULL || unset != NULL) && (add != NULL || removed != NULL)))
        status = usage(stderr, 2);
    else if (strcmp(what, "config") == 0 && (set != NULL || unset != NULL))
        status = change_config(at, set, unset, &t);
    else if (set != NULL || unset != NULL)
        status = usage(stderr, 2);
    else if (strcmp(what, "config") == 0)
        status = show(at, "config", &t);
    else if (strcmp(what, "voters") == 0 && (add != NULL || removed != NULL))
        status = change(at, add, removed, &t);
    else if (add != NULL || removed != NULL)
        status = usage(stderr, 2);
    else if (strcmp(what, "status") == 0)
        status = show(at, NULL, &t);
    else if (strcmp(what, "voters") == 0)
        status = show(at, "voter", &t);
    else if (strcmp(what, "drain") == 0)
        status = drain(at, &t);
    else if (strcmp(what, "id") == 0)
        status = make_id();
    else
        status = usage(stderr, 2);
    free(t.at);
    return status;
}
