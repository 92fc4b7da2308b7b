/* SPDX-License-Identifier: Apache-2.0 */
#include "tidemark/rss.h"

#include "tidemark/bytes.h"

enum { KEY_WORD = 0x6d5a };

#define KEY_8 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a
const uint8_t tide_rss_key[TIDE_RSS_KEY_MAX] = {KEY_8, KEY_8, KEY_8, KEY_8, KEY_8, KEY_8, KEY_8, KEY_8};

static uint64_t xor_of(const struct tide_addr *a, const struct tide_addr *b)
{
    return load_be64(a->bytes) ^ load_be64(b->bytes) ^ load_be64(a->bytes + 8) ^ load_be64(b->bytes + 8);
}

static uint32_t reversed(uint32_t word)
{
    word = (word & 0x5555) << 1 | (word >> 1 & 0x5555);
    word = (word & 0x3333) << 2 | (word >> 2 & 0x3333);
    word = (word & 0x0f0f) << 4 | (word >> 4 & 0x0f0f);
    return (word & 0x00ff) << 8 | word >> 8;
}

/* Toeplitz adds for every bit that is set the 32 bits of the key that begin at the bit's place; in this key these are the word,
 * turned, twice. The other way about, it is the reversed sum, turned once for every bit of the key's word: no loop, no branch. */
uint32_t tide_rss_hash(const struct tide_addr *addr_a, uint16_t port_a, const struct tide_addr *addr_b, uint16_t port_b)
{
    static_assert(KEY_WORD == (1 << 1 | 1 << 3 | 1 << 4 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11 | 1 << 13 | 1 << 14), "the turns below are the key's");
    uint64_t x = xor_of(addr_a, addr_b);
    uint32_t word = (uint32_t)(x >> 32 ^ x);
    uint32_t r = reversed((word >> 16 ^ word ^ port_a ^ port_b) & 0xffff);
    uint32_t twice = r << 16 | r; /* shifted left, its upper half is the word turned */
    uint32_t turned = twice << 1 ^ twice << 3 ^ twice << 4 ^ twice << 6 ^ twice << 8 ^ twice << 10 ^ twice << 11 ^ twice << 13 ^ twice << 14;
    return (turned & 0xffff0000) | turned >> 16;
}
