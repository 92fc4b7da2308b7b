/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sockets that drivers open behind ethdev's back: found among the descriptors of this process,
 * so that a core can wait for them and read their statistics (floors 1.4).
 */
#ifndef TIDEMARK_NIC_NIC_SOCKET_H
#define TIDEMARK_NIC_NIC_SOCKET_H

#include <stdint.h>

enum { NIC_SOCKETS_MAX = 256 };

struct nic_sockets {
    unsigned count;
    int fds[NIC_SOCKETS_MAX]; /* ascending */
};

/* [start] All sockets of one family (AF_XDP, AF_PACKET) that this process has open. */
void nic_sockets_list(int family, struct nic_sockets *ret);

/* The `nth` socket of `now` that is not in `before`, -1 if there are not so many. */
int nic_sockets_new(const struct nic_sockets *before, const struct nic_sockets *now, unsigned nth);

/* Frames the socket has dropped, by its own statistics; 0 for a family that has none. AF_PACKET
 * counts from the last call on (*ret_restarts), AF_XDP from the start. */
uint64_t nic_socket_dropped(int fd, int *ret_restarts);

#endif
