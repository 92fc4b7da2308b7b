/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a leader decides about its followers, and what the core of a stream makes of their
 * acknowledgements. Broker 10 leads; 11, 12 and 13 follow, as members 1, 2 and 3.
 */
#include "kafka/errors.h"
#include "replica/leader.h"
#include "replica/subscription.h"
#include "unit.h"

enum { EPOCH = 4, PARTITION_EPOCH = 7, LAG = 1000, RETRY = 50, START = 5000 };

static struct members members;
static struct watermark marks;
static struct leader l;
static struct leader_out out;
static bool grace_over;
static uint32_t graces;

static uint64_t grace_begin(void *self)
{
    return ++graces;
}

static bool grace_passed(void *self, uint64_t token)
{
    assert_int_equal(token, graces);
    return grace_over;
}

static const struct tide_grace grace = {.begin = grace_begin, .passed = grace_passed};
static struct leader_world world = {.members = &members, .marks = &marks, .grace = &grace, .has_lease = true, .started = true};

static struct mail_role role_with(uint32_t isr_count)
{
    struct mail_role role = {.self = 10, .leader = 10, .leader_epoch = EPOCH, .partition_epoch = PARTITION_EPOCH, .replica_count = 4,
                             .isr_count = isr_count, .unclean_epoch = -1};
    for (int i = 0; i < 4; i++) {
        role.replicas[i] = role.isr[i] = 10 + i;
        role.broker_epochs[i] = 100 + i;
    }
    return role;
}

/* Leads with the first `isr_count` in sync; the log has 20 batches of one record, 15 are committed. */
static void lead_with(uint32_t isr_count)
{
    struct mail_role role = role_with(isr_count);
    memset(&marks, 0, sizeof(marks));
    memset(&out, 0, sizeof(out));
    grace_over = false;
    world.has_lease = world.started = true;
    leader_init(&l, LAG, RETRY);
    members_begin(&members, &role);
    watermark_begin(&marks, EPOCH, 0, 20, 20, 15, 4, members_isr(&members, &role));
    watermark_configure(&marks, 2, true);
    leader_become(&l, &world, START, EPOCH, PARTITION_EPOCH, false, &out);
    leader_check(&l, &world);
}

static int setup(void **state)
{
    lead_with(3);
    return 0;
}

static struct leader_subscribe request(int32_t broker)
{
    return (struct leader_subscribe){.ask = &out, .core = 2, .broker = broker, .broker_epoch = 90 + broker, .leader_epoch = EPOCH,
                                     .last_epoch = 3, .log_end = 18, .own_epoch = 3, .own_end = 20};
}

static void subscribe(const struct leader_subscribe *s)
{
    memset(&out, 0, sizeof(out));
    leader_on_subscribe(&l, &world, s, &out);
    leader_check(&l, &world);
}

/* An open subscription that acknowledged up to there. */
static uint32_t subscribed(int32_t broker, int64_t log_end, int64_t durable_end)
{
    struct leader_subscribe s = request(broker);
    subscribe(&s);
    assert_int_equal(out.answer_count, 1);
    assert_int_equal(out.answers[0].error, 0);
    (void)watermark_acknowledged(&marks, out.answers[0].replica, log_end, durable_end);
    return out.answers[0].subscription;
}

static void turn(uint64_t now)
{
    memset(&out, 0, sizeof(out));
    leader_turn(&l, &world, now, &out);
    leader_check(&l, &world);
}

static void answered(uint64_t now, int16_t error, int32_t partition_epoch, uint32_t isr)
{
    const struct leader_isr_answer a = {.error = error, .leader_epoch = EPOCH, .partition_epoch = partition_epoch, .isr = isr};
    leader_on_isr_answer(&l, &world, now, &a);
    leader_check(&l, &world);
}

/* ---- subscriptions ---- */

static void test_who_may_subscribe(void **state)
{
    static const struct {
        int32_t broker, leader_epoch;
        int64_t broker_epoch;
        int16_t error;
    } cases[] = {
        {11, EPOCH, 101, 0},
        {11, EPOCH, 102, 0}, /* a newer incarnation than control told of */
        {11, EPOCH, 100, KAFKA_STALE_BROKER_EPOCH},
        {11, EPOCH - 1, 101, KAFKA_FENCED_LEADER_EPOCH},
        {11, EPOCH + 1, 101, KAFKA_UNKNOWN_LEADER_EPOCH},
        {10, EPOCH, 100, KAFKA_REPLICA_NOT_AVAILABLE}, /* ourselves */
        {77, EPOCH, 100, KAFKA_REPLICA_NOT_AVAILABLE},
    };
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        struct leader_subscribe s = request(cases[i].broker);
        lead_with(3);
        s.leader_epoch = cases[i].leader_epoch;
        s.broker_epoch = cases[i].broker_epoch;
        subscribe(&s);
        assert_int_equal(out.answer_count, 1);
        assert_ptr_equal(out.answers[0].ask, &out);
        assert_int_equal(out.answers[0].error, cases[i].error);
        assert_int_equal(out.answers[0].subscription != 0, cases[i].error == 0);
    }
}

static void test_where_the_logs_part(void **state)
{
    static const struct {
        int32_t last_epoch;
        int64_t log_end;
        int32_t own_epoch;
        int64_t own_end;
        bool truncate;
    } cases[] = {
        {-1, 0, -1, -1, false}, /* empty: agrees with everybody */
        {3, 18, 3, 20, false},
        {3, 20, 3, 20, false},
        {3, 21, 3, 20, true}, /* it has more of the epoch than there was */
        {3, 18, 2, 12, true}, /* an epoch that we never saw */
        {3, 18, 2, 19, true}, /* and although we have as much */
        {-1, 5, -1, -1, true},
    };
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        struct leader_subscribe s = request(11);
        lead_with(3);
        s.last_epoch = cases[i].last_epoch;
        s.log_end = cases[i].log_end;
        s.own_epoch = cases[i].own_epoch;
        s.own_end = cases[i].own_end;
        subscribe(&s);
        assert_int_equal(out.answers[0].truncate, cases[i].truncate);
        assert_int_equal(out.answers[0].subscription == 0, cases[i].truncate);
        if (cases[i].truncate) {
            assert_int_equal(out.answers[0].truncate_epoch, cases[i].own_epoch);
            assert_int_equal(out.answers[0].truncate_end, cases[i].own_end);
        }
    }
}

/* Our log ended at 20 when the role began; what a follower has of the epoch beyond that came from a log that failed since. */
static void test_what_came_from_a_log_that_failed(void **state)
{
    struct leader_subscribe s = request(11);
    s.last_epoch = s.own_epoch = EPOCH;
    s.log_end = 23;
    s.own_end = 25; /* written again in the meantime, with other records */
    subscribe(&s);
    assert_true(out.answers[0].truncate);
    assert_int_equal(out.answers[0].truncate_epoch, EPOCH);
    assert_int_equal(out.answers[0].truncate_end, 20);
    s.log_end = 20; /* it was cut */
    subscribe(&s);
    assert_false(out.answers[0].truncate);
    assert_int_not_equal(out.answers[0].subscription, 0);
    s.log_end = 23; /* it has them from us now, and comes again */
    subscribe(&s);
    leader_on_closed(&l, &world, 1, l.followers[1].number, &out);
    assert_int_equal(out.answer_count, 1);
    assert_false(out.answers[0].truncate);
    struct leader_subscribe other = request(12); /* nothing of the epoch: no matter */
    subscribe(&other);
    assert_false(out.answers[0].truncate);
}

static void test_what_is_gone_is_skipped(void **state)
{
    struct leader_subscribe s = request(11);
    s.own_start = 19;
    s.own_start_epoch = 3;
    subscribe(&s);
    assert_true(out.answers[0].skip);
    assert_int_equal(out.answers[0].skip_to, 19);
    assert_int_equal(out.answers[0].skip_epoch, 3);
    assert_int_equal(out.answers[0].subscription, 0);
    s.log_end = 19;
    subscribe(&s);
    assert_false(out.answers[0].skip);
    assert_int_not_equal(out.answers[0].subscription, 0);
}

static void test_the_old_one_is_closed_before_the_new_is_granted(void **state)
{
    uint32_t first = subscribed(11, 18, 18);
    struct leader_subscribe s = request(11);
    struct leader_subscribe again = request(11);
    assert_int_equal(watermark_counted_of(&marks, 1), 18);
    subscribe(&s);
    assert_int_equal(out.answer_count, 0);
    assert_int_equal(out.close_count, 1);
    assert_int_equal(out.closes[0].core, 2);
    assert_int_equal(out.closes[0].replica, 1);
    assert_int_equal(out.closes[0].subscription, first);
    assert_int_equal(watermark_counted_of(&marks, 1), 0); /* at once */
    (void)watermark_acknowledged(&marks, 1, 19, 19);      /* the old core still writes */
    assert_int_equal(watermark_counted_of(&marks, 1), 0);
    again.ask = &l; /* the follower lost patience */
    subscribe(&again);
    assert_int_equal(out.close_count, 0);
    assert_int_equal(out.answer_count, 1);
    assert_ptr_equal(out.answers[0].ask, s.ask);
    assert_int_equal(out.answers[0].error, KAFKA_REQUEST_TIMED_OUT);
    memset(&out, 0, sizeof(out));
    leader_on_closed(&l, &world, 1, first + 1, &out); /* not that one */
    assert_int_equal(out.answer_count, 0);
    leader_on_closed(&l, &world, 1, first, &out);
    assert_int_equal(out.answer_count, 1);
    assert_ptr_equal(out.answers[0].ask, &l);
    assert_true(out.answers[0].subscription > first);
    assert_int_equal(watermark_counted_of(&marks, 1), 0); /* what the old one held says nothing */
    assert_true(leader_is_open(&l, 1, out.answers[0].subscription));
    assert_false(leader_is_open(&l, 1, first));
}

static void test_a_stream_that_is_gone(void **state)
{
    uint32_t first = subscribed(11, 18, 18);
    leader_on_closed(&l, &world, 1, first, &out);
    assert_int_equal(watermark_counted_of(&marks, 1), 18); /* it holds it still */
    assert_int_equal(subscribed(11, 0, 0), first + 1);
    assert_int_equal(out.close_count, 0);
    assert_int_equal(watermark_counted_of(&marks, 1), 0);
}

static void test_a_newer_incarnation_ends_the_older(void **state)
{
    struct mail_role role = role_with(3);
    (void)subscribed(11, 18, 18);
    role.broker_epochs[1] = 200;
    members_update(&members, &role);
    memset(&out, 0, sizeof(out));
    leader_become(&l, &world, START, EPOCH, PARTITION_EPOCH + 1, false, &out);
    assert_int_equal(out.close_count, 1);
    assert_int_equal(watermark_counted_of(&marks, 1), 0);
    struct leader_subscribe s = request(11);
    subscribe(&s);
    assert_int_equal(out.answers[0].error, KAFKA_STALE_BROKER_EPOCH);
}

static void test_a_new_epoch_and_the_end_of_the_role(void **state)
{
    for (int resign = 0; resign < 2; resign++) {
        struct leader_subscribe s = request(12);
        lead_with(3);
        (void)subscribed(11, 18, 18);
        (void)subscribed(12, 18, 18);
        subscribe(&s); /* waits */
        memset(&out, 0, sizeof(out));
        if (resign)
            leader_resign(&l, &world, &out);
        else
            leader_become(&l, &world, START, EPOCH + 1, PARTITION_EPOCH + 1, false, &out);
        assert_int_equal(out.close_count, 1); /* of 11: that of 12 is being closed */
        assert_int_equal(out.answer_count, 1);
        assert_int_equal(out.answers[0].error, resign ? KAFKA_NOT_LEADER_OR_FOLLOWER : KAFKA_FENCED_LEADER_EPOCH);
        leader_check(&l, &world);
        s.leader_epoch = EPOCH + !resign;
        subscribe(&s);
        if (resign)
            assert_int_equal(out.answers[0].error, KAFKA_NOT_LEADER_OR_FOLLOWER);
        else
            assert_int_equal(out.answer_count, 0); /* the subscription of the epoch before is not closed yet */
    }
}

/* ---- who leaves ---- */

static void test_members_that_lag_leave(void **state)
{
    (void)subscribed(11, 18, 18);
    watermark_caught_up(&marks, 1, START + 400);
    turn(START + LAG);
    assert_false(out.proposes);
    assert_int_equal(leader_deadline_ns(&l, &world), START + LAG + 1);
    turn(START + LAG + 1); /* 12 was never heard of */
    assert_true(out.proposes);
    assert_int_equal(out.proposal.leader_epoch, EPOCH);
    assert_int_equal(out.proposal.partition_epoch, PARTITION_EPOCH);
    assert_int_equal(out.proposal.count, 2);
    assert_int_equal(out.proposal.isr[0], 10);
    assert_int_equal(out.proposal.isr[1], 11);
    assert_int_equal(out.proposal.broker_epochs[1], 101);
    (void)watermark_acknowledged(&marks, 1, 20, 20);
    assert_false(watermark_evaluate(&marks)); /* it counts until that is committed */
    turn(START + 2 * LAG);
    assert_false(out.proposes); /* one at a time */
    answered(START + LAG + 5, 0, PARTITION_EPOCH + 1, 3);
    assert_true(watermark_evaluate(&marks));
    assert_int_equal(watermark_high(&marks), 20);
}

static void test_nothing_without_lease_or_before_the_start(void **state)
{
    world.has_lease = false;
    turn(START + 10 * LAG);
    assert_false(out.proposes);
    world.has_lease = true;
    world.started = false;
    turn(START + 10 * LAG);
    assert_false(out.proposes);
    world.started = true;
    turn(START + 10 * LAG);
    assert_true(out.proposes);
}

/* ---- who joins ---- */

static void test_a_newcomer_joins(void **state)
{
    static const struct {
        int64_t log_end, durable_end, epoch_start;
        bool near, joins;
    } cases[] = {
        {15, 15, 10, true, true},   /* the high watermark is enough */
        {15, 14, 10, true, false},  /* in memory: waited for */
        {14, 14, 10, false, false},
        {18, 18, 19, false, false}, /* less than the epoch began with */
        {19, 19, 19, true, true},
    };
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        lead_with(2);
        marks.epoch_start = cases[i].epoch_start;
        (void)subscribed(11, 20, 20);
        (void)subscribed(13, cases[i].log_end, cases[i].durable_end);
        turn(START);
        assert_false(out.proposes); /* a grace period first */
        assert_int_equal(l.isr_state, cases[i].near ? LEADER_GRACE : LEADER_STABLE);
        assert_int_equal(marks.proposed_isr, cases[i].near ? 11 : 0); /* but it counts already */
        grace_over = true;
        turn(START + 1);
        assert_int_equal(out.proposes, cases[i].joins);
        if (!cases[i].joins)
            continue;
        assert_int_equal(out.proposal.count, 3);
        assert_int_equal(out.proposal.isr[2], 13);
        assert_int_equal(out.proposal.broker_epochs[2], 103);
        answered(START + 2, 0, PARTITION_EPOCH + 1, 11);
        assert_int_equal(marks.committed_isr, 11);
        assert_int_equal(l.partition_epoch, PARTITION_EPOCH + 1);
    }
}

/* Whoever acknowledged nothing for too long would leave as soon as it had joined. */
static void test_a_newcomer_that_lags_waits(void **state)
{
    lead_with(2);
    marks.epoch_start = 0;
    (void)subscribed(11, 20, 20);
    (void)subscribed(12, 20, 20);
    watermark_caught_up(&marks, 1, START + 3 * LAG);
    turn(START + 3 * LAG);
    assert_int_equal(l.isr_state, LEADER_STABLE);
    watermark_caught_up(&marks, 2, START + 2 * LAG);
    turn(START + 3 * LAG);
    assert_int_equal(l.isr_state, LEADER_GRACE);
}

static void test_the_second_look(void **state)
{
    lead_with(2);
    (void)subscribed(11, 20, 20);
    marks.epoch_start = 0;
    (void)subscribed(12, 16, 16);
    turn(START);
    assert_int_equal(l.isr_state, LEADER_GRACE);
    struct leader_subscribe s = request(12); /* it comes back, with who knows what */
    s.broker_epoch = 300;
    subscribe(&s);
    grace_over = true;
    turn(START + 1);
    assert_false(out.proposes);
    assert_int_equal(l.isr_state, LEADER_STABLE);
    assert_int_equal(marks.proposed_isr, 0);
}

static void test_a_newcomer_is_not_waited_for_for_ever(void **state)
{
    lead_with(2);
    (void)subscribed(11, 20, 20);
    marks.epoch_start = 0;
    (void)subscribed(12, 16, 10);
    turn(START);
    grace_over = true;
    turn(START + RETRY - 1);
    assert_int_equal(l.isr_state, LEADER_GRACE);
    turn(START + RETRY);
    assert_int_equal(l.isr_state, LEADER_STABLE);
    turn(START + RETRY + 1);
    assert_int_equal(l.isr_state, LEADER_STABLE); /* held back for a while */
    assert_int_equal(leader_deadline_ns(&l, &world), START + 2 * RETRY);
    turn(START + 2 * RETRY);
    assert_int_equal(l.isr_state, LEADER_GRACE);
}

static void test_answers_of_control(void **state)
{
    static const struct {
        int16_t error;
        enum leader_isr_state state;
        bool counts, again;
    } cases[] = {
        {KAFKA_INELIGIBLE_REPLICA, LEADER_STABLE, false, false},
        {KAFKA_OPERATION_NOT_ATTEMPTED, LEADER_STABLE, false, false},
        {KAFKA_FENCED_LEADER_EPOCH, LEADER_LOST, true, false},
        {KAFKA_NEW_LEADER_ELECTED, LEADER_LOST, true, false},
        {KAFKA_INVALID_UPDATE_VERSION, LEADER_LOST, true, false},
        {KAFKA_INVALID_REQUEST, LEADER_LOST, true, false},
        {KAFKA_UNKNOWN_TOPIC_ID, LEADER_LOST, true, false},
        {KAFKA_UNKNOWN_TOPIC_OR_PARTITION, LEADER_LOST, true, false},
        {KAFKA_REQUEST_TIMED_OUT, LEADER_PENDING, true, true},
        {KAFKA_NOT_CONTROLLER, LEADER_PENDING, true, true},
        {KAFKA_UNKNOWN_SERVER_ERROR, LEADER_PENDING, true, true},
    };
    grace_over = true;
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        lead_with(2);
        grace_over = true;
        marks.epoch_start = 0;
        (void)subscribed(11, 20, 20);
        (void)subscribed(12, 20, 20);
        turn(START);
        assert_true(out.proposes);
        answered(START, cases[i].error, -1, 0);
        assert_int_equal(l.isr_state, cases[i].state);
        assert_int_equal(marks.proposed_isr != 0, cases[i].counts);
        turn(START + RETRY - 1);
        assert_false(out.proposes);
        turn(START + RETRY);
        assert_int_equal(out.proposes, cases[i].again || cases[i].state == LEADER_STABLE);
        if (out.proposes)
            assert_int_equal(out.proposal.count, 3);
    }
}

static void test_a_role_wins_over_what_is_pending(void **state)
{
    lead_with(2);
    grace_over = true;
    marks.epoch_start = 0;
    (void)subscribed(11, 20, 20);
    (void)subscribed(12, 20, 20);
    turn(START);
    assert_true(out.proposes);
    watermark_commit_isr(&marks, 3); /* partition_become */
    leader_become(&l, &world, START, EPOCH, PARTITION_EPOCH + 1, false, &out);
    leader_check(&l, &world);
    turn(START + 1);
    assert_int_equal(l.isr_state, LEADER_PENDING);
    assert_false(out.proposes); /* the first letter is still out */
    answered(START + 2, KAFKA_INVALID_UPDATE_VERSION, -1, 0); /* and is not about this proposal */
    assert_int_equal(l.isr_state, LEADER_PENDING);
    turn(START + 3);
    assert_true(out.proposes);
    assert_int_equal(out.proposal.partition_epoch, PARTITION_EPOCH + 1);
    answered(START + 4, 0, PARTITION_EPOCH + 1, 3); /* not newer than what the role said */
    assert_int_equal(l.partition_epoch, PARTITION_EPOCH + 1);
}

static void test_an_unclean_leader_reports_itself(void **state)
{
    lead_with(1);
    marks.epoch_start = 0;
    (void)subscribed(11, 20, 20);
    memset(&out, 0, sizeof(out));
    leader_become(&l, &world, START, EPOCH, PARTITION_EPOCH + 1, true, &out);
    turn(START + 1);
    assert_true(out.proposes);
    assert_false(out.proposal.recovering);
    assert_int_equal(out.proposal.count, 1); /* nobody joins before */
    answered(START + 2, 0, PARTITION_EPOCH + 2, 1);
    assert_false(l.recovering);
    turn(START + 3);
    assert_int_equal(l.isr_state, LEADER_GRACE);
}

/* ---- at the core of the stream ---- */

static void test_acknowledgements(void **state)
{
    static const struct {
        uint32_t number;
        int32_t leader_epoch;
        int64_t broker_epoch, log_end, durable_end;
        enum subscription_verdict verdict;
    } cases[] = {
        {9, EPOCH, 101, 18, 17, SUBSCRIPTION_MOVED},
        {8, EPOCH, 101, 18, 17, SUBSCRIPTION_OLD},
        {9, EPOCH - 1, 101, 18, 17, SUBSCRIPTION_OLD},
        {9, EPOCH, 100, 18, 17, SUBSCRIPTION_OLD},
        {9, EPOCH, 101, 0, 0, SUBSCRIPTION_OLD},
        {9, EPOCH, 101, 21, 17, SUBSCRIPTION_WRONG}, /* more than we have */
        {9, EPOCH, 101, 17, 18, SUBSCRIPTION_WRONG},
    };
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        struct subscription s;
        struct subscription_ack a = {.subscription = cases[i].number, .leader_epoch = cases[i].leader_epoch, .broker_epoch = cases[i].broker_epoch,
                                     .log_end = cases[i].log_end, .durable_end = cases[i].durable_end, .credit = 500};
        lead_with(3);
        watermark_listen(&marks, 1);
        subscription_open(&s, &marks, 1, 9, EPOCH, 101, 100);
        assert_int_equal(subscription_on_ack(&s, &a), cases[i].verdict);
        bool moved = cases[i].verdict == SUBSCRIPTION_MOVED;
        assert_int_equal(watermark_counted_of(&marks, 1), moved ? 17 : 0);
        assert_int_equal(watermark_held_of(&marks, 1), moved ? 18 : 0);
        subscription_close(&s);
        a = (struct subscription_ack){.subscription = 9, .leader_epoch = EPOCH, .broker_epoch = 101, .log_end = 20, .durable_end = 20};
        assert_int_equal(subscription_on_ack(&s, &a), SUBSCRIPTION_OLD); /* B1 */
    }
}

static void test_marks_of_another_epoch_are_not_written(void **state)
{
    struct subscription s;
    struct subscription_ack a = {.subscription = 9, .leader_epoch = EPOCH, .broker_epoch = 101, .log_end = 18, .durable_end = 18};
    subscription_open(&s, &marks, 1, 9, EPOCH, 101, 100);
    watermark_begin(&marks, EPOCH + 1, 0, 20, 20, 15, 4, 15);
    assert_int_equal(subscription_on_ack(&s, &a), SUBSCRIPTION_OLD);
}

static void test_caught_up_as_of(void **state)
{
    static const struct {
        uint64_t sent_ns; /* 0: an acknowledgement */
        int64_t log_end;
        uint64_t caught_up_ns;
    } steps[] = {
        {100, 10, 0}, {0, 9, 0},   {0, 10, 100},               /* reached */
        {200, 11, 100}, {300, 12, 100}, {400, 13, 100}, {0, 11, 200}, /* the oldest */
        {0, 12, 200}, /* the one between was not kept */
        {0, 13, 400}, {0, 13, 400}, {500, 13, 400}, {0, 13, 500}, /* idle: a BEAT and its answer */
    };
    struct subscription s;
    uint32_t bytes = 0;
    watermark_listen(&marks, 1);
    subscription_open(&s, &marks, 1, 9, EPOCH, 101, 100);
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(steps); i++) {
        struct subscription_ack a = {.subscription = 9, .leader_epoch = EPOCH, .broker_epoch = 101, .log_end = steps[i].log_end,
                                     .durable_end = steps[i].log_end};
        if (steps[i].sent_ns != 0)
            subscription_on_sent(&s, steps[i].sent_ns, steps[i].log_end, 7);
        else
            (void)subscription_on_ack(&s, &a);
        bytes += steps[i].sent_ns != 0 ? 7 : 0;
        subscription_check(&s);
        assert_int_equal(tide_pub64_peek(&marks.acknowledged[1].caught_up_ns), steps[i].caught_up_ns);
    }
    assert_int_equal(subscription_room(&s), 100 - bytes);
}

static void test_credit_only_rises(void **state)
{
    struct subscription s;
    struct subscription_ack a = {.subscription = 9, .leader_epoch = EPOCH, .broker_epoch = 101, .credit = 50};
    subscription_open(&s, &marks, 1, 9, EPOCH, 101, 100);
    (void)subscription_on_ack(&s, &a); /* an old one */
    assert_int_equal(subscription_room(&s), 100);
    subscription_on_sent(&s, 1, 20, 120); /* the last batch may go beyond */
    assert_int_equal(subscription_room(&s), 0);
    a.credit = 150;
    (void)subscription_on_ack(&s, &a);
    (void)subscription_on_ack(&s, &a);
    assert_int_equal(subscription_room(&s), 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_who_may_subscribe, setup),
        cmocka_unit_test_setup(test_where_the_logs_part, setup),
        cmocka_unit_test_setup(test_what_came_from_a_log_that_failed, setup),
        cmocka_unit_test_setup(test_what_is_gone_is_skipped, setup),
        cmocka_unit_test_setup(test_the_old_one_is_closed_before_the_new_is_granted, setup),
        cmocka_unit_test_setup(test_a_stream_that_is_gone, setup),
        cmocka_unit_test_setup(test_a_newer_incarnation_ends_the_older, setup),
        cmocka_unit_test_setup(test_a_new_epoch_and_the_end_of_the_role, setup),
        cmocka_unit_test_setup(test_members_that_lag_leave, setup),
        cmocka_unit_test_setup(test_nothing_without_lease_or_before_the_start, setup),
        cmocka_unit_test_setup(test_a_newcomer_joins, setup),
        cmocka_unit_test_setup(test_a_newcomer_that_lags_waits, setup),
        cmocka_unit_test_setup(test_the_second_look, setup),
        cmocka_unit_test_setup(test_a_newcomer_is_not_waited_for_for_ever, setup),
        cmocka_unit_test_setup(test_answers_of_control, setup),
        cmocka_unit_test_setup(test_a_role_wins_over_what_is_pending, setup),
        cmocka_unit_test_setup(test_an_unclean_leader_reports_itself, setup),
        cmocka_unit_test_setup(test_acknowledgements, setup),
        cmocka_unit_test_setup(test_marks_of_another_epoch_are_not_written, setup),
        cmocka_unit_test_setup(test_caught_up_as_of, setup),
        cmocka_unit_test_setup(test_credit_only_rises, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
