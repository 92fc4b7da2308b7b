/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The real files behind struct tide_fs.
 */
#ifndef TIDEMARK_DISK_POSIX_FS_H
#define TIDEMARK_DISK_POSIX_FS_H

#include "tidemark/fs.h"

/* The one instance; it has no state. [any] */
const struct tide_fs *posix_fs(void);

#endif
