/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connections of a node: which peers, who may come, what waits for whom, and where a frame goes.
 */
#include "node/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kafka/errors.h"
#include "tidemark/assert.h"

/* ---- frames that wait ------------------------------------------------------------------------------------ */

static void queue_clear(struct frame_queue *q)
{
    while (q->head != NULL) {
        struct frame *f = q->head;
        q->head = f->next;
        free(f->bytes);
        free(f);
    }
    *q = (struct frame_queue){0};
}

static bool queue_put(struct frame_queue *q, const struct rpc_message *m)
{
    size_t room = rpc_size_max(m);
    struct frame *f;
    if (q->bytes + room > NODE_QUEUE_BYTES)
        return false;
    f = calloc(1, sizeof(*f));
    if (f == NULL || (f->bytes = malloc(room)) == NULL) {
        free(f);
        return false;
    }
    f->len = rpc_encode(m, f->bytes);
    if (q->tail != NULL)
        q->tail->next = f;
    else
        q->head = f;
    q->tail = f;
    q->bytes += f->len;
    return true;
}

static bool queue_take(struct frame_queue *q, struct quorum_message *ret)
{
    struct frame *f = q->head;
    if (f == NULL)
        return false;
    q->head = f->next;
    if (q->head == NULL)
        q->tail = NULL;
    q->bytes -= f->len;
    *ret = (struct quorum_message){f->bytes, f->len};
    free(f);
    return true;
}

struct rpc_message node_message(const struct node *n, enum rpc_kind kind, int32_t receiver)
{
    return (struct rpc_message){.kind = kind,
                                .sender = n->config.id,
                                .receiver = receiver,
                                .cluster = n->config.cluster_id,
                                .incarnation = n->config.incarnation};
}

/* ---- peers we connect to ------------------------------------------------------------------------------------ */

struct node_link *links_find(struct node *n, int32_t peer)
{
    for (uint32_t i = 0; i < n->link_count; i++)
        if (n->links[i].peer == peer)
            return &n->links[i];
    return NULL;
}

const struct node_link *links_look(const struct node *n, int32_t peer)
{
    for (uint32_t i = 0; i < n->link_count; i++)
        if (n->links[i].peer == peer)
            return &n->links[i];
    return NULL;
}

static void add_peer(const struct node *n, struct node_peer *peers, uint32_t *count, int32_t id, const char *address)
{
    if (id == n->config.id)
        return;
    for (uint32_t i = 0; i < *count; i++)
        if (peers[i].id == id)
            return;
    if (*count == NODE_LINKS_MAX)
        return;
    peers[*count].id = id;
    snprintf(peers[*count].address, sizeof(peers[*count].address), "%s", address);
    ++*count;
}

/* Members of the quorum first: where settings say something else, the quorum has agreed on another address. */
static uint32_t wanted_peers(const struct node *n, struct node_peer peers[NODE_LINKS_MAX])
{
    uint32_t count = 0;
    const struct quorum_members *members = n->quorum != NULL ? quorum_members(n->quorum) : NULL;
    for (uint32_t i = 0; members != NULL && i < members->count; i++)
        add_peer(n, peers, &count, members->member[i].id, members->member[i].address);
    for (uint32_t i = 0; i < n->config.voter_count; i++)
        add_peer(n, peers, &count, n->config.voters[i].id, n->config.voters[i].address);
    return count;
}

void links_set(struct node *n)
{
    struct node_peer peers[NODE_LINKS_MAX];
    struct node_link old[NODE_LINKS_MAX];
    uint32_t old_count = n->link_count;
    memcpy(old, n->links, sizeof(old));
    n->link_count = wanted_peers(n, peers);
    for (uint32_t i = 0; i < n->link_count; i++) {
        n->links[i] = (struct node_link){.peer = peers[i].id};
        for (uint32_t k = 0; k < old_count; k++)
            if (old[k].peer == peers[i].id) {
                n->links[i] = old[k];
                old[k].peer = -1;
            }
        memcpy(n->links[i].address, peers[i].address, sizeof(peers[i].address));
    }
    for (uint32_t k = 0; k < old_count; k++)
        if (old[k].peer >= 0)
            queue_clear(&old[k].queue);
    n->follow.source = 0;
}

uint32_t node_peers(const struct node *n, struct node_peer peers[NODE_LINKS_MAX])
{
    return wanted_peers(n, peers);
}

bool links_send(struct node *n, const struct rpc_message *m)
{
    struct node_link *l = links_find(n, m->receiver);
    return l != NULL && l->up && queue_put(&l->queue, m);
}

static void say_hello(struct node *n, struct node_link *l)
{
    struct rpc_message m = node_message(n, RPC_HELLO, l->peer);
    m.hello.version_min = RPC_VERSION;
    m.hello.version_max = RPC_VERSION;
    for (uint32_t i = 0; i < n->config.voter_count; i++)
        m.hello.voter |= n->config.voters[i].id == n->config.id;
    m.hello.fresh = n->founding;
    (void)queue_put(&l->queue, &m);
}

void node_on_link_up(struct node *n, uint64_t now_ns, int32_t peer)
{
    struct node_link *l = links_find(n, peer);
    n->now_ns = now_ns;
    if (l == NULL)
        return;
    queue_clear(&l->queue);
    l->up = true;
    l->refused = false;
    say_hello(n, l);
    if (n->quorum != NULL)
        quorum_on_peer_up(n->quorum, peer);
    if (node_target(n) == peer) {
        submit_again(n);
        member_on_controller(&n->member, now_ns);
    }
    node_on_time(n, now_ns);
}

void node_on_link_down(struct node *n, uint64_t now_ns, int32_t peer)
{
    struct node_link *l = links_find(n, peer);
    n->now_ns = now_ns;
    if (l != NULL) {
        queue_clear(&l->queue);
        l->up = false;
        if (!n->founding)
            l->welcome = false;
    }
    if (n->quorum != NULL)
        quorum_on_peer_down(n->quorum, peer);
    follow_on_link_down(n, peer);
    node_on_time(n, now_ns);
}

bool node_link_frame_take(struct node *n, int32_t peer, struct quorum_message *ret)
{
    struct node_link *l = links_find(n, peer);
    struct quorum_message raft;
    struct rpc_message m;
    if (l == NULL || !l->up)
        return false;
    if (queue_take(&l->queue, ret))
        return true;
    if (n->quorum == NULL || !quorum_message_take(n->quorum, peer, &raft))
        return false;
    m = node_message(n, RPC_RAFT, peer);
    m.raft = (struct rpc_bytes){raft.bytes, raft.len};
    ret->bytes = malloc(rpc_size_max(&m));
    if (ret->bytes != NULL)
        ret->len = rpc_encode(&m, ret->bytes);
    free(raft.bytes);
    return ret->bytes != NULL; /* the library sends again what did not go */
}

void node_on_link_refused(struct node *n, uint64_t now_ns, int32_t peer)
{
    struct node_link *l = links_find(n, peer);
    n->now_ns = now_ns;
    if (l != NULL)
        l->refused = true;
    node_on_time(n, now_ns);
}

bool links_has_ended(const struct node *n, const struct cluster_broker *b)
{
    const struct node_link *l = links_look(n, b->id);
    const struct node_guest *g = guests_find(n, b->id);
    return l != NULL && l->refused && tide_uuid_equal(&l->incarnation, &b->incarnation) &&
           (g == NULL || !tide_uuid_equal(&g->incarnation, &b->incarnation));
}

static void on_hello_reply(struct node *n, struct node_link *l, const struct rpc_message *m)
{
    const struct rpc_hello_reply *r = &m->hello_reply;
    struct node_event e = {.kind = NODE_HELLO_REFUSED, .peer = l->peer, .refusal = r->result};
    if (r->result == RPC_WELCOME) {
        l->welcome = true;
        l->incarnation = m->incarnation;
        node_found(n);
        return;
    }
    l->welcome = false;
    snprintf(e.text, sizeof(e.text), "%s", r->reason);
    node_tell(n, &e);
}

static enum tide_status on_answer(struct node *n, struct node_link *l, const struct rpc_message *m)
{
    switch (m->kind) {
    case RPC_HELLO_REPLY:
        on_hello_reply(n, l, m);
        return TIDE_OK;
    case RPC_SUBMIT_REPLY:
        submit_on_reply(n, l->peer, &m->submit_reply);
        return TIDE_OK;
    case RPC_HEARTBEAT_REPLY:
        if (m->heartbeat_reply.error == KAFKA_NOT_CONTROLLER)
            node_hint(n, l->peer, m->heartbeat_reply.controller);
        member_on_answer(&n->member, n->now_ns, &m->heartbeat_reply);
        return TIDE_OK;
    case RPC_ENTRIES:
        follow_on_entries(n, l->peer, &m->entries);
        return TIDE_OK;
    case RPC_CHUNK:
        follow_on_chunk(n, l->peer, &m->chunk);
        return TIDE_OK;
    case RPC_PROBE_REPLY:
        controller_on_probe_reply(&n->controller, l->peer, &m->probe);
        return TIDE_OK;
    default:
        return TIDE_BAD;
    }
}

enum tide_status node_on_link_frame(struct node *n, uint64_t now_ns, int32_t peer, const uint8_t *frame, size_t len)
{
    struct node_link *l = links_find(n, peer);
    struct rpc_message m;
    enum tide_status status;
    n->now_ns = now_ns;
    if (l == NULL || !l->up || rpc_decode(frame, len, &m) != TIDE_OK || m.receiver != n->config.id || !rpc_is_answer(m.kind))
        return TIDE_BAD;
    /* One of another cluster, or that stands where we thought the peer to be, may say so and nothing else. */
    if (m.kind != RPC_HELLO_REPLY && (m.sender != peer || !tide_uuid_equal(&m.cluster, &n->config.cluster_id)))
        return TIDE_BAD;
    status = on_answer(n, l, &m);
    node_on_time(n, now_ns);
    return status;
}

/* ---- peers that connect to us ---------------------------------------------------------------------------------- */

struct node_guest *guests_find(const struct node *n, int32_t peer)
{
    for (uint32_t i = 0; i < n->guest_count; i++)
        if (n->guests[i]->peer == peer)
            return n->guests[i];
    return NULL;
}

bool guests_send(struct node *n, struct node_guest *g, const struct rpc_message *m)
{
    (void)n;
    return queue_put(&g->queue, m);
}

/* A voter of the quorum whose registration is known, and that has no log: it was here before. */
static bool has_lost_its_log(const struct node *n, const struct rpc_message *m)
{
    const struct quorum_members *members = n->quorum != NULL ? quorum_members(n->quorum) : NULL;
    if (!m->hello.fresh || cluster_find_broker(n->cluster, m->sender) == NULL)
        return false;
    for (uint32_t i = 0; members != NULL && i < members->count; i++)
        if (members->member[i].id == m->sender && members->member[i].role == QUORUM_VOTES)
            return true;
    return false;
}

static bool is_in_use(const struct node *n, const struct rpc_message *m)
{
    const struct node_guest *g = guests_find(n, m->sender);
    if (m->sender == n->config.id)
        return true;
    return g != NULL && !tide_uuid_equal(&g->incarnation, &m->incarnation) &&
           n->now_ns - g->heard_ns <= 2 * n->config.heartbeat_ms * TIDE_NS_PER_MS;
}

static void judge(const struct node *n, const struct rpc_message *m, struct rpc_hello_reply *ret)
{
    char cluster[TIDE_UUID_TEXT];
    tide_uuid_to_text(&n->config.cluster_id, cluster);
    memset(ret, 0, sizeof(*ret));
    if (!tide_uuid_equal(&m->cluster, &n->config.cluster_id)) {
        ret->result = RPC_CLUSTER_UNKNOWN;
        snprintf(ret->reason, sizeof(ret->reason), "this is cluster %s; the directories or cluster.id of broker %d name another", cluster,
                 (int)m->sender);
    } else if (m->hello.version_min > RPC_VERSION || m->hello.version_max < RPC_VERSION) {
        ret->result = RPC_VERSION_UNKNOWN;
        snprintf(ret->reason, sizeof(ret->reason), "broker %d speaks versions %u to %u, this one %u: bring the older of the two up to date",
                 (int)n->config.id, (unsigned)m->hello.version_min, (unsigned)m->hello.version_max, RPC_VERSION);
    } else if (m->receiver != n->config.id) {
        ret->result = RPC_NOT_HERE;
        snprintf(ret->reason, sizeof(ret->reason), "this is broker %d, not %d: quorum.voters names a wrong address", (int)n->config.id,
                 (int)m->receiver);
    } else if (is_in_use(n, m)) {
        ret->result = RPC_ID_IN_USE;
        snprintf(ret->reason, sizeof(ret->reason), "another process runs as broker %d; stop it, or give this one another node.id",
                 (int)m->sender);
    } else if (has_lost_its_log(n, m)) {
        ret->result = RPC_LOST_LOG;
        snprintf(ret->reason, sizeof(ret->reason), "voter %d is known, but its metadata log is gone; `tidemark cluster voters --remove %d`, "
                 "then start and --add it", (int)m->sender, (int)m->sender);
    }
}

static struct node_guest *admit(struct node *n, const struct rpc_message *m, uint64_t connection)
{
    struct node_guest *g = guests_find(n, m->sender);
    if (g == NULL) {
        if (n->guest_count == NODE_GUESTS_MAX || (g = calloc(1, sizeof(*g))) == NULL)
            return NULL;
        n->guests[n->guest_count++] = g;
    }
    queue_clear(&g->queue);
    if (n->controller.state == CONTROLLER_ACTIVE)
        controller_on_gone(&n->controller, m->sender);
    *g = (struct node_guest){.peer = m->sender, .connection = connection, .incarnation = m->incarnation, .heard_ns = n->now_ns};
    return g;
}

enum tide_status node_on_guest(struct node *n, uint64_t now_ns, uint64_t connection, const uint8_t *frame, size_t len, int32_t *ret_peer,
                               struct quorum_message *ret_reply)
{
    struct rpc_message m, reply;
    struct node_guest *g;
    n->now_ns = now_ns;
    if (rpc_decode(frame, len, &m) != TIDE_OK || m.kind != RPC_HELLO)
        return TIDE_BAD;
    reply = node_message(n, RPC_HELLO_REPLY, m.sender);
    judge(n, &m, &reply.hello_reply);
    if (reply.hello_reply.result != RPC_WELCOME) {
        ret_reply->bytes = malloc(rpc_size_max(&reply));
        if (ret_reply->bytes == NULL)
            return TIDE_BAD;
        ret_reply->len = rpc_encode(&reply, ret_reply->bytes);
        return TIDE_REFUSED;
    }
    g = admit(n, &m, connection);
    if (g == NULL || !queue_put(&g->queue, &reply))
        return TIDE_BAD;
    *ret_peer = m.sender;
    node_on_time(n, now_ns);
    return TIDE_OK;
}

void node_on_guest_gone(struct node *n, uint64_t now_ns, int32_t peer)
{
    n->now_ns = now_ns;
    for (uint32_t i = 0; i < n->guest_count; i++) {
        if (n->guests[i]->peer != peer)
            continue;
        queue_clear(&n->guests[i]->queue);
        free(n->guests[i]);
        n->guests[i] = n->guests[--n->guest_count];
        controller_on_gone(&n->controller, peer);
        break;
    }
    node_on_time(n, now_ns);
}

bool node_guest_frame_take(struct node *n, int32_t peer, struct quorum_message *ret)
{
    struct node_guest *g = guests_find(n, peer);
    return g != NULL && queue_take(&g->queue, ret);
}

static void on_heartbeat(struct node *n, struct node_guest *g, const struct rpc_heartbeat *h)
{
    struct rpc_message m = node_message(n, RPC_HEARTBEAT_REPLY, g->peer);
    m.heartbeat_reply = (struct rpc_heartbeat_reply){.number = h->number, .controller = node_target(n)};
    m.heartbeat_reply.error = node_on_heartbeat(n, g->peer, h);
    if (m.heartbeat_reply.error != 0)
        (void)guests_send(n, g, &m);
}

static enum tide_status on_request(struct node *n, struct node_guest *g, const struct rpc_message *m)
{
    struct rpc_message reply;
    switch (m->kind) {
    case RPC_RAFT:
        if (n->quorum == NULL)
            return TIDE_OK; /* founding, or no voter: the sender tries again */
        return quorum_on_message(n->quorum, n->now_ns, g->peer, g->connection, m->raft.at, m->raft.len);
    case RPC_SUBMIT:
        reply = node_message(n, RPC_SUBMIT_REPLY, g->peer);
        reply.submit_reply = (struct rpc_submit_reply){m->submit.requester, m->submit.sequence, submit_accept(n, g->peer, &m->submit),
                                                       node_target(n)};
        (void)guests_send(n, g, &reply);
        return TIDE_OK;
    case RPC_HEARTBEAT:
        on_heartbeat(n, g, &m->heartbeat);
        return TIDE_OK;
    case RPC_PULL:
        g->pulls = true;
        g->pull = m->pull;
        g->pull_until_ns = n->now_ns + PULL_WAIT_MS * TIDE_NS_PER_MS;
        return TIDE_OK;
    case RPC_PROBE:
        reply = node_message(n, RPC_PROBE_REPLY, g->peer);
        reply.probe = (struct rpc_probe){m->probe.token, n->quorum != NULL ? quorum_term(n->quorum) : 0};
        (void)guests_send(n, g, &reply);
        return TIDE_OK;
    default:
        return TIDE_BAD;
    }
}

enum tide_status node_on_guest_frame(struct node *n, uint64_t now_ns, int32_t peer, const uint8_t *frame, size_t len)
{
    struct node_guest *g = guests_find(n, peer);
    struct rpc_message m;
    enum tide_status status;
    n->now_ns = now_ns;
    if (g == NULL || rpc_decode(frame, len, &m) != TIDE_OK || m.sender != peer || m.receiver != n->config.id ||
        !tide_uuid_equal(&m.cluster, &n->config.cluster_id) || !tide_uuid_equal(&m.incarnation, &g->incarnation))
        return TIDE_BAD;
    g->heard_ns = now_ns;
    status = on_request(n, g, &m);
    node_on_time(n, now_ns);
    return status;
}

void links_keep(struct node *n)
{
    if (n->now_ns < n->keep_at_ns)
        return;
    n->keep_at_ns = n->now_ns + n->config.heartbeat_ms * TIDE_NS_PER_MS;
    for (uint32_t i = 0; i < n->link_count; i++) {
        struct rpc_message m = node_message(n, RPC_PROBE, n->links[i].peer);
        if (n->links[i].queue.head == NULL)
            (void)links_send(n, &m);
    }
}

void links_deinit(struct node *n)
{
    for (uint32_t i = 0; i < n->link_count; i++)
        queue_clear(&n->links[i].queue);
    for (uint32_t i = 0; i < n->guest_count; i++) {
        queue_clear(&n->guests[i]->queue);
        free(n->guests[i]);
    }
}
