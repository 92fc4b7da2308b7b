/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages of a peer stream (design 6). All numbers are big-endian.
 *
 * A message:  length u32 (of what follows), kind u8, version u8, body. Both ends open with HELLO,
 * which is written in every version in the same way and may be longer than we know; the follower,
 * who connects, speaks first. The version of the stream is the highest that both ranges contain;
 * every later message carries it. Anything else is malformed, and the stream is closed.
 *
 *   follower -> leader   HELLO, SUBSCRIBE, ACK, UNSUBSCRIBE
 *   leader -> follower   HELLO, GRANTED, TRUNCATE, APPEND, BEAT, REFUSED
 *
 * A subscription's `tag` is the follower's name for it, `place` the leader's, and `number` says which of
 * the subscriptions that the leader ever granted there it is; each end finds it by its own name, and
 * compares the number. Credit is told as
 * the number of record bytes that the leader may have sent of this subscription since it was
 * granted; so a lost or doubled telling changes nothing.
 *
 * Nothing is allocated and nothing is believed: lists are bounded by the bytes that carry them, and
 * a length above the limit is refused before anything is kept.
 */
#ifndef TIDEMARK_REPLICA_PEER_H
#define TIDEMARK_REPLICA_PEER_H

#include <stdbool.h>
#include <stdint.h>

#include "tidemark/rope.h"
#include "tidemark/types.h"

enum peer_kind {
    PEER_HELLO = 1,
    PEER_SUBSCRIBE,
    PEER_TRUNCATE,
    PEER_GRANTED,
    PEER_APPEND,
    PEER_ACK,
    PEER_BEAT,
    PEER_UNSUBSCRIBE,
    PEER_REFUSED,
    PEER_KIND_COUNT
};

enum peer_limit {
    PEER_VERSION_MIN = 1, /* that this release speaks */
    PEER_VERSION_MAX = 1,
    PEER_LENGTH_BYTES = 4,
    PEER_HEAD = 6,              /* length, kind, version */
    PEER_HELLO_BYTES = 58,      /* body of version 1 */
    PEER_APPEND_BYTES = 57,     /* body in front of the records */
    PEER_ACK_BYTES = 36,        /* an entry */
    PEER_BEAT_BYTES = 36,       /* an entry */
    PEER_ENTRIES_MAX = 64,      /* of one ACK or BEAT */
    PEER_SMALL_MAX = PEER_HEAD + 16 + PEER_ENTRIES_MAX * PEER_ACK_BYTES, /* every message but APPEND */
    PEER_TAG_NONE = -1,         /* REFUSED: the stream itself */
    PEER_MAGIC = 0x54444d50,    /* "TDMP" */
};

struct peer_hello {
    uint8_t version_min, version_max;
    struct tide_uuid cluster_id;
    int32_t broker;
    struct tide_uuid incarnation;
    int64_t broker_epoch;
    uint16_t core_count;
    uint16_t core; /* that the sender's end of the stream lives on */
};

struct peer_subscribe {
    int32_t tag;
    struct tide_uuid topic_id;
    int32_t partition;
    int32_t leader_epoch; /* of the leader that is asked */
    int32_t last_epoch;   /* of the last batch of the follower's log; -1: the log is empty */
    int64_t log_end;
    uint64_t credit;
};

/* The logs agree up to `end_offset` at most: cut there, and subscribe again. `epoch`: the leader's
 * largest at or below the one that was asked with. With `skip` the leader has nothing before
 * `end_offset` any more, which is behind the follower's end: go on there, in `epoch`. */
struct peer_truncate {
    int32_t tag;
    int32_t leader_epoch;
    int32_t epoch;
    int64_t end_offset;
    bool skip;
};

struct peer_granted {
    int32_t tag;
    uint32_t place;
    uint32_t number;
    int32_t leader_epoch;
    int64_t log_end; /* the leader's */
    int64_t high_watermark;
    int64_t log_start;
};

struct peer_append {
    int32_t tag;
    uint32_t number;
    int32_t leader_epoch;
    int64_t base_offset; /* of the first record; with `compacted` at or above the follower's end */
    int64_t log_end;     /* the leader's, when it was sent */
    int64_t high_watermark;
    int64_t log_start;
    uint64_t sent_ns;    /* the leader's clock */
    bool compacted;      /* offsets may be missing before and between the batches */
    uint32_t bytes;      /* of whole batches, which follow */
};

struct peer_ack {
    uint32_t place;
    uint32_t number;
    int32_t leader_epoch;
    int64_t log_end;
    int64_t durable_end;
    uint64_t credit;
};

struct peer_beat {
    int32_t tag;
    uint32_t number;
    int32_t leader_epoch;
    int64_t log_end;
    int64_t high_watermark;
    int64_t log_start;
};

struct peer_refused {
    int32_t tag;   /* PEER_TAG_NONE: the stream */
    int16_t error; /* Kafka's */
    int32_t leader_epoch; /* the refusing broker's, -1 */
};

struct peer_message {
    enum peer_kind kind;
    uint8_t version;
    union {
        struct peer_hello hello;
        struct peer_subscribe subscribe;
        struct peer_truncate truncate;
        struct peer_granted granted;
        struct peer_append append;
        struct {
            uint32_t place;
            uint32_t number;
        } unsubscribe;
        struct peer_refused refused;
        struct {
            uint32_t count;
        } ack;
        struct {
            uint64_t sent_ns;
            uint32_t count;
        } beat;
    };
    struct tide_slice rest; /* of APPEND the records, of ACK and BEAT the entries; borrowed */
};

/* Length of the message at the front of the rope, its length field included. 0: not known yet;
 * -1: longer than `limit`, or impossible. */
int64_t peer_front(const struct tide_rope *, uint32_t limit);
/* Reads one whole message. `version`: the stream's; 0: none is agreed on, only HELLO and REFUSED may
 * come. TIDE_BAD: malformed, of another version, or of an unknown kind. */
TIDE_MUST_USE enum tide_status peer_read(struct tide_slice message, uint8_t version, struct peer_message *ret);
/* The next entry of an ACK or a BEAT; false at the end. */
bool peer_next_ack(struct peer_message *, struct peer_ack *ret);
bool peer_next_beat(struct peer_message *, struct peer_beat *ret);
/* The highest version that both know; 0: there is none. */
uint8_t peer_version_of(const struct peer_hello *theirs, uint8_t version_min, uint8_t version_max);

/* Append the message behind `out`, densely, from `pool`. TIDE_FULL: nothing was written. `version`
 * of HELLO is ignored. */
TIDE_MUST_USE enum tide_status peer_put_hello(struct tide_rope *out, struct rte_mempool *pool, const struct peer_hello *);
TIDE_MUST_USE enum tide_status peer_put_subscribe(struct tide_rope *out, struct rte_mempool *pool, uint8_t version,
                                                  const struct peer_subscribe *);
TIDE_MUST_USE enum tide_status peer_put_truncate(struct tide_rope *out, struct rte_mempool *pool, uint8_t version,
                                                 const struct peer_truncate *);
TIDE_MUST_USE enum tide_status peer_put_granted(struct tide_rope *out, struct rte_mempool *pool, uint8_t version,
                                                const struct peer_granted *);
TIDE_MUST_USE enum tide_status peer_put_unsubscribe(struct tide_rope *out, struct rte_mempool *pool, uint8_t version, uint32_t place,
                                                    uint32_t number);
TIDE_MUST_USE enum tide_status peer_put_refused(struct tide_rope *out, struct rte_mempool *pool, uint8_t version,
                                                const struct peer_refused *);
/* At most PEER_ENTRIES_MAX entries; none is a sign of life. */
TIDE_MUST_USE enum tide_status peer_put_acks(struct tide_rope *out, struct rte_mempool *pool, uint8_t version,
                                             const struct peer_ack *, uint32_t count);
TIDE_MUST_USE enum tide_status peer_put_beats(struct tide_rope *out, struct rte_mempool *pool, uint8_t version, uint64_t sent_ns,
                                              const struct peer_beat *, uint32_t count);
/* `records` (append->bytes of them) are joined behind the head without a copy, and empty afterwards. */
TIDE_MUST_USE enum tide_status peer_put_append(struct tide_rope *out, struct rte_mempool *pool, uint8_t version,
                                               const struct peer_append *, struct tide_rope *records);

#endif
