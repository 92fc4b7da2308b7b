/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands, results and snapshots as bytes: there and back, and nothing that is cut, longer, damaged or from elsewhere.
 */
#include "kafka/batch.h"

#include "cluster_world.h"

enum { SAMPLES = 3000, SNAPSHOT_CAP = 1 << 20 };

static uint8_t bytes[CLUSTER_COMMAND_MAX + 8], again[CLUSTER_COMMAND_MAX + 8];
static uint8_t snapshot[SNAPSHOT_CAP], damaged[SNAPSHOT_CAP];

static size_t encode(const struct cluster_command *m)
{
    size_t len = 0;
    assert_int_equal(cluster_command_encode(m, bytes, sizeof(bytes), &len), TIDE_OK);
    return len;
}

/* In a block of exactly that length. */
static enum tide_status decode(const uint8_t *from, size_t len, struct cluster_command *ret)
{
    uint8_t *exact = malloc(len != 0 ? len : 1);
    enum tide_status status;
    assert_non_null(exact);
    memcpy(exact, from, len);
    status = cluster_command_decode(&world_memory, exact, len, ret);
    free(exact);
    return status;
}

/* control-plane 12 */
static void test_the_head(void **state)
{
    struct cluster_command m = {.kind = CLUSTER_BALANCE_LEADERS, .controller_epoch = 0x0102030405060708, .requester = 0x11, .sequence = 0x22, .limit = 0x33};
    static const uint8_t expected[] = {20, 0, 1, 0, 40, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1, 0x11, 0, 0, 0, 0, 0, 0, 0, 0x22, 0, 0, 0, 0, 0, 0, 0,
                                       0x33, 0, 0, 0, 0, 0, 0, 0};
    assert_int_equal(encode(&m), sizeof(expected));
    assert_memory_equal(bytes, expected, sizeof(expected));
    cluster_command_stamp(bytes, 9);
    assert_int_equal(decode(bytes, sizeof(expected), &m), TIDE_OK);
    assert_int_equal(m.controller_epoch, 9);
    assert_int_equal(m.limit, 0x33);
    assert_int_equal(m.requester, 0x11);
    assert_int_equal(m.sequence, 0x22);
}

static void test_length_and_padding(void **state)
{
    struct cluster_command m = {.kind = CLUSTER_CONTROLLER_EPOCH, .controller_epoch_of = {1, 2}}, back;
    size_t len = encode(&m);
    assert_int_equal(len, 48); /* twelve bytes of fields, four of padding */
    assert_int_equal(decode(bytes, len, &back), TIDE_OK);
    for (size_t at = 44; at < 48; at++) {
        bytes[at] = 1;
        assert_int_equal(decode(bytes, len, &back), TIDE_BAD);
        bytes[at] = 0;
    }
    for (unsigned length = 0; length < 128; length += 8) {
        bytes[4] = (uint8_t)length;
        assert_int_equal(decode(bytes, len, &back), length == len ? TIDE_OK : TIDE_BAD);
    }
}

static void test_there_and_back(void **state)
{
    struct tide_random random = {3};
    for (unsigned i = 0; i < SAMPLES; i++) {
        struct cluster_command m, back;
        size_t len, other = 0;
        random_command(&random, &m);
        len = encode(&m);
        assert_int_equal(len % 8, 0);
        assert_int_equal(decode(bytes, len, &back), TIDE_OK);
        assert_int_equal(cluster_command_encode(&back, again, sizeof(again), &other), TIDE_OK);
        assert_int_equal(len, other);
        assert_memory_equal(bytes, again, len);
        cluster_command_free(&back);
        if (i % 4 == 0)
            (void)world_apply(&m);
    }
}

/* One of each kind that chance gives. */
static void test_cut_and_longer_ones_are_refused(void **state)
{
    struct tide_random random = {4};
    for (unsigned i = 0; i < 300; i++) {
        struct cluster_command m, back;
        size_t len;
        random_command(&random, &m);
        len = encode(&m);
        for (size_t cut = 0; cut < len; cut++) {
            uint32_t claimed = (uint32_t)cut;
            uint8_t length[4];
            assert_int_equal(decode(bytes, cut, &back), TIDE_BAD);
            if (cut % 8 != 0 || cut < 32)
                continue;
            memcpy(length, bytes + 4, 4); /* it says so itself */
            memcpy(bytes + 4, &claimed, 4);
            assert_int_equal(decode(bytes, cut, &back), TIDE_BAD);
            memcpy(bytes + 4, length, 4);
        }
        memset(bytes + len, 0, 8);
        bytes[4] = (uint8_t)(len + 8);
        bytes[5] = (uint8_t)((len + 8) >> 8);
        assert_int_equal(decode(bytes, len + 8, &back), TIDE_BAD);
    }
}

/* What older logs begin with stays what it was, in both directions. */
static void test_two_versions_of_a_birth(void **state)
{
    struct cluster_command m = {.kind = CLUSTER_INIT, .init = {.cluster_id = {{7}}, .created_ms = 5}}, back;
    static const uint8_t expected[] = {1, 0, 1, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                       7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    size_t len = encode(&m);
    assert_int_equal(len, sizeof(expected));
    assert_memory_equal(bytes, expected, len);
    assert_int_equal(decode(bytes, len, &back), TIDE_OK);
    assert_int_equal(back.init.feature_count, 0);
    bytes[2] = 2; /* the padding as an empty list */
    assert_int_equal(decode(bytes, len, &back), TIDE_BAD);
    m.init.feature_count = cluster_birth_features(m.init.features);
    len = encode(&m);
    assert_int_equal(bytes[2], 2);
    assert_int_equal(decode(bytes, len, &back), TIDE_OK);
    assert_int_equal(back.init.feature_count, 1);
    assert_string_equal(back.init.features[0].name, CLUSTER_FEATURE_GROUP);
    assert_int_equal(back.init.features[0].level, 1);
    bytes[2] = 1;
    assert_int_equal(decode(bytes, len, &back), TIDE_BAD);
    bytes[2] = 3;
    assert_int_equal(decode(bytes, len, &back), TIDE_BAD);
    m.init.feature_count = CLUSTER_FEATURES_MAX + 1;
    assert_int_equal(cluster_command_encode(&m, bytes, sizeof(bytes), &len), TIDE_BAD);
}

static void test_other_versions_and_kinds(void **state)
{
    struct cluster_command m = {.kind = CLUSTER_NO_OP}, back;
    size_t len = encode(&m);
    assert_int_equal(decode(bytes, len, &back), TIDE_OK);
    for (unsigned at = 0; at < 4; at++) {
        bytes[at] ^= 0x40;
        assert_int_equal(decode(bytes, len, &back), TIDE_BAD);
        bytes[at] ^= 0x40;
    }
    bytes[2] = 2; /* there is one of INIT only */
    assert_int_equal(decode(bytes, len, &back), TIDE_BAD);
    bytes[2] = 1;
    bytes[0] = 0;
    assert_int_equal(decode(bytes, len, &back), TIDE_BAD);
    bytes[0] = CLUSTER_COMMAND_KIND_COUNT;
    assert_int_equal(decode(bytes, len, &back), TIDE_BAD);
    m.kind = CLUSTER_COMMAND_KIND_COUNT;
    assert_int_equal(cluster_command_encode(&m, bytes, sizeof(bytes), &len), TIDE_BAD);
    m.kind = 0;
    assert_int_equal(cluster_command_encode(&m, bytes, sizeof(bytes), &len), TIDE_BAD);
}

static void test_encoding_needs_room(void **state)
{
    struct tide_random random = {6};
    for (unsigned i = 0; i < 200; i++) {
        struct cluster_command m;
        size_t len, got;
        random_command(&random, &m);
        len = encode(&m);
        for (size_t cap = 0; cap < len; cap++) {
            uint8_t *exact = malloc(cap + 1);
            assert_non_null(exact);
            assert_int_equal(cluster_command_encode(&m, exact, cap, &got), TIDE_FULL);
            free(exact);
        }
        assert_int_equal(cluster_command_encode(&m, bytes, len, &got), TIDE_OK);
    }
}

/* What is not decoded is not encoded either. */
static void test_lists_have_limits(void **state)
{
    static struct cluster_partition_change changes[CLUSTER_ITEMS_MAX + 1];
    static struct cluster_resource_change resources[CLUSTER_RESOURCES_MAX + 1];
    static struct cluster_config_change many[CLUSTER_CONFIGS_MAX + 1];
    struct cluster_command m = {.kind = CLUSTER_ALTER_PARTITION, .alter_partition = {.count = CLUSTER_ITEMS_MAX + 1, .changes = changes}}, back;
    size_t len;
    assert_int_equal(cluster_command_encode(&m, bytes, sizeof(bytes), &len), TIDE_BAD);
    m.alter_partition.count--;
    for (unsigned i = 0; i < CLUSTER_ITEMS_MAX; i++)
        changes[i].isr_count = 3; /* three replicas each: the most partitions fit */
    len = encode(&m);
    assert_int_equal(decode(bytes, len, &back), TIDE_OK);
    assert_int_equal(back.alter_partition.count, CLUSTER_ITEMS_MAX);
    cluster_command_free(&back);
    for (unsigned i = 0; i < CLUSTER_ITEMS_MAX; i++)
        changes[i].isr_count = 16;
    assert_int_equal(cluster_command_encode(&m, bytes, sizeof(bytes), &len), TIDE_FULL); /* more than a command may be */
    changes[0].isr_count = 17;
    m.alter_partition.count = 1;
    assert_int_equal(cluster_command_encode(&m, bytes, sizeof(bytes), &len), TIDE_BAD);
    m = (struct cluster_command){.kind = CLUSTER_ALTER_CONFIGS, .alter_configs = {.count = CLUSTER_RESOURCES_MAX + 1, .resources = resources}};
    assert_int_equal(cluster_command_encode(&m, bytes, sizeof(bytes), &len), TIDE_BAD);
    m.alter_configs.count = 1;
    resources[0].changes = many;
    resources[0].change_count = CLUSTER_CONFIGS_MAX + 1;
    assert_int_equal(cluster_command_encode(&m, bytes, sizeof(bytes), &len), TIDE_BAD);
    resources[0].change_count--;
    (void)encode(&m);
}

/* Any damage: a command or none, and whatever it does keeps the invariants. */
static void test_damaged_commands(void **state)
{
    struct tide_random random = {4};
    unsigned good = 0;
    for (unsigned i = 0; i < 20000; i++) {
        struct cluster_command m;
        struct cluster_result result;
        enum tide_status status;
        size_t len;
        uint8_t *exact;
        random_command(&random, &m);
        len = encode(&m);
        for (uint64_t n = 1 + tide_random_below(&random, 3); n != 0; n--)
            bytes[tide_random_below(&random, len)] = (uint8_t)tide_random_u64(&random);
        exact = malloc(len);
        assert_non_null(exact);
        memcpy(exact, bytes, len);
        status = cluster_apply_bytes(c, cluster_index(c) + 1, exact, len, &result);
        free(exact);
        assert_true(status == TIDE_OK || status == TIDE_BAD);
        if (status == TIDE_OK)
            cluster_result_free(&result);
        good += status == TIDE_OK;
        cluster_check(c);
    }
    assert_true(good > 2000);
}

/* ---- results ------------------------------------------------------------------------------------------------------- */

static void test_results(void **state)
{
    struct tide_random random = {12};
    unsigned items = 0;
    for (unsigned i = 0; i < SAMPLES; i++) {
        struct cluster_command m;
        struct cluster_result back;
        size_t len = 0, other = 0;
        random_command(&random, &m);
        (void)world_apply(&m);
        assert_int_equal(cluster_result_encode(&r, bytes, sizeof(bytes), &len), TIDE_OK);
        assert_int_equal(cluster_result_decode(&world_memory, bytes, len, &back), TIDE_OK);
        assert_int_equal(back.error, r.error);
        assert_string_equal(back.message, r.message);
        assert_int_equal(back.index, r.index);
        assert_int_equal(back.item_count, r.item_count);
        for (uint32_t k = 0; k < r.item_count; k++) {
            assert_int_equal(back.items[k].error, r.items[k].error);
            assert_string_equal(back.items[k].message, r.items[k].message);
            assert_int_equal(back.items[k].leader, r.items[k].leader);
            assert_int_equal(back.items[k].partition_epoch, r.items[k].partition_epoch);
            items++;
        }
        assert_int_equal(cluster_result_encode(&back, again, sizeof(again), &other), TIDE_OK);
        assert_int_equal(other, len);
        assert_memory_equal(bytes, again, len);
        cluster_result_free(&back);
        if (i % 20 != 0)
            continue;
        for (size_t cut = 0; cut < len; cut++) {
            assert_int_equal(cluster_result_decode(&world_memory, bytes, cut, &back), TIDE_BAD);
            assert_int_equal(cluster_result_encode(&r, again, cut, &other), TIDE_FULL);
        }
        bytes[len] = 0;
        assert_int_equal(cluster_result_decode(&world_memory, bytes, len + 1, &back), TIDE_BAD);
        bytes[0] ^= 2;
        assert_int_equal(cluster_result_decode(&world_memory, bytes, len, &back), TIDE_BAD);
    }
    assert_true(items > 1000);
}

/* ---- snapshots ------------------------------------------------------------------------------------------------------- */

static size_t some_snapshot(unsigned commands, uint64_t seed)
{
    struct tide_random random = {seed};
    struct cluster_command m;
    size_t len = 0;
    for (unsigned i = 0; i < commands; i++) {
        random_command(&random, &m);
        (void)world_apply(&m);
    }
    assert_int_equal(cluster_snapshot_write(c, snapshot, sizeof(snapshot), &len), TIDE_OK);
    return len;
}

static void seal(uint8_t *to, size_t len)
{
    uint32_t crc = batch_crc_update(0, to, len - 4);
    memcpy(to + len - 4, &crc, 4);
}

static void test_a_snapshot_needs_room(void **state)
{
    size_t len = some_snapshot(100, 1), got;
    for (size_t cap = 0; cap < len; cap += 1 + cap / 50)
        assert_int_equal(cluster_snapshot_write(c, damaged, cap, &got), TIDE_FULL);
    assert_int_equal(cluster_snapshot_write(c, damaged, len - 1, &got), TIDE_FULL);
}

/* Without the right sum nothing is taken; with it, only what keeps the invariants, and then it is that state. */
static void test_damaged_snapshots(void **state)
{
    size_t len = some_snapshot(150, 2);
    struct tide_random random = {31};
    struct cluster *other = cluster_create(&world_memory);
    unsigned taken = 0, refused = 0;
    for (size_t cut = 0; cut < len; cut += 7) {
        memcpy(damaged, snapshot, cut);
        assert_int_equal(cluster_restore(other, damaged, cut), TIDE_BAD);
        if (cut > 8) {
            seal(damaged, cut);
            assert_int_equal(cluster_restore(other, damaged, cut), TIDE_BAD);
        }
    }
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t hash = cluster_hash(other);
        size_t got = 0;
        memcpy(damaged, snapshot, len);
        for (uint64_t n = 1 + tide_random_below(&random, 2); n != 0; n--)
            damaged[tide_random_below(&random, len - 4)] = (uint8_t)tide_random_u64(&random);
        if (memcmp(damaged, snapshot, len) != 0)
            assert_int_equal(cluster_restore(other, damaged, len), TIDE_BAD);
        seal(damaged, len);
        if (cluster_restore(other, damaged, len) == TIDE_OK) {
            cluster_check(other);
            assert_int_equal(cluster_snapshot_write(other, bytes, sizeof(bytes), &got), TIDE_OK);
            assert_int_equal(got, len);
            assert_memory_equal(bytes, damaged, len);
            taken++;
        } else {
            assert_true(cluster_hash(other) == hash);
            refused++;
        }
    }
    assert_true(taken > 1000);
    assert_true(refused > 1000);
    cluster_destroy(other);
}

/* The second format is for states that the first cannot say: one state has one form. */
static void test_the_second_format_says_more(void **state)
{
    struct cluster *other = cluster_create(&world_memory);
    static const uint8_t two[] = {2, 0, 0, 0}, none[] = {255, 255, 255, 255};
    size_t len = 0, at;
    assert_int_equal(make_topic("t", "1,2", ""), 0);
    assert_int_equal(broker_command(CLUSTER_FENCE_BROKER, 2, false), 0);
    assert_int_equal(broker_command(CLUSTER_FENCE_BROKER, 1, false), 0);
    activate(2);
    assert_int_equal(elect("t", 0, CLUSTER_ELECT_UNCLEAN), 0);
    assert_int_equal(cluster_snapshot_write(c, damaged, sizeof(damaged), &len), TIDE_OK);
    assert_int_equal(cluster_restore(other, damaged, len), TIDE_OK);
    at = len - 5 * sizeof(two); /* behind it: settings, kept results, the number of records, the sum */
    assert_memory_equal(damaged + at, two, sizeof(two));
    memcpy(damaged + at, none, sizeof(none));
    seal(damaged, len);
    assert_int_equal(cluster_restore(other, damaged, len), TIDE_BAD);
    memcpy(damaged + at, two, sizeof(two));
    damaged[8] = 3;
    seal(damaged, len);
    assert_int_equal(cluster_restore(other, damaged, len), TIDE_BAD);
    cluster_destroy(other);
}

/* A replaced state is a changed one, for every reader. */
static void test_after_a_restore_everything_has_changed(void **state)
{
    size_t len;
    struct cluster_feed feed;
    struct cluster_change change;
    uint32_t partitions = 0, brokers = 0, kinds = 0;
    assert_int_equal(make_topic("t", "1,2;2,5", ""), 0);
    len = some_snapshot(0, 0);
    feed = cluster_feed_since(cluster_index(c) - 1);
    assert_int_equal(cluster_restore(c, snapshot, len), TIDE_OK);
    while (cluster_feed_next(c, &feed, &change)) {
        partitions += change.kind == CLUSTER_CHANGED_PARTITION;
        brokers += change.kind == CLUSTER_CHANGED_BROKER;
        kinds |= 1u << change.kind;
    }
    assert_int_equal(partitions, 2);
    assert_int_equal(brokers, 3);
    assert_int_equal(kinds, (1u << CLUSTER_CHANGED_END) - 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_head),
        TEST(test_length_and_padding),
        TEST(test_there_and_back),
        TEST(test_cut_and_longer_ones_are_refused),
        TEST(test_two_versions_of_a_birth),
        TEST(test_other_versions_and_kinds),
        TEST(test_encoding_needs_room),
        TEST(test_lists_have_limits),
        TEST(test_damaged_commands),
        TEST(test_results),
        TEST(test_a_snapshot_needs_room),
        TEST(test_damaged_snapshots),
        TEST(test_the_second_format_says_more),
        TEST(test_after_a_restore_everything_has_changed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
