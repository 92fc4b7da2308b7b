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

/* Toeplitz adds for every bit that is set the 32 bits of the key that begin at the bit's place; in this key these are
 * the word, turned, twice. */
uint32_t tide_rss_hash(const struct tide_addr *addr_a, uint16_t port_a, const struct tide_addr *addr_b, uint16_t port_b)
{
    uint64_t x = xor_of(addr_a, addr_b);
    uint32_t word = (uint32_t)(x >> 32 ^ x);
    uint32_t key = (uint32_t)KEY_WORD << 16 | KEY_WORD;
    uint32_t hash = 0;
    word = (word >> 16 ^ word ^ port_a ^ port_b) & 0xffff;
    for (unsigned bit = 0; bit < 16; bit++) {
        hash ^= key & (0u - (word >> (15 - bit) & 1));
        key = key << 1 | key >> 31;
    }
    return hash;
}
