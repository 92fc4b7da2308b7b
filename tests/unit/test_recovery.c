/* SPDX-License-Identifier: Apache-2.0 */
#include "log_world.h"

#include <errno.h>

#include "log/recovery.h"
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

static struct memory_file *file(struct world *w, const char *name)
{
    char path[MEMORY_PATH];
    snprintf(path, sizeof(path), "%s/%s", WORLD_DIR, name);
    return memory_fs_find(w->disk, path);
}

static void put(struct world *w, const char *name, const void *bytes, size_t len)
{
    char path[MEMORY_PATH];
    snprintf(path, sizeof(path), "%s/%s", WORLD_DIR, name);
    memory_fs_put(w->disk, path, bytes, len);
}

static void take_away(struct world *w, const char *name)
{
    char path[MEMORY_PATH];
    snprintf(path, sizeof(path), "%s/%s", WORLD_DIR, name);
    assert_int_equal(w->disk->fs.unlink(w->disk, path), 0);
    w->disk->fs.sync_dir(w->disk, WORLD_DIR);
}

#define FIRST "00000000000000000000"

/* ---- the table ---- */

static void test_exactly_one_row_fits(void **state)
{
    unsigned used[64] = {0};
    unsigned can_be = 0;
    assert_true(recovery_case_count <= 64);
    for (uint32_t facts = 0; facts < 1u << FACT_COUNT; facts++) {
        unsigned fits = 0;
        for (unsigned i = 0; i < recovery_case_count; i++) {
            if ((facts & recovery_cases[i].mask) != recovery_cases[i].value)
                continue;
            fits++;
            used[i] += recovery_facts_can_be(facts);
        }
        if (!recovery_facts_can_be(facts)) {
            assert_null(recovery_case_of(facts));
            continue;
        }
        can_be++;
        if (fits != 1)
            fprintf(stderr, "facts %#x: %u rows\n", facts, fits);
        assert_int_equal(fits, 1);
        assert_non_null(recovery_case_of(facts));
    }
    assert_true(can_be > 20);
    for (unsigned i = 0; i < recovery_case_count; i++)
        assert_true(used[i] != 0);
}

/* ---- single cases ---- */

/* Power goes while the last write is on its way: any number of its sectors, at any batch size. */
static void test_torn_tail_at_every_sector(void **state)
{
    struct world *w = *state;
    for (uint32_t value = 10; value < 9000; value += 611) {
        for (uint32_t sectors = 0; sectors <= 24; sectors++) {
            memory_fs_deinit(w->disk);
            memory_fs_init(w->disk);
            world_forget(w, 0);
            assert_int_equal(world_open(w), 0);
            world_begin_epoch(w, 1);
            assert_int_equal(world_append(w, 1, 1000, 0), TIDE_OK);
            world_flush(w);
            w->hold_writes = true;
            assert_int_equal(world_append(w, 1, value, 0), TIDE_OK);
            world_flush(w);
            assert_int_equal(w->op_count, 1);
            if (sectors * 512 > w->ops[0].len) {
                w->hold_writes = false;
                world_crash(w, NULL);
                break;
            }
            memory_fs_tear(w->disk, &w->ops[0], sectors);
            w->hold_writes = false;
            world_crash(w, NULL);
            assert_int_equal(world_open(w), 0);
            int64_t end = log_next_offset(w->log);
            assert_true(end == 1 || end == 2);
            uint32_t need = (w->batches[0].size + w->batches[1].size + 511) / 512;
            bool whole = sectors >= need && w->batches[1].size + w->batches[0].size <= 8192;
            assert_int_equal(end, whole ? 2 : 1);
            world_forget(w, end);
            world_check_all(w, 0, end);
            /* Something shorter takes its place; nothing of the old bytes comes back. */
            assert_int_equal(world_append(w, 1, 20, 0), TIDE_OK);
            world_flush(w);
            world_crash(w, NULL);
            assert_int_equal(world_open(w), 0);
            assert_int_equal(log_next_offset(w->log), end + 1);
            world_check_all(w, 0, end + 1);
            world_crash(w, NULL);
        }
    }
    w->hold_writes = false;
}

/* A cut at every byte of the last batch: zeroes, and garbage, behind it. */
static void test_torn_tail_at_every_byte(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    assert_int_equal(world_append(w, 2, 150, 0), TIDE_OK);
    assert_int_equal(world_append(w, 3, 400, 0), TIDE_OK);
    world_flush(w);
    world_crash(w, NULL);
    uint32_t first = w->batches[0].size;
    uint32_t size = first + w->batches[1].size;
    uint8_t *saved = malloc(size);
    assert_non_null(saved);
    struct memory_file *f = file(w, FIRST ".log");
    memcpy(saved, f->bytes, size);
    for (uint32_t cut = first; cut < size; cut++) {
        for (int how = 0; how < 3; how++) {
            uint8_t bytes[16384];
            if (how == 0 && cut == size - 1)
                continue; /* the last byte of a record without headers is a zero */
            memset(bytes, how == 1 ? 0xee : 0, sizeof(bytes));
            memcpy(bytes, saved, cut);
            put(w, FIRST ".log", bytes, how == 2 ? cut : sizeof(bytes));
            assert_int_equal(world_open(w), 0);
            bool zero = how != 1;
            for (uint32_t i = first; i < cut; i++)
                zero = zero && saved[i] == 0;
            assert_string_equal(log_recovery_label(w->log), !zero ? "torn tail"
                                                            : how == 2 && cut == first
                                                                ? "clean end"
                                                                : "zeroed ahead");
            assert_int_equal(log_next_offset(w->log), 2);
            /* What was behind is zero on the device before anything is appended. */
            f = file(w, FIRST ".log");
            assert_true(f->kept_size == f->size && f->size % TIDE_BLOCK == 0);
            for (uint32_t i = first; i < f->size; i++)
                assert_int_equal(f->kept[i], 0);
            world_crash(w, NULL);
        }
    }
    free(saved);
    world_forget(w, 2);
    assert_int_equal(world_open(w), 0);
    world_check_all(w, 0, 2);
}

/* A whole batch stands behind one that is torn, and what takes the torn one's place is as long: were the old bytes still there, or
 * did they come back with a power cut, the log would go on with them. Every operation of the start that cuts them is the last once. */
static void test_old_bytes_are_never_records(void **state)
{
    struct world *w = *state;
    bool opened = false;
    for (unsigned nth = 1; !opened; nth++) {
        memory_fs_deinit(w->disk);
        memory_fs_init(w->disk);
        world_forget(w, 0);
        assert_int_equal(world_open(w), 0);
        world_begin_epoch(w, 1);
        assert_int_equal(world_append(w, 1, 1000, 0), TIDE_OK);
        uint32_t size = w->batches[0].size;
        uint32_t rest = TIDE_BLOCK - size - (size - 1000);
        assert_int_equal(world_append(w, 1, rest, 0), TIDE_OK);
        assert_int_equal(size + w->batches[1].size, TIDE_BLOCK);
        assert_int_equal(world_append(w, 1, 500, 0), TIDE_OK);
        world_flush(w);
        world_crash(w, NULL);
        uint8_t bytes[16384];
        memcpy(bytes, file(w, FIRST ".log")->bytes, sizeof(bytes));
        bytes[size + 100] ^= 1;
        put(w, FIRST ".log", bytes, sizeof(bytes));
        w->disk->fail_at = w->disk->operations + nth;
        w->disk->dead_from_there = true;
        w->disk->error = -EIO;
        opened = world_open(w) == 0;
        w->disk->fail_at = 0;
        w->disk->dead_from_there = false;
        if (!opened)
            assert_int_equal(world_open(w), 0);
        assert_int_equal(log_next_offset(w->log), 1);
        world_forget(w, 1);
        w->hold_jobs = true; /* none may sync the file */
        assert_int_equal(world_append_once(w, 1, rest, 0), TIDE_OK);
        world_flush(w);
        assert_int_equal(log_durable_end(w->log), 2);
        w->hold_jobs = false;
        world_crash(w, NULL);
        assert_int_equal(world_open(w), 0);
        assert_int_equal(log_next_offset(w->log), 2);
        world_check_all(w, 0, 2);
        world_crash(w, NULL);
    }
}

static void test_flipped_bit_ends_the_log(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(world_append(w, 1, 40, 0), TIDE_OK);
    world_flush(w);
    world_crash(w, NULL);
    uint8_t saved[16384];
    memcpy(saved, file(w, FIRST ".log")->bytes, sizeof(saved));
    uint32_t size = w->batches[0].size;
    for (uint32_t bit = 0; bit < size * 8; bit++) {
        uint8_t bytes[16384];
        memcpy(bytes, saved, sizeof(bytes));
        bytes[size + bit / 8] ^= (uint8_t)(1 << bit % 8);
        put(w, FIRST ".log", bytes, sizeof(bytes));
        assert_int_equal(world_open(w), 0);
        /* Bytes 12..15 are the epoch: another one is not in the checkpoint or falls. */
        assert_int_equal(log_next_offset(w->log), 1);
        world_crash(w, NULL);
    }
    world_forget(w, 0);
}

static void test_epochs_against_the_checkpoint(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), 0);
    for (int32_t e = 3; e <= 5; e++) {
        world_begin_epoch(w, e);
        assert_int_equal(world_append(w, 10, 100, 0), TIDE_OK);
    }
    world_flush(w);
    world_crash(w, NULL);

    /* Lost: learned from the batches, and written again. */
    take_away(w, "leader-epoch-checkpoint");
    assert_int_equal(world_open(w), 0);
    assert_int_equal(log_next_offset(w->log), 30);
    assert_int_equal(log_last_epoch(w->log), 5);
    world_crash(w, NULL);
    assert_int_equal(file(w, "leader-epoch-checkpoint")->size, strlen("0\n3\n3 0\n4 10\n5 20\n"));
    assert_memory_equal(file(w, "leader-epoch-checkpoint")->bytes, "0\n3\n3 0\n4 10\n5 20\n", 18);

    /* Not what it should be: the same. */
    static const char *const bad[] = {"",
                                      "x",
                                      "0",
                                      "0\n",
                                      "0\n1\n",
                                      "1\n0\n",
                                      "0\n1\n1",
                                      "0\n1\n1 2",
                                      "0\n-1\n",
                                      "0\n1\n1 -2\n",
                                      "0\n0\nx",
                                      "0\n2\n5 0\n4 1\n",
                                      "0\n1\n99999999999 0\n",
                                      "0\n1\n1 99999999999999999999\n",
                                      "0\n2\n1 5\n2 4\n"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        put(w, "leader-epoch-checkpoint", bad[i], strlen(bad[i]));
        assert_int_equal(world_open(w), 0);
        assert_int_equal(log_next_offset(w->log), 30);
        assert_int_equal(log_last_epoch(w->log), 5);
        world_crash(w, NULL);
    }

    /* An epoch that is not listed is no batch of this log. */
    put(w, "leader-epoch-checkpoint", "0\n2\n3 0\n4 10\n", 13);
    assert_int_equal(world_open(w), 0);
    assert_int_equal(log_next_offset(w->log), 20);
    world_crash(w, NULL);
    world_forget(w, 20);
    assert_int_equal(world_open(w), 0);
    world_check_all(w, 0, 20);
}

static void test_epoch_begun_behind_the_recovered_end(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    assert_int_equal(world_append(w, 1, 100, 0), TIDE_OK);
    world_flush(w);
    w->hold_writes = true;
    assert_int_equal(world_append(w, 1, 100, 0), TIDE_OK);
    world_begin_epoch(w, 2); /* starts at 2, of which nothing is durable */
    w->hold_writes = false;
    world_crash(w, NULL);
    world_forget(w, 1);
    assert_int_equal(world_open(w), 0);
    assert_int_equal(log_last_epoch(w->log), 1);
    assert_int_equal(log_next_offset(w->log), 1);
    world_begin_epoch(w, 3);
    assert_int_equal(world_append(w, 1, 100, 0), TIDE_OK);
    world_flush(w);
    world_crash(w, NULL);
    assert_int_equal(world_open(w), 0);
    world_check_all(w, 0, 2);
}

static void test_identity(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    assert_int_equal(world_append(w, 1, 100, 0), TIDE_OK);
    assert_int_equal(world_close(w), 0);
    struct memory_file *f = file(w, "partition.metadata");
    assert_memory_equal(f->bytes, "version: 0\ntopic_id: AQIDAAAAAAAAAAAAAAAAAA\n", f->size);
    w->config.topic_id.bytes[5] = 1;
    assert_int_equal(world_open(w), -EBADMSG);
    assert_non_null(strstr(w->error, "topic id AQIDAAAAAAAAAAAAAAAAAA"));
    w->config.topic_id.bytes[5] = 0;
    put(w, "partition.metadata", "version: 1\n", 11);
    assert_int_equal(world_open(w), -EBADMSG);
    take_away(w, "partition.metadata");
    assert_int_equal(world_open(w), -EBADMSG);
    put(w, "partition.metadata", "version: 0\ntopic_id: AQIDAAAAAAAAAAAAAAAAAA\n", 44);
    assert_int_equal(world_open(w), 0);
    assert_int_equal(memory_fs_open_handles(w->disk), 1);
}

static void test_leftovers_go(void **state)
{
    static const char *const names[] = {
        "00000000000000000005.log.deleted", "00000000000000000005.index.deleted",
        "00000000000000000005.log.cleaned", "00000000000000000005.log.swap",
        "00000000000000000000.index.tmp",   "leader-epoch-checkpoint.tmp"};
    static const char *const strangers[] = {"00000000000000000005.snapshot", "readme", "5.log",
                                            "00000000000000000005.log2",
                                            "99999999999999999999.log"};
    struct world *w = *state;
    assert_int_equal(world_open(w), 0);
    world_crash(w, NULL);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        put(w, names[i], "x", 1);
    for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++)
        put(w, strangers[i], "x", 1);
    assert_int_equal(world_open(w), 0);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_null(file(w, names[i]));
    for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++)
        assert_non_null(file(w, strangers[i]));
}

/* ---- several segments ---- */

static void fill(struct world *w, unsigned batches)
{
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    for (unsigned i = 0; i < batches; i++)
        assert_int_equal(world_append(w, 2, 5000, i), TIDE_OK);
    world_flush(w);
}

static void reset(struct world *w)
{
    memory_fs_deinit(w->disk);
    memory_fs_init(w->disk);
    world_forget(w, 0);
    w->epoch = 0;
}

static void name_of(char name[32], int64_t base, const char *suffix)
{
    snprintf(name, 32, "%020lld%s", (long long)base, suffix);
}

static void test_index_lost_or_damaged(void **state)
{
    struct world *w = *state;
    char name[32];
    fill(w, 40);
    assert_true(w->log->active >= 3);
    int64_t base = log_segment_at(w->log, 1)->base_offset;
    assert_int_equal(world_close(w), 0);
    static const char *const suffixes[] = {".index", ".timeindex"};
    for (int s = 0; s < 2; s++) {
        name_of(name, base, suffixes[s]);
        size_t size = file(w, name)->size;
        uint8_t *whole = malloc(size);
        assert_true(whole != NULL && size > 0);
        memcpy(whole, file(w, name)->bytes, size);
        for (size_t how = 0; how < size + 2; how++) {
            if (how == 0)
                take_away(w, name);
            else if (how == 1)
                put(w, name, whole, size - 1);
            else {
                uint8_t *bytes = malloc(size);
                assert_non_null(bytes);
                memcpy(bytes, whole, size);
                bytes[how - 2] ^= 0x40;
                put(w, name, bytes, size);
                free(bytes);
            }
            assert_int_equal(world_open(w), 0);
            world_check_all(w, 0, 80);
            for (int64_t at = 0; at < 80; at += 5)
                world_check_read(w, at, 80, 30000, true);
            assert_int_equal(world_close(w), 0);
            assert_int_equal(memory_fs_open_handles(w->disk), 0);
            if (how < 2) {
                assert_int_equal(file(w, name)->size, size);
                assert_memory_equal(file(w, name)->bytes, whole, size);
            }
            put(w, name, whole, size);
        }
        free(whole);
    }
}

static void test_hole(void **state)
{
    struct world *w = *state;
    char name[32];
    fill(w, 70);
    uint32_t last = w->log->active;
    assert_true(last >= 4);
    int64_t base = log_segment_at(w->log, last - 1)->base_offset;
    int64_t middle = log_segment_at(w->log, 1)->base_offset;
    world_crash(w, NULL);

    /* In a segment whose index files stand: found when it is read, not when it is opened. */
    name_of(name, base, ".index");
    take_away(w, name);
    name_of(name, base, ".log");
    file(w, name)->bytes[100] ^= 1;
    assert_int_equal(world_open(w), -EBADMSG);
    assert_non_null(strstr(w->error, "writes were synced"));
    assert_int_equal(memory_fs_open_handles(w->disk), 0);
    w->config.durable = false;
    assert_int_equal(world_open(w), 0);
    assert_string_equal(log_recovery_label(w->log),
                        "hole before the last segment, writes were not synced");
    assert_int_equal(log_next_offset(w->log), base);
    world_check_all(w, 0, base);
    world_forget(w, base);
    assert_int_equal(world_append(w, 1, 500, 0), TIDE_OK);
    world_flush(w);
    assert_int_equal(world_close(w), 0);
    assert_int_equal(world_open(w), 0);
    world_check_all(w, 0, base + 1);
    assert_int_equal(world_close(w), 0);

    name_of(name, middle, ".index");
    take_away(w, name);
    name_of(name, middle, ".log");
    file(w, name)->bytes[100] ^= 1;
    assert_int_equal(world_open(w), -EBADMSG);
    assert_non_null(strstr(w->error, "hole in the middle"));
    w->config.durable = true;
    file(w, name)->bytes[100] ^= 1;
    assert_int_equal(world_open(w), 0);
    world_check_all(w, 0, base + 1);
}

/* Below what is known to have been committed: the batch is refused, what is behind it served; or the log stays closed, as
 * it is. With others to ask it ends before the batch. */
static void test_rot_below_the_commit_point(void **state)
{
    struct world *w = *state;
    uint8_t saved[16384], to[16384];
    unsigned kept = 0, refused = 0;
    size_t len;
    assert_int_equal(world_open(w), 0);
    world_begin_epoch(w, 1);
    for (int i = 0; i < 4; i++)
        assert_int_equal(world_append(w, 1, 40, 0), TIDE_OK);
    world_flush(w);
    world_crash(w, NULL);
    memcpy(saved, file(w, FIRST ".log")->bytes, sizeof(saved));
    uint32_t size = w->batches[0].size;
    for (uint32_t bit = 0; bit < size * 8; bit++) {
        uint32_t which = bit % 2 == 0 ? 1 : 3; /* in the middle, and the last one */
        uint8_t bytes[16384];
        memcpy(bytes, saved, sizeof(bytes));
        bytes[which * size + bit / 8] ^= (uint8_t)(1 << bit % 8);
        put(w, FIRST ".log", bytes, sizeof(bytes));
        w->config.committed = 4;
        w->config.repair = false;
        if (world_open(w) == 0) {
            struct log_read r = {.offset = which, .end_offset = 4, .max_bytes = 50000};
            assert_true(log_take_rot(w->log));
            assert_int_equal(log_next_offset(w->log), 4);
            assert_int_equal(world_read(w, &r, to, sizeof(to), &len), TIDE_BAD);
            world_check_all(w, 0, which);
            for (int64_t at = which + 1; at < 4; at++)
                world_check_read(w, at, 4, 50000, true);
            /* An append brings the last block into memory, and the batch with it. */
            assert_int_equal(world_append(w, 1, 40, 0), TIDE_OK);
            r = (struct log_read){.offset = which, .end_offset = 5, .max_bytes = 50000};
            assert_int_equal(world_read(w, &r, to, sizeof(to), &len), TIDE_BAD);
            world_check_read(w, 0, 5, 50000, true);
            world_check_read(w, 4, 5, 50000, true);
            world_forget(w, 4);
            kept++;
            world_crash(w, NULL);
        } else {
            assert_non_null(strstr(w->error, "rot below what was committed"));
            assert_memory_equal(file(w, FIRST ".log")->bytes, bytes, sizeof(bytes));
            refused++;
        }
        w->config.repair = true;
        assert_int_equal(world_open(w), 0);
        assert_false(log_take_rot(w->log));
        assert_int_equal(log_next_offset(w->log), which);
        world_check_all(w, 0, which);
        world_crash(w, NULL);
    }
    assert_true(kept > 100);
    assert_true(refused > 20);
    /* What was written without syncs may have been lost in a power cut. */
    saved[size + 70] ^= 1;
    put(w, FIRST ".log", saved, sizeof(saved));
    w->config.repair = w->config.durable = false;
    assert_int_equal(world_open(w), 0);
    assert_int_equal(log_next_offset(w->log), 1);
    world_crash(w, NULL);
    world_forget(w, 0);
}

/* Rot in a closed segment: whatever follows goes with it, and comes again. */
static void test_repair(void **state)
{
    struct world *w = *state;
    char name[32];
    for (unsigned long m = 0;; m++) { /* the power goes at the m-th operation of the repair */
        struct tide_random chance = {.state = m};
        reset(w);
        w->config.repair = false;
        w->config.committed = 0;
        fill(w, 40);
        assert_true(w->log->active >= 3);
        int64_t base = log_segment_at(w->log, 1)->base_offset;
        if (m % 2 == 0)
            assert_int_equal(world_close(w), 0);
        else
            world_crash(w, NULL);
        w->config.committed = world_model_end(w);
        name_of(name, base, ".log");
        int64_t rotten = base + 6; /* of three batches of two records */
        file(w, name)->bytes[3 * w->batches[0].size + 200] ^= 8;
        file(w, name)->kept[3 * w->batches[0].size + 200] ^= 8;
        w->config.repair = true;
        w->disk->fail_at = m != 0 ? w->disk->operations + m : 0;
        w->disk->dead_from_there = true;
        int e = world_open(w);
        w->disk->dead_from_there = false;
        w->disk->fail_at = 0;
        if (m == 0) {
            assert_int_equal(e, 0);
            assert_string_equal(log_recovery_label(w->log), "hole, and others have what is behind it");
            assert_int_equal(log_next_offset(w->log), rotten);
            world_forget(w, rotten);
        }
        if (e == 0) { /* it goes on from there */
            assert_int_equal(log_next_offset(w->log), rotten);
            world_forget(w, rotten);
            for (unsigned i = 0; i < 20; i++)
                assert_int_equal(world_append(w, 2, 5000, i), TIDE_OK);
            world_flush(w);
            world_check_all(w, 0, world_model_end(w));
            world_crash(w, NULL);
        } else {
            assert_int_equal(memory_fs_open_handles(w->disk), 0);
            memory_fs_crash(w->disk, &chance);
        }
        /* As after any start: nobody remembers that it was to be repaired. */
        w->config.repair = false;
        int again = world_open(w);
        if (e == 0) {
            assert_int_equal(again, 0);
            world_check_all(w, 0, world_model_end(w));
        }
        if (again == 0)
            world_crash(w, NULL);
        /* And it is repaired again, to the same place. */
        w->config.repair = true;
        assert_int_equal(world_open(w), 0);
        if (e != 0) {
            assert_int_equal(log_next_offset(w->log), rotten);
            world_forget(w, rotten);
        }
        world_check_all(w, 0, world_model_end(w));
        world_crash(w, NULL);
        if (e == 0 && m != 0)
            break;
        assert_true(m < 400);
    }
}

/* The newest segment, cut below what its checkpoint vouched for: that must not be believed afterwards. */
static void test_repair_below_the_checkpoint(void **state)
{
    struct world *w = *state;
    w->config.checkpoint_bytes = 4096;
    fill(w, 8);
    assert_int_equal(w->log->active, 0);
    assert_non_null(file(w, "active.checkpoint"));
    world_crash(w, NULL);
    file(w, FIRST ".log")->bytes[w->batches[0].size + 100] ^= 1;
    w->config.repair = true;
    assert_int_equal(world_open(w), 0);
    assert_int_equal(log_next_offset(w->log), 2);
    assert_null(file(w, "active.checkpoint"));
    world_check_all(w, 0, 2);
    world_forget(w, 2);
    assert_int_equal(world_append(w, 2, 100, 0), TIDE_OK);
    world_flush(w);
    world_crash(w, NULL);
    w->config.repair = false;
    assert_int_equal(world_open(w), 0);
    assert_int_equal(log_next_offset(w->log), 4);
    world_check_all(w, 0, 4);
}

static unsigned replayed;
static int64_t replay_first;
static int64_t replay_next;

static void on_batch(void *arg, const struct batch_header *h)
{
    if (replayed++ == 0)
        replay_first = h->base_offset;
    else
        assert_int_equal(h->base_offset, replay_next);
    replay_next = batch_last_offset(h) + 1;
}

static void test_replay(void **state)
{
    struct world *w = *state;
    fill(w, 40);
    assert_int_equal(world_close(w), 0);
    for (int clean = 0; clean < 2; clean++) {
        for (int64_t from = 0; from <= 81; from++) {
            struct log *log = log_create(&w->config);
            replayed = 0;
            assert_int_equal(
                log_open(log, &w->disk->fs, from, on_batch, NULL, w->error, sizeof(w->error)), 0);
            assert_int_equal(replayed, from < 80 ? 40 - from / 2 : 0);
            if (replayed != 0) {
                assert_int_equal(replay_first, from / 2 * 2);
                assert_int_equal(replay_next, 80);
            }
            if (clean == 1)
                assert_int_equal(log_close(log, &w->disk->fs), 0);
            log_destroy(log);
        }
    }
}

/* ---- a crash at every step ---- */

/* Appends, epochs and rolls until the disk says no. What was acknowledged is the durable end. */
static int64_t script(struct world *w)
{
    int64_t durable = 0;
    if (world_open(w) != 0)
        return 0;
    for (int round = 0; round < 2; round++) {
        while (log_begin_epoch(w->log, w->epoch + 1, &w->out) == TIDE_AGAIN &&
               !log_is_failed(w->log))
            world_pump(w);
        if (log_is_failed(w->log))
            break;
        w->epoch++;
        for (unsigned i = 0; i < 14 && !log_is_failed(w->log); i++) {
            if (world_append(w, 1, 3000 + i * 700, i) != TIDE_OK)
                break;
            if (i % 3 != 0)
                world_flush(w);
        }
    }
    world_flush(w);
    durable = log_durable_end(w->log);
    return durable;
}

static void recovered_is_right(struct world *w, int64_t durable, const char *what, unsigned long n,
                               unsigned long m)
{
    int e = world_open(w);
    if (e != 0 || log_next_offset(w->log) < durable)
        fprintf(stderr, "%s at operation %lu/%lu: open %d (%s)\n", what, n, m, e, w->error);
    assert_int_equal(e, 0);
    int64_t end = log_next_offset(w->log);
    assert_true(end >= durable);
    assert_true(end <= world_model_end(w));
    world_forget(w, end);
    assert_int_equal(world_model_end(w), end);
    world_check_all(w, 0, end);
}

static unsigned long count_operations(struct world *w)
{
    reset(w);
    (void)script(w);
    assert_true(w->log->active >= 2);
    unsigned long n = w->disk->operations;
    world_crash(w, NULL);
    return n;
}

static void test_crash_at_every_operation(void **state)
{
    struct world *w = *state;
    unsigned long total = count_operations(w);
    assert_true(total > 100);
    for (unsigned long n = 1; n <= total; n++) {
        for (int how = 0; how < 3; how++) {
            struct tide_random chance = {.state = n * 3 + (unsigned)how};
            reset(w);
            w->disk->fail_at = n;
            w->disk->dead_from_there = true;
            int64_t durable = script(w);
            w->disk->dead_from_there = false;
            w->disk->fail_at = 0;
            if (w->log != NULL)
                world_crash(w, how == 0 ? NULL : &chance);
            else
                memory_fs_crash(w->disk, how == 0 ? NULL : &chance);
            recovered_is_right(w, durable, "crash", n, 0);
            world_begin_epoch(w, w->epoch + 1);
            assert_int_equal(world_append(w, 1, 100, 0), TIDE_OK);
            world_flush(w);
            int64_t end = log_durable_end(w->log);
            world_crash(w, NULL);
            recovered_is_right(w, end, "second open", n, 0);
            world_crash(w, NULL);
        }
    }
}

static void test_crash_inside_recovery(void **state)
{
    struct world *w = *state;
    unsigned long total = count_operations(w);
    for (unsigned long n = 7; n <= total; n += 5) {
        for (unsigned long m = 1; m < 60; m++) {
            struct tide_random chance = {.state = n * 64 + m};
            reset(w);
            w->disk->fail_at = n;
            w->disk->dead_from_there = true;
            int64_t durable = script(w);
            w->disk->dead_from_there = false;
            if (w->log != NULL)
                world_crash(w, &chance);
            else
                memory_fs_crash(w->disk, &chance);
            w->disk->fail_at = w->disk->operations + m;
            w->disk->dead_from_there = true;
            int e = world_open(w);
            w->disk->dead_from_there = false;
            w->disk->fail_at = 0;
            if (e == 0) {
                world_crash(w, NULL);
            } else {
                assert_int_equal(memory_fs_open_handles(w->disk), 0);
                memory_fs_crash(w->disk, &chance);
            }
            recovered_is_right(w, durable, "crash in recovery", n, m);
            world_crash(w, NULL);
            if (e == 0)
                break; /* it needs fewer operations than that */
        }
    }
}

/* A clean stop that is cut short anywhere. */
static void test_crash_inside_close(void **state)
{
    struct world *w = *state;
    for (unsigned long m = 1; m < 40; m++) {
        struct tide_random chance = {.state = m};
        reset(w);
        int64_t durable = script(w);
        w->disk->fail_at = w->disk->operations + m;
        w->disk->dead_from_there = true;
        int e = world_close(w);
        w->disk->dead_from_there = false;
        memory_fs_crash(w->disk, &chance);
        recovered_is_right(w, durable, "crash in close", m, 0);
        world_crash(w, NULL);
        if (e == 0)
            break;
        assert_true(m < 39);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exactly_one_row_fits),
        cmocka_unit_test_setup_teardown(test_torn_tail_at_every_sector, start, stop),
        cmocka_unit_test_setup_teardown(test_torn_tail_at_every_byte, start, stop),
        cmocka_unit_test_setup_teardown(test_old_bytes_are_never_records, start, stop),
        cmocka_unit_test_setup_teardown(test_flipped_bit_ends_the_log, start, stop),
        cmocka_unit_test_setup_teardown(test_epochs_against_the_checkpoint, start, stop),
        cmocka_unit_test_setup_teardown(test_epoch_begun_behind_the_recovered_end, start, stop),
        cmocka_unit_test_setup_teardown(test_identity, start, stop),
        cmocka_unit_test_setup_teardown(test_leftovers_go, start, stop),
        cmocka_unit_test_setup_teardown(test_index_lost_or_damaged, start, stop),
        cmocka_unit_test_setup_teardown(test_hole, start, stop),
        cmocka_unit_test_setup_teardown(test_rot_below_the_commit_point, start, stop),
        cmocka_unit_test_setup_teardown(test_repair, start, stop),
        cmocka_unit_test_setup_teardown(test_repair_below_the_checkpoint, start, stop),
        cmocka_unit_test_setup_teardown(test_replay, start, stop),
        cmocka_unit_test_setup_teardown(test_crash_at_every_operation, start, stop),
        cmocka_unit_test_setup_teardown(test_crash_inside_recovery, start, stop),
        cmocka_unit_test_setup_teardown(test_crash_inside_close, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
