/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "raft/quorum.h"
#include "tidemark/types.h"

enum { NODES = 3 };

/* Voters whose disks are instant and whose network is a call. */
struct world {
    struct quorum *node[NODES];
    unsigned count;
    uint64_t now;
    uint64_t applied[NODES];
    uint64_t commands[NODES];
    uint64_t done[NODES];
    enum quorum_outcome outcome[NODES];
    bool cut[NODES];
    bool holds_disk[NODES];
};

static void run_disk(struct world *w, unsigned i)
{
    while (!w->holds_disk[i] && quorum_disk_take(w->node[i]) != NULL)
        quorum_on_disk_done(w->node[i], w->now, 0, 1 << 20);
}

static void run_events(struct world *w, unsigned i)
{
    struct quorum_event e;
    while (quorum_event_take(w->node[i], &e)) {
        if (e.kind == QUORUM_APPLY) {
            assert_int_equal(e.entry.index, w->applied[i] + 1);
            w->applied[i] = e.entry.index;
            w->commands[i] += e.entry.len != 0;
        } else if (e.kind == QUORUM_DONE) {
            w->done[i] = e.tag;
            w->outcome[i] = e.outcome;
        } else if (e.kind == QUORUM_RESTORE) {
            w->applied[i] = e.index;
        }
        assert_int_not_equal(e.kind, QUORUM_STOPPED);
        run_disk(w, i);
    }
}

static bool run_messages(struct world *w, unsigned i)
{
    struct quorum_message m;
    bool any = false;
    for (unsigned to = 0; to < w->count; to++)
        while (quorum_message_take(w->node[i], (int32_t)to, &m)) {
            any = true;
            if (!w->cut[i] && !w->cut[to])
                assert_int_equal(quorum_on_message(w->node[to], w->now, (int32_t)i, 1, m.bytes, m.len), TIDE_OK);
            free(m.bytes);
        }
    return any;
}

static void settle(struct world *w)
{
    bool any;
    do {
        any = false;
        for (unsigned i = 0; i < w->count; i++) {
            run_disk(w, i);
            run_events(w, i);
            any |= run_messages(w, i);
            quorum_check(w->node[i]);
        }
    } while (any);
}

static void pass(struct world *w, uint64_t ms)
{
    for (uint64_t end = w->now + ms * TIDE_NS_PER_MS; w->now < end;) {
        w->now += 10 * TIDE_NS_PER_MS;
        for (unsigned i = 0; i < w->count; i++)
            if (quorum_deadline_ns(w->node[i]) <= w->now)
                quorum_on_time(w->node[i], w->now);
        settle(w);
    }
}

static struct quorum_config config_of(unsigned i)
{
    return (struct quorum_config){.id = (int32_t)i,
                                  .cluster_id = {{1}},
                                  .seed = 7 + i,
                                  .election_ms = 500,
                                  .heartbeat_ms = 100,
                                  .snapshot_commands = 1000,
                                  .snapshot_bytes = 1 << 20,
                                  .trailing = 100};
}

static void members_of(struct quorum_members *m, unsigned count)
{
    memset(m, 0, sizeof(*m));
    for (; m->count < count; m->count++) {
        m->member[m->count].id = (int32_t)m->count;
        m->member[m->count].role = QUORUM_VOTES;
        snprintf(m->member[m->count].address, QUORUM_ADDRESS_MAX, "h:%u", m->count);
    }
}

static void begin(struct world *w, unsigned count)
{
    struct quorum_members members;
    char error[QUORUM_ERROR_MAX];
    *w = (struct world){.count = count, .now = 1000 * TIDE_NS_PER_MS};
    members_of(&members, count);
    for (unsigned i = 0; i < count; i++) {
        struct quorum_config c = config_of(i);
        struct quorum_boot boot;
        assert_int_equal(quorum_boot_found(&boot, &members), TIDE_OK);
        boot.capacity_bytes = 1 << 20;
        w->node[i] = quorum_create(&c, &boot, w->now, error, sizeof(error));
        assert_non_null(w->node[i]);
        for (unsigned k = 0; k < count; k++)
            quorum_on_peer_up(w->node[i], (int32_t)k);
    }
    settle(w);
}

static void end(struct world *w)
{
    for (unsigned i = 0; i < w->count; i++)
        quorum_destroy(w->node[i]);
}

static int leader_of(const struct world *w)
{
    int leader = -1;
    for (unsigned i = 0; i < w->count; i++)
        if (quorum_role(w->node[i]) == QUORUM_LEADER && (leader < 0 || quorum_term(w->node[i]) > quorum_term(w->node[leader])))
            leader = (int)i;
    return leader;
}

/* The single broker: leads at once, in a term of its own, and commits what it alone has on its disk. */
static void one_voter_leads_and_commits(void **state)
{
    struct world w;
    begin(&w, 1);
    assert_int_equal(quorum_role(w.node[0]), QUORUM_LEADER);
    assert_int_equal(quorum_term(w.node[0]), 2);
    assert_int_equal(quorum_leader(w.node[0]), 0);
    for (uint64_t tag = 1; tag <= 10; tag++) {
        assert_int_equal(quorum_propose(w.node[0], w.now, "command", 8, tag), TIDE_OK);
        settle(&w);
        assert_int_equal(w.done[0], tag);
        assert_int_equal(w.outcome[0], QUORUM_DONE_OK);
    }
    assert_int_equal(w.commands[0], 10);
    end(&w);
}

/* Nothing is committed, and nothing of a term is said, before the disk has it. */
static void one_voter_waits_for_its_disk(void **state)
{
    struct world w;
    begin(&w, 1);
    w.holds_disk[0] = true;
    assert_int_equal(quorum_propose(w.node[0], w.now, "command", 8, 1), TIDE_OK);
    settle(&w);
    assert_int_equal(w.done[0], 0);
    w.holds_disk[0] = false;
    settle(&w);
    assert_int_equal(w.done[0], 1);
    end(&w);
}

static void three_voters_elect_and_commit(void **state)
{
    struct world w;
    begin(&w, 3);
    pass(&w, 3000);
    int leader = leader_of(&w);
    assert_true(leader >= 0);
    for (uint64_t tag = 1; tag <= 20; tag++)
        assert_int_equal(quorum_propose(w.node[leader], w.now, "command", 8, tag), TIDE_OK);
    pass(&w, 1000);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(w.commands[i], 20);
    assert_int_equal(quorum_propose(w.node[(leader + 1) % 3], w.now, "command", 8, 1), TIDE_REFUSED);
    end(&w);
}

/* A leader that is cut off answers "unknown" for what it could not commit, and another one leads. */
static void a_lost_leader_does_not_know(void **state)
{
    struct world w;
    begin(&w, 3);
    pass(&w, 3000);
    int old = leader_of(&w);
    w.cut[old] = true;
    assert_int_equal(quorum_propose(w.node[old], w.now, "command", 8, 5), TIDE_OK);
    pass(&w, 4000);
    assert_int_equal(w.done[old], 5);
    assert_int_equal(w.outcome[old], QUORUM_DONE_UNKNOWN);
    assert_int_not_equal(leader_of(&w), old);
    w.cut[old] = false;
    pass(&w, 1000);
    assert_int_equal(w.commands[old], 0);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_voter_leads_and_commits),
        cmocka_unit_test(one_voter_waits_for_its_disk),
        cmocka_unit_test(three_voters_elect_and_commit),
        cmocka_unit_test(a_lost_leader_does_not_know),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
