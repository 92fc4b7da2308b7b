/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor under a log: the same kind of write (O_DIRECT, RWF_DSYNC, a registered buffer, zeroes
 * written before) through liburing and nothing else. At most one write and one read are out.
 *
 * Owner: the thread that opened it.
 */
#ifndef TIDEMARK_BENCH_LOG_RAW_H
#define TIDEMARK_BENCH_LOG_RAW_H

#include <stdint.h>

#include <liburing.h>

enum { LOG_RAW_WRITE_MAX = 1 << 20, LOG_RAW_READ_MAX = 1 << 20 };
enum log_raw_event { LOG_RAW_WROTE = 1, LOG_RAW_READ = 2 };

struct log_raw {
    struct io_uring ring;
    int file;
    uint8_t *memory;  /* LOG_RAW_WRITE_MAX to write from, behind it LOG_RAW_READ_MAX to read into */
    uint32_t writing; /* bytes of what is out, 0: nothing */
    uint32_t reading;
};

/* A file of `bytes` zeroes (a multiple of 1 MiB), written and synced. */
void log_raw_open(struct log_raw *, const char *path, uint64_t bytes);
void log_raw_close(struct log_raw *);
/* Queued; submitted by the wait. Multiples of TIDE_BLOCK. */
void log_raw_write(struct log_raw *, uint64_t position, uint32_t len);
void log_raw_read(struct log_raw *, uint64_t position, uint32_t len);
/* Until something came, or the time has passed (UINT64_MAX: for ever): a set of log_raw_event. */
unsigned log_raw_wait(struct log_raw *, uint64_t timeout_ns);

#endif
