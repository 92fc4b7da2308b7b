/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TCP stack for one core, in virtual time and without I/O: packets in, packets out, events for
 * the application. Other cores share nothing with it.
 *
 * Life of a connection for the application: ACCEPTED (or the first WRITABLE after tcp_connect),
 * then READABLE and WRITABLE, PEER_CLOSED when the peer has sent its last byte, and GONE as the
 * very last event (reset, timeout, or closed by both sides). tcp_abort ends it at once and without
 * an event; after tcp_close it still exists until GONE.
 *
 * Checksums are verified and filled in below. Time is monotonic nanoseconds.
 */
#ifndef TIDEMARK_TCP_TCP_H
#define TIDEMARK_TCP_TCP_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_mbuf.h>

#include "tidemark/counters.h"
#include "tidemark/rope.h"
#include "tidemark/types.h"

struct tcp_stack;
struct tcp_conn;

enum tcp_limit {
    TCP_LISTENERS_MAX = 16,
    TCP_OUTPUT_SEGMENTS_MAX = 8, /* payload pieces of one packet; smaller ones are copied together */
    TCP_OUT_OF_ORDER_MAX = 128,  /* segments held per connection */
    TCP_RANGES_MAX = 32,         /* ranges that the peer says it has (SACK) */
    TCP_MSS_MIN = 216,           /* a smaller one from the peer is raised: 536 less room for options and greed */
    TCP_HEADER_MAX = 60,
};

struct tcp_config {
    uint32_t connections_max;
    uint32_t syn_backlog;          /* half-open connections; beyond it cookies are sent */
    uint32_t receive_window_bytes; /* per connection */
    uint32_t send_buffer_bytes;    /* per connection: tcp_send_room */
    uint16_t mss;                  /* payload of a packet that our link carries */
    uint32_t rto_min_us;           /* floor of the retransmission timeout toward prompt peers */
    uint32_t rto_start_ms;         /* before the first measurement; 0: 1000 (RFC 6298 2.1) */
    uint32_t time_wait_ms;
    uint32_t keepalive_ms;         /* idle time before probes; 0: never */
    uint32_t user_timeout_ms;      /* unacknowledged for so long: gone; 0: 120000 */
    uint8_t secret[16];            /* of this start, random: sequence numbers and cookies */
    struct rte_mempool *tx_pool;
    struct tide_counters *counters;
};

struct tcp_endpoint {
    struct tide_addr addr;
    uint16_t port;
};

/* What IP says of a packet. */
struct tcp_meta {
    struct tide_addr src;
    struct tide_addr dst;
    uint8_t ecn;
};

enum tcp_event_bit {
    TCP_EVENT_ACCEPTED = 1,
    TCP_EVENT_READABLE = 2,
    TCP_EVENT_WRITABLE = 4,
    TCP_EVENT_PEER_CLOSED = 8,
    TCP_EVENT_GONE = 16,
};
struct tcp_event {
    struct tcp_conn *conn;
    uint32_t bits;
};

struct tcp_stats {
    uint64_t segments_in, segments_out, bytes_in, bytes_out;
    uint64_t retransmits, fast_retransmits, timeouts, probes;
    uint64_t duplicate_bytes, out_of_order, out_of_order_dropped;
    uint64_t accepted, connected, resets_in, resets_out, challenge_acks, refused;
    uint64_t syn_cookies_sent, syn_cookies_taken, paws_dropped, malformed, no_memory, time_wait_reused;
};

struct tcp_stack *tcp_stack_create(const struct tcp_config *); /* [start]; NULL without memory */
void tcp_stack_destroy(struct tcp_stack *);                    /* gives every mbuf back */

TIDE_MUST_USE enum tide_status tcp_listen(struct tcp_stack *, uint16_t port);
/* NULL: no connection is free. */
struct tcp_conn *tcp_connect(struct tcp_stack *, uint64_t now_ns, const struct tcp_endpoint *local, const struct tcp_endpoint *remote);

/* Takes m; its data starts at the TCP header and ends with the payload. */
void tcp_input(struct tcp_stack *, uint64_t now_ns, struct rte_mbuf *m, const struct tcp_meta *);
/* One entry per connection at most. False when there is none. */
bool tcp_next_event(struct tcp_stack *, struct tcp_event *ret);

/* Moves what arrived in order behind `into`; its window stays closed until tcp_consumed. */
uint32_t tcp_read(struct tcp_conn *, struct tide_rope *into);
void tcp_consumed(struct tcp_conn *, uint32_t bytes);
uint32_t tcp_send_room(const struct tcp_conn *);
/* Takes all of `from`; the room is a soft limit. */
void tcp_write(struct tcp_conn *, struct tide_rope *from);
void tcp_close(struct tcp_conn *);
void tcp_abort(struct tcp_conn *);
/* What was read completes something: acknowledge in this turn. */
void tcp_ack_now(struct tcp_conn *);

void *tcp_user(const struct tcp_conn *);
void tcp_set_user(struct tcp_conn *, void *);
struct tcp_endpoint tcp_local(const struct tcp_conn *);
struct tcp_endpoint tcp_peer(const struct tcp_conn *);
/* Since when bytes wait for the peer without any progress; 0: nothing waits. */
uint64_t tcp_stalled_since(const struct tcp_conn *);

/* Next packets to send: each starts at the TCP header (checksum field 0), with at least 64 bytes
 * of headroom; payload is attached, not copied. */
unsigned tcp_output(struct tcp_stack *, uint64_t now_ns, struct rte_mbuf **packets, struct tcp_meta *metas, unsigned max);

uint64_t tcp_deadline_ns(const struct tcp_stack *);
void tcp_on_time(struct tcp_stack *, uint64_t now_ns);

const struct tcp_stats *tcp_stats(const struct tcp_stack *); /* [any], may be one behind */
uint32_t tcp_connection_count(const struct tcp_stack *);
void tcp_check(const struct tcp_stack *);

#endif
