/* SPDX-License-Identifier: Apache-2.0 */
#include "node/controller.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kafka/errors.h"
#include "tidemark/assert.h"
#include "tidemark/mutant.h"

enum {
    SWEEP_S = 300,
    BALANCE_LIMIT = 1000, /* partitions of one command */
    RECOVER_MAX_S = 300,
    SUSPICION_ROW_S = 600, /* suspicions closer than this count as a row */
};
#define TICK_NS (20 * TIDE_NS_PER_MS)

#define TO(s) (1u << CONTROLLER_##s)
static const struct {
    const char *name;
    uint32_t next;
} controller_states[CONTROLLER_STATE_COUNT] = {
    [CONTROLLER_IDLE] = {"idle", TO(TAKING_OVER)},
    [CONTROLLER_TAKING_OVER] = {"taking over", TO(ACTIVE) | TO(IDLE)},
    [CONTROLLER_ACTIVE] = {"active", TO(IDLE)},
};

static void move(struct controller *c, enum controller_state to)
{
    TIDE_ASSERT(controller_states[c->state].next & 1u << to);
    c->state = to;
    controller_check(c);
}

bool controller_init(struct controller *c, const struct controller_config *config)
{
    memset(c, 0, sizeof(*c));
    c->config = *config;
    c->sessions = calloc(CLUSTER_BROKERS_MAX, sizeof(*c->sessions));
    return c->sessions != NULL;
}

void controller_deinit(struct controller *c)
{
    free(c->sessions);
}

/* ---- sessions ------------------------------------------------------------------------------------------ */

static struct controller_session *find(const struct controller *c, int32_t broker)
{
    for (uint32_t i = 0; i < c->session_count; i++)
        if (c->sessions[i].broker == broker)
            return &c->sessions[i];
    return NULL;
}

static struct controller_session *begin_session(struct controller *c, uint64_t now_ns, int32_t broker, int64_t epoch)
{
    struct controller_session *s = find(c, broker);
    uint32_t at = 0;
    if (s == NULL) {
        TIDE_ASSERT(c->session_count < CLUSTER_BROKERS_MAX); /* one for each registered broker */
        while (at < c->session_count && c->sessions[at].broker < broker)
            at++;
        s = &c->sessions[at];
        memmove(s + 1, s, (c->session_count - at) * sizeof(*s));
        c->session_count++;
    }
    *s = (struct controller_session){.broker = broker, .epoch = epoch, .heard_ns = now_ns};
    return s;
}

static void end_session(struct controller *c, struct controller_session *s)
{
    memmove(s, s + 1, (size_t)(c->sessions + c->session_count - (s + 1)) * sizeof(*s));
    c->session_count--;
}

/* Brokers that are gone, or registered anew, are another's. */
static void drop_strangers(struct controller *c, const struct cluster *cluster)
{
    for (uint32_t i = c->session_count; i-- != 0;) {
        const struct cluster_broker *b = cluster_find_broker(cluster, c->sessions[i].broker);
        if (b == NULL || b->epoch != c->sessions[i].epoch)
            end_session(c, &c->sessions[i]);
    }
}

static void begin_all(struct controller *c, uint64_t now_ns, const struct cluster *cluster)
{
    c->session_count = 0;
    for (uint32_t i = 0; i < cluster_broker_count(cluster); i++) {
        const struct cluster_broker *b = cluster_broker_at(cluster, i);
        (void)begin_session(c, now_ns, b->id, b->epoch);
    }
}

static bool session_is_over(const struct controller *c, uint64_t now_ns, const struct controller_session *s)
{
    return s->ended || now_ns - s->heard_ns > c->config.session_ns;
}

bool controller_session_is_valid(const struct controller *c, uint64_t now_ns, int32_t broker)
{
    const struct controller_session *s = find(c, broker);
    /* Our own directories are locked: an older process of ours is dead. */
    return s != NULL && broker != c->config.id && !session_is_over(c, now_ns, s);
}

void controller_on_gone(struct controller *c, int32_t broker)
{
    struct controller_session *s = find(c, broker);
    if (s != NULL)
        s->owed = false; /* it would go out on another connection */
}

void controller_on_ended(struct controller *c, int32_t broker)
{
    struct controller_session *s = find(c, broker);
    if (s != NULL)
        s->ended = true;
}

/* ---- coming and going ------------------------------------------------------------------------------------- */

void controller_on_leader(struct controller *c, uint64_t now_ns, uint64_t term)
{
    if (c->state != CONTROLLER_IDLE)
        controller_on_follower(c);
    c->term = term;
    c->ticked_ns = now_ns;
    for (uint32_t i = 0; i < c->voter_count; i++)
        c->voters[i].proven_ns = 0;
    move(c, CONTROLLER_TAKING_OVER);
}

void controller_on_follower(struct controller *c)
{
    c->session_count = 0;
    c->in_flight = false;
    if (c->state != CONTROLLER_IDLE)
        move(c, CONTROLLER_IDLE);
}

void controller_on_voters(struct controller *c, const int32_t *ids, uint32_t count)
{
    struct controller_voter now[CONTROLLER_VOTERS_MAX] = {0};
    TIDE_ASSERT(count <= CONTROLLER_VOTERS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        now[i].id = ids[i];
        for (uint32_t k = 0; k < c->voter_count; k++)
            if (c->voters[k].id == ids[i])
                now[i].proven_ns = c->voters[k].proven_ns;
    }
    memcpy(c->voters, now, sizeof(now));
    c->voter_count = count;
}

static void take_over(struct controller *c, uint64_t now_ns, const struct cluster *cluster)
{
    c->active_since_ns = now_ns;
    c->ticked_ns = now_ns;
    c->balance_at_ns = c->config.balance_ns != 0 ? now_ns + c->config.balance_ns : TIDE_NEVER;
    c->sweep_at_ns = now_ns + SWEEP_S * TIDE_NS_PER_S;
    memset(c->shrinks, 0, sizeof(c->shrinks));
    move(c, CONTROLLER_ACTIVE);
    begin_all(c, now_ns, cluster);
}

void controller_on_applied(struct controller *c, uint64_t now_ns, const struct cluster *cluster, enum cluster_command_kind kind,
                           const struct cluster_result *result)
{
    if (c->state == CONTROLLER_TAKING_OVER && kind == CLUSTER_CONTROLLER_EPOCH && cluster_controller_epoch(cluster) == c->term &&
        cluster_controller(cluster) == c->config.id)
        take_over(c, now_ns, cluster);
    if (c->state != CONTROLLER_ACTIVE || result->error != 0)
        return;
    if (kind == CLUSTER_REGISTER_BROKER || kind == CLUSTER_UNREGISTER_BROKER)
        drop_strangers(c, cluster);
    if (kind == CLUSTER_REGISTER_BROKER)
        for (uint32_t i = 0; i < cluster_broker_count(cluster); i++) {
            const struct cluster_broker *b = cluster_broker_at(cluster, i);
            if (find(c, b->id) == NULL)
                (void)begin_session(c, now_ns, b->id, b->epoch);
        }
}

void controller_on_done(struct controller *c)
{
    c->in_flight = false;
    for (uint32_t i = 0; i < c->session_count; i++)
        c->sessions[i].fencing = false;
}

/* ---- proof ------------------------------------------------------------------------------------------------- */

static uint64_t margin_ns(const struct controller *c)
{
    return (c->config.session_ns - c->config.lease_ns) / 2;
}

/* Since when at least a majority, we among them, has been in no later term than ours. */
static uint64_t proven_ns(const struct controller *c, uint64_t now_ns)
{
    uint64_t sorted[CONTROLLER_VOTERS_MAX];
    uint32_t others = (c->voter_count + 1) / 2; /* of voter_count + 1 voters a majority is that many and us */
    if (others == 0)
        return now_ns;
    for (uint32_t i = 0; i < c->voter_count; i++) {
        uint32_t at = i;
        for (; at > 0 && sorted[at - 1] < c->voters[i].proven_ns; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = c->voters[i].proven_ns;
    }
    return sorted[others - 1];
}

void controller_on_probe_reply(struct controller *c, int32_t voter, const struct rpc_probe *r)
{
    if (c->state != CONTROLLER_ACTIVE || r->term != c->term || r->token > c->probed_ns)
        return;
    for (uint32_t i = 0; i < c->voter_count; i++)
        if (c->voters[i].id == voter)
            c->voters[i].proven_ns = TIDE_MAX(c->voters[i].proven_ns, r->token);
}

static bool is_held(const struct controller *c, uint64_t now_ns, const struct controller_session *s)
{
    return s->owed && !s->fencing && proven_ns(c, now_ns) + margin_ns(c) < s->came_ns;
}

bool controller_take_probe(struct controller *c, uint64_t now_ns, struct rpc_probe *ret)
{
    bool held = false;
    if (c->state != CONTROLLER_ACTIVE || (c->probed_ns != 0 && now_ns < c->probed_ns + margin_ns(c) / 2))
        return false;
    for (uint32_t i = 0; i < c->session_count && !held; i++)
        held = is_held(c, now_ns, &c->sessions[i]);
    if (!held)
        return false;
    c->probed_ns = now_ns;
    *ret = (struct rpc_probe){.token = now_ns, .term = c->term};
    return true;
}

/* ---- heartbeats ------------------------------------------------------------------------------------------------ */

void controller_on_heartbeat(struct controller *c, uint64_t now_ns, const struct cluster *cluster, int32_t broker,
                             const struct rpc_heartbeat *h)
{
    const struct cluster_broker *b = cluster_find_broker(cluster, broker);
    struct controller_session *s = find(c, broker);
    TIDE_ASSERT(c->state == CONTROLLER_ACTIVE);
    if (b == NULL || b->epoch != h->epoch)
        return; /* the node has answered: STALE_BROKER_EPOCH */
    if (s == NULL)
        s = begin_session(c, now_ns, broker, b->epoch);
    s->heard_ns = now_ns;
    s->ended = false; /* what was seen was not this process */
    s->reported = true;
    s->version = h->version;
    s->wants_fenced = h->wants_fenced || h->health.faulty;
    s->wants_shutdown = h->wants_shutdown;
    s->health = h->health;
    s->owed = true;
    s->number = h->number;
    s->came_ns = now_ns;
}

/* Has every broker that may lead seen that the leaderships are elsewhere? */
static bool all_know(const struct controller *c, const struct cluster *cluster, const struct cluster_broker *leaving)
{
    for (uint32_t i = 0; i < cluster_broker_count(cluster); i++) {
        const struct cluster_broker *b = cluster_broker_at(cluster, i);
        const struct controller_session *s = find(c, b->id);
        if (b != leaving && cluster_broker_is_active(b) && (s == NULL || s->version < leaving->leader_moved))
            return false;
    }
    return true;
}

static bool may_stop(const struct controller *c, const struct cluster *cluster, const struct controller_session *s,
                     const struct cluster_broker *b)
{
    if (!s->wants_shutdown)
        return false;
    return b->fenced || (b->in_shutdown && b->leader_count == 0 && all_know(c, cluster, b));
}

/* Have its cores acted on the last command that took a leadership from it? Before that they may still lead by an older epoch, and
 * only the end of the lease keeps them from it. */
static bool knows(const struct controller_session *s, const struct cluster_broker *b)
{
    return s->version >= (uint64_t)b->epoch && (s->version >= b->leader_moved || MUTANT(KNOWLEDGE));
}

bool controller_take_answer(struct controller *c, uint64_t now_ns, const struct cluster *cluster, int32_t *ret_broker,
                            struct rpc_heartbeat_reply *ret)
{
    if (c->state != CONTROLLER_ACTIVE)
        return false;
    for (uint32_t i = 0; i < c->session_count; i++) {
        struct controller_session *s = &c->sessions[i];
        const struct cluster_broker *b;
        if (!s->owed || s->fencing || is_held(c, now_ns, s))
            continue;
        s->owed = false;
        b = cluster_find_broker(cluster, s->broker);
        *ret = (struct rpc_heartbeat_reply){.number = s->number, .controller = c->config.id};
        if (b == NULL || b->epoch != s->epoch) {
            ret->error = KAFKA_STALE_BROKER_EPOCH;
        } else {
            ret->fenced = b->fenced || !knows(s, b);
            ret->may_stop = may_stop(c, cluster, s, b);
        }
        *ret_broker = s->broker;
        return true;
    }
    return false;
}

/* ---- what a broker's state asks for (control-plane 6) ------------------------------------------------------------ */

static void about(struct cluster_command *to, enum cluster_command_kind kind, const struct controller_session *s, const char *cause)
{
    to->kind = kind;
    to->broker.id = s->broker;
    to->broker.epoch = s->epoch;
    snprintf(to->broker.cause, sizeof(to->broker.cause), "%s", cause);
}

static bool propose_offline(const struct controller_session *s, const struct cluster_broker *b, struct cluster_command *ret)
{
    ret->dirs_offline.count = 0;
    for (uint32_t i = 0; i < s->health.offline_count; i++)
        for (uint32_t k = 0; k < b->directory_count; k++)
            if (tide_uuid_equal(&s->health.offline[i], &b->directories[k]) && ret->dirs_offline.count < TIDE_LOG_DIRS_MAX)
                ret->dirs_offline.directories[ret->dirs_offline.count++] = b->directories[k];
    if (ret->dirs_offline.count == 0)
        return false;
    ret->kind = CLUSTER_DIRS_OFFLINE;
    ret->dirs_offline.id = b->id;
    ret->dirs_offline.epoch = b->epoch;
    return true;
}

static bool propose_for(const struct controller *c, uint64_t now_ns, const struct controller_session *s, const struct cluster_broker *b,
                        struct cluster_command *ret)
{
    bool over = session_is_over(c, now_ns, s);
    if (!over && s->reported && propose_offline(s, b, ret))
        return true; /* before it may lead: a fenced one, too */
    if (b->fenced) {
        if (over || !s->reported || s->wants_fenced || s->wants_shutdown || !knows(s, b) || b->suspect)
            return false;
        about(ret, CLUSTER_UNFENCE_BROKER, s, "ready");
        return true;
    }
    if (over)
        about(ret, CLUSTER_FENCE_BROKER, s, s->ended ? "its process has ended" : "session over");
    else if (!s->reported)
        return false;
    else if (s->wants_fenced)
        about(ret, CLUSTER_FENCE_BROKER, s, s->health.faulty ? "its data path or its disks are broken" : "own wish");
    else if (s->wants_shutdown && b->in_shutdown)
        return false; /* may_stop tells when */
    else if (s->wants_shutdown && b->leader_count == 0)
        about(ret, CLUSTER_FENCE_BROKER, s, "stops");
    else if (s->wants_shutdown)
        about(ret, CLUSTER_BEGIN_SHUTDOWN, s, "stops");
    else
        return false;
    return true;
}

/* ---- suspicion (control-plane 10.3) -------------------------------------------------------------------------------- */

/* Rows and columns by place in `ids`. */
struct evidence {
    uint32_t count; /* of active brokers that report */
    int32_t ids[CONTROLLER_WATCHED_MAX];
    const struct controller_session *sessions[CONTROLLER_WATCHED_MAX];
    bool suspect[CONTROLLER_WATCHED_MAX];
    uint64_t shares[CONTROLLER_WATCHED_MAX];  /* bit k: has a partition in common with k */
    uint64_t accuses[CONTROLLER_WATCHED_MAX]; /* bit k: does not hear k, or is not heard by it */
    uint32_t active;
    uint32_t suspects;
};

static int place(const struct evidence *e, int32_t id)
{
    for (uint32_t i = 0; i < e->count; i++)
        if (e->ids[i] == id)
            return (int)i;
    return -1;
}

static bool is_fresh(const struct controller *c, uint64_t now_ns, const struct controller_session *s)
{
    return s->reported && now_ns - s->heard_ns <= 2 * c->config.heartbeat_ns;
}

/* Who may speak. False when nobody accuses anybody: the common case. */
static bool gather_reports(const struct controller *c, uint64_t now_ns, const struct cluster *cluster, struct evidence *e)
{
    uint64_t any = 0;
    memset(e, 0, sizeof(*e));
    for (uint32_t i = 0; i < cluster_broker_count(cluster); i++) {
        const struct cluster_broker *b = cluster_broker_at(cluster, i);
        const struct controller_session *s = find(c, b->id);
        if (b->fenced)
            continue;
        e->active++;
        e->suspects += b->suspect;
        if (s == NULL || !is_fresh(c, now_ns, s))
            continue;
        if (e->count == CONTROLLER_WATCHED_MAX)
            return false;
        e->ids[e->count] = b->id;
        e->sessions[e->count] = s;
        e->suspect[e->count++] = b->suspect;
    }
    for (uint32_t i = 0; i < e->count; i++) {
        const struct node_health *h = &e->sessions[i]->health;
        for (uint32_t k = 0; k < h->silent_count; k++) {
            int at = place(e, h->silent[k].broker);
            uint64_t age_ns = TIDE_NS_PER_MS * TIDE_MAX(h->silent[k].heard_ms, h->silent[k].confirmed_ms);
            if (at >= 0 && at != (int)i && age_ns >= c->config.probe_ns)
                e->accuses[i] |= 1ull << at;
        }
        any |= e->accuses[i];
    }
    return any != 0;
}

static void gather_shares(const struct cluster *cluster, struct evidence *e)
{
    for (uint32_t i = 0; i < cluster_topic_count(cluster); i++) {
        const struct cluster_topic *t = cluster_topic_at(cluster, i);
        for (uint32_t k = 0; k < t->partition_count; k++) {
            uint64_t set = 0;
            for (uint32_t r = 0; r < t->partitions[k].replica_count; r++) {
                int at = place(e, t->partitions[k].replicas[r]);
                set |= at >= 0 ? 1ull << at : 0;
            }
            for (uint64_t rest = set; rest != 0; rest &= rest - 1)
                e->shares[__builtin_ctzll(rest)] |= set;
        }
    }
}

/* Rule 3: somebody else that shares with `i` reports and has nothing against it. */
static bool is_heard_by_another(const struct evidence *e, uint32_t i, uint32_t x)
{
    for (uint32_t k = 0; k < e->count; k++)
        if (k != i && k != x && (e->shares[i] >> k & 1) != 0 && (e->accuses[k] >> i & 1) == 0)
            return true;
    return false;
}

static bool is_accused(const struct evidence *e, uint32_t x)
{
    uint32_t accusers = 0, entitled = 0, credible = 0;
    for (uint32_t i = 0; i < e->count; i++) {
        if (i == x || (e->shares[i] >> x & 1) == 0)
            continue;
        entitled += !e->suspect[i];
        if ((e->accuses[i] >> x & 1) == 0)
            continue;
        accusers++;
        credible += is_heard_by_another(e, i, x);
    }
    return accusers >= 2 && credible == accusers && accusers * 2 > entitled &&
           (e->suspects + !e->suspect[x]) * 2 < e->active;
}

static void weigh(struct controller *c, uint64_t now_ns, const struct cluster *cluster)
{
    struct evidence e;
    bool any = gather_reports(c, now_ns, cluster, &e);
    if (any)
        gather_shares(cluster, &e);
    for (uint32_t i = 0; i < c->session_count; i++) {
        struct controller_session *s = &c->sessions[i];
        const struct cluster_broker *b = cluster_find_broker(cluster, s->broker);
        int x = any ? place(&e, s->broker) : -1;
        bool accused = x >= 0 && is_accused(&e, (uint32_t)x);
        bool spoken_against = false;
        for (uint32_t k = 0; x >= 0 && k < e.count; k++)
            spoken_against |= (e.accuses[k] >> x & 1) != 0;
        if (!accused)
            s->accused_since_ns = 0;
        else if (s->accused_since_ns == 0)
            s->accused_since_ns = now_ns;
        if (b == NULL || !b->suspect || spoken_against)
            s->clear_since_ns = 0;
        else if (s->clear_since_ns == 0)
            s->clear_since_ns = now_ns;
    }
}

static uint64_t recover_ns(const struct controller *c, const struct controller_session *s)
{
    uint64_t ns = c->config.recover_ns;
    for (uint32_t i = 1; i < s->suspicions && ns < RECOVER_MAX_S * TIDE_NS_PER_S; i++)
        ns *= 2;
    return TIDE_MIN(ns, TIDE_MAX(RECOVER_MAX_S * TIDE_NS_PER_S, c->config.recover_ns));
}

static bool propose_suspicion(struct controller *c, uint64_t now_ns, struct controller_session *s, const struct cluster_broker *b,
                              struct cluster_command *ret)
{
    if (!b->suspect && !b->fenced && s->accused_since_ns != 0 && now_ns - s->accused_since_ns >= c->config.suspect_ns &&
        now_ns - c->active_since_ns >= c->config.session_ns) {
        bool row = s->suspicions != 0 && now_ns - s->suspected_ns <= SUSPICION_ROW_S * TIDE_NS_PER_S;
        s->suspicions = row ? s->suspicions + 1 : 1;
        s->suspected_ns = now_ns;
        s->accused_since_ns = 0;
        about(ret, CLUSTER_SET_DATA_SUSPECT, s, "others do not hear it");
        ret->broker.on = true;
        return true;
    }
    if (b->suspect && s->clear_since_ns != 0 && now_ns - s->clear_since_ns >= recover_ns(c, s)) {
        s->clear_since_ns = now_ns;
        about(ret, CLUSTER_SET_DATA_SUSPECT, s, "heard again");
        ret->broker.on = false;
        return true;
    }
    return false;
}

/* ---- guarded shrink (control-plane 10.4) ------------------------------------------------------------------------------ */

static bool is_in(const struct cluster_partition_change *change, int32_t id)
{
    for (uint32_t i = 0; i < change->isr_count; i++)
        if (change->isr[i].broker == id)
            return true;
    return false;
}

/* Remembers when this leader first wanted to shrink; the one that was silent longest makes room. */
static struct controller_shrink *remember(struct controller *c, uint64_t now_ns, const struct cluster_partition_change *change)
{
    struct controller_shrink *oldest = &c->shrinks[0];
    for (uint32_t i = 0; i < CONTROLLER_SHRINKS_MAX; i++) {
        struct controller_shrink *s = &c->shrinks[i];
        if (s->since_ns != 0 && s->partition == change->partition && s->leader_epoch == change->leader_epoch &&
            tide_uuid_equal(&s->topic_id, &change->topic_id)) {
            if (now_ns - s->last_ns > 2 * c->config.shrink_guard_ns)
                s->since_ns = now_ns; /* it stopped wanting it meanwhile */
            s->last_ns = now_ns;
            return s;
        }
        if (s->last_ns < oldest->last_ns)
            oldest = s;
    }
    *oldest = (struct controller_shrink){change->topic_id, change->partition, change->leader_epoch, now_ns, now_ns};
    return oldest;
}

/* Has the member reported lately, and has it nothing against the leader? */
static bool hears(const struct controller *c, uint64_t now_ns, int32_t member, int32_t leader)
{
    const struct controller_session *s = find(c, member);
    if (s == NULL || !is_fresh(c, now_ns, s))
        return false;
    for (uint32_t i = 0; i < s->health.silent_count; i++)
        if (s->health.silent[i].broker == leader)
            return false;
    return true;
}

void controller_judge_shrinks(struct controller *c, uint64_t now_ns, const struct cluster *cluster, int32_t broker,
                              struct cluster_partition_change *changes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct cluster_partition *p = cluster_find_partition(cluster, &changes[i].topic_id, changes[i].partition);
        bool shrinks = false;
        changes[i].guard_over = false;
        changes[i].guard_hears = 0;
        if (p == NULL)
            continue;
        for (uint32_t k = 0; k < p->isr_count; k++)
            shrinks |= !is_in(&changes[i], p->isr[k]);
        for (uint32_t k = 0; k < p->replica_count; k++)
            if (hears(c, now_ns, p->replicas[k], broker))
                changes[i].guard_hears |= (uint16_t)(1u << k);
        if (shrinks)
            changes[i].guard_over = now_ns - remember(c, now_ns, &changes[i])->since_ns >= c->config.shrink_guard_ns;
    }
}

/* ---- proposals ----------------------------------------------------------------------------------------------------------- */

static bool propose_for_brokers(struct controller *c, uint64_t now_ns, const struct cluster *cluster, struct cluster_command *ret)
{
    for (uint32_t i = 0; i < c->session_count; i++) {
        struct controller_session *s = &c->sessions[i];
        const struct cluster_broker *b = cluster_find_broker(cluster, s->broker);
        if (b != NULL && b->epoch == s->epoch && (propose_for(c, now_ns, s, b, ret) || propose_suspicion(c, now_ns, s, b, ret))) {
            s->fencing = ret->kind == CLUSTER_FENCE_BROKER;
            return true;
        }
    }
    return false;
}

static bool propose_on_timer(struct controller *c, uint64_t now_ns, const struct cluster *cluster, struct cluster_command *ret)
{
    if (now_ns >= c->balance_at_ns) {
        c->balance_at_ns = now_ns + c->config.balance_ns;
        ret->kind = CLUSTER_BALANCE_LEADERS;
        ret->limit = BALANCE_LIMIT;
        return true;
    }
    if (now_ns >= c->sweep_at_ns) {
        c->sweep_at_ns = now_ns + SWEEP_S * TIDE_NS_PER_S;
        ret->kind = CLUSTER_UNCLEAN_SWEEP;
        ret->limit = BALANCE_LIMIT;
        return cluster_leaderless_count(cluster) != 0;
    }
    return false;
}

bool controller_take_proposal(struct controller *c, uint64_t now_ns, const struct cluster *cluster, struct cluster_command *ret)
{
    if (c->state == CONTROLLER_IDLE || c->in_flight)
        return false;
    memset(ret, 0, sizeof(*ret));
    ret->controller_epoch = c->term;
    if (c->state == CONTROLLER_TAKING_OVER) {
        ret->kind = CLUSTER_CONTROLLER_EPOCH;
        ret->controller_epoch_of.node = c->config.id;
        ret->controller_epoch_of.term = c->term;
        c->in_flight = true;
    } else if (tide_uuid_is_zero(cluster_id(cluster))) {
        ret->kind = CLUSTER_INIT;
        ret->init.cluster_id = c->config.cluster_id;
        ret->init.created_ms = c->config.created_ms;
        ret->init.config_count = c->config.init_config_count;
        ret->init.configs = c->config.init_configs;
        ret->init.feature_count = cluster_birth_features(ret->init.features);
        c->in_flight = true;
    } else {
        c->in_flight = propose_for_brokers(c, now_ns, cluster, ret) || propose_on_timer(c, now_ns, cluster, ret);
    }
    return c->in_flight;
}

/* ---- time ----------------------------------------------------------------------------------------------------------------- */

void controller_on_time(struct controller *c, uint64_t now_ns, const struct cluster *cluster)
{
    if (c->state != CONTROLLER_ACTIVE)
        return;
    if (now_ns - c->ticked_ns >= c->config.session_ns / 3)
        for (uint32_t i = 0; i < c->session_count; i++)
            c->sessions[i].heard_ns = TIDE_MAX(c->sessions[i].heard_ns, now_ns);
    c->ticked_ns = now_ns;
    weigh(c, now_ns, cluster);
}

uint64_t controller_deadline_ns(const struct controller *c)
{
    return c->state == CONTROLLER_ACTIVE ? c->ticked_ns + TICK_NS : TIDE_NEVER;
}

void controller_check(const struct controller *c)
{
    for (uint32_t i = 1; i < c->session_count; i++)
        TIDE_ASSERT(c->sessions[i - 1].broker < c->sessions[i].broker); /* R1 */
    TIDE_ASSERT(c->state == CONTROLLER_ACTIVE || c->session_count == 0); /* R2 */
    TIDE_ASSERT(c->config.lease_ns < c->config.session_ns);              /* R3 */
}
