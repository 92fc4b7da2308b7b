/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>

#include "nic/nic.h"
#include "nic/port_caps.h"

struct builder {
    struct nic_eal_args *args;
    size_t used;
    bool full;
};

static void add(struct builder *b, const char *value, size_t len)
{
    struct nic_eal_args *a = b->args;
    if (a->count == NIC_EAL_ARGS || b->used + len + 1 > sizeof(a->text)) {
        b->full = true;
        return;
    }
    char *at = a->text + b->used;
    memcpy(at, value, len);
    at[len] = 0;
    a->values[a->count++] = at;
    a->values[a->count] = NULL;
    b->used += len + 1;
}

static void add_text(struct builder *b, const char *value)
{
    add(b, value, strlen(value));
}

static void add_pair(struct builder *b, const char *key, const char *value)
{
    add_text(b, key);
    add_text(b, value);
}

static void add_memory(struct builder *b, const struct nic_eal_config *c, unsigned free_huge_mb,
                       bool has_pci)
{
    bool huge = c->memory == NIC_MEMORY_HUGEPAGES ||
                (c->memory == NIC_MEMORY_AUTO && free_huge_mb >= c->memory_mb);
    char mb[16];
    snprintf(mb, sizeof(mb), "%u", c->memory_mb);
    if (huge) {
        /* Nothing is left behind in a file system; one descriptor for many pages. */
        add_text(b, "--in-memory");
        add_text(b, "--single-file-segments");
    } else {
        add_text(b, "--no-huge"); /* which excludes --in-memory */
        add_text(b, "--no-shconf");
    }
    /* A PCI port on hugepages may need physical addresses: EAL sees whether there is an IOMMU. */
    if (!huge || !has_pci)
        add_text(b, "--iova-mode=va");
    add_pair(b, "-m", mb);
}

/* Returns whether there was any. */
static bool add_pci(struct builder *b, const struct nic_eal_config *c)
{
    bool any = false;
    for (unsigned i = 0; i < c->device_count; i++) {
        struct port_device d;
        char ignored[NIC_ERROR_TEXT];
        if (port_device_parse(c->devices[i], &d, ignored, sizeof(ignored)) != TIDE_OK ||
            d.kind != PORT_PCI)
            continue;
        any = true;
        add_pair(b, "-a", c->devices[i]);
    }
    if (!any)
        add_text(b, "--no-pci");
    return any;
}

static void add_extra(struct builder *b, const char *extra)
{
    static const char blanks[] = " \t";
    while (extra != NULL && *(extra += strspn(extra, blanks)) != 0) {
        size_t len = strcspn(extra, blanks);
        add(b, extra, len);
        extra += len;
    }
}

enum tide_status nic_eal_args(const struct nic_eal_config *config, unsigned free_huge_mb,
                              struct nic_eal_args *ret)
{
    struct builder b = {.args = ret};
    ret->count = 0;
    ret->values[0] = NULL;
    add_text(&b, "tidemarkd");
    add_pair(&b, "--file-prefix", config->file_prefix);
    if (!config->verbose)
        add_text(&b, "--log-level=error");
    if (!config->telemetry)
        add_text(&b, "--no-telemetry");
    if (config->lcores != NULL)
        add_pair(&b, "--lcores", config->lcores);
    bool has_pci = add_pci(&b, config);
    add_memory(&b, config, free_huge_mb, has_pci);
    add_extra(&b, config->extra_args);
    return b.full ? TIDE_FULL : TIDE_OK;
}

static unsigned long read_number(const char *directory, const char *name)
{
    char path[512];
    unsigned long value = 0;
    snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/%s/%s", directory, name);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return 0;
    if (fscanf(f, "%lu", &value) != 1)
        value = 0;
    fclose(f);
    return value;
}

/* Megabytes in free hugepages of every size. */
static unsigned free_hugepages_mb(void)
{
    DIR *d = opendir("/sys/kernel/mm/hugepages");
    unsigned long mb = 0;
    struct dirent *e;
    if (d == NULL)
        return 0;
    while ((e = readdir(d)) != NULL) {
        unsigned long kb;
        if (sscanf(e->d_name, "hugepages-%lukB", &kb) == 1)
            mb += read_number(e->d_name, "free_hugepages") * (kb / 1024);
    }
    closedir(d);
    return (unsigned)mb;
}

/* EAL's map for one lcore that may run wherever the process may: "0@(0,1,3)". */
static void floating_lcore(char *text, size_t size)
{
    cpu_set_t set;
    size_t at = 0;
    bool first = true;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        CPU_SET(0, &set);
    at += (size_t)snprintf(text, size, "0@(");
    for (unsigned cpu = 0; cpu < CPU_SETSIZE && at + 8 < size; cpu++) {
        if (!CPU_ISSET(cpu, &set))
            continue;
        at += (size_t)snprintf(text + at, size - at, "%s%u", first ? "" : ",", cpu);
        first = false;
    }
    snprintf(text + at, size - at, ")");
}

int nic_eal_start(const struct nic_eal_config *given)
{
    static struct nic_eal_args args; /* outlives the call, as main's own would */
    static char lcores[1024];
    static char *values[NIC_EAL_ARGS + 1];
    struct nic_eal_config config = *given;
    if (config.lcores == NULL) {
        floating_lcore(lcores, sizeof(lcores));
        config.lcores = lcores;
    }
    if (nic_eal_args(&config, free_hugepages_mb(), &args) != TIDE_OK)
        return -E2BIG;
    memcpy(values, args.values, sizeof(values)); /* EAL reorders what it is given */
    if (rte_eal_init(args.count, values) < 0)
        return rte_errno != 0 ? -rte_errno : -EIO;
    return 0;
}

void nic_eal_stop(void)
{
    (void)rte_eal_cleanup();
}
