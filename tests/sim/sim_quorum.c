/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata quorum in virtual time: voters with simulated disks and connections between them.
 *
 *   --seeds N            N runs, each another cluster with other faults (--from S: begin with seed S)
 *   --seed S [--verbose] one of them, with what happens
 *
 * Connections keep their order and break; what was under way then arrives late, on the old connection, or
 * never. They are cut in one direction or in both, alone or along a line through the cluster. Power
 * goes at any point of a disk operation; disks are slow, full, small. Nodes pause. Snapshots come
 * every few entries. Members come and go under load, and come back with or without what they had.
 *
 * Checked in every step: one leader in a term (I1), the same entry at an index everywhere, also after
 * restarts (I2), what was answered stays (I3), a snapshot is the state at its index (I4), nobody votes
 * twice in a term, a term that was spoken is there after a power cut (D1). At the end the faults stop:
 * one leader soon, everybody equal (I16). A seed that is run twice gives the same digest.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "raft/quorum.h"
#include "raft/quorum_files.h"
#include "sim_fs.h"
#include "sim_seconds.h"
#include "tidemark/random.h"

enum {
    NODES_MAX = 6,
    TERMS_MAX = 100000,
    INDEX_MAX = 100000,
    COMMAND_BYTES_MAX = 200,
};

#define MS TIDE_NS_PER_MS

enum kind { MESSAGE, DISK_DONE, CONNECT, SNAPSHOT_TAKEN, RESTART, FULL_ENDS, RESUME, REJOIN, POWER_CUT };

struct happening {
    uint64_t at;
    uint64_t order;
    enum kind kind;
    unsigned node;
    unsigned from;
    uint64_t life;       /* of the node, when it was made; another one: it is void */
    uint64_t connection; /* of a message */
    uint8_t *bytes;
    size_t len;
    uint64_t index; /* of a snapshot */
};

/* What the owner of a quorum keeps: a chain over all commands. */
struct machine {
    uint64_t index;
    uint64_t commands;
    uint64_t hash;
};

struct node {
    bool alive;
    bool member_once; /* was founded or added: its disk may hold something */
    uint64_t life;
    struct sim_fs *fs;
    struct quorum_files *files;
    struct quorum *quorum;
    const struct quorum_disk_op *op;
    struct machine machine;
    uint64_t spoken_term;
    uint64_t acknowledged; /* highest index ever answered to somebody who proposed here */
    uint64_t paused_until;
    uint64_t slow_until;
    uint64_t full_until;
};

/* The connection over which `from` sends to `to`. */
struct link {
    uint64_t connection;
    bool up;
    bool cut;
    uint64_t last_at; /* keeps the order */
};

struct known {
    bool set;
    uint64_t term;
    uint64_t hash;  /* of the entry's bytes */
    uint64_t chain; /* of the machine behind it */
    uint64_t commands;
};

static struct {
    uint64_t seed;
    bool verbose;
    struct tide_random random;
    uint64_t now;
    uint64_t order;
    uint64_t digest;
    unsigned nodes;
    unsigned founders;
    uint32_t election_ms;
    uint32_t snapshot_commands;
    uint32_t trailing;
    uint32_t pad;
    uint64_t capacity;
    bool faults;
    struct happening *heap;
    size_t count;
    size_t room;
    struct node node[NODES_MAX];
    struct link link[NODES_MAX][NODES_MAX];
    int32_t leader_of_term[TERMS_MAX];
    int32_t vote_of[NODES_MAX][TERMS_MAX];
    struct known known[INDEX_MAX];
    uint64_t next_tag;
    uint64_t tag_index[INDEX_MAX];
    bool change_runs;
    uint64_t change_tag;
    int32_t change_id;
    bool change_removes;
    uint64_t proposed, acked, unknown, crashes, elections, snapshots, installs, changes, breaks, stale;
} w;

#define NOTE(...)                                                                                                                        \
    do {                                                                                                                                 \
        if (w.verbose) {                                                                                                                 \
            fprintf(stderr, "%8.1f ", (double)w.now / 1e6);                                                                              \
            fprintf(stderr, __VA_ARGS__);                                                                                                \
            fprintf(stderr, "\n");                                                                                                       \
        }                                                                                                                                \
    } while (0)

static _Noreturn void __attribute__((format(printf, 1, 2))) give_up(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("seed %" PRIu64 " at %.1f ms: ", w.seed, (double)w.now / 1e6);
    vprintf(format, args);
    printf("\n  again: sim_quorum --seed %" PRIu64 " --verbose\n", w.seed);
    fflush(stdout);
    va_end(args);
    _exit(1);
}

static uint64_t below(uint64_t bound)
{
    return tide_random_below(&w.random, bound);
}

static uint64_t mix(uint64_t h, uint64_t v)
{
    h ^= v + 0x9e3779b97f4a7c15ull + (h << 6) + (h >> 2);
    return h * 0xff51afd7ed558ccdull;
}

static uint64_t mix_bytes(uint64_t h, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    for (size_t i = 0; i < len; i++)
        h = (h ^ at[i]) * 0x100000001b3ull;
    return mix(h, len);
}

/* ---- what happens, in order of time ---- */

static bool before(const struct happening *a, const struct happening *b)
{
    return a->at < b->at || (a->at == b->at && a->order < b->order);
}

static void schedule(struct happening h)
{
    if (h.order == 0)
        h.order = ++w.order;
    h.life = w.node[h.node].life;
    if (w.count == w.room) {
        w.room = w.room * 2 + 256;
        w.heap = realloc(w.heap, w.room * sizeof(*w.heap));
        if (w.heap == NULL)
            abort();
    }
    size_t i = w.count++;
    for (; i != 0 && before(&h, &w.heap[(i - 1) / 2]); i = (i - 1) / 2)
        w.heap[i] = w.heap[(i - 1) / 2];
    w.heap[i] = h;
}

static struct happening next_happening(void)
{
    struct happening first = w.heap[0];
    struct happening h = w.heap[--w.count];
    size_t i = 0;
    for (size_t k; (k = 2 * i + 1) < w.count; i = k) {
        if (k + 1 < w.count && before(&w.heap[k + 1], &w.heap[k]))
            k++;
        if (!before(&w.heap[k], &h))
            break;
        w.heap[i] = w.heap[k];
    }
    w.heap[i] = h;
    return first;
}

/* ---- the network ---- */

static bool is_connectable(unsigned from, unsigned to)
{
    return w.node[from].alive && w.node[to].alive && !w.link[from][to].cut;
}

static void connect_later(unsigned from, unsigned to, uint64_t delay)
{
    schedule((struct happening){.at = w.now + delay, .kind = CONNECT, .node = from, .from = to});
}

/* The same message, later. The order of a connection stays: all of its messages are held as long. */
static struct happening hold(const struct happening *h, uint64_t late)
{
    struct happening again = *h;
    again.at += late;
    again.bytes = malloc(h->len);
    if (again.bytes == NULL)
        abort();
    memcpy(again.bytes, h->bytes, h->len);
    return again;
}

/* Everything under way keeps its old connection number; some of its end is lost, the rest may come
 * when there is a new connection already. */
static void break_link(unsigned from, unsigned to)
{
    struct link *l = &w.link[from][to];
    if (!l->up)
        return;
    l->up = false;
    w.breaks++;
    if (w.node[from].alive)
        quorum_on_peer_down(w.node[from].quorum, (int32_t)to);
    uint64_t keep_until = w.now + below(30) * MS;
    uint64_t late = below(2) * below(400) * MS;
    struct happening held[64];
    unsigned count = 0;
    for (size_t i = 0; i < w.count; i++) {
        struct happening *h = &w.heap[i];
        if (h->kind != MESSAGE || h->from != from || h->node != to || h->connection != l->connection || h->len == 0)
            continue;
        if (h->at <= keep_until && late == 0)
            continue;
        if (h->at <= keep_until && count < 64)
            held[count++] = hold(h, late);
        h->len = 0; /* it never arrives */
    }
    for (unsigned i = 0; i < count; i++)
        schedule(held[i]);
    connect_later(from, to, (5 + below(100)) * MS);
}

static void connect(unsigned from, unsigned to)
{
    struct link *l = &w.link[from][to];
    if (l->up || !w.node[from].alive)
        return;
    if (!is_connectable(from, to)) {
        connect_later(from, to, (20 + below(80)) * MS);
        return;
    }
    l->up = true;
    l->connection++;
    l->last_at = w.now; /* what the old one still brings may come in between */
    quorum_on_peer_up(w.node[from].quorum, (int32_t)to);
}

/* A vote or term in bytes that leave the node; the layout is that of raft/quorum_message.h. */
static void overhear(unsigned i, unsigned to, const struct quorum_message *m)
{
    uint16_t type;
    uint64_t term;
    memcpy(&type, m->bytes + 10, 2);
    memcpy(&term, m->bytes + 40, 8);
    if (type == 3 && (m->bytes[49] & 2) != 0)
        return; /* asks before an election, in the name of a term that may never be */
    if (type == 4 && (m->bytes[49] & 2) != 0)
        return;
    if (term >= TERMS_MAX)
        give_up("terms run away");
    if (term > w.node[i].spoken_term)
        w.node[i].spoken_term = term;
    int32_t candidate = type == 3 ? (int32_t)i : type == 4 && (m->bytes[49] & 4) != 0 ? (int32_t)to : -1;
    if (candidate < 0)
        return;
    if (w.vote_of[i][term] != 0 && w.vote_of[i][term] != candidate + 1)
        give_up("%u votes for %d and for %d in term %" PRIu64, i, w.vote_of[i][term] - 1, candidate, term);
    w.vote_of[i][term] = candidate + 1;
}

static bool send_messages(unsigned i)
{
    struct quorum_message m;
    bool any = false;
    for (unsigned to = 0; to < w.nodes; to++) {
        struct link *l = &w.link[i][to];
        while (quorum_message_take(w.node[i].quorum, (int32_t)to, &m)) {
            any = true;
            overhear(i, to, &m);
            w.digest = mix_bytes(w.digest, m.bytes, m.len);
            uint64_t at = TIDE_MAX(w.now + MS / 2 + below(15) * MS, l->last_at);
            l->last_at = at;
            schedule((struct happening){.at = at, .kind = MESSAGE, .node = to, .from = i, .connection = l->connection, .bytes = m.bytes, .len = m.len});
        }
    }
    return any;
}

/* ---- owners ---- */

static void learn(unsigned i, uint64_t index, uint64_t term, uint64_t hash)
{
    struct node *n = &w.node[i];
    struct known *k = &w.known[index];
    if (index >= INDEX_MAX)
        give_up("the log runs away");
    if (!k->set)
        *k = (struct known){.set = true, .term = term, .hash = hash, .chain = n->machine.hash, .commands = n->machine.commands};
    if (k->term != term || k->hash != hash)
        give_up("I2: node %u applies another entry at %" PRIu64, i, index);
    if (k->chain != n->machine.hash || k->commands != n->machine.commands)
        give_up("I2: node %u is in another state at %" PRIu64, i, index);
}

static void apply(unsigned i, const struct quorum_entry *e)
{
    struct node *n = &w.node[i];
    uint64_t hash = mix_bytes(7, e->bytes, e->len);
    if (e->index != n->machine.index + 1)
        give_up("node %u applies %" PRIu64 " after %" PRIu64, i, e->index, n->machine.index);
    n->machine.index = e->index;
    if (e->len != 0) {
        n->machine.commands++;
        n->machine.hash = mix(n->machine.hash, hash);
    }
    learn(i, e->index, e->term, hash);
}

static void restore(unsigned i, const struct quorum_snapshot *s)
{
    struct node *n = &w.node[i];
    if (s->len < sizeof(n->machine))
        give_up("a snapshot without contents");
    uint64_t had = n->machine.index;
    memcpy(&n->machine, s->bytes, sizeof(n->machine));
    NOTE("node %u restores %" PRIu64 " (had %" PRIu64 ")", i, s->index, had);
    if (n->machine.index != s->index)
        give_up("I4: the snapshot %" PRIu64 " holds the state at %" PRIu64, s->index, n->machine.index);
    if (s->index < had)
        give_up("node %u goes back from %" PRIu64 " to %" PRIu64, i, had, s->index);
    const struct known *k = &w.known[s->index];
    if (!k->set || k->chain != n->machine.hash || k->commands != n->machine.commands || k->term != s->term)
        give_up("I4: node %u restores another state at %" PRIu64, i, s->index);
    for (size_t p = sizeof(n->machine); p < s->len; p++)
        if (s->bytes[p] != (uint8_t)(p * 7))
            give_up("I4: byte %zu of the snapshot is wrong", p);
}

static void take_snapshot(unsigned i)
{
    struct node *n = &w.node[i];
    if (below(10) == 0) {
        quorum_on_snapshot_refused(n->quorum);
        return;
    }
    size_t len = sizeof(n->machine) + w.pad;
    uint8_t *bytes = malloc(len);
    if (bytes == NULL)
        abort();
    memcpy(bytes, &n->machine, sizeof(n->machine));
    for (size_t p = sizeof(n->machine); p < len; p++)
        bytes[p] = (uint8_t)(p * 7);
    w.snapshots++;
    schedule((struct happening){.at = w.now + below(40) * MS, .kind = SNAPSHOT_TAKEN, .node = i, .bytes = bytes, .len = len, .index = n->machine.index});
}

static void wipe(unsigned i);

static void answered(unsigned i, const struct quorum_event *e)
{
    struct node *n = &w.node[i];
    if (e->outcome != QUORUM_DONE_OK)
        w.unknown++;
    if (w.change_runs && e->tag == w.change_tag) {
        w.change_runs = false;
        NOTE("change of %d ends: %d", w.change_id, e->outcome);
        if (e->outcome == QUORUM_DONE_OK) {
            w.changes++;
            if (w.change_removes && (unsigned)w.change_id != i && below(2) == 0)
                wipe((unsigned)w.change_id);
        }
        return;
    }
    if (e->outcome != QUORUM_DONE_OK)
        return;
    w.acked++;
    if (e->index > n->machine.index)
        give_up("node %u answers %" PRIu64 " before it applies it", i, e->index);
    if (w.tag_index[e->tag] != 0)
        give_up("tag %" PRIu64 " is answered twice", e->tag);
    w.tag_index[e->tag] = e->index;
}

static void became(unsigned i, const struct quorum_event *e)
{
    NOTE("node %u: role %d in term %" PRIu64, i, e->role, e->term);
    if (e->role != QUORUM_LEADER)
        return;
    w.elections++;
    if (w.leader_of_term[e->term] != 0)
        give_up("I1: %d and %u lead in term %" PRIu64, w.leader_of_term[e->term] - 1, i, e->term);
    w.leader_of_term[e->term] = (int32_t)i + 1;
}

static void stop_node(unsigned i);

static bool take_events(unsigned i)
{
    struct node *n = &w.node[i];
    struct quorum_event e;
    bool any = false;
    while (n->alive && quorum_event_take(n->quorum, &e)) {
        any = true;
        w.digest = mix(mix(mix(w.digest, (uint64_t)e.kind * 16 + i), e.index), w.now);
        switch (e.kind) {
        case QUORUM_APPLY:
            apply(i, &e.entry);
            break;
        case QUORUM_RESTORE:
            restore(i, e.snapshot);
            break;
        case QUORUM_ROLE:
            became(i, &e);
            break;
        case QUORUM_DONE:
            answered(i, &e);
            break;
        case QUORUM_TAKE_SNAPSHOT:
            take_snapshot(i);
            break;
        case QUORUM_MEMBERS:
            break;
        case QUORUM_STOPPED:
            give_up("node %u stops: %s", i, quorum_error(n->quorum));
        }
    }
    return any;
}

/* ---- disks ---- */

static void begin_disk(unsigned i)
{
    struct node *n = &w.node[i];
    if (n->op != NULL)
        return;
    n->op = quorum_disk_take(n->quorum);
    if (n->op == NULL)
        return;
    uint64_t delay = MS / 2 + below(20) * MS;
    if (n->slow_until > w.now)
        delay += below(1500) * MS;
    if (n->op->kind == QUORUM_DISK_SNAPSHOT || n->op->kind == QUORUM_DISK_INSTALL)
        delay += below(60) * MS;
    if (n->op->kind == QUORUM_DISK_INSTALL)
        w.installs++;
    schedule((struct happening){.at = w.now + delay, .kind = DISK_DONE, .node = i});
}

static void pump(unsigned i)
{
    struct node *n = &w.node[i];
    bool any = n->alive && n->paused_until <= w.now;
    while (any && n->alive) {
        begin_disk(i);
        any = take_events(i);
        if (n->alive)
            any |= send_messages(i);
    }
    if (n->alive)
        quorum_check(n->quorum);
}

/* ---- life ---- */

static void files_config(unsigned i, struct quorum_files_config *c)
{
    *c = (struct quorum_files_config){.fs = sim_fs_verbs(w.node[i].fs), .dir = "/q", .cluster_id = {{9}}, .segment_bytes = 4096};
}

static void founders(struct quorum_members *m)
{
    memset(m, 0, sizeof(*m));
    for (; m->count < w.founders; m->count++) {
        m->member[m->count].id = (int32_t)m->count;
        m->member[m->count].role = QUORUM_VOTES;
        snprintf(m->member[m->count].address, QUORUM_ADDRESS_MAX, "node%u:9093", m->count);
    }
}

/* False: the power went in between (a fault was set up). */
static bool start_node(unsigned i)
{
    struct node *n = &w.node[i];
    struct quorum_files_config c;
    struct quorum_boot boot;
    char error[QUORUM_PATH_MAX + QUORUM_ERROR_MAX];
    files_config(i, &c);
    enum tide_status status = quorum_files_open(&c, &n->files, &boot, error, sizeof(error));
    bool dying = sim_fs_faults(n->fs)->fail_at != 0 && sim_fs_operations(n->fs) >= sim_fs_faults(n->fs)->fail_at;
    if (status != TIDE_OK) {
        n->files = NULL;
        if (!dying)
            give_up("node %u does not open: %s", i, error);
        return false;
    }
    if (quorum_boot_is_empty(&boot) && i < w.founders && !n->member_once) {
        struct quorum_members m;
        uint64_t capacity = boot.capacity_bytes;
        founders(&m);
        quorum_boot_deinit(&boot);
        if (quorum_boot_found(&boot, &m) != TIDE_OK)
            give_up("no founding");
        boot.capacity_bytes = capacity;
        int e = quorum_files_found(n->files, &boot);
        dying = sim_fs_faults(n->fs)->fail_at != 0 && sim_fs_operations(n->fs) >= sim_fs_faults(n->fs)->fail_at;
        if (e != 0) {
            quorum_boot_deinit(&boot);
            quorum_files_close(n->files);
            n->files = NULL;
            if (!dying)
                give_up("node %u cannot be founded: %s", i, strerror(-e));
            return false;
        }
    }
    n->member_once |= !quorum_boot_is_empty(&boot);
    if (boot.term < n->spoken_term)
        give_up("D1: node %u spoke in term %" PRIu64 " and starts in %" PRIu64, i, n->spoken_term, boot.term);
    if (boot.term < TERMS_MAX && boot.vote == 0 && n->spoken_term == boot.term && w.vote_of[i][boot.term] != 0)
        give_up("D1: node %u forgot its vote in term %" PRIu64, i, boot.term);
    struct quorum_config config = {.id = (int32_t)i,
                                   .cluster_id = {{9}},
                                   .seed = below(UINT64_MAX),
                                   .election_ms = w.election_ms,
                                   .heartbeat_ms = w.election_ms / 5,
                                   .idle_ms = 500,
                                   .snapshot_commands = w.snapshot_commands,
                                   .snapshot_bytes = 1 << 20,
                                   .trailing = w.trailing,
                                   .install_timeout_ms = 2000};
    NOTE("node %u starts: term %" PRIu64 " log %" PRIu64 "..%" PRIu64 " snapshot %" PRIu64, i, boot.term, boot.first_index,
         boot.first_index + boot.count - 1, boot.snapshot != NULL ? boot.snapshot->index : 0);
    n->machine = (struct machine){.index = 0};
    n->op = NULL;
    n->paused_until = 0;
    n->quorum = quorum_create(&config, &boot, w.now, error, sizeof(error));
    if (n->quorum == NULL)
        give_up("node %u does not start: %s", i, error);
    n->alive = true;
    for (unsigned k = 0; k < w.nodes; k++)
        if (k != i) {
            connect_later(i, k, 1 + below(30) * MS);
            if (w.node[k].alive)
                connect_later(k, i, 1 + below(30) * MS);
        }
    pump(i);
    return true;
}

/* The process ends; what its disk was doing is done in part. */
static void stop_node(unsigned i)
{
    struct node *n = &w.node[i];
    struct sim_faults *f = sim_fs_faults(n->fs);
    w.crashes++;
    NOTE("node %u loses power", i);
    if (n->op != NULL && below(3) != 0) {
        f->fail_at = sim_fs_operations(n->fs) + below(12) + 1;
        f->fail_ever_after = true;
        f->fail_error = -EIO;
        (void)quorum_files_run(n->files, n->op);
    }
    n->alive = false;
    n->life++;
    for (unsigned k = 0; k < w.nodes; k++) {
        if (k == i)
            continue;
        break_link(k, i);
        w.link[i][k].up = false;
        if (w.node[k].alive)
            connect_later(k, i, (20 + below(50)) * MS);
    }
    quorum_destroy(n->quorum);
    n->quorum = NULL;
    n->op = NULL;
    quorum_files_close(n->files);
    n->files = NULL;
    n->full_until = 0;
    memset(f, 0, sizeof(*f));
    sim_fs_crash(n->fs, (enum sim_crash)below(3));
    if (w.change_runs)
        w.change_runs = w.change_tag == 0; /* whoever ran it may be gone: free for the next one */
}

static void new_disk(unsigned i)
{
    struct sim_fs_config c = {.seed = below(UINT64_MAX), .capacity_bytes = w.capacity};
    w.node[i].fs = sim_fs_create(&c);
}

static void wipe(unsigned i)
{
    struct node *n = &w.node[i];
    NOTE("node %u comes back empty", i);
    if (n->alive)
        stop_node(i);
    sim_fs_destroy(n->fs);
    new_disk(i);
    n->spoken_term = 0;
    memset(w.vote_of[i], 0, sizeof(w.vote_of[i])); /* it has no vote any more: who counts it has an older list */
    schedule((struct happening){.at = w.now + below(500) * MS, .kind = RESTART, .node = i});
}

static void restart(unsigned i)
{
    struct node *n = &w.node[i];
    struct sim_faults *f = sim_fs_faults(n->fs);
    if (n->alive)
        return;
    if (w.faults && below(5) == 0) { /* power goes again while it starts */
        f->fail_at = sim_fs_operations(n->fs) + 1 + below(60);
        f->fail_ever_after = true;
        f->fail_error = -EIO;
        if (!start_node(i)) {
            memset(f, 0, sizeof(*f));
            sim_fs_crash(n->fs, SIM_CRASH_RANDOM);
            schedule((struct happening){.at = w.now + below(300) * MS, .kind = RESTART, .node = i});
            return;
        }
        memset(f, 0, sizeof(*f));
        return;
    }
    (void)start_node(i);
}

static void disk_done(unsigned i)
{
    struct node *n = &w.node[i];
    int e = quorum_files_run(n->files, n->op);
    w.digest = mix(w.digest, (uint64_t)n->op->kind * 100 + (uint64_t)-e);
    n->op = NULL;
    quorum_on_disk_done(n->quorum, w.now, e, quorum_files_capacity(n->files));
    pump(i);
}

static void happen(struct happening *h)
{
    struct node *n = &w.node[h->node];
    if (h->kind != RESTART && h->kind != CONNECT && h->kind != REJOIN && (h->life != n->life || !n->alive))
        return;
    if (n->paused_until > w.now && h->kind != RESUME && h->kind != CONNECT && h->kind != RESTART && h->kind != REJOIN) {
        struct happening later = *h;
        later.at = n->paused_until;
        h->bytes = NULL;
        schedule(later);
        return;
    }
    switch (h->kind) {
    case MESSAGE:
        if (h->len == 0)
            return;
        if (h->connection != w.link[h->from][h->node].connection)
            w.stale++;
        if (quorum_on_message(n->quorum, w.now, (int32_t)h->from, h->connection, h->bytes, h->len) == TIDE_BAD) {
            NOTE("node %u does not like what %u sends", h->node, h->from);
            break_link(h->from, h->node);
        }
        pump(h->node);
        break;
    case DISK_DONE:
        disk_done(h->node);
        break;
    case CONNECT:
        connect(h->node, h->from);
        break;
    case SNAPSHOT_TAKEN:
        (void)!quorum_on_snapshot_taken(n->quorum, w.now, h->index, h->bytes, h->len);
        pump(h->node);
        break;
    case RESTART:
        restart(h->node);
        break;
    case FULL_ENDS:
        memset(sim_fs_faults(n->fs), 0, sizeof(struct sim_faults));
        break;
    case REJOIN:
        for (unsigned k = 0; k < w.nodes; k++)
            w.link[h->node][k].cut = w.link[k][h->node].cut = false;
        break;
    case POWER_CUT:
        if (!w.faults)
            break;
        stop_node(h->node);
        schedule((struct happening){.at = w.now + below(1000) * MS, .kind = RESTART, .node = h->node});
        break;
    case RESUME:
        n->paused_until = 0;
        quorum_on_time(n->quorum, w.now);
        pump(h->node);
        break;
    }
}

/* ---- faults and load ---- */

static int leader(void)
{
    int best = -1;
    for (unsigned i = 0; i < w.nodes; i++)
        if (w.node[i].alive && quorum_role(w.node[i].quorum) == QUORUM_LEADER &&
            (best < 0 || quorum_term(w.node[i].quorum) > quorum_term(w.node[best].quorum)))
            best = (int)i;
    return best;
}

static void cut_line(void)
{
    unsigned mask = (unsigned)below(1u << w.nodes);
    for (unsigned a = 0; a < w.nodes; a++)
        for (unsigned b = 0; b < w.nodes; b++) {
            w.link[a][b].cut = (mask >> a & 1) != (mask >> b & 1);
            if (w.link[a][b].cut)
                break_link(a, b);
        }
}

/* A leader that goes on alone for a while writes what others then replace; and loses power at about the
 * time when it hears of that. */
static void isolate_leader(void)
{
    int l = leader();
    if (l < 0)
        return;
    NOTE("node %d alone", l);
    for (unsigned k = 0; k < w.nodes; k++) {
        w.link[l][k].cut = w.link[k][l].cut = true;
        break_link((unsigned)l, k);
        break_link(k, (unsigned)l);
    }
    uint64_t back = w.now + (100 + below(2 * w.election_ms + 500)) * MS;
    schedule((struct happening){.at = back, .kind = REJOIN, .node = (unsigned)l});
    if (below(2) == 0)
        schedule((struct happening){.at = back + below(400) * MS, .kind = POWER_CUT, .node = (unsigned)l});
}

static void change_members(void)
{
    int l = leader();
    if (l < 0)
        return;
    unsigned id = (unsigned)below(w.nodes);
    const struct quorum_members *m = quorum_members(w.node[l].quorum);
    const struct quorum_member *found = NULL;
    unsigned voters = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        voters += m->member[i].role == QUORUM_VOTES;
        if ((unsigned)m->member[i].id == id)
            found = &m->member[i];
    }
    char address[32];
    uint64_t tag = w.next_tag++;
    bool removes = false;
    enum tide_status status;
    snprintf(address, sizeof(address), "node%u:9093", id);
    if (found != NULL && found->role == QUORUM_VOTES) {
        if (voters <= 2 && below(4) != 0)
            return;
        removes = true;
        status = quorum_remove_voter(w.node[l].quorum, w.now, (int32_t)id, tag);
    } else {
        status = quorum_add_voter(w.node[l].quorum, w.now, (int32_t)id, address, tag);
    }
    NOTE("node %d: %s %u: %d", l, removes ? "remove" : "add", id, status);
    if (status == TIDE_OK) {
        w.change_removes = removes;
        w.change_runs = true;
        w.change_tag = tag;
        w.change_id = (int32_t)id;
    }
    pump((unsigned)l);
}

static void fault(void)
{
    unsigned a = (unsigned)below(w.nodes);
    unsigned b = (unsigned)below(w.nodes);
    struct node *n = &w.node[a];
    switch (below(15)) {
    case 0:
    case 1:
        if (n->alive) {
            stop_node(a);
            schedule((struct happening){.at = w.now + below(3000) * MS, .kind = RESTART, .node = a});
        }
        break;
    case 2:
        if (a != b) {
            w.link[a][b].cut = true;
            break_link(a, b);
        }
        break;
    case 3:
        cut_line();
        break;
    case 4:
    case 5:
        for (a = 0; a < w.nodes; a++)
            for (b = 0; b < w.nodes; b++)
                w.link[a][b].cut = false;
        break;
    case 6:
    case 7:
        if (a != b)
            break_link(a, b);
        break;
    case 8:
        n->slow_until = w.now + below(4000) * MS;
        break;
    case 9:
        if (n->alive && n->full_until == 0) {
            struct sim_faults *f = sim_fs_faults(n->fs);
            NOTE("node %u: disk full", a);
            f->fail_at = sim_fs_operations(n->fs) + 1;
            f->fail_ever_after = true;
            f->fail_error = -ENOSPC;
            n->full_until = w.now + below(3000) * MS;
            schedule((struct happening){.at = n->full_until, .kind = FULL_ENDS, .node = a});
            n->full_until = 0;
        }
        break;
    case 10:
        if (n->alive && n->paused_until == 0) {
            n->paused_until = w.now + below(2000) * MS + 1;
            schedule((struct happening){.at = n->paused_until, .kind = RESUME, .node = a});
        }
        break;
    case 11:
        change_members();
        break;
    case 13:
    case 14:
        isolate_leader();
        break;
    case 12:
        if (n->alive && quorum_role(n->quorum) == QUORUM_LEADER) {
            (void)!quorum_transfer(n->quorum, w.now, below(2) == 0 ? -1 : (int32_t)b);
            pump(a);
        }
        break;
    }
}

static void propose(void)
{
    for (unsigned i = 0; i < w.nodes; i++) {
        struct node *n = &w.node[i];
        uint8_t command[COMMAND_BYTES_MAX];
        if (!n->alive || n->paused_until > w.now || w.next_tag + 8 >= INDEX_MAX)
            continue;
        if (quorum_role(n->quorum) != QUORUM_LEADER)
            continue;
        for (uint64_t k = 1 + below(4); k != 0; k--) {
            uint64_t tag = w.next_tag++;
            memset(command, (int)below(256), sizeof(command));
            memcpy(command, &tag, sizeof(tag));
            if (quorum_propose(n->quorum, w.now, command, 8 + below(COMMAND_BYTES_MAX - 8), tag) == TIDE_OK)
                w.proposed++;
        }
        pump(i);
    }
}

/* ---- a run ---- */

static uint64_t deadline(void)
{
    uint64_t at = w.count != 0 ? w.heap[0].at : TIDE_NEVER;
    for (unsigned i = 0; i < w.nodes; i++)
        if (w.node[i].alive && w.node[i].paused_until <= w.now)
            at = TIDE_MIN(at, quorum_deadline_ns(w.node[i].quorum));
    return at;
}

static void run_until(uint64_t end)
{
    for (uint64_t at; (at = deadline()) <= end;) {
        w.now = TIDE_MAX(w.now, at);
        if (w.count != 0 && w.heap[0].at <= w.now) {
            struct happening h = next_happening();
            happen(&h);
            free(h.bytes);
            continue;
        }
        for (unsigned i = 0; i < w.nodes; i++)
            if (w.node[i].alive && w.node[i].paused_until <= w.now && quorum_deadline_ns(w.node[i].quorum) <= w.now) {
                quorum_on_time(w.node[i].quorum, w.now);
                pump(i);
            }
    }
    w.now = end;
}

static void heal(void)
{
    w.faults = false;
    for (unsigned a = 0; a < w.nodes; a++)
        for (unsigned b = 0; b < w.nodes; b++)
            w.link[a][b].cut = false;
    for (unsigned i = 0; i < w.nodes; i++) {
        w.node[i].slow_until = 0;
        memset(sim_fs_faults(w.node[i].fs), 0, sizeof(struct sim_faults));
        if (!w.node[i].alive)
            schedule((struct happening){.at = w.now + 1, .kind = RESTART, .node = i});
    }
}

/* Everybody whom the leader counts is where it is. */
static bool converged(uint64_t at_least)
{
    int l = leader();
    if (l < 0)
        return false;
    const struct quorum_members *m = quorum_members(w.node[l].quorum);
    if (w.node[l].machine.index < at_least)
        return false;
    for (uint32_t i = 0; i < m->count; i++) {
        const struct node *n = &w.node[m->member[i].id];
        if (!n->alive || n->machine.index < at_least)
            return false;
    }
    return true;
}

static void describe_all(void)
{
    for (unsigned i = 0; i < w.nodes && w.verbose; i++) {
        const struct node *n = &w.node[i];
        if (!n->alive) {
            fprintf(stderr, "  node %u is down\n", i);
            continue;
        }
        const struct quorum_members *m = quorum_members(n->quorum);
        fprintf(stderr, "  node %u: role %d term %" PRIu64 " leader %d log %" PRIu64 "..%" PRIu64 " commit %" PRIu64 " applied %" PRIu64 " full %d, members",
                i, quorum_role(n->quorum), quorum_term(n->quorum), quorum_leader(n->quorum), quorum_first_index(n->quorum),
                quorum_last_index(n->quorum), quorum_commit_index(n->quorum), quorum_applied(n->quorum), quorum_is_full(n->quorum));
        for (uint32_t k = 0; k < m->count; k++)
            fprintf(stderr, " %d%s", m->member[k].id, m->member[k].role == QUORUM_VOTES ? "" : "-");
        fprintf(stderr, "\n");
    }
}

static void finish(void)
{
    uint64_t healed = w.now;
    uint64_t soon = 10ull * 2 * w.election_ms * MS + 4000 * MS; /* pauses end within 2 s */
    heal();
    while (leader() < 0 && w.now < healed + soon)
        run_until(w.now + 10 * MS);
    if (leader() < 0 || w.verbose)
        describe_all();
    if (leader() < 0)
        give_up("I16: no leader %.1f s after the faults stopped", (double)(w.now - healed) / 1e9);
    /* The highest index that anybody has applied, and one entry more, must reach everybody. */
    run_until(w.now + 3000 * MS);
    uint64_t target = 0;
    for (unsigned i = 0; i < w.nodes; i++)
        target = TIDE_MAX(target, w.node[i].machine.index);
    while (!converged(target + 1) && w.now < healed + 40000 * MS)
        run_until(w.now + 50 * MS);
    if (!converged(target + 1))
        give_up("I16: not everybody has %" PRIu64 " when the faults stopped long ago", target + 1);
    int l = leader();
    if (l < 0)
        give_up("I16: the leader is gone again");
    for (uint64_t tag = 1; tag < w.next_tag; tag++) /* I3: it is in the log that everybody has */
        if (w.tag_index[tag] > w.node[l].machine.index)
            give_up("I3: the answered command at %" PRIu64 " is gone", w.tag_index[tag]);
}

static uint64_t run_seed(uint64_t seed)
{
    memset(&w.now, 0, sizeof(w) - offsetof(__typeof__(w), now));
    w.seed = seed;
    w.random.state = seed * 0x9e3779b97f4a7c15ull + 3;
    static const unsigned sizes[] = {1, 3, 3, 3, 5};
    w.founders = sizes[below(5)];
    w.nodes = w.founders + (unsigned)below(NODES_MAX - w.founders + 1);
    w.election_ms = 150 + 50 * (uint32_t)below(4);
    bool seldom = below(4) == 0;
    w.snapshot_commands = 8 + (uint32_t)below(seldom ? 500 : 80);
    w.trailing = 2 + (uint32_t)below(seldom ? 200 : 30);
    w.pad = below(4) == 0 ? (uint32_t)below(700000) : (uint32_t)below(3000);
    w.capacity = w.pad < 3000 && below(3) == 0 ? 100000 + below(100000) : 0;
    w.next_tag = 1;
    w.faults = true;
    for (unsigned i = 0; i < w.nodes; i++) {
        new_disk(i);
        (void)start_node(i);
    }
    uint64_t length = (5000 + below(10000)) * MS;
    uint64_t fault_at = 500 * MS;
    uint64_t load_at = 0;
    while (w.now < length) {
        run_until(TIDE_MIN(fault_at, load_at));
        if (w.now >= fault_at) {
            fault_at = w.now + (20 + below(700)) * MS;
            fault();
        }
        if (w.now >= load_at) {
            load_at = w.now + below(below(25) == 0 ? 1500 : 30) * MS + MS / 4;
            propose();
        }
    }
    finish();
    w.digest = mix(w.digest, w.node[leader()].machine.hash);
    for (unsigned i = 0; i < w.nodes; i++) {
        quorum_destroy(w.node[i].quorum);
        quorum_files_close(w.node[i].files);
        w.digest = mix(w.digest, sim_fs_digest(w.node[i].fs));
        sim_fs_destroy(w.node[i].fs);
    }
    while (w.count != 0)
        free(w.heap[--w.count].bytes);
    free(w.heap);
    return w.digest;
}

int main(int argc, char **argv)
{
    uint64_t from = 1;
    uint64_t seeds = 1;
    uint64_t digest = 0;
    static const struct option options[] = {{"seeds", required_argument, NULL, 'n'}, {"from", required_argument, NULL, 'f'},
                                            {"seed", required_argument, NULL, 's'},  {"verbose", no_argument, NULL, 'v'},
                                            {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'n')
            seeds = strtoull(optarg, NULL, 0);
        else if (c == 'f' || c == 's')
            from = strtoull(optarg, NULL, 0);
        else if (c == 'v')
            w.verbose = true;
        else
            return 2;
    }
    const char *full = getenv("TIDE_FULL");
    if (full != NULL && strcmp(full, "1") == 0 && seeds > 1)
        seeds *= 20;
    uint64_t total[10] = {0};
    for (uint64_t s = from; s < from + seeds; s++) {
        uint64_t d = run_seed(s);
        const uint64_t counts[10] = {w.proposed, w.acked, w.unknown, w.crashes, w.elections, w.snapshots, w.installs, w.changes, w.breaks, w.stale};
        for (unsigned i = 0; i < 10; i++)
            total[i] += counts[i];
        if ((s - from) % 10 == 0 && run_seed(s) != d)
            give_up("P12: the same seed gives another digest");
        digest = mix(digest, d);
        if (sim_time_is_up())
            seeds = s - from + 1;
    }
    printf("%" PRIu64 " seeds: proposed %" PRIu64 ", answered %" PRIu64 ", not %" PRIu64 ", power cuts %" PRIu64 ", elections %" PRIu64
           ", snapshots %" PRIu64 ", installs %" PRIu64 ", changes %" PRIu64 ", broken connections %" PRIu64 ", late messages %" PRIu64
           ", digest %016" PRIx64 "\n",
           seeds, total[0], total[1], total[2], total[3], total[4], total[5], total[6], total[7], total[8], total[9], digest);
    return 0;
}
