/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a segment file batch by batch, checks every CRC, prints what is there. Changes nothing.
 */
#include "tool/tool.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kafka/batch.h"

enum { BATCH_SANE_MAX = 256 << 20 };

static int usage(FILE *f, int status)
{
    fputs("tidemark log dump [--records] FILE...   print the batches (and records) of segment files\n"
          "tidemark log verify FILE...             only say whether they are whole\n\n"
          "An open segment ends in zeroes that were written ahead; they are reported, not an error.\n", f);
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

static bool print_records(const struct batch_header *h, const uint8_t *batch)
{
    struct batch_iter it;
    struct batch_record r;
    if (batch_codec_of(h) != CODEC_NONE) {
        printf("| %d records, compressed with %s\n", h->record_count, codec_name(h));
        return true;
    }
    batch_iter_init(&it, h, batch + BATCH_HEADER, batch_size(h) - BATCH_HEADER);
    while (batch_iter_next(&it, &r)) {
        printf("| offset: %ld CreateTime: %ld keySize: %d valueSize: %d headers: %d", r.offset, r.timestamp,
               r.key != NULL ? r.key_len : -1, r.value != NULL ? r.value_len : -1, r.header_count);
        print_bytes("key", r.key, r.key_len);
        print_bytes("payload", r.value, r.value_len);
        putchar('\n');
    }
    return !it.bad;
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
    if (good && d->records && !print_records(&h, batch)) {
        fprintf(stderr, "%s: the records of the batch at position %ld are damaged\n", d->path, d->position);
        good = false;
    }
    d->next_offset = batch_last_offset(&h) + 1;
    d->position += (long)batch_size(&h);
    d->batches++;
    free(batch);
    return good ? 1 : -1;
}

static int dump_file(const char *path, bool print, bool records)
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
    return got == 0 ? 0 : 1;
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
        status |= dump_file(argv[i], strcmp(argv[optind], "dump") == 0, records);
    return status;
}
