/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the machine and says what a broker will find. Changes nothing.
 */
#include "tool/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <liburing.h>

enum verdict { GOOD, MISSING, HARMFUL };

struct doctor {
    bool json;
    bool first;
    unsigned missing, harmful;
    const char *data_dir;
};

/* One finding. `mend` is the line to type, NULL when there is nothing to do. */
static void finding(struct doctor *d, enum verdict v, const char *item, const char *mend, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

static void finding(struct doctor *d, enum verdict v, const char *item, const char *mend, const char *format, ...)
{
    static const char *const names[] = {"ok", "missing", "harmful"};
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    d->missing += v == MISSING;
    d->harmful += v == HARMFUL;
    if (d->json) {
        printf("%s\n  {\"item\": \"%s\", \"verdict\": \"%s\", \"found\": \"%s\"", d->first ? "" : ",", item, names[v], text);
        if (mend != NULL)
            printf(", \"mend\": \"%s\"", mend);
        printf("}");
        d->first = false;
        return;
    }
    printf("%-8s %-18s %s\n", names[v], item, text);
    if (mend != NULL)
        printf("%-8s %-18s   -> %s\n", "", "", mend);
}

static bool read_text(const char *path, char *text, size_t size)
{
    FILE *f = fopen(path, "r");
    size_t n;
    if (f == NULL)
        return false;
    n = fread(text, 1, size - 1, f);
    text[n] = 0;
    text[strcspn(text, "\n")] = 0;
    fclose(f);
    return true;
}

static void look_at_kernel(struct doctor *d)
{
    struct utsname u;
    int major = 0, minor = 0;
    uname(&u);
    sscanf(u.release, "%d.%d", &major, &minor);
    if (major > 6 || (major == 6 && minor >= 1))
        finding(d, GOOD, "kernel", NULL, "%s", u.release);
    else
        finding(d, MISSING, "kernel", "install a kernel of 6.1 or newer", "%s is older than 6.1", u.release);
}

static void look_at_io_uring(struct doctor *d)
{
    struct io_uring ring;
    int e = io_uring_queue_init(8, &ring, 0);
    if (e == 0) {
        io_uring_queue_exit(&ring);
        finding(d, GOOD, "io_uring", NULL, "available");
    } else {
        finding(d, MISSING, "io_uring", "sysctl kernel.io_uring_disabled=0", "not available: %s", strerror(-e));
    }
}

static void look_at_hugepages(struct doctor *d)
{
    char text[64] = "0";
    (void)read_text("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", text, sizeof(text));
    if (atoi(text) >= 256)
        finding(d, GOOD, "hugepages", NULL, "%s free pages of 2 MiB", text);
    else
        finding(d, MISSING, "hugepages", "echo 1024 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
                "%s free pages of 2 MiB; a PCI port wants them, a virtual one runs as fast without", text);
}

static void look_at_ports(struct doctor *d)
{
    int fd = socket(44 /* AF_XDP */, SOCK_RAW, 0);
    if (fd >= 0) {
        close(fd);
        finding(d, GOOD, "af_xdp", NULL, "sockets can be made");
    } else {
        finding(d, MISSING, "af_xdp", "run as root or with CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF; otherwise use net_af_packet",
                "no AF_XDP socket: %s", strerror(errno));
    }
    if (access("/sys/bus/pci/drivers/vfio-pci", F_OK) == 0)
        finding(d, GOOD, "vfio-pci", NULL, "loaded");
    else
        finding(d, MISSING, "vfio-pci", "modprobe vfio-pci", "not loaded; needed for NICs that are given to the broker whole");
    if (access("/sys/class/iommu", F_OK) == 0)
        finding(d, GOOD, "iommu", NULL, "present");
    else
        finding(d, MISSING, "iommu", "switch it on in the firmware and boot with intel_iommu=on or amd_iommu=on",
                "none; vfio-pci needs one (virtual ports do not)");
}

static void look_at_memlock(struct doctor *d)
{
    struct rlimit r;
    getrlimit(RLIMIT_MEMLOCK, &r);
    if (r.rlim_cur == RLIM_INFINITY || geteuid() == 0)
        finding(d, GOOD, "memlock", NULL, "%s", geteuid() == 0 ? "root is not limited" : "unlimited");
    else
        finding(d, MISSING, "memlock", "ulimit -l unlimited", "%lu KiB: io_uring will use plain buffers", (unsigned long)r.rlim_cur / 1024);
}

static void look_at_cpus(struct doctor *d)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    char text[256] = "";
    if (cpus >= 4)
        finding(d, GOOD, "cpus", NULL, "%ld", cpus);
    else
        finding(d, GOOD, "cpus", "core.idle=wait", "%ld: a polling core has to share; never use core.idle=spin here", cpus);
    if (read_text("/sys/devices/system/cpu/isolated", text, sizeof(text)) && text[0] != 0)
        finding(d, GOOD, "isolated cpus", NULL, "%s", text);
    else
        finding(d, MISSING, "isolated cpus", "boot with isolcpus=... nohz_full=... for the data cores", "none; only a server for low latency needs them");
    if (read_text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", text, sizeof(text)) && strcmp(text, "performance") != 0)
        finding(d, HARMFUL, "governor", "cpupower frequency-set -g performance", "%s", text);
    else
        finding(d, GOOD, "governor", NULL, "%s", text[0] ? text : "not under our control");
}

static void look_at_data_dir(struct doctor *d)
{
    char path[4096];
    int fd;
    if (access(d->data_dir, W_OK) != 0) {
        finding(d, MISSING, "data directory", "mkdir -p, and give it to the broker's user", "%s: %s", d->data_dir, strerror(errno));
        return;
    }
    snprintf(path, sizeof(path), "%.4000s", d->data_dir);
    fd = open(path, O_TMPFILE | O_RDWR | O_DIRECT, 0600);
    if (fd >= 0) {
        close(fd);
        finding(d, GOOD, "data directory", NULL, "%s takes O_DIRECT", d->data_dir);
    } else if (errno == EINVAL || errno == EOPNOTSUPP) {
        finding(d, HARMFUL, "data directory", "use ext4 or xfs on a drive of its own", "%s takes no O_DIRECT (%s)", d->data_dir, strerror(errno));
    } else {
        finding(d, HARMFUL, "data directory", NULL, "%s: %s", d->data_dir, strerror(errno));
    }
}

static int usage(FILE *f, int status)
{
    fputs("tidemark doctor [--json] [--data-dir DIR]   look at this machine; changes nothing\n\n"
          "Exit status: 0 nothing is harmful, 1 something is.\n", f);
    return status;
}

int tool_doctor(int argc, char **argv)
{
    static const struct option names[] = {
        {"json", no_argument, NULL, 'j'}, {"data-dir", required_argument, NULL, 'd'}, {"help", no_argument, NULL, 'h'}, {0}};
    struct doctor d = {.first = true, .data_dir = "/var/lib/tidemark"};
    int c;
    while ((c = getopt_long(argc, argv, "jd:h", names, NULL)) != -1) {
        switch (c) {
        case 'j': d.json = true; break;
        case 'd': d.data_dir = optarg; break;
        case 'h': return usage(stdout, 0);
        default: return usage(stderr, 2);
        }
    }
    if (optind != argc)
        return usage(stderr, 2);
    if (d.json)
        printf("[");
    look_at_kernel(&d);
    look_at_io_uring(&d);
    look_at_hugepages(&d);
    look_at_ports(&d);
    look_at_memlock(&d);
    look_at_cpus(&d);
    look_at_data_dir(&d);
    if (d.json)
        printf("\n]\n");
    else
        printf("\nOn a virtual port (veth) the sending side must not leave checksums open: ethtool -K <its device> tx off\n");
    return d.harmful != 0;
}
