/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <limits.h>

#include "kafka/batch.h"
#include "kafka/crc_short.h"
#include "kafka/errors.h"
#include "tidemark/bytes.h"
#include "tidemark/random.h"

enum { BYTES_MAX = 8192, RECORDS_MAX = 16 };

static struct rte_mempool *pool;

static const struct batch_walk_limits no_limits = {0};

static int setup(void **state)
{
    unit_eal();
    pool = unit_pool("batch", 8191, 0);
    return 0;
}

static int teardown(void **state)
{
    assert_int_equal(rte_mempool_in_use_count(pool), 0);
    return 0;
}

static struct tide_rope pieces(const uint8_t *bytes, size_t len, size_t piece)
{
    struct tide_rope r = {0};
    for (size_t at = 0; at < len; at += piece)
        tide_rope_push(&r, unit_exact_mbuf(pool, bytes + at, (uint16_t)TIDE_MIN(piece, len - at)));
    return r;
}

static struct tide_rope halves(const uint8_t *bytes, size_t len, size_t cut)
{
    struct tide_rope r = {0};
    tide_rope_push(&r, unit_exact_mbuf(pool, bytes, (uint16_t)cut));
    tide_rope_push(&r, unit_exact_mbuf(pool, bytes + cut, (uint16_t)(len - cut)));
    return r;
}

/* ---- checksum ------------------------------------------------------------------------------------- */

/* Each length that is summed by lanes, and some beyond, at each place within a word, as one bit after the other says it. */
static void test_crc32c_lengths(void **state)
{
    static uint8_t bytes[CRC_SHORT_MAX + 64];
    uint32_t seed = 1;
    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)((seed = seed * 1664525 + 1013904223) >> 24);
    for (unsigned from = 0; from < 8; from++) {
        uint32_t crc = ~0u;
        for (size_t len = 0; from + len < sizeof(bytes); len++) {
            assert_int_equal(batch_crc_update(0, bytes + from, len), ~crc);
            assert_int_equal(batch_crc_update(batch_crc_update(0, bytes + from, len / 3), bytes + from + len / 3, len - len / 3), ~crc);
            crc ^= bytes[from + len];
            for (unsigned bit = 0; bit < 8; bit++)
                crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
        }
    }
}

static void test_crc32c(void **state)
{
    static const uint8_t zeros[32];
    static const char check[] = "123456789";
    assert_true(batch_crc_update(0, check, 9) == 0xe3069283);
    assert_true(batch_crc_update(0, zeros, sizeof(zeros)) == 0x8a9136aa); /* RFC 3720 B.4 */
    assert_true(batch_crc_update(0, check, 0) == 0);
    for (size_t cut = 0; cut <= 9; cut++)
        assert_true(batch_crc_update(batch_crc_update(0, check, cut), check + cut, 9 - cut) == 0xe3069283);
}

/* ---- header and building ----------------------------------------------------------------------------- */

static const struct batch_build_record three[] = {
    {.timestamp = 1000, .key = "k1", .key_len = 2, .value = "first", .value_len = 5},
    {.timestamp = 1007, .key = NULL, .value = "", .value_len = 0},
    {.timestamp = 990, .key = "", .key_len = 0, .value = NULL},
};

static size_t build_three(uint8_t *bytes)
{
    size_t len = batch_build(bytes, BYTES_MAX, three, 3, 42, 3, 17);
    assert_true(len > BATCH_HEADER);
    return len;
}

static void test_header_there_and_back(void **state)
{
    const struct batch_header h = {.base_offset = 0x0102030405060708,
                                   .batch_length = 0x11121314,
                                   .leader_epoch = 0x21222324,
                                   .magic = 2,
                                   .crc = 0xf1f2f3f4,
                                   .attributes = 0x3132,
                                   .last_offset_delta = 0x41424344,
                                   .base_timestamp = 0x5152535455565758,
                                   .max_timestamp = -1,
                                   .producer_id = 0x6162636465666768,
                                   .producer_epoch = 0x7172,
                                   .base_sequence = INT32_MIN,
                                   .record_count = INT32_MAX};
    uint8_t bytes[BATCH_HEADER], again[BATCH_HEADER];
    struct batch_header back;
    batch_header_store(&h, bytes);
    assert_int_equal(bytes[BATCH_BASE_OFFSET], 0x01);
    assert_int_equal(bytes[BATCH_CRC], 0xf1);
    assert_int_equal(bytes[BATCH_RECORD_COUNT], 0x7f);
    for (size_t cut = 0; cut <= BATCH_HEADER; cut++) {
        struct tide_rope r = halves(bytes, sizeof(bytes), cut);
        assert_true(batch_header_read(tide_rope_slice(&r, 0, r.len), &back));
        assert_false(batch_header_read(tide_rope_slice(&r, 0, cut < BATCH_HEADER ? (uint32_t)cut : 60), &back));
        tide_rope_clear(&r);
    }
    batch_header_store(&back, again);
    assert_memory_equal(bytes, again, sizeof(bytes));
    assert_int_equal(back.max_timestamp, -1);
    assert_int_equal(back.base_sequence, INT32_MIN);
}

static void test_build_and_parse(void **state)
{
    static uint8_t bytes[BYTES_MAX];
    size_t len = build_three(bytes);
    struct batch_header h;
    batch_header_parse(bytes, &h);
    assert_int_equal(h.base_offset, 0);
    assert_int_equal(batch_size(&h), len);
    assert_int_equal(h.magic, 2);
    assert_int_equal(h.attributes, 0);
    assert_int_equal(batch_codec_of(&h), CODEC_NONE);
    assert_int_equal(h.last_offset_delta, 2);
    assert_int_equal(batch_last_offset(&h), 2);
    assert_int_equal(h.base_timestamp, 1000);
    assert_int_equal(h.max_timestamp, 1007);
    assert_int_equal(h.producer_id, 42);
    assert_int_equal(h.producer_epoch, 3);
    assert_int_equal(h.base_sequence, 17);
    assert_int_equal(h.record_count, 3);
    for (size_t piece = 1; piece <= len; piece += 7) {
        struct tide_rope r = pieces(bytes, len, piece);
        assert_true(batch_crc(tide_rope_slice(&r, 0, r.len)) == h.crc);
        tide_rope_clear(&r);
    }
}

static void test_build_needs_room(void **state)
{
    static uint8_t bytes[BYTES_MAX];
    for (size_t cap = 0; cap <= BATCH_HEADER; cap++) {
        uint8_t *exact = malloc(cap + 1);
        assert_non_null(exact);
        assert_int_equal(batch_build(exact, cap, three, 3, -1, -1, -1), 0);
        free(exact);
    }
    assert_true(batch_build(bytes, BATCH_HEADER + 200, three, 3, -1, -1, -1) > 0);
}

/* ---- the walk -------------------------------------------------------------------------------------------- */

/* Records written by hand behind a header that fits them. */
struct draft {
    uint8_t bytes[BYTES_MAX];
    size_t len;
};

static void add(struct draft *d, const void *bytes, size_t n)
{
    assert_true(d->len + n <= sizeof(d->bytes));
    if (n != 0)
        memcpy(d->bytes + d->len, bytes, n);
    d->len += n;
}

static void finish(struct draft *d, int32_t count)
{
    struct batch_header h = {.batch_length = (int32_t)(d->len - BATCH_LENGTH_OVERHEAD),
                             .magic = 2,
                             .last_offset_delta = count - 1,
                             .base_timestamp = 1000,
                             .max_timestamp = 1000,
                             .producer_id = -1,
                             .producer_epoch = -1,
                             .base_sequence = -1,
                             .record_count = count};
    batch_header_store(&h, d->bytes);
    batch_seal(d->bytes, d->len);
}

static struct batch_walk walk(const uint8_t *bytes, size_t len, size_t cut, const struct batch_walk_limits *limits)
{
    struct tide_rope r = halves(bytes, len, cut);
    struct batch_walk ret;
    struct batch_header h;
    batch_header_parse(bytes, &h);
    batch_walk_records(tide_rope_slice(&r, 0, r.len), &h, limits, &ret);
    tide_rope_clear(&r);
    return ret;
}

static void test_walk_split_at_every_position(void **state)
{
    static uint8_t bytes[BYTES_MAX];
    size_t len = build_three(bytes);
    for (size_t cut = 0; cut <= len; cut++) {
        struct batch_walk w = walk(bytes, len, cut, &no_limits);
        assert_int_equal(w.error, 0);
        assert_null(w.message);
        assert_int_equal(w.bad_record, -1);
        assert_int_equal(w.max_timestamp, 1007);
    }
    for (size_t piece = 1; piece < 30; piece++) {
        struct tide_rope r = pieces(bytes, len, piece);
        struct batch_walk w;
        struct batch_header h;
        batch_header_parse(bytes, &h);
        batch_walk_records(tide_rope_slice(&r, 0, r.len), &h, &no_limits, &w);
        assert_int_equal(w.error, 0);
        tide_rope_clear(&r);
    }
}

/* A batch that is cut behind its header is never taken, nor read beyond. */
static void test_walk_of_cut_batches(void **state)
{
    static uint8_t bytes[BYTES_MAX];
    size_t len = build_three(bytes);
    for (size_t cut = BATCH_HEADER; cut < len; cut++) {
        struct batch_walk w = walk(bytes, cut, cut / 2, &no_limits);
        assert_int_equal(w.error, KAFKA_INVALID_RECORD);
        assert_non_null(w.message);
        assert_in_range(w.bad_record, 0, 2);
    }
}

/*
 * One record: length, attributes, timestamp delta, offset delta, key, value, header count. All of
 * them zig-zag varints but the attributes: 0x01 is -1, 0x02 is 1.
 */
static const struct damage {
    const char *name;
    const char *bytes;
    size_t len;
    int32_t count;
    int16_t error;
    int32_t bad_record;
} damages[] = {
    {"good", "\x0c\0\0\0\x01\x01\0", 7, 1, 0, -1},
    {"good, two", "\x0c\0\0\0\x01\x01\0\x0c\0\0\x02\x01\x01\0", 14, 2, 0, -1},
    {"good, with key, value and header", "\x18\0\0\0\x02k\x02v\x02\x02h\x02x", 13, 1, 0, -1},
    {"good, a header's value is null", "\x16\0\0\0\x02k\x02v\x02\x02h\x01", 12, 1, 0, -1},
    {"length too long", "\x0e\0\0\0\x01\x01\0", 7, 1, KAFKA_INVALID_RECORD, 0},
    {"length too short", "\x0a\0\0\0\x01\x01\0", 7, 1, KAFKA_INVALID_RECORD, 0},
    {"length 0", "\0\0\0\0\x01\x01\0", 7, 1, KAFKA_INVALID_RECORD, 0},
    {"length -1", "\x01\0\0\0\x01\x01\0", 7, 1, KAFKA_INVALID_RECORD, 0},
    {"length 2^31 - 1", "\xfe\xff\xff\xff\x0f\0\0\0\x01\x01\0", 11, 1, KAFKA_INVALID_RECORD, 0},
    {"length of more than 32 bits", "\x8c\x80\x80\x80\x10\0\0\0\x01\x01\0", 11, 1, KAFKA_INVALID_RECORD, 0},
    {"length of more than 5 bytes", "\x8c\x80\x80\x80\x80\0\0\0\0\x01\x01\0", 12, 1, KAFKA_INVALID_RECORD, 0},
    {"the first offset delta is 1", "\x0c\0\0\x02\x01\x01\0", 7, 1, KAFKA_INVALID_RECORD, 0},
    {"the offset delta stays 0", "\x0c\0\0\0\x01\x01\0\x0c\0\0\0\x01\x01\0", 14, 2, KAFKA_INVALID_RECORD, 1},
    {"the offset delta jumps", "\x0c\0\0\0\x01\x01\0\x0c\0\0\x04\x01\x01\0", 14, 2, KAFKA_INVALID_RECORD, 1},
    {"the offset delta is -1", "\x0c\0\0\x01\x01\x01\0", 7, 1, KAFKA_INVALID_RECORD, 0},
    {"a key beyond the end", "\x0c\0\0\0\x7e\x01\0", 7, 1, KAFKA_INVALID_RECORD, 0},
    {"a key of -2", "\x0c\0\0\0\x03\x01\0", 7, 1, KAFKA_INVALID_RECORD, 0},
    {"a value of 2^31 - 1", "\x14\0\0\0\x01\xfe\xff\xff\xff\x0f\0", 11, 1, KAFKA_INVALID_RECORD, 0},
    {"a key that takes from the next record", "\x0c\0\0\0\x0e\x01\0\x0c\0\0\x02\x01\x01\0", 14, 2, KAFKA_INVALID_RECORD, 0},
    {"a header count bomb", "\x14\0\0\0\x01\x01\xfe\xff\xff\xff\x0f", 11, 1, KAFKA_INVALID_RECORD, 0},
    {"a header count of -1", "\x0c\0\0\0\x01\x01\x01", 7, 1, KAFKA_INVALID_RECORD, 0},
    {"a header without bytes", "\x0c\0\0\0\x01\x01\x02", 7, 1, KAFKA_INVALID_RECORD, 0},
    {"a header's key is null", "\x10\0\0\0\x01\x01\x02\x01\x01", 9, 1, KAFKA_INVALID_RECORD, 0},
    {"a timestamp of 11 bytes", "\x20\0\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\0\0\x01\x01\0", 17, 1, KAFKA_INVALID_RECORD, 0},
    {"a byte is left over", "\x0c\0\0\0\x01\x01\0\0", 8, 1, KAFKA_INVALID_RECORD, -1},
    {"a record is left over", "\x0c\0\0\0\x01\x01\0\x0c\0\0\x02\x01\x01\0", 14, 1, KAFKA_INVALID_RECORD, -1},
    {"a record is missing", "\x0c\0\0\0\x01\x01\0", 7, 2, KAFKA_INVALID_RECORD, 1},
    {"a count bomb", "\x0c\0\0\0\x01\x01\0", 7, INT32_MAX, KAFKA_INVALID_RECORD, 1},
    {"nothing", "", 0, 0, 0, -1},
    {"bytes without a record", "\0", 1, 0, KAFKA_INVALID_RECORD, -1},
    {"a negative count", "\0", 1, -5, KAFKA_INVALID_RECORD, -1},
};

static void draft_of(struct draft *d, const struct damage *row)
{
    d->len = BATCH_HEADER;
    add(d, row->bytes, row->len);
    finish(d, row->count);
}

static void test_walk_of_damaged_records(void **state)
{
    static struct draft d;
    for (size_t i = 0; i < TIDE_ARRAY_LEN(damages); i++) {
        const struct damage *row = &damages[i];
        draft_of(&d, row);
        for (size_t cut = 0; cut <= d.len; cut++) {
            struct batch_walk w = walk(d.bytes, d.len, cut, &no_limits);
            if (w.error != row->error || w.bad_record != row->bad_record)
                fail_msg("%s: error %d at record %d", row->name, w.error, w.bad_record);
            assert_int_equal(w.message == NULL, row->error == 0);
        }
    }
}

/* A record in one piece is looked at in another way than one that is not: both find the same, whatever a byte of it says. */
static void test_walk_of_one_piece_and_of_many_agree(void **state)
{
    static struct draft d;
    const struct batch_walk_limits limits[] = {{0}, {.refuse_null_keys = true}, {.check_timestamps = true, .timestamp_min = 990, .timestamp_max = 1020}};
    draft_of(&d, &(struct damage){"", "\x14\0\x04\0\x02k\x06" "abc\0\x10\0\x81\x01\x02\x01\x02z\0", 20, 2, 0, -1});
    assert_int_equal(walk(d.bytes, d.len, d.len, limits).error, 0);
    for (size_t at = BATCH_HEADER; at < d.len; at++) {
        uint8_t was = d.bytes[at];
        for (unsigned byte = 0; byte < 3 * 256; byte++) {
            const struct batch_walk_limits *l = &limits[byte / 256];
            struct batch_header h;
            struct batch_walk one, many;
            d.bytes[at] = (uint8_t)byte;
            struct tide_rope r = pieces(d.bytes, d.len, 1);
            batch_header_parse(d.bytes, &h);
            batch_walk_records(tide_rope_slice(&r, 0, r.len), &h, l, &many);
            tide_rope_clear(&r);
            one = walk(d.bytes, d.len, d.len, l);
            if (one.error != many.error || one.bad_record != many.bad_record || one.message != many.message || one.max_timestamp != many.max_timestamp)
                fail_msg("byte %zu is %02x: %d at %d, and %d at %d", at, d.bytes[at], one.error, one.bad_record, many.error, many.bad_record);
        }
        d.bytes[at] = was;
    }
}

static void test_null_keys(void **state)
{
    static uint8_t bytes[BYTES_MAX];
    const struct batch_walk_limits limits = {.refuse_null_keys = true};
    size_t len = build_three(bytes);
    struct batch_walk w = walk(bytes, len, len / 2, &limits);
    assert_int_equal(w.error, KAFKA_INVALID_RECORD);
    assert_int_equal(w.bad_record, 1);
    len = batch_build(bytes, sizeof(bytes), three, 1, -1, -1, -1);
    assert_int_equal(walk(bytes, len, len / 2, &limits).error, 0);
    len = batch_build(bytes, sizeof(bytes), &three[2], 1, -1, -1, -1); /* empty is not null */
    assert_int_equal(walk(bytes, len, len / 2, &limits).error, 0);
}

static void test_timestamp_limits(void **state)
{
    static uint8_t bytes[BYTES_MAX];
    static const struct {
        int64_t timestamp, min, max;
        bool check;
        int16_t error;
    } cases[] = {
        {1000, 1000, 1000, true, 0},
        {1000, 1001, 2000, true, KAFKA_INVALID_TIMESTAMP},
        {1000, 0, 999, true, KAFKA_INVALID_TIMESTAMP},
        {1000, 0, 999, false, 0},
        {-1, 1000, 2000, true, 0}, /* no timestamp */
        {-2, 1000, 2000, true, KAFKA_INVALID_TIMESTAMP},
        {INT64_MAX, INT64_MIN, INT64_MAX, true, 0},
        {INT64_MAX, 0, 999, true, KAFKA_INVALID_TIMESTAMP},
        {INT64_MIN, 0, 999, true, KAFKA_INVALID_TIMESTAMP},
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        const struct batch_build_record one = {.timestamp = cases[i].timestamp, .value = "v", .value_len = 1};
        const struct batch_walk_limits limits = {.check_timestamps = cases[i].check,
                                                 .timestamp_min = cases[i].min,
                                                 .timestamp_max = cases[i].max};
        size_t len = batch_build(bytes, sizeof(bytes), &one, 1, -1, -1, -1);
        struct batch_walk w = walk(bytes, len, len / 2, &limits);
        assert_int_equal(w.error, cases[i].error);
        assert_int_equal(w.bad_record, cases[i].error != 0 ? 0 : -1);
    }
}

/* ---- the iterator --------------------------------------------------------------------------------------------- */

static void expect_span(const uint8_t *got, int32_t len, const void *want, int32_t want_len)
{
    assert_int_equal(got == NULL, want == NULL);
    assert_int_equal(len, want == NULL ? 0 : want_len);
    if (want != NULL)
        assert_memory_equal(got, want, (size_t)want_len);
}

static void test_iterator(void **state)
{
    static uint8_t bytes[BYTES_MAX];
    size_t len = build_three(bytes);
    struct batch_header h;
    struct batch_iter it;
    struct batch_record r;
    batch_header_parse(bytes, &h);
    h.base_offset = 100;
    batch_iter_init(&it, &h, bytes + BATCH_HEADER, len - BATCH_HEADER);
    for (int32_t i = 0; i < 3; i++) {
        assert_true(batch_iter_next(&it, &r));
        assert_int_equal(r.offset, 100 + i);
        assert_int_equal(r.timestamp, three[i].timestamp);
        expect_span(r.key, r.key_len, three[i].key, three[i].key_len);
        expect_span(r.value, r.value_len, three[i].value, three[i].value_len);
        assert_int_equal(r.header_count, 0);
        assert_int_equal(r.headers_len, 0);
    }
    assert_false(batch_iter_next(&it, &r));
    assert_false(it.bad);
    h.attributes = BATCH_LOG_APPEND_TIME;
    batch_iter_init(&it, &h, bytes + BATCH_HEADER, len - BATCH_HEADER);
    assert_true(batch_iter_next(&it, &r));
    assert_int_equal(r.timestamp, h.max_timestamp);
}

static void test_iterator_gives_headers_as_they_are(void **state)
{
    static const uint8_t records[] = {0x18, 0, 0, 0, 2, 'k', 2, 'v', 2, 2, 'h', 2, 'x'};
    const struct batch_header h = {.record_count = 1};
    struct batch_iter it;
    struct batch_record r;
    batch_iter_init(&it, &h, records, sizeof(records));
    assert_true(batch_iter_next(&it, &r));
    assert_int_equal(r.header_count, 1);
    assert_int_equal(r.headers_len, 4);
    assert_memory_equal(r.headers, "\x02h\x02x", 4);
}

/* Whatever the walk takes the iterator takes too; on the rest it stays inside of its bytes. */
static void iterate(const uint8_t *records, size_t len, const struct batch_header *h, bool good)
{
    uint8_t *exact = malloc(len != 0 ? len : 1);
    struct batch_iter it;
    struct batch_record r;
    int32_t count = 0;
    assert_non_null(exact);
    memcpy(exact, records, len);
    batch_iter_init(&it, h, exact, len);
    while (batch_iter_next(&it, &r)) {
        assert_true(r.key == NULL || (r.key >= exact && r.key + r.key_len <= exact + len));
        assert_true(r.value == NULL || (r.value >= exact && r.value + r.value_len <= exact + len));
        assert_true(r.headers >= exact && r.headers + r.headers_len <= exact + len);
        count++;
    }
    assert_true((size_t)count <= len);
    if (good) {
        assert_false(it.bad);
        assert_int_equal(count, TIDE_MAX(h->record_count, 0));
    }
    free(exact);
}

static void test_iterator_on_damaged_records(void **state)
{
    static struct draft d;
    for (size_t i = 0; i < TIDE_ARRAY_LEN(damages); i++) {
        struct batch_header h;
        draft_of(&d, &damages[i]);
        batch_header_parse(d.bytes, &h);
        for (size_t cut = BATCH_HEADER; cut <= d.len; cut++)
            iterate(d.bytes + BATCH_HEADER, cut - BATCH_HEADER, &h, cut == d.len && damages[i].error == 0);
    }
}

static size_t build_any(struct tide_random *r, uint8_t *bytes)
{
    static const uint8_t payload[64] = {1, 2, 3};
    struct batch_build_record records[RECORDS_MAX];
    int32_t count = 1 + (int32_t)tide_random_below(r, RECORDS_MAX);
    for (int32_t i = 0; i < count; i++)
        records[i] = (struct batch_build_record){.timestamp = (int64_t)tide_random_below(r, 1u << 30),
                                                 .key = tide_random_hits(r, 2) ? payload : NULL,
                                                 .key_len = (int32_t)tide_random_below(r, sizeof(payload)),
                                                 .value = tide_random_hits(r, 3) ? NULL : payload,
                                                 .value_len = (int32_t)tide_random_below(r, sizeof(payload))};
    size_t len = batch_build(bytes, BYTES_MAX, records, count, -1, -1, -1);
    assert_true(len != 0);
    return len;
}

static void test_walk_and_iterator_agree_on_random_damage(void **state)
{
    static uint8_t bytes[BYTES_MAX];
    struct tide_random r = {11};
    for (unsigned round = 0; round < 20000; round++) {
        size_t len = build_any(&r, bytes);
        struct batch_header h;
        struct batch_walk w;
        for (uint64_t n = tide_random_below(&r, 4); n != 0; n--)
            bytes[BATCH_HEADER + tide_random_below(&r, len - BATCH_HEADER)] = (uint8_t)tide_random_u64(&r);
        batch_header_parse(bytes, &h);
        w = walk(bytes, len, tide_random_below(&r, len + 1), &no_limits);
        iterate(bytes + BATCH_HEADER, len - BATCH_HEADER, &h, w.error == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c),
        cmocka_unit_test(test_crc32c_lengths),
        cmocka_unit_test(test_header_there_and_back),
        cmocka_unit_test(test_build_and_parse),
        cmocka_unit_test(test_build_needs_room),
        cmocka_unit_test(test_walk_split_at_every_position),
        cmocka_unit_test(test_walk_of_cut_batches),
        cmocka_unit_test(test_walk_of_damaged_records),
        cmocka_unit_test(test_walk_of_one_piece_and_of_many_agree),
        cmocka_unit_test(test_null_keys),
        cmocka_unit_test(test_timestamp_limits),
        cmocka_unit_test(test_iterator),
        cmocka_unit_test(test_iterator_gives_headers_as_they_are),
        cmocka_unit_test(test_iterator_on_damaged_records),
        cmocka_unit_test(test_walk_and_iterator_agree_on_random_damage),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
