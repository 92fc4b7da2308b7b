/* SPDX-License-Identifier: Apache-2.0 */
/* What was read from the disk, for the next reader: names, age, what others still hold, reading ahead,
 * and that writes go first. The log of the world has chunks of 16 KiB, read in pieces of 8 KiB. */
#include "log_world.h"

#include "log/append.h"

enum { CHUNK = 16384, PIECE = 8192, BATCH = 4000 };

static struct world world;

/* 60 batches of one record and some 4 KB in segments of 64 KiB, none of them in memory. */
static int start(void **state)
{
    struct world *w = &world;
    world_init(w, 11);
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    for (unsigned i = 0; i < 60; i++)
        assert_int_equal(world_append(w, 1, BATCH, 1000 + i), TIDE_OK);
    world_flush(w);
    tail_drop_all(w->log);
    *state = w;
    return 0;
}

static int stop(void **state)
{
    world_deinit(*state);
    return 0;
}

static uint64_t count(const struct world *w, enum tide_counter which)
{
    return w->counters.values[which];
}

static struct log_read read_at(int64_t offset, uint32_t max_bytes)
{
    return (struct log_read){.offset = offset, .end_offset = INT64_MAX, .max_bytes = max_bytes, .at_least_one = true};
}

/* Reads, compares, drops what came. The offset behind it. */
static int64_t read_on(struct world *w, int64_t offset, uint32_t max_bytes)
{
    static uint8_t bytes[1 << 18];
    struct log_read r = read_at(offset, max_bytes);
    size_t len = 0;
    enum tide_status status;
    while ((status = world_read(w, &r, bytes, sizeof(bytes), &len)) == TIDE_FULL) {
        world_pump(w);
        r = read_at(offset, max_bytes);
    }
    assert_int_equal(status, TIDE_OK);
    log_core_check(w->core);
    for (size_t at = 0; at < len; at += w->batches[offset++].size)
        assert_memory_equal(bytes + at, w->batches[offset].bytes, w->batches[offset].size);
    return offset;
}

/* As a connection that does not get rid of it: the bytes stay in the read. */
static void read_and_keep(struct world *w, struct log_read *r, int64_t offset, uint32_t max_bytes)
{
    enum tide_status status;
    *r = read_at(offset, max_bytes);
    w->reading = r;
    while ((status = log_read(w->log, w->core, 5, r, &w->out)) != TIDE_OK) {
        assert_true(status == TIDE_AGAIN || status == TIDE_FULL);
        world_pump(w);
    }
}

static void let_go(struct world *w, struct log_read *r)
{
    static uint8_t bytes[1 << 18];
    int64_t offset = r->offset;
    uint32_t len = r->bytes.len;
    assert_true(len != 0);
    tide_slice_copy(tide_rope_slice(&r->bytes, 0, len), bytes);
    for (uint32_t at = 0; at < len; at += w->batches[offset++].size)
        assert_memory_equal(bytes + at, w->batches[offset].bytes, w->batches[offset].size);
    tide_rope_clear(&r->bytes);
}

static void test_a_second_reader_does_not_go_to_the_disk(void **state)
{
    struct world *w = *state;
    int64_t first = read_on(w, 1, 9000);
    uint64_t reads = count(w, COUNTER_disk_reads);
    assert_int_equal(first, 3);
    assert_true(reads != 0);
    assert_int_equal(count(w, COUNTER_read_cache_misses), 1);
    assert_int_equal(count(w, COUNTER_read_cache_hits), 0);
    assert_int_equal(read_on(w, 1, 9000), first);
    assert_int_equal(read_on(w, 2, 5000), first);
    assert_int_equal(count(w, COUNTER_disk_reads), reads);
    assert_int_equal(count(w, COUNTER_read_cache_hits), 2);
    assert_int_equal(count(w, COUNTER_disk_read_bytes) % TIDE_BLOCK, 0);
    world_check_pools(w);
}

/* The second wants it while the first one's read is out. */
static void test_two_wait_for_one_read(void **state)
{
    struct world *w = *state;
    struct log_read a = read_at(0, 4000), b = read_at(0, 4000);
    w->reading = &a;
    assert_int_equal(log_read(w->log, w->core, 5, &a, &w->out), TIDE_AGAIN);
    assert_int_equal(log_read(w->log, w->core, 6, &b, &w->out), TIDE_FULL);
    assert_int_equal(b.buffer_count, 0);
    assert_int_equal(w->out.op_count, 1);
    while (a.bytes.len == 0) {
        world_pump(w);
        (void)log_read(w->log, w->core, 5, &a, &w->out);
    }
    uint64_t reads = count(w, COUNTER_disk_reads);
    assert_int_equal(log_read(w->log, w->core, 6, &b, &w->out), TIDE_OK);
    assert_true(count(w, COUNTER_disk_reads) <= reads + 1); /* b went on to nothing; a began what is ahead */
    let_go(w, &a);
    let_go(w, &b);
    world_pump(w);
    world_check_pools(w);
}

/* From the beginning, all of it in memory by then: each byte once, most of it before it was asked for. */
static void test_reading_on_is_read_ahead(void **state)
{
    struct world *w = *state;
    int64_t offset = 0;
    unsigned reads = 0;
    for (; offset < 60; reads++) {
        offset = read_on(w, offset, 9000);
        world_pump(w); /* the answer is sent; what is ahead comes meanwhile */
    }
    uint64_t bytes = (uint64_t)log_size_bytes(w->log);
    assert_true(count(w, COUNTER_disk_read_bytes) >= bytes);
    assert_true(count(w, COUNTER_disk_read_bytes) <= bytes + 8 * TIDE_BLOCK); /* ends of segments */
    assert_true(count(w, COUNTER_read_ahead_used) >= 8);
    assert_int_equal(count(w, COUNTER_read_ahead_wasted), 0);
    assert_true(count(w, COUNTER_read_cache_hits) >= reads * 3 / 4);
    world_check_pools(w);
}

/* One who jumps gets nothing ahead. */
static void test_jumping_is_not_read_ahead(void **state)
{
    struct world *w = *state;
    for (int64_t offset = 57; offset > 2; offset -= 7)
        (void)read_on(w, offset, 100);
    world_pump(w);
    assert_int_equal(count(w, COUNTER_read_ahead_used) + count(w, COUNTER_read_ahead_wasted), 0);
    assert_int_equal(count(w, COUNTER_read_cache_misses), 8);
}

/* A reader who comes back no more: what was read for him goes with age, and is counted. */
static void test_what_nobody_came_for(void **state)
{
    struct world *w = *state;
    (void)read_on(w, 0, 9000);
    world_pump(w);
    for (int64_t offset = 59; offset > 20; offset -= 4)
        (void)read_on(w, offset, 100);
    world_pump(w);
    assert_int_equal(count(w, COUNTER_read_ahead_wasted), 1);
    assert_int_equal(count(w, COUNTER_read_ahead_used), 0);
    world_check_pools(w);
}

static bool is_here(struct world *w, int64_t offset)
{
    uint32_t n = log_segment_of(w->log, w->log->active, offset);
    uint32_t position = log_floor_position(w->log, n, offset);
    return log_cache_find(w->core, log_segment_at(w->log, n)->id, position) != NULL;
}

/* Eight buffers: the ninth chunk takes the one of use longest ago. */
static void test_the_oldest_goes(void **state)
{
    struct world *w = *state;
    static const int64_t chunks[] = {13, 17, 21, 25, 29, 33, 37, 41};
    w->core->config.aheads_out_max = 0;
    for (unsigned i = 0; i < 8; i++)
        (void)read_on(w, chunks[i], 100);
    uint64_t reads = count(w, COUNTER_disk_reads);
    (void)read_on(w, chunks[0], 100); /* of use again */
    assert_int_equal(count(w, COUNTER_disk_reads), reads);
    (void)read_on(w, 49, 100);
    assert_true(is_here(w, chunks[0]));
    assert_false(is_here(w, chunks[1]));
    assert_true(is_here(w, chunks[2]));
    world_check_pools(w);
}

/* Somebody sends very slowly. His bytes stay, in the cache or not, until he is done; when he and his like have
 * all buffers, others wait. */
static void test_what_is_held_stays(void **state)
{
    struct world *w = *state;
    struct log_read held[8], other = read_at(58, 100);
    w->core->config.aheads_out_max = 0;
    for (unsigned i = 0; i < 8; i++)
        read_and_keep(w, &held[i], 13 + 4 * i, 100);
    assert_int_equal(log_core_free_now(w->core).reads, 0);
    assert_int_equal(log_read(w->log, w->core, 5, &other, &w->out), TIDE_FULL);
    struct log_buffer *b = log_cache_find(w->core, log_segment_at(w->log, 0)->id, CHUNK * 3);
    assert_non_null(b);
    log_cache_forget(w->core, b); /* as a newer chunk of the same name would */
    assert_null(log_read_buffer_take(w->core));
    log_core_check(w->core);
    for (unsigned i = 0; i < 8; i++)
        let_go(w, &held[i]);
    assert_int_equal(log_core_free_now(w->core).reads, 8);
    (void)read_on(w, 58, 100);
    world_check_pools(w);
}

/* ---- what was read is not what is there any more ---- */

static void test_truncation(void **state)
{
    struct world *w = *state;
    struct log_read slow;
    enum tide_status status;
    (void)read_on(w, 50, 40000);
    (void)read_on(w, 0, 100);
    read_and_keep(w, &slow, 52, 100);
    while ((status = log_truncate(w->log, 51, &w->out)) == TIDE_AGAIN)
        world_pump(w);
    assert_int_equal(status, TIDE_OK);
    struct world_batch old = w->batches[52];
    w->batches[52].bytes = NULL; /* kept: what the slow one was given */
    world_forget(w, 51);
    for (unsigned i = 0; i < 9; i++) /* others in their place, at other positions */
        assert_int_equal(world_append(w, 1, BATCH / 2 + 300 * i, 5000 + i), TIDE_OK);
    world_flush(w);
    tail_drop_all(w->log);
    for (int64_t offset = 48; offset < 60;)
        offset = read_on(w, offset, 9000);
    uint8_t bytes[BATCH * 2];
    assert_int_equal(slow.bytes.len, old.size);
    tide_slice_copy(tide_rope_slice(&slow.bytes, 0, old.size), bytes);
    assert_memory_equal(bytes, old.bytes, old.size);
    tide_rope_clear(&slow.bytes);
    free(old.bytes);
    world_pump(w);
    world_check_pools(w);
}

static void test_trim(void **state)
{
    struct world *w = *state;
    static uint8_t bytes[1 << 17];
    struct log_read r;
    enum tide_status status;
    size_t len;
    (void)read_on(w, 0, 9000); /* and what is ahead is out */
    while ((status = log_trim(w->log, 33, &w->out)) == TIDE_AGAIN)
        world_pump(w);
    assert_int_equal(status, TIDE_OK);
    world_pump(w);
    assert_null(w->log->gone); /* nothing of the cache keeps files open */
    r = read_at(2, 9000);
    assert_int_equal(world_read(w, &r, bytes, sizeof(bytes), &len), TIDE_ABSENT);
    (void)read_on(w, 33, 9000);
}

/* Closed and opened again, on the same core: positions may lead to other bytes. */
static void test_opened_again(void **state)
{
    struct world *w = *state;
    for (int64_t offset = 0; offset < 60;)
        offset = read_on(w, offset, 9000);
    uint64_t reads = count(w, COUNTER_disk_reads);
    world_pump(w);
    assert_false(log_is_read(w->log));
    assert_int_equal(world_close(w), 0);
    assert_int_equal(world_open(w), 0);
    (void)read_on(w, 56, 9000);
    assert_true(count(w, COUNTER_disk_reads) > reads);
}

/* Bytes that were not believed are asked of the disk again, not of the cache. */
static void test_rot_is_not_kept(void **state)
{
    struct world *w = *state;
    static uint8_t bytes[1 << 17];
    struct log_read r = read_at(1, 100);
    size_t len;
    struct memory_file *f = memory_fs_find(w->disk, WORLD_DIR "/00000000000000000000.log");
    size_t at = w->batches[0].size + w->batches[1].size / 2;
    f->bytes[at] ^= 0x10;
    assert_int_equal(world_read(w, &r, bytes, sizeof(bytes), &len), TIDE_BAD);
    f->bytes[at] ^= 0x10;
    assert_int_equal(read_on(w, 1, 100), 2);
}

/* The active segment grows within a block that was read: the new bytes are not to be had from the old one. */
static void test_the_last_block_grows(void **state)
{
    struct world *w = *state;
    int64_t offset = 59;
    for (unsigned i = 0; i < 30; i++) {
        assert_int_equal(world_append(w, 1, 300, 9000 + i), TIDE_OK);
        world_flush(w);
        tail_drop_all(w->log);
        while (offset < world_model_end(w)) /* a chunk that is full ends an answer */
            offset = read_on(w, offset, 9000);
    }
}

/* ---- writes go first ---- */

static bool asks(struct world *w, int64_t offset)
{
    struct log_read r = read_at(offset, 100);
    uint32_t before = w->out.op_count;
    enum tide_status status = log_read(w->log, w->core, 5, &r, &w->out);
    if (status == TIDE_FULL)
        return false;
    assert_int_equal(status, TIDE_AGAIN);
    assert_int_equal(w->out.op_count, before + 1);
    w->out.op_count = before; /* it never comes back */
    log_read_lost(&r);
    w->core->cache.reads_out++; /* but it is out still, for who counts */
    log_read_abandon(w->core, &r);
    return true;
}

static void test_writes_go_first(void **state)
{
    struct world *w = *state;
    struct log_cache *k = &w->core->cache;
    w->core->config.reads_out_max = 4;
    w->core->config.aheads_out_max = 0;
    assert_true(asks(w, 13)); /* nothing is written: as many as may be out */
    assert_true(asks(w, 17));
    assert_true(asks(w, 21));
    assert_true(asks(w, 25));
    assert_false(asks(w, 29));
    log_cache_on_write(w->core);
    k->reads_out = 1; /* three are back; the write has waited for enough reads */
    assert_false(asks(w, 13));
    k->reads_out = 0; /* it waits behind one at a time */
    w->core->config.aheads_out_max = 1;
    assert_false(log_ahead_may_begin(w->core)); /* whoever waits has it before nobody */
    w->core->config.aheads_out_max = 0;
    assert_true(asks(w, 13));
    assert_false(k->waited);
    assert_false(asks(w, 17));
    assert_int_equal(count(w, COUNTER_disk_read_waits), 3);
    log_cache_on_written(w->core);
    assert_true(asks(w, 17));
    k->reads_out = 0;
}

/* A turn serves so much from the cache; the rest has the next one. */
static void test_a_turn_is_bounded(void **state)
{
    struct world *w = *state;
    struct log_read r;
    w->core->config.read_turn_bytes = 10000;
    w->core->config.aheads_out_max = 0;
    for (int64_t offset = 0; offset < 12;) { /* all of it is here */
        (void)log_core_turn(w->core, &w->time);
        offset = read_on(w, offset, 9000);
    }
    (void)log_core_turn(w->core, &w->time);
    unsigned served = 0;
    for (r = read_at(0, 5000); log_read(w->log, w->core, 5, &r, &w->out) == TIDE_OK; r = read_at(0, 5000), served++)
        tide_rope_clear(&r.bytes);
    assert_int_equal(served, 3);
    assert_int_equal(r.buffer_count, 0);
    (void)log_core_turn(w->core, &w->time);
    (void)read_on(w, 0, 5000);
}

/* The device loses what is ahead: nobody notices, and the log can go. */
static void test_ahead_fails(void **state)
{
    struct world *w = *state;
    struct log_read r;
    read_and_keep(w, &r, 0, 9000);
    let_go(w, &r);
    assert_int_equal(w->out.op_count, 1);
    struct disk_op op = w->out.ops[0];
    w->out.op_count = 0;
    assert_int_equal(DISK_ID_OWNER(op.id), DISK_OWNER_AHEAD);
    assert_true(log_is_read(w->log));
    log_core_on_disk(w->core, &(struct disk_done){.id = op.id, .result = -EIO}, &w->out);
    assert_false(log_is_read(w->log));
    log_core_check(w->core);
    assert_true(read_on(w, 2, 30000) > 2);
    log_core_on_disk(w->core, &(struct disk_done){.id = op.id, .result = 4096}, &w->out); /* once more: not ours */
    world_pump(w);
    world_check_pools(w);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(test_a_second_reader_does_not_go_to_the_disk),
        TEST(test_two_wait_for_one_read),
        TEST(test_reading_on_is_read_ahead),
        TEST(test_jumping_is_not_read_ahead),
        TEST(test_what_nobody_came_for),
        TEST(test_the_oldest_goes),
        TEST(test_what_is_held_stays),
        TEST(test_truncation),
        TEST(test_trim),
        TEST(test_opened_again),
        TEST(test_rot_is_not_kept),
        TEST(test_the_last_block_grows),
        TEST(test_writes_go_first),
        TEST(test_a_turn_is_bounded),
        TEST(test_ahead_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
