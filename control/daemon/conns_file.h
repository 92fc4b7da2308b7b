/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file `connections` beside the metadata: at the start it is read, for what the last process left behind, and made anew
 * for the cores, which keep it from then on (core/roster.h has its form). One that is missing, damaged, or of another form is an
 * empty list.
 *
 * Owner: the control thread, before the cores start.
 */
#ifndef TIDEMARK_CONTROL_DAEMON_CONNS_FILE_H
#define TIDEMARK_CONTROL_DAEMON_CONNS_FILE_H

#include "core/orphans.h"
#include "core/roster.h"

/* What the last process left behind, at most `max`; to be freed. NULL: nothing. [start] */
struct orphan *conns_file_load(const char *dir, uint32_t max, uint32_t *ret_count);

/* A file of the header and `blocks` more, with these orphans in the slots from `first` on of the first core: should this process
 * end before it has roused them, the next one finds them. The old one is in its place until then. Returns its descriptor;
 * -1, and errno, when it cannot be made: the broker does without. [start] */
int conns_file_make(const char *dir, uint32_t blocks, const struct orphan *list, uint32_t count, uint32_t first);

#endif
