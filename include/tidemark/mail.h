/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mail between threads: the cores (numbers 0..core_count-1) and control (number core_count).
 * One single-producer single-consumer rte_ring per ordered pair. A letter is answered by sending
 * the same letter back, so an answer never needs memory; whoever took it from a pool gives it
 * back there.
 *
 * Doorbells. Sending puts the receiver into the sender's `rung` set. At the end of its turn the
 * sender passes a full fence and wakes those of the set that are asleep; a receiver that is about
 * to block sets `asleep`, passes a full fence and looks at its rings once more. One of the two
 * sees the other.
 */
#ifndef TIDEMARK_MAIL_H
#define TIDEMARK_MAIL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <rte_mempool.h>
#include <rte_ring.h>

#include "tidemark/published.h"
#include "tidemark/rope.h"
#include "tidemark/settings.h"
#include "tidemark/status.h"
#include "tidemark/types.h"

struct partition;

enum mail_kind {
    /* between cores */
    MAIL_APPEND = 1,  /* session core -> home core, and back with the result */
    MAIL_TRIM,        /* session core -> home core, and back when the log starts there */
    MAIL_GROUP,       /* session core -> home core of a group's coordinator, and back with the answer */
    MAIL_GROUP_CANCEL, /* the same way: the answer to an earlier one is not wanted any more; and back */
    MAIL_NEIGHBOUR,   /* an address that one core learned */
    MAIL_WAY,         /* control -> core: the kernel's way out is another one */
    MAIL_SUBSCRIBE,   /* stream core -> home core of the leader, and back with the grant */
    MAIL_UNSUBSCRIBE, /* home core -> stream core: close that subscription, and back when it is closed; or
                       * stream core -> home core: it is closed, and back */
    /* control -> core, and back when done */
    MAIL_ADOPT,       /* the partition is the core's from now on */
    MAIL_RELEASE,     /* let go of it; comes back when nothing is in flight */
    MAIL_CONFIGURE,   /* its topic's settings changed */
    MAIL_BECOME,      /* its role in a partition epoch; ignored unless that is greater than its own */
    MAIL_QUIESCE,     /* stop taking connections and requests */
    /* core -> control, and back with the answer */
    MAIL_ASK,
    MAIL_ISR,         /* the leader wants another ISR; back with what is committed, or an error */
    MAIL_FAILED,      /* the replica's log is FAILED: it is to be closed and opened again */
    MAIL_ROTTEN,      /* a batch of it does not come back from the disk as it was written; from any core, once */
    MAIL_KIND_COUNT
};

enum ask_result {
    ASK_BODY,    /* `answer` holds the response body */
    ASK_RERUN,   /* the view has changed: run the request again */
    ASK_CLOSE,   /* malformed: close the connection */
};

struct mail_append {
    struct partition *partition;
    struct tide_slice records;   /* held by the sender */
    int16_t acks;
    int16_t api_version;
    bool transactional_id_given;
    bool parked;                 /* waits at the home core for room */
    void *check;                 /* the home core's, of a compressed batch */
    int32_t leader_epoch;
    int64_t arrived_ms;
    void *request;               /* the sender's */
    void *entry;
    uint64_t at_home_ns;         /* the home core's stamps */
    uint64_t appended_ns;
    /* result: struct partition_appended, flat */
    int16_t error;
    bool duplicate;
    int32_t bad_record;
    const char *message;
    int32_t ret_leader_epoch;
    int64_t base_offset;
    int64_t end_offset;
    int64_t log_append_time_ms;
    int64_t log_start_offset;
};

struct mail_trim {
    struct partition *partition;
    int64_t offset;           /* -1: the high watermark */
    void *request;            /* the sender's */
    void *entry;
    /* result */
    int16_t error;
    int64_t low_watermark;
};

/* Where a question to a group coordinator is; after SENT the home core alone writes it, until the letter is back. */
enum mail_group_state {
    MAIL_GROUP_SENT,
    MAIL_GROUP_PARKED,   /* waits for room */
    MAIL_GROUP_HELD,     /* a coordinator has it */
    MAIL_GROUP_ANSWERED,
};

struct mail_group {
    struct partition *partition; /* of __consumer_offsets; NULL: every coordinator of that core is asked (ListGroups) */
    int16_t api_key;
    int16_t api_version;
    enum mail_group_state state;
    int32_t element;          /* 0: the body is that of a list of one; -1: there is no list */
    struct tide_slice body;   /* of one question; the sender's until the letter is back, like the texts */
    const char *client_id;
    const char *client_host;
    void *request;            /* the sender's */
    void *entry;
    uint32_t next_slot;       /* the home core's: the first whose coordinator was not asked */
    struct tide_mail *held_before, *held_next; /* the home core's: others that the same coordinator has */
    /* result */
    bool malformed;
    int16_t error;            /* there is no coordinator that could answer; of ListGroups: for the whole response */
    int32_t elements;
    struct tide_rope answer;  /* ownership passes with the letter */
};

struct mail_group_cancel {
    struct tide_mail *question; /* not given back before this letter is */
    void *request;              /* the sender's */
    void *entry;
};

struct mail_ask {
    void *request;            /* the sender's */
    int16_t api_key;
    int16_t api_version;
    uint32_t listener;        /* number of the listener it came in on */
    struct tide_slice body;   /* of the request, behind its header; stays until the answer */
    enum ask_result result;
    struct tide_rope answer;  /* ownership passes with the letter */
};

struct mail_order {
    struct partition *partition;
    struct tide_topic_config config;
    void *cookie;             /* control's */
};

/* What a replica is to be in one partition epoch. Order before image: it is sent before the view that
 * says the same. */
struct mail_role {
    int32_t self;             /* our broker id */
    int32_t leader;           /* -1: none */
    int32_t leader_epoch;
    int32_t partition_epoch;
    uint32_t replica_count;
    uint32_t isr_count;
    bool recovering;          /* the leader was elected uncleanly: what its epoch cuts may have been committed */
    int32_t unclean_epoch;    /* the newest leader epoch that began so, told with each role, however long that is over; -1: none */
    int32_t replicas[TIDE_REPLICAS_MAX];
    int64_t broker_epochs[TIDE_REPLICAS_MAX]; /* of the replicas; -1: not registered */
    int32_t isr[TIDE_REPLICAS_MAX];
};

struct mail_become {
    struct partition *partition;
    struct mail_role role;
    void *cookie;             /* control's */
};

/* At most one outstanding per partition. */
struct mail_isr {
    struct partition *partition;
    int32_t leader_epoch;
    int32_t partition_epoch;  /* that the proposal is based on; the answer has the committed one */
    uint32_t count;           /* of the ISR that is wanted; the answer has the committed one */
    int32_t isr[TIDE_REPLICAS_MAX];
    int64_t broker_epochs[TIDE_REPLICAS_MAX]; /* -1: not to be compared */
    bool recovering;          /* wanted, and in the answer what is committed */
    /* result. INELIGIBLE_REPLICA and OPERATION_NOT_ATTEMPTED only when no earlier attempt can take effect
     * any more. */
    int16_t error;            /* Kafka error code; with an error the committed state is not filled in */
};

struct mail_failed {
    struct partition *partition;
    bool disk; /* its log could not be written; otherwise it holds what it must not */
};

struct mail_rotten {
    struct partition *partition;
    int64_t offset;           /* that was asked for; -1: somewhere */
};

/* Asked of the home core by the core whose stream a follower came in on. The subscription that the
 * follower has elsewhere is closed there first (MAIL_UNSUBSCRIBE). */
struct mail_subscribe {
    struct partition *partition;
    uint32_t entry;           /* the sender's place for the subscription */
    int32_t broker;           /* of the follower */
    int64_t broker_epoch;
    int32_t leader_epoch;     /* as the follower knows them */
    int32_t last_epoch;
    int64_t log_end;
    /* result */
    int16_t error;            /* 0: granted or to be truncated */
    bool truncate;            /* the logs differ: cut to truncate_end of truncate_epoch, then ask again */
    int32_t truncate_epoch;
    int64_t truncate_end;
    bool skip;                /* the leader has nothing below skip_to: go on there, then ask again */
    int64_t skip_to;
    int32_t skip_epoch;       /* the leader's at that offset */
    uint32_t replica;         /* its number among the replicas */
    uint32_t subscription;    /* the number that APPEND and ACK carry */
};

struct mail_unsubscribe {
    struct partition *partition;
    uint32_t subscription;
    uint32_t replica;
    bool gone;                /* from the stream's core: its stream is gone. Else the home core asks for it */
};

struct mail_neighbour {
    struct tide_addr addr;
    uint8_t mac[6];
    uint8_t source; /* enum neighbour_source of the network layer: what it may change */
};

/* Where the addresses are the kernel's as well. */
struct mail_way {
    uint8_t prefix_len;
    uint8_t prefix6_len;
    uint32_t gateway;          /* in host order; 0: none */
    struct tide_addr gateway6; /* all zero: none */
};

struct tide_mail {
    enum mail_kind kind;
    uint32_t from;
    struct rte_mempool *pool;  /* where it goes back to */
    struct tide_mail *next;    /* of whoever holds it */
    union {
        struct mail_append append;
        struct mail_trim trim;
        struct mail_ask ask;
        struct mail_order order;
        struct mail_become become;
        struct mail_isr isr;
        struct mail_failed failed;
        struct mail_rotten rotten;
        struct mail_subscribe subscribe;
        struct mail_unsubscribe unsubscribe;
        struct mail_group group;
        struct mail_group_cancel cancel;
        struct mail_neighbour neighbour;
        struct mail_way way;
    };
};

enum { MAIL_RING_SIZE = 1024, MAIL_PARTIES_MAX = TIDE_CORES_MAX + 1 };

/* Doorbells of one core for partitions whose marks moved: set by home cores, cleared by it. */
struct mail_bells {
    _Alignas(TIDE_CACHE_LINE) _Atomic uint64_t summary; /* bit i: some bit of words[i] may be set */
    _Alignas(TIDE_CACHE_LINE) _Atomic uint64_t words[TIDE_PARTITIONS_MAX / 64];
};
static_assert(TIDE_PARTITIONS_MAX / 64 <= 64, "one summary word covers all");

struct mail_party {
    _Alignas(TIDE_CACHE_LINE) _Atomic uint32_t asleep; /* written by the party, read by senders */
    _Alignas(TIDE_CACHE_LINE) uint64_t rung;           /* owned: whom this party has rung this turn */
    int wake_fd;                                       /* eventfd; set before start */
};

struct post_office {
    uint32_t core_count;
    struct rte_ring *rings[MAIL_PARTIES_MAX][MAIL_PARTIES_MAX]; /* [from][to] */
    struct mail_party parties[MAIL_PARTIES_MAX];
    struct mail_bells *bells; /* one per core */
};

/* [start] Rings for core_count cores and control. NULL without memory. */
struct post_office *post_office_create(uint32_t core_count);
void post_office_destroy(struct post_office *);

/* [party `from`] TIDE_FULL when the ring has no room: the letter stays the caller's. */
TIDE_MUST_USE enum tide_status post_send(struct post_office *, uint32_t from, uint32_t to,
                                         struct tide_mail *);
/* [party `to`] Up to `max` letters, fair over senders. */
unsigned post_take(struct post_office *, uint32_t to, struct tide_mail **letters, unsigned max);
bool post_has_mail(const struct post_office *, uint32_t to);

/* [home core `from`] Partition `slot` moved: core `to` should look. */
static inline void post_ring(struct post_office *o, uint32_t from, uint32_t to, uint32_t slot)
{
    struct mail_bells *b = &o->bells[to];
    atomic_fetch_or_explicit(&b->words[slot / 64], 1ull << slot % 64, memory_order_acq_rel);
    atomic_fetch_or_explicit(&b->summary, 1ull << slot / 64, memory_order_acq_rel);
    o->parties[from].rung |= 1ull << to;
}

static inline bool post_is_rung(const struct post_office *o, uint32_t core)
{
    return atomic_load_explicit(&o->bells[core].summary, memory_order_acquire) != 0;
}

/* [core] Takes the set of rung partitions into slots[] (up to max); rest stays rung. */
unsigned post_take_bells(struct post_office *, uint32_t core, uint32_t *slots, unsigned max);

#endif
