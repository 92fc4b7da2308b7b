/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules of the driver one by one (control-plane.md 2.3), and a scene for every known fault of the
 * library: node 0 alone, everything that others would say is written by hand.
 */
#include "unit.h"

#include <errno.h>

#include "raft/quorum_message.h"
#include "raft/quorum_members.h"

static const struct tide_uuid cluster = {{1}};

struct scene {
    struct quorum *q;
    uint64_t now;
    uint64_t applied; /* by the owner: every index once, in order */
    uint64_t restored;
    bool asked; /* for a snapshot */
    bool stopped;
};

static void members_of(struct quorum_members *m, unsigned voters)
{
    memset(m, 0, sizeof(*m));
    for (; m->count < voters; m->count++) {
        m->member[m->count].id = (int32_t)m->count;
        m->member[m->count].role = QUORUM_VOTES;
        snprintf(m->member[m->count].address, QUORUM_ADDRESS_MAX, "h:%u", m->count);
    }
}

static void begin_with(struct scene *s, const struct quorum_members *members, uint32_t snapshot_commands)
{
    struct quorum_config c = {.id = 0,
                              .cluster_id = cluster,
                              .seed = 5,
                              .election_ms = 500,
                              .heartbeat_ms = 100,
                              .snapshot_commands = snapshot_commands,
                              .snapshot_bytes = 1 << 30,
                              .trailing = 5};
    struct quorum_boot boot;
    char error[QUORUM_ERROR_MAX];
    *s = (struct scene){.now = 1000 * TIDE_NS_PER_MS};
    assert_int_equal(quorum_boot_found(&boot, members), TIDE_OK);
    boot.capacity_bytes = 1 << 20;
    s->q = quorum_create(&c, &boot, s->now, error, sizeof(error));
    assert_non_null(s->q);
    for (int32_t i = 1; i < 4; i++)
        quorum_on_peer_up(s->q, i);
}

static void begin(struct scene *s)
{
    struct quorum_members m;
    members_of(&m, 3);
    begin_with(s, &m, 1000000);
}

static void events(struct scene *s)
{
    struct quorum_event e;
    while (quorum_event_take(s->q, &e)) {
        if (e.kind == QUORUM_APPLY) {
            assert_int_equal(e.index, s->applied + 1); /* D5 */
            s->applied = e.index;
        }
        if (e.kind == QUORUM_RESTORE)
            s->applied = s->restored = e.index;
        s->asked |= e.kind == QUORUM_TAKE_SNAPSHOT;
        s->stopped |= e.kind == QUORUM_STOPPED;
    }
    quorum_check(s->q);
}

static bool disk(struct scene *s, enum quorum_disk_kind *ret)
{
    const struct quorum_disk_op *op = quorum_disk_take(s->q);
    if (op == NULL)
        return false;
    if (ret != NULL)
        *ret = op->kind;
    quorum_on_disk_done(s->q, s->now, 0, 1 << 20);
    return true;
}

static void settle(struct scene *s)
{
    do
        events(s);
    while (disk(s, NULL));
    events(s);
}

static void end(struct scene *s)
{
    quorum_check(s->q);
    quorum_destroy(s->q);
}

/* ---- what others say ---- */

static enum tide_status say(struct scene *s, int32_t from, uint64_t connection, const struct raft_message *m, const struct quorum_entry *entries,
                            const struct quorum_piece *piece)
{
    struct quorum_ends ends = {.cluster_id = cluster, .sender = from, .receiver = 0};
    struct quorum_message bytes;
    quorum_message_write(&ends, m, entries, piece, &bytes);
    enum tide_status status = quorum_on_message(s->q, s->now, from, connection, bytes.bytes, bytes.len);
    free(bytes.bytes);
    return status;
}

/* Commands of `term` at prev + 1 ... prev + n; the one at `change`, if any, is a membership. */
static enum tide_status append_with(struct scene *s, uint64_t connection, uint64_t term, uint64_t prev, uint64_t prev_term, unsigned n,
                                    uint64_t entry_term, uint64_t commit, uint64_t change, const struct quorum_members *members)
{
    struct quorum_entry e[128];
    uint8_t bytes[QUORUM_MEMBERS_BYTES_MAX];
    for (unsigned i = 0; i < n; i++) {
        e[i] = (struct quorum_entry){
            .index = prev + 1 + i, .term = entry_term, .kind = QUORUM_COMMAND, .len = 8, .bytes = (const uint8_t *)"command"};
        if (e[i].index == change) {
            e[i].kind = QUORUM_MEMBERSHIP;
            e[i].len = quorum_members_write(members, bytes);
            e[i].bytes = bytes;
        }
    }
    struct raft_message m = {.type = RAFT_APPEND_ENTRIES};
    m.append_entries.term = term;
    m.append_entries.prev_log_index = prev;
    m.append_entries.prev_log_term = prev_term;
    m.append_entries.leader_commit = commit;
    m.append_entries.n_entries = n;
    return say(s, 1, connection, &m, e, NULL);
}

static void append(struct scene *s, uint64_t term, uint64_t prev, uint64_t prev_term, unsigned n, uint64_t commit)
{
    assert_int_equal(append_with(s, 1, term, prev, prev_term, n, term, commit, 0, NULL), TIDE_OK);
}

static enum tide_status ask_vote(struct scene *s, int32_t from, uint64_t term, bool pre, uint64_t last_index, uint64_t last_term)
{
    struct raft_message m = {.type = RAFT_REQUEST_VOTE};
    m.request_vote.version = 2;
    m.request_vote.term = term;
    m.request_vote.candidate_id = (raft_id)from + 1;
    m.request_vote.last_log_index = last_index;
    m.request_vote.last_log_term = last_term;
    m.request_vote.pre_vote = pre;
    return say(s, from, 1, &m, NULL, NULL);
}

static enum tide_status install(struct scene *s, uint64_t term, uint64_t index, uint64_t index_term, uint64_t total, uint64_t offset, uint32_t len)
{
    static uint8_t room[QUORUM_PIECE_BYTES];
    struct quorum_members members;
    uint8_t bytes[QUORUM_MEMBERS_BYTES_MAX];
    members_of(&members, 3);
    for (uint32_t i = 0; i < len; i++)
        room[i] = (uint8_t)((offset + i) * 31);
    struct quorum_piece p = {.index = index,
                             .term = index_term,
                             .members_index = 1,
                             .total = total,
                             .offset = offset,
                             .len = len,
                             .members = bytes,
                             .bytes = room};
    p.members_len = offset == 0 ? quorum_members_write(&members, bytes) : 0;
    struct raft_message m = {.type = RAFT_INSTALL_SNAPSHOT};
    m.install_snapshot.term = term;
    return say(s, 1, 1, &m, NULL, &p);
}

/* The next answer to `to`. */
static bool hear(struct scene *s, int32_t to, struct raft_message *ret)
{
    struct quorum_ends ends = {.cluster_id = cluster, .sender = 0, .receiver = to};
    struct quorum_message m;
    struct quorum_piece piece;
    if (!quorum_message_take(s->q, to, &m))
        return false;
    assert_int_equal(quorum_message_read(&ends, m.bytes, m.len, ret, &piece), TIDE_OK);
    free(m.bytes);
    return true;
}

static struct raft_append_entries_result last_result(struct scene *s)
{
    struct raft_message m = {.type = 0};
    struct raft_append_entries_result last = {.rejected = UINT64_MAX};
    while (hear(s, 1, &m))
        if (m.type == RAFT_APPEND_ENTRIES_RESULT)
            last = m.append_entries_result;
    return last;
}

/* ---- the rules ---- */

static void d1_a_vote_waits_for_the_disk(void **state)
{
    struct scene s;
    struct raft_message m;
    begin(&s);
    assert_int_equal(ask_vote(&s, 2, 7, false, 1, 1), TIDE_OK);
    events(&s);
    assert_false(hear(&s, 2, &m));
    const struct quorum_disk_op *op = quorum_disk_take(s.q);
    assert_int_equal(op->kind, QUORUM_DISK_STATE);
    assert_int_equal(op->term, 7);
    assert_int_equal(op->vote, 3);
    assert_false(hear(&s, 2, &m));
    quorum_on_disk_done(s.q, s.now, 0, 1 << 20);
    assert_true(hear(&s, 2, &m));
    assert_true(m.request_vote_result.vote_granted);
    end(&s);
}

static void d2_d3_a_conflict_is_written_behind_what_it_replaces(void **state)
{
    struct scene s;
    begin(&s);
    append(&s, 1, 1, 1, 3, 0);
    assert_int_equal(append_with(&s, 1, 2, 2, 1, 1, 2, 0, 0, NULL), TIDE_OK); /* instead of 3 and 4 */
    assert_int_equal(quorum_last_index(s.q), 3);
    const struct quorum_disk_op *op = quorum_disk_take(s.q);
    assert_int_equal(op->kind, QUORUM_DISK_APPEND);
    assert_int_equal(op->entries[0].index, 2);
    assert_int_equal(op->count, 3);
    assert_null(quorum_disk_take(s.q)); /* one at a time */
    quorum_on_disk_done(s.q, s.now, 0, 1 << 20);
    assert_true(disk(&s, NULL)); /* the term */
    op = quorum_disk_take(s.q);
    assert_int_equal(op->entries[0].index, 3);
    assert_int_equal(op->entries[0].term, 2);
    assert_int_equal(op->count, 1);
    quorum_on_disk_done(s.q, s.now, 0, 1 << 20);
    assert_null(quorum_disk_take(s.q));
    end(&s);
}

/* Replaced, and replaced back: the first write has the terms of the third, and still may not count. */
static void d4_a_replaced_write_does_not_count(void **state)
{
    struct scene s;
    begin(&s);
    append(&s, 1, 1, 1, 3, 0);
    assert_int_equal(append_with(&s, 1, 2, 1, 1, 3, 2, 0, 0, NULL), TIDE_OK);
    assert_int_equal(append_with(&s, 1, 3, 1, 1, 3, 1, 0, 0, NULL), TIDE_OK);
    assert_true(disk(&s, NULL)); /* the first write */
    assert_int_equal(last_result(&s).rejected, UINT64_MAX);
    settle(&s);
    assert_int_equal(last_result(&s).last_log_index, 4);
    end(&s);
}

/* Fault: the commit index of the library goes back to 3; nothing is applied twice. */
static void d5_applies_once_when_the_commit_index_goes_back(void **state)
{
    struct scene s;
    begin(&s);
    append(&s, 1, 1, 1, 5, 6);
    settle(&s);
    assert_int_equal(s.applied, 6);
    append(&s, 1, 3, 1, 0, 9);
    settle(&s);
    assert_int_equal(quorum_commit_index(s.q), 6);
    append(&s, 1, 6, 1, 3, 9);
    settle(&s);
    assert_int_equal(s.applied, 9);
    end(&s);
}

static void d6_applies_nothing_while_a_snapshot_comes_in(void **state)
{
    struct scene s;
    begin(&s);
    settle(&s);
    assert_int_equal(install(&s, 2, 50, 2, 100, 0, 100), TIDE_OK);
    append(&s, 2, 50, 2, 0, 60);
    events(&s);
    assert_int_equal(s.restored, 0);
    assert_int_equal(s.applied, 1);
    settle(&s);
    assert_int_equal(s.restored, 50);
    append(&s, 2, 50, 2, 3, 53);
    settle(&s);
    assert_int_equal(s.applied, 53);
    end(&s);
}

/* Fault: the library's own adapter crashes here. */
static void d7_an_install_waits_for_our_own_snapshot(void **state)
{
    struct scene s;
    struct quorum_members m;
    enum quorum_disk_kind kind;
    members_of(&m, 3);
    begin_with(&s, &m, 20);
    append(&s, 1, 1, 1, 30, 31);
    settle(&s);
    assert_true(s.asked);
    assert_int_equal(quorum_on_snapshot_taken(s.q, s.now, 31, "mine", 4), TIDE_OK);
    assert_int_equal(install(&s, 2, 90, 2, 100, 0, 100), TIDE_OK);
    assert_int_equal(install(&s, 2, 90, 2, 100, 0, 100), TIDE_OK); /* sent again meanwhile */
    const struct quorum_disk_op *op = quorum_disk_take(s.q);
    assert_int_equal(op->kind, QUORUM_DISK_SNAPSHOT);
    assert_int_equal(op->snapshot->index, 31);
    quorum_on_disk_done(s.q, s.now, 0, 1 << 20);
    assert_true(disk(&s, &kind) && kind == QUORUM_DISK_STATE);
    assert_true(disk(&s, &kind) && kind == QUORUM_DISK_INSTALL);
    events(&s);
    assert_int_equal(s.applied, 90);
    assert_int_equal(quorum_snapshot(s.q)->index, 90);
    end(&s);
}

/* And one that the owner made of a state that an install has overtaken is not taken. */
static void d7_an_overtaken_snapshot_is_refused(void **state)
{
    struct scene s;
    struct quorum_members m;
    members_of(&m, 3);
    begin_with(&s, &m, 20);
    append(&s, 1, 1, 1, 30, 31);
    settle(&s);
    assert_int_equal(install(&s, 2, 90, 2, 100, 0, 100), TIDE_OK);
    assert_int_equal(quorum_on_snapshot_taken(s.q, s.now, 31, "mine", 4), TIDE_REFUSED);
    settle(&s);
    assert_int_equal(quorum_snapshot(s.q)->index, 90);
    end(&s);
}

/* The members of a snapshot are those at its index, not those in force. */
static void d8_a_snapshot_is_of_one_moment(void **state)
{
    struct scene s;
    struct quorum_members m;
    struct quorum_members read;
    members_of(&m, 3);
    begin_with(&s, &m, 20);
    append(&s, 1, 1, 1, 30, 31);
    settle(&s);
    m.member[2].role = QUORUM_FOLLOWS_ONLY;
    assert_int_equal(append_with(&s, 1, 2, 31, 1, 2, 2, 33, 33, &m), TIDE_OK);
    settle(&s);
    assert_int_equal(quorum_on_snapshot_taken(s.q, s.now, 32, "state", 5), TIDE_OK);
    settle(&s);
    const struct quorum_snapshot *snapshot = quorum_snapshot(s.q);
    assert_int_equal(snapshot->index, 32);
    assert_int_equal(snapshot->term, 2);
    assert_int_equal(snapshot->members_index, 1);
    assert_int_equal(quorum_members_read(snapshot->members, snapshot->members_len, &read), TIDE_OK);
    assert_int_equal(read.member[2].role, QUORUM_VOTES);
    assert_int_equal(quorum_members(s.q)->member[2].role, QUORUM_FOLLOWS_ONLY);
    end(&s);
}

static void d11_a_full_disk_refuses_proposals(void **state)
{
    struct scene s;
    struct quorum_members m;
    members_of(&m, 1);
    begin_with(&s, &m, 1000);
    settle(&s);
    assert_int_equal(quorum_propose(s.q, s.now, "x", 1, 1), TIDE_OK);
    assert_non_null(quorum_disk_take(s.q));
    quorum_on_disk_done(s.q, s.now, -ENOSPC, 0);
    events(&s);
    assert_int_equal(quorum_propose(s.q, s.now, "x", 1, 2), TIDE_FULL);
    assert_null(quorum_disk_take(s.q)); /* not at once */
    assert_false(s.stopped);
    s.now = quorum_deadline_ns(s.q);
    while (quorum_disk_take(s.q) == NULL) {
        quorum_on_time(s.q, s.now);
        s.now += 100 * TIDE_NS_PER_MS;
    }
    quorum_on_disk_done(s.q, s.now, 0, 1 << 20);
    settle(&s);
    assert_int_equal(s.applied, quorum_last_index(s.q)); /* the refused one left no trace, the first is there */
    assert_int_equal(quorum_propose(s.q, s.now, "x", 1, 3), TIDE_OK);
    end(&s);
}

static void d12_a_broken_disk_stops_the_node(void **state)
{
    struct scene s;
    begin(&s);
    append(&s, 1, 1, 1, 1, 0);
    assert_non_null(quorum_disk_take(s.q));
    quorum_on_disk_done(s.q, s.now, -EIO, 1 << 20);
    events(&s);
    assert_true(s.stopped);
    assert_non_null(strstr(quorum_error(s.q), "cannot be written"));
    end(&s);
}

/* A committed entry of ours in another form: there is no going on. */
static void d12_a_contradiction_stops_the_node(void **state)
{
    struct scene s;
    begin(&s);
    append(&s, 1, 1, 1, 3, 4);
    settle(&s);
    assert_int_not_equal(append_with(&s, 1, 2, 2, 1, 2, 2, 4, 0, NULL), TIDE_OK);
    events(&s);
    assert_true(s.stopped);
    end(&s);
}

/* Fault: what our own snapshot covers is refused, and the leader goes back below what it matched. */
static void d17_entries_that_our_snapshot_covers_are_taken(void **state)
{
    struct scene s;
    struct quorum_members m;
    members_of(&m, 3);
    begin_with(&s, &m, 20);
    append(&s, 1, 1, 1, 40, 41);
    settle(&s);
    assert_int_equal(quorum_on_snapshot_taken(s.q, s.now, 41, "state", 5), TIDE_OK);
    settle(&s);
    assert_int_equal(quorum_first_index(s.q), 37);
    (void)last_result(&s);
    append(&s, 1, 20, 1, 30, 50);
    settle(&s);
    struct raft_append_entries_result r = last_result(&s);
    assert_int_equal(r.rejected, 0);
    assert_int_equal(r.last_log_index, 50);
    assert_int_equal(s.applied, 50);
    append(&s, 1, 3, 1, 2, 50); /* ends below it as a whole */
    settle(&s);
    assert_int_equal(last_result(&s).rejected, 0);
    end(&s);
}

/* Fault: a stale rejection overtakes an answer. What an older connection still brings is not heard. */
static void d18_an_older_connection_is_not_heard(void **state)
{
    struct scene s;
    begin(&s);
    settle(&s);
    assert_int_equal(append_with(&s, 2, 1, 1, 1, 1, 1, 0, 0, NULL), TIDE_OK);
    settle(&s);
    assert_int_equal(last_result(&s).last_log_index, 2);
    assert_int_equal(append_with(&s, 1, 1, 2, 1, 5, 1, 0, 0, NULL), TIDE_OK);
    settle(&s);
    assert_int_equal(quorum_last_index(s.q), 2);
    assert_int_equal(last_result(&s).rejected, UINT64_MAX);
    end(&s);
}

/* Fault: a field of the answer to a leader of an older term is whatever was on the stack. */
static void the_answer_to_an_old_leader_is_whole(void **state)
{
    struct scene s;
    begin(&s);
    append(&s, 5, 1, 1, 2, 0);
    settle(&s);
    (void)last_result(&s);
    append(&s, 3, 1, 1, 2, 0);
    settle(&s);
    struct raft_append_entries_result r = last_result(&s);
    assert_int_equal(r.term, 5);
    assert_int_equal(r.rejected, 1);
    assert_int_equal(r.last_log_index, 0);
    end(&s);
}

/* Fault: the library books a change under the first new index of its message. When the change is cut off
 * again and that index is not, it stays in force. */
static void a_change_in_the_middle_of_a_message_can_be_taken_back(void **state)
{
    struct scene s;
    struct quorum_members m;
    begin(&s);
    members_of(&m, 3);
    m.member[2].role = QUORUM_FOLLOWS_ONLY;
    assert_int_equal(append_with(&s, 1, 2, 1, 1, 4, 2, 0, 4, &m), TIDE_OK);
    settle(&s);
    assert_int_equal(quorum_members(s.q)->member[2].role, QUORUM_FOLLOWS_ONLY);
    assert_int_equal(append_with(&s, 1, 3, 3, 2, 2, 3, 0, 0, NULL), TIDE_OK);
    settle(&s);
    assert_int_equal(quorum_members(s.q)->member[2].role, QUORUM_VOTES);
    end(&s);
}

/* Fault: a member that does not know yet that it has a vote refuses it, for ever when it once had a
 * leader; with the leader gone nobody could be elected. */
static void a_vote_is_given_before_it_is_known(void **state)
{
    struct scene s;
    struct quorum_members m;
    struct raft_message answer;
    members_of(&m, 2);
    m.member[0].role = QUORUM_FOLLOWS_ONLY;
    begin_with(&s, &m, 1000);
    append(&s, 1, 1, 1, 3, 4);
    settle(&s);
    (void)last_result(&s);
    assert_int_equal(quorum_leader(s.q), 1);
    assert_int_equal(ask_vote(&s, 1, 2, true, 5, 1), TIDE_OK);
    settle(&s);
    assert_true(hear(&s, 1, &answer));
    assert_false(answer.request_vote_result.vote_granted); /* there is a leader */
    for (unsigned i = 0; i < 20; i++) {
        s.now += 100 * TIDE_NS_PER_MS;
        if (quorum_deadline_ns(s.q) <= s.now)
            quorum_on_time(s.q, s.now);
    }
    assert_int_equal(quorum_leader(s.q), -1);
    assert_int_equal(ask_vote(&s, 1, 2, false, 5, 1), TIDE_OK);
    settle(&s);
    assert_true(hear(&s, 1, &answer));
    assert_true(answer.request_vote_result.vote_granted);
    assert_int_equal(quorum_role(s.q), QUORUM_FOLLOWER);
    end(&s);
}

/* Fault: what a late vote does to a follower depends on an address. It does nothing. */
static void a_late_vote_is_not_heard(void **state)
{
    struct scene s;
    struct raft_message m = {.type = RAFT_REQUEST_VOTE_RESULT};
    begin(&s);
    append(&s, 1, 1, 1, 1, 0);
    settle(&s);
    m.request_vote_result.version = 2;
    m.request_vote_result.term = 9;
    m.request_vote_result.pre_vote = true;
    m.request_vote_result.vote_granted = true;
    assert_int_equal(say(&s, 1, 1, &m, NULL, NULL), TIDE_OK);
    assert_int_equal(quorum_term(s.q), 1);
    end(&s);
}

/* A snapshot in pieces; heartbeats that overtake them are answered without a refusal. */
static void a_snapshot_comes_in_pieces(void **state)
{
    struct scene s;
    const uint64_t total = 2ull * QUORUM_PIECE_BYTES + 77;
    begin(&s);
    settle(&s);
    assert_int_equal(install(&s, 2, 50, 2, total, 0, QUORUM_PIECE_BYTES), TIDE_OK);
    append(&s, 2, 50, 2, 0, 60);
    settle(&s);
    assert_int_equal(last_result(&s).rejected, 0);
    assert_int_equal(install(&s, 2, 50, 2, total, QUORUM_PIECE_BYTES, QUORUM_PIECE_BYTES), TIDE_OK);
    assert_int_equal(install(&s, 2, 50, 2, total, QUORUM_PIECE_BYTES, QUORUM_PIECE_BYTES), TIDE_BAD); /* twice */
    assert_int_equal(s.restored, 0);
    assert_int_equal(install(&s, 2, 50, 2, total, 2ull * QUORUM_PIECE_BYTES, 77), TIDE_OK);
    settle(&s);
    assert_int_equal(s.restored, 50);
    assert_int_equal(quorum_snapshot(s.q)->len, total);
    for (uint64_t i = 0; i < total; i++)
        assert_int_equal(quorum_snapshot(s.q)->bytes[i], (uint8_t)((i % QUORUM_PIECE_BYTES + i / QUORUM_PIECE_BYTES * QUORUM_PIECE_BYTES) * 31));
    end(&s);
}

/* A second leader of our own term cannot be; the library would fall over it. */
static void a_rival_of_the_same_term_is_not_heard(void **state)
{
    struct scene s;
    struct quorum_members m;
    members_of(&m, 1);
    begin_with(&s, &m, 1000);
    settle(&s);
    assert_int_equal(quorum_role(s.q), QUORUM_LEADER);
    assert_int_equal(append_with(&s, 1, quorum_term(s.q), 1, 1, 1, 1, 0, 0, NULL), TIDE_BAD);
    assert_int_equal(install(&s, quorum_term(s.q), 90, 1, 0, 0, 0), TIDE_BAD);
    assert_int_equal(quorum_role(s.q), QUORUM_LEADER);
    end(&s);
}

static void bytes_that_are_not_ours_are_refused(void **state)
{
    struct scene s;
    struct quorum_message m;
    struct raft_message vote = {.type = RAFT_TIMEOUT_NOW};
    vote.timeout_now.term = 3;
    begin(&s);
    const struct {
        struct quorum_ends ends;
        size_t flip;
        size_t cut;
    } cases[] = {
        {{{{2}}, 1, 0}, 0, 0},       /* another cluster */
        {{{{1}}, 1, 2}, 0, 0},       /* another receiver */
        {{{{1}}, 2, 0}, 0, 0},       /* another sender than the connection's */
        {{{{1}}, 1, 0}, 50, 0},      /* a flipped bit */
        {{{{1}}, 1, 0}, 0, 1},       /* too short */
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        quorum_message_write(&cases[i].ends, &vote, NULL, NULL, &m);
        if (cases[i].flip != 0)
            m.bytes[cases[i].flip] ^= 4;
        assert_int_equal(quorum_on_message(s.q, s.now, 1, 1, m.bytes, m.len - cases[i].cut), TIDE_BAD);
        free(m.bytes);
    }
    end(&s);
}

/* The log that a peer wants to begin must name who takes part; entries are what they say. */
static void entries_that_no_voter_writes_are_refused(void **state)
{
    struct scene s;
    begin(&s);
    assert_int_equal(append_with(&s, 1, 2, 0, 0, 1, 1, 0, 0, NULL), TIDE_BAD);  /* no members in entry 1 */
    assert_int_equal(append_with(&s, 1, 2, 1, 1, 1, 3, 0, 0, NULL), TIDE_BAD);  /* a term to come */
    assert_int_equal(append_with(&s, 1, 2, 1, 2, 1, 1, 0, 0, NULL), TIDE_BAD);  /* a term that falls */
    assert_int_equal(append_with(&s, 1, 2, 1, 0, 1, 1, 0, 0, NULL), TIDE_BAD);  /* an entry without a term */
    assert_int_equal(quorum_last_index(s.q), 1);
    end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(d1_a_vote_waits_for_the_disk),
        cmocka_unit_test(d2_d3_a_conflict_is_written_behind_what_it_replaces),
        cmocka_unit_test(d4_a_replaced_write_does_not_count),
        cmocka_unit_test(d5_applies_once_when_the_commit_index_goes_back),
        cmocka_unit_test(d6_applies_nothing_while_a_snapshot_comes_in),
        cmocka_unit_test(d7_an_install_waits_for_our_own_snapshot),
        cmocka_unit_test(d7_an_overtaken_snapshot_is_refused),
        cmocka_unit_test(d8_a_snapshot_is_of_one_moment),
        cmocka_unit_test(d11_a_full_disk_refuses_proposals),
        cmocka_unit_test(d12_a_broken_disk_stops_the_node),
        cmocka_unit_test(d12_a_contradiction_stops_the_node),
        cmocka_unit_test(d17_entries_that_our_snapshot_covers_are_taken),
        cmocka_unit_test(d18_an_older_connection_is_not_heard),
        cmocka_unit_test(the_answer_to_an_old_leader_is_whole),
        cmocka_unit_test(a_change_in_the_middle_of_a_message_can_be_taken_back),
        cmocka_unit_test(a_vote_is_given_before_it_is_known),
        cmocka_unit_test(a_late_vote_is_not_heard),
        cmocka_unit_test(a_snapshot_comes_in_pieces),
        cmocka_unit_test(a_rival_of_the_same_term_is_not_heard),
        cmocka_unit_test(bytes_that_are_not_ours_are_refused),
        cmocka_unit_test(entries_that_no_voter_writes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
