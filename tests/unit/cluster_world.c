/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster_world.h"

#include "cluster/state.h"

struct cluster *c;
struct cluster_result r;
uint64_t world_fail_at, world_taken;

/* ---- memory ------------------------------------------------------------------------------------------------- */

static void *take(void *arg, size_t size)
{
    (void)arg;
    if (world_fail_at != 0 && --world_fail_at == 0)
        return NULL;
    world_taken++;
    return malloc(size);
}

static void give(void *arg, void *block)
{
    (void)arg;
    world_taken--;
    free(block);
}

const struct cluster_memory world_memory = {.take = take, .give = give};

/* ---- steps ------------------------------------------------------------------------------------------------------ */

struct before {
    struct tide_uuid topic;
    int32_t number;
    struct cluster_partition p;
};
static struct before *before;
static uint32_t before_count;
static int64_t before_producer_id;
static uint64_t before_controller_epoch;

static void remember(void)
{
    before = realloc(before, (cluster_partition_count(c) + 1) * sizeof(*before));
    assert_non_null(before);
    before_count = 0;
    for (uint32_t i = 0; i < cluster_topic_count(c); i++) {
        const struct cluster_topic *t = cluster_topic_at(c, i);
        for (uint32_t k = 0; k < t->partition_count; k++)
            before[before_count++] = (struct before){t->id, (int32_t)k, t->partitions[k]};
    }
    before_producer_id = cluster_next_producer_id(c);
    before_controller_epoch = cluster_controller_epoch(c);
}

static bool have(const int32_t *ids, uint32_t count, int32_t id)
{
    for (uint32_t i = 0; i < count; i++)
        if (ids[i] == id)
            return true;
    return false;
}

static bool same(const int32_t *a, uint32_t a_count, const int32_t *b, uint32_t b_count)
{
    return a_count == b_count && memcmp(a, b, a_count * sizeof(*a)) == 0;
}

/* A replica less, or one that is put down as lost. */
static bool lost_one(const struct cluster_partition *a, const struct cluster_partition *b)
{
    for (uint32_t i = 0; i < a->replica_count; i++) {
        if (!have(b->replicas, b->replica_count, a->replicas[i]))
            return true;
        if (a->replicas[i] == b->replicas[i] && tide_uuid_equal(&b->directories[i], &cluster_directory_lost) && !tide_uuid_equal(&a->directories[i], &cluster_directory_lost))
            return true;
    }
    return false;
}

static bool is_active(int32_t id)
{
    const struct cluster_broker *b = cluster_find_broker(c, id);
    return b != NULL && cluster_broker_is_active(b);
}

static void check_step(const struct cluster_partition *a, const struct cluster_partition *b, enum cluster_command_kind kind)
{
    bool fresh_leader = a->leader != b->leader;
    bool same_lists = same(a->replicas, a->replica_count, b->replicas, b->replica_count) && same(a->isr, a->isr_count, b->isr, b->isr_count) &&
                      same(a->elr, a->elr_count, b->elr, b->elr_count) && same(a->adding, a->adding_count, b->adding, b->adding_count) &&
                      same(a->removing, a->removing_count, b->removing, b->removing_count);
    bool changed = fresh_leader || !same_lists || a->recovering != b->recovering || a->last_known_elr != b->last_known_elr ||
                   memcmp(a->directories, b->directories, sizeof(a->directories)) != 0;
    if (b->partition_epoch != a->partition_epoch + changed) {
        print_message("%s at %lu: ", cluster_command_name(kind), (unsigned long)cluster_index(c));
        print_message("%s -> ", picture(a));
        print_message("%s, partition epoch %d -> %d\n", picture(b), a->partition_epoch, b->partition_epoch);
    }
    assert_int_equal(b->leader_epoch, a->leader_epoch + (fresh_leader || lost_one(a, b))); /* I7 */
    assert_int_equal(b->partition_epoch, a->partition_epoch + changed);                    /* I7 */
    if (changed)
        assert_int_equal(b->changed, cluster_index(c));
    if (b->recovering && !a->recovering)
        assert_int_equal(b->unclean_epoch, b->leader_epoch);
    if (b->unclean_epoch != a->unclean_epoch) { /* told for good, and followers learn it by the epoch that it began */
        assert_true(b->recovering);
        assert_true(fresh_leader);
        assert_int_equal(b->unclean_epoch, b->leader_epoch);
    }
    if (fresh_leader && b->leader != -1 && !b->recovering && kind != CLUSTER_ALTER_PARTITION && kind != CLUSTER_ALTER_REASSIGNMENTS) {
        assert_true(have(a->isr, a->isr_count, b->leader) || have(a->elr, a->elr_count, b->leader)); /* I10 */
        assert_true(have(a->isr, a->isr_count, b->leader) || b->isr_count == 1);                     /* I10 */
    }
    for (uint32_t i = 0; i < b->isr_count; i++) /* I9 */
        if (!have(a->isr, a->isr_count, b->isr[i]))
            assert_true(b->leader == b->isr[i] || (kind == CLUSTER_ALTER_PARTITION && is_active(b->isr[i])));
}

/* The same partition twice in one command is two steps. */
static bool may_step_twice(const struct cluster_command *m)
{
    return (m->kind == CLUSTER_ALTER_REASSIGNMENTS && m->alter_reassignments.count > 1) || (m->kind == CLUSTER_ASSIGN_DIRS && m->assign_dirs.count > 1);
}

static void compare(const struct cluster_command *m)
{
    for (uint32_t i = 0; i < before_count; i++) {
        const struct cluster_partition *p = cluster_find_partition(c, &before[i].topic, before[i].number);
        if (p != NULL && !may_step_twice(m))
            check_step(&before[i].p, p, m->kind);
        if (p != NULL) {
            assert_true(p->leader_epoch >= before[i].p.leader_epoch);       /* I7 */
            assert_true(p->partition_epoch >= before[i].p.partition_epoch); /* I7 */
        }
    }
    assert_true(cluster_next_producer_id(c) >= before_producer_id);      /* I13 */
    assert_true(cluster_controller_epoch(c) >= before_controller_epoch); /* K2 */
    for (uint32_t i = 0; m->kind == CLUSTER_REGISTER_BROKER && i < cluster_topic_count(c); i++) {
        const struct cluster_topic *t = cluster_topic_at(c, i);
        const struct cluster_broker *b = cluster_find_broker(c, m->register_broker.broker.id);
        for (uint32_t k = 0; b != NULL && b->epoch == (int64_t)cluster_index(c) && cluster_feature(c, CLUSTER_FEATURE_ELR) && k < t->partition_count; k++)
            assert_false(have(t->partitions[k].isr, t->partitions[k].isr_count, b->id)); /* I9: a new process is in no ISR */
    }
}

/* The procedure asked for nothing has nothing to do. */
static void check_settled(void)
{
    for (uint32_t i = 0; i < cluster_topic_count(c); i++) {
        const struct cluster_topic *t = cluster_topic_at(c, i);
        for (uint32_t k = 0; k < t->partition_count; k++) {
            struct partition_wish w;
            struct cluster_partition next;
            wish_of(&w, &t->partitions[k]);
            if (partition_judge(c, t, &t->partitions[k], &w, &next)) {
                print_message("not settled: %s -> ", picture(&t->partitions[k]));
                print_message("%s\n", picture(&next));
                fail();
            }
        }
    }
}

int16_t world_apply(const struct cluster_command *command)
{
    struct cluster_command m = *command;
    if (m.kind != CLUSTER_CONTROLLER_EPOCH && m.controller_epoch == 0)
        m.controller_epoch = cluster_controller_epoch(c);
    remember();
    cluster_result_free(&r);
    assert_int_equal(cluster_apply(c, cluster_index(c) + 1, &m, &r), TIDE_OK);
    cluster_check(c);
    compare(&m);
    check_settled();
    return r.error;
}

int16_t world_item_error(void)
{
    if (r.error != 0)
        return r.error;
    assert_true(r.item_count >= 1);
    return r.items[0].error;
}

/* ---- a world -------------------------------------------------------------------------------------------------------- */

static const struct tide_uuid world_id = {{0xc1, 7}};

void world_reset(void)
{
    struct cluster_command m = {.kind = CLUSTER_INIT, .init = {.cluster_id = world_id, .created_ms = 1}};
    cluster_result_free(&r);
    cluster_destroy(c);
    c = cluster_create(&world_memory);
    assert_non_null(c);
    assert_int_equal(world_apply(&m), 0);
}

int world_setup(void **state)
{
    static const int32_t ids[] = {5, 1, 2};
    (void)state;
    world_fail_at = 0;
    world_reset();
    for (size_t i = 0; i < TIDE_ARRAY_LEN(ids); i++) {
        assert_int_equal(register_broker(ids[i], 1, -1), 0);
        activate(ids[i]);
    }
    return 0;
}

int world_teardown(void **state)
{
    (void)state;
    world_fail_at = 0;
    cluster_result_free(&r);
    cluster_destroy(c);
    c = NULL;
    free(before);
    before = NULL;
    assert_int_equal(world_taken, 0);
    return 0;
}

struct cluster_command registration(int32_t id, uint8_t incarnation)
{
    struct cluster_command m = {.kind = CLUSTER_REGISTER_BROKER};
    struct cluster_broker *b = &m.register_broker.broker;
    m.register_broker.cluster_id = world_id;
    m.register_broker.previous_epoch = -1;
    b->id = id;
    b->incarnation = (struct tide_uuid){{(uint8_t)id, incarnation}};
    snprintf(b->rack, sizeof(b->rack), "rack%d", id % 2);
    b->endpoint_count = 2;
    b->endpoints[0] = (struct cluster_endpoint){"PLAIN", "one.example", 9092, 0};
    b->endpoints[1] = (struct cluster_endpoint){"OTHER", "two.example", 9093, 0};
    b->replication_address = tide_addr_v4(0x0a000000u + (uint32_t)id);
    b->replication_port = 9999;
    b->core_count = 2;
    for (uint32_t i = 0; cluster_known_feature(i) != NULL; i++)
        b->features[b->feature_count++] = *cluster_known_feature(i);
    b->directory_count = 2;
    b->directories[0] = (struct tide_uuid){{0xd0, (uint8_t)id}};
    b->directories[1] = (struct tide_uuid){{0xd1, (uint8_t)id}};
    return m;
}

int16_t register_broker(int32_t id, uint8_t incarnation, int64_t previous_epoch)
{
    struct cluster_command m = registration(id, incarnation);
    m.register_broker.previous_epoch = previous_epoch;
    return world_apply(&m);
}

int16_t broker_command(enum cluster_command_kind kind, int32_t id, bool on)
{
    const struct cluster_broker *b = cluster_find_broker(c, id);
    struct cluster_command m = {.kind = kind, .broker = {.id = id, .epoch = b != NULL ? b->epoch : -1, .on = on}};
    return world_apply(&m);
}

void activate(int32_t id)
{
    assert_int_equal(broker_command(CLUSTER_UNFENCE_BROKER, id, false), 0);
}

void kill_and_restart(int32_t id, bool clean)
{
    const struct cluster_broker *b = cluster_find_broker(c, id);
    assert_int_equal(register_broker(id, (uint8_t)(b->incarnation.bytes[1] + 1), clean ? b->epoch : -1), 0);
}

/* ---- topics ---------------------------------------------------------------------------------------------------------- */

uint32_t parse_ids(const char *text, int32_t *ids)
{
    uint32_t count = 0;
    while (*text != 0 && *text != ';') {
        char *end;
        ids[count++] = (int32_t)strtol(text, &end, 10);
        text = *end == ',' ? end + 1 : end;
    }
    return count;
}

static uint32_t parse_configs(const char *text, struct cluster_config *list)
{
    uint32_t count = 0;
    while (text != NULL && *text != 0) {
        size_t whole = strcspn(text, ";"), name = strcspn(text, "=");
        memset(&list[count], 0, sizeof(list[count]));
        memcpy(list[count].name, text, name);
        memcpy(list[count].value, text + name + 1, whole - name - 1);
        count++;
        text += whole + (text[whole] == ';');
    }
    return count;
}

struct tide_uuid topic_uuid(const char *name)
{
    struct tide_uuid u = {{0xee}};
    for (size_t i = 0; name[i] != 0; i++)
        u.bytes[1 + i % 15] = (uint8_t)(u.bytes[1 + i % 15] * 31 + (uint8_t)name[i]);
    return u;
}

int16_t make_topic(const char *name, const char *rows, const char *configs)
{
    struct cluster_assignment list[64];
    struct cluster_config settings[CLUSTER_CONFIGS_MAX];
    struct cluster_command m = {.kind = CLUSTER_CREATE_TOPIC,
                                .create_topic = {.id = topic_uuid(name), .partition_count = -1, .replication_factor = -1}};
    uint32_t count = 0;
    memset(list, 0, sizeof(list));
    while (*rows != 0) {
        list[count].partition = (int32_t)count;
        list[count].replica_count = parse_ids(rows, list[count].replicas);
        count++;
        rows += strcspn(rows, ";");
        rows += *rows == ';';
    }
    snprintf(m.create_topic.name, sizeof(m.create_topic.name), "%s", name);
    m.create_topic.assignment = list;
    m.create_topic.assignment_count = count;
    m.create_topic.configs = settings;
    m.create_topic.config_count = parse_configs(configs, settings);
    return world_apply(&m);
}

const struct cluster_partition *partition_of(const char *topic, int32_t partition)
{
    const struct cluster_topic *t = cluster_find_topic(c, topic);
    assert_non_null(t);
    assert_true(partition >= 0 && (uint32_t)partition < t->partition_count);
    return &t->partitions[partition];
}

int16_t set_config(const char *topic, const char *name, const char *value)
{
    struct cluster_config_change change = {.op = value != NULL ? CLUSTER_CONFIG_SET : CLUSTER_CONFIG_DELETE};
    struct cluster_resource_change resource = {.type = topic != NULL ? CLUSTER_RESOURCE_TOPIC : CLUSTER_RESOURCE_BROKER,
                                               .change_count = 1, .changes = &change};
    struct cluster_command m = {.kind = CLUSTER_ALTER_CONFIGS, .alter_configs = {.count = 1, .resources = &resource}};
    snprintf(resource.name, sizeof(resource.name), "%s", topic != NULL ? topic : "");
    snprintf(change.name, sizeof(change.name), "%s", name);
    snprintf(change.value, sizeof(change.value), "%s", value != NULL ? value : "");
    world_apply(&m);
    return world_item_error();
}

int16_t alter_isr(const char *topic, int32_t partition, const char *isr)
{
    const struct cluster_partition *p = partition_of(topic, partition);
    const struct cluster_broker *leader = cluster_find_broker(c, p->leader);
    int32_t ids[TIDE_REPLICAS_MAX];
    struct cluster_partition_change n = {.topic_id = cluster_find_topic(c, topic)->id, .partition = partition,
                                         .leader_epoch = p->leader_epoch, .partition_epoch = p->partition_epoch,
                                         .guard_over = true, .isr_count = parse_ids(isr, ids)};
    struct cluster_command m = {.kind = CLUSTER_ALTER_PARTITION, .alter_partition = {.broker = p->leader, .count = 1, .changes = &n}};
    assert_non_null(leader);
    m.alter_partition.broker_epoch = leader->epoch;
    for (uint32_t i = 0; i < n.isr_count; i++) {
        const struct cluster_broker *b = cluster_find_broker(c, ids[i]);
        n.isr[i] = (struct cluster_isr_member){ids[i], b != NULL ? b->epoch : -1};
    }
    world_apply(&m);
    return world_item_error();
}

int16_t reassign(const char *topic, int32_t partition, const char *replicas)
{
    struct cluster_reassignment n = {.topic_id = cluster_find_topic(c, topic)->id, .partition = partition, .cancel = replicas == NULL};
    struct cluster_command m = {.kind = CLUSTER_ALTER_REASSIGNMENTS, .alter_reassignments = {.count = 1, .changes = &n}};
    n.replica_count = replicas != NULL ? parse_ids(replicas, n.replicas) : 0;
    world_apply(&m);
    return world_item_error();
}

int16_t elect(const char *topic, int32_t partition, enum cluster_election election)
{
    struct cluster_partition_ref ref = {cluster_find_topic(c, topic)->id, partition};
    struct cluster_command m = {.kind = CLUSTER_ELECT_LEADERS,
                                .elect_leaders = {.election = (uint8_t)election, .count = 1, .partitions = &ref}};
    world_apply(&m);
    return world_item_error();
}

/* ---- pictures ----------------------------------------------------------------------------------------------------------- */

static size_t list(char *to, size_t cap, const char *label, const int32_t *ids, uint32_t count)
{
    size_t at = (size_t)snprintf(to, cap, "%s[", label);
    for (uint32_t i = 0; i < count; i++)
        at += (size_t)snprintf(to + at, cap - at, "%s%d", i != 0 ? "," : "", ids[i]);
    return at + (size_t)snprintf(to + at, cap - at, "]");
}

const char *picture(const struct cluster_partition *p)
{
    static char text[512];
    size_t at = (size_t)snprintf(text, sizeof(text), "%d%s/%d ", p->leader, p->recovering ? "*" : "", p->leader_epoch);
    at += list(text + at, sizeof(text) - at, "", p->isr, p->isr_count);
    if (p->elr_count != 0)
        at += list(text + at, sizeof(text) - at, " elr", p->elr, p->elr_count);
    if (p->last_known_elr != -1)
        at += (size_t)snprintf(text + at, sizeof(text) - at, " ~%d", p->last_known_elr);
    if (p->adding_count != 0)
        at += list(text + at, sizeof(text) - at, " +", p->adding, p->adding_count);
    if (p->removing_count != 0)
        (void)list(text + at, sizeof(text) - at, " -", p->removing, p->removing_count);
    return text;
}
