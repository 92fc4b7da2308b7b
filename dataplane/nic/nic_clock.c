/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clocks of ports that stamp what they receive: read by control, told to the cores as straight lines (port_clock.h).
 */
#define ALLOW_EXPERIMENTAL_API /* rte_eth_read_clock, since 2019 */
#include <errno.h>
#include <time.h>

#include <rte_ethdev.h>

#include "nic/nic_internal.h"
#include "tidemark/assert.h"

enum { READINGS = 5 }; /* the quickest of so many counts: nobody came between */

static uint64_t clock_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * TIDE_NS_PER_S + (uint64_t)ts.tv_nsec;
}

static bool read_port_clock(const struct nic_port *p, struct port_clock_reading *ret)
{
    bool any = false;
    for (unsigned i = 0; i < READINGS; i++) {
        struct port_clock_reading r = {.before_ns = clock_now_ns()};
        bool well = rte_eth_read_clock(p->id, &r.ticks) == 0;
        r.after_ns = clock_now_ns();
        if (well && (!any || r.after_ns - r.before_ns < ret->after_ns - ret->before_ns))
            *ret = r;
        any |= well;
    }
    return any;
}

/* The cores go on with this line, or with none. */
static void give_model(struct nic_port *p, const struct tide_grace *grace)
{
    uint64_t which = tide_pub64_own(&p->model_pub), next = 0;
    if (p->clock.state == PORT_CLOCK_KNOWN) {
        TIDE_ASSERT(!p->models_busy);
        next = which == 1 ? 2 : 1;
        p->models[next - 1] = p->clock.model;
    }
    if (next == which)
        return;
    tide_pub64_set(&p->model_pub, next);
    p->models_quiet = grace->begin(grace->self);
    p->models_busy = true;
}

double nic_clock_hz(const struct nic_port *p)
{
    const struct port_clock *c = &p->clock;
    return c->state == PORT_CLOCK_KNOWN ? 4294967296.0 * 1e9 / (double)c->model.ns_per_tick : 0;
}

static void tell_clock(const struct nic *nic, unsigned index, uint8_t was)
{
    const struct port_clock *c = &nic->ports[index].clock;
    if (c->state == was)
        return;
    if (c->state == PORT_CLOCK_KNOWN)
        nic_tell(nic, index, "its clock is known (%.6f MHz): frames arrive when it says", nic_clock_hz(&nic->ports[index]) / 1e6);
    else
        nic_tell(nic, index, "its clock is not what was foreseen, or cannot be read: frames arrive in the turn that takes them, until it is known again");
}

void nic_clock_look(struct nic *nic, uint64_t now_ns, const struct tide_grace *grace, unsigned index)
{
    struct nic_port *p = &nic->ports[index];
    uint8_t was = p->clock.state;
    struct port_clock_reading r;
    bool news;
    if (p->models_busy && grace->passed(grace->self, p->models_quiet))
        p->models_busy = false;
    if (now_ns < port_clock_deadline_ns(&p->clock) || p->models_busy || nic->watch.lives[index].state != PORT_IN)
        return;
    news = read_port_clock(p, &r) ? port_clock_on_reading(&p->clock, &r) : port_clock_on_silence(&p->clock, now_ns);
    if (news)
        give_model(p, grace);
    tell_clock(nic, index, was);
}

void nic_clock_forget(struct nic_port *p, const struct tide_grace *grace)
{
    if (port_clock_on_restart(&p->clock))
        give_model(p, grace);
}

bool nic_clock_is_there(uint16_t id)
{
    uint64_t ignored;
    return rte_eth_read_clock(id, &ignored) != -ENOTSUP;
}
