/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The health of this broker as the controller hears of it (control-plane 10): ports, cores, who is heard on the data network,
 * data directories.
 */
#include "control/internal.h"

#include "control/node/node.h"

enum { LOOK_MS = 50 };

/* Which core it is does not matter: the broker leads with all of them. */
static bool a_core_is_stalled(struct control *c, uint64_t now_ms)
{
    const struct control_data_plane *d = &c->config.data;
    uint64_t timeout_ms = (uint64_t)c->config.settings->data_self_timeout_ms;
    uint32_t cores = c->config.office->core_count;
    bool late = now_ms - c->looked_ms > 2 * LOOK_MS;
    for (uint32_t i = 0; d->turns != NULL && i < cores; i++)
        stalls_on_look(&c->stalls, now_ms, i, d->turns(d->self, i), late);
    if (c->turn_token == 0 || late || control_is_seen(c, c->turn_token)) {
        c->turn_token = rte_rcu_qsbr_start(c->config.publication->qsbr);
        c->turn_ms = now_ms;
    }
    return now_ms - c->turn_ms >= timeout_ms || stalls_is(&c->stalls, now_ms, cores, timeout_ms);
}

static bool every_port_is_down(struct control *c, uint64_t now_ms)
{
    const struct control_data_plane *d = &c->config.data;
    if (d->port_is_up == NULL || d->port_is_up(d->self))
        c->dark_ms = 0;
    else if (c->dark_ms == 0)
        c->dark_ms = now_ms;
    return c->dark_ms != 0 && now_ms - c->dark_ms >= (uint64_t)c->config.settings->data_self_timeout_ms;
}

/* Our own fault, with its time to recover (control-plane 10.2). */
static bool is_faulty(struct control *c, uint64_t now_ms)
{
    bool stalled = a_core_is_stalled(c, now_ms), dark = every_port_is_down(c, now_ms);
    bool alone = cluster_broker_count(c->config.cluster) < 2;
    bool faulty = !alone && (stalled || dark);
    c->looked_ms = now_ms;
    if (faulty)
        c->well_ms = 0;
    else if (c->well_ms == 0)
        c->well_ms = now_ms;
    if (c->faulty && !alone && !faulty && now_ms - c->well_ms < (uint64_t)c->config.settings->data_recover_ms)
        faulty = true; /* not yet */
    if (faulty != c->faulty)
        control_log("the data path is %s", !faulty ? "well again" : dark ? "down: no port has a link" : "stalled: a core does not turn");
    return faulty;
}

/* ---- who is heard (control-plane 10.1) ---------------------------------------------------------------------- */

static void on_signs(void *arg, int32_t broker, uint64_t heard_ns, uint64_t confirmed_ns)
{
    hearing_on_signs(arg, broker, heard_ns, confirmed_ns);
}

static const struct health_silence *find_silence(const struct node_health *h, int32_t broker)
{
    for (uint32_t i = 0; i < h->silent_count; i++)
        if (h->silent[i].broker == broker)
            return &h->silent[i];
    return NULL;
}

static void tell_silence(const struct node_health *was, const struct node_health *is)
{
    for (uint32_t i = 0; i < is->silent_count; i++) {
        const struct health_silence *s = &is->silent[i];
        if (find_silence(was, s->broker) == NULL)
            control_log("broker %d is not heard on the data network for %u ms, and has not heard us for %u ms", (int)s->broker,
                        s->heard_ms, s->confirmed_ms);
    }
    for (uint32_t i = 0; i < was->silent_count; i++)
        if (find_silence(is, was->silent[i].broker) == NULL)
            control_log("broker %d is heard again on the data network, or not expected any more", (int)was->silent[i].broker);
}

static void listen_to_peers(struct control *c, struct node_health *ret)
{
    const struct control_data_plane *d = &c->config.data;
    uint64_t now_ns = c->now_ns;
    if (d->each_peer == NULL)
        return;
    hearing_on_metadata(&c->hearing, now_ns, c->config.cluster);
    d->each_peer(d->self, now_ns, on_signs, &c->hearing);
    ret->silent_count = hearing_silent(&c->hearing, now_ns, (uint64_t)c->config.settings->data_probe_timeout_ms * TIDE_NS_PER_MS, ret->silent);
}

/* ---- the look ------------------------------------------------------------------------------------------------------ */

void health_look(struct control *c)
{
    struct node_health health = {0};
    bool news;
    if (c->failed || c->now_ns < c->look_ns)
        return;
    c->look_ns = c->now_ns + LOOK_MS * TIDE_NS_PER_MS;
    health.faulty = is_faulty(c, control_now_ms(c));
    c->faulty = health.faulty;
    listen_to_peers(c, &health);
    directories_look(c, &health);
    tell_silence(&c->health, &health);
    news = health.faulty != c->health.faulty || health.silent_count != c->health.silent_count || health.offline_count != c->health.offline_count;
    if (!news && health.silent_count == 0)
        return;
    c->health = health;
    node_on_health(c->config.node, c->now_ns, &health); /* ages grow: told at each look */
    c->again |= news;
}
