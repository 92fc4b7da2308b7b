/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The structs of control.c, changes.c, replicas.c, view_builder.c and admin*.c.
 */
#ifndef TIDEMARK_CONTROL_INTERNAL_H
#define TIDEMARK_CONTROL_INTERNAL_H

#include <rte_mempool.h>
#include <rte_rcu_qsbr.h>

#include "control/cluster/cluster.h"
#include "control/control.h"
#include "control/edge/dirs.h"
#include "control/marks.h"
#include "control/node/disks.h"
#include "control/node/hearing.h"
#include "control/node/node.h"
#include "control/stalls.h"
#include "kafka/errors.h"
#include "tidemark/disk_op.h"

enum replica_state {
    REPLICA_ABSENT,
    REPLICA_OPENING,
    REPLICA_ADOPTING,
    REPLICA_SERVING,
    REPLICA_LEAVING,
    REPLICA_RELEASING,
    REPLICA_CLOSING,
    REPLICA_DRAINING,
    REPLICA_FAILED,
    REPLICA_STATE_COUNT
};

enum { DIR_MAX = 4096, REPLICA_ERROR_MAX = 512 };

/* A replica that lives here, or on its way in or out. */
struct replica {
    struct control *control;
    enum replica_state state;
    uint32_t slot;
    struct tide_uuid topic_id;
    char topic[TIDE_TOPIC_NAME_MAX + 1];
    int32_t index;
    struct partition *partition; /* NULL in FAILED */
    bool delete_files;   /* the topic is gone */
    bool deleting;       /* the job that is out removes the files */
    bool again;          /* its log failed: FAILED comes behind DRAINING */
    uint32_t tries;      /* to open it again, since it last served for a while */
    uint64_t retry_ms;   /* when a FAILED one is opened */
    uint64_t served_ms;  /* since when it is served */
    uint64_t token;      /* grace period that LEAVING and DRAINING wait for */
    struct tide_job job; /* open or close */
    bool job_unsent;     /* the helpers had no room */
    struct tide_topic_config config; /* as its core has it, or will have with the order that is out */
    bool config_stale;               /* it may be another one by now */
    bool configuring;                /* an order with it is out */
    uint32_t log_dir; /* in dirs */
    bool opened;
    bool role_out;       /* a letter with its role is at its core */
    int32_t role_epoch;  /* partition epoch of the last role that was sent, -1 none */
    bool move_out;       /* the cluster is asked to let another one lead */
    int32_t kept_epoch;  /* leader epoch in which it said that there is none, -1 */
    bool ends_early; /* when it was opened: before what was known to be committed */
    bool was_absent; /* its directory, when it was to be opened */
    bool rotten;         /* a batch of it is not what was written: it is to be given up and filled again, if others have it */
    bool forgot; /* its log failed, and had acknowledged from memory: the cluster is told before it is opened again */
    bool repairs;        /* it is being opened so that what rotted goes */
    bool assign_out;     /* the cluster is asked to put it down as lost, or in its directory again */
    int32_t spare_epoch; /* partition epoch in which it could not be spared, -1 */
    uint64_t assign_ms;  /* asked again */
    char dir[DIR_MAX];
    char error[REPLICA_ERROR_MAX];
};

/* A data directory; by place in dirs. */
struct directory {
    uint32_t number;
    const char *path;
    struct tide_uuid id;
    bool offline; /* as control goes by it */
    struct tide_job probe;
    bool unsent; /* the helpers had no room for it */
};

/* A view that no core may use any more once `token` has passed. */
struct retired {
    struct retired *next;
    const struct tide_view *view;
    uint64_t token;
};

struct admin_ask;
struct submission;

struct control {
    struct control_config config;
    bool leaving;  /* control_stop was called: the cluster moves what we lead away first */
    bool stopping; /* replicas are being closed */
    bool ready_told;
    bool stopped_told;
    bool unclean;  /* a stop is not clean any more: something that was acknowledged may be lost here (control-plane 4.8) */
    bool failed;    /* the node has stopped: the process ends */
    bool caught_up; /* the metadata is: replicas are opened from here on */
    bool recovered; /* and the node knows that they are */
    bool was_active; /* this broker was unfenced once */
    bool takes_clients; /* as in tide_view */
    bool again;
    uint64_t now_ns;
    uint64_t due_ns;  /* the next turn that no event asks for */
    uint64_t look_ns; /* the next look at the data path */
    uint64_t version;
    uint64_t finished;        /* told to the node */
    uint64_t finishing;       /* this index, when the grace period has passed */
    uint64_t finishing_token; /* 0: none */
    uint32_t orders_out;      /* roles that cores have not answered */
    uint64_t refused_ms;      /* since when other brokers refuse us; 0: they do not */
    uint64_t refused_said_ms;
    struct replica *replicas[TIDE_PARTITIONS_MAX];
    uint32_t replica_end; /* behind the last slot that was ever taken */
    const struct tide_view *view;
    struct retired *retired;
    struct admin_ask *asks; /* in progress, admin.h */
    struct submission *submissions; /* on their way to the cluster */
    bool reconcile;  /* a directory became free */
    bool view_stale; /* the cluster or a replica changed since the view was built */
    uint64_t looked_ms;      /* at the data path */
    struct stalls stalls;
    uint64_t turn_token;     /* a quiet point that every core is to pass, 0: none */
    uint64_t turn_ms;        /* since when it is waited for */
    uint64_t dark_ms;        /* since when no port has a link, 0: one has */
    uint64_t well_ms;        /* since when all is well, 0: it is not */
    bool faulty;             /* ports and cores: ours is the fault */
    struct hearing hearing;
    struct disks disks;
    struct directory directories[TIDE_LOG_DIRS_MAX];
    bool dirs_out; /* the cluster is told of directories */
    struct node_health health; /* as told to the node */
    uint64_t replica_failures, replica_reopens;
    struct marks marks;
    uint64_t marks_ms; /* when they were written last */
    struct tide_topic_config defaults; /* of topics that have no settings of their own: configs_refresh */
    struct control_throttle {
        int64_t rate;
        char replicas[SETTING_TEXT_MAX]; /* of topics that do not say */
    } leader_throttle, follower_throttle; /* of this broker: configs_refresh */
    uint64_t configured;               /* index of the cluster as of which replicas have their settings */
    uint64_t next_producer_id;
    uint64_t producer_ids_end;
    bool producer_ids_asked; /* a block is on its way */
    struct admin_ask *producer_waiters;
    struct tide_mail *unsent_head[TIDE_CORES_MAX], *unsent_tail[TIDE_CORES_MAX];
};

/* ---- control.c */
/* The cluster has let us go: replicas are closed now. */
void control_leave(struct control *);

/* ---- changes.c */
/* A leader wants another ISR; the letter goes back with the answer. */
void changes_on_isr(struct control *, struct tide_mail *);
/* The replica is to stand in that directory, or nowhere (cluster_directory_lost); replicas_on_assigned() follows. False: not now. */
bool changes_assign_dir(struct control *, const struct replica *, const struct tide_uuid *directory, int32_t partition_epoch);
/* Another one in sync is to lead what this replica leads in that epoch; replicas_on_moved() follows. False: not now. */
bool changes_move_leader(struct control *, const struct replica *, int32_t leader_epoch);
/* The cluster learns our directories anew, or where replicas live; directories_on_told() follows. False: not now. */
bool changes_register_directories(struct control *, const struct cluster_broker *ours);
bool changes_assign_directories(struct control *, const struct cluster_dir_assignment *, uint32_t count);
/* What the node has to say. */
void changes_take(struct control *);
/* The node hears how far the cores are, the cores how long the lease is. True while a grace period is waited for. */
bool changes_tick(struct control *);
void changes_lease(struct control *);
/* At the end: forgets what is on its way. */
void changes_abandon(struct control *);
/* A change on its way to the cluster. The command is read before this returns; its result comes by
 * admin_on_result(), exactly once, perhaps before this returns:
 *   error 0                  it is applied here
 *   a Kafka error            the cluster refused it
 *   NOT_CONTROLLER, REQUEST_TIMED_OUT, KAFKA_STORAGE_ERROR   it got no further, or nobody knows */
void control_submit(struct control *, const struct cluster_command *, struct admin_ask *, uint32_t index);
/* Begins to wait until the cluster as it is now is served here and seen by every core: a token, or
 * 0 when that is not published yet. */
uint64_t control_show(struct control *);
bool control_is_seen(const struct control *, uint64_t token);
uint64_t control_now_ms(const struct control *);
void control_answer(struct control *, struct tide_mail *);

/* The metadata quorum, for those who ask (DescribeQuorum). */
struct control_quorum_member {
    int32_t node;
    int64_t log_end;       /* -1 unknown */
    int64_t last_fetch_ms; /* wall clock, -1 unknown */
    int64_t last_caught_up_ms;
};
struct control_quorum {
    int32_t leader; /* -1 unknown */
    int32_t epoch;
    int64_t high_watermark;
    uint32_t voter_count, observer_count;
    struct control_quorum_member voters[TIDE_VOTERS_MAX];
    struct control_quorum_member observers[CLUSTER_BROKERS_MAX];
};
void control_quorum(const struct control *, struct control_quorum *ret);

/* Sends an order, behind what could not be sent before. */
void control_send(struct control *, uint32_t core, struct tide_mail *);
/* What a partition of the topic works with; as of the last configs_refresh. */
void topic_config_of(const struct control *, const struct cluster_topic *, struct tide_topic_config *ret);
/* Finds the settings of this broker and of all brokers anew. */
void configs_refresh(struct control *);
/* Is this broker's replica in the topic's *.throttled.replicas? As of the last configs_refresh. */
bool leader_is_throttled(const struct control *, const struct cluster_topic *, int32_t partition);
bool follower_is_throttled(const struct control *, const struct cluster_topic *, int32_t partition);

/* ---- health.c */
/* Looks at the data path, and tells the node, when it is time. */
void health_look(struct control *);

/* ---- directories.c */
void directories_init(struct control *);
/* A log in that directory could not be written or opened; `again`: not for the first time since it was opened anew. */
void directories_on_failure(struct control *, uint32_t dir, bool again);
void directories_on_probe(struct control *, struct tide_job *);
/* Probes, and what they and time have changed; adds it to the health that the node hears. */
void directories_look(struct control *, struct node_health *);
/* Tells the cluster in which of several directories the replicas here live. */
void directories_assign(struct control *);
void directories_on_told(struct control *);
/* A helper still has a probe. */
bool directories_are_probed(const struct control *);

/* ---- replicas.c */
bool directory_is_busy(const struct control *, const char *topic, int32_t index);
/* Brings the replicas that live here in line with the cluster: opens what is missing, sends away
 * what is gone. */
void replicas_reconcile(struct control *);
void replicas_on_order(struct control *, struct tide_mail *);
/* A core says that the log of one of its partitions failed. */
void replicas_on_failed(struct control *, const struct mail_failed *);
void replicas_on_job(struct control *, struct tide_job *);
/* A core met a batch that is not what was written. */
void replicas_on_rotten(struct control *, const struct partition *, int64_t offset);
/* What became of changes_assign_dir(). */
void replicas_on_assigned(struct control *, const struct tide_uuid *topic_id, int32_t index, int32_t partition_epoch, int16_t error);
uint32_t replicas_rotten(const struct control *);
/* When the next FAILED replica is to be opened, or something asked again; UINT64_MAX: there is none. */
uint64_t replicas_retry_ms(const struct control *);
/* States that wait for a grace period move on. True while some still wait. */
bool replicas_tick(struct control *);
void replicas_stop(struct control *);
/* Takes down what those that are served have committed. */
void replicas_note_marks(struct control *);
/* Before the broker registers: those that have not what they had (control-plane 4.8). */
uint32_t replicas_lost(const struct control *, struct cluster_partition_ref *ret, uint32_t max);
bool replicas_recovered(const struct control *); /* nothing is opening or adopting for the first time */
bool replicas_settled(const struct control *); /* nothing is opening or adopting for the first time, and all have their settings */
/* A core has taken a role. */
void replicas_on_role(struct control *, struct tide_mail *);
/* What became of changes_move_leader(). */
void replicas_on_moved(struct control *, const struct tide_uuid *topic_id, int32_t index, int32_t leader_epoch, int16_t error);
bool replicas_gone(const struct control *);
/* At the end: forgets those that are left. */
void replicas_abandon(struct control *);
struct replica *replicas_of(const struct control *, const struct partition *);
struct replica *replicas_find(const struct control *, const struct tide_uuid *topic_id, int32_t index);

uint32_t replica_home(const struct control *, const struct replica *);

/* ---- view_builder.c */
struct tide_view *view_build(struct control *);
void view_free(const struct tide_view *);

/* ---- admin.c, and admin_*.c by family */
void admin_on_ask(struct control *, struct tide_mail *);
void admin_on_result(struct control *, struct admin_ask *, uint32_t index, const struct cluster_result *);
/* Answers what is seen or late. True while some asks still wait. */
bool admin_tick(struct control *);
/* At the end: forgets all that is in progress. */
void admin_abandon(struct control *);
#endif
