/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reader that writes down what it saw, as history.py reads it:
 *
 *     crash_read BOOT TOPIC PARTITIONS MODE OUT
 *
 * All partitions from their beginning, without a group. MODE end: until the end of each. MODE along: until standard input
 * ends, and then until the end of each. An offset that is no longer there is an error: nothing is skipped.
 */
#include <stdlib.h>
#include <string.h>

#include "client.h"

enum { PARTITIONS_MAX = 64, POLL_MS = 50 };

static bool ended[PARTITIONS_MAX];

static rd_kafka_t *open_consumer(const char *boot)
{
    rd_kafka_conf_t *c = rd_kafka_conf_new();
    client_set(c, "bootstrap.servers", boot);
    client_set(c, "group.id", "none");
    client_set(c, "enable.auto.commit", "false");
    client_set(c, "auto.offset.reset", "error");
    client_set(c, "enable.partition.eof", "true");
    client_set(c, "reconnect.backoff.max.ms", "200");
    client_set(c, "fetch.wait.max.ms", "100");
    return client_open(RD_KAFKA_CONSUMER, c, NULL);
}

static bool all_ended(int partitions)
{
    for (int i = 0; i < partitions; i++)
        if (!ended[i])
            return false;
    return true;
}

/* Errors that pass by themselves are the library's business: it says them by its error callback, not here. */
static void take(const rd_kafka_message_t *m, FILE *out)
{
    if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        ended[m->partition] = true;
    } else if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        fprintf(out, "error %s of partition %d\n", rd_kafka_err2name(m->err), m->partition);
    } else {
        ended[m->partition] = false;
        fprintf(out, "read %d %ld %.3f %.*s\n", m->partition, (long)m->offset, client_now_ms(), (int)m->len, (const char *)m->payload);
    }
}

int main(int argc, char **argv)
{
    if (argc != 6 || (strcmp(argv[4], "end") != 0 && strcmp(argv[4], "along") != 0) || atoi(argv[3]) > PARTITIONS_MAX) {
        fputs("crash_read BOOT TOPIC PARTITIONS end|along OUT\n", stderr);
        return 2;
    }
    int partitions = atoi(argv[3]);
    bool along = strcmp(argv[4], "along") == 0;
    rd_kafka_t *rk = open_consumer(argv[1]);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);
    FILE *out = fopen(argv[5], "a");
    if (out == NULL)
        return 2;
    for (int i = 0; i < partitions; i++)
        rd_kafka_topic_partition_list_add(list, argv[2], i)->offset = 0;
    if (rd_kafka_assign(rk, list) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return 2;
    while (along || !all_ended(partitions)) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, POLL_MS);
        if (m != NULL) {
            take(m, out);
            rd_kafka_message_destroy(m);
        }
        if (along && client_input_ended()) {
            along = false;
            memset(ended, 0, sizeof(ended)); /* what was the end need not be it any more: each is asked once more */
            rd_kafka_topic_partition_list_t *at = rd_kafka_topic_partition_list_copy(list);
            if (rd_kafka_position(rk, at) != RD_KAFKA_RESP_ERR_NO_ERROR)
                return 2;
            for (int i = 0; i < at->cnt; i++)
                if (at->elems[i].offset < 0)
                    at->elems[i].offset = 0;
            rd_kafka_assign(rk, at);
            rd_kafka_topic_partition_list_destroy(at);
        }
    }
    fclose(out);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(rk);
    return 0;
}
