/* SPDX-License-Identifier: Apache-2.0 */
/* Groups with members of both protocols, and groups that change their kind with members in them. */
#include "classic_says.h"

#include "kafka/errors.h"
#include "kafka/messages.h"

static struct world w;
static struct world_answer r;
static struct classic_hears h;
static struct world_set owned, parts[2];
static char text[WORLD_TEXT];

static void begin(void)
{
    world_begin(&w, 16u << 20);
    w.settings.group_consumer_assignment_interval_ms = 0;
    w.settings.group_initial_rebalance_delay_ms = 0;
}

static void beat(const char *member, int epoch, const char *topics, const char *has)
{
    world_member_beat(&w, &r, member, epoch, topics, NULL, has);
}

static void expect(int error, int epoch, const char *assignment) { world_expect(&w, &r, error, epoch, assignment); }

static void expect_group(const char *described) { world_expect_group(&w, described); }

/* Loaded anew it is the same. */
static void expect_lasting_group(const char *described)
{
    expect_group(described);
    world_reload(&w, false);
    expect_group(described);
}

/* ---- members of the classic protocol ----------------------------------------------------------------- */

struct member {
    char id[CLASSIC_ID];
    const char *instance, *protocols;
    int generation;
    char listed[1 + CLASSIC_LISTED];
};

/* `has` NULL: the subscription has no place for it. False: the answer comes later. */
static bool join_as(struct member *m, const char *topics, const char *has)
{
    struct classic_says s = {.group = "g", .member = m->id, .instance = m->instance, .protocols = m->protocols, .topics = topics};
    if (has != NULL) {
        world_set_read(&w, has, &owned);
        s.owned = &owned;
    }
    if (!classic_ask(&w, KAFKA_API_JOIN_GROUP, &s, &h))
        return false;
    if (h.error == KAFKA_MEMBER_ID_REQUIRED) {
        (void)snprintf(m->id, sizeof(m->id), "%s", h.member);
        s.member = m->id;
        if (!classic_ask(&w, KAFKA_API_JOIN_GROUP, &s, &h))
            return false;
    }
    if (h.error == 0) {
        (void)snprintf(m->id, sizeof(m->id), "%s", h.member);
        m->generation = h.generation;
    }
    return true;
}

static void joins(struct member *m, const char *topics, const char *has, int generation)
{
    assert_true(join_as(m, topics, has));
    assert_int_equal(h.error, 0);
    assert_int_equal(h.generation, generation);
    assert_string_equal(h.leader, "");
    assert_int_equal(h.listed, 0);
}

static int ask(int16_t api, const struct member *m)
{
    struct classic_says s = {.group = "g", .member = m->id, .instance = m->instance, .generation = m->generation};
    assert_true(classic_ask(&w, api, &s, &h));
    return h.error;
}

static int heartbeat(const struct member *m) { return ask(KAFKA_API_HEARTBEAT, m); }
static int leaves(const struct member *m) { return ask(KAFKA_API_LEAVE_GROUP, m); }

static void syncs(const struct member *m, const char *assignment)
{
    assert_int_equal(ask(KAFKA_API_SYNC_GROUP, m), 0);
    assert_string_equal(world_set_text(&w, &h.assignment, text), assignment);
}

static struct classic_hears led; /* what the leader of a classic group has heard */

/* The answers of a classic group of two. */
static void both_have_joined(struct member *a, struct member *b)
{
    led.listed = 0;
    for (unsigned i = 0; i < 2; i++) {
        assert_true(i == 0 || classic_next(&w, KAFKA_API_JOIN_GROUP, &h));
        assert_int_equal(h.error, 0);
        if (h.listed != 0)
            led = h;
    }
    assert_int_equal(led.listed, 2);
    a->generation = b->generation = led.generation;
}

static void leader_syncs(const struct member *a, const char *of_a, const char *of_b)
{
    struct wire_writer body;
    struct tide_rope answer = {0};
    void *cookie;
    for (int i = 0; i < 2; i++)
        world_set_read(&w, strcmp(led.list[i].member, a->id) == 0 ? of_a : of_b, &parts[i]);
    wire_writer_init(&body, w.pool);
    classic_put_sync(&w, &body, &(struct classic_says){.group = "g", .member = led.leader, .generation = led.generation}, led.list, parts, 2);
    assert_int_equal(world_ask(&w, KAFKA_API_SYNC_GROUP, CLASSIC_SYNC, -1, &body.out, &led), TIDE_OK);
    wire_writer_abandon(&body);
    assert_true(world_next_answer(&w, &cookie, &answer));
    classic_read(&w, KAFKA_API_SYNC_GROUP, &answer, &h);
    assert_int_equal(h.error, 0);
}

static void classic_group(struct member *a, struct member *b, const char *of_a, const char *of_b)
{
    for (struct member *m = a; m != NULL; m = m == a ? b : NULL) {
        struct classic_says s = {.group = "g", .member = "", .topics = "t", .owned = &owned};
        owned.count = 0;
        assert_true(classic_ask(&w, KAFKA_API_JOIN_GROUP, &s, &h));
        assert_int_equal(h.error, KAFKA_MEMBER_ID_REQUIRED);
        (void)snprintf(m->id, sizeof(m->id), "%s", h.member);
    }
    assert_false(join_as(a, "t", "-"));
    assert_false(join_as(b, "t", "-"));
    world_pass_ms(&w, 10);
    assert_true(classic_next(&w, KAFKA_API_JOIN_GROUP, &h));
    both_have_joined(a, b);
    leader_syncs(a, of_a, of_b);
    syncs(a, of_a);
    syncs(b, of_b);
}

/* Ids are made there: they go into descriptions. */
static const char *with_id(const char *before, const struct member *m, const char *behind)
{
    static char to[WORLD_TEXT];
    (void)snprintf(to, sizeof(to), "%s | %s %s", before, m->id, behind);
    return to;
}

static int compare_members(const struct member *a, const struct member *b) { return strcmp(a->id, b->id); }

/* ---- classic members join a group of the consumer protocol --------------------------------------------- */

static void test_classic_joins(void **state)
{
    struct member a = {.protocols = "cooperative-sticky"};
    begin();
    world_topic(&w, "t", 4);
    beat("z", 0, "t", "-");
    expect(0, 1, "t:0,1,2,3");
    joins(&a, "t", "-", 2);
    syncs(&a, "-"); /* what it shall have is not released yet */
    expect_lasting_group(with_id("Reconciling 2/2", &a, "2 - > t:2,3 | z 1 t:0,1,2,3 > t:0,1"));
    assert_int_equal(heartbeat(&a), 0);
    beat("z", 1, NULL, "t:0,1,2,3");
    expect(0, 1, "t:0,1");
    assert_int_equal(heartbeat(&a), 0);
    beat("z", 1, NULL, "t:0,1");
    expect(0, 2, NULL);
    assert_int_equal(heartbeat(&a), KAFKA_REBALANCE_IN_PROGRESS); /* now it may have it */
    joins(&a, "t", "-", 2);
    syncs(&a, "t:2,3");
    assert_int_equal(heartbeat(&a), 0);
    expect_lasting_group(with_id("Stable 2/2", &a, "2 t:2,3 > t:2,3 | z 2 t:0,1 > t:0,1"));
    beat("z", -1, NULL, NULL);
    expect(0, -1, NULL);
    world_end(&w);
}

/* A member's record says what it offers as Kafka's does (ClassicMemberMetadata, KIP-893): tag 0, a byte that it is there, the session, the protocols. */
static void test_classic_record(void **state)
{
    static const char tagged[] = "\x01\x00\x2d\x01\x00\x00\x27\x10\x02\x13" "cooperative-sticky" "\x12"
                                 "\x00\x01\x00\x00\x00\x01\x00\x01t\xff\xff\xff\xff\x00\x00\x00\x00" "\x00\x00";
    struct member a = {.protocols = "cooperative-sticky"};
    unsigned found = 0;
    begin();
    world_topic(&w, "t", 1);
    beat("z", 0, "t", "-");
    joins(&a, "t", "-", 2);
    for (uint32_t i = 0; i < w.batches; i++)
        found += memmem(w.log[i].bytes, w.log[i].len, tagged, sizeof(tagged) - 1) != NULL;
    assert_int_equal(found, 1);
    world_end(&w);
}

/* It gives up by joining again without. */
static void test_classic_revokes(void **state)
{
    struct member a = {.protocols = "cooperative-sticky"};
    begin();
    w.settings.group_consumer_migration_policy = 1; /* it stays what it is */
    world_topic(&w, "t", 2);
    beat("z", 0, "t", "-");
    joins(&a, "t", "-", 2);
    beat("z", -1, NULL, NULL);
    world_pass_ms(&w, 10);
    assert_int_equal(heartbeat(&a), KAFKA_REBALANCE_IN_PROGRESS);
    assert_int_equal(ask(KAFKA_API_SYNC_GROUP, &a), KAFKA_REBALANCE_IN_PROGRESS);
    joins(&a, "t", "-", 3);
    syncs(&a, "t:0,1");
    beat("z", 0, "t", "-");
    expect(0, 4, "-");
    assert_int_equal(heartbeat(&a), KAFKA_REBALANCE_IN_PROGRESS);
    joins(&a, "t", "t:0,1", 3); /* it keeps its generation until it has given up one of them */
    syncs(&a, "t:0");
    beat("z", 4, NULL, "-");
    expect(0, 4, NULL);
    assert_int_equal(heartbeat(&a), KAFKA_REBALANCE_IN_PROGRESS);
    assert_int_equal(world_commit_error(&w, a.id, 3, 7, "t", 1), 0); /* on its way out */
    joins(&a, "t", "t:0", 4);
    syncs(&a, "t:0");
    beat("z", 4, NULL, "-");
    expect(0, 4, "t:1");
    assert_int_equal(world_commit_error(&w, a.id, 3, 7, "t", 1), KAFKA_ILLEGAL_GENERATION);
    assert_int_equal(world_commit_error(&w, a.id, 5, 7, "t", 0), KAFKA_ILLEGAL_GENERATION);
    assert_int_equal(world_commit_error(&w, a.id, 4, 7, "t", 0), 0);
    assert_int_equal(world_commit_error(&w, "z", 4, 8, "t", 1), KAFKA_UNSUPPORTED_VERSION);
    /* One that has given all up before it joins, as eager members do. */
    beat("y", 0, "t", "-");
    assert_int_equal(heartbeat(&a), KAFKA_REBALANCE_IN_PROGRESS);
    joins(&a, "t", NULL, 5);
    world_end(&w);
}

static void test_classic_errors(void **state)
{
    struct member a = {0}, b = {.protocols = "roundrobin"}, c = {.id = "unknown"};
    struct classic_says s = {.group = "g", .member = "m", .topics = "t", .garbage = true};
    begin();
    world_topic(&w, "t", 2);
    beat("z", 0, "t", "-");
    assert_true(classic_ask(&w, KAFKA_API_JOIN_GROUP, &s, &h));
    assert_int_equal(h.error, KAFKA_INCONSISTENT_GROUP_PROTOCOL); /* what it subscribes to is not understood */
    joins(&a, "t", "-", 2);
    assert_true(join_as(&b, "t", "-"));
    assert_int_equal(h.error, KAFKA_INCONSISTENT_GROUP_PROTOCOL); /* nothing that both offer */
    a.protocols = "roundrobin range";
    joins(&a, "t", "-", 2);
    b.id[0] = 0;
    joins(&b, "t", "-", 3);
    assert_int_equal(heartbeat(&c), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(leaves(&c), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(ask(KAFKA_API_SYNC_GROUP, &c), KAFKA_UNKNOWN_MEMBER_ID);
    (void)snprintf(c.id, sizeof(c.id), "z"); /* speaks the other protocol */
    assert_int_equal(heartbeat(&c), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(leaves(&c), KAFKA_UNKNOWN_MEMBER_ID);
    b.generation = 7;
    assert_int_equal(heartbeat(&b), KAFKA_ILLEGAL_GENERATION);
    assert_int_equal(ask(KAFKA_API_SYNC_GROUP, &b), KAFKA_ILLEGAL_GENERATION);
    w.settings.group_consumer_max_size = 3;
    c = (struct member){.protocols = "roundrobin"};
    assert_true(join_as(&c, "t", "-"));
    assert_int_equal(h.error, KAFKA_GROUP_MAX_SIZE_REACHED);
    c = (struct member){.id = "taken-out", .protocols = "roundrobin"};
    assert_true(join_as(&c, "t", "t:0"));
    assert_int_equal(h.error, KAFKA_UNKNOWN_MEMBER_ID); /* others may have what it uses */
    w.fail_append = 1;
    assert_int_equal(leaves(&b), KAFKA_COORDINATOR_NOT_AVAILABLE);
    assert_int_equal(leaves(&b), 0);
    assert_int_equal(leaves(&b), KAFKA_UNKNOWN_MEMBER_ID);
    world_end(&w);
}

static void test_classic_times(void **state)
{
    struct member a = {0}, b = {0};
    begin();
    w.settings.group_consumer_migration_policy = 0;
    world_topic(&w, "t", 2);
    beat("z", 0, "t", "-");
    joins(&a, "u", "-", 2); /* there is no such topic: nobody gives anything up */
    syncs(&a, "-");
    joins(&b, "u", "-", 3);
    for (int i = 0; i < 7; i++) { /* a does not join again, b does not sync; both are heard */
        world_pass_ms(&w, 8000);
        beat("z", 1, NULL, "t:0,1");
        assert_int_equal(heartbeat(&a), KAFKA_REBALANCE_IN_PROGRESS);
        assert_int_equal(heartbeat(&b), 0);
    }
    world_reload(&w, false); /* the times begin anew */
    world_pass_ms(&w, 8000);
    assert_int_equal(heartbeat(&a), KAFKA_REBALANCE_IN_PROGRESS);
    joins(&b, "u", "-", 3);
    for (int i = 0; i < 7; i++) {
        world_pass_ms(&w, 8000);
        assert_int_equal(heartbeat(&a), KAFKA_REBALANCE_IN_PROGRESS);
        assert_int_equal(heartbeat(&b), 0);
        beat("z", 1, NULL, "t:0,1");
    }
    world_pass_ms(&w, 5000);
    assert_int_equal(heartbeat(&a), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(heartbeat(&b), KAFKA_UNKNOWN_MEMBER_ID);
    a.id[0] = 0;
    assert_true(join_as(&a, "t", "-"));
    assert_int_equal(h.error, 0);
    assert_int_equal(ask(KAFKA_API_SYNC_GROUP, &a), 0);
    world_pass_ms(&w, 9900);
    assert_true(heartbeat(&a) != KAFKA_UNKNOWN_MEMBER_ID);
    world_pass_ms(&w, 10100); /* its session is its own */
    assert_int_equal(heartbeat(&a), KAFKA_UNKNOWN_MEMBER_ID);
    world_end(&w);
}

/* ---- changes of kind ---------------------------------------------------------------------------------------- */

static void test_upgrade_and_back(void **state)
{
    struct member a = {0}, b = {0};
    begin();
    world_topic(&w, "t", 4);
    classic_group(&a, &b, "t:0,1", "t:2,3");
    assert_int_equal(a.generation, 1);
    assert_int_equal(world_commit_error(&w, a.id, 1, 7, "t", 0), 0);
    expect_group("error 69");
    const char *first = compare_members(&a, &b) < 0 ? "t:0,1" : "t:2,3", *second = first[2] == '0' ? "t:2,3" : "t:0,1";
    const struct member *low = compare_members(&a, &b) < 0 ? &a : &b, *high = low == &a ? &b : &a;
    beat("z", 0, "t", "-");
    expect(0, 2, "-");
    world_describe(&w, "g", text);
    char expected[WORLD_TEXT], target[2][32];
    assert_int_equal(sscanf(text, "Reconciling 2/2 | %*s 1 %*s > %31s | %*s 1 %*s > %31s", target[0], target[1]), 2);
    (void)snprintf(expected, sizeof(expected), "Reconciling 2/2 | %s 1 %s > %s | %s 1 %s > %s | z 2 - > ", low->id, first, target[0], high->id, second,
                   target[1]);
    assert_memory_equal(text, expected, strlen(expected));
    world_reload(&w, false);
    world_describe(&w, "g", text);
    assert_memory_equal(text, expected, strlen(expected));
    assert_int_equal(heartbeat(&a), KAFKA_REBALANCE_IN_PROGRESS);
    assert_int_equal(heartbeat(&b), KAFKA_REBALANCE_IN_PROGRESS);
    assert_int_equal(world_commit_error(&w, a.id, 1, 7, "t", 0), 0);
    joins(&a, "t", NULL, 2);
    joins(&b, "t", NULL, 2);
    beat("z", 2, NULL, "-");
    assert_true(r.has_assignment);
    (void)ask(KAFKA_API_SYNC_GROUP, &a);
    assert_int_equal(h.error, 0);
    (void)ask(KAFKA_API_SYNC_GROUP, &b);
    assert_int_equal(h.error, 0);
    assert_int_equal(heartbeat(&a), 0);
    assert_int_equal(heartbeat(&b), 0);
    /* The last one of the consumer protocol goes. */
    beat("z", -1, NULL, NULL);
    world_pass_ms(&w, 10);
    expect_group("error 69");
    beat("z", 2, NULL, "-");
    expect(KAFKA_UNKNOWN_MEMBER_ID, 0, NULL);
    a.generation = b.generation = 3;
    assert_int_equal(heartbeat(&a), KAFKA_REBALANCE_IN_PROGRESS);
    world_reload(&w, false); /* nobody leads: the rebalance begins again */
    assert_int_equal(heartbeat(&a), KAFKA_REBALANCE_IN_PROGRESS);
    assert_int_equal(world_commit_error(&w, a.id, 3, 7, "t", 0), 0);
    assert_false(join_as(&a, "t", NULL));
    assert_true(join_as(&b, "t", NULL)); /* all are here */
    both_have_joined(&a, &b);
    assert_int_equal(a.generation, 4);
    world_end(&w);
}

/* A member of the consumer protocol comes into a classic group in which another waits. */
static void joins_over_waiting(void)
{
    struct wire_writer body;
    struct tide_rope answer = {0};
    void *cookie;
    owned.count = 0;
    wire_writer_init(&body, w.pool);
    world_put_beat(&w, &body, &(struct world_beat){.group = "g", .member = "z", .topics = "t", .rebalance_ms = 60000, .version = 1, .owned = &owned});
    assert_int_equal(world_ask(&w, KAFKA_API_CONSUMER_GROUP_HEARTBEAT, 1, -1, &body.out, &body), TIDE_OK);
    wire_writer_abandon(&body);
    assert_true(classic_next(&w, KAFKA_API_JOIN_GROUP, &h));
    assert_int_equal(h.error, KAFKA_REBALANCE_IN_PROGRESS);
    assert_true(world_next_answer(&w, &cookie, &answer));
    world_read_answer(&w, &answer, 1, &r);
}

/* Members that wait in a classic group join again. */
static void test_upgrade_of_a_rebalance(void **state)
{
    struct member a = {0}, b = {0};
    begin();
    world_topic(&w, "t", 4);
    classic_group(&a, &b, "t:0,1", "t:2,3");
    assert_false(join_as(&a, "t", "t:0,1")); /* it leads: a rebalance begins */
    w.fail_append = 1;
    joins_over_waiting();
    expect(KAFKA_COORDINATOR_NOT_AVAILABLE, 0, NULL);
    assert_int_equal(heartbeat(&b), KAFKA_REBALANCE_IN_PROGRESS); /* as before */
    assert_false(join_as(&a, "t", "t:0,1"));
    joins_over_waiting();
    expect(0, 2, "-");
    joins(&a, "t", "-", 2);
    world_end(&w);
}

/* What a member still holds of an earlier generation it is to revoke; what two claim is the first one's. */
static void test_upgrade_claims(void **state)
{
    struct member a = {0}, b = {0};
    begin();
    world_topic(&w, "t", 4);
    classic_group(&a, &b, "t:0,1,2", "t:2,3");
    beat("z", 0, "t", "-");
    world_describe(&w, "g", text);
    const char *of_b = strstr(text, b.id) + strlen(b.id), *of_a = strstr(text, a.id) + strlen(a.id);
    /* Which of the two comes first in the group is the classic one's affair. */
    assert_true((strncmp(of_a, " 1 t:0,1,2 >", 12) == 0 && strncmp(of_b, " 1 t:3 >", 8) == 0) ||
                (strncmp(of_a, " 1 t:0,1 >", 10) == 0 && strncmp(of_b, " 1 t:2,3 >", 10) == 0));
    world_end(&w);

    begin();
    world_topic(&w, "t", 4);
    classic_group(&a, &b, "t:0,1", "t:2,3");
    /* Both name what they have; the leader then leaves t:0 and t:1 to nobody, as cooperative assignors do. */
    struct member *leader = strcmp(led.leader, a.id) == 0 ? &a : &b, *other = leader == &a ? &b : &a;
    assert_false(join_as(leader, "t", leader == &a ? "t:0,1" : "t:2,3")); /* who leads begins a rebalance by it */
    assert_true(join_as(other, "t", other == &a ? "t:0,1" : "t:2,3"));
    both_have_joined(&a, &b);
    leader_syncs(&a, "-", "t:2,3");
    beat("z", 0, "t", "-");
    expect(0, 3, "-"); /* t:0 and t:1 are a's until it joins without them */
    joins(&a, "t", "-", 3);
    beat("z", 3, NULL, "-");
    assert_true(r.has_assignment);
    assert_true(world_set_has(&r.assignment, 0, 0) || world_set_has(&r.assignment, 0, 1));
    world_end(&w);
}

static void test_policies(void **state)
{
    enum { DISABLED, UPGRADE, DOWNGRADE, BIDIRECTIONAL };
    for (int policy = DISABLED; policy <= BIDIRECTIONAL; policy++) {
        struct member a = {0}, b = {0};
        begin();
        world_topic(&w, "t", 4);
        w.settings.group_consumer_migration_policy = policy;
        classic_group(&a, &b, "t:0,1", "t:2,3");
        beat("z", 0, "t", "-");
        if (policy == DISABLED || policy == DOWNGRADE) {
            expect(KAFKA_GROUP_ID_NOT_FOUND, 0, NULL);
            assert_int_equal(heartbeat(&a), 0); /* nothing has happened */
            assert_int_equal(leaves(&a), 0);
            assert_int_equal(leaves(&b), 0);
            beat("z", 0, "t", "-");
        }
        assert_int_equal(r.error, 0);
        a.id[0] = 0;
        assert_true(join_as(&a, "t", "-")); /* policy or not */
        assert_int_equal(h.error, 0);
        beat("z", -1, NULL, NULL);
        world_pass_ms(&w, 10);
        world_describe(&w, "g", text);
        assert_int_equal(strcmp(text, "error 69") == 0, policy == DOWNGRADE || policy == BIDIRECTIONAL);
        world_end(&w);
    }
}

static void test_upgrade_refused(void **state)
{
    struct member a = {0}, b = {0};
    begin();
    world_topic(&w, "t", 4);
    classic_group(&a, &b, "t:0,1", "t:2,3");
    w.settings.group_consumer_max_size = 2;
    beat("z", 0, "t", "-");
    expect(KAFKA_GROUP_ID_NOT_FOUND, 0, NULL);
    struct world_beat b_beat = {.group = "g", .member = "z", .assignor = "none", .topics = "t", .rebalance_ms = 60000, .version = 1, .owned = &owned};
    w.settings.group_consumer_max_size = 10;
    world_beat(&w, &b_beat, &r);
    expect(KAFKA_UNSUPPORTED_ASSIGNOR, 0, NULL);
    assert_int_equal(heartbeat(&a), 0); /* nothing has happened */
    w.settings.group_consumer_max_size = 10;
    beat("z", 1, "t", "-"); /* a member that there is not */
    expect(KAFKA_UNKNOWN_MEMBER_ID, 0, NULL);
    assert_int_equal(heartbeat(&a), 0);
    world_end(&w);
}

/* A downgrade that the log refuses comes again. */
static void test_downgrade_refused(void **state)
{
    struct member a = {0};
    begin();
    world_topic(&w, "t", 4);
    beat("z", 0, "t", "-");
    joins(&a, "t", "-", 2);
    beat("z", -1, NULL, NULL);
    w.append_error = KAFKA_NOT_ENOUGH_REPLICAS;
    world_pass_ms(&w, 500);
    w.append_error = 0;
    world_describe(&w, "g", text);
    assert_string_not_equal(text, "error 69");
    world_pass_ms(&w, 200);
    expect_group("error 69");
    world_end(&w);
}

/* A static member comes back with the other protocol, in either direction. */
static void test_static(void **state)
{
    struct member a = {.instance = "i"};
    struct world_beat b = {.group = "g", .member = "z", .instance = "i", .topics = "t", .rebalance_ms = 60000, .version = 1, .owned = &owned};
    begin();
    world_topic(&w, "t", 2);
    owned.count = 0;
    world_beat(&w, &b, &r);
    expect(0, 1, "t:0,1");
    joins(&a, "t", NULL, 1);
    assert_int_equal(ask(KAFKA_API_SYNC_GROUP, &a), 0);
    assert_string_equal(world_set_text(&w, &h.assignment, text), "t:0,1");
    world_pass_ms(&w, 10);
    expect_group("error 69"); /* nobody of the consumer protocol is left */
    assert_int_equal(heartbeat(&a), KAFKA_REBALANCE_IN_PROGRESS);
    assert_true(join_as(&a, "t", NULL));
    assert_int_equal(h.error, 0);
    assert_int_equal(h.listed, 1);
    owned.count = 0;
    uint32_t batches = w.batches;
    world_beat(&w, &b, &r); /* the classic one has not left */
    expect(KAFKA_UNRELEASED_INSTANCE_ID, 0, NULL);
    assert_int_equal(w.batches, batches); /* and the group is not upgraded for it */
    struct member by_instance = {.instance = "i"};
    assert_int_equal(leaves(&by_instance), 0);
    owned.count = 0;
    world_beat(&w, &b, &r);
    assert_int_equal(r.error, 0);
    struct member fenced = a;
    assert_int_equal(heartbeat(&fenced), KAFKA_FENCED_INSTANCE_ID);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classic_joins),
        cmocka_unit_test(test_classic_record),
        cmocka_unit_test(test_classic_revokes),
        cmocka_unit_test(test_classic_errors),
        cmocka_unit_test(test_classic_times),
        cmocka_unit_test(test_upgrade_and_back),
        cmocka_unit_test(test_upgrade_of_a_rebalance),
        cmocka_unit_test(test_upgrade_claims),
        cmocka_unit_test(test_policies),
        cmocka_unit_test(test_upgrade_refused),
        cmocka_unit_test(test_downgrade_refused),
        cmocka_unit_test(test_static),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
