/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shell around group coordinators: when they begin, what they read, when their answers leave, what ends them; and the
 * questions of sessions on their way there and back, on two cores. The coordinators themselves are fake_groups.h.
 */
#include <errno.h>

#include "broker/coordinators.h"
#include "broker_world.h"
#include "fake_groups.h"
#include "kafka/codecs.h"

enum { ROOM = 1 << 17, NOTHING = -100, PLAIN_ROOM = COORDINATOR_PLAIN_BYTES + (2 << 20), PACKED_ROOM = 2 * PLAIN_ROOM };

static struct broker_world w;
static struct bw_client c;
static uint8_t bytes[ROOM];
static int32_t correlation;

static int begin(uint32_t cores)
{
    fake_groups_reset();
    bw_init_groups(&w, cores);
    bw_show_groups(&w);
    bw_connect(&w, &c);
    bw_pump(&w);
    correlation = 0;
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
    bw_disconnect(&c);
    bw_pump(&w);
    fake_groups.silent = false;
    bw_deinit(&w);
    assert_int_equal(fake_groups.created, fake_groups.destroyed);
    return 0;
}

/* ---- asking ---------------------------------------------------------------------------------------------- */

static void put_name(uint8_t *to, const char *name)
{
    store_be16(to, (uint16_t)strlen(name));
    memcpy(to + 2, name, strlen(name));
}

/* A Heartbeat of version 0: the group's name, and what the fake does not look at. */
static void ask_of(struct bw_client *from, const char *group)
{
    uint8_t body[64];
    put_name(body, group);
    bw_send_bytes(from, bytes, bw_raw(bytes, KAFKA_API_HEARTBEAT, 0, ++correlation, body, 2 + strlen(group)));
}

static void ask(const char *group)
{
    ask_of(&c, group);
    bw_pump(&w);
}

/* The error of the answer that has come, NOTHING if none has. */
static int answer_at(struct bw_client *at, int32_t want, int32_t *ret_partition)
{
    struct wire_cursor body;
    int32_t found;
    int16_t error;
    int32_t partition;
    if (!bw_next(at, &found, &body))
        return NOTHING;
    assert_int_equal(found, want);
    error = wire_get_i16(&body);
    partition = wire_get_i32(&body);
    assert_true(wire_done(&body));
    if (ret_partition != NULL)
        *ret_partition = partition;
    return error;
}

static int answer(void)
{
    return answer_at(&c, correlation, NULL);
}

static int call(const char *group)
{
    ask(group);
    return answer();
}

static uint32_t requests(void)
{
    struct broker_gauges g;
    broker_gauges(w.cores[0].broker, &g);
    return g.requests_in_progress;
}

static unsigned letters(void)
{
    struct broker_gauges g;
    broker_gauges(w.cores[0].broker, &g);
    return g.mails - g.mails_free;
}

static enum coordinator_state state_of(uint32_t partition)
{
    uint32_t slot = BW_PARTITIONS + partition;
    return w.cores[partition_home(w.partitions[slot].local)].broker->coordinators->by_slot[slot].state;
}

/* ---- where questions go ------------------------------------------------------------------------------------- */

static void test_each_group_has_its_coordinator(void **state)
{
    for (char n = '0'; n < '0' + BW_PARTITIONS; n++) {
        char name[] = "now0";
        int32_t partition;
        name[3] = n;
        ask(name);
        assert_int_equal(answer_at(&c, correlation, &partition), 0);
        assert_int_equal(partition, n - '0');
    }
    assert_int_equal(fake_groups.loaded, BW_PARTITIONS);
    assert_int_equal(bw_count(&w, COUNTER_group_questions), BW_PARTITIONS);
    assert_int_equal(requests(), 0);
    assert_int_equal(letters(), 0);
}

/* Where a packet ends says nothing about the request, at the border of header and body neither. */
static void test_a_request_in_two_packets(void **state)
{
    uint8_t body[64];
    put_name(body, "now0");
    for (size_t cut = 1, len = 2; cut < len; cut++) {
        len = bw_raw(bytes, KAFKA_API_HEARTBEAT, 0, ++correlation, body, 2 + strlen("now0"));
        bw_send_cut(&c, bytes, len, cut);
        bw_pump(&w);
        assert_int_equal(answer(), 0);
    }
}

static void test_nobody_coordinates(void **state)
{
    ask("bad0");
    assert_int_equal(answer(), NOTHING);
    assert_true(c.closed);
    bw_connect(&w, &c);
    bw_become(&w, BW_PARTITIONS, 2, BW_EPOCH + 1);
    assert_int_equal(call("now0"), KAFKA_NOT_COORDINATOR);
    ask("bad0"); /* also when it is we who answer */
    assert_int_equal(answer(), NOTHING);
    assert_true(c.closed);
    bw_connect(&w, &c);
    w.view.topic_count = 0;
    memset(w.by_name, 0, sizeof(w.by_name));
    assert_int_equal(call("now1"), KAFKA_NOT_COORDINATOR);
}

/* A ConsumerGroupHeartbeat, or a ConsumerGroupDescribe of one group: the fake looks at the name. */
static int ask_consumer(int16_t key, const char *group)
{
    struct wire_writer body;
    struct wire_cursor answered;
    uint8_t flat[128];
    int32_t found;
    int16_t error;
    wire_writer_init(&body, bw_client_pool);
    wire_put_uvarint(&body, 0); /* tags of the head */
    if (key == KAFKA_API_CONSUMER_GROUP_DESCRIBE) {
        consumer_group_describe_request_open_group_ids(&body, 1, 1);
        wire_put_string(&body, true, group, (uint32_t)strlen(group));
        consumer_group_describe_request_put_include_authorized_operations(&body, 1, false);
        consumer_group_describe_request_end(&body, 1);
    } else {
        consumer_group_heartbeat_request_put_group_id(&body, 1, group, (uint32_t)strlen(group));
        consumer_group_heartbeat_request_put_member_id(&body, 1, "m", 1);
        consumer_group_heartbeat_request_put_member_epoch(&body, 1, 0);
        consumer_group_heartbeat_request_put_instance_id(&body, 1, NULL, 0);
        consumer_group_heartbeat_request_put_rack_id(&body, 1, NULL, 0);
        consumer_group_heartbeat_request_put_rebalance_timeout_ms(&body, 1, -1);
        consumer_group_heartbeat_request_open_subscribed_topic_names(&body, 1, -1);
        consumer_group_heartbeat_request_put_subscribed_topic_regex(&body, 1, NULL, 0);
        consumer_group_heartbeat_request_put_server_assignor(&body, 1, NULL, 0);
        consumer_group_heartbeat_request_open_topic_partitions(&body, 1, -1);
        consumer_group_heartbeat_request_end(&body, 1);
    }
    assert_false(body.failed);
    tide_slice_copy(tide_rope_slice(&body.out, 0, body.out.len), flat);
    bw_send_bytes(&c, bytes, bw_raw(bytes, key, 1, ++correlation, flat, body.out.len));
    tide_rope_clear(&body.out);
    bw_pump(&w);
    assert_true(bw_next(&c, &found, &answered));
    assert_int_equal(found, correlation);
    (void)wire_get_i8(&answered); /* no tags */
    if (key == KAFKA_API_CONSUMER_GROUP_DESCRIBE) {
        (void)wire_get_i32(&answered);
        assert_int_equal(wire_get_count(&answered, true, false), 1);
    }
    error = wire_get_i16(&answered);
    assert_false(answered.failed);
    return error;
}

/* Classic groups do not ask for it. */
static void test_the_consumer_protocol_has_a_level(void **state)
{
    static struct view_feature features[] = {{"a.feature", 0, 2, 2}, {"group.version", 0, 1, 0}};
    for (int16_t level = 0; level <= 1; level++) {
        unsigned asked = fake_groups.asked;
        features[1].level = level;
        w.view.features = features;
        w.view.feature_count = level == 0 ? 1 : 2;
        for (; w.view.feature_count <= 2; w.view.feature_count++) {
            assert_int_equal(ask_consumer(KAFKA_API_CONSUMER_GROUP_HEARTBEAT, "now1"), level == 0 ? KAFKA_UNSUPPORTED_VERSION : 0);
            assert_int_equal(ask_consumer(KAFKA_API_CONSUMER_GROUP_DESCRIBE, "now1"), level == 0 ? KAFKA_UNSUPPORTED_VERSION : 0);
        }
        assert_int_equal(fake_groups.asked - asked, level == 0 ? 0 : 2);
        w.view.feature_count = 2;
        assert_int_equal(call("now1"), 0);
    }
    w.view.feature_count = 0;
}

/* Answers of one connection leave in the order of its requests. */
static void test_order(void **state)
{
    ask("wait0");
    ask("now1");
    assert_int_equal(answer(), NOTHING);
    fake_groups_release();
    bw_pass(&w, 1);
    assert_int_equal(answer_at(&c, 1, NULL), 0);
    assert_int_equal(answer_at(&c, 2, NULL), 0);
}

/* ---- what is written ------------------------------------------------------------------------------------------ */

static void test_an_answer_waits_for_the_disk(void **state)
{
    w.hold_disk = true;
    ask("write1");
    assert_int_equal(fake_groups.appended, 1);
    assert_int_equal(answer(), NOTHING);
    w.hold_disk = false;
    bw_pump(&w);
    assert_int_equal(answer(), 0);
    assert_int_equal(bw_count(&w, COUNTER_group_appends), 1);
}

static void test_a_deposed_coordinator_answers_nothing_good(void **state)
{
    w.hold_disk = true;
    ask("write0");
    ask("wait0");
    bw_become(&w, BW_PARTITIONS, 2, BW_EPOCH + 1);
    w.hold_disk = false;
    bw_pump(&w);
    assert_int_equal(answer_at(&c, 1, NULL), KAFKA_NOT_COORDINATOR);
    assert_int_equal(answer_at(&c, 2, NULL), KAFKA_NOT_COORDINATOR);
    assert_int_equal(state_of(0), COORDINATOR_NONE);
}

/* Also when there is no memory for the coordinator's own answers. */
static void test_a_deposed_coordinator_without_memory(void **state)
{
    struct wire_cursor body;
    int32_t found;
    ask("wait0");
    fake_groups.silent = true;
    bw_send_bytes(&c, bytes, bw_raw(bytes, KAFKA_API_LIST_GROUPS, 1, ++correlation, NULL, 0));
    bw_pump(&w);
    bw_become(&w, BW_PARTITIONS, 2, BW_EPOCH + 1);
    assert_int_equal(answer_at(&c, 1, NULL), KAFKA_NOT_COORDINATOR);
    fake_groups.silent = false;
    bw_pass(&w, 1);
    assert_true(bw_next(&c, &found, &body));
    assert_int_equal(wire_get_i32(&body), 0);
    assert_int_equal(wire_get_i16(&body), 0);
    assert_int_equal(wire_get_i32(&body), BW_PARTITIONS - 1);
}

static void test_a_new_epoch_reads_what_was_written(void **state)
{
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(call("write0"), 0);
    bw_become(&w, BW_PARTITIONS, 1, BW_EPOCH + 1); /* the same leader, but it is another epoch */
    assert_int_equal(fake_groups.replayed, 3);
    assert_int_equal(call("now0"), 0);
    bw_become(&w, BW_PARTITIONS, 2, BW_EPOCH + 2);
    bw_become(&w, BW_PARTITIONS, 1, BW_EPOCH + 3);
    assert_int_equal(fake_groups.replayed, 6);
    assert_int_equal(call("write0"), 0);
}

/* Without the lease no question is taken and no answer leaves, until it is there again. */
static void test_without_the_lease(void **state)
{
    w.hold_disk = true;
    ask("write0");
    atomic_store(&w.publication.lease_until_ns, w.time.now_ns);
    w.hold_disk = false;
    bw_pump(&w);
    assert_int_equal(answer(), NOTHING);
    struct bw_client other;
    bw_connect(&w, &other);
    ask_of(&other, "now0");
    bw_pump(&w);
    assert_int_equal(answer_at(&other, 2, NULL), KAFKA_NOT_COORDINATOR);
    atomic_store(&w.publication.lease_until_ns, UINT64_MAX);
    bw_pass(&w, 1000);
    assert_int_equal(answer_at(&c, 1, NULL), 0);
    bw_disconnect(&other);
}

static void test_errors_of_appends(void **state)
{
    w.disk_error = -EIO;
    assert_int_equal(call("write0"), KAFKA_NOT_COORDINATOR); /* the log fails while it waits */
    w.disk_error = 0;
    assert_int_equal(call("now0"), KAFKA_NOT_COORDINATOR);
    assert_int_equal(call("now1"), 0);
}

/* ---- loading ---------------------------------------------------------------------------------------------------- */

/* More than the tail has in memory. */
static void fill(void)
{
    for (unsigned i = 0; i < 60; i++)
        assert_int_equal(call("big0"), 0);
    for (unsigned i = 0; i < 30; i++) /* others want tail buffers */
        assert_int_equal(call("big1"), 0);
    fake_groups.replayed = 0;
}

static void test_it_reads_from_the_disk(void **state)
{
    fill();
    bw_become(&w, BW_PARTITIONS, 1, BW_EPOCH + 1);
    assert_int_equal(fake_groups.replayed, 60);
    assert_true(bw_count(&w, COUNTER_disk_reads) != 0);
    assert_true(bw_count(&w, COUNTER_group_load_bytes) > 600000);
    assert_int_equal(call("now0"), 0);
}

/* However many are read at a time, a turn of the core is as long. */
static void test_what_is_replayed_in_a_turn(void **state)
{
    unsigned most = 0;
    fill();
    fill();
    for (uint32_t i = 0; i < 2; i++)
        bw_become(&w, BW_PARTITIONS + i, 2, BW_EPOCH + 1);
    w.hold_disk = true;
    for (uint32_t i = 0; i < 2; i++)
        bw_become(&w, BW_PARTITIONS + i, 1, BW_EPOCH + 2);
    assert_true(state_of(0) == COORDINATOR_LOADING && state_of(1) == COORDINATOR_LOADING);
    w.hold_disk = false;
    for (unsigned before = 0; bw_turn(&w); before = fake_groups.replayed)
        most = TIDE_MAX(most, fake_groups.replayed - before);
    assert_int_equal(fake_groups.replayed, 180);
    assert_in_range(most, 2, COORDINATOR_LOAD_TURN_BYTES / 10000 + 1);
}

static void test_while_it_reads(void **state)
{
    fill();
    bw_become(&w, BW_PARTITIONS, 2, BW_EPOCH + 1);
    w.hold_disk = true;
    bw_become(&w, BW_PARTITIONS, 1, BW_EPOCH + 2);
    assert_int_equal(state_of(0), COORDINATOR_LOADING);
    assert_int_equal(call("now0"), KAFKA_COORDINATOR_LOAD_IN_PROGRESS);
    assert_int_equal(call("now1"), 0);
    bw_become(&w, BW_PARTITIONS, 2, BW_EPOCH + 3); /* the read is still out */
    assert_int_equal(state_of(0), COORDINATOR_ENDING);
    bw_become(&w, BW_PARTITIONS, 1, BW_EPOCH + 4);
    assert_int_equal(state_of(0), COORDINATOR_ENDING);
    assert_int_equal(call("now0"), KAFKA_COORDINATOR_LOAD_IN_PROGRESS);
    fake_groups.replayed = 0;
    w.hold_disk = false;
    bw_pump(&w);
    assert_int_equal(fake_groups.replayed, 60);
    assert_int_equal(call("now0"), 0);
}

static void test_a_log_that_cannot_be_read(void **state)
{
    fill();
    bw_become(&w, BW_PARTITIONS, 2, BW_EPOCH + 1);
    w.disk_error = -EIO;
    bw_become(&w, BW_PARTITIONS, 1, BW_EPOCH + 2);
    assert_int_equal(state_of(0), COORDINATOR_BROKEN);
    assert_int_equal(bw_count(&w, COUNTER_group_load_failures), 1);
    assert_int_equal(call("now0"), KAFKA_COORDINATOR_NOT_AVAILABLE);
    bw_pass(&w, COORDINATOR_RETRY_MS + 1);
    assert_int_equal(bw_count(&w, COUNTER_group_load_failures), 2);
    w.disk_error = 0;
    fake_groups.replayed = 0;
    bw_pass(&w, COORDINATOR_RETRY_MS + 1);
    assert_int_equal(fake_groups.replayed, 60);
    assert_int_equal(call("now0"), 0);
}

static void test_a_heap_that_is_full(void **state)
{
    assert_int_equal(call("write0"), 0);
    fake_groups.heap_full = true;
    bw_become(&w, BW_PARTITIONS, 1, BW_EPOCH + 1);
    assert_int_equal(call("now0"), KAFKA_COORDINATOR_NOT_AVAILABLE);
    fake_groups.heap_full = false;
    bw_pass(&w, COORDINATOR_RETRY_MS + 1);
    assert_int_equal(call("now0"), 0);
}

static void test_time_and_views(void **state)
{
    unsigned before = fake_groups.turns;
    bw_pass(&w, 100);
    assert_int_equal(fake_groups.turns, before); /* nothing is due */
    w.view.version++;
    bw_pass(&w, 100);
    assert_int_equal(fake_groups.turns, before + BW_PARTITIONS);
}

/* ---- compressed batches ------------------------------------------------------------------------------------------- */

static uint8_t plain[PLAIN_ROOM], packed[PACKED_ROOM];

/* A batch of `count` records, each with another key; its bytes in `plain`. */
static size_t build_plain(unsigned count, uint32_t value_bytes)
{
    static struct batch_build_record records[8192];
    static uint8_t values[8192][8];
    static uint8_t value[1 << 20];
    assert_true(count <= TIDE_ARRAY_LEN(records) && value_bytes <= sizeof(value));
    for (unsigned i = 0; i < count; i++) {
        store_be64(values[i], i);
        records[i] = (struct batch_build_record){.timestamp = 1700000000000, .key = values[i], .key_len = 8, .value = value,
                                                 .value_len = (int32_t)value_bytes};
    }
    size_t len = batch_build(plain, sizeof(plain), records, (int32_t)count, -1, -1, -1);
    assert_true(len != 0);
    return len;
}

/* Into the log of a partition that is led here, as if a Kafka broker had written it before; `len` bytes behind the header. */
static void put_packed(uint32_t partition, enum batch_codec codec, size_t len)
{
    uint32_t slot = BW_PARTITIONS + partition;
    struct partition *p = w.partitions[slot].local;
    struct bw_core *home = &w.cores[partition_home(p)];
    struct batch_walk walked = {.max_timestamp = 1700000000000, .bad_record = -1};
    struct partition_append a = {.acks = -1, .api_version = INT16_MAX, .leader_epoch = w.partitions[slot].leader_epoch, .walked = &walked};
    struct partition_appended ret;
    struct tide_rope rope = {0};
    enum tide_status status = TIDE_FULL;
    memcpy(packed, plain, BATCH_HEADER);
    store_be32(packed + BATCH_LENGTH, (uint32_t)(BATCH_HEADER + len - BATCH_LENGTH_OVERHEAD));
    store_be16(packed + BATCH_ATTRIBUTES, (uint16_t)codec);
    batch_seal(packed, BATCH_HEADER + len);
    assert_int_equal(tide_rope_copy_in(&rope, bw_client_pool, packed, (uint32_t)(BATCH_HEADER + len)), TIDE_OK);
    a.records = tide_rope_slice(&rope, 0, rope.len);
    for (unsigned i = 0; status == TIDE_FULL && i < 10; i++) {
        broker_begin_turn(home->broker, &w.time, false);
        status = partition_append(p, &w.time, &a, &home->out, &ret);
        slot_dirty(home->broker, slot);
        bw_pump(&w);
    }
    tide_rope_clear(&rope);
    assert_int_equal(status, TIDE_OK);
    assert_int_equal(ret.error, 0);
}

static size_t compress(enum batch_codec codec, size_t len)
{
    size_t made;
    assert_int_equal(batch_compress(codec, plain + BATCH_HEADER, len - BATCH_HEADER, packed + BATCH_HEADER,
                                    sizeof(packed) - BATCH_HEADER, &made), TIDE_OK);
    return made;
}

static void put_compressed(uint32_t partition, enum batch_codec codec, unsigned count, uint32_t value_bytes)
{
    put_packed(partition, codec, compress(codec, build_plain(count, value_bytes)));
}

static void lead_anew(uint32_t partition)
{
    uint32_t slot = BW_PARTITIONS + partition;
    fake_groups.replayed = fake_groups.records = fake_groups.records_sum = 0;
    bw_become(&w, slot, 1, w.partitions[slot].leader_epoch + 1);
}

static void test_compressed_batches_are_replayed(void **state)
{
    uint32_t sum = 0;
    assert_int_equal(call("write1"), 0);
    for (int codec = CODEC_GZIP; codec < CODEC_COUNT; codec++) {
        size_t len = build_plain(100 + (unsigned)codec, 50);
        sum = batch_crc_update(sum, plain + BATCH_HEADER, len - BATCH_HEADER);
        put_packed(1, (enum batch_codec)codec, compress((enum batch_codec)codec, len));
    }
    assert_int_equal(call("write1"), 0);
    lead_anew(1);
    assert_int_equal(state_of(1), COORDINATOR_ACTIVE);
    assert_int_equal(fake_groups.records, 4 * 100 + 1 + 2 + 3 + 4);
    assert_int_equal(fake_groups.records_sum, sum); /* each byte, in order */
    assert_int_equal(fake_groups.replayed, 2);
    assert_int_equal(bw_count(&w, COUNTER_group_batches_unpacked), 4);
    assert_int_equal(bw_count(&w, COUNTER_group_batches_skipped), 0);
    assert_int_equal(call("now1"), 0);
}

/* Damaged, too large, or both at once: what is behind it is read all the same. */
static void test_a_batch_of_no_use_is_left_out(void **state)
{
    static const uint8_t lies[] = {0xff, 0xff, 0xff, 0xff, 0x0f, 0, 'x'}; /* snappy: 4 GiB come out */
    for (int codec = CODEC_GZIP; codec < CODEC_COUNT; codec++) {
        put_packed(0, (enum batch_codec)codec, compress((enum batch_codec)codec, build_plain(10, 100)) - 1);
        if (codec == CODEC_GZIP || codec == CODEC_ZSTD) /* of the others it would be too large for this log */
            put_compressed(0, (enum batch_codec)codec, COORDINATOR_PLAIN_BYTES / 1000000 + 1, 1000000);
    }
    (void)build_plain(1, 10);
    memcpy(packed + BATCH_HEADER, lies, sizeof(lies));
    put_packed(0, CODEC_SNAPPY, sizeof(lies));
    put_compressed(0, CODEC_ZSTD, 7, 100);
    lead_anew(0);
    assert_int_equal(state_of(0), COORDINATOR_ACTIVE);
    assert_int_equal(fake_groups.records, 7);
    assert_int_equal(bw_count(&w, COUNTER_group_batches_skipped), 4 + 2 + 1);
    assert_int_equal(bw_count(&w, COUNTER_group_batches_unpacked), 4 + 2 + 1 + 1);
    assert_int_equal(call("now0"), 0);
}

/* What fits fits to the last byte. */
static void test_the_largest_batch(void **state)
{
    static uint8_t value[1 << 20];
    struct batch_build_record records[17];
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(records); i++)
        records[i] = (struct batch_build_record){.timestamp = 1, .value = value, .value_len = 986000};
    for (int32_t more = 0; more < 2; more++) {
        size_t len = batch_build(plain, sizeof(plain), records, TIDE_ARRAY_LEN(records), -1, -1, -1) - BATCH_HEADER;
        records[0].value_len += COORDINATOR_PLAIN_BYTES + more - (int32_t)len;
        len = batch_build(plain, sizeof(plain), records, TIDE_ARRAY_LEN(records), -1, -1, -1);
        assert_int_equal(len - BATCH_HEADER, COORDINATOR_PLAIN_BYTES + more);
        put_packed(0, CODEC_ZSTD, compress(CODEC_ZSTD, len));
    }
    lead_anew(0);
    assert_int_equal(fake_groups.records, 17);
    assert_int_equal(bw_count(&w, COUNTER_group_batches_skipped), 1);
}

/* However much comes out of a batch, a turn of the core is as long. */
static void test_what_is_replayed_of_a_batch_in_a_turn(void **state)
{
    unsigned most = 0, before = 0;
    put_compressed(0, CODEC_ZSTD, 1000, 4000);
    w.hold_kind = JOB_BATCH_UNPACK;
    lead_anew(0);
    assert_int_equal(state_of(0), COORDINATOR_UNPACKING);
    w.hold_kind = 0;
    for (; bw_turn(&w); before = fake_groups.records)
        most = TIDE_MAX(most, fake_groups.records - before);
    bw_pump(&w);
    assert_int_equal(fake_groups.records, 1000);
    assert_in_range(most, 2, COORDINATOR_LOAD_TURN_BYTES / 4000 + 1);
    assert_int_equal(call("now0"), 0);
}

static void test_while_a_helper_unpacks(void **state)
{
    put_compressed(0, CODEC_GZIP, 5, 100);
    put_compressed(2, CODEC_LZ4, 3, 100);
    w.hold_kind = JOB_BATCH_UNPACK;
    lead_anew(0);
    lead_anew(2);
    assert_int_equal(state_of(0), COORDINATOR_UNPACKING);
    assert_int_equal(state_of(2), COORDINATOR_LOADING); /* one at a time */
    assert_int_equal(call("now0"), KAFKA_COORDINATOR_LOAD_IN_PROGRESS);
    assert_int_equal(call("now1"), 0);
    bw_become(&w, BW_PARTITIONS, 2, BW_EPOCH + 2);
    assert_int_equal(state_of(0), COORDINATOR_ENDING);
    assert_int_equal(call("now0"), KAFKA_NOT_COORDINATOR);
    bw_become(&w, BW_PARTITIONS, 1, BW_EPOCH + 3);
    assert_int_equal(state_of(0), COORDINATOR_ENDING); /* the helper still reads the batch */
    assert_int_equal(state_of(2), COORDINATOR_LOADING);
    assert_int_equal(fake_groups.records, 0);
    w.hold_kind = 0;
    bw_pass(&w, 1);
    assert_int_equal(state_of(0), COORDINATOR_ACTIVE);
    assert_int_equal(state_of(2), COORDINATOR_ACTIVE);
    assert_int_equal(fake_groups.records, 8); /* that of the role that has ended was for nothing */
    assert_int_equal(bw_count(&w, COUNTER_group_batches_unpacked), 3);
    assert_int_equal(call("now0"), 0);
}

/* The role ends in the middle of what has come out: the next one begins at the first record. */
static void test_deposed_between_two_records(void **state)
{
    put_compressed(0, CODEC_LZ4, 4000, 100);
    w.hold_kind = JOB_BATCH_UNPACK;
    lead_anew(0);
    w.hold_kind = 0;
    for (unsigned i = 0; fake_groups.records == 0 && i < 100; i++)
        (void)bw_turn(&w);
    assert_in_range(fake_groups.records, 1, 3999);
    assert_int_equal(state_of(0), COORDINATOR_LOADING);
    bw_become(&w, BW_PARTITIONS, 2, BW_EPOCH + 2);
    assert_int_equal(state_of(0), COORDINATOR_NONE);
    bw_become(&w, BW_PARTITIONS, 1, BW_EPOCH + 3);
    fake_groups.records = 0;
    lead_anew(0);
    assert_int_equal(fake_groups.records, 4000);
    assert_int_equal(call("now0"), 0);
}

static void no_memory(struct tide_job *job, const struct tide_fs *fs)
{
    (void)fs;
    job->result = -ENOMEM;
}

/* A helper or the heap without memory says nothing about the batch: it is not left out. */
static void test_without_memory_for_a_compressed_batch(void **state)
{
    put_compressed(0, CODEC_GZIP, 5, 100);
    w.hold_kind = JOB_BATCH_UNPACK;
    lead_anew(0);
    assert_int_equal(state_of(0), COORDINATOR_UNPACKING);
    assert_int_equal(w.cores[0].job_count, 1);
    w.cores[0].jobs[0]->run = no_memory;
    w.hold_kind = 0;
    bw_pump(&w);
    assert_int_equal(state_of(0), COORDINATOR_BROKEN);
    w.hold_kind = JOB_BATCH_UNPACK;
    bw_pass(&w, COORDINATOR_RETRY_MS + 1);
    assert_int_equal(state_of(0), COORDINATOR_UNPACKING);
    fake_groups.heap_full = true;
    w.hold_kind = 0;
    bw_pump(&w);
    assert_int_equal(state_of(0), COORDINATOR_BROKEN);
    assert_int_equal(bw_count(&w, COUNTER_group_load_failures), 2);
    assert_int_equal(bw_count(&w, COUNTER_group_batches_skipped), 0);
    fake_groups.heap_full = false;
    bw_pass(&w, COORDINATOR_RETRY_MS + 1);
    assert_int_equal(fake_groups.records, 5);
    assert_int_equal(call("now0"), 0);
}

/* Control destroys it only when nobody names it any more; the helper's batch does. */
static void test_a_replica_that_is_let_go_of_while_a_helper_unpacks(void **state)
{
    struct partition *p = w.partitions[BW_PARTITIONS].local;
    put_compressed(0, CODEC_ZSTD, 5, 100);
    w.hold_kind = JOB_BATCH_UNPACK;
    lead_anew(0);
    assert_int_equal(state_of(0), COORDINATOR_UNPACKING);
    w.orders[BW_PARTITIONS] = (struct tide_mail){.kind = MAIL_RELEASE, .from = w.core_count};
    w.orders[BW_PARTITIONS].order.partition = p;
    assert_int_equal(post_send(w.office, w.core_count, 0, &w.orders[BW_PARTITIONS]), TIDE_OK);
    bw_pump(&w);
    assert_int_equal(state_of(0), COORDINATOR_ENDING);
    assert_true(partition_has_interest(p, 0));
    assert_int_equal(call("now0"), KAFKA_NOT_COORDINATOR);
    w.hold_kind = 0;
    bw_pump(&w);
    assert_int_equal(state_of(0), COORDINATOR_NONE);
    assert_false(partition_has_interest(p, 0));
    w.orders[BW_PARTITIONS] = (struct tide_mail){.kind = MAIL_ADOPT, .from = w.core_count};
    bw_disconnect(&c);
    bw_pump(&w);
    (void)partition_close(p, &w.disk->fs);
    partition_destroy(p);
    w.partitions[BW_PARTITIONS] = w.partitions[--w.partition_count]; /* for the teardown */
    bw_connect(&w, &c);
}

/* The process ends while a helper has a batch: the read buffers are there again. */
static void test_forgotten_while_a_helper_unpacks(void **state)
{
    struct broker *b = w.cores[0].broker;
    fill();
    put_compressed(0, CODEC_GZIP, 5, 100);
    for (unsigned i = 0; i < 30; i++)
        assert_int_equal(call("big1"), 0);
    w.hold_kind = JOB_BATCH_UNPACK;
    lead_anew(0);
    assert_int_equal(state_of(0), COORDINATOR_UNPACKING);
    assert_int_equal(w.cores[0].job_count, 1);
    uint32_t slot = BW_PARTITIONS;
    coordinators_forget(b);
    assert_null(b->coordinators->plain.user);
    slot_unuse(b, w.partitions[slot].local); /* the job that never comes back */
    w.cores[0].job_count = 0;
    broker_check(b);
    bw_pump(&w);
    w.hold_kind = 0;
    for (uint32_t i = 0; i < BW_PARTITIONS; i++)
        lead_anew(i);
    assert_int_equal(fake_groups.records, 0);
    lead_anew(0);
    assert_int_equal(fake_groups.records, 5);
}

/* ---- room --------------------------------------------------------------------------------------------------------- */

static void test_a_question_without_room_waits_with_those_behind_it(void **state)
{
    fake_groups.full = true;
    ask("full0");
    struct bw_client other;
    bw_connect(&w, &other);
    ask_of(&other, "now0");
    bw_pump(&w);
    assert_int_equal(answer_at(&other, 2, NULL), NOTHING);
    assert_int_equal(answer_at(&c, 1, NULL), NOTHING);
    fake_groups.full = false;
    bw_pass(&w, 1);
    assert_int_equal(answer_at(&c, 1, NULL), 0);
    assert_int_equal(answer_at(&other, 2, NULL), 0);
    bw_disconnect(&other);
}

/* ---- who goes away -------------------------------------------------------------------------------------------------- */

/* A JoinGroup that would wait for half an hour does not keep its request for so long. */
static void gone(const char *group)
{
    unsigned cancels = fake_groups.cancels;
    for (unsigned i = 0; i < 1000; i++) {
        ask(group);
        assert_int_equal(answer(), NOTHING);
        bw_disconnect(&c);
        bw_pump(&w);
        assert_int_equal(requests(), 0);
        assert_int_equal(letters(), 0);
        bw_connect(&w, &c);
    }
    assert_int_equal(fake_groups.cancels - cancels, 1000);
}

static void test_who_goes_away_is_forgotten(void **state)
{
    gone("wait0");
    gone("wait1"); /* on another core, if there are two */
    fake_groups.full = true;
    ask("full0");
    ask("full1");
    bw_disconnect(&c);
    bw_pump(&w);
    assert_int_equal(requests(), 0);
    bw_connect(&w, &c);
    fake_groups.full = false;
    assert_int_equal(call("now0"), 0);
}

/* Nobody can tell a client that has gone from one that has said all it has to say: it is waited for, but not for long. */
static void test_who_says_no_more_is_soon_forgotten(void **state)
{
    ask("write0");
    ask("wait0");
    session_on_end(c.s, &w.time);
    bw_pump(&w);
    assert_int_equal(answer_at(&c, 1, NULL), 0);
    bw_pass(&w, GROUP_HALF_CLOSED_MS - 1);
    bw_serve(&c);
    assert_false(c.closed);
    bw_pass(&w, 2);
    bw_serve(&c);
    assert_true(c.closed && c.aborted);
    bw_pump(&w);
    assert_int_equal(requests(), 0);
    bw_connect(&w, &c);
}

/* The answer and the cancel pass one another. */
static void test_an_answer_that_comes_too_late(void **state)
{
    ask_of(&c, "now1");
    bw_disconnect(&c);
    bw_pump(&w);
    assert_int_equal(requests(), 0);
    bw_connect(&w, &c);
    ask("wait1");
    fake_groups_release();
    bw_disconnect(&c);
    bw_pump(&w);
    assert_int_equal(requests(), 0);
    assert_int_equal(letters(), 0);
    bw_connect(&w, &c);
}

/* Without a letter for it, a coordinator is told later. */
static void test_a_cancel_without_letters(void **state)
{
    struct tide_mail *all[64];
    unsigned n = 0;
    ask("wait1");
    while ((all[n] = mail_take(w.cores[0].broker, MAIL_GROUP)) != NULL)
        n++;
    bw_disconnect(&c);
    bw_pump(&w);
    assert_int_equal(requests(), w.core_count == 2);
    while (n != 0)
        mail_give(all[--n]);
    bw_pass(&w, 1);
    assert_int_equal(requests(), 0);
    bw_connect(&w, &c);
}

static void test_a_replica_that_is_let_go_of(void **state)
{
    ask("wait0");
    w.orders[BW_PARTITIONS] = (struct tide_mail){.kind = MAIL_RELEASE, .from = w.core_count};
    w.orders[BW_PARTITIONS].order.partition = w.partitions[BW_PARTITIONS].local;
    assert_int_equal(post_send(w.office, w.core_count, 0, &w.orders[BW_PARTITIONS]), TIDE_OK);
    bw_pump(&w);
    assert_int_equal(answer(), KAFKA_NOT_COORDINATOR);
    assert_int_equal(call("now0"), KAFKA_NOT_COORDINATOR); /* the view still says that it is here */
    w.orders[BW_PARTITIONS] = (struct tide_mail){.kind = MAIL_ADOPT, .from = w.core_count};
    bw_disconnect(&c);
    bw_pump(&w);
    (void)partition_close(w.partitions[BW_PARTITIONS].local, &w.disk->fs);
    partition_destroy(w.partitions[BW_PARTITIONS].local);
    /* For the teardown: the last one takes its place. */
    w.partitions[BW_PARTITIONS] = w.partitions[--w.partition_count];
    bw_connect(&w, &c);
}

/* ---- lists ------------------------------------------------------------------------------------------------------------ */

static size_t describe(uint8_t *to, const char *const *names, int32_t count)
{
    uint8_t body[4096];
    size_t len = 4;
    store_be32(body, (uint32_t)count);
    for (int32_t i = 0; i < count; i++) {
        put_name(body + len, names[i]);
        len += 2 + strlen(names[i]);
    }
    return bw_raw(to, KAFKA_API_DESCRIBE_GROUPS, 0, ++correlation, body, len);
}

static void described(const int *errors, const int32_t *partitions, int32_t count)
{
    struct wire_cursor body;
    int32_t found;
    assert_true(bw_next(&c, &found, &body));
    assert_int_equal(found, correlation);
    assert_int_equal(wire_get_i32(&body), count);
    for (int32_t i = 0; i < count; i++) {
        assert_int_equal(wire_get_i16(&body), errors[i]);
        assert_int_equal(wire_get_i32(&body), partitions[i]);
    }
    assert_true(wire_done(&body));
}

static void test_a_list_is_answered_in_its_order(void **state)
{
    static const char *const names[] = {"now3", "wait1", "now0", "now2", "write1"};
    bw_become(&w, BW_PARTITIONS + 2, 2, BW_EPOCH + 1);
    bw_send_bytes(&c, bytes, describe(bytes, names, 5));
    bw_pump(&w);
    bw_silent(&c);
    fake_groups_release();
    bw_pass(&w, 1);
    described((const int[]){0, 0, 0, KAFKA_NOT_COORDINATOR, 0}, (const int32_t[]){3, 1, 0, -1, 1}, 5);
    bw_send_bytes(&c, bytes, describe(bytes, names, 0));
    bw_pump(&w);
    described(NULL, NULL, 0);
}

/* More than may be out at a time, or be asked in one turn; and what was answered does not wait in blocks of its own. */
static void test_a_long_list(void **state)
{
    unsigned blocks = rte_mempool_avail_count(bw_response_pool);
    const char *names[200];
    int errors[200] = {0};
    int32_t partitions[200];
    for (int32_t i = 0; i < 200; i++) {
        static const char *const four[] = {"now0", "now1", "now2", "now3"};
        names[i] = four[i * 7 % 4];
        partitions[i] = i * 7 % 4;
    }
    bw_send_bytes(&c, bytes, describe(bytes, names, 200));
    for (unsigned asked = 0, now; (now = fake_groups.asked) != 200; asked = now) {
        assert_in_range(now - asked, 0, 64);
        assert_in_range(blocks - rte_mempool_avail_count(bw_response_pool), 0, 20);
        assert_true(bw_turn(&w));
    }
    bw_pump(&w);
    described(errors, partitions, 200);
}

static void test_a_list_whose_asker_goes(void **state)
{
    static const char *const names[] = {"now3", "wait1", "wait0", "now2", "wait1"};
    for (unsigned i = 0; i < 100; i++) {
        bw_send_bytes(&c, bytes, describe(bytes, names, 5));
        if (i % 3 != 0)
            bw_pump(&w);
        bw_disconnect(&c);
        bw_pump(&w);
        assert_int_equal(requests(), 0);
        assert_int_equal(letters(), 0);
        bw_connect(&w, &c);
    }
}

static void test_all_are_listed(void **state)
{
    struct wire_cursor body;
    int32_t found;
    bw_become(&w, BW_PARTITIONS + 2, 2, BW_EPOCH + 1);
    bw_send_bytes(&c, bytes, bw_raw(bytes, KAFKA_API_LIST_GROUPS, 1, ++correlation, NULL, 0));
    bw_pump(&w);
    assert_true(bw_next(&c, &found, &body));
    assert_int_equal(wire_get_i32(&body), 0); /* throttle */
    assert_int_equal(wire_get_i16(&body), 0);
    assert_int_equal(wire_get_i32(&body), 3);
    fake_groups.heap_full = true;
    bw_become(&w, BW_PARTITIONS + 2, 1, BW_EPOCH + 2);
    bw_send_bytes(&c, bytes, bw_raw(bytes, KAFKA_API_LIST_GROUPS, 1, ++correlation, NULL, 0));
    bw_pump(&w);
    assert_true(bw_next(&c, &found, &body));
    assert_int_equal(wire_get_i32(&body), 0);
    assert_int_equal(wire_get_i16(&body), KAFKA_COORDINATOR_NOT_AVAILABLE); /* not: there are no others */
    assert_int_equal(wire_get_i32(&body), 0);
    assert_true(wire_done(&body));
    fake_groups.heap_full = false;
}

/* Whatever pool is empty at whatever moment: it is answered in the end, and nothing is missing. */
static void test_without_memory(void **state)
{
    static const char *const names[] = {"now3", "write1", "now0", "now2", "write0"};
    for (uint64_t n = 1; n < 60; n++) {
        bool for_a_while = n % 2 == 0;
        size_t len = describe(bytes, names, 5);
        fail_pool_fail_at = fail_pool_takes + (n + 1) / 2;
        fail_pool_ever_after = for_a_while;
        bw_send_bytes(&c, bytes, len);
        for (unsigned i = 0; i < 20; i++)
            (void)bw_turn(&w);
        fail_pool_fail_at = 0;
        fail_pool_ever_after = false;
        bw_pass(&w, 1000);
        described((const int[]){0, 0, 0, 0, 0}, (const int32_t[]){3, 1, 0, 2, 0}, 5);
        assert_int_equal(requests(), 0);
        assert_int_equal(letters(), 0);
    }
    assert_true(fail_pool_failed > 50);
}

/* ---- finding a coordinator ------------------------------------------------------------------------------------------------ */

static size_t find_request(uint8_t *to, int16_t version, const char *key, int8_t type)
{
    uint8_t body[64];
    size_t len = 2 + strlen(key);
    put_name(body, key);
    if (version >= 1)
        body[len++] = (uint8_t)type;
    return bw_raw(to, KAFKA_API_FIND_COORDINATOR, version, ++correlation, body, len);
}

static int16_t find_with(int16_t version, const char *key, int8_t type, int32_t *ret_node)
{
    struct find_coordinator_response in;
    struct wire_cursor body;
    int32_t found;
    bw_send_bytes(&c, bytes, find_request(bytes, version, key, type));
    bw_pump(&w);
    if (!bw_next(&c, &found, &body))
        return NOTHING;
    assert_true(find_coordinator_response_read(&body, version, &in));
    *ret_node = in.node_id;
    if (in.error_code == 0) {
        char host[32];
        (void)wire_bytes_copy(&in.host, host, sizeof(host));
        assert_string_equal(host, "10.0.0.1");
        assert_int_equal(in.port, 9092);
    }
    return in.error_code;
}

static void test_finding(void **state)
{
    int32_t node;
    assert_int_equal(find_with(0, "now0", 0, &node), 0);
    assert_int_equal(node, 1);
    assert_int_equal(find_with(2, "now0", 0, &node), 0);
    assert_int_equal(find_with(2, "now0", 1, &node), KAFKA_COORDINATOR_NOT_AVAILABLE); /* of transactions */
    assert_int_equal(node, -1);
    assert_int_equal(find_with(2, "now0", 2, &node), KAFKA_INVALID_REQUEST);
    bw_become(&w, BW_PARTITIONS, 2, BW_EPOCH + 1); /* there is no such broker */
    assert_int_equal(find_with(2, "now0", 0, &node), KAFKA_COORDINATOR_NOT_AVAILABLE);
    assert_int_equal(w.ask_count, 0);
}

static int setup_without_topic(void **state)
{
    fake_groups_reset();
    bw_init_groups(&w, 1);
    bw_connect(&w, &c);
    return 0;
}

static void control_answers(void)
{
    struct tide_mail *m = w.asks[--w.ask_count];
    assert_int_equal(m->ask.api_key, KAFKA_API_FIND_COORDINATOR);
    m->ask.result = ASK_RERUN;
    assert_int_equal(post_send(w.office, w.core_count, m->from, m), TIDE_OK);
    bw_pump(&w);
}

static void test_the_topic_is_made_first(void **state)
{
    struct wire_cursor body;
    struct find_coordinator_response in;
    int32_t node, found;
    assert_int_equal(find_with(1, "now0", 1, &node), KAFKA_COORDINATOR_NOT_AVAILABLE); /* not by others */
    assert_int_equal(w.ask_count, 0);
    assert_int_equal(find_with(1, "now0", 0, &node), NOTHING);
    assert_int_equal(w.ask_count, 1);
    control_answers(); /* it could not be made: the client comes again */
    assert_true(bw_next(&c, &found, &body));
    assert_true(find_coordinator_response_read(&body, 1, &in));
    assert_int_equal(in.error_code, KAFKA_COORDINATOR_NOT_AVAILABLE);
    assert_int_equal(find_with(1, "now0", 0, &node), NOTHING);
    bw_show_groups(&w);
    control_answers();
    assert_true(bw_next(&c, &found, &body));
    assert_true(find_coordinator_response_read(&body, 1, &in));
    assert_int_equal(in.error_code, 0);
    assert_int_equal(in.node_id, 1);
}

/* ---- clients do not write there ------------------------------------------------------------------------------------------- */

static void test_clients_do_not_write_there(void **state)
{
    int16_t error;
    int64_t base;
    int32_t zero = 0;
    size_t len = bw_produce(bytes, 5, 1, 1000, &zero, 1, 10);
    /* "t" becomes the topic of groups: the name in the view is looked up, so it is the view that changes. */
    w.topics[1].internal = true;
    bw_send_bytes(&c, bytes, len);
    bw_pump(&w);
    bw_produced(&c, 5, &error, &base, 1);
    assert_int_equal(error, KAFKA_INVALID_TOPIC_EXCEPTION);
    w.topics[1].internal = false;
    bw_send_bytes(&c, bytes, len);
    bw_pump(&w);
    bw_produced(&c, 5, &error, &base, 1);
    assert_int_equal(error, 0);
}

#define CASE(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
#define CASE_TWO(t) {#t " on two cores", t, setup_two, teardown, NULL}
#define BOTH(t) CASE(t), CASE_TWO(t)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_each_group_has_its_coordinator),
        CASE(test_a_request_in_two_packets),
        BOTH(test_nobody_coordinates),
        BOTH(test_the_consumer_protocol_has_a_level),
        BOTH(test_order),
        BOTH(test_an_answer_waits_for_the_disk),
        BOTH(test_a_deposed_coordinator_answers_nothing_good),
        BOTH(test_a_deposed_coordinator_without_memory),
        CASE(test_a_new_epoch_reads_what_was_written),
        BOTH(test_without_the_lease),
        CASE(test_errors_of_appends),
        CASE(test_it_reads_from_the_disk),
        CASE(test_what_is_replayed_in_a_turn),
        BOTH(test_while_it_reads),
        CASE(test_a_log_that_cannot_be_read),
        CASE(test_a_heap_that_is_full),
        BOTH(test_compressed_batches_are_replayed),
        CASE(test_a_batch_of_no_use_is_left_out),
        CASE(test_the_largest_batch),
        CASE(test_what_is_replayed_of_a_batch_in_a_turn),
        CASE(test_while_a_helper_unpacks),
        CASE(test_deposed_between_two_records),
        CASE(test_without_memory_for_a_compressed_batch),
        CASE(test_a_replica_that_is_let_go_of_while_a_helper_unpacks),
        CASE(test_forgotten_while_a_helper_unpacks),
        CASE(test_time_and_views),
        BOTH(test_a_question_without_room_waits_with_those_behind_it),
        BOTH(test_who_goes_away_is_forgotten),
        BOTH(test_who_says_no_more_is_soon_forgotten),
        BOTH(test_an_answer_that_comes_too_late),
        BOTH(test_a_cancel_without_letters),
        BOTH(test_a_replica_that_is_let_go_of),
        BOTH(test_a_list_is_answered_in_its_order),
        BOTH(test_a_long_list),
        BOTH(test_a_list_whose_asker_goes),
        BOTH(test_all_are_listed),
        BOTH(test_without_memory),
        CASE(test_finding),
        cmocka_unit_test_setup_teardown(test_the_topic_is_made_first, setup_without_topic, teardown),
        CASE(test_clients_do_not_write_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
