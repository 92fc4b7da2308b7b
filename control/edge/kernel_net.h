/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel knows of an interface that it shares with the broker: its address, its way out, its neighbours. By rtnetlink: read
 * once at the start, then told of changes. Whom the kernel does not know it is asked to look for, so that one side alone
 * speaks ARP and neighbour discovery.
 *
 * Owner: the control thread.
 */
#ifndef TIDEMARK_CONTROL_EDGE_KERNEL_NET_H
#define TIDEMARK_CONTROL_EDGE_KERNEL_NET_H

#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "tidemark/status.h"
#include "tidemark/types.h"

struct kernel_way {
    uint8_t prefix_len;
    uint32_t gateway; /* of the default route through the interface; 0: none */
    uint32_t mtu;
    uint8_t prefix6_len;       /* of the IPv6 address, if there is one */
    struct tide_addr gateway6; /* of the IPv6 default route through the interface; all zero: none */
};

/* [start] TIDE_ABSENT: the interface does not have one of the addresses; the text says which it has. addr6 all zero: there is none. */
TIDE_MUST_USE enum tide_status kernel_net_look(const char *interface, const struct tide_addr *addr, const struct tide_addr *addr6, struct kernel_way *ret, char *error, size_t size);

struct kernel_net_config {
    const char *interface;
    struct tide_addr addr;
    struct tide_addr addr6; /* all zero: none */
    void (*on_neighbour)(void *arg, const struct tide_addr *addr, const uint8_t mac[6]);
    void (*on_way)(void *arg, const struct kernel_way *way); /* it has changed */
    void *arg;
};

struct kernel_net;

struct kernel_net *kernel_net_start(uv_loop_t *loop, const struct kernel_net_config *config); /* NULL: no socket to be had */
/* on_neighbour follows, at once or when the neighbour has answered the kernel; or never. */
void kernel_net_ask(struct kernel_net *, const struct tide_addr *addr);
void kernel_net_stop(struct kernel_net *);

#endif
