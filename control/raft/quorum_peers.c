/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/quorum_internal.h"

#include <stdio.h>

/* ---- peers ---- */

static void drop_queue(struct quorum_peer *p)
{
    while (p->head != NULL) {
        struct quorum_waiting_message *m = p->head;
        p->head = m->next;
        free(m->message.bytes);
        free(m);
    }
    p->tail = NULL;
    p->bytes = 0;
}

static void drop_sending(struct quorum_peer *p)
{
    quorum_snapshot_give(p->sending.snapshot);
    p->sending = (struct quorum_sending){.snapshot = NULL};
}

static void drop_receiving(struct quorum_peer *p)
{
    free(p->receiving.members);
    free(p->receiving.bytes);
    p->receiving = (struct quorum_receiving){.active = false};
}

static const struct quorum_peer *find(const struct quorum *q, int32_t id)
{
    for (unsigned i = 0; i < QUORUM_PEERS_MAX; i++)
        if (q->peers[i].used && q->peers[i].id == id)
            return &q->peers[i];
    return NULL;
}

static struct quorum_peer *find_or_make(struct quorum *q, int32_t id)
{
    struct quorum_peer *free_one = NULL;
    for (unsigned i = 0; i < QUORUM_PEERS_MAX; i++) {
        struct quorum_peer *p = &q->peers[i];
        if (p->used && p->id == id)
            return p;
        if (free_one == NULL && !p->used)
            free_one = p;
    }
    /* No room: one that is no member any more and has no connection makes some. */
    for (unsigned i = 0; i < QUORUM_PEERS_MAX && free_one == NULL; i++) {
        struct quorum_peer *p = &q->peers[i];
        if (!p->up && quorum_members_find(&q->members, p->id) == NULL) {
            drop_queue(p);
            drop_sending(p);
            drop_receiving(p);
            free_one = p;
        }
    }
    if (free_one == NULL)
        return NULL;
    *free_one = (struct quorum_peer){.used = true, .id = id};
    return free_one;
}

void quorum_on_peer_up(struct quorum *q, int32_t id)
{
    struct quorum_peer *p = find_or_make(q, id);
    if (p == NULL)
        return;
    drop_queue(p);
    drop_sending(p);
    p->up = true;
}

void quorum_on_peer_down(struct quorum *q, int32_t id)
{
    struct quorum_peer *p = find_or_make(q, id);
    if (p == NULL)
        return;
    drop_queue(p);
    drop_sending(p);
    p->up = false;
}

void quorum_peers_lost_leadership(struct quorum *q)
{
    for (unsigned i = 0; i < QUORUM_PEERS_MAX; i++)
        drop_sending(&q->peers[i]);
}

void quorum_peers_deinit(struct quorum *q)
{
    for (unsigned i = 0; i < QUORUM_PEERS_MAX; i++) {
        drop_queue(&q->peers[i]);
        drop_sending(&q->peers[i]);
        drop_receiving(&q->peers[i]);
    }
}

/* ---- sending ---- */

static void enqueue(struct quorum *q, struct quorum_peer *p, const struct raft_message *m, const struct quorum_entry *entries,
                    const struct quorum_piece *piece)
{
    struct quorum_ends ends = {.cluster_id = q->config.cluster_id, .sender = q->config.id, .receiver = p->id};
    struct quorum_waiting_message *w;
    if (p->bytes >= QUORUM_PEER_QUEUE_BYTES)
        return; /* as if it was lost: the library notices */
    w = quorum_alloc(sizeof(*w));
    quorum_message_write(&ends, m, entries, piece, &w->message);
    w->after = q->state_queued; /* D1 */
    p->bytes += w->message.len;
    if (p->tail != NULL)
        p->tail->next = w;
    else
        p->head = w;
    p->tail = w;
}

/* In messages of bounded length. Each is one that a leader may send. */
static void send_append(struct quorum *q, struct quorum_peer *p, const struct raft_message *m)
{
    struct raft_message part = *m;
    unsigned left = m->append_entries.n_entries;
    do {
        struct raft_append_entries *a = &part.append_entries;
        const struct quorum_entry *e = NULL;
        uint64_t bytes = 0;
        a->n_entries = 0;
        while (a->n_entries < left && bytes < QUORUM_MESSAGE_ENTRIES_BYTES) {
            e = quorum_log_at(&q->log, a->prev_log_index + 1 + a->n_entries);
            TIDE_ASSERT(e != NULL); /* Q2 */
            bytes += QUORUM_MESSAGE_ENTRY_HEAD + e->len;
            a->n_entries++;
        }
        enqueue(q, p, &part, e != NULL ? e - (a->n_entries - 1) : NULL, NULL);
        if (e != NULL) {
            a->prev_log_index = e->index;
            a->prev_log_term = e->term;
        }
        left -= a->n_entries;
    } while (left != 0);
}

/* The piece at `offset`; index, term, members and data of one and the same snapshot (D9). */
static struct quorum_piece piece_at(const struct quorum_sending *s, uint64_t offset)
{
    const struct quorum_snapshot *from = s->snapshot;
    return (struct quorum_piece){.index = from->index,
                                 .term = from->term,
                                 .members_index = from->members_index,
                                 .total = from->len,
                                 .offset = offset,
                                 .members_len = offset == 0 ? from->members_len : 0,
                                 .len = (uint32_t)TIDE_MIN(from->len - offset, (size_t)QUORUM_PIECE_BYTES),
                                 .members = from->members,
                                 .bytes = from->bytes + offset};
}

static void send_snapshot(struct quorum *q, struct quorum_peer *p, const struct raft_message *m)
{
    if (p->sending.snapshot != NULL || q->snapshot == NULL)
        return; /* one is on its way already: it arrives, or the connection ends */
    p->sending.snapshot = q->snapshot;
    q->snapshot->references++;
    p->sending.term = m->install_snapshot.term;
    p->sending.after = q->state_queued;
    struct quorum_piece piece = piece_at(&p->sending, 0);
    enqueue(q, p, m, NULL, &piece);
    p->sending.offset = piece.len;
    if (p->sending.offset == p->sending.snapshot->len)
        drop_sending(p);
}

/* The library leaves a field of this answer as it finds it. Its receiver only reads the term. */
static void send_stale_answer(struct quorum *q, struct quorum_peer *p, const struct raft_message *m)
{
    struct raft_message whole = *m;
    whole.append_entries_result.last_log_index = 0;
    enqueue(q, p, &whole, NULL, NULL);
}

void quorum_send(struct quorum *q, const struct raft_message *m)
{
    struct quorum_peer *p = m->server_id != 0 ? find_or_make(q, (int32_t)(m->server_id - 1)) : NULL;
    if (p == NULL || !p->up)
        return;
    if (m->type == RAFT_APPEND_ENTRIES)
        send_append(q, p, m);
    else if (m->type == RAFT_INSTALL_SNAPSHOT)
        send_snapshot(q, p, m);
    else if (m->type == RAFT_APPEND_ENTRIES_RESULT && q->answers_stale)
        send_stale_answer(q, p, m);
    else
        enqueue(q, p, m, NULL, NULL);
}

bool quorum_message_waits(const struct quorum *q, int32_t id)
{
    const struct quorum_peer *p = find(q, id);
    if (p == NULL || q->stopped)
        return false;
    if (p->head != NULL)
        return p->head->after <= q->state_durable;
    return p->sending.snapshot != NULL && p->sending.after <= q->state_durable;
}

bool quorum_message_take(struct quorum *q, int32_t id, struct quorum_message *ret)
{
    struct quorum_peer *p = find_or_make(q, id);
    if (p == NULL || !quorum_message_waits(q, id))
        return false;
    if (p->head != NULL) {
        struct quorum_waiting_message *w = p->head;
        TIDE_ASSERT(w->after <= q->state_durable); /* Q4 */
        p->head = w->next;
        if (p->head == NULL)
            p->tail = NULL;
        p->bytes -= w->message.len;
        *ret = w->message;
        free(w);
        return true;
    }
    struct quorum_ends ends = {.cluster_id = q->config.cluster_id, .sender = q->config.id, .receiver = id};
    struct raft_message m = {.type = RAFT_INSTALL_SNAPSHOT};
    struct quorum_piece piece = piece_at(&p->sending, p->sending.offset);
    m.install_snapshot.term = p->sending.term;
    quorum_message_write(&ends, &m, NULL, &piece, ret);
    p->sending.offset += piece.len;
    if (p->sending.offset == p->sending.snapshot->len)
        drop_sending(p);
    return true;
}

/* ---- receiving ---- */

static enum tide_status deliver(struct quorum *q, struct raft_message *m)
{
    struct raft_event event = {.type = RAFT_RECEIVE};
    char address[16];
    snprintf(address, sizeof(address), "%d", (int)(m->server_id - 1));
    m->server_address = address;
    event.receive.message = m;
    q->answers_stale = (m->type == RAFT_APPEND_ENTRIES && m->append_entries.term < raft_current_term(&q->raft)) ||
                       (m->type == RAFT_INSTALL_SNAPSHOT && m->install_snapshot.term < raft_current_term(&q->raft));
    int rv = quorum_step(q, &event);
    q->answers_stale = false;
    return rv == 0 ? TIDE_OK : TIDE_REFUSED;
}

/*
 * Raft 4.2.2: a vote is given without looking at one's own list. The library refuses when that list
 * says that we have none. But we are promoted before we know it; when the leader steps down in between,
 * and our vote is needed, nobody could be elected any more. So for the time of this message we have
 * a vote; the candidate counts it if its list says so. Who was wiped and follows again has a log
 * behind its own removal, so it helps no candidate that still has it on an old list.
 */
static enum tide_status on_vote_request(struct quorum *q, struct raft_message *m)
{
    struct raft_server *own = NULL;
    for (unsigned i = 0; i < q->raft.configuration.n; i++)
        if (q->raft.configuration.servers[i].id == q->raft.id && q->raft.configuration.servers[i].role == RAFT_STANDBY)
            own = &q->raft.configuration.servers[i];
    if (own != NULL)
        own->role = RAFT_VOTER;
    enum tide_status status = deliver(q, m);
    if (own != NULL)
        own->role = RAFT_STANDBY;
    return status;
}

static void drop_entries(struct raft_append_entries *a)
{
    if (a->n_entries == 0)
        return;
    raft_free(a->entries[0].batch);
    raft_free(a->entries);
    a->entries = NULL;
    a->n_entries = 0;
}

/* Two leaders of one term cannot be, so such a message is not from our quorum; and the library trusts
 * that it does not come. */
static bool rivals(const struct quorum *q, uint64_t term)
{
    return quorum_role(q) == QUORUM_LEADER && term == raft_current_term(&q->raft);
}

/* D17: what our own snapshot covers is committed, hence the same: the message begins behind it. */
static void skip_covered(struct quorum *q, struct raft_append_entries *a)
{
    if (q->snapshot == NULL || q->installing != NULL || a->prev_log_index >= q->snapshot->index)
        return;
    uint64_t skip = q->snapshot->index - a->prev_log_index;
    if (skip >= a->n_entries) {
        drop_entries(a);
    } else {
        memmove(a->entries, a->entries + skip, (a->n_entries - skip) * sizeof(*a->entries));
        a->n_entries -= (unsigned)skip;
    }
    a->prev_log_index = q->snapshot->index;
    a->prev_log_term = q->snapshot->term;
}

/* While a snapshot comes in pieces its sender's heartbeats overtake them. They are anchored at the
 * snapshot, which is not here yet; refused, they would make the sender begin anew. They only say that
 * there is a leader, so that is what the library gets to hear. */
static void soften_heartbeat(const struct quorum *q, const struct quorum_peer *p, struct raft_append_entries *a)
{
    if (!p->receiving.active || p->receiving.leader_term != a->term || a->n_entries != 0 || q->installing != NULL)
        return;
    if (a->prev_log_index <= quorum_log_last(&q->log))
        return;
    a->prev_log_index = 0;
    a->prev_log_term = 0;
    a->leader_commit = 0;
}

/*
 * An AppendEntries in parts, each of which begins at a change of membership or has none: the library
 * books a change under the index of the first new entry of its message, whatever place it has in it.
 */
static enum tide_status on_append(struct quorum *q, struct quorum_peer *p, struct raft_message *m)
{
    struct raft_append_entries *a = &m->append_entries;
    enum tide_status status = TIDE_OK;
    uint64_t term = a->term;
    if (rivals(q, term)) {
        drop_entries(a);
        return TIDE_BAD;
    }
    skip_covered(q, a);
    soften_heartbeat(q, p, a);
    struct raft_entry *all = a->entries;
    unsigned count = a->n_entries;
    unsigned done = 0;
    do {
        struct raft_message part = *m;
        struct raft_append_entries *b = &part.append_entries;
        uint8_t *batch = NULL;
        uint64_t bytes = 0;
        b->prev_log_index += done;
        if (done != 0)
            b->prev_log_term = all[done - 1].term;
        b->n_entries = 0;
        while (done + b->n_entries < count && (b->n_entries == 0 || all[done + b->n_entries].type != RAFT_CHANGE))
            bytes += all[done + b->n_entries++].buf.len;
        b->entries = all == NULL ? NULL : all + done;
        if (b->n_entries != 0) { /* the library frees the block of each message as a whole */
            batch = raft_malloc(bytes + 1);
            TIDE_ASSERT(batch != NULL);
        }
        void *whole = count != 0 ? all[count - 1].batch : NULL;
        for (unsigned i = 0; i < b->n_entries; i++) {
            memcpy(batch, b->entries[i].buf.base, b->entries[i].buf.len);
            b->entries[i].buf.base = batch;
            batch += b->entries[i].buf.len;
            b->entries[i].batch = b->entries[0].buf.base;
        }
        done += b->n_entries;
        if (done == count)
            raft_free(whole);
        status = deliver(q, &part);
        if (status != TIDE_OK && done != count)
            raft_free(whole);
    } while (status == TIDE_OK && done != count);
    raft_free(all);
    return status;
}

static bool same_snapshot(const struct quorum_receiving *r, uint64_t leader_term, const struct quorum_piece *s)
{
    return r->active && r->leader_term == leader_term && r->index == s->index && r->term == s->term && r->total == s->total;
}

/* A whole snapshot for the library. */
static enum tide_status install(struct quorum *q, struct quorum_peer *p, struct raft_message *m)
{
    struct raft_install_snapshot *s = &m->install_snapshot;
    struct quorum_receiving *r = &p->receiving;
    struct raft_buffer members = {.base = r->members, .len = r->members_len};
    const struct quorum_entry *e = quorum_log_at(&q->log, r->index);
    enum tide_status status = TIDE_OK;
    if (r->index <= q->commit && r->index > q->log.first && (e == NULL || e->term != r->term)) {
        drop_receiving(p); /* committed entries do not change */
        return TIDE_BAD;
    }
    if (q->installing == NULL) { /* the library would keep the second one's memory */
        s->version = 0;
        s->last_index = r->index;
        s->last_term = r->term;
        s->conf_index = r->members_index;
        s->data.len = r->total;
        s->data.base = raft_malloc(r->total + 1);
        TIDE_ASSERT(s->data.base != NULL);
        if (r->total != 0)
            memcpy(s->data.base, r->bytes, r->total);
        if (raft_configuration_decode(&members, &s->conf) != 0) {
            raft_free(s->data.base);
            quorum_stop(q, "no memory");
            return TIDE_REFUSED;
        }
        status = deliver(q, m);
    }
    drop_receiving(p);
    return status;
}

static enum tide_status on_piece(struct quorum *q, struct quorum_peer *p, struct raft_message *m, const struct quorum_piece *s)
{
    struct quorum_receiving *r = &p->receiving;
    uint64_t term = m->install_snapshot.term;
    if (rivals(q, term))
        return TIDE_BAD;
    if (s->offset == 0) {
        drop_receiving(p);
        *r = (struct quorum_receiving){.active = true,
                                       .leader_term = term,
                                       .index = s->index,
                                       .term = s->term,
                                       .members_index = s->members_index,
                                       .total = s->total,
                                       .members_len = s->members_len,
                                       .members = quorum_copy(s->members, s->members_len)};
    }
    if (!same_snapshot(r, term, s))
        return TIDE_OK; /* the rest of one that we gave up */
    if (s->offset != r->have)
        return TIDE_BAD; /* nothing is lost on a connection */
    if (r->have + s->len > r->room) {
        r->room = TIDE_MIN(TIDE_MAX(2 * r->room, r->have + s->len), r->total);
        r->bytes = quorum_grow(r->bytes, r->room, 1);
    }
    if (s->len != 0)
        memcpy(r->bytes + r->have, s->bytes, s->len);
    r->have += s->len;
    return r->have == r->total ? install(q, p, m) : TIDE_OK;
}

enum tide_status quorum_on_message(struct quorum *q, uint64_t now_ns, int32_t from, uint64_t connection, const void *bytes, size_t len)
{
    struct quorum_ends ends = {.cluster_id = q->config.cluster_id, .sender = from, .receiver = q->config.id};
    struct raft_message m;
    struct quorum_piece piece;
    enum tide_status status;
    q->now_ms = TIDE_MAX(q->now_ms, now_ns / TIDE_NS_PER_MS);
    if (q->stopped)
        return TIDE_REFUSED;
    status = quorum_message_read(&ends, bytes, len, &m, &piece);
    if (status != TIDE_OK)
        return status;
    struct quorum_peer *p = find_or_make(q, from);
    if (p == NULL || connection < p->connection) { /* D18 */
        if (m.type == RAFT_APPEND_ENTRIES)
            drop_entries(&m.append_entries);
        return p == NULL ? TIDE_FULL : TIDE_OK;
    }
    if (connection > p->connection) {
        p->connection = connection;
        drop_receiving(p);
    }
    if (m.type == RAFT_APPEND_ENTRIES)
        status = on_append(q, p, &m);
    else if (m.type == RAFT_INSTALL_SNAPSHOT)
        status = on_piece(q, p, &m, &piece);
    else if (m.type == RAFT_REQUEST_VOTE)
        status = on_vote_request(q, &m);
    else if (m.type == RAFT_REQUEST_VOTE_RESULT && raft_state(&q->raft) != RAFT_CANDIDATE)
        status = TIDE_OK; /* late. The library reads what only a candidate has before it asks whether it is one */
    else
        status = deliver(q, &m);
    quorum_settle(q);
    return status;
}
