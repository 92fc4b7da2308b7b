/* SPDX-License-Identifier: Apache-2.0 */
#include "tool/log_files.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kafka/batch.h"
#include "tidemark/bytes.h"

enum {
    FILE_MAX = 64 << 20,
    INDEX_ENTRY = 8,
    TIME_ENTRY = 12,
    SNAPSHOT_HEAD = 10,
    SNAPSHOT_ENTRY = 46,
    CHECKPOINT_HEAD = 28,
    CHECKPOINT_ENTRY = 20,
};

struct bytes {
    const char *path;
    uint8_t *at;
    size_t len;
    bool print;
};

static int damaged(const struct bytes *b, const char *what, size_t entry)
{
    fprintf(stderr, "%s: %s (entry %zu)\n", b->path, what, entry);
    return 1;
}

static bool load(const char *path, struct bytes *ret)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        perror(path);
        return false;
    }
    ret->at = malloc(FILE_MAX + 1);
    if (ret->at != NULL)
        ret->len = fread(ret->at, 1, FILE_MAX + 1, f);
    fclose(f);
    if (ret->at == NULL || ret->len > FILE_MAX) {
        fprintf(stderr, "%s: larger than such a file can be\n", path);
        free(ret->at);
        return false;
    }
    return true;
}

/* ---- the segment beside an index ---- */

static int64_t base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return strtoll(slash != NULL ? slash + 1 : path, NULL, 10);
}

static FILE *open_segment(const char *path)
{
    char name[4096];
    const char *dot = strrchr(path, '.');
    size_t n = (size_t)(dot - path);
    if (n + sizeof(".log") > sizeof(name))
        return NULL;
    memcpy(name, path, n);
    strcpy(name + n, ".log");
    return fopen(name, "rb");
}

/* The header at `position`. */
static bool header_at(FILE *log, long position, struct batch_header *ret)
{
    uint8_t head[BATCH_HEADER];
    if (fseek(log, position, SEEK_SET) != 0 || fread(head, 1, sizeof(head), log) != sizeof(head))
        return false;
    batch_header_parse(head, ret);
    return ret->magic == 2;
}

static int dump_index(const struct bytes *b)
{
    FILE *log = open_segment(b->path);
    int64_t base = base_of(b->path);
    int64_t last = -1, place = -1;
    int status = 0;
    if (b->len % INDEX_ENTRY != 0)
        status = damaged(b, "its length is no number of entries", b->len / INDEX_ENTRY);
    for (size_t i = 0; (i + 1) * INDEX_ENTRY <= b->len && status == 0; i++) {
        int64_t relative = load_be32(b->at + i * INDEX_ENTRY);
        int64_t position = load_be32(b->at + i * INDEX_ENTRY + 4);
        struct batch_header h;
        if (b->print)
            printf("offset: %" PRId64 " position: %" PRId64 "\n", base + relative, position);
        if (relative <= last || position <= place)
            status = damaged(b, "offsets and positions must rise", i);
        else if (log != NULL && (!header_at(log, (long)position, &h) || batch_last_offset(&h) != base + relative))
            status = damaged(b, "no batch with that last offset at that position", i);
        last = relative;
        place = position;
    }
    if (log != NULL)
        fclose(log);
    return status;
}

static int dump_time_index(const struct bytes *b)
{
    int64_t base = base_of(b->path);
    int64_t last = INT64_MIN;
    if (b->len % TIME_ENTRY != 0)
        return damaged(b, "its length is no number of entries", b->len / TIME_ENTRY);
    for (size_t i = 0; (i + 1) * TIME_ENTRY <= b->len; i++) {
        int64_t time = (int64_t)load_be64(b->at + i * TIME_ENTRY);
        if (b->print)
            printf("timestamp: %" PRId64 " offset: %" PRId64 "\n", time, base + (int64_t)load_be32(b->at + i * TIME_ENTRY + 8));
        if (time <= last)
            return damaged(b, "timestamps must rise", i);
        last = time;
    }
    return 0;
}

static int dump_snapshot(const struct bytes *b)
{
    if (b->len < SNAPSHOT_HEAD || load_be16(b->at) != 1)
        return damaged(b, "no snapshot of version 1", 0);
    size_t count = load_be32(b->at + 6);
    if (b->len != SNAPSHOT_HEAD + count * SNAPSHOT_ENTRY)
        return damaged(b, "its length does not fit its count", count);
    if (batch_crc_update(0, b->at + 6, b->len - 6) != load_be32(b->at + 2))
        return damaged(b, "the checksum does not match", 0);
    for (size_t i = 0; i < count && b->print; i++) {
        const uint8_t *e = b->at + SNAPSHOT_HEAD + i * SNAPSHOT_ENTRY;
        printf("producerId: %" PRId64 " producerEpoch: %d lastSequence: %d lastOffset: %" PRId64 " offsetDelta: %d timestamp: %" PRId64
               " coordinatorEpoch: %d currentTxnFirstOffset: %" PRId64 "\n",
               (int64_t)load_be64(e), (int16_t)load_be16(e + 8), (int32_t)load_be32(e + 10), (int64_t)load_be64(e + 14),
               (int32_t)load_be32(e + 22), (int64_t)load_be64(e + 26), (int32_t)load_be32(e + 34), (int64_t)load_be64(e + 38));
    }
    return 0;
}

static int dump_checkpoint(const struct bytes *b)
{
    if (b->len < CHECKPOINT_HEAD + 4 || memcmp(b->at, "TMCK", 4) != 0 || load_be32(b->at + 4) != 1)
        return damaged(b, "no checkpoint of version 1", 0);
    size_t count = load_be32(b->at + 24);
    if (b->len != CHECKPOINT_HEAD + count * CHECKPOINT_ENTRY + 4)
        return damaged(b, "its length does not fit its count", count);
    if (batch_crc_update(0, b->at, b->len - 4) != load_be32(b->at + b->len - 4))
        return damaged(b, "the checksum does not match", 0);
    const uint8_t *last = b->at + CHECKPOINT_HEAD + (count - 1) * CHECKPOINT_ENTRY;
    if (b->print && count != 0)
        printf("segment: %" PRId64 " entries: %zu vouches up to position: %u offset: %" PRId64 "\n", (int64_t)load_be64(b->at + 8), count,
               load_be32(last + 4), (int64_t)load_be64(b->at + 8) + load_be32(last));
    return 0;
}

/* Kafka's text checkpoints: a version and lines. */
static int dump_text(const struct bytes *b)
{
    if (b->len == 0 || (b->at[0] != '0' && strncmp((const char *)b->at, "version: 0", 10) != 0))
        return damaged(b, "its version is not 0", 0);
    for (size_t i = 0; i < b->len; i++)
        if (b->at[i] != '\n' && (b->at[i] < 0x20 || b->at[i] > 0x7e))
            return damaged(b, "it is not text", i);
    if (b->print)
        fwrite(b->at, 1, b->len, stdout);
    return 0;
}

static const struct {
    const char *suffix;
    int (*dump)(const struct bytes *);
} kinds[] = {
    {".index", dump_index},
    {".timeindex", dump_time_index},
    {".snapshot", dump_snapshot},
    {"active.checkpoint", dump_checkpoint},
    {"leader-epoch-checkpoint", dump_text},
    {"log-start-offset-checkpoint", dump_text},
    {"partition.metadata", dump_text},
};

static int kind_of(const char *path)
{
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        size_t n = strlen(path), m = strlen(kinds[i].suffix);
        if (n >= m && strcmp(path + n - m, kinds[i].suffix) == 0)
            return (int)i;
    }
    return -1;
}

bool log_file_is_known(const char *path)
{
    return kind_of(path) >= 0;
}

int log_file_dump(const char *path, bool print)
{
    struct bytes b = {.path = path, .print = print};
    if (!load(path, &b))
        return 1;
    if (print)
        printf("Dumping %s\n", path);
    int status = kinds[kind_of(path)].dump(&b);
    if (!print && status == 0)
        printf("%s: whole\n", path);
    free(b.at);
    return status;
}
