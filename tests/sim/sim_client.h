/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client on a machine of its own, with our TCP: a producer of one record after the other per partition of one topic, and a
 * consumer that reads all the while. Everything that it is told is compared with what it knows:
 *
 *   P1  a record that was acknowledged with acks=all is there, at its offset
 *   P5  every offset is seen once, in order, after it was committed, and holds what it held
 *   P6  of an idempotent producer record n is at offset n, whatever was retried
 *
 * The consumer may ask by fetch sessions (one per partition and broker), and may stand in the racks of followers: it goes where the
 * leader sends it (KIP-392), and back when that one refuses, or after a while. What it read there is compared at the end as well.
 *
 * Where it is told who coordinates, it also commits offsets for a group, 0, 1, 2, ..., one at a time, and asks for them: what
 * was acknowledged is never gone, and nothing older comes back, except what was sent and not answered.
 */
#ifndef TIDEMARK_TESTS_SIM_CLIENT_H
#define TIDEMARK_TESTS_SIM_CLIENT_H

#include "net/net.h"
#include "sim_machine.h"
#include "sim_wire.h"
#include "tcp/tcp.h"

enum { SIM_PARTITIONS_MAX = 4 };

enum sim_producer_kind {
    SIM_IDEMPOTENT, /* acks=all */
    SIM_PLAIN_ALL,
    SIM_PLAIN_ONE, /* acks=1 */
};

struct sim_client_config {
    struct sim_wire *wire;
    const struct sim_pools *pools;
    unsigned brokers, partitions;
    const char *topic;
    enum sim_producer_kind kinds[SIM_PARTITIONS_MAX];
    uint32_t records; /* of each partition */
    bool sessions, racks;
    bool no_consumer; /* its long polls hold back what is answered behind them */
    bool memory; /* the topic has ack.durability=memory */
    uint32_t quiet; /* bit per partition: nothing new is produced to it while it is set */
    uint64_t pace_ns; /* between two new records of a partition, so that faults come among them */
    void *arg;
    int (*leader)(void *arg, unsigned partition); /* as the client may know it, -1 nobody */
    int (*coordinator)(void *arg); /* of its group, -1 nobody, -2 there is no topic for it; NULL: it has no group */
    uint32_t commits;
    int64_t (*committed)(void *arg, unsigned partition); /* the highest mark of any leader so far */
    void (*fail)(void *arg, const char *what);    /* does not come back */
    void (*trace)(void *arg, const char *format, ...) __attribute__((format(printf, 2, 3)));
};

struct sim_producer {
    uint32_t sent, acked, generation;
    uint64_t retry_ns;
    int leader;
    uint64_t asked_ns; /* the consumer, 0 not */
    int fetch_from;
    uint32_t fetch_generation;
    int64_t read; /* next offset of the consumer */
    int preferred; /* the broker to which the leader sent the consumer, -1 none */
    uint64_t preferred_until_ns;
    struct sim_fetch_session {
        int32_t id, epoch;
        int64_t asked; /* as the broker knows it */
    } sessions[SIM_BROKERS_MAX];
    /* of plain ones */
    int64_t *offsets; /* by record: where it was acknowledged */
    uint32_t *seen;   /* by offset: record + 1 */
    int64_t seen_room;
};

struct sim_group {
    int at;               /* broker that was asked, -1 none */
    bool finds, fetches;  /* what it was asked; else a commit */
    uint32_t generation;  /* of questions */
    int64_t asked, acked; /* offset that is committed or was to be; acknowledged, -1 none */
    int64_t stray[64];    /* sent and not answered: they may come yet */
    unsigned strays;
    int64_t read;         /* as last answered */
    uint64_t at_ns;       /* the next question */
    bool confirmed;       /* the last commit of all has been read */
};

struct sim_line {
    struct tcp_conn *conn;
    struct tide_rope in;
    uint64_t again_ns, heard_ns;
};

struct sim_client {
    struct sim_client_config config;
    uint64_t now_ns, begin_ns;
    struct net net;
    struct tide_counters counters;
    struct tcp_stack *stack;
    struct sim_line lines[SIM_BROKERS_MAX];
    uint16_t port;
    struct sim_producer producers[SIM_PARTITIONS_MAX];
    struct sim_group group;
    /* CreateTopics */
    int create_at; /* broker that was asked, -1 none */
    bool created;
    uint64_t create_ns;
    uint32_t near, sent_near; /* answers of followers with records; times it was sent to one */
    uint32_t incremental;     /* answers of sessions that said only what is new */
    uint32_t lost; /* acknowledged with acks=1, and not there: sim_client_judge */
    uint32_t taken_back; /* acknowledged records that went with everybody who had them: sim_client_lose */
};

enum { SIM_RACK_ROOM = 16 };
void sim_rack(unsigned broker, char to[SIM_RACK_ROOM]);
void sim_client_init(struct sim_client *, const struct sim_client_config *, uint64_t now_ns);
void sim_client_deinit(struct sim_client *);
void sim_client_receive(struct sim_client *, uint64_t now_ns, struct rte_mbuf *);
void sim_client_turn(struct sim_client *, uint64_t now_ns);
uint64_t sim_client_deadline_ns(const struct sim_client *);
/* The topic is asked for, once more and elsewhere until it is there: `created`. */
void sim_client_create_topic(struct sim_client *, uint64_t now_ns, unsigned broker);
/* Everybody who had it has lost the partition's log from `end` on, and the cluster says so. An idempotent producer sends again what was there,
 * under the same sequences; another one forgets it. The consumer goes on at `end`. */
void sim_client_lose(struct sim_client *, uint64_t now_ns, unsigned partition, int64_t end);
/* Everything is acknowledged, and all that was committed is read. */
bool sim_client_is_done(const struct sim_client *);
/* At the end: all replicas of a partition hold the same bytes up to `end` (P4), and the client's records in order. Their digest. */
struct sim_replica {
    struct sim_machine *machine;
    struct partition *partition;
};
uint64_t sim_client_compare(struct sim_client *, unsigned partition, const struct sim_replica *, unsigned count, int64_t end);
/* And then: what was acknowledged is there. */
void sim_client_judge(struct sim_client *);

#endif
