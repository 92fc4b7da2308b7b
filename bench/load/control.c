/* SPDX-License-Identifier: Apache-2.0 */
/* Leaders and how to learn of them; producer ids, where consumers begin. */
#include <string.h>

#include "bench/load/internal.h"
#include "kafka/errors.h"

enum { BEGINNING = -2, END = -1 };

const struct load_address *worker_address_of_leader(const struct load_worker *w, uint32_t partition, int32_t *ret_leader)
{
    if (w->options->protocol == LOAD_ECHO)
        return &w->bootstrap[partition % w->bootstrap_count];
    if (w->metadata_ns == 0 || w->metadata->leaders[partition] < 0)
        return NULL;
    *ret_leader = w->metadata->leaders[partition];
    for (unsigned i = 0; i < w->metadata->broker_count; i++)
        if (w->metadata->brokers[i].id == *ret_leader)
            return w->addresses[i].port != 0 ? &w->addresses[i] : NULL;
    return NULL;
}

const struct load_address *worker_address_for_control(struct load_worker *w)
{
    unsigned known = w->metadata_ns != 0 ? w->metadata->broker_count : 0, at = w->address_at % (known + w->bootstrap_count);
    if (at < w->bootstrap_count)
        return &w->bootstrap[at];
    return w->addresses[at - w->bootstrap_count].port != 0 ? &w->addresses[at - w->bootstrap_count] : &w->bootstrap[0];
}

void worker_control_ask(struct load_worker *w, struct load_client *c)
{
    struct wire_writer q;
    if (c->asked_ns != 0)
        return;
    if (!w->versions_known) {
        worker_ask_begin(w, c, &q, KAFKA_API_API_VERSIONS);
        proto_put_api_versions(&q);
    } else if (w->metadata_wanted && w->now_ns >= c->again_ns && worker_knows(w, KAFKA_API_METADATA)) {
        worker_ask_begin(w, c, &q, KAFKA_API_METADATA);
        proto_put_metadata(&q, w->versions.of[KAFKA_API_METADATA], &w->topic);
    } else {
        return;
    }
    worker_ask_end(w, c, &q);
}

static void control_create(struct load_worker *w, struct load_client *c)
{
    struct wire_writer q;
    const char *configs[LOAD_CONFIGS_MAX];
    const struct load_options *o = w->options;
    if (!worker_knows(w, KAFKA_API_CREATE_TOPICS))
        return;
    for (unsigned i = 0; i < o->config_count; i++)
        configs[i] = o->configs[i];
    worker_ask_begin(w, c, &q, KAFKA_API_CREATE_TOPICS);
    proto_put_create_topic(&q, w->versions.of[KAFKA_API_CREATE_TOPICS], &w->topic, (uint32_t)o->partitions, (uint32_t)o->replication, configs, o->config_count);
    w->create_asked = worker_ask_end(w, c, &q);
}

void worker_ask_producer_id(struct load_worker *w, struct load_client *c)
{
    struct wire_writer q;
    if (!worker_knows(w, KAFKA_API_INIT_PRODUCER_ID))
        return;
    worker_ask_begin(w, c, &q, KAFKA_API_INIT_PRODUCER_ID);
    proto_put_init_producer(&q, w->versions.of[KAFKA_API_INIT_PRODUCER_ID]);
    worker_ask_end(w, c, &q);
}

void worker_ask_offset(struct load_worker *w, struct load_client *c)
{
    struct wire_writer q;
    bool beginning = w->options->from != 0 && w->start_ns == 0;
    if (!worker_knows(w, KAFKA_API_LIST_OFFSETS))
        return;
    worker_ask_begin(w, c, &q, KAFKA_API_LIST_OFFSETS);
    proto_put_list_offsets(&q, w->versions.of[KAFKA_API_LIST_OFFSETS], &w->topic, (int32_t)c->partition, beginning ? BEGINNING : END);
    worker_ask_end(w, c, &q);
}

static void on_topic_error(struct load_worker *w, struct load_client *c, int16_t error)
{
    bool absent = error == KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    if (absent && w->options->create && w->index == 0 && !w->create_asked)
        control_create(w, c);
    else if (absent && !w->options->create)
        worker_setup_failed(w, w->options->topic, "there is no such topic (create=yes makes it)");
    else if (!absent && !kafka_error_is_retriable(error))
        worker_setup_failed(w, w->options->topic, kafka_error_name(error));
}

/* Whoever waits for an answer from one that leads no more asks the new leader. */
static void follow_leaders(struct load_worker *w)
{
    for (uint32_t i = 1; i < w->client_count; i++) {
        struct load_client *c = &w->clients[i];
        uint64_t since = c->flight.head != NULL ? c->flight.head->sent_ns : c->asked_ns;
        int32_t leader = w->metadata->leaders[c->partition];
        bool stale = c->state == CLIENT_CONNECTING || (since != 0 && w->now_ns - since > LOAD_STALE_NS);
        if (c->state != CLIENT_IDLE && stale && leader >= 0 && leader != c->leader) {
            worker_client_lost(w, c);
            c->again_ns = w->now_ns;
            c->lost_ns = w->metadata_ns - 1;
        }
    }
}

/* A name that was found is not asked for again: that blocks, and answers come in the middle of a run. */
static void find_address(struct load_worker *w, unsigned i)
{
    const struct proto_broker *b = &w->metadata->brokers[i];
    struct load_address *a = &w->addresses[i];
    if (a->port != 0 && strcmp(w->hosts[i], b->host) == 0) {
        a->port = b->port;
    } else if (load_resolve(b->host, b->port, a)) {
        memcpy(w->hosts[i], b->host, sizeof(b->host));
    } else {
        a->port = 0;
    }
}

static void on_metadata(struct load_worker *w, struct load_client *c, struct wire_cursor *at)
{
    struct proto_metadata *m = w->metadata;
    c->again_ns = w->now_ns + w->options->retry_ms * TIDE_NS_PER_MS;
    if (!proto_read_metadata(at, w->versions.of[KAFKA_API_METADATA], &w->topic, m)) {
        w->metadata_ns = 0;
        worker_malformed(w, c);
        return;
    }
    if (m->topic_error != 0) {
        on_topic_error(w, c, m->topic_error);
        return;
    }
    if (m->partition_count < w->options->partitions)
        worker_setup_failed(w, w->options->topic, "the topic has fewer partitions than are to be used");
    w->topic.id = m->topic_id;
    for (unsigned i = 0; i < m->broker_count; i++)
        find_address(w, i);
    w->metadata_ns = w->now_ns;
    w->metadata_wanted = false;
    follow_leaders(w);
}

void worker_on_control(struct load_worker *w, struct load_client *c, struct wire_cursor *at)
{
    int16_t error;
    switch (c->asked_api) {
    case KAFKA_API_API_VERSIONS:
        if (!proto_read_api_versions(at, &w->versions)) {
            worker_malformed(w, c);
            return;
        }
        w->versions_known = true;
        w->metadata_wanted = true;
        c->again_ns = w->now_ns;
        if (c->state == CLIENT_ASKING)
            worker_client_move(c, CLIENT_READY);
        (void)(worker_knows(w, KAFKA_API_METADATA) && worker_knows(w, KAFKA_API_PRODUCE) && worker_knows(w, KAFKA_API_FETCH));
        break;
    case KAFKA_API_METADATA: on_metadata(w, c, at); break;
    default:
        if (!proto_read_create_topic(at, w->versions.of[KAFKA_API_CREATE_TOPICS], &error)) {
            worker_malformed(w, c);
            return;
        }
        w->create_asked = error == 0 || error == KAFKA_TOPIC_ALREADY_EXISTS;
        if (!w->create_asked && !kafka_error_is_retriable(error))
            worker_setup_failed(w, "the topic cannot be made", kafka_error_name(error));
    }
    if (c->state == CLIENT_READY)
        worker_control_ask(w, c);
}

/* A producer id, or where a consumer begins. */
void worker_on_asked(struct load_worker *w, struct load_client *c, struct wire_cursor *at)
{
    int16_t error;
    bool good = c->role == LOAD_PRODUCER
        ? proto_read_init_producer(at, w->versions.of[KAFKA_API_INIT_PRODUCER_ID], &error, &c->producer_id, &c->producer_epoch)
        : proto_read_list_offsets(at, w->versions.of[KAFKA_API_LIST_OFFSETS], &error, &c->offset);
    if (!good) {
        worker_malformed(w, c);
        return;
    }
    if (error != 0) {
        worker_count_error(w, error);
        c->producer_id = c->offset = -1;
        if (!kafka_error_is_retriable(error))
            worker_setup_failed(w, "a client cannot begin", kafka_error_name(error));
        worker_client_lost(w, c);
        return;
    }
    worker_client_move(c, CLIENT_READY);
    if (c->role == LOAD_PRODUCER)
        worker_pump(w, c);
    else
        worker_ask_fetch(w, c);
}
