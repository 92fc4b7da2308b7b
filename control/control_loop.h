/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The edge of control.h in the daemon: one libuv loop with control's doorbell, its timer and the management network (edge/mgmt.h).
 * It reads the clock and hands the time in; it decides nothing.
 *
 * Owner: the control thread.
 */
#ifndef TIDEMARK_CONTROL_CONTROL_LOOP_H
#define TIDEMARK_CONTROL_CONTROL_LOOP_H

#include <uv.h>

#include "control/control.h"
#include "control/edge/mgmt.h"

struct control_loop;

/* [start] Opens the management network and gives control its first turn. NULL with a sentence in error. `files` NULL: an observer. */
struct control_loop *control_loop_start(uv_loop_t *, const struct control_config *, struct quorum_files *files, char *error, size_t size);
/* After on_stopped. */
void control_loop_destroy(struct control_loop *);
struct control *control_loop_control(struct control_loop *);
/* After control was asked for something. */
void control_loop_turn(struct control_loop *);
void control_loop_gauges(const struct control_loop *, struct mgmt_gauges *ret);

#endif
