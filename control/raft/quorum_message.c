/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/quorum_message.h"

#include "raft/quorum_bytes.h"
#include "raft/quorum_members.h"

enum {
    AFTER_CRC = 8,
    VOTE_BYTES = 32,
    VOTE_RESULT_BYTES = 8,
    APPEND_BYTES = 32,
    RESULT_BYTES = 24,
    PIECE_BYTES = 48,
    TIMEOUT_BYTES = 16,
    FLAG_DISRUPT = 1,
    FLAG_PRE_VOTE = 2,
    FLAG_GRANTED = 4,
};
static const uint64_t term_max = 1ull << 62; /* a term beyond it is nobody's */

static size_t padded(size_t len)
{
    return (len + 7) / 8 * 8;
}

/* ---- writing ---- */

static size_t body_length(const struct raft_message *m, const struct quorum_entry *entries, const struct quorum_piece *piece)
{
    size_t len = APPEND_BYTES;
    switch (m->type) {
    case RAFT_REQUEST_VOTE:
        return VOTE_BYTES;
    case RAFT_REQUEST_VOTE_RESULT:
        return VOTE_RESULT_BYTES;
    case RAFT_APPEND_ENTRIES_RESULT:
        return RESULT_BYTES;
    case RAFT_TIMEOUT_NOW:
        return TIMEOUT_BYTES;
    case RAFT_INSTALL_SNAPSHOT:
        return PIECE_BYTES + padded(piece->members_len) + padded(piece->len);
    case RAFT_APPEND_ENTRIES:
        for (unsigned i = 0; i < m->append_entries.n_entries; i++)
            len += QUORUM_MESSAGE_ENTRY_HEAD + padded(entries[i].len);
    }
    return len;
}

static uint64_t term_of(const struct raft_message *m)
{
    switch (m->type) {
    case RAFT_REQUEST_VOTE:
        return m->request_vote.term;
    case RAFT_REQUEST_VOTE_RESULT:
        return m->request_vote_result.term;
    case RAFT_APPEND_ENTRIES_RESULT:
        return m->append_entries_result.term;
    case RAFT_TIMEOUT_NOW:
        return m->timeout_now.term;
    case RAFT_INSTALL_SNAPSHOT:
        return m->install_snapshot.term;
    case RAFT_APPEND_ENTRIES:
        return m->append_entries.term;
    }
    return 0;
}

static uint8_t *write_vote(uint8_t *at, const struct raft_request_vote *v)
{
    at = quorum_write(at, v->version, 1);
    at = quorum_write(at, (v->disrupt_leader ? FLAG_DISRUPT : 0u) | (v->pre_vote ? FLAG_PRE_VOTE : 0u), 7);
    at = quorum_write(at, v->candidate_id, 8);
    at = quorum_write(at, v->last_log_index, 8);
    return quorum_write(at, v->last_log_term, 8);
}

static uint8_t *write_vote_result(uint8_t *at, const struct raft_request_vote_result *v)
{
    at = quorum_write(at, v->version, 1);
    at = quorum_write(at, (v->vote_granted ? FLAG_GRANTED : 0u) | (v->pre_vote ? FLAG_PRE_VOTE : 0u), 3);
    at = quorum_write(at, v->features, 2);
    return quorum_write(at, v->capacity, 2);
}

static uint8_t *write_append(uint8_t *at, const struct raft_append_entries *a, const struct quorum_entry *entries)
{
    at = quorum_write(at, a->version, 1);
    at = quorum_write(at, 0, 3);
    at = quorum_write(at, a->n_entries, 4);
    at = quorum_write(at, a->prev_log_index, 8);
    at = quorum_write(at, a->prev_log_term, 8);
    at = quorum_write(at, a->leader_commit, 8);
    for (unsigned i = 0; i < a->n_entries; i++) {
        TIDE_ASSERT(entries[i].index == a->prev_log_index + 1 + i);
        at = quorum_write(at, entries[i].term, 8);
        at = quorum_write(at, entries[i].kind, 4);
        at = quorum_write(at, entries[i].len, 4);
        quorum_write_bytes(at, entries[i].bytes, entries[i].len);
        at += padded(entries[i].len); /* zeros: the block was */
    }
    return at;
}

static uint8_t *write_result(uint8_t *at, const struct raft_append_entries_result *a)
{
    at = quorum_write(at, a->version, 1);
    at = quorum_write(at, 0, 3);
    at = quorum_write(at, a->features, 2);
    at = quorum_write(at, a->capacity, 2);
    at = quorum_write(at, a->rejected, 8);
    return quorum_write(at, a->last_log_index, 8);
}

static uint8_t *write_piece(uint8_t *at, const struct quorum_piece *p)
{
    at = quorum_write(at, p->index, 8);
    at = quorum_write(at, p->term, 8);
    at = quorum_write(at, p->members_index, 8);
    at = quorum_write(at, p->total, 8);
    at = quorum_write(at, p->offset, 8);
    at = quorum_write(at, p->members_len, 4);
    at = quorum_write(at, p->len, 4);
    quorum_write_bytes(at, p->members, p->members_len);
    at += padded(p->members_len);
    quorum_write_bytes(at, p->bytes, p->len);
    return at + padded(p->len);
}

static uint8_t *write_timeout(uint8_t *at, const struct raft_timeout_now *t)
{
    at = quorum_write(at, t->last_log_index, 8);
    return quorum_write(at, t->last_log_term, 8);
}

void quorum_message_write(const struct quorum_ends *ends, const struct raft_message *m, const struct quorum_entry *entries,
                          const struct quorum_piece *piece, struct quorum_message *ret)
{
    size_t len = QUORUM_MESSAGE_HEAD + body_length(m, entries, piece);
    uint8_t *bytes = quorum_alloc(len);
    uint8_t *at = quorum_write(bytes, len, 4) + 4;
    at = quorum_write(at, QUORUM_MESSAGE_VERSION, 2);
    at = quorum_write(at, m->type, 2);
    at = quorum_write(at, 0, 4);
    at = quorum_write_bytes(at, ends->cluster_id.bytes, sizeof(ends->cluster_id.bytes));
    at = quorum_write(at, (uint32_t)ends->sender, 4);
    at = quorum_write(at, (uint32_t)ends->receiver, 4);
    at = quorum_write(at, term_of(m), 8);
    switch (m->type) {
    case RAFT_REQUEST_VOTE:
        at = write_vote(at, &m->request_vote);
        break;
    case RAFT_REQUEST_VOTE_RESULT:
        at = write_vote_result(at, &m->request_vote_result);
        break;
    case RAFT_APPEND_ENTRIES:
        at = write_append(at, &m->append_entries, entries);
        break;
    case RAFT_APPEND_ENTRIES_RESULT:
        at = write_result(at, &m->append_entries_result);
        break;
    case RAFT_INSTALL_SNAPSHOT:
        at = write_piece(at, piece);
        break;
    case RAFT_TIMEOUT_NOW:
        at = write_timeout(at, &m->timeout_now);
        break;
    }
    TIDE_ASSERT(at == bytes + len);
    TIDE_ASSERT(len <= QUORUM_MESSAGE_MAX);
    quorum_write(bytes + 4, quorum_crc(bytes + AFTER_CRC, len - AFTER_CRC), 4);
    ret->bytes = bytes;
    ret->len = len;
}

/* ---- reading ---- */

static bool read_vote(struct quorum_reader *r, const struct quorum_ends *ends, struct raft_request_vote *v)
{
    v->version = (unsigned char)quorum_read(r, 1);
    uint64_t flags = quorum_read(r, 7);
    v->disrupt_leader = (flags & FLAG_DISRUPT) != 0;
    v->pre_vote = (flags & FLAG_PRE_VOTE) != 0;
    v->candidate_id = quorum_read(r, 8);
    v->last_log_index = quorum_read(r, 8);
    v->last_log_term = quorum_read(r, 8);
    return v->candidate_id == (uint64_t)ends->sender + 1 && v->last_log_term <= v->term &&
           (v->last_log_index == 0) == (v->last_log_term == 0);
}

static bool read_vote_result(struct quorum_reader *r, struct raft_request_vote_result *v)
{
    v->version = (unsigned char)quorum_read(r, 1);
    uint64_t flags = quorum_read(r, 3);
    v->vote_granted = (flags & FLAG_GRANTED) != 0;
    v->pre_vote = (flags & FLAG_PRE_VOTE) != 0;
    v->features = (unsigned short)quorum_read(r, 2);
    v->capacity = (unsigned short)quorum_read(r, 2);
    return true;
}

static bool read_result(struct quorum_reader *r, struct raft_append_entries_result *a)
{
    a->version = (unsigned char)quorum_read(r, 1);
    (void)quorum_read(r, 3);
    a->features = (unsigned short)quorum_read(r, 2);
    a->capacity = (unsigned short)quorum_read(r, 2);
    a->rejected = quorum_read(r, 8);
    a->last_log_index = quorum_read(r, 8);
    return true;
}

/* One entry's place; false: not an entry that the library may see. */
static bool read_entry(struct quorum_reader *r, uint64_t term_before, uint64_t term_now, struct quorum_entry *e)
{
    struct quorum_members members;
    e->term = quorum_read(r, 8);
    e->kind = (enum quorum_entry_kind)quorum_read(r, 4);
    e->len = (uint32_t)quorum_read(r, 4);
    if (r->failed || e->len > QUORUM_COMMAND_MAX || e->term == 0 || e->term < term_before || e->term > term_now)
        return false;
    e->bytes = quorum_read_bytes(r, padded(e->len));
    if (r->failed)
        return false;
    switch (e->kind) {
    case QUORUM_COMMAND:
        return e->len != 0;
    case QUORUM_BARRIER:
        return true;
    case QUORUM_MEMBERSHIP:
        return quorum_members_read(e->bytes, e->len, &members) == TIDE_OK;
    }
    return false;
}

static bool read_append(struct quorum_reader *r, struct raft_append_entries *a)
{
    struct quorum_reader first;
    struct quorum_entry e;
    uint64_t bytes = 0;
    uint64_t term;
    a->version = (unsigned char)quorum_read(r, 1);
    (void)quorum_read(r, 3);
    a->n_entries = (unsigned)quorum_read(r, 4);
    a->prev_log_index = quorum_read(r, 8);
    a->prev_log_term = quorum_read(r, 8);
    a->leader_commit = quorum_read(r, 8);
    a->entries = NULL;
    if (r->failed || a->n_entries > r->left / QUORUM_MESSAGE_ENTRY_HEAD || (a->prev_log_index == 0) != (a->prev_log_term == 0) ||
        a->prev_log_term > a->term || a->prev_log_index > term_max)
        return false;
    first = *r;
    term = a->prev_log_term;
    for (unsigned i = 0; i < a->n_entries; i++) {
        if (!read_entry(r, term, a->term, &e))
            return false;
        if (a->prev_log_index + i == 0 && e.kind != QUORUM_MEMBERSHIP)
            return false; /* a log begins with who takes part */
        term = e.term;
        bytes += e.len;
    }
    if (r->failed || r->left != 0)
        return false;
    if (a->n_entries == 0)
        return true;
    a->entries = raft_calloc(a->n_entries, sizeof(*a->entries));
    uint8_t *batch = raft_malloc(bytes + 1);
    TIDE_ASSERT(a->entries != NULL && batch != NULL);
    uint8_t *at = batch;
    for (unsigned i = 0; i < a->n_entries; i++) {
        (void)read_entry(&first, 0, a->term, &e);
        memcpy(at, e.bytes, e.len);
        a->entries[i].term = e.term;
        a->entries[i].type = (enum raft_entry_type)e.kind;
        a->entries[i].buf.base = at;
        a->entries[i].buf.len = e.len;
        a->entries[i].batch = batch;
        at += e.len;
    }
    return true;
}

static bool read_piece(struct quorum_reader *r, struct raft_install_snapshot *s, struct quorum_piece *p)
{
    struct quorum_members members;
    memset(s, 0, sizeof(*s));
    p->index = quorum_read(r, 8);
    p->term = quorum_read(r, 8);
    p->members_index = quorum_read(r, 8);
    p->total = quorum_read(r, 8);
    p->offset = quorum_read(r, 8);
    p->members_len = (uint32_t)quorum_read(r, 4);
    p->len = (uint32_t)quorum_read(r, 4);
    if (r->failed || p->members_len > QUORUM_MEMBERS_BYTES_MAX || p->len > QUORUM_PIECE_BYTES)
        return false;
    p->members = quorum_read_bytes(r, padded(p->members_len));
    p->bytes = quorum_read_bytes(r, padded(p->len));
    if (r->failed || p->index == 0 || p->index > term_max || p->term == 0 || p->members_index == 0 || p->members_index > p->index ||
        p->total > QUORUM_SNAPSHOT_MAX || p->offset > p->total || p->len > p->total - p->offset)
        return false;
    if (p->offset == 0 ? quorum_members_read(p->members, p->members_len, &members) != TIDE_OK : p->members_len != 0)
        return false;
    return p->len != 0 || p->total == 0;
}

static bool read_body(struct quorum_reader *r, const struct quorum_ends *ends, uint64_t term, struct raft_message *m,
                      struct quorum_piece *piece)
{
    switch (m->type) {
    case RAFT_REQUEST_VOTE:
        m->request_vote.term = term;
        return read_vote(r, ends, &m->request_vote);
    case RAFT_REQUEST_VOTE_RESULT:
        m->request_vote_result.term = term;
        return read_vote_result(r, &m->request_vote_result);
    case RAFT_APPEND_ENTRIES:
        m->append_entries.term = term;
        return read_append(r, &m->append_entries);
    case RAFT_APPEND_ENTRIES_RESULT:
        m->append_entries_result.term = term;
        return read_result(r, &m->append_entries_result);
    case RAFT_INSTALL_SNAPSHOT:
        if (!read_piece(r, &m->install_snapshot, piece) || piece->term > term)
            return false;
        m->install_snapshot.term = term;
        return true;
    case RAFT_TIMEOUT_NOW:
        m->timeout_now.term = term;
        m->timeout_now.last_log_index = quorum_read(r, 8);
        m->timeout_now.last_log_term = quorum_read(r, 8);
        return true;
    }
    return false;
}

enum tide_status quorum_message_read(const struct quorum_ends *ends, const void *bytes, size_t len, struct raft_message *ret,
                                     struct quorum_piece *ret_piece)
{
    struct quorum_reader r = {.at = bytes, .left = len};
    struct raft_message m = {.server_id = 0};
    struct quorum_piece piece = {.index = 0};
    uint64_t length = quorum_read(&r, 4);
    uint64_t crc = quorum_read(&r, 4);
    uint64_t version = quorum_read(&r, 2);
    m.type = (enum raft_message_type)quorum_read(&r, 2);
    uint64_t zero = quorum_read(&r, 4);
    const uint8_t *cluster = quorum_read_bytes(&r, sizeof(ends->cluster_id.bytes));
    int32_t sender = (int32_t)quorum_read(&r, 4);
    int32_t receiver = (int32_t)quorum_read(&r, 4);
    uint64_t term = quorum_read(&r, 8);
    if (r.failed || length != len || len > QUORUM_MESSAGE_MAX || version != QUORUM_MESSAGE_VERSION || zero != 0)
        return TIDE_BAD;
    if (crc != quorum_crc((const uint8_t *)bytes + AFTER_CRC, len - AFTER_CRC))
        return TIDE_BAD;
    if (memcmp(cluster, ends->cluster_id.bytes, sizeof(ends->cluster_id.bytes)) != 0 || sender != ends->sender ||
        receiver != ends->receiver || sender < 0 || sender == receiver)
        return TIDE_BAD;
    if (term == 0 || term > term_max || !read_body(&r, ends, term, &m, &piece))
        return TIDE_BAD;
    if (r.failed || r.left != 0) { /* only bodies of a fixed length come here */
        TIDE_ASSERT(m.type != RAFT_APPEND_ENTRIES || m.append_entries.entries == NULL);
        return TIDE_BAD;
    }
    m.server_id = (raft_id)sender + 1;
    *ret = m;
    *ret_piece = piece;
    return TIDE_OK;
}
