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
    TCP_OUTPUT_SEGMENTS_MAX = 7, /* payload pieces of one packet: with its header as many as every port that cuts packets takes */
    TCP_HELD_MAX = 1024,         /* mbufs held out of order per connection */
    TCP_RUNS_MAX = 64,           /* gapless runs of them: the most that one packet makes us look through */
    TCP_RECORDS_MAX = 4096,      /* pieces in flight per connection whose fate is told apart */
    TCP_MSS_MIN = 48,           /* a smaller one from the peer is raised: room for the options and a few bytes */
    TCP_HEADER_MAX = 60,
};

enum tcp_congestion { TCP_CUBIC, TCP_RENO };
enum tcp_ecn { TCP_ECN_PASSIVE, TCP_ECN_OFF, TCP_ECN_ON }; /* passive: only when the peer asks */

struct tcp_config {
    uint32_t connections_max;
    uint32_t syn_backlog;          /* half-open connections; beyond it cookies are sent */
    uint32_t receive_window_bytes; /* per connection */
    uint32_t send_buffer_bytes;    /* per connection: tcp_send_room */
    uint16_t mss;                  /* payload of a packet that our link carries over IPv4; over IPv6 20 less */
    uint32_t rto_min_us;           /* floor of the retransmission timeout toward prompt peers, and of probes */
    uint32_t rto_start_ms;         /* before the first measurement; 0: 1000 (RFC 6298 2.1) */
    uint32_t time_wait_ms;
    uint32_t keepalive_ms;         /* idle time before probes; 0: never */
    uint32_t user_timeout_ms;      /* unacknowledged for so long: gone; 0: 120000 */
    uint32_t segmented_max;        /* payload of a packet that the port cuts into segments; 0: it does not */
    uint32_t records;              /* shared by all connections; 0: 32768 */
    uint32_t syns_per_turn;        /* SYNs of strangers answered between two tcp_output calls; 0: 64 */
    enum tcp_congestion congestion;
    enum tcp_ecn ecn;
    bool all_steps;                /* no short way for what is expected: for tests, which compare */
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
    uint8_t ecn; /* RFC 3168 5: 0 not capable, 1 and 2 capable, 3 congestion was experienced */
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

/* What the stack counts, in the order of struct tcp_stats. */
#define TCP_STATS(X)                                                                                   \
    X(segments_in, "segments received")                                                                \
    X(segments_expected, "of them the next bytes or a new ACK, and nothing amiss")                      \
    X(segments_out, "segments sent")                                                                   \
    X(bytes_in, "payload bytes received in order")                                                     \
    X(bytes_out, "payload bytes sent for the first time")                                              \
    X(retransmits, "segments sent again, for every reason")                                            \
    X(fast_retransmits, "times a loss was repaired without a timeout")                                 \
    X(timeouts, "retransmission timeouts")                                                             \
    X(tail_probes, "probes of the tail of a flight")                                                   \
    X(probes, "probes of closed windows and of silent peers")                                          \
    X(spurious, "repairs that proved needless and were undone")                                        \
    X(dsacks_in, "duplicates that peers reported")                                                     \
    X(ecn_reductions, "congestion windows reduced because of a mark")                                  \
    X(mss_reduced, "times segments got smaller because the road swallows larger ones")                 \
    X(duplicate_bytes, "bytes received that were there already")                                       \
    X(out_of_order, "segments received beyond a hole")                                                 \
    X(out_of_order_dropped, "segments beyond a hole that were not kept")                               \
    X(accepted, "connections accepted")                                                                \
    X(connected, "connections opened by us")                                                           \
    X(refused, "connections that found no room")                                                       \
    X(resets_in, "resets received")                                                                    \
    X(resets_out, "resets sent")                                                                       \
    X(challenge_acks, "challenge ACKs sent")                                                           \
    X(syns_dropped, "SYNs not answered because there were too many in a turn")                         \
    X(syn_cookies_sent, "SYN cookies sent")                                                            \
    X(syn_cookies_taken, "connections made from SYN cookies")                                          \
    X(rtt_samples, "round trips measured")                                                             \
    X(rtt_us, "microseconds of all of them together")                                                  \
    X(out_of_window, "segments of which nothing lay within the window")                                \
    X(acks_refused, "ACKs of what was never sent, or long ago")                                        \
    X(answers_dropped, "packets of no connection that found no room")                                  \
    X(paws_dropped, "segments dropped because of an old timestamp")                                    \
    X(malformed, "segments whose header does not hold together")                                       \
    X(no_memory, "segments not sent yet for lack of a packet")                                         \
    X(time_wait_reused, "connections in TIME-WAIT that had to make room")                              \
    X(cwnd_limited, "times the congestion window held bytes back")                                     \
    X(window_limited, "times the peer's window held bytes back")

struct tcp_stats {
#define X(name, help) uint64_t name;
    TCP_STATS(X)
#undef X
};
enum tcp_stat {
#define X(name, help) TCP_STAT_##name,
    TCP_STATS(X)
#undef X
    TCP_STAT_COUNT
};

struct tcp_stack *tcp_stack_create(const struct tcp_config *); /* [start]; NULL without memory */
void tcp_stack_destroy(struct tcp_stack *);                    /* gives every mbuf back */

TIDE_MUST_USE enum tide_status tcp_listen(struct tcp_stack *, uint16_t port);
/* Who comes to the port is refused from now on; connections that are there stay. */
void tcp_unlisten(struct tcp_stack *, uint16_t port);
/* NULL: no connection is free. */
struct tcp_conn *tcp_connect(struct tcp_stack *, uint64_t now_ns, const struct tcp_endpoint *local, const struct tcp_endpoint *remote);

/* Takes m; its data starts at the TCP header and ends with the payload. */
void tcp_input(struct tcp_stack *, uint64_t now_ns, struct rte_mbuf *m, const struct tcp_meta *);
/* One entry per connection at most. False when there is none. */
bool tcp_next_event(struct tcp_stack *, struct tcp_event *ret);

/* Moves what arrived in order behind `into`; its window stays closed until tcp_consumed. */
uint32_t tcp_read(struct tcp_conn *, struct tide_rope *into);
/* When the first of the bytes came that tcp_read took last, or would take. */
uint64_t tcp_read_since_ns(const struct tcp_conn *);
/* Bytes ever sent, each counted once. */
uint64_t tcp_bytes_sent(const struct tcp_conn *);
void tcp_consumed(struct tcp_conn *, uint32_t bytes);
uint32_t tcp_send_room(const struct tcp_conn *);
/* Takes all of `from`; the room is a soft limit. */
void tcp_write(struct tcp_conn *, struct tide_rope *from);
void tcp_close(struct tcp_conn *);
void tcp_abort(struct tcp_conn *);
/* What was read completes something: acknowledge in this turn. */
void tcp_ack_now(struct tcp_conn *);

/* Of a connection that an earlier process had here: a packet that its peer answers with where it stands (RFC 9293 3.10.7.4,
 * first step), whereupon it is reset as any stranger is. Nothing happens when there is such a connection now. */
void tcp_rouse(struct tcp_stack *, uint64_t now_ns, const struct tcp_endpoint *local, const struct tcp_endpoint *remote);

/* The peer acknowledges at once (it is one of us): tcp.rto.min.us holds from the start. */
void tcp_set_prompt_peer(struct tcp_conn *);

/* An ICMP error about a packet of ours (RFC 5927): believed only when `sequence` is in flight.
 * next_mtu: of a "packet too big", else 0. Unreachable: a hard error (RFC 1122 4.2.3.9). */
enum tcp_icmp { TCP_ICMP_TOO_BIG, TCP_ICMP_UNREACHABLE };
void tcp_on_icmp(struct tcp_stack *, uint64_t now_ns, const struct tcp_endpoint *local, const struct tcp_endpoint *remote,
                 uint32_t sequence, enum tcp_icmp, uint32_t next_mtu);

/* What a connection knows of its road. */
struct tcp_conn_info {
    struct tcp_endpoint local, remote;
    const char *state;
    uint64_t srtt_ns, rttvar_ns, rto_ns, min_rtt_ns;
    uint32_t cwnd, ssthresh, in_flight, mss; /* bytes */
    uint32_t send_queue, send_window;
    uint32_t receive_queue, receive_window, held; /* received bytes not consumed; the window told; mbufs out of order */
    uint64_t bytes_in, bytes_out, retransmits;
    uint64_t cwnd_limited, window_limited; /* times that one of them held bytes back */
    uint64_t dropped; /* segments that came in vain: outside of the window, old, or beyond too many holes */
    uint64_t idle_ns;
    bool sack, timestamps, window_scaling, ecn;
};
/* Number `i` of config.connections_max; false when it is not in use. [core] */
bool tcp_info_at(const struct tcp_stack *, uint64_t now_ns, uint32_t i, struct tcp_conn_info *ret);

/* What came or went since the last call, by numbers as above: each once, as it is now. What nobody asks for is one entry per number. */
struct tcp_change {
    uint32_t number;
    bool is_here;
    struct tcp_endpoint local, remote; /* when it is */
};
/* False: nothing is left. [core] */
bool tcp_next_change(struct tcp_stack *, struct tcp_change *ret);

void *tcp_user(const struct tcp_conn *);
void tcp_set_user(struct tcp_conn *, void *);
struct tcp_endpoint tcp_local(const struct tcp_conn *);
struct tcp_endpoint tcp_peer(const struct tcp_conn *);
/* Since when bytes wait for the peer without any progress; 0: nothing waits. */
uint64_t tcp_stalled_since(const struct tcp_conn *);

/* Next packets to send: each starts at the TCP header (checksum field 0), with at least 64 bytes
 * of headroom; payload is attached, not copied. One that is larger than a segment has
 * RTE_MBUF_F_TX_TCP_SEG in ol_flags and the payload of a segment in tso_segsz. */
unsigned tcp_output(struct tcp_stack *, uint64_t now_ns, struct rte_mbuf **packets, struct tcp_meta *metas, unsigned max);

uint64_t tcp_deadline_ns(const struct tcp_stack *);
void tcp_on_time(struct tcp_stack *, uint64_t now_ns);

const struct tcp_stats *tcp_stats(const struct tcp_stack *); /* [core] */
uint32_t tcp_connection_count(const struct tcp_stack *);
void tcp_check(const struct tcp_stack *);

#endif
