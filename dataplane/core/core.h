/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One core's world, and its one step function.
 *
 * core_turn() is a bounded turn (design 3): frames -> TCP -> sessions -> requests -> mail -> disk
 * completions -> partitions -> watermarks -> waiters -> timers -> frames. It does no I/O and reads
 * no clock: what came in and what shall go out are in struct core_io. loop.c runs it against a
 * NIC and a disk; the simulator runs the same object file against simulated ones.
 *
 * Owner: its thread. Nothing here is read by another one, except counters and stage histograms.
 *
 * Invariants (core_check):
 *   C1  An orphan has a row in the list exactly as long as it has not been roused for the last time.
 */
#ifndef TIDEMARK_CORE_CORE_H
#define TIDEMARK_CORE_CORE_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/broker.h"
#include "core/orphans.h"
#include "core/roster.h"
#include "core/steer.h"
#include "core/turns.h"
#include "net/net.h"
#include "tcp/tcp.h"
#include "tidemark/counters.h"
#include "tidemark/disk_op.h"
#include "tidemark/mail.h"
#include "tidemark/published.h"

struct core;

enum core_limit {
    CORE_RX_MAX = 64,
    CORE_TX_MAX = 128,
    CORE_DONE_MAX = 64,
    CORE_JOBS_MAX = 64,
    CORE_SOURCE_PORT_FIRST = 61000, /* beyond what Linux takes for itself (ip_local_port_range) */
    CORE_SOURCE_PORT_LAST = 65535,
};

/* What a turn gets and what it gives. The caller empties the outputs before the next turn. */
struct core_io {
    /* in: taken by the turn */
    struct rte_mbuf *rx[CORE_RX_MAX];
    unsigned rx_count;
    struct disk_done done[CORE_DONE_MAX];
    unsigned done_count;
    struct tide_job *jobs_done[CORE_JOBS_MAX];
    unsigned jobs_done_count;
    uint16_t port; /* that carries our addresses now, and its address; as in net_config unless it changed */
    struct rte_ether_addr mac;
    /* out */
    struct rte_mbuf *tx[CORE_TX_MAX];
    unsigned tx_count;
    struct tide_out out;
};

/* Where sessions come in; two may share a port when each has a family. */
struct core_listener {
    uint16_t port;
    uint8_t family; /* 4 or 6: connections to that address of ours only; 0: to both */
};

/* From the cores to control, where the addresses are the kernel's: whom the cores look for. What is found comes as
 * MAIL_NEIGHBOUR, another way out as MAIL_WAY. */
struct core_kernel {
    struct rte_ring *wanted; /* of struct tide_addr; any core sends, control receives */
};
enum { CORE_WANTED = 256 };

struct core_config {
    uint32_t number;
    uint32_t core_count;
    const struct tide_settings *settings;
    struct post_office *office;
    struct tide_publication *publication;
    struct log_core *log_core;
    struct net_config net;
    struct tcp_config tcp;
    struct broker_config broker;     /* its core, office, publication, log_core, counters are filled in */
    struct rte_mempool *receive_pool; /* for the low mark */
    const struct core_listener *listeners; /* by listener number, at most TIDE_LISTENERS_MAX; copied */
    unsigned listener_count;
    uint16_t replication_port;       /* where peers come in; 0: none do */
    uint64_t start_ns;
    struct steer *steer;             /* NULL with one core */
    struct core_kernel *kernel;      /* data.port.shared: how the kernel is asked for neighbours; NULL: we speak ARP ourselves */
    struct steer_ports source_ports; /* of connections that we open; 0: the limits above */
    const struct orphan *orphans;    /* those this core is to rouse; constant as long as it lives */
    uint32_t orphan_count;
    struct roster_place roster;      /* the list of its connections for the next process (core_roster_slots) */
};

/* Slots of a core's list: one of each connection, and behind them the orphans for as long as it has not roused them. */
static inline uint32_t core_roster_slots(uint32_t connections_max, uint32_t orphan_count) { return connections_max + orphan_count; }

struct core *core_create(const struct core_config *); /* [start]; NULL without memory */
/* Every core, before the first is destroyed: what waits at one may be a letter of another. */
void core_forget(struct core *);
void core_destroy(struct core *);

/* One bounded turn. Returns how much was done: 0 means that nothing is left to do before
 * core_deadline_ns() or an outside event. */
unsigned core_turn(struct core *, const struct tide_time *, struct core_io *);
/* The last turn did something, and with all that the caller did since it is over (turns.h). To be told before the core waits. */
void core_on_turn_end(struct core *, uint64_t now_ns);
const struct turns *core_turns(const struct core *); /* [any] */
const struct turn *core_last_turn(const struct core *);
uint64_t core_deadline_ns(const struct core *);
/* Something is waiting that no descriptor tells of: mail or a bell. To be asked once more after
 * `asleep` was set. */
bool core_has_mail(const struct core *);

struct tide_counters *core_counters(struct core *);       /* [any] to read */
struct broker *core_broker(struct core *);
struct tcp_stack *core_tcp(struct core *);
const struct roster *core_roster(const struct core *);
struct post_office *core_office(struct core *);
uint32_t core_number(const struct core *);
/* Gauges copied out by the core each turn that something changed; readers may see old ones. */
/* Every 10 ms, and before the core waits. */
struct core_gauges {
    struct tide_pub64 sessions;
    struct tide_pub64 requests;
    struct tide_pub64 peer_streams;
    struct tide_pub64 feeds;
    struct tide_pub64 follower_lag;
    struct tide_pub64 coordinators, coordinators_loading;
    struct tide_pub64 groups, group_members, group_waits, group_offsets, group_skipped_records;
    struct tide_pub64 group_heap_bytes, group_heap_free_bytes;
    struct tide_pub64 tcp[TCP_STAT_COUNT];
};
const struct core_gauges *core_gauges(const struct core *); /* [any] */
/* Connections as the core last listed them: asked for by one thread, listed by the core over some of
 * its turns, to be read when ready and until asked for again. After asking the core is woken. [control] */
void core_conns_ask(struct core *);
bool core_conns_ready(const struct core *);
const struct tcp_conn_info *core_conns(const struct core *, uint32_t *ret_count);
void core_check(const struct core *);

#endif
