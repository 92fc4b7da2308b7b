/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "kafka/errors.h"
#include "node/member.h"
#include "tidemark/types.h"

#define MS TIDE_NS_PER_MS
#define T0 (1000 * TIDE_NS_PER_S)

static struct cluster *cluster;
static struct member m;
static uint64_t next_index;
static const struct tide_uuid ours = {{1}}, theirs = {{2}};

static void apply(struct cluster_command *c)
{
    struct cluster_result r;
    c->controller_epoch = 1;
    assert_int_equal(cluster_apply(cluster, ++next_index, c, &r), TIDE_OK);
    assert_int_equal(r.error, 0);
    cluster_result_free(&r);
    member_on_metadata(&m, T0, cluster);
}

static void registered_as(const struct tide_uuid *incarnation)
{
    struct cluster_command c = {.kind = CLUSTER_REGISTER_BROKER};
    c.register_broker.cluster_id.bytes[0] = 9;
    c.register_broker.previous_epoch = -1;
    c.register_broker.broker.id = 7;
    c.register_broker.broker.incarnation = *incarnation;
    c.register_broker.broker.directory_count = 1;
    c.register_broker.broker.directories[0].bytes[0] = 200;
    for (uint32_t i = 0; cluster_known_feature(i) != NULL; i++)
        c.register_broker.broker.features[c.register_broker.broker.feature_count++] = *cluster_known_feature(i);
    apply(&c);
}

static void fence(bool on)
{
    struct cluster_command c = {.kind = on ? CLUSTER_FENCE_BROKER : CLUSTER_UNFENCE_BROKER};
    c.broker.id = 7;
    c.broker.epoch = m.epoch;
    apply(&c);
}

static int setup(void **state)
{
    struct member_config config = {.id = 7, .incarnation = ours, .heartbeat_ns = 500 * MS, .lease_ns = 2400 * MS, .leave_ns = 5000 * MS};
    struct cluster_command epoch = {.kind = CLUSTER_CONTROLLER_EPOCH}, init = {.kind = CLUSTER_INIT};
    cluster = cluster_create(NULL);
    next_index = 0;
    member_init(&m, &config);
    epoch.controller_epoch_of.node = 1;
    epoch.controller_epoch_of.term = 1;
    apply(&epoch);
    init.init.cluster_id.bytes[0] = 9;
    apply(&init);
    return 0;
}

static int teardown(void **state)
{
    cluster_destroy(cluster);
    return 0;
}

static void until_active(void)
{
    member_on_recovered(&m, T0);
    assert_true(member_take_registration(&m, T0));
    registered_as(&ours);
    assert_int_equal(m.state, MEMBER_FENCED);
    member_on_serving(&m, T0);
    fence(false);
    assert_int_equal(m.state, MEMBER_ACTIVE);
}

static struct rpc_heartbeat heartbeat_at(uint64_t now_ns)
{
    struct rpc_heartbeat h;
    assert_true(member_take_heartbeat(&m, now_ns, &h));
    return h;
}

static void answer(uint64_t now_ns, uint64_t number, bool fenced, bool may_stop, int16_t error)
{
    struct rpc_heartbeat_reply r = {.number = number, .fenced = fenced, .may_stop = may_stop, .error = error};
    member_on_answer(&m, now_ns, &r);
}

static void test_registers_only_with_recovered_logs(void **state)
{
    assert_false(member_take_registration(&m, T0));
    assert_int_equal(member_deadline_ns(&m, true), TIDE_NEVER);
    member_on_recovered(&m, T0);
    assert_int_equal(member_deadline_ns(&m, true), T0);
    assert_true(member_take_registration(&m, T0));
    assert_false(member_take_registration(&m, T0)); /* it is on its way */
    member_on_registered(&m, T0, -1, "", -1);
    assert_false(member_take_registration(&m, T0));
    assert_true(member_take_registration(&m, T0 + 100 * MS));
}

static void test_the_metadata_says_who_is_registered(void **state)
{
    member_on_recovered(&m, T0);
    registered_as(&theirs);
    assert_int_equal(m.state, MEMBER_REGISTERING);
    registered_as(&ours);
    assert_int_equal(m.state, MEMBER_FENCED);
    assert_int_equal(m.epoch, next_index);
}

static void test_asks_to_be_unfenced_when_it_serves(void **state)
{
    member_on_recovered(&m, T0);
    registered_as(&ours);
    assert_true(heartbeat_at(T0).wants_fenced);
    member_on_serving(&m, T0);
    struct rpc_heartbeat h = heartbeat_at(T0 + 10 * MS); /* at once, but not within 10 ms */
    assert_false(h.wants_fenced);
    assert_int_equal(h.epoch, m.epoch);
}

static void test_heartbeats_keep_their_pace(void **state)
{
    struct rpc_heartbeat h;
    until_active();
    (void)heartbeat_at(T0);
    assert_int_equal(member_deadline_ns(&m, true), T0 + 500 * MS);
    assert_false(member_take_heartbeat(&m, T0 + 499 * MS, &h));
    (void)heartbeat_at(T0 + 500 * MS);
    assert_int_equal(member_deadline_ns(&m, false), TIDE_NEVER); /* nobody to send it to */
}

static void test_the_lease_counts_from_the_sending(void **state)
{
    until_active();
    struct rpc_heartbeat first = heartbeat_at(T0), second = heartbeat_at(T0 + 500 * MS);
    assert_int_equal(m.lease_until_ns, 0);
    answer(T0 + 2000 * MS, first.number, false, false, 0);
    assert_int_equal(m.lease_until_ns, T0 + 2400 * MS);
    answer(T0 + 2000 * MS, second.number, false, false, 0);
    assert_int_equal(m.lease_until_ns, T0 + 2900 * MS);
    answer(T0 + 2100 * MS, first.number, false, false, 0); /* late: nothing is taken back */
    assert_int_equal(m.lease_until_ns, T0 + 2900 * MS);
    answer(T0 + 2100 * MS, T0 + 9000 * MS, false, false, 0); /* never sent */
    assert_int_equal(m.lease_until_ns, T0 + 2900 * MS);
}

static void test_no_lease_for_who_is_fenced(void **state)
{
    until_active();
    struct rpc_heartbeat h = heartbeat_at(T0);
    answer(T0, h.number, true, false, 0);
    assert_int_equal(m.lease_until_ns, 0);
    h = heartbeat_at(T0 + 500 * MS);
    answer(T0, h.number, false, false, 0);
    fence(true);
    assert_int_equal(m.state, MEMBER_FENCED);
    assert_int_equal(m.lease_until_ns, 0);
    h = heartbeat_at(T0 + 1000 * MS);
    answer(T0, h.number, false, false, KAFKA_NOT_CONTROLLER);
    assert_int_equal(m.lease_until_ns, 0);
}

static void test_a_stale_epoch_registers_again(void **state)
{
    until_active();
    struct rpc_heartbeat h = heartbeat_at(T0);
    answer(T0, h.number, false, false, 0);
    h = heartbeat_at(T0 + 500 * MS);
    answer(T0 + 500 * MS, h.number, false, false, KAFKA_STALE_BROKER_EPOCH);
    assert_int_equal(m.state, MEMBER_REGISTERING);
    assert_int_equal(m.lease_until_ns, 0);
    assert_true(member_take_registration(&m, T0 + 500 * MS));
}

static void test_another_incarnation_takes_over(void **state)
{
    until_active();
    registered_as(&theirs);
    assert_int_equal(m.state, MEMBER_REGISTERING);
    assert_int_equal(m.epoch, -1);
    assert_true(member_take_registration(&m, T0));
    member_on_registered(&m, T0, KAFKA_DUPLICATE_BROKER_REGISTRATION, "another runs", -1);
    assert_int_equal(m.state, MEMBER_REGISTERING); /* its session may end */
    assert_string_equal(m.refusal, "another runs");
}

static void test_refusals_for_good(void **state)
{
    static const int16_t errors[] = {KAFKA_INCONSISTENT_CLUSTER_ID, KAFKA_UNSUPPORTED_VERSION, KAFKA_INVALID_REGISTRATION};
    for (size_t i = 0; i < TIDE_ARRAY_LEN(errors); i++) {
        struct member_config config = m.config;
        member_init(&m, &config);
        member_on_recovered(&m, T0);
        assert_true(member_take_registration(&m, T0));
        member_on_registered(&m, T0, errors[i], "why", -1);
        assert_int_equal(m.state, MEMBER_REFUSED);
        assert_string_equal(m.refusal, "why");
    }
}

static void test_leaves_by_the_controllers_word(void **state)
{
    until_active();
    (void)heartbeat_at(T0);
    member_on_stop(&m, T0 + 1 * MS);
    assert_int_equal(m.state, MEMBER_LEAVING);
    struct rpc_heartbeat h = heartbeat_at(T0 + 10 * MS);
    assert_true(h.wants_shutdown);
    answer(T0 + 20 * MS, h.number, false, false, 0);
    assert_int_equal(m.state, MEMBER_LEAVING);
    answer(T0 + 20 * MS, h.number, false, true, 0);
    assert_int_equal(m.state, MEMBER_LEFT);
}

static void test_leaves_without_it_in_the_end(void **state)
{
    until_active();
    member_on_stop(&m, T0);
    member_on_time(&m, T0 + 4999 * MS);
    assert_int_equal(m.state, MEMBER_LEAVING);
    member_on_time(&m, T0 + 5000 * MS);
    assert_int_equal(m.state, MEMBER_LEFT);
}

static void test_who_is_not_registered_leaves_at_once(void **state)
{
    member_on_recovered(&m, T0);
    member_on_stop(&m, T0);
    assert_int_equal(m.state, MEMBER_LEFT);
}

static void test_a_fault_is_told_at_once(void **state)
{
    struct node_health h = {.faulty = true};
    until_active();
    (void)heartbeat_at(T0);
    member_on_health(&m, T0 + 1 * MS, &h);
    assert_int_equal(member_deadline_ns(&m, true), T0 + 10 * MS);
    assert_true(heartbeat_at(T0 + 10 * MS).wants_fenced);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        TEST(test_registers_only_with_recovered_logs),
        TEST(test_the_metadata_says_who_is_registered),
        TEST(test_asks_to_be_unfenced_when_it_serves),
        TEST(test_heartbeats_keep_their_pace),
        TEST(test_the_lease_counts_from_the_sending),
        TEST(test_no_lease_for_who_is_fenced),
        TEST(test_a_stale_epoch_registers_again),
        TEST(test_another_incarnation_takes_over),
        TEST(test_refusals_for_good),
        TEST(test_leaves_by_the_controllers_word),
        TEST(test_leaves_without_it_in_the_end),
        TEST(test_who_is_not_registered_leaves_at_once),
        TEST(test_a_fault_is_told_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
