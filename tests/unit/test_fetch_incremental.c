/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fetch sessions through the broker (kafka-protocol 8.3): a test for each row of its table, what an
 * incremental answer has and has not, and requests that wait while their session changes.
 */
#include "broker_world.h"
#include "tidemark/random.h"

enum { ROOM = 1 << 17, BY_NAME = 12, BY_ID = 13 };

static struct broker_world w;
static struct bw_client c, other, producer;
static uint8_t bytes[ROOM];
static struct bw_answer a;
static int32_t correlation;

static int begin(uint32_t cores)
{
    bw_init(&w, cores);
    bw_connect(&w, &c);
    bw_connect(&w, &other);
    bw_connect(&w, &producer);
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
    bw_disconnect(&other);
    bw_disconnect(&producer);
    bw_deinit(&w);
    return 0;
}

static void produce(int32_t partition, uint32_t value_bytes)
{
    int16_t error;
    int64_t base;
    bw_send_bytes(&producer, bytes, bw_produce(bytes, ++correlation, 1, 1000, &partition, 1, value_bytes));
    bw_pump(&w);
    bw_produced(&producer, correlation, &error, &base, 1);
    assert_int_equal(error, 0);
}

static int32_t send_by(struct bw_client *by, struct bw_ask what)
{
    if (what.version == 0)
        what.version = BY_NAME;
    bw_send_bytes(by, bytes, bw_ask(bytes, ++correlation, &what));
    bw_pump(&w);
    return correlation;
}

static void ask(struct bw_ask what)
{
    int32_t sent = send_by(&c, what);
    bw_answer(&c, sent, what.version != 0 ? what.version : BY_NAME, &a);
}

/* As "0:5 1:" : partitions told, and the last offset of what came with them. */
static void told_is(const char *expected)
{
    char text[256] = "";
    for (unsigned i = 0; i < a.count; i++) {
        size_t n = strlen(text);
        if (a.told[i].last >= 0)
            snprintf(text + n, sizeof(text) - n, "%s%d:%d", n != 0 ? " " : "", (int)a.told[i].partition, (int)a.told[i].last);
        else
            snprintf(text + n, sizeof(text) - n, "%s%d:", n != 0 ? " " : "", (int)a.told[i].partition);
    }
    assert_string_equal(text, expected);
}

static uint32_t sessions(void)
{
    struct fetch_session_counts n;
    fetch_sessions_count(w.cores[0].broker->fetch_sessions, &n);
    return n.sessions;
}

/* A session of partitions 0 and 1 from their starts. */
static int32_t open_session(int16_t version)
{
    ask((struct bw_ask){.version = version, .count = 2, .what = {{.partition = 0}, {.partition = 1}}});
    assert_int_equal(a.error, 0);
    assert_true(a.session_id > 0);
    assert_int_equal(a.count, 2);
    return a.session_id;
}

/* ---- the rows of the table ---------------------------------------------------------------------------- */

static void test_no_session_is_wanted(void **state)
{
    ask((struct bw_ask){.session_epoch = -1, .count = 1});
    assert_int_equal(a.session_id, 0);
    told_is("0:");
    assert_int_equal(sessions(), 0);
    ask((struct bw_ask){.session_epoch = -1, .version = 7, .count = 1});
    assert_int_equal(a.session_id, 0);
    ask((struct bw_ask){.session_epoch = -1, .version = 6, .count = 1}); /* has no such fields */
    told_is("0:");
    assert_int_equal(sessions(), 0);
}

static void test_a_session_is_made(void **state)
{
    int32_t id = open_session(BY_NAME);
    assert_int_equal(sessions(), 1);
    assert_int_equal(id & 31, 0); /* of core 0 */
    ask((struct bw_ask){.session_epoch = 0}); /* of nothing */
    assert_int_equal(a.error, 0);
    assert_int_equal(a.session_id, 0);
    assert_int_equal(sessions(), 1);
    ask((struct bw_ask){.version = 7, .count = 1});
    assert_true(a.session_id > 0);
    assert_int_equal(sessions(), 2);
}

static void test_it_is_closed_and_another_made(void **state)
{
    int32_t id = open_session(BY_NAME);
    ask((struct bw_ask){.session_id = id, .session_epoch = 0, .count = 1, .what = {{.partition = 3}}});
    assert_int_equal(a.error, 0);
    assert_true(a.session_id > 0 && a.session_id != id);
    told_is("3:");
    assert_int_equal(sessions(), 1);
    ask((struct bw_ask){.session_id = id, .session_epoch = 1});
    assert_int_equal(a.error, KAFKA_FETCH_SESSION_ID_NOT_FOUND);
    assert_int_equal(a.session_id, 0);
}

static void test_it_is_closed(void **state)
{
    int32_t id = open_session(BY_NAME);
    ask((struct bw_ask){.session_id = id, .session_epoch = -1, .count = 1, .what = {{.partition = 3}}});
    assert_int_equal(a.error, 0);
    assert_int_equal(a.session_id, 0);
    told_is("3:");
    assert_int_equal(sessions(), 0);
    ask((struct bw_ask){.session_id = id, .session_epoch = -1}); /* how clients say goodbye */
    assert_int_equal(a.error, 0);
    assert_int_equal(a.count, 0);
}

static void test_only_what_is_new(void **state)
{
    int32_t id = open_session(BY_NAME);
    ask((struct bw_ask){.session_id = id, .session_epoch = 1});
    assert_int_equal(a.session_id, id);
    assert_int_equal(a.topics, 0);
    produce(1, 10);
    ask((struct bw_ask){.session_id = id, .session_epoch = 2});
    told_is("1:0");
    assert_int_equal(a.told[0].high_watermark, 1);
    ask((struct bw_ask){.session_id = id, .session_epoch = 3}); /* it did not move on: the same again */
    told_is("1:0");
    ask((struct bw_ask){.session_id = id, .session_epoch = 4, .count = 1, .what = {{.partition = 1, .offset = 1}}});
    told_is("");
    produce(0, 10);
    produce(1, 10);
    ask((struct bw_ask){.session_id = id, .session_epoch = 5});
    told_is("0:0 1:1");
}

/* ---- what is wrong with it -------------------------------------------------------------------------------- */

static void test_epochs(void **state)
{
    int32_t id = open_session(BY_NAME);
    ask((struct bw_ask){.session_id = id, .session_epoch = 2});
    assert_int_equal(a.error, KAFKA_INVALID_FETCH_SESSION_EPOCH);
    assert_int_equal(a.session_id, 0);
    assert_int_equal(a.count, 0);
    ask((struct bw_ask){.session_id = id, .session_epoch = 1}); /* a refusal changes nothing */
    assert_int_equal(a.error, 0);
    ask((struct bw_ask){.session_id = id, .session_epoch = 1}); /* once */
    assert_int_equal(a.error, KAFKA_INVALID_FETCH_SESSION_EPOCH);
    ask((struct bw_ask){.session_id = id, .session_epoch = -2});
    assert_int_equal(a.error, KAFKA_INVALID_FETCH_SESSION_EPOCH);
    ask((struct bw_ask){.session_id = id, .session_epoch = 2});
    assert_int_equal(a.error, 0);
    ask((struct bw_ask){.session_id = 0, .session_epoch = 1});
    assert_int_equal(a.error, KAFKA_FETCH_SESSION_ID_NOT_FOUND);
    ask((struct bw_ask){.session_id = id + 32, .session_epoch = 3});
    assert_int_equal(a.error, KAFKA_FETCH_SESSION_ID_NOT_FOUND);
    ask((struct bw_ask){.session_id = id + 1, .session_epoch = 3}); /* of core 1 */
    assert_int_equal(a.error, KAFKA_FETCH_SESSION_ID_NOT_FOUND);
    assert_int_equal(bw_count(&w, COUNTER_fetch_sessions_unknown), 6);
}

static void test_names_and_ids(void **state)
{
    int32_t named = open_session(BY_NAME), by_id = open_session(BY_ID);
    ask((struct bw_ask){.version = BY_ID, .session_id = named, .session_epoch = 1});
    assert_int_equal(a.error, KAFKA_FETCH_SESSION_TOPIC_ID_ERROR);
    ask((struct bw_ask){.version = BY_NAME, .session_id = by_id, .session_epoch = 1});
    assert_int_equal(a.error, KAFKA_FETCH_SESSION_TOPIC_ID_ERROR);
    produce(0, 10);
    ask((struct bw_ask){.version = 11, .session_id = named, .session_epoch = 1});
    told_is("0:0");
    ask((struct bw_ask){.version = 16, .session_id = by_id, .session_epoch = 1});
    told_is("0:0");
}

/* ---- what it has --------------------------------------------------------------------------------------------- */

static void test_added_and_forgotten(void **state)
{
    int32_t id = open_session(BY_NAME);
    for (int32_t i = 0; i < BW_PARTITIONS; i++)
        produce(i, 10);
    ask((struct bw_ask){.session_id = id, .session_epoch = 1, .count = 1, .what = {{.partition = 2}}, .forget_count = 2, .forget = {0, 3}});
    told_is("1:0 2:0");
    ask((struct bw_ask){.session_id = id, .session_epoch = 2, .count = 1, .what = {{.partition = 0}}, .forget_count = 1, .forget = {0}});
    told_is("1:0 2:0");
    ask((struct bw_ask){.session_id = id, .session_epoch = 3, .forget_count = 2, .forget = {1, 2}}); /* nothing is left */
    assert_int_equal(a.error, 0);
    assert_int_equal(a.session_id, 0);
    assert_int_equal(sessions(), 0);
}

static void test_by_id_too(void **state)
{
    int32_t id = open_session(BY_ID);
    produce(0, 10);
    produce(1, 10);
    ask((struct bw_ask){.version = BY_ID, .session_id = id, .session_epoch = 1, .count = 1, .what = {{.partition = 2}}, .forget_count = 1, .forget = {0}});
    told_is("1:0 2:");
}

/* Who had his turn stands at the end; and a mark that moved is told without bytes. */
static void test_turns(void **state)
{
    int32_t id;
    ask((struct bw_ask){.count = 3, .what = {{.partition = 0}, {.partition = 1}, {.partition = 2}}});
    id = a.session_id;
    for (int32_t i = 0; i < 3; i++)
        produce(i, 1000);
    ask((struct bw_ask){.session_id = id, .session_epoch = 1, .max_bytes = 1});
    told_is("0:0 1: 2:");
    assert_int_equal(a.told[1].high_watermark, 1);
    ask((struct bw_ask){.session_id = id, .session_epoch = 2, .max_bytes = 1});
    told_is("1:0");
    ask((struct bw_ask){.session_id = id, .session_epoch = 3, .max_bytes = 1});
    told_is("2:0");
    ask((struct bw_ask){.session_id = id, .session_epoch = 4, .max_bytes = 1});
    told_is("0:0");
    ask((struct bw_ask){.session_id = id, .session_epoch = 5});
    told_is("1:0 2:0 0:0");
}

/* Errors are told again and again; when one is over, what is true now is told. */
static void test_errors_in_a_session(void **state)
{
    int32_t id;
    ask((struct bw_ask){.count = 2, .what = {{.partition = 0}, {.partition = 77}}});
    id = a.session_id;
    assert_int_equal(a.told[1].error, KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    for (int32_t epoch = 1; epoch < 3; epoch++) {
        ask((struct bw_ask){.session_id = id, .session_epoch = epoch, .max_wait_ms = 5000, .min_bytes = 1}); /* an error need not wait */
        told_is("77:");
        assert_int_equal(a.told[0].error, KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    }
    ask((struct bw_ask){.session_id = id, .session_epoch = 3, .count = 1, .what = {{.partition = 0, .offset = 5}}, .forget_count = 1, .forget = {77}});
    told_is("0:");
    assert_int_equal(a.told[0].error, KAFKA_OFFSET_OUT_OF_RANGE);
    ask((struct bw_ask){.session_id = id, .session_epoch = 4, .count = 1, .what = {{.partition = 0, .offset = 0}}});
    told_is("0:");
    assert_int_equal(a.told[0].error, 0);
    ask((struct bw_ask){.session_id = id, .session_epoch = 5});
    told_is("");
}

static void test_the_start_of_a_log(void **state)
{
    int32_t id;
    int64_t offset = -1, low;
    int16_t error;
    for (int i = 0; i < 3; i++)
        produce(0, 10);
    ask((struct bw_ask){.count = 1, .what = {{.offset = 3}}});
    id = a.session_id;
    for (;;) {
        enum tide_status status = partition_trim(w.partitions[0].local, &offset, &w.cores[0].out, &error, &low);
        slot_dirty(w.cores[0].broker, 0);
        bw_pump(&w);
        if (status == TIDE_OK)
            break;
    }
    assert_int_equal(low, 3);
    ask((struct bw_ask){.session_id = id, .session_epoch = 1});
    told_is("0:");
    assert_int_equal(a.told[0].log_start, 3);
    ask((struct bw_ask){.session_id = id, .session_epoch = 2});
    told_is("");
}

/* ---- long polls ------------------------------------------------------------------------------------------------- */

static void test_a_long_poll_of_a_session(void **state)
{
    int32_t id = open_session(BY_NAME);
    int32_t sent = send_by(&c, (struct bw_ask){.session_id = id, .session_epoch = 1, .max_wait_ms = 5000, .min_bytes = 1});
    bw_silent(&c);
    produce(3, 10); /* not of it */
    bw_silent(&c);
    produce(1, 10);
    bw_answer(&c, sent, BY_NAME, &a);
    told_is("1:0");
    sent = send_by(&c, (struct bw_ask){.session_id = id, .session_epoch = 2, .count = 1, .what = {{.partition = 1, .offset = 1}},
                                       .max_wait_ms = 500, .min_bytes = 1});
    bw_silent(&c);
    bw_pass(&w, 501);
    bw_answer(&c, sent, BY_NAME, &a);
    assert_int_equal(a.error, 0);
    assert_int_equal(a.session_id, id);
    assert_int_equal(a.topics, 0);
}

/* From another connection, as after a request that was given up: the one that waits must not be believed. */
static void test_overtaken_while_it_waits(void **state)
{
    int32_t id = open_session(BY_NAME);
    int32_t sent = send_by(&c, (struct bw_ask){.session_id = id, .session_epoch = 1, .max_wait_ms = 5000, .min_bytes = 1});
    int32_t second = send_by(&other, (struct bw_ask){.session_id = id, .session_epoch = 2, .forget_count = 1, .forget = {1}});
    bw_answer(&other, second, BY_NAME, &a);
    assert_int_equal(a.error, 0);
    produce(0, 10);
    bw_answer(&c, sent, BY_NAME, &a);
    assert_int_equal(a.error, KAFKA_INVALID_FETCH_SESSION_EPOCH);
    assert_int_equal(a.count, 0);
    second = send_by(&other, (struct bw_ask){.session_id = id, .session_epoch = 3});
    bw_answer(&other, second, BY_NAME, &a);
    told_is("0:0");
}

/* Also by one that has changed the session, and finds no memory to go on: what the first one names may be somebody else's place. */
static void test_overtaken_by_one_without_memory(void **state)
{
    static struct rte_mbuf *all[1 << 14];
    unsigned n = 0;
    int32_t id = open_session(BY_NAME);
    ask((struct bw_ask){.session_id = id, .session_epoch = 1, .count = 2, .what = {{.partition = 2}, {.partition = 3}}}); /* more than a request holds itself */
    assert_int_equal(a.count, 2);
    produce(1, 10);
    int32_t sent = send_by(&c, (struct bw_ask){.session_id = id, .session_epoch = 2, .max_wait_ms = 5000, .min_bytes = 1 << 20});
    while (n < sizeof(all) / sizeof(all[0]) && (all[n] = rte_pktmbuf_alloc(bw_request_pool)) != NULL)
        n++;
    int32_t second = send_by(&other, (struct bw_ask){.session_id = id, .session_epoch = 3, .forget_count = 1, .forget = {1}});
    bw_silent(&other);
    bw_pass(&w, 5000);
    bw_answer(&c, sent, BY_NAME, &a);
    assert_int_equal(a.error, KAFKA_INVALID_FETCH_SESSION_EPOCH);
    rte_pktmbuf_free_bulk(all, n);
    bw_pass(&w, 2);
    bw_answer(&other, second, BY_NAME, &a);
    assert_int_equal(a.error, 0);
    told_is("");
}

/* Its session is gone: it answers all it was asked, and the next one is refused. */
static void test_closed_while_it_waits(void **state)
{
    int32_t id = open_session(BY_NAME);
    int32_t sent = send_by(&c, (struct bw_ask){.session_id = id, .session_epoch = 1, .max_wait_ms = 5000, .min_bytes = 1});
    int32_t second = send_by(&other, (struct bw_ask){.session_id = id, .session_epoch = -1});
    bw_answer(&other, second, BY_NAME, &a);
    produce(0, 10);
    bw_answer(&c, sent, BY_NAME, &a);
    assert_int_equal(a.error, 0);
    told_is("0:0 1:");
    ask((struct bw_ask){.session_id = id, .session_epoch = 2});
    assert_int_equal(a.error, KAFKA_FETCH_SESSION_ID_NOT_FOUND);
}

/* A connection that ends takes nothing with it: the client goes on over the next one. */
static void test_over_another_connection(void **state)
{
    int32_t id = open_session(BY_NAME);
    (void)send_by(&c, (struct bw_ask){.session_id = id, .session_epoch = 1, .max_wait_ms = 5000, .min_bytes = 1});
    bw_disconnect(&c);
    bw_connect(&w, &c);
    produce(0, 10);
    ask((struct bw_ask){.session_id = id, .session_epoch = 2});
    told_is("0:0");
}

/* ---- no room ------------------------------------------------------------------------------------------------------ */

static void test_no_slots(void **state)
{
    struct broker *b = w.cores[0].broker;
    fetch_sessions_destroy(b->fetch_sessions);
    b->fetch_sessions = fetch_sessions_create(1, 3, 0, 9);
    int32_t id = open_session(BY_NAME);
    ask((struct bw_ask){.count = 1});
    assert_int_equal(a.session_id, 0); /* and all goes on without */
    told_is("0:");
    ask((struct bw_ask){.session_id = id, .session_epoch = 1, .count = 1, .what = {{.partition = 2}}});
    told_is("2:");
    ask((struct bw_ask){.session_id = id, .session_epoch = 2, .count = 1, .what = {{.partition = 3}}}); /* a fourth */
    assert_int_equal(a.error, KAFKA_FETCH_SESSION_ID_NOT_FOUND);
    assert_int_equal(sessions(), 0);
    assert_int_equal(bw_count(&w, COUNTER_fetch_sessions_refused), 2);
}

/* The request or the response finds no memory, and is run again: the session must not have moved on. */
static void test_memory_that_fails(void **state)
{
    for (unsigned nth = 1; nth <= 8; nth++) {
        int32_t id = open_session(BY_NAME);
        produce(0, 10);
        struct bw_ask what = {.version = BY_NAME, .session_id = id, .session_epoch = 1};
        fail_pool_fail_at = fail_pool_takes + nth;
        bw_send_bytes(&c, bytes, bw_ask(bytes, ++correlation, &what));
        bw_pump(&w);
        fail_pool_fail_at = 0;
        bw_pass(&w, 2);
        bw_answer(&c, correlation, BY_NAME, &a);
        assert_int_equal(a.error, 0);
        assert_true(a.told[0].partition == 0 && a.told[0].last >= 0);
        ask((struct bw_ask){.session_id = id, .session_epoch = 2, .count = 1, .what = {{.partition = 0, .offset = a.told[0].last + 1}}});
        told_is("");
        ask((struct bw_ask){.session_id = id, .session_epoch = -1});
    }
}

/* ---- anything ------------------------------------------------------------------------------------------------------ */

/* What comes is exactly what the client does not know, whatever it names and forgets; now and then something that is refused. */
static void test_exactly_what_is_new(void **state)
{
    struct tide_random r = {.state = 11};
    int64_t asked[BW_PARTITIONS], told_mark[BW_PARTITIONS], ends[BW_PARTITIONS] = {0};
    bool has[BW_PARTITIONS] = {0};
    int32_t id = 0, epoch = 0;
    for (unsigned step = 0; step < 1500; step++) {
        struct bw_ask what = {.version = BY_NAME, .session_id = id, .session_epoch = epoch};
        uint32_t expected = 0, size = 0;
        if (tide_random_hits(&r, 3)) {
            int32_t p = (int32_t)tide_random_below(&r, BW_PARTITIONS);
            produce(p, 5);
            ends[p]++;
        }
        if (tide_random_hits(&r, 20)) {
            ask((struct bw_ask){.session_id = id, .session_epoch = epoch + 1 + (int32_t)tide_random_below(&r, 5)});
            assert_int_not_equal(a.error, 0);
        }
        for (int32_t p = 0; p < BW_PARTITIONS; p++) {
            bool renamed = !has[p] || epoch == 0 ? tide_random_hits(&r, 2) : tide_random_hits(&r, 4);
            bool forgotten = !renamed && has[p] && epoch != 0 && tide_random_hits(&r, 6);
            if (epoch == 0)
                has[p] = false;
            if (renamed) {
                asked[p] = (int64_t)tide_random_below(&r, (uint64_t)ends[p] + 1);
                what.what[what.count].partition = p;
                what.what[what.count++].offset = asked[p];
                if (!has[p])
                    told_mark[p] = -1;
                has[p] = true;
            } else if (forgotten) {
                what.forget[what.forget_count++] = p;
                has[p] = false;
            }
            size += has[p];
            expected |= (uint32_t)(has[p] && (asked[p] < ends[p] || told_mark[p] != ends[p])) << p;
        }
        ask(what);
        assert_int_equal(a.error, 0);
        for (unsigned i = 0; i < a.count; i++) {
            int32_t p = a.told[i].partition;
            assert_true(expected & 1u << p);
            expected &= ~(1u << p);
            assert_int_equal(a.told[i].error, 0);
            assert_int_equal(a.told[i].high_watermark, ends[p]);
            assert_int_equal(a.told[i].last, asked[p] < ends[p] ? ends[p] - 1 : -1);
            told_mark[p] = ends[p];
        }
        assert_int_equal(expected, 0);
        assert_int_equal(a.session_id != 0, size != 0);
        id = a.session_id;
        epoch = size == 0 || tide_random_hits(&r, 40) ? 0 : epoch + 1;
        if (size == 0)
            memset(has, 0, sizeof(has));
    }
    assert_true(bw_count(&w, COUNTER_fetch_incremental) > 1000);
}

#define TEST(name)     cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_TWO(name) cmocka_unit_test_setup_teardown(name, setup_two, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_no_session_is_wanted),
        TEST(test_a_session_is_made),
        TEST(test_it_is_closed_and_another_made),
        TEST(test_it_is_closed),
        TEST(test_only_what_is_new),
        TEST(test_epochs),
        TEST(test_names_and_ids),
        TEST(test_added_and_forgotten),
        TEST(test_by_id_too),
        TEST(test_turns),
        TEST(test_errors_in_a_session),
        TEST(test_the_start_of_a_log),
        TEST(test_a_long_poll_of_a_session),
        TEST_TWO(test_a_long_poll_of_a_session),
        TEST(test_overtaken_while_it_waits),
        TEST(test_overtaken_by_one_without_memory),
        TEST(test_closed_while_it_waits),
        TEST(test_over_another_connection),
        TEST(test_no_slots),
        TEST(test_memory_that_fails),
        TEST(test_exactly_what_is_new),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
