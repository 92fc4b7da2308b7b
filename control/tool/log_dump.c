/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads segment files batch by batch, checks every CRC and every record, prints what is there;
 * a partition's directory with all that is in it. Changes nothing.
 */
#include "tool/tool.h"

#include <dirent.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "kafka/batch.h"
#include "kafka/codecs.h"
#include "tidemark/bytes.h"
#include "tool/log_files.h"

enum { BATCH_SANE_MAX = 256 << 20, PLAIN_MAX = 256 << 20, PATH_ROOM = 4096 };

static int usage(FILE *f, int status)
{
    fputs("tidemark log dump [--records] PATH...   print the batches (and records) of segment files\n"
          "tidemark log verify PATH...             only say whether they are whole\n\n"
          "A PATH is a segment (.log, next.prepared), a file beside it (.index, .timeindex, .snapshot, the checkpoints,\n"
          "partition.metadata) or the directory of a partition. An open segment ends in zeroes that were written ahead;\n"
          "they are reported, not an error.\n", f);
    return status;
}

static const char *codec_name(const struct batch_header *h)
{
    static const char *const names[] = {"none", "gzip", "snappy", "lz4", "zstd", "?", "?", "?"};
    return names[batch_codec_of(h)];
}

static void print_batch(const struct batch_header *h, long position, bool good)
{
    printf("baseOffset: %ld lastOffset: %ld count: %d baseSequence: %d producerId: %ld producerEpoch: %d partitionLeaderEpoch: %d "
           "isTransactional: %s isControl: %s position: %ld CreateTime: %ld size: %u magic: %d compresscodec: %s crc: %u isvalid: %s\n",
           h->base_offset, batch_last_offset(h), h->record_count, h->base_sequence, h->producer_id, h->producer_epoch, h->leader_epoch,
           h->attributes & BATCH_TRANSACTIONAL ? "true" : "false", h->attributes & BATCH_CONTROL ? "true" : "false", position,
           h->max_timestamp, batch_size(h), h->magic, codec_name(h), h->crc, good ? "true" : "false");
}

static void print_bytes(const char *name, const uint8_t *bytes, int32_t len)
{
    printf(" %s: ", name);
    if (bytes == NULL) {
        fputs("null", stdout);
        return;
    }
    for (int32_t i = 0; i < len; i++) {
        if (bytes[i] >= 0x20 && bytes[i] < 0x7f && bytes[i] != '\\')
            putchar(bytes[i]);
        else
            printf("\\x%02x", bytes[i]);
    }
}

/* The records, decompressed into *ret_memory if need be. False when that cannot be done. */
static bool plain_records(const struct batch_header *h, const uint8_t *batch, const uint8_t **ret, size_t *ret_len,
                          uint8_t **ret_memory)
{
    const uint8_t *in = batch + BATCH_HEADER;
    size_t in_len = batch_size(h) - BATCH_HEADER;
    struct batch_decompressor *d;
    enum tide_status status = TIDE_FULL;
    *ret_memory = NULL;
    *ret = in;
    *ret_len = in_len;
    if (batch_codec_of(h) == CODEC_NONE)
        return true;
    d = batch_decompressor_create();
    for (size_t room = 4 * in_len + 65536; d != NULL && status == TIDE_FULL && room <= PLAIN_MAX; room *= 2) {
        free(*ret_memory);
        *ret_memory = malloc(room);
        if (*ret_memory == NULL)
            break;
        status = batch_decompress(d, batch_codec_of(h), in, in_len, *ret_memory, room, ret_len);
    }
    batch_decompressor_destroy(d);
    *ret = *ret_memory;
    return status == TIDE_OK;
}

static void print_control(const struct batch_record *r)
{
    static const char *const types[] = {"ABORT", "COMMIT"};
    unsigned type = r->key_len >= 4 ? (unsigned)load_be16(r->key + 2) : 2;
    printf(" endTxnMarker: %s", type < 2 ? types[type] : "?");
}

static bool walk_records(const struct batch_header *h, const uint8_t *batch, bool print)
{
    struct batch_iter it;
    struct batch_record r;
    const uint8_t *records;
    uint8_t *memory;
    size_t len;
    bool good = plain_records(h, batch, &records, &len, &memory);
    batch_iter_init(&it, h, records, good ? len : 0);
    while (good && batch_iter_next(&it, &r)) {
        if (!print)
            continue;
        printf("| offset: %ld CreateTime: %ld keySize: %d valueSize: %d headers: %d", r.offset, r.timestamp,
               r.key != NULL ? r.key_len : -1, r.value != NULL ? r.value_len : -1, r.header_count);
        if (h->attributes & BATCH_CONTROL)
            print_control(&r);
        print_bytes("key", r.key, r.key_len);
        print_bytes("payload", r.value, r.value_len);
        putchar('\n');
    }
    free(memory);
    return good && !it.bad && it.index == h->record_count && it.p == it.end;
}

/* Only zeroes from here to the end? */
static bool rest_is_zero(FILE *f)
{
    int c;
    while ((c = getc(f)) != EOF)
        if (c != 0)
            return false;
    return true;
}

struct dump {
    const char *path;
    FILE *file;
    bool print, records;
    long position;
    long batches;
    int64_t next_offset;
};

/* 1: a good batch; 0: the end; -1: damaged (said). */
static int dump_batch(struct dump *d)
{
    uint8_t head[BATCH_HEADER];
    struct batch_header h;
    uint8_t *batch;
    size_t n = fread(head, 1, sizeof(head), d->file);
    bool good;
    if (n == 0)
        return 0;
    if (n < sizeof(head)) {
        fprintf(stderr, "%s: %zu stray bytes at position %ld\n", d->path, n, d->position);
        return -1;
    }
    batch_header_parse(head, &h);
    if (h.batch_length == 0 && h.magic == 0) {
        static const uint8_t zero[BATCH_HEADER];
        if (memcmp(head, zero, sizeof(zero)) == 0 && rest_is_zero(d->file)) {
            if (d->print)
                printf("zeroes from position %ld: the segment is open, or was not closed cleanly\n", d->position);
            return 0;
        }
    }
    if (h.magic != 2 || h.batch_length < BATCH_LENGTH_MIN || h.batch_length > BATCH_SANE_MAX) {
        fprintf(stderr, "%s: no batch at position %ld\n", d->path, d->position);
        return -1;
    }
    batch = malloc(batch_size(&h));
    if (batch == NULL)
        return -1;
    memcpy(batch, head, sizeof(head));
    n = fread(batch + sizeof(head), 1, batch_size(&h) - sizeof(head), d->file);
    good = n == batch_size(&h) - sizeof(head) &&
           batch_crc_update(0, batch + BATCH_ATTRIBUTES, batch_size(&h) - BATCH_ATTRIBUTES) == h.crc;
    if (d->print)
        print_batch(&h, d->position, good);
    if (!good)
        fprintf(stderr, "%s: the batch at position %ld (offset %ld) is damaged\n", d->path, d->position, h.base_offset);
    else if (h.base_offset < d->next_offset)
        fprintf(stderr, "%s: the batch at position %ld goes back to offset %ld\n", d->path, d->position, h.base_offset);
    good &= h.base_offset >= d->next_offset;
    if (good && !walk_records(&h, batch, d->records)) {
        fprintf(stderr, "%s: the records of the batch at position %ld are damaged\n", d->path, d->position);
        good = false;
    }
    d->next_offset = batch_last_offset(&h) + 1;
    d->position += (long)batch_size(&h);
    d->batches++;
    free(batch);
    return good ? 1 : -1;
}

static bool has_suffix(const char *name, const char *suffix)
{
    size_t n = strlen(name), m = strlen(suffix);
    return n >= m && strcmp(name + n - m, suffix) == 0;
}

static int dump_segment(const char *path, bool print, bool records, int64_t *ret_next)
{
    struct dump d = {.path = path, .print = print, .records = records, .file = fopen(path, "rb")};
    int got;
    if (d.file == NULL) {
        perror(path);
        return 1;
    }
    if (print)
        printf("Dumping %s\n", path);
    while ((got = dump_batch(&d)) == 1)
        ;
    fclose(d.file);
    if (!print && got == 0)
        printf("%s: %ld batches, whole, next offset %ld\n", path, d.batches, d.next_offset);
    if (ret_next != NULL)
        *ret_next = d.next_offset;
    return got == 0 ? 0 : 1;
}

static int dump_directory(const char *dir, bool print, bool records)
{
    struct dirent **names;
    int n = scandir(dir, &names, NULL, alphasort);
    int64_t next = -1;
    int status = 0;
    if (n < 0) {
        perror(dir);
        return 1;
    }
    for (int i = 0; i < n; i++) {
        char path[PATH_ROOM];
        const char *name = names[i]->d_name;
        snprintf(path, sizeof(path), "%.3000s/%.255s", dir, name);
        if (has_suffix(name, ".log")) {
            int64_t base = strtoll(name, NULL, 10);
            if (next >= 0 && base < next) {
                fprintf(stderr, "%s: begins at %lld, the segment before it ends at %lld\n", path, (long long)base, (long long)next);
                status = 1;
            }
            status |= dump_segment(path, print, records, &next);
            next = next < base ? base : next;
        } else if (strcmp(name, "next.prepared") == 0) {
            status |= dump_segment(path, print, records, NULL);
        } else if (log_file_is_known(name)) {
            status |= log_file_dump(path, print);
        }
        free(names[i]);
    }
    free(names);
    return status;
}

static int dump_path(const char *path, bool print, bool records)
{
    struct stat s;
    if (stat(path, &s) == 0 && S_ISDIR(s.st_mode))
        return dump_directory(path, print, records);
    if (log_file_is_known(path))
        return log_file_dump(path, print);
    return dump_segment(path, print, records, NULL);
}

int tool_log(int argc, char **argv)
{
    static const struct option names[] = {{"records", no_argument, NULL, 'r'}, {"help", no_argument, NULL, 'h'}, {0}};
    bool records = false;
    int status = 0;
    int c;
    while ((c = getopt_long(argc, argv, "rh", names, NULL)) != -1) {
        if (c == 'h')
            return usage(stdout, 0);
        if (c != 'r')
            return usage(stderr, 2);
        records = true;
    }
    if (optind + 2 > argc || (strcmp(argv[optind], "dump") != 0 && strcmp(argv[optind], "verify") != 0))
        return usage(stderr, 2);
    for (int i = optind + 1; i < argc; i++)
        status |= dump_path(argv[i], strcmp(argv[optind], "dump") == 0, records);
    return status;
}
