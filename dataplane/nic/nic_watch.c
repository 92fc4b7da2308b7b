/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include <rte_ethdev.h>

#include "nic/nic_internal.h"
#include "tidemark/assert.h"

/* Called on EAL's interrupt thread. Removed devices come back by a reset, or never. */
static int on_event(uint16_t id, enum rte_eth_event_type type, void *arg, void *ret)
{
    struct nic_port *p = arg;
    atomic_store_explicit(&p->wants_reset, true, memory_order_relaxed);
    return 0;
}

void nic_watch_begin(struct nic *nic)
{
    port_watch_init(&nic->watch, nic->port_count, nic->config.stuck_ns);
    for (unsigned i = 0; i < nic->port_count; i++) {
        struct nic_port *p = &nic->ports[i];
        port_clock_init(&p->clock, p->plan.rx_stamped);
        p->hears_events = rte_eth_dev_callback_register(p->id, RTE_ETH_EVENT_INTR_RESET, on_event, p) == 0;
        if (p->hears_events)
            (void)rte_eth_dev_callback_register(p->id, RTE_ETH_EVENT_INTR_RMV, on_event, p);
    }
}

void nic_watch_end(struct nic_port *p)
{
    if (!p->hears_events)
        return;
    (void)rte_eth_dev_callback_unregister(p->id, RTE_ETH_EVENT_INTR_RESET, on_event, p);
    (void)rte_eth_dev_callback_unregister(p->id, RTE_ETH_EVENT_INTR_RMV, on_event, p);
}

static struct port_signs signs_of(struct nic *nic, unsigned index)
{
    struct nic_port *p = &nic->ports[index];
    struct port_signs s = {.can_restart = p->device.interface[0] == 0};
    bool is_out = nic->watch.lives[index].state == PORT_OUT;
    s.link = is_out ? nic->watch.lives[index].link : nic_link_up(nic, index);
    s.wants_reset = atomic_exchange_explicit(&p->wants_reset, false, memory_order_relaxed);
    for (unsigned q = 0; q < p->plan.tx_queues; q++) {
        if (p->backlogs[q] == NULL)
            continue;
        s.waiting += (uint32_t)tide_pub64_peek(&p->backlogs[q]->waiting_pub);
        s.sent += tide_pub64_peek(&p->backlogs[q]->sent_pub);
    }
    return s;
}

static void restart(struct nic *nic, uint64_t now_ns, const struct tide_grace *grace, unsigned index)
{
    struct nic_port *p = &nic->ports[index];
    struct port_life *life = &nic->watch.lives[index];
    bool first = !p->restart_failed;
    char error[NIC_ERROR_TEXT] = "";
    bool well = nic_port_restart(nic, index, life->with_reset, error, sizeof(error)) == TIDE_OK;
    port_watch_on_restarted(&nic->watch, now_ns, index, well);
    p->restart_failed = !well;
    nic_clock_forget(p, grace); /* it may count from another beginning now */
    if (well)
        nic_tell(nic, index, "started anew");
    else if (first)
        nic_tell(nic, index, "could not be started anew, and is tried again: %s", error);
    if (well) /* pairs with the acquire in nic_is_out */
        atomic_store_explicit(&p->is_out, false, memory_order_release);
}

static void look_at(struct nic *nic, uint64_t now_ns, const struct tide_grace *grace, unsigned index)
{
    struct nic_port *p = &nic->ports[index];
    struct port_signs s = signs_of(nic, index);
    uint32_t news;
    if (nic->watch.lives[index].state == PORT_LEAVING && grace->passed(grace->self, p->quiet))
        port_watch_on_quiet(&nic->watch, now_ns, index);
    news = port_watch_on_signs(&nic->watch, now_ns, index, &s);
    if (news & PORT_NEWS_UP)
        nic_tell(nic, index, "the link is up");
    if (news & PORT_NEWS_DOWN)
        nic_tell(nic, index, "the link is down");
    if (news & PORT_NEWS_STUCK)
        nic_tell(nic, index, "its transmit ring has taken nothing for %lu ms while %u frames wait and the link is up%s", (uint64_t)(nic->config.stuck_ns / TIDE_NS_PER_MS),
             s.waiting, s.can_restart ? "" : "; it belongs to the kernel's driver and cannot be started anew from here");
    if (news & PORT_NEWS_LEAVE) {
        atomic_store_explicit(&p->is_out, true, memory_order_release);
        p->quiet = grace->begin(grace->self);
        nic_tell(nic, index, "%s", nic->watch.lives[index].with_reset ? "its driver asks for a reset" : "is taken out to be started anew");
    }
    if (news & PORT_NEWS_RESTART)
        restart(nic, now_ns, grace, index);
    nic_clock_look(nic, now_ns, grace, index);
}

/* ---- captures ----------------------------------------------------------------------------------------------------------- */

enum tide_status nic_capture_begin(struct nic *nic, const struct tap_wish *wish, FILE *f)
{
    const char *names[TIDE_PORTS_MAX];
    enum tide_status s = tap_on(&nic->tap, nic->config.queues, wish);
    if (s != TIDE_OK)
        return s;
    for (unsigned i = 0; i < nic->port_count; i++)
        names[i] = nic->ports[i].device.name;
    pcapng_begin(f, names, nic->port_count, nic->tap.wish.snap);
    return TIDE_OK;
}

void nic_capture_take(struct nic *nic, FILE *f)
{
    tap_take(&nic->tap, f);
}

void nic_capture_end(struct nic *nic)
{
    tap_off(&nic->tap);
    nic->tap_has_token = false;
}

static void end_tap(struct nic *nic, const struct tide_grace *grace)
{
    if (nic->tap.state != TAP_ENDING)
        return;
    if (!nic->tap_has_token)
        nic->tap_quiet = grace->begin(grace->self);
    nic->tap_has_token = true;
    if (grace->passed(grace->self, nic->tap_quiet))
        tap_on_quiet(&nic->tap);
}

void nic_watch(struct nic *nic, uint64_t now_ns, const struct tide_grace *grace)
{
    for (unsigned i = 0; i < nic->port_count; i++)
        look_at(nic, now_ns, grace, i);
    end_tap(nic, grace);
    if (port_watch_choose(&nic->watch)) {
        tide_pub64_set(&nic->active_pub, nic->watch.active);
        nic_tell(nic, nic->watch.active, "carries the data address from now on");
    }
    port_watch_check(&nic->watch);
}

void nic_watch_report(const struct nic *nic, unsigned port, struct nic_watch_report *ret)
{
    const struct port_life *p = &nic->watch.lives[port];
    *ret = (struct nic_watch_report){.is_active = nic->watch.active == port,
                                     .is_in = p->state == PORT_IN,
                                     .downs = p->downs,
                                     .stucks = p->stucks,
                                     .resets = p->resets,
                                     .restarts = p->restarts,
                                     .failovers = nic->watch.failovers,
                                     .stamps = nic->ports[port].plan.rx_stamped,
                                     .clock_known = nic->ports[port].clock.state == PORT_CLOCK_KNOWN,
                                     .clock_losses = nic->ports[port].clock.lost,
                                     .clock_hz = nic_clock_hz(&nic->ports[port])};
}
