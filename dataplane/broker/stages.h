/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the time of a request goes, always on.
 *
 * A produce request collects stamps on its road; each stage is the time between two neighbours, so the stages of a request
 * add up to its whole. They are counted together, when the request is over: with acks=0 that is its append, else the
 * moment when the last byte of its response was given to the port. A request that failed, or whose connection went, counts nowhere.
 *
 *   RECEIVED     the frame which made the request whole arrived, by the port's stamp (arrival.h); without one, the turn began that
 *                took it off the port (of a frame that a sibling core received: that took it out of the sibling's ring), and how
 *                long it lay in the port's ring before is not known.
 *                Of bytes that came in several turns before they were read: the first of them
 *   HANDED       TCP had handed the bytes to the session                                          -> tcp
 *   TAKEN        the request was looked at: those before it in the same bytes are executed,
 *                and there is room for it                                                         -> queue
 *   PARSED       it is whole and well-formed, and laid out                                        -> parse
 *   AT_HOME      the home core took the letter; here: nothing                                     -> home
 *   APPENDED     the batch is in the tail of its log, helpers' looks at compressed ones included  -> append
 *   REACHED      the mark was reached that acks names, and its waiter saw it                      -> watermark
 *   EMITTED      the response is written and its turn has come on the connection                  -> respond
 *   TRANSMITTED  TCP has made a packet of its last byte, and it goes to the port with this turn   -> transmit
 *
 * With several partitions the slowest counts at each stamp. With acks=1 and ack.durability=memory the mark is reached by the append.
 * Requests that came in one frame count each, all from that frame on. What `watermark` waits for runs side by side, and is counted
 * where it happens: writes in the log (enum log_stage), and per follower
 *
 *   send         the stream's core learned of new bytes -> they are written to the stream
 *   acknowledge  ... -> the follower's counted end has reached them
 *
 * of each message; one that has STAGE_FEED_TIMES unacknowledged before it has no `acknowledge`. A core that feeds more brokers than
 * there are places has the others in the last one together.
 *
 * The clock is read (clock.h) once where bytes are handed over, and once at each later stamp of a request; requests that are
 * emitted together, and all that are transmitted in a turn, share one look.
 *
 * Owner: the core; histograms may be read by any thread.
 *
 * Invariants (stages_check):
 *   T1  an unsent response is in one session's list, or free.
 *   T2  a session with unsent responses is listed for a look, in this turn or the next.
 */
#ifndef TIDEMARK_BROKER_STAGES_H
#define TIDEMARK_BROKER_STAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "tidemark/histogram.h"
#include "tidemark/published.h"
#include "tidemark/types.h"

enum stage_stamp {
    STAMP_RECEIVED,
    STAMP_HANDED,
    STAMP_TAKEN,
    STAMP_PARSED,
    STAMP_AT_HOME,
    STAMP_APPENDED,
    STAMP_REACHED,
    STAMP_EMITTED,
    STAMP_TRANSMITTED,
    STAMP_COUNT
};

enum broker_stage {
    STAGE_TCP, /* from here in the order of the stamps: stage i ends with stamp i + 1 */
    STAGE_QUEUE,
    STAGE_PARSE,
    STAGE_HOME,
    STAGE_APPEND,
    STAGE_WATERMARK,
    STAGE_RESPOND,
    STAGE_TRANSMIT,
    STAGE_PRODUCE, /* all of them together */
    STAGE_FETCH,   /* a Fetch from RECEIVED to TRANSMITTED, waiting included */
    STAGE_DISK_WAIT, /* of a log's writes: the oldest batch of it was appended -> the write began */
    STAGE_DISK,      /* ... -> it is done */
    STAGE_COUNT
};
static_assert((int)STAGE_PRODUCE == (int)STAMP_TRANSMITTED, "a stage for each stamp but the first");
extern const char *const tide_stage_names[STAGE_COUNT];

enum stage_limit { STAGE_FOLLOWERS_MAX = 8, STAGE_ARRIVALS = 8, STAGE_FEED_TIMES = 4 };

struct stage_follower {
    struct tide_pub64 broker; /* the id as 32 bits, + 1; 0: free. An old 0 hides a follower that is new */
    struct tide_histogram send, acknowledge;
};

struct stages {
    struct tide_histogram of[STAGE_DISK_WAIT];
    struct stage_follower followers[STAGE_FOLLOWERS_MAX];
};

/* Bytes of a session by when they came. Full, the last place takes what comes as well, with its older times. */
struct stage_arrivals {
    uint64_t came, taken; /* bytes: all, and those of requests that were executed */
    uint32_t first, count;
    struct stage_arrival {
        uint64_t end; /* of `came` */
        uint64_t received_ns, handed_ns;
    } of[STAGE_ARRIVALS];
};
static inline void stage_arrived(struct stage_arrivals *a, uint32_t bytes, uint64_t received_ns, uint64_t handed_ns)
{
    a->came += bytes;
    if (a->count == STAGE_ARRIVALS) {
        a->of[(a->first + a->count - 1) % STAGE_ARRIVALS].end = a->came;
        return;
    }
    a->of[(a->first + a->count++) % STAGE_ARRIVALS] = (struct stage_arrival){a->came, received_ns, handed_ns};
}

/* The stamps of the request that ends `bytes` behind the last one that was executed. */
static inline void stage_begin(struct stage_arrivals *a, uint32_t bytes, uint64_t stamps[STAMP_COUNT])
{
    while (a->count != 0 && a->of[a->first].end < a->taken + bytes) {
        a->first = (a->first + 1) % STAGE_ARRIVALS;
        a->count--;
    }
    if (a->count == 0)
        return; /* only when it was told of fewer bytes than came */
    stamps[STAMP_RECEIVED] = a->of[a->first].received_ns;
    stamps[STAMP_HANDED] = a->of[a->first].handed_ns;
}

/* It was executed. */
static inline void stage_taken(struct stage_arrivals *a, uint32_t bytes)
{
    a->taken += bytes;
    if (a->taken == a->came)
        a->count = 0;
}

/* The request is over, with stamps as far as `last`. Stamps that were not set are those before them. */
void stages_count(struct stages *, const uint64_t stamps[STAMP_COUNT], enum stage_stamp last);
/* Sets those that were not. */
void stages_order(uint64_t stamps[STAMP_COUNT], enum stage_stamp last);
void stages_count_fetch(struct stages *, const uint64_t stamps[STAMP_COUNT]);

static inline void stage_reach(uint64_t stamps[STAMP_COUNT], enum stage_stamp at, uint64_t now_ns)
{
    stamps[at] = TIDE_MAX(stamps[at], now_ns);
}

/* The place of a follower: its own, or that of all others (id -1). */
struct stage_follower *stages_follower(struct stages *, int32_t broker);

/* Messages to one follower that it has not acknowledged. */
struct stage_feed {
    uint64_t moved_ns; /* new bytes wait since then; 0: none do */
    uint32_t first, count;
    struct {
        int64_t end;
        uint64_t sent_ns;
    } of[STAGE_FEED_TIMES];
};
/* There are bytes that the stream has not got. */
void stage_feed_moved(struct stage_feed *, uint64_t now_ns);
/* A message left that ends at `end`; `all`: nothing more waits. */
void stage_feed_sent(struct stage_feed *, struct stage_follower *, uint64_t now_ns, int64_t end, bool all);
void stage_feed_acknowledged(struct stage_feed *, struct stage_follower *, uint64_t now_ns, int64_t end);

#endif
