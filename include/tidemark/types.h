/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small words that both planes share, and the hard limits of a broker.
 */
#ifndef TIDEMARK_TYPES_H
#define TIDEMARK_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Limits that size static structures. What an operator may change is in config/settings.def. */
enum tide_limit {
    TIDE_CACHE_LINE = 64,
    TIDE_CORES_MAX = 32,
    TIDE_PORTS_MAX = 8,
    TIDE_LISTENERS_MAX = 8,
    TIDE_PARTITIONS_MAX = 4096,     /* replicas hosted by one broker */
    TIDE_REPLICAS_MAX = 16,         /* of one partition */
    TIDE_BURST = 32,                /* frames in one receive or transmit burst */
    TIDE_TOPIC_NAME_MAX = 249,      /* Kafka's limit */
    TIDE_CLIENT_ID_MAX = 128,       /* longer client ids are cut, for logging only */
    TIDE_PREAUTH_FRAME_MAX = 65536, /* bytes of a frame before authentication */
    TIDE_BLOCK = 4096,              /* unit of log writes; every device alignment divides it */
};

/* The topic in which groups live (kafka-protocol 9.1), and the one of transactions. */
#define TIDE_OFFSETS_TOPIC "__consumer_offsets"
#define TIDE_TRANSACTIONS_TOPIC "__transaction_state"

/* The feature that lets groups of the consumer protocol (KIP-848) be served: at level 1. */
#define TIDE_FEATURE_GROUP "group.version"

/* The time of a turn. Nothing of safety reads wall_ms: that clock may jump. */
struct tide_time {
    uint64_t now_ns; /* monotonic */
    int64_t wall_ms; /* Unix epoch */
    uint64_t tick;     /* the processor's counter at now_ns, and nanoseconds per tick in 1/2^32: clock.h; */
    uint64_t tick_q32; /* 0: virtual time */
};

/* RFC 9562 uuid, most significant byte first; all zero means none. */
struct tide_uuid {
    uint8_t bytes[16];
};

static inline bool tide_uuid_is_zero(const struct tide_uuid *u)
{
    static const struct tide_uuid zero;
    return memcmp(u, &zero, sizeof(zero)) == 0;
}

static inline bool tide_uuid_equal(const struct tide_uuid *a, const struct tide_uuid *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

/* 22 characters of unpadded base64url and a NUL, the way Kafka prints ids. */
enum { TIDE_UUID_TEXT = 23 };
void tide_uuid_to_text(const struct tide_uuid *u, char ret_text[TIDE_UUID_TEXT]);
bool tide_uuid_from_text(const char *text, size_t len, struct tide_uuid *ret);

/* IP address as 16 bytes; IPv4 as ::ffff:a.b.c.d (RFC 4291 2.5.5.2), so one code serves both. */
struct tide_addr {
    uint8_t bytes[16];
};

static inline struct tide_addr tide_addr_v4(uint32_t host_order)
{
    struct tide_addr a = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff,
                           (uint8_t)(host_order >> 24), (uint8_t)(host_order >> 16),
                           (uint8_t)(host_order >> 8), (uint8_t)host_order}};
    return a;
}

static inline bool tide_addr_is_same(const struct tide_addr *a, const struct tide_addr *b)
{
    uint64_t of_a[2], of_b[2];
    memcpy(of_a, a->bytes, sizeof(of_a));
    memcpy(of_b, b->bytes, sizeof(of_b));
    return ((of_a[0] ^ of_b[0]) | (of_a[1] ^ of_b[1])) == 0;
}

static inline bool tide_addr_is_v4(const struct tide_addr *a)
{
    static const uint8_t prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return memcmp(a->bytes, prefix, sizeof(prefix)) == 0;
}

static inline uint32_t tide_addr_to_v4(const struct tide_addr *a)
{
    return (uint32_t)a->bytes[12] << 24 | (uint32_t)a->bytes[13] << 16 |
           (uint32_t)a->bytes[14] << 8 | a->bytes[15];
}

/* The smaller argument is evaluated twice: none may change anything or be read from memory that
 * another thread writes (tests/lint/words.py looks for the usual ways). */
#define TIDE_MIN(a, b) ((a) < (b) ? (a) : (b))
#define TIDE_MAX(a, b) ((a) > (b) ? (a) : (b))
#define TIDE_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define TIDE_NS_PER_MS 1000000ull
#define TIDE_NS_PER_S 1000000000ull
#define TIDE_NEVER UINT64_MAX /* a deadline that does not come */

#endif
