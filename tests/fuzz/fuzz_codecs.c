/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as the compressed records of a batch.
 *
 * An input is one byte for the codec, one for the size of the output, and the stream. Input and
 * output are exactly sized heap blocks. What comes out of a stream comes out of it again, and a
 * buffer of exactly its size suffices.
 */
#include <stdlib.h>
#include <string.h>

#include "kafka/codecs.h"
#include "tidemark/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static struct batch_decompressor *decompressor;

static enum tide_status unpack(enum batch_codec codec, const uint8_t *in, size_t len, uint8_t *out,
                               size_t cap, size_t *ret_len)
{
    enum tide_status status = batch_decompress(decompressor, codec, in, len, out, cap, ret_len);
    TIDE_ASSERT(status == TIDE_OK || status == TIDE_FULL || status == TIDE_BAD);
    TIDE_ASSERT(status != TIDE_OK || *ret_len <= cap);
    return status;
}

static void unpack_again(enum batch_codec codec, const uint8_t *in, size_t len, const uint8_t *out,
                         size_t made)
{
    uint8_t *exact = malloc(made != 0 ? made : 1);
    size_t again;
    TIDE_ASSERT(exact != NULL);
    TIDE_ASSERT(unpack(codec, in, len, exact, made, &again) == TIDE_OK);
    TIDE_ASSERT(again == made);
    TIDE_ASSERT(made == 0 || memcmp(exact, out, made) == 0);
    if (made != 0)
        TIDE_ASSERT(unpack(codec, in, len, exact, made - 1, &again) == TIDE_FULL);
    free(exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len < 2)
        return 0;
    if (decompressor == NULL)
        decompressor = batch_decompressor_create();
    TIDE_ASSERT(decompressor != NULL);

    enum batch_codec codec = (enum batch_codec)(bytes[0] & BATCH_CODEC_MASK);
    size_t cap = (size_t)1 << (bytes[1] % 20);
    size_t in_len = len - 2;
    uint8_t *in = malloc(in_len != 0 ? in_len : 1);
    uint8_t *out = malloc(cap);
    size_t made;
    TIDE_ASSERT(in != NULL && out != NULL);
    memcpy(in, bytes + 2, in_len);
    if (unpack(codec, in, in_len, out, cap, &made) == TIDE_OK)
        unpack_again(codec, in, in_len, out, made);
    free(out);
    free(in);
    return 0;
}
