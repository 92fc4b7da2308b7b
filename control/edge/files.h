/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small text files of a directory, read whole and written whole or not at all.
 */
#ifndef TIDEMARK_CONTROL_EDGE_FILES_H
#define TIDEMARK_CONTROL_EDGE_FILES_H

#include <stddef.h>

#include "tidemark/fs.h"

enum { FILES_PATH_MAX = 4096 };

void files_path(char path[FILES_PATH_MAX], const char *dir, const char *name);
/* 0 with the text and a 0 behind it; -errno. What does not fit is left out. */
int files_read(const struct tide_fs *, const char *dir, const char *name, char *text, size_t size);
/* Temporary file, sync, rename, sync of the directory. 0 or -errno. */
int files_write(const struct tide_fs *, const char *dir, const char *name, const char *text);

#endif
