/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The records of a compressed batch, made plain (kafka-protocol 3.4). This may take long and uses
 * libraries that allocate: it runs on helpers, on control and in tools, never on a core.
 *
 * What is accepted is what every client can read back:
 *   gzip    RFC 1952, one or several members;
 *   snappy  a raw block, or blocks in xerial's framing;
 *   lz4     one frame of independent blocks without dictionary; checksums are checked;
 *   zstd    RFC 8878, one or several frames with windows of at most 128 MiB, no dictionary.
 * No size that a stream declares is believed: the output goes to the caller's buffer and ends with
 * it. What the libraries allocate is bounded by constants (lz4: two blocks of 4 MiB).
 *
 * Owner: one thread at a time.
 */
#ifndef TIDEMARK_KAFKA_CODECS_H
#define TIDEMARK_KAFKA_CODECS_H

#include <stddef.h>
#include <stdint.h>

#include "kafka/batch.h"
#include "tidemark/status.h"

enum {
    CODEC_ZSTD_WINDOW_LOG_MAX = 27,    /* what zstd's own decoders accept by default */
    CODEC_INPUT_BYTES_MAX = INT32_MAX, /* more than any batch */
};

struct batch_decompressor;

/* NULL: no memory. */
struct batch_decompressor *batch_decompressor_create(void);
void batch_decompressor_destroy(struct batch_decompressor *); /* NULL is fine */

/* Decompresses `in`, what stands behind a batch's header, to out[0..cap). `out` is not NULL.
 * TIDE_OK:   all of the input was used; *ret_len bytes.
 * TIDE_FULL: more than cap bytes would come out. A larger buffer may do, up to the caller's limit;
 *            beyond that the batch is to be refused with INVALID_RECORD.
 * TIDE_BAD:  broken, cut short, followed by something else, or of a kind not accepted:
 *            INVALID_RECORD (CORRUPT_MESSAGE would make clients resend it for ever).
 * TIDE_IO:   no memory for the library; nothing is said about the bytes.
 * `out` may be written up to cap in every case. CODEC_NONE copies. */
TIDE_MUST_USE enum tide_status batch_decompress(struct batch_decompressor *, enum batch_codec,
                                                const void *in, size_t in_len, void *out,
                                                size_t cap, size_t *ret_len);

/* What clients read back: gzip of one member, snappy in xerial's framing, lz4 with independent blocks,
 * zstd; each at its library's default level. `len` is not 0. For compaction; a broker never compresses on its own. */
size_t batch_compress_bound(enum batch_codec, size_t len); /* never less than what comes out */
/* TIDE_IO: no memory for the library. TIDE_BAD: no such codec, or `cap` is below the bound. */
TIDE_MUST_USE enum tide_status batch_compress(enum batch_codec, const void *in, size_t len, void *out, size_t cap,
                                              size_t *ret_len);

#endif
