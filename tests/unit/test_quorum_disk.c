/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <unistd.h>

#include "disk/posix_fs.h"
#include "edge/quorum_disk.h"

/* A single voter over a real directory and libuv's pool. */
struct owner {
    struct quorum_disk disk;
    struct quorum *quorum;
    uint64_t done;
    uint64_t commands;
    bool stopped;
};

static void ready(void *arg)
{
    struct owner *o = arg;
    struct quorum_event e;
    if (o->disk.stopping) {
        o->stopped = true;
        return;
    }
    while (quorum_event_take(o->quorum, &e)) {
        assert_int_not_equal(e.kind, QUORUM_STOPPED);
        if (e.kind == QUORUM_APPLY)
            o->commands += e.entry.len != 0;
        if (e.kind == QUORUM_DONE) {
            assert_int_equal(e.outcome, QUORUM_DONE_OK);
            o->done = e.tag;
        }
    }
    quorum_disk_kick(&o->disk);
}

static const struct quorum_config config = {.id = 0,
                                            .cluster_id = {{3}},
                                            .seed = 1,
                                            .election_ms = 500,
                                            .heartbeat_ms = 100,
                                            .snapshot_commands = 100000,
                                            .snapshot_bytes = 1 << 30,
                                            .trailing = 1000};

static uint64_t life(const char *dir, uv_loop_t *loop, uint64_t commands_before, unsigned commands)
{
    struct owner o = {.done = 0};
    struct quorum_files_config c = {.fs = posix_fs(), .dir = dir, .cluster_id = {{3}}, .segment_bytes = 1 << 16};
    struct quorum_files *files;
    struct quorum_boot boot;
    char error[QUORUM_PATH_MAX];
    if (quorum_files_open(&c, &files, &boot, error, sizeof(error)) != TIDE_OK)
        fail_msg("%s", error);
    if (quorum_boot_is_empty(&boot)) {
        struct quorum_members m = {.count = 1, .member = {{.id = 0, .role = QUORUM_VOTES, .address = "here:1"}}};
        uint64_t capacity = boot.capacity_bytes;
        assert_int_equal(quorum_boot_found(&boot, &m), TIDE_OK);
        boot.capacity_bytes = capacity;
        assert_int_equal(quorum_files_found(files, &boot), 0);
    }
    o.quorum = quorum_create(&config, &boot, uv_hrtime(), error, sizeof(error));
    assert_non_null(o.quorum);
    quorum_disk_init(&o.disk, loop, o.quorum, files, ready, &o);
    for (uint64_t tag = 1; tag <= commands; tag++) {
        assert_int_equal(quorum_propose(o.quorum, uv_hrtime(), &tag, sizeof(tag), tag), TIDE_OK);
        ready(&o);
    }
    while (o.done < commands)
        uv_run(loop, UV_RUN_ONCE);
    assert_int_equal(o.commands, commands_before + commands);
    while (!quorum_disk_stop(&o.disk) && !o.stopped)
        uv_run(loop, UV_RUN_ONCE);
    uint64_t term = quorum_term(o.quorum);
    quorum_destroy(o.quorum);
    quorum_files_close(files);
    return term;
}

static void a_voter_lives_on_a_real_disk(void **state)
{
    char root[] = "/tmp/tidemark-quorum-XXXXXX";
    char dir[64];
    char remove[128];
    uv_loop_t loop;
    assert_non_null(mkdtemp(root));
    snprintf(dir, sizeof(dir), "%s/__cluster_metadata-0", root);
    assert_int_equal(uv_loop_init(&loop), 0);
    uint64_t first = life(dir, &loop, 0, 50);
    uint64_t second = life(dir, &loop, 50, 2000); /* over several segments */
    uint64_t third = life(dir, &loop, 2050, 1);
    assert_true(first < second && second < third); /* every start leads in a term of its own */
    assert_int_equal(uv_loop_close(&loop), 0);
    snprintf(remove, sizeof(remove), "rm -r %s", root);
    assert_int_equal(system(remove), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_voter_lives_on_a_real_disk)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
