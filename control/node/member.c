/* SPDX-License-Identifier: Apache-2.0 */
#include "node/member.h"

#include <stdio.h>
#include <string.h>

#include "kafka/errors.h"
#include "tidemark/assert.h"

enum {
    HURRY_NS = 10 * 1000 * 1000,         /* heartbeats are at least so far apart */
    REGISTER_AGAIN_NS = 100 * 1000 * 1000, /* after a registration that was refused for now */
};

#define TO(s) (1u << MEMBER_##s)
static const struct {
    const char *name;
    uint32_t next;
} member_states[MEMBER_STATE_COUNT] = {
    [MEMBER_WAITING] = {"waiting", TO(REGISTERING) | TO(LEFT)},
    [MEMBER_REGISTERING] = {"registering", TO(FENCED) | TO(REFUSED) | TO(LEFT)},
    [MEMBER_FENCED] = {"fenced", TO(ACTIVE) | TO(LEAVING) | TO(REGISTERING) | TO(LEFT)},
    [MEMBER_ACTIVE] = {"active", TO(FENCED) | TO(LEAVING) | TO(REGISTERING)},
    [MEMBER_LEAVING] = {"leaving", TO(LEFT)},
    [MEMBER_LEFT] = {"left", 0},
    [MEMBER_REFUSED] = {"refused", TO(LEFT)},
};

const char *member_state_name(enum member_state s)
{
    return member_states[s].name;
}

static void move(struct member *m, enum member_state to)
{
    TIDE_ASSERT(member_states[m->state].next & 1u << to);
    m->state = to;
    member_check(m);
}

static bool is_registered(const struct member *m)
{
    return m->state == MEMBER_FENCED || m->state == MEMBER_ACTIVE || m->state == MEMBER_LEAVING;
}

void member_init(struct member *m, const struct member_config *config)
{
    memset(m, 0, sizeof(*m));
    m->config = *config;
    m->epoch = -1;
}

/* ---- what the broker says of itself ---------------------------------------------------------------------- */

void member_on_recovered(struct member *m, uint64_t now_ns)
{
    if (m->state != MEMBER_WAITING)
        return;
    m->register_at_ns = now_ns;
    move(m, MEMBER_REGISTERING);
}

void member_on_serving(struct member *m, uint64_t now_ns)
{
    (void)now_ns;
    m->hurry |= !m->serves;
    m->serves = true;
}

void member_on_finished(struct member *m, uint64_t now_ns, uint64_t index)
{
    (void)now_ns;
    if (index <= m->finished)
        return;
    /* The controller waits for this one before it lets us lead, or go. */
    m->hurry |= m->epoch >= 0 && m->finished < (uint64_t)m->epoch && index >= (uint64_t)m->epoch;
    m->hurry |= m->state == MEMBER_LEAVING;
    m->finished = index;
}

void member_on_health(struct member *m, uint64_t now_ns, const struct node_health *h)
{
    (void)now_ns;
    m->hurry |= h->faulty != m->health.faulty || h->offline_count != m->health.offline_count ||
                h->silent_count != m->health.silent_count;
    m->health = *h;
}

void member_on_stop(struct member *m, uint64_t now_ns)
{
    if (m->stopping)
        return;
    m->stopping = true;
    m->hurry = true;
    m->leave_until_ns = now_ns + m->config.leave_ns;
    if (is_registered(m))
        move(m, MEMBER_LEAVING);
    else
        move(m, MEMBER_LEFT); /* leads nothing */
}

/* ---- registration -------------------------------------------------------------------------------------------- */

static void refuse(struct member *m, const char *why)
{
    snprintf(m->refusal, sizeof(m->refusal), "%s", why);
    move(m, MEMBER_REFUSED);
}

static void register_again(struct member *m, uint64_t now_ns)
{
    m->epoch = -1;
    m->lease_until_ns = 0;
    m->submitted = false;
    m->register_at_ns = now_ns;
    move(m, m->state == MEMBER_LEAVING ? MEMBER_LEFT : MEMBER_REGISTERING);
}

/* The record of ours in the metadata decides; another's means that we are to register again, and then learn why. */
void member_on_metadata(struct member *m, uint64_t now_ns, const struct cluster *c)
{
    const struct cluster_broker *b = cluster_find_broker(c, m->config.id);
    bool ours = b != NULL && tide_uuid_equal(&b->incarnation, &m->config.incarnation);
    if (!ours) {
        if (is_registered(m))
            register_again(m, now_ns);
        return;
    }
    if (m->state == MEMBER_REGISTERING) {
        m->epoch = b->epoch;
        m->submitted = false;
        m->hurry = true;
        move(m, MEMBER_FENCED);
    }
    if (m->state == MEMBER_FENCED && !b->fenced) {
        m->hurry = true; /* the lease begins with the answer */
        move(m, MEMBER_ACTIVE);
    } else if (m->state == MEMBER_ACTIVE && b->fenced) {
        m->lease_until_ns = 0;
        move(m, MEMBER_FENCED);
    }
}

bool member_take_registration(struct member *m, uint64_t now_ns)
{
    if (m->state != MEMBER_REGISTERING || m->submitted || now_ns < m->register_at_ns)
        return false;
    m->submitted = true;
    return true;
}

void member_on_registered(struct member *m, uint64_t now_ns, int16_t error, const char *message, int64_t epoch)
{
    (void)epoch; /* the metadata says it */
    if (m->state != MEMBER_REGISTERING)
        return;
    m->submitted = false;
    m->register_at_ns = now_ns + REGISTER_AGAIN_NS;
    if (error == KAFKA_INCONSISTENT_CLUSTER_ID || error == KAFKA_UNSUPPORTED_VERSION || error == KAFKA_INVALID_REGISTRATION)
        refuse(m, message);
    else if (error == KAFKA_DUPLICATE_BROKER_REGISTRATION)
        snprintf(m->refusal, sizeof(m->refusal), "%s", message); /* its session may end: once more */
}

/* ---- heartbeats ------------------------------------------------------------------------------------------------ */

static bool heartbeat_is_due(const struct member *m, uint64_t now_ns)
{
    if (!is_registered(m))
        return false;
    if (m->hurry && now_ns - m->sent_ns >= HURRY_NS)
        return true;
    return now_ns >= m->heartbeat_at_ns;
}

bool member_take_heartbeat(struct member *m, uint64_t now_ns, struct rpc_heartbeat *ret)
{
    if (!heartbeat_is_due(m, now_ns) || now_ns <= m->sent_ns)
        return false;
    m->hurry = false;
    m->sent_ns = now_ns;
    m->heartbeat_at_ns = now_ns + m->config.heartbeat_ns;
    *ret = (struct rpc_heartbeat){.number = now_ns,
                                  .epoch = m->epoch,
                                  .version = m->finished,
                                  .wants_fenced = !m->serves || m->health.faulty,
                                  .wants_shutdown = m->stopping,
                                  .health = m->health};
    return true;
}

void member_on_answer(struct member *m, uint64_t now_ns, const struct rpc_heartbeat_reply *r)
{
    if (!is_registered(m) || r->number == 0 || r->number > m->sent_ns)
        return;
    if (r->error == KAFKA_STALE_BROKER_EPOCH) {
        /* The metadata here may be older than our registration; it does not say that we are another's. */
        m->lease_until_ns = 0;
        register_again(m, now_ns);
        return;
    }
    if (r->error != 0)
        return;
    if (!r->fenced) /* who is fenced leads nothing, whether it knows or not */
        m->lease_until_ns = TIDE_MAX(m->lease_until_ns, r->number + m->config.lease_ns);
    if (m->state == MEMBER_LEAVING && r->may_stop)
        move(m, MEMBER_LEFT);
}

void member_on_controller(struct member *m, uint64_t now_ns)
{
    (void)now_ns;
    m->hurry = true;
}

/* ---- time ---------------------------------------------------------------------------------------------------------- */

void member_on_time(struct member *m, uint64_t now_ns)
{
    if (m->state == MEMBER_LEAVING && now_ns >= m->leave_until_ns)
        move(m, MEMBER_LEFT);
}

uint64_t member_deadline_ns(const struct member *m, bool can_send)
{
    uint64_t at = TIDE_NEVER;
    if (m->state == MEMBER_REGISTERING && !m->submitted)
        at = m->register_at_ns;
    if (m->state == MEMBER_LEAVING)
        at = m->leave_until_ns;
    if (is_registered(m) && can_send) {
        at = TIDE_MIN(at, m->heartbeat_at_ns);
        if (m->hurry) {
            uint64_t soon = m->sent_ns + HURRY_NS;
            at = TIDE_MIN(at, soon);
        }
    }
    return at;
}

void member_check(const struct member *m)
{
    TIDE_ASSERT(m->state < MEMBER_STATE_COUNT);
    TIDE_ASSERT(m->lease_until_ns == 0 || m->lease_until_ns <= m->sent_ns + m->config.lease_ns); /* M1 */
    TIDE_ASSERT(!is_registered(m) || m->epoch >= 0);                                             /* M2 */
}
