/* SPDX-License-Identifier: Apache-2.0 */
#include "tool/client.h"

#include <stdio.h>

static void quiet(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    (void)rk;
    (void)facility;
    if (level <= 3)
        fprintf(stderr, "tidemark: %s\n", text);
}

rd_kafka_t *client_open(const char *bootstrap)
{
    char error[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_t *rk;
    rd_kafka_conf_set_log_cb(conf, quiet);
    if (rd_kafka_conf_set(conf, "bootstrap.servers", bootstrap, error, sizeof(error)) != RD_KAFKA_CONF_OK ||
        rd_kafka_conf_set(conf, "client.id", "tidemark-tool", error, sizeof(error)) != RD_KAFKA_CONF_OK ||
        rd_kafka_conf_set(conf, "allow.auto.create.topics", "false", error, sizeof(error)) != RD_KAFKA_CONF_OK) {
        fprintf(stderr, "tidemark: %s\n", error);
        rd_kafka_conf_destroy(conf);
        return NULL;
    }
    rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof(error));
    if (rk == NULL)
        fprintf(stderr, "tidemark: %s\n", error);
    return rk;
}

rd_kafka_event_t *client_wait(rd_kafka_queue_t *q, const char *what)
{
    rd_kafka_event_t *e = rd_kafka_queue_poll(q, CLIENT_TIMEOUT_MS);
    if (e == NULL) {
        fprintf(stderr, "tidemark: %s: no answer within %d s\n", what, CLIENT_TIMEOUT_MS / 1000);
        return NULL;
    }
    if (rd_kafka_event_error(e) == RD_KAFKA_RESP_ERR_NO_ERROR)
        return e;
    fprintf(stderr, "tidemark: %s: %s\n", what, rd_kafka_event_error_string(e));
    rd_kafka_event_destroy(e);
    return NULL;
}

int client_is_good(const char *name, rd_kafka_resp_err_t err, const char *text)
{
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
        return 1;
    fprintf(stderr, "tidemark: %s: %s%s%s\n", name, rd_kafka_err2name(err), text != NULL ? ": " : "", text != NULL ? text : "");
    return 0;
}
