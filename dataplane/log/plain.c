/* SPDX-License-Identifier: Apache-2.0 */
#include "log/plain.h"

#include <errno.h>

int log_records_plain(const struct batch_header *h, uint8_t *batch, uint32_t size, uint8_t **ret_records,
                      size_t *ret_len)
{
    if (batch_codec_of(h) != CODEC_NONE)
        return -EILSEQ;
    *ret_records = batch + BATCH_HEADER;
    *ret_len = size - BATCH_HEADER;
    return 0;
}
