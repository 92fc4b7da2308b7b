/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A member of a group that writes down what it was given, what it read and what was committed for it, as groups.py reads it:
 *
 *     crash_group BOOT GROUP TOPIC NAME STRATEGY OUT     until standard input ends, then it leaves
 *     crash_group BOOT GROUP TOPIC PARTITIONS watch OUT  looks at the group's committed offsets all the while
 *
 * STRATEGY is a partition.assignment.strategy of librdkafka, or default: then nothing is set but where a group without offsets
 * begins. The library commits by itself, every five seconds and when it gives partitions up.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"

enum { POLL_MS = 100, WATCH_MS = 100, ASK_MS = 5000 };

static FILE *out;
static const char *topic;

static void each(const char *what, const rd_kafka_topic_partition_list_t *list)
{
    for (int i = 0; i < list->cnt; i++)
        fprintf(out, "%s %d %.3f\n", what, list->elems[i].partition, client_now_ms());
}

static void on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t err, rd_kafka_topic_partition_list_t *list, void *opaque)
{
    int cooperative = strcmp(rd_kafka_rebalance_protocol(rk), "COOPERATIVE") == 0;
    (void)opaque;
    if (err == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        each("assigned", list); /* before it asks where to begin */
        if (cooperative)
            rd_kafka_error_destroy(rd_kafka_incremental_assign(rk, list));
        else
            rd_kafka_assign(rk, list);
    } else {
        each("revoked", list);
        if (cooperative)
            rd_kafka_error_destroy(rd_kafka_incremental_unassign(rk, list));
        else
            rd_kafka_assign(rk, NULL);
    }
}

static void on_commit(rd_kafka_t *rk, rd_kafka_resp_err_t err, rd_kafka_topic_partition_list_t *list, void *opaque)
{
    (void)rk;
    (void)opaque;
    for (int i = 0; err == 0 && i < list->cnt; i++)
        if (list->elems[i].err == 0 && list->elems[i].offset >= 0)
            fprintf(out, "committed %d %ld %.3f\n", list->elems[i].partition, (long)list->elems[i].offset, client_now_ms());
}

static void on_error(rd_kafka_t *rk, int err, const char *reason, void *opaque)
{
    char text[512];
    (void)reason;
    (void)opaque;
    if (err == RD_KAFKA_RESP_ERR__FATAL && rd_kafka_fatal_error(rk, text, sizeof(text)) != 0)
        fprintf(out, "error %s\n", text);
}

static rd_kafka_t *open_member(const char *boot, const char *group, const char *name, const char *strategy)
{
    rd_kafka_conf_t *c = rd_kafka_conf_new();
    client_set(c, "bootstrap.servers", boot);
    client_set(c, "group.id", group);
    client_set(c, "client.id", name);
    client_set(c, "auto.offset.reset", "earliest");
    if (strcmp(strategy, "default") != 0 && strcmp(strategy, "watch") != 0)
        client_set(c, "partition.assignment.strategy", strategy);
    rd_kafka_conf_set_rebalance_cb(c, on_rebalance);
    rd_kafka_conf_set_offset_commit_cb(c, on_commit);
    rd_kafka_conf_set_error_cb(c, on_error);
    return client_open(RD_KAFKA_CONSUMER, c, out);
}

static void watch(rd_kafka_t *rk, int partitions)
{
    while (!client_input_ended()) {
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);
        double begin = client_now_ms();
        for (int i = 0; i < partitions; i++)
            rd_kafka_topic_partition_list_add(list, topic, i);
        if (rd_kafka_committed(rk, list, ASK_MS) == 0)
            for (int i = 0; i < partitions; i++)
                if (list->elems[i].err == 0)
                    fprintf(out, "stands %d %ld %.3f %.3f\n", i, (long)(list->elems[i].offset < 0 ? -1 : list->elems[i].offset), begin, client_now_ms());
        rd_kafka_topic_partition_list_destroy(list);
        usleep(WATCH_MS * 1000);
    }
}

static void consume(rd_kafka_t *rk)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, RD_KAFKA_PARTITION_UA);
    rd_kafka_subscribe(rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    while (!client_input_ended()) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, POLL_MS);
        if (m == NULL)
            continue;
        if (m->err == 0)
            fprintf(out, "got %d %ld %.3f %.*s\n", m->partition, (long)m->offset, client_now_ms(), (int)m->len, (const char *)m->payload);
        rd_kafka_message_destroy(m);
    }
    rd_kafka_consumer_close(rk);
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        fputs("crash_group BOOT GROUP TOPIC NAME|PARTITIONS STRATEGY|watch OUT\n", stderr);
        return 2;
    }
    topic = argv[3];
    out = fopen(argv[6], "a");
    if (out == NULL)
        return 2;
    setvbuf(out, NULL, _IOLBF, 0); /* what was delivered is in the file before it can be committed, however the process ends */
    rd_kafka_t *rk = open_member(argv[1], argv[2], argv[4], argv[5]);
    if (strcmp(argv[5], "watch") == 0)
        watch(rk, atoi(argv[4]));
    else
        consume(rk);
    rd_kafka_destroy(rk);
    fclose(out);
    return 0;
}
