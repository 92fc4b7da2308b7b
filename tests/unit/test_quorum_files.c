/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <errno.h>

#include "raft/quorum_files.h"
#include "raft/quorum_members.h"
#include "sim_fs.h"

enum { SEGMENT = 4096 };

struct disk {
    struct sim_fs *fs;
    struct quorum_files *files;
    struct quorum_boot boot;
    uint64_t number;
    char error[QUORUM_PATH_MAX + 512];
};

static void begin(struct disk *d)
{
    struct sim_fs_config c = {.seed = 1};
    *d = (struct disk){.fs = sim_fs_create(&c)};
}

static enum tide_status open_as(struct disk *d, uint8_t cluster)
{
    struct quorum_files_config c = {.fs = sim_fs_verbs(d->fs), .dir = "/q", .cluster_id = {{cluster}}, .segment_bytes = SEGMENT};
    enum tide_status status = quorum_files_open(&c, &d->files, &d->boot, d->error, sizeof(d->error));
    if (status != TIDE_OK)
        d->files = NULL;
    return status;
}

static void open_well(struct disk *d)
{
    if (open_as(d, 1) != TIDE_OK)
        fail_msg("%s", d->error);
}

static void close_files(struct disk *d)
{
    quorum_files_close(d->files);
    quorum_boot_deinit(&d->boot);
    d->files = NULL;
}

static void end(struct disk *d)
{
    close_files(d);
    assert_int_equal(sim_fs_open_handles(d->fs), 0);
    sim_fs_destroy(d->fs);
}

static int write_state(struct disk *d, uint64_t term, uint64_t vote)
{
    struct quorum_disk_op op = {.kind = QUORUM_DISK_STATE, .number = ++d->number, .term = term, .vote = vote};
    return quorum_files_run(d->files, &op);
}

/* Commands; entry 1 names the members. */
static int write_entries(struct disk *d, uint64_t first, uint32_t count, uint64_t term, uint32_t len)
{
    struct quorum_members m = {.count = 1, .member = {{.id = 0, .role = QUORUM_VOTES, .address = "h:1"}}};
    struct quorum_disk_op op = {.kind = QUORUM_DISK_APPEND, .number = ++d->number, .count = count};
    struct quorum_entry *e = calloc(count, sizeof(*e));
    uint8_t members[QUORUM_MEMBERS_BYTES_MAX];
    uint8_t *bytes = calloc(1, len);
    memset(bytes, (int)term, len);
    for (uint32_t i = 0; i < count; i++) {
        e[i] = (struct quorum_entry){.index = first + i, .term = term, .kind = QUORUM_COMMAND, .len = len, .bytes = bytes};
        if (e[i].index == 1) {
            e[i].kind = QUORUM_MEMBERSHIP;
            e[i].len = quorum_members_write(&m, members);
            e[i].bytes = members;
        }
    }
    op.entries = e;
    int result = quorum_files_run(d->files, &op);
    free(bytes);
    free(e);
    return result;
}

static int write_snapshot(struct disk *d, enum quorum_disk_kind kind, uint64_t index, uint64_t term, uint64_t keep_from)
{
    struct quorum_members m = {.count = 1, .member = {{.id = 0, .role = QUORUM_VOTES, .address = "h:1"}}};
    uint8_t members[QUORUM_MEMBERS_BYTES_MAX];
    char text[32];
    snprintf(text, sizeof(text), "state at %lu", index);
    uint32_t len = quorum_members_write(&m, members);
    struct quorum_snapshot *s = quorum_snapshot_create(index, term, 1, members, len, text, strlen(text));
    struct quorum_disk_op op = {.kind = kind, .number = ++d->number, .snapshot = s, .keep_from = keep_from};
    int result = quorum_files_run(d->files, &op);
    quorum_snapshot_give(s);
    return result;
}

static uint64_t last_of(const struct disk *d)
{
    return d->boot.first_index + d->boot.count - 1;
}

static uint64_t term_at(const struct disk *d, uint64_t index)
{
    return d->boot.entries[index - d->boot.first_index].term;
}

static void reopen(struct disk *d)
{
    close_files(d);
    open_well(d);
}

/* ---- what is written is read ---- */

static void term_and_vote_are_kept(void **state)
{
    struct disk d;
    begin(&d);
    open_well(&d);
    assert_true(quorum_boot_is_empty(&d.boot));
    for (uint64_t term = 1; term < 6; term++) {
        assert_int_equal(write_state(&d, term, term % 3), 0);
        reopen(&d);
        assert_int_equal(d.boot.term, term);
        assert_int_equal(d.boot.vote, term % 3);
    }
    end(&d);
}

static void entries_are_kept_over_segments(void **state)
{
    struct disk d;
    begin(&d);
    open_well(&d);
    assert_int_equal(write_state(&d, 3, 0), 0);
    for (uint64_t i = 1; i < 200; i += 3)
        assert_int_equal(write_entries(&d, i, 3, 1 + i / 100, 100), 0);
    reopen(&d);
    assert_int_equal(d.boot.first_index, 1);
    assert_int_equal(last_of(&d), 201);
    for (uint64_t i = 0; i < d.boot.count; i++)
        assert_int_equal(d.boot.entries[i].index, i + 1);
    assert_int_equal(term_at(&d, 150), 2);
    end(&d);
}

/* D3, also when it is replaced more than once and after a start. */
static void a_rewrite_replaces_everything_behind_it(void **state)
{
    struct disk d;
    begin(&d);
    open_well(&d);
    assert_int_equal(write_state(&d, 9, 0), 0);
    assert_int_equal(write_entries(&d, 1, 50, 1, 100), 0);
    assert_int_equal(write_entries(&d, 31, 5, 2, 100), 0);
    assert_int_equal(write_entries(&d, 36, 5, 2, 100), 0);
    reopen(&d);
    assert_int_equal(last_of(&d), 40);
    assert_int_equal(term_at(&d, 30), 1);
    assert_int_equal(term_at(&d, 31), 2);
    assert_int_equal(write_entries(&d, 2, 1, 5, 100), 0);
    reopen(&d);
    assert_int_equal(last_of(&d), 2);
    assert_int_equal(term_at(&d, 2), 5);
    assert_int_equal(write_entries(&d, 3, 1, 5, 100), 0);
    end(&d);
}

/* D14, D16: the last two snapshots, and the log from keep_from on, in whole segments. */
static void a_snapshot_lets_the_log_begin_later(void **state)
{
    struct disk d;
    begin(&d);
    open_well(&d);
    assert_int_equal(write_state(&d, 1, 0), 0);
    for (uint64_t i = 1; i < 300; i += 10)
        assert_int_equal(write_entries(&d, i, 10, 1, 100), 0);
    assert_int_equal(write_snapshot(&d, QUORUM_DISK_SNAPSHOT, 100, 1, 90), 0);
    assert_int_equal(write_snapshot(&d, QUORUM_DISK_SNAPSHOT, 200, 1, 190), 0);
    assert_int_equal(write_snapshot(&d, QUORUM_DISK_SNAPSHOT, 250, 1, 240), 0);
    const struct tide_fs *fs = sim_fs_verbs(d.fs);
    assert_true(fs->open(fs->self, "/q/00000000000000000100-00000000000000000001.snapshot", TIDE_FS_READ) < 0);
    reopen(&d);
    assert_int_equal(d.boot.snapshot->index, 250);
    assert_memory_equal(d.boot.snapshot->bytes, "state at 250", 12);
    assert_in_range(d.boot.first_index, 200, 240);
    assert_int_equal(last_of(&d), 300);
    end(&d);
}

static void an_install_makes_the_log_void(void **state)
{
    struct disk d;
    begin(&d);
    open_well(&d);
    assert_int_equal(write_state(&d, 7, 0), 0);
    assert_int_equal(write_entries(&d, 1, 120, 1, 50), 0);
    assert_int_equal(write_snapshot(&d, QUORUM_DISK_INSTALL, 80, 7, 81), 0);
    reopen(&d);
    assert_int_equal(d.boot.snapshot->index, 80);
    assert_int_equal(d.boot.first_index, 81);
    assert_int_equal(d.boot.count, 0);
    assert_int_equal(write_entries(&d, 81, 3, 7, 50), 0);
    reopen(&d);
    assert_int_equal(last_of(&d), 83);
    end(&d);
}

/* D14: the snapshot is there, the power went before the log was begun anew. */
static void a_log_that_does_not_agree_with_the_snapshot_is_dropped(void **state)
{
    const struct {
        uint64_t entries;
        uint64_t index;
        uint64_t term;
    } cases[] = {{60, 80, 1}, {120, 80, 7}};
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        struct disk d;
        begin(&d);
        open_well(&d);
        assert_int_equal(write_state(&d, 7, 0), 0);
        assert_int_equal(write_entries(&d, 1, (uint32_t)cases[i].entries, 1, 50), 0);
        assert_int_equal(write_snapshot(&d, QUORUM_DISK_SNAPSHOT, cases[i].index, cases[i].term, 1), 0);
        reopen(&d);
        assert_int_equal(d.boot.first_index, cases[i].index + 1);
        assert_int_equal(d.boot.count, 0);
        reopen(&d);
        assert_int_equal(d.boot.first_index, cases[i].index + 1);
        end(&d);
    }
}

/* ---- damage ---- */

static void flip(struct disk *d, const char *path, uint64_t position)
{
    close_files(d);
    assert_true(sim_fs_rot(d->fs, path, position, 3));
}

#define FIRST_LOG "/q/00000000000000000001.log"

static void a_torn_end_is_cut(void **state)
{
    struct disk d;
    begin(&d);
    open_well(&d);
    assert_int_equal(write_state(&d, 1, 0), 0);
    for (uint64_t i = 1; i <= 10; i++)
        assert_int_equal(write_entries(&d, i, 1, 1, 100), 0);
    flip(&d, FIRST_LOG, 512 + (32 + 16 + 24) + 8 * (32 + 16 + 104) + 60); /* in the last batch */
    open_well(&d);
    assert_int_equal(last_of(&d), 9);
    for (uint64_t i = 10; i <= 60; i++) /* and what was torn does not stand in the way when it is closed */
        assert_int_equal(write_entries(&d, i, 1, 1, 100), 0);
    reopen(&d);
    assert_int_equal(last_of(&d), 60);
    end(&d);
}

static void damage_before_whole_entries_stops_the_start(void **state)
{
    struct disk d;
    begin(&d);
    open_well(&d);
    assert_int_equal(write_state(&d, 1, 0), 0);
    for (uint64_t i = 1; i <= 10; i++)
        assert_int_equal(write_entries(&d, i, 1, 1, 100), 0);
    flip(&d, FIRST_LOG, 512 + 72 + 60);
    assert_int_equal(open_as(&d, 1), TIDE_BAD);
    assert_non_null(strstr(d.error, FIRST_LOG " is damaged at byte 584"));
    end(&d);
}

static void damage_in_an_older_segment_stops_the_start(void **state)
{
    struct disk d;
    begin(&d);
    open_well(&d);
    assert_int_equal(write_state(&d, 1, 0), 0);
    for (uint64_t i = 1; i <= 60; i++)
        assert_int_equal(write_entries(&d, i, 1, 1, 100), 0);
    flip(&d, FIRST_LOG, 512 + 72 + 22 * 152 + 60); /* the last batch of the first segment */
    assert_int_equal(open_as(&d, 1), TIDE_BAD);
    assert_non_null(strstr(d.error, "00000000000000000001.log is damaged"));
    end(&d);
}

static void one_copy_of_the_vote_is_enough(void **state)
{
    struct disk d;
    begin(&d);
    open_well(&d);
    assert_int_equal(write_state(&d, 4, 2), 0);
    assert_int_equal(write_entries(&d, 1, 2, 1, 10), 0);
    flip(&d, "/q/quorum.state", 40);
    open_well(&d);
    assert_int_equal(d.boot.term, 4);
    assert_int_equal(write_state(&d, 5, 1), 0);
    flip(&d, "/q/quorum.state", 4096 + 40);
    open_well(&d);
    assert_int_equal(d.boot.term, 5);
    close_files(&d);
    assert_true(sim_fs_rot(d.fs, "/q/quorum.state", 40, 3));
    assert_int_equal(open_as(&d, 1), TIDE_BAD);
    assert_non_null(strstr(d.error, "/q/quorum.state"));
    end(&d);
}

static void a_damaged_snapshot_is_told_when_it_is_needed(void **state)
{
    struct disk d;
    begin(&d);
    open_well(&d);
    assert_int_equal(write_state(&d, 1, 0), 0);
    assert_int_equal(write_entries(&d, 1, 30, 1, 100), 0);
    assert_int_equal(write_snapshot(&d, QUORUM_DISK_SNAPSHOT, 10, 1, 1), 0);
    assert_int_equal(write_snapshot(&d, QUORUM_DISK_SNAPSHOT, 20, 1, 1), 0);
    flip(&d, "/q/00000000000000000020-00000000000000000001.snapshot", 540);
    open_well(&d); /* the one before, and the log goes back to it */
    assert_int_equal(d.boot.snapshot->index, 10);
    assert_int_equal(last_of(&d), 30);
    assert_int_equal(write_snapshot(&d, QUORUM_DISK_INSTALL, 50, 1, 51), 0);
    flip(&d, "/q/00000000000000000050-00000000000000000001.snapshot", 540);
    assert_int_equal(open_as(&d, 1), TIDE_BAD);
    assert_non_null(strstr(d.error, "00000000000000000050-00000000000000000001.snapshot is damaged"));
    end(&d);
}

static void files_of_another_cluster_are_refused(void **state)
{
    struct disk d;
    begin(&d);
    open_well(&d);
    assert_int_equal(write_state(&d, 1, 0), 0);
    assert_int_equal(write_entries(&d, 1, 30, 1, 100), 0);
    close_files(&d);
    assert_int_equal(open_as(&d, 2), TIDE_REFUSED);
    assert_non_null(strstr(d.error, "another cluster"));
    end(&d);
}

static void a_lost_vote_stops_the_start(void **state)
{
    struct disk d;
    begin(&d);
    open_well(&d);
    assert_int_equal(write_state(&d, 1, 0), 0);
    assert_int_equal(write_entries(&d, 1, 30, 1, 100), 0);
    close_files(&d);
    const struct tide_fs *fs = sim_fs_verbs(d.fs);
    assert_int_equal(fs->unlink(fs->self, "/q/quorum.state"), 0);
    assert_int_equal(open_as(&d, 1), TIDE_BAD);
    end(&d);
}

/* ---- power cuts: after every operation of the file system, in every way (K2) ---- */

/* A life in steps; how many were acknowledged. */
static unsigned live(struct disk *d)
{
    unsigned n = 0;
    if (write_state(d, 3, 1) != 0)
        return n;
    n++;
    for (uint64_t i = 1; i <= 40; i += 4, n++)
        if (write_entries(d, i, 4, 1, 100) != 0)
            return n; /* 1..10: 4n - 4 entries of term 1 */
    if (write_snapshot(d, QUORUM_DISK_SNAPSHOT, 20, 1, 15) != 0)
        return n;
    n++; /* 12 */
    if (write_entries(d, 31, 2, 2, 100) != 0)
        return n;
    n++; /* 13 */
    if (write_state(d, 4, 2) != 0)
        return n;
    n++; /* 14 */
    if (write_snapshot(d, QUORUM_DISK_INSTALL, 50, 3, 51) != 0)
        return n;
    n++; /* 15 */
    if (write_entries(d, 51, 2, 4, 100) != 0)
        return n;
    return n + 1; /* 16 */
}

static void holds_what_was_acknowledged(const struct disk *d, unsigned n)
{
    const struct quorum_boot *b = &d->boot;
    uint64_t last = last_of(d);
    assert_true(b->term == 3 || b->term == 4 || (n < 1 && b->term == 0));
    assert_true(n < 14 || b->term == 4);
    assert_int_equal(b->vote, b->term == 3 ? 1 : b->term == 4 ? 2 : 0);
    if (n <= 11) {
        uint64_t safe = n >= 1 ? 4ull * (n - 1) : 0;
        assert_in_range(last, safe, safe + 4);
        assert_true(n == 11 || b->snapshot == NULL);
    } else if (n == 12) { /* the rewrite has begun or not */
        assert_true((last == 40 && term_at(d, 31) == 1) || last == 30 || (last == 32 && term_at(d, 31) == 2));
        assert_int_equal(b->snapshot->index, 20);
    } else if (n <= 14) {
        bool installed = n == 14 && b->snapshot->index == 50;
        assert_true(installed ? b->count == 0 && b->first_index == 51 : last == 32 && term_at(d, 31) == 2);
    } else {
        assert_int_equal(b->snapshot->index, 50);
        assert_true(last == 52 || (n == 15 && last == 50));
    }
}

static void every_power_cut_leaves_what_was_acknowledged(void **state)
{
    for (unsigned mode = 0; mode < 3; mode++)
        for (uint64_t at = 1;; at++) {
            struct disk d;
            begin(&d);
            open_well(&d);
            struct sim_faults *f = sim_fs_faults(d.fs);
            f->fail_at = sim_fs_operations(d.fs) + at;
            f->fail_ever_after = true;
            unsigned n = live(&d);
            bool over = sim_fs_operations(d.fs) < f->fail_at;
            close_files(&d);
            memset(f, 0, sizeof(*f));
            sim_fs_crash(d.fs, (enum sim_crash)mode);
            open_well(&d);
            holds_what_was_acknowledged(&d, n);
            uint64_t last = last_of(&d);
            if (d.boot.term == 0)
                assert_int_equal(write_state(&d, 4, 2), 0);
            assert_int_equal(write_entries(&d, last + 1, 1, TIDE_MAX(d.boot.term, 1), 10), 0);
            reopen(&d);
            assert_int_equal(last_of(&d), last + 1);
            end(&d);
            if (over)
                break;
        }
}

/* A full disk: the operation is run again, and is there once. */
static void a_full_disk_is_tried_again(void **state)
{
    for (uint64_t at = 1; at < 400; at++) {
        struct disk d;
        begin(&d);
        open_well(&d);
        struct sim_faults *f = sim_fs_faults(d.fs);
        assert_int_equal(write_state(&d, 4, 1), 0);
        assert_int_equal(write_entries(&d, 1, 30, 1, 100), 0);
        f->fail_at = sim_fs_operations(d.fs) + at;
        f->fail_ever_after = true;
        f->fail_error = -ENOSPC;
        struct quorum_disk_op op = {.kind = QUORUM_DISK_APPEND, .number = 99, .count = 60};
        struct quorum_entry e[60];
        for (unsigned i = 0; i < 60; i++)
            e[i] = (struct quorum_entry){.index = 31 + i, .term = 2, .kind = QUORUM_COMMAND, .len = 200, .bytes = (const uint8_t *)d.error};
        op.entries = e;
        int result = quorum_files_run(d.files, &op);
        bool over = result == 0;
        assert_true(result == 0 || result == -ENOSPC);
        memset(f, 0, sizeof(*f));
        if (result != 0)
            assert_int_equal(quorum_files_run(d.files, &op), 0);
        reopen(&d);
        assert_int_equal(last_of(&d), 90);
        end(&d);
        if (over)
            return;
    }
    fail();
}

static void the_capacity_is_what_is_reserved(void **state)
{
    struct disk d;
    begin(&d);
    open_well(&d);
    assert_int_equal(d.boot.capacity_bytes, SEGMENT);
    assert_int_equal(write_state(&d, 1, 0), 0);
    assert_int_equal(write_entries(&d, 1, 1, 1, 100), 0);
    assert_int_equal(quorum_files_capacity(d.files), SEGMENT - 512 - (32 + 16 + 24) + SEGMENT);
    end(&d);
}

/* ---- offline ---- */

static void collect(void *arg, const char *text)
{
    char *all = arg;
    strncat(all, text, 4000 - strlen(all));
    strncat(all, "\n", 4000 - strlen(all));
}

static void the_files_are_described(void **state)
{
    struct disk d;
    char text[4096] = "";
    struct quorum_files_config c = {.dir = "/q", .cluster_id = {{1}}};
    begin(&d);
    open_well(&d);
    assert_int_equal(write_state(&d, 2, 1), 0);
    assert_int_equal(write_entries(&d, 1, 30, 1, 100), 0);
    assert_int_equal(write_entries(&d, 28, 1, 2, 100), 0);
    assert_int_equal(write_snapshot(&d, QUORUM_DISK_SNAPSHOT, 10, 1, 1), 0);
    close_files(&d);
    c.fs = sim_fs_verbs(d.fs);
    uint64_t before = sim_fs_digest(d.fs);
    assert_int_equal(quorum_files_describe(&c, collect, text, d.error, sizeof(d.error)), TIDE_OK);
    assert_int_equal(sim_fs_digest(d.fs), before);
    assert_string_equal(text, "directory: /q\n"
                              "term 2, voted for 0\n"
                              "snapshot of entry 10 (term 1), loaded\n"
                              "segment 1: entries 1 to 27\n"
                              "segment 2: entries 28 to 28\n"
                              "log: entries 1 to 28, the last one of term 2\n"
                              "members of entry 1:\n"
                              "  0  h:1  votes\n");
    end(&d);
}

/* Of three voters one is left: it goes on alone with what it has. */
static void a_lost_majority_is_left_behind(void **state)
{
    struct disk d;
    char text[4096] = "";
    struct quorum_files_config c = {.dir = "/q", .cluster_id = {{1}}, .segment_bytes = SEGMENT};
    struct quorum_config config = {
        .id = 0, .cluster_id = {{1}}, .seed = 1, .election_ms = 500, .heartbeat_ms = 100, .snapshot_commands = 1000, .snapshot_bytes = 1 << 20, .trailing = 10};
    struct quorum_members three = {.count = 3,
                                   .member = {{.id = 0, .role = QUORUM_VOTES, .address = "a:1"},
                                              {.id = 1, .role = QUORUM_VOTES, .address = "b:1"},
                                              {.id = 2, .role = QUORUM_VOTES, .address = "c:1"}}};
    struct quorum_members one = {.count = 1, .member = {{.id = 0, .role = QUORUM_VOTES, .address = "a:1"}}};
    begin(&d);
    open_well(&d);
    assert_int_equal(quorum_boot_found(&d.boot, &three), TIDE_OK);
    assert_int_equal(quorum_files_found(d.files, &d.boot), 0);
    assert_int_equal(write_entries(&d, 2, 8, 1, 100), 0);
    close_files(&d);
    c.fs = sim_fs_verbs(d.fs);
    assert_int_equal(quorum_files_rewrite_members(&c, &one, collect, text, d.error, sizeof(d.error)), TIDE_OK);
    assert_non_null(strstr(text, "LOST: whatever the other voters had committed behind entry 9"));
    open_well(&d);
    assert_int_equal(last_of(&d), 10);
    struct quorum *q = quorum_create(&config, &d.boot, 0, d.error, sizeof(d.error));
    assert_non_null(q);
    assert_int_equal(quorum_role(q), QUORUM_LEADER);
    assert_int_equal(quorum_members(q)->count, 1);
    assert_int_equal(quorum_commit_index(q), 10);
    quorum_destroy(q);
    end(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(term_and_vote_are_kept),
        cmocka_unit_test(entries_are_kept_over_segments),
        cmocka_unit_test(a_rewrite_replaces_everything_behind_it),
        cmocka_unit_test(a_snapshot_lets_the_log_begin_later),
        cmocka_unit_test(an_install_makes_the_log_void),
        cmocka_unit_test(a_log_that_does_not_agree_with_the_snapshot_is_dropped),
        cmocka_unit_test(a_torn_end_is_cut),
        cmocka_unit_test(damage_before_whole_entries_stops_the_start),
        cmocka_unit_test(damage_in_an_older_segment_stops_the_start),
        cmocka_unit_test(one_copy_of_the_vote_is_enough),
        cmocka_unit_test(a_damaged_snapshot_is_told_when_it_is_needed),
        cmocka_unit_test(files_of_another_cluster_are_refused),
        cmocka_unit_test(a_lost_vote_stops_the_start),
        cmocka_unit_test(every_power_cut_leaves_what_was_acknowledged),
        cmocka_unit_test(a_full_disk_is_tried_again),
        cmocka_unit_test(the_capacity_is_what_is_reserved),
        cmocka_unit_test(the_files_are_described),
        cmocka_unit_test(a_lost_majority_is_left_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
