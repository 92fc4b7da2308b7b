/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leader epochs of a log and the offsets they begin at (KIP-101), and their file
 * leader-epoch-checkpoint in Kafka's text form: "0", the number of lines, "epoch offset" per line.
 *
 * Owner: the home core (recovery before it is adopted); [any] for the lookups. Entries move rarely;
 * `version` is odd while they do. An epoch's line is durable before its first batch is appended,
 * so recovery may take a batch of an epoch that is not listed for no batch of this log.
 *
 * Bounded: beyond LOG_EPOCHS_MAX the oldest line is forgotten. Lookups below the first line answer
 * with its start (kafka-protocol 7.2), which makes a follower truncate further than it must.
 *
 * Invariants (log_epochs_check):
 *   E1  epochs increase strictly, starts increase strictly.
 */
#ifndef TIDEMARK_LOG_EPOCHS_H
#define TIDEMARK_LOG_EPOCHS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark/fs.h"
#include "tidemark/published.h"

enum { LOG_EPOCHS_MAX = 128, LOG_EPOCH_LINE_MAX = 34 };

struct log_epoch {
    int32_t epoch;
    int64_t start;
};

/* The lines as plain data: what is written to the file and what is read from it. */
struct log_epoch_lines {
    uint32_t count;
    struct log_epoch lines[LOG_EPOCHS_MAX];
};

struct log_epochs {
    struct tide_pub64 version;
    struct tide_pub64 count;
    struct {
        struct tide_pub64 epoch;
        struct tide_pub64 start;
    } lines[LOG_EPOCHS_MAX];
};

/* Adds a line; lines with the same or a later epoch or start fall out, as they hold no batch. */
void log_epoch_lines_add(struct log_epoch_lines *, int32_t epoch, int64_t start);
/* Drops lines that start behind `end`. True if there were any. */
bool log_epoch_lines_cut(struct log_epoch_lines *, int64_t end);
/* May a batch at `offset` carry `epoch`? Older than the first line: nobody knows any more, true. */
bool log_epoch_lines_allow(const struct log_epoch_lines *, int32_t epoch, int64_t offset);
/* As readers ask (log_epochs_allow): does it carry the very epoch that the lines give its offset? */
bool log_epoch_lines_fit(const struct log_epoch_lines *, int32_t epoch, int64_t offset);
/* -1 when there is none. */
int32_t log_epoch_lines_last(const struct log_epoch_lines *);

/* [helper] 0, -ENOENT, -EBADMSG for a file that is not what it should be, or the read's error. */
int log_epoch_lines_load(struct log_epoch_lines *, const struct tide_fs *, const char *dir);
/* [helper] Durable when it returns 0. */
int log_epoch_lines_store(const struct log_epoch_lines *, const struct tide_fs *, const char *dir);

void log_epochs_set(struct log_epochs *, const struct log_epoch_lines *);
void log_epochs_get(const struct log_epochs *, struct log_epoch_lines *ret); /* [home] */
/* [any] kafka-protocol 7.2, last line; `log_end` answers for the newest epoch. */
void log_epochs_end_for(const struct log_epochs *, int32_t epoch, int64_t log_end,
                        int32_t *ret_epoch, int64_t *ret_end);
/* [any] May the batch at `offset` be of `epoch`, as far as the lines know? True while they move. */
bool log_epochs_allow(const struct log_epochs *, int32_t epoch, int64_t offset);
/* [any] The newest epoch that begins before `offset`; -1: none. */
int32_t log_epochs_before(const struct log_epochs *, int64_t offset);
int32_t log_epochs_own_last(const struct log_epochs *); /* [home] -1: none */
int32_t log_epochs_last(const struct log_epochs *); /* [any] -1: none */
void log_epochs_check(const struct log_epochs *);

#endif
