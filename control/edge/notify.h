/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the service manager is told: lines of NAME=VALUE in one datagram to the socket that $NOTIFY_SOCKET names (sd_notify(3)).
 * Without that name nobody wants to know, and nothing is sent.
 *
 * Owner: the control thread.
 */
#ifndef TIDEMARK_CONTROL_EDGE_NOTIFY_H
#define TIDEMARK_CONTROL_EDGE_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

/* False: nobody listens, or it did not get there. */
bool notify_send(const char *lines);

/* The manager ends this process when it hears no WATCHDOG=1 for so long. 0: it does not watch. */
uint64_t notify_watchdog_us(void);

#endif
