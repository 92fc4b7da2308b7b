/* SPDX-License-Identifier: Apache-2.0 */
#include "log/plain.h"

#include <errno.h>
#include <stdlib.h>

#include "kafka/codecs.h"
#include "tidemark/types.h"

enum { FIRST_ROOM = 64 * 1024, FIRST_RATIO = 4 };

/* Room that doubles up to the cap: how much comes out is not to be learned beforehand. */
static int decompress(struct batch_decompressor *d, enum batch_codec codec, const uint8_t *in,
                      size_t in_len, uint8_t **ret, size_t *ret_len)
{
    size_t room =
        TIDE_MIN(TIDE_MAX(in_len * FIRST_RATIO, (size_t)FIRST_ROOM), (size_t)LOG_PLAIN_BYTES_MAX);
    for (;;) {
        uint8_t *out = malloc(room);
        if (out == NULL)
            return -ENOMEM;
        enum tide_status status = batch_decompress(d, codec, in, in_len, out, room, ret_len);
        if (status == TIDE_OK) {
            *ret = out;
            return 0;
        }
        free(out);
        if (status != TIDE_FULL || room == LOG_PLAIN_BYTES_MAX)
            return -EILSEQ;
        room = TIDE_MIN(2 * room, (size_t)LOG_PLAIN_BYTES_MAX);
    }
}

int log_records_plain(const struct batch_header *h, uint8_t *batch, uint32_t size,
                      uint8_t **ret_records, size_t *ret_len)
{
    if (batch_codec_of(h) == CODEC_NONE) {
        *ret_records = batch + BATCH_HEADER;
        *ret_len = size - BATCH_HEADER;
        return 0;
    }
    struct batch_decompressor *d = batch_decompressor_create();
    if (d == NULL)
        return -ENOMEM;
    int e = decompress(d, batch_codec_of(h), batch + BATCH_HEADER, size - BATCH_HEADER, ret_records,
                       ret_len);
    batch_decompressor_destroy(d);
    return e;
}
