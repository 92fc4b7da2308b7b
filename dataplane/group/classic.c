/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The classic protocol (kafka-protocol 9.3): members join, one of them assigns, all are told.
 *
 * Timers. A member's: its session, set anew by whatever shows that it lives, and not looked at while it has a parked question; five minutes
 * while it waits for its first generation; its session while it has an id and did not come with it. A group's: in PREPARING the initial
 * delay, or the longest rebalance timeout of its members; in COMPLETING and STABLE the same time for members that do not sync. What a timer
 * wants to write and cannot is tried again after GROUP_RETRY_MS, with nothing changed.
 */
#include "group/classic_internal.h"

#include "tidemark/mutant.h"

#define TO(s) (1u << CLASSIC_##s)
static const struct {
    const char *name;
    uint32_t next;
} classic_states[CLASSIC_STATE_COUNT] = {
    [CLASSIC_EMPTY] = {"Empty", TO(PREPARING)},
    [CLASSIC_PREPARING] = {"PreparingRebalance", TO(COMPLETING) | TO(EMPTY)},
    [CLASSIC_COMPLETING] = {"CompletingRebalance", TO(STABLE) | TO(PREPARING)},
    [CLASSIC_STABLE] = {"Stable", TO(PREPARING)},
};

void classic_move(struct group *group, enum classic_state to)
{
    TIDE_ASSERT(classic_states[group->classic.state].next & (1u << to));
    group->classic.state = to;
}

const char *classic_state_name(const struct group *group)
{
    return classic_states[group->classic.state].name;
}

static uint64_t rebalance_after(const struct groups *g, const struct classic *c)
{
    int64_t longest = 0;
    const struct group_member *m;
    TAILQ_FOREACH (m, &c->members, in_group)
        longest = TIDE_MAX(longest, (int64_t)m->rebalance_ms);
    return group_after_ms(g, longest);
}

/* ---- members' lives --------------------------------------------------------------------------------------- */

void classic_alive_for(struct groups *g, struct group_member *m, int64_t ms)
{
    m->alive_until_ns = group_after_ms(g, ms);
    if (m->timer.place == 0 || m->timer.at_ns > m->alive_until_ns) /* a timer that comes too early looks again */
        group_timer_set(g, &m->timer, m->alive_until_ns);
}

void classic_touch(struct groups *g, struct group_member *m)
{
    classic_alive_for(g, m, m->session_ms);
}

struct groups_asked *classic_unpark(struct groups *g, struct groups_asked **at)
{
    struct groups_asked *a = *at;
    if (a != NULL) {
        if (at == &a->member->join)
            a->member->group->classic.joined--;
        a->member = NULL;
        *at = NULL;
        g->gauges.parked--;
    }
    return a;
}

void classic_say_if_parked(struct groups *g, struct group_member *m, struct groups_asked **at, int16_t error)
{
    struct groups_asked *a = classic_unpark(g, at);
    if (a != NULL)
        asked_say(g, m->group, a, error);
}

void classic_park(struct groups *g, struct group_member *m, struct groups_asked **at, struct groups_asked *a)
{
    classic_say_if_parked(g, m, at, KAFKA_REBALANCE_IN_PROGRESS); /* it has asked again, on another connection */
    a->member = m;
    *at = a;
    g->gauges.parked++;
    if (at == &m->join)
        m->group->classic.joined++;
}

void classic_remove_member(struct groups *g, struct group_member *m)
{
    classic_say_if_parked(g, m, &m->join, KAFKA_UNKNOWN_MEMBER_ID);
    classic_say_if_parked(g, m, &m->sync, KAFKA_UNKNOWN_MEMBER_ID);
    member_free(g, m);
}

int16_t classic_look_up(const struct groups *g, const struct group *group, const struct wire_bytes *id, const struct wire_bytes *instance,
                        struct group_member **ret)
{
    struct group_member *m;
    if (instance != NULL && !instance->null) {
        m = group_find_instance(g, group, instance);
        if (m == NULL)
            return KAFKA_UNKNOWN_MEMBER_ID;
        if (!group_text_is(m->id, id))
            return KAFKA_FENCED_INSTANCE_ID;
    } else {
        m = group_find_member(g, group, id);
        if (m == NULL || m->pending)
            return KAFKA_UNKNOWN_MEMBER_ID;
    }
    *ret = m;
    return 0;
}

/* ---- rebalancing ------------------------------------------------------------------------------------------ */

static bool all_have_joined(const struct classic *c)
{
    return c->joined == c->member_count && c->pending_count == 0;
}

/* The leader stays if it has joined, else the first one that has. False: nobody has. */
static bool elect_leader(struct classic *c)
{
    struct group_member *m;
    if (c->leader != NULL && c->leader->join != NULL)
        return true;
    TAILQ_FOREACH (m, &c->members, in_group)
        if (m->join != NULL) {
            c->leader = m;
            return true;
        }
    return false;
}

static void retry_later(struct groups *g, struct group *group)
{
    group_timer_set(g, &group->classic.timer, group_after_ms(g, GROUP_RETRY_MS));
}

static int32_t next_generation(int32_t generation)
{
    return generation == INT32_MAX ? 1 : generation + 1;
}

/* Nobody is left. */
static void become_empty(struct groups *g, struct group *group)
{
    struct classic *c = &group->classic;
    int16_t error;
    if (!group->durable && group->offset_count == 0) { /* nobody ever learnt of it but its members */
        classic_move(group, CLASSIC_EMPTY);
        group_settle(g, group);
        return;
    }
    if (classic_write_record(g, group, &(struct classic_record){.generation = next_generation(c->generation)}, &error) != TIDE_OK || error != 0)
        retry_later(g, group);
}

/* The next generation begins. */
static void begin_generation(struct groups *g, struct group *group)
{
    struct classic *c = &group->classic;
    struct group_protocol chosen;
    struct group_member *m;
    struct group_text *protocol;
    bool found = protocols_vote(c, NULL, NULL, &chosen);
    TIDE_ASSERT(found); /* nobody was let in who would have left none */
    protocol = group_text_of(g, chosen.name, chosen.name_len);
    if (protocol == NULL) {
        retry_later(g, group);
        return;
    }
    group_text_give(g, c->protocol);
    c->protocol = protocol;
    c->generation = next_generation(c->generation);
    classic_move(group, CLASSIC_COMPLETING);
    TAILQ_FOREACH (m, &c->members, in_group) {
        struct groups_asked *a = classic_unpark(g, &m->join);
        m->fresh = false;
        c->unsynced += !m->unsynced;
        m->unsynced = true;
        classic_touch(g, m);
        if (a != NULL) /* a static member may be away */
            classic_say_generation(g, group, m, a);
    }
    group_timer_set(g, &c->timer, rebalance_after(g, c));
}

static void complete_join(struct groups *g, struct group *group)
{
    struct classic *c = &group->classic;
    struct group_member *m, *next;
    group_timer_stop(g, &c->timer);
    for (m = TAILQ_FIRST(&c->members); m != NULL; m = next) {
        next = TAILQ_NEXT(m, in_group);
        if (m->join == NULL && m->instance == NULL)
            classic_remove_member(g, m);
    }
    if (c->member_count == 0)
        become_empty(g, group);
    else if (!elect_leader(c)) /* static members all, and all away: until their sessions end */
        group_timer_set(g, &c->timer, rebalance_after(g, c));
    else
        begin_generation(g, group);
}

static void complete_if_all_joined(struct groups *g, struct group *group)
{
    const struct classic *c = &group->classic;
    if (c->state == CLASSIC_PREPARING && !c->initial && all_have_joined(c))
        complete_join(g, group);
}

static void dismiss(struct groups *g, struct group_member *m, struct groups_asked **at)
{
    struct groups_asked *a = classic_unpark(g, at);
    if (a == NULL)
        return;
    classic_touch(g, m);
    asked_say(g, m->group, a, KAFKA_REBALANCE_IN_PROGRESS);
}

void classic_dismiss(struct groups *g, struct group *group)
{
    struct group_member *m;
    TAILQ_FOREACH (m, &group->classic.members, in_group) {
        dismiss(g, m, &m->join);
        dismiss(g, m, &m->sync);
    }
}

void classic_prepare_rebalance(struct groups *g, struct group *group)
{
    struct classic *c = &group->classic;
    struct group_member *m;
    TAILQ_FOREACH (m, &c->members, in_group)
        dismiss(g, m, &m->sync);
    TAILQ_FOREACH (m, &c->members, in_group)
        m->unsynced = false;
    c->unsynced = 0;
    c->initial = c->state == CLASSIC_EMPTY;
    c->joined_since = false;
    classic_move(group, CLASSIC_PREPARING);
    if (c->initial) {
        int64_t delay = g->config.settings->group_initial_rebalance_delay_ms;
        const struct group_member *first = TAILQ_FIRST(&c->members);
        int64_t longest = first != NULL ? first->rebalance_ms : 0;
        c->delay_left_ns = longest > delay ? (uint64_t)(longest - delay) * TIDE_NS_PER_MS : 0;
        group_timer_set(g, &c->timer, group_after_ms(g, delay));
    } else if (all_have_joined(c)) {
        complete_join(g, group);
    } else {
        group_timer_set(g, &c->timer, rebalance_after(g, c));
    }
}

void classic_rebalance_or_complete(struct groups *g, struct group *group)
{
    if (group->classic.state == CLASSIC_PREPARING)
        complete_if_all_joined(g, group);
    else
        classic_prepare_rebalance(g, group);
}

void classic_after_leave(struct groups *g, struct group *group)
{
    enum classic_state state = group->classic.state;
    if (state == CLASSIC_STABLE || state == CLASSIC_COMPLETING || state == CLASSIC_PREPARING)
        classic_rebalance_or_complete(g, group);
    else
        group_settle(g, group);
}

/* Members who did not sync in time go; the others get a new generation. */
static void drop_unsynced(struct groups *g, struct group *group)
{
    struct classic *c = &group->classic;
    struct group_member *m, *next;
    for (m = TAILQ_FIRST(&c->members); m != NULL; m = next) {
        next = TAILQ_NEXT(m, in_group);
        if (m->unsynced)
            classic_remove_member(g, m);
    }
    classic_prepare_rebalance(g, group);
}

static void extend_delay(struct groups *g, struct group *group)
{
    struct classic *c = &group->classic;
    uint64_t step = (uint64_t)g->config.settings->group_initial_rebalance_delay_ms * TIDE_NS_PER_MS;
    step = TIDE_MIN(step, c->delay_left_ns);
    c->joined_since = false;
    c->delay_left_ns -= step;
    group_timer_set(g, &c->timer, g->now.now_ns + step);
}

void classic_on_timer(struct groups *g, struct group *group)
{
    struct classic *c = &group->classic;
    switch (c->state) {
    case CLASSIC_PREPARING:
        if (c->initial && c->joined_since && c->delay_left_ns != 0) {
            extend_delay(g, group);
            break;
        }
        c->initial = false;
        complete_join(g, group);
        break;
    case CLASSIC_COMPLETING:
    case CLASSIC_STABLE:
        if (c->unsynced != 0)
            drop_unsynced(g, group);
        break;
    default:
        break;
    }
}

void classic_on_member_timer(struct groups *g, struct group_member *m)
{
    struct group *group = m->group;
    if (m->alive_until_ns > g->now.now_ns) {
        group_timer_set(g, &m->timer, m->alive_until_ns);
        return;
    }
    if (!m->pending && !m->fresh && (m->join != NULL || m->sync != NULL))
        return; /* it waits for us */
    if (MUTANT(GROUP_SESSION)) {
        classic_touch(g, m);
        return;
    }
    classic_remove_member(g, m);
    classic_after_leave(g, group);
}
