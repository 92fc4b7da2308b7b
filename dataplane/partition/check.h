/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The check of a compressed batch, as a job of a helper: CRC, decompression, and then what the core
 * does with uncompressed ones in place (kafka-protocol 3.3). Its memory: a copy of the batch and at
 * most LOG_PLAIN_BYTES_MAX of records per helper; a batch that would become larger is refused.
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

#endif
