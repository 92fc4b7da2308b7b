/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands of this broker on their way to the controller, and commands of brokers as they reach it.
 */
#include "node/internal.h"

#include <stdlib.h>
#include <string.h>

#include "kafka/errors.h"
#include "tidemark/assert.h"

/* Tags of proposals: what becomes of them is told in the metadata, except of the controller's own. */
enum { TAG_FORWARDED = 2 };

/* ---- lanes --------------------------------------------------------------------------------------------------- */

static uint64_t requester_of(int32_t broker, uint32_t lane)
{
    return lane == 0 ? cluster_requester_broker(broker)
                     : cluster_requester_client((uint64_t)(uint32_t)broker * NODE_LANES + lane);
}

static bool is_of(uint64_t requester, int32_t broker)
{
    for (uint32_t lane = 0; lane < NODE_LANES; lane++)
        if (requester_of(broker, lane) == requester)
            return true;
    return false;
}

/* The numbers begin at random, so that no process of this broker uses one again. */
static void lanes_begin(struct node *n)
{
    struct tide_random random = {n->config.seed ^ 0x6c616e65};
    for (uint32_t i = 0; i < NODE_LANES; i++)
        n->lanes[i] = (struct node_lane){.requester = requester_of(n->config.id, i), .sequence = tide_random_u64(&random) >> 1};
}

static int free_lane(const struct node *n, const struct node_pending *p)
{
    if (p->registers)
        return n->lanes[0].current == NULL ? 0 : -1;
    for (uint32_t i = 1; i < NODE_LANES; i++)
        if (n->lanes[i].current == NULL)
            return (int)i;
    return -1;
}

static void enter_lane(struct node *n, struct node_pending *p, int lane)
{
    struct node_lane *l = &n->lanes[lane];
    p->lane = lane;
    p->sequence = ++l->sequence;
    l->current = p;
    memcpy(p->bytes + COMMAND_REQUESTER_AT, &l->requester, 8);
    memcpy(p->bytes + COMMAND_SEQUENCE_AT, &p->sequence, 8);
}

/* ---- asking ---------------------------------------------------------------------------------------------------- */

enum tide_status submit_new(struct node *n, const struct cluster_command *command, uint64_t give_up_ns, uint64_t cookie, bool registers)
{
    struct node_pending *p;
    size_t len;
    if (n->lanes[0].requester == 0)
        lanes_begin(n);
    if (n->pending_count == NODE_PENDING_MAX)
        return TIDE_FULL;
    if (cluster_command_encode(command, n->scratch, CLUSTER_COMMAND_MAX, &len) != TIDE_OK)
        return TIDE_BAD;
    p = malloc(sizeof(*p) + len);
    if (p == NULL)
        return TIDE_FULL;
    *p = (struct node_pending){.cookie = cookie, .registers = registers, .lane = -1, .give_up_ns = give_up_ns, .len = len,
                               .backoff_ms = BACKOFF_FIRST_MS};
    memcpy(p->bytes, n->scratch, len);
    if (n->pending_tail != NULL)
        n->pending_tail->next = p;
    else
        n->pending = p;
    n->pending_tail = p;
    n->pending_count++;
    return TIDE_OK;
}

static void unlink_pending(struct node *n, struct node_pending *p)
{
    struct node_pending **at = &n->pending, *before = NULL;
    while (*at != p) {
        before = *at;
        at = &(*at)->next;
    }
    *at = p->next;
    if (n->pending_tail == p)
        n->pending_tail = before;
    n->pending_count--;
    if (p->lane >= 0)
        n->lanes[p->lane].current = NULL;
}

/* The result's items pass to whoever takes the event. */
static void finish(struct node *n, struct node_pending *p, enum node_outcome outcome, struct cluster_result *result)
{
    struct node_event e = {.kind = NODE_RESULT, .cookie = p->cookie, .outcome = outcome};
    unlink_pending(n, p);
    if (p->registers) {
        member_on_registered(&n->member, n->now_ns, outcome == NODE_DONE ? result->error : -1,
                             outcome == NODE_DONE ? result->message : "", outcome == NODE_DONE ? result->broker_epoch : -1);
    } else {
        if (result != NULL) {
            e.result = *result;
            *result = (struct cluster_result){0};
        }
        node_tell(n, &e);
    }
    free(p);
}

void submit_on_applied(struct node *n, const uint8_t *bytes, struct cluster_result *result)
{
    uint64_t requester, sequence;
    memcpy(&requester, bytes + COMMAND_REQUESTER_AT, 8);
    memcpy(&sequence, bytes + COMMAND_SEQUENCE_AT, 8);
    for (uint32_t i = 0; requester != 0 && i < NODE_LANES; i++) {
        struct node_pending *p = n->lanes[i].current;
        if (n->lanes[i].requester != requester || p == NULL || p->sequence != sequence)
            continue;
        if (result->error == KAFKA_NOT_CONTROLLER)
            p->send_at_ns = n->now_ns; /* an older controller's copy: it changed nothing */
        else
            finish(n, p, NODE_DONE, result);
    }
}

static void wait_longer(struct node *n, struct node_pending *p)
{
    p->send_at_ns = n->now_ns + p->backoff_ms * TIDE_NS_PER_MS;
    p->backoff_ms = TIDE_MIN(p->backoff_ms * 2, (uint64_t)BACKOFF_LAST_MS);
}

static void on_outcome(struct node *n, struct node_pending *p, enum rpc_submit_result result)
{
    if (result == RPC_MALFORMED)
        finish(n, p, NODE_REFUSED, NULL);
    else if (result == RPC_TAKEN)
        p->send_at_ns = n->now_ns + n->config.request_ms * TIDE_NS_PER_MS;
    else
        wait_longer(n, p);
}

void submit_on_reply(struct node *n, int32_t peer, const struct rpc_submit_reply *r)
{
    for (uint32_t i = 0; i < NODE_LANES; i++) {
        struct node_pending *p = n->lanes[i].current;
        if (p != NULL && n->lanes[i].requester == r->requester && p->sequence == r->sequence) {
            on_outcome(n, p, r->result);
            if (r->result == RPC_NOT_CONTROLLER)
                node_hint(n, peer, r->controller);
            return;
        }
    }
}

void submit_again(struct node *n)
{
    for (struct node_pending *p = n->pending; p != NULL; p = p->next)
        if (p->lane >= 0) {
            p->send_at_ns = n->now_ns;
            p->backoff_ms = BACKOFF_FIRST_MS;
        }
}

static void send(struct node *n, struct node_pending *p)
{
    int32_t to = node_target(n);
    struct rpc_message m = node_message(n, RPC_SUBMIT, to);
    m.submit = (struct rpc_submit){n->lanes[p->lane].requester, p->sequence, {p->bytes, p->len}};
    if (to == n->config.id)
        on_outcome(n, p, submit_accept(n, to, &m.submit));
    else if (to >= 0 && links_send(n, &m))
        p->send_at_ns = n->now_ns + n->config.request_ms * TIDE_NS_PER_MS;
    else
        wait_longer(n, p);
}

void submit_turn(struct node *n)
{
    struct node_pending *next;
    for (struct node_pending *p = n->pending; p != NULL; p = next) {
        int lane;
        next = p->next;
        if (n->now_ns >= p->give_up_ns) {
            finish(n, p, NODE_TIMED_OUT, NULL);
            continue;
        }
        if (p->lane < 0 && (lane = free_lane(n, p)) >= 0) {
            enter_lane(n, p, lane);
            p->send_at_ns = n->now_ns;
        }
        if (p->lane >= 0 && n->now_ns >= p->send_at_ns)
            send(n, p);
    }
}

uint64_t submit_deadline_ns(const struct node *n)
{
    uint64_t at = TIDE_NEVER;
    for (const struct node_pending *p = n->pending; p != NULL; p = p->next) {
        at = TIDE_MIN(at, p->give_up_ns);
        if (p->lane >= 0)
            at = TIDE_MIN(at, p->send_at_ns);
    }
    return at;
}

void submit_deinit(struct node *n)
{
    while (n->pending != NULL) {
        struct node_pending *p = n->pending;
        n->pending = p->next;
        free(p);
    }
}

/* ---- at the controller --------------------------------------------------------------------------------------------- */

/* Commands that brokers may send; the others are the controller's own. */
static bool may_send(const struct node *n, int32_t sender, const struct cluster_command *c)
{
    switch (c->kind) {
    case CLUSTER_REGISTER_BROKER:
        return c->register_broker.broker.id == sender && tide_uuid_equal(&c->register_broker.cluster_id, &n->config.cluster_id);
    case CLUSTER_ALTER_PARTITION:
        return c->alter_partition.broker == sender;
    case CLUSTER_ASSIGN_DIRS:
        return c->assign_dirs.broker == sender;
    case CLUSTER_DIRS_OFFLINE:
        return c->dirs_offline.id == sender;
    case CLUSTER_PRODUCER_ID_BLOCK:
        return c->producer_ids.broker == sender;
    case CLUSTER_INIT:
    case CLUSTER_CONTROLLER_EPOCH:
    case CLUSTER_FENCE_BROKER:
    case CLUSTER_UNFENCE_BROKER:
    case CLUSTER_BEGIN_SHUTDOWN:
    case CLUSTER_SET_DATA_SUSPECT:
    case CLUSTER_BALANCE_LEADERS:
    case CLUSTER_UNCLEAN_SWEEP:
        return false;
    default:
        return true;
    }
}

/* Is the process that is registered as this broker still connected? */
static bool is_alive(const struct node *n, int32_t broker)
{
    const struct cluster_broker *b = cluster_find_broker(n->cluster, broker);
    const struct node_guest *g = guests_find(n, broker);
    return b != NULL && g != NULL && tide_uuid_equal(&g->incarnation, &b->incarnation) &&
           controller_session_is_valid(&n->controller, n->now_ns, broker);
}

/* Adds what only the controller knows. True: the command has changed. */
static bool complete(struct node *n, int32_t sender, struct cluster_command *c)
{
    if (c->kind == CLUSTER_REGISTER_BROKER) {
        c->register_broker.session_valid = is_alive(n, sender);
        return true;
    }
    if (c->kind == CLUSTER_ALTER_PARTITION) {
        /* Decoded for us alone: its lists are ours to write. */
        controller_judge_shrinks(&n->controller, n->now_ns, n->cluster, sender,
                                 (struct cluster_partition_change *)(uintptr_t)c->alter_partition.changes, c->alter_partition.count);
        return true;
    }
    return false;
}

static enum rpc_submit_result propose(struct node *n, const uint8_t *bytes, size_t len)
{
    switch (quorum_propose(n->quorum, n->now_ns, bytes, len, TAG_FORWARDED)) {
    case TIDE_OK:
        return RPC_TAKEN;
    case TIDE_REFUSED:
        return RPC_NOT_CONTROLLER;
    case TIDE_BAD:
        return RPC_MALFORMED;
    default:
        return RPC_BUSY;
    }
}

enum rpc_submit_result submit_accept(struct node *n, int32_t sender, const struct rpc_submit *s)
{
    struct cluster_command c;
    enum rpc_submit_result result = RPC_MALFORMED;
    size_t len = s->command.len;
    if (n->controller.state != CONTROLLER_ACTIVE || tide_uuid_is_zero(cluster_id(n->cluster)))
        return RPC_NOT_CONTROLLER;
    if (len > CLUSTER_COMMAND_MAX || !is_of(s->requester, sender))
        return RPC_MALFORMED;
    switch (cluster_command_decode(NULL, s->command.at, len, &c)) {
    case TIDE_OK:
        break;
    case TIDE_FULL:
        return RPC_BUSY;
    default:
        return RPC_MALFORMED;
    }
    if (c.requester == s->requester && c.sequence == s->sequence && may_send(n, sender, &c)) {
        c.controller_epoch = n->controller.term;
        if (!complete(n, sender, &c)) {
            memcpy(n->scratch, s->command.at, len);
            cluster_command_stamp(n->scratch, n->controller.term);
            result = propose(n, n->scratch, len);
        } else if (cluster_command_encode(&c, n->scratch, CLUSTER_COMMAND_MAX, &len) == TIDE_OK) {
            result = propose(n, n->scratch, len);
        }
    }
    cluster_command_free(&c);
    return result;
}
