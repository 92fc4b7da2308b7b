/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Foreign bytes as the files of a partition: recovery, reads, lookups by timestamp, an append, and
 * a second recovery. What must hold: no crash, no endless loop; the log that comes out is
 * consistent (log_check), every offset it claims can be read or is answered with an error, and a
 * crash right after recovery leads to the same log.
 *
 * Input: one byte of flags, then pieces {kind, length (2 bytes), bytes}; enum kind below.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kafka/batch.h"
#include "log/internal.h"
#include "memory_fs.h"
#include "tidemark/bytes.h"
#include "unit.h"

enum flag {
    FLAG_DURABLE = 1,
    FLAG_SEAL = 2,      /* batches in .log files get their right CRC, or nothing would be a batch */
    FLAG_SMALL = 4,     /* segments of one block */
    FLAG_PARTITION = 8, /* partition.metadata comes from the input */
};

enum kind {
    KIND_LOG,
    KIND_INDEX,
    KIND_TIME_INDEX,
    KIND_PREPARED,
    KIND_EPOCHS,
    KIND_METADATA,
    KIND_BASE, /* the two bytes of length are the base offset of the files that follow */
    KIND_COUNT,
    KIND_START = 0xf0,      /* and above: the log start; sealed: the two bytes of length are the offset */
    KIND_CHECKPOINT = 0xf8, /* and above */
};

#define DIR      "/d/t-0"
#define METADATA "version: 0\ntopic_id: AQAAAAAAAAAAAAAAAAAAAA\n"

static struct memory_fs disk;
static struct log_core *core;
static struct tide_counters counters;
static struct tide_out out;

#define MUST(x) ((x) ? (void)0 : must_failed(#x, __LINE__))
static void must_failed(const char *what, int line)
{
    fprintf(stderr, "line %d: %s\n", line, what);
    abort();
}

static void start(void)
{
    if (core != NULL)
        return;
    unit_eal();
    core = log_core_create(&(struct log_core_config){.tail_buffer_bytes = 8192,
                                                     .tail_buffers = 8,
                                                     .read_buffer_bytes = 16384,
                                                     .read_buffers = 4,
                                                     .aheads_out_max = 1,
                                                     .read_piece_bytes = 8192,
                                                     .index_chunks = 2,
                                                     .views = 64,
                                                     .counters = &counters});
    MUST(core != NULL);
}

/* ---- the files ---- */

static void seal_batches(uint8_t *bytes, size_t len)
{
    for (size_t at = 0; len - at >= BATCH_HEADER;) {
        uint32_t size = load_be32(bytes + at + BATCH_LENGTH);
        if (size < BATCH_LENGTH_MIN || size > len - at - BATCH_LENGTH_OVERHEAD)
            return;
        size += BATCH_LENGTH_OVERHEAD;
        store_be32(bytes + at + BATCH_CRC,
                   batch_crc_update(0, bytes + at + BATCH_ATTRIBUTES, size - BATCH_ATTRIBUTES));
        at += size;
    }
}

static void put(const char *name, const uint8_t *bytes, size_t len)
{
    char path[MEMORY_PATH];
    snprintf(path, sizeof(path), "%s/%s", DIR, name);
    memory_fs_put(&disk, path, bytes, len);
}

static void put_piece(unsigned flags, enum kind kind, uint32_t base, const uint8_t *bytes,
                      size_t len)
{
    static const char *const names[KIND_COUNT] = {
        [KIND_LOG] = ".log",
        [KIND_INDEX] = ".index",
        [KIND_TIME_INDEX] = ".timeindex",
        [KIND_PREPARED] = LOG_PREPARED_NAME,
        [KIND_EPOCHS] = "leader-epoch-checkpoint",
        [KIND_METADATA] = "partition.metadata",
    };
    char name[64];
    if (kind == KIND_METADATA && (flags & FLAG_PARTITION) == 0)
        return;
    if (kind > KIND_TIME_INDEX)
        snprintf(name, sizeof(name), "%s", names[kind]);
    else
        snprintf(name, sizeof(name), "%020u%s", base, names[kind]);
    uint8_t *copy = malloc(len + 1);
    MUST(copy != NULL);
    memcpy(copy, bytes, len);
    if ((flags & FLAG_SEAL) != 0 && (kind == KIND_LOG || kind == KIND_PREPARED))
        seal_batches(copy, len);
    put(name, copy, len);
    free(copy);
}

static void put_start(unsigned flags, uint32_t offset, const uint8_t *bytes, size_t len)
{
    if ((flags & FLAG_SEAL) != 0)
        MUST(log_start_store(&disk.fs, DIR, offset) == 0);
    else
        put(LOG_START_NAME, bytes, len);
}

/* Sealed: magic, version, base and count that fit, and the right sum. */
static void put_checkpoint(unsigned flags, uint32_t base, const uint8_t *bytes, size_t len)
{
    enum { HEAD = 28 };
    uint8_t *copy = calloc(1, len + HEAD + 4);
    MUST(copy != NULL);
    if ((flags & FLAG_SEAL) != 0) {
        len -= len % LOG_INDEX_STORED_BYTES;
        memcpy(copy, "TMCK\0\0\0\1", 8);
        store_be64(copy + 8, base);
        store_be32(copy + 24, (uint32_t)(len / LOG_INDEX_STORED_BYTES));
        memcpy(copy + HEAD, bytes, len);
        store_be32(copy + HEAD + len, batch_crc_update(0, copy, HEAD + len));
        len += HEAD + 4;
    } else {
        memcpy(copy, bytes, len);
    }
    put(LOG_CHECKPOINT_NAME, copy, len);
    free(copy);
}

static unsigned lay_out(const uint8_t *bytes, size_t len)
{
    unsigned flags = len != 0 ? bytes[0] : 0;
    uint32_t base = 0;
    unsigned files = 0;
    disk.fs.mkdir(&disk, DIR);
    put("partition.metadata", (const uint8_t *)METADATA, strlen(METADATA));
    for (size_t at = 1; len > at && len - at >= 3 && files < 32; files++) {
        enum kind kind = (enum kind)(bytes[at] % KIND_COUNT);
        uint32_t n = load_be16(bytes + at + 1);
        at += 3;
        if (kind == KIND_BASE && bytes[at - 3] < KIND_START) {
            base = n;
            continue;
        }
        uint32_t offset = n;
        n = (uint32_t)TIDE_MIN((size_t)n, len - at);
        if (bytes[at - 3] >= KIND_CHECKPOINT)
            put_checkpoint(flags, base, bytes + at, n);
        else if (bytes[at - 3] >= KIND_START)
            put_start(flags, offset, bytes + at, n);
        else
            put_piece(flags, kind, base, bytes + at, n);
        at += n;
    }
    return flags;
}

/* ---- using the log ---- */

static void pump(struct log *log, struct log_read *r)
{
    while (out.op_count != 0 || out.job_count != 0) {
        if (out.op_count != 0) {
            struct disk_op op = out.ops[--out.op_count];
            struct disk_done done = {.id = op.id, .result = memory_fs_disk(&disk, &op)};
            if (DISK_ID_OWNER(op.id) == DISK_OWNER_AHEAD)
                log_core_on_disk(core, &done, &out);
            else if (op.kind == DISK_READ)
                log_read_on_disk(r, &done);
            else
                (void)log_on_disk(log, &done, &out);
        } else {
            struct tide_job *job = out.jobs[--out.job_count];
            job->run(job, &disk.fs);
            log_on_job(log, job);
        }
    }
}

static void read_all(struct log *log)
{
    int64_t end = log_next_offset(log);
    int64_t offset = log_start_offset(log);
    for (unsigned i = 0; offset < end && i < 4096; i++) {
        struct log_read r = {
            .offset = offset, .end_offset = end, .max_bytes = 4000, .at_least_one = true};
        enum tide_status status;
        unsigned rounds = 0;
        while ((status = log_read(log, core, 1, &r, &out)) == TIDE_AGAIN ||
               (status == TIDE_FULL && out.op_count != 0)) { /* it is being read ahead */
            pump(log, &r);
            MUST(++rounds < 1000);
        }
        MUST(log_bytes_between(log, offset, end, 100) >= 1);
        if (status != TIDE_OK) {
            MUST(status == TIDE_BAD || status == TIDE_IO);
            log_read_abandon(core, &r);
            offset++; /* the bytes of a closed segment are not what its index says */
            continue;
        }
        MUST(r.bytes.len >= BATCH_HEADER);
        struct batch_header h;
        MUST(batch_header_read(tide_rope_slice(&r.bytes, 0, r.bytes.len), &h));
        MUST(h.base_offset <= offset && batch_last_offset(&h) >= offset &&
             batch_last_offset(&h) < end);
        offset = batch_last_offset(&h) + 1;
        tide_rope_clear(&r.bytes);
    }
}

static void look_up(struct log *log, int64_t timestamp)
{
    struct log_lookup l;
    log_lookup_prepare(&l, log);
    l.timestamp = timestamp;
    l.end_offset = log_next_offset(log);
    l.job.run(&l.job, &disk.fs);
    if (l.job.result == 0)
        MUST(l.ret_offset == -1 || (l.ret_offset >= 0 && l.ret_offset < l.end_offset));
}

static void append_one(struct log *log)
{
    static struct rte_mempool *pool;
    uint8_t bytes[256];
    struct batch_build_record record = {.timestamp = 1, .value = "v", .value_len = 1};
    struct batch_header h;
    struct tide_time t = {.now_ns = 1};
    struct tide_rope rope = {0};
    enum tide_status status = TIDE_FULL;
    if (pool == NULL)
        pool = unit_pool("fuzz_input", 64, 512);
    size_t n = batch_build(bytes, sizeof(bytes), &record, 1, -1, -1, -1);
    batch_header_parse(bytes, &h);
    int32_t epoch = log_last_epoch(log) < 0 ? 0 : log_last_epoch(log);
    while (log_begin_epoch(log, epoch, &out) == TIDE_AGAIN)
        pump(log, NULL);
    for (int i = 0; i < 20 && status == TIDE_FULL; i++) {
        status = log_make_room(log, &t, (uint32_t)n, 1, &out);
        pump(log, NULL);
    }
    if (status != TIDE_OK)
        return; /* recovered with an offset or an epoch that leaves no room for more */
    tide_rope_push(&rope, unit_exact_mbuf(pool, bytes, (uint16_t)n));
    int64_t next = log_next_offset(log);
    status = log_append(log, tide_rope_slice(&rope, 0, rope.len), &h, next, epoch);
    tide_rope_clear(&rope);
    log_flush(log, &t, &out);
    pump(log, NULL);
    if (status == TIDE_OK)
        MUST(log_is_failed(log) || log_durable_end(log) == next + 1);
}

/* Both ends move; what is between can still be read. */
static void cut_ends(struct log *log)
{
    int64_t start = log_start_offset(log);
    int64_t end = log_next_offset(log);
    int64_t to = start + (end - start) / 4;
    enum tide_status status;
    for (int i = 0; i < 20 && (status = log_trim(log, to, &out)) == TIDE_AGAIN; i++)
        pump(log, NULL);
    to = start + (end - start) / 4 * 3;
    for (int i = 0; i < 20 && (status = log_truncate(log, to, &out)) == TIDE_AGAIN; i++)
        pump(log, NULL);
    if (status == TIDE_OK)
        MUST(log_next_offset(log) <= TIDE_MAX(to, start));
    if (!log_is_failed(log))
        log_check(log);
}

static void count_batch(void *arg, const struct batch_header *h)
{
    int64_t *next = arg;
    MUST(h->base_offset >= *next);
    *next = batch_last_offset(h) + 1;
}

static struct log *open_log(unsigned flags, int64_t *ret_next)
{
    struct log_config config = {.dir = DIR,
                                .topic_id = {{1}},
                                .segment_bytes = (flags & FLAG_SMALL) != 0 ? 4096 : 65536,
                                .segment_ms = 1000,
                                .index_interval_bytes = 100,
                                .preallocate_bytes = 4096,
                                .durable = (flags & FLAG_DURABLE) != 0};
    char error[200];
    int64_t next = 0;
    struct log *log = log_create(&config);
    MUST(log != NULL);
    if (log_open(log, &disk.fs, 0, count_batch, &next, error, sizeof(error)) != 0) {
        MUST(error[0] != '\0');
        log_destroy(log);
        MUST(memory_fs_open_handles(&disk) == 0);
        return NULL;
    }
    log_check(log);
    *ret_next = log_next_offset(log);
    MUST(next == 0 || next == *ret_next);
    log_adopt(log, core);
    return log;
}

static void close_log(struct log *log)
{
    while (!log_release(log, &out))
        pump(log, NULL);
    (void)log_close(log, &disk.fs);
    log_destroy(log);
    MUST(memory_fs_open_handles(&disk) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    int64_t first = 0;
    int64_t second = 0;
    start();
    memory_fs_init(&disk);
    unsigned flags = lay_out(bytes, len);
    struct log *log = open_log(flags, &first);
    if (log != NULL) {
        log_fail(log); /* as a crash would: nothing is written at the end */
        close_log(log);
        memory_fs_crash(&disk, NULL);
        log = open_log(flags, &second);
        MUST(log != NULL);
        MUST(first == second);
        read_all(log);
        for (int64_t t = -3; t < 40; t += 7)
            look_up(log, t);
        append_one(log);
        read_all(log);
        log_check(log);
        cut_ends(log);
        if (!log_is_failed(log))
            read_all(log);
        append_one(log);
        close_log(log);
        struct log_core_free f = log_core_free_now(core);
        MUST(f.tails == 8 && f.reads == 4 && f.views == 64 && f.leases == 128 && f.chunks == 2);
    }
    memory_fs_deinit(&disk);
    return 0;
}
