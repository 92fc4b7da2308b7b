/* SPDX-License-Identifier: Apache-2.0 */
/* The records of a batch, decompressed. [helper] */
#ifndef TIDEMARK_LOG_PLAIN_H
#define TIDEMARK_LOG_PLAIN_H

#include <stddef.h>
#include <stdint.h>

#include "kafka/batch.h"

enum { LOG_PLAIN_BYTES_MAX = 128 << 20 }; /* output cap of one batch */

/* `batch` is the whole batch in one piece. *ret_records points into it, or to memory that the
 * caller frees. -EILSEQ when it cannot be decompressed within the cap, -ENOMEM. */
int log_records_plain(const struct batch_header *, uint8_t *batch, uint32_t size,
                      uint8_t **ret_records, size_t *ret_len);

#endif
