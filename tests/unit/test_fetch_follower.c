/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Readers at a follower, and who sends them there (KIP-392). Broker 1 is ours; in the tests of followers broker 2 leads.
 */
#include "broker_world.h"
#include "kafka/batch.h"

enum { ROOM = 1 << 17, VERSION = 12, EPOCH = 5 };

static struct broker_world w;
static struct view_broker brokers[3];
static struct view_partition partitions[BW_PARTITIONS];
static struct view_topic topic;
static struct tide_view view;
static struct bw_client c, producer;
static uint8_t bytes[ROOM];
static struct bw_answer a;
static int32_t correlation;
static int32_t isr[3];

static int begin(uint32_t cores)
{
    bw_init(&w, cores);
    bw_connect(&w, &c);
    bw_connect(&w, &producer);
    correlation = 0;
    view = w.view;
    topic = w.topics[0];
    memcpy(partitions, w.partitions, sizeof(partitions));
    for (int32_t i = 0; i < 3; i++)
        brokers[i] = (struct view_broker){.id = i + 1, .endpoints = {{.host = "10.0.0.1", .port = 9092}}};
    strcpy(brokers[0].rack, "north");
    strcpy(brokers[1].rack, "south");
    strcpy(brokers[2].rack, "south");
    view.brokers = brokers;
    view.broker_count = 3;
    view.topics = &topic;
    topic.partitions = partitions;
    atomic_store(&w.publication.now, &view);
    return 0;
}

static int setup(void **state)
{
    return begin(1);
}

static int setup_two(void **state)
{
    return begin(2);
}

static int teardown(void **state)
{
    atomic_store(&w.publication.now, &w.view);
    bw_disconnect(&c);
    bw_disconnect(&producer);
    bw_deinit(&w);
    return 0;
}

/* Who leads partition i, and who is in sync. */
static void view_is(uint32_t i, int32_t leader, int32_t epoch, uint16_t in_sync, const int32_t ids[])
{
    memcpy(isr, ids, in_sync * sizeof(isr[0]));
    partitions[i].leader = leader;
    partitions[i].leader_epoch = epoch;
    partitions[i].isr = partitions[i].replicas = isr;
    partitions[i].isr_count = partitions[i].replica_count = in_sync;
}

static struct broker *home(uint32_t i)
{
    return w.cores[i % w.core_count].broker;
}

static void become(uint32_t i, int32_t leader, int32_t epoch, bool unclean)
{
    struct tide_mail *m = &w.orders[i];
    *m = (struct tide_mail){.kind = MAIL_BECOME, .from = w.core_count};
    m->become.partition = partitions[i].local;
    m->become.role = (struct mail_role){.self = 1, .leader = leader, .leader_epoch = epoch, .partition_epoch = epoch, .unclean_epoch = unclean ? epoch : -1,
                                        .recovering = unclean, .replica_count = 2, .isr_count = 2, .replicas = {1, 2}, .isr = {1, 2}, .broker_epochs = {-1, -1}};
    assert_int_equal(post_send(w.office, w.core_count, i % w.core_count, m), TIDE_OK);
    bw_pump(&w);
    view_is(i, leader, epoch, 2, (int32_t[]){1, 2});
}

/* What the leader sent: one record, or none, and its high watermark. */
static void receive(uint32_t i, int32_t epoch, bool record, int64_t high_watermark)
{
    static uint8_t batch[1024];
    struct partition *p = partitions[i].local;
    struct tide_rope records = {0};
    struct partition_followed done;
    struct partition_follow f = {.leader_epoch = epoch, .high_watermark = high_watermark, .base_offset = log_next_offset(partition_log(p))};
    struct batch_build_record r = {.timestamp = 1700000000000, .value = (const uint8_t *)"value", .value_len = 5};
    size_t len = batch_build(batch, sizeof(batch), &r, 1, -1, -1, -1);
    store_be64(batch, (uint64_t)f.base_offset);
    store_be32(batch + 12, (uint32_t)epoch);
    if (record) {
        assert_int_equal(tide_rope_copy_in(&records, bw_client_pool, batch, (uint32_t)len), TIDE_OK);
        f.records = tide_rope_slice(&records, 0, records.len);
    }
    for (enum tide_status status = TIDE_FULL; status != TIDE_OK;) {
        broker_begin_turn(home(i), &w.time, false);
        status = partition_follow_append(p, &w.time, &f, &w.cores[i % w.core_count].out, &done);
        assert_true(status == TIDE_OK || status == TIDE_FULL);
        slot_dirty(home(i), i);
        bw_pump(&w);
    }
    tide_rope_clear(&records);
}

static int32_t sends(struct bw_ask what)
{
    if (what.version == 0)
        what.version = VERSION;
    what.session_epoch = -1;
    what.count = 1;
    bw_send_bytes(&c, bytes, bw_ask(bytes, ++correlation, &what));
    bw_pump(&w);
    return correlation;
}

static void ask(struct bw_ask what)
{
    (void)sends(what);
    bw_answer(&c, correlation, what.version != 0 ? what.version : VERSION, &a);
    assert_int_equal(a.count, 1);
}

static struct bw_ask of(int32_t partition, int64_t offset)
{
    return (struct bw_ask){.what = {{.partition = partition, .offset = offset}}};
}

/* ---- at the follower ------------------------------------------------------------------------------------ */

static void test_below_its_own_mark(void **state)
{
    become(0, 2, EPOCH, false);
    receive(0, EPOCH, true, 0);
    receive(0, EPOCH, true, 0);
    ask(of(0, 0)); /* both are here, nothing is committed as far as we know */
    assert_int_equal(a.told[0].error, 0);
    assert_int_equal(a.told[0].bytes, 0);
    assert_int_equal(a.told[0].high_watermark, 0);
    receive(0, EPOCH, false, 1);
    ask(of(0, 0));
    assert_int_equal(a.told[0].last, 0);
    assert_int_equal(a.told[0].high_watermark, 1);
    assert_int_equal(a.told[0].last_stable_offset, 1);
    assert_int_equal(a.told[0].preferred, -1);
    ask(of(0, 2)); /* behind the mark, and not behind the end */
    assert_int_equal(a.told[0].error, 0);
    assert_int_equal(a.told[0].bytes, 0);
    ask(of(0, 3)); /* the client asks the leader before it believes it */
    assert_int_equal(a.told[0].error, KAFKA_OFFSET_OUT_OF_RANGE);
    receive(0, EPOCH, false, 9); /* the leader's mark is ahead of what we have */
    ask(of(0, 0));
    assert_int_equal(a.told[0].last, 1);
    assert_int_equal(a.told[0].high_watermark, 2);
}

static void test_old_versions_are_refused(void **state)
{
    become(0, 2, EPOCH, false);
    receive(0, EPOCH, true, 1);
    struct bw_ask old = of(0, 0);
    old.version = 10;
    ask(old);
    assert_int_equal(a.told[0].error, KAFKA_NOT_LEADER_OR_FOLLOWER);
    old.version = 11;
    ask(old);
    assert_int_equal(a.told[0].error, 0);
    assert_int_equal(a.told[0].last, 0);
}

static void test_epochs_at_a_follower(void **state)
{
    struct bw_ask what = of(0, 0);
    become(0, 2, EPOCH, false);
    receive(0, EPOCH, true, 1);
    what.what[0].leader_epoch = EPOCH - 1;
    ask(what);
    assert_int_equal(a.told[0].error, KAFKA_FENCED_LEADER_EPOCH);
    what.what[0].leader_epoch = EPOCH + 1;
    ask(what);
    assert_int_equal(a.told[0].error, KAFKA_UNKNOWN_LEADER_EPOCH);
    what.what[0].leader_epoch = EPOCH;
    ask(what);
    assert_int_equal(a.told[0].error, 0);
    assert_int_equal(a.told[0].last, 0);
}

/* Its log may differ from the new leader's until they have agreed. */
static void test_not_before_it_agreed(void **state)
{
    become(0, 2, EPOCH, false);
    receive(0, EPOCH, true, 1);
    become(0, 3, EPOCH + 1, false);
    struct bw_ask what = of(0, 0);
    what.version = 16;
    ask(what);
    assert_int_equal(a.told[0].error, KAFKA_NOT_LEADER_OR_FOLLOWER);
    assert_int_equal(a.told[0].bytes, 0);
    assert_int_equal(a.told[0].leader, 3); /* KIP-951 */
    receive(0, EPOCH + 1, false, 1);
    ask(what);
    assert_int_equal(a.told[0].error, 0);
    assert_int_equal(a.told[0].last, 0);
}

/* Asked again in the same epoch, its leader wants it cut. */
static void test_not_while_it_is_cut(void **state)
{
    struct partition *p = partitions[0].local;
    struct partition_look look;
    become(0, 2, EPOCH, false);
    receive(0, EPOCH, true, 1);
    receive(0, EPOCH, true, 1);
    partition_look(p, &look);
    assert_true(look.follower);
    assert_int_equal(partition_truncate(p, 1, &w.cores[0].out), TIDE_AGAIN);
    partition_look(p, &look);
    assert_false(look.follower);
    slot_dirty(w.cores[0].broker, 0);
    ask(of(0, 0));
    assert_int_equal(a.told[0].error, KAFKA_NOT_LEADER_OR_FOLLOWER);
    bw_pump(&w);
    receive(0, EPOCH, false, 1);
    ask(of(0, 0));
    assert_int_equal(a.told[0].error, 0);
    assert_int_equal(a.told[0].last, 0);
}

static void test_without_a_leader(void **state)
{
    become(0, 2, EPOCH, false);
    receive(0, EPOCH, true, 1);
    become(0, -1, EPOCH + 1, false);
    ask(of(0, 0));
    assert_int_equal(a.told[0].error, KAFKA_NOT_LEADER_OR_FOLLOWER);
}

static void test_out_of_sync(void **state)
{
    become(0, 2, EPOCH, false);
    receive(0, EPOCH, true, 1);
    view_is(0, 2, EPOCH, 1, (int32_t[]){2});
    ask(of(0, 0));
    assert_int_equal(a.told[0].error, KAFKA_NOT_LEADER_OR_FOLLOWER);
    view_is(0, 2, EPOCH, 2, (int32_t[]){2, 1});
    ask(of(0, 0));
    assert_int_equal(a.told[0].error, 0);
}

static void test_without_a_lease(void **state)
{
    become(0, 2, EPOCH, false);
    receive(0, EPOCH, true, 1);
    atomic_store(&w.publication.lease_until_ns, w.time.now_ns);
    ask(of(0, 0));
    assert_int_equal(a.told[0].error, KAFKA_NOT_LEADER_OR_FOLLOWER);
    atomic_store(&w.publication.lease_until_ns, UINT64_MAX);
    ask(of(0, 0));
    assert_int_equal(a.told[0].error, 0);
}

static void test_a_poll_at_a_follower(void **state)
{
    for (int32_t i = 0; i < 2; i++) { /* the second one is at home on another core, when there are two */
        become((uint32_t)i, 2, EPOCH, false);
        receive((uint32_t)i, EPOCH, true, 0);
        struct bw_ask what = of(i, 0);
        what.max_wait_ms = 5000;
        what.min_bytes = 1;
        int32_t sent = sends(what);
        bw_silent(&c);
        receive((uint32_t)i, EPOCH, true, 0); /* more of it, nothing committed */
        bw_silent(&c);
        receive((uint32_t)i, EPOCH, false, 1);
        bw_answer(&c, sent, VERSION, &a);
        assert_int_equal(a.told[0].last, 0);
        what.what[0].offset = 1;
        sent = sends(what);
        bw_silent(&c);
        become((uint32_t)i, 3, EPOCH + 1, false); /* it hears of another leader */
        bw_answer(&c, sent, VERSION, &a);
        assert_int_equal(a.told[0].error, KAFKA_NOT_LEADER_OR_FOLLOWER);
    }
}

/* After an unclean election what was read may be undone, but only then does the mark fall. */
static void test_an_unclean_leader(void **state)
{
    become(0, 2, EPOCH, false);
    receive(0, EPOCH, true, 1);
    become(0, 3, EPOCH + 1, true);
    ask(of(0, 0));
    assert_int_equal(a.told[0].error, KAFKA_NOT_LEADER_OR_FOLLOWER);
    receive(0, EPOCH + 1, false, 0);
    ask(of(0, 0));
    assert_int_equal(a.told[0].error, 0);
    assert_int_equal(a.told[0].bytes, 0);
}

static void test_diverging_at_a_follower(void **state)
{
    become(0, 2, EPOCH, false);
    receive(0, EPOCH, true, 1);
    struct bw_ask what = of(0, 9);
    what.what[0].last_epoch = EPOCH;
    ask(what);
    assert_int_equal(a.told[0].error, 0);
    assert_int_equal(a.told[0].diverging_epoch, EPOCH);
    assert_int_equal(a.told[0].diverging_end, 1);
}

/* ---- at the leader ----------------------------------------------------------------------------------------- */

static void lead(uint32_t records)
{
    int32_t zero = 0;
    int16_t error;
    int64_t base;
    view_is(0, 1, BW_EPOCH, 3, (int32_t[]){1, 2, 3});
    for (uint32_t i = 0; i < records; i++) {
        bw_send_bytes(&producer, bytes, bw_produce(bytes, ++correlation, 1, 1000, &zero, 1, 10));
        bw_pump(&w);
        bw_produced(&producer, correlation, &error, &base, 1);
        assert_int_equal(error, 0);
    }
}

static int32_t preferred(struct bw_ask what)
{
    what.max_wait_ms = 5000; /* who is sent away need not wait */
    what.min_bytes = 1;
    ask(what);
    assert_int_equal(a.told[0].error, 0);
    assert_int_equal(a.told[0].bytes != 0, a.told[0].preferred < 0);
    return a.told[0].preferred;
}

static struct bw_ask from_rack(const char *rack, int64_t offset)
{
    struct bw_ask what = of(0, offset);
    what.rack = rack;
    return what;
}

static void test_readers_are_sent_to_their_rack(void **state)
{
    lead(2);
    assert_int_equal(preferred(from_rack("south", 0)), -1); /* no selector */
    w.settings.rack_aware = true;
    int32_t found = preferred(from_rack("south", 0));
    assert_int_equal(found, 2); /* the first of two; the next partition's readers go to the other one */
    assert_int_equal(a.told[0].high_watermark, 2);
    assert_int_equal(preferred(from_rack("south", 2)), 2); /* at the mark */
    assert_int_equal(preferred(from_rack("north", 0)), -1); /* ours */
    assert_int_equal(preferred(from_rack("west", 0)), -1);  /* nobody's */
    assert_int_equal(preferred(from_rack("", 0)), -1);
    assert_int_equal(preferred(from_rack(NULL, 0)), -1);
    struct bw_ask old = from_rack("south", 0);
    old.version = 10;
    assert_int_equal(preferred(old), -1);
    brokers[0].rack[0] = 0;
    assert_int_equal(preferred(from_rack("south", 0)), 2);
}

static void test_only_to_who_can_serve(void **state)
{
    lead(2);
    w.settings.rack_aware = true;
    view_is(0, 1, BW_EPOCH, 2, (int32_t[]){1, 3});
    assert_int_equal(preferred(from_rack("south", 0)), 3);
    brokers[2].fenced = true;
    assert_int_equal(preferred(from_rack("south", 0)), -1);
    brokers[2].fenced = false;
    brokers[2].endpoints[0].port = 0;
    assert_int_equal(preferred(from_rack("south", 0)), -1);
    brokers[2].endpoints[0].port = 9092;
    view_is(0, 1, BW_EPOCH, 1, (int32_t[]){1});
    assert_int_equal(preferred(from_rack("south", 0)), -1);
    view_is(0, 1, BW_EPOCH, 3, (int32_t[]){1, 2, 3});
    ask(from_rack("south", 3)); /* an offset that is nobody's: its error, and no other broker */
    assert_int_equal(a.told[0].error, KAFKA_OFFSET_OUT_OF_RANGE);
    assert_int_equal(a.told[0].preferred, -1);
}

#define TEST(name)     cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_TWO(name) cmocka_unit_test_setup_teardown(name, setup_two, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_below_its_own_mark),
        TEST(test_old_versions_are_refused),
        TEST(test_epochs_at_a_follower),
        TEST(test_not_before_it_agreed),
        TEST(test_not_while_it_is_cut),
        TEST(test_without_a_leader),
        TEST(test_out_of_sync),
        TEST(test_without_a_lease),
        TEST(test_a_poll_at_a_follower),
        TEST_TWO(test_a_poll_at_a_follower),
        TEST(test_an_unclean_leader),
        TEST(test_diverging_at_a_follower),
        TEST(test_readers_are_sent_to_their_rack),
        TEST(test_only_to_who_can_serve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
