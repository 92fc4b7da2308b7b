/* SPDX-License-Identifier: Apache-2.0 */
#include "core/steer.h"

#include <stdbool.h>
#include <stdio.h>

#include <rte_ether.h>
#include <rte_malloc.h>

#include "net/ip.h"
#include "net/ip6.h"
#include "tidemark/assert.h"
#include "tidemark/bytes.h"
#include "tidemark/ipv6.h"
#include "tidemark/rss.h"

enum { VLAN_BYTES = 4, IPV4_MIN = 20, PORTS_BYTES = 4 };

struct steer *steer_create(uint32_t core_count)
{
    static _Atomic unsigned steers;
    unsigned number = steers++;
    struct steer *s = rte_zmalloc("steer", sizeof(*s), TIDE_CACHE_LINE);
    TIDE_ASSERT(core_count <= TIDE_CORES_MAX);
    if (s == NULL)
        return NULL;
    s->core_count = core_count;
    for (uint32_t from = 0; from < core_count; from++) {
        for (uint32_t to = 0; to < core_count; to++) {
            char name[RTE_RING_NAMESIZE];
            if (from == to)
                continue;
            snprintf(name, sizeof(name), "steer%u_%u_%u", number, from, to);
            s->rings[from][to] =
                rte_ring_create(name, STEER_RING, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
            if (s->rings[from][to] == NULL) {
                steer_destroy(s);
                return NULL;
            }
        }
    }
    return s;
}

void steer_destroy(struct steer *s)
{
    if (s == NULL)
        return;
    for (uint32_t from = 0; from < s->core_count; from++) {
        for (uint32_t to = 0; to < s->core_count; to++) {
            void *m;
            if (s->rings[from][to] == NULL)
                continue;
            while (rte_ring_sc_dequeue(s->rings[from][to], &m) == 0)
                rte_pktmbuf_free(m);
            rte_ring_free(s->rings[from][to]);
        }
    }
    rte_free(s);
}

uint32_t steer_flow(const struct tide_addr *addr_a, uint16_t port_a, const struct tide_addr *addr_b, uint16_t port_b,
                    uint32_t core_count)
{
    return tide_rss_core(tide_rss_hash(addr_a, port_a, addr_b, port_b), core_count);
}

enum { SOURCE_PORT_TRIES = 16 * TIDE_RSS_BUCKETS }; /* every bucket has come by then */

/* A bucket is of core (bucket mod count): cores of counts that share a divisor have no bucket in common unless they agree modulo it. */
static bool can_meet(const struct steer_end *a, const struct steer_end *b)
{
    uint32_t divisor = a->core_count, rest = b->core_count;
    while (rest != 0) {
        uint32_t next = divisor % rest;
        divisor = rest;
        rest = next;
    }
    return a->core % divisor == b->core % divisor;
}

uint16_t steer_source_port(const struct steer_ports *ports, uint32_t random, const struct steer_end *here, const struct steer_end *there)
{
    uint32_t count = ports->last - ports->first + 1u;
    uint16_t second = 0;
    bool alone = there->core_count <= 1 || !can_meet(here, there);
    for (uint32_t i = 0; i < count; i++) {
        uint16_t port = (uint16_t)(ports->first + (random + i) % count);
        uint32_t hash = tide_rss_hash(&here->addr, port, &there->addr, there->port);
        if (tide_rss_core(hash, here->core_count) != here->core)
            continue;
        if (alone || tide_rss_core(hash, there->core_count) == there->core)
            return port;
        if (second == 0)
            second = port;
        if (i >= SOURCE_PORT_TRIES) /* no bucket is both cores' */
            break;
    }
    return second;
}

struct flow {
    struct tide_addr source;
    struct tide_addr destination;
    uint16_t source_port;
    uint16_t destination_port;
};

static bool find_flow4(const uint8_t *p, uint32_t left, struct flow *ret)
{
    struct icmp_quote q;
    if (left < IPV4_MIN || p[0] >> 4 != 4)
        return false;
    uint32_t header = (p[0] & 15u) * 4u;
    if (header < IPV4_MIN || left < header + PORTS_BYTES || (load_be16(p + 6) & 0x3fff) != 0)
        return false;
    if (p[9] == IP_PROTOCOL_TCP)
        *ret = (struct flow){tide_addr_v4(load_be32(p + 12)), tide_addr_v4(load_be32(p + 16)), load_be16(p + header), load_be16(p + header + 2)};
    else if (p[9] == IP_PROTOCOL_ICMP && icmp_parse_error(p + header, left - header, &q) == TIDE_OK)
        *ret = (struct flow){tide_addr_v4(q.source), tide_addr_v4(q.destination), q.source_port, q.destination_port};
    else
        return false;
    return true;
}

static bool find_flow6(const uint8_t *p, uint32_t left, uint32_t packet_len, struct flow *ret)
{
    struct tide_ipv6_view v;
    struct icmp6_quote q;
    if (tide_ipv6_parse(p, left, packet_len, &v) != TIDE_OK || left < v.header_len + (uint32_t)PORTS_BYTES)
        return false;
    const uint8_t *payload = p + v.header_len;
    if (v.protocol == TIDE_IPV6_TCP)
        *ret = (struct flow){v.source, v.destination, load_be16(payload), load_be16(payload + 2)};
    else if (v.protocol == TIDE_IPV6_ICMP && icmp6_parse_error(payload, left - v.header_len, &q) == TIDE_OK)
        *ret = (struct flow){q.source, q.destination, q.source_port, q.destination_port};
    else
        return false;
    return true;
}

uint32_t steer_core(const struct rte_mbuf *frame, uint32_t core_count, uint32_t here)
{
    const uint8_t *p = rte_pktmbuf_mtod(frame, const uint8_t *);
    struct flow f;
    uint32_t front = RTE_ETHER_HDR_LEN;
    bool found = false;
    uint16_t type;

    if (frame->data_len < RTE_ETHER_HDR_LEN + IPV4_MIN)
        return here;
    type = load_be16(p + 12);
    if (type == RTE_ETHER_TYPE_VLAN) {
        type = load_be16(p + 16);
        front += VLAN_BYTES;
    }
    if (type == RTE_ETHER_TYPE_IPV4)
        found = find_flow4(p + front, frame->data_len - front, &f);
    else if (type == RTE_ETHER_TYPE_IPV6)
        found = find_flow6(p + front, frame->data_len - front, frame->pkt_len - front, &f);
    if (!found)
        return here;
    return steer_flow(&f.source, f.source_port, &f.destination, f.destination_port, core_count);
}
