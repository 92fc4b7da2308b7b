/* SPDX-License-Identifier: Apache-2.0 */
#include "sim_wire.h"

#include <stdlib.h>
#include <string.h>

#include <rte_thash.h>

#include "../unit/unit.h"
#include "tidemark/assert.h"
#include "tidemark/bytes.h"
#include "tidemark/rss.h"

enum { FRAME_ROOM = 1800, RETA = 512, STRAY_ONE_IN = 40 };

void sim_wire_init(struct sim_wire *w, struct tide_random *random, struct rte_mempool *pool, unsigned brokers, uint32_t queues)
{
    memset(w, 0, sizeof(*w));
    w->random = random;
    w->pool = pool;
    w->brokers = brokers;
    w->queues = queues;
    w->digest = SIM_DIGEST_BEGIN;
    w->strays = queues == 1 ? SIM_STRAYS_ALL : (enum sim_strays)tide_random_below(random, SIM_STRAYS_COUNT);
    w->flights = calloc(SIM_WIRE_MAX, sizeof(*w->flights));
    TIDE_ASSERT(w->flights != NULL);
}

void sim_wire_deinit(struct sim_wire *w)
{
    while (w->count != 0)
        rte_pktmbuf_free(w->flights[--w->count].m);
    free(w->flights);
}

struct rte_ether_addr sim_mac(unsigned node)
{
    return (struct rte_ether_addr){{2, 0, 0, 0, 0, (uint8_t)(node + 1)}};
}

struct tide_addr sim_addr(unsigned node)
{
    return tide_addr_v4(0x0a000001 + node);
}

/* As a card with several queues does it: the hash by DPDK's own function, the low bits of it, the table. */
static uint32_t queue_of_flow(const struct sim_wire *w, const uint8_t *frame, uint32_t len)
{
    enum { IP = 14, TCP = 34, TUPLE = 3 };
    uint32_t words[TUPLE];
    uint32_t hash;
    if (len < TCP + 4 || load_be16(frame + 12) != RTE_ETHER_TYPE_IPV4 || frame[IP] != 0x45 || frame[IP + 9] != 6)
        return 0;
    for (unsigned i = 0; i < 2; i++)
        words[i] = load_be32(frame + IP + 12 + 4 * i);
    words[2] = load_be32(frame + TCP);
    hash = rte_softrss(words, TUPLE, tide_rss_key);
    return tide_rss_core(hash % RETA, w->queues);
}

static uint32_t queue_of(struct sim_wire *w, const uint8_t *frame, uint32_t len)
{
    bool stray = w->strays == SIM_STRAYS_ALL || (w->strays == SIM_STRAYS_SOME && tide_random_hits(w->random, STRAY_ONE_IN));
    return stray ? (uint32_t)tide_random_below(w->random, w->queues) : queue_of_flow(w, frame, len);
}

static bool is_before(const struct sim_flight *a, const struct sim_flight *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void put(struct sim_wire *w, struct sim_flight f)
{
    unsigned at = w->count++;
    while (at != 0 && is_before(&f, &w->flights[(at - 1) / 2])) {
        w->flights[at] = w->flights[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    w->flights[at] = f;
}

static void fly(struct sim_wire *w, uint64_t now_ns, unsigned from, unsigned to, const uint8_t *bytes, uint32_t len)
{
    uint64_t at = now_ns + w->delay_ns;
    if (w->cut[from][to] || w->count == SIM_WIRE_MAX || (!w->calm && tide_random_hits(w->random, w->loss)))
        return;
    if (!w->calm && tide_random_hits(w->random, w->reorder))
        at += tide_random_below(w->random, 8 * w->delay_ns);
    put(w, (struct sim_flight){.at_ns = at, .order = w->order++, .to = to, .queue = queue_of(w, bytes, len),
                               .m = unit_exact_mbuf(w->pool, bytes, (uint16_t)len)});
}

void sim_wire_send(struct sim_wire *w, uint64_t now_ns, unsigned from, struct rte_mbuf *chain)
{
    uint8_t bytes[FRAME_ROOM];
    uint32_t at = 0;
    for (struct rte_mbuf *m = chain; m != NULL; m = m->next) {
        TIDE_ASSERT(at + m->data_len <= sizeof(bytes)); /* no frame is longer than the link's */
        memcpy(bytes + at, rte_pktmbuf_mtod(m, uint8_t *), m->data_len);
        at += m->data_len;
    }
    rte_pktmbuf_free(chain);
    w->digest = sim_mix(w->digest, bytes, at);
    w->frames++;
    for (unsigned to = 0; to < SIM_NODES; to++) {
        struct rte_ether_addr mac = sim_mac(to);
        if (to == from || (to < SIM_CLIENT && to >= w->brokers))
            continue;
        if (!(bytes[0] & 1) && memcmp(bytes, mac.addr_bytes, 6) != 0)
            continue;
        fly(w, now_ns, from, to, bytes, at);
        if (!w->calm && tide_random_hits(w->random, w->duplicate))
            fly(w, now_ns, from, to, bytes, at);
    }
}

bool sim_wire_take(struct sim_wire *w, uint64_t now_ns, struct sim_flight *ret)
{
    struct sim_flight last;
    unsigned at = 0;
    if (w->count == 0 || w->flights[0].at_ns > now_ns)
        return false;
    *ret = w->flights[0];
    last = w->flights[--w->count];
    for (;;) {
        unsigned child = 2 * at + 1;
        if (child + 1 < w->count && is_before(&w->flights[child + 1], &w->flights[child]))
            child++;
        if (child >= w->count || !is_before(&w->flights[child], &last))
            break;
        w->flights[at] = w->flights[child];
        at = child;
    }
    w->flights[at] = last;
    return true;
}

uint64_t sim_wire_deadline_ns(const struct sim_wire *w)
{
    return w->count != 0 ? w->flights[0].at_ns : TIDE_NEVER;
}
