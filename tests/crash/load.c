/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A producer that writes down what was acknowledged: load BOOT TOPIC ACKS IDEMPOTENT SECONDS OUT.
 * Records are numbered from START; OUT gets a line "number offset" for each acknowledged one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <librdkafka/rdkafka.h>

static FILE *out;
static long acknowledged, failed;

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
    (void)rk;
    (void)opaque;
    if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        failed++;
        return;
    }
    acknowledged++;
    fprintf(out, "%.*s %ld\n", (int)m->len, (const char *)m->payload, (long)m->offset);
    fflush(out);
}

static void quiet(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    (void)rk;
    (void)level;
    (void)facility;
    (void)text;
}

static void set(rd_kafka_conf_t *c, const char *name, const char *value)
{
    char error[256];
    if (rd_kafka_conf_set(c, name, value, error, sizeof(error)) != RD_KAFKA_CONF_OK) {
        fprintf(stderr, "%s\n", error);
        exit(2);
    }
}

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_t *rk;
    char error[256];
    double until;
    long number;
    if (argc != 8) {
        fputs("load BOOT TOPIC ACKS IDEMPOTENT SECONDS START OUT\n", stderr);
        return 2;
    }
    set(conf, "bootstrap.servers", argv[1]);
    set(conf, "acks", argv[3]);
    set(conf, "enable.idempotence", argv[4]);
    set(conf, "reconnect.backoff.max.ms", "200");
    set(conf, "message.timeout.ms", "60000");
    set(conf, "linger.ms", "1");
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_conf_set_log_cb(conf, quiet);
    rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof(error));
    out = fopen(argv[7], "a");
    if (rk == NULL || out == NULL)
        return 2;
    until = now() + atof(argv[5]);
    for (number = atol(argv[6]); now() < until; number++) {
        char text[64];
        int len = snprintf(text, sizeof(text), "%012ld", number);
        while (rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(argv[2]), RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_VALUE(text, (size_t)len),
                                 RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END) == RD_KAFKA_RESP_ERR__QUEUE_FULL)
            rd_kafka_poll(rk, 10);
        rd_kafka_poll(rk, 0);
        if (number % 50 == 0) {
            struct timespec pause = {.tv_nsec = 2000000};
            nanosleep(&pause, NULL);
        }
    }
    rd_kafka_flush(rk, 60000);
    printf("%ld %ld %ld\n", number, acknowledged, failed);
    rd_kafka_destroy(rk);
    fclose(out);
    return 0;
}
