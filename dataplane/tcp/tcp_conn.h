/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection and the stack, for the files of dataplane/tcp.
 *
 *   (listen) --SYN--> SYN cache --ACK--> ESTABLISHED        no connection before the third ACK
 *   SYN_SENT --SYN-ACK--> ESTABLISHED, --SYN--> SYN_RECEIVED --ACK--> ESTABLISHED
 *   ESTABLISHED --close--> FIN_WAIT_1 --ack--> FIN_WAIT_2 --FIN--> TIME_WAIT
 *                          FIN_WAIT_1 --FIN--> CLOSING --ack--> TIME_WAIT
 *   ESTABLISHED --FIN--> CLOSE_WAIT --close--> LAST_ACK --ack--> CLOSED
 *   any --RST, abort, timeout--> CLOSED. CLOSED is given back when its last event was taken.
 *
 * Invariants (tcp_check):
 *   T1  snd_una <= snd_nxt <= snd_max, and snd_max - snd_una covers at most the queue and a FIN.
 *   T2  sacked ranges are sorted, disjoint and within (snd_una, snd_max].
 *   T3  held segments are sorted by sequence, beyond rcv_nxt, without overlap.
 *   T4  the advertised edge rcv_adv never moves left.
 *   T5  every connection in use is found by its addresses, and only it.
 */
#ifndef TIDEMARK_TCP_TCP_CONN_H
#define TIDEMARK_TCP_TCP_CONN_H

#include "tcp/tcp.h"

enum tcp_state {
    TCP_CLOSED,
    TCP_SYN_SENT,
    TCP_SYN_RECEIVED,
    TCP_ESTABLISHED,
    TCP_FIN_WAIT_1,
    TCP_FIN_WAIT_2,
    TCP_CLOSING,
    TCP_TIME_WAIT,
    TCP_CLOSE_WAIT,
    TCP_LAST_ACK,
    TCP_STATE_COUNT
};

enum tcp_flag { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_PSH = 8, TCP_ACK = 16, TCP_URG = 32, TCP_ECE = 64, TCP_CWR = 128 };

/* Sequence numbers wrap: compare by difference (RFC 9293 3.4). */
static inline bool seq_lt(uint32_t a, uint32_t b) { return (int32_t)(a - b) < 0; }
static inline bool seq_le(uint32_t a, uint32_t b) { return (int32_t)(a - b) <= 0; }
static inline uint32_t seq_max(uint32_t a, uint32_t b) { return seq_lt(a, b) ? b : a; }

struct tcp_list {
    struct tcp_list *prev, *next;
};
static inline void tcp_list_init(struct tcp_list *l) { l->prev = l->next = l; }
static inline bool tcp_list_empty(const struct tcp_list *l) { return l->next == l; }
static inline bool tcp_listed(const struct tcp_list *l) { return l->next != l; }
static inline void tcp_list_append(struct tcp_list *to, struct tcp_list *l)
{
    l->prev = to->prev;
    l->next = to;
    to->prev->next = l;
    to->prev = l;
}
static inline void tcp_list_remove(struct tcp_list *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    tcp_list_init(l);
}

struct tcp_range {
    uint32_t start, end;
};

struct tcp_conn {
    /* owned by the stack's core; what every packet touches comes first */
    struct tcp_stack *stack;
    uint8_t state;
    bool sack_ok, ts_ok, wscale_ok;
    uint8_t snd_wscale, rcv_wscale;
    bool ack_now;       /* send an ACK in this turn */
    bool fin_queued;    /* the application closed: a FIN follows the queue */
    bool fin_received;
    bool fin_held;      /* the peer's FIN came before what precedes it */
    uint32_t fin_seq;
    bool in_recovery;
    bool recovery_set;  /* `recovery` means something */
    bool fin_sent;
    bool rtt_timing;
    bool persist;       /* the send timer probes a closed window */
    bool probe_due;
    bool rtx_due;       /* the segment at snd_una goes out again, whatever the window of congestion says */
    bool gone;          /* nothing but the last event is left */
    bool released;      /* the application let go: no more events */
    uint8_t dup_acks;
    uint8_t unacked_segments; /* received since our last ACK */
    uint8_t backoff;
    uint8_t probes;     /* keepalive probes without an answer */
    uint16_t mss;
    uint32_t snd_una, snd_nxt, snd_max;
    uint32_t snd_wnd, snd_wl1, snd_wl2, snd_wnd_max;
    uint32_t rcv_nxt, rcv_adv, rcv_charged; /* bytes delivered or queued and not yet consumed */
    uint32_t cwnd, ssthresh, recovery, high_rxt;
    uint32_t ts_recent, last_ack_sent;
    uint64_t ts_recent_ns;
    uint32_t rtt_seq;
    uint64_t rtt_start_ns, srtt_ns, rttvar_ns, rto_ns;
    struct tide_rope send_queue; /* from snd_una on (behind our SYN) */
    struct tide_rope receive_queue;
    /* where snd_nxt lies in the queue, so that sending does not walk from its front */
    struct rte_mbuf *cursor;
    uint32_t cursor_off, cursor_seq;
    /* timers: 0 = off */
    uint64_t send_deadline_ns, ack_deadline_ns, life_deadline_ns, wheel_ns;
    uint64_t last_in_ns, progress_ns;
    struct tcp_list in_wheel, in_output, in_events, in_time_wait;
    uint32_t events;
    uint32_t hash_next; /* connection number + 1 */
    uint32_t number;
    uint16_t local_port, remote_port;
    struct tide_addr local, remote;
    uint32_t iss, irs;
    uint64_t challenge_ns;  /* window of the challenge-ACK limit */
    uint16_t challenges, challenge_limit;
    uint16_t range_count;
    uint16_t held_count;
    struct tcp_range ranges[TCP_RANGES_MAX];
    struct rte_mbuf *held; /* out-of-order segments, linked by next; sequence in tcp_held() */
    uint32_t held_last_seq; /* most recent, for the first SACK block */
    void *user;
};

/* Sequence number of a held mbuf, kept in its dynamic-free word. */
static inline uint32_t *tcp_held_seq(struct rte_mbuf *m) { return &m->hash.fdir.hi; }

struct tcp_syn {
    bool used;
    bool sack_ok, ts_ok, wscale_ok;
    uint8_t snd_wscale;
    uint8_t retries;
    uint16_t mss, local_port, remote_port;
    struct tide_addr local, remote;
    uint32_t irs, iss, ts_recent;
    uint64_t deadline_ns;
    struct tcp_list in_list; /* oldest deadline first, roughly */
};

/* A packet without payload and without a connection. */
struct tcp_control {
    struct tide_addr src, dst;
    uint16_t src_port, dst_port;
    uint32_t seq, ack;
    uint16_t flags, window, mss; /* mss 0: no options */
    bool ts_ok, sack_ok, wscale_ok;
    uint8_t wscale;
    uint32_t ts_value, ts_echo;
};

enum {
    TCP_WHEEL_SHIFT = 19, /* 0.52 ms a slot */
    TCP_WHEEL_SLOTS = 2048,
    TCP_CONTROL_MAX = 512,
};

struct tcp_stack {
    struct tcp_config config;
    struct tcp_stats stats;
    uint64_t now_ns;
    uint64_t wheel_at; /* slots below are done */
    struct tcp_list wheel[TCP_WHEEL_SLOTS];
    uint64_t wheel_bits[TCP_WHEEL_SLOTS / 64];
    struct tcp_list output, events, time_wait;
    struct tcp_list syns_free, syns_used;
    struct tcp_conn *conns;
    uint32_t *free_conns;
    uint32_t free_count;
    uint32_t *buckets; /* connection number + 1 */
    uint32_t bucket_mask;
    struct tcp_syn *syns;
    uint16_t listeners[TCP_LISTENERS_MAX];
    unsigned listener_count;
    struct tcp_control controls[TCP_CONTROL_MAX];
    uint32_t control_head, control_count;
    uint64_t syn_look_ns; /* next look at the SYN cache */
    uint64_t reset_ns; /* window of the limit on resets to strangers */
    uint32_t resets;
    uint8_t wscale;
    uint64_t random;
    struct tcp_conn *condemned; /* its GONE was taken: given back at the next look */
};

/* A received packet, taken apart. */
struct tcp_packet {
    uint32_t seq, ack;
    uint32_t len; /* payload */
    uint16_t window;
    uint16_t flags;
    uint16_t src_port, dst_port;
    bool has_ts, has_mss, has_wscale, sack_permitted;
    uint8_t wscale;
    uint16_t mss;
    uint32_t ts_value, ts_echo;
    unsigned sack_count;
    struct tcp_range sacks[4];
    bool drop_data; /* beyond the window: only the header counts */
};

/* tcp_stack.c */
struct tcp_conn *tcp_find(struct tcp_stack *, const struct tide_addr *local, uint16_t local_port, const struct tide_addr *remote, uint16_t remote_port);
struct tcp_conn *tcp_take(struct tcp_stack *, const struct tide_addr *local, uint16_t local_port, const struct tide_addr *remote, uint16_t remote_port);
void tcp_give(struct tcp_conn *); /* back to the pool: nothing may refer to it any more */
void tcp_event_raise(struct tcp_conn *, uint32_t bits);
/* CLOSED: drops what it holds, raises GONE unless the application let go. */
void tcp_end(struct tcp_conn *);
void tcp_enter_time_wait(struct tcp_conn *);
/* RST to the peer, then tcp_end. */
void tcp_abort_now(struct tcp_conn *);
uint32_t tcp_isn(struct tcp_stack *, const struct tide_addr *local, uint16_t local_port, const struct tide_addr *remote, uint16_t remote_port);
uint64_t tcp_hash(const struct tcp_stack *, const struct tide_addr *local, uint16_t local_port, const struct tide_addr *remote, uint16_t remote_port, uint64_t salt);
uint32_t tcp_receive_window(const struct tcp_conn *);

/* tcp_output.c */
void tcp_want_output(struct tcp_conn *);
void tcp_control_send(struct tcp_stack *, const struct tcp_control *);
void tcp_send_reset(struct tcp_stack *, const struct tcp_meta *, const struct tcp_packet *);
void tcp_send_syn_ack(struct tcp_stack *, const struct tcp_syn *);
uint32_t tcp_ts_now(const struct tcp_stack *);

/* tcp_timer.c */
void tcp_timers_changed(struct tcp_conn *);
void tcp_arm_send(struct tcp_conn *);
void tcp_rtt_sample(struct tcp_conn *, uint64_t rtt_ns);
void tcp_wheel_init(struct tcp_stack *);

/* tcp_cc.c: three verbs, so that another congestion control can be put in their place */
void tcp_cc_init(struct tcp_conn *);
void tcp_cc_on_ack(struct tcp_conn *, uint32_t bytes);
void tcp_cc_on_loss(struct tcp_conn *, uint32_t in_flight);
void tcp_cc_on_timeout(struct tcp_conn *, uint32_t in_flight);

/* tcp_sack.c */
void tcp_sack_update(struct tcp_conn *, const struct tcp_packet *);
void tcp_sack_acked(struct tcp_conn *); /* snd_una moved */
bool tcp_sack_is_lost(const struct tcp_conn *, uint32_t seq);
uint32_t tcp_pipe(const struct tcp_conn *);
/* The next hole to be sent again, from high_rxt on; false: none is known lost. */
bool tcp_next_hole(const struct tcp_conn *, struct tcp_range *ret);

#endif
