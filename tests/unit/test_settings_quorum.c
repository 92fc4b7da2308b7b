/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "settings/settings.h"
#include "tidemark/types.h"

static struct tide_settings s;
static char error[SETTINGS_ERROR_MAX];

/* What a broker needs at least, and these lines. */
static enum tide_status parse(const char *lines)
{
    char text[4096];
    int line;
    int len = snprintf(text, sizeof(text), "node.id=1\ndata.address=10.0.0.1/24\ndata.ports=vdev:net_tap0\n%s", lines);
    error[0] = 0;
    return settings_parse(text, (size_t)len, &s, &line, error, sizeof(error));
}

static void refuses(const char *lines, const char *mention)
{
    if (parse(lines) != TIDE_BAD || strstr(error, mention) == NULL)
        fail_msg("'%s': '%s' does not mention '%s'", lines, error, mention);
}

static void test_a_broker_alone(void **state)
{
    assert_int_equal(parse(""), TIDE_OK);
    assert_int_equal(s.voter_count, 1);
    assert_int_equal(s.voter[0].id, 1);
    assert_int_equal(s.voter[0].port, 0);
    assert_true(s.is_voter);
    assert_int_equal(s.controller_port, 0);
    assert_int_equal(s.allow_count, 0);
}

static void test_voters(void **state)
{
    assert_int_equal(parse("quorum.voters=1@a:9093,2@10.0.0.2:9093, 3@[fd00::3]:9094\n"), TIDE_OK);
    assert_int_equal(s.voter_count, 3);
    assert_true(s.is_voter);
    assert_string_equal(s.voter[0].host, "a");
    assert_string_equal(s.voter[2].host, "fd00::3");
    assert_int_equal(s.voter[2].port, 9094);
    assert_string_equal(s.controller_host, "a");
    assert_int_equal(s.controller_port, 9093);

    assert_int_equal(parse("quorum.voters=2@b:1\n"), TIDE_OK);
    assert_false(s.is_voter);
    assert_int_equal(s.controller_port, 0);

    assert_int_equal(parse("quorum.voters=1@a:9093\ncontroller.listener=[::]:9000\n"), TIDE_OK);
    assert_string_equal(s.controller_host, "::");
    assert_int_equal(s.controller_port, 9000);
}

static void test_wrong_voters(void **state)
{
    static const char *const bad[] = {"a:1", "1@a", "1@:1", "1@a:0", "1@a:65536", "x@a:1", "-1@a:1", "1@[::1:1", "1@fd00::1:1", "1@a:1x", "1@a b:1", "99999999999@a:1"};
    char line[200];
    for (size_t i = 0; i < TIDE_ARRAY_LEN(bad); i++) {
        snprintf(line, sizeof(line), "quorum.voters=%s\n", bad[i]);
        refuses(line, "quorum.voters");
    }
    refuses("quorum.voters=1@a:1,2@b:1\n", "1, 3 or 5");
    refuses("quorum.voters=1@a:1,1@b:1,3@c:1\n", "number of another");
    refuses("quorum.voters=1@a:1,2@a:1,3@c:1\n", "address of another");
    refuses("quorum.voters=1@a:1,2@a:2,3@a:3,4@a:4,5@a:5,6@a:6\n", "more than 5");
    refuses("controller.listener=nowhere\n", "controller.listener");
}

static void test_cluster_id(void **state)
{
    assert_int_equal(parse("cluster.id=abcdefghijklmnopqrstug\n"), TIDE_OK);
    refuses("cluster.id=short\n", "cluster.id");
    refuses("cluster.id=AAAAAAAAAAAAAAAAAAAAAA\n", "cluster.id");
}

static void test_who_may_come(void **state)
{
    assert_int_equal(parse("controller.allow=10.1.0.0/16,10.2.0.3,fd00::/8\n"), TIDE_OK);
    assert_int_equal(s.allow_count, 3);
    assert_int_equal(s.allow[0].prefix_len, 96 + 16);
    assert_int_equal(s.allow[0].bytes[12], 10);
    assert_int_equal(s.allow[0].bytes[13], 1);
    assert_int_equal(s.allow[1].prefix_len, 128);
    assert_int_equal(s.allow[2].prefix_len, 8);
    refuses("controller.allow=10.0.0.0/33\n", "controller.allow");
    refuses("controller.allow=fd00::/129\n", "controller.allow");
    refuses("controller.allow=everyone\n", "controller.allow");
    refuses("controller.allow=10.0.0.0/\n", "controller.allow");
    refuses("controller.allow=10.0.0.0/-1\n", "controller.allow");
}

static void test_times_follow_from_the_session(void **state)
{
    assert_int_equal(parse(""), TIDE_OK);
    assert_int_equal(s.broker_heartbeat_interval_ms, 500);
    assert_int_equal(s.broker_lease_ms, 2400);
    assert_int_equal(parse("broker.session.timeout.ms=300\n"), TIDE_OK);
    assert_int_equal(s.broker_heartbeat_interval_ms, 50);
    assert_int_equal(s.broker_lease_ms, 240);
    assert_int_equal(parse("broker.session.timeout.ms=9000\nbroker.heartbeat.interval.ms=2000\n"), TIDE_OK);
    assert_int_equal(s.broker_heartbeat_interval_ms, 2000);
    assert_int_equal(s.broker_lease_ms, 7200);
    assert_int_equal(parse("quorum.election.timeout.ms=300\n"), TIDE_OK);
    assert_int_equal(s.quorum_heartbeat_ms, 60);
    refuses("broker.session.timeout.ms=299\n", "out of range");
}

static void test_contradictions(void **state)
{
    refuses("broker.session.timeout.ms=1000\nbroker.lease.ms=801\n", "broker.lease.ms (801)");
    assert_int_equal(parse("broker.session.timeout.ms=1000\nbroker.lease.ms=800\n"), TIDE_OK);
    refuses("broker.heartbeat.interval.ms=1201\n", "broker.heartbeat.interval.ms (1201)");
    assert_int_equal(parse("broker.heartbeat.interval.ms=1200\n"), TIDE_OK);
    refuses("broker.lease.ms=900\nbroker.heartbeat.interval.ms=500\n", "half of broker.lease.ms (900)");
    refuses("quorum.heartbeat.ms=101\n", "quorum.heartbeat.ms (101)");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_broker_alone),
        cmocka_unit_test(test_voters),
        cmocka_unit_test(test_wrong_voters),
        cmocka_unit_test(test_cluster_id),
        cmocka_unit_test(test_who_may_come),
        cmocka_unit_test(test_times_follow_from_the_session),
        cmocka_unit_test(test_contradictions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
