/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small world that moves in fixed steps, and tells what happens in sentences.
 *
 * A story does something, lets time pass, and says what must have been told since the last time. The whole of the product
 * from the wire to the disk runs in it: cores of brokers (net, tcp, sessions, partitions, logs) over a wire that takes one
 * step, disks that take five, and clients on stacks of their own. Nothing is random: a story is told the same way each time.
 *
 * There is one topic of one partition, on all brokers of the story; the story itself plays the control thread. Brokers are
 * numbers from 1, clients are names. A sentence begins with the whole milliseconds that have passed; what belongs to one of
 * them stands in the order in which it happened:
 *
 *        0  ann sends red, green with acks=all
 *        0  broker 1 appends: its log ends at 2
 *        0  broker 1: its disk holds all below 2, committed is all below 2
 *        0  ann hears: red, green are at 0
 *
 * Owner: one thread. Everything that is wrong aborts with the sentences so far.
 */
#ifndef TIDEMARK_TESTS_STORY_H
#define TIDEMARK_TESTS_STORY_H

#include <stdbool.h>
#include <stdint.h>

enum {
    STORY_BROKERS_MAX = 3,
    STORY_CLIENTS_MAX = 4,
    STORY_STEP_NS = 100000, /* a frame arrives one step after it left */
    STORY_DISK_NS = 500000, /* a durable write */
    STORY_LAG_MS = 200,     /* replica.lag.time.max.ms */
    STORY_SIGN_MS = 300,    /* data.probe.timeout.ms */
};

struct story;

/* An empty world with so many brokers, none of which runs. */
struct story *story_begin(unsigned brokers);
/* Gives everything back; every buffer must be there again. */
void story_end(struct story *);

/* ---- brokers ---- */

/* The machine starts and control hears it: the log is opened, which is told. It leads nothing. */
void story_boots(struct story *, unsigned broker);
/* The power goes: memory is forgotten, and of the disk all that was not made durable. */
void story_loses_power(struct story *, unsigned broker);
/* No frame of it gets through, nor to it; control hears it all the same. */
void story_cuts_off(struct story *, unsigned broker);
/* One direction of its cable: nothing of it gets through; nothing gets through to it. */
void story_mutes(struct story *, unsigned broker);
void story_deafens(struct story *, unsigned broker);
void story_heals(struct story *, unsigned broker);
/* Whom it hears, and who has acknowledged something of it, as its core publishes that: in the last STORY_SIGN_MS. */
void story_says_whom_it_hears(struct story *, unsigned broker);

/* Where the time of the requests went that it has answered, as its histograms say: all of them together, and what took none is
 * not told. The stages of a request add up to its whole: that is looked at whenever a broker ends. */
void story_says_where_time_went(struct story *, unsigned broker);
/* Given nothing, its core comes to rest at once, whoever waits there: else it would never sleep. */
void story_rests(struct story *, unsigned broker);

/* ---- control ----
 * All brokers of the story are replicas, and in sync at first. A leader that wants another ISR gets it in the next step. */

/* It leads the next epoch. Who runs is told at once. */
void story_leads(struct story *, unsigned broker);
void story_nobody_leads(struct story *);
/* Control hears it no longer: it is out of sync unless it is the last one, its lease is over, and it is told nothing more
 * before it boots or is heard again. */
void story_fences(struct story *, unsigned broker);
void story_hears(struct story *, unsigned broker);
/* Of the topic, before the first broker boots: min.insync.replicas; and acknowledged when the memory has it, not the disk. */
void story_needs_in_sync(struct story *, int64_t replicas);
void story_memory_is_enough(struct story *);
/* replication.push=durable */
void story_pushes_what_is_durable(struct story *);

/* ---- clients ---- */

/* Connects, before the story's time begins to count. */
void story_client(struct story *, const char *name, unsigned broker);
/* Words are records; they travel as one batch. acks: 0, 1, -1 (all). */
void story_sends(struct story *, const char *name, int16_t acks, const char *words);
/* As an idempotent producer with this sequence number. */
void story_sends_numbered(struct story *, const char *name, int32_t sequence, const char *words);
/* Reads from `offset` on; with nothing there, for up to so long. */
void story_asks(struct story *, const char *name, int64_t offset, int32_t wait_ms);
void story_reconnects(struct story *, const char *name, unsigned broker);

/* ---- time and what is told ---- */

void story_passes(struct story *, double ms);
/* What was told since the last time, word for word. With TIDE_STORY_PRINT=1 it is printed instead, to be read. */
void story_told(struct story *, const char *sentences);

#endif
