/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands as bytes: big-endian, a version in front, every length checked.
 */
#include "cluster/cluster.h"

#include <stdlib.h>

#include "tidemark/bytes.h"

enum { COMMAND_VERSION = 1 };

struct writer {
    uint8_t *to;
    size_t cap, at;
    bool failed;
};

static void put(struct writer *w, const void *bytes, size_t n)
{
    if (w->failed || n > w->cap - w->at) {
        w->failed = true;
        return;
    }
    memcpy(w->to + w->at, bytes, n);
    w->at += n;
}

static void put_u32(struct writer *w, uint32_t v)
{
    uint8_t b[4];
    store_be32(b, v);
    put(w, b, sizeof(b));
}

static void put_u64(struct writer *w, uint64_t v)
{
    uint8_t b[8];
    store_be64(b, v);
    put(w, b, sizeof(b));
}

static void put_text(struct writer *w, const char *text)
{
    uint32_t n = (uint32_t)strlen(text);
    put_u32(w, n);
    put(w, text, n);
}

static void put_broker(struct writer *w, const struct cluster_broker *b)
{
    put_u32(w, (uint32_t)b->id);
    put(w, &b->incarnation, sizeof(b->incarnation));
    put_text(w, b->rack);
    put_u32(w, b->endpoint_count);
    for (uint32_t i = 0; i < b->endpoint_count; i++) {
        put_text(w, b->endpoints[i].host);
        put_u32(w, b->endpoints[i].port);
    }
}

static void put_topic(struct writer *w, const struct cluster_command *c)
{
    put(w, &c->create_topic.id, sizeof(c->create_topic.id));
    put_text(w, c->create_topic.name);
    put_u32(w, c->create_topic.partition_count);
    put_u32(w, c->create_topic.replication_factor);
    put_u32(w, c->create_topic.placement_seed);
    put_u32(w, c->create_topic.assignment != NULL);
    for (uint32_t i = 0; c->create_topic.assignment != NULL &&
                         i < c->create_topic.partition_count * c->create_topic.replication_factor; i++)
        put_u32(w, (uint32_t)c->create_topic.assignment[i]);
    put_u32(w, c->create_topic.config_count);
    for (uint32_t i = 0; i < c->create_topic.config_count; i++) {
        put_text(w, c->create_topic.configs[i].name);
        put_text(w, c->create_topic.configs[i].value);
    }
}

enum tide_status cluster_command_encode(const struct cluster_command *c, uint8_t *to, size_t cap, size_t *ret_len)
{
    struct writer w = {.to = to, .cap = cap};
    put_u32(&w, COMMAND_VERSION);
    put_u32(&w, c->kind);
    switch (c->kind) {
    case CLUSTER_INIT:
        put(&w, &c->init, sizeof(c->init));
        break;
    case CLUSTER_REGISTER_BROKER:
        put_broker(&w, &c->broker);
        break;
    case CLUSTER_CREATE_TOPIC:
        put_topic(&w, c);
        break;
    case CLUSTER_DELETE_TOPIC:
        put(&w, &c->delete_topic, sizeof(c->delete_topic));
        break;
    case CLUSTER_ALLOCATE_PRODUCER_IDS:
        put_u32(&w, (uint32_t)c->producer_ids.broker);
        put_u64(&w, c->producer_ids.count);
        break;
    default:
        return TIDE_BAD;
    }
    if (w.failed)
        return TIDE_FULL;
    *ret_len = w.at;
    return TIDE_OK;
}

/* ---- decoding --------------------------------------------------------------------------------------- */

struct reader {
    const uint8_t *p;
    size_t left;
    bool failed;
};

static void get(struct reader *r, void *to, size_t n)
{
    if (r->failed || n > r->left) {
        r->failed = true;
        memset(to, 0, n);
        return;
    }
    memcpy(to, r->p, n);
    r->p += n;
    r->left -= n;
}

static uint32_t get_u32(struct reader *r)
{
    uint8_t b[4];
    get(r, b, sizeof(b));
    return load_be32(b);
}

static uint64_t get_u64(struct reader *r)
{
    uint8_t b[8];
    get(r, b, sizeof(b));
    return load_be64(b);
}

static void get_text(struct reader *r, char *to, size_t cap)
{
    uint32_t n = get_u32(r);
    if (n >= cap || n > r->left) {
        r->failed = true;
        to[0] = 0;
        return;
    }
    get(r, to, n);
    to[n] = 0;
    if (strlen(to) != n)
        r->failed = true;
}

static void get_broker(struct reader *r, struct cluster_broker *b)
{
    b->id = (int32_t)get_u32(r);
    get(r, &b->incarnation, sizeof(b->incarnation));
    get_text(r, b->rack, sizeof(b->rack));
    b->endpoint_count = get_u32(r);
    if (b->endpoint_count > TIDE_LISTENERS_MAX)
        r->failed = true;
    for (uint32_t i = 0; i < b->endpoint_count && !r->failed; i++) {
        get_text(r, b->endpoints[i].host, sizeof(b->endpoints[i].host));
        b->endpoints[i].port = (uint16_t)get_u32(r);
    }
}

/* The lists are taken from the heap; the caller frees them. */
static void get_topic(struct reader *r, struct cluster_command *c, int32_t **ret_ids, struct cluster_config **ret_configs)
{
    uint32_t cells;
    get(r, &c->create_topic.id, sizeof(c->create_topic.id));
    get_text(r, c->create_topic.name, sizeof(c->create_topic.name));
    c->create_topic.partition_count = get_u32(r);
    c->create_topic.replication_factor = get_u32(r);
    c->create_topic.placement_seed = get_u32(r);
    if (c->create_topic.partition_count > CLUSTER_PARTITIONS_MAX || c->create_topic.replication_factor > TIDE_REPLICAS_MAX) {
        r->failed = true;
        return;
    }
    cells = c->create_topic.partition_count * c->create_topic.replication_factor;
    if (get_u32(r) != 0) {
        *ret_ids = calloc(cells + 1, sizeof(**ret_ids));
        r->failed |= *ret_ids == NULL;
        for (uint32_t i = 0; i < cells && !r->failed; i++)
            (*ret_ids)[i] = (int32_t)get_u32(r);
        c->create_topic.assignment = *ret_ids;
    }
    c->create_topic.config_count = get_u32(r);
    if (c->create_topic.config_count > CLUSTER_CONFIGS_MAX) {
        r->failed = true;
        return;
    }
    *ret_configs = calloc(c->create_topic.config_count + 1, sizeof(**ret_configs));
    r->failed |= *ret_configs == NULL;
    for (uint32_t i = 0; i < c->create_topic.config_count && !r->failed; i++) {
        get_text(r, (*ret_configs)[i].name, sizeof((*ret_configs)[i].name));
        get_text(r, (*ret_configs)[i].value, sizeof((*ret_configs)[i].value));
    }
    c->create_topic.configs = *ret_configs;
}

enum tide_status cluster_apply_bytes(struct cluster *cluster, const uint8_t *bytes, size_t len, struct cluster_result *ret)
{
    struct reader r = {.p = bytes, .left = len};
    struct cluster_command c;
    int32_t *ids = NULL;
    struct cluster_config *configs = NULL;
    enum tide_status status = TIDE_BAD;

    memset(&c, 0, sizeof(c));
    if (get_u32(&r) != COMMAND_VERSION)
        return TIDE_BAD;
    c.kind = (enum cluster_command_kind)get_u32(&r);
    switch (c.kind) {
    case CLUSTER_INIT:
        get(&r, &c.init, sizeof(c.init));
        break;
    case CLUSTER_REGISTER_BROKER:
        get_broker(&r, &c.broker);
        break;
    case CLUSTER_CREATE_TOPIC:
        get_topic(&r, &c, &ids, &configs);
        break;
    case CLUSTER_DELETE_TOPIC:
        get(&r, &c.delete_topic, sizeof(c.delete_topic));
        break;
    case CLUSTER_ALLOCATE_PRODUCER_IDS:
        c.producer_ids.broker = (int32_t)get_u32(&r);
        c.producer_ids.count = (uint32_t)get_u64(&r);
        break;
    default:
        r.failed = true;
    }
    if (!r.failed && r.left == 0)
        status = cluster_apply(cluster, &c, ret);
    free(ids);
    free(configs);
    return status;
}
