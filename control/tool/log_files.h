/* SPDX-License-Identifier: Apache-2.0 */
/* The small files beside a segment, printed or checked by `tidemark log`. Changes nothing. */
#ifndef TIDEMARK_TOOL_LOG_FILES_H
#define TIDEMARK_TOOL_LOG_FILES_H

#include <stdbool.h>

/* Is it one of them, by its name? */
bool log_file_is_known(const char *path);
/* Prints it (or only says that it is whole). 0, or 1 after a sentence on stderr. A .index or
 * .timeindex is compared with the .log of the same name. */
int log_file_dump(const char *path, bool print);

#endif
