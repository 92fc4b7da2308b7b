/* SPDX-License-Identifier: Apache-2.0 */
#include "edge/ptp.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/ethtool.h>
#include <linux/ptp_clock.h>
#include <linux/sockios.h>

bool ptp_offset_of(const int64_t *times_ns, unsigned count, struct ptp_offset *ret)
{
    bool any = false;
    for (unsigned i = 0; i < count; i++) {
        int64_t before = times_ns[2 * i], card = times_ns[2 * i + 1], after = times_ns[2 * i + 2];
        int64_t took = after - before;
        if (took < 0 || (any && (uint64_t)took / 2 >= ret->within_ns))
            continue;
        *ret = (struct ptp_offset){.ns = card - (before + took / 2), .within_ns = (uint64_t)took / 2};
        any = true;
    }
    return any;
}

/* -1: it has none, or there is no such interface. */
static int index_of(const char *interface)
{
    struct ethtool_ts_info info = {.cmd = ETHTOOL_GET_TS_INFO, .phc_index = -1};
    struct ifreq r = {.ifr_data = (void *)&info};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", interface);
    if (ioctl(fd, SIOCETHTOOL, &r) != 0)
        info.phc_index = -1;
    close(fd);
    return info.phc_index;
}

enum tide_status ptp_open(struct ptp *p, const char *interface, char *error, size_t size)
{
    char path[32];
    *p = (struct ptp){.index = interface[0] != 0 ? index_of(interface) : -1, .fd = -1};
    if (p->index < 0)
        return TIDE_ABSENT;
    snprintf(path, sizeof(path), "/dev/ptp%d", p->index);
    p->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (p->fd >= 0)
        return TIDE_OK;
    snprintf(error, size, "%s has a PTP clock, %s, which cannot be read (%s): its state is in no metric", interface, path, strerror(errno));
    return TIDE_REFUSED;
}

void ptp_look(struct ptp *p, uint64_t now_ns)
{
    struct ptp_sys_offset times = {.n_samples = PTP_READINGS};
    int64_t ns[2 * PTP_READINGS + 1];
    if (p->fd < 0 || now_ns < p->next_ns)
        return;
    p->next_ns = now_ns + PTP_LOOK_NS;
    p->is_known = ioctl(p->fd, PTP_SYS_OFFSET, &times) == 0;
    for (unsigned i = 0; i < 2 * PTP_READINGS + 1; i++)
        ns[i] = times.ts[i].sec * 1000000000 + times.ts[i].nsec;
    p->is_known = p->is_known && ptp_offset_of(ns, PTP_READINGS, &p->offset);
}

void ptp_close(struct ptp *p)
{
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
}
