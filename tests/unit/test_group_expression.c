/* SPDX-License-Identifier: Apache-2.0 */
/* Members that subscribe by a regular expression (KIP-848). */
#include "classic_says.h"

#include "group/consumer_internal.h"

static struct world w;
static struct world_answer r;
static struct classic_hears h;
static struct world_set owned;
static char text[WORLD_TEXT];

enum { REFRESH_MS = 10000 };

static void begin(void)
{
    world_begin(&w, 16u << 20);
    w.settings.group_consumer_assignment_interval_ms = 0;
    w.settings.group_initial_rebalance_delay_ms = 0;
}

/* NULL: not told. */
static void beat(const char *member, int epoch, const char *topics, const char *regex, const char *has)
{
    world_member_beat(&w, &r, member, epoch, topics, regex, has);
}

static void join(const char *member, const char *topics, const char *regex) { beat(member, 0, topics, regex, "-"); }

static void expect(int error, int epoch, const char *assignment) { world_expect(&w, &r, error, epoch, assignment); }

static void expect_group(const char *described) { world_expect_group(&w, described); }

/* Of the group "g": all there is. */
static const struct consumer *group(void)
{
    const struct group *g = TAILQ_FIRST(&w.groups->all);
    assert_non_null(g);
    assert_ptr_equal(g->kind, &consumer_kind);
    return g->consumer;
}

/* What the log says of an expression last: the names, "none" after a tombstone, NULL when there is no record. */
static const char *recorded(const char *regex)
{
    static char names[WORLD_TEXT];
    uint8_t key[300] = {0, CONSUMER_REGEX, 0, 1, 'g', 0, (uint8_t)strlen(regex)};
    uint32_t key_len = 7 + (uint32_t)strlen(regex);
    const char *found = NULL;
    memcpy(key + 7, regex, strlen(regex));
    for (uint32_t i = 0; i < w.batches; i++) {
        const uint8_t *at = memmem(w.log[i].bytes, w.log[i].len, key, key_len), *p;
        if (at == NULL)
            continue;
        p = at + key_len;
        uint32_t value = *p++; /* a varint, zigzag */
        if (value & 0x80)
            value = (value & 0x7f) | (uint32_t)*p++ << 7;
        found = "none";
        if (value == 1)
            continue;
        names[0] = 0;
        unsigned count = p[2] - 1u; /* behind the version */
        p += 3;
        for (; count != 0; count--, p += *p)
            (void)snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%.*s", names[0] == 0 ? "" : " ", *p - 1, (const char *)p + 1);
        found = names;
    }
    return found;
}

/* ---- what a member gets ---------------------------------------------------------------------------------- */

static void test_names_and_an_expression(void **state)
{
    (void)state;
    begin();
    world_topic(&w, "orders-eu", 1);
    world_topic(&w, "orders-us", 2);
    world_topic(&w, "other", 1);
    join("a", NULL, "orders-.*");
    expect(0, 2, "orders-eu:0 orders-us:0,1");
    assert_string_equal(recorded("orders-.*"), "orders-eu orders-us");
    beat("a", 2, NULL, NULL, "orders-eu:0 orders-us:0,1"); /* is not told again */
    expect(0, 2, NULL);
    beat("a", 2, "", "orders-.*", "orders-eu:0 orders-us:0,1"); /* or is */
    expect(0, 2, NULL);
    beat("a", 2, "other orders-us", NULL, "orders-eu:0 orders-us:0,1"); /* both */
    expect(0, 3, "orders-eu:0 orders-us:0,1 other:0");
    beat("a", 3, "", NULL, "orders-eu:0 orders-us:0,1 other:0");
    expect(0, 3, "orders-eu:0 orders-us:0,1");
    beat("a", 3, NULL, "", "orders-eu:0 orders-us:0,1"); /* no expression any more */
    expect(0, 3, "-");
    beat("a", 3, NULL, NULL, "-");
    world_pass_ms(&w, 10);
    assert_string_equal(recorded("orders-.*"), "none");
    assert_int_equal(group()->topic_count, 0);
    world_end(&w);
}

/* Whoever comes with an expression that is known gets what it matches, and nothing is evaluated. */
static void test_shared(void **state)
{
    (void)state;
    begin();
    world_topic(&w, "t", 2);
    join("a", NULL, "t");
    expect(0, 2, "t:0,1");
    join("b", NULL, "t");
    expect(0, 3, "-");
    beat("a", 2, NULL, NULL, "t:0,1");
    expect(0, 2, "t:0");
    beat("a", 2, NULL, NULL, "t:0");
    beat("b", 3, NULL, NULL, "-");
    expect(0, 3, "t:1");
    beat("a", -1, NULL, NULL, NULL);
    world_pass_ms(&w, 10);
    assert_string_equal(recorded("t"), "t"); /* b uses it still */
    beat("b", -1, NULL, NULL, NULL);
    expect_group("Empty 5/4");
    world_pass_ms(&w, 10);
    assert_string_equal(recorded("t"), "none");
    assert_int_equal(group()->expression_count, 0);
    expect_group("Empty 5/4"); /* nobody has lost anything by it */
    world_end(&w);
}

/* More topics than a turn looks at; each turn a few. */
static void test_in_turns(void **state)
{
    char name[8];
    (void)state;
    begin();
    for (unsigned i = 0; i < 14; i++) {
        (void)snprintf(name, sizeof(name), "t%02u", i);
        world_topic(&w, name, 1);
    }
    join("a", NULL, "t.*[13579]");
    expect(0, 1, "-");
    for (unsigned i = 0; i < 5; i++)
        beat("a", 1, NULL, NULL, "-"); /* more questions do not make it more in that turn */
    assert_null(recorded("t.*[13579]"));
    world_no_topic(&w, "t00"); /* it goes on by name */
    world_no_topic(&w, "t02");
    world_pass_ms(&w, 10);
    assert_string_equal(recorded("t.*[13579]"), "t01 t03 t05 t07 t09 t11 t13");
    beat("a", 1, NULL, NULL, "-");
    expect(0, 2, "t01:0 t03:0 t05:0 t07:0 t09:0 t11:0 t13:0");
    world_end(&w);
}

/* Another expression takes nothing away while it is not known what it matches. */
static void test_changed_keeps_until_known(void **state)
{
    char name[8];
    (void)state;
    begin();
    for (unsigned i = 0; i < 14; i++) {
        (void)snprintf(name, sizeof(name), "t%02u", i);
        world_topic(&w, name, 1);
    }
    join("a", NULL, "t.*[13]");
    world_pass_ms(&w, 10);
    beat("a", 1, NULL, NULL, "-");
    expect(0, 2, "t01:0 t03:0 t11:0 t13:0");
    beat("a", 2, "", "t.*[135]", "t01:0 t03:0 t11:0 t13:0");
    expect(0, 2, NULL);
    world_pass_ms(&w, 10);
    assert_string_equal(recorded("t.*[135]"), "t01 t03 t05 t11 t13");
    beat("a", 2, NULL, NULL, NULL);
    assert_true(r.has_assignment);
    assert_string_equal(world_set_text(&w, &r.assignment, text), "t01:0 t03:0 t05:0 t11:0 t13:0");
    world_end(&w);
}

/* A topic is made anew after it was looked at: it is not that topic, which the next evaluation sees. The group knows what its topics are. */
static void test_made_anew(void **state)
{
    char name[8];
    (void)state;
    begin();
    for (unsigned i = 0; i < 10; i++) {
        (void)snprintf(name, sizeof(name), "t%u", i);
        world_topic(&w, name, 1);
    }
    join("a", NULL, "t[0-4]");
    world_pass_ms(&w, 10);
    beat("a", 1, NULL, NULL, "-");
    expect(0, 2, "t0:0 t1:0 t2:0 t3:0 t4:0");
    world_pass_ms(&w, REFRESH_MS);
    world_topic(&w, "x", 1);
    beat("a", 2, NULL, NULL, "t0:0 t1:0 t2:0 t3:0 t4:0"); /* begins */
    world_no_topic(&w, "t1");
    world_topic(&w, "t1", 1);
    world_pass_ms(&w, 10);
    assert_string_equal(recorded("t[0-4]"), "t0 t2 t3 t4");
    beat("a", 2, NULL, NULL, "t0:0 t2:0 t3:0 t4:0");
    expect(0, 3, "t0:0 t2:0 t3:0 t4:0");
    beat("a", 3, NULL, NULL, "t0:0 t2:0 t3:0 t4:0");
    expect(0, 3, NULL);
    world_pass_ms(&w, REFRESH_MS);
    assert_string_equal(recorded("t[0-4]"), "t0 t1 t2 t3 t4");
    beat("a", 3, NULL, NULL, "t0:0 t2:0 t3:0 t4:0");
    expect(0, 4, "t0:0 t1:0 t2:0 t3:0 t4:0");
    world_end(&w);
}

/* ---- topics that change ------------------------------------------------------------------------------------ */

static void test_topics_come_and_go(void **state)
{
    (void)state;
    begin();
    world_topic(&w, "ta", 1);
    join("a", "u", "t.*");
    expect(0, 2, "ta:0");
    world_topic(&w, "tb", 1);
    beat("a", 2, NULL, NULL, "ta:0");
    expect(0, 2, NULL); /* it was evaluated just now */
    world_pass_ms(&w, REFRESH_MS);
    expect_group("Reconciling 3/3 | a 2 ta:0 > ta:0 tb:0");
    beat("a", 2, NULL, NULL, "ta:0");
    expect(0, 3, "ta:0 tb:0");
    world_pass_ms(&w, REFRESH_MS);
    world_topic(&w, "x", 1); /* matches nothing */
    uint32_t batches = w.batches;
    beat("a", 3, NULL, NULL, "ta:0 tb:0");
    expect(0, 3, NULL);
    assert_int_equal(w.batches, batches); /* nothing is written that was known */
    world_topic(&w, "u", 1); /* a name is looked up at once */
    beat("a", 3, NULL, NULL, "ta:0 tb:0");
    expect(0, 4, "ta:0 tb:0 u:0");
    world_no_topic(&w, "ta");
    beat("a", 4, NULL, NULL, "tb:0 u:0");
    expect(0, 5, "tb:0 u:0");
    assert_string_equal(recorded("t.*"), "ta tb");
    world_pass_ms(&w, REFRESH_MS);
    beat("a", 5, NULL, NULL, "tb:0 u:0");
    world_pass_ms(&w, REFRESH_MS);
    assert_string_equal(recorded("t.*"), "tb");
    beat("a", 6, NULL, NULL, "tb:0 u:0");
    expect(0, 6, NULL);
    world_end(&w);
}

/* A topic that another member named is one that the expression matches, and nobody told the group of it: the epoch rises. */
static void test_known_by_name(void **state)
{
    (void)state;
    begin();
    world_topic(&w, "ta", 1);
    join("a", NULL, "t[ab]");
    expect(0, 2, "ta:0");
    world_topic(&w, "tb", 2);
    join("b", "tb", NULL);
    expect(0, 3, "tb:0,1");
    world_pass_ms(&w, REFRESH_MS);
    expect_group("Reconciling 4/4 | a 2 ta:0 > ta:0 | b 3 tb:0,1 > tb:0,1");
    assert_string_equal(recorded("t[ab]"), "ta tb");
    world_end(&w);
}

/* ---- the log --------------------------------------------------------------------------------------------------- */

static void test_reload(void **state)
{
    (void)state;
    begin();
    world_topic(&w, "ta", 1);
    world_topic(&w, "tb", 1);
    join("a", NULL, "t.*");
    join("b", "tb", "ta");
    for (unsigned i = 0; i < 2; i++) {
        world_reload(&w, false);
        assert_int_equal(group()->expression_count, 2);
        assert_true(group()->expressions[0]->resolved);
        assert_int_equal(group()->expressions[0]->topic_count, 2);
        expect_group("Reconciling 4/4 | a 2 ta:0 tb:0 > ta:0 | b 4 - > tb:0");
    }
    world_topic(&w, "tc", 1); /* another coordinator looks at once */
    world_reload(&w, false);
    world_pass_ms(&w, 10);
    assert_string_equal(recorded("t.*"), "ta tb tc");
    beat("b", -1, NULL, NULL, NULL);
    w.fail_append = 1;
    world_turn(&w);
    w.fail_append = 0;
    world_reload(&w, false); /* before the expression lost its record */
    assert_int_equal(group()->expression_count, 2);
    world_pass_ms(&w, 200);
    assert_int_equal(group()->expression_count, 1);
    assert_string_equal(recorded("ta"), "none");
    assert_string_equal(recorded("t.*"), "ta tb tc");
    world_end(&w);
}

/* What an expression matches was not committed: it is evaluated again. */
static void test_lost(void **state)
{
    (void)state;
    begin();
    world_topic(&w, "t", 1);
    join("a", "u", NULL);
    w.auto_commit = false;
    struct wire_writer body;
    owned.count = 0;
    struct world_beat b = {.group = "g", .member = "b", .regex = "t", .rebalance_ms = 1, .version = 1, .owned = &owned};
    wire_writer_init(&body, w.pool);
    world_put_beat(&w, &body, &b);
    assert_int_equal(world_ask(&w, KAFKA_API_CONSUMER_GROUP_HEARTBEAT, 1, -1, &body.out, &b), TIDE_OK);
    wire_writer_abandon(&body);
    world_commit(&w, w.committed + 2); /* the member and the epoch */
    world_reload(&w, true);
    w.auto_commit = true;
    assert_int_equal(group()->expression_count, 1);
    assert_false(group()->expressions[0]->resolved);
    world_pass_ms(&w, 10);
    assert_string_equal(recorded("t"), "t");
    expect_group("Reconciling 3/3 | a 1 - > - | b 0 - > t:0");
    world_end(&w);
}

static void test_append_refused(void **state)
{
    (void)state;
    begin();
    world_topic(&w, "t", 1);
    w.fail_append = 2; /* what it matches */
    join("a", NULL, "t");
    expect(0, 1, "-");
    world_pass_ms(&w, 50);
    assert_null(recorded("t"));
    world_pass_ms(&w, 100);
    assert_string_equal(recorded("t"), "t");
    beat("a", 1, NULL, NULL, "-");
    expect(0, 2, "t:0");
    world_end(&w);
}

/* A group that is deleted leaves no record of an expression. */
static void test_delete(void **state)
{
    (void)state;
    struct wire_writer b;
    struct tide_rope answer = {0};
    void *cookie;
    begin();
    world_topic(&w, "t", 1);
    join("a", NULL, "t");
    beat("a", -1, NULL, NULL, NULL);
    wire_writer_init(&b, w.pool);
    delete_groups_request_open_groups_names(&b, 2, 1);
    wire_put_string(&b, true, "g", 1);
    delete_groups_request_end(&b, 2);
    assert_int_equal(world_ask(&w, KAFKA_API_DELETE_GROUPS, 2, 0, &b.out, &w), TIDE_OK);
    wire_writer_abandon(&b);
    assert_true(world_next_answer(&w, &cookie, &answer));
    tide_rope_clear(&answer);
    assert_string_equal(recorded("t"), "none");
    assert_true(TAILQ_EMPTY(&w.groups->all));
    world_reload(&w, false);
    assert_true(TAILQ_EMPTY(&w.groups->all));
    world_end(&w);
}

/* ---- what is refused ------------------------------------------------------------------------------------------- */

static void test_refused(void **state)
{
    (void)state;
    begin();
    world_topic(&w, "t", 1);
    join("a", "t", "(t)\\1");
    expect(KAFKA_INVALID_REGULAR_EXPRESSION, 0, NULL);
    join("a", NULL, "t(?=u)");
    expect(KAFKA_INVALID_REGULAR_EXPRESSION, 0, NULL);
    assert_int_equal(w.batches, 0);
    join("a", "t", "");
    expect(0, 1, "t:0");
    beat("a", 1, NULL, "[", "t:0");
    expect(KAFKA_INVALID_REGULAR_EXPRESSION, 0, NULL);
    beat("a", 1, NULL, NULL, "t:0"); /* is as it was */
    expect(0, 1, NULL);
    world_end(&w);
}

/* Of some it is seen only when they are evaluated. Members hear of it, and may say another one. */
static void test_too_much_work(void **state)
{
    char many[CONSUMER_TEXT_MAX + 1] = "";
    (void)state;
    begin();
    world_topic(&w, "t", 1);
    for (unsigned i = 0; i < 500; i++)
        strcat(many, "t|");
    many[strlen(many) - 1] = 0;
    join("a", NULL, many);
    expect(0, 1, "-");
    beat("a", 1, NULL, NULL, "-");
    expect(KAFKA_INVALID_REGULAR_EXPRESSION, 0, NULL);
    beat("a", 1, NULL, many, "-");
    expect(KAFKA_INVALID_REGULAR_EXPRESSION, 0, NULL);
    join("b", NULL, many);
    expect(KAFKA_INVALID_REGULAR_EXPRESSION, 0, NULL);
    world_pass_ms(&w, 1); /* that was all that the turn had */
    beat("a", 1, NULL, "t", "-");
    expect(0, 3, "t:0");
    assert_int_equal(group()->expression_count, 1);
    world_end(&w);
}

static void test_heap_full(void **state)
{
    (void)state;
    begin();
    world_topic(&w, "t", 1);
    join("a", "t", NULL);
    void *blocks[64];
    unsigned n = 0;
    for (size_t size = tide_heap_bytes(w.heap); size >= 64; size /= 2)
        while (n < TIDE_ARRAY_LEN(blocks) && (blocks[n] = tide_heap_take(w.heap, size)) != NULL)
            n++;
    beat("a", 1, NULL, "t", "t:0");
    expect(KAFKA_COORDINATOR_NOT_AVAILABLE, 0, NULL);
    while (n != 0)
        tide_heap_give(w.heap, blocks[--n]);
    beat("a", 1, NULL, "t", "t:0");
    expect(0, 3, NULL);
    world_end(&w);
}

/* ---- with members of the classic protocol -------------------------------------------------------------------- */

/* The classic group is upgraded for a member with an expression, and for no other; when that one leaves nothing is left of it. */
static void test_upgrade_and_back(void **state)
{
    struct classic_says s = {.group = "g", .topics = "t"};
    (void)state;
    begin();
    world_topic(&w, "t", 2);
    world_topic(&w, "u", 1);
    assert_true(classic_ask(&w, KAFKA_API_JOIN_GROUP, &s, &h));
    char id[CLASSIC_ID];
    (void)snprintf(id, sizeof(id), "%s", h.member);
    s.member = id;
    assert_int_equal(h.error, KAFKA_MEMBER_ID_REQUIRED);
    assert_false(classic_ask(&w, KAFKA_API_JOIN_GROUP, &s, &h));
    world_pass_ms(&w, 10);
    assert_true(classic_next(&w, KAFKA_API_JOIN_GROUP, &h));
    assert_int_equal(h.error, 0);
    join("a", NULL, "(?!u)");
    expect(KAFKA_INVALID_REGULAR_EXPRESSION, 0, NULL);
    expect_group("error 69");
    join("a", NULL, "u");
    assert_int_equal(r.error, 0);
    assert_string_equal(world_set_text(&w, &r.assignment, text), "u:0");
    assert_int_equal(group()->classic_count, 1);
    beat("a", -1, NULL, NULL, NULL);
    world_pass_ms(&w, 10);
    expect_group("error 69"); /* it is a classic group */
    assert_string_equal(recorded("u"), "none");
    world_end(&w);
}

/* Whoever comes back with the classic protocol has no expression any more. */
static void test_static_classic(void **state)
{
    struct classic_says s = {.group = "g", .topics = "u", .instance = "i", .protocols = "range"};
    (void)state;
    begin();
    world_topic(&w, "t", 1);
    world_topic(&w, "u", 1);
    owned.count = 0;
    struct world_beat b = {.group = "g", .member = "a", .instance = "i", .regex = "t", .rebalance_ms = 60000, .version = 1, .owned = &owned};
    world_beat(&w, &b, &r);
    expect(0, 2, "t:0");
    join("b", "u", NULL);
    assert_true(classic_ask(&w, KAFKA_API_JOIN_GROUP, &s, &h));
    assert_int_equal(h.error, 0);
    world_pass_ms(&w, 10);
    assert_string_equal(recorded("t"), "none");
    assert_int_equal(group()->expression_count, 0);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_and_an_expression),
        cmocka_unit_test(test_shared),
        cmocka_unit_test(test_in_turns),
        cmocka_unit_test(test_changed_keeps_until_known),
        cmocka_unit_test(test_made_anew),
        cmocka_unit_test(test_topics_come_and_go),
        cmocka_unit_test(test_known_by_name),
        cmocka_unit_test(test_reload),
        cmocka_unit_test(test_lost),
        cmocka_unit_test(test_append_refused),
        cmocka_unit_test(test_delete),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_too_much_work),
        cmocka_unit_test(test_heap_full),
        cmocka_unit_test(test_upgrade_and_back),
        cmocka_unit_test(test_static_classic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
