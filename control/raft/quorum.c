/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/quorum_internal.h"

#include <stdarg.h>
#include <stdio.h>

static_assert(QUORUM_COMMAND == (int)RAFT_COMMAND, "a kind of entry is the library's");
static_assert(QUORUM_BARRIER == (int)RAFT_BARRIER, "a kind of entry is the library's");
static_assert(QUORUM_MEMBERSHIP == (int)RAFT_CHANGE, "a kind of entry is the library's");
static_assert(QUORUM_FOLLOWS_ONLY == (int)RAFT_STANDBY, "a role is the library's");
static_assert(QUORUM_VOTES == (int)RAFT_VOTER, "a role is the library's");
static_assert(QUORUM_SPARE == (int)RAFT_SPARE, "a role is the library's");

/* ---- snapshots and boots ---- */

struct quorum_snapshot *quorum_snapshot_create(uint64_t index, uint64_t term, uint64_t members_index, const void *members,
                                               uint32_t members_len, const void *bytes, size_t len)
{
    struct quorum_snapshot *s = quorum_alloc(sizeof(*s));
    s->references = 1;
    s->index = index;
    s->term = term;
    s->members_index = members_index;
    s->members = quorum_copy(members, members_len);
    s->members_len = members_len;
    s->bytes = quorum_copy(bytes, len);
    s->len = len;
    return s;
}

void quorum_snapshot_give(struct quorum_snapshot *s)
{
    if (s == NULL || --s->references != 0)
        return;
    free(s->members);
    free(s->bytes);
    free(s);
}

void quorum_boot_deinit(struct quorum_boot *b)
{
    for (uint64_t i = 0; i < b->count; i++)
        free((void *)(uintptr_t)b->entries[i].bytes);
    free(b->entries);
    quorum_snapshot_give(b->snapshot);
    *b = (struct quorum_boot){.first_index = 1};
}

enum tide_status quorum_boot_found(struct quorum_boot *b, const struct quorum_members *members)
{
    uint8_t bytes[QUORUM_MEMBERS_BYTES_MAX];
    if (!quorum_members_are_sound(members))
        return TIDE_BAD;
    uint32_t len = quorum_members_write(members, bytes);
    *b = (struct quorum_boot){.term = 1, .first_index = 1, .count = 1};
    b->entries = quorum_alloc(sizeof(*b->entries));
    b->entries[0] =
        (struct quorum_entry){.index = 1, .term = 1, .kind = QUORUM_MEMBERSHIP, .len = len, .bytes = quorum_copy(bytes, len)};
    return TIDE_OK;
}

/* ---- events ---- */

void quorum_say(struct quorum *q, const struct quorum_event *e)
{
    if (q->more_count == 0 && q->event_count < QUORUM_EVENTS_MAX) {
        q->events[(q->event_begin + q->event_count++) % QUORUM_EVENTS_MAX] = *e;
        return;
    }
    if (q->more_begin + q->more_count == q->more_room) {
        q->more_room = 2 * q->more_room + QUORUM_EVENTS_MAX;
        q->more = quorum_grow(q->more, q->more_room, sizeof(*q->more));
    }
    q->more[q->more_begin + q->more_count++] = *e;
}

void quorum_stop(struct quorum *q, const char *format, ...)
{
    va_list args;
    if (q->stopped)
        return;
    va_start(args, format);
    vsnprintf(q->error, sizeof(q->error), format, args);
    va_end(args);
    q->stopped = true;
    quorum_say(q, &(struct quorum_event){.kind = QUORUM_STOPPED});
}

static bool queued_event(struct quorum *q, struct quorum_event *ret)
{
    if (q->event_count != 0) {
        *ret = q->events[q->event_begin];
        q->event_begin = (q->event_begin + 1) % QUORUM_EVENTS_MAX;
        q->event_count--;
        return true;
    }
    if (q->more_count == 0)
        return false;
    *ret = q->more[q->more_begin++];
    if (--q->more_count == 0)
        q->more_begin = 0;
    return true;
}

/* ---- the library's step ---- */

/* Free room in the preallocated log, in KiB, as the library counts it (D11). */
uint16_t quorum_capacity(const struct quorum *q)
{
    return (uint16_t)TIDE_MIN(q->capacity_bytes >> 10, (uint64_t)UINT16_MAX);
}

/* 2.2, 2: the log in memory takes the entries, the disk gets them queued. */
static void take_entries(struct quorum *q, const struct raft_update *u)
{
    uint64_t index = u->entries.index;
    quorum_log_cut(&q->log, index); /* D3 */
    q->stored = TIDE_MIN(q->stored, index - 1);
    for (unsigned i = 0; i < u->entries.n; i++) {
        const struct raft_entry *r = &u->entries.batch[i];
        struct quorum_entry e = {.index = index + i,
                                 .term = r->term,
                                 .kind = (enum quorum_entry_kind)r->type,
                                 .len = (uint32_t)r->buf.len,
                                 .bytes = r->buf.base};
        quorum_log_append(&q->log, &e);
    }
    quorum_queue_entries(q, index, u->entries.batch, u->entries.n);
    raft_free(u->entries.batch[0].batch);
    q->appended_ms = q->now_ms;
}

/* 2.2, 3: a snapshot replaces the log. The queue keeps the order (D2, D7). */
static void take_snapshot(struct quorum *q, struct raft_update *u)
{
    struct raft_snapshot_metadata *m = &u->snapshot.metadata;
    struct raft_buffer members;
    TIDE_ASSERT(q->installing == NULL);
    if (raft_configuration_encode(&m->configuration, &members) != 0) {
        quorum_stop(q, "no memory");
        return;
    }
    q->installing = quorum_snapshot_create(m->index, m->term, m->configuration_index, members.base, (uint32_t)members.len,
                                           u->snapshot.chunk.base, u->snapshot.chunk.len);
    raft_free(members.base);
    raft_configuration_close(&m->configuration);
    raft_free(u->snapshot.chunk.base);
    quorum_log_restart(&q->log, m->index + 1);
    q->stored = 0;
    quorum_queue_snapshot(q, QUORUM_DISK_INSTALL, q->installing, m->index + 1);
}

static enum quorum_role role_of(const struct quorum *q)
{
    switch (raft_state((struct raft *)(uintptr_t)&q->raft)) {
    case RAFT_LEADER:
        return QUORUM_LEADER;
    case RAFT_CANDIDATE:
        return QUORUM_CANDIDATE;
    default:
        return QUORUM_FOLLOWER;
    }
}

/* Leadership counts when its term is durable (D1): a sole voter could otherwise lead in one term, lose
 * power, and lead in it again. */
static void tell_role(struct quorum *q)
{
    enum quorum_role role = role_of(q);
    uint64_t term = raft_current_term(&q->raft);
    if (q->leads && (role != QUORUM_LEADER || term != q->leads_term)) {
        quorum_proposals_lost(q);
        quorum_peers_lost_leadership(q);
    }
    q->leads = role == QUORUM_LEADER;
    q->leads_term = term;
    if ((role == q->told_role && term == q->told_term) || (q->leads && q->state_durable != q->state_queued))
        return;
    q->told_role = role;
    q->told_term = term;
    quorum_say(q, &(struct quorum_event){.kind = QUORUM_ROLE, .role = role, .term = term});
}

/* Those in force are the newest in the log, committed or not; the library keeps them. */
void quorum_refresh_members(struct quorum *q)
{
    const struct raft_configuration *c = &q->raft.configuration;
    struct quorum_members m;
    memset(&m, 0, sizeof(m)); /* what lies between the fields is compared too */
    TIDE_ASSERT(c->n <= QUORUM_MEMBERS_MAX);
    for (unsigned i = 0; i < c->n; i++) {
        struct quorum_member *member = &m.member[m.count++];
        member->id = (int32_t)(c->servers[i].id - 1);
        member->role = (uint8_t)c->servers[i].role;
        snprintf(member->address, sizeof(member->address), "%s", c->servers[i].address);
    }
    if (memcmp(&m, &q->members, sizeof(m)) == 0)
        return;
    memcpy(&q->members, &m, sizeof(m));
    quorum_say(q, &(struct quorum_event){.kind = QUORUM_MEMBERS});
}

/*
 * The library makes a sole voter leader without a term of its own. Two such moments in one term would
 * be two leaders of it (a restart; a voter that was left alone by a change), so it gets the next one.
 * What it wanted to say in the old term is not said: only those without a vote would hear it.
 */
static void own_term(struct quorum *q, int state_before, struct raft_update *u)
{
    if (state_before != RAFT_FOLLOWER || raft_state(&q->raft) != RAFT_LEADER)
        return;
    q->raft.current_term++;
    q->raft.voted_for = q->raft.id;
    u->flags |= (RAFT_UPDATE_CURRENT_TERM) | (RAFT_UPDATE_VOTED_FOR);
    u->messages.n = 0;
}

int quorum_step(struct quorum *q, struct raft_event *event)
{
    struct raft_update u = {.flags = 0};
    int state_before = raft_state(&q->raft);
    if (q->stopped)
        return RAFT_SHUTDOWN;
    event->time = q->now_ms;
    event->capacity = quorum_capacity(q); /* D11 */
    int rv = raft_step(&q->raft, event, &u);
    if (rv != 0) {
        if (event->type != RAFT_SUBMIT && event->type != RAFT_TRANSFER) /* D12 */
            quorum_stop(q, "the quorum cannot go on: %s (event %d in term %llu)", raft_strerror(rv), (int)event->type,
                        raft_current_term(&q->raft));
        return rv;
    }
    own_term(q, state_before, &u);
    if ((u.flags & ((RAFT_UPDATE_CURRENT_TERM) | (RAFT_UPDATE_VOTED_FOR))) != 0)
        quorum_queue_state(q, raft_current_term(&q->raft), raft_voted_for(&q->raft)); /* D1 */
    if ((u.flags & (RAFT_UPDATE_ENTRIES)) != 0)
        take_entries(q, &u);
    if ((u.flags & (RAFT_UPDATE_SNAPSHOT)) != 0)
        take_snapshot(q, &u);
    tell_role(q);
    for (unsigned i = 0; i < u.messages.n; i++)
        quorum_send(q, &u.messages.batch[i]);
    q->commit = TIDE_MAX(q->commit, raft_commit_index(&q->raft)); /* D5 */
    return 0;
}

/* ---- life ---- */

static int start(struct quorum *q, struct quorum_boot *boot)
{
    struct raft_event event = {.type = RAFT_START};
    struct raft_snapshot_metadata metadata;
    struct raft_entry *entries = quorum_alloc((boot->count + 1) * sizeof(*entries));
    event.start.term = boot->term;
    event.start.voted_for = boot->vote;
    event.start.start_index = boot->first_index;
    event.start.entries = entries;
    event.start.n_entries = (unsigned)boot->count;
    for (uint64_t i = 0; i < boot->count; i++) {
        const struct quorum_entry *e = &boot->entries[i];
        quorum_log_append(&q->log, e);
        entries[i].term = e->term;
        entries[i].type = (enum raft_entry_type)e->kind;
        entries[i].buf.base = (void *)(uintptr_t)e->bytes;
        entries[i].buf.len = e->len;
        entries[i].batch = entries[i].buf.base;
    }
    if (boot->snapshot != NULL) {
        struct raft_buffer b = {.base = boot->snapshot->members, .len = boot->snapshot->members_len};
        metadata.index = boot->snapshot->index;
        metadata.term = boot->snapshot->term;
        metadata.configuration_index = boot->snapshot->members_index;
        event.start.metadata = &metadata;
        if (raft_configuration_decode(&b, &metadata.configuration) != 0) {
            free(entries);
            return RAFT_MALFORMED;
        }
    }
    int rv = quorum_step(q, &event);
    free(entries);
    return rv;
}

/* What the library would only assert. */
static const char *boot_problem(const struct quorum_boot *b)
{
    struct quorum_members m;
    const struct quorum_snapshot *s = b->snapshot;
    uint64_t last = b->first_index + b->count - 1;
    if (s != NULL && (quorum_members_read(s->members, s->members_len, &m) != TIDE_OK || s->index == 0 || s->term == 0))
        return "the snapshot names no members";
    if (b->term == 0 && (s != NULL || b->count != 0 || b->vote != 0))
        return "there are entries, but no term";
    if (b->first_index == 0 || b->first_index > (s != NULL ? s->index + 1 : 1))
        return "entries are missing before the first one of the log";
    if (s != NULL && last < s->index)
        return "the log ends before the snapshot";
    if (s == NULL && b->count != 0 && b->entries[0].kind != QUORUM_MEMBERSHIP)
        return "the first entry of the log does not name the members";
    for (uint64_t i = 0; i < b->count; i++) {
        const struct quorum_entry *e = &b->entries[i];
        if (e->index != b->first_index + i || e->term == 0 || e->term > b->term || (i != 0 && e->term < e[-1].term))
            return "the entries are not in order";
        if (s != NULL && e->index == s->index && e->term != s->term)
            return "the log and the snapshot do not agree";
        if (e->kind == QUORUM_MEMBERSHIP && quorum_members_read(e->bytes, e->len, &m) != TIDE_OK)
            return "an entry names members in an unknown form";
    }
    return NULL;
}

struct quorum *quorum_create(const struct quorum_config *config, struct quorum_boot *boot, uint64_t now_ns, char *error, size_t size)
{
    struct quorum *q;
    char id[16];
    const char *problem = boot_problem(boot);
    if (problem != NULL) {
        snprintf(error, size, "the metadata quorum cannot start: %s", problem);
        return NULL;
    }
    q = quorum_alloc(sizeof(*q));
    q->config = *config;
    q->now_ms = now_ns / TIDE_NS_PER_MS;
    q->capacity_bytes = boot->capacity_bytes;
    q->log.first = boot->first_index;
    q->stored = TIDE_MAX(boot->first_index + boot->count - 1, boot->snapshot != NULL ? boot->snapshot->index : 0);
    if (boot->snapshot != NULL) {
        q->snapshot = boot->snapshot;
        boot->snapshot->references++;
        q->applied = q->commit = boot->snapshot->index;
        q->applied_term = boot->snapshot->term;
        q->applied_members = boot->snapshot->members_index;
        q->restore_waits = true;
    }
    snprintf(id, sizeof(id), "%d", config->id);
    int rv = raft_init(&q->raft, NULL, NULL, (raft_id)config->id + 1, id);
    if (rv == 0) {
        q->raft.tracer = NULL;
        raft_seed(&q->raft, (unsigned)(config->seed ^ config->seed >> 32));
        raft_set_pre_vote(&q->raft, true); /* D15 */
        raft_set_election_timeout(&q->raft, config->election_ms);
        raft_set_heartbeat_timeout(&q->raft, config->heartbeat_ms);
        raft_set_install_snapshot_timeout(&q->raft, config->install_timeout_ms != 0 ? config->install_timeout_ms : 30000);
        raft_set_max_inflight_entries(&q->raft, QUORUM_INFLIGHT_MAX);
        rv = start(q, boot);
    }
    if (rv != 0) {
        snprintf(error, size, "the metadata quorum cannot start: %s", raft_strerror(rv));
        quorum_destroy(q);
        return NULL;
    }
    quorum_boot_deinit(boot);
    quorum_settle(q);
    return q;
}

void quorum_destroy(struct quorum *q)
{
    if (q == NULL)
        return;
    raft_close(&q->raft, NULL);
    quorum_queue_deinit(q);
    quorum_peers_deinit(q);
    quorum_proposals_deinit(q);
    quorum_log_deinit(&q->log);
    quorum_snapshot_give(q->snapshot);
    quorum_snapshot_give(q->installing);
    free(q->more);
    free(q);
}

/* ---- time ---- */

static uint64_t timer_ms(const struct quorum *q)
{
    return TIDE_MAX(raft_timeout(&q->raft), q->fired_ms + 1);
}

static bool is_idle_leader(const struct quorum *q)
{
    return q->config.idle_ms != 0 && role_of(q) == QUORUM_LEADER && raft_transferee(&q->raft) == 0 && !quorum_is_full(q);
}

void quorum_settle(struct quorum *q)
{
    if (q->stopped)
        return;
    tell_role(q);
    quorum_refresh_members(q);
    /* The first entry of a leader's term commits what was before it (Raft 6.4), and a membership may
     * change only then. The library writes one only when its log is ahead of its commit index. */
    if (role_of(q) == QUORUM_LEADER && !quorum_is_full(q) && raft_transferee(&q->raft) == 0) {
        const struct quorum_entry *last = quorum_log_at(&q->log, quorum_log_last(&q->log));
        if (last == NULL || last->term != raft_current_term(&q->raft))
            (void)quorum_submit(q, QUORUM_BARRIER, NULL, 0);
    }
    quorum_change_go_on(q);
    quorum_proposals_flush(q);
    quorum_refresh_members(q);
    TIDE_ASSERT_SLOW((quorum_check(q), true));
}

void quorum_on_time(struct quorum *q, uint64_t now_ns)
{
    q->now_ms = TIDE_MAX(q->now_ms, now_ns / TIDE_NS_PER_MS);
    if (q->stopped)
        return;
    if (timer_ms(q) <= q->now_ms) {
        struct raft_event event = {.type = RAFT_TIMEOUT};
        bool follows = raft_state(&q->raft) == RAFT_FOLLOWER;
        q->fired_ms = q->now_ms;
        (void)quorum_step(q, &event);
        /* Nothing was heard for a whole election timeout. One that cannot stand for election itself (no
         * vote, a slow disk) would keep its leader in mind for ever, and refuse everybody else. */
        if (follows && raft_state(&q->raft) == RAFT_FOLLOWER)
            q->raft.follower_state.current_leader.id = 0;
    }
    if (q->retry_ms != 0 && q->retry_ms <= q->now_ms)
        quorum_queue_reserve(q); /* when nothing else asks the disk whether there is room again */
    if (is_idle_leader(q) && q->now_ms >= q->appended_ms + q->config.idle_ms)
        (void)quorum_submit(q, QUORUM_BARRIER, NULL, 0); /* D13 */
    quorum_settle(q);
}

uint64_t quorum_deadline_ns(const struct quorum *q)
{
    uint64_t ms;
    if (q->stopped)
        return TIDE_NEVER;
    ms = timer_ms(q);
    if (q->retry_ms > q->now_ms)
        ms = TIDE_MIN(ms, q->retry_ms);
    if (is_idle_leader(q))
        ms = TIDE_MIN(ms, q->appended_ms + q->config.idle_ms);
    return ms * TIDE_NS_PER_MS;
}

/* ---- applying ---- */

/* Who took part at `index`, which is in the log or is the snapshot's: the entry that says so. */
static bool members_at(const struct quorum *q, uint64_t index, uint64_t *ret_index, const uint8_t **ret, uint32_t *ret_len)
{
    for (const struct quorum_entry *e; (e = quorum_log_at(&q->log, index)) != NULL; index--) {
        if (e->kind != QUORUM_MEMBERSHIP)
            continue;
        *ret_index = e->index;
        *ret = e->bytes;
        *ret_len = e->len;
        return true;
    }
    if (q->snapshot == NULL)
        return false;
    *ret_index = q->snapshot->members_index;
    *ret = q->snapshot->members;
    *ret_len = q->snapshot->members_len;
    return true;
}

/* D10 */
static void apply_members(struct quorum *q, const struct quorum_entry *e)
{
    struct raft_event event = {.type = RAFT_CONFIGURATION};
    struct raft_buffer b = {.base = (void *)(uintptr_t)e->bytes, .len = e->len};
    event.configuration.index = e->index;
    q->applied_members = e->index;
    if (raft_configuration_decode(&b, &event.configuration.conf) != 0) {
        quorum_stop(q, "the members in entry %lu cannot be read", e->index);
        return;
    }
    (void)quorum_step(q, &event);
}

static void ask_for_snapshot(struct quorum *q)
{
    if (q->taking != QUORUM_TAKING_NONE || q->installing != NULL)
        return;
    if (q->entries_since < q->config.snapshot_commands && q->bytes_since < q->config.snapshot_bytes)
        return;
    q->taking = QUORUM_TAKING_ASKED;
    quorum_say(q, &(struct quorum_event){.kind = QUORUM_TAKE_SNAPSHOT});
}

static bool apply_next(struct quorum *q, struct quorum_event *ret)
{
    const struct quorum_entry *e = NULL;
    if (q->stopped || q->installing != NULL || q->applied >= q->commit) /* D5, D6 */
        return false;
    e = quorum_log_at(&q->log, q->applied + 1);
    if (e == NULL)
        return false; /* committed elsewhere, still on its way here */
    q->applied = e->index;
    q->applied_term = e->term;
    q->entries_since++;
    q->bytes_since += e->len;
    *ret = (struct quorum_event){.kind = QUORUM_APPLY, .entry = *e, .index = e->index, .term = e->term};
    if (e->kind != QUORUM_COMMAND) {
        ret->entry.len = 0;
        ret->entry.bytes = NULL;
    }
    quorum_proposals_applied(q, e);
    if (e->kind == QUORUM_MEMBERSHIP)
        apply_members(q, e);
    ask_for_snapshot(q);
    return true;
}

bool quorum_event_take(struct quorum *q, struct quorum_event *ret)
{
    if (queued_event(q, ret))
        return true;
    if (q->restore_waits) {
        q->restore_waits = false;
        *ret = (struct quorum_event){
            .kind = QUORUM_RESTORE, .snapshot = q->snapshot, .index = q->snapshot->index, .term = q->snapshot->term};
        return true;
    }
    if (apply_next(q, ret))
        return true;
    quorum_settle(q);
    return queued_event(q, ret);
}

enum tide_status quorum_on_snapshot_taken(struct quorum *q, uint64_t now_ns, uint64_t index, const void *bytes, size_t len)
{
    uint64_t members_index;
    const uint8_t *members;
    uint32_t members_len;
    const struct quorum_entry *e = quorum_log_at(&q->log, index);
    q->now_ms = TIDE_MAX(q->now_ms, now_ns / TIDE_NS_PER_MS);
    if (q->taking != QUORUM_TAKING_ASKED)
        return TIDE_REFUSED;
    q->taking = QUORUM_TAKING_NONE;
    TIDE_ASSERT(len <= QUORUM_SNAPSHOT_MAX);
    TIDE_ASSERT(index <= q->applied);
    /* D7, D8: a log that was replaced meanwhile knows nothing of that index. */
    if (q->stopped || q->installing != NULL || q->restore_waits || e == NULL || (q->snapshot != NULL && q->snapshot->index >= index) ||
        !members_at(q, index, &members_index, &members, &members_len))
        return TIDE_REFUSED;
    struct quorum_snapshot *s = quorum_snapshot_create(index, e->term, members_index, members, members_len, bytes, len);
    q->taking = QUORUM_TAKING_WRITES;
    q->entries_since = q->applied - index;
    q->bytes_since = 0;
    quorum_queue_snapshot(q, QUORUM_DISK_SNAPSHOT, s, index > q->config.trailing ? index - q->config.trailing + 1 : 1); /* D16 */
    quorum_snapshot_give(s);
    return TIDE_OK;
}

void quorum_on_snapshot_refused(struct quorum *q)
{
    if (q->taking == QUORUM_TAKING_ASKED)
        q->taking = QUORUM_TAKING_NONE;
    q->entries_since = 0;
    q->bytes_since = 0;
}

/* ---- questions ---- */

enum quorum_role quorum_role(const struct quorum *q)
{
    return q->stopped ? QUORUM_FOLLOWER : role_of(q);
}

uint64_t quorum_term(const struct quorum *q)
{
    return raft_current_term(&q->raft);
}

int32_t quorum_leader(const struct quorum *q)
{
    raft_id id;
    const char *address;
    raft_leader((struct raft *)(uintptr_t)&q->raft, &id, &address);
    return id == 0 ? -1 : (int32_t)(id - 1);
}

uint64_t quorum_applied(const struct quorum *q)
{
    return q->applied;
}

uint64_t quorum_commit_index(const struct quorum *q)
{
    return q->commit;
}

uint64_t quorum_first_index(const struct quorum *q)
{
    return q->log.first;
}

uint64_t quorum_last_index(const struct quorum *q)
{
    return quorum_log_last(&q->log);
}

bool quorum_is_full(const struct quorum *q)
{
    return quorum_capacity(q) == 0;
}

const struct quorum_members *quorum_members(const struct quorum *q)
{
    return &q->members;
}

enum tide_status quorum_entry_read(const struct quorum *q, uint64_t index, struct quorum_entry *ret)
{
    const struct quorum_entry *e = quorum_log_at(&q->log, index);
    if (index > q->applied)
        return TIDE_AGAIN;
    if (e == NULL || q->installing != NULL)
        return TIDE_ABSENT;
    *ret = *e;
    if (e->kind != QUORUM_COMMAND) {
        ret->len = 0;
        ret->bytes = NULL;
    }
    return TIDE_OK;
}

struct quorum_snapshot *quorum_snapshot(const struct quorum *q)
{
    return q->snapshot;
}

const char *quorum_error(const struct quorum *q)
{
    return q->error;
}

void quorum_check(const struct quorum *q)
{
    uint64_t last = quorum_log_last(&q->log);
    if (q->stopped)
        return;
    if (q->installing == NULL) { /* Q1 */
        TIDE_ASSERT(q->log.first <= q->applied + 1);
        TIDE_ASSERT(q->applied <= last);
        TIDE_ASSERT(q->stored == q->raft.last_stored);
    }
    TIDE_ASSERT(last == raft_last_index((struct raft *)(uintptr_t)&q->raft)); /* Q2 */
    TIDE_ASSERT(q->log.first == q->raft.trail.offset + 1);
    for (uint64_t i = 1; i < q->log.count; i++)
        TIDE_ASSERT(q->log.entries[i - 1].term <= q->log.entries[i].term);
    TIDE_ASSERT(!q->out || q->first != NULL); /* Q3 */
    TIDE_ASSERT(q->state_durable <= q->state_queued);
    if (q->snapshot != NULL && q->installing == NULL) { /* Q5 */
        TIDE_ASSERT(q->snapshot->index <= q->applied);
        TIDE_ASSERT(q->log.first <= q->snapshot->index + 1);
        TIDE_ASSERT(q->snapshot->index == q->raft.trail.snapshot.index);
        TIDE_ASSERT(q->snapshot->term == q->raft.trail.snapshot.term);
    }
    if (role_of(q) != QUORUM_LEADER) { /* Q6 */
        TIDE_ASSERT(q->waiting.count == 0);
        TIDE_ASSERT(q->change.state == QUORUM_CHANGE_NONE);
        for (uint32_t i = 0; i < q->pending.count; i++)
            TIDE_ASSERT(q->pending.list[q->pending.begin + i].index <= q->commit);
    }
}
