/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Foreign bytes as the files of a voter: into loading; then, when they are taken, a life on them. What
 * must hold: no crash, no over-read; a refusal says why; what is taken can be started from, written to
 * and loaded again, and then holds the same.
 *
 * Input: one byte of flags, then pieces {kind, length (2 bytes), bytes}: the files, one piece each. Sealed:
 * headers and batches get their checksums, or nothing would come further.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "raft/quorum_files_internal.h"
#include "sim_fs.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { FLAG_SEAL = 1, KIND_STATE = 0, KIND_SEGMENT, KIND_SNAPSHOT, KIND_COUNT, PIECES_MAX = 8, FILE_MAX = 16384 };

#define MUST(x) ((x) ? (void)0 : must_failed(#x, __LINE__))
static void must_failed(const char *what, int line)
{
    fprintf(stderr, "line %d: %s\n", line, what);
    abort();
}

static void seal_head(uint8_t *file, size_t head, uint64_t magic)
{
    quorum_write(file, magic, 8);
    quorum_write(file + 8, FILES_VERSION, 4);
    memset(file + 16, 0, 16);
    file[16] = 1;
    quorum_write(file + 12, quorum_crc(file + 16, head - 16), 4);
}

static void seal_segment(uint8_t *file, size_t len, uint64_t number)
{
    quorum_write(file + 32, number, 8);
    seal_head(file, SEGMENT_HEAD, segment_magic);
    for (size_t at = SEGMENT_HEAD; at + BATCH_HEAD <= len;) {
        uint32_t length;
        memcpy(&length, file + at + 8, 4);
        if (length < BATCH_HEAD || length % 8 != 0 || length > len - at)
            return;
        quorum_write(file + at, batch_magic, 4);
        quorum_write(file + at + 24, number, 8);
        quorum_write(file + at + 4, quorum_crc(file + at + 8, length - 8), 4);
        at += length;
    }
}

static void seal_snapshot(uint8_t *file, size_t len)
{
    uint32_t members;
    memcpy(&members, file + 64, 4);
    if (members > len - SNAPSHOT_HEAD)
        return;
    quorum_write(file + 56, len - SNAPSHOT_HEAD - members, 8);
    quorum_write(file + 68, quorum_crc(file + SNAPSHOT_HEAD, members), 4);
    quorum_write(file + 72, quorum_crc(file + SNAPSHOT_HEAD + members, len - SNAPSHOT_HEAD - members), 4);
    seal_head(file, SNAPSHOT_HEAD, snapshot_magic);
}

static void put(struct sim_fs *disk, const char *path, const uint8_t *bytes, size_t len)
{
    const struct tide_fs *fs = sim_fs_verbs(disk);
    int file = fs->open(fs->self, path, TIDE_FS_READ | TIDE_FS_WRITE | TIDE_FS_CREATE);
    MUST(file >= 0);
    MUST(fs->pwrite(fs->self, file, bytes, len, 0) == (int64_t)len);
    fs->close(fs->self, file);
}

/* The piece as a file: small heads are padded, so that the input stays small. */
static void make_file(struct sim_fs *disk, unsigned flags, unsigned kind, unsigned number, const uint8_t *bytes, size_t len)
{
    static uint8_t file[2 * FILE_MAX];
    char path[128];
    uint64_t index = 0;
    uint64_t term = 0;
    memset(file, 0, sizeof(file));
    if (kind == KIND_STATE) {
        memcpy(file, bytes, TIDE_MIN(len, (size_t)STATE_BYTES));
        if (len > STATE_BYTES)
            memcpy(file + STATE_APART, bytes + STATE_BYTES, TIDE_MIN(len - STATE_BYTES, (size_t)STATE_BYTES));
        if ((flags & FLAG_SEAL) != 0)
            seal_head(file, STATE_BYTES, state_magic);
        if ((flags & FLAG_SEAL) != 0 && len > STATE_BYTES)
            seal_head(file + STATE_APART, STATE_BYTES, state_magic);
        put(disk, "/q/quorum.state", file, STATE_APART + STATE_BYTES);
        return;
    }
    /* 64 bytes of the head, then what comes behind it */
    size_t rest = len > 64 ? TIDE_MIN(len - 64, (size_t)FILE_MAX) : 0;
    memcpy(file, bytes, TIDE_MIN(len, (size_t)64));
    memcpy(file + 512, bytes + TIDE_MIN(len, (size_t)64), rest);
    if (kind == KIND_SEGMENT) {
        snprintf(path, sizeof(path), "/q/%020u.log", number + 1);
        if ((flags & FLAG_SEAL) != 0)
            seal_segment(file, 512 + rest, number + 1);
        put(disk, path, file, 512 + rest + (number % 2) * 512);
        return;
    }
    memcpy(&index, file + 32, 8);
    memcpy(&term, file + 40, 8);
    snprintf(path, sizeof(path), "/q/%020lu-%020lu.snapshot", index, term);
    if ((flags & FLAG_SEAL) != 0)
        seal_snapshot(file, 512 + rest);
    put(disk, path, file, 512 + rest);
}

static void live(struct quorum_files *files, struct quorum_boot *boot)
{
    struct quorum_config c = {.id = 0,
                              .cluster_id = {{1}},
                              .seed = 3,
                              .election_ms = 100,
                              .heartbeat_ms = 20,
                              .snapshot_commands = 3,
                              .snapshot_bytes = 1 << 20,
                              .trailing = 2};
    char error[QUORUM_ERROR_MAX];
    uint64_t now = 1000 * TIDE_NS_PER_MS;
    struct quorum *q = quorum_create(&c, boot, now, error, sizeof(error));
    struct quorum_event e;
    const struct quorum_disk_op *op;
    if (q == NULL) {
        MUST(error[0] != 0);
        return;
    }
    for (unsigned i = 0; i < 20; i++) {
        while (quorum_event_take(q, &e))
            if (e.kind == QUORUM_TAKE_SNAPSHOT)
                (void)!quorum_on_snapshot_taken(q, now, quorum_applied(q), "state", 5);
        while ((op = quorum_disk_take(q)) != NULL)
            quorum_on_disk_done(q, now, quorum_files_run(files, op), quorum_files_capacity(files));
        now += 50 * TIDE_NS_PER_MS;
        quorum_on_time(q, now);
        (void)!quorum_propose(q, now, "command", 8, 1 + i);
        quorum_check(q);
    }
    quorum_destroy(q);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct quorum_reader r = {.at = bytes, .left = len};
    unsigned flags = (unsigned)quorum_read(&r, 1);
    struct sim_fs_config config = {.seed = 1};
    struct sim_fs *disk = sim_fs_create(&config);
    const struct tide_fs *fs = sim_fs_verbs(disk);
    struct quorum_files_config c = {.fs = fs, .dir = "/q", .cluster_id = {{1}}, .segment_bytes = 4096};
    struct quorum_files *files;
    struct quorum_boot boot;
    char error[QUORUM_PATH_MAX + QUORUM_ERROR_MAX] = "";
    MUST(fs->mkdir(fs->self, "/q") == 0);
    for (unsigned i = 0; i < PIECES_MAX && r.left != 0; i++) {
        unsigned kind = (unsigned)quorum_read(&r, 1) % KIND_COUNT;
        uint64_t piece = TIDE_MIN(quorum_read(&r, 2), (uint64_t)r.left);
        const uint8_t *at = r.failed ? NULL : quorum_read_bytes(&r, piece);
        if (at == NULL)
            break;
        make_file(disk, flags, kind, i, at, piece);
    }
    enum tide_status status = quorum_files_open(&c, &files, &boot, error, sizeof(error));
    if (status != TIDE_OK) {
        MUST(error[0] != 0);
    } else {
        uint64_t last = boot.first_index + boot.count;
        uint64_t term = boot.term;
        quorum_files_close(files);
        quorum_boot_deinit(&boot);
        MUST(quorum_files_open(&c, &files, &boot, error, sizeof(error)) == TIDE_OK); /* loading changes nothing */
        MUST(boot.first_index + boot.count == last && boot.term == term);
        live(files, &boot);
        quorum_boot_deinit(&boot);
        quorum_files_close(files);
        MUST(quorum_files_open(&c, &files, &boot, error, sizeof(error)) == TIDE_OK);
        quorum_files_close(files);
        quorum_boot_deinit(&boot);
    }
    sim_fs_destroy(disk);
    return 0;
}
