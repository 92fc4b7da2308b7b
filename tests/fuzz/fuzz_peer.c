/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as what a peer sends: to both ends of a stream, before and after the greeting, in pieces.
 *
 * An input is a byte that says which end hears it and whether it is greeted first, a byte of piece
 * sizes, and the bytes. Every piece is an exactly sized block. Whatever comes, the stream ends up open
 * or closed, and nothing is left in the pools.
 */
#include "../unit/unit.h"

#include "replica/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { POOL = 511, INPUT_HEAD = 2, INPUT_MAX = 60000, MESSAGE_MAX = 100000 };

static struct rte_mempool *pool, *dense;

static void look(struct peer_message *m)
{
    struct peer_ack a;
    struct peer_beat b;
    uint32_t n = 0;
    if (m->kind == PEER_ACK) {
        while (peer_next_ack(m, &a))
            n++;
        TIDE_ASSERT(n == m->ack.count);
    } else if (m->kind == PEER_BEAT) {
        while (peer_next_beat(m, &b))
            n++;
        TIDE_ASSERT(n == m->beat.count);
    } else if (m->kind == PEER_APPEND) {
        const uint8_t *piece;
        uint32_t got;
        while ((got = tide_slice_next(&m->rest, &piece)) != 0)
            n += got;
        TIDE_ASSERT(n == m->append.bytes);
    }
}

static void hear(struct stream *s, const uint8_t *bytes, size_t n, bool low)
{
    struct tide_rope r = {0};
    struct peer_message m;
    tide_rope_push(&r, unit_exact_mbuf(pool, bytes, (uint16_t)n));
    stream_on_bytes(s, 1, &r, low);
    while (stream_next(s, &m) == STREAM_STEP_MESSAGE) {
        TIDE_ASSERT(stream_message_bytes(s).len <= MESSAGE_MAX);
        look(&m);
        if (m.kind == PEER_HELLO && stream_accept(s, 1) == TIDE_REFUSED)
            stream_refuse(s, 35);
        stream_check(s);
    }
    stream_check(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct peer_hello ours = {.version_min = 1, .version_max = 1, .broker = 1, .core_count = 1};
    struct stream_config config = {.message_max = MESSAGE_MAX, .timeout_ms = 1000, .beat_ms = 100};
    struct stream s;
    if (len < INPUT_HEAD || len > INPUT_MAX)
        return 0;
    if (pool == NULL) {
        unit_eal();
        pool = unit_pool("fuzz_peer", POOL, 256);
        dense = unit_pool("fuzz_peer_dense", 63, 4096);
    }
    config.pool = pool;
    config.dense_pool = dense;
    config.end = bytes[0] & 1 ? STREAM_LEADER : STREAM_FOLLOWER;
    TIDE_ASSERT(stream_init(&s, 0, &config, &ours) == TIDE_OK);
    if (bytes[0] & 2) {
        struct tide_rope greeting = {0};
        uint8_t flat[128];
        TIDE_ASSERT(peer_put_hello(&greeting, pool, &ours) == TIDE_OK);
        uint32_t n = greeting.len;
        tide_slice_copy(tide_rope_slice(&greeting, 0, n), flat);
        tide_rope_clear(&greeting);
        hear(&s, flat, n, false);
    }
    size_t piece = bytes[1] & 15 ? (size_t)(bytes[1] & 15) * 97 : 65000;
    for (size_t at = INPUT_HEAD; at < len && s.state != STREAM_CLOSED; at += piece)
        hear(&s, bytes + at, TIDE_MIN(piece, len - at), bytes[1] & 128);
    stream_deinit(&s);
    TIDE_ASSERT(rte_mempool_avail_count(pool) == POOL && rte_mempool_avail_count(dense) == 63);
    return 0;
}
