/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Committed commands for those that do not take part in the quorum: pulled by an observer, served by a voter.
 */
#include "node/internal.h"

#include <stdlib.h>
#include <string.h>

#include "tidemark/assert.h"

/* ---- an observer ------------------------------------------------------------------------------------------------ */

static void drop_snapshot(struct node_follow *f)
{
    free(f->snapshot);
    f->snapshot = NULL;
    f->snapshot_index = f->snapshot_total = 0;
    f->snapshot_len = f->snapshot_room = 0;
}

/* The source is silent, gone, or talks nonsense: the next one. */
static void change_source(struct node *n)
{
    struct node_follow *f = &n->follow;
    drop_snapshot(f);
    f->asked = false;
    f->source = n->link_count != 0 ? (f->source + 1) % n->link_count : 0;
    f->backoff_ms = TIDE_MAX((uint64_t)BACKOFF_FIRST_MS, TIDE_MIN(f->backoff_ms * 2, (uint64_t)BACKOFF_LAST_MS));
    f->ask_at_ns = n->now_ns + f->backoff_ms * TIDE_NS_PER_MS;
}

static bool is_from_source(const struct node *n, int32_t peer)
{
    return !node_takes_part(n) && n->follow.source < n->link_count && n->links[n->follow.source].peer == peer && n->follow.asked;
}

static uint64_t silence_ns(const struct node *n)
{
    return (PULL_WAIT_MS + n->config.request_ms) * TIDE_NS_PER_MS;
}

void follow_turn(struct node *n)
{
    struct node_follow *f = &n->follow;
    struct rpc_message m;
    if (node_takes_part(n) || n->founding || n->link_count == 0)
        return;
    if (f->asked && n->now_ns - f->asked_ns >= silence_ns(n))
        change_source(n);
    if (f->asked || n->now_ns < f->ask_at_ns)
        return;
    m = node_message(n, RPC_PULL, n->links[f->source].peer);
    m.pull = (struct rpc_pull){.from = n->applied + 1, .snapshot_index = f->snapshot_index, .offset = f->snapshot_len};
    if (!links_send(n, &m)) {
        change_source(n);
        return;
    }
    f->asked = true;
    f->asked_ns = n->now_ns;
}

static void answered(struct node *n, int32_t controller)
{
    n->follow.asked = false;
    n->follow.ask_at_ns = n->now_ns;
    n->follow.backoff_ms = 0;
    if (controller >= 0 && controller != n->hint) {
        n->hint = controller;
        submit_again(n);
        member_on_controller(&n->member, n->now_ns);
    }
}

void follow_on_entries(struct node *n, int32_t peer, const struct rpc_entries *e)
{
    struct rpc_bytes list = e->list, entry;
    if (!is_from_source(n, peer))
        return;
    if (e->first != n->applied + 1) {
        change_source(n);
        return;
    }
    drop_snapshot(&n->follow);
    answered(n, e->controller);
    while (rpc_entry_next(&list, &entry) && !n->stopped)
        node_apply(n, n->applied + 1, e->term, entry.at, entry.len);
    n->caught_up |= e->end == n->applied + 1 && e->controller >= 0;
}

/* Room grows with what has come, not with what is announced. */
static bool keep_chunk(struct node_follow *f, const struct rpc_bytes *b)
{
    if (f->snapshot_len + b->len > f->snapshot_room) {
        size_t room = TIDE_MAX(f->snapshot_room * 2, f->snapshot_len + b->len);
        uint8_t *more = realloc(f->snapshot, room);
        if (more == NULL)
            return false;
        f->snapshot = more;
        f->snapshot_room = room;
    }
    memcpy(f->snapshot + f->snapshot_len, b->at, b->len);
    f->snapshot_len += b->len;
    return true;
}

void follow_on_chunk(struct node *n, int32_t peer, const struct rpc_chunk *c)
{
    struct node_follow *f = &n->follow;
    if (!is_from_source(n, peer))
        return;
    if (c->index != f->snapshot_index) {
        drop_snapshot(f);
        f->snapshot_index = c->index;
        f->snapshot_total = c->total;
    }
    if (c->index <= n->applied || c->offset != f->snapshot_len || c->total != f->snapshot_total || c->total > QUORUM_SNAPSHOT_MAX ||
        c->bytes.len == 0 || !keep_chunk(f, &c->bytes)) {
        change_source(n);
        return;
    }
    answered(n, c->controller);
    if (f->snapshot_len < f->snapshot_total)
        return;
    if (cluster_restore(n->cluster, f->snapshot, f->snapshot_len) == TIDE_OK)
        node_restore(n, f->snapshot_index, c->term, NULL, 0);
    else
        change_source(n);
    drop_snapshot(f);
}

void follow_on_link_down(struct node *n, int32_t peer)
{
    if (is_from_source(n, peer))
        change_source(n);
}

uint64_t follow_deadline_ns(const struct node *n)
{
    uint64_t at = TIDE_NEVER;
    for (uint32_t i = 0; i < n->guest_count; i++)
        if (n->guests[i]->pulls)
            at = TIDE_MIN(at, n->guests[i]->pull_until_ns);
    if (!node_takes_part(n) && !n->founding && n->link_count != 0) {
        uint64_t mine = n->follow.asked ? n->follow.asked_ns + silence_ns(n) : n->follow.ask_at_ns;
        at = TIDE_MIN(at, mine);
    }
    return at;
}

void follow_deinit(struct node *n)
{
    drop_snapshot(&n->follow);
}

/* ---- a voter ---------------------------------------------------------------------------------------------------------- */

static void serve_entries(struct node *n, struct node_guest *g)
{
    enum { ROOM = RPC_ENTRIES_BYTES + QUORUM_COMMAND_MAX + 4 };
    struct rpc_message m = node_message(n, RPC_ENTRIES, g->peer);
    struct quorum_entry e;
    uint8_t *list = NULL;
    size_t at = 0;
    m.entries = (struct rpc_entries){.first = g->pull.from, .controller = node_target(n), .term = quorum_term(n->quorum)};
    m.entries.end = TIDE_MAX(g->pull.from, n->applied + 1);
    while (at < RPC_ENTRIES_BYTES && g->pull.from + m.entries.count <= n->applied &&
           quorum_entry_read(n->quorum, g->pull.from + m.entries.count, &e) == TIDE_OK) {
        if (list == NULL && (list = malloc(ROOM)) == NULL)
            return; /* asked again */
        at = rpc_entry_put(list, at, e.bytes, e.kind == QUORUM_COMMAND ? e.len : 0);
        m.entries.count++;
    }
    m.entries.list = (struct rpc_bytes){list, at};
    (void)guests_send(n, g, &m);
    free(list);
}

static void serve_chunk(struct node *n, struct node_guest *g)
{
    struct rpc_message m = node_message(n, RPC_CHUNK, g->peer);
    const struct quorum_snapshot *s = quorum_snapshot(n->quorum);
    uint64_t offset = 0;
    if (s == NULL)
        return;
    if (g->pull.snapshot_index == s->index && g->pull.offset < s->len)
        offset = g->pull.offset;
    m.chunk = (struct rpc_chunk){.index = s->index, .total = s->len, .offset = offset, .controller = node_target(n),
                                 .term = quorum_term(n->quorum)};
    m.chunk.bytes = (struct rpc_bytes){s->bytes + offset, TIDE_MIN(s->len - offset, (size_t)RPC_CHUNK_BYTES)};
    (void)guests_send(n, g, &m);
}

void follow_serve(struct node *n)
{
    struct quorum_entry e;
    for (uint32_t i = 0; i < n->guest_count; i++) {
        struct node_guest *g = n->guests[i];
        if (!g->pulls)
            continue;
        if (node_takes_part(n) && g->pull.from > n->applied && n->now_ns < g->pull_until_ns)
            continue;
        g->pulls = false;
        if (!node_takes_part(n))
            continue; /* nothing to bring: it asks another */
        if (g->pull.from <= n->applied && quorum_entry_read(n->quorum, g->pull.from, &e) == TIDE_ABSENT)
            serve_chunk(n, g);
        else
            serve_entries(n, g);
    }
}
