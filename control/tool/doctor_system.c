/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <liburing.h>
#include <linux/capability.h>

#include "tool/doctor.h"

enum { KERNEL_MAJOR = 6, KERNEL_MINOR = 1, FILES_WANTED = 4096, PAGE_MB = 2 };

/* ---- kernel ---------------------------------------------------------------------------------------------------------- */

static void look_at_kernel(struct doctor *d)
{
    char release[128];
    int major = 0, minor = 0;
    if (!machine_line(&d->machine, release, sizeof(release), "/proc/sys/kernel/osrelease"))
        return;
    sscanf(release, "%d.%d", &major, &minor);
    if (major > KERNEL_MAJOR || (major == KERNEL_MAJOR && minor >= KERNEL_MINOR))
        doctor_good(d, "kernel", "%s", release);
    else
        doctor_lacks(d, NEEDED, "kernel", "sudo apt install -t bookworm-backports linux-image-amd64", "%s is older than %d.%d", release, KERNEL_MAJOR, KERNEL_MINOR);
}

/* As the disks of the broker want it: dataplane/disk. */
static void try_io_uring(struct doctor *d)
{
    struct io_uring ring;
    int e = io_uring_queue_init(8, &ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
    if (e == 0) {
        io_uring_queue_exit(&ring);
        doctor_good(d, "io_uring", "single issuer, deferred task run");
        return;
    }
    e = io_uring_queue_init(8, &ring, 0);
    if (e == 0) {
        io_uring_queue_exit(&ring);
        doctor_lacks(d, ADVICE, "io_uring", "# a kernel of 6.1 or newer", "without deferred task run: completions interrupt the cores");
    } else {
        doctor_lacks(d, NEEDED, "io_uring", "# allow io_uring_setup: seccomp of this container", "not available: %s", strerror(-e));
    }
}

static void look_at_io_uring(struct doctor *d)
{
    long disabled = machine_number(&d->machine, 0, "/proc/sys/kernel/io_uring_disabled");
    if (disabled != 0)
        doctor_lacks(d, NEEDED, "io_uring", "echo kernel.io_uring_disabled=0 | sudo tee /etc/sysctl.d/90-tidemark.conf && sudo sysctl -q --system",
                     "kernel.io_uring_disabled is %ld", disabled);
    else if (d->live)
        try_io_uring(d);
    else
        doctor_good(d, "io_uring", "allowed");
}

static void look_at_user(struct doctor *d)
{
    FILE *f = machine_open(&d->machine, "/etc/passwd");
    char line[512];
    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        d->has_user |= strncmp(line, "tidemark:", 9) == 0;
    if (f != NULL)
        fclose(f);
    if (d->has_user)
        doctor_good(d, "user", "tidemark");
    else
        doctor_lacks(d, d->has_unit ? NEEDED : ADVICE, "user",
                     "sudo useradd --system --home-dir /var/lib/tidemark --shell /usr/sbin/nologin tidemark", "there is no user tidemark for the service");
}

void doctor_look_at_system(struct doctor *d)
{
    look_at_kernel(d);
    look_at_io_uring(d);
    look_at_user(d);
}

/* ---- what this user may do ------------------------------------------------------------------------------------------- */

/* What a port of that kind needs: the drop-ins in config/tidemark.service.d. */
static const struct {
    const char *driver;
    uint64_t capabilities;
    const char *names;
} port_needs[] = {
    {"net_af_packet", 1ull << CAP_NET_RAW | 1ull << CAP_NET_ADMIN, "CAP_NET_RAW, CAP_NET_ADMIN"},
    {"net_af_xdp", 1ull << CAP_NET_RAW | 1ull << CAP_NET_ADMIN | 1ull << CAP_BPF, "CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF"},
};

static bool has_capabilities(const struct doctor *d, uint64_t wanted)
{
    FILE *f = machine_open(&d->machine, "/proc/self/status");
    char line[256];
    unsigned long long effective = 0;
    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        (void)sscanf(line, "CapEff: %llx", &effective);
    if (f != NULL)
        fclose(f);
    return (effective & wanted) == wanted;
}

static void look_at_capabilities(struct doctor *d)
{
    for (unsigned i = 0; i < d->port_count; i++)
        for (unsigned k = 0; k < TIDE_ARRAY_LEN(port_needs); k++) {
            if (strncmp(d->ports[i].name, port_needs[k].driver, strlen(port_needs[k].driver)) != 0)
                continue;
            if (has_capabilities(d, port_needs[k].capabilities))
                doctor_good(d, "capabilities", "%s", port_needs[k].names);
            else
                doctor_lacks(d, ADVICE, "capabilities", "sudo tidemarkd, or the service with the drop-in of this port",
                             "this user has not %s, which %s needs", port_needs[k].names, d->ports[i].name);
        }
}

/* A soft limit of this process; UINT64_MAX: none. */
static bool limit(const struct doctor *d, const char *name, uint64_t *ret)
{
    FILE *f = machine_open(&d->machine, "/proc/self/limits");
    char line[256], text[32];
    bool found = false;
    while (f != NULL && !found && fgets(line, sizeof(line), f) != NULL)
        found = strncmp(line, name, strlen(name)) == 0 && sscanf(line + strlen(name), "%31s", text) == 1;
    if (f != NULL)
        fclose(f);
    if (found)
        *ret = isdigit((unsigned char)text[0]) ? strtoull(text, NULL, 10) : UINT64_MAX;
    return found;
}

static void look_at_memlock(struct doctor *d)
{
    uint64_t bytes;
    if (has_capabilities(d, 1ull << CAP_IPC_LOCK))
        doctor_good(d, "memlock", "CAP_IPC_LOCK: not limited");
    else if (!limit(d, "Max locked memory", &bytes))
        return;
    else if (bytes == UINT64_MAX)
        doctor_good(d, "memlock", "unlimited");
    else
        doctor_lacks(d, ADVICE, "memlock", "echo 'tidemark - memlock unlimited' | sudo tee /etc/security/limits.d/tidemark.conf",
                     "%lu KiB for this user: ports lock more. The service has no such limit", (unsigned long)(bytes / 1024));
}

static void look_at_files(struct doctor *d)
{
    uint64_t files;
    if (!limit(d, "Max open files", &files))
        return;
    if (files >= FILES_WANTED)
        doctor_good(d, "open files", "%lu", (unsigned long)files);
    else
        doctor_lacks(d, ADVICE, "open files", "echo 'tidemark - nofile 1048576' | sudo tee -a /etc/security/limits.d/tidemark.conf",
                     "%lu for this user: three for each partition. The service has 1048576", (unsigned long)files);
}

void doctor_look_at_limits(struct doctor *d)
{
    look_at_capabilities(d);
    look_at_memlock(d);
    look_at_files(d);
}

/* ---- memory ---------------------------------------------------------------------------------------------------------- */

static bool wants_hugepages(const struct doctor *d)
{
    return d->settings.dpdk_hugepages == DPDK_HUGEPAGES_ON || (d->settings.dpdk_hugepages == DPDK_HUGEPAGES_AUTO && d->pci);
}

static long free_pages(const struct doctor *d, int node)
{
    if (node >= 0)
        return machine_number(&d->machine, 0, "/sys/devices/system/node/node%d/hugepages/hugepages-2048kB/free_hugepages", node);
    return machine_number(&d->machine, 0, "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
}

static void look_at_hugepages(struct doctor *d)
{
    long want = (long)(d->settings.dpdk_memory_mb + PAGE_MB - 1) / PAGE_MB, here = free_pages(d, d->node), all = free_pages(d, -1);
    char where[32] = "";
    if (d->node >= 0)
        snprintf(where, sizeof(where), " on node %d", d->node);
    if (d->configured && !wants_hugepages(d))
        doctor_good(d, "hugepages", "none wanted: %s", d->settings.dpdk_hugepages == DPDK_HUGEPAGES_OFF ? "dpdk.hugepages=off" : "a virtual port runs as fast without");
    else if (d->running != 0)
        doctor_good(d, "hugepages", "%ld of 2 MiB are free%s beside the broker that runs", here, where);
    else if (here >= want)
        doctor_good(d, "hugepages", "%ld of 2 MiB are free%s, dpdk.memory.mb=%d takes %ld", here, where, (int)d->settings.dpdk_memory_mb, want);
    else if (d->configured && all >= want)
        doctor_lacks(d, ADVICE, "hugepages", doctor_host_setup(d, " --apply"), "%ld of 2 MiB are free%s, dpdk.memory.mb=%d takes %ld: the rest comes from another node",
                     here, where, (int)d->settings.dpdk_memory_mb, want);
    else if (d->configured)
        doctor_lacks(d, NEEDED, "hugepages", doctor_host_setup(d, " --apply"), "%ld of 2 MiB are free%s, dpdk.memory.mb=%d takes %ld", here, where,
                     (int)d->settings.dpdk_memory_mb, want);
}

static void look_at_swap(struct doctor *d)
{
    FILE *f = machine_open(&d->machine, "/proc/swaps");
    char line[256];
    unsigned lines = 0;
    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        lines++;
    if (f != NULL)
        fclose(f);
    if (lines > 1)
        doctor_lacks(d, ADVICE, "swap", "sudo swapoff -a  # and take it out of /etc/fstab", "on: a broker that is swapped out stands still");
    else
        doctor_good(d, "swap", "none");
}

static void look_at_merging(struct doctor *d)
{
    char text[128];
    if (!machine_line(&d->machine, text, sizeof(text), "/sys/kernel/mm/transparent_hugepage/enabled"))
        return;
    if (strstr(text, "[always]") != NULL)
        doctor_lacks(d, ADVICE, "huge merging", "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled",
                     "transparent hugepages for all: pages that are merged stop a core for a while");
    else
        doctor_good(d, "huge merging", "transparent hugepages are not forced");
    if (machine_number(&d->machine, 0, "/proc/sys/kernel/numa_balancing") == 1 && machine_has(&d->machine, "/sys/devices/system/node/node1"))
        doctor_lacks(d, ADVICE, "numa balancing", "sudo sysctl -w kernel.numa_balancing=0", "on: pages that are unmapped to be watched stop a core for a while");
}

void doctor_look_at_memory(struct doctor *d)
{
    look_at_hugepages(d);
    look_at_swap(d);
    look_at_merging(d);
}
