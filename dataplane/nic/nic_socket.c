/* SPDX-License-Identifier: Apache-2.0 */
#include "nic/nic_socket.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <linux/if_packet.h>
#include <linux/if_xdp.h>

static int compare(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static int family_of(int fd)
{
    int family = -1;
    socklen_t len = sizeof(family);
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len) != 0)
        return -1;
    return family;
}

void nic_sockets_list(int family, struct nic_sockets *ret)
{
    DIR *d = opendir("/proc/self/fd");
    struct dirent *e;
    ret->count = 0;
    if (d == NULL)
        return;
    while ((e = readdir(d)) != NULL && ret->count < NIC_SOCKETS_MAX) {
        char *end;
        long fd = strtol(e->d_name, &end, 10);
        if (end != e->d_name && *end == 0 && family_of((int)fd) == family)
            ret->fds[ret->count++] = (int)fd;
    }
    closedir(d);
    qsort(ret->fds, ret->count, sizeof(ret->fds[0]), compare);
}

int nic_sockets_new(const struct nic_sockets *before, const struct nic_sockets *now, unsigned nth)
{
    for (unsigned i = 0; i < now->count; i++) {
        if (bsearch(&now->fds[i], before->fds, before->count, sizeof(int), compare) != NULL)
            continue;
        if (nth-- == 0)
            return now->fds[i];
    }
    return -1;
}

uint64_t nic_socket_dropped(int fd, int *ret_restarts)
{
    struct xdp_statistics xdp;
    struct tpacket_stats packet;
    socklen_t len;
    *ret_restarts = 0;
    switch (family_of(fd)) {
    case AF_XDP:
        len = sizeof(xdp);
        if (getsockopt(fd, SOL_XDP, XDP_STATISTICS, &xdp, &len) != 0 || len < sizeof(xdp))
            return 0;
        return xdp.rx_dropped + xdp.rx_ring_full;
    case AF_PACKET:
        *ret_restarts = 1;
        len = sizeof(packet);
        if (getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &packet, &len) != 0)
            return 0;
        return packet.tp_drops;
    default:
        return 0;
    }
}
