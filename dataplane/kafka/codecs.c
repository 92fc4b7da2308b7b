/* SPDX-License-Identifier: Apache-2.0 */
#include "kafka/codecs.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <lz4frame.h>
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "tidemark/assert.h"
#include "tidemark/bytes.h"
#include "tidemark/types.h"

struct batch_decompressor {
    z_stream gzip;
    bool gzip_ready;
    ZSTD_DCtx *zstd;
};

/* What is still to be read, and where the output stands. */
struct stream {
    const uint8_t *in;
    size_t in_left;
    uint8_t *out;
    size_t room;
};

struct batch_decompressor *batch_decompressor_create(void)
{
    struct batch_decompressor *d = calloc(1, sizeof(*d));
    if (d == NULL)
        return NULL;
    d->gzip_ready = inflateInit2(&d->gzip, 16 + MAX_WBITS) == Z_OK; /* 16: gzip, not zlib */
    d->zstd = ZSTD_createDCtx();
    if (d->gzip_ready && d->zstd != NULL)
        return d;
    batch_decompressor_destroy(d);
    return NULL;
}

void batch_decompressor_destroy(struct batch_decompressor *d)
{
    if (d == NULL)
        return;
    if (d->gzip_ready)
        (void)inflateEnd(&d->gzip);
    (void)ZSTD_freeDCtx(d->zstd);
    free(d);
}

static void advance(struct stream *s, size_t used, size_t made)
{
    s->in += used;
    s->in_left -= used;
    s->out += made;
    s->room -= made;
}

static enum tide_status copy(struct stream *s)
{
    if (s->in_left > s->room)
        return TIDE_FULL;
    if (s->in_left != 0)
        memcpy(s->out, s->in, s->in_left);
    advance(s, s->in_left, s->in_left);
    return TIDE_OK;
}

/* One member of a gzip stream. */
static enum tide_status gzip_member(z_stream *z, struct stream *s)
{
    int result;
    if (inflateReset(z) != Z_OK)
        return TIDE_BAD;
    do {
        uInt in = (uInt)s->in_left; /* <= CODEC_INPUT_BYTES_MAX */
        uInt out = (uInt)TIDE_MIN(s->room, (size_t)INT32_MAX);
        z->next_in = (Bytef *)(uintptr_t)s->in;
        z->avail_in = in;
        z->next_out = s->out;
        z->avail_out = out;
        result = inflate(z, Z_NO_FLUSH);
        if (result == Z_MEM_ERROR)
            return TIDE_IO;
        if (z->avail_in == in && z->avail_out == out && result != Z_STREAM_END)
            return result == Z_DATA_ERROR || s->room != 0 ? TIDE_BAD : TIDE_FULL;
        advance(s, in - z->avail_in, out - z->avail_out);
    } while (result == Z_OK);
    return result == Z_STREAM_END ? TIDE_OK : TIDE_BAD;
}

/* Every member uses up bytes, so this ends. */
static enum tide_status gzip(struct batch_decompressor *d, struct stream *s)
{
    enum tide_status status = TIDE_BAD;
    while (s->in_left != 0) {
        status = gzip_member(&d->gzip, s);
        if (status != TIDE_OK)
            return status;
    }
    return status;
}

static enum tide_status snappy_block(struct stream *s, size_t len)
{
    size_t made = 0;
    if (snappy_uncompressed_length((const char *)s->in, len, &made) != SNAPPY_OK)
        return TIDE_BAD;
    if (made > s->room) /* what is declared is compared, and the library holds it to that */
        return TIDE_FULL;
    if (snappy_uncompress((const char *)s->in, len, (char *)s->out, &made) != SNAPPY_OK)
        return TIDE_BAD;
    advance(s, len, made);
    return TIDE_OK;
}

/* Xerial's framing: a magic, two int32 versions, and blocks behind their int32 lengths. */
static enum tide_status snappy(struct stream *s)
{
    static const uint8_t magic[8] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0};
    enum { XERIAL_HEADER = 16, XERIAL_LENGTH = 4 };

    if (s->in_left < sizeof(magic) || memcmp(s->in, magic, sizeof(magic)) != 0)
        return snappy_block(s, s->in_left);
    if (s->in_left <= XERIAL_HEADER)
        return TIDE_BAD;
    advance(s, XERIAL_HEADER, 0);
    while (s->in_left != 0) {
        if (s->in_left < XERIAL_LENGTH)
            return TIDE_BAD;
        uint32_t len = load_be32(s->in);
        advance(s, XERIAL_LENGTH, 0);
        if (len == 0 || len > s->in_left)
            return TIDE_BAD;
        enum tide_status status = snappy_block(s, len);
        if (status != TIDE_OK)
            return status;
    }
    return TIDE_OK;
}

/* Java's reader takes neither linked blocks nor a dictionary nor set reserved bits, so a batch with
 * them would stop every consumer that reads with it. */
static bool lz4_is_readable(const struct stream *s)
{
    enum { FLAG_DICTIONARY = 1, FLAG_RESERVED = 2, FLAG_INDEPENDENT = 32, VERSION_MASK = 192 };
    static const uint8_t magic[4] = {0x04, 0x22, 0x4d, 0x18};
    uint8_t flags;
    if (s->in_left < sizeof(magic) + 1 || memcmp(s->in, magic, sizeof(magic)) != 0)
        return false;
    flags = s->in[sizeof(magic)];
    return (flags & VERSION_MASK) == 64 && (flags & FLAG_INDEPENDENT) != 0 &&
           (flags & (FLAG_DICTIONARY | FLAG_RESERVED)) == 0;
}

static enum tide_status lz4_frame(LZ4F_dctx *d, struct stream *s)
{
    const LZ4F_decompressOptions_t options = {.stableDst = 1};
    size_t hint;
    do {
        size_t used = s->in_left;
        size_t made = s->room;
        hint = LZ4F_decompress(d, s->out, &made, s->in, &used, &options);
        if (LZ4F_isError(hint))
            return strcmp(LZ4F_getErrorName(hint), "ERROR_allocation_failed") ? TIDE_BAD : TIDE_IO;
        if (used == 0 && made == 0 && hint != 0)
            return s->room == 0 ? TIDE_FULL : TIDE_BAD;
        advance(s, used, made);
    } while (hint != 0);
    return s->in_left == 0 ? TIDE_OK : TIDE_BAD;
}

/* Every frame has a context of its own: one that was reset still remembers the content size of a
 * frame that broke off (liblz4 1.9.4), and would refuse the next good one that states none. */
static enum tide_status lz4(struct stream *s)
{
    LZ4F_dctx *d;
    enum tide_status status;
    if (!lz4_is_readable(s))
        return TIDE_BAD;
    if (LZ4F_isError(LZ4F_createDecompressionContext(&d, LZ4F_VERSION)))
        return TIDE_IO;
    status = lz4_frame(d, s);
    (void)LZ4F_freeDecompressionContext(d);
    return status;
}

/* RFC 8878 3.1.1.1: descriptor, then the window's exponent and mantissa, unless the frame is one
 * segment: its window is then its content, which the output buffer bounds. */
static bool zstd_window_is_small(const struct stream *s)
{
    enum { SINGLE_SEGMENT = 32 };
    uint64_t base;
    uint8_t window;
    if (s->in_left < 6 || (s->in[4] & SINGLE_SEGMENT) != 0)
        return true; /* too short: the library will say so */
    window = s->in[5];
    base = 1ull << (10 + (window >> 3));
    return base + base / 8 * (window & 7) <= 1ull << CODEC_ZSTD_WINDOW_LOG_MAX;
}

/* RFC 8878 3.1.2. */
static bool zstd_is_skippable(const struct stream *s)
{
    return s->in_left >= 4 && (s->in[0] & 0xf0) == 0x50 && s->in[1] == 0x2a && s->in[2] == 0x4d &&
           s->in[3] == 0x18;
}

/* The library may know older formats, which Kafka's clients do not write. */
static bool zstd_is_frame(const struct stream *s)
{
    static const uint8_t magic[4] = {0x28, 0xb5, 0x2f, 0xfd};
    return s->in_left > sizeof(magic) && memcmp(s->in, magic, sizeof(magic)) == 0;
}

static enum tide_status zstd_status(ZSTD_ErrorCode code)
{
    if (code == ZSTD_error_dstSize_tooSmall)
        return TIDE_FULL;
    return code == ZSTD_error_memory_allocation ? TIDE_IO : TIDE_BAD;
}

/* Frame by frame into the one output, which serves as the window: nothing is allocated for it. */
static enum tide_status zstd_frame(ZSTD_DCtx *z, struct stream *s)
{
    size_t made = 0;
    size_t len;
    if (!zstd_is_frame(s) && !zstd_is_skippable(s))
        return TIDE_BAD;
    len = ZSTD_findFrameCompressedSize(s->in, s->in_left);
    if (ZSTD_isError(len) || len == 0 || len > s->in_left)
        return TIDE_BAD;
    if (!zstd_is_skippable(s)) {
        if (!zstd_window_is_small(s))
            return TIDE_BAD;
        made = ZSTD_decompressDCtx(z, s->out, s->room, s->in, len);
        if (ZSTD_isError(made))
            return zstd_status(ZSTD_getErrorCode(made));
    }
    advance(s, len, made);
    return TIDE_OK;
}

static enum tide_status zstd(struct batch_decompressor *d, struct stream *s)
{
    enum tide_status status = TIDE_BAD;
    while (s->in_left != 0) {
        status = zstd_frame(d->zstd, s);
        if (status != TIDE_OK)
            return status;
    }
    return status;
}

static enum tide_status run(struct batch_decompressor *d, enum batch_codec codec, struct stream *s)
{
    switch (codec) {
    case CODEC_NONE:
        return copy(s);
    case CODEC_GZIP:
        return gzip(d, s);
    case CODEC_SNAPPY:
        return snappy(s);
    case CODEC_LZ4:
        return lz4(s);
    case CODEC_ZSTD:
        return zstd(d, s);
    default:
        return TIDE_BAD;
    }
}

enum tide_status batch_decompress(struct batch_decompressor *d, enum batch_codec codec,
                                  const void *in, size_t in_len, void *out, size_t cap,
                                  size_t *ret_len)
{
    struct stream s = {.in = in, .in_left = in_len, .out = out, .room = cap};
    enum tide_status status;

    TIDE_ASSERT(out != NULL);
    if (in_len > CODEC_INPUT_BYTES_MAX)
        return TIDE_BAD;
    status = run(d, codec, &s);
    if (status == TIDE_OK)
        *ret_len = cap - s.room;
    return status;
}

/* ---- the other way -------------------------------------------------------------------------------------- */

enum { XERIAL_HEAD = 16, XERIAL_BLOCK = 32 * 1024, GZIP_LEVEL = Z_DEFAULT_COMPRESSION, GZIP_HEAD = 32 };

static const LZ4F_preferences_t lz4_preferences = {
    .frameInfo = {.blockSizeID = LZ4F_max64KB, .blockMode = LZ4F_blockIndependent}};

static size_t xerial_bound(size_t len)
{
    size_t blocks = (len + XERIAL_BLOCK - 1) / XERIAL_BLOCK;
    return XERIAL_HEAD + blocks * (4 + snappy_max_compressed_length(XERIAL_BLOCK));
}

size_t batch_compress_bound(enum batch_codec codec, size_t len)
{
    switch (codec) {
    case CODEC_GZIP:
        return compressBound(len) + GZIP_HEAD;
    case CODEC_SNAPPY:
        return xerial_bound(len);
    case CODEC_LZ4:
        return LZ4F_compressFrameBound(len, &lz4_preferences);
    case CODEC_ZSTD:
        return ZSTD_compressBound(len);
    default:
        return len;
    }
}

static enum tide_status compress_gzip(const void *in, size_t len, void *out, size_t cap, size_t *ret_len)
{
    z_stream z = {0};
    if (deflateInit2(&z, GZIP_LEVEL, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return TIDE_IO;
    z.next_in = (Bytef *)(uintptr_t)in;
    z.avail_in = (uInt)len;
    z.next_out = out;
    z.avail_out = (uInt)TIDE_MIN(cap, (size_t)UINT_MAX);
    int e = deflate(&z, Z_FINISH);
    *ret_len = z.total_out;
    (void)deflateEnd(&z);
    return e == Z_STREAM_END ? TIDE_OK : TIDE_BAD;
}

static enum tide_status compress_xerial(const uint8_t *in, size_t len, uint8_t *out, size_t *ret_len)
{
    static const uint8_t head[XERIAL_HEAD] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1};
    size_t at = XERIAL_HEAD;
    memcpy(out, head, sizeof(head));
    while (len != 0) {
        size_t n = TIDE_MIN(len, (size_t)XERIAL_BLOCK);
        size_t made = snappy_max_compressed_length(n);
        if (snappy_compress((const char *)in, n, (char *)out + at + 4, &made) != SNAPPY_OK)
            return TIDE_BAD;
        store_be32(out + at, (uint32_t)made);
        at += 4 + made;
        in += n;
        len -= n;
    }
    *ret_len = at;
    return TIDE_OK;
}

enum tide_status batch_compress(enum batch_codec codec, const void *in, size_t len, void *out, size_t cap, size_t *ret_len)
{
    size_t n;
    *ret_len = 0;
    if (codec >= CODEC_COUNT || len > CODEC_INPUT_BYTES_MAX || cap < batch_compress_bound(codec, len))
        return TIDE_BAD;
    switch (codec) {
    case CODEC_GZIP:
        return compress_gzip(in, len, out, cap, ret_len);
    case CODEC_SNAPPY:
        return compress_xerial(in, len, out, ret_len);
    case CODEC_LZ4:
        n = LZ4F_compressFrame(out, cap, in, len, &lz4_preferences);
        *ret_len = LZ4F_isError(n) ? 0 : n;
        return LZ4F_isError(n) ? TIDE_IO : TIDE_OK;
    case CODEC_ZSTD:
        n = ZSTD_compress(out, cap, in, len, ZSTD_CLEVEL_DEFAULT);
        *ret_len = ZSTD_isError(n) ? 0 : n;
        return ZSTD_isError(n) ? TIDE_IO : TIDE_OK;
    default:
        memcpy(out, in, len);
        *ret_len = len;
        return TIDE_OK;
    }
}
