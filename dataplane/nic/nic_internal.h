/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What nic.c (the road of frames) and nic_open.c (start and end) share. For no one else.
 */
#ifndef TIDEMARK_NIC_NIC_INTERNAL_H
#define TIDEMARK_NIC_NIC_INTERNAL_H

#include <rte_ring.h>

#include "nic/nic.h"
#include "nic/pool.h"
#include "nic/port_caps.h"

/* Frames ready for one queue of one port, in a circle. Owned by the core of the queue. */
struct nic_backlog {
    uint16_t head;
    uint16_t count;
    struct rte_mbuf *frames[NIC_BACKLOG];
};

/* Constant after nic_open, except what the rings and backlogs hold. */
struct nic_port {
    uint16_t id; /* ethdev's number */
    bool is_configured;
    bool is_started;
    bool is_probed; /* the vdev was made by us */
    bool is_promiscuous;
    int claim_fd;   /* of its kernel interface; -1: there is none, or an earlier port has it */
    struct port_device device;
    struct port_plan plan;
    struct rte_ether_addr mac;
    uint16_t reta_size;
    int node; /* of NUMA; -1: not known */
    bool spreads; /* key and table are ours, asked and answered */
    char driver[64];
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
    int xdp_object_fd; /* -1 when there is none */
    struct rte_mempool *rx_pools[POOL_FLAVOUR_COUNT];
    struct rte_mempool *tx_pool;
    struct nic_port ports[TIDE_PORTS_MAX];
    struct nic_core cores[TIDE_CORES_MAX];
};

/* [start] After the port was started: has it spread flows as the cores expect. Sets p->spreads; the text is for the log, ""
 * when nothing is to be spread. */
void nic_rss_apply(struct nic_port *p, unsigned cores, char *text, size_t size);

#endif
