/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings of topics and brokers (control-plane 4.5). They are texts here, kept and told; whether a name is known and a
 * value in range is judged by the proposer (proposal.c). Three settings the state machine goes by itself, and one is a
 * list that can be appended to: those it judges here, in the same way on every release.
 */
#include <stdlib.h>

#include "cluster/state.h"

#define MIN_INSYNC "min.insync.replicas"
#define UNCLEAN "unclean.leader.election.enable"
#define DURABILITY "ack.durability"

enum { ALL_BROKERS = -1 };

/* ---- the three -------------------------------------------------------------------------------------------------------- */

static bool is_own(const char *name)
{
    return strcmp(name, MIN_INSYNC) == 0 || strcmp(name, UNCLEAN) == 0 || strcmp(name, DURABILITY) == 0;
}

/* 0: it is none. */
static uint32_t insync_number(const char *value)
{
    uint32_t n = 0;
    for (const char *p = value; *p != 0; p++) {
        if (*p < '0' || *p > '9' || n > TIDE_REPLICAS_MAX)
            return 0;
        n = n * 10 + (uint32_t)(*p - '0');
    }
    return n <= TIDE_REPLICAS_MAX ? n : 0;
}

static bool own_is_legal(const char *name, const char *value)
{
    if (strcmp(name, MIN_INSYNC) == 0)
        return insync_number(value) != 0;
    if (strcmp(name, UNCLEAN) == 0)
        return strcmp(value, "true") == 0 || strcmp(value, "false") == 0;
    if (strcmp(name, DURABILITY) == 0)
        return strcmp(value, "device") == 0 || strcmp(value, "memory") == 0;
    return true;
}

/* ---- looking ------------------------------------------------------------------------------------------------------------ */

static const char *value_in(const struct cluster_config *list, uint32_t count, const char *name)
{
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(list[i].name, name) == 0)
            return list[i].value;
    return NULL;
}

const char *cluster_topic_config(const struct cluster_topic *t, const char *name)
{
    return value_in(t->configs, t->config_count, name);
}

uint32_t cluster_broker_configs(const struct cluster *c, int32_t broker, const struct cluster_config **ret_configs)
{
    *ret_configs = NULL;
    for (uint32_t i = 0; i < c->config_count; i++) {
        if (c->configs[i].broker == broker) {
            *ret_configs = c->configs[i].configs;
            return c->configs[i].count;
        }
    }
    return 0;
}

const char *cluster_broker_config(const struct cluster *c, int32_t broker, const char *name)
{
    const struct cluster_config *list;
    uint32_t count = cluster_broker_configs(c, broker, &list);
    return value_in(list, count, name);
}

static const char *own_value(const struct cluster *c, const struct cluster_topic *t, const char *name, const char *standard)
{
    const char *value = cluster_topic_config(t, name);
    if (value == NULL)
        value = cluster_broker_config(c, ALL_BROKERS, name);
    return value != NULL ? value : standard;
}

uint32_t cluster_min_insync(const struct cluster *c, const struct cluster_topic *t, uint32_t replica_count)
{
    return TIDE_MIN(insync_number(own_value(c, t, MIN_INSYNC, "1")), replica_count);
}

bool cluster_unclean_allowed(const struct cluster *c, const struct cluster_topic *t)
{
    return strcmp(own_value(c, t, UNCLEAN, "false"), "true") == 0;
}

bool cluster_acks_from_memory(const struct cluster *c, const struct cluster_topic *t)
{
    return strcmp(own_value(c, t, DURABILITY, "device"), "memory") == 0;
}

/* ---- lists of settings ------------------------------------------------------------------------------------------------------ */

static const char *fault_of(const char *name, const char *value)
{
    if (name[0] == 0)
        return "a setting needs a name";
    return own_is_legal(name, value) ? NULL : "the value is not possible";
}

bool configs_are_legal(const struct cluster_config *list, uint32_t count, struct cluster_result *r)
{
    if (count > CLUSTER_CONFIGS_MAX) {
        cluster_refuse(r, KAFKA_INVALID_CONFIG, "more than %d settings", CLUSTER_CONFIGS_MAX);
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        const char *fault = value_in(list, i, list[i].name) != NULL ? "the setting is named twice" : fault_of(list[i].name, list[i].value);
        if (fault != NULL) {
            cluster_refuse(r, KAFKA_INVALID_CONFIG, "%.64s: %s", list[i].name, fault);
            return false;
        }
    }
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct cluster_config *)a)->name, ((const struct cluster_config *)b)->name);
}

struct cluster_config *configs_copy_sorted(const struct cluster_memory *memory, const struct cluster_config *list, uint32_t count)
{
    struct cluster_config *to = cluster_take(memory, count * sizeof(*to));
    if (to == NULL)
        return NULL;
    for (uint32_t i = 0; i < count; i++) { /* as texts: equal settings are equal bytes */
        memcpy(to[i].name, list[i].name, strlen(list[i].name));
        memcpy(to[i].value, list[i].value, strlen(list[i].value));
    }
    if (count != 0)
        qsort(to, count, sizeof(*to), by_name);
    return to;
}

enum tide_status configs_set_defaults(struct cluster *c, const struct cluster_config *list, uint32_t count)
{
    struct broker_configs *more;
    struct cluster_config *copy;
    TIDE_ASSERT(c->config_count == 0);
    if (count == 0)
        return TIDE_OK;
    more = cluster_take(c->memory, sizeof(*more));
    copy = configs_copy_sorted(c->memory, list, count);
    if (more == NULL || copy == NULL) {
        cluster_give(c->memory, more);
        cluster_give(c->memory, copy);
        return TIDE_FULL;
    }
    *more = (struct broker_configs){.broker = ALL_BROKERS, .count = count, .configs = copy};
    cluster_give(c->memory, c->configs);
    c->configs = more;
    c->config_count = 1;
    c->configs_changed = c->now;
    return TIDE_OK;
}

/* ---- texts that are lists ------------------------------------------------------------------------------------------------------ */

static const char *list_default(const char *name)
{
    if (strcmp(name, "leader.replication.throttled.replicas") == 0 || strcmp(name, "follower.replication.throttled.replicas") == 0)
        return "";
    return strcmp(name, "cleanup.policy") == 0 || strcmp(name, "log.cleanup.policy") == 0 ? "delete" : NULL;
}

static bool list_has(const char *list, const char *word, size_t len)
{
    for (const char *p = list; *p != 0;) {
        size_t n = strcspn(p, ",");
        if (n == len && memcmp(p, word, len) == 0)
            return true;
        p += n + (p[n] == ',');
    }
    return false;
}

/* Adds what is missing, or leaves out what is there. False: it does not fit. */
static bool list_merge(const char *now, const char *words, bool add, char *to, size_t cap)
{
    size_t at = 0;
    const char *sources[] = {now, add ? words : ""};
    to[0] = 0;
    for (unsigned s = 0; s < TIDE_ARRAY_LEN(sources); s++) {
        for (const char *p = sources[s]; *p != 0;) {
            size_t n = strcspn(p, ",");
            if (n != 0 && !list_has(to, p, n) && (add || !list_has(words, p, n))) {
                if (at + n + 2 > cap)
                    return false;
                if (at != 0)
                    to[at++] = ',';
                memcpy(to + at, p, n);
                to[at += n] = 0;
            }
            p += n + (p[n] == ',');
        }
    }
    return true;
}

/* ---- ALTER_CONFIGS -------------------------------------------------------------------------------------------------------------- */

/* One resource with what it will have. */
struct staged {
    struct cluster_topic *topic; /* or a broker */
    int32_t broker;
    bool wanted;
    bool own; /* one of the three is another one now */
    uint32_t count;
    struct cluster_config *configs; /* room for the most there may be */
};

static bool is_number(const char *text, int32_t *ret)
{
    int64_t n = 0;
    for (const char *p = text; *p != 0; p++) {
        if (*p < '0' || *p > '9' || n > INT32_MAX)
            return false;
        n = n * 10 + (*p - '0');
    }
    *ret = (int32_t)n;
    return text[0] != 0 && n <= INT32_MAX;
}

static bool find_resource(const struct cluster *c, const struct cluster_resource_change *n, struct staged *s, struct cluster_item *item)
{
    bool found;
    if (n->type == CLUSTER_RESOURCE_TOPIC) {
        uint32_t at = cluster_topic_place(c, n->name, &found);
        if (!found) {
            cluster_refuse_item(item, KAFKA_UNKNOWN_TOPIC_OR_PARTITION, "there is no such topic");
            return false;
        }
        s->topic = c->topics[at];
        item->topic_id = s->topic->id;
        return true;
    }
    if (n->type != CLUSTER_RESOURCE_BROKER) {
        cluster_refuse_item(item, KAFKA_INVALID_REQUEST, "only topics and brokers have settings that can be changed");
        return false;
    }
    s->broker = ALL_BROKERS;
    if (n->name[0] == 0)
        return true;
    if (!is_number(n->name, &s->broker)) {
        cluster_refuse_item(item, KAFKA_INVALID_REQUEST, "a broker is named by its number");
        return false;
    }
    if (cluster_find_broker(c, s->broker) == NULL) {
        cluster_refuse_item(item, KAFKA_BROKER_ID_NOT_REGISTERED, "broker %d is not registered", s->broker);
        return false;
    }
    return true;
}

static uint32_t current_of(const struct cluster *c, const struct staged *s, const struct cluster_config **ret)
{
    if (s->topic == NULL)
        return cluster_broker_configs(c, s->broker, ret);
    *ret = s->topic->configs;
    return s->topic->config_count;
}

static void set_value(struct staged *s, const char *name, const char *value)
{
    uint32_t at = 0;
    while (at < s->count && strcmp(s->configs[at].name, name) != 0)
        at++;
    if (at == s->count) {
        s->count++;
        memcpy(s->configs[at].name, name, strlen(name));
    }
    memset(s->configs[at].value, 0, sizeof(s->configs[at].value));
    memcpy(s->configs[at].value, value, strlen(value));
}

static void drop_value(struct staged *s, const char *name)
{
    for (uint32_t i = 0; i < s->count; i++) {
        if (strcmp(s->configs[i].name, name) == 0) {
            memmove(&s->configs[i], &s->configs[i + 1], (s->count - i - 1) * sizeof(*s->configs));
            memset(&s->configs[--s->count], 0, sizeof(*s->configs));
            return;
        }
    }
}

static bool merge(const struct cluster *c, struct staged *s, const struct cluster_config_change *n, struct cluster_item *item)
{
    char value[CLUSTER_CONFIG_VALUE_MAX];
    const char *standard = list_default(n->name);
    const char *now = value_in(s->configs, s->count, n->name);
    if (standard == NULL) {
        cluster_refuse_item(item, KAFKA_INVALID_CONFIG, "%.64s is no list", n->name);
        return false;
    }
    if (now == NULL && s->topic != NULL)
        now = cluster_broker_config(c, ALL_BROKERS, "log.cleanup.policy");
    if (!list_merge(now != NULL ? now : standard, n->value, n->op == CLUSTER_CONFIG_APPEND, value, sizeof(value)) || value[0] == 0) {
        cluster_refuse_item(item, KAFKA_INVALID_CONFIG, "%.64s would be empty or too long", n->name);
        return false;
    }
    set_value(s, n->name, value);
    return true;
}

static bool change_one(const struct cluster *c, struct staged *s, const struct cluster_resource_change *resource,
                       const struct cluster_config_change *n, struct cluster_item *item)
{
    const char *fault = n->op == CLUSTER_CONFIG_DELETE ? NULL : fault_of(n->name, n->value);
    if (n->op > CLUSTER_CONFIG_SUBTRACT || (resource->replace && n->op != CLUSTER_CONFIG_SET)) {
        cluster_refuse_item(item, KAFKA_INVALID_REQUEST, "%.64s: no such operation", n->name);
        return false;
    }
    if (s->topic == NULL && s->broker != ALL_BROKERS && is_own(n->name))
        fault = "is set for all brokers together";
    if (fault != NULL) {
        cluster_refuse_item(item, KAFKA_INVALID_CONFIG, "%.64s: %s", n->name, fault);
        return false;
    }
    if (n->op == CLUSTER_CONFIG_SET)
        set_value(s, n->name, n->value);
    else if (n->op == CLUSTER_CONFIG_DELETE)
        drop_value(s, n->name);
    else
        return merge(c, s, n, item);
    return true;
}

/* Fills s->configs. False: refused. */
static bool change_all(const struct cluster *c, struct staged *s, const struct cluster_resource_change *n, struct cluster_item *item)
{
    for (uint32_t i = 0; i < n->change_count; i++) {
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(n->changes[i].name, n->changes[k].name) == 0) {
                cluster_refuse_item(item, KAFKA_INVALID_REQUEST, "%.64s is named twice", n->changes[i].name);
                return false;
            }
        if (!change_one(c, s, n, &n->changes[i], item))
            return false;
    }
    if (s->count > CLUSTER_CONFIGS_MAX) {
        cluster_refuse_item(item, KAFKA_INVALID_CONFIG, "more than %d settings", CLUSTER_CONFIGS_MAX);
        return false;
    }
    if (s->count != 0)
        qsort(s->configs, s->count, sizeof(*s->configs), by_name);
    return true;
}

static enum tide_status stage(const struct cluster *c, const struct cluster_resource_change *n, struct staged *s, struct cluster_item *item)
{
    const struct cluster_config *now;
    uint32_t count;
    if (!find_resource(c, n, s, item))
        return TIDE_OK;
    count = current_of(c, s, &now);
    s->configs = cluster_take(c->memory, (count + n->change_count) * sizeof(*s->configs));
    if (s->configs == NULL)
        return TIDE_FULL;
    if (!n->replace && count != 0) {
        memcpy(s->configs, now, count * sizeof(*now));
        s->count = count;
    }
    if (!change_all(c, s, n, item))
        return TIDE_OK;
    s->wanted = s->count != current_of(c, s, &now) || (s->count != 0 && memcmp(s->configs, now, s->count * sizeof(*now)) != 0);
    return TIDE_OK;
}

static bool is_twice(const struct cluster_command *m, uint32_t i)
{
    const struct cluster_resource_change *a = m->alter_configs.resources;
    for (uint32_t k = 0; k < i; k++)
        if (a[k].type == a[i].type && strcmp(a[k].name, a[i].name) == 0)
            return true;
    return false;
}

/* Would one of the three be another one now? Values that are set and equal to the default count as another one: harmless. */
static bool own_differs(const struct cluster_config *a, uint32_t a_count, const struct cluster_config *b, uint32_t b_count)
{
    static const char *const own[] = {MIN_INSYNC, UNCLEAN, DURABILITY};
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(own); i++) {
        const char *x = value_in(a, a_count, own[i]);
        const char *y = value_in(b, b_count, own[i]);
        if ((x == NULL) != (y == NULL) || (x != NULL && strcmp(x, y) != 0))
            return true;
    }
    return false;
}

static uint32_t go_through(struct cluster *c, struct cluster_topic *t)
{
    uint32_t changed = 0;
    for (uint32_t i = 0; i < t->partition_count; i++) {
        struct partition_wish w;
        wish_of(&w, &t->partitions[i]);
        changed += partition_change(c, t, i, &w);
    }
    return changed;
}

/* `list` has room for one more. */
static void store_broker(struct cluster *c, struct staged *s)
{
    uint32_t at = 0;
    while (at < c->config_count && c->configs[at].broker < s->broker)
        at++;
    if (at < c->config_count && c->configs[at].broker == s->broker) {
        cluster_give(c->memory, c->configs[at].configs);
        if (s->count == 0) {
            memmove(&c->configs[at], &c->configs[at + 1], (c->config_count - at - 1) * sizeof(*c->configs));
            c->config_count--;
            return;
        }
    } else {
        memmove(&c->configs[at + 1], &c->configs[at], (c->config_count - at) * sizeof(*c->configs));
        c->config_count++;
    }
    c->configs[at] = (struct broker_configs){.broker = s->broker, .count = s->count, .configs = s->configs};
    s->configs = NULL;
}

/* What goes by the three settings is looked at when all resources are stored: one step for each partition. */
static void store(struct cluster *c, struct staged *s)
{
    const struct cluster_config *now;
    uint32_t count = current_of(c, s, &now);
    s->own = own_differs(now, count, s->configs, s->count);
    if (s->topic == NULL) {
        store_broker(c, s);
        c->configs_changed = c->now;
        return;
    }
    cluster_give(c->memory, s->topic->configs);
    s->topic->configs = s->configs;
    s->topic->config_count = s->count;
    s->configs = NULL;
    s->topic->changed = s->topic->configs_changed = c->topic_configs_changed = c->now;
}

static uint32_t follow(struct cluster *c, const struct staged *list, uint32_t count)
{
    uint32_t changed = 0;
    bool all = false;
    for (uint32_t i = 0; i < count; i++)
        all |= list[i].own && list[i].topic == NULL;
    for (uint32_t i = 0; all && i < c->topic_count; i++)
        changed += go_through(c, c->topics[i]);
    for (uint32_t i = 0; !all && i < count; i++)
        if (list[i].own)
            changed += go_through(c, list[i].topic);
    return changed;
}

static enum tide_status alter(struct cluster *c, const struct cluster_command *m, struct staged *list, struct broker_configs *more,
                              struct cluster_result *r)
{
    for (uint32_t i = 0; i < m->alter_configs.count; i++) {
        struct cluster_item *item = &r->items[i];
        item->partition = (int32_t)i;
        if (is_twice(m, i))
            cluster_refuse_item(item, KAFKA_INVALID_REQUEST, "the resource is named twice");
        else if (stage(c, &m->alter_configs.resources[i], &list[i], item) != TIDE_OK)
            return TIDE_FULL;
    }
    if (m->alter_configs.validate_only)
        return TIDE_AGAIN;
    if (c->config_count != 0)
        memcpy(more, c->configs, c->config_count * sizeof(*more));
    cluster_give(c->memory, c->configs);
    c->configs = more;
    for (uint32_t i = 0; i < m->alter_configs.count; i++)
        if (list[i].wanted)
            store(c, &list[i]);
    r->changed = follow(c, list, m->alter_configs.count);
    return TIDE_OK;
}

enum tide_status apply_alter_configs(struct cluster *c, const struct cluster_command *m, struct cluster_result *r)
{
    uint32_t count = m->alter_configs.count;
    struct staged *list = cluster_take(c->memory, count * sizeof(*list));
    struct broker_configs *more = cluster_take(c->memory, (c->config_count + count) * sizeof(*more));
    enum tide_status status = TIDE_FULL;
    if (list != NULL && more != NULL)
        status = alter(c, m, list, more, r);
    if (status != TIDE_OK)
        cluster_give(c->memory, more);
    for (uint32_t i = 0; list != NULL && i < count; i++)
        cluster_give(c->memory, list[i].configs);
    cluster_give(c->memory, list);
    return status == TIDE_FULL ? TIDE_FULL : TIDE_OK;
}
