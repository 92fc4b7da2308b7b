/* SPDX-License-Identifier: Apache-2.0 */
#include "tidemark/ipv6.h"

#include "tidemark/bytes.h"
#include "tidemark/checksum.h"

enum {
    IPV6_VERSION = 6,
    IPV6_SOURCE = 8,
    IPV6_DESTINATION = 24,
    EXTENSION_UNIT = 8,
    ROUTING_SEGMENTS_LEFT = 3,
    OPTION_PAD1 = 0,
    OPTION_ACTION = 0xc0, /* what who does not know the option is to do; 0: skip it */
};

/* Whether every option of a header may be skipped: 1 yes, 0 no, -1 when an option ends beyond it. */
static int options_verdict(const uint8_t *options, uint32_t len)
{
    uint32_t at = 0;
    while (at < len) {
        if (options[at] == OPTION_PAD1) {
            at++;
            continue;
        }
        if (at + 2 > len || at + 2 + options[at + 1] > len)
            return -1;
        if ((options[at] & OPTION_ACTION) != 0)
            return 0;
        at += 2u + options[at + 1];
    }
    return 1;
}

/* Skips one extension header at `bytes`; *ret_len is its length. 1: go on, 0: the packet is not for us to read, -1: it
 * is malformed. `left` bytes are there. */
static int extension_verdict(uint8_t kind, const uint8_t *bytes, uint32_t left, uint32_t *ret_len)
{
    if (left < EXTENSION_UNIT)
        return -1;
    *ret_len = (bytes[1] + 1u) * EXTENSION_UNIT;
    if (*ret_len > left)
        return -1;
    if (kind == TIDE_IPV6_ROUTING)
        return bytes[ROUTING_SEGMENTS_LEFT] == 0; /* RFC 8200 4.4, RFC 5095 3: we forward nothing */
    return options_verdict(bytes + 2, *ret_len - 2);
}

enum tide_status tide_ipv6_parse(const uint8_t *bytes, uint32_t len, uint32_t packet_len, struct tide_ipv6_view *ret)
{
    struct tide_ipv6_view v;
    if (len < TIDE_IPV6_HEADER || bytes[0] >> 4 != IPV6_VERSION)
        return TIDE_BAD;
    uint32_t total_len = TIDE_IPV6_HEADER + (uint32_t)load_be16(bytes + 4);
    uint32_t at = TIDE_IPV6_HEADER;
    uint32_t room = TIDE_MIN(TIDE_MIN(len, total_len), (uint32_t)TIDE_IPV6_HEADERS_MAX);
    if (total_len > packet_len)
        return TIDE_BAD;
    v.protocol = bytes[6];
    for (unsigned n = 0;; n++) {
        uint32_t extension_len = 0;
        uint8_t kind = v.protocol;
        if (kind != TIDE_IPV6_HOP_BY_HOP && kind != TIDE_IPV6_OPTIONS && kind != TIDE_IPV6_ROUTING)
            break;
        if (n == TIDE_IPV6_EXTENSIONS_MAX || (kind == TIDE_IPV6_HOP_BY_HOP && n != 0)) {
            v.protocol = TIDE_IPV6_NONE;
            break;
        }
        int verdict = extension_verdict(kind, bytes + at, room - at, &extension_len);
        if (verdict < 0)
            return TIDE_BAD;
        v.protocol = verdict > 0 ? bytes[at] : TIDE_IPV6_NONE;
        at += extension_len;
    }
    memcpy(v.source.bytes, bytes + IPV6_SOURCE, sizeof(v.source.bytes));
    memcpy(v.destination.bytes, bytes + IPV6_DESTINATION, sizeof(v.destination.bytes));
    v.header_len = (uint16_t)at;
    v.payload_len = (uint16_t)(total_len - at);
    v.hop_limit = bytes[7];
    v.ecn = bytes[1] >> 4 & 3;
    *ret = v;
    return TIDE_OK;
}

uint64_t tide_ipv6_pseudo_sum(const uint8_t addresses[32], uint8_t protocol, uint32_t len)
{
    return tide_sum_add(0, addresses, 32) + __builtin_bswap32(len) + __builtin_bswap32(protocol);
}
