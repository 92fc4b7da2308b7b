/* SPDX-License-Identifier: Apache-2.0 */
#include "net/arp.h"

#include "tidemark/assert.h"
#include "tidemark/bytes.h"

enum { ARP_HARDWARE_ETHERNET = 1, ARP_PROTOCOL_IPV4 = 0x0800 };

enum tide_status arp_parse(const uint8_t *bytes, uint32_t len, struct arp_packet *ret)
{
    struct arp_packet p;
    if (len < ARP_PACKET)
        return TIDE_BAD;
    if (load_be16(bytes) != ARP_HARDWARE_ETHERNET || load_be16(bytes + 2) != ARP_PROTOCOL_IPV4)
        return TIDE_BAD;
    if (bytes[4] != 6 || bytes[5] != 4)
        return TIDE_BAD;
    p.operation = load_be16(bytes + 6);
    if (p.operation != ARP_REQUEST && p.operation != ARP_REPLY)
        return TIDE_BAD;
    memcpy(&p.sender_mac, bytes + 8, 6);
    p.sender = load_be32(bytes + 14);
    memcpy(&p.target_mac, bytes + 18, 6);
    p.target = load_be32(bytes + 24);
    if (!rte_is_valid_assigned_ether_addr(&p.sender_mac))
        return TIDE_BAD;
    *ret = p;
    return TIDE_OK;
}

void arp_write(uint8_t *at, const struct arp_packet *p)
{
    store_be16(at, ARP_HARDWARE_ETHERNET);
    store_be16(at + 2, ARP_PROTOCOL_IPV4);
    at[4] = 6;
    at[5] = 4;
    store_be16(at + 6, p->operation);
    memcpy(at + 8, &p->sender_mac, 6);
    store_be32(at + 14, p->sender);
    memcpy(at + 18, &p->target_mac, 6);
    store_be32(at + 24, p->target);
}

#define TO(s) (1u << ARP_##s)
static const struct {
    const char *name;
    uint32_t next;
} arp_states[ARP_STATE_COUNT] = {
    [ARP_FREE] = {"free", TO(RESOLVING) | TO(REACHABLE)},
    [ARP_RESOLVING] = {"resolving", TO(REACHABLE) | TO(FREE)},
    [ARP_REACHABLE] = {"reachable", TO(REACHABLE) | TO(REFRESHING) | TO(FREE)},
    [ARP_REFRESHING] = {"refreshing", TO(REACHABLE) | TO(FREE)},
};

static void arp_move(struct arp_neighbour *n, enum arp_state to)
{
    TIDE_ASSERT((arp_states[n->state].next & 1u << to) != 0);
    n->state = (uint8_t)to;
}

static unsigned bucket_of(uint32_t addr)
{
    return (addr * 0x9e3779b1u >> 16) & (ARP_BUCKETS - 1);
}

void arp_init(struct arp_cache *c)
{
    memset(c, 0, sizeof(*c));
    c->deadline_ns = TIDE_NEVER;
    for (unsigned i = 0; i < ARP_BUCKETS; i++)
        c->buckets[i] = ARP_NONE;
    for (unsigned i = 0; i < ARP_NEIGHBOURS; i++) {
        c->neighbours[i].next = (uint16_t)(i + 1 < ARP_NEIGHBOURS ? i + 1 : ARP_NONE);
        c->neighbours[i].pending_head = ARP_NONE;
        c->neighbours[i].pending_tail = ARP_NONE;
        c->neighbours[i].deadline_ns = TIDE_NEVER;
    }
    for (unsigned i = 0; i < ARP_PENDING; i++)
        c->pending[i].next = (uint16_t)(i + 1 < ARP_PENDING ? i + 1 : ARP_NONE);
}

static uint16_t find(struct arp_cache *c, uint32_t addr)
{
    uint16_t i = c->buckets[bucket_of(addr)];
    while (i != ARP_NONE && c->neighbours[i].addr != addr)
        i = c->neighbours[i].next;
    return i;
}

/* Gives the entry back; the frames waiting there are freed. Returns how many. */
static unsigned release(struct arp_cache *c, uint16_t index)
{
    struct arp_neighbour *n = &c->neighbours[index];
    unsigned lost = 0;
    struct rte_mbuf *m;
    while ((m = arp_take_pending(c, index)) != NULL) {
        rte_pktmbuf_free(m);
        lost++;
    }
    uint16_t *at = &c->buckets[bucket_of(n->addr)];
    while (*at != index)
        at = &c->neighbours[*at].next;
    *at = n->next;
    arp_move(n, ARP_FREE);
    n->deadline_ns = TIDE_NEVER;
    n->next = c->free_head;
    c->free_head = index;
    return lost;
}

/* Makes room by giving up, of the next ARP_EVICT_SCAN known ones, the one that was not needed for
 * the longest time. Entries that are being asked for stay. */
static void evict(struct arp_cache *c)
{
    uint16_t oldest = ARP_NONE;
    for (unsigned i = 0; i < ARP_EVICT_SCAN; i++) {
        uint16_t at = c->evict_hand;
        const struct arp_neighbour *n = &c->neighbours[at];
        c->evict_hand = (uint16_t)((at + 1) % ARP_NEIGHBOURS);
        if (n->state != ARP_REACHABLE)
            continue;
        if (oldest == ARP_NONE || n->used_ns < c->neighbours[oldest].used_ns)
            oldest = at;
    }
    if (oldest != ARP_NONE)
        (void)release(c, oldest);
}

/* A new entry in state FREE, but in its chain: the caller moves it on. ARP_NONE: no room. */
static uint16_t create(struct arp_cache *c, uint64_t now_ns, uint32_t addr)
{
    if (c->free_head == ARP_NONE)
        evict(c);
    uint16_t index = c->free_head;
    if (index == ARP_NONE)
        return ARP_NONE;
    struct arp_neighbour *n = &c->neighbours[index];
    c->free_head = n->next;
    uint16_t *bucket = &c->buckets[bucket_of(addr)];
    *n = (struct arp_neighbour){.addr = addr,
                                .next = *bucket,
                                .used_ns = now_ns,
                                .deadline_ns = TIDE_NEVER,
                                .pending_head = ARP_NONE,
                                .pending_tail = ARP_NONE};
    *bucket = index;
    return index;
}

static void arm(struct arp_cache *c, struct arp_neighbour *n, uint64_t deadline_ns)
{
    n->deadline_ns = deadline_ns;
    c->deadline_ns = TIDE_MIN(c->deadline_ns, deadline_ns);
}

/* One more request to this neighbour. While its mac is known it is asked by unicast (RFC 1122
 * 2.3.2.1), the last time by broadcast. */
static struct arp_ask ask(struct arp_cache *c, uint64_t now_ns, struct arp_neighbour *n)
{
    struct arp_ask a = {.addr = n->addr};
    memset(&a.to, 0xff, sizeof(a.to));
    n->tries++;
    if (n->state == ARP_REFRESHING && n->tries < ARP_TRIES)
        a.to = n->mac;
    arm(c, n, now_ns + ARP_RETRY_NS);
    return a;
}

enum arp_answer arp_resolve(struct arp_cache *c, uint64_t now_ns, uint32_t addr,
                            struct rte_ether_addr *ret_mac, uint16_t *ret_index, bool *ret_must_ask,
                            struct arp_ask *ret_ask)
{
    uint16_t index = find(c, addr);
    *ret_must_ask = false;
    if (index == ARP_NONE) {
        index = create(c, now_ns, addr);
        if (index == ARP_NONE)
            return ARP_LOST;
        arp_move(&c->neighbours[index], ARP_RESOLVING);
        *ret_must_ask = true;
        *ret_ask = ask(c, now_ns, &c->neighbours[index]);
    }
    struct arp_neighbour *n = &c->neighbours[index];
    n->used_ns = now_ns;
    if (n->state == ARP_RESOLVING) {
        *ret_index = index;
        return ARP_WAIT;
    }
    if (n->state == ARP_REACHABLE && now_ns - n->confirmed_ns > ARP_FRESH_NS) {
        arp_move(n, ARP_REFRESHING);
        *ret_must_ask = true;
        *ret_ask = ask(c, now_ns, n);
    }
    *ret_mac = n->mac;
    return ARP_SEND;
}

enum tide_status arp_hold(struct arp_cache *c, uint16_t index, struct rte_mbuf *frame)
{
    struct arp_neighbour *n = &c->neighbours[index];
    uint16_t slot = c->pending_free;
    TIDE_ASSERT(n->state == ARP_RESOLVING);
    if (n->pending_count == ARP_PENDING_EACH || slot == ARP_NONE)
        return TIDE_FULL;
    c->pending_free = c->pending[slot].next;
    c->pending_used++;
    c->pending[slot].frame = frame;
    c->pending[slot].next = ARP_NONE;
    if (n->pending_tail == ARP_NONE)
        n->pending_head = slot;
    else
        c->pending[n->pending_tail].next = slot;
    n->pending_tail = slot;
    n->pending_count++;
    return TIDE_OK;
}

struct rte_mbuf *arp_take_pending(struct arp_cache *c, uint16_t index)
{
    struct arp_neighbour *n = &c->neighbours[index];
    uint16_t slot = n->pending_head;
    if (slot == ARP_NONE)
        return NULL;
    n->pending_head = c->pending[slot].next;
    if (n->pending_head == ARP_NONE)
        n->pending_tail = ARP_NONE;
    n->pending_count--;
    c->pending[slot].next = c->pending_free;
    c->pending_free = slot;
    c->pending_used--;
    return c->pending[slot].frame;
}

/* A frame alone is weaker evidence than ARP: it does not move an address that is still fresh. */
static bool may_replace(const struct arp_neighbour *n, uint64_t now_ns, enum arp_source source)
{
    return source != ARP_FROM_FRAME || n->state == ARP_RESOLVING ||
           now_ns - n->confirmed_ns > ARP_FRESH_NS;
}

uint16_t arp_learn(struct arp_cache *c, uint64_t now_ns, uint32_t addr,
                   const struct rte_ether_addr *mac, enum arp_source source)
{
    uint16_t index = find(c, addr);
    if (index == ARP_NONE) {
        if (source == ARP_FROM_OTHER)
            return ARP_NONE;
        index = create(c, now_ns, addr);
        if (index == ARP_NONE)
            return ARP_NONE;
    } else if (!rte_is_same_ether_addr(&c->neighbours[index].mac, mac) &&
               !may_replace(&c->neighbours[index], now_ns, source)) {
        return ARP_NONE;
    }
    struct arp_neighbour *n = &c->neighbours[index];
    n->mac = *mac;
    n->confirmed_ns = now_ns;
    n->deadline_ns = TIDE_NEVER; /* the cache's own may stay early: it is only looked at too soon */
    n->tries = 0;
    arp_move(n, ARP_REACHABLE);
    return index;
}

unsigned arp_on_time(struct arp_cache *c, uint64_t now_ns, struct arp_ask *asks, unsigned *lost)
{
    unsigned count = 0;
    if (now_ns < c->deadline_ns)
        return 0;
    c->deadline_ns = TIDE_NEVER;
    for (unsigned i = 0; i < ARP_NEIGHBOURS; i++) {
        struct arp_neighbour *n = &c->neighbours[i];
        if (n->deadline_ns == TIDE_NEVER)
            continue;
        if (n->deadline_ns > now_ns || (n->tries < ARP_TRIES && count == ARP_ASKS))
            c->deadline_ns = TIDE_MIN(c->deadline_ns, n->deadline_ns);
        else if (n->tries < ARP_TRIES)
            asks[count++] = ask(c, now_ns, n);
        else
            *lost += release(c, (uint16_t)i);
    }
    return count;
}

void arp_deinit(struct arp_cache *c)
{
    for (unsigned i = 0; i < ARP_NEIGHBOURS; i++)
        if (c->neighbours[i].state != ARP_FREE)
            (void)release(c, (uint16_t)i);
    TIDE_ASSERT(c->pending_used == 0);
}

static unsigned chained(const struct arp_cache *c)
{
    unsigned n = 0;
    for (unsigned b = 0; b < ARP_BUCKETS; b++) {
        for (uint16_t i = c->buckets[b]; i != ARP_NONE; i = c->neighbours[i].next) {
            TIDE_ASSERT(c->neighbours[i].state != ARP_FREE);    /* A1 */
            TIDE_ASSERT(bucket_of(c->neighbours[i].addr) == b); /* A1 */
            n++;
            TIDE_ASSERT(n <= ARP_NEIGHBOURS);
        }
    }
    return n;
}

void arp_check(const struct arp_cache *c)
{
    unsigned used = chained(c);
    unsigned pending = 0;
    for (uint16_t i = c->free_head; i != ARP_NONE; i = c->neighbours[i].next) {
        TIDE_ASSERT(c->neighbours[i].state == ARP_FREE); /* A1 */
        used++;
        TIDE_ASSERT(used <= ARP_NEIGHBOURS);
    }
    TIDE_ASSERT(used == ARP_NEIGHBOURS); /* A1 */
    for (unsigned i = 0; i < ARP_NEIGHBOURS; i++) {
        const struct arp_neighbour *n = &c->neighbours[i];
        bool asking = n->state == ARP_RESOLVING || n->state == ARP_REFRESHING;
        TIDE_ASSERT(n->pending_count == 0 || n->state == ARP_RESOLVING); /* A2 */
        TIDE_ASSERT(n->pending_count <= ARP_PENDING_EACH);               /* A2 */
        TIDE_ASSERT(!asking || c->deadline_ns <= n->deadline_ns);        /* A3 */
        TIDE_ASSERT(asking == (n->deadline_ns != TIDE_NEVER));           /* A3 */
        pending += n->pending_count;
    }
    TIDE_ASSERT(pending == c->pending_used); /* A2 */
}
