/* SPDX-License-Identifier: Apache-2.0 */
/* The classic protocol: states, members, timers. */
#include "group_world.h"

#include "tidemark/bytes.h"

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

/* A member that was given its id and came back with it; its answer waits under the cookie. */
static void come(uintptr_t cookie, const char *group, const char *metadata, char ret_id[GROUP_WORLD_NAME])
{
    struct join_got got;
    struct join_ask j = {.group = group, .v = 9, .metadata = {metadata}};
    assert_int_equal(group_world_join(&w, cookie, &j), TIDE_OK);
    group_world_joined(&w, cookie, 9, &got);
    assert_int_equal(got.error, KAFKA_MEMBER_ID_REQUIRED);
    strcpy(ret_id, got.member);
    j.member = ret_id;
    assert_int_equal(group_world_join(&w, cookie, &j), TIDE_OK);
}

static const char *state_of(const char *group)
{
    const struct group *at;
    TAILQ_FOREACH (at, &w.g->all, all)
        if (at->id->len == strlen(group) && memcmp(at->id->at, group, at->id->len) == 0)
            return at->kind->state(at);
    return "Dead";
}

/* Two members in a stable group of one generation; the first one leads. */
static void two(const char *group, char a[GROUP_WORLD_NAME], char b[GROUP_WORLD_NAME], int32_t *ret_generation)
{
    struct join_got got;
    char part[GROUP_WORLD_NAME];
    come(1, group, "ma", a);
    group_world_pass(&w, 0); /* the initial delay of none */
    group_world_joined(&w, 1, 9, &got);
    assert_int_equal(got.error, 0);
    come(2, group, "mb", b);
    assert_string_equal(state_of(group), "PreparingRebalance");
    assert_int_equal(group_world_heartbeat(&w, group, a, NULL, got.generation), KAFKA_REBALANCE_IN_PROGRESS);
    assert_int_equal(group_world_join(&w, 1, &(struct join_ask){.group = group, .member = a, .v = 9, .metadata = {"ma"}}), TIDE_OK);
    group_world_joined(&w, 1, 9, &got);
    assert_string_equal(got.leader, a);
    assert_int_equal(got.members, 2);
    group_world_joined(&w, 2, 9, &got);
    assert_int_equal(got.members, 0);
    assert_string_equal(got.leader, a);
    *ret_generation = got.generation;
    assert_int_equal(group_world_sync(&w, 2, &(struct sync_ask){.group = group, .member = b, .generation = got.generation, .v = 5}), TIDE_OK);
    assert_false(group_world_has(&w, 2));
    assert_int_equal(group_world_sync(&w, 1, &(struct sync_ask){.group = group, .member = a, .generation = got.generation, .v = 5, .to = {a, b},
                                                                .parts = {"part a", "part b"}}), TIDE_OK);
    assert_int_equal(group_world_synced(&w, 1, 5, part), 0);
    assert_string_equal(part, "part a");
    assert_int_equal(group_world_synced(&w, 2, 5, part), 0);
    assert_string_equal(part, "part b");
    assert_string_equal(state_of(group), "Stable");
}

/* ---- the state table (kafka-protocol 9.3) ------------------------------------------------------------- */

static int16_t sync_error(const char *group, const char *member, int32_t generation)
{
    char part[GROUP_WORLD_NAME];
    assert_int_equal(group_world_sync(&w, 50, &(struct sync_ask){.group = group, .member = member, .generation = generation, .v = 3}), TIDE_OK);
    return group_world_synced(&w, 50, 3, part);
}

static int16_t join_error(const struct join_ask *j)
{
    struct join_got got;
    assert_int_equal(group_world_join(&w, 51, j), TIDE_OK);
    group_world_joined(&w, 51, j->v, &got);
    return got.error;
}

static int16_t commit_error(const char *group, const char *member, int32_t generation)
{
    return group_world_commits(&w, &(struct commit_ask){.group = group, .member = member, .generation = generation, .topic = "events", .offset = 5});
}

static void test_row_dead(void **state)
{
    assert_string_equal(state_of("g"), "Dead");
    assert_int_equal(join_error(&(struct join_ask){.group = "g", .member = "m", .v = 5}), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(sync_error("g", "m", 1), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(group_world_heartbeat(&w, "g", "m", NULL, 1), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(group_world_leave(&w, "g", "m"), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(commit_error("g", "m", 1), KAFKA_GROUP_ID_NOT_FOUND);
    assert_int_equal(group_world_commits(&w, &(struct commit_ask){.group = "g", .member = "m", .generation = 1, .topic = "events", .v = 8}),
                     KAFKA_ILLEGAL_GENERATION);
    assert_string_equal(state_of("g"), "Dead"); /* nothing was made on the way */
}

static void test_row_empty(void **state)
{
    char a[GROUP_WORLD_NAME], b[GROUP_WORLD_NAME];
    int32_t generation;
    two("g", a, b, &generation);
    assert_int_equal(group_world_leave(&w, "g", a), 0);
    assert_int_equal(group_world_leave(&w, "g", b), 0);
    assert_string_equal(state_of("g"), "Empty");
    assert_int_equal(sync_error("g", a, generation), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(group_world_heartbeat(&w, "g", a, NULL, generation), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(commit_error("g", a, generation + 1), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(commit_error("g", NULL, -1), 0);
    assert_int_equal(join_error(&(struct join_ask){.group = "g", .member = a, .v = 5}), KAFKA_UNKNOWN_MEMBER_ID);
    come(1, "g", "ma", a);
    assert_string_equal(state_of("g"), "PreparingRebalance");
    group_world_pass(&w, 0);
    struct join_got got;
    group_world_joined(&w, 1, 9, &got);
    assert_int_equal(got.generation, generation + 2); /* the empty one had a number */
}

static void test_row_preparing(void **state)
{
    char a[GROUP_WORLD_NAME], b[GROUP_WORLD_NAME], c[GROUP_WORLD_NAME];
    int32_t generation;
    struct join_got got;
    two("g", a, b, &generation);
    come(3, "g", "mc", c);
    assert_string_equal(state_of("g"), "PreparingRebalance");
    assert_false(group_world_has(&w, 3)); /* parked */
    assert_int_equal(sync_error("g", a, generation), KAFKA_REBALANCE_IN_PROGRESS);
    assert_int_equal(group_world_heartbeat(&w, "g", a, NULL, generation), KAFKA_REBALANCE_IN_PROGRESS);
    assert_int_equal(group_world_heartbeat(&w, "g", a, NULL, generation + 1), KAFKA_ILLEGAL_GENERATION);
    assert_int_equal(commit_error("g", a, generation), 0); /* what it has done in the generation before */
    assert_int_equal(commit_error("g", a, generation + 1), KAFKA_ILLEGAL_GENERATION);
    assert_int_equal(commit_error("g", NULL, -1), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(group_world_join(&w, 1, &(struct join_ask){.group = "g", .member = a, .v = 9, .metadata = {"ma"}}), TIDE_OK);
    assert_int_equal(group_world_join(&w, 2, &(struct join_ask){.group = "g", .member = b, .v = 9, .metadata = {"mb"}}), TIDE_OK);
    group_world_joined(&w, 3, 9, &got);
    assert_int_equal(got.generation, generation + 1);
    assert_string_equal(state_of("g"), "CompletingRebalance");
    group_world_joined(&w, 1, 9, &got);
    assert_int_equal(got.members, 3);
    assert_string_equal(got.metadata[2], "mc");
}

static void test_row_completing(void **state)
{
    char a[GROUP_WORLD_NAME], b[GROUP_WORLD_NAME], part[GROUP_WORLD_NAME];
    struct join_got got;
    come(1, "g", "ma", a);
    come(2, "g", "mb", b);
    group_world_pass(&w, 0);
    group_world_joined(&w, 1, 9, &got);
    group_world_joined(&w, 2, 9, &got);
    assert_string_equal(state_of("g"), "CompletingRebalance");
    assert_int_equal(group_world_heartbeat(&w, "g", b, NULL, 1), 0);
    assert_int_equal(commit_error("g", b, 1), KAFKA_REBALANCE_IN_PROGRESS);
    assert_int_equal(commit_error("g", b, 0), KAFKA_ILLEGAL_GENERATION);
    /* The same metadata: its answer was lost, it gets it again, the leader with the members. */
    assert_int_equal(group_world_join(&w, 2, &(struct join_ask){.group = "g", .member = b, .v = 9, .metadata = {"mb"}}), TIDE_OK);
    group_world_joined(&w, 2, 9, &got);
    assert_int_equal(got.generation, 1);
    assert_int_equal(got.members, 0);
    assert_int_equal(group_world_join(&w, 1, &(struct join_ask){.group = "g", .member = a, .v = 9, .metadata = {"ma"}}), TIDE_OK);
    group_world_joined(&w, 1, 9, &got);
    assert_int_equal(got.members, 2);
    assert_string_equal(state_of("g"), "CompletingRebalance");
    /* Other metadata: a rebalance, and who waits for its part is told. */
    assert_int_equal(group_world_sync(&w, 2, &(struct sync_ask){.group = "g", .member = b, .generation = 1, .v = 5}), TIDE_OK);
    assert_false(group_world_has(&w, 2));
    assert_int_equal(group_world_join(&w, 1, &(struct join_ask){.group = "g", .member = a, .v = 9, .metadata = {"new"}}), TIDE_OK);
    assert_string_equal(state_of("g"), "PreparingRebalance");
    assert_int_equal(group_world_synced(&w, 2, 5, part), KAFKA_REBALANCE_IN_PROGRESS);
}

static void test_row_stable(void **state)
{
    char a[GROUP_WORLD_NAME], b[GROUP_WORLD_NAME], part[GROUP_WORLD_NAME];
    int32_t generation;
    struct join_got got;
    two("g", a, b, &generation);
    assert_int_equal(group_world_heartbeat(&w, "g", b, NULL, generation), 0);
    assert_int_equal(group_world_heartbeat(&w, "g", b, NULL, generation - 1), KAFKA_ILLEGAL_GENERATION);
    assert_int_equal(group_world_heartbeat(&w, "g", "x", NULL, generation), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(commit_error("g", b, generation), 0);
    assert_int_equal(group_world_sync(&w, 2, &(struct sync_ask){.group = "g", .member = b, .generation = generation, .v = 5, .type = "consumer",
                                                                .protocol = "range"}), TIDE_OK);
    assert_int_equal(group_world_synced(&w, 2, 5, part), 0);
    assert_string_equal(part, "part b");
    assert_int_equal(sync_error("g", b, generation - 1), KAFKA_ILLEGAL_GENERATION);
    /* A follower with the same metadata gets the generation that there is. */
    assert_int_equal(group_world_join(&w, 2, &(struct join_ask){.group = "g", .member = b, .v = 9, .metadata = {"mb"}}), TIDE_OK);
    group_world_joined(&w, 2, 9, &got);
    assert_int_equal(got.generation, generation);
    assert_string_equal(got.type, "consumer");
    assert_string_equal(got.protocol, "range");
    assert_string_equal(state_of("g"), "Stable");
    /* A leader always wants a rebalance. */
    assert_int_equal(group_world_join(&w, 1, &(struct join_ask){.group = "g", .member = a, .v = 9, .metadata = {"ma"}}), TIDE_OK);
    assert_false(group_world_has(&w, 1));
    assert_string_equal(state_of("g"), "PreparingRebalance");
}

static void test_follower_with_other_metadata(void **state)
{
    char a[GROUP_WORLD_NAME], b[GROUP_WORLD_NAME];
    int32_t generation;
    two("g", a, b, &generation);
    assert_int_equal(group_world_join(&w, 2, &(struct join_ask){.group = "g", .member = b, .v = 9, .metadata = {"other"}}), TIDE_OK);
    assert_false(group_world_has(&w, 2));
    assert_string_equal(state_of("g"), "PreparingRebalance");
}

/* ---- refusals of JoinGroup and SyncGroup ----------------------------------------------------------------- */

static void test_join_errors(void **state)
{
    static char long_text[300000];
    char a[GROUP_WORLD_NAME], b[GROUP_WORLD_NAME];
    int32_t generation;
    size_t before = tide_heap_free_bytes(w.heap);
    memset(long_text, 'x', sizeof(long_text) - 1);
    assert_int_equal(join_error(&(struct join_ask){.group = "", .v = 4}), KAFKA_INVALID_GROUP_ID);
    assert_int_equal(join_error(&(struct join_ask){.group = "g", .v = 4, .session_ms = 5999}), KAFKA_INVALID_SESSION_TIMEOUT);
    assert_int_equal(join_error(&(struct join_ask){.group = "g", .v = 4, .session_ms = 1800001}), KAFKA_INVALID_SESSION_TIMEOUT);
    assert_int_equal(join_error(&(struct join_ask){.group = "g", .v = 4, .session_ms = -1}), KAFKA_INVALID_SESSION_TIMEOUT);
    assert_int_equal(join_error(&(struct join_ask){.group = "g", .v = 4, .session_ms = INT32_MAX}), KAFKA_INVALID_SESSION_TIMEOUT);
    assert_int_equal(join_error(&(struct join_ask){.group = "g", .v = 4, .type = ""}), KAFKA_INCONSISTENT_GROUP_PROTOCOL);
    assert_int_equal(join_error(&(struct join_ask){.group = "g", .v = 4, .metadata = {long_text}}), KAFKA_INVALID_REQUEST);
    assert_string_equal(state_of("g"), "Dead");
    assert_true(before - tide_heap_free_bytes(w.heap) < 2048); /* places of timers stay */
    two("g", a, b, &generation);
    assert_int_equal(join_error(&(struct join_ask){.group = "g", .v = 4, .type = "connect"}), KAFKA_INCONSISTENT_GROUP_PROTOCOL);
    assert_int_equal(join_error(&(struct join_ask){.group = "g", .v = 4, .protocols = {"sticky"}}), KAFKA_INCONSISTENT_GROUP_PROTOCOL);
    assert_int_equal(join_error(&(struct join_ask){.group = "g", .v = 5, .member = "unknown"}), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(join_error(&(struct join_ask){.group = "g", .v = 5, .member = a, .instance = "i"}), KAFKA_UNKNOWN_MEMBER_ID);
    w.settings.group_max_size = 2;
    assert_int_equal(join_error(&(struct join_ask){.group = "g", .v = 4}), KAFKA_GROUP_MAX_SIZE_REACHED);
    assert_string_equal(state_of("g"), "Stable");
}

static void test_too_many_groups(void **state)
{
    w.settings.group_groups_max = 2;
    assert_int_equal(join_error(&(struct join_ask){.group = "a", .v = 4}), KAFKA_MEMBER_ID_REQUIRED);
    assert_int_equal(join_error(&(struct join_ask){.group = "b", .v = 4}), KAFKA_MEMBER_ID_REQUIRED);
    assert_int_equal(join_error(&(struct join_ask){.group = "c", .v = 4}), KAFKA_COORDINATOR_NOT_AVAILABLE);
    assert_int_equal(commit_error("d", NULL, -1), KAFKA_COORDINATOR_NOT_AVAILABLE);
    group_world_pass(&w, 10000); /* nobody came with an id: it is as if they had never been */
    assert_string_equal(state_of("a"), "Dead");
    assert_int_equal(commit_error("d", NULL, -1), 0);
}

/* 100,000 names: so many groups as may be, and no trace of the others; at the end of their sessions none. */
static void test_a_flood_of_names(void **state)
{
    char name[16];
    unsigned taken = 0;
    w.settings.group_groups_max = 500;
    for (unsigned i = 0; i < 100000; i++) {
        (void)snprintf(name, sizeof(name), "g%u", i);
        struct wire_writer b;
        struct groups_question q = {.api_key = KAFKA_API_JOIN_GROUP, .version = 4, .element = -1, .client_id = "c", .client_host = "h", .cookie = COOKIE(1)};
        struct groups_answer a;
        group_world_begin(&w, &b);
        wire_put_string(&b, false, name, (uint32_t)strlen(name));
        wire_put_i32(&b, 10000);
        wire_put_i32(&b, 10000);
        wire_put_string(&b, false, "", 0);
        wire_put_string(&b, false, "t", 1);
        wire_put_i32(&b, 1);
        wire_put_string(&b, false, "p", 1);
        wire_put_i32(&b, 0);
        wire_cursor_init(&q.body, tide_rope_slice(&b.out, 0, b.out.len));
        assert_int_equal(groups_ask(w.g, &w.now, &q), TIDE_OK);
        assert_true(groups_next_answer(w.g, &a));
        taken += load_be16(rte_pktmbuf_mtod(a.body.head, const uint8_t *) + 4) == KAFKA_MEMBER_ID_REQUIRED;
        tide_rope_clear(&a.body);
        wire_writer_abandon(&b);
    }
    groups_check(w.g);
    assert_int_equal(taken, 500);
    assert_int_equal(w.g->gauges.groups, 500);
    group_world_pass(&w, 10000);
    assert_int_equal(w.g->gauges.groups, 0);
}

static void test_eight_megabytes_of_metadata(void **state)
{
    static uint8_t piece[65000];
    enum { PIECES = 130 };
    struct wire_writer b;
    struct join_got got;
    size_t before = tide_heap_free_bytes(w.heap);
    group_world_begin(&w, &b);
    wire_put_string(&b, false, "g", 1);
    wire_put_i32(&b, 10000);
    wire_put_i32(&b, 10000);
    wire_put_string(&b, false, "", 0);
    wire_put_string(&b, false, "consumer", 8);
    wire_put_i32(&b, 1);
    wire_put_string(&b, false, "range", 5);
    wire_put_i32(&b, (int32_t)(PIECES * sizeof(piece)));
    for (unsigned i = 0; i < PIECES; i++) {
        struct tide_rope r = {0};
        tide_rope_push(&r, unit_exact_mbuf(w.pool, piece, sizeof(piece)));
        wire_put_rope(&b, &r);
    }
    assert_int_equal(group_world_ask(&w, KAFKA_API_JOIN_GROUP, 4, -1, 1, &b), TIDE_OK);
    group_world_joined(&w, 1, 4, &got);
    assert_int_equal(got.error, KAFKA_INVALID_REQUEST);
    assert_int_equal(tide_heap_free_bytes(w.heap), before);
}

static void test_sync_errors(void **state)
{
    char a[GROUP_WORLD_NAME], b[GROUP_WORLD_NAME], part[GROUP_WORLD_NAME];
    int32_t generation;
    two("g", a, b, &generation);
    assert_int_equal(group_world_sync(&w, 1, &(struct sync_ask){.group = "g", .member = a, .generation = generation, .v = 5, .type = "connect"}), TIDE_OK);
    assert_int_equal(group_world_synced(&w, 1, 5, part), KAFKA_INCONSISTENT_GROUP_PROTOCOL);
    assert_int_equal(group_world_sync(&w, 1, &(struct sync_ask){.group = "g", .member = a, .generation = generation, .v = 5, .protocol = "sticky"}), TIDE_OK);
    assert_int_equal(group_world_synced(&w, 1, 5, part), KAFKA_INCONSISTENT_GROUP_PROTOCOL);
    assert_int_equal(sync_error("", a, generation), KAFKA_INVALID_GROUP_ID);
    assert_int_equal(sync_error("g", "unknown", generation), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(group_world_heartbeat(&w, "", a, NULL, generation), KAFKA_INVALID_GROUP_ID);
}

/* ---- members before version 4, protocols by votes, the initial delay --------------------------------------- */

static void test_old_member_needs_no_id(void **state)
{
    struct join_got got;
    assert_int_equal(group_world_join(&w, 1, &(struct join_ask){.group = "g", .v = 0, .session_ms = 7000}), TIDE_OK);
    group_world_pass(&w, 0);
    group_world_joined(&w, 1, 0, &got);
    assert_int_equal(got.error, 0);
    assert_memory_equal(got.member, "client-", 7);
    assert_int_equal(strlen(got.member), 7 + 36);
    assert_string_equal(got.leader, got.member);
    const struct group_member *m = TAILQ_FIRST(&TAILQ_FIRST(&w.g->all)->classic.members);
    assert_int_equal(m->rebalance_ms, 7000); /* version 0 has the session's for it */
}

static void test_votes(void **state)
{
    struct join_got got;
    assert_int_equal(group_world_join(&w, 1, &(struct join_ask){.group = "g", .v = 3, .protocols = {"a", "b", "c"}}), TIDE_OK);
    assert_int_equal(group_world_join(&w, 2, &(struct join_ask){.group = "g", .v = 3, .protocols = {"c", "b", "x"}}), TIDE_OK);
    assert_int_equal(group_world_join(&w, 3, &(struct join_ask){.group = "g", .v = 3, .protocols = {"y", "c", "b"}}), TIDE_OK);
    group_world_pass(&w, 0);
    group_world_joined(&w, 3, 3, &got);
    assert_string_equal(got.protocol, "c"); /* a votes for b, the others for c; a, x and y are not everybody's */
}

static void test_initial_delay(void **state)
{
    struct join_got got;
    w.settings.group_initial_rebalance_delay_ms = 3000;
    assert_int_equal(group_world_join(&w, 1, &(struct join_ask){.group = "g", .v = 3, .rebalance_ms = 8000}), TIDE_OK);
    group_world_pass(&w, 2000);
    assert_int_equal(group_world_join(&w, 2, &(struct join_ask){.group = "g", .v = 3, .rebalance_ms = 8000}), TIDE_OK);
    group_world_pass(&w, 1500);
    assert_false(group_world_has(&w, 1)); /* longer by 3 s, since somebody came */
    assert_int_equal(group_world_join(&w, 3, &(struct join_ask){.group = "g", .v = 3, .rebalance_ms = 8000}), TIDE_OK);
    group_world_pass(&w, 2500);
    assert_false(group_world_has(&w, 1)); /* longer by what is left: 2 s */
    assert_int_equal(group_world_join(&w, 4, &(struct join_ask){.group = "g", .v = 3, .rebalance_ms = 8000}), TIDE_OK);
    group_world_pass(&w, 1999);
    assert_false(group_world_has(&w, 1));
    group_world_pass(&w, 1);
    group_world_joined(&w, 1, 3, &got);
    assert_int_equal(got.members, 4);
}

static void test_no_delay_without_newcomers(void **state)
{
    struct join_got got;
    w.settings.group_initial_rebalance_delay_ms = 3000;
    assert_int_equal(group_world_join(&w, 1, &(struct join_ask){.group = "g", .v = 3}), TIDE_OK);
    group_world_pass(&w, 2999);
    assert_false(group_world_has(&w, 1));
    group_world_pass(&w, 1);
    group_world_joined(&w, 1, 3, &got);
    assert_int_equal(got.generation, 1);
}

/* ---- static members ------------------------------------------------------------------------------------------ */

/* One static member, leader of a stable group. */
static void one_static(char id[GROUP_WORLD_NAME], int16_t v)
{
    struct join_got got;
    char part[GROUP_WORLD_NAME];
    assert_int_equal(group_world_join(&w, 1, &(struct join_ask){.group = "g", .instance = "i", .v = v}), TIDE_OK);
    group_world_pass(&w, 0);
    group_world_joined(&w, 1, v, &got);
    assert_int_equal(got.error, 0); /* no id is asked for first */
    assert_memory_equal(got.member, "i-", 2);
    strcpy(id, got.member);
    assert_int_equal(group_world_sync(&w, 1, &(struct sync_ask){.group = "g", .member = id, .instance = "i", .generation = 1, .v = 5, .to = {id},
                                                                .parts = {"all"}}), TIDE_OK);
    assert_int_equal(group_world_synced(&w, 1, 5, part), 0);
}

static void test_static_member_comes_back(void **state)
{
    char old[GROUP_WORLD_NAME], part[GROUP_WORLD_NAME];
    struct join_got got;
    one_static(old, 9);
    uint32_t batches = w.batch_count;
    w.commits = false;
    assert_int_equal(group_world_join(&w, 2, &(struct join_ask){.group = "g", .instance = "i", .v = 9, .metadata = {"m2"}, .session_ms = 20000}), TIDE_OK);
    assert_false(group_world_has(&w, 2)); /* its new id is written first */
    assert_int_equal(w.batch_count, batches + 1);
    group_world_commit(&w);
    w.commits = true;
    group_world_joined(&w, 2, 9, &got);
    assert_int_equal(got.error, 0);
    assert_int_equal(got.generation, 1);
    assert_string_not_equal(got.member, old);
    assert_string_equal(got.leader, got.member);
    assert_true(got.skip);
    assert_int_equal(got.members, 1);
    assert_string_equal(state_of("g"), "Stable");
    assert_int_equal(group_world_heartbeat(&w, "g", old, "i", 1), KAFKA_FENCED_INSTANCE_ID);
    assert_int_equal(group_world_heartbeat(&w, "g", old, NULL, 1), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(group_world_heartbeat(&w, "g", got.member, "i", 1), 0);
    assert_int_equal(join_error(&(struct join_ask){.group = "g", .instance = "i", .member = old, .v = 9}), KAFKA_FENCED_INSTANCE_ID);
    assert_int_equal(group_world_commits(&w, &(struct commit_ask){.group = "g", .member = old, .instance = "i", .generation = 1, .topic = "events"}),
                     KAFKA_FENCED_INSTANCE_ID);
    assert_int_equal(group_world_sync(&w, 1, &(struct sync_ask){.group = "g", .member = got.member, .instance = "i", .generation = 1, .v = 5}), TIDE_OK);
    assert_int_equal(group_world_synced(&w, 1, 5, part), 0);
    assert_string_equal(part, "all"); /* what it had */
    group_world_reload(&w);
    assert_int_equal(group_world_heartbeat(&w, "g", got.member, "i", 1), 0);
    assert_int_equal(TAILQ_FIRST(&TAILQ_FIRST(&w.g->all)->classic.members)->session_ms, 20000);
}

/* Before version 9 a leader that comes back must not learn that it leads, or it would assign. */
static void test_old_static_leader_does_not_assign(void **state)
{
    char old[GROUP_WORLD_NAME];
    struct join_got got;
    one_static(old, 8);
    assert_int_equal(group_world_join(&w, 2, &(struct join_ask){.group = "g", .instance = "i", .v = 8}), TIDE_OK);
    group_world_joined(&w, 2, 8, &got);
    assert_int_equal(got.error, 0);
    assert_string_equal(got.leader, old);
    assert_int_equal(got.members, 0);
}

static void test_static_member_with_another_protocol(void **state)
{
    char old[GROUP_WORLD_NAME];
    struct join_got got;
    one_static(old, 9);
    assert_int_equal(group_world_join(&w, 2, &(struct join_ask){.group = "g", .instance = "i", .v = 9, .protocols = {"sticky"}}), TIDE_OK);
    group_world_joined(&w, 2, 9, &got);
    assert_int_equal(got.generation, 2);
    assert_string_equal(got.protocol, "sticky");
}

static void test_static_replacement_is_refused(void **state)
{
    char old[GROUP_WORLD_NAME];
    one_static(old, 9);
    char *before = group_world_durable(&w, w.g);
    w.log = LOG_REFUSES;
    w.log_error = KAFKA_NOT_ENOUGH_REPLICAS;
    assert_int_equal(join_error(&(struct join_ask){.group = "g", .instance = "i", .v = 9}), KAFKA_COORDINATOR_NOT_AVAILABLE);
    w.log = LOG_IS_FULL;
    assert_int_equal(group_world_join(&w, 2, &(struct join_ask){.group = "g", .instance = "i", .v = 9}), TIDE_FULL);
    char *after = group_world_durable(&w, w.g);
    assert_string_equal(before, after); /* the one before is who it was */
    assert_int_equal(group_world_heartbeat(&w, "g", old, "i", 1), 0);
    free(before);
    free(after);
}

/* While a generation is being made: who waited under the old id is fenced at once. */
static void test_static_member_comes_back_during_a_rebalance(void **state)
{
    char old[GROUP_WORLD_NAME];
    struct join_got got;
    one_static(old, 9);
    assert_int_equal(group_world_join(&w, 2, &(struct join_ask){.group = "g", .v = 3}), TIDE_OK); /* somebody new */
    assert_int_equal(group_world_join(&w, 3, &(struct join_ask){.group = "g", .instance = "j", .v = 5}), TIDE_OK);
    assert_int_equal(group_world_join(&w, 4, &(struct join_ask){.group = "g", .instance = "j", .v = 5}), TIDE_OK);
    group_world_joined(&w, 3, 5, &got);
    assert_int_equal(got.error, KAFKA_FENCED_INSTANCE_ID);
    assert_int_equal(group_world_join(&w, 1, &(struct join_ask){.group = "g", .member = old, .instance = "i", .v = 9}), TIDE_OK);
    group_world_joined(&w, 4, 5, &got);
    assert_int_equal(got.generation, 2);
    /* And while the leader assigns: it may have assigned to the old id. */
    assert_int_equal(group_world_join(&w, 4, &(struct join_ask){.group = "g", .instance = "j", .v = 5}), TIDE_OK);
    assert_string_equal(state_of("g"), "PreparingRebalance");
}

/* It is away during a rebalance: it stays, and leads no more if it led; its session ends it. */
static void test_static_member_is_away(void **state)
{
    char old[GROUP_WORLD_NAME];
    struct join_got got;
    one_static(old, 9);
    assert_int_equal(group_world_join(&w, 2, &(struct join_ask){.group = "g", .v = 3, .rebalance_ms = 5000}), TIDE_OK);
    assert_int_equal(group_world_heartbeat(&w, "g", old, "i", 1), KAFKA_REBALANCE_IN_PROGRESS);
    for (unsigned i = 0; i < 12 && !group_world_has(&w, 2); i++) { /* it lives, but does not join: until the rebalance timeout, 60 s */
        group_world_pass(&w, 5000);
        (void)group_world_heartbeat(&w, "g", old, "i", 1);
    }
    group_world_joined(&w, 2, 3, &got);
    assert_int_equal(got.generation, 2);
    assert_int_equal(got.members, 2);
    assert_string_equal(got.leader, got.member);
}

/* ---- timers ------------------------------------------------------------------------------------------------------ */

static void test_session_ends(void **state)
{
    char a[GROUP_WORLD_NAME], b[GROUP_WORLD_NAME];
    int32_t generation;
    two("g", a, b, &generation); /* sessions of 10 s */
    group_world_pass(&w, 9000);
    assert_int_equal(group_world_heartbeat(&w, "g", a, NULL, generation), 0);
    group_world_pass(&w, 999);
    assert_int_equal(TAILQ_FIRST(&w.g->all)->classic.member_count, 2);
    group_world_pass(&w, 1);
    assert_int_equal(TAILQ_FIRST(&w.g->all)->classic.member_count, 1);
    assert_string_equal(state_of("g"), "PreparingRebalance");
    assert_int_equal(group_world_heartbeat(&w, "g", b, NULL, generation), KAFKA_UNKNOWN_MEMBER_ID);
    group_world_pass(&w, 10000);
    assert_string_equal(state_of("g"), "Empty");
}

/* A commit shows that its member lives. */
static void test_commit_is_a_sign_of_life(void **state)
{
    char a[GROUP_WORLD_NAME], b[GROUP_WORLD_NAME];
    int32_t generation;
    two("g", a, b, &generation);
    for (unsigned i = 0; i < 4; i++) {
        group_world_pass(&w, 6000);
        assert_int_equal(commit_error("g", a, generation), 0);
        assert_int_equal(group_world_heartbeat(&w, "g", b, NULL, generation), 0);
    }
    assert_string_equal(state_of("g"), "Stable");
}

/* Who is parked lives, for longer than its session. */
static void test_parked_member_lives(void **state)
{
    char a[GROUP_WORLD_NAME], b[GROUP_WORLD_NAME];
    int32_t generation;
    struct join_got got;
    two("g", a, b, &generation);
    assert_int_equal(group_world_join(&w, 1, &(struct join_ask){.group = "g", .member = a, .v = 9, .metadata = {"ma"}}), TIDE_OK);
    for (unsigned i = 0; i < 5; i++) { /* b heartbeats and does not join */
        group_world_pass(&w, 9000);
        assert_int_equal(group_world_heartbeat(&w, "g", b, NULL, generation), KAFKA_REBALANCE_IN_PROGRESS);
        assert_false(group_world_has(&w, 1));
    }
    group_world_pass(&w, 60000 - 45000 - 6000);
    assert_int_equal(group_world_heartbeat(&w, "g", b, NULL, generation), KAFKA_REBALANCE_IN_PROGRESS);
    group_world_pass(&w, 6000); /* the rebalance timeout: b is out */
    group_world_joined(&w, 1, 9, &got);
    assert_int_equal(got.members, 1);
    assert_int_equal(got.generation, generation + 1);
    assert_int_equal(group_world_heartbeat(&w, "g", b, NULL, generation), KAFKA_UNKNOWN_MEMBER_ID);
}

static void test_new_member_is_forgotten(void **state)
{
    char a[GROUP_WORLD_NAME], b[GROUP_WORLD_NAME];
    int32_t generation;
    struct join_got got;
    two("g", a, b, &generation);
    assert_int_equal(group_world_join(&w, 1, &(struct join_ask){.group = "g", .member = a, .v = 9, .metadata = {"ma"}, .rebalance_ms = 900000}), TIDE_OK);
    assert_int_equal(group_world_join(&w, 3, &(struct join_ask){.group = "g", .v = 3}), TIDE_OK);
    for (unsigned i = 0; i < 30; i++) {
        assert_false(group_world_has(&w, 3));
        group_world_pass(&w, 9999);
        (void)group_world_heartbeat(&w, "g", b, NULL, generation);
    }
    group_world_pass(&w, 30);
    group_world_joined(&w, 3, 3, &got); /* five minutes */
    assert_int_equal(got.error, KAFKA_UNKNOWN_MEMBER_ID);
}

static void test_member_that_never_syncs(void **state)
{
    char a[GROUP_WORLD_NAME], b[GROUP_WORLD_NAME], part[GROUP_WORLD_NAME];
    struct join_got got;
    come(1, "g", "ma", a);
    come(2, "g", "mb", b);
    group_world_pass(&w, 0);
    group_world_joined(&w, 1, 9, &got);
    group_world_joined(&w, 2, 9, &got);
    assert_int_equal(group_world_sync(&w, 1, &(struct sync_ask){.group = "g", .member = a, .generation = 1, .v = 5, .to = {a, b}, .parts = {"A", "B"}}), TIDE_OK);
    assert_int_equal(group_world_synced(&w, 1, 5, part), 0);
    assert_string_equal(state_of("g"), "Stable");
    for (unsigned i = 0; i < 10; i++) { /* both heartbeat; b never asks for its part */
        assert_int_equal(group_world_heartbeat(&w, "g", a, NULL, 1), 0);
        assert_int_equal(group_world_heartbeat(&w, "g", b, NULL, 1), 0);
        group_world_pass(&w, 5999);
    }
    group_world_pass(&w, 10);
    assert_string_equal(state_of("g"), "PreparingRebalance");
    assert_int_equal(group_world_heartbeat(&w, "g", b, NULL, 1), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(group_world_heartbeat(&w, "g", a, NULL, 1), KAFKA_REBALANCE_IN_PROGRESS);
}

static void test_leader_that_never_syncs(void **state)
{
    char a[GROUP_WORLD_NAME], b[GROUP_WORLD_NAME], part[GROUP_WORLD_NAME];
    struct join_got got;
    come(1, "g", "ma", a);
    come(2, "g", "mb", b);
    group_world_pass(&w, 0);
    group_world_joined(&w, 1, 9, &got);
    group_world_joined(&w, 2, 9, &got);
    assert_int_equal(group_world_sync(&w, 2, &(struct sync_ask){.group = "g", .member = b, .generation = 1, .v = 5}), TIDE_OK);
    group_world_pass(&w, 9999);
    assert_false(group_world_has(&w, 2));
    group_world_pass(&w, 1); /* its session */
    assert_int_equal(group_world_synced(&w, 2, 5, part), KAFKA_REBALANCE_IN_PROGRESS);
    assert_int_equal(group_world_join(&w, 2, &(struct join_ask){.group = "g", .member = b, .v = 9, .metadata = {"mb"}}), TIDE_OK);
    group_world_joined(&w, 2, 9, &got);
    assert_string_equal(got.leader, b);
}

static void test_pending_member_holds_the_rebalance_up(void **state)
{
    char a[GROUP_WORLD_NAME], b[GROUP_WORLD_NAME];
    int32_t generation;
    struct join_got got;
    two("g", a, b, &generation);
    assert_int_equal(join_error(&(struct join_ask){.group = "g", .v = 9}), KAFKA_MEMBER_ID_REQUIRED);
    assert_string_equal(state_of("g"), "Stable"); /* not before it comes with the id */
    assert_int_equal(group_world_join(&w, 1, &(struct join_ask){.group = "g", .member = a, .v = 9, .metadata = {"ma"}}), TIDE_OK);
    assert_int_equal(group_world_join(&w, 2, &(struct join_ask){.group = "g", .member = b, .v = 9, .metadata = {"mb"}}), TIDE_OK);
    assert_false(group_world_has(&w, 1));
    group_world_pass(&w, 10000); /* its session: it will not come */
    group_world_joined(&w, 1, 9, &got);
    assert_int_equal(got.generation, generation + 1);
}

static void test_asker_goes_away(void **state)
{
    char a[GROUP_WORLD_NAME], b[GROUP_WORLD_NAME];
    int32_t generation;
    struct join_got got;
    two("g", a, b, &generation);
    assert_int_equal(group_world_join(&w, 1, &(struct join_ask){.group = "g", .member = a, .v = 9, .metadata = {"ma"}}), TIDE_OK);
    groups_cancel(w.g, COOKIE(1));
    groups_cancel(w.g, COOKIE(1)); /* nothing of it is left */
    assert_int_equal(group_world_join(&w, 2, &(struct join_ask){.group = "g", .member = b, .v = 9, .metadata = {"mb"}}), TIDE_OK);
    group_world_joined(&w, 2, 9, &got); /* a has joined, though nobody waits for its answer */
    assert_int_equal(got.generation, generation + 1);
    assert_false(group_world_has(&w, 1));
    /* It asks again, and the question before is answered at once. */
    assert_int_equal(group_world_sync(&w, 3, &(struct sync_ask){.group = "g", .member = b, .generation = generation + 1, .v = 5}), TIDE_OK);
    assert_int_equal(group_world_sync(&w, 4, &(struct sync_ask){.group = "g", .member = b, .generation = generation + 1, .v = 5}), TIDE_OK);
    char part[GROUP_WORLD_NAME];
    assert_int_equal(group_world_synced(&w, 3, 5, part), KAFKA_REBALANCE_IN_PROGRESS);
    assert_false(group_world_has(&w, 4));
}

/* ---- the log says no ------------------------------------------------------------------------------------------- */

static void test_sync_waits_for_commitment(void **state)
{
    char a[GROUP_WORLD_NAME], part[GROUP_WORLD_NAME];
    struct join_got got;
    come(1, "g", "ma", a);
    group_world_pass(&w, 0);
    group_world_joined(&w, 1, 9, &got);
    w.commits = false;
    assert_int_equal(group_world_sync(&w, 1, &(struct sync_ask){.group = "g", .member = a, .generation = 1, .v = 5, .to = {a}, .parts = {"A"}}), TIDE_OK);
    assert_false(group_world_has(&w, 1));
    groups_on_committed(w.g, &w.now, w.log_end - 1);
    assert_false(group_world_has(&w, 1));
    groups_on_committed(w.g, &w.now, w.log_end);
    assert_int_equal(group_world_synced(&w, 1, 5, part), 0);
    assert_string_equal(part, "A");
}

static void test_sync_is_never_committed(void **state)
{
    char a[GROUP_WORLD_NAME], part[GROUP_WORLD_NAME];
    struct join_got got;
    come(1, "g", "ma", a);
    group_world_pass(&w, 0);
    group_world_joined(&w, 1, 9, &got);
    w.commits = false;
    assert_int_equal(group_world_sync(&w, 1, &(struct sync_ask){.group = "g", .member = a, .generation = 1, .v = 5, .to = {a}, .parts = {"A"}}), TIDE_OK);
    group_world_pass(&w, 4999);
    assert_false(group_world_has(&w, 1));
    group_world_pass(&w, 1); /* offsets.commit.timeout.ms */
    assert_int_equal(group_world_synced(&w, 1, 5, part), KAFKA_COORDINATOR_NOT_AVAILABLE);
    assert_int_equal(part[0], 0);
    groups_resign(w.g);
    assert_int_equal(group_world_waiting(&w), 0);
}

static void test_sync_is_refused(void **state)
{
    static const struct {
        int16_t said, heard;
    } rows[] = {{KAFKA_UNKNOWN_TOPIC_OR_PARTITION, KAFKA_COORDINATOR_NOT_AVAILABLE},
                {KAFKA_NOT_ENOUGH_REPLICAS, KAFKA_COORDINATOR_NOT_AVAILABLE},
                {KAFKA_REQUEST_TIMED_OUT, KAFKA_COORDINATOR_NOT_AVAILABLE},
                {KAFKA_NOT_LEADER_OR_FOLLOWER, KAFKA_NOT_COORDINATOR},
                {KAFKA_KAFKA_STORAGE_ERROR, KAFKA_NOT_COORDINATOR},
                {KAFKA_MESSAGE_TOO_LARGE, KAFKA_UNKNOWN_SERVER_ERROR},
                {KAFKA_RECORD_LIST_TOO_LARGE, KAFKA_UNKNOWN_SERVER_ERROR}};
    char a[GROUP_WORLD_NAME], b[GROUP_WORLD_NAME], part[GROUP_WORLD_NAME];
    struct join_got got;
    come(1, "g", "ma", a);
    come(2, "g", "mb", b);
    group_world_pass(&w, 0);
    for (size_t i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        group_world_joined(&w, 1, 9, &got);
        group_world_joined(&w, 2, 9, &got);
        assert_int_equal(got.generation, 1 + (int32_t)i);
        w.log = LOG_IS_FULL;
        assert_int_equal(group_world_sync(&w, 2, &(struct sync_ask){.group = "g", .member = b, .generation = got.generation, .v = 5}), TIDE_OK);
        assert_int_equal(group_world_sync(&w, 1, &(struct sync_ask){.group = "g", .member = a, .generation = got.generation, .v = 5}), TIDE_FULL);
        assert_string_equal(state_of("g"), "CompletingRebalance");
        w.log = LOG_REFUSES;
        w.log_error = rows[i].said;
        assert_int_equal(group_world_sync(&w, 1, &(struct sync_ask){.group = "g", .member = a, .generation = got.generation, .v = 5}), TIDE_OK);
        assert_int_equal(group_world_synced(&w, 1, 5, part), rows[i].heard);
        assert_int_equal(group_world_synced(&w, 2, 5, part), rows[i].heard);
        assert_string_equal(state_of("g"), "PreparingRebalance");
        w.log = LOG_TAKES;
        assert_int_equal(group_world_join(&w, 1, &(struct join_ask){.group = "g", .member = a, .v = 9, .metadata = {"ma"}}), TIDE_OK);
        assert_int_equal(group_world_join(&w, 2, &(struct join_ask){.group = "g", .member = b, .v = 9, .metadata = {"mb"}}), TIDE_OK);
    }
}

/* The last one leaves, and the record of the empty group is refused: later. */
static void test_empty_is_written_later(void **state)
{
    char a[GROUP_WORLD_NAME], b[GROUP_WORLD_NAME];
    int32_t generation;
    two("g", a, b, &generation);
    w.log = LOG_REFUSES;
    w.log_error = KAFKA_NOT_ENOUGH_REPLICAS;
    assert_int_equal(group_world_leave(&w, "g", a), 0);
    assert_int_equal(group_world_leave(&w, "g", b), 0);
    assert_string_equal(state_of("g"), "PreparingRebalance");
    uint32_t appends = w.appends;
    group_world_pass(&w, 1000);
    assert_in_range(w.appends - appends, 9, 11);
    w.log = LOG_IS_FULL;
    group_world_pass(&w, 1000);
    w.log = LOG_TAKES;
    group_world_pass(&w, 100);
    assert_string_equal(state_of("g"), "Empty");
}

/* What waits when leadership ends hears so, and nothing is left. */
static void test_resign(void **state)
{
    char a[GROUP_WORLD_NAME], b[GROUP_WORLD_NAME], part[GROUP_WORLD_NAME];
    int32_t generation;
    struct join_got got;
    two("g", a, b, &generation);
    two("h", a, b, &generation);
    w.commits = false;
    assert_int_equal(group_world_join(&w, 11, &(struct join_ask){.group = "g", .v = 3}), TIDE_OK);
    assert_int_equal(group_world_join(&w, 12, &(struct join_ask){.group = "h", .member = a, .v = 9, .metadata = {"ma"}}), TIDE_OK);
    assert_int_equal(group_world_join(&w, 13, &(struct join_ask){.group = "h", .member = b, .v = 9, .metadata = {"mb"}}), TIDE_OK);
    group_world_joined(&w, 12, 9, &got);
    group_world_joined(&w, 13, 9, &got);
    assert_int_equal(group_world_sync(&w, 14, &(struct sync_ask){.group = "h", .member = b, .generation = got.generation, .v = 5}), TIDE_OK);
    assert_int_equal(group_world_commit_offset(&w, 15, &(struct commit_ask){.group = "i", .topic = "events", .generation = -1}), TIDE_OK);
    groups_resign(w.g);
    groups_check(w.g);
    group_world_joined(&w, 11, 3, &got);
    assert_int_equal(got.error, KAFKA_NOT_COORDINATOR);
    assert_int_equal(group_world_synced(&w, 14, 5, part), KAFKA_NOT_COORDINATOR);
    assert_int_equal(group_world_committed(&w, 15, 0), KAFKA_NOT_COORDINATOR);
    assert_false(groups_is_active(w.g));
    assert_int_equal(groups_deadline_ns(w.g), TIDE_NEVER);
}

/* ---- failover ------------------------------------------------------------------------------------------------------ */

static void test_members_go_on_after_a_failover(void **state)
{
    char a[GROUP_WORLD_NAME], b[GROUP_WORLD_NAME], part[GROUP_WORLD_NAME];
    int32_t generation;
    two("g", a, b, &generation);
    char *before = group_world_durable(&w, w.g);
    group_world_reload(&w);
    char *after = group_world_durable(&w, w.g);
    assert_string_equal(before, after); /* G4 */
    free(before);
    free(after);
    assert_string_equal(state_of("g"), "Stable");
    group_world_pass(&w, 9999); /* sessions begin anew */
    assert_int_equal(group_world_heartbeat(&w, "g", b, NULL, generation), 0);
    assert_int_equal(group_world_heartbeat(&w, "g", a, NULL, generation), 0);
    assert_int_equal(group_world_sync(&w, 1, &(struct sync_ask){.group = "g", .member = b, .generation = generation, .v = 5}), TIDE_OK);
    assert_int_equal(group_world_synced(&w, 1, 5, part), 0);
    assert_string_equal(part, "part b");
    struct join_got got;
    assert_int_equal(group_world_join(&w, 1, &(struct join_ask){.group = "g", .member = b, .v = 9, .metadata = {"mb"}}), TIDE_OK);
    group_world_joined(&w, 1, 9, &got);
    assert_int_equal(got.generation, generation);
}

static void test_loading(void **state)
{
    struct groups *before = w.g;
    w.g = group_world_replay(&w, NULL, 0);
    assert_false(groups_is_active(w.g));
    assert_int_equal(group_world_heartbeat(&w, "g", "m", NULL, 1), KAFKA_COORDINATOR_LOAD_IN_PROGRESS);
    assert_int_equal(sync_error("g", "m", 1), KAFKA_COORDINATOR_LOAD_IN_PROGRESS);
    assert_int_equal(group_world_leave(&w, "g", "m"), KAFKA_COORDINATOR_LOAD_IN_PROGRESS);
    assert_int_equal(join_error(&(struct join_ask){.group = "g", .v = 0}), KAFKA_COORDINATOR_LOAD_IN_PROGRESS);
    assert_int_equal(commit_error("g", NULL, -1), KAFKA_COORDINATOR_LOAD_IN_PROGRESS);
    groups_destroy(before);
}

static void test_two_members(void **state)
{
    char a[GROUP_WORLD_NAME], b[GROUP_WORLD_NAME];
    int32_t generation;
    two("g", a, b, &generation);
    assert_int_equal(generation, 2);
    assert_int_equal(group_world_heartbeat(&w, "g", a, NULL, generation), 0);
    assert_int_equal(group_world_leave(&w, "g", a), 0);
    assert_string_equal(state_of("g"), "PreparingRebalance");
    assert_int_equal(group_world_leave(&w, "g", b), 0);
    assert_string_equal(state_of("g"), "Empty");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_row_dead, setup, teardown),
        cmocka_unit_test_setup_teardown(test_row_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(test_row_preparing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_row_completing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_row_stable, setup, teardown),
        cmocka_unit_test_setup_teardown(test_follower_with_other_metadata, setup, teardown),
        cmocka_unit_test_setup_teardown(test_join_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_many_groups, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_flood_of_names, setup, teardown),
        cmocka_unit_test_setup_teardown(test_eight_megabytes_of_metadata, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sync_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_old_member_needs_no_id, setup, teardown),
        cmocka_unit_test_setup_teardown(test_votes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_initial_delay, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_delay_without_newcomers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_static_member_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_old_static_leader_does_not_assign, setup, teardown),
        cmocka_unit_test_setup_teardown(test_static_member_with_another_protocol, setup, teardown),
        cmocka_unit_test_setup_teardown(test_static_replacement_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_static_member_comes_back_during_a_rebalance, setup, teardown),
        cmocka_unit_test_setup_teardown(test_static_member_is_away, setup, teardown),
        cmocka_unit_test_setup_teardown(test_session_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(test_commit_is_a_sign_of_life, setup, teardown),
        cmocka_unit_test_setup_teardown(test_parked_member_lives, setup, teardown),
        cmocka_unit_test_setup_teardown(test_new_member_is_forgotten, setup, teardown),
        cmocka_unit_test_setup_teardown(test_member_that_never_syncs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_leader_that_never_syncs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pending_member_holds_the_rebalance_up, setup, teardown),
        cmocka_unit_test_setup_teardown(test_asker_goes_away, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sync_waits_for_commitment, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sync_is_never_committed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sync_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_empty_is_written_later, setup, teardown),
        cmocka_unit_test_setup_teardown(test_resign, setup, teardown),
        cmocka_unit_test_setup_teardown(test_members_go_on_after_a_failover, setup, teardown),
        cmocka_unit_test_setup_teardown(test_loading, setup, teardown),
        cmocka_unit_test_setup_teardown(test_two_members, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
