/* SPDX-License-Identifier: Apache-2.0 */
/* What helpers say about compressed batches. */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include <lz4frame.h>
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>

#include "kafka/errors.h"
#include "log/plain.h"
#include "partition/check.h"
#include "tidemark/bytes.h"

enum { CAP = 1 << 20 };

static struct rte_mempool *pool;
static uint8_t plain[CAP];
static uint8_t batch[CAP];

static size_t gzip(const void *from, size_t len, uint8_t *to)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)from, .avail_in = (uInt)len, .next_out = to, .avail_out = CAP - 100};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t n = z.total_out;
    deflateEnd(&z);
    return n;
}

/* What Java clients send: a header and blocks with their sizes. */
static size_t xerial(const void *from, size_t len, uint8_t *to)
{
    static const uint8_t head[16] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1};
    size_t at = sizeof(head);
    memcpy(to, head, at);
    for (size_t done = 0; done < len;) {
        size_t piece = len - done < 1000 ? len - done : 1000;
        size_t room = CAP - at - 4;
        assert_int_equal(snappy_compress((const char *)from + done, piece, (char *)to + at + 4, &room), SNAPPY_OK);
        store_be32(to + at, (uint32_t)room);
        at += 4 + room;
        done += piece;
    }
    return at;
}

static size_t compress_with(enum batch_codec codec, const void *from, size_t len, uint8_t *to)
{
    size_t room = CAP - 100;
    switch (codec) {
    case CODEC_GZIP:
        return gzip(from, len, to);
    case CODEC_SNAPPY:
        return xerial(from, len, to);
    case CODEC_LZ4: {
        LZ4F_preferences_t p = {.frameInfo = {.blockMode = LZ4F_blockIndependent}};
        return LZ4F_compressFrame(to, room, from, len, &p);
    }
    case CODEC_ZSTD:
        return ZSTD_compress(to, room, from, len, 3);
    default:
        memcpy(to, from, len);
        return len;
    }
}

/* Plain batch in `plain` -> the same in `batch`, compressed. */
static size_t pack(enum batch_codec codec, size_t len)
{
    memcpy(batch, plain, BATCH_HEADER);
    size_t n = BATCH_HEADER + compress_with(codec, plain + BATCH_HEADER, len - BATCH_HEADER, batch + BATCH_HEADER);
    store_be32(batch + BATCH_LENGTH, (uint32_t)n - BATCH_LENGTH_OVERHEAD);
    store_be16(batch + BATCH_ATTRIBUTES, (uint16_t)codec);
    return n;
}

static size_t build(int32_t count, bool keys)
{
    static struct batch_build_record records[64];
    static char value[300];
    memset(value, 'v', sizeof(value));
    for (int32_t i = 0; i < count; i++)
        records[i] = (struct batch_build_record){.timestamp = 1000 + i, .key = keys ? "key" : NULL, .key_len = keys ? 3 : 0,
                                                 .value = value, .value_len = sizeof(value)};
    return batch_build(plain, CAP, records, count, -1, -1, -1);
}

static struct batch_walk judge_slice(const uint8_t *bytes, size_t len, const struct batch_walk_limits *limits)
{
    struct tide_rope rope = {0};
    struct batch_header h;
    struct batch_check c;
    for (size_t at = 0; at < len;) { /* as frames bring it */
        size_t n = len - at < 1448 ? len - at : 1448;
        tide_rope_push(&rope, unit_exact_mbuf(pool, bytes + at, (uint16_t)n));
        at += n;
    }
    batch_header_parse(bytes, &h);
    batch_check_prepare(&c, tide_rope_slice(&rope, 0, rope.len), &h, limits);
    c.job.run(&c.job, NULL);
    assert_int_equal(c.job.result, 0);
    tide_rope_clear(&rope);
    return c.walked;
}

static struct batch_walk judge(size_t len)
{
    const struct batch_walk_limits none = {0};
    batch_seal(batch, len);
    return judge_slice(batch, len, &none);
}

static void test_good_ones(void **state)
{
    for (int codec = CODEC_GZIP; codec < CODEC_COUNT; codec++) {
        struct batch_walk v = judge(pack((enum batch_codec)codec, build(20, false)));
        assert_int_equal(v.error, 0);
        assert_int_equal(v.bad_record, -1);
        assert_int_equal(v.max_timestamp, 1019);
    }
}

static void refused(struct batch_walk v, int16_t error, int32_t record)
{
    if (v.error != error || v.bad_record != record)
        fail_msg("error %d at %d, not %d at %d (%s)", v.error, v.bad_record, error, record, v.message);
    assert_non_null(v.message);
}

static void test_framing(void **state)
{
    for (int codec = CODEC_GZIP; codec < CODEC_COUNT; codec++) {
        enum batch_codec c = (enum batch_codec)codec;
        size_t len = build(5, false);
        size_t record = (len - BATCH_HEADER) / 5;
        store_be32(plain + BATCH_RECORD_COUNT, 6);
        store_be32(plain + BATCH_LAST_OFFSET_DELTA, 5);
        refused(judge(pack(c, len)), KAFKA_INVALID_RECORD, 5); /* fewer than it says */
        store_be32(plain + BATCH_RECORD_COUNT, 4);
        store_be32(plain + BATCH_LAST_OFFSET_DELTA, 3);
        refused(judge(pack(c, len)), KAFKA_INVALID_RECORD, -1); /* more */
        len = build(5, false);
        plain[BATCH_HEADER + 2 * record + 4] = 20; /* an offset delta */
        refused(judge(pack(c, len)), KAFKA_INVALID_RECORD, 2);
        len = build(5, false);
        memcpy(plain + len, "xx", 2);
        refused(judge(pack(c, len + 2)), KAFKA_INVALID_RECORD, -1);
        len = build(5, false);
        refused(judge(pack(c, len - 10)), KAFKA_INVALID_RECORD, 4);
    }
}

static void test_streams(void **state)
{
    for (int codec = CODEC_GZIP; codec < CODEC_COUNT; codec++) {
        size_t len = pack((enum batch_codec)codec, build(20, false));
        store_be32(batch + BATCH_LENGTH, (uint32_t)len - 5 - BATCH_LENGTH_OVERHEAD);
        refused(judge(len - 5), KAFKA_INVALID_RECORD, -1); /* cut short */
        len = pack((enum batch_codec)codec, build(20, false));
        memset(batch + BATCH_HEADER, 0xa5, len - BATCH_HEADER);
        refused(judge(len), KAFKA_INVALID_RECORD, -1); /* no stream at all */
        len = pack((enum batch_codec)codec, build(20, false));
        batch_seal(batch, len);
        batch[len - 1] ^= 1; /* on the way */
        const struct batch_walk_limits none = {0};
        refused(judge_slice(batch, len, &none), KAFKA_CORRUPT_MESSAGE, -1);
    }
}

static void test_a_bomb(void **state)
{
    size_t len = (size_t)LOG_PLAIN_BYTES_MAX + 1000;
    uint8_t *zeroes = calloc(1, len);
    assert_non_null(zeroes);
    (void)build(5, false);
    memcpy(batch, plain, BATCH_HEADER);
    size_t n = BATCH_HEADER + ZSTD_compress(batch + BATCH_HEADER, CAP - BATCH_HEADER, zeroes, len, 1);
    free(zeroes);
    assert_true(n < 100000);
    store_be32(batch + BATCH_LENGTH, (uint32_t)n - BATCH_LENGTH_OVERHEAD);
    store_be16(batch + BATCH_ATTRIBUTES, CODEC_ZSTD);
    refused(judge(n), KAFKA_INVALID_RECORD, -1);
}

static void test_what_the_topic_wants(void **state)
{
    struct batch_walk_limits limits = {.refuse_null_keys = true};
    size_t len = pack(CODEC_LZ4, build(5, false));
    batch_seal(batch, len);
    refused(judge_slice(batch, len, &limits), KAFKA_INVALID_RECORD, 0);
    len = pack(CODEC_LZ4, build(5, true));
    batch_seal(batch, len);
    assert_int_equal(judge_slice(batch, len, &limits).error, 0);
    limits = (struct batch_walk_limits){.check_timestamps = true, .timestamp_min = 0, .timestamp_max = 1003};
    refused(judge_slice(batch, len, &limits), KAFKA_INVALID_TIMESTAMP, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_ones), cmocka_unit_test(test_framing), cmocka_unit_test(test_streams),
        cmocka_unit_test(test_a_bomb),    cmocka_unit_test(test_what_the_topic_wants),
    };
    unit_eal();
    pool = unit_pool("check", 1024, 2048);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
