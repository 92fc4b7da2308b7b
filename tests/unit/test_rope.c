/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <pthread.h>

#include "tidemark/random.h"
#include "tidemark/rope.h"

static struct rte_mempool *pool;
static struct rte_mempool *small; /* a few mbufs, to run out of */

static int setup(void **state)
{
    unit_eal();
    pool = unit_pool("rope", 8191, 64);
    small = unit_pool("rope_small", 3, 16);
    return 0;
}

static void fill(struct tide_rope *r, unsigned from, unsigned n, unsigned piece)
{
    for (unsigned at = 0; at < n; at += piece) {
        uint8_t bytes[64];
        unsigned len = TIDE_MIN(piece, n - at);
        for (unsigned i = 0; i < len; i++)
            bytes[i] = (uint8_t)(from + at + i);
        tide_rope_push(r, unit_exact_mbuf(pool, bytes, (uint16_t)len));
    }
}

static void expect(struct tide_slice s, unsigned from)
{
    uint8_t bytes[4096];
    assert_true(s.len <= sizeof(bytes));
    tide_slice_copy(s, bytes);
    for (unsigned i = 0; i < s.len; i++)
        assert_int_equal(bytes[i], (uint8_t)(from + i));
}

static void test_slices_at_every_offset(void **state)
{
    struct tide_rope r = {0};
    unsigned before = rte_mempool_avail_count(pool);
    fill(&r, 0, 60, 7);
    assert_int_equal(r.len, 60);
    assert_int_equal(tide_rope_count(&r), 9);
    for (unsigned at = 0; at <= 60; at++)
        for (unsigned len = 0; len <= 60 - at; len++) {
            struct tide_slice s = tide_rope_slice(&r, at, len);
            assert_int_equal(s.len, len);
            expect(s, at);
            expect(tide_slice_after(s, len / 2), at + len / 2);
        }
    tide_rope_clear(&r);
    assert_null(r.head);
    assert_null(r.tail);
    assert_int_equal(rte_mempool_avail_count(pool), before);
}

static void test_drop_and_append_against_a_model(void **state)
{
    struct tide_random random = {42};
    struct tide_rope r = {0};
    unsigned first = 0, next = 0;
    unsigned before = rte_mempool_avail_count(pool);
    for (unsigned step = 0; step < 20000; step++) {
        unsigned n = (unsigned)tide_random_below(&random, 50);
        uint8_t bytes[64];
        switch (tide_random_below(&random, 3)) {
        case 0:
            if (r.len < 3000)
                fill(&r, next, n, 1 + (unsigned)tide_random_below(&random, 20)), next += n;
            break;
        case 1:
            for (unsigned i = 0; i < n; i++)
                bytes[i] = (uint8_t)(next + i);
            if (r.len < 3000 && tide_rope_copy_in(&r, pool, bytes, n) == TIDE_OK)
                next += n;
            break;
        default:
            n = TIDE_MIN(n, r.len);
            tide_rope_drop(&r, n);
            first += n;
        }
        assert_int_equal(r.len, next - first);
        expect(tide_rope_slice(&r, 0, r.len), first);
    }
    tide_rope_clear(&r);
    assert_int_equal(rte_mempool_avail_count(pool), before);
}

static void test_held_bytes_outlive_the_rope(void **state)
{
    struct tide_rope r = {0};
    unsigned before = rte_mempool_avail_count(pool);
    struct tide_slice s;
    fill(&r, 9, 50, 8);
    s = tide_rope_slice(&r, 5, 30);
    tide_slice_hold(s);
    tide_rope_drop(&r, 20);
    fill(&r, 59, 10, 3);
    tide_rope_clear(&r);
    expect(s, 14);
    assert_true(rte_mempool_avail_count(pool) < before);
    tide_slice_release(s);
    assert_int_equal(rte_mempool_avail_count(pool), before);
}

static void test_copy_in_without_room_changes_nothing(void **state)
{
    uint8_t bytes[64] = {1, 2, 3};
    struct tide_rope r = {0};
    assert_int_equal(tide_rope_copy_in(&r, small, bytes, 10), TIDE_OK);
    assert_int_equal(tide_rope_copy_in(&r, small, bytes, 64), TIDE_FULL);
    assert_int_equal(r.len, 10);
    assert_int_equal(tide_rope_count(&r), 1);
    assert_int_equal(tide_rope_copy_in(&r, small, bytes, 38), TIDE_OK);
    assert_int_equal(tide_rope_count(&r), 3);
    tide_rope_clear(&r);
    assert_int_equal(rte_mempool_avail_count(small), 3);
}

static void test_copy_in_leaves_a_shared_tail_alone(void **state)
{
    uint8_t bytes[16] = {7};
    struct tide_rope r = {0};
    struct tide_slice s;
    assert_int_equal(tide_rope_copy_in(&r, pool, bytes, 8), TIDE_OK);
    s = tide_rope_slice(&r, 0, 8);
    tide_slice_hold(s);
    assert_int_equal(tide_rope_copy_in(&r, pool, bytes, 8), TIDE_OK);
    assert_int_equal(tide_rope_count(&r), 2);
    tide_slice_release(s);
    tide_rope_clear(&r);
}

enum { SHARED_ROPES = 1000, SHARED_BYTES = 100 };

static void *read_and_release(void *arg)
{
    const struct tide_slice *held = arg;
    for (unsigned i = 0; i < SHARED_ROPES; i++) {
        uint8_t bytes[SHARED_BYTES];
        tide_slice_copy(held[i], bytes);
        for (unsigned at = 0; at < SHARED_BYTES; at++)
            TIDE_ASSERT(bytes[at] == (uint8_t)(i + at));
        tide_slice_release(held[i]);
    }
    return NULL;
}

/* Whoever is last frees, and what the other read was read before: the thread sanitizer watches. */
static void test_two_threads_drop_the_references(void **state)
{
    static struct tide_rope ropes[SHARED_ROPES];
    static struct tide_slice held[SHARED_ROPES];
    unsigned before = rte_mempool_avail_count(pool);
    pthread_t other;
    for (unsigned i = 0; i < SHARED_ROPES; i++) {
        fill(&ropes[i], i, SHARED_BYTES, 40);
        held[i] = tide_rope_slice(&ropes[i], 0, SHARED_BYTES);
        tide_slice_hold(held[i]);
    }
    assert_int_equal(pthread_create(&other, NULL, read_and_release, held), 0);
    for (unsigned i = 0; i < SHARED_ROPES; i++)
        tide_rope_clear(&ropes[i]);
    assert_int_equal(pthread_join(other, NULL), 0);
    assert_int_equal(rte_mempool_avail_count(pool), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slices_at_every_offset),
        cmocka_unit_test(test_drop_and_append_against_a_model),
        cmocka_unit_test(test_held_bytes_outlive_the_rope),
        cmocka_unit_test(test_copy_in_without_room_changes_nothing),
        cmocka_unit_test(test_copy_in_leaves_a_shared_tail_alone),
        cmocka_unit_test(test_two_threads_drop_the_references),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
