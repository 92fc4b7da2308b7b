/* SPDX-License-Identifier: Apache-2.0 */
#include "nic/tap.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_ether.h>

#include "tidemark/assert.h"
#include "tidemark/bytes.h"

#define TO(s) (1u << TAP_##s)
static const uint32_t tap_next[TAP_STATE_COUNT] = {[TAP_OFF] = TO(ON), [TAP_ON] = TO(ENDING), [TAP_ENDING] = TO(OFF)};

static void tap_move(struct tap *t, enum tap_state to)
{
    TIDE_ASSERT(tap_next[t->state] & 1u << to);
    t->state = (uint8_t)to;
}

enum tide_status tap_on(struct tap *t, unsigned cores, const struct tap_wish *wish)
{
    if (t->state != TAP_OFF)
        return TIDE_EXISTS;
    t->wish = *wish;
    t->wish.snap = TIDE_MIN(TIDE_MAX(wish->snap, 64u), (uint32_t)TAP_SNAP_MAX);
    t->slot_size = (uint32_t)(sizeof(struct tap_frame) + t->wish.snap + 7) & ~7u;
    t->slots = TIDE_MIN((uint32_t)TAP_SLOTS, (uint32_t)TAP_BYTES_MAX / t->slot_size);
    t->cores = cores;
    t->lost_told = 0;
    for (unsigned i = 0; i < cores; i++) {
        memset(&t->rings[i], 0, sizeof(t->rings[i]));
        t->rings[i].slots = malloc((size_t)t->slots * t->slot_size);
        if (t->rings[i].slots == NULL) {
            while (i-- != 0)
                free(t->rings[i].slots);
            return TIDE_FULL;
        }
    }
    tap_move(t, TAP_ON);
    atomic_store_explicit(&t->is_on, true, memory_order_release); /* pairs with tap_is_on: the rings are there */
    return TIDE_OK;
}

void tap_off(struct tap *t)
{
    atomic_store_explicit(&t->is_on, false, memory_order_release);
    tap_move(t, TAP_ENDING);
}

void tap_on_quiet(struct tap *t)
{
    for (unsigned i = 0; i < t->cores; i++)
        free(t->rings[i].slots);
    tap_move(t, TAP_OFF);
}

/* ---- a core's side ------------------------------------------------------------------------------------------------------ */

static bool is_end(const struct tap_wish *w, const struct tide_addr *addr, uint16_t port)
{
    return memcmp(addr, &w->addr, sizeof(*addr)) == 0 && (w->port == 0 || w->port == port);
}

/* Ports are looked for where TCP and UDP have them. Where a frame ends before, none are known, and only a wish without a port fits. */
static bool is_wished(const struct tap_wish *w, const struct rte_mbuf *m)
{
    const uint8_t *p = rte_pktmbuf_mtod(m, const uint8_t *);
    uint32_t at = RTE_ETHER_HDR_LEN, ports;
    struct tide_addr source, destination;
    if (!w->one_conn)
        return true;
    if (m->data_len < at + 24)
        return false;
    uint16_t type = load_be16(p + 12);
    if (type == RTE_ETHER_TYPE_VLAN) {
        type = load_be16(p + 16);
        at += 4;
    }
    if (type == RTE_ETHER_TYPE_IPV4 && m->data_len >= at + 20) {
        source = tide_addr_v4(load_be32(p + at + 12));
        destination = tide_addr_v4(load_be32(p + at + 16));
        ports = at + (p[at] & 15u) * 4u;
    } else if (type == RTE_ETHER_TYPE_IPV6 && m->data_len >= at + 40) {
        memcpy(source.bytes, p + at + 8, 16);
        memcpy(destination.bytes, p + at + 24, 16);
        ports = at + 40;
    } else {
        return false;
    }
    bool has_ports = m->data_len >= ports + 4;
    return is_end(w, &source, has_ports ? load_be16(p + ports) : 0) || is_end(w, &destination, has_ports ? load_be16(p + ports + 2) : 0);
}

static struct tap_frame *slot(const struct tap *t, const struct tap_ring *r, uint64_t number)
{
    return (struct tap_frame *)(void *)(r->slots + (number % t->slots) * t->slot_size);
}

static void copy(const struct tap *t, const struct rte_mbuf *m, struct tap_frame *to)
{
    to->len = m->pkt_len;
    to->kept = 0;
    for (; m != NULL && to->kept < t->wish.snap; m = m->next) {
        uint32_t n = TIDE_MIN((uint32_t)m->data_len, t->wish.snap - to->kept);
        memcpy(to->bytes + to->kept, rte_pktmbuf_mtod(m, const void *), n);
        to->kept += n;
    }
}

void tap_see(struct tap *t, unsigned core, struct rte_mbuf *const *frames, unsigned count, uint16_t port, bool is_out)
{
    struct tap_ring *r = &t->rings[core];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    for (unsigned i = 0; i < count; i++) {
        uint64_t head = tide_pub64_own(&r->head);
        if (!is_wished(&t->wish, frames[i]))
            continue;
        if (head - r->tail_seen == t->slots)
            r->tail_seen = tide_pub64_peek(&r->tail); /* pairs with tap_take: the slot has been read */
        if (head - r->tail_seen == t->slots) {
            tide_pub64_set(&r->lost_pub, tide_pub64_own(&r->lost_pub) + 1);
            continue;
        }
        struct tap_frame *to = slot(t, r, head);
        to->time_ns = (uint64_t)now.tv_sec * TIDE_NS_PER_S + (uint64_t)now.tv_nsec;
        to->port = port;
        to->is_out = is_out;
        copy(t, frames[i], to);
        tide_pub64_set(&r->head, head + 1); /* pairs with tap_take: the slot is whole */
    }
}

/* ---- pcapng ------------------------------------------------------------------------------------------------------------- */

enum { SECTION = 0x0a0d0d0a, INTERFACE = 1, STATISTICS = 5, PACKET = 6, ETHERNET = 1, ORDER_MAGIC = 0x1a2b3c4d };
enum { OPT_END = 0, IF_NAME = 2, IF_TSRESOL = 9, EPB_FLAGS = 2, ISB_IFDROP = 5, NANOSECONDS = 9, FLAG_IN = 1, FLAG_OUT = 2 };

static void put32(FILE *f, uint32_t v)
{
    fwrite(&v, sizeof(v), 1, f);
}

static uint32_t padded(uint32_t n)
{
    return (n + 3) & ~3u;
}

static void put_padded(FILE *f, const void *bytes, uint32_t n)
{
    static const uint8_t zeros[4];
    fwrite(bytes, 1, n, f);
    fwrite(zeros, 1, padded(n) - n, f);
}

static void put_option(FILE *f, uint16_t code, const void *bytes, uint16_t n)
{
    put32(f, (uint32_t)n << 16 | code);
    put_padded(f, bytes, n);
}

void pcapng_begin(FILE *f, const char *const *names, unsigned count, uint32_t snap)
{
    static const uint8_t resolution = NANOSECONDS;
    put32(f, SECTION);
    put32(f, 28);
    put32(f, ORDER_MAGIC);
    put32(f, 1); /* version 1.0, little-endian */
    put32(f, UINT32_MAX);
    put32(f, UINT32_MAX); /* length not known */
    put32(f, 28);
    for (unsigned i = 0; i < count; i++) {
        uint16_t n = (uint16_t)strlen(names[i]);
        uint32_t len = 20 + 4 + padded(n) + 4 + 4 + 4;
        put32(f, INTERFACE);
        put32(f, len);
        put32(f, ETHERNET);
        put32(f, snap);
        put_option(f, IF_NAME, names[i], n);
        put_option(f, IF_TSRESOL, &resolution, sizeof(resolution));
        put32(f, OPT_END);
        put32(f, len);
    }
}

static void put_packet(FILE *f, const struct tap_frame *p)
{
    uint32_t flags = p->is_out ? FLAG_OUT : FLAG_IN;
    uint32_t len = 32 + padded(p->kept) + 8 + 4;
    put32(f, PACKET);
    put32(f, len);
    put32(f, p->port);
    put32(f, (uint32_t)(p->time_ns >> 32));
    put32(f, (uint32_t)p->time_ns);
    put32(f, p->kept);
    put32(f, p->len);
    put_padded(f, p->bytes, p->kept);
    put_option(f, EPB_FLAGS, &flags, sizeof(flags));
    put32(f, OPT_END);
    put32(f, len);
}

static void put_lost(FILE *f, uint64_t lost, uint64_t time_ns)
{
    enum { LEN = 24 + 12 + 4 };
    put32(f, STATISTICS);
    put32(f, LEN);
    put32(f, 0);
    put32(f, (uint32_t)(time_ns >> 32));
    put32(f, (uint32_t)time_ns);
    put_option(f, ISB_IFDROP, &lost, sizeof(lost));
    put32(f, OPT_END);
    put32(f, LEN);
}

void tap_take(struct tap *t, FILE *f)
{
    uint64_t heads[TIDE_CORES_MAX], lost = 0, time_ns = 0;
    for (unsigned i = 0; i < t->cores; i++) {
        heads[i] = tide_pub64_peek(&t->rings[i].head);
        lost += tide_pub64_peek(&t->rings[i].lost_pub);
    }
    for (;;) {
        unsigned oldest = TIDE_CORES_MAX;
        uint64_t best = UINT64_MAX;
        for (unsigned i = 0; i < t->cores; i++) {
            uint64_t tail = tide_pub64_own(&t->rings[i].tail);
            uint64_t at = tail != heads[i] ? slot(t, &t->rings[i], tail)->time_ns : UINT64_MAX;
            if (at < best) {
                best = at;
                oldest = i;
            }
        }
        if (oldest == TIDE_CORES_MAX)
            break;
        struct tap_ring *r = &t->rings[oldest];
        uint64_t tail = tide_pub64_own(&r->tail);
        time_ns = best;
        put_packet(f, slot(t, r, tail));
        tide_pub64_set(&r->tail, tail + 1);
    }
    if (lost != t->lost_told)
        put_lost(f, lost, time_ns);
    t->lost_told = lost;
}
