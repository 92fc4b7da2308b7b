/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/quorum_internal.h"

#include <errno.h>

/* ---- the one ordered queue (D2) ---- */

static struct quorum_queued *queue(struct quorum *q, enum quorum_disk_kind kind)
{
    struct quorum_queued *n = quorum_alloc(sizeof(*n));
    n->op.kind = kind;
    n->op.number = ++q->next_number;
    if (q->last != NULL)
        q->last->next = n;
    else
        q->first = n;
    q->last = n;
    return n;
}

static void release(struct quorum_queued *n)
{
    for (uint32_t i = 0; i < n->op.count; i++)
        free((void *)(uintptr_t)n->entries[i].bytes);
    free(n->entries);
    quorum_snapshot_give(n->snapshot);
    free(n);
}

void quorum_queue_state(struct quorum *q, uint64_t term, uint64_t vote)
{
    struct quorum_queued *n = queue(q, QUORUM_DISK_STATE);
    n->op.term = term;
    n->op.vote = vote;
    q->state_queued = n->op.number;
}

/* Can the entries join the operation that was queued last? */
static bool joins(const struct quorum *q, uint64_t index)
{
    const struct quorum_queued *n = q->last;
    if (n == NULL || n->op.kind != QUORUM_DISK_APPEND || (q->out && n == q->first))
        return false;
    return n->op.entries[0].index + n->op.count == index && n->bytes < QUORUM_APPEND_BYTES_MAX;
}

/* What is queued with an index at or behind this one is replaced before it could count. */
static void supersede(struct quorum *q, uint64_t index)
{
    for (struct quorum_queued *n = q->first; n != NULL; n = n->next)
        if (n->op.kind == QUORUM_DISK_APPEND && n->op.entries[0].index + n->counts > index)
            n->counts = index > n->op.entries[0].index ? (uint32_t)(index - n->op.entries[0].index) : 0;
}

void quorum_queue_entries(struct quorum *q, uint64_t index, const struct raft_entry *entries, unsigned count)
{
    supersede(q, index);
    struct quorum_queued *n = joins(q, index) ? q->last : queue(q, QUORUM_DISK_APPEND);
    if (n->op.count + count > n->room) {
        n->room = TIDE_MAX(2 * n->room, n->op.count + count);
        n->entries = quorum_grow(n->entries, n->room, sizeof(*n->entries));
        n->op.entries = n->entries;
    }
    for (unsigned i = 0; i < count; i++) {
        struct quorum_entry *e = &n->entries[n->op.count++];
        e->index = index + i;
        e->term = entries[i].term;
        e->kind = (enum quorum_entry_kind)entries[i].type;
        e->len = (uint32_t)entries[i].buf.len;
        e->bytes = quorum_copy(entries[i].buf.base, e->len);
        n->bytes += e->len;
    }
    n->counts = n->op.count;
}

void quorum_queue_snapshot(struct quorum *q, enum quorum_disk_kind kind, struct quorum_snapshot *s, uint64_t keep_from)
{
    struct quorum_queued *n;
    if (kind == QUORUM_DISK_INSTALL)
        supersede(q, 0);
    n = queue(q, kind);
    s->references++;
    n->snapshot = s;
    n->op.snapshot = s;
    n->op.keep_from = keep_from;
}

void quorum_queue_reserve(struct quorum *q)
{
    if (q->first == NULL)
        (void)queue(q, QUORUM_DISK_RESERVE);
}

bool quorum_queue_has_append(const struct quorum *q)
{
    for (const struct quorum_queued *n = q->first; n != NULL; n = n->next)
        if (n->op.kind == QUORUM_DISK_APPEND)
            return true;
    return false;
}

void quorum_queue_deinit(struct quorum *q)
{
    while (q->first != NULL) {
        struct quorum_queued *n = q->first;
        q->first = n->next;
        release(n);
    }
}

const struct quorum_disk_op *quorum_disk_take(struct quorum *q)
{
    if (q->out || q->first == NULL || q->stopped || q->retry_ms > q->now_ms)
        return NULL;
    q->out = true;
    return &q->first->op;
}

/* ---- completions ---- */

/*
 * D4: tells the library how much of the write is still in the log as it was written. Comparing terms
 * would not do: what was replaced and replaced back has its old term again, while the write in
 * between is still to come.
 */
static void entries_done(struct quorum *q, const struct quorum_queued *n)
{
    if (n->counts == 0)
        return;
    const struct quorum_entry *written = &n->entries[n->counts - 1];
    const struct quorum_entry *e = quorum_log_at(&q->log, written->index);
    TIDE_ASSERT(e == NULL || e->term == written->term); /* NULL: trimmed behind a snapshot */
    TIDE_ASSERT(q->installing == NULL);
    if (written->index <= q->stored)
        return;
    struct raft_event event = {.type = RAFT_PERSISTED_ENTRIES};
    event.persisted_entries.index = written->index;
    q->stored = written->index;
    (void)quorum_step(q, &event);
}

static bool metadata_of(const struct quorum_snapshot *s, struct raft_snapshot_metadata *ret)
{
    struct raft_buffer b = {.base = s->members, .len = s->members_len};
    ret->index = s->index;
    ret->term = s->term;
    ret->configuration_index = s->members_index;
    return raft_configuration_decode(&b, &ret->configuration) == 0;
}

/* Our own snapshot is durable: the library and the log let go of what it covers (D7, D8, D16). */
static void snapshot_done(struct quorum *q, struct quorum_snapshot *s)
{
    struct raft_event event = {.type = RAFT_SNAPSHOT};
    q->taking = QUORUM_TAKING_NONE;
    if (q->installing != NULL || (q->snapshot != NULL && q->snapshot->index >= s->index))
        return; /* a newer one is on its way in: it alone counts */
    s->references++;
    quorum_snapshot_give(q->snapshot);
    q->snapshot = s;
    if (!metadata_of(s, &event.snapshot.metadata)) {
        quorum_stop(q, "no memory");
        return;
    }
    event.snapshot.trailing = q->config.trailing;
    if (s->index > q->config.trailing)
        quorum_log_trim(&q->log, s->index - q->config.trailing + 1);
    (void)quorum_step(q, &event);
}

/* D6: the state machine is replaced before anything more is applied. */
static void install_done(struct quorum *q, struct quorum_snapshot *s)
{
    struct raft_event event = {.type = RAFT_PERSISTED_SNAPSHOT};
    TIDE_ASSERT(q->installing == s);
    quorum_snapshot_give(q->snapshot);
    q->snapshot = s; /* the reference of `installing` */
    q->installing = NULL;
    q->restore_waits = true;
    q->applied = s->index;
    q->applied_term = s->term;
    q->applied_members = s->members_index;
    q->commit = TIDE_MAX(q->commit, s->index);
    q->stored = s->index;
    q->entries_since = 0;
    q->bytes_since = 0;
    if (!metadata_of(s, &event.persisted_snapshot.metadata)) {
        quorum_stop(q, "no memory");
        return;
    }
    event.persisted_snapshot.last = true;
    (void)quorum_step(q, &event);
}

void quorum_on_disk_done(struct quorum *q, uint64_t now_ns, int result, uint64_t capacity_bytes)
{
    struct quorum_queued *n = q->first;
    TIDE_ASSERT(q->out && n != NULL); /* Q3 */
    q->out = false;
    q->now_ms = TIDE_MAX(q->now_ms, now_ns / TIDE_NS_PER_MS);
    q->capacity_bytes = capacity_bytes;
    if (q->stopped)
        return;
    if (result == -ENOSPC) { /* it stays the first; nothing behind it goes before it */
        q->retry_ms = q->now_ms + QUORUM_RETRY_MS;
        q->capacity_bytes = 0;
        if (n->op.kind != QUORUM_DISK_RESERVE)
            return;
        result = 0;
    } else {
        q->retry_ms = 0;
    }
    if (result != 0) {
        quorum_stop(q, "the metadata log cannot be written: %s", strerror(-result));
        return;
    }
    q->first = n->next;
    if (q->first == NULL)
        q->last = NULL;
    switch (n->op.kind) {
    case QUORUM_DISK_STATE:
        q->state_durable = n->op.number;
        break;
    case QUORUM_DISK_APPEND:
        entries_done(q, n);
        break;
    case QUORUM_DISK_SNAPSHOT:
        snapshot_done(q, n->snapshot);
        break;
    case QUORUM_DISK_INSTALL:
        install_done(q, n->snapshot);
        break;
    case QUORUM_DISK_RESERVE:
    case QUORUM_DISK_KIND_COUNT:
        break;
    }
    release(n);
    quorum_settle(q);
}
