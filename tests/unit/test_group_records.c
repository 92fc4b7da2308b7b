/* SPDX-License-Identifier: Apache-2.0 */
/* Records of __consumer_offsets: replay is total, and what is written says all there is to know. */
#include "group_world.h"

#include "kafka/batch.h"
#include "tidemark/bytes.h"
#include "tidemark/random.h"

static struct group_world w;

static int setup(void **state)
{
    group_world_open(&w);
    return 0;
}

static int teardown(void **state)
{
    group_world_close(&w);
    return 0;
}

/* ---- a life by chance ------------------------------------------------------------------------------------ */

static const char *const names[] = {"a", "b", "c", "d"};

struct known {
    char id[GROUP_WORLD_NAME];
    char group;
    int32_t generation;
};

static void some_step(struct tide_random *r, struct known *known, size_t count)
{
    struct known *k = &known[tide_random_below(r, count)];
    const char *group = names[tide_random_below(r, 4)];
    struct join_got got;
    char part[GROUP_WORLD_NAME];
    uint32_t partition = (uint32_t)tide_random_below(r, 16);
    const char own[2] = {k->group, 0};
    switch (tide_random_below(r, 12)) {
    case 0: /* comes, static at times */
        if (group_world_join(&w, 1, &(struct join_ask){.group = group, .v = 9, .instance = tide_random_hits(r, 3) ? "i" : NULL}) != TIDE_OK)
            break;
        if (group_world_has(&w, 1)) {
            group_world_joined(&w, 1, 9, &got);
            if (got.error == KAFKA_MEMBER_ID_REQUIRED || got.error == 0) {
                strcpy(k->id, got.member);
                k->group = group[0];
                k->generation = got.generation;
            }
        }
        groups_cancel(w.g, COOKIE(1));
        break;
    case 1:
    case 2: /* comes (again) with its id */
        w.log = LOG_TAKES;
        if (k->id[0] == 0 || group_world_join(&w, 2, &(struct join_ask){.group = own, .member = k->id, .v = 9}) != TIDE_OK)
            break;
        group_world_pass(&w, (int64_t)tide_random_below(r, 3) * 30000);
        if (group_world_has(&w, 2)) {
            group_world_joined(&w, 2, 9, &got);
            k->generation = got.generation;
        }
        groups_cancel(w.g, COOKIE(2));
        break;
    case 3:
    case 4:
        if (k->id[0] == 0 || group_world_sync(&w, 3, &(struct sync_ask){.group = own, .member = k->id, .generation = k->generation, .v = 5,
                                                                       .to = {k->id}, .parts = {group}}) != TIDE_OK)
            break;
        if (group_world_has(&w, 3))
            (void)group_world_synced(&w, 3, 5, part);
        groups_cancel(w.g, COOKIE(3));
        break;
    case 5:
        if (k->id[0] != 0 && tide_random_hits(r, 4))
            (void)group_world_leave(&w, own, k->id);
        break;
    case 6:
    case 7: {
        const struct commit_ask o = {.group = own, .member = k->id, .generation = k->generation, .topic = partition % 2 ? "events" : "other", .v = 6,
                                     .partition = (int32_t)partition, .offset = (int64_t)tide_random_below(r, 1000), .metadata = "member's"};
        if (k->id[0] != 0 && group_world_commit_offset(&w, 4, &o) == TIDE_OK)
            (void)group_world_committed(&w, 4, 6);
        break;
    }
    case 8: {
        const struct commit_ask o = {.group = group, .generation = -1, .topic = "events", .partition = (int32_t)partition, .count = 1 + (int32_t)partition / 8,
                                     .offset = (int64_t)tide_random_below(r, 1000), .v = 3, .retention_ms = tide_random_hits(r, 4) ? 3600000 : 0};
        if (group_world_commit_offset(&w, 5, &o) == TIDE_OK)
            (void)group_world_committed(&w, 5, 3);
        break;
    }
    case 9:
        w.log = (enum group_world_log)tide_random_below(r, 3);
        w.log_error = KAFKA_NOT_ENOUGH_REPLICAS;
        w.takes = (uint32_t)tide_random_below(r, 4);
        break;
    case 10:
        w.log = LOG_TAKES;
        group_world_pass(&w, (int64_t)tide_random_below(r, 20) * 10000);
        break;
    default:
        if (tide_random_hits(r, 20)) {
            bool other = tide_random_hits(r, 2);
            group_world_topics(&w, other ? (const char *const[]){"other"} : (const char *const[]){"events", "other"}, (const uint8_t[]){(uint8_t)tide_random_below(r, 3), 2}, other ? 1 : 2);
        } else if (tide_random_hits(r, 30)) {
            w.log = LOG_TAKES; /* or it would be asked every 100 ms for a week */
            group_world_pass(&w, 8LL * 24 * 3600 * 1000);
        }
        break;
    }
}

/* G4: an object that reads what was written knows what its author knows; at every point of a life. */
static void test_replay_says_the_same(void **state)
{
    static struct known known[6];
    uint32_t written = 0, compared = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct tide_random r = {seed};
        memset(known, 0, sizeof(known));
        for (unsigned step = 0; step < 120; step++) {
            some_step(&r, known, 6);
            if (step % 10 != 9)
                continue;
            struct groups *again = group_world_replay(&w, NULL, w.batch_count);
            const struct group *group;
            bool between = false;
            TAILQ_FOREACH (group, &w.g->all, all) /* a generation that is being made is not written yet */
                between |= group->classic.state == CLASSIC_PREPARING || group->classic.state == CLASSIC_COMPLETING;
            if (!between) {
                char *ours = group_world_durable(&w, w.g), *theirs = group_world_durable(&w, again);
                assert_string_equal(ours, theirs);
                free(ours);
                free(theirs);
                compared++;
            }
            groups_destroy(again);
        }
        written += w.batch_count;
        group_world_close(&w);
        group_world_open(&w);
    }
    assert_true(written > 1000);
    assert_true(compared > 150);
}

/* Any order of batches is legal, some twice, some not at all; and a live object goes on from there. */
static void test_replay_in_any_order(void **state)
{
    static struct known known[6];
    static uint32_t order[2 * GROUP_WORLD_BATCHES];
    struct tide_random r = {99};
    for (unsigned step = 0; step < 800; step++)
        some_step(&r, known, 6);
    assert_true(w.batch_count > 30);
    for (unsigned round = 0; round < 50; round++) {
        uint32_t count = 1 + (uint32_t)tide_random_below(&r, w.batch_count);
        for (uint32_t i = 0; i < count; i++)
            order[i] = (uint32_t)tide_random_below(&r, w.batch_count);
        struct groups *other = group_world_replay(&w, order, count), *mine = w.g;
        groups_loaded(other, &w.now, w.log_end);
        groups_check(other);
        w.g = other;
        w.log = LOG_REFUSES;
        group_world_pass(&w, 100000);
        groups_check(other);
        w.g = mine;
        groups_destroy(other);
    }
}

/* ---- records one by one --------------------------------------------------------------------------------------- */

static void feed(struct groups *g, const uint8_t *key, int32_t key_len, const uint8_t *value, int32_t value_len)
{
    static uint8_t bytes[4096];
    struct tide_rope r = {0};
    struct batch_build_record record = {.timestamp = 1, .key = key, .key_len = key_len, .value = value, .value_len = value_len};
    size_t len = batch_build(bytes, sizeof(bytes), &record, 1, -1, -1, -1);
    tide_rope_push(&r, unit_exact_mbuf(w.pool, bytes, (uint16_t)len));
    assert_int_equal(groups_replay(g, &w.now, tide_rope_slice(&r, 0, r.len)), TIDE_OK);
    tide_rope_clear(&r);
    groups_check(g);
}

#define FEED(g, key, value) feed(g, (const uint8_t *)(key), sizeof(key) - 1, (const uint8_t *)(value), sizeof(value) - 1)
#define TOMB(g, key) feed(g, (const uint8_t *)(key), sizeof(key) - 1, NULL, 0)
#define OFFSET_KEY "\0\1" "\0\1g" "\0\6events" "\0\0\0\3"

/* Every version of an offset's value. */
static void test_offset_versions(void **state)
{
    struct groups *g = group_world_replay(&w, NULL, 0);
    char *t;
    FEED(g, OFFSET_KEY, "\0\0" "\0\0\0\0\0\0\0\7" "\0\1m" "\0\0\0\0\0\0\0\5");
    t = group_world_durable(&w, g);
    assert_string_equal(t, "g/events/3: 7 epoch -1 at 5 until -1 id 0 \"m\"\n");
    free(t);
    FEED(g, OFFSET_KEY, "\0\1" "\0\0\0\0\0\0\0\7" "\0\1m" "\0\0\0\0\0\0\0\5" "\0\0\0\0\0\0\0\x9");
    t = group_world_durable(&w, g);
    assert_string_equal(t, "g/events/3: 7 epoch -1 at 5 until 9 id 0 \"m\"\n");
    free(t);
    FEED(g, OFFSET_KEY, "\0\3" "\0\0\0\0\0\0\0\x8" "\0\0\0\2" "\0\0" "\0\0\0\0\0\0\0\5");
    t = group_world_durable(&w, g);
    assert_string_equal(t, "g/events/3: 8 epoch 2 at 5 until -1 id 0 \"null\"\n");
    free(t);
    FEED(g, OFFSET_KEY, "\0\4" "\0\0\0\0\0\0\0\x8" "\0\0\0\2" "\2x" "\0\0\0\0\0\0\0\5" "\1\0\x10" "\7\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    t = group_world_durable(&w, g);
    assert_string_equal(t, "g/events/3: 8 epoch 2 at 5 until -1 id 7 \"x\"\n");
    free(t);
    assert_int_equal(g->gauges.skipped_records, 0);
    TOMB(g, OFFSET_KEY);
    assert_int_equal(g->gauges.groups, 0);
    FEED(g, "\0\0" "\0\1g" "\0\6events" "\0\0\0\3", "\0\0" "\0\0\0\0\0\0\0\7" "\0\1m" "\0\0\0\0\0\0\0\5"); /* a very old one */
    assert_int_equal(g->gauges.offsets, 1);
    groups_destroy(g);
}

/* What cannot be understood is skipped and counted, tombstones of nothing are nothing. */
static void test_strange_records(void **state)
{
    struct groups *g = group_world_replay(&w, NULL, 0);
    TOMB(g, OFFSET_KEY);
    TOMB(g, "\0\2" "\0\1g");
    assert_int_equal(g->gauges.skipped_records, 0);
    FEED(g, "\0\x11" "\0\1g", "\0\0");            /* a type of tomorrow */
    FEED(g, "\0\x9" "\0\1g", "\0\0");             /* and one without a row */
    FEED(g, "\xff\xff" "\0\1g", "\0\0");
    FEED(g, "\0", "\0\0");                         /* short keys */
    FEED(g, "\0\1" "\0\1g", "\0\3");
    FEED(g, OFFSET_KEY "x", "\0\0");              /* and long ones */
    FEED(g, OFFSET_KEY, "\0\x9");                  /* a version of tomorrow */
    FEED(g, OFFSET_KEY, "\0\3" "\0\0");
    FEED(g, OFFSET_KEY, "\0\0" "\xff\xff\xff\xff\xff\xff\xff\xff" "\0\1m" "\0\0\0\0\0\0\0\5"); /* -1 is no offset */
    FEED(g, "\0\2" "\0\1g", "\0\3" "\0\0");
    assert_int_equal(g->gauges.skipped_records, 10);
    assert_int_equal(g->gauges.groups, 0);
    groups_destroy(g);
}

/* A group's record as Kafka before 2.3 has written it, with what never comes from a healthy coordinator. */
static void test_group_versions(void **state)
{
#define GROUP_HEAD "\0\x8" "consumer" "\0\0\0\5" "\0\5range"
#define MEMBER(id) "\0\1" id "\0\1c" "\0\2/h"
    struct groups *g = group_world_replay(&w, NULL, 0);
    FEED(g, "\0\2" "\0\1g", "\0\0" GROUP_HEAD "\0\1b" "\0\0\0\2" MEMBER("a") "\0\0\x27\x10" "\0\0\0\1s" "\0\0\0\1A" MEMBER("b") "\0\0\x27\x10" "\0\0\0\1s" "\0\0\0\1B");
    assert_int_equal(g->gauges.members, 2);
    const struct group *group = TAILQ_FIRST(&g->all);
    assert_memory_equal(group->classic.leader->id->at, "b", 1);
    assert_int_equal(group->classic.state_ms, -1);
    assert_int_equal(group->classic.leader->rebalance_ms, 10000);
    FEED(g, "\0\2" "\0\1g", "\0\1" GROUP_HEAD "\0\1z" "\0\0\0\2" MEMBER("a") "\0\0\0\1" "\0\0\x27\x10" "\0\0\0\1s" "\0\0\0\1A" MEMBER("a") "\0\0\0\1" "\0\0\x27\x10" "\0\0\0\1s" "\0\0\0\1B");
    assert_int_equal(g->gauges.members, 1); /* the same id twice is one; a leader that is not there is none */
    assert_null(group->classic.leader);
    FEED(g, "\0\2" "\0\1g", "\0\2" "\0\x8" "consumer" "\0\0\0\6" "\xff\xff" "\xff\xff" "\0\0\0\0\0\0\0\x11" "\0\0\0\1" MEMBER("a") "\0\0\0\1" "\xff\xff\xff\xff" "\0\0\0\1s" "\0\0\0\1A");
    assert_int_equal(group->classic.state_ms, 17); /* no protocol, a session of less than nothing */
    groups_loaded(g, &w.now, 0);
    groups_check(g);
    struct groups *before = w.g;
    w.g = g;
    struct join_got got;
    struct wire_writer b; /* nothing breaks */
    group_world_begin(&w, &b);
    wire_put_i32(&b, 1);
    wire_put_string(&b, false, "g", 1);
    assert_int_equal(group_world_ask(&w, KAFKA_API_DESCRIBE_GROUPS, 0, 0, 2, &b), TIDE_OK);
    struct groups_answer a = group_world_take(&w, 2);
    tide_rope_clear(&a.body);
    assert_int_equal(group_world_join(&w, 1, &(struct join_ask){.group = "g", .v = 3, .protocols = {""}}), TIDE_OK);
    group_world_pass(&w, 60000);
    if (group_world_has(&w, 1))
        group_world_joined(&w, 1, 3, &got);
    w.g = before;
    groups_destroy(g);
}

/* Batches that are not of this coordinator's making. */
static void test_strange_batches(void **state)
{
    static const struct {
        int16_t attributes;
        int8_t magic;
    } rows[] = {{CODEC_ZSTD, 2}, {BATCH_CONTROL, 2}, {BATCH_TRANSACTIONAL, 2}, {0, 1}};
    struct groups *g = group_world_replay(&w, NULL, 0);
    static uint8_t bytes[200];
    struct batch_build_record record = {.timestamp = 1, .key = OFFSET_KEY, .key_len = sizeof(OFFSET_KEY) - 1, .value = NULL};
    size_t len = batch_build(bytes, sizeof(bytes), &record, 1, -1, -1, -1);
    for (size_t i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        struct tide_rope r = {0};
        store_be16(bytes + BATCH_ATTRIBUTES, (uint16_t)rows[i].attributes);
        bytes[BATCH_MAGIC] = (uint8_t)rows[i].magic;
        tide_rope_push(&r, unit_exact_mbuf(w.pool, bytes, (uint16_t)len));
        assert_int_equal(groups_replay(g, &w.now, tide_rope_slice(&r, 0, r.len)), TIDE_OK);
        tide_rope_clear(&r);
        assert_int_equal(g->gauges.skipped_records, i + 1);
    }
    bytes[BATCH_MAGIC] = 2;
    store_be16(bytes + BATCH_ATTRIBUTES, 0);
    for (size_t cut = 0; cut < len; cut++) { /* cut off anywhere: no step outside */
        struct tide_rope r = {0};
        if (cut != 0)
            tide_rope_push(&r, unit_exact_mbuf(w.pool, bytes, (uint16_t)cut));
        assert_int_equal(groups_replay(g, &w.now, tide_rope_slice(&r, 0, r.len)), TIDE_OK);
        tide_rope_clear(&r);
    }
    groups_destroy(g);
}

static struct groups *empty_one(void)
{
    struct groups *g = groups_create(&(struct groups_config){.settings = &w.settings, .heap = w.heap, .pool = w.pool});
    assert_non_null(g);
    return g;
}

/* The records of a batch that was compressed: in steps of any size they say what the whole batch says, and what is cut off is no
 * step outside. */
static void test_records_in_steps(void **state)
{
    assert_int_equal(group_world_commits(&w, &(struct commit_ask){.group = "g", .topic = "events", .count = 16, .offset = 1, .generation = -1, .metadata = "m"}), 0);
    const uint8_t *records = w.batches[0].bytes + BATCH_HEADER;
    uint32_t len = w.batches[0].len - BATCH_HEADER;
    char *want = group_world_durable(&w, w.g);
    for (uint32_t max = 1; max < 2 * len; max = max * 3 + 1) {
        struct groups *g = empty_one();
        struct tide_rope r = {0};
        unsigned steps = 0;
        int32_t left = 16;
        tide_rope_push(&r, unit_exact_mbuf(w.pool, records, (uint16_t)(len / 2)));
        tide_rope_push(&r, unit_exact_mbuf(w.pool, records + len / 2, (uint16_t)(len - len / 2)));
        struct tide_slice at = tide_rope_slice(&r, 0, len);
        for (int32_t before = left; left != 0; before = left, steps++) {
            uint32_t from = at.len;
            assert_int_equal(groups_replay_records(g, &w.now, &at, &left, max), TIDE_OK);
            assert_true(left < before);
            assert_true(left == 0 || from - at.len >= max);
            assert_true(max != 1 || left + 1 == before);
        }
        assert_int_equal(at.len, 0);
        assert_int_equal(steps == 1, max >= len);
        assert_int_equal(g->gauges.skipped_records, 0);
        char *got = group_world_durable(&w, g);
        assert_string_equal(got, want);
        free(got);
        tide_rope_clear(&r);
        groups_destroy(g);
    }
    for (uint32_t cut = 0; cut < len; cut++) {
        struct groups *g = empty_one();
        struct tide_rope r = {0};
        int32_t left = 16;
        if (cut != 0)
            tide_rope_push(&r, unit_exact_mbuf(w.pool, records, (uint16_t)cut));
        struct tide_slice at = tide_rope_slice(&r, 0, cut);
        while (left != 0)
            assert_int_equal(groups_replay_records(g, &w.now, &at, &left, 1), TIDE_OK);
        assert_int_equal(g->gauges.skipped_records, 1);
        tide_rope_clear(&r);
        groups_destroy(g);
    }
    free(want);
}

/* A log that is larger than the heap cannot be led here. */
static void test_heap_is_full_while_loading(void **state)
{
    struct tide_heap *mine = w.heap;
    assert_int_equal(group_world_commits(&w, &(struct commit_ask){.group = "g", .topic = "events", .count = 16, .offset = 1, .generation = -1, .metadata = "m"}), 0);
    for (size_t bytes = 1 << 16; bytes <= 1 << 18; bytes *= 2) {
        enum tide_status status = TIDE_FULL;
        w.heap = tide_heap_create(bytes);
        struct groups *g = groups_create(&(struct groups_config){.settings = &w.settings, .heap = w.heap, .pool = w.pool});
        if (g != NULL) {
            void *hog[64];
            unsigned hogs = 0;
            for (size_t size = bytes; size >= 32 && hogs < 64; size /= 2)
                while (hogs < 64 && (hog[hogs] = tide_heap_take(w.heap, size)) != NULL)
                    hogs++;
            struct tide_rope r = {0};
            tide_rope_push(&r, unit_exact_mbuf(w.pool, w.batches[0].bytes, (uint16_t)w.batches[0].len));
            for (;;) {
                status = groups_replay(g, &w.now, tide_rope_slice(&r, 0, r.len));
                tide_heap_check(w.heap);
                if (status == TIDE_OK || hogs == 0)
                    break;
                tide_heap_give(w.heap, hog[--hogs]); /* a little more at a time */
            }
            tide_rope_clear(&r);
            while (hogs != 0)
                tide_heap_give(w.heap, hog[--hogs]);
            groups_destroy(g);
            assert_int_equal(status, TIDE_OK);
        }
        assert_int_equal(tide_heap_free_bytes(w.heap), tide_heap_bytes(w.heap));
        tide_heap_destroy(w.heap);
    }
    w.heap = mine;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_replay_says_the_same, setup, teardown),
        cmocka_unit_test_setup_teardown(test_replay_in_any_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_offset_versions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_strange_records, setup, teardown),
        cmocka_unit_test_setup_teardown(test_group_versions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_strange_batches, setup, teardown),
        cmocka_unit_test_setup_teardown(test_records_in_steps, setup, teardown),
        cmocka_unit_test_setup_teardown(test_heap_is_full_while_loading, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
