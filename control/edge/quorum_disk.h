/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a quorum's disk operations on libuv's pool, one at a time and in their order (D2).
 *
 * Owner: the thread of the loop. While an operation runs its helper alone touches the files.
 */
#ifndef TIDEMARK_CONTROL_EDGE_QUORUM_DISK_H
#define TIDEMARK_CONTROL_EDGE_QUORUM_DISK_H

#include <uv.h>

#include "raft/quorum.h"
#include "raft/quorum_files.h"

struct quorum_disk {
    uv_work_t work;
    uv_loop_t *loop;
    struct quorum *quorum;
    struct quorum_files *files;
    const struct quorum_disk_op *op; /* NULL: nothing runs */
    int result;
    bool stopping;
    /* Something came back: the owner looks for effects, and calls quorum_disk_kick again. */
    void (*ready)(void *owner);
    void *owner;
};

/* The caller's memory; it stays until quorum_disk_stop is over. */
void quorum_disk_init(struct quorum_disk *, uv_loop_t *, struct quorum *, struct quorum_files *, void (*ready)(void *owner), void *owner);
/* Begins the next operation, if there is one and none runs. After every input of the quorum. */
void quorum_disk_kick(struct quorum_disk *);
/* Nothing new begins. True: nothing runs, quorum and files may go. False: `ready` comes once more
 * when it is so; the quorum does not hear of that operation. */
bool quorum_disk_stop(struct quorum_disk *);

#endif
