/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can be asked of the metadata state machine, and what it answers: as structs, and as versioned bytes.
 *
 * A command in bytes: u16 kind, u16 version, u32 length, u64 controller epoch, u64 requester, u64 sequence, then the
 * fields of its kind; all little-endian; zeros up to a multiple of eight. Length counts everything. Texts and lists
 * carry their length in front. Whoever decodes trusts nothing: a kind or version that is not known, a text that is too
 * long, a byte too few or too many make it TIDE_BAD.
 *
 * Lists inside a command are borrowed by whoever applies or encodes it. What cluster_command_decode() gave is owned by
 * that command until cluster_command_free(). A result owns its items until cluster_result_free().
 */
#ifndef TIDEMARK_CONTROL_CLUSTER_COMMAND_H
#define TIDEMARK_CONTROL_CLUSTER_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark/settings.h"
#include "tidemark/status.h"
#include "tidemark/types.h"

/* Where memory comes from; tests make the Nth call fail. NULL wherever one is asked for: the heap. */
struct cluster_memory {
    void *(*take)(void *arg, size_t size); /* NULL: none left */
    void (*give)(void *arg, void *block);
    void *arg;
};

enum cluster_limit {
    CLUSTER_CONFIGS_MAX = 32, /* settings of one topic, of one broker */
    CLUSTER_CONFIG_NAME_MAX = 64,
    CLUSTER_CONFIG_VALUE_MAX = 256,
    CLUSTER_PARTITIONS_MAX = 4096, /* of one topic */
    CLUSTER_BROKERS_MAX = 1024,
    CLUSTER_HOST_MAX = 256,
    CLUSTER_FEATURES_MAX = 16,
    CLUSTER_FEATURE_NAME_MAX = 64,
    CLUSTER_CAUSE_MAX = 128,
    CLUSTER_MESSAGE_MAX = 120,
    CLUSTER_ITEMS_MAX = 10000,       /* partitions of one command */
    CLUSTER_RESOURCES_MAX = 1000,    /* of one ALTER_CONFIGS */
    CLUSTER_COMMAND_MAX = 1 << 20,   /* bytes */
    CLUSTER_RESULT_MAX = 5 << 19,    /* bytes: CLUSTER_ITEMS_MAX of the largest items */
    CLUSTER_CLIENT_SLOTS = 128,      /* requesters that are no brokers and whose last result is kept */
};

/* The numbers are stored. */
enum cluster_command_kind {
    CLUSTER_INIT = 1,
    CLUSTER_CONTROLLER_EPOCH = 2,
    CLUSTER_NO_OP = 3,
    CLUSTER_UPDATE_FEATURES = 4,
    CLUSTER_REGISTER_BROKER = 5,
    CLUSTER_FENCE_BROKER = 6,
    CLUSTER_UNFENCE_BROKER = 7,
    CLUSTER_BEGIN_SHUTDOWN = 8,
    CLUSTER_SET_DATA_SUSPECT = 9,
    CLUSTER_DIRS_OFFLINE = 10,
    CLUSTER_UNREGISTER_BROKER = 11,
    CLUSTER_CREATE_TOPIC = 12,
    CLUSTER_DELETE_TOPIC = 13,
    CLUSTER_CREATE_PARTITIONS = 14,
    CLUSTER_ALTER_PARTITION = 15,
    CLUSTER_ELECT_LEADERS = 16,
    CLUSTER_ALTER_REASSIGNMENTS = 17,
    CLUSTER_ASSIGN_DIRS = 18,
    CLUSTER_MOVE_LEADER = 19,
    CLUSTER_BALANCE_LEADERS = 20,
    CLUSTER_UNCLEAN_SWEEP = 21,
    CLUSTER_ALTER_CONFIGS = 22,
    CLUSTER_PRODUCER_ID_BLOCK = 23,
    CLUSTER_COMMAND_KIND_COUNT
};

/* ---- parts of commands, and of the state ------------------------------------------------------------------ */

struct cluster_config {
    char name[CLUSTER_CONFIG_NAME_MAX];
    char value[CLUSTER_CONFIG_VALUE_MAX];
};

struct cluster_endpoint {
    char name[LISTENER_NAME_MAX]; /* the listener */
    char host[CLUSTER_HOST_MAX];
    uint16_t port;
    uint16_t protocol; /* Kafka's number: 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL */
};

struct cluster_feature_range {
    char name[CLUSTER_FEATURE_NAME_MAX];
    uint16_t min, max;
};

struct cluster_feature_level {
    char name[CLUSTER_FEATURE_NAME_MAX];
    int16_t level; /* 0: the feature is off */
};

/* A broker as it is registered. In a REGISTER_BROKER command the fields from `epoch` on are not read. */
struct cluster_broker {
    int32_t id;
    struct tide_uuid incarnation; /* new at each start of the process */
    char rack[TIDE_TOPIC_NAME_MAX + 1];
    uint32_t endpoint_count;
    struct cluster_endpoint endpoints[TIDE_LISTENERS_MAX]; /* by listener number */
    struct tide_addr replication_address;                  /* of the data network */
    uint16_t replication_port;
    uint16_t core_count; /* data cores: streams can be steered to them */
    uint32_t feature_count;
    struct cluster_feature_range features[CLUSTER_FEATURES_MAX];
    uint32_t directory_count;
    struct tide_uuid directories[TIDE_LOG_DIRS_MAX];

    int64_t epoch;          /* index of the command that registered this incarnation */
    int64_t previous_epoch; /* of the incarnation before, -1 none */
    bool fenced;
    bool in_shutdown;
    bool suspect; /* its data network is taken to be broken */

    /* Derived, not in snapshots. */
    uint32_t replica_count; /* partitions that it hosts */
    uint32_t isr_count;     /* partitions whose ISR it is in */
    uint32_t leader_count;  /* partitions that it leads */
    uint64_t leader_moved;  /* index of the last command that took a leadership from it */
    uint64_t changed;       /* index of the last command that changed its registration or flags */
};

struct cluster_assignment {
    int32_t partition;
    uint32_t replica_count;
    int32_t replicas[TIDE_REPLICAS_MAX];
};

struct cluster_partition_ref {
    struct tide_uuid topic_id;
    int32_t partition;
};

struct cluster_isr_member {
    int32_t broker;
    int64_t epoch; /* -1: not compared */
};

/* What a leader wants its partition to become. */
struct cluster_partition_change {
    struct tide_uuid topic_id;
    int32_t partition;
    int32_t leader_epoch;
    int32_t partition_epoch;
    bool recovering;
    /* What the proposer knows about a shrink that is held back otherwise (guarded shrink): the leader has repeated it
     * for isr.shrink.guard.ms; bit i: replicas[i] reported lately that it hears the leader and is heard by it. */
    bool guard_over;
    uint16_t guard_hears;
    uint32_t isr_count;
    struct cluster_isr_member isr[TIDE_REPLICAS_MAX];
};

enum cluster_election { CLUSTER_ELECT_PREFERRED = 0, CLUSTER_ELECT_UNCLEAN = 1 }; /* Kafka's numbers */

struct cluster_reassignment {
    struct tide_uuid topic_id;
    int32_t partition;
    bool cancel;
    uint32_t replica_count;
    int32_t replicas[TIDE_REPLICAS_MAX];
};

struct cluster_dir_assignment {
    struct tide_uuid topic_id;
    int32_t partition;
    struct tide_uuid directory;
};

enum cluster_upgrade { CLUSTER_UPGRADE = 1, CLUSTER_DOWNGRADE_SAFE = 2, CLUSTER_DOWNGRADE_UNSAFE = 3 }; /* Kafka's numbers */

struct cluster_feature_update {
    char name[CLUSTER_FEATURE_NAME_MAX];
    int16_t level; /* 0: the feature is off */
    uint8_t type;  /* enum cluster_upgrade */
};

enum cluster_resource { CLUSTER_RESOURCE_TOPIC = 2, CLUSTER_RESOURCE_BROKER = 4 }; /* Kafka's numbers */
enum cluster_config_op {                                                          /* Kafka's numbers */
    CLUSTER_CONFIG_SET = 0,
    CLUSTER_CONFIG_DELETE = 1,
    CLUSTER_CONFIG_APPEND = 2,
    CLUSTER_CONFIG_SUBTRACT = 3,
};

struct cluster_config_change {
    uint8_t op; /* enum cluster_config_op */
    char name[CLUSTER_CONFIG_NAME_MAX];
    char value[CLUSTER_CONFIG_VALUE_MAX]; /* empty for DELETE */
};

struct cluster_resource_change {
    uint8_t type;                       /* enum cluster_resource */
    char name[TIDE_TOPIC_NAME_MAX + 1]; /* topic; broker id as a decimal number, empty: all brokers */
    bool replace;                       /* the list is all there will be; only SET in it */
    uint32_t change_count;
    const struct cluster_config_change *changes;
};

/* ---- commands ------------------------------------------------------------------------------------------------ */

/* The settings the state machine itself goes by, as the file of whoever starts a cluster gives them: for INIT. Later the
 * file does not count any more. */
enum { CLUSTER_BIRTH_CONFIGS_MAX = 3 };
uint32_t cluster_birth_configs(const struct tide_settings *, struct cluster_config ret[CLUSTER_BIRTH_CONFIGS_MAX]);

/* The levels that a cluster gets at its birth in this release, for INIT: a later release may write others there. */
uint32_t cluster_birth_features(struct cluster_feature_level ret[CLUSTER_FEATURES_MAX]);

/* Whose result is kept for retries. 0: nobody's. One slot per registered broker, an LRU of CLUSTER_CLIENT_SLOTS for all
 * others. A requester uses a sequence once, over restarts of its process too: begin with a random one. */
static inline uint64_t cluster_requester_broker(int32_t id) { return (uint64_t)(uint32_t)id + 1; }
static inline uint64_t cluster_requester_client(uint64_t number) { return number | 1ull << 63; }

struct cluster_command {
    enum cluster_command_kind kind;
    uint64_t controller_epoch; /* of the proposer; another one than the state's: NOT_CONTROLLER, nothing changes */
    uint64_t requester;
    uint64_t sequence;
    union {
        /* The cluster's birth: its id, the time, and the settings the state machine itself reads (as the default of all
         * brokers), which come from the file of whoever starts it. */
        struct {
            struct tide_uuid cluster_id;
            int64_t created_ms;
            uint32_t config_count;
            const struct cluster_config *configs;
            uint32_t feature_count; /* levels beyond those that every cluster is born with */
            struct cluster_feature_level features[CLUSTER_FEATURES_MAX];
        } init;
        struct {
            int32_t node;
            uint64_t term;
        } controller_epoch_of;
        struct {
            bool validate_only;
            uint32_t count;
            struct cluster_feature_update updates[CLUSTER_FEATURES_MAX];
        } update_features;
        struct {
            struct tide_uuid cluster_id;
            struct cluster_broker broker;
            int64_t previous_epoch; /* from the mark of a clean stop; -1: none, the stop was unclean */
            bool session_valid;     /* the proposer still hears the incarnation that is registered */
            /* Replicas of this broker that may have lost what was acknowledged (control-plane 4.8). */
            uint32_t unclean_count;
            const struct cluster_partition_ref *unclean;
        } register_broker;
        struct { /* FENCE, UNFENCE, BEGIN_SHUTDOWN, SET_DATA_SUSPECT, UNREGISTER */
            int32_t id;
            int64_t epoch;                 /* UNREGISTER does not look at it */
            bool on;                       /* SET_DATA_SUSPECT: on or off; UNREGISTER: although it is not fenced */
            char cause[CLUSTER_CAUSE_MAX]; /* for those who read the log */
        } broker;
        struct {
            int32_t id;
            int64_t epoch;
            uint32_t count;
            struct tide_uuid directories[TIDE_LOG_DIRS_MAX];
        } dirs_offline;
        struct {
            struct tide_uuid id; /* chosen by the proposer, so that apply stays deterministic */
            char name[TIDE_TOPIC_NAME_MAX + 1];
            bool validate_only;
            int32_t partition_count;    /* -1 with an assignment */
            int32_t replication_factor; /* -1 with an assignment */
            uint32_t placement_seed;
            uint32_t assignment_count; /* 0: placed by us */
            const struct cluster_assignment *assignment;
            uint32_t config_count;
            const struct cluster_config *configs;
        } create_topic;
        struct tide_uuid delete_topic;
        struct {
            struct tide_uuid id;
            bool validate_only;
            int32_t partition_count; /* the new total */
            uint32_t placement_seed;
            uint32_t assignment_count;
            const struct cluster_assignment *assignment; /* the new ones; 0: placed by us */
        } create_partitions;
        struct {
            int32_t broker;
            int64_t broker_epoch;
            uint32_t count;
            const struct cluster_partition_change *changes;
        } alter_partition;
        struct {
            uint8_t election; /* enum cluster_election */
            bool all;         /* every partition that needs it, as many as a result holds; the list is not looked at */
            uint32_t count;
            const struct cluster_partition_ref *partitions;
        } elect_leaders;
        struct {
            uint32_t count;
            const struct cluster_reassignment *changes;
        } alter_reassignments;
        struct {
            int32_t broker;
            int64_t broker_epoch;
            uint32_t count;
            const struct cluster_dir_assignment *changes;
        } assign_dirs;
        struct {
            struct tide_uuid topic_id;
            int32_t partition;
            int32_t leader_epoch;
            int32_t excluded; /* broker */
        } move_leader;
        uint32_t limit; /* BALANCE_LEADERS, UNCLEAN_SWEEP: partitions at most */
        struct {
            bool validate_only;
            uint32_t count;
            const struct cluster_resource_change *resources;
        } alter_configs;
        struct {
            int32_t broker;
            int64_t broker_epoch;
            uint32_t count;
        } producer_ids;
    };
    void *owned; /* by cluster_command_decode(); NULL in a command made by hand */
};

/* TIDE_FULL: does not fit (never more than CLUSTER_COMMAND_MAX). TIDE_BAD: no such kind, or a list that is too long. */
TIDE_MUST_USE enum tide_status cluster_command_encode(const struct cluster_command *, uint8_t *to, size_t cap, size_t *ret_len);
/* TIDE_BAD: the bytes are no command. TIDE_FULL: no memory. */
TIDE_MUST_USE enum tide_status cluster_command_decode(const struct cluster_memory *, const uint8_t *bytes, size_t len,
                                                      struct cluster_command *ret);
void cluster_command_free(struct cluster_command *);
/* The controller stamps its epoch on a command that came from elsewhere and was decoded successfully. */
void cluster_command_stamp(uint8_t *bytes, uint64_t controller_epoch);
const char *cluster_command_name(enum cluster_command_kind);

/* ---- results --------------------------------------------------------------------------------------------------- */

/* One entry of the command's list. */
struct cluster_item {
    int16_t error; /* Kafka's, 0 */
    char message[CLUSTER_MESSAGE_MAX];
    struct tide_uuid topic_id; /* of partitions; zero for settings */
    int32_t partition;         /* for settings: number of the resource */
    /* The partition as it is now: ALTER_PARTITION, ELECT_LEADERS, ALTER_REASSIGNMENTS, ASSIGN_DIRS, MOVE_LEADER, and
     * CREATE_TOPIC and CREATE_PARTITIONS, where the ids are the replicas (also when only validated). */
    bool has_state;
    bool recovering;
    int32_t leader;
    int32_t leader_epoch;
    int32_t partition_epoch;
    uint32_t id_count;
    int32_t ids[TIDE_REPLICAS_MAX]; /* the ISR */
};

struct cluster_result {
    int16_t error; /* Kafka's, 0; with items: the command as a whole */
    char message[CLUSTER_MESSAGE_MAX];
    uint64_t index; /* of the command that gave it; what it says is true of the state as of then */
    bool repeated;  /* the kept result of an earlier one; not in bytes */
    int64_t broker_epoch;
    int64_t first_producer_id;
    uint32_t changed; /* partitions that changed */
    uint32_t item_count;
    struct cluster_item *items; /* in the order of the command's list */
    const struct cluster_memory *memory; /* of the items */
};

TIDE_MUST_USE enum tide_status cluster_result_encode(const struct cluster_result *, uint8_t *to, size_t cap, size_t *ret_len);
TIDE_MUST_USE enum tide_status cluster_result_decode(const struct cluster_memory *, const uint8_t *bytes, size_t len,
                                                     struct cluster_result *ret);
void cluster_result_free(struct cluster_result *);

#endif
