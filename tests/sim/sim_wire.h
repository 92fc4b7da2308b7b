/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data network of simulated machines: frames that take a while, are lost, doubled and change places, and cuts in one
 * direction or both. Same seed and same calls, same run (P12).
 *
 * Nodes are numbers: brokers from 0, and one client. Each has a card with a queue per core, which spreads flows by the hash and the
 * table that a real one is given, or, as virtual wires do, brings every frame or some of them anywhere; a seed says which.
 */
#ifndef TIDEMARK_TESTS_SIM_WIRE_H
#define TIDEMARK_TESTS_SIM_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_ether.h>
#include <rte_mbuf.h>

#include "tidemark/random.h"
#include "tidemark/types.h"

enum { SIM_BROKERS_MAX = 3, SIM_CLIENT = SIM_BROKERS_MAX, SIM_NODES = SIM_BROKERS_MAX + 1, SIM_WIRE_MAX = 16384 };

/* Frames that come to another queue than their flow's. */
enum sim_strays { SIM_STRAYS_NONE, SIM_STRAYS_SOME, SIM_STRAYS_ALL, SIM_STRAYS_COUNT };

struct sim_flight {
    uint64_t at_ns, order;
    unsigned to;
    uint32_t queue;
    struct rte_mbuf *m;
};

struct sim_wire {
    struct tide_random *random;
    struct rte_mempool *pool; /* of frames under way */
    unsigned brokers;
    uint32_t queues; /* of each node */
    enum sim_strays strays;
    /* one in so many; 0: never */
    unsigned loss, duplicate, reorder;
    uint64_t delay_ns;
    bool calm; /* nothing is lost, doubled or late any more */
    bool cut[SIM_NODES][SIM_NODES]; /* [from][to] */
    uint64_t frames, digest, order;
    unsigned count;
    struct sim_flight *flights; /* a heap: the first is the next */
};

void sim_wire_init(struct sim_wire *, struct tide_random *, struct rte_mempool *pool, unsigned brokers, uint32_t queues);
void sim_wire_deinit(struct sim_wire *);
struct rte_ether_addr sim_mac(unsigned node);
struct tide_addr sim_addr(unsigned node); /* 10.0.0.node + 1 */
/* The chain is the wire's. */
void sim_wire_send(struct sim_wire *, uint64_t now_ns, unsigned from, struct rte_mbuf *chain);
/* The next frame that has arrived. */
bool sim_wire_take(struct sim_wire *, uint64_t now_ns, struct sim_flight *ret);
uint64_t sim_wire_deadline_ns(const struct sim_wire *);

/* FNV-1a of what a run does. */
static inline uint64_t sim_mix(uint64_t digest, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    for (size_t i = 0; i < n; i++)
        digest = (digest ^ p[i]) * 0x100000001b3ull;
    return digest;
}
#define SIM_DIGEST_BEGIN 0xcbf29ce484222325ull

#endif
