/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two ends of a peer stream (design 6), without the connection that carries them: bytes come in
 * as a rope and leave as a rope.
 *
 *   struct stream   either end: handshake, messages cut out of the bytes, whether the peer lives
 *   struct feed     the leader's side of one subscription: what to send next, and how much may be sent
 *   struct intake   the follower's side of one: what arrived and waits, how much more may come
 *
 *   GREETING -> OPEN     stream_accept: the peer is who the view says it is
 *   GREETING, OPEN -> CLOSED   malformed bytes, a stranger, silence, or the connection is gone
 *
 * The follower connects and speaks first; the leader answers with a HELLO of its own or with REFUSED.
 * Nothing but that is taken before OPEN.
 *
 * Timers (stream_deadline_ns): GREETING ends after timeout_ms; OPEN ends when nothing was heard for so
 * long; the leader's end says at least an empty BEAT every beat_ms, and the follower answers each
 * with an ACK, so both always hear something.
 *
 * Owner: the core on which the connection lives.
 *
 * Invariants (stream_check):
 *   S1  only an open stream has a version.
 *   S2  a message that was taken for whole is whole.
 *   F1  next_offset only rises.
 *   I1  what an intake holds back is densely copied: no receive buffer waits (design 10).
 */
#ifndef TIDEMARK_REPLICA_STREAM_H
#define TIDEMARK_REPLICA_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "log/log.h"
#include "replica/peer.h"

enum stream_end { STREAM_FOLLOWER, STREAM_LEADER };
enum stream_state { STREAM_GREETING, STREAM_OPEN, STREAM_CLOSED, STREAM_STATE_COUNT };

enum stream_limit {
    STREAM_DENSE_ABOVE = 64 * 1024, /* a partial message above this leaves the receive buffers */
    STREAM_PUSH_BYTES = 256 * 1024, /* of one subscription at a time: then the next one has its turn */
};

struct stream_config {
    enum stream_end end;
    uint32_t message_max;  /* bytes of one message: the largest batch, and a head */
    uint32_t timeout_ms;
    uint32_t beat_ms;
    struct rte_mempool *pool;       /* small blocks: heads of messages and small ones */
    struct rte_mempool *dense_pool; /* for partial messages that are long */
};

struct stream {
    struct stream_config config;
    enum stream_state state;
    uint8_t version;           /* 0 until OPEN */
    bool greeted;              /* our HELLO has left */
    bool heard_hello;          /* theirs is in `theirs` */
    struct peer_hello ours, theirs;
    struct tide_rope in, out;
    uint32_t taken;            /* bytes of the message that stream_next gave last */
    uint64_t heard_ns;         /* when bytes came in last */
    uint64_t beat_ns;          /* leader: when the next BEAT is due */
};

/* The follower's end says HELLO at once; TIDE_FULL: the pool is empty, and nothing was begun. */
TIDE_MUST_USE enum tide_status stream_init(struct stream *, uint64_t now_ns, const struct stream_config *, const struct peer_hello *ours);
/* Gives back what it holds. */
void stream_deinit(struct stream *);
/* Takes all of the rope. `receive_low`: receive buffers are scarce, a partial message leaves them now. */
void stream_on_bytes(struct stream *, uint64_t now_ns, struct tide_rope *, bool receive_low);

enum stream_step {
    STREAM_STEP_MORE,    /* no whole message is there */
    STREAM_STEP_MESSAGE, /* one is in *ret, valid until the next call */
    STREAM_STEP_BAD,     /* malformed: the stream is CLOSED */
};
enum stream_step stream_next(struct stream *, struct peer_message *ret);
/* The bytes of the message that stream_next gave last, as they came. */
struct tide_slice stream_message_bytes(const struct stream *);
/* The owner found the peer of the HELLO to be who it says: OPEN, and the leader's end answers with its
 * own. TIDE_REFUSED: no version in common. TIDE_FULL: the pool is empty; try again later. */
TIDE_MUST_USE enum tide_status stream_accept(struct stream *, uint64_t now_ns);
/* Says why, if there is room, and closes. */
void stream_refuse(struct stream *, int16_t error);
void stream_close(struct stream *);
/* Nobody has been heard for too long. */
bool stream_is_silent(const struct stream *, uint64_t now_ns);
uint64_t stream_deadline_ns(const struct stream *);
void stream_check(const struct stream *);

/* ---- the leader's side ------------------------------------------------------------------------- */

/* The marks of the partition that is fed, read before the push. */
struct feed_marks {
    int64_t log_end;
    int64_t push_end; /* what is sent ends there: log_end, or what the leader's disk holds */
    int64_t high_watermark;
    int64_t log_start;
};

struct feed {
    int32_t tag;
    uint32_t number;
    int32_t leader_epoch;
    struct log *log;
    int64_t next_offset;
    int64_t told_high_watermark;
    int64_t told_log_start;
    bool reading;            /* a disk read is out */
    bool began;              /* read holds something, or is out */
    struct log_read read;
};

void feed_init(struct feed *, struct log *, int32_t tag, uint32_t number, int32_t leader_epoch, int64_t next_offset);

enum feed_result {
    FEED_SENT,    /* an APPEND stands in the stream's output; there may be more */
    FEED_IDLE,    /* the follower has been sent everything */
    FEED_STARVED, /* no credit */
    FEED_WAITS,   /* a pool is empty, or what is wanted is on the disk and `may_read_disk` is false */
    FEED_READING, /* a disk read is out: feed_on_disk */
    FEED_LOST,    /* the log starts behind what the follower needs */
    FEED_ROTTEN,  /* what is there is not what was written */
    FEED_FAILED,  /* the log cannot be read there */
    FEED_RESULT_COUNT
};
/* What goes to followers by way of the disk now. */
struct feed_disk_use {
    uint32_t reads, reads_max;   /* of the core, under way */
    uint32_t queued, queued_max; /* bytes that wait in the stream */
};
/* Reads from the disk leave room in the stream for what is pushed from memory. Where the high watermark waits for the follower
 * they do not: others of the same stream, which are in memory, would keep it from catching up for as long as they are busy. */
bool feed_may_read_disk(const struct feed_disk_use *, bool waited_for);
/* Sends the next batches: from memory, or, if `may_read_disk`, by a disk read with the caller's slot.
 * `room`: bytes that the follower takes (subscription_room); the last batch may go beyond it. */
enum feed_result feed_push(struct feed *, struct stream *, uint64_t now_ns, const struct feed_marks *, uint64_t room, struct log_core *,
                           uint32_t read_slot, bool may_read_disk, struct tide_out *, struct peer_append *ret_sent);
void feed_on_disk(struct feed *, const struct disk_done *);
/* Gives back what it holds. Not while a disk read is out. */
void feed_deinit(struct feed *, struct log_core *);
/* What a BEAT says of it. */
void feed_beat(struct feed *, const struct feed_marks *, struct peer_beat *ret);

/* ---- the follower's side ----------------------------------------------------------------------- */

struct intake {
    uint32_t place;
    uint32_t number;
    int32_t leader_epoch;
    uint64_t window;        /* bytes that may be under way */
    uint64_t taken;         /* record bytes applied or dropped since the grant */
    struct tide_rope waiting; /* whole APPEND messages, densely copied, in order */
    uint32_t applied;       /* record bytes of the first of them that are applied */
    uint64_t told_credit;
};

void intake_init(struct intake *, const struct peer_granted *, uint64_t window);
void intake_deinit(struct intake *);
/* The message cannot be applied now: its bytes are kept, densely. TIDE_FULL: no memory; the caller gives
 * the subscription up and asks again later. */
TIDE_MUST_USE enum tide_status intake_hold(struct intake *, struct rte_mempool *dense_pool, struct tide_slice message);
/* The first message that waits; false when none does. */
bool intake_waiting(const struct intake *, uint8_t version, struct peer_message *ret);
/* It was applied (or is given up): its bytes go. */
void intake_drop(struct intake *, const struct peer_message *);
/* So many record bytes are done with: the leader may send as many more. */
void intake_on_taken(struct intake *, uint32_t bytes);
/* What may have been sent since the grant, when all that is taken counts. */
uint64_t intake_credit(const struct intake *);
/* Much of the window is used up: worth an ACK although no end moved. */
bool intake_credit_is_due(const struct intake *);
void intake_credit_told(struct intake *, uint64_t credit);

#endif
