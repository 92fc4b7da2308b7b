/* SPDX-License-Identifier: Apache-2.0 */
#include "nic/port_clock.h"

#include "tidemark/assert.h"

#define TO(s) (1u << PORT_CLOCK_##s)
static const struct {
    const char *name;
    uint32_t next;
} states[PORT_CLOCK_STATE_COUNT] = {
    [PORT_CLOCK_NONE] = {"none", 0},
    [PORT_CLOCK_LEARNING] = {"learning", TO(LEARNING) | TO(KNOWN)},
    [PORT_CLOCK_KNOWN] = {"known", TO(KNOWN) | TO(LEARNING)},
};
#undef TO

static void port_clock_move(struct port_clock *c, enum port_clock_state to)
{
    TIDE_ASSERT(states[c->state].next & 1u << to);
    c->state = (uint8_t)to;
    port_clock_check(c);
}

void port_clock_init(struct port_clock *c, bool stamps)
{
    *c = (struct port_clock){.state = stamps ? PORT_CLOCK_LEARNING : PORT_CLOCK_NONE};
}

uint64_t port_clock_deadline_ns(const struct port_clock *c)
{
    return c->state == PORT_CLOCK_NONE ? TIDE_NEVER : c->next_ns;
}

/* False: no such line. Clocks of cards tick between once in two microseconds and eight times in a nanosecond. */
static bool draw(struct port_clock_model *m, uint64_t from_ticks, uint64_t from_ns, uint64_t ticks, uint64_t ns)
{
    uint64_t apart = ticks - from_ticks;
    if ((int64_t)apart <= 0 || ns <= from_ns)
        return false;
    unsigned __int128 slope = ((unsigned __int128)(ns - from_ns) << 32) / apart;
    if (slope < 1ull << 29 || slope > 2000ull << 32)
        return false;
    *m = (struct port_clock_model){.at_ticks = ticks, .at_ns = ns, .ns_per_tick = (uint64_t)slope};
    m->span_ticks = (uint64_t)(((unsigned __int128)PORT_CLOCK_STALE_NS << 32) / m->ns_per_tick);
    return true;
}

/* Begins anew, with this reading as the first of two. */
static bool lose(struct port_clock *c, uint64_t ticks, uint64_t ns)
{
    bool was_known = c->state == PORT_CLOCK_KNOWN;
    c->model = (struct port_clock_model){0};
    c->first_ticks = ticks;
    c->first_ns = ns;
    c->lost += was_known;
    port_clock_move(c, PORT_CLOCK_LEARNING);
    return was_known;
}

static bool learn(struct port_clock *c, uint64_t ticks, uint64_t ns)
{
    struct port_clock_model m;
    if (c->first_ns == 0 || !draw(&m, c->first_ticks, c->first_ns, ticks, ns))
        return lose(c, ticks, ns);
    c->model = m;
    c->renewed++;
    c->next_ns = ns + PORT_CLOCK_RENEW_NS;
    port_clock_move(c, PORT_CLOCK_KNOWN);
    return true;
}

static bool renew(struct port_clock *c, uint64_t ticks, uint64_t ns)
{
    struct port_clock_model m;
    uint64_t expected;
    if (!port_clock_ns(&c->model, ticks, &expected) || !draw(&m, c->model.at_ticks, c->model.at_ns, ticks, ns))
        return lose(c, ticks, ns);
    if ((ns > expected ? ns - expected : expected - ns) > PORT_CLOCK_JUMP_NS)
        return lose(c, ticks, ns);
    c->model = m;
    c->renewed++;
    c->next_ns = ns + PORT_CLOCK_RENEW_NS;
    port_clock_move(c, PORT_CLOCK_KNOWN);
    return true;
}

bool port_clock_on_reading(struct port_clock *c, const struct port_clock_reading *r)
{
    uint64_t took = r->after_ns - r->before_ns;
    uint64_t ns = r->before_ns + took / 2;
    if (c->state == PORT_CLOCK_NONE)
        return false;
    c->next_ns = r->after_ns + PORT_CLOCK_APART_NS;
    if (took > PORT_CLOCK_READ_MAX_NS) {
        c->unsure++;
        return port_clock_on_silence(c, r->after_ns);
    }
    return c->state == PORT_CLOCK_KNOWN ? renew(c, r->ticks, ns) : learn(c, r->ticks, ns);
}

bool port_clock_on_silence(struct port_clock *c, uint64_t now_ns)
{
    if (c->state == PORT_CLOCK_NONE)
        return false;
    c->next_ns = now_ns + PORT_CLOCK_APART_NS;
    if (c->state != PORT_CLOCK_KNOWN || now_ns - c->model.at_ns < PORT_CLOCK_STALE_NS)
        return false;
    return lose(c, 0, 0);
}

bool port_clock_on_restart(struct port_clock *c)
{
    c->next_ns = 0;
    return c->state == PORT_CLOCK_NONE ? false : lose(c, 0, 0);
}

void port_clock_check(const struct port_clock *c)
{
    TIDE_ASSERT(c->state < PORT_CLOCK_STATE_COUNT);
    if (c->state == PORT_CLOCK_KNOWN)
        TIDE_ASSERT(c->model.ns_per_tick != 0); /* K1 */
    else
        TIDE_ASSERT(c->model.ns_per_tick == 0); /* K2 */
}
