/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Roles of a partition over a real log: following, cutting, leading again, and what producers wrote.
 * We are broker 0; batches that a leader would send are built here with their offsets and epochs.
 */
#include <errno.h>

#include "kafka/errors.h"
#include "log_world.h"
#include "partition/partition.h"
#include "partition/producer.h"
#include "partition/snapshot.h"
#include "tidemark/bytes.h"

enum { CAP = 131072, PRODUCER = 500 };

static struct world w;
static struct partition *p;
static struct tide_topic_config topic;
static uint8_t bytes[CAP];
static int64_t known_high;
static _Atomic uint64_t lease;
static bool grace_over;
static uint64_t graces;
static int32_t partition_epoch_now;

static uint64_t grace_begin(void *self)
{
    return ++graces;
}

static bool grace_passed(void *self, uint64_t token)
{
    return grace_over;
}

/* ---- the world ---- */

static void open_partition(void)
{
    const struct partition_config config = {.topic = "events",
                                            .slot = 77,
                                            .home_core = 3,
                                            .dir = WORLD_DIR,
                                            .topic_config = topic,
                                            .preallocate_bytes = 16384,
                                            .producer_expiry_ms = 3600000,
                                            .producers_max = 64,
                                            .high_watermark = known_high,
                                            .lease_until_ns = &lease,
                                            .grace = {.begin = grace_begin, .passed = grace_passed}};
    p = partition_create(&config);
    assert_non_null(p);
    assert_int_equal(partition_open(p, &w.disk->fs, w.error, sizeof(w.error)), 0);
    partition_adopt(p, w.core, &w.time);
    partition_epoch_now = -1;
}

static bool step(void)
{
    struct tide_out *o = &w.out;
    if (o->job_count != 0 && !w.hold_jobs) {
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

static void stop(void)
{
    w.hold_writes = w.hold_jobs = false;
    while (!partition_release(p, &w.out))
        assert_true(step());
    (void)partition_close(p, &w.disk->fs);
    partition_destroy(p);
    p = NULL;
}

static int setup(void **state)
{
    world_init(&w, 1);
    topic = (struct tide_topic_config){.segment_bytes = 65536,
                                       .segment_ms = 7 * 24 * 3600 * 1000ll,
                                       .index_interval_bytes = 1024,
                                       .max_message_bytes = 4000,
                                       .min_insync_replicas = 2,
                                       .ack_durability = ACK_DURABILITY_DEVICE,
                                       .message_timestamp_before_max_ms = INT64_MAX,
                                       .message_timestamp_after_max_ms = 3600000};
    known_high = 0;
    lease = UINT64_MAX;
    grace_over = true;
    open_partition();
    return 0;
}

static int teardown(void **state)
{
    if (p != NULL)
        stop();
    assert_int_equal(memory_fs_open_handles(w.disk), 0);
    world_deinit(&w);
    return 0;
}

static bool become_as(int32_t leader, int32_t leader_epoch, uint32_t isr, int32_t unclean_epoch)
{
    struct mail_role role = {.leader = leader, .leader_epoch = leader_epoch, .partition_epoch = ++partition_epoch_now, .replica_count = 3,
                             .unclean_epoch = unclean_epoch};
    for (int i = 0; i < 3; i++) {
        role.replicas[i] = i;
        role.broker_epochs[i] = 10 + i;
        if (isr & 1u << i)
            role.isr[role.isr_count++] = i;
    }
    return partition_become(p, &w.time, &role, &w.out);
}

static void become(int32_t leader, int32_t leader_epoch)
{
    assert_true(become_as(leader, leader_epoch, 7, -1));
    pump();
}

/* ---- batches as a leader has them ---- */

static size_t batch_at(uint8_t *to, int64_t offset, int32_t epoch, int32_t count, int64_t id, int32_t sequence)
{
    struct batch_build_record records[64];
    for (int32_t i = 0; i < count; i++)
        records[i] = (struct batch_build_record){.timestamp = w.time.wall_ms, .value = "value", .value_len = 5};
    size_t len = batch_build(to, CAP, records, count, id, id < 0 ? -1 : 0, sequence);
    assert_true(len != 0);
    store_be64(to + BATCH_BASE_OFFSET, (uint64_t)offset);
    store_be32(to + BATCH_LEADER_EPOCH, (uint32_t)epoch);
    return len;
}

static struct partition_follow message(int32_t leader_epoch, int64_t base, int64_t high)
{
    return (struct partition_follow){.leader_epoch = leader_epoch, .base_offset = base, .high_watermark = high};
}

static enum tide_status follow_once(size_t len, const struct partition_follow *how, struct partition_followed *ret)
{
    struct tide_rope r = {0};
    struct partition_follow a = *how;
    for (size_t at = 0; at < len; at += 1000)
        tide_rope_push(&r, unit_exact_mbuf(w.input, bytes + at, (uint16_t)TIDE_MIN(1000u, len - at)));
    a.records = tide_rope_slice(&r, 0, r.len);
    enum tide_status status = partition_follow_append(p, &w.time, &a, &w.out, ret);
    tide_rope_clear(&r);
    return status;
}

/* Until all of it is taken, or refused. */
static enum tide_status follow(size_t len, struct partition_follow how)
{
    struct partition_followed ret;
    enum tide_status status = follow_once(len, &how, &ret);
    for (int i = 0; status == TIDE_FULL && i < 50; i++) {
        pump();
        len -= ret.taken;
        memmove(bytes, bytes + ret.taken, len);
        if (ret.taken != 0)
            how.base_offset = log_next_offset(partition_log(p));
        status = follow_once(len, &how, &ret);
    }
    return status;
}

/* `count` batches of two records from `offset` on, of one epoch. */
static void take(int64_t offset, int32_t epoch, int count, int32_t leader_epoch, int64_t high)
{
    size_t len = 0;
    for (int i = 0; i < count; i++)
        len += batch_at(bytes + len, offset + 2 * i, epoch, 2, PRODUCER, (int32_t)(offset + 2 * i));
    assert_int_equal(follow(len, message(leader_epoch, offset, high)), TIDE_OK);
    pump();
}

static struct partition_look look(void)
{
    struct partition_look l;
    partition_look(p, &l);
    return l;
}

static struct partition_appended produce(int32_t sequence, int16_t acks)
{
    struct partition_appended ret;
    size_t len = batch_at(bytes, 0, -1, 2, PRODUCER, sequence);
    struct tide_rope r = {0};
    struct partition_append a = {.acks = acks, .api_version = 9, .leader_epoch = -1};
    enum tide_status status = TIDE_FULL;
    for (int i = 0; status == TIDE_FULL && i < 20; i++) {
        tide_rope_push(&r, unit_exact_mbuf(w.input, bytes, (uint16_t)len));
        a.records = tide_rope_slice(&r, 0, r.len);
        status = partition_append(p, &w.time, &a, &w.out, &ret);
        tide_rope_clear(&r);
        pump();
    }
    assert_int_equal(status, TIDE_OK);
    return ret;
}

static void truncate_to(int64_t offset)
{
    enum tide_status status = TIDE_AGAIN;
    for (int i = 0; status == TIDE_AGAIN && i < 50; i++) {
        status = partition_truncate(p, offset, &w.out);
        pump();
    }
    assert_int_equal(status, TIDE_OK);
}

/* ---- roles ---- */

static void test_only_a_greater_partition_epoch_is_adopted(void **state)
{
    become(1, 4);
    partition_epoch_now--;
    assert_false(become_as(2, 9, 7, -1)); /* the same */
    partition_epoch_now -= 2;
    assert_false(become_as(2, 9, 7, -1)); /* an older one */
    assert_int_equal(partition_epoch(p), 0);
    assert_true(partition_is_follower(p));
    assert_int_equal(look().leader_epoch, 4);
    partition_epoch_now = 0;
    become(0, 5);
    assert_true(partition_is_leader(p));
    assert_int_equal(look().leader_epoch, 5);
    assert_true(look().leader);
}

static void test_a_role_that_an_answer_told_before(void **state)
{
    become(0, 4);
    partition_committed(p, 4, 1); /* the ISR {0, 1} */
    watermark_commit_isr(partition_marks(p), 3);
    watermark_propose_isr(partition_marks(p), 7); /* the next proposal is out */
    assert_false(become_as(0, 4, 3, -1));
    assert_int_equal(partition_marks(p)->proposed_isr, 7); /* and goes on counting */
    partition_committed(p, 3, 9); /* of an epoch that is over */
    assert_int_equal(partition_epoch(p), 1);
    assert_true(become_as(0, 4, 7, -1));
}

static void test_a_follower_takes_nothing_from_clients(void **state)
{
    become(1, 4);
    assert_int_equal(produce(0, 1).error, KAFKA_NOT_LEADER_OR_FOLLOWER);
    assert_false(look().leader);
}

static void test_without_a_lease_a_leader_stands_still(void **state)
{
    become(0, 4);
    assert_true(become_as(0, 4, 1 | 2, -1));
    watermark_listen(partition_marks(p), 1);
    assert_int_equal(produce(0, 1).error, 0);
    (void)watermark_acknowledged(partition_marks(p), 1, 2, 2);
    lease = w.time.now_ns; /* its time is over */
    pump();
    assert_int_equal(look().high_watermark, 0);
    assert_int_equal(produce(2, 1).error, KAFKA_NOT_LEADER_OR_FOLLOWER);
    lease = UINT64_MAX;
    pump();
    assert_int_equal(look().high_watermark, 2);
}

static void test_a_deposed_leader(void **state)
{
    become(0, 4);
    struct partition_appended a = produce(0, -1);
    assert_int_equal(a.error, 0);
    assert_int_equal(a.leader_epoch, 4);
    assert_true(partition_take_moved(p));
    assert_true(become_as(1, 5, 7, -1));
    assert_true(partition_take_moved(p)); /* the waiters' cores are rung */
    assert_int_equal(look().leader_epoch, 5);
    assert_false(look().leader);
    (void)partition_marks(p);
    pump();
    take(2, 5, 1, 5, 4); /* offsets that the waiter waited for, committed by somebody else */
    assert_int_equal(look().high_watermark, 4);
    assert_int_not_equal(look().leader_epoch, a.leader_epoch);
}

static void test_the_epochs_start_is_committed_later(void **state)
{
    become(1, 4);
    take(0, 4, 3, 4, 2);
    become(0, 5);
    assert_true(look().leader);
    assert_int_equal(look().high_watermark, 2);
    assert_false(look().epoch_committed);
    watermark_listen(partition_marks(p), 1);
    watermark_listen(partition_marks(p), 2);
    (void)watermark_acknowledged(partition_marks(p), 1, 6, 6);
    pump();
    assert_false(look().epoch_committed);
    (void)watermark_acknowledged(partition_marks(p), 2, 6, 5);
    pump();
    assert_int_equal(look().high_watermark, 5);
    assert_false(look().epoch_committed);
    (void)watermark_acknowledged(partition_marks(p), 2, 6, 6);
    pump();
    assert_true(look().epoch_committed);
}

static void test_min_insync_and_the_isr(void **state)
{
    become(0, 4);
    assert_int_equal(produce(0, -1).error, 0);
    assert_true(become_as(0, 4, 1, -1));
    assert_false(look().min_isr_met);
    assert_int_equal(produce(2, -1).error, KAFKA_NOT_ENOUGH_REPLICAS);
    assert_int_equal(produce(2, 1).error, 0);
    pump();
    assert_int_equal(look().high_watermark, 0); /* frozen */
    assert_int_equal(look().counted_end, 4);
}

/* ---- following ---- */

static void test_batches_stay_as_they_are(void **state)
{
    become(1, 7);
    uint8_t before[CAP / 8];
    size_t len = batch_at(bytes, 0, 3, 2, -1, -1);
    len += batch_at(bytes + len, 2, 3, 5, -1, -1);
    len += batch_at(bytes + len, 7, 6, 1, -1, -1); /* several epochs in one message */
    memcpy(before, bytes, len);
    assert_int_equal(follow(len, message(7, 0, 0)), TIDE_OK);
    pump();
    struct log_read r = {.offset = 0, .end_offset = 8, .max_bytes = 65536, .at_least_one = true};
    assert_int_equal(log_read(partition_log(p), w.core, 0, &r, &w.out), TIDE_OK);
    assert_int_equal(r.bytes.len, len);
    tide_slice_copy(tide_rope_slice(&r.bytes, 0, r.bytes.len), bytes);
    assert_memory_equal(bytes, before, len);
    tide_rope_clear(&r.bytes);
    int32_t epoch;
    int64_t end;
    log_end_for_epoch(partition_log(p), 5, &epoch, &end);
    assert_int_equal(epoch, 3);
    assert_int_equal(end, 7);
    assert_int_equal(log_last_batch_epoch(partition_log(p)), 6);
    assert_int_equal(look().log_end, 8);
}

static void test_the_high_watermark_follows(void **state)
{
    become(1, 4);
    w.hold_writes = true;
    size_t len = batch_at(bytes, 0, 4, 2, -1, -1);
    assert_int_equal(follow(len, message(4, 0, 9)), TIDE_OK);
    assert_int_equal(look().high_watermark, 2); /* what we have of it */
    assert_int_equal(partition_checkpoint(p), 0); /* nothing on the device */
    w.hold_writes = false;
    pump();
    assert_int_equal(partition_checkpoint(p), 2);
    assert_int_equal(follow(0, message(4, 2, 1)), TIDE_OK);
    assert_int_equal(look().high_watermark, 2); /* never falls */
}

static void test_what_cannot_follow(void **state)
{
    static const struct {
        int64_t base, first;
        int32_t leader_epoch, batch_epoch;
        bool damaged, cut;
        enum tide_status status;
    } cases[] = {
        {6, 6, 7, 6, false, false, TIDE_OK},
        {6, 6, 6, 6, false, false, TIDE_REFUSED}, /* another role */
        {6, 6, 8, 6, false, false, TIDE_REFUSED},
        {4, 4, 7, 6, false, false, TIDE_BAD},     /* not at the end */
        {7, 7, 7, 6, false, false, TIDE_BAD},     /* a gap */
        {6, 7, 7, 6, false, false, TIDE_BAD},     /* the head and the batch differ */
        {6, 6, 7, 8, false, false, TIDE_BAD},     /* of an epoch to come */
        {6, 6, 7, 5, false, false, TIDE_BAD},     /* of one that is over */
        {6, 6, 7, 6, true, false, TIDE_BAD},
        {6, 6, 7, 6, false, true, TIDE_BAD},
    };
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        become(1, 7);
        take(log_next_offset(partition_log(p)), 6, 0, 7, 0);
        if (log_next_offset(partition_log(p)) == 0)
            take(0, 6, 3, 7, 2);
        size_t len = batch_at(bytes, cases[i].first, cases[i].batch_epoch, 2, -1, -1);
        if (cases[i].damaged)
            bytes[len - 1] ^= 1;
        assert_int_equal(follow(len - cases[i].cut, message(cases[i].leader_epoch, cases[i].base, 100)), cases[i].status);
        assert_int_equal(look().log_end, cases[i].status == TIDE_OK ? 8 : 6);
        if (cases[i].status == TIDE_OK)
            truncate_to(6);
        partition_check(p);
        partition_epoch_now++;
    }
}

static void test_what_comes_before_a_bad_batch_is_kept(void **state)
{
    struct partition_followed ret;
    become(1, 4);
    take(0, 4, 1, 4, 0);
    size_t first = batch_at(bytes, 2, 4, 2, -1, -1);
    size_t len = first + batch_at(bytes + first, 5, 4, 2, -1, -1);
    const struct partition_follow a = message(4, 2, 100);
    assert_int_equal(follow_once(len, &a, &ret), TIDE_BAD);
    assert_int_equal(ret.taken, first);
    assert_non_null(ret.message);
    assert_int_equal(look().log_end, 4);
}

static void test_the_start_follows(void **state)
{
    become(1, 4);
    take(0, 4, 5, 4, 4);
    struct partition_follow beat = message(4, 0, 4);
    beat.log_start = 8;
    assert_int_equal(follow(0, beat), TIDE_OK);
    pump();
    assert_int_equal(look().log_start, 4); /* as far as it is committed here */
    beat.high_watermark = 10;
    assert_int_equal(follow(0, beat), TIDE_OK);
    pump();
    assert_int_equal(look().log_start, 8);
}

static void test_a_line_without_batches_does_not_stand_in_the_way(void **state)
{
    become(0, 6); /* led, wrote nothing */
    become(1, 7);
    assert_int_equal(log_last_epoch(partition_log(p)), 6);
    assert_int_equal(log_last_batch_epoch(partition_log(p)), -1);
    take(0, 5, 2, 7, 0); /* an earlier leader had written, to others */
    take(4, 7, 1, 7, 0);
    int32_t epoch;
    int64_t end;
    log_end_for_epoch(partition_log(p), 6, &epoch, &end);
    assert_int_equal(epoch, 5);
    assert_int_equal(end, 4);
    struct log_read r = {.offset = 0, .end_offset = 6, .max_bytes = 65536, .at_least_one = true};
    assert_int_equal(log_read(partition_log(p), w.core, 0, &r, &w.out), TIDE_OK);
    tide_rope_clear(&r.bytes);
}

/* ---- cutting ---- */

static void test_a_cut(void **state)
{
    become(1, 4);
    take(0, 4, 5, 4, 4);
    truncate_to(7); /* inside of a batch */
    assert_int_equal(look().log_end, 6);
    assert_int_equal(partition_checkpoint(p), 4);
    assert_int_equal(look().high_watermark, 4);
    take(6, 4, 1, 4, 6);
    assert_int_equal(look().log_end, 8);
}

static void test_a_cut_waits_for_readers_and_for_the_write(void **state)
{
    become(0, 4);
    for (int32_t i = 0; i < 3; i++)
        assert_int_equal(produce(2 * i, 1).error, 0);
    grace_over = false;
    become(1, 5);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(partition_truncate(p, 2, &w.out), TIDE_AGAIN);
        pump();
    }
    assert_int_equal(look().log_end, 6); /* somebody may still read the epoch before */
    size_t len = batch_at(bytes, 6, 5, 2, -1, -1);
    struct partition_followed ret;
    const struct partition_follow a = message(5, 6, 6);
    assert_int_equal(follow_once(len, &a, &ret), TIDE_FULL);
    assert_int_equal(look().high_watermark, 0); /* not before the cut is done */
    grace_over = true;
    truncate_to(2);
    assert_int_equal(look().log_end, 2);

    w.hold_writes = true;
    len = batch_at(bytes, 2, 5, 2, -1, -1);
    assert_int_equal(follow(len, message(5, 2, 0)), TIDE_OK);
    partition_turn(p, &w.time, &w.out);
    assert_int_equal(w.out.op_count, 1);
    assert_int_equal(partition_truncate(p, 2, &w.out), TIDE_AGAIN);
    pump();
    assert_int_equal(look().log_end, 4); /* the write is in flight */
    w.hold_writes = false;
    truncate_to(2);
    assert_int_equal(look().log_end, 2);
    assert_int_equal(partition_checkpoint(p), 0);
    assert_int_equal(log_durable_end(partition_log(p)), 2);
}

static void test_a_cut_is_finished_before_the_next_role_begins(void **state)
{
    become(1, 4);
    take(0, 4, 5, 4, 2);
    w.hold_jobs = true;
    assert_int_equal(partition_truncate(p, 6, &w.out), TIDE_AGAIN);
    partition_turn(p, &w.time, &w.out);
    assert_true(become_as(0, 5, 7, -1));
    pump();
    assert_false(look().leader);
    assert_int_equal(produce(10, 1).error, KAFKA_NOT_LEADER_OR_FOLLOWER);
    w.hold_jobs = false;
    pump();
    assert_true(look().leader);
    assert_int_equal(look().log_end, 6);
    assert_int_equal(look().high_watermark, 2);
    assert_int_equal(produce(6, 1).base_offset, 6); /* the producer's state was cut back, too */
}

/* What is left behind of producers is that of the log as it was cut. */
static void test_a_cut_is_finished_before_the_release(void **state)
{
    struct partition_appended ret;
    become(1, 4);
    take(0, 4, 5, 4, 2);
    w.hold_jobs = true;
    assert_int_equal(partition_truncate(p, 6, &w.out), TIDE_AGAIN);
    partition_turn(p, &w.time, &w.out);
    for (int i = 0; i < 3; i++) {
        assert_false(partition_release(p, &w.out));
        pump();
    }
    stop();
    open_partition();
    assert_int_equal(look().log_end, 6);
    become(0, 5);
    pump();
    ret = produce(6, 1);
    assert_int_equal(ret.error, 0);
    assert_int_equal(ret.base_offset, 6);
    assert_false(ret.duplicate);
}

static void test_only_followers_are_cut(void **state)
{
    become(0, 4);
    assert_int_equal(produce(0, 1).error, 0);
    assert_int_equal(partition_truncate(p, 0, &w.out), TIDE_REFUSED);
}

static void test_an_unclean_epoch_begins_without_a_high_watermark(void **state)
{
    become(1, 4);
    take(0, 4, 5, 4, 10);
    assert_true(become_as(2, 5, 4, 5));
    assert_int_equal(look().high_watermark, 0);
    truncate_to(4);
    take(4, 5, 1, 5, 6);
    assert_int_equal(look().high_watermark, 6);
}

/* As a kill leaves it: nothing is closed in order. */
static void kill_and_open(void)
{
    while (!partition_release(p, &w.out))
        assert_true(step());
    partition_destroy(p);
    w.out.op_count = w.out.job_count = 0;
    open_partition();
}

/* The epoch that began uncleanly was over before this process was told of it. What it knows as committed is not any more, and may be
 * older than the cut; of a log that was agreed upon since, what lies before that epoch is. */
static void test_an_unclean_epoch_that_was_missed(void **state)
{
    become(1, 4);
    take(0, 4, 5, 4, 8);
    known_high = partition_checkpoint(p);
    assert_int_equal(known_high, 8);
    kill_and_open();
    assert_int_equal(look().high_watermark, 8);
    assert_true(become_as(2, 7, 4, 5));
    assert_int_equal(look().high_watermark, 0);
    truncate_to(4);
    take(4, 5, 3, 7, 6);
    assert_int_equal(look().high_watermark, 6);
    kill_and_open(); /* with the mark of the time before the cut */
    assert_int_equal(look().high_watermark, 8);
    assert_true(become_as(2, 8, 4, 5));
    assert_int_equal(look().high_watermark, 4);
    take(10, 8, 1, 8, 12);
    assert_int_equal(look().high_watermark, 12);
    assert_true(become_as(1, 9, 2, 5)); /* and of this one it has been told */
    assert_int_equal(look().high_watermark, 12);
    kill_and_open();
    assert_true(become_as(0, 10, 7, 5)); /* to whoever it may have served */
    assert_int_equal(look().high_watermark, 4);
}

/* It was elected from those who are in sync: nothing in its log is not committed but what came with the epoch. */
static void test_a_leader_that_missed_an_unclean_epoch(void **state)
{
    become(1, 4);
    take(0, 4, 5, 4, 8);
    known_high = partition_checkpoint(p);
    kill_and_open();
    assert_true(become_as(0, 7, 7, 5));
    assert_int_equal(look().high_watermark, 8);
}

/* ---- what the leader has no more ---- */

static int64_t first_at(int64_t offset)
{
    struct log_read r = {.offset = offset, .end_offset = INT64_MAX, .max_bytes = 65536, .at_least_one = true};
    uint8_t head[BATCH_HEADER];
    enum tide_status status;
    while ((status = log_read(partition_log(p), w.core, 0, &r, &w.out)) == TIDE_AGAIN) {
        struct disk_op op = w.out.ops[--w.out.op_count];
        struct disk_done done = {.id = op.id, .result = memory_fs_disk(w.disk, &op)};
        log_read_on_disk(&r, &done);
    }
    assert_int_equal(status, TIDE_OK);
    assert_true(r.bytes.len >= sizeof(head));
    tide_slice_copy(tide_rope_slice(&r.bytes, 0, sizeof(head)), head);
    tide_rope_clear(&r.bytes);
    return (int64_t)load_be64(head + BATCH_BASE_OFFSET);
}

static void test_gaps_of_a_compacted_log(void **state)
{
    become(1, 4);
    take(0, 4, 2, 4, 4);
    size_t len = batch_at(bytes, 10, 4, 2, -1, -1);
    len += batch_at(bytes + len, 20, 4, 3, -1, -1);
    struct partition_follow a = message(4, 10, 30);
    assert_int_equal(follow(len, a), TIDE_BAD); /* nobody said so */
    a.compacted = true;
    len = batch_at(bytes, 10, 4, 2, -1, -1);
    len += batch_at(bytes + len, 20, 4, 3, -1, -1);
    assert_int_equal(follow(len, a), TIDE_OK);
    pump();
    for (int killed = 0; killed < 3; killed++) {
        assert_int_equal(log_next_offset(partition_log(p)), 23);
        assert_int_equal(first_at(2), 2);
        assert_int_equal(first_at(4), 10);
        assert_int_equal(first_at(12), 20);
        if (killed == 0) {
            kill_and_open();
        } else if (killed == 1) {
            stop();
            open_partition();
        }
    }
    become(1, 4);
    take(23, 4, 1, 4, 25);
}

static void skip_to(int64_t offset, int32_t epoch)
{
    enum tide_status status = TIDE_AGAIN;
    for (int i = 0; status == TIDE_AGAIN && i < 50; i++) {
        status = partition_skip(p, offset, epoch, &w.out);
        pump();
    }
    assert_int_equal(status, TIDE_OK);
    assert_int_equal(look().log_end, offset);
    assert_int_equal(log_last_batch_epoch(partition_log(p)), epoch);
}

static void test_a_log_that_goes_on_elsewhere(void **state)
{
    static const struct {
        int batches;
        int64_t to;
    } cases[] = {{0, 5000}, {3, 5000}, {0, 5000000000000}, {3, 5000000000000}};
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        int64_t to = cases[i].to;
        if (i != 0) {
            teardown(state);
            setup(state);
        }
        become(1, 4);
        take(0, 2, cases[i].batches, 4, 0);
        skip_to(to, 3);
        for (int killed = 0; killed < 2; killed++) {
            kill_and_open();
            assert_int_equal(log_next_offset(partition_log(p)), to);
            assert_int_equal(log_last_batch_epoch(partition_log(p)), 3);
            become(1, 4);
        }
        struct partition_follow beat = message(4, to, to);
        beat.log_start = to;
        assert_int_equal(follow(0, beat), TIDE_OK);
        pump();
        assert_int_equal(look().log_start, to);
        take(to, 4, 2, 4, to + 2);
        assert_int_equal(first_at(to), to);
        kill_and_open();
        assert_int_equal(log_start_offset(partition_log(p)), to);
        assert_int_equal(log_next_offset(partition_log(p)), to + 4);
        assert_int_equal(first_at(to + 2), to + 2);
        become(1, 4);
        truncate_to(to + 2);
        assert_int_equal(look().log_end, to + 2);
    }
}

static void test_a_gap_that_is_far(void **state)
{
    become(1, 4);
    take(0, 4, 2, 4, 4);
    struct partition_follow a = message(4, 3000000000, 4000000000);
    a.compacted = true;
    size_t len = batch_at(bytes, 3000000000, 4, 2, -1, -1);
    assert_int_equal(follow(len, a), TIDE_OK);
    pump();
    assert_int_equal(look().log_end, 3000000002);
    assert_int_equal(first_at(4), 3000000000);
    kill_and_open();
    assert_int_equal(log_next_offset(partition_log(p)), 3000000002);
    assert_int_equal(first_at(4), 3000000000);
}

/* ---- producers ---- */

static void test_the_next_leader_knows_what_was_written(void **state)
{
    become(1, 4);
    take(0, 4, 3, 4, 6); /* sequences 0, 2 and 4, two records each */
    become(0, 5);
    struct partition_appended a = produce(4, 1); /* sent again to us */
    assert_int_equal(a.error, 0);
    assert_true(a.duplicate);
    assert_int_equal(a.base_offset, 4);
    assert_int_equal(produce(8, 1).error, KAFKA_NOT_LEADER_OR_FOLLOWER); /* what lies between may be on its way */
    w.time.now_ns += 2 * TIDE_NS_PER_S;
    assert_int_equal(produce(8, 1).error, KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER);
    a = produce(6, 1);
    assert_int_equal(a.error, 0);
    assert_false(a.duplicate);
    assert_int_equal(a.base_offset, 6);
}

static void test_what_was_cut_was_not_written(void **state)
{
    w.time.wall_ms = 1000000000000; /* long after 1970: nobody is silent since then */
    become(1, 4);
    take(0, 4, 3, 4, 2);
    become(2, 5);
    truncate_to(2);
    become(0, 6);
    struct partition_appended a = produce(2, 1);
    assert_false(a.duplicate);
    assert_int_equal(a.error, 0);
    assert_int_equal(a.base_offset, 2);
    a = produce(0, 1);
    assert_true(a.duplicate); /* what was not cut is known */
    assert_int_equal(a.base_offset, 0);
}

/* On a day long after 1970 nobody counts as silent since then. */
static void test_a_cut_makes_nobody_old(void **state)
{
    w.time.wall_ms = 1700000000000;
    become(1, 4);
    take(0, 4, 3, 4, 2);
    become(2, 5);
    truncate_to(2);
    become(0, 6);
    pump();
    assert_true(produce(0, 1).duplicate);
}

static void test_snapshots_beyond_a_cut_go(void **state)
{
    become(1, 4);
    take(0, 4, 3, 4, 2);
    stop(); /* writes a snapshot at 6 */
    open_partition();
    become(1, 4);
    truncate_to(2);
    struct producers *known = producers_create(16);
    assert_int_equal(snapshot_load_newest(known, &w.disk->fs, WORLD_DIR, INT64_MAX), 0);
    producers_destroy(known);
    become(0, 5);
    assert_false(produce(2, 1).duplicate);
}

/* ---- failure and recovery ---- */

static void test_a_failed_log_is_reported_once(void **state)
{
    become(1, 4);
    take(0, 4, 2, 4, 2);
    assert_false(partition_take_failed(p));
    size_t len = batch_at(bytes, 4, 4, 2, -1, -1);
    assert_int_equal(follow(len, message(4, 4, 2)), TIDE_OK);
    partition_turn(p, &w.time, &w.out);
    assert_int_equal(w.out.op_count, 1);
    struct disk_done done = {.id = w.out.ops[0].id, .result = -EIO};
    w.out.op_count = 0;
    partition_on_disk(p, &w.time, &done, &w.out);
    assert_true(partition_take_failed(p));
    assert_false(partition_take_failed(p));
    assert_true(look().failed);
    assert_int_equal(follow(len, message(4, 6, 2)), TIDE_IO);
    assert_int_equal(partition_truncate(p, 0, &w.out), TIDE_IO);
    assert_true(become_as(0, 5, 7, -1)); /* it cannot lead */
    pump();
    assert_false(look().leader);
    assert_true(look().failed);
    stop();
    open_partition(); /* back through recovery, as a follower */
    become(1, 6);
    assert_true(partition_is_follower(p));
    assert_true(look().log_end >= 4);
}

static void test_what_was_known_to_be_committed(void **state)
{
    become(1, 4);
    take(0, 4, 3, 4, 4);
    known_high = partition_checkpoint(p);
    assert_int_equal(known_high, 4);
    stop();
    open_partition();
    assert_false(partition_lost_committed(p));
    assert_int_equal(look().high_watermark, 4);
    become(0, 5);
    assert_int_equal(look().high_watermark, 4);
    stop();
    known_high = 9; /* more than there is */
    open_partition();
    assert_true(partition_lost_committed(p));
    assert_int_equal(look().high_watermark, 6);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_only_a_greater_partition_epoch_is_adopted),
        T(test_a_role_that_an_answer_told_before),
        T(test_a_follower_takes_nothing_from_clients),
        T(test_without_a_lease_a_leader_stands_still),
        T(test_a_deposed_leader),
        T(test_the_epochs_start_is_committed_later),
        T(test_min_insync_and_the_isr),
        T(test_batches_stay_as_they_are),
        T(test_the_high_watermark_follows),
        T(test_what_cannot_follow),
        T(test_what_comes_before_a_bad_batch_is_kept),
        T(test_the_start_follows),
        T(test_a_line_without_batches_does_not_stand_in_the_way),
        T(test_a_cut),
        T(test_a_cut_waits_for_readers_and_for_the_write),
        T(test_a_cut_is_finished_before_the_next_role_begins),
        T(test_a_cut_is_finished_before_the_release),
        T(test_only_followers_are_cut),
        T(test_an_unclean_epoch_begins_without_a_high_watermark),
        T(test_an_unclean_epoch_that_was_missed),
        T(test_a_leader_that_missed_an_unclean_epoch),
        T(test_gaps_of_a_compacted_log),
        T(test_a_log_that_goes_on_elsewhere),
        T(test_a_gap_that_is_far),
        T(test_the_next_leader_knows_what_was_written),
        T(test_what_was_cut_was_not_written),
        T(test_a_cut_makes_nobody_old),
        T(test_snapshots_beyond_a_cut_go),
        T(test_a_failed_log_is_reported_once),
        T(test_what_was_known_to_be_committed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
