/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The IPv6 header and the extension headers behind it (RFC 8200), read in one bounded walk.
 *
 * Three layers read it: the port's software checksums, the network layer and the steering of flows. They must agree
 * where TCP begins, or a packet reaches TCP whose sum nobody has looked at; so the walk exists once. Pure, over
 * borrowed bytes.
 *
 * Extension headers are skipped, within TIDE_IPV6_EXTENSIONS_MAX headers and TIDE_IPV6_HEADERS_MAX bytes: hop-by-hop
 * options (only as the first one, RFC 8200 4.1), destination options, and routing headers that have been used up. An
 * option that nobody here knows ends the packet unless its type says that it may be skipped (RFC 8200 4.2). A fragment
 * header ends the walk, also that of a fragment that is a whole packet: nobody sends these any more (RFC 8021).
 */
#ifndef TIDEMARK_IPV6_H
#define TIDEMARK_IPV6_H

#include <stdint.h>

#include "tidemark/status.h"
#include "tidemark/types.h"

enum tide_ipv6_limit {
    TIDE_IPV6_HEADER = 40,
    TIDE_IPV6_EXTENSIONS_MAX = 6,
    TIDE_IPV6_HEADERS_MAX = 256, /* bytes of all headers in front of the payload */
    TIDE_IPV6_MTU_MIN = 1280,    /* RFC 8200 5 */
};

enum tide_ipv6_next {
    TIDE_IPV6_HOP_BY_HOP = 0,
    TIDE_IPV6_TCP = 6,
    TIDE_IPV6_ROUTING = 43,
    TIDE_IPV6_FRAGMENT = 44,
    TIDE_IPV6_ICMP = 58,
    TIDE_IPV6_NONE = 59, /* no next header; also what the view names when the headers cannot be walked through */
    TIDE_IPV6_OPTIONS = 60,
};

struct tide_ipv6_view {
    struct tide_addr source;
    struct tide_addr destination;
    uint16_t header_len;  /* with extension headers */
    uint16_t payload_len; /* behind them, without Ethernet's padding */
    uint8_t protocol;     /* of the payload; TIDE_IPV6_FRAGMENT: a fragment */
    uint8_t hop_limit;
    uint8_t ecn;
};

/* `len` bytes are contiguous here and `packet_len` >= len belong to the frame behind the Ethernet header. TIDE_BAD when
 * version or payload length do not fit them, or an extension header ends beyond the packet or the contiguous bytes. */
TIDE_MUST_USE enum tide_status tide_ipv6_parse(const uint8_t *bytes, uint32_t len, uint32_t packet_len, struct tide_ipv6_view *ret);

/* Sum of the pseudo-header (RFC 8200 8.1) over the 32 bytes of source and destination as they lie in a header; in the
 * byte order of memory, to be folded (checksum.h). */
uint64_t tide_ipv6_pseudo_sum(const uint8_t addresses[32], uint8_t protocol, uint32_t len);

#endif
