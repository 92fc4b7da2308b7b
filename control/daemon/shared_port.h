/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A data port that the host uses as well (data.port.shared): what is ours of it, and what the kernel knows of the network, for
 * the cores. Owner: the control thread.
 */
#ifndef TIDEMARK_CONTROL_DAEMON_SHARED_PORT_H
#define TIDEMARK_CONTROL_DAEMON_SHARED_PORT_H

#include "daemon/world.h"
#include "net/net.h"
#include "nic/share.h"

/* [start] What is ours, by the settings. False with a text when the kernel takes source ports from the same range. */
bool shared_port_claim(const struct tide_settings *, const struct net_config *addresses, struct nic_share *ret, char *error, size_t size);
/* [start] After the port was opened: sets prefix and gateway of `net` as the kernel has them, and makes what the cores ask by. */
bool shared_port_join(struct world *, struct net_config *net, char *error, size_t size);
/* While the broker runs. */
bool shared_port_start(struct world *, const struct net_config *net, char *error, size_t size);
void shared_port_stop(struct world *);

#endif
