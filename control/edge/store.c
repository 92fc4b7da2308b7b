/* SPDX-License-Identifier: Apache-2.0 */
#include "edge/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include <isa-l/crc.h>

#include "tidemark/bytes.h"

enum {
    STORE_VERSION = 1,
    HEADER_BYTES = 16,
    RECORD_HEAD = 16,
    RECORD_MAX = 1 << 20,
    PATH_ROOM = 4096,
};
static const char magic[8] = {'t', 'i', 'd', 'e', 'm', 'e', 't', 'a'};

struct store {
    const struct tide_fs *fs;
    int lock;
    int file;
    bool failed;
    uint64_t end;
    uint64_t next_index;
    char dir[PATH_ROOM];
};

static void path_of(const struct store *s, const char *name, char path[PATH_ROOM])
{
    snprintf(path, PATH_ROOM, "%.3900s/%s", s->dir, name);
}

static int mkdir_if_absent(const struct tide_fs *fs, const char *dir)
{
    int e = fs->mkdir(fs->self, dir);
    if (e == -EEXIST)
        return 0;
    if (e != 0)
        errno = -e;
    return e;
}

/* ---- who it belongs to -------------------------------------------------------------------------------- */

static bool property(const char *text, const char *name, char *value, size_t size)
{
    size_t n = strlen(name);
    for (const char *line = text; *line != 0;) {
        size_t len = strcspn(line, "\r\n");
        if (len > n && strncmp(line, name, n) == 0 && line[n] == '=') {
            snprintf(value, size, "%.*s", (int)(len - n - 1), line + n + 1);
            return true;
        }
        line += len;
        line += strspn(line, "\r\n");
    }
    return false;
}

static enum tide_status read_identity(struct store *s, int32_t node_id, struct store_identity *ret, char *error, size_t size)
{
    char path[PATH_ROOM];
    char text[4096];
    char value[128];
    int64_t n;
    int file;
    path_of(s, "meta.properties", path);
    file = s->fs->open(s->fs->self, path, TIDE_FS_READ);
    if (file == -ENOENT)
        return TIDE_ABSENT;
    if (file < 0) {
        snprintf(error, size, "%s cannot be read: %s", path, strerror(-file));
        return TIDE_IO;
    }
    n = s->fs->pread(s->fs->self, file, text, sizeof(text) - 1, 0);
    s->fs->close(s->fs->self, file);
    text[n < 0 ? 0 : n] = 0;
    if (!property(text, "version", value, sizeof(value)) || strcmp(value, "1") != 0) {
        snprintf(error, size, "%s: its version is not 1; this directory was made by another or a newer release", path);
        return TIDE_REFUSED;
    }
    if (!property(text, "node.id", value, sizeof(value)) || atoi(value) != node_id) {
        snprintf(error, size, "%s belongs to node.id=%.20s, this broker is node.id=%d; use its own directory or its own number", s->dir,
                 value, node_id);
        return TIDE_REFUSED;
    }
    ret->node_id = node_id;
    if (!property(text, "cluster.id", value, sizeof(value)) || !tide_uuid_from_text(value, strlen(value), &ret->cluster_id) ||
        !property(text, "directory.id", value, sizeof(value)) || !tide_uuid_from_text(value, strlen(value), &ret->directory_id)) {
        snprintf(error, size, "%s: cluster.id or directory.id is missing or damaged", path);
        return TIDE_REFUSED;
    }
    return TIDE_OK;
}

/* Written whole or not at all: temp, sync, rename, sync of the directory. */
static int write_file(struct store *s, const char *name, const char *text)
{
    char path[PATH_ROOM], temp[PATH_ROOM];
    char temp_name[128];
    size_t len = strlen(text);
    int file;
    int e;
    snprintf(temp_name, sizeof(temp_name), "%.100s.tmp", name);
    path_of(s, name, path);
    path_of(s, temp_name, temp);
    file = s->fs->open(s->fs->self, temp, TIDE_FS_WRITE | TIDE_FS_CREATE);
    if (file < 0)
        return file;
    e = s->fs->truncate(s->fs->self, file, 0);
    if (e == 0)
        e = s->fs->pwrite(s->fs->self, file, text, len, 0) == (int64_t)len ? 0 : -EIO;
    if (e == 0)
        e = s->fs->sync(s->fs->self, file);
    s->fs->close(s->fs->self, file);
    if (e == 0)
        e = s->fs->rename(s->fs->self, temp, path);
    return e == 0 ? s->fs->sync_dir(s->fs->self, s->dir) : e;
}

static int write_identity(struct store *s, const struct store_identity *i)
{
    char text[512];
    char cluster[TIDE_UUID_TEXT], directory[TIDE_UUID_TEXT];
    tide_uuid_to_text(&i->cluster_id, cluster);
    tide_uuid_to_text(&i->directory_id, directory);
    snprintf(text, sizeof(text), "version=1\ncluster.id=%s\nnode.id=%d\ndirectory.id=%s\n", cluster, i->node_id, directory);
    return write_file(s, "meta.properties", text);
}

/* ---- the lock ------------------------------------------------------------------------------------------- */

static enum tide_status take_lock(struct store *s, char *error, size_t size)
{
    char path[PATH_ROOM];
    int e;
    if (mkdir_if_absent(s->fs, s->dir) != 0 && access(s->dir, F_OK) != 0) {
        snprintf(error, size, "log.dirs: %s does not exist and cannot be made: %s", s->dir, strerror(errno));
        return TIDE_IO;
    }
    path_of(s, ".lock", path);
    s->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (s->lock < 0) {
        snprintf(error, size, "log.dirs: %s cannot be written: %s", s->dir, strerror(errno));
        return TIDE_IO;
    }
    e = flock(s->lock, LOCK_EX | LOCK_NB);
    if (e != 0) {
        snprintf(error, size, "log.dirs: another broker runs on %s (it holds %s); stop it or use another directory", s->dir, path);
        close(s->lock);
        s->lock = -1;
        return TIDE_EXISTS;
    }
    return TIDE_OK;
}

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

static enum tide_status open_log(struct store *s, char *error, size_t size)
{
    char path[PATH_ROOM], dir[PATH_ROOM];
    int64_t length;
    path_of(s, "__cluster_metadata-0", dir);
    path_of(s, "__cluster_metadata-0/commands.log", path);
    (void)mkdir_if_absent(s->fs, dir);
    s->file = s->fs->open(s->fs->self, path, TIDE_FS_READ | TIDE_FS_WRITE | TIDE_FS_CREATE);
    length = s->file < 0 ? s->file : s->fs->size(s->fs->self, s->file);
    if (length < 0) {
        snprintf(error, size, "%s cannot be opened: %s", path, strerror((int)-length));
        return TIDE_IO;
    }
    if (length < HEADER_BYTES) { /* fresh, or a crash in the first write: nothing was acknowledged */
        int e = s->fs->truncate(s->fs->self, s->file, 0);
        if (e == 0)
            e = begin_log(s);
        if (e == 0)
            e = s->fs->sync_dir(s->fs->self, dir);
        if (e == 0)
            e = s->fs->sync_dir(s->fs->self, s->dir);
        if (e != 0) {
            snprintf(error, size, "%s cannot be written: %s", path, strerror(-e));
            return TIDE_IO;
        }
    }
    return TIDE_OK;
}

enum tide_status store_open(const char *dir, const struct tide_fs *fs, int32_t node_id, const struct tide_uuid *fresh_cluster_id,
                            const struct tide_uuid *fresh_directory_id, struct store **ret, struct store_identity *ret_identity,
                            char *error, size_t size)
{
    struct store *s = calloc(1, sizeof(*s));
    struct store_identity who = {0};
    char path[PATH_ROOM];
    enum tide_status status;
    if (s == NULL) {
        snprintf(error, size, "no memory");
        return TIDE_FULL;
    }
    s->fs = fs;
    s->lock = s->file = -1;
    snprintf(s->dir, sizeof(s->dir), "%s", dir);
    status = take_lock(s, error, size);
    if (status == TIDE_OK)
        status = read_identity(s, node_id, &who, error, size);
    if (status == TIDE_ABSENT) {
        who = (struct store_identity){.cluster_id = *fresh_cluster_id, .node_id = node_id, .directory_id = *fresh_directory_id, .fresh = true};
        status = write_identity(s, &who) == 0 ? TIDE_OK : TIDE_IO;
        if (status != TIDE_OK)
            snprintf(error, size, "log.dirs: %s cannot be written", dir);
    }
    if (status == TIDE_OK)
        status = open_log(s, error, size);
    if (status != TIDE_OK) {
        store_close(s);
        return status;
    }
    path_of(s, ".kafka_cleanshutdown", path);
    who.clean = fs->unlink(fs->self, path) == 0;
    (void)fs->sync_dir(fs->self, dir); /* the mark is gone before anything changes */
    *ret = s;
    *ret_identity = who;
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

int store_mark_clean(struct store *s, int64_t broker_epoch)
{
    char text[64];
    snprintf(text, sizeof(text), "{\"version\":0,\"brokerEpoch\":%ld}", broker_epoch);
    return write_file(s, ".kafka_cleanshutdown", text);
}

void store_close(struct store *s)
{
    if (s == NULL)
        return;
    if (s->file >= 0)
        s->fs->close(s->fs->self, s->file);
    if (s->lock >= 0)
        close(s->lock);
    free(s);
}
