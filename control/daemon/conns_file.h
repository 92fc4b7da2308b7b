/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connections of the data ports as a file beside the metadata, for the next process (core/orphans.h): however this one
 * ends, its connections can be reset then. Written when connections have come since the last look, a quarter of a second apart;
 * what has gone may stay in it: to rouse what is no more does nothing. A file that is missing, damaged, or of another form
 * is an empty list.
 *
 * File `connections`: a header of 16 bytes (magic, format number, count of rows, zero), then rows of 40 bytes (address of ours,
 * address of the peer, port of ours, port of the peer, zero). Little-endian.
 *
 * Owner: the control thread; the write itself runs on libuv's pool, one at a time.
 */
#ifndef TIDEMARK_CONTROL_DAEMON_CONNS_FILE_H
#define TIDEMARK_CONTROL_DAEMON_CONNS_FILE_H

#include "core/orphans.h"
#include "daemon/world.h"

/* What the last process left behind, at most `max`; to be freed. NULL: nothing. [start] */
struct orphan *conns_file_load(const char *dir, uint32_t max, uint32_t *ret_count);

/* Keeps the file from now on. NULL without memory, or when it cannot be opened: the broker does without. */
struct conns_file *conns_file_start(struct world *, const char *dir);
void conns_file_stop(struct conns_file *);

#endif
