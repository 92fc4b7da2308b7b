/* SPDX-License-Identifier: Apache-2.0 */
#include "sim_log_world.h"

#include "sim_heap.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kafka/batch.h"
#include "tidemark/bytes.h"
#include "../unit/unit.h"

enum { SCRATCH = 1 << 17, ANSWER = 1 << 20, PATIENCE = 20000 };

static uint8_t scratch[SCRATCH];
static uint8_t answer[ANSWER];
static struct rte_mempool *input;

void sim_log_give_up(const struct sim_log *s, const char *format, ...)
{
    va_list args;
    fprintf(stderr, "seed %" PRIu64 " after %" PRIu64 " operations: ", s->seed,
            sim_fs_operations(s->fs));
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n");
    abort();
}

static void mix(struct sim_log *s, uint64_t word)
{
    s->digest = (s->digest ^ word) * 0x100000001b3ull;
}

/* ---- life ---- */

static void boot(struct sim_log *s)
{
    const struct log_core_config core = {.core = 3,
                                         .tail_buffer_bytes = 8192,
                                         .tail_buffers = 24,
                                         .read_buffer_bytes = 16384,
                                         .read_buffers = 8,
                                         .aheads_out_max = 2,
                                         .read_piece_bytes = 8192,
                                         .index_chunks = 4,
                                         .views = 256,
                                         .counters = &s->counters};
    s->core = log_core_create(&core);
    s->disk = sim_disk_create(s->fs, &(struct sim_disk_config){.jitter_ns = 200000});
    s->job_count = 0;
    s->out.op_count = s->out.job_count = 0;
    s->reading = NULL;
}

void sim_log_init(struct sim_log *s, uint64_t seed)
{
    memset(s, 0, sizeof(*s));
    unit_eal();
    if (input == NULL)
        input = unit_pool("sim_log", 256, 2048);
    s->seed = seed;
    s->random.state = seed * 0x9e3779b97f4a7c15ull + 1;
    s->fs = sim_fs_create(&(struct sim_fs_config){.seed = seed});
    const struct tide_fs *fs = sim_fs_verbs(s->fs);
    if (fs->mkdir(fs->self, "/data") != 0 || fs->sync_dir(fs->self, "/") != 0)
        sim_log_give_up(s, "no directory");
    s->batches = calloc(SIM_LOG_BATCHES, sizeof(*s->batches));
    s->time = (struct tide_time){.now_ns = 1, .wall_ms = 1700000000000};
    s->cut_asked = INT64_MAX;
    s->digest = 0xcbf29ce484222325ull;
}

static struct model_batch *batch_at(const struct sim_log *s, uint64_t i)
{
    return &s->batches[(s->first + i) % SIM_LOG_BATCHES];
}

static int64_t model_end(const struct sim_log *s)
{
    return s->count != 0 ? batch_at(s, s->count - 1)->last + 1 : s->start_asked;
}

static void model_cut(struct sim_log *s, int64_t end)
{
    while (s->count != 0 && batch_at(s, s->count - 1)->last >= end)
        free(batch_at(s, --s->count)->bytes);
}

static void model_trim(struct sim_log *s, int64_t start)
{
    while (s->count != 0 && batch_at(s, 0)->last < start) {
        free(batch_at(s, 0)->bytes);
        s->first++;
        s->count--;
    }
}

static void down(struct sim_log *s)
{
    if (s->disk != NULL)
        sim_disk_destroy(s->disk);
    if (s->core != NULL)
        log_core_lost(s->core);
    if (s->log != NULL)
        log_destroy(s->log);
    log_core_destroy(s->core);
    s->disk = NULL;
    s->log = NULL;
    s->core = NULL;
}

void sim_log_deinit(struct sim_log *s)
{
    if (s->core != NULL)
        down(s);
    if (sim_fs_open_handles(s->fs) != 0)
        sim_log_give_up(s, "%u handles are open at the end", sim_fs_open_handles(s->fs));
    sim_fs_destroy(s->fs);
    model_cut(s, INT64_MIN);
    free(s->batches);
}

void sim_log_crash(struct sim_log *s, enum sim_crash how)
{
    mix(s, sim_fs_operations(s->fs));
    sim_fs_crash(s->fs, how);
    down(s);
}

int sim_log_open(struct sim_log *s)
{
    const struct log_config config = {.dir = SIM_LOG_DIR,
                                      .topic_id = {{1, 2, 3}},
                                      .slot = 77,
                                      .segment_bytes = 65536,
                                      .segment_ms = 3600000,
                                      .index_interval_bytes = 1024,
                                      .preallocate_bytes = 16384,
                                      .checkpoint_bytes = 8192,
                                      .committed = s->committed,
                                      .repair = s->repair,
                                      .durable = !s->memory};
    boot(s);
    sim_heap_armed = true;
    s->error[0] = '\0';
    s->log = log_create(&config);
    int e = s->log == NULL ? -ENOMEM : log_open(s->log, sim_fs_verbs(s->fs), 0, NULL, NULL, s->error, sizeof(s->error));
    sim_heap_armed = false;
    if (s->verbose)
        fprintf(stderr, "open: %d %s %s, end %" PRId64 "\n", e, s->error,
                e == 0 ? log_recovery_label(s->log) : "", e == 0 ? log_next_offset(s->log) : -1);
    if (e != 0) {
        down(s);
        return e;
    }
    log_check(s->log);
    log_adopt(s->log, s->core);
    s->epoch = TIDE_MAX(s->epoch, log_last_epoch(s->log));
    return 0;
}

static void check_pools(struct sim_log *s)
{
    struct log_core_free f = log_core_free_now(s->core);
    log_core_check(s->core);
    if (f.tails != 24 || f.reads != 8 || f.chunks != 4 || f.views != 256)
        sim_log_give_up(s, "pools: %u tails, %u reads, %u chunks, %u views", f.tails, f.reads,
                        f.chunks, f.views);
}

int sim_log_close(struct sim_log *s)
{
    unsigned tries = 0;
    while (!log_release(s->log, &s->out) || log_is_read(s->log)) {
        (void)sim_log_step(s);
        if (++tries > PATIENCE)
            sim_log_give_up(s, "it does not let go");
    }
    if (s->cut_asked == INT64_MAX)
        s->acked = TIDE_MAX(s->acked, log_durable_end(s->log));
    sim_heap_armed = true;
    int e = log_close(s->log, sim_fs_verbs(s->fs));
    sim_heap_armed = false;
    check_pools(s);
    down(s);
    return e;
}

/* ---- what is under way ---- */

static void take_out(struct sim_log *s)
{
    if (s->out.op_count != 0 &&
        sim_disk_submit(s->disk, s->time.now_ns, s->out.ops, s->out.op_count) != TIDE_OK)
        sim_log_give_up(s, "the disk's queue is full");
    for (uint32_t i = 0; i < s->out.job_count; i++) {
        if (s->job_count == SIM_LOG_JOBS)
            sim_log_give_up(s, "too many jobs");
        s->jobs[s->job_count++] = s->out.jobs[i];
    }
    s->out.op_count = s->out.job_count = 0;
}

static void see_marks(struct sim_log *s)
{
    int64_t durable = log_durable_end(s->log);
    if (s->cut_asked != INT64_MAX)
        return;
    if (!s->memory)
        s->acked = TIDE_MAX(s->acked, durable);
    s->start_acked = TIDE_MAX(s->start_acked, log_start_offset(s->log));
    model_trim(s, s->start_acked);
}

static void run_job(struct sim_log *s, unsigned i)
{
    struct tide_job *job = s->jobs[i];
    s->jobs[i] = s->jobs[--s->job_count];
    sim_heap_armed = true;
    job->run(job, sim_fs_verbs(s->fs));
    sim_heap_armed = false;
    log_on_job(s->log, job);
}

static bool complete(struct sim_log *s)
{
    struct disk_done done;
    if (sim_disk_in_flight(s->disk) == 0)
        return false;
    uint64_t due = sim_disk_deadline_ns(s->disk);
    s->time.now_ns = TIDE_MAX(s->time.now_ns, due);
    if (sim_disk_take(s->disk, s->time.now_ns, &done, 1) == 0)
        return false;
    if (DISK_ID_OWNER(done.id) == DISK_OWNER_AHEAD)
        log_core_on_disk(s->core, &done, &s->out);
    else if (DISK_ID_OWNER(done.id) == DISK_OWNER_READ)
        log_read_on_disk(s->reading, &done);
    else
        (void)log_on_disk(s->log, &done, &s->out);
    return true;
}

bool sim_log_step(struct sim_log *s)
{
    bool did = false;
    s->time.now_ns += 1000;
    log_flush(s->log, &s->time, &s->out);
    take_out(s);
    if (s->job_count != 0 && (sim_disk_in_flight(s->disk) == 0 || tide_random_hits(&s->random, 2))) {
        run_job(s, (unsigned)tide_random_below(&s->random, s->job_count));
        did = true;
    } else {
        did = complete(s);
    }
    take_out(s);
    log_check(s->log);
    see_marks(s);
    return did;
}

void sim_log_settle(struct sim_log *s)
{
    unsigned idle = 0;
    for (unsigned i = 0; i < PATIENCE && idle < 3; i++)
        idle = sim_log_step(s) ? 0 : idle + 1;
}

/* ---- asking things of it ---- */

void sim_log_begin_epoch(struct sim_log *s)
{
    enum tide_status status;
    unsigned tries = 0;
    while ((status = log_begin_epoch(s->log, s->epoch, &s->out)) == TIDE_AGAIN) {
        if (!sim_log_step(s))
            s->time.now_ns += 100 * TIDE_NS_PER_MS; /* the disk is full for a while */
        if (++tries > PATIENCE) {
            if (!log_is_failed(s->log))
                sim_log_give_up(s, "the epoch does not begin: epoch %d, the log has %d, %u jobs", s->epoch,
                                log_last_epoch(s->log), s->job_count);
            return;
        }
    }
}

static void model_add(struct sim_log *s, const struct batch_header *h, size_t size, int64_t base)
{
    if (s->count == SIM_LOG_BATCHES)
        sim_log_give_up(s, "the model is full");
    struct model_batch *b = batch_at(s, s->count++);
    *b = (struct model_batch){
        .base = base, .last = base + h->last_offset_delta, .size = (uint32_t)size, .bytes = malloc(size)};
    memcpy(b->bytes, scratch, size);
    store_be64(b->bytes + BATCH_BASE_OFFSET, (uint64_t)base);
    store_be32(b->bytes + BATCH_LEADER_EPOCH, (uint32_t)s->epoch);
}

static size_t build(struct sim_log *s, uint32_t value_bytes)
{
    static uint8_t value[SCRATCH];
    struct batch_build_record records[8];
    int32_t count = 1 + (int32_t)tide_random_below(&s->random, 8);
    uint32_t each = value_bytes / (uint32_t)count;
    for (uint32_t i = 0; i < value_bytes; i += 8) {
        uint64_t word = tide_random_u64(&s->random);
        memcpy(value + i, &word, 8);
    }
    for (int32_t i = 0; i < count; i++)
        records[i] = (struct batch_build_record){.timestamp = s->time.wall_ms,
                                                 .value = value + (uint32_t)i * each,
                                                 .value_len = (int32_t)each};
    return batch_build(scratch, sizeof(scratch), records, count, -1, -1, -1);
}

bool sim_log_append(struct sim_log *s, uint32_t value_bytes)
{
    struct batch_header h;
    sim_log_begin_epoch(s);
    if (log_is_failed(s->log) || log_begin_epoch(s->log, s->epoch, &s->out) != TIDE_OK)
        return false;
    size_t size = build(s, value_bytes);
    batch_header_parse(scratch, &h);
    enum tide_status status;
    unsigned tries = 0;
    while ((status = log_make_room(s->log, &s->time, (uint32_t)size, h.max_timestamp, &s->out)) ==
           TIDE_FULL) {
        if (!sim_log_step(s))
            s->time.now_ns += 100 * TIDE_NS_PER_MS; /* the disk is full for a while */
        if (++tries > 300)
            return false;
    }
    if (status != TIDE_OK)
        return false;
    struct rte_mbuf *m = unit_exact_mbuf(input, scratch, (uint16_t)size);
    struct tide_rope rope = {0};
    int64_t base = log_next_offset(s->log);
    tide_rope_push(&rope, m);
    status = log_append(s->log, tide_rope_slice(&rope, 0, rope.len), &h, base, s->epoch);
    tide_rope_clear(&rope);
    if (status != TIDE_OK)
        sim_log_give_up(s, "an append that had room was not taken: %d", (int)status);
    model_add(s, &h, size, base);
    mix(s, (uint64_t)base);
    take_out(s);
    return true;
}

static uint64_t model_find(const struct sim_log *s, int64_t offset)
{
    uint64_t lo = 0, hi = s->count;
    while (lo < hi) {
        uint64_t mid = (lo + hi) / 2;
        if (batch_at(s, mid)->last < offset)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* TIDE_OK: *ret_next is behind the last batch that came, or `offset` when none did. */
static enum tide_status read_once(struct sim_log *s, int64_t offset, uint32_t max_bytes,
                                  int64_t *ret_next)
{
    struct log_read r = {
        .offset = offset, .end_offset = INT64_MAX, .max_bytes = max_bytes, .at_least_one = true};
    enum tide_status status;
    unsigned tries = 0;
    s->reading = &r;
    s->reads++;
    for (;;) {
        status = log_read(s->log, s->core, 5, &r, &s->out);
        if (status == TIDE_AGAIN || (status == TIDE_FULL && ++tries < 2000)) {
            (void)sim_log_step(s);
            continue;
        }
        break;
    }
    if (status != TIDE_OK)
        log_read_abandon(s->core, &r);
    s->reading = NULL;
    *ret_next = offset;
    if (status != TIDE_OK)
        return status;
    uint32_t len = r.bytes.len;
    if (len > ANSWER)
        sim_log_give_up(s, "a read of %u bytes", len);
    if (len != 0)
        tide_slice_copy(tide_rope_slice(&r.bytes, 0, len), answer);
    tide_rope_clear(&r.bytes);
    if (offset < log_start_offset(s->log)) /* trimmed meanwhile: the model has forgotten them */
        return TIDE_ABSENT;
    uint64_t i = model_find(s, offset);
    for (uint32_t at = 0; at < len; i++) {
        const struct model_batch *b = batch_at(s, i);
        if (i >= s->count || len - at < b->size || memcmp(answer + at, b->bytes, b->size) != 0)
            sim_log_give_up(s,
                            "wrong bytes are served at offset %" PRId64
                            " (asked for %" PRId64 "): base %" PRId64 ", %u of %u bytes in the answer,"
                            " batch %" PRIu64 " of %" PRIu64 " is [%" PRId64 ", %" PRId64 "] of %u",
                            *ret_next, offset, (int64_t)load_be64(answer + at), at, len, i, s->count,
                            b->base, b->last, b->size);
        at += b->size;
        *ret_next = b->last + 1;
    }
    return TIDE_OK;
}

static void act_read(struct sim_log *s)
{
    int64_t start = log_start_offset(s->log);
    int64_t end = log_next_offset(s->log);
    int64_t next;
    if (start == end || s->cut_asked != INT64_MAX)
        return;
    int64_t offset = start + (int64_t)tide_random_below(&s->random, (uint64_t)(end - start));
    enum tide_status status =
        read_once(s, offset, (uint32_t)tide_random_below(&s->random, 40000), &next);
    bool failed = log_is_failed(s->log);
    if (status == TIDE_IO || status == TIDE_ABSENT || (status == TIDE_FULL && failed)) {
        s->read_refusals++;
        return;
    }
    if (status != TIDE_OK || (next == offset && !failed && offset < log_next_offset(s->log)))
        sim_log_give_up(s, "a read at %" PRId64 " of [%" PRId64 ", %" PRId64 ") gave %d and %s", offset,
                        start, end, (int)status, next == offset ? "nothing" : "something");
}

static void act_append(struct sim_log *s)
{
    uint32_t bytes = tide_random_hits(&s->random, 10)
                         ? (uint32_t)tide_random_below(&s->random, 30000)
                         : (uint32_t)tide_random_below(&s->random, 2000);
    (void)sim_log_append(s, bytes);
}

static void act_time(struct sim_log *s)
{
    s->time.wall_ms += (int64_t)tide_random_below(&s->random, 2000000);
    if (tide_random_hits(&s->random, 10))
        s->time.wall_ms -= 500000; /* clocks go back */
    s->time.now_ns += tide_random_below(&s->random, 20000 * TIDE_NS_PER_MS);
}

static void act_epoch(struct sim_log *s)
{
    s->epoch++;
    sim_log_begin_epoch(s);
}

static void act_steps(struct sim_log *s)
{
    for (uint64_t n = tide_random_below(&s->random, 8); n != 0; n--)
        (void)sim_log_step(s);
}

static void act_trim(struct sim_log *s)
{
    int64_t start = log_start_offset(s->log);
    int64_t end = log_durable_end(s->log);
    if (end <= start)
        return;
    uint64_t span = (uint64_t)(end - start);
    int64_t to = start + (int64_t)tide_random_below(&s->random, tide_random_hits(&s->random, 5) ? span : span / 4 + 1);
    s->start_asked = TIDE_MAX(s->start_asked, to);
    (void)log_trim(s->log, to, &s->out);
    take_out(s);
}

static void act_retention(struct sim_log *s)
{
    struct log_retention r = {.now_ms = s->time.wall_ms,
                              .ms = (int64_t)tide_random_below(&s->random, 10000000),
                              .bytes = (int64_t)tide_random_below(&s->random, 2000000),
                              .limit = log_durable_end(s->log)};
    log_retention_roll(s->log, &r);
    int64_t to = log_retention_start(s->log, &r);
    s->start_asked = TIDE_MAX(s->start_asked, to);
    (void)log_trim(s->log, to, &s->out);
    take_out(s);
}

static void act_truncate(struct sim_log *s)
{
    int64_t start = TIDE_MAX(log_start_offset(s->log), s->start_asked);
    int64_t end = log_next_offset(s->log);
    if (end <= start)
        return;
    uint64_t span = (uint64_t)(end - start);
    int64_t to = end - (int64_t)tide_random_below(&s->random, tide_random_hits(&s->random, 5) ? span : TIDE_MIN(span, (uint64_t)60));
    enum tide_status status;
    unsigned tries = 0;
    s->cut_asked = to;
    uint64_t i = model_find(s, to); /* the batch that contains it goes as a whole */
    int64_t end_after = i < s->count ? TIDE_MIN(to, batch_at(s, i)->base) : to;
    s->acked = TIDE_MIN(s->acked, end_after);
    s->start_acked = TIDE_MIN(s->start_acked, end_after);
    while ((status = log_truncate(s->log, to, &s->out)) == TIDE_AGAIN) {
        if (!sim_log_step(s))
            s->time.now_ns += 100 * TIDE_NS_PER_MS; /* the disk is full for a while */
        if (++tries > PATIENCE)
            sim_log_give_up(s, "the truncation does not end");
    }
    if (status != TIDE_OK) /* FAILED meanwhile: it may be cut, or not */
        return;
    s->cut_asked = INT64_MAX;
    model_cut(s, to);
    if (s->count == 0)
        s->start_acked = s->start_asked = log_next_offset(s->log);
    if (log_next_offset(s->log) != model_end(s))
        sim_log_give_up(s, "cut at %" PRId64 ", the end is %" PRId64 ", not %" PRId64, to,
                        log_next_offset(s->log), model_end(s));
    s->acked = TIDE_MIN(s->acked, model_end(s));
    if (s->verbose)
        fprintf(stderr, "cut at %" PRId64 ", ends at %" PRId64 "\n", to, model_end(s));
    mix(s, (uint64_t)to);
}

static const struct {
    void (*act)(struct sim_log *);
    unsigned weight;
} acts[] = {
    {act_append, 60}, {act_steps, 25}, {act_read, 12},     {act_time, 2},
    {act_epoch, 1},   {act_trim, 1},   {act_retention, 1}, {act_truncate, 1},
};

void sim_log_act(struct sim_log *s)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(acts); i++)
        sum += acts[i].weight;
    uint64_t at = tide_random_below(&s->random, sum);
    for (unsigned i = 0;; i++) {
        if (at < acts[i].weight) {
            acts[i].act(s);
            return;
        }
        at -= acts[i].weight;
    }
}

/* ---- what must hold after a recovery ---- */

void sim_log_verify(struct sim_log *s, bool detected)
{
    int64_t start = log_start_offset(s->log);
    int64_t end = log_next_offset(s->log);
    int64_t was = model_end(s);
    bool lost_its_end = s->memory && start == end; /* below the start, which follows it */
    if (start < s->start_acked && !detected && !lost_its_end)
        sim_log_give_up(s, "the start fell from %" PRId64 " to %" PRId64, s->start_acked, start);
    if (start > s->start_asked)
        sim_log_give_up(s, "the start is %" PRId64 ", nobody asked beyond %" PRId64, start, s->start_asked);
    if (end < s->acked && !detected)
        sim_log_give_up(s, "acknowledged up to %" PRId64 ", recovered up to %" PRId64, s->acked, end);
    if (end > TIDE_MAX(was, start))
        sim_log_give_up(s, "appended up to %" PRId64 ", recovered up to %" PRId64, was, end);
    model_cut(s, end);
    model_trim(s, start);
    if (model_end(s) != end && s->count != 0)
        sim_log_give_up(s, "it ends at %" PRId64 ", inside of a batch", end);
    if (detected && s->count != 0) /* what was trimmed may be back: the file that said so rotted */
        start = TIDE_MAX(start, batch_at(s, 0)->base);
    for (int64_t at = start, next; at < end; at = next) {
        enum tide_status status = read_once(s, at, 60000, &next);
        if (status == TIDE_OK && next > at)
            continue;
        if (!detected)
            sim_log_give_up(s, "offset %" PRId64 " cannot be read: %d", at, (int)status);
        s->read_refusals++;
        next = batch_at(s, model_find(s, at))->last + 1;
    }
    s->acked = end;
    s->start_acked = start;
    s->start_asked = TIDE_MAX(start, s->count == 0 ? end : start);
    s->cut_asked = INT64_MAX;
    mix(s, (uint64_t)end);
    mix(s, sim_fs_digest(s->fs));
}
