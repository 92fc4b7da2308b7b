/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "kafka/errors.h"
#include "node/controller.h"
#include "tidemark/types.h"

#define MS TIDE_NS_PER_MS
#define T0 (1000 * TIDE_NS_PER_S)
#define SESSION (3000 * MS)

static struct cluster *cluster;
static struct controller c;
static uint64_t next_index;
static int64_t epochs[8];

static int16_t apply(struct cluster_command *command, uint64_t now_ns)
{
    struct cluster_result r;
    int16_t error;
    command->controller_epoch = 1;
    assert_int_equal(cluster_apply(cluster, ++next_index, command, &r), TIDE_OK);
    error = r.error;
    controller_on_applied(&c, now_ns, cluster, command->kind, &r);
    cluster_result_free(&r);
    return error;
}

static void register_broker(int32_t id, uint64_t now_ns)
{
    struct cluster_command m = {.kind = CLUSTER_REGISTER_BROKER};
    m.register_broker.cluster_id.bytes[0] = 9;
    m.register_broker.previous_epoch = -1;
    m.register_broker.broker.id = id;
    m.register_broker.broker.incarnation.bytes[0] = (uint8_t)(id + 1);
    m.register_broker.broker.incarnation.bytes[1] = (uint8_t)next_index;
    m.register_broker.broker.directory_count = 2;
    for (uint8_t i = 0; i < 2; i++) {
        m.register_broker.broker.directories[i].bytes[0] = 200;
        m.register_broker.broker.directories[i].bytes[1] = (uint8_t)id;
        m.register_broker.broker.directories[i].bytes[2] = i;
    }
    for (uint32_t i = 0; cluster_known_feature(i) != NULL; i++)
        m.register_broker.broker.features[m.register_broker.broker.feature_count++] = *cluster_known_feature(i);
    assert_int_equal(apply(&m, now_ns), 0);
    epochs[id] = (int64_t)next_index;
}

static struct rpc_heartbeat heartbeat(int32_t id, uint64_t number)
{
    return (struct rpc_heartbeat){.number = number, .epoch = epochs[id], .version = next_index};
}

static void beat(int32_t id, uint64_t now_ns)
{
    struct rpc_heartbeat h = heartbeat(id, now_ns);
    controller_on_heartbeat(&c, now_ns, cluster, id, &h);
}

/* Takes the next proposal, applies it, and says so. CLUSTER_COMMAND_KIND_COUNT: there is none. */
static enum cluster_command_kind next(uint64_t now_ns, struct cluster_command *ret)
{
    struct cluster_command m;
    if (!controller_take_proposal(&c, now_ns, cluster, &m))
        return CLUSTER_COMMAND_KIND_COUNT;
    assert_int_equal(apply(&m, now_ns), 0);
    controller_on_done(&c);
    if (ret != NULL)
        *ret = m;
    return m.kind;
}

static void create_topic(int32_t partitions, int32_t factor)
{
    struct cluster_command m = {.kind = CLUSTER_CREATE_TOPIC};
    m.create_topic.id.bytes[0] = (uint8_t)++next_index;
    snprintf(m.create_topic.name, sizeof(m.create_topic.name), "t%d", (int)next_index);
    m.create_topic.partition_count = partitions;
    m.create_topic.replication_factor = factor;
    assert_int_equal(apply(&m, T0), 0);
}

static int setup(void **state)
{
    struct controller_config config = {.id = 1,
                                       .session_ns = SESSION,
                                       .lease_ns = 2400 * MS,
                                       .heartbeat_ns = 500 * MS,
                                       .probe_ns = 500 * MS,
                                       .suspect_ns = 1000 * MS,
                                       .recover_ns = 5000 * MS,
                                       .shrink_guard_ns = 3000 * MS};
    config.cluster_id.bytes[0] = 9;
    cluster = cluster_create(NULL);
    next_index = 0;
    assert_true(controller_init(&c, &config));
    return 0;
}

static int teardown(void **state)
{
    controller_deinit(&c);
    cluster_destroy(cluster);
    return 0;
}

static void take_over(void)
{
    controller_on_leader(&c, T0, 1);
    assert_int_equal(next(T0, NULL), CLUSTER_CONTROLLER_EPOCH);
    assert_int_equal(next(T0, NULL), CLUSTER_INIT);
    assert_int_equal(cluster_feature(cluster, CLUSTER_FEATURE_GROUP), 1);
}

/* Brokers 1..count, active, heard at T0. */
static void with_brokers(int32_t count)
{
    take_over();
    for (int32_t id = 1; id <= count; id++)
        register_broker(id, T0);
    for (int32_t id = 1; id <= count; id++) {
        beat(id, T0);
        assert_int_equal(next(T0, NULL), CLUSTER_UNFENCE_BROKER);
    }
    assert_int_equal(next(T0, NULL), CLUSTER_COMMAND_KIND_COUNT);
}

static bool answer_of(int32_t id, uint64_t now_ns, struct rpc_heartbeat_reply *ret)
{
    struct rpc_heartbeat_reply r = {0};
    int32_t broker;
    bool found = false;
    while (controller_take_answer(&c, now_ns, cluster, &broker, &r))
        if (broker == id) {
            *ret = r;
            found = true;
        }
    return found;
}

/* ---- taking over ---------------------------------------------------------------------------------------- */

static void test_nothing_before_its_epoch_is_applied(void **state)
{
    struct cluster_command m;
    controller_on_leader(&c, T0, 1);
    assert_true(controller_take_proposal(&c, T0, cluster, &m));
    assert_int_equal(m.kind, CLUSTER_CONTROLLER_EPOCH);
    assert_int_equal(m.controller_epoch_of.term, 1);
    assert_false(controller_take_proposal(&c, T0, cluster, &m)); /* one at a time */
    assert_int_equal(c.state, CONTROLLER_TAKING_OVER);
    controller_on_done(&c); /* lost */
    assert_true(controller_take_proposal(&c, T0, cluster, &m));
    assert_int_equal(m.kind, CLUSTER_CONTROLLER_EPOCH);
}

static void test_sessions_begin_anew(void **state)
{
    with_brokers(3);
    controller_on_follower(&c);
    assert_int_equal(c.session_count, 0);
    controller_on_leader(&c, T0 + 60 * SESSION, 2);
    struct cluster_command m = {.kind = CLUSTER_CONTROLLER_EPOCH, .controller_epoch_of = {1, 2}};
    struct cluster_result r;
    assert_int_equal(cluster_apply(cluster, ++next_index, &m, &r), TIDE_OK);
    controller_on_applied(&c, T0 + 60 * SESSION, cluster, m.kind, &r);
    assert_int_equal(c.session_count, 3);
    assert_false(controller_take_proposal(&c, T0 + 61 * SESSION, cluster, &m));
    assert_true(controller_take_proposal(&c, T0 + 61 * SESSION + 1, cluster, &m));
    assert_int_equal(m.kind, CLUSTER_FENCE_BROKER);
}

/* ---- the table of a heartbeat (control-plane 6) ------------------------------------------------------------ */

static void test_unfenced_when_its_cores_know_its_registration(void **state)
{
    take_over();
    register_broker(1, T0);
    struct rpc_heartbeat h = heartbeat(1, T0);
    h.version = (uint64_t)epochs[1] - 1;
    controller_on_heartbeat(&c, T0, cluster, 1, &h);
    assert_int_equal(next(T0, NULL), CLUSTER_COMMAND_KIND_COUNT);
    h.version = (uint64_t)epochs[1];
    h.wants_fenced = true;
    controller_on_heartbeat(&c, T0, cluster, 1, &h);
    assert_int_equal(next(T0, NULL), CLUSTER_COMMAND_KIND_COUNT);
    h.wants_fenced = false;
    controller_on_heartbeat(&c, T0, cluster, 1, &h);
    assert_int_equal(next(T0, NULL), CLUSTER_UNFENCE_BROKER);
}

/* It was silent, others lead what it led, and it is heard again before it has heard of that. */
static void test_no_lease_for_who_may_lead_by_an_older_epoch(void **state)
{
    struct rpc_heartbeat_reply r = {0};
    with_brokers(2);
    create_topic(4, 2);
    beat(2, T0 + 1);
    assert_true(answer_of(2, T0 + 1, &r));
    assert_false(r.fenced);
    struct rpc_heartbeat old = heartbeat(2, 0);
    beat(1, T0 + SESSION + 2);
    assert_int_equal(next(T0 + SESSION + 2, NULL), CLUSTER_FENCE_BROKER);
    assert_int_equal(cluster_find_broker(cluster, 2)->leader_count, 0);
    old.number = T0 + SESSION + 3;
    controller_on_heartbeat(&c, T0 + SESSION + 3, cluster, 2, &old);
    assert_int_equal(next(T0 + SESSION + 3, NULL), CLUSTER_COMMAND_KIND_COUNT);
    beat(2, T0 + SESSION + 4);
    assert_int_equal(next(T0 + SESSION + 4, NULL), CLUSTER_UNFENCE_BROKER);
    old.number = T0 + SESSION + 5; /* as one whose commands come late would say after a planned move */
    controller_on_heartbeat(&c, T0 + SESSION + 5, cluster, 2, &old);
    assert_true(answer_of(2, T0 + SESSION + 5, &r));
    assert_true(r.fenced);
    beat(2, T0 + SESSION + 6);
    assert_true(answer_of(2, T0 + SESSION + 6, &r));
    assert_false(r.fenced);
}

static void test_fenced_by_its_own_wish(void **state)
{
    with_brokers(2);
    struct rpc_heartbeat h = heartbeat(2, T0 + 1);
    h.health.faulty = true;
    controller_on_heartbeat(&c, T0 + 1, cluster, 2, &h);
    assert_int_equal(next(T0 + 1, NULL), CLUSTER_FENCE_BROKER);
    assert_true(cluster_find_broker(cluster, 2)->fenced);
    assert_int_equal(next(T0 + 1, NULL), CLUSTER_COMMAND_KIND_COUNT);
    beat(2, T0 + 2); /* well again */
    assert_int_equal(next(T0 + 2, NULL), CLUSTER_UNFENCE_BROKER);
}

static void test_shutdown_of_one_that_leads_nothing(void **state)
{
    struct rpc_heartbeat_reply r = {0};
    with_brokers(2);
    struct rpc_heartbeat h = heartbeat(2, T0 + 1);
    h.wants_shutdown = true;
    controller_on_heartbeat(&c, T0 + 1, cluster, 2, &h);
    assert_true(answer_of(2, T0 + 1, &r));
    assert_false(r.may_stop);
    assert_int_equal(next(T0 + 1, NULL), CLUSTER_FENCE_BROKER);
    controller_on_heartbeat(&c, T0 + 2, cluster, 2, &h);
    assert_true(answer_of(2, T0 + 2, &r));
    assert_true(r.may_stop && r.fenced);
}

static void test_shutdown_waits_until_the_others_know(void **state)
{
    struct rpc_heartbeat_reply r = {0};
    with_brokers(3);
    create_topic(6, 3);
    for (int32_t id = 1; id <= 3; id++)
        beat(id, T0 + 1);
    struct rpc_heartbeat h = heartbeat(2, T0 + 2);
    h.wants_shutdown = true;
    assert_true(cluster_find_broker(cluster, 2)->leader_count > 0);
    controller_on_heartbeat(&c, T0 + 2, cluster, 2, &h);
    assert_int_equal(next(T0 + 2, NULL), CLUSTER_BEGIN_SHUTDOWN);
    assert_int_equal(cluster_find_broker(cluster, 2)->leader_count, 0);
    assert_int_equal(next(T0 + 2, NULL), CLUSTER_COMMAND_KIND_COUNT);
    controller_on_heartbeat(&c, T0 + 3, cluster, 2, &h);
    assert_true(answer_of(2, T0 + 3, &r));
    assert_false(r.may_stop); /* 1 and 3 may not know that they lead */
    beat(1, T0 + 4);
    controller_on_heartbeat(&c, T0 + 4, cluster, 2, &h);
    assert_true(answer_of(2, T0 + 4, &r));
    assert_false(r.may_stop);
    beat(3, T0 + 5);
    controller_on_heartbeat(&c, T0 + 5, cluster, 2, &h);
    assert_true(answer_of(2, T0 + 5, &r));
    assert_true(r.may_stop);
}

static void test_silence_ends_a_session_one_at_a_time(void **state)
{
    struct cluster_command m, other;
    with_brokers(3);
    beat(1, T0 + SESSION);
    assert_false(controller_take_proposal(&c, T0 + SESSION, cluster, &m));
    assert_true(controller_take_proposal(&c, T0 + SESSION + 1, cluster, &m));
    assert_int_equal(m.kind, CLUSTER_FENCE_BROKER);
    assert_int_equal(m.broker.id, 2);
    assert_false(controller_take_proposal(&c, T0 + SESSION + 1, cluster, &other)); /* broker 3 waits for it */
    assert_int_equal(apply(&m, T0 + SESSION + 1), 0);
    controller_on_done(&c);
    assert_int_equal(next(T0 + SESSION + 1, &m), CLUSTER_FENCE_BROKER);
    assert_int_equal(m.broker.id, 3);
    assert_int_equal(next(T0 + SESSION + 1, NULL), CLUSTER_COMMAND_KIND_COUNT);
}

static void test_who_has_ended_is_fenced_at_once(void **state)
{
    struct cluster_command m;
    with_brokers(3);
    assert_int_equal(next(T0, NULL), CLUSTER_COMMAND_KIND_COUNT);
    controller_on_ended(&c, 2);
    assert_false(controller_session_is_valid(&c, T0, 2)); /* the next process may register */
    assert_int_equal(next(T0, &m), CLUSTER_FENCE_BROKER);
    assert_int_equal(m.broker.id, 2);
    assert_int_equal(next(T0, NULL), CLUSTER_COMMAND_KIND_COUNT);
    beat(2, T0 + 1); /* it has not, after all */
    assert_true(controller_session_is_valid(&c, T0 + 1, 2));
    assert_int_equal(next(T0 + 1, &m), CLUSTER_UNFENCE_BROKER);
    controller_on_ended(&c, 2);
    register_broker(2, T0 + 2); /* the next process: a session of its own */
    beat(2, T0 + 2);
    assert_int_equal(next(T0 + 2, &m), CLUSTER_UNFENCE_BROKER);
    controller_on_ended(&c, 77);
    assert_int_equal(next(T0 + 2, NULL), CLUSTER_COMMAND_KIND_COUNT);
}

static void test_a_controller_that_stood_still_fences_nobody(void **state)
{
    struct cluster_command m;
    with_brokers(2);
    controller_on_time(&c, T0 + 10 * MS, cluster);
    controller_on_time(&c, T0 + 10 * SESSION, cluster);
    assert_false(controller_take_proposal(&c, T0 + 10 * SESSION, cluster, &m));
}

static void test_no_answer_while_it_is_being_fenced(void **state)
{
    struct cluster_command m;
    struct rpc_heartbeat_reply r = {0};
    with_brokers(2);
    beat(1, T0 + SESSION);
    assert_true(controller_take_proposal(&c, T0 + SESSION + 1, cluster, &m));
    assert_int_equal(m.broker.id, 2);
    beat(2, T0 + SESSION + 2); /* it lives after all: too late */
    assert_false(answer_of(2, T0 + SESSION + 2, &r));
    assert_int_equal(apply(&m, T0 + SESSION + 3), 0);
    controller_on_done(&c);
    assert_true(answer_of(2, T0 + SESSION + 3, &r));
    assert_true(r.fenced);
}

/* It must not lead for a moment what lives there. */
static void test_offline_directories_come_before_it_may_lead(void **state)
{
    with_brokers(1);
    register_broker(2, T0);
    struct rpc_heartbeat h = heartbeat(2, T0 + 1);
    h.health.offline_count = 1;
    h.health.offline[0] = cluster_find_broker(cluster, 2)->directories[1];
    controller_on_heartbeat(&c, T0 + 1, cluster, 2, &h);
    assert_int_equal(next(T0 + 1, NULL), CLUSTER_DIRS_OFFLINE);
    assert_int_equal(next(T0 + 1, NULL), CLUSTER_UNFENCE_BROKER);
}

static void test_offline_directories(void **state)
{
    struct cluster_command m;
    with_brokers(1);
    struct rpc_heartbeat h = heartbeat(1, T0 + 1);
    h.health.offline_count = 2;
    h.health.offline[0] = cluster_find_broker(cluster, 1)->directories[1];
    h.health.offline[1].bytes[0] = 77; /* not a registered one */
    controller_on_heartbeat(&c, T0 + 1, cluster, 1, &h);
    assert_int_equal(next(T0 + 1, &m), CLUSTER_DIRS_OFFLINE);
    assert_int_equal(m.dirs_offline.count, 1);
    assert_int_equal(cluster_find_broker(cluster, 1)->directory_count, 1);
    assert_int_equal(next(T0 + 1, NULL), CLUSTER_COMMAND_KIND_COUNT);
}

static void test_a_new_registration_is_a_new_session(void **state)
{
    with_brokers(2);
    assert_true(controller_session_is_valid(&c, T0 + SESSION, 2));
    assert_false(controller_session_is_valid(&c, T0 + SESSION + 1, 2));
    assert_false(controller_session_is_valid(&c, T0, 1)); /* ourselves: the directories are locked */
    register_broker(2, T0 + 5);
    assert_false(c.sessions[1].reported);
    assert_int_equal(c.sessions[1].epoch, epochs[2]);
}

/* ---- proof -------------------------------------------------------------------------------------------------- */

static void test_answers_wait_for_a_majority(void **state)
{
    static const int32_t voters[] = {2, 3, 4, 5};
    struct rpc_heartbeat_reply r = {0};
    struct rpc_probe p, wrong;
    with_brokers(1);
    controller_on_voters(&c, voters, 4);
    beat(1, T0 + 10 * MS);
    assert_false(answer_of(1, T0 + 10 * MS, &r));
    assert_true(controller_take_probe(&c, T0 + 10 * MS, &p));
    assert_int_equal(p.term, 1);
    assert_false(controller_take_probe(&c, T0 + 11 * MS, &wrong)); /* not so soon again */
    controller_on_probe_reply(&c, 2, &p);
    assert_false(answer_of(1, T0 + 11 * MS, &r)); /* two of five */
    wrong = p;
    wrong.term = 2;
    controller_on_probe_reply(&c, 3, &wrong); /* it has moved on */
    assert_false(answer_of(1, T0 + 11 * MS, &r));
    wrong = p;
    wrong.token = T0 + 12 * MS;
    controller_on_probe_reply(&c, 3, &wrong); /* never asked */
    assert_false(answer_of(1, T0 + 12 * MS, &r));
    controller_on_probe_reply(&c, 3, &p);
    assert_true(answer_of(1, T0 + 12 * MS, &r));
    /* It holds for half of what the session is longer than the lease: 300 ms. */
    beat(1, T0 + 310 * MS);
    assert_true(answer_of(1, T0 + 310 * MS, &r));
    beat(1, T0 + 311 * MS);
    assert_false(answer_of(1, T0 + 311 * MS, &r));
}

static void test_proof_does_not_outlive_a_term(void **state)
{
    static const int32_t voters[] = {2, 3};
    struct rpc_probe p;
    with_brokers(1);
    controller_on_voters(&c, voters, 2);
    beat(1, T0 + MS);
    assert_true(controller_take_probe(&c, T0 + MS, &p));
    controller_on_probe_reply(&c, 2, &p);
    assert_int_equal(c.voters[0].proven_ns, T0 + MS);
    controller_on_leader(&c, T0 + 2 * MS, 3);
    assert_int_equal(c.voters[0].proven_ns, 0);
}

/* ---- suspicion (control-plane 10.3) ---------------------------------------------------------------------------- */

/* Brokers in the set `deaf` do not hear `x`; everybody reports every 100 ms. The suspects at the end. */
static unsigned report(int32_t count, unsigned deaf, int32_t x, uint64_t from_ns, uint64_t until_ns)
{
    unsigned suspects = 0;
    for (uint64_t now = from_ns; now <= until_ns; now += 100 * MS) {
        for (int32_t id = 1; id <= count; id++) {
            struct rpc_heartbeat h = heartbeat(id, now);
            if ((deaf >> id & 1) != 0 && id != x)
                h.health.silent[h.health.silent_count++] = (struct health_silence){x, 700, 0};
            controller_on_heartbeat(&c, now, cluster, id, &h);
        }
        controller_on_time(&c, now, cluster);
        while (next(now, NULL) != CLUSTER_COMMAND_KIND_COUNT) {
        }
    }
    for (int32_t id = 1; id <= count; id++)
        suspects |= cluster_find_broker(cluster, id)->suspect ? 1u << id : 0;
    return suspects;
}

static void test_whom_most_do_not_hear_is_suspect(void **state)
{
    static const struct {
        int32_t count;
        unsigned deaf;
        unsigned suspects;
    } cases[] = {
        {4, 1u << 2 | 1u << 3, 1u << 1}, /* two of three that share with it */
        {4, 1u << 2, 0},                 /* one is not enough */
        {3, 1u << 2 | 1u << 3, 1u << 1},
        {2, 1u << 2, 0},                 /* two brokers: nobody can tell who is the broken one */
        {5, 1u << 2 | 1u << 3, 0},       /* two of four: no majority */
        {5, 1u << 2 | 1u << 3 | 1u << 4, 1u << 1},
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        if (i != 0) {
            teardown(state);
            setup(state);
        }
        with_brokers(cases[i].count);
        create_topic(8, TIDE_MIN(cases[i].count, 3));
        if (report(cases[i].count, cases[i].deaf, 1, T0 + SESSION, T0 + SESSION + 2000 * MS) != cases[i].suspects)
            fail_msg("case %zu", i);
    }
}

static void test_suspicion_needs_time_and_partitions(void **state)
{
    with_brokers(4);
    assert_int_equal(report(4, 0xe << 1, 1, T0 + SESSION, T0 + SESSION + 2000 * MS), 0); /* nothing in common */
    create_topic(8, 3);
    assert_int_equal(report(4, 0xe << 1, 1, T0 + SESSION + 2100 * MS, T0 + SESSION + 3000 * MS), 0);
    assert_int_equal(report(4, 0xe << 1, 1, T0 + SESSION + 3100 * MS, T0 + SESSION + 3200 * MS), 1u << 1);
}

static void test_no_suspicion_in_the_first_session(void **state)
{
    with_brokers(4);
    create_topic(8, 3);
    assert_int_equal(report(4, 0xe << 1, 1, T0, T0 + 2900 * MS), 0);
}

static void test_who_hears_nobody_accuses_nobody(void **state)
{
    with_brokers(4);
    create_topic(8, 3);
    for (uint64_t now = T0 + SESSION; now <= T0 + SESSION + 2000 * MS; now += 100 * MS) {
        for (int32_t id = 1; id <= 4; id++) { /* 3 and 4 are cut off from all, and each says so of 1, too */
            struct rpc_heartbeat h = heartbeat(id, now);
            for (int32_t other = 1; other <= 4; other++)
                if (other != id && (id >= 3 || other >= 3))
                    h.health.silent[h.health.silent_count++] = (struct health_silence){other, 700, 700};
            controller_on_heartbeat(&c, now, cluster, id, &h);
        }
        controller_on_time(&c, now, cluster);
        while (next(now, NULL) != CLUSTER_COMMAND_KIND_COUNT) {
        }
    }
    assert_false(cluster_find_broker(cluster, 1)->suspect);
    assert_false(cluster_find_broker(cluster, 2)->suspect);
}

static void test_suspicion_ends_when_it_is_heard(void **state)
{
    with_brokers(4);
    create_topic(8, 3);
    assert_int_equal(report(4, 0xe << 1, 1, T0 + SESSION, T0 + SESSION + 2000 * MS), 1u << 1);
    assert_int_equal(report(4, 0, 1, T0 + SESSION + 2100 * MS, T0 + SESSION + 7000 * MS), 1u << 1);
    assert_int_equal(report(4, 0, 1, T0 + SESSION + 7100 * MS, T0 + SESSION + 7200 * MS), 0);
    /* The second time within ten minutes it takes twice as long. */
    assert_int_equal(report(4, 0xe << 1, 1, T0 + SESSION + 8000 * MS, T0 + SESSION + 9500 * MS), 1u << 1);
    assert_int_equal(report(4, 0, 1, T0 + SESSION + 9600 * MS, T0 + SESSION + 19500 * MS), 1u << 1);
    assert_int_equal(report(4, 0, 1, T0 + SESSION + 19600 * MS, T0 + SESSION + 19700 * MS), 0);
}

/* ---- guarded shrink (control-plane 10.4) ------------------------------------------------------------------------- */

static void test_shrinks_are_remembered(void **state)
{
    struct cluster_partition_change change = {0};
    with_brokers(3);
    create_topic(1, 3);
    const struct cluster_topic *t = cluster_topic_at(cluster, 0);
    int32_t leader = t->partitions[0].leader;
    change.topic_id = t->id;
    change.isr_count = 1;
    change.isr[0].broker = leader;
    for (int32_t id = 1; id <= 3; id++)
        beat(id, T0);
    controller_judge_shrinks(&c, T0, cluster, leader, &change, 1);
    assert_false(change.guard_over);
    assert_int_equal(change.guard_hears, 7); /* all report, and have nothing against the leader */
    controller_judge_shrinks(&c, T0 + 2999 * MS, cluster, leader, &change, 1);
    assert_false(change.guard_over);
    assert_int_equal(change.guard_hears, 0); /* nobody has reported lately */
    controller_judge_shrinks(&c, T0 + 3000 * MS, cluster, leader, &change, 1);
    assert_true(change.guard_over);
    change.leader_epoch++; /* another leader begins anew */
    controller_judge_shrinks(&c, T0 + 3001 * MS, cluster, leader, &change, 1);
    assert_false(change.guard_over);
}

static void test_who_does_not_hear_the_leader_is_no_witness(void **state)
{
    struct cluster_partition_change change = {0};
    with_brokers(3);
    create_topic(1, 3);
    const struct cluster_topic *t = cluster_topic_at(cluster, 0);
    int32_t leader = t->partitions[0].leader;
    int32_t deaf = leader == 1 ? 2 : 1;
    change.topic_id = t->id;
    change.isr_count = 1;
    change.isr[0].broker = leader;
    struct rpc_heartbeat h = heartbeat(deaf, T0);
    h.health.silent_count = 1;
    h.health.silent[0] = (struct health_silence){leader, 600, 0};
    controller_on_heartbeat(&c, T0, cluster, deaf, &h);
    controller_judge_shrinks(&c, T0, cluster, leader, &change, 1);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(change.guard_hears >> i & 1, t->partitions[0].replicas[i] != deaf);
}

/* ---- timers -------------------------------------------------------------------------------------------------------- */

static void test_leaders_are_balanced_on_a_timer(void **state)
{
    c.config.balance_ns = 10 * TIDE_NS_PER_S;
    take_over();
    assert_int_equal(next(T0 + 9 * TIDE_NS_PER_S, NULL), CLUSTER_COMMAND_KIND_COUNT);
    assert_int_equal(next(T0 + 10 * TIDE_NS_PER_S, NULL), CLUSTER_BALANCE_LEADERS);
    assert_int_equal(next(T0 + 10 * TIDE_NS_PER_S, NULL), CLUSTER_COMMAND_KIND_COUNT);
    assert_int_equal(next(T0 + 20 * TIDE_NS_PER_S, NULL), CLUSTER_BALANCE_LEADERS);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        TEST(test_nothing_before_its_epoch_is_applied),
        TEST(test_sessions_begin_anew),
        TEST(test_unfenced_when_its_cores_know_its_registration),
        TEST(test_no_lease_for_who_may_lead_by_an_older_epoch),
        TEST(test_fenced_by_its_own_wish),
        TEST(test_shutdown_of_one_that_leads_nothing),
        TEST(test_shutdown_waits_until_the_others_know),
        TEST(test_silence_ends_a_session_one_at_a_time),
        TEST(test_who_has_ended_is_fenced_at_once),
        TEST(test_a_controller_that_stood_still_fences_nobody),
        TEST(test_no_answer_while_it_is_being_fenced),
        TEST(test_offline_directories),
        TEST(test_offline_directories_come_before_it_may_lead),
        TEST(test_a_new_registration_is_a_new_session),
        TEST(test_answers_wait_for_a_majority),
        TEST(test_proof_does_not_outlive_a_term),
        TEST(test_whom_most_do_not_hear_is_suspect),
        TEST(test_suspicion_needs_time_and_partitions),
        TEST(test_no_suspicion_in_the_first_session),
        TEST(test_who_hears_nobody_accuses_nobody),
        TEST(test_suspicion_ends_when_it_is_heard),
        TEST(test_shrinks_are_remembered),
        TEST(test_who_does_not_hear_the_leader_is_no_witness),
        TEST(test_leaders_are_balanced_on_a_timer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
