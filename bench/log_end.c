/* SPDX-License-Identifier: Apache-2.0 */
#include "log_end.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_mempool.h>

#include "../tests/unit/memory_fs.h"
#include "disk/disk.h"
#include "disk/help_pool.h"
#include "disk/posix_fs.h"
#include "log/ahead.h"
#include "log/internal.h"
#include "tidemark/random.h"

enum {
    CORE = 0,
    HELPERS = 2,
    RING_ENTRIES = 256,
    DONE_MAX = 64,
    BLOCK = 16384, /* of request memory, as the broker has them */
    BLOCKS = 64,
    BATCH_MAX = 1 << 20,
    RECORDS_MAX = 1024,
    DOORBELL = 0, /* watch tag */
};

static struct rte_mempool *blocks;

void log_end_must(bool holds, const char *sentence)
{
    if (holds)
        return;
    fflush(stdout);
    fprintf(stderr, "bench_log: %s\n", sentence);
    exit(1);
}

uint64_t log_end_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * TIDE_NS_PER_S + (uint64_t)t.tv_nsec;
}

void log_end_start(void)
{
    static char args[][24] = {"bench_log",      "--no-huge",         "--no-shconf", "--no-pci",
                              "--no-telemetry", "--log-level=error", "-m",          "256",
                              "--lcores=0@0"};
    enum { ARGS = TIDE_ARRAY_LEN(args) };
    char *argv[ARGS + 1] = {NULL};
    cpu_set_t before;
    for (unsigned i = 0; i < ARGS; i++)
        argv[i] = args[i];
    /* The EAL binds its caller to one CPU; here the scheduler decides, as for both sides. */
    bool restore = sched_getaffinity(0, sizeof(before), &before) == 0;
    log_end_must(rte_eal_init(ARGS, argv) >= 0, "the EAL did not start");
    if (restore)
        (void)sched_setaffinity(0, sizeof(before), &before);
    blocks = rte_pktmbuf_pool_create("bench_blocks", BLOCKS, 0, 0, BLOCK + RTE_PKTMBUF_HEADROOM,
                                     SOCKET_ID_ANY);
    log_end_must(blocks != NULL, "no memory for the blocks of a batch");
}

/* ---- batches ---- */

/* Incompressible, so that no device gains by what the bytes are. */
static void fill(uint8_t *to, size_t len)
{
    struct tide_random r = {.state = 4};
    for (size_t i = 0; i < len; i++)
        to[i] = (uint8_t)tide_random_u64(&r);
}

static void into_blocks(struct tide_rope *rope, const uint8_t *bytes, size_t len)
{
    while (len != 0) {
        struct rte_mbuf *m = rte_pktmbuf_alloc(blocks);
        size_t n = len < BLOCK ? len : BLOCK;
        log_end_must(m != NULL, "a batch is larger than the blocks there are");
        memcpy(rte_pktmbuf_append(m, (uint16_t)n), bytes, n);
        tide_rope_push(rope, m);
        bytes += n;
        len -= n;
    }
}

void log_batch_make(struct log_batch *b, uint32_t size, int32_t records)
{
    static uint8_t bytes[BATCH_MAX], values[BATCH_MAX];
    static struct batch_build_record list[RECORDS_MAX];
    log_end_must(records > 0 && records <= RECORDS_MAX && size <= BATCH_MAX,
                 "a batch of that size or so many records is not foreseen");
    fill(values, sizeof(values));
    int32_t each = (int32_t)((size - BATCH_HEADER) / (uint32_t)records);
    size_t made = size + 1;
    for (int32_t less = 0; made > size && less < each; less++) { /* what frames a record varies */
        for (int32_t i = 0; i < records; i++)
            list[i] = (struct batch_build_record){
                .timestamp = 1000000, .value = values + i * each, .value_len = each - less};
        made = batch_build(bytes, sizeof(bytes), list, records, -1, -1, -1);
        log_end_must(made != 0 || less + 1 < each, "a batch that small holds no such records");
    }
    *b = (struct log_batch){.size = (uint32_t)made, .records = records};
    batch_header_parse(bytes, &b->header);
    into_blocks(&b->rope, bytes, made);
}

void log_batch_free(struct log_batch *b)
{
    tide_rope_clear(&b->rope);
}

/* ---- life ---- */

static void make_core(struct log_end *e)
{
    /* The broker's defaults. */
    struct log_core_config c = {.core = CORE,
                                .tail_buffer_bytes = 262144,
                                .tail_buffers = 192,
                                .read_buffer_bytes = 1048576,
                                .read_buffers = 32,
                                .index_chunks = 256,
                                .views = 4096,
                                .counters = &e->counters};
    e->core = log_core_create(&c);
    log_end_must(e->core != NULL, "no memory for the buffers of a core");
    log_end_let_writes_first(e, true);
}

static void make_device(struct log_end *e, bool tell)
{
    struct disk_config config = {.entries = RING_ENTRIES};
    void *bases[DISK_REGIONS_MAX];
    size_t lens[DISK_REGIONS_MAX];
    char text[512] = "";
    config.region_count = log_core_regions(e->core, bases, lens, DISK_REGIONS_MAX);
    for (unsigned i = 0; i < config.region_count; i++)
        config.regions[i] = (struct disk_region){.base = bases[i], .len = lens[i]};
    e->disk = disk_create(&config, text, sizeof(text));
    log_end_must(e->disk != NULL, text);
    if (tell)
        printf("ring %s\n", text);
    e->helpers = help_pool_create(HELPERS, 1, e->fs);
    e->doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    log_end_must(e->helpers != NULL && e->doorbell >= 0, "no helpers");
    help_pool_set_doorbell(e->helpers, CORE, e->doorbell);
    disk_watch(e->disk, e->doorbell, DOORBELL);
}

static void make_files(struct log_end *e, const struct log_end_config *config)
{
    e->fs = config->fs != NULL ? config->fs : posix_fs();
    if (config->dir != NULL)
        return;
    e->memory = malloc(sizeof(*e->memory));
    log_end_must(e->memory != NULL, "no memory for files in memory");
    memory_fs_init(e->memory);
    e->fs = &e->memory->fs;
}

void log_end_open(struct log_end *e, const struct log_end_config *config, bool tell)
{
    struct log_config c = {.dir = config->dir != NULL ? config->dir : "/data/bench-0",
                           .topic_id = {{4, 4, 4}},
                           .slot = 1,
                           .segment_bytes = config->segment_bytes,
                           .segment_ms = -1,
                           .index_interval_bytes = 4096,
                           .preallocate_bytes = config->preallocate_bytes,
                           .durable = true,
                           .checkpoint_bytes = config->checkpoint_bytes};
    char error[256] = "the log does not open";
    enum tide_status status;
    *e = (struct log_end){.doorbell = -1, .time = {.now_ns = 1, .wall_ms = 1000000}};
    make_files(e, config);
    make_core(e);
    if (e->memory == NULL)
        make_device(e, tell);
    e->log = log_create(&c);
    log_end_must(e->log != NULL, "no memory for a log");
    log_end_must(log_open(e->log, e->fs, 0, NULL, NULL, error, sizeof(error)) == 0, error);
    log_adopt(e->log, e->core);
    while ((status = log_begin_epoch(e->log, 0, &e->out)) == TIDE_AGAIN)
        log_end_turn(e, TIDE_NS_PER_MS);
    log_end_must(status == TIDE_OK, "the first leader epoch could not be written");
    /* What is measured begins with zeroes behind the end. */
    while (e->log->zeroed_end < config->zeroed_bytes || log_make_room(e->log, &e->time, BATCH_HEADER, -1, &e->out) == TIDE_FULL ||
           log_has_work(e->log) || e->log->extend_job.out) {
        if (e->log->zeroed_end < config->zeroed_bytes)
            log_ahead_for(e->log, TIDE_MIN(config->zeroed_bytes, config->segment_bytes), &e->out);
        log_end_turn(e, TIDE_NS_PER_MS);
    }
}

void log_end_close(struct log_end *e)
{
    while (!log_release(e->log, &e->out) || log_is_read(e->log))
        log_end_turn(e, TIDE_NS_PER_MS);
    log_end_must(log_close(e->log, e->fs) == 0, "the log does not close");
    log_destroy(e->log);
    help_pool_destroy(e->helpers);
    disk_destroy(e->disk);
    if (e->doorbell >= 0)
        close(e->doorbell);
    if (e->memory != NULL)
        memory_fs_deinit(e->memory);
    free(e->memory);
    log_core_destroy(e->core);
}

/* ---- turns ---- */

bool log_end_append(struct log_end *e, const struct log_batch *b)
{
    enum tide_status status =
        log_make_room(e->log, &e->time, b->size, b->header.max_timestamp, &e->out);
    if (status == TIDE_FULL)
        return false;
    log_end_must(status == TIDE_OK, "the log takes no more");
    status = log_append(e->log, tide_rope_slice(&b->rope, 0, b->rope.len), &b->header,
                        log_next_offset(e->log), 0);
    log_end_must(status == TIDE_OK, "an append was refused");
    return true;
}

void log_end_let_writes_first(struct log_end *e, bool first)
{
    e->core->config.reads_out_max = first ? 4 : 0;
    e->core->config.aheads_out_max = first ? 2 : 0;
    e->core->config.read_piece_bytes = first ? LOG_READ_PIECE_BYTES : 0;
    e->core->config.read_turn_bytes = first ? LOG_READ_TURN_BYTES : 0;
}

static void note(struct log_writes *w, const struct disk_op *op)
{
    if (w == NULL || op->kind != DISK_WRITE)
        return;
    log_end_must(w->count < w->room, "more writes than were foreseen");
    w->at[w->count].position = op->position;
    w->at[w->count++].len = op->len;
}

static void completed(struct log_end *e, const struct disk_done *done)
{
    if (DISK_ID_OWNER(done->id) == DISK_OWNER_AHEAD) {
        log_core_on_disk(e->core, done, &e->out);
        return;
    }
    if (DISK_ID_OWNER(done->id) == DISK_OWNER_READ) {
        if (e->reading != NULL)
            log_read_on_disk(e->reading, done);
        return;
    }
    struct log_spans *s = e->spans;
    if (s != NULL && s->asked_ns != 0 && s->write_count < s->room)
        s->write_ns[s->write_count++] = log_end_now_ns() - s->asked_ns;
    (void)log_on_disk(e->log, done, &e->out);
    log_end_must(!log_is_failed(e->log), "the log failed: the device refused a write");
}

static void give(struct log_end *e)
{
    uint32_t jobs = e->out.job_count;
    for (uint32_t i = 0; i < e->out.op_count; i++) {
        note(e->writes, &e->out.ops[i]);
        if (e->spans != NULL && e->out.ops[i].kind == DISK_WRITE)
            e->spans->asked_ns = log_end_now_ns();
    }
    log_end_must(disk_queue(e->disk, e->out.ops, e->out.op_count) == TIDE_OK, "the ring is full");
    e->out.op_count = 0;
    for (uint32_t i = 0; i < jobs; i++)
        log_end_must(help_pool_submit(e->helpers, e->out.jobs[i]) == TIDE_OK, "no helper is free");
    e->out.job_count = 0;
}

static void turn_on_device(struct log_end *e, uint64_t wait_ns)
{
    struct disk_done done[DONE_MAX];
    struct tide_job *jobs[DONE_MAX];
    struct log_spans *s = e->spans;
    uint32_t tags = 0;
    uint64_t rung;
    give(e);
    if (s != NULL && s->woke_ns != 0 && s->turn_count < s->room)
        s->turn_ns[s->turn_count++] = log_end_now_ns() - s->woke_ns;
    unsigned n = wait_ns == 0 ? disk_turn(e->disk, done, DONE_MAX)
                              : disk_wait(e->disk, wait_ns, done, DONE_MAX, &tags);
    if (s != NULL)
        s->woke_ns = log_end_now_ns();
    if (tags != 0)
        (void)!read(e->doorbell, &rung, sizeof(rung));
    for (unsigned i = 0; i < n; i++)
        completed(e, &done[i]);
    n = help_pool_take(e->helpers, CORE, jobs, DONE_MAX);
    for (unsigned i = 0; i < n; i++)
        log_on_job(e->log, jobs[i]);
}

static void turn_in_memory(struct log_end *e)
{
    while (e->out.op_count != 0 || e->out.job_count != 0) {
        if (e->out.op_count != 0) {
            struct disk_op op = e->out.ops[--e->out.op_count];
            completed(e, &(struct disk_done){op.id, memory_fs_disk(e->memory, &op)});
        } else {
            struct tide_job *job = e->out.jobs[--e->out.job_count];
            job->run(job, e->fs);
            log_on_job(e->log, job);
        }
    }
}

void log_end_turn(struct log_end *e, uint64_t wait_ns)
{
    e->time.now_ns = log_end_now_ns();
    (void)log_core_turn(e->core, &e->time);
    if (log_has_work(e->log))
        log_flush(e->log, &e->time, &e->out);
    if (e->memory != NULL)
        turn_in_memory(e);
    else
        turn_on_device(e, wait_ns);
}
