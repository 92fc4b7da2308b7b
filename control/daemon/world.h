/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything that a running broker consists of; filled by boot.c, read by metrics.c.
 */
#ifndef TIDEMARK_CONTROL_DAEMON_WORLD_H
#define TIDEMARK_CONTROL_DAEMON_WORLD_H

#include <stdatomic.h>
#include <stdbool.h>

#include <uv.h>

#include "cluster/cluster.h"
#include "control/control_loop.h"
#include "core/core.h"
#include "core/loop.h"
#include "disk/disk.h"
#include "daemon/watchdog.h"
#include "disk/help_pool.h"
#include "edge/http.h"
#include "edge/dirs.h"
#include "edge/ptp.h"
#include "node/node.h"
#include "raft/quorum_files.h"
#include "nic/nic.h"
#include "nic/share.h"

struct world {
    const struct tide_settings *settings;
    uint64_t start_ns;
    uint32_t core_count;
    struct nic *nic;
    struct help_pool *helpers;
    struct post_office *office;
    struct steer *steer;
    struct tide_publication publication;
    struct rte_mempool *request_pools[TIDE_CORES_MAX];
    struct rte_mempool *peer_pools[TIDE_CORES_MAX];
    struct rte_mempool *response_pools[TIDE_CORES_MAX + 1]; /* the last is control's */
    struct rte_mempool *order_pool;
    struct log_core *log_cores[TIDE_CORES_MAX];
    struct disk *disks[TIDE_CORES_MAX];
    struct core *cores[TIDE_CORES_MAX];
    struct loop_config loops[TIDE_CORES_MAX];
    struct tide_counters *nic_counters;
    _Atomic bool stop;
    _Atomic uint32_t running; /* cores that were started */
    _Atomic uint32_t ended;
    uv_loop_t loop;
    uv_signal_t sigterm;
    uv_signal_t sigint;
    uv_timer_t port_look;
    struct ptp ptp[TIDE_PORTS_MAX]; /* of the ports' kernel interfaces */
    uint64_t capture_id; /* of who captures; 0: nobody */
    uint64_t capture_ns; /* when he last asked */
    struct trace trace;      /* of requests; cores write into it */
    uint64_t trace_quiet;    /* grace period behind the last one */
    struct tracing *tracing; /* of trace_page.c; NULL: nobody traces */
    struct shared_port *shared; /* NULL: the data ports are ours alone */
    struct nic_share share;
    struct net_config net;      /* as core 0 has it */
    struct http *http;
    struct tide_uuid incarnation;
    struct cluster_config birth[CLUSTER_BIRTH_CONFIGS_MAX]; /* what a new cluster begins with */
    struct node *node;
    struct quorum_files *files; /* NULL: this broker only follows */
    struct control_loop *control;
    struct dirs *dirs;
    uint32_t orphan_count; /* connections that the last process left behind */
    struct orphan *orphans;
    int conns_file; /* for the next one; -1: none is kept */
    struct watchdog watchdog;
    struct stage_metrics *stage_metrics; /* of metrics.c; NULL: nobody has looked */
    bool ready;
    bool stopped;
    bool clean;
};

#endif
