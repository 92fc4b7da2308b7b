/* SPDX-License-Identifier: Apache-2.0 */
#include "nic/port_watch.h"

#include <string.h>

#include "tidemark/assert.h"

#define TO(s) (1u << PORT_##s)
static const struct {
    const char *name;
    uint32_t next;
} port_states[PORT_STATE_COUNT] = {
    [PORT_IN] = {"in", TO(LEAVING)},
    [PORT_LEAVING] = {"leaving", TO(OUT)},
    [PORT_OUT] = {"out", TO(IN)},
};

static void port_move(struct port_life *p, enum port_state to)
{
    TIDE_ASSERT(port_states[p->state].next & 1u << to);
    p->state = (uint8_t)to;
    p->still_since_ns = 0;
}

void port_watch_init(struct port_watch *w, unsigned count, uint64_t stuck_ns)
{
    TIDE_ASSERT(count != 0 && count <= TIDE_PORTS_MAX);
    memset(w, 0, sizeof(*w));
    w->count = count;
    w->stuck_ns = stuck_ns;
    for (unsigned i = 0; i < count; i++)
        w->lives[i].link = true; /* a port that begins without one is news */
}

static uint32_t on_link(struct port_life *p, bool link)
{
    if (p->link == link)
        return 0;
    p->link = link;
    p->downs += !link;
    return link ? PORT_NEWS_UP : PORT_NEWS_DOWN;
}

/* True in the moment in which the ring has stood still for long enough. */
static bool on_ring(const struct port_watch *w, struct port_life *p, uint64_t now_ns, const struct port_signs *s)
{
    bool moves = s->waiting == 0 || s->sent != p->sent || !s->link || p->state != PORT_IN;
    p->sent = s->sent;
    if (moves) {
        p->still_since_ns = 0;
        p->is_told = false;
        return false;
    }
    if (p->still_since_ns == 0)
        p->still_since_ns = now_ns;
    if (p->is_told || w->stuck_ns == 0 || now_ns - p->still_since_ns < w->stuck_ns)
        return false;
    p->is_told = true;
    p->stucks++;
    return true;
}

uint32_t port_watch_on_signs(struct port_watch *w, uint64_t now_ns, unsigned port, const struct port_signs *s)
{
    struct port_life *p = &w->lives[port];
    uint32_t news = on_link(p, s->link);
    bool stuck = on_ring(w, p, now_ns, s);
    news |= stuck ? PORT_NEWS_STUCK : 0;
    if (s->wants_reset) {
        p->resets++;
        p->with_reset = true;
    }
    if (p->state == PORT_IN && s->can_restart && (stuck || p->with_reset)) {
        port_move(p, PORT_LEAVING);
        news |= PORT_NEWS_LEAVE;
    }
    if (p->state == PORT_OUT && now_ns >= p->retry_ns)
        news |= PORT_NEWS_RESTART;
    return news;
}

void port_watch_on_quiet(struct port_watch *w, uint64_t now_ns, unsigned port)
{
    port_move(&w->lives[port], PORT_OUT);
    w->lives[port].retry_ns = now_ns;
}

void port_watch_on_restarted(struct port_watch *w, uint64_t now_ns, unsigned port, bool well)
{
    struct port_life *p = &w->lives[port];
    TIDE_ASSERT(p->state == PORT_OUT);
    p->retry_ns = now_ns + PORT_RETRY_NS;
    p->with_reset = !well; /* what a start did not mend, a reset may */
    if (!well)
        return;
    p->restarts++;
    port_move(p, PORT_IN);
}

static bool is_usable(const struct port_life *p)
{
    return p->state == PORT_IN && p->link;
}

bool port_watch_choose(struct port_watch *w)
{
    if (is_usable(&w->lives[w->active]))
        return false;
    for (unsigned i = 0; i < w->count; i++)
        if (is_usable(&w->lives[i])) {
            w->active = i;
            w->failovers++;
            return true;
        }
    return false;
}

void port_watch_check(const struct port_watch *w)
{
    TIDE_ASSERT(w->active < w->count); /* W1 */
    for (unsigned i = 0; i < w->count; i++)
        TIDE_ASSERT(w->lives[i].still_since_ns == 0 || w->lives[i].state == PORT_IN); /* W2 */
}
