/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compressed batches, as jobs of a helper. The check: CRC, decompression, and then what the core
 * does with uncompressed ones in place (kafka-protocol 3.3). Its memory: a copy of the batch and at
 * most LOG_PLAIN_BYTES_MAX of records per helper; a batch that would become larger is refused.
 * Unpacking: the records come out into memory of the owner, and never more than fits.
 *
 * Owner: the home core of the partition; while the job is out, the helper. The slice must be held
 * as long.
 */
#ifndef TIDEMARK_PARTITION_CHECK_H
#define TIDEMARK_PARTITION_CHECK_H

#include <stdbool.h>

#include "kafka/batch.h"
#include "tidemark/disk_op.h"

struct batch_check {
    struct tide_job job; /* kind JOB_BATCH_CHECK; owner and cookie set by the caller */
    bool done;
    struct tide_slice records;
    struct batch_header header;
    struct batch_walk_limits limits;
    struct batch_walk walked; /* the verdict; error CORRUPT_MESSAGE when the CRC is wrong */
};
/* Sets job.run. */
void batch_check_prepare(struct batch_check *, struct tide_slice records,
                         const struct batch_header *, const struct batch_walk_limits *);

struct batch_unpack {
    struct tide_job job; /* kind JOB_BATCH_UNPACK; owner and cookie set by the caller */
    struct tide_slice batch;
    enum batch_codec codec;
    uint8_t *to;
    size_t room;
    size_t len; /* came out, when the result is 0 */
};
/* Sets job.run. The result: 0; -EILSEQ: it cannot be decompressed; -EFBIG: more would come out than there is room for;
 * -ENOMEM: a library had no memory, and nothing is said about the batch. `to` may be written up to `room` in every case. */
void batch_unpack_prepare(struct batch_unpack *, struct tide_slice batch, const struct batch_header *, uint8_t *to, size_t room);

#endif
