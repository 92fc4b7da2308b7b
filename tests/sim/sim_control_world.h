/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Machines for the control plane: N brokers in one process, with clocks that differ, a management network that cuts,
 * breaks and delays, and disks that are slow and forget what was not finished. Same seed and same calls, same run (P12).
 *
 * The network carries frames over connections, as TCP does: in order, none twice, and all that is under way is lost with
 * the connection. A cut delays frames until it heals or the connection breaks.
 *
 * A disk finishes the operation it has after a while. A power cut leaves of an operation under way nothing, all, or the
 * first of its entries.
 */
#ifndef TIDEMARK_TESTS_SIM_CONTROL_WORLD_H
#define TIDEMARK_TESTS_SIM_CONTROL_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/node.h"
#include "raft/quorum_files.h"
#include "tidemark/random.h"

enum { HOSTS_MAX = 6, DISK_LOG_MAX = 1 << 16 };

struct stored_entry {
    uint64_t index, term;
    enum quorum_entry_kind kind;
    uint32_t len;
    uint8_t *bytes;
};

/* What survives. */
struct stored {
    uint64_t term, vote;
    struct quorum_snapshot *snapshot;
    uint64_t first;
    uint64_t count;
    struct stored_entry *entries;
};

struct parcel {
    struct parcel *next;
    uint64_t at_ns;
    struct quorum_message m;
};

/* The connection that `from` opened to `to`. */
struct wire {
    bool up;     /* seen by both ends */
    bool greeted; /* the first frame was taken at `to` */
    uint64_t number;
    uint64_t retry_at_ns;
    uint64_t gone_at_ns; /* when `to` notices that the last connection broke; TIDE_NEVER: it has */
    struct parcel *head[2], *tail[2]; /* [0] from -> to, [1] back */
    uint64_t last_at_ns[2];
};

struct host {
    int32_t id;
    bool voter; /* by the settings */
    bool alive;
    bool stopped; /* its node gave up; the process restarts */
    uint64_t restart_at_ns;
    uint64_t paused_until_ns;
    int64_t rate_ppm;
    uint64_t offset_ns;
    struct tide_uuid incarnation;
    int64_t clean_epoch; /* mark of a clean stop, -1 none */
    struct node *node;
    struct stored disk;
    uint64_t disk_done_ns; /* TIDE_NEVER: idle */
    const struct quorum_disk_op *op;
    struct quorum_files *files; /* real ones, instead of `disk`; host_begin() */
    uint64_t slow_until_ns;
    uint64_t starts;
};

struct world {
    struct tide_random random;
    uint64_t now_ns;
    uint32_t count;
    struct host hosts[HOSTS_MAX];
    struct wire wires[HOSTS_MAX][HOSTS_MAX]; /* [from][to] */
    bool cut[HOSTS_MAX][HOSTS_MAX];          /* frames from -> to do not arrive */
    uint64_t connection;
    uint64_t digest;
    uint64_t steps;
    bool late_notices; /* an end may hear late that a connection broke */
    struct node_config config; /* without what differs by host */
    void (*on_event)(void *arg, struct host *, struct node_event *);
    void (*on_turn)(void *arg, struct host *); /* instead: takes the events itself */
    void (*fail)(void *arg, const char *what); /* NULL: says how sim_control shows it again */
    void *arg;
    bool verbose;
};

uint64_t host_time(const struct world *, const struct host *);
uint64_t world_time_of(const struct world *, const struct host *, uint64_t local_ns);
void world_init(struct world *, uint64_t seed, uint32_t count, uint32_t voters);
void world_deinit(struct world *);
void host_start(struct world *, struct host *);
/* The same with a node that somebody else has made; it is the host's. */
void host_begin(struct world *, struct host *, struct node *, struct quorum_files *);
/* The process is gone at once; its disk keeps what it had and perhaps some of what was under way. */
void host_crash(struct world *, struct host *);
/* Breaks the connection that a opened to b. */
void wire_break(struct world *, uint32_t a, uint32_t b);
/* One event; time moves to it, at most to `until_ns`. False when time has come there. */
bool world_step(struct world *, uint64_t until_ns);
uint64_t world_next_ns(const struct world *); /* of the next event */
/* After a call to a node from outside. */
void host_flush(struct world *, struct host *);
_Noreturn void world_fail(const struct world *, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
