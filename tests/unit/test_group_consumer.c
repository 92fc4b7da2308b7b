/* SPDX-License-Identifier: Apache-2.0 */
/* Groups of the consumer protocol (KIP-848), question by question (kafka-protocol 9.5). */
#include "consumer_world.h"

#include "kafka/errors.h"
#include "kafka/messages.h"

static struct world w;
static struct world_answer r;
static struct world_set owned;
static char text[WORLD_TEXT];

static void begin(void) { world_begin(&w, 16u << 20); }

/* A member's full request. `has` NULL: not told. */
static void beat(const char *member, int epoch, const char *topics, const char *has)
{
    world_member_beat(&w, &r, member, epoch, topics, NULL, has);
}

static void join(const char *member, const char *topics) { beat(member, 0, topics, "-"); }

static void expect(int error, int epoch, const char *assignment) { world_expect(&w, &r, error, epoch, assignment); }

static void expect_group(const char *described) { world_expect_group(&w, described); }

/* ---- joining and sharing ------------------------------------------------------------------------------ */

static void test_alone(void **state)
{
    (void)state;
    begin();
    world_topic(&w, "t", 3);
    join("a", "t");
    expect(0, 1, "t:0,1,2");
    assert_int_equal(r.interval_ms, 5000);
    assert_string_equal(r.member, "a");
    expect_group("Stable 1/1 | a 1 t:0,1,2 > t:0,1,2");
    beat("a", 1, NULL, "t:0,1,2");
    expect(0, 1, NULL); /* nothing is new */
    beat("a", -1, NULL, NULL);
    expect(0, -1, NULL);
    expect_group("Empty 2/1");
    world_end(&w);
}

/* The three steps in which a partition goes from one member to another. */
static void test_handover(void **state)
{
    (void)state;
    begin();
    world_topic(&w, "t", 4);
    join("a", "t");
    join("b", "t"); /* at once, so its part is computed later */
    expect(0, 1, "-");
    expect_group("Assigning 2/1 | a 1 t:0,1,2,3 > t:0,1,2,3 | b 1 - > -");
    world_pass_ms(&w, 1000);
    expect_group("Reconciling 2/2 | a 1 t:0,1,2,3 > t:0,1 | b 1 - > t:2,3");
    beat("b", 1, NULL, "-"); /* what it shall have is not released yet */
    expect(0, 2, NULL);
    expect_group("Reconciling 2/2 | a 1 t:0,1,2,3 > t:0,1 | b 2 - > t:2,3");
    beat("a", 1, NULL, "t:0,1,2,3");
    expect(0, 1, "t:0,1"); /* it keeps its epoch until it has given up the rest */
    beat("b", 2, NULL, "-");
    expect(0, 2, NULL);
    beat("a", 1, NULL, NULL); /* not told: still there */
    expect(0, 1, NULL);
    beat("a", 1, NULL, "t:0,1,3"); /* not all of it */
    expect(0, 1, NULL);
    beat("b", 2, NULL, "-");
    expect(0, 2, NULL);
    beat("a", 1, NULL, "t:0,1");
    expect(0, 2, NULL);
    beat("b", 2, NULL, "-");
    expect(0, 2, "t:2,3");
    expect_group("Stable 2/2 | a 2 t:0,1 > t:0,1 | b 2 t:2,3 > t:2,3");
    world_end(&w);
}

static void test_what_is_free_comes_at_once(void **state)
{
    (void)state;
    begin();
    w.settings.group_consumer_assignment_interval_ms = 0;
    world_topic(&w, "t", 2);
    world_topic(&w, "u", 2);
    join("a", "t");
    join("b", "t u");
    expect(0, 2, "u:0,1"); /* t stays where it is: so both have two */
    beat("a", 1, NULL, "t:0,1");
    expect(0, 2, NULL);
    expect_group("Stable 2/2 | a 2 t:0,1 > t:0,1 | b 2 u:0,1 > u:0,1");
    beat("b", 2, "u", "u:0,1");
    expect(0, 3, NULL);
    beat("a", 2, "t u", "t:0,1");
    expect(0, 4, NULL);
    beat("b", -1, NULL, NULL);
    beat("a", 4, NULL, "t:0,1");
    expect(0, 5, "t:0,1 u:0,1");
    world_end(&w);
}

static void test_a_member_that_leaves_frees(void **state)
{
    (void)state;
    begin();
    w.settings.group_consumer_assignment_interval_ms = 0;
    world_topic(&w, "t", 2);
    join("a", "t");
    join("b", "t");
    beat("a", 1, NULL, "t:0,1");
    expect(0, 1, "t:0");
    beat("a", -1, NULL, NULL); /* it never said that it gave up the other */
    beat("b", 2, NULL, "-");
    expect(0, 3, "t:0,1");
    world_end(&w);
}

/* ---- topics ------------------------------------------------------------------------------------------- */

static void test_topics_change(void **state)
{
    (void)state;
    begin();
    world_topic(&w, "t", 1);
    join("a", "t u");
    expect(0, 1, "t:0");
    world_topic(&w, "other", 5); /* nobody asked for it */
    world_pass_ms(&w, 2000);
    beat("a", 1, NULL, "t:0");
    expect(0, 1, NULL);
    world_topic(&w, "u", 2);
    beat("a", 1, NULL, "t:0");
    expect(0, 2, "t:0 u:0,1");
    world_topic(&w, "t", 3);
    world_pass_ms(&w, 2000);
    beat("a", 2, NULL, "t:0 u:0,1");
    expect(0, 3, "t:0,1,2 u:0,1");
    world_pass_ms(&w, 2000);
    world_no_topic(&w, "u");
    beat("a", 3, NULL, "t:0,1,2");
    expect(0, 4, "t:0,1,2");
    world_pass_ms(&w, 2000);
    world_no_topic(&w, "t");
    world_topic(&w, "t", 3); /* the name is another topic's now */
    beat("a", 4, NULL, "-");
    expect(0, 5, "t:0,1,2");
    beat("a", 5, "", "t:0,1,2"); /* a member that wants nothing */
    expect(0, 5, NULL);
    world_pass_ms(&w, 1000);
    beat("a", 5, NULL, "t:0,1,2");
    expect(0, 5, "-");
    beat("a", 5, NULL, "-");
    expect(0, 6, NULL);
    world_end(&w);
}

/* ---- epochs, sessions ------------------------------------------------------------------------------------ */

static void test_epochs(void **state)
{
    (void)state;
    begin();
    w.settings.group_consumer_assignment_interval_ms = 0;
    world_topic(&w, "t", 2);
    beat("a", 1, NULL, "-"); /* no such group */
    expect(KAFKA_UNKNOWN_MEMBER_ID, 0, NULL);
    join("a", "t");
    beat("b", 1, NULL, "-");
    expect(KAFKA_UNKNOWN_MEMBER_ID, 0, NULL);
    beat("b", -1, NULL, "-");
    expect(KAFKA_UNKNOWN_MEMBER_ID, 0, NULL);
    beat("a", 2, NULL, "t:0,1");
    expect(KAFKA_FENCED_MEMBER_EPOCH, 0, NULL);
    join("b", "t");
    beat("a", 1, NULL, "t:0,1");
    expect(0, 1, "t:0");
    beat("a", 1, NULL, "t:0");
    expect(0, 2, NULL);
    beat("b", 2, NULL, "-");
    expect(0, 2, "t:1");
    /* The answer was lost: the epoch before, and nothing that it may not have. */
    beat("a", 1, NULL, "t:0");
    expect(0, 2, "t:0");
    beat("a", 1, NULL, "-");
    expect(0, 2, "t:0");
    beat("a", 1, NULL, "t:0,1");
    expect(KAFKA_FENCED_MEMBER_EPOCH, 0, NULL);
    beat("a", 1, NULL, NULL);
    expect(KAFKA_FENCED_MEMBER_EPOCH, 0, NULL);
    /* Whoever was fenced comes again from the start, and has what it had. */
    join("a", "t");
    expect(0, 2, "t:0");
    expect_group("Stable 2/2 | a 2 t:0 > t:0 | b 2 t:1 > t:1");
    world_end(&w);
}

static void test_session(void **state)
{
    (void)state;
    begin();
    world_topic(&w, "t", 2);
    join("a", "t");
    world_pass_ms(&w, 30000);
    join("b", "t");
    world_pass_ms(&w, 14000);
    expect_group("Reconciling 2/2 | a 1 t:0,1 > t:0 | b 2 - > t:1");
    world_pass_ms(&w, 2000);
    expect_group("Reconciling 3/3 | b 2 - > t:0,1");
    beat("a", 1, NULL, "t:0,1");
    expect(KAFKA_UNKNOWN_MEMBER_ID, 0, NULL);
    beat("b", 2, NULL, "-");
    expect(0, 3, "t:0,1");
    world_pass_ms(&w, 44000);
    expect_group("Stable 3/3 | b 3 t:0,1 > t:0,1");
    world_reload(&w, false); /* sessions begin anew */
    world_pass_ms(&w, 44000);
    expect_group("Stable 3/3 | b 3 t:0,1 > t:0,1");
    world_pass_ms(&w, 2000);
    expect_group("Empty 4/3");
    world_end(&w);
}

static void test_rebalance_timeout(void **state)
{
    (void)state;
    begin();
    w.settings.group_consumer_assignment_interval_ms = 0;
    w.settings.group_consumer_session_timeout_ms = 1000000;
    world_topic(&w, "t", 2);
    join("a", "t");
    join("b", "t");
    beat("a", 1, NULL, "t:0,1");
    expect(0, 1, "t:0");
    world_pass_ms(&w, 59000);
    beat("a", 1, NULL, "t:0,1");
    expect(0, 1, NULL);
    world_reload(&w, false); /* from here on again */
    world_pass_ms(&w, 59000);
    beat("a", 1, NULL, "t:0,1");
    expect(0, 1, NULL);
    world_pass_ms(&w, 2000);
    beat("a", 1, NULL, "t:0,1");
    expect(KAFKA_UNKNOWN_MEMBER_ID, 0, NULL);
    beat("b", 2, NULL, "-");
    expect(0, 3, "t:0,1");
    world_end(&w);
}

/* ---- static members ------------------------------------------------------------------------------------------ */

static void static_beat(const char *member, const char *instance, int epoch, const char *topics, const char *has)
{
    struct world_beat b = {.group = "g", .member = member, .instance = instance, .epoch = epoch, .topics = topics,
                           .rebalance_ms = epoch == 0 ? 60000 : -1, .version = 1};
    if (has != NULL) {
        world_set_read(&w, has, &owned);
        b.owned = &owned;
    }
    world_beat(&w, &b, &r);
}

static void test_static(void **state)
{
    (void)state;
    begin();
    w.settings.group_consumer_assignment_interval_ms = 0;
    world_topic(&w, "t", 2);
    static_beat("a", "i", 0, "t", "-");
    expect(0, 1, "t:0,1");
    static_beat("b", "i", 0, "t", "-");
    expect(KAFKA_UNRELEASED_INSTANCE_ID, 0, NULL);
    static_beat("b", "i", 1, NULL, "-");
    expect(KAFKA_FENCED_INSTANCE_ID, 0, NULL);
    static_beat("b", "none", 1, NULL, "-");
    expect(KAFKA_UNKNOWN_MEMBER_ID, 0, NULL);
    static_beat("b", "i", -1, NULL, NULL);
    expect(KAFKA_FENCED_INSTANCE_ID, 0, NULL);
    static_beat("a", "i", -2, NULL, NULL);
    expect(0, -2, NULL);
    expect_group("Reconciling 1/1 | a -2 t:0,1 > t:0,1");
    static_beat("a", "i", 1, NULL, "t:0,1"); /* it said that it had left */
    expect(KAFKA_FENCED_MEMBER_EPOCH, 0, NULL);
    world_reload(&w, false);
    static_beat("b", "i", 0, "t", "-"); /* comes back under another id: nothing moves */
    expect(0, 1, "t:0,1");
    expect_group("Stable 1/1 | b 1 t:0,1 > t:0,1");
    static_beat("a", "i", 1, NULL, "t:0,1");
    expect(KAFKA_FENCED_INSTANCE_ID, 0, NULL);
    static_beat("b", "i", -2, NULL, NULL);
    static_beat("b", "i", 0, "t", "-"); /* or under the same */
    expect(0, 1, "t:0,1");
    static_beat("b", "i", -2, NULL, NULL);
    world_pass_ms(&w, 46000);
    expect_group("Empty 2/1"); /* did not come back in time */
    static_beat("c", "i", 0, "t", "-");
    expect(0, 3, "t:0,1");
    static_beat("c", "i", -1, NULL, NULL);
    expect(0, -1, NULL);
    world_end(&w);
}

/* ---- what is refused -------------------------------------------------------------------------------------------- */

static void test_refused(void **state)
{
    static const struct {
        struct world_beat b;
        int error;
    } cases[] = {
        {{.group = "", .member = "m", .topics = "t", .rebalance_ms = 1, .version = 1, .owned = &owned}, KAFKA_INVALID_REQUEST},
        {{.group = "h", .member = "", .topics = "t", .rebalance_ms = 1, .version = 1, .owned = &owned}, KAFKA_INVALID_REQUEST},
        {{.group = "h", .member = "m", .topics = "t", .rebalance_ms = -1, .version = 1, .owned = &owned}, KAFKA_INVALID_REQUEST},
        {{.group = "h", .member = "m", .topics = "t", .rebalance_ms = 1, .version = 1}, KAFKA_INVALID_REQUEST},
        {{.group = "h", .member = "m", .rebalance_ms = 1, .version = 1, .owned = &owned}, KAFKA_INVALID_REQUEST},
        {{.group = "h", .member = "m", .topics = "t", .instance = " ", .rebalance_ms = 1, .version = 1, .owned = &owned}, KAFKA_INVALID_REQUEST},
        {{.group = "h", .member = "m", .topics = "t", .rack = "", .rebalance_ms = 1, .version = 1, .owned = &owned}, KAFKA_INVALID_REQUEST},
        {{.group = "h", .member = "m", .topics = "t", .rebalance_ms = -2, .version = 1, .owned = &owned}, KAFKA_INVALID_REQUEST},
        {{.group = "h", .member = "m", .epoch = -2, .rebalance_ms = -1, .version = 1}, KAFKA_INVALID_REQUEST},
        {{.group = "h", .member = "m", .epoch = -3, .rebalance_ms = -1, .version = 1}, KAFKA_INVALID_REQUEST},
        {{.group = "h", .member = "", .epoch = 1, .rebalance_ms = -1, .version = 0}, KAFKA_INVALID_REQUEST},
        {{.group = "h", .member = "m", .topics = "t", .assignor = "sticky", .rebalance_ms = 1, .version = 1, .owned = &owned}, KAFKA_UNSUPPORTED_ASSIGNOR},
    };
    (void)state;
    begin();
    world_topic(&w, "t", 1);
    owned.count = 0;
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        world_beat(&w, &cases[i].b, &r);
        expect(cases[i].error, 0, NULL);
        assert_int_equal(w.batches, 0);
    }
    world_set_read(&w, "t:0", &owned); /* whoever joins has nothing */
    world_beat(&w, &(struct world_beat){.group = "h", .member = "m", .topics = "t", .rebalance_ms = 1, .version = 1, .owned = &owned}, &r);
    expect(KAFKA_INVALID_REQUEST, 0, NULL);
    assert_int_equal(w.batches, 0);
    w.settings.group_consumer_max_size = 2;
    join("a", "t");
    join("b", "t");
    join("c", "t");
    expect(KAFKA_GROUP_MAX_SIZE_REACHED, 0, NULL);
    join("b", "t");
    assert_int_equal(r.error, 0);
    world_end(&w);
}

/* Version 0 takes an id from the coordinator. */
static void test_version_0(void **state)
{
    (void)state;
    begin();
    world_topic(&w, "t", 1);
    owned.count = 0;
    struct world_beat b = {.group = "g", .topics = "t", .rebalance_ms = 1, .version = 0, .owned = &owned};
    world_beat(&w, &b, &r);
    expect(0, 1, "t:0");
    assert_int_equal(strlen(r.member), 22);
    char id[64];
    (void)snprintf(id, sizeof(id), "%s", r.member);
    world_beat(&w, &b, &r);
    assert_string_not_equal(r.member, id);
    world_end(&w);
}

static void test_assignors(void **state)
{
    (void)state;
    begin();
    w.settings.group_consumer_assignment_interval_ms = 0;
    world_topic(&w, "t", 3);
    world_topic(&w, "u", 3);
    owned.count = 0;
    struct world_beat b = {.group = "g", .member = "a", .topics = "t u", .assignor = "range", .rebalance_ms = 1, .version = 1, .owned = &owned};
    world_beat(&w, &b, &r);
    expect(0, 1, "t:0,1,2 u:0,1,2");
    join("b", "t u");
    expect_group("Reconciling 2/2 | a 1 t:0,1,2 u:0,1,2 > t:0,1 u:0,1 | b 2 - > t:2 u:2");
    join("c", "t u"); /* one of three asks for it; the others are silent */
    expect_group("Reconciling 3/3 | a 1 t:0,1,2 u:0,1,2 > t:0 u:0 | b 2 - > t:1 u:1 | c 3 - > t:2 u:2");
    world_end(&w);
}

/* ---- the log ------------------------------------------------------------------------------------------------------ */

static void test_reload(void **state)
{
    char before[WORLD_TEXT];
    (void)state;
    begin();
    w.settings.group_consumer_assignment_interval_ms = 0;
    world_topic(&w, "t", 5);
    world_topic(&w, "u", 2);
    join("a", "t u");
    join("b", "t");
    static_beat("c", "i", 0, "u", "-");
    beat("a", 1, NULL, "t:0,1,2,3,4 u:0,1");
    static_beat("c", "i", -2, NULL, NULL);
    world_describe(&w, "g", before);
    for (unsigned i = 0; i < 2; i++) {
        world_reload(&w, false);
        expect_group(before);
    }
    join("d", "t");
    world_describe(&w, "g", before);
    world_reload(&w, false);
    expect_group(before);
    world_end(&w);
}

/* Nothing is answered before it is committed, and what was never committed never was. */
static void test_commitment(void **state)
{
    struct wire_writer body;
    struct tide_rope answer = {0};
    void *cookie;
    (void)state;
    begin();
    world_topic(&w, "t", 2);
    join("a", "t");
    w.auto_commit = false;
    owned.count = 0;
    struct world_beat b = {.group = "g", .member = "b", .topics = "t", .rebalance_ms = 1, .version = 1, .owned = &owned};
    wire_writer_init(&body, w.pool);
    world_put_beat(&w, &body, &b);
    assert_int_equal(world_ask(&w, KAFKA_API_CONSUMER_GROUP_HEARTBEAT, 1, -1, &body.out, &b), TIDE_OK);
    assert_false(world_next_answer(&w, &cookie, &answer));
    world_commit(&w, w.log_end - 1);
    assert_false(world_next_answer(&w, &cookie, &answer));
    world_commit(&w, w.log_end);
    assert_true(world_next_answer(&w, &cookie, &answer));
    assert_ptr_equal(cookie, &b);
    tide_rope_clear(&answer);
    b.member = "c";
    struct wire_writer other;
    wire_writer_init(&other, w.pool);
    world_put_beat(&w, &other, &b);
    assert_int_equal(world_ask(&w, KAFKA_API_CONSUMER_GROUP_HEARTBEAT, 1, -1, &other.out, &b), TIDE_OK);
    world_reload(&w, true);
    w.auto_commit = true;
    expect_group("Assigning 2/1 | a 1 t:0,1 > t:0,1 | b 1 - > -");
    wire_writer_abandon(&body);
    wire_writer_abandon(&other);
    world_end(&w);
}

/* The n-th append is refused, for every n: the member is told, and comes to the same end by asking again. */
static void test_append_refused(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 12; n++) {
        begin();
        w.settings.group_consumer_assignment_interval_ms = 0;
        world_topic(&w, "t", 4);
        w.fail_append = n;
        int epoch = 0;
        char has[WORLD_TEXT] = "-";
        for (unsigned i = 0; i < 8; i++) {
            beat("a", epoch, epoch == 0 ? "t" : NULL, has);
            if (r.error != 0) {
                assert_int_equal(r.error, KAFKA_COORDINATOR_NOT_AVAILABLE);
            } else {
                epoch = r.epoch;
                if (r.has_assignment)
                    (void)world_set_text(&w, &r.assignment, has);
            }
            if (i == 2)
                join("b", "t");
            if (i == 5)
                join("b", "t");
            world_pass_ms(&w, 200);
        }
        assert_string_equal(has, "t:0,1");
        beat("b", epoch, NULL, "-");
        expect_group("Stable 2/2 | a 2 t:0,1 > t:0,1 | b 2 t:2,3 > t:2,3");
        world_reload(&w, false);
        expect_group("Stable 2/2 | a 2 t:0,1 > t:0,1 | b 2 t:2,3 > t:2,3");
        world_end(&w);
    }
}

/* A heap that is too small for it: an error, and a group that goes on. */
static void test_heap_full(void **state)
{
    (void)state;
    for (size_t kib = 256; kib <= 4096; kib *= 2) {
        char member[16];
        unsigned joined = 0;
        world_begin(&w, kib << 10);
        w.settings.group_consumer_assignment_interval_ms = 0;
        world_topic(&w, "t", WORLD_PARTITIONS / 2);
        for (unsigned i = 0; i < 200; i++) {
            (void)snprintf(member, sizeof(member), "m%u", i);
            join(member, "t");
            if (r.error == 0)
                joined++;
            else
                assert_int_equal(r.error, KAFKA_COORDINATOR_NOT_AVAILABLE);
        }
        assert_true(kib > 256 || joined < 200);
        world_reload(&w, false);
        world_end(&w);
    }
}

/* Names in any order, some twice, known ones between new ones: each is one topic, as long as somebody wants it. */
static void test_names_in_disorder(void **state)
{
    (void)state;
    begin();
    for (unsigned i = 0; i < 5; i++)
        world_topic(&w, (const char *[]){"p", "q", "r", "s", "t"}[i], 1);
    join("a", "t q t q");
    join("b", "s p t r s p q");
    beat("a", -1, NULL, NULL);
    assert_int_equal(r.error, 0);
    join("b", "t s r q p");
    world_pass_ms(&w, 2000);
    join("b", "t s r q p");
    assert_int_equal(r.error, 0);
    assert_string_equal(world_set_text(&w, &r.assignment, text), "p:0 q:0 r:0 s:0 t:0");
    world_reload(&w, false);
    world_end(&w);
}

/* When hardly anything is free nobody comes in, but who goes gives back what it has. */
static void test_leaves_full_heap(void **state)
{
    static void *blocks[256];
    unsigned n = 0;
    (void)state;
    world_begin(&w, 1 << 20);
    world_topic(&w, "t", 4);
    join("a", "t");
    assert_int_equal(r.error, 0);
    while (tide_heap_has(w.heap, 4096))
        blocks[n++] = tide_heap_take(w.heap, 4096);
    join("b", "t");
    assert_int_equal(r.error, KAFKA_COORDINATOR_NOT_AVAILABLE);
    beat("a", -1, NULL, NULL);
    assert_int_equal(r.error, 0);
    expect_group("Empty 2/1");
    while (n != 0)
        tide_heap_give(w.heap, blocks[--n]);
    world_end(&w);
}

/* ---- in the middle of much ------------------------------------------------------------------------------------------- */

/* A large group is assigned over several turns, and members change meanwhile. */
static void test_large(void **state)
{
    char member[16];
    (void)state;
    begin();
    for (unsigned t = 0; t < 10; t++)
        world_topic(&w, (const char *[]){"ta", "tb", "tc", "td", "te", "tf", "tg", "th", "ti", "tj"}[t], 1000);
    for (unsigned i = 0; i < 300; i++) {
        (void)snprintf(member, sizeof(member), "m%03u", i);
        join(member, "ta tb tc td te tf tg th ti tj");
        assert_int_equal(r.error, 0);
        if (i % 3 == 0)
            world_turn(&w);
    }
    for (unsigned i = 0; i < 300; i += 7) {
        (void)snprintf(member, sizeof(member), "m%03u", i);
        w.now.now_ns += 20 * TIDE_NS_PER_MS;
        world_turn(&w);
        beat(member, -1, NULL, NULL);
        assert_int_equal(r.error, 0);
    }
    world_pass_ms(&w, 3000);
    world_describe(&w, "g", text);
    unsigned epoch = 0, assigned = 1;
    assert_int_equal(sscanf(text, "Reconciling %u/%u ", &epoch, &assigned), 2);
    assert_int_equal(epoch, assigned);
    world_reload(&w, false);
    world_end(&w);
}

/* ---- other questions -------------------------------------------------------------------------------------------------- */

static void test_offset_commits(void **state)
{
    (void)state;
    begin();
    w.settings.group_consumer_assignment_interval_ms = 0;
    world_topic(&w, "t", 2);
    join("a", "t");
    join("b", "t");
    beat("a", 1, NULL, "t:0,1");
    beat("a", 1, NULL, "t:0");
    expect(0, 2, NULL);
    beat("b", 2, NULL, "-");
    expect(0, 2, "t:1");
    assert_int_equal(world_commit_error(&w, "a", 2, 9, "t", 0), 0);
    assert_int_equal(world_commit_error(&w, "a", 1, 9, "t", 0), 0); /* it has had this one since epoch 1 */
    assert_int_equal(world_commit_error(&w, "a", 1, 9, "t", 1), KAFKA_STALE_MEMBER_EPOCH);
    assert_int_equal(world_commit_error(&w, "b", 1, 9, "t", 1), KAFKA_STALE_MEMBER_EPOCH); /* and that one since epoch 2 only */
    assert_int_equal(world_commit_error(&w, "a", 2, 9, "t", 1), KAFKA_STALE_MEMBER_EPOCH); /* somebody else has it */
    assert_int_equal(world_commit_error(&w, "a", 3, 9, "t", 0), KAFKA_STALE_MEMBER_EPOCH);
    assert_int_equal(world_commit_error(&w, "c", 2, 9, "t", 0), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(world_commit_error(&w, "", -1, 9, "t", 0), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(world_commit_error(&w, "a", 2, 8, "t", 0), KAFKA_UNSUPPORTED_VERSION);
    beat("a", -1, NULL, NULL);
    beat("b", -1, NULL, NULL);
    assert_int_equal(world_commit_error(&w, "", -1, 9, "t", 0), 0);
    world_end(&w);
}

/* Whoever is to give something up keeps its epoch, also when the next revocation follows at once: what it no longer has it commits no more, since another
 * may have had it in between. */
static void test_offset_commits_of_a_revocation(void **state)
{
    (void)state;
    begin();
    w.settings.group_consumer_assignment_interval_ms = 0;
    world_topic(&w, "t", 4);
    world_topic(&w, "u", 1);
    join("a", "t");
    assert_int_equal(world_commit_error(&w, "a", 1, 9, "u", 0), 0); /* nobody has it */
    join("b", "t");
    beat("a", 1, NULL, "t:0,1,2,3");
    expect(0, 1, "t:0,1");
    join("c", "t");
    join("d", "t");
    beat("a", 1, NULL, "t:0,1");
    expect(0, 1, "t:0");
    beat("b", 2, NULL, "-");
    beat("b", -1, NULL, NULL);
    assert_int_equal(world_commit_error(&w, "a", 1, 9, "t", 2), KAFKA_STALE_MEMBER_EPOCH);
    assert_int_equal(world_commit_error(&w, "a", 1, 9, "t", 1), 0); /* it is to give that up */
    world_end(&w);
}

/* ---- classic groups ------------------------------------------------------------------------------------------------------ */

static enum tide_status ask_classic(int16_t api, int16_t version, struct wire_writer *body)
{
    enum tide_status status = world_ask(&w, api, version, -1, &body->out, &w);
    wire_writer_abandon(body);
    return status;
}

/* A static member: it joins with one question. */
static int classic_join(void)
{
    struct wire_writer b;
    struct join_group_response in;
    struct tide_rope answer = {0};
    struct wire_cursor c;
    void *cookie;
    int16_t v = 5;
    wire_writer_init(&b, w.pool);
    join_group_request_put_group_id(&b, v, "g", 1);
    join_group_request_put_session_timeout_ms(&b, v, 10000);
    join_group_request_put_rebalance_timeout_ms(&b, v, 10000);
    join_group_request_put_member_id(&b, v, "", 0);
    join_group_request_put_group_instance_id(&b, v, "classic", 7);
    join_group_request_put_protocol_type(&b, v, "consumer", 8);
    join_group_request_open_protocols(&b, v, 1);
    join_group_request_protocol_put_name(&b, v, "range", 5);
    join_group_request_protocol_put_metadata(&b, v, "", 0);
    join_group_request_protocol_end(&b, v);
    join_group_request_end(&b, v);
    assert_int_equal(ask_classic(KAFKA_API_JOIN_GROUP, v, &b), TIDE_OK);
    world_pass_ms(&w, 3100);
    assert_true(world_next_answer(&w, &cookie, &answer));
    wire_cursor_init(&c, tide_rope_slice(&answer, 0, answer.len));
    assert_true(join_group_response_read(&c, v, &in));
    int error = in.error_code;
    tide_rope_clear(&answer);
    return error;
}

/* A group without members is of the kind of whoever comes next; what was committed stays. */
static void test_kinds(void **state)
{
    (void)state;
    begin();
    world_topic(&w, "t", 1);
    assert_int_equal(world_commit_error(&w, "", -1, 9, "t", 0), 0);
    join("a", "t");
    expect(0, 1, "t:0");
    assert_int_equal(classic_join(), KAFKA_INCONSISTENT_GROUP_PROTOCOL);
    beat("a", -1, NULL, NULL);
    w.fail_append = 1;
    assert_int_equal(classic_join(), KAFKA_COORDINATOR_NOT_AVAILABLE);
    expect_group("Empty 2/1");
    assert_int_equal(classic_join(), 0);
    expect_group("error 69");
    join("a", "t");
    expect(KAFKA_GROUP_ID_NOT_FOUND, 0, NULL); /* what it subscribes to is not understood */
    world_pass_ms(&w, 11000); /* it never synchronizes */
    join("a", "t");
    expect(0, 1, "t:0");
    assert_int_equal(world_commit_error(&w, "a", 1, 9, "t", 0), 0);
    world_reload(&w, false);
    expect_group("Stable 1/1 | a 1 t:0 > t:0");
    beat("a", 1, NULL, "t:0");
    expect(0, 1, NULL);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_handover),
        cmocka_unit_test(test_what_is_free_comes_at_once),
        cmocka_unit_test(test_a_member_that_leaves_frees),
        cmocka_unit_test(test_topics_change),
        cmocka_unit_test(test_epochs),
        cmocka_unit_test(test_session),
        cmocka_unit_test(test_rebalance_timeout),
        cmocka_unit_test(test_static),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_version_0),
        cmocka_unit_test(test_assignors),
        cmocka_unit_test(test_reload),
        cmocka_unit_test(test_commitment),
        cmocka_unit_test(test_append_refused),
        cmocka_unit_test(test_heap_full),
        cmocka_unit_test(test_names_in_disorder),
        cmocka_unit_test(test_leaves_full_heap),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_offset_commits),
        cmocka_unit_test(test_offset_commits_of_a_revocation),
        cmocka_unit_test(test_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
