/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cache of on-link neighbours, one for both families: what ARP (RFC 826) and neighbour discovery (RFC 4861) taught.
 *
 * Owner: the core that owns the struct net around it. It knows no packets: what is to be asked comes back as a
 * neighbour_ask, and net puts it into ARP or a solicitation.
 *
 *              neighbour_resolve          neighbour_learn
 *          FREE ──────────────> RESOLVING ──────────────> REACHABLE
 *           ^  ^                    │                      │     ^
 *           │  └── no answer ───────┘      used when old   │     │ neighbour_learn
 *           │      (pending freed)   (neighbour_resolve)   v     │
 *           └───────── no answer ───────────────────── REFRESHING┘
 *   FREE -> REACHABLE directly when a neighbour speaks to us first; REACHABLE -> FREE when its
 *   place is needed. In REACHABLE and REFRESHING the mac may be used, in the others it may not.
 *   RFC 4861's STALE is REACHABLE with an old confirmed_ns, its DELAY and PROBE are REFRESHING.
 *
 * Timers: a request is repeated every NEIGHBOUR_RETRY_NS (RFC 1122 2.3.2.1: at most one a second and destination;
 * RFC 4861 10: RETRANS_TIMER), NEIGHBOUR_TRIES times in all (MAX_MULTICAST_SOLICIT); an entry not confirmed for
 * NEIGHBOUR_FRESH_NS is asked for again when it is next used, first by unicast, and is used meanwhile. Entries out of
 * use need no timer: they go when the table is full.
 *
 * Invariants (neighbour_check):
 *   A1  every entry that is not FREE is in the chain of its bucket exactly once; FREE ones are in
 *       the free list.
 *   A2  packets wait only at a RESOLVING entry, at most NEIGHBOUR_PENDING_EACH, and pending_used is
 *       their sum.
 *   A3  deadline_ns of the cache is not later than that of any RESOLVING or REFRESHING entry.
 *   A4  while `generation` stands no known entry loses its place or changes its mac: both may be remembered.
 */
#ifndef TIDEMARK_NET_NEIGHBOUR_H
#define TIDEMARK_NET_NEIGHBOUR_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include <rte_ether.h>
#include <rte_mbuf.h>

#include "tidemark/status.h"
#include "tidemark/types.h"

enum neighbour_limit {
    NEIGHBOURS = 1024,
    NEIGHBOUR_BUCKETS = 1024,
    NEIGHBOUR_PENDING_EACH = 8, /* packets that wait for one neighbour */
    NEIGHBOUR_PENDING = 64,     /* and for all of them */
    NEIGHBOUR_TRIES = 3,
    NEIGHBOUR_ASKS = 32, /* requests that one neighbour_on_time may ask for */
    NEIGHBOUR_EVICT_SCAN = 16,
    NEIGHBOUR_NONE = 0xffff,
};
#define NEIGHBOUR_RETRY_NS (1 * TIDE_NS_PER_S)
#define NEIGHBOUR_FRESH_NS (60 * TIDE_NS_PER_S)

static_assert(NEIGHBOURS < NEIGHBOUR_NONE, "an index is never the mark of no index");
static_assert((NEIGHBOUR_BUCKETS & (NEIGHBOUR_BUCKETS - 1)) == 0, "a bucket is taken by a mask");

enum neighbour_state {
    NEIGHBOUR_FREE,
    NEIGHBOUR_RESOLVING,
    NEIGHBOUR_REACHABLE,
    NEIGHBOUR_REFRESHING,
    NEIGHBOUR_STATE_COUNT
};

struct neighbour {
    uint64_t confirmed_ns; /* when it last spoke */
    uint64_t used_ns;      /* when something was last sent to it */
    uint64_t deadline_ns;  /* of the request under way; TIDE_NEVER when there is none */
    struct tide_addr addr;
    uint16_t next; /* in its bucket, or in the free list */
    uint16_t pending_head;
    uint16_t pending_tail;
    struct rte_ether_addr mac;
    uint8_t state; /* enum neighbour_state */
    uint8_t tries; /* requests sent since the last answer */
    uint8_t pending_count;
};

struct neighbour_cache {
    uint64_t deadline_ns;
    uint64_t generation; /* never 0 */
    uint16_t free_head;
    uint16_t evict_hand;
    uint16_t pending_free;
    uint16_t pending_used;
    uint16_t buckets[NEIGHBOUR_BUCKETS];
    struct neighbour neighbours[NEIGHBOURS];
    struct {
        struct rte_mbuf *frame;
        uint16_t next;
    } pending[NEIGHBOUR_PENDING];
};

/* A request to be sent now. */
struct neighbour_ask {
    struct tide_addr addr;
    struct rte_ether_addr to; /* broadcast, or the mac that is being confirmed */
};

enum neighbour_answer {
    NEIGHBOUR_SEND, /* *ret_mac holds the next hop, and *ret_index names it */
    NEIGHBOUR_WAIT, /* *ret_index names the neighbour: neighbour_hold the frame there */
    NEIGHBOUR_LOST, /* no entry could be had: the frame cannot go */
};

void neighbour_init(struct neighbour_cache *c);
/* Frees the frames that wait. */
void neighbour_deinit(struct neighbour_cache *c);

/* The way to `addr` (an on-link host). When a request has to leave now, *ret_must_ask is true and
 * *ret_ask is it. */
enum neighbour_answer neighbour_resolve(struct neighbour_cache *c, uint64_t now_ns, const struct tide_addr *addr,
                                        struct rte_ether_addr *ret_mac, uint16_t *ret_index, bool *ret_must_ask,
                                        struct neighbour_ask *ret_ask);

/* Keeps the frame until the neighbour is known. TIDE_FULL: not taken. */
TIDE_MUST_USE enum tide_status neighbour_hold(struct neighbour_cache *c, uint16_t index, struct rte_mbuf *frame);

enum neighbour_source {
    NEIGHBOUR_FROM_ASK,   /* said to us by one who asks for us or answers by ARP: creates, and replaces a mac */
    NEIGHBOUR_FROM_OTHER, /* ARP that was not for us (RFC 826), or an advertisement that overrides (RFC 4861 7.2.5):
                           * updates what we have */
    NEIGHBOUR_FROM_FRAME, /* a valid packet of an on-link host: creates and confirms, but does not
                           * replace a mac that is still fresh */
    NEIGHBOUR_FROM_WEAK,  /* an advertisement without override: answers a question and confirms, never replaces a mac,
                           * but one that contradicts ours has it asked for again (RFC 4861 7.2.5 I) */
    NEIGHBOUR_FROM_SAME,  /* a sign of life of whom we know with this mac: confirms, and nothing else */
    NEIGHBOUR_SOURCE_COUNT
};

/* Index of the entry that now knows `addr`, or NEIGHBOUR_NONE. If frames wait there, take them. */
uint16_t neighbour_learn(struct neighbour_cache *c, uint64_t now_ns, const struct tide_addr *addr,
                         const struct rte_ether_addr *mac, enum neighbour_source source);

/* The same of one whose index was remembered in this generation. False: it needs more than to be used, ask neighbour_resolve. */
static inline bool neighbour_use(struct neighbour_cache *c, uint64_t now_ns, uint16_t index)
{
    struct neighbour *n = &c->neighbours[index];
    if (n->state != NEIGHBOUR_REACHABLE || now_ns - n->confirmed_ns > NEIGHBOUR_FRESH_NS)
        return false;
    n->used_ns = now_ns;
    return true;
}

/* A packet of its own came from there, as NEIGHBOUR_FROM_FRAME. False: that says something new, tell neighbour_learn. */
static inline bool neighbour_confirm(struct neighbour_cache *c, uint64_t now_ns, uint16_t index, const struct rte_ether_addr *mac)
{
    struct neighbour *n = &c->neighbours[index];
    if (n->state != NEIGHBOUR_REACHABLE || !rte_is_same_ether_addr(&n->mac, mac))
        return false;
    n->confirmed_ns = now_ns;
    return true;
}

/* Takes the oldest waiting frame of an entry; NULL when there is none. */
struct rte_mbuf *neighbour_take_pending(struct neighbour_cache *c, uint16_t index);

/* Fills asks (room for NEIGHBOUR_ASKS) with the requests that are due and returns their number; frees
 * the frames of neighbours given up, adding their number to *lost. What did not fit remains due. */
unsigned neighbour_on_time(struct neighbour_cache *c, uint64_t now_ns, struct neighbour_ask *asks, unsigned *lost);

static inline uint64_t neighbour_deadline_ns(const struct neighbour_cache *c)
{
    return c->deadline_ns;
}

void neighbour_check(const struct neighbour_cache *c);

#endif
