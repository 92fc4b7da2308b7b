/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/check.h"

#include <errno.h>
#include <stdlib.h>

#include "kafka/codecs.h"
#include "kafka/errors.h"
#include "log/plain.h"

static void refuse(struct batch_check *c, int16_t error, const char *message)
{
    c->walked = (struct batch_walk){
        .max_timestamp = -1, .bad_record = -1, .error = error, .message = message};
}

static void check_copy(struct batch_check *c, uint8_t *batch)
{
    const struct batch_header *h = &c->header;
    uint32_t size = c->records.len;
    uint8_t *records;
    size_t len;
    tide_slice_copy(c->records, batch);
    if (batch_crc_update(0, batch + BATCH_ATTRIBUTES, size - BATCH_ATTRIBUTES) != h->crc) {
        refuse(c, KAFKA_CORRUPT_MESSAGE, "the checksum does not match");
        return;
    }
    int e = log_records_plain(h, batch, size, &records, &len);
    if (e == -ENOMEM) {
        refuse(c, KAFKA_KAFKA_STORAGE_ERROR, "there is no memory to decompress the batch");
        return;
    }
    if (e != 0) {
        refuse(c, KAFKA_INVALID_RECORD, "the records cannot be decompressed");
        return;
    }
    batch_walk_plain(records, len, h, &c->limits, &c->walked);
    if (records != batch + BATCH_HEADER)
        free(records);
}

static void check_run(struct tide_job *job, const struct tide_fs *fs)
{
    struct batch_check *c = (struct batch_check *)job;
    uint8_t *batch = malloc(c->records.len);
    (void)fs;
    if (batch == NULL)
        refuse(c, KAFKA_KAFKA_STORAGE_ERROR, "there is no memory to decompress the batch");
    else
        check_copy(c, batch);
    free(batch);
    job->result = 0;
}

void batch_check_prepare(struct batch_check *c, struct tide_slice records,
                         const struct batch_header *h, const struct batch_walk_limits *limits)
{
    *c = (struct batch_check){.records = records, .header = *h, .limits = *limits};
    c->job.kind = JOB_BATCH_CHECK;
    c->job.run = check_run;
}

static int unpack(struct batch_unpack *u, struct batch_decompressor *d, uint8_t *batch)
{
    tide_slice_copy(u->batch, batch);
    switch (batch_decompress(d, u->codec, batch + BATCH_HEADER, u->batch.len - BATCH_HEADER, u->to, u->room, &u->len)) {
    case TIDE_OK:
        return 0;
    case TIDE_FULL:
        return -EFBIG;
    case TIDE_IO:
        return -ENOMEM;
    default:
        return -EILSEQ;
    }
}

static void unpack_run(struct tide_job *job, const struct tide_fs *fs)
{
    struct batch_unpack *u = (struct batch_unpack *)job;
    struct batch_decompressor *d = batch_decompressor_create();
    uint8_t *batch = malloc(u->batch.len);
    (void)fs;
    job->result = d == NULL || batch == NULL ? -ENOMEM : unpack(u, d, batch);
    free(batch);
    batch_decompressor_destroy(d);
}

void batch_unpack_prepare(struct batch_unpack *u, struct tide_slice batch, const struct batch_header *h, uint8_t *to, size_t room)
{
    TIDE_ASSERT(batch.len >= BATCH_HEADER);
    *u = (struct batch_unpack){.batch = batch, .codec = batch_codec_of(h), .to = to, .room = room};
    u->job.kind = JOB_BATCH_UNPACK;
    u->job.run = unpack_run;
}
