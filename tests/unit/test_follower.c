/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a follower comes to agree with its leader, what it takes from it, and what it says it holds.
 */
#include "kafka/errors.h"
#include "replica/follower.h"
#include "unit.h"

enum { LEADER = 3, EPOCH = 6, RETRY = 50, START = 1000 };

static struct follower f;
static struct follower_log log_;
static struct follower_subscribe asked;

/* Subscribed, with a log of 20 whose last batch is of epoch 4, 12 of them committed. */
static void ask(void)
{
    log_ = (struct follower_log){.last_epoch = 4, .log_end = 20, .durable_end = 19, .high_watermark = 12};
    follower_init(&f, RETRY);
    follower_become(&f, START, LEADER, EPOCH, -1);
    follower_on_stream(&f, START, true);
    assert_true(follower_wants_subscribe(&f, START));
    follower_subscribe(&f, &log_, &asked);
    follower_check(&f, &log_);
}

static int setup(void **state)
{
    ask();
    return 0;
}

static struct follower_answer answer(void)
{
    return (struct follower_answer){.attempt = asked.attempt, .leader_epoch = EPOCH};
}

static void stream(uint32_t subscription)
{
    struct follower_answer a = answer();
    a.subscription = subscription;
    assert_int_equal(follower_on_answer(&f, START, &a, &log_, -1, -1), FOLLOWER_TAKE);
    assert_int_equal(f.state, FOLLOWER_STREAMING);
    follower_check(&f, &log_);
}

static void test_asks_when_it_can(void **state)
{
    follower_init(&f, RETRY);
    assert_false(follower_wants_subscribe(&f, START));
    follower_on_stream(&f, START, true);
    assert_false(follower_wants_subscribe(&f, START)); /* of whom? */
    follower_become(&f, START, LEADER, EPOCH, -1);
    assert_false(follower_wants_subscribe(&f, START)); /* another stream */
    assert_int_equal(follower_deadline_ns(&f), TIDE_NEVER);
    follower_on_stream(&f, START, true);
    assert_true(follower_wants_subscribe(&f, START));
    assert_int_equal(follower_deadline_ns(&f), START);
    ask();
    assert_int_equal(asked.leader_epoch, EPOCH);
    assert_int_equal(asked.last_epoch, 4);
    assert_int_equal(asked.log_end, 20);
    assert_false(follower_wants_subscribe(&f, START)); /* once */
}

static void test_only_the_last_attempt_is_answered(void **state)
{
    struct follower_answer a = answer();
    a.subscription = 5;
    a.attempt--;
    assert_int_equal(follower_on_answer(&f, START, &a, &log_, -1, -1), FOLLOWER_IGNORE);
    a.attempt++;
    a.leader_epoch--;
    assert_int_equal(follower_on_answer(&f, START, &a, &log_, -1, -1), FOLLOWER_IGNORE);
    a.leader_epoch++;
    assert_int_equal(follower_on_answer(&f, START, &a, &log_, -1, -1), FOLLOWER_TAKE);
    assert_int_equal(follower_on_answer(&f, START, &a, &log_, -1, -1), FOLLOWER_IGNORE); /* doubled */
    assert_int_equal(f.subscription, 5);
}

static void test_an_error_is_tried_again_later(void **state)
{
    struct follower_answer a = answer();
    a.error = KAFKA_UNKNOWN_LEADER_EPOCH;
    assert_int_equal(follower_on_answer(&f, START, &a, &log_, -1, -1), FOLLOWER_RESTART);
    assert_false(follower_wants_subscribe(&f, START + RETRY - 1));
    assert_true(follower_wants_subscribe(&f, START + RETRY));
    assert_int_equal(follower_deadline_ns(&f), START + RETRY);
}

/* ---- cutting (KIP-101, KIP-279) ---- */

static void test_where_it_is_cut(void **state)
{
    static const struct {
        int32_t epoch;
        int64_t end; /* as the leader says */
        int32_t own_epoch;
        int64_t own_end;
        enum follower_verdict verdict;
        int64_t cut;
    } cases[] = {
        {4, 15, 4, 20, FOLLOWER_SETTLE, 15},   /* the same epoch, we have more of it */
        {3, 18, 3, 17, FOLLOWER_SETTLE, 17},   /* an epoch before; ours ends earlier */
        {3, 14, 3, 17, FOLLOWER_SETTLE, 14},   /* ... later */
        {3, 14, 2, 16, FOLLOWER_SETTLE, 16},   /* one that we never saw: as far as ours goes, and ask again */
        {3, 30, 3, 12, FOLLOWER_SETTLE, 12},   /* exactly the high watermark */
        {4, 11, 4, 20, FOLLOWER_FAIL, 0},      /* below it */
        {2, 5, 2, 5, FOLLOWER_FAIL, 0},
        {-1, -1, -1, -1, FOLLOWER_FAIL, 0},    /* nothing in common */
        {4, 25, 4, 20, FOLLOWER_RESTART, 0},   /* that is no difference */
        {3, 25, 3, 25, FOLLOWER_SETTLE, 20},   /* lines without batches fall out, then it asks anew */
    };
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        struct follower_answer a;
        ask();
        a = answer();
        a.truncate = true;
        a.truncate_epoch = cases[i].epoch;
        a.truncate_end = cases[i].end;
        assert_int_equal(follower_on_answer(&f, START, &a, &log_, cases[i].own_epoch, cases[i].own_end), cases[i].verdict);
        follower_check(&f, &log_);
        if (cases[i].verdict == FOLLOWER_SETTLE) {
            assert_false(f.skips);
            assert_int_equal(f.settle_to, cases[i].cut);
            follower_on_settled(&f, START, true);
            assert_true(follower_wants_subscribe(&f, START)); /* at once */
        }
        if (cases[i].verdict == FOLLOWER_FAIL) {
            assert_int_equal(f.state, FOLLOWER_FAILED);
            assert_false(follower_wants_subscribe(&f, START + 10 * RETRY));
        }
    }
}

static void test_an_unclean_epoch_may_take_back(void **state)
{
    static const struct {
        int32_t unclean_epoch, truncate_epoch;
        bool cuts;
    } cases[] = {{-1, 2, false}, {6, 2, true}, {5, 2, true}, {3, 2, true}, {2, 2, false}, {6, -1, true}};
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        struct follower_answer a;
        ask();
        follower_become(&f, START, LEADER, EPOCH, cases[i].unclean_epoch);
        a = answer();
        a.truncate = true;
        a.truncate_epoch = cases[i].truncate_epoch;
        a.truncate_end = 5;
        assert_int_equal(follower_on_answer(&f, START, &a, &log_, cases[i].truncate_epoch, 5), cases[i].cuts ? FOLLOWER_SETTLE : FOLLOWER_FAIL);
        if (cases[i].cuts)
            assert_int_equal(f.settle_to, cases[i].truncate_epoch < 0 ? 0 : 5);
    }
}

/* The place is another partition's now: what that one before was told says nothing about it. */
static void test_an_unclean_epoch_of_somebody_else(void **state)
{
    struct follower_answer a;
    follower_become(&f, START, LEADER, EPOCH + 1, EPOCH + 1);
    follower_resign(&f);
    follower_become(&f, START, LEADER, EPOCH, -1);
    follower_on_stream(&f, START, true);
    follower_subscribe(&f, &log_, &asked);
    a = answer();
    a.truncate = true;
    a.truncate_epoch = 2;
    a.truncate_end = 5;
    assert_int_equal(follower_on_answer(&f, START, &a, &log_, 2, 5), FOLLOWER_FAIL);
}

static void test_it_is_not_cut_below_its_start(void **state)
{
    struct follower_answer a = answer();
    a.truncate = true;
    a.truncate_epoch = 4;
    a.truncate_end = 13;
    log_.log_start = 15;
    assert_int_equal(follower_on_answer(&f, START, &a, &log_, 4, 20), FOLLOWER_SETTLE);
    assert_int_equal(f.settle_to, 15);
}

static void test_a_cut_that_fails_and_one_that_outlives_its_stream(void **state)
{
    struct follower_answer a = answer();
    a.truncate = true;
    a.truncate_epoch = 4;
    a.truncate_end = 15;
    assert_int_equal(follower_on_answer(&f, START, &a, &log_, 4, 20), FOLLOWER_SETTLE);
    follower_on_stream(&f, START, false);
    assert_int_equal(f.state, FOLLOWER_TRUNCATING);
    follower_on_settled(&f, START, false);
    assert_int_equal(f.state, FOLLOWER_IDLE);
    assert_false(follower_wants_subscribe(&f, START + RETRY));
    follower_on_stream(&f, START + RETRY, true);
    assert_true(follower_wants_subscribe(&f, START + RETRY));
}

static void test_skipping(void **state)
{
    static const struct {
        int64_t to;
        int32_t epoch;
        enum follower_verdict verdict;
    } cases[] = {{100, 5, FOLLOWER_SETTLE}, {20, 5, FOLLOWER_RESTART}, {100, -1, FOLLOWER_RESTART}, {100, EPOCH + 1, FOLLOWER_RESTART}};
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        struct follower_answer a;
        ask();
        a = answer();
        a.skip = true;
        a.skip_to = cases[i].to;
        a.skip_epoch = cases[i].epoch;
        assert_int_equal(follower_on_answer(&f, START, &a, &log_, -1, -1), cases[i].verdict);
        if (cases[i].verdict != FOLLOWER_SETTLE)
            continue;
        assert_true(f.skips);
        assert_int_equal(f.settle_to, cases[i].to);
        assert_int_equal(f.settle_epoch, cases[i].epoch);
    }
}

/* ---- streaming ---- */

static void test_what_is_taken(void **state)
{
    static const struct {
        uint32_t subscription;
        int32_t epoch;
        int64_t base;
        uint32_t len;
        bool compacted;
        enum follower_verdict verdict;
    } cases[] = {
        {5, EPOCH, 20, 100, false, FOLLOWER_TAKE},
        {4, EPOCH, 20, 100, false, FOLLOWER_IGNORE},
        {5, EPOCH - 1, 20, 100, false, FOLLOWER_IGNORE},
        {5, EPOCH, 19, 100, false, FOLLOWER_IGNORE},  /* doubled */
        {5, EPOCH, 21, 100, false, FOLLOWER_RESTART}, /* a gap */
        {5, EPOCH, 21, 100, true, FOLLOWER_TAKE},     /* of a compacted log */
        {5, EPOCH, 0, 0, false, FOLLOWER_TAKE},       /* a BEAT */
        {4, EPOCH, 0, 0, false, FOLLOWER_IGNORE},
    };
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        ask();
        stream(5);
        assert_int_equal(follower_on_append(&f, START, cases[i].subscription, cases[i].epoch, cases[i].base, cases[i].len, cases[i].compacted, &log_),
                         cases[i].verdict);
        follower_check(&f, &log_);
        if (cases[i].verdict == FOLLOWER_RESTART)
            assert_true(follower_wants_subscribe(&f, START));
    }
    ask();
    assert_int_equal(follower_on_append(&f, START, 0, EPOCH, 20, 100, false, &log_), FOLLOWER_IGNORE); /* not granted */
}

static void test_what_is_acknowledged(void **state)
{
    struct follower_ack a;
    assert_false(follower_ack(&f, &log_, &a)); /* nothing before the logs agree */
    stream(5);
    assert_true(follower_ack(&f, &log_, &a)); /* what it came with */
    assert_int_equal(a.subscription, 5);
    assert_int_equal(a.leader_epoch, EPOCH);
    assert_int_equal(a.log_end, 20);
    assert_int_equal(a.durable_end, 19);
    assert_false(follower_ack(&f, &log_, &a));
    log_.durable_end = 20;
    assert_true(follower_ack(&f, &log_, &a));
    assert_int_equal(a.durable_end, 20);
    assert_false(follower_ack(&f, &log_, &a));
    assert_int_equal(follower_on_append(&f, START, 5, EPOCH, 0, 0, false, &log_), FOLLOWER_TAKE);
    assert_true(follower_ack(&f, &log_, &a)); /* a BEAT is answered */
    assert_false(follower_ack(&f, &log_, &a));
    follower_on_bad(&f, START);
    log_.log_end = 21;
    assert_false(follower_ack(&f, &log_, &a)); /* the subscription is given up */
    assert_false(follower_wants_subscribe(&f, START + RETRY - 1));
    assert_true(follower_wants_subscribe(&f, START + RETRY));
}

/* ---- roles ---- */

static void test_another_role_ends_it(void **state)
{
    stream(5);
    follower_become(&f, START, LEADER, EPOCH, -1); /* a change of the ISR */
    assert_int_equal(f.state, FOLLOWER_STREAMING);
    follower_become(&f, START, LEADER + 1, EPOCH + 1, -1);
    assert_int_equal(f.state, FOLLOWER_IDLE);
    assert_false(f.has_stream);
    follower_on_stream(&f, START, true);
    follower_subscribe(&f, &log_, &asked);
    assert_int_equal(asked.leader_epoch, EPOCH + 1);
    assert_int_equal(asked.attempt, 2);
    follower_resign(&f);
    assert_int_equal(f.state, FOLLOWER_IDLE);
    follower_on_stream(&f, START, true);
    assert_false(follower_wants_subscribe(&f, START));
}

static void test_a_stream_that_breaks(void **state)
{
    stream(5);
    follower_on_stream(&f, START + 1, false);
    assert_int_equal(f.state, FOLLOWER_IDLE);
    assert_false(follower_wants_subscribe(&f, START + 1));
    follower_on_stream(&f, START + 2, true);
    assert_true(follower_wants_subscribe(&f, START + 2));
}

static void test_a_log_that_fails(void **state)
{
    struct follower_ack a;
    stream(5);
    follower_on_failed(&f);
    follower_check(&f, &log_);
    assert_false(follower_ack(&f, &log_, &a));
    follower_become(&f, START, LEADER + 1, EPOCH + 1, -1);
    follower_on_stream(&f, START, true);
    assert_int_equal(f.state, FOLLOWER_FAILED);
    assert_false(follower_wants_subscribe(&f, START));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_asks_when_it_can, setup),
        cmocka_unit_test_setup(test_only_the_last_attempt_is_answered, setup),
        cmocka_unit_test_setup(test_an_error_is_tried_again_later, setup),
        cmocka_unit_test_setup(test_where_it_is_cut, setup),
        cmocka_unit_test_setup(test_an_unclean_epoch_may_take_back, setup),
        cmocka_unit_test_setup(test_an_unclean_epoch_of_somebody_else, setup),
        cmocka_unit_test_setup(test_it_is_not_cut_below_its_start, setup),
        cmocka_unit_test_setup(test_a_cut_that_fails_and_one_that_outlives_its_stream, setup),
        cmocka_unit_test_setup(test_skipping, setup),
        cmocka_unit_test_setup(test_what_is_taken, setup),
        cmocka_unit_test_setup(test_what_is_acknowledged, setup),
        cmocka_unit_test_setup(test_another_role_ends_it, setup),
        cmocka_unit_test_setup(test_a_stream_that_breaks, setup),
        cmocka_unit_test_setup(test_a_log_that_fails, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
