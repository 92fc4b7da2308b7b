/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From settings to a running broker and back: the one place besides the simulator and the offline
 * tool that sees both planes.
 */
#ifndef TIDEMARK_CONTROL_DAEMON_BOOT_H
#define TIDEMARK_CONTROL_DAEMON_BOOT_H

#include <stddef.h>

#include "tidemark/settings.h"

/* Runs the broker until SIGTERM or SIGINT. 0 after a clean stop; otherwise the exit status of the
 * process, and a sentence was printed. Nothing outside of the process was touched when a check
 * before the first write fails. */
int boot_run(const struct tide_settings *);

/* Takes off the ports what a killed broker left there. A broker does so by itself when it starts, but to tell its own XDP
 * program from that of others takes CAP_SYS_ADMIN, which a broker that runs as a user of its own has not. 0, or an exit status. */
int boot_release(const struct tide_settings *);

#endif
