/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ARP: its packets (RFC 826) and the cache of on-link neighbours.
 *
 * Owner: the core that owns the struct net around it. Addresses are IPv4 in host order.
 *
 *                 arp_resolve                arp_learn
 *          FREE ──────────────> RESOLVING ──────────────> REACHABLE
 *           ^  ^                    │                      │     ^
 *           │  └── no answer ───────┘       used when old  │     │ arp_learn
 *           │      (pending freed)          (arp_resolve)  v     │
 *           └───────── no answer ───────────────────── REFRESHING┘
 *   FREE -> REACHABLE directly when a neighbour speaks to us first; REACHABLE -> FREE when its
 *   place is needed. In REACHABLE and REFRESHING the mac may be used, in the others it may not.
 *
 * Timers: a request is repeated every ARP_RETRY_NS (RFC 1122 2.3.2.1: at most one a second and
 * destination), ARP_TRIES times in all; an entry not confirmed for ARP_FRESH_NS is asked for again
 * when it is next used, first by unicast, and is used meanwhile. Entries out of use need no timer:
 * they go when the table is full.
 *
 * Invariants (arp_check):
 *   A1  every entry that is not FREE is in the chain of its bucket exactly once; FREE ones are in
 *       the free list.
 *   A2  packets wait only at a RESOLVING entry, at most ARP_PENDING_EACH, and pending_used is
 *       their sum.
 *   A3  deadline_ns of the cache is not later than that of any RESOLVING or REFRESHING entry.
 */
#ifndef TIDEMARK_NET_ARP_H
#define TIDEMARK_NET_ARP_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include <rte_ether.h>
#include <rte_mbuf.h>

#include "tidemark/status.h"
#include "tidemark/types.h"

enum arp_limit {
    ARP_PACKET = 28,
    ARP_NEIGHBOURS = 1024,
    ARP_BUCKETS = 1024,
    ARP_PENDING_EACH = 8, /* packets that wait for one neighbour */
    ARP_PENDING = 64,     /* and for all of them */
    ARP_TRIES = 3,
    ARP_ASKS = 32, /* requests that one arp_on_time may ask for */
    ARP_EVICT_SCAN = 16,
    ARP_NONE = 0xffff,
};
#define ARP_RETRY_NS (1 * TIDE_NS_PER_S)
#define ARP_FRESH_NS (60 * TIDE_NS_PER_S)

static_assert(ARP_NEIGHBOURS < ARP_NONE, "an index is never the mark of no index");
static_assert((ARP_BUCKETS & (ARP_BUCKETS - 1)) == 0, "a bucket is taken by a mask");

enum arp_operation { ARP_REQUEST = 1, ARP_REPLY = 2 };

struct arp_packet {
    uint16_t operation;
    struct rte_ether_addr sender_mac;
    struct rte_ether_addr target_mac;
    uint32_t sender;
    uint32_t target;
};

/* TIDE_BAD for anything but Ethernet and IPv4, an operation other than request and reply, or a
 * sender's mac that is no single station. */
TIDE_MUST_USE enum tide_status arp_parse(const uint8_t *bytes, uint32_t len,
                                         struct arp_packet *ret);

/* Writes ARP_PACKET bytes. */
void arp_write(uint8_t *at, const struct arp_packet *p);

enum arp_state { ARP_FREE, ARP_RESOLVING, ARP_REACHABLE, ARP_REFRESHING, ARP_STATE_COUNT };

struct arp_neighbour {
    uint64_t confirmed_ns; /* when it last spoke */
    uint64_t used_ns;      /* when something was last sent to it */
    uint64_t deadline_ns;  /* of the request under way; TIDE_NEVER when there is none */
    uint32_t addr;
    uint16_t next; /* in its bucket, or in the free list */
    uint16_t pending_head;
    uint16_t pending_tail;
    struct rte_ether_addr mac;
    uint8_t state; /* enum arp_state */
    uint8_t tries; /* requests sent since the last answer */
    uint8_t pending_count;
};

struct arp_cache {
    uint64_t deadline_ns;
    uint16_t free_head;
    uint16_t evict_hand;
    uint16_t pending_free;
    uint16_t pending_used;
    uint16_t buckets[ARP_BUCKETS];
    struct arp_neighbour neighbours[ARP_NEIGHBOURS];
    struct {
        struct rte_mbuf *frame;
        uint16_t next;
    } pending[ARP_PENDING];
};

/* A request to be sent now. */
struct arp_ask {
    uint32_t addr;
    struct rte_ether_addr to; /* broadcast, or the mac that is being confirmed */
};

enum arp_answer {
    ARP_SEND, /* *ret_mac holds the next hop */
    ARP_WAIT, /* *ret_index names the neighbour: arp_hold the frame there */
    ARP_LOST, /* no entry could be had: the frame cannot go */
};

void arp_init(struct arp_cache *c);
/* Frees the frames that wait. */
void arp_deinit(struct arp_cache *c);

/* The way to `addr` (an on-link host). When a request has to leave now, *ret_must_ask is true and
 * *ret_ask is it. */
enum arp_answer arp_resolve(struct arp_cache *c, uint64_t now_ns, uint32_t addr,
                            struct rte_ether_addr *ret_mac, uint16_t *ret_index, bool *ret_must_ask,
                            struct arp_ask *ret_ask);

/* Keeps the frame until the neighbour is known. TIDE_FULL: not taken. */
TIDE_MUST_USE enum tide_status arp_hold(struct arp_cache *c, uint16_t index,
                                        struct rte_mbuf *frame);

enum arp_source {
    ARP_FROM_ARP,   /* addressed to us by ARP: creates, and replaces a mac */
    ARP_FROM_OTHER, /* an ARP packet that was not for us: updates what we have (RFC 826) */
    ARP_FROM_FRAME, /* a valid packet of an on-link host: creates and confirms, but does not
                     * replace a mac that is still fresh */
};

/* Index of the entry that now knows `addr`, or ARP_NONE. If frames wait there, take them. */
uint16_t arp_learn(struct arp_cache *c, uint64_t now_ns, uint32_t addr,
                   const struct rte_ether_addr *mac, enum arp_source source);

/* Takes the oldest waiting frame of an entry; NULL when there is none. */
struct rte_mbuf *arp_take_pending(struct arp_cache *c, uint16_t index);

/* Fills asks (room for ARP_ASKS) with the requests that are due and returns their number; frees
 * the frames of neighbours given up, adding their number to *lost. What did not fit remains due. */
unsigned arp_on_time(struct arp_cache *c, uint64_t now_ns, struct arp_ask *asks, unsigned *lost);

static inline uint64_t arp_deadline_ns(const struct arp_cache *c)
{
    return c->deadline_ns;
}

void arp_check(const struct arp_cache *c);

#endif
