/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state as a whole: its life, looking things up, one command after the other, kept results.
 */
#include <stdlib.h>

#include "cluster/state.h"

/* ---- memory --------------------------------------------------------------------------------------------------- */

static void *heap_take(void *arg, size_t size)
{
    (void)arg;
    return malloc(size);
}

static void heap_give(void *arg, void *block)
{
    (void)arg;
    free(block);
}

static const struct cluster_memory heap = {.take = heap_take, .give = heap_give};

void *cluster_take(const struct cluster_memory *memory, size_t size)
{
    const struct cluster_memory *m = memory != NULL ? memory : &heap;
    void *block = m->take(m->arg, size != 0 ? size : 1);
    if (block != NULL)
        memset(block, 0, size);
    return block;
}

void cluster_give(const struct cluster_memory *memory, void *block)
{
    const struct cluster_memory *m = memory != NULL ? memory : &heap;
    if (block != NULL)
        m->give(m->arg, block);
}

bool cluster_grow(const struct cluster_memory *memory, void **list, uint32_t *room, uint32_t count, size_t size)
{
    uint32_t want = *room == 0 ? 16 : *room * 2;
    void *more;
    if (count < *room)
        return true;
    more = cluster_take(memory, want * size);
    if (more == NULL)
        return false;
    if (count != 0)
        memcpy(more, *list, count * size);
    cluster_give(memory, *list);
    *list = more;
    *room = want;
    return true;
}

/* ---- life --------------------------------------------------------------------------------------------------------- */

struct cluster *cluster_create(const struct cluster_memory *memory)
{
    struct cluster *c = cluster_take(memory, sizeof(*c));
    if (c == NULL)
        return NULL;
    c->memory = memory;
    c->controller = -1;
    c->producer_id_owner = -1;
    c->producer_id_owner_epoch = -1;
    return c;
}

void cluster_empty(struct cluster *c)
{
    for (uint32_t i = 0; i < c->topic_count; i++)
        topic_free(c->memory, c->topics[i]);
    for (uint32_t i = 0; i < c->broker_count; i++) {
        cluster_give(c->memory, c->brokers[i]->slot.bytes);
        cluster_give(c->memory, c->brokers[i]);
    }
    for (uint32_t i = 0; i < c->config_count; i++)
        cluster_give(c->memory, c->configs[i].configs);
    for (uint32_t i = 0; i < c->slot_count; i++)
        cluster_give(c->memory, c->slots[i].bytes);
    cluster_give(c->memory, c->topics);
    cluster_give(c->memory, c->by_id);
    cluster_give(c->memory, c->brokers);
    cluster_give(c->memory, c->configs);
}

void cluster_destroy(struct cluster *c)
{
    if (c == NULL)
        return;
    cluster_empty(c);
    cluster_give(c->memory, c);
}

/* ---- looking ------------------------------------------------------------------------------------------------------ */

uint64_t cluster_index(const struct cluster *c) { return c->index; }
const struct tide_uuid *cluster_id(const struct cluster *c) { return &c->id; }
int64_t cluster_created_ms(const struct cluster *c) { return c->created_ms; }
int32_t cluster_controller(const struct cluster *c) { return c->controller; }
uint64_t cluster_controller_epoch(const struct cluster *c) { return c->controller_epoch; }
uint32_t cluster_topic_count(const struct cluster *c) { return c->topic_count; }
const struct cluster_topic *cluster_topic_at(const struct cluster *c, uint32_t i) { return c->topics[i]; }
uint32_t cluster_partition_count(const struct cluster *c) { return c->partition_count; }
uint32_t cluster_leaderless_count(const struct cluster *c) { return c->leaderless_count; }
uint32_t cluster_broker_count(const struct cluster *c) { return c->broker_count; }
const struct cluster_broker *cluster_broker_at(const struct cluster *c, uint32_t i) { return &c->brokers[i]->b; }
int64_t cluster_next_producer_id(const struct cluster *c) { return c->next_producer_id; }

uint32_t cluster_topic_place(const struct cluster *c, const char *name, bool *ret_found)
{
    uint32_t low = 0, high = c->topic_count;
    *ret_found = false;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        int order = strcmp(c->topics[mid]->name, name);
        if (order == 0) {
            *ret_found = true;
            return mid;
        }
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

uint32_t cluster_id_place(const struct cluster *c, const struct tide_uuid *id, bool *ret_found)
{
    uint32_t low = 0, high = c->topic_count;
    *ret_found = false;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        int order = memcmp(&c->by_id[mid]->id, id, sizeof(*id));
        if (order == 0) {
            *ret_found = true;
            return mid;
        }
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

const struct cluster_topic *cluster_find_topic(const struct cluster *c, const char *name)
{
    bool found;
    uint32_t at = cluster_topic_place(c, name, &found);
    return found ? c->topics[at] : NULL;
}

struct cluster_topic *cluster_topic_of(const struct cluster *c, const struct tide_uuid *id)
{
    bool found;
    uint32_t at = cluster_id_place(c, id, &found);
    return found ? c->by_id[at] : NULL;
}

const struct cluster_topic *cluster_find_topic_by_id(const struct cluster *c, const struct tide_uuid *id)
{
    return cluster_topic_of(c, id);
}

struct cluster_partition *cluster_partition_of(const struct cluster *c, const struct tide_uuid *id, int32_t partition,
                                               struct cluster_topic **ret_topic)
{
    struct cluster_topic *t = cluster_topic_of(c, id);
    *ret_topic = t;
    return t != NULL && partition >= 0 && (uint32_t)partition < t->partition_count ? &t->partitions[partition] : NULL;
}

const struct cluster_partition *cluster_find_partition(const struct cluster *c, const struct tide_uuid *id, int32_t partition)
{
    struct cluster_topic *t;
    return cluster_partition_of(c, id, partition, &t);
}

uint32_t cluster_broker_place(const struct cluster *c, int32_t id, bool *ret_found)
{
    uint32_t low = 0, high = c->broker_count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (c->brokers[mid]->b.id < id)
            low = mid + 1;
        else
            high = mid;
    }
    *ret_found = low < c->broker_count && c->brokers[low]->b.id == id;
    return low;
}

struct broker_entry *cluster_entry(const struct cluster *c, int32_t id)
{
    bool found;
    uint32_t at = cluster_broker_place(c, id, &found);
    return found ? c->brokers[at] : NULL;
}

const struct cluster_broker *cluster_find_broker(const struct cluster *c, int32_t id)
{
    const struct broker_entry *e = cluster_entry(c, id);
    return e != NULL ? &e->b : NULL;
}

bool cluster_broker_is_active(const struct cluster_broker *b)
{
    return !b->fenced && !b->in_shutdown;
}

uint32_t cluster_visit(struct cluster *c, partition_visit *change, void *arg)
{
    uint32_t changed = 0;
    for (uint32_t i = 0; i < c->topic_count; i++)
        for (uint32_t k = 0; k < c->topics[i]->partition_count; k++)
            changed += change(c, c->topics[i], k, arg);
    return changed;
}

/* ---- kept results (control-plane 4.8) --------------------------------------------------------------------------------- */

static int32_t broker_of(uint64_t requester)
{
    return requester != 0 && requester <= (uint64_t)INT32_MAX + 1 ? (int32_t)(requester - 1) : -1;
}

/* These are their own retry: a second one finds the work done. */
static bool is_repeatable(enum cluster_command_kind kind)
{
    return kind == CLUSTER_INIT || kind == CLUSTER_CONTROLLER_EPOCH || kind == CLUSTER_NO_OP || kind == CLUSTER_REGISTER_BROKER;
}

static struct cluster_slot *find_slot(struct cluster *c, uint64_t requester)
{
    struct broker_entry *e = cluster_entry(c, broker_of(requester));
    if (requester == 0)
        return NULL;
    if (e != NULL)
        return e->slot.requester == requester ? &e->slot : NULL;
    for (uint32_t i = 0; i < c->slot_count; i++)
        if (c->slots[i].requester == requester)
            return &c->slots[i];
    return NULL;
}

static void keep_client(struct cluster *c, const struct cluster_slot *slot)
{
    uint32_t at = 0;
    while (at < c->slot_count && c->slots[at].requester != slot->requester)
        at++;
    if (at == c->slot_count && c->slot_count == CLUSTER_CLIENT_SLOTS)
        at = 0; /* the oldest makes room */
    if (at < c->slot_count) {
        cluster_give(c->memory, c->slots[at].bytes);
        memmove(&c->slots[at], &c->slots[at + 1], (c->slot_count - at - 1) * sizeof(*c->slots));
        c->slot_count--;
    }
    c->slots[c->slot_count++] = *slot;
}

/* `room` has been taken before anything changed; it is given back or kept. */
static void keep_result(struct cluster *c, const struct cluster_command *m, const struct cluster_result *r, uint8_t *room, size_t cap)
{
    struct cluster_slot slot = {.requester = m->requester, .sequence = m->sequence, .index = c->now, .bytes = room};
    struct broker_entry *e = cluster_entry(c, broker_of(m->requester));
    size_t len = 0;
    uint8_t *exact;
    bool whole = cluster_result_encode(r, room, cap, &len) == TIDE_OK;
    TIDE_ASSERT(whole);
    slot.len = (uint32_t)len;
    exact = len < cap ? cluster_take(c->memory, len) : NULL;
    if (exact != NULL) {
        memcpy(exact, room, len);
        cluster_give(c->memory, room);
        slot.bytes = exact;
    }
    if (e != NULL) {
        cluster_give(c->memory, e->slot.bytes);
        e->slot = slot;
    } else if (m->requester >> 63 != 0) {
        keep_client(c, &slot);
    } else {
        cluster_give(c->memory, slot.bytes); /* a broker that is not registered (any more) */
    }
}

/* ---- commands ----------------------------------------------------------------------------------------------------------- */

static enum tide_status apply_no_op(struct cluster *c, const struct cluster_command *m, struct cluster_result *r)
{
    (void)c;
    (void)m;
    (void)r;
    return TIDE_OK;
}

static const struct {
    const char *name;
    enum tide_status (*apply)(struct cluster *, const struct cluster_command *, struct cluster_result *);
} kinds[CLUSTER_COMMAND_KIND_COUNT] = {
    [CLUSTER_INIT] = {"init", apply_init},
    [CLUSTER_CONTROLLER_EPOCH] = {"controller epoch", apply_controller_epoch},
    [CLUSTER_NO_OP] = {"no-op", apply_no_op},
    [CLUSTER_UPDATE_FEATURES] = {"update features", apply_update_features},
    [CLUSTER_REGISTER_BROKER] = {"register broker", apply_register_broker},
    [CLUSTER_FENCE_BROKER] = {"fence broker", apply_fence_broker},
    [CLUSTER_UNFENCE_BROKER] = {"unfence broker", apply_unfence_broker},
    [CLUSTER_BEGIN_SHUTDOWN] = {"begin shutdown", apply_begin_shutdown},
    [CLUSTER_SET_DATA_SUSPECT] = {"set data suspect", apply_set_data_suspect},
    [CLUSTER_DIRS_OFFLINE] = {"directories offline", apply_dirs_offline},
    [CLUSTER_UNREGISTER_BROKER] = {"unregister broker", apply_unregister_broker},
    [CLUSTER_CREATE_TOPIC] = {"create topic", apply_create_topic},
    [CLUSTER_DELETE_TOPIC] = {"delete topic", apply_delete_topic},
    [CLUSTER_CREATE_PARTITIONS] = {"create partitions", apply_create_partitions},
    [CLUSTER_ALTER_PARTITION] = {"alter partition", apply_alter_partition},
    [CLUSTER_ELECT_LEADERS] = {"elect leaders", apply_elect_leaders},
    [CLUSTER_ALTER_REASSIGNMENTS] = {"alter reassignments", apply_alter_reassignments},
    [CLUSTER_ASSIGN_DIRS] = {"assign directories", apply_assign_dirs},
    [CLUSTER_MOVE_LEADER] = {"move leader", apply_move_leader},
    [CLUSTER_BALANCE_LEADERS] = {"balance leaders", apply_balance_leaders},
    [CLUSTER_UNCLEAN_SWEEP] = {"unclean sweep", apply_unclean_sweep},
    [CLUSTER_ALTER_CONFIGS] = {"alter configs", apply_alter_configs},
    [CLUSTER_PRODUCER_ID_BLOCK] = {"producer id block", apply_producer_id_block},
};

const char *cluster_command_name(enum cluster_command_kind kind)
{
    return (unsigned)kind < CLUSTER_COMMAND_KIND_COUNT && kinds[kind].name != NULL ? kinds[kind].name : "unknown";
}

/* Items of the result; those of ELECT_LEADERS for all and of new partitions are reserved where they are known. */
static uint32_t items_of(const struct cluster_command *m)
{
    switch (m->kind) {
    case CLUSTER_ALTER_PARTITION:
        return m->alter_partition.count;
    case CLUSTER_ELECT_LEADERS:
        return m->elect_leaders.all ? 0 : m->elect_leaders.count;
    case CLUSTER_ALTER_REASSIGNMENTS:
        return m->alter_reassignments.count;
    case CLUSTER_ASSIGN_DIRS:
        return m->assign_dirs.count;
    case CLUSTER_MOVE_LEADER:
        return 1;
    case CLUSTER_ALTER_CONFIGS:
        return m->alter_configs.count;
    default:
        return 0;
    }
}

/* Of what asks for more, or for less than none, nothing comes. */
static uint32_t partitions_at_most(int64_t count)
{
    return count >= 0 && count <= CLUSTER_PARTITIONS_MAX ? (uint32_t)count : 0;
}

/* Most that the result can have. */
static uint32_t items_bound(const struct cluster *c, const struct cluster_command *m)
{
    switch (m->kind) {
    case CLUSTER_CREATE_TOPIC:
        return partitions_at_most(m->create_topic.assignment_count != 0 ? (int64_t)m->create_topic.assignment_count
                                                                        : m->create_topic.partition_count);
    case CLUSTER_CREATE_PARTITIONS:
        return partitions_at_most(m->create_partitions.partition_count);
    case CLUSTER_ELECT_LEADERS:
        return m->elect_leaders.all ? TIDE_MIN(c->partition_count, (uint32_t)CLUSTER_ITEMS_MAX) : m->elect_leaders.count;
    default:
        return items_of(m);
    }
}

static enum tide_status apply_fresh(struct cluster *c, const struct cluster_command *m, struct cluster_result *r)
{
    bool keep = m->requester != 0 && !is_repeatable(m->kind);
    size_t cap = keep ? cluster_result_bound(items_bound(c, m)) : 0;
    uint8_t *room = keep ? cluster_take(c->memory, cap) : NULL;
    enum tide_status status = TIDE_FULL;
    if ((!keep || room != NULL) && cluster_result_reserve(r, c->memory, items_of(m)))
        status = kinds[m->kind].apply(c, m, r);
    if (status != TIDE_OK || !keep)
        cluster_give(c->memory, room);
    else
        keep_result(c, m, r, room, cap);
    return status;
}

enum tide_status cluster_apply(struct cluster *c, uint64_t index, const struct cluster_command *m, struct cluster_result *r)
{
    const struct cluster_slot *slot;
    enum tide_status status = TIDE_OK;
    TIDE_ASSERT(index > c->index); /* K2 */
    TIDE_ASSERT((unsigned)m->kind < CLUSTER_COMMAND_KIND_COUNT && kinds[m->kind].apply != NULL);
    memset(r, 0, sizeof(*r));
    r->memory = c->memory;
    r->index = index;
    r->broker_epoch = r->first_producer_id = -1;
    c->now = index;
    slot = is_repeatable(m->kind) ? NULL : find_slot(c, m->requester);
    if (m->kind != CLUSTER_CONTROLLER_EPOCH && m->controller_epoch != c->controller_epoch) {
        cluster_refuse(r, KAFKA_NOT_CONTROLLER, "the proposer is no longer the controller");
    } else if (slot != NULL && slot->sequence == m->sequence) {
        status = cluster_result_decode(c->memory, slot->bytes, slot->len, r);
        TIDE_ASSERT(status != TIDE_BAD);
        r->repeated = true;
    } else {
        status = apply_fresh(c, m, r);
    }
    if (status != TIDE_OK) {
        cluster_result_free(r);
        return TIDE_FULL;
    }
    c->index = index;
    return TIDE_OK;
}

enum tide_status cluster_apply_bytes(struct cluster *c, uint64_t index, const uint8_t *bytes, size_t len, struct cluster_result *ret)
{
    struct cluster_command m;
    enum tide_status status = cluster_command_decode(c->memory, bytes, len, &m);
    if (status != TIDE_OK)
        return status;
    status = cluster_apply(c, index, &m, ret);
    cluster_command_free(&m);
    return status;
}

/* ---- the cluster itself ------------------------------------------------------------------------------------------------------ */

enum tide_status apply_controller_epoch(struct cluster *c, const struct cluster_command *m, struct cluster_result *r)
{
    if (m->controller_epoch_of.term <= c->controller_epoch) {
        cluster_refuse(r, KAFKA_STALE_CONTROLLER_EPOCH, "there is a controller of that term or a later one");
        return TIDE_OK;
    }
    c->controller = m->controller_epoch_of.node;
    c->controller_epoch = m->controller_epoch_of.term;
    c->cluster_changed = c->now;
    return TIDE_OK;
}

enum tide_status apply_producer_id_block(struct cluster *c, const struct cluster_command *m, struct cluster_result *r)
{
    if (cluster_judge_epoch(c, m->producer_ids.broker, m->producer_ids.broker_epoch, r) == NULL)
        return TIDE_OK;
    if (m->producer_ids.count == 0 || c->next_producer_id > INT64_MAX - m->producer_ids.count) {
        cluster_refuse(r, KAFKA_INVALID_REQUEST, "no producer ids asked for, or none left");
        return TIDE_OK;
    }
    r->first_producer_id = c->next_producer_id;
    c->next_producer_id += m->producer_ids.count;
    c->producer_id_owner = m->producer_ids.broker;
    c->producer_id_owner_epoch = m->producer_ids.broker_epoch;
    return TIDE_OK;
}
