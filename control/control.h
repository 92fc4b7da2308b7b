/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control thread: this broker's part in the cluster, and what the cores are told of it.
 *
 * Pure: time comes in, and what goes out are letters, jobs, a view, and what the node (control/node) has to send and to write;
 * control_loop.h is the edge that turns it in the daemon. Cores ask by mail (topics, configurations, producer ids); a change
 * becomes a command, which the node brings to the controller of the cluster; when it is applied here, it changes which replicas
 * live here and what the view says. What other brokers change arrives in the same way.
 *
 * A start: the metadata is caught up -> what the cluster does not know is set aside, logs are recovered -> the broker
 * registers -> it is unfenced when its cores have acted on that -> ready. A stop: the cluster moves the leaderships
 * away -> replicas are closed -> the mark of a clean stop, with the epoch of the registration.
 *
 * Finished. The node is told up to which command all cores have acted: replicas are as that command wants them, orders
 * are answered, and every core has passed a quiet point with the view.
 *
 * A replica's life on this side:
 *
 *   ABSENT -> OPENING   a helper recovers its log
 *          -> ADOPTING  a letter to its home core
 *          -> SERVING   named by the view
 *          -> LEAVING   no longer in the view; waits for a grace period
 *          -> RELEASING a letter to its home core, back when nothing is in flight
 *          -> CLOSING   a helper writes it out, and deletes its files when the topic is gone
 *          -> DRAINING  until no core names it any more, then ABSENT, or FAILED when it left because
 *                       its log failed (a core said so: MAIL_FAILED, design P11)
 *   OPENING -> FAILED   the log could not be opened
 *   FAILED -> OPENING   after a while, with a new partition: recovery reads what the disk really has
 *
 * A FAILED replica is not in the view; clients look for a leader until it is back. What it led is given away first, to another
 * one in sync: that one has all that was acknowledged, even from memory, and the disk may be long in coming back. A directory that
 * cannot be written, or in which a log goes on failing, is told to the cluster (directories.c). It is tried again
 * for as long as its topic is there (P9: no manual step), after 100 ms at first and twice as long
 * each time, up to 30 s; one that served for a minute begins at 100 ms again.
 *
 * Order: a change is answered only after every core has passed a quiet point with the view that
 * contains it, so the next request on any connection sees it.
 *
 * Health. Every 50 ms control looks whether a port has a link and whether every core has passed a quiet point; what is not
 * so for data.self.timeout.ms is told to the node, which asks to be fenced, until all has been well for data.recover.ms. A
 * core counts as stalled only while control itself is on time: what holds both up is the machine. A broker without others
 * goes on: nobody could lead in its place. Brokers from which nothing comes on the data network, or which acknowledge nothing,
 * for data.probe.timeout.ms are named in each report to the controller (node/hearing.h).
 *
 * Timers (control_deadline_ns): a 1 ms tick while something waits for a grace period; the time when the next FAILED
 * replica is opened again; the look at the data path.
 *
 * Owner: the control thread.
 */
#ifndef TIDEMARK_CONTROL_CONTROL_H
#define TIDEMARK_CONTROL_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark/fs.h"
#include "tidemark/mail.h"
#include "tidemark/settings.h"
#include "tidemark/view.h"

struct control;
struct tide_job;
struct cluster;
struct cluster_broker;
struct cluster_config;
struct dirs;
struct node;
struct node_config;
struct rte_rcu_qsbr;

/* What control knows of a replica that shall live here. */
struct control_replica {
    const char *topic;
    struct tide_uuid topic_id;
    int32_t index;
    uint32_t slot;
    uint32_t home_core;
    const char *dir;
    const struct tide_topic_config *config;
    int64_t high_watermark; /* known to be committed before; 0: nothing is */
    bool repair; /* the cluster knows that it has not all it had: what rotted is cut away, with all that follows */
};

/* The data plane as control calls it; the daemon and the simulator fill it in, so that control
 * includes nothing of dataplane but the codec. */
struct control_data_plane {
    void *self;
    struct partition *(*create)(void *self, const struct control_replica *);
    int (*open)(struct partition *, const struct tide_fs *, char *error, size_t size); /* [helper] */
    int (*close)(struct partition *, const struct tide_fs *);                          /* [helper] */
    void (*destroy)(struct partition *);
    /* Of a partition that is served: bytes of its log, and how far its log is behind what is committed. */
    void (*measure)(struct partition *, int64_t *ret_bytes, int64_t *ret_lag);
    /* Of a partition that is or was served: what may be written down as committed and here. */
    int64_t (*checkpoint)(const struct partition *);
    /* Of one that was opened: does its log end before what was written down? */
    bool (*lost)(const struct partition *);
    bool (*in_use)(void *self, const struct partition *); /* some core still names it */
    enum tide_status (*submit)(void *self, struct tide_job *);
    unsigned (*take)(void *self, struct tide_job **jobs, unsigned max);
    uint64_t (*turns)(void *self, uint32_t core); /* that the core has begun; NULL: quiet points alone tell of the cores */
    bool (*port_is_up)(void *self); /* some port of the data network has a link; NULL: always */
    /* Tells of every open stream when the broker at its other end was last heard on it, and when that last acknowledged
     * bytes of ours; NULL: nobody is listened to. */
    void (*each_peer)(void *self, uint64_t now_ns, void (*tell)(void *arg, int32_t broker, uint64_t heard_ns, uint64_t confirmed_ns), void *arg);
};

struct control_config {
    const struct tide_settings *settings;
    struct dirs *dirs;
    const struct tide_fs *fs;
    struct node *node; /* with the metadata as it was */
    const struct cluster *cluster; /* the node's; control_start fills it in */
    struct post_office *office;
    struct tide_publication *publication;
    struct control_data_plane data;
    struct rte_mempool *response_pool; /* for bodies of answers */
    struct rte_mempool *order_pool;    /* letters to the cores: two per replica, and some */
    int32_t broker_id;
    struct tide_uuid incarnation;
    /* [control] Called once when this broker may lead and the replicas that lived here at start are served (or failed). */
    void (*on_ready)(void *arg);
    /* [control] Called once when everything is closed after control_stop. */
    void (*on_stopped)(void *arg, bool clean);
    /* [control] An id that nothing else has. */
    struct tide_uuid (*new_id)(void *arg);
    void *arg;
};

/* [start] NULL without memory. */
struct control *control_create(const struct control_config *);
/* After on_stopped. */
void control_destroy(struct control *);
/* The power went: the cores are gone already, and with them goes every replica that is left. control_destroy() follows. */
void control_cut(struct control *);
/* The doorbell or a job rang, the time of the deadline has come, or control was asked for something. Here and below: the
 * node may have something to send or to write afterwards. */
void control_turn(struct control *, uint64_t now_ns);
/* The node was given something. True: it had something to say, and control has turned. */
bool control_on_node(struct control *, uint64_t now_ns);
uint64_t control_deadline_ns(const struct control *);
/* Begins a clean stop; on_stopped follows. control_turn() is to be called after it. */
void control_stop(struct control *, uint64_t now_ns);

/* [control] One line of the broker's log, with the time in front. */
void control_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* How this broker registers. */
void control_registration(const struct tide_settings *, const struct dirs *, struct cluster_broker *ret);
/* All that the settings say of the node; `birth` has to stay. The ids, the seed, the mark of a clean stop and the time are the caller's. */
void control_node_config(const struct tide_settings *, const struct dirs *, struct cluster_config *birth, struct node_config *ret);

/* Takes a voter into the quorum (address: host:port) or out of it (NULL). 0: begun, and the log tells how it
 * ended; otherwise a sentence. control_turn() is to be called after it. */
int control_change_voter(struct control *, uint64_t now_ns, int32_t id, const char *address, char *error, size_t size);

/* Sets a setting of all brokers, or deletes it (NULL). 0: begun, and the log tells how it ended; otherwise a sentence.
 * control_turn() is to be called after it. */
int control_change_config(struct control *, uint64_t now_ns, const char *name, const char *value, char *error, size_t size);

struct control_gauges {
    int32_t controller;       /* broker, -1 */
    uint64_t controller_epoch;
    uint64_t metadata_index;
    uint64_t lease_left_ms;
    int member_state;         /* enum member_state */
    uint32_t topics;
    uint32_t replicas_serving;
    uint32_t replicas_failed;   /* FAILED, or on the way there */
    uint32_t replicas_rotten;   /* with a batch that is not what was written, which others have not given again yet */
    uint64_t replica_failures;  /* since the start: logs that failed or could not be opened */
    uint64_t replica_reopens;   /* since the start: tries to open one again */
    uint32_t directories_offline;
    uint32_t silent;            /* brokers that are not heard on the data network, or do not hear us */
    uint64_t view_version;
    uint64_t commands;
};
void control_gauges(const struct control *, uint64_t now_ns, struct control_gauges *ret);

#endif
