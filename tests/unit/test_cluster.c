/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "cluster/cluster.h"
#include "kafka/errors.h"
#include "tidemark/random.h"

enum { COMMAND_CAP = 65536 };

static struct cluster *c;
static uint8_t bytes[COMMAND_CAP];

static struct cluster_result apply(const struct cluster_command *m)
{
    struct cluster_result r;
    const char *message;
    int16_t error = cluster_validate(c, m, &message);
    assert_int_equal(cluster_apply(c, m, &r), TIDE_OK);
    assert_int_equal(r.error, error); /* what validate says is what happens */
    cluster_check(c);
    return r;
}

static struct cluster_command broker_command(int32_t id)
{
    struct cluster_command m = {.kind = CLUSTER_REGISTER_BROKER,
                                .broker = {.id = id,
                                           .incarnation = {{(uint8_t)id, 7}},
                                           .rack = "rack",
                                           .endpoint_count = 2,
                                           .endpoints = {{"one.example", 9092}, {"two.example", 9093}}}};
    return m;
}

static struct cluster_command topic_command(const char *name, uint32_t partitions, uint32_t replicas)
{
    static uint8_t next;
    struct cluster_command m = {.kind = CLUSTER_CREATE_TOPIC,
                                .create_topic = {.id = {{1, ++next}},
                                                 .partition_count = partitions,
                                                 .replication_factor = replicas}};
    snprintf(m.create_topic.name, sizeof(m.create_topic.name), "%s", name);
    return m;
}

static int16_t create(const char *name, uint32_t partitions, uint32_t replicas)
{
    struct cluster_command m = topic_command(name, partitions, replicas);
    return apply(&m).error;
}

/* Three brokers: 1, 2 and 5. */
static int setup(void **state)
{
    static const int32_t ids[] = {5, 1, 2};
    c = cluster_create();
    assert_non_null(c);
    for (size_t i = 0; i < TIDE_ARRAY_LEN(ids); i++) {
        struct cluster_command m = broker_command(ids[i]);
        assert_int_equal(apply(&m).error, 0);
    }
    return 0;
}

static int teardown(void **state)
{
    cluster_destroy(c);
    return 0;
}

/* ---- names --------------------------------------------------------------------------------------- */

static void test_names(void **state)
{
    char longest[TIDE_TOPIC_NAME_MAX + 2];
    static const struct {
        const char *name;
        bool legal;
    } cases[] = {
        {"a", true}, {"A-Z_0.9", true}, {"...", true}, {"", false}, {".", false}, {"..", false},
        {"a b", false}, {"a/b", false}, {"a\n", false}, {"\xc3\xa4", false}, {"a:b", false},
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++)
        assert_int_equal(cluster_topic_name_is_legal(cases[i].name, strlen(cases[i].name)), cases[i].legal);
    memset(longest, 'x', sizeof(longest));
    longest[TIDE_TOPIC_NAME_MAX + 1] = 0;
    assert_false(cluster_topic_name_is_legal(longest, TIDE_TOPIC_NAME_MAX + 1));
    longest[TIDE_TOPIC_NAME_MAX] = 0;
    assert_true(cluster_topic_name_is_legal(longest, TIDE_TOPIC_NAME_MAX));
}

/* ---- creating ------------------------------------------------------------------------------------- */

static void test_create_and_find(void **state)
{
    struct cluster_config configs[] = {{"retention.ms", "5"}, {"segment.ms", "7"}};
    struct cluster_command m = topic_command("events", 4, 2);
    m.create_topic.config_count = 2;
    m.create_topic.configs = configs;
    assert_int_equal(apply(&m).error, 0);
    const struct cluster_topic *t = cluster_find_topic(c, "events");
    assert_non_null(t);
    assert_ptr_equal(cluster_find_topic_by_id(c, &m.create_topic.id), t);
    assert_ptr_equal(cluster_topic_at(c, 0), t);
    assert_null(cluster_find_topic(c, "event"));
    assert_string_equal(cluster_topic_config(t, "retention.ms"), "5");
    assert_null(cluster_topic_config(t, "retention.bytes"));
    assert_int_equal(t->partition_count, 4);
    for (uint32_t i = 0; i < 4; i++) {
        static const int32_t ids[] = {1, 2, 5};
        const struct cluster_partition *p = &t->partitions[i];
        assert_int_equal(p->replica_count, 2);
        assert_int_equal(p->isr_count, 2);
        assert_int_equal(p->replicas[0], ids[i % 3]);
        assert_int_equal(p->replicas[1], ids[(i + 1) % 3]);
        assert_int_equal(p->leader, p->replicas[0]);
        assert_int_equal(p->leader_epoch, 0);
        assert_int_equal(p->partition_epoch, 0);
    }
}

static void test_creation_errors(void **state)
{
    static const struct {
        const char *name;
        uint32_t partitions, replicas;
        int16_t error;
    } cases[] = {
        {"events.one", 1, 1, 0},
        {"events.one", 1, 1, KAFKA_TOPIC_ALREADY_EXISTS},
        {"events_one", 1, 1, KAFKA_INVALID_TOPIC_EXCEPTION}, /* the same metric */
        {"events-one", 1, 1, 0},
        {"events.one.more", 1, 1, 0},
        {"", 1, 1, KAFKA_INVALID_TOPIC_EXCEPTION},
        {"..", 1, 1, KAFKA_INVALID_TOPIC_EXCEPTION},
        {"a b", 1, 1, KAFKA_INVALID_TOPIC_EXCEPTION},
        {"none", 0, 1, KAFKA_INVALID_PARTITIONS},
        {"many", CLUSTER_PARTITIONS_MAX + 1, 1, KAFKA_INVALID_PARTITIONS},
        {"huge", UINT32_MAX, 1, KAFKA_INVALID_PARTITIONS},
        {"most", CLUSTER_PARTITIONS_MAX, 3, 0},
        {"no-replica", 1, 0, KAFKA_INVALID_REPLICATION_FACTOR},
        {"too-many", 1, 4, KAFKA_INVALID_REPLICATION_FACTOR},
        {"far-too-many", 1, UINT32_MAX, KAFKA_INVALID_REPLICATION_FACTOR},
    };
    uint32_t count = 0;
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        assert_int_equal(create(cases[i].name, cases[i].partitions, cases[i].replicas), cases[i].error);
        count += cases[i].error == 0;
        assert_int_equal(cluster_topic_count(c), count);
    }
}

static void test_assignments(void **state)
{
    static const struct {
        int32_t ids[4]; /* two partitions, two replicas */
        int16_t error;
    } cases[] = {
        {{1, 2, 5, 1}, 0},
        {{1, 2, 2, 1}, 0},
        {{1, 2, 2, 3}, KAFKA_INVALID_REPLICA_ASSIGNMENT},
        {{-1, 2, 2, 1}, KAFKA_INVALID_REPLICA_ASSIGNMENT},
        {{1, 1, 2, 5}, KAFKA_INVALID_REPLICA_ASSIGNMENT},
        {{1, 2, 5, 5}, KAFKA_INVALID_REPLICA_ASSIGNMENT},
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        char name[16];
        snprintf(name, sizeof(name), "topic%zu", i);
        struct cluster_command m = topic_command(name, 2, 2);
        m.create_topic.assignment = cases[i].ids;
        assert_int_equal(apply(&m).error, cases[i].error);
        const struct cluster_topic *t = cluster_find_topic(c, name);
        assert_int_equal(t == NULL, cases[i].error != 0);
        for (uint32_t k = 0; t != NULL && k < 4; k++)
            assert_int_equal(t->partitions[k / 2].replicas[k % 2], cases[i].ids[k]);
    }
}

static void test_delete(void **state)
{
    struct cluster_command a = topic_command("a", 1, 1), b = topic_command("b", 1, 1);
    struct cluster_command gone = {.kind = CLUSTER_DELETE_TOPIC, .delete_topic = a.create_topic.id};
    assert_int_equal(apply(&gone).error, KAFKA_UNKNOWN_TOPIC_ID);
    assert_int_equal(apply(&a).error, 0);
    assert_int_equal(apply(&b).error, 0);
    assert_int_equal(apply(&gone).error, 0);
    assert_null(cluster_find_topic(c, "a"));
    assert_non_null(cluster_find_topic(c, "b"));
    assert_int_equal(apply(&gone).error, KAFKA_UNKNOWN_TOPIC_ID);
    assert_int_equal(create("a", 1, 1), 0);
}

static void test_topics_are_sorted(void **state)
{
    struct tide_random r = {9};
    for (unsigned i = 0; i < 200; i++) {
        char name[16];
        snprintf(name, sizeof(name), "t%lu", (unsigned long)tide_random_below(&r, 300));
        if (cluster_find_topic(c, name) != NULL && tide_random_hits(&r, 2)) {
            struct cluster_command gone = {.kind = CLUSTER_DELETE_TOPIC, .delete_topic = cluster_find_topic(c, name)->id};
            assert_int_equal(apply(&gone).error, 0);
        } else {
            (void)create(name, 1, 1);
        }
    }
    for (uint32_t i = 1; i < cluster_topic_count(c); i++)
        assert_true(strcmp(cluster_topic_at(c, i - 1)->name, cluster_topic_at(c, i)->name) < 0);
}

/* ---- the rest ---------------------------------------------------------------------------------------- */

static void test_registration_bumps_epochs(void **state)
{
    struct cluster_command m = broker_command(2);
    static const int32_t assignment[] = {1, 2, 2, 5, 5, 2};
    struct cluster_command topic = topic_command("t", 3, 2);
    topic.create_topic.assignment = assignment;
    assert_int_equal(apply(&topic).error, 0);
    int64_t before = cluster_broker_at(c, 1)->epoch;
    m.broker.endpoints[0].port = 1;
    struct cluster_result r = apply(&m);
    assert_int_equal(r.error, 0);
    assert_int_equal(cluster_broker_count(c), 3);
    assert_int_equal(cluster_broker_at(c, 1)->id, 2);
    assert_int_equal(cluster_broker_at(c, 1)->endpoints[0].port, 1);
    assert_int_equal(cluster_broker_at(c, 1)->epoch, r.broker_epoch);
    assert_true(r.broker_epoch > before);
    const struct cluster_topic *t = cluster_find_topic(c, "t");
    for (uint32_t i = 0; i < 3; i++) { /* only what it led */
        assert_int_equal(t->partitions[i].leader, assignment[2 * i]);
        assert_int_equal(t->partitions[i].leader_epoch, i == 1);
        assert_int_equal(t->partitions[i].partition_epoch, i == 1);
    }
    assert_true(apply(&m).broker_epoch > r.broker_epoch);
    assert_int_equal(t->partitions[1].leader_epoch, 2);
}

static void test_the_cluster_id_is_given_once(void **state)
{
    struct cluster_command m = {.kind = CLUSTER_INIT, .init = {{9}}};
    assert_true(tide_uuid_is_zero(cluster_id(c)));
    assert_int_equal(apply(&m).error, 0);
    m.init.bytes[0] = 8;
    assert_int_equal(apply(&m).error, KAFKA_INCONSISTENT_CLUSTER_ID);
    assert_int_equal(cluster_id(c)->bytes[0], 9);
}

static void test_producer_ids_are_never_given_twice(void **state)
{
    struct cluster_command m = {.kind = CLUSTER_ALLOCATE_PRODUCER_IDS, .producer_ids = {.broker = 1, .count = 1000}};
    int64_t next = cluster_next_producer_id(c);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(apply(&m).first_producer_id, next);
        next += 1000;
        assert_int_equal(cluster_next_producer_id(c), next);
    }
    m.producer_ids.count = 0;
    assert_int_equal(apply(&m).error, KAFKA_INVALID_REQUEST);
    assert_int_equal(cluster_next_producer_id(c), next);
}

/* ---- as bytes ------------------------------------------------------------------------------------------- */

enum { SAMPLES = 7 };

static struct cluster_command sample(unsigned i)
{
    static const int32_t assignment[] = {1, 2, 2, 5};
    static const struct cluster_config configs[] = {{"retention.ms", "5"}, {"segment.ms", ""}};
    struct cluster_command m;
    switch (i) {
    case 0:
        return (struct cluster_command){.kind = CLUSTER_INIT, .init = {{1, 2, 3}}};
    case 1:
        return broker_command(4);
    case 2:
        m = topic_command("events", 7, 3);
        m.create_topic.placement_seed = 2;
        return m;
    case 3:
        m = topic_command("manual", 2, 2);
        m.create_topic.assignment = assignment;
        m.create_topic.config_count = 2;
        m.create_topic.configs = configs;
        return m;
    case 4:
        return topic_command("..", 1, 1); /* refused, but a command */
    case 5:
        return (struct cluster_command){.kind = CLUSTER_DELETE_TOPIC, .delete_topic = {{77}}};
    default:
        return (struct cluster_command){.kind = CLUSTER_ALLOCATE_PRODUCER_IDS, .producer_ids = {.broker = 1, .count = UINT32_MAX}};
    }
}

static void same_topic(const struct cluster_topic *a, const struct cluster_topic *b)
{
    assert_true(tide_uuid_equal(&a->id, &b->id));
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->partition_count, b->partition_count);
    assert_memory_equal(a->partitions, b->partitions, a->partition_count * sizeof(*a->partitions));
    assert_int_equal(a->config_count, b->config_count);
    for (uint32_t i = 0; i < a->config_count; i++) {
        assert_string_equal(a->configs[i].name, b->configs[i].name);
        assert_string_equal(a->configs[i].value, b->configs[i].value);
    }
}

static void same_broker(const struct cluster_broker *a, const struct cluster_broker *b)
{
    assert_int_equal(a->id, b->id);
    assert_int_equal(a->epoch, b->epoch);
    assert_true(tide_uuid_equal(&a->incarnation, &b->incarnation));
    assert_string_equal(a->rack, b->rack);
    assert_int_equal(a->endpoint_count, b->endpoint_count);
    for (uint32_t i = 0; i < a->endpoint_count; i++) {
        assert_string_equal(a->endpoints[i].host, b->endpoints[i].host);
        assert_int_equal(a->endpoints[i].port, b->endpoints[i].port);
    }
}

static void same(const struct cluster *a, const struct cluster *b)
{
    assert_true(tide_uuid_equal(cluster_id(a), cluster_id(b)));
    assert_int_equal(cluster_next_producer_id(a), cluster_next_producer_id(b));
    assert_int_equal(cluster_topic_count(a), cluster_topic_count(b));
    assert_int_equal(cluster_broker_count(a), cluster_broker_count(b));
    for (uint32_t i = 0; i < cluster_topic_count(a); i++)
        same_topic(cluster_topic_at(a, i), cluster_topic_at(b, i));
    for (uint32_t i = 0; i < cluster_broker_count(a); i++)
        same_broker(cluster_broker_at(a, i), cluster_broker_at(b, i));
}

static size_t encode(const struct cluster_command *m)
{
    size_t len = 0;
    assert_int_equal(cluster_command_encode(m, bytes, sizeof(bytes), &len), TIDE_OK);
    return len;
}

/* The same through bytes on a second cluster. */
static void test_bytes_do_what_the_command_does(void **state)
{
    static const int32_t ids[] = {5, 1, 2};
    struct cluster *other = cluster_create();
    struct cluster_result r, want;
    assert_non_null(other);
    for (size_t i = 0; i < TIDE_ARRAY_LEN(ids); i++) {
        struct cluster_command m = broker_command(ids[i]);
        assert_int_equal(cluster_apply_bytes(other, bytes, encode(&m), &r), TIDE_OK);
    }
    same(c, other);
    for (unsigned i = 0; i < SAMPLES; i++) {
        struct cluster_command m = sample(i);
        size_t len = encode(&m);
        want = apply(&m);
        assert_int_equal(cluster_apply_bytes(other, bytes, len, &r), TIDE_OK);
        assert_int_equal(r.error, want.error);
        assert_int_equal(r.first_producer_id, want.first_producer_id);
        assert_int_equal(r.broker_epoch, want.broker_epoch);
        same(c, other);
    }
    cluster_destroy(other);
}

static enum tide_status apply_exact(size_t len)
{
    struct cluster_result r;
    uint8_t *exact = malloc(len != 0 ? len : 1);
    assert_non_null(exact);
    memcpy(exact, bytes, len);
    enum tide_status status = cluster_apply_bytes(c, exact, len, &r);
    free(exact);
    cluster_check(c);
    return status;
}

static void test_cut_commands_are_refused(void **state)
{
    for (unsigned i = 0; i < SAMPLES; i++) {
        struct cluster_command m = sample(i);
        size_t len = encode(&m);
        for (size_t cut = 0; cut < len; cut++)
            assert_int_equal(apply_exact(cut), TIDE_BAD);
        bytes[len] = 0;
        assert_int_equal(apply_exact(len + 1), TIDE_BAD);
        assert_int_equal(cluster_topic_count(c), 0);
        assert_int_equal(cluster_broker_count(c), 3);
    }
}

static void test_encoding_needs_room(void **state)
{
    for (unsigned i = 0; i < SAMPLES; i++) {
        struct cluster_command m = sample(i);
        size_t len = encode(&m), got;
        for (size_t cap = 0; cap < len; cap++) {
            uint8_t *exact = malloc(cap + 1);
            assert_non_null(exact);
            assert_int_equal(cluster_command_encode(&m, exact, cap, &got), TIDE_FULL);
            free(exact);
        }
        assert_int_equal(cluster_command_encode(&m, bytes, len, &got), TIDE_OK);
    }
}

static void test_other_versions_and_kinds(void **state)
{
    struct cluster_command m = sample(0);
    size_t len = encode(&m);
    for (unsigned at = 0; at < 8; at++) {
        bytes[at] ^= 0x40;
        assert_int_equal(apply_exact(len), TIDE_BAD);
        bytes[at] ^= 0x40;
    }
    bytes[7] = 0;
    assert_int_equal(apply_exact(len), TIDE_BAD);
    m.kind = CLUSTER_COMMAND_KIND_COUNT;
    assert_int_equal(cluster_command_encode(&m, bytes, sizeof(bytes), &len), TIDE_BAD);
}

/* Any damage: a command or none, and whatever it does keeps the invariants. */
static void test_damaged_commands(void **state)
{
    struct tide_random r = {4};
    for (unsigned round = 0; round < 5000; round++) {
        struct cluster_command m = sample((unsigned)tide_random_below(&r, SAMPLES));
        size_t len = encode(&m);
        for (uint64_t n = 1 + tide_random_below(&r, 3); n != 0; n--)
            bytes[8 + tide_random_below(&r, len - 8)] = (uint8_t)tide_random_u64(&r);
        if (m.kind == CLUSTER_CREATE_TOPIC) /* the same id twice is not what is asked here */
            memcpy(bytes + 8, &round, sizeof(round));
        (void)apply_exact(len);
    }
}

/* K1: ids are unique as well. */
static void test_a_topic_id_is_not_taken_twice(void **state)
{
    struct cluster_command a = topic_command("a", 1, 1), b = topic_command("b", 1, 1);
    b.create_topic.id = a.create_topic.id;
    assert_int_equal(apply(&a).error, 0);
    struct cluster_result r;
    assert_int_equal(cluster_apply(c, &b, &r), TIDE_OK);
    assert_true(r.error != 0);
    assert_int_equal(cluster_topic_count(c), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_names),
        TEST(test_create_and_find),
        TEST(test_creation_errors),
        TEST(test_assignments),
        TEST(test_delete),
        TEST(test_topics_are_sorted),
        TEST(test_registration_bumps_epochs),
        TEST(test_the_cluster_id_is_given_once),
        TEST(test_producer_ids_are_never_given_twice),
        TEST(test_bytes_do_what_the_command_does),
        TEST(test_cut_commands_are_refused),
        TEST(test_encoding_needs_room),
        TEST(test_other_versions_and_kinds),
        TEST(test_damaged_commands),
        TEST(test_a_topic_id_is_not_taken_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
