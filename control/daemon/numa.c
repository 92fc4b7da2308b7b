/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/numa.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <rte_memzone.h>

enum { PATH = 256, WARNING = 256 };

static bool is_elsewhere(const struct numa_thing *t, int home)
{
    return t->node != NUMA_UNKNOWN && t->node != home;
}

unsigned numa_judge(const struct numa_machine *m, void (*say)(void *arg, const char *warning), void *arg)
{
    char text[WARNING];
    unsigned said = 0;
    int home = m->port_count != 0 ? m->ports[0].node : NUMA_UNKNOWN;
    const char *to = m->ports[0].name;
    if (m->node_count < 2 || home == NUMA_UNKNOWN)
        return 0;
    if (is_elsewhere(&m->memory, home)) {
        snprintf(text, sizeof(text), "packet buffers are on node %d, port %s is on node %d: give node %d hugepages", m->memory.node, to, home, home);
        say(arg, text);
        said++;
    }
    for (unsigned i = 1; i < m->port_count; i++)
        if (is_elsewhere(&m->ports[i], home)) {
            snprintf(text, sizeof(text), "port %s is on node %d, port %s is on node %d: take two ports of one node", m->ports[i].name, m->ports[i].node, to, home);
            say(arg, text);
            said++;
        }
    for (unsigned i = 0; i < m->core_count; i++)
        if (is_elsewhere(&m->cores[i], home)) {
            snprintf(text, sizeof(text), "data core %u runs on %s of node %d, port %s is on node %d: name CPUs of node %d in data.cores", i, m->cores[i].name,
                     m->cores[i].node, to, home, home);
            say(arg, text);
            said++;
        }
    for (unsigned i = 0; i < m->drive_count; i++)
        if (is_elsewhere(&m->drives[i], home)) {
            snprintf(text, sizeof(text), "the drive of %s is on node %d, port %s is on node %d: put log.dirs on a drive of node %d", m->drives[i].name,
                     m->drives[i].node, to, home, home);
            say(arg, text);
            said++;
        }
    return said;
}

static int read_node(const char *path)
{
    FILE *f = fopen(path, "re");
    int node;
    if (f == NULL)
        return NUMA_UNKNOWN;
    if (fscanf(f, "%d", &node) != 1 || node < 0)
        node = NUMA_UNKNOWN;
    fclose(f);
    return node;
}

static int node_of_cpu(unsigned cpu)
{
    char path[PATH];
    for (int node = 0; node < NUMA_NODES_MAX; node++) {
        snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/cpu%u", node, cpu);
        if (access(path, F_OK) == 0)
            return node;
    }
    return NUMA_UNKNOWN;
}

/* A partition has no device of its own: its disk has. */
static int node_of_drive(const char *dir)
{
    static const char *const places[] = {"device/numa_node", "device/device/numa_node", "../device/numa_node", "../device/device/numa_node"};
    struct stat st;
    if (stat(dir, &st) != 0)
        return NUMA_UNKNOWN;
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(places); i++) {
        char path[PATH];
        snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s", major(st.st_dev), minor(st.st_dev), places[i]);
        int node = read_node(path);
        if (node != NUMA_UNKNOWN)
            return node;
    }
    return NUMA_UNKNOWN;
}

static unsigned count_nodes(void)
{
    char path[PATH];
    unsigned n = 0;
    for (int node = 0; node < NUMA_NODES_MAX; node++) {
        snprintf(path, sizeof(path), "/sys/devices/system/node/node%d", node);
        n += access(path, F_OK) == 0;
    }
    return n;
}

static void read_cores(const struct tide_settings *s, struct numa_machine *ret)
{
    for (ret->core_count = 0; ret->core_count < s->data_cpu_count; ret->core_count++) {
        struct numa_thing *t = &ret->cores[ret->core_count];
        t->node = node_of_cpu(s->data_cpu[ret->core_count]);
        snprintf(t->name, sizeof(t->name), "CPU %u", s->data_cpu[ret->core_count]);
    }
}

void numa_read(const struct tide_settings *s, const struct nic *nic, struct numa_machine *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->node_count = count_nodes();
    for (unsigned i = 0; i < nic_port_count(nic); i++) {
        struct nic_port_info info;
        nic_port_info(nic, i, &info);
        ret->ports[i].node = info.node;
        snprintf(ret->ports[i].name, sizeof(ret->ports[i].name), "%s", info.name);
        ret->port_count++;
    }
    ret->memory.node = nic_rx_pool(nic, 0)->mz->socket_id;
    read_cores(s, ret);
    for (unsigned i = 0; i < s->log_dir_count; i++) {
        struct numa_thing *t = &ret->drives[ret->drive_count++];
        t->node = node_of_drive(s->log_dir[i]);
        snprintf(t->name, sizeof(t->name), "%.60s", s->log_dir[i]);
    }
}
