/* SPDX-License-Identifier: Apache-2.0 */
#include "sim_control_world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tidemark/assert.h"

uint64_t sim_control_seed; /* for the line that shows a failure again */

_Noreturn void world_fail(const struct world *w, const char *format, ...)
{
    va_list args;
    char what[512];
    va_start(args, format);
    if (w->fail != NULL) {
        vsnprintf(what, sizeof(what), format, args);
        w->fail(w->arg, what);
    }
    fprintf(stderr, "at %.6f s: ", (double)w->now_ns / 1e9);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\nshow it again: sim_control --seed %" PRIu64 " --count 1 --verbose\n", sim_control_seed);
    abort();
}

static void note(struct world *w, uint64_t a, uint64_t b)
{
    w->digest = (w->digest ^ (a * 0x9e3779b97f4a7c15ull + b + w->now_ns)) * 0x100000001b3ull;
}

uint64_t host_time(const struct world *w, const struct host *h)
{
    return h->offset_ns + (uint64_t)((__int128)w->now_ns * (1000000 + h->rate_ppm) / 1000000);
}

uint64_t world_time_of(const struct world *w, const struct host *h, uint64_t local_ns)
{
    (void)w;
    if (local_ns == TIDE_NEVER)
        return TIDE_NEVER;
    if (local_ns <= h->offset_ns)
        return 0;
    return (uint64_t)((__int128)(local_ns - h->offset_ns) * 1000000 / (1000000 + h->rate_ppm)) + 1;
}

static uint32_t number_of(const struct world *w, const struct host *h)
{
    return (uint32_t)(h - w->hosts);
}

static int place_of(const struct world *w, int32_t id)
{
    for (uint32_t i = 0; i < w->count; i++)
        if (w->hosts[i].id == id)
            return (int)i;
    return -1;
}

/* ---- disks ------------------------------------------------------------------------------------------------- */

static void stored_cut(struct stored *s, uint64_t from)
{
    while (s->count != 0 && s->first + s->count > from)
        free(s->entries[--s->count].bytes);
}

static void stored_drop(struct stored *s, uint64_t keep_from)
{
    uint64_t drop = 0;
    while (drop < s->count && s->first + drop < keep_from)
        free(s->entries[drop++].bytes);
    memmove(s->entries, s->entries + drop, (s->count - drop) * sizeof(*s->entries));
    s->first += drop;
    s->count -= drop;
}

static void stored_append(struct stored *s, const struct quorum_entry *e, uint32_t count)
{
    if (count == 0)
        return;
    stored_cut(s, e[0].index);
    if (s->count == 0)
        s->first = e[0].index;
    TIDE_ASSERT(e[0].index == s->first + s->count);
    for (uint32_t i = 0; i < count; i++) {
        struct stored_entry *to = &s->entries[s->count++];
        TIDE_ASSERT(s->count < DISK_LOG_MAX);
        *to = (struct stored_entry){e[i].index, e[i].term, e[i].kind, e[i].len, malloc(e[i].len + 1u)};
        TIDE_ASSERT(to->bytes != NULL);
        if (e[i].len != 0)
            memcpy(to->bytes, e[i].bytes, e[i].len);
    }
}

static void stored_snapshot(struct stored *s, const struct quorum_snapshot *snapshot)
{
    quorum_snapshot_give(s->snapshot);
    s->snapshot = quorum_snapshot_create(snapshot->index, snapshot->term, snapshot->members_index, snapshot->members,
                                         snapshot->members_len, snapshot->bytes, snapshot->len);
    TIDE_ASSERT(s->snapshot != NULL);
}

/* `count`: how many entries of an append. */
static void stored_do(struct stored *s, const struct quorum_disk_op *op, uint32_t count)
{
    switch (op->kind) {
    case QUORUM_DISK_STATE:
        s->term = op->term;
        s->vote = op->vote;
        break;
    case QUORUM_DISK_APPEND:
        stored_append(s, op->entries, count);
        break;
    case QUORUM_DISK_SNAPSHOT:
        stored_snapshot(s, op->snapshot);
        stored_drop(s, op->keep_from);
        break;
    case QUORUM_DISK_INSTALL:
        stored_snapshot(s, op->snapshot);
        stored_cut(s, 0);
        s->first = op->snapshot->index + 1;
        break;
    default:
        break;
    }
}

static void stored_read(const struct stored *s, struct quorum_boot *ret)
{
    *ret = (struct quorum_boot){.term = s->term, .vote = s->vote, .first_index = s->first, .count = s->count, .capacity_bytes = 64 << 20};
    if (s->snapshot != NULL)
        ret->snapshot = quorum_snapshot_create(s->snapshot->index, s->snapshot->term, s->snapshot->members_index, s->snapshot->members,
                                               s->snapshot->members_len, s->snapshot->bytes, s->snapshot->len);
    ret->entries = calloc(s->count + 1, sizeof(*ret->entries));
    TIDE_ASSERT(ret->entries != NULL);
    for (uint64_t i = 0; i < s->count; i++) {
        const struct stored_entry *e = &s->entries[i];
        uint8_t *bytes = malloc(e->len + 1u);
        TIDE_ASSERT(bytes != NULL);
        memcpy(bytes, e->bytes, e->len);
        ret->entries[i] = (struct quorum_entry){e->index, e->term, e->kind, e->len, bytes};
    }
}

static void disk_begin(struct world *w, struct host *h)
{
    uint64_t ns;
    if (h->op != NULL || (h->op = node_disk_take(h->node)) == NULL)
        return;
    ns = 100000 + tide_random_below(&w->random, 3000000);
    if (w->now_ns < h->slow_until_ns)
        ns += 20000000 + tide_random_below(&w->random, 400000000);
    h->disk_done_ns = w->now_ns + ns;
}

static void disk_end(struct world *w, struct host *h)
{
    const struct quorum_disk_op *op = h->op;
    int e = 0;
    if (h->files != NULL)
        e = quorum_files_run(h->files, op);
    else
        stored_do(&h->disk, op, op->kind == QUORUM_DISK_APPEND ? op->count : 0);
    note(w, 1, op->number);
    h->op = NULL;
    h->disk_done_ns = TIDE_NEVER;
    node_on_disk_done(h->node, host_time(w, h), e, h->files != NULL ? quorum_files_capacity(h->files) : 64 << 20);
}

/* ---- wires ------------------------------------------------------------------------------------------------------ */

static void wire_empty(struct wire *x)
{
    for (unsigned d = 0; d < 2; d++) {
        while (x->head[d] != NULL) {
            struct parcel *p = x->head[d];
            x->head[d] = p->next;
            free(p->m.bytes);
            free(p);
        }
        x->tail[d] = NULL;
    }
}

/* Who opened it hears of it at once, the other end perhaps later: then a new connection comes while the old one seems
 * to be there. */
void wire_break(struct world *w, uint32_t a, uint32_t b)
{
    struct wire *x = &w->wires[a][b];
    bool greeted = x->greeted;
    if (!x->up)
        return;
    x->up = x->greeted = false;
    x->retry_at_ns = w->now_ns + 10000000 + tide_random_below(&w->random, 100000000);
    wire_empty(x);
    note(w, 2, a * 16 + b);
    if (w->hosts[a].alive)
        node_on_link_down(w->hosts[a].node, host_time(w, &w->hosts[a]), w->hosts[b].id);
    if (!w->hosts[b].alive || !greeted)
        return;
    if (w->late_notices && tide_random_hits(&w->random, 2))
        x->gone_at_ns = w->now_ns + tide_random_below(&w->random, 2000000000);
    else
        node_on_guest_gone(w->hosts[b].node, host_time(w, &w->hosts[b]), w->hosts[a].id);
}

static void notice_gone(struct world *w, uint32_t a, uint32_t b)
{
    w->wires[a][b].gone_at_ns = TIDE_NEVER;
    if (w->hosts[b].alive)
        node_on_guest_gone(w->hosts[b].node, host_time(w, &w->hosts[b]), w->hosts[a].id);
}

static void wire_put(struct world *w, uint32_t a, uint32_t b, unsigned direction, struct quorum_message m)
{
    struct wire *x = &w->wires[a][b];
    struct parcel *p = calloc(1, sizeof(*p));
    uint64_t ns = 30000 + tide_random_below(&w->random, 1000000);
    TIDE_ASSERT(p != NULL);
    if (tide_random_hits(&w->random, 200))
        ns += tide_random_below(&w->random, 60000000);
    p->m = m;
    p->at_ns = TIDE_MAX(x->last_at_ns[direction], w->now_ns + ns);
    x->last_at_ns[direction] = p->at_ns;
    if (x->tail[direction] != NULL)
        x->tail[direction]->next = p;
    else
        x->head[direction] = p;
    x->tail[direction] = p;
}

/* False: it is gone. */
static bool take_events(struct world *w, struct host *h)
{
    struct node_event e;
    if (w->on_turn != NULL) {
        w->on_turn(w->arg, h);
        return true;
    }
    while (node_event_take(h->node, &e)) {
        if (e.kind == NODE_STOPPED)
            world_fail(w, "broker %d stopped: %s", (int)h->id, node_error(h->node));
        w->on_event(w->arg, h, &e);
        cluster_result_free(&e.result);
        if (!h->alive)
            return false;
    }
    return true;
}

void host_flush(struct world *w, struct host *h)
{
    struct quorum_message m;
    uint32_t me = number_of(w, h);
    if (!h->alive || !take_events(w, h))
        return;
    if (node_founding(h->node) != NULL && h->files != NULL) {
        node_on_founded(h->node, host_time(w, h), quorum_files_found(h->files, node_founding(h->node)));
    } else if (node_founding(h->node) != NULL) {
        h->disk.term = node_founding(h->node)->term;
        stored_append(&h->disk, node_founding(h->node)->entries, (uint32_t)node_founding(h->node)->count);
        node_on_founded(h->node, host_time(w, h), 0);
    }
    disk_begin(w, h);
    for (uint32_t other = 0; other < w->count; other++) {
        if (w->wires[me][other].up)
            while (node_link_frame_take(h->node, w->hosts[other].id, &m))
                wire_put(w, me, other, 0, m);
        if (w->wires[other][me].greeted)
            while (node_guest_frame_take(h->node, w->hosts[other].id, &m))
                wire_put(w, other, me, 1, m);
    }
}

static void connect_wires(struct world *w, struct host *h)
{
    struct node_peer peers[NODE_LINKS_MAX];
    uint32_t count = node_peers(h->node, peers);
    uint32_t a = number_of(w, h);
    for (uint32_t i = 0; i < count; i++) {
        int b = place_of(w, peers[i].id);
        struct wire *x;
        if (b < 0)
            continue;
        x = &w->wires[a][b];
        if (x->up || w->now_ns < x->retry_at_ns)
            continue;
        x->retry_at_ns = w->now_ns + 20000000 + tide_random_below(&w->random, 60000000);
        if (!w->hosts[b].alive && !w->cut[a][b] && !w->cut[b][a])
            node_on_link_refused(h->node, host_time(w, h), peers[i].id);
        if (!w->hosts[b].alive || w->cut[a][b] || w->cut[b][a] || w->now_ns < w->hosts[b].paused_until_ns)
            continue;
        x->up = true;
        x->greeted = false;
        x->number = ++w->connection;
        x->last_at_ns[0] = x->last_at_ns[1] = 0;
        note(w, 3, a * 16 + (uint32_t)b);
        node_on_link_up(h->node, host_time(w, h), peers[i].id);
    }
}

static void deliver_first(struct world *w, uint32_t a, uint32_t b, const struct quorum_message *m)
{
    struct host *to = &w->hosts[b];
    struct quorum_message reply = {0};
    int32_t peer = -1;
    enum tide_status status = node_on_guest(to->node, host_time(w, to), w->wires[a][b].number, m->bytes, m->len, &peer, &reply);
    if (status == TIDE_OK) {
        TIDE_ASSERT(peer == w->hosts[a].id);
        w->wires[a][b].greeted = true;
        w->wires[a][b].gone_at_ns = TIDE_NEVER;
        return;
    }
    if (status == TIDE_REFUSED &&
        node_on_link_frame(w->hosts[a].node, host_time(w, &w->hosts[a]), to->id, reply.bytes, reply.len) != TIDE_OK)
        world_fail(w, "broker %d does not understand a refusal", (int)w->hosts[a].id);
    free(reply.bytes);
    wire_break(w, a, b);
}

static void deliver(struct world *w, uint32_t a, uint32_t b, unsigned direction)
{
    struct wire *x = &w->wires[a][b];
    struct parcel *p = x->head[direction];
    struct host *to = &w->hosts[direction == 0 ? b : a];
    enum tide_status status = TIDE_OK;
    x->head[direction] = p->next;
    if (x->head[direction] == NULL)
        x->tail[direction] = NULL;
    note(w, 4 + direction, p->m.len);
    if (direction == 0 && !x->greeted)
        deliver_first(w, a, b, &p->m);
    else if (direction == 0)
        status = node_on_guest_frame(to->node, host_time(w, to), w->hosts[a].id, p->m.bytes, p->m.len);
    else
        status = node_on_link_frame(to->node, host_time(w, to), w->hosts[b].id, p->m.bytes, p->m.len);
    free(p->m.bytes);
    free(p);
    if (status == TIDE_BAD)
        world_fail(w, "broker %d does not understand what broker %d sent", (int)to->id, (int)w->hosts[direction == 0 ? a : b].id);
    if (status != TIDE_OK) /* it is about to end, and listens to nobody any more */
        wire_break(w, a, b);
    host_flush(w, &w->hosts[a]);
    host_flush(w, &w->hosts[b]);
}

/* ---- hosts -------------------------------------------------------------------------------------------------------- */

void world_init(struct world *w, uint64_t seed, uint32_t count, uint32_t voters)
{
    memset(w, 0, sizeof(*w));
    w->random.state = seed;
    w->count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct host *h = &w->hosts[i];
        h->id = (int32_t)i + 1;
        h->voter = i < voters;
        h->rate_ppm = (int64_t)tide_random_below(&w->random, 10001) - 5000;
        h->offset_ns = tide_random_below(&w->random, 1ull << 50) + TIDE_NS_PER_S;
        for (uint32_t k = 0; k < count; k++)
            w->wires[i][k].gone_at_ns = TIDE_NEVER;
        h->clean_epoch = -1;
        h->disk_done_ns = TIDE_NEVER;
        h->disk.first = 1;
        h->disk.entries = calloc(DISK_LOG_MAX, sizeof(*h->disk.entries));
        TIDE_ASSERT(h->disk.entries != NULL);
    }
}

void world_deinit(struct world *w)
{
    for (uint32_t i = 0; i < w->count; i++) {
        for (uint32_t k = 0; k < w->count; k++)
            wire_empty(&w->wires[i][k]);
        node_destroy(w->hosts[i].node);
        stored_cut(&w->hosts[i].disk, 0);
        quorum_snapshot_give(w->hosts[i].disk.snapshot);
        free(w->hosts[i].disk.entries);
    }
}

void host_start(struct world *w, struct host *h)
{
    struct node_config c = w->config;
    struct quorum_boot boot;
    char error[NODE_ERROR_MAX];
    TIDE_ASSERT(!h->alive && h->node == NULL);
    c.id = h->id;
    for (unsigned i = 0; i < sizeof(h->incarnation.bytes); i += 8) {
        uint64_t r = tide_random_u64(&w->random);
        memcpy(h->incarnation.bytes + i, &r, 8);
    }
    c.incarnation = h->incarnation;
    c.seed = tide_random_u64(&w->random);
    c.previous_epoch = h->clean_epoch;
    c.broker.directory_count = 1;
    memset(c.broker.directories, 0, sizeof(c.broker.directories));
    c.broker.directories[0].bytes[0] = (uint8_t)(h->id + 100);
    h->clean_epoch = -1;
    h->starts++;
    stored_read(&h->disk, &boot);
    h->node = node_create(&c, h->voter ? &boot : NULL, host_time(w, h), error, sizeof(error));
    quorum_boot_deinit(&boot);
    if (h->node == NULL)
        world_fail(w, "broker %d does not start: %s", (int)h->id, error);
    host_begin(w, h, h->node, NULL);
}

void host_begin(struct world *w, struct host *h, struct node *node, struct quorum_files *files)
{
    h->node = node;
    h->files = files;
    h->alive = true;
    h->op = NULL;
    h->disk_done_ns = TIDE_NEVER;
    h->paused_until_ns = 0;
    if (w->verbose)
        printf("%.6f broker %d starts\n", (double)w->now_ns / 1e9, (int)h->id);
    host_flush(w, h);
}

void host_crash(struct world *w, struct host *h)
{
    uint32_t me = number_of(w, h);
    if (h->op != NULL && h->files == NULL) {
        bool whole = tide_random_hits(&w->random, 2);
        if (h->op->kind == QUORUM_DISK_APPEND)
            stored_do(&h->disk, h->op, (uint32_t)tide_random_below(&w->random, h->op->count + 1ull));
        else if (whole)
            stored_do(&h->disk, h->op, 0);
    }
    h->op = NULL;
    h->disk_done_ns = TIDE_NEVER;
    if (w->verbose)
        printf("%.6f broker %d is gone\n", (double)w->now_ns / 1e9, (int)h->id);
    h->alive = false;
    for (uint32_t i = 0; i < w->count; i++) {
        wire_break(w, me, i);
        wire_break(w, i, me);
        w->wires[i][me].gone_at_ns = TIDE_NEVER;
    }
    node_destroy(h->node);
    h->node = NULL;
    for (uint32_t i = 0; i < w->count; i++)
        host_flush(w, &w->hosts[i]);
}

/* ---- time ----------------------------------------------------------------------------------------------------------- */

enum what { NOTHING, WAKE, DISK, FRAME, CONNECT, GONE };

struct next {
    enum what what;
    uint64_t at_ns;
    uint32_t a, b;
    unsigned direction;
};

static void earlier(struct next *n, uint64_t at_ns, enum what what, uint32_t a, uint32_t b, unsigned direction)
{
    if (at_ns < n->at_ns)
        *n = (struct next){what, at_ns, a, b, direction};
}

static void look_at_wire(const struct world *w, struct next *n, uint32_t a, uint32_t b)
{
    const struct wire *x = &w->wires[a][b];
    if (x->gone_at_ns != TIDE_NEVER)
        earlier(n, TIDE_MAX(x->gone_at_ns, w->hosts[b].paused_until_ns), GONE, a, b, 0);
    if (!x->up)
        return;
    if (x->head[0] != NULL && !w->cut[a][b])
        earlier(n, TIDE_MAX(x->head[0]->at_ns, w->hosts[b].paused_until_ns), FRAME, a, b, 0);
    if (x->head[1] != NULL && !w->cut[b][a])
        earlier(n, TIDE_MAX(x->head[1]->at_ns, w->hosts[a].paused_until_ns), FRAME, a, b, 1);
}

static void look_at_host(const struct world *w, struct next *n, uint32_t i)
{
    const struct host *h = &w->hosts[i];
    uint64_t deadline = world_time_of(w, h, node_deadline_ns(h->node));
    deadline = TIDE_MAX(deadline, w->now_ns + 1000);
    earlier(n, TIDE_MAX(deadline, h->paused_until_ns), WAKE, i, 0, 0);
    if (h->op != NULL)
        earlier(n, TIDE_MAX(h->disk_done_ns, h->paused_until_ns), DISK, i, 0, 0);
    for (uint32_t k = 0; k < w->count; k++)
        if (k != i && w->hosts[k].voter && !w->wires[i][k].up)
            earlier(n, TIDE_MAX(w->wires[i][k].retry_at_ns, h->paused_until_ns), CONNECT, i, k, 0);
}

static struct next soonest(const struct world *w, uint64_t until_ns)
{
    struct next n = {.at_ns = until_ns};
    for (uint32_t i = 0; i < w->count; i++) {
        if (w->hosts[i].alive)
            look_at_host(w, &n, i);
        for (uint32_t k = 0; k < w->count; k++)
            look_at_wire(w, &n, i, k);
    }
    return n;
}

uint64_t world_next_ns(const struct world *w)
{
    return soonest(w, TIDE_NEVER).at_ns;
}

bool world_step(struct world *w, uint64_t until_ns)
{
    struct next n = soonest(w, until_ns);
    w->now_ns = TIDE_MAX(w->now_ns, n.at_ns);
    w->steps++;
    switch (n.what) {
    case NOTHING:
        return false;
    case WAKE:
        node_on_time(w->hosts[n.a].node, host_time(w, &w->hosts[n.a]));
        host_flush(w, &w->hosts[n.a]);
        return true;
    case DISK:
        disk_end(w, &w->hosts[n.a]);
        host_flush(w, &w->hosts[n.a]);
        return true;
    case FRAME:
        deliver(w, n.a, n.b, n.direction);
        return true;
    case GONE:
        notice_gone(w, n.a, n.b);
        host_flush(w, &w->hosts[n.b]);
        return true;
    case CONNECT:
        w->wires[n.a][n.b].retry_at_ns = TIDE_MAX(w->wires[n.a][n.b].retry_at_ns, w->now_ns);
        connect_wires(w, &w->hosts[n.a]);
        if (!w->wires[n.a][n.b].up) /* not a peer, or not to be reached */
            w->wires[n.a][n.b].retry_at_ns = TIDE_MAX(w->wires[n.a][n.b].retry_at_ns, w->now_ns + 20000000);
        host_flush(w, &w->hosts[n.a]);
        return true;
    }
    return false;
}
