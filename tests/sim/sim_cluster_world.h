/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of sim_cluster share: the machines, what control has committed, and the run.
 *
 *   sim_cluster.c          seeds, mutants, the command line; what is simulated and checked
 *   sim_cluster_world.c    a run: machines that start, turn and fall, the wire between them, time
 *   sim_cluster_control.c  control, as a script
 *   sim_cluster_faults.c   what goes wrong, rot included
 *   sim_cluster_checks.c   what is checked at every turn, and at the end
 *   sim_cluster_fill.c     the story of a broker that is filled
 *   sim_cluster_behind.c   the story of a follower in sync that is behind memory
 */
#ifndef TIDEMARK_TESTS_SIM_CLUSTER_WORLD_H
#define TIDEMARK_TESTS_SIM_CLUSTER_WORLD_H

#include "settings/settings.h"
#include "sim_client.h"
#include "sim_machine.h"
#include "sim_wire.h"

enum { LETTERS_MAX = 256 };

struct sim;

/* The stories of a broker that is filled, and of one that is in sync and behind memory; without faults. */
enum story { STORY_NONE, STORY_FILL_FAST, STORY_FILL_BY_LEADER, STORY_FILL_BY_FOLLOWER, STORY_BEHIND_MEMORY };

/* A replica, as control sees it. */
enum life {
    LIFE_OPEN,      /* adopted, or on the way there */
    LIFE_RELEASING,
    LIFE_DRAINING,  /* closed; somebody may still name it */
    LIFE_REFUSED,   /* recovery did not open it */
};

struct machine {
    struct sim *sim;
    unsigned id; /* broker id - 1 */
    bool up;     /* the process runs */
    bool killed; /* and the power stayed, when it fell last */
    uint64_t deaf_until_ns;   /* its management network is gone: control hears nothing of it, and it nothing of control */
    uint64_t paused_until_ns; /* it is stopped, and continues as if nothing had happened */
    bool registered;
    uint64_t boot_ns, heard_ns, registered_ns;
    int64_t epoch;
    uint64_t starts;
    struct tide_uuid incarnation;
    struct sim_machine data;
    struct partition *partitions[SIM_PARTITIONS_MAX];
    bool adopted[SIM_PARTITIONS_MAX];
    struct tide_view *view;
    bool view_stale;
    uint64_t sync_ns; /* when control's news reach it */
    int64_t end_seen[SIM_PARTITIONS_MAX], durable_seen[SIM_PARTITIONS_MAX];
    /* the last role told, so that none is told twice */
    int32_t told[SIM_PARTITIONS_MAX];
    int64_t high[SIM_PARTITIONS_MAX]; /* P3 */
    int32_t high_epoch[SIM_PARTITIONS_MAX];
    int64_t mark[SIM_PARTITIONS_MAX]; /* its replication-offset-checkpoint */
    enum life life[SIM_PARTITIONS_MAX];
    bool rotten[SIM_PARTITIONS_MAX];  /* it was met */
    struct tide_mail releases[SIM_PARTITIONS_MAX]; /* a core may hold one for long, and go down with it */
};

/* The committed state of a partition. */
struct committed {
    int32_t leader; /* broker number, -1 none */
    int32_t leader_epoch, partition_epoch;
    uint32_t isr; /* bit per broker */
    uint32_t elr; /* not in it, and yet with everything: the high watermark stands still since they left */
    uint32_t lost; /* they do not lead */
};

/* What control was asked and answers later. */
struct question {
    uint64_t at_ns, order;
    unsigned from;
    bool decided;
    struct tide_mail *mail;
};

struct sim {
    struct tide_random random;
    uint64_t now_ns, order, turns, begin_ns;
    uint64_t calm_ns;
    uint64_t seed;
    bool calm, trace;
    bool memory; /* ack.durability */
    enum story story;
    bool leader_throttled, follower_throttled;
    int64_t throttle_rate; /* of a broker */
    struct sim_wire wire;
    struct tide_settings settings;
    struct tide_topic_config topic;
    struct tide_uuid topic_id, cluster_id;
    const struct sim_pools *pools;
    unsigned brokers, core_count, partitions;
    struct machine machines[SIM_BROKERS_MAX];
    struct committed committed[SIM_PARTITIONS_MAX];
    int64_t next_epoch;
    struct question questions[LETTERS_MAX];
    unsigned question_count;
    unsigned crashes, kills, moves, cuts, deafs, pauses, rots, repairs;
    uint64_t forgotten; /* records that replicas had held and lost */
    unsigned rotted[SIM_PARTITIONS_MAX]; /* by broker id: whose replica has a bit flipped, 0 nobody's */
    unsigned looked[SIM_PARTITIONS_MAX]; /* how far the search for it is, at the end */
    uint64_t next_fault_ns;
    int leader_of_epoch[SIM_PARTITIONS_MAX][4096]; /* P8 */
    int64_t committed_end[SIM_PARTITIONS_MAX];
    struct sim_client client;
};

/* ---- sim_cluster_world.c ------------------------------------------------------------------------------ */
/* The machines start. Before it are set: random and seed, now_ns and begin_ns, pools, story, trace. */
void sim_begin(struct sim *);
void sim_end(struct sim *);
/* Time goes on to whatever comes next. */
void sim_step(struct sim *);
_Noreturn void sim_give_up(const struct sim *, const char *what);
/* What happened, line by line, when a seed is looked into. */
void sim_trace(const struct sim *, const char *format, ...) __attribute__((format(printf, 2, 3)));
uint64_t sim_below_ms(struct sim *, uint64_t ms);

void machine_boot(struct machine *);
/* The power goes, or the machine is taken down at the end; with ack.durability=memory it may be the process alone. */
void machine_halt(struct machine *);
/* False: what rotted there does not let it. */
bool machine_open(struct machine *, unsigned partition, bool repair);
/* Control's letter about a partition to its core. */
void machine_order(struct machine *, enum mail_kind, unsigned partition);

/* ---- sim_cluster_control.c ---------------------------------------------------------------------------- */
void control_turn(struct sim *);
/* A new leader out of the ISR; `not` is passed over when another is there. */
void control_elect(struct sim *, unsigned partition, int not);
/* What was committed for a partition has changed: the machines hear of it. */
void control_changed(struct sim *, unsigned partition);
/* Its process runs, is not stopped, and can be reached. */
bool control_hears(const struct sim *, const struct machine *);
/* It is a member of the ISR of every partition. */
bool control_has_in_sync(const struct sim *, unsigned broker);

/* ---- sim_cluster_faults.c ----------------------------------------------------------------------------- */
/* One of them, and when the next one comes. */
void faults_strike(struct sim *);
/* A log that is being cut or moved on is where another election hurts most. */
void faults_elect_amid_cuts(struct sim *);
/* At the end: what rotted and was not met yet is looked for. False: something of that is under way. */
bool faults_rot_is_settled(struct sim *);

/* ---- sim_cluster_checks.c ----------------------------------------------------------------------------- */
/* P3 and P8 at one partition of a machine, behind a turn of its core. */
void checks_on_turn(struct machine *, unsigned partition);
/* P9: everything is acknowledged and read, every replica in sync. */
bool checks_are_done(const struct sim *);
/* P4, and what the client knows of P1, P5 and P6. */
void checks_compare(struct sim *);

/* ---- sim_cluster_fill.c ------------------------------------------------------------------------------- */
/* It is the story of this run, in one of its three ways. */
bool fill_is_told(const struct sim *);
/* Three brokers without faults, and a throttle. */
void fill_plan(struct sim *);
void fill_run(struct sim *);

/* ---- sim_cluster_behind.c ----------------------------------------------------------------------------- */
/* One stream to one follower; what waits in it keeps everything from being read that may be kept. */
void behind_plan(struct sim *);
void behind_run(struct sim *);

#endif
