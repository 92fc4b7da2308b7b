/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One follower's subscription to one partition, as the core of its stream serves it.
 *
 * Owner: the core of the stream, from the grant of the home core (leader.h) to the answer that it is
 * closed. Meanwhile that core is the only writer of the follower's words in the watermark.
 *
 * A follower is caught up as of the newest (send time, log end of the leader) of an APPEND or BEAT
 * that its counted end has reached when it acknowledges. Two of those pairs are enough: the oldest
 * that it has not reached, and the newest; when the oldest is reached the newest takes its place.
 *
 * Credit counts bytes of the subscription since its grant on both sides, so that a message which is
 * lost or comes twice changes nothing: the follower says up to which byte it takes.
 *
 * Invariants (subscription_check):
 *   B1  closed, it has written its last word.
 *   B2  oldest.log_end <= newest.log_end, and neither is younger than the other the wrong way round.
 */
#ifndef TIDEMARK_REPLICA_SUBSCRIPTION_H
#define TIDEMARK_REPLICA_SUBSCRIPTION_H

#include <stdbool.h>
#include <stdint.h>

#include "partition/watermark.h"

/* What a follower says it holds. */
struct subscription_ack {
    uint32_t subscription;
    int32_t leader_epoch;
    int64_t broker_epoch; /* of the stream that it came in on */
    int64_t log_end;
    int64_t durable_end;
    uint64_t credit;      /* it takes bytes up to this count */
};

struct subscription_pair {
    uint64_t sent_ns;
    int64_t log_end;
};

struct subscription {
    struct watermark *marks;
    bool open;
    uint32_t replica; /* number among the members */
    uint32_t number;  /* that APPEND, BEAT and ACK carry */
    int32_t leader_epoch;
    int64_t broker_epoch;
    uint64_t sent_bytes;
    uint64_t credit;
    uint32_t pair_count; /* 0, 1: newest only, 2 */
    struct subscription_pair oldest;
    struct subscription_pair newest;
};

enum subscription_verdict {
    SUBSCRIPTION_OLD,   /* of another subscription, epoch or incarnation, or nothing new: dropped */
    SUBSCRIPTION_MOVED, /* the home core is to look (post_ring) */
    SUBSCRIPTION_WRONG, /* it holds what the leader does not: close the stream */
    SUBSCRIPTION_VERDICT_COUNT
};

/* The home core granted it. */
void subscription_open(struct subscription *, struct watermark *marks, uint32_t replica, uint32_t number, int32_t leader_epoch,
                       int64_t broker_epoch, uint64_t credit);
/* An APPEND or BEAT leaves, `bytes` of batches in it; the leader's log ended at `log_end` when it was
 * made. */
void subscription_on_sent(struct subscription *, uint64_t now_ns, int64_t log_end, uint32_t bytes);
enum subscription_verdict subscription_on_ack(struct subscription *, const struct subscription_ack *);
/* Bytes that may be sent now. */
uint64_t subscription_room(const struct subscription *);
/* Before the home core is told that it is closed, and when the stream is gone. */
void subscription_close(struct subscription *);
void subscription_check(const struct subscription *);

#endif
