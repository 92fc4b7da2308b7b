/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a core remembers of fetch sessions: finding, order, who has to go, and that nothing leaks.
 */
#include <stdio.h>

#include "broker/fetch_session.h"
#include "tidemark/random.h"
#include "unit.h"

#define SECOND TIDE_NS_PER_S

static struct fetch_sessions *all;

static int teardown(void **state)
{
    fetch_sessions_check(all);
    fetch_sessions_destroy(all);
    all = NULL;
    return 0;
}

static void begin(uint32_t sessions, uint32_t partitions)
{
    all = fetch_sessions_create(sessions, partitions, 3, 42);
    assert_non_null(all);
}

static struct fetch_topic_key named(const char *name)
{
    return (struct fetch_topic_key){.name = name, .name_len = (uint16_t)strlen(name)};
}

static struct fetch_session_partition *put(struct fetch_session *s, const char *name, int32_t index, int64_t offset)
{
    struct fetch_topic_key k = named(name);
    struct fetch_session_partition *p = fetch_session_put(all, s, &k, &(struct fetch_session_partition){.index = index, .offset = offset});
    fetch_sessions_check(all);
    return p;
}

static void forget(struct fetch_session *s, const char *name, int32_t index)
{
    struct fetch_topic_key k = named(name);
    fetch_session_forget(all, s, &k, index);
    fetch_sessions_check(all);
}

/* As "a0 a1 b0". */
static void order_is(struct fetch_session *s, const char *expected)
{
    char text[256] = "";
    struct fetch_session_partition *p = NULL;
    while ((p = fetch_session_next(all, s, p)) != NULL) {
        struct fetch_topic_key k;
        size_t n = strlen(text);
        fetch_session_topic(all, p, &k);
        snprintf(text + n, sizeof(text) - n, "%s%.*s%d", n != 0 ? " " : "", k.name_len, k.name, (int)p->index);
    }
    assert_string_equal(text, expected);
}

/* A session of `size` partitions. */
static int32_t sized(uint64_t now_ns, uint32_t size)
{
    struct fetch_session *s = fetch_session_open(all, now_ns, false, size);
    if (s == NULL)
        return 0;
    for (uint32_t i = 0; i < size; i++)
        assert_non_null(put(s, "t", (int32_t)i, 0));
    return fetch_session_id(s);
}

static uint32_t count(void)
{
    struct fetch_session_counts c;
    fetch_sessions_count(all, &c);
    return c.sessions;
}

static void test_order(void **state)
{
    begin(4, 100);
    struct fetch_session *s = fetch_session_open(all, 0, false, 4);
    struct fetch_session_partition *a0 = put(s, "a", 0, 5);
    put(s, "a", 1, 0);
    struct fetch_session_partition *b0 = put(s, "b", 0, 0);
    order_is(s, "a0 a1 b0");
    assert_ptr_equal(put(s, "a", 0, 9), a0); /* where it stands */
    assert_int_equal(a0->offset, 9);
    order_is(s, "a0 a1 b0");
    fetch_session_rotate(all, a0);
    order_is(s, "a1 b0 a0");
    fetch_session_rotate(all, a0);
    order_is(s, "a1 b0 a0");
    fetch_session_rotate(all, b0);
    order_is(s, "a1 a0 b0");
    forget(s, "a", 0);
    forget(s, "a", 0);
    forget(s, "c", 0);
    order_is(s, "a1 b0");
    forget(s, "b", 0);
    forget(s, "a", 1);
    order_is(s, "");
    assert_int_equal(fetch_session_size(s), 0);
    put(s, "b", 0, 0);
    order_is(s, "b0");
}

static void test_ids_and_epochs(void **state)
{
    begin(4, 100);
    struct fetch_session *s = fetch_session_open(all, 0, true, 1);
    int32_t id = fetch_session_id(s);
    assert_true(id > 0);
    assert_int_equal(id & 31, 3); /* the core's number */
    assert_int_equal(fetch_session_epoch(s), 1);
    fetch_session_taken(all, s, 1);
    assert_int_equal(fetch_session_epoch(s), 2);
    assert_int_equal(fetch_session_epoch_after(INT32_MAX - 1), INT32_MAX);
    assert_int_equal(fetch_session_epoch_after(INT32_MAX), 1);
    assert_true(fetch_session_is_by_id(s));
    assert_ptr_equal(fetch_session_find(all, id), s);
    assert_null(fetch_session_find(all, id + 32));
    assert_null(fetch_session_find(all, 0));
    assert_null(fetch_session_find(all, -id));
    fetch_session_close(all, s);
    assert_null(fetch_session_find(all, id));
}

/* Topics by name and by id are not the same, nor are those of two sessions. */
static void test_keys(void **state)
{
    struct fetch_topic_key id = {.by_id = true, .id = {"a"}};
    struct fetch_topic_key empty = {.name = ""};
    begin(4, 100);
    struct fetch_session *s = fetch_session_open(all, 0, false, 1), *other = fetch_session_open(all, 0, false, 1);
    struct fetch_session_partition *p = put(s, "a", 0, 0);
    assert_ptr_not_equal(put(other, "a", 0, 0), p);
    assert_ptr_not_equal(fetch_session_put(all, s, &id, &(struct fetch_session_partition){0}), p);
    assert_non_null(fetch_session_put(all, s, &empty, &(struct fetch_session_partition){0}));
    assert_int_equal(fetch_session_size(s), 3);
    forget(other, "a", 0);
    order_is(other, "");
    assert_int_equal(fetch_session_size(s), 3);
}

static void test_no_room(void **state)
{
    begin(0, 100);
    assert_null(fetch_session_open(all, 0, false, 1));
    fetch_sessions_destroy(all);
    begin(2, 10);
    assert_null(fetch_session_open(all, 0, false, 0));
    assert_null(fetch_session_open(all, 0, false, 11));
    int32_t a = sized(0, 6);
    assert_int_equal(sized(SECOND, 5), 0); /* memory */
    int32_t b = sized(SECOND, 4);
    assert_int_equal(sized(2 * SECOND, 9), 0); /* both are in use */
    assert_null(put(fetch_session_find(all, b), "more", 0, 0));
    assert_int_equal(count(), 2);
    /* a was not used for so long: it goes. */
    assert_int_equal(sized(120 * SECOND - 1, 1), 0);
    int32_t c = sized(120 * SECOND, 1);
    assert_true(c != 0);
    assert_null(fetch_session_find(all, a));
    assert_non_null(fetch_session_find(all, b));
}

/* Who is used stays; the smallest of the old ones goes for a larger one, and only for a larger one. */
static void test_eviction(void **state)
{
    begin(3, 100);
    int32_t a = sized(0, 5), b = sized(0, 3), c = sized(100 * SECOND, 1);
    for (uint64_t t = 1; t <= 119; t++) {
        fetch_session_taken(all, fetch_session_find(all, a), t * SECOND);
        fetch_session_taken(all, fetch_session_find(all, b), t * SECOND);
    }
    assert_int_equal(sized(119 * SECOND, 90), 0); /* nobody is old yet */
    assert_int_equal(sized(121 * SECOND, 3), 0);  /* b is as large */
    int32_t d = sized(121 * SECOND, 4);
    assert_true(d != 0);
    assert_null(fetch_session_find(all, b));
    assert_non_null(fetch_session_find(all, a));
    assert_non_null(fetch_session_find(all, c)); /* small, but young */
    assert_int_equal(sized(122 * SECOND, 5), 0);
}

/* Who has to go is not looked for among all of them: a fetch that finds no room costs no more with a thousand sessions. */
static void test_eviction_looks_at_few(void **state)
{
    enum { SESSIONS = 100, LOOKED_AT = 64 };
    int32_t id[SESSIONS];
    begin(SESSIONS, 1000);
    for (uint32_t i = 0; i < SESSIONS; i++)
        id[i] = sized(0, i == LOOKED_AT ? 1 : 2);
    for (uint32_t i = 0; i < SESSIONS; i++)
        fetch_session_taken(all, fetch_session_find(all, id[i]), 100 * SECOND + i);
    assert_int_equal(sized(130 * SECOND, 2), 0); /* the smaller one is behind them */
    fetch_session_taken(all, fetch_session_find(all, id[0]), 130 * SECOND);
    assert_true(sized(130 * SECOND, 2) != 0);
    assert_null(fetch_session_find(all, id[LOOKED_AT]));
}

/* Anything at all, against a list of what there should be. */
static void test_random(void **state)
{
    enum { SESSIONS = 8, PARTITIONS = 40, TOPICS = 5, INDEXES = 4 };
    struct tide_random r = {.state = 7};
    int32_t ids[SESSIONS] = {0};
    bool has[SESSIONS][TOPICS][INDEXES] = {0};
    uint32_t used = 0;
    begin(SESSIONS, PARTITIONS);
    for (unsigned step = 0; step < 20000; step++) {
        uint32_t i = (uint32_t)tide_random_below(&r, SESSIONS);
        uint32_t t = (uint32_t)tide_random_below(&r, TOPICS), x = (uint32_t)tide_random_below(&r, INDEXES);
        char name[8];
        snprintf(name, sizeof(name), "t%u", t);
        if (ids[i] == 0) {
            struct fetch_session *s = used < PARTITIONS ? fetch_session_open(all, 0, false, 1) : NULL;
            ids[i] = s != NULL ? fetch_session_id(s) : 0;
            continue;
        }
        struct fetch_session *s = fetch_session_find(all, ids[i]);
        assert_non_null(s);
        if (tide_random_hits(&r, 50)) {
            used -= fetch_session_size(s);
            fetch_session_close(all, s);
            memset(has[i], 0, sizeof(has[i]));
            ids[i] = 0;
        } else if (tide_random_hits(&r, 3)) {
            forget(s, name, (int32_t)x);
            used -= has[i][t][x];
            has[i][t][x] = false;
        } else {
            struct fetch_session_partition *p = put(s, name, (int32_t)x, step);
            assert_int_equal(p == NULL, used == PARTITIONS && !has[i][t][x]);
            if (p == NULL)
                continue;
            used += !has[i][t][x];
            has[i][t][x] = true;
            fetch_session_rotate(all, p);
        }
        uint32_t expected = 0;
        for (unsigned k = 0; k < TOPICS * INDEXES; k++)
            expected += has[i][k / INDEXES][k % INDEXES];
        if (ids[i] != 0)
            assert_int_equal(fetch_session_size(s), expected);
    }
}

#define TEST(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_order), TEST(test_ids_and_epochs), TEST(test_keys), TEST(test_no_room), TEST(test_eviction),
        TEST(test_eviction_looks_at_few), TEST(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
