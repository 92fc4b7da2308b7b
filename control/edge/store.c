/* SPDX-License-Identifier: Apache-2.0 */
#include "edge/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <isa-l/crc.h>

#include "edge/files.h"
#include "tidemark/bytes.h"

enum {
    STORE_VERSION = 1,
    HEADER_BYTES = 16,
    RECORD_HEAD = 16,
    RECORD_MAX = 1 << 20,
};
static const char magic[8] = {'t', 'i', 'd', 'e', 'm', 'e', 't', 'a'};

struct store {
    const struct tide_fs *fs;
    int file;
    bool failed;
    uint64_t end;
    uint64_t next_index;
    char dir[FILES_PATH_MAX];
};

/* ---- the command log ---------------------------------------------------------------------------------------- */

static uint32_t record_crc(const uint8_t *from, size_t len)
{
    return ~crc32_iscsi((unsigned char *)(uintptr_t)from, (int)len, ~0u);
}

static int begin_log(struct store *s)
{
    uint8_t head[HEADER_BYTES] = {0};
    memcpy(head, magic, sizeof(magic));
    store_be32(head + 8, STORE_VERSION);
    store_be32(head + 12, record_crc(head, 12));
    if (s->fs->pwrite(s->fs->self, s->file, head, sizeof(head), 0) != sizeof(head))
        return -EIO;
    s->end = HEADER_BYTES;
    return s->fs->sync(s->fs->self, s->file);
}

enum tide_status store_open(const char *dir, const struct tide_fs *fs, struct store **ret, char *error, size_t size)
{
    struct store *s = calloc(1, sizeof(*s));
    char path[FILES_PATH_MAX], inner[FILES_PATH_MAX];
    int64_t length;
    if (s == NULL) {
        snprintf(error, size, "no memory");
        return TIDE_FULL;
    }
    s->fs = fs;
    snprintf(s->dir, sizeof(s->dir), "%s", dir);
    files_path(inner, dir, "__cluster_metadata-0");
    files_path(path, inner, "commands.log");
    (void)fs->mkdir(fs->self, inner); /* there already; or opening tells */
    s->file = fs->open(fs->self, path, TIDE_FS_READ | TIDE_FS_WRITE | TIDE_FS_CREATE);
    length = s->file < 0 ? s->file : fs->size(fs->self, s->file);
    if (length >= 0 && length < HEADER_BYTES) { /* fresh, or a crash in the first write: nothing was acknowledged */
        int e = fs->truncate(fs->self, s->file, 0);
        if (e == 0)
            e = begin_log(s);
        if (e == 0)
            e = fs->sync_dir(fs->self, inner);
        if (e == 0)
            e = fs->sync_dir(fs->self, dir);
        length = e;
    }
    if (length < 0) {
        snprintf(error, size, "%s cannot be opened: %s", path, strerror((int)-length));
        store_close(s);
        return TIDE_IO;
    }
    *ret = s;
    return TIDE_OK;
}

/* One record at `at`. 1: good, 0: the end or a torn one, -1: unreadable. */
static int read_record(struct store *s, uint64_t at, uint64_t length, uint8_t *room, size_t *ret_len, uint64_t *ret_index)
{
    uint8_t head[RECORD_HEAD];
    uint32_t len;
    if (at + RECORD_HEAD > length)
        return 0;
    if (s->fs->pread(s->fs->self, s->file, head, sizeof(head), at) != (int64_t)sizeof(head))
        return -1;
    len = load_be32(head);
    if (len == 0 || len > RECORD_MAX || at + RECORD_HEAD + len > length)
        return 0;
    memcpy(room, head + 8, 8);
    if (s->fs->pread(s->fs->self, s->file, room + 8, len, at + RECORD_HEAD) != (int64_t)len)
        return -1;
    if (record_crc(room, len + 8) != load_be32(head + 4))
        return 0;
    *ret_len = len;
    *ret_index = load_be64(room);
    return 1;
}

/* Is there a good record somewhere behind a bad one? Then the bad one is damage, not a torn end. */
static bool good_record_follows(struct store *s, uint64_t at, uint64_t length, uint8_t *room)
{
    size_t len;
    uint64_t index;
    for (uint64_t p = at + 1; p + RECORD_HEAD < length && p < at + RECORD_MAX + RECORD_HEAD; p++)
        if (read_record(s, p, length, room, &len, &index) == 1 && index > s->next_index)
            return true;
    return false;
}

enum tide_status store_replay(struct store *s, bool (*apply)(void *arg, const uint8_t *bytes, size_t len), void *arg, char *error,
                              size_t size)
{
    int64_t length = s->fs->size(s->fs->self, s->file);
    uint8_t *room = malloc(RECORD_MAX + 8);
    uint8_t head[HEADER_BYTES];
    uint64_t at = HEADER_BYTES;
    enum tide_status status = TIDE_IO;
    size_t len;
    uint64_t index;
    int got;

    snprintf(error, size, "the metadata log in %s cannot be read", s->dir);
    if (room == NULL || length < HEADER_BYTES ||
        s->fs->pread(s->fs->self, s->file, head, sizeof(head), 0) != (int64_t)sizeof(head))
        goto out;
    if (memcmp(head, magic, sizeof(magic)) != 0 || load_be32(head + 12) != record_crc(head, 12)) {
        snprintf(error, size, "the metadata log in %s has a damaged header; restore the directory from a copy", s->dir);
        status = TIDE_BAD;
        goto out;
    }
    if (load_be32(head + 8) > STORE_VERSION) {
        snprintf(error, size, "the metadata log in %s was written by a newer release", s->dir);
        status = TIDE_REFUSED;
        goto out;
    }
    while ((got = read_record(s, at, (uint64_t)length, room, &len, &index)) == 1) {
        if (index != s->next_index || !apply(arg, room + 8, len)) {
            snprintf(error, size, "the metadata log in %s: record %lu cannot be applied", s->dir, s->next_index);
            status = TIDE_BAD;
            goto out;
        }
        s->next_index++;
        at += RECORD_HEAD + len;
    }
    if (got < 0)
        goto out;
    if (at != (uint64_t)length && good_record_follows(s, at, (uint64_t)length, room)) {
        snprintf(error, size, "the metadata log in %s is damaged at byte %lu, and good records follow; restore it from a copy", s->dir, at);
        status = TIDE_BAD;
        goto out;
    }
    s->end = at;
    if (at != (uint64_t)length && (s->fs->truncate(s->fs->self, s->file, at) != 0 || s->fs->sync(s->fs->self, s->file) != 0))
        goto out;
    status = TIDE_OK;
    error[0] = 0;
out:
    free(room);
    return status;
}

int store_append(struct store *s, const uint8_t *bytes, size_t len)
{
    uint8_t *record;
    size_t total = RECORD_HEAD + len;
    int e = 0;
    if (s->failed || len == 0 || len > RECORD_MAX)
        return -EIO;
    record = malloc(total);
    if (record == NULL)
        return -ENOMEM;
    store_be32(record, (uint32_t)len);
    store_be64(record + 8, s->next_index);
    memcpy(record + RECORD_HEAD, bytes, len);
    store_be32(record + 4, record_crc(record + 8, len + 8));
    if (s->fs->pwrite(s->fs->self, s->file, record, total, s->end) != (int64_t)total)
        e = -EIO;
    else
        e = s->fs->sync(s->fs->self, s->file);
    free(record);
    if (e != 0) { /* what is on the disk is unknown now: never go on over it (P11) */
        s->failed = true;
        return e;
    }
    s->end += total;
    s->next_index++;
    return 0;
}

uint64_t store_next_index(const struct store *s)
{
    return s->next_index;
}

void store_close(struct store *s)
{
    if (s == NULL)
        return;
    if (s->file >= 0)
        s->fs->close(s->fs->self, s->file);
    free(s);
}
