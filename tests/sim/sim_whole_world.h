/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole brokers in virtual time. Each machine has its cores (sim_machine.h) and its control: the product's own control.c with
 * node, quorum, replicas, views and admin APIs, over one disk (sim_fs.h) that holds logs, the quorum's files and meta.properties.
 *
 * What the simulator has in place of the product: the loops (control_loop.c, core/loop.c) and their clocks, the management
 * network and libuv's pool (edge/mgmt.c: sim_control_world.h), NIC, disk and helpers, the lock of a data directory, and boot.c.
 *
 * Every machine has a clock of its own, which control and cores share. Grace periods are the real ones: a core is online
 * during its turns, and at times for a while behind them, as a polling one is.
 */
#ifndef TIDEMARK_TESTS_SIM_WHOLE_WORLD_H
#define TIDEMARK_TESTS_SIM_WHOLE_WORLD_H

#include "control/internal.h"
#include "node/node.h"
#include "sim_client.h"
#include "sim_control_world.h"
#include "sim_machine.h"
#include "sim_wire.h"

struct whole;

/* Replicas by place: those of the client's topic, then the one of __consumer_offsets. */
enum { SIM_PLACES = SIM_PARTITIONS_MAX + 1 };

struct machine {
    struct whole *whole;
    unsigned id; /* broker id - 1 */
    struct host *host; /* its node, clock, management network; host->alive: the process runs */
    struct sim_machine data;
    struct tide_settings settings;
    struct cluster_config birth[CLUSTER_BIRTH_CONFIGS_MAX];
    struct rte_rcu_qsbr *qsbr;
    void *qsbr_memory;
    struct rte_mempool *orders;
    struct dirs *dirs;
    struct quorum_files *files;
    struct control *control;
    struct partition *partitions[SIM_PLACES];
    struct sim_job jobs[SIM_JOBS_MAX]; /* of control; local time */
    unsigned job_count;
    bool online[SIM_CORES_MAX];
    uint64_t quiet_ns[SIM_CORES_MAX];       /* when a core that stayed online behind its turn goes offline */
    uint64_t stalled_until_ns[SIM_CORES_MAX]; /* it does not turn */
    uint64_t ring_ns; /* control's doorbell; TIDE_NEVER: silent */
    uint64_t boot_ns;
    uint64_t ill_until_ns; /* its disk is; 0: it is well */
    uint64_t dark_until_ns; /* its port has no link */
    int64_t wall_jump_ms;
    bool stopping; /* was asked to */
    bool ended, clean; /* as control said */
    uint64_t starts, failed_starts;
    /* as last looked at */
    int64_t log_end[SIM_PLACES], durable_end[SIM_PLACES], high[SIM_PLACES];
    int32_t high_epoch[SIM_PLACES];
    bool was_leader[SIM_PLACES];
};

/* The newest committed metadata that any broker has. */
struct committed {
    int32_t leader; /* broker number, -1 */
    int32_t leader_epoch, partition_epoch;
    int32_t unclean_epoch; /* -1: none */
    uint32_t isr; /* bit per broker */
    uint32_t replicas;
    uint64_t led_since_ns; /* leader_epoch stands */
};

struct whole {
    struct world w; /* time and chance are its */
    struct sim_wire wire;
    struct sim_client client;
    const struct sim_pools *pools;
    struct machine machines[SIM_BROKERS_MAX];
    unsigned brokers, voters, partitions;
    unsigned places; /* partitions, and that of groups */
    uint32_t core_count;
    struct tide_uuid cluster_id;
    uint64_t seed, begin_ns, turns, control_turns;
    uint64_t session_ms;
    bool calm, trace;
    bool memory; /* the client's topic has ack.durability=memory */
    bool loses;  /* and all that have it may fall: then an election is unclean, and what it takes back is gone */
    bool fallen, was_ill; /* and somebody has lost what was there, of whom the cluster does not know it yet; with a disk that was ill */
    const char *what_fails; /* a mutant's name, for the line that shows it again; NULL */
    uint64_t newest; /* index */
    struct committed committed[SIM_PLACES];
    int64_t committed_end[SIM_PLACES];
    bool fenced[SIM_BROKERS_MAX];
    int64_t epochs[SIM_BROKERS_MAX];
    uint64_t fences, elections, losses;
    int32_t lost_epoch[SIM_PLACES]; /* the unclean one in which the client was told what is gone, -1 none */
    int leader_of_epoch[SIM_PLACES][4096]; /* P8 */
};

void whole_init(struct whole *, uint64_t seed, const struct sim_pools *);
void whole_deinit(struct whole *);
_Noreturn void whole_fail(const struct whole *, const char *what);
void whole_trace(const struct whole *, const char *format, ...) __attribute__((format(printf, 2, 3)));
uint64_t whole_local(const struct whole *, const struct machine *);

/* The process starts, as boot.c does it. It may fail, with a disk that is ill: then it is tried again. */
void machine_boot(struct machine *);
/* The process is gone. */
void machine_halt(struct machine *, enum sim_crash);
/* In good order: it ends by itself. */
void machine_stop(struct machine *);
/* What the metadata say of a place; NULL: nothing yet. */
const struct cluster_partition *whole_place(const struct whole *, const struct cluster *, unsigned place);
bool machine_runs(const struct machine *); /* it is there, and not paused */

/* One step of everything. */
void whole_step(struct whole *, uint64_t until_ns);
const struct cluster *whole_newest(const struct whole *);

/* sim_whole_checks.c: at every step. */
void checks_on_metadata(struct whole *, struct machine *);
void checks_on_turn(struct machine *, uint32_t core);
/* P1 promises what one member of the ISR has who lives on: with ack.durability=memory there is another one than this. */
bool whole_may_fall(const struct whole *, unsigned broker);
/* Everybody serves, and is in sync. */
bool whole_serves(const struct whole *);
bool whole_is_whole(const struct whole *);
/* All is acknowledged and read, and every replica in sync. */
bool whole_is_settled(const struct whole *);
void whole_compare(struct whole *);
void whole_tell(const struct whole *);

#endif
