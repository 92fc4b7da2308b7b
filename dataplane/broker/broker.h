/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one core knows of Kafka: sessions, requests in progress, who waits for which mark.
 *
 * Owner: its core; nothing here is read by another thread. A session takes bytes and gives bytes
 * and knows no TCP. Produce goes to the partition's home core (a call when that is us, mail
 * otherwise); all else is read across cores through published marks and the view. What changes
 * the cluster (topics, producer ids, settings) is asked of control by mail.
 *
 * Invariants (broker_check):
 *   B1  a request is in exactly one session's queue, or orphaned and waiting for what is out.
 *   B2  responses leave in the order in which the requests arrived.
 *   B3  a request whose `outstanding` is not 0 is not given back to the pool.
 *   B4  waiters of a slot are listed only while this core's interest in the partition is set.
 *   B5  a slot with parked appends stands in one of the lists of those, others in none.
 */
#ifndef TIDEMARK_BROKER_BROKER_H
#define TIDEMARK_BROKER_BROKER_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/stages.h"
#include "broker/trace.h"
#include "log/log.h"
#include "tidemark/grace.h"
#include "tidemark/counters.h"
#include "tidemark/disk_op.h"
#include "tidemark/histogram.h"
#include "tidemark/mail.h"
#include "tidemark/rope.h"
#include "tidemark/settings.h"
#include "tidemark/types.h"
#include "tidemark/view.h"

struct broker;
struct session;
struct peer;

/* What the user pointer of a connection leads to: the first member of a session or of a peer stream. */
enum conn_kind { CONN_SESSION, CONN_PEER };
struct conn_user {
    enum conn_kind kind;
};

struct broker_config {
    uint32_t core;
    struct post_office *office;
    struct tide_publication *publication;
    struct log_core *log_core;
    struct tide_counters *counters;
    struct rte_mempool *request_pool;  /* dense blocks: partial frames, remembered requests */
    struct rte_mempool *response_pool;
    uint32_t requests_max;
    uint32_t sessions_max;
    uint32_t mails_max;
    struct rte_mempool *peer_pool;     /* small blocks: messages of peer streams */
    struct tide_grace grace;           /* over the quiet points of all cores; zero: there are no others */
    struct trace *trace;               /* of all cores; NULL: requests are not traced */
    const struct tide_settings *settings;
    uint64_t random;                   /* for the ids of fetch sessions */
    uint64_t seed;                     /* of what nobody shall guess: ids of group members */
};

struct broker *broker_create(const struct broker_config *); /* [start]; NULL without memory */
/* Whatever is still under way is forgotten; its buffers go back. Every broker of a process, before the first is
 * destroyed: what waits at one may be a letter of another. */
void broker_forget(struct broker *);
void broker_destroy(struct broker *);

/* Once at the start of a turn: the view that holds for it, and whether receive buffers are scarce. */
void broker_begin_turn(struct broker *, const struct tide_time *, bool receive_buffers_low);
/* Retries what waits for room, partitions that have work, timeouts. Returns how much it did. */
unsigned broker_turn(struct broker *, const struct tide_time *, struct tide_out *);
bool broker_takes_clients(const struct broker *); /* by the view of this turn */
uint64_t broker_deadline_ns(const struct broker *);
void broker_on_mail(struct broker *, const struct tide_time *, struct tide_mail *, struct tide_out *);
void broker_on_bell(struct broker *, const struct tide_time *, uint32_t slot, struct tide_out *);
void broker_on_disk(struct broker *, const struct tide_time *, const struct disk_done *, struct tide_out *);
void broker_on_job(struct broker *, const struct tide_time *, struct tide_job *, struct tide_out *);

/* Tells the other cores an address that ours has learned. */
void broker_tell_neighbour(struct broker *, const struct tide_addr *, const uint8_t mac[6], uint8_t source);

/* ---- sessions ----------------------------------------------------------------------------- */
/* NULL when all slots are taken. `transport` is the caller's. */
struct session *session_open(struct broker *, const struct tide_time *, uint32_t listener,
                             void *transport);
/* Where its client is. */
void session_set_address(struct session *, const struct tide_addr *);
/* Bytes arrived, the first of them at received_ns; takes all of the rope. Whole requests are executed at once. */
void session_on_bytes(struct session *, const struct tide_time *, uint64_t received_ns, struct tide_rope *, struct tide_out *);
/* The peer has sent its last byte: answer what is whole, then close. */
void session_on_end(struct session *, const struct tide_time *);
/* The transport is gone: forget everything. The session is invalid afterwards. */
void session_on_gone(struct session *);

/* What the transport should do now. The core asks after every call that may have touched it; after that the session is not ready any more. */
struct session_wants {
    struct tide_rope *out;   /* response bytes to send, in order; the core takes what it can */
    uint32_t credit;         /* received bytes whose window may reopen; taken by the call */
    bool close;              /* close after `out` is sent */
    bool abort;              /* reset now */
};
void session_wants(struct session *, struct session_wants *ret);
void *session_transport(const struct session *);
/* Requests that waited for the session itself may be executed by now. True: they were. The core asks after it has served
 * one that was ready; and when the peer has acknowledged bytes, by the second call, since what held those is free again. */
bool session_go_on(struct session *, const struct tide_time *, struct tide_out *);
bool session_on_sent(struct session *, const struct tide_time *, struct tide_out *);
/* Of what was ever taken off `out`, so many bytes have gone to the port by now. */
void session_on_transmitted(struct session *, uint64_t now_ns, uint64_t bytes);
/* Next session of which that is to be told, after everything of the turn has gone; NULL: none more in this turn. */
struct session *broker_next_unsent(struct broker *);
/* Next session that became ready outside of its own events (a response completed), NULL if none. */
struct session *broker_next_ready(struct broker *);

/* ---- peer streams ------------------------------------------------------------------------- */
/* A connection came in on replication.port. NULL: it is not taken. */
struct peer *peer_on_accepted(struct broker *, const struct tide_time *, void *transport);
/* The next connection that this core wants. The caller opens it, steered so that its flow lands on this
 * core here and on `core` there, and says peer_on_dialled at once. */
struct peer_dial {
    struct peer *peer;
    struct tide_addr addr;
    uint16_t port;
    uint32_t core_count; /* of the peer; 0: not known */
    uint32_t core;
    uint64_t random;     /* for the choice of the port */
};
bool broker_next_dial(struct broker *, struct peer_dial *ret);
/* transport NULL: it could not be opened. */
void peer_on_dialled(struct peer *, const struct tide_time *, void *transport);
/* Bytes arrived; takes all of the rope. */
void peer_on_bytes(struct peer *, const struct tide_time *, struct tide_rope *, struct tide_out *);
/* There is room to send (the first time: the connection stands); `queued` bytes wait in the connection. */
void peer_on_sent(struct peer *, const struct tide_time *, uint32_t queued, struct tide_out *);
/* The other end has acknowledged bytes of ours. */
void peer_on_confirmed(struct peer *, const struct tide_time *);
/* The transport is gone, or was reset because the stream wanted it. */
void peer_on_gone(struct peer *);
void peer_wants(struct peer *, struct session_wants *ret);
void *peer_transport(const struct peer *);
/* Next one that became ready outside of its own events, NULL if none. */
struct peer *broker_next_ready_peer(struct broker *);

/* Signs of life of the broker at the other end of an open stream. [any] */
struct broker_peer_signs {
    int32_t broker;
    uint64_t heard_ns;     /* bytes of it came */
    uint64_t confirmed_ns; /* it acknowledged bytes of ours */
};
uint32_t broker_peer_count(const struct broker *);
/* Of the stream in place i < broker_peer_count; false: none is open there. Times are a millisecond wide. */
bool broker_peer_signs(const struct broker *, uint32_t i, uint64_t now_ns, struct broker_peer_signs *ret);

/* The session in slot i < sessions_max, NULL when it is free. */
struct session *broker_session(struct broker *, uint32_t i);

struct broker_gauges {
    uint32_t sessions;
    uint32_t requests_in_progress;
    uint32_t mails;
    uint32_t mails_free;
    uint32_t waiters;
    uint32_t peer_streams;   /* open ones, both ends */
    uint32_t feeds;          /* followers' subscriptions served by this core */
    uint64_t follower_lag;   /* records that the furthest of them has not acknowledged, as of the last BEAT */
    uint32_t coordinators, coordinators_loading; /* the second: led, and not (yet) able to take questions */
    uint32_t groups, group_members, group_waits; /* these as of up to COORDINATOR_GAUGES_MS ago */
    uint64_t group_offsets, group_skipped_records;
    uint64_t group_heap_bytes, group_heap_free_bytes;
};
void broker_gauges(const struct broker *, struct broker_gauges *ret); /* [core] */
const struct rte_mempool *broker_letters(const struct broker *); /* [any] */
const struct tide_histogram *broker_stage(const struct broker *, enum broker_stage); /* [any] */
/* Place i < STAGE_FOLLOWERS_MAX. [any] */
const struct stage_follower *broker_stage_follower(const struct broker *, uint32_t i);
void broker_check(const struct broker *);

#endif
