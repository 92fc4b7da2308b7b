/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include <rte_malloc.h>
#include <rte_ring.h>

#include "log/index.h"
#include "tidemark/bytes.h"
#include "tidemark/random.h"

enum { BATCHES = 20000 };

struct batch {
    uint32_t last, position;
    int64_t time;
};
static struct batch batches[BATCHES];
static struct log_index x;

static struct rte_ring *chunk_ring(unsigned count)
{
    static unsigned serial;
    char name[32];
    unit_eal();
    snprintf(name, sizeof(name), "chunks_%u", serial++);
    struct rte_ring *r = rte_ring_create(name, 128, SOCKET_ID_ANY, RING_F_SC_DEQ);
    assert_non_null(r);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(rte_ring_enqueue(r, calloc(1, sizeof(struct log_index_chunk))), 0);
    return r;
}

static void chunk_ring_free(struct rte_ring *r, unsigned count)
{
    void *c;
    assert_int_equal(rte_ring_count(r), count);
    while (rte_ring_dequeue(r, &c) == 0)
        free(c);
    rte_ring_free(r);
}

/* A floor is a batch start at or before the one that is looked for. */
static void check_floor(uint32_t n, uint32_t relative, uint32_t slack)
{
    struct log_place p;
    uint32_t target = 0;
    while (target < n && batches[target].last < relative)
        target++;
    if (!log_index_floor(&x, 9, relative, &p)) {
        assert_true(target == n || batches[target].position <= slack);
        return;
    }
    assert_true(p.relative <= relative);
    uint32_t i = 0;
    while (i < n && batches[i].position != p.position)
        i++;
    assert_true(i < n && i <= target);
    assert_int_equal(batches[i].last, p.relative);
    if (target < n)
        assert_true(batches[target].position - p.position <= slack);
}

static void check_time(uint32_t n, int64_t time)
{
    struct log_place p;
    if (!log_index_before_time(&x, 9, time, &p))
        return;
    for (uint32_t i = 0; i < n && batches[i].last <= p.relative; i++)
        assert_true(batches[i].time < time);
}

static void test_against_the_batches(void **state)
{
    static const struct {
        unsigned chunks;
        uint32_t interval;
        bool heap;
    } cases[] = {{0, 0, false},  {0, 4096, false}, {1, 0, false},
                 {64, 0, false}, {3, 100, false},  {0, 0, true}};
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        struct tide_random r = {.state = c};
        struct rte_ring *ring = chunk_ring(cases[c].chunks);
        uint32_t position = 0, offset = 0;
        log_index_init(&x, cases[c].interval);
        log_index_reset(&x, 9);
        x.pool = ring;
        x.may_allocate = cases[c].heap;
        for (uint32_t i = 0; i < BATCHES; i++) {
            uint32_t size = 61 + (uint32_t)tide_random_below(&r, 200);
            offset += 1 + (uint32_t)tide_random_below(&r, 4);
            batches[i] = (struct batch){.last = offset - 1,
                                        .position = position,
                                        .time = (int64_t)tide_random_below(&r, i + 1)};
            log_index_add(&x, batches[i].last, position, size, batches[i].time);
            position += size;
            if (i % 4999 == 0 || i == BATCHES - 1) {
                log_index_check(&x);
                for (int k = 0; k < 50; k++) {
                    check_floor(i + 1, (uint32_t)tide_random_below(&r, offset + 10),
                                2 * x.interval_now + 1000);
                    check_time(i + 1, (int64_t)tide_random_below(&r, i + 10));
                }
            }
        }
        if (cases[c].chunks == 64 || cases[c].heap)
            assert_true(tide_pub64_peek(&x.count) > 5000);
        else
            assert_true(tide_pub64_peek(&x.count) >= LOG_INDEX_INLINE / 2);
        struct log_place p;
        assert_false(log_index_floor(&x, 8, offset, &p));
        assert_true(log_index_floor(&x, 9, offset, &p));
        log_index_reset(&x, 10);
        assert_false(log_index_floor(&x, 9, offset, &p));
        assert_false(log_index_floor(&x, 10, offset, &p));
        log_index_deinit(&x);
        chunk_ring_free(ring, cases[c].chunks);
    }
}

/* kafka-protocol 10.3, byte for byte. */
static void test_files(void **state)
{
    static const struct {
        uint32_t last, position, bytes;
        int64_t time;
    } added[] = {{4, 0, 3000, 100},
                 {9, 3000, 2000, 90},
                 {10, 5000, 100, 120},
                 {19, 5100, 5000, 110},
                 {20, 10100, 10, 400}};
    static const uint8_t index[] = {0, 0, 0, 10, 0, 0, 0x13, 0x88, 0, 0, 0, 20, 0, 0, 0x27, 0x74};
    static const uint8_t time[] = {0, 0, 0, 0, 0, 0, 0, 120,  0, 0, 0, 10,
                                   0, 0, 0, 0, 0, 0, 1, 0x90, 0, 0, 0, 20};
    struct index_image image;
    struct log_place p;
    uint32_t relative;
    log_index_init(&x, 4096);
    log_index_reset(&x, 0);
    for (size_t i = 0; i < sizeof(added) / sizeof(added[0]); i++)
        log_index_add(&x, added[i].last, added[i].position, added[i].bytes, added[i].time);
    assert_int_equal(log_index_image(&x, &image), 0);
    assert_int_equal(image.index_bytes, sizeof(index));
    assert_memory_equal(image.index, index, sizeof(index));
    assert_int_equal(image.time_bytes, sizeof(time));
    assert_memory_equal(image.time_index, time, sizeof(time));
    assert_true(index_file_is_sane(image.index, image.index_bytes, 10110, 21));
    assert_false(index_file_is_sane(image.index, image.index_bytes, 10100, 21));
    assert_false(index_file_is_sane(image.index, image.index_bytes, 10110, 20));
    assert_false(index_file_is_sane(image.index, image.index_bytes - 1, 10110, 21));
    assert_true(time_file_is_sane(image.time_index, image.time_bytes, 21));
    assert_false(time_file_is_sane(image.time_index, image.time_bytes, 20));
    assert_false(index_file_floor(image.index, 2, 9, &p));
    assert_true(index_file_floor(image.index, 2, 10, &p));
    assert_int_equal(p.position, 5000);
    assert_true(index_file_floor(image.index, 2, UINT32_MAX, &p));
    assert_int_equal(p.position, 10100);
    assert_false(index_file_before_time(image.time_index, 2, 120, &relative));
    assert_true(index_file_before_time(image.time_index, 2, 121, &relative));
    assert_int_equal(relative, 10);
    assert_true(index_file_before_time(image.time_index, 2, INT64_MAX, &relative));
    assert_int_equal(relative, 20);
    assert_false(index_file_floor(NULL, 0, 9, &p));
    assert_false(index_file_before_time(NULL, 0, 9, &relative));
    index_image_free(&image);
    log_index_deinit(&x);

    /* No timestamps, no time index. */
    log_index_init(&x, 0);
    log_index_add(&x, 0, 0, 100, -1);
    log_index_add(&x, 1, 100, 100, -1);
    assert_int_equal(log_index_image(&x, &image), 0);
    assert_int_equal(image.index_bytes, 8);
    assert_int_equal(image.time_bytes, 0);
    index_image_free(&image);
    log_index_deinit(&x);
}

/* Lookups of another thread while entries are added, thinned out, and the index is reused: what is
 * found is an entry of the segment that was asked for. Batch i has offset i and position 100 * i
 * in even segments, 50 * i in odd ones. */
static _Atomic bool done;
static _Atomic unsigned long found_count;

static void *look(void *arg)
{
    struct tide_random r = {.state = 4};
    while (!atomic_load(&done)) {
        for (uint64_t segment = 0; segment < 8; segment++) {
            struct log_place p;
            uint32_t relative = (uint32_t)tide_random_below(&r, 30000);
            if (!log_index_floor(&x, segment, relative, &p))
                continue;
            assert_true(p.relative <= relative);
            assert_int_equal(p.position, p.relative * (segment % 2 == 0 ? 100 : 50));
            atomic_fetch_add(&found_count, 1);
        }
    }
    return NULL;
}

static void test_two_threads(void **state)
{
    pthread_t thread;
    struct rte_ring *ring = chunk_ring(20);
    log_index_init(&x, 0);
    x.pool = ring;
    atomic_store(&done, false);
    assert_int_equal(pthread_create(&thread, NULL, look, NULL), 0);
    for (uint64_t segment = 0; segment < 8; segment++) {
        log_index_reset(&x, segment);
        for (uint32_t i = 0; i < 30000; i++)
            log_index_add(&x, i, i * (segment % 2 == 0 ? 100 : 50), 100, i);
        unsigned long before = atomic_load(&found_count);
        for (int i = 0; i < 10000 && atomic_load(&found_count) < before + 100; i++)
            sched_yield();
    }
    for (int i = 0; i < 60000 && atomic_load(&found_count) == 0; i++)
        usleep(1000); /* on a busy machine its turn may not have come yet */
    atomic_store(&done, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(atomic_load(&found_count) > 0);
    log_index_deinit(&x);
    chunk_ring_free(ring, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_the_batches),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_two_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
