/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compaction over a disk that loses power (tests/README.md). A life of a log with keys: appends,
 * compactions, reads and lookups beside them, trims, truncations, stops, power cuts at a random
 * operation. A model knows every record that was appended. What must hold at any time:
 *
 *   C1  what is read was appended, at that offset, byte for byte; offsets rise
 *   C2  a record that is missing is superseded by a younger one of its key, or is a tombstone
 *       whose time is over
 *   C3  when a tombstone is missing, no older record of its key is there (when nothing is under way)
 *   C4  the last batch of every producer is there, with its sequence, be it empty
 *   C5  behind a finished compaction no key is there twice below its end
 *   C6  a lookup by time finds the first record that is there
 *
 *   --lives N [--seed S] [--verbose]
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kafka/batch.h"
#include "kafka/codecs.h"
#include "log/plain.h"
#include "sim_log_world.h"
#include "sim_seconds.h"
#include "tidemark/bytes.h"
#include "../unit/unit.h"

enum {
    RECORDS = 1 << 16,
    KEYS_MAX = 6000,
    PRODUCERS = 4,
    BATCH_ROOM = 1 << 16,
    VALUE_MAX = 300,
    RETENTION_MS = 5000,
};

struct record {
    int64_t timestamp;
    int64_t appended_ms;
    int64_t batch_last;
    uint32_t key;
    uint32_t value_seed;
    uint16_t value_len;
    bool tombstone;
    bool seen;
};

struct life {
    struct sim_log s;
    struct record *records; /* by offset */
    int64_t end;
    uint32_t keys;
    size_t map_bytes;
    int32_t sequence[PRODUCERS];
    int64_t producer_end[PRODUCERS]; /* last offset, -1 */
    int32_t producer_base_sequence[PRODUCERS];
    int64_t asked_start;
    int64_t forgiven; /* what superseded a record below it may have been cut */
};

static struct life life;
static struct rte_mempool *pool;
static uint8_t plain_batch[BATCH_ROOM], wire_batch[2 * BATCH_ROOM], answer[1 << 20];
static bool verbose;
static uint64_t compactions, removed_bytes, cuts;

#define FAIL(...) sim_log_give_up(&life.s, __VA_ARGS__)

static void value_fill(const struct record *r, uint8_t *to)
{
    for (uint32_t i = 0; i < r->value_len; i++)
        to[i] = i % 16 < 12 ? (uint8_t)r->value_seed : (uint8_t)(r->value_seed * 31 + i);
}

/* Operations fail since the power went; the log may not have noticed yet. */
static bool power_is_off(const struct life *l)
{
    uint64_t at = sim_fs_faults(l->s.fs)->fail_at;
    return at != 0 && sim_fs_operations(l->s.fs) >= at;
}

/* ---- appending ---- */

static size_t build(struct life *l, int64_t producer, int32_t count)
{
    static uint8_t values[8][VALUE_MAX];
    static char keys[8][16];
    struct batch_build_record out[8];
    for (int32_t i = 0; i < count; i++) {
        struct record *r = &l->records[l->end + i];
        *r = (struct record){.timestamp = l->s.time.wall_ms - (int64_t)tide_random_below(&l->s.random, 50),
                             .appended_ms = l->s.time.wall_ms,
                             .batch_last = l->end + count - 1,
                             .key = (uint32_t)tide_random_below(&l->s.random, l->keys),
                             .value_seed = (uint32_t)tide_random_u64(&l->s.random),
                             .value_len = (uint16_t)tide_random_below(&l->s.random, VALUE_MAX),
                             .tombstone = tide_random_hits(&l->s.random, 6)};
        value_fill(r, values[i]);
        int n = snprintf(keys[i], sizeof(keys[i]), "key-%u", r->key);
        out[i] = (struct batch_build_record){.timestamp = r->timestamp,
                                             .key = keys[i],
                                             .key_len = n,
                                             .value = r->tombstone ? NULL : values[i],
                                             .value_len = r->tombstone ? 0 : r->value_len};
    }
    return batch_build(plain_batch, sizeof(plain_batch), out, count, producer, producer < 0 ? -1 : 0,
                       producer < 0 ? -1 : l->sequence[producer]);
}

static size_t compress(struct life *l, size_t len)
{
    enum batch_codec codec = (enum batch_codec)tide_random_below(&l->s.random, 2 * CODEC_COUNT);
    struct batch_header h;
    size_t made;
    if (codec == CODEC_NONE || codec >= CODEC_COUNT) {
        memcpy(wire_batch, plain_batch, len);
        return len;
    }
    batch_header_parse(plain_batch, &h);
    if (batch_compress(codec, plain_batch + BATCH_HEADER, len - BATCH_HEADER, wire_batch + BATCH_HEADER,
                       sizeof(wire_batch) - BATCH_HEADER, &made) != TIDE_OK)
        FAIL("codec %d does not compress", (int)codec);
    h.attributes |= (int16_t)codec;
    h.batch_length = (int32_t)(made + BATCH_HEADER) - BATCH_LENGTH_OVERHEAD;
    batch_header_store(&h, wire_batch);
    batch_seal(wire_batch, made + BATCH_HEADER);
    return made + BATCH_HEADER;
}

static void act_append(struct life *l)
{
    struct sim_log *s = &l->s;
    struct batch_header h;
    int64_t producer = (int64_t)tide_random_below(&s->random, 2 * PRODUCERS) - PRODUCERS;
    int32_t count = 1 + (int32_t)tide_random_below(&s->random, 8);
    if (producer < 0)
        producer = -1;
    sim_log_begin_epoch(s);
    if (log_is_failed(s->log) || l->end + count > RECORDS)
        return;
    size_t size = compress(l, build(l, producer, count));
    batch_header_parse(wire_batch, &h);
    unsigned tries = 0;
    enum tide_status status;
    while ((status = log_make_room(s->log, &s->time, (uint32_t)size, h.max_timestamp, &s->out)) == TIDE_FULL) {
        if (!sim_log_step(s))
            s->time.now_ns += 100 * TIDE_NS_PER_MS;
        if (++tries > 300)
            return;
    }
    if (status != TIDE_OK)
        return;
    struct rte_mbuf *m = unit_exact_mbuf(pool, wire_batch, (uint16_t)size);
    struct tide_rope rope = {0};
    tide_rope_push(&rope, m);
    status = log_append(s->log, tide_rope_slice(&rope, 0, rope.len), &h, l->end, s->epoch);
    tide_rope_clear(&rope);
    if (status != TIDE_OK)
        FAIL("an append that had room was not taken: %d", (int)status);
    l->end += count;
    if (producer >= 0) {
        l->producer_end[producer] = l->end - 1;
        l->producer_base_sequence[producer] = l->sequence[producer];
        l->sequence[producer] += count;
    }
    (void)sim_log_step(s);
}

/* ---- reading ---- */

static void see_record(struct life *l, const struct batch_record *r, int64_t *last)
{
    char key[16];
    uint8_t value[VALUE_MAX];
    if (r->offset <= *last || r->offset >= l->end)
        FAIL("C1: offset %" PRId64 " behind %" PRId64 ", the end is %" PRId64, r->offset, *last, l->end);
    struct record *m = &l->records[r->offset];
    int n = snprintf(key, sizeof(key), "key-%u", m->key);
    value_fill(m, value);
    bool same = r->key_len == n && memcmp(r->key, key, (size_t)n) == 0 && (r->value == NULL) == m->tombstone &&
                r->timestamp == m->timestamp && r->header_count == 0;
    if (same && !m->tombstone)
        same = r->value_len == m->value_len && memcmp(r->value, value, m->value_len) == 0;
    if (!same)
        FAIL("C1: another record than was appended at %" PRId64, r->offset);
    m->seen = true;
    *last = r->offset;
}

static int64_t see_batches(struct life *l, uint32_t len, int64_t offset, int64_t *last, bool *producers)
{
    struct batch_header h;
    struct batch_iter it;
    struct batch_record r;
    for (uint32_t at = 0; at < len; at += batch_size(&h)) {
        uint8_t *records;
        size_t records_len;
        batch_header_parse(answer + at, &h);
        if (batch_size(&h) > len - at || batch_last_offset(&h) < offset)
            FAIL("C1: the batch at %" PRId64 " does not belong into the answer", h.base_offset);
        if (log_records_plain(&h, answer + at, batch_size(&h), &records, &records_len) != 0)
            FAIL("C1: the batch at %" PRId64 " cannot be read", h.base_offset);
        batch_iter_init(&it, &h, records, records_len);
        while (batch_iter_next(&it, &r))
            see_record(l, &r, last);
        if (it.bad)
            FAIL("C1: a broken record in the batch at %" PRId64, h.base_offset);
        if (records != answer + at + BATCH_HEADER)
            free(records);
        for (int p = 0; p < PRODUCERS; p++)
            if (h.producer_id == p && batch_last_offset(&h) == l->producer_end[p])
                producers[p] = h.base_sequence == l->producer_base_sequence[p];
        offset = batch_last_offset(&h) + 1;
    }
    return offset;
}

/* Behind what came, or `offset`. */
static int64_t read_once(struct life *l, int64_t offset, int64_t *last, bool *producers)
{
    struct sim_log *s = &l->s;
    struct log_read r = {.offset = offset, .end_offset = INT64_MAX, .max_bytes = 60000, .at_least_one = true};
    enum tide_status status;
    unsigned tries = 0;
    s->reading = &r;
    while ((status = log_read(s->log, s->core, 5, &r, &s->out)) == TIDE_AGAIN || (status == TIDE_FULL && ++tries < 3000))
        (void)sim_log_step(s);
    if (status != TIDE_OK)
        log_read_abandon(s->core, &r);
    s->reading = NULL;
    if (status == TIDE_ABSENT || log_is_failed(s->log) || (status != TIDE_OK && power_is_off(l))) {
        tide_rope_clear(&r.bytes);
        return -1;
    }
    if (status != TIDE_OK)
        FAIL("a read at %" PRId64 " gave %d", offset, (int)status);
    uint32_t len = r.bytes.len;
    if (len != 0)
        tide_slice_copy(tide_rope_slice(&r.bytes, 0, len), answer);
    tide_rope_clear(&r.bytes);
    return see_batches(l, len, offset, last, producers);
}

static bool is_quiet(const struct life *l)
{
    return !log_is_compacting(l->s.log);
}

static void check_missing(struct life *l, int64_t start, int64_t upto, bool quiet)
{
    static int64_t younger[KEYS_MAX]; /* offset of the youngest of the key, -1 */
    static bool tombstone_gone[KEYS_MAX];
    static bool seen[KEYS_MAX];
    for (uint32_t k = 0; k < l->keys; k++) {
        younger[k] = -1;
        tombstone_gone[k] = seen[k] = false;
    }
    for (int64_t o = l->end - 1; o >= start; o--) {
        const struct record *r = &l->records[o];
        if (o < upto) {
            bool over = r->tombstone && l->s.time.wall_ms - r->appended_ms >= RETENTION_MS;
            if (!r->seen && younger[r->key] < 0 && !over && o >= l->forgiven)
                FAIL("C2: the record at %" PRId64 " of key %u is missing", o, r->key);
            if (quiet && r->seen && tombstone_gone[r->key] && o >= l->forgiven)
                FAIL("C3: the record at %" PRId64 " of key %u is back", o, r->key);
            if (quiet && r->seen && seen[r->key] && younger[r->key] < l->s.log->cleaner.clean_below)
                FAIL("C5: key %u is at %" PRId64 " and at %" PRId64, r->key, o, younger[r->key]);
            tombstone_gone[r->key] = tombstone_gone[r->key] || (r->tombstone && !r->seen);
            if (r->seen && o < l->s.log->cleaner.clean_below)
                seen[r->key] = true;
        }
        younger[r->key] = TIDE_MAX(younger[r->key], o);
    }
}

/* False when it could not look at everything. */
static bool verify(struct life *l)
{
    struct sim_log *s = &l->s;
    bool producers[PRODUCERS] = {false};
    bool quiet = is_quiet(l);
    int64_t start = log_start_offset(s->log);
    int64_t upto = log_next_offset(s->log);
    int64_t last = -1; /* the start may be inside of a batch */
    for (int64_t o = 0; o < l->end; o++)
        l->records[o].seen = false;
    for (int64_t at = start; at < upto;) {
        int64_t next = read_once(l, at, &last, producers);
        if (next < 0 || log_start_offset(s->log) != start)
            return false;
        if (next == at && at < s->log->cleaner.gaps_below)
            break; /* it ends with a gap: what is missing is found out below */
        if (next == at)
            FAIL("C1: nothing comes from %" PRId64 " on, the end is %" PRId64, at, upto);
        at = next;
    }
    check_missing(l, start, upto, quiet && is_quiet(l));
    for (int p = 0; p < PRODUCERS; p++)
        if (l->producer_end[p] >= start && l->producer_end[p] < upto && !producers[p])
            FAIL("C4: the last batch of producer %d at %" PRId64 " is missing", p, l->producer_end[p]);
    return true;
}

static void look_up(struct life *l)
{
    struct log_lookup k;
    struct sim_log *s = &l->s;
    if (!is_quiet(l) || l->end == 0 || !verify(l))
        return;
    int64_t start = log_start_offset(s->log);
    int64_t end = log_next_offset(s->log);
    int64_t expected = -1;
    log_lookup_prepare(&k, s->log);
    k.timestamp = l->records[tide_random_below(&s->random, (uint64_t)l->end)].timestamp;
    k.end_offset = end;
    k.job.run(&k.job, sim_fs_verbs(s->fs));
    for (int64_t o = start; o < end && expected < 0; o++)
        if (l->records[o].seen && l->records[o].timestamp >= k.timestamp)
            expected = o;
    if (log_is_failed(s->log) || !is_quiet(l) || k.job.result != 0 || power_is_off(l))
        return;
    if (k.ret_offset != expected)
        FAIL("C6: the first record at %" PRId64 " ms is %" PRId64 ", not %" PRId64, k.timestamp, expected, k.ret_offset);
}

/* ---- the rest of a life ---- */

static void act_compact(struct life *l)
{
    struct sim_log *s = &l->s;
    int64_t ends[PRODUCERS];
    uint32_t n = 0;
    for (int p = 0; p < PRODUCERS; p++)
        if (l->producer_end[p] >= 0)
            ends[n++] = l->producer_end[p];
    uint64_t errors = s->counters.values[COUNTER_log_compaction_errors];
    log_compact(s->log,
                &(struct log_compaction){.now_ms = s->time.wall_ms,
                                         .limit = log_durable_end(s->log),
                                         .min_ratio_ppm = tide_random_hits(&s->random, 3) ? 500000 : 0,
                                         .min_lag_ms = tide_random_hits(&s->random, 4) ? 2000 : 0,
                                         .max_lag_ms = INT64_MAX,
                                         .delete_retention_ms = RETENTION_MS,
                                         .bytes_per_second = tide_random_hits(&s->random, 3) ? 1 << 20 : 0,
                                         .map_bytes = l->map_bytes,
                                         .producer_ends = ends,
                                         .producer_end_count = n},
                &s->out);
    if (!tide_random_hits(&s->random, 3))
        return;
    for (unsigned i = 0; i < 5000 && log_is_compacting(s->log) && !log_is_failed(s->log); i++)
        if (!sim_log_step(s))
            s->time.now_ns += 50 * TIDE_NS_PER_MS;
    if (log_is_compacting(s->log) && !log_is_failed(s->log) && !power_is_off(l))
        FAIL("the compaction does not end");
    if (s->counters.values[COUNTER_log_compaction_errors] != errors && sim_fs_faults(s->fs)->fail_at == 0)
        FAIL("a compaction failed although nothing was wrong");
    if (!log_is_failed(s->log))
        (void)verify(l);
}

static void act_trim(struct life *l)
{
    struct sim_log *s = &l->s;
    int64_t start = log_start_offset(s->log);
    int64_t span = log_durable_end(s->log) - start;
    if (span <= 0)
        return;
    int64_t to = start + (int64_t)tide_random_below(&s->random, (uint64_t)span / 8 + 1);
    l->asked_start = TIDE_MAX(l->asked_start, to);
    (void)log_trim(s->log, l->asked_start, &s->out);
}

static void model_cut(struct life *l, int64_t end)
{
    l->end = end;
    for (int p = 0; p < PRODUCERS; p++)
        if (l->producer_end[p] >= end) {
            l->producer_end[p] = -1; /* its last batch before is not known here */
            l->sequence[p] = 0;
        }
}

static void act_truncate(struct life *l)
{
    struct sim_log *s = &l->s;
    int64_t start = TIDE_MAX(log_start_offset(s->log), l->asked_start);
    int64_t end = log_next_offset(s->log);
    if (end - start < 2)
        return;
    int64_t to = end - (int64_t)tide_random_below(&s->random, (uint64_t)(end - start) / 2 + 1);
    enum tide_status status;
    unsigned tries = 0;
    l->forgiven = end;
    s->cut_asked = to;
    s->acked = TIDE_MIN(s->acked, 0); /* the batch that contains it goes as a whole */
    while ((status = log_truncate(s->log, to, &s->out)) == TIDE_AGAIN) {
        if (!sim_log_step(s))
            s->time.now_ns += 50 * TIDE_NS_PER_MS;
        if (++tries > 20000)
            FAIL("the truncation does not end");
    }
    if (status != TIDE_OK)
        return;
    s->cut_asked = INT64_MAX;
    if (log_next_offset(s->log) > to)
        FAIL("cut at %" PRId64 ", it ends at %" PRId64, to, log_next_offset(s->log));
    if (to < end && log_next_offset(s->log) < to && l->records[to].batch_last == l->records[to - 1].batch_last - 1)
        FAIL("too much was cut");
    model_cut(l, log_next_offset(s->log));
    l->forgiven = l->end;
    s->epoch++;
}

static void reopened(struct life *l)
{
    struct sim_log *s = &l->s;
    int64_t end = log_next_offset(s->log);
    if (s->cut_asked == INT64_MAX && end < s->acked)
        FAIL("P1: acknowledged up to %" PRId64 ", recovered up to %" PRId64, s->acked, end);
    if (end > l->end)
        FAIL("it ends at %" PRId64 ", nobody appended beyond %" PRId64, end, l->end);
    model_cut(l, end);
    l->asked_start = log_start_offset(s->log);
    s->cut_asked = INT64_MAX;
    s->acked = end;
    s->epoch++;
}

static void open_again(struct life *l)
{
    int e = sim_log_open(&l->s);
    if (e != 0)
        FAIL("it does not open: %s (%s)", l->s.error, strerror(-e));
    reopened(l);
    (void)verify(l);
}

static void power_cut(struct life *l)
{
    struct sim_log *s = &l->s;
    struct sim_faults *faults = sim_fs_faults(s->fs);
    faults->fail_at = 0;
    faults->fail_ever_after = false;
    sim_log_crash(s, (enum sim_crash)tide_random_below(&s->random, 3));
    cuts++;
    if (tide_random_hits(&s->random, 4)) { /* again, inside of the recovery */
        faults->fail_at = sim_fs_operations(s->fs) + 1 + tide_random_below(&s->random, 60);
        faults->fail_ever_after = true;
        (void)sim_log_open(s);
        faults->fail_at = 0;
        faults->fail_ever_after = false;
        if (s->core == NULL)
            sim_fs_crash(s->fs, SIM_CRASH_RANDOM);
        else
            sim_log_crash(s, SIM_CRASH_RANDOM);
    }
    open_again(l);
}

static void act(struct life *l)
{
    struct sim_log *s = &l->s;
    uint64_t at = tide_random_below(&s->random, 1000);
    if (at < 850) {
        act_append(l);
    } else if (at < 900) {
        (void)sim_log_step(s);
    } else if (at < 940) {
        s->time.wall_ms += (int64_t)tide_random_below(&s->random, 1500);
        s->time.now_ns += tide_random_below(&s->random, 500 * TIDE_NS_PER_MS);
    } else if (at < 975) {
        act_compact(l);
    } else if (at < 983) {
        (void)verify(l);
    } else if (at < 987) {
        look_up(l);
    } else if (at < 989) {
        act_trim(l);
    } else if (at < 990) {
        act_truncate(l);
    } else if (at < 993) {
        if (sim_fs_faults(s->fs)->fail_at != 0)
            return;
        if (sim_log_close(s) != 0)
            FAIL("it does not close");
        open_again(l);
    } else if (at < 996 && sim_fs_faults(s->fs)->fail_at == 0) {
        struct sim_faults *faults = sim_fs_faults(s->fs);
        faults->fail_at = sim_fs_operations(s->fs) + 1 + tide_random_below(&s->random, 300);
        faults->fail_ever_after = true;
    }
}

static uint64_t live(uint64_t seed)
{
    struct life *l = &life;
    struct record *records = l->records;
    memset(l, 0, sizeof(*l));
    l->records = records;
    sim_log_init(&l->s, seed);
    l->s.verbose = verbose;
    l->keys = tide_random_hits(&l->s.random, 4) ? KEYS_MAX : 8 + (uint32_t)tide_random_below(&l->s.random, 200);
    l->map_bytes = 1 << 16; /* 3,072 keys */
    for (int p = 0; p < PRODUCERS; p++)
        l->producer_end[p] = -1;
    open_again(l);
    uint64_t actions = 500 + tide_random_below(&l->s.random, 3000);
    for (uint64_t i = 0; i < actions; i++) {
        act(l);
        if (log_is_failed(l->s.log)) {
            if (sim_fs_faults(l->s.fs)->fail_at == 0)
                FAIL("it failed although nothing was wrong");
            power_cut(l);
        }
    }
    power_cut(l);
    compactions += l->s.counters.values[COUNTER_log_compactions];
    removed_bytes += l->s.counters.values[COUNTER_log_compacted_bytes];
    if (sim_log_close(&l->s) != 0)
        FAIL("it does not close");
    uint64_t digest = l->s.digest ^ sim_fs_digest(l->s.fs);
    sim_log_deinit(&l->s);
    return digest;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"lives", required_argument, NULL, 'l'},
                                            {"seed", required_argument, NULL, 's'},
                                            {"verbose", no_argument, NULL, 'v'},
                                            {NULL, 0, NULL, 0}};
    bool full = getenv("TIDE_FULL") != NULL && strcmp(getenv("TIDE_FULL"), "1") == 0;
    uint64_t lives = 1, seed = 1, digest = 0;
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'l': lives = full ? 2000 : strtoull(optarg, NULL, 10); break;
        case 's': seed = strtoull(optarg, NULL, 10); break;
        case 'v': verbose = true; break;
        default: return 2;
        }
    }
    unit_eal();
    pool = unit_pool("sim_compact", 64, 2 * BATCH_ROOM < UINT16_MAX ? 2 * BATCH_ROOM : 60000);
    life.records = calloc(RECORDS + 8, sizeof(*life.records));
    for (uint64_t i = 0; i < lives; i++) {
        digest = digest * 31 + live(seed + i);
        if (sim_time_is_up())
            lives = i + 1;
    }
    printf("%" PRIu64 " lives, %" PRIu64 " compactions removed %" PRIu64 " bytes, %" PRIu64
           " power cuts, digest %016" PRIx64 "\n",
           lives, compactions, removed_bytes, cuts, digest);
    if (lives >= 20 && compactions == 0)
        return 1;
    free(life.records);
    return 0;
}
