/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A port that the host uses as well: which frames are ours. On a kernel interface an XDP program takes them out of the kernel's stream;
 * on a card whose driver leaves the kernel's alone (mlx5), flow rules of the card do.
 */
#ifndef TIDEMARK_NIC_SHARE_H
#define TIDEMARK_NIC_SHARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "nic/share_layout.h"
#include "tidemark/status.h"
#include "tidemark/types.h"

struct nic_share {
    struct tide_addr addr;
    struct tide_addr addr6; /* all zero: none */
    uint16_t ports[SHARE_PORTS]; /* that others connect to; 0: none */
    uint16_t source_first, source_last; /* that our own connections come from */
};

/* Writes what is ours into a copy of the program. TIDE_BAD: the mark is not in it exactly once. */
TIDE_MUST_USE enum tide_status share_fill(uint8_t *object, size_t size, const struct nic_share *share);

/* The interface of the default route by the text of /proc/net/route: is it this one? */
bool share_is_default_route(const char *routes, const char *interface);

/* The text of .../ip_local_port_range: has the kernel ports of its own there? */
static inline bool share_ports_collide(const char *range, uint16_t first, uint16_t last)
{
    unsigned low, high;
    return sscanf(range, "%u %u", &low, &high) == 2 && low <= last && first <= high;
}

/* [start] Before a card is configured: the kernel keeps everything that no rule takes. TIDE_REFUSED: its driver cannot. */
TIDE_MUST_USE enum tide_status share_isolate(uint16_t port, char *error_text, size_t size);
/* [start] After it was started: rules for what is ours, spread over `queues` by rss.h. TIDE_REFUSED: it takes none of that kind. */
TIDE_MUST_USE enum tide_status share_rules(uint16_t port, const struct nic_share *share, uint16_t queues, uint64_t rss_types, char *error_text, size_t size);

#endif
