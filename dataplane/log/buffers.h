/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory of one core's logs: tail buffers, read buffers, index chunks, and the external-buffer
 * mbufs ("views") through which bytes of the first two leave without a copy.
 *
 * Counting. A buffer's `refs` counts its user (the log it is attached to, or the read that took
 * it), every pin, and every view. Nobody waits for grace periods here: the memory of buffers is
 * never anything else, so a reader on another core may take a reference on whatever it finds in a
 * slot (log_buffer_try_ref, only from a count above zero) and then look whether the slot still
 * says the same (tail.h); when it does not, the reference is dropped again and no byte was used.
 * Whoever drops the last reference, on any thread, puts the buffer into its ring.
 *
 * Each view has a lease of its own as the shared info of its mbuf, since that info's count has
 * 16 bits and TCP multiplies it by its packets; the lease stands for one reference of the buffer.
 *
 * Owner: the core. [any] for dropping references.
 *
 * Invariants (log_core_check):
 *   B1  refs is 0 exactly while the buffer lies in its ring.
 *   B2  attached buffers are in the core's list, in the order they were attached.
 *   B3  every attached buffer has a log, and that log's slot names it.
 *   B4  a log stands in the line of its core at most once, and knows it.
 *
 * The line. A log that was refused a tail buffer stands in line, and while there is one only its first may take any: so
 * several that need them get them in turn, and one that needs two is not robbed of its first. The line moves when a write of
 * any log here is over or a buffer is in the ring, and once a millisecond, since a reader's reference goes without a sound. The
 * first one loses its place when it does not ask for so long although it could have: whoever wanted to append has gone.
 */
#ifndef TIDEMARK_LOG_BUFFERS_H
#define TIDEMARK_LOG_BUFFERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_ring.h>

#include "log/cache.h"
#include "log/log.h"
#include "tidemark/published.h"

enum log_buffer_limit {
    LOG_VIEW_BYTES = 61440,   /* of one view: an mbuf's length has 16 bits; whole blocks */
    LOG_VIEWS_PER_READ = 256, /* so one log_read returns at most 15 MiB */
    LOG_LINE_LOOK_MS = 1,
    LOG_LINE_PATIENCE_MS = 20, /* above the time between two tries of whoever appends */
};

struct log_buffer {
    _Atomic uint32_t refs;
    uint32_t size;
    uint8_t *base;
    uint64_t iova;
    struct rte_ring *home;

    /* tail buffers, while attached; owned by the core */
    struct log *log;
    uint32_t slot;
    TAILQ_ENTRY(log_buffer) link; /* of read buffers: in the cache */

    struct log_cached cached; /* of read buffers; owned by the core */
};

struct log_lease {
    struct rte_mbuf_ext_shared_info shared;
    struct log_buffer *buffer;
    struct rte_mempool *pool;
};

struct log_core {
    struct log_core_config config;
    struct log_buffer *tails;
    struct log_buffer *reads;
    uint8_t *tail_memory;
    uint8_t *read_memory;
    uint8_t *chunk_memory;
    struct rte_ring *free_tails;
    struct rte_ring *free_reads;
    struct rte_ring *free_chunks;
    struct rte_mempool *views;
    struct rte_mempool *leases;
    struct log_buffer_list attached; /* oldest first */
    uint32_t attached_count;
    uint32_t reserve; /* tail buffers that readers may not hold */
    uint64_t batch_bytes_max; /* what the buffers and views can hold of one batch; constant */
    uint32_t read_generation;
    uint32_t write_generation; /* of all logs: one that is opened again has its slot, and must not begin anew */
    struct log_cache cache;
    struct tide_time time; /* of the turn, for the stages */
    struct tide_histogram stages[LOG_STAGE_COUNT];
    uint64_t served; /* bytes from the disk that were answered in this turn */

    TAILQ_HEAD(log_line, log) line;
    bool line_moves;       /* a write was over since its first was refused */
    uint64_t line_look_ns; /* or it is that late */

    bool compacting; /* one log at a time */
    bool compact_every_producer;
    uint32_t compact_producer_count;
    int64_t compact_producers[LOG_COMPACT_PRODUCERS];

    /* Not 0: readers take no new pins, because the free tail buffers fell below the reserve; they
     * read from the disk. A stale 0 lets a reader pin one buffer more; a stale 1 sends a read to
     * the disk that could have been served from memory. */
    struct tide_pub64 pins_stopped;
};

/* [core] A read buffer with one reference, the caller's; if none is free, one that only the cache has.
 * NULL: all are in use. */
struct log_buffer *log_read_buffer_take(struct log_core *);

/* [any] A reference more, unless the count is 0. */
bool log_buffer_try_ref(struct log_buffer *);
/* [any] Gives one back. */
void log_buffer_drop(struct log_buffer *);

/* [core] A tail buffer from the ring for `log`; the oldest written buffer of any log of this core
 * is taken back when the ring falls below the reserve. NULL when there is none. `keep`: its
 * windows at or above its append position stay. The caller sets slot fields and attaches. */
struct log_buffer *log_tail_buffer_take(struct log_core *, const struct log *keep);
void log_tail_buffer_attach(struct log_core *, struct log_buffer *, struct log *, uint32_t slot);
/* [core] Out of the list; drops the log's reference. */
void log_tail_buffer_detach(struct log_core *, struct log_buffer *);
/* [core] May this log take a tail buffer now? */
bool log_line_admits(struct log_core *, const struct log *);
void log_line_join(struct log_core *, struct log *); /* [core] it was refused one */
void log_line_move(struct log_core *);               /* [core] one may be there */
/* [core] Re-evaluates pins_stopped. */
void log_core_relax(struct log_core *);

/* One run of bytes to be viewed. The caller holds a reference on `buffer` during the call. */
struct log_run {
    struct log_buffer *buffer;
    uint32_t offset;
    uint32_t len;
};
/* [core] Appends views of all runs to `rope`, or of none (TIDE_FULL). */
enum tide_status log_views_push(struct log_core *, const struct log_run *runs, unsigned count,
                                struct tide_rope *rope);

void log_core_check(const struct log_core *);

/* Free objects of each pool. [any] */
struct log_core_free {
    uint32_t tails;
    uint32_t reads; /* those that only the cache has among them */
    uint32_t chunks;
    uint32_t views;
    uint32_t leases;
};
struct log_core_free log_core_free_now(const struct log_core *);

#endif
