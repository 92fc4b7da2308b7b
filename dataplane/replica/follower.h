/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One partition's side of following: from a role to a log that agrees with the leader's and grows
 * with it.
 *
 *   IDLE         follows nobody, or has no stream to its leader, or waits before it asks again
 *   SUBSCRIBING  SUBSCRIBE is out. The log does not change
 *   TRUNCATING   the leader said where the logs part, or that it has nothing any more before a
 *                later offset: our log is being cut, or goes on there. Then SUBSCRIBE again
 *   STREAMING    the logs agree up to our end: APPENDs are taken, and only now the leader's high
 *                watermark is (KAFKA-14704). Everything is acknowledged under the subscription's
 *                number
 *   FAILED       the log failed, or the leader wanted what it must not want: control is told, and
 *                opens the replica anew
 *
 *   IDLE -> SUBSCRIBING        follower_subscribe
 *   SUBSCRIBING -> STREAMING   follower_on_answer: granted
 *   SUBSCRIBING -> TRUNCATING  follower_on_answer: to be cut, or to go on elsewhere
 *   TRUNCATING -> IDLE         follower_on_settled: it is durable; it asks again at once
 *   SUBSCRIBING, TRUNCATING, STREAMING -> IDLE   another role, the stream is gone, an error, a gap
 *   any -> FAILED
 *
 * Where to cut (KIP-101, KIP-279): the leader names the largest epoch it has at or below our last
 * one, and where that ends at its place. We take the largest epoch that we have at or below the
 * leader's: if it is the same, the logs agree up to the smaller of the two ends; if it is a smaller
 * one, up to where ours ends at the most, and the next round tells. Each round cuts, or lowers the
 * epoch that is asked about, so there are at most as many as there are epochs.
 *
 * A cut below our own high watermark would take back what was committed. It is refused, unless an
 * epoch behind the one that is cut to began uncleanly.
 *
 * Every SUBSCRIBE has an attempt number, and an answer is taken only for the last one.
 *
 * Timers: after an error the next SUBSCRIBE is sent at now + retry.
 *
 * Owner: the home core of the partition.
 *
 * Invariants (follower_check):
 *   F1  a subscription number stands exactly in STREAMING.
 *   F2  what was acknowledged never exceeds what the log had.
 */
#ifndef TIDEMARK_REPLICA_FOLLOWER_H
#define TIDEMARK_REPLICA_FOLLOWER_H

#include <stdbool.h>
#include <stdint.h>

#include "tidemark/types.h"

enum follower_state { FOLLOWER_IDLE, FOLLOWER_SUBSCRIBING, FOLLOWER_TRUNCATING, FOLLOWER_STREAMING, FOLLOWER_FAILED, FOLLOWER_STATE_COUNT };

struct follower {
    enum follower_state state;
    bool has_stream;
    int32_t leader;        /* broker id; -1: nobody */
    int32_t leader_epoch;
    int32_t unclean_epoch; /* the newest leader epoch that began uncleanly, -1: none */
    uint32_t attempt;      /* of the last SUBSCRIBE */
    uint32_t subscription; /* 0: none */
    bool ack_due;
    bool skips;            /* TRUNCATING: the log goes on at `settle_to`, else it is cut there */
    int64_t settle_to;
    int32_t settle_epoch;
    int64_t asked_log_end;
    int64_t acked_log_end;
    int64_t acked_durable_end;
    uint64_t ask_at_ns;
    uint64_t retry_ns;
};

/* What the log says, at the moment of the call. */
struct follower_log {
    int32_t last_epoch; /* log_last_batch_epoch */
    int64_t log_start;
    int64_t log_end;
    int64_t durable_end;
    int64_t high_watermark;
};

struct follower_subscribe {
    uint32_t attempt;
    int32_t leader_epoch;
    int32_t last_epoch;
    int64_t log_end;
};

struct follower_answer {
    uint32_t attempt;
    int32_t leader_epoch;
    int16_t error;
    bool truncate;
    int32_t truncate_epoch;
    int64_t truncate_end;
    bool skip;
    int64_t skip_to;
    int32_t skip_epoch;
    uint32_t subscription;
};

struct follower_ack {
    uint32_t subscription;
    int32_t leader_epoch;
    int64_t log_end;
    int64_t durable_end;
};

void follower_init(struct follower *, uint64_t retry_ns);
/* partition_become adopted a role in which we follow `leader` (-1: nobody yet). A subscription of an
 * earlier leader epoch is over. */
void follower_become(struct follower *, uint64_t now_ns, int32_t leader, int32_t leader_epoch, int32_t unclean_epoch);
/* We lead, or let go of the partition. */
void follower_resign(struct follower *);
/* The stream to the leader can carry messages / is gone. */
void follower_on_stream(struct follower *, uint64_t now_ns, bool up);

/* Is SUBSCRIBE due? Then follower_subscribe fills it in, and it is sent. */
bool follower_wants_subscribe(const struct follower *, uint64_t now_ns);
void follower_subscribe(struct follower *, const struct follower_log *, struct follower_subscribe *ret);

enum follower_verdict {
    FOLLOWER_IGNORE,  /* of another attempt, subscription or epoch */
    FOLLOWER_TAKE,    /* an answer: granted. An APPEND: append it */
    FOLLOWER_SETTLE,  /* an answer: cut or go on elsewhere (settle_to), then follower_on_settled */
    FOLLOWER_RESTART, /* it asks again, later or at once */
    FOLLOWER_FAIL,    /* FAILED: control is to be told */
    FOLLOWER_VERDICT_COUNT
};
/* own_epoch, own_end: log_end_for_epoch(truncate_epoch) of our log. */
enum follower_verdict follower_on_answer(struct follower *, uint64_t now_ns, const struct follower_answer *, const struct follower_log *,
                                         int32_t own_epoch, int64_t own_end);
/* partition_truncate or partition_skip said TIDE_OK (ok), or something else than TIDE_AGAIN. */
void follower_on_settled(struct follower *, uint64_t now_ns, bool ok);

/* An APPEND (len > 0) or a BEAT: what is to be done with it. `compacted`: offsets may be missing before
 * and between its batches. */
enum follower_verdict follower_on_append(struct follower *, uint64_t now_ns, uint32_t subscription, int32_t leader_epoch,
                                         int64_t base_offset, uint32_t len, bool compacted, const struct follower_log *);
/* The bytes could not be batches that follow (TIDE_BAD): the subscription is given up. */
void follower_on_bad(struct follower *, uint64_t now_ns);
/* The log is FAILED. */
void follower_on_failed(struct follower *);

/* Something to acknowledge? Then *ret is sent (the credit that goes with it
 * is the stream's). A BEAT is always answered. */
bool follower_ack(struct follower *, const struct follower_log *, struct follower_ack *ret);
uint64_t follower_deadline_ns(const struct follower *); /* TIDE_NEVER: none */
void follower_check(const struct follower *, const struct follower_log *);

#endif
