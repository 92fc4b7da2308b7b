/* SPDX-License-Identifier: Apache-2.0 */
#include "node/rpc.h"

#include <assert.h>
#include <string.h>

#include <isa-l.h>

#include "tidemark/assert.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are copied as they lie in memory");

static uint32_t crc32c(const uint8_t *at, size_t len)
{
    return ~crc32_iscsi((unsigned char *)(uintptr_t)at, (int)len, ~0u);
}

bool rpc_is_answer(enum rpc_kind kind)
{
    return kind == RPC_HELLO_REPLY || kind == RPC_SUBMIT_REPLY || kind == RPC_HEARTBEAT_REPLY || kind == RPC_ENTRIES ||
           kind == RPC_CHUNK || kind == RPC_PROBE_REPLY;
}

/* ---- writing ------------------------------------------------------------------------------------------- */

struct writer {
    uint8_t *at;
};

static void put(struct writer *w, const void *from, size_t len)
{
    if (len != 0)
        memcpy(w->at, from, len);
    w->at += len;
}

static void put_u8(struct writer *w, unsigned v)
{
    *w->at++ = (uint8_t)v;
}

static void put_u16(struct writer *w, uint16_t v)
{
    put(w, &v, sizeof(v));
}

static void put_u32(struct writer *w, uint32_t v)
{
    put(w, &v, sizeof(v));
}

static void put_i32(struct writer *w, int32_t v)
{
    put(w, &v, sizeof(v));
}

static void put_u64(struct writer *w, uint64_t v)
{
    put(w, &v, sizeof(v));
}

static void put_bytes(struct writer *w, const struct rpc_bytes *b)
{
    put_u32(w, (uint32_t)b->len);
    put(w, b->at, b->len);
}

static void put_heartbeat(struct writer *w, const struct rpc_heartbeat *h)
{
    put_u64(w, h->number);
    put_u64(w, (uint64_t)h->epoch);
    put_u64(w, h->version);
    put_u8(w, (h->wants_fenced ? 1u : 0u) | (h->wants_shutdown ? 2u : 0u) | (h->health.faulty ? 4u : 0u));
    put_u8(w, h->health.silent_count);
    put_u8(w, h->health.offline_count);
    for (uint32_t i = 0; i < h->health.silent_count; i++) {
        put_i32(w, h->health.silent[i].broker);
        put_u32(w, h->health.silent[i].heard_ms);
        put_u32(w, h->health.silent[i].confirmed_ms);
    }
    for (uint32_t i = 0; i < h->health.offline_count; i++)
        put(w, &h->health.offline[i], sizeof(h->health.offline[i]));
}

static void put_hello_reply(struct writer *w, const struct rpc_hello_reply *r)
{
    size_t len = strnlen(r->reason, sizeof(r->reason));
    put_u8(w, r->result);
    put_u8(w, (unsigned)len);
    put(w, r->reason, len);
}

static void put_body(struct writer *w, const struct rpc_message *m)
{
    switch (m->kind) {
    case RPC_HELLO:
        put_u8(w, m->hello.version_min);
        put_u8(w, m->hello.version_max);
        put_u8(w, (m->hello.voter ? 1u : 0u) | (m->hello.fresh ? 2u : 0u));
        break;
    case RPC_HELLO_REPLY:
        put_hello_reply(w, &m->hello_reply);
        break;
    case RPC_RAFT:
        put_bytes(w, &m->raft);
        break;
    case RPC_SUBMIT:
        put_u64(w, m->submit.requester);
        put_u64(w, m->submit.sequence);
        put_bytes(w, &m->submit.command);
        break;
    case RPC_SUBMIT_REPLY:
        put_u64(w, m->submit_reply.requester);
        put_u64(w, m->submit_reply.sequence);
        put_u8(w, m->submit_reply.result);
        put_i32(w, m->submit_reply.controller);
        break;
    case RPC_HEARTBEAT:
        put_heartbeat(w, &m->heartbeat);
        break;
    case RPC_HEARTBEAT_REPLY:
        put_u64(w, m->heartbeat_reply.number);
        put_u16(w, (uint16_t)m->heartbeat_reply.error);
        put_u8(w, (m->heartbeat_reply.fenced ? 1u : 0u) | (m->heartbeat_reply.may_stop ? 2u : 0u));
        put_i32(w, m->heartbeat_reply.controller);
        break;
    case RPC_PULL:
        put_u64(w, m->pull.from);
        put_u64(w, m->pull.snapshot_index);
        put_u64(w, m->pull.offset);
        break;
    case RPC_ENTRIES:
        put_u64(w, m->entries.first);
        put_u64(w, m->entries.end);
        put_i32(w, m->entries.controller);
        put_u64(w, m->entries.term);
        put_u32(w, m->entries.count);
        put_bytes(w, &m->entries.list);
        break;
    case RPC_CHUNK:
        put_u64(w, m->chunk.index);
        put_u64(w, m->chunk.total);
        put_u64(w, m->chunk.offset);
        put_i32(w, m->chunk.controller);
        put_u64(w, m->chunk.term);
        put_bytes(w, &m->chunk.bytes);
        break;
    case RPC_PROBE:
    case RPC_PROBE_REPLY:
        put_u64(w, m->probe.token);
        put_u64(w, m->probe.term);
        break;
    case RPC_KIND_COUNT:
    default:
        TIDE_ASSERT(false);
    }
}

size_t rpc_size_max(const struct rpc_message *m)
{
    enum { FIXED = RPC_HEADER + 64 };
    switch (m->kind) {
    case RPC_RAFT:
        return FIXED + m->raft.len;
    case RPC_SUBMIT:
        return FIXED + m->submit.command.len;
    case RPC_ENTRIES:
        return FIXED + m->entries.list.len;
    case RPC_CHUNK:
        return FIXED + m->chunk.bytes.len;
    case RPC_HEARTBEAT:
        return FIXED + sizeof(struct node_health);
    case RPC_HELLO_REPLY:
        return FIXED + RPC_REASON_MAX;
    default:
        return FIXED;
    }
}

static uint8_t version_of(enum rpc_kind kind)
{
    return kind == RPC_HELLO || kind == RPC_HELLO_REPLY ? RPC_HELLO_VERSION : RPC_VERSION;
}

size_t rpc_encode(const struct rpc_message *m, uint8_t *to)
{
    struct writer w = {.at = to + 8};
    uint32_t len;
    uint32_t crc;
    put_u8(&w, version_of(m->kind));
    put_u8(&w, m->kind);
    put_u16(&w, 0);
    put_i32(&w, m->sender);
    put_i32(&w, m->receiver);
    put(&w, &m->cluster, sizeof(m->cluster));
    put(&w, &m->incarnation, sizeof(m->incarnation));
    TIDE_ASSERT(w.at == to + RPC_HEADER);
    put_body(&w, m);
    TIDE_ASSERT((size_t)(w.at - to) <= rpc_size_max(m));
    TIDE_ASSERT((size_t)(w.at - to) <= RPC_FRAME_MAX);
    len = (uint32_t)(w.at - to - 4);
    crc = crc32c(to + 8, len - 4);
    memcpy(to, &len, 4);
    memcpy(to + 4, &crc, 4);
    return len + 4;
}

/* ---- reading ------------------------------------------------------------------------------------------- */

/* After a failure everything read is zero. */
struct reader {
    const uint8_t *at, *end;
    bool failed;
};

static void get(struct reader *r, void *to, size_t len)
{
    if (r->failed || (size_t)(r->end - r->at) < len) {
        r->failed = true;
        memset(to, 0, len);
        return;
    }
    memcpy(to, r->at, len);
    r->at += len;
}

static uint8_t get_u8(struct reader *r)
{
    uint8_t v;
    get(r, &v, sizeof(v));
    return v;
}

static uint16_t get_u16(struct reader *r)
{
    uint16_t v;
    get(r, &v, sizeof(v));
    return v;
}

static uint32_t get_u32(struct reader *r)
{
    uint32_t v;
    get(r, &v, sizeof(v));
    return v;
}

static int32_t get_i32(struct reader *r)
{
    return (int32_t)get_u32(r);
}

static uint64_t get_u64(struct reader *r)
{
    uint64_t v;
    get(r, &v, sizeof(v));
    return v;
}

static struct rpc_bytes get_bytes(struct reader *r)
{
    struct rpc_bytes b = {.len = get_u32(r)};
    if (r->failed || (size_t)(r->end - r->at) < b.len) {
        r->failed = true;
        return (struct rpc_bytes){0};
    }
    b.at = r->at;
    r->at += b.len;
    return b;
}

/* A number below `count`. */
static unsigned get_choice(struct reader *r, unsigned count)
{
    unsigned v = get_u8(r);
    if (v >= count) {
        r->failed = true;
        return 0;
    }
    return v;
}

static void get_heartbeat(struct reader *r, struct rpc_heartbeat *h)
{
    uint8_t flags;
    h->number = get_u64(r);
    h->epoch = (int64_t)get_u64(r);
    h->version = get_u64(r);
    flags = (uint8_t)get_choice(r, 8);
    h->wants_fenced = flags & 1;
    h->wants_shutdown = flags & 2;
    h->health.faulty = flags & 4;
    h->health.silent_count = get_choice(r, HEALTH_SILENT_MAX + 1);
    h->health.offline_count = get_choice(r, HEALTH_OFFLINE_MAX + 1);
    for (uint32_t i = 0; i < h->health.silent_count; i++) {
        h->health.silent[i].broker = get_i32(r);
        h->health.silent[i].heard_ms = get_u32(r);
        h->health.silent[i].confirmed_ms = get_u32(r);
    }
    for (uint32_t i = 0; i < h->health.offline_count; i++)
        get(r, &h->health.offline[i], sizeof(h->health.offline[i]));
}

static void get_hello_reply(struct reader *r, struct rpc_hello_reply *h)
{
    unsigned len;
    h->result = get_choice(r, RPC_HELLO_RESULT_COUNT);
    len = get_choice(r, RPC_REASON_MAX);
    memset(h->reason, 0, sizeof(h->reason));
    get(r, h->reason, len);
    for (unsigned i = 0; i < len; i++) /* it goes into a log */
        if (h->reason[i] < ' ' || h->reason[i] > '~')
            r->failed = true;
}

static void get_entries(struct reader *r, struct rpc_entries *e)
{
    struct rpc_bytes list, entry;
    uint32_t count = 0;
    e->first = get_u64(r);
    e->end = get_u64(r);
    e->controller = get_i32(r);
    e->term = get_u64(r);
    e->count = get_u32(r);
    e->list = get_bytes(r);
    for (list = e->list; rpc_entry_next(&list, &entry);)
        count++;
    if (list.len != 0 || count != e->count || e->first + count < e->first || e->first + count > e->end)
        r->failed = true;
}

static void get_chunk(struct reader *r, struct rpc_chunk *c)
{
    c->index = get_u64(r);
    c->total = get_u64(r);
    c->offset = get_u64(r);
    c->controller = get_i32(r);
    c->term = get_u64(r);
    c->bytes = get_bytes(r);
    if (c->offset > c->total || c->bytes.len > c->total - c->offset)
        r->failed = true;
}

static void get_body(struct reader *r, struct rpc_message *m)
{
    uint8_t flags;
    switch (m->kind) {
    case RPC_HELLO:
        m->hello.version_min = get_u8(r);
        m->hello.version_max = get_u8(r);
        flags = (uint8_t)get_choice(r, 4);
        m->hello.voter = flags & 1;
        m->hello.fresh = flags & 2;
        break;
    case RPC_HELLO_REPLY:
        get_hello_reply(r, &m->hello_reply);
        break;
    case RPC_RAFT:
        m->raft = get_bytes(r);
        break;
    case RPC_SUBMIT:
        m->submit.requester = get_u64(r);
        m->submit.sequence = get_u64(r);
        m->submit.command = get_bytes(r);
        break;
    case RPC_SUBMIT_REPLY:
        m->submit_reply.requester = get_u64(r);
        m->submit_reply.sequence = get_u64(r);
        m->submit_reply.result = get_choice(r, RPC_SUBMIT_RESULT_COUNT);
        m->submit_reply.controller = get_i32(r);
        break;
    case RPC_HEARTBEAT:
        get_heartbeat(r, &m->heartbeat);
        break;
    case RPC_HEARTBEAT_REPLY:
        m->heartbeat_reply.number = get_u64(r);
        m->heartbeat_reply.error = (int16_t)get_u16(r);
        flags = (uint8_t)get_choice(r, 4);
        m->heartbeat_reply.fenced = flags & 1;
        m->heartbeat_reply.may_stop = flags & 2;
        m->heartbeat_reply.controller = get_i32(r);
        break;
    case RPC_PULL:
        m->pull.from = get_u64(r);
        m->pull.snapshot_index = get_u64(r);
        m->pull.offset = get_u64(r);
        break;
    case RPC_ENTRIES:
        get_entries(r, &m->entries);
        break;
    case RPC_CHUNK:
        get_chunk(r, &m->chunk);
        break;
    case RPC_PROBE:
    case RPC_PROBE_REPLY:
        m->probe.token = get_u64(r);
        m->probe.term = get_u64(r);
        break;
    case RPC_KIND_COUNT:
    default:
        r->failed = true;
    }
}

enum tide_status rpc_frame_len(const uint8_t *bytes, size_t have, size_t frame_max, size_t *ret_len)
{
    uint32_t len;
    if (have < 4)
        return TIDE_AGAIN;
    memcpy(&len, bytes, 4);
    if (len < RPC_HEADER - 4 || len > frame_max - 4)
        return TIDE_BAD;
    *ret_len = (size_t)len + 4;
    return TIDE_OK;
}

enum tide_status rpc_decode(const uint8_t *frame, size_t len, struct rpc_message *ret)
{
    struct reader r = {.at = frame + 8, .end = frame + len};
    uint32_t said, crc;
    uint8_t version;
    if (len < RPC_HEADER || len > RPC_FRAME_MAX)
        return TIDE_BAD;
    memcpy(&said, frame, 4);
    memcpy(&crc, frame + 4, 4);
    if (said != len - 4)
        return TIDE_BAD;
    if (crc32c(frame + 8, len - 8) != crc)
        return TIDE_BAD;
    memset(ret, 0, sizeof(*ret));
    version = get_u8(&r);
    ret->kind = get_choice(&r, RPC_KIND_COUNT);
    if (version != version_of(ret->kind) || get_u16(&r) != 0)
        return TIDE_BAD;
    ret->sender = get_i32(&r);
    ret->receiver = get_i32(&r);
    get(&r, &ret->cluster, sizeof(ret->cluster));
    get(&r, &ret->incarnation, sizeof(ret->incarnation));
    if (ret->sender < 0)
        return TIDE_BAD;
    get_body(&r, ret);
    return r.failed || r.at != r.end ? TIDE_BAD : TIDE_OK;
}

/* ---- lists of commands ----------------------------------------------------------------------------------- */

size_t rpc_entry_put(uint8_t *to, size_t at, const uint8_t *bytes, size_t len)
{
    uint32_t n = (uint32_t)len;
    memcpy(to + at, &n, 4);
    if (len != 0)
        memcpy(to + at + 4, bytes, len);
    return at + 4 + len;
}

bool rpc_entry_next(struct rpc_bytes *list, struct rpc_bytes *ret)
{
    uint32_t len;
    if (list->len < 4)
        return false;
    memcpy(&len, list->at, 4);
    if (list->len - 4 < len)
        return false;
    *ret = (struct rpc_bytes){list->at + 4, len};
    list->at += 4 + (size_t)len;
    list->len -= 4 + (size_t)len;
    return true;
}
