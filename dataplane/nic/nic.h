/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ports: the only caller of ethdev and EAL.
 *
 * One struct nic per process. Opening, closing and reports belong to the thread that started EAL;
 * nic_rx, nic_tx and nic_tx_waiting with a queue number belong to the core of that
 * number. Cores and queues have the same numbers: core q owns queue q of every port. A port with
 * fewer queues than cores is received from by its first cores only; the frames that other cores
 * send through it go by a ring (one sender, one receiver) to core q % tx_queues, which sends them
 * in its own nic_tx.
 *
 * One port carries the address at a time, and only its frames come up; the others stand by (port_watch.h). While a port is
 * started anew no core touches it: what is to go through it is dropped and counted, as is what finds no room at one that stands by.
 *
 * Frames of a port that stamps them, and whose clock can be read, say when they arrived (arrival.h); which ports do is in the start-up log.
 *
 * m->port of a received frame is the index of the port here (0 .. nic_port_count - 1), and the
 * same number in a frame handed to nic_tx chooses the port.
 *
 * Invariants (nic_check):
 *   C1  a backlog holds at most NIC_BACKLOG frames, each of them ready for its port: sums filled
 *       in, one segment where the port takes one.
 */
#ifndef TIDEMARK_NIC_NIC_H
#define TIDEMARK_NIC_NIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <rte_ether.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

#include "tidemark/counters.h"
#include "tidemark/grace.h"
#include "tidemark/status.h"
#include "tidemark/types.h"

enum nic_limit {
    NIC_BACKLOG = 512,  /* frames prepared for a port's queue that its ring refused */
    NIC_HANDOVER = 512, /* frames on their way from a core without a queue */
    NIC_ERROR_TEXT = 1024, /* room that suffices for every error_text */
};

enum nic_memory {
    NIC_MEMORY_AUTO, /* hugepages when enough are free, ordinary pages otherwise */
    NIC_MEMORY_HUGEPAGES,
    NIC_MEMORY_PAGES,
    NIC_MEMORY_COUNT
};

struct nic_eal_config {
    const char *file_prefix; /* unique per process of the machine */
    const char *lcores;      /* EAL's map, for example "0@1,1@2"; NULL: one lcore that floats */
    enum nic_memory memory;
    unsigned memory_mb;
    const char *const *devices; /* as in nic_config: PCI addresses are allowed to EAL here */
    unsigned device_count;
    const char *extra_args; /* dpdk.args, split at blanks; NULL: none */
    bool telemetry;
    bool verbose; /* EAL's own start-up lines; errors are always shown */
};

/* [start] Starts EAL, once per process. 0, or a negative errno; EAL has then said why on stderr.
 * A device string that nic_open would refuse is ignored here. Vdevs are made by nic_open, so that
 * a failure names the port. */
int nic_eal_start(const struct nic_eal_config *config);
/* [start] Ends EAL; after nic_close. */
void nic_eal_stop(void);

/* EAL's argument vector, built but not used: for nic_eal_start and its test. */
enum { NIC_EAL_ARGS = 64, NIC_EAL_ARGS_TEXT = 2048 };
struct nic_eal_args {
    int count;
    char *values[NIC_EAL_ARGS + 1]; /* NULL behind the last */
    char text[NIC_EAL_ARGS_TEXT];
};
/* `free_huge_mb` is what NIC_MEMORY_AUTO decides by. TIDE_FULL: too many or too long. */
TIDE_MUST_USE enum tide_status nic_eal_args(const struct nic_eal_config *config,
                                            unsigned free_huge_mb, struct nic_eal_args *ret);

struct nic_config {
    const char *const *devices; /* "vdev:net_af_xdp0,iface=veth0" or "0000:03:00.0[,args]" */
    unsigned device_count;      /* 1 .. TIDE_PORTS_MAX */
    unsigned queues;            /* wanted: the number of cores, 1 .. TIDE_CORES_MAX */
    uint16_t mtu;               /* 0: 1500 */
    uint16_t rx_descriptors;    /* 0: 1024 */
    uint16_t tx_descriptors;    /* 0: 1024 */
    unsigned rx_mbufs;          /* per flavour of pool; 0: 16384 */
    unsigned tx_mbufs;          /* 0: 16384 */
    bool promiscuous;
    bool accept_partial_checksum; /* data.rx.checksum.partial=accept */
    bool no_offloads;             /* data.offload=off: sums and joining in software on every port */
    const struct nic_share *share; /* data.port.shared: what is ours of a port that the host uses, too; NULL: all. Outlives the nic */
    bool take_default_route;      /* data.port.take.default.route */
    uint64_t stuck_ns;            /* data.port.stuck.ms; 0: never */
    /* counters[q] is written by core q alone. All `queues` of them are given. */
    struct tide_counters *counters[TIDE_CORES_MAX];
    /* One line of the start-up log, without newline. NULL: stderr. */
    void (*log_line)(void *opaque, const char *line);
    void *log_opaque;
};

struct nic_share; /* share.h */
struct tap_wish;  /* tap.h */
struct nic;

/* [start] Opens and starts all ports. TIDE_ABSENT: a device does not exist, TIDE_BAD: its string
 * makes no sense, TIDE_REFUSED: it cannot do what is needed, TIDE_IO: the driver failed,
 * TIDE_FULL: not enough memory. error_text then says what, and what there is instead. */
TIDE_MUST_USE enum tide_status nic_open(struct nic **ret, const struct nic_config *config,
                                        char *error_text, size_t size);
/* [start] Stops the ports and frees the frames still in backlogs and the pools. No core uses the
 * nic any more and nobody holds an mbuf of its pools. */
void nic_close(struct nic *nic);

/* [start] Has the port receive frames to these Ethernet groups as well: by its filter, or if it has none for that, all
 * groups, or everything; the layer above drops what is not ours. Logs which. A port that can do none of these is taken to
 * filter nothing. At most NIC_GROUPS_MAX. */
enum { NIC_GROUPS_MAX = 8 };
void nic_hear_groups(struct nic *nic, unsigned port, const struct rte_ether_addr *groups, unsigned count);

/* [core] Up to `max` (at most TIDE_BURST per port are asked for) frames of this core's queues, the
 * ports in turn. Sums are verified; bad and partial ones are counted and freed. */
unsigned nic_rx(struct nic *nic, unsigned queue, struct rte_mbuf **frames, unsigned max);

/* [core] Takes frames[0 .. returned); the rest stays the caller's. A frame taken is sent, or waits
 * in the backlog of its port, and is tried again by every later call: call it once a turn, also
 * with count 0. That call moves what cores without a queue have handed over, too. A frame is not
 * taken when its port carries the address and has a full backlog, or when no mbuf is left to copy it into; it is taken,
 * freed and counted (tx_port_out) when another port is full or its port is out, and (tx_refused) when its port
 * cannot carry it at all. */
unsigned nic_tx(struct nic *nic, unsigned queue, struct rte_mbuf **frames, unsigned count);

/* [core] Frames in the backlogs and hand-over rings of this core: do not sleep long while > 0. */
unsigned nic_tx_waiting(const struct nic *nic, unsigned queue);
/* The core that sends for core `queue` on that port: itself, or the one to wake after nic_tx. */
unsigned nic_tx_core(const struct nic *nic, unsigned port, unsigned queue);

/* Descriptor that poll(2) and io_uring report readable while frames wait in that queue; -1 if the
 * driver has none. Stays owned by the driver: do not read from it, do not close it. */
int nic_wait_fd(const struct nic *nic, unsigned port, unsigned queue);

struct nic_port_info {
    char name[64];
    char interface[64]; /* the kernel's, where there is one beneath or beside it; else "" */
    char driver[64];
    struct rte_ether_addr mac;
    uint16_t mtu;
    uint16_t rx_queues;
    uint16_t tx_queues;
    uint16_t reta_size;
    int node; /* of NUMA; -1: not known */
    bool rss; /* the port brings flows to the cores that rss.h says; false: in its own way, or one queue */
};

unsigned nic_port_count(const struct nic *nic);
void nic_port_info(const struct nic *nic, unsigned port, struct nic_port_info *ret);
/* Every port cuts large TCP packets into segments (RTE_MBUF_F_TX_TCP_SEG with tso_segsz). */
bool nic_cuts_tcp(const struct nic *nic);
/* The smallest mtu of all ports. */
uint16_t nic_mtu(const struct nic *nic);
/* [any] Asks the driver without waiting. */
bool nic_link_up(const struct nic *nic, unsigned port);

/* Pool that frames of the port come from, and the pool for frames to be sent. */
struct rte_mempool *nic_rx_pool(const struct nic *nic, unsigned port);
struct rte_mempool *nic_tx_pool(const struct nic *nic);

/* Conservation of buffers: how many each pool has and how many are free. With traffic at rest
 * the free ones are what they were after nic_open. */
struct nic_pools_report {
    struct {
        unsigned total;
        unsigned free;
    } rx[2], tx; /* rx by enum pool_flavour; total 0: not used */
};
void nic_pools_report(const struct nic *nic, struct nic_pools_report *ret);

/* [control] Looks after the ports: links, resets, rings that stand still, and which port carries the address. To be called
 * some twenty times a second while the cores run; `grace` tells when they have passed quiet points. Logs what happens. */
void nic_watch(struct nic *nic, uint64_t now_ns, const struct tide_grace *grace);
/* [any] The port that carries the address; changed by nic_watch alone. */
unsigned nic_active_port(const struct nic *nic);

struct nic_watch_report {
    bool is_active;
    bool is_in; /* false: it is being started anew */
    uint64_t downs, stucks, resets, restarts;
    uint64_t failovers; /* of all ports */
    bool stamps;        /* it says when a frame arrived (arrival.h) */
    bool clock_known;   /* and its clock is known: the stamps are used */
    uint64_t clock_losses; /* times it was not what had been foreseen, or could not be read */
    double clock_hz;       /* 0: not known */
};
void nic_watch_report(const struct nic *nic, unsigned port, struct nic_watch_report *ret); /* [control] */

/* [control] Copies of the frames of all ports, for a capture (tap.h): begun, taken as pcapng blocks, ended. nic_capture_begin writes the
 * beginning of the file. One at a time: TIDE_EXISTS; TIDE_FULL: no memory. */
TIDE_MUST_USE enum tide_status nic_capture_begin(struct nic *nic, const struct tap_wish *wish, FILE *f);
void nic_capture_take(struct nic *nic, FILE *f);
void nic_capture_end(struct nic *nic);

/* [start] Frames that never reached nic_rx, as the driver or its socket counts them. */
struct nic_losses {
    uint64_t missed;    /* the receive ring was full */
    uint64_t no_buffer; /* the receive pool was empty */
    uint64_t errors;
    uint64_t tx_errors;
};
void nic_losses(struct nic *nic, unsigned port, struct nic_losses *ret);

/* [core] Walks the backlogs of one core. */
void nic_check(const struct nic *nic, unsigned queue);

#endif
