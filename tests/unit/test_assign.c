/* SPDX-License-Identifier: Apache-2.0 */
/* Assignors: what is promised of them, against every assignment there is where that can be counted. */
#include "unit.h"

#include "group/assign.h"
#include "tidemark/random.h"
#include "tidemark/types.h"

enum { TOPICS = 300, MEMBERS = 1000, PARTITIONS = 20000, SUBSCRIPTIONS = 400000 };

static struct world {
    struct assign_problem problem;
    struct assign_topic topics[TOPICS];
    uint32_t subscribers[SUBSCRIPTIONS];
    uint32_t previous[PARTITIONS], owners[PARTITIONS], again[PARTITIONS];
    uint32_t counts[MEMBERS], held[MEMBERS], wanted[MEMBERS], order[TOPICS];
    struct assign assign;
    uint32_t steps, steps_longest;
} w;

static void begin(uint32_t members)
{
    memset(&w, 0, sizeof(w));
    w.problem = (struct assign_problem){.member_count = members, .topics = w.topics, .subscribers = w.subscribers, .previous = w.previous};
    memset(w.previous, 0xff, sizeof(w.previous));
}

static void add_topic(uint32_t partitions)
{
    struct assign_problem *p = &w.problem;
    struct assign_topic *t = &w.topics[p->topic_count++];
    *t = (struct assign_topic){.first = p->partition_count, .partitions = partitions};
    t->subscriber_first = p->topic_count > 1 ? t[-1].subscriber_first + t[-1].subscribers : 0;
    p->partition_count += partitions;
    assert_true(p->partition_count <= PARTITIONS);
}

static void subscribe(uint32_t member)
{
    struct assign_topic *t = &w.topics[w.problem.topic_count - 1];
    assert_true(t->subscriber_first + t->subscribers < SUBSCRIPTIONS);
    w.subscribers[t->subscriber_first + t->subscribers++] = member;
}

static void subscribe_all(void)
{
    for (uint32_t m = 0; m < w.problem.member_count; m++)
        subscribe(m);
}

static void solve(enum assign_kind kind, uint32_t budget)
{
    struct assign_memory at = {.owners = w.owners, .counts = w.counts, .held = w.held, .wanted = w.wanted, .order = w.order};
    /* Nothing may be taken from what lies there. */
    memset(w.owners, 0x5a, sizeof(w.owners));
    memset(w.counts, 0x5a, sizeof(w.counts));
    memset(w.held, 0x5a, sizeof(w.held));
    memset(w.wanted, 0x5a, sizeof(w.wanted));
    memset(w.order, 0x5a, sizeof(w.order));
    w.steps = 0;
    assign_init(&w.assign, kind, &w.problem, &at);
    for (uint32_t left = budget; w.steps++, !assign_step(&w.assign, &left); left = budget)
        assert_true(w.steps < 10000000);
    assign_check(&w.assign);
    assert_false(w.assign.unlevel);
}

static uint32_t kept(const uint32_t *owners)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < w.problem.partition_count; i++)
        n += owners[i] == w.previous[i] && owners[i] != ASSIGN_NOBODY;
    return n;
}

static void expect_owners(const char *text)
{
    char found[256] = "";
    for (uint32_t i = 0; i < w.problem.partition_count; i++)
        found[i] = w.owners[i] == ASSIGN_NOBODY ? '-' : (char)('a' + w.owners[i]);
    assert_string_equal(found, text);
}

static void before(const char *text)
{
    for (uint32_t i = 0; text[i] != 0; i++)
        w.previous[i] = text[i] == '-' ? ASSIGN_NOBODY : (uint32_t)(text[i] - 'a');
}

static void test_range(void **state)
{
    (void)state;
    begin(3);
    add_topic(7);
    subscribe_all();
    add_topic(2);
    subscribe_all();
    add_topic(4);
    subscribe(0);
    subscribe(2);
    add_topic(2);
    solve(ASSIGN_RANGE, 1);
    expect_owners("aaabbcc" "ab" "aacc" "--");
}

static void test_uniform_from_nothing(void **state)
{
    (void)state;
    begin(3);
    add_topic(4);
    subscribe_all();
    add_topic(3);
    subscribe_all();
    solve(ASSIGN_UNIFORM, 1);
    assert_int_equal(w.counts[0], 3);
    assert_int_equal(w.counts[1], 2);
    assert_int_equal(w.counts[2], 2);
}

static void test_uniform_keeps(void **state)
{
    static const struct {
        uint32_t members, partitions;
        const char *before, *after;
    } cases[] = {
        {2, 4, "abab", "abab"},
        {3, 6, "aabbbb", "aabbcc"},   /* a third one comes: who has too much gives it */
        {3, 7, "aabbbbb", "aabbbcc"}, /* what is left over stays where it is */
        {2, 5, "aaaab", "aaabb"},
        {2, 4, "aacc", "aabb"},       /* c is gone */
        {2, 4, "a-b-", "aabb"},
        {4, 2, "dc", "dc"},           /* more members than partitions */
        {3, 3, "ccc", "cab"},
        {1, 3, "---", "aaa"},
    };
    (void)state;
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        begin(cases[i].members);
        add_topic(cases[i].partitions);
        subscribe_all();
        before(cases[i].before);
        solve(ASSIGN_UNIFORM, 1000);
        expect_owners(cases[i].after);
    }
}

/* Who subscribes to more takes less of what all want. */
static void test_uniform_levels(void **state)
{
    (void)state;
    begin(2);
    add_topic(4);
    subscribe_all();
    add_topic(4);
    subscribe(1);
    before("abab----");
    solve(ASSIGN_UNIFORM, 1000);
    expect_owners("aaaa" "bbbb");

    begin(3); /* what is left over stays with who has it */
    add_topic(3);
    subscribe(0);
    subscribe(1);
    add_topic(1);
    subscribe(2);
    before("bbbc");
    solve(ASSIGN_UNIFORM, 1000);
    expect_owners("bba" "c");

    begin(3);
    add_topic(6);
    subscribe(0);
    subscribe(1);
    add_topic(6);
    subscribe(1);
    subscribe(2);
    solve(ASSIGN_UNIFORM, 1000);
    for (unsigned m = 0; m < 3; m++)
        assert_int_equal(w.counts[m], 4);
}

static void test_nothing(void **state)
{
    (void)state;
    for (enum assign_kind kind = 0; kind < ASSIGN_KIND_COUNT; kind++) {
        begin(0);
        solve(kind, 10);
        begin(2);
        solve(kind, 10);
        begin(0);
        add_topic(3);
        before("aab");
        solve(kind, 10);
        expect_owners("---");
        begin(2);
        add_topic(0);
        subscribe_all();
        solve(kind, 10);
    }
}

/* All assignments of a small problem in which everyone subscribes to everything: the most that a balanced one keeps. */
static uint32_t most_that_can_be_kept(void)
{
    uint32_t most = 0, members = w.problem.member_count, n = w.problem.partition_count, owners[8] = {0};
    for (;;) {
        uint32_t counts[8] = {0}, least = UINT32_MAX, top = 0;
        for (uint32_t i = 0; i < n; i++)
            counts[owners[i]]++;
        for (uint32_t m = 0; m < members; m++) {
            least = TIDE_MIN(least, counts[m]);
            top = TIDE_MAX(top, counts[m]);
        }
        if (top <= least + 1 && kept(owners) > most)
            most = kept(owners);
        uint32_t at = 0;
        while (at < n && ++owners[at] == members)
            owners[at++] = 0;
        if (at == n)
            return most;
    }
}

static void test_uniform_keeps_the_most(void **state)
{
    struct tide_random random = {.state = 11};
    (void)state;
    for (unsigned k = 0; k < 3000; k++) {
        begin(1 + (uint32_t)tide_random_below(&random, 4));
        for (uint32_t t = 1 + (uint32_t)tide_random_below(&random, 2); t != 0; t--) {
            add_topic(1 + (uint32_t)tide_random_below(&random, 3));
            subscribe_all();
        }
        for (uint32_t i = 0; i < w.problem.partition_count; i++) /* also of members that are gone */
            w.previous[i] = tide_random_hits(&random, 4) ? ASSIGN_NOBODY : (uint32_t)tide_random_below(&random, 5);
        solve(ASSIGN_UNIFORM, 1 + (uint32_t)tide_random_below(&random, 50));
        assert_int_equal(kept(w.owners), most_that_can_be_kept());
    }
}

/* Any subscriptions: what assign_check says; the same in any steps; and its own answer is left alone. */
static void test_random(void **state)
{
    struct tide_random random = {.state = 5};
    (void)state;
    for (unsigned k = 0; k < 3000; k++) {
        enum assign_kind kind = tide_random_hits(&random, 4) ? ASSIGN_RANGE : ASSIGN_UNIFORM;
        uint32_t members = 1 + (uint32_t)tide_random_below(&random, k % 10 == 0 ? 60 : 6);
        begin(members);
        for (uint32_t t = (uint32_t)tide_random_below(&random, k % 10 == 0 ? 40 : 6); t != 0; t--) {
            add_topic((uint32_t)tide_random_below(&random, 12));
            uint32_t one_in = (uint32_t)tide_random_below(&random, 4);
            for (uint32_t m = 0; m < members; m++)
                if (one_in == 0 || tide_random_hits(&random, one_in))
                    subscribe(m);
        }
        for (uint32_t i = 0; i < w.problem.partition_count; i++)
            w.previous[i] = tide_random_hits(&random, 5) ? ASSIGN_NOBODY : (uint32_t)tide_random_below(&random, members + 2);
        solve(kind, UINT32_MAX);
        memcpy(w.again, w.owners, sizeof(w.again));
        solve(kind, 1);
        assert_memory_equal(w.again, w.owners, sizeof(*w.again) * w.problem.partition_count);
        memcpy(w.previous, w.owners, sizeof(w.previous));
        solve(kind, 10);
        assert_memory_equal(w.again, w.owners, sizeof(*w.again) * w.problem.partition_count);
    }
}

/* 10,000 partitions and 1,000 members: a number of steps that follows from the size, and few rounds. */
static void test_large(void **state)
{
    struct tide_random random = {.state = 3};
    (void)state;
    for (unsigned k = 0; k < 6; k++) {
        bool mixed = k % 2 == 1;
        begin(MEMBERS);
        for (unsigned t = 0; t < 100; t++) {
            add_topic(100);
            for (uint32_t m = 0; m < MEMBERS; m++)
                if (!mixed || tide_random_hits(&random, k < 3 ? 2 : 1 + t % 7))
                    subscribe(m);
        }
        solve(ASSIGN_UNIFORM, UINT32_MAX);
        memcpy(w.previous, w.owners, sizeof(w.previous));
        /* A tenth of the members changes: nothing else moves than what they have or come to have. */
        for (uint32_t i = 0; i < w.problem.partition_count; i++)
            if (w.previous[i] % 10 == 0)
                w.previous[i] = MEMBERS + 1;
        solve(ASSIGN_UNIFORM, 5000);
        uint32_t work = w.problem.partition_count + 32 * (w.topics[99].subscriber_first + w.topics[99].subscribers);
        assert_true(w.assign.round <= 8);
        assert_true(w.steps <= 20 + 100 * (4 + w.assign.round) && w.steps <= 20 + work / 2500 * (4 + w.assign.round));
        assert_true(kept(w.owners) >= (mixed ? 85 : 90) * w.problem.partition_count / 100);
        solve(ASSIGN_RANGE, 5000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_range),
        cmocka_unit_test(test_uniform_from_nothing),
        cmocka_unit_test(test_uniform_keeps),
        cmocka_unit_test(test_uniform_levels),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_uniform_keeps_the_most),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
