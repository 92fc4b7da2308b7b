/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Helpers: a few threads for what may take long. A job is run exactly once and comes back to its
 * owner exactly once, through the owner's ring; then the owner's eventfd is written.
 */
#ifndef TIDEMARK_DISK_HELP_POOL_H
#define TIDEMARK_DISK_HELP_POOL_H

#include <stdint.h>

#include "tidemark/disk_op.h"
#include "tidemark/fs.h"

struct help_pool;

/* [start] Owners are the cores 0..core_count-1 and control. NULL without memory or threads. */
struct help_pool *help_pool_create(unsigned threads, uint32_t core_count, const struct tide_fs *);
/* [start] After the owners stopped: runs what is queued, then ends the threads. */
void help_pool_destroy(struct help_pool *);
void help_pool_set_doorbell(struct help_pool *, uint32_t owner, int fd); /* [start] */
/* [owner] The owner named in the job is the thread that calls. TIDE_FULL: not taken. */
TIDE_MUST_USE enum tide_status help_pool_submit(struct help_pool *, struct tide_job *);
/* [owner] Jobs that came back. */
unsigned help_pool_take(struct help_pool *, uint32_t owner, struct tide_job **jobs, unsigned max);

#endif
