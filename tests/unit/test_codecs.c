/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <lz4frame.h>
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>

#include "kafka/codecs.h"
#include "tidemark/bytes.h"
#include "tidemark/random.h"

enum { ROOM = 1 << 20 };

static struct batch_decompressor *decompressor;
static uint8_t plain[ROOM];
static uint8_t packed[2 * ROOM];

/* Runs over heap blocks of exact sizes, so that the address sanitizer sees every step outside. */
static enum tide_status unpack(enum batch_codec codec, const void *in, size_t in_len, size_t cap,
                               uint8_t **ret_out, size_t *ret_len)
{
    uint8_t *exact = malloc(in_len ? in_len : 1);
    uint8_t *out = malloc(cap ? cap : 1);
    assert_non_null(exact);
    assert_non_null(out);
    memcpy(exact, in, in_len);
    *ret_len = SIZE_MAX;
    enum tide_status status =
        batch_decompress(decompressor, codec, exact, in_len, out, cap, ret_len);
    free(exact);
    if (ret_out != NULL)
        *ret_out = out;
    else
        free(out);
    if (status == TIDE_OK)
        assert_true(*ret_len <= cap);
    else
        assert_int_equal(*ret_len, SIZE_MAX); /* written on success only */
    return status;
}

static void expect_plain(enum batch_codec codec, size_t in_len, size_t len, size_t cap)
{
    uint8_t *out;
    size_t got;
    assert_int_equal(unpack(codec, packed, in_len, cap, &out, &got), TIDE_OK);
    assert_int_equal(got, len);
    assert_memory_equal(out, plain, len);
    free(out);
}

static void expect_status(enum batch_codec codec, size_t in_len, size_t cap, enum tide_status want)
{
    size_t got;
    assert_int_equal(unpack(codec, packed, in_len, cap, NULL, &got), want);
}

static size_t gzip_pack(uint8_t *to, size_t room, const void *from, size_t len)
{
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)from;
    z.avail_in = (uInt)len;
    z.next_out = to;
    z.avail_out = (uInt)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t n = room - z.avail_out;
    deflateEnd(&z);
    return n;
}

static size_t snappy_pack(uint8_t *to, size_t room, const void *from, size_t len)
{
    assert_int_equal(snappy_compress(from, len, (char *)to, &room), SNAPPY_OK);
    return room;
}

/* Xerial's framing as Java writes it: blocks of 32 KiB. */
static size_t xerial_pack(uint8_t *to, size_t room, const void *from, size_t len)
{
    static const uint8_t header[16] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1};
    enum { BLOCK = 32768 };
    const uint8_t *p = from;
    size_t at = sizeof(header);
    memcpy(to, header, sizeof(header));
    do {
        size_t piece = len < BLOCK ? len : BLOCK;
        size_t n = snappy_pack(to + at + 4, room - at - 4, p, piece);
        store_be32(to + at, (uint32_t)n);
        at += 4 + n;
        p += piece;
        len -= piece;
    } while (len != 0);
    return at;
}

static size_t lz4_pack_mode(uint8_t *to, size_t room, const void *from, size_t len,
                            LZ4F_blockMode_t mode, bool checksums)
{
    LZ4F_preferences_t p = {.frameInfo = {.blockMode = mode,
                                          .blockSizeID = LZ4F_max64KB,
                                          .contentSize = checksums ? len : 0,
                                          .contentChecksumFlag = checksums,
                                          .blockChecksumFlag = checksums}};
    size_t n = LZ4F_compressFrame(to, room, from, len, &p);
    assert_false(LZ4F_isError(n));
    return n;
}

static size_t lz4_pack(uint8_t *to, size_t room, const void *from, size_t len)
{
    return lz4_pack_mode(to, room, from, len, LZ4F_blockIndependent, false);
}

static size_t lz4_pack_checked(uint8_t *to, size_t room, const void *from, size_t len)
{
    return lz4_pack_mode(to, room, from, len, LZ4F_blockIndependent, true);
}

static size_t zstd_pack(uint8_t *to, size_t room, const void *from, size_t len)
{
    size_t n = ZSTD_compress(to, room, from, len, 3);
    assert_false(ZSTD_isError(n));
    return n;
}

/* A frame as a stream makes it: no content size, a window instead. */
static size_t zstd_pack_stream(uint8_t *to, size_t room, const void *from, size_t len)
{
    ZSTD_CCtx *c = ZSTD_createCCtx();
    ZSTD_inBuffer in = {from, len, 0};
    ZSTD_outBuffer out = {to, room, 0};
    (void)ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
    assert_int_equal(ZSTD_isError(ZSTD_compressStream2(c, &out, &in, ZSTD_e_flush)), 0);
    assert_int_equal(ZSTD_compressStream2(c, &out, &in, ZSTD_e_end), 0);
    ZSTD_freeCCtx(c);
    return out.pos;
}

static size_t none_pack(uint8_t *to, size_t room, const void *from, size_t len)
{
    assert_true(len <= room);
    memcpy(to, from, len);
    return len;
}

/* `cut`: every prefix is refused. Of a stream without its own end a prefix may be whole. */
static const struct {
    const char *name;
    enum batch_codec codec;
    size_t (*pack)(uint8_t *to, size_t room, const void *from, size_t len);
    bool cut;
} kinds[] = {
    {"none", CODEC_NONE, none_pack, false},
    {"gzip", CODEC_GZIP, gzip_pack, true},
    {"raw snappy", CODEC_SNAPPY, snappy_pack, true},
    {"xerial snappy", CODEC_SNAPPY, xerial_pack, false},
    {"lz4", CODEC_LZ4, lz4_pack, true},
    {"lz4 with checksums and size", CODEC_LZ4, lz4_pack_checked, true},
    {"zstd", CODEC_ZSTD, zstd_pack, true},
    {"zstd of a stream", CODEC_ZSTD, zstd_pack_stream, true},
};

/* Text that repeats now and then, the same for a seed. */
static void fill_plain(size_t len, uint64_t seed)
{
    struct tide_random r = {seed};
    for (size_t i = 0; i < len; i++)
        plain[i] = i > 64 && !tide_random_hits(&r, 9) ? plain[i - 61] : (uint8_t)tide_random_u64(&r);
}

static void test_every_kind_comes_back(void **state)
{
    static const size_t lengths[] = {1, 2, 61, 1000, 32768, 65536, 65537, 300000, ROOM};
    for (size_t k = 0; k < TIDE_ARRAY_LEN(kinds); k++)
        for (size_t i = 0; i < TIDE_ARRAY_LEN(lengths); i++) {
            size_t len = lengths[i];
            fill_plain(len, len);
            size_t n = kinds[k].pack(packed, sizeof(packed), plain, len);
            expect_plain(kinds[k].codec, n, len, len);
            expect_plain(kinds[k].codec, n, len, len + 7);
        }
}

static void test_output_ends_at_the_cap(void **state)
{
    static const size_t caps[] = {0, 1, 60, 32768, 65535, 65536, 99999};
    fill_plain(100000, 4);
    for (size_t k = 0; k < TIDE_ARRAY_LEN(kinds); k++) {
        size_t n = kinds[k].pack(packed, sizeof(packed), plain, 100000);
        for (size_t i = 0; i < TIDE_ARRAY_LEN(caps); i++)
            expect_status(kinds[k].codec, n, caps[i], TIDE_FULL);
    }
}

/* Megabytes of zeroes in few bytes: the cap stops them, whatever size they declare. */
static void test_bombs(void **state)
{
    enum { ZEROES = 64 << 20, CAP = 4096 };
    uint8_t *zeroes = calloc(1, ZEROES);
    assert_non_null(zeroes);
    for (size_t k = 1; k < TIDE_ARRAY_LEN(kinds); k++) {
        size_t room = snappy_max_compressed_length(ZEROES); /* the largest of all */
        uint8_t *bomb = malloc(room);
        assert_non_null(bomb);
        size_t n = kinds[k].pack(bomb, room, zeroes, ZEROES);
        size_t got;
        assert_int_equal(unpack(kinds[k].codec, bomb, n, CAP, NULL, &got), TIDE_FULL);
        free(bomb);
    }
    free(zeroes);
}

static void test_truncation_is_refused(void **state)
{
    fill_plain(700, 5);
    for (size_t k = 0; k < TIDE_ARRAY_LEN(kinds); k++) {
        size_t n = kinds[k].pack(packed, sizeof(packed), plain, 700);
        for (size_t cut = 0; kinds[k].cut && cut < n; cut++)
            expect_status(kinds[k].codec, cut, 4096, TIDE_BAD);
    }
    size_t n = xerial_pack(packed, sizeof(packed), plain, 700);
    /* With less than its magic it is a raw block, of the size that the magic's first bytes say. */
    for (size_t cut = 0; cut < n; cut++)
        expect_status(CODEC_SNAPPY, cut, 4096, cut >= 2 && cut < 8 ? TIDE_FULL : TIDE_BAD);
}

static void test_trailing_bytes_are_refused(void **state)
{
    fill_plain(700, 6);
    for (size_t k = 1; k < TIDE_ARRAY_LEN(kinds); k++) {
        size_t n = kinds[k].pack(packed, sizeof(packed), plain, 700);
        memset(packed + n, 0xee, 9);
        expect_status(kinds[k].codec, n + 1, 4096, TIDE_BAD);
        expect_status(kinds[k].codec, n + 9, 4096, TIDE_BAD);
    }
}

/* gzip's members and zstd's frames stand one behind the other; lz4 has one frame. */
static void test_several_in_a_row(void **state)
{
    static const struct {
        size_t kind;
        enum tide_status want;
    } cases[] = {{1, TIDE_OK}, {4, TIDE_BAD}, {6, TIDE_OK}, {7, TIDE_OK}};
    fill_plain(3000, 7);
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        size_t k = cases[i].kind;
        size_t n = kinds[k].pack(packed, sizeof(packed), plain, 1000);
        n += kinds[k].pack(packed + n, sizeof(packed) - n, plain + 1000, 2000);
        if (cases[i].want == TIDE_OK) {
            expect_plain(kinds[k].codec, n, 3000, 3000);
            expect_status(kinds[k].codec, n, 2999, TIDE_FULL);
            expect_status(kinds[k].codec, n, 999, TIDE_FULL);
        } else {
            expect_status(kinds[k].codec, n, 3000, cases[i].want);
        }
    }
}

static void test_zstd_skippable_frame(void **state)
{
    static const uint8_t skip[] = {0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3};
    fill_plain(500, 8);
    memcpy(packed, skip, sizeof(skip));
    size_t n = sizeof(skip) + zstd_pack(packed + sizeof(skip), sizeof(packed) - sizeof(skip), plain, 500);
    expect_plain(CODEC_ZSTD, n, 500, 500);
    expect_status(CODEC_ZSTD, sizeof(skip) - 1, 500, TIDE_BAD);
}

/* One byte of the frame header says the window: 2^27 is the last that is taken. */
static void test_zstd_windows(void **state)
{
    static const struct {
        uint8_t window;
        enum tide_status want;
    } cases[] = {{0, TIDE_OK},         {17 << 3, TIDE_OK},        {16 << 3 | 7, TIDE_OK},
                 {17 << 3 | 1, TIDE_BAD}, {18 << 3, TIDE_BAD}, {21 << 3, TIDE_BAD}, {0xff, TIDE_BAD}};
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        /* One raw last block of three bytes, RFC 8878 3.1.1.2. */
        uint8_t frame[] = {0x28, 0xb5, 0x2f, 0xfd, 0, cases[i].window, 3 << 3 | 1, 0, 0, 'a', 'b', 'c'};
        memcpy(packed, frame, sizeof(frame));
        memcpy(plain, "abc", 3);
        if (cases[i].want == TIDE_OK)
            expect_plain(CODEC_ZSTD, sizeof(frame), 3, 3);
        else
            expect_status(CODEC_ZSTD, sizeof(frame), 3, cases[i].want);
    }
}

static void test_lz4_kinds_that_java_refuses(void **state)
{
    fill_plain(200000, 9);
    size_t n = lz4_pack_mode(packed, sizeof(packed), plain, 200000, LZ4F_blockLinked, false);
    expect_status(CODEC_LZ4, n, ROOM, TIDE_BAD);
    n = lz4_pack(packed, sizeof(packed), plain, 100);
    packed[4] ^= 1; /* a dictionary */
    expect_status(CODEC_LZ4, n, ROOM, TIDE_BAD);
}

/* Framing that lies, and blocks that do. */
static void test_snappy_lies(void **state)
{
    static const struct {
        const char *what;
        uint8_t bytes[24];
        size_t len;
        enum tide_status want;
    } cases[] = {
        {"a length of 4 GiB", {0xff, 0xff, 0xff, 0xff, 0x0f, 0}, 6, TIDE_FULL},
        {"a length of six bytes", {0xff, 0xff, 0xff, 0xff, 0xff, 1, 0}, 7, TIDE_BAD},
        {"a copy before the start", {4, 0x05, 0x09}, 3, TIDE_BAD},
        {"a literal beyond the end", {4, 0xf0, 200, 1}, 4, TIDE_BAD},
        {"nothing", {0}, 0, TIDE_BAD},
        {"nothing said in full", {0}, 1, TIDE_OK},
        {"a header only", {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1}, 16, TIDE_BAD},
        {"a block of length 0",
         {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0}, 20, TIDE_BAD},
        {"a negative block",
         {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff}, 20, TIDE_BAD},
        {"a block longer than the rest",
         {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 3, 1, 0}, 22, TIDE_BAD},
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        size_t got;
        if (unpack(CODEC_SNAPPY, cases[i].bytes, cases[i].len, 4096, NULL, &got) != cases[i].want)
            fail_msg("%s", cases[i].what);
    }
}

/* Flipped bits: any answer, but nothing outside of the buffers, and the next stream is read well. */
static void test_damage(void **state)
{
    struct tide_random r = {11};
    for (size_t k = 1; k < TIDE_ARRAY_LEN(kinds); k++) {
        fill_plain(5000, k);
        size_t n = kinds[k].pack(packed, sizeof(packed), plain, 5000);
        for (unsigned round = 0; round < 400; round++) {
            size_t at = tide_random_below(&r, round < 200 ? TIDE_MIN(n, 32ul) : n);
            uint8_t bit = (uint8_t)(1u << tide_random_below(&r, 8));
            size_t got;
            packed[at] ^= bit;
            (void)unpack(kinds[k].codec, packed, n, 6000, NULL, &got);
            packed[at] ^= bit;
            if (round % 50 == 0)
                expect_plain(kinds[k].codec, n, 5000, 6000);
        }
    }
}

/* A frame that states its size and breaks off leaves nothing behind for the next one. */
static void test_a_broken_frame_harms_no_other(void **state)
{
    fill_plain(5000, 13);
    for (size_t k = 1; k < TIDE_ARRAY_LEN(kinds); k++)
        for (size_t next = 1; next < TIDE_ARRAY_LEN(kinds); next++) {
            size_t n = kinds[k].pack(packed, sizeof(packed), plain, 5000);
            expect_status(kinds[k].codec, n - 1, 6000, TIDE_BAD);
            expect_status(kinds[k].codec, n, 4999, TIDE_FULL);
            n = kinds[next].pack(packed, sizeof(packed), plain, 5000);
            expect_plain(kinds[next].codec, n, 5000, 6000);
        }
}

static void test_noise(void **state)
{
    struct tide_random r = {12};
    for (unsigned round = 0; round < 4000; round++) {
        size_t len = tide_random_below(&r, 200);
        size_t got;
        for (size_t i = 0; i < len; i++)
            packed[i] = (uint8_t)tide_random_u64(&r);
        for (int codec = CODEC_GZIP; codec <= 7; codec++)
            (void)unpack((enum batch_codec)codec, packed, len, 512, NULL, &got);
    }
}

static void test_unknown_codecs(void **state)
{
    for (int codec = CODEC_COUNT; codec <= BATCH_CODEC_MASK; codec++)
        expect_status((enum batch_codec)codec, 10, 100, TIDE_BAD);
}

/* Behind a batch's header: what comes out is read as its records. */
static void test_records_of_a_compressed_batch(void **state)
{
    const struct batch_build_record records[] = {
        {.timestamp = 7, .key = "k", .key_len = 1, .value = "one", .value_len = 3},
        {.timestamp = 9, .value = "two", .value_len = 3}};
    uint8_t batch[256];
    struct batch_header h;
    struct batch_record record;
    struct batch_iter it;
    uint8_t *out;
    size_t len;

    size_t size = batch_build(batch, sizeof(batch), records, 2, -1, -1, -1);
    batch_header_parse(batch, &h);
    for (size_t k = 1; k < TIDE_ARRAY_LEN(kinds); k++) {
        size_t n = kinds[k].pack(packed, sizeof(packed), batch + BATCH_HEADER, size - BATCH_HEADER);
        assert_int_equal(unpack(kinds[k].codec, packed, n, 256, &out, &len), TIDE_OK);
        batch_iter_init(&it, &h, out, len);
        assert_true(batch_iter_next(&it, &record));
        assert_memory_equal(record.value, "one", 3);
        assert_true(batch_iter_next(&it, &record));
        assert_int_equal(record.timestamp, 9);
        assert_null(record.key);
        assert_false(batch_iter_next(&it, &record));
        assert_false(it.bad);
        free(out);
    }
}

static int setup(void **state)
{
    decompressor = batch_decompressor_create();
    return decompressor == NULL;
}

static int teardown(void **state)
{
    batch_decompressor_destroy(decompressor);
    batch_decompressor_destroy(NULL);
    return 0;
}

/* What compaction writes again can be read again. */
static void test_there_and_back(void **state)
{
    static const size_t lengths[] = {1, 100, 32768, 32769, 300000};
    uint8_t *bytes = malloc(300000);
    uint8_t *back = malloc(300001);
    struct batch_decompressor *d = batch_decompressor_create();
    (void)state;
    assert_non_null(d);
    for (size_t i = 0; i < 300000; i++)
        bytes[i] = (uint8_t)(i % 7 * (i >> 8));
    for (int codec = CODEC_NONE; codec < CODEC_COUNT; codec++)
        for (size_t i = 0; i < TIDE_ARRAY_LEN(lengths); i++) {
            size_t bound = batch_compress_bound((enum batch_codec)codec, lengths[i]);
            uint8_t *tight = malloc(bound + 1);
            size_t made, len;
            assert_int_equal(batch_compress((enum batch_codec)codec, bytes, lengths[i], tight, bound, &made), TIDE_OK);
            assert_true(made <= bound);
            assert_int_equal(batch_decompress(d, (enum batch_codec)codec, tight, made, back, 300001, &len), TIDE_OK);
            assert_int_equal(len, lengths[i]);
            assert_memory_equal(back, bytes, len);
            if (bound > 0)
                assert_int_equal(batch_compress((enum batch_codec)codec, bytes, lengths[i], tight, bound - 1, &made), TIDE_BAD);
            free(tight);
        }
    assert_int_equal(batch_compress(CODEC_COUNT, bytes, 1, back, 100, &(size_t){0}), TIDE_BAD);
    batch_decompressor_destroy(d);
    free(bytes);
    free(back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_every_kind_comes_back),
        cmocka_unit_test(test_output_ends_at_the_cap),
        cmocka_unit_test(test_bombs),
        cmocka_unit_test(test_truncation_is_refused),
        cmocka_unit_test(test_trailing_bytes_are_refused),
        cmocka_unit_test(test_several_in_a_row),
        cmocka_unit_test(test_zstd_skippable_frame),
        cmocka_unit_test(test_zstd_windows),
        cmocka_unit_test(test_lz4_kinds_that_java_refuses),
        cmocka_unit_test(test_snappy_lies),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_a_broken_frame_harms_no_other),
        cmocka_unit_test(test_noise),
        cmocka_unit_test(test_unknown_codecs),
        cmocka_unit_test(test_records_of_a_compressed_batch),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
