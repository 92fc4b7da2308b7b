/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.dirs and metadata.log.dir as a list of directories.
 */
#ifndef TIDEMARK_CONTROL_SETTINGS_LOG_DIRS_H
#define TIDEMARK_CONTROL_SETTINGS_LOG_DIRS_H

#include <stddef.h>

#include "tidemark/settings.h"
#include "tidemark/status.h"

/* Fills the derived fields; TIDE_BAD with a sentence in error. */
TIDE_MUST_USE enum tide_status settings_derive_log_dirs(struct tide_settings *, char *error, size_t size);

#endif
