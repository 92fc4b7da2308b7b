/* SPDX-License-Identifier: Apache-2.0 */
/* What is read of a log: bytes, epochs, offsets by timestamp; and by another core meanwhile. */
#include "log_world.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include <zlib.h>

#include "log/append.h"
#include "tidemark/bytes.h"

static struct world world;

static int start(void **state)
{
    world_init(&world, 1);
    *state = &world;
    return 0;
}

static int stop(void **state)
{
    world_deinit(&world);
    return 0;
}

/* ---- reading ---- */

static void test_read_limits(void **state)
{
    struct world *w = *state;
    uint8_t to[16];
    size_t len;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(world_append(w, 10, 1000, i), TIDE_OK);
    for (int flushed = 0; flushed < 3; flushed++) {
        for (int64_t offset = 0; offset <= 100; offset++) {
            for (int64_t end = 0; end <= 100; end += 5) {
                world_check_read(w, offset, end, 0, false);
                world_check_read(w, offset, end, 1, true);
                world_check_read(w, offset, end, 3000, false);
                world_check_read(w, offset, end, 1 << 30, true);
            }
        }
        world_flush(w);
        if (flushed == 1)
            tail_drop_all(w->log);
    }
    struct log_read r = {.offset = -1, .end_offset = 100, .max_bytes = 1000};
    assert_int_equal(world_read(w, &r, to, sizeof(to), &len), TIDE_ABSENT);
    r = (struct log_read){.offset = 1000, .end_offset = 2000, .max_bytes = 1000};
    assert_int_equal(world_read(w, &r, to, sizeof(to), &len), TIDE_OK);
    assert_int_equal(len, 0);
}

static void test_large_batch_from_disk(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    assert_int_equal(world_append(w, 5, 333, 0), TIDE_OK);
    assert_int_equal(world_append(w, 1, 40000, 0), TIDE_OK);
    assert_int_equal(world_append(w, 1, 17000, 0), TIDE_OK);
    world_flush(w);
    tail_drop_all(w->log);
    world_check_read(w, 5, 7, 1000, true);
    world_check_read(w, 5, 7, 1000, false);
    world_check_read(w, 5, 7, 100000, false);
    world_check_read(w, 6, 7, 100000, false);
    world_check_read(w, 0, 7, 100000, false);
    world_check_pools(w);
}

static void test_short_and_failed_reads(void **state)
{
    struct world *w = *state;
    uint8_t to[65536];
    size_t len;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(world_append(w, 1, 9000, i), TIDE_OK);
    world_flush(w);
    tail_drop_all(w->log);
    static const int64_t results[] = {-EIO, 0, 100, 5000, 1 << 20, INT64_MAX};
    for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
        struct log_read r = {.offset = 0, .end_offset = 4, .max_bytes = 50000};
        assert_int_equal(log_read(w->log, w->core, 5, &r, &w->out), TIDE_AGAIN);
        assert_int_equal(w->out.op_count, 1);
        w->out.op_count = 0;
        assert_int_equal(log_read(w->log, w->core, 5, &r, &w->out), TIDE_AGAIN);
        log_read_on_disk(&r,
                         &(struct disk_done){.id = r.disk_id + 1, .result = 8192}); /* not ours */
        assert_int_equal(log_read(w->log, w->core, 5, &r, &w->out), TIDE_AGAIN);
        log_read_on_disk(&r, &(struct disk_done){.id = r.disk_id, .result = results[i]});
        assert_int_equal(log_read(w->log, w->core, 5, &r, &w->out), TIDE_IO);
        log_read_abandon(w->core, &r);
        world_check_pools(w);
    }
    /* Aligned pieces, one block at a time. */
    struct log_read r = {.offset = 0, .end_offset = 4, .max_bytes = 50000};
    enum tide_status status;
    unsigned ops = 0;
    while ((status = log_read(w->log, w->core, 5, &r, &w->out)) == TIDE_AGAIN) {
        struct disk_op op = w->out.ops[0];
        assert_int_equal(w->out.op_count, 1);
        w->out.op_count = 0;
        op.len = TIDE_BLOCK;
        log_read_on_disk(&r,
                         &(struct disk_done){.id = op.id, .result = memory_fs_disk(w->disk, &op)});
        ops++;
    }
    assert_int_equal(status, TIDE_OK);
    assert_true(ops >= 4);
    assert_true(r.bytes.len >= w->batches[0].size);
    tide_slice_copy(tide_rope_slice(&r.bytes, 0, w->batches[0].size), to);
    assert_memory_equal(to, w->batches[0].bytes, w->batches[0].size);
    tide_rope_clear(&r.bytes);
    (void)len;
}

static void test_rotten_bytes_are_not_served(void **state)
{
    struct world *w = *state;
    uint8_t to[65536];
    size_t len;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(world_append(w, 1, 400, i), TIDE_OK);
    world_flush(w);
    tail_drop_all(w->log);
    struct memory_file *f = memory_fs_find(w->disk, WORLD_DIR "/00000000000000000000.log");
    size_t at = w->batches[0].size + w->batches[1].size;
    static const unsigned header_bytes[] = {0, 3, 7, 8, 10, 16};
    for (size_t i = 0; i < sizeof(header_bytes) / sizeof(header_bytes[0]); i++) {
        f->bytes[at + header_bytes[i]] ^= 0x81;
        struct log_read r = {.offset = 2, .end_offset = 8, .max_bytes = 50000};
        enum tide_status status = world_read(w, &r, to, sizeof(to), &len);
        f->bytes[at + header_bytes[i]] ^= 0x81;
        assert_int_equal(status, TIDE_BAD);
    }
    world_check_all(w, 0, 8);
}

static void test_pools_empty(void **state)
{
    struct world *w = *state;
    struct log_buffer *held[8];
    uint8_t to[16];
    size_t len;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    assert_int_equal(world_append(w, 1, 1000, 0), TIDE_OK);
    world_flush(w);
    void *leases[512];
    assert_int_equal(rte_mempool_get_bulk(w->core->leases, leases, 512), 0);
    struct log_read r = {.offset = 0, .end_offset = 1, .max_bytes = 50000};
    assert_int_equal(world_read(w, &r, to, sizeof(to), &len), TIDE_FULL);
    tail_drop_all(w->log);
    r = (struct log_read){.offset = 0, .end_offset = 1, .max_bytes = 50000};
    assert_int_equal(world_read(w, &r, to, sizeof(to), &len), TIDE_FULL);
    rte_mempool_put_bulk(w->core->leases, leases, 512);
    for (unsigned i = 0; i < 8; i++)
        held[i] = log_read_buffer_take(w->core);
    assert_null(log_read_buffer_take(w->core));
    assert_int_equal(world_read(w, &r, to, sizeof(to), &len), TIDE_FULL);
    for (unsigned i = 0; i < 8; i++)
        log_buffer_drop(held[i]);
    world_check_all(w, 0, 1);
}

static void test_bytes_between(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), 0);
    assert_int_equal(log_bytes_between(w->log, 0, 100, 1000), 0);
    world_begin_epoch(w, 1);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(world_append(w, 1, 1000, 0), TIDE_OK);
    world_flush(w);
    assert_int_equal(log_bytes_between(w->log, 100, 100, 1000), 0);
    assert_int_equal(log_bytes_between(w->log, 99, 100, 100000), w->batches[99].size);
    assert_int_equal(log_bytes_between(w->log, 0, 100, 5000), 5000);
    for (int64_t from = 0; from < 100; from++) {
        for (int64_t to = from + 1; to <= 100; to++) {
            uint32_t n = log_bytes_between(w->log, from, to, UINT32_MAX);
            assert_true(n >= 1);
            if (to == 100)
                assert_true(n + 1 >= (uint32_t)(to - from) * 1000 || w->log->active > 1);
        }
    }
}

/* ---- epochs, timestamps ---- */

static void test_epochs(void **state)
{
    static const struct {
        int32_t asked, epoch;
        int64_t end;
    } cases[] = {{-1, -1, -1}, {0, 0, 0},  {1, 1, 0},  {2, 2, 10}, {3, 2, 10},
                 {4, 2, 10},   {5, 5, 20}, {6, 5, 20}, {7, 7, 30}, {8, -1, -1}};
    struct world *w = *state;
    int32_t epoch;
    int64_t end;
    assert_int_equal(world_open(w), 0);
    assert_int_equal(log_last_epoch(w->log), -1);
    log_end_for_epoch(w->log, 0, &epoch, &end);
    assert_int_equal(epoch, -1);
    world_begin_epoch(w, 1); /* nothing is written in it */
    for (int round = 0; round < 3; round++) {
        world_begin_epoch(w, round == 0 ? 2 : round == 1 ? 5 : 7);
        assert_int_equal(world_append(w, 10, 100, 0), TIDE_OK);
    }
    assert_int_equal(log_begin_epoch(w->log, 6, &w->out), TIDE_REFUSED);
    world_flush(w);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
            log_end_for_epoch(w->log, cases[i].asked, &epoch, &end);
            assert_int_equal(epoch, cases[i].epoch);
            assert_int_equal(end, cases[i].end);
        }
        world_crash(w, NULL);
        assert_int_equal(world_open(w), 0);
    }
    struct memory_file *f = memory_fs_find(w->disk, WORLD_DIR "/leader-epoch-checkpoint");
    assert_non_null(f);
    assert_int_equal(f->size, strlen("0\n3\n2 0\n5 10\n7 20\n"));
    assert_memory_equal(f->bytes, "0\n3\n2 0\n5 10\n7 20\n", f->size);
}

static void look_up(struct world *w, int64_t timestamp, int64_t end, struct log_lookup *l)
{
    log_lookup_prepare(l, w->log);
    l->timestamp = timestamp;
    l->end_offset = end;
    l->job.run(&l->job, &w->disk->fs);
    assert_int_equal(l->job.result, 0);
}

/* Against the model, with written, unwritten, sealed and reopened bytes. */
static void check_lookups(struct world *w)
{
    for (int64_t t = 0; t < 3100; t += 13) {
        for (int64_t end = 0; end <= world_model_end(w); end += 97) {
            struct log_lookup l;
            int64_t expected = -1;
            look_up(w, t, end, &l);
            for (unsigned i = 0; i < w->batch_count && expected < 0; i++) {
                const struct world_batch *b = &w->batches[i];
                int64_t first = b->max_timestamp - (b->last_offset - b->base_offset);
                int64_t skip = t > first ? t - first : 0;
                if (b->base_offset + skip <= b->last_offset && b->base_offset + skip < end)
                    expected = b->base_offset + skip;
                else if (b->base_offset >= end)
                    break;
            }
            assert_int_equal(l.ret_offset, expected);
            if (expected >= 0)
                assert_true(l.ret_timestamp >= t);
        }
    }
}

static void test_lookup_by_timestamp(void **state)
{
    struct world *w = *state;
    struct log_lookup l;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 3);
    look_up(w, 0, 0, &l);
    assert_int_equal(l.ret_offset, -1);
    for (int64_t i = 0; i < 300; i++) {
        int64_t t = i * 10 + (int64_t)tide_random_below(&w->random, 40);
        assert_int_equal(world_append(w, 4, 2000, t), TIDE_OK);
    }
    world_flush(w);
    w->hold_writes = true;
    for (int64_t i = 300; i < 310; i++)
        assert_int_equal(world_append(w, 4, 1000, i * 10), TIDE_OK);
    assert_true(log_is_dirty(w->log));
    check_lookups(w);
    w->hold_writes = false;
    world_flush(w);
    check_lookups(w);
    int64_t best = -1, best_offset = -1;
    for (unsigned i = 0; i < w->batch_count; i++) {
        if (w->batches[i].max_timestamp > best) {
            best = w->batches[i].max_timestamp;
            best_offset = w->batches[i].last_offset;
        }
    }
    look_up(w, -3, world_model_end(w), &l);
    assert_int_equal(l.ret_offset, best_offset);
    assert_int_equal(l.ret_timestamp, best);
    assert_int_equal(l.ret_epoch, 3);
    assert_int_equal(world_close(w), 0);
    assert_int_equal(world_open(w), 0);
    check_lookups(w);
}

/* A gzip batch of 100 records whose timestamps are 1000 + 7 * i. */
static void test_lookup_in_compressed_batch(void **state)
{
    struct world *w = *state;
    struct batch_build_record records[100];
    uint8_t plain[8192], bytes[8192];
    uLongf deflated = sizeof(bytes) - BATCH_HEADER;
    struct batch_header h;
    struct tide_rope rope = {0};
    struct log_lookup l;
    for (int i = 0; i < 100; i++)
        records[i] = (struct batch_build_record){
            .timestamp = 1000 + 7 * i, .value = "value", .value_len = 5};
    size_t n = batch_build(plain, sizeof(plain), records, 100, -1, -1, -1);
    z_stream z = {.next_in = plain + BATCH_HEADER,
                  .avail_in = (uInt)(n - BATCH_HEADER),
                  .next_out = bytes + BATCH_HEADER,
                  .avail_out = (uInt)deflated};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    n = BATCH_HEADER + z.total_out;
    deflateEnd(&z);
    memcpy(bytes, plain, BATCH_HEADER);
    store_be32(bytes + BATCH_LENGTH, (uint32_t)(n - BATCH_LENGTH_OVERHEAD));
    store_be16(bytes + BATCH_ATTRIBUTES, CODEC_GZIP);
    batch_seal(bytes, n);
    batch_header_parse(bytes, &h);
    assert_int_equal(world_open(w), 0);
    tide_rope_push(&rope, unit_exact_mbuf(w->input, bytes, (uint16_t)n));
    world_room(w, (uint32_t)n, h.max_timestamp);
    assert_int_equal(log_append(w->log, tide_rope_slice(&rope, 0, rope.len), &h, 0, 2), TIDE_OK);
    tide_rope_clear(&rope);
    for (int flushed = 0; flushed < 2; flushed++) {
        for (int i = 0; i < 100; i++) {
            look_up(w, 1000 + 7 * i - 3, 100, &l);
            assert_int_equal(l.ret_offset, i);
            assert_int_equal(l.ret_timestamp, 1000 + 7 * i);
        }
        look_up(w, 1000 + 7 * 99 + 1, 100, &l);
        assert_int_equal(l.ret_offset, -1);
        look_up(w, -3, 100, &l);
        assert_int_equal(l.ret_offset, 99);
        world_flush(w);
    }
}

/* ---- two threads ---- */

/* Another core reads at the tail and behind it while the home core appends, rolls and gives buffers
 * away. To be run under the thread sanitizer, too. */
struct reader {
    struct world *w;
    struct log_core *core;
    _Atomic bool done;
    _Atomic uint64_t end; /* offsets below it may be read */
    _Atomic unsigned long batches;
    unsigned long absent;
    pthread_mutex_t disk;
};

static void check_chain(struct reader *rd, const struct log_read *r)
{
    static uint8_t bytes[1 << 20];
    uint32_t len = r->bytes.len;
    int64_t next = -1;
    assert_true(len <= sizeof(bytes));
    tide_slice_copy(tide_rope_slice(&r->bytes, 0, len), bytes);
    for (uint32_t at = 0; at < len; rd->batches++) {
        struct batch_header h;
        batch_header_parse(bytes + at, &h);
        uint32_t size = batch_size(&h);
        assert_true(size <= len - at);
        assert_int_equal(
            batch_crc_update(0, bytes + at + BATCH_ATTRIBUTES, size - BATCH_ATTRIBUTES), h.crc);
        if (next >= 0)
            assert_int_equal(h.base_offset, next);
        else
            assert_true(h.base_offset <= r->offset && batch_last_offset(&h) >= r->offset);
        next = batch_last_offset(&h) + 1;
        assert_true(next <= r->end_offset);
        at += size;
    }
}

static void do_reads(struct reader *rd, struct log_read *r, struct tide_out *out)
{
    while (out->op_count != 0) {
        struct disk_op op = out->ops[--out->op_count];
        pthread_mutex_lock(&rd->disk);
        struct disk_done done = {.id = op.id, .result = memory_fs_disk(rd->w->disk, &op)};
        pthread_mutex_unlock(&rd->disk);
        if (DISK_ID_OWNER(op.id) == DISK_OWNER_AHEAD)
            log_core_on_disk(rd->core, &done, out);
        else
            log_read_on_disk(r, &done);
    }
}

static void read_once(struct reader *rd, struct tide_random *random, struct tide_out *out)
{
    int64_t end = (int64_t)atomic_load(&rd->end);
    enum tide_status status;
    if (end == 0)
        return;
    struct log_read r = {.end_offset = end, .max_bytes = 20000, .at_least_one = true};
    int64_t span = tide_random_hits(random, 4) ? end : TIDE_MIN(end, 30);
    r.offset = end - 1 - (int64_t)tide_random_below(random, (uint64_t)span);
    while ((status = log_read(rd->w->log, rd->core, 1, &r, out)) == TIDE_AGAIN)
        do_reads(rd, &r, out);
    do_reads(rd, &r, out); /* what is ahead */
    if (status == TIDE_FULL) {
        log_read_abandon(rd->core, &r);
        rd->absent++;
        return;
    }
    assert_int_equal(status, TIDE_OK);
    assert_true(r.bytes.len != 0);
    check_chain(rd, &r);
    tide_rope_clear(&r.bytes);
    assert_true(log_bytes_between(rd->w->log, r.offset, end, 1000) >= 1);
    (void)log_last_epoch(rd->w->log);
}

static void *read_loop(void *arg)
{
    static struct tide_out out;
    struct reader *rd = arg;
    struct tide_random random = {.state = 99};
    while (!atomic_load(&rd->done))
        read_once(rd, &random, &out);
    return NULL;
}

static void test_two_cores(void **state)
{
    struct world *w = *state;
    struct tide_counters counters = {0};
    struct log_core_config config = w->core_config;
    struct reader rd = {.w = w};
    pthread_t thread;
    config.counters = &counters;
    config.core = 4;
    rd.core = log_core_create(&config);
    assert_non_null(rd.core);
    pthread_mutex_init(&rd.disk, NULL);
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    assert_int_equal(pthread_create(&thread, NULL, read_loop, &rd), 0);
    for (unsigned i = 0; i < 4000; i++) {
        pthread_mutex_lock(&rd.disk); /* the file system in memory is not for two threads */
        assert_int_equal(world_append(w, 1 + (int32_t)(i % 4), 100 + i * 37 % 4000, i), TIDE_OK);
        if (i % 3 == 0)
            world_flush(w);
        if (i % 501 == 0)
            world_begin_epoch(w, w->epoch + 1);
        pthread_mutex_unlock(&rd.disk);
        atomic_store(&rd.end, (uint64_t)log_next_offset(w->log));
        if (i % 64 == 0)
            usleep(500);
    }
    for (unsigned i = 0; i < 60000 && atomic_load(&rd.batches) <= 100; i++)
        usleep(1000); /* on a busy machine its turn may not have come yet */
    atomic_store(&rd.done, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(rd.batches > 100);
    world_flush(w);
    world_check_pools(w);
    log_core_check(rd.core);
    assert_int_equal(log_core_free_now(rd.core).reads, config.read_buffers);
    assert_int_equal(log_core_free_now(rd.core).views, config.views);
    world_crash(w, NULL);
    log_core_destroy(rd.core);
    pthread_mutex_destroy(&rd.disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_read_limits, start, stop),
        cmocka_unit_test_setup_teardown(test_large_batch_from_disk, start, stop),
        cmocka_unit_test_setup_teardown(test_short_and_failed_reads, start, stop),
        cmocka_unit_test_setup_teardown(test_rotten_bytes_are_not_served, start, stop),
        cmocka_unit_test_setup_teardown(test_pools_empty, start, stop),
        cmocka_unit_test_setup_teardown(test_bytes_between, start, stop),
        cmocka_unit_test_setup_teardown(test_epochs, start, stop),
        cmocka_unit_test_setup_teardown(test_lookup_by_timestamp, start, stop),
        cmocka_unit_test_setup_teardown(test_lookup_in_compressed_batch, start, stop),
        cmocka_unit_test_setup_teardown(test_two_cores, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
