/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Thousands of commands by chance: the invariants after each, a second cluster fed with the bytes and a third restored
 * from snapshots agree in hash and results, and a command without memory leaves no trace.
 */
#include "cluster_world.h"

enum { ROUNDS = 4000, SEEDS = 12, SNAPSHOT_CAP = 4 << 20 };

static uint8_t bytes[CLUSTER_COMMAND_MAX], result_a[CLUSTER_RESULT_MAX], result_b[CLUSTER_RESULT_MAX];
static uint8_t snapshot[SNAPSHOT_CAP], again[SNAPSHOT_CAP];

static int start(void **state)
{
    (void)state;
    world_fail_at = 0;
    world_reset();
    return 0;
}

static void same_result(const struct cluster_result *a, const struct cluster_result *b)
{
    size_t a_len = 0, b_len = 0;
    assert_int_equal(cluster_result_encode(a, result_a, sizeof(result_a), &a_len), TIDE_OK);
    assert_int_equal(cluster_result_encode(b, result_b, sizeof(result_b), &b_len), TIDE_OK);
    assert_int_equal(a_len, b_len);
    assert_memory_equal(result_a, result_b, a_len);
}

static size_t take_snapshot(const struct cluster *from, uint8_t *to)
{
    size_t len = 0;
    assert_int_equal(cluster_snapshot_write(from, to, SNAPSHOT_CAP, &len), TIDE_OK);
    assert_int_equal(len, cluster_snapshot_size(from));
    return len;
}

/* I2, I4 */
static void test_histories_agree(void **state)
{
    uint32_t kinds[CLUSTER_COMMAND_KIND_COUNT] = {0}, done[CLUSTER_COMMAND_KIND_COUNT] = {0};
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct tide_random random = {seed}, rare = {seed};
        struct cluster *other = cluster_create(&world_memory);
        struct cluster_command m = {.kind = CLUSTER_INIT, .init = {.cluster_id = {{0xc1, 7}}, .created_ms = 1}};
        struct cluster_result result;
        world_reset();
        assert_int_equal(cluster_apply(other, 1, &m, &result), TIDE_OK);
        for (unsigned i = 0; i < ROUNDS / 4; i++) {
            size_t len = 0;
            random_command(&random, &m);
            assert_int_equal(cluster_command_encode(&m, bytes, sizeof(bytes), &len), TIDE_OK);
            (void)world_apply(&m);
            kinds[m.kind]++;
            done[m.kind] += r.error == 0 && (r.item_count == 0 || r.items[0].error == 0);
            assert_int_equal(cluster_apply_bytes(other, cluster_index(c), bytes, len, &result), TIDE_OK);
            same_result(&r, &result);
            cluster_result_free(&result);
            if (tide_random_hits(&rare, 100)) { /* from here on it is a restored one */
                len = take_snapshot(other, snapshot);
                assert_int_equal(cluster_restore(other, snapshot, len), TIDE_OK);
                assert_int_equal(take_snapshot(other, again), len);
                assert_memory_equal(snapshot, again, len);
                cluster_check(other);
            }
            assert_true(cluster_hash(c) == cluster_hash(other));
        }
        cluster_destroy(other);
    }
    for (int kind = CLUSTER_INIT; kind < CLUSTER_COMMAND_KIND_COUNT; kind++) { /* chance has been everywhere */
        if (done[kind] < 5)
            print_message("%s: %u of %u\n", cluster_command_name((enum cluster_command_kind)kind), done[kind], kinds[kind]);
        assert_true(kinds[kind] >= 10);
        assert_true(done[kind] >= 5);
    }
}

static void test_every_change_is_in_the_hash(void **state)
{
    struct tide_random random = {77};
    struct cluster_command m;
    world_reset();
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t hash = cluster_hash(c);
        random_command(&random, &m);
        (void)world_apply(&m);
        assert_true(cluster_hash(c) != hash); /* the index, at least */
    }
}

/* The Nth call for memory fails, for every N; then it works. */
static void test_without_memory_nothing_changes(void **state)
{
    struct tide_random random = {5};
    struct cluster_command m;
    uint64_t failures = 0;
    for (unsigned i = 0; i < 1500; i++) {
        uint64_t hash = cluster_hash(c), taken, n;
        uint64_t index = cluster_index(c) + 1;
        size_t len = 0;
        random_command(&random, &m);
        assert_int_equal(cluster_command_encode(&m, bytes, sizeof(bytes), &len), TIDE_OK);
        cluster_result_free(&r);
        taken = world_taken;
        for (n = 1;; n++) {
            enum tide_status status;
            world_fail_at = n;
            status = cluster_apply_bytes(c, index, bytes, len, &r);
            if (status == TIDE_OK)
                break;
            assert_int_equal(status, TIDE_FULL);
            assert_int_equal(world_fail_at, 0);
            assert_true(cluster_hash(c) == hash);
            assert_int_equal(cluster_index(c), index - 1);
            cluster_check(c);
            failures++;
            assert_true(world_taken <= taken + 2); /* room for more topics or brokers may stay */
            taken = world_taken;
        }
        world_fail_at = 0;
        cluster_check(c);
    }
    assert_true(failures > 1500);
}

static void test_a_snapshot_needs_memory_too(void **state)
{
    struct tide_random random = {6};
    struct cluster_command m;
    struct cluster *other;
    size_t len;
    for (unsigned i = 0; i < 400; i++) {
        random_command(&random, &m);
        (void)world_apply(&m);
    }
    len = take_snapshot(c, snapshot);
    other = cluster_create(&world_memory);
    for (uint64_t n = 1;; n++) {
        uint64_t taken = world_taken, hash = cluster_hash(other);
        enum tide_status status;
        world_fail_at = n;
        status = cluster_restore(other, snapshot, len);
        world_fail_at = 0;
        if (status == TIDE_OK)
            break;
        assert_int_equal(status, TIDE_FULL);
        assert_int_equal(world_taken, taken);
        assert_true(cluster_hash(other) == hash);
    }
    assert_true(cluster_hash(other) == cluster_hash(c));
    cluster_destroy(other);
}

/* ---- the feed ------------------------------------------------------------------------------------------------- */

enum { SHADOWS = 256 };
static struct shadow {
    struct tide_uuid id;
    int32_t number;
    struct cluster_partition p;
} shadows[SHADOWS];
static uint32_t shadow_count;

static void note(const struct cluster_topic *t, uint32_t number)
{
    for (uint32_t i = 0; i < shadow_count; i++) {
        if (tide_uuid_equal(&shadows[i].id, &t->id) && shadows[i].number == (int32_t)number) {
            shadows[i].p = t->partitions[number];
            return;
        }
    }
    assert_true(shadow_count < SHADOWS);
    shadows[shadow_count++] = (struct shadow){t->id, (int32_t)number, t->partitions[number]};
}

static void forget_what_is_gone(void)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < shadow_count; i++)
        if (cluster_find_partition(c, &shadows[i].id, shadows[i].number) != NULL)
            shadows[kept++] = shadows[i];
    shadow_count = kept;
}

/* Whoever keeps a copy by the feed alone has all of it. */
static void test_the_feed_misses_nothing(void **state)
{
    struct tide_random random = {8};
    struct cluster_command m;
    struct cluster_change change;
    uint64_t seen = 0;
    uint32_t brokers = 0;
    shadow_count = 0;
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct cluster_feed feed = cluster_feed_since(seen);
        bool removed = false;
        random_command(&random, &m);
        (void)world_apply(&m);
        if (!tide_random_hits(&random, 3))
            continue; /* several at once */
        while (cluster_feed_next(c, &feed, &change)) {
            if (change.kind == CLUSTER_CHANGED_PARTITION)
                note(change.topic, change.partition);
            brokers += change.kind == CLUSTER_CHANGED_BROKER;
            removed |= change.kind == CLUSTER_CHANGED_TOPICS_REMOVED;
        }
        assert_int_equal(change.kind, CLUSTER_CHANGED_END);
        if (removed)
            forget_what_is_gone();
        seen = cluster_index(c);
        assert_int_equal(shadow_count, cluster_partition_count(c));
        for (uint32_t k = 0; k < shadow_count; k++)
            assert_memory_equal(cluster_find_partition(c, &shadows[k].id, shadows[k].number), &shadows[k].p, sizeof(shadows[k].p));
        feed = cluster_feed_since(seen);
        assert_false(cluster_feed_next(c, &feed, &change));
    }
    assert_true(brokers > 100);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_histories_agree),
        TEST(test_every_change_is_in_the_hash),
        TEST(test_without_memory_nothing_changes),
        TEST(test_a_snapshot_needs_memory_too),
        TEST(test_the_feed_misses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
