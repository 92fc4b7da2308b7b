/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a port can do, and what we therefore ask of it and do ourselves. Pure: numbers in, a plan
 * and a line of text out; nic.c asks the driver and carries the plan out.
 */
#ifndef TIDEMARK_NIC_PORT_CAPS_H
#define TIDEMARK_NIC_PORT_CAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark/status.h"

/* As rte_eth_dev_info reports it. */
struct port_caps {
    const char *driver;
    uint64_t rx_offload_capa;
    uint64_t tx_offload_capa;
    uint64_t rss_offloads;
    uint32_t max_rx_pktlen;
    uint16_t max_mtu;
    uint16_t min_mtu;
    uint16_t max_rx_queues;
    uint16_t max_tx_queues;
    uint16_t reta_size;
    uint16_t rx_descriptors_max; /* 0: no limit said */
    uint16_t tx_descriptors_max;
    uint16_t tx_segments_max; /* of one frame; 0: no limit said */
    bool has_clock;           /* that can be read: without it its stamps say nothing to us */
};

struct port_wish {
    uint16_t queues;
    uint16_t mtu;
    uint16_t rx_descriptors;
    uint16_t tx_descriptors;
    bool no_offloads; /* everything in software, whatever the port could do */
};

/* How the pool must be built from which the port receives. */
enum pool_flavour {
    POOL_DEFAULT, /* rte_pktmbuf_pool_create */
    POOL_UMEM,    /* af_xdp: objects back to back in one chunk, no IOVA (floors 1.4) */
    POOL_FLAVOUR_COUNT
};

struct port_plan {
    uint64_t rx_offloads;
    uint64_t tx_offloads;
    uint64_t rss_types; /* 0: no RSS, flows are spread in software */
    uint16_t rx_queues;
    uint16_t tx_queues;
    uint16_t rx_descriptors;
    uint16_t tx_descriptors;
    uint16_t mtu;          /* bytes of an IP packet; may be less than wished */
    uint16_t data_room;    /* bytes behind the headroom that one received frame needs */
    uint16_t segments_max; /* a frame of more is copied together */
    uint8_t flavour;       /* enum pool_flavour */
    bool rx_ip_checked;    /* the port verifies IP header sums */
    bool rx_tcp_checked;   /* and TCP sums */
    bool tx_ip_summed;     /* the port fills in IP header sums */
    bool tx_tcp_summed;    /* and TCP sums */
    bool tx_segments_tcp;  /* the port cuts a large TCP packet into segments */
    bool rx_stamped;       /* the port says when a frame arrived */
    bool one_segment;      /* a frame must be one direct mbuf: others are copied together */
};

enum { PORT_LARGE_SEGMENTS = 8 }; /* mbufs of a large TCP packet, its header among them; a card may count them per segment (i40e and ice: 8) */
enum { PORT_TEXT = 512, PORT_AF_XDP_MTU_MAX = 3498, PORT_FRAME_OVERHEAD = 18 };

/* TIDE_REFUSED when the port has no queue at all or cannot carry the smallest mtu. */
TIDE_MUST_USE enum tide_status port_plan_make(const struct port_caps *caps,
                                              const struct port_wish *wish, struct port_plan *ret);

/* The redirection table: entry `i` of it leads to this queue, for so many cores (rss.h) of which the first `queues` have one. */
enum { PORT_RETA_MAX = 2048 };
uint16_t port_reta_queue(uint16_t i, unsigned cores, uint16_t queues);
/* Such a table of `size` entries brings every flow to its own core. */
bool port_reta_agrees(uint16_t size, unsigned cores, uint16_t queues);

/* "net_af_xdp, 1 of 2 queues, ...": what was found and what is done in software. Always ends
 * with NUL; returns the length. */
size_t port_plan_text(const struct port_caps *caps, const struct port_wish *wish,
                      const struct port_plan *plan, char *text, size_t size);

/* A configured port: "vdev:NAME[,ARGUMENTS]", or a PCI address with optional ",ARGUMENTS". */
enum port_kind { PORT_VDEV, PORT_PCI };

enum { PORT_NAME = 64, PORT_ARGUMENTS = 384 };

struct port_device {
    enum port_kind kind;
    char name[PORT_NAME];           /* what ethdev calls it: net_af_xdp0, 0000:03:00.0 */
    char arguments[PORT_ARGUMENTS]; /* without the name, "" when none */
    char interface[PORT_NAME];      /* value of iface=, "" when none */
};

/* TIDE_BAD with a text that says what would have been right. */
TIDE_MUST_USE enum tide_status port_device_parse(const char *text, struct port_device *ret,
                                                 char *error_text, size_t size);

/* Adds the arguments a driver needs to be useful, unless they are given (floors 1.2, 1.4, 8):
 * af_xdp busy_budget=0 and, if `xdp_object` is not NULL, xdp_prog; af_packet the sizes of a ring for packets
 * of `mtu` bytes (0: 1500) and qdisc_bypass=1. TIDE_FULL when they no longer fit. */
TIDE_MUST_USE enum tide_status port_device_complete(struct port_device *d, const char *xdp_object, uint16_t mtu);

/* The longest frame with its checksum that a completed device receives: for af_packet, whose driver names Ethernet's 1518
 * whatever its ring takes, what fits into a frame of the ring; else `otherwise`. */
uint32_t port_device_rx_pktlen(const struct port_device *d, uint32_t otherwise);

#endif
