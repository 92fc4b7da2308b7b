/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of a machine lies on which NUMA node, and what of it does not belong together. A core that polls a card of another
 * node, or writes to a drive behind it, pays the way between the nodes for every frame and every block.
 *
 * The judgement is a pure function over a description; numa_read makes one of this machine, from sysfs.
 */
#ifndef TIDEMARK_CONTROL_DAEMON_NUMA_H
#define TIDEMARK_CONTROL_DAEMON_NUMA_H

#include <stddef.h>
#include <stdint.h>

#include "nic/nic.h"
#include "settings/settings.h"
#include "tidemark/types.h"

enum { NUMA_UNKNOWN = -1, NUMA_NAME = 64, NUMA_NODES_MAX = 64 };

struct numa_thing {
    char name[NUMA_NAME];
    int node; /* NUMA_UNKNOWN: nobody says, and nothing is said of it */
};

struct numa_machine {
    unsigned node_count; /* of the machine */
    unsigned port_count, core_count, drive_count;
    struct numa_thing ports[TIDE_PORTS_MAX];
    struct numa_thing cores[TIDE_CORES_MAX]; /* those of data.cores; the others float */
    struct numa_thing drives[TIDE_LOG_DIRS_MAX];
    struct numa_thing memory; /* packet buffers */
};

/* One warning per thing that is not on the node of the first port, in the order memory, ports, cores, drives; with one node there are
 * none. Returns how many, `say` is called for each. */
unsigned numa_judge(const struct numa_machine *, void (*say)(void *arg, const char *warning), void *arg);

void numa_read(const struct tide_settings *, const struct nic *, struct numa_machine *ret);

#endif
