/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A core's disk: io_uring. The only caller of liburing, and the one place where a core waits.
 *
 * Owner: the thread that created it (SINGLE_ISSUER); every call below is its.
 *
 * One submit per turn: disk_queue only fills entries, disk_turn and disk_wait submit. Each id that
 * was queued comes back exactly once. Results are reported as the kernel gave them: short and
 * failed ones are the owner's to judge.
 *
 * What the ring is made of is chosen at the start from what the kernel takes, the best first, and can
 * be held down by settings to measure what each choice is worth. Polled completions want a second
 * ring, since nothing else may be waited for on a polled one, nor a file be written through the page cache; while operations
 * are in flight disk_wait does not block then.
 *
 * Files are not registered. Helpers open and close them, and a number that was closed may come back
 * for another file while the ring's table still leads to the old one: a write into the wrong segment
 * is no price for saving a reference count.
 */
#ifndef TIDEMARK_DISK_DISK_H
#define TIDEMARK_DISK_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark/disk_op.h"

enum { DISK_REGIONS_MAX = 4, DISK_WATCHES_MAX = 16 };

struct disk_region {
    void *base;
    size_t len;
};

enum disk_task_run { DISK_TASK_RUN_AUTO, DISK_TASK_RUN_DEFERRED, DISK_TASK_RUN_COOPERATIVE, DISK_TASK_RUN_PLAIN };

struct disk_config {
    unsigned entries;
    enum disk_task_run task_run; /* AUTO: the first of the others that the kernel takes */
    bool plain_buffers;          /* do not register them */
    bool polled;                 /* the devices of all files have poll queues */
    unsigned region_count;
    struct disk_region regions[DISK_REGIONS_MAX]; /* registered with the kernel where it allows */
};

struct disk;

/* Does the device that holds this path have queues whose completions can be polled? */
bool disk_can_poll(const char *path);

/* NULL when there is no io_uring. `text` gets what was chosen, for the start-up log. */
struct disk *disk_create(const struct disk_config *, char *text, size_t size);
void disk_destroy(struct disk *);

/* TIDE_FULL: the ring has no room for all of them; nothing was queued. */
TIDE_MUST_USE enum tide_status disk_queue(struct disk *, const struct disk_op *ops, unsigned count);
/* Submits what is queued and takes completions; no system call when there is nothing to do. */
unsigned disk_turn(struct disk *, struct disk_done *done, unsigned max);
/* From now on disk_wait ends when `fd` becomes readable. tag < 32. */
void disk_watch(struct disk *, int fd, uint32_t tag);
/* Submits, and blocks until a completion, a watched descriptor or the timeout. *ret_tags gets a
 * bit for each watch that fired. */
unsigned disk_wait(struct disk *, uint64_t timeout_ns, struct disk_done *done, unsigned max, uint32_t *ret_tags);
unsigned disk_in_flight(const struct disk *);

/* Since the start. */
struct disk_counts {
    uint64_t submits; /* enters that had something to submit */
    uint64_t enters;  /* io_uring_enter; at most one a turn or wait */
};
struct disk_counts disk_counts(const struct disk *);

#endif
