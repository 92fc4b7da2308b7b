/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/quorum_internal.h"

#include <stdio.h>

enum { WAITING_BYTES_MAX = 64 << 20, SUBMIT_BYTES_MAX = 4 << 20 };

/* ---- lists of proposals ---- */

static void put(struct quorum_proposals *l, const struct quorum_proposal *p)
{
    if (l->begin + l->count == l->room) {
        if (l->begin > l->room / 2) {
            memmove(l->list, l->list + l->begin, l->count * sizeof(*l->list));
            l->begin = 0;
        } else {
            l->room = 2 * l->room + 64;
            l->list = quorum_grow(l->list, l->room, sizeof(*l->list));
        }
    }
    l->list[l->begin + l->count++] = *p;
    l->bytes += p->len;
}

static struct quorum_proposal *front(struct quorum_proposals *l)
{
    return l->count != 0 ? &l->list[l->begin] : NULL;
}

static void drop_front(struct quorum_proposals *l)
{
    l->bytes -= l->list[l->begin].len;
    l->begin++;
    if (--l->count == 0)
        l->begin = 0;
}

void quorum_proposals_deinit(struct quorum *q)
{
    for (uint32_t i = 0; i < q->waiting.count; i++)
        free(q->waiting.list[q->waiting.begin + i].bytes);
    free(q->waiting.list);
    free(q->pending.list);
}

static void answer(struct quorum *q, uint64_t tag, enum quorum_outcome outcome, uint64_t index)
{
    quorum_say(q, &(struct quorum_event){.kind = QUORUM_DONE, .tag = tag, .outcome = outcome, .index = index});
}

/* ---- proposals ---- */

enum tide_status quorum_propose(struct quorum *q, uint64_t now_ns, const void *bytes, size_t len, uint64_t tag)
{
    struct quorum_proposal p = {.tag = tag, .len = (uint32_t)len};
    q->now_ms = TIDE_MAX(q->now_ms, now_ns / TIDE_NS_PER_MS);
    TIDE_ASSERT(tag != 0);
    if (len == 0 || len > QUORUM_COMMAND_MAX)
        return TIDE_BAD;
    if (quorum_role(q) != QUORUM_LEADER)
        return TIDE_REFUSED;
    if (quorum_is_full(q) || q->waiting.count >= QUORUM_PROPOSALS_MAX || q->waiting.bytes >= WAITING_BYTES_MAX)
        return TIDE_FULL;
    p.bytes = quorum_copy(bytes, len);
    put(&q->waiting, &p);
    quorum_settle(q);
    return TIDE_OK;
}

/* As much of what waits as goes into one write. */
static unsigned submit_count(const struct quorum *q, uint64_t *ret_bytes)
{
    unsigned n = 0;
    *ret_bytes = 0;
    while (n < q->waiting.count && *ret_bytes < SUBMIT_BYTES_MAX)
        *ret_bytes += q->waiting.list[q->waiting.begin + n++].len;
    return n;
}

/* What came while a write was under way goes out together in the next one (7.3). */
void quorum_proposals_flush(struct quorum *q)
{
    struct raft_event event = {.type = RAFT_SUBMIT};
    uint64_t bytes;
    unsigned n = submit_count(q, &bytes);
    uint64_t index = quorum_log_last(&q->log) + 1;
    if (n == 0 || quorum_role(q) != QUORUM_LEADER || quorum_is_full(q) || raft_transferee(&q->raft) != 0 || quorum_queue_has_append(q))
        return;
    struct raft_entry *entries = quorum_alloc(n * sizeof(*entries));
    uint8_t *batch = raft_malloc(bytes);
    TIDE_ASSERT(batch != NULL);
    uint8_t *at = batch;
    for (unsigned i = 0; i < n; i++) {
        const struct quorum_proposal *p = &q->waiting.list[q->waiting.begin + i];
        memcpy(at, p->bytes, p->len);
        entries[i] = (struct raft_entry){.term = raft_current_term(&q->raft), .type = RAFT_COMMAND, .batch = batch};
        entries[i].buf.base = at;
        entries[i].buf.len = p->len;
        at += p->len;
    }
    event.submit.entries = entries;
    event.submit.n = n;
    int rv = quorum_step(q, &event);
    free(entries);
    if (rv != 0) { /* nothing happened; it waits on, or leadership is lost and says so */
        raft_free(batch);
        if (rv == RAFT_NOMEM)
            quorum_stop(q, "no memory");
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        struct quorum_proposal p = *front(&q->waiting);
        drop_front(&q->waiting);
        free(p.bytes);
        p.bytes = NULL;
        p.len = 0;
        p.index = index + i;
        p.term = raft_current_term(&q->raft);
        put(&q->pending, &p);
    }
}

int quorum_submit(struct quorum *q, enum quorum_entry_kind kind, const void *bytes, size_t len)
{
    struct raft_event event = {.type = RAFT_SUBMIT};
    struct raft_entry entry = {.term = raft_current_term(&q->raft), .type = (enum raft_entry_type)kind};
    entry.batch = raft_malloc(len + 1);
    TIDE_ASSERT(entry.batch != NULL);
    if (len != 0)
        memcpy(entry.batch, bytes, len);
    entry.buf.base = entry.batch;
    entry.buf.len = len;
    event.submit.entries = &entry;
    event.submit.n = 1;
    int rv = quorum_step(q, &event);
    if (rv != 0)
        raft_free(entry.batch);
    return rv;
}

void quorum_proposals_applied(struct quorum *q, const struct quorum_entry *e)
{
    for (struct quorum_proposal *p; (p = front(&q->pending)) != NULL && p->index <= e->index; drop_front(&q->pending)) {
        bool is_it = p->index == e->index && p->term == e->term;
        answer(q, p->tag, is_it ? QUORUM_DONE_OK : QUORUM_DONE_UNKNOWN, is_it ? e->index : 0);
    }
    if (q->change.index != e->index)
        return;
    if (q->change.state == QUORUM_CHANGE_PROMOTING || q->change.state == QUORUM_CHANGE_REMOVING) {
        answer(q, q->change.tag, QUORUM_DONE_OK, e->index);
        q->change.state = QUORUM_CHANGE_NONE;
    }
}

void quorum_proposals_lost(struct quorum *q)
{
    for (struct quorum_proposal *p; (p = front(&q->waiting)) != NULL; drop_front(&q->waiting)) {
        answer(q, p->tag, QUORUM_DONE_NOT_CONTROLLER, 0);
        free(p->bytes);
    }
    /* What is committed keeps its place: it is applied here in a moment. */
    while (q->pending.count != 0) {
        const struct quorum_proposal *p = &q->pending.list[q->pending.begin + q->pending.count - 1];
        if (p->index <= q->commit)
            break;
        answer(q, p->tag, QUORUM_DONE_UNKNOWN, 0);
        q->pending.count--;
    }
    if (q->change.state != QUORUM_CHANGE_NONE) {
        answer(q, q->change.tag, QUORUM_DONE_UNKNOWN, 0);
        q->change.state = QUORUM_CHANGE_NONE;
    }
}

/* ---- membership ---- */

#define TO(s) (1u << QUORUM_CHANGE_##s)
static const uint32_t change_next[QUORUM_CHANGE_STATE_COUNT] = {
    [QUORUM_CHANGE_NONE] = TO(ADDING) | TO(CATCHING) | TO(REMOVING),
    [QUORUM_CHANGE_ADDING] = TO(CATCHING),
    [QUORUM_CHANGE_CATCHING] = TO(PROMOTING) | TO(NONE),
    [QUORUM_CHANGE_PROMOTING] = TO(NONE),
    [QUORUM_CHANGE_REMOVING] = TO(NONE),
};

static void change_move(struct quorum *q, enum quorum_change_state to)
{
    TIDE_ASSERT((change_next[q->change.state] & 1u << to) != 0);
    q->change.state = to;
}

/* May the membership change now? Not before an entry of this term is committed: a change of an older
 * leader could otherwise be committed beside ours (the flaw of single-server changes that the author
 * of Raft corrected in 2015). */
static enum tide_status change_ready(const struct quorum *q)
{
    if (quorum_role(q) != QUORUM_LEADER)
        return TIDE_REFUSED;
    if (q->change.state != QUORUM_CHANGE_NONE || q->applied_term != raft_current_term(&q->raft) || raft_transferee(&q->raft) != 0 ||
        q->raft.configuration_uncommitted_index != 0)
        return TIDE_AGAIN;
    return quorum_is_full(q) ? TIDE_FULL : TIDE_OK;
}

/* The entry that puts `members` in force. */
static enum tide_status change_submit(struct quorum *q, const struct quorum_members *members)
{
    uint8_t bytes[QUORUM_MEMBERS_BYTES_MAX];
    uint32_t len = quorum_members_write(members, bytes);
    uint64_t index = quorum_log_last(&q->log) + 1;
    if (quorum_submit(q, QUORUM_MEMBERSHIP, bytes, len) != 0)
        return TIDE_AGAIN;
    q->change.index = index;
    return TIDE_OK;
}

enum tide_status quorum_add_voter(struct quorum *q, uint64_t now_ns, int32_t id, const char *address, uint64_t tag)
{
    struct quorum_members members = q->members;
    struct quorum_member *m = quorum_members_find(&members, id);
    enum tide_status ready = change_ready(q);
    q->now_ms = TIDE_MAX(q->now_ms, now_ns / TIDE_NS_PER_MS);
    TIDE_ASSERT(tag != 0);
    if (ready != TIDE_OK)
        return ready;
    if (m != NULL && m->role == QUORUM_VOTES)
        return TIDE_EXISTS;
    if (m == NULL) {
        if (members.count == QUORUM_MEMBERS_MAX || strlen(address) >= QUORUM_ADDRESS_MAX)
            return TIDE_BAD;
        m = &members.member[members.count++];
        *m = (struct quorum_member){.id = id, .role = QUORUM_FOLLOWS_ONLY};
        strcpy(m->address, address);
        if (!quorum_members_are_sound(&members))
            return TIDE_BAD;
        ready = change_submit(q, &members);
        if (ready != TIDE_OK)
            return ready;
        change_move(q, QUORUM_CHANGE_ADDING);
    } else {
        change_move(q, QUORUM_CHANGE_CATCHING);
        q->change.index = 0; /* the library is not asked yet */
    }
    q->change.id = id;
    q->change.tag = tag;
    quorum_settle(q);
    return TIDE_OK;
}

enum tide_status quorum_remove_voter(struct quorum *q, uint64_t now_ns, int32_t id, uint64_t tag)
{
    struct quorum_members members = q->members;
    struct quorum_member *m = quorum_members_find(&members, id);
    uint32_t voters = 0;
    enum tide_status ready = change_ready(q);
    q->now_ms = TIDE_MAX(q->now_ms, now_ns / TIDE_NS_PER_MS);
    TIDE_ASSERT(tag != 0);
    if (ready != TIDE_OK)
        return ready;
    if (m == NULL)
        return TIDE_ABSENT;
    /* The library does not let one stand for election that its own list does not name, even while that
     * list is not committed and nobody else has as long a log (Raft 4.2.2 would). So nobody removes
     * himself: another one leads first. */
    if (id == q->config.id)
        return TIDE_EXISTS;
    *m = members.member[--members.count];
    memset(&members.member[members.count], 0, sizeof(members.member[0]));
    for (uint32_t i = 0; i < members.count; i++)
        voters += members.member[i].role == QUORUM_VOTES;
    if (voters == 0)
        return TIDE_BAD;
    ready = change_submit(q, &members);
    if (ready != TIDE_OK)
        return ready;
    change_move(q, QUORUM_CHANGE_REMOVING);
    q->change.id = id;
    q->change.tag = tag;
    quorum_settle(q);
    return TIDE_OK;
}

static void promote(struct quorum *q)
{
    struct quorum_members members = q->members;
    struct quorum_member *m = quorum_members_find(&members, q->change.id);
    TIDE_ASSERT(m != NULL);
    m->role = QUORUM_VOTES;
    if (change_submit(q, &members) == TIDE_OK)
        change_move(q, QUORUM_CHANGE_PROMOTING);
}

/* It follows; the library watches it come near, in rounds, and gives up on one that does not. */
static void catch_up(struct quorum *q)
{
    raft_id id = (raft_id)q->change.id + 1;
    raft_index match;
    int status;
    if (quorum_is_full(q) || raft_transferee(&q->raft) != 0 || q->raft.configuration_uncommitted_index != 0)
        return;
    if (q->change.index == 0) {
        struct raft_event event = {.type = RAFT_CATCH_UP};
        TIDE_ASSERT(quorum_members_find(&q->members, q->change.id) != NULL);
        if (raft_match_index(&q->raft, id, &match) == 0 && match == quorum_log_last(&q->log)) {
            promote(q); /* nothing would arrive that could end a round */
            return;
        }
        q->change.index = UINT64_MAX;
        event.catch_up.server_id = id;
        (void)quorum_step(q, &event);
        return;
    }
    if (raft_catch_up(&q->raft, id, &status) != 0)
        return;
    if (status == RAFT_CATCH_UP_FINISHED) {
        promote(q);
    } else if (status != RAFT_CATCH_UP_RUNNING) {
        answer(q, q->change.tag, QUORUM_DONE_UNKNOWN, 0);
        change_move(q, QUORUM_CHANGE_NONE);
    }
}

void quorum_change_go_on(struct quorum *q)
{
    if (quorum_role(q) != QUORUM_LEADER)
        return;
    if (q->change.state == QUORUM_CHANGE_ADDING && q->applied >= q->change.index) {
        change_move(q, QUORUM_CHANGE_CATCHING);
        q->change.index = 0;
    }
    if (q->change.state == QUORUM_CHANGE_CATCHING)
        catch_up(q);
}

enum tide_status quorum_transfer(struct quorum *q, uint64_t now_ns, int32_t id)
{
    struct raft_event event = {.type = RAFT_TRANSFER};
    q->now_ms = TIDE_MAX(q->now_ms, now_ns / TIDE_NS_PER_MS);
    if (quorum_role(q) != QUORUM_LEADER)
        return TIDE_REFUSED;
    event.transfer.server_id = id < 0 ? 0 : (raft_id)id + 1;
    int rv = quorum_step(q, &event);
    quorum_settle(q);
    if (rv == 0)
        return TIDE_OK;
    return rv == RAFT_NOTLEADER ? TIDE_AGAIN : TIDE_ABSENT;
}
