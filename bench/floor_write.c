/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor under a durable acknowledgement: the batches that tidemark-load would send, written by this process alone with the
 * flags of the broker's log (O_DIRECT, RWF_DSYNC, a registered buffer, zeroes written before), on the same schedule. What is due
 * while a write is out goes into the next one, as a log does; a write begins with the block in which the last one ended.
 *
 *   bench_floor_write [--NAME VALUE]...     rate, batch.records, record.bytes, ... as tidemark-load has them, and dir
 */
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "bench/load/content.h"
#include "bench/load/report.h"
#include "bench/load/schedule.h"
#include "log_end.h"
#include "log_raw.h"

enum { FILE_BYTES = 256 << 20 };

struct floor {
    struct load_options options;
    struct load_result result;
    struct load_schedule schedule;
    struct log_raw raw;
    uint32_t batch_bytes;
    uint64_t start_ns, warmup_ns, end_ns;
    uint64_t position; /* behind the last batch */
    uint64_t *due;     /* ring: when each was due that is not written yet */
    uint64_t first, count;
    uint64_t writing; /* of them */
};

static uint64_t now_ns(void) { return log_end_now_ns(); }

static void admit(struct floor *f, uint64_t since)
{
    while (load_schedule_next_ns(&f->schedule) <= since) {
        uint64_t due = load_schedule_next_ns(&f->schedule), lag = since - due;
        struct load_interval *i = load_result_interval(&f->result, due);
        (void)load_schedule_take(&f->schedule);
        f->result.due++;
        f->result.measured_due += due >= f->warmup_ns;
        f->result.late += lag > f->options.lag_us * 1000;
        i->due++;
        i->lag_max_ns = TIDE_MAX(i->lag_max_ns, lag);
        if (due >= f->warmup_ns)
            load_hist_add(&f->result.lag, lag);
        if (f->count == f->options.outstanding_max) {
            f->result.not_sent++;
            continue;
        }
        f->due[(f->first + f->count++) % f->options.outstanding_max] = due;
        i->waiting_max = TIDE_MAX(i->waiting_max, f->count);
        f->result.waiting_max = TIDE_MAX(f->result.waiting_max, f->count);
    }
}

/* All that waits and fits into one write. */
static void write_some(struct floor *f)
{
    uint64_t from, len, n = f->count;
    if (f->position + LOG_RAW_WRITE_MAX > FILE_BYTES)
        f->position = 0;
    from = f->position / TIDE_BLOCK * TIDE_BLOCK;
    n = TIDE_MIN(n, (from + LOG_RAW_WRITE_MAX - f->position) / f->batch_bytes);
    len = (f->position + n * f->batch_bytes - from + TIDE_BLOCK - 1) / TIDE_BLOCK * TIDE_BLOCK;
    log_raw_write(&f->raw, from, (uint32_t)len);
    f->position += n * f->batch_bytes;
    f->writing = n;
    f->result.sent += n;
}

static void on_written(struct floor *f)
{
    uint64_t since = now_ns() - f->start_ns;
    for (; f->writing != 0; f->writing--, f->count--, f->first = (f->first + 1) % f->options.outstanding_max) {
        uint64_t due = f->due[f->first];
        f->result.acked++;
        f->result.measured_acked += due >= f->warmup_ns && since <= f->end_ns;
        load_hist_add(&load_result_interval(&f->result, due)->produce, since - due);
        load_result_interval(&f->result, since)->acked++;
        if (due >= f->warmup_ns)
            load_hist_add(&f->result.produce, since - due);
    }
}

static void run(struct floor *f)
{
    bool over = false;
    f->start_ns = now_ns();
    while (load_schedule_next_ns(&f->schedule) != TIDE_NEVER || f->count != 0) {
        uint64_t since = now_ns() - f->start_ns, next = load_schedule_next_ns(&f->schedule);
        admit(f, since);
        if (f->writing == 0 && f->count != 0)
            write_some(f);
        if (!over && since >= f->end_ns) {
            over = true;
            f->result.backlog = f->count;
        }
        next = TIDE_MIN(next, since + 50 * TIDE_NS_PER_MS);
        if (log_raw_wait(&f->raw, f->options.wait != 0 || next <= since ? 0 : next - since) & LOG_RAW_WROTE)
            on_written(f);
    }
}

static int usage(const char *error_text)
{
    fprintf(stderr, "bench_floor_write: %s\n", error_text);
    return 2;
}

static void set_up(struct floor *f)
{
    const struct load_options *o = &f->options;
    struct content c;
    double per_s = o->rate / (double)o->batch_records;
    char path[LOAD_TEXT_MAX + 64];
    log_end_must(content_init(&c, 1, (uint32_t)o->record_bytes, (uint32_t)o->batch_records, o->seed), "no memory");
    f->batch_bytes = c.batch_bytes;
    content_deinit(&c);
    log_end_must(f->batch_bytes <= LOG_RAW_WRITE_MAX - TIDE_BLOCK, "a batch is larger than a write of 1 MiB");
    f->warmup_ns = (uint64_t)(o->warmup_s * 1e9);
    f->end_ns = (uint64_t)((o->warmup_s + o->duration_s) * 1e9);
    f->due = calloc(o->outstanding_max, sizeof(*f->due));
    log_end_must(f->due != NULL && load_result_init(&f->result, o), "no memory");
    load_schedule_init(&f->schedule, (enum load_arrivals)o->arrivals, per_s, 0, o->seed, f->end_ns, o->requests_max);
    snprintf(path, sizeof(path), "%s/tidemark-floor-%d", o->dir, (int)getpid());
    log_raw_open(&f->raw, path, FILE_BYTES);
    unlink(path); /* it lives as long as we do */
}

int main(int argc, char **argv)
{
    static struct floor f;
    struct load_report r = {.tool = "floor-write", .options = &f.options, .result = &f.result};
    struct timespec wall;
    char error_text[LOAD_ERROR_MAX];
    if (!load_options_args(&f.options, argc, argv, error_text))
        return usage(error_text);
    f.options.consume = 0;
    set_up(&f);
    (void)prctl(PR_SET_TIMERSLACK, 1);
    load_report_begin(&r);
    clock_gettime(CLOCK_REALTIME, &wall);
    r.start_wall_ms = (int64_t)wall.tv_sec * 1000 + wall.tv_nsec / 1000000;
    run(&f);
    r.start_ns = f.start_ns;
    load_report_end(&r, now_ns());
    log_end_must(load_report_tell(&r), "the results cannot be written");
    log_raw_close(&f.raw);
    load_result_deinit(&f.result);
    free(f.due);
    return r.reason_count != 0 ? 3 : 0;
}
