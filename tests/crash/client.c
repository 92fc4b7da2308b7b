/* SPDX-License-Identifier: Apache-2.0 */
#include "client.h"

#include <poll.h>
#include <stdlib.h>
#include <time.h>

static FILE *told;

static void fail(const char *text)
{
    fprintf(stderr, "%s\n", text);
    exit(2);
}

double client_now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    (void)rk;
    (void)level;
    if (told != NULL)
        fprintf(told, "# %.3f %s %s\n", client_now_ms(), facility, text);
}

void client_set(rd_kafka_conf_t *c, const char *name, const char *value)
{
    char error[256];
    if (rd_kafka_conf_set(c, name, value, error, sizeof(error)) != RD_KAFKA_CONF_OK)
        fail(error);
}

rd_kafka_t *client_open(rd_kafka_type_t type, rd_kafka_conf_t *c, FILE *comments)
{
    char error[256];
    const char *debug = getenv("TIDE_CLIENT_DEBUG");
    if (debug != NULL && comments != NULL) {
        told = comments;
        client_set(c, "debug", debug);
    }
    rd_kafka_conf_set_log_cb(c, on_log);
    rd_kafka_t *rk = rd_kafka_new(type, c, error, sizeof(error));
    if (rk == NULL)
        fail(error);
    if (type == RD_KAFKA_CONSUMER)
        rd_kafka_poll_set_consumer(rk);
    return rk;
}

bool client_input_ended(void)
{
    struct pollfd p = {.fd = 0, .events = POLLIN};
    char byte;
    return poll(&p, 1, 0) > 0 && fread(&byte, 1, 1, stdin) == 0;
}
