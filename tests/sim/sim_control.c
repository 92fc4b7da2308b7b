/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control planes of one to six brokers in one process (sim_control_world.h), under faults, with clients that change
 * the cluster from every broker.
 *
 *   sim_control [--count N] [--seed S] [--seconds T] [--brokers B] [--verbose]      100 seeds; 1,000 with TIDE_FULL=1
 *
 * The seed says how many brokers there are, too; --brokers takes only seeds that say B.
 *
 * Faults for three quarters of the time: crashes and restarts, clean stops, pauses longer than lease and session, cuts of
 * the management network in one direction or both, connections that break, slow disks, dead data ports; clocks that run
 * at different rates. Then everything is healed.
 *
 * Checked at every change anywhere:
 *   I1  an epoch has one controller; epochs only grow
 *   I2  metadata of equal index is equal on all brokers, over restarts too
 *   I7  epochs of partitions never fall; another leader means a greater leader epoch
 *   I8, I5, I6 and the rest of cluster_check
 *   I13 blocks of producer ids do not overlap, and none was handed out for a command applied twice
 *       lease: nobody is fenced for silence while its process may still lead
 * and at the end:
 *   I3  what was acknowledged is there
 *   I16 ten seconds after the last fault: one controller, all metadata equal, every broker unfenced, every partition led
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim_control_world.h"
#include "sim_seconds.h"
#include "tidemark/assert.h"

enum {
    TOPICS_MAX = 2048,
    BLOCKS_MAX = 8192,
    ASKS_MAX = 1 << 15,
    INDEXES_MAX = 1 << 17,
    TERMS_MAX = 1 << 12,
    PARTITIONS_MAX = 16, /* of a topic */
    ALIVE_MAX = 24,      /* topics at a time, about */
    HASH_EVERY = 8,      /* indexes at which all metadata is compared */
    BLOCK = 1000,
    HEAL_S = 10,
};

extern uint64_t sim_control_seed;

enum ask_kind { ASK_CREATE, ASK_DELETE, ASK_CONFIG, ASK_BLOCK, ASK_ISR, ASK_PARTITIONS };

struct ask {
    enum ask_kind kind;
    uint32_t topic;
    uint32_t value;
    int32_t host;
};

/* What clients know of a topic. */
struct known {
    struct tide_uuid id;
    bool created;   /* acknowledged */
    bool deleting;  /* was asked, may be gone */
    bool deleted;   /* acknowledged */
    uint32_t retention; /* acknowledged value */
    uint32_t retention_from; /* any value asked for from here on may stand */
    uint32_t retention_last; /* asked */
    uint32_t partitions; /* acknowledged */
};

struct seen_partition {
    int32_t leader, leader_epoch, partition_epoch;
    uint32_t isr_count;
    int32_t isr[TIDE_REPLICAS_MAX];
    bool seen;
};

struct seen_broker {
    int64_t epoch;
    bool fenced;
};

struct run {
    struct world w;
    uint32_t topic_count;
    struct known topics[TOPICS_MAX];
    uint32_t ask_count;
    struct ask asks[ASKS_MAX];
    uint32_t block_count;
    int64_t blocks[BLOCKS_MAX];
    uint32_t blocks_asked;
    uint64_t hashes[INDEXES_MAX]; /* by index; 0: not seen */
    int32_t leaders[TERMS_MAX];   /* of controller epochs */
    uint64_t newest;              /* index of the newest metadata anywhere */
    uint64_t newest_epoch;        /* of its controller */
    uint32_t alive;               /* topics in it */
    struct cluster *copy;         /* restored from snapshots */
    struct seen_partition partitions[TOPICS_MAX][PARTITIONS_MAX];
    struct seen_broker brokers[HOSTS_MAX];
    bool faults;
    bool asking;
    bool isr_outstanding[HOSTS_MAX];
    uint64_t ask_at_ns[HOSTS_MAX];
    uint64_t recovered_at_ns[HOSTS_MAX];
    uint64_t serving_at_ns[HOSTS_MAX];
    uint64_t finished_at_ns[HOSTS_MAX];
    uint64_t finished[HOSTS_MAX];
    uint64_t health_at_ns[HOSTS_MAX];
    bool stopping[HOSTS_MAX];
    bool dead_port[HOSTS_MAX];
    bool faulty_told[HOSTS_MAX];
    uint64_t acked, timed_out, refused;
    uint64_t elections, crashes, fences;
};

static uint32_t number_of(const struct run *r, const struct host *h)
{
    return (uint32_t)(h - r->w.hosts);
}

/* ---- checks at every change ------------------------------------------------------------------------------------- */

/* A broker that did not ask for it was fenced: its lease must be over. */
static void check_lease(struct run *r, uint32_t i)
{
    struct host *h = &r->w.hosts[i];
    uint64_t until;
    r->fences++;
    if (!h->alive || r->stopping[i] || r->faulty_told[i])
        return;
    if (cluster_find_broker(node_cluster(h->node), h->id) == NULL || node_member(h->node)->epoch != r->brokers[i].epoch)
        return;
    until = node_lease_until_ns(h->node);
    if (until > host_time(&r->w, h))
        world_fail(&r->w, "broker %d was fenced %.3f ms before its lease ends", (int)h->id, (double)(until - host_time(&r->w, h)) / 1e6);
}

static void check_partition(struct run *r, const struct cluster_topic *t, uint32_t index)
{
    const struct cluster_partition *now = &t->partitions[index];
    struct seen_partition *before = &r->partitions[atoi(t->name + 1)][index];
    TIDE_ASSERT(index < PARTITIONS_MAX);
    if (before->seen) {
        if (now->leader_epoch < before->leader_epoch || now->partition_epoch < before->partition_epoch)
            world_fail(&r->w, "an epoch of %s-%u fell", t->name, index);
        if (now->leader != before->leader && now->leader_epoch == before->leader_epoch)
            world_fail(&r->w, "%s-%u has another leader in the same epoch", t->name, index);
        if (now->partition_epoch == before->partition_epoch &&
            (now->isr_count != before->isr_count || memcmp(now->isr, before->isr, now->isr_count * sizeof(now->isr[0])) != 0))
            world_fail(&r->w, "the isr of %s-%u changed without an epoch", t->name, index);
    }
    *before = (struct seen_partition){now->leader, now->leader_epoch, now->partition_epoch, now->isr_count, {0}, true};
    memcpy(before->isr, now->isr, sizeof(before->isr));
}

static void check_controller(struct run *r, const struct cluster *c)
{
    uint64_t epoch = cluster_controller_epoch(c);
    if (epoch >= TERMS_MAX)
        world_fail(&r->w, "so many elections");
    if (epoch != 0 && r->leaders[epoch] == 0)
        r->elections++;
    if (epoch != 0 && r->leaders[epoch] != 0 && r->leaders[epoch] != cluster_controller(c))
        world_fail(&r->w, "epoch %" PRIu64 " has two controllers", epoch);
    r->leaders[epoch] = cluster_controller(c);
}

/* What a snapshot gives is what it was made of (I4). */
static void check_snapshot(struct run *r, const struct cluster *c)
{
    size_t size = cluster_snapshot_size(c), len;
    uint8_t *bytes = malloc(size);
    TIDE_ASSERT(bytes != NULL && cluster_snapshot_write(c, bytes, size, &len) == TIDE_OK);
    if (cluster_restore(r->copy, bytes, len) != TIDE_OK || cluster_hash(r->copy) != cluster_hash(c))
        world_fail(&r->w, "a snapshot is not what it was made of");
    free(bytes);
}

/* The newest metadata there is: compared with what was the newest before. */
static void on_newest(struct run *r, const struct cluster *c)
{
    struct cluster_feed feed = cluster_feed_since(r->newest);
    struct cluster_change change;
    for (uint32_t i = 0; i < r->w.count; i++) {
        const struct cluster_broker *b = cluster_find_broker(c, r->w.hosts[i].id);
        struct seen_broker *seen = &r->brokers[i];
        if (b == NULL)
            continue;
        if (b->epoch == seen->epoch && b->fenced && !seen->fenced)
            check_lease(r, i);
        *seen = (struct seen_broker){b->epoch, b->fenced};
    }
    while (cluster_feed_next(c, &feed, &change))
        if (change.kind == CLUSTER_CHANGED_PARTITION)
            check_partition(r, change.topic, change.partition);
    if (cluster_controller_epoch(c) < r->newest_epoch)
        world_fail(&r->w, "the controller's epoch fell");
    cluster_check(c);
    r->newest = cluster_index(c);
    r->newest_epoch = cluster_controller_epoch(c);
    r->alive = cluster_topic_count(c);
    if (r->newest % (HASH_EVERY * 8) == 0)
        check_snapshot(r, c);
}

static void on_changed(struct run *r, struct host *h)
{
    const struct cluster *c = node_cluster(h->node);
    uint64_t index = cluster_index(c);
    uint64_t hash = 0;
    if (index >= INDEXES_MAX)
        world_fail(&r->w, "so many commands");
    if (index % HASH_EVERY == 0)
        hash = cluster_hash(c) | 1;
    if (hash != 0 && r->hashes[index] != 0 && r->hashes[index] != hash)
        world_fail(&r->w, "broker %d has other metadata at index %" PRIu64, (int)h->id, index);
    r->hashes[index] = hash;
    check_controller(r, c);
    if (index > r->newest)
        on_newest(r, c);
    if (r->finished_at_ns[number_of(r, h)] == TIDE_NEVER)
        r->finished_at_ns[number_of(r, h)] = r->w.now_ns + tide_random_below(&r->w.random, 20000000);
}

static void check_active(struct run *r)
{
    for (uint32_t i = 0; i < r->w.count; i++)
        for (uint32_t k = i + 1; k < r->w.count; k++) {
            const struct host *a = &r->w.hosts[i], *b = &r->w.hosts[k];
            if (a->alive && b->alive && node_is_controller(a->node) && node_is_controller(b->node) &&
                quorum_term(node_quorum(a->node)) == quorum_term(node_quorum(b->node)))
                world_fail(&r->w, "two controllers in one epoch");
        }
}

/* ---- clients -------------------------------------------------------------------------------------------------------- */

static void on_block(struct run *r, int64_t first)
{
    for (uint32_t i = 0; i < r->block_count; i++)
        if (first < r->blocks[i] + BLOCK && r->blocks[i] < first + BLOCK)
            world_fail(&r->w, "producer ids from %" PRId64 " were handed out twice", first);
    TIDE_ASSERT(r->block_count < BLOCKS_MAX);
    r->blocks[r->block_count++] = first;
}

static void on_result(struct run *r, struct host *h, const struct node_event *e)
{
    const struct ask *a = &r->asks[e->cookie];
    struct known *t = &r->topics[a->topic];
    if (a->kind == ASK_ISR)
        r->isr_outstanding[number_of(r, h)] = false;
    if (e->outcome != NODE_DONE) {
        r->timed_out++;
        if (e->outcome == NODE_REFUSED)
            world_fail(&r->w, "the controller refused a command of broker %d", (int)h->id);
        return;
    }
    if (e->result.error != 0) {
        r->refused++;
        return;
    }
    r->acked++;
    switch (a->kind) {
    case ASK_CREATE:
        t->created = true;
        t->partitions = a->value;
        if (cluster_find_topic_by_id(node_cluster(h->node), &t->id) == NULL && !t->deleting)
            world_fail(&r->w, "broker %d answered before it had the topic", (int)h->id);
        break;
    case ASK_DELETE:
        t->deleted = true;
        break;
    case ASK_CONFIG:
        t->retention = a->value;
        t->retention_from = a->value;
        break;
    case ASK_BLOCK:
        on_block(r, e->result.first_producer_id);
        break;
    case ASK_PARTITIONS:
        t->partitions = TIDE_MAX(t->partitions, a->value);
        break;
    case ASK_ISR:
        break;
    }
}

static void submit(struct run *r, struct host *h, const struct cluster_command *c, struct ask a)
{
    TIDE_ASSERT(r->ask_count < ASKS_MAX);
    a.host = h->id;
    r->asks[r->ask_count] = a;
    if (node_submit(h->node, host_time(&r->w, h), c, 4 * TIDE_NS_PER_S, r->ask_count) == TIDE_OK)
        r->ask_count++;
    else
        world_fail(&r->w, "a command cannot be submitted");
}

static void create_topic(struct run *r, struct host *h)
{
    struct cluster_command c = {.kind = CLUSTER_CREATE_TOPIC};
    struct known *t = &r->topics[r->topic_count];
    uint64_t id[2] = {tide_random_u64(&r->w.random), tide_random_u64(&r->w.random)};
    if (r->topic_count == TOPICS_MAX)
        return;
    memcpy(&t->id, id, sizeof(t->id));
    c.create_topic.id = t->id;
    snprintf(c.create_topic.name, sizeof(c.create_topic.name), "t%u", r->topic_count);
    c.create_topic.partition_count = 1 + (int32_t)tide_random_below(&r->w.random, 4);
    c.create_topic.replication_factor = 1 + (int32_t)tide_random_below(&r->w.random, TIDE_MIN(r->w.count, 3u));
    c.create_topic.placement_seed = (uint32_t)id[0];
    submit(r, h, &c, (struct ask){ASK_CREATE, r->topic_count, (uint32_t)c.create_topic.partition_count, 0});
    r->topic_count++;
}

static struct known *some_topic(struct run *r, uint32_t *ret)
{
    if (r->topic_count == 0)
        return NULL;
    *ret = (uint32_t)tide_random_below(&r->w.random, r->topic_count);
    return r->topics[*ret].created && !r->topics[*ret].deleting ? &r->topics[*ret] : NULL;
}

static void delete_topic(struct run *r, struct host *h)
{
    struct cluster_command c = {.kind = CLUSTER_DELETE_TOPIC};
    uint32_t at;
    struct known *t = some_topic(r, &at);
    if (t == NULL)
        return;
    t->deleting = true;
    c.delete_topic = t->id;
    submit(r, h, &c, (struct ask){ASK_DELETE, at, 0, 0});
}

/* A topic's setting is changed by one broker only, so that the last acknowledged value is known. */
static void set_config(struct run *r, struct host *h)
{
    struct cluster_config_change change = {.op = CLUSTER_CONFIG_SET, .name = "retention.ms"};
    struct cluster_resource_change resource = {.type = CLUSTER_RESOURCE_TOPIC, .change_count = 1, .changes = &change};
    struct cluster_command c = {.kind = CLUSTER_ALTER_CONFIGS, .alter_configs = {.count = 1, .resources = &resource}};
    uint32_t at;
    struct known *t = some_topic(r, &at);
    if (t == NULL || at % r->w.count != number_of(r, h) || t->retention_last != t->retention)
        return; /* one at a time: two at once may be applied in either order */
    t->retention_last++;
    snprintf(resource.name, sizeof(resource.name), "t%u", at);
    snprintf(change.value, sizeof(change.value), "%u", 1000 + t->retention_last);
    submit(r, h, &c, (struct ask){ASK_CONFIG, at, t->retention_last, 0});
}

static void take_block(struct run *r, struct host *h)
{
    struct cluster_command c = {.kind = CLUSTER_PRODUCER_ID_BLOCK};
    c.producer_ids.broker = h->id;
    c.producer_ids.broker_epoch = node_member(h->node)->epoch;
    c.producer_ids.count = BLOCK;
    r->blocks_asked++;
    submit(r, h, &c, (struct ask){ASK_BLOCK, 0, 0, 0});
}

static void add_partitions(struct run *r, struct host *h)
{
    struct cluster_command c = {.kind = CLUSTER_CREATE_PARTITIONS};
    uint32_t at;
    struct known *t = some_topic(r, &at);
    if (t == NULL || t->partitions >= 8)
        return;
    c.create_partitions.id = t->id;
    c.create_partitions.partition_count = (int32_t)t->partitions + 1;
    submit(r, h, &c, (struct ask){ASK_PARTITIONS, at, t->partitions + 1, 0});
}

/* A leader drops a follower or takes one in. */
static void alter_isr(struct run *r, struct host *h)
{
    const struct cluster *view = node_cluster(h->node);
    struct cluster_command c = {.kind = CLUSTER_ALTER_PARTITION};
    struct cluster_partition_change change = {0};
    uint32_t count = cluster_topic_count(view);
    const struct cluster_topic *t;
    const struct cluster_partition *p;
    int32_t other;
    bool in = false;
    if (count == 0 || r->isr_outstanding[number_of(r, h)])
        return;
    t = cluster_topic_at(view, (uint32_t)tide_random_below(&r->w.random, count));
    change.partition = (int32_t)tide_random_below(&r->w.random, t->partition_count);
    p = &t->partitions[change.partition];
    if (p->leader != h->id || p->replica_count < 2)
        return;
    other = p->replicas[tide_random_below(&r->w.random, p->replica_count)];
    change.topic_id = t->id;
    change.leader_epoch = p->leader_epoch;
    change.partition_epoch = p->partition_epoch;
    for (uint32_t i = 0; i < p->isr_count; i++) {
        in |= p->isr[i] == other;
        if (p->isr[i] != other || other == h->id)
            change.isr[change.isr_count++].broker = p->isr[i];
    }
    if (!in)
        change.isr[change.isr_count++].broker = other;
    for (uint32_t i = 0; i < change.isr_count; i++) {
        const struct cluster_broker *b = cluster_find_broker(view, change.isr[i].broker);
        change.isr[i].epoch = b != NULL ? b->epoch : 0;
    }
    c.alter_partition.broker = h->id;
    c.alter_partition.broker_epoch = node_member(h->node)->epoch;
    c.alter_partition.count = 1;
    c.alter_partition.changes = &change;
    r->isr_outstanding[number_of(r, h)] = true;
    submit(r, h, &c, (struct ask){ASK_ISR, 0, 0, 0});
}

static void ask(struct run *r, struct host *h)
{
    uint64_t what = tide_random_below(&r->w.random, 100);
    if (what < 25 && r->alive < ALIVE_MAX)
        create_topic(r, h);
    else if (what < 30)
        delete_topic(r, h);
    else if (what < 50)
        set_config(r, h);
    else if (what < 65)
        take_block(r, h);
    else if (what < 70)
        add_partitions(r, h);
    else
        alter_isr(r, h);
}

/* ---- brokers --------------------------------------------------------------------------------------------------------- */

static void on_event(void *arg, struct host *h, struct node_event *e)
{
    struct run *r = arg;
    uint32_t i = number_of(r, h);
    switch (e->kind) {
    case NODE_RESULT:
        on_result(r, h, e);
        break;
    case NODE_CHANGED:
        on_changed(r, h);
        break;
    case NODE_CAUGHT_UP:
        r->recovered_at_ns[i] = r->w.now_ns + tide_random_below(&r->w.random, 50000000);
        break;
    case NODE_CONTROLLER:
        if (r->w.verbose)
            printf("%.6f broker %d: controller %d, epoch %" PRIu64 "\n", (double)r->w.now_ns / 1e9, (int)h->id, (int)e->peer, e->epoch);
        break;
    case NODE_MEMBER:
        if (r->w.verbose)
            printf("%.6f broker %d: %s %s\n", (double)r->w.now_ns / 1e9, (int)h->id, member_state_name(node_member(h->node)->state),
                   node_member(h->node)->refusal);
        break;
    case NODE_HELLO_REFUSED:
        if (r->w.verbose)
            printf("%.6f broker %d: refused by %d: %s\n", (double)r->w.now_ns / 1e9, (int)h->id, (int)e->peer, e->text);
        break;
    default:
        break;
    }
    check_active(r);
}

static void begin_life(struct run *r, uint32_t i)
{
    r->recovered_at_ns[i] = r->serving_at_ns[i] = r->finished_at_ns[i] = TIDE_NEVER;
    r->finished[i] = 0;
    r->isr_outstanding[i] = false;
    r->stopping[i] = false;
    r->faulty_told[i] = false;
    host_start(&r->w, &r->w.hosts[i]);
}

static bool share_a_partition(const struct cluster *c, int32_t a, int32_t b)
{
    for (uint32_t i = 0; i < cluster_topic_count(c); i++)
        for (uint32_t k = 0; k < cluster_topic_at(c, i)->partition_count; k++) {
            const struct cluster_partition *p = &cluster_topic_at(c, i)->partitions[k];
            unsigned found = 0;
            for (uint32_t n = 0; n < p->replica_count; n++)
                found += p->replicas[n] == a || p->replicas[n] == b;
            if (found == 2)
                return true;
        }
    return false;
}

static void report_health(struct run *r, uint32_t i)
{
    struct node_health health = {0};
    const struct host *h = &r->w.hosts[i];
    for (uint32_t k = 0; k < r->w.count; k++)
        if (k != i && (r->dead_port[i] || r->dead_port[k] || !r->w.hosts[k].alive) &&
            share_a_partition(node_cluster(h->node), h->id, r->w.hosts[k].id))
            health.silent[health.silent_count++] = (struct health_silence){r->w.hosts[k].id, 1000, 1000};
    node_on_health(h->node, host_time(&r->w, h), &health);
}

/* What the rest of a broker would do. */
static void live(struct run *r, uint32_t i)
{
    struct host *h = &r->w.hosts[i];
    struct world *w = &r->w;
    uint64_t local;
    if (!h->alive) {
        if (w->now_ns >= h->restart_at_ns)
            begin_life(r, i);
        return;
    }
    if (w->now_ns < h->paused_until_ns)
        return;
    local = host_time(w, h);
    if (w->now_ns >= r->recovered_at_ns[i]) {
        r->recovered_at_ns[i] = TIDE_NEVER;
        r->serving_at_ns[i] = w->now_ns + tide_random_below(&w->random, 50000000);
        node_on_recovered(h->node, local, NULL, 0);
    }
    if (w->now_ns >= r->serving_at_ns[i]) {
        r->serving_at_ns[i] = TIDE_NEVER;
        node_on_serving(h->node, local);
    }
    if (w->now_ns >= r->finished_at_ns[i]) {
        r->finished_at_ns[i] = TIDE_NEVER;
        r->finished[i] = node_applied(h->node);
        node_on_finished(h->node, local, r->finished[i]);
    }
    if (w->now_ns >= r->health_at_ns[i]) {
        r->health_at_ns[i] = w->now_ns + 50000000;
        report_health(r, i);
    }
    if (r->asking && !r->stopping[i] && w->now_ns >= r->ask_at_ns[i]) {
        r->ask_at_ns[i] = w->now_ns + 5000000 + tide_random_below(&w->random, 150000000);
        ask(r, h);
    }
    host_flush(w, h);
    if (r->stopping[i] && h->alive && node_member(h->node)->state == MEMBER_LEFT) {
        h->clean_epoch = node_member(h->node)->epoch;
        h->restart_at_ns = w->now_ns + tide_random_below(&w->random, 3000000000);
        host_crash(w, h);
    }
}

/* ---- faults ------------------------------------------------------------------------------------------------------------- */

static struct host *some_host(struct run *r, uint32_t *ret)
{
    *ret = (uint32_t)tide_random_below(&r->w.random, r->w.count);
    return &r->w.hosts[*ret];
}

static void cut_off(struct run *r, bool both)
{
    uint32_t a, b;
    (void)some_host(r, &a);
    (void)some_host(r, &b);
    r->w.cut[a][b] = true;
    r->w.cut[b][a] |= both;
}

static void split(struct run *r)
{
    uint64_t side = tide_random_u64(&r->w.random);
    for (uint32_t a = 0; a < r->w.count; a++)
        for (uint32_t b = 0; b < r->w.count; b++)
            r->w.cut[a][b] |= (side >> a & 1) != (side >> b & 1);
}

static void mend(struct run *r)
{
    memset(r->w.cut, 0, sizeof(r->w.cut));
}

/* A cut that lasts is noticed: TCP gives up. */
static void break_what_is_cut(struct run *r)
{
    for (uint32_t a = 0; a < r->w.count; a++)
        for (uint32_t b = 0; b < r->w.count; b++)
            if ((r->w.cut[a][b] || r->w.cut[b][a]) && tide_random_hits(&r->w.random, 4))
                wire_break(&r->w, a, b);
}

static void something_happens(struct run *r)
{
    uint32_t i, k;
    struct host *h = some_host(r, &i);
    uint64_t length = 50000000 + tide_random_below(&r->w.random, tide_random_hits(&r->w.random, 2) ? 500000000 : 4000000000);
    (void)some_host(r, &k);
    switch (tide_random_below(&r->w.random, 14)) {
    case 0:
    case 1:
        if (h->alive) {
            r->crashes++;
            h->restart_at_ns = r->w.now_ns + length;
            host_crash(&r->w, h);
        }
        break;
    case 2:
        if (h->alive && !r->stopping[i]) {
            r->stopping[i] = true;
            node_stop(h->node, host_time(&r->w, h));
            host_flush(&r->w, h);
        }
        break;
    case 3:
    case 4:
        h->paused_until_ns = r->w.now_ns + length;
        break;
    case 5:
        cut_off(r, false);
        break;
    case 6:
        cut_off(r, true);
        break;
    case 7:
        split(r);
        break;
    case 8:
    case 9:
        mend(r);
        break;
    case 10:
        wire_break(&r->w, i, k);
        break;
    case 11:
        h->slow_until_ns = r->w.now_ns + length;
        break;
    case 12:
        break_what_is_cut(r);
        break;
    case 13:
        r->dead_port[i] = !r->dead_port[i];
        break;
    default:
        break;
    }
    for (uint32_t n = 0; n < r->w.count; n++)
        host_flush(&r->w, &r->w.hosts[n]);
}

static void heal(struct run *r)
{
    mend(r);
    r->asking = false;
    r->w.late_notices = false;
    for (uint32_t i = 0; i < r->w.count; i++) {
        struct host *h = &r->w.hosts[i];
        r->dead_port[i] = false;
        h->slow_until_ns = 0;
        h->paused_until_ns = TIDE_MIN(h->paused_until_ns, r->w.now_ns);
        h->restart_at_ns = TIDE_MIN(h->restart_at_ns, r->w.now_ns);
    }
}

/* ---- checks at the end ---------------------------------------------------------------------------------------------------- */

static void check_known(struct run *r, const struct cluster *c)
{
    char name[32];
    for (uint32_t i = 0; i < r->topic_count; i++) {
        const struct known *t = &r->topics[i];
        const struct cluster_topic *there = cluster_find_topic_by_id(c, &t->id);
        const char *value = there != NULL ? cluster_topic_config(there, "retention.ms") : NULL;
        uint32_t number = value != NULL ? (uint32_t)atoi(value) - 1000 : 0;
        snprintf(name, sizeof(name), "t%u", i);
        if (t->deleted && there != NULL)
            world_fail(&r->w, "%s was deleted and is there", name);
        if (t->created && !t->deleting && there == NULL)
            world_fail(&r->w, "%s was created and is not there", name);
        if (there == NULL)
            continue;
        if (strcmp(there->name, name) != 0)
            world_fail(&r->w, "%s has the name %s", name, there->name);
        if (number < t->retention_from || number > t->retention_last)
            world_fail(&r->w, "%s has setting %u, acknowledged was %u", name, number, t->retention);
        if (there->partition_count < t->partitions)
            world_fail(&r->w, "%s has %u partitions, acknowledged were %u", name, there->partition_count, t->partitions);
    }
    /* A retried command that was applied twice would take a second block. */
    if (cluster_next_producer_id(c) > (int64_t)r->blocks_asked * BLOCK || cluster_next_producer_id(c) < (int64_t)r->block_count * BLOCK)
        world_fail(&r->w, "%" PRId64 " producer ids are gone, for %u commands of which %u were acknowledged", cluster_next_producer_id(c),
                   r->blocks_asked, r->block_count);
}

static void check_end(struct run *r)
{
    const struct cluster *first = NULL;
    unsigned active = 0;
    for (uint32_t i = 0; i < r->w.count; i++) {
        struct host *h = &r->w.hosts[i];
        const struct cluster *c;
        if (!h->alive)
            world_fail(&r->w, "broker %d is not up", (int)h->id);
        c = node_cluster(h->node);
        node_check(h->node);
        active += node_is_controller(h->node);
        if (first == NULL)
            first = c;
        if (cluster_hash(c) != cluster_hash(first))
            world_fail(&r->w, "broker %d has other metadata than broker 1 (%" PRIu64 ", %" PRIu64 ")", (int)h->id, cluster_index(c), cluster_index(first));
        if (node_member(h->node)->state != MEMBER_ACTIVE)
            world_fail(&r->w, "broker %d is %s", (int)h->id, member_state_name(node_member(h->node)->state));
        if (node_lease_until_ns(h->node) <= host_time(&r->w, h))
            world_fail(&r->w, "broker %d has no lease", (int)h->id);
    }
    if (active != 1)
        world_fail(&r->w, "%u controllers", active);
    if (cluster_leaderless_count(first) != 0)
        world_fail(&r->w, "%u partitions have no leader", cluster_leaderless_count(first));
    for (uint32_t i = 0; i < cluster_broker_count(first); i++)
        if (cluster_broker_at(first, i)->suspect)
            world_fail(&r->w, "broker %d is still suspect", (int)cluster_broker_at(first, i)->id);
    check_known(r, first);
}

/* ---- a run -------------------------------------------------------------------------------------------------------------------- */

static void configure(struct run *r, uint32_t voters)
{
    struct node_config *c = &r->w.config;
    bool tiny = tide_random_hits(&r->w.random, 2);
    bool quick = tide_random_hits(&r->w.random, 2);
    memset(&c->cluster_id, 0x5a, sizeof(c->cluster_id));
    c->voter_count = voters;
    for (uint32_t i = 0; i < voters; i++) {
        c->voters[i].id = (int32_t)i + 1;
        snprintf(c->voters[i].address, sizeof(c->voters[i].address), "host%u:9093", i + 1);
    }
    c->session_ms = quick ? 300 : 3000;
    c->heartbeat_ms = c->session_ms / 6;
    c->lease_ms = c->session_ms * 4 / 5;
    c->request_ms = 1000;
    c->leave_ms = 5000;
    c->election_ms = 500;
    c->quorum_heartbeat_ms = 100;
    c->idle_ms = 500;
    c->balance_ms = 5000;
    c->probe_ms = 500;
    c->suspect_ms = 500;
    c->recover_ms = 300;
    c->shrink_guard_ms = 500;
    c->snapshot_commands = tiny ? 30 : 1000;
    c->snapshot_bytes = 64 << 20;
    c->trailing = tiny ? 16 : 500;
    c->broker.endpoint_count = 1;
    snprintf(c->broker.endpoints[0].name, sizeof(c->broker.endpoints[0].name), "PLAINTEXT");
    snprintf(c->broker.endpoints[0].host, sizeof(c->broker.endpoints[0].host), "10.0.0.1");
    c->broker.endpoints[0].port = 9092;
    for (uint32_t i = 0; cluster_known_feature(i) != NULL && i < CLUSTER_FEATURES_MAX; i++) {
        c->broker.features[i] = *cluster_known_feature(i);
        c->broker.feature_count = i + 1;
    }
}

static void run_until(struct run *r, uint64_t until_ns)
{
    uint64_t look_ns = r->w.now_ns, fault_ns = r->w.now_ns;
    while (r->w.now_ns < until_ns) {
        uint64_t stop = TIDE_MIN(until_ns, look_ns);
        while (world_step(&r->w, stop))
            if (r->w.steps > 100000000)
                world_fail(&r->w, "it never rests");
        if (r->faults && r->w.now_ns >= fault_ns) {
            fault_ns = r->w.now_ns + 50000000 + tide_random_below(&r->w.random, 1500000000);
            something_happens(r);
        }
        for (uint32_t i = 0; i < r->w.count; i++)
            live(r, i);
        look_ns = r->w.now_ns + 5000000;
    }
}

/* A command of the controller's timers may just be on its way. */
static void let_arrive(struct run *r)
{
    for (unsigned tries = 0; tries < 20; tries++) {
        bool equal = true;
        for (uint32_t i = 0; i < r->w.count; i++)
            equal &= r->w.hosts[i].alive && cluster_index(node_cluster(r->w.hosts[i].node)) == r->newest;
        if (equal)
            return;
        run_until(r, r->w.now_ns + 20000000);
    }
}

static const struct shape {
    uint32_t hosts, voters;
} shapes[] = {{1, 1}, {2, 1}, {3, 3}, {3, 3}, {3, 1}, {4, 3}, {5, 5}, {5, 3}, {6, 5}};

/* The first seed from there on of so many brokers. */
static uint64_t seed_of(uint64_t seed, uint32_t brokers)
{
    while (brokers != 0 && shapes[seed % TIDE_ARRAY_LEN(shapes)].hosts != brokers)
        seed++;
    return seed;
}

static uint64_t run_seed(uint64_t seed, uint64_t seconds, bool verbose)
{
    struct run *r = calloc(1, sizeof(*r));
    uint64_t shape = seed % TIDE_ARRAY_LEN(shapes);
    uint64_t digest;
    TIDE_ASSERT(r != NULL);
    sim_control_seed = seed;
    world_init(&r->w, seed, shapes[shape].hosts, shapes[shape].voters);
    r->w.verbose = verbose;
    r->w.on_event = on_event;
    r->w.arg = r;
    r->copy = cluster_create(NULL);
    configure(r, shapes[shape].voters);
    for (uint32_t i = 0; i < r->w.count; i++)
        begin_life(r, i);
    r->faults = r->asking = r->w.late_notices = true;
    run_until(r, (seconds - HEAL_S) * TIDE_NS_PER_S);
    r->faults = false;
    heal(r);
    run_until(r, seconds * TIDE_NS_PER_S);
    let_arrive(r);
    check_end(r);
    digest = r->w.digest * 31 + cluster_hash(node_cluster(r->w.hosts[0].node));
    if (verbose)
        printf("seed %" PRIu64 ": %u of %u, %" PRIu64 " steps, %" PRIu64 " commands, %" PRIu64 " acknowledged, %" PRIu64 " refused, %" PRIu64
               " timed out, %" PRIu64 " crashes, %" PRIu64 " elections, %" PRIu64 " fences, %u topics\n",
               seed, shapes[shape].voters, shapes[shape].hosts, r->w.steps, r->newest, r->acked, r->refused, r->timed_out, r->crashes,
               r->elections, r->fences, r->alive);
    cluster_destroy(r->copy);
    world_deinit(&r->w);
    free(r);
    return digest;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"count", required_argument, NULL, 'c'},
                                            {"seed", required_argument, NULL, 's'},
                                            {"seconds", required_argument, NULL, 't'},
                                            {"brokers", required_argument, NULL, 'b'},
                                            {"verbose", no_argument, NULL, 'v'},
                                            {NULL, 0, NULL, 0}};
    bool full = getenv("TIDE_FULL") != NULL && strcmp(getenv("TIDE_FULL"), "1") == 0;
    uint64_t count = full ? 1000 : 100, first = 1, seconds = 60, digest = 0;
    uint32_t brokers = 0;
    bool verbose = false;
    int c;
    setvbuf(stdout, NULL, _IOLBF, 0);
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'c': count = strtoull(optarg, NULL, 10); break;
        case 's': first = strtoull(optarg, NULL, 10); break;
        case 't': seconds = TIDE_MAX(strtoull(optarg, NULL, 10), HEAL_S + 1ull); break;
        case 'b': brokers = (uint32_t)TIDE_MIN(strtoul(optarg, NULL, 10), 6ul); break;
        case 'v': verbose = true; break;
        default: return 2;
        }
    }
    first = seed_of(first, brokers);
    for (uint64_t i = 0, seed = first; i < count; i++, seed = seed_of(seed + 1, brokers)) {
        digest = digest * 31 + run_seed(seed, seconds, verbose);
        if (sim_time_is_up())
            count = i + 1;
    }
    if (count > 1 && run_seed(first, seconds, false) != run_seed(first, seconds, false)) {
        fprintf(stderr, "seed %" PRIu64 " does not run twice in the same way (P12)\n", first);
        return 1;
    }
    printf("%" PRIu64 " runs of %" PRIu64 " s, digest %016" PRIx64 "\n", count, seconds, digest);
    return 0;
}
