/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a node, what is applied, and one turn after the other.
 */
#include "node/internal.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kafka/errors.h"
#include "tidemark/assert.h"

enum { TAG_OWN = 1, TAG_MEMBERSHIP = 3 };
static_assert((int)CONTROLLER_VOTERS_MAX >= (int)QUORUM_MEMBERS_MAX, "every voter has a place");

/* ---- events ------------------------------------------------------------------------------------------------ */

void node_tell(struct node *n, const struct node_event *e)
{
    struct node_queued_event *q = calloc(1, sizeof(*q));
    if (q == NULL) {
        node_fail(n, "no memory for an event");
        return;
    }
    q->event = *e;
    if (n->events_tail != NULL)
        n->events_tail->next = q;
    else
        n->events = q;
    n->events_tail = q;
}

void node_fail(struct node *n, const char *format, ...)
{
    va_list args;
    if (n->stopped)
        return;
    n->stopped = true;
    va_start(args, format);
    vsnprintf(n->error, sizeof(n->error), format, args);
    va_end(args);
}

static bool take_flag(bool *flag)
{
    bool was = *flag;
    *flag = false;
    return was;
}

bool node_event_take(struct node *n, struct node_event *ret)
{
    struct node_queued_event *q = n->events;
    memset(ret, 0, sizeof(*ret));
    if (n->stopped && !n->stopped_told) {
        n->stopped_told = true;
        ret->kind = NODE_STOPPED;
        return true;
    }
    /* What changed first: whoever is answered behind it sees it. */
    if (take_flag(&n->changed)) {
        ret->kind = NODE_CHANGED;
        return true;
    }
    if (n->caught_up && !n->caught_up_told) {
        n->caught_up_told = true;
        ret->kind = NODE_CAUGHT_UP;
        return true;
    }
    if (n->told_controller != node_controller(n) || n->told_epoch != cluster_controller_epoch(n->cluster)) {
        n->told_controller = node_controller(n);
        n->told_epoch = cluster_controller_epoch(n->cluster);
        *ret = (struct node_event){.kind = NODE_CONTROLLER, .peer = n->told_controller, .epoch = n->told_epoch};
        return true;
    }
    if (n->told_member != n->member.state) {
        n->told_member = n->member.state;
        ret->kind = NODE_MEMBER;
        return true;
    }
    if (q == NULL)
        return false;
    n->events = q->next;
    if (n->events == NULL)
        n->events_tail = NULL;
    *ret = q->event;
    free(q);
    return true;
}

/* ---- who is who ----------------------------------------------------------------------------------------------- */

bool node_takes_part(const struct node *n)
{
    const struct quorum_members *m = n->quorum != NULL ? quorum_members(n->quorum) : NULL;
    for (uint32_t i = 0; m != NULL && i < m->count; i++)
        if (m->member[i].id == n->config.id && m->member[i].role != QUORUM_SPARE)
            return true;
    return false;
}

int32_t node_target(const struct node *n)
{
    if (!node_takes_part(n))
        return n->hint;
    return quorum_role(n->quorum) == QUORUM_LEADER ? n->config.id : quorum_leader(n->quorum);
}

int32_t node_controller(const struct node *n)
{
    int32_t target = node_target(n);
    if (!node_takes_part(n))
        return cluster_controller(n->cluster);
    return target == n->config.id && !node_is_controller(n) ? -1 : target;
}

/* A voter hears from its quorum who leads; an observer goes by what it is told, else from voter to voter. */
void node_hint(struct node *n, int32_t peer, int32_t controller)
{
    if (node_takes_part(n) || peer != n->hint)
        return;
    if (controller >= 0 && controller != peer && controller != n->config.id) {
        n->hint = controller;
        submit_again(n);
        member_on_controller(&n->member, n->now_ns);
    } else if (n->link_count != 0) {
        uint32_t at = 0;
        while (at < n->link_count && n->links[at].peer != peer)
            at++;
        n->hint = n->links[(at + 1) % n->link_count].peer;
    }
}

static void set_voters(struct node *n)
{
    const struct quorum_members *m = quorum_members(n->quorum);
    int32_t ids[CONTROLLER_VOTERS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < m->count; i++)
        if (m->member[i].role == QUORUM_VOTES && m->member[i].id != n->config.id)
            ids[count++] = m->member[i].id;
    controller_on_voters(&n->controller, ids, count);
    links_set(n);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static bool is_first_voter(const struct node_config *c)
{
    for (uint32_t i = 0; i < c->voter_count; i++)
        if (c->voters[i].id == c->id)
            return true;
    return false;
}

static bool start_quorum(struct node *n, struct quorum_boot *boot, char *error, size_t size)
{
    const struct node_config *c = &n->config;
    struct quorum_config q = {.id = c->id,
                              .cluster_id = c->cluster_id,
                              .seed = c->seed,
                              .election_ms = c->election_ms,
                              .heartbeat_ms = c->quorum_heartbeat_ms,
                              .idle_ms = c->idle_ms,
                              .snapshot_commands = c->snapshot_commands,
                              .snapshot_bytes = c->snapshot_bytes,
                              .trailing = c->trailing};
    n->quorum = quorum_create(&q, boot, n->now_ns, error, size);
    if (n->quorum == NULL)
        return false;
    set_voters(n);
    for (uint32_t i = 0; i < n->link_count; i++)
        if (n->links[i].up)
            quorum_on_peer_up(n->quorum, n->links[i].peer);
    return true;
}

/*
 * A first voter without a log may be one that lost it: then what it had acknowledged is gone with it, and a majority
 * with it could leave out what was committed. So it begins only when so many others have welcomed it as blank that one of
 * them is in every majority: whoever knows the voter's registration would have refused it.
 */
void node_found(struct node *n)
{
    struct quorum_members members = {.count = n->config.voter_count};
    uint32_t welcomes = 0;
    uint32_t needed = n->config.voter_count == 1 ? 0 : n->config.voter_count - n->config.voter_count / 2;
    uint64_t capacity = n->found.capacity_bytes;
    for (uint32_t i = 0; i < n->link_count; i++)
        welcomes += n->links[i].welcome;
    if (!n->founding || n->found_ready || welcomes < needed)
        return;
    for (uint32_t i = 0; i < members.count; i++) {
        members.member[i].id = n->config.voters[i].id;
        members.member[i].role = QUORUM_VOTES;
        snprintf(members.member[i].address, QUORUM_ADDRESS_MAX, "%s", n->config.voters[i].address);
    }
    quorum_boot_deinit(&n->found);
    if (quorum_boot_found(&n->found, &members) != TIDE_OK)
        node_fail(n, "the quorum cannot begin with these voters: a number or an address is there twice");
    n->found.capacity_bytes = capacity;
    n->found_ready = true;
}

const struct quorum_boot *node_founding(const struct node *n)
{
    return n->founding && n->found_ready && !n->stopped ? &n->found : NULL;
}

void node_on_founded(struct node *n, uint64_t now_ns, int result)
{
    char error[QUORUM_ERROR_MAX];
    TIDE_ASSERT(n->founding && n->found_ready);
    n->now_ns = now_ns;
    n->founding = false;
    if (result != 0)
        node_fail(n, "the metadata log cannot be begun: %s", strerror(-result));
    else if (!start_quorum(n, &n->found, error, sizeof(error)))
        node_fail(n, "%s", error);
    node_on_time(n, now_ns);
}

static bool begin(struct node *n, struct quorum_boot *boot, char *error, size_t size)
{
    bool blank = boot != NULL && boot->count == 0 && boot->snapshot == NULL;
    if (boot == NULL)
        return true;
    if (!blank || !is_first_voter(&n->config))
        return start_quorum(n, boot, error, size);
    n->found.capacity_bytes = boot->capacity_bytes;
    n->founding = true;
    node_found(n);
    return true;
}

static void configure(struct node *n)
{
    const struct node_config *c = &n->config;
    struct controller_config controller = {.id = c->id,
                                           .session_ns = c->session_ms * TIDE_NS_PER_MS,
                                           .lease_ns = c->lease_ms * TIDE_NS_PER_MS,
                                           .heartbeat_ns = c->heartbeat_ms * TIDE_NS_PER_MS,
                                           .balance_ns = c->balance_ms * TIDE_NS_PER_MS,
                                           .probe_ns = c->probe_ms * TIDE_NS_PER_MS,
                                           .suspect_ns = c->suspect_ms * TIDE_NS_PER_MS,
                                           .recover_ns = c->recover_ms * TIDE_NS_PER_MS,
                                           .shrink_guard_ns = c->shrink_guard_ms * TIDE_NS_PER_MS,
                                           .cluster_id = c->cluster_id,
                                           .created_ms = c->created_ms,
                                           .init_config_count = c->init_config_count,
                                           .init_configs = c->init_configs};
    struct member_config member = {.id = c->id,
                                   .incarnation = c->incarnation,
                                   .heartbeat_ns = c->heartbeat_ms * TIDE_NS_PER_MS,
                                   .lease_ns = c->lease_ms * TIDE_NS_PER_MS,
                                   .leave_ns = c->leave_ms * TIDE_NS_PER_MS};
    if (!controller_init(&n->controller, &controller))
        node_fail(n, "no memory");
    member_init(&n->member, &member);
}

struct node *node_create(const struct node_config *config, struct quorum_boot *boot, uint64_t now_ns, char *error, size_t size)
{
    struct node *n = calloc(1, sizeof(*n));
    snprintf(error, size, "no memory");
    if (n == NULL)
        return NULL;
    n->config = *config;
    n->now_ns = now_ns;
    n->hint = -1;
    n->told_controller = -1;
    n->cluster = cluster_create(NULL);
    n->scratch = malloc(CLUSTER_COMMAND_MAX);
    configure(n);
    if (n->cluster == NULL || n->scratch == NULL || n->stopped)
        goto fail;
    links_set(n);
    n->follow.source = n->link_count != 0 ? (uint32_t)config->id % n->link_count : 0;
    if (n->link_count != 0)
        n->hint = n->links[n->follow.source].peer;
    if (!begin(n, boot, error, size))
        goto fail;
    error[0] = 0;
    node_on_time(n, now_ns);
    return n;
fail:
    node_destroy(n);
    return NULL;
}

void node_destroy(struct node *n)
{
    if (n == NULL)
        return;
    while (n->events != NULL) {
        struct node_queued_event *q = n->events;
        n->events = q->next;
        cluster_result_free(&q->event.result);
        free(q);
    }
    links_deinit(n);
    submit_deinit(n);
    follow_deinit(n);
    controller_deinit(&n->controller);
    quorum_boot_deinit(&n->found);
    quorum_destroy(n->quorum);
    cluster_destroy(n->cluster);
    free(n->unclean);
    free(n->scratch);
    free(n);
}

/* ---- what is committed ----------------------------------------------------------------------------------------------- */

static void apply_command(struct node *n, uint64_t index, const uint8_t *bytes, size_t len)
{
    struct cluster_result result = {0};
    enum cluster_command_kind kind;
    uint16_t number;
    switch (cluster_apply_bytes(n->cluster, index, bytes, len, &result)) {
    case TIDE_OK:
        break;
    case TIDE_BAD:
        node_fail(n, "command %llu of the metadata log is none that this release knows; run the release that the other brokers run",
                  (unsigned long long)index);
        return;
    default:
        node_fail(n, "no memory to apply command %llu of the metadata log", (unsigned long long)index);
        return;
    }
    memcpy(&number, bytes, sizeof(number));
    kind = (enum cluster_command_kind)number;
    n->changed = true;
    controller_on_applied(&n->controller, n->now_ns, n->cluster, kind, &result);
    submit_on_applied(n, bytes, &result);
    member_on_metadata(&n->member, n->now_ns, n->cluster);
    cluster_result_free(&result);
}

void node_apply(struct node *n, uint64_t index, uint64_t term, const uint8_t *bytes, size_t len)
{
    if (index <= n->applied)
        return; /* it came by the other way: pulled before this broker took part */
    TIDE_ASSERT(index == n->applied + 1); /* N1 */
    if (len != 0)
        apply_command(n, index, bytes, len);
    n->applied = index;
    n->applied_term = term;
}

void node_restore(struct node *n, uint64_t index, uint64_t term, const uint8_t *bytes, size_t len)
{
    if (index <= n->applied)
        return;
    if (bytes != NULL && cluster_restore(n->cluster, bytes, len) != TIDE_OK) {
        node_fail(n, "the metadata snapshot of command %llu cannot be read", (unsigned long long)index);
        return;
    }
    n->applied = index;
    n->applied_term = term;
    n->changed = true;
    member_on_metadata(&n->member, n->now_ns, n->cluster);
    submit_again(n); /* what was applied meanwhile gives its kept result */
}

static void give_snapshot(struct node *n)
{
    size_t size = cluster_snapshot_size(n->cluster);
    uint8_t *bytes = malloc(size);
    size_t len;
    if (bytes == NULL || cluster_snapshot_write(n->cluster, bytes, size, &len) != TIDE_OK ||
        quorum_on_snapshot_taken(n->quorum, n->now_ns, quorum_applied(n->quorum), bytes, len) != TIDE_OK)
        quorum_on_snapshot_refused(n->quorum);
    free(bytes);
}

static void on_role(struct node *n, const struct quorum_event *e)
{
    if (e->role == QUORUM_LEADER)
        controller_on_leader(&n->controller, n->now_ns, e->term);
    else
        controller_on_follower(&n->controller);
}

static void on_done(struct node *n, const struct quorum_event *e)
{
    struct node_event told = {.kind = NODE_RESULT, .cookie = n->membership_cookie};
    if (e->tag == TAG_OWN)
        controller_on_done(&n->controller);
    if (e->tag != TAG_MEMBERSHIP || n->membership_cookie == 0)
        return;
    n->membership_cookie = 0;
    told.outcome = e->outcome == QUORUM_DONE_OK ? NODE_DONE : e->outcome == QUORUM_DONE_UNKNOWN ? NODE_TIMED_OUT : NODE_REFUSED;
    node_tell(n, &told);
}

static void on_quorum_event(struct node *n, const struct quorum_event *e)
{
    switch (e->kind) {
    case QUORUM_APPLY:
        node_apply(n, e->entry.index, e->entry.term, e->entry.bytes, e->entry.len);
        break;
    case QUORUM_RESTORE:
        node_restore(n, e->snapshot->index, e->snapshot->term, e->snapshot->bytes, e->snapshot->len);
        break;
    case QUORUM_ROLE:
        on_role(n, e);
        break;
    case QUORUM_DONE:
        on_done(n, e);
        break;
    case QUORUM_MEMBERS:
        set_voters(n);
        break;
    case QUORUM_TAKE_SNAPSHOT:
        give_snapshot(n);
        break;
    case QUORUM_STOPPED:
        node_fail(n, "%s", quorum_error(n->quorum));
        break;
    default:
        TIDE_ASSERT(false);
    }
}

/* ---- the controller's turn ------------------------------------------------------------------------------------------------ */

int16_t node_on_heartbeat(struct node *n, int32_t broker, const struct rpc_heartbeat *h)
{
    const struct cluster_broker *b = cluster_find_broker(n->cluster, broker);
    if (!node_is_controller(n))
        return KAFKA_NOT_CONTROLLER;
    if (b == NULL || b->epoch != h->epoch)
        return KAFKA_STALE_BROKER_EPOCH;
    controller_on_heartbeat(&n->controller, n->now_ns, n->cluster, broker, h);
    return 0;
}

static bool propose_own(struct node *n)
{
    struct cluster_command c;
    size_t len;
    if (!controller_take_proposal(&n->controller, n->now_ns, n->cluster, &c))
        return false;
    if (cluster_command_encode(&c, n->scratch, CLUSTER_COMMAND_MAX, &len) == TIDE_OK &&
        quorum_propose(n->quorum, n->now_ns, n->scratch, len, TAG_OWN) == TIDE_OK)
        return true;
    controller_on_done(&n->controller); /* no room: at the next tick */
    return false;
}

static void answer_heartbeats(struct node *n)
{
    struct rpc_heartbeat_reply reply;
    int32_t broker;
    while (controller_take_answer(&n->controller, n->now_ns, n->cluster, &broker, &reply)) {
        struct node_guest *g = guests_find(n, broker);
        struct rpc_message m = node_message(n, RPC_HEARTBEAT_REPLY, broker);
        m.heartbeat_reply = reply;
        if (broker == n->config.id)
            member_on_answer(&n->member, n->now_ns, &reply);
        else if (g != NULL)
            (void)guests_send(n, g, &m);
    }
}

static void probe_voters(struct node *n)
{
    struct rpc_probe probe;
    if (!controller_take_probe(&n->controller, n->now_ns, &probe))
        return;
    for (uint32_t i = 0; i < n->controller.voter_count; i++) {
        struct rpc_message m = node_message(n, RPC_PROBE, n->controller.voters[i].id);
        m.probe = probe;
        (void)links_send(n, &m);
    }
}

static void look_for_ended(struct node *n)
{
    for (uint32_t i = 0; i < n->link_count; i++) {
        const struct cluster_broker *b = n->links[i].refused ? cluster_find_broker(n->cluster, n->links[i].peer) : NULL;
        if (b != NULL && links_has_ended(n, b))
            controller_on_ended(&n->controller, b->id);
    }
}

static bool controller_turn(struct node *n)
{
    bool proposed;
    if (n->controller.state == CONTROLLER_IDLE)
        return false;
    look_for_ended(n);
    if (n->now_ns >= controller_deadline_ns(&n->controller))
        controller_on_time(&n->controller, n->now_ns, n->cluster);
    proposed = propose_own(n);
    answer_heartbeats(n);
    probe_voters(n);
    return proposed;
}

/* ---- the member's turn ---------------------------------------------------------------------------------------------------------- */

static void register_broker(struct node *n)
{
    struct cluster_command c = {.kind = CLUSTER_REGISTER_BROKER};
    c.register_broker.cluster_id = n->config.cluster_id;
    c.register_broker.broker = n->config.broker;
    c.register_broker.broker.id = n->config.id;
    c.register_broker.broker.incarnation = n->config.incarnation;
    c.register_broker.previous_epoch = n->config.previous_epoch;
    c.register_broker.unclean_count = n->unclean_count;
    c.register_broker.unclean = n->unclean;
    if (submit_new(n, &c, n->now_ns + REGISTER_PATIENCE_S * TIDE_NS_PER_S, 0, true) != TIDE_OK)
        member_on_registered(&n->member, n->now_ns, -1, "", -1);
}

static bool can_reach_controller(const struct node *n)
{
    int32_t to = node_target(n);
    const struct node_link *l = to >= 0 ? links_look(n, to) : NULL;
    return to == n->config.id ? node_is_controller(n) : l != NULL && l->up;
}

static void send_heartbeat(struct node *n)
{
    struct rpc_message m = node_message(n, RPC_HEARTBEAT, node_target(n));
    if (!can_reach_controller(n) || !member_take_heartbeat(&n->member, n->now_ns, &m.heartbeat))
        return;
    if (m.receiver == n->config.id) {
        struct rpc_heartbeat_reply stale = {.number = m.heartbeat.number, .error = node_on_heartbeat(n, n->config.id, &m.heartbeat)};
        if (stale.error != 0)
            member_on_answer(&n->member, n->now_ns, &stale);
    } else {
        (void)links_send(n, &m);
    }
}

/* An observer that is not answered looks for another controller. */
static void doubt_hint(struct node *n)
{
    const struct node_link *l = n->hint >= 0 ? links_find(n, n->hint) : NULL;
    if (node_takes_part(n) || n->now_ns < n->doubt_at_ns)
        return;
    n->doubt_at_ns = n->now_ns + n->config.request_ms * TIDE_NS_PER_MS;
    if (l == NULL || !l->up)
        node_hint(n, n->hint, -1);
}

static void member_turn(struct node *n)
{
    member_on_time(&n->member, n->now_ns);
    doubt_hint(n);
    if (node_takes_part(n) && n->target != node_controller(n)) {
        n->target = node_controller(n);
        if (n->target >= 0) {
            submit_again(n);
            member_on_controller(&n->member, n->now_ns);
        }
    }
    if (member_take_registration(&n->member, n->now_ns))
        register_broker(n);
    send_heartbeat(n);
}

/* ---- a turn ---------------------------------------------------------------------------------------------------------------------- */

static void see_whether_caught_up(struct node *n)
{
    if (n->caught_up || !node_takes_part(n) || node_controller(n) < 0)
        return;
    n->caught_up = n->applied_term == quorum_term(n->quorum) && !tide_uuid_is_zero(cluster_id(n->cluster));
}

static bool take_quorum_events(struct node *n)
{
    struct quorum_event e;
    bool any = false;
    while (n->quorum != NULL && !n->stopped && quorum_event_take(n->quorum, &e)) {
        on_quorum_event(n, &e);
        any = true;
    }
    return any;
}

void node_on_time(struct node *n, uint64_t now_ns)
{
    enum { ROUNDS = 64 };
    bool again = true;
    n->now_ns = now_ns;
    if (n->quorum != NULL && !n->stopped && now_ns >= quorum_deadline_ns(n->quorum))
        quorum_on_time(n->quorum, now_ns);
    for (unsigned round = 0; again && round < ROUNDS && !n->stopped; round++) {
        again = take_quorum_events(n);
        again |= controller_turn(n);
        member_turn(n);
        submit_turn(n);
        follow_turn(n);
        follow_serve(n);
    }
    links_keep(n);
    see_whether_caught_up(n);
    TIDE_ASSERT_SLOW((node_check(n), true));
}

void node_on_disk_done(struct node *n, uint64_t now_ns, int result, uint64_t capacity_bytes)
{
    quorum_on_disk_done(n->quorum, now_ns, result, capacity_bytes);
    node_on_time(n, now_ns);
}

const struct quorum_disk_op *node_disk_take(struct node *n)
{
    return n->quorum != NULL && !n->stopped ? quorum_disk_take(n->quorum) : NULL;
}

uint64_t node_deadline_ns(const struct node *n)
{
    uint64_t at = member_deadline_ns(&n->member, can_reach_controller(n));
    uint64_t other = controller_deadline_ns(&n->controller);
    if (n->stopped)
        return TIDE_NEVER;
    at = TIDE_MIN(at, other);
    other = submit_deadline_ns(n);
    at = TIDE_MIN(at, other);
    other = follow_deadline_ns(n);
    at = TIDE_MIN(at, other);
    if (n->quorum != NULL) {
        other = quorum_deadline_ns(n->quorum);
        at = TIDE_MIN(at, other);
    }
    if (!node_takes_part(n))
        at = TIDE_MIN(at, n->doubt_at_ns);
    if (n->link_count != 0)
        at = TIDE_MIN(at, n->keep_at_ns);
    return at;
}

/* ---- wishes ---------------------------------------------------------------------------------------------------------------------- */

enum tide_status node_submit(struct node *n, uint64_t now_ns, const struct cluster_command *c, uint64_t patience_ns, uint64_t cookie)
{
    enum tide_status status;
    n->now_ns = now_ns;
    status = submit_new(n, c, now_ns + patience_ns, cookie, false);
    node_on_time(n, now_ns);
    return status;
}

void node_on_recovered(struct node *n, uint64_t now_ns, const struct cluster_partition_ref *unclean, uint32_t count)
{
    n->now_ns = now_ns;
    free(n->unclean);
    n->unclean_count = 0;
    n->unclean = count != 0 ? calloc(count, sizeof(*unclean)) : NULL;
    if (count != 0 && n->unclean == NULL) {
        node_fail(n, "no memory");
        return;
    }
    if (count != 0)
        memcpy(n->unclean, unclean, count * sizeof(*unclean));
    n->unclean_count = count;
    member_on_recovered(&n->member, now_ns);
    node_on_time(n, now_ns);
}

void node_on_serving(struct node *n, uint64_t now_ns)
{
    member_on_serving(&n->member, now_ns);
    node_on_time(n, now_ns);
}

void node_on_finished(struct node *n, uint64_t now_ns, uint64_t index)
{
    member_on_finished(&n->member, now_ns, index);
    node_on_time(n, now_ns);
}

void node_on_health(struct node *n, uint64_t now_ns, const struct node_health *h)
{
    member_on_health(&n->member, now_ns, h);
    node_on_time(n, now_ns);
}

void node_stop(struct node *n, uint64_t now_ns)
{
    member_on_stop(&n->member, now_ns);
    node_on_time(n, now_ns);
}

static enum tide_status begin_membership(struct node *n, uint64_t cookie, enum tide_status status)
{
    if (status == TIDE_OK)
        n->membership_cookie = cookie;
    node_on_time(n, n->now_ns);
    return status;
}

enum tide_status node_add_voter(struct node *n, uint64_t now_ns, int32_t id, const char *address, uint64_t cookie)
{
    n->now_ns = now_ns;
    if (!node_is_controller(n))
        return TIDE_REFUSED;
    if (n->membership_cookie != 0)
        return TIDE_AGAIN;
    return begin_membership(n, cookie, quorum_add_voter(n->quorum, now_ns, id, address, TAG_MEMBERSHIP));
}

enum tide_status node_remove_voter(struct node *n, uint64_t now_ns, int32_t id, uint64_t cookie)
{
    n->now_ns = now_ns;
    if (!node_is_controller(n))
        return TIDE_REFUSED;
    if (n->membership_cookie != 0)
        return TIDE_AGAIN;
    return begin_membership(n, cookie, quorum_remove_voter(n->quorum, now_ns, id, TAG_MEMBERSHIP));
}

/* ---- questions --------------------------------------------------------------------------------------------------------------------- */

const struct cluster *node_cluster(const struct node *n)
{
    return n->cluster;
}

uint64_t node_applied(const struct node *n)
{
    return n->applied;
}

bool node_is_controller(const struct node *n)
{
    return n->controller.state == CONTROLLER_ACTIVE && !tide_uuid_is_zero(cluster_id(n->cluster));
}

/* The only voter decides itself who leads: nobody can be given what this broker leads while it stands still. */
uint64_t node_lease_until_ns(const struct node *n)
{
    bool may_lead = n->member.state == MEMBER_ACTIVE || n->member.state == MEMBER_LEAVING;
    if (may_lead && node_is_controller(n) && n->controller.voter_count == 0)
        return TIDE_NEVER;
    return n->member.lease_until_ns;
}

const struct member *node_member(const struct node *n)
{
    return &n->member;
}

const struct quorum *node_quorum(const struct node *n)
{
    return n->quorum;
}

const char *node_error(const struct node *n)
{
    return n->error;
}

void node_check(const struct node *n)
{
    uint32_t pending = 0;
    for (const struct node_pending *p = n->pending; p != NULL; p = p->next) {
        pending++;
        TIDE_ASSERT(p->lane < 0 || n->lanes[p->lane].current == p); /* N3 */
    }
    TIDE_ASSERT(pending == n->pending_count);
    TIDE_ASSERT(n->stopped || n->controller.state == CONTROLLER_IDLE || (n->quorum != NULL && quorum_role(n->quorum) == QUORUM_LEADER)); /* N2 */
    for (uint32_t i = 0; i < n->link_count; i++)
        TIDE_ASSERT(n->links[i].up || n->links[i].queue.head == NULL); /* N4 */
    TIDE_ASSERT(cluster_index(n->cluster) <= n->applied); /* N1 */
    member_check(&n->member);
    controller_check(&n->controller);
}
