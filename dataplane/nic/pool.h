/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packet pools in the two flavours ports need (floors 1.4: an af_xdp port takes the pool's memory
 * as one array of objects, which the ordinary layout with padding at page ends is not; a PCI port
 * needs the IOVAs that the array flavour does not have).
 */
#ifndef TIDEMARK_NIC_POOL_H
#define TIDEMARK_NIC_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_mempool.h>

#include "nic/port_caps.h"

struct pool_config {
    const char *name;
    unsigned count;
    uint16_t data_room; /* behind the headroom */
    enum pool_flavour flavour;
    int node; /* of NUMA that it should lie on; SOCKET_ID_ANY: any */
};

/* [start] NULL with rte_errno set when there is no memory, or when the array flavour could not
 * be had in one piece. Freed with rte_mempool_free. */
struct rte_mempool *pool_create(const struct pool_config *config);

/* True when every object lies inside the first memory chunk, in an array of objects without
 * padding: what af_xdp registers as its UMEM. */
bool pool_is_array(struct rte_mempool *pool);

#endif
