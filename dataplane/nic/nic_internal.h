/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What nic.c (the road of frames) and nic_open.c (start and end) share. For no one else.
 */
#ifndef TIDEMARK_NIC_NIC_INTERNAL_H
#define TIDEMARK_NIC_NIC_INTERNAL_H

#include <stdatomic.h>

#include <rte_ring.h>

#include "nic/nic.h"
#include "nic/pool.h"
#include "nic/port_caps.h"
#include "nic/port_clock.h"
#include "nic/port_watch.h"
#include "nic/tap.h"
#include "tidemark/published.h"

/* Frames ready for one queue of one port, in a circle. Owned by the core of the queue.
 *
 * Published for nic_watch, which compares them over seconds: values of a moment ago are as good. Written only while frames wait, so a port
 * that keeps up costs nothing. */
struct nic_backlog {
    uint16_t head;
    uint16_t count;
    uint16_t seen; /* of them, by the tap */
    uint64_t sent;
    struct tide_pub64 waiting_pub;
    struct tide_pub64 sent_pub;
    struct rte_mbuf *frames[NIC_BACKLOG];
};

/* Constant after nic_open, except what the rings and backlogs hold, and what a restart by nic_watch makes anew while no core
 * touches the port. */
struct nic_port {
    uint16_t id; /* ethdev's number */
    bool is_configured;
    bool is_started;
    bool is_probed; /* the vdev was made by us */
    bool is_promiscuous;
    _Atomic bool is_out;      /* [control] writes; the cores let the port alone while it is set */
    _Atomic bool wants_reset; /* EAL's interrupt thread sets it, control takes it */
    bool hears_events;
    bool restart_failed;
    uint64_t quiet; /* token of the grace period after is_out was set */
    unsigned group_count;
    struct rte_ether_addr groups[NIC_GROUPS_MAX]; /* to be heard again after a restart */
    int claim_fd;   /* of its kernel interface; -1: there is none, or an earlier port has it */
    struct port_device device;
    struct port_plan plan;
    struct rte_ether_addr mac;
    char beside[64]; /* the kernel's interface of a card that both use; "" */
    uint16_t reta_size;
    int node; /* of NUMA; -1: not known */
    bool spreads; /* key and table are ours, asked and answered */
    char driver[64];
    /* Which of the models the cores use, plus one; 0: none. Of control, with the clock; the model that it leads to is written before, and
     * again only after every core has passed a quiet point since it led away: an old one is used for the rest of a turn. */
    struct tide_pub64 model_pub;
    struct port_clock_model models[2];
    struct port_clock clock;
    bool models_busy;      /* model_pub was changed, and cores may still look at the other model */
    uint64_t models_quiet; /* token of the grace period since then */
    uint64_t socket_dropped; /* of sockets that count from each look on */
    struct rte_mempool *rx_pool;
    int wait_fds[TIDE_CORES_MAX];
    struct nic_backlog *backlogs[TIDE_CORES_MAX]; /* NULL for a core without a tx queue */
    struct rte_ring *handover[TIDE_CORES_MAX];    /* for exactly those */
};

/* One core's own words. */
struct nic_core {
    struct tide_counters *counters;
    unsigned next_port; /* the one whose turn it is to be received from first */
} __rte_cache_aligned;

struct nic {
    struct nic_config config;
    unsigned port_count;
    struct tide_pub64 active_pub; /* the port that carries the address; an old value costs frames that TCP sends again */
    struct port_watch watch;      /* of control */
    struct tap tap;
    bool tap_has_token;
    uint64_t tap_quiet; /* token of the grace period after the tap was turned off */
    int xdp_object_fd; /* -1 when there is none */
    struct rte_mempool *rx_pools[POOL_FLAVOUR_COUNT];
    struct rte_mempool *tx_pool;
    struct nic_port ports[TIDE_PORTS_MAX];
    struct nic_core cores[TIDE_CORES_MAX];
};

/* [start] After the port was started: has it spread flows as the cores expect. Sets p->spreads; the text is for the log, ""
 * when nothing is to be spread. */
void nic_rss_apply(struct nic_port *p, unsigned cores, char *text, size_t size);

static inline bool nic_is_out(const struct nic_port *p)
{
    return atomic_load_explicit(&p->is_out, memory_order_acquire);
}

void nic_log_line(const struct nic *nic, const char *line);
/* [control] Starts a port that no core touches anew, with a reset of the device if wanted. The text says what failed. */
TIDE_MUST_USE enum tide_status nic_port_restart(struct nic *nic, unsigned index, bool with_reset, char *error_text, size_t size);
__attribute__((format(printf, 3, 4))) void nic_tell(const struct nic *nic, unsigned index, const char *format, ...);
/* nic_clock.c. A port's clock can be read; [control] it is read when that is due; it is not what it was; its rate, 0: not known. */
bool nic_clock_is_there(uint16_t id);
void nic_clock_look(struct nic *nic, uint64_t now_ns, const struct tide_grace *grace, unsigned index);
void nic_clock_forget(struct nic_port *p, const struct tide_grace *grace);
double nic_clock_hz(const struct nic_port *p);
void nic_watch_begin(struct nic *nic); /* [start] */
void nic_watch_end(struct nic_port *p);

#endif
