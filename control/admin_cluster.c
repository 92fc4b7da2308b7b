/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What concerns the cluster and its brokers: registration, producer ids.
 */
#include "control/admin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool admin_registration(struct control *c, struct cluster_command *ret)
{
    const struct tide_settings *s = c->config.settings;
    const struct cluster_broker *before = cluster_find_broker(c->config.cluster, c->config.broker_id);
    struct cluster_broker *b = &ret->register_broker.broker;
    memset(ret, 0, sizeof(*ret));
    ret->kind = CLUSTER_REGISTER_BROKER;
    ret->register_broker.cluster_id = *cluster_id(c->config.cluster);
    /* A single broker: nobody else has what it may have lost, so it makes no difference how it stopped. */
    ret->register_broker.previous_epoch = before != NULL ? before->epoch : -1;
    b->id = c->config.broker_id;
    b->incarnation = c->config.incarnation;
    snprintf(b->rack, sizeof(b->rack), "%.200s", s->broker_rack);
    b->endpoint_count = s->listener_count;
    for (uint32_t i = 0; i < s->listener_count; i++) {
        snprintf(b->endpoints[i].name, sizeof(b->endpoints[i].name), "%s", s->listener[i].name);
        snprintf(b->endpoints[i].host, sizeof(b->endpoints[i].host), "%s", s->listener[i].advertised_host);
        b->endpoints[i].port = s->listener[i].advertised_port;
    }
    b->replication_port = (uint16_t)s->replication_port;
    b->core_count = (uint16_t)s->data_core_count;
    for (const struct cluster_feature_range *f; (f = cluster_known_feature(b->feature_count)) != NULL;)
        b->features[b->feature_count++] = *f;
    b->directory_count = TIDE_MIN(dirs_count(c->config.dirs), (uint32_t)TIDE_LOG_DIRS_MAX);
    for (uint32_t i = 0; i < b->directory_count; i++)
        dirs_id(c->config.dirs, i, &b->directories[i]);
    return true;
}

/* ---- producer ids ---------------------------------------------------------------------------------------------- */

struct producer_ask {
    struct admin_verdict verdict;
    int64_t id;
};

static void submit_block(struct admin_ask *a)
{
    struct control *c = a->control;
    struct producer_ask *p = a->data;
    struct cluster_command m = {.kind = CLUSTER_PRODUCER_ID_BLOCK};
    const struct cluster_broker *self = cluster_find_broker(c->config.cluster, c->config.broker_id);
    m.producer_ids.broker = c->config.broker_id;
    m.producer_ids.broker_epoch = self != NULL ? self->epoch : -1;
    m.producer_ids.count = (uint32_t)c->config.settings->producer_id_block_size;
    c->producer_ids_asked = true;
    admin_submit(a, &m, 0, &p->verdict);
}

/* A block is durable before its first id is given out; after a crash the rest of it is skipped.
 * While one is on its way, whoever needs an id queues behind it. */
static void take_producer_id(struct admin_ask *a)
{
    struct control *c = a->control;
    struct producer_ask *p = a->data;
    if (a->state == ASK_ANSWERED)
        return; /* too late for an id */
    if (c->next_producer_id != c->producer_ids_end) {
        p->verdict.undecided = false;
        p->id = (int64_t)c->next_producer_id++;
    } else if (c->producer_ids_asked) {
        p->verdict.undecided = true;
        a->waiting++;
        a->next_waiting = c->producer_waiters;
        c->producer_waiters = a;
    } else {
        submit_block(a);
    }
}

static void refuse_id(struct admin_ask *a, const struct cluster_result *r)
{
    struct producer_ask *p = a->data;
    p->verdict.undecided = false;
    /* Whatever keeps us from a block may pass: the clients come again. */
    admin_refuse(&p->verdict, KAFKA_COORDINATOR_NOT_AVAILABLE, r->message);
}

static void on_producer_ids(struct admin_ask *a, uint32_t index, const struct cluster_result *r)
{
    struct control *c = a->control;
    struct admin_ask *waiter = c->producer_waiters;
    (void)index;
    c->producer_waiters = NULL;
    c->producer_ids_asked = false;
    if (r->error == 0) {
        c->next_producer_id = (uint64_t)r->first_producer_id;
        c->producer_ids_end = c->next_producer_id + (uint64_t)c->config.settings->producer_id_block_size;
        take_producer_id(a);
    } else {
        refuse_id(a, r);
    }
    while (waiter != NULL) {
        struct admin_ask *next = waiter->next_waiting;
        waiter->next_waiting = NULL;
        if (r->error == 0)
            take_producer_id(waiter);
        else
            refuse_id(waiter, r);
        admin_came_back(waiter);
        waiter = next;
    }
}

static bool begin_init_producer_id(struct admin_ask *a, struct wire_cursor *body)
{
    struct init_producer_id_request in;
    struct producer_ask *p;
    if (!init_producer_id_request_read(body, a->v, &in))
        return false;
    a->data = p = calloc(1, sizeof(*p));
    if (p == NULL)
        return false;
    p->id = -1;
    if (!in.transactional_id.null) /* transactions are not served */
        admin_refuse(&p->verdict, in.transactional_id.at.len == 0 ? KAFKA_INVALID_REQUEST : KAFKA_COORDINATOR_NOT_AVAILABLE, NULL);
    else if (a->v >= 3 && (in.producer_id == -1) != (in.producer_epoch == -1))
        admin_refuse(&p->verdict, KAFKA_INVALID_REQUEST, NULL);
    else
        take_producer_id(a);
    return true;
}

static void write_init_producer_id(struct admin_ask *a, struct wire_writer *w)
{
    const struct producer_ask *p = a->data;
    int16_t error = admin_error(a, &p->verdict);
    init_producer_id_response_put_throttle_time_ms(w, a->v, 0);
    init_producer_id_response_put_error_code(w, a->v, error);
    init_producer_id_response_put_producer_id(w, a->v, error != 0 ? -1 : p->id);
    init_producer_id_response_put_producer_epoch(w, a->v, error != 0 ? -1 : 0);
    init_producer_id_response_end(w, a->v);
}

static void forget_init_producer_id(struct admin_ask *a)
{
    struct producer_ask *p = a->data;
    if (p != NULL)
        admin_verdict_free(&p->verdict);
}

const struct admin_api admin_init_producer_id = {KAFKA_API_INIT_PRODUCER_ID, begin_init_producer_id, on_producer_ids,
                                                 write_init_producer_id, forget_init_producer_id};
