/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Little-endian writing and checked reading for the quorum's messages and files, its checksum, and
 * memory that is there or the process stops (the control plane restarts from its disk).
 *
 * A reader keeps a sticky `failed`: read everything, then ask once.
 */
#ifndef TIDEMARK_CONTROL_RAFT_QUORUM_BYTES_H
#define TIDEMARK_CONTROL_RAFT_QUORUM_BYTES_H

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <isa-l/crc.h>

#include "tidemark/assert.h"
#include "tidemark/types.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the copies below keep the order of memory");

struct quorum_reader {
    const uint8_t *at;
    size_t left;
    bool failed;
};

static inline void *quorum_alloc(size_t len)
{
    void *p = calloc(1, len != 0 ? len : 1);
    TIDE_ASSERT(p != NULL);
    return p;
}

static inline void *quorum_copy(const void *bytes, size_t len)
{
    void *p = quorum_alloc(len);
    if (len != 0)
        memcpy(p, bytes, len);
    return p;
}

static inline void *quorum_grow(void *p, size_t count, size_t size)
{
    p = realloc(p, count * size);
    TIDE_ASSERT(p != NULL);
    return p;
}

static inline uint32_t quorum_crc(const void *bytes, size_t len)
{
    uint32_t crc = ~0u;
    const uint8_t *at = bytes;
    while (len != 0) { /* the library counts in int */
        size_t piece = TIDE_MIN(len, (size_t)1 << 30);
        crc = crc32_iscsi((unsigned char *)(uintptr_t)at, (int)piece, crc);
        at += piece;
        len -= piece;
    }
    return ~crc;
}

static inline const uint8_t *quorum_read_bytes(struct quorum_reader *r, size_t len)
{
    const uint8_t *at = r->at;
    if (r->failed || len > r->left) {
        r->failed = true;
        return NULL;
    }
    r->at += len;
    r->left -= len;
    return at;
}

static inline uint64_t quorum_read(struct quorum_reader *r, size_t width)
{
    uint64_t value = 0;
    const uint8_t *at = quorum_read_bytes(r, width);
    if (at != NULL)
        memcpy(&value, at, width);
    return value;
}

/* The writers below return where the next field goes. */
static inline uint8_t *quorum_write(uint8_t *at, uint64_t value, size_t width)
{
    memcpy(at, &value, width);
    return at + width;
}

static inline uint8_t *quorum_write_bytes(uint8_t *at, const void *bytes, size_t len)
{
    if (len != 0)
        memcpy(at, bytes, len);
    return at + len;
}

#endif
