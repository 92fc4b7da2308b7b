/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A producer that writes down what it sent and what it was told, as history.py reads it:
 *
 *     crash_load BOOT TOPIC PARTITIONS NAME ACKS IDEMPOTENT RATE START OUT
 *
 * Records are numbered from START, number n goes to partition n % PARTITIONS, RATE a second (0: as many as it can), until
 * standard input ends. Then what is on its way is waited for, a minute and a half at most. IDEMPOTENT is true, false, or
 * default: nothing but ACKS is set then, and the library is as it comes. Prints the next number, how many were
 * acknowledged and how many failed. A fatal error of an idempotent producer ends it with status 1. TIDE_CLIENT_DEBUG=eos,msg
 * has the library say in the history what it does.
 */
#include <stdlib.h>
#include <string.h>

#include "client.h"

enum { FLUSH_MS = 90000, POLL_MS = 10 };

static FILE *out;
static long acknowledged, failed;
static char fatal[512]; /* why an idempotent producer gave up */

/* The value is "NAME NUMBER". */
static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
    const char *space = memchr(m->payload, ' ', m->len);
    (void)rk;
    (void)opaque;
    if (space == NULL)
        abort();
    int len = (int)((const char *)m->payload + m->len - space) - 1;
    if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        failed++;
        fprintf(out, "failed %d %.*s %s %.3f\n", m->partition, len, space + 1, rd_kafka_err2name(m->err), client_now_ms());
        return;
    }
    acknowledged++;
    fprintf(out, "acked %d %.*s %ld %.3f\n", m->partition, len, space + 1, (long)m->offset, client_now_ms());
}

static void on_error(rd_kafka_t *rk, int err, const char *reason, void *opaque)
{
    (void)reason;
    (void)opaque;
    if (err == RD_KAFKA_RESP_ERR__FATAL)
        (void)rd_kafka_fatal_error(rk, fatal, sizeof(fatal));
}

static rd_kafka_t *open_producer(const char *boot, const char *acks, const char *idempotent)
{
    rd_kafka_conf_t *c = rd_kafka_conf_new();
    client_set(c, "bootstrap.servers", boot);
    client_set(c, "acks", acks);
    if (strcmp(idempotent, "default") != 0) {
        client_set(c, "enable.idempotence", idempotent);
        client_set(c, "reconnect.backoff.max.ms", "200");
        client_set(c, "message.timeout.ms", "120000");
        client_set(c, "linger.ms", "1");
    }
    rd_kafka_conf_set_dr_msg_cb(c, on_delivery);
    rd_kafka_conf_set_error_cb(c, on_error);
    return client_open(RD_KAFKA_PRODUCER, c, out);
}

static int send_record(rd_kafka_t *rk, const char *topic, int partition, const char *name, long number)
{
    char text[128];
    int len = snprintf(text, sizeof(text), "%s %ld", name, number);
    rd_kafka_resp_err_t e = rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition), RD_KAFKA_V_VALUE(text, (size_t)len),
                                              RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
    if (e == RD_KAFKA_RESP_ERR__QUEUE_FULL)
        return 0;
    if (e != RD_KAFKA_RESP_ERR_NO_ERROR) {
        fprintf(stderr, "%s\n", rd_kafka_err2str(e));
        exit(1);
    }
    fprintf(out, "sent %d %ld %.3f\n", partition, number, client_now_ms());
    return 1;
}

int main(int argc, char **argv)
{
    if (argc != 10) {
        fputs("crash_load BOOT TOPIC PARTITIONS NAME ACKS IDEMPOTENT RATE START OUT\n", stderr);
        return 2;
    }
    int partitions = atoi(argv[3]);
    double rate = atof(argv[7]), begin = client_now_ms();
    long start = atol(argv[8]), number = start;
    out = fopen(argv[9], "a");
    if (out == NULL || partitions <= 0)
        return 2;
    rd_kafka_t *rk = open_producer(argv[1], argv[5], argv[6]);
    while (!client_input_ended() && fatal[0] == 0) {
        long due = rate > 0 ? start + (long)((client_now_ms() - begin) * rate / 1e3) : number + 100;
        while (number < due && send_record(rk, argv[2], (int)(number % partitions), argv[4], number))
            number++;
        rd_kafka_poll(rk, POLL_MS);
        fflush(out);
    }
    if (rd_kafka_flush(rk, FLUSH_MS) != RD_KAFKA_RESP_ERR_NO_ERROR)
        fputs("not everything was answered\n", stderr);
    printf("%ld %ld %ld\n", number, acknowledged, failed);
    rd_kafka_destroy(rk);
    fclose(out);
    if (fatal[0] != 0)
        fprintf(stderr, "a fatal error: %s\n", fatal);
    return fatal[0] != 0;
}
