/* SPDX-License-Identifier: Apache-2.0 */
#include "core/steer.h"

#include <stdio.h>

#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_malloc.h>

#include "tidemark/assert.h"
#include "tidemark/bytes.h"

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

uint32_t steer_flow(uint32_t addr_a, uint16_t port_a, uint32_t addr_b, uint16_t port_b, uint32_t core_count)
{
    uint64_t x = (uint64_t)(addr_a ^ addr_b) << 32 | (uint32_t)(port_a ^ port_b) << 16 |
                 (uint16_t)(port_a + port_b);
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return (uint32_t)(((x >> 32) * core_count) >> 32);
}

uint32_t steer_core(const struct rte_mbuf *frame, uint32_t core_count, uint32_t here)
{
    const uint8_t *p = rte_pktmbuf_mtod(frame, const uint8_t *);
    uint32_t left = frame->data_len;
    uint16_t type;
    uint32_t header;

    if (left < RTE_ETHER_HDR_LEN + IPV4_MIN)
        return here;
    type = load_be16(p + 12);
    p += RTE_ETHER_HDR_LEN;
    left -= RTE_ETHER_HDR_LEN;
    if (type == RTE_ETHER_TYPE_VLAN) {
        type = load_be16(p + 2);
        p += VLAN_BYTES;
        left -= VLAN_BYTES;
    }
    if (type != RTE_ETHER_TYPE_IPV4 || left < IPV4_MIN || p[0] >> 4 != 4 || p[9] != IPPROTO_TCP)
        return here;
    header = (p[0] & 15u) * 4u;
    if (header < IPV4_MIN || left < header + PORTS_BYTES || (load_be16(p + 6) & 0x3fff) != 0)
        return here;
    return steer_flow(load_be32(p + 12), load_be16(p + header), load_be32(p + 16),
                      load_be16(p + header + 2), core_count);
}
