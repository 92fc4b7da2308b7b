/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "group/topic_pattern.h"
#include "tidemark/types.h"

enum { HEAP = 1 << 20 };

static struct tide_heap *heap;
static uint32_t budget;

static int setup(void **state)
{
    heap = tide_heap_create(HEAP);
    return heap == NULL;
}

/* Nothing stays behind. */
static int teardown(void **state)
{
    tide_heap_check(heap);
    assert_int_equal(tide_heap_free_bytes(heap), tide_heap_bytes(heap));
    tide_heap_destroy(heap);
    return 0;
}

static enum tide_status make(const char *text, struct topic_pattern **ret)
{
    const char *problem;
    enum tide_status status = topic_pattern_make(heap, text, (uint32_t)strlen(text), ret, &problem);
    assert_int_equal(problem != NULL, status == TIDE_BAD);
    return status;
}

/* RE2's syntax, in its order: what a pattern matches, and what it does not, one each. */
static void test_what_is_known(void **state)
{
    static const struct { const char *pattern, *yes, *no; } cases[] = {
        {"foo", "foo", "foobar"}, {"foo", "foo", "xfoo"}, {"f.o", "f-o", "fo"}, {"[xyz]", "y", "a"}, {"[^xyz]", "a", "y"}, {"\\d+", "42", "4a"},
        {"\\D+", "ab", "a1"}, {"[[:alpha:]]+", "abc", "a1"}, {"[[:^alpha:]]+", "12", "a1"}, {"\\pN", "7", "a"}, {"\\p{Lu}+", "AB", "aB"},
        {"\\P{Lu}+", "ab", "aB"}, {"\\p{^Lu}+", "ab", "aB"}, {"\\p{Greek}?x", "x", "y"}, {"xy", "xy", "x"}, {"x|y", "y", "z"}, {"foo|foobar", "foobar", "fooba"},
        {"x*", "xxx", "xy"}, {"x+", "x", ""}, {"x?", "", "xx"}, {"x{2,3}", "xx", "x"}, {"x{2,}", "xxxxx", "x"}, {"x{2}", "xx", "xxx"},
        {"x*?", "xxx", "y"}, {"x+?y", "xxy", "y"}, {"x??", "x", "xx"}, {"x{1,2}?", "xx", "xxx"}, {"(re)+", "rere", "rer"},
        {"(?P<name>re)", "re", "r"}, {"(?<name>re)", "re", "r"}, {"(?:re)", "re", "r"}, {"(?i)Re", "rE", "r"}, {"(?i:r)e", "Re", "RE"},
        {"(?i-s:r)", "R", "s"}, {"(?i)r(?-i)e", "Re", "RE"}, {"(?U)x+", "xxx", "y"}, {"(?ms)x", "x", "y"}, {"^foo$", "foo", "fo"}, {"\\Afoo\\z", "foo", "fo"}, {"a$\\n?", "a", "a\n"},
        {"a\\b-b", "a-b", "ab"}, {"a\\Bb", "ab", "a-b"}, {"a\\.b", "a.b", "a-b"}, {"a\\-b", "a-b", "a.b"}, {"\\x41", "A", "B"}, {"\\x{41}", "A", "B"},
        {"\\101", "A", "B"}, {"\\0101", "\x08" "1", "A"}, {"\\Qa.b\\E+", "a.bb", "aab"}, {"\\Qa.b", "a.b", "aab"}, {"\\Q\\E", "", "a"}, {"\\C?x", NULL, NULL},
        {"[\\d]", "1", "a"}, {"[^\\d]", "a", "1"}, {"[\\w.-]+", "a_1.-", "a/"}, {"[]a]", "a", "b"}, {"[a-c]", "b", "d"}, {"[\\p{Lu}]", "A", "a"}, {"[[]?x", "x", "y"},
        {"[[:word:]]", "_", "-"}, {"a{", "a{", "a"}, {"a{,3}", "a{,3}", "aa"}, {"a{x}", "a{x}", "a"}, {"a}", "a}", "a"}, {"\\v?x", "x", "\nx"}, {"", "", "a"},
        {"(|a)b", "b", "c"}, {"orders-.*", "orders-eu", "my-orders-eu"}, {"é?abc", "abc", "bc"},
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        struct topic_pattern *p;
        bool matches = false;
        if (cases[i].yes == NULL) {
            assert_int_equal(make(cases[i].pattern, &p), TIDE_BAD);
            continue;
        }
        if (make(cases[i].pattern, &p) != TIDE_OK)
            fail_msg("%s is refused", cases[i].pattern);
        assert_int_equal(topic_pattern_match(p, cases[i].yes, (uint32_t)strlen(cases[i].yes), &budget, &matches), TIDE_OK);
        if (!matches)
            fail_msg("%s does not match '%s'", cases[i].pattern, cases[i].yes);
        assert_int_equal(topic_pattern_match(p, cases[i].no, (uint32_t)strlen(cases[i].no), &budget, &matches), TIDE_OK);
        if (matches)
            fail_msg("%s matches '%s'", cases[i].pattern, cases[i].no);
        topic_pattern_free(p);
    }
}

/* What PCRE2 knows and RE2 does not, and what neither knows. */
static void test_what_is_refused(void **state)
{
    static const char *const patterns[] = {
        "(a)\\1", "(a)\\8", "(?P<n>a)(?P=n)", "\\g1", "\\g{1}", "\\k<n>", "\\k'n'", "(?=a)b", "(?!a)b", "(?<=a)b", "(?<!a)b", "(?>a)", "a*+", "a++", "a?+",
        "a{1,2}+", "a**", "a+*", "a{2}{3}", "a???", "(?R)", "(?1)", "(?0)", "(?+1)", "(?-1)", "(?&n)", "(?P>n)", "(?(1)a|b)", "(?#c)", "(?|a|b)",
        "(?'n'a)", "(?C)", "(?C1)", "(?x)a b", "(?n)a", "(?J)a", "(?^)a", "(?xx)a", "(?-)", "(?i--s)", "(?i-)", "(*ACCEPT)a", "(*UTF)a", "(*pla:a)", "(*LIMIT_MATCH=1)a",
        "\\G", "\\Z", "\\K", "\\R", "\\X", "\\N", "\\h", "\\H", "\\V", "\\e", "\\cK", "\\l", "\\u0041", "\\U", "\\L", "\\E", "\\o{101}", "\\C", "[\\b]", "[\\Qa\\E]", "[\\A]",
        "\\x4", "\\x{}", "\\x{110000}", "\\x{4g}", "\\xg", "\\p{Nothing}", "\\p{Xan}", "\\p{Bidi_C}", "\\p{L&}", "\\p", "\\p{L", "[[:<:]]", "[[:>:]]", "[[:no:]]", "[[:alpha",
        "[a", "[", "[]", "[z-a]", "(", ")", "(a", "a)", "*a", "+", "?", "a|*", "(*)", "{2}", "\\", "a{1001}", "a{1,1001}", "a{3,2}", "(?P<n>a", "(?P<>a)", "(?P<n-m>a)", "\xff",
        "((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((a))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))",
        "((a{1000}){1000}){1000}", "(?P<n>?=a)", "(?<n>*ACCEPT)", "(?P<n>?R)", "(\\Q\\E?=a)", "(\\Q\\E*ACCEPT)", "(\\Q\\E?>a)", "(\\Q\\E?C1)", "(?i:*a)", "(a|\\Q\\E?=b)",
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(patterns); i++) {
        struct topic_pattern *p = NULL;
        if (make(patterns[i], &p) != TIDE_BAD)
            fail_msg("%s is taken", patterns[i]);
    }
}

static void test_length(void **state)
{
    char text[TOPIC_PATTERN_MAX + 2];
    struct topic_pattern *p;
    for (unsigned k = 0; k < 3; k++) { /* of what grows most on its way */
        for (unsigned i = 0; i <= TOPIC_PATTERN_MAX; i++)
            text[i] = k == 0 ? 'a' : k == 1 ? '{' : "\\0"[i % 2];
        text[TOPIC_PATTERN_MAX] = 0;
        assert_int_equal(make(text, &p), TIDE_OK);
        topic_pattern_free(p);
        strcpy(text + TOPIC_PATTERN_MAX, "a");
        assert_int_equal(make(text, &p), TIDE_BAD);
    }
}

/* Those that take a matcher with backtracking for ever. */
static void test_hostile_ones_are_bounded(void **state)
{
    static const char *const patterns[] = {"(a+)+b", "(a|a)*b", "(a*)*b", "((a*)*)*b", "(a|aa)+b", "(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)b", "(a?){100}a{100}", "(x*a?x*){50}b"};
    char name[TIDE_TOPIC_NAME_MAX + 1];
    memset(name, 'a', sizeof(name));
    for (size_t i = 0; i < TIDE_ARRAY_LEN(patterns); i++) {
        struct topic_pattern *p;
        bool matches = true;
        assert_int_equal(make(patterns[i], &p), TIDE_OK);
        enum tide_status status = topic_pattern_match(p, name, TIDE_TOPIC_NAME_MAX, &budget, &matches);
        assert_true(status == TIDE_OK || status == TIDE_BAD);
        if (status == TIDE_OK)
            assert_false(matches);
        topic_pattern_free(p);
    }
}

/* Too many states at a time: an error, not an answer. */
static void test_states(void **state)
{
    char text[TOPIC_PATTERN_MAX + 1] = "";
    struct topic_pattern *p;
    bool matches;
    for (unsigned i = 0; i < 2 * TOPIC_PATTERN_STATES; i++)
        strcat(text, "a|");
    text[strlen(text) - 1] = 0;
    assert_int_equal(make(text, &p), TIDE_OK);
    assert_int_equal(topic_pattern_match(p, "a", 1, &budget, &matches), TIDE_BAD);
    topic_pattern_free(p);
}

/* Few states cost little. What costs more than there is costs all there is. */
static void test_cost(void **state)
{
    struct topic_pattern *p;
    bool matches;
    assert_int_equal(make("a.*", &p), TIDE_OK);
    budget = 100;
    assert_int_equal(topic_pattern_match(p, "abc", 3, &budget, &matches), TIDE_OK);
    assert_int_equal(budget, 99);
    topic_pattern_free(p);
    assert_int_equal(make("(a{0,60}){2}[bc]", &p), TIDE_OK);
    char name[100];
    memset(name, 'a', sizeof(name));
    name[sizeof(name) - 1] = 'b';
    assert_int_equal(topic_pattern_match(p, name, sizeof(name), &budget, &matches), TIDE_OK);
    assert_true(matches);
    assert_int_equal(budget, 99 - TOPIC_PATTERN_COSTLY);
    assert_int_equal(topic_pattern_match(p, name, sizeof(name), &budget, &matches), TIDE_OK);
    assert_int_equal(budget, 0);
    topic_pattern_free(p);
}

/* For every N the Nth call for memory finds nothing; and matching takes none. */
static void test_a_full_heap(void **state)
{
    struct topic_pattern *p;
    bool done = false, matches;
    for (size_t keep = HEAP; !done && keep >= 64; keep /= 2) {
        void *blocks[64];
        unsigned n = 0;
        for (size_t size = HEAP / 2; size >= keep; size /= 2)
            if ((blocks[n] = tide_heap_take(heap, size)) != NULL)
                n++;
        enum tide_status status = make("[a-z]+", &p);
        if (status == TIDE_OK) {
            assert_int_equal(topic_pattern_match(p, "abc", 3, &budget, &matches), TIDE_OK);
            assert_true(matches);
            topic_pattern_free(p);
        } else {
            assert_int_equal(status, TIDE_FULL);
            done = true;
        }
        while (n != 0)
            tide_heap_give(heap, blocks[--n]);
        assert_int_equal(tide_heap_free_bytes(heap), tide_heap_bytes(heap));
    }
    assert_true(done);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_is_known, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_length, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hostile_ones_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_states, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cost, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_full_heap, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
