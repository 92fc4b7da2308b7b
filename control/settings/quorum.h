/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The settings of the control plane: who decides, where they are found, and the times that must fit
 * one another.
 */
#ifndef TIDEMARK_CONTROL_SETTINGS_QUORUM_H
#define TIDEMARK_CONTROL_SETTINGS_QUORUM_H

#include <stddef.h>

#include "tidemark/settings.h"
#include "tidemark/status.h"

/* Reads cluster.id, quorum.voters, controller.listener and controller.allow; fills in the times that
 * follow from others and checks them against each other. */
TIDE_MUST_USE enum tide_status settings_derive_quorum(struct tide_settings *, char *error, size_t size);

#endif
