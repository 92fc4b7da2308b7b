/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data plane of a simulated machine: its cores with everything they need, their disks, and the helpers that run their
 * jobs. What control does, and what goes over the wire, is the simulator's around it.
 *
 * The life of a process: sim_machine_boot ... sim_machine_cut, destroy the partitions, sim_machine_clear. The files outlive it.
 */
#ifndef TIDEMARK_TESTS_SIM_MACHINE_H
#define TIDEMARK_TESTS_SIM_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/core.h"
#include "partition/partition.h"
#include "sim_fs.h"
#include "tidemark/random.h"

enum { SIM_CORES_MAX = 2, SIM_JOBS_MAX = 128, SIM_KAFKA_PORT = 9092, SIM_PEER_PORT = 9093, SIM_POOLS = 5, SIM_ORPHANS_MAX = 512 };

/* They outlive a run: EAL, which is started here, does not like to make many. */
struct sim_pools {
    struct rte_mempool *tx, *request, *response, *client, *peer;
};
void sim_pools_make(struct sim_pools *);
void sim_pools_count(const struct sim_pools *, unsigned ret_free[SIM_POOLS]);
/* False, and says so, when another number is free now. */
bool sim_pools_are_back(const struct sim_pools *, const unsigned before[SIM_POOLS]);

struct sim_job {
    uint64_t at_ns;
    struct tide_job *job;
};

struct sim_core {
    struct sim_disk *disk;
    struct log_core *log_core;
    struct core *core;
    struct core_io io;
    struct sim_job jobs[SIM_JOBS_MAX];
    unsigned job_count;
    struct tide_counters counters;
    uint64_t conns_seen; /* connections that had come when the list was looked at last */
    uint64_t rouses;     /* times at which pushes that wait may be tried again */
    uint64_t roused_ns;
};

struct sim_machine_config {
    unsigned node; /* number on the wire */
    uint32_t core_count;
    const struct tide_settings *settings;
    const struct sim_pools *pools;
    struct tide_grace grace; /* none: over publication.qsbr */
    uint32_t tail_buffer_bytes; /* 0: 16 KiB */
    unsigned (*turn)(struct core *, const struct tide_time *, struct core_io *); /* NULL: core_turn */
    struct trace *trace; /* NULL: requests are not traced */
    bool keeps_connections; /* in a file, and after each turn it is looked whether they are in it, or on their way there; what the process before left is roused */
};

struct sim_machine {
    struct sim_fs *fs; /* the simulator's */
    struct tide_publication publication; /* its qsbr is the simulator's */
    uint64_t job_ms; /* that a helper takes, at most */
    struct sim_machine_config config;
    struct post_office *office;
    struct steer *steer;
    int conns_file; /* -1: they are not kept */
    struct orphan orphans[SIM_ORPHANS_MAX];
    uint32_t orphan_count;
    struct sim_core cores[SIM_CORES_MAX];
};

void sim_machine_boot(struct sim_machine *, const struct sim_machine_config *, struct tide_random *, uint64_t now_ns);
/* The process ends, and what its disk had not made durable is decided. The cores are gone afterwards. */
void sim_machine_cut(struct sim_machine *, enum sim_crash);
/* And what partitions stood on. */
void sim_machine_clear(struct sim_machine *);

/* What a partition of such a machine needs beside its names, topic_config and home_core. */
struct partition_config sim_machine_partition(struct sim_machine *);

/* Is there something for the core to do? */
bool sim_core_has_cause(const struct sim_core *, uint64_t now_ns);
uint64_t sim_core_deadline_ns(const struct sim_core *);
/* One turn. Frames are left in io.tx: the caller sends them and sets io.tx_count to 0. */
void sim_core_turn(struct sim_machine *, uint32_t core, struct tide_random *, const struct tide_time *);
/* The frame is the core's, or dropped when its queue is full. */
void sim_core_receive(struct sim_core *, struct rte_mbuf *);

/* Of what the replica holds below `end`, batch by batch: the whole bytes. False: it cannot be read. `visit` NULL: only the digest. */
bool sim_machine_read(struct sim_machine *, struct partition *, int64_t begin, int64_t end, uint64_t *ret_digest,
                      void (*visit)(void *arg, const uint8_t *batch, uint32_t size), void *arg);

#endif
