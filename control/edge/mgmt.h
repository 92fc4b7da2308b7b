/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The management network and the metadata disk of a node: libuv's TCP and libuv's pool under control/node.
 *
 * One connection per direction and pair, TCP_NODELAY. To every peer that the node names a connection is kept; lost, it
 * is tried again after 20 ms, doubling to 1 s. A peer may come in from the hosts of quorum.voters and the networks of
 * controller.allow, and says first who it is; until then it may send RPC_HELLO_FRAME_MAX bytes, within two seconds.
 *
 * What waits in the kernel and in libuv for one connection is bounded: beyond MGMT_OUT_BYTES nothing more is taken from
 * the node. A frame is read into a buffer that grows with what has come, at most to its own length.
 *
 * The metadata log is written by one job at a time on libuv's pool, in order (D2).
 *
 * Owner: the control thread.
 */
#ifndef TIDEMARK_CONTROL_EDGE_MGMT_H
#define TIDEMARK_CONTROL_EDGE_MGMT_H

#include <uv.h>

#include "node/node.h"
#include "raft/quorum_files.h"
#include "tidemark/settings.h"

enum {
    MGMT_OUT_BYTES = 1 << 20,
    MGMT_UNKNOWN_MAX = 32, /* connections that have not said who they are */
};

struct mgmt;

struct mgmt_config {
    uv_loop_t *loop;
    const struct tide_settings *settings;
    struct node *node;
    struct quorum_files *files; /* NULL: an observer */
    void (*say)(const char *format, ...) __attribute__((format(printf, 1, 2)));
    /* The node has been given something: look for its events. */
    void (*on_turn)(void *arg);
    void *arg;
};

/* [start] Listens, if other brokers are to come here. NULL with a sentence. */
struct mgmt *mgmt_start(const struct mgmt_config *, char *error, size_t size);
/* After any call to the node from outside: sends, writes, and sets the timer. */
void mgmt_turn(struct mgmt *);
/* Closes everything; runs the loop until that is over. */
void mgmt_stop(struct mgmt *);
uint64_t mgmt_now_ns(void); /* the clock of the node, and of the cores */

struct mgmt_gauges {
    uint32_t links;  /* connections to peers that are up */
    uint32_t guests; /* peers connected to us */
    uint64_t refused; /* connections that were not let in, or closed for what they sent */
};
void mgmt_gauges(const struct mgmt *, struct mgmt_gauges *ret);

#endif
