/* SPDX-License-Identifier: Apache-2.0 */
#include "net/neighbour.h"

#include "tidemark/assert.h"
#include "tidemark/bytes.h"

#define TO(s) (1u << NEIGHBOUR_##s)
static const struct {
    const char *name;
    uint32_t next;
} neighbour_states[NEIGHBOUR_STATE_COUNT] = {
    [NEIGHBOUR_FREE] = {"free", TO(RESOLVING) | TO(REACHABLE)},
    [NEIGHBOUR_RESOLVING] = {"resolving", TO(REACHABLE) | TO(FREE)},
    [NEIGHBOUR_REACHABLE] = {"reachable", TO(REACHABLE) | TO(REFRESHING) | TO(FREE)},
    [NEIGHBOUR_REFRESHING] = {"refreshing", TO(REACHABLE) | TO(FREE)},
};

static void neighbour_move(struct neighbour *n, enum neighbour_state to)
{
    TIDE_ASSERT((neighbour_states[n->state].next & 1u << to) != 0);
    n->state = (uint8_t)to;
}

static unsigned bucket_of(const struct tide_addr *addr)
{
    uint64_t x = load_be64(addr->bytes) * 0x9e3779b97f4a7c15ull ^ load_be64(addr->bytes + 8);
    return (unsigned)(x * 0x9e3779b97f4a7c15ull >> 40) & (NEIGHBOUR_BUCKETS - 1);
}

static bool is_same(const struct tide_addr *a, const struct tide_addr *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

void neighbour_init(struct neighbour_cache *c)
{
    memset(c, 0, sizeof(*c));
    c->deadline_ns = TIDE_NEVER;
    c->generation = 1;
    for (unsigned i = 0; i < NEIGHBOUR_BUCKETS; i++)
        c->buckets[i] = NEIGHBOUR_NONE;
    for (unsigned i = 0; i < NEIGHBOURS; i++) {
        c->neighbours[i].next = (uint16_t)(i + 1 < NEIGHBOURS ? i + 1 : NEIGHBOUR_NONE);
        c->neighbours[i].pending_head = NEIGHBOUR_NONE;
        c->neighbours[i].pending_tail = NEIGHBOUR_NONE;
        c->neighbours[i].deadline_ns = TIDE_NEVER;
    }
    for (unsigned i = 0; i < NEIGHBOUR_PENDING; i++)
        c->pending[i].next = (uint16_t)(i + 1 < NEIGHBOUR_PENDING ? i + 1 : NEIGHBOUR_NONE);
}

static uint16_t find(struct neighbour_cache *c, const struct tide_addr *addr)
{
    uint16_t i = c->buckets[bucket_of(addr)];
    while (i != NEIGHBOUR_NONE && !is_same(&c->neighbours[i].addr, addr))
        i = c->neighbours[i].next;
    return i;
}

/* Gives the entry back; the frames waiting there are freed. Returns how many. */
static unsigned release(struct neighbour_cache *c, uint16_t index)
{
    struct neighbour *n = &c->neighbours[index];
    unsigned lost = 0;
    struct rte_mbuf *m;
    while ((m = neighbour_take_pending(c, index)) != NULL) {
        rte_pktmbuf_free(m);
        lost++;
    }
    uint16_t *at = &c->buckets[bucket_of(&n->addr)];
    while (*at != index)
        at = &c->neighbours[*at].next;
    *at = n->next;
    neighbour_move(n, NEIGHBOUR_FREE);
    c->generation++;
    n->deadline_ns = TIDE_NEVER;
    n->next = c->free_head;
    c->free_head = index;
    return lost;
}

/* Makes room by giving up, of the next NEIGHBOUR_EVICT_SCAN known ones, the one that was not needed for
 * the longest time. Entries that are being asked for stay. */
static void evict(struct neighbour_cache *c)
{
    uint16_t oldest = NEIGHBOUR_NONE;
    for (unsigned i = 0; i < NEIGHBOUR_EVICT_SCAN; i++) {
        uint16_t at = c->evict_hand;
        const struct neighbour *n = &c->neighbours[at];
        c->evict_hand = (uint16_t)((at + 1) % NEIGHBOURS);
        if (n->state != NEIGHBOUR_REACHABLE)
            continue;
        if (oldest == NEIGHBOUR_NONE || n->used_ns < c->neighbours[oldest].used_ns)
            oldest = at;
    }
    if (oldest != NEIGHBOUR_NONE)
        (void)release(c, oldest);
}

/* A new entry in state FREE, but in its chain: the caller moves it on. NEIGHBOUR_NONE: no room. */
static uint16_t create(struct neighbour_cache *c, uint64_t now_ns, const struct tide_addr *addr)
{
    if (c->free_head == NEIGHBOUR_NONE)
        evict(c);
    uint16_t index = c->free_head;
    if (index == NEIGHBOUR_NONE)
        return NEIGHBOUR_NONE;
    struct neighbour *n = &c->neighbours[index];
    c->free_head = n->next;
    uint16_t *bucket = &c->buckets[bucket_of(addr)];
    *n = (struct neighbour){.addr = *addr,
                                .next = *bucket,
                                .used_ns = now_ns,
                                .deadline_ns = TIDE_NEVER,
                                .pending_head = NEIGHBOUR_NONE,
                                .pending_tail = NEIGHBOUR_NONE};
    *bucket = index;
    return index;
}

static void arm(struct neighbour_cache *c, struct neighbour *n, uint64_t deadline_ns)
{
    n->deadline_ns = deadline_ns;
    c->deadline_ns = TIDE_MIN(c->deadline_ns, deadline_ns);
}

/* One more request to this neighbour. While its mac is known it is asked by unicast (RFC 1122
 * 2.3.2.1), the last time by broadcast. */
static struct neighbour_ask ask(struct neighbour_cache *c, uint64_t now_ns, struct neighbour *n)
{
    struct neighbour_ask a = {.addr = n->addr};
    memset(&a.to, 0xff, sizeof(a.to));
    n->tries++;
    if (n->state == NEIGHBOUR_REFRESHING && n->tries < NEIGHBOUR_TRIES)
        a.to = n->mac;
    arm(c, n, now_ns + NEIGHBOUR_RETRY_NS);
    return a;
}

enum neighbour_answer neighbour_resolve(struct neighbour_cache *c, uint64_t now_ns, const struct tide_addr *addr,
                                        struct rte_ether_addr *ret_mac, uint16_t *ret_index, bool *ret_must_ask,
                                        struct neighbour_ask *ret_ask)
{
    uint16_t index = find(c, addr);
    *ret_must_ask = false;
    if (index == NEIGHBOUR_NONE) {
        index = create(c, now_ns, addr);
        if (index == NEIGHBOUR_NONE)
            return NEIGHBOUR_LOST;
        neighbour_move(&c->neighbours[index], NEIGHBOUR_RESOLVING);
        *ret_must_ask = true;
        *ret_ask = ask(c, now_ns, &c->neighbours[index]);
    }
    struct neighbour *n = &c->neighbours[index];
    n->used_ns = now_ns;
    *ret_index = index;
    if (n->state == NEIGHBOUR_RESOLVING)
        return NEIGHBOUR_WAIT;
    if (n->state == NEIGHBOUR_REACHABLE && now_ns - n->confirmed_ns > NEIGHBOUR_FRESH_NS) {
        neighbour_move(n, NEIGHBOUR_REFRESHING);
        *ret_must_ask = true;
        *ret_ask = ask(c, now_ns, n);
    }
    *ret_mac = n->mac;
    return NEIGHBOUR_SEND;
}

enum tide_status neighbour_hold(struct neighbour_cache *c, uint16_t index, struct rte_mbuf *frame)
{
    struct neighbour *n = &c->neighbours[index];
    uint16_t slot = c->pending_free;
    TIDE_ASSERT(n->state == NEIGHBOUR_RESOLVING);
    if (n->pending_count == NEIGHBOUR_PENDING_EACH || slot == NEIGHBOUR_NONE)
        return TIDE_FULL;
    c->pending_free = c->pending[slot].next;
    c->pending_used++;
    c->pending[slot].frame = frame;
    c->pending[slot].next = NEIGHBOUR_NONE;
    if (n->pending_tail == NEIGHBOUR_NONE)
        n->pending_head = slot;
    else
        c->pending[n->pending_tail].next = slot;
    n->pending_tail = slot;
    n->pending_count++;
    return TIDE_OK;
}

struct rte_mbuf *neighbour_take_pending(struct neighbour_cache *c, uint16_t index)
{
    struct neighbour *n = &c->neighbours[index];
    uint16_t slot = n->pending_head;
    if (slot == NEIGHBOUR_NONE)
        return NULL;
    n->pending_head = c->pending[slot].next;
    if (n->pending_head == NEIGHBOUR_NONE)
        n->pending_tail = NEIGHBOUR_NONE;
    n->pending_count--;
    c->pending[slot].next = c->pending_free;
    c->pending_free = slot;
    c->pending_used--;
    return c->pending[slot].frame;
}

/* A frame alone is weaker evidence than an answer: it does not move an address that is still fresh. */
static bool may_replace(const struct neighbour *n, uint64_t now_ns, enum neighbour_source source)
{
    if (source == NEIGHBOUR_FROM_SAME)
        return false;
    if (n->state == NEIGHBOUR_RESOLVING || source == NEIGHBOUR_FROM_ASK || source == NEIGHBOUR_FROM_OTHER)
        return true;
    return source == NEIGHBOUR_FROM_FRAME && now_ns - n->confirmed_ns > NEIGHBOUR_FRESH_NS;
}

uint16_t neighbour_learn(struct neighbour_cache *c, uint64_t now_ns, const struct tide_addr *addr,
                         const struct rte_ether_addr *mac, enum neighbour_source source)
{
    uint16_t index = find(c, addr);
    if (index == NEIGHBOUR_NONE) {
        if (source != NEIGHBOUR_FROM_ASK && source != NEIGHBOUR_FROM_FRAME)
            return NEIGHBOUR_NONE;
        index = create(c, now_ns, addr);
        if (index == NEIGHBOUR_NONE)
            return NEIGHBOUR_NONE;
    } else if (!rte_is_same_ether_addr(&c->neighbours[index].mac, mac) &&
               !may_replace(&c->neighbours[index], now_ns, source)) {
        if (source == NEIGHBOUR_FROM_WEAK) /* old from now on; the difference holds however small now_ns is */
            c->neighbours[index].confirmed_ns = now_ns - NEIGHBOUR_FRESH_NS - 1;
        return NEIGHBOUR_NONE;
    }
    struct neighbour *n = &c->neighbours[index];
    if ((n->state == NEIGHBOUR_REACHABLE || n->state == NEIGHBOUR_REFRESHING) && !rte_is_same_ether_addr(&n->mac, mac))
        c->generation++;
    n->mac = *mac;
    n->confirmed_ns = now_ns;
    n->deadline_ns = TIDE_NEVER; /* the cache's own may stay early: it is only looked at too soon */
    n->tries = 0;
    neighbour_move(n, NEIGHBOUR_REACHABLE);
    return index;
}

unsigned neighbour_on_time(struct neighbour_cache *c, uint64_t now_ns, struct neighbour_ask *asks, unsigned *lost)
{
    unsigned count = 0;
    if (now_ns < c->deadline_ns)
        return 0;
    c->deadline_ns = TIDE_NEVER;
    for (unsigned i = 0; i < NEIGHBOURS; i++) {
        struct neighbour *n = &c->neighbours[i];
        if (n->deadline_ns == TIDE_NEVER)
            continue;
        if (n->deadline_ns > now_ns || (n->tries < NEIGHBOUR_TRIES && count == NEIGHBOUR_ASKS))
            c->deadline_ns = TIDE_MIN(c->deadline_ns, n->deadline_ns);
        else if (n->tries < NEIGHBOUR_TRIES)
            asks[count++] = ask(c, now_ns, n);
        else
            *lost += release(c, (uint16_t)i);
    }
    return count;
}

void neighbour_deinit(struct neighbour_cache *c)
{
    for (unsigned i = 0; i < NEIGHBOURS; i++)
        if (c->neighbours[i].state != NEIGHBOUR_FREE)
            (void)release(c, (uint16_t)i);
    TIDE_ASSERT(c->pending_used == 0);
}

static unsigned chained(const struct neighbour_cache *c)
{
    unsigned n = 0;
    for (unsigned b = 0; b < NEIGHBOUR_BUCKETS; b++) {
        for (uint16_t i = c->buckets[b]; i != NEIGHBOUR_NONE; i = c->neighbours[i].next) {
            TIDE_ASSERT(c->neighbours[i].state != NEIGHBOUR_FREE);    /* A1 */
            TIDE_ASSERT(bucket_of(&c->neighbours[i].addr) == b); /* A1 */
            n++;
            TIDE_ASSERT(n <= NEIGHBOURS);
        }
    }
    return n;
}

void neighbour_check(const struct neighbour_cache *c)
{
    unsigned used = chained(c);
    unsigned pending = 0;
    TIDE_ASSERT(c->generation != 0); /* A4 */
    for (uint16_t i = c->free_head; i != NEIGHBOUR_NONE; i = c->neighbours[i].next) {
        TIDE_ASSERT(c->neighbours[i].state == NEIGHBOUR_FREE); /* A1 */
        used++;
        TIDE_ASSERT(used <= NEIGHBOURS);
    }
    TIDE_ASSERT(used == NEIGHBOURS); /* A1 */
    for (unsigned i = 0; i < NEIGHBOURS; i++) {
        const struct neighbour *n = &c->neighbours[i];
        bool asking = n->state == NEIGHBOUR_RESOLVING || n->state == NEIGHBOUR_REFRESHING;
        TIDE_ASSERT(n->pending_count == 0 || n->state == NEIGHBOUR_RESOLVING); /* A2 */
        TIDE_ASSERT(n->pending_count <= NEIGHBOUR_PENDING_EACH);               /* A2 */
        TIDE_ASSERT(!asking || c->deadline_ns <= n->deadline_ns);        /* A3 */
        TIDE_ASSERT(asking == (n->deadline_ns != TIDE_NEVER));           /* A3 */
        pending += n->pending_count;
    }
    TIDE_ASSERT(pending == c->pending_used); /* A2 */
}
