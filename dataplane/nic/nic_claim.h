/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kernel interface belongs to one broker at a time, and a broker that was killed leaves nothing
 * behind that stops the next one.
 *
 * The claim is an abstract UNIX socket named after the interface: the network namespace scopes it
 * and the kernel drops it with the process. Whoever holds the claim knows that an XDP program of
 * ours that is still attached has no owner any more, and takes it off; af_xdp attaches its own
 * only where there is none.
 */
#ifndef TIDEMARK_NIC_NIC_CLAIM_H
#define TIDEMARK_NIC_NIC_CLAIM_H

#include <stddef.h>

#include "tidemark/status.h"

/* [start] Claims the interface for this process; close(*ret_fd) gives it back. TIDE_EXISTS: another
 * broker has it; TIDE_IO: no socket to be had. The text says so. */
TIDE_MUST_USE enum tide_status nic_claim(const char *interface, int *ret_fd, char *error_text,
                                         size_t size);

/* [start] Takes our program off a claimed interface if a killed broker left it there.
 * TIDE_REFUSED: another XDP program is attached, which is nothing for us to touch. */
TIDE_MUST_USE enum tide_status nic_claim_clear_xdp(const char *interface, char *error_text,
                                                   size_t size);

#endif
