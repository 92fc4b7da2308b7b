/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Little-endian bytes of commands, results and snapshots. Both ends keep a sticky `failed`, asked once at the end.
 */
#ifndef TIDEMARK_CONTROL_CLUSTER_PACKING_H
#define TIDEMARK_CONTROL_CLUSTER_PACKING_H

#include <assert.h>

#include "cluster/command.h"

/* Writes, or only counts (to == NULL), or hashes what it counts. */
struct packer {
    uint8_t *to;
    size_t cap, at;
    bool failed;
    bool hashing;
    uint64_t hash;
};

static inline void pack(struct packer *w, const void *bytes, size_t n)
{
    if (w->hashing) {
        const uint8_t *b = bytes;
        for (size_t i = 0; i < n; i++)
            w->hash = (w->hash ^ b[i]) * 0x100000001b3ull; /* FNV-1a */
    } else if (w->to != NULL && !w->failed) {
        if (n > w->cap - w->at) {
            w->failed = true;
            return;
        }
        if (n != 0)
            memcpy(w->to + w->at, bytes, n);
    }
    w->at += n;
}

static inline void pack_u8(struct packer *w, uint8_t v) { pack(w, &v, sizeof(v)); }
static inline void pack_u16(struct packer *w, uint16_t v) { pack(w, &v, sizeof(v)); }
static inline void pack_u32(struct packer *w, uint32_t v) { pack(w, &v, sizeof(v)); }
static inline void pack_u64(struct packer *w, uint64_t v) { pack(w, &v, sizeof(v)); }
static inline void pack_i32(struct packer *w, int32_t v) { pack(w, &v, sizeof(v)); }
static inline void pack_i64(struct packer *w, int64_t v) { pack(w, &v, sizeof(v)); }
static inline void pack_uuid(struct packer *w, const struct tide_uuid *u) { pack(w, u, sizeof(*u)); }

static inline void pack_text(struct packer *w, const char *text)
{
    size_t n = strlen(text);
    pack_u16(w, (uint16_t)n);
    pack(w, text, n);
}

static inline void pack_ids(struct packer *w, const int32_t *ids, uint32_t count)
{
    pack_u8(w, (uint8_t)count);
    pack(w, ids, count * sizeof(*ids));
}

struct unpacker {
    const uint8_t *p;
    size_t left;
    bool failed;
};

static inline void unpack(struct unpacker *r, void *to, size_t n)
{
    if (r->failed || n > r->left) {
        r->failed = true;
        memset(to, 0, n);
        return;
    }
    if (n != 0)
        memcpy(to, r->p, n);
    r->p += n;
    r->left -= n;
}

#define UNPACK(name, type)                                                                                              \
    static inline type name(struct unpacker *r)                                                                         \
    {                                                                                                                   \
        type v;                                                                                                         \
        unpack(r, &v, sizeof(v));                                                                                       \
        return v;                                                                                                       \
    }
UNPACK(unpack_u8, uint8_t)
UNPACK(unpack_u16, uint16_t)
UNPACK(unpack_u32, uint32_t)
UNPACK(unpack_u64, uint64_t)
UNPACK(unpack_i32, int32_t)
UNPACK(unpack_i64, int64_t)
UNPACK(unpack_uuid, struct tide_uuid)
#undef UNPACK

/* 0 or 1, nothing else: one meaning has one form. */
static inline bool unpack_bool(struct unpacker *r)
{
    uint8_t v = unpack_u8(r);
    r->failed |= v > 1;
    return v == 1;
}

/* A text without NUL that fits, NUL included. */
static inline void unpack_text(struct unpacker *r, char *to, size_t cap)
{
    size_t n = unpack_u16(r);
    if (n >= cap || n > r->left) {
        r->failed = true;
        to[0] = 0;
        return;
    }
    unpack(r, to, n);
    to[n] = 0;
    if (strlen(to) != n)
        r->failed = true;
}

/* A number of things that take at least `least` bytes each. */
static inline uint32_t unpack_count(struct unpacker *r, uint32_t most, size_t least)
{
    uint32_t n = unpack_u32(r);
    if (n > most || n > r->left / least) {
        r->failed = true;
        return 0;
    }
    return n;
}

static inline uint32_t unpack_ids(struct unpacker *r, int32_t *ids)
{
    uint32_t n = unpack_u8(r);
    if (n > TIDE_REPLICAS_MAX) {
        r->failed = true;
        return 0;
    }
    unpack(r, ids, n * sizeof(*ids));
    return r->failed ? 0 : n;
}

/* A broker as far as it describes itself; command.c, and snapshots use it as well. */
void pack_broker(struct packer *, const struct cluster_broker *);
void unpack_broker(struct unpacker *, struct cluster_broker *);
void pack_config(struct packer *, const struct cluster_config *);
void unpack_config(struct unpacker *, struct cluster_config *);

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are copied as they are");

#endif
