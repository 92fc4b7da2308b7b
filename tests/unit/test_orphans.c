/* SPDX-License-Identifier: Apache-2.0 */
#include "tcp_pair.h"

#include "core/orphans.h"

enum { CONNECTIONS = 16, STEP_NS = 10 * 1000 * 1000 };

static int setup(void **state)
{
    unit_eal();
    pool = unit_pool("orphans", 1023, 2048);
    return 0;
}

static bool is_gone(struct tcp_stack *s)
{
    struct tcp_event e;
    bool gone = false;
    while (tcp_next_event(s, &e))
        gone |= (e.bits & TCP_EVENT_GONE) != 0;
    return gone;
}

/* A peer that waits, with nothing on its way, hears at once of the process that ended; one that has come back is let alone. */
static void test_a_peer_that_waits_is_reset(void **state)
{
    struct tcp_stack *client = stack(1, CONNECTIONS), *before = stack(2, CONNECTIONS), *after = stack(3, CONNECTIONS);
    struct orphan o = {end_of(0x0a000001, LISTEN), end_of(0x0a000002, 40000)};
    struct orphans orphans;
    now_ns = 5 * TIDE_NS_PER_S;
    assert_non_null(tcp_connect(client, now_ns, &o.remote, &o.local));
    exchange(client, before);
    assert_int_equal(tcp_connection_count(client), 1);
    tcp_stack_destroy(before);
    exchange(client, after);
    assert_false(is_gone(client));

    orphans_init(&orphans, now_ns, &o, 1);
    assert_true(orphans_deadline_ns(&orphans) <= now_ns);
    orphans_on_time(&orphans, now_ns, after);
    exchange(client, after);
    assert_true(is_gone(client));
    assert_int_equal(tcp_connection_count(after), 0);

    assert_non_null(tcp_connect(client, now_ns, &o.remote, &o.local)); /* from the same port, as it happens */
    exchange(client, after);
    now_ns = orphans_deadline_ns(&orphans);
    orphans_on_time(&orphans, now_ns, after);
    assert_int_equal(carry(after, client), 0);
    exchange(client, after);
    assert_false(is_gone(client));
    assert_int_equal(tcp_connection_count(client), 1);
    tcp_stack_destroy(client);
    tcp_stack_destroy(after);
}

/* Nobody answers: each is roused so many times, few at once, and then no more. */
static void test_they_are_roused_slowly_and_not_for_ever(void **state)
{
    enum { COUNT = 100 };
    struct tcp_stack *s = stack(4, CONNECTIONS);
    struct orphan list[COUNT];
    struct orphans orphans;
    unsigned sent = 0;
    uint64_t begin = now_ns;
    for (unsigned i = 0; i < COUNT; i++)
        list[i] = (struct orphan){end_of(0x0a000001, LISTEN), end_of(0x0a000100 + i, (uint16_t)(40000 + i))};
    orphans_init(&orphans, now_ns, list, COUNT);
    while (orphans_deadline_ns(&orphans) != TIDE_NEVER) {
        unsigned now;
        now_ns = TIDE_MAX(now_ns + STEP_NS, orphans_deadline_ns(&orphans));
        orphans_on_time(&orphans, now_ns, s);
        now = carry(s, NULL);
        assert_in_range(now, 1, ORPHANS_AT_ONCE);
        sent += now;
    }
    assert_int_equal(sent, ORPHANS_PASSES * COUNT);
    assert_true(now_ns - begin >= (ORPHANS_PASSES - 1) * TIDE_NS_PER_S);
    orphans_on_time(&orphans, now_ns + TIDE_NS_PER_S, s);
    assert_int_equal(carry(s, NULL), 0);
    orphans_init(&orphans, now_ns, NULL, 0);
    assert_true(orphans_deadline_ns(&orphans) == TIDE_NEVER);
    tcp_stack_destroy(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_peer_that_waits_is_reset),
        cmocka_unit_test(test_they_are_roused_slowly_and_not_for_ever),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
