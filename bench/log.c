/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log against the device's floor, one part a run; bench/log.py runs them and makes ratios.
 *
 *   bench_log append DIR BATCH_BYTES ROUNDS MIB AHEAD     throughput; AHEAD 1: all zeroed before,
 *                                                         0: helpers zero the file meanwhile
 *   bench_log latency DIR BATCH_BYTES ROUNDS SAMPLES      one batch at a time
 *   bench_log reader DIR ROUNDS MILLISECONDS COLD_MIB     a producer with and without a cold reader
 *   bench_log fill DIR MIB SEGMENT_MIB CHECKPOINT_BYTES   appends, then kills itself
 *   bench_log recover DIR SEGMENT_MIB CHECKPOINT_BYTES    what opening it costs; ends like a kill
 *   bench_log instructions RECORDS RECORD_BYTES BATCHES   for callgrind: log_append in memory, and
 *                                                         floor_append beside it
 *
 * DIR/log-0 is the log, DIR/floor the file of the direct writes; neither may be there before
 * (`recover` opens what `fill` left). Rounds take turns: the log, then the floor.
 *
 * Output: a line a round (a figure a line for fill and recover), words and numbers; see each part.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "disk/posix_fs.h"
#include "log_end.h"
#include "log_raw.h"

enum {
    IN_FLIGHT_MAX = 1 << 20, /* bytes appended and not durable: what produce requests wait for */
    PER_TURN = 64 << 10,     /* bytes appended between two looks at the disk */
    SAMPLES_MAX = 200000,
    WRITE_MAX = 262144,  /* of one write: a tail buffer */
    PERIOD_NS = 1000000, /* of the producer beside the reader: one batch a millisecond */
    PRODUCED_BYTES = 16384,
    FILL_BATCH = 65536,
    SEGMENT_MIB = 2000,
    PACED_RATE = 100 << 20,
    FETCH_BYTES = 1 << 20, /* of the cold reader: a client's default for a partition */
};
static const uint64_t MIB = 1 << 20;

static char path_log[4096], path_floor[4096];

static void set_dir(const char *dir)
{
    log_end_must(strlen(dir) < sizeof(path_log) - 16, "the name of the directory is too long");
    snprintf(path_log, sizeof(path_log), "%s/log-0", dir);
    snprintf(path_floor, sizeof(path_floor), "%s/floor", dir);
}

static uint64_t block_floor(uint64_t n)
{
    return n & ~(uint64_t)(TIDE_BLOCK - 1);
}
static uint64_t block_ceil(uint64_t n)
{
    return block_floor(n + TIDE_BLOCK - 1);
}
static uint64_t mib_ceil(uint64_t n)
{
    return (n + MIB - 1) / MIB * MIB;
}

static double mib_per_s(uint64_t bytes, uint64_t ns)
{
    return ns == 0 ? 0 : (double)bytes / (double)MIB * 1e9 / (double)ns;
}

/* For `bytes` of appends in one segment: zeroed before if `ahead`, otherwise meanwhile as the broker does. */
static struct log_end_config config_for(uint64_t bytes, bool ahead)
{
    log_end_must(2 * bytes <= SEGMENT_MIB * MIB, "one segment does not hold so many rounds");
    return (struct log_end_config){.dir = path_log,
                                   .segment_bytes = SEGMENT_MIB * MIB,
                                   .preallocate_bytes = 4 * MIB,
                                   .zeroed_bytes = ahead ? 2 * bytes : 0};
}

/* ---- samples ---- */

struct samples {
    uint32_t count;
    uint64_t ns[SAMPLES_MAX];
};

static void sample(struct samples *s, uint64_t ns)
{
    if (s->count < SAMPLES_MAX)
        s->ns[s->count++] = ns;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* In microseconds; sorts. The caller asks only when there are samples. */
static double quantile(struct samples *s, double part)
{
    log_end_must(s->count != 0, "nothing was measured");
    qsort(s->ns, s->count, sizeof(s->ns[0]), by_value);
    return (double)s->ns[(uint32_t)(part * (s->count - 1))] / 1e3;
}

/* ---- append ---- */

/* Waits until nothing that is appended is not durable. */
static void settle(struct log_end *e)
{
    while (log_durable_end(e->log) < log_next_offset(e->log))
        log_end_turn(e, TIDE_NS_PER_S);
}

static uint64_t append_many(struct log_end *e, const struct log_batch *b, uint32_t count)
{
    uint64_t start = log_end_now_ns();
    int64_t last = log_next_offset(e->log) + (int64_t)count * b->records;
    while (log_durable_end(e->log) < last) {
        uint32_t given = 0;
        int64_t open = (log_next_offset(e->log) - log_durable_end(e->log)) / b->records * b->size;
        while (given < PER_TURN && open < IN_FLIGHT_MAX && log_next_offset(e->log) < last) {
            if (!log_end_append(e, b))
                break;
            given += b->size;
            open += b->size;
        }
        log_end_turn(e, given != 0 ? 0 : TIDE_NS_PER_S);
    }
    return log_end_now_ns() - start;
}

static uint64_t write_again(struct log_raw *r, const struct log_writes *w)
{
    uint64_t start = log_end_now_ns();
    for (uint32_t i = 0; i < w->count; i++) {
        log_raw_write(r, w->at[i].position, w->at[i].len);
        (void)log_raw_wait(r, UINT64_MAX);
    }
    return log_end_now_ns() - start;
}

/* A write for each batch, one after the other, for at most `ns`. Returns MiB/s of batches. */
static double write_singly(struct log_raw *r, const struct log_batch *b, uint64_t start_at,
                           uint64_t bytes, uint64_t ns)
{
    uint64_t start = log_end_now_ns();
    uint64_t step = block_ceil(b->size);
    uint64_t count = 0;
    for (uint64_t at = block_floor(start_at);
         at + step <= start_at + bytes && log_end_now_ns() - start < ns; at += step, count++) {
        log_raw_write(r, at, (uint32_t)step);
        (void)log_raw_wait(r, UINT64_MAX);
    }
    return mib_per_s(count * b->size, log_end_now_ns() - start);
}

/* A line: MiB/s of the log, of its writes made directly, of a write a batch; batches per write;
 * appends that waited for zeroed space. */
static int part_append(char **args)
{
    uint32_t rounds = (uint32_t)atoi(args[2]);
    uint64_t bytes = (uint64_t)atoi(args[3]) * MIB;
    bool ahead = atoi(args[4]) != 0;
    uint64_t all = mib_ceil(bytes * rounds + 2 * MIB);
    struct log_end_config config = config_for(all, ahead);
    static struct log_end e;
    struct log_raw r;
    struct log_batch b;
    struct log_writes w = {.room = (uint32_t)(all / TIDE_BLOCK)};
    w.at = calloc(w.room, sizeof(*w.at));
    log_end_must(w.at != NULL, "no memory for the list of writes");
    log_end_open(&e, &config, true);
    log_raw_open(&r, path_floor, all);
    log_batch_make(&b, (uint32_t)atoi(args[1]), 1);
    for (uint32_t i = 0; i < rounds; i++) {
        uint32_t count = (uint32_t)(bytes / b.size);
        uint64_t waits = e.counters.values[COUNTER_log_zero_waits];
        w.count = 0;
        e.writes = &w;
        uint64_t ours = append_many(&e, &b, count);
        e.writes = NULL;
        uint64_t direct = write_again(&r, &w);
        double single = write_singly(&r, &b, i * bytes, bytes, 300 * TIDE_NS_PER_MS);
        uint64_t moved = (uint64_t)count * b.size;
        printf("append %.2f %.2f %.2f %.2f %" PRIu64 "\n", mib_per_s(moved, ours),
               mib_per_s(moved, direct), single, (double)count / w.count,
               e.counters.values[COUNTER_log_zero_waits] - waits);
        fflush(stdout);
    }
    log_end_close(&e);
    log_raw_close(&r);
    log_batch_free(&b);
    free(w.at);
    return 0;
}

/* ---- latency ---- */

static void latency_of_log(struct log_end *e, const struct log_batch *b, struct samples *s)
{
    uint64_t start = log_end_now_ns();
    log_end_must(log_end_append(e, b), "no room, although it was made before");
    settle(e);
    sample(s, log_end_now_ns() - start);
}

/* The blocks that the batch at `position` touches, in one write. */
static void latency_of_floor(struct log_raw *r, uint64_t position, uint32_t size, struct samples *s)
{
    uint64_t from = block_floor(position);
    uint64_t start = log_end_now_ns();
    log_raw_write(r, from, (uint32_t)(block_ceil(position + size) - from));
    while (log_raw_wait(r, TIDE_NS_PER_S) == 0)
        ;
    sample(s, log_end_now_ns() - start);
}

/* A line: microseconds of the log p50 p99, of the floor p50 p99. */
static int part_latency(char **args)
{
    uint32_t size = (uint32_t)atoi(args[1]);
    uint32_t rounds = (uint32_t)atoi(args[2]);
    uint32_t count = (uint32_t)atoi(args[3]);
    uint64_t all = mib_ceil((uint64_t)size * rounds * count + 2 * MIB);
    struct log_end_config config = config_for(all, true);
    static struct log_end e;
    static struct samples ours, direct;
    struct log_raw r;
    struct log_batch b;
    log_end_open(&e, &config, false);
    log_raw_open(&r, path_floor, all);
    log_batch_make(&b, size, 1);
    for (uint32_t i = 0; i < rounds; i++) {
        uint64_t at = (uint64_t)i * count * b.size;
        ours.count = direct.count = 0;
        for (uint32_t k = 0; k < count; k++)
            latency_of_log(&e, &b, &ours);
        for (uint32_t k = 0; k < count; k++)
            latency_of_floor(&r, at + (uint64_t)k * b.size, b.size, &direct);
        printf("latency %.2f %.2f %.2f %.2f\n", quantile(&ours, 0.5), quantile(&ours, 0.99),
               quantile(&direct, 0.5), quantile(&direct, 0.99));
        fflush(stdout);
    }
    log_end_close(&e);
    log_raw_close(&r);
    log_batch_free(&b);
    return 0;
}

/* ---- a cold reader ---- */

struct reader {
    bool on;
    struct log_read read;
    int64_t end; /* begins again when it comes there: behind it are bytes in memory */
    uint64_t bytes;
    uint64_t since; /* ns */
    uint64_t rate;  /* bytes a second; 0: as fast as it goes */
};

/* A reader of `rate` that began at `since` and has `bytes` is not ahead of its time. */
static bool may_read(uint64_t rate, uint64_t since, uint64_t bytes)
{
    return rate == 0 || (double)bytes <= (double)(log_end_now_ns() - since) / 1e9 * (double)rate;
}

static void reader_turn(struct reader *r, struct log_end *e, const struct log_batch *b)
{
    if (!r->on || (r->read.state == 0 && !may_read(r->rate, r->since, r->bytes)))
        return;
    enum tide_status status = log_read(e->log, e->core, 0, &r->read, &e->out);
    if (status == TIDE_AGAIN || status == TIDE_FULL)
        return;
    log_end_must(status == TIDE_OK && r->read.bytes.len != 0, "a read failed");
    uint32_t len = r->read.bytes.len;
    tide_rope_clear(&r->read.bytes);
    r->bytes += len;
    int64_t next = r->read.offset + len / b->size;
    r->read = (struct log_read){.offset = next < r->end ? next : 0,
                                .end_offset = r->end,
                                .max_bytes = FETCH_BYTES,
                                .at_least_one = true};
}

/* Its last read comes back. */
static void reader_stop(struct reader *r, struct log_end *e, const struct log_batch *b)
{
    uint64_t bytes = r->bytes;
    r->rate = 0;
    while (r->read.state != 0 && r->bytes == bytes) {
        log_end_turn(e, TIDE_NS_PER_MS);
        reader_turn(r, e, b);
    }
    log_read_abandon(e->core, &r->read);
    e->reading = NULL;
    r->bytes = bytes;
}

/* One batch is due each PERIOD_NS, whether or not the one before is durable; measured from the time
 * at which it was due. Returns what the reader got, in MiB/s. */
static double produce(struct log_end *e, const struct log_batch *b, uint64_t ns, int64_t cold_end,
                      uint64_t rate, struct samples *s)
{
    uint64_t start = log_end_now_ns();
    uint64_t next = start + PERIOD_NS;
    uint64_t oldest = next; /* when the first that is not durable was due */
    bool over;
    struct reader r = {.on = cold_end != 0, .end = cold_end, .since = start, .rate = rate};
    int64_t durable = log_durable_end(e->log);
    r.read =
        (struct log_read){.end_offset = cold_end, .max_bytes = FETCH_BYTES, .at_least_one = true};
    e->reading = &r.read;
    s->count = 0;
    do {
        uint64_t now = log_end_now_ns();
        while (now >= next && next < start + ns && log_end_append(e, b))
            next += PERIOD_NS;
        over = next >= start + ns;
        reader_turn(&r, e, b);
        log_end_turn(e, next > now && !over ? next - now : PERIOD_NS);
        now = log_end_now_ns();
        for (; durable < log_durable_end(e->log); durable++, oldest += PERIOD_NS)
            sample(s, now - oldest);
    } while (!over || durable < log_next_offset(e->log));
    uint64_t took = log_end_now_ns() - start;
    reader_stop(&r, e, b);
    return mib_per_s(r.bytes, took);
}

/* The same with direct writes and reads in the place of the log: what is due when a write may begin
 * goes out in one, as there. */
static double produce_directly(struct log_raw *f, uint32_t size, uint64_t from, uint64_t ns,
                               uint64_t cold_bytes, uint64_t rate, struct samples *s)
{
    uint64_t start = log_end_now_ns();
    uint64_t next = start + PERIOD_NS;
    uint64_t step = block_ceil(size);
    uint64_t bytes = 0;
    uint64_t at = 0;
    uint64_t due = 0; /* batches in the write that is out */
    s->count = 0;
    while (next < start + ns || f->writing != 0 || f->reading != 0) {
        uint64_t now = log_end_now_ns();
        bool over = next >= start + ns;
        if (f->writing == 0 && now >= next && !over) {
            due = TIDE_MIN((now - next) / PERIOD_NS + 1, WRITE_MAX / step);
            log_raw_write(f, from + at % (64 * MIB), (uint32_t)(due * step + TIDE_BLOCK));
            at += due * step;
        }
        if (f->reading == 0 && cold_bytes != 0 && !over && may_read(rate, start, bytes))
            log_raw_read(f, bytes % cold_bytes, FETCH_BYTES);
        unsigned came = log_raw_wait(f, f->writing == 0 && next > now ? next - now : TIDE_NS_PER_S);
        if (came & LOG_RAW_READ)
            bytes += FETCH_BYTES;
        now = log_end_now_ns();
        for (; came & LOG_RAW_WROTE && due != 0; due--, next += PERIOD_NS)
            sample(s, now - next);
    }
    return mib_per_s(bytes, log_end_now_ns() - start);
}

static void print_phase(const char *who, const char *what, struct samples *s, double read)
{
    printf("%s%s %.2f %.2f %.1f", who, what, quantile(s, 0.5), quantile(s, 0.99), read);
}

static void print_spans(struct log_spans *s)
{
    qsort(s->write_ns, s->write_count, sizeof(s->write_ns[0]), by_value);
    qsort(s->turn_ns, s->turn_count, sizeof(s->turn_ns[0]), by_value);
    log_end_must(s->write_count != 0 && s->turn_count != 0, "nothing was measured");
    printf(" %.2f %.2f %.2f\n", (double)s->write_ns[(s->write_count - 1) * 99ull / 100] / 1e3,
           (double)s->turn_ns[(s->turn_count - 1) * 99ull / 100] / 1e3, (double)s->turn_ns[s->turn_count - 1] / 1e3);
    fflush(stdout);
    s->write_count = s->turn_count = 0;
    s->asked_ns = s->woke_ns = 0;
}

/* Lines "alone", "paced", "beside" and the same with "floor_": microseconds p50 and p99 of the
 * producer and MiB/s of the reader, who is not there, reads PACED_RATE, or as fast as it goes. With
 * "plain_" writes do not go first. Of the log also: the p99 of a write on the device, the p99 of our
 * turns and the longest. */
static int part_reader(char **args)
{
    static const struct {
        const char *name;
        bool reads;
        uint64_t rate;
    } phases[] = {{"alone", false, 0}, {"paced", true, PACED_RATE}, {"beside", true, 0}};
    static uint64_t write_ns[SAMPLES_MAX], turn_ns[SAMPLES_MAX];
    struct log_spans spans = {.room = SAMPLES_MAX, .write_ns = write_ns, .turn_ns = turn_ns};
    uint32_t rounds = (uint32_t)atoi(args[1]);
    uint64_t ns = (uint64_t)atoi(args[2]) * TIDE_NS_PER_MS;
    uint64_t cold = (uint64_t)atoi(args[3]) * MIB;
    uint64_t produced = mib_ceil(5 * rounds * (ns / PERIOD_NS + 1) * PRODUCED_BYTES);
    uint64_t all = cold + 64 * MIB + produced + MIB;
    struct log_end_config config = config_for(all, true);
    static struct log_end e;
    static struct samples s;
    struct log_raw f;
    struct log_batch b;
    (void)prctl(PR_SET_TIMERSLACK, 1ul); /* the due times shall not be 50 us late */
    log_end_open(&e, &config, false);
    log_raw_open(&f, path_floor, cold + 65 * MIB);
    log_batch_make(&b, PRODUCED_BYTES, 1);
    int64_t cold_end = (int64_t)(cold / b.size);
    /* The newest 48 MiB are in the tail's buffers: behind what shall be cold there must be more. */
    (void)append_many(&e, &b, (uint32_t)((cold + 60 * MIB) / b.size));
    for (uint64_t at = 0; at < cold; at += LOG_RAW_WRITE_MAX) { /* zeroes may be quicker to read */
        log_raw_write(&f, at, LOG_RAW_WRITE_MAX);
        (void)log_raw_wait(&f, UINT64_MAX);
    }
    for (uint32_t i = 0; i < rounds; i++) {
        for (size_t k = 0; k < 2 * TIDE_ARRAY_LEN(phases); k++) {
            size_t n = k / 2;
            int64_t end = phases[n].reads ? cold_end : 0;
            if (k % 2 != 0 && !phases[n].reads)
                continue;
            log_end_let_writes_first(&e, k % 2 == 0);
            e.spans = &spans;
            print_phase(k % 2 == 0 ? "" : "plain_", phases[n].name, &s, produce(&e, &b, ns, end, phases[n].rate, &s));
            print_spans(&spans);
            e.spans = NULL;
        }
        for (size_t k = 0; k < TIDE_ARRAY_LEN(phases); k++) {
            uint64_t end = phases[k].reads ? cold : 0;
            print_phase("floor_", phases[k].name, &s,
                        produce_directly(&f, b.size, cold, ns, end, phases[k].rate, &s));
            printf("\n");
        }
    }
    log_end_close(&e);
    log_raw_close(&f);
    log_batch_free(&b);
    return 0;
}

/* ---- recovery ---- */

/* Between two checkpoints, half of their distance behind the newest one, with a write in flight. */
static int part_fill(char **args)
{
    uint64_t bytes = (uint64_t)atoi(args[1]) * MIB;
    uint32_t checkpoint = (uint32_t)atoi(args[3]);
    struct log_end_config config = {.dir = path_log,
                                    .segment_bytes = (uint64_t)atoi(args[2]) * MIB,
                                    .preallocate_bytes = 4 * MIB,
                                    .checkpoint_bytes = checkpoint};
    static struct log_end e;
    struct log_batch b;
    log_end_open(&e, &config, false);
    log_batch_make(&b, FILL_BATCH, 1);
    if (bytes > checkpoint)
        (void)append_many(&e, &b, (uint32_t)((bytes - checkpoint) / b.size));
    uint64_t seen = e.counters.values[COUNTER_log_checkpoints];
    while (e.counters.values[COUNTER_log_checkpoints] == seen)
        (void)append_many(&e, &b, 1);
    (void)append_many(&e, &b, checkpoint / 2 / b.size);
    printf("durable %" PRId64 "\n", log_durable_end(e.log));
    printf("bytes %" PRId64 "\n", log_size_bytes(e.log));
    fflush(stdout);
    while (!log_end_append(&e, &b))
        log_end_turn(&e, TIDE_NS_PER_MS);
    log_end_turn(&e, 0);
    (void)kill(getpid(), SIGKILL);
    return 1;
}

static struct {
    uint64_t reads, read_bytes, write_bytes, map_bytes;
} counted;

static int64_t counted_pread(void *self, int file, void *buf, size_t len, uint64_t position)
{
    int64_t n = posix_fs()->pread(self, file, buf, len, position);
    counted.reads++;
    counted.read_bytes += n > 0 ? (uint64_t)n : 0;
    return n;
}

static int64_t counted_pwrite(void *self, int file, const void *buf, size_t len, uint64_t position)
{
    int64_t n = posix_fs()->pwrite(self, file, buf, len, position);
    counted.write_bytes += n > 0 ? (uint64_t)n : 0;
    return n;
}

static int counted_map(void *self, int file, size_t len, const void **ret)
{
    counted.map_bytes += len;
    return posix_fs()->map(self, file, len, ret);
}

static int part_recover(char **args)
{
    struct log_config c = {.dir = path_log,
                           .topic_id = {{4, 4, 4}},
                           .segment_bytes = (uint64_t)atoi(args[1]) * MIB,
                           .segment_ms = -1,
                           .index_interval_bytes = 4096,
                           .preallocate_bytes = 4 * MIB,
                           .durable = true,
                           .checkpoint_bytes = (uint32_t)atoi(args[2])};
    struct tide_fs fs = *posix_fs();
    char error[256] = "the log does not open";
    struct log *log = log_create(&c);
    log_end_must(log != NULL, "no memory for a log");
    fs.pread = counted_pread;
    fs.pwrite = counted_pwrite;
    fs.map = counted_map;
    uint64_t start = log_end_now_ns();
    log_end_must(log_open(log, &fs, 0, NULL, NULL, error, sizeof(error)) == 0, error);
    uint64_t took = log_end_now_ns() - start;
    printf("ms %.3f\nread %" PRIu64 "\nreads %" PRIu64 "\nwritten %" PRIu64 "\nmapped %" PRIu64
           "\n",
           (double)took / 1e6, counted.read_bytes, counted.reads, counted.write_bytes,
           counted.map_bytes);
    printf("end %" PRId64 "\nbytes %" PRId64 "\nlabel %s\n", log_next_offset(log),
           log_size_bytes(log), log_recovery_label(log));
    fflush(stdout);
    _exit(0);
}

/* ---- instructions ---- */

/* What no append can do without: the bytes are copied and summed. Its name is callgrind's switch.
 */
uint32_t floor_append(uint8_t *to, struct tide_slice batch);
__attribute__((noinline)) uint32_t floor_append(uint8_t *to, struct tide_slice batch)
{
    const uint8_t *piece;
    uint32_t crc = 0;
    uint32_t at = 0;
    uint32_t n;
    while ((n = tide_slice_next(&batch, &piece)) != 0) {
        uint32_t skip = at == 0 ? BATCH_ATTRIBUTES : 0;
        memcpy(to + at, piece, n);
        crc = batch_crc_update(crc, to + at + skip, n - skip);
        at += n;
    }
    return crc;
}

/* The figure "size": bytes of a batch. */
static int part_instructions(char **args)
{
    int32_t records = atoi(args[0]);
    uint32_t size = BATCH_HEADER + (uint32_t)records * (uint32_t)atoi(args[1]);
    uint32_t batches = (uint32_t)atoi(args[2]);
    struct log_end_config config = {.segment_bytes = 64 * MIB, .preallocate_bytes = MIB};
    static struct log_end e;
    static uint8_t to[1 << 20];
    struct log_batch b;
    log_end_open(&e, &config, false);
    log_batch_make(&b, size, records);
    for (uint32_t i = 0; i < batches; i++) {
        while (!log_end_append(&e, &b))
            log_end_turn(&e, 0);
        log_end_turn(&e, 0);
        log_end_must(floor_append(to, tide_rope_slice(&b.rope, 0, b.rope.len)) == b.header.crc,
                     "the floor sums something else");
    }
    log_end_must(log_durable_end(e.log) == (int64_t)batches * records, "the log did not keep up");
    printf("size %u\n", b.size);
    log_end_close(&e);
    log_batch_free(&b);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int args;
        bool has_dir;
        int (*run)(char **args);
    } parts[] = {
        {"append", 5, true, part_append},   {"latency", 4, true, part_latency},
        {"reader", 4, true, part_reader},   {"fill", 4, true, part_fill},
        {"recover", 3, true, part_recover}, {"instructions", 3, false, part_instructions},
    };
    for (size_t i = 0; argc > 1 && i < TIDE_ARRAY_LEN(parts); i++) {
        if (strcmp(argv[1], parts[i].name) != 0 || argc != parts[i].args + 2)
            continue;
        if (parts[i].has_dir)
            set_dir(argv[2]);
        log_end_start();
        return parts[i].run(argv + 2);
    }
    fputs("bench_log: see bench/log.py; bench/run.sh log runs it\n", stderr);
    return 2;
}
