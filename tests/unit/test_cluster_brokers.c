/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Brokers: registration and its checks in their order, the life from fenced to gone, features, kept results.
 */
#include "cluster_world.h"

/* ---- registration ------------------------------------------------------------------------------------------------- */

static void test_a_registration_is_kept_whole(void **state)
{
    struct cluster_command m = registration(7, 3);
    const struct cluster_broker *b;
    assert_int_equal(world_apply(&m), 0);
    b = cluster_find_broker(c, 7);
    assert_int_equal(cluster_broker_count(c), 4);
    assert_ptr_equal(cluster_broker_at(c, 3), b);
    assert_int_equal(b->epoch, cluster_index(c));
    assert_int_equal(r.broker_epoch, b->epoch);
    assert_true(b->fenced && !b->in_shutdown && !b->suspect);
    assert_int_equal(b->previous_epoch, -1);
    assert_string_equal(b->rack, "rack1");
    assert_int_equal(b->endpoint_count, 2);
    assert_string_equal(b->endpoints[1].name, "OTHER");
    assert_string_equal(b->endpoints[1].host, "two.example");
    assert_int_equal(b->endpoints[1].port, 9093);
    assert_int_equal(tide_addr_to_v4(&b->replication_address), 0x0a000007);
    assert_int_equal(b->replication_port, 9999);
    assert_int_equal(b->core_count, 2);
    assert_int_equal(b->directory_count, 2);
    assert_int_equal(b->incarnation.bytes[1], 3);
}

static void test_registering_again(void **state)
{
    struct cluster_command m = registration(1, 1);
    int64_t epoch = cluster_find_broker(c, 1)->epoch;
    const struct cluster_broker *b = cluster_find_broker(c, 1);
    assert_int_equal(make_topic("t", "1,2", ""), 0);
    assert_int_equal(broker_command(CLUSTER_BEGIN_SHUTDOWN, 2, false), 0);
    m.register_broker.broker.endpoints[0].port = 1;
    assert_int_equal(world_apply(&m), 0); /* the same process: what it says of itself changes, nothing else */
    assert_int_equal(b->endpoints[0].port, 1);
    assert_int_equal(b->epoch, epoch);
    assert_int_equal(r.broker_epoch, epoch);
    assert_false(b->fenced);
    expect_picture("t", 0, "1/0 [1]");
    m = registration(1, 2); /* another one */
    m.register_broker.previous_epoch = epoch;
    assert_int_equal(world_apply(&m), 0);
    assert_int_equal(b->epoch, cluster_index(c));
    assert_int_equal(b->previous_epoch, epoch);
    assert_true(b->fenced);
    expect_picture("t", 0, "-1/1 [] elr[1] ~1");
    assert_int_equal(register_broker(2, 2, -1), 0);
    assert_false(cluster_find_broker(c, 2)->in_shutdown);
}

/* Each step breaks one check more; the first of control-plane 4.2 answers. */
static void test_checks_in_their_order(void **state)
{
    struct cluster_command m = registration(1, 2);
    struct cluster_broker *b = &m.register_broker.broker;
    b->feature_count = 0;
    assert_int_equal(world_apply(&m), KAFKA_UNSUPPORTED_VERSION);
    b->directories[1] = (struct tide_uuid){{0xd1, 2}}; /* of broker 2 */
    assert_int_equal(world_apply(&m), KAFKA_INVALID_REGISTRATION);
    b->directories[1] = b->directories[0];
    assert_int_equal(world_apply(&m), KAFKA_INVALID_REGISTRATION);
    b->directories[1] = (struct tide_uuid){{[15] = 99}}; /* reserved */
    assert_int_equal(world_apply(&m), KAFKA_INVALID_REGISTRATION);
    b->directories[1] = (struct tide_uuid){{[15] = 100}};
    assert_int_equal(world_apply(&m), KAFKA_UNSUPPORTED_VERSION);
    b->directory_count = 0;
    assert_int_equal(world_apply(&m), KAFKA_INVALID_REGISTRATION);
    m.register_broker.session_valid = true;
    assert_int_equal(world_apply(&m), KAFKA_DUPLICATE_BROKER_REGISTRATION);
    m.register_broker.cluster_id.bytes[3] = 1;
    assert_int_equal(world_apply(&m), KAFKA_INCONSISTENT_CLUSTER_ID);
    m = registration(1, 1);
    m.register_broker.session_valid = true; /* of the same process */
    assert_int_equal(world_apply(&m), 0);
    m = registration(-1, 1);
    assert_int_equal(world_apply(&m), KAFKA_INVALID_REGISTRATION);
    m = registration(3, 1);
    m.register_broker.broker.features[0].max = 0; /* ELR is at 1 */
    assert_int_equal(world_apply(&m), KAFKA_UNSUPPORTED_VERSION);
    assert_int_equal(cluster_broker_count(c), 3);
}

static void test_directories_of_the_same_process_may_change(void **state)
{
    struct cluster_command m = registration(1, 1);
    struct cluster_dir_assignment n = {topic_uuid("t"), 0, {{0xd1, 1}}};
    struct cluster_command assign = {.kind = CLUSTER_ASSIGN_DIRS, .assign_dirs = {.broker = 1, .count = 1, .changes = &n}};
    assert_int_equal(make_topic("t", "1,2", ""), 0);
    assign.assign_dirs.broker_epoch = cluster_find_broker(c, 1)->epoch;
    assert_int_equal(world_apply(&assign), 0);
    m.register_broker.broker.directory_count = 1;
    assert_int_equal(world_apply(&m), 0);
    expect_picture("t", 0, "2/1 [2]");
    assert_int_equal(broker_command(CLUSTER_FENCE_BROKER, 2, false), 0);
    expect_picture("t", 0, "-1/2 [] elr[2] ~2");
}

/* ---- the life ------------------------------------------------------------------------------------------------------ */

static void test_epochs_are_compared(void **state)
{
    static const enum cluster_command_kind kinds[] = {CLUSTER_FENCE_BROKER, CLUSTER_UNFENCE_BROKER, CLUSTER_BEGIN_SHUTDOWN, CLUSTER_SET_DATA_SUSPECT};
    for (size_t i = 0; i < TIDE_ARRAY_LEN(kinds); i++) {
        struct cluster_command m = {.kind = kinds[i], .broker = {.id = 1, .epoch = cluster_find_broker(c, 1)->epoch - 1, .on = true}};
        assert_int_equal(world_apply(&m), KAFKA_STALE_BROKER_EPOCH);
        m.broker.id = 9;
        assert_int_equal(world_apply(&m), KAFKA_STALE_BROKER_EPOCH);
    }
    assert_true(cluster_broker_is_active(cluster_find_broker(c, 1)));
}

static void test_fencing_twice_changes_nothing(void **state)
{
    const struct cluster_broker *b = cluster_find_broker(c, 1);
    uint64_t changed;
    assert_int_equal(make_topic("t", "1,2,5", ""), 0);
    assert_int_equal(b->leader_count, 1);
    assert_int_equal(broker_command(CLUSTER_FENCE_BROKER, 1, false), 0);
    assert_int_equal(r.changed, 1);
    assert_int_equal(b->leader_moved, cluster_index(c));
    assert_int_equal(b->leader_count, 0);
    assert_int_equal(b->isr_count, 0);
    assert_int_equal(b->replica_count, 1);
    changed = b->changed;
    assert_int_equal(broker_command(CLUSTER_FENCE_BROKER, 1, false), 0);
    assert_int_equal(r.changed, 0);
    assert_int_equal(b->changed, changed);
    assert_true(b->leader_moved < cluster_index(c));
}

static void test_suspicion_is_for_a_minority(void **state)
{
    assert_int_equal(make_topic("t", "1,2,5", ""), 0);
    assert_int_equal(broker_command(CLUSTER_SET_DATA_SUSPECT, 1, true), 0);
    assert_int_equal(broker_command(CLUSTER_SET_DATA_SUSPECT, 1, true), 0);
    assert_int_equal(broker_command(CLUSTER_SET_DATA_SUSPECT, 2, true), KAFKA_OPERATION_NOT_ATTEMPTED);
    assert_int_equal(broker_command(CLUSTER_FENCE_BROKER, 1, false), 0);
    assert_int_equal(broker_command(CLUSTER_UNFENCE_BROKER, 1, false), KAFKA_OPERATION_NOT_ATTEMPTED);
    assert_int_equal(broker_command(CLUSTER_SET_DATA_SUSPECT, 2, true), KAFKA_OPERATION_NOT_ATTEMPTED); /* one of two */
    assert_int_equal(broker_command(CLUSTER_SET_DATA_SUSPECT, 1, false), 0);
    assert_int_equal(broker_command(CLUSTER_UNFENCE_BROKER, 1, false), 0);
    assert_int_equal(broker_command(CLUSTER_SET_DATA_SUSPECT, 2, true), 0);
}

/* I8: of two suspect ones, the one that recovers leads. */
static void test_recovered_brokers_take_over_from_suspect_ones(void **state)
{
    assert_int_equal(register_broker(3, 1, -1), 0);
    activate(3);
    assert_int_equal(register_broker(4, 1, -1), 0);
    activate(4);
    assert_int_equal(make_topic("t", "1,2", ""), 0);
    assert_int_equal(broker_command(CLUSTER_SET_DATA_SUSPECT, 1, true), 0);
    assert_int_equal(broker_command(CLUSTER_SET_DATA_SUSPECT, 2, true), 0);
    expect_picture("t", 0, "2/1 [1,2]");
    assert_int_equal(broker_command(CLUSTER_SET_DATA_SUSPECT, 1, false), 0);
    expect_picture("t", 0, "1/2 [1,2]");
}

static void test_unregistering(void **state)
{
    struct cluster_feed feed;
    struct cluster_change change;
    bool told = false;
    assert_int_equal(broker_command(CLUSTER_UNREGISTER_BROKER, 9, false), KAFKA_BROKER_ID_NOT_REGISTERED);
    assert_int_equal(make_topic("t", "1,2,5", ""), 0);
    assert_int_equal(broker_command(CLUSTER_UNREGISTER_BROKER, 1, false), KAFKA_INVALID_REQUEST); /* it is active */
    feed = cluster_feed_since(cluster_index(c));
    assert_int_equal(broker_command(CLUSTER_UNREGISTER_BROKER, 1, true), 0);
    expect_picture("t", 0, "2/1 [2,5]");
    assert_null(cluster_find_broker(c, 1));
    assert_int_equal(cluster_broker_count(c), 2);
    while (cluster_feed_next(c, &feed, &change))
        told |= change.kind == CLUSTER_CHANGED_BROKERS_REMOVED;
    assert_true(told);
    assert_int_equal(register_broker(1, 1, -1), 0); /* its replicas are counted again */
    assert_int_equal(cluster_find_broker(c, 1)->replica_count, 1);
}

/* ---- features ------------------------------------------------------------------------------------------------------ */

static int16_t update(const char *name, int16_t level, uint8_t type, bool validate_only)
{
    struct cluster_command m = {.kind = CLUSTER_UPDATE_FEATURES,
                                .update_features = {.validate_only = validate_only, .count = 1, .updates = {{.level = level, .type = type}}}};
    snprintf(m.update_features.updates[0].name, sizeof(m.update_features.updates[0].name), "%s", name);
    return world_apply(&m);
}

static void test_features(void **state)
{
    struct cluster_command twice = {.kind = CLUSTER_UPDATE_FEATURES,
                                    .update_features = {.count = 2, .updates = {{CLUSTER_FEATURE_ELR, 0, 2}, {CLUSTER_FEATURE_ELR, 0, 2}}}};
    struct cluster_command half = {.kind = CLUSTER_UPDATE_FEATURES,
                                   .update_features = {.count = 2, .updates = {{CLUSTER_FEATURE_ELR, 0, 2}, {CLUSTER_FEATURE_METADATA, 99, 1}}}};
    struct cluster_command old = registration(5, 1);
    const char *name;
    assert_int_equal(update(CLUSTER_FEATURE_ELR, 0, 0, false), KAFKA_INVALID_REQUEST);
    assert_int_equal(update(CLUSTER_FEATURE_ELR, 0, 4, false), KAFKA_INVALID_REQUEST);
    assert_int_equal(update("none", 1, CLUSTER_UPGRADE, false), KAFKA_INVALID_UPDATE_VERSION);
    assert_int_equal(update(CLUSTER_FEATURE_ELR, 2, CLUSTER_UPGRADE, false), KAFKA_INVALID_UPDATE_VERSION);
    assert_int_equal(update(CLUSTER_FEATURE_ELR, -1, CLUSTER_DOWNGRADE_UNSAFE, false), KAFKA_INVALID_UPDATE_VERSION);
    assert_int_equal(update(CLUSTER_FEATURE_METADATA, 24, CLUSTER_DOWNGRADE_UNSAFE, false), KAFKA_INVALID_UPDATE_VERSION);
    assert_int_equal(update(CLUSTER_FEATURE_ELR, 0, CLUSTER_UPGRADE, false), KAFKA_INVALID_UPDATE_VERSION);
    assert_int_equal(world_apply(&twice), KAFKA_INVALID_REQUEST);
    assert_int_equal(world_apply(&half), KAFKA_INVALID_UPDATE_VERSION);
    assert_int_equal(update(CLUSTER_FEATURE_ELR, 0, CLUSTER_DOWNGRADE_SAFE, true), 0);
    assert_int_equal(cluster_feature(c, CLUSTER_FEATURE_ELR), 1);
    assert_int_equal(update(CLUSTER_FEATURE_ELR, 0, CLUSTER_DOWNGRADE_SAFE, false), 0);
    assert_int_equal(cluster_feature(c, CLUSTER_FEATURE_ELR), 0);
    assert_int_equal(cluster_feature_count(c), 1);
    assert_int_equal(cluster_feature_at(c, 0, &name), 25);
    assert_string_equal(name, CLUSTER_FEATURE_METADATA);
    old.register_broker.broker.features[0].max = 0;
    assert_int_equal(world_apply(&old), 0);
    assert_int_equal(update(CLUSTER_FEATURE_ELR, 1, CLUSTER_DOWNGRADE_SAFE, false), KAFKA_INVALID_UPDATE_VERSION);
    assert_int_equal(update(CLUSTER_FEATURE_ELR, 1, CLUSTER_UPGRADE, false), KAFKA_INVALID_UPDATE_VERSION); /* 5 does not know it */
    old = registration(5, 1);
    assert_int_equal(world_apply(&old), 0);
    assert_int_equal(update(CLUSTER_FEATURE_ELR, 1, CLUSTER_UPGRADE, false), 0);
}

/* ---- kept results ---------------------------------------------------------------------------------------------------- */

static int64_t block(uint64_t requester, uint64_t sequence)
{
    struct cluster_command m = {.kind = CLUSTER_PRODUCER_ID_BLOCK, .requester = requester, .sequence = sequence,
                                .producer_ids = {.broker = 1, .broker_epoch = cluster_find_broker(c, 1)->epoch, .count = 10}};
    assert_int_equal(world_apply(&m), 0);
    return r.first_producer_id;
}

static void test_a_repeated_command_is_done_once(void **state)
{
    uint64_t one = cluster_requester_broker(1), two = cluster_requester_broker(2);
    int64_t first = block(one, 5), next = cluster_next_producer_id(c);
    uint64_t index = r.index;
    assert_int_equal(block(one, 5), first);
    assert_true(r.repeated);
    assert_int_equal(r.index, index); /* of the one that was done */
    assert_int_equal(cluster_next_producer_id(c), next);
    assert_int_equal(block(two, 5), next);
    assert_false(r.repeated);
    assert_int_equal(block(one, 6), next + 10);
    assert_int_equal(block(one, 5), next + 20); /* only the last one is kept */
    assert_int_equal(block(0, 5), next + 30);
    assert_int_equal(block(0, 5), next + 40);
    assert_false(r.repeated);
    assert_int_equal(register_broker(2, 2, -1), 0); /* a new process begins anew */
    assert_int_equal(block(two, 5), next + 50);
    assert_int_equal(broker_command(CLUSTER_UNREGISTER_BROKER, 2, true), 0);
    assert_int_equal(block(two, 5), next + 60); /* nobody keeps anything for it */
    assert_int_equal(block(two, 5), next + 70);
}

/* An error is a result as well; one of another controller's time is not. */
static void test_what_is_kept(void **state)
{
    struct cluster_command m = {.kind = CLUSTER_DELETE_TOPIC, .requester = cluster_requester_client(4), .sequence = 1, .delete_topic = topic_uuid("t")};
    assert_int_equal(world_apply(&m), KAFKA_UNKNOWN_TOPIC_ID);
    assert_int_equal(make_topic("t", "1", ""), 0);
    assert_int_equal(world_apply(&m), KAFKA_UNKNOWN_TOPIC_ID);
    assert_true(r.repeated);
    assert_string_equal(r.message, "there is no such topic");
    m.sequence = 2;
    m.controller_epoch = 7;
    assert_int_equal(world_apply(&m), KAFKA_NOT_CONTROLLER);
    m.controller_epoch = 0;
    assert_int_equal(world_apply(&m), 0);
}

static void test_clients_share_a_fixed_number_of_slots(void **state)
{
    int64_t next;
    for (uint64_t i = 0; i < CLUSTER_CLIENT_SLOTS; i++)
        (void)block(cluster_requester_client(i), 1);
    next = cluster_next_producer_id(c);
    assert_int_equal(block(cluster_requester_client(0), 1), 0); /* still there, and no younger by that */
    assert_int_equal(block(cluster_requester_client(1), 2), next);
    (void)block(cluster_requester_client(1000), 1); /* the oldest makes room: 0 */
    (void)block(cluster_requester_client(1001), 1); /* then 2, as 1 came again */
    assert_int_equal(block(cluster_requester_client(1), 2), next);
    assert_true(r.repeated);
    assert_int_equal(block(cluster_requester_client(3), 1), 30);
    assert_true(r.repeated);
    (void)block(cluster_requester_client(2), 1);
    assert_false(r.repeated);
    (void)block(cluster_requester_client(0), 1);
    assert_false(r.repeated);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_registration_is_kept_whole),
        TEST(test_registering_again),
        TEST(test_checks_in_their_order),
        TEST(test_directories_of_the_same_process_may_change),
        TEST(test_epochs_are_compared),
        TEST(test_fencing_twice_changes_nothing),
        TEST(test_suspicion_is_for_a_minority),
        TEST(test_recovered_brokers_take_over_from_suspect_ones),
        TEST(test_unregistering),
        TEST(test_features),
        TEST(test_a_repeated_command_is_done_once),
        TEST(test_what_is_kept),
        TEST(test_clients_share_a_fixed_number_of_slots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
