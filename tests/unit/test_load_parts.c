/* SPDX-License-Identifier: Apache-2.0 */
/* What tidemark-load is made of: schedule, histogram, options, content, reading of answers. */
#include "unit.h"

#include <math.h>
#include <unistd.h>

#include <zlib.h>

#include "bench/load/content.h"
#include "bench/load/hist.h"
#include "bench/load/options.h"
#include "bench/load/proto.h"
#include "bench/load/schedule.h"
#include "kafka/batch.h"
#include "kafka/header.h"
#include "tidemark/random.h"

/* ---- schedule ------------------------------------------------------------------------------------------------------- */

enum { SECONDS = 20, PER_S = 5000 };

static uint64_t walk(enum load_arrivals kind, uint64_t seed, double *ret_mean_ns, double *ret_deviation_ns, uint64_t *ret_digest)
{
    struct load_schedule s;
    uint64_t n = 0, last = 0;
    double sum = 0, squares = 0;
    load_schedule_init(&s, kind, PER_S, 0, seed, SECONDS * TIDE_NS_PER_S, UINT64_MAX);
    *ret_digest = 0;
    for (; load_schedule_next_ns(&s) != TIDE_NEVER; n++) {
        uint64_t at = load_schedule_next_ns(&s);
        double gap = (double)(at - last);
        assert_true(at >= last && at < SECONDS * TIDE_NS_PER_S);
        assert_int_equal(load_schedule_take(&s), n);
        if (n != 0) {
            sum += gap;
            squares += gap * gap;
        }
        *ret_digest = (*ret_digest ^ at) * 0x9e3779b97f4a7c15ull;
        last = at;
    }
    *ret_mean_ns = sum / (double)(n - 1);
    *ret_deviation_ns = sqrt(squares / (double)(n - 1) - *ret_mean_ns * *ret_mean_ns);
    return n;
}

static void test_constant_arrivals(void **state)
{
    double mean, deviation;
    uint64_t digest;
    assert_int_equal(walk(LOAD_CONSTANT, 1, &mean, &deviation, &digest), SECONDS * PER_S);
    assert_true(fabs(mean - 1e9 / PER_S) < 1);
    assert_true(deviation < 2);
}

/* 100000 gaps: the mean is within 1 % (three deviations), and so is the deviation, which equals the mean. */
static void test_exponential_arrivals(void **state)
{
    double mean, deviation, other;
    uint64_t first, again, another;
    uint64_t n = walk(LOAD_EXPONENTIAL, 1, &mean, &deviation, &first);
    assert_true(fabs((double)n - SECONDS * PER_S) < 1000);
    assert_true(fabs(mean - 1e9 / PER_S) < 0.01 * 1e9 / PER_S);
    assert_true(fabs(deviation - mean) < 0.015 * mean);
    (void)walk(LOAD_EXPONENTIAL, 1, &mean, &deviation, &again);
    (void)walk(LOAD_EXPONENTIAL, 2, &other, &deviation, &another);
    assert_int_equal(first, again);
    assert_int_not_equal(first, another);
    assert_true(n < load_schedule_bound(PER_S, SECONDS * TIDE_NS_PER_S, UINT64_MAX));
}

static void test_a_schedule_ends_with_its_count(void **state)
{
    struct load_schedule s;
    load_schedule_init(&s, LOAD_CONSTANT, 1000, 0.5, 1, TIDE_NS_PER_S, 3);
    assert_int_equal(load_schedule_next_ns(&s), 500000);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(load_schedule_take(&s), i);
    assert_int_equal(load_schedule_next_ns(&s), TIDE_NEVER);
    assert_int_equal(load_schedule_bound(1000, TIDE_NS_PER_S, 3), 3);
}

/* ---- histogram --------------------------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Beside the exact quantiles of the same values, from 50 ns to 10 s. */
static void quantiles_are_near(unsigned digits, double within)
{
    enum { N = 100000 };
    static uint64_t values[N];
    static const double quantiles[] = {0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 1};
    struct tide_random chance = {.state = 7};
    struct load_hist h;
    double sum = 0;
    assert_true(load_hist_init(&h, digits));
    for (unsigned i = 0; i < N; i++) {
        values[i] = (uint64_t)(50 * exp2((double)(tide_random_u64(&chance) >> 11) * 0x1p-53 * 27.575)); /* to 10 s */
        sum += (double)values[i];
        load_hist_add(&h, values[i]);
    }
    qsort(values, N, sizeof(values[0]), by_value);
    for (size_t i = 0; i < TIDE_ARRAY_LEN(quantiles); i++) {
        double exact = (double)values[(size_t)ceil(quantiles[i] * N) - 1];
        double told = (double)load_hist_quantile(&h, quantiles[i]);
        if (fabs(told - exact) > within * exact)
            fail_msg("quantile %g: %g instead of %g", quantiles[i], told, exact);
    }
    assert_true(fabs(load_hist_mean(&h) - sum / N) < 1e-6 * sum / N);
    assert_int_equal(h.most, values[N - 1]);
    assert_int_equal(h.least, values[0]);
    load_hist_deinit(&h);
}

static void test_quantiles_are_exact_enough(void **state)
{
    quantiles_are_near(2, 0.01);
    quantiles_are_near(3, 0.001);
}

static void test_every_value_lies_within_its_step(void **state)
{
    for (unsigned digits = 2; digits <= 3; digits++) {
        struct load_hist h;
        assert_true(load_hist_init(&h, digits));
        for (uint32_t i = 0; i + 1 < h.length; i++) {
            uint64_t low = load_hist_low(&h, i), high = load_hist_high(&h, i);
            assert_true(low <= high && load_hist_low(&h, i + 1) == high + 1);
            if (high > LOAD_HIST_MOST_NS)
                break;
            load_hist_add(&h, low);
            load_hist_add(&h, high);
            assert_int_equal(h.counts[i], 2);
        }
        load_hist_add(&h, UINT64_MAX);
        assert_int_equal(h.most, UINT64_MAX);
        load_hist_deinit(&h);
    }
}

static void test_an_empty_histogram_and_a_merge(void **state)
{
    struct load_hist a, b;
    assert_true(load_hist_init(&a, 2) && load_hist_init(&b, 2));
    assert_int_equal(load_hist_quantile(&a, 0.5), 0);
    load_hist_merge(&a, &b);
    assert_int_equal(a.least, UINT64_MAX);
    load_hist_add(&a, 100);
    load_hist_add(&b, 200);
    load_hist_merge(&a, &b);
    assert_int_equal(a.count, 2);
    assert_int_equal(load_hist_quantile(&a, 0.5), 100);
    assert_int_equal(load_hist_quantile(&a, 1), 200);
    load_hist_deinit(&a);
    load_hist_deinit(&b);
}

static unsigned sextet(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    return (unsigned)(strchr(digits, c) - digits);
}

static int64_t get_leb(const uint8_t **p)
{
    uint64_t v = 0;
    for (unsigned shift = 0;; shift += 7) {
        uint8_t b = *(*p)++;
        v |= (uint64_t)(shift == 56 ? b : b & 0x7f) << shift;
        if (shift == 56 || !(b & 0x80))
            return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
    }
}

/* HdrHistogram's own document of its format, read back. */
static void test_the_encoding_can_be_read(void **state)
{
    struct load_hist h;
    static uint8_t packed[65536], plain[1 << 20];
    uLongf plain_len = sizeof(plain);
    size_t n = 0, at = 0;
    assert_true(load_hist_init(&h, 3));
    for (uint64_t v = 50; v < 10 * TIDE_NS_PER_S; v = v * 3 / 2)
        for (uint64_t k = 0; k < v % 1000; k++)
            load_hist_add(&h, v);
    char *text = load_hist_encode(&h);
    assert_non_null(text);
    for (const char *c = text; *c != 0; c += 4) {
        uint32_t v = sextet(c[0]) << 18 | sextet(c[1]) << 12 | (c[2] == '=' ? 0 : sextet(c[2]) << 6) | (c[3] == '=' ? 0 : sextet(c[3]));
        packed[n++] = (uint8_t)(v >> 16);
        packed[n++] = (uint8_t)(v >> 8);
        packed[n++] = (uint8_t)v;
    }
    assert_int_equal(load_be32(packed), 0x1c849314);
    assert_int_equal(uncompress(plain, &plain_len, packed + 8, load_be32(packed + 4)), Z_OK);
    assert_int_equal(load_be32(plain), 0x1c849313);
    assert_int_equal(load_be32(plain + 4), plain_len - 40);
    assert_int_equal(load_be32(plain + 12), 3);
    for (const uint8_t *p = plain + 40; p < plain + plain_len;) {
        int64_t v = get_leb(&p);
        if (v < 0)
            for (; v < 0; v++)
                assert_int_equal(h.counts[at++], 0);
        else
            assert_int_equal(h.counts[at++], v);
    }
    while (at < h.length)
        assert_int_equal(h.counts[at++], 0);
    free(text);
    load_hist_deinit(&h);
}

/* ---- options ------------------------------------------------------------------------------------------------------------ */

static void test_options_that_are_refused(void **state)
{
    static const struct { const char *name, *value, *says; } cases[] = {
        {"rate", "fast", "a number from"}, {"rate", "nan", "a number from"}, {"rate", "-1", "a number from"}, {"record.bytes", "31", "a whole number from 32"},
        {"record.bytes", "100x", "a whole number"}, {"record.bytes", "", "a whole number"}, {"record.bytes", "-1", "a whole number"},
        {"acks", "2", "0|1|all"}, {"acks", "al", "0|1|all"}, {"acks", "", "0|1|all"}, {"speed", "1", "known"}, {"topic.config.", "x", "settings of a topic"}};
    struct load_options o;
    char text[LOAD_ERROR_MAX];
    load_options_init(&o);
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        assert_false(load_options_set(&o, cases[i].name, cases[i].value, text));
        assert_non_null(strstr(text, cases[i].says));
    }
    assert_true(load_options_finish(&o, text));
    assert_true(load_options_set(&o, "idempotent", "yes", text) && load_options_set(&o, "acks", "1", text));
    assert_false(load_options_finish(&o, text));
}

static void test_a_scenario_file(void **state)
{
    char path[] = "/tmp/tidemark-load-XXXXXX", text[LOAD_ERROR_MAX];
    struct load_options o;
    int fd = mkstemp(path);
    static const char good[] = "# a comment\n\n acks = 1 \nrate=2500.5\ntopic.config.min.insync.replicas=2\n", bad[] = "acks=1\nrecord.bytes\n";
    assert_int_equal(write(fd, good, sizeof(good) - 1), sizeof(good) - 1);
    load_options_init(&o);
    assert_true(load_options_file(&o, path, text));
    assert_int_equal(o.acks, LOAD_ACKS_ONE);
    assert_true(o.rate == 2500.5);
    assert_string_equal(o.configs[0], "min.insync.replicas=2");
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(pwrite(fd, bad, sizeof(bad) - 1, 0), sizeof(bad) - 1);
    assert_false(load_options_file(&o, path, text));
    assert_non_null(strstr(text, ":2: a line is name=value"));
    close(fd);
    unlink(path);
    assert_false(load_options_file(&o, path, text));
}

/* ---- content ------------------------------------------------------------------------------------------------------------- */

static enum content_verdict see(struct content *c, struct content_fate *f, uint32_t i)
{
    uint64_t intended;
    return content_seen(c, f, c->batch + c->values[i], c->record_bytes, &intended);
}

static void stamp(struct content *c, uint64_t batch)
{
    struct content_stamp s = {.producer = 3, .batch = batch, .intended_ns = 1000 + batch, .wall_ms = 5, .producer_id = 9, .producer_epoch = 1};
    content_stamp(c, &s);
}

static void test_what_became_of_batches(void **state)
{
    struct content c, other;
    struct content_fate f;
    uint32_t producer;
    assert_true(content_init(&c, 77, 50, 2, 1) && content_init(&other, 78, 50, 2, 1) && content_fate_init(&f, 100));
    for (uint64_t batch = 0; batch < 4; batch++) {
        stamp(&c, batch);
        assert_true(content_acked(&f, batch) && !content_acked(&f, batch));
        if (batch == 1)
            continue;
        assert_true(content_producer(&c, c.batch + c.values[1], 50, &producer));
        assert_int_equal(producer, 3);
        assert_int_equal(see(&c, &f, 0), CONTENT_FIRST);
        assert_int_equal(see(&c, &f, 1), CONTENT_MORE);
    }
    assert_int_equal(content_missing(&f), 1);
    stamp(&c, 2);
    assert_int_equal(see(&c, &f, 0), CONTENT_DUPLICATE);
    assert_int_equal(see(&c, &f, 1), CONTENT_DUPLICATE);
    stamp(&c, 1);
    assert_int_equal(see(&c, &f, 0), CONTENT_DISORDER);
    assert_int_equal(see(&c, &f, 1), CONTENT_MORE);
    assert_int_equal(content_missing(&f), 0);
    stamp(&c, 5);
    assert_int_equal(see(&c, &f, 1), CONTENT_DAMAGED); /* its first record is not there */
    c.batch[c.values[0] + 40] ^= 1;
    assert_int_equal(see(&c, &f, 0), CONTENT_DAMAGED);
    stamp(&c, 100);
    assert_int_equal(see(&c, &f, 0), CONTENT_DAMAGED); /* never sent */
    assert_false(content_producer(&other, c.batch + c.values[0], 50, &producer));
    assert_false(content_producer(&c, c.batch + c.values[0], CONTENT_HEAD - 1, &producer));
    content_fate_deinit(&f);
    content_deinit(&c);
    content_deinit(&other);
}

static void test_a_stamped_batch_is_a_batch(void **state)
{
    struct content c;
    struct batch_header h;
    assert_true(content_init(&c, 77, 32, 3, 1));
    stamp(&c, 7);
    batch_header_parse(c.batch, &h);
    assert_int_equal(batch_size(&h), c.batch_bytes);
    assert_int_equal(h.crc, batch_crc_update(0, c.batch + BATCH_ATTRIBUTES, c.batch_bytes - BATCH_ATTRIBUTES));
    assert_int_equal(h.base_sequence, 21);
    assert_int_equal(h.producer_id, 9);
    assert_int_equal(h.record_count, 3);
    content_deinit(&c);
}

/* ---- answers that are cut short, or damaged ---------------------------------------------------------------------------------- */

static struct rte_mempool *pool;

enum answer { A_VERSIONS, A_METADATA, A_CREATE, A_PRODUCER, A_OFFSETS, A_PRODUCE, A_FETCH, A_COUNT };
static const int16_t answer_versions[A_COUNT][2] = {{0, 0}, {1, 12}, {2, 7}, {0, 5}, {1, 7}, {3, 12}, {4, 16}};
static const struct proto_topic topic = {.name = "t", .name_len = 1};

static bool read_answer(enum answer a, int16_t v, struct tide_slice s)
{
    static struct proto_metadata m;
    struct proto_versions versions;
    struct tide_slice records;
    struct wire_cursor c;
    int64_t number;
    int16_t error, epoch;
    wire_cursor_init(&c, s);
    switch (a) {
    case A_VERSIONS: return proto_read_api_versions(&c, &versions);
    case A_METADATA: return proto_read_metadata(&c, v, &topic, &m);
    case A_CREATE: return proto_read_create_topic(&c, v, &error);
    case A_PRODUCER: return proto_read_init_producer(&c, v, &error, &number, &epoch);
    case A_OFFSETS: return proto_read_list_offsets(&c, v, &error, &number);
    case A_PRODUCE: return proto_read_produce(&c, v, &error);
    default: return proto_read_fetch(&c, v, &error, &records);
    }
}

static void write_metadata(struct wire_writer *w, int16_t v)
{
    static const struct tide_uuid id = {{1}};
    metadata_response_put_throttle_time_ms(w, v, 0);
    metadata_response_open_brokers(w, v, 1);
    metadata_response_broker_put_node_id(w, v, 1);
    metadata_response_broker_put_host(w, v, "10.0.0.1", 8);
    metadata_response_broker_put_port(w, v, 9092);
    metadata_response_broker_put_rack(w, v, NULL, 0);
    metadata_response_broker_end(w, v);
    metadata_response_put_cluster_id(w, v, "c", 1);
    metadata_response_put_controller_id(w, v, 1);
    metadata_response_open_topics(w, v, 1);
    metadata_response_topic_put_error_code(w, v, 0);
    metadata_response_topic_put_name(w, v, "t", 1);
    metadata_response_topic_put_topic_id(w, v, &id);
    metadata_response_topic_put_is_internal(w, v, false);
    metadata_response_topic_open_partitions(w, v, 1);
    metadata_response_partition_put_error_code(w, v, 0);
    metadata_response_partition_put_partition_index(w, v, 0);
    metadata_response_partition_put_leader_id(w, v, 1);
    metadata_response_partition_put_leader_epoch(w, v, 0);
    metadata_response_partition_open_replica_nodes(w, v, 0);
    metadata_response_partition_open_isr_nodes(w, v, 0);
    metadata_response_partition_open_offline_replicas(w, v, 0);
    metadata_response_partition_end(w, v);
    metadata_response_topic_put_topic_authorized_operations(w, v, 0);
    metadata_response_topic_end(w, v);
    metadata_response_put_cluster_authorized_operations(w, v, 0);
    metadata_response_end(w, v);
}

static void write_fetch(struct wire_writer *w, int16_t v)
{
    static const struct tide_uuid id = {{1}};
    struct tide_rope r = {0};
    assert_int_equal(tide_rope_copy_in(&r, pool, "0123456789", 10), TIDE_OK);
    fetch_response_put_throttle_time_ms(w, v, 0);
    fetch_response_put_error_code(w, v, 0);
    fetch_response_put_session_id(w, v, 0);
    fetch_response_open_responses(w, v, 1);
    fetch_response_fetchable_topic_response_put_topic(w, v, "t", 1);
    fetch_response_fetchable_topic_response_put_topic_id(w, v, &id);
    fetch_response_fetchable_topic_response_open_partitions(w, v, 1);
    fetch_response_partition_data_put_partition_index(w, v, 0);
    fetch_response_partition_data_put_error_code(w, v, 0);
    fetch_response_partition_data_put_high_watermark(w, v, 1);
    fetch_response_partition_data_put_last_stable_offset(w, v, 1);
    fetch_response_partition_data_put_log_start_offset(w, v, 0);
    fetch_response_partition_data_open_aborted_transactions(w, v, 0);
    fetch_response_partition_data_put_preferred_read_replica(w, v, -1);
    fetch_response_partition_data_put_records(w, v, &r);
    fetch_response_partition_data_end(w, v, &(struct fetch_response_partition_data_tags){0});
    fetch_response_fetchable_topic_response_end(w, v);
    fetch_response_end(w, v);
}

static void write_answer(struct wire_writer *w, enum answer a, int16_t v)
{
    switch (a) {
    case A_VERSIONS:
        api_versions_response_put_error_code(w, v, 0);
        api_versions_response_open_api_keys(w, v, 1);
        api_versions_response_api_version_put_api_key(w, v, 0);
        api_versions_response_api_version_put_min_version(w, v, 0);
        api_versions_response_api_version_put_max_version(w, v, 99);
        break;
    case A_METADATA: write_metadata(w, v); break;
    case A_CREATE:
        create_topics_response_put_throttle_time_ms(w, v, 0);
        create_topics_response_open_topics(w, v, 1);
        create_topics_response_topic_put_name(w, v, "t", 1);
        create_topics_response_topic_put_topic_id(w, v, &(struct tide_uuid){{1}});
        create_topics_response_topic_put_error_code(w, v, 36);
        create_topics_response_topic_put_error_message(w, v, NULL, 0);
        create_topics_response_topic_put_num_partitions(w, v, 1);
        create_topics_response_topic_put_replication_factor(w, v, 1);
        create_topics_response_topic_open_configs(w, v, 0);
        create_topics_response_topic_end(w, v);
        create_topics_response_end(w, v);
        break;
    case A_PRODUCER:
        init_producer_id_response_put_throttle_time_ms(w, v, 0);
        init_producer_id_response_put_error_code(w, v, 0);
        init_producer_id_response_put_producer_id(w, v, 5);
        init_producer_id_response_put_producer_epoch(w, v, 0);
        init_producer_id_response_end(w, v);
        break;
    case A_OFFSETS:
        list_offsets_response_put_throttle_time_ms(w, v, 0);
        list_offsets_response_open_topics(w, v, 1);
        list_offsets_response_topic_put_name(w, v, "t", 1);
        list_offsets_response_topic_open_partitions(w, v, 1);
        list_offsets_response_partition_put_partition_index(w, v, 0);
        list_offsets_response_partition_put_error_code(w, v, 0);
        list_offsets_response_partition_put_timestamp(w, v, -1);
        list_offsets_response_partition_put_offset(w, v, 7);
        list_offsets_response_partition_put_leader_epoch(w, v, 0);
        list_offsets_response_partition_end(w, v);
        list_offsets_response_topic_end(w, v);
        list_offsets_response_end(w, v);
        break;
    case A_PRODUCE:
        produce_response_open_responses(w, v, 1);
        produce_response_topic_produce_response_put_name(w, v, "t", 1);
        produce_response_topic_produce_response_open_partition_responses(w, v, 1);
        produce_response_partition_response_put_index(w, v, 0);
        produce_response_partition_response_put_error_code(w, v, 0);
        produce_response_partition_response_put_base_offset(w, v, 0);
        produce_response_partition_response_put_log_append_time_ms(w, v, -1);
        produce_response_partition_response_put_log_start_offset(w, v, 0);
        produce_response_partition_response_open_record_errors(w, v, 0);
        produce_response_partition_response_put_error_message(w, v, NULL, 0);
        produce_response_partition_response_end(w, v, &(struct produce_response_partition_response_tags){0});
        produce_response_topic_produce_response_end(w, v);
        produce_response_put_throttle_time_ms(w, v, 0);
        produce_response_end(w, v);
        break;
    default: write_fetch(w, v);
    }
}

/* The bytes in blocks of their exact size: an over-read is seen. */
static bool read_bytes(enum answer a, int16_t v, const uint8_t *bytes, uint32_t len)
{
    struct tide_rope r = {0};
    tide_rope_push(&r, unit_exact_mbuf(pool, bytes, (uint16_t)(len / 2)));
    tide_rope_push(&r, unit_exact_mbuf(pool, bytes + len / 2, (uint16_t)(len - len / 2)));
    bool good = read_answer(a, v, tide_rope_slice(&r, 0, r.len));
    tide_rope_clear(&r);
    return good;
}

static void test_answers_cut_short_or_damaged(void **state)
{
    struct tide_random chance = {.state = 3};
    uint8_t bytes[512], damaged[512];
    for (enum answer a = 0; a < A_COUNT; a++)
        for (int16_t v = answer_versions[a][0]; v <= answer_versions[a][1]; v++) {
            struct wire_writer w;
            wire_writer_init(&w, pool);
            write_answer(&w, a, v);
            uint32_t len = w.out.len;
            assert_true(!w.failed && len <= sizeof(bytes));
            tide_slice_copy(tide_rope_slice(&w.out, 0, len), bytes);
            wire_writer_abandon(&w);
            if (!read_bytes(a, v, bytes, len))
                fail_msg("answer %d of version %d is not understood", a, v);
            for (uint32_t cut = 0; cut < len; cut++)
                assert_false(read_bytes(a, v, bytes, cut));
            for (unsigned i = 0; i < 300; i++) {
                memcpy(damaged, bytes, len);
                for (uint64_t n = 1 + tide_random_below(&chance, 4); n != 0; n--)
                    damaged[tide_random_below(&chance, len)] = (uint8_t)tide_random_u64(&chance);
                (void)read_bytes(a, v, damaged, len);
            }
        }
}

/* What we ask is what a broker reads. */
static void test_questions_are_understood(void **state)
{
    static const char *const configs[] = {"a=b", "c="};
    for (int16_t v = 2; v <= 7; v++) {
        struct wire_writer w;
        struct wire_cursor c;
        struct kafka_request_header h;
        struct create_topics_request in;
        proto_begin(&w, pool, KAFKA_API_CREATE_TOPICS, v, 1);
        proto_put_create_topic(&w, v, &topic, 3, 0, configs, 2);
        assert_true(wire_frame_end(&w));
        wire_cursor_init(&c, tide_rope_slice(&w.out, 4, w.out.len - 4));
        assert_true(kafka_request_header_read(&c, &h));
        assert_true(create_topics_request_read(&c, v, &in));
        wire_writer_abandon(&w);
    }
}

static int setup(void **state)
{
    unit_eal();
    pool = unit_pool("load", 4095, 256);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_constant_arrivals),
        cmocka_unit_test(test_exponential_arrivals),
        cmocka_unit_test(test_a_schedule_ends_with_its_count),
        cmocka_unit_test(test_quantiles_are_exact_enough),
        cmocka_unit_test(test_every_value_lies_within_its_step),
        cmocka_unit_test(test_an_empty_histogram_and_a_merge),
        cmocka_unit_test(test_the_encoding_can_be_read),
        cmocka_unit_test(test_options_that_are_refused),
        cmocka_unit_test(test_a_scenario_file),
        cmocka_unit_test(test_what_became_of_batches),
        cmocka_unit_test(test_a_stamped_batch_is_a_batch),
        cmocka_unit_test(test_answers_cut_short_or_damaged),
        cmocka_unit_test(test_questions_are_understood),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
