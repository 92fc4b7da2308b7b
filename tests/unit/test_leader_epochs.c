/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Fetch, ListOffsets and OffsetForLeaderEpoch do with the epochs that a client names (KIP-320, kafka-protocol 8.2, 8.5,
 * 8.6), and who may answer at all.
 */
#include <errno.h>

#include "broker_world.h"

enum { ROOM = 1 << 17, NEXT = BW_EPOCH + 1 };

static struct broker_world w;
static struct bw_client c, producer;
static uint8_t bytes[ROOM];
static int32_t correlation;

static int setup(void **state)
{
    bw_init(&w, 1);
    bw_connect(&w, &c);
    bw_connect(&w, &producer);
    correlation = 0;
    return 0;
}

static int teardown(void **state)
{
    bw_disconnect(&c);
    bw_disconnect(&producer);
    bw_deinit(&w);
    return 0;
}

static void produce(void)
{
    int32_t zero = 0;
    int16_t error;
    int64_t base;
    bw_send_bytes(&producer, bytes, bw_produce(bytes, ++correlation, 1, 1000, &zero, 1, 10));
    bw_pump(&w);
    bw_produced(&producer, correlation, &error, &base, 1);
    assert_int_equal(error, 0);
}

/* Partition 0 gets a role in a new epoch; 1 is ours. */
static void become(int32_t leader, int32_t epoch, uint32_t in_sync)
{
    struct tide_mail *m = &w.orders[0];
    *m = (struct tide_mail){.kind = MAIL_BECOME, .from = w.core_count};
    m->become.partition = w.partitions[0].local;
    m->become.role = (struct mail_role){.self = 1, .leader = leader, .leader_epoch = epoch, .partition_epoch = epoch, .unclean_epoch = -1,
                                        .replica_count = 2, .isr_count = in_sync, .replicas = {1, 2}, .isr = {1, 2}, .broker_epochs = {-1, -1}};
    assert_int_equal(post_send(w.office, w.core_count, 0, m), TIDE_OK);
    w.partitions[0].leader = leader;
    w.partitions[0].leader_epoch = epoch;
    bw_pump(&w);
}

/* A request of one topic with one partition item of these bytes; the cursor at its answer's items. */
static void send(int16_t key, int16_t v, const void *head, size_t head_len, const void *items, size_t len, uint32_t count)
{
    uint8_t body[512];
    size_t at = head_len;
    memcpy(body, head, head_len);
    store_be32(body + at, 1);
    store_be16(body + at + 4, 1);
    body[at + 6] = 't';
    store_be32(body + at + 7, count);
    memcpy(body + at + 11, items, len);
    bw_send_bytes(&c, bytes, bw_raw(bytes, key, v, ++correlation, body, at + 11 + len));
    bw_pump(&w);
}

struct found {
    int16_t error;
    int64_t timestamp, offset;
    int32_t epoch;
};

/* ListOffsets v5; of partition `index`, `count` times. */
static void list_all(int32_t index, int32_t epoch, int64_t asked, uint32_t count, struct found *ret)
{
    uint8_t items[64];
    struct list_offsets_response in;
    struct list_offsets_response_topic t;
    struct list_offsets_response_partition p;
    struct wire_cursor at;
    int32_t id;
    for (uint32_t i = 0; i < count; i++) {
        store_be32(items + 16 * i, (uint32_t)index);
        store_be32(items + 16 * i + 4, (uint32_t)epoch);
        store_be64(items + 16 * i + 8, (uint64_t)asked);
    }
    send(KAFKA_API_LIST_OFFSETS, 5, "\xff\xff\xff\xff\0", 5, items, 16 * count, count);
    assert_true(bw_next(&c, &id, &at));
    assert_true(list_offsets_response_read(&at, 5, &in));
    assert_true(list_offsets_response_topic_next(&in.topics, 5, &t));
    for (uint32_t i = 0; i < count; i++) {
        assert_true(list_offsets_response_partition_next(&t.partitions, 5, &p));
        ret[i] = (struct found){.error = p.error_code, .timestamp = p.timestamp, .offset = p.offset, .epoch = p.leader_epoch};
    }
}

static struct found list(int32_t epoch, int64_t asked)
{
    struct found f;
    list_all(0, epoch, asked, 1, &f);
    return f;
}

/* OffsetForLeaderEpoch v3. */
static struct found end_of(int32_t current, int32_t epoch)
{
    uint8_t item[12];
    struct offset_for_leader_epoch_response in;
    struct offset_for_leader_epoch_response_topic t;
    struct offset_for_leader_epoch_response_epoch_end_offset p;
    struct wire_cursor at;
    int32_t id;
    store_be32(item, 0);
    store_be32(item + 4, (uint32_t)current);
    store_be32(item + 8, (uint32_t)epoch);
    send(KAFKA_API_OFFSET_FOR_LEADER_EPOCH, 3, "\xff\xff\xff\xff", 4, item, sizeof(item), 1);
    assert_true(bw_next(&c, &id, &at));
    assert_true(offset_for_leader_epoch_response_read(&at, 3, &in));
    assert_true(offset_for_leader_epoch_response_topic_next(&in.topics, 3, &t));
    assert_true(offset_for_leader_epoch_response_epoch_end_offset_next(&t.partitions, 3, &p));
    return (struct found){.error = p.error_code, .offset = p.end_offset, .epoch = p.leader_epoch};
}

static struct bw_told fetch(int16_t version, int32_t epoch, int32_t last_epoch, int64_t offset)
{
    struct bw_ask what = {.version = version, .session_epoch = -1, .read_committed = true, .count = 1,
                          .what = {{.offset = offset, .leader_epoch = epoch, .last_epoch = last_epoch}}};
    struct bw_answer a;
    bw_send_bytes(&c, bytes, bw_ask(bytes, ++correlation, &what));
    bw_pump(&w);
    bw_answer(&c, correlation, version, &a);
    assert_int_equal(a.count, 1);
    return a.told[0];
}

/* All three, as one: the same errors in the same order. */
static void all_say(int32_t epoch, int16_t error)
{
    assert_int_equal(fetch(12, epoch != -1 ? epoch : 0, 0, 0).error, error);
    assert_int_equal(list(epoch, -1).error, error);
    assert_int_equal(list(epoch, -2).error, error);
    assert_int_equal(end_of(epoch, BW_EPOCH).error, error);
}

static void test_the_clients_epoch(void **state)
{
    produce();
    all_say(-1, 0);
    all_say(BW_EPOCH, 0);
    all_say(BW_EPOCH - 1, KAFKA_FENCED_LEADER_EPOCH);
    all_say(BW_EPOCH + 1, KAFKA_UNKNOWN_LEADER_EPOCH);
}

/* A replica that does not lead tells of epochs first: who is ahead of us need not be told what we believe of the leader. */
static void test_the_epoch_before_the_leader(void **state)
{
    produce();
    become(2, NEXT, 2);
    all_say(-1, KAFKA_NOT_LEADER_OR_FOLLOWER);
    all_say(NEXT, KAFKA_NOT_LEADER_OR_FOLLOWER);
    all_say(BW_EPOCH, KAFKA_FENCED_LEADER_EPOCH);
    all_say(NEXT + 1, KAFKA_UNKNOWN_LEADER_EPOCH);
}

static void test_without_a_lease(void **state)
{
    produce();
    atomic_store(&w.publication.lease_until_ns, w.time.now_ns);
    all_say(-1, KAFKA_NOT_LEADER_OR_FOLLOWER);
    all_say(BW_EPOCH, KAFKA_NOT_LEADER_OR_FOLLOWER);
    all_say(BW_EPOCH - 1, KAFKA_FENCED_LEADER_EPOCH);
    atomic_store(&w.publication.lease_until_ns, UINT64_MAX);
    all_say(-1, 0);
}

static void test_a_failed_log(void **state)
{
    int32_t zero = 0;
    w.disk_error = -EIO;
    bw_send_bytes(&producer, bytes, bw_produce(bytes, ++correlation, 0, 1000, &zero, 1, 10));
    bw_pump(&w);
    w.disk_error = 0;
    all_say(-1, KAFKA_KAFKA_STORAGE_ERROR);
    all_say(BW_EPOCH + 1, KAFKA_KAFKA_STORAGE_ERROR);
    assert_int_equal(fetch(5, 0, 0, 0).error, KAFKA_NOT_LEADER_OR_FOLLOWER);
}

/* The end of an epoch, as section 7.2 has it, and a reader of another branch (KIP-595). */
static void test_ends_of_epochs(void **state)
{
    static const struct {
        int32_t asked, epoch;
        int64_t end;
    } cases[] = {{BW_EPOCH, BW_EPOCH, 2}, {NEXT, NEXT, 3}, {BW_EPOCH - 1, BW_EPOCH - 1, 0}, {NEXT + 1, -1, -1}, {-1, -1, -1}};
    struct bw_told t;
    produce();
    produce();
    become(1, NEXT, 1);
    produce();
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        struct found f = end_of(-1, cases[i].asked);
        assert_int_equal(f.error, 0);
        assert_int_equal(f.epoch, cases[i].epoch);
        assert_int_equal(f.offset, cases[i].end);
    }
    t = fetch(12, NEXT, BW_EPOCH, 2); /* it ends there */
    assert_int_equal(t.error, 0);
    assert_int_equal(t.diverging_epoch, -1);
    assert_int_equal(t.first, 2);
    t = fetch(12, NEXT, BW_EPOCH, 3);
    assert_int_equal(t.error, 0);
    assert_int_equal(t.diverging_epoch, BW_EPOCH);
    assert_int_equal(t.diverging_end, 2);
    assert_int_equal(t.bytes, 0);
    t = fetch(12, NEXT, NEXT + 1, 3);
    assert_int_equal(t.error, KAFKA_OFFSET_OUT_OF_RANGE);
    assert_int_equal(t.diverging_epoch, -1);
    t = fetch(12, NEXT, NEXT, 3);
    assert_int_equal(t.diverging_epoch, -1);
    assert_int_equal(t.error, 0);
}

/* The epoch beside an offset is that of the record there. */
static void test_epochs_of_offsets(void **state)
{
    struct found f = list(-1, -2);
    assert_int_equal(f.offset, 0);
    assert_int_equal(f.epoch, BW_EPOCH);
    produce();
    become(1, NEXT, 1);
    f = list(-1, -2);
    assert_int_equal(f.offset, 0);
    assert_int_equal(f.epoch, BW_EPOCH);
    f = list(-1, -1);
    assert_int_equal(f.offset, 1);
    assert_int_equal(f.epoch, NEXT);
    assert_int_equal(f.timestamp, -1);
    f = list(-1, 0);
    assert_int_equal(f.offset, 0);
    assert_int_equal(f.epoch, BW_EPOCH);
    assert_int_equal(list(-1, INT64_MAX).offset, -1); /* nothing is so young, and that is no error */
    assert_int_equal(list(-1, INT64_MAX).error, 0);
    assert_int_equal(list(-1, -3).error, KAFKA_UNSUPPORTED_VERSION);
    assert_int_equal(list(-1, -4).error, KAFKA_UNSUPPORTED_VERSION);
}

/* Until what it held at its election is committed, the end would go backwards (KIP-207). */
static void test_not_before_the_epoch_is_committed(void **state)
{
    int32_t zero = 0;
    become(1, NEXT, 2); /* with a second one that never acknowledges */
    bw_send_bytes(&producer, bytes, bw_produce(bytes, ++correlation, 0, 1000, &zero, 1, 10));
    bw_pump(&w);
    assert_int_equal(list(-1, -1).offset, 0);
    become(1, NEXT + 1, 2); /* it holds what nobody knows to be committed */
    assert_int_equal(list(-1, -1).error, KAFKA_OFFSET_NOT_AVAILABLE);
    assert_int_equal(list(-1, 0).error, KAFKA_OFFSET_NOT_AVAILABLE);
    assert_int_equal(list(-1, -2).error, 0);
    struct bw_told t = fetch(12, NEXT + 1, 0, 0); /* what is below the mark is served, and nothing else */
    assert_int_equal(t.error, 0);
    assert_int_equal(t.high_watermark, 0);
    assert_int_equal(t.last_stable_offset, 0);
    assert_int_equal(t.bytes, 0);
}

static void test_named_twice(void **state)
{
    struct found f[3];
    list_all(0, -1, -1, 3, f);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(f[i].error, KAFKA_INVALID_REQUEST);
        assert_int_equal(f[i].offset, -1);
    }
    list_all(77, -1, -1, 1, f);
    assert_int_equal(f[0].error, KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_clients_epoch),
        TEST(test_the_epoch_before_the_leader),
        TEST(test_without_a_lease),
        TEST(test_a_failed_log),
        TEST(test_ends_of_epochs),
        TEST(test_epochs_of_offsets),
        TEST(test_not_before_the_epoch_is_committed),
        TEST(test_named_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
