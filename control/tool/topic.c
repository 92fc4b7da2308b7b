/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Topics, by librdkafka: the tool is a client like any other.
 */
#include "tool/tool.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tidemark/types.h"
#include "tool/client.h"

enum { CONFIGS_MAX = 32 };

struct options {
    const char *action;
    const char *bootstrap;
    const char *topic;
    int partitions;
    int replicas;
    unsigned config_count;
    char *configs[CONFIGS_MAX];
};

static int usage(FILE *f, int status)
{
    fputs("tidemark topic create   --bootstrap HOST:PORT --topic NAME [--partitions N] [--replication-factor N] [--config KEY=VALUE]...\n"
          "tidemark topic list     --bootstrap HOST:PORT\n"
          "tidemark topic describe --bootstrap HOST:PORT [--topic NAME]\n"
          "tidemark topic alter    --bootstrap HOST:PORT --topic NAME --partitions N\n"
          "tidemark topic delete   --bootstrap HOST:PORT --topic NAME\n", f);
    return status;
}

/* Waits for the result of an admin call on one topic. 0, or 1 and the reason was printed. */
static int wait_result(rd_kafka_queue_t *q, const char *what)
{
    rd_kafka_event_t *e = client_wait(q, what);
    const rd_kafka_topic_result_t **results = NULL;
    size_t count = 0;
    int status = 1;
    if (e == NULL)
        return 1;
    if (rd_kafka_event_type(e) == RD_KAFKA_EVENT_CREATETOPICS_RESULT)
        results = rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(e), &count);
    else if (rd_kafka_event_type(e) == RD_KAFKA_EVENT_DELETETOPICS_RESULT)
        results = rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(e), &count);
    else if (rd_kafka_event_type(e) == RD_KAFKA_EVENT_CREATEPARTITIONS_RESULT)
        results = rd_kafka_CreatePartitions_result_topics(rd_kafka_event_CreatePartitions_result(e), &count);
    for (size_t i = 0; i < count; i++)
        if (client_is_good(rd_kafka_topic_result_name(results[i]), rd_kafka_topic_result_error(results[i]),
                           rd_kafka_topic_result_error_string(results[i])))
            status = 0;
    rd_kafka_event_destroy(e);
    return status;
}

static int create(rd_kafka_t *rk, const struct options *o)
{
    char error[512] = "";
    rd_kafka_NewTopic_t *t = rd_kafka_NewTopic_new(o->topic, o->partitions, o->replicas, error, sizeof(error));
    rd_kafka_queue_t *q;
    int status;
    if (t == NULL) {
        fprintf(stderr, "tidemark: %s\n", error);
        return 2;
    }
    for (unsigned i = 0; i < o->config_count; i++) {
        char *equals = strchr(o->configs[i], '=');
        if (equals == NULL) {
            fprintf(stderr, "tidemark: --config wants KEY=VALUE, not '%s'\n", o->configs[i]);
            rd_kafka_NewTopic_destroy(t);
            return 2;
        }
        *equals = 0;
        rd_kafka_NewTopic_set_config(t, o->configs[i], equals + 1);
    }
    q = rd_kafka_queue_new(rk);
    rd_kafka_CreateTopics(rk, &t, 1, NULL, q);
    status = wait_result(q, "create");
    if (status == 0)
        printf("created topic %s\n", o->topic);
    rd_kafka_queue_destroy(q);
    rd_kafka_NewTopic_destroy(t);
    return status;
}

static int delete(rd_kafka_t *rk, const struct options *o)
{
    rd_kafka_DeleteTopic_t *t = rd_kafka_DeleteTopic_new(o->topic);
    rd_kafka_queue_t *q = rd_kafka_queue_new(rk);
    int status;
    rd_kafka_DeleteTopics(rk, &t, 1, NULL, q);
    status = wait_result(q, "delete");
    if (status == 0)
        printf("deleted topic %s\n", o->topic);
    rd_kafka_queue_destroy(q);
    rd_kafka_DeleteTopic_destroy(t);
    return status;
}

static int alter(rd_kafka_t *rk, const struct options *o)
{
    char error[512] = "";
    rd_kafka_NewPartitions_t *t = rd_kafka_NewPartitions_new(o->topic, (size_t)TIDE_MAX(o->partitions, 0), error, sizeof(error));
    rd_kafka_queue_t *q;
    int status;
    if (t == NULL) {
        fprintf(stderr, "tidemark: %s\n", error);
        return 2;
    }
    q = rd_kafka_queue_new(rk);
    rd_kafka_CreatePartitions(rk, &t, 1, NULL, q);
    status = wait_result(q, "alter");
    if (status == 0)
        printf("topic %s has %d partitions\n", o->topic, o->partitions);
    rd_kafka_queue_destroy(q);
    rd_kafka_NewPartitions_destroy(t);
    return status;
}

static void print_ids(const char *name, const int32_t *ids, int count)
{
    printf("\t%s: ", name);
    for (int i = 0; i < count; i++)
        printf("%s%d", i ? "," : "", ids[i]);
}

static bool is_there(const rd_kafka_metadata_t *m, int32_t id)
{
    for (int i = 0; i < m->broker_cnt; i++)
        if (m->brokers[i].id == id)
            return true;
    return false;
}

/* Replicas on brokers that Metadata does not list: fenced ones, and those that never came back. */
static void print_offline(const rd_kafka_metadata_t *m, const rd_kafka_metadata_partition_t *p)
{
    const char *before = "\tOffline: ";
    for (int i = 0; i < p->replica_cnt; i++) {
        if (is_there(m, p->replicas[i]))
            continue;
        printf("%s%d", before, p->replicas[i]);
        before = ",";
    }
}

static void describe_topic(const rd_kafka_metadata_t *m, const rd_kafka_metadata_topic_t *t)
{
    printf("Topic: %s\tPartitionCount: %d\tReplicationFactor: %d\n", t->topic, t->partition_cnt,
           t->partition_cnt != 0 ? t->partitions[0].replica_cnt : 0);
    for (int i = 0; i < t->partition_cnt; i++) {
        const rd_kafka_metadata_partition_t *p = &t->partitions[i];
        if (p->leader >= 0)
            printf("\tPartition: %d\tLeader: %d", p->id, p->leader);
        else
            printf("\tPartition: %d\tLeader: none", p->id);
        print_ids("Replicas", p->replicas, p->replica_cnt);
        print_ids("Isr", p->isrs, p->isr_cnt);
        print_offline(m, p);
        printf("%s%s\n", p->err ? "\t" : "", p->err ? rd_kafka_err2name(p->err) : "");
    }
}

static int look(rd_kafka_t *rk, const struct options *o, bool describe)
{
    const rd_kafka_metadata_t *m;
    rd_kafka_resp_err_t err = rd_kafka_metadata(rk, 1, NULL, &m, CLIENT_TIMEOUT_MS);
    int found = o->topic == NULL;
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        fprintf(stderr, "tidemark: %s: %s\n", o->bootstrap, rd_kafka_err2str(err));
        return 1;
    }
    for (int i = 0; i < m->topic_cnt; i++) {
        if (o->topic != NULL && strcmp(o->topic, m->topics[i].topic) != 0)
            continue;
        found = 1;
        if (describe)
            describe_topic(m, &m->topics[i]);
        else
            puts(m->topics[i].topic);
    }
    rd_kafka_metadata_destroy(m);
    if (!found)
        fprintf(stderr, "tidemark: there is no topic %s\n", o->topic);
    return found ? 0 : 1;
}

static int parse(int argc, char **argv, struct options *o)
{
    static const struct option names[] = {
        {"bootstrap", required_argument, NULL, 'b'},   {"topic", required_argument, NULL, 't'},
        {"partitions", required_argument, NULL, 'p'},  {"replication-factor", required_argument, NULL, 'r'},
        {"config", required_argument, NULL, 'c'},      {"help", no_argument, NULL, 'h'},
        {0}};
    int c;
    *o = (struct options){.partitions = -1, .replicas = -1};
    while ((c = getopt_long(argc, argv, "b:t:p:r:c:h", names, NULL)) != -1) {
        switch (c) {
        case 'b': o->bootstrap = optarg; break;
        case 't': o->topic = optarg; break;
        case 'p': o->partitions = atoi(optarg); break;
        case 'r': o->replicas = atoi(optarg); break;
        case 'c':
            if (o->config_count == CONFIGS_MAX)
                return 2;
            o->configs[o->config_count++] = optarg;
            break;
        case 'h': return -1;
        default: return 2;
        }
    }
    if (optind + 1 != argc)
        return 2;
    o->action = argv[optind];
    return 0;
}

int tool_topic(int argc, char **argv)
{
    struct options o;
    rd_kafka_t *rk;
    int status = parse(argc, argv, &o);
    bool needs_topic, alters;
    if (status != 0)
        return status < 0 ? usage(stdout, 0) : usage(stderr, 2);
    alters = strcmp(o.action, "alter") == 0;
    needs_topic = alters || strcmp(o.action, "create") == 0 || strcmp(o.action, "delete") == 0;
    if (!needs_topic && strcmp(o.action, "list") != 0 && strcmp(o.action, "describe") != 0)
        return usage(stderr, 2);
    if (o.bootstrap == NULL || (needs_topic && o.topic == NULL) || (alters && o.partitions < 0))
        return usage(stderr, 2);
    rk = client_open(o.bootstrap);
    if (rk == NULL)
        return 1;
    if (strcmp(o.action, "create") == 0)
        status = create(rk, &o);
    else if (alters)
        status = alter(rk, &o);
    else if (strcmp(o.action, "delete") == 0)
        status = delete(rk, &o);
    else
        status = look(rk, &o, strcmp(o.action, "describe") == 0);
    rd_kafka_destroy(rk);
    return status;
}
