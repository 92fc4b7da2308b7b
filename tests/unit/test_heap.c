/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "tidemark/heap.h"
#include "tidemark/random.h"

enum { BYTES = 1 << 16, LEAST = 32, BLOCKS_MAX = BYTES / LEAST };

static void test_sizes(void **state)
{
    struct tide_heap *h = tide_heap_create(100000);
    assert_int_equal(tide_heap_bytes(h), 65536);
    assert_int_equal(tide_heap_free_bytes(h), 65536);
    assert_null(tide_heap_create(31));
    assert_null(tide_heap_take(h, 65537));
    assert_null(tide_heap_take(h, SIZE_MAX));
    assert_true(tide_heap_has(h, 65536));
    assert_false(tide_heap_has(h, 65537));
    assert_false(tide_heap_has(h, SIZE_MAX));
    void *whole = tide_heap_take(h, 65536);
    assert_non_null(whole);
    assert_false(tide_heap_has(h, 0));
    assert_null(tide_heap_take(h, 0));
    tide_heap_check(h);
    tide_heap_give(h, whole);
    tide_heap_give(h, NULL);
    tide_heap_destroy(h);
    tide_heap_destroy(NULL);
}

static void test_full_of_the_smallest(void **state)
{
    struct tide_heap *h = tide_heap_create(BYTES);
    static void *blocks[BLOCKS_MAX];
    for (unsigned i = 0; i < BLOCKS_MAX; i++) {
        blocks[i] = tide_heap_take(h, 1 + i % LEAST);
        assert_non_null(blocks[i]);
    }
    assert_int_equal(tide_heap_free_bytes(h), 0);
    assert_null(tide_heap_take(h, 1));
    tide_heap_check(h);
    /* Every second one: much is free, and nothing larger than one. */
    for (unsigned i = 0; i < BLOCKS_MAX; i += 2)
        tide_heap_give(h, blocks[i]);
    assert_int_equal(tide_heap_free_bytes(h), BYTES / 2);
    assert_true(tide_heap_has(h, LEAST));
    assert_false(tide_heap_has(h, LEAST + 1));
    assert_null(tide_heap_take(h, LEAST + 1));
    tide_heap_check(h);
    for (unsigned i = 1; i < BLOCKS_MAX; i += 2)
        tide_heap_give(h, blocks[i]);
    tide_heap_check(h);
    assert_non_null(tide_heap_take(h, BYTES)); /* all of it has become one again */
    tide_heap_destroy(h);
}

struct block {
    uint8_t *at;
    size_t size;
    uint8_t fill;
};

/* Random blocks against what they should hold: nobody writes into another's, a new one is zero, at the end all is one. */
static void test_against_a_model(void **state)
{
    struct tide_heap *h = tide_heap_create(1 << 18);
    struct tide_random r = {7};
    static struct block blocks[256];
    size_t full = 0;
    for (unsigned round = 0; round < 40000; round++) {
        struct block *b = &blocks[tide_random_below(&r, 256)];
        if (b->at == NULL) {
            b->size = (size_t)1 << tide_random_below(&r, 15);
            b->size += tide_random_below(&r, b->size);
            b->fill = (uint8_t)(1 + tide_random_below(&r, 255));
            b->at = tide_heap_take(h, b->size);
            full += b->at == NULL;
            for (size_t i = 0; b->at != NULL && i < b->size; i++)
                assert_int_equal(b->at[i], 0);
            if (b->at != NULL)
                memset(b->at, b->fill, b->size);
        } else {
            for (size_t i = 0; i < b->size; i++)
                assert_int_equal(b->at[i], b->fill);
            tide_heap_give(h, b->at);
            b->at = NULL;
        }
        if (round % 64 == 0)
            tide_heap_check(h);
    }
    assert_true(full > 100);
    for (unsigned i = 0; i < 256; i++)
        tide_heap_give(h, blocks[i].at);
    tide_heap_check(h);
    assert_int_equal(tide_heap_free_bytes(h), tide_heap_bytes(h));
    assert_non_null(tide_heap_take(h, 1 << 18));
    tide_heap_destroy(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_full_of_the_smallest),
        cmocka_unit_test(test_against_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
