/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings of a topic or a broker, by librdkafka.
 *
 * The client knows AlterConfigs only, which replaces everything that is set. So altering is looking, changing and writing
 * back: two who do it to one resource at the same time may lose one of the changes.
 */
#include "tool/tool.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool/client.h"

enum { CHANGES_MAX = 32 };

struct change {
    char *name;
    char *value; /* NULL: to be deleted */
};

struct options {
    const char *action;
    const char *bootstrap;
    const char *topic;
    const char *broker;
    bool all;
    bool misused;
    unsigned change_count;
    struct change changes[CHANGES_MAX];
};

static int usage(FILE *f, int status)
{
    fputs("tidemark config describe --bootstrap HOST:PORT --topic NAME | --broker ID [--all]\n"
          "tidemark config alter    --bootstrap HOST:PORT --topic NAME | --broker ID [--set KEY=VALUE]... [--delete KEY]...\n"
          "\ndescribe shows what is not a default, with --all everything. alter changes what the broker takes while it runs.\n", f);
    return status;
}

static rd_kafka_ConfigResource_t *resource_of(const struct options *o)
{
    return o->topic != NULL ? rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, o->topic)
                            : rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_BROKER, o->broker);
}

static const char *name_of(const struct options *o)
{
    return o->topic != NULL ? o->topic : o->broker;
}

/* The event with the settings, NULL after a message. */
static rd_kafka_event_t *look(rd_kafka_t *rk, const struct options *o, const rd_kafka_ConfigEntry_t ***ret_entries, size_t *ret_count)
{
    rd_kafka_ConfigResource_t *r = resource_of(o);
    rd_kafka_queue_t *q = rd_kafka_queue_new(rk);
    const rd_kafka_ConfigResource_t **found = NULL;
    size_t count = 0;
    rd_kafka_event_t *e;
    rd_kafka_DescribeConfigs(rk, &r, 1, NULL, q);
    e = client_wait(q, "describe");
    rd_kafka_queue_destroy(q);
    rd_kafka_ConfigResource_destroy(r);
    if (e == NULL)
        return NULL;
    found = rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(e), &count);
    if (count != 1 ||
        !client_is_good(name_of(o), rd_kafka_ConfigResource_error(found[0]), rd_kafka_ConfigResource_error_string(found[0]))) {
        rd_kafka_event_destroy(e);
        return NULL;
    }
    *ret_entries = rd_kafka_ConfigResource_configs(found[0], ret_count);
    return e;
}

static const char *source_name(rd_kafka_ConfigSource_t source)
{
    switch (source) {
    case RD_KAFKA_CONFIG_SOURCE_DYNAMIC_TOPIC_CONFIG:
        return "topic";
    case RD_KAFKA_CONFIG_SOURCE_DYNAMIC_BROKER_CONFIG:
        return "broker";
    case RD_KAFKA_CONFIG_SOURCE_DYNAMIC_DEFAULT_BROKER_CONFIG:
        return "all brokers";
    case RD_KAFKA_CONFIG_SOURCE_STATIC_BROKER_CONFIG:
        return "file";
    default:
        return "default";
    }
}

static int describe(rd_kafka_t *rk, const struct options *o)
{
    const rd_kafka_ConfigEntry_t **entries;
    size_t count = 0;
    rd_kafka_event_t *e = look(rk, o, &entries, &count);
    if (e == NULL)
        return 1;
    for (size_t i = 0; i < count; i++) {
        const char *value = rd_kafka_ConfigEntry_value(entries[i]);
        rd_kafka_ConfigSource_t source = rd_kafka_ConfigEntry_source(entries[i]);
        if (o->all || source != RD_KAFKA_CONFIG_SOURCE_DEFAULT_CONFIG)
            printf("%s=%s\t(%s%s)\n", rd_kafka_ConfigEntry_name(entries[i]), value != NULL ? value : "", source_name(source),
                   rd_kafka_ConfigEntry_is_read_only(entries[i]) ? ", read at the start" : "");
    }
    rd_kafka_event_destroy(e);
    return 0;
}

static struct change *change_of(struct options *o, const char *name)
{
    for (unsigned i = 0; i < o->change_count; i++)
        if (strcmp(o->changes[i].name, name) == 0)
            return &o->changes[i];
    return NULL;
}

/* What is set of the resource itself, with the changes. */
static void merge(struct options *o, const rd_kafka_ConfigEntry_t **entries, size_t count, rd_kafka_ConfigResource_t *to)
{
    rd_kafka_ConfigSource_t own = o->topic != NULL ? RD_KAFKA_CONFIG_SOURCE_DYNAMIC_TOPIC_CONFIG : RD_KAFKA_CONFIG_SOURCE_DYNAMIC_BROKER_CONFIG;
    for (size_t i = 0; i < count; i++) {
        const char *name = rd_kafka_ConfigEntry_name(entries[i]);
        if (rd_kafka_ConfigEntry_source(entries[i]) == own && change_of(o, name) == NULL)
            rd_kafka_ConfigResource_set_config(to, name, rd_kafka_ConfigEntry_value(entries[i]));
    }
    for (unsigned i = 0; i < o->change_count; i++)
        if (o->changes[i].value != NULL)
            rd_kafka_ConfigResource_set_config(to, o->changes[i].name, o->changes[i].value);
}

static int write_back(rd_kafka_t *rk, const struct options *o, rd_kafka_ConfigResource_t *r)
{
    rd_kafka_queue_t *q = rd_kafka_queue_new(rk);
    const rd_kafka_ConfigResource_t **results;
    rd_kafka_event_t *e;
    size_t count = 0;
    int status = 1;
    rd_kafka_AlterConfigs(rk, &r, 1, NULL, q);
    e = client_wait(q, "alter");
    rd_kafka_queue_destroy(q);
    if (e == NULL)
        return 1;
    results = rd_kafka_AlterConfigs_result_resources(rd_kafka_event_AlterConfigs_result(e), &count);
    if (count == 1 &&
        client_is_good(name_of(o), rd_kafka_ConfigResource_error(results[0]), rd_kafka_ConfigResource_error_string(results[0])))
        status = 0;
    rd_kafka_event_destroy(e);
    if (status == 0)
        printf("altered %s\n", name_of(o));
    return status;
}

static int alter(rd_kafka_t *rk, struct options *o)
{
    const rd_kafka_ConfigEntry_t **entries;
    rd_kafka_ConfigResource_t *r;
    size_t count = 0;
    rd_kafka_event_t *e = look(rk, o, &entries, &count);
    int status;
    if (e == NULL)
        return 1;
    r = resource_of(o);
    merge(o, entries, count, r);
    rd_kafka_event_destroy(e);
    status = write_back(rk, o, r);
    rd_kafka_ConfigResource_destroy(r);
    return status;
}

static void add_change(struct options *o, char *text, bool set)
{
    char *equals = set ? strchr(text, '=') : NULL;
    if (o->change_count == CHANGES_MAX || (set && equals == NULL)) {
        fprintf(stderr, "tidemark: %s\n", set && equals == NULL ? "--set wants KEY=VALUE" : "too many changes");
        o->misused = true;
        return;
    }
    if (set)
        *equals = 0;
    o->changes[o->change_count++] = (struct change){.name = text, .value = set ? equals + 1 : NULL};
}

static int parse(int argc, char **argv, struct options *o)
{
    static const struct option names[] = {
        {"bootstrap", required_argument, NULL, 'b'}, {"topic", required_argument, NULL, 't'},  {"broker", required_argument, NULL, 'n'},
        {"set", required_argument, NULL, 's'},       {"delete", required_argument, NULL, 'd'}, {"all", no_argument, NULL, 'a'},
        {"help", no_argument, NULL, 'h'},            {0}};
    int c;
    memset(o, 0, sizeof(*o));
    while ((c = getopt_long(argc, argv, "b:t:n:s:d:ah", names, NULL)) != -1) {
        switch (c) {
        case 'b': o->bootstrap = optarg; break;
        case 't': o->topic = optarg; break;
        case 'n': o->broker = optarg; break;
        case 's': add_change(o, optarg, true); break;
        case 'd': add_change(o, optarg, false); break;
        case 'a': o->all = true; break;
        case 'h': return -1;
        default: return 2;
        }
    }
    if (optind + 1 != argc || o->bootstrap == NULL || (o->topic == NULL) == (o->broker == NULL) || *name_of(o) == 0 || o->misused)
        return 2;
    o->action = argv[optind];
    return 0;
}

int tool_config(int argc, char **argv)
{
    struct options o;
    rd_kafka_t *rk;
    int status = parse(argc, argv, &o);
    bool alters;
    if (status != 0)
        return status < 0 ? usage(stdout, 0) : usage(stderr, 2);
    alters = strcmp(o.action, "alter") == 0;
    if ((!alters && strcmp(o.action, "describe") != 0) || alters != (o.change_count != 0))
        return usage(stderr, 2);
    rk = client_open(o.bootstrap);
    if (rk == NULL)
        return 1;
    status = alters ? alter(rk, &o) : describe(rk, &o);
    rd_kafka_destroy(rk);
    return status;
}
