/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "partition/producer.h"
#include "tidemark/bytes.h"
#include "tidemark/random.h"
#include "tidemark/types.h"

enum { SNAPSHOT_CAP = 8192, HEAD = 10, ENTRY = 46 };

static struct batch_header batch(int64_t id, int16_t epoch, int32_t sequence, int32_t count)
{
    return (struct batch_header){.producer_id = id,
                                 .producer_epoch = epoch,
                                 .base_sequence = sequence,
                                 .last_offset_delta = count - 1,
                                 .record_count = count,
                                 .max_timestamp = 1234};
}

static void append(struct producers *p, int64_t id, int16_t epoch, int32_t sequence, int32_t count, int64_t offset, int64_t now_ms)
{
    struct batch_header h = batch(id, epoch, sequence, count);
    producer_appended(p, &h, offset, now_ms);
    producers_check(p);
}

static enum producer_verdict judge(const struct producers *p, int64_t id, int16_t epoch, int32_t sequence, int32_t count)
{
    struct batch_header h = batch(id, epoch, sequence, count);
    int64_t first;
    return producer_judge(p, &h, &first);
}

/* Producer 7, epoch 2: sequences 0..2 at offset 100, 3..3 at 200. */
static struct producers *one_known(void)
{
    struct producers *p = producers_create(8);
    assert_non_null(p);
    append(p, 7, 2, 0, 3, 100, 10);
    append(p, 7, 2, 3, 1, 200, 10);
    return p;
}

static void test_verdicts(void **state)
{
    static const struct {
        const char *name;
        int64_t id;
        int16_t epoch;
        int32_t sequence, count;
        enum producer_verdict verdict;
    } cases[] = {
        {"no producer", -1, -1, -1, 1, PRODUCER_NONE},
        {"unknown", 8, 0, 0, 1, PRODUCER_UNKNOWN},
        {"unknown, in the middle", 8, 5, 77, 1, PRODUCER_UNKNOWN},
        {"next", 7, 2, 4, 5, PRODUCER_NEXT},
        {"the newest again", 7, 2, 3, 1, PRODUCER_DUPLICATE},
        {"an older one again", 7, 2, 0, 3, PRODUCER_DUPLICATE},
        {"a part of an older one", 7, 2, 0, 2, PRODUCER_GAP},
        {"another cut of what was written", 7, 2, 1, 2, PRODUCER_GAP},
        {"one missing", 7, 2, 5, 1, PRODUCER_GAP},
        {"from the start again", 7, 2, 0, 1, PRODUCER_GAP},
        {"an old epoch", 7, 1, 4, 1, PRODUCER_OLD_EPOCH},
        {"an old epoch with known sequences", 7, 1, 3, 1, PRODUCER_OLD_EPOCH},
        {"a new epoch", 7, 3, 0, 1, PRODUCER_NEW_EPOCH},
        {"a new epoch that goes on", 7, 3, 4, 1, PRODUCER_NEW_EPOCH_GAP},
        {"a new epoch with known sequences", 7, 3, 3, 1, PRODUCER_NEW_EPOCH_GAP},
    };
    struct producers *p = one_known();
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        enum producer_verdict got = judge(p, cases[i].id, cases[i].epoch, cases[i].sequence, cases[i].count);
        if (got != cases[i].verdict)
            fail_msg("%s: %s", cases[i].name, producer_verdict_names[got]);
    }
    assert_int_equal(producers_count(p), 1);
    producers_destroy(p);
}

static void test_a_duplicate_gives_the_first_offset(void **state)
{
    struct producers *p = one_known();
    struct batch_header h = batch(7, 2, 0, 3);
    int64_t first = -1;
    assert_int_equal(producer_judge(p, &h, &first), PRODUCER_DUPLICATE);
    assert_int_equal(first, 100);
    h = batch(7, 2, 3, 1);
    assert_int_equal(producer_judge(p, &h, &first), PRODUCER_DUPLICATE);
    assert_int_equal(first, 200);
    producers_destroy(p);
}

static void test_five_batches_are_remembered(void **state)
{
    struct producers *p = producers_create(4);
    for (int32_t i = 0; i < 20; i++) {
        append(p, 1, 0, i * 10, 10, i * 10, 1);
        for (int32_t k = 0; k <= i; k++)
            assert_int_equal(judge(p, 1, 0, k * 10, 10), k > i - PRODUCER_WINDOW ? PRODUCER_DUPLICATE : PRODUCER_GAP);
        assert_int_equal(judge(p, 1, 0, (i + 1) * 10, 1), PRODUCER_NEXT);
    }
    producers_destroy(p);
}

static void test_sequences_wrap_to_zero(void **state)
{
    static const struct {
        int32_t sequence, count, next;
    } cases[] = {
        {INT32_MAX, 1, 0},
        {INT32_MAX - 4, 5, 0},
        {INT32_MAX - 1, 5, 3}, /* wraps within the batch */
        {INT32_MAX - 1, 1, INT32_MAX},
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        struct producers *p = producers_create(4);
        append(p, 1, 0, cases[i].sequence, cases[i].count, 50, 1);
        assert_int_equal(judge(p, 1, 0, cases[i].next, 1), PRODUCER_NEXT);
        assert_int_equal(judge(p, 1, 0, cases[i].next + (cases[i].next < INT32_MAX), 2),
                         cases[i].next < INT32_MAX ? PRODUCER_GAP : PRODUCER_NEXT);
        assert_int_equal(judge(p, 1, 0, cases[i].sequence, cases[i].count), PRODUCER_DUPLICATE);
        producers_destroy(p);
    }
}

static void test_a_new_epoch_forgets_the_old_one(void **state)
{
    struct producers *p = one_known();
    append(p, 7, 3, 0, 2, 300, 20);
    assert_int_equal(judge(p, 7, 3, 0, 2), PRODUCER_DUPLICATE);
    assert_int_equal(judge(p, 7, 3, 0, 3), PRODUCER_GAP);
    assert_int_equal(judge(p, 7, 3, 3, 1), PRODUCER_GAP);
    assert_int_equal(judge(p, 7, 3, 2, 1), PRODUCER_NEXT);
    assert_int_equal(judge(p, 7, 2, 4, 1), PRODUCER_OLD_EPOCH);
    assert_int_equal(producers_count(p), 1);
    producers_destroy(p);
}

static void test_the_most_silent_is_forgotten(void **state)
{
    struct producers *p = producers_create(4);
    for (int64_t id = 0; id < 4; id++)
        append(p, id, 0, 0, 1, id, 100 + (id + 2) % 4); /* 2 is the oldest */
    append(p, 9, 0, 0, 1, 50, 200);
    assert_int_equal(producers_count(p), 4);
    for (int64_t id = 0; id < 4; id++)
        assert_int_equal(judge(p, id, 0, 1, 1), id == 2 ? PRODUCER_UNKNOWN : PRODUCER_NEXT);
    assert_int_equal(judge(p, 9, 0, 1, 1), PRODUCER_NEXT);
    producers_destroy(p);
}

static void test_expiry(void **state)
{
    struct producers *p = producers_create(16);
    for (int64_t id = 0; id < 10; id++)
        append(p, id, 0, 0, 1, id, 100 + id);
    producers_expire(p, 103, 3); /* goes round in portions */
    producers_expire(p, 103, 16);
    producers_check(p);
    assert_int_equal(producers_count(p), 7);
    assert_int_equal(judge(p, 2, 0, 1, 1), PRODUCER_UNKNOWN);
    assert_int_equal(judge(p, 3, 0, 1, 1), PRODUCER_NEXT);
    append(p, 4, 0, 1, 1, 20, 500); /* a sign of life */
    producers_expire(p, 500, 16);
    assert_int_equal(producers_count(p), 1);
    producers_loaded(p, 1000);
    producers_expire(p, 1000, 16);
    assert_int_equal(producers_count(p), 1);
    producers_expire(p, 1001, 16);
    assert_int_equal(producers_count(p), 0);
    producers_check(p);
    producers_destroy(p);
}

static void test_many_come_and_go(void **state)
{
    struct producers *p = producers_create(50);
    struct tide_random r = {3};
    int32_t next[200] = {0};
    for (int64_t step = 0; step < 20000; step++) {
        size_t id = (size_t)tide_random_below(&r, 200);
        enum producer_verdict v = judge(p, (int64_t)id, 0, next[id], 1);
        assert_true(v == PRODUCER_NEXT || v == PRODUCER_UNKNOWN);
        struct batch_header h = batch((int64_t)id, 0, next[id]++, 1);
        producer_appended(p, &h, step, step);
        if (step % 64 == 0) {
            producers_expire(p, step - 300, 20);
            producers_check(p);
        }
        assert_true(producers_count(p) <= 50);
    }
    producers_destroy(p);
}

/* ---- snapshots ------------------------------------------------------------------------------------- */

static void test_snapshot_there_and_back(void **state)
{
    uint8_t bytes[SNAPSHOT_CAP];
    struct producers *p = producers_create(64);
    struct producers *q = producers_create(64);
    for (int64_t id = 0; id < 40; id++)
        append(p, id * 1000003, (int16_t)(id % 5), (int32_t)id, 3, id * 10, 5);
    append(p, 1000003, 9, 0, 1, 999, 5);
    append(q, 77, 0, 0, 1, 1, 1); /* is replaced */
    size_t len = producers_snapshot(p, bytes, sizeof(bytes));
    assert_int_equal(len, producers_snapshot_size(p));
    assert_int_equal(len, HEAD + 40 * ENTRY);
    assert_int_equal(producers_restore(q, bytes, len, 8), TIDE_OK);
    producers_check(q);
    assert_int_equal(producers_count(q), 40);
    assert_int_equal(judge(q, 77, 0, 1, 1), PRODUCER_UNKNOWN);
    for (int64_t id = 2; id < 40; id++) {
        int64_t first;
        struct batch_header h = batch(id * 1000003, (int16_t)(id % 5), (int32_t)id, 3);
        assert_int_equal(producer_judge(q, &h, &first), PRODUCER_DUPLICATE);
        assert_int_equal(first, id * 10);
        assert_int_equal(judge(q, id * 1000003, (int16_t)(id % 5), (int32_t)id + 3, 1), PRODUCER_NEXT);
    }
    assert_int_equal(judge(q, 1000003, 9, 1, 1), PRODUCER_NEXT);
    producers_expire(q, 8, 64);
    assert_int_equal(producers_count(q), 40);
    producers_expire(q, 9, 64);
    assert_int_equal(producers_count(q), 0);
    producers_destroy(p);
    producers_destroy(q);
}

static void test_snapshot_bytes(void **state)
{
    static const uint8_t want[HEAD + ENTRY] = {
        0, 1,                   /* version */
        0, 0, 0, 0,             /* the checksum, looked at below */
        0, 0, 0, 1,             /* entries */
        0, 0, 0, 0, 0, 0, 0, 7, /* producer id */
        0, 2,                   /* epoch */
        0, 0, 0, 3,             /* last sequence */
        0, 0, 0, 0, 0, 0, 0, 200, /* last offset */
        0, 0, 0, 0,             /* offset delta */
        0, 0, 0, 0, 0, 0, 4, 210, /* timestamp 1234 */
        0xff, 0xff, 0xff, 0xff, /* coordinator epoch */
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    };
    uint8_t bytes[SNAPSHOT_CAP];
    struct producers *p = producers_create(8);
    append(p, 7, 2, 3, 1, 200, 5);
    assert_int_equal(producers_snapshot(p, bytes, sizeof(want) - 1), 0);
    assert_int_equal(producers_snapshot(p, bytes, sizeof(want)), sizeof(want));
    assert_true(load_be32(bytes + 2) == batch_crc_update(0, bytes + 6, sizeof(want) - 6));
    store_be32(bytes + 2, 0);
    assert_memory_equal(bytes, want, sizeof(want));
    producers_destroy(p);
}

/* Five batches were on their way when the broker stopped, and all of them come again. */
static void test_a_snapshot_has_the_window(void **state)
{
    uint8_t bytes[SNAPSHOT_CAP];
    struct producers *p = producers_create(8);
    struct producers *q = producers_create(8);
    for (int32_t n = 0; n < 7; n++) {
        append(p, 1, 0, 3 * n, 3, 100 + 3 * n, 5);
        append(p, 2, 4, n, 1, 200 + n, 5);
    }
    size_t len = producers_snapshot(p, bytes, sizeof(bytes));
    assert_int_equal(len, HEAD + 2 * PRODUCER_WINDOW * ENTRY);
    assert_int_equal(producers_restore(q, bytes, len, 8), TIDE_OK);
    producers_check(q);
    assert_int_equal(producers_count(q), 2);
    for (int32_t n = 2; n < 7; n++) {
        struct batch_header h = batch(1, 0, 3 * n, 3);
        int64_t first;
        assert_int_equal(producer_judge(q, &h, &first), PRODUCER_DUPLICATE);
        assert_int_equal(first, 100 + 3 * n);
        assert_int_equal(judge(q, 2, 4, n, 1), PRODUCER_DUPLICATE);
    }
    assert_int_equal(judge(q, 1, 0, 3, 3), PRODUCER_GAP);
    assert_int_equal(judge(q, 1, 0, 21, 3), PRODUCER_NEXT);
    producers_destroy(p);
    producers_destroy(q);
}

static void test_an_empty_snapshot(void **state)
{
    uint8_t bytes[HEAD];
    struct producers *p = producers_create(4);
    assert_int_equal(producers_snapshot(p, bytes, sizeof(bytes)), HEAD);
    append(p, 1, 0, 0, 1, 0, 0);
    assert_int_equal(producers_restore(p, bytes, sizeof(bytes), 1), TIDE_OK);
    assert_int_equal(producers_count(p), 0);
    producers_destroy(p);
}

/* Refused, and what was known stays. */
static void refused(struct producers *p, const uint8_t *bytes, size_t len)
{
    uint8_t *exact = malloc(len != 0 ? len : 1);
    assert_non_null(exact);
    memcpy(exact, bytes, len);
    assert_int_equal(producers_restore(p, exact, len, 1), TIDE_BAD);
    assert_int_equal(producers_count(p), 1);
    assert_int_equal(judge(p, 7, 2, 4, 1), PRODUCER_NEXT);
    producers_check(p);
    free(exact);
}

static void test_damaged_snapshots(void **state)
{
    uint8_t bytes[SNAPSHOT_CAP];
    struct producers *p = one_known();
    struct producers *q = producers_create(8);
    append(q, 1, 0, 0, 1, 0, 0);
    append(q, 2, 0, 0, 1, 1, 0);
    size_t len = producers_snapshot(q, bytes, sizeof(bytes));
    for (size_t cut = 0; cut < len; cut++)
        refused(p, bytes, cut);
    bytes[len] = 0;
    refused(p, bytes, len + 1);
    for (size_t bit = 0; bit < len * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        refused(p, bytes, len);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(producers_restore(p, bytes, len, 1), TIDE_OK);
    assert_int_equal(producers_count(p), 2);
    producers_destroy(p);
    producers_destroy(q);
}

/* More producers than the table holds: some are forgotten, nothing breaks. */
static void test_a_snapshot_larger_than_the_table(void **state)
{
    uint8_t bytes[SNAPSHOT_CAP];
    struct producers *p = producers_create(100);
    struct producers *q = producers_create(10);
    for (int64_t id = 0; id < 100; id++)
        append(p, id, 0, 0, 1, id, id);
    size_t len = producers_snapshot(p, bytes, sizeof(bytes));
    assert_int_equal(producers_restore(q, bytes, len, 1), TIDE_OK);
    assert_int_equal(producers_count(q), 10);
    producers_check(q);
    producers_destroy(p);
    producers_destroy(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_a_duplicate_gives_the_first_offset),
        cmocka_unit_test(test_five_batches_are_remembered),
        cmocka_unit_test(test_sequences_wrap_to_zero),
        cmocka_unit_test(test_a_new_epoch_forgets_the_old_one),
        cmocka_unit_test(test_the_most_silent_is_forgotten),
        cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_many_come_and_go),
        cmocka_unit_test(test_snapshot_there_and_back),
        cmocka_unit_test(test_snapshot_bytes),
        cmocka_unit_test(test_a_snapshot_has_the_window),
        cmocka_unit_test(test_an_empty_snapshot),
        cmocka_unit_test(test_damaged_snapshots),
        cmocka_unit_test(test_a_snapshot_larger_than_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
