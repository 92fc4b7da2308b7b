/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hash that spreads flows over cores: the one that cards compute (Toeplitz), with one key for all brokers.
 *
 * Every two bytes of the key are alike, so both directions of a flow have one hash, and a word counts the same wherever
 * it stands: the hash is that of the exclusive or of all 16-bit words of addresses and ports. Software computes it in a
 * few instructions, a card computes the same. Core of a flow: bucket % cores; a card's redirection table is filled to say
 * so. All this is constant, so whoever connects knows where his flow will land at the other end once he knows how many
 * cores there are, which the view tells: nobody's key or table travels.
 *
 * What it costs: a stranger can compute it, too, and choose ports that meet on one core. He can load one core by one
 * connection as well; what a connection may cost is bounded elsewhere.
 */
#ifndef TIDEMARK_RSS_H
#define TIDEMARK_RSS_H

#include <assert.h>
#include <stdint.h>

#include "tidemark/types.h"

/* Tables of 128 entries and multiples of it say the same; a shorter one does for a number of cores that is a power of two. */
enum { TIDE_RSS_KEY_MAX = 64, TIDE_RSS_BUCKETS = 128 };
static_assert(TIDE_RSS_BUCKETS % TIDE_CORES_MAX == 0, "a power of two of cores shares evenly");

/* A card's key is as long as it likes: the first bytes of this one. */
extern const uint8_t tide_rss_key[TIDE_RSS_KEY_MAX];

/* [any] Ports in host order; which end is which does not matter. IPv4 and IPv6: what is before an IPv4 address in a
 * tide_addr is the same in both and cancels. */
uint32_t tide_rss_hash(const struct tide_addr *addr_a, uint16_t port_a, const struct tide_addr *addr_b, uint16_t port_b);

static inline uint32_t tide_rss_core(uint32_t hash, uint32_t core_count)
{
    return hash % TIDE_RSS_BUCKETS % core_count;
}

#endif
