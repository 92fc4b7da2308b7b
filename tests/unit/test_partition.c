/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A partition on a file system in memory: what it takes and refuses, when its marks move, what it
 * knows after it was opened again.
 */
#include <errno.h>

#include "kafka/errors.h"
#include "log_world.h"
#include "partition/partition.h"
#include "partition/snapshot.h"
#include "tidemark/bytes.h"

enum { CAP = 131072, EPOCH = 4, MESSAGE_MAX = 4000 };

static struct world w;
static struct partition *p;
static struct tide_topic_config topic;
static uint8_t bytes[CAP];

/* ---- the world ------------------------------------------------------------------------------------- */

static int open_partition(void)
{
    const struct partition_config config = {.topic = "events",
                                            .slot = 77,
                                            .home_core = 3,
                                            .dir = WORLD_DIR,
                                            .topic_config = topic,
                                            .preallocate_bytes = 16384,
                                            .producer_expiry_ms = 3600000,
                                            .retention_check_ms = 60000,
                                            .producers_max = 64};
    int e;
    p = partition_create(&config);
    assert_non_null(p);
    e = partition_open(p, &w.disk->fs, w.error, sizeof(w.error));
    if (e != 0) {
        partition_destroy(p);
        p = NULL;
    }
    return e;
}

/* One completion; jobs first. False when there is none that is not held. */
static bool step(void)
{
    struct tide_out *o = &w.out;
    if (o->job_count != 0) {
        struct tide_job *job = o->jobs[0];
        memmove(&o->jobs[0], &o->jobs[1], --o->job_count * sizeof(o->jobs[0]));
        job->run(job, &w.disk->fs);
        partition_on_job(p, &w.time, job, o);
        return true;
    }
    if (o->op_count != 0 && !w.hold_writes) {
        struct disk_op op = o->ops[0];
        memmove(&o->ops[0], &o->ops[1], --o->op_count * sizeof(o->ops[0]));
        struct disk_done done = {.id = op.id, .result = memory_fs_disk(w.disk, &op)};
        partition_on_disk(p, &w.time, &done, o);
        return true;
    }
    return false;
}

static void pump(void)
{
    do
        partition_turn(p, &w.time, &w.out);
    while (step());
    partition_check(p);
}

/* Brokers 0 .. replicas - 1; we are 0. */
static struct mail_role role_of(int32_t leader, int32_t leader_epoch, int32_t partition_epoch, uint32_t replicas, uint32_t isr)
{
    struct mail_role role = {.leader = leader, .leader_epoch = leader_epoch, .partition_epoch = partition_epoch, .unclean_epoch = -1,
                             .replica_count = replicas, .isr_count = isr};
    for (uint32_t i = 0; i < replicas; i++)
        role.replicas[i] = role.isr[i] = (int32_t)i;
    return role;
}

static void adopt_and_lead(uint32_t replicas, uint32_t isr)
{
    struct mail_role role = role_of(0, EPOCH, 0, replicas, isr);
    partition_adopt(p, w.core, &w.time);
    assert_true(partition_become(p, &w.time, &role, &w.out));
}

static void start(uint32_t replicas, uint32_t isr)
{
    assert_int_equal(open_partition(), 0);
    adopt_and_lead(replicas, isr);
    pump();
    w.time.now_ns += 2 * TIDE_NS_PER_S; /* the epoch is no longer young */
}

static int stop(void)
{
    int e;
    while (!partition_release(p, &w.out))
        assert_true(step());
    e = partition_close(p, &w.disk->fs);
    partition_destroy(p);
    p = NULL;
    return e;
}

static int setup(void **state)
{
    world_init(&w, 1);
    topic = (struct tide_topic_config){.segment_bytes = 65536,
                                       .segment_ms = 7 * 24 * 3600 * 1000ll,
                                       .index_interval_bytes = 1024,
                                       .max_message_bytes = MESSAGE_MAX,
                                       .min_insync_replicas = 1,
                                       .ack_durability = ACK_DURABILITY_DEVICE,
                                       .message_timestamp_before_max_ms = INT64_MAX,
                                       .message_timestamp_after_max_ms = 3600000};
    return 0;
}

static int teardown(void **state)
{
    if (p != NULL)
        (void)stop();
    assert_int_equal(memory_fs_open_handles(w.disk), 0);
    world_deinit(&w);
    return 0;
}

/* ---- batches ------------------------------------------------------------------------------------------ */

static size_t build(int32_t count, int64_t id, int16_t epoch, int32_t sequence)
{
    static struct batch_build_record records[64];
    for (int32_t i = 0; i < count; i++)
        records[i] = (struct batch_build_record){.timestamp = w.time.wall_ms, .value = "value", .value_len = 5};
    size_t len = batch_build(bytes, CAP, records, count, id, epoch, sequence);
    assert_true(len != 0);
    return len;
}

static const struct partition_append plain = {.acks = 1, .api_version = 9, .leader_epoch = EPOCH};

/* Appends what lies in `bytes`; in pieces, each a block of its own. */
static enum tide_status append_once(size_t len, const struct partition_append *how, struct partition_appended *ret)
{
    struct tide_rope r = {0};
    struct partition_append a = *how;
    for (size_t at = 0; at < len; at += 1000)
        tide_rope_push(&r, unit_exact_mbuf(w.input, bytes + at, (uint16_t)TIDE_MIN(1000u, len - at)));
    a.records = tide_rope_slice(&r, 0, r.len);
    enum tide_status status = partition_append(p, &w.time, &a, &w.out, ret);
    tide_rope_clear(&r);
    return status;
}

static struct partition_appended append(size_t len, const struct partition_append *how)
{
    struct partition_appended ret;
    enum tide_status status = append_once(len, how, &ret);
    for (int i = 0; status == TIDE_FULL && i < 50; i++) {
        pump();
        status = append_once(len, how, &ret);
    }
    assert_int_equal(status, TIDE_OK);
    return ret;
}

static struct partition_appended append_from(int64_t id, int16_t epoch, int32_t sequence, int32_t count)
{
    return append(build(count, id, epoch, sequence), &plain);
}

static struct partition_look look(void)
{
    struct partition_look l;
    partition_look(p, &l);
    return l;
}

/* ---- what is taken -------------------------------------------------------------------------------------- */

static void test_appends_and_marks(void **state)
{
    start(1, 1);
    (void)partition_take_moved(p);
    w.hold_writes = true;
    struct partition_appended a = append(build(3, -1, -1, -1), &plain);
    assert_int_equal(a.error, 0);
    assert_false(a.duplicate);
    assert_int_equal(a.base_offset, 0);
    assert_int_equal(a.end_offset, 3);
    assert_int_equal(a.leader_epoch, EPOCH);
    assert_int_equal(a.log_append_time_ms, -1);
    assert_int_equal(a.log_start_offset, 0);
    assert_int_equal(a.bad_record, -1);
    pump();
    assert_true(partition_take_moved(p));
    assert_false(partition_take_moved(p));
    assert_int_equal(look().log_end, 3);
    assert_int_equal(look().counted_end, 0); /* not on the device */
    assert_int_equal(look().high_watermark, 0);
    w.hold_writes = false;
    pump();
    assert_true(partition_take_moved(p));
    assert_int_equal(look().counted_end, 3);
    assert_int_equal(look().high_watermark, 3);
    assert_int_equal(look().last_stable_offset, 3);
    assert_true(look().leader);
    assert_true(look().min_isr_met);
    assert_true(look().epoch_committed);
    assert_int_equal(append(build(2, -1, -1, -1), &plain).base_offset, 3);
}

static void test_memory_durability_counts_at_once(void **state)
{
    topic.ack_durability = ACK_DURABILITY_MEMORY;
    start(1, 1);
    w.hold_writes = true;
    assert_int_equal(append(build(3, -1, -1, -1), &plain).error, 0);
    assert_int_equal(look().counted_end, 3);
    assert_int_equal(look().high_watermark, 3);
    w.hold_writes = false;
}

static void test_nothing_is_taken_before_the_epoch_is_durable(void **state)
{
    struct partition_appended a;
    start(1, 1);
    assert_int_equal(append(build(1, -1, -1, -1), &plain).error, 0); /* there is zeroed space from now on */
    pump();
    struct mail_role role = role_of(0, EPOCH + 1, 1, 1, 1);
    struct partition_append how = plain;
    how.leader_epoch = EPOCH + 1;
    assert_true(partition_become(p, &w.time, &role, &w.out));
    assert_true(partition_has_work(p));
    assert_int_equal(append_once(build(1, -1, -1, -1), &how, &a), TIDE_FULL);
    assert_int_equal(look().log_end, 1);
    pump();
    assert_int_equal(append_once(build(1, -1, -1, -1), &how, &a), TIDE_OK);
    assert_int_equal(a.error, 0);
}

static void test_log_append_time(void **state)
{
    topic.message_timestamp_type = TIMESTAMP_LOG_APPEND_TIME;
    start(1, 1);
    w.time.wall_ms = 5000000;
    struct partition_appended a = append(build(2, -1, -1, -1), &plain);
    assert_int_equal(a.error, 0);
    assert_int_equal(a.log_append_time_ms, 5000000);
    topic.append_time_source = APPEND_TIME_ARRIVAL;
    partition_configure(p, &topic);
    struct partition_append how = plain;
    how.arrived_ms = 4999993;
    assert_int_equal(append(build(2, -1, -1, -1), &how).log_append_time_ms, 4999993);
}

/* ---- what is refused ------------------------------------------------------------------------------------- */

struct patch {
    unsigned at, size; /* size 0: none */
    int64_t value;
};

static const struct refusal {
    const char *name;
    struct patch patches[2];
    int length;  /* 0: as it is, else cut to it, or -1: nothing */
    bool broken; /* the checksum is left as it was */
    int16_t api_version;
    bool transactional_id;
    int16_t error;
} refusals[] = {
    {.name = "no records", .length = -1, .error = KAFKA_INVALID_RECORD},
    {.name = "16 bytes", .length = 16, .error = KAFKA_CORRUPT_MESSAGE},
    {.name = "60 bytes", .length = 60, .error = KAFKA_CORRUPT_MESSAGE},
    {.name = "60 bytes of magic 1", .length = 60, .patches = {{BATCH_MAGIC, 1, 1}}, .error = KAFKA_INVALID_RECORD},
    {.name = "17 bytes of magic 0", .length = 17, .patches = {{BATCH_MAGIC, 1, 0}}, .error = KAFKA_INVALID_RECORD},
    {.name = "magic 1", .patches = {{BATCH_MAGIC, 1, 1}}, .error = KAFKA_INVALID_RECORD},
    {.name = "magic 3", .patches = {{BATCH_MAGIC, 1, 3}}, .error = KAFKA_INVALID_RECORD},
    {.name = "length 0", .patches = {{BATCH_LENGTH, 4, 0}}, .error = KAFKA_CORRUPT_MESSAGE},
    {.name = "length -1", .patches = {{BATCH_LENGTH, 4, -1}}, .error = KAFKA_CORRUPT_MESSAGE},
    {.name = "length 48", .patches = {{BATCH_LENGTH, 4, 48}}, .error = KAFKA_CORRUPT_MESSAGE},
    {.name = "length 2^31 - 1", .patches = {{BATCH_LENGTH, 4, INT32_MAX}}, .error = KAFKA_CORRUPT_MESSAGE},
    {.name = "length 49, more follows", .patches = {{BATCH_LENGTH, 4, 49}}, .error = KAFKA_INVALID_RECORD},
    {.name = "a cut batch", .length = 70, .error = KAFKA_CORRUPT_MESSAGE},
    {.name = "zstd to Produce 6", .patches = {{BATCH_ATTRIBUTES, 2, CODEC_ZSTD}}, .api_version = 6,
     .error = KAFKA_UNSUPPORTED_COMPRESSION_TYPE},
    {.name = "codec 5", .patches = {{BATCH_ATTRIBUTES, 2, 5}}, .error = KAFKA_UNSUPPORTED_COMPRESSION_TYPE},
    {.name = "codec 7", .patches = {{BATCH_ATTRIBUTES, 2, 7}}, .error = KAFKA_UNSUPPORTED_COMPRESSION_TYPE},
    {.name = "base offset 1", .patches = {{BATCH_BASE_OFFSET, 8, 1}}, .error = KAFKA_INVALID_RECORD},
    {.name = "count 0", .patches = {{BATCH_RECORD_COUNT, 4, 0}, {BATCH_LAST_OFFSET_DELTA, 4, -1}}, .error = KAFKA_INVALID_RECORD},
    {.name = "count -1", .patches = {{BATCH_RECORD_COUNT, 4, -1}, {BATCH_LAST_OFFSET_DELTA, 4, -2}}, .error = KAFKA_INVALID_RECORD},
    {.name = "count is not the delta", .patches = {{BATCH_RECORD_COUNT, 4, 2}}, .error = KAFKA_INVALID_RECORD},
    {.name = "delta 2^31 - 1", .patches = {{BATCH_LAST_OFFSET_DELTA, 4, INT32_MAX}}, .error = KAFKA_INVALID_RECORD},
    {.name = "control", .patches = {{BATCH_ATTRIBUTES, 2, BATCH_CONTROL}}, .error = KAFKA_INVALID_RECORD},
    {.name = "LogAppendTime", .patches = {{BATCH_ATTRIBUTES, 2, BATCH_LOG_APPEND_TIME}}, .error = KAFKA_INVALID_TIMESTAMP},
    {.name = "a transaction", .patches = {{BATCH_ATTRIBUTES, 2, BATCH_TRANSACTIONAL}}, .transactional_id = true,
     .error = KAFKA_INVALID_TXN_STATE},
    {.name = "a transaction without id", .patches = {{BATCH_ATTRIBUTES, 2, BATCH_TRANSACTIONAL}},
     .error = KAFKA_TRANSACTIONAL_ID_AUTHORIZATION_FAILED},
    {.name = "a producer without epoch", .patches = {{BATCH_PRODUCER_ID, 8, 5}, {BATCH_BASE_SEQUENCE, 4, 0}},
     .error = KAFKA_INVALID_RECORD},
    {.name = "a producer without sequence", .patches = {{BATCH_PRODUCER_ID, 8, 5}, {BATCH_PRODUCER_EPOCH, 2, 0}},
     .error = KAFKA_INVALID_RECORD},
    {.name = "a wrong checksum", .patches = {{BATCH_CRC, 4, 1}}, .broken = true, .error = KAFKA_CORRUPT_MESSAGE},
    {.name = "a changed byte", .patches = {{BATCH_HEADER + 8, 1, 'x'}}, .broken = true, .error = KAFKA_CORRUPT_MESSAGE},
    {.name = "a bad record", .patches = {{BATCH_HEADER + 3, 1, 2}}, .error = KAFKA_INVALID_RECORD},
    {.name = "a bad record and checksum", .patches = {{BATCH_HEADER + 3, 1, 2}}, .broken = true, .error = KAFKA_CORRUPT_MESSAGE},
    {.name = "a future record", .patches = {{BATCH_BASE_TIMESTAMP, 8, 1000000 + 3600001}}, .error = KAFKA_INVALID_TIMESTAMP},
};

static void apply(const struct patch *patch)
{
    for (unsigned i = 0; i < patch->size; i++)
        bytes[patch->at + i] = (uint8_t)((uint64_t)patch->value >> 8 * (patch->size - 1 - i));
}

static void test_refusals(void **state)
{
    start(1, 1);
    for (size_t i = 0; i < TIDE_ARRAY_LEN(refusals); i++) {
        const struct refusal *row = &refusals[i];
        struct partition_append how = plain;
        size_t len = build(3, -1, -1, -1);
        for (size_t k = 0; k < TIDE_ARRAY_LEN(row->patches); k++)
            apply(&row->patches[k]);
        if (!row->broken)
            batch_seal(bytes, len);
        if (row->length != 0)
            len = row->length < 0 ? 0 : (size_t)row->length;
        if (row->api_version != 0)
            how.api_version = row->api_version;
        how.transactional_id_given = row->transactional_id;
        struct partition_appended a = append(len, &how);
        if (a.error != row->error)
            fail_msg("%s: error %d, not %d", row->name, a.error, row->error);
        assert_int_equal(a.base_offset, -1);
        assert_non_null(a.message);
        assert_int_equal(look().log_end, 0);
        partition_check(p);
    }
    assert_int_equal(append(build(3, -1, -1, -1), &plain).error, 0);
}

/* A compressed batch is not taken before a helper looked into it. What its header alone forbids is told at once. */
static void test_nobody_looked(void **state)
{
    struct partition_appended a;
    struct batch_header h;
    struct batch_walk_limits limits;
    start(1, 1);
    size_t len = build(3, -1, -1, -1);
    apply(&(struct patch){BATCH_ATTRIBUTES, 2, CODEC_GZIP});
    batch_seal(bytes, len);
    assert_int_equal(append_once(len, &plain, &a), TIDE_AGAIN);
    assert_int_equal(look().log_end, 0);
    struct tide_rope r = {0};
    tide_rope_push(&r, unit_exact_mbuf(w.input, bytes, (uint16_t)len));
    struct partition_append how = plain;
    how.records = tide_rope_slice(&r, 0, r.len);
    assert_true(partition_wants_check(p, &w.time, &how, &h, &limits));
    tide_rope_clear(&r);
    apply(&(struct patch){BATCH_ATTRIBUTES, 2, CODEC_GZIP | BATCH_CONTROL});
    batch_seal(bytes, len);
    assert_int_equal(append(len, &plain).error, KAFKA_INVALID_RECORD);
}

/* The verdict of a helper is what counts, and its largest timestamp is stored. */
static void test_a_verdict(void **state)
{
    struct batch_walk walked = {.max_timestamp = 999, .bad_record = -1};
    struct partition_append how = plain;
    start(1, 1);
    size_t len = build(3, -1, -1, -1);
    apply(&(struct patch){BATCH_ATTRIBUTES, 2, CODEC_GZIP});
    batch_seal(bytes, len);
    how.walked = &walked;
    assert_int_equal(append(len, &how).error, 0);
    walked = (struct batch_walk){.bad_record = 2, .error = KAFKA_INVALID_RECORD, .message = "bad"};
    struct partition_appended a = append(len, &how);
    assert_int_equal(a.error, KAFKA_INVALID_RECORD);
    assert_int_equal(a.bad_record, 2);
    assert_int_equal(look().log_end, 3);
}

static void test_the_bad_record_is_named(void **state)
{
    start(1, 1);
    size_t len = build(3, -1, -1, -1);
    size_t record = (len - BATCH_HEADER) / 3;
    bytes[BATCH_HEADER + record + 3] = 8; /* offset delta of the second */
    batch_seal(bytes, len);
    struct partition_appended a = append(len, &plain);
    assert_int_equal(a.error, KAFKA_INVALID_RECORD);
    assert_int_equal(a.bad_record, 1);
    assert_int_equal(a.log_start_offset, 0);
}

static void test_sizes(void **state)
{
    static char value[100000];
    static const struct {
        int64_t max;
        int32_t value_len;
        int16_t error;
    } cases[] = {
        {MESSAGE_MAX, 3000, 0},
        {MESSAGE_MAX, MESSAGE_MAX, KAFKA_MESSAGE_TOO_LARGE},
        {1000000, 90000, KAFKA_RECORD_LIST_TOO_LARGE}, /* a segment has 65536 */
    };
    start(1, 1);
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        const struct batch_build_record one = {.timestamp = 1, .value = value, .value_len = cases[i].value_len};
        topic.max_message_bytes = cases[i].max;
        partition_configure(p, &topic);
        size_t len = batch_build(bytes, CAP, &one, 1, -1, -1, -1);
        assert_true(len != 0);
        assert_int_equal(append(len, &plain).error, cases[i].error);
    }
}

static void test_leadership(void **state)
{
    struct partition_append how = plain;
    start(1, 1);
    how.leader_epoch = EPOCH - 1;
    assert_int_equal(append(build(1, -1, -1, -1), &how).error, KAFKA_NOT_LEADER_OR_FOLLOWER);
    how.leader_epoch = EPOCH + 1;
    assert_int_equal(append(build(1, -1, -1, -1), &how).error, KAFKA_NOT_LEADER_OR_FOLLOWER);
    how.leader_epoch = -1;
    assert_int_equal(append(build(1, -1, -1, -1), &how).error, 0);
    w.hold_writes = true;
    partition_turn(p, &w.time, &w.out);
    assert_false(partition_release(p, &w.out)); /* a write is out */
    assert_false(look().leader);
    assert_int_equal(append(build(1, -1, -1, -1), &how).error, KAFKA_NOT_LEADER_OR_FOLLOWER);
    w.hold_writes = false;
}

static void test_acks_and_min_insync_replicas(void **state)
{
    struct partition_append all = plain;
    all.acks = -1;
    topic.min_insync_replicas = 2;
    start(2, 1);
    assert_false(look().min_isr_met);
    assert_int_equal(append(build(1, -1, -1, -1), &all).error, KAFKA_NOT_ENOUGH_REPLICAS);
    assert_int_equal(look().log_end, 0);
    assert_int_equal(append(build(1, -1, -1, -1), &plain).error, 0);
    all.acks = 0;
    assert_int_equal(append(build(1, -1, -1, -1), &all).error, 0);
    pump();
    assert_int_equal(look().counted_end, 2); /* acks=1 is answered */
    assert_int_equal(look().high_watermark, 0);
    topic.min_insync_replicas = 1;
    partition_configure(p, &topic);
    pump();
    assert_int_equal(look().high_watermark, 2);
    all.acks = -1;
    assert_int_equal(append(build(1, -1, -1, -1), &all).error, 0);
}

/* ---- producers -------------------------------------------------------------------------------------------- */

static void is_duplicate(struct partition_appended a, int64_t base, int32_t count)
{
    assert_int_equal(a.error, 0);
    assert_true(a.duplicate);
    assert_int_equal(a.base_offset, base);
    assert_int_equal(a.end_offset, base + count);
}

static void test_duplicates(void **state)
{
    start(1, 1);
    for (int32_t i = 0; i < 6; i++)
        assert_int_equal(append_from(9, 0, i * 2, 2).base_offset, i * 2);
    int64_t end = look().log_end;
    for (int32_t i = 1; i < 6; i++)
        is_duplicate(append_from(9, 0, i * 2, 2), i * 2, 2);
    assert_int_equal(append_from(9, 0, 0, 2).error, KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER); /* the sixth last */
    assert_int_equal(look().log_end, end);
    size_t len = build(2, 9, 0, 10);
    bytes[len - 2] ^= 1; /* the bytes of a duplicate are looked at all the same */
    assert_int_equal(append(len, &plain).error, KAFKA_CORRUPT_MESSAGE);
    assert_int_equal(append_from(9, 0, 12, 1).error, 0);
}

static void test_sequences(void **state)
{
    static const struct {
        int64_t id;
        int16_t epoch;
        int32_t sequence, count;
        int16_t error;
    } steps[] = {
        {1, 0, 5, 2, 0}, /* unknown: any sequence */
        {1, 0, 8, 1, KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER},
        {1, 0, 6, 1, KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER},
        {1, 0, 7, 1, 0},
        {1, 1, 8, 1, KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER}, /* an epoch starts at 0 */
        {1, 1, 0, 1, 0},
        {1, 0, 8, 1, KAFKA_INVALID_PRODUCER_EPOCH},
        {1, 1, 1, 1, 0},
        {2, 0, INT32_MAX - 1, 2, 0},
        {2, 0, 0, 3, 0}, /* wraps */
        {2, 0, 3, 1, 0},
        {3, 0, INT32_MAX, 4, 0}, /* wraps within */
        {3, 0, 4, 1, KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER},
        {3, 0, 3, 1, 0},
    };
    int64_t end = 0;
    start(1, 1);
    for (size_t i = 0; i < TIDE_ARRAY_LEN(steps); i++) {
        struct partition_appended a = append_from(steps[i].id, steps[i].epoch, steps[i].sequence, steps[i].count);
        if (a.error != steps[i].error)
            fail_msg("step %zu: error %d", i, a.error);
        end += a.error == 0 ? steps[i].count : 0;
        assert_int_equal(look().log_end, end);
        assert_false(a.duplicate);
    }
}

/* The shadow of a refused batch: in the first second of an epoch and after a refusal a gap will pass, and a producer that is
 * not known begins with its first batch (P6). */
static void test_a_gap_behind_a_refused_batch(void **state)
{
    struct partition_append other = plain;
    other.leader_epoch = EPOCH - 1;
    start(1, 1);
    assert_int_equal(append_from(9, 0, 0, 1).error, 0);
    assert_int_equal(append(build(1, 9, 0, 1), &other).error, KAFKA_NOT_LEADER_OR_FOLLOWER);
    assert_int_equal(append_from(9, 0, 2, 1).error, KAFKA_NOT_LEADER_OR_FOLLOWER);
    assert_int_equal(append_from(9, 1, 2, 1).error, KAFKA_NOT_LEADER_OR_FOLLOWER);
    assert_int_equal(append_from(7, 0, 1, 1).error, KAFKA_NOT_LEADER_OR_FOLLOWER); /* not known */
    assert_int_equal(append_from(7, 0, 0, 1).error, 0);
    assert_int_equal(append_from(9, 0, 1, 1).error, 0);
    assert_int_equal(append_from(9, 0, 2, 1).error, 0);
    assert_int_equal(append_from(9, 0, 2, 1).duplicate, true);
    w.time.now_ns += TIDE_NS_PER_S;
    assert_int_equal(append_from(9, 0, 4, 1).error, KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_int_equal(append_from(8, 0, 4, 1).error, 0); /* it may have been forgotten */
}

static void test_a_gap_in_a_young_epoch(void **state)
{
    start(1, 1);
    w.time.now_ns -= 2 * TIDE_NS_PER_S;
    assert_int_equal(append_from(9, 0, 1, 1).error, KAFKA_NOT_LEADER_OR_FOLLOWER);
    w.time.now_ns += TIDE_NS_PER_S;
    assert_int_equal(append_from(9, 0, 1, 1).error, 0);
}

/* All 64 are looked at within a few milliseconds of turns, however many turns that are. */
static void test_who_is_silent_is_forgotten(void **state)
{
    start(1, 1);
    assert_int_equal(append_from(9, 0, 0, 1).error, 0);
    w.time.wall_ms += 3600000 - 8;
    for (unsigned ms = 0; ms < 8; ms++, w.time.wall_ms++)
        pump();
    assert_int_equal(append_from(9, 0, 5, 1).error, KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER);
    w.time.wall_ms += 3600000;
    for (unsigned ms = 0; ms < 8; ms++, w.time.wall_ms++)
        pump();
    assert_int_equal(append_from(9, 0, 5, 1).error, 0); /* unknown: any sequence */
}

/* ---- opened again -------------------------------------------------------------------------------------------- */

#define SNAPSHOT WORLD_DIR "/00000000000000000004.snapshot"

/* Two producers, four records, a clean stop. */
static void written_and_stopped(void)
{
    start(1, 1);
    assert_int_equal(append_from(9, 3, 7, 3).base_offset, 0);
    assert_int_equal(append_from(10, 0, 0, 1).base_offset, 3);
    pump();
    assert_int_equal(stop(), 0);
    assert_non_null(memory_fs_find(w.disk, SNAPSHOT));
}

static void knows_both(void)
{
    assert_int_equal(look().log_end, 4);
    assert_int_equal(look().high_watermark, 4);
    is_duplicate(append_from(9, 3, 7, 3), 0, 3);
    is_duplicate(append_from(10, 0, 0, 1), 3, 1);
    assert_int_equal(append_from(9, 3, 9, 1).error, KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_int_equal(append_from(9, 3, 10, 1).base_offset, 4);
}

static void test_producers_are_known_after_a_stop(void **state)
{
    written_and_stopped();
    start(1, 1);
    knows_both();
}

/* Without a whole snapshot they are rebuilt from the log. */
static void test_a_damaged_snapshot_is_not_believed(void **state)
{
    written_and_stopped();
    struct memory_file *f = memory_fs_find(w.disk, SNAPSHOT);
    f->bytes[f->size - 1] ^= 1;
    start(1, 1);
    knows_both();
}

static void test_an_empty_snapshot_file(void **state)
{
    written_and_stopped();
    memory_fs_put(w.disk, SNAPSHOT, "", 0);
    start(1, 1);
    knows_both();
}

static void test_a_snapshot_beyond_the_end_is_removed(void **state)
{
    static const char path[] = WORLD_DIR "/00000000000000000009.snapshot";
    written_and_stopped();
    struct memory_file *f = memory_fs_find(w.disk, SNAPSHOT);
    uint8_t copy[1024];
    size_t size = f->size;
    assert_true(size <= sizeof(copy));
    memcpy(copy, f->bytes, size);
    memory_fs_put(w.disk, path, copy, size);
    start(1, 1);
    assert_null(memory_fs_find(w.disk, path));
    assert_non_null(memory_fs_find(w.disk, SNAPSHOT));
    knows_both();
}

static void test_a_damaged_snapshot_beyond_the_end_is_removed(void **state)
{
    static const char path[] = WORLD_DIR "/00000000000000000009.snapshot";
    written_and_stopped();
    memory_fs_put(w.disk, path, "garbage", 7);
    start(1, 1);
    assert_null(memory_fs_find(w.disk, path));
    knows_both();
}

static void test_a_snapshot_beyond_the_end_does_not_come_back(void **state)
{
    static const char path[] = WORLD_DIR "/00000000000000000009.snapshot";
    written_and_stopped();
    memory_fs_put(w.disk, path, "whatever", 8);
    assert_int_equal(snapshot_remove_beyond(&w.disk->fs, WORLD_DIR, 4), 0);
    memory_fs_crash(w.disk, NULL);
    assert_null(memory_fs_find(w.disk, path));
    start(1, 1);
    knows_both();
}

/* ---- while it runs ---------------------------------------------------------------------------------------- */

static unsigned snapshots(void)
{
    unsigned n = 0;
    for (unsigned i = 0; i < MEMORY_FILES; i++)
        n += w.disk->names[i].used && strstr(w.disk->names[i].path, ".snapshot") != NULL;
    return n;
}

/* Appends about `size` bytes in batches of one producer. */
static int32_t append_bytes(size_t size, int32_t sequence)
{
    for (size_t done = 0; done < size; sequence += 60) {
        size_t len = build(60, 9, 0, sequence);
        assert_int_equal(append(len, &plain).error, 0);
        pump();
        done += len;
    }
    return sequence;
}

static void test_snapshots_are_made_while_it_runs(void **state)
{
    topic.segment_bytes = 8 << 20;
    start(1, 1);
    assert_int_equal(snapshots(), 0);
    int32_t sequence = append_bytes(SNAPSHOT_BYTES + 200000, 0);
    assert_in_range(snapshots(), 1, 2);
    sequence = append_bytes(SNAPSHOT_BYTES + 200000, sequence);
    assert_int_equal(snapshots(), 2); /* older ones are gone */
    partition_check(p);
    assert_int_equal(stop(), 0);
    unsigned long before = w.disk->bytes_read;
    start(1, 1);
    assert_true(w.disk->bytes_read - before < SNAPSHOT_BYTES + 2000000); /* of twice as much, and more */
    assert_int_equal(append(build(60, 9, 0, sequence - 60), &plain).duplicate, true);
    assert_int_equal(append(build(60, 9, 0, sequence), &plain).error, 0);
    assert_int_equal(append(build(60, 9, 0, sequence + 61), &plain).error, KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER);
}

static void test_retention(void **state)
{
    topic.retention_ms = -1;
    topic.retention_bytes = 150000;
    start(1, 1);
    (void)append_bytes(400000, 0);
    assert_int_equal(look().log_start, 0);
    w.time.now_ns += 61ull * 1000 * TIDE_NS_PER_MS;
    pump();
    int64_t start_offset = look().log_start;
    assert_in_range(start_offset, 1, look().high_watermark);
    assert_true(log_size_bytes(partition_log(p)) < 150000 + 65536);
    topic.cleanup_policy = CLEANUP_COMPACT; /* it keeps what is old */
    topic.retention_bytes = 1;
    partition_configure(p, &topic);
    w.time.now_ns += 61ull * 1000 * TIDE_NS_PER_MS;
    pump();
    assert_int_equal(look().log_start, start_offset);
    topic.cleanup_policy = CLEANUP_DELETE;
    topic.retention_bytes = -1;
    topic.retention_ms = 1000;
    partition_configure(p, &topic);
    w.time.now_ns += 61ull * 1000 * TIDE_NS_PER_MS;
    w.time.wall_ms += 3600000;
    pump();
    pump();
    w.time.now_ns += 61ull * 1000 * TIDE_NS_PER_MS;
    pump();
    assert_int_equal(look().log_start, look().high_watermark); /* all of it, the active segment too */
}

/* ---- a disk that fails ------------------------------------------------------------------------------------------ */

/* Design 7: refused before anything is written, served meanwhile, and taken again when there is space. */
static void test_a_full_disk_refuses_and_recovers(void **state)
{
    start(1, 1);
    assert_int_equal(append(build(20, 7, 0, 0), &plain).error, 0);
    w.disk->free_bytes = 0;
    int64_t n = 20;
    struct partition_appended a;
    while ((a = append(build(20, 7, 0, (int32_t)n), &plain)).error == 0)
        n += 20;
    assert_int_equal(a.error, KAFKA_KAFKA_STORAGE_ERROR);
    assert_string_equal(a.message, "the disk is full");
    pump();
    assert_true(n > 200);
    assert_false(look().failed);
    assert_true(look().leader);
    assert_int_equal(look().log_end, n);
    assert_int_equal(look().high_watermark, n);
    unsigned long operations = w.disk->operations;
    for (int i = 0; i < 5; i++)
        assert_int_equal(append(build(20, 7, 0, (int32_t)n), &plain).error, KAFKA_KAFKA_STORAGE_ERROR);
    assert_int_equal(w.disk->operations, operations); /* asked once a second */
    w.disk->free_bytes = -1;
    w.time.now_ns += TIDE_NS_PER_S;
    pump();
    a = append(build(20, 7, 0, (int32_t)n), &plain); /* the same batch: its sequence was not used */
    assert_int_equal(a.error, 0);
    assert_false(a.duplicate);
    assert_int_equal(a.base_offset, n);
    pump();
    assert_int_equal(look().high_watermark, n + 20);
}

/* A partition that was empty when the disk filled says so to its first append, and loses nothing by it. */
static void test_a_full_disk_at_the_first_append(void **state)
{
    start(1, 1);
    w.disk->free_bytes = 0;
    struct partition_appended a = append(build(20, 7, 0, 0), &plain);
    assert_int_equal(a.error, KAFKA_KAFKA_STORAGE_ERROR);
    assert_string_equal(a.message, "the disk is full");
    assert_false(look().failed);
    assert_true(look().leader);
    assert_int_equal(look().log_end, 0);
    w.disk->free_bytes = -1;
    w.time.now_ns += TIDE_NS_PER_S;
    pump();
    a = append(build(20, 7, 0, 0), &plain); /* its sequence was not used */
    assert_int_equal(a.error, 0);
    assert_false(a.duplicate);
    assert_int_equal(a.base_offset, 0);
}

/* The wall clock went back by a year over a restart, and comes forward again: nothing is thrown away for
 * it, producers are known, and appends go on (design 2: nothing of safety reads it). */
static void test_a_clock_that_went_back(void **state)
{
    static const int64_t year = 365ll * 24 * 3600 * 1000;
    topic.retention_ms = 7 * 24 * 3600 * 1000ll;
    topic.message_timestamp_after_max_ms = INT64_MAX;
    start(1, 1);
    assert_int_equal(append_from(5, 0, 0, 3).error, 0);
    pump();
    assert_int_equal(stop(), 0);
    w.time.wall_ms -= year;
    start(1, 1);
    assert_int_equal(look().log_end, 3);
    assert_true(append_from(5, 0, 0, 3).duplicate);
    assert_int_equal(append_from(5, 0, 3, 3).error, 0); /* its timestamps are a year before those before it */
    for (int i = 0; i < 3; i++) {
        w.time.now_ns += 61ull * 1000 * TIDE_NS_PER_MS;
        w.time.wall_ms += 61000;
        pump();
    }
    assert_int_equal(look().log_start, 0);
    assert_int_equal(stop(), 0);
    w.time.wall_ms += year;
    start(1, 1);
    assert_int_equal(look().log_end, 6);
    assert_true(append_from(5, 0, 3, 3).duplicate);
    w.time.now_ns += 61ull * 1000 * TIDE_NS_PER_MS;
    pump();
    assert_int_equal(look().log_start, 0); /* the newest record of the segment is young */
    assert_int_equal(append_from(5, 0, 6, 1).error, 0);
}

static void fails_with(int64_t result)
{
    start(1, 1);
    assert_int_equal(append(build(2, -1, -1, -1), &plain).error, 0);
    pump();
    assert_int_equal(append(build(3, -1, -1, -1), &plain).error, 0);
    partition_turn(p, &w.time, &w.out);
    assert_true(w.out.op_count != 0);
    struct disk_done done = {.id = w.out.ops[0].id, .result = result};
    w.out.op_count = 0;
    (void)partition_take_moved(p);
    partition_on_disk(p, &w.time, &done, &w.out);
    assert_true(partition_take_moved(p)); /* who waits has to hear of it */
    for (int i = 0; i < 3; i++) {
        assert_true(look().failed);
        assert_false(look().leader);
        assert_int_equal(look().log_end, 5);
        assert_int_equal(look().counted_end, 2);
        assert_int_equal(look().high_watermark, 2);
        assert_int_equal(append(build(1, -1, -1, -1), &plain).error, KAFKA_KAFKA_STORAGE_ERROR);
        pump();
        assert_int_equal(w.out.op_count, 0); /* nothing is written after it */
    }
    assert_int_equal(stop(), -EIO);
}

static void test_a_failed_write(void **state)
{
    fails_with(-EIO);
}

static void test_a_write_that_took_nothing(void **state)
{
    fails_with(0);
}

static void test_a_write_that_took_too_much(void **state)
{
    fails_with(1 << 20);
}

/* Before its epoch's line is on the disk: a reader must not take less for the end. */
static void test_alone_it_has_committed_what_it_holds(void **state)
{
    start(1, 1);
    assert_int_equal(append(build(3, -1, -1, -1), &plain).error, 0);
    pump();
    assert_int_equal(stop(), 0);
    assert_int_equal(open_partition(), 0);
    struct mail_role role = role_of(0, EPOCH + 1, 1, 1, 1);
    partition_adopt(p, w.core, &w.time);
    assert_true(partition_become(p, &w.time, &role, &w.out));
    assert_true(look().leader);
    assert_int_equal(look().high_watermark, 3);
    pump();
}

static void test_interest(void **state)
{
    start(1, 1);
    for (uint32_t core = 0; core < TIDE_CORES_MAX; core++) {
        assert_false(partition_has_interest(p, core));
        partition_set_interest(p, core, true);
        assert_true(partition_has_interest(p, core));
    }
    partition_set_interest(p, 3, false);
    assert_false(partition_has_interest(p, 3));
    assert_true(partition_has_interest(p, 4));
    assert_string_equal(partition_topic(p), "events");
    assert_int_equal(partition_slot(p), 77);
    assert_int_equal(partition_home(p), 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_appends_and_marks),
        TEST(test_memory_durability_counts_at_once),
        TEST(test_nothing_is_taken_before_the_epoch_is_durable),
        TEST(test_log_append_time),
        TEST(test_refusals),
        TEST(test_the_bad_record_is_named),
        TEST(test_nobody_looked),
        TEST(test_a_verdict),
        TEST(test_sizes),
        TEST(test_leadership),
        TEST(test_a_gap_behind_a_refused_batch),
        TEST(test_a_gap_in_a_young_epoch),
        TEST(test_acks_and_min_insync_replicas),
        TEST(test_duplicates),
        TEST(test_sequences),
        TEST(test_who_is_silent_is_forgotten),
        TEST(test_producers_are_known_after_a_stop),
        TEST(test_a_damaged_snapshot_is_not_believed),
        TEST(test_an_empty_snapshot_file),
        TEST(test_a_snapshot_beyond_the_end_is_removed),
        TEST(test_a_damaged_snapshot_beyond_the_end_is_removed),
        TEST(test_a_snapshot_beyond_the_end_does_not_come_back),
        TEST(test_snapshots_are_made_while_it_runs),
        TEST(test_retention),
        TEST(test_a_full_disk_refuses_and_recovers),
        TEST(test_a_full_disk_at_the_first_append),
        TEST(test_a_clock_that_went_back),
        TEST(test_a_failed_write),
        TEST(test_a_write_that_took_nothing),
        TEST(test_a_write_that_took_too_much),
        TEST(test_alone_it_has_committed_what_it_holds),
        TEST(test_interest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
