/* SPDX-License-Identifier: Apache-2.0 */
#include "nic/nic.h"

#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rte_ethdev.h>

#include "nic/nic_internal.h"
#include "nic/nic_socket.h"
#include "nic/soft.h"
#include "tidemark/arrival.h"
#include "tidemark/assert.h"

/* True when the frame may go on; otherwise it has been counted and freed. */
static bool rx_accept(const struct nic *nic, const struct nic_port *p, struct tide_counters *c,
                      struct rte_mbuf *m)
{
    switch (soft_rx_check(m, p->plan.rx_ip_checked, p->plan.rx_tcp_checked)) {
    case SOFT_PASS:
        return true;
    case SOFT_PARTIAL:
        tide_count(c, COUNTER_rx_csum_partial);
        if (nic->config.accept_partial_checksum)
            return true;
        break;
    case SOFT_BAD:
        tide_count(c, COUNTER_rx_csum_bad);
        break;
    }
    rte_pktmbuf_free(m);
    return false;
}

/* Turns what the card's clock said into our time. */
static void tell_arrivals(const struct nic_port *p, struct tide_counters *c, struct rte_mbuf **frames, unsigned count)
{
    uint64_t which = tide_pub64_peek(&p->model_pub);
    unsigned stamped = 0, told = 0;
    for (unsigned i = 0; i < count; i++) {
        struct rte_mbuf *m = frames[i];
        if (!tide_arrival_is_stamped(m))
            continue;
        stamped++;
        if (which != 0 && port_clock_ns(&p->models[which - 1], *tide_arrival_stamp(m), tide_arrival_stamp(m)))
            told++;
        else
            m->ol_flags &= ~tide_arrival_field.flag;
    }
    tide_count_many(c, COUNTER_rx_stamped, told);
    tide_count_many(c, COUNTER_rx_stamps_unused, stamped - told);
}

static unsigned rx_port(struct nic *nic, unsigned index, unsigned queue,
                        struct rte_mbuf **frames, unsigned max)
{
    const struct nic_port *p = &nic->ports[index];
    struct tide_counters *c = nic->cores[queue].counters;
    uint64_t bytes = 0;
    unsigned kept = 0;
    uint16_t got = rte_eth_rx_burst(p->id, (uint16_t)queue, frames,
                                    (uint16_t)TIDE_MIN(max, (unsigned)TIDE_BURST));
    if (got == 0)
        return 0;
    if (tap_is_on(&nic->tap))
        tap_see(&nic->tap, queue, frames, got, (uint16_t)index, false);
    if (index != nic_active_port(nic)) { /* what is sent to all is heard by the other port, too */
        tide_count_many(c, COUNTER_rx_standby, got);
        rte_pktmbuf_free_bulk(frames, got);
        return 0;
    }
    if (p->plan.rx_stamped)
        tell_arrivals(p, c, frames, got);
    for (unsigned i = 0; i < got; i++) {
        struct rte_mbuf *m = frames[i];
        bytes += m->pkt_len;
        m->port = (uint16_t)index;
        if (rx_accept(nic, p, c, m))
            frames[kept++] = m;
    }
    tide_count_many(c, COUNTER_rx_frames, got);
    tide_count_many(c, COUNTER_rx_bytes, bytes);
    return kept;
}

unsigned nic_rx(struct nic *nic, unsigned queue, struct rte_mbuf **frames, unsigned max)
{
    struct nic_core *core = &nic->cores[queue];
    unsigned got = 0;
    unsigned first = core->next_port;
    core->next_port = (first + 1) % nic->port_count;
    for (unsigned i = 0; i < nic->port_count && got < max; i++) {
        unsigned index = (first + i) % nic->port_count;
        if (queue < nic->ports[index].plan.rx_queues && !nic_is_out(&nic->ports[index]))
            got += rx_port(nic, index, queue, frames + got, max - got);
    }
    return got;
}

static unsigned backlog_room(const struct nic_backlog *b)
{
    return NIC_BACKLOG - b->count;
}

static void backlog_push(struct nic_backlog *b, struct rte_mbuf *m)
{
    TIDE_ASSERT(b->count < NIC_BACKLOG); /* C1 */
    b->frames[(b->head + b->count) % NIC_BACKLOG] = m;
    b->count++;
}

/* Hands over one run of the circle that lies in one piece. Returns how many went. */
static unsigned send_run(struct nic *nic, const struct nic_port *p, unsigned queue, struct nic_backlog *b,
                         struct tide_counters *c)
{
    struct rte_mbuf **run = &b->frames[b->head];
    uint16_t wanted = (uint16_t)TIDE_MIN(b->count, NIC_BACKLOG - b->head);
    uint64_t bytes = 0;
    for (unsigned i = 0; i < wanted; i++)
        bytes += run[i]->pkt_len;
    if (tap_is_on(&nic->tap) && b->seen < wanted) { /* before the port has them: afterwards they may be gone */
        tap_see(&nic->tap, queue, run + b->seen, wanted - b->seen, (uint16_t)(p - nic->ports), true);
        b->seen = wanted;
    }
    uint16_t sent = rte_eth_tx_burst(p->id, (uint16_t)queue, run, wanted);
    for (unsigned i = sent; i < wanted; i++)
        bytes -= run[i]->pkt_len;
    b->head = (uint16_t)((b->head + sent) % NIC_BACKLOG);
    b->count = (uint16_t)(b->count - sent);
    b->seen = (uint16_t)(b->seen - TIDE_MIN(b->seen, sent));
    b->sent += sent;
    tide_count_many(c, COUNTER_tx_frames, sent);
    tide_count_many(c, COUNTER_tx_bytes, bytes);
    return sent;
}

static void flush_backlog(struct nic *nic, const struct nic_port *p, unsigned queue, struct tide_counters *c)
{
    struct nic_backlog *b = p->backlogs[queue];
    /* Two runs when the circle wraps; none more when the ring takes nothing. */
    while (b->count != 0 && send_run(nic, p, queue, b, c) != 0)
        ;
    if (b->count != 0 || tide_pub64_own(&b->waiting_pub) != 0) {
        tide_pub64_set(&b->sent_pub, b->sent);
        tide_pub64_set(&b->waiting_pub, b->count);
    }
}

/* Moves what other cores gave us for this port into the backlog, as far as it has room. */
static void take_handover(const struct nic_port *p, unsigned queue, unsigned queues)
{
    struct nic_backlog *b = p->backlogs[queue];
    struct rte_mbuf *m;
    for (unsigned other = p->plan.tx_queues; other < queues; other++) {
        if (other % p->plan.tx_queues != queue)
            continue;
        while (backlog_room(b) != 0 && rte_ring_sc_dequeue(p->handover[other], (void **)&m) == 0)
            backlog_push(b, m);
    }
}

static enum tide_status refuse(struct tide_counters *c, struct rte_mbuf *m)
{
    tide_count(c, COUNTER_tx_refused);
    rte_pktmbuf_free(m);
    return TIDE_REFUSED;
}

/* Makes *m what the port can send. TIDE_FULL: untouched, later perhaps; TIDE_REFUSED: freed. */
static enum tide_status make_ready(const struct nic *nic, const struct nic_port *p,
                                   struct tide_counters *c, struct rte_mbuf **m)
{
    bool scattered = p->plan.one_segment && soft_is_scattered(*m);
    bool cut = ((*m)->ol_flags & RTE_MBUF_F_TX_TCP_SEG) != 0; /* by the port; the layer above looked at the pieces */
    if (cut ? !p->plan.tx_segments_tcp : (*m)->pkt_len > (uint32_t)p->plan.mtu + PORT_FRAME_OVERHEAD)
        return refuse(c, *m);
    if (scattered || (*m)->nb_segs > p->plan.segments_max) {
        switch (soft_linearise(*m, nic->tx_pool, m)) {
        case TIDE_OK:
            tide_count(c, COUNTER_tx_linearised);
            break;
        case TIDE_FULL:
            tide_count(c, COUNTER_mbuf_empty);
            return TIDE_FULL;
        default:
            return refuse(c, *m);
        }
    }
    soft_tx_sums(*m, !p->plan.tx_ip_summed, !p->plan.tx_tcp_summed);
    return TIDE_OK;
}

/* What drivers want to have seen of a frame with offloads, where they have a say in it. */
static bool driver_agrees(const struct nic_port *p, unsigned queue, struct rte_mbuf **m)
{
    if (!p->plan.tx_ip_summed && !p->plan.tx_tcp_summed)
        return true;
    return rte_eth_tx_prepare(p->id, (uint16_t)queue, m, 1) == 1;
}

/* TIDE_FULL: the frame is still the caller's. */
static enum tide_status take_frame(struct nic *nic, unsigned queue, struct rte_mbuf *m)
{
    struct tide_counters *c = nic->cores[queue].counters;
    struct nic_port *p = &nic->ports[m->port < nic->port_count ? m->port : 0];
    struct nic_backlog *b = p->backlogs[queue];
    bool is_out = nic_is_out(p);
    if (is_out || (b != NULL ? backlog_room(b) == 0 : rte_ring_full(p->handover[queue]))) {
        if (!is_out && p == &nic->ports[nic_active_port(nic)])
            return TIDE_FULL;
        tide_count(c, COUNTER_tx_port_out); /* who waited for this port would hold up what goes to the active one */
        rte_pktmbuf_free(m);
        return TIDE_REFUSED;
    }
    enum tide_status s = make_ready(nic, p, c, &m);
    if (s != TIDE_OK)
        return s;
    if (!driver_agrees(p, queue % p->plan.tx_queues, &m))
        return refuse(c, m);
    if (b != NULL)
        backlog_push(b, m);
    else if (!TIDE_EXPECT(rte_ring_sp_enqueue(p->handover[queue], m) == 0))
        return refuse(c, m);
    return TIDE_OK;
}

static void flush_all(struct nic *nic, unsigned queue)
{
    for (unsigned i = 0; i < nic->port_count; i++) {
        struct nic_port *p = &nic->ports[i];
        if (p->backlogs[queue] == NULL || nic_is_out(p))
            continue;
        take_handover(p, queue, nic->config.queues);
        flush_backlog(nic, p, queue, nic->cores[queue].counters);
    }
}

unsigned nic_tx(struct nic *nic, unsigned queue, struct rte_mbuf **frames, unsigned count)
{
    unsigned taken = 0;
    while (taken < count && take_frame(nic, queue, frames[taken]) != TIDE_FULL)
        taken++;
    flush_all(nic, queue);
    /* What did not fit may fit now that the ring has had its chance. */
    if (taken < count) {
        while (taken < count && take_frame(nic, queue, frames[taken]) != TIDE_FULL)
            taken++;
        flush_all(nic, queue);
    }
    return taken;
}

unsigned nic_tx_waiting(const struct nic *nic, unsigned queue)
{
    unsigned waiting = 0;
    for (unsigned i = 0; i < nic->port_count; i++) {
        const struct nic_port *p = &nic->ports[i];
        if (p->backlogs[queue] == NULL || nic_is_out(p))
            continue;
        waiting += p->backlogs[queue]->count;
        for (unsigned q = p->plan.tx_queues; q < nic->config.queues; q++)
            if (q % p->plan.tx_queues == queue)
                waiting += rte_ring_count(p->handover[q]);
    }
    return waiting;
}

unsigned nic_tx_core(const struct nic *nic, unsigned port, unsigned queue)
{
    return queue % nic->ports[port].plan.tx_queues;
}

int nic_wait_fd(const struct nic *nic, unsigned port, unsigned queue)
{
    if (port >= nic->port_count || queue >= nic->ports[port].plan.rx_queues)
        return -1;
    return nic->ports[port].wait_fds[queue];
}

unsigned nic_active_port(const struct nic *nic)
{
    return (unsigned)tide_pub64_peek(&nic->active_pub);
}

unsigned nic_port_count(const struct nic *nic)
{
    return nic->port_count;
}

void nic_port_info(const struct nic *nic, unsigned port, struct nic_port_info *ret)
{
    const struct nic_port *p = &nic->ports[port];
    *ret = (struct nic_port_info){
        .mac = p->mac,
        .mtu = p->plan.mtu,
        .rx_queues = p->plan.rx_queues,
        .tx_queues = p->plan.tx_queues,
        .reta_size = p->reta_size,
        .node = p->node,
        .rss = p->spreads,
    };
    snprintf(ret->name, sizeof(ret->name), "%s", p->device.name);
    snprintf(ret->interface, sizeof(ret->interface), "%s", p->beside[0] != 0 ? p->beside : p->device.interface);
    snprintf(ret->driver, sizeof(ret->driver), "%s", p->driver);
}

bool nic_cuts_tcp(const struct nic *nic)
{
    for (unsigned i = 0; i < nic->port_count; i++)
        if (!nic->ports[i].plan.tx_segments_tcp)
            return false;
    return true;
}

uint16_t nic_mtu(const struct nic *nic)
{
    uint16_t mtu = UINT16_MAX;
    for (unsigned i = 0; i < nic->port_count; i++)
        mtu = TIDE_MIN(mtu, nic->ports[i].plan.mtu);
    return mtu;
}

/* Drivers of a kernel's interface call it up for ever; the kernel knows. */
static bool kernel_says_down(const struct nic_port *p)
{
    struct ifreq r = {0};
    int fd;
    bool down;
    if (p->device.interface[0] == 0 || (fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) < 0)
        return false;
    snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", p->device.interface);
    down = ioctl(fd, SIOCGIFFLAGS, &r) == 0 && (r.ifr_flags & IFF_RUNNING) == 0;
    close(fd);
    return down;
}

bool nic_link_up(const struct nic *nic, unsigned port)
{
    struct rte_eth_link link;
    if (kernel_says_down(&nic->ports[port]))
        return false;
    if (rte_eth_link_get_nowait(nic->ports[port].id, &link) != 0)
        return false;
    return link.link_status == RTE_ETH_LINK_UP;
}

struct rte_mempool *nic_rx_pool(const struct nic *nic, unsigned port)
{
    return nic->ports[port].rx_pool;
}

struct rte_mempool *nic_tx_pool(const struct nic *nic)
{
    return nic->tx_pool;
}

void nic_pools_report(const struct nic *nic, struct nic_pools_report *ret)
{
    *ret = (struct nic_pools_report){0};
    for (unsigned i = 0; i < POOL_FLAVOUR_COUNT; i++) {
        if (nic->rx_pools[i] == NULL)
            continue;
        ret->rx[i].total = nic->rx_pools[i]->size;
        ret->rx[i].free = rte_mempool_avail_count(nic->rx_pools[i]);
    }
    ret->tx.total = nic->tx_pool->size;
    ret->tx.free = rte_mempool_avail_count(nic->tx_pool);
}

void nic_losses(struct nic *nic, unsigned port, struct nic_losses *ret)
{
    struct nic_port *p = &nic->ports[port];
    struct rte_eth_stats stats = {0};
    uint64_t dropped = 0;
    (void)rte_eth_stats_get(p->id, &stats);
    for (unsigned q = 0; q < p->plan.rx_queues; q++) {
        int restarts;
        uint64_t n = p->wait_fds[q] < 0 ? 0 : nic_socket_dropped(p->wait_fds[q], &restarts);
        if (n != 0 && restarts)
            p->socket_dropped += n;
        else
            dropped += n;
    }
    *ret = (struct nic_losses){
        .missed = TIDE_MAX(stats.imissed, dropped + p->socket_dropped),
        .no_buffer = stats.rx_nombuf,
        .errors = stats.ierrors,
        .tx_errors = stats.oerrors,
    };
}

void nic_check(const struct nic *nic, unsigned queue)
{
    const char *reason;
    for (unsigned i = 0; i < nic->port_count; i++) {
        const struct nic_port *p = &nic->ports[i];
        const struct nic_backlog *b = p->backlogs[queue];
        if (b == NULL)
            continue;
        TIDE_ASSERT(b->count <= NIC_BACKLOG); /* C1 */
        for (unsigned k = 0; k < b->count; k++) {
            const struct rte_mbuf *m = b->frames[(b->head + k) % NIC_BACKLOG];
            TIDE_ASSERT(rte_mbuf_check(m, 1, &reason) == 0);            /* C1 */
            TIDE_ASSERT(!p->plan.one_segment || !soft_is_scattered(m)); /* C1 */
        }
    }
}
